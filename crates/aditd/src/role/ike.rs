//! The ike role: runs the IKEv2 endpoint (RFC 7296) on real sockets and a real clock.
//!
//! It reads UDP 500 itself; what comes in on UDP 4500 is sorted by the inbound thread. It holds
//! session keys for as long as it takes to hand them to the packet threads, and no long-term ones.

mod bundles;
mod inside;
mod loading;
mod manual;
mod path_mtu;
mod places;
mod recorded;
mod room;
mod shard;
mod shards;
mod threads;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use adit_dataplane::{InboundCommand, OutboundCommand};
use adit_db::{ChildSaId, Engine, GatewayNotice, HostSpec, PolicyId, TableId};
use adit_ike::{
    Command, EndpointConfig, Input, Output, PacketEvent, Path, Query, Shard, Transport,
};
use adit_mgmt::api::{ENTRIES_MAX, KERNEL_TAKES_NO_NOTICES};
use adit_sys::BatchIo;
use adit_sys::clock;
use adit_sys::filter::FilterRule;
use adit_sys::netlink::{Netlink, RouteLookup};
use adit_sys::resolve::resolve;
use adit_sys::route::MARK;
use adit_sys::thread::spawn_named;
use adit_sys::udp::SocketError;
use adit_sys::wake::{CommandReceiver, Events, Interest, Next, Poller, Token};
use adit_wire::packet_buf::PacketBuf;
use tracing::{debug, error, warn};

use self::bundles::Bundles;
use self::loading::Loading;
use self::path_mtu::LinkMtus;
use self::recorded::Seat;
use self::room::Room;
use crate::keylog::KeyLog;
use crate::message::{
    Asked, Links, PacketNews, PolicyView, QueryId, RouteChange, Ticket, ToControl, ToIke,
    ToInbound, ToKernel, ToOutbound, ToParent,
};
use crate::policy::{Decision, PolicyBook};
use crate::record::RecordFile;
use crate::role::ike_sockets::{IkeSockets, Letter};
use crate::role::keys::ToKeys;
use crate::role::tcp::ToTcp;
use crate::role::{errors, icmp_heard};
use crate::tickets::Tickets;
use crate::{filter, routes};

pub(crate) use self::shard::ShardRole;
use self::shards::{Others, QuestionKind};

/// What the role needs from its parent.
pub(crate) struct IkeRole {
    /// UDP 500, to send and receive, and UDP 4500, to send.
    pub(crate) sockets: IkeSockets,
    /// The other roles, and its own queue for answers of lookups.
    pub(crate) links: Links,
    /// Where session keys are written, if they are.
    pub(crate) key_log: Option<KeyLog>,
    /// The keys of tickets.
    pub(crate) tickets: Tickets,
    /// Settings of the endpoint.
    pub(crate) config: EndpointConfig,
    /// The first of the endpoints, which is here.
    pub(crate) shard: Shard,
    /// Where all that the endpoint takes is recorded, if it is.
    pub(crate) record: Option<RecordFile>,
}

impl IkeRole {
    /// Runs until it is told to stop and every peer has been told.
    pub(crate) fn run(self, requests: &CommandReceiver<ToIke>) {
        let parent = self.links.parent.clone();
        match Running::new(self) {
            Ok(mut running) => running.run(requests),
            Err(error) => {
                error!(%error, "the ike role cannot start");
                let _ = parent.send(ToParent::Failed("ike"));
            }
        }
    }
}

const SOCKET_V4: Token = Token(0);
const SOCKET_V6: Token = Token(1);
const REQUESTS: Token = Token(2);
/// Datagrams read in one go, and requests taken before those who wait for answers are woken.
const BATCH: usize = 32;
/// Datagrams and requests taken before what answers them leaves: peers compute meanwhile.
const TOGETHER: usize = 8;
/// Requests taken between two looks at sockets and timers.
const ROUND_MAX: usize = 8 * BATCH;
/// The shard that is in this role.
const FIRST: u16 = 0;
/// Longest IKE message taken: the largest UDP payload.
const MESSAGE_OCTETS_MAX: usize = 65_535;

/// So many buffers, each for any IKE message.
fn buffers(count: usize) -> Vec<PacketBuf> {
    (0..count).map(|_| PacketBuf::with_capacity(0, MESSAGE_OCTETS_MAX)).collect()
}

