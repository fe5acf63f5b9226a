//! Daemons with several packet threads of each direction. Needs root.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail the test")]

mod common;

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream};
use std::time::Duration;

use adit_mgmt::api::{SaStatus, TunnelState, TunnelStatus};
use adit_mgmt::vici::answer::Outcome;
use adit_mgmt::vici::{Rekey, Request, Selection};
use adit_sys::thread::spawn_scoped_named;
use common::{Pair, Site};

const STREAMS: u8 = 4;
const OCTETS: usize = 3_000_000;
const LISTENER: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(10, 2, 0, 1), 7_777);
/// Longer than a stream waits for a lost packet on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);
/// Longer than a packet of a stream that is over takes.
const PAUSE: Duration = Duration::from_millis(200);

fn tunnel(here: u8, there: u8, extra: &str) -> String {
    format!(
        "peer = \"192.0.2.{there}\"\nlocal = [\"10.{here}.0.0/24\", \"fd0{here}::/64\"]\n\
         remote = [\"10.{there}.0.0/24\", \"fd0{there}::/64\"]\nsecret = \"file:tunnel.psk\"\n{extra}\n"
    )
}

fn pair(name: &str, threads: &'static str, extra: &str) -> Option<Pair> {
    let mut pair = Pair::new(name)?;
    for site in [&mut pair.oslo, &mut pair.berlin] {
        site.options = vec!["--packet-threads", threads];
    }
    let passive = format!("{extra}\nkeep = \"passive\"");
    pair.start(&tunnel(1, 2, extra), &tunnel(2, 1, &passive));
    pair.oslo.wait_for("tunnel", TunnelState::Up);
    Some(pair)
}

fn rekey(site: &Site) {
    let selection = Selection { child: Some("tunnel".into()), ..Selection::default() };
    let request = Request::Rekey(Rekey { selection, reauthenticate: false });
    assert_eq!(Outcome::parse(&site.call(&request)).error, None);
}

/// What a stream carries: no two parts of it are alike.
fn content(stream: u8) -> Vec<u8> {
    let octet = |n: usize| stream ^ u8::try_from((n / 251 + n) % 256).unwrap();
    (0..OCTETS).map(octet).collect()
}

/// Several TCP streams from Oslo to Berlin at once, during which both rekey.
fn carries_streams(pair: &Pair) {
    let listen = || TcpListener::bind(LISTENER).unwrap();
    let listener = pair.berlin.namespace.run(listen).unwrap();
    std::thread::scope(|scope| {
        let mut threads = Vec::new();
        for stream in 0..STREAMS {
            let connect = || TcpStream::connect_timeout(&LISTENER.into(), PATIENCE).unwrap();
            let mut sender = pair.oslo.namespace.run(connect).unwrap();
            sender.set_write_timeout(Some(PATIENCE)).unwrap();
            let (mut receiver, _) = listener.accept().unwrap();
            receiver.set_read_timeout(Some(PATIENCE)).unwrap();
            let send = move || {
                sender.write_all(&[stream]).unwrap();
                sender.write_all(&content(stream)).unwrap();
            };
            threads.push(spawn_scoped_named(scope, "sender", send).unwrap());
            let receive = move || {
                let mut got = Vec::new();
                receiver.read_to_end(&mut got).unwrap();
                let (stream, octets) = got.split_first().unwrap();
                assert!(*octets == content(*stream), "stream {stream}");
            };
            threads.push(spawn_scoped_named(scope, "receiver", receive).unwrap());
        }
        rekey(&pair.oslo);
        rekey(&pair.berlin);
        for thread in threads {
            thread.join().unwrap();
        }
    });
}

/// Whether both have the same SAs, and no more than one for each child.
fn have_replaced(pair: &Pair) -> bool {
    let children = |site: &Site| site.tunnel("tunnel").unwrap().children.len();
    let (oslo, berlin) = (pair.oslo.sad().sas, pair.berlin.sad().sas);
    let mut out: Vec<_> = oslo.iter().map(|sa| &sa.spi_out).collect();
    let mut back: Vec<_> = berlin.iter().map(|sa| &sa.spi_in).collect();
    out.sort_unstable();
    back.sort_unstable();
    out == back && out.len() == children(&pair.oslo) && out.len() == children(&pair.berlin)
}

