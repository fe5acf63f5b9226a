//! Proposals for children (RFC 2407 §4.4, §4.5) from the suites of a child, which are told in the transforms
//! of IKEv2.
//!
//! Proposals with one number belong together (RFC 2408 §4.2), `bundle` says which.

use std::borrow::Cow;

use adit_crypto::{KeyExchange, Protection};
use adit_db::{ChildConfig, Connection, IpComp, Mode, ProposalSpec};
use adit_wire::doi::{Lifetimes, Phase2Transform};
use adit_wire::esp::Spi;
use adit_wire::iana::doi::{AuthAlgorithm, EncapsulationMode, EspTransformId, GroupId, ProtocolId};
use adit_wire::iana::{
    EncryptionId, EsnId, IntegrityId, IpCompTransformId, KeyExchangeId,
    ProtocolId as ChildProtocol, TransformType,
};
use adit_wire::ikev2::Transform;
use adit_wire::ipcomp::Cpi;
use adit_wire::isakmp::{Proposal, Sa};

use crate::failure::FailureReason;
use crate::lifetime::{Limits, Offer};
use crate::proposal::ChildSuite;

use super::bundle::{Around, Bundle, Deflate, Inbound, OuterChoice, Parts, offered_around};
use super::core::Core;
use super::lifetimes;
use super::nat::Numbers;
use super::suite::sa_body;

/// Transforms of one offer: a proposal counts them in one octet, and the first message should fit a
/// packet.
const TRANSFORMS_MAX: usize = 40;

/// What an initiator offers for a child.
#[derive(Debug)]
pub(crate) struct Phase2Offer {
    protocol: ProtocolId,
    transforms: Vec<Phase2Transform>,
    lifetimes: Lifetimes,
    group: Option<KeyExchange>,
    mode: Mode,
    /// How it says that ESP goes in UDP.
    wrap: Option<Numbers>,
    /// AH around it; nothing without.
    outer: Vec<Phase2Transform>,
    /// Under what we would take its packets.
    own: Inbound,
}

/// What both sides take for a child.
#[derive(Clone, Debug)]
pub(crate) struct Phase2Choice {
    pub(crate) protection: Protection,
    pub(crate) transforms: Vec<Transform>,
    pub(crate) mode: Mode,
    pub(crate) esn: bool,
    pub(crate) group: Option<KeyExchange>,
    /// Where it ends for us.
    pub(crate) limits: Limits,
    /// What a responder has to tell of that.
    pub(crate) told: Option<Offer>,
    pub(crate) spi_out: Spi,
    /// AH around ESP.
    pub(crate) outer: Option<OuterChoice>,
    /// Of what is compressed, too: what the peer takes it under.
    pub(crate) cpi_out: Option<Cpi>,
    /// The proposals as they came, each with the transform that was chosen.
    bundle: Vec<Proposal<'static>>,
}

