//! From protected packets to the interfaces: they are opened where they lie, and what a burst has
//! brought of a flow is written in one piece, where the interface takes that.

use std::io::{self, IoSlice};
use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use adit_dataplane::offload::{Coalescer, MERGED_MAX, Mergeable, SuperPacket};
use adit_dataplane::{INNER_MTU, Inbound, OpenVerdict, UNPACKED_MAX};
use adit_db::TableId;
use adit_sys::tun::{self, Tun};
use adit_sys::{PREFETCH, SendReport};
use adit_wire::PacketBuf;
use tracing::debug;

use super::IoCounters;
use crate::message::Interfaces;

/// The inbound engine, and where opened packets go.
pub(super) struct Delivery {
    pub(super) engine: Inbound,
    pub(super) counters: IoCounters,
    pub(super) exits: Exits,
    verdicts: Vec<OpenVerdict>,
    /// What is open and not yet written.
    burst: Coalescer,
    /// The same of packets that came several in one.
    unpacked: Coalescer,
}

/// Where opened packets go.
pub(super) struct Exits {
    /// The interface of all tunnels that have none of their own.
    tun: Arc<Tun>,
    /// Those of the others.
    pub(super) interfaces: Interfaces,
    /// For a packet that is cut out of a super-packet.
    piece: PacketBuf,
}

impl Exits {
    fn of(&self, packet: &PacketBuf) -> Option<&Tun> {
        match TableId(packet.meta.table) {
            TableId::DEFAULT => Some(&self.tun),
            table => self.interfaces.get(&table),
        }
    }

    /// What the interface of a packet takes in one piece.
    fn mergeable(&self, packet: &PacketBuf) -> Mergeable {
        let offloads = self.of(packet).map(Tun::offloads).unwrap_or_default();
        Mergeable { tcp: offloads.tcp, udp: offloads.udp }
    }

    /// Writes a packet that stands for several, in one piece where its interface takes that; whether
    /// it has.
    fn write_super(&mut self, packet: &PacketBuf, report: &mut SendReport) -> bool {
        let (Some(whole), Some(tun)) = (SuperPacket::in_buffer(packet), self.of(packet)) else {
            report.failed += 1;
            return false;
        };
        if tun.offloads().tcp {
            let header = whole.vnet_header().to_octets();
            report.calls += 1;
            match tun.send_parts(&[IoSlice::new(&header), IoSlice::new(packet.data())]) {
                Ok(()) => {
                    report.sent += whole.count();
                    return true;
                }
                Err(error) if tun::is_about_super_packet(&error) => {
                    debug!(%error, "the TUN takes no such super-packet");
                }
                Err(error) => {
                    report.failed += whole.count();
                    report.errno = error.raw_os_error().unwrap_or(0);
                    return false;
                }
            }
        }
        self.write_cut(packet, &whole, report);
        false
    }

    /// Writes the packets that it stands for, one by one.
    fn write_cut(&mut self, packet: &PacketBuf, whole: &SuperPacket<'_>, report: &mut SendReport) {
        let Ok(mut segments) = whole.segments() else { return };
        loop {
            self.piece.reset(0);
            if !segments.write_next(&mut self.piece) {
                return;
            }
            self.piece.meta.table = packet.meta.table;
            write_alone(self, Some(&self.piece), report);
        }
    }
}

impl Delivery {
    /// For bursts of at most `packets_max` packets.
    pub(super) fn new(tun: Arc<Tun>, packets_max: usize) -> Self {
        Self {
            engine: Inbound::new().with_prefetch(PREFETCH),
            counters: IoCounters::default(),
            exits: Exits {
                tun,
                interfaces: Interfaces::new(),
                piece: PacketBuf::with_capacity(0, INNER_MTU.into()),
            },
            verdicts: Vec::with_capacity(packets_max),
            burst: Coalescer::new(packets_max),
            unpacked: Coalescer::new(UNPACKED_MAX),
        }
    }

