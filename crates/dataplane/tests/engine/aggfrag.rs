//! Packets that share ESP packets, RFC 9347: as they went in, in order, or counted.

use std::time::Duration;

use adit_crypto::Cipher;
use adit_dataplane::{
    DropReason, Event, INNER_MTU, LONG_UNPACKED_MAX, MtuSource, OpenVerdict, OutboundCommand,
    REORDER_WAIT, SLOTS_MAX, Verdict, packet_buffer,
};
use adit_db::{Aggfrag, DfPolicy, TableId};
use adit_wire::PacketBuf;
use adit_wire::ip::write_fragment;

use crate::fixtures::{CHILD, Options, Tunnel, buffer, copy, packet_between, ts, udp_packet};
use crate::nesting::two_levels_over;

/// A tunnel whose packets share ESP packets.
pub(crate) fn sharing() -> Options {
    Options { aggfrag: Some(Aggfrag { super_packets: true }), ..Options::default() }
}

pub(crate) fn filled(inner: &[u8]) -> PacketBuf {
    let mut packet = packet_buffer();
    assert!(packet.fill(inner));
    packet
}

/// Seals inner packets as one burst: the ESP packets as the receiver has them.
pub(crate) fn burst(tunnel: &mut Tunnel, inners: &[Vec<u8>]) -> Vec<PacketBuf> {
    let mut batch: Vec<PacketBuf> = inners.iter().map(|inner| filled(inner)).collect();
    let mut verdicts = Vec::new();
    tunnel.left.seal_batch(&mut batch, &mut verdicts, tunnel.now);
    let wanted = [Verdict::Send, Verdict::Held];
    assert!(verdicts.iter().all(|verdict| wanted.contains(verdict)), "{verdicts:?}");
    let alone = batch.iter().zip(&verdicts).filter(|(_, verdict)| **verdict == Verdict::Send);
    let mut sealed: Vec<PacketBuf> = alone.map(|(packet, _)| arriving(packet)).collect();
    sealed.extend(tunnel.left.flush().iter().map(arriving));
    assert!(tunnel.left.poll_packet().is_none());
    sealed
}

/// What the receiver gets of a packet that was sent.
pub(crate) fn arriving(packet: &PacketBuf) -> PacketBuf {
    let mut packet = copy(packet);
    std::mem::swap(&mut packet.meta.local, &mut packet.meta.remote);
    packet
}

/// Opens ESP packets as one batch: the inner packets in the order of their delivery.
pub(crate) fn opened(tunnel: &mut Tunnel, sealed: &mut [PacketBuf]) -> Vec<Vec<u8>> {
    let mut verdicts = Vec::new();
    tunnel.right.open_batch(sealed, &mut verdicts, tunnel.now);
    let delivered = sealed.iter().zip(&verdicts);
    let delivered = delivered.filter(|(_, verdict)| **verdict == OpenVerdict::Deliver);
    let delivered = delivered.map(|(packet, _)| packet).chain(&*tunnel.right.unpacked());
    delivered.map(|packet| packet.data().to_vec()).collect()
}

fn through(tunnel: &mut Tunnel, inners: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let mut sealed = burst(tunnel, inners);
    opened(tunnel, &mut sealed)
}

pub(crate) fn drops_in(tunnel: &Tunnel, reason: DropReason) -> u64 {
    let report = tunnel.right.report();
    assert_eq!(report.sas[0].drops.get(reason), report.drops.get(reason));
    report.drops.get(reason)
}

/// Packets of many lengths, IPv4 and IPv6 in turn.
fn mixed() -> Vec<Vec<u8>> {
    let lens = [64, 1_390, 100, 576, 48, 1_200, 1_390, 49, 333, 1_000];
    lens.iter().enumerate().map(|(at, len)| udp_packet(at % 2 == 1, 0, *len)).collect()
}

#[test]
fn bursts_come_out_as_they_went_in_with_every_cipher() {
    for cipher in Cipher::ALL {
        let mut tunnel = Options { cipher, ..sharing() }.tunnel();
        for _ in 0..3 {
            assert_eq!(through(&mut tunnel, &mixed()), mixed(), "{cipher}");
        }
        assert_eq!(tunnel.right.report().drops.total(), 0, "{cipher}");
    }
}

#[test]
fn packets_of_every_length_come_through() {
    let mut tunnel = sharing().tunnel();
    let all: Vec<_> = (28..=usize::from(INNER_MTU)).map(|len| udp_packet(false, 0, len)).collect();
    for some in all.chunks(60) {
        assert_eq!(through(&mut tunnel, some), some);
    }
    for one in all.iter().step_by(17) {
        let one = std::slice::from_ref(one);
        assert_eq!(through(&mut tunnel, one), one);
    }
}

