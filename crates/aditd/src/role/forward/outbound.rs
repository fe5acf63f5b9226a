//! The outbound thread: TUN, policies and SAs, sealing, and out by UDP, ESP or in clear.

use std::sync::Arc;
use std::time::Instant;

use adit_dataplane::{DropReason, HEADROOM_MAX, Outbound, Verdict};
use adit_sys::clock;
use adit_sys::netlink::Family;
use adit_sys::raw::{BypassSocket, RawEspSocket};
use adit_sys::tun::Tun;
use adit_sys::udp::DualUdpSocket;
use adit_sys::wake::{CommandReceiver, CommandSender, Events, Interest, Next, Poller, Token};
use adit_sys::{BatchIo, SendReport};
use adit_wire::PacketBuf;
use tracing::{debug, error};

use super::{buffers, tell_ike};
use crate::message::{ToControl, ToIke, ToOutbound, ToParent};

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
    batch: BatchIo,
    packets: Vec<PacketBuf>,
    verdicts: Vec<Verdict>,
}

impl Running {
    fn new(role: Role) -> Self {
        let packets = buffers();
        let verdicts = Vec::with_capacity(packets.len());
        Self { role, engine: Outbound::new(), batch: BatchIo::new(HEADROOM_MAX), packets, verdicts }
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
            if !self.take_commands(commands) {
                return;
            }
            if let Err(error) = self.forward() {
                // Without its interface the daemon is of no use: better to end than to spin.
                error!(%error, "the TUN interface is gone");
                let _ = self.role.parent.send(ToParent::Failed("outbound"));
                return;
            }
            self.keep_time(clock::now());
            while let Some(event) = self.engine.poll_event() {
                tell_ike(&self.role.ike, event);
            }
        }
    }

    /// False when the thread is to end.
    fn take_commands(&mut self, commands: &CommandReceiver<ToOutbound>) -> bool {
        loop {
            match commands.next() {
                Next::Command(ToOutbound::Engine(command)) => {
                    self.engine.handle_command(command, clock::now());
                    self.send_ready();
                }
                Next::Command(ToOutbound::Report(query, packet)) => {
                    let report = Box::new(self.engine.report());
                    let carriers = packet.map(|(flow, dscp)| {
                        self.engine.carriers(adit_db::TableId::DEFAULT, &flow, dscp)
                    });
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

    fn forward(&mut self) -> std::io::Result<()> {
        for _ in 0..BATCHES_IN_A_ROW {
            let got = self.role.tun.recv_batch(HEADROOM_MAX, &mut self.packets)?;
            let Some(packets) = self.packets.get_mut(..got).filter(|packets| !packets.is_empty())
            else {
                break;
            };
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
