//! Several authentications of each side in one IKE_AUTH phase (RFC 4739).
//!
//! ```text
//! initiator                                            responder
//! IDi, AUTH, SA, TSi, TSr, N(MULTIPLE_AUTH_SUPPORTED),
//!     N(ANOTHER_AUTH_FOLLOWS)                     -->
//!                                                 <--  IDr, AUTH, N(ANOTHER_AUTH_FOLLOWS)
//! IDi, AUTH                                       -->
//!                                                 <--  IDr, AUTH, SA, TSi, TSr
//! ```
//!
//! A side that is through while the other is not sends nothing in its place. The IKE SA is with the
//! identity of the first round; those of later rounds are checked and found keys by.
//!
//! Declined of the RFC: rounds by EAP. Which rounds there are both sides know beforehand (§2.1): one
//! more or one less than configured is refused.

use adit_db::{AuthSpec, Identity, IdentityPattern, PadEntry};
use adit_wire::iana::NotifyType;
use adit_wire::ikev2::{ChainBuilder, Notify, Payload};

use crate::failure::FailureReason;
use crate::v2::exchange::auth::AuthRequest;
use crate::v2::ike_sa::core::Core;
use crate::v2::rules::Received;

/// How far the authentications of both sides have come.
#[derive(Debug, Default)]
pub(crate) struct Rounds {
    /// Both sides can do several.
    pub(crate) agreed: bool,
    /// Message id of the first IKE_AUTH request: it is signed (RFC 9242 §3.3.2).
    pub(crate) first_id: u32,
    /// Rounds of ours that are over.
    pub(crate) ours: usize,
    /// Rounds of the peer that are over.
    pub(crate) theirs: usize,
    /// The peer has announced no further round.
    pub(crate) theirs_done: bool,
    /// Each side has one round, whatever is configured.
    is_single: bool,
    /// Who we are in the round under way, if it is not the first.
    local_id: Option<Identity>,
    /// Who the peer is in its newest round, if that is not the first.
    remote_id: Option<Identity>,
    /// Responder: what the first request asked for.
    pub(crate) request: Option<Box<AuthRequest>>,
}

impl Rounds {
    /// Of a handshake in which both sides can do several, or not.
    pub(crate) fn begun(agreed: bool) -> Self {
        Self { agreed, ..Self::default() }
    }

    /// Of a session that is resumed: whoever had to has proven all when it began (RFC 5723 §4.3.3).
    pub(crate) fn single() -> Self {
        Self { is_single: true, ..Self::default() }
    }

