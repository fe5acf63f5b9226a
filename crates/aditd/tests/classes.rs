//! A tunnel with an SA for each class of traffic, between two daemons. Needs root.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail the test")]

mod common;

use adit_db::Dscp;
use adit_mgmt::api::{Fate, SaStatus, TunnelState};
use adit_mgmt::vici::answer::Outcome;
use adit_mgmt::vici::{Rekey, Request, Selection};
use common::{Pair, Site, wait_until};

fn tunnel(here: u8, there: u8, keep: &str) -> String {
    format!(
        "peer = \"192.0.2.{there}\"\nlocal = [\"10.{here}.0.0/24\", \"fd0{here}::/64\"]\n\
         remote = [\"10.{there}.0.0/24\", \"fd0{there}::/64\"]\nsecret = \"file:tunnel.psk\"\n\
         classes = [[\"ef\", \"cs5\"], [\"af41\"]]\nkeep = \"{keep}\"\n"
    )
}

fn dscp(name: &str) -> Dscp {
    Dscp::named(name).unwrap()
}

/// The one SA of a child.
fn sa(site: &Site, child: &str) -> SaStatus {
    let sas: Vec<SaStatus> = site.sad().sas.into_iter().filter(|sa| sa.child == child).collect();
    assert_eq!(sas.len(), 1, "{child}: {sas:?}");
    sas.into_iter().next().unwrap()
}

/// Packets that each child has sent.
fn sent(site: &Site) -> [u64; 3] {
    ["tunnel", "tunnel.1", "tunnel.2"].map(|child| sa(site, child).packets_out)
}

/// Pings with each class; which SAs the packets took, from both sides.
fn assert_divided(pair: &Pair) {
    for (source, destination) in [("10.1.0.1", "10.2.0.1"), ("fd01::1", "fd02::1")] {
        let (oslo, berlin) = (sent(&pair.oslo), sent(&pair.berlin));
        for (name, count) in [("cs0", 2), ("ef", 3), ("af41", 4), ("cs5", 1), ("af42", 5)] {
            let report = pair.oslo.ping_as(source, destination, count, dscp(name));
            assert_eq!(report.lost(), 0, "{name}\n{}", pair.oslo.log());
        }
        for (site, before) in [(&pair.oslo, oslo), (&pair.berlin, berlin)] {
            let after = sent(site);
            let more: Vec<u64> = after.iter().zip(before).map(|(now, then)| now - then).collect();
            assert_eq!(more, [7, 4, 4], "{source}");
        }
    }
}

/// CHECKLIST S17; RFC 4301 §4.1: three SAs with the same selectors, each with its own part of the
/// traffic, there and back and after a rekey of one.
#[test]
fn each_class_has_its_sa() {
    let Some(mut pair) = Pair::new("classes") else { return };
    pair.start(&tunnel(1, 2, "up"), &tunnel(2, 1, "passive"));
    pair.oslo.wait_for("tunnel", TunnelState::Up);
    for site in [&pair.oslo, &pair.berlin] {
        wait_until("all classes are up", || {
            site.tunnel("tunnel").unwrap().children.iter().filter(|child| child.up).count() == 3
        });
    }
    assert_eq!(sa(&pair.oslo, "tunnel.1").class.unwrap(), "cs5, ef");
    assert_eq!(sa(&pair.oslo, "tunnel").class, None);
    assert_divided(&pair);

    let why = |name| pair.oslo.why_with("10.1.0.1", "10.2.0.1", 17, Some(53), dscp(name));
    for (name, child) in [("ef", "tunnel.1"), ("cs0", "tunnel")] {
        let why = why(name);
        assert_eq!((why.fate, why.class.as_deref()), (Fate::Protected, Some(child)));
        assert_eq!((why.dscp.as_str(), why.sa.unwrap().child.as_str()), (name, child));
    }
    let entries = pair.oslo.spd().entries;
    assert_eq!(entries.len(), 1, "the classes share one policy: {entries:?}");

    let before = sa(&pair.oslo, "tunnel.1").spi_in;
    let selection = Selection { child: Some("tunnel.1".into()), ..Selection::default() };
    let rekey = Rekey { selection, reauthenticate: false };
    assert_eq!(Outcome::parse(&pair.berlin.call(&Request::Rekey(rekey))).error, None);
    wait_until("the keys are new", || {
        let sas = pair.oslo.sad().sas;
        sas.len() == 3 && sas.iter().all(|sa| sa.spi_in != before)
    });
    assert_divided(&pair);
}

/// Each class comes up by its first packet, which waits for it; then the routes and the policy go
/// with the last SA.
#[test]
fn a_class_comes_up_on_demand() {
    let Some(mut pair) = Pair::new("class-demand") else { return };
    pair.start(&tunnel(1, 2, "on-demand"), &tunnel(2, 1, "passive"));
    pair.oslo.wait_for("tunnel", TunnelState::Idle);
    // The peer has no way back for a class that it has not got: its answer asks for one, too.
    for (name, sas) in [("ef", 1), ("cs0", 2), ("af41", 3)] {
        let report = pair.oslo.ping_as("10.1.0.1", "10.2.0.1", 3, dscp(name));
        assert_eq!(report.lost(), 0, "{name}\n{}", pair.oslo.log());
        let up = pair.oslo.sad().sas.len();
        assert!(up >= sas && up <= 3, "{name}: {up}");
    }
}
