//! The inbound thread: UDP 4500, ESP and AH, opening, and into the TUN. IKE messages on UDP 4500 go
//! to the ike role.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use adit_dataplane::{HEADROOM_MAX, Inbound, InboundCommand, OpenVerdict};
use adit_db::{ChildSaId, ConnectionName, TableId};
use adit_ike::Path;
use adit_mgmt::Diagnosis;
use adit_mgmt::diagnosis::Context;
use adit_sys::clock;
use adit_sys::raw::RawEspSocket;
use adit_sys::raw_ah::{AH_HEADROOM, RawAhSocket};
use adit_sys::tun::Tun;
use adit_sys::udp::{DualUdpSocket, SocketError};
use adit_sys::wake::{CommandReceiver, CommandSender, Events, Interest, Next, Poller, Token};
use adit_sys::{BatchIo, SendReport};
use adit_wire::PacketBuf;
use adit_wire::encap::udp::{Encapsulated, classify};
use tracing::{debug, error, warn};

use super::membership::Memberships;
use super::{buffers, tell_ike};
use crate::message::{Interfaces, ToControl, ToIke, ToInbound, ToParent};
use crate::role::{ERRORS_IN_A_ROW, errors};

/// What the thread needs from its parent.
pub(crate) struct Role {
    /// Where opened packets go.
    pub(crate) tun: Arc<Tun>,
    /// UDP 4500.
    pub(crate) udp: DualUdpSocket,
    /// ESP sockets, one for each family.
    pub(crate) raw: Vec<RawEspSocket>,
    /// AH sockets, one for each family.
    pub(crate) ah: Vec<RawAhSocket>,
    /// The ike role.
    pub(crate) ike: CommandSender<ToIke>,
    /// The control role.
    pub(crate) control: CommandSender<ToControl>,
    /// The parent.
    pub(crate) parent: CommandSender<ToParent>,
}

const COMMANDS: Token = Token(0);
const SOCKETS: Token = Token(1);
/// Batches read from one socket before the next has its turn.
const BATCHES_IN_A_ROW: usize = 8;

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

    fn poller(&self, commands: &CommandReceiver<ToInbound>) -> std::io::Result<Poller> {
        let poller = Poller::new()?;
        poller.add(commands, COMMANDS, Interest::Readable)?;
        for socket in self.udp.halves() {
            poller.add(socket, SOCKETS, Interest::Readable)?;
        }
        for socket in &self.raw {
            poller.add(socket, SOCKETS, Interest::Readable)?;
        }
        for socket in &self.ah {
            poller.add(socket, SOCKETS, Interest::Readable)?;
        }
        Ok(poller)
    }
}

struct Running {
    role: Role,
    engine: Inbound,
    /// The interfaces that tunnels have for themselves.
    interfaces: Interfaces,
    batch: BatchIo,
    ah_batch: BatchIo,
    packets: Vec<PacketBuf>,
    verdicts: Vec<OpenVerdict>,
    /// SAs that go when the packets under way have arrived, the earliest first.
    leaving: VecDeque<(Instant, ChildSaId)>,
    memberships: Memberships,
}

impl Running {
    fn new(role: Role) -> Self {
        let packets = buffers();
        let verdicts = Vec::with_capacity(packets.len());
        Self {
            role,
            engine: Inbound::new(),
            interfaces: Interfaces::new(),
            batch: BatchIo::new(HEADROOM_MAX),
            ah_batch: BatchIo::new(AH_HEADROOM),
            packets,
            verdicts,
            leaving: VecDeque::new(),
            memberships: Memberships::default(),
        }
    }

    fn run(&mut self, poller: &Poller, commands: &CommandReceiver<ToInbound>) {
        let mut events = Events::new();
        loop {
            let now = clock::now();
            let timeout = self.leaving.front().map(|(at, _)| at.saturating_duration_since(now));
            if let Err(error) = poller.wait(&mut events, timeout) {
                error!(%error, "the inbound thread cannot wait");
                let _ = self.role.parent.send(ToParent::Failed("inbound"));
                return;
            }
            if !self.take_commands(commands) {
                return;
            }
            for half in 0..self.role.udp.halves().count() {
                self.receive_udp(half);
            }
            for number in 0..self.role.raw.len() {
                self.receive_raw(number);
            }
            for number in 0..self.role.ah.len() {
                self.receive_ah(number);
            }
            self.let_go(clock::now());
            while let Some(event) = self.engine.poll_event() {
                tell_ike(&self.role.ike, event);
            }
        }
    }

