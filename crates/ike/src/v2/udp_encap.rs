//! ESP in UDP by agreement where there is no NAT (RFC 7296 §2.23 allows it: "even when a NAT is not
//! detected").
//!
//! UDP has offloads that IP protocol 50 lacks, so two packet engines of ours are several times as
//! fast through it. Either end says so in IKE_SA_INIT with the empty status notify ADIT_UDP_ENCAP,
//! 40964 of the private-use range, beside our vendor ID, which gives the number its meaning (RFC
//! 7296 §3.12); the responder answers with it if it wants the same, and nobody else. Then the
//! initiator moves to port 4500 like behind a NAT. AUTH covers both messages, so nobody on the way
//! can add or take the notify.
//!
//! The responder knows its connection only in IKE_AUTH. So it agrees if all connections that may be
//! meant prefer UDP. An initiator whose next message is not answered on port 4500 leaves the notify
//! out of its next attempt: there may be no way for UDP to that port.

use adit_db::{ChildConfig, Connection, Encap, Engine, Mode};
use adit_wire::iana::NotifyType;

use crate::context::Context;
use crate::event::PeerSoftware;
use crate::failure::FailureReason;
use crate::v2::ike_sa::core::Core;
use crate::v2::rules::Received;

/// Initiator: whether the peer's IKE_SA_INIT response makes an agreement of what we have offered. The
/// verdict about NATs and the peer's program are known by then.
pub(crate) fn accepted(core: &Core, received: &Received<'_>) -> bool {
    core.udp_agreed && is_said(core, received)
}

/// Responder: whether the peer's IKE_SA_INIT request is answered with the same, where connections
/// `fits` are those that IKE_AUTH may choose from.
pub(crate) fn accepts(
    core: &Core,
    received: &Received<'_>,
    fits: &impl Fn(&Connection) -> bool,
    cx: &Context<'_>,
) -> bool {
    is_said(core, received) && cx.connections.all_prefer_udp(core.path, fits)
}

fn is_said(core: &Core, received: &Received<'_>) -> bool {
    core.nat.supported
        && core.peer == PeerSoftware::Adit
        && received.has_notify(NotifyType::ADIT_UDP_ENCAP)
}

/// Whether we gain by UDP: ESP of our own packet engine, on a socket. The kernel has no need of it,
/// AH cannot, and what goes over another tunnel sees no socket. In transport mode the packets' own
/// outer header counts, of which UDP keeps less than protocol 50.
pub(crate) fn is_preferred(connection: &Connection) -> bool {
    let gains = |child: &ChildConfig| child.is_esp_only() && child.mode == Mode::Tunnel;
    connection.encap == Encap::Auto
        && connection.engine == Engine::Userspace
        && connection.over.is_none()
        && connection.children.iter().all(gains)
}

/// Whether an IKE SA has ESP in UDP that is there for our preference alone.
pub(crate) fn is_by_preference(core: &Core) -> bool {
    core.udp_agreed && !core.nat.needs_udp()
}

/// Whether an attempt has failed because port 4500, to which it moved without a NAT, may be closed to
/// UDP on the way.
pub(crate) fn may_be_blocked(reason: &FailureReason) -> bool {
    matches!(reason, FailureReason::NatPortBlocked { nat_local: false, nat_remote: false, .. })
}