struct Running {
    role: IkeRole,
    /// That of the first shard.
    endpoint: Seat,
    shards: Others,
    policies: PolicyBook,
    /// The configuration changed and the packet threads do not know yet.
    stale: bool,
    loading: Loading,
    /// The packet filter as it was sent last.
    filter_rules: Option<Vec<FilterRule>>,
    netlink: Netlink,
    link_mtus: LinkMtus,
    poller: Poller,
    batch: BatchIo,
    packets: Vec<PacketBuf>,
    /// Buffers for what is sent.
    outgoing: Vec<PacketBuf>,
    /// New routes or changes of the kernel are on their way, and the outputs that came with them
    /// are not all out.
    behind_routes: bool,
    /// To be sent with the next [`Self::post`].
    letters: Vec<Letter>,
    /// The kernel role was told something that nothing has followed yet.
    ahead: bool,
    /// Its clones are with what is on the way through the kernel role and the parent.
    ticket: Ticket,
    /// For the control role, with the next [`Self::drain`].
    news: Vec<ToControl>,
    /// Child SAs that were replaced and are still there: what they carried has been asked for.
    replaced: BTreeSet<ChildSaId>,
    bundles: Bundles,
    room: Room,
    stopping: bool,
}

impl Running {
    fn new(mut role: IkeRole) -> anyhow::Result<Self> {
        let poller = Poller::new()?;
        poller.add(role.sockets.ike.v4(), SOCKET_V4, Interest::Readable)?;
        if let Some(socket) = role.sockets.ike.v6() {
            poller.add(socket, SOCKET_V6, Interest::Readable)?;
        }
        let record = role.record.take();
        let endpoint = Seat::new(role.config.clone(), role.shard.clone(), record);
        let shards = Others::new(role.links.shards.clone());
        Ok(Self {
            role,
            endpoint,
            shards,
            policies: PolicyBook::default(),
            stale: false,
            loading: Loading::default(),
            filter_rules: None,
            netlink: Netlink::open()?,
            link_mtus: LinkMtus::default(),
            poller,
            batch: BatchIo::new(0),
            packets: buffers(BATCH),
            outgoing: buffers(TOGETHER),
            behind_routes: false,
            letters: Vec::with_capacity(TOGETHER),
            ahead: false,
            ticket: Ticket::default(),
            news: Vec::new(),
            replaced: BTreeSet::new(),
            bundles: Bundles::default(),
            room: Room::default(),
            stopping: false,
        })
    }

    fn run(&mut self, requests: &CommandReceiver<ToIke>) {
        if let Err(error) = self.poller.add(requests, REQUESTS, Interest::Readable) {
            error!(%error, "the ike role cannot wait for requests");
            return;
        }
        let mut events = Events::new();
        self.tell_ticket_keys();
        while !(self.stopping && self.endpoint.is_idle() && self.shards.are_gone()) {
            let now = clock::now();
            let lacks_key_shares = self.endpoint.lacks_key_shares();
            let timeout = match self.endpoint.poll_timeout() {
                _ if lacks_key_shares => Some(Duration::ZERO),
                at => at.map(|at| at.saturating_duration_since(now)),
            };
            let timeout = timeout.into_iter().chain(self.shards.timeout()).min();
            let timeout = self.loading.shorten(timeout);
            if let Err(error) = self.poller.wait(&mut events, timeout) {
                error!(%error, "the ike role cannot wait");
                break;
            }
            if lacks_key_shares && events.iter().next().is_none() {
                self.endpoint.give(Input::PrepareKeyShare, now);
            }
            self.receive(&events);
            // What peers made us install goes in as it was agreed on, before anything is unloaded.
            self.drain();
            if !self.take_requests(requests) {
                break;
            }
            self.load_slice();
            self.take_parked();
            if self.role.tickets.look(now, &mut self.endpoint.rng) {
                self.tell_ticket_keys();
            }
            self.endpoint.give(Input::Timeout, clock::now());
            self.drain();
            self.ring();
        }
        self.tell_news();
        self.tell_parent(ToParent::IkeStopped);
        self.ring();
    }

    fn tell_ticket_keys(&mut self) {
        self.direct(self.role.tickets.command(), clock::now());
    }

