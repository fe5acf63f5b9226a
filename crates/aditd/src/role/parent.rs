//! The parent: opens sockets and the TUN, starts the other roles, keeps the routes, listens to
//! signals, and takes everything down again.

mod filtering;
mod ike_threads;
mod inside;
mod interfaces;
mod network;
mod packet_threads;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::AsFd as _;
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use adit_dataplane::INNER_MTU;
use adit_db::{ConnectionName, InboundThreads, PolicyId};
use adit_ike::{EndpointConfig, Shards};
use adit_mgmt::Diagnosis;
use adit_mgmt::diagnosis::Context;
use adit_sys::SysError;
use adit_sys::filter::InboundFilter;
use adit_sys::icmp_errors::RouterSocket;
use adit_sys::icmp_sender::IcmpSender;
use adit_sys::netlink::{Family, Monitor, RouteKind};
use adit_sys::raw::{BypassSocket, RawEspSocket};
use adit_sys::raw_ah::RawAhSocket;
use adit_sys::route::{
    HostRouting, MARK, RoutePlan, RouteSizes, TABLE, TunnelWay, filters_reverse_path,
    forwarding_enabled,
};
use adit_sys::signal::{Signal, Signals};
use adit_sys::steering::{Part, keep_part};
use adit_sys::tcp::TcpListener;
use adit_sys::thread::spawn_named;
use adit_sys::tun::{Queues, Tun};
use adit_sys::udp::{DualUdpSocket, SocketOptions};
use adit_sys::unix::ControlListener;
use adit_sys::wake::{
    CommandReceiver, CommandSender, Events, Interest, Next, Poller, Token, channel,
};
use ipnet::IpNet;
use tracing::{error, info, warn};

use self::filtering::{InClear, open_filter};
use self::interfaces::{TunnelTuns, make_tun};
use self::network::Network;
use self::packet_threads::PacketThreads;
use crate::args::Args;
use crate::connected;
use crate::diagnose;
use crate::keylog::KeyLog;
use crate::log::Feed;
use crate::message::{
    Fleet, Links, RouteChange, ToControl, ToIke, ToInbound, ToKernel, ToOutbound, ToParent, ToShard,
};
use crate::policy::Routed;
use crate::raw_esp::FastEsp;
use crate::record::{self, RecordFile};
use crate::role::control::ControlRole;
use crate::role::ike_sockets::IkeSockets;
use crate::role::kernel::{KernelRole, exempt_all};
use crate::role::keys::{self, ToKeys};
use crate::role::tcp::{TcpLink, TcpRole, ToTcp};
use crate::routes::describe;
use crate::shards::{ShardLinks, ShardMap};

/// Everything the kernel gave us, opened before the first role starts.
struct Resources {
    ike_socket: DualUdpSocket,
    /// UDP 4500, once for each inbound thread.
    nat_sockets: Vec<DualUdpSocket>,
    /// For each inbound thread one of each family.
    raw: Vec<Vec<RawEspSocket>>,
    ah: Vec<RawAhSocket>,
    routers: Vec<RouterSocket>,
    tcp: Vec<TcpListener>,
    bypass: BypassSocket,
    icmp: IcmpSender,
    tun: Arc<Tun>,
    routing: HostRouting,
    monitor: Monitor,
    listener: ControlListener,
}

