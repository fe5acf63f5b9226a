//! The chain of payloads in a message, RFC 2408 §3.2 and §5.3.

use super::{
    Cert, CertReq, Configuration, Delete, Fragment, Hash, Id, IsakmpError, Ke, NatDiscovery,
    NatOriginalAddress, Nonce, Notify, Sa, Signature, VendorId,
};
use crate::{
    Reader, WireError, Writer,
    iana::isakmp::{NotifyType, PayloadType},
};

/// Payloads taken from one chain.
pub const PAYLOADS_MAX: usize = 64;

/// Octets of padding that may follow the last payload of a decrypted message.
///
/// RFC 2409 appendix B pads with zeros to the next block. Others pad at random and by more than
/// one block, so that the last octet may count what is before it.
pub const PADDING_MAX: usize = 255;

/// Octets of a generic payload header.
pub const GENERIC_HEADER_LEN: u16 = 4;

/// One payload, its body not read yet.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct RawPayload<'a> {
    /// What it is.
    pub kind: PayloadType,
    /// Everything after the generic header: what RFC 2409 writes as `<P>_b`.
    pub body: &'a [u8],
    /// The payload with its generic header, as a hash over the message takes it.
    pub octets: &'a [u8],
}

/// The payloads of one chain, in order.
///
/// ```text
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// | Next Payload  |   RESERVED    |         Payload Length        |
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// ```
///
/// The first error ends the iteration: a payload longer than what is left or shorter than its
/// header, a RESERVED octet that is not zero (RFC 2408 §5.3), more than [`PAYLOADS_MAX`] payloads,
/// octets after the last one that are no padding: all PAYLOAD-MALFORMED. In clear up to three zeros
/// are padding, since some fill messages up to a multiple of four; in a decrypted message it is up
/// to [`PADDING_MAX`] octets of any value.
#[derive(Clone, Debug)]
pub struct Payloads<'a> {
    next: PayloadType,
    rest: Reader<'a>,
    left: usize,
    decrypted: bool,
}

impl<'a> Payloads<'a> {
    /// The chain of a message in clear, which begins with a payload of type `first`.
    #[must_use]
    pub const fn new(first: PayloadType, octets: &'a [u8]) -> Self {
        Self { next: first, rest: Reader(octets), left: PAYLOADS_MAX, decrypted: false }
    }

    /// The chain of a message that was encrypted, padding included.
    #[must_use]
    pub const fn decrypted(first: PayloadType, octets: &'a [u8]) -> Self {
        Self { decrypted: true, ..Self::new(first, octets) }
    }

    /// Octets not read yet: the payloads after the last one returned, and the padding.
    #[must_use]
    pub const fn rest(&self) -> &'a [u8] {
        self.rest.0
    }

    fn read(&mut self) -> Result<RawPayload<'a>, WireError> {
        self.left = self.left.checked_sub(1).ok_or(WireError::TooMany("payloads"))?;
        let start = self.rest.0;
        let kind = self.next;
        let next = PayloadType(self.rest.u8()?);
        let reserved = self.rest.u8()?;
        if reserved != 0 {
            return Err(WireError::BadValue("Payload.reserved", reserved.into()));
        }
        let length = self.rest.u16()?;
        let body_len = length
            .checked_sub(GENERIC_HEADER_LEN)
            .ok_or_else(|| WireError::BadValue("Payload.length", length.into()))?;
        let body = self.rest.bytes(body_len.into())?;
        let octets = start.get(..length.into()).unwrap_or_default();
        self.next = next;
        Ok(RawPayload { kind, body, octets })
    }

    fn is_padding(&self) -> bool {
        if self.decrypted {
            return self.rest.len() <= PADDING_MAX;
        }
        matches!(self.rest.0, [] | [0] | [0, 0] | [0, 0, 0])
    }

    fn end(&mut self) {
        self.next = PayloadType::NONE;
        self.rest = Reader::default();
    }
}

impl<'a> Iterator for Payloads<'a> {
    type Item = Result<RawPayload<'a>, IsakmpError>;

    fn next(&mut self) -> Option<Self::Item> {
        let result = match (self.next, self.is_padding()) {
            (PayloadType::NONE, true) => return None,
            (PayloadType::NONE, false) => Err(WireError::Trailing("payloads")),
            (_, _) => self.read().map_err(|error| error.within("payload")),
        };
        if result.is_err() {
            self.end();
        }
        Some(result.map_err(IsakmpError::from))
    }
}

impl core::iter::FusedIterator for Payloads<'_> {}

/// The octets of a decrypted message that its payloads fill: what a HASH payload in front of them
/// covers, "excluding any padding added for encryption" (RFC 2409 §5.5).
///
/// # Errors
///
/// Those of [`Payloads`].
pub fn without_padding(first: PayloadType, octets: &[u8]) -> Result<&[u8], IsakmpError> {
    let mut payloads = Payloads::decrypted(first, octets);
    let mut padding = octets.len();
    while let Some(payload) = payloads.next() {
        payload?;
        padding = payloads.rest().len();
    }
    Ok(octets.get(..octets.len().saturating_sub(padding)).unwrap_or_default())
}

