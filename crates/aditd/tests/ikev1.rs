//! Two daemons speak IKEv1 (RFC 2409): main mode with a secret, quick mode, traffic. Needs root.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail the test")]

mod common;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use adit_mgmt::api::TunnelState;
use adit_mgmt::vici::answer::Outcome;
use adit_mgmt::vici::{Rekey, Request, Selection};
use adit_sys::capture::{Capture, CaptureThread};
use adit_wire::iana::IpProtocol;
use adit_wire::ip::IpPacket;
use common::{Pair, SECRET, Site, wait_until};

fn tunnel(here: u8, there: u8, extra: &str) -> String {
    format!(
        "peer = \"192.0.2.{there}\"\nlocal = \"10.{here}.0.0/24\"\nremote = \"10.{there}.0.0/24\"\n\
         secret = \"file:tunnel.psk\"\nike = [1, \"aes256-sha256-modp2048\"]\n{extra}\n"
    )
}

/// CHECKLIST T01, U01: either side calls, and packets pass.
#[test]
fn a_tunnel_of_ikev1_carries_packets() {
    for (name, left, right) in [("v1", "up", "passive"), ("v1-back", "passive", "up")] {
        let Some(mut pair) = Pair::new(name) else { return };
        let keep = |keep: &str| format!("keep = \"{keep}\"");
        pair.start(&tunnel(1, 2, &keep(left)), &tunnel(2, 1, &keep(right)));
        pair.oslo.wait_for("tunnel", TunnelState::Up);
        pair.berlin.wait_for("tunnel", TunnelState::Up);
        let report = pair.oslo.ping("10.1.0.1", "10.2.0.1", 5);
        assert_eq!(report.lost(), 0, "{}\n{}", pair.oslo.log(), pair.berlin.log());
    }
}

/// CHECKLIST F03: different secrets are E203 on both sides.
#[test]
fn different_secrets_are_told() {
    let Some(mut pair) = Pair::new("v1-secret") else { return };
    pair.oslo.write("tunnel.toml", &tunnel(1, 2, "keep = \"up\""), 0o644);
    pair.berlin.write("tunnel.toml", &tunnel(2, 1, "keep = \"passive\""), 0o644);
    pair.oslo.write("tunnel.psk", SECRET, 0o600);
    pair.berlin.write("tunnel.psk", &SECRET.replace('q', "x"), 0o600);
    pair.berlin.start();
    pair.oslo.start();
    for site in [&pair.oslo, &pair.berlin] {
        wait_until("the failure is told", || site.log().contains("E203"));
    }
}

/// CHECKLIST U06, U16: four pairs of networks have SAs of their own, compressed and limited in kilobytes, and
/// packets take those of their networks.
#[test]
fn several_networks_carry_packets() {
    let Some(mut pair) = Pair::new("v1-nets") else { return };
    let with = |here: u8, there: u8, keep: &str| {
        let networks = |n: u8| format!("[\"10.{n}9.0.0/24\", \"10.{n}.0.0/24\"]");
        tunnel(here, there, &format!("keep = \"{keep}\"\ncompress = true\nlife_kilobytes = 50000"))
            .replace(&format!("\"10.{here}.0.0/24\""), &networks(here))
            .replace(&format!("\"10.{there}.0.0/24\""), &networks(there))
    };
    pair.start(&with(1, 2, "up"), &with(2, 1, "passive"));
    pair.oslo.wait_for("tunnel", TunnelState::Up);
    let report = pair.oslo.ping("10.1.0.1", "10.2.0.1", 5);
    assert_eq!(report.lost(), 0, "{}\n{}", pair.oslo.log(), pair.berlin.log());
    wait_until("all pairs are there", || pair.oslo.sad().sas.len() == 4);
}

/// The same SAs in the kernel, where that can be the engine; each side has its own.
#[test]
fn the_kernel_may_be_the_engine() {
    let Some(mut pair) = Pair::new("v1-kernel") else { return };
    let with = |keep: &str, engine: &str| format!("keep = \"{keep}\"\nengine = \"{engine}\"");
    pair.start(&tunnel(1, 2, &with("up", "auto")), &tunnel(2, 1, &with("passive", "userspace")));
    pair.oslo.wait_for("tunnel", TunnelState::Up);
    let report = pair.oslo.ping("10.1.0.1", "10.2.0.1", 5);
    assert_eq!(report.lost(), 0, "{}\n{}", pair.oslo.log(), pair.berlin.log());
}

/// CHECKLIST T06, T16: aggressive mode, in which a peer is known by its name.
#[test]
fn aggressive_mode_carries_packets() {
    let Some(mut pair) = Pair::new("v1-aggr") else { return };
    let names =
        |own: &str, peer: &str| format!("id = \"{own}.example\"\npeer_id = \"{peer}.example\"");
    let left = format!("keep = \"up\"\naggressive = \"initiate\"\n{}", names("oslo", "berlin"));
    let right = format!("keep = \"passive\"\naggressive = \"allow\"\n{}", names("berlin", "oslo"));
    pair.start(&tunnel(1, 2, &left), &tunnel(2, 1, &right));
    pair.oslo.wait_for("tunnel", TunnelState::Up);
    pair.berlin.wait_for("tunnel", TunnelState::Up);
    let report = pair.oslo.ping("10.1.0.1", "10.2.0.1", 5);
    assert_eq!(report.lost(), 0, "{}\n{}", pair.oslo.log(), pair.berlin.log());
}

