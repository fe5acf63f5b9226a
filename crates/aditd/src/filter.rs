//! The policies as the kernel's packet filter knows them (RFC 4301 §5.2 step 3): what is protected
//! or discarded does not come in beside the tunnels.

use std::net::IpAddr;

use adit_db::{Action, Spd, SpdEntry};
use adit_sys::filter::{FILTER_RULES_MAX, FilterRule, FilterSide};
use adit_wire::ikev2::{PortRange, TrafficSelector};

/// The rules of the configured policies, in their order; at most one more than a filter takes.
pub(crate) fn rules(spd: &Spd) -> Vec<FilterRule> {
    let most = FILTER_RULES_MAX.saturating_add(1);
    spd.fixed_entries().iter().flat_map(rules_of).take(most).collect()
}

fn rules_of(entry: &SpdEntry) -> impl Iterator<Item = FilterRule> {
    let pairs = entry.remote.iter().flat_map(|remote| entry.local.iter().map(move |l| (remote, l)));
    let pass = entry.action == Action::Bypass;
    pairs.filter_map(move |(remote, local)| rule(remote, local, pass))
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
    Some(FilterRule { source, destination, except, protocol, pass })
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
    let overlap = peer.0 <= own.1 && own.0 <= peer.1;
    let within = own.0 <= peer.0 && peer.1 <= own.1 && peer != own;
    overlap && !within
}

#[cfg(test)]
mod tests {
    use adit_db::{PolicyId, TsSpec};

    use super::*;

    fn ts(texts: &[&str]) -> Vec<TrafficSelector> {
        texts.iter().map(|text| text.parse::<TsSpec>().unwrap().selector().unwrap()).collect()
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
        let rules = rules(&spd.unwrap());
        assert_eq!(
            rules.iter().map(|rule| rule.pass).collect::<Vec<_>>(),
            [true, false, false, false]
        );
        let first = rules.first().unwrap();
        assert_eq!((first.protocol, first.source.ports), (Some(17), Some((53, 53))));
        assert_eq!(first.source.addresses.0, "10.2.0.53".parse::<IpAddr>().unwrap());
        assert_eq!(first.destination.addresses.0, "10.1.0.0".parse::<IpAddr>().unwrap());
        assert!(rules.iter().all(|rule| rule.except.is_none()));
    }

    /// Where everything is the peer's, our own hosts still reach each other.
    #[test]
    fn our_own_hosts_are_no_strangers() {
        let spd = Spd::new(vec![entry(&["10.1.0.0/24"], &["0.0.0.0/0"], protect())]).unwrap();
        let own = ("10.1.0.0".parse().unwrap(), "10.1.0.255".parse().unwrap());
        assert_eq!(rules(&spd).first().unwrap().except, Some(own));
        // A client of a gateway that speaks for everybody is kept to its tunnel.
        let spd = Spd::new(vec![entry(&["0.0.0.0/0"], &["10.9.0.5"], protect())]).unwrap();
        assert_eq!(rules(&spd).first().unwrap().except, None);
        // An exception passes whoever it names.
        let spd = Spd::new(vec![entry(&["10.1.0.0/24"], &["0.0.0.0/0"], Action::Bypass)]).unwrap();
        assert_eq!(rules(&spd).first().unwrap().except, None);
    }

    #[test]
    fn what_no_filter_can_tell_makes_no_rule() {
        let entries = vec![
            entry(&["10.1.0.0/24[tcp/1]"], &["10.2.0.0/24[udp/1]"], protect()),
            entry(&["10.1.0.0/24"], &["10.2.0.0/24[tcp/opaque]"], protect()),
        ];
        assert_eq!(rules(&Spd::new(entries).unwrap()), []);
    }

    fn protect() -> Action {
        Action::Protect(PolicyId(0))
    }
}
