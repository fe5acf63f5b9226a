//! On which of its two ways a long packet is lost. An echo request and its answer have the same length, so
//! they do not tell; a datagram to a closed port has a short answer, whatever its own length.

use std::net::IpAddr;
use std::time::Duration;

use adit_sys::netlink::Netlink;
use adit_sys::ping::{Pinger, Refusal};
use adit_sys::trace::{Probe, Said, Tracer};
use adit_wire::ip::Icmp;
use serde::Serialize;

use crate::echo::network::payload_of;
use crate::echo::size::Sizes;

/// A direction.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Way {
    /// From us to the peer's side.
    There,
    /// From the peer's side to us.
    Back,
}

impl Way {
    /// For people, behind `vanish without a word`.
    pub(crate) fn words(way: Option<Self>) -> &'static str {
        match way {
            Some(Self::There) => " on the way there",
            Some(Self::Back) => " on the way back",
            None => "",
        }
    }
}

/// What came of a datagram.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Datagram {
    /// The destination says that its port is closed.
    Arrived,
    /// Somebody says that it is too long.
    Refused,
    Silence,
}

/// The way on which what vanishes does. `None` if nothing vanishes, or if that cannot be told: since
/// nobody answers datagrams, or since long packets pass meanwhile.
pub(crate) fn lost_on(
    pinger: &mut Pinger,
    to: IpAddr,
    sizes: &Sizes,
    patience: Duration,
) -> Option<Way> {
    let lost = sizes.lost.filter(|_| answer_is_short(to, sizes.largest))?;
    let from = Netlink::open().ok()?.lookup_route(to, None, 0).ok()?.source?;
    let mut tracer = Tracer::open(from, to, Probe::Udp(PORT)).ok()?;
    let mut ask = |octets: u32| match tracer.ask_uncut(octets_of(octets), patience) {
        Ok(Some(heard)) => match heard.what {
            Said::Reached => Datagram::Arrived,
            Said::Refused(icmp) if is_too_big(heard.from, icmp) => Datagram::Refused,
            // Whoever refuses it for another reason refuses short ones, too, and nothing is known.
            Said::Refused(_) | Said::Expired => Datagram::Silence,
        },
        Ok(None) | Err(_) => Datagram::Silence,
    };
    let mut long = ask(lost);
    if long == Datagram::Silence {
        long = ask(lost);
    }
    // Whether anybody answers datagrams there is of interest only if nobody has.
    let short = if long == Datagram::Silence { ask(SHORT_OCTETS) } else { long };
    // The daemon's own probes may have found the way narrow meanwhile: then long packets pass in several.
    let still = matches!(pinger.round_trip(payload_of(lost, to), patience), Ok(None))
        && !pinger.take_refusal().is_some_and(|refusal| refusal.is_too_big());
    judge(long, short, still)
}

fn judge(long: Datagram, short: Datagram, still: bool) -> Option<Way> {
    match (long, short) {
        // Somebody on our side knows by now that the way there is narrow.
        (Datagram::Refused, _) => Some(Way::There),
        _ if !still => None,
        (Datagram::Arrived, _) => Some(Way::Back),
        (Datagram::Silence, Datagram::Arrived) => Some(Way::There),
        (Datagram::Silence, _) => None,
    }
}

fn is_too_big(from: IpAddr, icmp: Icmp) -> bool {
    Refusal { from, icmp }.is_too_big()
}

fn octets_of(length: u32) -> usize {
    usize::try_from(length).unwrap_or(usize::MAX)
}

/// Whether the answer to a long datagram is one that passes: of IPv4 it quotes so much that it has 576
/// octets (RFC 1812 §4.3.2.3), of IPv6 so much that it has 1,280 (RFC 4443 §2.4).
fn answer_is_short(to: IpAddr, passes: u32) -> bool {
    passes >= if to.is_ipv4() { 576 } else { 1_280 }
}

/// Where traceroute begins, and nobody listens.
const PORT: u16 = 33_434;
/// A datagram that passes wherever IP does.
const SHORT_OCTETS: u32 = 100;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_answer_to_a_long_datagram_tells_the_ways_apart() {
        use Datagram::{Arrived, Refused, Silence};
        assert_eq!(judge(Arrived, Arrived, true), Some(Way::Back));
        assert_eq!(judge(Silence, Arrived, true), Some(Way::There));
        assert_eq!(judge(Refused, Refused, false), Some(Way::There));
        assert_eq!(judge(Silence, Silence, true), None, "nobody answers datagrams");
        assert_eq!(judge(Arrived, Arrived, false), None, "it passes meanwhile");
        assert_eq!(judge(Silence, Arrived, false), None);
    }

    /// What cannot be told from a lost answer is not told.
    #[test]
    fn answers_of_ipv6_may_be_too_long_themselves() {
        let [v4, v6] = ["10.2.0.1", "fd02::1"].map(|text| text.parse::<IpAddr>().unwrap());
        assert!(answer_is_short(v4, 600) && !answer_is_short(v4, 500));
        assert!(answer_is_short(v6, 1_280) && !answer_is_short(v6, 1_214));
    }
}
