//! Proposals of the methods that encrypt nonces (RFC 2409 §5, appendix A).

use adit_crypto::{Encryption, Hash, KeyExchange, Prf};
use adit_db::{Connection, NonceEncryption};
use adit_wire::doi::{Lifetimes, Phase1Transform};
use adit_wire::iana::doi::{GroupId, Phase1Auth, Phase1Encryption, Phase1Hash, ProtocolId};
use adit_wire::iana::{KeyExchangeId, TransformType};
use adit_wire::ikev2::Transform;
use adit_wire::isakmp::{Proposal, Sa};

use crate::lifetime::Agreement;
use crate::v1::lifetimes;
use crate::v1::method::{Base, Method};
use crate::v1::phase1::rules::Exchange;
use crate::v1::suite::{offered_phase1_life, phase1_suites, sa_body};

use super::DHLESS;

/// What both ends agree on.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Suite {
    pub(crate) kind: NonceEncryption,
    pub(crate) encryption: Encryption,
    pub(crate) prf: Prf,
    /// None where there is no key exchange.
    pub(crate) group: Option<KeyExchange>,
}

impl Suite {
    fn of(transform: &Phase1Transform) -> Option<Self> {
        let kind = kind(transform.auth)?;
        // RFC 2409 wants a group of every transform; where it means nothing it is not looked at.
        let group = match kind.has_key_exchange() {
            true => Some(KeyExchange::from_id(transform.group?.key_exchange()?)?),
            false => None,
        };
        let encryption = transform.encryption.encryption()?;
        Some(Self {
            kind,
            encryption: Encryption::from_id(encryption, transform.key_bits)?,
            prf: Prf::from_id(transform.hash.prf()?)?,
            group,
        })
    }

    /// The hash that was agreed on, which its prf is made of.
    pub(crate) fn hash(&self) -> Option<Hash> {
        Hash::ALL.into_iter().find(|hash| hash.prf() == self.prf)
    }

    /// The same as transforms of IKEv2, for people.
    pub(crate) fn transforms(&self) -> Vec<Transform> {
        let group = self.group.map_or(KeyExchangeId::NONE, KeyExchange::id);
        vec![
            Transform::encryption(self.encryption.id(), self.encryption.key_bits()),
            Transform::prf(self.prf.id()),
            Transform::key_exchange(group),
        ]
    }

    /// Whether the configuration has it. Where there is no key exchange its groups mean nothing.
    fn is_of(&self, connection: &Connection) -> bool {
        let transforms = self.transforms();
        let relevant = || {
            transforms.iter().filter(|own| own.kind != TransformType::KE || self.group.is_some())
        };
        connection.nonce_encryption == Some(self.kind)
            && connection
                .proposals
                .iter()
                .any(|spec| relevant().all(|own| spec.of_kind(own.kind).any(|one| one == *own)))
    }
}

fn kind(auth: Phase1Auth) -> Option<NonceEncryption> {
    NonceEncryption::ALL.into_iter().find(|kind| method(*kind).number() == Some(auth))
}

fn method(kind: NonceEncryption) -> Method {
    let base = match kind {
        NonceEncryption::Plain => Base::RsaEncryption,
        NonceEncryption::Revised => Base::RevisedRsaEncryption,
        NonceEncryption::DhLess => Base::Dhless,
    };
    Method { base, extended: None }
}

/// Whether an offer has no other methods than those that encrypt nonces.
pub(crate) fn offers_nothing_else(sa: &Sa<'_>) -> bool {
    let transforms = || sa.proposals.iter().flat_map(|proposal| &proposal.transforms);
    let is_one = |transform: &adit_wire::isakmp::Transform<'_>| {
        Phase1Transform::read(transform).is_ok_and(|read| kind(read.auth).is_some())
    };
    transforms().next().is_some() && transforms().all(is_one)
}

