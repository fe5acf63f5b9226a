//! ESP packets, RFC 4303 §2 and §3: building and opening them in place.
//!
//! What a packet protects is a whole inner packet in tunnel mode, and in transport mode what
//! follows the IP header.
//!
//! ```text
//! | SPI (4) | sequence (4) | IV | inner packet | padding | pad length (1) | next header (1) | ICV |
//! |<------- authenticated ----->|<-------------------- encrypted -------------------->|
//! ```
//!
//! Nothing here keeps state: the caller has chosen the sequence number before sealing, and judged
//! it before opening.

use adit_crypto::{OpenKey, SealKey, Shape};
use adit_wire::PacketBuf;
use adit_wire::esp::{EspHeader, Spi};
use adit_wire::iana::IpProtocol;

use crate::drop_reason::DropReason;
use crate::nesting::{BETWEEN_MAX, NESTING_MAX};

/// Octets that sealing adds to an inner packet of a given length.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Overhead {
    /// Before it: ESP header and IV.
    pub(crate) front: usize,
    /// Padding, between 0 and 15 octets.
    padding: u8,
    /// After it: padding, two octets of trailer, ICV.
    pub(crate) back: usize,
}

impl Overhead {
    #[inline]
    pub(crate) const fn of(shape: Shape, inner_len: usize) -> Self {
        // Blocks are powers of two.
        let beyond = inner_len.wrapping_add(TRAILER_LEN).wrapping_neg();
        let padding = beyond & shape.block_len().wrapping_sub(1);
        Self {
            front: EspHeader::LEN + shape.iv_len(),
            #[expect(clippy::cast_possible_truncation, reason = "a block has at most 16 octets")]
            padding: padding as u8,
            back: padding + TRAILER_LEN + shape.icv_len(),
        }
    }
}

/// Most octets that sealing adds before an inner packet, or opening after it has taken off the
/// security header: AH with its outer IPv6 header, by each of the SAs that are nested.
pub const HEADROOM_MAX: usize = NESTING_MAX * FRONT_MAX;

/// Most octets that sealing adds after an inner packet, whatever the ciphers: 15 of padding,
/// trailer, and the ICV of HMAC-SHA-512-256, by each of the SAs that are nested.
pub const TAILROOM_MAX: usize = NESTING_MAX * (15 + TRAILER_LEN + 32);

/// What one SA adds in front. ESP adds less with the headers that another SA needs.
const FRONT_MAX: usize = crate::ah::FRONT_MAX;

const _: () = assert!(EspHeader::LEN + IV_MAX + BETWEEN_MAX <= FRONT_MAX);

/// A block of a cipher of 16 octets.
const IV_MAX: usize = 16;

/// Largest inner packet that fits into the 1,500 octets of an Ethernet link, whatever the cipher
/// and even in UDP over IPv6: 40 and 8 octets of outer headers, ESP header and IV, 87 blocks with
/// the trailer, and the ICV. AH adds less.
pub const INNER_MTU: u16 = 1_390;

/// Who numbers the packet: the SA's SPI and the sequence number, in whole.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Label {
    pub(crate) spi: Spi,
    pub(crate) sequence: u64,
    pub(crate) esn: bool,
}

/// What is authenticated with a packet besides its own octets.
struct Authenticated {
    aad: [u8; 16],
    aad_len: usize,
    trailer: [u8; 4],
    trailer_len: usize,
}

impl Authenticated {
    /// RFC 4106 §5 and RFC 7634 §2.1: an AEAD takes the 64-bit number between SPI and IV. RFC 4303
    /// §2.2.1: a separate integrity algorithm takes its high half behind the packet.
    ///
    /// Each is put together as one number: octet by octet that costs as much as all the rest.
    #[inline]
    fn new(label: Label, aead: bool) -> Self {
        let number = u128::from(label.sequence);
        let (number, aad_len) =
            if label.esn && aead { (number << 32, 12) } else { (number << 64 & LOW_HALF, 8) };
        let aad = (u128::from(label.spi.0) << 96 | number).to_be_bytes();
        let trailer_len = if label.esn && !aead { 4 } else { 0 };
        let [h0, h1, h2, h3, ..] = label.sequence.to_be_bytes();
        Self { aad, aad_len, trailer: [h0, h1, h2, h3], trailer_len }
    }

    fn aad(&self) -> &[u8] {
        self.aad.get(..self.aad_len).unwrap_or_default()
    }

    fn trailer(&self) -> &[u8] {
        self.trailer.get(..self.trailer_len).unwrap_or_default()
    }
}

/// Where the low half of a number is that stands behind an SPI.
const LOW_HALF: u128 = 0xffff_ffff << 64;

