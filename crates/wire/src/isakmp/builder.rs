//! Builds messages and payload chains, lengths and next-payload fields filled in (RFC 2408 §3).

use alloc::vec::Vec;

use super::{Header, Payload, RawPayload};
use crate::{WireError, Writer, iana::isakmp::PayloadType};

/// Builds a payload chain: what a HASH payload covers, or what is to be encrypted.
///
/// ```
/// use adit_wire::{iana::isakmp::PayloadType, isakmp::ChainBuilder};
///
/// let chain = ChainBuilder::new().payload(PayloadType::NONCE, |w| w.bytes(&[7; 8]));
/// let (first, octets) = chain.finish()?;
/// assert_eq!(first, PayloadType::NONCE);
/// assert_eq!(octets, [0, 0, 0, 12, 7, 7, 7, 7, 7, 7, 7, 7]);
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
        let start = self.octets.len();
        match self.next_at.and_then(|at| self.octets.get_mut(at)) {
            Some(field) => *field = kind.0,
            None => self.first = kind,
        }
        self.next_at = Some(start);
        let mut w = Writer(&mut self.octets);
        w.u8(PayloadType::NONE.0);
        w.u8(0);
        w.u16(0);
        write(&mut w);
        let length = u16::try_from(w.position().saturating_sub(start));
        self.too_long |= length.is_err();
        w.patch_u16(start.saturating_add(2), length.unwrap_or(u16::MAX));
    }

    /// Adds a payload.
    pub fn put(&mut self, payload: &Payload<'_>) {
        self.push(payload.kind(), |w| payload.write(w));
    }

    /// Adds a payload octet by octet.
    pub fn put_raw(&mut self, raw: &RawPayload<'_>) {
        self.push(raw.kind, |w| w.bytes(raw.body));
    }

    /// Adds payloads that were built before, in front of which a HASH payload goes.
    ///
    /// # Errors
    ///
    /// [`WireError::TooLong`] if one of the payloads before has more than 65,531 octets.
    pub fn append(&mut self, chain: Self) -> Result<(), WireError> {
        let offset = self.octets.len();
        let next_at = chain.next_at;
        let (first, octets) = chain.finish()?;
        let Some(last_at) = next_at else { return Ok(()) };
        match self.next_at.and_then(|at| self.octets.get_mut(at)) {
            Some(field) => *field = first.0,
            None => self.first = first,
        }
        self.octets.extend_from_slice(&octets);
        self.next_at = Some(offset.saturating_add(last_at));
        Ok(())
    }

    /// The payloads so far with their generic headers, as a hash over them takes them.
    #[must_use]
    pub fn octets(&self) -> &[u8] {
        &self.octets
    }

    /// Ends the chain: the type of its first payload, and the payloads with their generic headers.
    ///
    /// # Errors
    ///
    /// [`WireError::TooLong`] if a payload has more than 65,531 octets.
    pub fn finish(self) -> Result<(PayloadType, Vec<u8>), WireError> {
        if self.too_long {
            return Err(WireError::TooLong("payload"));
        }
        Ok((self.first, self.octets))
    }
}

/// Builds a message in clear.
///
/// Whatever stands in the header's next-payload and length fields is replaced. To encrypt, take what
/// [`Self::finish_padded`] gives and encrypt in place everything after [`Header::LEN`].
#[derive(Clone, Debug)]
pub struct MessageBuilder {
    header: Header,
    chain: ChainBuilder,
}

impl MessageBuilder {
    /// A message of the header alone.
    #[must_use]
    pub fn new(header: Header) -> Self {
        Self { header, chain: ChainBuilder::new() }
    }

    /// A message of the header and the payloads of `chain`.
    #[must_use]
    pub fn with_chain(header: Header, chain: ChainBuilder) -> Self {
        Self { header, chain }
    }

