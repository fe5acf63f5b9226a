//! Protected messages: the SK payload (RFC 7296 §3.14, RFC 5282) and its fragments, SKF
//! (RFC 7383).
//!
//! A received datagram is read as an [`Envelope`] first: what can be known without keys, so that
//! message ids can be checked before anything is decrypted. [`Protection::open`] authenticates
//! it. Fragments gather in a [`Reassembly`], each one authenticated before it takes memory.

mod reassembly;

use adit_crypto::{Cipher, KeyLengthError, OpenKey, SealKey, Secret};
use adit_wire::iana::PayloadType;
use adit_wire::ikev2::{Header, Payloads};
use adit_wire::{Reader, WireError, Writer};

use super::message_id::Datagrams;
use crate::keymat::{Role, SkKeys};

pub(crate) use reassembly::{FRAGMENTS_MAX, Fragment, MESSAGE_OCTETS_MAX, Reassembly};

/// What a received datagram shows before it is decrypted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Envelope<'a> {
    /// The IKE header.
    pub(crate) header: Header,
    /// Which fragment it is; `None` for a whole message.
    pub(crate) fragment: Option<FragmentNumber>,
    /// The first payload in front of the SK payload that is critical and unknown. It is
    /// authenticated with the rest (D07).
    unsupported_critical: Option<PayloadType>,
    /// Where the type of the SK payload stands: in the IKE header or in the payload before.
    announced_at: usize,
    /// Type of the first inner payload.
    first: PayloadType,
    /// Everything in front of the IV: what an AEAD authenticates (RFC 5282 §5.1).
    in_front: &'a [u8],
    /// IV, ciphertext, ICV.
    sealed: &'a [u8],
}

/// Fragment Number and Total Fragments (RFC 7383 §2.5): `1 <= number <= total`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct FragmentNumber {
    /// From 1.
    pub(crate) number: u16,
    /// Fragments of the message.
    pub(crate) total: u16,
}

impl<'a> Envelope<'a> {
    /// Reads one datagram that must carry an SK or SKF payload.
    ///
    /// # Errors
    ///
    /// [`WireError`] if the chain is broken or has no such payload at its end, or fragment
    /// numbers make no sense. Nothing is authentic yet: drop the datagram.
    pub(crate) fn read(octets: &'a [u8]) -> Result<Self, WireError> {
        let mut r = Reader(octets);
        let header = Header::read(&mut r)?;
        let mut announced_at = HEADER_NEXT_PAYLOAD_AT;
        let mut at = Header::LEN;
        let mut unsupported_critical = None;
        let mut encrypted = None;
        for payload in Payloads::new(header.next_payload, r.rest()) {
            let payload = payload?;
            if matches!(payload.kind, PayloadType::SK | PayloadType::SKF) {
                // The chain ends here, or its next item is an error (D12).
                encrypted = Some(payload);
                continue;
            }
            if payload.is_unsupported_critical() {
                unsupported_critical.get_or_insert(payload.kind);
            }
            announced_at = at;
            at += GENERIC_HEADER_OCTETS + payload.body.len();
        }
        let encrypted = encrypted.ok_or(WireError::BadValue("message without SK payload", 0))?;
        let fragment = match encrypted.kind {
            PayloadType::SKF => Some(FragmentNumber::read(encrypted.body)?),
            _ => None,
        };
        at += GENERIC_HEADER_OCTETS + fragment.map_or(0, |_| FRAGMENT_HEADER_OCTETS);
        let (in_front, sealed) = octets.split_at_checked(at).ok_or(WireError::Truncated("SK"))?;
        Ok(Self {
            header,
            fragment,
            unsupported_critical,
            announced_at,
            first: encrypted.next,
            in_front,
            sealed,
        })
    }

    /// The octets from the IKE header to the generic header of the SK payload as IntAuth takes
    /// them (RFC 9242 §3.3.2): unfragmented, with lengths that count the `inner_octets` of clear
    /// payloads and nothing that encryption adds.
    fn associated(&self, inner_octets: usize) -> Vec<u8> {
        let fragment_header = self.fragment.map_or(0, |_| FRAGMENT_HEADER_OCTETS);
        let end = self.in_front.len().saturating_sub(fragment_header);
        let mut octets = self.in_front.get(..end).unwrap_or_default().to_vec();
        if let Some(kind) = octets.get_mut(self.announced_at) {
            *kind = PayloadType::SK.0;
        }
        patch_lengths(&mut octets, inner_octets);
        octets
    }
}

