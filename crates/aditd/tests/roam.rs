//! MOBIKE (RFC 4555) with two daemons: the client's addresses change while pings run. Needs root.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail the test")]

mod common;

use std::time::Duration;

use adit_mgmt::api::TunnelState;
use adit_mgmt::vici::EventKind;
use adit_sys::clock;
use adit_sys::netlink::Route;
use adit_sys::ping::Pinger;
use adit_sys::thread::spawn_scoped_named;
use common::{Pair, Site, wait_until};

/// Between two pings.
const PAUSE: Duration = Duration::from_millis(10);

/// A ping that is not answered by then is lost.
const WAIT: Duration = Duration::from_millis(50);

/// How long pings run, and how long without an answer they may. On an idle machine it is a quarter of a
/// second: a tenth waits for changes that belong together.
const PINGS: Duration = Duration::from_secs(4);
const OUTAGE_MAX: Duration = Duration::from_secs(2);

/// What pings have shown.
#[derive(Debug, Default)]
struct Outcome {
    answered: usize,
    lost: usize,
    /// The longest time without an answer.
    outage: Duration,
}

fn tunnel(here: u8, there: u8, peer: &str, extra: &str) -> String {
    format!(
        "peer = {peer}\nlocal = \"10.{here}.0.0/24\"\nremote = \"10.{there}.0.0/24\"\n\
         id = \"site{here}.example\"\npeer_id = \"site{there}.example\"\n\
         secret = \"file:tunnel.psk\"\n{extra}\n"
    )
}

fn wan(site: &Site) -> u32 {
    site.namespace.netlink().unwrap().link_by_name("wan").unwrap().index
}

/// One address goes and another comes.
fn readdress(site: &Site, interface: u32, old: &str, new: &str) {
    let mut netlink = site.namespace.netlink().unwrap();
    netlink.delete_address(interface, old.parse().unwrap()).unwrap();
    netlink.add_address(interface, new.parse().unwrap()).unwrap();
}

/// Pings from Oslo to Berlin, while `change` does its part after the first of them.
fn pings_during(pair: &Pair, change: impl FnOnce()) -> Outcome {
    let pings = || {
        let address = |text: &str| text.parse().unwrap();
        let source = Some(address("10.1.0.1"));
        let mut pinger = Pinger::open(address("10.2.0.1"), source).unwrap();
        let mut outcome = Outcome::default();
        let started = clock::now();
        let mut answered = started;
        while started.elapsed() < PINGS {
            match pinger.round_trip(56, WAIT) {
                Ok(Some(_)) => {
                    outcome.outage = outcome.outage.max(answered.elapsed());
                    outcome.answered += 1;
                    answered = clock::now();
                }
                Ok(None) | Err(_) => outcome.lost += 1,
            }
            std::thread::sleep(PAUSE);
        }
        outcome.outage = outcome.outage.max(answered.elapsed());
        outcome
    };
    std::thread::scope(|scope| {
        let pings = || pair.oslo.namespace.run(pings).unwrap();
        let pings = spawn_scoped_named(scope, "pings", pings).unwrap();
        std::thread::sleep(Duration::from_secs(1));
        change();
        pings.join().unwrap()
    })
}

/// The IKE SA is the one there was, and packets were missing for a short while.
fn assert_stays(pair: &Pair, what: &str, outcome: &Outcome, address: &str) {
    let Outcome { answered, lost, outage } = outcome;
    eprintln!("{what}: {lost} pings lost, {answered} answered, {} ms without", outage.as_millis());
    assert!(*outage <= OUTAGE_MAX, "{what}: {outcome:?}\n{}", pair.oslo.log());
    let seen = pair.berlin.tunnel("tunnel").unwrap().peer_address.unwrap();
    assert!(seen.starts_with(address), "{what}: {seen}\n{}", pair.berlin.log());
    for site in [&pair.oslo, &pair.berlin] {
        assert_eq!(site.tunnel("tunnel").unwrap().state, TunnelState::Up);
        assert!(!site.log().contains("closed"), "{}", site.log());
        assert_eq!(site.log().matches("UP with").count(), 1, "{}", site.log());
    }
}

