//! Tunnels that go through others, with whole daemons: CHECKLIST S10. Needs root.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail the test")]

mod common;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use adit_mgmt::api::{Fate, TunnelState};
use adit_mgmt::vici::answer::Outcome;
use adit_mgmt::vici::{Rekey, Request, Selection};
use adit_sys::capture::{Capture, CaptureThread};
use adit_sys::netlink::Route;
use adit_sys::netns::write_sysctl;
use adit_wire::iana::IpProtocol;
use adit_wire::ip::IpPacket;
use common::{Pair, SECRET, Site, wait_until};

/// What a packet on the wire is, header by header as far as it can be read: `ah esp`.
fn headers(frame: &[u8]) -> Option<String> {
    let packet = IpPacket::read(frame.get(14..)?).ok()?;
    let word = |protocol: IpProtocol| protocol.name().map_or_else(String::new, str::to_owned);
    match packet.protocol() {
        IpProtocol::AH => {
            let next = IpProtocol(*packet.payload().first()?);
            Some(format!("{} ah {}", packet.dst(), word(next)))
        }
        IpProtocol::UDP => Some(format!("{} udp {}", packet.dst(), packet.ports()?.1)),
        other => Some(format!("{} {}", packet.dst(), word(other))),
    }
}

/// The kinds of IPv4 packets on an interface while `f` runs.
fn seen(site: &Site, interface: &str, f: impl FnOnce()) -> Vec<String> {
    let capture = site.namespace.run(|| Capture::open(interface, 256)).unwrap().unwrap();
    let kinds: Arc<Mutex<Vec<String>>> = Arc::default();
    let noted = Arc::clone(&kinds);
    let thread = CaptureThread::start(capture, move |frame| {
        if frame.octets.get(12..14) == Some(&[8, 0]) {
            noted.lock().unwrap().extend(headers(frame.octets));
        }
        true
    })
    .unwrap();
    f();
    std::thread::sleep(Duration::from_millis(200));
    let _ = thread.stop();
    let mut kinds = std::mem::take(&mut *kinds.lock().unwrap());
    kinds.sort();
    kinds.dedup();
    kinds
}

/// The tunnel between the networks, over the one named `outer`.
fn networks(here: u8, there: u8, keep: &str) -> String {
    format!(
        "peer = \"192.0.2.{there}\"\nlocal = [\"10.{here}.0.0/24\", \"fd0{here}::/64\"]\n\
         remote = [\"10.{there}.0.0/24\", \"fd0{there}::/64\"]\nsecret = \"file:tunnel.psk\"\n\
         keep = \"{keep}\"\nover = \"outer\"\n\
         id = \"net{here}.example\"\npeer_id = \"net{there}.example\"\n"
    )
}

/// A tunnel for what the two gateways say to each other, in protocol 50 so that the wire shows which
/// packets are its own. Two tunnels between the same gateways are told apart by identities.
fn between(there: u8, keep: &str, extra: &str) -> String {
    format!(
        "peer = \"192.0.2.{there}\"\nlocal = \"dynamic\"\nremote = \"dynamic\"\n\
         secret = \"file:tunnel.psk\"\nkeep = \"{keep}\"\nencap = \"esp\"\n{extra}\n"
    )
}

/// Both gateways with an inner and an outer tunnel between them, both up.
fn nested(name: &str, extra: &str) -> Option<Pair> {
    let mut pair = Pair::new(name)?;
    pair.oslo.write("outer.toml", &between(2, "up", extra), 0o644);
    pair.berlin.write("outer.toml", &between(1, "passive", extra), 0o644);
    pair.start(&networks(1, 2, "up"), &networks(2, 1, "passive"));
    for name in ["outer", "tunnel"] {
        pair.oslo.wait_for(name, TunnelState::Up);
        pair.berlin.wait_for(name, TunnelState::Up);
    }
    Some(pair)
}

fn spi(site: &Site, name: &str) -> Option<String> {
    site.tunnel(name)?.children.first()?.spi_in.clone()
}

fn rekey(site: &Site, name: &str) {
    let before = spi(site, name);
    let selection = Selection { child: Some(name.to_owned()), ..Selection::default() };
    let answer = site.call(&Request::Rekey(Rekey { selection, reauthenticate: false }));
    assert_eq!(Outcome::parse(&answer).error, None);
    wait_until("the keys are new", || spi(site, name).is_some_and(|new| Some(new) != before));
}

