//! Security Association, Proposal and Transform payloads, RFC 2408 §3.4 to §3.6, RFC 2407 §4.6.1.

use alloc::{borrow::Cow, vec::Vec};

use super::{Attributes, IsakmpError};
use crate::{
    Reader, WireError, Writer,
    iana::{
        doi::{Doi, ProtocolId, Situation},
        isakmp::{NotifyType, PayloadType},
    },
};

/// Proposals taken from one payload.
pub const PROPOSALS_MAX: usize = 64;

/// Transforms taken from one payload, all proposals together.
pub const TRANSFORMS_MAX: usize = 512;

/// One way to do what its proposal is for, RFC 2408 §3.6.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Transform<'a> {
    /// Its number in the proposal; an answer repeats the number of the chosen one.
    pub number: u8,
    /// Transform identifier; the registry depends on the proposal's protocol.
    pub id: u8,
    /// What it is made of.
    pub attributes: Attributes<'a>,
}

impl<'a> Transform<'a> {
    fn read(r: &mut Reader<'a>) -> Result<(Mark, Self), IsakmpError> {
        let (mark, mut body) = substructure(r, TRANSFORM_HEADER_LEN, "Transform.length")?;
        let number = body.u8()?;
        let id = body.u8()?;
        let reserved = body.u16()?;
        if reserved != 0 {
            return Err(syntax("Transform.reserved2", reserved.into()));
        }
        let attributes = Attributes::read(&mut body)?;
        Ok((mark, Self { number, id, attributes }))
    }

    fn write(&self, w: &mut Writer<'_>, last: bool) {
        let start = w.position();
        w.u8(if last { PayloadType::NONE.0 } else { PayloadType::TRANSFORM.0 });
        w.zeros(3);
        w.u8(self.number);
        w.u8(self.id);
        w.u16(0);
        self.attributes.write(w);
        end_substructure(w, start);
    }

    /// The same transform, no longer borrowed.
    #[must_use]
    pub fn into_owned(self) -> Transform<'static> {
        let Self { number, id, attributes } = self;
        Transform { number, id, attributes: attributes.into_owned() }
    }
}

/// One protocol and the transforms for it, RFC 2408 §3.5.
///
/// Proposals with the same number belong together: all of them or none (RFC 2408 §4.2).
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Proposal<'a> {
    /// Its number; an answer repeats the number of the chosen one.
    pub number: u8,
    /// Protocol the SA is for.
    pub protocol: ProtocolId,
    /// The sender's SPI: 4 octets for AH and ESP, 2 or 4 for IPComp. In phase 1 it says nothing and
    /// has up to 16.
    pub spi: Cow<'a, [u8]>,
    /// Alternatives, the preferred one first.
    pub transforms: Vec<Transform<'a>>,
}

impl<'a> Proposal<'a> {
    fn read(r: &mut Reader<'a>, budget: &mut usize) -> Result<(Mark, Self), IsakmpError> {
        let (mark, mut body) = substructure(r, PROPOSAL_HEADER_LEN, "Proposal.length")?;
        let number = body.u8()?;
        let protocol = ProtocolId(body.u8()?);
        let spi_size = body.u8()?;
        let transform_count = body.u8()?;
        if !spi_size_is_legal(protocol, spi_size) {
            let size = spi_size.into();
            return Err(IsakmpError::value(NotifyType::INVALID_SPI, "Proposal.spi_size", size));
        }
        let spi = Cow::Borrowed(body.bytes(spi_size.into())?);
        *budget =
            budget.checked_sub(transform_count.into()).ok_or(WireError::TooMany("transforms"))?;
        let transforms = read_transforms(&mut body, transform_count)?;
        body.finish("Proposal")?;
        Ok((mark, Self { number, protocol, spi, transforms }))
    }

