//! Encrypted payloads: SK (RFC 7296 §3.14) and its fragments SKF (RFC 7383 §2.5).
//!
//! What a cipher needs of a message, in this order and without gaps:
//!
//! ```text
//! aad   from the IKE header to the end of the SK or SKF header (RFC 5282 §5.1)
//! iv    SealSpace::iv_len octets
//! text  inner payloads, padding, pad length: encrypted in place
//! icv   SealSpace::icv_len octets
//! ```
//!
//! [`MessageBuilder::protect`](super::MessageBuilder::protect) lays out a message to be sent,
//! [`Protected::read`] finds the same parts in a received one.

use core::fmt;

use super::{Header, Payload, Payloads, payload::GENERIC_HEADER_LEN};
use crate::{Reader, WireError, Writer, iana::PayloadType};

/// Encrypted payload body, RFC 7296 §3.14, as long as it is closed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Encrypted<'a> {
    /// Type of the first payload inside.
    pub first: PayloadType,
    /// IV, ciphertext and ICV.
    pub body: &'a [u8],
}

impl<'a> Encrypted<'a> {
    /// Reads one body; `first` is the next payload field of its generic header.
    ///
    /// # Errors
    ///
    /// None: where the parts end depends on the cipher.
    pub fn read(first: PayloadType, r: &mut Reader<'a>) -> Result<Self, WireError> {
        Ok(Self { first, body: r.rest() })
    }

    /// Appends the body; the exact inverse of [`Self::read`].
    pub fn write(&self, w: &mut Writer<'_>) {
        w.bytes(self.body);
    }
}

/// Which of how many fragments, RFC 7383 §2.5: `1 <= number <= total`.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct FragmentNumber {
    number: u16,
    total: u16,
}

impl FragmentNumber {
    /// Takes a number, counted from 1, and the count of all.
    ///
    /// # Errors
    ///
    /// [`WireError::BadValue`] unless `1 <= number <= total`.
    pub fn new(number: u16, total: u16) -> Result<Self, WireError> {
        if number == 0 || number > total {
            return Err(WireError::BadValue("SKF.number", number.into()));
        }
        Ok(Self { number, total })
    }

    /// Number of this fragment, from 1.
    #[must_use]
    pub const fn number(self) -> u16 {
        self.number
    }

    /// Count of all fragments of the message.
    #[must_use]
    pub const fn total(self) -> u16 {
        self.total
    }
}

/// Encrypted Fragment payload body, RFC 7383 §2.5, as long as it is closed.
///
/// ```text
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// |        Fragment Number        |        Total Fragments        |
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// ~        Initialization Vector, content, padding, ICV           ~
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// ```
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct EncryptedFragment<'a> {
    /// Type of the first payload inside, in the first fragment; nothing in the others.
    pub first: PayloadType,
    /// Which fragment this is.
    pub fragment: FragmentNumber,
    /// IV, ciphertext and ICV.
    pub body: &'a [u8],
}

impl<'a> EncryptedFragment<'a> {
    /// Reads one body; `first` is the next payload field of its generic header.
    ///
    /// # Errors
    ///
    /// [`WireError::Truncated`]; [`WireError::BadValue`] if the number is zero or above the total.
    pub fn read(first: PayloadType, r: &mut Reader<'a>) -> Result<Self, WireError> {
        let fragment = FragmentNumber::new(r.u16()?, r.u16()?)?;
        Ok(Self { first, fragment, body: r.rest() })
    }

    /// Appends the body; the exact inverse of [`Self::read`].
    pub fn write(&self, w: &mut Writer<'_>) {
        w.u16(self.fragment.number);
        w.u16(self.fragment.total);
        w.bytes(self.body);
    }
}

/// What a cipher adds to an encrypted payload, in octets.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct SealSpace {
    /// Initialization vector.
    pub iv_len: usize,
    /// Integrity check value.
    pub icv_len: usize,
    /// The text with its padding is a multiple of this; 0 and 1 need no padding, 256 is the most.
    pub block_len: usize,
}

impl SealSpace {
    /// Most octets of inner payloads that one SKF message of `message_max` octets holds, the IKE
    /// header included and UDP and IP headers not.
    #[must_use]
    pub fn fragment_text_max(self, message_max: usize) -> usize {
        let header = Header::LEN
            .saturating_add(GENERIC_HEADER_LEN.into())
            .saturating_add(FRAGMENT_HEADER_LEN);
        let room = message_max
            .saturating_sub(header)
            .saturating_sub(self.iv_len)
            .saturating_sub(self.icv_len);
        let unaligned = room.checked_rem(self.block_len).unwrap_or(0);
        room.saturating_sub(unaligned).saturating_sub(PAD_LENGTH_LEN)
    }

