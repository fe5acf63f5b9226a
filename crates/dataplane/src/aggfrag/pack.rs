//! Inner packets to payloads, RFC 9347 §2.2: one behind the other, and over the end of a payload into
//! the next one.

use std::time::Instant;

use adit_crypto::Shape;
use adit_db::Age;
use adit_wire::aggfrag::{AggfragHeader, SuperHeader};
use adit_wire::{PacketBuf, PacketMeta};

use crate::aggfrag::Slots;
use crate::aggfrag::watch::Watch;
use crate::drop_reason::DropReason;
use crate::esp::{self, INNER_MTU, Label, Overhead};
use crate::event::Events;
use crate::offload::SuperPacket;
use crate::sa::{OutboundSa, SealingKey};
use crate::seal::spend;

/// The outbound half of an AGGFRAG SA.
#[derive(Debug)]
pub(crate) struct Packer {
    /// Octets of a full payload.
    payload_len: usize,
    /// The same where the path takes what the link does.
    payload_most: usize,
    begun: Option<Payload>,
    /// Whether they travel whole; there once there was one, as most SAs never see any.
    watch: Option<Box<Watch>>,
}

/// What becomes one data block.
struct Block<'a> {
    /// In front of the packet.
    header: &'a [u8],
    packet: &'a [u8],
}

/// A payload that has room left.
#[derive(Debug)]
struct Payload {
    packet: PacketBuf,
    /// Given out when it was begun: what an SA seals next has a higher one.
    sequence: u64,
    /// Traffic class of its outer header.
    class: u8,
}

impl Packer {
    fn new(shape: Shape) -> Self {
        let payload_len = payload_len(shape);
        Self { payload_len, payload_most: payload_len, begun: None, watch: None }
    }

    /// Makes payloads of so many octets at most: the path takes no longer ones.
    pub(crate) fn fit(&mut self, payload_max: usize) {
        self.payload_len = self.payload_most.min(payload_max).max(PAYLOAD_MIN);
    }

    /// Whether a packet of so many octets fills a payload, and none is begun.
    fn is_filled_by(&self, octets: usize) -> bool {
        self.begun.is_none() && self.payload_len == octets.saturating_add(AggfragHeader::LEN)
    }

    /// Octets that the payload begun takes.
    fn room(&self) -> usize {
        let used = self.begun.as_ref().map(|begun| begun.packet.len());
        used.map_or(0, |used| self.payload_len.saturating_sub(used))
    }
}

impl OutboundSa {
    /// Whether its packets share ESP packets.
    pub(crate) fn is_aggfrag(&self) -> bool {
        self.agreed.is_some()
    }

    /// What puts packets into them, made for the first.
    fn packer(&mut self) -> Option<&mut Packer> {
        if self.aggfrag.is_none() && self.agreed.is_some() {
            self.make_packer();
        }
        self.aggfrag.as_deref_mut()
    }

    /// Makes that, if packets share others.
    #[cold]
    #[inline(never)]
    pub(crate) fn make_packer(&mut self) {
        self.aggfrag = self.new_packer().map(Box::new);
    }

    /// One that is fitted to what the path takes now.
    #[cold]
    fn new_packer(&self) -> Option<Packer> {
        let (Some(_), SealingKey::Esp(key)) = (self.agreed, &self.key) else { return None };
        let mut packer = Packer::new(key.shape());
        if let Some(payload_max) = self.payload_max(self.path().in_force().0.into()) {
            packer.fit(payload_max);
        }
        Some(packer)
    }

    /// Whether a payload waits to be full or to be closed.
    pub(crate) fn has_begun(&self) -> bool {
        self.aggfrag.as_ref().is_some_and(|packer| packer.begun.is_some())
    }

    /// Whether a packet of so many octets fills a payload, and none is begun.
    pub(crate) fn fills_payload(&self, octets: usize) -> bool {
        match &self.aggfrag {
            Some(packer) => packer.is_filled_by(octets),
            None => self.fills_first_payload(octets),
        }
    }

    /// Apart, so that its stack is not that of the packets after the first.
    #[cold]
    #[inline(never)]
    fn fills_first_payload(&self, octets: usize) -> bool {
        self.new_packer().is_some_and(|packer| packer.is_filled_by(octets))
    }

