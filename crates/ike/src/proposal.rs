//! Negotiation of algorithms (RFC 7296 §2.7, §3.3; additional key exchanges: RFC 9370 §2.2.1).
//!
//! The initiator makes an [`Offer`], the responder [chooses](choose_ike) one of its proposals, the
//! initiator checks that the answer is a [legal choice](Offer::accept_ike). Which proposal and
//! which transform of several is the responder's order to decide (E01).

mod suite;

use adit_crypto::{KemSet, KeyExchange};
use adit_db::ProposalSpec;
use adit_wire::iana::{KeyExchangeId, ProtocolId, TransformType};
use adit_wire::ikev2::{Proposal, Sa, Transform};

pub(crate) use suite::{ChildSuite, IkeSuite};

/// What one end wants to negotiate, besides the algorithms themselves.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Purpose {
    /// IKE_SA_INIT: proposals without SPI.
    Ike {
        /// Whether both ends know IKE_INTERMEDIATE; without, proposals with additional key
        /// exchanges are skipped (RFC 9370 §2.2.1).
        additional: bool,
    },
    /// CREATE_CHILD_SA that replaces the IKE SA: proposals with an SPI of eight octets.
    RekeyIke {
        /// Whether we do IKE_FOLLOWUP_KE.
        additional: bool,
    },
    /// The child of IKE_AUTH: there is no key exchange in it (RFC 7296 §1.2).
    FirstChild,
    /// A child of CREATE_CHILD_SA, additional or rekeyed.
    Child {
        /// Whether we do IKE_FOLLOWUP_KE.
        additional: bool,
    },
}

impl Purpose {
    /// Whether proposals for this protocol belong here: a child is made with ESP or AH.
    fn admits(self, protocol: ProtocolId) -> bool {
        match self {
            Self::Ike { .. } | Self::RekeyIke { .. } => protocol == ProtocolId::IKE,
            Self::FirstChild | Self::Child { .. } => {
                matches!(protocol, ProtocolId::ESP | ProtocolId::AH)
            }
        }
    }

    fn spi_octets(self) -> usize {
        match self {
            Self::Ike { .. } => 0,
            Self::RekeyIke { .. } => 8,
            Self::FirstChild | Self::Child { .. } => 4,
        }
    }

    /// A transform as it is used here: what replaces an IKE SA that began with static keys has an
    /// ephemeral exchange of the same KEM (docs/dhless.md).
    fn placed(self, transform: Transform) -> Transform {
        let is_rekey = matches!(self, Self::RekeyIke { .. });
        match KeyExchangeId(transform.id).static_kem() {
            Some(kem) if is_rekey && transform.kind == TransformType::KE => {
                Transform { id: kem.0, ..transform }
            }
            _ => transform,
        }
    }

    fn allows_key_exchange(self) -> bool {
        self != Self::FirstChild
    }

    fn allows_additional(self) -> bool {
        match self {
            Self::Ike { additional }
            | Self::RekeyIke { additional }
            | Self::Child { additional } => additional,
            Self::FirstChild => false,
        }
    }

    /// Whether transforms of this kind have a place here at all.
    fn has_place_for(self, kind: TransformType) -> bool {
        if kind == TransformType::KE {
            return self.allows_key_exchange();
        }
        !kind.is_additional_ke() || self.allows_additional()
    }

    /// Whether a proposal could be answered, whatever its transforms.
    fn fits(self, proposal: &Proposal) -> bool {
        // RFC 9370 §2.2.1: without IKE_INTERMEDIATE these are unknown transform types.
        let skipped = self == Self::Ike { additional: false }
            && proposal.transforms.iter().any(is_additional_ke);
        self.admits(proposal.protocol) && proposal.spi.len() == self.spi_octets() && !skipped
    }
}

