//! Dead peer detection (RFC 3706): whoever has heard nothing for a while asks.

use std::time::{Duration, Instant};

use crate::context::Context;

use super::core::Core;

/// Our questions.
#[derive(Debug)]
pub(crate) struct Dpd {
    number: u32,
    asked: Option<Asked>,
    /// Somebody says that the peer is gone: it is asked at once.
    hint: Option<Instant>,
    last_hint: Option<Instant>,
}

/// A question that has no answer yet.
#[derive(Debug)]
struct Asked {
    transmissions: u8,
    first: Instant,
    due: Instant,
}

/// What is to be done.
#[derive(Debug, Eq, PartialEq)]
pub(crate) enum Liveness {
    /// Nothing.
    Fine,
    /// Ask under this number.
    Ask(u32),
    /// The peer is gone.
    Silent { transmissions: u8, waited: Duration },
}

/// Shortest time between questions that unauthenticated hints ask for.
const HINT_INTERVAL: Duration = Duration::from_secs(5);

impl Dpd {
    /// Counts from a random number below 2^31 (RFC 3706 §7).
    pub(crate) fn new(random: u64) -> Self {
        let number = u32::try_from(random & 0x7fff_ffff).unwrap_or(0);
        Self { number, asked: None, hint: None, last_hint: None }
    }

    /// Takes an answer. Whether it is one.
    pub(crate) fn handle_ack(&mut self, number: u32) -> bool {
        self.asked.take_if(|_| number == self.number).is_some()
    }

    /// The peer is elsewhere: whether it is there a new question shows.
    pub(crate) fn ask_anew(&mut self, now: Instant) {
        self.asked = None;
        self.hint = Some(now);
        self.last_hint = Some(now);
    }

    /// Asks soon, unless it has just done so.
    pub(crate) fn ask_soon(&mut self, now: Instant) {
        let lately = self.last_hint.is_some_and(|at| now < at + HINT_INTERVAL);
        if !lately && self.asked.is_none() {
            self.hint = Some(now);
            self.last_hint = Some(now);
        }
    }

    /// When the next question is due while there is none.
    fn next(&self, core: &Core) -> Option<Instant> {
        let delay = core.connection.dpd_delay;
        let regular = (delay > Duration::ZERO && core.peer_has_dpd).then(|| core.heard + delay);
        [regular, self.hint].into_iter().flatten().min()
    }

    pub(crate) fn poll_timeout(&self, core: &Core) -> Option<Instant> {
        self.asked.as_ref().map_or_else(|| self.next(core), |asked| Some(asked.due))
    }

    pub(crate) fn handle_timeout(&mut self, core: &Core, cx: &mut Context<'_>) -> Liveness {
        let schedule = cx.config.established;
        if let Some(asked) = &mut self.asked {
            if core.heard > asked.first && !core.leash.is_on() {
                self.asked = None;
                return Liveness::Fine;
            }
            if cx.now < asked.due {
                return Liveness::Fine;
            }
            if asked.transmissions >= schedule.transmissions {
                let waited = cx.now.saturating_duration_since(asked.first);
                return Liveness::Silent { transmissions: asked.transmissions, waited };
            }
            asked.transmissions += 1;
            asked.due = cx.now + schedule.wait_after(asked.transmissions);
            return Liveness::Ask(self.number);
        }
        if self.next(core).is_none_or(|at| cx.now < at) {
            return Liveness::Fine;
        }
        self.hint = None;
        self.number = self.number.wrapping_add(1);
        let due = cx.now + schedule.wait_after(1);
        self.asked = Some(Asked { transmissions: 1, first: cx.now, due });
        Liveness::Ask(self.number)
    }
}