impl FragmentNumber {
    fn read(body: &[u8]) -> Result<Self, WireError> {
        let mut r = Reader(body);
        let (number, total) = (r.u16()?, r.u16()?);
        if number == 0 || number > total {
            return Err(WireError::BadValue("SKF.fragment_number", number.into()));
        }
        Ok(Self { number, total })
    }
}

/// One message whose integrity has been verified.
#[derive(Clone, Debug)]
pub(crate) struct Message {
    /// The IKE header, of the first fragment if it came in several.
    pub(crate) header: Header,
    /// Type of the first inner payload.
    pub(crate) first: PayloadType,
    /// The inner payloads.
    pub(crate) inner: Vec<u8>,
    /// What [`IntAuth::add`](crate::auth::IntAuth::add) takes.
    pub(crate) associated: Vec<u8>,
    /// A critical payload in front of the SK payload that we do not know.
    pub(crate) unsupported_critical: Option<PayloadType>,
}

/// What [`Protection::open`] finds in a datagram.
#[derive(Clone, Debug)]
pub(crate) enum Opened {
    /// A whole message.
    Message(Message),
    /// A part of one, for [`Reassembly::add`].
    Fragment(Fragment),
}

/// A message ready to go out.
#[derive(Clone, Debug)]
pub(crate) struct Sealed {
    /// The datagrams: one, or the fragments in order.
    pub(crate) datagrams: Datagrams,
    /// What [`IntAuth::add`](crate::auth::IntAuth::add) takes.
    pub(crate) associated: Vec<u8>,
}

/// Why a datagram was not opened. It is dropped without a trace in our state (D11).
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub(crate) enum OpenFailure {
    /// Not sealed with the peer's key, or changed on the way.
    #[error("integrity check failed")]
    Integrity,
    /// Shorter than this suite's IV, padding and ICV.
    #[error("encrypted payload is too short")]
    TooShort,
    /// Authentic, and yet the padding is longer than the text.
    #[error("padding is longer than the payload")]
    Padding,
}

/// Why a message was not sealed: it is ours, so this is a bug or a limit of the configuration.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub(crate) enum SealFailure {
    /// More octets than an IKE message may have.
    #[error("message is too long")]
    TooLong,
    /// The limit leaves no room for fragments, or more of them than a peer would take.
    #[error("message needs more than {FRAGMENTS_MAX} fragments")]
    TooManyFragments,
}

/// Keys of both directions of an IKE SA, from the point of view of one end.
///
/// There is one `Protection` per set of keys, ever: it counts what is sealed, and no count may be
/// used twice with one key (RFC 5282 §3.1).
///
/// An IKE SA is silent nearly always, and a key that is ready for use takes many times its own
/// octets: it is made ready for each message.
#[derive(Debug)]
pub(crate) struct Protection {
    cipher: Cipher,
    /// How much of the keys of a direction is for encryption.
    encryption_octets: usize,
    /// For what we send, then for what the peer sends: the key for encryption and, but with an AEAD, that
    /// for integrity. In one piece, as there are many IKE SAs.
    keys: Secret,
    sealed: u64,
}

impl Protection {
    /// Takes the keys for the end that had `role` when the IKE SA was created.
    ///
    /// # Errors
    ///
    /// [`KeyLengthError`] if `keys` were derived for another cipher.
    pub(crate) fn new(cipher: Cipher, keys: &SkKeys, role: Role) -> Result<Self, KeyLengthError> {
        let (encryption, integrity) = keys.sending(role);
        let (their_encryption, their_integrity) = keys.sending(role.other());
        let all = [encryption, integrity, their_encryption, their_integrity].map(Secret::as_bytes);
        // The keys are copied: those that were derived with them go their own ways.
        let (encryption_octets, keys) = (encryption.len(), Secret::concat(&all));
        let protection = Self { cipher, encryption_octets, keys, sealed: 0 };
        protection.seal_key()?;
        protection.open_key()?;
        Ok(protection)
    }

    fn seal_key(&self) -> Result<SealKey, KeyLengthError> {
        let (ours, _) = self.directions();
        let [encryption, integrity] = self.divide(ours);
        SealKey::new(self.cipher, &encryption, &integrity)
    }

    fn open_key(&self) -> Result<OpenKey, KeyLengthError> {
        let (_, theirs) = self.directions();
        let [encryption, integrity] = self.divide(theirs);
        OpenKey::new(self.cipher, &encryption, &integrity)
    }

