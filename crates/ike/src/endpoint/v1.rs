//! IKE SAs of IKEv1 among the others (RFC 2409): who may begin one, what one means for connections and
//! for those beside it. The flow of messages is in `crate::v1`.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use adit_crypto::Rng;
use adit_db::{ChildName, ChildSaId, Connection, ConnectionName, IkeSaId, Unique};
use adit_wire::Reader;
use adit_wire::iana::isakmp::{ExchangeType, NotifyType};
use adit_wire::ip::FlowKey;
use adit_wire::isakmp::{Header, Sa};

use crate::command::Path;
use crate::context::Context;
use crate::event::Event;
use crate::failure::{By, Failure, FailureReason};
use crate::keep::{Attempt, Stage};
use crate::keymat::Role;
use crate::output::Output;
use crate::timers::TimerOwner;
use crate::v1::ike_sa::IkeSa;
use crate::v1::{
    self, Core, Exchange, Phase1, Received, choose_phase1, claimed_identity, ec2n, encryption,
    refusal,
};

use super::Endpoint;

/// Octets of a first message; what a stranger makes us keep is bounded by it.
const OPENING_OCTETS_MAX: usize = 4_096;

/// Two phase 1s of opposite initiators that come up within this time have crossed: both ends keep the
/// same one.
const CROSSING: Duration = Duration::from_secs(10);

/// Whose connection refuses an opening, what the peer hears and what the operator.
type Refusal = Box<(ConnectionName, NotifyType, FailureReason)>;

/// No suite of the connection is in the offer.
fn no_suite(connection: &Arc<Connection>, offer: Option<&Sa<'_>>) -> Refusal {
    let (by, ours, theirs) = (By::Us, connection.proposals.clone(), Vec::new());
    let reason = match offer.and_then(ec2n::alone) {
        Some(groups) => FailureReason::Ec2nAlone { groups, ours },
        None => FailureReason::NoCommonIkeSuite { by, ours, theirs },
    };
    Box::new((connection.name.clone(), NotifyType::NO_PROPOSAL_CHOSEN, reason))
}

/// A phase 1 with encrypted nonces is not allowed, or there is no common suite. Who the peer is it has said
/// to nobody: its address has to do.
fn encrypted_refusal(connection: &Arc<Connection>, exchange: Exchange, path: Path) -> Refusal {
    if exchange.is_for(connection) {
        return no_suite(connection, None);
    }
    let (exchange, remote) = (exchange.named(), path.remote.ip().into());
    let reason = FailureReason::AggressiveRefused { exchange, remote };
    Box::new((connection.name.clone(), NotifyType::UNSUPPORTED_EXCHANGE_TYPE, reason))
}

impl Endpoint {
    /// Takes one datagram of IKEv1.
    pub(super) fn handle_v1_datagram(
        &mut self,
        path: Path,
        octets: &[u8],
        now: Instant,
        rng: &mut dyn Rng,
    ) {
        let Ok(header) = Header::read(&mut Reader(octets)) else { return };
        if path.is_tcp() {
            return;
        }
        // A refusal has no cookie of who refuses: it keeps nothing.
        let is_opening = header.exchange != ExchangeType::INFORMATIONAL;
        if header.cookie_r.is_zero() && is_opening {
            return self.handle_v1_opening(path, &header, octets, now, rng);
        }
        if let Some(id) = self.v1.addressee(&header) {
            self.with_v1(id, now, rng, |sa, cx| sa.handle_datagram(path, &header, octets, cx));
        }
    }

