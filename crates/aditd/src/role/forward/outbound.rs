//! The outbound thread: TUN, policies and SAs, sealing, and out by UDP, ESP or in clear.

mod burst;
mod order;
mod outside;
mod peers;
mod seat;
mod transmit;

use std::sync::Arc;
use std::time::{Duration, Instant};

use adit_dataplane::offload::{Segments, SuperPacket};
use adit_dataplane::{
    DropReason, Event, HEADROOM_MAX, INNER_MTU, Outbound, OutboundCommand, Verdict,
};
use adit_db::TableId;
use adit_ike::PacketEvent;
use adit_mgmt::api::{EngineHalf, EnginePath};
use adit_sys::clock;
use adit_sys::esp_sender::EspSender;
use adit_sys::icmp_errors::RouterSocket;
use adit_sys::icmp_sender::IcmpSender;
use adit_sys::raw::BypassSocket;
use adit_sys::tun::{self, Tun};
use adit_sys::udp::{DualUdpSocket, UdpSocket};
use adit_sys::wake::{CommandReceiver, CommandSender, Events, Interest, Next, Poller, Spin, Token};
use adit_sys::{BatchIo, PREFETCH, SendReport};
use adit_wire::PacketBuf;
use tracing::{debug, error, warn};

use self::burst::{BURST_MAX, Burst, Cut, READ_MAX};
use self::outside::Outside;
use self::peers::Peers;
pub(crate) use self::seat::Seat;
use self::transmit::transmit;
use super::handover::Handover;
use super::{IoCounters, tell_ike, tun_paths};
use crate::message::{
    Fleet, Interfaces, PacketNews, ToControl, ToIke, ToInbound, ToOutbound, ToParent,
};
use crate::role::tcp::TcpLink;

/// What the thread needs from its parent.
pub(crate) struct Role {
    /// Which of the outbound threads it is.
    pub(crate) number: u16,
    /// All of them.
    pub(crate) threads: Fleet<ToOutbound>,
    /// Where packets to protect come from.
    pub(crate) tun: Arc<Tun>,
    /// UDP 4500.
    pub(crate) udp: DualUdpSocket,
    /// Who reads what comes to sockets of single peers; the first of the inbound threads.
    pub(crate) inbound: CommandSender<ToInbound>,
    /// Why peers have no sockets of their own, if so.
    pub(crate) unconnected: Option<String>,
    /// The ways of ESP above IP, one for each family.
    pub(crate) raw: EspSender,
    /// Who has the TCP connections.
    pub(crate) tcp: TcpLink,
    /// Bundles of packets on their way there.
    pub(crate) tcp_places: Arc<()>,
    /// Where packets with their own IP header leave: in clear, or in transport mode.
    pub(crate) bypass: BypassSocket,
    /// Where routers say what is wrong with packets, one for each family; only the first thread has any.
    pub(crate) routers: Vec<RouterSocket>,
    /// Tells hosts of packets that are too long.
    pub(crate) icmp: IcmpSender,
    /// The ike role.
    pub(crate) ike: CommandSender<ToIke>,
    /// The control role.
    pub(crate) control: CommandSender<ToControl>,
    /// The parent.
    pub(crate) parent: CommandSender<ToParent>,
}

const TUN: Token = Token(0);
const COMMANDS: Token = Token(1);
/// That of an interface of tunnels is this and the number of its table.
const INTERFACES: u64 = 2;
/// That of a socket with complaints is this and its number: behind all tables.
const ICMP: u64 = 1 << 32;
/// Packets and super-packets read from an interface before commands are looked at again: some
/// milliseconds of work at most.
const READS_IN_A_ROW: usize = 128;
/// Packets that those are at most, give or take a super-packet.
const PACKETS_IN_A_ROW: usize = 4_096;
/// Octets of super-packets that are sent together: in as many ESP packets as a burst has, about.
const WHOLE_OCTETS_MAX: usize = 200_000;
/// How long frames that a busy device has not taken wait for it.
const FRAMES_WAIT: Duration = Duration::from_millis(1);
/// Bundles of packets taken from other threads before the thread reads its own.
const BUNDLES_IN_A_ROW: usize = 8;

