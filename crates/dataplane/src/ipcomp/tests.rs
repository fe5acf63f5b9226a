use adit_wire::ipcomp::Cpi;

use super::*;

const OURS: IpComp = IpComp { cpi_in: Cpi(0x1111), cpi_out: Cpi(0x2222) };

/// Twenty times "adit ", as zlib compresses it, without its frame.
const ZLIB: [u8; 10] = [0x4b, 0x4c, 0xc9, 0x2c, 0x51, 0x48, 0xa4, 0x2d, 0x01, 0x00];

fn compressible(len: usize) -> Vec<u8> {
    b"adit ".iter().copied().cycle().take(len).collect()
}

/// Octets of which DEFLATE makes nothing: those of a generator of Lehmer's.
fn random(len: usize) -> Vec<u8> {
    let next = |state: &mut u64| {
        *state = *state * 48_271 % 0x7fff_ffff;
        Some(state.to_le_bytes()[1])
    };
    std::iter::successors(Some(7_u64), |state| Some(*state * 48_271 % 0x7fff_ffff))
        .scan(7, |state, _| next(state))
        .take(len)
        .collect()
}

fn compress_once(payload: &[u8]) -> Option<Vec<u8>> {
    let mut deflater = Box::<Deflater>::default();
    let mut sa = Compression::new(OURS);
    sa.compress(payload, IpProtocol::UDP, &mut deflater).map(<[u8]>::to_vec)
}

fn decompress_once(octets: &[u8], room: usize) -> Result<(IpProtocol, Vec<u8>), DropReason> {
    let mut packet = PacketBuf::with_capacity(0, room.max(octets.len()));
    assert!(packet.fill(octets));
    let mut sa = Decompression::new(OURS);
    let next = sa.decompress(&mut packet, &mut Box::default(), &mut Reassembly::default())?;
    Ok((next, packet.data().to_vec()))
}

/// An IPComp packet to us.
fn to_us(deflate: &[u8]) -> Vec<u8> {
    [&[17, 0, 0x11, 0x11], deflate].concat()
}

/// RFC 2394 §2: what others compress is inflated here.
#[test]
fn what_zlib_compressed_is_inflated() {
    let inflated = decompress_once(&to_us(&ZLIB), 2_000);
    assert_eq!(inflated, Ok((IpProtocol::UDP, compressible(100))));
}

#[test]
fn a_compressed_packet_has_its_header() {
    let compressed = compress_once(&compressible(1_000)).unwrap();
    assert_eq!(compressed[..4], [17, 0, 0x22, 0x22]);
    assert!(compressed.len() < 40, "{}", compressed.len());
    let inflated = decompress_once(&to_us(&compressed[4..]), 2_000);
    assert_eq!(inflated, Ok((IpProtocol::UDP, compressible(1_000))));
}

/// CHECKLIST S16; RFC 3173 §2.2.
#[test]
fn what_would_not_shrink_stays_as_it_is() {
    assert_eq!(compress_once(&random(1_000)), None);
    assert_eq!(compress_once(&compressible(PAYLOAD_MIN - 1)), None);
    assert!(compress_once(&compressible(PAYLOAD_MIN)).is_some());
    assert!(compress_once(&compressible(PAYLOAD_MAX)).is_some());
    assert_eq!(compress_once(&compressible(PAYLOAD_MAX + 1)), None);
    assert_eq!(compress_once(&[]), None);
}

/// The octets saved are at least one, whatever the payload: here they are lost one by one.
#[test]
fn a_compressed_packet_is_smaller() {
    for noise in 0..200 {
        let payload = [random(noise), compressible(200 - noise)].concat();
        if let Some(less) = compress_once(&payload) {
            assert!(less.len() < payload.len(), "{noise}");
            assert_eq!(decompress_once(&to_us(&less[4..]), 200).unwrap().1, payload);
        }
    }
}

/// Nothing of one packet is in the next, else a lost packet would take others with it.
#[test]
fn packets_are_compressed_by_themselves() {
    let mut deflater = Box::<Deflater>::default();
    let mut sa = Compression::new(OURS);
    let mut one =
        |payload: &[u8]| sa.compress(payload, IpProtocol::UDP, &mut deflater).map(<[u8]>::to_vec);
    let payload = [random(100), compressible(300)].concat();
    let first = one(&payload).unwrap();
    one(&compressible(2_000)).unwrap();
    assert_eq!(one(&payload).unwrap(), first);
}

