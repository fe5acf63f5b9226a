//! The policies as the kernel's packet filter knows them (RFC 4301 §5.2 step 3): what is protected
//! or discarded does not come in beside the tunnels.
//!
//! What the kernel protects is its own affair: it drops what comes in clear, and what it has opened
//! comes by this filter once more, in clear.
//!
//! Tunnels with an interface of their own have no rules: routes decide what is theirs, and where
//! several have the same selectors nothing tells which packets should not have come in clear.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use adit_db::{Action, HostSpec, PolicyId, Spd};
use adit_ike::TCP_LOCAL_PORTS;
use adit_sys::filter::{FILTER_RULES_MAX, FilterRule, FilterSide};
use adit_wire::iana::IpProtocol;
use adit_wire::ikev2::{PortRange, TrafficSelector};

use crate::policy::Held;

/// The rules of the configured policies of the user-space engine, in their order; at most one more
/// than a filter takes. Where the kernel's are within those they go before, and let pass. Who sends in clear
/// what a policy protects is told if `is_told` says so.
pub(crate) fn rules(
    spd: &Spd,
    of_kernel: &[Held],
    is_told: impl Fn(PolicyId) -> bool,
) -> Vec<FilterRule> {
    let most = FILTER_RULES_MAX.saturating_add(1);
    let ours = spd.fixed_entries().iter().flat_map(|entry| {
        let told = matches!(entry.action, Action::Protect(policy) if is_told(policy));
        let rules = rules_of(&entry.local, &entry.remote, entry.action == Action::Bypass);
        rules.map(move |rule| FilterRule { told, ..rule })
    });
    let ours: Vec<FilterRule> = ours.take(most).collect();
    let concern = |rule: &FilterRule| ours.iter().any(|one| !one.pass && meet(one, rule));
    // What comes through an interface of its own passes by that.
    let of_kernel = of_kernel.iter().filter(|held| held.steering.interface.is_none());
    let kernels = of_kernel.flat_map(|held| {
        // What the kernel has opened for such a tunnel has its mark.
        let mark = held.steering.mark.map(|mark| (mark.value, mark.mask));
        rules_of(&held.local, &held.remote, true).map(move |rule| FilterRule { mark, ..rule })
    });
    let kernels: Vec<FilterRule> = kernels.filter(concern).collect();
    kernels.into_iter().chain(ours).chain(leaving(spd)).take(most).collect()
}

/// The same rules behind those for the answers of peers that are reached by TCP (RFC 9329), which come
/// in clear like UDP 4500 and may be within a policy, as everything is where all goes to the peer. What
/// passes is the peer's alone, and goes to a port as our connections have them.
pub(crate) fn with_tcp<'a>(
    rules: Vec<FilterRule>,
    servers: impl Iterator<Item = (&'a HostSpec, u16)>,
) -> Vec<FilterRule> {
    let most = FILTER_RULES_MAX.saturating_add(1);
    let answers = servers.flat_map(|(host, port)| {
        let addresses = match host {
            HostSpec::Address(address) => vec![(*address, *address)],
            HostSpec::Network(network) => vec![(network.network(), network.broadcast())],
            HostSpec::Any | HostSpec::Name(_) => vec![EVERYBODY_V4, EVERYBODY_V6],
        };
        addresses.into_iter().map(move |addresses| FilterRule {
            source: FilterSide { addresses, ports: Some((port, port)) },
            destination: FilterSide {
                addresses: if addresses.0.is_ipv4() { EVERYBODY_V4 } else { EVERYBODY_V6 },
                ports: Some((*TCP_LOCAL_PORTS.start(), *TCP_LOCAL_PORTS.end())),
            },
            except: None,
            protocol: Some(IpProtocol::TCP.0),
            mark: None,
            pass: true,
            leaving: false,
            told: false,
        })
    });
    let drops = |rule: &&FilterRule| !rule.pass && !rule.leaving;
    let concern = |answer: &FilterRule| rules.iter().filter(drops).any(|rule| meet(answer, rule));
    let mut all: Vec<FilterRule> = Vec::new();
    for answer in answers.filter(concern).take(most) {
        if !all.contains(&answer) {
            all.push(answer);
        }
    }
    all.extend(rules);
    all.truncate(most);
    all
}

/// All addresses of each family.
const EVERYBODY_V4: (IpAddr, IpAddr) =
    (IpAddr::V4(Ipv4Addr::UNSPECIFIED), IpAddr::V4(Ipv4Addr::BROADCAST));
const EVERYBODY_V6: (IpAddr, IpAddr) =
    (IpAddr::V6(Ipv6Addr::UNSPECIFIED), IpAddr::V6(Ipv6Addr::from_bits(u128::MAX)));

