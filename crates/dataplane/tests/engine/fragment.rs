//! Fragments and policies that look at ports, RFC 4301 §7: no fragment gets around a policy.

use std::sync::Arc;

use adit_dataplane::{
    DropReason, HEADROOM_MAX, OpenVerdict, Outbound, OutboundCommand, Verdict, packet_buffer,
};
use adit_db::{Action, Mode, Spd, SpdEntry};
use adit_wire::PacketBuf;
use adit_wire::ip::{IpPacket, write_fragment};

use crate::fixtures::{Options, POLICY, Tunnel, packet_between, start, ts};

/// Port 443 is protected, port 99 is discarded, everything else passes in clear.
fn entries() -> Vec<SpdEntry> {
    let entry = |remote: &[&str], action| SpdEntry {
        local: ts(&["0.0.0.0/0", "::/0"]),
        remote: ts(remote),
        action,
    };
    vec![
        entry(&["10.2.0.0/16[udp/443]", "fd02::/48[udp/443]"], Action::Protect(POLICY)),
        entry(&["10.2.0.0/16[udp/99]", "fd02::/48[udp/99]"], Action::Discard),
        entry(&["0.0.0.0/0", "::/0"], Action::Bypass),
    ]
}

fn engine() -> Outbound {
    let mut engine = Outbound::new();
    let spd = Arc::new(Spd::new(entries()).unwrap());
    engine.handle_command(OutboundCommand::SetPolicies(spd), start());
    engine
}

/// A datagram to a port, its fragments of so many octets at most.
fn datagram(ipv6: bool, port: u16, len: usize) -> (Vec<u8>, Vec<Vec<u8>>) {
    let (src, dst) = if ipv6 { ("fd01::5", "fd02::7") } else { ("10.1.0.5", "10.2.0.7") };
    let mut whole = packet_between(src, dst, 0, len);
    let ports_at = if ipv6 { 40 } else { 20 };
    whole[ports_at + 2..ports_at + 4].copy_from_slice(&port.to_be_bytes());
    if !ipv6 {
        // Not DF, which no fragment has.
        whole[6] = 0;
        whole[10..12].copy_from_slice(&[0, 0]);
        let sum = adit_wire::ip::checksum(&whole[..20]).to_be_bytes();
        whole[10..12].copy_from_slice(&sum);
    }
    let fragments = cut(&whole, 1_232);
    (whole, fragments)
}

fn cut(whole: &[u8], len: u16) -> Vec<Vec<u8>> {
    let packet = IpPacket::read(whole).unwrap();
    let (mut all, mut offset) = (Vec::new(), 0);
    loop {
        let mut out = vec![0; 1_400];
        let (written, more) = write_fragment(&packet, 7, offset, len.into(), &mut out).unwrap();
        out.truncate(written);
        all.push(out);
        if !more {
            return all;
        }
        offset += len;
    }
}

fn buffer(octets: &[u8]) -> PacketBuf {
    let mut packet = packet_buffer();
    assert!(packet.fill(octets));
    packet
}

fn seal(engine: &mut Outbound, octets: &[u8]) -> (Verdict, PacketBuf) {
    let mut packets = [buffer(octets)];
    let mut verdicts = Vec::new();
    engine.seal_batch(&mut packets, &mut verdicts, start());
    let [packet] = packets;
    (verdicts[0], packet)
}

fn tunnel(options: &Options) -> Tunnel {
    let mut tunnel = options.tunnel();
    let spd = Arc::new(Spd::new(entries()).unwrap());
    tunnel.left.handle_command(OutboundCommand::SetPolicies(spd), tunnel.now);
    tunnel
}

/// CHECKLIST S09: in whatever order they come, the fragments go into the tunnel as one packet.
#[test]
fn fragments_are_joined_before_the_tunnel_where_ports_decide() {
    for ipv6 in [false, true] {
        let mut tunnel = tunnel(&Options::default());
        let (whole, mut fragments) = datagram(ipv6, 443, 9_000);
        fragments.reverse();
        let last = fragments.pop().unwrap();
        for octets in &fragments {
            assert_eq!(seal(&mut tunnel.left, octets).0, Verdict::Held);
        }
        let (verdict, mut packet) = seal(&mut tunnel.left, &last);
        assert_eq!(verdict, Verdict::Send);
        assert_eq!(tunnel.open(&mut packet), OpenVerdict::Deliver);
        assert_eq!(packet.data(), whole);
        assert!(tunnel.left.poll_packet().is_none());
    }
}

