//! Vendor IDs that mean something to us: RFC 3706 §5.1, RFC 3947 §3.1 and its drafts, and those of
//! other implementations.
//!
//! Most are the MD5 of a text, as RFC 2408 §3.16 advises; the text stands beside each.

use super::VendorId;

/// What a vendor ID says about who sends it.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Vendor {
    /// Dead peer detection (RFC 3706).
    DeadPeerDetection,
    /// NAT traversal (RFC 3947).
    NatTraversal,
    /// NAT traversal of draft-ietf-ipsec-nat-t-ike-03.
    NatTraversalDraft03,
    /// NAT traversal of draft-ietf-ipsec-nat-t-ike-02.
    NatTraversalDraft02,
    /// The same, as those say it who hashed the end of the line, too.
    NatTraversalDraft02Newline,
    /// NAT traversal of draft-ietf-ipsec-nat-t-ike-00: on port 500 alone.
    NatTraversalDraft00,
    /// Extended authentication (draft-ietf-ipsec-isakmp-xauth-06).
    Xauth,
    /// A client or gateway of Cisco's, with its own attributes of Mode-Config.
    Unity,
    /// Fragmentation of messages, of Cisco's and Microsoft's.
    Fragmentation,
    /// strongSwan.
    StrongSwan,
    /// Windows; a version follows.
    Windows,
}

impl Vendor {
    /// Everyone here, in the order of [`Vendor`].
    pub const ALL: [Self; 11] = [
        Self::DeadPeerDetection,
        Self::NatTraversal,
        Self::NatTraversalDraft03,
        Self::NatTraversalDraft02,
        Self::NatTraversalDraft02Newline,
        Self::NatTraversalDraft00,
        Self::Xauth,
        Self::Unity,
        Self::Fragmentation,
        Self::StrongSwan,
        Self::Windows,
    ];

    /// Who sends this ID, if we know. Versions and flags behind a known beginning are passed over
    /// where their vendor puts some.
    #[must_use]
    pub fn of(id: VendorId<'_>) -> Option<Self> {
        Self::ALL.into_iter().find(|vendor| match vendor.has_tail() {
            true => id.0.starts_with(vendor.octets()),
            false => id.0 == vendor.octets(),
        })
    }

    /// The ID that says so; where there is a tail, without it.
    #[must_use]
    pub const fn id(self) -> VendorId<'static> {
        VendorId(self.octets())
    }

    const fn octets(self) -> &'static [u8] {
        match self {
            // RFC 3706 §5.1, its version 1.0 at the end.
            Self::DeadPeerDetection => &[
                0xaf, 0xca, 0xd7, 0x13, 0x68, 0xa1, 0xf1, 0xc9, 0x6b, 0x86, 0x96, 0xfc, 0x77, 0x57,
                0x01, 0x00,
            ],
            // "RFC 3947"
            Self::NatTraversal => &[
                0x4a, 0x13, 0x1c, 0x81, 0x07, 0x03, 0x58, 0x45, 0x5c, 0x57, 0x28, 0xf2, 0x0e, 0x95,
                0x45, 0x2f,
            ],
            // "draft-ietf-ipsec-nat-t-ike-03"
            Self::NatTraversalDraft03 => &[
                0x7d, 0x94, 0x19, 0xa6, 0x53, 0x10, 0xca, 0x6f, 0x2c, 0x17, 0x9d, 0x92, 0x15, 0x52,
                0x9d, 0x56,
            ],
            // "draft-ietf-ipsec-nat-t-ike-02"
            Self::NatTraversalDraft02 => &[
                0xcd, 0x60, 0x46, 0x43, 0x35, 0xdf, 0x21, 0xf8, 0x7c, 0xfd, 0xb2, 0xfc, 0x68, 0xb6,
                0xa4, 0x48,
            ],
            // "draft-ietf-ipsec-nat-t-ike-02\n"
            Self::NatTraversalDraft02Newline => &[
                0x90, 0xcb, 0x80, 0x91, 0x3e, 0xbb, 0x69, 0x6e, 0x08, 0x63, 0x81, 0xb5, 0xec, 0x42,
                0x7b, 0x1f,
            ],
            // "draft-ietf-ipsec-nat-t-ike-00"
            Self::NatTraversalDraft00 => &[
                0x44, 0x85, 0x15, 0x2d, 0x18, 0xb6, 0xbb, 0xcd, 0x0b, 0xe8, 0xa8, 0x46, 0x95, 0x79,
                0xdd, 0xcc,
            ],
            // The first half of "draft-ietf-ipsra-isakmp-xauth-06.txt".
            Self::Xauth => &[0x09, 0x00, 0x26, 0x89, 0xdf, 0xd6, 0xb7, 0x12],
            // "CISCO-UNITY", the last two octets its version 1.0.
            Self::Unity => &[
                0x12, 0xf5, 0xf2, 0x8c, 0x45, 0x71, 0x68, 0xa9, 0x70, 0x2d, 0x9f, 0xe2, 0x74, 0xcc,
                0x01, 0x00,
            ],
            // "FRAGMENTATION"; flags may follow.
            Self::Fragmentation => &[
                0x40, 0x48, 0xb7, 0xd5, 0x6e, 0xbc, 0xe8, 0x85, 0x25, 0xe7, 0xde, 0x7f, 0x00, 0xd6,
                0xc2, 0xd3,
            ],
            // "strongSwan"
            Self::StrongSwan => &[
                0x88, 0x2f, 0xe5, 0x6d, 0x6f, 0xd2, 0x0d, 0xbc, 0x22, 0x51, 0x61, 0x3b, 0x2e, 0xbe,
                0x5b, 0xeb,
            ],
            // "MS NT5 ISAKMPOAKLEY"; a version of four octets follows.
            Self::Windows => &[
                0x1e, 0x2b, 0x51, 0x69, 0x05, 0x99, 0x1c, 0x7d, 0x7c, 0x96, 0xfc, 0xbf, 0xb5, 0x87,
                0xe4, 0x61,
            ],
        }
    }

    /// Whether the vendor puts octets of its own behind.
    const fn has_tail(self) -> bool {
        matches!(self, Self::Fragmentation | Self::Windows)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// CHECKLIST T14: the IDs of NAT traversal are all known, and unknown ones are nobody's.
    #[test]
    fn known_ids_are_known_and_others_are_nobodys() {
        for vendor in Vendor::ALL {
            assert_eq!(Vendor::of(vendor.id()), Some(vendor));
        }
        assert_eq!(Vendor::of(VendorId(&[])), None);
        assert_eq!(Vendor::of(VendorId::ADIT), None);
        let mut long = Vendor::NatTraversal.octets().to_vec();
        long.push(0);
        assert_eq!(Vendor::of(VendorId(&long)), None);
    }

    #[test]
    fn versions_and_flags_may_follow_some() {
        for vendor in [Vendor::Fragmentation, Vendor::Windows] {
            let mut tailed = vendor.octets().to_vec();
            tailed.extend([0x80, 0, 0, 0]);
            assert_eq!(Vendor::of(VendorId(&tailed)), Some(vendor));
        }
    }
}