struct Running {
    role: Role,
    engine: Outbound,
    handover: Handover,
    peers: Peers,
    outside: Outside,
    /// The interfaces that tunnels have for themselves.
    interfaces: Interfaces,
    batch: BatchIo,
    /// For one read of an interface.
    room: Box<[u8]>,
    burst: Burst,
    verdicts: Vec<Verdict>,
    /// Packets that went through the engine since commands were looked at.
    sealed: usize,
    /// Packets that came since somebody asked, whatever became of them.
    taken: u64,
    /// Octets of super-packets that were given to the engine whole since it was asked for what is to
    /// be sent.
    whole_octets: usize,
    counters: IoCounters,
    spin: Spin,
    /// Whether another thread does this work; `None` if there is none that would.
    is_lent: Option<bool>,
}

impl Running {
    fn new(role: Role) -> Self {
        Self {
            engine: Outbound::of_thread(role.number).with_prefetch(PREFETCH),
            handover: Handover::new(&role.threads),
            peers: Peers::new(
                (role.number, role.threads.count()),
                role.inbound.clone(),
                role.unconnected.clone(),
                clock::now(),
            ),
            outside: Outside::new(&role.routers),
            role,
            interfaces: Interfaces::new(),
            batch: BatchIo::new(HEADROOM_MAX),
            room: vec![0; READ_MAX].into_boxed_slice(),
            burst: Burst::new(),
            verdicts: Vec::with_capacity(BURST_MAX),
            sealed: 0,
            taken: 0,
            whole_octets: 0,
            counters: IoCounters::default(),
            spin: Spin::new(),
            is_lent: None,
        }
    }

    /// Does what there is to do once; false when the thread is to end.
    fn work(
        &mut self,
        events: &Events,
        poller: &Poller,
        commands: &CommandReceiver<ToOutbound>,
    ) -> bool {
        if !self.take_commands(commands, poller) {
            return false;
        }
        let tun = Arc::clone(&self.role.tun);
        if let Err(error) = self.forward(&tun, TableId::DEFAULT) {
            // Without its interface the daemon is of no use: better to end than to spin.
            error!(%error, "the TUN interface is gone");
            let _ = self.role.parent.send(ToParent::Failed("outbound"));
            return false;
        }
        self.forward_others(events, poller);
        if events.iter().any(|ready| ready.token.0 >= ICMP) {
            let Self { role, engine, outside, .. } = self;
            let elsewhere = |message: &[u8]| {
                let others = role.threads.iter().skip(usize::from(role.number) + 1);
                // Only the first thread hears of it, and who has no room goes without.
                others.for_each(|to| drop(to.try_send(ToOutbound::Icmp(message.into()))));
            };
            outside.receive(&role.routers, engine, clock::now(), elsewhere);
            self.send_ready();
        }
        self.keep_time(clock::now());
        self.tell();
        true
    }

    /// Tells the others what the engine has to say.
    fn tell(&mut self) {
        while let Some(event) = self.engine.poll_event() {
            if let Event::PathLearnt { child, mtu, source } = event {
                self.tell_others(|| OutboundCommand::PathMtu { child, mtu, source });
            } else if let Event::Hops { child, hops } = event {
                self.tell_others(|| OutboundCommand::Hops { child, hops });
            } else {
                tell_ike(&self.role.ike, event);
            }
        }
        while let Some((child, notice)) = self.engine.poll_notice() {
            let event = PacketEvent::Notice { child, notice };
            // What finds no room is like a packet that is lost.
            let _ = self.role.ike.try_send(ToIke::Packet(PacketNews::Event(event)));
        }
    }

