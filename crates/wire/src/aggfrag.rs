//! Inner packets that share ESP packets: AGGFRAG_PAYLOAD and its notify (RFC 9347 §6.1).

use crate::iana::IpProtocol;
use crate::{Reader, WireError, Writer};

/// What stands before the data blocks of an AGGFRAG_PAYLOAD, RFC 9347 §6.1.1.
///
/// ```text
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// |  Sub-Type (0) |   Reserved    |          BlockOffset          |
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// ```
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct AggfragHeader {
    /// Octets of data that continue the data block of an earlier payload, before the first new one
    /// begins; more than there are if that begins in a later payload.
    pub block_offset: u16,
}

impl AggfragHeader {
    /// Length in octets as it is written.
    pub const LEN: usize = 4;

    /// Next header of ESP packets that carry it.
    pub const NEXT: IpProtocol = IpProtocol::AGGFRAG;

    /// Octets of congestion information behind the header of sub-type 1 (RFC 9347 §6.1.2). They
    /// are for who has asked for them.
    const CONGESTION_LEN: usize = 20;

    /// Reads the header, with congestion information or without; the data stay in `r`.
    ///
    /// # Errors
    ///
    /// - [`WireError::Truncated`].
    /// - [`WireError::BadValue`]: a sub-type that nobody has defined.
    pub fn read(r: &mut Reader<'_>) -> Result<Self, WireError> {
        let [sub_type, _reserved, b0, b1] = r.array().map_err(|error| error.within(NAME))?;
        match sub_type {
            0 => {}
            1 => {
                r.bytes(Self::CONGESTION_LEN).map_err(|error| error.within(NAME))?;
            }
            other => return Err(WireError::BadValue("AGGFRAG_PAYLOAD.sub_type", other.into())),
        }
        Ok(Self { block_offset: u16::from_be_bytes([b0, b1]) })
    }

    /// The header's octets, of sub-type 0.
    #[must_use]
    pub const fn to_octets(self) -> [u8; Self::LEN] {
        let [b0, b1] = self.block_offset.to_be_bytes();
        [0, 0, b0, b1]
    }

    /// Appends the header; the exact inverse of [`Self::read`] for sub-type 0.
    pub fn write(&self, w: &mut Writer<'_>) {
        w.bytes(&self.to_octets());
    }
}

/// One data block of a payload, as far as the payload has it (RFC 9347 §6.1.3).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum DataBlock<'a> {
    /// A whole IP packet.
    Packet(&'a [u8]),
    /// A whole super-packet, with the header before it ([`SuperHeader`]).
    Super(&'a [u8]),
    /// The first octets of either; the rest is in the payloads that follow.
    Start(&'a [u8]),
    /// Padding up to the end of the payload.
    Pad,
}

/// The data blocks that begin in a payload, in order. After an error or a block that reaches the end
/// of the payload there are no more.
#[derive(Clone, Debug)]
pub struct DataBlocks<'a>(&'a [u8]);

impl<'a> DataBlocks<'a> {
    /// Reads data from where a block begins.
    #[must_use]
    pub const fn new(data: &'a [u8]) -> Self {
        Self(data)
    }
}

impl<'a> Iterator for DataBlocks<'a> {
    type Item = Result<DataBlock<'a>, WireError>;

    fn next(&mut self) -> Option<Self::Item> {
        let data = core::mem::take(&mut self.0);
        let first = data.first()?;
        if first >> 4 == PAD {
            return Some(Ok(DataBlock::Pad));
        }
        Some(match block_len(data) {
            Ok(Some(len)) => Ok(match data.split_at_checked(len) {
                Some((block, rest)) => {
                    self.0 = rest;
                    match SuperHeader::begins(block) {
                        true => DataBlock::Super(block),
                        false => DataBlock::Packet(block),
                    }
                }
                None => DataBlock::Start(data),
            }),
            Ok(None) => Ok(DataBlock::Start(data)),
            Err(error) => Err(error),
        })
    }
}

/// What stands before the IP packet in a data block of type 10, for peers that have agreed on it
/// with the notify ADIT_SUPER_PACKETS: a super-packet, several TCP segments (RFC 9293) in one piece.
///
/// ```text
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// |Typ 10 |  Ver 0|   Kind (1)    |        Segment length         |
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// ~  IP packet; its TCP checksum is the sum of the pseudo header  ~
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// ```
///
/// The block is as long as this header and what the IP packet says of itself.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct SuperHeader {
    /// Octets of payload in each segment but the last.
    pub segment_len: u16,
}

impl SuperHeader {
    /// Length in octets.
    pub const LEN: usize = 4;

    /// Type and version.
    const FIRST: u8 = 0xa0;

