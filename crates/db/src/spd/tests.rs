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

/// CHECKLIST H12.
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

/// CHECKLIST PM-30, RFC 4301 §4.4.1.1: entries for one message of ICMP, for all codes of a type, for several
/// types, and for the rest, in their order and of both families.
#[test]
fn icmp_is_decided_by_type_and_code() {
    let spd = Spd::new(vec![
        entry("10.1.0.0/16", "10.2.0.0/16[icmp/2048]", P0),
        entry("10.1.0.0/16", "10.2.0.0/16[icmp/768-1023]", P1),
        entry("10.1.0.0/16", "10.2.0.0/16[icmp/2816-3327]", Action::Bypass),
        entry("10.1.0.0/16", "10.2.0.0/16[icmp]", Action::Discard),
        entry("fd01::/16", "fd02::/16[ipv6-icmp/512]", P0),
        entry("fd01::/16", "fd02::/16[ipv6-icmp/256-511]", P1),
    ])
    .unwrap();
    let decided = |[from, to]: [&str; 2], protocol, [kind, code]: [u8; 2]| {
        let message = u16::from_be_bytes([kind, code]);
        let flow = flow(from, to, protocol, message, message);
        assert_eq!(spd.lookup_inbound(&flow.reversed()), spd.lookup_outbound(&flow));
        spd.lookup_outbound(&flow)
    };
    let v4 = |message| decided(["10.1.0.5", "10.2.0.7"], 1, message);
    assert_eq!(
        [v4([8, 0]), v4([8, 1]), v4([0, 0])],
        [P0, Action::Discard, Action::Discard].map(Some)
    );
    assert_eq!([v4([3, 0]), v4([3, 4]), v4([3, 255])], [Some(P1); 3]);
    assert_eq!([v4([2, 255]), v4([4, 0])], [Some(Action::Discard); 2]);
    assert_eq!([v4([11, 0]), v4([12, 255])], [Some(Action::Bypass); 2]);
    assert_eq!([v4([10, 255]), v4([13, 0])], [Some(Action::Discard); 2]);
    let v6 = |message| decided(["fd01::5", "fd02::7"], 58, message);
    assert_eq!([v6([2, 0]), v6([1, 0]), v6([1, 6])], [P0, P1, P1].map(Some));
    assert_eq!([v6([2, 1]), v6([3, 0]), v6([128, 0])], [None; 3]);
    assert_eq!(decided(["10.1.0.5", "10.2.0.7"], 17, [8, 0]), None, "another protocol");
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
    let parts: Vec<usize> = spd.parts().into_iter().map(|(_, parts)| parts).collect();
    assert_eq!((parts[0], parts[2], parts[3]), (1, 0, 1));
    assert!(parts[1] > 1, "{parts:?}");
    assert!(spd.has_discards());
    let flow = flow("10.1.0.5", "10.2.9.7", 6, 40_000, 22);
    assert_eq!(spd.entry_outbound(&flow).unwrap().0, Rank(0));
}

