//! Two daemons in two network namespaces: tunnels come up, carry packets, survive, and come back.
//! Needs root.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail the test")]

mod common;

use std::fs;
use std::time::Duration;

use adit_mgmt::Code;
use adit_mgmt::api::{Fate, PolicySource, TunnelState};
use adit_mgmt::vici::answer::Outcome;
use adit_mgmt::vici::{EventKind, Rekey, Request, Section, Selection, Terminate, Timeout};
use adit_sys::netns::write_sysctl;
use adit_sys::thread::spawn_scoped_named;
use common::{Pair, Site, wait_until};

/// One side's file. `extra` goes to the end.
fn tunnel(here: u8, there: u8, extra: &str) -> String {
    format!(
        "peer = \"192.0.2.{there}\"\nlocal = [\"10.{here}.0.0/24\", \"fd0{here}::/64\"]\n\
         remote = [\"10.{there}.0.0/24\", \"fd0{there}::/64\"]\nsecret = \"file:tunnel.psk\"\n{extra}\n"
    )
}

/// Runs both sides with the same extra lines and checks that both families pass both ways.
fn carries(name: &str, extra: &str) -> Option<Pair> {
    let mut pair = Pair::new(name)?;
    let passive = format!("{extra}\nkeep = \"passive\"");
    pair.start(&tunnel(1, 2, extra), &tunnel(2, 1, &passive));
    pair.oslo.wait_for("tunnel", TunnelState::Up);
    pair.assert_carries("10.1.0.1", "10.2.0.1");
    pair.assert_carries("fd01::1", "fd02::1");
    Some(pair)
}

/// CHECKLIST A03: traffic flows on the first child right after IKE_AUTH, both directions; H06.
#[test]
fn a_tunnel_carries_both_families_as_protocol_50() {
    let Some(pair) = carries("esp", "encap = \"esp\"") else { return };
    let status = pair.oslo.tunnel("tunnel").unwrap();
    assert!(!status.children[0].udp);
    assert!(status.ike_suite.unwrap().contains("mlkem768"));
    assert!(status.packets_in >= 20 && status.packets_out >= 20);
}

/// CHECKLIST M*: UDP encapsulation by configuration, as a NAT would bring it about.
#[test]
fn a_tunnel_carries_both_families_inside_udp() {
    let Some(pair) = carries("udp", "encap = \"udp\"") else { return };
    assert!(pair.oslo.tunnel("tunnel").unwrap().children[0].udp);
}

/// Without a word about it two packet engines of ours agree on UDP; each can decline.
#[test]
fn two_adits_prefer_udp() {
    let Some(pair) = carries("prefer", "") else { return };
    assert!(pair.oslo.tunnel("tunnel").unwrap().children[0].udp);
    drop(pair);
    let Some(mut pair) = Pair::new("decline") else { return };
    let declines = "encap = \"esp\"\nkeep = \"passive\"";
    pair.start(&tunnel(1, 2, ""), &tunnel(2, 1, declines));
    pair.oslo.wait_for("tunnel", TunnelState::Up);
    pair.assert_carries("10.1.0.1", "10.2.0.1");
    for site in [&pair.oslo, &pair.berlin] {
        assert!(!site.tunnel("tunnel").unwrap().children[0].udp);
    }
}

#[test]
fn a_tunnel_runs_over_ipv6() {
    let Some(mut pair) = Pair::new("v6") else { return };
    let over_v6 = |text: String| text.replace("192.0.2.", "2001:db8::");
    let oslo = over_v6(tunnel(1, 2, ""));
    pair.start(&oslo, &over_v6(tunnel(2, 1, "keep = \"passive\"")));
    pair.oslo.wait_for("tunnel", TunnelState::Up);
    pair.assert_carries("10.1.0.1", "10.2.0.1");
    pair.assert_carries("fd01::1", "fd02::1");
}