impl Phase2Choice {
    /// The body of the SA payload that says so: the transforms as they came, and our SPIs and CPI.
    pub(crate) fn body(&self, own: &Inbound) -> Vec<u8> {
        let of = |proposal: &Proposal<'static>| Proposal {
            spi: Cow::Owned(own.field(proposal.protocol)),
            ..proposal.clone()
        };
        sa_body(self.bundle.iter().map(of).collect())
    }

    /// Both CPIs, where what it protects is compressed.
    pub(crate) fn ipcomp(&self, cpi_in: Option<Cpi>) -> Option<IpComp> {
        cpi_in.zip(self.cpi_out).map(|(cpi_in, cpi_out)| IpComp { cpi_in, cpi_out })
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
    pub(crate) fn new(
        config: &ChildConfig,
        lifetimes: Lifetimes,
        own: Inbound,
        core: &Core,
    ) -> Result<Self, FailureReason> {
        let wrap = core.wrap();
        let has_outer = !config.outer_ah.is_empty();
        let passes = |spec: &ProposalSpec| {
            wrap.is_none() || (spec.protocol() == ChildProtocol::ESP && !has_outer)
        };
        let specs: Vec<ProposalSpec> =
            config.offered_proposals().into_iter().filter(passes).collect();
        let nat = core.nat;
        if specs.is_empty() && !config.proposals.is_empty() {
            let (nat_local, nat_remote) = (nat.we_are_behind_nat, nat.peer_is_behind_nat);
            return Err(FailureReason::AhThroughNat { nat_local, nat_remote });
        }
        let protocol = specs.first().map(|spec| spec.protocol());
        let mut transforms: Vec<Phase2Transform> = Vec::new();
        let group = specs.iter().find_map(first_group).flatten();
        for spec in specs.iter().filter(|spec| Some(spec.protocol()) == protocol) {
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
        let outer = offered_around(config, group, lifetimes)?;
        let protocol = ProtocolId(protocol.unwrap_or(ChildProtocol::ESP).0);
        Ok(Self { protocol, transforms, lifetimes, group, mode: config.mode, wrap, outer, own })
    }

    /// The key exchange that goes with it.
    pub(crate) fn group(&self) -> Option<KeyExchange> {
        self.group
    }

    /// The body of the SA payload: first with compression, if that is wanted, then without. What is
    /// outermost stands first.
    pub(crate) fn body(&self) -> Vec<u8> {
        let protected = |number: u8| {
            let outer = self.proposal(number, ProtocolId::AH, &self.outer);
            let outer = Some(outer).filter(|_| !self.outer.is_empty());
            outer.into_iter().chain([self.proposal(number, self.protocol, &self.transforms)])
        };
        if self.own.cpi.is_none() {
            return sa_body(protected(1).collect());
        }
        let deflate = Phase2Transform {
            mode: Some(encapsulation(self.mode, self.wrap)),
            lifetimes: self.lifetimes,
            ..Phase2Transform::new(IpCompTransformId::DEFLATE.0)
        };
        let compressed = self.proposal(1, ProtocolId::IPCOMP, &[deflate]);
        sa_body(protected(1).chain([compressed]).chain(protected(2)).collect())
    }

    fn proposal(
        &self,
        number: u8,
        protocol: ProtocolId,
        transforms: &[Phase2Transform],
    ) -> Proposal<'static> {
        let numbered = (1..=u8::MAX).zip(transforms);
        Proposal {
            number,
            protocol,
            spi: Cow::Owned(self.own.field(protocol)),
            transforms: numbered.map(|(number, one)| one.to_transform(number)).collect(),
        }
    }

    /// Checks an answer: one transform of ours, whatever its lifetime, AH around it exactly if we ask for
    /// that, and compression if we want it.
    pub(crate) fn accept(&self, sa: &Sa<'_>) -> Option<Phase2Choice> {
        let mut alternatives = sa.alternatives();
        let bundle = Bundle::of(alternatives.next()?).filter(|bundle| {
            bundle.has_one_transform_each()
                && (bundle.ipcomp.is_none() || self.own.cpi.is_some())
                && bundle.outer.is_some() != self.outer.is_empty()
        })?;
        if !alternatives.all(|more| bundle.is_repeated_by(more)) {
            return None;
        }
        let transform = bundle.protected.transforms.first()?;
        let answer = Phase2Transform::read(self.protocol, transform).ok()?;
        let is_ours = self.transforms.iter().any(|own| plain(own) == plain(&answer));
        if bundle.protected.protocol != self.protocol || !is_ours {
            return None;
        }
        let mut parts = Parts::default();
        if let Some(proposal) = bundle.ipcomp {
            parts.ipcomp = Some(Deflate::of(proposal)?);
        }
        if let Some(proposal) = bundle.outer {
            let around = Around::accept(proposal, self.mode, &self.outer);
            parts.outer = Some(around.filter(|around| around.goes_with(&answer))?);
        }
        let ends = (self.mode, self.wrap);
        let mut choice = choice(&bundle, transform, &answer, &parts, ends)?;
        choice.limits = lifetimes::of_answer(self.lifetimes, parts.least(answer.lifetimes));
        Some(choice)
    }
}