    /// The keys of what we send and of what the peer sends, which have as many octets.
    fn directions(&self) -> (&[u8], &[u8]) {
        let octets = self.keys.as_bytes();
        octets.split_at(octets.len() / 2)
    }

    /// Copies the keys of one direction, to make them ready for use.
    fn divide(&self, keys: &[u8]) -> [Secret; 2] {
        let (encryption, integrity) = keys.split_at(self.encryption_octets.min(keys.len()));
        [encryption, integrity].map(Secret::from_slice)
    }

    /// Seals the chain `inner`, which begins with a payload of type `first`, into one message,
    /// or into fragments of at most `limit` octets each if it is longer (RFC 7383 §2.5).
    ///
    /// `header` says what the message is; its length and next payload are set here. `limit`
    /// counts the IKE message, without non-ESP marker, UDP and IP; `None` if the peer does not
    /// take fragments.
    ///
    /// # Errors
    ///
    /// [`SealFailure`]; nothing was sealed then.
    pub(crate) fn seal(
        &mut self,
        header: Header,
        first: PayloadType,
        inner: &[u8],
        limit: Option<usize>,
    ) -> Result<Sealed, SealFailure> {
        let whole = Header::LEN + GENERIC_HEADER_OCTETS + self.sealed_len(inner.len());
        let associated = associated(header, first, inner.len());
        let datagrams = match limit {
            Some(limit) if whole > limit => self.seal_fragments(header, first, inner, limit)?,
            _ if whole > MESSAGE_OCTETS_MAX => return Err(SealFailure::TooLong),
            _ => vec![self.seal_one(header, first, None, inner)],
        };
        Ok(Sealed { datagrams, associated })
    }

    /// Verifies and decrypts one datagram.
    ///
    /// # Errors
    ///
    /// [`OpenFailure`]: drop the datagram.
    pub(crate) fn open(&self, envelope: &Envelope<'_>) -> Result<Opened, OpenFailure> {
        let too_short = OpenFailure::TooShort;
        let (iv, rest) = envelope.sealed.split_at_checked(self.cipher.iv_len()).ok_or(too_short)?;
        let text_len = rest.len().checked_sub(self.cipher.icv_len()).ok_or(too_short)?;
        let (text, icv) = rest.split_at_checked(text_len).ok_or(too_short)?;
        let mut text = text.to_vec();
        self.open_key()
            .expect(LENGTHS)
            .open(envelope.in_front, iv, &mut text, icv, &[])
            .map_err(|_| OpenFailure::Integrity)?;
        let padding = usize::from(text.pop().ok_or(too_short)?);
        let inner_len = text.len().checked_sub(padding).ok_or(OpenFailure::Padding)?;
        text.truncate(inner_len);
        Ok(match envelope.fragment {
            Some(number) => Opened::Fragment(Fragment::new(envelope, number, text)),
            None => Opened::Message(Message::new(envelope, text)),
        })
    }

    /// Seals into fragments of nearly equal size, so that none is a tiny rest.
    fn seal_fragments(
        &mut self,
        header: Header,
        first: PayloadType,
        inner: &[u8],
        limit: usize,
    ) -> Result<Datagrams, SealFailure> {
        let room = self.fragment_room(limit).ok_or(SealFailure::TooManyFragments)?;
        let count = inner.len().div_ceil(room);
        let total = u16::try_from(count).map_err(|_| SealFailure::TooManyFragments)?;
        if total > FRAGMENTS_MAX {
            return Err(SealFailure::TooManyFragments);
        }
        let chunks = inner.chunks(inner.len().div_ceil(count.max(1)).max(1));
        let fragments = (1..=total).zip(chunks).map(|(number, chunk)| {
            // RFC 7383 §2.5: only the first fragment names the first inner payload.
            let first = if number == 1 { first } else { PayloadType::NONE };
            self.seal_one(header, first, Some(FragmentNumber { number, total }), chunk)
        });
        Ok(fragments.collect())
    }

    /// Octets of inner payloads in one fragment of at most `limit` octets; `None` if there is no
    /// room at all.
    fn fragment_room(&self, limit: usize) -> Option<usize> {
        let fixed = Header::LEN
            + GENERIC_HEADER_OCTETS
            + FRAGMENT_HEADER_OCTETS
            + self.cipher.iv_len()
            + self.cipher.icv_len();
        let text = limit.checked_sub(fixed)?;
        let text = text - text % self.cipher.text_multiple();
        text.checked_sub(PAD_LENGTH_OCTETS).filter(|room| *room > 0)
    }

