//! Builds messages and payload chains, lengths and next-payload fields filled in (RFC 7296 §3).

use alloc::vec::Vec;

use super::{
    FragmentNumber, Header, Parts, Payload, Payloads, RawPayload, SealSpace,
    payload::{CRITICAL, GENERIC_HEADER_LEN},
};
use crate::{WireError, Writer, iana::PayloadType};

/// Payloads that an SK payload holds, or is to hold.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Chain {
    /// Type of the first payload; none of an empty chain.
    pub first: PayloadType,
    /// The payloads with their generic headers.
    pub octets: Vec<u8>,
}

impl Chain {
    /// The payloads, one by one.
    #[must_use]
    pub fn payloads(&self) -> Payloads<'_> {
        Payloads::new(self.first, &self.octets)
    }

    /// Cuts the chain into pieces of at most `text_max` octets for as many SKF payloads; see
    /// [`SealSpace::fragment_text_max`].
    ///
    /// # Errors
    ///
    /// [`WireError::TooLong`] if there would be more fragments than can be counted, or `text_max`
    /// is zero.
    pub fn fragments(&self, text_max: usize) -> Result<Vec<Fragment<'_>>, WireError> {
        let too_long = WireError::TooLong("fragmented message");
        if text_max == 0 {
            return Err(too_long);
        }
        let total = self.octets.len().div_ceil(text_max).max(1);
        let total = u16::try_from(total).map_err(|_| too_long)?;
        let mut rest = self.octets.as_slice();
        (1..=total)
            .map(|number| {
                let (octets, after) = rest.split_at(text_max.min(rest.len()));
                rest = after;
                // RFC 7383 §2.5: only the first fragment says what the chain begins with.
                let first = if number == 1 { self.first } else { PayloadType::NONE };
                Ok(Fragment { first, number: FragmentNumber::new(number, total)?, octets })
            })
            .collect()
    }
}

/// A piece of a chain for one SKF payload (RFC 7383 §2.5).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Fragment<'a> {
    /// Next payload field of the SKF payload.
    pub first: PayloadType,
    /// Which piece this is.
    pub number: FragmentNumber,
    /// The piece.
    pub octets: &'a [u8],
}

/// Builds a payload chain.
///
/// ```
/// use adit_wire::{iana::{NotifyType, PayloadType}, ikev2::{ChainBuilder, Notify}};
///
/// let mut chain = ChainBuilder::new();
/// chain.push(PayloadType::NOTIFY, |w| Notify::new(NotifyType::INITIAL_CONTACT, &[]).write(w));
/// let chain = chain.finish()?;
/// assert_eq!(chain.octets, [0, 0, 0, 8, 0, 0, 0x40, 0]);
/// # Ok::<(), adit_wire::WireError>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct ChainBuilder {
    first: PayloadType,
    octets: Vec<u8>,
    /// Where the type of the payload to come goes; none as long as that is `first`.
    next_at: Option<usize>,
    too_long: bool,
}

