//! Selectors as the kernel has them: one prefix and one masked port on either side.

use adit_wire::iana::IpProtocol;
use adit_wire::ikev2::{PortRange, TrafficSelector};
use adit_wire::ip::FlowKey;
use ipnet::IpNet;

use super::octets::{Request, View, family};
use crate::route::prefixes_of_range;

/// `struct xfrm_selector`: the packets of one policy.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Selector {
    /// Where packets come from.
    pub source: IpNet,
    /// Where they go.
    pub destination: IpNet,
    /// Protocol above IP; 0 is any.
    pub protocol: u8,
    /// Port of the source; for ICMP its type.
    pub source_port: MaskedPort,
    /// Port of the destination; for ICMP its code.
    pub destination_port: MaskedPort,
}

/// The ports that agree with `port` in the bits of `mask`.
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub struct MaskedPort {
    /// The port.
    pub port: u16,
    /// Its bits that count; 0 is any port.
    pub mask: u16,
}

/// The kernel has no selector for it.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum SelectorError {
    /// Fragments alone, or a range of ICMP types.
    #[error("the kernel selects neither opaque ports nor ranges of ICMP types")]
    Ports,
    /// More than [`SELECTORS_MAX`].
    #[error("the selectors make more than {SELECTORS_MAX} prefixes and masks")]
    TooMany,
}

/// Most selectors of one pair of traffic selectors.
pub const SELECTORS_MAX: usize = 512;

impl Selector {
    /// All packets from `source` to `destination`: each range cut into prefixes and masks.
    ///
    /// Empty if no packet can match both.
    ///
    /// # Errors
    ///
    /// [`SelectorError`].
    pub fn cover(
        source: &TrafficSelector,
        destination: &TrafficSelector,
    ) -> Result<Vec<Self>, SelectorError> {
        let protocol = match (source.protocol, destination.protocol) {
            (0, protocol) | (protocol, 0) => protocol,
            (one, other) if one == other => one,
            _ => return Ok(Vec::new()),
        };
        let ports = port_pairs(protocol, source.ports, destination.ports)?;
        let sources = prefixes_of_range(source.start, source.end);
        let destinations = prefixes_of_range(destination.start, destination.end);
        if sources.len().saturating_mul(destinations.len()).saturating_mul(ports.len())
            > SELECTORS_MAX
        {
            return Err(SelectorError::TooMany);
        }
        let mut selectors = Vec::new();
        for source in &sources {
            for destination in &destinations {
                // One selector has one family.
                if source.addr().is_ipv4() != destination.addr().is_ipv4() {
                    continue;
                }
                selectors.extend(ports.iter().map(|(source_port, destination_port)| Self {
                    source: *source,
                    destination: *destination,
                    protocol,
                    source_port: *source_port,
                    destination_port: *destination_port,
                }));
            }
        }
        Ok(selectors)
    }

    pub(super) fn write(&self, request: &mut Request) {
        request.address(self.destination.addr());
        request.address(self.source.addr());
        for port in [self.destination_port, self.source_port] {
            request.be16(port.port);
            request.be16(port.mask);
        }
        request.u16(family(self.source.addr()));
        request.u8(self.destination.prefix_len());
        request.u8(self.source.prefix_len());
        request.u8(self.protocol);
        request.zeros(3);
        // Any interface, any user.
        request.zeros(8);
    }

    /// `None` if it is none of ours: no family, or an impossible prefix.
    pub(super) fn read(view: View<'_>) -> Option<Self> {
        let family = view.u16(40)?;
        let port = |at| Some(MaskedPort { port: view.be16(at)?, mask: view.be16(at + 2)? });
        Some(Self {
            destination: IpNet::new(view.address(0, family)?, view.u8(42)?).ok()?,
            source: IpNet::new(view.address(16, family)?, view.u8(43)?).ok()?,
            protocol: view.u8(44)?,
            destination_port: port(32)?,
            source_port: port(36)?,
        })
    }

    /// The packet that the kernel reports with an acquire: its addresses, and its ports as far as
    /// its policy looks at them.
    pub(super) fn flow(&self) -> FlowKey {
        let (source, destination) = (self.source.addr(), self.destination.addr());
        let (from, to) = (self.source_port, self.destination_port);
        if from.mask == 0 && to.mask == 0 {
            return FlowKey::without_ports(source, destination, self.protocol);
        }
        if is_icmp(self.protocol) {
            let both = (from.port << 8) | (to.port & 0xff);
            return FlowKey::new(source, destination, self.protocol, both, both);
        }
        FlowKey::new(source, destination, self.protocol, from.port, to.port)
    }
}

/// `struct xfrm_selector`.
pub(super) const SELECTOR_OCTETS: usize = 56;

fn is_icmp(protocol: u8) -> bool {
    [IpProtocol::ICMP, IpProtocol::ICMPV6].contains(&IpProtocol(protocol))
}

