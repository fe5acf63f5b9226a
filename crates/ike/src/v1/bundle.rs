//! Proposals of one number, which belong together (RFC 2408 §4.2): ESP, AH around it (RFC 2401 §4.3), and
//! IPComp inside it (RFC 3173 §4.1).
//!
//! Of a tunnel ESP has the tunnel and AH is in transport mode around it, so there is one outer header. Some
//! say tunnel mode of AH, too, and mean the same packets (Cisco, isakmpd); others say transport mode
//! (racoon, after the policies of its kernel). So both are offered, and both are taken.

use adit_crypto::{KeyExchange, Protection};
use adit_db::{ChildConfig, Mode, ProposalSpec};
use adit_wire::doi::{Lifetimes, Phase2Transform};
use adit_wire::esp::Spi;
use adit_wire::iana::doi::{EncapsulationMode, GroupId, ProtocolId};
use adit_wire::iana::{EsnId, IpCompTransformId, ProtocolId as ChildProtocol};
use adit_wire::ikev2::Transform;
use adit_wire::ipcomp::Cpi;
use adit_wire::isakmp::Proposal;

use crate::context::Context;
use crate::failure::FailureReason;
use crate::proposal::ChildSuite;

use super::child_suite::{child_suites, phase2_transform, plain};
use super::core::Core;

/// What we take the packets of a child under.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Inbound {
    /// Of ESP, or of AH alone.
    pub(crate) spi: Spi,
    /// Of AH around ESP.
    pub(crate) outer: Option<Spi>,
    pub(crate) cpi: Option<Cpi>,
}

impl Inbound {
    /// Draws all that a child may need.
    ///
    /// # Errors
    ///
    /// If hardly any SPI is free.
    pub(crate) fn draw(
        config: &ChildConfig,
        core: &Core,
        cx: &mut Context<'_>,
    ) -> Result<Self, FailureReason> {
        const NONE_LEFT: FailureReason = FailureReason::TooMany("child SAs");
        let spi = cx.child_spi(&core.connection, config).ok_or(NONE_LEFT)?;
        let outer = match config.outer_ah.is_empty() {
            true => None,
            false => {
                let other = cx.child_spi(&core.connection, config);
                // Both are of one engine, which tells them apart by nothing else.
                Some(other.filter(|other| *other != spi).ok_or(NONE_LEFT)?)
            }
        };
        Ok(Self { spi, outer, cpi: cx.child_cpi(config) })
    }

    /// The SPI field of a proposal for this protocol.
    pub(crate) fn field(&self, protocol: ProtocolId) -> Vec<u8> {
        match (protocol, self.outer, self.cpi) {
            (ProtocolId::AH, Some(outer), _) => outer.to_octets().to_vec(),
            (ProtocolId::IPCOMP, _, Some(cpi)) => cpi.0.to_be_bytes().to_vec(),
            _ => self.spi.to_octets().to_vec(),
        }
    }

    /// Whether this is an SPI of ours.
    pub(crate) fn has(&self, field: &[u8]) -> bool {
        [Some(self.spi), self.outer].into_iter().flatten().any(|spi| spi.to_octets() == *field)
    }
}

/// The proposals of one number that go together here.
pub(super) struct Bundle<'a, 'm> {
    pub(super) all: &'a [Proposal<'m>],
    pub(super) protected: &'a Proposal<'m>,
    pub(super) outer: Option<&'a Proposal<'m>>,
    pub(super) ipcomp: Option<&'a Proposal<'m>>,
}

