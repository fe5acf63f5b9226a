//! Notices of gateways about their child SAs, in Informational exchanges under a phase 1 (RFC 2409
//! §5.7): what [`crate::gateway_notice`] has, for peers whose vendor ID is ours.
//!
//! ```text
//! HDR*, HASH(1), N(ADIT_ICMP_ERROR or ADIT_LARGEST_FRAGMENT)
//! data: | number (4) | what it is in IKEv2 |
//! ```
//!
//! The notify names the child as a delete does: its protocol, and the SPI that the sender expects in
//! packets. Nobody answers, so nothing waits for an answer: some go out in a second, and more are lost
//! as packets would be. A message of IKEv1 has no place in an order, and after some hundred others it is
//! not known any more as one that has been here. So the notices of one end are numbered, and one whose
//! number is not above all before it is a replay, or too late (as RFC 3706 §7 has it for R-U-THERE).
//!
//! Vendor IDs travel in clear. Who adds ours to those of another program has notices sent to that one,
//! which ignores what it does not know (RFC 2408 §3.14.1), and an ICMP error is lost.
//!
//! A dormant IKE SA, whose phase 1 is over, has no keys to say anything with.

use std::time::{Duration, Instant};

use adit_db::{ChildConfig, ChildSaId, GatewayNotice};
use adit_wire::esp::Spi;
use adit_wire::iana::isakmp::NotifyType;
use adit_wire::iana::{NotifyType as AnyNotifyType, ProtocolId};
use adit_wire::isakmp::{ChainBuilder, Notify};

use crate::context::Context;
use crate::event::PeerSoftware;
use crate::gateway_notice;

use super::child::Child;
use super::core::Core;
use super::informational;

/// Whether the peer takes notices.
pub(crate) fn is_agreed(core: &Core) -> bool {
    core.peer == PeerSoftware::Adit
}

/// Adds to a message of a quick mode that probes of the path MTU are answered on the child that comes in
/// under `spi`. An initiator says so where it may, a responder to who has said it.
pub(crate) fn put_path_probe(spi: Spi, chain: &mut ChainBuilder) {
    let kind = NotifyType::ADIT_PATH_PROBE;
    informational::put_child_notify(kind, ProtocolId::ESP, spi, &[], chain);
}

/// Whether probes are possible on a child of this configuration, with this peer.
pub(crate) fn may_probe(config: &ChildConfig, core: &Core) -> bool {
    is_agreed(core) && config.may_probe_path()
}

/// Whether a message of a quick mode says that they are answered.
pub(crate) fn has_path_probe(notifies: &[Notify<'_>]) -> bool {
    notifies.iter().any(|notify| notify.kind == NotifyType::ADIT_PATH_PROBE)
}

/// The notices of one phase 1, both ends'.
#[derive(Debug, Default)]
pub(crate) struct Notices {
    /// The number of our last one.
    told: u32,
    /// The greatest of the peer's.
    heard: u32,
    /// When the second began that is counted, and what went out in it.
    second: Option<(Instant, u32)>,
}

impl Notices {
    /// Tells the peer something about a child, if it takes that and not too much was told of late.
    pub(crate) fn tell(
        &mut self,
        child: &Child,
        notice: &GatewayNotice,
        core: &Core,
        cx: &mut Context<'_>,
    ) {
        let Some(number) = self.told.checked_add(1) else { return };
        if !is_agreed(core) || !self.has_room(cx.now) {
            return;
        }
        self.told = number;
        let (kind, said) = gateway_notice::written(notice);
        let data = [&number.to_be_bytes()[..], &said].concat();
        let Some((kind, _)) = KINDS.into_iter().find(|(_, of_v2)| *of_v2 == kind) else { return };
        informational::tell(kind, child.protocol, child.spi_in, &data, core, cx);
    }

    fn has_room(&mut self, now: Instant) -> bool {
        let (since, count) = self.second.get_or_insert((now, 0));
        if now.saturating_duration_since(*since) >= Duration::from_secs(1) {
            (*since, *count) = (now, 0);
        }
        *count = count.saturating_add(1);
        *count <= PER_SECOND_MAX
    }

    /// Takes a notify of an authentic message. What is no notice, comes again, or is about no child of this
    /// peer changes nothing.
    pub(crate) fn take(
        &mut self,
        notify: &Notify<'_>,
        children: &[Child],
        core: &Core,
    ) -> Option<(ChildSaId, GatewayNotice)> {
        let (number, said) = notify.data.split_first_chunk::<4>()?;
        let number = u32::from_be_bytes(*number);
        let (_, kind) = KINDS.into_iter().find(|(kind, _)| *kind == notify.kind)?;
        let notice = gateway_notice::read(kind, said)?;
        let (protocol, spi) = (ProtocolId(notify.protocol.0), Spi::from_field(notify.spi)?);
        let is_meant = |child: &&Child| (child.protocol, child.spi_out) == (protocol, spi);
        let child = children.iter().find(is_meant)?;
        if !is_agreed(core) || number <= self.heard {
            return None;
        }
        self.heard = number;
        Some((child.id, notice))
    }
}

/// The notices, as IKEv1 and as IKEv2 number them.
const KINDS: [(NotifyType, AnyNotifyType); 2] = [
    (NotifyType::ADIT_ICMP_ERROR, AnyNotifyType::ADIT_ICMP_ERROR),
    (NotifyType::ADIT_LARGEST_FRAGMENT, AnyNotifyType::ADIT_LARGEST_FRAGMENT),
];

/// Notices that go out in a second; a packet engine makes as many about one SA.
const PER_SECOND_MAX: u32 = 10;
