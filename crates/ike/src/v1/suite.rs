//! Proposals of IKEv1 (RFC 2409 §5, RFC 2407 §4.5) from the suites of a connection, which are told in
//! the transforms of IKEv2.
//!
//! Where IKEv2 has lists of algorithms of each kind, IKEv1 has a transform for each combination.
//! Lifetimes are part of a transform, and have no part in choosing one.

use std::borrow::Cow;
use std::time::Duration;

use adit_crypto::{Encryption, Hash, KeyExchange, Prf, Protection};
use adit_db::{ChildConfig, Connection, Mode, ProposalSpec};
use adit_wire::Writer;
use adit_wire::doi::{Lifetimes, Phase1Transform, Phase2Transform};
use adit_wire::esp::Spi;
use adit_wire::iana::doi::{
    AuthAlgorithm, EncapsulationMode, EspTransformId, GroupId, Phase1Encryption, Phase1Hash,
    ProtocolId,
};
use adit_wire::iana::{
    EncryptionId, EsnId, IntegrityId, KeyExchangeId, PrfId, ProtocolId as ChildProtocol,
    TransformType,
};
use adit_wire::ikev2::Transform;
use adit_wire::isakmp::{Proposal, Sa};

use crate::failure::FailureReason;
use crate::keymat::Role;
use crate::lifetime::Agreement;
use crate::proposal::ChildSuite;

use super::core::Core;
use super::lifetimes;
use super::method::{Method, methods_of};
use super::nat::Numbers;
use super::phase1::answer_octets;
use super::phase1::rules::{Exchange, Rule};

/// Transforms of one offer: a proposal counts them in one octet, and the first message should fit a
/// packet.
const TRANSFORMS_MAX: usize = 40;

/// Life of children where nobody says otherwise (RFC 2407 §4.5).
const DEFAULT_LIFE: Duration = Duration::from_secs(28_800);

/// What is less is refused: the SA would be renewed all the time.
const LIFE_MIN: Duration = Duration::from_secs(60);

// ---- Phase 1 ----

/// The algorithms of a phase 1.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Phase1Suite {
    pub(crate) encryption: Encryption,
    pub(crate) prf: Prf,
    pub(crate) group: KeyExchange,
    /// How both ends prove themselves.
    pub(crate) method: Method,
}

impl Phase1Suite {
    /// What a transform asks for, if we can compute it.
    fn of(transform: &Phase1Transform) -> Option<Self> {
        let key_bits = transform.key_bits;
        let encryption = transform.encryption.encryption()?;
        // Of CAST and Blowfish no length means the longest or the shortest, depending on whom one asks.
        Some(Self {
            encryption: Encryption::from_id(encryption, key_bits)?,
            prf: Prf::from_id(transform.hash.prf()?)?,
            group: KeyExchange::from_id(transform.group?.key_exchange()?)?,
            method: Method::from_number(transform.auth)?,
        })
    }

    /// Whether a connection lets phase 1 go so, and we can.
    pub(crate) fn is_for(&self, connection: &Connection, exchange: Exchange) -> bool {
        connection.proposals.iter().any(|spec| self.is_in(spec))
            && methods_of(connection, Role::Responder).contains(&self.method)
            && Rule::of(exchange, self.method, 1).is_some()
    }

    /// The hash that was agreed on, which its prf is made of.
    pub(crate) fn hash(&self) -> Option<Hash> {
        Hash::ALL.into_iter().find(|hash| hash.prf() == self.prf)
    }

    /// The same as transforms of IKEv2, for people.
    pub(crate) fn transforms(&self) -> Vec<Transform> {
        vec![
            Transform::encryption(self.encryption.id(), self.encryption.key_bits()),
            Transform::prf(self.prf.id()),
            Transform::key_exchange(self.group.id()),
        ]
    }

    /// Whether a proposal of the configuration has it.
    fn is_in(&self, spec: &ProposalSpec) -> bool {
        self.transforms().iter().all(|own| spec.of_kind(own.kind).any(|one| one == *own))
    }
}

/// All suites of the configuration that IKEv1 has numbers for, in its order.
pub(crate) fn phase1_suites(specs: &[ProposalSpec], method: Method) -> Vec<Phase1Suite> {
    let mut suites = Vec::new();
    for spec in specs {
        for one in spec.of_kind(TransformType::ENCR) {
            for prf in spec.of_kind(TransformType::PRF) {
                for group in spec.of_kind(TransformType::KE) {
                    let suite = phase1_suite(&one, &prf, &group, method);
                    suites.extend(suite.filter(|suite| !suites.contains(suite)));
                }
            }
        }
    }
    suites
}

