//! What gateways tell each other in the IKE SA because no packet of the child SA can carry it
//! ([`GatewayNotice`]): who queues it here hands it to the IKE machine, and from there comes what the
//! peer tells (RFC 792, RFC 4443).
//!
//! ```text
//! a host behind us  error -> outbound  no selector has it  -> poll_notice  ======>  the peer's IKE
//!                             OutboundCommand::Notice  <- its IKE  <=======  the peer
//!                             quoted packet fits the SA? -> poll_answer -> the host that it is about
//! ```
//!
//! An error from the peer is held to the rules for errors that come out of the SA itself
//! ([`crate::icmp`]): it is told to the sender of the packet that it quotes, if that is one which the SA
//! would have carried and errors of its kind may pass, ten times a second for one SA. It never changes
//! what the path is taken for. A report of fragments makes that less, as one that comes through the SA.

use std::collections::VecDeque;
use std::time::Instant;

use adit_db::{ChildSa, ChildSaId, GatewayNotice, IcmpCarry, IcmpPassage, IcmpSide, Tfc};
use adit_wire::ip::{IcmpError, IpPacket};
use adit_wire::{PacketBuf, PathMessage};

use crate::drop_reason::DropReason;
use crate::outbound::{Outbound, Verdict};
use crate::outbound_sad::Slot;
use crate::sa::OutboundSa;

/// Notices that wait for the IKE machine.
#[derive(Debug, Default)]
pub(crate) struct Notices(VecDeque<(ChildSaId, GatewayNotice)>);

impl Notices {
    fn push(&mut self, child: ChildSaId, notice: GatewayNotice) -> bool {
        let has_room = self.0.len() < WAITING_MAX;
        if has_room {
            self.0.push_back((child, notice));
        }
        has_room
    }
}

/// What the IKE SA carries of an SA's; in one octet, as every SA has it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ByIke(u8);

/// The peer takes notices.
const TAKEN: u8 = 0b1;
/// Errors that pass implicitly go that way, whatever the SA could carry.
const ERRORS: u8 = 0b10;
/// The peers have not agreed on messages in the SA, or those would not say how long packets may be.
const REPORTS: u8 = 0b100;

impl ByIke {
    pub(crate) fn of(sa: &ChildSa) -> Self {
        if !sa.notices {
            return Self(0);
        }
        let talks = sa.path_probe && !sa.encap.tcp && sa.tfc == Tfc::OFF;
        let errors = if sa.icmp.carry == IcmpCarry::Ike { ERRORS } else { 0 };
        Self(TAKEN | errors | if talks { 0 } else { REPORTS })
    }

    fn has(self, what: u8) -> bool {
        self.0 & what != 0
    }

    /// Whether the IKE SA has an error that passes implicitly; `fits` says whether the SA could carry it.
    pub(crate) fn has_error(self, fits: bool) -> bool {
        self.has(ERRORS) || (self.has(TAKEN) && !fits)
    }
}

impl Outbound {
    /// The next notice for the peer of an SA, to be sent in its IKE SA. Poll it behind every batch and
    /// command; only some wait, and only some a second are made.
    pub fn poll_notice(&mut self) -> Option<(ChildSaId, GatewayNotice)> {
        self.notices.0.pop_front()
    }

    /// Has the IKE SA carry an error about a packet that came by this SA.
    #[cold]
    pub(crate) fn send_by_ike(
        &mut self,
        slot: Slot,
        error: &IpPacket<'_>,
        now: Instant,
    ) -> Verdict {
        let Some(sa) = self.sad.get(slot) else { return Verdict::Drop(DropReason::NoSa) };
        let octets = error.octets();
        if octets.len() > GatewayNotice::ICMP_MAX || !sa.may_answer(now) {
            return Verdict::Drop(DropReason::IcmpRefused);
        }
        let notice = GatewayNotice::IcmpError(octets.to_vec());
        let has_room = self.notices.push(sa.child, notice);
        if has_room { Verdict::Held } else { Verdict::Drop(DropReason::Crowded) }
    }

    /// Has the IKE SA tell in which fragments packets of an SA come, where that cannot.
    pub(crate) fn report_by_ike(&mut self, child: ChildSaId, largest: u16) {
        // All threads hear of fragments.
        let is_first = self.thread == 0;
        let Some(sa) = self.sad.by_child(child).filter(|_| is_first) else { return };
        if sa.reports_by_ike() {
            self.notices.push(child, GatewayNotice::LargestFragment(largest));
        }
    }

    /// Takes what the peer tells about an SA.
    pub(crate) fn handle_notice(&mut self, child: ChildSaId, notice: &GatewayNotice, now: Instant) {
        match notice {
            GatewayNotice::IcmpError(packet) => {
                if let Err(reason) = self.tell_error(child, packet, now) {
                    self.drops.add(reason);
                }
            }
            GatewayNotice::LargestFragment(largest) => {
                let report = PathMessage::Report { largest_fragment: *largest };
                match self.sad.by_child(child) {
                    Some(sa) if sa.has_probing() => self.handle_path_message(child, report, now),
                    Some(_) => self.believe_fragment(child, *largest, now),
                    None => {}
                }
            }
        }
    }

    /// Tells a host of an error that the peer has handed on.
    fn tell_error(
        &mut self,
        child: ChildSaId,
        packet: &[u8],
        now: Instant,
    ) -> Result<(), DropReason> {
        let sa = self.sad.by_child(child).ok_or(DropReason::NoSa)?;
        let message = IpPacket::read(packet).map_err(|_| DropReason::BadInner)?;
        // Broken, or in fragments, or no error: no host could do anything with it.
        let error = IcmpError::read(&message).map_err(|_| DropReason::IcmpQuote)?;
        let about = error.about().map_err(|_| DropReason::IcmpQuote)?;
        if sa.passage_from(IcmpSide::Tunnel, error.protocol, error.icmp) != IcmpPassage::Implicit {
            return Err(DropReason::IcmpRefused);
        }
        // It is for who sent the packet, and that went by this SA.
        if about.src() != message.dst() || !sa.carries(&about.flow_key()) {
            return Err(DropReason::IcmpQuote);
        }
        if !sa.may_answer(now) {
            return Err(DropReason::IcmpRefused);
        }
        let octets = message.octets();
        let mut answer = PacketBuf::with_capacity(0, octets.len());
        if !answer.fill(octets) {
            return Err(DropReason::NoRoom);
        }
        answer.meta.remote.set_ip(message.dst());
        self.push_answer(answer);
        Ok(())
    }
}

impl OutboundSa {
    /// Whether the IKE SA says in which fragments its packets come: nothing else would.
    fn reports_by_ike(&self) -> bool {
        let by_ike = self.by_ike();
        by_ike.has(REPORTS) || (by_ike.has(TAKEN) && self.outer_policy().is_some())
    }
}

/// Notices that wait to be polled.
const WAITING_MAX: usize = 16;
