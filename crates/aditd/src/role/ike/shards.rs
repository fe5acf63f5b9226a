//! The ike role and its shards. Policies are made here alone; each tunnel is known to all shards,
//! since a peer may come to any, and brought up by one: where its newest IKE SA is, else where the peer
//! would come to.
//!
//! Neither waits for the other.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::mpsc::TrySendError;
use std::time::{Duration, Instant};

use adit_db::{ChildSaId, Connection, ConnectionName};
use adit_ike::{
    Command, ConnectionInfo, Event, Failure, IcmpHeard, IkeSaCounts, IkeSaInfo, JobId, Output,
    PacketEvent, Path, RequestId, Tidings,
};
use adit_mgmt::api::{EngineIke, EngineTcp, IkeThread};
use adit_sys::clock;

use super::Running;
use super::places::Places;
use crate::message::{Input, QueryId, ShardAnswer, ToControl, ToShard};
use crate::shards::ShardLinks;

/// What is known of the shards beside the first, which is in the ike role.
pub(super) struct Others {
    links: ShardLinks,
    /// What each is told with the next [`Running::flush_shards`].
    outboxes: Vec<Vec<ToShard>>,
    /// Where tunnels are brought up whose IKE SA is not where the peer would come to.
    moved: BTreeMap<ConnectionName, u16>,
    /// Who has IKE SAs of which tunnel.
    places: Places,
    /// Who has which child SA; what nobody else has is the first's.
    children: BTreeMap<ChildSaId, u16>,
    commands: BTreeMap<RequestId, Ends>,
    questions: BTreeMap<QueryId, Question>,
    /// Peers behind tunnels, as they were told last.
    inside: Arc<BTreeSet<IpAddr>>,
    /// Those that have not ended.
    running: BTreeSet<u16>,
}

/// A command to all shards, of which some have come to their end.
struct Ends {
    awaited: BTreeSet<u16>,
    /// Whether it is enough that one has done it.
    any: bool,
    result: Option<Result<(), Box<Failure>>>,
}

/// A question to all shards, with the answers so far.
struct Question {
    awaited: BTreeSet<u16>,
    kind: QuestionKind,
    sas: Vec<IkeSaInfo>,
    connections: BTreeMap<ConnectionName, ConnectionInfo>,
    counts: BTreeMap<u16, IkeSaCounts>,
}

#[derive(Clone, Copy)]
pub(super) enum QuestionKind {
    Snapshot,
    Count,
    Show,
}

/// Messages that a shard may be behind with before datagrams and news of packets are dropped.
const BEHIND_MAX: usize = 4_096;
/// A shard that has no room for what it is told is asked again then.
const AGAIN: Duration = Duration::from_millis(1);

impl Others {
    pub(super) fn new(links: ShardLinks) -> Self {
        Self {
            outboxes: links.others().iter().map(|_| Vec::new()).collect(),
            moved: BTreeMap::new(),
            places: Places::default(),
            children: BTreeMap::new(),
            commands: BTreeMap::new(),
            questions: BTreeMap::new(),
            inside: Arc::default(),
            running: (1..links.map().count()).collect(),
            links,
        }
    }

    /// Whether all have ended.
    pub(super) fn are_gone(&self) -> bool {
        self.running.is_empty()
    }

    /// All that answer: the first does as long as somebody asks.
    fn answering(&self) -> BTreeSet<u16> {
        std::iter::once(0).chain(self.running.iter().copied()).collect()
    }

    /// When to try again what a shard had no room for.
    pub(super) fn timeout(&self) -> Option<Duration> {
        self.outboxes.iter().any(|outbox| !outbox.is_empty()).then_some(AGAIN)
    }

    fn count(&self) -> u16 {
        self.links.map().count()
    }

    fn outbox(&mut self, number: u16) -> Option<&mut Vec<ToShard>> {
        self.outboxes.get_mut(usize::from(number).checked_sub(1)?)
    }
}

impl Running {
    /// Gives a shard an input; the first at once.
    fn give(&mut self, number: u16, input: Input, now: Instant) {
        match self.shards.outbox(number) {
            Some(outbox) => outbox.push(ToShard::Input(input)),
            None => self.endpoint.give(input, now),
        }
    }

    /// Gives a shard an input that comes again if it is lost; counts it if there is no room.
    fn offer(&mut self, number: u16, input: Input, now: Instant) {
        let waiting = self.shards.outbox(number).map_or(0, |outbox| outbox.len());
        if waiting.saturating_add(self.shards.links.under_way(number)) >= BEHIND_MAX {
            return self.shards.links.drop_one();
        }
        self.give(number, input, now);
    }

