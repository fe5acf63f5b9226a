//! Payloads in and out of order, whole and lost, honest and not.

use proptest::prelude::*;

use super::*;

#[expect(clippy::disallowed_methods, reason = "a test needs some instant to start from")]
fn start() -> Instant {
    Instant::now()
}

/// An IPv4 or IPv6 packet of so many octets, as far as data blocks look at it, that begins and ends
/// with its number.
fn packet(number: usize, len: usize) -> Vec<u8> {
    let mark = u8::try_from(number % 251).unwrap();
    let mut octets = vec![mark; len];
    let total_len = u16::try_from(len).unwrap();
    if number.is_multiple_of(2) || len < 40 {
        octets[..2].copy_from_slice(&[0x45, 0]);
        octets[2..4].copy_from_slice(&total_len.to_be_bytes());
    } else {
        octets[0] = 0x60;
        octets[4..6].copy_from_slice(&(total_len - 40).to_be_bytes());
    }
    octets
}

/// The data block of a super-packet.
fn super_block(number: usize, len: usize) -> Vec<u8> {
    [&SuperHeader { segment_len: 1_000 }.to_octets()[..], &packet(number, len)].concat()
}

/// Payloads with so many octets of data that carry these packets back to back; the last is filled up
/// with padding.
fn payloads(packets: &[Vec<u8>], data_len: usize) -> Vec<Vec<u8>> {
    let stream = packets.concat();
    let mut starts: Vec<usize> = vec![0];
    for packet in packets {
        starts.push(starts.last().unwrap() + packet.len());
    }
    let payload = |(at, data): (usize, &[u8])| {
        let begins = at * data_len;
        let next = *starts.iter().find(|start| **start >= begins).unwrap();
        let offset = u16::try_from(next - begins).unwrap();
        let mut octets = AggfragHeader { block_offset: offset }.to_octets().to_vec();
        octets.extend(data);
        octets.resize(4 + data_len, 0);
        octets
    };
    stream.chunks(data_len).enumerate().map(payload).collect()
}

/// What came out, packets and reasons.
#[derive(Default)]
struct Out {
    packets: Vec<Vec<u8>>,
    lost: Vec<DropReason>,
    /// Buffers given back.
    spare: usize,
}

impl Out {
    fn take(&mut self, found: Found<'_>) {
        match found {
            Found::Packet { octets, .. } => self.packets.push(octets.to_vec()),
            Found::Super { buffer, .. } => *buffer = Some(PacketBuf::with_capacity(9, 70_000)),
            Found::SuperPacket { block, .. } => self.packets.push(block.data().to_vec()),
            Found::Spare(_) => self.spare += 1,
            Found::Lost(reason) => self.lost.push(reason),
        }
    }
}

/// Numbers and payloads in the order of their arrival.
fn unpacked<'a>(arrivals: impl IntoIterator<Item = (u64, &'a Vec<u8>)>) -> Out {
    let mut unpacker = Unpacker::new(Aggfrag { super_packets: true });
    let mut out = Out::default();
    let now = start();
    for (sequence, payload) in arrivals {
        if let Err(reason) =
            unpacker.handle_payload(sequence, 0, payload, now, &mut |found| out.take(found))
        {
            out.lost.push(reason);
        }
    }
    while let Some(deadline) = unpacker.poll_timeout() {
        unpacker.handle_timeout(deadline, &mut |found| out.take(found));
    }
    out
}

fn numbered(payloads: &[Vec<u8>]) -> Vec<(u64, &Vec<u8>)> {
    (1..).zip(payloads).collect()
}

fn mixed() -> Vec<Vec<u8>> {
    let lens = [60, 800, 28, 40, 1_390, 4_000, 100, 41, 65_000, 20, 64];
    let mut blocks: Vec<_> =
        lens.iter().enumerate().map(|(number, len)| packet(number, *len)).collect();
    for (at, len) in [(2, 30_000), (4, 60), (5, 65_531), (9, 500)] {
        blocks.insert(at, super_block(at + 20, len));
    }
    blocks
}