/// The entry of a child SA counts where its rank says, and only while it is there.
#[test]
fn entries_come_and_go_without_the_others() {
    let all = entry("0.0.0.0/0", "0.0.0.0/0", Action::Discard);
    let mut spd = Spd::ranked(vec![
        (Rank(10), entry("10.1.0.0/16", "10.2.9.0/24[tcp/22]", Action::Bypass)),
        (Rank(30), all),
    ])
    .unwrap();
    let packet = |port| flow("10.1.0.5", "10.2.9.7", 6, 40_000, port);
    let tunnel = sides(&entry("10.1.0.0/16", "10.2.0.0/16", P0));
    let before = spd.clone();
    spd.insert(Rank(20), PolicyId(0), &tunnel);

    assert_eq!(before.lookup_outbound(&packet(443)), Some(Action::Discard));
    assert_eq!(spd.lookup_outbound(&packet(443)), Some(P0));
    assert_eq!(spd.lookup_outbound(&packet(22)), Some(Action::Bypass));
    assert_eq!((spd.len(), spd.before(Rank(20)), spd.before(Rank(30))), (3, 1, 2));

    spd.remove(Rank(20), &tunnel);
    spd.remove(Rank(20), &tunnel);
    assert_eq!(spd.lookup_outbound(&packet(443)), Some(Action::Discard));
    assert_eq!(spd.len(), 2);
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
    let refused =
        Fixed::within((0..).map(Rank).zip((0..400).map(staircase)).collect(), 1 << 20).unwrap_err();
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

/// What the database is defined to do: the place of the first entry that matches, unless it would
/// pass a later fragment of what an entry before it does not pass.
fn linear(entries: &[&SpdEntry], local: FlowSide, remote: FlowSide) -> Option<usize> {
    type Rule = fn(&TrafficSelector, FlowSide) -> bool;
    let matches = |entry: &&SpdEntry, rule: Rule| {
        let any = |selectors: &[TrafficSelector], side| selectors.iter().any(|ts| rule(ts, side));
        any(&entry.local, local) && any(&entry.remote, remote)
    };
    let exact: Rule = |selector, side| selector.contains(side);
    let perhaps: Rule = |selector, side| selector.may_contain(side);
    let place = entries.iter().position(|entry| matches(entry, exact))?;
    let guards = |entry: &&&SpdEntry| entry.action != Action::Bypass && matches(entry, perhaps);
    let leaks = entries[place].action == Action::Bypass
        && local.port.is_none()
        && entries[..place].iter().any(|entry| guards(&entry));
    (!leaks).then_some(place)
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
    let protocol = prop::sample::select(vec![1_u8, 6, 17, 60]);
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

/// How an entry gets into the database.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Way {
    Fixed,
    Live,
    /// Added and removed again.
    Gone,
}

fn entries() -> impl Strategy<Value = Vec<(Way, SpdEntry)>> {
    let side = || prop::collection::vec(selector(), 1..3);
    let way = prop_oneof![3 => Just(Way::Fixed), 2 => Just(Way::Live), 1 => Just(Way::Gone)];
    let entry = (way, side(), side(), 0_u32..20).prop_map(|(way, local, remote, number)| {
        // Child SAs protect, whatever else is configured.
        let action = match number {
            0..5 if way == Way::Fixed => Action::Bypass,
            5..10 if way == Way::Fixed => Action::Discard,
            _ => Action::Protect(PolicyId(number)),
        };
        (way, SpdEntry { local, remote, action })
    });
    prop::collection::vec(entry, 0..24)
}

fn sides(entry: &SpdEntry) -> Sides {
    Sides { local: entry.local.clone(), remote: entry.remote.clone() }
}

/// The database of some entries, each in its way, and the ranks of those that are left.
fn database(entries: &[(Way, SpdEntry)]) -> (Spd, Vec<(Rank, &SpdEntry)>) {
    let ranked = || (0..).map(|number| Rank(number * 10)).zip(entries);
    let of = |way| {
        ranked().filter(move |(_, (its, _))| *its == way).map(|(rank, (_, entry))| (rank, entry))
    };
    let fixed = of(Way::Fixed).map(|(rank, entry)| (rank, entry.clone())).collect();
    let mut spd = Spd::ranked(fixed).unwrap();
    for (rank, entry) in of(Way::Gone).chain(of(Way::Live)) {
        let Action::Protect(policy) = entry.action else { unreachable!("{entry:?}") };
        spd.insert(rank, policy, &sides(entry));
    }
    let before = spd.clone();
    for (rank, entry) in of(Way::Gone) {
        spd.remove(rank, &sides(entry));
    }
    // A snapshot keeps what it had.
    assert_eq!(before.len(), entries.len());
    let left = ranked().filter(|(_, (way, _))| *way != Way::Gone);
    (spd, left.map(|(rank, (_, entry))| (rank, entry)).collect())
}

/// Packets looked up for each set of policies. Ten million cases are
/// `PROPTEST_CASES=250000 cargo test --release -p adit-db ordered_match`.
const PACKETS: usize = 40;

proptest! {
    /// CHECKLIST H13: look-up order with overlapping prefixes, in any order of insertion. The
    /// decorrelated lookup is the ordered first match, in both directions, whether entries are
    /// configured or come and go.
    #[test]
    fn ordered_match_and_decorrelated_lookup_agree(
        entries in entries(),
        flows in prop::collection::vec(flows(), PACKETS),
    ) {
        let (spd, left) = database(&entries);
        prop_assert_eq!(spd.entries().collect::<Vec<_>>(), left.clone());
        let in_order: Vec<&SpdEntry> = left.iter().map(|(_, entry)| *entry).collect();
        for flow in flows {
            let expected = linear(&in_order, flow.source(), flow.destination());
            let expected = expected.map(|place| left[place]);
            prop_assert_eq!(spd.entry_outbound(&flow), expected);
            prop_assert_eq!(spd.entry_inbound(&flow.reversed()), expected);
            let action = expected.map(|(_, entry)| entry.action);
            prop_assert_eq!(spd.lookup_outbound(&flow), action);
            prop_assert_eq!(spd.lookup_inbound(&flow.reversed()), action);
        }
    }
}

/// RFC 4301 §4.1: what is in no class stays with the policy; other policies know of no classes.
#[test]
fn classes_divide_a_policy_by_dscp() {
    let set = |names: &[&str]| {
        let mut set = DscpSet::default();
        names.iter().for_each(|name| assert!(set.insert(Dscp::named(name).unwrap())));
        set
    };
    let mut spd = Spd::default();
    let before = spd.clone();
    spd.classify(PolicyId(0), set(&["ef", "cs5"]), PolicyId(7));
    spd.classify(PolicyId(0), set(&["af41"]), PolicyId(8));
    let class = |name| spd.class(PolicyId(0), Dscp::named(name).unwrap());
    assert_eq!(["ef", "cs5", "af41", "cs0"].map(class), [7, 7, 8, 0].map(PolicyId));
    assert!(spd.has_classes(PolicyId(0)) && !spd.has_classes(PolicyId(7)));
    assert_eq!(spd.class(PolicyId(1), Dscp::named("ef").unwrap()), PolicyId(1));
    assert!(!before.has_classes(PolicyId(0)), "a snapshot does not change");
}
