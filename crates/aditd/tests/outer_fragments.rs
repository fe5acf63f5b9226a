//! ESP that arrives in fragments, made by somebody on the way who can send whatever it likes. Needs root.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "helpers of tests fail the test")]

mod common;

use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use adit_mgmt::api::TunnelState;
use adit_sys::BatchIo;
use adit_sys::capture::{Capture, CaptureThread};
use adit_sys::netlink::Route;
use adit_sys::netns::Namespace;
use adit_sys::raw::BypassSocket;
use adit_sys::udp::SocketOptions;
use adit_wire::PacketBuf;
use adit_wire::ip::{IpPacket, write_fragment};
use common::{SECRET, Site};

/// What becomes of long packets from Oslo to Berlin.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Way {
    /// They go as they are.
    Whole,
    /// In fragments, the last one first.
    Reversed,
    /// Each fragment twice.
    Twice,
    /// With a fragment of other octets over the middle.
    Overlapped,
    /// Without the second fragment.
    Missing,
    /// With many beginnings of packets that never end.
    Dripping,
}

/// Cuts a packet to pieces of 400 octets; one that is short stays whole.
fn pieces(packet: &IpPacket<'_>) -> Vec<Vec<u8>> {
    let mut pieces = Vec::new();
    let mut offset = 0;
    loop {
        let mut piece = vec![0; 600];
        let written = write_fragment(packet, 0, offset, PIECE_OCTETS.into(), &mut piece);
        let Some((len, more)) = written else { return vec![packet.octets().to_vec()] };
        piece.truncate(len);
        pieces.push(piece);
        if !more {
            return pieces;
        }
        offset += PIECE_OCTETS;
    }
}

/// What leaves instead of a packet.
fn changed(octets: &[u8], way: Way) -> Vec<Vec<u8>> {
    let mut octets = octets.to_vec();
    // What a virtual link carries may have no checksum yet, and a datagram of IPv4 needs none.
    let is_first =
        matches!(*octets, [0x45, _, _, _, _, _, flags, 0, _, 17, ..] if flags & 0x1f == 0);
    if let (true, Some(sum)) = (is_first, octets.get_mut(26..28)) {
        sum.fill(0);
    }
    let Ok(packet) = IpPacket::read(&octets) else { return Vec::new() };
    let is_long = packet.total_len() > usize::from(PIECE_OCTETS) + 20;
    if way == Way::Whole || !is_long || packet.fragment().is_some() {
        return vec![packet.octets().to_vec()];
    }
    let mut all = pieces(&packet);
    match way {
        Way::Whole => {}
        Way::Reversed => all.reverse(),
        Way::Twice => all = all.iter().flat_map(|piece| [piece.clone(), piece.clone()]).collect(),
        Way::Overlapped => {
            let mut other = pieces(&packet).swap_remove(1);
            // Eight octets further on than the one that it is a copy of.
            other[7] += 1;
            other[20..].fill(0xee);
            all.insert(1, other);
        }
        Way::Missing => drop(all.remove(1)),
        Way::Dripping => {
            let first = all.first().cloned().unwrap_or_default();
            let stray = |number: u16| {
                let mut stray = first.clone();
                stray[4..6].copy_from_slice(&number.to_be_bytes());
                stray
            };
            all.splice(0..0, (0..STRAYS).map(stray));
        }
    }
    all
}

/// A router that forwards nothing, and who does so in its place.
struct Middle {
    _router: Namespace,
    way: Arc<Mutex<Way>>,
    relays: Vec<CaptureThread>,
}

impl Middle {
    fn between(oslo: &Site, berlin: &Site) -> Self {
        let router = Namespace::create().unwrap();
        for (site, link, own, other) in [
            (oslo, "left", "192.0.2.254/24", "192.0.2.1/24"),
            (berlin, "right", "198.51.100.254/24", "198.51.100.2/24"),
        ] {
            site.namespace.netlink().unwrap().add_veth_to("wan", link, &router).unwrap();
            for (namespace, link, address) in
                [(&site.namespace, "wan", other), (&router, link, own)]
            {
                let mut netlink = namespace.netlink().unwrap();
                let index = netlink.link_by_name(link).unwrap().index;
                netlink.add_address(index, address.parse().unwrap()).unwrap();
                netlink.set_up(index, true).unwrap();
            }
            // What the kernel would cut later is no packet yet when the relay sees it.
            let mut command = Command::new("ip");
            command.args(["link", "set", "dev", "wan", "gso_max_segs", "1"]);
            assert!(site.namespace.spawn(&mut command).unwrap().wait().unwrap().success());
            let mut netlink = site.namespace.netlink().unwrap();
            let index = netlink.link_by_name("wan").unwrap().index;
            assert!(netlink.wait_until_ready(index, Duration::from_secs(5)).unwrap());
            let by = own.trim_end_matches("/24").parse().unwrap();
            netlink.add_route(&Route::by_gateway("0.0.0.0/0".parse().unwrap(), by)).unwrap();
        }
        let way = Arc::new(Mutex::new(Way::Whole));
        let relays = [("left", [198, 51, 100, 2]), ("right", [192, 0, 2, 1])];
        let relays = relays.map(|(link, to)| relay(&router, link, to, Arc::clone(&way)));
        Self { _router: router, way, relays: relays.into() }
    }