/// A transform without its lifetimes, which have no part in choosing one.
pub(super) fn plain(one: &Phase2Transform) -> Phase2Transform {
    Phase2Transform { lifetimes: Lifetimes::default(), ..one.clone() }
}

/// The SA of the first proposal that protects, to answer about.
pub(crate) fn offered_sa(sa: &Sa<'_>) -> Option<(ChildProtocol, Spi)> {
    let proposal = sa.proposals.iter().find(|one| one.protocol != ProtocolId::IPCOMP)?;
    Some((ChildProtocol(proposal.protocol.0), Spi::from_field(&proposal.spi)?))
}

/// Chooses for a child: the peer's first transform that is ours, too, and whose lifetimes can be.
///
/// Where there is a NAT it is ESP in UDP, by the numbers of RFC 3947 or of the drafts: which of them goes
/// with which vendor id not all peers agree on.
pub(crate) fn choose_phase2(
    connection: &Connection,
    config: &ChildConfig,
    sa: &Sa<'_>,
    wrap: Option<Numbers>,
) -> Option<Phase2Choice> {
    let (own, own_outer) = (config.offered_proposals(), config.offered_outer_ah());
    for bundle in sa.alternatives().filter_map(Bundle::of) {
        if bundle.outer.is_some() == own_outer.is_empty() {
            continue;
        }
        let ipcomp = match bundle.ipcomp.map(Deflate::of) {
            Some(Some(deflate)) if config.negotiates_ipcomp() => Some(deflate),
            Some(_) => continue,
            None => None,
        };
        let around = bundle.outer.map(|one| Around::known(one, config.mode, &own_outer));
        let mut parts = Parts { outer: None, ipcomp };
        let protocol = bundle.protected.protocol;
        for transform in &bundle.protected.transforms {
            let Ok(read) = Phase2Transform::read(protocol, transform) else { continue };
            if let Some(around) = &around {
                parts.outer = around.iter().find(|one| one.goes_with(&read)).cloned();
                if parts.outer.is_none() {
                    continue;
                }
            }
            let choice = choice(&bundle, transform, &read, &parts, (config.mode, wrap));
            let Some(mut choice) = choice.filter(|it| own.iter().any(|spec| is_in(it, spec)))
            else {
                continue;
            };
            let offered = parts.least(read.lifetimes);
            let Some(agreed) = lifetimes::of_child(offered, config, connection) else { continue };
            (choice.limits, choice.told) = (agreed.limits, agreed.notify);
            return Some(choice);
        }
    }
    None
}

/// Whether a proposal of the configuration has what was chosen.
fn is_in(choice: &Phase2Choice, spec: &ProposalSpec) -> bool {
    let has = |own: &Transform| spec.of_kind(own.kind).any(|one| one == *own);
    let no_group = choice.group.is_none()
        && spec.of_kind(TransformType::KE).any(|one| one.id != KeyExchangeId::NONE.0)
        && !spec.of_kind(TransformType::KE).any(|one| one.id == KeyExchangeId::NONE.0);
    spec.protocol() == choice.protection.protocol()
        && choice.transforms.iter().all(has)
        && !no_group
}