    fn seal_one(
        &mut self,
        header: Header,
        first: PayloadType,
        fragment: Option<FragmentNumber>,
        inner: &[u8],
    ) -> Vec<u8> {
        let mut octets = in_front(header, first, fragment, self.sealed_len(inner.len()));
        let in_front_len = octets.len();
        let iv_len = self.cipher.iv_len();
        let padding = self.padding(inner.len());
        let mut w = Writer(&mut octets);
        w.zeros(iv_len);
        w.bytes(inner);
        w.zeros(padding);
        w.u8(u8::try_from(padding).unwrap_or(u8::MAX));
        w.zeros(self.cipher.icv_len());

        let (aad, rest) = octets.split_at_mut(in_front_len);
        let (iv, rest) = rest.split_at_mut(iv_len);
        let (text, icv) = rest.split_at_mut(inner.len() + padding + PAD_LENGTH_OCTETS);
        self.seal_key()
            .expect(LENGTHS)
            .seal(self.sealed, aad, iv, text, icv, &[])
            .expect("all slices were cut to the lengths of this cipher");
        self.sealed += 1;
        octets
    }

    /// Octets of IV, ciphertext and ICV for so many octets of inner payloads.
    fn sealed_len(&self, inner: usize) -> usize {
        let text = inner + self.padding(inner) + PAD_LENGTH_OCTETS;
        self.cipher.iv_len() + text + self.cipher.icv_len()
    }

    /// AEADs and counter modes need no padding in IKE (RFC 5282 §3, RFC 5930 §2); CBC takes whole
    /// blocks.
    fn padding(&self, inner: usize) -> usize {
        (inner + PAD_LENGTH_OCTETS).next_multiple_of(self.cipher.text_multiple())
            - inner
            - PAD_LENGTH_OCTETS
    }
}

impl Message {
    fn new(envelope: &Envelope<'_>, inner: Vec<u8>) -> Self {
        Self {
            header: envelope.header,
            first: envelope.first,
            associated: envelope.associated(inner.len()),
            inner,
            unsupported_critical: envelope.unsupported_critical,
        }
    }
}

/// The message up to the IV, lengths set.
fn in_front(
    header: Header,
    first: PayloadType,
    fragment: Option<FragmentNumber>,
    sealed_len: usize,
) -> Vec<u8> {
    let kind = if fragment.is_some() { PayloadType::SKF } else { PayloadType::SK };
    let mut octets = Vec::new();
    let mut w = Writer(&mut octets);
    Header { next_payload: kind, ..header }.write(&mut w);
    w.u8(first.0);
    w.u8(0);
    w.u16(0);
    let fragment_header = match fragment {
        Some(FragmentNumber { number, total }) => {
            w.u16(number);
            w.u16(total);
            FRAGMENT_HEADER_OCTETS
        }
        None => 0,
    };
    patch_lengths_at(&mut octets, Header::LEN, fragment_header + sealed_len);
    octets
}

/// What IntAuth takes of a message of ours.
fn associated(header: Header, first: PayloadType, inner_octets: usize) -> Vec<u8> {
    let mut octets = in_front(header, first, None, 0);
    patch_lengths(&mut octets, inner_octets);
    octets
}

/// Sets both lengths in octets that end with the generic header of the SK payload.
fn patch_lengths(octets: &mut Vec<u8>, body_octets: usize) {
    let sk_at = octets.len().saturating_sub(GENERIC_HEADER_OCTETS);
    patch_lengths_at(octets, sk_at, body_octets);
}

/// Sets the length of the SK payload at `sk_at`, whose body has `body_octets`, and that of the
/// message that ends with it.
fn patch_lengths_at(octets: &mut Vec<u8>, sk_at: usize, body_octets: usize) {
    let payload = GENERIC_HEADER_OCTETS + body_octets;
    let message = sk_at + payload;
    let mut w = Writer(octets);
    w.patch_u16(sk_at + 2, u16::try_from(payload).unwrap_or(u16::MAX));
    w.patch_u32(HEADER_LENGTH_AT, u32::try_from(message).unwrap_or(u32::MAX));
}

/// Both were tried when the keys came.
const LENGTHS: &str = "the keys have the lengths of their cipher";
const HEADER_NEXT_PAYLOAD_AT: usize = 16;
const HEADER_LENGTH_AT: usize = 24;
const GENERIC_HEADER_OCTETS: usize = 4;
const FRAGMENT_HEADER_OCTETS: usize = 4;
const PAD_LENGTH_OCTETS: usize = 1;

#[cfg(test)]
mod tests;
