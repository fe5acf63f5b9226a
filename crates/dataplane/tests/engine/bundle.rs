//! AH around ESP as IKEv1 negotiates it (RFC 2401 §4.3): one bundle is two SAs that go nowhere without each
//! other.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use adit_crypto::{Authentication, Cipher, Protection, Secret};
use adit_dataplane::{
    DropReason, Inbound, InboundCommand, OpenVerdict, Outbound, OutboundCommand, Verdict,
    packet_buffer, split,
};
use adit_db::{
    Action, ChildKeys, ChildSa, ChildSaId, IpComp, Mode, OuterAh, PolicyId, Spd, SpdEntry,
};
use adit_wire::PacketBuf;
use adit_wire::esp::Spi;
use adit_wire::iana::IpProtocol;
use adit_wire::ip::IpPacket;
use adit_wire::ipcomp::Cpi;

use crate::fixtures::{Options, Tunnel, buffer, start, ts, udp_packet};
use crate::transport::host_packet;

const POLICY: PolicyId = PolicyId(0);

/// One side of a bundle: its ESP has this number, its AH one that is a hundred more.
fn bundle(options: &Options, number: u32, at_left: bool) -> ChildSa {
    let numbered = |number| Options { child: ChildSaId(number), udp: false, ..options.clone() };
    let ah = Options { ah: Some(Authentication::ALL[0]), ..numbered(number + 100) };
    let ChildSa { id, spi_in, spi_out, protection, esn, keys_in, keys_out, .. } =
        ah.child_sa(at_left);
    let outer = OuterAh { id, spi_in, spi_out, protection, esn, keys_in, keys_out };
    ChildSa { outer: Some(Box::new(outer)), ..numbered(number).child_sa(at_left) }
}

/// As the daemon gives it to the engines: AH first, then ESP under it.
fn install(tunnel: &mut Tunnel, options: &Options, number: u32) {
    for at_left in [true, false] {
        let ah = install_side(tunnel, bundle(options, number, at_left), at_left);
        assert_eq!((ah.mode, ah.id), (Mode::Transport, ChildSaId(number + 100)));
    }
}

/// One side's half; the AH that was around its ESP.
fn install_side(tunnel: &mut Tunnel, mut esp: ChildSa, at_left: bool) -> ChildSa {
    let now = tunnel.now;
    let own = esp.outer.as_ref().unwrap().policy();
    let ah = esp.take_outer().unwrap();
    assert!(esp.outer.is_none() && esp.take_outer().is_none());
    let (ah_in, ah_out) = split(&ah, own, now).unwrap();
    let (esp_in, esp_out) = split(&esp, POLICY, now).unwrap();
    if at_left {
        for sa in [ah_out, esp_out.over(own)] {
            let command = OutboundCommand::Install { sa: Box::new(sa), active: true };
            tunnel.left.handle_command(command, now);
        }
    } else {
        for sa in [ah_in, esp_in.over(own, esp.encap.local)] {
            tunnel.right.handle_command(InboundCommand::Install(Box::new(sa)));
        }
    }
    ah
}

fn empty(now: Instant) -> Tunnel {
    let all = || ts(&["0.0.0.0/0", "::/0"]);
    let entry = SpdEntry { local: all(), remote: all(), action: Action::Protect(POLICY) };
    let mut left = Outbound::new();
    let spd = Arc::new(Spd::new(vec![entry]).unwrap());
    left.handle_command(OutboundCommand::SetPolicies(spd), now);
    Tunnel { left, right: Inbound::new(), now }
}

fn with_bundle(options: &Options) -> Tunnel {
    let now = start();
    let mut tunnel = empty(now);
    install(&mut tunnel, options, 1);
    tunnel
}

/// What arrives at the other gateway.
fn arrived(sealed: &PacketBuf) -> PacketBuf {
    let mut packet = packet_buffer();
    assert!(packet.fill(sealed.data()));
    packet.meta = sealed.meta;
    std::mem::swap(&mut packet.meta.local, &mut packet.meta.remote);
    packet
}

fn sealed(tunnel: &mut Tunnel, inner: &[u8]) -> PacketBuf {
    let mut packet = buffer(inner);
    assert_eq!(tunnel.seal(&mut packet), Verdict::Send);
    let whole = IpPacket::read(packet.data()).unwrap();
    assert!(packet.meta.whole && whole.has_good_checksum());
    assert_eq!(whole.protocol(), IpProtocol::AH, "AH outside");
    assert_eq!(IpProtocol(whole.payload()[0]), IpProtocol::ESP, "ESP inside");
    packet
}

fn assert_opens(tunnel: &mut Tunnel, sealed: &PacketBuf, inner: &[u8]) {
    let mut packet = arrived(sealed);
    assert_eq!(tunnel.open(&mut packet), OpenVerdict::Deliver);
    assert_eq!(packet.data(), inner);
}

