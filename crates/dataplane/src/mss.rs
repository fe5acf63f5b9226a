//! The maximum segment size of TCP connections that begin (RFC 9293 §3.7.1): lowered to what fits the
//! SA, so that they need no message about packets too big, which many networks lose.
//!
//! What a SYN says is meant for the other direction, and so both directions are looked at: one that
//! leaves is held against what the SA takes as one that comes in is. An MSS is never raised, and none
//! is put in where a host says none: that one means 536 or 1,220 octets (RFC 9293 §3.7.1).

use adit_db::MssClamp;
use adit_wire::iana::IpProtocol;
use adit_wire::ip::{IpPacket, Ipv6Header, checksum_after_change};

/// Most that a SYN may say, octets; 65,535 if that is no matter.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct MssMax {
    v4: u16,
    v6: u16,
}

impl MssMax {
    /// Hosts may say what they like.
    pub(crate) const NONE: Self = Self { v4: u16::MAX, v6: u16::MAX };

    /// By the configuration, where inner packets have `inner_max` octets at most.
    pub(crate) fn new(clamp: MssClamp, inner_max: u16) -> Self {
        match clamp {
            MssClamp::Off => Self::NONE,
            MssClamp::ToPath if inner_max == u16::MAX => Self::NONE,
            MssClamp::ToPath => Self {
                v4: inner_max.saturating_sub(V4_HEADERS).max(MSS_LEAST),
                // No host is told of less than IPv6's least MTU, and what is longer is cut outside, by a
                // peer perhaps not at all; a connection that says less needs neither.
                v6: inner_max.saturating_sub(V6_HEADERS).max(MSS_LEAST),
            },
            MssClamp::To(most) => Self { v4: most, v6: most },
        }
    }

    /// Lowers what a SYN says whose TCP header is here, if it says more.
    #[cold]
    pub(crate) fn clamp(self, packet: &mut [u8], tcp_at: usize) {
        let is_v6 = packet.first().is_some_and(|first| first >> 4 == 6);
        let most = if is_v6 { self.v6 } else { self.v4 };
        // Of a later fragment these octets are something else.
        if most != u16::MAX
            && IpPacket::read(packet).is_ok_and(|ip| ip.fragment().is_none())
            && let Some(tcp) = packet.get_mut(tcp_at..)
            && let Some(at) = mss_at(tcp)
        {
            // It could not be read otherwise.
            let _ = lower(tcp, at, most);
        }
    }
}

/// Where TCP begins in a packet that begins a connection; `None` of all others.
#[inline]
pub(crate) fn syn_at(packet: &[u8]) -> Option<usize> {
    let tcp_at = match *packet.first()? {
        first @ 0x45..=0x4f if packet.get(9) == Some(&TCP) => usize::from(first & 0x0f) * 4,
        0x60..=0x6f => match packet.get(6) {
            Some(&TCP) => Ipv6Header::LEN,
            Some(0 | 43 | 60) => behind_extensions(packet)?,
            _ => return None,
        },
        _ => return None,
    };
    let flags = packet.get(tcp_at.checked_add(FLAGS_AT)?)?;
    (flags & SYN != 0).then_some(tcp_at)
}

/// Where TCP begins behind extension headers.
#[cold]
fn behind_extensions(packet: &[u8]) -> Option<usize> {
    let ip = IpPacket::read(packet).ok()?;
    let is_tcp = ip.protocol() == IpProtocol::TCP && ip.fragment().is_none();
    is_tcp.then(|| ip.header_len())
}

/// Where in a TCP header the value of the option is.
fn mss_at(tcp: &[u8]) -> Option<usize> {
    let end = usize::from(tcp.get(DATA_OFFSET_AT)? >> 4).checked_mul(4)?;
    let options = tcp.get(..end)?;
    let mut at = OPTIONS_AT;
    // Each turn takes an octet at least, and there are 40 at most.
    loop {
        match (*options.get(at)?, options.get(at.checked_add(1)?)) {
            (END, _) => return None,
            (NO_OPERATION, _) => at = at.checked_add(1)?,
            (MSS, Some(4)) if at.checked_add(4)? <= end => return at.checked_add(2),
            (_, Some(len @ 2..)) => at = at.checked_add((*len).into())?,
            _ => return None,
        }
    }
}

/// Writes the least of what stands there and `most`, and mends the checksum (RFC 1624).
fn lower(tcp: &mut [u8], at: usize, most: u16) -> Option<()> {
    let field = tcp.get_mut(at..)?.first_chunk_mut::<2>()?;
    let said = u16::from_be_bytes(*field);
    if said <= most {
        return None;
    }
    *field = most.to_be_bytes();
    // At an odd place the octets belong to two words, and the sum sees them swapped (RFC 1071 §2).
    let (old, new) = match at % 2 {
        0 => (said, most),
        _ => (said.swap_bytes(), most.swap_bytes()),
    };
    let sum = tcp.get_mut(CHECKSUM_AT..)?.first_chunk_mut::<2>()?;
    *sum = checksum_after_change(u16::from_be_bytes(*sum), old, new).to_be_bytes();
    Some(())
}

/// Headers of a segment without options: IP and TCP (RFC 6691 §2).
const V4_HEADERS: u16 = 20 + 20;
const V6_HEADERS: u16 = 40 + 20;
/// Less makes no sense to any host; Linux does not go below it either.
const MSS_LEAST: u16 = 48;
/// RFC 8200 §5.
pub(crate) const V6_MTU_MIN: u16 = 1_280;

const TCP: u8 = IpProtocol::TCP.0;
const DATA_OFFSET_AT: usize = 12;
const FLAGS_AT: usize = 13;
const CHECKSUM_AT: usize = 16;
const OPTIONS_AT: usize = 20;
const SYN: u8 = 0x02;
const END: u8 = 0;
const NO_OPERATION: u8 = 1;
const MSS: u8 = 2;

