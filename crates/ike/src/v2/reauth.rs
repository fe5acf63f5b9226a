//! Repeated authentication (RFC 4478), make before break (RFC 7296 §2.8.3): a whole new IKE SA with the
//! same children is up before the old one goes.
//!
//! Who answered an IKE SA says in AUTH_LIFETIME how long its authentication is good for; who asked for
//! it begins again in time. If it does not, the other side does so itself if it can, and deletes the
//! IKE SA at the end. A session that is resumed (RFC 5723) goes on with the time that it had left, as
//! nobody has authenticated anew.
//!
//! What a host tells from a peer that has lost its state: no INITIAL_CONTACT, the same two identities,
//! the same address. Then the old IKE SA stays for a while, and traffic stays on its children until
//! the peer surely has the new ones.
//!
//! What a side has proven with a certificate is good no longer than that (RFC 4301 §4.4.3.4): a new IKE SA
//! is tried before, in case that somebody has renewed it, and at the end the old one is deleted whatever is
//! configured.
//!
//! Declined of the RFC: AUTH_LIFETIME in INFORMATIONAL is obeyed and never sent ("MAY"): a changed
//! configuration holds for the next IKE SA.

use std::time::{Duration, Instant};

use adit_db::Connection;
use adit_wire::iana::NotifyType;
use adit_wire::ikev2::{ChainBuilder, Notify, Payload};

use crate::context::{Context, Notice};
use crate::event::AuthLimit;
use crate::failure::FailureReason;
use crate::keymat::Role;
use crate::lifetime::{FLOOR_SECONDS, Origin};
use crate::v2::child::Child;
use crate::v2::established::Established;
use crate::v2::exchange::rekey_child::known_before;
use crate::v2::handshake::Resumed;
use crate::v2::ike_sa::core::Core;
use crate::v2::null_auth;
use crate::v2::rules::Received;

/// When authentication is to be repeated, and what hangs on it.
#[derive(Debug, Default, Eq, PartialEq)]
pub(crate) struct Reauth {
    /// When we begin.
    pub(crate) at: Option<Instant>,
    /// When what the peer has proven is good no more, by our own limit.
    pub(crate) proven_until: Option<Instant>,
    /// When the IKE SA is deleted if nobody has.
    over_at: Option<Instant>,
    /// Another has taken its place, whose maker is to delete it.
    superseded: bool,
    /// Until when another may be there whose place this one takes, and whose children carry traffic so far.
    succeeds_until: Option<Instant>,
    /// When its children carry that traffic, though nobody has said that the peer has them.
    takes_over_at: Option<Instant>,
    /// What the times come from, each origin once.
    limits: Vec<AuthLimit>,
}

/// How long the peer takes our authentication for good (RFC 4478 §3).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct AuthLifetime(Duration);

/// An IKE SA does not get a successor sooner, whatever the peer says (RFC 4478 §5).
const EARLIEST: Duration = Duration::from_secs(10);

/// How long before a proof ends an attempt begins, at most; less than that it is a tenth of what is left.
const LEAD_MAX: Duration = Duration::from_hours(1);

/// With less left, nobody has renewed a certificate: attempts would follow each other ever faster.
const LEAST_LEFT: Duration = Duration::from_secs(FLOOR_SECONDS);

/// Wait after an attempt that failed, plus up to half as much again at random.
const RETRY_WAIT: Duration = Duration::from_secs(20);

/// How long a peer may take to delete an IKE SA that it has replaced.
const SUPERSEDED_WAIT: Duration = Duration::from_secs(10);

/// A peer has installed what we have agreed on within this time, though it had to ask for our answer three
/// times. One that has lost its state and does not say so gets nothing before.
const TAKEOVER_WAIT: Duration = Duration::from_secs(5);

impl AuthLifetime {
    /// Takes it out of a message.
    pub(crate) fn read(received: &Received<'_>) -> Option<Self> {
        let notify = received.notify(NotifyType::AUTH_LIFETIME)?;
        let seconds = <[u8; 4]>::try_from(notify.data).ok()?;
        Some(Self(Duration::from_secs(u32::from_be_bytes(seconds).into())))
    }
}