/// A negotiated suite and the wire form of the choice.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Choice<S> {
    /// The algorithms.
    pub(crate) suite: S,
    /// The other end's SPI; empty in IKE_SA_INIT.
    pub(crate) peer_spi: Vec<u8>,
    /// One transform of each kind that was offered, NONE included.
    pub(crate) transforms: Vec<Transform>,
    number: u8,
    protocol: ProtocolId,
}

impl<S> Choice<S> {
    /// The answer: the chosen proposal under its number (E02), with our SPI.
    pub(crate) fn answer(&self, our_spi: &[u8]) -> Sa {
        Sa {
            proposals: vec![Proposal {
                number: self.number,
                protocol: self.protocol,
                spi: our_spi.to_vec(),
                transforms: self.transforms.clone(),
            }],
        }
    }

    /// IKE, ESP or AH.
    pub(crate) fn protocol(&self) -> ProtocolId {
        self.protocol
    }

    /// The negotiated transforms for people: without those that are NONE.
    pub(crate) fn visible_transforms(&self) -> Vec<Transform> {
        self.transforms.iter().copied().filter(|transform| !is_none(transform)).collect()
    }
}

/// Why there is no choice. On the wire: NO_PROPOSAL_CHOSEN.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("none of the proposals is acceptable")]
pub(crate) struct NoProposalChosen;

/// Why an answer is not a choice from what we offered (E03).
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub(crate) enum AnswerError {
    /// Not exactly one proposal, or one that we did not make.
    #[error("answer is not one of our proposals")]
    NotOurs,
    /// A transform that the chosen proposal does not have.
    #[error("answer has {0}, which was not offered")]
    NotOffered(Transform),
    /// Two transforms of one kind.
    #[error("answer has two transforms of kind {0}")]
    Ambiguous(TransformType),
    /// No transform of a kind that was offered.
    #[error("answer has no transform of kind {0}")]
    Missing(TransformType),
    /// Two additional key exchanges of the same method (RFC 9370 §2.2.1).
    #[error("answer repeats {0} as additional key exchange")]
    Repeated(KeyExchangeId),
    /// Each transform was offered, but together they are no suite.
    #[error("answer is no suite")]
    NoSuite,
}

/// The proposals of an initiator.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Offer {
    purpose: Purpose,
    proposals: Vec<Proposal>,
}

impl Offer {
    /// Offers `specs` in their order. `spi` is ours; empty in IKE_SA_INIT.
    ///
    /// A spec whose additional key exchanges are all optional is offered a second time without
    /// them, after all others: a peer that does not know RFC 9370 skips every proposal with an
    /// unknown transform type, NONE or not (RFC 7296 §3.3.6).
    pub(crate) fn new(purpose: Purpose, specs: &[ProposalSpec], spi: &[u8]) -> Self {
        let mut lists: Vec<(ProtocolId, Vec<Transform>)> = Vec::new();
        let of = |spec: &ProposalSpec, transforms: &[Transform]| {
            offered(transforms, purpose).map(|list| (spec.protocol(), list))
        };
        let full = specs.iter().filter_map(|spec| of(spec, spec.transforms()));
        let plain = specs.iter().filter_map(|spec| of(spec, &without_additional(spec)?));
        for list in full.chain(plain) {
            if !lists.contains(&list) {
                lists.push(list);
            }
        }
        let proposals = (1..=u8::MAX)
            .zip(lists)
            .map(|(number, (protocol, transforms))| Proposal {
                number,
                protocol,
                spi: spi.to_vec(),
                transforms,
            })
            .collect();
        Self { purpose, proposals }
    }

    /// The body of the SA payload.
    pub(crate) fn sa(&self) -> Sa {
        Sa { proposals: self.proposals.clone() }
    }

    /// The key exchange method to try first.
    pub(crate) fn first_key_exchange(&self) -> Option<KeyExchange> {
        self.proposals.first()?.transforms_of(TransformType::KE).find_map(key_exchange)
    }

    /// The KEM of static keys, if the first proposal has it in place of a key exchange.
    pub(crate) fn static_kem(&self) -> Option<KemSet> {
        self.proposals.first()?.transforms_of(TransformType::KE).find_map(static_kem)
    }

