//! ICMP errors through a tunnel that is for UDP alone (RFC 4301 §6.2), and security failures outside (RFC
//! 2521). Needs root.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail the test")]

mod common;

use std::io::ErrorKind;
use std::net::{IpAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use adit_dataplane::HEADROOM_MAX;
use adit_mgmt::api::TunnelState;
use adit_mgmt::vici::Request;
use adit_mgmt::vici::answer::Outcome;
use adit_sys::BatchIo;
use adit_sys::capture::{Capture, CaptureThread};
use adit_sys::icmp_errors::{ICMP_HEADROOM, RouterSocket};
use adit_sys::netlink::{Family, Route};
use adit_sys::raw::BypassSocket;
use adit_sys::trace::{Probe, Said, Tracer};
use adit_sys::udp::SocketOptions;
use adit_wire::PacketBuf;
use adit_wire::iana::{IpProtocol, SecurityFailure};
use adit_wire::ip::{Icmp, IcmpError, IpPacket, Ipv4Header, checksum};
use common::{Pair, Site, engine, wait_until};

fn tunnel(here: u8, there: u8, extra: &str) -> String {
    format!(
        "peer = \"192.0.2.{there}\"\nlocal = [\"10.{here}.0.0/24[udp]\", \"fd0{here}::/64[udp]\"]\n\
         remote = [\"10.{there}.0.0/24[udp]\", \"fd0{there}::/64[udp]\"]\n\
         secret = \"file:tunnel.psk\"\n{extra}\n"
    )
}

/// What a program is told that sends a datagram to a port where nobody listens.
fn answer_of_closed_port(site: &Site, from: &str, to: &str) -> ErrorKind {
    let ask = || {
        let socket = UdpSocket::bind((from, 0)).unwrap();
        socket.connect((to, 9)).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(3))).unwrap();
        socket.send(b"anybody?").unwrap();
        socket.recv(&mut [0; 8]).unwrap_err().kind()
    };
    site.namespace.run(ask).unwrap()
}

/// CHECKLIST PM-27, PM-28: the peer's kernel says that the port is closed. No selector contains that
/// message; it goes, and comes, by the SA of the datagram that it is about.
#[test]
fn a_closed_port_is_told_through_a_tunnel_for_udp() {
    let Some(mut pair) = Pair::new("icmp") else { return };
    pair.start(&tunnel(1, 2, ""), &tunnel(2, 1, "keep = \"passive\""));
    pair.oslo.wait_for("tunnel", TunnelState::Up);
    for (from, to) in [("10.1.0.1", "10.2.0.1"), ("fd01::1", "fd02::1")] {
        let answer = answer_of_closed_port(&pair.oslo, from, to);
        assert_eq!(answer, ErrorKind::ConnectionRefused, "{}", pair.oslo.log());
    }
}

/// CHECKLIST PM-31: errors that the peer's gateway itself makes about packets that it does not pass on, since
/// they have no hops left or no route, come back through the SA, from its inside address, though no
/// selector contains them; and they are few, however many packets there are.
#[test]
fn a_gateways_own_errors_come_back_through_the_tunnel() {
    let Some(mut pair) = Pair::new("icmp-own") else { return };
    pair.berlin.namespace.enable_forwarding().unwrap();
    pair.start(&tunnel(1, 2, ""), &tunnel(2, 1, "keep = \"passive\""));
    pair.oslo.wait_for("tunnel", TunnelState::Up);
    for (from, [to, nowhere], by, router, no_route) in [
        (
            "10.1.0.1",
            ["10.2.0.98", "10.2.0.99"],
            "192.0.2.1",
            "10.2.0.1",
            Icmp { kind: 3, code: 0 },
        ),
        ("fd01::1", ["fd02::98", "fd02::99"], "2001:db8::1", "fd02::1", Icmp { kind: 1, code: 0 }),
    ] {
        let [from, to, nowhere] = [from, to, nowhere].map(|text| text.parse::<IpAddr>().unwrap());
        // The kernel looks for a route first: there is one for the packets that have no hops left.
        let route = Route::by_gateway(to.into(), by.parse().unwrap());
        pair.berlin.namespace.netlink().unwrap().add_route(&route).unwrap();
        let ask = |to, hops| {
            let mut tracer = Tracer::open(from, to, Probe::Udp(33_434)).unwrap();
            tracer.ask(hops, Duration::from_secs(2)).unwrap()
        };
        for (to, hops, what) in [(to, 1, Said::Expired), (nowhere, 9, Said::Refused(no_route))] {
            let heard = pair.oslo.namespace.run(|| ask(to, hops)).unwrap();
            let heard = heard.unwrap_or_else(|| panic!("{to} {hops}: {}", pair.oslo.log()));
            assert_eq!((heard.from.to_string().as_str(), heard.what), (router, what), "{to}");
        }
        let flood = || {
            let mut tracer = Tracer::open(from, to, Probe::Udp(33_434)).unwrap();
            let mut ask = || tracer.ask(1, Duration::from_millis(20)).unwrap();
            (0..50).filter(|_| ask().is_some()).count()
        };
        let answers = pair.oslo.namespace.run(flood).unwrap();
        assert!((1..20).contains(&answers), "{to}: {answers}");
    }
}