    /// Sends what answers the last requests and datagrams. Those who open packets are told before, as the
    /// peer may use a child SA when it has our message: its first packet wakes them.
    fn post(&mut self) {
        self.endpoint.flush();
        self.role.links.inbound.announce();
        self.role.sockets.transmit_all(&self.letters, &mut self.outgoing, &mut self.batch);
        self.letters.clear();
    }

    /// Like [`Self::post`]; wakes then whom the last requests and datagrams concern, too, those who tell of
    /// it last.
    fn ring(&mut self) {
        self.post();
        let Links { inbound, outbound, kernel, keys, control, .. } = &self.role.links;
        inbound.ring();
        outbound.ring();
        keys.ring();
        kernel.ring();
        control.ring();
        // What they do because of a command waits for `settle`, too.
        if !self.stale {
            self.flush_shards();
        }
    }

    /// Reads the sockets that have something to read.
    fn receive(&mut self, events: &Events) {
        let now = clock::now();
        for ready in events.iter().filter(|ready| ready.token != REQUESTS) {
            let pair = &self.role.sockets.ike;
            let socket = if ready.token == SOCKET_V4 { Some(pair.v4()) } else { pair.v6() };
            let Some(socket) = socket else { continue };
            let got =
                socket.recv_batch(&mut self.batch, &mut self.packets).unwrap_or_else(|error| {
                    debug!(%error, "receiving on the IKE port failed");
                    0
                });
            let problems: Vec<_> = if ready.error {
                let local = socket.local();
                let path = |problem: &SocketError| Path::udp(local, problem.remote());
                errors(socket).map(|problem| (path(&problem), icmp_heard(&problem))).collect()
            } else {
                Vec::new()
            };
            let packets = std::mem::take(&mut self.packets);
            for some in packets.get(..got).unwrap_or_default().chunks(TOGETHER) {
                for packet in some.iter().filter(|packet| !packet.is_empty()) {
                    let path = Path::udp(packet.meta.local, packet.meta.remote);
                    self.datagram(path, packet.data(), now);
                }
                self.drain();
                self.post();
            }
            self.packets = packets;
            for (path, icmp) in problems {
                self.unreachable(path, icmp, now);
            }
        }
    }

    /// Takes some requests: those who flood this role must not stop its timers, and not UDP 500. False
    /// if all who could ask are gone.
    fn take_requests(&mut self, requests: &CommandReceiver<ToIke>) -> bool {
        let mut taken = 0;
        // A configuration comes in many pieces; what it is made of is put in force once.
        while taken < ROUND_MAX || self.stale {
            taken += 1;
            if taken % BATCH == 0 {
                self.ring();
            } else if taken % TOGETHER == 0 {
                self.post();
            }
            match requests.next() {
                Next::Command(request) => {
                    if let Some(request) = self.loading.park(request) {
                        self.take(request);
                    }
                }
                Next::Empty => break,
                Next::Closed => return false,
            }
        }
        self.settle();
        true
    }

    /// Takes a request; changed policies are in force before one that does not change them.
    fn take(&mut self, request: ToIke) {
        if !changes_policies(&request) {
            self.settle();
        }
        self.handle(request, clock::now());
        if !self.stale {
            self.drain();
        }
    }

    /// Puts changed policies in force, then lets out what waited for them.
    fn settle(&mut self) {
        if std::mem::take(&mut self.stale) {
            self.publish_policies();
            self.drain();
        }
    }