/// CHECKLIST PM-44: on a narrow path the ESP packets are shorter, and packets inside, which nobody may
/// cut, are as long as ever: none is refused, and nobody is told to send shorter ones.
#[test]
fn packets_inside_are_longer_than_the_path_takes() {
    let mut tunnel = sharing().tunnel();
    let narrow = OutboundCommand::PathMtu { child: CHILD, mtu: 1_280, source: MtuSource::Icmp };
    tunnel.left.handle_command(narrow, tunnel.now);
    let inners = vec![udp_packet(false, 0, usize::from(INNER_MTU)); 20];
    assert_eq!(through(&mut tunnel, &inners), inners);
    let sealed = burst(&mut tunnel, &inners);
    // IPv4 and UDP are around them.
    let longest = sealed.iter().map(PacketBuf::len).max().unwrap();
    assert!((1_280 - 28 - 16..=1_280 - 28).contains(&longest), "{longest}");
    assert!(tunnel.left.poll_answer().is_none());
    assert_eq!(tunnel.left.report().drops.total(), 0);
}

/// What it is for: 64 octets in UDP, in a burst.
#[test]
fn small_packets_share_esp_packets() {
    let mut tunnel = sharing().tunnel();
    let inners = vec![udp_packet(false, 0, 28 + 64); 64];
    let sealed = burst(&mut tunnel, &inners);
    assert!(sealed.len() * 10 < inners.len(), "{} ESP packets", sealed.len());
    let lens: Vec<usize> = sealed.iter().map(PacketBuf::len).collect();
    let (last, full) = lens.split_last().unwrap();
    assert!(full.iter().all(|len| *len == full[0] && last <= len), "{lens:?}");
    let counters = tunnel.left.counters_of(CHILD).unwrap();
    assert_eq!((counters.packets, counters.octets), (64, 64 * 92));
    assert_eq!(counters.sequence, 5);
}

/// The longest packets have ESP packets for themselves, so that a loss is one loss, and need not be
/// copied.
#[test]
fn full_packets_are_alone() {
    let mut tunnel = sharing().tunnel();
    let inners = vec![udp_packet(false, 0, usize::from(INNER_MTU)); 20];
    let mut sealed = burst(&mut tunnel, &inners);
    assert_eq!(sealed.len(), inners.len());
    assert!(sealed.iter().all(|packet| packet.len() == sealed[0].len()));
    let mut verdicts = Vec::new();
    tunnel.right.open_batch(&mut sealed, &mut verdicts, tunnel.now);
    assert_eq!(verdicts, [OpenVerdict::Deliver; 20]);
    assert!(sealed.iter().all(|packet| packet.data() == inners[0]));
}

/// Nothing waits for company, and nothing is sent to hide lengths.
#[test]
fn a_lone_packet_leaves_at_once() {
    let mut tunnel = sharing().tunnel();
    let inner = udp_packet(true, 0, 100);
    let mut packet = buffer(&inner);
    assert_eq!(tunnel.seal(&mut packet), Verdict::Held);
    let mut sealed = arriving(&tunnel.left.poll_packet().unwrap());
    assert!(tunnel.left.poll_packet().is_none());
    assert!(tunnel.left.flush().is_empty());
    assert_eq!(sealed.len(), 8 + 8 + 104 + 2 + 2 + 16);
    assert_eq!(opened(&mut tunnel, std::slice::from_mut(&mut sealed)), [inner]);
}

#[test]
fn long_packets_go_over_many_esp_packets() {
    let mut tunnel = sharing().tunnel();
    let inners: Vec<_> =
        [4_000, 100, 9_000, 65_535, 60].iter().map(|len| udp_packet(false, 0, *len)).collect();
    let sealed = burst(&mut tunnel, &inners);
    assert!(sealed.len() > 50);
    assert!(sealed.iter().all(|packet| packet.len() <= sealed[0].len()));
    assert_eq!(through(&mut tunnel, &[]), Vec::<Vec<u8>>::new());
    let mut sealed = sealed;
    assert_eq!(opened(&mut tunnel, &mut sealed), inners);
}

#[test]
fn a_lost_esp_packet_is_counted_and_the_rest_comes() {
    let mut tunnel = sharing().tunnel();
    let inners: Vec<_> = (0..40).map(|at| udp_packet(false, 0, 500 + at)).collect();
    let mut sealed = burst(&mut tunnel, &inners);
    sealed.remove(4);
    let got = opened(&mut tunnel, &mut sealed);
    let lost = inners.len() - got.len();
    assert!((2..=4).contains(&lost), "{lost}");
    assert!(drops_in(&tunnel, DropReason::AggfragIncomplete) > 0);
    let mut left = inners.iter();
    assert!(got.iter().all(|packet| left.any(|inner| inner == packet)));
}

