//! The chain of payloads in a message, RFC 7296 §3.2.

use super::{
    Auth, Cert, CertReq, Cp, Delete, Eap, Encrypted, EncryptedFragment, Id, Ke, Nonce, Notify, Sa,
    Ts, VendorId,
};
use crate::{Reader, WireError, Writer, iana::PayloadType};

/// Payloads taken from one chain.
pub const PAYLOADS_MAX: usize = 64;

/// One payload, its body not read yet.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct RawPayload<'a> {
    /// What it is.
    pub kind: PayloadType,
    /// Whether a receiver that does not know `kind` must refuse the message.
    pub critical: bool,
    /// Type of the payload that follows; for SK and SKF, of the first one inside.
    pub next: PayloadType,
    /// Everything after the generic header.
    pub body: &'a [u8],
}

impl RawPayload<'_> {
    /// Whether the message must be refused with UNSUPPORTED_CRITICAL_PAYLOAD (RFC 7296 §2.5). The
    /// critical bit means nothing on a payload we know.
    #[must_use]
    pub const fn is_unsupported_critical(&self) -> bool {
        self.critical && !is_known(self.kind)
    }
}

/// The payloads of one chain, in order.
///
/// ```text
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// | Next Payload  |C|  RESERVED   |         Payload Length        |
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// ```
///
/// The first error ends the iteration: [`WireError::Truncated`] if a payload is longer than what
/// is left, [`WireError::BadValue`] if it is shorter than its header, [`WireError::Trailing`] if
/// octets follow the last one, [`WireError::TooMany`] beyond [`PAYLOADS_MAX`]. An SK or SKF payload
/// is always the last one (RFC 7296 §3.14). Openswan fills clear messages up to a multiple of four:
/// so up to three zeros may follow another last payload.
#[derive(Clone, Debug)]
pub struct Payloads<'a> {
    next: PayloadType,
    rest: Reader<'a>,
    left: usize,
    /// Whether zeros after the last payload would be padding.
    padded: bool,
}

impl<'a> Payloads<'a> {
    /// A chain that begins with a payload of type `first`: the body of a message after its
    /// header, or what an SK payload held.
    #[must_use]
    pub const fn new(first: PayloadType, octets: &'a [u8]) -> Self {
        Self { next: first, rest: Reader(octets), left: PAYLOADS_MAX, padded: false }
    }

    fn read(&mut self) -> Result<RawPayload<'a>, WireError> {
        self.left = self.left.checked_sub(1).ok_or(WireError::TooMany("payloads"))?;
        let kind = self.next;
        let next = PayloadType(self.rest.u8()?);
        let critical = self.rest.u8()? & CRITICAL != 0;
        let length = self.rest.u16()?;
        let body_len = length
            .checked_sub(GENERIC_HEADER_LEN)
            .ok_or_else(|| WireError::BadValue("Payload.length", length.into()))?;
        let body = self.rest.bytes(body_len.into())?;
        self.padded = !is_encrypted(kind);
        self.next = if self.padded { next } else { PayloadType::NONE };
        Ok(RawPayload { kind, critical, next, body })
    }

    /// Whether nothing is left but padding.
    fn is_at_end(&self) -> bool {
        let is_padding = || self.padded && matches!(self.rest.0, [0] | [0, 0] | [0, 0, 0]);
        self.rest.is_empty() || is_padding()
    }

    fn end(&mut self) {
        self.next = PayloadType::NONE;
        self.rest = Reader::default();
    }
}

impl<'a> Iterator for Payloads<'a> {
    type Item = Result<RawPayload<'a>, WireError>;

    fn next(&mut self) -> Option<Self::Item> {
        let result = match (self.next, self.is_at_end()) {
            (PayloadType::NONE, true) => return None,
            (PayloadType::NONE, false) => Err(WireError::Trailing("payloads")),
            (_, _) => self.read().map_err(|error| error.within("payload")),
        };
        if result.is_err() {
            self.end();
        }
        Some(result)
    }
}

impl core::iter::FusedIterator for Payloads<'_> {}

