//! All IKE SAs of one host (RFC 7296): dispatch by SPI, timers, uniqueness.
//!
//! | file | what it does |
//! |---|---|
//! | `endpoint/admission` | IKE_SA_INIT requests: half-open limits, cookies, refusals (§2.6) |
//! | `endpoint/orders` | commands of the program |
//! | `endpoint/pursuit` | attempts to bring up what should be up |
//! | `endpoint/elsewhere` | the other endpoints of a host that has several |
//! | `endpoint/tcp` | over to TCP, and back to UDP (RFC 9329) |
//! | `endpoint/population` | the IKE SAs and the ways to find them |
//! | `endpoint/reauth` | successors of IKE SAs that authenticate again (RFC 4478) |
//! | `endpoint/redirection` | going where gateways send us (RFC 5685) |
//! | `endpoint/resumption` | sessions that are resumed with a ticket (RFC 5723) |
//! | `endpoint/stray` | requests for IKE SAs that are not here (§1.5, §2.21.4) |
//! | `endpoint/v1` | IKE SAs of IKEv1 among the others (RFC 2409) |
//! | `endpoint/notices` | what one IKE SA means for the others (§2.4, §2.8) |

mod admission;
mod elsewhere;
mod notices;
mod orders;
mod population;
mod pursuit;
mod reauth;
mod redirection;
mod resumption;
mod stray;
mod tcp;
mod v1;

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::time::Instant;

use adit_crypto::Rng;
use adit_db::{ChildSaId, Connection, ConnectionName, IcmpRed, IkeSaId};
use adit_wire::Reader;
use adit_wire::iana::{IpProtocol, NotifyType};
use adit_wire::ikev2::Header;

use crate::command::{AuthResult, Command, IcmpHeard, JobId, PacketEvent, Path, TcpProblem};
use crate::config::EndpointConfig;
use crate::connections::Connections;
use crate::context::{Context, Outbox, Roster};
use crate::event::{ConnectionInfo, IkeSaCounts, IkeSaInfo};
use crate::hash::FixedHash;
use crate::keep::Keeper;
use crate::output::Output;
use crate::shard::{self, Shard};
use crate::timers::{TimerOwner, Timers};
use crate::v1::sessions::Sessions;
use crate::v2::exchange::init;
use crate::v2::ike_sa::IkeSa;
use crate::v2::mobike;

use self::admission::Admission;
pub(crate) use self::admission::site;
use self::orders::Departure;
use self::population::Population;
use self::reauth::Successions;

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
    keepers: HashMap<ConnectionName, Keeper, FixedHash>,
    sas: Population,
    /// Those of IKEv1.
    v1: Sessions,
    roster: Roster,
    admission: Admission,
    /// The connections whose attempts wait for a lookup.
    lookups: BTreeMap<JobId, ConnectionName>,
    timers: Timers,
    /// Room for those whose time has come.
    due: Vec<(Instant, TimerOwner)>,
    departures: Vec<Departure>,
    /// Of this host, as it was told last.
    addresses: Vec<IpAddr>,
    successions: Successions,
    shutting_down: bool,
}

/// Addresses of this host that are looked at.
const ADDRESSES_MAX: usize = 64;

impl Endpoint {
    /// An endpoint without connections. It answers nobody until one is loaded.
    pub fn new(config: EndpointConfig) -> Self {
        Self::of_shard(config, Shard::alone())
    }

