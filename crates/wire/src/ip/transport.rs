//! Where a security header goes in transport mode, and what the headers before it need then
//! (RFC 4303 §3.1.1, RFC 4302 §3.1.1; checksums behind a NAT: RFC 3948 §3.1.2).

use core::net::IpAddr;

use super::checksum::{checksum, checksum_after_change};
use super::packet::IpPacket;
use super::v4::Ipv4Header;
use super::v6::{EXTENSIONS_MAX, Ipv6Header};
use crate::iana::IpProtocol;

/// The headers of a packet that stay in front of a security header.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct FrontHeaders {
    /// Their length in octets.
    pub len: usize,
    /// Where among them the octet is that names what follows.
    pub next_at: usize,
    /// What follows them now.
    pub next: IpProtocol,
}

impl FrontHeaders {
    /// Cuts a packet in two.
    ///
    //= https://www.rfc-editor.org/rfc/rfc4303#section-3.1.1
    //# In the IPv6 context, ESP is viewed as an end-to-end payload, and thus
    //# should appear after hop-by-hop, routing, and fragmentation extension
    //# headers.
    ///
    /// Destination options stay in front only if a routing header follows them: these are for the
    /// routers on the way, all others for the last destination, which reads them protected.
    #[must_use]
    pub fn of(packet: &IpPacket<'_>) -> Self {
        let octets = packet.octets();
        if packet.is_ipv4() {
            return Self::of_ipv4(packet.header_len(), packet.protocol());
        }
        let octet = |at: usize| octets.get(at).copied().unwrap_or(IpProtocol::NO_NEXT.0);
        let mut walk =
            Self { len: Ipv6Header::LEN, next_at: V6_NEXT, next: IpProtocol(octet(V6_NEXT)) };
        let mut front = walk;
        for _ in 0..=EXTENSIONS_MAX {
            let units = usize::from(octet(walk.len.saturating_add(1)));
            let len = units.saturating_mul(8).saturating_add(8);
            let (extension_len, stays) = match walk.next {
                IpProtocol::HOP_BY_HOP | IpProtocol::ROUTING => (len, true),
                IpProtocol::DESTINATION => (len, false),
                IpProtocol::FRAGMENT => (8, true),
                _ => break,
            };
            let is_fragment = walk.next == IpProtocol::FRAGMENT;
            let end = walk.len.saturating_add(extension_len);
            if end > octets.len() {
                break;
            }
            walk = Self { len: end, next_at: walk.len, next: IpProtocol(octet(walk.len)) };
            if stays {
                front = walk;
            }
            // Behind its header a fragment may begin in mid-air.
            if is_fragment {
                break;
            }
        }
        front
    }

    /// An IPv4 header of this length, before `next`.
    #[must_use]
    pub fn of_ipv4(len: usize, next: IpProtocol) -> Self {
        Self { len, next_at: V4_PROTOCOL, next }
    }

    /// Whether there is more than the plain IP header: options or extension headers.
    #[must_use]
    pub fn has_options(&self) -> bool {
        let plain = if self.next_at == V4_PROTOCOL { Ipv4Header::LEN } else { Ipv6Header::LEN };
        self.len != plain
    }

    /// Names `next` as what follows these headers, at the front of `packet`, and sets length and
    /// checksum right for its size now. `false` and a useless packet if it is too long for IP.
    #[must_use]
    pub fn announce(&self, packet: &mut [u8], next: IpProtocol) -> bool {
        let Some(octet) = packet.get_mut(self.next_at) else { return false };
        *octet = next.0;
        set_length(packet, self.len).is_some()
    }
}

/// Sets the length field to the packet's length, and the checksum of an IPv4 header.
fn set_length(packet: &mut [u8], header_len: usize) -> Option<()> {
    let len = packet.len();
    if packet.first()? >> 4 == 4 {
        let total: [u8; 2] = u16::try_from(len).ok()?.to_be_bytes();
        packet.get_mut(2..4)?.copy_from_slice(&total);
        packet.get_mut(10..12)?.fill(0);
        let sum = checksum(packet.get(..header_len)?).to_be_bytes();
        packet.get_mut(10..12)?.copy_from_slice(&sum);
    } else {
        let payload = u16::try_from(len.checked_sub(Ipv6Header::LEN)?).ok()?.to_be_bytes();
        packet.get_mut(4..6)?.copy_from_slice(&payload);
    }
    Some(())
}

