//! Rekeying of child SAs (RFC 7296 §1.3.3, §2.8, §2.8.1, §2.25.1).
//!
//! The initiator of a rekey moves its traffic at once and deletes the old SA; the responder
//! receives on both and goes on sending on the old one until the delete or traffic on the new one
//! arrives. When both rekey at once, four nonces decide whose SA goes: the lowest loses, and who
//! made that SA deletes it. Two requests for the same new child that cross are settled alike.

use std::time::{Duration, Instant};

use adit_db::{ChildConfig, ChildName, ChildSaId, Pfp};
use adit_wire::esp::Spi;
use adit_wire::iana::{NotifyType, ProtocolId};
use adit_wire::ikev2::{ChainBuilder, Notify, Payload};

use crate::context::{Context, Notice};
use crate::failure::FailureReason;
use crate::keymat::Role;
use crate::traffic_selector::SelectorPair;
use crate::v2::child::{Child, Phase, REKEYED_WAIT, Selectors, Wish};
use crate::v2::established::{Established, Own, Task};
use crate::v2::ike_sa::core::Core;
use crate::v2::rules::Received;

use super::create_child::CreateChildSent;

/// How long a child waits for a sign that the peer has it before it is rekeyed all the same.
const ANSWER_WAIT: Duration = Duration::from_secs(10);

/// How long a peer may ask again for an answer it has not got.
const REPEAT_WAIT: Duration = Duration::from_secs(90);

/// The peer's exchange for the same child that crossed ours.
#[derive(Debug)]
pub(crate) struct Rival {
    /// What it made; it may be gone again. Nothing as long as key exchanges are to follow.
    child: Option<ChildSaId>,
    /// The lower of its two nonces.
    lowest: Vec<u8>,
    /// Whether listeners know its child, as the peer has deleted the old one before our answer came.
    is_told: bool,
}

impl Rival {
    /// An exchange that key exchanges are to follow (RFC 9370 §2.2.4).
    pub(super) fn pending(lowest: Vec<u8>) -> Self {
        Self { child: None, lowest, is_told: false }
    }

    //= https://www.rfc-editor.org/rfc/rfc7296#section-2.8.1
    //# the SA created with the lowest of the four nonces used in the two
    //# exchanges SHOULD be closed by the endpoint that created it.
    //
    /// Whether the peer's exchange prevails over ours with this lowest nonce.
    pub(crate) fn wins_over(&self, ours: &[u8]) -> bool {
        is_lower(ours, &self.lowest)
    }

    /// Whether its child may go without a word: listeners do not know it.
    pub(crate) fn is_unknown(&self, child: ChildSaId) -> bool {
        self.is(child) && !self.is_told
    }

    /// Whether this is the child that the peer's exchange made.
    pub(crate) fn is(&self, child: ChildSaId) -> bool {
        self.child == Some(child)
    }
}

/// The lower of an exchange's two nonces. "Lowest" compares octet by octet; of two that begin
/// alike the shorter is lower (RFC 7296 §2.8.1).
pub(crate) fn lowest<'a>(nonce_i: &'a [u8], nonce_r: &'a [u8]) -> &'a [u8] {
    nonce_i.min(nonce_r)
}

/// Whether the exchange with lowest nonce `ours` loses against the one with `theirs`.
pub(crate) fn is_lower(ours: &[u8], theirs: &[u8]) -> bool {
    ours < theirs
}

impl CreateChildSent {
    /// Whether the peer's exchange that crossed this one made the child.
    pub(crate) fn has_rival(&self, child: ChildSaId) -> bool {
        self.rival.as_ref().is_some_and(|rival| rival.is(child))
    }

    /// Asks for new keys of a child. `None`: the child went, or is being replaced already.
    pub(crate) fn start_rekey(
        established: &mut Established,
        id: ChildSaId,
        core: &mut Core,
        cx: &mut Context<'_>,
    ) -> Result<Option<Own>, FailureReason> {
        let Some(child) = established.child_mut(id).filter(|child| child.is_current()) else {
            return Ok(None);
        };
        child.phase = Phase::Rekeying;
        if !child.is_known_to_peer(ANSWER_WAIT, cx.now) {
            // The peer would take it for lost (CHECKLIST J16, J17).
            established.retry(Task::RekeyChild(id), cx);
            return Ok(None);
        }
        let name = child.name.clone();
        Self::start(established, name, None, Some(id), core, cx)
    }
}

