//! Tunnels whose packets share ESP packets. Needs root.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail the test")]

mod common;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::process::Command;
use std::time::Duration;

use adit_mgmt::api::{SaStatus, TunnelState};
use adit_mgmt::vici::{Rekey, Request, Selection};
use adit_sys::thread::spawn_scoped_named;
use common::{Pair, Site, wait_until};

fn tunnel(here: u8, there: u8, extra: &str) -> String {
    format!(
        "peer = \"192.0.2.{there}\"\nlocal = [\"10.{here}.0.0/24\", \"fd0{here}::/64\"]\n\
         remote = [\"10.{there}.0.0/24\", \"fd0{there}::/64\"]\nsecret = \"file:tunnel.psk\"\n{extra}\n"
    )
}

/// Both sides with lines of their own, up.
fn up(name: &str, oslo: &str, berlin: &str) -> Option<Pair> {
    let mut pair = Pair::new(name)?;
    pair.start(&tunnel(1, 2, oslo), &tunnel(2, 1, &format!("keep = \"passive\"\n{berlin}")));
    pair.oslo.wait_for("tunnel", TunnelState::Up);
    Some(pair)
}

/// The SA in use, as the first site has it.
fn sa(pair: &Pair) -> SaStatus {
    pair.oslo.sad().sas.into_iter().max_by_key(|sa| sa.id).unwrap()
}

fn is_shared(pair: &Pair) -> bool {
    let status = [&pair.oslo, &pair.berlin].map(|site| site.tunnel("tunnel").unwrap());
    let [here, there] = status.map(|status| status.children.iter().all(|child| child.aggfrag));
    assert_eq!((here, there), (there, sa(pair).aggfrag));
    here
}

fn assert_carries(pair: &Pair) {
    pair.assert_carries("10.1.0.1", "10.2.0.1");
    pair.assert_carries("fd01::1", "fd02::1");
    pair.assert_carries_large("10.1.0.1", "10.2.0.1");
}

/// Sends octets by TCP to the other site, and gets them back as they were.
fn assert_echoes(pair: &Pair, octets: usize) {
    let (listener, stream) = (
        pair.berlin.namespace.run(|| TcpListener::bind("10.2.0.1:7")).unwrap().unwrap(),
        pair.oslo.namespace.run(|| TcpStream::connect("10.2.0.1:7")).unwrap().unwrap(),
    );
    let sent: Vec<u8> = (0..octets).map(|at| u8::try_from(at * at % 251).unwrap()).collect();
    let (mut echo, _) = listener.accept().unwrap();
    let mut back = vec![0; octets];
    std::thread::scope(|scope| {
        spawn_scoped_named(scope, "echo", move || {
            let mut buffer = vec![0; 1 << 16];
            while let Ok(got @ 1..) = echo.read(&mut buffer) {
                echo.write_all(buffer.get(..got).unwrap()).unwrap();
            }
        })
        .unwrap();
        let mut out = stream.try_clone().unwrap();
        let sent = &sent;
        spawn_scoped_named(scope, "send", move || out.write_all(sent).unwrap()).unwrap();
        let mut stream = stream;
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream.read_exact(&mut back).unwrap();
        stream.shutdown(std::net::Shutdown::Both).unwrap();
    });
    assert!(back == sent, "not what was sent");
}

/// Sends small datagrams in bursts that the TUN's queue takes; how many came.
fn send_datagrams(pair: &Pair, bursts: usize) -> usize {
    let socket = pair.oslo.namespace.run(|| UdpSocket::bind("10.1.0.1:0")).unwrap().unwrap();
    let receiver = pair.berlin.namespace.run(|| UdpSocket::bind("10.2.0.1:9")).unwrap().unwrap();
    socket.connect("10.2.0.1:9").unwrap();
    receiver.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
    let mut came = 0;
    for _ in 0..bursts {
        for _ in 0..BURST {
            socket.send(&[7; 64]).unwrap();
        }
        let mut buffer = [0; 128];
        let burst = (0..BURST).map_while(|_| receiver.recv(&mut buffer).ok());
        came += burst.filter(|len| *len == 64).count();
    }
    came
}

