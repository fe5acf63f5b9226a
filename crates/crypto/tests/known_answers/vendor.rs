//! Vendor IDs of IKEv1 are hashes of texts (RFC 2408 §3.16).

use adit_crypto::Hash;
use adit_wire::isakmp::Vendor;

/// CHECKLIST T14: nobody's ID is mistyped.
#[test]
fn vendor_ids_are_the_hashes_of_their_texts() {
    let texts = [
        (Vendor::NatTraversal, "RFC 3947", 16),
        (Vendor::NatTraversalDraft03, "draft-ietf-ipsec-nat-t-ike-03", 16),
        (Vendor::NatTraversalDraft02, "draft-ietf-ipsec-nat-t-ike-02", 16),
        (Vendor::NatTraversalDraft02Newline, "draft-ietf-ipsec-nat-t-ike-02\n", 16),
        (Vendor::NatTraversalDraft00, "draft-ietf-ipsec-nat-t-ike-00", 16),
        (Vendor::Xauth, "draft-ietf-ipsra-isakmp-xauth-06.txt", 8),
        (Vendor::Unity, "CISCO-UNITY", 14),
        (Vendor::Fragmentation, "FRAGMENTATION", 16),
        (Vendor::StrongSwan, "strongSwan", 16),
        (Vendor::Windows, "MS NT5 ISAKMPOAKLEY", 16),
    ];
    for (vendor, text, octets) in texts {
        let digest = Hash::Md5.digest(&[text.as_bytes()]);
        assert_eq!(vendor.id().0[..octets], digest.as_bytes()[..octets], "{text}");
    }
    // RFC 3706 §5.1 gives the octets and no text.
    assert_eq!(texts.len() + 1, Vendor::ALL.len());
}
