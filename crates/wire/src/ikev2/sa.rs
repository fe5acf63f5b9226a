//! Security Association payload, RFC 7296 §3.3.

use alloc::vec::Vec;
use core::fmt;

use crate::{
    Reader, WireError, Writer,
    iana::{
        EncryptionId, EsnId, IntegrityId, KeyExchangeId, KeyLength, PrfId, ProtocolId,
        TransformType,
    },
};

/// Proposals taken from one payload.
pub const PROPOSALS_MAX: usize = 64;

/// Transforms taken from one payload, all proposals together.
pub const TRANSFORMS_MAX: usize = 512;

/// One algorithm, RFC 7296 §3.3.2.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Transform {
    /// What it does.
    pub kind: TransformType,
    /// Which algorithm; the registry depends on `kind`.
    pub id: u16,
    /// Key Length attribute in bits, for ciphers with several key lengths.
    pub key_bits: Option<u16>,
}

impl Transform {
    /// A transform without a Key Length attribute.
    #[must_use]
    pub const fn new(kind: TransformType, id: u16) -> Self {
        Self { kind, id, key_bits: None }
    }

    /// An encryption algorithm.
    #[must_use]
    pub const fn encryption(id: EncryptionId, key_bits: Option<u16>) -> Self {
        Self { kind: TransformType::ENCR, id: id.0, key_bits }
    }

    /// A pseudorandom function.
    #[must_use]
    pub const fn prf(id: PrfId) -> Self {
        Self::new(TransformType::PRF, id.0)
    }

    /// An integrity algorithm.
    #[must_use]
    pub const fn integrity(id: IntegrityId) -> Self {
        Self::new(TransformType::INTEG, id.0)
    }

    /// The key exchange of the KE payload.
    #[must_use]
    pub const fn key_exchange(id: KeyExchangeId) -> Self {
        Self::new(TransformType::KE, id.0)
    }

    /// Sequence numbers of 64 bits, or of 32.
    #[must_use]
    pub const fn esn(id: EsnId) -> Self {
        Self::new(TransformType::ESN, id.0)
    }

    /// Whether an SA could use this: a Key Length attribute where one belongs and nowhere else
    /// (RFC 7296 §3.3.5). An algorithm nobody here knows passes; nobody will choose it either.
    fn is_well_formed(self) -> bool {
        let rule = match self.kind {
            TransformType::ENCR => EncryptionId(self.id).key_length(),
            TransformType::PRF | TransformType::INTEG | TransformType::KE | TransformType::ESN => {
                KeyLength::Forbidden
            }
            kind if kind.is_additional_ke() => KeyLength::Forbidden,
            _ => KeyLength::Unknown,
        };
        match rule {
            KeyLength::Required => self.key_bits.is_some(),
            KeyLength::Forbidden => self.key_bits.is_none(),
            KeyLength::Optional | KeyLength::Unknown => true,
        }
    }

    /// Reads one transform of a proposal; `None` in place of one that cannot be used.
    fn read(r: &mut Reader<'_>, last: bool) -> Result<(TransformType, Option<Self>), WireError> {
        check_more(r.u8()?, last, MORE_TRANSFORMS, "Transform.last_substruc")?;
        let mut body = substructure(r, TRANSFORM_HEADER_LEN, "Transform.length")?;
        let kind = TransformType(body.u8()?);
        let _reserved = body.u8()?;
        let id = body.u16()?;
        let mut transform = Self { kind, id, key_bits: None };
        let mut understood = true;
        while !body.is_empty() {
            match Attribute::read(&mut body)? {
                Attribute::KeyLength(bits) if transform.key_bits.is_none() => {
                    transform.key_bits = Some(bits);
                }
                // RFC 7296 §3.3.2: an attribute stands at most once.
                Attribute::KeyLength(bits) => {
                    return Err(WireError::BadValue("Transform.key_length", bits.into()));
                }
                Attribute::Unknown => understood = false,
            }
        }
        let usable = understood && transform.is_well_formed();
        Ok((kind, usable.then_some(transform)))
    }

    fn write(self, w: &mut Writer<'_>, last: bool) {
        w.u8(if last { LAST } else { MORE_TRANSFORMS });
        w.u8(0);
        w.u16(if self.key_bits.is_some() { 12 } else { 8 });
        w.u8(self.kind.0);
        w.u8(0);
        w.u16(self.id);
        if let Some(bits) = self.key_bits {
            w.u16(ATTRIBUTE_SHORT | ATTRIBUTE_KEY_LENGTH);
            w.u16(bits);
        }
    }
}

