//! Deletes of children are said again, as nobody acknowledges them (RFC 2409 §5.7): four times more, and for longer
//! while nothing is heard of the peer. So is a responder's INITIAL-CONTACT (RFC 2407 §4.6.3.3): where it is lost
//! the peer goes on with children that we have not, and signs of life keep them for it.

use std::time::{Duration, Instant};

use adit_wire::esp::Spi;
use adit_wire::iana::ProtocolId as ChildProtocol;

use super::Established;
use crate::context::Context;
use crate::event::PeerSoftware;
use crate::v1::core::Core;
use crate::v1::informational;

/// What may have been lost.
#[derive(Debug)]
pub(crate) struct Again {
    said: Instant,
    at: Instant,
    wait: Duration,
    what: What,
}

#[derive(Debug)]
enum What {
    /// These children are gone.
    Deleted(ChildProtocol, Vec<Spi>),
    /// There is nothing from before this phase 1.
    First,
}

/// How long after the first time; then twice as long each time.
const AGAIN_WAIT: Duration = Duration::from_secs(3);

/// What is said before this pause is said in any case: that the peer is heard does not tell what it has heard.
const AGAIN_WAIT_LEAST: Duration = Duration::from_secs(40);

/// The longest pause: who was away for as long is given up, unless it is asked for signs of life.
const AGAIN_WAIT_MAX: Duration = Duration::from_secs(100);

/// What waits to be said again.
const AGAIN_MAX: usize = 64;

impl Again {
    fn new(what: What, now: Instant) -> Self {
        Self { said: now, at: now + AGAIN_WAIT, wait: AGAIN_WAIT, what }
    }

    /// When it is said again.
    pub(super) fn poll_timeout(&self) -> Instant {
        self.at
    }
}

impl Established {
    /// Tells the peer that children are gone, now and some moments later: if it hears none of that, it sends into
    /// nothing until it is told of that, or until its own limits end it.
    pub(crate) fn delete_children(
        &mut self,
        protocol: ChildProtocol,
        spis: &[Spi],
        core: &Core,
        cx: &mut Context<'_>,
    ) {
        informational::delete_children(protocol, spis, core, cx);
        if self.again.len() < AGAIN_MAX && !spis.is_empty() {
            self.again.push(Again::new(What::Deleted(protocol, spis.to_vec()), cx.now));
        }
    }

    /// Tells the peer that there is nothing from before this phase 1, now and some moments later.
    pub(crate) fn tell_forgotten(&mut self, core: &Core, cx: &mut Context<'_>) {
        informational::send_initial_contact(core, cx);
        if self.again.len() < AGAIN_MAX {
            self.again.push(Again::new(What::First, cx.now));
        }
    }

    /// A child is on its way, or there is one: that there was nothing before is not said any more. Peers may take
    /// it for the end of all children (RFC 2407 §4.6.3.3); another Adit does not.
    pub(super) fn is_not_alone(&mut self, core: &Core) {
        if core.peer != PeerSoftware::Adit {
            self.again.retain(|again| matches!(again.what, What::Deleted(..)));
        }
    }

    /// Gives away the deletes that are to be said again.
    pub(crate) fn give_deletes(&mut self) -> Vec<Again> {
        let mut deletes = std::mem::take(&mut self.again);
        deletes.retain(|again| matches!(again.what, What::Deleted(..)));
        deletes
    }

    /// Takes those of the phase 1 before, as nobody may hear them there any more. That the peer has been heard
    /// since does not count: it was when the new phase 1 came up, whatever it had missed before.
    pub(crate) fn adopt_deletes(&mut self, deletes: Vec<Again>, now: Instant) {
        // With what that one has there is something from before.
        self.again.retain(|again| matches!(again.what, What::Deleted(..)));
        let room = AGAIN_MAX.saturating_sub(self.again.len());
        let anew = |again| Again { said: now, at: now + AGAIN_WAIT, wait: AGAIN_WAIT, ..again };
        self.again.extend(deletes.into_iter().take(room).map(anew));
    }

    pub(super) fn say_again(&mut self, core: &Core, cx: &mut Context<'_>) {
        let now = cx.now;
        self.again.retain_mut(|again| {
            if now < again.at {
                return true;
            }
            match &again.what {
                What::Deleted(protocol, spis) => {
                    informational::delete_children(*protocol, spis, core, cx);
                }
                What::First => informational::send_initial_contact(core, cx),
            }
            again.wait = (again.wait * 2).min(AGAIN_WAIT_MAX);
            again.at = now + again.wait;
            // Who has said something since was there to hear it. Who is asked for signs of life gives one, or
            // its phase 1 ends; nobody waits for one of another for ever.
            let is_asked = core.peer_has_dpd && !core.connection.dpd_delay.is_zero();
            let is_given_up = again.wait == AGAIN_WAIT_MAX && !is_asked;
            again.wait < AGAIN_WAIT_LEAST || (core.heard <= again.said && !is_given_up)
        });
    }
}