    /// The offered method that the peer asks for with INVALID_KE_PAYLOAD; `None` if we did not
    /// offer it (E05).
    pub(crate) fn key_exchange(&self, wanted: KeyExchangeId) -> Option<KeyExchange> {
        self.proposals
            .iter()
            .flat_map(|proposal| proposal.transforms_of(TransformType::KE))
            .filter_map(key_exchange)
            .find(|method| method.id() == wanted)
    }

    /// Whether a proposal has additional key exchanges, so that IKE_INTERMEDIATE is to be
    /// announced with it.
    pub(crate) fn has_additional(&self) -> bool {
        self.proposals.iter().any(|proposal| proposal.transforms.iter().any(is_additional_ke))
    }

    /// Checks the responder's answer to an offer for an IKE SA.
    ///
    /// # Errors
    ///
    /// [`AnswerError`] if it is not a choice from this offer: the exchange has failed.
    pub(crate) fn accept_ike(&self, answer: &Sa) -> Result<Choice<IkeSuite>, AnswerError> {
        self.accept(answer, IkeSuite::from_transforms)
    }

    /// Checks the responder's answer to an offer for a child SA.
    ///
    /// # Errors
    ///
    /// [`AnswerError`] if it is not a choice from this offer: the child has failed.
    pub(crate) fn accept_child(&self, answer: &Sa) -> Result<Choice<ChildSuite>, AnswerError> {
        self.accept(answer, ChildSuite::from_transforms)
    }

    fn accept<S>(
        &self,
        answer: &Sa,
        suite: fn(ProtocolId, &[Transform]) -> Option<S>,
    ) -> Result<Choice<S>, AnswerError> {
        let [chosen] = answer.proposals.as_slice() else {
            return Err(AnswerError::NotOurs);
        };
        let offered = self
            .proposals
            .iter()
            .find(|offered| offered.number == chosen.number)
            .ok_or(AnswerError::NotOurs)?;
        if chosen.protocol != offered.protocol || chosen.spi.len() != self.purpose.spi_octets() {
            return Err(AnswerError::NotOurs);
        }
        check_choice(&offered.transforms, &chosen.transforms)?;
        let suite = suite(chosen.protocol, &chosen.transforms).ok_or(AnswerError::NoSuite)?;
        Ok(Choice::new(suite, chosen, chosen.transforms.clone()))
    }
}

impl<S> Choice<S> {
    fn new(suite: S, proposal: &Proposal, transforms: Vec<Transform>) -> Self {
        Self {
            suite,
            peer_spi: proposal.spi.clone(),
            transforms,
            number: proposal.number,
            protocol: proposal.protocol,
        }
    }
}

/// Chooses for an IKE SA: our first spec that fits any of the peer's proposals, in it our first
/// transform of each kind.
///
/// # Errors
///
/// [`NoProposalChosen`] when nothing fits.
pub(crate) fn choose_ike(
    purpose: Purpose,
    ours: &[ProposalSpec],
    theirs: &Sa,
) -> Result<Choice<IkeSuite>, NoProposalChosen> {
    choose(purpose, ours, theirs, IkeSuite::from_transforms)
}

/// Chooses for a child SA, as [`choose_ike`].
///
/// # Errors
///
/// [`NoProposalChosen`] when nothing fits.
pub(crate) fn choose_child(
    purpose: Purpose,
    ours: &[ProposalSpec],
    theirs: &Sa,
) -> Result<Choice<ChildSuite>, NoProposalChosen> {
    choose(purpose, ours, theirs, ChildSuite::from_transforms)
}