    fn set(&self, way: Way) {
        *self.way.lock().unwrap() = way;
    }
}

/// Sends on what comes in by a link for this address; to Berlin as it is wanted.
fn relay(router: &Namespace, link: &str, to: [u8; 4], way: Arc<Mutex<Way>>) -> CaptureThread {
    let open = || {
        let options = SocketOptions { mark: None, ..SocketOptions::default() };
        (Capture::open(link, 65_535).unwrap(), BypassSocket::open(&options).unwrap())
    };
    let (capture, socket) = router.run(open).unwrap();
    let is_to_berlin = to == [198, 51, 100, 2];
    let mut io = BatchIo::new(0);
    CaptureThread::start(capture, move |frame| {
        let packet = frame.octets.get(14..).unwrap_or_default();
        if frame.octets.get(12..14) == Some(&[8, 0]) && packet.get(16..20) == Some(&to) {
            let way = if is_to_berlin { *way.lock().unwrap() } else { Way::Whole };
            for octets in changed(packet, way) {
                let mut packet = PacketBuf::with_capacity(0, octets.len());
                assert!(packet.fill(&octets));
                let _ = socket.send_batch(&mut io, [&packet]);
            }
        }
        true
    })
    .unwrap()
}

/// Octets of memory that a daemon has.
fn memory(site: &Site) -> u64 {
    let id = site.daemon.as_ref().unwrap().id();
    let status = std::fs::read_to_string(format!("/proc/{id}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1_024
}

/// CHECKLIST PM-34: fragments of ESP, in UDP and above IP: whatever their order and however often, they are
/// joined before they are opened; what overlaps or lacks something is lost and nothing else; beginnings
/// of packets without end take no room of the daemon's, and nobody else's packets.
#[test]
fn fragments_of_esp_are_joined_or_lost() {
    for encap in ["udp", "esp"] {
        let Some(mut oslo) = Site::new(&format!("pieces-{encap}-oslo")) else { return };
        let Some(mut berlin) = Site::new(&format!("pieces-{encap}-berlin")) else { return };
        let mut middle = Middle::between(&oslo, &berlin);
        for (site, number) in [(&oslo, 1), (&berlin, 2)] {
            let mut netlink = site.namespace.netlink().unwrap();
            let lo = netlink.link_by_name("lo").unwrap().index;
            netlink.add_address(lo, format!("10.{number}.0.1/32").parse().unwrap()).unwrap();
        }
        let file = |peer: &str, [ours, theirs]: [u8; 2], keep: &str| {
            format!(
                "peer = \"{peer}\"\nlocal = \"10.{ours}.0.0/24\"\nremote = \"10.{theirs}.0.0/24\"\n\
                 secret = \"file:tunnel.psk\"\nencap = \"{encap}\"\nkeep = \"{keep}\"\nturbo = \"off\"\n\
                 path_mtu = \"ignore\"\n"
            )
        };
        oslo.write("tunnel.toml", &file("198.51.100.2", [1, 2], "up"), 0o644);
        berlin.write("tunnel.toml", &file("192.0.2.1", [2, 1], "passive"), 0o644);
        for site in [&mut berlin, &mut oslo] {
            site.write("tunnel.psk", SECRET, 0o600);
            site.start();
        }
        oslo.wait_for("tunnel", TunnelState::Up);
        let lost = |octets: usize| oslo.ping_with("10.1.0.1", "10.2.0.1", 3, octets).lost();
        assert_eq!(lost(1_200), 0, "{encap} {}", oslo.log());
        for (way, expected) in
            [(Way::Reversed, 0), (Way::Twice, 0), (Way::Overlapped, 3), (Way::Missing, 3)]
        {
            middle.set(way);
            assert_eq!(lost(1_200), expected, "{encap} {way:?} {}", berlin.log());
            // Others go on, and so does the same once it comes whole again.
            assert_eq!(lost(100), 0, "{encap} {way:?}");
            middle.set(Way::Whole);
            assert_eq!(lost(1_200), 0, "{encap} {way:?}");
        }
        // The longest packet there is, in the kernel's fragments.
        assert_eq!(lost(65_000), 0, "{encap} {}", oslo.log());

        let before = memory(&berlin);
        middle.set(Way::Dripping);
        for _ in 0..10 {
            lost(1_200);
        }
        middle.set(Way::Whole);
        let grown = memory(&berlin).saturating_sub(before);
        assert!(grown < GROWTH_MAX, "{encap}: {grown} octets");
        assert_eq!(lost(100), 0, "{encap} {}", berlin.log());
        assert_eq!(oslo.tunnel("tunnel").unwrap().state, TunnelState::Up);
        for relay in middle.relays.drain(..) {
            let _ = relay.stop();
        }
    }
}

/// Octets of data in a fragment.
const PIECE_OCTETS: u16 = 400;
/// Beginnings of packets that come before each packet.
const STRAYS: u16 = 500;
/// Octets that a daemon may need more for some thousands of them.
const GROWTH_MAX: u64 = 4 << 20;