    fn write(&self, w: &mut Writer<'_>, last: bool) {
        let start = w.position();
        w.u8(if last { PayloadType::NONE.0 } else { PayloadType::PROPOSAL.0 });
        w.zeros(3);
        w.u8(self.number);
        w.u8(self.protocol.0);
        w.u8(u8::try_from(self.spi.len()).unwrap_or(u8::MAX));
        let count = u8::try_from(self.transforms.len()).unwrap_or(u8::MAX);
        w.u8(count);
        w.bytes(&self.spi);
        for (index, transform) in (1..=count).zip(&self.transforms) {
            transform.write(w, index == count);
        }
        end_substructure(w, start);
    }

    /// The same proposal, no longer borrowed.
    #[must_use]
    pub fn into_owned(self) -> Proposal<'static> {
        Proposal {
            number: self.number,
            protocol: self.protocol,
            spi: Cow::Owned(self.spi.into_owned()),
            transforms: self.transforms.into_iter().map(Transform::into_owned).collect(),
        }
    }
}

/// Reads exactly `count` transforms, whose numbers have to ascend (RFC 2408 §3.6).
fn read_transforms<'a>(
    body: &mut Reader<'a>,
    count: u8,
) -> Result<Vec<Transform<'a>>, IsakmpError> {
    let mut transforms = Vec::new();
    let mut number_before = None;
    for index in 1..=count {
        let (mark, transform) = Transform::read(body)?;
        mark.check(index == count, PayloadType::TRANSFORM, "Transform.next_payload")?;
        if number_before >= Some(transform.number) {
            return Err(syntax("Transform.number", transform.number.into()));
        }
        number_before = Some(transform.number);
        transforms.push(transform);
    }
    if transforms.is_empty() {
        return Err(syntax("Proposal.transforms", 0));
    }
    Ok(transforms)
}

/// Security Association payload body, RFC 2408 §3.4, with the situation of RFC 2407 §4.6.1.
///
/// ```text
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// |                Domain of Interpretation (IPSEC)               |
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// |                       Situation (bitmap)                      |
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// | Next Payload  |   RESERVED    |        Proposal Length        |
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// |  Proposal #   |  Protocol-Id  |    SPI Size   |# of Transforms|
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// ~                        SPI (variable)                         ~
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// | Next Payload  |   RESERVED    |       Transform Length        |
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// |  Transform #  |  Transform-Id |           RESERVED2           |
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// ~                        SA Attributes                          ~
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// ```
///
/// The DOI is that of IPsec and the situation SIT_IDENTITY_ONLY: [`Self::read`] knows no others.
/// `SAi_b` of RFC 2409 is the body as the initiator sent it: take it from the
/// [`RawPayload`](super::RawPayload), not from a rewritten one.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
pub struct Sa<'a> {
    /// The proposals in the order of preference; at least one after [`Self::read`].
    pub proposals: Vec<Proposal<'a>>,
}

impl<'a> Sa<'a> {
    /// Reads one body; `r` holds exactly the payload without its generic header.
    ///
    /// # Errors
    ///
    /// - DOI-NOT-SUPPORTED, SITUATION-NOT-SUPPORTED: other than those above.
    /// - INVALID-SPI: an SPI size that the protocol does not have.
    /// - BAD-PROPOSAL-SYNTAX: whatever else is wrong with proposals and transforms: lengths, counts,
    ///   marks for the last one, RESERVED fields, numbers out of order, a proposal without
    ///   transforms, more than [`PROPOSALS_MAX`] or [`TRANSFORMS_MAX`].
    pub fn read(r: &mut Reader<'a>) -> Result<Self, IsakmpError> {
        let doi = Doi(r.u32()?);
        if doi != Doi::IPSEC {
            return Err(IsakmpError::value(NotifyType::DOI_NOT_SUPPORTED, "SA.doi", doi.0.into()));
        }
        let situation = Situation(r.u32()?);
        if situation != Situation::IDENTITY_ONLY {
            return Err(IsakmpError::value(
                NotifyType::SITUATION_NOT_SUPPORTED,
                "SA.situation",
                situation.0.into(),
            ));
        }
        Self::read_proposals(r).map_err(|error| error.or(NotifyType::BAD_PROPOSAL_SYNTAX))
    }

