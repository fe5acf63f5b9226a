//! The inbound thread: UDP 4500, ESP and AH, opening, and into the TUN. IKE messages on UDP 4500 go
//! to the ike role.

use std::collections::VecDeque;
use std::io;
use std::net::IpAddr;
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use adit_dataplane::{Event, HEADROOM_MAX, InboundCommand, OutboundCommand, packet_buffer};
use adit_db::{ChildSaId, ConnectionName};
use adit_ike::Path;
use adit_mgmt::Diagnosis;
use adit_mgmt::api::{EngineHalf, EnginePath};
use adit_mgmt::diagnosis::Context;
use adit_sys::BatchIo;
use adit_sys::clock;
use adit_sys::esp_receiver::EspReceiver;
use adit_sys::gro::{GroIo, Losses};
use adit_sys::icmp_sender::IcmpSender;
use adit_sys::raw::RawEspSocket;
use adit_sys::raw_ah::{AH_HEADROOM, RawAhSocket};
use adit_sys::tun::Tun;
use adit_sys::udp::{DualUdpSocket, SocketError, UdpSocket};
use adit_sys::wake::{
    CommandReceiver, CommandSender, Events, Interest, Next, Poller, Ready, Spin, Token,
};
use adit_wire::PacketBuf;
use adit_wire::encap::udp::{Encapsulated, classify};
use tracing::{debug, error, info, warn};

use super::connections::Connections;
use super::delivery::Delivery;
use super::membership::Memberships;
use super::pair::Host;
use super::{buffers, tell_ike, tun_paths};
use crate::message::{Fleet, SocketNumber, ToControl, ToIke, ToInbound, ToOutbound, ToParent};
use crate::raw_esp;
use crate::role::{ERRORS_IN_A_ROW, errors, icmp_heard};
use crate::shards::ShardLinks;

/// What the thread needs from its parent.
pub(crate) struct Role {
    /// Which of the inbound threads it is.
    pub(crate) number: usize,
    /// Where opened packets go.
    pub(crate) tun: Arc<Tun>,
    /// UDP 4500, with what is this thread's.
    pub(crate) udp: DualUdpSocket,
    /// ESP sockets, one for each family, with what is this thread's.
    pub(crate) raw: Vec<RawEspSocket>,
    /// What comes past the ESP sockets, if that is wanted.
    pub(crate) fast_esp: Option<EspReceiver>,
    /// AH sockets, one for each family; only the first thread has any.
    pub(crate) ah: Vec<RawAhSocket>,
    /// Tells senders of packets that were refused.
    pub(crate) icmp: IcmpSender,
    /// The ike role.
    pub(crate) ike: CommandSender<ToIke>,
    /// For IKE messages.
    pub(crate) shards: ShardLinks,
    /// The outbound threads, which make sockets of single peers.
    pub(crate) outbound: Fleet<ToOutbound>,
    /// For the outbound direction, while this thread does its work.
    pub(crate) host: Host,
    /// The control role.
    pub(crate) control: CommandSender<ToControl>,
    /// The parent.
    pub(crate) parent: CommandSender<ToParent>,
}

const COMMANDS: Token = Token(0);
/// That of a socket is its kind and this times its number.
const SOCKETS: u64 = 7;
const UDP: u64 = 1;
const RAW: u64 = 2;
const AH: u64 = 3;
const FAST_ESP: u64 = 4;
const CONNECTED: u64 = 5;
/// What there is to do for the outbound thread.
const GUEST: Token = Token(6);
/// Batches read from one socket before the next has its turn.
const BATCHES_IN_A_ROW: usize = 8;
/// Buffers for packets of a usual link: some super-datagrams of 64 KiB.
const SHORT_BUFFERS: usize = 256;
/// Octets of such a buffer, with room for a packet of 1,500 and some. They begin at all places of a
/// page, so that they do not share the few lines of the cache that one place has.
const SHORT_OCTETS: usize = 2_112;
const _: () = assert!(SHORT_OCTETS >= HEADROOM_MAX + 1_500);
/// Buffers for longer datagrams.
const LONG_BUFFERS: usize = 16;