/// The child that a REKEY_SA notify names.
///
/// # Errors
///
/// The notify to answer with (RFC 7296 §2.25.1): CHILD_SA_NOT_FOUND if there is none (CHECKLIST
/// J07, J29), TEMPORARY_FAILURE if we are closing it or the peer has replaced it already, or if it
/// may be the child that our own request in flight asks for: the answer is on its way.
pub(crate) fn find(
    protocol: ProtocolId,
    spi: Option<Spi>,
    established: &Established,
) -> Result<ChildSaId, NotifyType> {
    let unknown = match established.own_child() {
        Some(_) => NotifyType::TEMPORARY_FAILURE,
        None => NotifyType::CHILD_SA_NOT_FOUND,
    };
    let child = spi.and_then(|spi| established.child_by_peer_spi(protocol, spi)).ok_or(unknown)?;
    match child.phase {
        Phase::Installed | Phase::Rekeying => Ok(child.id),
        Phase::Rekeyed { .. } | Phase::Deleting => Err(NotifyType::TEMPORARY_FAILURE),
    }
}

/// Adds the refusal of a rekey; it repeats which SA was meant.
pub(crate) fn put_refusal(kind: NotifyType, received: &Received<'_>, chain: &mut ChainBuilder) {
    match received.notify(NotifyType::REKEY_SA) {
        // RFC 7296 §3.10: without an SPI there is no protocol either.
        Some(rekey_sa) if kind == NotifyType::CHILD_SA_NOT_FOUND && !rekey_sa.spi.is_empty() => {
            chain.put(&Payload::Notify(Notify { kind, data: &[], ..*rekey_sa }));
        }
        _ => chain.put(&Payload::Notify(Notify::new(kind, &[]))),
    }
}

/// Whether our request in flight asks for the same child.
pub(crate) fn crosses(
    established: &Established,
    rekeys: Option<ChildSaId>,
    name: &ChildName,
    made: &Selectors,
) -> bool {
    match established.own_child() {
        Some(sent) if rekeys.is_some() => sent.rekeys == rekeys,
        Some(sent) if sent.is_for_resource() => false,
        Some(sent) => sent.rekeys.is_none() && sent.wish().is_met_by(name, made),
        None => false,
    }
}

/// Responder: whether a new child carries our traffic from the start.
pub(crate) fn sends_at_once(
    is_rekey: bool,
    made: &Selectors,
    config: &ChildConfig,
    established: &Established,
) -> bool {
    let is_alike =
        |child: &Child| child.name == config.name && child.is_current() && child.selectors == *made;
    // RFC 7296 §2.8: the responder of a rekey goes on sending on the old SA. So it does on one for
    // the same traffic: this request may have crossed the one that made it, and the peer then does
    // not take what has the lowest nonce.
    !is_rekey && (config.resource.is_some() || !established.children.iter().any(is_alike))
}

/// The child itself, or the one it replaces as long as the peer may not have it: our answer is on its
/// way (RFC 7296 §2.8).
pub(crate) fn known_before<'a>(child: &'a Child, established: &'a Established) -> &'a Child {
    let mut known = child;
    // Each step leads to an older one.
    for _ in 0..established.children.len() {
        let is_before = |one: &&Child| {
            let is_replaced = matches!(one.phase, Phase::Rekeyed { by, .. } if by == known.id);
            is_replaced && one.is_in_engine()
        };
        match established.children.iter().find(is_before) {
            Some(before) if !known.is_confirmed() => known = before,
            _ => break,
        }
    }
    known
}