    /// One of the endpoints of a host: what all may have half-open is divided among them.
    pub fn of_shard(config: EndpointConfig, shard: Shard) -> Self {
        let config = admission::limits_of(config, &shard);
        Self {
            config,
            admission: Admission::of(&shard),
            out: Outbox::new(shard),
            connections: Connections::default(),
            keepers: HashMap::default(),
            sas: Population::default(),
            v1: Sessions::default(),
            roster: Roster::default(),
            lookups: BTreeMap::new(),
            timers: Timers::default(),
            due: Vec::new(),
            departures: Vec::new(),
            addresses: Vec::new(),
            successions: Successions::default(),
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
            1 => return self.handle_v1_datagram(path, octets, now, rng),
            // RFC 7296 §2.5. Older versions are other protocols; they get silence.
            major if major > 2 && !header.flags.is_response() => {
                let kind = NotifyType::INVALID_MAJOR_VERSION;
                return self.answer_stranger(path, &header, kind, now);
            }
            _ => return,
        }
        if shard::begins(&header) {
            self.handle_init_request(path, &header, octets, now, rng);
            return;
        }
        let ours = if header.flags.is_initiator() { header.spi_r } else { header.spi_i };
        match self.sas.by_spi(ours) {
            Some(id) => {
                self.with_sa(id, now, rng, |sa, cx| sa.handle_datagram(path, &header, octets, cx));
            }
            None if !header.flags.is_response() => {
                self.handle_stray(path, &header, octets, now, rng);
            }
            None => {}
        }
    }

    /// Does what is due: retransmissions, rekeying, liveness checks, retries.
    pub fn handle_timeout(&mut self, now: Instant, rng: &mut dyn Rng) {
        let mut due = std::mem::take(&mut self.due);
        self.timers.due(now, &mut due);
        for (_, owner) in due.drain(..) {
            match owner {
                TimerOwner::Ike(id) if self.v1.contains(id) => {
                    self.with_v1(id, now, rng, |sa, cx| sa.handle_timeout(cx));
                }
                TimerOwner::Ike(id) => self.with_sa(id, now, rng, IkeSa::handle_timeout),
                TimerOwner::Connection(name) => {
                    self.pursue(&name, now, rng);
                    self.settle(now, rng);
                }
            }
        }
        self.due = due;
    }

    /// Takes an order.
    pub fn handle_command(&mut self, command: Command, now: Instant, rng: &mut dyn Rng) {
        self.order(command, now, rng);
        self.settle(now, rng);
    }

    /// Takes the result of an [`Output::Auth`]. Unknown jobs are ignored: their IKE SA is gone.
    pub fn handle_auth(&mut self, job: JobId, result: AuthResult, now: Instant, rng: &mut dyn Rng) {
        match self.out.end_auth(job) {
            Some(id) if self.v1.contains(id) => {
                self.with_v1(id, now, rng, |sa, cx| sa.handle_auth(job, result, cx));
            }
            Some(id) => self.with_sa(id, now, rng, |sa, cx| sa.handle_auth(job, result, cx)),
            None => {}
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
            PacketEvent::UnknownSpi { spi, remote } => {
                self.handle_unknown_spi(spi, remote, now, rng);
            }
            PacketEvent::SoftExpire { child }
            | PacketEvent::HardExpire { child }
            | PacketEvent::PeerMoved { child, .. }
            | PacketEvent::Traffic { child }
            | PacketEvent::Used { child }
            | PacketEvent::Doubted { child }
            | PacketEvent::Notice { child, .. } => match self.ike_of(child) {
                Some(id) if self.v1.contains(id) => {
                    self.with_v1(id, now, rng, |sa, cx| sa.handle_packet_event(&event, cx));
                }
                Some(id) => {
                    self.with_sa(id, now, rng, |sa, cx| sa.handle_packet_event(&event, cx));
                }
                None => {}
            },
        }
    }