fn token(kind: u64, number: u64) -> Token {
    Token(kind + SOCKETS * number)
}

impl Role {
    /// Runs until it is told to stop.
    pub(crate) fn run(self, commands: &CommandReceiver<ToInbound>) {
        match self.poller(commands) {
            Ok(poller) => Running::new(self).run(&poller, commands),
            Err(error) => {
                error!(%error, "the inbound thread cannot start");
                let _ = self.parent.send(ToParent::Failed("inbound"));
            }
        }
    }

    fn poller(&self, commands: &CommandReceiver<ToInbound>) -> io::Result<Poller> {
        let poller = Poller::new()?;
        poller.add(commands, COMMANDS, Interest::Readable)?;
        for (number, socket) in (0..).zip(self.udp.halves()) {
            poller.add(socket, token(UDP, number), Interest::Readable)?;
        }
        for (number, socket) in (0..).zip(&self.raw) {
            poller.add(socket, token(RAW, number), Interest::Readable)?;
        }
        if let Some(fast_esp) = &self.fast_esp {
            poller.add(fast_esp, token(FAST_ESP, 0), Interest::Readable)?;
        }
        for (number, socket) in (0..).zip(&self.ah) {
            poller.add(socket, token(AH, number), Interest::Readable)?;
        }
        Ok(poller)
    }
}

/// Which socket ESP in UDP comes to.
#[derive(Clone, Copy)]
enum Source {
    /// That of all, one for each family.
    All(usize),
    /// That of one peer.
    Peer(SocketNumber),
}

struct Running {
    role: Role,
    /// What peers send that have sockets of their own.
    connections: Connections,
    delivery: Delivery,
    /// What comes in by UDP.
    gro: GroIo,
    batch: BatchIo,
    ah_batch: BatchIo,
    /// What comes in otherwise.
    packets: Vec<PacketBuf>,
    /// SAs that go when the packets under way have arrived, the earliest first.
    leaving: VecDeque<(Instant, ChildSaId)>,
    memberships: Memberships,
    /// Why datagrams are not joined, if they are not.
    refusal: Option<String>,
    /// What the network had to say about packets sent.
    complaints: u64,
    spin: Spin,
    /// Packets that were delivered when last there was something to do.
    moved: u64,
    /// Packets that came since somebody asked, whatever became of them.
    taken: u64,
}

impl Running {
    fn new(role: Role) -> Self {
        let refusal = join_datagrams(&role.udp);
        let short = || PacketBuf::with_capacity(HEADROOM_MAX, SHORT_OCTETS - HEADROOM_MAX);
        let short = (0..SHORT_BUFFERS).map(|_| short()).collect();
        let long = (0..LONG_BUFFERS).map(|_| packet_buffer()).collect();
        let gro = GroIo::new(HEADROOM_MAX, short, long);
        let packets = buffers();
        let packets_max = gro.packets().len().max(packets.len());
        Self {
            delivery: Delivery::new(Arc::clone(&role.tun), packets_max),
            role,
            connections: Connections::default(),
            gro,
            batch: BatchIo::new(HEADROOM_MAX),
            ah_batch: BatchIo::new(AH_HEADROOM),
            packets,
            leaving: VecDeque::new(),
            memberships: Memberships::default(),
            refusal,
            complaints: 0,
            spin: Spin::new(),
            moved: 0,
            taken: 0,
        }
    }

