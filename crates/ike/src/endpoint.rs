//! All IKE SAs of one host (RFC 7296): dispatch by SPI, timers, uniqueness.
//!
//! | file | what it does |
//! |---|---|
//! | `endpoint/admission` | IKE_SA_INIT requests: half-open limits, cookies, refusals (§2.6) |
//! | `endpoint/orders` | commands of the program |
//! | `endpoint/pursuit` | attempts to bring up what should be up |
//! | `endpoint/notices` | what one IKE SA means for the others (§2.4, §2.8) |

mod admission;
mod notices;
mod orders;
mod pursuit;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Instant;

use adit_crypto::Rng;
use adit_db::{ChildSaId, ConnectionName, IkeSaId};
use adit_wire::Reader;
use adit_wire::iana::{ExchangeType, NotifyType};
use adit_wire::ikev2::{Header, IkeSpi};

use crate::command::{AuthResult, Command, JobId, PacketEvent, Path};
use crate::config::EndpointConfig;
use crate::context::{Connections, Context, Outbox, Roster};
use crate::event::{ConnectionInfo, IkeSaInfo};
use crate::keep::{Keeper, Stage};
use crate::output::Output;
use crate::timers::{TimerOwner, Timers};
use crate::v2::exchange::init;
use crate::v2::ike_sa::IkeSa;

use self::admission::Admission;
use self::orders::Departure;

/// All IKE SAs of one host, the connections they come from and the effort to keep them up.
///
/// Inputs are the `handle_*` methods. After each of them take [`Endpoint::poll_output`] until it
/// returns `None`, then arrange to call [`Endpoint::handle_timeout`] at
/// [`Endpoint::poll_timeout`]. Calling it early or late is harmless.
#[derive(Debug)]
pub struct Endpoint {
    config: EndpointConfig,
    out: Outbox,
    connections: Connections,
    keepers: BTreeMap<ConnectionName, Keeper>,
    sas: BTreeMap<IkeSaId, IkeSa>,
    by_spi: BTreeMap<IkeSpi, IkeSaId>,
    by_connection: BTreeMap<ConnectionName, BTreeSet<IkeSaId>>,
    /// What `by_connection` has each IKE SA under.
    filed: BTreeMap<IkeSaId, ConnectionName>,
    roster: Roster,
    admission: Admission,
    timers: Timers,
    departures: Vec<Departure>,
    shutting_down: bool,
}

impl Endpoint {
    /// An endpoint without connections. It answers nobody until one is loaded.
    pub fn new(config: EndpointConfig) -> Self {
        Self {
            config,
            out: Outbox::default(),
            connections: Connections::new(),
            keepers: BTreeMap::new(),
            sas: BTreeMap::new(),
            by_spi: BTreeMap::new(),
            by_connection: BTreeMap::new(),
            filed: BTreeMap::new(),
            roster: Roster::default(),
            admission: Admission::default(),
            timers: Timers::default(),
            departures: Vec::new(),
            shutting_down: false,
        }
    }

    /// Takes one datagram: an IKE message without a non-ESP marker.
    ///
    /// Hostile octets are fine: what cannot be authenticated changes nothing that is
    /// authenticated, and nothing is answered with more octets than came.
    pub fn handle_datagram(&mut self, path: Path, octets: &[u8], now: Instant, rng: &mut dyn Rng) {
        let Ok(header) = Header::read(&mut Reader(octets)) else { return };
        if !admission::is_plausible(path) {
            return;
        }
        match header.version.major() {
            2 => {}
            // RFC 7296 §2.5. Older versions are other protocols; they get silence.
            major if major > 2 && !header.flags.is_response() => {
                let kind = NotifyType::INVALID_MAJOR_VERSION;
                return self.answer_stranger(path, &header, kind, now);
            }
            _ => return,
        }
        let begins = header.exchange == ExchangeType::IKE_SA_INIT
            && !header.flags.is_response()
            && header.spi_r.is_zero();
        if begins {
            self.handle_init_request(path, &header, octets, now, rng);
            return;
        }
        let ours = if header.flags.is_initiator() { header.spi_r } else { header.spi_i };
        match self.by_spi.get(&ours).copied() {
            Some(id) => {
                self.with_sa(id, now, rng, |sa, cx| sa.handle_datagram(path, &header, octets, cx));
            }
            None if !header.flags.is_response() => {
                self.answer_stranger(path, &header, NotifyType::INVALID_IKE_SPI, now);
            }
            None => {}
        }
    }