/// What a NAT has changed under the checksums of the transport layer, which it could not see.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct AddressChange {
    /// Two words: the sum of the addresses before and that of the addresses now.
    before: u16,
    now: u16,
}

impl AddressChange {
    /// From the addresses that the sender summed up to those of the packet as it is.
    #[must_use]
    pub fn new(before: [IpAddr; 2], now: [IpAddr; 2]) -> Self {
        Self { before: sum_of(before), now: sum_of(now) }
    }

    /// Mends the checksum of a whole TCP, UDP, UDP-Lite or ICMPv6 message; the others have none
    /// over the addresses.
    ///
    //= https://www.rfc-editor.org/rfc/rfc3948#section-3.1.2
    //# Depending on local policy, one of the following MUST be done:
    ///
    /// Of the ways it lists this is the first: the checksum is recomputed incrementally.
    pub fn mend(&self, protocol: IpProtocol, payload: &mut [u8]) {
        let at = match protocol {
            IpProtocol::TCP => 16,
            IpProtocol::UDP | IpProtocol::UDP_LITE => 6,
            IpProtocol::ICMPV6 => 2,
            _ => return,
        };
        let Some(field) = payload.get_mut(at..).and_then(|rest| rest.first_chunk_mut::<2>()) else {
            return;
        };
        let old = u16::from_be_bytes(*field);
        // RFC 768: no checksum at all.
        if protocol == IpProtocol::UDP && old == 0 {
            return;
        }
        let mended = checksum_after_change(old, self.before, self.now);
        let is_udp = matches!(protocol, IpProtocol::UDP | IpProtocol::UDP_LITE);
        *field = if is_udp && mended == 0 { [0xff; 2] } else { mended.to_be_bytes() };
    }
}

/// One's complement sum of two addresses.
fn sum_of(addresses: [IpAddr; 2]) -> u16 {
    let mut octets = [0; 32];
    for (place, address) in octets.chunks_exact_mut(16).zip(addresses) {
        match address {
            IpAddr::V4(address) => {
                place.iter_mut().zip(address.octets()).for_each(|(place, octet)| *place = octet);
            }
            IpAddr::V6(address) => place.copy_from_slice(&address.octets()),
        }
    }
    !checksum(&octets)
}

