//! What comes out of payloads goes the way of every inner packet: RFC 4301 §5.2 on each.

use std::time::Instant;

use adit_wire::aggfrag::SuperHeader;
use adit_wire::iana::IpProtocol;
use adit_wire::ip::IpPacket;
use adit_wire::{PacketBuf, PacketMeta, Reader};

use crate::aggfrag::unpack::{Found, Unpacker};
use crate::drop_reason::DropReason;
use crate::event::{Audit, Events};
use crate::inbound::{Arrived, Gate, Numbered, is_auditable};
use crate::offload::SuperPacket;
use crate::sa::InboundSa;

/// What the inner packets of a payload are judged by, and where they go.
struct Way<'a> {
    gate: &'a mut Gate,
    events: &'a mut Events,
    arrived: Numbered,
    meta: PacketMeta,
}

impl InboundSa {
    /// Whether its packets share ESP packets.
    pub(crate) fn is_aggfrag(&self) -> bool {
        self.agreed.is_some()
    }

    /// Takes what an authentic packet of an AGGFRAG SA carries. If that is one whole inner packet
    /// whose turn it is, `packet` is that, as long as nothing is among the unpacked ones that it
    /// would overtake; else they have what came of it.
    ///
    /// # Errors
    ///
    /// - [`DropReason::Replayed`]: it waits for its turn already.
    /// - [`DropReason::Dummy`] and [`DropReason::BadInner`]: something else than AGGFRAG.
    /// - Those of each inner packet, if `packet` has become one.
    pub(crate) fn unpack(
        &mut self,
        packet: &mut PacketBuf,
        next_header: IpProtocol,
        arrived: Numbered,
        gate: &mut Gate,
        events: &mut Events,
    ) -> Result<Arrived, DropReason> {
        let Some(mut unpacker) = self.take_unpacker() else { return Err(DropReason::BadInner) };
        let is_payload = next_header == IpProtocol::AGGFRAG;
        let single = if is_payload && gate.unpacked.packets().is_empty() {
            unpacker.take_single(arrived.sequence, packet.data())
        } else {
            None
        };
        let outcome = if let Some((at, len)) = single {
            self.enter_single(packet, at, len, arrived.now, gate, events)
        } else {
            let way = Way { gate: &mut *gate, events: &mut *events, arrived, meta: packet.meta };
            // What has a number and is no payload still has its turn.
            let payload = if is_payload { packet.data() } else { NOTHING };
            let taken = self.enter_all(&mut unpacker, payload, way);
            match next_header {
                IpProtocol::AGGFRAG => taken.map(|()| Arrived::InPart),
                IpProtocol::NO_NEXT => self.hear(packet, arrived.now, events),
                _ => Err(DropReason::BadInner),
            }
        };
        gate.unpacked.wait_for(self.child, &mut unpacker, arrived.now);
        self.aggfrag = Some(unpacker);
        outcome
    }

    /// What puts payloads together: made with the first of them, as many SAs wait for long.
    fn take_unpacker(&mut self) -> Option<Box<Unpacker>> {
        self.aggfrag.take().or_else(|| Some(Box::new(Unpacker::new(self.agreed?))))
    }

    /// Looks at payloads that have waited long enough for those before them.
    pub(crate) fn unpack_waiting(&mut self, now: Instant, gate: &mut Gate, events: &mut Events) {
        let Some(mut unpacker) = self.aggfrag.take() else { return };
        unpacker.is_noted = false;
        let meta = PacketMeta { remote: self.remote, udp: self.udp, ..PacketMeta::default() };
        let arrived = Numbered { sequence: self.top(), now };
        let mut way = Way { gate: &mut *gate, events, arrived, meta };
        unpacker.handle_timeout(now, &mut |found| self.enter(found, &mut way));
        gate.unpacked.wait_for(self.child, &mut unpacker, now);
        self.aggfrag = Some(unpacker);
    }

    /// The one packet of a payload stays where it is.
    fn enter_single(
        &mut self,
        packet: &mut PacketBuf,
        at: usize,
        len: usize,
        now: Instant,
        gate: &mut Gate,
        events: &mut Events,
    ) -> Result<Arrived, DropReason> {
        if !packet.pull_front(at) {
            return Err(DropReason::BadInner);
        }
        packet.truncate(len);
        let accepted = self.accept_inner(packet, version(packet.data()), gate)?;
        self.let_in(packet, accepted, now, gate, events)
    }

