//! Sealing and opening are inverses, and nothing else opens.

use adit_crypto::Cipher;
use adit_dataplane::{DropReason, INNER_MTU, OpenVerdict, Verdict};
use adit_db::WindowSize;
use adit_wire::PacketBuf;
use proptest::prelude::*;

use crate::fixtures::{Options, SPI, buffer, copy, left, right, udp_packet};

fn options() -> impl Strategy<Value = Options> {
    let cipher = prop::sample::select(Cipher::ALL.to_vec());
    let window = prop::sample::select(vec![WindowSize::OFF, WindowSize::MIN, WindowSize::DEFAULT]);
    (cipher, any::<bool>(), any::<bool>(), window).prop_map(|(cipher, esn, udp, window)| Options {
        cipher,
        esn,
        udp,
        window,
        ..Options::default()
    })
}

fn packets() -> impl Strategy<Value = Vec<u8>> {
    let len =
        prop_oneof![6 => 48_usize..200, 2 => 200_usize..2000, 1 => Just(9000), 1 => Just(65_535)];
    (any::<bool>(), any::<u8>(), len)
        .prop_map(|(ipv6, class, len)| udp_packet(ipv6, class & 0xfc, len))
}

/// CHECKLIST E14: an ICV of HMAC-SHA-256 that is cut to 96 bits, as old Linux did, is no ICV; whole
/// it opens.
#[test]
fn a_short_cut_of_sha_256_is_refused() {
    let cipher = Cipher::ALL.into_iter().find(|cipher| cipher.to_string() == "aes128-sha256");
    let options = Options { cipher: cipher.unwrap(), ..Options::default() };
    let mut tunnel = options.tunnel();
    let mut whole = tunnel.sealed(&udp_packet(false, 0, 100));
    let mut cut = buffer(&whole.data()[..whole.len() - 4]);
    cut.meta = whole.meta;
    assert!(matches!(tunnel.open(&mut cut), OpenVerdict::Drop(_)));
    assert_eq!(tunnel.open(&mut whole), OpenVerdict::Deliver);
}

proptest! {
    /// CHECKLIST S01: every cipher, ESN or not, IPv4 and IPv6, every size, UDP or not.
    #[test]
    fn what_is_sealed_opens_unchanged(options in options(), inner in packets()) {
        let mut tunnel = options.tunnel();
        let mut packet = buffer(&inner);
        packet.meta.joined = true;

        prop_assert_eq!(tunnel.seal(&mut packet), Verdict::Send);
        prop_assert_eq!(packet.meta.remote, right());
        prop_assert_eq!(packet.meta.local, left());
        prop_assert_eq!(packet.meta.udp, options.udp);
        prop_assert_eq!(&packet.data()[..4], &SPI.to_octets()[..]);
        let sealed_len = packet.len();
        let icv_and_front = 8 + options.cipher.iv_len() + options.cipher.icv_len();
        prop_assert!((sealed_len - icv_and_front).is_multiple_of(options.cipher.block_len()));

        prop_assert_eq!(tunnel.open(&mut packet), OpenVerdict::Deliver);
        prop_assert_eq!(packet.data(), &inner[..]);
    }

    /// Every octet is protected: a changed one is refused, moves no window and is counted, and
    /// the true packet still opens.
    #[test]
    fn tampering_is_refused_and_changes_nothing(
        options in options(),
        inner in packets(),
        at: prop::sample::Index,
        flip in 1_u8..,
    ) {
        let mut tunnel = options.tunnel();
        let mut genuine = tunnel.sealed_joined(&inner);
        let mut forged = copy(&genuine);
        let at = at.index(forged.len());
        forged.data_mut()[at] ^= flip;

        let verdict = tunnel.open(&mut forged);
        let OpenVerdict::Drop(reason) = verdict else { panic!("octet {at} is not protected") };
        match at {
            0..4 => prop_assert_eq!(reason, DropReason::UnknownSpi),
            // Another number may be impossible; else only the ICV tells.
            4..8 => prop_assert!(matches!(reason, DropReason::BadSequence | DropReason::BadIcv)),
            _ => prop_assert_eq!(reason, DropReason::BadIcv),
        }
        let report = tunnel.right.report();
        prop_assert_eq!(report.drops.get(reason), 1);
        prop_assert_eq!(report.drops.total(), 1);
        prop_assert_eq!((report.sas[0].sequence, report.sas[0].packets), (0, 0));

        prop_assert_eq!(tunnel.open(&mut genuine), OpenVerdict::Deliver);
        let report = tunnel.right.report();
        prop_assert_eq!((report.sas[0].sequence, report.sas[0].packets), (1, 1));
        prop_assert_eq!(report.sas[0].octets, inner.len() as u64);
    }

    /// CHECKLIST S14: a packet that is cut anywhere is refused.
    #[test]
    fn truncated_packets_are_refused(options in options(), cut: prop::sample::Index) {
        let mut tunnel = options.tunnel();
        let mut packet = tunnel.sealed(&udp_packet(false, 0, 60));
        packet.truncate(cut.index(packet.len()));
        prop_assert!(matches!(
            tunnel.open(&mut packet),
            OpenVerdict::Drop(DropReason::Truncated | DropReason::BadIcv)
        ));
    }

    /// CHECKLIST S14: garbage, with or without a known SPI in front, never opens.
    #[test]
    fn garbage_never_opens(
        options in options(),
        known: bool,
        mut octets in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        if known && octets.len() >= 4 {
            octets[..4].copy_from_slice(&SPI.to_octets());
        }
        let mut tunnel = options.tunnel();
        let verdict = tunnel.open(&mut buffer(&octets));
        prop_assert!(matches!(verdict, OpenVerdict::Drop(_)));
    }

    /// What is no IP packet is not sealed, and whatever is sealed opens.
    #[test]
    fn anything_may_come_from_the_device(octets in prop::collection::vec(any::<u8>(), 0..200)) {
        let mut tunnel = Options::default().tunnel();
        let mut packet = buffer(&octets);
        if tunnel.seal(&mut packet) == Verdict::Drop(DropReason::NotIp) {
            prop_assert_eq!(packet.data(), &octets[..]);
        }
    }
}