fn choose<S>(
    purpose: Purpose,
    ours: &[ProposalSpec],
    theirs: &Sa,
    suite: fn(ProtocolId, &[Transform]) -> Option<S>,
) -> Result<Choice<S>, NoProposalChosen> {
    for spec in ours {
        let fits =
            |proposal: &&Proposal| proposal.protocol == spec.protocol() && purpose.fits(proposal);
        for proposal in theirs.proposals.iter().filter(fits) {
            let Some(transforms) = suite::common(purpose, spec, proposal) else {
                continue;
            };
            if let Some(suite) = suite(spec.protocol(), &transforms) {
                return Ok(Choice::new(suite, proposal, transforms));
            }
        }
    }
    Err(NoProposalChosen)
}

/// The transforms of a spec that we can compute and that have a place here; `None` if a kind
/// would be left empty that the spec needs.
fn offered(transforms: &[Transform], purpose: Purpose) -> Option<Vec<Transform>> {
    let has_place = |transform: &Transform| purpose.has_place_for(transform.kind);
    // What has no place here may be left out if the spec itself says NONE, and the key exchanges
    // of a first child always.
    let droppable = |transform: &Transform| {
        purpose == Purpose::FirstChild
            || transform.kind == TransformType::KE
            || transforms.iter().any(|other| other.kind == transform.kind && is_none(other))
    };
    if !transforms.iter().all(|transform| has_place(transform) || droppable(transform)) {
        return None;
    }
    let kept: Vec<Transform> = transforms
        .iter()
        .map(|transform| purpose.placed(*transform))
        .filter(|transform| has_place(transform) && suite::can_compute(transform))
        .collect();
    let needed = |kind: TransformType| kept.iter().any(|transform| transform.kind == kind);
    let complete = transforms.iter().filter(|t| has_place(t)).all(|t| needed(t.kind));
    complete.then_some(kept)
}

/// A spec's transforms without its additional key exchanges, if it has some and says NONE for
/// each.
fn without_additional(spec: &ProposalSpec) -> Option<Vec<Transform>> {
    let mut additional = spec.transforms().iter().filter(|t| is_additional_ke(t)).peekable();
    additional.peek()?;
    additional
        .all(|transform| spec.of_kind(transform.kind).any(|other| is_none(&other)))
        .then(|| spec.transforms().iter().copied().filter(|t| !is_additional_ke(t)).collect())
}

/// Whether `chosen` takes one transform of each kind of `offered` and nothing else. NONE may be
/// left out.
fn check_choice(offered: &[Transform], chosen: &[Transform]) -> Result<(), AnswerError> {
    let mut methods = Vec::new();
    for (index, transform) in chosen.iter().enumerate() {
        if !offered.contains(transform) {
            return Err(AnswerError::NotOffered(*transform));
        }
        if chosen.iter().skip(index + 1).any(|other| other.kind == transform.kind) {
            return Err(AnswerError::Ambiguous(transform.kind));
        }
        if is_additional_ke(transform) && !is_none(transform) {
            if methods.contains(&transform.id) {
                return Err(AnswerError::Repeated(KeyExchangeId(transform.id)));
            }
            methods.push(transform.id);
        }
    }
    let answered = |kind| chosen.iter().any(|transform| transform.kind == kind);
    let may_be_left_out = |kind| offered.iter().any(|other| other.kind == kind && is_none(other));
    match offered.iter().find(|t| !answered(t.kind) && !may_be_left_out(t.kind)) {
        Some(missing) => Err(AnswerError::Missing(missing.kind)),
        None => Ok(()),
    }
}

fn is_additional_ke(transform: &Transform) -> bool {
    transform.kind.is_additional_ke()
}

/// Whether a transform says that nothing of its kind is used.
fn is_none(transform: &Transform) -> bool {
    let may_be_none = matches!(transform.kind, TransformType::INTEG | TransformType::KE)
        || is_additional_ke(transform);
    may_be_none && transform.id == 0
}

fn static_kem(transform: Transform) -> Option<KemSet> {
    KemSet::from_static_id(KeyExchangeId(transform.id))
}

fn key_exchange(transform: Transform) -> Option<KeyExchange> {
    KeyExchange::from_id(KeyExchangeId(transform.id))
}

#[cfg(test)]
mod tests;
