//! Payloads whose body is one octet string: KE, HASH, SIG, NONCE (RFC 2408 §3.7, §3.11 to §3.13),
//! VID (§3.16) and NAT-D (RFC 3947 §3.2).

use super::IsakmpError;
use crate::{Reader, WireError, Writer, iana::isakmp::NotifyType};

/// Key Exchange payload body: a public value. Its length depends on the group.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Ke<'a>(pub &'a [u8]);

/// Hash payload body: as long as the negotiated prf's output.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Hash<'a>(pub &'a [u8]);

/// Signature payload body.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Signature<'a>(pub &'a [u8]);

/// Nonce payload body in clear, of a length that RFC 2409 §5 allows: `Ni_b` or `Nr_b`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Nonce<'a>(&'a [u8]);

/// Vendor ID payload body: octets that some implementation chose for itself.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct VendorId<'a>(pub &'a [u8]);

/// NAT Discovery payload body: hash of cookies, address and port (RFC 3947 §3.2).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct NatDiscovery<'a>(pub &'a [u8]);

impl VendorId<'_> {
    /// What Adit calls itself, the same as in IKEv2.
    pub const ADIT: VendorId<'static> = VendorId(b"adit vendor id 1");
}

impl<'a> Ke<'a> {
    /// Reads one body.
    ///
    /// # Errors
    ///
    /// INVALID-KEY-INFORMATION if it is empty.
    pub fn read(r: &mut Reader<'a>) -> Result<Self, IsakmpError> {
        not_empty(r, NotifyType::INVALID_KEY_INFORMATION, "KE.data").map(Self)
    }

    /// Appends the body; the exact inverse of [`Self::read`].
    pub fn write(&self, w: &mut Writer<'_>) {
        w.bytes(self.0);
    }
}

impl<'a> Hash<'a> {
    /// Reads one body.
    ///
    /// # Errors
    ///
    /// INVALID-HASH-INFORMATION if it is empty.
    pub fn read(r: &mut Reader<'a>) -> Result<Self, IsakmpError> {
        not_empty(r, NotifyType::INVALID_HASH_INFORMATION, "HASH.data").map(Self)
    }

    /// Appends the body; the exact inverse of [`Self::read`].
    pub fn write(&self, w: &mut Writer<'_>) {
        w.bytes(self.0);
    }
}

impl<'a> Signature<'a> {
    /// Reads one body.
    ///
    /// # Errors
    ///
    /// INVALID-SIGNATURE if it is empty.
    pub fn read(r: &mut Reader<'a>) -> Result<Self, IsakmpError> {
        not_empty(r, NotifyType::INVALID_SIGNATURE, "SIG.data").map(Self)
    }

    /// Appends the body; the exact inverse of [`Self::read`].
    pub fn write(&self, w: &mut Writer<'_>) {
        w.bytes(self.0);
    }
}

impl<'a> Nonce<'a> {
    /// Octets of the shortest nonce.
    pub const LEN_MIN: usize = 8;

    /// Octets of the longest one.
    pub const LEN_MAX: usize = 256;

    /// A nonce of these octets.
    ///
    /// # Errors
    ///
    /// PAYLOAD-MALFORMED unless there are [`Self::LEN_MIN`] to [`Self::LEN_MAX`] of them.
    pub fn new(octets: &'a [u8]) -> Result<Self, IsakmpError> {
        if (Self::LEN_MIN..=Self::LEN_MAX).contains(&octets.len()) {
            return Ok(Self(octets));
        }
        let len = u64::try_from(octets.len()).unwrap_or(u64::MAX);
        Err(WireError::BadValue("NONCE.length", len).into())
    }

    /// Reads one body.
    ///
    /// # Errors
    ///
    /// Those of [`Self::new`].
    pub fn read(r: &mut Reader<'a>) -> Result<Self, IsakmpError> {
        Self::new(r.rest())
    }

    /// Appends the body; the exact inverse of [`Self::read`].
    pub fn write(&self, w: &mut Writer<'_>) {
        w.bytes(self.0);
    }

    /// The nonce.
    #[must_use]
    pub const fn as_bytes(&self) -> &'a [u8] {
        self.0
    }
}

impl<'a> NatDiscovery<'a> {
    /// Reads one body.
    ///
    /// # Errors
    ///
    /// INVALID-HASH-INFORMATION if it is empty.
    pub fn read(r: &mut Reader<'a>) -> Result<Self, IsakmpError> {
        not_empty(r, NotifyType::INVALID_HASH_INFORMATION, "NAT-D.data").map(Self)
    }

    /// Appends the body; the exact inverse of [`Self::read`].
    pub fn write(&self, w: &mut Writer<'_>) {
        w.bytes(self.0);
    }
}

fn not_empty<'a>(
    r: &mut Reader<'a>,
    notify: NotifyType,
    name: &'static str,
) -> Result<&'a [u8], IsakmpError> {
    if r.is_empty() {
        return Err(IsakmpError::new(notify, WireError::Truncated(name)));
    }
    Ok(r.rest())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        iana::isakmp::PayloadType,
        isakmp::{
            Payload,
            testing::{fixed, notify},
        },
    };

    /// CHECKLIST T10: an empty KE payload is refused, as is every other empty value.
    #[test]
    fn empty_values_have_their_notify() {
        let empty = |kind| notify(kind, &[]);
        assert_eq!(empty(PayloadType::KE), NotifyType::INVALID_KEY_INFORMATION);
        assert_eq!(empty(PayloadType::HASH), NotifyType::INVALID_HASH_INFORMATION);
        assert_eq!(empty(PayloadType::SIGNATURE), NotifyType::INVALID_SIGNATURE);
        assert_eq!(empty(PayloadType::NAT_D), NotifyType::INVALID_HASH_INFORMATION);
        assert_eq!(empty(PayloadType::NONCE), NotifyType::PAYLOAD_MALFORMED);
        for kind in [PayloadType::KE, PayloadType::HASH, PayloadType::SIGNATURE] {
            fixed(kind, &[1, 2, 3]);
        }
    }

    //= https://www.rfc-editor.org/rfc/rfc2409#section-5
    //= type=test
    //# The length of nonce payload MUST be between 8 and 256 bytes inclusive.
    #[test]
    fn a_nonce_has_8_to_256_octets() {
        let octets = [0x5a; 257];
        for len in [8, 256] {
            let read = fixed(PayloadType::NONCE, &octets[..len]);
            assert!(matches!(read, Payload::Nonce(nonce) if nonce.as_bytes() == &octets[..len]));
        }
        for len in [0, 7, 257] {
            let refused = notify(PayloadType::NONCE, &octets[..len]);
            assert_eq!(refused, NotifyType::PAYLOAD_MALFORMED);
        }
    }

    #[test]
    fn every_octet_string_is_a_vendor_id() {
        assert_eq!(fixed(PayloadType::VENDOR_ID, &[]), Payload::VendorId(VendorId(&[])));
        fixed(PayloadType::VENDOR_ID, b"adit");
    }
}
