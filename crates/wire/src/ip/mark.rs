//! Knowing packets of one flow (RFC 4301 §4.4.1.1) without reading them: they come in trains.

use crate::iana::IpProtocol;

/// The octets of a packet's headers that its neighbours in a flow share.
///
/// Two packets with equal marks have the same [`FlowKey`](super::FlowKey), traffic class, header
/// length and don't-fragment bit, and none of the two is a fragment. Only whole packets of TCP and
/// UDP have a mark, without options of IPv4 or extension headers of IPv6, because these are the
/// many.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct FlowMark([u64; 6]);

impl FlowMark {
    /// The mark of the packet that `octets` begin with, and its total length; `None` if it has
    /// none or is longer than `octets`.
    #[inline]
    #[must_use]
    pub fn read(octets: &[u8]) -> Option<(Self, usize)> {
        match octets.first()? {
            0x45 => Self::read_v4(octets),
            0x60..=0x6f => Self::read_v6(octets),
            _ => None,
        }
    }

    /// The total length of the packet that `octets` begin with; `None` unless its mark is this one.
    #[inline]
    #[must_use]
    pub fn len_of(&self, octets: &[u8]) -> Option<usize> {
        let Self([w0, w1, w2, w3, w4, w5]) = *self;
        let (differences, total_len, least) = if w0 >> 60 == 4 {
            let ([first, second, third], _) = octets.first_chunk::<V4_LEN>()?.as_chunks::<8>()
            else {
                return None;
            };
            let [first, second, third] = [first, second, third].map(|word| word_of(*word));
            let differences = (first & V4_FIRST ^ w0) | (second & V4_SECOND ^ w1) | (third ^ w2);
            (differences, first >> 32 & 0xffff, V4_LEN)
        } else {
            let head = octets.first_chunk::<V6_LEN>()?;
            let ([first, a, b, c, d], ports) = head.as_chunks::<8>() else { return None };
            let [first, a, b, c, d] = [first, a, b, c, d].map(|word| word_of(*word));
            let ports = u64::from(u32::from_be_bytes(*ports.first_chunk()?));
            let addresses = (a ^ w1) | (b ^ w2) | (c ^ w3) | (d ^ w4);
            let differences = (first & V6_FIRST ^ w0) | addresses | (ports ^ w5);
            (differences, (first >> 16 & 0xffff).saturating_add(V6_HEADER_OCTETS), V6_LEN)
        };
        let total_len = usize::try_from(total_len).ok()?;
        let is_like = differences == 0 && total_len >= least && total_len <= octets.len();
        is_like.then_some(total_len)
    }

    #[inline]
    fn read_v4(octets: &[u8]) -> Option<(Self, usize)> {
        let (words, _) = octets.first_chunk::<V4_LEN>()?.as_chunks::<8>();
        let [first, second, third] = *words else { return None };
        let [first, second, third] = [first, second, third].map(word_of);
        let total_len = usize::try_from(first >> 32 & 0xffff).ok()?;
        let is_known = is_tcp_or_udp(second >> 48 & 0xff) && first & V4_FRAGMENT == 0;
        if !is_known || total_len < V4_LEN || total_len > octets.len() {
            return None;
        }
        let words = [first & V4_FIRST, second & V4_SECOND, third, 0, 0, 0];
        Some((Self(words), total_len))
    }

    #[inline]
    fn read_v6(octets: &[u8]) -> Option<(Self, usize)> {
        let head = octets.first_chunk::<V6_LEN>()?;
        let ([first, a, b, c, d], ports) = head.as_chunks::<8>() else { return None };
        let [first, a, b, c, d] = [first, a, b, c, d].map(|word| word_of(*word));
        let total_len =
            usize::try_from((first >> 16 & 0xffff).saturating_add(V6_HEADER_OCTETS)).ok()?;
        if !is_tcp_or_udp(first >> 8 & 0xff) || total_len < V6_LEN || total_len > octets.len() {
            return None;
        }
        let ports = u32::from_be_bytes(*ports.first_chunk()?);
        Some((Self([first & V6_FIRST, a, b, c, d, ports.into()]), total_len))
    }
}

#[inline]
fn word_of(octets: [u8; 8]) -> u64 {
    u64::from_be_bytes(octets)
}

