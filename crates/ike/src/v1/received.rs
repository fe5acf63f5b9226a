//! The payloads of one message, sorted (RFC 2408 §3, RFC 2409 §5).

use std::net::IpAddr;

use adit_wire::iana::isakmp::PayloadType;
use adit_wire::isakmp::{
    Cert, CertReq, Configuration, Delete, Id, Notify, Payload, Payloads, RawPayload, Sa,
    without_padding,
};

use super::nat;

/// What a message says. Payloads that mean nothing here are left out.
#[derive(Debug, Default)]
pub(crate) struct Received<'a> {
    pub(crate) sa: Option<Sa<'a>>,
    /// The octets of the SA payload behind its generic header: what RFC 2409 calls `SA_b`.
    pub(crate) sa_body: &'a [u8],
    pub(crate) key_exchange: Option<&'a [u8]>,
    pub(crate) nonce: Option<&'a [u8]>,
    /// One in phase 1, two or none in phase 2; each with its octets, `ID_b`.
    pub(crate) ids: Vec<(Id<'a>, &'a [u8])>,
    pub(crate) hash: Option<&'a [u8]>,
    pub(crate) signature: Option<&'a [u8]>,
    pub(crate) certs: Vec<Cert<'a>>,
    pub(crate) cert_requests: Vec<CertReq<'a>>,
    /// The payloads that a HASH payload in front of them covers, without padding.
    pub(crate) covered: &'a [u8],
    pub(crate) notifies: Vec<Notify<'a>>,
    pub(crate) deletes: Vec<Delete<'a>>,
    /// That of a Transaction exchange.
    pub(crate) configuration: Option<Configuration<'a>>,
    pub(crate) vendor_ids: Vec<&'a [u8]>,
    /// NAT-D of either numbering: first that of where the peer has sent to.
    pub(crate) nat_hashes: Vec<&'a [u8]>,
    /// NAT-OA of either numbering: first the initiator's.
    pub(crate) original_addresses: Vec<IpAddr>,
}

/// A message that has not the form of its exchange. Nobody is told more: in phase 1 nobody has proven
/// anything yet, and later only who breaks the protocol sends such.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Malformed;

impl<'a> Received<'a> {
    /// Reads the payloads of a message in clear.
    pub(crate) fn clear(first: PayloadType, octets: &'a [u8]) -> Result<Self, Malformed> {
        Self::read(Payloads::new(first, octets), octets)
    }

    /// Reads those of a message that was encrypted.
    pub(crate) fn decrypted(first: PayloadType, octets: &'a [u8]) -> Result<Self, Malformed> {
        let plain = without_padding(first, octets).map_err(|_| Malformed)?;
        Self::read(Payloads::new(first, plain), plain)
    }

    fn read(payloads: Payloads<'a>, octets: &'a [u8]) -> Result<Self, Malformed> {
        let mut received = Self::default();
        for (index, raw) in payloads.enumerate() {
            let raw = raw.map_err(|_| Malformed)?;
            if raw.kind == PayloadType::HASH && index == 0 {
                received.covered = octets.get(raw.octets.len()..).unwrap_or_default();
            }
            received.take(raw)?;
        }
        Ok(received)
    }

    fn take(&mut self, raw: RawPayload<'a>) -> Result<(), Malformed> {
        match Payload::read(raw).map_err(|_| Malformed)? {
            Payload::Sa(sa) => {
                once(&mut self.sa, sa)?;
                self.sa_body = raw.body;
            }
            Payload::Ke(_) => once(&mut self.key_exchange, raw.body)?,
            Payload::Nonce(_) => once(&mut self.nonce, raw.body)?,
            Payload::Hash(_) => once(&mut self.hash, raw.body)?,
            Payload::Id(id) if self.ids.len() < IDS_MAX => self.ids.push((id, raw.body)),
            Payload::Id(_) => return Err(Malformed),
            Payload::Notify(notify) => self.notifies.push(notify),
            Payload::Delete(delete) => self.deletes.push(delete),
            Payload::Configuration(body) => once(&mut self.configuration, body)?,
            Payload::VendorId(_) => self.vendor_ids.push(raw.body),
            Payload::NatD(hash) | Payload::NatDDraft(hash) => {
                let has_room = self.nat_hashes.len() < nat::HASHES_MAX;
                self.nat_hashes.extend(has_room.then_some(hash.0));
            }
            Payload::NatOa(original) | Payload::NatOaDraft(original) => {
                let has_room = self.original_addresses.len() < ADDRESSES_MAX;
                self.original_addresses.extend(has_room.then_some(original.0));
            }
            Payload::Signature(_) => once(&mut self.signature, raw.body)?,
            Payload::Cert(cert) => self.certs.push(cert),
            Payload::CertReq(request) => self.cert_requests.push(request),
            Payload::Fragment(_) | Payload::Private(_) => {}
        }
        Ok(())
    }
}

/// The two of a phase 2.
const IDS_MAX: usize = 2;

/// NAT-OAi and NAT-OAr; with one more than these it is none of both.
const ADDRESSES_MAX: usize = 3;

/// None of these payloads comes twice.
fn once<T>(place: &mut Option<T>, value: T) -> Result<(), Malformed> {
    match place.replace(value) {
        None => Ok(()),
        Some(_) => Err(Malformed),
    }
}