    /// Takes the first message of a phase 1. Until it is accepted it leaves nothing behind, and what
    /// it leaves then is bounded with all that is half-open. There is no cookie to ask for first: the
    /// responder has to choose before it knows that the address is real (RFC 2409 §5).
    fn handle_v1_opening(
        &mut self,
        path: Path,
        header: &Header,
        octets: &[u8],
        now: Instant,
        rng: &mut dyn Rng,
    ) {
        if let Some(id) = self.v1.begun_by(path.remote, header.cookie_i) {
            self.with_v1(id, now, rng, |sa, cx| sa.handle_datagram(path, header, octets, cx));
            return;
        }
        let Some(exchange) = Exchange::from_type(header.exchange) else { return };
        let is_sensible = header.message_id == 0 && !header.flags.is_encrypted();
        if !is_sensible || octets.len() > OPENING_OCTETS_MAX || self.shutting_down {
            return;
        }
        if self.handle_encrypted_opening(path, header, exchange, octets, now, rng) {
            return;
        }
        let body = octets.get(Header::LEN..).unwrap_or_default();
        let Ok(received) = Received::clear(header.next_payload, body) else { return };
        let Some(sa) = &received.sa else { return };
        if self.check_room(path).is_err() {
            return;
        }
        let candidates = match self.v1_candidates(path, exchange, &received) {
            Ok(candidates) => candidates,
            Err(refused) => return self.refuse_v1_opening(path, header, refused, now, rng),
        };
        let chosen = candidates.iter().find_map(|connection| {
            Some((choose_phase1(connection, sa, exchange)?, Arc::clone(connection)))
        });
        let Some((choice, connection)) = chosen else {
            let refused = candidates.first().map(|connection| no_suite(connection, Some(sa)));
            return self.refuse_v1_opening(path, header, refused, now, rng);
        };
        let is_short = octets.len() < choice.answer_octets(exchange);
        if is_short && !self.admission.may_answer(now) {
            return;
        }
        let mut cx = self.context(now, rng);
        let mut core = Core::new(Role::Responder, connection, path, &mut cx);
        core.cookie_i = header.cookie_i;
        let phase1 = Phase1::answer(exchange, octets, &received, choice, &mut core, &mut cx);
        if let Ok(phase1) = phase1 {
            let id = core.id;
            self.v1.insert(IkeSa::respond(core, v1::Attempt::Plain(phase1)));
            self.refresh_v1(id, now);
            self.settle(now, rng);
        }
    }

    /// Takes a first message for a connection that wants nonces encrypted. Whether it was one.
    fn handle_encrypted_opening(
        &mut self,
        path: Path,
        header: &Header,
        exchange: Exchange,
        octets: &[u8],
        now: Instant,
        rng: &mut dyn Rng,
    ) -> bool {
        let candidates = self.connections.of_v1(path);
        let candidates: Vec<_> =
            candidates.into_iter().filter(|one| one.nonce_encryption.is_some()).cloned().collect();
        let Some(first) = candidates.first() else { return false };
        let opening = match encryption::Opening::read(header, exchange, octets, &candidates) {
            Ok(opening) => opening,
            Err(encryption::Unfit::Other) => return false,
            Err(encryption::Unfit::Refused) => {
                let refused = encrypted_refusal(first, exchange, path);
                self.refuse_v1_opening(path, header, Some(refused), now, rng);
                return true;
            }
        };
        if self.check_room(path).is_ok() {
            let mut cx = self.context(now, rng);
            if let Some((core, phase1)) = opening.answer(path, &mut cx) {
                let id = core.id;
                self.v1.insert(IkeSa::respond(core, v1::Attempt::Encrypted(phase1)));
                self.refresh_v1(id, now);
                self.settle(now, rng);
            }
        }
        true
    }

    /// The connections that a first message may be for. That of aggressive and base mode says who the peer
    /// is: only those that are for it and for that mode.
    fn v1_candidates(
        &self,
        path: Path,
        exchange: Exchange,
        received: &Received<'_>,
    ) -> Result<Vec<Arc<Connection>>, Option<Refusal>> {
        if exchange == Exchange::Main {
            return Ok(self.connections.of_v1(path).into_iter().cloned().collect());
        }
        let Some(identity) = claimed_identity(received) else { return Err(None) };
        let known = self.connections.of_v1_accepting(path, &identity);
        let open: Vec<_> = known
            .iter()
            .filter(|connection| exchange.is_for(connection))
            .map(|&connection| Arc::clone(connection))
            .collect();
        if !open.is_empty() {
            return Ok(open);
        }
        let (named, remote) = (exchange.named(), identity.clone());
        let reason = FailureReason::AggressiveRefused { exchange: named, remote };
        if let Some(connection) = known.first() {
            let notify = NotifyType::UNSUPPORTED_EXCHANGE_TYPE;
            return Err(Some(Box::new((connection.name.clone(), notify, reason))));
        }
        let others = self.connections.of_v1(path);
        let open = others.iter().find(|connection| exchange.is_for(connection));
        let Some(connection) = open else { return Err(None) };
        let expected = vec![(connection.name.clone(), connection.pad.remote_id.clone())];
        let reason = FailureReason::UnknownPeer { remote: identity, local: None, expected };
        let notify = NotifyType::INVALID_ID_INFORMATION;
        Err(Some(Box::new((connection.name.clone(), notify, reason))))
    }