#[test]
fn what_the_network_reorders_comes_in_order() {
    let mut tunnel = sharing().tunnel();
    let mut sealed = burst(&mut tunnel, &[mixed(), mixed()].concat());
    assert!(sealed.len() > 8);
    sealed.swap(1, 3);
    sealed.swap(4, 5);
    sealed[6..9].rotate_left(1);
    assert_eq!(opened(&mut tunnel, &mut sealed), [mixed(), mixed()].concat());
    assert_eq!(tunnel.right.report().drops.total(), 0);
}

#[test]
fn duplicates_bring_nothing() {
    let mut tunnel = sharing().tunnel();
    let sealed = burst(&mut tunnel, &mixed());
    let mut twice: Vec<_> = sealed.iter().flat_map(|packet| [copy(packet), copy(packet)]).collect();
    assert_eq!(opened(&mut tunnel, &mut twice), mixed());
    assert_eq!(drops_in(&tunnel, DropReason::Replayed), sealed.len() as u64);
}

/// What waits for a lost packet does not wait for the next burst.
#[test]
fn a_loss_delays_what_follows_but_shortly() {
    let mut tunnel = sharing().tunnel();
    let (first, second) = (udp_packet(false, 0, 80), udp_packet(false, 0, 90));
    burst(&mut tunnel, &[first]);
    assert_eq!(through(&mut tunnel, std::slice::from_ref(&second)), Vec::<Vec<u8>>::new());
    let due = tunnel.right.poll_timeout().unwrap();
    assert_eq!(due, tunnel.now + REORDER_WAIT);
    tunnel.right.handle_timeout(due);
    assert_eq!(tunnel.right.unpacked().len(), 1);
    assert_eq!(tunnel.right.unpacked()[0].data(), second);
    assert_eq!(tunnel.right.poll_timeout(), None);

    // What comes next has the way free.
    tunnel.now = due + Duration::from_secs(1);
    assert_eq!(through(&mut tunnel, &mixed()), mixed());
}

/// RFC 4301 §5.2 holds for each inner packet, whatever it travels with.
#[test]
fn each_packet_must_be_within_the_selectors() {
    let options = sharing();
    let mut tunnel = Options { left_ts: ts(&["10.1.0.0/24"]), ..options }.tunnel();
    let good = udp_packet(false, 0, 100);
    let bad = packet_between("10.1.9.5", "10.2.0.7", 0, 100);
    let got = through(&mut tunnel, &[good.clone(), bad.clone(), good.clone(), bad]);
    assert_eq!(got, [good.clone(), good]);
    assert_eq!(drops_in(&tunnel, DropReason::SelectorMismatch), 2);
    let is_told = |event| matches!(event, Event::Audit(audit) if audit.reason == DropReason::SelectorMismatch);
    assert!(std::iter::from_fn(|| tunnel.right.poll_event()).any(is_told));
    assert_eq!(tunnel.right.counters_of(CHILD).unwrap().packets, 2);
}

/// RFC 9347 §2.3: an SA carries nothing else; and nothing of the kind comes by other SAs.
#[test]
fn modes_do_not_mix() {
    let inner = udp_packet(false, 0, 100);
    for (sends, takes) in [(Options::default(), sharing()), (sharing(), Options::default())] {
        let mut tunnel = sends.tunnel();
        tunnel.right = takes.tunnel().right;
        let mut packet = buffer(&inner);
        let verdict = tunnel.seal(&mut packet);
        let sealed = tunnel.left.poll_packet();
        assert_eq!(sealed.is_some(), verdict == Verdict::Held);
        let mut sealed = arriving(&sealed.unwrap_or(packet));
        assert_eq!(tunnel.open(&mut sealed), OpenVerdict::Drop(DropReason::BadInner));
        assert!(tunnel.right.unpacked().is_empty());
    }
}

