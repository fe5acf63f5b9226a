//! One traffic selector as a set of addresses, protocols and ports, RFC 7296 §3.13.1.

use core::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

use super::message_type::PortsOf;
use crate::{
    Reader, WireError, Writer,
    iana::{IpProtocol, TsType},
    ip::{FlowKey, FlowSide},
};

/// Ports of a selector: a range, all, or those a packet does not show.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct PortRange {
    /// First port of the range.
    pub start: u16,
    /// Last port of the range.
    pub end: u16,
}

impl PortRange {
    /// Every port, shown or not.
    pub const ANY: Self = Self { start: 0, end: u16::MAX };

    /// No port to be seen: in a later fragment, or under a protocol without ports. The one range
    /// that ends before it starts (RFC 7296 §3.13.1).
    pub const OPAQUE: Self = Self { start: u16::MAX, end: 0 };

    /// The ports from `start` to `end`.
    ///
    /// # Errors
    ///
    /// [`WireError::BadValue`] for a range that ends before it starts, but for [`Self::OPAQUE`].
    pub fn new(start: u16, end: u16) -> Result<Self, WireError> {
        let ports = Self { start, end };
        if start <= end || ports == Self::OPAQUE {
            Ok(ports)
        } else {
            Err(WireError::BadValue("TS.end_port", end.into()))
        }
    }

    /// One port.
    #[must_use]
    pub const fn single(port: u16) -> Self {
        Self { start: port, end: port }
    }

    /// Whether `port` is in the range; `None` is a port that cannot be seen.
    #[must_use]
    pub fn contains(self, port: Option<u16>) -> bool {
        match port {
            Some(port) => self.start <= port && port <= self.end,
            None => self == Self::ANY || self == Self::OPAQUE,
        }
    }

    /// Whether all of this is in `other`.
    #[must_use]
    pub fn is_subset_of(self, other: Self) -> bool {
        self.intersection(other) == Some(self)
    }

    /// What is in both.
    #[must_use]
    pub fn intersection(self, other: Self) -> Option<Self> {
        if self == Self::ANY || self == other {
            return Some(other);
        }
        if other == Self::ANY {
            return Some(self);
        }
        let both = Self { start: self.start.max(other.start), end: self.end.min(other.end) };
        (both.start <= both.end).then_some(both)
    }
}

/// `443`, `80-90`, `any` or `opaque`.
impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::ANY => f.write_str("any"),
            Self::OPAQUE => f.write_str("opaque"),
            Self { start, end } if start == end => write!(f, "{start}"),
            Self { start, end } => write!(f, "{start}-{end}"),
        }
    }
}

/// One traffic selector, RFC 7296 §3.13.1: what is in the address range and of the protocol and
/// in the port range.
///
/// ```text
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// |   TS Type     |IP Protocol ID |       Selector Length         |
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// |           Start Port          |           End Port            |
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// ~                         Starting Address                      ~
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// ~                         Ending Address                        ~
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// ```
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct TrafficSelector {
    /// Protocol above IP; 0 is any.
    pub protocol: u8,
    /// Ports; for ICMP `type << 8 | code`.
    pub ports: PortRange,
    /// First address; of the same family as `end`.
    pub start: IpAddr,
    /// Last address, not below `start`.
    pub end: IpAddr,
}

impl TrafficSelector {
    /// Whether it asks for more than addresses, so that it cannot judge every fragment.
    #[must_use]
    pub fn looks_above_ip(&self) -> bool {
        self.protocol != 0 || self.ports != PortRange::ANY
    }

    /// All of IPv4.
    pub const ANY_V4: Self = Self {
        protocol: 0,
        ports: PortRange::ANY,
        start: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        end: IpAddr::V4(Ipv4Addr::BROADCAST),
    };

    /// All of IPv6.
    pub const ANY_V6: Self = Self {
        protocol: 0,
        ports: PortRange::ANY,
        start: IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        end: IpAddr::V6(Ipv6Addr::from_bits(u128::MAX)),
    };