/// What a transform means, if we can compute it.
fn choice(
    bundle: &Bundle<'_, '_>,
    transform: &adit_wire::isakmp::Transform<'_>,
    read: &Phase2Transform,
    parts: &Parts<'_, '_>,
    (mode, wrap): (Mode, Option<Numbers>),
) -> Option<Phase2Choice> {
    let proposal = bundle.protected;
    let is_esp = proposal.protocol == ProtocolId::ESP;
    let inner = parts.ipcomp.as_ref().map(|one| one.read.mode);
    let passes = wrap.is_none() || (is_esp && parts.outer.is_none());
    let fits = passes && is_mode((mode, wrap), read.mode, inner);
    if !fits || read.key_rounds.is_some() {
        return None;
    }
    let mut transforms = Vec::new();
    let protocol = ChildProtocol(proposal.protocol.0);
    if is_esp {
        let id = EspTransformId(read.id).encryption()?;
        transforms.push(Transform::encryption(id, read.key_bits));
    }
    if let Some(auth) = read.auth {
        transforms.push(Transform::integrity(auth.integrity()?));
    }
    transforms.push(Transform::esn(if read.esn { EsnId::ESN } else { EsnId::NO_ESN }));
    let protection = ChildSuite::from_transforms(protocol, &transforms)?.protection;
    let group = match read.group {
        None => None,
        Some(group) => Some(KeyExchange::from_id(group.key_exchange()?)?),
    };
    if let Some(group) = group {
        transforms.push(Transform::key_exchange(group.id()));
    }
    let chosen = |one: &Proposal<'_>| {
        let is_protected = one.protocol == proposal.protocol;
        let part = parts.chosen(one.protocol).filter(|_| !is_protected);
        let transform = part.unwrap_or(transform);
        Proposal { transforms: vec![transform.clone()], ..one.clone() }.into_owned()
    };
    Some(Phase2Choice {
        protection,
        transforms,
        mode,
        esn: read.esn,
        group,
        limits: Limits::default(),
        told: None,
        spi_out: Spi::from_field(&proposal.spi)?,
        outer: parts.outer.as_ref().map(|outer| outer.choice.clone()),
        cpi_out: parts.ipcomp.as_ref().map(|one| one.cpi),
        bundle: bundle.all.iter().map(chosen).collect(),
    })
}

/// Whether what the transforms of a bundle say of the mode is ours.
///
/// RFC 2407 §4.5: without the attribute the mode is up to the host, which is ours. Of a tunnel some say it
/// of the innermost protocol alone, and transport mode of what is around it: the packets are the same.
fn is_mode(
    (mode, wrap): (Mode, Option<Numbers>),
    outer: Option<EncapsulationMode>,
    inner: Option<Option<EncapsulationMode>>,
) -> bool {
    let is = |asked: EncapsulationMode, mode: Mode| match wrap {
        None => asked == encapsulation(mode, None),
        Some(_) => [Numbers::Rfc, Numbers::Draft].iter().any(|one| asked == one.mode(mode)),
    };
    let same = |asked: Option<EncapsulationMode>| asked.is_none_or(|asked| is(asked, mode));
    let Some(inner) = inner else { return same(outer) };
    let is_within = inner.is_some_and(|inner| is(inner, mode))
        && outer.is_some_and(|outer| is(outer, Mode::Transport));
    // Inside of UDP some say nothing of UDP.
    (same(outer) && (same(inner) || wrap.is_some())) || is_within
}

/// A cipher, an integrity algorithm, and whether sequence numbers have 64 bits.
pub(super) type Suite = (Option<Transform>, Option<Transform>, bool);

/// Every suite of a proposal, by the order of its sequence numbers.
pub(super) fn child_suites(spec: &ProposalSpec) -> Vec<Suite> {
    let algorithms = algorithms(spec);
    let numbers = spec.of_kind(TransformType::ESN).map(|one| one.id == EsnId::ESN.0);
    numbers
        .flat_map(|esn| algorithms.iter().map(move |&(cipher, integrity)| (cipher, integrity, esn)))
        .collect()
}

/// Every cipher of a proposal with every integrity algorithm that goes with it.
fn algorithms(spec: &ProposalSpec) -> Vec<(Option<Transform>, Option<Transform>)> {
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
pub(super) fn phase2_transform(
    protocol: ChildProtocol,
    (cipher, integrity, esn): &Suite,
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
    Some(Phase2Transform { auth, key_bits, esn: *esn, ..Phase2Transform::new(id) })
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

#[cfg(test)]
mod tests;