    /// Kind of what is to be cut into TCP segments; the only one.
    const TCP: u8 = 1;

    /// Whether a data block that begins so is of this type.
    #[must_use]
    pub fn begins(start: &[u8]) -> bool {
        matches!(start, [first, ..] if first >> 4 == Self::FIRST >> 4)
    }

    /// Reads the header; the IP packet stays in `r`.
    ///
    /// # Errors
    ///
    /// - [`WireError::Truncated`].
    /// - [`WireError::BadValue`]: another type, version or kind.
    pub fn read(r: &mut Reader<'_>) -> Result<Self, WireError> {
        match r.array().map_err(|error| error.within("super-packet"))? {
            [Self::FIRST, Self::TCP, s0, s1] => {
                Ok(Self { segment_len: u16::from_be_bytes([s0, s1]) })
            }
            [Self::FIRST, kind, ..] => Err(WireError::BadValue("super-packet.kind", kind.into())),
            [other, ..] => Err(WireError::BadValue("super-packet.version", other.into())),
        }
    }

    /// The header's octets.
    #[must_use]
    pub const fn to_octets(self) -> [u8; Self::LEN] {
        let [s0, s1] = self.segment_len.to_be_bytes();
        [Self::FIRST, Self::TCP, s0, s1]
    }

    /// Appends the header; the exact inverse of [`Self::read`].
    pub fn write(&self, w: &mut Writer<'_>) {
        w.bytes(&self.to_octets());
    }
}

/// Octets of the data block that begins so, by the header of the IP packet in it; `None` if these are
/// too few to tell.
///
/// # Errors
///
/// [`WireError::BadValue`]: of no known type, or a length that the IP header alone is longer than.
pub fn block_len(start: &[u8]) -> Result<Option<usize>, WireError> {
    if !SuperHeader::begins(start) {
        return packet_len(start);
    }
    // One inside the other is none.
    let Some(packet) = start.get(SuperHeader::LEN..) else { return Ok(None) };
    Ok(packet_len(packet)?.map(|len| len.saturating_add(SuperHeader::LEN)))
}

fn packet_len(start: &[u8]) -> Result<Option<usize>, WireError> {
    const IPV4_LEN_MIN: u16 = 20;
    const IPV6_HEADER_LEN: usize = 40;
    let Some(first) = start.first() else { return Ok(None) };
    match (first >> 4, start) {
        (4, [_, _, l0, l1, ..]) => match u16::from_be_bytes([*l0, *l1]) {
            len @ IPV4_LEN_MIN.. => Ok(Some(len.into())),
            len => Err(WireError::BadValue("data block IPv4.total_length", len.into())),
        },
        (6, [_, _, _, _, l0, l1, ..]) => {
            let payload_len = usize::from(u16::from_be_bytes([*l0, *l1]));
            Ok(Some(payload_len.saturating_add(IPV6_HEADER_LEN)))
        }
        (4 | 6, _) => Ok(None),
        (other, _) => Err(WireError::BadValue("data block type", other.into())),
    }
}

/// Data of a USE_AGGFRAG notify, RFC 9347 §6.1.4: what its sender requires.
///
/// ```text
/// +-+-+-+-+-+-+-+-+
/// |0|0|0|0|0|0|C|D|
/// +-+-+-+-+-+-+-+-+
/// ```
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct UseAggfrag {
    /// Congestion information is to be returned to the sender of the notify, regularly.
    pub congestion_control: bool,
    /// The sender of the notify takes no fragments: each packet to it is in one payload.
    pub dont_fragment: bool,
    /// Flags that no document has defined yet, or not one that we know.
    pub unknown: u8,
}

impl UseAggfrag {
    const CONGESTION_CONTROL: u8 = 0b10;
    const DONT_FRAGMENT: u8 = 0b01;

    /// Reads the data; `r` is empty then.
    ///
    /// # Errors
    ///
    /// [`WireError::Truncated`] or [`WireError::Trailing`]: not one octet.
    pub fn read(r: &mut Reader<'_>) -> Result<Self, WireError> {
        let flags = r.u8().map_err(|error| error.within("USE_AGGFRAG"))?;
        r.finish("USE_AGGFRAG")?;
        Ok(Self {
            congestion_control: flags & Self::CONGESTION_CONTROL != 0,
            dont_fragment: flags & Self::DONT_FRAGMENT != 0,
            unknown: flags & !(Self::CONGESTION_CONTROL | Self::DONT_FRAGMENT),
        })
    }