#[test]
fn packets_come_out_as_they_went_in() {
    let packets = mixed();
    for data_len in [1, 2, 3, 5, 7, 20, 100, 1_390, 60_000] {
        let out = unpacked(numbered(&payloads(&packets, data_len)));
        assert_eq!(out.packets, packets, "{data_len}");
        assert_eq!(out.lost, [], "{data_len}");
    }
}

/// RFC 9347 §2.2.3: they may stand between the fragments of a packet.
#[test]
fn padding_between_fragments_is_passed_over() {
    let packets = mixed();
    let sent = payloads(&packets, 500);
    let pad = vec![0; 504];
    let spread: Vec<Vec<u8>> =
        sent.iter().flat_map(|payload| [payload.clone(), pad.clone()]).collect();
    let out = unpacked(numbered(&spread));
    assert_eq!(out.packets, packets);
    assert_eq!(out.lost, []);
}

/// The packets that had a part in it are lost, each is counted, and the others are not touched.
#[test]
fn a_lost_payload_takes_its_own_packets_with_it() {
    let packets: Vec<Vec<u8>> = (0..30).map(|number| packet(number, 300 + 7 * number)).collect();
    let data_len = 1_000;
    let sent = payloads(&packets, data_len);
    for lost in 0..sent.len() {
        let mut at = 0;
        let touched = |packet: &&Vec<u8>| {
            let (from, to) = (at, at + packet.len());
            at = to;
            from < (lost + 1) * data_len && to > lost * data_len
        };
        let gone: Vec<_> = packets.iter().filter(touched).cloned().collect();
        let kept: Vec<_> =
            packets.iter().filter(|packet| !gone.contains(packet)).cloned().collect();
        let mut arrivals = numbered(&sent);
        arrivals.remove(lost);
        let out = unpacked(arrivals);
        assert_eq!(out.packets, kept, "without {lost}");
        assert!(out.lost.iter().all(|reason| *reason == DropReason::AggfragIncomplete));
        assert!(out.lost.len() <= 2 && (lost + 1 == sent.len() || !out.lost.is_empty()));
    }
}

/// To a peer that has not agreed the type of their blocks is none, and nothing is read behind it.
#[test]
fn super_packets_are_for_those_who_agreed() {
    let blocks = [packet(0, 60), super_block(1, 300), packet(2, 60)];
    for (data_len, lost) in
        [(424, vec![DropReason::BadAggfrag]), (100, vec![DropReason::BadAggfrag])]
    {
        let mut unpacker = Unpacker::new(Aggfrag::default());
        let mut out = Out::default();
        for (sequence, payload) in numbered(&payloads(&blocks, data_len)) {
            let take = &mut |found: Found<'_>| out.take(found);
            unpacker.handle_payload(sequence, 0, payload, start(), take).unwrap();
        }
        assert_eq!(out.packets, [&blocks[0], &blocks[2]].map(Clone::clone), "{data_len}");
        assert_eq!(out.lost, lost, "{data_len}");
    }
}

/// Then it is lost, counted once, and what is behind it is not.
#[test]
fn super_packets_need_a_buffer() {
    let blocks = [packet(0, 60), super_block(1, 3_000), super_block(2, 300), packet(3, 60)];
    for data_len in [3_500, 100] {
        for room in [None, Some(100), Some(1_000)] {
            let mut unpacker = Unpacker::new(Aggfrag { super_packets: true });
            let mut out = Out::default();
            for (sequence, payload) in numbered(&payloads(&blocks, data_len)) {
                let take = &mut |found: Found<'_>| {
                    if let Found::Super { buffer, .. } = found {
                        *buffer = room.map(|room| PacketBuf::with_capacity(0, room));
                    } else {
                        out.take(found);
                    }
                };
                unpacker.handle_payload(sequence, 0, payload, start(), take).unwrap();
            }
            let kept = if room == Some(1_000) { vec![0, 2, 3] } else { vec![0, 3] };
            let kept: Vec<_> = kept.into_iter().map(|at: usize| blocks[at].clone()).collect();
            assert_eq!(out.packets, kept, "{data_len} {room:?}");
            assert_eq!(out.lost.len() + kept.len(), blocks.len(), "{data_len} {room:?}");
            assert!(unpacker.super_packet.is_none());
        }
    }
}

