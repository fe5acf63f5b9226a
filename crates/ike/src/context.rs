//! What every step of a state machine gets beside its input, and where it leaves its results.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::hash::BuildHasher;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Instant;

use adit_crypto::{
    KeyExchange, KeyExchangeError, KeyShare, KeyShareStock, Protection, Rng, Secret, sha256,
};
use adit_db::{
    ChildConfig, ChildName, ChildSa, ChildSaId, Connection, ConnectionName, Engine, Gateway,
    Identity, IkeSaId, is_free, random_cpi, random_spi,
};
use adit_wire::esp::Spi;
use adit_wire::iana::ProtocolId;
use adit_wire::ikev2::{IkeSpi, Transform};
use adit_wire::ipcomp::Cpi;

use crate::command::{JobId, Path};
use crate::config::EndpointConfig;
use crate::connections::Connections;
use crate::event::{Event, Step};
use crate::failure::{Failure, FailureReason};
use crate::hash::{FixedHash, SpreadHash};
use crate::keymat::Role;
use crate::output::{DebugKeys, EspDebugKeys, Output};
use crate::pools::Pools;
use crate::shard::{Shard, Tiding, Tidings};
use crate::ticket::{TicketId, TicketOffice};
use crate::v2::ike_sa::IkeSa;
use crate::v2::resumption::ClientTicket;

/// Time, randomness, settings, the rest of the endpoint as far as an IKE SA may see it.
pub(crate) struct Context<'a> {
    pub(crate) now: Instant,
    pub(crate) rng: &'a mut dyn Rng,
    pub(crate) config: &'a EndpointConfig,
    pub(crate) connections: &'a Connections,
    pub(crate) roster: &'a Roster,
    /// Addresses of this host, as far as it was told.
    pub(crate) addresses: &'a [IpAddr],
    pub(crate) out: &'a mut Outbox,
}

impl Context<'_> {
    /// Sends datagrams over a path.
    pub(crate) fn transmit(&mut self, path: Path, datagrams: &[Vec<u8>]) {
        for octets in datagrams {
            self.out.push(Output::Transmit { path, octets: octets.clone() });
        }
    }

    /// Draws an SPI for an IKE SA; with nearly 64 random bits a clash is not worth a look.
    pub(crate) fn ike_spi(&mut self) -> IkeSpi {
        loop {
            let spi = self.out.shard.own_ike(IkeSpi(self.rng.next_u64().to_be_bytes()));
            if !spi.is_zero() {
                return spi;
            }
        }
    }

    /// Draws an SPI for packets to us that no child SA has, one of the engine and of the thread that
    /// will have the SA. `None` if hardly any is free.
    pub(crate) fn child_spi(
        &mut self,
        connection: &Connection,
        config: &ChildConfig,
    ) -> Option<Spi> {
        let (spis, threads, shard) = (&self.out.spis, self.config.inbound_threads, &self.out.shard);
        let thread = if connection.on_first_thread { Some(0) } else { config.resource };
        let own = |spi| {
            let spi = connection.engine.own(shard.own_child(spi));
            thread.map_or(spi, |thread| threads.give(spi, thread.into()))
        };
        // At the end of the engine's and the endpoint's SPIs those of its last thread may be another's.
        let strays = |spi| {
            let own = own(spi);
            Engine::of(own) != Engine::of(connection.engine.own(spi)) || !shard.owns_child(own)
        };
        let is_taken = |spi| spis.contains(&own(spi)) || !is_free(own(spi)) || strays(spi);
        random_spi(self.rng, is_taken).map(own)
    }

    /// Draws a CPI for packets to us that no child SA has, if this one is to be compressed. `None`
    /// also if hardly any is free: then it goes without.
    pub(crate) fn child_cpi(&mut self, config: &ChildConfig) -> Option<Cpi> {
        let (cpis, shard) = (&self.out.cpis, &self.out.shard);
        if !config.negotiates_ipcomp() {
            return None;
        }
        let own = |cpi| shard.own_cpi(cpi);
        let is_taken = |cpi| !own(cpi).is_negotiable() || cpis.contains(&own(cpi));
        random_cpi(self.rng, is_taken).map(own)
    }

    /// A key share of our own, for one exchange.
    pub(crate) fn key_share(&mut self, method: KeyExchange) -> KeyShare {
        self.out.key_shares.take(method, self.rng)
    }

    /// Answers an initiator's public value: our public value to send, and the shared secret.
    pub(crate) fn answer_key_share(
        &mut self,
        method: KeyExchange,
        peer_public: &[u8],
    ) -> Result<(Vec<u8>, Secret), KeyExchangeError> {
        self.out.key_shares.respond(method, peer_public, self.rng)
    }

    /// Gives the keys of a child SA to whoever decrypts captures, if the operator wants that.
    pub(crate) fn export_keys(&mut self, sa: &ChildSa) {
        // Nobody needs a key to read AH.
        let Protection::Esp(cipher) = sa.protection else { return };
        if !self.config.export_keys {
            return;
        }
        let directions = [
            (sa.encap.remote, sa.encap.local, sa.spi_in, &sa.keys_in),
            (sa.encap.local, sa.encap.remote, sa.spi_out, &sa.keys_out),
        ];
        for (source, destination, spi, keys) in directions {
            self.out.push(Output::Keys(DebugKeys::Esp(EspDebugKeys {
                source,
                destination,
                spi,
                cipher,
                // The operator asked for a copy to decrypt captures with.
                encryption: keys.encryption.duplicate(),
                integrity: keys.integrity.duplicate(),
                esn: sa.esn,
            })));
        }
    }

    /// Draws a nonce of the length this crate uses (RFC 7296 §2.10).
    pub(crate) fn nonce(&mut self) -> Vec<u8> {
        self.rng.array::<NONCE_OCTETS>().to_vec()
    }
}