/// What an initiator offers.
#[derive(Debug)]
pub(crate) struct Offer(Vec<Phase1Transform>);

impl Offer {
    /// All suites of a connection; in aggressive mode the first, as what is encrypted already depends on
    /// it.
    pub(crate) fn new(connection: &Connection, kind: NonceEncryption, exchange: Exchange) -> Self {
        let lifetimes = offered_phase1_life(connection);
        let Some(auth) = method(kind).number() else { return Self(Vec::new()) };
        let mut transforms: Vec<Phase1Transform> = Vec::new();
        for suite in phase1_suites(&connection.proposals, method(kind)) {
            let encryption = Phase1Encryption::from_encryption(suite.encryption.id());
            let hash = Phase1Hash::from_prf(suite.prf.id());
            let Some((encryption, hash)) = encryption.zip(hash) else { continue };
            let transform = Phase1Transform {
                encryption,
                key_bits: suite.encryption.key_bits(),
                hash,
                auth,
                group: kind.has_key_exchange().then_some(GroupId(suite.group.id().0)),
                lifetimes,
            };
            if !transforms.contains(&transform) {
                transforms.push(transform);
            }
        }
        if exchange == Exchange::Aggressive {
            transforms.truncate(1);
        }
        Self(transforms)
    }

    /// The first suite.
    pub(crate) fn first(&self) -> Option<Suite> {
        self.0.first().and_then(Suite::of)
    }

    /// The body of the SA payload.
    pub(crate) fn body(&self) -> Vec<u8> {
        let numbered = (1..=u8::MAX).zip(&self.0);
        sa_body(vec![Proposal {
            number: 1,
            protocol: ProtocolId::ISAKMP,
            spi: std::borrow::Cow::Borrowed(&[]),
            transforms: numbered.map(|(number, one)| one.to_transform(number)).collect(),
        }])
    }

    /// Checks an answer: one transform of ours, whatever its lifetime.
    pub(crate) fn accept(&self, sa: &Sa<'_>) -> Option<Suite> {
        let [proposal] = sa.proposals.as_slice() else { return None };
        let [transform] = proposal.transforms.as_slice() else { return None };
        let answer = Phase1Transform::read(transform).ok()?;
        let plain =
            |one: &Phase1Transform| Phase1Transform { lifetimes: Lifetimes::default(), ..*one };
        let is_ours = self.0.iter().any(|own| plain(own) == plain(&answer));
        (proposal.protocol == ProtocolId::ISAKMP && is_ours).then(|| Suite::of(&answer)).flatten()
    }
}

/// What a responder takes.
pub(crate) struct Choice {
    pub(crate) suite: Suite,
    /// The body of the SA payload that says so: the transform as it came.
    pub(crate) body: Vec<u8>,
    /// What comes of the lifetime that the peer offers.
    pub(crate) agreement: Agreement,
}

/// Chooses for a connection that wants nonces encrypted: the peer's first transform that is ours, too.
pub(crate) fn choose(connection: &Connection, sa: &Sa<'_>, vendor_ids: &[&[u8]]) -> Option<Choice> {
    connection.nonce_encryption?;
    let proposals = sa.proposals.iter().filter(|one| one.protocol == ProtocolId::ISAKMP);
    for proposal in proposals {
        for transform in &proposal.transforms {
            let Ok(read) = Phase1Transform::read(transform) else { continue };
            let suite = Suite::of(&read).filter(|suite| suite.is_of(connection));
            let agreement = lifetimes::of_phase1(read.lifetimes, connection);
            let Some((suite, agreement)) = suite.zip(agreement) else { continue };
            if suite.kind == NonceEncryption::DhLess && !vendor_ids.contains(&DHLESS) {
                continue;
            }
            let chosen = Proposal { transforms: vec![transform.clone()], ..proposal.clone() };
            return Some(Choice { suite, body: sa_body(vec![chosen]), agreement });
        }
    }
    None
}