impl<'a, 'm> Bundle<'a, 'm> {
    /// AH or ESP alone, or ESP with AH, IPComp or both, in any order. `None` for others: what has a protocol
    /// twice is nothing that anybody could take as a whole.
    pub(super) fn of(all: &'a [Proposal<'m>]) -> Option<Self> {
        let (mut esp, mut ah, mut ipcomp) = (None, None, None);
        for proposal in all {
            let place = match proposal.protocol {
                ProtocolId::ESP => &mut esp,
                ProtocolId::AH => &mut ah,
                ProtocolId::IPCOMP => &mut ipcomp,
                _ => return None,
            };
            if place.replace(proposal).is_some() {
                return None;
            }
        }
        match (esp, ah) {
            (Some(protected), outer) => Some(Self { all, protected, outer, ipcomp }),
            (None, Some(protected)) if ipcomp.is_none() => {
                Some(Self { all, protected, outer: None, ipcomp: None })
            }
            (None, _) => None,
        }
    }

    /// Whether these say the same once more without compression, as strongSwan does in its answer behind what it
    /// has chosen, and goes by the first.
    pub(super) fn is_repeated_by(&self, more: &[Proposal<'_>]) -> bool {
        let plain = self.all.iter().filter(|one| one.protocol != ProtocolId::IPCOMP);
        let same = |(one, other): (&Proposal<'_>, &Proposal<'_>)| {
            (one.protocol, &one.spi, &one.transforms)
                == (other.protocol, &other.spi, &other.transforms)
        };
        self.ipcomp.is_some() && plain.clone().count() == more.len() && plain.zip(more).all(same)
    }

    pub(super) fn has_one_transform_each(&self) -> bool {
        self.all.iter().all(|proposal| proposal.transforms.len() == 1)
            && self.all.iter().all(|proposal| proposal.number == self.protected.number)
    }
}

/// What is chosen of a bundle beside what protects.
#[derive(Default)]
pub(super) struct Parts<'a, 'm> {
    pub(super) outer: Option<Around<'a, 'm>>,
    pub(super) ipcomp: Option<Deflate<'a, 'm>>,
}

impl<'a, 'm> Parts<'a, 'm> {
    /// The transform of a proposal that was chosen, if it is one of these.
    pub(super) fn chosen(
        &self,
        protocol: ProtocolId,
    ) -> Option<&'a adit_wire::isakmp::Transform<'m>> {
        match protocol {
            ProtocolId::AH => self.outer.as_ref().map(|outer| outer.transform),
            ProtocolId::IPCOMP => self.ipcomp.as_ref().map(|deflate| deflate.transform),
            _ => None,
        }
    }

    /// The lifetimes of the whole: what ends one part of it ends it.
    pub(super) fn least(&self, protected: Lifetimes) -> Lifetimes {
        let outer = self.outer.as_ref().map(|outer| outer.read.lifetimes);
        let ipcomp = self.ipcomp.as_ref().map(|deflate| deflate.read.lifetimes);
        let least = |one: Option<u64>, other: Option<u64>| one.into_iter().chain(other).min();
        outer.into_iter().chain(ipcomp).fold(protected, |all, one| Lifetimes {
            seconds: least(all.seconds, one.seconds),
            kilobytes: least(all.kilobytes, one.kilobytes),
        })
    }
}

/// What a proposal of IPComp offers that we can do.
pub(super) struct Deflate<'a, 'm> {
    pub(super) cpi: Cpi,
    transform: &'a adit_wire::isakmp::Transform<'m>,
    pub(super) read: Phase2Transform,
}

impl<'a, 'm> Deflate<'a, 'm> {
    /// The first transform that is DEFLATE, without what only others know.
    pub(super) fn of(proposal: &'a Proposal<'m>) -> Option<Self> {
        // RFC 3173 §4.1: a CPI may come in four octets, the first two of them zero.
        let cpi = match *proposal.spi.as_ref() {
            [high, low] | [0, 0, high, low] => Cpi(u16::from_be_bytes([high, low])),
            _ => return None,
        };
        if !cpi.is_negotiable() {
            return None;
        }
        proposal.transforms.iter().find_map(|transform| {
            let read = Phase2Transform::read(ProtocolId::IPCOMP, transform).ok()?;
            let is_known =
                read.id == IpCompTransformId::DEFLATE.0 && read.private_algorithm.is_none();
            is_known.then_some(Self { cpi, transform, read })
        })
    }
}

/// AH around ESP, as both ends take it.
#[derive(Clone, Debug)]
pub(crate) struct OuterChoice {
    pub(crate) protection: Protection,
    pub(crate) transforms: Vec<Transform>,
    pub(crate) esn: bool,
    pub(crate) spi_out: Spi,
}

/// What a proposal of AH around ESP offers that we can do.
#[derive(Clone)]
pub(super) struct Around<'a, 'm> {
    transform: &'a adit_wire::isakmp::Transform<'m>,
    read: Phase2Transform,
    pub(super) choice: OuterChoice,
}