/// At least half the key size of the prf, and the same for all: RFC 7296 §2.10.
const NONCE_OCTETS: usize = 32;

/// What the steps leave behind: outputs for the program, notices for the endpoint; and the
/// numbers and key shares they draw from.
#[derive(Debug)]
pub(crate) struct Outbox {
    shard: Shard,
    outputs: VecDeque<Output>,
    notices: VecDeque<Notice>,
    jobs: u64,
    auth_jobs: BTreeMap<JobId, IkeSaId>,
    reqids: HashMap<(ConnectionName, ChildName), u32, FixedHash>,
    spis: BTreeSet<Spi>,
    cpis: BTreeSet<Cpi>,
    child_owners: HashMap<ChildSaId, IkeSaId, SpreadHash>,
    /// What SAs have agreed on: mostly all on the same.
    suites: BTreeSet<Arc<[Transform]>>,
    /// Made ahead of need.
    pub(crate) key_shares: KeyShareStock,
    /// Addresses for remote clients.
    pub(crate) pools: Pools,
    /// None without keys for tickets.
    pub(crate) tickets: Option<Box<TicketOffice>>,
}

/// Suites that are remembered to be shared.
const SUITES_MAX: usize = 64;

impl Outbox {
    pub(crate) fn new(shard: Shard) -> Self {
        Self {
            shard,
            outputs: VecDeque::new(),
            notices: VecDeque::new(),
            jobs: 0,
            auth_jobs: BTreeMap::new(),
            reqids: HashMap::default(),
            spis: BTreeSet::new(),
            cpis: BTreeSet::new(),
            child_owners: HashMap::default(),
            suites: BTreeSet::new(),
            key_shares: KeyShareStock::default(),
            pools: Pools::default(),
            tickets: None,
        }
    }

    /// Tells the other endpoints of this host, if there are any.
    pub(crate) fn tell_others(&mut self, tiding: impl FnOnce() -> Tiding) {
        if !self.shard.is_alone() {
            self.push(Output::Tidings(Tidings(tiding())));
        }
    }

    pub(crate) fn push(&mut self, output: Output) {
        self.outputs.push_back(output);
    }

