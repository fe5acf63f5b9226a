//! Traffic selectors as configured, RFC 7296 §3.13, in the notation of `swanctl.conf`.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use adit_wire::iana::IpProtocol;
use adit_wire::ikev2::{PortRange, PortsOf, TrafficSelector};
use ipnet::IpNet;

/// One configured traffic selector.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum TsSpec {
    /// The side's own tunnel address, known when the IKE SA is up: `dynamic`, `dynamic[tcp/80]`.
    Dynamic {
        /// IP protocol; 0 is any.
        protocol: u8,
        /// Ports of this side.
        ports: PortRange,
    },
    /// A fixed range: `10.1.0.0/24`, `10.1.0.0/24[tcp/443]`, `10.1.0.1-10.1.0.9`.
    Selector(TrafficSelector),
}

/// Why a text is no traffic selector.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum TsSpecError {
    /// The address part is neither `dynamic`, an address, a network nor a range.
    #[error("{0:?} is no address, network, range of addresses or \"dynamic\"")]
    BadAddress(String),
    /// A range ends before it begins, or in the other address family.
    #[error("the range {0:?} ends before it begins, or mixes IPv4 and IPv6")]
    BadRange(String),
    /// The part in brackets is not `protocol`, `protocol/port` or `protocol/first-last`.
    #[error("{0:?} is not protocol, protocol/port or protocol/first-last")]
    BadProtocol(String),
    /// What stands for the port is not clearly a message type of ICMP or Mobile IPv6.
    #[error("{0:?} names no message type: that is a name, TYPE(CODE) or TYPE(*)")]
    BadMessageType(String),
}

impl TsSpec {
    /// The side's own address, any protocol and port.
    pub const DYNAMIC: Self = Self::Dynamic { protocol: 0, ports: PortRange::ANY };

    /// The selector of an IKE SA on which the side has this address.
    pub fn resolve(&self, dynamic: IpAddr) -> TrafficSelector {
        match *self {
            Self::Dynamic { protocol, ports } => {
                TrafficSelector { protocol, ports, start: dynamic, end: dynamic }
            }
            Self::Selector(selector) => selector,
        }
    }

    /// The fixed selector; `None` for `dynamic`.
    pub fn selector(&self) -> Option<TrafficSelector> {
        match *self {
            Self::Dynamic { .. } => None,
            Self::Selector(selector) => Some(selector),
        }
    }
}

impl From<TrafficSelector> for TsSpec {
    fn from(selector: TrafficSelector) -> Self {
        Self::Selector(selector)
    }
}

impl From<IpNet> for TsSpec {
    fn from(network: IpNet) -> Self {
        Self::Selector(TrafficSelector {
            protocol: 0,
            ports: PortRange::ANY,
            start: network.network(),
            end: network.broadcast(),
        })
    }
}

/// Reads `ADDRESS`, `NETWORK/LENGTH`, `FIRST-LAST` (or `FIRST..LAST`) or `dynamic`, each with an optional
/// `[PROTOCOL]`, `[PROTOCOL/PORT]`, `[PROTOCOL/FIRST-LAST]`, `[PROTOCOL/any]` or
/// `[PROTOCOL/opaque]`; protocols by name or number. ICMP and Mobile IPv6 have message types for
/// ports, see [`PortsOf`].
impl FromStr for TsSpec {
    type Err = TsSpecError;

    fn from_str(text: &str) -> Result<Self, TsSpecError> {
        let (address, filter) = match text.split_once('[') {
            Some((address, rest)) => (address, rest.strip_suffix(']')),
            None => (text, Some("")),
        };
        let bad_protocol = || TsSpecError::BadProtocol(text.to_owned());
        let (protocol, ports) = parse_filter(filter.ok_or_else(bad_protocol)?)?;
        if address == "dynamic" {
            return Ok(Self::Dynamic { protocol, ports });
        }
        let (start, end) = parse_addresses(address)?;
        Ok(Self::Selector(TrafficSelector { protocol, ports, start, end }))
    }
}

