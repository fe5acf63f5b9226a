//! The kernel role: the sibling of the packet threads for tunnels whose packets the kernel
//! protects. It turns child SAs and policies into the kernel's (RFC 4301 §4.4), and what the
//! kernel reports into the packet engine's events. It holds the ESP keys of these tunnels.
//!
//! What the ike role sends to the parent passes through here, so that nothing overtakes the
//! changes of the kernel that it depends on.

mod interfaces;
mod policies;
mod sas;

use std::collections::{BTreeSet, VecDeque};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::time::{Duration, Instant};

use adit_db::{
    ChildSa, ChildSaId, ConnectionName, HwOffload, InboundThreads, InterfaceName, Mark, PolicyId,
    Steering,
};
use adit_ike::PacketEvent;
use adit_mgmt::Diagnosis;
use adit_mgmt::diagnosis::Context;
use adit_sys::clock;
use adit_sys::netlink::Family;
use adit_sys::raw::RawEspSocket;
use adit_sys::raw_ah::RawAhSocket;
use adit_sys::steering::{Part, keep_from_kernel_ah, keep_part};
use adit_sys::udp::DualUdpSocket;
use adit_sys::wake::{CommandReceiver, Events, Interest, Next, Poller, Token};
use adit_sys::xfrm::{EspInUdp, Event, EventSocket, Missing, Xfrm};
use tracing::{debug, error, info, warn};

use self::interfaces::{Interfaces, NotMade};
use self::policies::Policies;
use self::sas::{Refused, Sas};
use crate::message::{Links, PacketNews, ToControl, ToIke, ToKernel, ToOutbound, ToParent};
use crate::policy::Held;

/// What the role needs from its parent.
pub(crate) struct KernelRole {
    /// UDP 4500, to be shared with the kernel.
    pub(crate) nat: DualUdpSocket,
    /// The ESP sockets of the other engine, with the numbers of their threads.
    pub(crate) raw: Vec<(u32, RawEspSocket)>,
    /// Its AH sockets.
    pub(crate) ah: Vec<RawAhSocket>,
    /// How many threads that engine has.
    pub(crate) threads: InboundThreads,
    /// The other roles.
    pub(crate) links: Links,
}

/// What the kernel finds SAs and policies by besides addresses and selectors.
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
struct Tags {
    /// The number of an interface.
    if_id: Option<u32>,
    mark: Option<Mark>,
}

/// Where SAs and their policies find each other.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Place {
    /// The number that templates name them by.
    reqid: u32,
    tags: Tags,
    /// How much of it a network device does.
    offload: HwOffload,
}

const COMMANDS: Token = Token(0);
const KERNEL: Token = Token(1);
/// Time from the kernel's refusal of an SA to its end: the next one would be refused as well, and
/// peers are not to be bothered without pause.
const REFUSED_PAUSE: Duration = Duration::from_secs(5);
/// Time between two looks at what the SAs have carried.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

impl KernelRole {
    /// Removes what an earlier run left in the kernel, then works until it is told to stop.
    pub(crate) fn run(self, commands: &CommandReceiver<ToKernel>) {
        remove_leftovers();
        let poller = Poller::new().and_then(|poller| {
            poller.add(commands, COMMANDS, Interest::Readable)?;
            Ok(poller)
        });
        match poller {
            Ok(poller) => {
                let (refused, told) = (VecDeque::new(), BTreeSet::new());
                let interfaces = Interfaces::default();
                Running { role: self, poller, interfaces, engine: None, refused, told }
                    .run(commands);
            }
            Err(error) => {
                error!(%error, "the kernel role cannot start");
                let _ = self.links.parent.send(ToParent::Failed("kernel"));
            }
        }
    }
}

fn remove_leftovers() {
    interfaces::remove_leftovers();
    // A kernel without IPsec has nothing of ours, and who may not change it will be told later.
    let Ok(mut xfrm) = Xfrm::open() else { return };
    match xfrm.remove_leftovers() {
        Ok(0) => {}
        Ok(count) => info!(count, "removed the kernel's SAs and policies of an earlier run"),
        Err(error) => debug!(%error, "the kernel's SAs and policies could not be looked through"),
    }
}