    /// Tells the other outbound threads what this one has found out. Who has no room hears it when it is
    /// told again.
    fn tell_others(&self, command: impl Fn() -> OutboundCommand) {
        let own = usize::from(self.role.number);
        let others = self.role.threads.iter().enumerate().filter(|(number, _)| *number != own);
        for (_, thread) in others {
            let _ = thread.try_send(ToOutbound::Engine(command()));
        }
    }

    /// False when the thread is to end.
    fn take_commands(&mut self, commands: &CommandReceiver<ToOutbound>, poller: &Poller) -> bool {
        let mut bundles = 0;
        loop {
            match commands.next() {
                Next::Command(ToOutbound::Interfaces(interfaces)) => {
                    self.have_interfaces(interfaces, poller);
                }
                Next::Command(ToOutbound::Engine(command)) => {
                    if let OutboundCommand::TunMtu(mtu) = command {
                        self.burst.set_tun_mtu(mtu);
                    }
                    self.engine.handle_command(command, clock::now());
                    self.send_ready();
                }
                Next::Command(ToOutbound::Icmp(message)) => {
                    self.engine.handle_icmp(&message, clock::now());
                    self.send_answers();
                }
                Next::Command(ToOutbound::Packets(mut bundle)) => {
                    self.send(&mut bundle.packets);
                    bundles += 1;
                    // What is left wakes the thread again; its own packets have their turn first.
                    if bundles >= BUNDLES_IN_A_ROW {
                        return true;
                    }
                }
                Next::Command(ToOutbound::Report(query, packet)) => {
                    let report = Box::new(self.engine.report());
                    let carriers =
                        packet.map(|(table, flow, dscp)| self.engine.carriers(table, &flow, dscp));
                    let carriers = carriers.unwrap_or_default();
                    let _ = self.role.control.send(ToControl::Outbound(query, report, carriers));
                }
                Next::Command(ToOutbound::Show(query)) => {
                    let shown = Box::new(self.shown());
                    let _ = self.role.control.send(ToControl::ShownOut(query, shown));
                }
                Next::Command(ToOutbound::Flowed(child)) => {
                    let counters = self.engine.counters_of(child).map(Box::new);
                    let _ = self.role.control.send(ToControl::FlowedOut(child, counters));
                }
                Next::Command(ToOutbound::Unread(number)) => self.peers.give_up(number),
                Next::Command(ToOutbound::Disconnect) => {
                    self.peers.disconnect("the kernel protects packets of some tunnels");
                }
                Next::Command(ToOutbound::Stop) | Next::Closed => {
                    self.counters.log("outbound");
                    return false;
                }
                Next::Empty => return true,
            }
        }
    }

    /// What another thread had to read.
    fn send(&mut self, packets: &mut [PacketBuf]) {
        let Self { role, engine, peers, batch, verdicts, .. } = self;
        self.taken += u64::try_from(packets.len()).unwrap_or(u64::MAX);
        let report = seal_and_send((role, engine), peers, batch, packets, verdicts);
        self.note(report);
        self.send_ready();
    }

    /// How packets are moved, for people.
    fn shown(&self) -> EngineHalf {
        let memory_octets = self.room.len() + self.burst.memory_octets();
        let mut half = self.counters.shown(&self.spin, memory_octets);
        let busy = || "there was enough to do for two".to_owned();
        let shared = |is_lent: bool| EnginePath::new("one thread", (!is_lent).then(busy));
        half.paths.extend(self.is_lent.map(shared));
        half.paths.extend(tun_paths(&self.role.tun));
        let on = self.role.udp.halves().all(UdpSocket::segments);
        let reason = match self.batch.refused_runs() {
            _ if !on => Some("the kernel refuses it".to_owned()),
            0 => None,
            refused => Some(format!("refused to {refused} peers of late")),
        };
        half.paths.push(EnginePath { name: "UDP GSO".to_owned(), on, reason });
        half.paths.push(self.peers.path());
        half.connected = u64::try_from(self.peers.connected()).unwrap_or(u64::MAX);
        if let Some(peers) = self.role.raw.peers_by_frames() {
            let none = || "no peer is reached in frames at the moment".to_owned();
            half.paths.push(EnginePath::new("AF_XDP", (peers == 0).then(none)));
        }
        half
    }

