//! A link that takes less than others: packets that are too long are answered with the size that fits,
//! TCP keeps to it, and nothing leaves in fragments. Needs root.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail the test")]

mod common;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use adit_mgmt::api::TunnelState;
use adit_mgmt::vici::Request;
use adit_sys::BatchIo;
use adit_sys::capture::{Capture, CaptureThread};
use adit_sys::netlink::Family;
use adit_sys::netns::Namespace;
use adit_sys::ping::Pinger;
use adit_sys::route::TABLE;
use adit_sys::udp::{PathMtu, SocketError, SocketOptions, UdpSocket};
use adit_wire::PacketBuf;
use common::{Pair, Site, stream, wait_until};

/// AES-GCM in UDP over IPv4, which two of ours agree on: 1,280 octets have room for so many.
const INNER_OF_1280: u32 = 1_280 - 20 - 8 - 16 - 2 - 16;

fn tunnel(here: u8, there: u8, extra: &str) -> String {
    format!(
        "peer = \"192.0.2.{there}\"\nlocal = [\"10.{here}.0.0/24\", \"fd0{here}::/64\"]\n\
         remote = [\"10.{there}.0.0/24\", \"fd0{there}::/64\"]\nsecret = \"file:tunnel.psk\"\n\
         encap = \"udp\"\nturbo = \"off\"\n{extra}\n"
    )
}

fn set_mtu(site: &Site, mtu: u32) {
    let mut netlink = site.namespace.netlink().unwrap();
    let wan = netlink.link_by_name("wan").unwrap().index;
    netlink.set_mtu(wan, mtu).unwrap();
}

/// A pair whose link takes 1,280 octets, up.
fn narrow(name: &str, extra: &str) -> Option<Pair> {
    let mut pair = Pair::new(name)?;
    set_mtu(&pair.oslo, 1_280);
    set_mtu(&pair.berlin, 1_280);
    pair.start(&tunnel(1, 2, extra), &tunnel(2, 1, &format!("{extra}\nkeep = \"passive\"")));
    pair.oslo.wait_for("tunnel", TunnelState::Up);
    Some(pair)
}

/// What the routes into the tunnel say of a family.
fn route_mtus(site: &Site, family: Family) -> Vec<Option<u32>> {
    let routes = site.namespace.netlink().unwrap().routes(TABLE).unwrap();
    let into = routes.iter().filter(|route| Family::of(route.destination.addr()) == family);
    into.filter(|route| route.interface.is_some()).map(|route| route.mtu).collect()
}

/// Counts the fragments of IPv4 that arrive while something happens.
fn fragments_while(namespace: &Namespace, act: impl FnOnce()) -> usize {
    let capture = namespace.run(|| Capture::open("wan", 64)).unwrap().unwrap();
    let count = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&count);
    let thread = CaptureThread::start(capture, move |frame| {
        let ip = frame.octets.get(14..).filter(|_| frame.octets.get(12..14) == Some(&[8, 0]));
        // More fragments, or an offset.
        let place = ip.and_then(|ip| Some([*ip.get(6)? & 0x3f, *ip.get(7)?]));
        if place.is_some_and(|place| place != [0, 0]) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
        true
    })
    .unwrap();
    act();
    std::thread::sleep(Duration::from_millis(200));
    let _ = thread.stop();
    count.load(Ordering::Relaxed)
}

/// CHECKLIST PM-09, PM-10, PM-39: the link's MTU becomes that of the routes, TCP transfers a mebibyte
/// both ways, and no packet leaves in fragments.
#[test]
fn tcp_keeps_to_a_narrow_link() {
    let Some(pair) = narrow("narrow-tcp", "") else { return };
    wait_until("the routes have the MTU", || {
        route_mtus(&pair.oslo, Family::V4) == [Some(INNER_OF_1280)]
    });
    // IPv6 has no less than this; what is between is cut outside.
    assert_eq!(route_mtus(&pair.oslo, Family::V6), [Some(1_280)]);
    let status = pair.oslo.tunnel("tunnel").unwrap();
    assert_eq!((status.mtu, status.path_mtu), (Some(INNER_OF_1280), Some(1_280)));
    assert_eq!(status.path_mtu_source.as_deref(), Some("link"));

    let fragments = fragments_while(&pair.berlin.namespace, || {
        stream(&pair.oslo, &pair.berlin, "10.2.0.1:5201", 1 << 20);
    });
    assert_eq!(fragments, 0);
    let fragments = fragments_while(&pair.oslo.namespace, || {
        stream(&pair.berlin, &pair.oslo, "10.1.0.1:5201", 1 << 20);
    });
    assert_eq!(fragments, 0);
    stream(&pair.oslo, &pair.berlin, "[fd02::1]:5201", 1 << 20);
}

