//! What policies look at in a packet, RFC 4301 §4.4.1.1.

use core::{fmt, net::IpAddr};

use crate::iana::IpProtocol;

/// The selectors of one packet.
///
/// Ports are those of TCP, UDP, SCTP, DCCP and UDP-Lite. For ICMP both are `type << 8 | code`, for
/// Mobile IPv6 both are `type << 8` (RFC 7296 §3.13.1). Where a packet has no such field or does
/// not show it, as in every fragment but the first, they are zero and `opaque` is set.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct FlowKey {
    /// Source address.
    pub src: IpAddr,
    /// Destination address.
    pub dst: IpAddr,
    /// Protocol above IP, beyond all extension headers.
    pub protocol: u8,
    /// Source port.
    pub src_port: u16,
    /// Destination port.
    pub dst_port: u16,
    /// Whether the ports are not there to be looked at.
    pub opaque: bool,
}

impl FlowKey {
    /// A flow with ports.
    #[must_use]
    pub const fn new(src: IpAddr, dst: IpAddr, protocol: u8, src_port: u16, dst_port: u16) -> Self {
        Self { src, dst, protocol, src_port, dst_port, opaque: false }
    }

    /// A flow whose ports are not there to be looked at.
    #[must_use]
    pub const fn without_ports(src: IpAddr, dst: IpAddr, protocol: u8) -> Self {
        Self { src, dst, protocol, src_port: 0, dst_port: 0, opaque: true }
    }

    /// The flow of the answers.
    #[must_use]
    pub const fn reversed(self) -> Self {
        Self {
            src: self.dst,
            dst: self.src,
            protocol: self.protocol,
            src_port: self.dst_port,
            dst_port: self.src_port,
            opaque: self.opaque,
        }
    }

    /// The sender's side.
    #[must_use]
    pub fn source(&self) -> FlowSide {
        FlowSide {
            address: self.src,
            protocol: self.protocol,
            port: (!self.opaque).then_some(self.src_port),
        }
    }

    /// The receiver's side.
    #[must_use]
    pub fn destination(&self) -> FlowSide {
        FlowSide {
            address: self.dst,
            protocol: self.protocol,
            port: (!self.opaque).then_some(self.dst_port),
        }
    }
}

/// `10.1.0.5:40000 > 10.2.0.7:443 tcp`.
impl fmt::Display for FlowKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} > {} ", self.source(), self.destination())?;
        match IpProtocol(self.protocol).name() {
            Some(name) => f.write_str(name),
            None => write!(f, "protocol {}", self.protocol),
        }
    }
}

/// What a traffic selector looks at: one end of a flow.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct FlowSide {
    /// Address of this end.
    pub address: IpAddr,
    /// Protocol above IP.
    pub protocol: u8,
    /// Port of this end; `None` where a packet does not show one.
    pub port: Option<u16>,
}

/// Address and port as a socket address prints them; the address alone without a port.
impl fmt::Display for FlowSide {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.port {
            Some(port) => core::net::SocketAddr::new(self.address, port).fmt(f),
            None => self.address.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;

    use super::*;

    #[test]
    fn the_answer_to_an_answer_is_the_question() {
        let flow = FlowKey::new([10, 1, 0, 5].into(), [10, 2, 0, 7].into(), 6, 40_000, 443);

        assert_eq!(flow.reversed().reversed(), flow);
        assert_eq!(flow.reversed().source(), flow.destination());
        assert_eq!(flow.to_string(), "10.1.0.5:40000 > 10.2.0.7:443 tcp");
    }

    #[test]
    fn an_opaque_flow_shows_no_port() {
        let flow = FlowKey::without_ports([10, 1, 0, 5].into(), [10, 2, 0, 7].into(), 200);

        assert_eq!(flow.source().port, None);
        assert_eq!(flow.destination().port, None);
        assert_eq!(flow.to_string(), "10.1.0.5 > 10.2.0.7 protocol 200");
    }
}
