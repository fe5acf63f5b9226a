//! A hub whose IKE SAs are spread over several threads: to its peers and to its operator it is one.
//! Needs root.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail the test")]

mod common;

use std::collections::BTreeSet;
use std::net::UdpSocket;

use adit_mgmt::api::{self, EngineIke, EngineReport, SaStatus, Status, TunnelState, TunnelStatus};
use adit_mgmt::vici::answer::Outcome;
use adit_mgmt::vici::{EventKind, Initiate, Rekey, Request, Selection, Terminate};
use common::{Pair, SECRET, Site, wait_until};

/// Tunnels between Oslo, the hub, and Berlin, which has an address for each.
const TUNNELS: u8 = 12;
/// Berlin's first address, and its first one after it has moved.
const FIRST: u8 = 20;
const MOVED: u8 = 60;

fn name(number: u8) -> String {
    format!("t{number:02}")
}

/// One end of a tunnel with the other's address; the networks of both ends have its number.
fn tunnel(number: u8, (here, there): (u8, u8), ids: [&str; 2], peer: &str, extra: &str) -> String {
    let [id, peer_id] = ids;
    format!(
        "peer = \"{peer}\"\nid = \"{id}\"\npeer_id = \"{peer_id}\"\n\
         local = \"10.{here}.{number}.0/24\"\nremote = \"10.{there}.{number}.0/24\"\n\
         secret = \"file:tunnel.psk\"\n{extra}\n"
    )
}

/// The hub's ends: peers at an address each, or anywhere.
fn write_hub(hub: &Site, keep: &str, peer: impl Fn(u8) -> String) {
    hub.write("tunnel.psk", SECRET, 0o600);
    for number in 0..TUNNELS {
        let ids = ["hub.example", &format!("{}.example", name(number))];
        let keep = format!("keep = \"{keep}\"");
        let text = tunnel(number, (1, 2), ids, &peer(number), &keep);
        hub.write(&format!("{}.toml", name(number)), &text, 0o644);
    }
}

/// Berlin's ends, from addresses that begin with `first`.
fn write_spokes(spokes: &Site, first: u8, keep: &str) {
    spokes.write("tunnel.psk", SECRET, 0o600);
    for number in 0..TUNNELS {
        let id = format!("{}.example", name(number));
        let extra = format!("address = \"192.0.2.{}\"\nkeep = \"{keep}\"", first + number);
        let text = tunnel(number, (2, 1), [&id, "hub.example"], "192.0.2.1", &extra);
        spokes.write(&format!("{}.toml", name(number)), &text, 0o644);
    }
}

fn pair(test: &str) -> Option<Pair> {
    let mut pair = Pair::new(test)?;
    pair.oslo.options = vec!["--ike-threads", "4"];
    let mut netlink = pair.berlin.namespace.netlink().unwrap();
    let wan = netlink.link_by_name("wan").unwrap().index;
    for last in [FIRST, MOVED].into_iter().flat_map(|first| first..first + TUNNELS) {
        netlink.add_address(wan, format!("192.0.2.{last}/24").parse().unwrap()).unwrap();
    }
    Some(pair)
}

fn tunnels(site: &Site) -> Vec<TunnelStatus> {
    let status: Status =
        api::from_message(&site.call(&Request::AditStatus { tunnel: None })).unwrap();
    status.tunnels
}

fn wait_for_all(site: &Site, state: TunnelState) {
    wait_until(&format!("all are {state}; log:\n{}", site.log()), || {
        tunnels(site).iter().all(|tunnel| tunnel.state == state)
    });
}

fn ike(site: &Site) -> EngineIke {
    api::from_message::<EngineReport>(&site.call(&Request::AditEngine)).unwrap().ike
}

fn established(site: &Site) -> u64 {
    ike(site).threads.iter().map(|thread| thread.established).sum()
}

/// The SAs of a site, by tunnel.
fn sas(site: &Site) -> Vec<SaStatus> {
    let mut sas = site.sad().sas;
    sas.sort_by(|one, other| one.tunnel.cmp(&other.tunnel));
    sas
}

fn assert_done(site: &Site, request: &Request) -> Outcome {
    let outcome = Outcome::parse(&site.call(request));
    assert_eq!(outcome.error, None, "{request:?}; log:\n{}", site.log());
    outcome
}

