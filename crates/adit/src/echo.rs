//! Echo requests through a tunnel: whom to ask, what the SAs counted meanwhile, and what both say
//! together about where packets are lost. `adit ping` and `adit doctor` share this.

pub(crate) mod network;
pub(crate) mod refusal;
pub(crate) mod size;
pub(crate) mod way;

use std::net::IpAddr;
use std::time::Duration;

use adit_mgmt::api::{SaStatus, SadReport, TunnelStatus};
use ipnet::IpNet;
use serde::Serialize;

/// Whom to ask behind the peer if nobody says: the first address of the first network there, to which
/// a child carries echo requests. Often that is the peer's own.
pub(crate) fn inside(tunnel: &TunnelStatus) -> Option<IpAddr> {
    each_inside(tunnel).next()
}

/// The same of every network there.
pub(crate) fn each_inside(tunnel: &TunnelStatus) -> impl Iterator<Item = IpAddr> {
    let children = tunnel.children.iter();
    let carries = children.filter(|child| {
        child.local.is_empty() || child.local.iter().any(|selector| carries_echo(selector))
    });
    let networks = carries.flat_map(|child| &child.remote);
    networks.filter(|selector| carries_echo(selector)).filter_map(|text| first_address(text))
}

/// Whether a selector such as `10.2.0.0/24`, `10.2.0.1..10.2.0.9` or `10.2.0.0/24[udp]` has an address.
pub(crate) fn contains(selector: &str, address: IpAddr) -> bool {
    let Some(addresses) = selector.split(['[', ' ']).next() else { return false };
    if let Some((first, last)) = addresses.split_once("..").or_else(|| addresses.split_once('-')) {
        let ends = (first.parse::<IpAddr>(), last.parse::<IpAddr>());
        return matches!(ends, (Ok(first), Ok(last)) if (first..=last).contains(&address)
            && first.is_ipv4() == address.is_ipv4());
    }
    match addresses.parse::<IpNet>() {
        Ok(network) => network.contains(&address),
        Err(_) => addresses.parse() == Ok(address),
    }
}

/// Whether a selector is about all of ICMP, alone or among all else.
fn carries_echo(selector: &str) -> bool {
    let Some((_, rest)) = selector.split_once('[') else { return true };
    matches!(rest.trim_end_matches(']'), "any" | "icmp" | "icmpv6" | "ipv6-icmp" | "1" | "58")
}

/// The first address that a host can have in a selector such as `10.2.0.0/24` or `10.2.0.0/24[icmp]`.
fn first_address(selector: &str) -> Option<IpAddr> {
    let addresses = selector.split(['[', ' ']).next()?;
    if let Some((first, _)) = addresses.split_once("..").or_else(|| addresses.split_once('-')) {
        return first.parse().ok();
    }
    if let Ok(address) = addresses.parse() {
        return Some(address);
    }
    let network: IpNet = addresses.parse().ok()?;
    // RFC 4291 §2.6.1: the first one of IPv6 is any router's, who answers by another address.
    let skipped = usize::from(network.addr().is_ipv6() && network.prefix_len() < 127);
    // Everything has no first address that means anything.
    (network.prefix_len() > 0).then(|| network.hosts().nth(skipped)).flatten()
}

/// What the SAs of one tunnel have counted.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize)]
pub(crate) struct Flow {
    /// Packets sent on its SAs.
    pub(crate) packets_out: u64,
    /// Packets received on them.
    pub(crate) packets_in: u64,
}

impl Flow {
    /// Of all SAs of the tunnel.
    pub(crate) fn of(tunnel: &str, report: &SadReport) -> Self {
        sas_of(tunnel, report).fold(Self::default(), |sum, sa| Self {
            packets_out: sum.packets_out.saturating_add(sa.packets_out),
            packets_in: sum.packets_in.saturating_add(sa.packets_in),
        })
    }