    fn give_each(&mut self, now: Instant, mut input: impl FnMut(u16) -> Input) {
        for number in 0..self.shards.count() {
            self.give(number, input(number), now);
        }
    }

    /// Takes a datagram of UDP 500.
    pub(super) fn datagram(&mut self, path: Path, octets: &[u8], now: Instant) {
        let Some(number) = self.shards.links.addressee(path, octets) else { return };
        if number == 0 {
            return self.endpoint.datagram(path, octets, now);
        }
        self.offer(number, Input::Datagram { path, octets: octets.to_vec() }, now);
    }

    /// Takes an ICMP error of UDP 500.
    pub(super) fn unreachable(&mut self, path: Path, icmp: Option<IcmpHeard>, now: Instant) {
        for number in 0..self.shards.count() {
            self.offer(number, Input::Unreachable(path, icmp.clone()), now);
        }
    }

    /// Takes what the packet engine has seen.
    pub(super) fn packet_event(&mut self, event: PacketEvent, now: Instant) {
        let number = match &event {
            PacketEvent::Acquire { connection, .. } => self.home_of(connection),
            // It is for IKEv1, which is all the first shard's.
            PacketEvent::UnknownSpi { .. } => 0,
            PacketEvent::SoftExpire { child }
            | PacketEvent::HardExpire { child }
            | PacketEvent::PeerMoved { child, .. }
            | PacketEvent::Traffic { child }
            | PacketEvent::Used { child }
            | PacketEvent::Doubted { child }
            | PacketEvent::Notice { child, .. } => self.shard_of(*child),
        };
        self.offer(number, Input::Packet(event), now);
    }

    /// The addresses or routes of this host have changed.
    pub(super) fn network(&mut self, addresses: Arc<[IpAddr]>, now: Instant) {
        self.give_each(now, |_| Input::Network(Arc::clone(&addresses)));
    }

    /// Gives what a lookup found to the shard that waits for it.
    pub(super) fn resolved(&mut self, job: JobId, addresses: Vec<IpAddr>, now: Instant) {
        let number = self.shards.links.map().of_job(job);
        self.give(number, Input::Resolved(job, addresses), now);
    }

    /// Tells all shards but one what that one tells them; whoever brings a tunnel up, what is wanted of it.
    pub(super) fn share(&mut self, from: u16, tidings: &Tidings) {
        let now = clock::now();
        if let Some(name) = tidings.effort_for() {
            let home = self.home_of(name);
            return self.give(home, Input::Tidings(tidings.clone()), now);
        }
        for number in (0..self.shards.count()).filter(|number| *number != from) {
            self.give(number, Input::Tidings(tidings.clone()), now);
        }
    }

    /// Hands over what the shards are to be told. What a shard has no room for waits for the next time.
    pub(super) fn flush_shards(&mut self) {
        let Others { links, outboxes, .. } = &mut self.shards;
        for (number, (outbox, other)) in (1..).zip(outboxes.iter_mut().zip(links.others().iter())) {
            let count = outbox.len();
            if count == 0 {
                continue;
            }
            links.send_off(number, count);
            let messages = ToShard::Many(std::mem::take(outbox));
            if let Err(error) = other.try_send(messages) {
                links.take_off(number, count);
                if let TrySendError::Full(ToShard::Many(messages)) = error {
                    *outbox = messages;
                }
            }
        }
    }

    /// Tells the shards which peers are behind tunnels, before anything else.
    pub(super) fn tell_inside(&mut self) {
        let known = self.shards.inside.iter().copied();
        if self.shards.outboxes.is_empty() || self.policies.peers_inside_tunnels().eq(known) {
            return;
        }
        let inside: Arc<BTreeSet<IpAddr>> =
            Arc::new(self.policies.peers_inside_tunnels().collect());
        for outbox in &mut self.shards.outboxes {
            outbox.insert(0, ToShard::Inside(Arc::clone(&inside)));
        }
        self.shards.inside = inside;
    }

    // ---- Where things are ----

    /// The shard that brings a connection up.
    fn home_of(&self, name: &ConnectionName) -> u16 {
        if let Some(number) = self.shards.moved.get(name) {
            return *number;
        }
        let connection = self.policies.connection(name);
        connection.map_or(0, |connection| self.shards.links.map().home(connection))
    }

    fn shard_of(&self, child: ChildSaId) -> u16 {
        self.shards.children.get(&child).copied().unwrap_or(0)
    }