fn phase1_suite(
    one: &Transform,
    prf: &Transform,
    group: &Transform,
    method: Method,
) -> Option<Phase1Suite> {
    let id = EncryptionId(one.id);
    Phase1Encryption::from_encryption(id)?;
    Phase1Hash::from_prf(PrfId(prf.id))?;
    GroupId(group.id).key_exchange()?;
    Some(Phase1Suite {
        encryption: Encryption::from_id(id, one.key_bits)?,
        prf: Prf::from_id(PrfId(prf.id))?,
        group: KeyExchange::from_id(KeyExchangeId(group.id))?,
        method,
    })
}

/// What an initiator offers for phase 1.
#[derive(Debug)]
pub(crate) struct Phase1Offer {
    transforms: Vec<Phase1Transform>,
    /// What the first of them asks for.
    first: Option<Phase1Suite>,
}

impl Phase1Offer {
    /// All suites of a connection, with its lifetime (RFC 2409 leaves that open; draft-ietf-ipsec-
    /// ike-lifetime-00 wants it said). Of aggressive mode those with the first group, as its public value
    /// goes with the offer (RFC 2409 §5).
    pub(crate) fn new(connection: &Connection, exchange: Exchange) -> Self {
        let lifetimes = offered_phase1_life(connection);
        let transform = |suite: Phase1Suite| {
            Some(Phase1Transform {
                encryption: Phase1Encryption::from_encryption(suite.encryption.id())?,
                key_bits: suite.encryption.key_bits(),
                hash: Phase1Hash::from_prf(suite.prf.id())?,
                auth: suite.method.number()?,
                group: Some(GroupId(suite.group.id().0)),
                lifetimes,
            })
        };
        let mut suites: Vec<Phase1Suite> = methods_of(connection, Role::Initiator)
            .into_iter()
            .filter(|method| Rule::of(exchange, *method, 1).is_some())
            .flat_map(|method| phase1_suites(&connection.proposals, method))
            .collect();
        let first = suites.first().cloned();
        let group = first.as_ref().map(|suite| suite.group);
        suites.retain(|suite| exchange != Exchange::Aggressive || Some(suite.group) == group);
        suites.truncate(TRANSFORMS_MAX);
        Self { transforms: suites.into_iter().filter_map(transform).collect(), first }
    }

    /// What it asks for first; `None` if there is nothing to ask for.
    pub(crate) fn first(&self) -> Option<Phase1Suite> {
        self.first.clone()
    }

    /// The body of the SA payload.
    pub(crate) fn body(&self) -> Vec<u8> {
        let numbered = (1..=u8::MAX).zip(&self.transforms);
        sa_body(vec![Proposal {
            number: 1,
            protocol: ProtocolId::ISAKMP,
            spi: Cow::Borrowed(&[]),
            transforms: numbered.map(|(number, one)| one.to_transform(number)).collect(),
        }])
    }

    /// Checks an answer: one transform of ours. Whether it has our lifetime does not matter.
    pub(crate) fn accept(&self, sa: &Sa<'_>) -> Option<Phase1Suite> {
        let [proposal] = sa.proposals.as_slice() else { return None };
        let [transform] = proposal.transforms.as_slice() else { return None };
        let answer = Phase1Transform::read(transform).ok()?;
        let plain =
            |one: &Phase1Transform| Phase1Transform { lifetimes: Lifetimes::default(), ..*one };
        let is_ours = self.transforms.iter().any(|own| plain(own) == plain(&answer));
        (proposal.protocol == ProtocolId::ISAKMP && is_ours)
            .then(|| Phase1Suite::of(&answer))
            .flatten()
    }
}

/// The lifetime that a connection offers for phase 1.
pub(crate) fn offered_phase1_life(connection: &Connection) -> Lifetimes {
    let life = connection.rekey_time + connection.over_time;
    let life = if connection.rekey_time.is_zero() { DEFAULT_PHASE1_LIFE } else { life };
    Lifetimes::of_seconds(life.as_secs().max(1))
}

/// Life of a phase 1 that is never renewed: a day.
const DEFAULT_PHASE1_LIFE: Duration = Duration::from_secs(86_400);

/// What a responder takes.
pub(crate) struct Phase1Choice {
    pub(crate) suite: Phase1Suite,
    /// The body of the SA payload that says so: the transform as it came.
    pub(crate) body: Vec<u8>,
    /// What comes of the lifetime that the peer offers.
    pub(crate) agreement: Agreement,
}