impl Resources {
    /// Opens them all; the error is a diagnosis for the operator.
    fn open(args: &Args, config: &EndpointConfig) -> Result<Self, Box<Diagnosis>> {
        let options = SocketOptions::default();
        make_parent(&args.vici)?;
        let listener = ControlListener::bind(&args.vici)
            .map_err(|error| said(&error, "open the control socket"))?;
        let ike_socket =
            DualUdpSocket::bind(config.ike_port, &options).map_err(|error| said(&error, PORTS))?;
        let threads = config.inbound_threads;
        let nat_sockets = DualUdpSocket::bind_for(threads, config.nat_port, &options)
            .map_err(|error| said(&error, PORTS))?;
        let tun = make_tun(args.tun.clone(), INNER_MTU, args.packet_threads.queues())
            .map(Arc::new)
            .map_err(|error| said(&error, "make the TUN interface"))?;
        // The kernel takes both sizes from the interface, the segment size for each family.
        let routing = HostRouting::new(tun.index(), RouteSizes::default())
            .map_err(|error| said(&error, "change the routes"))?;
        let (raw, ah) = (open_raw(&options, threads)?, open_ah(&options)?);
        let tcp = open_tcp(&args.listen_tcp.0)?;
        let bypass =
            BypassSocket::open(&options).map_err(|error| said(&error, "open a raw socket"))?;
        let nat = nat_sockets.iter().flat_map(DualUdpSocket::halves);
        let udp = ike_socket.halves().chain(nat);
        let udp = udp.flat_map(|socket| {
            let family = Family::of(socket.local().ip());
            [Some(socket.as_fd()), socket.uncut()].map(|socket| (family, socket))
        });
        let esp = raw.iter().flatten().flat_map(|socket| {
            [Some(socket.as_fd()), socket.uncut()].map(|fd| (socket.family(), fd))
        });
        let esp = udp.chain(esp).filter_map(|(family, socket)| Some((family, socket?)));
        let from_ah = ah.iter().map(|socket| (socket.family(), socket.as_fd()));
        exempt_all(esp.chain(from_ah).chain(bypass.halves()));
        Ok(Self {
            ike_socket,
            nat_sockets,
            raw,
            ah,
            tcp,
            bypass,
            routers: RouterSocket::open_all(&options),
            icmp: IcmpSender::open().map_err(|error| said(&error, "open a raw socket"))?,
            tun,
            routing,
            monitor: Monitor::open(Some(TABLE))
                .map_err(|error| said(&error, "watch the network"))?,
            listener,
        })
    }
}

/// What the parent binds first.
const PORTS: &str = "bind the IKE ports";

/// Listeners for TCP, of both families where there are both.
fn open_tcp(ports: &[u16]) -> Result<Vec<TcpListener>, Box<Diagnosis>> {
    let mut listeners = Vec::new();
    for port in ports {
        for any in [IpAddr::from(Ipv4Addr::UNSPECIFIED), Ipv6Addr::UNSPECIFIED.into()] {
            match TcpListener::bind(SocketAddr::new(any, *port), Some(MARK)) {
                Ok(listener) => listeners.push(listener),
                Err(SysError::FamilyUnsupported { .. }) => {}
                Err(error) => return Err(said(&error, "listen for TCP")),
            }
        }
    }
    Ok(listeners)
}

/// ESP sockets of both families for each inbound thread, with its part of what comes in.
fn open_raw(
    options: &SocketOptions,
    threads: InboundThreads,
) -> Result<Vec<Vec<RawEspSocket>>, Box<Diagnosis>> {
    let failed = |error: SysError| said(&error, "open the ESP socket");
    let mut all = Vec::new();
    for number in 0..threads.count() {
        let mut sockets = Vec::new();
        for family in Family::BOTH {
            let socket = match RawEspSocket::open(family, options) {
                Ok(socket) => socket,
                Err(SysError::FamilyUnsupported { .. }) => continue,
                Err(error) => return Err(failed(error)),
            };
            if threads != InboundThreads::ONE {
                let part = Part { number, threads };
                keep_part(socket.as_fd(), family, part, false).map_err(failed)?;
            }
            sockets.push(socket);
        }
        all.push(sockets);
    }
    Ok(all)
}

fn open_ah(options: &SocketOptions) -> Result<Vec<RawAhSocket>, Box<Diagnosis>> {
    let mut sockets = Vec::new();
    for family in Family::BOTH {
        match RawAhSocket::open(family, options) {
            Ok(socket) => sockets.push(socket),
            Err(SysError::FamilyUnsupported { .. }) => {}
            Err(error) => return Err(said(&error, "open the AH socket")),
        }
    }
    Ok(sockets)
}

fn make_parent(socket: &Path) -> Result<(), Box<Diagnosis>> {
    let Some(directory) = socket.parent().filter(|path| !path.as_os_str().is_empty()) else {
        return Ok(());
    };
    std::fs::create_dir_all(directory)
        .map_err(|error| Box::new(Diagnosis::file_missing(&Context::default(), directory, error)))
}

fn said(error: &SysError, what: &str) -> Box<Diagnosis> {
    Box::new(diagnose::system(error, what))
}