    fn run(&mut self, poller: &Poller, commands: &CommandReceiver<ToInbound>) {
        let mut events = Events::new();
        loop {
            if let Err(error) = self.wait(poller, &mut events) {
                error!(%error, "the inbound thread cannot wait");
                let _ = self.role.parent.send(ToParent::Failed("inbound"));
                return;
            }
            let before = self.delivery.counters.packets;
            for ready in events.iter() {
                let goes_on = match ready.token {
                    COMMANDS => self.take_commands(commands),
                    GUEST => true,
                    _ => self.keep_up(commands) && self.receive(ready, commands),
                };
                if !goes_on {
                    return;
                }
            }
            self.delivery.keep_time(clock::now());
            self.connections.watch(poller, |number| token(CONNECTED, number.0));
            let outbound = &self.role.outbound;
            self.connections.give_up(|number| {
                let thread = outbound.get(number.thread());
                thread.is_none_or(|thread| thread.try_send(ToOutbound::Unread(number)).is_ok())
            });
            if !self.close_connections(poller, commands) {
                return;
            }
            self.let_go(clock::now());
            self.moved = self.delivery.counters.packets - before;
            self.tell();
            let is_ready = events.iter().any(|ready| ready.token == GUEST);
            self.role.host.work(std::mem::take(&mut self.taken), poller, is_ready);
        }
    }

    /// Waits for something to do, in the other direction too while that is this thread's.
    fn wait(&mut self, poller: &Poller, events: &mut Events) -> io::Result<()> {
        self.role.host.watch(poller, GUEST);
        let now = clock::now();
        let leaving = self.leaving.front().map(|(at, _)| *at);
        let next = leaving.into_iter().chain(self.connections.poll_timeout(now));
        let next = next.chain(self.delivery.engine.poll_timeout()).min();
        let next = next.map(|at| at.saturating_duration_since(now));
        let timeout = next.into_iter().chain(self.role.host.timeout(now)).min();
        self.delivery.counters.calls_wait += 1;
        // What the peer answers to something that was sent comes sooner than what it sends by itself.
        let (spin, moved) = match self.role.host.sent() {
            Some((spin, sent)) => (spin, sent),
            None => (&mut self.spin, self.moved),
        };
        spin.note(moved);
        poller.wait_spinning(events, timeout, spin)
    }

    /// Tells the others what the engine has to say.
    fn tell(&mut self) {
        while let Some(answer) = self.delivery.engine.poll_answer() {
            if let Err(error) = self.role.icmp.send(answer.data()) {
                debug!(%error, "a sender was not told that its packet was refused");
            }
        }
        while let Some(event) = self.delivery.engine.poll_event() {
            if let Event::PathMessage { child, message } = event {
                self.tell_outbound(|| OutboundCommand::PathMessage { child, message });
            } else if let Event::Fragments { child, largest } = event {
                self.tell_outbound(|| OutboundCommand::ReportFragments { child, largest });
            } else if let Event::BadSpi { us, peer, quoted } = event {
                self.tell_outbound(|| OutboundCommand::BadSpi { us, peer, quoted });
            } else {
                tell_ike(&self.role.ike, event);
            }
        }
    }

    /// Tells the outbound threads something that is for the one which probes. What finds no room is like
    /// a packet that is lost.
    fn tell_outbound(&self, command: impl Fn() -> OutboundCommand) {
        for thread in self.role.outbound.iter() {
            let _ = thread.try_send(ToOutbound::Engine(command()));
        }
    }

    /// Takes what a socket has. False when the thread is to end.
    fn receive(&mut self, ready: Ready, commands: &CommandReceiver<ToInbound>) -> bool {
        let Token(token) = ready.token;
        let place = token / SOCKETS;
        let number = usize::try_from(place).unwrap_or(usize::MAX);
        match token % SOCKETS {
            UDP => self.receive_udp(Source::All(number), ready.error, commands),
            CONNECTED => {
                let source = Source::Peer(SocketNumber(place));
                self.receive_udp(source, ready.error, commands)
            }
            RAW => self.receive_raw(number, ready.error, commands),
            AH => self.receive_ah(number, commands),
            FAST_ESP => self.receive_fast_esp(commands),
            _ => true,
        }
    }

    /// Takes commands if some wait; false when the thread is to end. Done between receiving packets and
    /// opening them: a peer may send as soon as it has the answer that came after its SA was handed to us.
    fn keep_up(&mut self, commands: &CommandReceiver<ToInbound>) -> bool {
        !commands.rings() || self.take_commands(commands)
    }

