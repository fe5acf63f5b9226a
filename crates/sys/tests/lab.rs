//! What the demo and other tests build on: namespaces, ping, capture, faults.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod common;

use std::process::Command;
use std::sync::mpsc;
use std::time::Duration;

use adit_sys::capture::{Capture, CaptureThread, LinkType, PcapWriter};
use adit_sys::netlink::{Family, Route};
use adit_sys::netns::{Namespace, read_sysctl, write_sysctl};
use adit_sys::ping::{PingConfig, ping};
use adit_sys::route::{UdpBlackhole, filters_reverse_path, forwarding_enabled};
use adit_sys::tun::{Tun, TunConfig};
use adit_sys::udp::{SocketOptions, UdpSocket};
use adit_sys::{BatchIo, SysError};
use common::{HEADROOM, Pair, SOON, address, join, namespaces_allowed, packets, receive};

fn quick(destination: &str) -> PingConfig {
    let interval = Duration::from_millis(10);
    PingConfig {
        interval,
        timeout: Duration::from_millis(300),
        ..PingConfig::new(address(destination))
    }
}

/// left - router - right, forwarding.
fn routed() -> (Namespace, Namespace, Namespace) {
    let [left, router, right] = [(); 3].map(|()| Namespace::create().unwrap());
    join(
        &left,
        "l0",
        &["10.1.0.2/24", "2001:db8:1::2/64"],
        &router,
        "r1",
        &["10.1.0.1/24", "2001:db8:1::1/64"],
    );
    join(
        &right,
        "l0",
        &["10.2.0.2/24", "2001:db8:2::2/64"],
        &router,
        "r2",
        &["10.2.0.1/24", "2001:db8:2::1/64"],
    );
    router.enable_forwarding().unwrap();
    for (namespace, via4, via6) in
        [(&left, "10.1.0.1", "2001:db8:1::1"), (&right, "10.2.0.1", "2001:db8:2::1")]
    {
        let mut netlink = namespace.netlink().unwrap();
        for (all, via) in [("0.0.0.0/0", via4), ("::/0", via6)] {
            netlink.add_route(&Route::by_gateway(all.parse().unwrap(), address(via))).unwrap();
        }
    }
    (left, router, right)
}

#[test]
fn pings_cross_a_router() {
    if !namespaces_allowed("pings_cross_a_router") {
        return;
    }
    let (left, router, _right) = routed();
    assert_eq!(router.run(|| read_sysctl("net.ipv4.ip_forward").unwrap()).unwrap(), "1");
    for (to, source) in [("10.2.0.2", "10.1.0.2"), ("2001:db8:2::2", "2001:db8:1::2")] {
        let config = PingConfig { source: Some(address(source)), ..quick(to) };
        let report = left.run(|| ping(&config).unwrap()).unwrap();
        assert_eq!((report.sent, report.received(), report.lost()), (3, 3, 0), "{to}");
        assert!(report.min() <= report.mean() && report.mean() <= report.max());
    }
    let silent = left.run(|| ping(&quick("10.2.0.99")).unwrap()).unwrap();
    assert_eq!((silent.sent, silent.received()), (3, 0));
}

#[test]
fn a_ping_without_a_way_or_with_a_foreign_source_says_so() {
    if !namespaces_allowed("a_ping_without_a_way_or_with_a_foreign_source_says_so") {
        return;
    }
    let namespace = Namespace::create().unwrap();
    let report = namespace.run(|| ping(&quick("10.2.0.2")).unwrap()).unwrap();
    assert_eq!((report.received(), report.send_error), (0, Some(nix::libc::ENETUNREACH)));

    let config = PingConfig { source: Some(address("10.9.9.9")), ..quick("127.0.0.1") };
    let error = namespace.run(|| ping(&config).unwrap_err()).unwrap();
    assert!(matches!(error, SysError::AddressMissing { .. }), "{error:?}");
}

#[test]
fn a_router_drops_one_port_until_it_is_told_to_stop() {
    if !namespaces_allowed("a_router_drops_one_port_until_it_is_told_to_stop") {
        return;
    }
    let (left, router, right) = routed();
    let bind = |at: &'static str| {
        move || UdpSocket::bind(at.parse().unwrap(), &SocketOptions::default()).unwrap()
    };
    for (any, to) in [("0.0.0.0", "10.2.0.2"), ("[::]", "[2001:db8:2::2]")] {
        let (ike, natt) =
            if any == "[::]" { ("[::]:500", "[::]:4500") } else { ("0.0.0.0:500", "0.0.0.0:4500") };
        let (left_socket, right_500, right_4500) = (
            left.run(bind(natt)).unwrap(),
            right.run(bind(ike)).unwrap(),
            right.run(bind(natt)).unwrap(),
        );
        let send = |port: u16| {
            let to = format!("{to}:{port}").parse().unwrap();
            left_socket.send_to(left_socket.local(), to, 0, &[], b"x").unwrap();
        };

        let hole = router.run(|| UdpBlackhole::install(4500).unwrap()).unwrap();
        send(4500);
        send(500);
        receive(&right_500, &mut packets(1, 10), 1);
        let mut io = BatchIo::new(HEADROOM);
        assert_eq!(right_4500.recv_batch(&mut io, &mut packets(1, 10)).unwrap(), 0, "{any}");
        assert_eq!(left_socket.next_error().unwrap(), None, "it vanishes silently");

        drop(hole);
        send(4500);
        receive(&right_4500, &mut packets(1, 10), 1);
    }
}