/// Runs the daemon until it is told to stop.
pub(crate) fn run(args: &Args, log: &Feed) -> Result<(), Box<Diagnosis>> {
    let signals = Signals::take().map_err(|error| said(&error, "take signals"))?;
    let config = EndpointConfig {
        export_keys: args.export_keys.is_some(),
        inbound_threads: args.packet_threads.inbound(),
        udp_probe: Duration::from_secs(args.udp_probe.into()),
        ..EndpointConfig::default()
    };
    let resources = Resources::open(args, &config)?;
    // Last of all: where the daemon does not start, no file is left.
    let record = record::open(args)?;
    let internal = |error: std::io::Error| {
        Box::new(Diagnosis::internal(&Context::default(), &error.to_string()))
    };
    let mut parent = Parent::start(args, log, &config, record, resources).map_err(internal)?;
    info!(version = env!("CARGO_PKG_VERSION"), tun = %args.tun, vici = %args.vici.display(), "started");
    parent.run(&signals);
    let failed = parent.failed;
    parent.stop();
    info!("stopped");
    // Who watches over us is to start us again.
    let Some(role) = failed else { return Ok(()) };
    let cx = Context::default();
    Err(Box::new(Diagnosis::internal(&cx, &format!("the {role} role has ended"))))
}

const SIGNALS: Token = Token(0);
const REQUESTS: Token = Token(1);
const NETWORK: Token = Token(2);
const IN_CLEAR: Token = Token(3);

struct Inboxes {
    parent: CommandReceiver<ToParent>,
    ike: CommandReceiver<ToIke>,
    shards: Vec<CommandReceiver<ToShard>>,
    keys: CommandReceiver<ToKeys>,
    outbound: Vec<CommandReceiver<ToOutbound>>,
    inbound: Vec<CommandReceiver<ToInbound>>,
    kernel: CommandReceiver<ToKernel>,
    control: CommandReceiver<ToControl>,
    tcp: CommandReceiver<ToTcp>,
}

/// Length of each queue; the ike role's takes bursts of datagrams.
const QUEUE: usize = 4_096;

fn links(queues: Queues, shards: Shards) -> std::io::Result<(Links, Inboxes)> {
    let (parent, from_parent) = channel(QUEUE)?;
    let (ike, from_ike) = channel(QUEUE)?;
    // The first is in the ike role.
    let (others, from_shards) = fleet(usize::from(shards.count()).saturating_sub(1))?;
    let shards = ShardLinks::new(ShardMap::new(shards), ike.clone(), others);
    let (keys, from_keys) = channel(QUEUE)?;
    let (outbound, from_outbound) = fleet(queues.readers)?;
    let (inbound, from_inbound) = fleet(queues.writers)?;
    let (kernel, from_kernel) = channel(QUEUE)?;
    let (control, from_control) = channel(QUEUE)?;
    let (queue, from_tcp) = channel(QUEUE)?;
    let tcp = TcpLink { queue, counters: Arc::default() };
    let links = Links { parent, ike, shards, keys, outbound, inbound, kernel, control, tcp };
    let inboxes = Inboxes {
        parent: from_parent,
        ike: from_ike,
        shards: from_shards,
        keys: from_keys,
        outbound: from_outbound,
        inbound: from_inbound,
        kernel: from_kernel,
        control: from_control,
        tcp: from_tcp,
    };
    Ok((links, inboxes))
}

/// Queues of threads that are one role.
fn fleet<T>(threads: usize) -> std::io::Result<(Fleet<T>, Vec<CommandReceiver<T>>)> {
    let ends: Vec<_> = (0..threads).map(|_| channel(QUEUE)).collect::<std::io::Result<_>>()?;
    let (senders, receivers) = ends.into_iter().unzip();
    Ok((Fleet::new(senders), receivers))
}

struct Parent {
    requests: CommandReceiver<ToParent>,
    links: Links,
    threads: Vec<JoinHandle<()>>,
    /// For what has to wait for routes.
    sockets: IkeSockets,
    filter: Option<InboundFilter>,
    in_clear: InClear,
    routing: HostRouting,
    routed: BTreeMap<PolicyId, Routed>,
    monitor: Monitor,
    network: Network,
    inside: inside::Inside,
    tun_index: u32,
    /// Of every interface.
    queues: Queues,
    /// The interfaces that tunnels have for themselves.
    tuns: TunnelTuns,
    told: Told,
    ike_stopped: bool,
    /// The role without which the daemon cannot go on.
    failed: Option<&'static str>,
}