struct Running {
    role: KernelRole,
    poller: Poller,
    interfaces: Interfaces,
    /// None until the first tunnel needs it.
    engine: Option<Engine>,
    /// SAs that the kernel refused, and when the ike role hears of it.
    refused: VecDeque<(Instant, ChildSaId)>,
    /// Tunnels that the operator was told about.
    told: BTreeSet<ConnectionName>,
}

/// The kernel as engine.
struct Engine {
    xfrm: Xfrm,
    events: EventSocket,
    sas: Sas,
    policies: Policies,
    next_look: Instant,
    /// The kernel's share of UDP 4500; it ends with them.
    _shares: Vec<EspInUdp>,
}

impl Running {
    fn run(&mut self, commands: &CommandReceiver<ToKernel>) {
        let mut ready = Events::new();
        loop {
            let timeout = self.timeout(clock::now());
            if let Err(error) = self.poller.wait(&mut ready, timeout) {
                error!(%error, "the kernel role cannot wait");
                let _ = self.role.links.parent.send(ToParent::Failed("kernel"));
                return;
            }
            if !self.take_commands(commands) {
                break;
            }
            let now = clock::now();
            while let Some((_, child)) = self.refused.pop_front_if(|(at, _)| *at <= now) {
                tell(&self.role.links, News::Event(PacketEvent::HardExpire { child }));
            }
            let Some(engine) = &mut self.engine else { continue };
            for event in engine.news(now) {
                tell(&self.role.links, event);
            }
            engine.let_go(now);
        }
        if let Some(engine) = &mut self.engine {
            engine.close();
        }
        self.have_interfaces(&BTreeSet::new());
    }

    fn have_interfaces(&mut self, wanted: &BTreeSet<InterfaceName>) {
        for NotMade { name, error } in self.interfaces.have(wanted) {
            let problem = Diagnosis::no_interface(&Context::default(), name, &error);
            error!("{}", problem.one_line());
            let _ = self.role.links.control.send(ToControl::Problem(Box::new(problem)));
        }
    }

    /// What the kernel finds SAs and policies by besides addresses.
    fn tags(&mut self, steering: &Steering) -> Tags {
        let if_id = steering.interface.as_ref().map(|name| self.interfaces.if_id(name));
        Tags { if_id, mark: steering.mark }
    }

    fn timeout(&self, now: Instant) -> Option<Duration> {
        let engine = self.engine.as_ref().and_then(Engine::next_time);
        let refused = self.refused.front().map(|(at, _)| *at);
        let next = engine.into_iter().chain(refused).min();
        next.map(|at| at.saturating_duration_since(now))
    }

    /// An SA that the kernel does not take ends, after a pause, and the operator hears of it.
    fn refuse(&mut self, child: ChildSaId, tunnel: Option<ConnectionName>) {
        self.refused.push_back((clock::now() + REFUSED_PAUSE, child));
        let refusal = self.engine.as_mut().and_then(|engine| engine.sas.take_refusal());
        if let (Some(tunnel), Some(refusal)) = (tunnel, refusal) {
            let cx = Context::of(tunnel.to_string());
            let problem = Box::new(match refusal {
                Refused { error, device: None } => Diagnosis::no_kernel_engine(&cx, error),
                Refused { error, device: Some(name) } => Diagnosis::no_offload(&cx, &name, error),
            });
            let _ = self.role.links.control.send(ToControl::Problem(problem));
            self.told.insert(tunnel);
        }
    }

    /// The kernel takes the SAs of this tunnel (again).
    fn accept(&mut self, tunnel: ConnectionName) {
        if self.told.remove(&tunnel) {
            let _ = self.role.links.control.send(ToControl::RouteMended(tunnel));
        }
    }

    fn tunnel_of(&self, child: ChildSaId) -> Option<ConnectionName> {
        self.engine.as_ref().and_then(|engine| engine.sas.tunnel_of(child))
    }

    /// False when the role is to end.
    fn take_commands(&mut self, commands: &CommandReceiver<ToKernel>) -> bool {
        loop {
            match commands.next() {
                Next::Command(ToKernel::Stop) | Next::Closed => return false,
                Next::Command(ToKernel::Then(message)) => {
                    let _ = self.role.links.parent.send(*message);
                }
                Next::Command(command) => self.command(command, clock::now()),
                Next::Empty => return true,
            }
        }
    }