/// The fourth method of draft-ietf-ipsec-icmp-options-00: Berlin hands the error to its IKE, and Oslo's tells
/// the program. Nothing but the datagram itself passes the tunnel.
#[test]
fn a_closed_port_is_told_by_ike() {
    let Some(mut pair) = Pair::new("icmp-ike") else { return };
    let by_ike = "keep = \"passive\"\nicmp_carry = \"ike\"";
    pair.start(&tunnel(1, 2, ""), &tunnel(2, 1, by_ike));
    pair.oslo.wait_for("tunnel", TunnelState::Up);
    for (from, to) in [("10.1.0.1", "10.2.0.1"), ("fd01::1", "fd02::1")] {
        let answer = answer_of_closed_port(&pair.oslo, from, to);
        assert_eq!(answer, ErrorKind::ConnectionRefused, "{}", pair.oslo.log());
    }
    let status = pair.oslo.tunnel("tunnel").unwrap();
    assert_eq!((status.packets_out, status.packets_in), (2, 0));
}

/// The same in IKEv1: an Informational exchange under the phase 1 carries the error.
#[test]
fn a_closed_port_is_told_by_ikev1() {
    let Some(mut pair) = Pair::new("icmp-ikev1") else { return };
    let tunnel = |here: u8, there: u8, extra: &str| {
        format!(
            "ike = 1\npeer = \"192.0.2.{there}\"\nlocal = \"10.{here}.0.0/24[udp]\"\n\
             remote = \"10.{there}.0.0/24[udp]\"\nsecret = \"file:tunnel.psk\"\n{extra}\n"
        )
    };
    let by_ike = "keep = \"passive\"\nicmp_carry = \"ike\"";
    pair.start(&tunnel(1, 2, ""), &tunnel(2, 1, by_ike));
    pair.oslo.wait_for("tunnel", TunnelState::Up);
    let answer = answer_of_closed_port(&pair.oslo, "10.1.0.1", "10.2.0.1");
    assert_eq!(answer, ErrorKind::ConnectionRefused, "{}", pair.oslo.log());
    let status = pair.oslo.tunnel("tunnel").unwrap();
    assert_eq!((status.packets_out, status.packets_in), (1, 0));
}

/// Counts the IKE messages over IPv4 that a site sends and gets while something happens, and a second longer.
fn ike_while(site: &Site, act: impl FnOnce()) -> usize {
    let capture = site.namespace.run(|| Capture::open("wan", 64)).unwrap().unwrap();
    let count = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&count);
    let thread = CaptureThread::start(capture, move |frame| {
        let is_udp = frame.octets.get(23) == Some(&IpProtocol::UDP.0);
        let port = frame.octets.get(36..).and_then(|rest| rest.first_chunk());
        if is_udp && port.is_some_and(|port| [500, 4_500].contains(&u16::from_be_bytes(*port))) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
        true
    })
    .unwrap();
    act();
    std::thread::sleep(Duration::from_secs(1));
    let _ = thread.stop();
    count.load(Ordering::Relaxed)
}