/// A packet of the MTU we announce is never cut in two on Ethernet, and one octet more would be.
#[test]
fn the_inner_mtu_fits_ethernet_with_any_cipher() {
    let outer_len = |cipher, inner_len: usize| {
        let mut tunnel = Options { cipher, ..Options::default() }.tunnel();
        40 + 8 + tunnel.sealed(&udp_packet(true, 0, inner_len)).len()
    };
    let longest =
        |inner_len| Cipher::ALL.map(|cipher| outer_len(cipher, inner_len)).into_iter().max();
    assert_eq!(longest(INNER_MTU.into()), Some(1_496));
    assert_eq!(longest(usize::from(INNER_MTU) + 1), Some(1_512));
}

/// CHECKLIST S14: SPIs that no SA has.
#[test]
fn reserved_and_unknown_spis_are_dropped() {
    let mut tunnel = Options::default().tunnel();
    let mut open = |spi: u32| {
        let mut octets = spi.to_be_bytes().to_vec();
        octets.extend([0; 60]);
        tunnel.open(&mut buffer(&octets))
    };
    assert_eq!(open(0), OpenVerdict::Drop(DropReason::UnknownSpi));
    assert_eq!(open(255), OpenVerdict::Drop(DropReason::UnknownSpi));
    assert_eq!(open(SPI.0 + 9), OpenVerdict::Drop(DropReason::UnknownSpi));
}

#[test]
fn no_room_leaves_the_packet_and_the_number() {
    let mut tunnel = Options::default().tunnel();
    let inner = udp_packet(false, 0, 100);
    for (headroom, tailroom) in [(15, 100), (16, 19)] {
        let mut packet = PacketBuf::with_capacity(headroom, inner.len() + tailroom);
        assert!(packet.fill(&inner));
        assert_eq!(tunnel.seal(&mut packet), Verdict::Drop(DropReason::NoRoom));
        assert_eq!(packet.data(), inner);
    }
    let report = tunnel.left.report();
    assert_eq!((report.sas[0].sequence, report.sas[0].drops.get(DropReason::NoRoom)), (0, 2));

    let mut packet = PacketBuf::with_capacity(16, inner.len() + 20);
    assert!(packet.fill(&inner));
    assert_eq!(tunnel.seal(&mut packet), Verdict::Send);
}

#[test]
fn batches_keep_their_order() {
    let mut tunnel = Options::default().tunnel();
    let mut packets: Vec<PacketBuf> =
        [udp_packet(false, 0, 60), b"junk".to_vec(), udp_packet(true, 0, 80)]
            .iter()
            .map(|octets| buffer(octets))
            .collect();
    let mut verdicts = Vec::new();
    tunnel.left.seal_batch(&mut packets, &mut verdicts, tunnel.now);
    assert_eq!(verdicts, [Verdict::Send, Verdict::Drop(DropReason::NotIp), Verdict::Send]);
    assert_eq!(tunnel.left.report().sas[0].octets, 140);
}