#[test]
fn what_comes_late_within_the_window_has_its_turn() {
    let packets = mixed();
    let sent = payloads(&packets, 600);
    for distance in 1..REORDER_WINDOW {
        let mut arrivals = numbered(&sent);
        let moved = arrivals.remove(2);
        arrivals.insert(2 + distance, moved);
        let out = unpacked(arrivals);
        assert_eq!((out.packets, out.lost), (packets.clone(), vec![]), "{distance} late");
    }
    let mut arrivals = numbered(&sent);
    let moved = arrivals.remove(2);
    arrivals.insert(2 + REORDER_WINDOW, moved);
    let out = unpacked(arrivals);
    assert!(out.lost.contains(&DropReason::AggfragLate));
}

/// RFC 9347 §2.5: a payload of another class overtakes as many as it likes; what lies in one alone is
/// delivered when it comes.
#[test]
fn whole_packets_of_late_payloads_come_out() {
    let packets: Vec<Vec<u8>> = (0..60).map(|number| packet(number, 100)).collect();
    // Payloads 0, 2, … end between packets.
    for (data_len, lost_whole) in [(300, 0), (250, 1)] {
        let sent = payloads(&packets, data_len);
        let mut arrivals = numbered(&sent);
        let moved: Vec<_> = arrivals.drain(..4).collect();
        arrivals.extend(moved);
        let out = unpacked(arrivals);
        let late = 4 * data_len / 100;
        assert_eq!(out.packets.len(), 60 - 2 * lost_whole, "{data_len}");
        let last = out.packets.len() - (late - 2 * lost_whole);
        assert_eq!(out.packets[..last], packets[late..], "{data_len}");
        assert!(out.packets[last..].iter().all(|packet| packets[..late].contains(packet)));
        // Each of the two packets was in two of them.
        assert_eq!(out.lost, vec![DropReason::AggfragLate; 4 * lost_whole]);
    }
}

#[test]
fn late_payloads_that_cannot_be_read_are_counted() {
    let whole = payloads(&[packet(0, 60)], 60);
    for (bad, reason) in [
        (&[0, 0, 0][..], DropReason::BadAggfrag),
        (&[2, 0, 0, 0], DropReason::BadAggfrag),
        (&[0, 0, 0, 0, 0x75], DropReason::BadAggfrag),
        (&[0, 0, 0xff, 0xff, 0x45], DropReason::AggfragLate),
        (&[0, 0, 0, 0, 0x45], DropReason::AggfragLate),
    ] {
        let out = unpacked([(20, &whole[0]), (21, &whole[0]), (2, &bad.to_vec())]);
        assert_eq!(out.lost, [reason], "{bad:?}");
    }
    assert_eq!(unpacked([(20, &whole[0]), (2, &vec![0; 9])]).lost, []);
}

/// A payload of a link with long packets has its turn at once, and what it overtook is late.
#[test]
fn long_payloads_are_not_kept() {
    let packets = [packet(0, 60), packet(1, 60), packet(2, 3_000)];
    let sent: Vec<_> = packets
        .iter()
        .map(|packet| payloads(std::slice::from_ref(packet), packet.len()).remove(0))
        .collect();
    let mut unpacker = Unpacker::new(Aggfrag { super_packets: true });
    let (mut out, now) = (Out::default(), start());
    for (sequence, payload) in [(2, &sent[1]), (3, &sent[2]), (1, &sent[0])] {
        unpacker.handle_payload(sequence, 0, payload, now, &mut |found| out.take(found)).unwrap();
        assert!(unpacker.early.iter().all(|early| early.octets.len() <= EARLY_OCTETS_MAX));
    }
    assert_eq!(out.packets, [&packets[1], &packets[2], &packets[0]].map(Clone::clone));
    assert_eq!((out.lost, unpacker.poll_timeout()), (vec![], None));
    // The same number again, which only happens without a replay window.
    unpacker.handle_payload(5, 0, &sent[1], now, &mut |_| {}).unwrap();
    let again = unpacker.handle_payload(5, 0, &sent[2], now, &mut |_| {});
    assert_eq!(again, Err(DropReason::Replayed));
    assert_eq!(unpacker.poll_timeout(), None);
}

