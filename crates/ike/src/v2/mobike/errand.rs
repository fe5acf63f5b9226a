//! RFC 4555 §3.5 to §3.8: our INFORMATIONAL exchanges about addresses.

use adit_wire::iana::{ExchangeType, NotifyType};
use adit_wire::ikev2::ChainBuilder;

use crate::command::Path;
use crate::context::Context;
use crate::event::Event;
use crate::failure::FailureReason;
use crate::keymat::Role;
use crate::nat::{HASH_OCTETS, verdict};
use crate::v2::established::{Established, Own, Task};
use crate::v2::ike_sa::core::Core;
use crate::v2::ike_sa::{Next, StepResult};
use crate::v2::rules::Received;

use super::notices::{
    COOKIE_OCTETS, put_additional, put_addresses, put_cookie, put_detection, put_no_nats, put_word,
};
use super::{move_to, settle};

/// Something to tell or to ask the peer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Errand {
    /// Initiator: the IKE SA has the addresses of this message (§3.5).
    Update,
    /// Responder: is the peer where it says? (§3.7)
    Check,
    /// Where else we are (§3.6).
    Announce,
    /// Initiator: is the peer there, and does it see us where it did? (§3.8)
    Probe,
}

/// One of them in flight.
#[derive(Debug)]
pub(crate) struct ErrandSent {
    pub(crate) errand: Errand,
    /// The way it was made for.
    path: Path,
    cookie: Option<[u8; COOKIE_OCTETS]>,
}

/// Updates that are sent again because something on the way changes their addresses (§3.9).
const NAT_RETRIES_MAX: u8 = 3;

/// Whether a sign of life is asked for with NAT detection: by an initiator, as it is the one to tell the
/// peer when a NAT has changed its mind.
pub(crate) fn probes(core: &Core) -> bool {
    core.mobike == Some(Role::Initiator) && core.nat.supported
}

impl ErrandSent {
    /// Sends the request.
    pub(crate) fn start(
        errand: Errand,
        core: &mut Core,
        cx: &mut Context<'_>,
    ) -> Result<Option<Own>, FailureReason> {
        let mut chain = ChainBuilder::new();
        let mut cookie = None;
        match errand {
            Errand::Update => {
                put_word(NotifyType::UPDATE_SA_ADDRESSES, &mut chain);
                put_detection(core.path, core, &mut chain, cx);
                put_additional(core, &mut chain, cx);
                put_no_nats(core, &mut chain);
                cookie = Some(put_cookie(&mut chain, cx));
            }
            Errand::Check => cookie = Some(put_cookie(&mut chain, cx)),
            Errand::Announce => {
                put_addresses(core, &mut chain, cx);
                put_no_nats(core, &mut chain);
            }
            Errand::Probe => put_detection(core.path, core, &mut chain, cx),
        }
        core.request(ExchangeType::INFORMATIONAL, chain, cx.config.established, cx)?;
        Ok(Some(Own::Mobike(Box::new(Self { errand, path: core.path, cookie }))))
    }

    /// Takes the response.
    pub(crate) fn handle_response(
        self,
        received: &Received<'_>,
        established: &mut Established,
        core: &mut Core,
        cx: &mut Context<'_>,
    ) -> StepResult {
        //= https://www.rfc-editor.org/rfc/rfc4555#section-3.7
        //# When processing the response, the original sender MUST verify that the value is the
        //# same one as sent.  If the values do not match, the IKE_SA MUST be closed.
        if let Some(cookie) = &self.cookie {
            let said = received.notify(NotifyType::COOKIE2).map(|notify| notify.data);
            if said != Some(cookie) {
                return Ok(Next::Delete(FailureReason::PeerMisbehaved("COOKIE2 is another one")));
            }
        }
        // What was sent from several addresses proves nothing of the one in use, and names others.
        //= https://www.rfc-editor.org/rfc/rfc4555#section-3.6
        //# If the request to update the addresses is retransmitted using several different source
        //# addresses, a new INFORMATIONAL request MUST be sent.
        let is_stale = self.path != core.path;
        match self.errand {
            Errand::Probe if is_stale => {}
            Errand::Update | Errand::Check | Errand::Announce if is_stale => {
                established.queue_first(Task::Mobike(self.errand));
            }
            Errand::Update => return updated(received, established, core, cx),
            Errand::Check => arrive(established, core, cx),
            Errand::Announce => {}
            Errand::Probe => compare(received, established, core),
        }
        Ok(Next::Stay)
    }
}