/// One payload, its body read.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Payload<'a> {
    /// Security Association.
    Sa(Sa<'a>),
    /// Key Exchange.
    Ke(Ke<'a>),
    /// Identification, of either side.
    Id(Id<'a>),
    /// Certificate.
    Cert(Cert<'a>),
    /// Certificate Request.
    CertReq(CertReq<'a>),
    /// Hash.
    Hash(Hash<'a>),
    /// Signature.
    Signature(Signature<'a>),
    /// Nonce.
    Nonce(Nonce<'a>),
    /// Notification.
    Notify(Notify<'a>),
    /// Delete.
    Delete(Delete<'a>),
    /// Vendor ID.
    VendorId(VendorId<'a>),
    /// Attributes, of Mode-Config and XAUTH.
    Configuration(Configuration<'a>),
    /// NAT Discovery, with the number of RFC 3947.
    NatD(NatDiscovery<'a>),
    /// NAT Original Address, with the number of RFC 3947.
    NatOa(NatOriginalAddress),
    /// NAT Discovery, with the number of the drafts.
    NatDDraft(NatDiscovery<'a>),
    /// NAT Original Address, with the number of the drafts.
    NatOaDraft(NatOriginalAddress),
    /// A piece of another message.
    Fragment(Fragment<'a>),
    /// Of a private type that means nothing here: to be skipped.
    Private(RawPayload<'a>),
}

impl<'a> Payload<'a> {
    /// Reads the body.
    ///
    /// # Errors
    ///
    /// INVALID-PAYLOAD-TYPE for a type that is neither known nor private (RFC 2408 §5.3); what the
    /// body's own `read` says; PAYLOAD-MALFORMED if that leaves octets behind.
    pub fn read(raw: RawPayload<'a>) -> Result<Self, IsakmpError> {
        let mut r = Reader(raw.body);
        let name = raw.kind.name().unwrap_or(WireError::UNNAMED);
        let payload = Self::read_body(raw, &mut r).map_err(|error| error.within(name))?;
        r.finish(name)?;
        Ok(payload)
    }

    fn read_body(raw: RawPayload<'a>, r: &mut Reader<'a>) -> Result<Self, IsakmpError> {
        match raw.kind {
            PayloadType::SA => Sa::read(r).map(Self::Sa),
            PayloadType::KE => Ke::read(r).map(Self::Ke),
            PayloadType::ID => Id::read(r).map(Self::Id),
            PayloadType::CERT => Cert::read(r).map(Self::Cert),
            PayloadType::CERTREQ => CertReq::read(r).map(Self::CertReq),
            PayloadType::HASH => Hash::read(r).map(Self::Hash),
            PayloadType::SIGNATURE => Signature::read(r).map(Self::Signature),
            PayloadType::NONCE => Nonce::read(r).map(Self::Nonce),
            PayloadType::NOTIFICATION => Notify::read(r).map(Self::Notify),
            PayloadType::DELETE => Delete::read(r).map(Self::Delete),
            PayloadType::VENDOR_ID => Ok(Self::VendorId(VendorId(r.rest()))),
            PayloadType::ATTRIBUTES => Configuration::read(r).map(Self::Configuration),
            PayloadType::NAT_D => NatDiscovery::read(r).map(Self::NatD),
            PayloadType::NAT_OA => NatOriginalAddress::read(r).map(Self::NatOa),
            PayloadType::NAT_D_DRAFT => NatDiscovery::read(r).map(Self::NatDDraft),
            PayloadType::NAT_OA_DRAFT => NatOriginalAddress::read(r).map(Self::NatOaDraft),
            PayloadType::FRAGMENT => Fragment::read(r).map(Self::Fragment),
            kind if kind.is_private() => {
                r.rest();
                Ok(Self::Private(raw))
            }
            kind => Err(IsakmpError::value(
                NotifyType::INVALID_PAYLOAD_TYPE,
                "Payload.type",
                kind.0.into(),
            )),
        }
    }

    /// Appends the body; the exact inverse of [`Self::read`].
    pub fn write(&self, w: &mut Writer<'_>) {
        match self {
            Self::Sa(body) => body.write(w),
            Self::Ke(body) => body.write(w),
            Self::Id(body) => body.write(w),
            Self::Cert(body) => body.write(w),
            Self::CertReq(body) => body.write(w),
            Self::Hash(body) => body.write(w),
            Self::Signature(body) => body.write(w),
            Self::Nonce(body) => body.write(w),
            Self::Notify(body) => body.write(w),
            Self::Delete(body) => body.write(w),
            Self::VendorId(body) => w.bytes(body.0),
            Self::Configuration(body) => body.write(w),
            Self::NatD(body) | Self::NatDDraft(body) => body.write(w),
            Self::NatOa(body) | Self::NatOaDraft(body) => body.write(w),
            Self::Fragment(body) => body.write(w),
            Self::Private(raw) => w.bytes(raw.body),
        }
    }

    /// The type that announces it in the chain.
    #[must_use]
    pub const fn kind(&self) -> PayloadType {
        match self {
            Self::Sa(_) => PayloadType::SA,
            Self::Ke(_) => PayloadType::KE,
            Self::Id(_) => PayloadType::ID,
            Self::Cert(_) => PayloadType::CERT,
            Self::CertReq(_) => PayloadType::CERTREQ,
            Self::Hash(_) => PayloadType::HASH,
            Self::Signature(_) => PayloadType::SIGNATURE,
            Self::Nonce(_) => PayloadType::NONCE,
            Self::Notify(_) => PayloadType::NOTIFICATION,
            Self::Delete(_) => PayloadType::DELETE,
            Self::VendorId(_) => PayloadType::VENDOR_ID,
            Self::Configuration(_) => PayloadType::ATTRIBUTES,
            Self::NatD(_) => PayloadType::NAT_D,
            Self::NatOa(_) => PayloadType::NAT_OA,
            Self::NatDDraft(_) => PayloadType::NAT_D_DRAFT,
            Self::NatOaDraft(_) => PayloadType::NAT_OA_DRAFT,
            Self::Fragment(_) => PayloadType::FRAGMENT,
            Self::Private(raw) => raw.kind,
        }
    }
}

#[cfg(test)]
mod tests;
