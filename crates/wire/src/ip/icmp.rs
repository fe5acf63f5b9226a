//! ICMP (RFC 792) and ICMPv6 (RFC 4443): what policies look at.

use crate::iana::IpProtocol;

/// The first two octets of an ICMP or ICMPv6 message.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Icmp {
    /// Type of the message.
    pub kind: u8,
    /// Code under the type.
    pub code: u8,
}

impl Icmp {
    /// Type of an echo reply (RFC 792).
    pub const ECHO_REPLY: u8 = 0;
    /// Type of an echo request (RFC 792).
    pub const ECHO: u8 = 8;
    /// Type of destination unreachable (RFC 792).
    pub const UNREACHABLE: u8 = 3;
    /// Type of source quench (RFC 792), which nobody sends any more (RFC 6633).
    pub const SOURCE_QUENCH: u8 = 4;
    /// Type of a redirect (RFC 792).
    pub const REDIRECT: u8 = 5;
    /// Type of time exceeded (RFC 792).
    pub const TIME_EXCEEDED: u8 = 11;
    /// Type of parameter problem (RFC 792).
    pub const PARAMETER_PROBLEM: u8 = 12;
    /// Type of a security failure (RFC 2521).
    pub const SECURITY_FAILURE: u8 = 40;
    /// Code of destination unreachable: fragmentation needed and DF set.
    pub const FRAGMENTATION_NEEDED: u8 = 4;
    /// Type of destination unreachable (RFC 4443 §3.1).
    pub const UNREACHABLE_V6: u8 = 1;
    /// Type of packet too big (RFC 4443 §3.2).
    pub const TOO_BIG_V6: u8 = 2;
    /// Type of time exceeded (RFC 4443 §3.3).
    pub const TIME_EXCEEDED_V6: u8 = 3;
    /// Type of parameter problem (RFC 4443 §3.4).
    pub const PARAMETER_PROBLEM_V6: u8 = 4;
    /// Type of an ICMPv6 echo request (RFC 4443 §4.1).
    pub const ECHO_V6: u8 = 128;
    /// Type of an ICMPv6 echo reply (RFC 4443 §4.2).
    pub const ECHO_REPLY_V6: u8 = 129;
    /// Type of an ICMPv6 redirect (RFC 4861 §4.5).
    pub const REDIRECT_V6: u8 = 137;

    /// An echo request of ICMP, or of ICMPv6.
    #[must_use]
    pub const fn echo(is_ipv4: bool) -> Self {
        Self { kind: if is_ipv4 { Self::ECHO } else { Self::ECHO_V6 }, code: 0 }
    }

    /// The reply to one.
    #[must_use]
    pub const fn echo_reply(is_ipv4: bool) -> Self {
        Self { kind: if is_ipv4 { Self::ECHO_REPLY } else { Self::ECHO_REPLY_V6 }, code: 0 }
    }

    /// Type and code of a message; `None` if it is shorter than both.
    #[must_use]
    pub fn read(message: &[u8]) -> Option<Self> {
        let [kind, code] = *message.first_chunk()?;
        Some(Self { kind, code })
    }

    /// What stands in the port fields of a traffic selector (RFC 7296 §3.13.1).
    #[must_use]
    pub const fn as_port(self) -> u16 {
        u16::from_be_bytes([self.kind, self.code])
    }

    /// Whether the message reports an error about another packet, which it then carries.
    #[must_use]
    pub const fn is_error(self, protocol: IpProtocol) -> bool {
        match protocol {
            IpProtocol::ICMP => matches!(
                self.kind,
                Self::UNREACHABLE
                    | Self::SOURCE_QUENCH
                    | Self::REDIRECT
                    | Self::TIME_EXCEEDED
                    | Self::PARAMETER_PROBLEM
                    | Self::SECURITY_FAILURE
            ),
            // RFC 4443 §2.1: error messages have a zero in the high-order bit.
            IpProtocol::ICMPV6 => self.kind < 128,
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn type_and_code_make_one_port() {
        assert_eq!(Icmp::read(&[3, 4, 0, 0]).map(Icmp::as_port), Some(0x0304));
        assert_eq!(Icmp::read(&[3]), None);
    }

    #[test]
    fn echo_is_no_error_and_packet_too_big_is() {
        assert!(!Icmp { kind: 8, code: 0 }.is_error(IpProtocol::ICMP));
        assert!(Icmp { kind: 3, code: 4 }.is_error(IpProtocol::ICMP));
        assert!(!Icmp { kind: 128, code: 0 }.is_error(IpProtocol::ICMPV6));
        assert!(Icmp { kind: 2, code: 0 }.is_error(IpProtocol::ICMPV6));
        assert!(!Icmp { kind: 3, code: 0 }.is_error(IpProtocol::TCP));
    }
}