#[inline]
fn is_tcp_or_udp(protocol: u64) -> bool {
    protocol == TCP || protocol == UDP
}

const TCP: u64 = IpProtocol::TCP.0 as u64;
const UDP: u64 = IpProtocol::UDP.0 as u64;

/// A header without options, and ports.
const V4_LEN: usize = 24;
const V6_HEADER_OCTETS: u64 = 40;
const V6_LEN: usize = 44;

/// More fragments, and the offset.
const V4_FRAGMENT: u64 = 0x3fff;
/// All but total length and identification.
const V4_FIRST: u64 = 0xffff_0000_0000_ffff;
/// All but TTL and checksum.
const V4_SECOND: u64 = 0x00ff_0000_ffff_ffff;
/// All but payload length and hop limit.
const V6_FIRST: u64 = 0xffff_ffff_0000_ff00;

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use proptest::prelude::*;

    use super::*;
    use crate::ip::IpPacket;

    /// Octets that are often packets, and often alike.
    fn packets() -> impl Strategy<Value = Vec<u8>> {
        let v4 = (prop::collection::vec(0_u8..2, 20..70), any::<bool>());
        (v4, any::<bool>(), prop::sample::select(&[1_u8, 6, 17, 44, 50][..]), 0_u8..80).prop_map(
            |((mut octets, odd), v6, protocol, len)| {
                let at = |v4, v6_at| if v6 { v6_at } else { v4 };
                octets[0] = match (v6, odd) {
                    (true, _) => 0x60 | octets[0],
                    (false, true) => 0x46,
                    (false, false) => 0x45,
                };
                octets[at(9, 6)] = protocol;
                octets[at(3, 5)] = len;
                octets[at(2, 4)] = 0;
                octets
            },
        )
    }

    proptest! {
        /// What has the same mark is the same to a policy, and as long as it says.
        #[test]
        fn equal_marks_mean_one_flow(packets in prop::collection::vec(packets(), 2..12)) {
            let mut known = Vec::new();
            for octets in &packets {
                let Some((mark, total_len)) = FlowMark::read(octets) else { continue };
                let packet = IpPacket::read(octets).unwrap();
                prop_assert_eq!(packet.total_len(), total_len);
                prop_assert_eq!(packet.fragment(), None);
                prop_assert!(packet.ports().is_some());
                known.push((mark, packet));
            }
            for (mark, packet) in &known {
                for (other_mark, other) in &known {
                    let seen = |packet: &IpPacket<'_>| (
                        packet.flow_key(),
                        packet.traffic_class(),
                        packet.header_len(),
                        packet.dont_fragment(),
                    );
                    let len = mark.len_of(other.octets());
                    prop_assert_eq!(len, (mark == other_mark).then_some(other.total_len()));
                    if mark == other_mark {
                        prop_assert_eq!(seen(packet), seen(other));
                    }
                }
            }
        }

        #[test]
        fn any_octets_are_read(octets in prop::collection::vec(any::<u8>(), 0..60)) {
            if let Some((mark, total_len)) = FlowMark::read(&octets) {
                prop_assert!(total_len <= octets.len());
                prop_assert_eq!(mark.len_of(&octets), Some(total_len));
            }
        }
    }

    /// Segments of one stream differ in length, identification, TTL and checksum alone.
    #[test]
    fn a_train_has_one_mark() {
        let packet = |len: u8, id, ttl, flags: u8, port: u8| {
            let mut octets = [0x45, 0x10, 0, len, id, id, flags, 0, ttl, 6, 9, 9].to_vec();
            octets.extend([10, 0, 0, 1, 10, 0, 0, 2, 1, 2, 3, port]);
            octets.resize(60, 0);
            FlowMark::read(&octets).map(|(mark, _)| mark)
        };
        let first = packet(60, 1, 64, 0x40, 4);
        assert!(first.is_some());
        assert_eq!(first, packet(40, 2, 63, 0x40, 4));
        assert_ne!(first, packet(60, 1, 64, 0x40, 5));
        assert_ne!(first, packet(60, 1, 64, 0, 4));
        assert_eq!(packet(60, 1, 64, 0x20, 4), None);
        assert_eq!(packet(61, 1, 64, 0x40, 4), None);
        assert_eq!(packet(23, 1, 64, 0x40, 4), None);
    }
}