/// Responder: the child is installed. If it crossed our request (`lowest` is there), which of the
/// two stays is decided with our response.
pub(crate) fn installed(
    mut child: Child,
    rekeys: Option<ChildSaId>,
    lowest: Option<Vec<u8>>,
    established: &mut Established,
    core: &Core,
    cx: &mut Context<'_>,
) {
    let id = child.id;
    inherit_idleness(&mut child, rekeys, established);
    if let Some(lowest) = lowest {
        established.children.push(child);
        if let Some(Own::Child(sent)) = &mut established.own {
            sent.rival = Some(Rival { child: Some(id), lowest, is_told: false });
        }
        return;
    }
    match rekeys {
        None => established.add_child(child, core, cx),
        Some(old) => {
            // What the peer replaces it has, though our request that it crossed is not answered yet.
            if established.own_child().is_some_and(|sent| sent.has_rival(old)) {
                established.activate(old, cx);
            }
            established.children.push(child);
            established.report_rekey(old, id, core, cx);
            replaced_by_peer(old, id, established, cx);
        }
    }
}

/// The peer deletes a child that both replace, before our own exchange has its answer: from now on what
/// the peer's exchange made carries on, and ends if the old one was told to. False if there is nothing
/// of that kind.
pub(crate) fn carried_on(
    old: ChildSaId,
    established: &mut Established,
    core: &Core,
    cx: &mut Context<'_>,
) -> bool {
    let Some(Own::Child(sent)) = &mut established.own else { return false };
    let is_it = sent.rekeys == Some(old);
    let Some(rival) = sent.rival.as_mut().filter(|_| is_it) else { return false };
    let lives = |child: &&mut Child| rival.is(child.id) && child.phase != Phase::Deleting;
    let Some(new) = established.children.iter_mut().find(lives) else { return false };
    rival.is_told = true;
    let id = new.id;
    let end = established.child_mut(old).and_then(|child| child.end.take());
    if let Some(new) = established.child_mut(id) {
        new.end = end;
    }
    established.report_rekey(old, id, core, cx);
    true
}

/// The peer made `new` for `old` and will delete `old`.
fn replaced_by_peer(
    old: ChildSaId,
    new: ChildSaId,
    established: &mut Established,
    cx: &Context<'_>,
) {
    if let Some(child) = established.child_mut(old).filter(|child| child.is_current()) {
        child.phase = Phase::Rekeyed { by: new, until: cx.now + REKEYED_WAIT };
    }
}

/// Whether the new child we asked for came by another way meanwhile: the peer made one that
/// crossed ours and has rekeyed it since, so that the nonces decide nothing any more.
pub(crate) fn is_superfluous(
    sent: &CreateChildSent,
    selectors: &SelectorPair,
    established: &Established,
) -> bool {
    let ours = Selectors::from_pair(selectors.clone(), Role::Initiator);
    let is_rival = |id| sent.rival.as_ref().is_some_and(|rival| rival.is(id));
    sent.rekeys.is_none()
        && !sent.is_for_resource()
        && established.children.iter().any(|child| {
            child.name == *sent.name()
                && child.is_current()
                && child.selectors == ours
                && !is_rival(child.id)
        })
}

/// Tells who waits for the child that it is there.
pub(crate) fn report_up(sent: &CreateChildSent, core: &Core, cx: &mut Context<'_>) {
    if let Some(connection) = core.connection_name().cloned() {
        let child = sent.name().clone();
        cx.out.notice(Notice::ChildUp { connection, child });
    }
}

/// Our exchange made `child`; it stays. The old one is ours to delete, a rival the peer's.
pub(crate) fn win(
    sent: &CreateChildSent,
    mut child: Child,
    established: &mut Established,
    core: &Core,
    cx: &mut Context<'_>,
) {
    let id = child.id;
    established.forget_pending(sent.rekeys, sent.name());
    let rival = sent.rival.as_ref().and_then(|rival| rival.child);
    let lives = |old: &ChildSaId| established.child(*old).is_some();
    let old = sent.rekeys.filter(lives);
    let told = sent.rival.as_ref().filter(|rival| rival.is_told).and(rival).filter(lives);
    // What listeners take for the child that is replaced.
    let known = old.or(told);
    inherit_idleness(&mut child, known, established);
    match known {
        Some(known) => {
            established.children.push(child);
            established.report_rekey(known, id, core, cx);
        }
        None => established.add_child(child, core, cx),
    }
    if let Some(rival) = rival {
        replaced_by_peer(rival, id, established, cx);
    }
    if let Some(old) = old {
        established.pass_on_place(old, id);
        delete_old(old, established);
    }
    if let Some(known) = known {
        inherit_end(known, id, established, cx);
    }
}