/// What the operator was told, by policy: once is enough.
#[derive(Default)]
struct Told {
    /// Where the network goes instead of into the tunnel.
    strayed: BTreeMap<PolicyId, String>,
    /// The peer's packets are dropped on arrival.
    filtered: BTreeSet<PolicyId>,
    /// Why there is no packet filter.
    unfiltered: Option<String>,
}

impl Parent {
    fn start(
        args: &Args,
        log: &Feed,
        config: &EndpointConfig,
        record: Option<RecordFile>,
        resources: Resources,
    ) -> std::io::Result<Self> {
        let queues = args.packet_threads.queues();
        let (links, inboxes) = links(queues, args.ike_threads.0)?;
        log.connect(links.control.clone());
        let (routing, monitor) = (resources.routing, resources.monitor);
        let (keys_shards, tun_index) = (links.shards.clone(), resources.tun.index());
        let filter = open_filter(args, config);
        let (nat_sockets, raw) = (resources.nat_sockets, resources.raw);
        let nat = nat_sockets.first().ok_or(std::io::ErrorKind::NotFound)?;
        let sockets = ike_sockets(resources.ike_socket, nat, &links.tcp)?;
        let fast_esp = FastEsp::open(args, &raw).map_err(std::io::Error::other)?;
        let unconnected = connected::refusal(args, &nat_sockets);
        let kernel = kernel_role(nat, &raw, &resources.ah, fast_esp.has_rings(), &links)?;
        let packet_threads = PacketThreads {
            tun: resources.tun,
            nat_sockets,
            raw,
            fast_esp,
            ah: resources.ah,
            routers: resources.routers,
            unconnected,
            bypass: resources.bypass,
            icmp: resources.icmp,
            links: links.clone(),
        };
        let control = ControlRole {
            listener: resources.listener,
            config: args.config.clone(),
            tun: args.tun.clone(),
            links: links.clone(),
        };
        let tcp = tcp_role(resources.tcp, &links);
        // Before the configuration: who comes up knows where else this host is.
        let _ = links.ike.send(ToIke::Network(network::addresses(tun_index)));
        let parent = &links.parent;
        let mut threads = packet_threads.start(inboxes.outbound, inboxes.inbound)?;
        let (ike, shards) = (inboxes.ike, inboxes.shards);
        threads.extend(ike_threads::start(args, config, record, &sockets, &links, ike, shards)?);
        threads.extend([
            spawn_role("keys", parent, move || keys::run(&inboxes.keys, &keys_shards))?,
            spawn_role("kernel", parent, move || kernel.run(&inboxes.kernel))?,
            spawn_role("tcp", parent, move || tcp.run(&inboxes.tcp))?,
            spawn_role("control", parent, move || control.run(&inboxes.control))?,
        ]);
        Ok(Self {
            requests: inboxes.parent,
            links,
            threads,
            sockets,
            filter,
            in_clear: InClear::open(),
            routing,
            routed: BTreeMap::new(),
            monitor,
            network: Network::default(),
            inside: inside::Inside::default(),
            tun_index,
            queues,
            tuns: TunnelTuns::default(),
            told: Told::default(),
            ike_stopped: false,
            failed: None,
        })
    }

    fn run(&mut self, signals: &Signals) {
        self.warn_about_forwarding();
        let Ok(poller) = self.poller(signals) else {
            error!("the parent cannot wait for events");
            return;
        };
        let mut events = Events::new();
        let mut stopping = false;
        while !self.ike_stopped {
            if poller.wait(&mut events, self.network.timeout()).is_err() {
                return;
            }
            while let Ok(Some(signal)) = signals.next() {
                match signal {
                    // The second signal does not wait for the peers.
                    Signal::Interrupt | Signal::Terminate if stopping => return,
                    Signal::Interrupt | Signal::Terminate => {
                        stopping = true;
                        info!("stopping: telling the peers");
                        let _ = self.links.ike.send(ToIke::Stop);
                    }
                    Signal::Hangup => {
                        let _ = self.links.control.send(ToControl::Reload);
                    }
                }
            }
            self.take_requests();
            self.in_clear.tell();
            self.follow_network();
            self.tell_network();
        }
    }

    fn poller(&self, signals: &Signals) -> std::io::Result<Poller> {
        let poller = Poller::new()?;
        poller.add(signals, SIGNALS, Interest::Readable)?;
        poller.add(&self.requests, REQUESTS, Interest::Readable)?;
        poller.add(&self.monitor, NETWORK, Interest::Readable)?;
        self.in_clear.join(&poller, IN_CLEAR)?;
        Ok(poller)
    }

