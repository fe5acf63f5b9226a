//! The outbound thread: TUN, policies and SAs, sealing, and out by UDP, ESP or in clear.

use std::sync::Arc;
use std::time::Instant;

use adit_dataplane::{DropReason, HEADROOM_MAX, Outbound, Verdict};
use adit_db::TableId;
use adit_sys::clock;
use adit_sys::netlink::Family;
use adit_sys::raw::{BypassSocket, RawEspSocket};
use adit_sys::tun::Tun;
use adit_sys::udp::DualUdpSocket;
use adit_sys::wake::{CommandReceiver, CommandSender, Events, Interest, Next, Poller, Token};
use adit_sys::{BatchIo, SendReport};
use adit_wire::PacketBuf;
use tracing::{debug, error, warn};

use super::{buffers, tell_ike};
use crate::message::{Interfaces, ToControl, ToIke, ToOutbound, ToParent};

/// What the thread needs from its parent.
pub(crate) struct Role {
    /// Where packets to protect come from.
    pub(crate) tun: Arc<Tun>,
    /// UDP 4500.
    pub(crate) udp: DualUdpSocket,
    /// ESP sockets, one for each family.
    pub(crate) raw: Vec<RawEspSocket>,
    /// Where packets with their own IP header leave: in clear, or in transport mode.
    pub(crate) bypass: BypassSocket,
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
/// Batches read from the TUN before commands are looked at again.
const BATCHES_IN_A_ROW: usize = 8;

impl Role {
    /// Runs until it is told to stop.
    pub(crate) fn run(self, commands: &CommandReceiver<ToOutbound>) {
        let started = Poller::new().and_then(|poller| {
            poller.add(&*self.tun, TUN, Interest::Readable)?;
            poller.add(commands, COMMANDS, Interest::Readable)?;
            Ok(poller)
        });
        match started {
            Ok(poller) => Running::new(self).run(&poller, commands),
            Err(error) => {
                error!(%error, "the outbound thread cannot start");
                let _ = self.parent.send(ToParent::Failed("outbound"));
            }
        }
    }
}

struct Running {
    role: Role,
    engine: Outbound,
    /// The interfaces that tunnels have for themselves.
    interfaces: Interfaces,
    batch: BatchIo,
    packets: Vec<PacketBuf>,
    verdicts: Vec<Verdict>,
}

impl Running {
    fn new(role: Role) -> Self {
        let packets = buffers();
        let verdicts = Vec::with_capacity(packets.len());
        Self {
            role,
            engine: Outbound::new(),
            interfaces: Interfaces::new(),
            batch: BatchIo::new(HEADROOM_MAX),
            packets,
            verdicts,
        }
    }

    fn run(&mut self, poller: &Poller, commands: &CommandReceiver<ToOutbound>) {
        let mut events = Events::new();
        loop {
            let now = clock::now();
            let timeout = self.engine.poll_timeout().map(|at| at.saturating_duration_since(now));
            if let Err(error) = poller.wait(&mut events, timeout) {
                error!(%error, "the outbound thread cannot wait");
                let _ = self.role.parent.send(ToParent::Failed("outbound"));
                return;
            }
            if !self.take_commands(commands, poller) {
                return;
            }
            let tun = Arc::clone(&self.role.tun);
            if let Err(error) = self.forward(&tun, TableId::DEFAULT) {
                // Without its interface the daemon is of no use: better to end than to spin.
                error!(%error, "the TUN interface is gone");
                let _ = self.role.parent.send(ToParent::Failed("outbound"));
                return;
            }
            self.forward_others(&events, poller);
            self.keep_time(clock::now());
            while let Some(event) = self.engine.poll_event() {
                tell_ike(&self.role.ike, event);
            }
        }
    }