/// The peer has answered an update.
fn updated(
    received: &Received<'_>,
    established: &mut Established,
    core: &mut Core,
    cx: &mut Context<'_>,
) -> StepResult {
    let has_nat = received.has_notify(NotifyType::UNEXPECTED_NAT_DETECTED);
    if has_nat {
        let roaming = core.roaming_mut();
        roaming.nat_retries = roaming.nat_retries.saturating_add(1);
        if roaming.nat_retries < NAT_RETRIES_MAX {
            established.retry(Task::Mobike(Errand::Update), cx);
            return Ok(Next::Stay);
        }
    }
    if has_nat || received.has_notify(NotifyType::UNACCEPTABLE_ADDRESSES) {
        refused(has_nat, established, core, cx);
        return Ok(Next::Stay);
    }
    note_detection(received, core);
    arrive(established, core, cx);
    Ok(Next::Stay)
}

/// The peer does not take our address: another way is tried, else the one before, and the operator
/// hears of it.
fn refused(has_nat: bool, established: &mut Established, core: &mut Core, cx: &mut Context<'_>) {
    let Some(roaming) = &mut core.roaming else { return };
    roaming.nat_retries = 0;
    if !roaming.fallbacks.is_empty() {
        let next = roaming.fallbacks.remove(0);
        return move_to(next, established, core, cx);
    }
    let refused = core.path;
    if let Some(before) = roaming.before.take() {
        roaming.children_wait = false;
        core.go_to(before);
        established.handle_move(core, cx);
        established.settle_keepalive(core, cx);
    }
    let local = refused.local.ip();
    let reason = match has_nat {
        true => FailureReason::UnexpectedNat { local, remote: refused.remote },
        false => FailureReason::AddressRefused { local, remote: refused.remote },
    };
    cx.out.event(Event::Failed(core.failure(reason, cx.now)));
}

/// The way is agreed on: children that waited for it follow, or learn whether there is a NAT on it.
fn arrive(established: &mut Established, core: &mut Core, cx: &mut Context<'_>) {
    let Some(roaming) = &mut core.roaming else { return };
    roaming.children_wait = false;
    roaming.nat_retries = 0;
    roaming.fallbacks.clear();
    let before = roaming.before.take().unwrap_or(core.path);
    settle(before, established, core, cx);
}

/// What the peer's notifies say about NATs on the way in use.
fn note_detection(received: &Received<'_>, core: &mut Core) {
    let found = verdict(core.spi_i, core.spi_r, core.path, &received.notifies);
    if found.supported {
        core.nat = found;
    }
    let seen = seen(received).filter(|_| core.nat.we_are_behind_nat);
    if seen.is_some() || core.roaming.is_some() {
        core.roaming_mut().seen = seen;
    }
}

/// How the peer sees our address.
fn seen(received: &Received<'_>) -> Option<[u8; HASH_OCTETS]> {
    let notify = received.notify(NotifyType::NAT_DETECTION_DESTINATION_IP)?;
    notify.data.try_into().ok()
}

/// A sign of life shows whether a NAT came, went or has another mapping. Then the peer is to know.
fn compare(received: &Received<'_>, established: &mut Established, core: &mut Core) {
    let found = verdict(core.spi_i, core.spi_r, core.path, &received.notifies);
    if !found.supported {
        return;
    }
    let seen = seen(received);
    let known = core.roaming.as_ref().and_then(|roaming| roaming.seen);
    let is_mapped_anew = found.we_are_behind_nat && seen != known;
    if found != core.nat || is_mapped_anew {
        established.queue_first(Task::Mobike(Errand::Update));
    }
}