    fn send_ready(&mut self) {
        while let Some(packet) = self.engine.poll_packet() {
            let packets = std::slice::from_ref(&packet);
            let Self { role, peers, batch, .. } = self;
            let report = transmit(role, peers, batch, packets, &[Verdict::Send]);
            self.note(report);
        }
        self.send_answers();
        self.handover.pass_on(&mut self.engine);
    }

    fn send_answers(&mut self) {
        while let Some(answer) = self.engine.poll_answer() {
            if let Err(error) = self.role.icmp.send(answer.data()) {
                debug!(%error, "a host was not told what became of its packet");
            }
        }
    }

    fn have_interfaces(&mut self, interfaces: Interfaces, poller: &Poller) {
        for tun in self.interfaces.values() {
            if let Err(error) = poller.remove(tun) {
                debug!(%error, interface = tun.name(), "an interface was not waited for");
            }
        }
        let number = usize::from(self.role.number);
        let own = interfaces.into_iter().map(|(table, tun)| (table, tun.reader(number)));
        self.interfaces = own.collect();
        for (table, tun) in &self.interfaces {
            let token = Token(INTERFACES + u64::from(table.0));
            if let Err(error) = poller.add(tun, token, Interest::Readable) {
                error!(%error, interface = tun.name(), "nothing is read from an interface");
            }
        }
    }

    /// Forwards what came by the interfaces of tunnels. Who has lost one tells the parent.
    fn forward_others(&mut self, events: &Events, poller: &Poller) {
        for ready in events.iter() {
            let number = ready.token.0.checked_sub(INTERFACES).and_then(|n| u16::try_from(n).ok());
            let Some(table) = number.map(TableId) else { continue };
            let Some(tun) = self.interfaces.get(&table).cloned() else { continue };
            if let Err(error) = self.forward(&tun, table) {
                warn!(%error, interface = tun.name(), "the interface of a tunnel is gone");
                self.interfaces.remove(&table);
                let _ = poller.remove(&tun);
                let _ = self.role.parent.send(ToParent::InterfaceGone(table));
            }
        }
    }

    /// Forwards what waits at an interface, some of it.
    fn forward(&mut self, tun: &Tun, table: TableId) -> std::io::Result<()> {
        // For as long as packets are cut out of it; nothing is allocated for what stays behind.
        let mut room = std::mem::take(&mut self.room);
        let mut result = Ok(());
        self.sealed = 0;
        for _ in 0..READS_IN_A_ROW {
            self.counters.calls_read += 1;
            match tun.recv_super(&mut room) {
                Ok(Some(len)) => {
                    let read = room.get(..len).unwrap_or_default();
                    let has_header = tun.offloads().any();
                    let whole = has_header.then(|| burst::super_packet(read)).flatten();
                    if whole.is_none_or(|whole| !self.take_in_whole(&whole, table)) {
                        self.take_in(burst::segments(read, has_header), table);
                    }
                }
                Ok(None) => break,
                Err(error) if tun::is_about_one_packet(&error) => {
                    debug!(%error, interface = tun.name(), "a packet could not be read");
                    self.engine.note_unsent(DropReason::BadOffload, 1);
                }
                Err(error) => {
                    result = Err(error);
                    break;
                }
            }
            if self.burst.is_full() {
                self.send_burst();
            }
            if self.sealed >= PACKETS_IN_A_ROW {
                break;
            }
        }
        self.send_burst();
        self.room = room;
        result
    }

