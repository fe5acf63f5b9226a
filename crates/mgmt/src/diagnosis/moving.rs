//! What goes wrong when an address changes (RFC 4555).

use std::net::{IpAddr, SocketAddr};

use super::Diagnosis;
use super::failures::Context;
use crate::codes::Code;

impl Diagnosis {
    /// E124: the peer refuses the address that we would move to.
    pub fn address_refused(cx: &Context, local: IpAddr, remote: SocketAddr) -> Self {
        cx.start(Code::E124, "the peer does not take our new address")
            .line("we are at", local.to_string())
            .line("peer said", format!("UNACCEPTABLE_ADDRESSES, from {remote}"))
            .fix("name our network in `peer` at the other side, or set `address` here")
    }

    /// E125: something on the way changes addresses, and there is no NAT traversal.
    pub fn unexpected_nat(cx: &Context, local: IpAddr, remote: SocketAddr) -> Self {
        cx.start(Code::E125, "a NAT changes addresses, and none is allowed")
            .line("way", format!("{local} to {remote}"))
            .fix("set encap = \"auto\" on both sides, or take the NAT off the way")
    }
}