    /// False when the thread is to end.
    fn take_commands(&mut self, commands: &CommandReceiver<ToInbound>) -> bool {
        loop {
            match commands.next() {
                Next::Command(ToInbound::Engine(command)) => {
                    self.delivery.engine.handle_command(command)
                }
                Next::Command(ToInbound::RemoveLater { child, delay }) => {
                    self.remove_later(child, delay);
                }
                Next::Command(ToInbound::Join { child, name, group, interface, inside }) => {
                    self.join(child, &name, (group, interface), &inside);
                }
                Next::Command(ToInbound::Leave(child)) => {
                    self.memberships.leave(child, &self.role.raw);
                }
                Next::Command(ToInbound::Interfaces(interfaces)) => {
                    let number = self.role.number;
                    let own =
                        interfaces.into_iter().map(|(table, tun)| (table, tun.writer(number)));
                    self.delivery.exits.interfaces = own.collect();
                }
                Next::Command(ToInbound::Report(query)) => {
                    let report = Box::new(self.delivery.engine.report());
                    let _ = self.role.control.send(ToControl::Inbound(query, report));
                }
                Next::Command(ToInbound::Show(query)) => {
                    let _ =
                        self.role.control.send(ToControl::ShownIn(query, Box::new(self.shown())));
                }
                Next::Command(ToInbound::Flowed(child)) => {
                    let counters = self.delivery.engine.counters_of(child).map(Box::new);
                    let _ = self.role.control.send(ToControl::FlowedIn(child, counters));
                }
                Next::Command(ToInbound::Seat(seat)) => self.role.host.take(seat),
                Next::Command(ToInbound::Connected { number, socket }) => {
                    self.connections.add(number, *socket, self.refusal.is_none());
                }
                Next::Command(ToInbound::Stream(mut bundle)) => {
                    let range = 0..bundle.packets.len();
                    self.taken += u64::try_from(range.len()).unwrap_or(u64::MAX);
                    self.delivery.open(&mut bundle.packets, range, clock::now());
                    self.delivery.write(&mut bundle.packets);
                }
                Next::Command(ToInbound::TurnedAway(number)) => {
                    self.connections.turned_away(number, clock::now());
                }
                Next::Command(ToInbound::Stop) | Next::Closed => {
                    // Its own thread ends the other direction.
                    self.role.host.leave();
                    self.delivery.counters.log("inbound");
                    return false;
                }
                Next::Empty => return true,
            }
        }
    }

    /// How packets are moved, for people.
    fn shown(&self) -> EngineHalf {
        let raw: usize = self.packets.iter().map(PacketBuf::capacity).sum();
        let mut counters = self.delivery.counters;
        counters.calls_read += self.gro.calls();
        let fast = self.role.fast_esp.as_ref();
        let shared = fast.map_or(0, EspReceiver::memory_octets);
        let mut half = counters.shown(&self.spin, raw + self.gro.memory_octets() + shared);
        let Losses { cut, without_buffer } = self.gro.losses();
        let lost = || format!("{cut} messages were cut, {without_buffer} datagrams had no buffer");
        let reason = self.refusal.clone().or_else(|| (cut + without_buffer > 0).then(lost));
        let name = "UDP GRO".to_owned();
        half.paths.push(EnginePath { name, on: self.refusal.is_none(), reason });
        half.paths.extend(tun_paths(&self.role.tun));
        half.connected = u64::try_from(self.connections.count()).unwrap_or(u64::MAX);
        half.complaints = self.complaints;
        half.paths.extend(fast.into_iter().flat_map(raw_esp::paths_in));
        half
    }