/// An SA that stands still has no room that it does not use.
#[test]
fn room_is_given_back() {
    let packets = [packet(0, 9_000), packet(1, 60)];
    let sent = payloads(&packets, 1_000);
    let mut unpacker = Unpacker::new(Aggfrag { super_packets: true });
    let mut now = start();
    for (sequence, payload) in numbered(&sent).into_iter().skip(1) {
        unpacker.handle_payload(sequence, 0, payload, now, &mut |_| {}).unwrap();
    }
    let room = |unpacker: &Unpacker| -> usize {
        let early: usize = unpacker.early.iter().map(|early| early.octets.capacity()).sum();
        early + unpacker.octets.capacity()
    };
    assert!(room(&unpacker) >= 1_000);
    now += REORDER_WAIT;
    unpacker.handle_payload(40, 0, &sent[1], now, &mut |_| {}).unwrap();
    unpacker.handle_timeout(now + REORDER_WAIT, &mut |_| {});
    assert_eq!(room(&unpacker), 0);

    for (sequence, payload) in (41..).zip(&sent) {
        unpacker.handle_payload(sequence, 0, payload, now, &mut |_| {}).unwrap();
    }
    assert!(room(&unpacker) <= SPARE_OCTETS_MAX);
}

/// RFC 3168 §5.3: no part's mark is lost.
#[test]
fn congestion_of_any_part_marks_the_packet() {
    let sent = payloads(&[packet(0, 300), packet(1, 60)], 100);
    let (unmarked, marked) = (0xb8 | 0b10, 0xb8 | 0b11);
    for at in 0..4 {
        let mut unpacker = Unpacker::new(Aggfrag { super_packets: true });
        let mut classes = Vec::new();
        for (sequence, payload) in numbered(&sent) {
            let tos = if sequence == at + 1 { marked } else { unmarked };
            let mut take = |found: Found<'_>| {
                if let Found::Packet { tos, .. } = found {
                    classes.push(tos);
                }
            };
            unpacker.handle_payload(sequence, tos, payload, start(), &mut take).unwrap();
        }
        let expected = if at < 3 { [marked, unmarked] } else { [unmarked, marked] };
        assert_eq!(classes, expected, "{at}");
    }
}

#[test]
fn what_waits_is_looked_at_in_time() {
    let sent = payloads(&[packet(0, 60)], 60);
    let mut unpacker = Unpacker::new(Aggfrag { super_packets: true });
    let (mut out, now) = (Out::default(), start());
    unpacker.handle_payload(2, 0, &sent[0], now, &mut |found| out.take(found)).unwrap();
    assert_eq!(unpacker.poll_timeout(), Some(now + REORDER_WAIT));
    unpacker.handle_timeout(now, &mut |found| out.take(found));
    assert!(out.packets.is_empty());
    let twice = unpacker.handle_payload(2, 0, &sent[0], now, &mut |found| out.take(found));
    assert_eq!(twice, Err(DropReason::Replayed));

    unpacker.handle_timeout(now + REORDER_WAIT, &mut |found| out.take(found));
    assert_eq!(out.packets.len(), 1);
    assert_eq!(unpacker.poll_timeout(), None);
    unpacker.handle_payload(1, 0, &sent[0], now, &mut |found| out.take(found)).unwrap();
    assert_eq!(out.packets.len(), 2);
}