    pub(crate) fn pop(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    pub(crate) fn event(&mut self, event: Event) {
        self.push(Output::Event(event));
    }

    pub(crate) fn notice(&mut self, notice: Notice) {
        self.notices.push_back(notice);
    }

    pub(crate) fn next_notice(&mut self) -> Option<Notice> {
        self.notices.pop_front()
    }

    pub(crate) fn next_ike_sa(&mut self) -> IkeSaId {
        self.shard.next_ike_sa()
    }

    pub(crate) fn next_child_sa(&mut self) -> ChildSaId {
        self.shard.next_child_sa()
    }

    pub(crate) fn next_job(&mut self) -> JobId {
        self.jobs += 1;
        self.shard.job(self.jobs)
    }

    /// Notes which IKE SA waits for a job.
    pub(crate) fn begin_auth(&mut self, job: JobId, ike: IkeSaId) {
        self.auth_jobs.insert(job, ike);
    }

    /// The IKE SA that waits for a job.
    pub(crate) fn end_auth(&mut self, job: JobId) -> Option<IkeSaId> {
        self.auth_jobs.remove(&job)
    }

    /// Forgets the jobs of an IKE SA that is gone.
    pub(crate) fn forget_auth(&mut self, ike: IkeSaId) {
        self.auth_jobs.retain(|_, waiting| *waiting != ike);
    }

    /// The number of a policy: the same for every child SA made for it.
    pub(crate) fn reqid(&mut self, connection: &ConnectionName, child: &ChildName) -> u32 {
        let next = u32::try_from(self.reqids.len()).unwrap_or(u32::MAX).saturating_add(1);
        *self.reqids.entry((connection.clone(), child.clone())).or_insert(next)
    }

    /// The transforms of an SA, one copy for all that have the same.
    pub(crate) fn shared_suite(&mut self, suite: Vec<Transform>) -> Arc<[Transform]> {
        if let Some(known) = self.suites.get(&*suite) {
            return Arc::clone(known);
        }
        if self.suites.len() >= SUITES_MAX {
            self.suites.retain(|known| Arc::strong_count(known) > 1);
        }
        let suite: Arc<[Transform]> = suite.into();
        if self.suites.len() < SUITES_MAX {
            self.suites.insert(Arc::clone(&suite));
        }
        suite
    }

    /// Notes the SPI of an installed child SA.
    pub(crate) fn take_spi(&mut self, spi: Spi) {
        self.spis.insert(spi);
    }

    /// Notes the CPI of an installed child SA.
    pub(crate) fn take_cpi(&mut self, cpi: Cpi) {
        self.cpis.insert(cpi);
    }

    /// Gives a CPI back.
    pub(crate) fn release_cpi(&mut self, cpi: Cpi) {
        self.cpis.remove(&cpi);
    }

    /// Notes which IKE SA a child SA belongs to.
    pub(crate) fn own_child(&mut self, child: ChildSaId, ike: IkeSaId) {
        self.child_owners.insert(child, ike);
    }

    /// Forgets a child SA that is gone.
    pub(crate) fn disown_child(&mut self, child: ChildSaId) {
        self.child_owners.remove(&child);
    }

    /// The IKE SA that a child SA belongs to.
    pub(crate) fn owner_of(&self, child: ChildSaId) -> Option<IkeSaId> {
        self.child_owners.get(&child).copied()
    }

    /// Whether a child SA has this SPI.
    pub(crate) fn has_spi(&self, spi: Spi) -> bool {
        self.spis.contains(&spi)
    }

    /// Gives an SPI back.
    pub(crate) fn release_spi(&mut self, spi: Spi) {
        self.spis.remove(&spi);
    }

    /// Reports a step of a handshake.
    pub(crate) fn progress(
        &mut self,
        connection: Option<&ConnectionName>,
        ike: Option<IkeSaId>,
        step: Step,
        elapsed: std::time::Duration,
    ) {
        let connection = connection.cloned();
        self.event(Event::Progress { connection, ike, step, elapsed });
    }
}

/// What an IKE SA tells the endpoint around it.
#[derive(Debug)]
pub(crate) enum Notice {
    /// Both sides have authenticated.
    Established {
        /// The IKE SA.
        ike: IkeSaId,
        /// The peer says it has no other IKE SA with us (RFC 7296 §2.4).
        initial_contact: bool,
    },
    /// Authentication is to be repeated (RFC 4478).
    Reauthenticate {
        /// The IKE SA.
        ike: IkeSaId,
    },
    /// A rekey made a new IKE SA that takes over from an old one.
    Rekeyed {
        /// The old IKE SA.
        old: IkeSaId,
        /// The new one, not yet known to the endpoint.
        new: Box<IkeSa>,
    },
    /// A new IKE SA lost a collision: its only task is to be deleted.
    Redundant {
        /// The IKE SA, not yet known to the endpoint.
        sa: Box<IkeSa>,
        /// Whether we delete it; else the peer does.
        delete: bool,
    },
    /// An IKE SA is over, or an attempt to set one up. Not after a rekey.
    Ended {
        /// The IKE SA.
        ike: IkeSaId,
        /// Whether both sides had authenticated.
        was_established: bool,
        /// Why.
        failure: Box<Failure>,
    },
    /// A child SA is installed, or one came in place of another.
    ChildUp {
        /// Connection of its IKE SA.
        connection: ConnectionName,
        /// Its configuration.
        child: ChildName,
    },
    /// An exchange about a child has ended, one way or the other.
    ChildSettled {
        /// Connection of its IKE SA.
        connection: ConnectionName,
    },
    /// A child SA went and nothing replaced it.
    ChildGone {
        /// Connection of its IKE SA.
        connection: ConnectionName,
        /// Its configuration.
        child: ChildName,
        /// Why.
        reason: FailureReason,
    },
    /// The peer of an IKE SA of IKEv1 has deleted a child that this IKE SA does not have.
    DeletedElsewhere {
        /// The IKE SA.
        ike: IkeSaId,
        /// What we send on it by, and under which SPI.
        sa: (ProtocolId, Spi),
    },
    /// A child of IKEv1 is gone, whose quick mode may have been one of an IKE SA before.
    Forgotten {
        /// The IKE SA that had it last.
        ike: IkeSaId,
        /// The child.
        child: ChildSaId,
    },
    /// An IKE SA of IKEv1 is still there long after another one has got its place.
    Outlived {
        /// The IKE SA.
        ike: IkeSaId,
    },
    /// The peer of an IKE SA of IKEv1 gives no sign of life.
    Silent {
        /// The IKE SA.
        ike: IkeSaId,
        /// How it shows.
        reason: FailureReason,
    },
    /// A session was resumed.
    Resumed {
        /// The IKE SA that had it before.
        old: TicketId,
    },
    /// The gateway gave a ticket, or has seen nothing of one that was presented.
    Ticket {
        /// The connection of its session.
        connection: ConnectionName,
        /// The ticket.
        ticket: Box<ClientTicket>,
    },
    /// Tickets of an IKE SA are good no more.
    TicketsVoid {
        /// The IKE SA.
        ike: IkeSaId,
        /// What its tickets call it.
        id: TicketId,
        /// Its connection.
        connection: ConnectionName,
    },
    /// The peer sends us to another gateway.
    Redirected {
        /// The IKE SA that is up with it.
        ike: IkeSaId,
        /// Where to.
        to: Gateway,
    },
    /// A child could not be negotiated; its IKE SA stays.
    ChildFailed(Box<Failure>),
}

/// Established IKE SAs by the two identities, for the checks on uniqueness (RFC 7296 §2.4).
#[derive(Debug, Default)]
pub(crate) struct Roster {
    entries: HashMap<IkeSaId, (Pair, RosterEntry), SpreadHash>,
    by_identities: BTreeSet<(Pair, IkeSaId)>,
    /// Those of the other endpoints of this host.
    elsewhere: BTreeSet<(Pair, IkeSaId)>,
}

/// Two identities, as a digest that nobody can find a second pair for: names are long, and every IKE
/// SA has two.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct Pair([u8; Self::OCTETS]);

impl Pair {
    const OCTETS: usize = 16;