    /// All traffic of one address range.
    ///
    /// # Errors
    ///
    /// [`WireError::BadValue`] if the addresses are of two families or `end` is below `start`.
    pub fn from_range(start: IpAddr, end: IpAddr) -> Result<Self, WireError> {
        if start.is_ipv4() != end.is_ipv4() || start > end {
            return Err(WireError::BadValue("TS.end_address", 0));
        }
        Ok(Self { protocol: 0, ports: PortRange::ANY, start, end })
    }

    /// All traffic of the prefix that `address` lies in.
    ///
    /// # Errors
    ///
    /// [`WireError::BadValue`] if `prefix_len` is more bits than the address has.
    pub fn from_prefix(address: IpAddr, prefix_len: u8) -> Result<Self, WireError> {
        let bits = address_bits(address);
        let host_bits = bits
            .checked_sub(prefix_len.into())
            .ok_or_else(|| WireError::BadValue("prefix length", prefix_len.into()))?;
        let host = low_bits(host_bits);
        let number = to_number(address);
        Ok(Self {
            protocol: 0,
            ports: PortRange::ANY,
            start: from_number(number & !host, bits),
            end: from_number(number | host, bits),
        })
    }

    /// All traffic of one address.
    #[must_use]
    pub const fn from_address(address: IpAddr) -> Self {
        Self { protocol: 0, ports: PortRange::ANY, start: address, end: address }
    }

    /// The same addresses, but one protocol and its ports.
    #[must_use]
    pub const fn with_protocol(self, protocol: IpProtocol, ports: PortRange) -> Self {
        Self { protocol: protocol.0, ports, start: self.start, end: self.end }
    }

    /// Whether the addresses are IPv4.
    #[must_use]
    pub const fn is_ipv4(&self) -> bool {
        self.start.is_ipv4()
    }

    /// Whether `address` is in the range.
    #[must_use]
    pub fn contains_address(&self, address: IpAddr) -> bool {
        address.is_ipv4() == self.is_ipv4() && self.start <= address && address <= self.end
    }

    /// Whether one side of a flow is selected.
    #[must_use]
    pub fn contains(&self, side: FlowSide) -> bool {
        self.contains_address(side.address)
            && (self.protocol == 0 || self.protocol == side.protocol)
            && self.ports.contains(side.port)
    }

    /// Whether one side of a flow may be selected once all of its packet is seen: the ports that a
    /// later fragment does not show, and a protocol behind its extension headers, are taken to fit.
    #[must_use]
    pub fn may_contain(&self, side: FlowSide) -> bool {
        if side.port.is_some() {
            return self.contains(side);
        }
        self.contains_address(side.address)
            && (self.protocol == 0
                || self.protocol == side.protocol
                || IpProtocol(side.protocol).is_skipped())
    }

    /// Whether a packet's source is selected.
    #[must_use]
    pub fn contains_source(&self, flow: &FlowKey) -> bool {
        self.contains(flow.source())
    }

    /// Whether a packet's destination is selected.
    #[must_use]
    pub fn contains_destination(&self, flow: &FlowKey) -> bool {
        self.contains(flow.destination())
    }

    /// Whether all of this is in `other`.
    #[must_use]
    pub fn is_subset_of(&self, other: &Self) -> bool {
        self.intersection(other) == Some(*self)
    }

    /// What is in both; `None` if nothing is.
    #[must_use]
    pub fn intersection(&self, other: &Self) -> Option<Self> {
        if self.is_ipv4() != other.is_ipv4() {
            return None;
        }
        let protocol = match (self.protocol, other.protocol) {
            (0, protocol) | (protocol, 0) => protocol,
            (one, two) if one == two => one,
            _ => return None,
        };
        let ports = self.ports.intersection(other.ports)?;
        let start = self.start.max(other.start);
        let end = self.end.min(other.end);
        (start <= end).then_some(Self { protocol, ports, start, end })
    }

    /// The prefix length, if the range is one prefix.
    #[must_use]
    pub fn prefix_len(&self) -> Option<u8> {
        let bits = address_bits(self.start);
        let first = to_number(self.start);
        let host = first ^ to_number(self.end);
        let host_bits = u128::BITS.saturating_sub(host.leading_zeros());
        let is_prefix = host == low_bits(host_bits) && first & host == 0;
        is_prefix.then(|| u8::try_from(bits.saturating_sub(host_bits)).unwrap_or(u8::MAX))
    }

