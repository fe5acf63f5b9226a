//! From single transforms to suites (RFC 7296 §3.3.3).

use adit_crypto::{Authentication, Cipher, KemSet, KeyExchange, Prf, Protection};
use adit_db::ProposalSpec;
use adit_wire::iana::{
    EncryptionId, EsnId, IntegrityId, KeyExchangeId, PrfId, ProtocolId, TransformType,
};
use adit_wire::ikev2::{Proposal, Transform};

use super::{Purpose, is_additional_ke, is_none, key_exchange, static_kem};

/// The algorithms of an IKE SA.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct IkeSuite {
    /// Encryption and integrity of messages.
    pub(crate) cipher: Cipher,
    /// Pseudo-random function.
    pub(crate) prf: Prf,
    /// Key exchange of the KE payload.
    pub(crate) ke: KeyExchange,
    /// Whether the KE payloads hold ciphertexts to static keys of that KEM instead (docs/dhless.md).
    pub(crate) static_kem: Option<KemSet>,
    /// Additional key exchanges, in the order they take place (RFC 9370 §2.2.2).
    pub(crate) additional: Vec<KeyExchange>,
}

impl IkeSuite {
    /// The suite of one transform per kind.
    ///
    /// `None` without a key exchange (A15), without integrity for a cipher that has none of its
    /// own (A16), for an IV that is a packet's sequence number (RFC 8750 §3), and for transforms
    /// we cannot compute.
    pub(super) fn from_transforms(_: ProtocolId, transforms: &[Transform]) -> Option<Self> {
        let method = of_kind(transforms, TransformType::KE)?;
        let static_kem = static_kem(method);
        Some(Self {
            cipher: cipher(transforms).filter(|cipher| !cipher.is_iv_implicit())?,
            prf: Prf::from_id(PrfId(id_of(transforms, TransformType::PRF)?))?,
            ke: static_kem.map(KemSet::ephemeral).or_else(|| key_exchange(method))?,
            static_kem,
            additional: additional(transforms)?,
        })
    }

    /// The number of the method that KE payloads must name.
    pub(crate) fn ke_id(&self) -> KeyExchangeId {
        self.static_kem.map_or_else(|| self.ke.id(), KemSet::static_id)
    }
}

/// The algorithms of a child SA.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct ChildSuite {
    /// Protocol, encryption and integrity of packets.
    pub(crate) protection: Protection,
    /// Whether sequence numbers have 64 bits.
    pub(crate) esn: bool,
    /// Key exchange of its own; none if its keys come from the IKE SA alone.
    pub(crate) ke: Option<KeyExchange>,
    /// Additional key exchanges, in the order they take place (RFC 9370 §2.2.4).
    pub(crate) additional: Vec<KeyExchange>,
}

impl ChildSuite {
    /// The suite of one transform per kind; `None` as for [`IkeSuite::from_transforms`], but
    /// that the key exchange is optional.
    pub(crate) fn from_transforms(protocol: ProtocolId, transforms: &[Transform]) -> Option<Self> {
        let protection = match protocol {
            ProtocolId::AH => Protection::Ah(authentication(transforms)?),
            _ => Protection::Esp(cipher(transforms)?),
        };
        let ke = match id_of(transforms, TransformType::KE) {
            None | Some(0) => None,
            Some(id) => Some(KeyExchange::from_id(KeyExchangeId(id))?),
        };
        let additional = additional(transforms)?;
        // RFC 9370 §2.2.4: additional key exchanges follow one in CREATE_CHILD_SA.
        if ke.is_none() && !additional.is_empty() {
            return None;
        }
        let esn = EsnId(id_of(transforms, TransformType::ESN)?) == EsnId::ESN;
        Some(Self { protection, esn, ke, additional })
    }
}

/// Our first choice among what `spec` and `proposal` have in common: one transform for each kind
/// in `proposal`. `None` if a kind has nothing in common, or one that `spec` insists on is missing
/// from `proposal`.
pub(super) fn common(
    purpose: Purpose,
    spec: &ProposalSpec,
    proposal: &Proposal,
) -> Option<Vec<Transform>> {
    let kinds = kinds_of(&proposal.transforms);
    // Whom we insist on an additional key exchange with must know IKE_INTERMEDIATE, too.
    let is_insisted_on = |kind: TransformType| {
        purpose.has_place_for(kind) || (kind.is_additional_ke() && purpose != Purpose::FirstChild)
    };
    let insisted = spec.transforms().iter().filter(|ours| is_insisted_on(ours.kind));
    for ours in insisted {
        if !kinds.contains(&ours.kind) && !spec.of_kind(ours.kind).any(|other| is_none(&other)) {
            return None;
        }
    }
    let mut chosen = Vec::new();
    for kind in kinds.iter().copied().filter(|kind| !kind.is_additional_ke()) {
        chosen.push(first_of_kind(purpose, spec, proposal, kind)?);
    }
    let mut slots: Vec<Vec<Transform>> = kinds
        .iter()
        .filter(|kind| kind.is_additional_ke())
        .map(|&kind| options(purpose, spec, proposal, kind))
        .collect();
    // RFC 9370 §2.2.4: in CREATE_CHILD_SA they follow a first one, or there are none.
    if matches!(id_of(&chosen, TransformType::KE), None | Some(0)) {
        slots.iter_mut().for_each(|slot| slot.retain(is_none));
    }
    chosen.extend(distinct(&slots)?);
    Some(chosen)
}