    /// Does what is due: retransmissions, rekeying, liveness checks, retries.
    pub fn handle_timeout(&mut self, now: Instant, rng: &mut dyn Rng) {
        for owner in self.timers.due(now) {
            match owner {
                TimerOwner::Ike(id) => self.with_sa(id, now, rng, IkeSa::handle_timeout),
                TimerOwner::Connection(name) => {
                    self.pursue(&name, now, rng);
                    self.settle(now, rng);
                }
            }
        }
    }

    /// Takes an order.
    pub fn handle_command(&mut self, command: Command, now: Instant, rng: &mut dyn Rng) {
        self.order(command, now, rng);
        self.settle(now, rng);
    }

    /// Takes the result of an [`Output::Auth`]. Unknown jobs are ignored: their IKE SA is gone.
    pub fn handle_auth(&mut self, job: JobId, result: AuthResult, now: Instant, rng: &mut dyn Rng) {
        if let Some(id) = self.out.end_auth(job) {
            self.with_sa(id, now, rng, |sa, cx| sa.handle_auth(job, result, cx));
        }
    }

    /// Takes the answer to an [`Output::Resolve`], best address first; none is the answer too.
    pub fn handle_resolved(
        &mut self,
        job: JobId,
        addresses: Vec<IpAddr>,
        now: Instant,
        rng: &mut dyn Rng,
    ) {
        self.resolved(job, &addresses, now, rng);
        self.settle(now, rng);
    }

    /// Takes an event of the packet engine.
    pub fn handle_packet_event(&mut self, event: PacketEvent, now: Instant, rng: &mut dyn Rng) {
        match event {
            PacketEvent::Acquire { connection, child, flow } => {
                if let Some(keeper) = self.keepers.get_mut(&connection)
                    && keeper.acquire(child, flow, now)
                {
                    self.pursue(&connection, now, rng);
                }
                self.settle(now, rng);
            }
            PacketEvent::SoftExpire { child }
            | PacketEvent::HardExpire { child }
            | PacketEvent::PeerMoved { child, .. }
            | PacketEvent::Traffic { child }
            | PacketEvent::Used { child } => {
                if let Some(id) = self.ike_of(child) {
                    self.with_sa(id, now, rng, |sa, cx| sa.handle_packet_event(&event, cx));
                }
            }
        }
    }

    /// The network says that datagrams on this path do not arrive (ICMP, or sending failed).
    ///
    /// Anyone can forge this, so it ends nothing: it is a reason to report if the peer stays
    /// silent, and prompts a liveness check (CHECKLIST M03).
    pub fn handle_unreachable(&mut self, path: Path, now: Instant, rng: &mut dyn Rng) {
        let concerned = |sa: &IkeSa| sa.core.path.remote == path.remote;
        let ids: Vec<IkeSaId> =
            self.sas.iter().filter(|(_, sa)| concerned(sa)).map(|(id, _)| *id).collect();
        for id in ids {
            self.with_sa(id, now, rng, |sa, cx| sa.handle_hint(true, cx));
        }
    }

    /// The next thing to do; `None` when there is nothing (left).
    pub fn poll_output(&mut self) -> Option<Output> {
        self.out.pop()
    }

