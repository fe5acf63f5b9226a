//! The packet filter against clear packets, in network namespaces. Needs root and nft.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail the test")]

mod common;

use std::process::Command;
use std::time::Duration;

use adit_sys::filter::{FilterRule, FilterSide, InboundFilter};
use adit_sys::filter_log::FilterLog;
use adit_sys::netns::Namespace;
use adit_sys::ping::{PingConfig, ping};
use common::{Pair, namespaces_allowed};

fn has_nft() -> bool {
    let found = Command::new("nft").arg("--version").output().is_ok();
    assert!(found || std::env::var_os("CI").is_none(), "nft is needed in CI (package nftables)");
    if !found {
        eprintln!("SKIPPED: needs nft (package nftables)");
    }
    found
}

fn answered(from: &Namespace, destination: &str) -> usize {
    let config = PingConfig {
        count: 2,
        interval: Duration::from_millis(10),
        timeout: Duration::from_millis(300),
        ..PingConfig::new(destination.parse().unwrap())
    };
    from.run(|| ping(&config)).unwrap().unwrap().received()
}

fn rule(from: (&str, &str), to: &str, protocol: Option<u8>, pass: bool) -> FilterRule {
    let side = |first: &str, last: &str| FilterSide {
        addresses: (first.parse().unwrap(), last.parse().unwrap()),
        ports: None,
    };
    let (source, destination) = (side(from.0, from.1), side(to, to));
    let (except, mark, leaving, told) = (None, None, false, false);
    FilterRule { source, destination, except, protocol, mark, pass, leaving, told }
}

/// CHECKLIST S12: what a policy protects does not come in beside the tunnel; an exception before
/// it does, and so does everything once the filter is gone.
#[test]
fn clear_packets_of_a_policy_are_dropped() {
    if !namespaces_allowed("clear_packets_of_a_policy_are_dropped") || !has_nft() {
        return;
    }
    let pair = Pair::new();
    let mut filter = InboundFilter::new("adit0", &[500, 4500]);
    let protect_v4 = rule(("192.0.2.2", "192.0.2.9"), "192.0.2.1", None, false);
    let protect_v6 = rule(("2001:db8::2", "2001:db8::2"), "2001:db8::1", None, false);
    let mut set = |rules: &[FilterRule]| pair.left.run(|| filter.set(rules)).unwrap().unwrap();
    let both = || (answered(&pair.right, "192.0.2.1"), answered(&pair.right, "2001:db8::1"));
    assert_eq!(both(), (2, 2));

    set(&[protect_v4, protect_v6]);
    assert_eq!(both(), (0, 0));
    // Answers of the other side are packets from it as well.
    assert_eq!(answered(&pair.left, "192.0.2.2"), 0);

    let echoes = rule(("192.0.2.2", "192.0.2.2"), "192.0.2.1", Some(1), true);
    set(&[echoes, protect_v4, protect_v6]);
    assert_eq!(both(), (2, 0));

    set(&[]);
    assert_eq!(both(), (2, 2));
    let rules = pair.left.run(|| Command::new("nft").args(["list", "ruleset"]).output());
    assert_eq!(String::from_utf8_lossy(&rules.unwrap().unwrap().stdout), "");
}

/// RFC 2521: who sends in clear what is to be protected can be told, from the beginnings of what is dropped.
#[test]
fn what_is_dropped_is_told_of() {
    if !namespaces_allowed("what_is_dropped_is_told_of") || !has_nft() {
        return;
    }
    let pair = Pair::new();
    let mut filter = InboundFilter::new("adit0", &[500, 4500]);
    let mut log = pair.left.run(FilterLog::open).unwrap().unwrap();
    assert!(pair.left.run(FilterLog::open).unwrap().is_err(), "there is one of each number");
    let quiet = rule(("192.0.2.2", "192.0.2.9"), "192.0.2.1", None, false);
    let mut told = |told: bool| {
        let rules = [FilterRule { told, ..quiet }];
        pair.left.run(|| filter.set(&rules)).unwrap().unwrap();
        assert_eq!(answered(&pair.right, "192.0.2.1"), 0);
        let mut packets: Vec<Vec<u8>> = Vec::new();
        log.poll(|packet| packets.push(packet.to_vec()));
        packets
    };
    assert!(told(false).is_empty());
    let packets = told(true);
    assert_eq!(packets.len(), 2);
    for packet in packets {
        assert_eq!((packet[0], &packet[12..20]), (0x45, &[192, 0, 2, 2, 192, 0, 2, 1][..]));
        assert!(packet.len() <= 128 && packet[20] == 8);
    }
}
