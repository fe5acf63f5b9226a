//! Next-header numbers of IPv4 and IPv6 (RFC 791, RFC 8200).

use super::registry;

registry! {
    /// Protocol above IP, or an IPv6 extension header.
    pub struct IpProtocol(u8) {
        HOP_BY_HOP = 0, "hopopt";
        ICMP = 1, "icmp";
        IPV4 = 4, "ipv4";
        TCP = 6, "tcp";
        UDP = 17, "udp";
        DCCP = 33, "dccp";
        IPV6 = 41, "ipv6";
        ROUTING = 43, "ipv6-route";
        FRAGMENT = 44, "ipv6-frag";
        GRE = 47, "gre";
        ESP = 50, "esp";
        AH = 51, "ah";
        ICMPV6 = 58, "ipv6-icmp";
        NO_NEXT = 59, "ipv6-nonxt";
        DESTINATION = 60, "ipv6-opts";
        OSPF = 89, "ospf";
        BEET = 94, "beetph";
        IPCOMP = 108, "ipcomp";
        L2TP = 115, "l2tp";
        SCTP = 132, "sctp";
        MOBILITY = 135, "mobility-header";
        UDP_LITE = 136, "udplite";
        HIP = 139, "hip";
        SHIM6 = 140, "shim6";
        AGGFRAG = 144, "aggfrag";
    }
}

impl IpProtocol {
    /// The protocol with this name or one in common use, `None` if no constant has it.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "icmpv6" | "icmp6" => Some(Self::ICMPV6),
            "mh" => Some(Self::MOBILITY),
            _ => Self::ALL.iter().copied().find(|protocol| protocol.name() == Some(name)),
        }
    }

    /// Whether this is one of the extension headers that RFC 4301 §4.4.1.1 skips to find the
    /// protocol above IP.
    #[must_use]
    pub const fn is_skipped(self) -> bool {
        matches!(self, Self::HOP_BY_HOP | Self::ROUTING | Self::FRAGMENT | Self::DESTINATION)
    }

    /// Whether the first four octets above IP are a source and a destination port.
    #[must_use]
    pub const fn has_ports(self) -> bool {
        matches!(self, Self::TCP | Self::UDP | Self::DCCP | Self::SCTP | Self::UDP_LITE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn protocols_are_found_by_name() {
        assert_eq!(IpProtocol::from_name("tcp"), Some(IpProtocol::TCP));
        assert_eq!(IpProtocol::from_name("TCP"), None);
    }
}