    /// The network says that datagrams on this path do not arrive (ICMP, or sending failed).
    ///
    /// Anyone can forge this, so it ends nothing: it is a reason to report if the peer stays
    /// silent, and prompts a liveness check (CHECKLIST M03).
    ///
    /// `icmp` is the message that says so, if it was one: a connection hears those that come from where
    /// outside is for it, and that its rules for those let it hear.
    pub fn handle_unreachable(
        &mut self,
        path: Path,
        icmp: Option<&IcmpHeard>,
        now: Instant,
        rng: &mut dyn Rng,
    ) {
        let hears = |connection: Option<&Connection>| {
            connection.is_none_or(|connection| hears(connection, path, icmp))
        };
        let concerned = |sa: &&IkeSa| {
            let is_meant = sa.core.path.remote == path.remote && !sa.core.path.is_tcp();
            is_meant && hears(sa.core.connection.as_deref())
        };
        let sas = self.sas.with_peer(path.remote.ip()).filter(concerned);
        let ids: Vec<IkeSaId> = sas.map(|sa| sa.core.id).collect();
        for id in ids {
            self.with_sa(id, now, rng, |sa, cx| sa.handle_hint(true, cx));
        }
        let with_peer = self.v1.with_peer(path.remote.ip());
        let of_v1 = with_peer.filter(|sa| sa.core.path.remote == path.remote);
        let of_v1 = of_v1.filter(|sa| hears(Some(&sa.core.connection)));
        let ids: Vec<IkeSaId> = of_v1.map(|sa| sa.core.id).collect();
        for id in ids {
            self.with_v1(id, now, rng, |sa, cx| sa.handle_hint(cx));
        }
    }

    /// The TCP connection of this path is gone, or could not be made (RFC 9329 §6.1): an attempt over
    /// it fails, an IKE SA that is up goes over to another connection if we opened that one.
    pub fn handle_tcp_lost(
        &mut self,
        path: Path,
        problem: TcpProblem,
        now: Instant,
        rng: &mut dyn Rng,
    ) {
        let sas = self.sas.with_peer(path.remote.ip()).filter(|sa| sa.core.path == path);
        let ids: Vec<IkeSaId> = sas.map(|sa| sa.core.id).collect();
        for id in ids {
            self.with_sa(id, now, rng, |sa, cx| sa.handle_tcp_lost(problem, cx));
        }
    }

    /// The host has these addresses that other hosts can reach, best first, and its routes may have
    /// changed (RFC 4555). Say it before the first connection is loaded and whenever either changes;
    /// wait a little for changes that belong together. More than 64 are not looked at.
    pub fn handle_network(&mut self, addresses: &[IpAddr], now: Instant, rng: &mut dyn Rng) {
        let addresses = addresses.iter().take(ADDRESSES_MAX).copied().collect();
        let before = std::mem::replace(&mut self.addresses, addresses);
        let concerned = |sa: &&IkeSa| mobike::is_concerned(&sa.core, &before, &self.addresses);
        let ids: Vec<IkeSaId> = self.sas.iter().filter(concerned).map(|sa| sa.core.id).collect();
        for id in ids {
            self.touch(id, now, rng, |sa, cx| sa.handle_network(&before, cx));
        }
        self.settle(now, rng);
    }

    /// The next thing to do; `None` when there is nothing (left).
    pub fn poll_output(&mut self) -> Option<Output> {
        self.out.pop()
    }