    /// Notes what an output of a shard says about where things are.
    pub(super) fn note(&mut self, from: u16, output: &Output) {
        if let Output::InstallChild { sa, .. } = output
            && from != 0
        {
            self.shards.children.insert(sa.id, from);
        }
        if let Output::Event(event) = output
            && self.shards.count() > 1
        {
            self.note_event(from, event);
        }
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "events of IKE SAs alone matter")]
    fn note_event(&mut self, from: u16, event: &Event) {
        match event {
            Event::IkeUp(info) => {
                let Some(name) = &info.connection else { return };
                self.shards.places.add(name, info.id, from);
                self.settle_at(name, from);
            }
            Event::IkeRekeyed { old, new } => {
                let Some(name) = &new.connection else { return };
                self.shards.places.replace(name, old.id, new.id);
            }
            Event::IkeDown { info, .. } => {
                let Some(name) = &info.connection else { return };
                let home = self.home_of(name);
                // Else the tunnel would be brought up once more where it has been.
                if let Some(number) = self.shards.places.remove(name, info.id, home) {
                    self.settle_at(name, number);
                }
            }
            _ => {}
        }
    }

    /// Forgets a child SA.
    pub(super) fn forget_child(&mut self, child: ChildSaId) {
        self.shards.children.remove(&child);
    }

    /// A connection is brought up by another shard from now on.
    fn settle_at(&mut self, name: &ConnectionName, number: u16) {
        let before = self.home_of(name);
        let Some(connection) = self.policies.connection(name) else { return };
        if before == number {
            return;
        }
        if self.shards.links.map().home(connection) == number {
            self.shards.moved.remove(name);
        } else {
            self.shards.moved.insert(name.clone(), number);
        }
        let now = clock::now();
        for (shard, here) in [(before, false), (number, true)] {
            let connection = name.clone();
            self.give(shard, Input::Command(Command::BringUp { connection, here }), now);
        }
    }

    // ---- Commands ----

    /// Loads a connection everywhere; one shard brings it up.
    pub(super) fn load(&mut self, connection: &Arc<Connection>, now: Instant) {
        let home = self.home_of(&connection.name);
        self.give_each(now, |number| {
            let connection = Arc::clone(connection);
            Input::Command(match number == home {
                true => Command::Load(connection),
                false => Command::LoadElsewhere(connection),
            })
        });
    }

    /// Unloads a connection everywhere.
    pub(super) fn unload(&mut self, name: &ConnectionName, now: Instant) {
        self.shards.moved.remove(name);
        self.shards.places.forget(name);
        self.give_each(now, |_| Input::Command(Command::Unload(name.clone())));
    }

    /// Gives a command that changes no configuration to whom it is for.
    pub(super) fn direct(&mut self, command: Command, now: Instant) {
        let to = match &command {
            Command::Initiate { connection, .. } => Some(self.home_of(connection)),
            Command::TerminateChild { id, .. } | Command::RekeyChild(id) => {
                Some(self.shard_of(*id))
            }
            Command::Down { request, .. } => {
                self.await_all(*request, false);
                None
            }
            Command::TerminateIke { request, .. } => {
                self.await_all(*request, true);
                None
            }
            Command::RekeyIke(_)
            | Command::Reauthenticate(_)
            | Command::RedirectIke { .. }
            | Command::UseTicketKeys { .. }
            | Command::Shutdown
            | Command::Load(_)
            | Command::LoadElsewhere(_)
            | Command::BringUp { .. }
            | Command::Unload(_) => None,
        };
        // One that has ended answers nothing; the first says that there is no such SA.
        let answering = |number| if self.shards.running.contains(&number) { number } else { 0 };
        match to.map(answering) {
            Some(number) => self.give(number, Input::Command(command), now),
            None => self.give_each(now, |_| Input::Command(command.clone())),
        }
    }

    fn await_all(&mut self, request: RequestId, any: bool) {
        let awaited = self.shards.answering();
        self.shards.commands.insert(request, Ends { awaited, any, result: None });
    }

    /// A command has come to its end with one shard.
    pub(super) fn done(&mut self, request: RequestId, from: u16, result: Result<(), Box<Failure>>) {
        let Some(ends) = self.shards.commands.get_mut(&request) else {
            return self.tell_control(ToControl::Done { request, result });
        };
        // Where one is enough, it is what the others do not know; else what one could not do counts.
        let counts = result.is_ok() == ends.any || ends.result.is_none();
        if counts {
            ends.result = Some(result);
        }
        self.wait_no_more(request, from);
    }

    /// A shard does nothing more for a command.
    fn wait_no_more(&mut self, request: RequestId, from: u16) {
        let Some(ends) = self.shards.commands.get_mut(&request) else { return };
        ends.awaited.remove(&from);
        if !ends.awaited.is_empty() {
            return;
        }
        if let Some(Ends { result: Some(result), .. }) = self.shards.commands.remove(&request) {
            self.tell_control(ToControl::Done { request, result });
        }
    }

    /// A shard has ended: nobody waits for its answers any more. The first answers while the role runs.
    pub(super) fn shard_has_ended(&mut self, number: u16) {
        self.shards.running.remove(&number);
        if let Some(outbox) = self.shards.outbox(number) {
            outbox.clear();
        }
        let requests: Vec<_> = self.shards.commands.keys().copied().collect();
        requests.into_iter().for_each(|request| self.wait_no_more(request, number));
        let queries: Vec<_> = self.shards.questions.keys().copied().collect();
        queries.into_iter().for_each(|query| self.expect_no_more(query, number));
    }

    // ---- Questions ----

    /// Asks all shards; the control role hears when all have answered.
    pub(super) fn ask_shards(&mut self, query: QueryId, kind: QuestionKind) {
        let question = Question {
            awaited: self.shards.answering(),
            kind,
            sas: Vec::new(),
            connections: BTreeMap::new(),
            counts: BTreeMap::new(),
        };
        self.shards.questions.insert(query, question);
        for outbox in &mut self.shards.outboxes {
            outbox.push(match kind {
                QuestionKind::Snapshot => ToShard::Snapshot(query),
                QuestionKind::Count | QuestionKind::Show => ToShard::Count(query),
            });
        }
        let own = match kind {
            QuestionKind::Snapshot => ShardAnswer::Snapshot {
                sas: self.endpoint.ike_sas().collect(),
                connections: self.endpoint.connections().collect(),
            },
            QuestionKind::Count | QuestionKind::Show => {
                ShardAnswer::Counts(self.endpoint.ike_sa_counts())
            }
        };
        self.answered(query, 0, own);
    }

    /// A shard has answered.
    pub(super) fn answered(&mut self, query: QueryId, from: u16, answer: ShardAnswer) {
        let Some(mut question) = self.shards.questions.remove(&query) else { return };
        match answer {
            ShardAnswer::Snapshot { sas, connections } => {
                question.sas.extend(sas);
                self.merge(&mut question.connections, connections);
            }
            ShardAnswer::Counts(counts) => {
                question.counts.insert(from, counts);
            }
        }
        self.shards.questions.insert(query, question);
        self.expect_no_more(query, from);
    }

    /// A shard says nothing more about a question.
    fn expect_no_more(&mut self, query: QueryId, from: u16) {
        let Some(question) = self.shards.questions.get_mut(&query) else { return };
        question.awaited.remove(&from);
        if !question.awaited.is_empty() {
            return;
        }
        let Some(question) = self.shards.questions.remove(&query) else { return };
        let tcp = self.role.links.tcp.counters.shown();
        let answer = question.conclude(query, self.shards.links.dropped(), tcp);
        self.tell_control(answer);
    }

    /// Of each connection all IKE SAs, and the effort of whoever brings it up.
    fn merge(
        &self,
        known: &mut BTreeMap<ConnectionName, ConnectionInfo>,
        more: Vec<ConnectionInfo>,
    ) {
        for mut info in more {
            let name = info.connection.name.clone();
            let Some(before) = known.get_mut(&name) else {
                known.insert(name, info);
                continue;
            };
            if info.is_here {
                std::mem::swap(before, &mut info);
            }
            before.past_leases.extend(info.past_leases);
            before.ike_sas.extend(info.ike_sas);
            before.ike_sas.sort_unstable();
        }
    }
}

impl Question {
    fn conclude(self, query: QueryId, dropped: u64, tcp: EngineTcp) -> ToControl {
        let Self { kind, mut sas, connections, counts, .. } = self;
        match kind {
            QuestionKind::Snapshot => {
                sas.sort_by_key(|sa| sa.id);
                let connections = connections.into_values().collect();
                ToControl::Snapshot { query, sas, connections }
            }
            QuestionKind::Count => {
                let mut sum = IkeSaCounts::default();
                counts.into_values().for_each(|counts| sum.add(counts));
                ToControl::Counts(query, sum)
            }
            QuestionKind::Show => {
                let wide = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
                let thread = |counts: IkeSaCounts| IkeThread {
                    established: wide(counts.established),
                    half_open: wide(counts.half_open),
                    leaving: wide(counts.leaving),
                };
                let threads = counts.into_values().map(thread).collect();
                ToControl::ShownIke(query, Box::new(EngineIke { threads, dropped, tcp }))
            }
        }
    }
}