    fn handle(&mut self, request: ToIke, now: Instant) {
        match request {
            ToIke::Input(input) => self.endpoint.give(input, now),
            ToIke::Outputs(from, outputs) => {
                outputs.into_iter().for_each(|output| self.carry_out(from, output));
            }
            ToIke::Answer(query, from, answer) => self.answered(query, from, answer),
            ToIke::ShardStopped(number) => self.shard_has_ended(number),
            ToIke::Packet(news) => self.packet_news(news, now),
            ToIke::Network(addresses) => {
                self.network(addresses.into(), now);
                self.tell_link_mtus();
            }
            ToIke::Command(command) => self.command(command, now),
            ToIke::Replace(connection) => {
                self.command(Command::Unload(connection.name.clone()), now);
                self.command(Command::Load(connection), now);
            }
            ToIke::Configure(requests) => self.configure(requests),
            ToIke::Install { connection, child, install } => {
                if let Some(policy) = self.policies.policy(&connection, &child) {
                    self.policies.install(policy, install);
                    self.stale = true;
                }
            }
            ToIke::Manual(change) => self.manual(change),
            ToIke::SetPolicies(policies) => {
                self.policies.set_operator(policies);
                self.stale = true;
            }
            ToIke::Policies(query, asked) => self.tell_policies(query, asked.as_ref()),
            ToIke::Count(query) => self.ask_shards(query, QuestionKind::Count),
            ToIke::Show(query) => self.ask_shards(query, QuestionKind::Show),
            ToIke::Snapshot(query) => self.ask_shards(query, QuestionKind::Snapshot),
            ToIke::Stop => {
                self.stopping = true;
                self.loading.forget_tunnels();
                self.take_parked();
                self.direct(Command::Shutdown, now);
            }
        }
    }

    fn command(&mut self, command: Command, now: Instant) {
        // The policy goes in before and comes out after the SAs: no packet slips through between.
        // What the endpoint sends because of a command waits for `settle`.
        match command {
            Command::Load(connection) => {
                self.policies.load(Arc::clone(&connection));
                self.stale = true;
                self.load(&connection, now);
            }
            Command::Unload(name) => {
                self.unload(&name, now);
                self.policies.unload(&name);
                self.stale = true;
            }
            Command::LoadElsewhere(_)
            | Command::BringUp { .. }
            | Command::Initiate { .. }
            | Command::Down { .. }
            | Command::TerminateIke { .. }
            | Command::TerminateChild { .. }
            | Command::RekeyIke(_)
            | Command::Reauthenticate(_)
            | Command::RekeyChild(_)
            | Command::RedirectIke { .. }
            | Command::UseTicketKeys { .. }
            | Command::Shutdown => self.direct(command, now),
        }
    }

    fn packet_news(&mut self, news: PacketNews, now: Instant) {
        let event = match news {
            PacketNews::Event(event) if self.is_manual_event(&event) => return,
            PacketNews::Event(event) => self.bundles.seen_from_ike(event),
            PacketNews::PathMtu { child, mtu, inner, source } => {
                return self.path_mtu(child, (mtu, inner), source);
            }
            PacketNews::Acquire { policy, flow } => {
                let Some((connection, child)) = self.policies.names(policy) else {
                    return;
                };
                PacketEvent::Acquire { connection, child, flow }
            }
        };
        self.packet_event(event, now);
    }

    fn drain(&mut self) {
        while let Some(output) = self.endpoint.poll_output() {
            self.carry_out(FIRST, output);
        }
        self.tell_news();
        self.behind_routes = false;
    }

    /// Hands on what was put by for the control role.
    fn tell_news(&mut self) {
        let mut news = std::mem::take(&mut self.news);
        let message = match news.pop() {
            None => return,
            Some(only) if news.is_empty() => only,
            Some(last) => {
                news.push(last);
                ToControl::Many(news)
            }
        };
        if !self.ahead && Arc::get_mut(&mut self.ticket).is_some() {
            let _ = self.role.links.control.push(message);
        } else {
            self.tell_parent(ToParent::Tell(Box::new(message)));
        }
    }

    /// Does what a shard wants done.
    fn carry_out(&mut self, from: u16, output: Output) {
        self.note(from, &output);
        match output {
            Output::Transmit { path, octets } => self.transmit(path, octets),
            Output::Keepalive(path) => {
                let inside = self.policies.is_inside(path.remote.ip());
                self.role.sockets.keep_alive(path, inside);
            }
            Output::HangUp(path) => self.hang_up(path),
            Output::InstallChild { sa, outbound } => self.install(*sa, outbound),
            Output::ActivateOutbound(id) => self.activate(id),
            Output::RemoveChild { id, delay } => self.remove(id, delay),
            Output::UpdatePeer { child, encap } => self.update_peer(child, encap),
            Output::SkipSequence { child, by } => self.skip_sequence(child, by),
            Output::Notice { child, notice } => self.hear_notice(child, notice),
            Output::Auth(job) => {
                let _ = self.role.links.keys.push(ToKeys::Auth(job));
            }
            Output::Ppk(job) => {
                let _ = self.role.links.keys.push(ToKeys::Ppk(job));
            }
            Output::Resolve { job, query } => self.resolve(job, query),
            Output::Event(event) => {
                self.note_tcp(&event);
                self.note_inside(&event);
                if let adit_ike::Event::ChildRekeyed { old, .. } = &event {
                    self.ask_what_flowed(old.id);
                    self.replaced.insert(old.id);
                }
                self.tell_control(ToControl::Event(event));
            }
            Output::Done { request, result } => self.done(request, from, result),
            Output::Tidings(tidings) => self.share(from, &tidings),
            Output::Keys(keys) => {
                let Some(log) = &mut self.role.key_log else {
                    return;
                };
                if let Err(error) = log.add(&keys) {
                    warn!(%error, "session keys could not be written");
                }
            }
        }
    }