impl Phase1Choice {
    /// Octets of the second message that says so, at most; of main mode none that count, as it is shorter
    /// than the first.
    pub(crate) fn answer_octets(&self, exchange: Exchange) -> usize {
        let Phase1Suite { group, prf, method, .. } = &self.suite;
        let (public, proof) = (group.responder_public_len(), method.proof(Role::Responder));
        answer_octets(exchange, public, prf.output_len(), proof)
    }
}

/// Chooses for phase 1: the peer's first transform that is ours, too.
pub(crate) fn choose_phase1(
    connection: &Connection,
    sa: &Sa<'_>,
    exchange: Exchange,
) -> Option<Phase1Choice> {
    let proposals = sa.proposals.iter().filter(|one| one.protocol == ProtocolId::ISAKMP);
    for proposal in proposals {
        for transform in &proposal.transforms {
            let Ok(read) = Phase1Transform::read(transform) else { continue };
            let Some(suite) = Phase1Suite::of(&read) else { continue };
            if !suite.is_for(connection, exchange) {
                continue;
            }
            let agreement = lifetimes::of_phase1(read.lifetimes.seconds, connection);
            let Some(agreement) = agreement else { continue };
            let chosen = Proposal { transforms: vec![transform.clone()], ..proposal.clone() };
            return Some(Phase1Choice { suite, body: sa_body(vec![chosen]), agreement });
        }
    }
    None
}

// ---- Phase 2 ----

/// What an initiator offers for a child.
#[derive(Debug)]
pub(crate) struct Phase2Offer {
    protocol: ProtocolId,
    transforms: Vec<Phase2Transform>,
    group: Option<KeyExchange>,
    mode: Mode,
    /// How it says that ESP goes in UDP.
    wrap: Option<Numbers>,
}

/// What both sides take for a child.
#[derive(Clone, Debug)]
pub(crate) struct Phase2Choice {
    pub(crate) protection: Protection,
    pub(crate) transforms: Vec<Transform>,
    pub(crate) mode: Mode,
    pub(crate) group: Option<KeyExchange>,
    pub(crate) life: Option<Duration>,
    pub(crate) spi_out: Spi,
    number: u8,
    protocol: ProtocolId,
    transform: adit_wire::isakmp::Transform<'static>,
}

impl Phase2Choice {
    /// The body of the SA payload that says so: the transform as it came, and our SPI.
    pub(crate) fn body(&self, spi: Spi) -> Vec<u8> {
        let spi = spi.to_octets();
        sa_body(vec![Proposal {
            number: self.number,
            protocol: self.protocol,
            spi: Cow::Borrowed(&spi),
            transforms: vec![self.transform.clone()],
        }])
    }
}

impl Phase2Offer {
    /// All suites of a child that IKEv1 has numbers for. There is one key exchange or none in all of
    /// them, as its public value goes with the offer (RFC 2409 §5.5): the first that the configuration
    /// names.
    ///
    /// # Errors
    ///
    /// If there is none, or AH would have to pass a NAT (RFC 3947 §1).
    pub(crate) fn new(config: &ChildConfig, core: &Core) -> Result<Self, FailureReason> {
        let wrap = core.wrap();
        let passes = |spec: &&ProposalSpec| wrap.is_none() || spec.protocol() == ChildProtocol::ESP;
        let specs: Vec<&ProposalSpec> = config.proposals.iter().filter(passes).collect();
        let nat = core.nat;
        if specs.is_empty() && !config.proposals.is_empty() {
            let (nat_local, nat_remote) = (nat.we_are_behind_nat, nat.peer_is_behind_nat);
            return Err(FailureReason::AhThroughNat { nat_local, nat_remote });
        }
        let protocol = specs.first().map(|spec| spec.protocol());
        let mut transforms: Vec<Phase2Transform> = Vec::new();
        let group = specs.iter().copied().find_map(first_group).flatten();
        let life = config.lifetime.seconds.hard;
        let lifetimes = Lifetimes::of_seconds(if life > 0 { life } else { DEFAULT_LIFE.as_secs() });
        for spec in specs.into_iter().filter(|spec| Some(spec.protocol()) == protocol) {
            for suite in child_suites(spec) {
                let Some(mut transform) = phase2_transform(spec.protocol(), &suite) else {
                    continue;
                };
                transform.group = group.map(|group| GroupId(group.id().0));
                transform.mode = Some(encapsulation(config.mode, wrap));
                transform.lifetimes = lifetimes;
                if !transforms.contains(&transform) {
                    transforms.push(transform);
                }
            }
        }
        transforms.truncate(TRANSFORMS_MAX);
        if transforms.is_empty() {
            return Err(FailureReason::Internal("no suite of the child is one of IKEv1"));
        }
        let protocol = ProtocolId(protocol.unwrap_or(ChildProtocol::ESP).0);
        Ok(Self { protocol, transforms, group, mode: config.mode, wrap })
    }

