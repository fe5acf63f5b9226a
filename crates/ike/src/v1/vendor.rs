//! Vendor ids of IKEv1 (RFC 2408 §3.16): what the other side can do, and who it is.

use adit_db::{RemoteAccess, UserAuth};

use crate::event::PeerSoftware;

use super::core::Core;
use super::fragmentation;
use super::nat;

mod names;

/// Dead peer detection (RFC 3706 §5.1), version 1.0.
pub(crate) const DPD: &[u8] = &[
    0xaf, 0xca, 0xd7, 0x13, 0x68, 0xa1, 0xf1, 0xc9, 0x6b, 0x86, 0x96, 0xfc, 0x77, 0x57, 0x01, 0x00,
];

/// Ours: who reads it has another Adit before it.
pub(crate) const ADIT: &[u8] = b"Adit IKEv1";

/// XAUTH (draft-beaulieu-ike-xauth-02 §2).
const XAUTH: &[u8] = &[0x09, 0x00, 0x26, 0x89, 0xdf, 0xd6, 0xb7, 0x12];

/// MD5 of `CISCO-UNITY`, with a version: the attributes of Unity clients.
const UNITY: &[u8] = &[
    0x12, 0xf5, 0xf2, 0x8c, 0x45, 0x71, 0x68, 0xa9, 0x70, 0x2d, 0x9f, 0xe2, 0x74, 0xcc, 0x01, 0x00,
];

/// What we send where a connection has users or addresses inside.
pub(crate) fn of_remote_access(access: &RemoteAccess) -> Vec<&'static [u8]> {
    let has_users = access.user != UserAuth::None;
    let has_addresses = access.client.is_some() || access.server.is_some();
    let ids = [has_users.then_some(XAUTH), has_addresses.then_some(UNITY)];
    ids.into_iter().flatten().collect()
}

/// What we send: that we answer R-U-THERE whether we ask it or not, and take fragments.
pub(crate) fn ours(core: &Core) -> impl Iterator<Item = &'static [u8]> + use<> {
    let fragments = core.connection.fragmentation.then_some(fragmentation::VENDOR_ID);
    [DPD, ADIT].into_iter().chain(fragments)
}

/// Whether the peer answers signs of life: it says so, or is another Adit, whose id for that was spoilt then.
pub(crate) fn has_dpd(theirs: &[&[u8]]) -> bool {
    theirs.contains(&DPD) || theirs.contains(&ADIT)
}

/// Whether the peer says the same; behind the name of fragmentation it may have other flags.
pub(crate) fn is_among(id: &[u8], theirs: &[&[u8]]) -> bool {
    match id == fragmentation::VENDOR_ID {
        true => fragmentation::is_announced(theirs),
        false => theirs.contains(&id),
    }
}

/// Whether we may say that we answer signs of life though the peer has not: of the many ids of NAT traversal one
/// is answered, so that the answer is no longer than the question.
pub(crate) fn is_free(id: &[u8], theirs: &[&[u8]]) -> bool {
    id == DPD && theirs.iter().filter(|theirs| nat::is_known(theirs)).count() > 1
}

/// Who the peer is. Unity tells nothing: clients and gateways of others send it, too, for the attributes.
pub(crate) fn software(vendor_ids: &[&[u8]]) -> PeerSoftware {
    names::software(vendor_ids)
}

#[cfg(test)]
mod tests {
    use adit_wire::isakmp::Vendor;

    use super::*;

    /// CHECKLIST U12: nobody is asked who has not said that it answers; an Adit has by its name.
    #[test]
    fn who_answers_signs_of_life_says_so() {
        for (ids, expected) in [(&[DPD][..], true), (&[ADIT], true), (&[UNITY, XAUTH], false)] {
            assert_eq!(has_dpd(ids), expected);
        }
    }

    /// CHECKLIST T14: who is known by an id, whatever stands beside it; what many send tells nothing.
    #[test]
    fn peers_are_known_by_their_ids() {
        let windows = [Vendor::Windows.id().0, &[0, 0, 0, 9]].concat();
        for (id, expected) in [
            (ADIT, PeerSoftware::Adit),
            (Vendor::StrongSwan.id().0, PeerSoftware::StrongSwan),
            (b"OE-Libreswan-4.10", PeerSoftware::Libreswan),
            (&windows, PeerSoftware::Windows),
            (UNITY, PeerSoftware::Unknown),
            (b"racoon", PeerSoftware::Unknown),
        ] {
            assert_eq!(software(&[DPD, id, XAUTH]), expected, "{id:02x?}");
        }
        assert_eq!(software(&[&windows, ADIT]), PeerSoftware::Adit);
        assert_eq!(software(&[]), PeerSoftware::Unknown);
    }
}
