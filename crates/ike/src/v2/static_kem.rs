//! Static ML-KEM keys in place of an ephemeral key exchange (private use, experimental; docs/dhless.md), with
//! the keys of RFC 9935.
//!
//! Both sides have a key that stays, and know each other's. The initiator's KE payload is a ciphertext to
//! the responder's key, the responder's one to the initiator's, and both secrets make the keys:
//! `SKEYSEED = prf(Ni | Nr, ss_r | ss_i)`. Which keys are meant the initiator says with the notify
//! ADIT_STATIC_KEM, beside our vendor ID. AUTH covers both messages as always.
//!
//! The private halves are elsewhere, like all long-term secrets: opening a ciphertext is a job
//! ([`AuthJobKind::Decapsulate`]), so that each side has a moment in which it waits for its own program:
//! [`Awaiting`].

use std::sync::Arc;

use adit_crypto::{KemSet, KeyShare, Secret};
use adit_db::{Connection, Identity, StaticKemSpec};
use adit_pki::KemKeyId;
use adit_wire::iana::{KeyExchangeId, NotifyType};
use adit_wire::ikev2::{MessageBuilder, Notify, Payload};
use adit_wire::{Reader, StaticKemNames, Writer};

use crate::command::{AuthResult, JobId, Path};
use crate::connections::Connections;
use crate::context::Context;
use crate::event::PeerSoftware;
use crate::failure::{FailureReason, StaticKemGap};
use crate::output::{AuthJob, AuthJobKind, Output};
use crate::proposal::{Choice, IkeSuite, Offer};
use crate::v2::handshake::{Handshake, Init, software};
use crate::v2::ike_sa::core::Core;
use crate::v2::rules::Received;
use crate::v2::signature::Announced;

/// What an initiator puts into its KE payload, and keeps for the answer.
#[derive(Debug)]
pub(crate) enum Share {
    /// A key for this exchange alone.
    Ephemeral(KeyShare),
    /// A ciphertext to the responder's static key.
    Static(Encapsulated),
}

/// A ciphertext to a static key, and the secret in it.
#[derive(Debug)]
pub(crate) struct Encapsulated {
    set: KemSet,
    ciphertext: Vec<u8>,
    shared: Secret,
}

impl Share {
    /// The first one of an offer.
    ///
    /// # Errors
    ///
    /// [`FailureReason::NoStaticKem`] if static keys are offered and the connection has none of them.
    pub(crate) fn first(
        offer: &Offer,
        connection: &Connection,
        cx: &mut Context<'_>,
    ) -> Result<Self, FailureReason> {
        if let Some(set) = offer.static_kem() {
            let keys = keys_of(connection, set)?;
            return Encapsulated::to(keys, cx).map(Self::Static);
        }
        let method = offer.first_key_exchange().ok_or(FailureReason::Internal("empty offer"))?;
        Ok(Self::Ephemeral(cx.key_share(method)))
    }

    /// The method, as the KE payload names it.
    pub(crate) fn id(&self) -> KeyExchangeId {
        match self {
            Self::Ephemeral(share) => share.method().id(),
            Self::Static(sent) => sent.set.static_id(),
        }
    }

    /// Key Exchange Data.
    pub(crate) fn public(&self) -> &[u8] {
        match self {
            Self::Ephemeral(share) => share.public(),
            Self::Static(sent) => &sent.ciphertext,
        }
    }
}

impl Encapsulated {
    /// For the peer of these keys.
    fn to(keys: &StaticKemSpec, cx: &mut Context<'_>) -> Result<Self, FailureReason> {
        let made = keys.remote().encapsulate(cx.rng);
        let (ciphertext, shared) = made.map_err(|_| FailureReason::Internal("encapsulation"))?;
        Ok(Self { set: keys.set(), ciphertext, shared })
    }
}

/// The keys of a connection, if they are of that set.
fn keys_of(connection: &Connection, set: KemSet) -> Result<&StaticKemSpec, FailureReason> {
    let keys = connection.pad.static_kem.as_ref().filter(|keys| keys.set() == set);
    keys.ok_or(FailureReason::NoStaticKem(StaticKemGap::Unconfigured))
}

// ---- IKE_SA_INIT ----

/// Initiator: names the keys, if they stand for a key exchange.
pub(crate) fn put_names(share: &Share, core: &Core, message: &mut MessageBuilder) {
    let keys = core.connection.as_ref().and_then(|connection| connection.pad.static_kem.as_ref());
    if let (Share::Static(_), Some(keys)) = (share, keys) {
        let names = StaticKemNames { initiator: keys.local().0, responder: keys.remote_id().0 };
        let mut data = Vec::new();
        names.write(&mut Writer(&mut data));
        message.put(&Payload::Notify(Notify::new(NotifyType::ADIT_STATIC_KEM, &data)));
    }
}

/// Initiator: whether the sender of an answer with static keys can know what they mean.
pub(crate) fn check_answer(
    choice: &Choice<IkeSuite>,
    received: &Received<'_>,
) -> Result<(), FailureReason> {
    match choice.suite.static_kem.is_some() && !is_adit(received) {
        true => Err(FailureReason::PeerMisbehaved("static keys without our vendor ID")),
        false => Ok(()),
    }
}