    /// False when the thread is to end.
    fn take_commands(&mut self, commands: &CommandReceiver<ToOutbound>, poller: &Poller) -> bool {
        loop {
            match commands.next() {
                Next::Command(ToOutbound::Interfaces(interfaces)) => {
                    self.have_interfaces(interfaces, poller);
                }
                Next::Command(ToOutbound::Engine(command)) => {
                    self.engine.handle_command(command, clock::now());
                    self.send_ready();
                }
                Next::Command(ToOutbound::Report(query, packet)) => {
                    let report = Box::new(self.engine.report());
                    let carriers =
                        packet.map(|(table, flow, dscp)| self.engine.carriers(table, &flow, dscp));
                    let carriers = carriers.unwrap_or_default();
                    let _ = self.role.control.send(ToControl::Outbound(query, report, carriers));
                }
                Next::Command(ToOutbound::Flowed(child)) => {
                    let counters = self.engine.counters_of(child).map(Box::new);
                    let _ = self.role.control.send(ToControl::FlowedOut(child, counters));
                }
                Next::Command(ToOutbound::Stop) | Next::Closed => return false,
                Next::Empty => return true,
            }
        }
    }

    fn send_ready(&mut self) {
        while let Some(packet) = self.engine.poll_packet() {
            let packets = std::slice::from_ref(&packet);
            let report = transmit(&self.role, &mut self.batch, packets, &[Verdict::Send]);
            note(&mut self.engine, report);
        }
    }

    fn have_interfaces(&mut self, interfaces: Interfaces, poller: &Poller) {
        for tun in self.interfaces.values() {
            if let Err(error) = poller.remove(tun) {
                debug!(%error, interface = tun.name(), "an interface was not waited for");
            }
        }
        self.interfaces = interfaces;
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

    /// Forwards what waits at an interface, some batches of it.
    fn forward(&mut self, tun: &Tun, table: TableId) -> std::io::Result<()> {
        for _ in 0..BATCHES_IN_A_ROW {
            let got = tun.recv_batch(HEADROOM_MAX, &mut self.packets)?;
            let Some(packets) = self.packets.get_mut(..got).filter(|packets| !packets.is_empty())
            else {
                break;
            };
            packets.iter_mut().for_each(|packet| packet.meta.table = table.0);
            self.engine.seal_batch(packets, &mut self.verdicts, clock::now());
            let report = transmit(&self.role, &mut self.batch, packets, &self.verdicts);
            note(&mut self.engine, report);
            self.send_ready();
        }
        Ok(())
    }

    fn keep_time(&mut self, now: Instant) {
        if self.engine.poll_timeout().is_some_and(|at| at <= now) {
            self.engine.handle_timeout(now);
            self.send_ready();
        }
    }
}

/// Sends each packet the way its verdict and its `meta` say. What a full socket does not take is
/// dropped, as any full queue on the way would.
fn transmit(
    role: &Role,
    io: &mut BatchIo,
    packets: &[PacketBuf],
    verdicts: &[Verdict],
) -> SendReport {
    let with = |wanted: Verdict, whole: bool| {
        packets
            .iter()
            .zip(verdicts)
            .filter(move |(packet, verdict)| **verdict == wanted && packet.meta.whole == whole)
            .map(|(packet, _)| packet)
    };
    let travels = |udp: bool, ipv4: bool| {
        with(Verdict::Send, false)
            .filter(move |packet| packet.meta.udp == udp && packet.meta.remote.is_ipv4() == ipv4)
    };
    let mut report = role.udp.v4().send_batch(io, travels(true, true));
    if let Some(socket) = role.udp.v6() {
        report.add(socket.send_batch(io, travels(true, false)));
    }
    for socket in &role.raw {
        report.add(socket.send_batch(io, travels(false, socket.family() == Family::V4)));
    }
    let in_clear = with(Verdict::Bypass, false);
    report.add(role.bypass.send_batch(io, in_clear.chain(with(Verdict::Send, true))));
    report
}

fn note(engine: &mut Outbound, report: SendReport) {
    engine.note_unsent(DropReason::TooBig, report.too_big);
    let SendReport { unsent, too_big, failed, .. } = report;
    if unsent + too_big + failed > 0 {
        debug!(unsent, too_big, failed, errno = report.errno, "packets were not sent");
    }
}