impl ChainBuilder {
    /// An empty chain.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a payload whose body `write` appends, and returns the builder.
    #[must_use]
    pub fn payload(mut self, kind: PayloadType, write: impl FnOnce(&mut Writer<'_>)) -> Self {
        self.push(kind, write);
        self
    }

    /// Adds a payload whose body `write` appends.
    pub fn push(&mut self, kind: PayloadType, write: impl FnOnce(&mut Writer<'_>)) {
        self.append(kind, PayloadType::NONE, false, write);
    }

    /// Adds a payload.
    pub fn put(&mut self, payload: &Payload<'_>) {
        self.push(payload.kind(), |w| payload.write(w));
    }

    /// Adds a payload octet by octet, critical bit included.
    pub fn put_raw(&mut self, raw: &RawPayload<'_>) {
        self.append(raw.kind, PayloadType::NONE, raw.critical, |w| w.bytes(raw.body));
    }

    /// Ends the chain.
    ///
    /// # Errors
    ///
    /// [`WireError::TooLong`] if a payload has more than 65,531 octets.
    pub fn finish(self) -> Result<Chain, WireError> {
        if self.too_long {
            return Err(WireError::TooLong("payload"));
        }
        Ok(Chain { first: self.first, octets: self.octets })
    }

    fn append(
        &mut self,
        kind: PayloadType,
        next: PayloadType,
        critical: bool,
        write: impl FnOnce(&mut Writer<'_>),
    ) {
        let start = self.octets.len();
        match self.next_at.and_then(|at| self.octets.get_mut(at)) {
            Some(field) => *field = kind.0,
            None => self.first = kind,
        }
        self.next_at = Some(start);
        let mut w = Writer(&mut self.octets);
        w.u8(next.0);
        w.u8(if critical { CRITICAL } else { 0 });
        w.u16(0);
        write(&mut w);
        let length = u16::try_from(w.position().saturating_sub(start));
        self.too_long |= length.is_err();
        w.patch_u16(start.saturating_add(2), length.unwrap_or(u16::MAX));
    }
}

/// Builds a message.
///
/// Whatever stands in the header's next-payload and length fields is replaced.
#[derive(Clone, Debug)]
pub struct MessageBuilder {
    /// The chain, the header's octets before it.
    chain: ChainBuilder,
}

impl MessageBuilder {
    /// A message of the header alone.
    #[must_use]
    pub fn new(header: Header) -> Self {
        let mut octets = Vec::new();
        header.write(&mut Writer(&mut octets));
        Self { chain: ChainBuilder { octets, ..ChainBuilder::default() } }
    }

    /// Adds a payload in clear whose body `write` appends, and returns the builder.
    #[must_use]
    pub fn payload(mut self, kind: PayloadType, write: impl FnOnce(&mut Writer<'_>)) -> Self {
        self.push(kind, write);
        self
    }

    /// Adds a payload in clear whose body `write` appends.
    pub fn push(&mut self, kind: PayloadType, write: impl FnOnce(&mut Writer<'_>)) {
        self.chain.push(kind, write);
    }

    /// Adds a payload in clear.
    pub fn put(&mut self, payload: &Payload<'_>) {
        self.chain.put(payload);
    }

    /// Adds a payload in clear octet by octet, critical bit included.
    pub fn put_raw(&mut self, raw: &RawPayload<'_>) {
        self.chain.put_raw(raw);
    }

    /// How many octets the message has so far, its header counted in.
    #[must_use]
    pub fn octets_len(&self) -> usize {
        self.chain.octets.len()
    }

    /// Ends a message without an encrypted payload.
    ///
    /// # Errors
    ///
    /// [`WireError::TooLong`] if a payload has more than 65,531 octets.
    pub fn finish(self) -> Result<Vec<u8>, WireError> {
        let Chain { first, mut octets } = self.chain.finish()?;
        let length = u32::try_from(octets.len()).map_err(|_| WireError::TooLong("IKE message"))?;
        if let Some(field) = octets.get_mut(NEXT_PAYLOAD_AT) {
            *field = first.0;
        }
        Writer(&mut octets).patch_u32(LENGTH_AT, length);
        Ok(octets)
    }

    /// Ends the message with an SK payload around `chain`, in plain as yet.
    ///
    /// # Errors
    ///
    /// [`WireError::TooLong`] if a payload has more than 65,531 octets.
    pub fn protect(self, chain: &Chain, space: SealSpace) -> Result<SealDraft, WireError> {
        self.draft(PayloadType::SK, chain.first, None, &chain.octets, space)
    }

    /// Ends the message with an SKF payload around `fragment`, in plain as yet.
    ///
    /// # Errors
    ///
    /// [`WireError::TooLong`] if a payload has more than 65,531 octets.
    pub fn protect_fragment(
        self,
        fragment: &Fragment<'_>,
        space: SealSpace,
    ) -> Result<SealDraft, WireError> {
        let Fragment { first, number, octets } = *fragment;
        self.draft(PayloadType::SKF, first, Some(number), octets, space)
    }

    /// Ends the message as IKE_INTERMEDIATE authenticates it: header and SK header with the
    /// lengths they would have around the bare payloads, then those payloads
    /// (`IntAuth_A | IntAuth_P`, RFC 9242 §3.3.2). Not to be sent.
    ///
    /// # Errors
    ///
    /// [`WireError::TooLong`] if a payload has more than 65,531 octets.
    pub fn intermediate_auth(mut self, chain: &Chain) -> Result<Vec<u8>, WireError> {
        self.chain.append(PayloadType::SK, chain.first, false, |w| w.bytes(&chain.octets));
        self.finish()
    }

    fn draft(
        mut self,
        kind: PayloadType,
        first: PayloadType,
        number: Option<FragmentNumber>,
        text: &[u8],
        space: SealSpace,
    ) -> Result<SealDraft, WireError> {
        let fragment_header = if number.is_some() { 4 } else { 0 };
        let aad_len = self
            .chain
            .octets
            .len()
            .saturating_add(GENERIC_HEADER_LEN.into())
            .saturating_add(fragment_header);
        let pad_len = space.pad_len(text.len());
        self.chain.append(kind, first, false, |w| {
            if let Some(number) = number {
                w.u16(number.number());
                w.u16(number.total());
            }
            w.zeros(space.iv_len);
            w.bytes(text);
            w.zeros(pad_len.into());
            w.u8(pad_len);
            w.zeros(space.icv_len);
        });
        Ok(SealDraft { octets: self.finish()?, aad_len, space })
    }
}

/// A finished message but for encryption: lengths are final, IV and ICV are zero and the text is
/// plain. Only [`Self::seal`] gives its octets away.
pub struct SealDraft {
    octets: Vec<u8>,
    aad_len: usize,
    space: SealSpace,
}

impl SealDraft {
    /// Encrypts with `seal`, which fills IV and ICV and encrypts the text in place, and returns the
    /// message.
    ///
    /// # Errors
    ///
    /// That of `seal`; the plain text is then dropped.
    pub fn seal<E>(mut self, seal: impl FnOnce(Parts<'_>) -> Result<(), E>) -> Result<Vec<u8>, E> {
        let parts = Parts::split(&mut self.octets, self.aad_len, self.space)
            .expect("a draft has room for all its parts");
        seal(parts)?;
        Ok(self.octets)
    }
}

/// The text is plain: it does not belong into logs.
impl core::fmt::Debug for SealDraft {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("SealDraft").field("octets", &self.octets.len()).finish_non_exhaustive()
    }
}

/// Offsets in the IKE header, RFC 7296 §3.1.
const NEXT_PAYLOAD_AT: usize = 16;
const LENGTH_AT: usize = 24;

#[cfg(test)]
mod tests;