/// Responder: the connections that a request may mean. Those with static keys are meant if the request
/// names both keys, and then before all others; one look at an index finds them, however many there
/// are.
pub(crate) fn candidates(
    path: Path,
    received: &Received<'_>,
    connections: &Connections,
) -> Vec<Arc<Connection>> {
    let named = match names(received) {
        Some(names) => {
            let (ours, theirs) = (KemKeyId(names.responder), KemKeyId(names.initiator));
            connections.with_static_kem(path, ours, theirs)
        }
        None => Vec::new(),
    };
    let others = connections.openings(path).into_iter();
    let others = others.filter(|connection| connection.pad.static_kem.is_none());
    named.into_iter().chain(others).cloned().collect()
}

/// Responder: whether a request is refused because nobody has the two keys that it names; `nearest` is
/// the first connection that it may mean.
pub(crate) fn is_unknown(received: &Received<'_>, nearest: Option<&Connection>) -> bool {
    names(received).is_some()
        && nearest.is_none_or(|connection| connection.pad.static_kem.is_none())
}

fn names(received: &Received<'_>) -> Option<StaticKemNames> {
    let notify = received.notify(NotifyType::ADIT_STATIC_KEM).filter(|_| is_adit(received))?;
    StaticKemNames::read(&mut Reader(notify.data)).ok()
}

fn is_adit(received: &Received<'_>) -> bool {
    software(&received.vendor_ids) == PeerSoftware::Adit
}

/// Responder: a ciphertext for the initiator, if static keys were chosen; `None` if not.
///
/// # Errors
///
/// The peer's ciphertext has another length, or the connection has no such keys.
pub(crate) fn answer(
    choice: &Choice<IkeSuite>,
    connection: &Connection,
    ciphertext: &[u8],
    cx: &mut Context<'_>,
) -> Result<Option<Encapsulated>, FailureReason> {
    let Some(set) = choice.suite.static_kem else { return Ok(None) };
    if ciphertext.len() != set.ciphertext_len() {
        return Err(FailureReason::PeerMisbehaved("ciphertext of a wrong length"));
    }
    Encapsulated::to(keys_of(connection, set)?, cx).map(Some)
}

/// Key Exchange Data of an answer.
impl AsRef<[u8]> for Encapsulated {
    fn as_ref(&self) -> &[u8] {
        &self.ciphertext
    }
}

// ---- While our own program opens a ciphertext ----

/// A handshake whose first keys wait for the secret in the peer's ciphertext.
#[derive(Debug)]
pub(crate) struct Awaiting {
    job: JobId,
    /// The secret in the ciphertext that we have sent.
    ours: Secret,
    pub(crate) init: Init,
}

impl Awaiting {
    /// Hands out the job.
    pub(crate) fn ask(
        sent: Encapsulated,
        received: &[u8],
        init: Init,
        core: &Core,
        cx: &mut Context<'_>,
    ) -> Result<Self, FailureReason> {
        if received.len() != sent.set.ciphertext_len() {
            return Err(FailureReason::PeerMisbehaved("ciphertext of a wrong length"));
        }
        let connection = core.connection.as_ref().ok_or(FailureReason::NoSuch("connection"))?;
        let keys = keys_of(connection, sent.set)?;
        let pad = &connection.pad;
        let anybody = || Identity::from(core.path.remote.ip());
        let job = cx.out.next_job();
        cx.out.begin_auth(job, core.id);
        cx.out.push(Output::Auth(AuthJob {
            job,
            kind: AuthJobKind::Decapsulate { key: keys.local() },
            connection: connection.name.clone(),
            round: 0,
            local_id: pad.local_id(core.path.local.ip()),
            remote_id: pad.remote_id.exact().cloned().unwrap_or_else(anybody),
            prf: init.choice.suite.prf,
            octets: Secret::from_slice(received),
            local_auth: pad.local_auth.clone(),
            remote_auth: pad.remote_auth.clone(),
            announced: Announced::default(),
        }));
        Ok(Self { job, ours: sent.shared, init })
    }

    /// Whether this is the job.
    pub(crate) fn is_for(&self, job: JobId) -> bool {
        self.job == job
    }

    /// The secret of the exchange: `ss_r | ss_i`, that in the initiator's ciphertext first.
    ///
    /// # Errors
    ///
    /// [`FailureReason::NoStaticKem`] if our private key is not here.
    pub(crate) fn secret(&self, result: AuthResult, core: &Core) -> Result<Secret, FailureReason> {
        let AuthResult::Derived(theirs) = result else {
            return Err(FailureReason::NoStaticKem(StaticKemGap::Missing));
        };
        let (ours, theirs) = (self.ours.as_bytes(), theirs.0.as_bytes());
        Ok(match core.role.is_initiator() {
            true => Secret::concat(&[ours, theirs]),
            false => Secret::concat(&[theirs, ours]),
        })
    }
}

// ---- IKE_AUTH ----

/// Whether a connection has the keys by which the handshake began. The identity that the peer claims
/// later must not lead to a connection with another peer's key.
pub(crate) fn is_same(handshake: &Handshake, core: &Core, connection: &Connection) -> bool {
    let begun_with = core.connection.as_ref().and_then(|begun| begun.pad.static_kem.as_ref());
    match handshake.suite.static_kem {
        Some(_) => begun_with.is_some() && connection.pad.static_kem.as_ref() == begun_with,
        None => connection.pad.static_kem.is_none(),
    }
}