    /// The key exchange that goes with it.
    pub(crate) fn group(&self) -> Option<KeyExchange> {
        self.group
    }

    /// The body of the SA payload.
    pub(crate) fn body(&self, spi: Spi) -> Vec<u8> {
        let spi = spi.to_octets();
        let numbered = (1..=u8::MAX).zip(&self.transforms);
        sa_body(vec![Proposal {
            number: 1,
            protocol: self.protocol,
            spi: Cow::Borrowed(&spi),
            transforms: numbered.map(|(number, one)| one.to_transform(number)).collect(),
        }])
    }

    /// Checks an answer: one transform of ours, whatever its lifetime.
    pub(crate) fn accept(&self, sa: &Sa<'_>) -> Option<Phase2Choice> {
        let [proposal] = sa.proposals.as_slice() else { return None };
        let [transform] = proposal.transforms.as_slice() else { return None };
        let answer = Phase2Transform::read(self.protocol, transform).ok()?;
        let plain = |one: &Phase2Transform| Phase2Transform {
            lifetimes: Lifetimes::default(),
            ..one.clone()
        };
        let is_ours = self.transforms.iter().any(|own| plain(own) == plain(&answer));
        if proposal.protocol != self.protocol || !is_ours {
            return None;
        }
        choice(proposal, transform, &answer, self.mode, self.wrap)
    }
}

/// The SA of the first proposal, to answer about.
pub(crate) fn offered_sa(sa: &Sa<'_>) -> Option<(ChildProtocol, Spi)> {
    let proposal = sa.proposals.first()?;
    Some((ChildProtocol(proposal.protocol.0), Spi::from_field(&proposal.spi)?))
}

/// Chooses for a child: the peer's first transform that is ours, too. Bundles of protocols are none of
/// ours.
///
/// Where there is a NAT it is ESP in UDP, by the numbers of RFC 3947 or of the drafts: which of them goes
/// with which vendor id not all peers agree on.
pub(crate) fn choose_phase2(
    config: &ChildConfig,
    sa: &Sa<'_>,
    wrap: Option<Numbers>,
) -> Option<Phase2Choice> {
    for alternative in sa.alternatives() {
        let [proposal] = alternative else { continue };
        for transform in &proposal.transforms {
            let Ok(read) = Phase2Transform::read(proposal.protocol, transform) else { continue };
            let Some(choice) = choice(proposal, transform, &read, config.mode, wrap) else {
                continue;
            };
            let is_in = |spec: &ProposalSpec| is_in(&choice, spec);
            if config.proposals.iter().any(is_in) {
                return Some(choice);
            }
        }
    }
    None
}

/// Whether a proposal of the configuration has what was chosen.
fn is_in(choice: &Phase2Choice, spec: &ProposalSpec) -> bool {
    let has = |own: &Transform| spec.of_kind(own.kind).any(|one| one == *own);
    // Sequence numbers of 64 bits are not offered by us; 32 bits are what everybody has.
    let relevant = choice.transforms.iter().filter(|own| own.kind != TransformType::ESN);
    let no_group = choice.group.is_none()
        && spec.of_kind(TransformType::KE).any(|one| one.id != KeyExchangeId::NONE.0)
        && !spec.of_kind(TransformType::KE).any(|one| one.id == KeyExchangeId::NONE.0);
    spec.protocol().0 == choice.protocol.0 && relevant.into_iter().all(has) && !no_group
}

