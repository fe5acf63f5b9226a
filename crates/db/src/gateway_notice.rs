//! What two gateways tell each other about a child SA in the IKE SA, where none of its packets can carry it.

/// A notice about a child SA.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum GatewayNotice {
    /// An ICMP error about a packet that came by the SA, from its IP header on; the fourth method of
    /// draft-ietf-ipsec-icmp-options-00. At most [`Self::ICMP_MAX`] octets.
    IcmpError(Vec<u8>),
    /// Its packets come in fragments, of which the largest of late had so many octets
    /// (draft-richardson-ipsec-pmtu-discov-02 §3).
    LargestFragment(u16),
}

impl GatewayNotice {
    /// Octets of the longest ICMP error (RFC 4443 §2.4 (c)).
    pub const ICMP_MAX: usize = 1_280;
}