/// One payload, its body read.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Payload<'a> {
    /// Security Association.
    Sa(Sa),
    /// Key Exchange.
    Ke(Ke<'a>),
    /// Identification of the initiator.
    IdI(Id<'a>),
    /// Identification of the responder.
    IdR(Id<'a>),
    /// Certificate.
    Cert(Cert<'a>),
    /// Certificate Request.
    CertReq(CertReq<'a>),
    /// Authentication.
    Auth(Auth<'a>),
    /// Nonce.
    Nonce(Nonce<'a>),
    /// Notify.
    Notify(Notify<'a>),
    /// Delete.
    Delete(Delete<'a>),
    /// Vendor ID.
    VendorId(VendorId<'a>),
    /// Traffic Selectors of the initiator.
    TsI(Ts),
    /// Traffic Selectors of the responder.
    TsR(Ts),
    /// Encrypted and Authenticated.
    Sk(Encrypted<'a>),
    /// Encrypted and Authenticated Fragment.
    Skf(EncryptedFragment<'a>),
    /// Configuration.
    Cp(Cp<'a>),
    /// Extensible Authentication.
    Eap(Eap<'a>),
    /// A type without a meaning here: to be skipped, or refused if critical.
    Unknown(RawPayload<'a>),
}

impl<'a> Payload<'a> {
    /// Reads the body.
    ///
    /// # Errors
    ///
    /// What the body's own `read` says, and [`WireError::Trailing`] if it leaves octets behind.
    /// An unknown type is no error here, critical or not.
    pub fn read(raw: RawPayload<'a>) -> Result<Self, WireError> {
        let mut r = Reader(raw.body);
        let name = raw.kind.name().unwrap_or(WireError::UNNAMED);
        let payload = Self::read_body(raw, &mut r).map_err(|error| error.within(name))?;
        r.finish(name)?;
        Ok(payload)
    }

    fn read_body(raw: RawPayload<'a>, r: &mut Reader<'a>) -> Result<Self, WireError> {
        match raw.kind {
            PayloadType::SA => Sa::read(r).map(Self::Sa),
            PayloadType::KE => Ke::read(r).map(Self::Ke),
            PayloadType::ID_I => Id::read(r).map(Self::IdI),
            PayloadType::ID_R => Id::read(r).map(Self::IdR),
            PayloadType::CERT => Cert::read(r).map(Self::Cert),
            PayloadType::CERTREQ => CertReq::read(r).map(Self::CertReq),
            PayloadType::AUTH => Auth::read(r).map(Self::Auth),
            PayloadType::NONCE => Nonce::read(r).map(Self::Nonce),
            PayloadType::NOTIFY => Notify::read(r).map(Self::Notify),
            PayloadType::DELETE => Delete::read(r).map(Self::Delete),
            PayloadType::VENDOR_ID => VendorId::read(r).map(Self::VendorId),
            PayloadType::TS_I => Ts::read(r).map(Self::TsI),
            PayloadType::TS_R => Ts::read(r).map(Self::TsR),
            PayloadType::SK => Encrypted::read(raw.next, r).map(Self::Sk),
            PayloadType::SKF => EncryptedFragment::read(raw.next, r).map(Self::Skf),
            PayloadType::CP => Cp::read(r).map(Self::Cp),
            PayloadType::EAP => Eap::read(r).map(Self::Eap),
            _ => {
                r.rest();
                Ok(Self::Unknown(raw))
            }
        }
    }

    /// Appends the body; the exact inverse of [`Self::read`] but for reserved bits.
    pub fn write(&self, w: &mut Writer<'_>) {
        match self {
            Self::Sa(body) => body.write(w),
            Self::Ke(body) => body.write(w),
            Self::IdI(body) | Self::IdR(body) => body.write(w),
            Self::Cert(body) => body.write(w),
            Self::CertReq(body) => body.write(w),
            Self::Auth(body) => body.write(w),
            Self::Nonce(body) => body.write(w),
            Self::Notify(body) => body.write(w),
            Self::Delete(body) => body.write(w),
            Self::VendorId(body) => body.write(w),
            Self::TsI(body) | Self::TsR(body) => body.write(w),
            Self::Sk(body) => body.write(w),
            Self::Skf(body) => body.write(w),
            Self::Cp(body) => body.write(w),
            Self::Eap(body) => body.write(w),
            Self::Unknown(raw) => w.bytes(raw.body),
        }
    }

    /// The type that announces it in the chain.
    #[must_use]
    pub const fn kind(&self) -> PayloadType {
        match self {
            Self::Sa(_) => PayloadType::SA,
            Self::Ke(_) => PayloadType::KE,
            Self::IdI(_) => PayloadType::ID_I,
            Self::IdR(_) => PayloadType::ID_R,
            Self::Cert(_) => PayloadType::CERT,
            Self::CertReq(_) => PayloadType::CERTREQ,
            Self::Auth(_) => PayloadType::AUTH,
            Self::Nonce(_) => PayloadType::NONCE,
            Self::Notify(_) => PayloadType::NOTIFY,
            Self::Delete(_) => PayloadType::DELETE,
            Self::VendorId(_) => PayloadType::VENDOR_ID,
            Self::TsI(_) => PayloadType::TS_I,
            Self::TsR(_) => PayloadType::TS_R,
            Self::Sk(_) => PayloadType::SK,
            Self::Skf(_) => PayloadType::SKF,
            Self::Cp(_) => PayloadType::CP,
            Self::Eap(_) => PayloadType::EAP,
            Self::Unknown(raw) => raw.kind,
        }
    }
}

/// Types that [`Payload::read`] gives a meaning.
const fn is_known(kind: PayloadType) -> bool {
    matches!(kind.0, 33..=48) || matches!(kind, PayloadType::SKF)
}

/// Payloads that hold others and end the chain around them.
const fn is_encrypted(kind: PayloadType) -> bool {
    matches!(kind, PayloadType::SK | PayloadType::SKF)
}

/// Octets of a generic payload header.
pub(super) const GENERIC_HEADER_LEN: u16 = 4;
pub(super) const CRITICAL: u8 = 0x80;

#[cfg(test)]
mod tests;