/// An ICMP message of this type and code, with this MTU, about the first ESP packet that Oslo has sent.
fn about_first_esp(spi: u32, (kind, code): (u8, u8), mtu: u16) -> Vec<u8> {
    let header = Ipv4Header {
        traffic_class: 0,
        total_len: 28,
        identification: 1,
        dont_fragment: false,
        ttl: 60,
        protocol: IpProtocol::ESP,
        src: "192.0.2.1".parse().unwrap(),
        dst: "192.0.2.2".parse().unwrap(),
    };
    let esp = [&spi.to_be_bytes()[..], &[0, 0, 0, 1]].concat();
    let message = |[s0, s1]: [u8; 2]| {
        let head = [&[kind, code, s0, s1, 0, 0][..], &mtu.to_be_bytes()].concat();
        [head, header.to_octets().to_vec(), esp.clone()].concat()
    };
    message(checksum(&message([0, 0])).to_be_bytes())
}

/// `adit mtu --forget`: what a router has said is known with its age, until somebody forgets it.
#[test]
fn what_was_learnt_can_be_forgotten() {
    let Some(mut pair) = Pair::new("icmp-forget") else { return };
    // Lengths are hidden, so nobody probes the path and corrects the router.
    let padded = "tfc_padding = 64";
    pair.start(&plain(1, 2, padded), &plain(2, 1, &format!("keep = \"passive\"\n{padded}")));
    let forget = |site: &Site| {
        let tunnel = "tunnel".to_owned();
        Outcome::parse(&site.call(&Request::AditForgetPath { tunnel }))
    };
    let known = |site: &Site| {
        let status = site.tunnel("tunnel").unwrap();
        (status.path_mtu, status.path_mtu_source, status.path_mtu_age_s.is_some())
    };
    pair.oslo.wait_for("tunnel", TunnelState::Up);
    pair.assert_carries("10.1.0.1", "10.2.0.1");
    router_says_1400(&pair);
    let learnt = (Some(1_400), Some("icmp".to_owned()), true);
    wait_until("it is believed", || known(&pair.oslo) == learnt);

    let outcome = forget(&pair.oslo);
    assert_eq!((outcome.error, outcome.matches), (None, Some(1)));
    assert_eq!(known(&pair.oslo), (Some(1_500), Some("link".to_owned()), false));
    pair.assert_carries("10.1.0.1", "10.2.0.1");
}

/// A router says of the first SA's packets that they are too long, and that 1,400 octets would do.
fn router_says_1400(pair: &Pair) {
    let sa = pair.oslo.sad().sas.remove(0);
    let spi = u32::from_str_radix(sa.spi_out.trim_start_matches("0x"), 16).unwrap();
    let message = about_first_esp(spi, (3, 4), 1_400);
    send(&pair.berlin, "192.0.2.2", "192.0.2.1", IpProtocol::ICMP, &message);
}

/// By setting a router is believed only if what it says comes by an interface that is outside, and people
/// see which those are, and by which line.
#[test]
fn what_comes_by_a_black_interface_is_not_heard() {
    for (name, colour, hears) in [("icmp-red", "red", true), ("icmp-black", "black", false)] {
        let Some(mut pair) = Pair::new(name) else { return };
        // Lengths are hidden, so nobody probes the path and corrects the router.
        let padded = "tfc_padding = 64";
        let named = format!("{padded}\n[icmp]\n{colour} = [\"wan\", \"nowhere0\"]");
        pair.start(&plain(1, 2, &named), &plain(2, 1, &format!("keep = \"passive\"\n{padded}")));
        pair.oslo.wait_for("tunnel", TunnelState::Up);
        pair.assert_carries("10.1.0.1", "10.2.0.1");
        router_says_1400(&pair);
        let path_mtu = || pair.oslo.tunnel("tunnel").unwrap().path_mtu;
        if hears {
            wait_until("it is believed", || path_mtu() == Some(1_400));
        } else {
            std::thread::sleep(Duration::from_secs(1));
            assert_eq!(path_mtu(), Some(1_500), "{}", pair.oslo.log());
        }
        let shown = engine(&pair.oslo).icmp.remove(0);
        assert_eq!(shown.tunnel, "tunnel");
        assert_eq!(
            (shown.setting, shown.value),
            ("interfaces".to_owned(), format!("{colour} wan nowhere0"))
        );
        assert!(shown.source.ends_with("tunnel.toml:7"), "{}", shown.source);
        let log = pair.oslo.log();
        assert!(log.contains("there is no interface `nowhere0` now"), "{log}");
        assert!(!log.contains("there is no interface `wan`"), "{log}");
    }
}