    fn of(local: &Identity, remote: &Identity) -> Self {
        let [local, remote] = [local.canonical(), remote.canonical()];
        let body = |identity: &Identity| {
            let octets = identity.octets();
            let length = u32::try_from(octets.len()).unwrap_or(u32::MAX).to_be_bytes();
            [&[identity.kind().0][..], &length, &octets].concat()
        };
        let digest = sha256(&[&body(&local), &body(&remote)]);
        let digest = digest.first_chunk::<{ Self::OCTETS }>();
        Self(digest.copied().unwrap_or_default())
    }
}

/// One established IKE SA.
#[derive(Clone, Debug)]
pub(crate) struct RosterEntry {
    pub(crate) role: Role,
    pub(crate) spi_i: IkeSpi,
    /// Where the peer is, in few octets.
    pub(crate) site: u32,
    /// When its first message was sent or received.
    pub(crate) started: Instant,
    pub(crate) established: Instant,
}

impl RosterEntry {
    /// An address in few octets. Two that are taken for one let an authenticated peer do from the second
    /// what it may do from the first.
    pub(crate) fn site(address: IpAddr) -> u32 {
        let hash = FixedHash::default().hash_one(address);
        u32::try_from(hash >> 32).unwrap_or_default()
    }
}

impl Roster {
    /// Takes an IKE SA between two identities.
    pub(crate) fn insert(
        &mut self,
        id: IkeSaId,
        local: &Identity,
        remote: &Identity,
        entry: RosterEntry,
    ) -> Pair {
        let pair = Pair::of(local, remote);
        self.by_identities.insert((pair, id));
        self.entries.insert(id, (pair, entry));
        pair
    }

