//! The ike role: runs the IKEv2 endpoint (RFC 7296) on real sockets and a real clock.
//!
//! It reads UDP 500 itself; what comes in on UDP 4500 is sorted by the inbound thread. It holds
//! session keys for as long as it takes to hand them to the packet threads, and no long-term ones.

mod manual;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use adit_crypto::SystemRng;
use adit_dataplane::{InboundCommand, OutboundCommand};
use adit_db::{Engine, HostSpec, PolicyId, TableId};
use adit_ike::{Command, Endpoint, EndpointConfig, Output, PacketEvent, Path, Query};
use adit_mgmt::api::ENTRIES_MAX;
use adit_sys::BatchIo;
use adit_sys::clock;
use adit_sys::filter::FilterRule;
use adit_sys::netlink::{Netlink, RouteLookup};
use adit_sys::resolve::resolve;
use adit_sys::route::MARK;
use adit_sys::thread::spawn_named;
use adit_sys::wake::{CommandReceiver, Events, Interest, Next, Poller, Token};
use adit_wire::packet_buf::PacketBuf;
use tracing::{debug, error, warn};

use crate::keylog::KeyLog;
use crate::message::{
    Asked, Links, PacketNews, PolicyView, QueryId, RouteChange, ToControl, ToIke, ToInbound,
    ToKernel, ToOutbound, ToParent,
};
use crate::policy::{Decision, PolicyBook};
use crate::role::errors;
use crate::role::ike_sockets::IkeSockets;
use crate::role::keys::ToKeys;
use crate::{filter, routes};

/// What the role needs from its parent.
pub(crate) struct IkeRole {
    /// UDP 500, to send and receive, and UDP 4500, to send.
    pub(crate) sockets: IkeSockets,
    /// The other roles, and its own queue for answers of lookups.
    pub(crate) links: Links,
    /// Where session keys are written, if they are.
    pub(crate) key_log: Option<KeyLog>,
    /// Settings of the endpoint.
    pub(crate) config: EndpointConfig,
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
/// Datagrams read in one go.
const BATCH: usize = 32;
/// Longest IKE message taken: the largest UDP payload.
const MESSAGE_OCTETS_MAX: usize = 65_535;

struct Running {
    role: IkeRole,
    endpoint: Endpoint,
    rng: SystemRng,
    policies: PolicyBook,
    /// The configuration changed and the packet threads do not know yet.
    stale: bool,
    /// The packet filter as it was sent last.
    filter_rules: Option<Vec<FilterRule>>,
    netlink: Netlink,
    poller: Poller,
    batch: BatchIo,
    packets: Vec<PacketBuf>,
    /// New routes or changes of the kernel are on their way, and the outputs that came with them
    /// are not all out.
    behind_routes: bool,
    stopping: bool,
}

impl Running {
    fn new(role: IkeRole) -> anyhow::Result<Self> {
        let poller = Poller::new()?;
        poller.add(role.sockets.ike.v4(), SOCKET_V4, Interest::Readable)?;
        if let Some(socket) = role.sockets.ike.v6() {
            poller.add(socket, SOCKET_V6, Interest::Readable)?;
        }
        let endpoint = Endpoint::new(role.config.clone());
        let packets = (0..BATCH).map(|_| PacketBuf::with_capacity(0, MESSAGE_OCTETS_MAX)).collect();
        Ok(Self {
            role,
            endpoint,
            rng: SystemRng,
            policies: PolicyBook::default(),
            stale: false,
            filter_rules: None,
            netlink: Netlink::open()?,
            poller,
            batch: BatchIo::new(0),
            packets,
            behind_routes: false,
            stopping: false,
        })
    }

