//! Child SAs whose selectors come from packets, RFC 4301 §4.4.1.2, in two endpoints.

#![cfg(test)]

use std::time::Duration;

use adit_db::{Keep, Mode, Pfp, TsSpec};
use adit_ike::FailureReason;
use adit_sim::{Pair, Seed, Setup, Side};
use adit_wire::ikev2::TrafficSelector;
use adit_wire::ip::FlowKey;

const SECOND: Duration = Duration::from_secs(1);

/// The left side brings SAs up on demand, one for each host on the right.
fn setup() -> Setup {
    let mut setup = Setup::new(Seed(7));
    populate(&mut setup.left.children[0], Pfp { remote: true, ..Pfp::NONE });
    setup
}

fn populate(child: &mut adit_db::ChildConfig, pfp: Pfp) {
    *child = child.clone().kept(Keep::OnDemand);
    child.pfp = pfp;
}

/// A packet from the left to a host on the right.
fn to(host: u8, port: u16) -> FlowKey {
    FlowKey::new([10, 1, 0, 5].into(), [10, 2, 0, host].into(), 6, 40_000, port)
}

fn ts(text: &str) -> Vec<TrafficSelector> {
    vec![text.parse().unwrap()]
}

/// Each side's SAs mirror the other's, and the left side's are for these hosts on the right.
fn are_for(pair: &Pair, hosts: &[u8]) -> bool {
    let sas = pair.left.child_sas();
    let mut remote: Vec<_> = sas.iter().map(|sa| sa.remote_ts.clone()).collect();
    remote.sort_unstable();
    let expected: Vec<_> = hosts.iter().map(|host| ts(&format!("10.2.0.{host}"))).collect();
    remote == expected
        && sas.iter().all(|sa| sa.local_ts == ts("10.1.0.0/24"))
        && sas == pair.right.child_sas().mirrored()
}

#[test]
fn each_host_has_an_sa_of_its_own() {
    let mut pair = setup().pair();
    for host in [7, 8, 9] {
        for port in [80, 443] {
            assert!(!pair.left.send_flow(pair.child, to(host, port)));
        }
    }
    pair.run_for(SECOND * 3);
    assert!(are_for(&pair, &[7, 8, 9]), "{:?}\n{}", pair.left.child_sas(), pair.ladder());
    assert_eq!((pair.left.established().len(), pair.left.failures().count()), (1, 0));
    for host in [7, 8, 9] {
        assert!(pair.left.send_flow(pair.child, to(host, 22)));
        // The right side knows nothing of this, and answers over the same SA.
        assert!(pair.right.send_flow(pair.child, to(host, 22).reversed()));
    }
    let before = pair.messages_sent();
    pair.run_for(SECOND * 60);
    assert_eq!(pair.messages_sent(), before);
}

/// What the peer refuses to one flow holds no other up.
#[test]
fn a_refused_flow_does_not_stop_the_others() {
    let mut setup = setup();
    setup.right.children[0].local_ts = vec!["10.2.0.0/25".parse().unwrap()];
    let mut pair = setup.pair();
    for _ in 0..8 {
        assert!(!pair.left.send_flow(pair.child, to(200, 80)));
        pair.run_for(SECOND);
    }
    assert!(pair.left.failures().any(|reason| reason.code() == Some(301)));
    for _ in 0..3 {
        pair.left.send_flow(pair.child, to(200, 80));
        pair.left.send_flow(pair.child, to(7, 80));
        pair.run_for(SECOND);
    }
    assert!(are_for(&pair, &[7]), "{:?}\n{}", pair.left.child_sas(), pair.ladder());
}

/// RFC 7296 §2.9.2: new keys, the same selectors, though the right side has all its network
/// configured.
#[test]
fn rekeying_keeps_the_selectors() {
    let mut pair = setup().pair();
    for host in [7, 8] {
        pair.left.send_flow(pair.child, to(host, 80));
    }
    pair.run_for(SECOND * 3);
    assert!(are_for(&pair, &[7, 8]), "{}", pair.ladder());
    for side in [Side::Left, Side::Right, Side::Left] {
        let before = pair.left.child_sas();
        let child = pair.child;
        pair.peer(side).rekey_child(child);
        pair.run_for(SECOND * 3);
        assert!(are_for(&pair, &[7, 8]), "{side:?}: {}", pair.ladder());
        assert_ne!(pair.left.child_sas(), before);
    }
    // Both at once, and the IKE SA after it.
    pair.left.rekey_child(pair.child);
    pair.right.rekey_child(pair.child);
    pair.run_for(SECOND * 3);
    pair.left.rekey_ike();
    pair.run_for(SECOND * 3);
    assert!(are_for(&pair, &[7, 8]), "{}", pair.ladder());
    assert!(pair.left.send_flow(pair.child, to(7, 80)));
}

/// Both ends ask at the same moment, for the same packets and for others.
#[test]
fn ends_that_ask_at_once_agree() {
    let mut setup = setup();
    let mirrored = Pfp { local: true, ..Pfp::NONE };
    populate(&mut setup.right.children[0], mirrored);
    for first in [false, true] {
        let mut pair = setup.clone().pair();
        if !first {
            // With an IKE SA that is there, and without.
            pair.left.send_flow(pair.child, to(1, 80));
            pair.run_for(SECOND * 20);
        }
        for _ in 0..3 {
            for host in [7, 8] {
                pair.left.send_flow(pair.child, to(host, 80));
                pair.right.send_flow(pair.child, to(host, 80).reversed());
            }
            pair.right.send_flow(pair.child, to(9, 80).reversed());
            pair.run_for(SECOND * 20);
        }
        let hosts: &[u8] = if first { &[7, 8, 9] } else { &[1, 7, 8, 9] };
        assert!(are_for(&pair, hosts), "{:?}\n{}", pair.left.child_sas(), pair.ladder());
        for host in [7, 8, 9] {
            assert!(pair.left.send_flow(pair.child, to(host, 80)));
            assert!(pair.right.send_flow(pair.child, to(host, 80).reversed()));
        }
        let before = pair.messages_sent();
        pair.run_for(SECOND * 60);
        assert_eq!(pair.messages_sent(), before, "no loop");
    }
}