    /// Opens the packets of this range, which has no packet of the burst yet. What comes out belongs to
    /// the burst and stays where it is until [`Self::write`], but for packets that have got other
    /// buffers: these are written at once, and all before them.
    pub(super) fn open(&mut self, packets: &mut [PacketBuf], range: Range<usize>, now: Instant) {
        let Some(some) = packets.get_mut(range.clone()).filter(|some| !some.is_empty()) else {
            return;
        };
        self.engine.open_batch(some, &mut self.verdicts, now);
        for (number, verdict) in range.clone().zip(&self.verdicts) {
            if *verdict == OpenVerdict::Deliver
                && let Some(packet) = packets.get(number)
            {
                self.burst.add(packets, number, self.exits.mergeable(packet));
            }
        }
        if self.engine.has_lent() {
            self.write(packets);
            let some = packets.get_mut(range).unwrap_or_default();
            some.iter_mut().for_each(|packet| self.engine.take_back(packet));
        }
        if !self.engine.unpacked().is_empty() {
            self.write(packets);
            self.write_unpacked();
        }
    }

    /// Whether a packet belonged to an SA, by its place in the range that was opened last.
    pub(super) fn is_authentic(&self, place: usize) -> bool {
        let verdict = self.verdicts.get(place);
        matches!(verdict, Some(OpenVerdict::Deliver | OpenVerdict::Held))
    }

    /// Writes the burst.
    pub(super) fn write(&mut self, packets: &mut [PacketBuf]) {
        write(&mut self.burst, &mut self.exits, &mut self.counters, packets);
    }

    /// Delivers what has waited long enough for packets that were sent before it.
    pub(super) fn keep_time(&mut self, now: Instant) {
        if self.engine.poll_timeout().is_some_and(|at| at <= now) {
            self.engine.handle_timeout(now);
            self.write_unpacked();
        }
    }

    /// Writes what came out of packets that several share.
    fn write_unpacked(&mut self) {
        let packets = self.engine.unpacked();
        for number in 0..packets.len() {
            if let Some(packet) = packets.get(number) {
                self.unpacked.add(packets, number, self.exits.mergeable(packet));
            }
        }
        write(&mut self.unpacked, &mut self.exits, &mut self.counters, packets);
    }
}

/// Writes a burst and forgets it.
fn write(
    burst: &mut Coalescer,
    exits: &mut Exits,
    counters: &mut IoCounters,
    packets: &mut [PacketBuf],
) {
    let mut report = SendReport::default();
    for number in 0..burst.len() {
        let Some((count, first)) = burst.bundle(number) else { break };
        if let Some(packet) = packets.get(first).filter(|packet| packet.meta.segment_len > 0) {
            counters.super_packets += u64::from(exits.write_super(packet, &mut report));
            continue;
        }
        let headers = packets.get(first).filter(|_| count > 1).and_then(Headers::of);
        report.calls += 1;
        let error = match write_whole(burst, exits, (number, first), packets) {
            Ok(()) => {
                report.sent += count;
                counters.super_packets += u64::from(count > 1);
                continue;
            }
            Err(error) => error,
        };
        let refused = headers.filter(|_| tun::is_about_super_packet(&error));
        if let (Some(headers), Some(packet)) = (refused, packets.get_mut(first)) {
            headers.restore(packet);
            debug!(%error, count, "the TUN takes packets one by one that it refused in one piece");
            burst.members(number).for_each(|at| write_alone(exits, packets.get(at), &mut report));
        } else {
            report.failed += count;
            report.errno = error.raw_os_error().unwrap_or(0);
        }
    }
    burst.clear();
    counters.count_sent(report);
    if report.failed > 0 {
        debug!(failed = report.failed, errno = report.errno, "the TUN refused packets");
    }
}