    fn run(&mut self, requests: &CommandReceiver<ToIke>) {
        if let Err(error) = self.poller.add(requests, REQUESTS, Interest::Readable) {
            error!(%error, "the ike role cannot wait for requests");
            return;
        }
        let mut events = Events::new();
        while !(self.stopping && self.endpoint.is_idle()) {
            let now = clock::now();
            let timeout = self.endpoint.poll_timeout().map(|at| at.saturating_duration_since(now));
            if let Err(error) = self.poller.wait(&mut events, timeout) {
                error!(%error, "the ike role cannot wait");
                break;
            }
            self.receive();
            // What peers made us install goes in as it was agreed on, before anything is unloaded.
            self.drain();
            if !self.take_requests(requests) {
                break;
            }
            self.endpoint.handle_timeout(clock::now(), &mut self.rng);
            self.drain();
        }
        self.tell_parent(ToParent::IkeStopped);
    }

    fn receive(&mut self) {
        let now = clock::now();
        for socket in self.role.sockets.ike.halves() {
            let got =
                socket.recv_batch(&mut self.batch, &mut self.packets).unwrap_or_else(|error| {
                    debug!(%error, "receiving on the IKE port failed");
                    0
                });
            for packet in self.packets.iter().take(got).filter(|packet| !packet.is_empty()) {
                let path = Path { local: packet.meta.local, remote: packet.meta.remote };
                self.endpoint.handle_datagram(path, packet.data(), now, &mut self.rng);
            }
            for problem in errors(socket) {
                let path = Path { local: socket.local(), remote: problem.remote() };
                self.endpoint.handle_unreachable(path, now, &mut self.rng);
            }
        }
    }