    /// Seals a packet that fills a payload in its own buffer.
    ///
    /// # Errors
    ///
    /// Those of [`Self::pack`]; the packet is unchanged then.
    pub(crate) fn seal_payload(
        &mut self,
        packet: &mut PacketBuf,
        inner_class: u8,
        now: Instant,
        events: &mut Events,
    ) -> Result<(), DropReason> {
        self.check_age(now, events)?;
        self.packer();
        let inner_len = packet.len();
        let has_room = packet.headroom() >= AggfragHeader::LEN + FRONT_MAX;
        if !has_room || packet.tailroom() < TAIL_MAX {
            return Err(DropReason::NoRoom);
        }
        let Ok(sequence) = spend(&mut self.sequence, &mut self.meter) else {
            self.tell(Age::Hard, now, events);
            return Err(DropReason::SequenceExhausted);
        };
        let header = AggfragHeader { block_offset: 0 }.to_octets();
        packet.push_front(header.len()).ok_or(DropReason::NoRoom)?.copy_from_slice(&header);
        self.finish(packet, sequence, self.tos.outer(inner_class))?;
        self.count(inner_len, now, events);
        Ok(())
    }

    /// Puts a packet into payloads behind those before it; payloads that it fills are sealed and are
    /// in `slots` then.
    ///
    /// # Errors
    ///
    /// - [`DropReason::LifetimeOver`]: the hard lifetime has passed.
    /// - [`DropReason::NoRoom`]: too many sealed packets wait.
    /// - [`DropReason::SequenceExhausted`]: the counter would wrap (RFC 4303 §3.3.3).
    ///
    /// After the last two a part of the packet may be on its way; the peer drops that.
    pub(crate) fn pack(
        &mut self,
        packet: &[u8],
        inner_class: u8,
        slots: &mut Slots,
        now: Instant,
        events: &mut Events,
    ) -> Result<(), DropReason> {
        self.check_age(now, events)?;
        self.pack_block(&Block { header: &[], packet }, inner_class, slots, now, events)?;
        self.count(packet.len(), now, events);
        Ok(())
    }

    /// Whether a super-packet of its traffic may travel whole; each is to be asked about once.
    pub(crate) fn takes_super(&mut self, packet: &SuperPacket<'_>) -> bool {
        if !self.agreed.is_some_and(|agreed| agreed.super_packets) {
            return false;
        }
        self.packer().is_some_and(|packer| packer.watch.get_or_insert_default().admits(packet))
    }

    /// The same as [`Self::pack`] for a super-packet that it takes.
    ///
    /// # Errors
    ///
    /// Those of [`Self::pack`].
    pub(crate) fn pack_super(
        &mut self,
        packet: &SuperPacket<'_>,
        inner_class: u8,
        slots: &mut Slots,
        now: Instant,
        events: &mut Events,
    ) -> Result<(), DropReason> {
        self.check_age(now, events)?;
        let header = SuperHeader { segment_len: packet.segment_len() }.to_octets();
        let block = Block { header: &header, packet: packet.octets() };
        self.pack_block(&block, inner_class, slots, now, events)?;
        self.count_super(packet.count(), packet.octets().len(), now, events);
        Ok(())
    }

    fn pack_block(
        &mut self,
        block: &Block<'_>,
        inner_class: u8,
        slots: &mut Slots,
        now: Instant,
        events: &mut Events,
    ) -> Result<(), DropReason> {
        self.packer();
        let Some(mut packer) = self.aggfrag.take() else { return Err(DropReason::NoSa) };
        let class = self.tos.outer(inner_class);
        let packed = self.pack_by(&mut packer, block, class, slots);
        self.aggfrag = Some(packer);
        if packed == Err(DropReason::SequenceExhausted) {
            self.tell(Age::Hard, now, events);
        }
        packed
    }

    fn pack_by(
        &mut self,
        packer: &mut Packer,
        block: &Block<'_>,
        class: u8,
        slots: &mut Slots,
    ) -> Result<(), DropReason> {
        if packer.begun.as_ref().is_some_and(|begun| begun.class != class) {
            self.close_by(packer, slots)?;
        }
        let whole_len = block.header.len().saturating_add(block.packet.len());
        let mut left = whole_len;
        for part in [block.header, block.packet] {
            let mut rest = part;
            while !rest.is_empty() {
                if packer.begun.is_none() {
                    // RFC 9347 §6.1.1: what is left of the block, also of what later payloads have.
                    let continued = if left < whole_len { left } else { 0 };
                    packer.begun = Some(self.begin(continued, class, slots)?);
                }
                let room = packer.room();
                let Some(begun) = &mut packer.begun else { return Err(DropReason::NoRoom) };
                let (now, later) = rest.split_at_checked(room).unwrap_or((rest, &[]));
                begun.packet.push_back(now.len()).ok_or(DropReason::NoRoom)?.copy_from_slice(now);
                rest = later;
                left = left.saturating_sub(now.len());
                if packer.room() == 0 {
                    self.close_by(packer, slots)?;
                }
            }
        }
        Ok(())
    }