/// Datagrams in a burst.
const BURST: usize = 150;

#[test]
fn packets_share_esp_packets_in_both_families() {
    for (name, extra) in [("agg", ""), ("agg-udp", "encap = \"udp\"\nesp = \"aes256-sha512\"")] {
        let Some(pair) = up(name, extra, extra) else { return };
        assert!(is_shared(&pair), "{}", pair.oslo.log());
        assert_carries(&pair);
        assert_echoes(&pair, 1 << 20);

        let before = sa(&pair);
        assert_eq!(send_datagrams(&pair, 20), 20 * BURST);
        let after = sa(&pair);
        let packets = after.packets_out - before.packets_out;
        let esp_packets = after.sequence_out - before.sequence_out;
        assert!(esp_packets * 3 < packets * 2, "{packets} packets in {esp_packets}");
        assert!(after.drops.is_empty(), "{after:?}");
    }
}

/// In one piece it has one header, and so fills fewer ESP packets than it has segments.
#[test]
fn streams_travel_whole() {
    let Some(pair) = up("agg-whole", "", "") else { return };
    let before = sa(&pair);
    assert_echoes(&pair, 1 << 23);
    let after = sa(&pair);
    let packets = after.packets_out - before.packets_out;
    let esp_packets = after.sequence_out - before.sequence_out;
    assert!(packets > 6_000, "{packets}");
    assert!(esp_packets * 100 < packets * 98, "{packets} packets in {esp_packets}");
    assert!(after.drops.is_empty(), "{after:?}");
}

/// What is lost with an ESP packet comes again, and other than whole.
#[test]
fn streams_pass_where_much_is_lost() {
    let Some(pair) = up("agg-loss", "", "") else { return };
    // The kernel drops what it has joined as one.
    let rules = "add table inet lossy; \
                 add chain inet lossy input { type filter hook input priority 0; }; \
                 add rule inet lossy input udp dport 4500 numgen inc mod 25 == 0 drop";
    for site in [&pair.oslo, &pair.berlin] {
        let mut nft = Command::new("nft");
        let done = site.namespace.run(|| nft.arg(rules).status()).unwrap();
        let Ok(done) = done else {
            eprintln!("nothing was lost: there is no nft here");
            return;
        };
        assert!(done.success());
    }
    assert_echoes(&pair, 1 << 22);
    let lost = |site: &Site| {
        let sas = site.sad().sas;
        sas.iter().flat_map(|sa| &sa.drops).filter(|(name, _)| name == "aggfrag_incomplete").count()
    };
    assert!(lost(&pair.oslo) + lost(&pair.berlin) > 0);
}

#[test]
fn a_rekeyed_tunnel_shares_on() {
    let Some(pair) = up("agg-key", "", "") else { return };
    let before = sa(&pair).id;
    for site in [&pair.oslo, &pair.berlin] {
        let selection = Selection { child: Some("tunnel".into()), ..Selection::default() };
        site.call(&Request::Rekey(Rekey { selection, reauthenticate: false }));
        wait_until("the keys are new", || sa(&pair).id != before);
        assert!(sa(&pair).aggfrag);
        pair.assert_carries("10.1.0.1", "10.2.0.1");
    }
}

/// With one side alone everything passes, each packet for itself.
#[test]
fn one_side_alone_shares_nothing() {
    // Nothing probes the path: that is in no packet of anybody's.
    let fixed = "path_mtu = 1500";
    let alone = &format!("{fixed}\nturbo = \"off\"");
    for (name, oslo, berlin) in [("agg-1", alone.as_str(), fixed), ("agg-2", fixed, alone)] {
        let Some(pair) = up(name, oslo, berlin) else { return };
        assert!(!is_shared(&pair));
        assert_carries(&pair);
        assert_eq!(sa(&pair).sequence_out, sa(&pair).packets_out);
    }
}