    fn take_requests(&mut self) {
        while let Next::Command(request) = self.requests.next() {
            self.take_request(request);
        }
    }

    fn take_request(&mut self, request: ToParent) {
        match request {
            // The ticket is given back when all is done.
            ToParent::InTurn(request, _ticket) => self.take_request(*request),
            ToParent::Routes(RouteChange::All(routes)) => self.set_routes(routes),
            ToParent::Routes(RouteChange::One(policy, routed)) => {
                self.set_route(policy, routed);
            }
            ToParent::Interfaces(wanted) => self.have_interfaces(wanted),
            ToParent::TunMtus(mtus) => self.set_tun_mtus(mtus),
            ToParent::InterfaceGone(table) => self.interface_is_gone(table),
            ToParent::Filter(rules) => self.set_filter(&rules),
            ToParent::Transmit { path, octets, inside } => {
                self.sockets.transmit(path, &octets, inside);
            }
            ToParent::Inside(ike, addresses) => self.have_addresses(ike, addresses),
            ToParent::HangUp(path) => self.sockets.hang_up(path),
            ToParent::Tell(message) => {
                let _ = self.links.control.send(*message);
            }
            ToParent::IkeStopped => self.ike_stopped = true,
            ToParent::Failed(role) => {
                error!(role, "a role has ended; the daemon stops");
                self.failed = Some(role);
                self.ike_stopped = true;
            }
        }
    }

    fn set_routes(&mut self, routes: BTreeMap<PolicyId, Routed>) {
        let mut changes = Vec::new();
        for policy in self.routed.keys().filter(|policy| !routes.contains_key(policy)) {
            self.told.strayed.remove(policy);
            self.told.filtered.remove(policy);
            changes.push((plan_name(*policy), None));
        }
        for (policy, routed) in &routes {
            if !self.has_route(*policy, routed) {
                changes.push((plan_name(*policy), Some(self.planned(routed))));
            }
        }
        let done = self.routing.change(changes);
        self.routed = routes;
        self.report(done.err());
        self.check_routes();
    }

    fn set_route(&mut self, policy: PolicyId, routed: Option<Routed>) {
        match routed {
            Some(routed) => {
                self.install_route(policy, routed.clone());
                self.check_routes_of(policy, &routed);
            }
            None => self.forget_route(policy),
        }
    }

    fn install_route(&mut self, policy: PolicyId, routed: Routed) {
        if !self.has_route(policy, &routed) {
            self.put_route(policy, &routed);
        }
        self.routed.insert(policy, routed);
    }

    fn has_route(&self, policy: PolicyId, routed: &Routed) -> bool {
        let before = self.routed.get(&policy);
        before.is_some_and(|before| (&before.plan, &before.way) == (&routed.plan, &routed.way))
    }

    fn put_route(&mut self, policy: PolicyId, routed: &Routed) {
        let (plan, way) = self.planned(routed);
        let done = self.routing.install_by(&plan_name(policy), plan, way);
        self.report(done.err());
    }

    /// Nothing is routed to an interface of the same name that is not ours, nor the way it would go
    /// without us: in clear.
    fn planned(&self, routed: &Routed) -> (RoutePlan, TunnelWay) {
        let barred = self.is_barred(routed);
        let way = if barred { TunnelWay::Nowhere } else { routed.way.clone() };
        (routed.plan.clone(), way)
    }

    fn is_barred(&self, routed: &Routed) -> bool {
        matches!(&routed.way, TunnelWay::Interface(name) if self.tuns.lack(name))
    }

    fn forget_route(&mut self, policy: PolicyId) {
        if self.routed.remove(&policy).is_some() {
            self.told.strayed.remove(&policy);
            self.told.filtered.remove(&policy);
            let removed = self.routing.uninstall(&plan_name(policy));
            self.report(removed.err());
        }
    }

    fn report(&self, error: Option<SysError>) {
        let Some(error) = error else { return };
        warn!(%error, "the routes could not be changed");
        let problem = ToControl::Problem(said(&error, "change the routes"));
        let _ = self.links.control.send(problem);
    }

