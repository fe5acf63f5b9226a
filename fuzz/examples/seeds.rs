//! Writes the inputs that targets with a binary format begin with: `cargo run --example seeds`.
//!
//! Inputs that are text (`config_toml`, `proposal_words`, `vici_conn`) are written by hand.

use std::path::{Path, PathBuf};
use std::{fs, io};

use adit_db::Keep;
use adit_fuzz::Choices;
use adit_fuzz::ike::{Setup, World};
use adit_mgmt::api::{
    self, Change, ChildStatus, Progress, Status, Step, TunnelEvent, TunnelStatus,
};
use adit_mgmt::vici::answer::Outcome;
use adit_mgmt::vici::{EventKind, LogLine, Packet, Section};
use adit_wire::vnet::{Gso, VnetHeader};

fn main() -> io::Result<()> {
    spd_lookup()?;
    esp_inbound()?;
    aggfrag_inbound()?;
    ah_inbound()?;
    ipcomp_inbound()?;
    esp_outbound()?;
    fragments()?;
    super_packet()?;
    wire_tcp()?;
    vici()?;
    ike_responder()?;
    ike_initiator()?;
    ike_established()?;
    ikev1_phase1()?;
    ikev1_established()
}

fn write(target: &str, name: &str, octets: &[u8]) -> io::Result<()> {
    let folder: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target);
    fs::create_dir_all(&folder)?;
    fs::write(folder.join(name), octets)
}

/// 10.N.0.H of the pool in `policy::address`.
const fn v4(net: u8, host: u8) -> u8 {
    net << 3 | host
}

/// fdNN::H of the pool.
const fn v6(net: u8, host: u8) -> u8 {
    3 << 5 | net << 3 | host
}

/// Octets of a piece, how the stream begins, and the stream.
fn wire_tcp() -> io::Result<()> {
    let octets: Vec<u8> = (0..28).collect();
    let ike = [&[0, 34, 0, 0, 0, 0][..], &octets].concat();
    let esp = [&[0, 18, 1, 2, 3, 4, 0, 0, 0, 1][..], &[0; 8]].concat();
    write("wire_tcp", "originator", &[&[7, 3][..], &ike, &esp, &[0, 3, 0xff]].concat())?;
    write("wire_tcp", "responder", &[&[1, 0][..], &esp, &ike, &[0, 2]].concat())?;
    write("wire_tcp", "refused", &[&[3, 1][..], b"GET / HTTP/1.1\r\n\r\n"].concat())?;
    write("wire_tcp", "short_length", &[&[200, 3][..], &ike, &[0, 1]].concat())
}

fn spd_lookup() -> io::Result<()> {
    // One entry each: action, policy, local (count, address, prefix, protocol, ports), remote.
    let net_to_net = [1, 0, 2, 0, v4(1, 0), 16, 0, 0, 0, v4(2, 0), 16, 0, 0];
    let flows =
        [v4(1, 5), v4(2, 7), 2, 0x12, v4(2, 7), v4(1, 5), 3, 0x34, v4(1, 1), v4(2, 1), 4, 0];
    write("spd_lookup", "one_entry", &[&net_to_net[..], &flows].concat())?;

    let exception = [220, 0, v4(1, 0), 16, 0, 0, 0, v4(2, 0), 24, 2, 0x24];
    let rest = [0, 1, 0, v4(1, 0), 16, 0, 0, 0, v4(2, 0), 16, 0, 0];
    write("spd_lookup", "exception_before", &[&[2][..], &exception, &rest, &flows].concat())?;

    let ranges = [1, 200, 0, v6(0, 1), 200, v6(0, 6), 3, 4, 0, v6(1, 0), 64, 3, 0x33];
    let flows = [v6(0, 3), v6(1, 7), 3, 0x42, v6(0, 3), v6(1, 7), 3, 0];
    write("spd_lookup", "v6_ranges", &[&ranges[..], &flows].concat())
}

/// An inner packet for `esp::inner`: class, kind, flow, payload.
fn inner(class: u8, kind: u8, src: u8, dst: u8, payload: &[u8]) -> Vec<u8> {
    let len = u8::try_from(payload.len()).expect("short");
    [&[class, kind, src, dst, 3, 0x12, len], payload].concat()
}