fn inherit_idleness(child: &mut Child, old: Option<ChildSaId>, established: &Established) {
    if let Some(old) = old.and_then(|old| established.child(old)) {
        child.idleness.inherit(&old.idleness);
    }
}

/// A child that was told to end while it was being rekeyed ends with its successor.
fn inherit_end(
    old: ChildSaId,
    new: ChildSaId,
    established: &mut Established,
    cx: &mut Context<'_>,
) {
    if let Some(reason) = established.child_mut(old).and_then(|child| child.end.take()) {
        established.delete_child(new, *reason, cx);
    }
}

/// The old SA keeps receiving until the peer has confirmed the delete, and a grace longer.
fn delete_old(old: ChildSaId, established: &mut Established) {
    if let Some(child) = established.child_mut(old).filter(|child| child.phase != Phase::Deleting) {
        child.phase = Phase::Deleting;
        established.queue(Task::DeleteChild(old));
    }
}

/// The peer's crossing exchange prevails, or ours came to nothing.
pub(crate) fn lose(
    sent: &CreateChildSent,
    established: &mut Established,
    core: &Core,
    cx: &mut Context<'_>,
) {
    let rival = sent.rival.as_ref().and_then(|rival| rival.child);
    let lives =
        |id: &ChildSaId| established.child(*id).is_some_and(|child| child.phase != Phase::Deleting);
    let Some(rival) = rival.filter(lives) else {
        if established.awaits_peers_child(sent.rekeys, sent.name()) {
            // It may come to nothing yet.
            established.retry(sent.task(), cx);
            return;
        }
        // The peer's SA is gone as well: what is left of the old one goes on.
        if let Some(child) = sent.rekeys.and_then(|old| established.child_mut(old)) {
            child.phase = Phase::Installed;
        }
        return;
    };
    match sent.rekeys {
        Some(old) if established.child(old).is_some() => {
            established.report_rekey(old, rival, core, cx);
            replaced_by_peer(old, rival, established, cx);
            inherit_end(old, rival, established, cx);
        }
        // The old one was deleted by the peer: all traffic goes over the new one.
        Some(_) => {
            established.activate(rival, cx);
            inherit_end(rival, rival, established, cx);
        }
        None => {
            established.activate(rival, cx);
            if let Some(place) = established.children.iter().position(|child| child.id == rival) {
                let child = established.children.remove(place);
                established.add_child(child, core, cx);
            }
        }
    }
}

/// Whether the peer may not know a child only because our answer has not reached it.
pub(crate) fn is_too_early(id: ChildSaId, established: &Established, now: Instant) -> bool {
    established.child(id).is_some_and(|child| !child.is_known_to_peer(REPEAT_WAIT, now))
}

/// The peer does not know the child that we wanted to rekey: it goes, and a fresh one comes
/// (RFC 7296 §2.25; CHECKLIST J07). A delete goes with it, in case the peer did not know it yet:
/// the answer that creates it there may still be under way (J17).
pub(crate) fn recreate(
    old: ChildSaId,
    established: &mut Established,
    core: &Core,
    cx: &mut Context<'_>,
) {
    let Some(child) = established.child(old) else { return };
    let (name, protocol, spi_in) = (child.name.clone(), child.protocol, child.spi_in);
    // Its packets will ask for it.
    let is_populated = !child.pfp.is_none();
    established.remove_child(old, Some(FailureReason::ClosedByPeer), core, cx);
    established.queue(Task::DeleteSpi(protocol, spi_in));
    let wish = Wish { name: &name, pfp: Pfp::NONE, flow: None };
    if !is_populated && !established.has_child(&wish) {
        established.queue(Task::CreateChild { child: name, flow: None });
    }
}