    fn command(&mut self, command: ToKernel, now: Instant) {
        match command {
            ToKernel::Report(query) => {
                let report = self.engine.as_mut().map(|engine| engine.sas.report(&mut engine.xfrm));
                let report = Box::new(report.unwrap_or_default());
                let _ = self.role.links.control.send(ToControl::Kernel(query, report));
            }
            ToKernel::Flowed(child) => {
                let flowed = self
                    .engine
                    .as_mut()
                    .and_then(|engine| engine.sas.counters_of(child, &mut engine.xfrm));
                let (inbound, outbound) = flowed.unzip();
                let flowed = ToControl::FlowedInKernel(child, Box::new([inbound, outbound]));
                let _ = self.role.links.control.send(flowed);
            }
            ToKernel::Interfaces(wanted) => self.have_interfaces(&wanted),
            ToKernel::Policies(held) => {
                if self.engine.is_some() || !held.is_empty() {
                    let tagged = held.into_iter().map(|held| (self.tags(&held.steering), held));
                    let tagged = tagged.collect();
                    self.with_engine(|engine| engine.hold(tagged));
                }
            }
            ToKernel::Install { sa, policy, options, active } => {
                let (child, tunnel) = (sa.id, sa.connection.clone());
                let place = Place {
                    reqid: 0,
                    tags: self.tags(&options.steering),
                    offload: options.offload,
                };
                if self.with_engine(|engine| engine.install(sa, policy, place, active, now)) {
                    self.accept(tunnel);
                } else {
                    self.refuse(child, Some(tunnel));
                }
            }
            ToKernel::Activate(child) => {
                if !self.with_engine(|engine| engine.activate(child)) {
                    self.refuse(child, self.tunnel_of(child));
                }
            }
            ToKernel::RemoveLater { child, delay } => {
                self.with_engine(|engine| engine.remove_later(child, now + delay));
            }
            ToKernel::UpdatePeer { child, encap } => {
                if !self.with_engine(|engine| engine.sas.move_to(child, encap, &mut engine.xfrm)) {
                    self.refuse(child, self.tunnel_of(child));
                }
                self.with_engine(Engine::put_policies);
            }
            ToKernel::Then(_) | ToKernel::Stop => {}
        }
    }

    /// Does something with the engine, which is made for the first one; false if it cannot be made
    /// or the kernel refuses.
    fn with_engine(&mut self, change: impl FnOnce(&mut Engine) -> bool) -> bool {
        if self.engine.is_none() {
            match Engine::start(&self.role) {
                Ok(engine) => {
                    let watched = self.poller.add(&engine.events, KERNEL, Interest::Readable);
                    if let Err(error) = watched {
                        error!(%error, "the kernel's IPsec cannot be watched");
                        return false;
                    }
                    // A socket of one peer would have the kernel's packets of that peer, too.
                    self.role.links.outbound.send_each(|| ToOutbound::Disconnect);
                    self.engine = Some(engine);
                }
                Err(missing) => {
                    let cx = Context::default();
                    let problem = Diagnosis::no_kernel_engine(&cx, &missing);
                    error!("{}", problem.one_line());
                    let _ = self.role.links.control.send(ToControl::Problem(Box::new(problem)));
                    return false;
                }
            }
        }
        self.engine.as_mut().is_some_and(change)
    }
}

/// What the role tells the ike role.
enum News {
    Acquire { policy: PolicyId, flow: adit_wire::ip::FlowKey },
    Event(PacketEvent),
}

fn tell(links: &Links, news: News) {
    let news = match news {
        News::Acquire { policy, flow } => PacketNews::Acquire { policy, flow },
        News::Event(event) => PacketNews::Event(event),
    };
    // Never waits: the ike role may be waiting for this one.
    if links.ike.try_send(ToIke::Packet(news)).is_err() {
        warn!("the ike role has no room for an event of the kernel");
    }
}

