//! ESP packets of next header AGGFRAG (RFC 9347), taken apart for tshark, which knows them not.
//!
//! Written after the RFC and not with the engine's own reader: it is to judge what the engine sends.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Context as _;

use crate::linux::packets::{checksum, from_hex};

/// Next header of AGGFRAG payloads (RFC 9347 §6.1).
const NEXT_HEADER: u8 = 144;

/// Octets of a payload's header without congestion control (RFC 9347 §6.1.1).
const HEADER: usize = 4;

/// Type of the data block of a super-packet, and the octets before the packet in it.
const SUPER_PACKET: u8 = 10;
const SUPER_HEADER: usize = 4;

/// The packets inside a capture's AGGFRAG payloads.
#[derive(Debug, Default)]
pub(super) struct Payloads {
    /// By SPI and sequence number, for packets may be captured out of order.
    found: BTreeMap<(String, u64), Vec<u8>>,
}

impl Payloads {
    /// Takes the decrypted part of one ESP packet, in hexadecimal digits: payload, padding, pad
    /// length, next header. Returns `None` if its next header is another.
    pub(super) fn take(&mut self, spi: &str, sequence: u64, decrypted: &str) -> Option<()> {
        let mut octets = from_hex(decrypted).ok()?;
        if octets.pop()? != NEXT_HEADER {
            return None;
        }
        let padding = usize::from(octets.pop()?);
        octets.truncate(octets.len().checked_sub(padding)?);
        self.found.insert((spi.to_owned(), sequence), octets);
        Some(())
    }

    /// The inner packets, in order for each SA. A packet that began before the capture or ends after
    /// it is left out. Fails on a payload that breaks the format.
    pub(super) fn packets(&self) -> anyhow::Result<Vec<Vec<u8>>> {
        let mut packets = Vec::new();
        let mut stream = Stream::default();
        let mut before: Option<(&str, u64)> = None;
        for ((spi, sequence), payload) in &self.found {
            if before != Some((spi, sequence.wrapping_sub(1))) {
                stream = Stream::default();
            }
            stream
                .read(payload, &mut packets)
                .with_context(|| format!("SPI {spi}, sequence number {sequence}"))?;
            before = Some((spi, *sequence));
        }
        Ok(packets)
    }
}

/// The data blocks of one SA.
#[derive(Debug, Default)]
struct Stream {
    /// The beginning of a packet whose rest is in the next payload. `None` if it was not seen.
    begun: Option<Vec<u8>>,
}

impl Stream {
    /// Reads one payload (RFC 9347 §6.1.1): sub-type 0, reserved, block offset, data blocks.
    fn read(&mut self, payload: &[u8], packets: &mut Vec<Vec<u8>>) -> anyhow::Result<()> {
        let (header, blocks) = payload.split_at_checked(HEADER).context("no header")?;
        anyhow::ensure!(header.starts_with(&[0, 0]), "sub-type or reserved bits {header:02x?}");
        let offset = usize::from(number(header, 2)?);
        let (rest, mut blocks) = blocks.split_at(offset.min(blocks.len()));
        let seen = self.begun.as_mut().map(|begun| {
            begun.extend_from_slice(rest);
            begun.len()
        });
        if offset > rest.len() {
            return Ok(());
        }
        if let Some(packet) = self.begun.take().filter(|_| seen != Some(0)) {
            let wanted = length(&packet)?;
            anyhow::ensure!(
                wanted == Some(packet.len()),
                "block offset {offset} is not at a packet's end"
            );
            packets.push(inside(packet));
        }
        while blocks.first().is_some_and(|first| first >> 4 != 0) {
            match length(blocks)? {
                Some(whole) if whole <= blocks.len() => {
                    let (packet, others) = blocks.split_at(whole);
                    packets.push(inside(packet.to_vec()));
                    blocks = others;
                }
                _ => {
                    self.begun = Some(blocks.to_vec());
                    return Ok(());
                }
            }
        }
        anyhow::ensure!(blocks.iter().all(|octet| *octet == 0), "padding is not zero");
        self.begun = Some(Vec::new());
        Ok(())
    }
}

/// The IP packet of a data block: behind a super-packet's header, if it has one.
fn inside(mut block: Vec<u8>) -> Vec<u8> {
    if block.first().is_some_and(|first| first >> 4 == SUPER_PACKET) {
        block.drain(..SUPER_HEADER.min(block.len()));
        complete(&mut block);
    }
    block
}

/// Makes the checksum of a super-packet's TCP whole: what is there is the sum of the pseudo-header, as
/// kernels leave it for the last to know the octets.
fn complete(packet: &mut [u8]) {
    let tcp_at = if packet.first().is_some_and(|first| first >> 4 == 4) { 20 } else { 40 };
    let Some(tcp) = packet.get_mut(tcp_at..) else { return };
    let sum = checksum(tcp).to_be_bytes();
    if let Some(field) = tcp.get_mut(16..18) {
        field.copy_from_slice(&sum);
    }
}

