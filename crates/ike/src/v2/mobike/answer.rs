//! RFC 4555 §3.5 to §3.9: what the peer tells about addresses in INFORMATIONAL requests. All of it is
//! authenticated; what nobody agreed on is passed over.

use adit_db::HostSpec;
use adit_wire::iana::NotifyType;
use adit_wire::ikev2::ChainBuilder;

use crate::command::Path;
use crate::context::Context;
use crate::keymat::Role;
use crate::nat::verdict;
use crate::v2::established::Established;
use crate::v2::ike_sa::core::Core;
use crate::v2::rules::Received;

use super::notices::{
    echo_cookie, keep_additional, may_be_a_host, put_detection, put_word, tells_addresses,
    unexpected_nat,
};
use super::{follow, go_by};

/// Does what a request asks for, and adds to the response what belongs there.
pub(crate) fn answer(
    received: &Received<'_>,
    chain: &mut ChainBuilder,
    established: &mut Established,
    core: &mut Core,
    cx: &mut Context<'_>,
) {
    let (Some(role), Some(path)) = (core.mobike, core.request_path()) else { return };
    let updates = role == Role::Responder && received.has_notify(NotifyType::UPDATE_SA_ADDRESSES);
    if (updates || tells_addresses(received)) && unexpected_nat(received, path) {
        put_word(NotifyType::UNEXPECTED_NAT_DETECTED, chain);
        return echo_cookie(received, chain);
    }
    if updates {
        if is_acceptable(path, core) {
            update(path, received, established, core, cx);
        } else {
            put_word(NotifyType::UNACCEPTABLE_ADDRESSES, chain);
        }
    }
    if tells_addresses(received) {
        keep_additional(received, core);
        if role == Role::Initiator {
            follow_responder(path, established, core, cx);
        }
    }
    //= https://www.rfc-editor.org/rfc/rfc4555#section-3.8
    //# the NAT_DETECTION_SOURCE_IP and NAT_DETECTION_DESTINATION_IP notifications MAY be included
    //# in any INFORMATIONAL request; if the request includes them, the responder MUST also include
    //# them in the response
    if received.has_notify(NotifyType::NAT_DETECTION_SOURCE_IP)
        && received.has_notify(NotifyType::NAT_DETECTION_DESTINATION_IP)
    {
        put_detection(path, core, chain, cx);
    }
    echo_cookie(received, chain);
}

/// Whether the operator lets a peer be where it wants to be, and us where it wants us. A network says
/// where a peer may be; an address or a name only where it is to be found at first.
fn is_acceptable(path: Path, core: &Core) -> bool {
    let Some(connection) = &core.connection else { return false };
    let mut hosts = connection.remote_addresses.iter();
    let is_network = |host: &HostSpec| matches!(host, HostSpec::Network(_));
    let confined = hosts.clone().any(is_network) && !hosts.clone().any(|one| *one == HostSpec::Any);
    let remote = path.remote.ip();
    let is_within = !confined || hosts.any(|host| host.contains(remote) == Some(true));
    // Going over to TCP and back is another matter: `crate::v2::tcp_encap`.
    path.transport == core.path.transport
        && is_within
        && may_be_a_host(remote)
        && connection.may_use(path.local.ip())
}

/// The IKE SA has the addresses of the request from now on.
fn update(
    path: Path,
    received: &Received<'_>,
    established: &mut Established,
    core: &mut Core,
    cx: &mut Context<'_>,
) {
    let old = core.go_to(path);
    let udp = core.encapsulation().udp;
    let found = verdict(core.spi_i, core.spi_r, path, &received.notifies);
    if found.supported {
        core.nat = found;
    }
    if old != path || udp != core.encapsulation().udp {
        follow(old, established, core, cx);
    }
    // What waits for an answer is sent to where the peer is, as far as its word goes.
    if old != path && core.requests.may_follow() {
        core.hasten(cx.now);
    }
}

/// Initiator: the responder has left the address it had, or speaks from another one.
fn follow_responder(
    path: Path,
    established: &mut Established,
    core: &mut Core,
    cx: &mut Context<'_>,
) {
    let used = core.path.remote.ip();
    let stays = used == path.remote.ip() || core.peer_addresses().contains(&used);
    if !stays && may_be_a_host(path.remote.ip()) {
        go_by(path, established, core, cx);
        if core.requests.may_follow() {
            core.hasten(cx.now);
        }
    }
}