/// Writes the packets of a piece as one.
fn write_whole(
    burst: &Coalescer,
    exits: &Exits,
    (number, first): (usize, usize),
    packets: &mut [PacketBuf],
) -> io::Result<()> {
    // What is for an interface that is gone is lost like what a TUN refuses.
    let tun = packets.get(first).and_then(|packet| exits.of(packet));
    let tun = tun.ok_or(io::ErrorKind::NotConnected)?;
    let header = burst.finish(number, packets).to_octets();
    let front = tun.offloads().any().then_some(&header[..]);
    let written = front.into_iter().chain(burst.parts(number, packets));
    let mut parts = [IoSlice::new(&[]); 1 + MERGED_MAX];
    let mut used = 0;
    for (slot, part) in parts.iter_mut().zip(written) {
        *slot = IoSlice::new(part);
        used += 1;
    }
    tun.send_parts(parts.get(..used).unwrap_or_default())
}

fn write_alone(exits: &Exits, packet: Option<&PacketBuf>, report: &mut SendReport) {
    if let Some((packet, tun)) = packet.and_then(|packet| Some((packet, exits.of(packet)?))) {
        report.add(tun.send_batch([packet]));
    }
}

/// The front of a packet as it was before it got the headers of several.
struct Headers([u8; HEADERS_MAX]);

/// IPv6 and the longest TCP header.
const HEADERS_MAX: usize = 40 + 60;

impl Headers {
    fn of(packet: &PacketBuf) -> Option<Self> {
        let mut headers = [0; HEADERS_MAX];
        let front = packet.data().iter().take(HEADERS_MAX);
        headers.iter_mut().zip(front).for_each(|(to, from)| *to = *from);
        (!packet.data().is_empty()).then_some(Self(headers))
    }

    fn restore(&self, packet: &mut PacketBuf) {
        packet.data_mut().iter_mut().zip(&self.0).for_each(|(to, from)| *to = *from);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A datagram of a flow with this payload, checksums and all.
    fn datagram(payload: &[u8]) -> PacketBuf {
        let udp_len = u16::try_from(8 + payload.len()).unwrap();
        let [t0, t1] = (20 + udp_len).to_be_bytes();
        let [u0, u1] = udp_len.to_be_bytes();
        let mut ip = [0x45, 0, t0, t1, 0, 0, 0x40, 0, 64, 17, 0, 0, 10, 1, 0, 5, 10, 2, 0, 7];
        let [c0, c1] = adit_wire::ip::checksum(&ip).to_be_bytes();
        (ip[10], ip[11]) = (c0, c1);
        let pseudo = [&ip[12..], &[0, 17, u0, u1]].concat();
        let udp = [&[16, 0, 0, 53, u0, u1, 0, 0], payload].concat();
        let [k0, k1] = adit_wire::ip::checksum(&[&pseudo[..], &udp].concat()).to_be_bytes();
        let udp = [&udp[..6], &[k0, k1], payload].concat();
        let mut packet = PacketBuf::with_capacity(0, 1_500);
        assert!(packet.fill(&[&ip[..], &udp].concat()));
        packet
    }

    #[test]
    fn what_was_made_of_several_can_be_taken_apart() {
        let made = || (1..=5_u8).map(|n| datagram(&[n; 100])).collect::<Vec<_>>();
        let (mut packets, before) = (made(), made());
        let mut burst = Coalescer::new(packets.len());
        for number in 0..packets.len() {
            burst.add(&packets, number, Mergeable { tcp: true, udp: true });
        }
        assert_eq!((burst.len(), burst.bundle(0)), (1, Some((5, 0))));
        let headers = Headers::of(&packets[0]).unwrap();
        burst.finish(0, &mut packets);
        assert_ne!(packets[0].data(), before[0].data());
        headers.restore(&mut packets[0]);
        assert_eq!(burst.members(0).collect::<Vec<_>>(), [0, 1, 2, 3, 4]);
        assert!(packets.iter().zip(&before).all(|(now, before)| now.data() == before.data()));
    }
}
