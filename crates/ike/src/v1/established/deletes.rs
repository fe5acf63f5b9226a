//! Deletes of children are said again, as nobody acknowledges them (RFC 2409 §5.7): once, and more often while
//! nothing is heard of the peer.

use std::time::{Duration, Instant};

use adit_wire::esp::Spi;
use adit_wire::iana::ProtocolId as ChildProtocol;

use super::Established;
use crate::context::Context;
use crate::v1::core::Core;
use crate::v1::informational;

/// A delete that may have been lost.
#[derive(Debug)]
pub(super) struct Again {
    said: Instant,
    at: Instant,
    wait: Duration,
    protocol: ChildProtocol,
    spis: Vec<Spi>,
}

/// How long after the first time; then twice as long each time.
const AGAIN_WAIT: Duration = Duration::from_secs(3);

/// The longest pause: who was away for as long is given up.
const AGAIN_WAIT_MAX: Duration = Duration::from_secs(100);

/// Deletes that wait to be said again.
const AGAIN_MAX: usize = 64;

impl Again {
    /// When it is said again.
    pub(super) fn poll_timeout(&self) -> Instant {
        self.at
    }
}

impl Established {
    /// Tells the peer that children are gone, now and a moment later: if it hears neither, it sends into
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
            let (said, at) = (cx.now, cx.now + AGAIN_WAIT);
            let spis = spis.to_vec();
            self.again.push(Again { said, at, wait: AGAIN_WAIT, protocol, spis });
        }
    }

    pub(super) fn say_again(&mut self, core: &Core, cx: &mut Context<'_>) {
        let now = cx.now;
        self.again.retain_mut(|again| {
            if now < again.at {
                return true;
            }
            informational::delete_children(again.protocol, &again.spis, core, cx);
            again.wait *= 2;
            again.at = now + again.wait;
            // Who has said something since was there to hear it.
            core.heard <= again.said && again.wait < AGAIN_WAIT_MAX
        });
    }
}