    /// Tells the operator and the peer about an opening that no connection takes. Where there is no
    /// connection of IKEv1 for an address, nobody hears anything.
    fn refuse_v1_opening(
        &mut self,
        path: Path,
        header: &Header,
        refused: Option<Refusal>,
        now: Instant,
        rng: &mut dyn Rng,
    ) {
        let Some(refused) = refused else { return };
        let (connection, notify, reason) = *refused;
        if !self.admission.may_answer(now) {
            return;
        }
        let mut cx = self.context(now, rng);
        let refusal = refusal(header, notify, &mut cx);
        if let Some(octets) = refusal {
            self.out.push(Output::Transmit { path, octets });
        }
        self.out.event(Event::Failed(Box::new(Failure {
            connection: Some(connection),
            child: None,
            remote: Some(path.remote),
            initiator: false,
            reason,
            elapsed: Duration::ZERO,
            peer_says: None,
        })));
    }

    // ---- Attempts ----

    /// Begins a phase 1 for a connection.
    pub(super) fn connect_v1(
        &mut self,
        connection: Arc<Connection>,
        path: Path,
        wanted: Option<(ChildName, Option<FlowKey>)>,
        started: Instant,
        now: Instant,
        rng: &mut dyn Rng,
    ) -> Result<IkeSaId, FailureReason> {
        let is_replicated = connection.unique == Unique::Replicated;
        let is_first = !is_replicated && self.v1.of(&connection.name).all(IkeSa::is_connecting);
        let mut cx = self.context(now, rng);
        let mut core = Core::new(Role::Initiator, connection, path, &mut cx);
        core.started = started;
        let id = core.id;
        let sa = IkeSa::initiate(core, wanted, is_first, &mut cx)?;
        self.v1.insert(sa);
        self.refresh_v1(id, now);
        Ok(id)
    }

    /// Begins the phase 1 that takes the place of another, unless one is under way.
    pub(super) fn renew_v1(&mut self, old: IkeSaId, now: Instant, rng: &mut dyn Rng) {
        let Some(sa) = self.v1.get(old).filter(|_| !self.shutting_down) else { return };
        let connection = Arc::clone(&sa.core.connection);
        if sa.core.leash.is_on() && !sa.is_dormant() {
            // Whether the peer is where it seems to be shows in a moment, or it is gone.
            return;
        }
        // Without a phase 1 nothing shows it any more: it is asked where it was when it last did.
        let old_path = sa.core.leash.home().unwrap_or(sa.core.path);
        if self.v1.of(&connection.name).any(IkeSa::is_connecting) {
            return;
        }
        let ports = connection.ports;
        let local_port = if ports.local == 0 { self.config.ike_port } else { ports.local };
        let path = match sa.core.encapsulation().udp {
            // A NAT may let us reach the peer nowhere else (RFC 3947 §4).
            true => old_path,
            false => Path::udp(
                SocketAddr::new(old_path.local.ip(), local_port),
                SocketAddr::new(old_path.remote.ip(), ports.remote),
            ),
        };
        // Whether it comes about shows in time: the old one asks again.
        let _ = self.connect_v1(connection, path, None, now, now, rng);
    }

    /// The newest IKE SA of IKEv1 on which a child can be asked for.
    pub(super) fn established_v1(&self, name: &ConnectionName) -> Option<IkeSaId> {
        let usable = |sa: &&IkeSa| sa.is_established() && !sa.is_superseded();
        self.v1.of(name).rfind(usable).map(|sa| sa.core.id)
    }

    /// Asks for a child on an IKE SA, of whichever version it is.
    pub(super) fn create_child_on(
        &mut self,
        ike: IkeSaId,
        child: ChildName,
        flow: Option<FlowKey>,
        now: Instant,
        rng: &mut dyn Rng,
    ) {
        if self.v1.contains(ike) {
            self.touch_v1(ike, now, rng, |sa, cx| sa.create_child(child, flow, cx));
        } else {
            self.touch(ike, now, rng, |sa, cx| sa.create_child(child, flow, cx));
        }
    }

    // ---- What one means for the others ----