/// Encrypts one inner IP packet in place, turning it into an ESP packet (RFC 4303 §3.3).
///
/// The caller has made sure of the room that [`Overhead::of`] names. `iv_counter` is used for the
/// first time with this key: it is the sequence number, but in tests against known packets.
///
/// # Errors
///
/// [`DropReason::NoRoom`] if the caller has not; the packet is unchanged.
#[inline]
pub(crate) fn seal(
    packet: &mut PacketBuf,
    key: &SealKey,
    label: Label,
    iv_counter: u64,
    next_header: IpProtocol,
) -> Result<(), DropReason> {
    let shape = key.shape();
    let overhead = Overhead::of(shape, packet.len());
    let text_len = packet.len() + usize::from(overhead.padding) + TRAILER_LEN;
    let sealed = packet.grow(overhead.front, overhead.back).ok_or(DropReason::NoRoom)?;
    let (header, rest) = sealed.split_at_mut(EspHeader::LEN);
    let (iv, rest) = rest.split_at_mut(shape.iv_len());
    let (text, icv) = rest.split_at_mut(text_len);
    write_trailer(text, overhead.padding, next_header);
    let [.., l0, l1, l2, l3] = label.sequence.to_be_bytes();
    let sequence = u32::from_be_bytes([l0, l1, l2, l3]);
    header.copy_from_slice(&EspHeader { spi: label.spi, sequence }.to_octets());
    let authenticated = Authenticated::new(label, shape.is_aead());
    key.seal(iv_counter, authenticated.aad(), iv, text, icv, authenticated.trailer())
        .expect("iv, text and icv were cut to the lengths of the cipher");
    Ok(())
}

/// Checks and decrypts one ESP packet in place, leaving the inner octets with their padding and
/// trailer (RFC 4303 §3.4.4).
///
/// # Errors
///
/// - [`DropReason::Truncated`]: no packet of this cipher is so short, or of such a length.
/// - [`DropReason::BadIcv`]: not from the peer, or changed on the way. The content is lost.
#[inline]
pub(crate) fn open(packet: &mut PacketBuf, key: &OpenKey, label: Label) -> Result<(), DropReason> {
    let shape = key.shape();
    let front = EspHeader::LEN + shape.iv_len();
    let text_len = packet
        .len()
        .checked_sub(front + shape.icv_len())
        .filter(|len| *len >= TRAILER_LEN)
        .ok_or(DropReason::Truncated)?;
    // What a text must be a multiple of is a power of two.
    if text_len & shape.text_multiple().wrapping_sub(1) != 0 {
        return Err(DropReason::Truncated);
    }
    let (_, rest) = packet.data_mut().split_at_mut(EspHeader::LEN);
    let (iv, rest) = rest.split_at_mut(shape.iv_len());
    let (text, icv) = rest.split_at_mut(text_len);
    let authenticated = Authenticated::new(label, shape.is_aead());
    let sequence = label.sequence.to_be_bytes();
    let iv = if shape.is_iv_implicit() { &sequence[..] } else { iv };
    key.open(authenticated.aad(), iv, text, icv, authenticated.trailer())
        .map_err(|_| DropReason::BadIcv)?;
    if !packet.pull_front(front) {
        return Err(DropReason::Truncated);
    }
    packet.truncate(text_len);
    Ok(())
}

/// Takes the trailer off decrypted octets and returns the next header (RFC 4303 §2.4 to §2.6).
///
/// # Errors
///
/// [`DropReason::BadPadding`] unless the padding is 1, 2, 3 … and fits.
#[inline]
pub(crate) fn strip_trailer(packet: &mut PacketBuf) -> Result<IpProtocol, DropReason> {
    let Some((inner, [pad_len, next_header])) = packet.data().split_last_chunk() else {
        return Err(DropReason::BadPadding);
    };
    let (pad_len, next_header) = (usize::from(*pad_len), IpProtocol(*next_header));
    let inner_len = inner.len().checked_sub(pad_len).ok_or(DropReason::BadPadding)?;
    //= https://www.rfc-editor.org/rfc/rfc4303#section-2.4
    //# When this padding scheme is employed, the receiver SHOULD inspect the Padding field.
    let is_right = match inner.last_chunk() {
        Some(last) if pad_len < last.len() => ends_with_padding(u64::from_be_bytes(*last), pad_len),
        _ => inner.get(inner_len..) == PADDING.get(..pad_len),
    };
    if !is_right {
        return Err(DropReason::BadPadding);
    }
    packet.truncate(inner_len);
    Ok(next_header)
}

/// RFC 4303 §2.4: padding octets count up from 1. `text` ends with them, their number and the next
/// header.
#[inline]
fn write_trailer(text: &mut [u8], padding: u8, next_header: IpProtocol) {
    let Some((inner, trailer)) = text.split_last_chunk_mut() else { return };
    *trailer = [padding, next_header.0];
    for (octet, value) in inner.iter_mut().rev().zip((1..=padding).rev()) {
        *octet = value;
    }
}

/// Whether the last of eight octets are so many of padding, which are less than eight.
#[inline]
const fn ends_with_padding(last: u64, pad_len: usize) -> bool {
    const SEVEN: u64 = 0x0001_0203_0405_0607;
    let bits = pad_len * 8;
    let padding = SEVEN >> (56 - bits);
    last & ((1 << bits) - 1) == padding
}

/// The longest padding.
const PADDING: [u8; 255] = {
    let mut padding = [0; 255];
    let mut octets = padding.as_mut_slice();
    let mut value = 1_u8;
    while let Some((octet, rest)) = octets.split_first_mut() {
        *octet = value;
        value = value.wrapping_add(1);
        octets = rest;
    }
    padding
};

/// Pad length and next header.
const TRAILER_LEN: usize = 2;

#[cfg(test)]
mod tests;