impl fmt::Display for TsSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (protocol, ports) = match *self {
            Self::Dynamic { protocol, ports } => (protocol, ports),
            Self::Selector(selector) => (selector.protocol, selector.ports),
        };
        match self {
            Self::Dynamic { .. } => f.write_str("dynamic")?,
            Self::Selector(selector) => write_addresses(f, selector.start, selector.end)?,
        }
        if protocol == 0 && ports == PortRange::ANY {
            return Ok(());
        }
        match (protocol, IpProtocol(protocol).name()) {
            (0, _) => f.write_str("[any")?,
            (_, Some(name)) => write!(f, "[{name}")?,
            (number, None) => write!(f, "[{number}")?,
        }
        if ports != PortRange::ANY {
            write!(f, "/{}", PortsOf(IpProtocol(protocol), ports))?;
        }
        f.write_str("]")
    }
}

fn parse_addresses(text: &str) -> Result<(IpAddr, IpAddr), TsSpecError> {
    let bad = || TsSpecError::BadAddress(text.to_owned());
    if let Some((first, last)) = text.split_once("..").or_else(|| text.split_once('-')) {
        let first: IpAddr = first.trim().parse().map_err(|_| bad())?;
        let last: IpAddr = last.trim().parse().map_err(|_| bad())?;
        if first.is_ipv4() != last.is_ipv4() || last < first {
            return Err(TsSpecError::BadRange(text.to_owned()));
        }
        return Ok((first, last));
    }
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok((address, address));
    }
    let network: IpNet = text.parse().map_err(|_| bad())?;
    Ok((network.network(), network.broadcast()))
}

fn parse_filter(text: &str) -> Result<(u8, PortRange), TsSpecError> {
    let bad = || TsSpecError::BadProtocol(text.to_owned());
    if text.is_empty() {
        return Ok((0, PortRange::ANY));
    }
    let (protocol, ports) = match text.split_once('/') {
        Some((protocol, ports)) => (protocol, Some(ports)),
        None => (text, None),
    };
    let protocol = match protocol {
        "" | "any" => 0,
        name => match IpProtocol::from_name(name) {
            Some(protocol) => protocol.0,
            None => name.parse().map_err(|_| bad())?,
        },
    };
    let ports = match ports {
        None | Some("" | "any" | "%any") => PortRange::ANY,
        Some("opaque" | "%opaque") => PortRange::OPAQUE,
        Some(types) if PortsOf::are_types(IpProtocol(protocol)) => {
            let bad = || TsSpecError::BadMessageType(text.to_owned());
            PortsOf::parse_types(IpProtocol(protocol), types).ok_or_else(bad)?
        }
        Some(ports) => {
            let (first, last) = ports.split_once('-').unwrap_or((ports, ports));
            let start: u16 = first.parse().map_err(|_| bad())?;
            let end: u16 = last.parse().map_err(|_| bad())?;
            if end < start {
                return Err(bad());
            }
            PortRange { start, end }
        }
    };
    if protocol == 0 && ports != PortRange::ANY && ports != PortRange::OPAQUE {
        // RFC 7296 §3.13.1: ports have a meaning only within a protocol.
        return Err(bad());
    }
    Ok((protocol, ports))
}

fn write_addresses(f: &mut fmt::Formatter<'_>, start: IpAddr, end: IpAddr) -> fmt::Result {
    match enclosing(start, end) {
        network if (network.network(), network.broadcast()) == (start, end) => {
            write!(f, "{network}")
        }
        _ => write!(f, "{start}-{end}"),
    }
}