/// Pings in both directions while something happens; nothing is lost.
fn carries_while(pair: &Pair, f: impl FnOnce() + Send) {
    std::thread::scope(|scope| {
        let pings = scope.spawn(|| pair.oslo.ping("10.1.0.1", "10.2.0.1", 150));
        f();
        let report = pings.join().unwrap();
        assert_eq!(report.lost(), 0, "{report:?}\n{}\n{}", pair.oslo.log(), pair.berlin.log());
    });
}

/// CHECKLIST S10: AH over ESP, as RFC 2401 §4.3 has it, between the same two gateways.
#[test]
fn ah_goes_over_a_tunnel_of_esp() {
    let ah = "mode = \"transport\"\nprotocol = \"ah\"";
    let Some(pair) = nested("nest-ah", ah) else { return };
    let kinds = seen(&pair.berlin, "wan", || {
        pair.assert_carries("10.1.0.1", "10.2.0.1");
        pair.assert_carries("fd01::1", "fd02::1");
    });
    assert_eq!(kinds, ["192.0.2.1 ah esp", "192.0.2.2 ah esp"]);
    pair.assert_carries_large("10.1.0.1", "10.2.0.1");
    // The gateways' own packets have the outer one alone.
    let kinds = seen(&pair.berlin, "wan", || pair.assert_carries("192.0.2.1", "192.0.2.2"));
    assert_eq!(kinds, ["192.0.2.1 ah icmp", "192.0.2.2 ah icmp"]);

    let sad = pair.oslo.sad();
    let over = |name: &str| sad.sas.iter().find(|sa| sa.tunnel == name).unwrap().over.clone();
    assert_eq!((over("tunnel"), over("outer")), (Some("outer".to_owned()), None));
    assert_eq!(pair.oslo.tunnel("tunnel").unwrap().over.as_deref(), Some("outer"));
    let why = pair.oslo.why("10.1.0.1", "10.2.0.1", 6, Some(443));
    assert_eq!((why.fate, why.sa.unwrap().tunnel.as_str()), (Fate::Protected, "tunnel"));
    let over: Vec<_> = why.over.iter().map(|sa| (&*sa.tunnel, &*sa.protocol)).collect();
    assert_eq!(over, [("outer", "AH")]);
}

/// CHECKLIST S10: ESP in ESP; keys of both are renewed while packets flow.
#[test]
fn esp_goes_in_esp() {
    let Some(pair) = nested("nest-esp", "") else { return };
    let kinds = seen(&pair.berlin, "wan", || pair.assert_carries("10.1.0.1", "10.2.0.1"));
    assert_eq!(kinds, ["192.0.2.1 esp", "192.0.2.2 esp"]);
    pair.assert_carries_large("10.1.0.1", "10.2.0.1");
    let packets = |name: &str| pair.berlin.tunnel(name).unwrap().packets_in;
    let before = (packets("tunnel"), packets("outer"));
    pair.assert_carries("10.1.0.1", "10.2.0.1");
    let after = (packets("tunnel"), packets("outer"));
    assert_eq!(after, (before.0 + 10, before.1 + 10), "each packet goes through both");

    carries_while(&pair, || {
        for name in ["outer", "tunnel", "outer", "tunnel"] {
            rekey(&pair.oslo, name);
        }
    });
}

/// CHECKLIST S10, S12: without the outer tunnel nothing leaves, sealed or not; when it comes up, all is
/// well.
#[test]
fn nothing_goes_without_the_outer_tunnel() {
    let Some(mut pair) = Pair::new("nest-off") else { return };
    let on_demand = |there| between(there, "on-demand", "").replace("tunnel.psk", "outer.psk");
    pair.oslo.write("outer.toml", &on_demand(2), 0o644);
    pair.berlin.write("outer.toml", &on_demand(1), 0o644);
    pair.oslo.write("outer.psk", SECRET, 0o600);
    pair.berlin.write("outer.psk", "another-secret-of-32-characters!", 0o600);
    pair.start(&networks(1, 2, "up"), &networks(2, 1, "passive"));
    pair.oslo.wait_for("tunnel", TunnelState::Up);
    let kinds = seen(&pair.berlin, "wan", || {
        assert_eq!(pair.oslo.ping("10.1.0.1", "10.2.0.1", 5).received(), 0);
    });
    let is_ike = |kind: &String| kind.ends_with("udp 500");
    assert!(!kinds.is_empty() && kinds.iter().all(is_ike), "{kinds:?}");
    let why = pair.oslo.why("10.1.0.1", "10.2.0.1", 1, None);
    assert_eq!((why.fate, why.sa), (Fate::Waiting, None));

    // An attempt that a changed configuration ends half-way is given up late: none is under way just
    // after one has failed.
    let refused = || pair.oslo.log().matches("E203").count();
    let before = refused();
    wait_until("another attempt is refused", || {
        pair.oslo.ping("10.1.0.1", "10.2.0.1", 1);
        refused() > before
    });
    pair.berlin.write("outer.psk", SECRET, 0o600);
    pair.berlin.call(&Request::AditReload { dry_run: false });
    wait_until("packets pass", || pair.oslo.ping("10.1.0.1", "10.2.0.1", 2).lost() == 0);
    let kinds = seen(&pair.berlin, "wan", || pair.assert_carries("10.1.0.1", "10.2.0.1"));
    assert_eq!(kinds, ["192.0.2.1 esp", "192.0.2.2 esp"]);
}