/// A peer that narrows further leaves a packet without an SA, and no new one is asked for each time.
#[test]
fn a_peer_that_narrows_makes_no_loop() {
    let mut setup = setup();
    setup.right.children[0].remote_ts = vec!["10.1.0.0/28".parse().unwrap()];
    let mut pair = setup.pair();
    let outside = FlowKey::new([10, 1, 0, 99].into(), [10, 2, 0, 7].into(), 6, 40_000, 80);
    for _ in 0..10 {
        assert!(!pair.left.send_flow(pair.child, outside));
        pair.run_for(SECOND);
    }
    assert_eq!(pair.left.child_sas().len(), 1, "{}", pair.ladder());
    assert!(pair.left.send_flow(pair.child, to(7, 80)));
}

/// Every flag at once, and idle time beside it: what was scanned goes again.
#[test]
fn idle_sas_make_room() {
    let mut setup = setup();
    let mut all = Pfp::NONE;
    Pfp::WORDS.iter().for_each(|word| assert!(all.set(word)));
    setup.left.children[0].pfp = all;
    setup.left.children[0].lifetime.idle_s = 60;
    let mut pair = setup.pair();
    for port in 1..=100 {
        while !pair.left.send_flow(pair.child, to(7, port)) {
            pair.run_for(SECOND / 10);
        }
    }
    assert_eq!(pair.left.child_sas().len(), 100);
    assert_eq!(pair.left.child_sas(), pair.right.child_sas().mirrored());
    let last = pair.left.child_sas();
    let last = last.iter().find(|sa| sa.remote_ts == ts("10.2.0.7[tcp/100]")).unwrap().clone();
    assert_eq!(last.local_ts, ts("10.1.0.5[tcp/40000]"));
    for _ in 0..4 {
        pair.run_for(SECOND * 25);
        pair.left.send_flow(pair.child, to(7, 100));
    }
    assert_eq!(pair.left.child_sas().iter().collect::<Vec<_>>(), [&last]);
    assert_eq!(pair.left.child_sas(), pair.right.child_sas().mirrored());
}

/// There is no SA to set up before there is a packet.
#[test]
fn only_a_packet_brings_it_up() {
    let mut pair = setup().pair();
    let request = pair.left.initiate(pair.child);
    pair.run_for(SECOND * 60);
    let Some(Err(failure)) = pair.left.result(request) else { panic!("{}", pair.ladder()) };
    assert_eq!(failure.reason, FailureReason::NeedsPacket);
    assert_eq!(pair.messages_sent(), 0);
}

/// In transport mode between two hosts, with a NAT and without: an SA for each service.
#[test]
fn services_of_two_hosts_have_sas_of_their_own() {
    for nat in [false, true] {
        let mut setup = Setup::new(Seed(7));
        if nat {
            setup = setup.behind_nat();
        }
        for child in [&mut setup.left.children[0], &mut setup.right.children[0]] {
            child.mode = Mode::Transport;
            (child.local_ts, child.remote_ts) = (vec![TsSpec::DYNAMIC], vec![TsSpec::DYNAMIC]);
        }
        let by_service = Pfp { protocol: true, remote_port: true, ..Pfp::NONE };
        populate(&mut setup.left.children[0], by_service);
        let mut pair = setup.pair();
        let service =
            |port| FlowKey::new([192, 0, 2, 1].into(), [203, 0, 113, 2].into(), 6, 40_000, port);
        for port in [80, 443] {
            pair.left.send_flow(pair.child, service(port));
        }
        pair.run_for(SECOND * 3);
        for side in [Side::Left, Side::Right] {
            let child = pair.child;
            pair.peer(side).rekey_child(child);
            pair.run_for(SECOND * 3);
        }
        let sas = pair.left.child_sas();
        let remote: Vec<_> = sas.iter().flat_map(|sa| sa.remote_ts.clone()).collect();
        assert_eq!(remote.len(), 2, "{remote:?}\n{}", pair.ladder());
        assert!(sas.iter().all(|sa| sa.transport));
        for port in [80, 443] {
            assert!(pair.left.send_flow(pair.child, service(port)), "{remote:?}");
        }
        assert!(!pair.left.send_flow(pair.child, service(22)));
    }
}

/// More packets want an SA than may wait at a time; those that go on asking get one. All end at once
/// when nothing passes.
#[test]
fn many_hosts_at_once_come_up_one_after_the_other() {
    let mut setup = setup();
    setup.left.children[0].lifetime.idle_s = 60;
    let mut pair = setup.pair();
    let hosts: Vec<u8> = (1..=150).collect();
    for _ in 0..5 {
        for host in &hosts {
            pair.left.send_flow(pair.child, to(*host, 80));
        }
        pair.run_for(SECOND * 10);
    }
    assert!(are_for(&pair, &hosts), "{}", pair.left.child_sas().len());
    pair.run_for(SECOND * 62);
    assert!(are_for(&pair, &[]), "{}", pair.left.child_sas().len());
}
