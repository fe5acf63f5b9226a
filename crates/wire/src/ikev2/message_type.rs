//! Message types where other protocols have ports (RFC 4301 §4.4.1.1, RFC 7296 §3.13.1).
//!
//! ICMP's are `type << 8 | code`, those of Mobile IPv6 `type << 8`. People write the type's name,
//! `TYPE(CODE)`, `TYPE(FIRST-LAST)` or `TYPE(*)`, and for Mobile IPv6, which has no codes, `TYPE`.
//! Numbers from 256 on, and ranges, are the sixteen bits as they are.

use core::fmt;

use super::selector::PortRange;
use crate::iana::IpProtocol;

/// The ports of a protocol, as people write them.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct PortsOf(pub IpProtocol, pub PortRange);

impl PortsOf {
    /// Whether a protocol has message types instead of ports.
    #[must_use]
    pub const fn are_types(protocol: IpProtocol) -> bool {
        matches!(protocol, IpProtocol::ICMP | IpProtocol::ICMPV6 | IpProtocol::MOBILITY)
    }

    /// Reads message types; `None` if it is not clear which are meant.
    #[must_use]
    pub fn parse_types(protocol: IpProtocol, text: &str) -> Option<PortRange> {
        let names = match protocol {
            IpProtocol::ICMP => ICMP,
            IpProtocol::ICMPV6 => ICMPV6,
            _ => MOBILITY,
        };
        let all_of = |kind: u8| match protocol {
            IpProtocol::MOBILITY => PortRange::single(u16::from(kind) << 8),
            _ => codes(kind, 0, u8::MAX),
        };
        if let Some((kind, _)) = names.iter().find(|(_, name)| *name == text) {
            return Some(all_of(*kind));
        }
        if let Some((kind, rest)) = text.split_once('(') {
            let kind = kind.parse().ok()?;
            return match rest.strip_suffix(')')? {
                "*" => Some(codes(kind, 0, u8::MAX)),
                code => {
                    let (first, last) = code.split_once('-').unwrap_or((code, code));
                    let (first, last) = (first.parse().ok()?, last.parse().ok()?);
                    (first <= last).then(|| codes(kind, first, last))
                }
            };
        }
        if let Some((first, last)) = text.split_once('-') {
            return PortRange::new(first.parse().ok()?, last.parse().ok()?).ok();
        }
        match text.parse::<u16>().ok()? {
            // A type or a code? Where there are no codes it is a type.
            kind @ 0..=255 if protocol == IpProtocol::MOBILITY => {
                Some(PortRange::single(kind << 8))
            }
            0..=255 => None,
            both => Some(PortRange::single(both)),
        }
    }
}

fn codes(kind: u8, first: u8, last: u8) -> PortRange {
    let port = |code| u16::from_be_bytes([kind, code]);
    PortRange { start: port(first), end: port(last) }
}

/// `443`, `1-9`; where there are message types `8(0)`, `8(*)`, `3(0-4)`.
impl fmt::Display for PortsOf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(protocol, ports) = *self;
        let plain = matches!(ports, PortRange::ANY | PortRange::OPAQUE);
        let ([kind, first], [last_kind, last]) =
            (ports.start.to_be_bytes(), ports.end.to_be_bytes());
        if plain || !Self::are_types(protocol) || kind != last_kind {
            return ports.fmt(f);
        }
        match (first, last) {
            (0, 0) if protocol == IpProtocol::MOBILITY => write!(f, "{kind}"),
            (0, u8::MAX) => write!(f, "{kind}(*)"),
            (code, same) if code == same => write!(f, "{kind}({code})"),
            _ => write!(f, "{kind}({first}-{last})"),
        }
    }
}

/// RFC 792, RFC 1812.
const ICMP: &[(u8, &str)] = &[
    (0, "echo-reply"),
    (3, "destination-unreachable"),
    (5, "redirect"),
    (8, "echo-request"),
    (11, "time-exceeded"),
    (12, "parameter-problem"),
    (13, "timestamp-request"),
    (14, "timestamp-reply"),
];

/// RFC 4443, RFC 4861.
const ICMPV6: &[(u8, &str)] = &[
    (1, "destination-unreachable"),
    (2, "packet-too-big"),
    (3, "time-exceeded"),
    (4, "parameter-problem"),
    (128, "echo-request"),
    (129, "echo-reply"),
    (133, "router-solicitation"),
    (134, "router-advertisement"),
    (135, "neighbor-solicitation"),
    (136, "neighbor-advertisement"),
    (137, "redirect"),
];

/// RFC 6275 §6.1.
const MOBILITY: &[(u8, &str)] = &[
    (0, "binding-refresh-request"),
    (1, "home-test-init"),
    (2, "care-of-test-init"),
    (3, "home-test"),
    (4, "care-of-test"),
    (5, "binding-update"),
    (6, "binding-acknowledgement"),
    (7, "binding-error"),
];

#[cfg(test)]
mod tests {
    use alloc::string::ToString;

    use super::*;

    fn both_ways(protocol: IpProtocol, text: &str, start: u16, end: u16) {
        let ports = PortRange { start, end };
        assert_eq!(PortsOf::parse_types(protocol, text), Some(ports), "{text}");
        assert_eq!(PortsOf(protocol, ports).to_string(), text);
    }

    #[test]
    fn types_print_what_they_read() {
        both_ways(IpProtocol::ICMP, "8(0)", 0x0800, 0x0800);
        both_ways(IpProtocol::ICMP, "8(*)", 0x0800, 0x08ff);
        both_ways(IpProtocol::ICMP, "3(0-4)", 0x0300, 0x0304);
        both_ways(IpProtocol::ICMPV6, "128(0)", 0x8000, 0x8000);
        both_ways(IpProtocol::ICMPV6, "0-300", 0, 300);
        both_ways(IpProtocol::MOBILITY, "5", 0x0500, 0x0500);
        both_ways(IpProtocol::MOBILITY, "5(*)", 0x0500, 0x05ff);
        both_ways(IpProtocol::MOBILITY, "0(5)", 5, 5);
    }

    #[test]
    fn types_have_names() {
        let read = |protocol, text| {
            let ports = PortsOf::parse_types(protocol, text)?;
            Some((ports.start, ports.end))
        };
        assert_eq!(read(IpProtocol::ICMP, "echo-request"), Some((0x0800, 0x08ff)));
        assert_eq!(read(IpProtocol::ICMPV6, "echo-request"), Some((0x8000, 0x80ff)));
        assert_eq!(read(IpProtocol::MOBILITY, "binding-update"), Some((0x0500, 0x0500)));
        assert_eq!(read(IpProtocol::ICMP, "packet-too-big"), None);
        // As swanctl.conf has it, sixteen bits at once.
        assert_eq!(read(IpProtocol::ICMP, "2048"), Some((0x0800, 0x0800)));
    }

    #[test]
    fn what_may_be_a_type_or_a_code_is_refused() {
        for text in ["8", "0", "8(", "8(256)", "300(0)", "8(4-3)", "8(0)x", "", "ping", "9-8"] {
            assert_eq!(PortsOf::parse_types(IpProtocol::ICMP, text), None, "{text}");
        }
    }
}