    /// When [`Endpoint::handle_timeout`] wants to be called; `None` if there is no timer.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.timers.next()
    }

    /// Whether key shares are in short supply: [`Endpoint::prepare_key_share`] makes one more.
    pub fn lacks_key_shares(&self) -> bool {
        self.out.key_shares.lacks()
    }

    /// Makes a key share ahead of need. Call it when there is nothing else to do; it takes less than
    /// a tenth of a millisecond. At most [`KEY_SHARES_MAX`](adit_crypto::KEY_SHARES_MAX) of each method
    /// that was used are kept, each for one exchange.
    pub fn prepare_key_share(&mut self, rng: &mut dyn Rng) {
        self.out.key_shares.prepare(rng);
    }

    /// Snapshots of all IKE SAs with their children, oldest first.
    pub fn ike_sas(&self) -> impl Iterator<Item = IkeSaInfo> {
        let mut all: Vec<IkeSaInfo> = self.v1.iter().filter_map(|sa| sa.info()).collect();
        all.reverse();
        // Those of both versions by their numbers, which count up.
        let mut of_v2 = self.sas.iter().filter_map(IkeSa::info).peekable();
        std::iter::from_fn(move || match (all.last(), of_v2.peek()) {
            (Some(v1), Some(v2)) if v1.id < v2.id => all.pop(),
            (Some(_), None) => all.pop(),
            (_, _) => of_v2.next(),
        })
    }

    /// How many IKE SAs [`Endpoint::ike_sas`] would give, without looking at each.
    pub fn ike_sa_counts(&self) -> IkeSaCounts {
        let mut counts = self.sas.counts();
        counts.add(self.v1.counts());
        counts
    }

    /// Snapshots of all loaded connections, by name.
    pub fn connections(&self) -> impl Iterator<Item = ConnectionInfo> {
        #[expect(clippy::disallowed_methods, reason = "sorted before use")]
        let mut keepers: Vec<(&ConnectionName, &Keeper)> = self.keepers.iter().collect();
        keepers.sort_unstable_by_key(|(name, _)| *name);
        keepers.into_iter().map(|(name, keeper)| ConnectionInfo {
            connection: keeper.connection().clone(),
            is_here: keeper.is_here(),
            ike_sas: self.sas_of(name),
            held_down: keeper.is_held(),
            retry_at: keeper.poll_timeout(),
            failures: keeper.failures(),
            last_failure: keeper.last_failure().cloned().map(Box::new),
            past_leases: self.out.pools.past_of(name.as_str()),
        })
    }

    /// Whether nothing is left: no IKE SA, no attempt.
    pub fn is_idle(&self) -> bool {
        #[expect(clippy::disallowed_methods, reason = "the order does not matter")]
        let mut keepers = self.keepers.values();
        self.sas.counts() == IkeSaCounts::default()
            && self.v1.is_empty()
            && keepers.all(|keeper| keeper.attempt().is_none())
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
        let Some(sa) = self.sas.get_mut(id) else { return };
        let before = sa.core.path.remote.ip();
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
        let after = sa.core.path.remote.ip();
        if after != before {
            self.roster.move_to(id, after);
        }
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
            addresses: &self.addresses,
            out: &mut self.out,
        }
    }

    fn insert(&mut self, sa: IkeSa, now: Instant) -> IkeSaId {
        let id = sa.core.id;
        self.sas.insert(sa);
        self.refresh(id, now);
        id
    }

    /// Brings the indexes up to date with an IKE SA.
    fn refresh(&mut self, id: IkeSaId, now: Instant) {
        let Some(sa) = self.sas.get(id) else { return };
        self.admission.count(id, sa.core.path.remote.ip(), sa.is_half_open());
        if sa.is_over(now) {
            self.admission.forget(id);
            self.out.forget_auth(id);
            self.hang_up(id);
            if let Some(timer) = self.sas.remove(id) {
                self.timers.clear(timer);
            }
        } else {
            let at = sa.poll_timeout();
            if let Some(timer) = self.sas.update(id) {
                self.timers.set(timer, at, now, || TimerOwner::Ike(id));
            }
        }
    }

    fn sas_of(&self, name: &ConnectionName) -> Vec<IkeSaId> {
        let of_v1 = self.v1.of(name).map(|sa| sa.core.id);
        self.sas.of(name).map(|sa| sa.core.id).chain(of_v1).collect()
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
}

/// Whether a connection hears of an ICMP message from outside; what no message says it always does.
fn hears(connection: &Connection, path: Path, heard: Option<&IcmpHeard>) -> bool {
    let Some(heard) = heard.filter(|_| !connection.children.is_empty()) else { return true };
    let protocol = if path.remote.is_ipv4() { IpProtocol::ICMP } else { IpProtocol::ICMPV6 };
    let by = heard.by.as_deref();
    let rules = connection.children.iter().map(|child| &child.icmp);
    rules
        .filter(|rules| rules.interfaces.is_red(by))
        .any(|rules| rules.red(protocol, heard.icmp) != IcmpRed::Discard)
}
