//! RFC 4555 §3.10: which ways lead to the peer. The program knows the routes, and is asked.

use std::net::{IpAddr, SocketAddr};

use adit_db::HostSpec;

use crate::command::{JobId, Path};
use crate::context::Context;
use crate::keymat::Role;
use crate::output::{Output, Query};
use crate::v2::established::{Established, Task};
use crate::v2::ike_sa::core::Core;

use super::{Errand, WAYS_MAX, move_to, settle, tell_on_old};

/// Lookups of the local end of each way.
#[derive(Clone, Debug)]
pub(super) struct Survey {
    /// Why: the peer is silent, else the network of this host has changed.
    silent: bool,
    awaited: Vec<(JobId, SocketAddr)>,
    /// In the order of preference.
    found: Vec<Path>,
}

/// Addresses of the peer that are looked up.
const REMOTES_MAX: usize = 8;

/// Transmissions without an answer after which other ways are tried: with the default schedule that is
/// a second and a half of silence.
const SILENT_AFTER: u8 = 3;

/// Asks for the ways to all addresses of the peer.
pub(super) fn begin(silent: bool, core: &mut Core, cx: &mut Context<'_>) {
    let mut awaited = Vec::new();
    for remote in remotes(core) {
        let job = cx.out.next_job();
        cx.out.begin_auth(job, core.id);
        cx.out.push(Output::Resolve { job, query: Query::SourceFor(remote.ip()) });
        awaited.push((job, remote));
    }
    let roaming = core.roaming_mut();
    // A change that is not looked into yet stays one.
    let silent = silent && roaming.survey.as_ref().is_none_or(|survey| survey.silent);
    roaming.survey = Some(Survey { silent, awaited, found: Vec::new() });
}

/// Goes on with a successor of the IKE SA whose lookups were under way.
pub(crate) fn resume(core: &mut Core, cx: &mut Context<'_>) {
    let survey = core.roaming.as_mut().and_then(|roaming| roaming.survey.take());
    if let Some(Survey { silent, .. }) = survey {
        begin(silent, core, cx);
    }
}

/// A request has been sent some times and nothing came back: an initiator looks for other ways, once
/// for each request.
pub(crate) fn handle_silence(core: &mut Core, cx: &mut Context<'_>) {
    let is_silent = core.requests.transmissions() >= SILENT_AFTER;
    let is_known = core.roaming.as_ref().is_some_and(|roaming| roaming.probing);
    if core.mobike == Some(Role::Initiator) && is_silent && !is_known {
        core.roaming_mut().probing = true;
        begin(true, core, cx);
    }
}

/// The peer's addresses: the one in use, those that are configured, those that it has told.
fn remotes(core: &Core) -> Vec<SocketAddr> {
    let used = core.path.remote;
    let configured = core.connection.iter().flat_map(|known| &known.remote_addresses);
    let configured = configured.filter_map(HostSpec::address);
    let mut remotes = vec![used];
    for address in configured.chain(core.peer_addresses().iter().copied()) {
        let is_new = remotes.iter().all(|known| known.ip() != address);
        if is_new && remotes.len() < REMOTES_MAX {
            remotes.push(SocketAddr::new(address, port_at(core)));
        }
    }
    remotes
}

/// The port of an address of the peer that has not been used. A NAT in front of the one in use has
/// nothing to do with it.
fn port_at(core: &Core) -> u16 {
    let configured = core.connection.as_ref().map(|connection| connection.ports);
    let configured = configured.unwrap_or_default();
    match core.path.remote.port() {
        _ if configured.remote != adit_db::Ports::default().remote => configured.remote,
        used if core.nat.peer_is_behind_nat && used != configured.remote => NAT_PORT,
        used => used,
    }
}

/// RFC 7296 §2.23.
const NAT_PORT: u16 = 4500;

/// Asks for the ways of an IKE SA that is about to go.
pub(crate) fn look_for_way(core: &mut Core, cx: &mut Context<'_>) {
    if core.mobike == Some(Role::Initiator) {
        begin(false, core, cx);
    }
}

/// Takes the answer for an IKE SA that is about to go: it goes from the address there is, and if it
/// `tells`, the peer hears of it.
pub(crate) fn handle_source_of_old(
    job: JobId,
    source: Option<IpAddr>,
    tells: bool,
    core: &mut Core,
    cx: &mut Context<'_>,
) {
    let survey = core.roaming.as_ref().and_then(|roaming| roaming.survey.as_ref());
    let asked = survey.and_then(|survey| survey.awaited.iter().find(|(asked, _)| *asked == job));
    let is_used = asked.is_some_and(|(_, remote)| *remote == core.path.remote);
    let local = source.filter(|_| is_used).and_then(|source| allowed(source, core, cx));
    let Some(local) = local.filter(|local| *local != core.path.local.ip()) else { return };
    let old = core.path;
    core.path.local.set_ip(local);
    core.roaming_mut().before.get_or_insert(old);
    core.hasten(cx.now);
    if tells {
        tell_on_old(core, cx);
    }
}