const V4_PROTOCOL: usize = 9;
const V6_NEXT: usize = 6;

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use proptest::prelude::*;

    use super::*;

    /// An IPv6 packet with extension headers of these kinds, eight octets each, over UDP.
    fn v6(extensions: &[IpProtocol]) -> Vec<u8> {
        let kinds: Vec<u8> =
            extensions.iter().chain([&IpProtocol::UDP]).map(|kind| kind.0).collect();
        let mut octets = Ipv6Header {
            traffic_class: 0,
            flow_label: 7,
            payload_len: u16::try_from(extensions.len() * 8 + 8).unwrap(),
            next: IpProtocol(kinds[0]),
            hop_limit: 64,
            src: "2001:db8::1".parse().unwrap(),
            dst: "2001:db8::2".parse().unwrap(),
        }
        .to_octets()
        .to_vec();
        kinds[1..].iter().for_each(|next| octets.extend([*next, 0, 0, 0, 0, 0, 0, 0]));
        octets.extend([0; 8]);
        octets
    }

    //= https://www.rfc-editor.org/rfc/rfc4303#section-3.1.1
    //= type=test
    //# In the IPv6 context, ESP is viewed as an end-to-end payload, and thus
    //# should appear after hop-by-hop, routing, and fragmentation extension
    //# headers.
    #[test]
    fn the_cut_lies_behind_what_routers_read() {
        use IpProtocol as P;
        let cases: &[(&[P], usize, P)] = &[
            (&[], 40, P::UDP),
            (&[P::HOP_BY_HOP], 48, P::UDP),
            (&[P::DESTINATION], 40, P::DESTINATION),
            (&[P::HOP_BY_HOP, P::DESTINATION, P::ROUTING], 64, P::UDP),
            (&[P::HOP_BY_HOP, P::ROUTING, P::DESTINATION], 56, P::DESTINATION),
            (&[P::DESTINATION, P::ROUTING, P::FRAGMENT, P::DESTINATION], 64, P::DESTINATION),
        ];
        for (extensions, len, next) in cases {
            let octets = v6(extensions);
            let front = FrontHeaders::of(&IpPacket::read(&octets).unwrap());
            assert_eq!((front.len, front.next), (*len, *next), "{extensions:?}");
            assert_eq!(octets[front.next_at], next.0);
            assert_eq!(front.has_options(), *len > 40);
        }
    }

    #[test]
    fn a_cut_packet_is_announced_with_length_and_checksum() {
        let mut v4 = Ipv4Header {
            traffic_class: 0,
            total_len: 28,
            identification: 5,
            dont_fragment: false,
            ttl: 64,
            protocol: IpProtocol::UDP,
            src: [192, 0, 2, 1].into(),
            dst: [192, 0, 2, 2].into(),
        }
        .to_octets()
        .to_vec();
        v4.extend([0; 8]);
        let front = FrontHeaders::of(&IpPacket::read(&v4).unwrap());
        assert!(!front.has_options());
        v4.extend([0; 30]);
        assert!(front.announce(&mut v4, IpProtocol::ESP));
        let read = IpPacket::read(&v4).unwrap();
        assert_eq!((read.total_len(), read.protocol()), (58, IpProtocol::ESP));
        assert!(read.has_good_checksum());

        v4.resize(65_536, 0);
        assert!(!front.announce(&mut v4, IpProtocol::ESP));
    }

    proptest! {
        /// A mended checksum is the one that a sender at the new addresses would have made.
        #[test]
        fn a_mended_checksum_is_right(
            before: [[u8; 4]; 2], now: [[u8; 4]; 2], body in prop::collection::vec(any::<u8>(), 20..64),
        ) {
            for protocol in [IpProtocol::TCP, IpProtocol::UDP] {
                let at = if protocol == IpProtocol::TCP { 16 } else { 6 };
                let sealed_for = |addresses: [[u8; 4]; 2]| {
                    let mut message = body.clone();
                    message[at..at + 2].fill(0);
                    let pseudo = [&addresses.concat(), &[0, protocol.0][..], &message].concat();
                    let sum = match checksum(&pseudo) {
                        0 if protocol == IpProtocol::UDP => 0xffff,
                        sum => sum,
                    };
                    message[at..at + 2].copy_from_slice(&sum.to_be_bytes());
                    message
                };
                let mut message = sealed_for(before);
                AddressChange::new(before.map(IpAddr::from), now.map(IpAddr::from))
                    .mend(protocol, &mut message);
                // 0 and 0xffff are the same number in a one's complement sum.
                let number = |message: &[u8]| {
                    u16::from_be_bytes([message[at], message[at + 1]]) % u16::MAX
                };
                let expected = sealed_for(now);
                prop_assert_eq!(number(&message), number(&expected));
            }
        }

        /// Whatever is an IP packet is cut inside of it.
        #[test]
        fn any_packet_is_cut_within(octets in prop::collection::vec(any::<u8>(), 20..120), v6: bool) {
            let mut octets = octets;
            octets[0] = if v6 { 0x60 } else { 0x45 };
            if let Ok(packet) = IpPacket::read(&octets) {
                let front = FrontHeaders::of(&packet);
                prop_assert!(front.len <= packet.header_len().max(40));
                prop_assert_eq!(packet.octets()[front.next_at], front.next.0);
            }
        }
    }

    #[test]
    fn a_udp_datagram_without_checksum_stays_so() {
        let change = AddressChange::new([[10, 0, 0, 1].into(); 2], [[10, 0, 0, 2].into(); 2]);
        let mut datagram = [0; 8];
        change.mend(IpProtocol::UDP, &mut datagram);
        assert_eq!(datagram, [0; 8]);
        let mut short = [1; 3];
        change.mend(IpProtocol::TCP, &mut short);
        assert_eq!(short, [1; 3]);
    }
}