/// RFC 4301 §7: what a host sends in fragments passes as one packet where selectors look at
/// protocols or ports, and as it is where they do not.
#[test]
fn large_packets_pass_whatever_the_selectors_look_at() {
    let Some(pair) = carries("large", "") else { return };
    pair.assert_carries_large("10.1.0.1", "10.2.0.1");
    drop(pair);

    let Some(mut pair) = Pair::new("ports") else { return };
    let only_echoes = |text: String| {
        text.replace(".0/24\"", ".0/24[icmp]\"").replace("/64\"", "/64[ipv6-icmp]\"")
    };
    let oslo = only_echoes(tunnel(1, 2, ""));
    pair.start(&oslo, &only_echoes(tunnel(2, 1, "keep = \"passive\"")));
    pair.oslo.wait_for("tunnel", TunnelState::Up);
    pair.assert_carries_large("10.1.0.1", "10.2.0.1");
    pair.assert_carries_large("fd01::1", "fd02::1");
}

/// CHECKLIST E12: every suite this issue names passes packets.
#[test]
fn every_suite_carries_packets() {
    let suites = [
        ("gcm128", "aes128gcm16-prfsha256-x25519", "aes128gcm16"),
        ("iiv", "aes128gcm16-prfsha256-x25519", "aes256gcm16iiv-esn"),
        ("chacha", "chacha20poly1305-prfsha512-ecp384", "chacha20poly1305"),
        ("cbc", "aes256-sha384-ecp256", "aes256-sha384"),
        ("cbc128", "aes128-sha256-modp2048", "aes128-sha256-noesn"),
        ("cbc512", "aes256-sha512-modp3072", "aes256-sha512"),
    ];
    for (name, ike, esp) in suites {
        let extra = format!("ike = \"{ike}\"\nesp = \"{esp}\"");
        if carries(name, &extra).is_none() {
            return;
        }
    }
}

/// The first packet waits for the tunnel it triggers; CHECKLIST H10.
#[test]
fn an_on_demand_tunnel_comes_up_by_its_first_packet() {
    let Some(mut pair) = Pair::new("demand") else { return };
    let demand = "keep = \"on-demand\"";
    pair.start(&tunnel(1, 2, demand), &tunnel(2, 1, "keep = \"passive\""));
    pair.oslo.wait_for("tunnel", TunnelState::Idle);
    let first = pair.oslo.ping("10.1.0.1", "10.2.0.1", 1);
    assert_eq!(first.lost(), 0, "{}", pair.oslo.log());
    assert_eq!(pair.oslo.tunnel("tunnel").unwrap().state, TunnelState::Up);
}

/// CHECKLIST J38: no packet is lost across rekeys from either side.
#[test]
fn rekeys_lose_no_packet() {
    assert_rekeys_lose_nothing("rekey", "");
}

/// CHECKLIST K02: the same where both the IKE SA and the tunnel's own keys have ML-KEM-1024 behind
/// ECP-384.
#[test]
fn rekeys_with_several_key_exchanges_lose_no_packet() {
    assert_rekeys_lose_nothing("rekey2", "suite = \"cnsa2\"");
}

fn assert_rekeys_lose_nothing(name: &str, extra: &str) {
    let Some(pair) = carries(name, extra) else { return };
    let rekey = |ike: bool| {
        let selection = if ike {
            Selection::connection("tunnel")
        } else {
            Selection { child: Some("tunnel".into()), ..Selection::default() }
        };
        Request::Rekey(Rekey { selection, reauthenticate: false })
    };
    let report = std::thread::scope(|scope| {
        let pings =
            spawn_scoped_named(scope, "pings", || pair.oslo.ping("10.1.0.1", "10.2.0.1", 300));
        for (site, ike) in
            [(&pair.oslo, false), (&pair.berlin, false), (&pair.oslo, true), (&pair.berlin, true)]
        {
            std::thread::sleep(Duration::from_millis(500));
            assert_eq!(Outcome::parse(&site.call(&rekey(ike))).error, None);
        }
        pings.unwrap().join().unwrap()
    });
    assert_eq!((report.sent, report.lost()), (300, 0), "{}", pair.oslo.log());
}