    fn install(&mut self, mut sa: adit_db::ChildSa, active: bool) {
        let policy = self.policies.add_sa(&sa);
        if Engine::of(sa.spi_in) == Engine::Kernel {
            let options = self.policies.kernel_options(policy);
            self.tell_kernel(ToKernel::Install { sa: Box::new(sa), policy, options, active });
            self.publish_change(Engine::Kernel, Some(policy));
            return;
        }
        match self.install_halves(&mut sa, policy, active) {
            Ok(()) => self.publish_userspace(policy, sa.id),
            Err(error) => error!(%error, "a child SA could not be installed"),
        }
    }

    fn activate(&mut self, child: ChildSaId) {
        match self.policies.engine_of(child) {
            Engine::Kernel => self.tell_kernel(ToKernel::Activate(child)),
            Engine::Userspace | Engine::Auto => {
                self.tell_outbound(|| OutboundCommand::Activate { child });
            }
        }
    }

    fn remove(&mut self, child: ChildSaId, delay: Duration) {
        let engine = self.policies.engine_of(child);
        // Two answers for one event would be added up.
        if !self.replaced.remove(&child) {
            self.ask_what_flowed(child);
        }
        match engine {
            Engine::Kernel => self.tell_kernel(ToKernel::RemoveLater { child, delay }),
            Engine::Userspace | Engine::Auto => {
                for child in self.bundles.all_of(child) {
                    self.tell_outbound(|| OutboundCommand::Remove { child });
                    self.role.links.inbound.push_each(|| ToInbound::RemoveLater { child, delay });
                }
                self.bundles.forget(child);
            }
        }
        let is_routed = self.policies.is_routed_anyway(child);
        let policy = self.policies.remove_sa(child);
        self.forget_child(child);
        if is_routed {
            self.publish_spd();
        } else {
            self.publish_change(engine, policy);
        }
    }

    /// Publishes what a new child SA in user space changed: nothing of the routes, if what is
    /// configured has them anyway. Then the peer's answer need not wait for the parent.
    fn publish_userspace(&mut self, policy: PolicyId, child: ChildSaId) {
        if self.policies.is_routed_anyway(child) {
            self.publish_spd();
        } else {
            self.publish_change(Engine::Userspace, Some(policy));
        }
    }

    fn update_peer(&mut self, child: ChildSaId, encap: adit_db::Encapsulation) {
        match self.policies.engine_of(child) {
            Engine::Kernel => {
                let policy = self.policies.move_sa(child, encap.remote.ip());
                self.tell_kernel(ToKernel::UpdatePeer { child, encap });
                self.publish_change(Engine::Kernel, policy);
            }
            Engine::Userspace | Engine::Auto => {
                self.tell_outbound(|| OutboundCommand::UpdatePeer { child, encap });
                let policy = self.policies.move_sa(child, encap.remote.ip());
                let mtu = self.link_mtu(encap.remote.ip());
                self.tell_link_mtu(child, mtu);
                if let Some(policy) = policy {
                    self.note_link(policy, mtu);
                }
                self.tell_inbound(|| InboundCommand::UpdatePeer { child, encap });
            }
        }
    }

    /// All threads share what is left out, so one is told. The kernel's SAs are not asked for.
    fn skip_sequence(&self, child: ChildSaId, by: u64) {
        let command = ToOutbound::Engine(OutboundCommand::Skip { child, by });
        self.role.links.outbound.push_to(0, command);
    }