#[cfg(test)]
mod tests {
    use adit_wire::ip::{Ipv4Header, checksum};
    use proptest::prelude::*;

    use super::*;

    fn clamp(most: MssMax, packet: &mut [u8]) {
        if let Some(tcp_at) = syn_at(packet) {
            most.clamp(packet, tcp_at);
        }
    }

    /// A SYN with these options, of either version, with a right checksum.
    fn syn(ipv6: bool, flags: u8, options: &[u8]) -> Vec<u8> {
        let header_len = 20 + options.len();
        let mut tcp = vec![0; header_len];
        tcp[12] = u8::try_from(header_len / 4 * 16).unwrap();
        tcp[13] = flags;
        tcp[20..].copy_from_slice(options);
        let mut packet = if ipv6 {
            let header = Ipv6Header {
                traffic_class: 0,
                flow_label: 0,
                payload_len: u16::try_from(header_len).unwrap(),
                next: IpProtocol::TCP,
                hop_limit: 9,
                src: "fd01::5".parse().unwrap(),
                dst: "fd02::7".parse().unwrap(),
            };
            header.to_octets().to_vec()
        } else {
            let header = Ipv4Header {
                traffic_class: 0,
                total_len: u16::try_from(20 + header_len).unwrap(),
                identification: 7,
                dont_fragment: true,
                ttl: 63,
                protocol: IpProtocol::TCP,
                src: "10.1.0.5".parse().unwrap(),
                dst: "10.2.0.7".parse().unwrap(),
            };
            header.to_octets().to_vec()
        };
        let sum = tcp_sum(&packet, &tcp).to_be_bytes();
        tcp[16..18].copy_from_slice(&sum);
        packet.extend(tcp);
        packet
    }

    fn tcp_sum(ip: &[u8], tcp: &[u8]) -> u16 {
        let addresses = if ip[0] >> 4 == 6 { &ip[8..40] } else { &ip[12..20] };
        let mut summed = addresses.to_vec();
        summed.extend([0, 6]);
        summed.extend(u16::try_from(tcp.len()).unwrap().to_be_bytes());
        summed.extend(tcp);
        checksum(&summed)
    }

    fn mss_of(packet: &[u8], ipv6: bool) -> u16 {
        let tcp = &packet[if ipv6 { 40 } else { 20 }..];
        let at = mss_at(tcp).unwrap();
        u16::from_be_bytes([tcp[at], tcp[at + 1]])
    }

    fn is_sound(packet: &[u8], ipv6: bool) -> bool {
        let (ip, tcp) = packet.split_at(if ipv6 { 40 } else { 20 });
        tcp_sum(ip, tcp) == 0
    }

    /// CHECKLIST PM-39: inner MTU less 40, and less 60, on SYN and SYN-ACK, whatever is before it.
    #[test]
    fn a_syn_says_at_most_what_fits() {
        let most = MssMax::new(MssClamp::ToPath, 1_400);
        for (ipv6, expected) in [(false, 1_360), (true, 1_340)] {
            for flags in [0x02, 0x12] {
                for options in [&[2, 4, 5, 180][..], &[1, 2, 4, 5, 180, 1, 1, 0]] {
                    let mut packet = syn(ipv6, flags, options);
                    clamp(most, &mut packet);
                    assert_eq!(mss_of(&packet, ipv6), expected);
                    assert!(is_sound(&packet, ipv6));
                }
            }
        }
    }

    /// CHECKLIST PM-39: where an SA takes less than IPv6's least MTU, connections need not be cut outside.
    #[test]
    fn connections_fit_where_ipv6_would_be_cut() {
        let mut packet = syn(true, 0x02, &[2, 4, 5, 180]);
        clamp(MssMax::new(MssClamp::ToPath, 1_198), &mut packet);
        assert_eq!(mss_of(&packet, true), 1_138);
    }

    #[test]
    fn what_says_less_and_what_is_no_syn_stays_as_it_is() {
        let most = MssMax::new(MssClamp::ToPath, 1_400);
        for packet in [syn(false, 0x02, &[2, 4, 2, 24]), syn(false, 0x10, &[2, 4, 5, 180])] {
            let mut clamped = packet.clone();
            clamp(most, &mut clamped);
            assert_eq!(clamped, packet);
        }
    }

    #[test]
    fn a_number_and_off_are_obeyed() {
        let clamped = |by| {
            let mut packet = syn(false, 0x02, &[2, 4, 5, 180]);
            clamp(MssMax::new(by, 1_400), &mut packet);
            mss_of(&packet, false)
        };
        assert_eq!(clamped(MssClamp::To(1_000)), 1_000);
        assert_eq!(clamped(MssClamp::Off), 1_460);
        assert_eq!(MssMax::new(MssClamp::ToPath, u16::MAX), MssMax::NONE);
    }

    proptest! {
        /// No octets make it panic or change anything but the option and the checksum.
        #[test]
        fn any_octets_are_survived(
            octets in prop::collection::vec(any::<u8>(), 0..120), ipv6: bool, flags: u8,
        ) {
            let most = MssMax::new(MssClamp::ToPath, 1_300);
            let mut packet = octets.clone();
            clamp(most, &mut packet);
            prop_assert_eq!(packet.len(), octets.len());

            let options: Vec<u8> = octets.iter().copied().take(40).collect();
            let options = &options[..options.len() / 4 * 4];
            let mut packet = syn(ipv6, flags, options);
            clamp(most, &mut packet);
            prop_assert!(is_sound(&packet, ipv6));
        }
    }
}