    fn begin(
        &mut self,
        continued: usize,
        class: u8,
        slots: &mut Slots,
    ) -> Result<Payload, DropReason> {
        let block_offset = u16::try_from(continued).map_err(|_| DropReason::NoRoom)?;
        let mut packet = slots.take().ok_or(DropReason::NoRoom)?;
        //= https://www.rfc-editor.org/rfc/rfc9347#section-2.2.3
        //# the sequence number stream MUST increase monotonically by 1 for each subsequent packet.
        let sequence = spend(&mut self.sequence, &mut self.meter)
            .map_err(|_| DropReason::SequenceExhausted)?;
        let header = AggfragHeader { block_offset }.to_octets();
        packet.push_back(header.len()).ok_or(DropReason::NoRoom)?.copy_from_slice(&header);
        Ok(Payload { packet, sequence, class })
    }

    /// Seals the payload that is begun, if one is, however full it is.
    pub(crate) fn close(&mut self, slots: &mut Slots) -> Result<(), DropReason> {
        let Some(mut packer) = self.aggfrag.take() else { return Ok(()) };
        let closed = self.close_by(&mut packer, slots);
        self.aggfrag = Some(packer);
        closed
    }

    fn close_by(&mut self, packer: &mut Packer, slots: &mut Slots) -> Result<(), DropReason> {
        let Some(Payload { mut packet, sequence, class }) = packer.begun.take() else {
            return Ok(());
        };
        self.finish(&mut packet, sequence, class)?;
        slots.add(packet);
        Ok(())
    }

    /// Seals a payload, and says how it travels.
    fn finish(&self, packet: &mut PacketBuf, sequence: u64, class: u8) -> Result<(), DropReason> {
        let SealingKey::Esp(key) = &self.key else { return Err(DropReason::NoSa) };
        let label = Label { spi: self.spi, sequence, esn: self.esn };
        let iv_counter = self.iv_base.wrapping_add(sequence);
        esp::seal(packet, key, label, iv_counter, AggfragHeader::NEXT)?;
        packet.meta = PacketMeta {
            local: self.encap.local,
            remote: self.encap.remote,
            tos: class,
            //= https://www.rfc-editor.org/rfc/rfc9347#section-2.2.5.1
            //# The AGGFRAG mode never maps the inner DF bit
            dont_fragment: self.df.outer(None) && self.encap.remote.is_ipv4(),
            udp: self.encap.udp,
            tcp: self.encap.tcp,
            ..PacketMeta::default()
        };
        Ok(())
    }
}

/// Octets of a full payload: so many that the longest packet of the TUN has a payload for itself, if
/// the cipher leaves it the room on the link.
const fn payload_len(shape: Shape) -> usize {
    let overhead = Overhead::of(shape, PAYLOAD_MAX);
    let sealed_len = overhead.front + PAYLOAD_MAX + overhead.back;
    if sealed_len <= SEALED_MAX { PAYLOAD_MAX } else { INNER_MTU as usize }
}

/// Octets of the shortest full payload: its header and some of a packet. No path takes less.
const PAYLOAD_MIN: usize = 64;

/// Octets of the longest payload.
pub(crate) const PAYLOAD_MAX: usize = INNER_MTU as usize + AggfragHeader::LEN;

/// Longest ESP packet that fits into the 1,500 octets of an Ethernet link in UDP over IPv6.
const SEALED_MAX: usize = 1_500 - 40 - 8;

/// Most octets in front of a payload: ESP header, IV.
pub(crate) const FRONT_MAX: usize = 8 + 16;

/// Most octets behind a payload: padding, trailer, ICV.
pub(crate) const TAIL_MAX: usize = 15 + 2 + 32;

#[cfg(test)]
mod tests {
    use adit_crypto::Cipher;

    use super::*;

    /// A full payload needs no more on the link than a full packet of tunnel mode may.
    #[test]
    fn full_payloads_fit_the_link_with_every_cipher() {
        for cipher in Cipher::ALL {
            let len = payload_len(Shape::of(cipher));
            let overhead = Overhead::of(Shape::of(cipher), len);
            assert!(overhead.front + len + overhead.back <= SEALED_MAX, "{cipher}");
            assert!(overhead.front <= FRONT_MAX && overhead.back <= TAIL_MAX, "{cipher}");
            assert!(len == PAYLOAD_MAX || len == usize::from(INNER_MTU), "{cipher}");
        }
        assert_eq!(payload_len(Shape::of(Cipher::ALL[0])), PAYLOAD_MAX);
    }
}