/// Whoever begins a super-packet and does not end it has a buffer for a while, whatever else it sends.
#[test]
fn super_packets_that_do_not_end_are_given_up() {
    let sent = payloads(&[super_block(1, 9_000), packet(2, 60)], 1_000);
    let mut unpacker = Unpacker::new(Aggfrag { super_packets: true });
    let (mut out, began) = (Out::default(), start());
    let later = |tenths: u32| began + GATHER_WAIT * tenths / 10;
    unpacker.handle_payload(1, 0, &sent[0], began, &mut |found| out.take(found)).unwrap();
    // Padding keeps it open.
    let pad = vec![0; 1_004];
    for (sequence, payload) in [(2, &pad), (3, &sent[1]), (4, &pad)] {
        let now = later(u32::try_from(sequence).unwrap());
        unpacker.handle_payload(sequence, 0, payload, now, &mut |found| out.take(found)).unwrap();
        unpacker.handle_timeout(now, &mut |found| out.take(found));
        assert_eq!((unpacker.poll_timeout(), out.spare), (Some(later(10)), 0));
    }
    unpacker.handle_timeout(later(10), &mut |found| out.take(found));
    assert_eq!((unpacker.poll_timeout(), out.spare), (None, 1));
    assert_eq!(out.lost, [DropReason::AggfragIncomplete]);
    // Its other parts are passed over.
    for (sequence, payload) in (5..).zip(&sent[2..]) {
        let take = &mut |found: Found<'_>| out.take(found);
        unpacker.handle_payload(sequence, 0, payload, later(11), take).unwrap();
    }
    assert_eq!((out.packets, out.lost.len()), (vec![packet(2, 60)], 1));
}

/// A loss gives the buffer back at once, as does another that begins.
#[test]
fn lost_super_packets_give_their_buffers_back() {
    let sent = payloads(&[super_block(1, 9_000)], 1_000);
    for second in [3, 2] {
        let mut unpacker = Unpacker::new(Aggfrag { super_packets: true });
        let mut out = Out::default();
        for (sequence, payload) in [(1, &sent[0]), (second, &sent[0])] {
            let take = &mut |found: Found<'_>| out.take(found);
            unpacker.handle_payload(sequence, 0, payload, start(), take).unwrap();
        }
        if let Some(deadline) = unpacker.deadline {
            unpacker.handle_timeout(deadline, &mut |found| out.take(found));
        }
        assert_eq!((out.spare, out.lost.len(), out.packets.len()), (1, 1, 0));
        assert!(unpacker.super_packet.is_some());
    }
}

/// An SA that was taken over counts on where the other had come to.
#[test]
fn numbers_may_begin_anywhere() {
    let packets = [packet(0, 60), packet(1, 60)];
    let sent = payloads(&packets, 60);
    let out = unpacked([(1 << 40, &sent[0]), ((1 << 40) + 1, &sent[1])]);
    assert_eq!(out.packets, packets);
}

/// RFC 9347 §2.5: payloads that contradict each other lose the packet that they share.
#[test]
fn offsets_that_disagree_lose_one_packet() {
    let packets = [packet(0, 150), packet(1, 60), packet(2, 90)];
    for wrong in [0, 1, 49, 51, 100, 101, u16::MAX] {
        let mut sent = payloads(&packets, 100);
        sent[1][2..4].copy_from_slice(&wrong.to_be_bytes());
        let out = unpacked(numbered(&sent));
        assert!(!out.packets.contains(&packets[0]), "{wrong}");
        assert!(out.lost.contains(&DropReason::BadAggfrag), "{wrong}");
    }
}

#[test]
fn what_cannot_be_read_is_counted() {
    let whole = [packet(0, 60)];
    for bad in [&[][..], &[0, 0, 0], &[2, 0, 0, 0], &[1, 0, 0, 0], &[0, 0, 0, 0, 0x75]] {
        let out = unpacked([(1, &bad.to_vec()), (2, &payloads(&whole, 60)[0])]);
        assert_eq!(out.lost, [DropReason::BadAggfrag], "{bad:?}");
        assert_eq!(out.packets, whole, "{bad:?}");
    }
    // RFC 9347 §2.2.4: an empty payload is none.
    assert_eq!(unpacked([(1, &vec![0, 0, 0, 0])]).lost, []);
}