/// The names of the registries: `ENCR_AES_GCM_16 (256 bits)`.
impl fmt::Display for Transform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            TransformType::ENCR => EncryptionId(self.id).fmt(f)?,
            TransformType::PRF => PrfId(self.id).fmt(f)?,
            TransformType::INTEG => IntegrityId(self.id).fmt(f)?,
            TransformType::KE => KeyExchangeId(self.id).fmt(f)?,
            TransformType::ESN => EsnId(self.id).fmt(f)?,
            kind if kind.is_additional_ke() => write!(f, "{kind} {}", KeyExchangeId(self.id))?,
            kind => write!(f, "{kind} {}", self.id)?,
        }
        match self.key_bits {
            Some(bits) => write!(f, " ({bits} bits)"),
            None => Ok(()),
        }
    }
}

/// Transform attribute, RFC 7296 §3.3.5.
enum Attribute {
    KeyLength(u16),
    Unknown,
}

impl Attribute {
    fn read(r: &mut Reader<'_>) -> Result<Self, WireError> {
        let kind = r.u16()?;
        let value = r.u16()?;
        match kind {
            _ if kind == ATTRIBUTE_SHORT | ATTRIBUTE_KEY_LENGTH => Ok(Self::KeyLength(value)),
            // The key length has the short form only.
            ATTRIBUTE_KEY_LENGTH => Err(WireError::BadValue("Attribute.type", kind.into())),
            _ if kind & ATTRIBUTE_SHORT != 0 => Ok(Self::Unknown),
            _ => r.bytes(value.into()).map(|_| Self::Unknown),
        }
    }
}

/// One choice of protocol and algorithms, RFC 7296 §3.3.1.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Proposal {
    /// Its number, from 1; an answer repeats the number of the chosen one.
    pub number: u8,
    /// Protocol the SA is for.
    pub protocol: ProtocolId,
    /// The sender's SPI: 4 octets for AH and ESP, 8 for the rekeying of an IKE SA, else none.
    pub spi: Vec<u8>,
    /// All offered transforms; those of one kind are alternatives.
    pub transforms: Vec<Transform>,
}

impl Proposal {
    /// The transforms of one kind, in the order of preference.
    pub fn transforms_of(&self, kind: TransformType) -> impl Iterator<Item = Transform> + '_ {
        self.transforms.iter().copied().filter(move |transform| transform.kind == kind)
    }

    /// Reads one proposal; `None` in place of one that cannot be accepted whatever we support.
    fn read(r: &mut Reader<'_>, budget: &mut usize) -> Result<(u8, Option<Self>), WireError> {
        let more = r.u8()?;
        let mut body = substructure(r, PROPOSAL_HEADER_LEN, "Proposal.length")?;
        check_more(more, r.is_empty(), MORE_PROPOSALS, "Proposal.last_substruc")?;
        let number = body.u8()?;
        let protocol = ProtocolId(body.u8()?);
        let spi_size = body.u8()?;
        let transform_count = body.u8()?;
        if !spi_size_is_legal(protocol, spi_size) {
            return Err(WireError::BadValue("Proposal.spi_size", spi_size.into()));
        }
        let spi = body.bytes(spi_size.into())?.to_vec();
        *budget =
            budget.checked_sub(transform_count.into()).ok_or(WireError::TooMany("transforms"))?;
        let transforms = read_transforms(&mut body, transform_count)?;
        body.finish("Proposal")?;
        let proposal = transforms.map(|transforms| Self { number, protocol, spi, transforms });
        Ok((number, proposal))
    }

    fn write(&self, w: &mut Writer<'_>, last: bool) {
        let start = w.position();
        w.u8(if last { LAST } else { MORE_PROPOSALS });
        w.u8(0);
        w.u16(0);
        w.u8(self.number);
        w.u8(self.protocol.0);
        w.u8(u8::try_from(self.spi.len()).unwrap_or(u8::MAX));
        let count = u8::try_from(self.transforms.len()).unwrap_or(u8::MAX);
        w.u8(count);
        w.bytes(&self.spi);
        for (number, transform) in (1..=count).zip(&self.transforms) {
            transform.write(w, number == count);
        }
        let length = w.position().saturating_sub(start);
        w.patch_u16(start.saturating_add(2), u16::try_from(length).unwrap_or(u16::MAX));
    }
}

/// Reads exactly `count` transforms.
///
/// RFC 7296 §3.3.6: a transform with an attribute we do not understand is not acceptable, the
/// others of its kind still are. So it is left out, unless none of its kind would be left: then
/// the kind would seem not offered at all, and the whole proposal is left out (`None`).
fn read_transforms(body: &mut Reader<'_>, count: u8) -> Result<Option<Vec<Transform>>, WireError> {
    let mut usable = Vec::new();
    let mut refused = Vec::new();
    for index in 1..=count {
        match Transform::read(body, index == count)? {
            (_, Some(transform)) => usable.push(transform),
            (kind, None) => refused.push(kind),
        }
    }
    let remains = |kind| usable.iter().any(|transform: &Transform| transform.kind == kind);
    Ok(refused.into_iter().all(remains).then_some(usable))
}