/// CHECKLIST PM-29: an error about ESP above IP, which no socket's error queue has, prompts a question to the
/// peer; by setting not.
#[test]
fn an_error_about_raw_esp_prompts_a_question() {
    for (name, extra, asks) in [
        ("icmp-prompt", "", true),
        ("icmp-deaf", "[icmp]\nhost-unreachable = { red = \"discard\" }", false),
    ] {
        let Some(mut pair) = Pair::new(name) else { return };
        pair.start(&plain(1, 2, extra), &plain(2, 1, "keep = \"passive\""));
        pair.oslo.wait_for("tunnel", TunnelState::Up);
        pair.assert_carries("10.1.0.1", "10.2.0.1");
        // Who was heard a moment ago is not asked.
        std::thread::sleep(Duration::from_secs(6));
        let sa = pair.oslo.sad().sas.remove(0);
        let spi = u32::from_str_radix(sa.spi_out.trim_start_matches("0x"), 16).unwrap();
        let message = about_first_esp(spi, (3, 1), 0);
        let asked = ike_while(&pair.berlin, || {
            send(&pair.berlin, "192.0.2.2", "192.0.2.1", IpProtocol::ICMP, &message);
        });
        assert_eq!(asked > 0, asks, "{asked} messages: {}", pair.oslo.log());
    }
}

/// By setting: where errors have to be selected themselves, nobody hears of it.
#[test]
fn explicit_errors_need_an_sa_of_their_own() {
    let Some(mut pair) = Pair::new("icmp-explicit") else { return };
    let passive = "keep = \"passive\"\nicmp_errors = \"explicit\"";
    pair.start(&tunnel(1, 2, ""), &tunnel(2, 1, passive));
    pair.oslo.wait_for("tunnel", TunnelState::Up);
    let answer = answer_of_closed_port(&pair.oslo, "10.1.0.1", "10.2.0.1");
    assert!(matches!(answer, ErrorKind::WouldBlock | ErrorKind::TimedOut), "{answer}");
}

/// A tunnel for everything between the two nets, with ESP above IP.
fn plain(here: u8, there: u8, extra: &str) -> String {
    format!(
        "peer = \"192.0.2.{there}\"\nlocal = \"10.{here}.0.0/24\"\nremote = \"10.{there}.0.0/24\"\n\
         encap = \"esp\"\nsecret = \"file:tunnel.psk\"\n{extra}\n"
    )
}

/// Sends an IPv4 packet from a site, as anybody could.
fn send(site: &Site, from: &str, to: &str, protocol: IpProtocol, payload: &[u8]) {
    let header = Ipv4Header {
        traffic_class: 0,
        total_len: u16::try_from(20 + payload.len()).unwrap(),
        identification: 1,
        dont_fragment: false,
        ttl: 60,
        protocol,
        src: from.parse().unwrap(),
        dst: to.parse().unwrap(),
    };
    let octets = [&header.to_octets()[..], payload].concat();
    let mut packet = PacketBuf::with_capacity(HEADROOM_MAX, octets.len());
    assert!(packet.fill(&octets));
    let open = || BypassSocket::open(&SocketOptions::default()).unwrap();
    let socket = site.namespace.run(open).unwrap();
    let report = socket.send_batch(&mut BatchIo::new(HEADROOM_MAX), &[packet]);
    assert_eq!((report.sent, report.failed), (1, 0), "{report:?}");
}

