//! What gateways tell each other about a child SA, as the data of a notify: the same in both versions of
//! IKE (RFC 7296 §3.10, RFC 2408 §3.14).
//!
//! | notify, private use | IKEv2 | IKEv1 | data |
//! |---|---|---|---|
//! | ADIT_ICMP_ERROR | 40972 | 33000 | an IPv4 or IPv6 packet with the error, at most 1,280 octets |
//! | ADIT_LARGEST_FRAGMENT | 40973 | 33001 | octets of the largest fragment (2) |
//!
//! The private ranges of the two do not meet, so each has numbers of its own; here they are IKEv2's.

use std::borrow::Cow;

use adit_db::GatewayNotice;
use adit_wire::iana::NotifyType;

/// The type of the notify, and its data.
pub(crate) fn written(notice: &GatewayNotice) -> (NotifyType, Cow<'_, [u8]>) {
    match notice {
        GatewayNotice::IcmpError(packet) => (NotifyType::ADIT_ICMP_ERROR, packet.into()),
        GatewayNotice::LargestFragment(octets) => {
            (NotifyType::ADIT_LARGEST_FRAGMENT, octets.to_be_bytes().to_vec().into())
        }
    }
}

/// What a notify says; `None` if it is none of these, or cannot be read.
pub(crate) fn read(kind: NotifyType, data: &[u8]) -> Option<GatewayNotice> {
    match kind {
        NotifyType::ADIT_ICMP_ERROR => {
            let is_sane = (1..=GatewayNotice::ICMP_MAX).contains(&data.len());
            is_sane.then(|| GatewayNotice::IcmpError(data.to_vec()))
        }
        NotifyType::ADIT_LARGEST_FRAGMENT => {
            let octets = <[u8; 2]>::try_from(data).ok()?;
            Some(GatewayNotice::LargestFragment(u16::from_be_bytes(octets)))
        }
        _ => None,
    }
}