    /// One thread is enough to tell a host, and tells the others of a path.
    fn hear_notice(&self, child: ChildSaId, notice: GatewayNotice) {
        if self.policies.engine_of(child) == Engine::Kernel {
            return debug!(?child, "a notice is not taken: {KERNEL_TAKES_NO_NOTICES}");
        }
        let command = ToOutbound::Engine(OutboundCommand::Notice { child, notice });
        self.role.links.outbound.push_to(0, command);
    }

    fn publish_policies(&mut self) {
        if let Err(error) = self.policies.rebuild() {
            warn!(%error, "the policies stay as they were");
            return;
        }
        self.publish_spd();
        self.publish_tun_mtus();
        self.tell_inside();
        // An earlier filter may have failed.
        self.filter_rules = None;
        self.tell_kernel(ToKernel::Interfaces(self.policies.interfaces()));
        self.tell_parent(ToParent::Interfaces(self.policies.tunnel_interfaces()));
        self.publish_held();
        self.publish_routes(RouteChange::All(self.policies.routed()));
    }

    /// Publishes what child SAs of an engine changed about one policy.
    fn publish_change(&mut self, engine: Engine, policy: Option<PolicyId>) {
        let Some(policy) = policy.map(|policy| self.policies.owner(policy)) else { return };
        match engine {
            // What is held without an SA is held with one: nothing to tell, whatever else there is.
            Engine::Kernel if self.policies.is_held_anyway(policy) => {}
            Engine::Kernel => self.publish_held(),
            Engine::Userspace | Engine::Auto => self.publish_spd(),
        }
        self.publish_routes(RouteChange::One(policy, self.policies.routed_by(policy)));
    }

    fn publish_spd(&mut self) {
        for (table, spd) in self.policies.take_changed() {
            match spd.map(Arc::new) {
                Some(spd) if table == TableId::DEFAULT => {
                    self.tell_outbound(|| OutboundCommand::SetPolicies(Arc::clone(&spd)));
                    self.tell_inbound(|| InboundCommand::SetPolicies(Arc::clone(&spd)));
                }
                spd => self.tell_outbound(|| OutboundCommand::SetTable { table, spd: spd.clone() }),
            }
        }
    }

    /// What the kernel holds, and the filter, which must let through what the kernel has opened.
    fn publish_held(&mut self) {
        let held = self.policies.held_by_kernel();
        let rules = filter::rules(self.policies.spd(), &held, |policy| self.policies.tells(policy));
        let rules = filter::with_tcp(rules, self.policies.tcp_servers());
        self.tell_kernel(ToKernel::Policies(held));
        if self.filter_rules.as_ref() != Some(&rules) {
            self.tell_parent(ToParent::Filter(rules.clone()));
            self.filter_rules = Some(rules);
        }
    }

    fn publish_routes(&mut self, change: RouteChange) {
        self.tell_parent(ToParent::Routes(change));
        self.behind_routes = true;
    }

    /// The policies in force; with a packet the one that decides about it, and its routes.
    fn tell_policies(&mut self, query: QueryId, asked: Option<&Asked>) {
        let total = self.policies.count();
        let mut view = PolicyView { entries: Vec::new(), total, carrier: None, routes: None };
        let mut packet = None;
        if let Some(Asked { flow, dscp, interface }) = asked {
            let routes = routes::ways(&mut self.netlink, flow.dst);
            let interface = interface.as_deref().or(routes.plain.interface.as_deref());
            let Decision { entry, carrier } = self.policies.deciding(flow, interface);
            packet = Some((self.policies.table_at(interface), *flow, *dscp));
            view.entries.extend(entry);
            (view.carrier, view.routes) = (carrier, Some(routes));
        } else {
            view.entries = self.policies.list(ENTRIES_MAX);
        }
        self.role.links.outbound.push_each(|| ToOutbound::Report(query, packet));
        self.tell_control(ToControl::Policies(query, Box::new(view)));
    }

    /// What is sent together with new routes waits for them: the peer may use the tunnel as soon
    /// as it has our message, and our answer to its first packet needs the route.
    fn transmit(&mut self, path: Path, octets: Vec<u8>) {
        let inside = self.policies.is_inside(path.remote.ip());
        if self.behind_routes {
            self.tell_parent(ToParent::Transmit { path, octets, inside });
        } else {
            self.letters.push(Letter { path, octets, inside });
            if self.letters.len() >= TOGETHER {
                self.post();
            }
        }
    }

