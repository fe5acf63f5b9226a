//! RFC 4555, MOBIKE: an IKE SA and its children stay while addresses change, at either end.
//!
//! Whoever began the first IKE SA decides which addresses are used (§2.2), and is what this file calls
//! the initiator, also after the other end has rekeyed. It moves when the way to the peer begins at
//! another address of its own, when the peer has left the address it had, and, if the peer is silent,
//! to the way on which it answers. In each case it sends what is in flight on the other way at once and
//! then UPDATE_SA_ADDRESSES. The responder says where else it is, follows what was authenticated, and
//! moves by itself only when its own address is gone.
//!
//! | file | what it does |
//! |---|---|
//! | `mobike/notices` | the notifies, written and read (§4.2) |
//! | `mobike/survey` | which ways there are: lookups, probes on all of them (§3.10) |
//! | `mobike/errand` | our exchanges: update, check, announcement, probe (§3.5 to §3.8) |
//! | `mobike/answer` | the peer's (§3.5 to §3.9) |
//!
//! Declined: patience of five minutes (§3.11), as who keeps a tunnel up must notice within a minute or
//! so that its peer is gone, and an initiator that is back somewhere else begins anew; and disregard
//! for ESP from other addresses than the agreed ones as a sign of life (§3.12), as the newest authentic
//! packet is one. An initiator tells its other addresses only if they are configured: the rest of them
//! is nobody's business.

mod answer;
mod errand;
mod notices;
mod survey;

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use adit_db::{Connection, HostSpec, Mobike};

use crate::command::Path;
use crate::context::Context;
use crate::event::Event;
use crate::keymat::Role;
use crate::nat::HASH_OCTETS;
use crate::v2::established::{Established, Task};
use crate::v2::ike_sa::core::Core;

pub(crate) use self::answer::answer;
pub(crate) use self::errand::{Errand, ErrandSent, probes};
pub(crate) use self::notices::{
    echo_cookie, put_answer, put_offer, read_answer, read_offer, unexpected_nat,
};
pub(crate) use self::survey::{
    handle_silence, handle_source, handle_source_of_old, look_for_way, resume,
};

use self::survey::Survey;

/// What an IKE SA knows that has moved, may have to, or has a peer with several addresses.
#[derive(Clone, Debug, Default)]
pub(crate) struct Roaming {
    /// Where else the peer is, as it has said (§3.4).
    peer_addresses: Vec<IpAddr>,
    /// Of an initiator behind a NAT: how the peer saw its address last (§3.8).
    seen: Option<[u8; HASH_OCTETS]>,
    /// Lookups under way.
    survey: Option<Survey>,
    /// The peer is silent: what is in flight is sent on these ways, too.
    candidates: Vec<Path>,
    /// Whether the request in flight has been looked for other ways for.
    probing: bool,
    /// Other ways, should the peer not take the one that was chosen.
    fallbacks: Vec<Path>,
    /// The way before, while the peer has not confirmed the one after.
    before: Option<Path>,
    /// Children still use the way before: the one after is yet to be checked (§3.7).
    children_wait: bool,
    /// Updates that something on the way has changed (§3.9).
    nat_retries: u8,
}

impl Roaming {
    /// The ways to send a request on that the peer does not answer, beside the usual one.
    pub(crate) fn candidates(&self) -> &[Path] {
        &self.candidates
    }
}

/// Addresses of either end that are told and kept beside the one in use.
const ADDITIONAL_MAX: usize = 8;

/// Ways that are tried when the peer is silent.
const WAYS_MAX: usize = 16;

/// A gateway tells its peers within this time that it has other addresses, and not all at once.
const ANNOUNCE_SPREAD: Duration = Duration::from_secs(10);

/// Whether an initiator offers it, and a responder takes the offer.
pub(crate) fn offer_for(connection: &Connection, role: Role) -> Option<Role> {
    connection.may_move().then_some(role)
}

impl Core {
    /// What is known beside the one way; made when there is something to know.
    fn roaming_mut(&mut self) -> &mut Roaming {
        self.roaming.get_or_insert_default()
    }