/// The peer's own address inside the remote selector: the route into the TUN must not catch ESP
/// and IKE themselves.
#[test]
fn the_peer_may_lie_inside_its_own_selector() {
    let Some(mut pair) = Pair::new("inside") else { return };
    let file = |here, there, keep: &str| {
        tunnel(here, there, keep)
            .replace(&format!("10.{there}.0.0/24"), &format!("192.0.2.{there}/32"))
            .replace(&format!("10.{here}.0.0/24"), &format!("192.0.2.{here}/32"))
    };
    pair.start(&file(1, 2, ""), &file(2, 1, "keep = \"passive\""));
    pair.oslo.wait_for("tunnel", TunnelState::Up);
    let before = pair.oslo.tunnel("tunnel").unwrap().packets_out;
    pair.assert_carries("192.0.2.1", "192.0.2.2");
    assert!(pair.oslo.tunnel("tunnel").unwrap().packets_out >= before + 10);
}

/// E506: with a strict reverse path filter the kernel drops what such a peer sends.
#[test]
fn a_filter_that_drops_a_peer_inside_its_own_selector_is_named() {
    let Some(mut pair) = Pair::new("filter") else { return };
    let strict = || write_sysctl("net.ipv4.conf.all.rp_filter", "1").unwrap();
    pair.oslo.namespace.run(strict).unwrap();
    let file = |here, there, keep: &str| {
        tunnel(here, there, keep)
            .replace(&format!("10.{there}.0.0/24"), &format!("192.0.2.{there}/32"))
    };
    pair.start(&file(1, 2, ""), &file(2, 1, "keep = \"passive\""));
    wait_until("the filter is named", || {
        let problem = pair.oslo.tunnel("tunnel").and_then(|tunnel| tunnel.problem);
        problem.is_some_and(|problem| problem.code == Code::E506)
    });
}

/// CHECKLIST X01: a reload touches only the tunnels that changed.
#[test]
fn a_reload_touches_only_what_changed() {
    let Some(pair) = carries("reload", "") else { return };
    let spi = |pair: &Pair| pair.oslo.tunnel("tunnel").unwrap().children[0].spi_in.clone();
    let before = spi(&pair);
    let paris = tunnel(1, 2, "keep = \"on-demand\"").replace("10.2.0.0", "10.3.0.0");
    let paris = paris.replace("fd02::", "fd03::").replace("192.0.2.2", "192.0.2.77");
    pair.oslo.write("paris.toml", &paris, 0o644);
    pair.oslo.call(&Request::AditReload { dry_run: false });
    pair.oslo.wait_for("paris", TunnelState::Idle);
    assert_eq!(spi(&pair), before);
    pair.assert_carries("10.1.0.1", "10.2.0.1");

    fs::remove_file(pair.oslo.directory.join("tunnels/paris.toml")).unwrap();
    pair.oslo.call(&Request::AditReload { dry_run: false });
    wait_until("paris is gone", || pair.oslo.tunnel("paris").is_none());
    assert_eq!(spi(&pair), before);
}

/// A tunnel that should be up comes back after the loss of either daemon.
#[test]
fn a_tunnel_comes_back_after_either_daemon_was_killed() {
    let Some(mut pair) = Pair::new("killed") else { return };
    let quick = "dpd = \"1s\"";
    pair.start(&tunnel(1, 2, quick), &tunnel(2, 1, quick));
    pair.oslo.wait_for("tunnel", TunnelState::Up);

    pair.oslo.kill();
    pair.oslo.start();
    pair.oslo.wait_for("tunnel", TunnelState::Up);
    // Both may have called each other; one of the two SAs goes, and takes a packet along.
    wait_until("packets pass again", || pair.oslo.ping("10.1.0.1", "10.2.0.1", 5).lost() == 0);

    pair.berlin.kill();
    pair.berlin.start();
    pair.berlin.wait_for("tunnel", TunnelState::Up);
    wait_until("packets pass again", || pair.oslo.ping("10.1.0.1", "10.2.0.1", 5).lost() == 0);
    pair.assert_carries("10.1.0.1", "10.2.0.1");
}