/// The length that an IPv4 or IPv6 header states, with a super-packet's header if one is before it
/// (docs/configuration.md). `None` if the header's part with it is missing.
fn length(packet: &[u8]) -> anyhow::Result<Option<usize>> {
    let (at, fixed) = match packet.first().map(|first| first >> 4) {
        Some(4) => (2, 0),
        Some(6) => (4, 40),
        Some(SUPER_PACKET) => match packet.get(SUPER_HEADER..).map(|ip| (ip.first(), ip)) {
            Some((Some(first), ip)) if first >> 4 != SUPER_PACKET => {
                return Ok(length(ip)?.map(|octets| octets + SUPER_HEADER));
            }
            Some((Some(_), _)) => anyhow::bail!("a super-packet in another"),
            _ => return Ok(None),
        },
        kind => anyhow::bail!("data block of type {kind:?}"),
    };
    Ok(number(packet, at).ok().map(|octets| usize::from(octets) + fixed))
}

fn number(octets: &[u8], at: usize) -> anyhow::Result<u16> {
    let pair = octets.get(at..).and_then(|rest| rest.first_chunk()).context("too short")?;
    Ok(u16::from_be_bytes(*pair))
}

/// Writes IP packets as a capture without link headers (LINKTYPE_RAW).
pub(super) fn write_capture(path: &Path, packets: &[Vec<u8>]) -> anyhow::Result<()> {
    const MAGIC: u32 = 0xa1b2_c3d4;
    const LINKTYPE_RAW: u32 = 101;
    const SNAPSHOT: u32 = 65_535;
    let mut octets = Vec::new();
    for word in [MAGIC, 0x0004_0002, 0, 0, SNAPSHOT, LINKTYPE_RAW] {
        octets.extend_from_slice(&word.to_le_bytes());
    }
    for packet in packets {
        let length = u32::try_from(packet.len())?;
        for word in [0, 0, length, length] {
            octets.extend_from_slice(&word.to_le_bytes());
        }
        octets.extend_from_slice(packet);
    }
    std::fs::write(path, octets).context("cannot write the inner packets")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::linux::packets::hex;

    /// An IPv4 packet of `length` octets, as far as this reader looks.
    fn packet(length: u16) -> Vec<u8> {
        let mut octets = vec![0x45, 0];
        octets.extend_from_slice(&length.to_be_bytes());
        octets.resize(usize::from(length), 7);
        octets
    }

    fn payload(offset: u16, parts: &[&[u8]]) -> String {
        let mut octets = vec![0, 0];
        octets.extend_from_slice(&offset.to_be_bytes());
        octets.extend(parts.concat());
        octets.extend_from_slice(&[1, 2, 2, NEXT_HEADER]);
        hex(&octets)
    }

    #[test]
    fn packets_are_put_together_over_payloads_in_the_order_of_their_numbers() {
        let (small, large) = (packet(20), packet(100));
        let mut payloads = Payloads::default();
        payloads.take("0x1", 3, &payload(30, &[&large[70..], &small, &[0; 9]])).unwrap();
        payloads.take("0x1", 1, &payload(0, &[&small, &large[..3]])).unwrap();
        payloads.take("0x1", 2, &payload(97, &[&large[3..70]])).unwrap();
        assert_eq!(payloads.packets().unwrap(), [small.clone(), large, small]);
    }

    #[test]
    fn super_packets_are_the_packets_in_them() {
        let (small, large) = (packet(20), packet(100));
        let block = [&[0xa0, 1, 0, 40], &large[..]].concat();
        // 40 words of 0x0707, with the carry: what was left of the checksum is one of them.
        let whole = [&large[..36], &[0xe6, 0xe6], &large[38..]].concat();
        for cut in [2, 4, 5, 7, 50] {
            let mut payloads = Payloads::default();
            payloads.take("0x1", 1, &payload(0, &[&block, &small, &block[..cut]])).unwrap();
            let offset = u16::try_from(block.len() - cut).unwrap();
            payloads.take("0x1", 2, &payload(offset, &[&block[cut..], &small])).unwrap();
            let expected = [&whole, &small, &whole, &small].map(Clone::clone);
            assert_eq!(payloads.packets().unwrap(), expected, "{cut}");
        }
    }

    #[test]
    fn a_packet_is_left_out_if_a_payload_of_it_is_missing() {
        let large = packet(100);
        let mut payloads = Payloads::default();
        payloads.take("0x1", 1, &payload(0, &[&large[..30]])).unwrap();
        payloads.take("0x1", 3, &payload(30, &[&large[70..], &packet(20)])).unwrap();
        assert_eq!(payloads.packets().unwrap(), [packet(20)]);
    }

    #[test]
    fn a_wrong_block_offset_and_an_unknown_block_fail() {
        let large = packet(100);
        let mut payloads = Payloads::default();
        payloads.take("0x1", 1, &payload(0, &[&large[..30]])).unwrap();
        payloads.take("0x1", 2, &payload(69, &[&large[30..]])).unwrap();
        assert!(payloads.packets().is_err());
        let mut payloads = Payloads::default();
        payloads.take("0x1", 1, &payload(0, &[&[0x50, 0, 0, 0]])).unwrap();
        assert!(payloads.packets().is_err());
        assert_eq!(payloads.take("0x1", 2, "450000140104"), None, "another next header");
    }
}