    /// Where else the peer is, as it has said.
    pub(crate) fn peer_addresses(&self) -> &[IpAddr] {
        self.roaming.as_ref().map_or(&[], |roaming| &roaming.peer_addresses)
    }

    /// The peer has answered: no other way is looked for.
    pub(crate) fn rest(&mut self) {
        if let Some(roaming) = &mut self.roaming {
            roaming.candidates.clear();
            roaming.probing = false;
        }
    }

    /// There is another way, or the one in use is there again: what is in flight is sent at once, and if
    /// that is for nothing, others are looked for.
    fn hasten(&mut self, now: Instant) {
        self.requests.hasten(now);
        if let Some(roaming) = &mut self.roaming {
            roaming.probing = false;
        }
    }

    /// Whether a way is one that is being tried.
    pub(crate) fn is_tried(&self, path: Path) -> bool {
        self.roaming.as_ref().is_some_and(|roaming| roaming.candidates.contains(&path))
    }

    /// What the successor of this IKE SA takes over. What a peer behind the NAT saw is a hash with the
    /// SPIs in it.
    pub(crate) fn inherited_roaming(&self) -> Option<Box<Roaming>> {
        let roaming = self.roaming.as_deref()?.clone();
        Some(Box::new(Roaming { seen: None, candidates: Vec::new(), probing: false, ..roaming }))
    }

    /// Whether the peer must answer from an address before packets go there (§3.7).
    fn checks(&self) -> bool {
        self.connection.as_ref().is_none_or(|known| known.mobike == Mobike::Yes)
    }

    /// Whether the operator has named an address of the peer.
    fn is_configured(&self, address: IpAddr) -> bool {
        let hosts = self.connection.iter().flat_map(|known| &known.remote_addresses);
        hosts.into_iter().any(|host| *host == HostSpec::Address(address))
    }
}

/// Whether a change of the host's addresses is anything to an IKE SA.
pub(crate) fn is_concerned(core: &Core, before: &[IpAddr], after: &[IpAddr]) -> bool {
    match core.mobike {
        None => false,
        Some(Role::Initiator) => true,
        Some(Role::Responder) => {
            let local = core.path.local.ip();
            let lost = before.contains(&local) && !after.contains(&local);
            lost || additional(core, before) != additional(core, after)
        }
    }
}

/// The addresses or routes of this host have changed; `before` are the addresses it had.
pub(crate) fn handle_network(
    before: &[IpAddr],
    established: &mut Established,
    core: &mut Core,
    cx: &mut Context<'_>,
) {
    let is_gone = !cx.addresses.contains(&core.path.local.ip());
    if core.mobike == Some(Role::Initiator) || is_gone {
        survey::begin(false, core, cx);
    } else if additional(core, before) != additional(core, cx.addresses) {
        let most_ms = u64::try_from(ANNOUNCE_SPREAD.as_millis()).unwrap_or(u64::MAX);
        let at = cx.now + Duration::from_millis(cx.rng.next_u64() % most_ms.max(1));
        established.delay(Task::Mobike(Errand::Announce), at);
    }
}

/// Our addresses beside the one in use, as far as the peer is told (§3.4): a responder tells those that
/// it may use and that are not inside the tunnel, an initiator those that are configured.
fn additional(core: &Core, addresses: &[IpAddr]) -> Vec<IpAddr> {
    let Some(connection) = &core.connection else { return Vec::new() };
    let used = core.path.local.ip();
    let is_told = |address: &&IpAddr| {
        let named = HostSpec::Address(**address);
        match core.mobike {
            None => false,
            Some(Role::Initiator) => connection.local_addresses.contains(&named),
            Some(Role::Responder) => {
                connection.may_use(**address) && !is_inside(connection, **address)
            }
        }
    };
    let others = addresses.iter().filter(|address| **address != used);
    others.filter(is_told).take(ADDITIONAL_MAX).copied().collect()
}

