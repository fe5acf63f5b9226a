//! One hop of a path: who answered, after how long, and where that is.

use std::net::IpAddr;

use adit_sys::trace::{Heard, Said};
use adit_wire::ip::Icmp;
use serde::Serialize;

use super::Through;
use crate::echo::{contains, ms, refusal};
use crate::screen::{Paint, Style};

/// What came of the packets with so many hops left.
#[derive(Debug, Serialize)]
pub(super) struct Hop {
    pub(super) number: u8,
    pub(super) place: Place,
    /// One for each packet.
    answers: Vec<Answer>,
}

/// Where a hop is.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Place {
    /// Nobody knows.
    Unknown,
    /// Between the gateways: a router that the tunnel reveals.
    Outside,
    /// In a network that the far gateway speaks for.
    Inside,
    /// It is the destination.
    Destination,
    /// There is no tunnel.
    Clear,
}

/// What came of one packet.
#[derive(Clone, Copy, Debug, Serialize)]
struct Answer {
    #[serde(skip_serializing_if = "Option::is_none")]
    address: Option<IpAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ms: Option<f64>,
    said: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    icmp: Option<(u8, u8)>,
}

impl Place {
    /// Where a hop is, by its address and by what the tunnels are for.
    pub(super) fn of(hop: &Hop, tunnels: &[Through], destination: IpAddr) -> Self {
        let Some(address) = hop.answers.iter().find_map(|answer| answer.address) else {
            return Self::Unknown;
        };
        let has = |tunnel: &Through| tunnel.remote.iter().any(|text| contains(text, address));
        if address == destination {
            Self::Destination
        } else if tunnels.is_empty() {
            Self::Clear
        } else if tunnels.iter().any(has) {
            Self::Inside
        } else {
            Self::Outside
        }
    }

    fn word(self) -> &'static str {
        match self {
            Self::Unknown | Self::Clear => "",
            Self::Outside => "outside",
            Self::Inside => "behind the tunnel",
            Self::Destination => "destination",
        }
    }
}

impl Hop {
    pub(super) fn new(number: u8) -> Self {
        Self { number, place: Place::Unknown, answers: Vec::new() }
    }

    /// Takes what came of one more packet.
    pub(super) fn take(&mut self, heard: Option<Heard>) {
        self.answers.push(match heard {
            None => Answer { address: None, ms: None, said: SILENT, icmp: None },
            Some(Heard { from, after, what }) => {
                let (said, icmp) = match what {
                    Said::Expired => ("expired", None),
                    Said::Reached => (REACHED, None),
                    Said::Refused(icmp) => (REFUSED, Some((icmp.kind, icmp.code))),
                };
                Answer { address: Some(from), ms: Some(ms(after)), said, icmp }
            }
        });
    }

    /// Whether nobody has answered.
    pub(super) fn is_silent(&self) -> bool {
        self.answers.iter().all(|answer| answer.address.is_none())
    }

    /// Whether the destination has answered.
    pub(super) fn has_reached(&self) -> bool {
        self.answers.iter().any(|answer| answer.said == REACHED)
    }

    /// Whether somebody has said that packets go no further, and nobody else has let one pass: who says
    /// so does it a few times in a second, and then is silent.
    pub(super) fn is_end(&self) -> bool {
        let said = |what| self.answers.iter().filter(|answer| answer.said == what).count();
        said(REFUSED) > 0 && said(REFUSED) + said(SILENT) == self.answers.len()
    }

    /// Who has said so, in words.
    pub(super) fn refusal(&self, destination: IpAddr) -> Option<String> {
        self.answers.iter().find_map(|answer| {
            let (kind, code) = answer.icmp?;
            Some(refusal::words(answer.address?, Icmp { kind, code }, destination))
        })
    }

    /// A line; where packets with as many hops left have come to several, one for each of them.
    pub(super) fn text(&self, paint: Paint) -> String {
        let mut addresses: Vec<IpAddr> = Vec::new();
        for address in self.answers.iter().filter_map(|answer| answer.address) {
            if !addresses.contains(&address) {
                addresses.push(address);
            }
        }
        let number = self.number.to_string();
        if addresses.is_empty() {
            return silence(self.number, self.number, paint);
        }
        let mut out = String::new();
        for address in &addresses {
            let first = Some(address) == addresses.first();
            let words = self.words(*address, first);
            out += &row(if first { &number } else { "" }, &address.to_string(), &words, paint);
        }
        out
    }

