use proptest::prelude::*;

use super::*;
use crate::ts_spec::TsSpec;

fn ts(text: &str) -> TrafficSelector {
    text.parse::<TsSpec>().unwrap().selector().unwrap()
}

fn entry(local: &str, remote: &str, action: Action) -> SpdEntry {
    SpdEntry { local: vec![ts(local)], remote: vec![ts(remote)], action }
}

fn flow(src: &str, dst: &str, protocol: u8, src_port: u16, dst_port: u16) -> FlowKey {
    FlowKey::new(src.parse().unwrap(), dst.parse().unwrap(), protocol, src_port, dst_port)
}

const P0: Action = Action::Protect(PolicyId(0));
const P1: Action = Action::Protect(PolicyId(1));

#[test]
fn the_first_entry_that_matches_decides() {
    let spd = Spd::new(vec![
        entry("10.1.0.0/16", "10.2.9.0/24[tcp/22]", Action::Discard),
        entry("10.1.0.0/16", "10.2.0.0/16", P0),
        entry("10.1.0.0/16", "10.2.9.0/24", P1),
        entry("10.1.0.0/16", "0.0.0.0/0", Action::Bypass),
    ])
    .unwrap();
    let action =
        |dst, protocol, port| spd.lookup_outbound(&flow("10.1.0.5", dst, protocol, 40_000, port));
    assert_eq!(action("10.2.9.7", 6, 22), Some(Action::Discard));
    assert_eq!(action("10.2.9.7", 6, 23), Some(P0));
    assert_eq!(action("10.2.9.7", 17, 22), Some(P0));
    assert_eq!(action("192.0.2.1", 17, 22), Some(Action::Bypass));
    assert_eq!(spd.lookup_outbound(&flow("10.9.0.5", "10.2.0.1", 6, 1, 1)), None);
    assert_eq!(spd.lookup_outbound(&flow("fd01::1", "fd02::1", 6, 1, 1)), None);
}

/// CHECKLIST S11: the check after decryption reads the database with sides exchanged.
#[test]
fn inbound_the_destination_is_local() {
    let spd = Spd::new(vec![entry("10.1.0.0/16", "10.2.0.0/16[tcp/443]", P0)]).unwrap();
    let answer = flow("10.2.0.1", "10.1.0.5", 6, 443, 40_000);
    assert_eq!(spd.lookup_inbound(&answer), Some(P0));
    assert!(spd.allows_inbound(PolicyId(0), &answer));
    assert!(!spd.allows_inbound(PolicyId(1), &answer));
    assert!(!spd.allows_inbound(PolicyId(0), &answer.reversed()));
    assert_eq!(spd.lookup_outbound(&answer), None);
}

/// CHECKLIST PM-32: what shows no ports matches no port, but ANY and OPAQUE.
#[test]
fn fragments_match_any_and_opaque_only() {
    let fragment = FlowKey::without_ports([10, 1, 0, 5].into(), [10, 2, 0, 7].into(), 17);
    let verdict = |remote: &str| {
        Spd::new(vec![entry("10.1.0.0/16", remote, P0)]).unwrap().lookup_outbound(&fragment)
    };
    assert_eq!(verdict("10.2.0.0/16[udp/0]"), None);
    assert_eq!(verdict("10.2.0.0/16[udp/1-65535]"), None);
    assert_eq!(verdict("10.2.0.0/16[udp]"), Some(P0));
    assert_eq!(verdict("10.2.0.0/16[udp/opaque]"), Some(P0));
}