/// RFC 3173 §2.2: after packets that did not shrink the next ones are not tried, and more of them
/// each time; one that shrinks ends that.
#[test]
fn incompressible_trains_are_skipped() {
    let mut deflater = Box::<Deflater>::default();
    let mut sa = Compression::new(OURS);
    let hopeless = random(500);
    let good = compressible(500);
    let mut packets_until_tried = |sa: &mut Compression| {
        let mut try_one =
            |octets: &[u8]| sa.compress(octets, IpProtocol::UDP, &mut deflater).is_some();
        for _ in 0..MISSES_MAX {
            assert!(!try_one(&hopeless));
        }
        (0..10_000).position(|_| try_one(&good)).unwrap()
    };
    assert_eq!(packets_until_tried(&mut sa), usize::from(PAUSE_MIN));
    assert_eq!(packets_until_tried(&mut sa), usize::from(PAUSE_MIN));
    sa.pause = 32;
    assert_eq!(packets_until_tried(&mut sa), 32);

    let mut sa = Compression::new(OURS);
    let mut tried = 0;
    for _ in 0..4_096 {
        let was_paused = sa.paused > 0;
        assert!(sa.compress(&hopeless, IpProtocol::UDP, &mut deflater).is_none());
        tried += u32::from(!was_paused);
    }
    assert!((60..140).contains(&tried), "{tried}");
    assert_eq!(sa.pause, PAUSE_MAX);
}

/// CHECKLIST S16: a kilobyte that says it is a megabyte.
#[test]
fn an_inflate_bomb_is_dropped() {
    let mut bomb = Vec::new();
    let mut state =
        CompressorOxide::with_format_and_level(DataFormat::Raw, CompressionLevel::BestCompression);
    for len in [INFLATED_MAX, INFLATED_MAX + 1, 1 << 20] {
        bomb.resize(4_096, 0);
        state.reset();
        let zeros = vec![0; len];
        let (status, _, bomb_len) = compress(&mut state, &zeros, &mut bomb, TDEFLFlush::Finish);
        assert_eq!(status, TDEFLStatus::Done);
        let outcome = decompress_once(&to_us(&bomb[..bomb_len]), 70_000).map(|(_, out)| out.len());
        let longest_fits = (len == INFLATED_MAX).then_some(len);
        assert_eq!(outcome.ok(), longest_fits);
    }
}

/// What its buffer does not take gets a longer one, while there are any to be had.
#[test]
fn longer_buffers_are_lent_in_bounds() {
    let mut buffers = Reassembly::default();
    let mut sa = Decompression::new(OURS);
    let mut decompress = |buffers: &mut Reassembly| {
        let mut packet = PacketBuf::with_capacity(0, 99);
        assert!(packet.fill(&to_us(&ZLIB)));
        sa.decompress(&mut packet, &mut Box::default(), buffers).map(|_| packet)
    };
    let mut lent: Vec<_> = std::iter::from_fn(|| decompress(&mut buffers).ok()).collect();
    assert!(lent.len() >= 64 && lent.len() <= 256);
    assert_eq!(decompress(&mut buffers).unwrap_err(), DropReason::InflatesTooFar);
    buffers.take_back(&mut lent[0]);
    assert_eq!(lent[0].capacity(), 99);
    assert!(decompress(&mut buffers).is_ok());
}

/// CHECKLIST S16.
#[test]
fn another_cpi_is_unknown() {
    let mut packet = to_us(&ZLIB);
    packet[3] ^= 1;
    assert_eq!(decompress_once(&packet, 2_000), Err(DropReason::UnknownCpi));
    // Ours is that of packets to us, not that of those we send.
    packet[2..4].copy_from_slice(&[0x22, 0x22]);
    assert_eq!(decompress_once(&packet, 2_000), Err(DropReason::UnknownCpi));
}

#[test]
fn what_is_cut_short_or_no_deflate_is_dropped() {
    let packet = to_us(&ZLIB);
    for len in 0..packet.len() {
        let outcome = decompress_once(&packet[..len], 2_000);
        assert_eq!(outcome, Err(DropReason::BadCompression), "{len}");
    }
    // A block of the type that DEFLATE does not have.
    assert_eq!(decompress_once(&to_us(&[0x07]), 2_000), Err(DropReason::BadCompression));
    // It refers to octets before the first.
    let before = to_us(&[0x03, 0x02, 0, 0, 0]);
    assert_eq!(decompress_once(&before, 2_000), Err(DropReason::BadCompression));
}

/// RFC 4303 §2.7 allows padding behind what a tunnel carries.
#[test]
fn padding_behind_the_end_is_ignored() {
    let padded = [to_us(&ZLIB), vec![0; 50]].concat();
    assert_eq!(decompress_once(&padded, 2_000).unwrap().1, compressible(100));
}