    /// `outside             0.31 ms  0.29 ms  -`.
    fn words(&self, address: IpAddr, first: bool) -> String {
        let times = self.answers.iter().filter_map(|answer| match answer.address {
            Some(from) if from == address => answer.ms.map(|ms| format!("{ms:.2} ms")),
            None if first => Some("-".to_owned()),
            _ => None,
        });
        let times = times.collect::<Vec<_>>().join("  ");
        let refusal = self.answers.iter().find_map(|answer| answer.icmp);
        let refusal = refusal.map(|(kind, code)| format!("  refused (ICMP {kind}/{code})"));
        format!("{:<18} {times}{}", self.place.word(), refusal.unwrap_or_default())
    }
}

/// A line for hops in a row from which nobody has answered.
pub(super) fn silence(first: u8, last: u8, paint: Paint) -> String {
    let numbers = if first == last { first.to_string() } else { format!("{first}-{last}") };
    row(&numbers, "-", &paint.with(Style::Dim, "no answer"), paint)
}

/// A line of the table.
pub(super) fn row(number: &str, address: &str, words: &str, paint: Paint) -> String {
    let number = format!("{number:>4}");
    format!("{}  {address:<24} {words}\n", paint.with(Style::Label, &number))
}

const SILENT: &str = "silent";
const REACHED: &str = "reached";
const REFUSED: &str = "refused";

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn heard(from: &str, micros: u64, what: Said) -> Option<Heard> {
        let after = Duration::from_micros(micros);
        Some(Heard { from: from.parse().unwrap(), after, what })
    }

    fn through(remote: &str) -> Vec<Through> {
        vec![Through {
            tunnel: "berlin".into(),
            spi_out: "c1a2b3c4".into(),
            peer: "203.0.113.7".into(),
            path_mtu: None,
            path_mtu_source: None,
            mtu: None,
            remote: vec![remote.into()],
        }]
    }

    #[test]
    fn a_hop_is_a_line_for_each_that_answers() {
        let mut hop = Hop::new(3);
        hop.take(heard("203.0.113.1", 310, Said::Expired));
        hop.take(None);
        hop.take(heard("203.0.113.5", 1_290, Said::Expired));
        hop.place = Place::of(&hop, &through("10.2.0.0/24"), "10.2.0.20".parse().unwrap());
        insta::assert_snapshot!(hop.text(Paint::PLAIN), @r"
        3  203.0.113.1              outside            0.31 ms  -
           203.0.113.5              outside            1.29 ms
        ");
        assert!(!hop.is_silent() && !hop.has_reached() && !hop.is_end());
        let mut silent = Hop::new(4);
        silent.take(None);
        assert!(silent.is_silent() && !silent.is_end());
        assert_eq!(silent.text(Paint::PLAIN).trim(), "4  -                        no answer");
    }

    #[test]
    fn a_place_follows_from_the_address() {
        let place = |from: &str, tunnels: &[Through]| {
            let mut hop = Hop::new(1);
            hop.take(heard(from, 1, Said::Expired));
            Place::of(&hop, tunnels, "10.2.0.20".parse().unwrap())
        };
        for remote in ["10.2.0.0/24", "10.2.0.0/24[udp]", "10.2.0.0..10.2.0.255"] {
            let tunnels = through(remote);
            assert_eq!(place("10.2.0.1", &tunnels), Place::Inside, "{remote}");
            assert_eq!(place("203.0.113.1", &tunnels), Place::Outside, "{remote}");
            assert_eq!(place("fd02::1", &tunnels), Place::Outside, "{remote}");
        }
        assert_eq!(place("10.2.0.20", &through("10.2.0.20")), Place::Destination);
        assert_eq!(place("10.2.0.1", &[]), Place::Clear);
    }

    #[test]
    fn a_refusal_is_the_end() {
        let mut hop = Hop::new(2);
        let icmp = Icmp { kind: 3, code: 13 };
        hop.take(heard("10.2.0.1", 200, Said::Refused(icmp)));
        assert!(hop.is_end() && hop.text(Paint::PLAIN).contains("refused (ICMP 3/13)"));
        // Errors are few in a second.
        hop.take(None);
        assert!(hop.is_end());
        let words = hop.refusal("10.2.0.20".parse().unwrap()).unwrap();
        assert_eq!(words, "10.2.0.1 has rules that forbid packets to 10.2.0.20 (ICMP 3/13)");
        hop.take(heard("10.2.0.9", 300, Said::Expired));
        assert!(!hop.is_end(), "another way goes on");
    }
}