    fn check_routes(&mut self) {
        let routed: Vec<_> = self.routed.iter().map(|(policy, r)| (*policy, r.clone())).collect();
        for (policy, routed) in routed {
            self.check_routes_of(policy, &routed);
        }
    }

    fn check_routes_of(&mut self, policy: PolicyId, routed: &Routed) {
        if self.is_barred(routed) {
            return;
        }
        // What the kernel protects it protects on whatever way.
        let interface = match &routed.way {
            TunnelWay::Peer(_) | TunnelWay::Nowhere => return,
            TunnelWay::Tun => Some(self.tun_index),
            TunnelWay::Interface(name) => self.routing.interface_index(name),
        };
        if let (Some(network), Some(interface)) = (routed.plan.remote.first(), interface) {
            self.check_route(policy, &routed.connection, *network, interface);
        }
        self.check_filter(policy, routed);
    }

    /// E501: does the kernel really send the network to the TUN, or the tunnel's own interface?
    fn check_route(
        &mut self,
        policy: PolicyId,
        connection: &ConnectionName,
        network: IpNet,
        interface: u32,
    ) {
        let probe = network.hosts().next().unwrap_or_else(|| network.addr());
        let network = network.to_string();
        let found = match self.routing.lookup(probe) {
            Ok(found) if found.interface == interface || found.kind == RouteKind::Local => {
                if self.told.strayed.remove(&policy).is_some() {
                    self.told.filtered.remove(&policy);
                    let _ = self.links.control.send(ToControl::RouteMended(connection.clone()));
                }
                return;
            }
            Ok(found) => {
                let name = self.routing.interface_name(found.interface);
                describe(probe, &found, name.as_deref())
            }
            Err(error) => format!("{probe}: {error}"),
        };
        if self.told.strayed.get(&policy) == Some(&found) {
            return;
        }
        self.told.strayed.insert(policy, found.clone());
        let cx = Context::of(connection.to_string());
        let expected = self.routing.interface_name(interface);
        let expected =
            expected.map_or_else(|| "the tunnel".to_owned(), |name| format!("dev {name}"));
        let problem = Diagnosis::route_elsewhere(&cx, &network, &found, &expected);
        warn!(connection = %connection, "{}", problem.one_line());
        let _ = self.links.control.send(ToControl::Problem(Box::new(problem)));
    }

    /// E506: does the kernel drop what a peer inside its own networks sends us?
    fn check_filter(&mut self, policy: PolicyId, routed: &Routed) {
        let connection = &routed.connection;
        match self.filtering_interface(routed) {
            Some((peer, interface)) if self.told.filtered.insert(policy) => {
                let cx = Context::of(connection.to_string());
                let problem = Diagnosis::reverse_path_filtered(&cx, peer, &interface);
                warn!(connection = %connection, "{}", problem.one_line());
                let _ = self.links.control.send(ToControl::Problem(Box::new(problem)));
            }
            None if self.told.filtered.remove(&policy)
                && !self.told.strayed.contains_key(&policy) =>
            {
                let _ = self.links.control.send(ToControl::RouteMended(connection.clone()));
            }
            Some(_) | None => {}
        }
    }

    /// The peer that is answered through the TUN but for our mark, and the interface that its
    /// packets come in by, if that one has a strict filter.
    fn filtering_interface(&mut self, routed: &Routed) -> Option<(IpAddr, String)> {
        let inside = |peer: &IpAddr| routed.plan.remote.iter().any(|n| n.contains(peer));
        let peer = routed.peer.filter(|peer| peer.is_ipv4() && inside(peer))?;
        let found = self.routing.lookup_outer(peer).ok()?;
        let interface = self.routing.interface_name(found.interface)?;
        filters_reverse_path(&interface).is_ok_and(|strict| strict).then_some((peer, interface))
    }

    fn follow_network(&mut self) {
        let changed = self.monitor.poll_changes().is_ok_and(|changes| !changes.is_empty());
        if changed {
            self.network.note_change();
            self.retry_interfaces();
            let refreshed = self.routing.refresh();
            self.report(refreshed.err());
            self.check_routes();
        }
    }

    /// E505: without forwarding a gateway serves only itself.
    fn warn_about_forwarding(&self) {
        if forwarding_enabled(Family::V4).is_ok_and(|enabled| !enabled) {
            let problem = Diagnosis::forwarding_off(&Context::default(), false);
            warn!("{}", problem.one_line());
            let _ = self.links.control.send(ToControl::Problem(Box::new(problem)));
        }
    }