fn esp_inbound() -> io::Result<()> {
    let send = |mark| [&[0, 0][..], &inner(0, 0, v4(1, 5), v4(2, 7), b"hello"), &[mark]].concat();
    for cipher in 0..9 {
        for esn in [0, 1] {
            let head = [0, cipher, esn, 0, 0];
            let forge = [4, 0].to_vec();
            let forge =
                [forge, inner(0, 1, v6(1, 5), v6(2, 7), b"x"), vec![0, 12, 1, 2, 0]].concat();
            let name = format!("cipher_{cipher}_{}", if esn == 1 { "esn" } else { "short" });
            write("esp_inbound", &name, &[&head[..], &send(0), &forge, &send(0)].concat())?;
        }
    }
    let esn = [0, 0, 1, 0, 0];
    let held = |times: u8| {
        (0..times).flat_map(|n| [vec![8, 0], inner(0, n, v4(1, 5), v4(2, 7), b"held")].concat())
    };
    let out_of_order = [2, 0, 1, 0, 3].iter().flat_map(|at| [24 | 6, 0, 0, 0, *at, 0]);
    let octets: Vec<u8> = esn.into_iter().chain(held(4)).chain(out_of_order).collect();
    write("esp_inbound", "out_of_order_and_twice", &octets)?;

    let jump = [&[3 | 8, 0, 2][..], &[0xff, 0xff, 0xff, 0]].concat();
    let octets: Vec<u8> = [&esn[..], &send(0), &jump, &send(0), &jump, &send(0)].concat();
    write("esp_inbound", "past_two_to_the_32", &octets)?;

    let ends = [&[0, 0, 0, 0, 0][..], &send(0), &jump, &jump, &send(0)].concat();
    write("esp_inbound", "short_numbers_end", &ends)?;

    let ce = [0x83, 0x80, 0x81]
        .map(|mark| [&[0, 0][..], &inner(2, 0, v4(1, 5), v4(2, 7), b"ect"), &[mark]].concat());
    write("esp_inbound", "marked_by_routers", &[&esn[..], &ce.concat(), &send(0x83)].concat())?;

    // Text, so many octets, padding and next header by hand.
    let nonsense = |text: &[u8]| {
        let len = u16::try_from(text.len()).expect("short").to_be_bytes();
        [&[2, 0][..], &len, text, &[0]].concat()
    };
    let dummy = nonsense(&[0, 0, 1, 2, 2, 59]);
    let padding = nonsense(&[9, 9, 9, 9, 9, 9, 200, 4]);
    let counted = nonsense(&[1, 2, 3, 4, 5, 6, 6, 4]);
    let other = nonsense(&[1, 2, 3, 4, 5, 6, 0, 41]);
    let octets = [&esn[..], &dummy, &padding, &counted, &other, &send(0)].concat();
    write("esp_inbound", "sealed_nonsense", &octets)?;

    let narrow = [0, 1, 0, 0, 1, v4(1, 0), 24, 0, 0, v4(1, 0), 24, 0, 0, v4(2, 0), 24, 0, 0];
    let outside = [&[0, 0][..], &inner(0, 0, v4(3, 5), v4(2, 7), b"out"), &[0]].concat();
    write("esp_inbound", "outside_the_selectors", &[&narrow[..], &send(0), &outside].concat())?;

    let again = [7, 0, 0];
    write("esp_inbound", "installed_again", &[&esn[..], &send(0), &again, &send(0)].concat())
}

fn aggfrag_inbound() -> io::Result<()> {
    let packet = inner(0, 0, v4(1, 5), v4(2, 7), b"hello");
    let burst = [&[0, 3][..], &packet, &packet, &packet].concat();
    let long =
        |octets: &[u8]| [&u16::try_from(octets.len()).unwrap().to_be_bytes(), octets].concat();
    // A step's kind, whether it is a payload, how far ahead, octets.
    let octets = |ahead: u8, octets: &[u8]| [&[1, 1, ahead][..], &long(octets)].concat();
    let ip = [&[0x45, 0, 0, 24, 0, 1, 0, 0, 63, 17, 0, 0, 10, 1, 0, 5, 10, 2, 0, 7][..], &[7; 4]];
    let ip = ip.concat();
    let whole = octets(1, &[&[0, 0, 0, 0][..], &ip, &ip].concat());
    let begun = octets(1, &[&[0, 0, 0, 0][..], &ip[..9]].concat());
    let ended = octets(1, &[&[0, 0, 0, 15][..], &ip[9..], &ip].concat());
    let wrong = octets(1, &[&[0, 0, 0, 14][..], &ip[9..], &ip].concat());
    let beyond = octets(1, &[&[0, 0, 0xff, 0xff][..], &ip].concat());
    let padded = octets(1, &[0; 40]);
    let early = octets(3, &[&[0, 0, 0, 0][..], &ip].concat());
    let congestion = octets(1, &[&[1, 0, 0, 0][..], &[0; 20], &ip].concat());
    let wait = vec![4, 9];
    for (name, steps) in [
        ("burst", vec![&burst, &burst]),
        ("whole", vec![&whole, &burst]),
        ("fragments", vec![&begun, &ended]),
        ("padding_between", vec![&begun, &padded, &ended]),
        ("disagreeing", vec![&begun, &wrong, &burst]),
        ("beyond", vec![&begun, &beyond, &beyond, &burst]),
        ("early", vec![&whole, &early, &wait, &burst]),
        ("congestion", vec![&congestion, &burst]),
    ] {
        let steps: Vec<u8> = steps.into_iter().flatten().copied().collect();
        write("aggfrag_inbound", name, &[&[0, 0, 0, 0][..], &steps].concat())?;
    }
    Ok(())
}