/// RFC 4301 §7.4, CHECKLIST PM-33: what may be the rest of a protected packet does not pass in clear.
#[test]
fn fragments_bypass_nothing_that_may_be_protected() {
    let spd = Spd::new(vec![
        entry("10.1.0.0/16", "10.2.0.0/16[tcp/443]", P0),
        entry("10.1.0.0/16", "10.3.0.0/16[udp/53]", Action::Discard),
        entry("fd01::/16", "fd02::/16[tcp]", P1),
        entry("0.0.0.0/0", "0.0.0.0/0", Action::Bypass),
        entry("::/0", "::/0", Action::Bypass),
    ])
    .unwrap();
    let whole =
        |dst, protocol, port| spd.lookup_outbound(&flow("10.1.0.5", dst, protocol, 40_000, port));
    assert_eq!(whole("10.2.0.7", 6, 443), Some(P0));
    assert_eq!(whole("10.2.0.7", 6, 80), Some(Action::Bypass));

    let later = |src: &str, dst: &str, protocol| {
        let flow = FlowKey::without_ports(src.parse().unwrap(), dst.parse().unwrap(), protocol);
        assert_eq!(spd.lookup_inbound(&flow.reversed()), spd.lookup_outbound(&flow));
        spd.lookup_outbound(&flow)
    };
    assert_eq!(later("10.1.0.5", "10.2.0.7", 6), None);
    assert_eq!(later("10.1.0.5", "10.3.0.7", 17), None);
    assert_eq!(later("10.1.0.5", "10.2.0.7", 17), Some(Action::Bypass));
    assert_eq!(later("10.1.0.5", "10.4.0.7", 6), Some(Action::Bypass));
    // Behind destination options, number 60, there may be TCP.
    assert_eq!(later("fd01::1", "fd02::1", 6), Some(P1));
    assert_eq!(later("fd01::1", "fd02::1", 60), None);
    assert_eq!(later("fd01::1", "fd02::1", 17), Some(Action::Bypass));
}

/// An entry that those before it hide decides nothing; others know into what they are cut.
#[test]
fn entries_know_what_is_left_to_them() {
    let spd = Spd::new(vec![
        entry("10.1.0.0/16", "10.2.9.0/24[tcp/22]", Action::Discard),
        entry("10.1.0.0/16", "10.2.0.0/16", P0),
        entry("10.1.0.0/16", "10.2.9.0/24", P1),
        entry("fd01::/48", "fd02::/48", P1),
    ])
    .unwrap();
    let parts = spd.parts();
    assert_eq!((parts[0], parts[2], parts[3]), (1, 0, 1));
    assert!(parts[1] > 1, "{parts:?}");
    assert!(spd.has_discards());
    let flow = flow("10.1.0.5", "10.2.9.7", 6, 40_000, 22);
    assert_eq!(spd.position_outbound(&flow), Some(0));
}

#[test]
fn too_many_pairs_are_refused() {
    let many = |count: u32| -> Vec<TrafficSelector> {
        (0..count).map(|n| TrafficSelector::from_address(IpAddr::V4(n.into()))).collect()
    };
    let entry = SpdEntry { local: many(1_025), remote: many(1_024), action: P0 };
    assert_eq!(Spd::new(vec![entry]).unwrap_err(), SpdError::TooManyPairs);
}

/// A few hundred policies can overlap in hundreds of millions of ways: they are refused, and one
/// of those that do the most harm is named.
#[test]
fn policies_that_overlap_in_every_way_are_refused() {
    let staircase = |n: u16| {
        let address = |base: u32, n: u16| IpAddr::V4((base + u32::from(n)).into());
        let side = |base| TrafficSelector {
            protocol: 6,
            ports: PortRange { start: n, end: n + 400 },
            start: address(base, n),
            end: address(base, n + 400),
        };
        SpdEntry { local: vec![side(0x0a01_0000)], remote: vec![side(0x0a02_0000)], action: P0 }
    };
    let refused = Spd::within((0..400).map(staircase).collect(), 1 << 20).unwrap_err();
    assert!(matches!(refused, SpdError::Entangled { entry: 0..400 }), "{refused:?}");
}

#[test]
fn impossible_pairs_match_nothing() {
    let spd = Spd::new(vec![
        entry("10.1.0.0/16[tcp]", "10.2.0.0/16[udp]", P0),
        entry("10.1.0.0/16", "fd02::/48", P0),
    ])
    .unwrap();
    assert_eq!(spd.lookup_outbound(&flow("10.1.0.5", "10.2.0.7", 6, 1, 1)), None);
}

#[test]
fn policies_keep_their_numbers() {
    let mut table = PolicyTable::default();
    let (a, b) = ("a".parse().unwrap(), "b".parse().unwrap());
    let net = "net".parse().unwrap();
    let first = table.intern(&a, &net);
    assert_ne!(table.intern(&b, &net), first);
    assert_eq!(table.intern(&a, &net), first);
    assert_eq!(table.id(&a, &net), Some(first));
    assert_eq!(table.names(first), Some((&a, &net)));
    assert_eq!(table.names(PolicyId(9)), None);
}

