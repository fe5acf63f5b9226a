//! Captures as tcpdump writes them: the classic format, Ethernet frames, this machine's order.

use anyhow::Context as _;

/// Octets before the first packet.
const FILE_HEADER: usize = 24;

/// Octets of destination, source and type.
const ETHERNET_HEADER: usize = 14;

/// The IP packets of a capture.
pub(crate) fn packets(capture: &[u8]) -> anyhow::Result<Vec<&[u8]>> {
    let (header, mut rest) = capture.split_at_checked(FILE_HEADER).context("an empty capture")?;
    let magic = header.first_chunk().copied().map(u32::from_ne_bytes);
    anyhow::ensure!(magic == Some(0xa1b2_c3d4), "not a capture of this machine");
    let mut packets = Vec::new();
    while let Some((record, behind)) = rest.split_first_chunk::<16>() {
        let [.., l0, l1, l2, l3, _, _, _, _] = *record;
        let len = usize::try_from(u32::from_ne_bytes([l0, l1, l2, l3]))?;
        // Its writer may have been ended in the middle of the last one.
        let Some((frame, behind)) = behind.split_at_checked(len) else { break };
        packets.extend(frame.get(ETHERNET_HEADER..));
        rest = behind;
    }
    Ok(packets)
}

/// An ESP packet on the wire.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Esp<'a> {
    /// The outer IP header is of version 6.
    pub(crate) v6: bool,
    /// In UDP (RFC 3948).
    pub(crate) udp: bool,
    /// From the SPI on.
    pub(crate) octets: &'a [u8],
}

impl<'a> Esp<'a> {
    /// Finds ESP in an IP packet without options, on its own or in UDP to port 4500.
    pub(crate) fn find(packet: &'a [u8]) -> Option<Self> {
        let Outer { v6, protocol, whole, header } = Outer::read(packet)?;
        let octets = whole.get(header..)?;
        match protocol {
            50 => Some(Self { v6, udp: false, octets }),
            17 if number(octets, 2)? == 4500 => {
                Some(Self { v6, udp: true, octets: octets.get(8..)? })
            }
            _ => None,
        }
    }

    /// Who it is for.
    pub(crate) fn spi(&self) -> Option<u32> {
        self.octets.first_chunk().copied().map(u32::from_be_bytes)
    }

    /// The lower half of its number.
    pub(crate) fn sequence(&self) -> Option<u32> {
        self.octets.get(4..)?.first_chunk().copied().map(u32::from_be_bytes)
    }
}

/// A packet on the wire whose first header behind those of IP is AH.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Ah<'a> {
    /// The outer IP header is of version 6.
    pub(crate) v6: bool,
    /// Who it is for.
    pub(crate) spi: u32,
    /// What is behind AH.
    pub(crate) next: u8,
    /// All of it, without what a frame has behind it.
    pub(crate) whole: &'a [u8],
}

impl<'a> Ah<'a> {
    /// Finds AH in an IP packet without options.
    pub(crate) fn find(packet: &'a [u8]) -> Option<Self> {
        let Outer { v6, protocol, whole, header } = Outer::read(packet)?;
        let ah = whole.get(header..)?;
        let spi = ah.get(4..)?.first_chunk().copied().map(u32::from_be_bytes)?;
        (protocol == 51).then_some(Self { v6, spi, next: *ah.first()?, whole })
    }
}

/// An IP packet without options.
struct Outer<'a> {
    v6: bool,
    protocol: u8,
    /// As long as it says: frames have trailers of their own.
    whole: &'a [u8],
    /// Where its header ends.
    header: usize,
}

impl<'a> Outer<'a> {
    fn read(packet: &'a [u8]) -> Option<Self> {
        let v6 = match packet.first()? {
            0x45 => false,
            0x60..=0x6f => true,
            _ => return None,
        };
        let len = if v6 { 40 + number(packet, 4)? } else { number(packet, 2)? };
        let whole = packet.get(..len)?;
        let (protocol, header) = if v6 { (*whole.get(6)?, 40) } else { (*whole.get(9)?, 20) };
        Some(Self { v6, protocol, whole, header })
    }
}

fn number(octets: &[u8], at: usize) -> Option<usize> {
    octets.get(at..)?.first_chunk().copied().map(u16::from_be_bytes).map(usize::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 20 octets of IP, 8 of UDP, 8 of ESP, and a frame's padding.
    fn packet() -> Vec<u8> {
        let mut packet = vec![0x45, 0, 0, 36, 0, 0, 0, 0, 64, 17, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2];
        packet.extend([0x11, 0x94, 0x11, 0x94, 0, 16, 0, 0, 9, 9, 9, 9, 0, 0, 1, 2, 0xee]);
        packet
    }

    #[test]
    fn esp_is_found_in_udp_and_alone() {
        let mut packet = packet();
        let esp = Esp::find(&packet).unwrap();
        assert_eq!((esp.v6, esp.udp, esp.octets.len()), (false, true, 8));
        assert_eq!((esp.spi(), esp.sequence()), (Some(0x0909_0909), Some(258)));
        packet[9] = 50;
        assert_eq!(Esp::find(&packet).unwrap().octets.len(), 16);
        packet[9] = 6;
        assert_eq!(Esp::find(&packet), None);
        assert_eq!(Esp::find(&[]), None);
    }

    #[test]
    fn ah_is_found_with_all_around_it() {
        let mut packet = packet();
        assert_eq!(Ah::find(&packet), None);
        packet[9] = 51;
        packet[20] = 50;
        let ah = Ah::find(&packet).unwrap();
        assert_eq!((ah.v6, ah.spi, ah.next), (false, 0x0010_0000, 50));
        assert_eq!(ah.whole.len(), 36);
        assert_eq!(Ah::find(&packet[..30]), None);
    }

    #[test]
    fn packets_are_cut_from_frames() {
        let mut capture = 0xa1b2_c3d4_u32.to_ne_bytes().to_vec();
        capture.resize(FILE_HEADER, 0);
        for len in [14 + 3, 14] {
            capture.extend([0; 8]);
            capture.extend(u32::to_ne_bytes(len));
            capture.extend([0; 4]);
            capture.extend((0..14).chain([7, 8, 9]).take(len as usize));
        }
        assert_eq!(packets(&capture).unwrap(), [&[7, 8, 9][..], &[]]);
        capture.truncate(capture.len() - 1);
        assert_eq!(packets(&capture).unwrap().len(), 1);
        assert!(packets(&[0; 24]).is_err());
    }
}