fn ipcomp_inbound() -> io::Result<()> {
    let packet = inner(0, 0, v4(1, 5), v4(2, 7), b"hello");
    // A step's kind, and what it needs: a packet of ours, a peer's packet, octets.
    let ours = [&[0][..], &packet].concat();
    let long =
        |octets: &[u8]| [&u16::try_from(octets.len()).unwrap().to_be_bytes(), octets].concat();
    let ip = [&[0x45, 0, 0, 24, 0, 1, 0, 0, 63, 17, 0, 0, 10, 1, 0, 5, 10, 2, 0, 7][..], &[7; 4]];
    let theirs = [&[1, 6, 4][..], &long(&ip.concat())].concat();
    let zlib = [0x4b, 0x4c, 0xc9, 0x2c, 0x51, 0x48, 0xa4, 0x2d, 0x01, 0x00];
    let deflate = [&[2, 4, 0][..], &long(&zlib)].concat();
    let unknown = [&[2, 4, 1][..], &long(&zlib)].concat();
    let bomb = [0xed, 0xc1, 0x01, 0x01, 0, 0, 0, 0x80, 0x90, 0xfe, 0xaf, 0xee, 0x08, 0x0a];
    let bomb = [&[2, 4, 0][..], &long(&[&bomb[..], &[0; 300]].concat())].concat();
    for (name, step) in [
        ("ours", &ours),
        ("theirs", &theirs),
        ("deflate", &deflate),
        ("unknown", &unknown),
        ("bomb", &bomb),
    ] {
        write("ipcomp_inbound", name, &[&[0, 0, 0][..], step, &ours, &theirs].concat())?;
    }
    Ok(())
}

fn ah_inbound() -> io::Result<()> {
    // An authentic packet: its headers, traffic class, next header, payload, a change on the way.
    let packet = |front: &[u8], next: u8, body: &[u8], change: [u8; 3]| {
        [&[2][..], front, &[0, next], body, &change].concat()
    };
    let icmp = [0, 12, 8, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8];
    let inside = inner(0, 0, v4(1, 5), v4(2, 7), b"hello");
    for algorithm in 0..10 {
        let esn = algorithm & 1;
        let tunnel = [algorithm, esn, 0, 0];
        let octets = [&tunnel[..], &packet(&[0], 0, &inside, [0, 50, 1])].concat();
        write("ah_inbound", &format!("tunnel_{algorithm}"), &octets)?;
        let transport = [algorithm, esn, 1, 1];
        let octets = [&transport[..], &packet(&[0], 58, &icmp, [0, 60, 1])].concat();
        write("ah_inbound", &format!("transport_{algorithm}"), &octets)?;
    }
    let v4_options = [8, 148, 4, 0, 0, 7, 3, 4, 0];
    let route = [11, 131, 11, 4, 10, 0, 0, 1, 10, 0, 0, 2, 0];
    for (name, front) in [("router_alert", &v4_options[..]), ("source_route", &route)] {
        let octets = [&[0, 0, 0, 1][..], &packet(front, 1, &icmp, [0, 1, 1])].concat();
        write("ah_inbound", name, &octets)?;
    }
    let hop_by_hop = [6, 0x3e, 4, 1, 2, 3, 4];
    let destination = [6, 0x1e, 4, 1, 2, 3, 4];
    let routing = [&[22, 0, 1, 0, 0, 0, 0][..], &[0x20; 16]].concat();
    let extensions = [&[3, 0][..], &hop_by_hop, &[1], &destination, &[2], &routing].concat();
    let octets = [&[0, 1, 1, 1][..], &packet(&extensions, 6, &icmp, [0, 44, 1])].concat();
    write("ah_inbound", "extension_headers", &octets)?;
    let garbage = [&[0, 0, 30][..], &[0x45; 30], &[24]].concat();
    let octets = [&[0, 0, 0, 0][..], &garbage, &[1, 1, 0], &packet(&[0], 0, &inside, [0; 3])];
    write("ah_inbound", "garbage_and_a_gap", &octets.concat())
}

fn esp_outbound() -> io::Result<()> {
    let policy = [1, 0, 0, 0, v4(1, 0), 16, 0, 0, 0, v4(2, 0), 16, 0, 0];
    let send = |shape: u8| {
        let one = inner(0xb8, 3, v4(1, 5), v4(2, 7), b"one");
        [&[0, shape][..], &one, &inner(0, 1, v4(1, 6), v4(2, 7), b"two")].concat()
    };
    // Number, cipher, ESN, window, selectors, lifetime, policy, how much is left.
    let install = |cipher, esn, left| [3, 0, cipher, esn, 0, 0, 0, 0, left];
    for cipher in 0..9 {
        let octets = [&policy[..], &install(cipher, cipher & 1, 0), &send(2), &send(0x2d)].concat();
        write("esp_outbound", &format!("cipher_{cipher}"), &octets)?;
    }
    let waits = [&policy[..], &send(1), &send(7), &install(0, 1, 0), &send(1)].concat();
    write("esp_outbound", "waits_for_an_sa", &waits)?;
    let inactive = [&policy[..], &install(1, 1, 1), &send(1), &[4, 0], &send(1)].concat();
    write("esp_outbound", "activated_later", &inactive)?;
    let ends = [&policy[..], &install(0, 0, 2 | 2 << 2), &send(7)].concat();
    write("esp_outbound", "numbers_end", &ends)?;
    let limits = [1, 1, 3, 232, 0, 1, 4, 1, 7, 208, 0, 1, 6];
    let short = [&[3, 0, 0, 1, 0, 0, 1][..], &limits, &[0, 0]].concat();
    let ages = [&policy[..], &short, &send(2), &[6, 4, 0], &send(7), &[6, 8, 0], &send(1)].concat();
    write("esp_outbound", "lifetimes_end", &ages)?;
    let bypass = [2, 190, 0, v4(1, 0), 16, 0, 0, 0, v4(2, 0), 16, 0, 0, 250, 0, v6(1, 0), 64, 0, 0];
    let bypass = [&bypass[..], &[0, v6(2, 0), 64, 0, 0]].concat();
    let v6_packet = inner(0, 2, v6(1, 5), v6(2, 7), b"six");
    let v6_packet = [&[0, 1][..], &v6_packet, &v6_packet].concat();
    write("esp_outbound", "bypass_and_discard", &[&bypass[..], &send(1), &v6_packet].concat())?;
    let junk = [&[0, 1, 0, 255, 0, 20, 0x45][..], &[0; 19], &[0, 0, 0, 0, 0, 0]].concat();
    write("esp_outbound", "no_ip_packet", &[&policy[..], &install(0, 0, 0), &junk].concat())
}