/// What the database is defined to do.
fn linear(entries: &[SpdEntry], flow: &FlowKey) -> Option<usize> {
    entries.iter().position(|entry| {
        entry.local.iter().any(|local| {
            entry
                .remote
                .iter()
                .any(|remote| local.contains(flow.source()) && remote.contains(flow.destination()))
        })
    })
}

/// Addresses from a small pool, so that selectors and packets meet often.
fn address() -> impl Strategy<Value = IpAddr> {
    prop_oneof![
        (0_u32..4, 0_u32..8)
            .prop_map(|(net, host)| IpAddr::V4((0x0a00_0000 | net << 8 | host).into())),
        (0_u128..3, 0_u128..4)
            .prop_map(|(net, host)| IpAddr::V6((0xfd_u128 << 120 | net << 64 | host).into())),
    ]
}

fn ports() -> impl Strategy<Value = PortRange> {
    prop_oneof![
        3 => Just(PortRange::ANY),
        1 => Just(PortRange::OPAQUE),
        2 => (0_u16..4).prop_map(PortRange::single),
        2 => (0_u16..4, 0_u16..4).prop_map(|(start, len)| PortRange { start, end: start + len }),
    ]
}

fn selector() -> impl Strategy<Value = TrafficSelector> {
    let protocol = prop::sample::select(vec![0_u8, 0, 6, 17]);
    (address(), address(), any::<u8>(), protocol, ports(), any::<bool>()).prop_map(
        |(a, b, length, protocol, ports, range)| {
            let bits = if a.is_ipv4() { 33 } else { 129 };
            let selector = if range && a.is_ipv4() == b.is_ipv4() {
                TrafficSelector::from_range(a.min(b), a.max(b)).unwrap()
            } else {
                TrafficSelector::from_prefix(a, u8::try_from(u32::from(length) % bits).unwrap())
                    .unwrap()
            };
            TrafficSelector { protocol, ports, ..selector }
        },
    )
}

fn flows() -> impl Strategy<Value = FlowKey> {
    let protocol = prop::sample::select(vec![1_u8, 6, 17]);
    (address(), address(), protocol, 0_u16..8, 0_u16..8, any::<bool>()).prop_map(
        |(src, dst, protocol, src_port, dst_port, opaque)| {
            // No packet has addresses of two families.
            let dst = if src.is_ipv4() == dst.is_ipv4() { dst } else { src };
            if opaque {
                FlowKey::without_ports(src, dst, protocol)
            } else {
                FlowKey::new(src, dst, protocol, src_port, dst_port)
            }
        },
    )
}

/// Packets looked up for each set of policies. Ten million cases are
/// `PROPTEST_CASES=250000 cargo test --release -p adit-db ordered_match`.
const PACKETS: usize = 40;

proptest! {
    /// CHECKLIST H13: look-up order with overlapping prefixes, in any order of insertion. The
    /// decorrelated lookup is the ordered first match, in both directions.
    #[test]
    fn ordered_match_and_decorrelated_lookup_agree(
        sides in prop::collection::vec(
            (prop::collection::vec(selector(), 1..3), prop::collection::vec(selector(), 1..3)),
            0..24,
        ),
        flows in prop::collection::vec(flows(), PACKETS),
    ) {
        let entries: Vec<SpdEntry> = (0..)
            .zip(sides)
            .map(|(number, (local, remote))| {
                SpdEntry { local, remote, action: Action::Protect(PolicyId(number)) }
            })
            .collect();
        let spd = Spd::new(entries.clone()).unwrap();
        let parts = spd.parts();
        for flow in flows {
            let position = linear(&entries, &flow);
            prop_assert_eq!(spd.position_outbound(&flow), position);
            prop_assert!(position.is_none_or(|position| parts[position] > 0));
            let expected = position.map(|number| entries[number].action);
            prop_assert_eq!(spd.lookup_outbound(&flow), expected);
            prop_assert_eq!(spd.lookup_inbound(&flow.reversed()), expected);
        }
    }
}