    /// Forgets an IKE SA; gives whose it was.
    pub(crate) fn remove(&mut self, id: IkeSaId) -> Option<Pair> {
        let (pair, _) = self.entries.remove(&id)?;
        self.by_identities.remove(&(pair, id));
        Some(pair)
    }

    /// Takes an IKE SA of another endpoint.
    pub(crate) fn insert_elsewhere(&mut self, pair: Pair, id: IkeSaId) {
        self.elsewhere.insert((pair, id));
    }

    /// Forgets an IKE SA of another endpoint.
    pub(crate) fn remove_elsewhere(&mut self, pair: Pair, id: IkeSaId) {
        self.elsewhere.remove(&(pair, id));
    }

    /// Lets an IKE SA take the place of another, whose keys it renews; gives whose it is.
    pub(crate) fn replace(&mut self, old: IkeSaId, new: IkeSaId) -> Option<Pair> {
        let (pair, entry) = self.entries.remove(&old)?;
        self.by_identities.remove(&(pair, old));
        self.by_identities.insert((pair, new));
        self.entries.insert(new, (pair, entry));
        Some(pair)
    }

    /// The peer of an IKE SA is at this address from now on.
    pub(crate) fn move_to(&mut self, id: IkeSaId, address: IpAddr) {
        if let Some((_, entry)) = self.entries.get_mut(&id) {
            entry.site = RosterEntry::site(address);
        }
    }

    /// An IKE SA.
    pub(crate) fn get(&self, id: IkeSaId) -> Option<&RosterEntry> {
        self.entries.get(&id).map(|(_, entry)| entry)
    }

    /// The other IKE SAs between the same two identities, oldest first.
    pub(crate) fn beside(&self, id: IkeSaId) -> impl Iterator<Item = (IkeSaId, &RosterEntry)> {
        let pair = self.entries.get(&id).map(|(pair, _)| *pair);
        pair.into_iter().flat_map(|pair| self.of(pair)).filter(move |(other, _)| *other != id)
    }

    /// The newest IKE SA with the identities of this one.
    pub(crate) fn newest_beside(&self, id: IkeSaId) -> Option<IkeSaId> {
        let (pair, _) = self.entries.get(&id)?;
        let newest = self.by_identities.range(all_of(*pair)).rev().map(|(_, other)| *other);
        newest.take(2).find(|other| *other != id)
    }