    /// The packets of a group come to the raw sockets, which take all that this host takes; what was
    /// inside is for programs that have joined its group, wherever they did.
    fn join(
        &mut self,
        child: ChildSaId,
        name: &ConnectionName,
        outside: (IpAddr, u32),
        inside: &[IpAddr],
    ) {
        let tun = self.role.tun.index();
        let mut places = vec![outside];
        places.extend(inside.iter().map(|group| (*group, tun)));
        if let Err(error) = self.memberships.join(child, places, &self.role.raw) {
            let cx = Context::of(name.to_string());
            let problem = Diagnosis::group_unreachable(&cx, outside.0, &error.to_string());
            warn!(sa = %name, "{}", problem.one_line());
            let _ = self.role.control.send(ToControl::Problem(Box::new(problem)));
        }
    }

    fn remove_later(&mut self, child: ChildSaId, delay: Duration) {
        let at = clock::now() + delay;
        let place = self.leaving.partition_point(|(other, _)| *other <= at);
        self.leaving.insert(place, (at, child));
    }

    fn let_go(&mut self, now: Instant) {
        while let Some((_, child)) = self.leaving.pop_front_if(|(at, _)| *at <= now) {
            self.delivery.engine.handle_command(InboundCommand::Remove { child });
        }
    }

    /// Reads sockets that were turned away from their peers for the last time. False when the thread is
    /// to end.
    fn close_connections(
        &mut self,
        poller: &Poller,
        commands: &CommandReceiver<ToInbound>,
    ) -> bool {
        while let Some(number) = self.connections.next_leaving(clock::now()) {
            if !self.receive_udp(Source::Peer(number), true, commands) {
                return false;
            }
            self.connections.remove(number, poller);
        }
        true
    }

    fn receive_udp(
        &mut self,
        source: Source,
        complaints: bool,
        commands: &CommandReceiver<ToInbound>,
    ) -> bool {
        for _ in 0..BATCHES_IN_A_ROW {
            let Self { role, connections, gro, .. } = self;
            let Some(socket) = socket_of(role, connections, source) else { return true };
            match socket.recv_super(gro) {
                Ok(true) => {}
                Ok(false) => break,
                Err(error) => {
                    debug!(%error, "receiving on UDP 4500 failed");
                    break;
                }
            }
            if !self.keep_up(commands) {
                return false;
            }
            let Self { role, connections, gro, delivery, .. } = self;
            let Some(socket) = socket_of(role, connections, source) else { return true };
            self.taken += forward_udp(socket, gro, delivery, &role.shards);
        }
        if !complaints {
            return true;
        }
        let Some(socket) = socket_of(&self.role, &self.connections, source) else { return true };
        for problem in errors(socket) {
            self.complaints += 1;
            if let SocketError::Unreachable { remote, .. } = problem {
                let path = Path::udp(socket.local(), remote);
                self.role.shards.try_push_unreachable(path, icmp_heard(&problem).as_ref());
            }
        }
        self.role.shards.ring();
        true
    }

    fn receive_raw(
        &mut self,
        number: usize,
        complaints: bool,
        commands: &CommandReceiver<ToInbound>,
    ) -> bool {
        let goes_on = self.take_in("ESP", commands, |this| {
            this.delivery.counters.calls_read += 1;
            let socket = this.role.raw.get(number);
            let got = socket
                .map_or(Ok(0), |socket| socket.recv_batch(&mut this.batch, &mut this.packets))?;
            if let Some(fast_esp) = &mut this.role.fast_esp {
                fast_esp.see(this.packets.get(..got).unwrap_or_default());
            }
            Ok(got)
        });
        self.learn();
        let Some(socket) = self.role.raw.get(number).filter(|_| complaints) else {
            return goes_on;
        };
        // Errors about ESP are for the path MTU machinery; they are taken so that the socket rests.
        for _ in 0..ERRORS_IN_A_ROW {
            let Ok(Some(problem)) = socket.next_error() else { break };
            debug!(?problem, "the network complains about ESP");
        }
        goes_on
    }

    fn receive_fast_esp(&mut self, commands: &CommandReceiver<ToInbound>) -> bool {
        // Memory that is shared with the kernel is read without system calls.
        let goes_on = self.take_in("ESP", commands, |this| {
            let fast_esp = this.role.fast_esp.as_mut();
            fast_esp.map_or(Ok(0), |fast_esp| fast_esp.recv_batch(&mut this.packets))
        });
        self.learn();
        goes_on
    }