    /// Behind what was sent before.
    fn hang_up(&mut self, path: Path) {
        if self.behind_routes {
            return self.tell_parent(ToParent::HangUp(path));
        }
        self.role.sockets.transmit_all(&self.letters, &mut self.packets, &mut self.batch);
        self.letters.clear();
        self.role.sockets.hang_up(path);
    }

    /// The peer at the other end of a TCP connection has authenticated.
    fn note_tcp(&self, event: &adit_ike::Event) {
        if let adit_ike::Event::IkeUp(ike) | adit_ike::Event::PeerMoved { ike, .. } = event
            && ike.transport == Transport::TcpResponder
        {
            let path = Path { transport: ike.transport, ..Path::udp(ike.local, ike.remote) };
            self.role.links.tcp.tell(ToTcp::Proven(path));
        }
    }

    fn resolve(&mut self, job: adit_ike::JobId, query: Query) {
        match query {
            Query::SourceFor(remote) => {
                let source = self.source_for(remote).into_iter().collect();
                self.resolved(job, source, clock::now());
            }
            Query::Name(name) => {
                let shards = self.role.links.shards.clone();
                let started = spawn_named("resolve", move || {
                    let addresses = resolve(&name).unwrap_or_default();
                    shards.send_resolved(job, addresses);
                });
                if let Err(error) = started {
                    warn!(%error, "no thread to resolve a name");
                    self.resolved(job, Vec::new(), clock::now());
                }
            }
        }
    }

    fn source_for(&mut self, remote: IpAddr) -> Option<IpAddr> {
        let mut towards = remote;
        if let Some(outermost) = self.policies.outermost(remote) {
            let address = |hosts: &[HostSpec]| hosts.iter().find_map(HostSpec::address);
            if let Some(own) = address(&outermost.local_addresses) {
                return Some(own);
            }
            towards = address(&outermost.remote_addresses).unwrap_or(remote);
        }
        let RouteLookup { source, .. } = self
            .netlink
            .lookup_route(towards, None, MARK)
            .inspect_err(|error| debug!(%error, "no route to the peer"))
            .ok()?;
        source
    }

    /// Whoever hears that a child SA is gone wants to know what it carried.
    fn ask_what_flowed(&self, child: ChildSaId) {
        if self.policies.engine_of(child) == Engine::Kernel {
            let _ = self.role.links.kernel.push(ToKernel::Flowed(child));
            return;
        }
        self.role.links.outbound.push_each(|| ToOutbound::Flowed(child));
        self.role.links.inbound.push_each(|| ToInbound::Flowed(child));
    }

    fn tell_outbound(&self, mut command: impl FnMut() -> OutboundCommand) {
        self.role.links.outbound.push_each(|| ToOutbound::Engine(command()));
    }

    fn tell_inbound(&self, mut command: impl FnMut() -> InboundCommand) {
        self.role.links.inbound.push_each(|| ToInbound::Engine(command()));
    }

    /// What follows waits for the kernel as it waits for the routes.
    fn tell_kernel(&mut self, command: ToKernel) {
        let _ = self.role.links.kernel.push(command);
        self.behind_routes = true;
        self.ahead = true;
    }

    /// Through the kernel role, which puts SAs and policies in place first.
    fn tell_parent(&mut self, message: ToParent) {
        let message = ToParent::InTurn(Box::new(message), Ticket::clone(&self.ticket));
        let _ = self.role.links.kernel.push(ToKernel::Then(Box::new(message)));
        self.ahead = false;
    }

    /// With the rest of what happens now, and through the parent while it or the kernel role has
    /// something to put in place first.
    fn tell_control(&mut self, message: ToControl) {
        self.news.push(message);
    }
}

/// Whether a request only changes what the policies are made of.
fn changes_policies(request: &ToIke) -> bool {
    matches!(
        request,
        ToIke::Command(Command::Load(_) | Command::Unload(_))
            | ToIke::Replace(_)
            | ToIke::Configure(_)
            | ToIke::Install { .. }
            | ToIke::Manual(_)
            | ToIke::SetPolicies(_)
    )
}