    /// The fewest prefixes that together are the address range, in ascending order.
    ///
    /// At most 62 for IPv4 and 254 for IPv6.
    pub fn prefixes(&self) -> impl Iterator<Item = (IpAddr, u8)> + use<> {
        let bits = address_bits(self.start);
        let last = to_number(self.end);
        let mut next = Some(to_number(self.start));
        core::iter::from_fn(move || {
            let first = next.filter(|first| *first <= last)?;
            // As large as the alignment of `first` and the rest of the range allow.
            let aligned = first.trailing_zeros().min(bits);
            let host_bits = (0..=aligned)
                .rev()
                .find(|host_bits| first | low_bits(*host_bits) <= last)
                .unwrap_or(0);
            next = (first | low_bits(host_bits)).checked_add(1);
            let prefix_len = u8::try_from(bits.saturating_sub(host_bits)).unwrap_or(u8::MAX);
            Some((from_number(first, bits), prefix_len))
        })
    }

    /// Reads one selector; `None` in place of one of an unknown type.
    pub(super) fn read(r: &mut Reader<'_>) -> Result<Option<Self>, WireError> {
        let kind = TsType(r.u8()?);
        let protocol = r.u8()?;
        let length = r.u16()?;
        let body_len = length
            .checked_sub(HEADER_LEN)
            .ok_or_else(|| WireError::BadValue("TS.length", length.into()))?;
        let mut body = r.part(body_len.into())?;
        let expected = match kind {
            TsType::IPV4_ADDR_RANGE => LEN_V4,
            TsType::IPV6_ADDR_RANGE => LEN_V6,
            _ => return Ok(None),
        };
        if length != expected {
            return Err(WireError::BadValue("TS.length", length.into()));
        }
        let ports = PortRange::new(body.u16()?, body.u16()?)?;
        let addresses: (IpAddr, IpAddr) = if kind == TsType::IPV4_ADDR_RANGE {
            (body.array::<4>()?.into(), body.array::<4>()?.into())
        } else {
            (body.array::<16>()?.into(), body.array::<16>()?.into())
        };
        let range = Self::from_range(addresses.0, addresses.1)?;
        Ok(Some(Self { protocol, ports, ..range }))
    }

    /// Appends the selector; the exact inverse of [`Self::read`].
    pub(super) fn write(&self, w: &mut Writer<'_>) {
        let (kind, length) = if self.is_ipv4() {
            (TsType::IPV4_ADDR_RANGE, LEN_V4)
        } else {
            (TsType::IPV6_ADDR_RANGE, LEN_V6)
        };
        w.u8(kind.0);
        w.u8(self.protocol);
        w.u16(length);
        w.u16(self.ports.start);
        w.u16(self.ports.end);
        for address in [self.start, self.end] {
            match address {
                IpAddr::V4(address) => w.bytes(&address.octets()),
                IpAddr::V6(address) => w.bytes(&address.octets()),
            }
        }
    }
}

/// `10.1.0.0/24`, `10.1.0.1..10.1.0.9[tcp]`, `fd00::/8[udp/53]`, `0.0.0.0/0[any/80-90]`.
impl fmt::Display for TrafficSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.prefix_len() {
            Some(prefix_len) => write!(f, "{}/{prefix_len}", self.start)?,
            None => write!(f, "{}..{}", self.start, self.end)?,
        }
        if self.protocol == 0 && self.ports == PortRange::ANY {
            return Ok(());
        }
        match (self.protocol, IpProtocol(self.protocol).name()) {
            (0, _) => f.write_str("[any")?,
            (_, Some(name)) => write!(f, "[{name}")?,
            (number, None) => write!(f, "[{number}")?,
        }
        match self.ports {
            PortRange::ANY => f.write_str("]"),
            ports => write!(f, "/{}]", PortsOf(IpProtocol(self.protocol), ports)),
        }
    }
}