/// Takes the answer to a lookup; whoever asked may have lost interest.
pub(crate) fn handle_source(
    job: JobId,
    source: Option<IpAddr>,
    established: &mut Established,
    core: &mut Core,
    cx: &mut Context<'_>,
) {
    let Some(mut survey) = core.roaming.as_mut().and_then(|roaming| roaming.survey.take()) else {
        return;
    };
    let place = survey.awaited.iter().position(|(awaited, _)| *awaited == job);
    if let Some((_, remote)) = place.map(|place| survey.awaited.remove(place))
        && let Some(local) = source.and_then(|source| allowed(source, core, cx))
    {
        let local = SocketAddr::new(local, core.path.local.port());
        survey.found.push(Path::udp(local, remote));
    }
    if survey.awaited.is_empty() {
        conclude(survey, established, core, cx);
    } else {
        core.roaming_mut().survey = Some(survey);
    }
}

/// The address that the routes say, or in its place the first that the operator lets us use.
fn allowed(source: IpAddr, core: &Core, cx: &Context<'_>) -> Option<IpAddr> {
    let connection = core.connection.as_ref()?;
    if connection.may_use(source) {
        return Some(source);
    }
    let fits = |own: &&IpAddr| own.is_ipv4() == source.is_ipv4() && connection.may_use(**own);
    cx.addresses.iter().find(fits).copied()
}

fn conclude(survey: Survey, established: &mut Established, core: &mut Core, cx: &mut Context<'_>) {
    if survey.silent {
        try_all(survey.found, core, cx);
        return;
    }
    // That may have taken the place of a search, which begins again if the peer stays silent.
    core.roaming_mut().probing = false;
    let used = core.path;
    let same_peer = survey.found.iter().find(|path| path.remote == used.remote);
    let Some(best) = same_peer.or_else(|| survey.found.first()).copied() else { return };
    if best == used {
        if core.requests.transmissions() > 1 {
            // It may have been gone, and is back.
            core.hasten(cx.now);
        }
        // Another gateway may have another NAT.
        if core.nat.we_are_behind_nat && core.mobike == Some(Role::Initiator) {
            established.queue(Task::Liveness);
        }
        return;
    }
    if core.mobike == Some(Role::Initiator) {
        let others = survey.found.into_iter().filter(|path| *path != best).collect();
        core.roaming_mut().fallbacks = others;
        move_to(best, established, core, cx);
    } else {
        leave_lost(best, established, core, cx);
    }
}

/// Responder: our address is gone, and so we do not wait for the initiator.
///
//= https://www.rfc-editor.org/rfc/rfc4555#section-3.5
//# If the source address that the responder is currently using becomes unavailable (i.e.,
//# sending packets using that source address is no longer possible), the responder is allowed to
//# update the IPsec SAs to use some other address
fn leave_lost(path: Path, established: &mut Established, core: &mut Core, cx: &mut Context<'_>) {
    let old = core.go_to(path);
    settle(old, established, core, cx);
    established.queue_first(Task::Mobike(Errand::Announce));
    core.hasten(cx.now);
}

/// Sends what is in flight on every way there may be: what the routes say, and each of our addresses
/// to each of the peer's.
fn try_all(found: Vec<Path>, core: &mut Core, cx: &mut Context<'_>) {
    if core.requests.is_idle() {
        return;
    }
    let mut ways = found;
    for remote in remotes(core) {
        let connection = core.connection.as_ref();
        let own = cx.addresses.iter().filter(|own| own.is_ipv4() == remote.is_ipv4());
        let own = own.filter(|own| connection.is_some_and(|known| known.may_use(**own)));
        let port = core.path.local.port();
        let pairs = own.map(|own| Path::udp(SocketAddr::new(*own, port), remote));
        for pair in pairs {
            if ways.len() < WAYS_MAX && !ways.contains(&pair) {
                ways.push(pair);
            }
        }
    }
    ways.retain(|way| *way != core.path);
    for way in &ways {
        cx.transmit(*way, core.requests.datagrams());
    }
    core.roaming_mut().candidates = ways;
}