/// Nothing was taken for a replay, and what one side has sent the other has got.
fn assert_counted(pair: &Pair) {
    let status = |site: &Site| site.tunnel("tunnel").unwrap();
    let dropped = |status: &TunnelStatus| {
        let drops = status.children.iter().flat_map(|child| child.drops.clone());
        drops.filter(|(reason, _)| reason == "too_old" || reason == "replayed").collect::<Vec<_>>()
    };
    let sas = |site: &Site| site.sad().sas.into_iter().map(|sa| sa.spi_out).collect::<Vec<_>>();
    let counted = || {
        let (oslo, berlin) = (status(&pair.oslo), status(&pair.berlin));
        assert_eq!(dropped(&oslo), []);
        assert_eq!(dropped(&berlin), []);
        (sas(&pair.oslo), oslo.packets_out, berlin.packets_in)
    };
    // What the streams have lost on a busy machine is lost; their last packets are still on their way,
    // and the SAs that were replaced are not gone yet.
    let at_rest = || {
        let mut last = counted();
        common::wait_until("nothing moves any more", || {
            std::thread::sleep(PAUSE);
            let before = std::mem::replace(&mut last, counted());
            before == last && have_replaced(pair)
        });
        last
    };
    // RFC 7296 §2.25: who was refused because both replaced the SA at once tries again later, and the
    // numbers begin again.
    common::wait_until("the SA stays", || {
        let (sas, sent_before, got_before) = at_rest();
        let report = pair.oslo.ping("10.1.0.1", "10.2.0.1", 40);
        assert_eq!(report.lost(), 0, "{}", pair.oslo.log());
        let (sas_then, sent, got) = at_rest();
        if sas == sas_then {
            let (sent, got) = (sent - sent_before, got - got_before);
            assert!(sent >= 40 && sent == got, "{sent} sent, {got} got");
        }
        sas == sas_then
    });
}

/// One thread sends on the SA, and it does not matter who has read the packets.
#[test]
fn streams_pass_several_threads_to_a_narrow_window() {
    let Some(pair) = pair("narrow", "2", "replay_window = 64") else { return };
    carries_streams(&pair);
    assert_counted(&pair);
}

#[test]
fn streams_pass_several_threads_to_a_wide_window() {
    let wide = "replay_window = 65536\npeer_replay_window = 65536\nencap = \"udp\"";
    let Some(mut pair) = pair("wide", "3/2", wide) else { return };
    let outer =
        |sa: &SaStatus| sa.outer_local.ends_with(":4500") && sa.outer_remote.ends_with(":4500");
    assert!(pair.oslo.sad().sas.iter().chain(&pair.berlin.sad().sas).all(outer));
    carries_streams(&pair);
    assert_counted(&pair);
    pair.assert_carries("fd01::1", "fd02::1");
    pair.assert_carries_large("10.1.0.1", "10.2.0.1");

    // Who comes back starts again with all its threads.
    pair.oslo.terminate();
    pair.berlin.kill();
    pair.berlin.start();
    pair.oslo.start();
    pair.oslo.wait_for("tunnel", TunnelState::Up);
    carries_streams(&pair);
    assert_counted(&pair);
}

/// AH has no SPI that the kernel could look at, and sockets of its own.
#[test]
fn ah_passes_several_threads() {
    let Some(pair) = pair("ah", "2", "protocol = \"ah\"") else { return };
    pair.assert_carries("10.1.0.1", "10.2.0.1");
    for _ in 0..4 {
        rekey(&pair.oslo);
        pair.assert_carries("fd01::1", "fd02::1");
    }
}

/// RFC 9611: each thread seals on an SA of its own, and all SAs are used.
#[test]
fn each_thread_has_its_sa() {
    let Some(pair) = pair("cpus", "2", "replay_window = 64\ncpus = 2") else { return };
    let up = |site: &Site| {
        let status = site.tunnel("tunnel").unwrap();
        status.children.iter().filter(|child| child.up).count()
    };
    common::wait_until("each has its SA", || up(&pair.oslo) == 3 && up(&pair.berlin) == 3);
    let status = pair.oslo.tunnel("tunnel").unwrap();
    let thread = |name: &str| {
        let child = status.children.iter().find(|child| child.name == name).unwrap();
        u32::from_str_radix(child.spi_in.as_ref().unwrap(), 16).unwrap() % 2
    };
    assert_eq!((thread("tunnel.cpu1"), thread("tunnel.cpu2")), (0, 1));
    for _ in 0..3 {
        carries_streams(&pair);
    }
    assert_counted(&pair);
    let sad = pair.oslo.sad();
    let own = |sa: &&SaStatus| sa.child.contains(".cpu") && sa.packets_out > 100;
    assert!(sad.sas.iter().filter(own).count() >= 2, "{sad:?}");

    // Who has one core less to spare goes without.
    drop(pair);
    let Some(mut pair) = Pair::new("fewer") else { return };
    pair.start(&tunnel(1, 2, "cpus = 2"), &tunnel(2, 1, "keep = \"passive\""));
    assert_eq!(pair.oslo.wait_for("tunnel", TunnelState::Up).children.len(), 1);
    pair.assert_carries("10.1.0.1", "10.2.0.1");
}