/// While a wanted tunnel is down its traffic is dropped, never sent in clear; CHECKLIST S12.
/// CHECKLIST H11.
#[test]
fn no_packet_leaves_in_clear_while_the_tunnel_is_down() {
    let Some(mut pair) = Pair::new("clear") else { return };
    pair.start(&tunnel(1, 2, ""), &tunnel(2, 1, ""));
    pair.oslo.wait_for("tunnel", TunnelState::Up);
    // The clear way exists: only the policy keeps packets off it.
    let mut netlink = pair.oslo.namespace.netlink().unwrap();
    let way = adit_sys::netlink::Route::by_gateway(
        "10.2.0.0/24".parse().unwrap(),
        "192.0.2.2".parse().unwrap(),
    );
    netlink.add_route(&way).unwrap();
    pair.berlin.terminate();
    let seen = clear_packets(&pair, || {
        pair.oslo.ping("10.1.0.1", "10.2.0.1", 3);
    });
    assert_eq!(seen, 0);
}

/// CHECKLIST S12, the other half: what the policy protects does not come in beside the tunnel
/// either, for as long as the policy holds.
#[test]
fn nothing_comes_in_beside_the_tunnel() {
    let Some(mut pair) = Pair::new("beside") else { return };
    if std::process::Command::new("nft").arg("--version").output().is_err() {
        assert!(std::env::var_os("CI").is_none(), "nft is needed in CI (package nftables)");
        eprintln!("SKIPPED: needs nft (package nftables)");
        return;
    }
    pair.start(&tunnel(1, 2, ""), &tunnel(2, 1, "keep = \"passive\""));
    pair.oslo.wait_for("tunnel", TunnelState::Up);
    pair.assert_carries("10.1.0.1", "10.2.0.1");

    // Berlin forgets that there is a tunnel, and sends in clear.
    pair.berlin.kill();
    let mut route = std::process::Command::new("ip");
    route.args(["route", "add", "10.1.0.0/24", "via", "192.0.2.1"]);
    assert!(pair.berlin.namespace.spawn(&mut route).unwrap().wait().unwrap().success());
    let answered = |pair: &Pair| pair.berlin.ping("10.2.0.1", "10.1.0.1", 2).received();
    assert_eq!(answered(&pair), 0);
    // Other packets between the same hosts are nobody's business.
    assert_eq!(pair.berlin.ping("192.0.2.2", "192.0.2.1", 2).lost(), 0);

    fs::remove_file(pair.oslo.directory.join("tunnels/tunnel.toml")).unwrap();
    pair.oslo.call(&Request::AditReload { dry_run: false });
    let mut back = std::process::Command::new("ip");
    back.args(["route", "add", "10.2.0.0/24", "via", "192.0.2.2"]);
    assert!(pair.oslo.namespace.spawn(&mut back).unwrap().wait().unwrap().success());
    wait_until("clear packets come in", || answered(&pair) == 2);
}

/// Counts inner packets readable on the wire while `f` runs.
fn clear_packets(pair: &Pair, f: impl FnOnce()) -> usize {
    use adit_sys::capture::{Capture, CaptureThread};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    let capture = pair.berlin.namespace.run(|| Capture::open("wan", 256)).unwrap().unwrap();
    let count = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&count);
    let thread = CaptureThread::start(capture, move |frame| {
        let inner = [[10, 1, 0, 1], [10, 2, 0, 1]];
        if inner.iter().any(|address| frame.octets.windows(4).any(|octets| octets == address)) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
        true
    })
    .unwrap();
    f();
    std::thread::sleep(Duration::from_millis(200));
    let _ = thread.stop();
    count.load(Ordering::Relaxed)
}

