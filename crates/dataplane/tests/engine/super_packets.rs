//! Super-packets that travel whole in ESP packets that are shared (RFC 9347), and what a peer makes of that
//! that lies.

use adit_crypto::Cipher;
use adit_dataplane::offload::{SUPER_OCTETS_MAX, SuperPacket};
use adit_dataplane::{DropReason, GATHER_WAIT, OpenVerdict, Outbound, OutboundCommand, OutboundSa};
use adit_db::{Aggfrag, TableId};
use adit_wire::PacketBuf;
use adit_wire::aggfrag::SuperHeader;
use adit_wire::iana::IpProtocol;
use adit_wire::ip::checksum;

use crate::aggfrag::{arriving, burst, carry_over, drops_in, filled, opened, sharing};
use crate::fixtures::{Options, POLICY, Tunnel, protecting_spd, ts, udp_packet};
use crate::forged::{forge, with_trailer};

const SEGMENT_LEN: u16 = 1_300;

/// A super-packet as an interface gives it, with so many octets in all.
fn super_packet(ipv6: bool, class: u8, len: usize) -> Vec<u8> {
    let mut packet = udp_packet(ipv6, class, len);
    let (ip_len, protocol_at, addresses) = if ipv6 { (40, 6, 8..40) } else { (20, 9, 12..20) };
    packet[protocol_at] = 6;
    if !ipv6 {
        packet[10..12].fill(0);
        let sum = checksum(&packet[..20]).to_be_bytes();
        packet[10..12].copy_from_slice(&sum);
    }
    let covered = u16::try_from(len - ip_len).unwrap().to_be_bytes();
    let pseudo = [&packet[addresses], &[0, 6], &covered].concat();
    let partial = !checksum(&pseudo);
    let tcp = &mut packet[ip_len..];
    tcp[..20].copy_from_slice(&[
        0x9c, 0x40, 1, 187, 0, 0, 0, 9, 0, 0, 0, 7, 0x50, 0x18, 1, 0, 0, 0, 0, 0,
    ]);
    tcp[16..18].copy_from_slice(&partial.to_be_bytes());
    packet
}

/// Seals one whole; `None` if it is to be cut.
fn seal(tunnel: &mut Tunnel, octets: &[u8]) -> Option<Result<(), DropReason>> {
    let packet = SuperPacket::read(octets, SEGMENT_LEN).unwrap();
    let way = tunnel.left.super_way(&packet, TableId::DEFAULT)?;
    Some(tunnel.left.seal_super(&packet, &way, tunnel.now))
}

/// The ESP packets of a burst as the receiver has them.
fn flushed(tunnel: &mut Tunnel) -> Vec<PacketBuf> {
    tunnel.left.flush().iter().map(arriving).collect()
}

#[test]
fn they_come_out_as_they_went_in_with_every_cipher() {
    for cipher in Cipher::ALL {
        let mut tunnel = Options { cipher, ..sharing() }.tunnel();
        let small = udp_packet(false, 0, 80);
        for (ipv6, len) in [(false, 3_000), (true, 20_000), (false, SUPER_OCTETS_MAX)] {
            let octets = super_packet(ipv6, 0, len);
            // Of another flow, for one that is the same again was lost before.
            let mut other = octets.clone();
            other[if ipv6 { 41 } else { 21 }] = u8::try_from(len / 100 % 250).unwrap();
            let before = tunnel.left.report().sas[0];
            assert_eq!(seal(&mut tunnel, &octets), Some(Ok(())), "{cipher}");
            let mut batch = [filled(&small)];
            tunnel.left.seal_batch(&mut batch, &mut Vec::new(), tunnel.now);
            assert_eq!(seal(&mut tunnel, &other), Some(Ok(())), "{cipher}");
            let mut sealed = flushed(&mut tunnel);
            let (last, full) = sealed.split_last().unwrap();
            assert!(full.iter().all(|packet| packet.len() == full[0].len()), "{cipher}");
            assert!(last.len() <= full[0].len(), "{cipher}");

            let got = opened(&mut tunnel, &mut sealed);
            assert_eq!(got, [&octets, &small, &other].map(Clone::clone), "{cipher}");
            let lens = tunnel.right.unpacked().iter().map(|packet| packet.meta.segment_len);
            assert_eq!(lens.collect::<Vec<_>>(), [SEGMENT_LEN, 0, SEGMENT_LEN]);
            let whole = SuperPacket::in_buffer(&tunnel.right.unpacked()[0]);
            let whole = whole.map(|whole| (whole.octets().to_vec(), whole.count()));
            let count = SuperPacket::read(&octets, SEGMENT_LEN).unwrap().count();
            assert_eq!(whole, Some((octets, count)));

            // They count as the packets that they stand for.
            let after = tunnel.left.report().sas[0];
            let packets = u64::try_from(2 * count + 1).unwrap();
            assert_eq!(after.packets - before.packets, packets);
            let there = tunnel.right.report().sas[0];
            assert_eq!((there.packets, there.octets), (after.packets, after.octets));
        }
        assert_eq!(tunnel.right.report().drops.total(), 0);
    }
}

