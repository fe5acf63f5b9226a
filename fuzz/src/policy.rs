//! Selectors, flows and policy databases from a small pool, so that they meet often.

use std::net::IpAddr;

use adit_db::{Action, PolicyId, SpdEntry};
use adit_wire::ikev2::{PortRange, TrafficSelector};
use adit_wire::ip::{FlowKey, FlowSide};

use crate::Choices;

/// Most entries of a database.
const ENTRIES_MAX: usize = 24;

/// How many policies the entries share.
pub const POLICIES: u32 = 4;

/// One address out of thirty-two of IPv4 or of IPv6, or any one at all.
pub fn address(choices: &mut Choices<'_>) -> IpAddr {
    let octet = choices.u8();
    let (net, host) = ((octet >> 3) & 3, octet & 7);
    match octet >> 5 {
        0..3 => [10, net, 0, host].into(),
        3..6 => {
            let mut octets = [0; 16];
            (octets[0], octets[7], octets[15]) = (0xfd, net, host);
            octets.into()
        }
        6 => choices.array::<4>().into(),
        _ => choices.array::<16>().into(),
    }
}

/// An address of the same family.
fn address_like(choices: &mut Choices<'_>, other: IpAddr) -> IpAddr {
    let address = address(choices);
    if address.is_ipv4() == other.is_ipv4() { address } else { other }
}

fn ports(choices: &mut Choices<'_>) -> PortRange {
    let octet = choices.u8();
    let port = u16::from(octet >> 4);
    match octet & 7 {
        0..3 => PortRange::ANY,
        3 => PortRange::OPAQUE,
        4 => PortRange::single(port),
        5 => PortRange { start: port, end: 15 },
        6 => PortRange { start: 0, end: port },
        _ => PortRange::single(choices.u16()),
    }
}

const PROTOCOLS: [u8; 6] = [0, 0, 6, 17, 1, 58];

/// Any selector that can be written down.
pub fn selector(choices: &mut Choices<'_>) -> TrafficSelector {
    let one = address(choices);
    let shape = choices.u8();
    let bits = if one.is_ipv4() { 33 } else { 129 };
    let range = if shape < 200 {
        TrafficSelector::from_prefix(one, shape % bits)
    } else {
        let two = address_like(choices, one);
        TrafficSelector::from_range(one.min(two), one.max(two))
    };
    let protocol = choices.pick(&PROTOCOLS);
    TrafficSelector {
        protocol,
        ports: ports(choices),
        ..range.expect("of one family, in order, and no longer than the address")
    }
}

fn selectors(choices: &mut Choices<'_>) -> Vec<TrafficSelector> {
    let count = [1, 1, 2, 3, 0][choices.below(5)];
    (0..count).map(|_| selector(choices)).collect()
}

/// Any flow that a packet can have.
pub fn flow(choices: &mut Choices<'_>) -> FlowKey {
    let src = address(choices);
    let dst = address_like(choices, src);
    let protocol = choices.u8();
    let protocol = PROTOCOLS.get(usize::from(protocol)).copied().unwrap_or(protocol);
    match choices.u8() {
        0 => FlowKey::without_ports(src, dst, protocol),
        1 => FlowKey::new(src, dst, protocol, choices.u16(), choices.u16()),
        octet => FlowKey::new(src, dst, protocol, (octet >> 4).into(), (octet & 15).into()),
    }
}

/// Any database.
pub fn entries(choices: &mut Choices<'_>) -> Vec<SpdEntry> {
    let count = choices.below(ENTRIES_MAX + 1);
    (0..count)
        .map(|_| SpdEntry {
            action: match choices.u8() {
                0..180 => Action::Protect(PolicyId(u32::from(choices.u8()) % POLICIES)),
                180..220 => Action::Bypass,
                _ => Action::Discard,
            },
            local: selectors(choices),
            remote: selectors(choices),
        })
        .collect()
}

/// What a database is defined to do: the first entry that matches decides. But what may be a later
/// fragment of something that an entry before protects or discards is not passed in clear.
pub fn first_match<'a>(entries: &'a [SpdEntry], flow: &FlowKey) -> Option<&'a SpdEntry> {
    let matches = |entry: &SpdEntry| {
        let local = entry.local.iter().any(|ts| ts.contains_source(flow));
        local && entry.remote.iter().any(|ts| ts.contains_destination(flow))
    };
    let position = entries.iter().position(matches)?;
    let (before, rest) = entries.split_at(position);
    let entry = rest.first()?;
    let hidden = flow.source().port.is_none() && before.iter().any(|one| may_be_of(one, flow));
    (entry.action != Action::Bypass || !hidden).then_some(entry)
}

/// Whether an address is multicast that no router passes on: 224.0.0.0/24 (RFC 5771 §4), or scopes 1 and 2
/// of IPv6 (RFC 4291 §2.7).
pub fn is_for_link(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.to_bits() >> 8 == 0xe0_00_00,
        IpAddr::V6(address) => matches!(address.to_bits() >> 112 & 0xff0f, 0xff01 | 0xff02),
    }
}

/// Whether any of these asks for more than addresses, so that fragments are joined before.
pub fn look_above_ip<'a>(selectors: impl IntoIterator<Item = &'a TrafficSelector>) -> bool {
    selectors.into_iter().any(TrafficSelector::looks_above_ip)
}

/// Whether an entry that does not pass its packets may want one that shows no ports.
fn may_be_of(entry: &SpdEntry, flow: &FlowKey) -> bool {
    let may = |ts: &TrafficSelector, side: FlowSide| {
        let above = ts.protocol == 0 || ts.protocol == side.protocol;
        // Behind an extension header any protocol may be.
        let hidden = EXTENSION_HEADERS.contains(&side.protocol);
        (ts.start..=ts.end).contains(&side.address)
            && ts.start.is_ipv4() == side.address.is_ipv4()
            && (above || hidden)
    };
    let local = entry.local.iter().any(|ts| may(ts, flow.source()));
    let remote = entry.remote.iter().any(|ts| may(ts, flow.destination()));
    entry.action != Action::Bypass && local && remote
}

/// Hop-by-hop, routing, fragment and destination options.
const EXTENSION_HEADERS: [u8; 4] = [0, 43, 44, 60];
