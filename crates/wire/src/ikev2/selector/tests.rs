//! The set algebra of traffic selectors.

use alloc::{string::ToString, vec, vec::Vec};
use core::net::IpAddr;

use proptest::prelude::*;

use super::*;

/// Any selector that can stand in a message.
pub(in crate::ikev2) fn any_selector() -> impl Strategy<Value = TrafficSelector> {
    let addresses = prop_oneof![
        any::<(u32, u32)>().prop_map(|(a, b)| (v4(a.min(b)), v4(a.max(b)))),
        any::<(u128, u128)>().prop_map(|(a, b)| (v6(a.min(b)), v6(a.max(b)))),
    ];
    let ports = prop_oneof![
        Just(PortRange::ANY),
        Just(PortRange::OPAQUE),
        any::<(u16, u16)>().prop_map(|(a, b)| PortRange { start: a.min(b), end: a.max(b) }),
    ];
    (any::<u8>(), ports, addresses).prop_map(|(protocol, ports, (start, end))| TrafficSelector {
        protocol,
        ports,
        start,
        end,
    })
}

/// Selectors so small that two of them often meet.
fn small_selector() -> impl Strategy<Value = TrafficSelector> {
    let ports = prop_oneof![
        Just(PortRange::ANY),
        Just(PortRange::OPAQUE),
        (0..4_u16, 0..4_u16).prop_map(|(a, b)| PortRange { start: a.min(b), end: a.max(b) }),
    ];
    let addresses = (any::<bool>(), 0..4_u8, 0..4_u8)
        .prop_map(|(is_v4, a, b)| (small_address(is_v4, a.min(b)), small_address(is_v4, a.max(b))));
    (0..3_u8, ports, addresses).prop_map(|(protocol, ports, (start, end))| TrafficSelector {
        protocol,
        ports,
        start,
        end,
    })
}

/// Every side of a flow that a small selector may or may not select.
fn small_sides() -> Vec<FlowSide> {
    let mut sides = vec![];
    for is_v4 in [true, false] {
        for host in 0..5 {
            for protocol in 1..4 {
                for port in [None, Some(0), Some(1), Some(2), Some(3), Some(4), Some(65_535)] {
                    sides.push(FlowSide { address: small_address(is_v4, host), protocol, port });
                }
            }
        }
    }
    sides
}

fn small_address(is_v4: bool, host: u8) -> IpAddr {
    if is_v4 { v4(0x0a01_0000 + u32::from(host)) } else { v6(u128::from(host)) }
}

fn v4(bits: u32) -> IpAddr {
    Ipv4Addr::from_bits(bits).into()
}

fn v6(bits: u128) -> IpAddr {
    Ipv6Addr::from_bits(bits).into()
}

fn selector(text: &str) -> TrafficSelector {
    text.parse().unwrap()
}

#[test]
fn selectors_print_as_they_are_read() {
    for text in [
        "0.0.0.0/0",
        "::/0",
        "10.1.0.0/24",
        "10.1.0.7/32",
        "10.1.0.1..10.1.0.9",
        "10.1.0.0/24[tcp/443]",
        "10.1.0.0/24[tcp]",
        "10.1.0.0/24[any/80-90]",
        "fd00::/8[udp/53]",
        "fd00::1..fd00::3[200/opaque]",
        "0.0.0.0/0[icmp/8(0)]",
        "::/0[mobility-header/5]",
    ] {
        assert_eq!(selector(text).to_string(), text);
    }
    assert_eq!(selector("10.1.0.7"), selector("10.1.0.7/32"));
    assert_eq!(selector("10.1.0.7/24"), selector("10.1.0.0/24"));
    assert_eq!(selector("10.1.0.0/24[any/any]"), selector("10.1.0.0/24"));
    assert_eq!(selector("10.1.0.0/24[6]"), selector("10.1.0.0/24[tcp]"));
    assert_eq!(selector("0.0.0.0/0[icmp/2048]"), selector("0.0.0.0/0[1/8(0)]"));
}

#[test]
fn what_is_no_selector_is_refused_with_the_wrong_part() {
    for (text, part) in [
        ("", "the address"),
        ("10.1.0", "the address"),
        ("10.1.0.0/33", "the prefix length"),
        ("10.1.0.0/", "the prefix length"),
        ("::/129", "the prefix length"),
        ("10.1.0.9..10.1.0.1", "the address range"),
        ("10.1.0.1..::1", "the address range"),
        ("10.1.0.0/24[tcp/443", "the bracket"),
        ("10.1.0.0/24[]", "the protocol"),
        ("10.1.0.0/24[tpc/443]", "the protocol"),
        ("10.1.0.0/24[256]", "the protocol"),
        ("10.1.0.0/24[tcp/]", "the port"),
        ("10.1.0.0/24[tcp/65536]", "the port"),
        ("10.1.0.0/24[tcp/9-1]", "the port range"),
    ] {
        assert_eq!(text.parse::<TrafficSelector>(), Err(SelectorSyntax(part)), "{text}");
    }
}

#[test]
fn a_prefix_is_its_range() {
    let all = TrafficSelector::from_prefix(v4(7), 0).unwrap();
    assert_eq!(all, TrafficSelector::ANY_V4);
    assert_eq!(TrafficSelector::from_prefix(v6(7), 0).unwrap(), TrafficSelector::ANY_V6);
    assert_eq!(
        TrafficSelector::from_prefix(v4(7), 33),
        Err(WireError::BadValue("prefix length", 33))
    );
    assert_eq!(
        TrafficSelector::from_prefix(v6(7), 129),
        Err(WireError::BadValue("prefix length", 129))
    );
    assert_eq!(selector("10.1.0.0..10.1.0.255").prefix_len(), Some(24));
    assert_eq!(selector("10.1.0.1..10.1.0.2").prefix_len(), None);
    assert_eq!(selector("10.1.0.64..10.1.0.191").prefix_len(), None);
}