/// RFC 2521: the sender of a packet that cannot be authenticated is told, if the tunnel says so; who is told
/// that of a packet of its own writes it down and goes on as before.
#[test]
fn a_security_failure_is_told_and_changes_nothing() {
    let Some(mut pair) = Pair::new("icmp-failure") else { return };
    let loud = "keep = \"passive\"\nsecurity_failures = \"all\"";
    pair.start(&plain(1, 2, ""), &plain(2, 1, loud));
    pair.oslo.wait_for("tunnel", TunnelState::Up);
    pair.assert_carries("10.1.0.1", "10.2.0.1");
    let listen = || RouterSocket::open(Family::V4, &SocketOptions::default()).unwrap();
    let told = pair.oslo.namespace.run(listen).unwrap();

    let sa = pair.oslo.sad().sas.remove(0);
    let spi = u32::from_str_radix(sa.spi_out.trim_start_matches("0x"), 16).unwrap();
    let forged = [&spi.to_be_bytes()[..], &[0, 0, 1, 0], &[7; 80]].concat();
    send(&pair.oslo, "192.0.2.1", "192.0.2.2", IpProtocol::ESP, &forged);
    let mut io = BatchIo::new(ICMP_HEADROOM);
    let mut got = [PacketBuf::with_capacity(ICMP_HEADROOM, 1_280)];
    wait_until("berlin tells", || told.recv_batch(&mut io, &mut got).unwrap() > 0);
    let packet = IpPacket::read(got[0].data()).unwrap();
    assert_eq!(packet.src(), "192.0.2.2".parse::<IpAddr>().unwrap());
    let error = IcmpError::read(&packet).unwrap();
    assert_eq!(error.security_failure(), Some(SecurityFailure::AUTHENTICATION_FAILED));
    assert_eq!((error.pointer(), error.spi().map(|spi| spi.spi)), (Some(20), Some(spi)));

    // The same about the first packet, which was sent indeed.
    let quote = [&spi.to_be_bytes()[..], &[0, 0, 0, 1]].concat();
    let mut message = packet.payload().to_vec();
    let quote_at = message.len() - quote.len();
    message[quote_at..].copy_from_slice(&quote);
    message[2..4].fill(0);
    let sum = checksum(&message).to_be_bytes();
    message[2..4].copy_from_slice(&sum);
    send(&pair.berlin, "192.0.2.2", "192.0.2.1", IpProtocol::ICMP, &message);
    let written = "somebody says that our ESP or AH is refused";
    wait_until("oslo writes it down", || pair.oslo.log().contains(written));
    pair.assert_carries("10.1.0.1", "10.2.0.1");
    assert_eq!(pair.oslo.sad().sas[0].id, sa.id);
}

/// RFC 2521, code 4: who sends in clear what a tunnel protects is told, in clear, if the tunnel says so.
#[test]
fn who_sends_in_clear_is_told() {
    let Some(mut pair) = Pair::new("icmp-clear") else { return };
    // What goes past the tunnel has a way.
    for (site, there, by) in
        [(&pair.oslo, "10.2.0.0/24", "192.0.2.2"), (&pair.berlin, "10.1.0.0/24", "192.0.2.1")]
    {
        let way = Route::by_gateway(there.parse().unwrap(), by.parse().unwrap());
        site.namespace.netlink().unwrap().add_route(&way).unwrap();
    }
    // A passive tunnel has no policy of its own, which packets in clear would be held against.
    let loud = "keep = \"on-demand\"\nsecurity_failures = \"all\"";
    pair.start(&plain(1, 2, ""), &plain(2, 1, loud));
    pair.oslo.wait_for("tunnel", TunnelState::Up);
    let listen = || RouterSocket::open(Family::V4, &SocketOptions::default()).unwrap();
    let told = pair.oslo.namespace.run(listen).unwrap();
    send(&pair.oslo, "10.1.0.1", "10.2.0.1", IpProtocol::UDP, &[7; 60]);
    let mut io = BatchIo::new(ICMP_HEADROOM);
    let mut got = [PacketBuf::with_capacity(ICMP_HEADROOM, 1_280)];
    wait_until("berlin tells", || told.recv_batch(&mut io, &mut got).unwrap() > 0);
    let packet = IpPacket::read(got[0].data()).unwrap();
    assert_eq!(packet.src(), "192.0.2.2".parse::<IpAddr>().unwrap());
    let error = IcmpError::read(&packet).unwrap();
    assert_eq!(error.security_failure(), Some(SecurityFailure::NEED_AUTHENTICATION));
    assert_eq!(error.about().unwrap().src(), "10.1.0.1".parse::<IpAddr>().unwrap());
    pair.assert_carries("10.1.0.1", "10.2.0.1");
}