/// CHECKLIST S10, U16: a tunnel has one outer header in front of both, in either family, compressed or not.
#[test]
fn a_tunnel_has_ah_outside_of_esp() {
    let far_v6 = ("[2001:db8::1]:0".parse().unwrap(), "[2001:db8:1::1]:0".parse().unwrap());
    let ipcomp = IpComp { cpi_in: Cpi(0x1234), cpi_out: Cpi(0x4321) };
    for ends in [Options::default().ends, far_v6] {
        for ipcomp in [None, Some(ipcomp)] {
            let options = Options { ends, ipcomp, ..Options::default() };
            let mut tunnel = with_bundle(&options);
            for (ipv6, len) in [(false, 28), (true, 300), (false, 1_300)] {
                let inner = udp_packet(ipv6, 0, len);
                let packet = sealed(&mut tunnel, &inner);
                let whole = IpPacket::read(packet.data()).unwrap();
                assert_eq!((whole.src(), whole.dst()), (ends.0.ip(), ends.1.ip()));
                assert_opens(&mut tunnel, &packet, &inner);
            }
            for id in [1, 101].map(ChildSaId) {
                assert_eq!(tunnel.right.counters_of(id).unwrap().packets, 3);
            }
        }
    }
}

/// Between two hosts both are in transport mode (RFC 2401 §4.5, case 1).
#[test]
fn two_hosts_have_ah_outside_of_esp() {
    let ends = Options::default().ends;
    let (left_ts, right_ts) = (ts(&[&ends.0.ip().to_string()]), ts(&[&ends.1.ip().to_string()]));
    let host = Options { mode: Mode::Transport, left_ts, right_ts, ..Options::default() };
    let mut tunnel = with_bundle(&host);
    for len in [8, 100, 1_300] {
        let inner = host_packet(&host, IpProtocol::TCP, &[], &vec![7; len]);
        let packet = sealed(&mut tunnel, &inner);
        assert_opens(&mut tunnel, &packet, &inner);
    }
}

/// CHECKLIST S10: a packet of ESP that skipped its AH, or has that of another bundle, does not come in, and a
/// changed octet of the outer header is seen.
#[test]
fn nothing_comes_in_that_skipped_its_ah() {
    let options = Options::default();
    let mut tunnel = with_bundle(&options);
    let inner = udp_packet(false, 0, 100);
    let good = sealed(&mut tunnel, &inner);

    // ESP of the bundle as anybody on the way could cut it out.
    let ah_len = (usize::from(good.data()[21]) + 2) * 4;
    let mut naked = packet_buffer();
    assert!(naked.fill(&good.data()[20 + ah_len..]));
    naked.meta = arrived(&good).meta;
    naked.meta.whole = false;
    assert_eq!(tunnel.open(&mut naked), OpenVerdict::Drop(DropReason::NotNested));

    // AH covers the addresses.
    let mut moved = arrived(&good);
    moved.data_mut()[15] ^= 1;
    moved.meta.remote.set_ip(IpPacket::read(moved.data()).unwrap().src());
    assert_eq!(tunnel.open(&mut moved), OpenVerdict::Drop(DropReason::BadIcv));
    assert_opens(&mut tunnel, &good, &inner);
    assert!(matches!(tunnel.open(&mut arrived(&good)), OpenVerdict::Drop(DropReason::Replayed)));

    // Another bundle of the same tunnel: its AH is not that of the first.
    let now = tunnel.now;
    let mut sender = empty(now);
    let mut esp = bundle(&options, 1, true);
    let other = bundle(&options, 2, true).outer.as_ref().unwrap().policy();
    let ah = bundle(&options, 2, true).take_outer().unwrap();
    esp.outer = None;
    for sa in [
        split(&ah, other, now).unwrap().1,
        split(&esp, POLICY, now).unwrap().1.with_sequence_after(50).over(other),
    ] {
        let command = OutboundCommand::Install { sa: Box::new(sa), active: true };
        sender.left.handle_command(command, now);
    }
    install(&mut tunnel, &options, 2);
    let crossed = sealed(&mut sender, &inner);
    let verdict = tunnel.open(&mut arrived(&crossed));
    // It is a packet of the two gateways, which is nobody's traffic here.
    assert_ne!(verdict, OpenVerdict::Drop(DropReason::BadIcv));
    assert_eq!(tunnel.right.counters_of(ChildSaId(1)).unwrap().packets, 1);
}