/// Each is lost alone, and counted.
#[test]
fn a_lost_esp_packet_takes_one_with_it() {
    let octets = super_packet(false, 0, 20_000);
    for lost in [0, 3, 14] {
        let mut tunnel = sharing().tunnel();
        assert_eq!(seal(&mut tunnel, &octets), Some(Ok(())));
        let mut sealed = flushed(&mut tunnel);
        assert_eq!(sealed.len(), 15);
        sealed.remove(lost);
        let others: Vec<_> = (0..9).map(|_| udp_packet(false, 0, 1_390)).collect();
        sealed.extend(burst(&mut tunnel, &others));
        assert_eq!(opened(&mut tunnel, &mut sealed), others, "{lost}");
        assert_eq!(tunnel.right.report().drops.total(), 1);
        assert_eq!(seal(&mut tunnel, &octets), Some(Ok(())));
        let mut sealed = flushed(&mut tunnel);
        assert_eq!(opened(&mut tunnel, &mut sealed), std::slice::from_ref(&octets));
    }
}

/// RFC 4301 §5.2, on the headers that all of its packets will have.
#[test]
fn they_must_be_within_the_selectors() {
    let right_ts = ts(&["10.2.0.0/24[tcp/444]"]);
    let mut tunnel = sharing().tunnel();
    let narrow = Options { right_ts, ..sharing() }.tunnel();
    tunnel.right = narrow.right;
    let octets = super_packet(false, 0, 9_000);
    for (port, admitted) in [(443_u16, false), (444, true)] {
        let mut octets = octets.clone();
        octets[22..24].copy_from_slice(&port.to_be_bytes());
        assert_eq!(seal(&mut tunnel, &octets), Some(Ok(())));
        let mut sealed = flushed(&mut tunnel);
        let got = opened(&mut tunnel, &mut sealed);
        assert_eq!(got.len(), usize::from(admitted));
    }
    assert_eq!(drops_in(&tunnel, DropReason::SelectorMismatch), 1);
}

/// RFC 6040 §4.2: congestion on the way is told to all of its packets.
#[test]
fn congestion_marks_it() {
    let mut tunnel = sharing().tunnel();
    let octets = super_packet(false, 2, 9_000);
    assert_eq!(seal(&mut tunnel, &octets), Some(Ok(())));
    let mut sealed = flushed(&mut tunnel);
    assert!(sealed.iter().all(|packet| packet.meta.tos == 2));
    sealed[4].meta.tos = 3;
    let got = opened(&mut tunnel, &mut sealed);
    assert_eq!(got[0][1], 3);
    assert_eq!(checksum(&got[0][..20]), 0);
    assert_eq!(got[0][20..], octets[20..]);
}

