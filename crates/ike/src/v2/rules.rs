//! Which payloads a message holds (RFC 7296 §1.2 to §1.4, Appendix C; RFC 9242 §3.2; RFC 9370
//! §2.2.4): a table of message form × payload type.
//!
//! [`Received::read`] takes a chain of payloads in any order (D10) and gives them back by name.
//! What then is there is legal for the [`Form`] of the message.

mod table;

use adit_wire::WireError;
use adit_wire::esp::Spi;
use adit_wire::iana::{ExchangeType, NotifyType, PayloadType, ProtocolId};
use adit_wire::ikev2::{
    Auth, Cert, CertReq, Delete, Header, Id, Ke, Nonce, Notify, Payload, Payloads, RawPayload, Sa,
    Ts, VendorId,
};

pub(crate) use table::Form;

/// The payloads of one message.
#[derive(Clone, Debug)]
pub(crate) struct Received<'a> {
    /// What kind of message it is; its rules hold.
    pub(crate) form: Form,
    /// Security Association.
    pub(crate) sa: Option<Sa>,
    /// Key Exchange.
    pub(crate) ke: Option<Ke<'a>>,
    /// Nonce.
    pub(crate) nonce: Option<Nonce<'a>>,
    /// Identity of the initiator.
    pub(crate) id_i: Option<ReceivedId<'a>>,
    /// Identity of the responder.
    pub(crate) id_r: Option<ReceivedId<'a>>,
    /// Authentication.
    pub(crate) auth: Option<Auth<'a>>,
    /// Certificates, in order.
    pub(crate) certs: Vec<Cert<'a>>,
    /// Certificate requests, in order.
    pub(crate) cert_requests: Vec<CertReq<'a>>,
    /// Traffic selectors of the initiator.
    pub(crate) ts_i: Option<Ts>,
    /// Traffic selectors of the responder.
    pub(crate) ts_r: Option<Ts>,
    /// Whether there is an EAP payload.
    pub(crate) has_eap: bool,
    /// Notifies, in order.
    pub(crate) notifies: Vec<Notify<'a>>,
    /// Deletes, in order.
    pub(crate) deletes: Vec<Delete<'a>>,
    /// Vendor ids, in order.
    pub(crate) vendor_ids: Vec<VendorId<'a>>,
}

/// An identity with the octets that AUTH signs.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct ReceivedId<'a> {
    /// The identity.
    pub(crate) id: Id<'a>,
    /// The body as received, reserved octets and all (F18).
    pub(crate) body: &'a [u8],
}

/// Why the payloads of a message are not acceptable.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub(crate) enum RuleError {
    /// A length, count or value that no legal payload has.
    #[error("malformed payload: {0}")]
    Malformed(#[from] WireError),
    /// A payload is missing that this message must have.
    #[error("{0} payload is missing")]
    Missing(PayloadType),
    /// A payload stands more often than it may.
    #[error("too many {0} payloads")]
    TooMany(PayloadType),
    /// A critical payload of a type we do not know (RFC 7296 §2.5).
    #[error("critical payload of unknown type {0}")]
    UnsupportedCritical(PayloadType),
    /// No exchange we know.
    #[error("exchange type {0} is not supported")]
    Exchange(ExchangeType),
}

impl RuleError {
    /// The notify that answers an authenticated request (RFC 7296 §2.21.3).
    pub(crate) fn notify(&self) -> NotifyType {
        match self {
            Self::UnsupportedCritical(_) => NotifyType::UNSUPPORTED_CRITICAL_PAYLOAD,
            Self::Malformed(_) | Self::Missing(_) | Self::TooMany(_) | Self::Exchange(_) => {
                NotifyType::INVALID_SYNTAX
            }
        }
    }

    /// The notification data that goes with it: the type of the payload, if it is about one.
    pub(crate) fn notify_data(&self) -> Vec<u8> {
        match self {
            Self::UnsupportedCritical(kind) => vec![kind.0],
            Self::Malformed(_) | Self::Missing(_) | Self::TooMany(_) | Self::Exchange(_) => {
                Vec::new()
            }
        }
    }
}

