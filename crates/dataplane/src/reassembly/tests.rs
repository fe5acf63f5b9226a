use proptest::prelude::*;

use adit_wire::iana::IpProtocol;
use adit_wire::ip::{Ipv4Header, Ipv6Header, write_fragment};

use super::*;

#[expect(clippy::disallowed_methods, reason = "a test needs some instant to start from")]
fn start() -> Instant {
    Instant::now()
}

const HOST: Origin = Origin::Host(IpAddr::V4(std::net::Ipv4Addr::new(10, 1, 0, 5)));

/// A UDP datagram whose octets all differ from their neighbours.
fn datagram(ipv6: bool, id: u16, len: usize) -> Vec<u8> {
    let udp = [0x9c, 0x40, 0x01, 0xbb, 0, 0, 0, 0];
    let payload = udp.into_iter().chain((0..).map(|number: u32| number.to_le_bytes()[0]));
    let payload: Vec<u8> = payload.take(len).collect();
    let payload_len = u16::try_from(len).unwrap();
    let header = if ipv6 {
        let header = Ipv6Header {
            traffic_class: 0,
            flow_label: 0,
            payload_len,
            next: IpProtocol::UDP,
            hop_limit: 64,
            src: "2001:db8:1::5".parse().unwrap(),
            dst: "2001:db8:2::7".parse().unwrap(),
        };
        header.to_octets().to_vec()
    } else {
        let header = Ipv4Header {
            traffic_class: 0,
            total_len: payload_len + 20,
            identification: id,
            dont_fragment: false,
            ttl: 64,
            protocol: IpProtocol::UDP,
            src: [10, 1, 0, 5].into(),
            dst: [10, 2, 0, 7].into(),
        };
        header.to_octets().to_vec()
    };
    [header, payload].concat()
}