    /// False when the thread is to end.
    fn take_commands(&mut self, commands: &CommandReceiver<ToInbound>) -> bool {
        loop {
            match commands.next() {
                Next::Command(ToInbound::Engine(command)) => self.engine.handle_command(command),
                Next::Command(ToInbound::RemoveLater { child, delay }) => {
                    self.remove_later(child, delay);
                }
                Next::Command(ToInbound::Join { child, name, group, interface, inside }) => {
                    self.join(child, &name, (group, interface), &inside);
                }
                Next::Command(ToInbound::Leave(child)) => {
                    self.memberships.leave(child, &self.role.raw);
                }
                Next::Command(ToInbound::Interfaces(interfaces)) => self.interfaces = interfaces,
                Next::Command(ToInbound::Report(query)) => {
                    let report = Box::new(self.engine.report());
                    let _ = self.role.control.send(ToControl::Inbound(query, report));
                }
                Next::Command(ToInbound::Flowed(child)) => {
                    let counters = self.engine.counters_of(child).map(Box::new);
                    let _ = self.role.control.send(ToControl::FlowedIn(child, counters));
                }
                Next::Command(ToInbound::Stop) | Next::Closed => return false,
                Next::Empty => return true,
            }
        }
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
            self.engine.handle_command(InboundCommand::Remove { child });
        }
    }

    fn receive_udp(&mut self, half: usize) {
        let Some(socket) = self.role.udp.halves().nth(half) else {
            return;
        };
        for _ in 0..BATCHES_IN_A_ROW {
            let got = match socket.recv_batch(&mut self.batch, &mut self.packets) {
                Ok(0) => break,
                Ok(got) => got,
                Err(error) => {
                    debug!(%error, "receiving on UDP 4500 failed");
                    break;
                }
            };
            let esp = sort_out(&mut self.packets, got, &self.role.ike);
            let exits = Exits { tun: &self.role.tun, interfaces: &self.interfaces };
            let opened = self.packets.get_mut(..esp);
            deliver(&mut self.engine, exits, &mut self.verdicts, opened);
        }
        for problem in errors(socket) {
            if let SocketError::Unreachable { remote, .. } = problem {
                let path = Path { local: socket.local(), remote };
                let _ = self.role.ike.try_send(ToIke::Unreachable(path));
            }
        }
    }

    fn receive_raw(&mut self, number: usize) {
        let Self { role, engine, interfaces, batch, packets, verdicts, .. } = self;
        let Some(socket) = role.raw.get(number) else {
            return;
        };
        let receive = |packets: &mut [PacketBuf]| socket.recv_batch(batch, packets);
        let exits = Exits { tun: &role.tun, interfaces };
        take_in("ESP", receive, engine, exits, verdicts, packets);
        // Errors about ESP are for the path MTU machinery; they are taken so that the socket rests.
        for _ in 0..ERRORS_IN_A_ROW {
            let Ok(Some(problem)) = socket.next_error() else { break };
            debug!(?problem, "the network complains about ESP");
        }
    }

    fn receive_ah(&mut self, number: usize) {
        let Self { role, engine, interfaces, ah_batch, packets, verdicts, .. } = self;
        let Some(socket) = role.ah.get(number) else {
            return;
        };
        let receive = |packets: &mut [PacketBuf]| socket.recv_batch(ah_batch, packets);
        let exits = Exits { tun: &role.tun, interfaces };
        take_in("AH", receive, engine, exits, verdicts, packets);
    }
}

/// Where opened packets go.
#[derive(Clone, Copy)]
struct Exits<'a> {
    tun: &'a Tun,
    interfaces: &'a Interfaces,
}

/// Opens and delivers what a raw socket has, some batches of it.
fn take_in(
    protocol: &str,
    mut receive: impl FnMut(&mut [PacketBuf]) -> std::io::Result<usize>,
    engine: &mut Inbound,
    exits: Exits<'_>,
    verdicts: &mut Vec<OpenVerdict>,
    packets: &mut [PacketBuf],
) {
    for _ in 0..BATCHES_IN_A_ROW {
        match receive(packets) {
            Ok(0) => break,
            Ok(got) => deliver(engine, exits, verdicts, packets.get_mut(..got)),
            Err(error) => {
                debug!(%error, protocol, "receiving failed");
                break;
            }
        }
    }
}

/// Gives IKE messages to the ike role and moves ESP packets to the front; returns their number
/// (RFC 3948 §2.2, §2.3).
fn sort_out(packets: &mut [PacketBuf], got: usize, ike: &CommandSender<ToIke>) -> usize {
    let mut esp = 0;
    for number in 0..got {
        let Some(packet) = packets.get(number) else {
            break;
        };
        match classify(packet.data()) {
            Encapsulated::Esp(_) => {
                packets.swap(esp, number);
                esp += 1;
            }
            Encapsulated::Ike(message) => {
                let path = Path { local: packet.meta.local, remote: packet.meta.remote };
                let datagram = ToIke::Datagram { path, octets: message.to_vec() };
                if ike.try_send(datagram).is_err() {
                    debug!("an IKE message was dropped: the ike role is busy");
                }
            }
            Encapsulated::Keepalive | Encapsulated::TooShort => {}
        }
    }
    esp
}

fn deliver(
    engine: &mut Inbound,
    exits: Exits<'_>,
    verdicts: &mut Vec<OpenVerdict>,
    packets: Option<&mut [PacketBuf]>,
) {
    let Some(packets) = packets else { return };
    engine.open_batch(packets, verdicts, clock::now());
    let opened = packets.iter().zip(verdicts.iter());
    let opened = opened.filter(|(_, verdict)| **verdict == OpenVerdict::Deliver);
    let opened = opened.map(|(packet, _)| packet);
    let is_default = |packet: &&PacketBuf| packet.meta.table == TableId::DEFAULT.0;
    let mut report = exits.tun.send_batch(opened.clone().filter(is_default));
    for packet in opened.filter(|packet| !is_default(packet)) {
        // What is for an interface that is gone is lost like what a TUN refuses.
        let refused = SendReport { failed: 1, ..SendReport::default() };
        let tun = exits.interfaces.get(&TableId(packet.meta.table));
        report.add(tun.map_or(refused, |tun| tun.send_batch([packet])));
    }
    if report.failed > 0 {
        debug!(failed = report.failed, errno = report.errno, "the TUN refused packets");
    }
}