/// Responder: says how long the peer's authentication is good for, if there is a limit.
//= https://www.rfc-editor.org/rfc/rfc4478#section-2
//# The Responder MUST send this information to the Initiator in an AUTH_LIFETIME notification either
//# in the last message of an IKE_AUTH exchange, or in an INFORMATIONAL request
pub(crate) fn put_lifetime(established: &Established, now: Instant, chain: &mut ChainBuilder) {
    let until = established.reauth.as_ref().and_then(|reauth| reauth.proven_until);
    let Some(time) = until.map(|until| until.saturating_duration_since(now)) else { return };
    let seconds = u32::try_from(time.as_secs()).unwrap_or(u32::MAX).to_be_bytes();
    chain.put(&Payload::Notify(Notify::new(NotifyType::AUTH_LIFETIME, &seconds)));
}

/// The clock of an IKE SA that has just been established; none if there is no limit. `lifetime` is what
/// the responder says, `repeats` whether it takes the place of another, `resumed` the session that it goes
/// on with.
pub(crate) fn begin(
    lifetime: Option<AuthLifetime>,
    repeats: bool,
    resumed: Option<&Resumed>,
    core: &mut Core,
    cx: &mut Context<'_>,
) -> Option<Box<Reauth>> {
    let mut reauth = Reauth::default();
    let certificate = core.take_proof_end();
    if let Some(connection) = core.connection.as_ref()
        && let Some(until) = proven_until(connection, resumed, cx.now)
    {
        reauth.note(Origin::Configured, configured(connection, cx.now));
        let left = until.saturating_duration_since(cx.now);
        // Rekeying may have more time for it.
        let rand_time = connection.rand_time.min(left / 10);
        let rand_ms = u64::try_from(rand_time.as_millis()).unwrap_or(u64::MAX);
        let jitter = Duration::from_millis(cx.rng.next_u64() % rand_ms.saturating_add(1));
        // The responder comes after the initiator, and only if that has not.
        let time = match core.role {
            Role::Initiator => left.saturating_sub(jitter),
            Role::Responder => left,
        };
        reauth.at = can_begin(core).then(|| cx.now + time.max(EARLIEST));
        let over_time = Some(connection.over_time).filter(|time| !time.is_zero());
        reauth.over_at = over_time.map(|time| until + time);
        reauth.proven_until = Some(until);
    }
    let left_over = resumed.and_then(|resumed| resumed.authenticated_until);
    reauth.note(Origin::Ticket, left_over);
    // A ticket does not say what its end comes from: it may be that of a certificate.
    let signed = core.connection.as_ref().is_some_and(|connection| {
        let pad = &connection.pad;
        pad.local_auth.signature().is_some() || pad.remote_auth.signature().is_some()
    });
    if let Some(lifetime) = lifetime {
        reauth.limit(lifetime, cx.now, cx.now);
    }
    if let Some(until) = left_over.filter(|_| signed) {
        reauth.end_at(until, core, cx.now);
    }
    if let Some(AuthLimit { origin, until }) = certificate {
        reauth.note(origin, Some(until));
        reauth.end_at(until, core, cx.now);
    }
    reauth.takes_over_at = repeats.then(|| cx.now + TAKEOVER_WAIT);
    reauth.succeeds_until = repeats.then(|| cx.now + SUPERSEDED_WAIT);
    (reauth != Reauth::default()).then(|| Box::new(reauth))
}

/// When what the peer has proven is good no more, if there is a limit.
fn proven_until(
    connection: &Connection,
    resumed: Option<&Resumed>,
    now: Instant,
) -> Option<Instant> {
    let before = resumed.and_then(|resumed| resumed.authenticated_until);
    [configured(connection, now), before].into_iter().flatten().min()
}

/// The same as the configuration has it.
fn configured(connection: &Connection, now: Instant) -> Option<Instant> {
    let time = Some(connection.reauth_time).filter(|time| !time.is_zero());
    time.map(|time| now + time)
}

/// Whether we know where to begin anew. A peer behind a NAT answers nobody it has not called.
pub(crate) fn can_begin(core: &Core) -> bool {
    let can_call = core.connection.as_ref().is_some_and(|connection| connection.can_initiate());
    core.role == Role::Initiator || (can_call && !core.nat.peer_is_behind_nat)
}

/// Responder: whether the peer authenticates anew with an IKE SA that it has with us, rather than after
/// a loss of its state.
pub(crate) fn is_repetition(initial_contact: bool, core: &Core, cx: &Context<'_>) -> bool {
    let (Some(local), Some(remote)) = (&core.local_id, &core.remote_id) else { return false };
    !initial_contact
        && null_auth::is_between_known(local, remote)
        && cx.roster.has_from(local, remote, core.path.remote.ip())
}