/// Every thread has its part of the IKE SAs, and no command or question needs to know which.
/// CHECKLIST X04.
#[test]
fn a_hub_of_several_threads_takes_commands_as_one() {
    let Some(mut pair) = pair("shards-commands") else { return };
    write_hub(&pair.oslo, "on-demand", |number| format!("192.0.2.{}", FIRST + number));
    write_spokes(&pair.berlin, FIRST, "passive");
    pair.berlin.start();
    pair.oslo.start();
    let hub = &pair.oslo;
    assert_eq!(ike(hub).threads.len(), 4);
    let mut listener = hub.listen(&[EventKind::IkeUpdown, EventKind::ChildUpdown]);
    for number in 0..TUNNELS {
        let child = Some(name(number));
        assert_done(hub, &Request::Initiate(Initiate { child, ..Initiate::default() }));
        listener.event(EventKind::IkeUpdown);
        listener.event(EventKind::ChildUpdown);
    }
    wait_for_all(hub, TunnelState::Up);
    // A key that nobody knows says who has which: hardly ever one thread all.
    let threads = ike(hub).threads;
    assert!(threads.iter().filter(|thread| thread.established > 0).count() > 1, "{threads:?}");
    assert_eq!(established(hub), u64::from(TUNNELS));
    let before = sas(hub);
    let ids: BTreeSet<u32> = before.iter().map(|sa| sa.id).collect();
    assert_eq!(ids.into_iter().collect::<Vec<_>>(), (1..=u32::from(TUNNELS)).collect::<Vec<_>>());
    if let Some(listed) = hub.swanctl(&["--list-sas"]) {
        // The oldest first, whichever thread has it.
        let sas: Vec<&str> = listed.lines().filter(|line| line.contains("ESTABLISHED")).collect();
        assert_eq!(sas.len(), usize::from(TUNNELS), "{listed}");
        for (line, number) in sas.into_iter().zip(0..) {
            assert!(line.starts_with(&format!("{}: #{}, ", name(number), number + 1)), "{listed}");
        }
    }

    for number in 0..TUNNELS {
        let child = Some(name(number));
        let selection = Selection { child, ..Selection::default() };
        assert_done(hub, &Request::Rekey(Rekey { selection, reauthenticate: false }));
    }
    wait_until(&format!("all have new keys; log:\n{}", hub.log()), || {
        let after = sas(hub);
        let is_new = |sa: &SaStatus| before.iter().all(|old| old.spi_in != sa.spi_in);
        after.len() == before.len() && after.iter().all(is_new)
    });

    for number in 0..TUNNELS {
        let selection = Selection::connection(name(number));
        let terminate = Terminate { selection, ..Terminate::default() };
        let outcome = assert_done(hub, &Request::Terminate(terminate));
        assert_eq!((outcome.matches, outcome.terminated), (Some(1), Some(1)));
    }
    assert_eq!(established(hub), 0);
    wait_until("the peer has heard", || established(&pair.berlin) == 0);
    pair.oslo.terminate();
}

/// RFC 7296 §2.4: peers that were killed and come back from other addresses, and so mostly to other
/// threads, have one IKE SA each; packets follow them.
#[test]
fn peers_that_come_back_to_another_thread_have_one_ike_sa() {
    let Some(mut pair) = pair("shards-contact") else { return };
    write_hub(&pair.oslo, "passive", |_| "%any".to_owned());
    write_spokes(&pair.berlin, FIRST, "up");
    pair.oslo.start();
    pair.berlin.start();
    wait_for_all(&pair.berlin, TunnelState::Up);
    wait_until("the hub has all", || established(&pair.oslo) == u64::from(TUNNELS));

    pair.berlin.kill();
    write_spokes(&pair.berlin, MOVED, "up");
    pair.berlin.start();
    wait_for_all(&pair.berlin, TunnelState::Up);
    let is_there = |sa: &SaStatus, number: u8| {
        sa.tunnel == name(number)
            && sa.outer_remote.starts_with(&format!("192.0.2.{}:", MOVED + number))
    };
    wait_until(&format!("each has one IKE SA; log:\n{}", pair.oslo.log()), || {
        let sas = sas(&pair.oslo);
        let current: Vec<_> = sas.iter().filter(|sa| sa.state == "INSTALLED").collect();
        established(&pair.oslo) == u64::from(TUNNELS)
            && current.len() == usize::from(TUNNELS)
            && current.iter().zip(0..).all(|(sa, number)| is_there(sa, number))
    });
    let lo = pair.berlin.namespace.netlink().unwrap().link_by_name("lo").unwrap().index;
    let hub_lo = pair.oslo.namespace.netlink().unwrap().link_by_name("lo").unwrap().index;
    for number in 0..TUNNELS {
        let add = |site: &Site, interface, address: String| {
            site.namespace.netlink().unwrap().add_address(interface, address.parse().unwrap())
        };
        add(&pair.berlin, lo, format!("10.2.{number}.1/32")).unwrap();
        add(&pair.oslo, hub_lo, format!("10.1.{number}.1/32")).unwrap();
        pair.assert_carries(&format!("10.1.{number}.1"), &format!("10.2.{number}.1"));
    }
}

/// Datagrams of strangers: whatever SPI they write, and what is no IKE message at all.
#[test]
fn datagrams_with_made_up_spis_lead_nowhere() {
    let Some(mut pair) = pair("shards-spis") else { return };
    write_hub(&pair.oslo, "passive", |_| "%any".to_owned());
    write_spokes(&pair.berlin, FIRST, "up");
    pair.oslo.start();
    pair.berlin.start();
    wait_for_all(&pair.berlin, TunnelState::Up);
    let before = ike(&pair.oslo);
    let stranger =
        pair.berlin.namespace.run(|| UdpSocket::bind("192.0.2.2:1234")).unwrap().unwrap();
    for marker in [&[][..], &[0; 4]] {
        let port = if marker.is_empty() { 500 } else { 4500 };
        let send = |octets: &[u8]| {
            let octets = [marker, octets].concat();
            stranger.send_to(&octets, ("192.0.2.1", port)).unwrap();
        };
        for first in 0..=u8::MAX {
            let mut octets = vec![9; 8];
            octets.extend([first, !first, 1, 1, 1, 1, 1, 1]);
            octets.extend([0, 0x20, 37, 0x08, 0, 0, 0, 0, 0, 0, 0, 28]);
            send(&octets);
        }
        send(&[0xab; 27]);
    }
    wait_until("what is no IKE message is counted", || ike(&pair.oslo).dropped >= 2);
    let after = ike(&pair.oslo);
    assert_eq!(after.threads, before.threads);
    for number in [0, TUNNELS - 1] {
        assert_eq!(pair.berlin.tunnel(&name(number)).unwrap().state, TunnelState::Up);
    }
}