/// CHECKLIST S10, U16: what a Linux kernel has sealed by two templates comes in, in either mode and over either
/// family; and our octets are its, of ESP where nothing is drawn, and of AH where no identification is the sender's
/// to choose.
#[test]
fn bundles_of_linux_are_ours() {
    let text = include_str!("../vectors/linux-bundle-packets.json");
    let all: Vec<serde_json::Value> = serde_json::from_str(text).unwrap();
    assert_eq!(all.len(), 18);
    let mut same = (0, 0);
    for one in &all {
        let (clear, theirs) = (octets(&one["clear"]), octets(&one["packet"]));
        let read = IpPacket::read(&theirs).unwrap();
        let (is_v4, is_tunnel) = (read.is_ipv4(), one["mode"] == "tunnel");
        let ends = (SocketAddr::new(read.src(), 0), SocketAddr::new(read.dst(), 0));
        let mut tunnel = empty(start());
        install_linux(&mut tunnel, one, ends);

        let mut packet = packet_buffer();
        assert!(packet.fill(&theirs));
        packet.meta.whole = true;
        (packet.meta.local, packet.meta.remote) = (ends.1, ends.0);
        assert_eq!(tunnel.open(&mut packet), OpenVerdict::Deliver, "{one}");
        let (from, to) = if is_v4 { (12, 9) } else { (8, 6) };
        match is_tunnel {
            true => assert_eq!(packet.data(), clear),
            false => {
                assert_eq!(packet.data()[from..], clear[from..]);
                assert_eq!(packet.data()[to], clear[to]);
            }
        }

        let ours = sealed(&mut tunnel, &clear);
        let ah_at = read.header_len();
        let esp_at = ah_at + (usize::from(theirs[ah_at + 1]) + 2) * 4;
        if one["suite"] == "null-sha1" {
            assert_eq!(ours.data()[esp_at..], theirs[esp_at..], "{one}");
            same.0 += 1;
            // An identification of IPv4 is in the ICV, and so is padding, of which Linux leaves what it finds.
            let has_padding = esp_at - ah_at > AH_FIELDS + authentication(one).tag_len();
            if !is_v4 && !has_padding {
                assert_eq!(ours.data()[ah_at..], theirs[ah_at..], "{one}");
                same.1 += 1;
            }
        }
    }
    assert_eq!(same, (6, 2));
}

/// Octets of AH in front of the ICV (RFC 4302 §2).
const AH_FIELDS: usize = 12;

fn authentication(one: &serde_json::Value) -> Authentication {
    Authentication::ALL.into_iter().find(|known| one["ah"] == known.to_string().as_str()).unwrap()
}

fn octets(value: &serde_json::Value) -> Vec<u8> {
    let pair = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16);
    value.as_str().unwrap().as_bytes().chunks(2).map(|one| pair(one).unwrap()).collect()
}

/// Both sides of the kernel's two SAs.
fn install_linux(tunnel: &mut Tunnel, one: &serde_json::Value, ends: (SocketAddr, SocketAddr)) {
    let word = |key: &str| one[key].as_str().unwrap().to_owned();
    let spi = |key: &str| Spi(u32::try_from(one[key].as_u64().unwrap()).unwrap());
    let any = || ts(&["0.0.0.0/0", "::/0"]);
    let options = Options {
        cipher: Cipher::ALL.into_iter().find(|one| one.to_string() == word("suite")).unwrap(),
        esn: false,
        udp: false,
        mode: if word("mode") == "tunnel" { Mode::Tunnel } else { Mode::Transport },
        ends,
        left_ts: any(),
        right_ts: any(),
        ..Options::default()
    };
    let keys = || ChildKeys {
        encryption: Secret::new(octets(&one["encryption"])),
        integrity: Secret::new(octets(&one["integrity"])),
    };
    let around = || ChildKeys {
        encryption: Secret::default(),
        integrity: Secret::new(octets(&one["ah_key"])),
    };
    for at_left in [true, false] {
        let outer = OuterAh {
            id: ChildSaId(101),
            spi_in: spi("ah_spi"),
            spi_out: spi("ah_spi"),
            protection: Protection::Ah(authentication(one)),
            esn: false,
            keys_in: around(),
            keys_out: around(),
        };
        let esp = ChildSa {
            spi_in: spi("spi"),
            spi_out: spi("spi"),
            keys_in: keys(),
            keys_out: keys(),
            outer: Some(Box::new(outer)),
            ..options.child_sa(at_left)
        };
        install_side(tunnel, esp, at_left);
    }
}

/// A renewed bundle takes over, the old one still comes in until it goes, and nothing leaves with one part
/// gone.
#[test]
fn bundles_take_over_as_a_whole() {
    let options = Options::default();
    let mut tunnel = with_bundle(&options);
    let now = tunnel.now;
    let inner = udp_packet(false, 0, 100);
    let old = sealed(&mut tunnel, &inner);
    install(&mut tunnel, &options, 2);
    let new = sealed(&mut tunnel, &inner);
    assert_opens(&mut tunnel, &new, &inner);
    assert_opens(&mut tunnel, &old, &inner);
    let counted = |tunnel: &Tunnel, id| tunnel.right.counters_of(ChildSaId(id)).unwrap().packets;
    assert_eq!([1, 101, 2, 102].map(|id| counted(&tunnel, id)), [1; 4]);
    for child in [1, 101].map(ChildSaId) {
        tunnel.left.handle_command(OutboundCommand::Remove { child }, now);
        tunnel.right.handle_command(InboundCommand::Remove { child });
    }
    assert_eq!(tunnel.open(&mut arrived(&old)), OpenVerdict::Drop(DropReason::UnknownSpi));
    let next = sealed(&mut tunnel, &inner);
    assert_opens(&mut tunnel, &next, &inner);

    // Without AH there is no way out for ESP.
    let child = ChildSaId(102);
    tunnel.left.handle_command(OutboundCommand::Remove { child }, now);
    let mut packet = buffer(&inner);
    assert_ne!(tunnel.seal(&mut packet), Verdict::Send);
    assert_eq!(packet.data(), inner);
}