    /// Octets of padding after `text_len` octets, the pad length octet not counted.
    pub(super) fn pad_len(self, text_len: usize) -> u8 {
        let over = text_len
            .saturating_add(PAD_LENGTH_LEN)
            .checked_rem(self.block_len)
            .filter(|over| *over != 0);
        let pad = over.map_or(0, |over| self.block_len.saturating_sub(over));
        u8::try_from(pad).unwrap_or(0)
    }
}

/// The parts of a protected message as a cipher wants them: they follow on one another without
/// gaps, so what a MAC covers is `aad | iv | text`.
pub struct Parts<'m> {
    /// Authenticated, not encrypted.
    pub aad: &'m [u8],
    /// Initialization vector.
    pub iv: &'m mut [u8],
    /// Plaintext or ciphertext.
    pub text: &'m mut [u8],
    /// Integrity check value.
    pub icv: &'m mut [u8],
}

impl<'m> Parts<'m> {
    /// Splits a message; `None` if it is shorter than its fixed parts.
    pub(super) fn split(message: &'m mut [u8], aad_len: usize, space: SealSpace) -> Option<Self> {
        let (aad, rest) = message.split_at_mut_checked(aad_len)?;
        let (iv, rest) = rest.split_at_mut_checked(space.iv_len)?;
        let text_len = rest.len().checked_sub(space.icv_len)?;
        let (text, icv) = rest.split_at_mut_checked(text_len)?;
        Some(Self { aad, iv, text, icv })
    }
}

/// The text may be plain: it does not belong into logs.
impl fmt::Debug for Parts<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Parts")
            .field("aad", &self.aad.len())
            .field("iv", &self.iv.len())
            .field("text", &self.text.len())
            .field("icv", &self.icv.len())
            .finish()
    }
}

/// A received message that ends with an SK or SKF payload.
///
/// Payloads in clear before it are authenticated but not shown here: whoever cares for a critical
/// one walks the [`Payloads`] of the message.
#[derive(Debug)]
pub struct Protected<'m> {
    /// Type of the first payload inside; nothing in later fragments.
    pub first: PayloadType,
    /// Which fragment this is; `None` for an SK payload.
    pub fragment: Option<FragmentNumber>,
    parts: Parts<'m>,
}

impl<'m> Protected<'m> {
    /// Finds the parts of `message`, a whole one from its IKE header on.
    ///
    /// Whether the text is a multiple of the cipher's block is left to the cipher.
    ///
    /// # Errors
    ///
    /// - What [`Header::read`] and [`Payloads`] say.
    /// - [`WireError::BadValue`]: the last payload is not an SK or SKF payload.
    /// - [`WireError::Truncated`]: it is too short for IV, pad length and ICV.
    pub fn read(message: &'m mut [u8], space: SealSpace) -> Result<Self, WireError> {
        let mut r = Reader(message);
        let header = Header::read(&mut r)?;
        let mut last = None;
        for payload in Payloads::new(header.next_payload, r.rest()) {
            last = Some(payload?);
        }
        let (first, fragment, body_len) = match last.map(Payload::read).transpose()? {
            Some(Payload::Sk(sk)) => (sk.first, None, sk.body.len()),
            Some(Payload::Skf(skf)) => (skf.first, Some(skf.fragment), skf.body.len()),
            other => {
                let kind = other.map_or(PayloadType::NONE, |payload| payload.kind());
                return Err(WireError::BadValue("last payload", kind.0.into()));
            }
        };
        let aad_len = message.len().saturating_sub(body_len);
        Parts::split(message, aad_len, space)
            .filter(|parts| parts.text.len() >= PAD_LENGTH_LEN)
            .map(|parts| Self { first, fragment, parts })
            .ok_or(WireError::Truncated("SK"))
    }

    /// Decrypts with `open` in place and returns the inner payloads without their padding.
    ///
    /// # Errors
    ///
    /// That of `open`, which must not succeed unless the ICV is good; [`WireError::BadValue`] if
    /// the pad length is more than there is (authenticated, so the peer's fault).
    pub fn open<E: From<WireError>>(
        mut self,
        open: impl FnOnce(&mut Parts<'m>) -> Result<(), E>,
    ) -> Result<&'m [u8], E> {
        open(&mut self.parts)?;
        Ok(strip_padding(self.parts.text)?)
    }
}

/// Takes padding and pad length off a decrypted text (RFC 7296 §3.14).
///
/// # Errors
///
/// [`WireError::Truncated`] for no text at all; [`WireError::BadValue`] if the pad length is more
/// than there is.
pub fn strip_padding(text: &[u8]) -> Result<&[u8], WireError> {
    let (pad_len, rest) = text.split_last().ok_or(WireError::Truncated("SK"))?;
    rest.len()
        .checked_sub(usize::from(*pad_len))
        .and_then(|len| rest.get(..len))
        .ok_or_else(|| WireError::BadValue("SK.pad_length", (*pad_len).into()))
}

const PAD_LENGTH_LEN: usize = 1;
const FRAGMENT_HEADER_LEN: usize = 4;