    /// The IKE SAs of a pair, oldest first.
    pub(crate) fn of(&self, pair: Pair) -> impl Iterator<Item = (IkeSaId, &RosterEntry)> {
        let own = self.by_identities.range(all_of(pair));
        own.filter_map(|(_, id)| Some((*id, self.get(*id)?)))
    }

    /// Whether there is an IKE SA between two identities with the peer at this address.
    pub(crate) fn has_from(&self, local: &Identity, remote: &Identity, address: IpAddr) -> bool {
        let site = RosterEntry::site(address);
        self.of(Pair::of(local, remote)).any(|(_, entry)| entry.site == site)
    }

    /// How many IKE SAs this host has between two identities, counted up to a limit.
    pub(crate) fn count(&self, local: &Identity, remote: &Identity, most: usize) -> usize {
        let pair = Pair::of(local, remote);
        let own = self.by_identities.range(all_of(pair));
        own.chain(self.elsewhere.range(all_of(pair))).take(most).count()
    }
}

fn all_of(pair: Pair) -> RangeInclusive<(Pair, IkeSaId)> {
    (pair, IkeSaId(0))..=(pair, IkeSaId(u32::MAX))
}

#[cfg(test)]
mod tests {
    use adit_wire::iana::TransformType;

    use super::*;

    #[test]
    fn equal_suites_are_one_and_unused_ones_are_forgotten() {
        let suite = |id| vec![Transform { kind: TransformType(1), id, key_bits: Some(128) }];
        let mut out = Outbox::new(Shard::alone());
        let first = out.shared_suite(suite(1));
        assert!(Arc::ptr_eq(&first, &out.shared_suite(suite(1))));

        for id in 2..=1_000 {
            assert_eq!(*out.shared_suite(suite(id)), suite(id));
        }
        assert!(out.suites.len() <= SUITES_MAX);
        assert!(Arc::ptr_eq(&first, &out.shared_suite(suite(1))));

        let held: Vec<_> = (2_000..2_100).map(|id| out.shared_suite(suite(id))).collect();
        assert_eq!(*held.last().unwrap().to_vec(), suite(2_099));
        assert!(out.suites.len() <= SUITES_MAX);
    }

    #[test]
    fn the_roster_finds_identities_whatever_their_case() {
        #[expect(clippy::disallowed_methods, reason = "any instant will do")]
        let established = Instant::now();
        let entry = RosterEntry {
            role: Role::Initiator,
            spi_i: IkeSpi([1; 8]),
            site: RosterEntry::site("192.0.2.1".parse().unwrap()),
            started: established,
            established,
        };
        let mut roster = Roster::default();
        let local: Identity = "left.example".parse().unwrap();
        let of = |name: &str| -> Identity { name.parse().unwrap() };
        for (id, remote) in [(1, "Right.Example"), (2, "other.example"), (3, "right.example")] {
            roster.insert(IkeSaId(id), &local, &of(remote), entry.clone());
        }

        let wanted = of("RIGHT.example");
        let found: Vec<_> = roster.of(Pair::of(&local, &wanted)).map(|(id, _)| id.0).collect();
        assert_eq!(found, [1, 3]);
        assert!(roster.has_from(&local, &wanted, "192.0.2.1".parse().unwrap()));
        assert!(!roster.has_from(&local, &wanted, "192.0.2.2".parse().unwrap()));
        roster.move_to(IkeSaId(1), "192.0.2.3".parse().unwrap());
        assert!(roster.has_from(&local, &wanted, "192.0.2.3".parse().unwrap()));
        assert_eq!(roster.beside(IkeSaId(3)).map(|(id, _)| id.0).collect::<Vec<_>>(), [1]);
        let beside = |id| roster.newest_beside(IkeSaId(id)).map(|id| id.0);
        assert_eq!([1, 2, 3, 4].map(beside), [Some(3), None, Some(1), None]);
        roster.replace(IkeSaId(3), IkeSaId(4));
        roster.remove(IkeSaId(1));
        assert_eq!(roster.of(Pair::of(&local, &wanted)).next().map(|(id, _)| id.0), Some(4));
    }
}