fn sooner(before: Option<Instant>, at: Instant) -> Option<Instant> {
    Some(before.map_or(at, |before| before.min(at)))
}

impl Reauth {
    /// Takes what the peer says of an IKE SA that has been up since then.
    //= https://www.rfc-editor.org/rfc/rfc4478#section-2
    //# An Initiator that received an AUTH_LIFETIME notification SHOULD repeat the Initial exchange
    //# within the time indicated in the notification.
    fn limit(&mut self, AuthLifetime(time): AuthLifetime, since: Instant, now: Instant) {
        // A tenth for the exchanges themselves.
        let lead = (time / 10).min(LEAD_MAX);
        let at = (now + (time - lead)).max(since + EARLIEST);
        self.at = sooner(self.at, at);
        self.note(Origin::AuthLifetime, Some(now + time));
    }

    /// Nothing that is proven is good for longer: a successor is tried before, and then it is over.
    fn end_at(&mut self, until: Instant, core: &Core, now: Instant) {
        let left = until.saturating_duration_since(now);
        let lead = (left / 10).min(LEAD_MAX);
        // The responder comes after the initiator, and only if that has not.
        let lead = if core.role.is_initiator() { lead } else { lead / 2 };
        if left < LEAST_LEFT {
            self.at = None;
        } else if can_begin(core) {
            self.at = sooner(self.at, until - lead);
        }
        self.proven_until = sooner(self.proven_until, until);
        self.over_at = sooner(self.over_at, until);
    }

    /// Remembers what a time comes from, instead of what was known of the same origin.
    fn note(&mut self, origin: Origin, until: Option<Instant>) {
        let Some(until) = until else { return };
        self.limits.retain(|known| known.origin != origin);
        self.limits.push(AuthLimit { origin, until });
    }

    /// What the times come from.
    pub(crate) fn limits(&self) -> Vec<AuthLimit> {
        self.limits.clone()
    }

    /// When the authentication is good no more, as this side sees it.
    pub(crate) fn ends_at(&self) -> Option<Instant> {
        [self.at, self.proven_until, self.over_at].into_iter().flatten().min()
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        [self.at, self.over_at, self.takes_over_at].into_iter().flatten().min()
    }
}

impl Established {
    /// Does what is due about authentication.
    pub(crate) fn handle_reauth_timeout(&mut self, core: &Core, cx: &mut Context<'_>) {
        let Some(reauth) = &mut self.reauth else { return };
        let due = |at: &mut Instant| cx.now >= *at;
        if reauth.over_at.take_if(due).is_some() {
            let reason = match reauth.superseded {
                true => FailureReason::Replaced,
                false => FailureReason::LifetimeOver,
            };
            return self.close(reason);
        }
        if reauth.at.take_if(due).is_some() {
            cx.out.notice(Notice::Reauthenticate { ike: core.id });
        }
        if reauth.takes_over_at.is_some_and(|at| cx.now >= at) {
            self.take_over_all(cx);
        }
    }

    /// The peer says in INFORMATIONAL how long our authentication is good for.
    pub(crate) fn limit_auth(&mut self, lifetime: AuthLifetime, core: &Core, cx: &Context<'_>) {
        if can_begin(core) && !self.is_closing() {
            let since = self.since;
            let reauth = self.reauth.get_or_insert_default();
            if !reauth.superseded {
                reauth.limit(lifetime, since, cx.now);
            }
        }
    }

    /// Whether a child that the peer asks for now may have one before it, on the IKE SA whose place this one
    /// takes, that carries its traffic until the peer has our answer.
    pub(crate) fn succeeds_another(&self, now: Instant) -> bool {
        let until = self.reauth.as_ref().and_then(|reauth| reauth.succeeds_until);
        until.is_some_and(|until| now < until)
    }

    /// A child is there that carries nothing until the peer surely has it.
    pub(crate) fn take_over_later(&mut self, now: Instant) {
        if let Some(reauth) = &mut self.reauth {
            reauth.takes_over_at = Some(now + TAKEOVER_WAIT);
        }
    }

