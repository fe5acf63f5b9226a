//! Echo requests, written, and replies, read (RFC 792, RFC 4443 §4).
//!
//! ```text
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |     Type      |   Code = 0    |          Checksum             |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |          Identifier           |        Sequence Number        |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |          Token, which a reply repeats like all data           |
//! |                                                               |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! ~                 zeros, which make it as long as it is to be   ~
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! ```

use core::net::IpAddr;

use super::icmp_error::message_sum;
use super::{Icmp, IpPacket, Ipv4Header, Ipv6Header};
use crate::Reader;
use crate::iana::IpProtocol;

/// An echo request.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Echo {
    /// Who asks; of the same family as `dst`.
    pub src: IpAddr,
    /// Who is asked.
    pub dst: IpAddr,
    /// Tells those who ask apart.
    pub identifier: u16,
    /// Tells questions apart.
    pub sequence: u16,
    /// Tells them better.
    pub token: u64,
}

impl Echo {
    /// Octets of a message without zeros behind it.
    pub const LEN: usize = 16;

    /// ICMP, or ICMPv6.
    #[must_use]
    pub const fn protocol(&self) -> IpProtocol {
        if self.dst.is_ipv4() { IpProtocol::ICMP } else { IpProtocol::ICMPV6 }
    }

    /// Type and code.
    #[must_use]
    pub const fn icmp(&self) -> Icmp {
        Icmp::echo(self.dst.is_ipv4())
    }

    /// Octets of the shortest IP packet with it.
    #[must_use]
    pub const fn packet_len(&self) -> usize {
        let header_len = if self.dst.is_ipv4() { Ipv4Header::LEN } else { Ipv6Header::LEN };
        header_len.saturating_add(Self::LEN)
    }

    /// Writes the message without an IP header, as long as `out`, whose rest is zero already. `None` if
    /// that is less than [`Self::LEN`].
    #[must_use]
    pub fn write_message(&self, out: &mut [u8]) -> Option<()> {
        let Icmp { kind, code } = self.icmp();
        let [i0, i1] = self.identifier.to_be_bytes();
        let [s0, s1] = self.sequence.to_be_bytes();
        let (head, data) = out.split_first_chunk_mut::<8>()?;
        *data.first_chunk_mut()? = self.token.to_be_bytes();
        *head = [kind, code, 0, 0, i0, i1, s0, s1];
        let [c0, c1] = message_sum(self.src, self.dst, out).to_be_bytes();
        *out.first_chunk_mut()? = [kind, code, c0, c1];
        Some(())
    }

    /// Writes an IP packet with the message, as long as `out`, whose rest is zero already. Nobody may cut
    /// it. `None` if `out` is shorter than [`Self::packet_len`] or longer than IP has, or the addresses are
    /// of two families.
    #[must_use]
    pub fn write_packet(&self, out: &mut [u8]) -> Option<()> {
        match (self.src, self.dst) {
            (IpAddr::V4(src), IpAddr::V4(dst)) => {
                let total_len = u16::try_from(out.len()).ok()?;
                let (header, message) = out.split_first_chunk_mut()?;
                *header = Ipv4Header {
                    traffic_class: 0,
                    total_len,
                    // RFC 6864 §4.1: it says nothing in a packet that nobody may fragment.
                    identification: 0,
                    dont_fragment: true,
                    ttl: HOP_LIMIT,
                    protocol: self.protocol(),
                    src,
                    dst,
                }
                .to_octets();
                self.write_message(message)
            }
            (IpAddr::V6(src), IpAddr::V6(dst)) => {
                let (header, message) = out.split_first_chunk_mut()?;
                *header = Ipv6Header {
                    traffic_class: 0,
                    flow_label: 0,
                    payload_len: u16::try_from(message.len()).ok()?,
                    next: self.protocol(),
                    hop_limit: HOP_LIMIT,
                    src,
                    dst,
                }
                .to_octets();
                self.write_message(message)
            }
            _ => None,
        }
    }
}

/// Of an echo reply, what tells whose it is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct EchoReply {
    /// That of the request.
    pub identifier: u16,
    /// That of the request.
    pub sequence: u16,
    /// That of the request, if it was one with a token.
    pub token: u64,
}

impl EchoReply {
    /// Reads a reply, whole or the first fragment of one; its checksum is not looked at. `None` if it is
    /// something else, or has no room for a token.
    #[must_use]
    pub fn read(packet: &IpPacket<'_>) -> Option<Self> {
        let Icmp { kind, .. } = packet.icmp()?;
        let is_reply = match packet.protocol() {
            IpProtocol::ICMP => packet.is_ipv4() && kind == Icmp::ECHO_REPLY,
            _ => !packet.is_ipv4() && kind == Icmp::ECHO_REPLY_V6,
        };
        let mut r = Reader(packet.payload());
        let [_, _, _, _, i0, i1, s0, s1]: [u8; 8] = r.array().ok()?;
        let token = r.u64().ok()?;
        is_reply.then(|| Self {
            identifier: u16::from_be_bytes([i0, i1]),
            sequence: u16::from_be_bytes([s0, s1]),
            token,
        })
    }
}

/// What hosts begin with.
const HOP_LIMIT: u8 = 64;

#[cfg(test)]
mod tests {
    use alloc::vec;
    use alloc::vec::Vec;

    use super::*;

    fn echo(src: &str, dst: &str) -> Echo {
        let (src, dst) = (src.parse().unwrap(), dst.parse().unwrap());
        Echo { src, dst, identifier: 0xad17, sequence: 3, token: 0x0102_0304_0506_0708 }
    }

    /// What a host makes of a request (RFC 792): the addresses change places, and the type its value.
    fn answer(request: &[u8]) -> Vec<u8> {
        let mut reply = request.to_vec();
        let (at, len, kind) = if request[0] >> 4 == 4 { (12, 4, 0) } else { (8, 16, 129) };
        reply[at..at + len].copy_from_slice(&request[at + len..at + 2 * len]);
        reply[at + len..at + 2 * len].copy_from_slice(&request[at..at + len]);
        reply[at + 2 * len] = kind;
        reply
    }

    #[test]
    fn requests_are_whole_packets_of_either_family() {
        for echo in [echo("10.1.0.1", "10.2.0.1"), echo("fd01::1", "fd02::1")] {
            for len in [echo.packet_len(), 1_401] {
                let mut octets = vec![0; len];
                echo.write_packet(&mut octets).unwrap();
                let packet = IpPacket::read(&octets).unwrap();
                assert_eq!((packet.src(), packet.dst()), (echo.src, echo.dst));
                assert_eq!((packet.total_len(), packet.icmp()), (len, Some(echo.icmp())));
                assert_eq!(message_sum(echo.src, echo.dst, packet.payload()), 0);
                assert!(packet.dont_fragment());
                assert_eq!(EchoReply::read(&packet), None, "a request is no reply");
            }
            let mut short = vec![0; echo.packet_len() - 1];
            assert_eq!(echo.write_packet(&mut short), None);
        }
        assert_eq!(echo("10.1.0.1", "fd02::1").write_packet(&mut [0; 100]), None);
        assert_eq!(echo("10.1.0.1", "10.2.0.1").write_packet(&mut vec![0; 65_536]), None);
    }

    #[test]
    fn replies_say_what_the_request_said() {
        for echo in [echo("10.1.0.1", "10.2.0.1"), echo("fd01::1", "fd02::1")] {
            let mut octets = vec![0; 200];
            echo.write_packet(&mut octets).unwrap();
            let reply = answer(&octets);
            let read = EchoReply::read(&IpPacket::read(&reply).unwrap()).unwrap();
            let expected = (echo.identifier, echo.sequence, echo.token);
            assert_eq!((read.identifier, read.sequence, read.token), expected);
        }
    }

    #[test]
    fn what_is_too_short_for_a_token_is_not_read() {
        let echo = echo("fd01::1", "fd02::1");
        for len in 40..echo.packet_len() {
            let mut octets = vec![0; echo.packet_len()];
            echo.write_packet(&mut octets).unwrap();
            let mut reply = answer(&octets);
            reply.truncate(len);
            reply[4..6].copy_from_slice(&u16::try_from(len - 40).unwrap().to_be_bytes());
            let packet = IpPacket::read(&reply).unwrap();
            assert_eq!(EchoReply::read(&packet), None, "{len}");
        }
    }
}