/// CHECKLIST N07, N08, N15: the address changes, then again, then the way is by another interface.
#[test]
fn a_client_roams_while_pings_run() {
    let Some(mut pair) = Pair::new("roam") else { return };
    let mut netlink = pair.oslo.namespace.netlink().unwrap();
    netlink.add_veth_to("lan", "lan", &pair.berlin.namespace).unwrap();
    let lan = |site: &Site| site.namespace.netlink().unwrap().link_by_name("lan").unwrap().index;
    pair.start(&tunnel(1, 2, "\"192.0.2.2\"", ""), &tunnel(2, 1, "\"%any\"", "keep = \"passive\""));
    pair.oslo.wait_for("tunnel", TunnelState::Up);
    assert!(pair.oslo.tunnel("tunnel").unwrap().mobike);
    let mut events = pair.oslo.listen(&[EventKind::AditEvent]);

    let interface = wan(&pair.oslo);
    let outcome = pings_during(&pair, || {
        readdress(&pair.oslo, interface, "192.0.2.1/24", "192.0.2.71/24");
    });
    assert_stays(&pair, "another address", &outcome, "192.0.2.71:");
    let said = events.event(EventKind::AditEvent);
    let said = format!("{said:?}");
    assert!(said.contains("moved from 192.0.2.1:4500 to 192.0.2.71:4500"), "{said}");

    let outcome = pings_during(&pair, || {
        readdress(&pair.oslo, interface, "192.0.2.71/24", "192.0.2.72/24");
    });
    assert_stays(&pair, "and another", &outcome, "192.0.2.72:");

    for (site, address) in [(&pair.oslo, "198.51.100.1/24"), (&pair.berlin, "198.51.100.2/24")] {
        let mut netlink = site.namespace.netlink().unwrap();
        netlink.add_address(lan(site), address.parse().unwrap()).unwrap();
        netlink.set_up(lan(site), true).unwrap();
    }
    // The client will be told of the gateway's; nothing moves yet.
    for site in [&pair.oslo, &pair.berlin] {
        let mut netlink = site.namespace.netlink().unwrap();
        assert!(netlink.wait_until_ready(lan(site), Duration::from_secs(5)).unwrap());
    }
    let outcome = pings_during(&pair, || {
        let mut netlink = pair.oslo.namespace.netlink().unwrap();
        netlink.set_up(interface, false).unwrap();
        let network = "192.0.2.0/24".parse().unwrap();
        let route = Route::by_gateway(network, "198.51.100.2".parse().unwrap());
        netlink.replace_route(&route).unwrap();
    });
    assert_stays(&pair, "another interface", &outcome, "198.51.100.1:");
    wait_until("the gateway tells its other address", || {
        let told = pair.oslo.tunnel("tunnel").unwrap().peer_addresses;
        told.iter().any(|address| address == "198.51.100.2")
    });
    pair.assert_carries("10.1.0.1", "10.2.0.1");
}

/// From IPv4 to IPv6, when that is all there is.
#[test]
fn a_client_goes_on_over_ipv6() {
    let Some(mut pair) = Pair::new("roam-v6") else { return };
    pair.start(
        &tunnel(1, 2, "[\"192.0.2.2\", \"2001:db8::2\"]", ""),
        &tunnel(2, 1, "\"%any\"", "keep = \"passive\""),
    );
    pair.oslo.wait_for("tunnel", TunnelState::Up);
    let interface = wan(&pair.oslo);
    let outcome = pings_during(&pair, || {
        let mut netlink = pair.oslo.namespace.netlink().unwrap();
        netlink.delete_address(interface, "192.0.2.1/24".parse().unwrap()).unwrap();
    });
    assert_stays(&pair, "from IPv4 to IPv6", &outcome, "[2001:db8::1]:");
}
