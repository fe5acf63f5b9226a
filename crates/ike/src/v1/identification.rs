//! Identities of phase 1 and selectors of phase 2: the same payload (RFC 2407 §4.6.2).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use adit_db::Identity;
use adit_wire::Writer;
use adit_wire::iana::doi::IdType;
use adit_wire::iana::{IdType as IdentityType, IpProtocol};
use adit_wire::ikev2::{PortRange, TrafficSelector};
use adit_wire::isakmp::Id;

use super::received::Received;

/// The body of the ID payload of phase 1; the numbers of the types are those of IKEv2.
pub(crate) fn phase1_body(identity: &Identity) -> Vec<u8> {
    let data = identity.octets();
    body(&Id { kind: IdType(identity.kind().0), protocol: 0, port: 0, data: &data })
}

/// The identity of phase 1. `None` if nobody here is known by one of its type, or if it is for another
/// protocol or port than IKE (RFC 2407 §4.6.2).
pub(crate) fn identity(id: &Id<'_>) -> Option<Identity> {
    let is_ike = matches!((id.protocol, id.port), (0 | UDP, 0 | 500 | 4500));
    Identity::from_wire(IdentityType(id.kind.0), id.data).ok().filter(|_| is_ike)
}

/// Who the sender of a message of phase 1 says it is.
pub(crate) fn claimed_identity(received: &Received<'_>) -> Option<Identity> {
    received.ids.first().and_then(|(id, _)| identity(id))
}

/// The body of IDci or IDcr.
pub(crate) fn selector_body(selector: &TrafficSelector) -> Vec<u8> {
    let (start, end) = (octets(selector.start), octets(selector.end));
    let is_v4 = selector.start.is_ipv4();
    let by_version = |v4, v6| if is_v4 { v4 } else { v6 };
    let (kind, data) = if selector.start == selector.end {
        (by_version(IdType::IPV4_ADDR, IdType::IPV6_ADDR), start)
    } else if let Some(prefix) = selector.prefix_len() {
        let mask = mask(is_v4, prefix);
        let kind = by_version(IdType::IPV4_ADDR_SUBNET, IdType::IPV6_ADDR_SUBNET);
        (kind, [start, octets(mask)].concat())
    } else {
        let kind = by_version(IdType::IPV4_ADDR_RANGE, IdType::IPV6_ADDR_RANGE);
        (kind, [start, end].concat())
    };
    let port = if selector.ports == PortRange::ANY { 0 } else { selector.ports.start };
    body(&Id { kind, protocol: selector.protocol, port, data: &data })
}

/// Both selectors of a quick mode, IDci first. `None` if there are not two, or one is none.
pub(crate) fn pair(ids: &[(Id<'_>, &[u8])]) -> Option<(TrafficSelector, TrafficSelector)> {
    match ids {
        [(first, _), (second, _)] => Some((selector(first)?, selector(second)?)),
        _ => None,
    }
}

fn selector(id: &Id<'_>) -> Option<TrafficSelector> {
    let half = id.data.len() / 2;
    let (first, second) = id.data.split_at_checked(half)?;
    let selector = match id.kind {
        IdType::IPV4_ADDR | IdType::IPV6_ADDR => TrafficSelector::from_address(address(id.data)?),
        IdType::IPV4_ADDR_SUBNET | IdType::IPV6_ADDR_SUBNET => {
            let prefix = prefix_len(address(second)?)?;
            TrafficSelector::from_prefix(address(first)?, prefix).ok()?
        }
        IdType::IPV4_ADDR_RANGE | IdType::IPV6_ADDR_RANGE => {
            TrafficSelector::from_range(address(first)?, address(second)?).ok()?
        }
        _ => return None,
    };
    let ports = if id.port == 0 { PortRange::ANY } else { PortRange::single(id.port) };
    // A port means nothing without a protocol that has some.
    let is_sensible = id.port == 0 || id.protocol != 0;
    is_sensible.then(|| selector.with_protocol(IpProtocol(id.protocol), ports))
}

fn body(id: &Id<'_>) -> Vec<u8> {
    let mut octets = Vec::new();
    id.write(&mut Writer(&mut octets));
    octets
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

fn address(octets: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(octets).map(|octets| IpAddr::V4(octets.into()));
    v4.or_else(|_| <[u8; 16]>::try_from(octets).map(|octets| IpAddr::V6(octets.into()))).ok()
}

fn mask(is_v4: bool, prefix: u8) -> IpAddr {
    let shift = |bits: u32| bits.saturating_sub(prefix.into());
    match is_v4 {
        true => Ipv4Addr::from(u32::MAX.checked_shl(shift(32)).unwrap_or(0)).into(),
        false => Ipv6Addr::from(u128::MAX.checked_shl(shift(128)).unwrap_or(0)).into(),
    }
}

/// The length of a prefix by its mask; `None` if ones follow zeros.
fn prefix_len(mask: IpAddr) -> Option<u8> {
    let (ones, all) = match mask {
        IpAddr::V4(mask) => {
            let bits = u32::from(mask);
            (bits.leading_ones(), bits.count_ones())
        }
        IpAddr::V6(mask) => {
            let bits = u128::from(mask);
            (bits.leading_ones(), bits.count_ones())
        }
    };
    (ones == all).then(|| u8::try_from(ones).ok()).flatten()
}

const UDP: u8 = 17;

#[cfg(test)]
mod tests {
    use adit_wire::Reader;

    use super::*;

    fn read(text: &str) -> TrafficSelector {
        let spec: adit_db::TsSpec = text.parse().unwrap();
        spec.selector().unwrap()
    }

    /// CHECKLIST U01: addresses, networks and ranges, with and without protocol and port.
    #[test]
    fn selectors_go_over_the_wire_and_back() {
        for text in [
            "10.1.0.0/24",
            "10.1.0.7",
            "0.0.0.0/0",
            "2001:db8::/32",
            "2001:db8::1",
            "10.1.0.3-10.1.0.9",
            "10.1.0.0/24[tcp/443]",
            "10.1.0.7[udp]",
        ] {
            let ts = read(text);
            let body = selector_body(&ts);
            let id = Id::read(&mut Reader(&body)).unwrap();
            assert_eq!(selector(&id), Some(ts), "{text}");
        }
    }

    /// CHECKLIST U02: one ID alone is none.
    #[test]
    fn what_is_no_pair_of_networks_is_refused() {
        let body = selector_body(&read("10.1.0.0/24"));
        let id = Id::read(&mut Reader(&body)).unwrap();
        assert_eq!(pair(&[]), None);
        assert_eq!(pair(&[(id, &body)]), None);
        let hole = [10, 1, 0, 0, 255, 0, 255, 0];
        let hole = Id { data: &hole, ..id };
        assert_eq!(pair(&[(id, &body), (hole, &body)]), None);
        let port = Id { port: 80, ..id };
        assert_eq!(pair(&[(id, &body), (port, &body)]), None);
        let name = Id { kind: IdType(2), data: b"a.example", ..id };
        assert_eq!(pair(&[(id, &body), (name, &body)]), None);
    }

    /// RFC 2407 §4.6.2: an identity of phase 1 is for IKE.
    #[test]
    fn identities_are_for_ike() {
        let gateway: Identity = "gw.example".parse().unwrap();
        let body = phase1_body(&gateway);
        let id = Id::read(&mut Reader(&body)).unwrap();
        assert_eq!(identity(&id), Some(gateway.clone()));
        assert_eq!(identity(&Id { protocol: 17, port: 500, ..id }), Some(gateway));
        assert_eq!(identity(&Id { protocol: 6, port: 80, ..id }), None);
    }
}