    /// A phase 1 is complete: it takes the place of others with the same peer.
    pub(super) fn handle_v1_established(
        &mut self,
        ike: IkeSaId,
        initial_contact: bool,
        now: Instant,
        rng: &mut dyn Rng,
    ) {
        if self.is_v1_refused(ike, initial_contact) {
            return self.touch_v1(ike, now, rng, |sa, cx| sa.refuse(FailureReason::NotUnique, cx));
        }
        let Some(sa) = self.v1.get(ike) else { return };
        let name = sa.core.connection_name().clone();
        let began = sa.core.started;
        if initial_contact {
            let mut others = self.v1_forgotten(ike);
            others.retain(|old| !self.may_cross(*old, now));
            for old in others {
                // The peer said so when it began: what has come up since is none of what it has forgotten.
                let info = self.v1.get(old).and_then(IkeSa::info);
                if info.and_then(|info| info.established).is_some_and(|since| since > began) {
                    continue;
                }
                self.touch_v1(old, now, rng, |sa, cx| sa.abandon(FailureReason::Replaced, cx));
            }
        }
        let others: Vec<IkeSaId> = self.v1.of(&name).map(|sa| sa.core.id).collect();
        for other in others {
            self.touch_v1(other, now, rng, |sa, _| sa.is_not_first());
        }
        let is_said = initial_contact || self.v1.get(ike).is_some_and(IkeSa::says_first);
        let renews = self.adopt_v1(ike, now, rng);
        if !renews {
            self.touch_v1(ike, now, rng, IkeSa::announce);
        }
        if !renews && !is_said {
            // The peer renews what it takes for alive, and we have forgotten; or what we began to renew went
            // before we had said that we have nothing.
            self.touch_v1(ike, now, rng, IkeSa::tell_forgotten);
        }
        let Some(keeper) = self.keepers.get_mut(&name) else { return };
        match keeper.attempt().map(|attempt| &attempt.stage) {
            Some(Stage::Connecting(own)) if *own == ike => {
                keeper.end_attempt();
            }
            _ => self.leave_attempt(&name, now, rng),
        }
        if let Some(keeper) = self.keepers.get_mut(&name) {
            keeper.ike_up(&mut self.out);
        }
        self.pursue(&name, now, rng);
    }

    /// A child has failed: if AH cannot pass a NAT, the phase 1s with that peer that have no children go, so that the
    /// next one looks again.
    pub(super) fn doubt_nat_of_v1(
        &mut self,
        name: &ConnectionName,
        (reason, remote): (&FailureReason, Option<SocketAddr>),
        now: Instant,
        rng: &mut dyn Rng,
    ) {
        if !matches!(reason, FailureReason::AhThroughNat { .. }) {
            return;
        }
        let is_with_peer = |sa: &&IkeSa| Some(sa.core.path.remote) == remote;
        let with_peer = self.v1.of(name).filter(is_with_peer);
        let those: Vec<IkeSaId> = with_peer.map(|sa| sa.core.id).collect();
        for ike in those {
            self.touch_v1(ike, now, rng, |sa, cx| sa.look_for_nat_again(reason.clone(), cx));
        }
    }

    /// Whether the peer may have begun anew without knowing of this one, as we began it at the same time:
    /// that it knows of no other says nothing then.
    fn may_cross(&self, ike: IkeSaId, now: Instant) -> bool {
        self.v1.get(ike).is_some_and(|sa| {
            let age = now.saturating_duration_since(sa.core.started);
            sa.core.role.is_initiator() && sa.is_established() && age < CROSSING
        })
    }

    /// Gives what others with the same peer have to a new one, or where two have crossed to the one
    /// that both ends keep. Whether there was another.
    fn adopt_v1(&mut self, new: IkeSaId, now: Instant, rng: &mut dyn Rng) -> bool {
        let others = self.v1_beside(new);
        let crossed = |old: &&IkeSaId| {
            let (Some(new), Some(old)) = (self.v1.get(new), self.v1.get(**old)) else {
                return false;
            };
            // Counted from when it was complete: that both ends saw at nearly the same time.
            let young = |since| now.saturating_duration_since(since) < CROSSING;
            let is_young = old.is_established() && old.established_at().is_some_and(young);
            let (a, b) = (&new.core, &old.core);
            is_young && a.role != b.role && a.cookie_i < b.cookie_i
        };
        let survivor = others.iter().find(crossed).copied().unwrap_or(new);
        let losers: Vec<IkeSaId> =
            others.iter().copied().chain([new]).filter(|id| *id != survivor).collect();
        for old in losers {
            self.hand_over_v1(old, survivor, now, rng);
        }
        !others.is_empty()
    }

    fn hand_over_v1(&mut self, old: IkeSaId, new: IkeSaId, now: Instant, rng: &mut dyn Rng) {
        // Who has begun the new one deletes the old one; the other waits for that, and may hear of it on
        // the old one until then.
        let by_us = self.v1.get(new).is_some_and(|sa| sa.core.role.is_initiator());
        let is_over = by_us || self.v1.get(old).is_some_and(IkeSa::is_dormant);
        self.bequeath_v1(old, new, is_over, now, rng);
    }