/// Whether an address of ours is among those that a tunnel protects. What protects all of a family has
/// its own outside, too.
fn is_inside(connection: &Connection, address: IpAddr) -> bool {
    let selectors = connection.children.iter().flat_map(|child| &child.local_ts);
    let mut selectors = selectors.filter_map(adit_db::TsSpec::selector);
    selectors.any(|ts| {
        let is_all = ts.start.is_unspecified() && ts.start != ts.end;
        ts.start.is_ipv4() == address.is_ipv4() && (ts.start..=ts.end).contains(&address) && !is_all
    })
}

/// Initiator: uses another way from now on, and tells the peer (§3.5).
pub(crate) fn move_to(
    path: Path,
    established: &mut Established,
    core: &mut Core,
    cx: &mut Context<'_>,
) {
    go_by(path, established, core, cx);
    //= https://www.rfc-editor.org/rfc/rfc4555#section-3.5
    //# If there are outstanding IKEv2 requests (i.e., requests for which the initiator has not
    //# yet received a reply), it continues retransmitting them using the addresses in the
    //# IKE_SA (the new addresses).
    core.hasten(cx.now);
}

/// The same, but what is in flight waits for its turn.
fn go_by(path: Path, established: &mut Established, core: &mut Core, cx: &mut Context<'_>) {
    let old = core.go_to(path);
    let is_vouched_for =
        core.is_configured(path.remote.ip()) || path.remote.ip() == old.remote.ip();
    let wait = core.checks() && !is_vouched_for;
    let roaming = core.roaming_mut();
    let first = *roaming.before.get_or_insert(old);
    if first == path {
        // Back before the peer has heard of it; it may have all the same.
        roaming.before = None;
    }
    roaming.candidates.clear();
    roaming.children_wait = wait;
    if !wait {
        established.handle_move(core, cx);
    }
    established.settle_keepalive(core, cx);
    established.queue_first(Task::Mobike(Errand::Update));
}

/// Initiator: tells of an address that the peer has not confirmed on an IKE SA that is replaced, too. The
/// answer that replaced it may be lost; then the peer asks again, on that one and at the address it
/// knows.
pub(crate) fn tell_on_old(core: &mut Core, cx: &mut Context<'_>) {
    let is_moving = core.roaming.as_ref().is_some_and(|roaming| roaming.before.is_some());
    if core.mobike == Some(Role::Initiator)
        && is_moving
        && core.requests.is_idle()
        && core.requests.may_ask()
    {
        // Nobody waits for the answer.
        let _ = ErrandSent::start(Errand::Update, core, cx);
    }
}

/// Responder: the peer's packets go to where IKE messages go from now on, at once or after a check
/// (§3.7).
fn follow(old: Path, established: &mut Established, core: &mut Core, cx: &mut Context<'_>) {
    if core.checks() && core.path.remote.ip() != old.remote.ip() {
        let roaming = core.roaming_mut();
        roaming.before.get_or_insert(old);
        roaming.children_wait = true;
        established.queue_first(Task::Mobike(Errand::Check));
    } else if core.roaming.as_ref().is_none_or(|roaming| !roaming.children_wait) {
        settle(old, established, core, cx);
    }
}

/// The children follow, and who listens hears of it.
fn settle(old: Path, established: &mut Established, core: &mut Core, cx: &mut Context<'_>) {
    established.handle_move(core, cx);
    established.settle_keepalive(core, cx);
    if old.local != core.path.local {
        let ike = Box::new(established.info(core));
        cx.out.event(Event::Moved { ike, old: old.local });
    }
    if old.remote != core.path.remote {
        let ike = Box::new(established.info(core));
        cx.out.event(Event::PeerMoved { ike, old: old.remote });
    }
}

/// ESP shows that the NAT in front of the peer has another mapping.
///
//= https://www.rfc-editor.org/rfc/rfc4555#section-3.8
//# The host not behind a NAT MUST NOT use these dynamic updates for IKEv2 packets, but MAY use
//# them for ESP packets.
pub(crate) fn handle_mapping(
    remote: SocketAddr,
    established: &mut Established,
    core: &mut Core,
    cx: &mut Context<'_>,
) {
    let old = core.go_to(Path { remote, ..core.path });
    if core.mobike == Some(Role::Responder) {
        follow(old, established, core, cx);
    } else {
        settle(old, established, core, cx);
    }
}

#[cfg(test)]
mod tests;