/// The outer header is of all packets in an ESP packet, so they have one class; DF is not of any.
#[test]
fn outer_headers_are_of_what_is_inside() {
    let classes = [0, 0, 46 << 2, 46 << 2, 2, 2];
    let inners: Vec<_> = classes.iter().map(|class| udp_packet(false, *class, 100)).collect();
    for (df, expected) in [(DfPolicy::Clear, false), (DfPolicy::Set, true)] {
        let mut tunnel = Options { df, ..sharing() }.tunnel();
        let mut sealed = burst(&mut tunnel, &inners);
        let outer: Vec<_> = sealed.iter().map(|packet| packet.meta.tos).collect();
        assert_eq!(outer, [0, 46 << 2, 2]);
        assert!(sealed.iter().all(|packet| packet.meta.dont_fragment == expected));
        assert!(sealed.iter().all(|packet| packet.meta.udp && packet.meta.table == 0));
        // Congestion on the way is told to the packets that can say so.
        sealed[2].meta.tos = 3;
        let got = opened(&mut tunnel, &mut sealed);
        assert_eq!(got[..4], inners[..4]);
        assert!(got[4..].iter().all(|packet| packet[1] == 3));
    }
}

/// A burst that nobody takes is bounded.
#[test]
fn what_nobody_sends_is_dropped() {
    let mut tunnel = sharing().tunnel();
    // The first is shorter, so that the others are not alone.
    assert_eq!(tunnel.seal(&mut buffer(&udp_packet(false, 0, 1_388))), Verdict::Held);
    let inner = udp_packet(false, 0, usize::from(INNER_MTU));
    for _ in 1..SLOTS_MAX {
        assert_eq!(tunnel.seal(&mut buffer(&inner)), Verdict::Held);
    }
    assert_eq!(tunnel.seal(&mut buffer(&inner)), Verdict::Drop(DropReason::NoRoom));
    assert_eq!(tunnel.left.flush().len(), SLOTS_MAX);
    assert_eq!(tunnel.seal(&mut buffer(&inner)), Verdict::Send);
}

/// RFC 4303 §3.3.3: the last number is the last.
#[test]
fn used_up_numbers_end_the_sa() {
    let options = Options { esn: false, ..sharing() };
    let mut tunnel = options.tunnel();
    tunnel.left.handle_command(OutboundCommand::Remove { child: CHILD }, tunnel.now);
    let nearly = u64::from(u32::MAX) - 1;
    tunnel.left.handle_command(options.left_half_after(nearly, tunnel.now), tunnel.now);
    let inner = udp_packet(false, 0, usize::from(INNER_MTU));
    assert_eq!(tunnel.seal(&mut buffer(&inner)), Verdict::Send);
    let refused = tunnel.seal(&mut buffer(&inner));
    assert_eq!(refused, Verdict::Drop(DropReason::SequenceExhausted));
    let refused = tunnel.seal(&mut buffer(&udp_packet(false, 0, 100)));
    assert_eq!(refused, Verdict::Drop(DropReason::SequenceExhausted));
    assert!(tunnel.left.flush().is_empty());
    let expired = |event| matches!(event, Event::HardExpire { child } if child == CHILD);
    assert!(std::iter::from_fn(|| tunnel.left.poll_event()).any(expired));
}

/// What a removed SA has begun is sent.
#[test]
fn a_removed_sa_leaves_nothing_behind() {
    let mut tunnel = sharing().tunnel();
    let inner = udp_packet(false, 0, 100);
    assert_eq!(tunnel.seal(&mut buffer(&inner)), Verdict::Held);
    tunnel.left.handle_command(OutboundCommand::Remove { child: CHILD }, tunnel.now);
    let mut sealed = arriving(&tunnel.left.poll_packet().unwrap());
    assert_eq!(opened(&mut tunnel, std::slice::from_mut(&mut sealed)), [inner]);
}

/// What waited for the SA shares packets, too.
#[test]
fn packets_that_waited_are_packed() {
    let options = sharing();
    let mut tunnel = options.tunnel();
    tunnel.left.handle_command(OutboundCommand::Remove { child: CHILD }, tunnel.now);
    let inners = vec![udp_packet(false, 0, 100); 3];
    for inner in &inners {
        assert_eq!(tunnel.seal(&mut buffer(inner)), Verdict::Held);
    }
    assert!(tunnel.left.poll_packet().is_none());
    tunnel.left.handle_command(options.left_half(tunnel.now, true), tunnel.now);
    let mut sealed = arriving(&tunnel.left.poll_packet().unwrap());
    assert_eq!(opened(&mut tunnel, std::slice::from_mut(&mut sealed)), inners);
}

/// RFC 4301 §7.4: what the SA looks at above IP, it sees in whole packets.
#[test]
fn inner_fragments_are_joined_where_ports_matter() {
    let options = Options { right_ts: ts(&["10.2.0.0/16[udp/53]"]), ..sharing() };
    let mut tunnel = options.tunnel();
    let whole = udp_packet(false, 0, 2_000);
    let view = adit_wire::ip::IpPacket::read(&whole).unwrap();
    let mut pieces = Vec::new();
    for offset in [0_u16, 1_200] {
        let mut octets = vec![0; 1_500];
        let (len, _) = write_fragment(&view, 9, offset, 1_200, &mut octets).unwrap();
        octets.truncate(len);
        pieces.push(octets);
    }
    // The sender's SA is for everything, so the fragments travel as they are.
    let wide = sharing().tunnel();
    tunnel.left = wide.left;
    let got = through(&mut tunnel, &pieces);
    assert_eq!(got.len(), 1);
    assert_eq!(got[0][28..], whole[28..]);
}