    /// The rounds after the first, as they are configured.
    fn more<'a, T>(&self, configured: &'a [T]) -> &'a [T] {
        if self.is_single { &[] } else { configured }
    }

    /// The identities that the round under way is about.
    pub(crate) fn identities<'a>(
        &'a self,
        core: &'a Core,
    ) -> (Option<&'a Identity>, Option<&'a Identity>) {
        let local = self.local_id.as_ref().or(core.local_id.as_ref());
        (local, self.remote_id.as_ref().or(core.remote_id.as_ref()))
    }

    /// Begins our next round, if there is one: who we are in it.
    pub(crate) fn next_of_ours(&mut self, pad: &PadEntry, core: &Core) -> Option<Identity> {
        let local_address = core.path.local.ip();
        let Some(later) = self.ours.checked_sub(1) else {
            return Some(pad.local_id(local_address));
        };
        let round = self.more(&pad.more_local).get(later)?;
        let by_default = || match round.auth.is_null() {
            true => Identity::Null,
            false => local_address.into(),
        };
        let id = round.id.clone().unwrap_or_else(by_default);
        self.local_id = Some(id.clone());
        // The secret is that of the two names of a round, of which the peer has not said its own yet.
        if let Some(expected) =
            self.more(&pad.more_remote).get(later).and_then(|round| round.id.exact())
        {
            self.remote_id = Some(expected.clone());
        }
        Some(id)
    }

    /// How we prove who we are in the round under way.
    pub(crate) fn our_auth<'a>(&self, pad: &'a PadEntry) -> &'a AuthSpec {
        let later =
            self.ours.checked_sub(1).and_then(|later| self.more(&pad.more_local).get(later));
        later.map_or(&pad.local_auth, |round| &round.auth)
    }

    /// How the peer proves who it is in the round under way.
    pub(crate) fn their_auth<'a>(&self, pad: &'a PadEntry) -> &'a AuthSpec {
        self.next_of_theirs(pad).map_or(&pad.remote_auth, |(_, auth)| auth)
    }

    /// Whether we prove something after the round under way.
    pub(crate) fn ours_follow(&self, pad: &PadEntry) -> bool {
        self.ours < self.more(&pad.more_local).len()
    }

    /// Whether all our rounds are over.
    pub(crate) fn ours_done(&self, pad: &PadEntry) -> bool {
        self.ours > self.more(&pad.more_local).len()
    }

    /// What the peer's next round has to be; `None` if there is to be none.
    pub(crate) fn next_of_theirs<'a>(
        &self,
        pad: &'a PadEntry,
    ) -> Option<(&'a IdentityPattern, &'a AuthSpec)> {
        let Some(later) = self.theirs.checked_sub(1) else {
            return Some((&pad.remote_id, &pad.remote_auth));
        };
        self.more(&pad.more_remote).get(later).map(|round| (&round.id, &round.auth))
    }

    /// Takes who the peer is in the round under way. The IKE SA is with the first who proves it.
    pub(crate) fn take_peer(&mut self, identity: Identity, core: &mut Core) {
        let is_known = core.remote_id.as_ref().is_some_and(|known| *known != Identity::Null);
        if self.theirs == 0 || !is_known {
            core.remote_id = Some(identity);
            self.remote_id = None;
        } else {
            self.remote_id = Some(identity);
        }
    }

    /// Whether the peer announces as many rounds as are configured.
    ///
    /// # Errors
    ///
    /// [`FailureReason::WrongRounds`].
    pub(crate) fn check_announcement(
        &self,
        another: bool,
        pad: &PadEntry,
    ) -> Result<(), FailureReason> {
        let expected = self.more(&pad.more_remote).len();
        if another == (self.theirs < expected) && (self.agreed || !another) {
            return Ok(());
        }
        Err(FailureReason::WrongRounds { expected: expected.saturating_add(1), more: another })
    }
}

/// Whether the sender has another round to come.
pub(crate) fn is_announced(received: &Received<'_>) -> bool {
    received.has_notify(NotifyType::ANOTHER_AUTH_FOLLOWS)
}

/// Announces another round of ours.
pub(crate) fn put_announcement(chain: &mut ChainBuilder) {
    chain.put(&Payload::Notify(Notify::new(NotifyType::ANOTHER_AUTH_FOLLOWS, &[])));
}

/// Says that we can do several rounds.
pub(crate) fn put_support(chain: &mut ChainBuilder) {
    chain.put(&Payload::Notify(Notify::new(NotifyType::MULTIPLE_AUTH_SUPPORTED, &[])));
}

/// Whether the peer can do several rounds.
pub(crate) fn is_supported(received: &Received<'_>) -> bool {
    received.has_notify(NotifyType::MULTIPLE_AUTH_SUPPORTED)
}

/// Whether an error notify beside no AUTH payload is about the child alone: all authentications are
/// over when it comes (RFC 7296 §1.2).
pub(crate) fn is_about_child(received: &Received<'_>) -> bool {
    let kinds = [
        NotifyType::NO_PROPOSAL_CHOSEN,
        NotifyType::TS_UNACCEPTABLE,
        NotifyType::SINGLE_PAIR_REQUIRED,
        NotifyType::INTERNAL_ADDRESS_FAILURE,
        NotifyType::FAILED_CP_REQUIRED,
    ];
    received.error().is_some_and(|error| kinds.contains(&error.kind))
}