fn fragments() -> io::Result<()> {
    // The SA, whether packets share a number; then IPv6, length and piece of each datagram, how
    // many fragments are sent, and of each which one and what befalls it.
    let head = [0, 0, 0];
    let in_order = |ipv6, count: u8| {
        let shape = [ipv6, 9, 6, 9, 6, 9, 6, count];
        [&shape[..], &(0..count).flat_map(|number| [number, 0]).collect::<Vec<u8>>()].concat()
    };
    for ipv6 in [0, 1] {
        for mixed in [0, 1] {
            let octets = [&head[..], &[mixed], &in_order(ipv6, 12)].concat();
            write("fragments", &format!("in_order_{ipv6}_{mixed}"), &octets)?;
        }
    }
    let moved = [0, 40, 20, 40, 20, 40, 20, 6, 0, 0, 1, 0xc1, 3, 1, 0xc0, 0x20, 2, 0xc2, 5, 2, 0];
    write("fragments", "moved", &[&head[..], &[0], &moved, &in_order(0, 9)].concat())
}

fn super_packet() -> io::Result<()> {
    let v4 = |protocol| {
        let addresses = [10, 1, 0, 5, 10, 2, 0, 7];
        [&[0x45, 0, 0, 0, 0, 1, 0x40, 0, 64, protocol, 0, 0][..], &addresses].concat()
    };
    let v6 = |next| [&[0x60, 0, 0, 0, 0, 0, next, 64][..], &[0xfd; 32]].concat();
    let tcp = [0, 80, 0, 81, 0, 0, 0, 1, 0, 0, 0, 2, 0x50, 0x99, 1, 0, 0, 0, 0, 0];
    let udp = [0, 80, 0, 81, 0, 0, 0, 0];
    let packets = [
        ("tcp_v4", Gso::TcpV4, v4(6), &tcp[..]),
        ("tcp_v6", Gso::TcpV6, v6(6), &tcp),
        ("udp_v4", Gso::UdpL4, v4(17), &udp),
        ("udp_v6", Gso::UdpL4, v6(17), &udp),
        ("one", Gso::None, v4(17), &udp),
    ];
    for (name, gso, ip, transport) in packets {
        let header = VnetHeader {
            needs_checksum: true,
            gso,
            segment_len: 40,
            checksum_start: u16::try_from(ip.len()).expect("a short one"),
            checksum_offset: if transport.len() == 8 { 6 } else { 16 },
            ..VnetHeader::default()
        };
        let octets = [&header.to_octets()[..], &ip, transport, &[0x5a; 100]].concat();
        write("super_packet", name, &octets)?;
    }
    Ok(())
}

