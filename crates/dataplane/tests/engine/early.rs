//! Packets that come before their SA.

use std::time::Duration;

use adit_crypto::Authentication;
use adit_dataplane::{DropReason, Inbound, InboundCommand, OpenVerdict};
use adit_db::Mode;
use adit_wire::PacketBuf;

use crate::fixtures::{CHILD, Options, SPI, Tunnel, buffer, copy, ts, udp_packet};
use crate::transport::received;

/// Most packets that wait, and for how long.
const KEPT: usize = 32;
const TIME: Duration = Duration::from_secs(1);

/// A tunnel of whose SA the right side does not know yet.
fn half(options: &Options) -> Tunnel {
    Tunnel { right: Inbound::new(), ..options.tunnel() }
}

fn refused(tunnel: &mut Tunnel, packet: &mut PacketBuf) {
    assert_eq!(tunnel.open(packet), OpenVerdict::Drop(DropReason::UnknownSpi));
}

/// What comes out when the SA has come.
fn late(tunnel: &mut Tunnel, options: &Options) -> Vec<Vec<u8>> {
    tunnel.right.handle_command(options.right_half(tunnel.now));
    if tunnel.right.poll_timeout().is_none_or(|at| at > tunnel.now) {
        return Vec::new();
    }
    tunnel.right.handle_timeout(tunnel.now);
    assert_eq!(tunnel.right.poll_timeout(), None);
    tunnel.right.unpacked().iter().map(|packet| packet.data().to_vec()).collect()
}

/// RFC 7296 §2.8: who answers may send at once, and its packets may overtake its answer. Of every kind that
/// comes in its own way: over UDP, above IP with the header before it, whole with AH.
#[test]
fn what_overtakes_the_answer_is_delivered() {
    let transport = Options {
        mode: Mode::Transport,
        udp: false,
        ends: ("10.1.0.5:0".parse().unwrap(), "10.2.0.7:0".parse().unwrap()),
        left_ts: ts(&["10.1.0.5/32"]),
        right_ts: ts(&["10.2.0.7/32"]),
        ..Options::default()
    };
    let ah = Some(Authentication::ALL[0]);
    for options in [
        Options::default(),
        Options { udp: false, ..Options::default() },
        transport,
        Options { ah, udp: false, ..Options::default() },
    ] {
        let mut tunnel = half(&options);
        let inner: Vec<_> = (100..103).map(|len| udp_packet(false, 0, len)).collect();
        for inner in &inner {
            let mut packet = tunnel.sealed(inner);
            if options.mode == Mode::Transport {
                packet = received(&options, &packet);
                assert_eq!(packet.meta.header_len, 20);
            }
            packet.meta.whole = options.ah.is_some();
            let before = packet.data().to_vec();
            refused(&mut tunnel, &mut packet);
            assert_eq!(packet.data(), before);
        }
        assert_eq!(tunnel.right.poll_timeout(), None);
        let came = late(&mut tunnel, &options);
        assert_eq!(came.len(), inner.len(), "{options:?}");
        for (came, inner) in came.iter().zip(&inner) {
            assert_eq!(came[20..], inner[20..]);
        }
        // Once, and no copy of what was delivered.
        tunnel.right.handle_timeout(tunnel.now);
        assert!(tunnel.right.unpacked().is_empty());
        assert_eq!(tunnel.right.counters_of(CHILD).unwrap().packets, 3);
    }
}

/// They go through everything that others go through: a repeated one is seen, and a forged one.
#[test]
fn what_waited_is_believed_no_more_than_other_packets() {
    let options = Options::default();
    let mut tunnel = half(&options);
    let inner = udp_packet(false, 0, 100);
    let mut packet = tunnel.sealed(&inner);
    let mut forged = tunnel.sealed(&inner);
    forged.data_mut()[30] ^= 1;
    refused(&mut tunnel, &mut copy(&packet));
    refused(&mut tunnel, &mut copy(&packet));
    refused(&mut tunnel, &mut forged);
    assert_eq!(late(&mut tunnel, &options), [inner]);
    let drops = tunnel.right.report().drops;
    assert_eq!((drops.get(DropReason::Replayed), drops.get(DropReason::BadIcv)), (1, 1));
    assert_eq!(tunnel.open(&mut packet), OpenVerdict::Drop(DropReason::Replayed));
}

/// Strangers get nothing by it: few packets wait, short ones, not for long, and only for their SA.
#[test]
fn few_packets_wait_and_not_for_long() {
    let options = Options::default();
    let inner = udp_packet(false, 0, 100);

    let mut tunnel = half(&options);
    let mut packet = tunnel.sealed(&inner);
    refused(&mut tunnel, &mut packet);
    tunnel.now += TIME + Duration::from_millis(1);
    assert!(late(&mut tunnel, &options).is_empty());

    let mut tunnel = half(&options);
    for _ in 0..KEPT + 8 {
        let mut packet = tunnel.sealed(&inner);
        refused(&mut tunnel, &mut packet);
    }
    assert_eq!(late(&mut tunnel, &options).len(), KEPT);

    let mut tunnel = half(&options);
    let mut long = tunnel.sealed_joined(&udp_packet(false, 0, 2_100));
    refused(&mut tunnel, &mut long);
    let mut other = tunnel.sealed(&inner);
    other.data_mut()[..4].copy_from_slice(&(SPI.0 + 9).to_be_bytes());
    refused(&mut tunnel, &mut other);
    assert!(late(&mut tunnel, &options).is_empty());

    // In a flood most are not even copied.
    let mut tunnel = half(&options);
    for _ in 0..2_000 {
        let mut packet = buffer(&[&(SPI.0 + 9).to_be_bytes(), &[0; 60][..]].concat());
        refused(&mut tunnel, &mut packet);
    }
    let mut packet = tunnel.sealed(&inner);
    refused(&mut tunnel, &mut packet);
    assert!(late(&mut tunnel, &options).is_empty());
}

/// An SA that goes takes none of them along: what waits is for one that has not been there.
#[test]
fn packets_wait_for_the_next_sa_of_their_spi() {
    let options = Options::default();
    let mut tunnel = options.tunnel();
    tunnel.right.handle_command(InboundCommand::Remove { child: CHILD });
    let inner = udp_packet(false, 0, 100);
    let mut packet = tunnel.sealed(&inner);
    refused(&mut tunnel, &mut packet);
    let other = Options { child: adit_db::ChildSaId(2), ..options.clone() };
    assert!(late(&mut tunnel, &other).is_empty());
    assert_eq!(late(&mut tunnel, &options), [inner]);
}