/// CHECKLIST PM-42: peers that have not agreed, other threads' SAs, and what is not to be protected.
#[test]
fn it_is_cut_where_it_cannot_go() {
    let octets = super_packet(false, 0, 9_000);
    let plain = Some(Aggfrag { super_packets: false });
    for aggfrag in [None, plain] {
        let mut tunnel = Options { aggfrag, ..Options::default() }.tunnel();
        assert_eq!(seal(&mut tunnel, &octets), None);
    }
    let mut tunnel = sharing().tunnel();
    let packet = SuperPacket::read(&octets, SEGMENT_LEN).unwrap();
    assert!(tunnel.left.super_way(&packet, TableId(3)).is_none());
    let mut elsewhere = octets.clone();
    elsewhere[16] = 11;
    assert_eq!(seal(&mut tunnel, &elsewhere), None);

    let mut engine = Outbound::of_thread(1);
    engine.handle_command(OutboundCommand::SetPolicies(protecting_spd()), tunnel.now);
    assert!(engine.super_way(&packet, TableId::DEFAULT).is_none());
    let sa = sharing().child_sa(true);
    for home in [0, 1] {
        let threads = OutboundSa::for_threads(&sa, POLICY, tunnel.now, 2, Some(home)).unwrap();
        let sa = Box::new(threads.into_iter().next_back().unwrap());
        let child = sa.child();
        engine.handle_command(OutboundCommand::Install { sa, active: true }, tunnel.now);
        assert_eq!(engine.super_way(&packet, TableId::DEFAULT).is_some(), home == 1);
        engine.handle_command(OutboundCommand::Remove { child }, tunnel.now);
    }
}

/// TCP that goes back again and again has lost something: then its packets travel one by one.
#[test]
fn what_is_sent_again_is_cut() {
    let mut tunnel = sharing().tunnel();
    let octets = super_packet(false, 0, 9_000);
    let ways: Vec<_> = (0..4).map(|_| seal(&mut tunnel, &octets).is_some()).collect();
    assert_eq!(ways, [true, true, false, false]);
}

/// Short ones need no long buffers, of which a batch has few, wherever ESP packets cut their headers.
#[test]
fn a_batch_of_short_ones_comes_through() {
    let mut tunnel = sharing().tunnel();
    let sent: Vec<_> = (0..200_u16)
        .map(|number| {
            let mut octets = super_packet(false, 0, 1_400 + usize::from(number % 50));
            octets[20..22].copy_from_slice(&number.to_be_bytes());
            octets
        })
        .collect();
    assert!(sent.iter().all(|octets| seal(&mut tunnel, octets) == Some(Ok(()))));
    let mut sealed = flushed(&mut tunnel);
    assert_eq!(opened(&mut tunnel, &mut sealed), sent);
    let most = tunnel.right.unpacked().iter().map(PacketBuf::capacity).max();
    assert!(most.is_some_and(|octets| octets < 4_096), "{most:?}");
}

/// Who goes silent in the midst of one is not waited for without end.
#[test]
fn one_that_does_not_end_is_counted_in_time() {
    let mut tunnel = sharing().tunnel();
    assert_eq!(seal(&mut tunnel, &super_packet(false, 0, 20_000)), Some(Ok(())));
    let mut sealed = flushed(&mut tunnel);
    sealed.truncate(9);
    assert!(opened(&mut tunnel, &mut sealed).is_empty());
    assert_eq!(tunnel.right.report().drops.total(), 0);
    let mut looks = 0;
    while let Some(at) = tunnel.right.poll_timeout() {
        assert!(at <= tunnel.now + GATHER_WAIT);
        tunnel.right.handle_timeout(at);
        looks += 1;
    }
    assert_eq!(drops_in(&tunnel, DropReason::AggfragIncomplete), 1);
    assert!(looks < 200, "{looks}");
}

