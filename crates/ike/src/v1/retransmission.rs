//! A message that waits for its answer, and answers that are repeated (RFC 2408 §5.1).
//!
//! IKEv1 has no numbers that tell a request from a response: who expects something sends its last
//! message again, and who gets a message again sends its last answer again.

use std::time::{Duration, Instant};

use adit_crypto::{Rng, sha1};

use crate::config::Retransmission;

/// Our last message, while an answer is expected.
#[derive(Debug)]
pub(crate) struct Sent {
    octets: Vec<u8>,
    schedule: Retransmission,
    transmissions: u8,
    first: Instant,
    due: Instant,
}

/// What [`Sent::handle_timeout`] found due.
#[derive(Debug, Eq, PartialEq)]
pub(crate) enum Due<'a> {
    /// Nothing yet.
    Nothing,
    /// Send this again, unchanged.
    Repeat(&'a [u8]),
    /// The tries are spent.
    GaveUp {
        /// How often the message was sent.
        transmissions: u8,
        /// Since the first transmission.
        waited: Duration,
    },
}

impl Sent {
    /// A message that is sent now.
    pub(crate) fn new(
        octets: Vec<u8>,
        schedule: Retransmission,
        now: Instant,
        rng: &mut dyn Rng,
    ) -> Self {
        let due = now + jittered(schedule.wait_after(1), rng);
        Self { octets, schedule, transmissions: 1, first: now, due }
    }

    /// Sends it again if its time has come.
    pub(crate) fn handle_timeout(&mut self, now: Instant, rng: &mut dyn Rng) -> Due<'_> {
        if now < self.due {
            return Due::Nothing;
        }
        if self.transmissions >= self.schedule.transmissions {
            return self.give_up(now);
        }
        self.transmissions += 1;
        self.due = now + jittered(self.schedule.wait_after(self.transmissions), rng);
        Due::Repeat(&self.octets)
    }

    /// What it has come to if it is not sent again.
    pub(crate) fn give_up(&self, now: Instant) -> Due<'_> {
        let waited = now.saturating_duration_since(self.first);
        Due::GaveUp { transmissions: self.transmissions, waited }
    }

    /// When [`Self::handle_timeout`] has something to do.
    pub(crate) fn poll_timeout(&self) -> Instant {
        self.due
    }
}

/// Up to a tenth more, so that what was lost together does not come together again.
fn jittered(wait: Duration, rng: &mut dyn Rng) -> Duration {
    let tenth_ms = u64::try_from((wait / 10).as_millis()).unwrap_or(u64::MAX);
    wait + Duration::from_millis(rng.next_u64() % tenth_ms.saturating_add(1))
}

/// The last message that was taken, and what answered it.
#[derive(Debug)]
pub(crate) struct Answered {
    digest: [u8; 20],
    answer: Vec<u8>,
    repeats: u8,
}

/// Answers to repetitions of one message, so that nobody makes an echo of it.
const REPEATS_MAX: u8 = 16;

impl Answered {
    /// A message and its answer; empty if there is none.
    pub(crate) fn new(message: &[u8], answer: Vec<u8>) -> Self {
        Self { digest: sha1(&[message]), answer, repeats: 0 }
    }

    /// The same message with its answer, now that there is one.
    #[must_use]
    pub(crate) fn with(self, answer: Vec<u8>) -> Self {
        Self { answer, ..self }
    }

    /// How long the answer is; nothing if there is none yet.
    pub(crate) fn answer_octets(&self) -> usize {
        self.answer.len()
    }

    /// Whether this is the same message once more.
    pub(crate) fn is_repeated_by(&self, message: &[u8]) -> bool {
        self.digest == sha1(&[message])
    }

    /// The answer to a repetition; `None` after too many, and if there is none.
    pub(crate) fn repeat(&mut self) -> Option<&[u8]> {
        self.repeats = self.repeats.saturating_add(1);
        (self.repeats <= REPEATS_MAX && !self.answer.is_empty()).then_some(&self.answer)
    }
}

#[cfg(test)]
mod tests {
    use adit_crypto::SeededRng;

    use super::*;

    /// CHECKLIST T09: the same octets get the same answer, and not without end.
    #[test]
    fn answers_are_repeated_so_often() {
        let mut answered = Answered::new(b"question", b"answer".to_vec());
        assert!(answered.is_repeated_by(b"question") && !answered.is_repeated_by(b"another"));
        for _ in 0..REPEATS_MAX {
            assert_eq!(answered.repeat(), Some(&b"answer"[..]));
        }
        assert_eq!(answered.repeat(), None);
        assert_eq!(Answered::new(b"question", Vec::new()).repeat(), None);
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "any instant will do")]
    fn a_message_is_sent_so_often_and_given_up() {
        let (mut now, mut rng) = (Instant::now(), SeededRng::new(1));
        let schedule = Retransmission {
            first: Duration::from_millis(500),
            longest: Duration::from_secs(1),
            transmissions: 3,
        };
        let mut sent = Sent::new(vec![7], schedule, now, &mut rng);
        assert_eq!(sent.handle_timeout(now, &mut rng), Due::Nothing);
        for _ in 0..2 {
            now = sent.poll_timeout();
            assert_eq!(sent.handle_timeout(now, &mut rng), Due::Repeat(&[7]));
        }
        now = sent.poll_timeout();
        assert!(matches!(sent.handle_timeout(now, &mut rng), Due::GaveUp { transmissions: 3, .. }));
    }
}