fn vici() -> io::Result<()> {
    let put = |name: &str, steps: [u8; 4], packets: &[Packet]| {
        let packets = packets.iter().flat_map(|packet| packet.encode().expect("short"));
        write("vici", name, &steps.into_iter().chain(packets).collect::<Vec<u8>>())
    };
    let request = |name: &str, message: Section| Packet::Request { name: name.into(), message };
    let event =
        |kind: EventKind, message: Section| Packet::Event { name: kind.name().into(), message };
    let whole = [255; 4];
    let registered = [
        Packet::Register("list-sa".into()),
        request("list-sas", Section::new().with("ike", "berlin").with("noblock", "yes")),
        Packet::Unregister("list-sa".into()),
    ];
    put("list_sas_one_octet_at_a_time", [0; 4], &registered)?;
    let confirmed =
        [Packet::EventConfirm, Packet::EventUnknown, Packet::UnknownCommand, Packet::EventConfirm];
    put("short_packets", [2, 0, 6, 1], &confirmed)?;
    let initiate = Section::new().with("child", "net").with("timeout", 20_000).with("loglevel", 1);
    put("initiate", whole, &[request("initiate", initiate)])?;
    let owners = ["@gw.oslo.example", "*.berlin.example"];
    let shared = Section::new().with("id", "ike-1").with("type", "IKE").with("data", "hunter2");
    put("load_shared", whole, &[request("load-shared", shared.with_list("owners", owners))])?;
    let auth = || Section::new().with("auth", "psk");
    let child = Section::new().with_list("remote_ts", ["10.2.0.0/16"]);
    let connection = Section::new()
        .with_list("remote_addrs", ["203.0.113.7"])
        .with_section("local", auth())
        .with_section("remote", auth())
        .with_section("children", Section::new().with_section("net", child));
    let connection = Section::new().with_section("berlin", connection);
    put("load_conn", [40, 7, 255, 1], &[request("load-conn", connection)])?;
    let version = Section::new().with("daemon", "charon").with("version", "5.9.8");
    put("version", whole, &[Packet::Response(version)])?;
    put("refused", whole, &[Packet::Response(Outcome::refused("no such child").message())])?;
    let line = LogLine {
        time: Some("2026-01-02T03:04:05Z".into()),
        group: "IKE".into(),
        level: 1,
        thread: 0,
        connection: Some("berlin".into()),
        ike_id: Some(7),
        text: "established".into(),
    };
    put("log", whole, &[event(EventKind::ControlLog, line.message())])?;
    let child = ChildStatus { name: "net".into(), up: true, ..ChildStatus::default() };
    let tunnel =
        TunnelStatus { name: "berlin".into(), children: vec![child], ..Default::default() };
    let status = Status { tunnels: vec![tunnel], ..Status::default() };
    put("adit_status", whole, &[Packet::Response(api::to_message(&status))])?;
    let progress = Progress::new("berlin", std::time::Duration::from_millis(7), Step::CookieAsked);
    put("adit_progress", whole, &[event(EventKind::AditProgress, api::to_message(&progress))])?;
    let change = Change::Retry { after_ms: 1_000, failures: 2 };
    let change = TunnelEvent::new("berlin", change);
    put("adit_event", whole, &[event(EventKind::AditEvent, api::to_message(&change))])?;
    // Nothing but the packet, as `Packet::read` takes it.
    let stats = request("stats", Section::new()).encode().expect("short");
    write("vici", "stats_without_length", &[&whole[..], &stats[4..]].concat())?;
    write("vici", "too_long", &[&whole[..], &524_289_u32.to_be_bytes(), b"abc"].concat())
}

/// First octets of the inputs for IKE: algorithms, in the words of `Flavour`.
const FLAVOURS: [(&str, u8); 3] = [("fast", 0), ("cbc", 5), ("default", 7)];

/// Lets sixteen letters arrive.
const DELIVER: u8 = 0xf0;

/// Lets one letter arrive.
const ONE: u8 = 0;

/// The first message of the left host, behind its length.
fn opening(flags: u8) -> Vec<u8> {
    let setup = Setup::choose(Keep::Passive, &mut Choices(&[flags]));
    let mut world = World::new(&setup);
    world.begin();
    let letter = world.wire.pop_front().expect("an opening");
    let len = u16::try_from(letter.octets.len()).expect("short").to_be_bytes();
    [&len, &letter.octets[..]].concat()
}

fn ike_responder() -> io::Result<()> {
    let put = |name: &str, octets: &[u8]| write("ike_responder", name, octets);
    for (name, flags) in FLAVOURS {
        put(&format!("handshake_{name}"), &[flags, DELIVER])?;
        put(&format!("opening_{name}"), &[&[flags, 7][..], &opening(flags), &[0]].concat())?;
    }
    put("handshake_with_cookie", &[8, DELIVER])?;
    put("handshake_unfragmented", &[23, DELIVER])?;
    // Every payload as it was, then one lost, doubled, changed and replaced.
    put("opening_changed", &[0, 9, 0, 0, 0, 0, 0, 0, 0])?;
    put("opening_without_nonce", &[0, 9, 0, 0, 205, 0, 0, 0])?;
    put("opening_with_two_nonces", &[0, 9, 0, 0, 215, 0, 0, 0])?;
    put("opening_of_another_group", &[0, 9, 0, 225, 8, 0, 1, 12, 0, 0, 0, 0])?;
    put("opening_with_other_payloads", &[0, 9, 0, 0, 0, 250, 99, 1, 7, 250, 43, 0])?;
    put("flood_from_one_host", &[0, 0xff, 0, 0xff, 0])?;
    put("flood_from_everywhere", &[0, 0xff, 1, 0xff, 1, DELIVER])?;
    put("auth_changed", &[0, ONE, ONE, 3, 0, 0, 60, 1])?;
    put("auth_changed_before_the_true_one", &[0, ONE, ONE, 0x13, 4, 0, 60, 1, DELIVER])?;
    put("auth_resealed", &[0, ONE, ONE, 4, 4, 0, 6, 1, DELIVER])?;
    put("auth_twice", &[0, ONE, ONE, 0x15, 0, 0x15, 0, DELIVER])?;
    put("job_refused", &[0, 0x0c, DELIVER, 0x2c, DELIVER])?;
    put("job_without_secret", &[0, 0x0c, DELIVER, 0x3c, DELIVER])?;
    put("job_answered_late", &[0, 0x0c, DELIVER, 11, 20, 0, 0x5c, 0x1c, DELIVER])?;
    put("half_open_expires", &[0, ONE, 0x3b, 0xff, 0xff, DELIVER])?;
    // Header of an IKE SA of ours, no payload; then somebody else's.
    put("plausible_after_up", &[0, DELIVER, 8, 0, 8, 3, 1, 46, 0, 4, 0, 0, 0, 0, 0])?;
    put("rekey_ike_from_both", &[0, DELIVER, 13, 0, 0, 0, 14, 0, 0, 0, DELIVER, DELIVER])?;
    put("rekey_child_from_both", &[5, DELIVER, 13, 1, 0, 0, 14, 1, 0, 0, DELIVER, DELIVER])?;
    put("second_child", &[0, DELIVER, 14, 0x24, 0, 0, DELIVER])?;
    put("delete_while_rekeying", &[0, DELIVER, 13, 0, 0, 0, 14, 2, 0, 0, DELIVER])?;
    let fragments = [&[7, ONE, ONE, 6][..], &[0x15, 1, 0x15, 0, DELIVER, DELIVER]].concat();
    put("fragments_lost_and_doubled", &fragments)
}

