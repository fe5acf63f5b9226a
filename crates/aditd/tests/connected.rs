//! Busy peers have sockets of their own, and traffic passes whatever happens to them. Needs root.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail the test")]

mod common;

use std::io::Write as _;
use std::process::{Command, Stdio};

use adit_mgmt::api::{EnginePath, TunnelState};
use adit_mgmt::vici::answer::Outcome;
use adit_mgmt::vici::{Rekey, Request, Selection};
use common::{Pair, Site, engine, stream, wait_until};

const NAME: &str = "UDP connected";
const OCTETS: usize = 8_000_000;

fn tunnel(here: u8, there: u8, extra: &str) -> String {
    format!(
        "peer = \"192.0.2.{there}\"\nlocal = [\"10.{here}.0.0/24\"]\nremote = [\"10.{there}.0.0/24\"]\n\
         secret = \"file:tunnel.psk\"\nencap = \"udp\"\n{extra}\n"
    )
}

fn pair(name: &str, options: &[&'static str], extra: &str) -> Option<Pair> {
    let mut pair = Pair::new(name)?;
    for site in [&mut pair.oslo, &mut pair.berlin] {
        site.options = [&["--inbound-filter", "off"], options].concat();
    }
    pair.start(&tunnel(1, 2, extra), &tunnel(2, 1, &format!("{extra}\nkeep = \"passive\"")));
    pair.oslo.wait_for("tunnel", TunnelState::Up);
    Some(pair)
}

fn path(site: &Site) -> EnginePath {
    let report = engine(site);
    report.outbound.paths.into_iter().find(|path| path.name == NAME).unwrap()
}

/// How many sockets the outbound threads have, and how many the inbound ones read.
fn sockets(site: &Site) -> (u64, u64) {
    let report = engine(site);
    (report.outbound.connected, report.inbound.connected)
}

/// Streams both ways until both have a socket for the other.
fn connect_both(pair: &Pair) {
    wait_until("both have sockets", || {
        stream(&pair.oslo, &pair.berlin, "10.2.0.1:5201", OCTETS);
        stream(&pair.berlin, &pair.oslo, "10.1.0.1:5201", OCTETS);
        [&pair.oslo, &pair.berlin].iter().all(|site| sockets(site) == (1, 1))
    });
}

fn rekey(site: &Site) {
    let selection = Selection { child: Some("tunnel".into()), ..Selection::default() };
    let request = Request::Rekey(Rekey { selection, reauthenticate: false });
    assert_eq!(Outcome::parse(&site.call(&request)).error, None);
}

/// IKE and ESP of a busy peer come to its socket; a peer that starts again is answered by it, and what
/// the network says of it meanwhile is counted.
#[test]
fn busy_peers_have_sockets_of_their_own() {
    let quick = "dpd = \"1s\"";
    let Some(mut pair) = pair("connected", &[], quick) else { return };
    assert!(path(&pair.oslo).on, "{:?}", path(&pair.oslo));
    assert_eq!(sockets(&pair.oslo), (0, 0));
    connect_both(&pair);
    pair.assert_carries("10.1.0.1", "10.2.0.1");
    pair.assert_carries_large("10.1.0.1", "10.2.0.1");
    rekey(&pair.oslo);
    rekey(&pair.berlin);
    connect_both(&pair);

    pair.berlin.kill();
    wait_until("the network complains", || {
        pair.oslo.ping("10.1.0.1", "10.2.0.1", 3);
        engine(&pair.oslo).inbound.complaints > 0
    });
    assert_eq!(sockets(&pair.oslo), (1, 1));
    // It begins by itself: to find it gone takes longer.
    pair.berlin.write("tunnel.toml", &tunnel(2, 1, quick), 0o644);
    pair.berlin.start();
    wait_until("packets pass again", || pair.oslo.ping("10.1.0.1", "10.2.0.1", 5).lost() == 0);
    connect_both(&pair);

    // Who sends nothing has none after some time.
    wait_until("the socket is closed", || sockets(&pair.oslo) == (0, 0));
    pair.assert_carries("10.1.0.1", "10.2.0.1");
}

/// A NAT in front of the site: what leaves by one of our ports has another, `shift` higher.
fn translate(site: &Site, shift: u16) {
    let (ike, nat) = (500 + shift, 4_500 + shift);
    let rules = format!(
        "table inet nat\ndelete table inet nat\ntable inet nat {{\n\
         chain out {{\ntype filter hook postrouting priority 0\n\
         udp sport 500 udp sport set {ike}\nudp sport 4500 udp sport set {nat}\n}}\n\
         chain in {{\ntype filter hook prerouting priority -300\n\
         udp dport {ike} udp dport set 500\nudp dport {nat} udp dport set 4500\n}}\n}}\n"
    );
    let mut nft = Command::new("nft");
    nft.args(["-f", "-"]).stdin(Stdio::piped());
    let mut nft = site.namespace.spawn(&mut nft).unwrap();
    nft.stdin.take().unwrap().write_all(rules.as_bytes()).unwrap();
    assert!(nft.wait().unwrap().success(), "{rules}");
}

/// RFC 7296 §2.23: the NAT gives the peer another port. Its socket is for the old one; the packets from
/// the new one come to that of all, and soon to another.
#[test]
fn a_peer_moves_on_to_another_socket() {
    if Command::new("nft").arg("--version").output().is_err() {
        assert!(std::env::var_os("CI").is_none(), "nft is needed in CI (package nftables)");
        eprintln!("SKIPPED: needs nft (package nftables)");
        return;
    }
    let Some(mut pair) = Pair::new("rebinding") else { return };
    translate(&pair.oslo, 10_000);
    for site in [&mut pair.oslo, &mut pair.berlin] {
        site.options = vec!["--inbound-filter", "off", "--log-level", "info,aditd=debug"];
    }
    pair.start(&tunnel(1, 2, ""), &tunnel(2, 1, "keep = \"passive\""));
    pair.oslo.wait_for("tunnel", TunnelState::Up);
    connect_both(&pair);
    let remote = || pair.berlin.sad().sas[0].outer_remote.clone();
    assert_eq!(remote(), "192.0.2.1:14500");

    translate(&pair.oslo, 20_000);
    // The first answers may still go to the old port.
    wait_until("packets pass again", || pair.oslo.ping("10.1.0.1", "10.2.0.1", 5).lost() == 0);
    assert_eq!(remote(), "192.0.2.1:24500");
    pair.assert_carries("10.1.0.1", "10.2.0.1");
    let says = |text: &str| pair.berlin.log().contains(text);
    // That of the old one is closed as idle.
    wait_until("the new address has one, and it alone", || {
        stream(&pair.berlin, &pair.oslo, "10.1.0.1:5201", OCTETS);
        says("a peer has a socket of its own remote=192.0.2.1:24500")
            && says("a peer has no socket of its own any more remote=192.0.2.1:14500")
            && sockets(&pair.berlin) == (1, 1)
    });
    pair.assert_carries("10.1.0.1", "10.2.0.1");
}

#[test]
fn without_sockets_of_their_own_peers_use_that_of_all() {
    for (name, options, reason) in [
        ("off", ["--connected-sockets", "off"], "switched off"),
        ("many", ["--packet-threads", "2"], "several threads open packets"),
    ] {
        let Some(pair) = pair(name, &options, "") else { return };
        stream(&pair.oslo, &pair.berlin, "10.2.0.1:5201", OCTETS);
        assert_eq!(path(&pair.oslo), EnginePath::new(NAME, Some(reason.to_owned())));
        assert_eq!(sockets(&pair.oslo), (0, 0));
    }
}

/// Each outbound thread has its own, all of which the inbound thread reads.
#[test]
fn several_threads_seal_for_one_peer() {
    let wide = "replay_window = 65536\npeer_replay_window = 65536";
    let Some(pair) = pair("sealing", &["--packet-threads", "2/1"], wide) else { return };
    wait_until("there are some", || {
        stream(&pair.oslo, &pair.berlin, "10.2.0.1:5201", OCTETS);
        let (outbound, inbound) = sockets(&pair.oslo);
        assert!(outbound <= 2);
        outbound > 0 && outbound == inbound
    });
    pair.assert_carries("10.1.0.1", "10.2.0.1");
}