    /// Ends the roles in the order in which they need each other.
    fn stop(self) {
        self.links.outbound.send_each(|| ToOutbound::Stop);
        self.links.inbound.send_each(|| ToInbound::Stop);
        let _ = self.links.kernel.send(ToKernel::Stop);
        let _ = self.links.tcp.queue.send(ToTcp::Stop);
        let _ = self.links.control.send(ToControl::Stop);
        if !self.ike_stopped {
            // The operator does not want to wait: the threads end with the process.
            return;
        }
        drop(self.links);
        if let Err(error) = self.routing.close() {
            warn!(%error, "not every route could be removed");
        }
        for thread in self.threads {
            if thread.join().is_err() {
                error!("a role has panicked");
            }
        }
    }
}

/// Names are in the order of numbers: of several plans for a network the first counts.
fn plan_name(policy: PolicyId) -> String {
    format!("{:010}", policy.0)
}

fn ike_sockets(
    ike: DualUdpSocket,
    nat: &DualUdpSocket,
    tcp: &TcpLink,
) -> std::io::Result<IkeSockets> {
    let nat = nat.try_clone().map_err(std::io::Error::other)?;
    Ok(IkeSockets { ike, nat, tcp: tcp.clone() })
}

fn tcp_role(listeners: Vec<TcpListener>, links: &Links) -> TcpRole {
    TcpRole {
        listeners,
        shards: links.shards.clone(),
        inbound: links.inbound.clone(),
        parent: links.parent.clone(),
        counters: Arc::clone(&links.tcp.counters),
    }
}

fn kernel_role(
    nat: &DualUdpSocket,
    raw: &[Vec<RawEspSocket>],
    ah: &[RawAhSocket],
    has_ring: bool,
    links: &Links,
) -> std::io::Result<KernelRole> {
    let nat = nat.try_clone().map_err(std::io::Error::other)?;
    let mut all = Vec::new();
    for (number, sockets) in (0..).zip(raw) {
        all.extend(try_clone_all(sockets)?.into_iter().map(|socket| (number, socket)));
    }
    // The filter of a socket beside a ring knows the kernel's SPIs, and must stay.
    all.retain(|(_, socket)| !(has_ring && socket.family() == Family::V4));
    let ah = ah.iter().map(RawAhSocket::try_clone).collect::<Result<_, _>>();
    let ah = ah.map_err(std::io::Error::other)?;
    let threads = InboundThreads::new(u32::try_from(raw.len()).unwrap_or(1));
    Ok(KernelRole { nat, raw: all, ah, threads, links: links.clone() })
}

fn open_key_log(args: &Args) -> std::io::Result<Option<KeyLog>> {
    let key_log = args.export_keys.as_deref().map(KeyLog::new).transpose()?;
    if key_log.is_some() {
        warn!("session keys are written for Wireshark: whoever reads them reads the traffic");
    }
    Ok(key_log)
}

/// Starts the thread of a role. If it panics the parent hears of it: half a daemon, which carries
/// no packets or answers no peer, is worse than none.
fn spawn_role(
    name: &'static str,
    parent: &CommandSender<ToParent>,
    run: impl FnOnce() + Send + 'static,
) -> std::io::Result<JoinHandle<()>> {
    let alarm = Alarm { name, parent: parent.clone() };
    spawn_named(name, move || {
        let _alarm = alarm;
        run();
    })
}

struct Alarm {
    name: &'static str,
    parent: CommandSender<ToParent>,
}

impl Drop for Alarm {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let _ = self.parent.send(ToParent::Failed(self.name));
        }
    }
}

fn try_clone_all(sockets: &[RawEspSocket]) -> std::io::Result<Vec<RawEspSocket>> {
    sockets.iter().map(|socket| socket.try_clone().map_err(std::io::Error::other)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_role_that_panics_is_missed_and_one_that_ends_is_not() {
        let (parent, from_roles) = channel(4).unwrap();
        spawn_role("quiet", &parent, || ()).unwrap().join().unwrap();
        assert!(matches!(from_roles.next(), Next::Empty));

        let loud = spawn_role("loud", &parent, || panic!("a test wants it")).unwrap();
        assert!(loud.join().is_err());
        assert!(matches!(from_roles.next(), Next::Command(ToParent::Failed("loud"))));
    }
}