/// The smallest network that holds the whole range; both ends are of one family.
pub(crate) fn enclosing(start: IpAddr, end: IpAddr) -> IpNet {
    let differing = match (start, end) {
        (IpAddr::V4(start), IpAddr::V4(end)) => (start.to_bits() ^ end.to_bits()).leading_zeros(),
        (IpAddr::V6(start), IpAddr::V6(end)) => (start.to_bits() ^ end.to_bits()).leading_zeros(),
        _ => 0,
    };
    let length = u8::try_from(differing).unwrap_or(0);
    IpNet::new_assert(start, length).trunc()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn spec(text: &str) -> TsSpec {
        text.parse().unwrap()
    }

    #[test]
    fn selectors_print_what_they_read() {
        for text in [
            "dynamic",
            "dynamic[udp/1701]",
            "10.1.0.0/24",
            "10.1.0.7/32",
            "0.0.0.0/0",
            "fd01::/48",
            "10.1.0.1-10.1.0.9",
            "10.1.0.0/24[tcp/443]",
            "10.1.0.0/24[tcp/1000-2000]",
            "10.1.0.0/24[gre]",
            "10.1.0.0/24[200]",
            "10.1.0.0/24[tcp/opaque]",
            "10.1.0.0/24[icmp/8(*)]",
            "fd01::/48[ipv6-icmp/1(0-4)]",
            "fd01::/48[mobility-header/5]",
            "fd01::/48[mobility-header/opaque]",
        ] {
            assert_eq!(spec(text).to_string(), text);
        }
        assert_eq!(spec("10.1.0.7").to_string(), "10.1.0.7/32");
        assert_eq!(spec("10.1.0.1..10.1.0.9").to_string(), "10.1.0.1-10.1.0.9");
        assert_eq!(spec("10.1.0.9/24").to_string(), "10.1.0.0/24");
        assert_eq!(spec("10.1.0.0-10.1.0.255").to_string(), "10.1.0.0/24");
        assert_eq!(spec("10.1.0.0/24[6/any]").to_string(), "10.1.0.0/24[tcp]");
    }

    #[test]
    fn broken_selectors_say_what_is_wrong() {
        let error = |text: &str| text.parse::<TsSpec>().unwrap_err();
        assert!(matches!(error("10.1.0.0/33"), TsSpecError::BadAddress(_)));
        assert!(matches!(error(""), TsSpecError::BadAddress(_)));
        assert!(matches!(error("10.1.0.9-10.1.0.1"), TsSpecError::BadRange(_)));
        assert!(matches!(error("10.1.0.9-fd01::1"), TsSpecError::BadRange(_)));
        assert!(matches!(error("10.1.0.0/24[tcp"), TsSpecError::BadProtocol(_)));
        assert!(matches!(error("10.1.0.0/24[tpc]"), TsSpecError::BadProtocol(_)));
        assert!(matches!(error("10.1.0.0/24[tcp/9-1]"), TsSpecError::BadProtocol(_)));
        assert!(matches!(error("10.1.0.0/24[any/80]"), TsSpecError::BadProtocol(_)));
    }

    /// RFC 4301 §4.4.1.1: the type and code of ICMP and the type of Mobile IPv6 are selectors.
    #[test]
    fn message_types_are_written_by_name() {
        assert_eq!(spec("10.1.0.0/24[icmp/echo-request]"), spec("10.1.0.0/24[icmp/8(*)]"));
        assert_eq!(spec("fd01::/48[icmpv6/echo-reply]"), spec("fd01::/48[58/129(*)]"));
        assert_eq!(spec("fd01::/48[mh/binding-update]"), spec("fd01::/48[135/1280]"));
        let error = "10.1.0.0/24[icmp/8]".parse::<TsSpec>().unwrap_err();
        assert_eq!(error, TsSpecError::BadMessageType("icmp/8".into()));
    }

    #[test]
    fn dynamic_becomes_the_address_of_the_side() {
        let address: IpAddr = "192.0.2.1".parse().unwrap();
        let selector = spec("dynamic[tcp/80]").resolve(address);
        assert_eq!((selector.start, selector.end, selector.protocol), (address, address, 6));
    }

    proptest! {
        #[test]
        fn ranges_round_trip(a: u32, b: u32, protocol in 1_u8.., first: u16, last: u16) {
            let selector = TrafficSelector {
                protocol,
                ports: PortRange { start: first.min(last), end: first.max(last) },
                start: IpAddr::V4(a.min(b).into()),
                end: IpAddr::V4(a.max(b).into()),
            };
            let spec = TsSpec::Selector(selector);
            prop_assert_eq!(spec.to_string().parse(), Ok(spec));
        }

        #[test]
        fn any_text_is_read_without_panic(text in ".*") {
            let _ = text.parse::<TsSpec>();
        }
    }
}