    /// When [`Endpoint::handle_timeout`] wants to be called; `None` if there is no timer.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.timers.next()
    }

    /// Snapshots of all IKE SAs with their children, oldest first.
    pub fn ike_sas(&self) -> impl Iterator<Item = IkeSaInfo> {
        self.sas.values().filter_map(IkeSa::info)
    }

    /// Snapshots of all loaded connections, by name.
    pub fn connections(&self) -> impl Iterator<Item = ConnectionInfo> {
        self.keepers.iter().map(|(name, keeper)| ConnectionInfo {
            connection: keeper.connection().clone(),
            ike_sas: self.sas_of(name),
            held_down: keeper.is_held(),
            retry_at: keeper.poll_timeout(),
            failures: keeper.failures(),
            last_failure: keeper.last_failure().cloned().map(Box::new),
        })
    }

    /// Whether nothing is left: no IKE SA, no attempt.
    pub fn is_idle(&self) -> bool {
        self.sas.values().all(IkeSa::is_closed)
            && self.keepers.values().all(|keeper| keeper.attempt().is_none())
    }

    // ---- Helpers of all parts ----

    /// Lets an IKE SA take an input, and draws the consequences for everything around it.
    fn with_sa(
        &mut self,
        id: IkeSaId,
        now: Instant,
        rng: &mut dyn Rng,
        input: impl FnOnce(&mut IkeSa, &mut Context<'_>),
    ) {
        self.touch(id, now, rng, input);
        self.settle(now, rng);
    }

    /// Lets an IKE SA take an input; the consequences are drawn later.
    fn touch(
        &mut self,
        id: IkeSaId,
        now: Instant,
        rng: &mut dyn Rng,
        input: impl FnOnce(&mut IkeSa, &mut Context<'_>),
    ) {
        let Some(sa) = self.sas.get_mut(&id) else { return };
        let mut cx = Context {
            now,
            rng,
            config: &self.config,
            connections: &self.connections,
            roster: &self.roster,
            out: &mut self.out,
        };
        input(sa, &mut cx);
        self.refresh(id, now);
    }

    /// Makes a context for an IKE SA that is not there yet.
    fn context<'a>(&'a mut self, now: Instant, rng: &'a mut dyn Rng) -> Context<'a> {
        Context {
            now,
            rng,
            config: &self.config,
            connections: &self.connections,
            roster: &self.roster,
            out: &mut self.out,
        }
    }

    fn insert(&mut self, sa: IkeSa, now: Instant) -> IkeSaId {
        let id = sa.core.id;
        self.by_spi.insert(sa.core.our_spi(), id);
        self.sas.insert(id, sa);
        self.refresh(id, now);
        id
    }

    /// Brings the indexes up to date with an IKE SA.
    fn refresh(&mut self, id: IkeSaId, now: Instant) {
        let owner = TimerOwner::Ike(id);
        let Some(sa) = self.sas.get(&id) else {
            self.timers.set(owner, None);
            return;
        };
        self.admission.count(id, sa.core.path.remote.ip(), sa.is_half_open());
        let (is_over, name) = (sa.is_over(now), sa.core.connection_name().cloned());
        self.file(id, name.filter(|_| !is_over));
        let Some(sa) = self.sas.get(&id) else { return };
        if is_over {
            self.by_spi.remove(&sa.core.our_spi());
            self.admission.forget(id);
            self.out.forget_auth(id);
            self.sas.remove(&id);
            self.timers.set(owner, None);
        } else {
            self.timers.set(owner, sa.poll_timeout());
        }
    }

    /// The IKE SAs of a connection that are not over, oldest first.
    fn ike_sas_of(&self, name: &ConnectionName) -> impl DoubleEndedIterator<Item = &IkeSa> {
        let ids = self.by_connection.get(name);
        let sas = ids.into_iter().flatten().filter_map(|id| self.sas.get(id));
        sas.filter(|sa| !sa.is_closed())
    }

    fn sas_of(&self, name: &ConnectionName) -> Vec<IkeSaId> {
        self.ike_sas_of(name).map(|sa| sa.core.id).collect()
    }

    /// Files an IKE SA under the connection it belongs to now; a responder learns that late.
    fn file(&mut self, id: IkeSaId, name: Option<ConnectionName>) {
        if self.filed.get(&id) == name.as_ref() {
            return;
        }
        if let Some(before) = self.filed.remove(&id)
            && let Some(ids) = self.by_connection.get_mut(&before)
        {
            ids.remove(&id);
            if ids.is_empty() {
                self.by_connection.remove(&before);
            }
        }
        if let Some(name) = name {
            self.by_connection.entry(name.clone()).or_default().insert(id);
            self.filed.insert(id, name);
        }
    }

    fn ike_of(&self, child: ChildSaId) -> Option<IkeSaId> {
        self.out.owner_of(child)
    }

    /// Answers somebody without an IKE SA, at most so often.
    fn answer_stranger(&mut self, path: Path, header: &Header, kind: NotifyType, now: Instant) {
        if self.admission.may_answer(now)
            && let Some(octets) = init::refusal(header, kind, &[])
        {
            self.out.push(Output::Transmit { path, octets });
        }
    }

    /// The connection whose attempt waits for a lookup.
    fn connection_of(&self, job: JobId) -> Option<ConnectionName> {
        let waits = |keeper: &Keeper| match keeper.attempt().map(|attempt| &attempt.stage) {
            Some(Stage::Name { job: waiting, .. } | Stage::Source { job: waiting, .. }) => {
                *waiting == job
            }
            Some(Stage::Connecting(_)) | None => false,
        };
        self.keepers.iter().find(|(_, keeper)| waits(keeper)).map(|(name, _)| name.clone())
    }
}