/// Opens one payload of a peer that has the keys and lies: what comes out whole, and what it is
/// dropped for.
fn forged(block: &[u8]) -> (Vec<Vec<u8>>, Option<DropReason>) {
    let options = Options { esn: false, ..sharing() };
    let mut tunnel = options.tunnel();
    let payload = [&[0; 4], block].concat();
    let padding_len = u8::try_from((payload.len() + 2).next_multiple_of(4) - payload.len() - 2);
    let padding: Vec<u8> = (1..=padding_len.unwrap()).collect();
    let text = with_trailer(&payload, &padding, IpProtocol::AGGFRAG);
    let mut packets = [forge(&options, 1, &text)];
    let mut verdicts = Vec::new();
    tunnel.right.open_batch(&mut packets, &mut verdicts, tunnel.now);
    assert_eq!(verdicts, [OpenVerdict::Held]);
    let got = tunnel.right.unpacked().iter().map(|packet| packet.data().to_vec()).collect();
    let drops = tunnel.right.report().drops;
    let reason = DropReason::ALL.iter().copied().find(|reason| drops.get(*reason) > 0);
    assert_eq!(drops.total(), u64::from(reason.is_some()));
    (got, reason)
}

/// A peer with the keys says what it likes; what is not sound is dropped and counted, once.
#[test]
fn lies_are_refused() {
    let packet = super_packet(false, 0, 3_000);
    let block = |header: [u8; 4], packet: &[u8]| [&header[..], packet].concat();
    let honest = SuperHeader { segment_len: SEGMENT_LEN }.to_octets();
    assert_eq!(forged(&block(honest, &packet)), (vec![packet.clone()], None));

    let refused = (vec![], Some(DropReason::BadSuperPacket));
    for segment_len in [0, 1, 22, 1_351, 2_960, 3_000, u16::MAX] {
        let header = SuperHeader { segment_len }.to_octets();
        assert_eq!(forged(&block(header, &packet)), refused, "{segment_len}");
    }
    for header in [[0xa1, 1, 5, 0x14], [0xaf, 1, 5, 0x14], [0xa0, 0, 5, 0x14], [0xa0, 9, 5, 0x14]] {
        assert_eq!(forged(&block(header, &packet)), refused, "{header:?}");
    }
    // Octets of headers that say something else.
    for (at, octet) in [(0, 0x46), (6, 0x20), (7, 1), (9, 17), (32, 0x40), (32, 0xf1), (33, 2)] {
        let mut packet = packet.clone();
        packet[at] = octet;
        assert_eq!(forged(&block(honest, &packet)), refused, "{at} {octet:#x}");
    }
    // IPv6 with anything before TCP.
    for next in [0, 43, 44, 60] {
        let mut packet = super_packet(true, 0, 3_000);
        packet[6] = next;
        assert_eq!(forged(&block(honest, &packet)), refused, "{next}");
    }
    let twice = block(honest, &block(honest, &packet));
    assert_eq!(forged(&twice), (vec![], Some(DropReason::BadAggfrag)));
    // What others made of it is dropped as theirs would be.
    let mut elsewhere = packet.clone();
    elsewhere[12] = 11;
    assert_eq!(forged(&block(honest, &elsewhere)), (vec![], Some(DropReason::SelectorMismatch)));
}

/// Once there are buffers nothing is allocated, in either direction.
#[test]
fn bursts_of_them_cost_no_allocation() {
    let mut tunnel = sharing().tunnel();
    let mut opened = Vec::with_capacity(128);
    let mut arrived: Vec<PacketBuf> = (0..128).map(|_| filled(&[])).collect();
    let mut octets = super_packet(false, 0, 60_000);
    for round in 0..4_u32 {
        octets[24..28].copy_from_slice(&(round * 60_000).to_be_bytes());
        let count = allocation_counter::measure(|| {
            assert_eq!(seal(&mut tunnel, &octets), Some(Ok(())));
            carry_over(&mut tunnel, &mut arrived, &mut opened);
        })
        .count_total;
        assert!(round < 2 || count == 0, "{count} in round {round}");
        assert_eq!(tunnel.right.unpacked().len(), 1);
    }
}