    /// Has packets that came a slower way come a faster one from now on.
    fn learn(&mut self) {
        if let Some(fast_esp) = &mut self.role.fast_esp {
            fast_esp.learn();
        }
    }

    fn receive_ah(&mut self, number: usize, commands: &CommandReceiver<ToInbound>) -> bool {
        self.take_in("AH", commands, |this| {
            this.delivery.counters.calls_read += 1;
            let socket = this.role.ah.get(number);
            socket.map_or(Ok(0), |socket| socket.recv_batch(&mut this.ah_batch, &mut this.packets))
        })
    }

    /// Opens and delivers what a raw socket has, some batches of it. False when the thread is to end.
    fn take_in(
        &mut self,
        protocol: &str,
        commands: &CommandReceiver<ToInbound>,
        receive: impl Fn(&mut Self) -> io::Result<usize>,
    ) -> bool {
        for _ in 0..BATCHES_IN_A_ROW {
            match receive(self) {
                Ok(0) => break,
                Ok(got) => {
                    if !self.keep_up(commands) {
                        return false;
                    }
                    self.taken += u64::try_from(got).unwrap_or(u64::MAX);
                    self.delivery.open(&mut self.packets, 0..got, clock::now());
                    if let Some(fast_esp) = &mut self.role.fast_esp {
                        fast_esp.confirm(|place| self.delivery.is_authentic(place));
                    }
                    self.delivery.write(&mut self.packets);
                }
                Err(error) => {
                    debug!(%error, protocol, "receiving failed");
                    break;
                }
            }
        }
        true
    }
}

fn socket_of<'a>(
    role: &'a Role,
    connections: &'a Connections,
    source: Source,
) -> Option<&'a UdpSocket> {
    match source {
        Source::All(half) => role.udp.halves().nth(half),
        Source::Peer(number) => connections.get(number),
    }
}

/// Lets the kernel join datagrams; why not, if it does not.
fn join_datagrams(sockets: &DualUdpSocket) -> Option<String> {
    let refused = sockets.halves().find_map(|socket| socket.join_datagrams().err())?;
    info!(error = %refused, "datagrams are received one by one");
    Some(refused.to_string())
}

/// Opens and delivers what was received on UDP 4500; how many packets those were.
fn forward_udp(
    socket: &UdpSocket,
    gro: &mut GroIo,
    delivery: &mut Delivery,
    ike: &ShardLinks,
) -> u64 {
    let now = clock::now();
    let mut taken = 0;
    while let Some(run) = socket.next_run(gro) {
        let Range { start, end } = run.packets;
        taken += u64::try_from(end.saturating_sub(start)).unwrap_or(u64::MAX);
        let some = gro.packets_mut().get_mut(start..end).unwrap_or_default();
        let esp = sort_out(some, ike);
        delivery.open(gro.packets_mut(), start..start + esp, now);
        if run.settle {
            delivery.write(gro.packets_mut());
        }
    }
    ike.ring();
    delivery.write(gro.packets_mut());
    taken
}

/// Puts IKE messages by for the ike role, which is to be woken then, and moves ESP packets to the
/// front; returns their number (RFC 3948 §2.2, §2.3).
fn sort_out(packets: &mut [PacketBuf], ike: &ShardLinks) -> usize {
    let mut esp = 0;
    for number in 0..packets.len() {
        let Some(packet) = packets.get(number) else {
            break;
        };
        match classify(packet.data()) {
            Encapsulated::Esp(_) => {
                packets.swap(esp, number);
                esp += 1;
            }
            Encapsulated::Ike(message) => {
                let path = Path::udp(packet.meta.local, packet.meta.remote);
                if !ike.try_push_datagram(path, message) {
                    debug!("an IKE message was dropped: the ike role is busy");
                }
            }
            Encapsulated::Keepalive | Encapsulated::TooShort => {}
        }
    }
    esp
}
