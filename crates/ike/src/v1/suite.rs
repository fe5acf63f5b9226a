//! Proposals for phase 1 (RFC 2409 §5) from the suites of a connection, which are told in
//! the transforms of IKEv2.
//!
//! Where IKEv2 has lists of algorithms of each kind, IKEv1 has a transform for each combination.
//! Lifetimes are part of a transform, and have no part in choosing one.

use std::borrow::Cow;
use std::time::Duration;

use adit_crypto::{Encryption, Hash, KeyExchange, Prf};
use adit_db::{Connection, ProposalSpec};
use adit_wire::Writer;
use adit_wire::doi::{Lifetimes, Phase1Transform};
use adit_wire::iana::doi::{GroupId, Phase1Encryption, Phase1Hash, ProtocolId};
use adit_wire::iana::{EncryptionId, KeyExchangeId, PrfId, TransformType};
use adit_wire::ikev2::Transform;
use adit_wire::isakmp::{Proposal, Sa};

use crate::keymat::Role;
use crate::lifetime::Agreement;

use super::lifetimes;
use super::method::{Method, methods_of};
use super::phase1::answer_octets;
use super::phase1::rules::{Exchange, Rule};

/// Transforms of one offer: a proposal counts them in one octet, and the first message should fit a
/// packet.
const TRANSFORMS_MAX: usize = 40;

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
    let kilobytes = lifetimes::own_phase1_kilobytes(connection);
    Lifetimes { kilobytes, ..Lifetimes::of_seconds(life.as_secs().max(1)) }
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
            let agreement = lifetimes::of_phase1(read.lifetimes, connection);
            let Some(agreement) = agreement else { continue };
            let chosen = Proposal { transforms: vec![transform.clone()], ..proposal.clone() };
            return Some(Phase1Choice { suite, body: sa_body(vec![chosen]), agreement });
        }
    }
    None
}

/// The body of an SA payload.
pub(crate) fn sa_body(proposals: Vec<Proposal<'_>>) -> Vec<u8> {
    let mut octets = Vec::new();
    Sa { proposals }.write(&mut Writer(&mut octets));
    octets
}