/// Whoever keeps accounts reads them from these events: charon's carry the last numbers, too.
/// CHECKLIST X06.
#[test]
fn events_of_what_is_gone_say_what_it_carried() {
    let Some(mut pair) = Pair::new("accounts") else { return };
    pair.start(&tunnel(1, 2, ""), &tunnel(2, 1, "keep = \"passive\""));
    pair.oslo.wait_for("tunnel", TunnelState::Up);
    let kinds = [EventKind::ChildUpdown, EventKind::ChildRekey, EventKind::IkeUpdown];
    let mut listener = pair.oslo.listen(&kinds);

    assert_eq!(pair.oslo.ping("10.1.0.1", "10.2.0.1", 3).lost(), 0);
    let selection = Selection { child: Some("tunnel".into()), ..Selection::default() };
    let rekey = Rekey { selection: selection.clone(), reauthenticate: false };
    pair.oslo.call(&Request::Rekey(rekey));
    let rekeyed = listener.event(EventKind::ChildRekey);
    let children = sa(&rekeyed).section("child-sas").unwrap();
    let both = children.section("tunnel").unwrap();
    assert_eq!(numbers(both.section("old").unwrap()), ["3", "3", "252", "252"]);
    assert_eq!(numbers(both.section("new").unwrap()), ["0", "0", "0", "0"]);
    // Until the old SA is deleted the peer goes on answering through it (RFC 7296 §2.8).
    let children = |site: &Site| site.tunnel("tunnel").unwrap().children.len();
    wait_until("the old SA is gone", || children(&pair.berlin) == 1 && children(&pair.oslo) == 1);

    assert_eq!(pair.oslo.ping("10.1.0.1", "10.2.0.1", 2).lost(), 0);
    pair.oslo.call(&Request::Terminate(Terminate { selection, ..Terminate::default() }));
    let down = listener.event(EventKind::ChildUpdown);
    assert_eq!(down.text("up"), None);
    let (_, child) = sa(&down).section("child-sas").unwrap().sections().next().unwrap();
    assert_eq!(child.text("state"), Some("DELETED"));
    assert_eq!(numbers(child), ["2", "2", "168", "168"]);

    let selection = Selection::connection("tunnel");
    pair.oslo.call(&Request::Terminate(Terminate { selection, ..Terminate::default() }));
    let down = listener.event(EventKind::IkeUpdown);
    assert_eq!(sa(&down).text("state"), Some("DELETING"));
    assert_eq!(sa(&down).text("established"), None);
}

fn sa(event: &Section) -> &Section {
    event.section("tunnel").unwrap()
}

fn numbers(child: &Section) -> [&str; 4] {
    ["packets-in", "packets-out", "bytes-in", "bytes-out"].map(|name| child.text(name).unwrap())
}