    fn enter_all(
        &mut self,
        unpacker: &mut Unpacker,
        payload: &[u8],
        mut way: Way<'_>,
    ) -> Result<(), DropReason> {
        let (Numbered { sequence, now }, tos) = (way.arrived, way.meta.tos);
        unpacker
            .handle_payload(sequence, tos, payload, now, &mut |found| self.enter(found, &mut way))
    }

    /// Judges a packet of a payload, and puts it to the unpacked ones or counts it.
    fn enter(&mut self, found: Found<'_>, way: &mut Way<'_>) {
        let entered = match found {
            Found::Packet { octets, tos } => self.enter_one(octets, tos, way),
            Found::Super { buffer, len } => {
                *buffer = way.gate.unpacked.take(len);
                Ok(())
            }
            Found::Spare(buffer) => {
                way.gate.unpacked.reuse(buffer);
                Ok(())
            }
            Found::SuperPacket { block, tos } => self.enter_super(block, tos, way),
            Found::Lost(reason) => Err(reason),
        };
        if let Err(reason) = entered {
            self.dropped(reason);
            way.gate.unpacked.drops.add(reason);
            if is_auditable(reason) {
                let Numbered { sequence, .. } = way.arrived;
                let remote = way.meta.remote;
                way.gate.unpacked.audit = Some(Audit { reason, spi: self.spi, sequence, remote });
            }
        }
    }

    fn enter_one(&mut self, octets: &[u8], tos: u8, way: &mut Way<'_>) -> Result<(), DropReason> {
        let inner = IpPacket::read(octets).map_err(|_| DropReason::BadInner)?;
        let room = (!self.may_grow(&inner, way.gate)).then_some(octets.len());
        let mut packet = way.gate.unpacked.take(room).ok_or(DropReason::NoRoom)?;
        let arrived = if packet.fill(octets) {
            packet.meta = PacketMeta { tos, table: self.table.0, ..way.meta };
            self.accept_inner(&mut packet, version(octets), way.gate).and_then(|arrived| {
                self.let_in(&mut packet, arrived, way.arrived.now, way.gate, way.events)
            })
        } else {
            Err(DropReason::NoRoom)
        };
        if matches!(arrived, Ok(Arrived::Whole)) {
            way.gate.unpacked.deliver(packet);
        } else {
            way.gate.unpacked.reuse(packet);
        }
        arrived.map(|_| ())
    }

    /// Judges a super-packet by the headers that all its packets will have.
    fn enter_super(
        &mut self,
        mut packet: PacketBuf,
        tos: u8,
        way: &mut Way<'_>,
    ) -> Result<(), DropReason> {
        packet = way.gate.unpacked.fitting(packet);
        packet.meta = PacketMeta { tos, table: self.table.0, ..way.meta };
        let judged = self.judge_super(&mut packet, way);
        match judged {
            Ok(()) => way.gate.unpacked.deliver(packet),
            Err(_) => way.gate.unpacked.reuse(packet),
        }
        judged
    }

    fn judge_super(&mut self, packet: &mut PacketBuf, way: &mut Way<'_>) -> Result<(), DropReason> {
        let header = SuperHeader::read(&mut Reader(packet.data()));
        let SuperHeader { segment_len } = header.map_err(|_| DropReason::BadSuperPacket)?;
        if !packet.pull_front(SuperHeader::LEN) {
            return Err(DropReason::BadSuperPacket);
        }
        let count = SuperPacket::read(packet.data(), segment_len).map(|packet| packet.count());
        let count = count.ok_or(DropReason::BadSuperPacket)?;
        packet.meta.segment_len = segment_len;
        // It is whole, as no fragment is one.
        self.accept_inner(packet, version(packet.data()), way.gate)?;
        self.count_super(count, packet.len(), way.arrived.now, way.events);
        Ok(())
    }
}

/// The next header that tunnel mode would have for a packet. A data block is of one of two versions.
fn version(octets: &[u8]) -> IpProtocol {
    match octets.first() {
        Some(first) if first >> 4 == 4 => IpProtocol::IPV4,
        _ => IpProtocol::IPV6,
    }
}

/// A payload of padding alone.
const NOTHING: &[u8] = &[0; 5];