impl<'a> Received<'a> {
    /// Reads the chain `octets` that begins with a payload of type `first`: what follows the
    /// header of an IKE_SA_INIT message, or what an SK payload held.
    ///
    /// Unknown payloads that are not critical are skipped (D06), known ones without a place in
    /// this message too; the critical bit of known ones means nothing (D08).
    ///
    /// # Errors
    ///
    /// [`RuleError`], the worst first: an unknown critical payload before everything else.
    pub(crate) fn read(
        header: &Header,
        first: PayloadType,
        octets: &'a [u8],
    ) -> Result<Self, RuleError> {
        let mut received = Self::empty();
        let mut kinds = Vec::new();
        let raws: Vec<RawPayload<'a>> =
            Payloads::new(first, octets).collect::<Result<_, WireError>>()?;
        if let Some(raw) = raws.iter().find(|raw| raw.is_unsupported_critical()) {
            return Err(RuleError::UnsupportedCritical(raw.kind));
        }
        for raw in raws {
            kinds.push(raw.kind);
            received.take(raw)?;
        }
        received.form = Form::of(header, &received)?;
        table::check(received.form, &kinds)?;
        Ok(received)
    }

    fn empty() -> Self {
        Self {
            form: Form::Informational,
            sa: None,
            ke: None,
            nonce: None,
            id_i: None,
            id_r: None,
            auth: None,
            certs: Vec::new(),
            cert_requests: Vec::new(),
            ts_i: None,
            ts_r: None,
            has_eap: false,
            notifies: Vec::new(),
            deletes: Vec::new(),
            vendor_ids: Vec::new(),
        }
    }

    /// Puts one payload in its place. A second one of a kind replaces the first; the table tells
    /// whether there may be two.
    fn take(&mut self, raw: RawPayload<'a>) -> Result<(), WireError> {
        match Payload::read(raw)? {
            Payload::Sa(sa) => self.sa = Some(sa),
            Payload::Ke(ke) => self.ke = Some(ke),
            Payload::Nonce(nonce) => self.nonce = Some(nonce),
            Payload::IdI(id) => self.id_i = Some(ReceivedId { id, body: raw.body }),
            Payload::IdR(id) => self.id_r = Some(ReceivedId { id, body: raw.body }),
            Payload::Auth(auth) => self.auth = Some(auth),
            Payload::TsI(ts) => self.ts_i = Some(ts),
            Payload::TsR(ts) => self.ts_r = Some(ts),
            Payload::Eap(_) => self.has_eap = true,
            Payload::Notify(notify) => self.notifies.push(notify),
            Payload::Delete(delete) => self.deletes.push(delete),
            Payload::VendorId(vendor_id) => self.vendor_ids.push(vendor_id),
            Payload::Cert(cert) => self.certs.push(cert),
            Payload::CertReq(request) => self.cert_requests.push(request),
            Payload::Cp(_) | Payload::Sk(_) | Payload::Skf(_) | Payload::Unknown(_) => {}
        }
        Ok(())
    }

    /// The first notify of a type.
    pub(crate) fn notify(&self, kind: NotifyType) -> Option<&Notify<'a>> {
        self.notifies.iter().find(|notify| notify.kind == kind)
    }

    /// Whether there is a notify of a type.
    pub(crate) fn has_notify(&self, kind: NotifyType) -> bool {
        self.notify(kind).is_some()
    }

    /// The first error notify of a response, known or not (D09).
    ///
    //= https://www.rfc-editor.org/rfc/rfc7296#section-3.10.1
    //# An implementation receiving a Notify payload with one of these types that it does not
    //# recognize in a response MUST assume that the corresponding request has failed entirely.
    ///
    /// In a request errors are for the log; unknown ones and every unknown status are ignored.
    pub(crate) fn error(&self) -> Option<&Notify<'a>> {
        self.notifies.iter().find(|notify| notify.kind.is_error())
    }

    /// The child SA that REKEY_SA names by the sender's inbound SPI: protocol and SPI as they
    /// stand there (J29 is the caller's: only ESP can be ours).
    pub(crate) fn rekeyed(&self) -> Option<(ProtocolId, Option<Spi>)> {
        let notify = self.notify(NotifyType::REKEY_SA)?;
        let spi = <[u8; 4]>::try_from(notify.spi).ok().map(Spi::from_octets);
        Some((notify.protocol, spi))
    }

    /// The method that an INVALID_KE_PAYLOAD notify asks for.
    pub(crate) fn wanted_key_exchange(&self) -> Option<adit_wire::iana::KeyExchangeId> {
        let notify = self.notify(NotifyType::INVALID_KE_PAYLOAD)?;
        let id = <[u8; 2]>::try_from(notify.data).ok()?;
        Some(adit_wire::iana::KeyExchangeId(u16::from_be_bytes(id)))
    }
}

#[cfg(test)]
mod tests;