/// Fragments that nobody has to join take no more room than other packets, and of long packets only
/// so many are taken at a time.
#[test]
fn long_buffers_are_for_long_packets() {
    let mut tunnel = sharing().tunnel();
    let whole = udp_packet(false, 0, 2_000);
    let view = adit_wire::ip::IpPacket::read(&whole).unwrap();
    let mut octets = vec![0; 1_500];
    let (len, _) = write_fragment(&view, 9, 0, 400, &mut octets).unwrap();
    octets.truncate(len);
    let count = LONG_UNPACKED_MAX + 20;
    let pieces = vec![octets; count];
    let got = through(&mut tunnel, &pieces);
    assert_eq!(got, pieces);
    assert!(tunnel.right.unpacked().iter().all(|packet| packet.capacity() < 4_096));

    let long = vec![udp_packet(false, 0, 1_700); count];
    for _ in 0..2 {
        let before = drops_in(&tunnel, DropReason::NoRoom);
        assert_eq!(through(&mut tunnel, &long), long[..LONG_UNPACKED_MAX]);
        assert_eq!(drops_in(&tunnel, DropReason::NoRoom) - before, 20);
    }
    assert_eq!(through(&mut tunnel, &mixed()), mixed());
}

/// A network that has priorities brings many of one class before one of the other.
#[test]
fn what_comes_late_is_delivered() {
    let mut tunnel = sharing().tunnel();
    let inners: Vec<_> = (0..40).map(|at| udp_packet(false, 0, 500 + at)).collect();
    let small = udp_packet(false, 0, 64);
    let mut late = burst(&mut tunnel, std::slice::from_ref(&small));
    assert_eq!(through(&mut tunnel, &inners), inners);
    assert_eq!(opened(&mut tunnel, &mut late), [small]);
    assert_eq!(tunnel.right.report().drops.total(), 0);
}

/// Packets of another SA that are protected once more by one that packs them.
#[test]
fn what_other_sas_seal_is_packed() {
    let mut tunnel = two_levels_over(Some(Aggfrag { super_packets: true }));
    let inners = vec![udp_packet(false, 0, 100), udp_packet(false, 0, 1_200)];
    assert_eq!(through(&mut tunnel, &inners), inners);
    assert_eq!(through(&mut tunnel, &inners[1..]), inners[1..]);
}

/// Opens what the left end has sealed, without an allocation of its own.
pub(crate) fn carry_over(
    tunnel: &mut Tunnel,
    arrived: &mut [PacketBuf],
    opened: &mut Vec<OpenVerdict>,
) {
    let mut number = 0;
    for (to, sealed) in arrived.iter_mut().zip(tunnel.left.flush()) {
        assert!(to.fill(sealed.data()));
        to.meta = sealed.meta;
        std::mem::swap(&mut to.meta.local, &mut to.meta.remote);
        number += 1;
    }
    tunnel.right.open_batch(&mut arrived[..number], opened, tunnel.now);
    arrived.iter_mut().for_each(|packet| packet.reset(400));
}

/// Once there are buffers nothing is allocated, in either direction.
#[test]
fn bursts_cost_no_allocation() {
    let mut tunnel = sharing().tunnel();
    let inners = [mixed(), vec![udp_packet(false, 0, 92); 54]].concat();
    let mut verdicts = Vec::with_capacity(inners.len());
    let mut opened = Vec::with_capacity(inners.len());
    let mut arrived: Vec<PacketBuf> = (0..64).map(|_| packet_buffer()).collect();
    let now = tunnel.now;
    for round in 0..4 {
        let mut batch: Vec<PacketBuf> = inners.iter().map(|inner| buffer(inner)).collect();
        let count = allocation_counter::measure(|| {
            tunnel.left.seal_batch(&mut batch, &mut verdicts, now);
            carry_over(&mut tunnel, &mut arrived, &mut opened);
        })
        .count_total;
        assert!(round < 2 || count == 0, "{count} in round {round}");
        assert!(tunnel.right.unpacked().len() > 50);
        assert_eq!(TableId(tunnel.right.unpacked()[0].meta.table), TableId::DEFAULT);
    }
}