    /// The data of the notify; flags that nobody has defined are sent as zero.
    #[must_use]
    pub const fn to_octets(self) -> [u8; 1] {
        let congestion_control = if self.congestion_control { Self::CONGESTION_CONTROL } else { 0 };
        let dont_fragment = if self.dont_fragment { Self::DONT_FRAGMENT } else { 0 };
        [congestion_control | dont_fragment]
    }
}

const NAME: &str = "AGGFRAG_PAYLOAD";

/// Type of a pad data block (RFC 9347 §6.1.3.3).
const PAD: u8 = 0;

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use proptest::prelude::*;

    use super::*;

    /// An IPv4 packet of so many octets, as far as a data block looks at it.
    fn ipv4(len: usize) -> Vec<u8> {
        let [l0, l1] = u16::try_from(len).unwrap().to_be_bytes();
        let filling = (4..=250).cycle().take(len.saturating_sub(4));
        [0x45, 0, l0, l1].into_iter().chain(filling).collect()
    }

    /// The same for IPv6.
    fn ipv6(len: usize) -> Vec<u8> {
        let [l0, l1] = u16::try_from(len - 40).unwrap().to_be_bytes();
        let filling = (6..=240).cycle().take(len - 6);
        [0x60, 0, 0, 0, l0, l1].into_iter().chain(filling).collect()
    }

    fn blocks(data: &[u8]) -> Vec<Result<DataBlock<'_>, WireError>> {
        DataBlocks::new(data).collect()
    }

    #[test]
    fn header_round_trips() {
        let header = AggfragHeader { block_offset: 0x1234 };
        let mut octets = Vec::new();
        header.write(&mut Writer(&mut octets));
        assert_eq!(octets, [0, 0, 0x12, 0x34]);
        octets.push(9);
        let mut r = Reader(&octets);
        assert_eq!(AggfragHeader::read(&mut r), Ok(header));
        assert_eq!(r.0, [9]);
    }

    //= https://www.rfc-editor.org/rfc/rfc9347#section-6.1.1
    //= type=test
    //# An octet set to 0 on generation and ignored on receipt.
    #[test]
    fn reserved_octet_is_ignored() {
        let read = AggfragHeader::read(&mut Reader(&[0, 0xff, 0, 7]));
        assert_eq!(read, Ok(AggfragHeader { block_offset: 7 }));
    }

    /// RFC 9347 §6.1.2: 20 octets more, and the same data behind them.
    #[test]
    fn congestion_information_is_skipped() {
        let mut octets = [0xaa; 25];
        octets[..4].copy_from_slice(&[1, 0xff, 0, 7]);
        let mut r = Reader(&octets);
        assert_eq!(AggfragHeader::read(&mut r), Ok(AggfragHeader { block_offset: 7 }));
        assert_eq!(r.0, [0xaa]);
        let short = AggfragHeader::read(&mut Reader(&octets[..23]));
        assert_eq!(short, Err(WireError::Truncated(NAME)));
    }

    #[test]
    fn other_payloads_are_refused() {
        for len in 0..AggfragHeader::LEN {
            let read = AggfragHeader::read(&mut Reader(&[0; 4][..len]));
            assert_eq!(read, Err(WireError::Truncated(NAME)));
        }
        for sub_type in 2..=u8::MAX {
            let read = AggfragHeader::read(&mut Reader(&[sub_type, 0, 0, 0]));
            assert!(matches!(read, Err(WireError::BadValue(..))));
        }
    }

    /// The inner packets of RFC 9347, appendix A: 800, 60 and 240 octets fill 1,100 of them, and
    /// the next begins behind.
    #[test]
    fn packets_follow_each_other_without_a_gap() {
        let (a, b, c, d) = (ipv4(800), ipv6(60), ipv4(240), ipv4(4000));
        let data = [&a[..], &b, &c, &d[..396]].concat();
        let read = blocks(&data);
        let expected = [DataBlock::Packet(&a), DataBlock::Packet(&b), DataBlock::Packet(&c)];
        assert_eq!(read[..3], expected.map(Ok));
        assert_eq!(read[3..], [Ok(DataBlock::Start(&d[..396]))]);
    }

    #[test]
    fn padding_reaches_to_the_end() {
        let a = ipv4(28);
        let data = [&a[..], &[0x0f, 0x45, 0x60, 9]].concat();
        assert_eq!(blocks(&data), [Ok(DataBlock::Packet(&a)), Ok(DataBlock::Pad)]);
        assert_eq!(blocks(&[]), []);
    }

    #[test]
    fn short_starts_wait_for_their_length() {
        for start in [&ipv4(28)[..1], &ipv4(28)[..3], &ipv6(60)[..5]] {
            assert_eq!(block_len(start), Ok(None));
            assert_eq!(blocks(start), [Ok(DataBlock::Start(start))]);
        }
        assert_eq!(block_len(&[]), Ok(None));
        assert_eq!(block_len(&ipv6(60)[..6]), Ok(Some(60)));
        assert_eq!(block_len(&[0x60, 0, 0, 0, 0xff, 0xff]), Ok(Some(65_575)));
    }

    #[test]
    fn super_packets_are_as_long_as_what_is_in_them() {
        let header = SuperHeader { segment_len: 1_338 };
        for packet in [ipv4(300), ipv6(300)] {
            let mut block = Vec::new();
            header.write(&mut Writer(&mut block));
            block.extend(&packet);
            for known in [0, 1, 4, 5, 7] {
                assert_eq!(block_len(&block[..known]), Ok(None), "{known}");
            }
            assert_eq!(block_len(&block), Ok(Some(304)));
            let data = [&block[..], &ipv4(28), &block[..100]].concat();
            let expected = [
                DataBlock::Super(&block),
                DataBlock::Packet(&data[304..332]),
                DataBlock::Start(&block[..100]),
            ];
            assert_eq!(blocks(&data), expected.map(Ok));
            let mut r = Reader(&block);
            assert_eq!((SuperHeader::read(&mut r), r.0), (Ok(header), &packet[..]));
        }
    }

    #[test]
    fn other_super_packets_are_refused() {
        assert_eq!(SuperHeader { segment_len: 0x1234 }.to_octets(), [0xa0, 1, 0x12, 0x34]);
        for octets in [[0xa1, 1, 5, 0], [0xa0, 0, 5, 0], [0xa0, 2, 5, 0], [0x45, 1, 5, 0]] {
            let read = SuperHeader::read(&mut Reader(&octets));
            assert!(matches!(read, Err(WireError::BadValue(..))), "{octets:?}");
            assert!(SuperHeader::read(&mut Reader(&octets[..3])).is_err());
        }
        let twice = [0xa0, 1, 5, 0, 0xa0, 1, 5, 0, 0x45, 0, 0, 20];
        assert!(matches!(blocks(&twice)[..], [Err(WireError::BadValue(..))]));
    }

    #[test]
    fn what_is_no_block_ends_the_reading() {
        for data in [&[0x50, 0, 0, 20][..], &[0xf5], &[0x45, 0, 0, 19, 0x45, 0, 0, 20]] {
            assert!(matches!(blocks(data)[..], [Err(WireError::BadValue(..))]), "{data:?}");
        }
    }

    /// One octet of flags, no more and no fewer.
    #[test]
    fn notify_round_trips() {
        for flags in 0..4 {
            let read = UseAggfrag::read(&mut Reader(&[flags])).unwrap();
            assert_eq!(read.to_octets(), [flags]);
            assert_eq!((read.congestion_control, read.dont_fragment), (flags > 1, flags % 2 == 1));
        }
        assert_eq!(UseAggfrag::read(&mut Reader(&[0x84])).unwrap().unknown, 0x84);
        assert_eq!(UseAggfrag { unknown: 0xff, ..UseAggfrag::default() }.to_octets(), [0]);
        assert!(UseAggfrag::read(&mut Reader(&[])).is_err());
        assert!(UseAggfrag::read(&mut Reader(&[0, 0])).is_err());
    }

    proptest! {
        /// Blocks are taken from the front one after the other, whatever the octets.
        #[test]
        fn blocks_cover_what_was_read(data in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut at = 0;
            for block in DataBlocks::new(&data) {
                match block {
                    Ok(DataBlock::Packet(packet)) => {
                        prop_assert_eq!(packet, &data[at..at + packet.len()]);
                        prop_assert!(packet.len() >= 20);
                        at += packet.len();
                    }
                    Ok(DataBlock::Super(block)) => {
                        prop_assert_eq!(block, &data[at..at + block.len()]);
                        prop_assert!(block.len() >= 24);
                        at += block.len();
                    }
                    Ok(DataBlock::Start(start)) => prop_assert_eq!(start, &data[at..]),
                    Ok(DataBlock::Pad) => prop_assert_eq!(data[at] >> 4, 0),
                    Err(_) => prop_assert!(at < data.len()),
                }
            }
        }

        #[test]
        fn any_packets_come_apart_again(lens in proptest::collection::vec(40_usize..300, 0..8)) {
            let packets: Vec<_> = lens
                .iter()
                .map(|len| if len % 2 == 0 { ipv4(*len) } else { ipv6(*len) })
                .collect();
            let data = packets.concat();
            let expected: Vec<_> = packets.iter().map(|p| Ok(DataBlock::Packet(p))).collect();
            prop_assert_eq!(blocks(&data), expected);
        }
    }
}