    /// Seals a super-packet behind what was read before it, if it may travel whole.
    fn take_in_whole(&mut self, whole: &SuperPacket<'_>, table: TableId) -> bool {
        let Some(way) = self.engine.super_way(whole, table) else { return false };
        if !self.burst.is_empty() {
            self.send_burst();
        }
        // What it is dropped for is counted.
        if self.engine.seal_super(whole, &way, clock::now()).is_ok() {
            self.counters.super_packets += 1;
        }
        // Dropped or not: a part of it may be there to be sent.
        self.whole_octets += whole.octets().len();
        if self.whole_octets >= WHOLE_OCTETS_MAX {
            self.send_burst();
        }
        true
    }

    /// Puts the packets that came in one piece into the burst, which is sent as often as it is full.
    fn take_in(&mut self, segments: Result<Segments<'_>, DropReason>, table: TableId) {
        let mut segments = match segments {
            Ok(segments) => segments,
            Err(reason) => {
                self.engine.note_unsent(reason, 1);
                return;
            }
        };
        self.counters.super_packets += u64::from(segments.is_super());
        loop {
            match self.burst.cut(&mut segments, table) {
                Cut::Done => break,
                Cut::Full => self.send_burst(),
                Cut::Long => {
                    self.send_burst();
                    if !self.send_long(&mut segments, table) {
                        break;
                    }
                }
            }
        }
    }

    fn send_burst(&mut self) {
        let Self { role, engine, peers, batch, burst, verdicts, .. } = self;
        let room = burst.room();
        let packets = burst.take();
        let whole_octets = std::mem::take(&mut self.whole_octets);
        let count = packets.len() + whole_octets / usize::from(INNER_MTU);
        self.sealed += count;
        self.taken += u64::try_from(count).unwrap_or(u64::MAX);
        if !packets.is_empty() || whole_octets > 0 {
            let report = seal_and_send((role, engine), peers, batch, packets, verdicts);
            engine.take_back(packets);
            burst::tidy(packets, room);
            self.note(report);
            self.send_ready();
        }
    }

    /// Sends the next packet, however long; `false` if there is none.
    fn send_long(&mut self, segments: &mut Segments<'_>, table: TableId) -> bool {
        let Self { role, engine, peers, batch, burst, verdicts, .. } = self;
        let Some(packets) = burst.take_long(segments, table) else { return false };
        self.sealed += packets.len();
        self.taken += u64::try_from(packets.len()).unwrap_or(u64::MAX);
        let report = seal_and_send((role, engine), peers, batch, packets, verdicts);
        self.note(report);
        self.send_ready();
        true
    }

    fn note(&mut self, report: SendReport) {
        self.counters.count_sent(report);
        self.engine.note_unsent(DropReason::TooBig, report.too_big);
        self.engine.note_unsent(DropReason::NotSent, report.unsent.saturating_add(report.failed));
        let SendReport { unsent, too_big, failed, errno, .. } = report;
        if unsent + too_big + failed > 0 {
            debug!(unsent, too_big, failed, errno, "packets were not sent");
        }
    }

    fn keep_time(&mut self, now: Instant) {
        self.peers.keep_time(now, &self.role.udp);
        let SendReport { failed, .. } = self.role.raw.flush();
        self.engine.note_unsent(DropReason::NotSent, failed);
        if self.engine.poll_timeout().is_some_and(|at| at <= now) {
            self.engine.handle_timeout(now);
            self.send_ready();
        }
    }
}

fn seal_and_send(
    (role, engine): (&Role, &mut Outbound),
    peers: &mut Peers,
    batch: &mut BatchIo,
    packets: &mut [PacketBuf],
    verdicts: &mut Vec<Verdict>,
) -> SendReport {
    engine.seal_batch(packets, verdicts, clock::now());
    let mut report = transmit(role, peers, batch, packets, verdicts);
    // The ESP packets that they share.
    let shared = engine.flush();
    verdicts.clear();
    verdicts.resize(shared.len(), Verdict::Send);
    report.add(transmit(role, peers, batch, shared, verdicts));
    report
}