/// What is protected on its way to a multicast group must not leave beside the TUN: programs choose
/// the interface for a group themselves, whatever the routes say.
fn leaving(spd: &Spd) -> Vec<FilterRule> {
    let mut rules = Vec::new();
    for entry in spd.fixed_entries() {
        let pass = entry.action == Action::Bypass;
        // Outbound, our side is the source.
        for rule in rules_of(&entry.remote, &entry.local, pass) {
            let rule = FilterRule { except: None, leaving: true, ..rule };
            rules.push((rule, matches!(entry.action, Action::Protect(_))));
        }
    }
    let is_group = |rule: &FilterRule| {
        let (first, last) = rule.destination.addresses;
        first.is_multicast() && last.is_multicast()
    };
    let protected: Vec<FilterRule> = rules
        .iter()
        .filter(|(rule, protect)| *protect && is_group(rule))
        .map(|(rule, _)| *rule)
        .collect();
    let concerns = |rule: &FilterRule| rule.pass && protected.iter().any(|one| meet(one, rule));
    let kept = rules.into_iter().map(|(rule, _)| rule);
    kept.filter(|rule| concerns(rule) || protected.contains(rule)).collect()
}

fn rules_of<'a>(
    local: &'a [TrafficSelector],
    remote: &'a [TrafficSelector],
    pass: bool,
) -> impl Iterator<Item = FilterRule> + use<'a> {
    let pairs = remote.iter().flat_map(|remote| local.iter().map(move |local| (remote, local)));
    pairs.filter_map(move |(remote, local)| rule(remote, local, pass))
}

/// Whether packets of one rule may be those of the other.
fn meet(one: &FilterRule, other: &FilterRule) -> bool {
    overlap(one.source.addresses, other.source.addresses)
        && overlap(one.destination.addresses, other.destination.addresses)
}

/// `None` for selectors that no packet matches, or none that a filter could tell.
fn rule(remote: &TrafficSelector, local: &TrafficSelector, pass: bool) -> Option<FilterRule> {
    let protocol = match (remote.protocol, local.protocol) {
        (0, protocol) | (protocol, 0) => protocol,
        (one, other) => (one == other).then_some(one)?,
    };
    if remote.is_ipv4() != local.is_ipv4() {
        return None;
    }
    let (source, destination) = (side(remote)?, side(local)?);
    let own = destination.addresses;
    let except = (!pass && takes_in(source.addresses, own)).then_some(own);
    let protocol = (protocol != 0).then_some(protocol);
    let (mark, leaving, told) = (None, false, false);
    Some(FilterRule { source, destination, except, protocol, mark, pass, leaving, told })
}

fn side(selector: &TrafficSelector) -> Option<FilterSide> {
    let ports = match selector.ports {
        PortRange::ANY => None,
        // Packets that show no port: nothing that a filter could ask for.
        PortRange::OPAQUE => return None,
        PortRange { start, end } => Some((start, end)),
    };
    Some(FilterSide { addresses: (selector.start, selector.end), ports })
}

/// Whether the peer's side is so wide that it takes in our own hosts, which may speak to each other
/// as ever. A part of our side that is the peer's is not meant.
fn takes_in(peer: (IpAddr, IpAddr), own: (IpAddr, IpAddr)) -> bool {
    let within = own.0 <= peer.0 && peer.1 <= own.1 && peer != own;
    overlap(peer, own) && !within
}

fn overlap(one: (IpAddr, IpAddr), other: (IpAddr, IpAddr)) -> bool {
    one.0 <= other.1 && other.0 <= one.1
}

#[cfg(test)]
mod tests {
    use adit_db::{SpdEntry, Steering, TsSpec};

    use super::*;

    fn ts(texts: &[&str]) -> Vec<TrafficSelector> {
        texts.iter().map(|text| text.parse::<TsSpec>().unwrap().selector().unwrap()).collect()
    }

    /// Where everything is the peer's, its own answers by TCP come in all the same.
    #[test]
    fn answers_by_tcp_pass() {
        let spd = Spd::new(vec![entry(&["10.1.0.0/24"], &["0.0.0.0/0"], protect())]);
        let rules = rules(&spd.unwrap(), &[], |_| false);
        let peer = |text: &str| text.parse::<HostSpec>().unwrap();
        let (near, far) = (peer("203.0.113.7"), peer("2001:db8::7"));
        let all = with_tcp(rules.clone(), [(&near, 443), (&near, 443), (&far, 443)].into_iter());
        assert_eq!(all[1..], rules, "one more, that of the family that is filtered");
        let answer = all[0];
        assert!(answer.pass && answer.protocol == Some(6));
        assert_eq!(answer.source.ports, Some((443, 443)));
        assert_eq!(answer.source.addresses.0.to_string(), "203.0.113.7");
        assert_eq!(with_tcp(Vec::new(), [(&near, 443)].into_iter()), []);
    }

    fn entry(local: &[&str], remote: &[&str], action: Action) -> SpdEntry {
        SpdEntry { local: ts(local), remote: ts(remote), action }
    }