impl Engine {
    fn start(role: &KernelRole) -> Result<Self, Missing> {
        let (xfrm, events) = (Xfrm::open()?, EventSocket::open()?);
        for (number, socket) in &role.raw {
            let part = Part { number: *number, threads: role.threads };
            keep_part(socket.as_fd(), socket.family(), part, true)?;
        }
        for socket in &role.ah {
            keep_from_kernel_ah(socket.as_fd(), socket.family())?;
        }
        let share = |socket: &adit_sys::udp::UdpSocket| {
            EspInUdp::share(socket.as_fd(), socket.local(), role.threads)
        };
        let shares = role.nat.halves().map(share).collect::<Result<_, _>>()?;
        Ok(Self {
            xfrm,
            events,
            sas: Sas::default(),
            policies: Policies::default(),
            next_look: clock::now() + LOOK_INTERVAL,
            _shares: shares,
        })
    }

    fn next_time(&self) -> Option<Instant> {
        let look = (!self.sas.is_empty()).then_some(self.next_look);
        look.into_iter().chain(self.sas.next_leaving()).min()
    }

    fn hold(&mut self, held: Vec<(Tags, Held)>) -> bool {
        self.policies.hold(held);
        self.put_policies()
    }

    /// SAs first, then the policies that need them.
    fn install(
        &mut self,
        sa: Box<ChildSa>,
        policy: PolicyId,
        place: Place,
        active: bool,
        now: Instant,
    ) -> bool {
        let number = self.policies.reqid(policy, place.tags, &sa.local_ts, &sa.remote_ts);
        let Some(reqid) = number else {
            error!("the numbers of the kernel's policies are used up");
            return false;
        };
        let place = Place { reqid, ..place };
        self.sas.install(sa, place, active, now, &mut self.xfrm) && self.put_policies()
    }

    fn activate(&mut self, child: ChildSaId) -> bool {
        self.sas.activate(child, &mut self.xfrm) && self.put_policies()
    }

    /// The policies first: no packet must meet one whose SA is gone, if another one holds it.
    fn remove_later(&mut self, child: ChildSaId, at: Instant) -> bool {
        self.sas.retire(child, at);
        let put = self.put_policies();
        self.sas.remove_outbound(child, &mut self.xfrm);
        put
    }

    fn let_go(&mut self, now: Instant) {
        if self.sas.let_go(now, &mut self.xfrm) {
            self.put_policies();
        }
    }

    fn put_policies(&mut self) -> bool {
        self.policies.put(self.sas.groups(), &mut self.xfrm)
    }

    fn news(&mut self, now: Instant) -> Vec<News> {
        let mut news = Vec::new();
        match self.events.poll() {
            Ok(events) => {
                for event in events {
                    news.extend(self.understand(event, now));
                }
            }
            Err(error) => debug!(%error, "the kernel's IPsec cannot be read"),
        }
        if now >= self.next_look {
            self.next_look = now + LOOK_INTERVAL;
            news.extend(self.sas.look(now, &mut self.xfrm).into_iter().map(News::Event));
        }
        news
    }

    fn understand(&mut self, event: Event, now: Instant) -> Option<News> {
        match event {
            Event::Acquire { reqid, flow } => {
                let policy = self.policies.policy_of(reqid)?;
                Some(News::Acquire { policy, flow })
            }
            Event::Expire { destination, protocol, spi, hard } => {
                self.sas.expired(destination, protocol, spi, hard, now).map(News::Event)
            }
            Event::Moved { spi, remote } => self.sas.moved(spi, remote, now).map(News::Event),
            Event::Overrun => {
                warn!("the kernel had more to tell than could be read");
                None
            }
        }
    }

    fn close(&mut self) {
        self.policies.remove_all(&mut self.xfrm);
        self.sas.remove_all(&mut self.xfrm);
    }
}

/// Lets the daemon's own packets pass the kernel's policies: IKE must not wait for the SA that it
/// negotiates, and what the other engine sends is protected already.
pub(crate) fn exempt_all<'a>(sockets: impl Iterator<Item = (Family, BorrowedFd<'a>)>) {
    for (family, socket) in sockets {
        if let Err(error) = adit_sys::xfrm::exempt(socket, family) {
            // A kernel without IPsec has no policies to be exempt from.
            debug!(%error, "a socket is not exempt from the kernel's policies");
            return;
        }
    }
}