/// Security Association payload body, RFC 7296 §3.3.
///
/// ```text
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// | Last Substruc |   RESERVED    |         Proposal Length       |
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// | Proposal Num  |  Protocol ID  |    SPI Size   |Num  Transforms|
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// ~                        SPI (variable)                         ~
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// | Last Substruc |   RESERVED    |        Transform Length       |
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// |Transform Type |   RESERVED    |          Transform ID         |
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// ~                      Transform Attributes                     ~
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// ```
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
pub struct Sa {
    /// The proposals in the order of preference.
    ///
    /// Those are missing that nobody could accept: a kind of transform in them is offered only
    /// with attributes we do not understand, or with a key length where none belongs or none
    /// where one does (RFC 7296 §3.3.6). So it may be empty after [`Sa::read`].
    pub proposals: Vec<Proposal>,
}

impl Sa {
    /// Reads one body; `r` holds exactly the payload without its generic header.
    ///
    /// # Errors
    ///
    /// - [`WireError::Truncated`], [`WireError::Trailing`]: a length or count is wrong.
    /// - [`WireError::TooMany`]: more than [`PROPOSALS_MAX`] or [`TRANSFORMS_MAX`].
    /// - [`WireError::BadValue`]: proposals not numbered 1, 2, 3, …; a wrong mark for the last
    ///   substructure; an SPI size the protocol does not have; two key lengths in one transform.
    pub fn read(r: &mut Reader<'_>) -> Result<Self, WireError> {
        let mut proposals = Vec::new();
        let mut transforms_left = TRANSFORMS_MAX;
        let mut number_before = 0_u8;
        let mut count = 0_usize;
        loop {
            if count == PROPOSALS_MAX {
                return Err(WireError::TooMany("proposals"));
            }
            let (number, proposal) = Proposal::read(r, &mut transforms_left)?;
            // An answer is one proposal with the number of the one it accepts.
            let answer = count == 0 && r.is_empty() && number != 0;
            if !answer && number_before.checked_add(1) != Some(number) {
                return Err(WireError::BadValue("Proposal.number", number.into()));
            }
            proposals.extend(proposal);
            number_before = number;
            count = count.saturating_add(1);
            if r.is_empty() {
                return Ok(Self { proposals });
            }
        }
    }

    /// Appends the body; the exact inverse of [`Sa::read`] where that left nothing out. Of a
    /// proposal's transforms only 255 can be counted, so later ones are left out.
    pub fn write(&self, w: &mut Writer<'_>) {
        for (index, proposal) in self.proposals.iter().enumerate() {
            proposal.write(w, index.saturating_add(1) == self.proposals.len());
        }
    }
}

/// Takes a substructure whose mark for the last one is read already: a reserved octet, the length
/// of everything, and what is left of that.
fn substructure<'a>(
    r: &mut Reader<'a>,
    header_len: u16,
    name: &'static str,
) -> Result<Reader<'a>, WireError> {
    let _reserved = r.u8()?;
    let length = r.u16()?;
    if length < header_len {
        return Err(WireError::BadValue(name, length.into()));
    }
    r.part(usize::from(length.saturating_sub(GENERIC_LEN)))
}

fn check_more(mark: u8, last: bool, more: u8, name: &'static str) -> Result<(), WireError> {
    let expected = if last { LAST } else { more };
    if mark == expected { Ok(()) } else { Err(WireError::BadValue(name, mark.into())) }
}

fn spi_size_is_legal(protocol: ProtocolId, size: u8) -> bool {
    match protocol {
        ProtocolId::IKE => matches!(size, 0 | 8),
        ProtocolId::AH | ProtocolId::ESP => size == 4,
        // Nobody here accepts another protocol, but the proposals beside it may be good.
        _ => true,
    }
}

const LAST: u8 = 0;
const MORE_PROPOSALS: u8 = 2;
const MORE_TRANSFORMS: u8 = 3;
const GENERIC_LEN: u16 = 4;
const PROPOSAL_HEADER_LEN: u16 = 8;
const TRANSFORM_HEADER_LEN: u16 = 8;
const ATTRIBUTE_SHORT: u16 = 0x8000;
const ATTRIBUTE_KEY_LENGTH: u16 = 14;

#[cfg(test)]
mod tests;