fn first_of_kind(
    purpose: Purpose,
    spec: &ProposalSpec,
    proposal: &Proposal,
    kind: TransformType,
) -> Option<Transform> {
    options(purpose, spec, proposal, kind).into_iter().next()
}

/// What both have of a kind, in our order. A kind that our spec does not mention can only be NONE.
fn options(
    purpose: Purpose,
    spec: &ProposalSpec,
    proposal: &Proposal,
    kind: TransformType,
) -> Vec<Transform> {
    let none = Transform::new(kind, 0);
    let mut ours: Vec<Transform> = match purpose.has_place_for(kind) {
        true => spec
            .of_kind(kind)
            .map(|transform| purpose.placed(transform))
            .filter(can_compute)
            .collect(),
        false => Vec::new(),
    };
    if ours.is_empty() && is_none(&none) {
        ours.push(none);
    }
    ours.retain(|transform| proposal.transforms.contains(transform));
    ours
}

/// One of each slot, our preferred ones first, such that no method stands twice
/// (RFC 9370 §2.2.1). The number of tries depends on our own configuration, not on the peer.
fn distinct(slots: &[Vec<Transform>]) -> Option<Vec<Transform>> {
    let Some((first, rest)) = slots.split_first() else {
        return Some(Vec::new());
    };
    for &option in first {
        let mut rest = rest.to_vec();
        if !is_none(&option) {
            rest.iter_mut().for_each(|slot| slot.retain(|other| other.id != option.id));
        }
        if let Some(others) = distinct(&rest) {
            return Some([vec![option], others].concat());
        }
    }
    None
}

/// Whether we have the algorithm.
pub(super) fn can_compute(transform: &Transform) -> bool {
    match transform.kind {
        TransformType::ENCR => Cipher::ALL.iter().any(|cipher| {
            cipher.encryption_id() == EncryptionId(transform.id)
                && cipher.key_bits() == transform.key_bits
        }),
        TransformType::PRF => Prf::from_id(PrfId(transform.id)).is_some(),
        // Those of ESP are among those of AH.
        TransformType::INTEG => Authentication::from_id(IntegrityId(transform.id)).is_some(),
        TransformType::ESN => transform.id <= EsnId::ESN.0,
        TransformType::KE if static_kem(*transform).is_some() => true,
        _ => is_none(transform) || key_exchange(*transform).is_some(),
    }
}

fn kinds_of(transforms: &[Transform]) -> Vec<TransformType> {
    let mut kinds: Vec<TransformType> = transforms.iter().map(|transform| transform.kind).collect();
    kinds.sort_unstable();
    kinds.dedup();
    kinds
}

fn of_kind(transforms: &[Transform], kind: TransformType) -> Option<Transform> {
    transforms.iter().copied().find(|transform| transform.kind == kind)
}

fn id_of(transforms: &[Transform], kind: TransformType) -> Option<u16> {
    of_kind(transforms, kind).map(|transform| transform.id)
}

fn cipher(transforms: &[Transform]) -> Option<Cipher> {
    let encryption = of_kind(transforms, TransformType::ENCR)?;
    let integrity = id_of(transforms, TransformType::INTEG).map(IntegrityId);
    Cipher::from_transforms(EncryptionId(encryption.id), encryption.key_bits, integrity)
}

/// RFC 7296 §3.3.3: AH has an integrity algorithm, and no encryption.
fn authentication(transforms: &[Transform]) -> Option<Authentication> {
    match of_kind(transforms, TransformType::ENCR) {
        Some(_) => None,
        None => Authentication::from_id(IntegrityId(id_of(transforms, TransformType::INTEG)?)),
    }
}

fn additional(transforms: &[Transform]) -> Option<Vec<KeyExchange>> {
    let mut slots: Vec<Transform> = transforms
        .iter()
        .copied()
        .filter(|transform| is_additional_ke(transform) && !is_none(transform))
        .collect();
    slots.sort_unstable_by_key(|transform| transform.kind);
    slots.into_iter().map(key_exchange).collect()
}