/// A peer that begins in aggressive mode where that is not allowed is E105.
#[test]
fn aggressive_mode_is_refused_by_a_code() {
    let Some(mut pair) = Pair::new("v1-noaggr") else { return };
    let left = "keep = \"up\"\naggressive = \"initiate\"";
    pair.start(&tunnel(1, 2, left), &tunnel(2, 1, "keep = \"passive\""));
    wait_until("the failure is told", || pair.berlin.log().contains("E105"));
}

/// CHECKLIST S10, U16: AH around ESP: that is what the wire shows, `adit status` has both SAs, and they are
/// renewed and end as one.
#[test]
fn a_bundle_carries_packets() {
    let Some(mut pair) = Pair::new("v1-bundle") else { return };
    let both = "esp = \"aes128-sha256\"\nah = \"sha256\"";
    let with = |keep: &str| format!("keep = \"{keep}\"\n{both}");
    pair.start(&tunnel(1, 2, &with("up")), &tunnel(2, 1, &with("passive")));
    pair.oslo.wait_for("tunnel", TunnelState::Up);
    pair.berlin.wait_for("tunnel", TunnelState::Up);
    let kinds = headers_on_the_wire(&pair, || pair.assert_carries("10.1.0.1", "10.2.0.1"));
    assert_eq!(kinds, ["ah esp"], "{}", pair.oslo.log());
    pair.assert_carries_large("10.1.0.1", "10.2.0.1");

    // One that was replaced still takes what is under way.
    let child = |site: &Site| {
        let mut all = site.tunnel("tunnel").unwrap().children.into_iter();
        all.find(|child| child.up).unwrap()
    };
    let (ours, theirs) = (child(&pair.oslo), child(&pair.berlin));
    assert_eq!((&*ours.protocol, ours.drops.len()), ("AH+ESP", 0), "{ours:?}");
    let (ah, other) = (ours.outer.clone().unwrap(), theirs.outer.unwrap());
    assert_eq!((&ah.spi_in, &ah.spi_out), (&other.spi_out, &other.spi_in));
    assert_eq!(ah.suite, "sha256-noesn");
    let shown = pair.oslo.sad().sas.into_iter().next().unwrap();
    assert_eq!((&*shown.protocol, shown.outer.as_ref()), ("AH+ESP", Some(&ah)));
    assert!(shown.packets_in >= 5 && shown.drops.is_empty(), "{shown:?}");

    let selection = Selection { child: Some("tunnel".into()), ..Selection::default() };
    let rekey = Request::Rekey(Rekey { selection, reauthenticate: false });
    // By who made the first: what the other end makes at once counts as crossed.
    assert_eq!(Outcome::parse(&pair.oslo.call(&rekey)).error, None);
    wait_until("both SAs are new", || {
        let child = child(&pair.oslo);
        child.spi_in != ours.spi_in && child.outer.is_some_and(|new| new.spi_in != ah.spi_in)
    });
    let kinds = headers_on_the_wire(&pair, || pair.assert_carries("10.1.0.1", "10.2.0.1"));
    assert_eq!(kinds, ["ah esp"]);
}

/// Two hosts, both SAs in transport mode.
#[test]
fn two_hosts_have_a_bundle() {
    let Some(mut pair) = Pair::new("v1-bundle-host") else { return };
    let file = |there: u8, keep: &str| {
        format!(
            "peer = \"192.0.2.{there}\"\nsecret = \"file:tunnel.psk\"\nmode = \"transport\"\n\
             ike = [1, \"aes256-sha256-modp2048\"]\nesp = \"aes256-sha256\"\nah = \"sha1\"\n\
             keep = \"{keep}\"\n"
        )
    };
    pair.start(&file(2, "up"), &file(1, "passive"));
    pair.oslo.wait_for("tunnel", TunnelState::Up);
    pair.berlin.wait_for("tunnel", TunnelState::Up);
    let kinds = headers_on_the_wire(&pair, || pair.assert_carries("192.0.2.1", "192.0.2.2"));
    assert_eq!(kinds, ["ah esp"], "{}", pair.oslo.log());
}

/// Header by header what passes on Berlin's outside interface while `f` runs, IKE apart.
fn headers_on_the_wire(pair: &Pair, f: impl FnOnce()) -> Vec<String> {
    let capture = pair.berlin.namespace.run(|| Capture::open("wan", 256)).unwrap().unwrap();
    let kinds: Arc<Mutex<BTreeSet<String>>> = Arc::default();
    let noted = Arc::clone(&kinds);
    let thread = CaptureThread::start(capture, move |frame| {
        let packet = frame.octets.get(14..).and_then(|octets| IpPacket::read(octets).ok());
        let name = |protocol: IpProtocol| protocol.name().unwrap_or("other").to_owned();
        if let Some(packet) = packet.filter(|packet| packet.is_ipv4()) {
            let next = packet.payload().first().map(|next| name(IpProtocol(*next)));
            noted.lock().unwrap().extend(match packet.protocol() {
                IpProtocol::UDP => None,
                IpProtocol::AH => next.map(|next| format!("ah {next}")),
                other => Some(name(other)),
            });
        }
        true
    })
    .unwrap();
    f();
    std::thread::sleep(Duration::from_millis(200));
    let _ = thread.stop();
    std::mem::take(&mut *kinds.lock().unwrap()).into_iter().collect()
}