fn port_pairs(
    protocol: u8,
    source: PortRange,
    destination: PortRange,
) -> Result<Vec<(MaskedPort, MaskedPort)>, SelectorError> {
    if source == PortRange::OPAQUE || destination == PortRange::OPAQUE {
        return Err(SelectorError::Ports);
    }
    if is_icmp(protocol) {
        // RFC 4301 §4.4.1.1: type and code, the same on both sides.
        let Some(both) = source.intersection(destination) else { return Ok(Vec::new()) };
        return icmp_pair(both).map(|pair| vec![pair]).ok_or(SelectorError::Ports);
    }
    let (from, to) = (masked(source), masked(destination));
    let mut pairs = Vec::new();
    for one in &from {
        pairs.extend(to.iter().map(|other| (*one, *other)));
    }
    Ok(pairs)
}

fn icmp_pair(range: PortRange) -> Option<(MaskedPort, MaskedPort)> {
    if range == PortRange::ANY {
        return Some(Default::default());
    }
    let [kind, code] = range.start.to_be_bytes();
    let exact = |octet: u8| MaskedPort { port: octet.into(), mask: u16::MAX };
    if range.start == range.end {
        return Some((exact(kind), exact(code)));
    }
    let whole_type = range.end == range.start | 0xff && code == 0;
    whole_type.then(|| (exact(kind), MaskedPort::default()))
}

/// The fewest masks that cover exactly a range of ports; at most 30.
fn masked(range: PortRange) -> Vec<MaskedPort> {
    let mut masks = Vec::new();
    let (mut next, end) = (u32::from(range.start), u32::from(range.end));
    while next <= end {
        let aligned = if next == 0 { 16 } else { next.trailing_zeros().min(16) };
        let room = (end - next + 1).ilog2();
        let bits = aligned.min(room);
        let size = 1_u32 << bits;
        let mask = u16::try_from(0x1_0000 - size).unwrap_or(0);
        masks.push(MaskedPort { port: u16::try_from(next).unwrap_or(0), mask });
        next += size;
    }
    masks
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ts(text: &str) -> TrafficSelector {
        text.parse().unwrap()
    }

    #[test]
    fn a_range_of_addresses_becomes_its_prefixes() {
        let source =
            TrafficSelector::from_range([10, 1, 0, 1].into(), [10, 1, 0, 2].into()).unwrap();
        let selectors = Selector::cover(&source, &ts("10.2.0.0/24")).unwrap();
        let sources: Vec<String> = selectors.iter().map(|s| s.source.to_string()).collect();
        assert_eq!(sources, ["10.1.0.1/32", "10.1.0.2/32"]);
        assert!(selectors.iter().all(|s| s.destination_port == MaskedPort::default()));
    }

    #[test]
    fn families_and_protocols_that_differ_match_nothing() {
        assert_eq!(Selector::cover(&TrafficSelector::ANY_V4, &TrafficSelector::ANY_V6), Ok(vec![]));
        let tcp = TrafficSelector::ANY_V4.with_protocol(IpProtocol::TCP, PortRange::ANY);
        let udp = TrafficSelector::ANY_V4.with_protocol(IpProtocol::UDP, PortRange::ANY);
        assert_eq!(Selector::cover(&tcp, &udp), Ok(vec![]));
    }

    #[test]
    fn icmp_has_type_and_code_in_the_place_of_ports() {
        let echo = PortRange::new(0x0800, 0x08ff).unwrap();
        let icmp = TrafficSelector::ANY_V4.with_protocol(IpProtocol::ICMP, echo);
        let [selector] = Selector::cover(&icmp, &TrafficSelector::ANY_V4).unwrap()[..] else {
            panic!("one type is one selector");
        };
        assert_eq!(selector.source_port, MaskedPort { port: 8, mask: 0xffff });
        assert_eq!(selector.destination_port, MaskedPort::default());

        let some = PortRange::new(0x0300, 0x0401).unwrap();
        let icmp = TrafficSelector::ANY_V4.with_protocol(IpProtocol::ICMP, some);
        let refused = Selector::cover(&icmp, &TrafficSelector::ANY_V4);
        assert_eq!(refused, Err(SelectorError::Ports));
        let opaque = TrafficSelector::ANY_V4.with_protocol(IpProtocol::TCP, PortRange::OPAQUE);
        assert_eq!(Selector::cover(&opaque, &TrafficSelector::ANY_V4), Err(SelectorError::Ports));
    }

    #[test]
    fn too_many_selectors_are_refused() {
        let odd = PortRange::new(1, 65_534).unwrap();
        let tcp = TrafficSelector::ANY_V4.with_protocol(IpProtocol::TCP, odd);
        assert_eq!(Selector::cover(&tcp, &tcp), Err(SelectorError::TooMany));
    }

    proptest! {
        /// Every port of the range has exactly one mask, every other none.
        #[test]
        fn masks_cover_exactly_their_range(a: u16, b: u16, probe: u16) {
            let range = PortRange::new(a.min(b), a.max(b)).unwrap();
            let masks = masked(range);
            prop_assert!(masks.len() <= 30);
            for port in [probe, a, b, range.start.wrapping_sub(1), range.end.wrapping_add(1)] {
                let found = masks.iter().filter(|m| port & m.mask == m.port).count();
                prop_assert_eq!(found, usize::from(range.contains(Some(port))));
            }
        }
    }
}