/// What in a text is not a traffic selector.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("not a traffic selector: {0} is wrong")]
pub struct SelectorSyntax(pub &'static str);

/// Reads what [`fmt::Display`] prints; a lone address is a prefix of full length.
impl FromStr for TrafficSelector {
    type Err = SelectorSyntax;

    fn from_str(text: &str) -> Result<Self, SelectorSyntax> {
        let (addresses, rest) = match text.split_once('[') {
            Some((addresses, rest)) => {
                (addresses, Some(rest.strip_suffix(']').ok_or(SelectorSyntax("the bracket"))?))
            }
            None => (text, None),
        };
        let range = parse_addresses(addresses)?;
        let Some(rest) = rest else { return Ok(range) };
        let (protocol, ports) = match rest.split_once('/') {
            Some((protocol, ports)) => {
                let protocol = parse_protocol(protocol)?;
                (protocol, parse_ports(protocol, ports)?)
            }
            None => (parse_protocol(rest)?, PortRange::ANY),
        };
        Ok(Self { protocol, ports, ..range })
    }
}

fn parse_addresses(text: &str) -> Result<TrafficSelector, SelectorSyntax> {
    let address = |text: &str| text.parse::<IpAddr>().map_err(|_| SelectorSyntax("the address"));
    if let Some((start, end)) = text.split_once("..") {
        return TrafficSelector::from_range(address(start)?, address(end)?)
            .map_err(|_| SelectorSyntax("the address range"));
    }
    let Some((prefix, len)) = text.split_once('/') else {
        return address(text).map(TrafficSelector::from_address);
    };
    let len = len.parse().map_err(|_| SelectorSyntax("the prefix length"))?;
    TrafficSelector::from_prefix(address(prefix)?, len)
        .map_err(|_| SelectorSyntax("the prefix length"))
}

fn parse_protocol(text: &str) -> Result<u8, SelectorSyntax> {
    match IpProtocol::from_name(text) {
        _ if text == "any" => Ok(0),
        Some(protocol) => Ok(protocol.0),
        None => text.parse().map_err(|_| SelectorSyntax("the protocol")),
    }
}

fn parse_ports(protocol: u8, text: &str) -> Result<PortRange, SelectorSyntax> {
    let port = |text: &str| text.parse().map_err(|_| SelectorSyntax("the port"));
    match (text, text.split_once('-')) {
        ("any", _) => Ok(PortRange::ANY),
        ("opaque", _) => Ok(PortRange::OPAQUE),
        _ if PortsOf::are_types(IpProtocol(protocol)) => {
            PortsOf::parse_types(IpProtocol(protocol), text).ok_or(SelectorSyntax("the type"))
        }
        (_, Some((start, end))) => match (port(start)?, port(end)?) {
            (start, end) if start <= end => Ok(PortRange { start, end }),
            _ => Err(SelectorSyntax("the port range")),
        },
        (_, None) => port(text).map(PortRange::single),
    }
}

const fn address_bits(address: IpAddr) -> u32 {
    match address {
        IpAddr::V4(_) => Ipv4Addr::BITS,
        IpAddr::V6(_) => Ipv6Addr::BITS,
    }
}

fn to_number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => address.to_bits().into(),
        IpAddr::V6(address) => address.to_bits(),
    }
}

/// The address of `bits` bits; higher bits of the number are dropped.
fn from_number(number: u128, bits: u32) -> IpAddr {
    if bits == Ipv6Addr::BITS {
        return Ipv6Addr::from_bits(number).into();
    }
    let [.., a, b, c, d] = number.to_be_bytes();
    Ipv4Addr::new(a, b, c, d).into()
}

/// A number whose lowest `count` bits are set.
fn low_bits(count: u32) -> u128 {
    u128::MAX.checked_shr(u128::BITS.saturating_sub(count)).unwrap_or(0)
}

/// Type, protocol and length.
const HEADER_LEN: u16 = 4;
const LEN_V4: u16 = 16;
const LEN_V6: u16 = 40;

#[cfg(test)]
mod tests;
#[cfg(test)]
pub(super) use tests::any_selector;