/// The datagram in fragments of `len` octets.
fn fragments(whole: &[u8], id: u32, len: u16) -> Vec<Vec<u8>> {
    let packet = IpPacket::read(whole).unwrap();
    let (mut all, mut offset) = (Vec::new(), 0);
    loop {
        let mut out = vec![0; usize::from(len) + 100];
        let (written, more) =
            write_fragment(&packet, id, offset, len.into(), &mut out).expect("it can be cut");
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

/// Offers fragments one after the other; what comes out, and what became of each.
fn offered(
    reassembly: &mut Reassembly,
    fragments: &[Vec<u8>],
) -> (Vec<Vec<u8>>, Vec<Result<bool, DropReason>>) {
    let (mut out, mut results) = (Vec::new(), Vec::new());
    for octets in fragments {
        let mut packet = buffer(octets);
        let joined = reassembly.join(HOST, &mut packet, start());
        if let Ok(Some(_)) = joined {
            out.push(packet.data().to_vec());
        }
        results.push(joined.map(|id| id.is_some()));
    }
    (out, results)
}

proptest! {
    /// CHECKLIST S09: whatever the order, however often repeated: out comes what was cut.
    #[test]
    fn fragments_in_any_order_make_the_packet(
        ipv6: bool,
        len in 16_usize..65_400,
        piece in 64_u16..1_000,
        order in prop::collection::vec(any::<prop::sample::Index>(), 0..40),
    ) {
        let whole = datagram(ipv6, 77, len);
        let piece = (piece * 8).max(u16::try_from(len / 100 / 8 * 8 + 8).unwrap());
        let mut cut = fragments(&whole, 77, piece);
        prop_assume!(cut.len() > 1);
        for index in order {
            let at = index.index(cut.len());
            cut.swap(0, at);
        }
        let (out, results) = offered(&mut Reassembly::default(), &cut);
        prop_assert_eq!(out.len(), 1);
        prop_assert!(out[0] == whole, "{results:?}");
        prop_assert!(results.iter().all(Result::is_ok));
        prop_assert_eq!(results.last(), Some(&Ok(true)));
    }

    /// Hostile fragments never make a packet that is not in them, nor grow the memory.
    #[test]
    fn whatever_comes_is_bounded(
        pieces in prop::collection::vec((0_u16..40, 0_usize..64, any::<bool>(), 0_u16..4), 0..200),
    ) {
        let mut reassembly = Reassembly::default();
        for (unit, len, more, id) in pieces {
            let mut octets = datagram(false, id, len);
            let place = unit | u16::from(more) << 13;
            octets[6..8].copy_from_slice(&place.to_be_bytes());
            let mut packet = buffer(&octets);
            if let Ok(Some(_)) = reassembly.join(HOST, &mut packet, start()) {
                let whole = IpPacket::read(packet.data()).unwrap();
                prop_assert!(whole.fragment().is_none() && whole.has_good_checksum());
            }
            prop_assert!(reassembly.packets.len() <= 4 && reassembly.spare.len() <= 4);
        }
    }
}

/// RFC 8200 §4.5: an exact duplicate changes nothing, before the packet is whole or after.
#[test]
fn duplicates_are_harmless() {
    let whole = datagram(false, 1, 3_000);
    let cut = fragments(&whole, 1, 1_000);
    let twice: Vec<Vec<u8>> = cut.iter().flat_map(|one| [one.clone(), one.clone()]).collect();
    let mut reassembly = Reassembly::default();
    let (out, results) = offered(&mut reassembly, &twice);
    assert_eq!(out, [whole]);
    assert!(results.iter().all(Result::is_ok), "{results:?}");
}

/// CHECKLIST PM-32, RFC 5722 §4: an overlap ends the packet, with what came before and what comes after.
#[test]
fn an_overlap_ends_the_packet() {
    for ipv6 in [false, true] {
        let whole = datagram(ipv6, 1, 3_000);
        let cut = fragments(&whole, 1, 1_000);
        let across = &fragments(&whole, 1, 1_008)[1];
        let attack = [cut[0].clone(), cut[1].clone(), across.clone(), cut[2].clone()];
        let (out, results) = offered(&mut Reassembly::default(), &attack);
        assert!(out.is_empty());
        let refused = Err(DropReason::Fragment);
        assert_eq!(results, [Ok(false), Ok(false), refused, refused]);
    }
}

/// CHECKLIST S09, PM-32; RFC 1858 §3, RFC 3128: the ports, and the flags of TCP, are in the first
/// fragment or nowhere.
#[test]
fn tiny_fragments_are_refused() {
    let mut reassembly = Reassembly::default();
    let mut tcp = datagram(false, 1, 3_000);
    tcp[9] = IpProtocol::TCP.0;
    let tiny = fragments(&tcp, 1, 8);
    assert_eq!(offered(&mut reassembly, &tiny[..1]).1, [Err(DropReason::Fragment)]);
    let mut second = Reassembly::default();
    assert_eq!(offered(&mut second, &tiny[1..2]).1, [Err(DropReason::Fragment)]);
    assert_eq!(offered(&mut second, &fragments(&tcp, 1, 24)[..1]).1, [Err(DropReason::Fragment)]);
    let mut third = Reassembly::default();
    assert_eq!(offered(&mut third, &fragments(&tcp, 1, 24)[..1]).1, [Ok(false)]);
}

#[test]
fn impossible_places_are_refused() {
    let whole = datagram(false, 1, 3_000);
    let cut = fragments(&whole, 1, 1_000);
    let placed = |octets: &[u8], place: u16| {
        let mut octets = octets.to_vec();
        octets[6..8].copy_from_slice(&place.to_be_bytes());
        octets
    };
    let more = 1 << 13;
    // It would end beyond 65,535 octets.
    let far = placed(&cut[1], 0x1fff);
    // Routers cut at 8 octets.
    let odd = placed(&fragments(&whole, 1, 1_000)[2][..], more);
    let mut odd_len = odd.clone();
    odd_len.truncate(20 + 5);
    odd_len[2..4].copy_from_slice(&25_u16.to_be_bytes());
    // Nothing at all.
    let mut empty = placed(&cut[1][..20], more | 4);
    empty[2..4].copy_from_slice(&20_u16.to_be_bytes());
    for octets in [far, odd_len, empty] {
        let results = offered(&mut Reassembly::default(), &[octets]).1;
        assert_eq!(results, [Err(DropReason::Fragment)]);
    }
    // Two ends, and an end before what is there already.
    let early_end = placed(&cut[1], 125);
    for attack in [[cut[2].clone(), early_end.clone()], [cut[2].clone(), placed(&cut[2], 500)]] {
        let results = offered(&mut Reassembly::default(), &attack).1;
        assert_eq!(results[1], Err(DropReason::Fragment));
    }
}

#[test]
fn what_stays_incomplete_is_given_up_in_time() {
    let cut = fragments(&datagram(false, 1, 3_000), 1, 1_000);
    let mut reassembly = Reassembly::default();
    let now = start();
    let join = |reassembly: &mut Reassembly, octets: &[u8], now| {
        reassembly.join(HOST, &mut buffer(octets), now)
    };
    assert_eq!(join(&mut reassembly, &cut[0], now), Ok(None));
    assert_eq!(join(&mut reassembly, &cut[1], now), Ok(None));
    assert_eq!(join(&mut reassembly, &cut[2], now + FRAGMENTS_WAIT), Ok(None));
    assert_eq!(reassembly.take_given_up(), 2);
    assert_eq!((reassembly.take_given_up(), reassembly.packets.len()), (0, 1));
}

/// One origin cannot take the room of the others, and all together have so much and no more.
#[test]
fn room_is_shared_among_origins() {
    let mut reassembly = Reassembly::default();
    let now = start();
    let mut first = |origin, id: u16| {
        let cut = fragments(&datagram(false, id, 3_000), 0, 1_000);
        reassembly.join(origin, &mut buffer(&cut[0]), now).unwrap();
        reassembly.packets.iter().filter(|packet| packet.key.origin == origin).count()
    };
    assert_eq!(first(HOST, 0), 1);
    for id in 0..100 {
        let count = first(Origin::Sa(ChildSaId(256)), id);
        assert_eq!(count, (usize::from(id) + 1).min(PACKETS_PER_ORIGIN));
    }
    assert_eq!(first(HOST, 0), 1);
    for spi in 257..400 {
        first(Origin::Sa(ChildSaId(spi)), 0);
    }
    assert_eq!(reassembly.packets.len(), PACKETS_MAX);
    assert_eq!(reassembly.spare.len(), 0);
}

/// The same fragments through different SAs are different packets.
#[test]
fn origins_never_meet() {
    let cut = fragments(&datagram(false, 1, 1_800), 1, 1_000);
    let mut reassembly = Reassembly::default();
    let now = start();
    let (one, other) = (Origin::Sa(ChildSaId(256)), Origin::Sa(ChildSaId(257)));
    assert_eq!(reassembly.join(one, &mut buffer(&cut[0]), now), Ok(None));
    assert_eq!(reassembly.join(other, &mut buffer(&cut[1]), now), Ok(None));
}

/// RFC 3168 §5.3.
#[test]
fn congestion_on_one_fragment_is_congestion_of_the_packet() {
    let marked = |ecns: [Ecn; 3]| {
        let mut cut = fragments(&datagram(true, 1, 3_000), 1, 1_000);
        for (octets, ecn) in cut.iter_mut().zip(ecns) {
            assert!(set_ecn(octets, ecn));
        }
        let (out, results) = offered(&mut Reassembly::default(), &cut);
        match out.first() {
            Some(whole) => Ok(IpPacket::read(whole).unwrap().ecn()),
            None => Err(results.into_iter().find_map(Result::err).unwrap()),
        }
    };
    assert_eq!(marked([Ecn::Ect0, Ecn::Ce, Ecn::Ect0]), Ok(Ecn::Ce));
    assert_eq!(marked([Ecn::Ect0; 3]), Ok(Ecn::Ect0));
    assert_eq!(marked([Ecn::NotEct; 3]), Ok(Ecn::NotEct));
    assert_eq!(marked([Ecn::NotEct, Ecn::Ce, Ecn::NotEct]), Err(DropReason::Fragment));
}

/// A whole packet costs no memory but the first time, and is not copied.
#[test]
fn buffers_change_places() {
    let cut = fragments(&datagram(false, 1, 1_800), 1, 1_000);
    let mut reassembly = Reassembly::default();
    for _ in 0..3 {
        assert_eq!(offered(&mut reassembly, &cut).0.len(), 1);
        assert_eq!((reassembly.packets.len(), reassembly.spare.len()), (0, 1));
    }
}