    /// The peer has children: they carry what those of the IKE SA before carried. Others it may not have yet.
    pub(crate) fn take_over(&mut self, cx: &mut Context<'_>) {
        if self.reauth.as_ref().is_none_or(|reauth| reauth.takes_over_at.is_none()) {
            return;
        }
        let current = || self.children.iter().filter(|child| child.is_current());
        current().filter(|child| child.is_confirmed()).for_each(|one| self.activate(one.id, cx));
        if current().all(Child::is_confirmed)
            && let Some(reauth) = &mut self.reauth
        {
            reauth.takes_over_at = None;
        }
    }

    /// The IKE SA before is gone: nothing else carries its traffic.
    pub(crate) fn succeed(&mut self, cx: &mut Context<'_>) {
        if let Some(reauth) = &mut self.reauth {
            reauth.succeeds_until = None;
        }
        self.take_over_all(cx);
    }

    fn take_over_all(&mut self, cx: &mut Context<'_>) {
        let waits = self.reauth.as_mut().and_then(|reauth| reauth.takes_over_at.take()).is_some();
        if waits {
            let current = self.children.iter().filter(|child| child.is_current());
            current.for_each(|child| self.activate(known_before(child, self).id, cx));
        }
    }

    /// An attempt to set up a successor has failed.
    pub(crate) fn retry_reauth(&mut self, cx: &mut Context<'_>) {
        let jitter_ms = cx.rng.next_u64() % 10_000;
        let reauth = self.reauth.get_or_insert_default();
        if !reauth.superseded {
            reauth.at = Some(cx.now + RETRY_WAIT + Duration::from_millis(jitter_ms));
        }
    }

    /// The peer has set up a successor and is to delete this one.
    pub(crate) fn supersede(&mut self, cx: &Context<'_>) {
        let reauth = self.reauth.get_or_insert_default();
        let over_at = cx.now + SUPERSEDED_WAIT;
        let over_at = reauth.over_at.map_or(over_at, |before| before.min(over_at));
        (reauth.at, reauth.over_at, reauth.superseded) = (None, Some(over_at), true);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 4478 §2, §5: in time, unless that is unreasonably soon; an earlier time of our own stays.
    #[test]
    fn the_peer_can_only_shorten_the_time() {
        #[expect(clippy::disallowed_methods, reason = "any instant will do")]
        let now = Instant::now();
        let after = |seconds| now + Duration::from_secs(seconds);
        let limited = |at, seconds, age| {
            let mut reauth = Reauth { at, ..Reauth::default() };
            let lifetime = AuthLifetime(Duration::from_secs(seconds));
            reauth.limit(lifetime, now, now + Duration::from_secs(age));
            reauth.at
        };
        assert_eq!(limited(None, 300, 0), Some(after(270)));
        assert_eq!(limited(Some(after(60)), 300, 0), Some(after(60)));
        assert_eq!(limited(Some(after(600)), 300, 0), Some(after(270)));
        assert_eq!(limited(None, 0, 0), Some(after(10)));
        assert_eq!(limited(None, 0, 500), Some(after(500)));
        assert_eq!(limited(None, 864_000, 0), Some(after(860_400)), "an hour before, at most");
    }

    /// What a ticket stands for (RFC 5723) has an end where the IKE SA has none.
    #[test]
    fn what_is_proven_ends_though_nobody_begins_anew_or_insists() {
        #[expect(clippy::disallowed_methods, reason = "any instant will do")]
        let now = Instant::now();
        let (soon, later) = (now + EARLIEST, now + 2 * EARLIEST);
        let reauth = Reauth { proven_until: Some(soon), ..Reauth::default() };
        assert_eq!((reauth.ends_at(), reauth.poll_timeout()), (Some(soon), None));
        let reauth = Reauth { over_at: Some(later), ..reauth };
        assert_eq!((reauth.ends_at(), reauth.poll_timeout()), (Some(soon), Some(later)));
        // A session that is resumed has what is left, but no more than is configured.
        let resumed = |until| Resumed {
            id: Default::default(),
            id_i: Vec::new(),
            id_r: Vec::new(),
            ppk: false,
            authenticated_until: until,
        };
        let mut connection = Connection::new("tunnel".parse().unwrap());
        let until =
            |connection: &Connection, before| proven_until(connection, Some(&resumed(before)), now);
        assert_eq!(until(&connection, None), None);
        assert_eq!(until(&connection, Some(soon)), Some(soon));
        connection.reauth_time = 2 * EARLIEST;
        assert_eq!(until(&connection, None), Some(later));
        assert_eq!(until(&connection, Some(soon)), Some(soon));
        assert_eq!(until(&connection, Some(later + EARLIEST)), Some(later));
    }
}