impl<'a, 'm> Around<'a, 'm> {
    /// Responder: the transforms that are ours, too. They are read once, however many ESP has.
    pub(super) fn known(proposal: &'a Proposal<'m>, mode: Mode, own: &[ProposalSpec]) -> Vec<Self> {
        let all = proposal.transforms.iter();
        let known = all.filter_map(|transform| Self::of(proposal, transform, mode));
        let is_ours = |around: &Self| {
            let has = |spec: &ProposalSpec| {
                let mut parts = around.choice.transforms.iter();
                parts.all(|one| spec.of_kind(one.kind).any(|own| own == *one))
            };
            own.iter().any(has)
        };
        known.filter(is_ours).collect()
    }

    /// Initiator: the transform of an answer, if it is one of those that were offered.
    pub(super) fn accept(
        proposal: &'a Proposal<'m>,
        mode: Mode,
        offered: &[Phase2Transform],
    ) -> Option<Self> {
        let around = Self::of(proposal, proposal.transforms.first()?, mode)?;
        let is_ours = offered.iter().any(|own| plain(own) == plain(&around.read));
        is_ours.then_some(around)
    }

    /// RFC 2409 §5.5: there is one key exchange for all SAs of a quick mode.
    pub(super) fn goes_with(&self, esp: &Phase2Transform) -> bool {
        self.read.group == esp.group
    }

    fn of(
        proposal: &'a Proposal<'m>,
        transform: &'a adit_wire::isakmp::Transform<'m>,
        mode: Mode,
    ) -> Option<Self> {
        let read = Phase2Transform::read(ProtocolId::AH, transform).ok()?;
        let fits = read.mode.is_none_or(|asked| modes(mode).contains(&asked));
        if !fits || read.key_rounds.is_some() {
            return None;
        }
        let transforms = vec![
            Transform::integrity(read.auth?.integrity()?),
            Transform::esn(if read.esn { EsnId::ESN } else { EsnId::NO_ESN }),
        ];
        let protection = ChildSuite::from_transforms(ChildProtocol::AH, &transforms)?.protection;
        let (esn, spi_out) = (read.esn, Spi::from_field(&proposal.spi)?);
        let choice = OuterChoice { protection, transforms, esn, spi_out };
        Some(Self { transform, read, choice })
    }
}

/// All that a child wants, for people: a peer that has no bundle, or another AH, has nothing of it.
pub(crate) fn wanted(config: &ChildConfig) -> Vec<ProposalSpec> {
    [config.offered_proposals(), config.offered_outer_ah()].concat()
}

/// What AH around ESP may say of its mode; the first is what it is.
fn modes(mode: Mode) -> &'static [EncapsulationMode] {
    match mode {
        Mode::Tunnel => &[EncapsulationMode::TRANSPORT, EncapsulationMode::TUNNEL],
        Mode::Transport | Mode::Beet => &[EncapsulationMode::TRANSPORT],
    }
}

/// What is offered of AH around ESP; nothing where no bundle is configured.
///
/// # Errors
///
/// If IKEv1 has numbers for none of it.
pub(super) fn offered_around(
    config: &ChildConfig,
    group: Option<KeyExchange>,
    lifetimes: Lifetimes,
) -> Result<Vec<Phase2Transform>, FailureReason> {
    let mut transforms = Vec::new();
    let specs = config.offered_outer_ah();
    for mode in modes(config.mode) {
        for suite in specs.iter().flat_map(child_suites) {
            let known = phase2_transform(ChildProtocol::AH, &suite).map(|one| Phase2Transform {
                group: group.map(|group| GroupId(group.id().0)),
                mode: Some(*mode),
                lifetimes,
                ..one
            });
            transforms.extend(known.filter(|one| !transforms.contains(one)));
        }
    }
    transforms.truncate(AROUND_MAX);
    if transforms.is_empty() && !specs.is_empty() {
        return Err(FailureReason::Internal("no suite of `ah` is one of IKEv1"));
    }
    Ok(transforms)
}

/// Transforms of AH in one offer: the first message should fit a packet.
const AROUND_MAX: usize = 16;