#[test]
fn a_range_is_few_prefixes() {
    let prefixes = |text: &str| {
        selector(text)
            .prefixes()
            .map(|(address, len)| (address.to_string(), len))
            .collect::<Vec<_>>()
    };
    assert_eq!(prefixes("10.1.0.0/24"), [("10.1.0.0".into(), 24)]);
    assert_eq!(prefixes("0.0.0.0/0"), [("0.0.0.0".into(), 0)]);
    assert_eq!(prefixes("::/0"), [("::".into(), 0)]);
    assert_eq!(prefixes("255.255.255.255"), [("255.255.255.255".into(), 32)]);
    assert_eq!(
        prefixes("10.1.0.1..10.1.0.4"),
        [("10.1.0.1".into(), 32), ("10.1.0.2".into(), 31), ("10.1.0.4".into(), 32)]
    );
    assert_eq!(prefixes("0.0.0.1..255.255.255.254").len(), 62);
    assert_eq!(selector("::1..ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffe").prefixes().count(), 254);
}

/// CHECKLIST PM-30: one type and code, all codes of a type, several types.
#[test]
fn icmp_is_selected_by_type_and_code() {
    let echo = selector("0.0.0.0/0[icmp/2048]");
    let flow = FlowKey::new(v4(1), v4(2), 1, 0x0800, 0x0800);
    assert!(echo.contains_source(&flow) && echo.contains_destination(&flow));
    let reply = FlowKey::new(v4(1), v4(2), 1, 0, 0);
    assert!(!echo.contains_source(&reply));

    for (text, first, last) in [
        ("0.0.0.0/0[icmp/768-1023]", 0x0300, 0x03ff),
        ("0.0.0.0/0[icmp/772]", 0x0304, 0x0304),
        ("0.0.0.0/0[icmp/769-2816]", 0x0301, 0x0b00),
    ] {
        let selector = selector(text);
        let has = |message| {
            let flow = FlowKey::new(v4(1), v4(2), 1, message, message);
            let [source, destination] =
                [selector.contains_source(&flow), selector.contains_destination(&flow)];
            assert_eq!(source, destination, "{text} {message:#06x}");
            source
        };
        assert!(has(first) && has(last), "{text}");
        assert!(!has(first - 1) && !has(last + 1), "{text}");
    }
}

//= https://www.rfc-editor.org/rfc/rfc4301#section-4.4.1.1
//= type=test
//# ANY is a wildcard, matching any value in the corresponding field of the
//# packet, or that matches packets where that field is not present or is
//# obscured.
#[test]
fn later_fragments_match_any_and_opaque_ports_only() {
    let later = FlowKey::without_ports(v4(1), v4(2), 17);
    assert!(selector("0.0.0.0/0").contains_source(&later));
    assert!(selector("0.0.0.0/0[udp]").contains_source(&later));
    assert!(selector("0.0.0.0/0[udp/opaque]").contains_source(&later));
    assert!(!selector("0.0.0.0/0[udp/0-65534]").contains_source(&later));

    let first = FlowKey::new(v4(1), v4(2), 17, 0, 65_535);
    assert!(!selector("0.0.0.0/0[udp/opaque]").contains_source(&first));
    assert!(!selector("0.0.0.0/0[udp/opaque]").contains_destination(&first));
}

proptest! {
    /// Text is read back as the selector that printed it.
    #[test]
    fn text_round_trips(selector in any_selector()) {
        prop_assert_eq!(selector.to_string().parse(), Ok(selector));
    }

    /// What is in the intersection is exactly what is in both, and the order does not matter.
    #[test]
    fn intersection_is_what_is_in_both(one in small_selector(), two in small_selector()) {
        let both = one.intersection(&two);
        prop_assert_eq!(both, two.intersection(&one));
        for side in small_sides() {
            prop_assert_eq!(
                both.is_some_and(|both| both.contains(side)),
                one.contains(side) && two.contains(side),
                "{} and {} at {}", one, two, side
            );
        }
    }

    /// A subset selects nothing that the other does not.
    #[test]
    fn a_subset_is_contained(one in small_selector(), two in small_selector()) {
        prop_assert!(one.is_subset_of(&one));
        if let Some(both) = one.intersection(&two) {
            prop_assert!(both.is_subset_of(&one) && both.is_subset_of(&two));
        }
        if one.is_subset_of(&two) {
            prop_assert!(small_sides().into_iter().all(|side| !one.contains(side) || two.contains(side)));
        }
    }

    /// The prefixes of a range follow on one another from its start to its end.
    #[test]
    fn prefixes_tile_the_range(selector in any_selector()) {
        let mut next = Some(to_number(selector.start));
        for (address, prefix_len) in selector.prefixes() {
            let prefix = TrafficSelector::from_prefix(address, prefix_len).unwrap();
            prop_assert_eq!(prefix.prefix_len(), Some(prefix_len));
            prop_assert_eq!(next, Some(to_number(prefix.start)));
            prop_assert!(prefix.end <= selector.end);
            next = to_number(prefix.end).checked_add(1);
        }
        prop_assert_eq!(next, to_number(selector.end).checked_add(1));
        prop_assert_eq!(selector.prefix_len().is_some(), selector.prefixes().count() == 1);
    }
}