fn ike_initiator() -> io::Result<()> {
    let put = |name: &str, octets: &[u8]| write("ike_initiator", name, octets);
    for (name, flags) in FLAVOURS {
        put(&format!("handshake_{name}"), &[flags, DELIVER])?;
        put(&format!("alone_{name}"), &[flags, 6, 0x3b, 4, 0])?;
    }
    put("handshake_with_cookie_and_liveness", &[8 | 32, DELIVER, 0x3b, 0xff, 0xff])?;
    put("rekeys_by_time", &[64, DELIVER, 0x3b, 0x60, 0, DELIVER, 0x3b, 0x60, 0, DELIVER])?;
    put("answer_changed", &[0, ONE, 3, 4, 0, 40, 1, 0, 0, 0])?;
    put("answer_before_the_true_one", &[0, ONE, 0x13, 4, 0, 60, 1, DELIVER])?;
    put("answer_with_other_payloads", &[0, ONE, 9, 205, 0, 230, 4, 0, 3, 1, 0, 0, 0])?;
    // NO_PROPOSAL_CHOSEN in the place of the SA payload.
    let refusal = [0, ONE, 9, 250, 41, 4, 0, 0, 0, 14, 205, 205, 205, 205, 205, 205, DELIVER];
    put("forged_refusal", &refusal)?;
    let cookie =
        [0, ONE, 9, 250, 41, 6, 0, 0, 0x40, 6, 1, 2, 205, 205, 205, 205, 205, 205, DELIVER];
    put("forged_cookie", &cookie)?;
    let group = [5, ONE, 9, 250, 41, 6, 0, 0, 0, 17, 0, 31, 205, 205, 205, 205, 205, 205, DELIVER];
    put("forged_invalid_ke", &group)?;
    put("auth_answer_changed", &[0, ONE, ONE, ONE, 3, 4, 0, 60, 1])?;
    put("auth_answer_resealed", &[0, ONE, ONE, ONE, 4, 4, 0, 2, 1])?;
    put("letters_lost", &[0, 6, 11, 3, 0, 6, 11, 6, 0, DELIVER])?;
    put("down_and_up", &[0, DELIVER, 13, 6, 0, 0, DELIVER, 13, 4, 0, 0, DELIVER])?;
    put("reloaded", &[0, DELIVER, 13, 7, 0, 0, 2, DELIVER, 13, 7, 0, 0, 4, DELIVER])?;
    put("unloaded", &[0, DELIVER, 13, 7, 0, 0, 48, DELIVER])?;
    put("peer_deletes", &[0, DELIVER, 14, 2, 0, 0, DELIVER])?;
    put("peer_deletes_the_child", &[0, DELIVER, 14, 3, 0, 0, DELIVER])?;
    put("acquires", &[0, DELIVER, 13, 12, 0, 0, v4(1, 5), v4(2, 7), 3, 0x12, DELIVER])?;
    put("unreachable", &[32, DELIVER, 13, 13, 0, 0, 0, 11, 0xff, 0xff, DELIVER])
}

/// Steps of `ike_established`: a request with the right id, an answer to the victim's request.
const REQUEST: [u8; 2] = [0, 12];
const ANSWER: [u8; 2] = [0, 13];