/// CHECKLIST S10: a further gateway behind a nearer one, one end in common. IKE with the further
/// one goes through the nearer tunnel, too, and there is no other way.
#[test]
fn a_further_gateway_is_reached_through_a_nearer_one() {
    let Some(mut pair) = Pair::new("nest-far") else { return };
    let Some(mut paris) = pair.paris("nest-far") else { return };
    let near = |peer: &str, local: &str, remote: &str, keep: &str| {
        format!(
            "peer = \"{peer}\"\nlocal = \"{local}\"\nremote = \"{remote}\"\nkeep = \"{keep}\"\n\
             secret = \"file:tunnel.psk\"\ndpd = \"1s\"\nencap = \"esp\"\n"
        )
    };
    let far = |peer: &str, local: &str, remote: &str, extra: &str| {
        format!("{}{extra}\n", near(peer, local, remote, "up"))
    };
    add_address(&paris, "10.3.0.1/32");
    let back = Route::by_gateway("198.51.100.0/24".parse().unwrap(), "192.0.2.1".parse().unwrap());
    pair.berlin.namespace.netlink().unwrap().add_route(&back).unwrap();
    pair.oslo.namespace.run(|| write_sysctl("net.ipv4.ip_forward", "1")).unwrap().unwrap();

    pair.start(
        &near("198.51.100.3", "192.0.2.2", "198.51.100.3", "on-demand"),
        &near("198.51.100.3", "10.2.0.0/24", "10.3.0.0/24", "passive"),
    );
    let through = "over = \"near\"";
    paris.write("near.toml", &near("198.51.100.1", "dynamic", "192.0.2.2", "up"), 0o644);
    paris.write("far.toml", &far("192.0.2.2", "10.3.0.0/24", "10.2.0.0/24", through), 0o644);
    paris.write("tunnel.psk", SECRET, 0o600);
    let kinds = seen(&pair.oslo, "lan", || {
        paris.start();
        paris.wait_for("near", TunnelState::Up);
        paris.wait_for("far", TunnelState::Up);
    });
    // Nothing for Berlin can be seen before Oslo has opened it.
    assert!(kinds.iter().all(|kind| !kind.starts_with("192.0.2.2")), "{kinds:?}");

    let kinds = seen(&pair.oslo, "lan", || {
        let there = paris.ping("10.3.0.1", "10.2.0.1", 5);
        assert_eq!(there.lost(), 0, "{}\n{}", paris.log(), pair.berlin.log());
        let back = pair.berlin.ping("10.2.0.1", "10.3.0.1", 5);
        assert_eq!(back.lost(), 0, "{}\n{}", paris.log(), pair.berlin.log());
    });
    assert_eq!(kinds, ["198.51.100.1 esp", "198.51.100.3 esp"]);
    for octets in [1_300, 1_500, 4_000, 20_000] {
        let there = paris.ping_with("10.3.0.1", "10.2.0.1", 2, octets);
        assert_eq!(there.lost(), 0, "{octets}\n{}\n{}", paris.log(), pair.berlin.log());
        let back = pair.berlin.ping_with("10.2.0.1", "10.3.0.1", 2, octets);
        assert_eq!(back.lost(), 0, "{octets}\n{}\n{}", paris.log(), pair.berlin.log());
    }
    // The nearer gateway is gone and comes back, and everything comes up again by itself.
    pair.oslo.kill();
    pair.oslo.start();
    wait_until("both tunnels carry again", || {
        pair.berlin.ping("10.2.0.1", "10.3.0.1", 1).lost() == 0
    });
}

fn add_address(site: &Site, address: &str) {
    let mut netlink = site.namespace.netlink().unwrap();
    let lo = netlink.link_by_name("lo").unwrap().index;
    netlink.add_address(lo, address.parse().unwrap()).unwrap();
}