    /// The same by sequence numbers: with what the engines say to each other, probes of the path MTU
    /// and their answers, which no counter of packets shows.
    pub(crate) fn by_sequence(tunnel: &str, report: &SadReport) -> Self {
        sas_of(tunnel, report).fold(Self::default(), |sum, sa| Self {
            packets_out: sum.packets_out.saturating_add(sa.sequence_out),
            packets_in: sum.packets_in.saturating_add(sa.sequence_in),
        })
    }

    /// What was counted since `earlier`.
    pub(crate) fn since(self, earlier: Self) -> Self {
        Self {
            packets_out: self.packets_out.saturating_sub(earlier.packets_out),
            packets_in: self.packets_in.saturating_sub(earlier.packets_in),
        }
    }
}

/// The SAs of one tunnel.
pub(crate) fn sas_of<'a>(
    tunnel: &'a str,
    report: &'a SadReport,
) -> impl Iterator<Item = &'a SaStatus> {
    report.sas.iter().filter(move |sa| sa.tunnel == tunnel)
}

/// Where requests without an answer were lost, as far as this side can tell.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Lost {
    /// Not all of them left on the SA.
    Here,
    /// They left, and less came back on the SA: on the way there, at the other end, or on the way
    /// back.
    Beyond,
    /// As many came back on the SA as left, but not to whom had asked.
    Behind,
    /// Somebody has said by ICMP why they do not arrive.
    Refused,
}

impl Lost {
    /// `None` if every request was answered. Other traffic of the tunnel is in the counters, too, and
    /// can hide a loss, never make one up.
    pub(crate) fn judge(sent: u64, answered: u64, flow: Flow, refused: bool) -> Option<Self> {
        if answered >= sent {
            None
        } else if refused {
            Some(Self::Refused)
        } else if flow.packets_out < sent {
            Some(Self::Here)
        } else if flow.packets_in < flow.packets_out.min(sent) {
            Some(Self::Beyond)
        } else {
            Some(Self::Behind)
        }
    }

    /// For people.
    pub(crate) fn text(self) -> &'static str {
        match self {
            Self::Here => {
                "on this host: not every request left on the SA; `adit status NAME --drops` says why"
            }
            Self::Beyond => {
                "beyond this host: what left did not come back; on the way, or nobody there answers"
            }
            Self::Behind => {
                "on this host, behind the tunnel: answers came in on the SA and did not get here"
            }
            Self::Refused => "somebody says that they do not arrive",
        }
    }
}

/// Round trips in numbers.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Statistics {
    pub(crate) sent: u64,
    pub(crate) round_trips: Vec<Duration>,
}

impl Statistics {
    /// Takes what came of one request.
    pub(crate) fn take(&mut self, round_trip: Option<Duration>) {
        self.sent += 1;
        self.round_trips.extend(round_trip);
    }

    /// Requests answered.
    pub(crate) fn answered(&self) -> u64 {
        self.round_trips.len() as u64
    }

    /// Lost of a hundred.
    pub(crate) fn loss_percent(&self) -> f64 {
        if self.sent == 0 {
            return 0.0;
        }
        (self.sent - self.answered()) as f64 * 100.0 / self.sent as f64
    }

    /// The mean, in milliseconds.
    pub(crate) fn mean_ms(&self) -> Option<f64> {
        mean(self.round_trips.iter().map(|time| ms(*time)))
    }

    /// The shortest and the longest, in milliseconds.
    pub(crate) fn range_ms(&self) -> Option<(f64, f64)> {
        let (min, max) = (self.round_trips.iter().min()?, self.round_trips.iter().max()?);
        Some((ms(*min), ms(*max)))
    }

    /// By how much one round trip differs from the one before, on average, in milliseconds.
    pub(crate) fn jitter_ms(&self) -> Option<f64> {
        let pairs = self.round_trips.iter().zip(self.round_trips.iter().skip(1));
        mean(pairs.map(|(one, next)| (ms(*one) - ms(*next)).abs()))
    }
}

fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let (count, sum) = values.fold((0_u32, 0.0), |(count, sum), value| (count + 1, sum + value));
    (count > 0).then(|| sum / f64::from(count))
}