    /// Inbound, the peer's side is the source; the order stays, and exceptions pass.
    #[test]
    fn rules_follow_the_policies() {
        let spd = Spd::new(vec![
            entry(&["10.1.0.0/24"], &["10.2.0.53[udp/53]"], Action::Bypass),
            entry(&["10.1.0.0/24", "fd01::/64"], &["10.2.0.0/24", "fd02::/64"], protect()),
            entry(&["10.1.0.0/24"], &["10.9.0.0/24"], Action::Discard),
        ]);
        let rules = rules(&spd.unwrap(), &[], |_| false);
        assert_eq!(
            rules.iter().map(|rule| rule.pass).collect::<Vec<_>>(),
            [true, false, false, false]
        );
        let first = rules.first().unwrap();
        assert_eq!((first.protocol, first.source.ports), (Some(17), Some((53, 53))));
        assert_eq!(first.source.addresses.0, "10.2.0.53".parse::<IpAddr>().unwrap());
        assert_eq!(first.destination.addresses.0, "10.1.0.0".parse::<IpAddr>().unwrap());
        assert!(rules.iter().all(|rule| rule.except.is_none()));
        assert!(rules.iter().all(|rule| !rule.told));
    }

    /// RFC 2521: of what a tunnel protects its operator says whether senders are told.
    #[test]
    fn who_sends_in_clear_is_told_if_a_tunnel_says_so() {
        let spd = Spd::new(vec![
            entry(&["10.1.0.0/24"], &["10.9.0.0/24"], Action::Discard),
            entry(&["10.1.0.0/24"], &["10.2.0.0/24"], protect()),
        ]);
        let rules = rules(&spd.unwrap(), &[], |policy| policy == PolicyId(0));
        assert_eq!(rules.iter().map(|rule| rule.told).collect::<Vec<_>>(), [false, true]);
    }

    /// Where everything is the peer's, our own hosts still reach each other.
    #[test]
    fn our_own_hosts_are_no_strangers() {
        let spd = Spd::new(vec![
            entry(&["0.0.0.0/0"], &["10.2.0.5"], Action::Bypass),
            entry(&["10.1.0.0/24"], &["0.0.0.0/0"], protect()),
        ]);
        let own = ("10.1.0.0".parse().unwrap(), "10.1.0.255".parse().unwrap());
        let found = rules(&spd.unwrap(), &[], |_| false);
        // What may pass needs no exception, and has none: a whole side would leave nothing over.
        let exceptions: Vec<_> = found.iter().map(|rule| rule.except).collect();
        assert_eq!(exceptions, [None, Some(own)]);
        // A client of a gateway that speaks for everybody is kept to its tunnel.
        let spd = Spd::new(vec![entry(&["0.0.0.0/0"], &["10.9.0.5"], protect())]).unwrap();
        assert_eq!(rules(&spd, &[], |_| false).first().unwrap().except, None);
    }

    #[test]
    fn what_no_filter_can_tell_makes_no_rule() {
        let entries = vec![
            entry(&["10.1.0.0/24[tcp/1]"], &["10.2.0.0/24[udp/1]"], protect()),
            entry(&["10.1.0.0/24"], &["10.2.0.0/24[tcp/opaque]"], protect()),
        ];
        assert_eq!(rules(&Spd::new(entries).unwrap(), &[], |_| false), []);
    }

    /// A group's packets leave by us or not at all, but for what an operator lets pass before.
    #[test]
    fn what_is_for_a_group_does_not_leave_beside_us() {
        let spd = Spd::new(vec![
            entry(&["10.1.0.0/24"], &["0.0.0.0/0[udp/53]"], Action::Bypass),
            entry(&["10.1.0.0/24"], &["10.9.0.0/24"], Action::Bypass),
            entry(&["10.1.0.0/24"], &["239.1.1.1"], protect()),
            entry(&["10.1.0.0/24"], &["10.2.0.0/24"], protect()),
        ]);
        let rules = rules(&spd.unwrap(), &[], |_| false);
        let leaving: Vec<_> = rules.iter().filter(|rule| rule.leaving).collect();
        assert_eq!(leaving.iter().map(|rule| rule.pass).collect::<Vec<_>>(), [true, false]);
        let group: IpAddr = "239.1.1.1".parse().unwrap();
        assert_eq!(leaving[1].destination.addresses, (group, group));
        assert_eq!(leaving[1].source.addresses.0, "10.1.0.0".parse::<IpAddr>().unwrap());
        assert_eq!(leaving[0].destination.ports, Some((53, 53)));
    }

    /// What the kernel has opened passes the filter in clear: no rule may take it.
    #[test]
    fn what_the_kernel_protects_is_its_own_affair() {
        let held = |remote: &str| {
            let (local, remote) = (ts(&["10.1.0.0/24"]), ts(&[remote]));
            Held { policy: PolicyId(1), local, remote, steering: Steering::default() }
        };
        let empty = Spd::new(Vec::new()).unwrap();
        assert_eq!(rules(&empty, &[held("10.2.0.0/24")], |_| false), []);

        let ours = entry(&["10.1.0.0/24"], &["10.2.0.0/16"], protect());
        let spd = Spd::new(vec![ours]).unwrap();
        let rules = rules(&spd, &[held("10.9.0.0/24"), held("10.2.7.0/24")], |_| false);
        assert_eq!(rules.iter().map(|rule| rule.pass).collect::<Vec<_>>(), [true, false]);
        let first: IpAddr = "10.2.7.0".parse().unwrap();
        assert_eq!(rules.first().unwrap().source.addresses.0, first);
    }

    fn protect() -> Action {
        Action::Protect(PolicyId(0))
    }
}