    /// False if all who could ask are gone.
    fn take_requests(&mut self, requests: &CommandReceiver<ToIke>) -> bool {
        loop {
            match requests.next() {
                Next::Command(request) => {
                    // A configuration comes in many pieces; the policies are built once.
                    if !changes_policies(&request) {
                        self.settle();
                    }
                    self.handle(request, clock::now());
                    if !self.stale {
                        self.drain();
                    }
                }
                Next::Empty => {
                    self.settle();
                    return true;
                }
                Next::Closed => return false,
            }
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
        let rng = &mut self.rng;
        match request {
            ToIke::Datagram { path, octets } => {
                self.endpoint.handle_datagram(path, &octets, now, rng);
            }
            ToIke::Unreachable(path) => self.endpoint.handle_unreachable(path, now, rng),
            ToIke::Packet(news) => self.packet_news(news, now),
            ToIke::Auth(job, result) => self.endpoint.handle_auth(job, result, now, rng),
            ToIke::Resolved(job, addresses) => {
                self.endpoint.handle_resolved(job, addresses, now, rng);
            }
            ToIke::Command(command) => self.command(command, now),
            ToIke::Replace(connection) => {
                self.command(Command::Unload(connection.name.clone()), now);
                self.command(Command::Load(connection), now);
            }
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
            ToIke::Snapshot(query) => {
                let sas = self.endpoint.ike_sas().collect();
                let connections = self.endpoint.connections().collect();
                self.tell_control(ToControl::Snapshot { query, sas, connections });
            }
            ToIke::Stop => {
                self.stopping = true;
                self.endpoint.handle_command(Command::Shutdown, now, rng);
            }
        }
    }

    fn command(&mut self, command: Command, now: Instant) {
        // The policy goes in before and comes out after the SAs: no packet slips through between.
        // What the endpoint sends because of a command waits for `settle`.
        match &command {
            Command::Load(connection) => {
                self.policies.load(Arc::clone(connection));
                self.stale = true;
                self.endpoint.handle_command(command, now, &mut self.rng);
            }
            Command::Unload(name) => {
                let name = name.clone();
                self.endpoint.handle_command(command, now, &mut self.rng);
                self.policies.unload(&name);
                self.stale = true;
            }
            Command::Initiate { .. }
            | Command::Down { .. }
            | Command::TerminateIke { .. }
            | Command::TerminateChild { .. }
            | Command::RekeyIke(_)
            | Command::RekeyChild(_)
            | Command::Shutdown => self.endpoint.handle_command(command, now, &mut self.rng),
        }
    }

    fn packet_news(&mut self, news: PacketNews, now: Instant) {
        let event = match news {
            PacketNews::Event(event) if self.is_manual_event(&event) => return,
            PacketNews::Event(event) => event,
            PacketNews::Acquire { policy, flow } => {
                let Some((connection, child)) = self.policies.names(policy) else {
                    return;
                };
                PacketEvent::Acquire { connection, child, flow }
            }
        };
        self.endpoint.handle_packet_event(event, now, &mut self.rng);
    }

    fn drain(&mut self) {
        while let Some(output) = self.endpoint.poll_output() {
            self.carry_out(output);
        }
        self.behind_routes = false;
    }

    fn carry_out(&mut self, output: Output) {
        match output {
            Output::Transmit { path, octets } => self.transmit(path, octets),
            Output::Keepalive(path) => {
                let inside = self.policies.is_inside(path.remote.ip());
                self.role.sockets.keep_alive(path, inside);
            }
            Output::InstallChild { sa, outbound } => self.install(*sa, outbound),
            Output::ActivateOutbound(id) => self.activate(id),
            Output::RemoveChild { id, delay } => self.remove(id, delay),
            Output::UpdatePeer { child, encap } => self.update_peer(child, encap),
            Output::Auth(job) => {
                let _ = self.role.links.keys.send(ToKeys::Auth(job));
            }
            Output::Resolve { job, query } => self.resolve(job, query),
            Output::Event(event) => {
                if let adit_ike::Event::ChildRekeyed { old, .. } = &event {
                    self.ask_what_flowed(old.id);
                }
                self.tell_control(ToControl::Event(event));
            }
            Output::Done { request, result } => {
                self.tell_control(ToControl::Done { request, result });
            }
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

    fn install(&mut self, sa: adit_db::ChildSa, active: bool) {
        let policy = self.policies.add_sa(&sa);
        if Engine::of(sa.spi_in) == Engine::Kernel {
            let options = self.policies.kernel_options(policy);
            self.tell_kernel(ToKernel::Install { sa: Box::new(sa), policy, options, active });
            self.publish_change(Engine::Kernel, Some(policy));
            return;
        }
        let (mut inbound, mut outbound) = match adit_dataplane::split(&sa, policy, clock::now()) {
            Ok(halves) => halves,
            Err(error) => {
                error!(%error, "a child SA could not be installed");
                return;
            }
        };
        inbound = inbound.into_table(self.policies.table_of(policy));
        if let Some(over) = self.policies.over(&sa.connection) {
            (inbound, outbound) = (inbound.over(over, sa.encap.local), outbound.over(over));
        }
        self.tell_inbound(InboundCommand::Install(Box::new(inbound)));
        self.tell_outbound(OutboundCommand::Install { sa: Box::new(outbound), active });
        self.publish_change(Engine::Userspace, Some(policy));
    }

    fn activate(&mut self, child: adit_db::ChildSaId) {
        match self.policies.engine_of(child) {
            Engine::Kernel => self.tell_kernel(ToKernel::Activate(child)),
            Engine::Userspace | Engine::Auto => {
                self.tell_outbound(OutboundCommand::Activate { child });
            }
        }
    }

    fn remove(&mut self, child: adit_db::ChildSaId, delay: Duration) {
        let engine = self.policies.engine_of(child);
        self.ask_what_flowed(child);
        match engine {
            Engine::Kernel => self.tell_kernel(ToKernel::RemoveLater { child, delay }),
            Engine::Userspace | Engine::Auto => {
                self.tell_outbound(OutboundCommand::Remove { child });
                let _ = self.role.links.inbound.send(ToInbound::RemoveLater { child, delay });
            }
        }
        let policy = self.policies.remove_sa(child);
        self.publish_change(engine, policy);
    }

    fn update_peer(&mut self, child: adit_db::ChildSaId, encap: adit_db::Encapsulation) {
        match self.policies.engine_of(child) {
            Engine::Kernel => {
                let policy = self.policies.move_sa(child, encap.remote.ip());
                self.tell_kernel(ToKernel::UpdatePeer { child, encap });
                self.publish_change(Engine::Kernel, policy);
            }
            Engine::Userspace | Engine::Auto => {
                self.tell_outbound(OutboundCommand::UpdatePeer { child, encap });
                self.tell_inbound(InboundCommand::UpdatePeer { child, encap });
            }
        }
    }

    fn publish_policies(&mut self) {
        if let Err(error) = self.policies.rebuild() {
            warn!(%error, "the policies stay as they were");
            return;
        }
        self.publish_spd();
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
            Engine::Kernel => self.publish_held(),
            Engine::Userspace | Engine::Auto => self.publish_spd(),
        }
        self.publish_routes(RouteChange::One(policy, self.policies.routed_by(policy)));
    }

    fn publish_spd(&mut self) {
        for (table, spd) in self.policies.take_changed() {
            match spd.map(Arc::new) {
                Some(spd) if table == TableId::DEFAULT => {
                    self.tell_outbound(OutboundCommand::SetPolicies(Arc::clone(&spd)));
                    self.tell_inbound(InboundCommand::SetPolicies(spd));
                }
                spd => self.tell_outbound(OutboundCommand::SetTable { table, spd }),
            }
        }
    }

    /// What the kernel holds, and the filter, which must let through what the kernel has opened.
    fn publish_held(&mut self) {
        let held = self.policies.held_by_kernel();
        let rules = filter::rules(self.policies.spd(), &held);
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
        let _ = self.role.links.outbound.send(ToOutbound::Report(query, packet));
        self.tell_control(ToControl::Policies(query, Box::new(view)));
    }

    /// What is sent together with new routes waits for them: the peer may use the tunnel as soon
    /// as it has our message, and our answer to its first packet needs the route.
    fn transmit(&mut self, path: Path, octets: Vec<u8>) {
        let inside = self.policies.is_inside(path.remote.ip());
        if self.behind_routes {
            self.tell_parent(ToParent::Transmit { path, octets, inside });
        } else {
            self.role.sockets.transmit(path, &octets, inside);
        }
    }

    fn resolve(&mut self, job: adit_ike::JobId, query: Query) {
        match query {
            Query::SourceFor(remote) => {
                let source = self.source_for(remote).into_iter().collect();
                self.endpoint.handle_resolved(job, source, clock::now(), &mut self.rng);
            }
            Query::Name(name) => {
                let own = self.role.links.ike.clone();
                let started = spawn_named("resolve", move || {
                    let addresses = resolve(&name).unwrap_or_default();
                    let _ = own.send(ToIke::Resolved(job, addresses));
                });
                if let Err(error) = started {
                    warn!(%error, "no thread to resolve a name");
                    self.endpoint.handle_resolved(job, Vec::new(), clock::now(), &mut self.rng);
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
    fn ask_what_flowed(&self, child: adit_db::ChildSaId) {
        if self.policies.engine_of(child) == Engine::Kernel {
            let _ = self.role.links.kernel.send(ToKernel::Flowed(child));
            return;
        }
        let _ = self.role.links.outbound.send(ToOutbound::Flowed(child));
        let _ = self.role.links.inbound.send(ToInbound::Flowed(child));
    }

    fn tell_outbound(&self, command: OutboundCommand) {
        let _ = self.role.links.outbound.send(ToOutbound::Engine(command));
    }

    fn tell_inbound(&self, command: InboundCommand) {
        let _ = self.role.links.inbound.send(ToInbound::Engine(command));
    }

    /// What follows waits for the kernel as it waits for the routes.
    fn tell_kernel(&mut self, command: ToKernel) {
        let _ = self.role.links.kernel.send(command);
        self.behind_routes = true;
    }

    /// Through the kernel role, which puts SAs and policies in place first.
    fn tell_parent(&self, message: ToParent) {
        let _ = self.role.links.kernel.send(ToKernel::Then(Box::new(message)));
    }

    /// Through the parent, which puts routes in place first.
    fn tell_control(&self, message: ToControl) {
        self.tell_parent(ToParent::Tell(Box::new(message)));
    }
}

/// Whether a request only changes what the policies are made of.
fn changes_policies(request: &ToIke) -> bool {
    matches!(
        request,
        ToIke::Command(Command::Load(_) | Command::Unload(_))
            | ToIke::Replace(_)
            | ToIke::Install { .. }
            | ToIke::Manual(_)
            | ToIke::SetPolicies(_)
    )
}