/// A time in milliseconds.
pub(crate) fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

#[cfg(test)]
mod tests {
    use adit_mgmt::api::ChildStatus;

    use super::*;

    #[test]
    fn the_first_address_of_the_peers_network_is_asked() {
        let first = |text: &str| first_address(text).map(|address| address.to_string());
        assert_eq!(first("10.2.0.0/24").as_deref(), Some("10.2.0.1"));
        assert_eq!(first("10.2.0.7").as_deref(), Some("10.2.0.7"));
        assert_eq!(first("10.2.0.7/32[tcp/443]").as_deref(), Some("10.2.0.7"));
        assert_eq!(first("10.2.0.7-10.2.0.9").as_deref(), Some("10.2.0.7"));
        assert_eq!(first("10.2.0.7..10.2.0.9").as_deref(), Some("10.2.0.7"));
        assert_eq!(first("fd02::/48").as_deref(), Some("fd02::1"));
        assert_eq!(first("fd02::/127").as_deref(), Some("fd02::"));
        assert_eq!(first("fd02::7/128").as_deref(), Some("fd02::7"));
        assert_eq!(first("0.0.0.0/0"), None);
        assert_eq!(first("any"), None);
    }

    /// A tunnel for one protocol or port has no policy for echo requests, and that is no fault.
    #[test]
    fn networks_that_carry_no_echo_requests_are_not_asked() {
        let asked = |local: &str, remote: &[&str]| {
            let remote = remote.iter().map(|text| (*text).to_owned()).collect();
            let child = ChildStatus { local: vec![local.into()], remote, ..ChildStatus::default() };
            let tunnel = TunnelStatus { children: vec![child], ..TunnelStatus::default() };
            inside(&tunnel).map(|address| address.to_string())
        };
        let lan = "10.1.0.0/24";
        assert_eq!(asked(lan, &["10.2.0.0/24[tcp/443]"]), None);
        assert_eq!(asked(lan, &["10.2.0.0/24[icmp/echo-reply]"]), None);
        assert_eq!(asked("10.1.0.0/24[udp]", &["10.2.0.0/24"]), None);
        let second = ["10.2.0.0/24[tcp/443]", "10.3.0.0/24[icmp]"];
        assert_eq!(asked(lan, &second).as_deref(), Some("10.3.0.1"));
        assert_eq!(asked(lan, &["10.2.0.0/24"]).as_deref(), Some("10.2.0.1"));
    }

    #[test]
    fn the_counters_say_where_a_request_was_lost() {
        let flow = |packets_out, packets_in| Flow { packets_out, packets_in };
        let judge = |answered, flow| Lost::judge(4, answered, flow, false);
        assert_eq!(judge(4, flow(4, 4)), None);
        assert_eq!(judge(0, flow(0, 0)), Some(Lost::Here));
        assert_eq!(judge(1, flow(4, 1)), Some(Lost::Beyond));
        assert_eq!(judge(0, flow(4, 4)), Some(Lost::Behind));
        // What came in are errors, and they got here.
        assert_eq!(Lost::judge(4, 0, flow(4, 4), true), Some(Lost::Refused));
        assert_eq!(Lost::judge(4, 4, flow(4, 4), true), None, "of an earlier one");
    }

    #[test]
    fn jitter_is_the_mean_step_between_round_trips() {
        let mut statistics = Statistics::default();
        for time in [Some(10), Some(14), None, Some(12)] {
            statistics.take(time.map(Duration::from_millis));
        }
        assert_eq!((statistics.sent, statistics.answered()), (4, 3));
        assert!((statistics.loss_percent() - 25.0).abs() < 1e-9);
        assert!(statistics.jitter_ms().is_some_and(|jitter| (jitter - 3.0).abs() < 1e-9));
        assert!(statistics.mean_ms().is_some_and(|mean| (mean - 12.0).abs() < 1e-9));
        assert_eq!(Statistics::default().jitter_ms(), None);
    }
}
