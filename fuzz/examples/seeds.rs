//! Writes the inputs that targets with a binary format begin with: `cargo run --example seeds`.
//!
//! Inputs that are text (`config_toml`, `proposal_words`, `vici_conn`) are written by hand.

use std::path::{Path, PathBuf};
use std::{fs, io};

use adit_mgmt::api::{
    self, Change, ChildStatus, Progress, Status, Step, TunnelEvent, TunnelStatus,
};
use adit_mgmt::vici::answer::Outcome;
use adit_mgmt::vici::{EventKind, LogLine, Packet, Section};

fn main() -> io::Result<()> {
    spd_lookup()?;
    esp_inbound()?;
    esp_outbound()?;
    vici()
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
    let ike = Some(("berlin".to_owned(), 7));
    let line = LogLine { group: "IKE".into(), level: 1, ike, text: "established".into() };
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