#[test]
fn a_packet_that_is_alone_need_not_be_copied() {
    let whole = packet(0, 60);
    let mut unpacker = Unpacker::new(Aggfrag { super_packets: true });
    let alone = payloads(std::slice::from_ref(&whole), 60);
    let padded = payloads(std::slice::from_ref(&whole), 100);
    assert_eq!(unpacker.take_single(1, &alone[0]), Some((4, 60)));
    assert_eq!(unpacker.take_single(2, &padded[0]), Some((4, 60)));
    assert_eq!(unpacker.take_single(2, &alone[0]), None);
    assert_eq!(unpacker.take_single(4, &alone[0]), None);
    let two = payloads(&[packet(0, 60), packet(1, 60)], 120);
    assert_eq!(unpacker.take_single(3, &two[0]), None);
    assert_eq!(unpacker.take_single(3, &alone[0]), Some((4, 60)));
}

proptest! {
    /// Whatever is lost, and however the rest is shuffled: what comes out was sent, in this order as
    /// far as it was in time, and once.
    #[test]
    fn packets_are_never_made_up_and_never_overtake(
        lens in proptest::collection::vec(40_usize..2_000, 1..40),
        data_len in 10_usize..1_500,
        faults in proptest::collection::vec((any::<bool>(), 0_usize..12), 1..20),
    ) {
        // Each packet says by its octets which one it is.
        let packets: Vec<_> = lens.iter().enumerate().map(|(n, len)| packet(n, *len)).collect();
        let sent = payloads(&packets, data_len);
        let mut arrivals = numbered(&sent);
        for (at, (is_lost, distance)) in faults.iter().enumerate() {
            let at = at * 7 % arrivals.len();
            let moved = arrivals.remove(at);
            if !is_lost || arrivals.is_empty() {
                arrivals.insert((at + distance).min(arrivals.len()), moved);
            }
        }
        let (mut unpacker, now) = (Unpacker::new(Aggfrag { super_packets: true }), start());
        let (mut in_time, mut late) = (Out::default(), Out::default());
        for (sequence, payload) in arrivals {
            let out = if sequence < unpacker.next { &mut late } else { &mut in_time };
            unpacker.handle_payload(sequence, 0, payload, now, &mut |found| out.take(found)).unwrap();
        }
        while let Some(deadline) = unpacker.poll_timeout() {
            unpacker.handle_timeout(deadline, &mut |found| in_time.take(found));
        }
        let mut left = packets.iter();
        for got in &in_time.packets {
            prop_assert!(left.any(|packet| packet == got));
        }
        let mut all = [in_time.packets, late.packets].concat();
        prop_assert!(all.iter().all(|got| packets.contains(got)));
        let count = all.len();
        all.sort_unstable();
        all.dedup();
        prop_assert_eq!(all.len(), count);
    }

    /// Hostile payloads cost bounded room, and no harm.
    #[test]
    fn any_payloads_are_taken(
        arrivals in proptest::collection::vec(
            (0_u64..40, proptest::collection::vec(any::<u8>(), 0..80), any::<bool>()), 0..60),
    ) {
        let mut unpacker = Unpacker::new(Aggfrag { super_packets: true });
        let now = start();
        for (sequence, mut payload, is_plausible) in arrivals {
            if is_plausible && payload.len() > 4 {
                payload[..3].fill(0);
                payload[4] = if payload.len() % 2 == 0 { 0x45 } else { 0xa0 };
            }
            let mut octets_out = 0;
            let _ = unpacker.handle_payload(sequence, 0, &payload, now, &mut |found| {
                octets_out += match found {
                    Found::Packet { octets, .. } => octets.len(),
                    Found::SuperPacket { block, .. } => block.len(),
                    Found::Super { buffer, .. } => {
                        *buffer = Some(PacketBuf::with_capacity(0, 9_000));
                        0
                    }
                    Found::Spare(_) | Found::Lost(_) => 0,
                };
            });
            prop_assert!(octets_out <= 80 * (REORDER_WINDOW + 1) + PACKET_OCTETS_MAX);
            prop_assert!(unpacker.octets.len() <= PACKET_OCTETS_MAX);
            let is_open = unpacker.partial == Partial::Open;
            prop_assert!(unpacker.super_packet.is_none() || is_open);
            let waits = unpacker.first_early().is_some() || unpacker.super_packet.is_some();
            prop_assert_eq!(unpacker.poll_timeout().is_some(), waits);
        }
    }
}