#[test]
fn a_capture_sees_both_directions() {
    if !namespaces_allowed("a_capture_sees_both_directions") {
        return;
    }
    let pair = Pair::new();
    let capture = pair.right.run(|| Capture::open("right0", 60).unwrap()).unwrap();
    assert_eq!(capture.link_type(), LinkType::Ethernet);
    let mut pcap = PcapWriter::new(Vec::new(), capture.link_type(), 1 << 20).unwrap();
    let (frames, seen) = mpsc::channel();
    let thread = CaptureThread::start(capture, move |frame| {
        pcap.write(frame).unwrap();
        frames.send((frame.octets.to_vec(), frame.original_octets, frame.time)).is_ok()
    })
    .unwrap();

    let report = pair.left.run(|| ping(&quick("192.0.2.2")).unwrap()).unwrap();
    assert_eq!(report.received(), 3);

    let summary = thread.stop();
    let seen: Vec<_> = seen.iter().collect();
    assert_eq!((summary.frames, summary.lost), (seen.len() as u64, 0));
    let icmp: Vec<_> =
        seen.iter().filter(|(octets, ..)| octets[12..14] == [8, 0] && octets[23] == 1).collect();
    assert_eq!(icmp.len(), 6, "three requests and three replies");
    for (octets, original, time) in icmp {
        assert_eq!((octets.len(), *original), (60, 98), "cut at the snap length");
        let age = adit_sys::clock::unix_time().checked_sub(*time).unwrap();
        assert!(age < SOON);
    }
}

#[test]
fn programs_run_inside_and_end_with_their_parent() {
    if !namespaces_allowed("programs_run_inside_and_end_with_their_parent") {
        return;
    }
    let namespace = Namespace::create().unwrap();
    namespace.netlink().unwrap().add_veth("inside0", "inside1").unwrap();
    let mut list = Command::new("cat");
    list.arg("/proc/net/dev").stdout(std::process::Stdio::piped());

    let output = namespace.spawn(&mut list).unwrap().wait_with_output().unwrap();
    assert!(String::from_utf8_lossy(&output.stdout).contains("inside0"));

    // Started by a thread that ends: the child is killed with it.
    let starter = adit_sys::thread::spawn_named("starter", move || {
        namespace.spawn(Command::new("sleep").arg("60")).unwrap()
    });
    let mut child = starter.unwrap().join().unwrap();
    assert!(!child.wait().unwrap().success());
}

#[test]
fn another_process_can_enter_by_path() {
    if !namespaces_allowed("another_process_can_enter_by_path") {
        return;
    }
    let namespace = Namespace::create().unwrap();
    namespace.netlink().unwrap().add_veth("inside0", "inside1").unwrap();

    let again = Namespace::open(&namespace.path()).unwrap();

    assert!(again.netlink().unwrap().link_by_name("inside1").is_ok());
    assert!(Namespace::current().unwrap().netlink().unwrap().link_by_name("inside1").is_err());
}

#[test]
fn a_capture_of_a_tunnel_interface_has_no_ethernet_headers() {
    if !namespaces_allowed("a_capture_of_a_tunnel_interface_has_no_ethernet_headers") {
        return;
    }
    let namespace = Namespace::create().unwrap();
    let config = TunConfig {
        name: "adit0".to_owned(),
        mtu: 1_400,
        addresses: vec!["10.7.0.1/24".parse().unwrap()],
        offloads: false,
    };
    let _tun = namespace.run(|| Tun::create(&config).unwrap()).unwrap();
    let mut capture = namespace.run(|| Capture::open("adit0", 2_000).unwrap()).unwrap();
    assert_eq!(capture.link_type(), LinkType::RawIp);
    assert!(capture.next_frame().unwrap().is_none());

    let config = PingConfig { count: 1, timeout: Duration::ZERO, ..quick("10.7.0.2") };
    namespace.run(|| ping(&config).unwrap()).unwrap();

    assert!(capture.wait(SOON).unwrap());
    let frame = capture.next_frame().unwrap().unwrap();
    assert_eq!((frame.octets[0], frame.octets.len()), (0x45, 84));
}

#[test]
fn settings_are_read_from_the_namespace() {
    if !namespaces_allowed("settings_are_read_from_the_namespace") {
        return;
    }
    let namespace = Namespace::create().unwrap();
    let forwarding = || Family::BOTH.map(|family| forwarding_enabled(family).unwrap());
    namespace.enable_forwarding().unwrap();
    assert_eq!(namespace.run(forwarding).unwrap(), [true, true]);

    for (value, strict) in [("0", false), ("1", true), ("2", false)] {
        namespace.run(|| write_sysctl("net.ipv4.conf.all.rp_filter", value).unwrap()).unwrap();
        assert_eq!(namespace.run(|| filters_reverse_path("lo").unwrap()).unwrap(), strict);
    }

    // The name of a VLAN interface has a dot in it.
    namespace.netlink().unwrap().add_veth("eth0.5", "eth0.6").unwrap();
    assert!(!namespace.run(|| filters_reverse_path("eth0.5").unwrap()).unwrap());
}