/// CHECKLIST PM-02: the link takes less while the tunnel is up, and then more again.
#[test]
fn routes_follow_the_link() {
    let Some(mut pair) = Pair::new("follow-link") else { return };
    pair.start(&tunnel(1, 2, ""), &tunnel(2, 1, "keep = \"passive\""));
    pair.oslo.wait_for("tunnel", TunnelState::Up);
    assert_eq!(route_mtus(&pair.oslo, Family::V4), [None]);
    set_mtu(&pair.oslo, 1_280);
    wait_until("the routes follow down", || {
        route_mtus(&pair.oslo, Family::V4) == [Some(INNER_OF_1280)]
    });
    set_mtu(&pair.oslo, 1_500);
    wait_until("the routes follow up", || route_mtus(&pair.oslo, Family::V4) == [None]);
}

/// What the network tells a socket that has sent so many octets, which nobody may cut.
fn told(site: &Site, from: &str, to: &str, octets: usize) -> Option<(IpAddr, u32)> {
    let path_mtu = PathMtu::Probe;
    let options = SocketOptions { mark: None, path_mtu, ..SocketOptions::default() };
    let from: SocketAddr = from.parse().unwrap();
    let socket = site.namespace.run(|| UdpSocket::bind(from, &options)).unwrap().unwrap();
    let mut packet = PacketBuf::with_capacity(0, octets);
    packet.set_len(octets);
    packet.meta.remote = to.parse().unwrap();
    let mut io = BatchIo::new(0);
    let report = socket.send_batch(&mut io, [&packet]);
    assert_eq!(report.sent, 1, "{report:?}");
    let mut found = None;
    for _ in 0..100 {
        if let Ok(Some(SocketError::TooBig { remote, mtu_octets })) = socket.next_error() {
            found = Some((remote.ip(), mtu_octets));
            break;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    found
}

/// CHECKLIST PM-14: a host that does not ask the route is told by ICMP, of both families.
#[test]
fn a_host_is_told_the_size_that_fits() {
    let Some(pair) = narrow("narrow-icmp", "") else { return };
    pair.assert_carries("10.1.0.1", "10.2.0.1");
    for (from, to, headers, size) in [
        ("10.1.0.1:4000", "10.2.0.1:4000", 28, INNER_OF_1280),
        ("[fd01::1]:4000", "[fd02::1]:4000", 48, 1_280),
    ] {
        let told = told(&pair.oslo, from, to, 1_390 - headers);
        let expected = to.parse::<SocketAddr>().unwrap().ip();
        assert_eq!(told, Some((expected, size)), "{}", pair.oslo.log());
    }
    let status = pair.oslo.tunnel("tunnel").unwrap();
    let drops = &status.children[0].drops;
    assert!(drops.iter().any(|(name, count)| name == "too_big" && *count >= 2), "{drops:?}");
}

/// CHECKLIST PM-26: nobody is told anything, and routers cut what is too long.
#[test]
fn an_ignored_path_mtu_lets_everything_through() {
    let Some(pair) = narrow("narrow-ignored", "path_mtu = \"ignore\"") else { return };
    pair.assert_carries_large("10.1.0.1", "10.2.0.1");
    assert_eq!(route_mtus(&pair.oslo, Family::V4), [None]);
    assert_eq!(told(&pair.oslo, "10.1.0.1:4000", "10.2.0.1:4000", 1_362), None);
}

/// CHECKLIST PM-11: what is learnt is listed with who has said it, and goes when the tunnel and its interface
/// go, with the routes that had it; the next tunnel begins with what the link takes.
#[test]
fn what_was_learnt_goes_with_the_tunnel_and_its_interface() {
    let Some(mut pair) = narrow("learnt-goes", "interface = \"vpn7\"\ndpd = \"5s\"") else {
        return;
    };
    let link = |site: &Site| site.namespace.netlink().unwrap().link_by_name("vpn7").is_ok();
    wait_until("the route into the tunnel has the MTU", || {
        route_mtus(&pair.oslo, Family::V4) == [Some(INNER_OF_1280)]
    });
    assert!(link(&pair.oslo));
    let status = pair.oslo.tunnel("tunnel").unwrap();
    assert_eq!((status.path_mtu, status.mtu), (Some(1_280), Some(INNER_OF_1280)));
    assert_eq!(status.path_mtu_source.as_deref(), Some("link"));

    // The tunnel goes from the configuration, and everything of it.
    let file = pair.oslo.directory.join("tunnels/tunnel.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::remove_file(&file).unwrap();
    pair.oslo.call(&Request::AditReload { dry_run: false });
    wait_until("nothing is left", || {
        !link(&pair.oslo) && route_mtus(&pair.oslo, Family::V4).is_empty()
    });
    assert!(route_mtus(&pair.oslo, Family::V6).is_empty());
    assert!(pair.oslo.tunnel("tunnel").is_none());

    set_mtu(&pair.oslo, 1_500);
    set_mtu(&pair.berlin, 1_500);
    std::fs::write(&file, text).unwrap();
    pair.oslo.call(&Request::AditReload { dry_run: false });
    pair.oslo.wait_for("tunnel", TunnelState::Up);
    wait_until("the tunnel has what the link takes", || {
        pair.oslo.tunnel("tunnel").is_some_and(|tunnel| tunnel.path_mtu == Some(1_500))
            && route_mtus(&pair.oslo, Family::V4) == [None]
    });
    pair.oslo.terminate();
    assert!(!link(&pair.oslo) && route_mtus(&pair.oslo, Family::V4).is_empty());
}

/// What an interface takes.
fn mtu_of(site: &Site, name: &str) -> Option<u32> {
    site.namespace.netlink().unwrap().link_by_name(name).ok().map(|link| link.mtu)
}

/// Whether an IPv4 packet of so many octets that nobody may cut is answered through the tunnel.
fn passes(site: &Site, from: &str, to: &str, octets: usize) -> bool {
    let ping = || {
        let mut pinger = Pinger::open(to.parse().unwrap(), from.parse().ok()).unwrap();
        pinger.set_dont_fragment(true).unwrap();
        pinger.round_trip(octets - 28, Duration::from_secs(1))
    };
    matches!(site.namespace.run(ping).unwrap(), Ok(Some(_)))
}

/// CHECKLIST PM-10, PM-25, PM-42: over a link of 9,000 octets the interface takes what fits, and so much goes
/// in one ESP packet. Where the path turns out to take less, or the link itself, all of it recovers.
#[test]
fn a_larger_link_is_used_to_its_end() {
    let Some(mut pair) = Pair::new("jumbo") else { return };
    set_mtu(&pair.oslo, 9_000);
    set_mtu(&pair.berlin, 9_000);
    pair.start(&tunnel(1, 2, ""), &tunnel(2, 1, "keep = \"passive\""));
    pair.oslo.wait_for("tunnel", TunnelState::Up);
    let takes =
        |mtu| [&pair.oslo, &pair.berlin].map(|site| mtu_of(site, "adit0")) == [Some(mtu); 2];
    wait_until("the interfaces take more", || takes(8_890));
    assert_eq!(route_mtus(&pair.oslo, Family::V4), [None]);
    let fragments = fragments_while(&pair.berlin.namespace, || {
        for octets in [8_000, 8_890] {
            assert!(passes(&pair.oslo, "10.1.0.1", "10.2.0.1", octets), "{}", pair.oslo.log());
        }
        stream(&pair.oslo, &pair.berlin, "10.2.0.1:5201", 1 << 22);
        stream(&pair.oslo, &pair.berlin, "[fd02::1]:5201", 1 << 22);
    });
    assert_eq!(fragments, 0);
    stream(&pair.berlin, &pair.oslo, "10.1.0.1:5201", 1 << 22);
    pair.assert_carries_large("10.1.0.1", "10.2.0.1");

    // Nobody says anything; the first link is as before.
    set_mtu(&pair.berlin, 1_280);
    stream(&pair.oslo, &pair.berlin, "10.2.0.1:5201", 1 << 20);
    wait_until("the path is found", || {
        passes(&pair.oslo, "10.1.0.1", "10.2.0.1", 1_200)
            && route_mtus(&pair.oslo, Family::V4).iter().flatten().any(|mtu| *mtu <= INNER_OF_1280)
    });
    set_mtu(&pair.oslo, 1_500);
    set_mtu(&pair.berlin, 1_500);
    wait_until("the interfaces take what is usual", || takes(1_390));
    assert!(!passes(&pair.oslo, "10.1.0.1", "10.2.0.1", 8_000));
    assert!(passes(&pair.oslo, "10.1.0.1", "10.2.0.1", 1_200));
}

/// CHECKLIST PM-10: an operator may say what the interface of a tunnel takes; the route has what the path does.
#[test]
fn an_operator_says_what_an_interface_takes() {
    let Some(mut pair) = Pair::new("tun-mtu") else { return };
    let keys = "interface = \"vpn9\"\ntun_mtu = 4000";
    pair.start(&tunnel(1, 2, keys), &tunnel(2, 1, "keep = \"passive\""));
    pair.oslo.wait_for("tunnel", TunnelState::Up);
    wait_until("the interface takes so much, and the route less", || {
        mtu_of(&pair.oslo, "vpn9") == Some(4_000)
            && route_mtus(&pair.oslo, Family::V4) == [Some(1_438)]
    });
    assert_eq!(mtu_of(&pair.oslo, "adit0"), Some(1_390));
    pair.assert_carries("10.1.0.1", "10.2.0.1");
}