    /// Gives what an IKE SA has to another one; if it `is_over` it goes at once.
    fn bequeath_v1(
        &mut self,
        old: IkeSaId,
        new: IkeSaId,
        is_over: bool,
        now: Instant,
        rng: &mut dyn Rng,
    ) {
        let wait = self.patience_with(old, new);
        let is_known = self.v1.get(old).is_some_and(IkeSa::is_superseded);
        let Some(sa) = self.v1.get_mut(old) else { return };
        let given = sa.give_away(!is_over, (wait, now));
        let known = sa.give_knowledge();
        let before = self.v1.get(old).and_then(IkeSa::info);
        self.touch_v1(new, now, rng, |sa, cx| {
            sa.take_knowledge(known, cx.now);
            sa.adopt(given, cx);
        });
        let after = self.v1.get(new).and_then(IkeSa::info);
        if let (Some(old), Some(new)) = (before, after)
            && !is_known
        {
            self.out.event(Event::IkeRekeyed { old: Box::new(old), new: Box::new(new) });
        }
        if is_over {
            self.touch_v1(old, now, rng, IkeSa::retire);
        }
        self.touch_v1(new, now, rng, IkeSa::go_on);
    }

    // ---- Helpers ----

    /// Lets an IKE SA take an input, and draws the consequences for everything around it.
    pub(super) fn with_v1(
        &mut self,
        id: IkeSaId,
        now: Instant,
        rng: &mut dyn Rng,
        input: impl FnOnce(&mut IkeSa, &mut Context<'_>),
    ) {
        self.touch_v1(id, now, rng, input);
        self.hand_over_stragglers(id, now, rng);
        self.settle(now, rng);
    }

    /// One that lost its phase 1 after another had come, or made a child then: that goes there.
    fn hand_over_stragglers(&mut self, id: IkeSaId, now: Instant, rng: &mut dyn Rng) {
        if self.v1.get(id).is_some_and(IkeSa::has_stragglers)
            && let Some(new) = self.heir_of(id)
        {
            self.touch_v1(new, now, rng, IkeSa::revive);
            self.hand_over_v1(id, new, now, rng);
        }
    }

    /// Lets an IKE SA take an input; the consequences are drawn later.
    pub(super) fn touch_v1(
        &mut self,
        id: IkeSaId,
        now: Instant,
        rng: &mut dyn Rng,
        input: impl FnOnce(&mut IkeSa, &mut Context<'_>),
    ) {
        let Some(sa) = self.v1.get_mut(id) else { return };
        let mut cx = Context {
            now,
            rng,
            config: &self.config,
            connections: &self.connections,
            roster: &self.roster,
            addresses: &self.addresses,
            out: &mut self.out,
        };
        input(sa, &mut cx);
        self.refresh_v1(id, now);
    }

    /// Brings the indexes up to date with an IKE SA.
    fn refresh_v1(&mut self, id: IkeSaId, now: Instant) {
        self.v1.update(id);
        let Some(sa) = self.v1.get(id) else { return };
        self.admission.count(id, sa.core.path.remote.ip(), sa.is_half_open());
        if sa.is_closed() {
            self.admission.forget(id);
            self.out.forget_auth(id);
            self.out.pools.release(id);
            if let Some(timer) = self.v1.remove(id) {
                self.timers.clear(timer);
            }
            return;
        }
        let at = sa.poll_timeout();
        if let Some(timer) = self.v1.timer(id) {
            self.timers.set(timer, at, now, || TimerOwner::Ike(id));
        }
    }

    /// Closes an IKE SA, of whichever version it is.
    pub(super) fn close_any(
        &mut self,
        id: IkeSaId,
        reason: FailureReason,
        now: Instant,
        rng: &mut dyn Rng,
    ) {
        if self.v1.contains(id) {
            self.touch_v1(id, now, rng, |sa, cx| sa.close(reason, cx));
        } else {
            self.touch(id, now, rng, |sa, cx| sa.close(reason, cx));
        }
    }

    /// Deletes a child, of whichever version its IKE SA is.
    pub(super) fn delete_child_of(
        &mut self,
        ike: IkeSaId,
        child: ChildSaId,
        reason: FailureReason,
        now: Instant,
        rng: &mut dyn Rng,
    ) {
        if self.v1.contains(ike) {
            self.touch_v1(ike, now, rng, |sa, cx| sa.end_child(child, reason, cx));
        } else {
            self.touch(ike, now, rng, |sa, cx| sa.delete_child(child, reason, cx));
        }
    }

    /// Notes an attempt for a connection.
    pub(super) fn begin_connecting(
        &mut self,
        name: &ConnectionName,
        started: Instant,
        ike: IkeSaId,
    ) {
        if let Some(keeper) = self.keepers.get_mut(name) {
            keeper.begin(Attempt { started, stage: Stage::Connecting(ike) });
        }
    }
}

mod standing;
mod unique;

#[cfg(test)]
mod tests;