/// What a transform means, if we can compute it.
fn choice(
    proposal: &Proposal<'_>,
    transform: &adit_wire::isakmp::Transform<'_>,
    read: &Phase2Transform,
    mode: Mode,
    wrap: Option<Numbers>,
) -> Option<Phase2Choice> {
    let seconds = read.lifetimes.seconds.map_or(DEFAULT_LIFE, Duration::from_secs);
    // RFC 2407 §4.5: without the attribute the mode is up to the host, which is ours.
    let same = |asked| match wrap {
        None => asked == encapsulation(mode, None),
        Some(_) => [Numbers::Rfc, Numbers::Draft].iter().any(|one| asked == one.mode(mode)),
    };
    let passes = wrap.is_none() || proposal.protocol == ProtocolId(ChildProtocol::ESP.0);
    let fits = passes && read.mode.is_none_or(same);
    if !fits || read.esn || read.key_rounds.is_some() || seconds < LIFE_MIN {
        return None;
    }
    let mut transforms = Vec::new();
    let protocol = ChildProtocol(proposal.protocol.0);
    if protocol == ChildProtocol::ESP {
        let id = EspTransformId(read.id).encryption()?;
        transforms.push(Transform::encryption(id, read.key_bits));
    }
    if let Some(auth) = read.auth {
        transforms.push(Transform::integrity(auth.integrity()?));
    }
    transforms.push(Transform::esn(EsnId::NO_ESN));
    let protection = ChildSuite::from_transforms(protocol, &transforms)?.protection;
    let group = match read.group {
        None => None,
        Some(group) => Some(KeyExchange::from_id(group.key_exchange()?)?),
    };
    if let Some(group) = group {
        transforms.push(Transform::key_exchange(group.id()));
    }
    Some(Phase2Choice {
        protection,
        transforms,
        mode,
        group,
        life: Some(seconds),
        spi_out: Spi::from_field(&proposal.spi)?,
        number: proposal.number,
        protocol: proposal.protocol,
        transform: transform.clone().into_owned(),
    })
}

/// Every cipher of a proposal with every integrity algorithm that goes with it.
fn child_suites(spec: &ProposalSpec) -> Vec<(Option<Transform>, Option<Transform>)> {
    let integrities: Vec<Option<Transform>> = spec
        .of_kind(TransformType::INTEG)
        .filter(|one| one.id != IntegrityId::NONE.0)
        .map(Some)
        .collect();
    let ciphers: Vec<Transform> = spec.of_kind(TransformType::ENCR).collect();
    if ciphers.is_empty() {
        return integrities.into_iter().map(|integrity| (None, integrity)).collect();
    }
    let mut suites = Vec::new();
    for cipher in ciphers {
        match EncryptionId(cipher.id).is_aead() || integrities.is_empty() {
            true => suites.push((Some(cipher), None)),
            false => suites.extend(integrities.iter().map(|one| (Some(cipher), *one))),
        }
    }
    suites
}

/// The transform of a suite, if IKEv1 has numbers for it and we can compute it.
fn phase2_transform(
    protocol: ChildProtocol,
    (cipher, integrity): &(Option<Transform>, Option<Transform>),
) -> Option<Phase2Transform> {
    let mut transforms: Vec<Transform> = cipher.iter().chain(integrity).copied().collect();
    transforms.push(Transform::esn(EsnId::NO_ESN));
    ChildSuite::from_transforms(protocol, &transforms)?;
    let auth = match integrity {
        Some(one) => Some(AuthAlgorithm::from_integrity(IntegrityId(one.id))?),
        None => None,
    };
    let id = match cipher {
        Some(one) => EspTransformId::from_encryption(EncryptionId(one.id))?.0,
        None => auth?.ah_transform()?.0,
    };
    let key_bits = cipher.and_then(|one| one.key_bits);
    Some(Phase2Transform { auth, key_bits, ..Phase2Transform::new(id) })
}

/// The first key exchange that a proposal names, or that it names none first.
fn first_group(spec: &ProposalSpec) -> Option<Option<KeyExchange>> {
    let first = spec
        .of_kind(TransformType::KE)
        .find(|one| one.id == KeyExchangeId::NONE.0 || GroupId(one.id).key_exchange().is_some());
    first.map(|one| KeyExchange::from_id(KeyExchangeId(one.id)))
}

/// The number of a mode, in UDP or not.
fn encapsulation(mode: Mode, wrap: Option<Numbers>) -> EncapsulationMode {
    match (wrap, mode) {
        (Some(numbers), mode) => numbers.mode(mode),
        (None, Mode::Tunnel | Mode::Beet) => EncapsulationMode::TUNNEL,
        (None, Mode::Transport) => EncapsulationMode::TRANSPORT,
    }
}

pub(crate) fn sa_body(proposals: Vec<Proposal<'_>>) -> Vec<u8> {
    let mut octets = Vec::new();
    Sa { proposals }.write(&mut Writer(&mut octets));
    octets
}