    /// Adds a payload whose body `write` appends, and returns the builder.
    #[must_use]
    pub fn payload(mut self, kind: PayloadType, write: impl FnOnce(&mut Writer<'_>)) -> Self {
        self.push(kind, write);
        self
    }

    /// Adds a payload whose body `write` appends.
    pub fn push(&mut self, kind: PayloadType, write: impl FnOnce(&mut Writer<'_>)) {
        self.chain.push(kind, write);
    }

    /// Adds a payload.
    pub fn put(&mut self, payload: &Payload<'_>) {
        self.chain.put(payload);
    }

    /// Adds a payload octet by octet.
    pub fn put_raw(&mut self, raw: &RawPayload<'_>) {
        self.chain.put_raw(raw);
    }

    /// Ends the message.
    ///
    /// # Errors
    ///
    /// [`WireError::TooLong`] if a payload has more than 65,531 octets.
    pub fn finish(self) -> Result<Vec<u8>, WireError> {
        self.finish_padded(1)
    }

    /// Ends the message with zeros up to a multiple of `block_len` after the header, as RFC 2409
    /// appendix B pads what is to be encrypted. The length counts them. A `block_len` of zero is as
    /// good as one.
    ///
    /// # Errors
    ///
    /// [`WireError::TooLong`] if a payload has more than 65,531 octets.
    pub fn finish_padded(self, block_len: usize) -> Result<Vec<u8>, WireError> {
        let (first, chain) = self.chain.finish()?;
        let padded_len = chain.len().next_multiple_of(block_len.max(1));
        let total = Header::LEN.saturating_add(padded_len);
        let length = u32::try_from(total).map_err(|_| WireError::TooLong("ISAKMP message"))?;
        let mut octets = Vec::with_capacity(total);
        Header { next_payload: first, length, ..self.header }.write(&mut Writer(&mut octets));
        octets.extend_from_slice(&chain);
        octets.resize(total, 0);
        Ok(octets)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Reader,
        iana::isakmp::ExchangeType,
        isakmp::{Cookie, Flags, Payloads, without_padding},
    };

    fn header() -> Header {
        let flags = Flags::ENCRYPTION;
        Header::new(
            Cookie::from_field(&[1; 8]).unwrap(),
            Cookie::ZERO,
            ExchangeType::QUICK_MODE,
            flags,
            7,
        )
    }

    #[test]
    fn padding_is_counted_in_the_message_and_not_in_its_payloads() {
        let octets = MessageBuilder::new(header())
            .payload(PayloadType::NONCE, |w| w.bytes(&[5; 9]))
            .finish_padded(16)
            .unwrap();

        assert_eq!(octets.len(), 28 + 16);
        let mut r = Reader(&octets);
        let read = Header::read(&mut r).unwrap();
        let plain = without_padding(read.next_payload, r.0).unwrap();
        assert_eq!(plain.len(), 4 + 9);
    }

    #[test]
    fn a_chain_goes_behind_a_hash() {
        let mut covered = ChainBuilder::new();
        covered.push(PayloadType::NONCE, |w| w.bytes(&[5; 8]));
        covered.push(PayloadType::ID, |w| w.bytes(&[1, 0, 0, 0, 10, 0, 0, 1]));
        let octets = covered.octets().to_vec();

        let mut chain = ChainBuilder::new();
        chain.push(PayloadType::HASH, |w| w.bytes(&[9; 20]));
        chain.append(covered).unwrap();
        chain.append(ChainBuilder::new()).unwrap();
        chain.push(PayloadType::VENDOR_ID, |_| ());
        let (first, all) = chain.finish().unwrap();

        let kinds = Payloads::new(first, &all).map(|raw| raw.unwrap().kind).collect::<Vec<_>>();
        let expected =
            [PayloadType::HASH, PayloadType::NONCE, PayloadType::ID, PayloadType::VENDOR_ID];
        assert_eq!(kinds, expected);
        assert_eq!(all[24..36], octets[..12]);
    }

    #[test]
    fn a_payload_that_its_length_cannot_count_is_an_error() {
        let long = MessageBuilder::new(header())
            .payload(PayloadType::VENDOR_ID, |w| w.zeros(65_532))
            .finish();
        assert_eq!(long, Err(WireError::TooLong("payload")));
    }
}