fn ike_established() -> io::Result<()> {
    // SA with an SPI, nonce, selectors as configured, exchange as usual.
    let child = [0, 4, 9, 7, 0, 0];
    let child_with_ke = [0, 0xa4, 9, 7, 0, 0, 0];
    let rekey = [&[1, 0][..], &child].concat();
    let ike = [2, 4, 9, 7, 0, 0, 0];
    let delete_child = [4, 0, 0, 0];
    let delete_ike = [4, 255, 0];
    let put = |name: &str, head: [u8; 2], steps: &[&[u8]]| {
        write("ike_established", name, &[&head[..], &steps.concat()].concat())
    };
    for (side, stage) in [("responder", 0), ("initiator", 1)] {
        for (name, flags) in FLAVOURS {
            put(&format!("liveness_{side}_{name}"), [flags, stage], &[&REQUEST, &[8, 0]])?;
        }
        let request = |chain: &[u8]| [&REQUEST[..], chain].concat();
        let answer = |chain: &[u8]| [&ANSWER[..], chain].concat();
        let put = |name: &str, flags, steps: &[&[u8]]| {
            put(&format!("{name}_{side}"), [flags, stage], steps)
        };
        put("create_child", 0, &[&request(&[&[0][..], &child].concat())])?;
        put("create_child_with_ke", 5, &[&request(&[&[0][..], &child_with_ke].concat())])?;
        put("rekey_child", 0, &[&request(&rekey), &request(&delete_child)])?;
        put("rekey_ike", 0, &[&request(&ike), &request(&delete_ike), &request(&[8, 0])])?;
        put("delete_child", 0, &[&request(&delete_child)])?;
        put("delete_ike", 0, &[&request(&delete_ike)])?;
        let order = |what: u8| [6, what, 0, 0];
        let child_answer = answer(&[&[0][..], &child].concat());
        put("answer_rekey_child", 0, &[&order(1), &child_answer, &answer(&[8, 0])])?;
        put("answer_rekey_ike", 0, &[&order(0), &answer(&ike), &answer(&[8, 0])])?;
        put("answer_create_child", 0, &[&order(0x24), &child_answer])?;
        put("answer_delete", 0, &[&order(3), &answer(&delete_child)])?;
        put("rekey_child_crosses", 0, &[&order(1), &request(&rekey), &child_answer])?;
        let older = [&[32, 13][..], &ike].concat();
        put("rekey_ike_crosses", 0, &[&order(0), &request(&ike), &older])?;
        let refused = answer(&[7, 14, 0, 0, 1, 0]);
        put("answer_temporary_failure", 0, &[&order(1), &refused])?;
        let fragments = [0, 12 | 64, 8 | 0x20, 4, 255, 4, 255, 0, 3];
        put("fragments", 0, &[&fragments])?;
        let critical = request(&[8 | 0x10, 15, 200, 1, 0, 2, 1, 2, 0]);
        put("unknown_critical", 0, &[&critical])?;
        let raw = request(&[9, 41, 0, 8, 0, 0, 0, 8, 0, 0, 0x40, 0, 1]);
        put("raw_payload", 0, &[&raw])?;
    }
    // Before anybody has authenticated.
    let auth = [5, 0, 0, 0, 4, 1, 2, 3, 4, 0, 4, 9, 0, 0];
    put("auth_without_secret_responder", [0, 0xfc], &[&REQUEST, &auth])?;
    let answered = [5, 1, 0, 0, 4, 1, 2, 3, 4, 0, 4, 9, 0, 0];
    put("auth_without_secret_initiator", [0, 0xfd], &[&ANSWER, &answered])?;
    put("intermediate_responder", [7, 0x0c], &[&REQUEST, &[6, 200, 2, 0, 0]])?;
    put("intermediate_initiator", [7, 0x0d], &[&ANSWER, &[6, 200, 2, 0, 0]])?;
    let failed = [7, 8, 0, 0, 2, 0];
    put("authentication_failed_initiator", [0, 0xfd], &[&ANSWER, &failed])
}

fn ikev1_phase1() -> io::Result<()> {
    for (side, victim) in [("responder", 0), ("initiator", 1)] {
        let put = |name: &str, steps: &[u8]| {
            let octets = [&[victim, 0, 0][..], steps].concat();
            write("ikev1_phase1", &format!("{name}_{side}"), &octets)
        };
        put("handshake", &[DELIVER])?;
        write("ikev1_phase1", &format!("blocks_of_eight_{side}"), &[victim, 1, 0, DELIVER])?;
        write(
            "ikev1_phase1",
            &format!("liveness_{side}"),
            &[victim, 0, 32, DELIVER, 0x3b, 255, 255],
        )?;
        write(
            "ikev1_phase1",
            &format!("short_lives_{side}"),
            &[victim, 0, 64, DELIVER, 0x3b, 96, 0],
        )?;
        put("opening_changed", &[9, 0, 0, 0, 0, 0, 0, DELIVER])?;
        put("opening_without_sa", &[9, 205, 0, 0, 0, 0, 0, DELIVER])?;
        put("opening_with_two_sas", &[9, 215, 0, 0, 0, 0, 0, DELIVER])?;
        put("proposal_changed", &[9, 225, 0, 0, 20, 1, DELIVER])?;
        put("key_exchange_changed", &[ONE, ONE, 9, 225, 0, 0, 9, 1, 0, 0, 0, DELIVER])?;
        put("key_exchange_missing", &[ONE, ONE, 9, 205, 0, 0, 0, 0, DELIVER])?;
        put("nonce_missing", &[ONE, ONE, 9, 0, 205, 0, 0, 0, DELIVER])?;
        put("unknown_payload", &[ONE, ONE, 9, 0, 0, 250, 99, 2, 1, 2, 0, DELIVER])?;
        put("refused_in_clear", &[ONE, 9, 250, 11, 8, 0, 0, 0, 1, 1, 0, 0, 14, DELIVER])?;
        put("identity_changed", &[ONE, ONE, ONE, ONE, 0x13, 4, 0, 40, 1, DELIVER])?;
        put("answer_lost", &[ONE, 6, 0x3b, 3, 0, DELIVER])?;
        put("all_twice", &[0x15, 0, ONE, 0x15, 0, ONE, 0x15, 0, DELIVER])?;
        put("flood_from_one_host", &[0xff, 0, 0xff, 0, DELIVER])?;
        put("flood_from_everywhere", &[0xff, 1, 0xff, 1, DELIVER])?;
        put("secret_late", &[ONE, ONE, 0x0c, DELIVER, 11, 20, 0, 0x5c, 0x1c, DELIVER])?;
        put("without_secret", &[0x0c, DELIVER, 0x3c, DELIVER])?;
        put("both_begin", &[14, 4, 0, 0, DELIVER])?;
        put("both_renew", &[DELIVER, 13, 0, 0, 0, 14, 0, 0, 0, DELIVER, DELIVER])?;
        put("both_renew_a_child", &[DELIVER, 13, 1, 0, 0, 14, 1, 0, 0, DELIVER, DELIVER])?;
        put("quick_mode_changed", &[DELIVER, 13, 1, 0, 0, 3, 4, 0, 40, 1, DELIVER])?;
        put("deleted", &[DELIVER, 13, 2, 0, 0, DELIVER])?;
        put("peer_deletes", &[DELIVER, 14, 2, 0, 0, DELIVER])?;
    }
    Ok(())
}