/// What happens to a packet, told by the daemon: through the tunnel, past it, dropped, by nobody's
/// policy, and while the tunnel is down; and the packets do what was told.
#[test]
fn the_daemon_says_what_happens_to_a_packet() {
    let Some(mut pair) = Pair::new("why") else { return };
    pair.oslo.policy("10-web.toml", "action = \"discard\"\nremote = \"10.2.0.0/24[tcp/80]\"\n");
    pair.oslo.policy("20-gone.toml", "action = \"discard\"\nremote = \"fd02::9/128\"\n");
    pair.oslo.policy("30-clear.toml", "action = \"bypass\"\nremote = \"10.2.0.9\"\n");
    pair.start(&tunnel(1, 2, ""), &tunnel(2, 1, "keep = \"passive\""));
    pair.oslo.wait_for("tunnel", TunnelState::Up);
    pair.assert_carries("10.1.0.1", "10.2.0.1");

    let ping = pair.oslo.why("10.1.0.1", "10.2.0.1", 1, None);
    assert_eq!((ping.fate, ping.routed_here, ping.policies), (Fate::Protected, true, 4));
    let policy = ping.policy.unwrap();
    assert_eq!(
        (policy.number, policy.name.as_str(), policy.source),
        (4, "tunnel", PolicySource::Tunnel)
    );
    let sa = ping.sa.unwrap();
    let sad = pair.oslo.sad();
    assert_eq!(sad.sas.len(), 1);
    assert_eq!((&sa.spi_out, &sa.spi_in), (&sad.sas[0].spi_out, &sad.sas[0].spi_in));
    assert!(sa.packets_out >= 10 && sa.last_in_ms.is_some(), "{sa:?}");
    assert_eq!(ping.tunnel.unwrap().state, TunnelState::Up);
    assert_eq!(ping.problem, None);

    let fate = |dst: &str, protocol, port| pair.oslo.why("10.1.0.1", dst, protocol, port).fate;
    assert_eq!(fate("10.2.0.1", 6, Some(443)), Fate::Protected);
    assert_eq!(fate("10.2.0.1", 6, Some(80)), Fate::Discarded);
    assert_eq!(fate("10.2.0.9", 6, Some(443)), Fate::Bypassed);
    assert_eq!(fate("192.0.2.2", 1, None), Fate::Outside);
    let blocked = pair.oslo.why("192.0.2.1", "10.2.0.1", 1, None);
    assert_eq!((blocked.fate, blocked.policy), (Fate::Blocked, None));
    assert_eq!(blocked.problem.unwrap().code.to_string(), "E402");

    let before = pair.oslo.tunnel("tunnel").unwrap().packets_out;
    assert_eq!(pair.oslo.ping("fd01::1", "fd02::9", 2).received(), 0);
    assert_eq!(pair.oslo.tunnel("tunnel").unwrap().packets_out, before);
    let dropped = pair.oslo.why("10.1.0.1", "10.2.0.1", 1, None).drops;
    assert!(dropped.iter().any(|(reason, count)| reason == "policy_discard" && *count >= 2));

    pair.berlin.kill();
    pair.oslo.call(&Request::Terminate(Terminate {
        selection: Selection::connection("tunnel"),
        force: true,
        timeout: Timeout::Immediately,
        log_level: -1,
    }));
    wait_until("the SA is gone", || pair.oslo.sad().sas.is_empty());
    let waiting = pair.oslo.why("10.1.0.1", "10.2.0.1", 1, None);
    assert_eq!((waiting.fate, waiting.sa), (Fate::Waiting, None));
    assert!(waiting.problem.is_some());
}

/// Policies beside the tunnels follow a reload, and `adit spd` shows their order.
/// CHECKLIST H12, H17: a bypass stands before the tunnel.
#[test]
fn policies_follow_a_reload_and_pass_packets_in_clear() {
    let Some(mut pair) = Pair::new("policies") else { return };
    let wide = |text: String| {
        text.replace("10.2.0.0/24", "192.0.2.0/24").replace("\"10.1.0.0/24\"", "\"192.0.2.1/32\"")
    };
    pair.start(
        &wide(tunnel(1, 2, "keep = \"on-demand\"")).replace("192.0.2.0/24", "192.0.2.2/32"),
        &tunnel(2, 1, "keep = \"passive\""),
    );
    pair.oslo.wait_for("tunnel", TunnelState::Idle);
    assert_eq!(pair.oslo.spd().total, 1);

    pair.oslo.policy("10-peer.toml", "action = \"bypass\"\nremote = \"192.0.2.2[icmp]\"\n");
    pair.oslo.call(&Request::AditReload { dry_run: false });
    wait_until("the policy holds", || pair.oslo.spd().total == 2);
    let order: Vec<String> = pair.oslo.spd().entries.into_iter().map(|entry| entry.name).collect();
    assert_eq!(order, ["10-peer", "tunnel"]);
    let there = pair.oslo.ping("192.0.2.1", "192.0.2.2", 3);
    assert_eq!(there.lost(), 0, "{there:?}");
    assert!(pair.oslo.sad().sas.is_empty());

    fs::remove_file(pair.oslo.directory.join("policies/10-peer.toml")).unwrap();
    pair.oslo.call(&Request::AditReload { dry_run: false });
    wait_until("the policy is gone", || pair.oslo.spd().total == 1);
}