/// CHECKLIST PM-33: what passes in clear is cut again, for it was too long in one piece before.
#[test]
fn fragments_that_pass_in_clear_are_fragments_again() {
    for ipv6 in [false, true] {
        let mut engine = engine();
        let (whole, fragments) = datagram(ipv6, 53, 5_000);
        for octets in &fragments {
            assert_eq!(seal(&mut engine, octets).0, Verdict::Held);
        }
        let mut data = Vec::new();
        let mut last = false;
        while let Some(packet) = engine.poll_packet() {
            assert!(packet.meta.whole && packet.len() <= 1_390 && !last);
            let read = IpPacket::read(packet.data()).unwrap();
            assert!(read.has_good_checksum());
            let parts = read.fragment_parts().unwrap();
            assert_eq!((usize::from(parts.info.offset), parts.info.id), (data.len(), 7));
            data.extend_from_slice(parts.data);
            last = !parts.info.more;
        }
        let header_len = if ipv6 { 40 } else { 20 };
        assert!(last && data == whole[header_len..]);
    }
}

/// What fits in one piece after all passes in one.
#[test]
fn small_fragments_pass_as_one_packet() {
    let mut engine = engine();
    let (whole, _) = datagram(false, 53, 1_000);
    let fragments = cut(&whole, 512);
    assert_eq!(seal(&mut engine, &fragments[0]).0, Verdict::Held);
    let (verdict, packet) = seal(&mut engine, &fragments[1]);
    assert_eq!((verdict, packet.data()), (Verdict::Bypass, &whole[..]));
}

/// CHECKLIST PM-33: what a policy discards goes with its later fragments, which show no port.
#[test]
fn fragments_are_discarded_with_their_packet() {
    let mut engine = engine();
    let (_, fragments) = datagram(false, 99, 5_000);
    let verdicts: Vec<Verdict> =
        fragments.iter().map(|octets| seal(&mut engine, octets).0).collect();
    let (last, others) = verdicts.split_last().unwrap();
    assert!(others.iter().all(|verdict| *verdict == Verdict::Held));
    assert_eq!(*last, Verdict::Drop(DropReason::PolicyDiscard));
    assert!(engine.poll_packet().is_none());
}

/// CHECKLIST PM-32, RFC 5722: the later fragment of a protected packet cannot be shown with a harmless first one.
#[test]
fn an_overlap_takes_nothing_past_the_policy() {
    let mut engine = engine();
    let (_, harmless) = datagram(false, 53, 5_000);
    let (_, protected) = datagram(false, 443, 5_000);
    assert_eq!(seal(&mut engine, &protected[0]).0, Verdict::Held);
    let refused = Verdict::Drop(DropReason::Fragment);
    for octets in [&cut(&datagram(false, 53, 5_000).0, 1_224)[0], &harmless[1], &harmless[2]] {
        assert_eq!(seal(&mut engine, octets).0, refused);
    }
    assert_eq!(engine.report().drops.get(DropReason::Fragment), 3);
    assert!(engine.poll_packet().is_none());
}

/// CHECKLIST PM-35, RFC 4301 §7.1: where only addresses decide, fragments travel as they are.
#[test]
fn fragments_travel_as_they_are_where_addresses_decide() {
    let mut tunnel = Options::default().tunnel();
    for octets in datagram(true, 443, 5_000).1 {
        assert_eq!(tunnel.send(&octets), octets);
    }
}

//= https://www.rfc-editor.org/rfc/rfc4303#section-3.3.4
//= type=test
//# Thus, transport mode ESP is applied only to whole IP
//# datagrams (not to IP fragments).
/// CHECKLIST PM-17: they are joined, and the kernel writes the header and cuts the ESP packet.
#[test]
fn fragments_are_joined_for_transport_mode() {
    for (ipv6, udp) in [(false, false), (true, false), (false, true)] {
        let options = Options {
            mode: Mode::Transport,
            udp,
            ends: if ipv6 {
                ("[fd01::5]:0".parse().unwrap(), "[fd02::7]:0".parse().unwrap())
            } else {
                ("10.1.0.5:0".parse().unwrap(), "10.2.0.7:0".parse().unwrap())
            },
            left_ts: ts(&["10.1.0.5/32", "fd01::5/128"]),
            right_ts: ts(&["10.2.0.7/32", "fd02::7/128"]),
            ..Options::default()
        };
        let mut tunnel = options.tunnel();
        let (whole, mut fragments) = datagram(ipv6, 443, 30_000);
        let last = fragments.pop().unwrap();
        for octets in &fragments {
            assert_eq!(seal(&mut tunnel.left, octets).0, Verdict::Held);
        }
        let (verdict, mut packet) = seal(&mut tunnel.left, &last);
        assert_eq!((verdict, packet.meta.whole), (Verdict::Send, false));
        let meta = &mut packet.meta;
        std::mem::swap(&mut meta.local, &mut meta.remote);
        assert_eq!(tunnel.open(&mut packet), OpenVerdict::Deliver);
        let (opened, sent) = (packet.data(), IpPacket::read(&whole).unwrap());
        assert_eq!(IpPacket::read(opened).unwrap().payload(), sent.payload());
    }
}

