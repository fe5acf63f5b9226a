//! DSCP and DF of the outer header between two daemons, as the wire has them. Needs root.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail the test")]

mod common;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use adit_db::Dscp;
use adit_mgmt::api::TunnelState;
use adit_sys::capture::{Capture, CaptureThread};
use common::Pair;

/// Traffic class and DF bit of an IPv4 packet that carries our ESP from Oslo.
fn outer(frame: &[u8]) -> Option<(u8, bool)> {
    let ip = frame.get(14..).filter(|_| frame.get(12..14) == Some(&[8, 0]))?;
    let from_oslo = ip.get(12..16) == Some(&[192, 0, 2, 1]);
    let is_esp = match ip.get(9)? {
        50 => true,
        // In UDP 4500, and no IKE, which begins with four zeros.
        17 => ip.get(22..24) == Some(&4500_u16.to_be_bytes()) && ip.get(28..32)? != [0; 4],
        _ => false,
    };
    (from_oslo && is_esp).then_some((*ip.get(1)?, ip.get(6)? & 0x40 != 0))
}

/// What Oslo's outer packets have while it pings with a DSCP.
fn seen(pair: &Pair, destination: (&str, &str), dscp: Dscp) -> Vec<(u8, bool)> {
    let capture = pair.berlin.namespace.run(|| Capture::open("wan", 64)).unwrap().unwrap();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let list = Arc::clone(&seen);
    let thread = CaptureThread::start(capture, move |frame| {
        list.lock().unwrap().extend(outer(frame.octets));
        true
    })
    .unwrap();
    let report = pair.oslo.ping_as(destination.0, destination.1, 3, dscp);
    assert_eq!(report.lost(), 0, "{}", pair.oslo.log());
    std::thread::sleep(Duration::from_millis(200));
    let _ = thread.stop();
    std::mem::take(&mut *seen.lock().unwrap())
}

/// CHECKLIST S17: raw and in UDP. An echo request of Linux forbids being cut, and so does IPv6. Nothing
/// probes the path, with headers of its own.
#[test]
fn the_wire_shows_what_the_file_says() {
    let af41 = Dscp::named("af41").unwrap();
    for (name, encap) in [("header-esp", "esp"), ("header-udp", "udp")] {
        for (df, dscp, expected) in [
            ("clear", "\"copy\"", (34 << 2, false)),
            ("copy", "\"ef\"", (46 << 2, true)),
            ("set", "10", (10 << 2, true)),
        ] {
            let Some(mut pair) = Pair::new(&format!("{name}-{df}")) else { return };
            let file = |here: u8, there: u8, keep: &str| {
                format!(
                    "peer = \"192.0.2.{there}\"\nsecret = \"file:tunnel.psk\"\nkeep = \"{keep}\"\n\
                     local = [\"10.{here}.0.0/24\", \"fd0{here}::/64\"]\n\
                     remote = [\"10.{there}.0.0/24\", \"fd0{there}::/64\"]\n\
                     encap = \"{encap}\"\ndf = \"{df}\"\ndscp = {dscp}\npath_mtu = 1500\n"
                )
            };
            pair.start(&file(1, 2, "up"), &file(2, 1, "passive"));
            pair.oslo.wait_for("tunnel", TunnelState::Up);
            for ends in [("10.1.0.1", "10.2.0.1"), ("fd01::1", "fd02::1")] {
                let seen = seen(&pair, ends, af41);
                assert!(seen.len() >= 3, "{seen:?}");
                assert!(seen.iter().all(|one| *one == expected), "{encap} {df}: {seen:?}");
            }
        }
    }
}