/// Steps of `ikev1_established`: a new exchange, and the next message of one that is under way.
const BEGIN: [u8; 2] = [0, 2 | 3 << 2];
const GO_ON: [u8; 2] = [0, 3 << 2];

fn ikev1_established() -> io::Result<()> {
    // Behind the payloads, the id of a new exchange or the place of one that is under way.
    let id = [0, 0, 1, 1];
    let quick = [&BEGIN[..], &[0, 0, 0x60], &id].concat();
    let quick_with_key = [&BEGIN[..], &[0, 1, 0x60, 0], &id].concat();
    let confirm = [&GO_ON[..], &[6, 0]].concat();
    let answer = [&GO_ON[..], &[0, 0, 0x60, 0]].concat();
    let order = |what: u8| vec![6, what, 0, 0];
    let begin = |chain: &[u8]| [&BEGIN[..], chain, &[0, 0, 2, 3]].concat();
    for (side, victim) in [("responder", 0), ("initiator", 1)] {
        let put = |name: &str, steps: &[&[u8]]| {
            let octets = [&[victim, 0, 0][..], &steps.concat()].concat();
            write("ikev1_established", &format!("{name}_{side}"), &octets)
        };
        put("quick_mode", &[&quick, &confirm])?;
        put("quick_mode_unconfirmed", &[&quick, &[5 | 7 << 5, 255, 255]])?;
        put("quick_mode_with_key", &[&quick_with_key, &confirm])?;
        put("quick_mode_twice", &[&quick, &quick])?;
        put("quick_mode_without_ids", &[&begin(&[0, 3 << 3, 0x60])])?;
        put(
            "quick_mode_with_another_id",
            &[&begin(&[0, 2 << 3, 0x60, 1, 0, 0, 0, 4, 10, 9, 9, 9])],
        )?;
        put("quick_mode_with_a_short_nonce", &[&begin(&[0, 2, 0x60, 3])])?;
        put("bundle", &[&begin(&[0, 0, 0x30])])?;
        put("several_proposals", &[&begin(&[0, 0, 0x40])])?;
        put("ah", &[&begin(&[0, 0, 0, 0])])?;
        put("another_cipher", &[&begin(&[0, 0, 0x61, 3])])?;
        put("answer", &[&order(1), &answer])?;
        put("answer_that_is_wrong", &[&order(1), &[0, 0], &[0, 0, 0x60, 0]])?;
        put("delete_child", &[&begin(&[3, 3, 0])])?;
        put("delete_unknown", &[&begin(&[3, 2, 9, 9, 9, 9, 8, 8, 8, 8, 3])])?;
        put("delete_isakmp", &[&begin(&[3, 0]), &quick])?;
        put("r_u_there", &[&begin(&[5, 0, 0, 0, 0, 7])])?;
        put("r_u_there_ack", &[&begin(&[5, 1, 0, 0, 0, 7])])?;
        put("responder_lifetime", &[&begin(&[4, 8, 0, 0, 90])])?;
        put("refused", &[&order(1), &begin(&[4, 4 | 16, 1, 2, 3, 4, 0, 0])])?;
        put("initial_contact", &[&begin(&[4, 1, 0, 0, 0])])?;
        put("connected", &[&begin(&[4, 2, 0, 0, 0])])?;
        put("unknown_payload", &[&begin(&[6 | 8, 7, 99, 0, 2, 1, 2])])?;
        put("renewed_from_both", &[&order(1), &quick, &confirm, &answer])?;
        put("without_hash", &[&[0, 2 | 1 << 2], &[0, 0, 0x60], &id])?;
    }
    Ok(())
}