/// CHECKLIST PM-35, RFC 4301 §7.4: at the other end a fragment is let in with the first one, which shows the port,
/// and not without it.
#[test]
fn fragments_from_the_tunnel_are_judged_together() {
    for ipv6 in [false, true] {
        // The sender lets out what the receiver must not let in.
        let options = Options {
            right_ts: ts(&["10.2.0.0/16[udp/443]", "fd02::/48[udp/443]"]),
            ..Options::default()
        };
        let mut tunnel =
            Options { right_ts: ts(&["0.0.0.0/0", "::/0"]), ..options.clone() }.tunnel();
        tunnel.right = adit_dataplane::Inbound::new();
        tunnel.right.handle_command(options.right_half(tunnel.now));

        let (whole, mut fragments) = datagram(ipv6, 443, 5_000);
        fragments.reverse();
        let last = fragments.pop().unwrap();
        for octets in &fragments {
            let mut packet = in_room(tunnel.sealed(octets));
            assert_eq!(tunnel.open(&mut packet), OpenVerdict::Held);
        }
        let mut packet = in_room(tunnel.sealed(&last));
        assert_eq!(tunnel.open(&mut packet), OpenVerdict::Deliver);
        assert_eq!(packet.data(), whole);

        let (_, mut fragments) = datagram(ipv6, 53, 5_000);
        let last = fragments.pop().unwrap();
        for octets in &fragments {
            let mut packet = in_room(tunnel.sealed(octets));
            assert_eq!(tunnel.open(&mut packet), OpenVerdict::Held);
        }
        let mut packet = in_room(tunnel.sealed(&last));
        let mismatch = OpenVerdict::Drop(DropReason::SelectorMismatch);
        assert_eq!(tunnel.open(&mut packet), mismatch);
    }
}

/// Where packets come in short buffers, whole ones get longer ones until those are taken back.
#[test]
fn fragments_in_short_buffers_get_a_long_one() {
    let options = Options {
        right_ts: ts(&["10.2.0.0/16[udp/443]", "fd02::/48[udp/443]"]),
        ..Options::default()
    };
    let mut tunnel = options.tunnel();
    let short = |packet: PacketBuf| {
        let mut buffer = PacketBuf::with_capacity(HEADROOM_MAX, 1_700);
        assert!(buffer.fill(packet.data()));
        buffer.meta = packet.meta;
        buffer
    };
    let wide = Options { right_ts: ts(&["0.0.0.0/0", "::/0"]), ..options.clone() }.tunnel();
    tunnel.left = wide.left;
    for _ in 0..2 {
        let (whole, mut fragments) = datagram(false, 443, 5_000);
        let last = fragments.pop().unwrap();
        for octets in &fragments {
            let mut packet = short(tunnel.sealed(octets));
            assert_eq!(tunnel.open(&mut packet), OpenVerdict::Held);
        }
        let mut packet = short(tunnel.sealed(&last));
        let capacity = packet.capacity();
        assert!(!tunnel.right.has_lent());
        assert_eq!(tunnel.open(&mut packet), OpenVerdict::Deliver);
        assert_eq!(packet.data(), whole);
        assert!(tunnel.right.has_lent() && packet.capacity() > capacity);
        tunnel.right.take_back(&mut packet);
        assert!(!tunnel.right.has_lent());
        assert_eq!(packet.capacity(), capacity);
    }
    // One that nobody has lent is nobody's to take back.
    let mut own = packet_buffer();
    let capacity = own.capacity();
    tunnel.right.take_back(&mut own);
    assert_eq!(own.capacity(), capacity);
}

/// The packet in a buffer like those of the packet threads.
fn in_room(packet: PacketBuf) -> PacketBuf {
    let mut roomy = buffer(packet.data());
    roomy.meta = packet.meta;
    roomy
}