    fn read_proposals(r: &mut Reader<'a>) -> Result<Self, IsakmpError> {
        let mut proposals: Vec<Proposal<'a>> = Vec::new();
        let mut transforms_left = TRANSFORMS_MAX;
        loop {
            if proposals.len() == PROPOSALS_MAX {
                return Err(WireError::TooMany("proposals").into());
            }
            let (mark, proposal) = Proposal::read(r, &mut transforms_left)?;
            mark.check(r.is_empty(), PayloadType::PROPOSAL, "Proposal.next_payload")?;
            // Those of one number follow each other, and numbers ascend (RFC 2408 §4.2).
            if proposals.last().is_some_and(|before| before.number > proposal.number) {
                return Err(syntax("Proposal.number", proposal.number.into()));
            }
            proposals.push(proposal);
            if r.is_empty() {
                return Ok(Self { proposals });
            }
        }
    }

    /// The proposals of each number: alternatives, each of them a bundle of one protocol or more.
    pub fn alternatives(&self) -> impl Iterator<Item = &[Proposal<'a>]> {
        self.proposals.chunk_by(|one, other| one.number == other.number)
    }

    /// Appends the body; the exact inverse of [`Self::read`]. Of a proposal's transforms only 255 can
    /// be counted, so later ones are left out.
    pub fn write(&self, w: &mut Writer<'_>) {
        w.u32(Doi::IPSEC.0);
        w.u32(Situation::IDENTITY_ONLY.0);
        for (index, proposal) in self.proposals.iter().enumerate() {
            proposal.write(w, index.saturating_add(1) == self.proposals.len());
        }
    }

    /// The same payload, no longer borrowed.
    #[must_use]
    pub fn into_owned(self) -> Sa<'static> {
        Sa { proposals: self.proposals.into_iter().map(Proposal::into_owned).collect() }
    }
}

/// Next Payload field of a proposal or transform.
struct Mark(u8);

impl Mark {
    /// RFC 2408 §3.5, §3.6: the type of the same, or 0 in the last one.
    fn check(&self, last: bool, kind: PayloadType, name: &'static str) -> Result<(), IsakmpError> {
        let expected = if last { PayloadType::NONE } else { kind };
        if self.0 == expected.0 { Ok(()) } else { Err(syntax(name, self.0.into())) }
    }
}

/// Takes a proposal or transform: its Next Payload field, and what is left after the length.
fn substructure<'a>(
    r: &mut Reader<'a>,
    header_len: u16,
    name: &'static str,
) -> Result<(Mark, Reader<'a>), IsakmpError> {
    let mark = Mark(r.u8()?);
    let reserved = r.u8()?;
    if reserved != 0 {
        return Err(syntax("Proposal.reserved", reserved.into()));
    }
    let length = r.u16()?;
    if length < header_len {
        return Err(syntax(name, length.into()));
    }
    Ok((mark, r.part(usize::from(length.saturating_sub(GENERIC_LEN)))?))
}

fn end_substructure(w: &mut Writer<'_>, start: usize) {
    let length = w.position().saturating_sub(start);
    w.patch_u16(start.saturating_add(2), u16::try_from(length).unwrap_or(u16::MAX));
}

fn syntax(field: &'static str, value: u64) -> IsakmpError {
    IsakmpError::value(NotifyType::BAD_PROPOSAL_SYNTAX, field, value)
}

fn spi_size_is_legal(protocol: ProtocolId, size: u8) -> bool {
    match protocol {
        // RFC 2408 §3.5: what stands there is ignored.
        ProtocolId::ISAKMP => size <= 16,
        ProtocolId::AH | ProtocolId::ESP => size == 4,
        // RFC 3173 §4.1: a CPI, or one with two octets of zeros in front.
        ProtocolId::IPCOMP => matches!(size, 2 | 4),
        // Nobody here accepts another protocol, but the proposals beside it may be good.
        _ => true,
    }
}

const GENERIC_LEN: u16 = 4;
const PROPOSAL_HEADER_LEN: u16 = 8;
const TRANSFORM_HEADER_LEN: u16 = 8;

#[cfg(test)]
mod tests;
