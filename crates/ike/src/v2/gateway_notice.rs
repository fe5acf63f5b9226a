//! Notices of gateways about their child SAs, carried by the IKE SA in INFORMATIONAL (RFC 7296 §1.4)
//! where no packet of the child SA can carry them: ICMP errors (the fourth method of draft-ietf-ipsec-icmp-options-00) and
//! the largest fragment in which packets come (draft-richardson-ipsec-pmtu-discov-02 §3).
//!
//! What they are is in [`crate::gateway_notice`]. Both name the child SA as Delete and REKEY_SA do: its protocol, and the SPI that the sender expects in
//! packets. ADIT_ICMP_ERROR without data in IKE_SA_INIT, beside our vendor ID, says that the peer takes
//! them; the responder says so only to who has.
//!
//! They are told once, in the order of what else waits; what finds no room is lost as a packet would be.
//! Here is only looked at whose child they are about: what an error says the packet engine checks.
//!
//! strongSwan has numbers of its own up to 40969, of which it wants lengths of its own, and refuses a whole
//! IKE_SA_INIT for one that has none: what may be said to anybody has a higher one.

use adit_db::{ChildSaId, GatewayNotice};
use adit_wire::esp::Spi;
use adit_wire::iana::{ExchangeType, NotifyType, ProtocolId};
use adit_wire::ikev2::{ChainBuilder, MessageBuilder, Notify, Payload};

use crate::context::Context;
use crate::event::PeerSoftware;
use crate::failure::FailureReason;
use crate::gateway_notice;
use crate::keymat::Role;
use crate::output::Output;
use crate::v2::established::{Established, Own, Task};
use crate::v2::ike_sa::core::Core;
use crate::v2::rules::Received;

/// Adds to an IKE_SA_INIT message that notices are taken: to a request, or the answer to one that has it.
pub(crate) fn put_support(message: &mut MessageBuilder, core: &Core) {
    if core.role == Role::Initiator || core.terms.notices {
        message.put(&Payload::Notify(Notify::new(NotifyType::ADIT_ICMP_ERROR, &[])));
    }
}

/// Takes from an IKE_SA_INIT message whether the peer takes notices; its program is known by then.
pub(crate) fn note(core: &mut Core, received: &Received<'_>) {
    let is_said = received.has_notify(NotifyType::ADIT_ICMP_ERROR);
    core.terms.notices = is_said && core.peer == PeerSoftware::Adit;
}

impl Established {
    /// Tells the peer something about a child, if it takes that and not too much waits.
    pub(crate) fn tell(&mut self, child: ChildSaId, notice: &GatewayNotice, core: &Core) {
        let waiting = self.count_queued(|task| matches!(task, Task::Tell(..)));
        if core.terms.notices && waiting < WAITING_MAX {
            self.queue(Task::Tell(child, notice.clone()));
        }
    }
}

/// Sends a notice about a child, if that is still there.
pub(crate) fn start(
    child: ChildSaId,
    notice: &GatewayNotice,
    established: &Established,
    core: &mut Core,
    cx: &mut Context<'_>,
) -> Result<Option<Own>, FailureReason> {
    let Some(child) = established.child(child) else { return Ok(None) };
    let (protocol, spi) = (child.protocol, child.spi_in.to_octets());
    let (kind, data) = gateway_notice::written(notice);
    let mut chain = ChainBuilder::new();
    chain.put(&Payload::Notify(Notify { protocol, spi: &spi, kind, data: &data }));
    core.request(ExchangeType::INFORMATIONAL, chain, cx.config.established, cx)?;
    // The answer says nothing but that the peer lives.
    Ok(Some(Own::Liveness))
}

/// Takes the notices of an INFORMATIONAL request. What cannot be read, or is about no child of this peer,
/// changes nothing.
pub(crate) fn take(
    received: &Received<'_>,
    established: &Established,
    core: &Core,
    cx: &mut Context<'_>,
) {
    if !core.terms.notices {
        return;
    }
    let read = |notify: &Notify<'_>| {
        let notice = gateway_notice::read(notify.kind, notify.data)?;
        Some((child_of(notify.protocol, notify.spi, established)?, notice))
    };
    for (child, notice) in received.notifies.iter().filter_map(read).take(PER_MESSAGE_MAX) {
        cx.out.push(Output::Notice { child, notice });
    }
}

fn child_of(protocol: ProtocolId, spi: &[u8], established: &Established) -> Option<ChildSaId> {
    let spi = Spi::from_field(spi)?;
    established.child_by_peer_spi(protocol, spi).map(|child| child.id)
}

/// Notices that wait for the window: they keep new keys waiting for no longer than as many answers.
const WAITING_MAX: usize = 4;
/// Notices that are taken of one message; we send one in each.
const PER_MESSAGE_MAX: usize = 4;
