//! What a path takes, found by probing it: packetization layer path MTU discovery (RFC 8899) between
//! the two ends of an SA, which needs no ICMP.
//!
//! ```text
//!               no answer, others are answered           a larger one is answered
//!   confirming ------------------------------> searching -------------------------+
//!    ^  |  answered                              |   ^----------------------------+
//!    |  +---------> complete <-------------------+ nothing left to try
//!    |  traffic         |
//!    +------------------+ raise timer: searching; some seconds without traffic: asleep
//! ```
//!
//! A probe is as long as the packets it speaks for and is answered by a short message in the SA of the
//! other direction (`wire/path_message`). Loss alone says nothing: a size is given up only if shorter
//! probes of the same moments were answered, and the size in force only after many tries. If none is
//! answered the path is down, and nothing is learnt from that.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// The sizes between which a path's is sought, of outer packets, in octets; and how long a finding lasts.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Bounds {
    /// What every path is believed to take: RFC 791's 576, or RFC 8200 §5's 1,280.
    pub(crate) floor: u16,
    /// What the link takes that packets leave by.
    pub(crate) link: u16,
    /// For how long what is found is believed: it is told again well before.
    pub(crate) ageing: Duration,
}

/// What an SA has sent so far, inside.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Sent {
    pub(crate) octets: u64,
    pub(crate) packets: u64,
}

impl Sent {
    fn since(self, before: Self) -> Self {
        let octets = self.octets.saturating_sub(before.octets);
        Self { octets, packets: self.packets.saturating_sub(before.packets) }
    }

    /// Whether a black hole under packets of `size` would be felt: some of them are long, or they are
    /// many.
    fn is_much(self, size: u16) -> bool {
        let size = u64::from(size);
        let mean = self.octets.checked_div(self.packets).unwrap_or(0);
        mean >= size.saturating_mul(2) / 3 || self.octets >= size.saturating_mul(PACKETS_OF_NOTE)
    }
}

/// A probe to be sent now.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Probe {
    /// By which its answer is known.
    pub(crate) nonce: u64,
    /// Octets of the outer packet; zero is as few as there may be.
    pub(crate) size: u16,
}

/// The prober of one SA.
#[derive(Clone, Debug)]
pub(crate) struct Prober {
    bounds: Bounds,
    phase: Phase,
    /// Octets of the largest outer packet that is sent.
    current: u16,
    last_nonce: u64,
    /// Probes that may still be answered, the newest last.
    flight: VecDeque<(Probe, Instant)>,
    to_send: VecDeque<Probe>,
    /// What was found and not yet been told.
    found: Option<u16>,
    /// How often what is larger than before is to be told again: who missed it keeps to less.
    retells: u8,
    /// What may be too small because of somebody's word while nothing was sent: the smallest size of which
    /// it says that it does not pass.
    doubt: Option<u16>,
    /// When it is to be told again: whoever keeps it forgets it in the end.
    tell_at: Instant,
    /// How long an answer takes, smoothed (RFC 6298 §2 without the variance).
    round_trip: Option<Duration>,
    /// What had been sent when the size was last tried, and when that was.
    tried: Option<(Sent, Instant)>,
    /// Whether nothing was answered then.
    is_silent: bool,
    /// Whether a probe of the size in force was ever answered on this path.
    is_proven: bool,
    /// What had been sent at the last look, and when that last had become more.
    seen: (Sent, Instant),
    /// When a larger size is to be tried again.
    raise_at: Instant,
    /// How long to wait after a round without any answer.
    patience: Duration,
}

#[derive(Clone, Copy, Debug)]
enum Phase {
    /// Nothing passes, so nothing is probed.
    Asleep,
    /// Whether the size in force still passes.
    Confirming(Round),
    /// Whether another one does.
    Searching(Round, Span),
    /// The size in force is right as far as is known.
    Complete {
        /// When to look whether it is to be confirmed.
        look_at: Instant,
    },
}

/// Tries of one size.
#[derive(Clone, Copy, Debug)]
struct Round {
    size: u16,
    /// How often it was sent.
    tries: u8,
    /// When to send it again, or to give it up.
    next: Instant,
    /// Nonces above this are of the round.
    after: u64,
    /// The largest size that was answered in the round; `None` if none was.
    answered: Option<u16>,
}

/// What is known in a search.
#[derive(Clone, Copy, Debug)]
struct Span {
    /// The largest that passes.
    proven: u16,
    /// The smallest that does not.
    failed: u16,
}

impl Prober {
    /// A prober of a path that is believed to take `current` octets. It sleeps until it is woken.
    pub(crate) fn new(bounds: Bounds, current: u16, now: Instant) -> Self {
        Self {
            bounds,
            phase: Phase::Asleep,
            current: current.clamp(bounds.floor, bounds.link.max(bounds.floor)),
            last_nonce: 0,
            flight: VecDeque::new(),
            to_send: VecDeque::new(),
            found: None,
            retells: 0,
            doubt: None,
            tell_at: later(now, TELL.min(bounds.ageing / 3)),
            round_trip: None,
            tried: None,
            is_silent: false,
            is_proven: false,
            seen: (Sent::default(), now),
            raise_at: later(now, RAISE),
            patience: PATIENCE_MIN,
        }
    }

    /// Something is sent again. What was confirmed just now holds on, else it is confirmed at once.
    pub(crate) fn wake(&mut self, now: Instant) {
        if !self.is_asleep() {
            return;
        }
        self.seen.1 = now;
        if let Some(failed) = self.doubt.take() {
            self.tried = Some((self.seen.0, now));
            return self.search(Span { proven: self.current, failed }, now);
        }
        let is_fresh = |at: Instant| now < later(at, CONFIRM_SELDOM);
        match self.tried {
            Some((_, at)) if is_fresh(at) => self.rest(now),
            _ => self.confirm(self.seen.0, now),
        }
    }

    /// Whether it does nothing until it is woken.
    pub(crate) fn is_asleep(&self) -> bool {
        matches!(self.phase, Phase::Asleep)
    }

    /// Octets of the largest outer packet that is sent.
    pub(crate) fn current(&self) -> u16 {
        self.current
    }

    /// Whether a probe of that size was ever answered on this path.
    pub(crate) fn is_proven(&self) -> bool {
        self.is_proven
    }

    /// Octets of the longest probe that was answered of late while none of the size in force was, though that
    /// was tried more than once; zero if only the shortest was. `None` if nothing is in doubt.
    pub(crate) fn passes_instead(&self) -> Option<u16> {
        match self.phase {
            Phase::Confirming(round) if round.tries > 1 => round.answered,
            Phase::Asleep
            | Phase::Confirming(_)
            | Phase::Searching(..)
            | Phase::Complete { .. } => None,
        }
    }

    /// What is known of the path apart from probes may have changed.
    pub(crate) fn set_bounds(&mut self, bounds: Bounds, now: Instant) {
        if bounds.link > self.bounds.link {
            self.raise_at = now;
        }
        self.bounds = bounds;
    }

    /// Somebody else says what the path takes. Whoever it is may be wrong, so what lies above is tried
    /// again at once: a false report does harm for the time of a search. What is larger has to prove
    /// itself.
    pub(crate) fn handle_report(&mut self, mtu: u16, now: Instant) {
        let mtu = mtu.clamp(self.bounds.floor, self.bounds.link.max(self.bounds.floor));
        if mtu == self.current {
            return;
        }
        let is_less = mtu < self.current;
        let failed = self.current.saturating_add(1);
        self.current = mtu;
        match (self.is_asleep(), is_less) {
            (true, true) => self.doubt = self.doubt.max(Some(failed)),
            (true, false) => (self.doubt, self.tried) = (None, None),
            (false, true) => self.search(Span { proven: mtu, failed }, now),
            (false, false) => self.confirm(self.seen.0, now),
        }
    }

    /// The peer says that packets come in fragments. Not only a path that takes less makes those, so the
    /// size in force has to prove itself.
    pub(crate) fn handle_fragments(&mut self, now: Instant) {
        let is_new = |(_, at): (Sent, Instant)| now < later(at, CONFIRM);
        match self.phase {
            Phase::Asleep => self.tried = None,
            Phase::Complete { .. } if !self.tried.is_some_and(is_new) => {
                self.confirm(self.seen.0, now);
            }
            Phase::Complete { .. } | Phase::Confirming(_) | Phase::Searching(..) => {}
        }
    }

    /// The path is another one, of which this is known: that has to prove itself, and then larger sizes
    /// may.
    pub(crate) fn handle_new_path(&mut self, mtu: u16, now: Instant) {
        self.current = mtu.clamp(self.bounds.floor, self.bounds.link.max(self.bounds.floor));
        (self.doubt, self.found, self.retells) = (None, None, 0);
        self.flight.clear();
        self.to_send.clear();
        self.round_trip = None;
        self.patience = PATIENCE_MIN;
        self.is_proven = false;
        (self.tried, self.raise_at) = (None, now);
        if !self.is_asleep() {
            self.confirm(self.seen.0, now);
        }
    }

    /// Takes an answer. One to a probe that is not known any more says nothing.
    pub(crate) fn handle_answer(&mut self, nonce: u64, now: Instant) {
        let place = self.flight.iter().position(|(probe, _)| probe.nonce == nonce);
        let Some((probe, sent)) = place.and_then(|place| self.flight.remove(place)) else {
            return;
        };
        self.note_round_trip(now.saturating_duration_since(sent));
        (self.patience, self.is_silent) = (PATIENCE_MIN, false);
        let wait = self.wait();
        let (Phase::Confirming(round) | Phase::Searching(round, _)) = &mut self.phase else {
            return;
        };
        if probe.nonce <= round.after {
            return;
        }
        round.answered = round.answered.max(Some(probe.size));
        if probe.size < round.size {
            // How long an answer takes is known now, perhaps for the first time.
            round.next = round.next.min(later(sent, wait));
            return;
        }
        match self.phase {
            Phase::Confirming(_) => self.confirmed(now),
            Phase::Searching(_, span) => {
                self.settle(probe.size, now);
                self.search(Span { proven: probe.size, ..span }, now);
            }
            Phase::Asleep | Phase::Complete { .. } => {}
        }
    }

    /// Looks what is due.
    pub(crate) fn handle_timeout(&mut self, sent: Sent, now: Instant) {
        let is_used = sent != self.seen.0;
        if is_used {
            self.seen = (sent, now);
        }
        match self.phase {
            // By others, whose packets do not wake it.
            Phase::Asleep if is_used => self.wake(now),
            Phase::Asleep => {}
            Phase::Confirming(round) => self.go_on(round, CONFIRM_TRIES_MAX, now),
            Phase::Searching(round, _) => self.go_on(round, PROBES_MAX, now),
            Phase::Complete { look_at } if now >= look_at => self.look(sent, now),
            Phase::Complete { .. } => {}
        }
    }

    /// When [`Self::handle_timeout`] is wanted; never while it is asleep.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        match self.phase {
            Phase::Asleep => None,
            Phase::Confirming(round) | Phase::Searching(round, _) => Some(round.next),
            Phase::Complete { look_at } => Some(look_at),
        }
    }

    /// The next probe to send.
    pub(crate) fn poll_probe(&mut self) -> Option<Probe> {
        self.to_send.pop_front()
    }

    /// What the path takes, if that is news.
    pub(crate) fn poll_found(&mut self) -> Option<u16> {
        self.found.take()
    }

    /// Tries the size of a round again, or ends the round.
    fn go_on(&mut self, mut round: Round, tries_max: u8, now: Instant) {
        if now < round.next {
            return;
        }
        if round.tries >= tries_max {
            return self.give_up(round, now);
        }
        self.send(round.size, now);
        // Shorter ones tell a path that is down, or loses much, from one that takes less, and at first how
        // long answers take.
        if round.tries > 0 || self.round_trip.is_none() {
            let base = BASE.max(self.bounds.floor);
            if base < round.size {
                self.send(base, now);
            }
            self.send(0, now);
        }
        round.tries = round.tries.saturating_add(1);
        round.next = later(now, self.wait());
        match &mut self.phase {
            Phase::Confirming(at) | Phase::Searching(at, _) => *at = round,
            Phase::Asleep | Phase::Complete { .. } => {}
        }
    }

    /// A size was not answered as often as it may be lost by chance.
    fn give_up(&mut self, round: Round, now: Instant) {
        let Some(answered) = round.answered else {
            let is_known = self.round_trip.is_some();
            let max = if is_known { PATIENCE_MAX } else { PATIENCE_UNKNOWN_MAX };
            self.patience = self.patience.saturating_mul(2).min(max);
            self.is_silent = true;
            self.phase = Phase::Complete { look_at: later(now, self.patience) };
            return;
        };
        match self.phase {
            // A black hole (RFC 8899 §4.3).
            Phase::Confirming(_) => {
                let proven = answered.max(self.bounds.floor);
                self.settle(proven, now);
                self.raise_at = later(now, RAISE);
                self.search(Span { proven, failed: round.size }, now);
            }
            Phase::Searching(_, span) => {
                self.search(Span { failed: round.size, ..span }, now);
            }
            Phase::Asleep | Phase::Complete { .. } => {}
        }
    }

    /// Nothing is under way: decides whether to confirm or to sleep.
    fn look(&mut self, sent: Sent, now: Instant) {
        if now.saturating_duration_since(self.seen.1) >= IDLE {
            self.phase = Phase::Asleep;
            self.flight.clear();
            return;
        }
        let (tried, tried_at) = self.tried.unwrap_or_else(|| (Sent::default(), now));
        let new = sent.since(tried);
        let is_long_ago = now >= later(tried_at, CONFIRM_SELDOM);
        if new.is_much(self.current) || (new.packets > 0 && (is_long_ago || self.is_silent)) {
            self.confirm(sent, now);
        } else {
            self.rest(now);
        }
    }

    /// Tries the size in force.
    fn confirm(&mut self, sent: Sent, now: Instant) {
        self.tried = Some((sent, now));
        let round = self.round(self.current, now);
        self.phase = Phase::Confirming(round);
        self.go_on(round, CONFIRM_TRIES_MAX, now);
    }

    /// Tries the next size that may be right, or is content.
    fn search(&mut self, span: Span, now: Instant) {
        match candidate(span, self.bounds.link) {
            Some(size) => {
                let round = self.round(size, now);
                self.phase = Phase::Searching(round, span);
                self.go_on(round, PROBES_MAX, now);
            }
            None => self.rest(now),
        }
    }

    /// Tries whatever is larger.
    fn raise(&mut self, now: Instant) {
        self.raise_at = later(now, RAISE);
        let span = Span { proven: self.current, failed: self.above_link() };
        self.search(span, now);
    }

    fn rest(&mut self, now: Instant) {
        self.phase = Phase::Complete { look_at: later(now, CONFIRM) };
    }

    /// The size in force has passed again.
    fn confirmed(&mut self, now: Instant) {
        self.is_proven = true;
        let is_wanted = self.current < self.bounds.link || self.retells > 0;
        if is_wanted && now >= self.tell_at {
            self.retells = self.retells.saturating_sub(1);
            self.tell(now);
        }
        if now >= self.raise_at {
            self.raise(now);
        } else {
            self.rest(now);
        }
    }

    fn settle(&mut self, size: u16, now: Instant) {
        if self.current != size {
            self.retells = if size > self.current { RETELLS } else { 0 };
            self.current = size;
            self.tell(now);
        }
    }

    fn tell(&mut self, now: Instant) {
        self.found = Some(self.current);
        let often = if self.retells > 0 { RETELL } else { TELL };
        self.tell_at = later(now, often.min(self.bounds.ageing / 3));
    }

    fn round(&self, size: u16, now: Instant) -> Round {
        Round { size, tries: 0, next: now, after: self.last_nonce, answered: None }
    }

    fn send(&mut self, size: u16, now: Instant) {
        self.last_nonce = self.last_nonce.wrapping_add(1);
        let probe = Probe { nonce: self.last_nonce, size };
        if self.flight.len() >= FLIGHT_MAX {
            self.flight.pop_front();
        }
        self.flight.push_back((probe, now));
        self.to_send.push_back(probe);
    }

    fn above_link(&self) -> u16 {
        self.bounds.link.saturating_add(1)
    }

    /// How long an answer is waited for.
    fn wait(&self) -> Duration {
        let wait = self.round_trip.map_or(WAIT_FIRST, |round_trip| round_trip.saturating_mul(3));
        wait.clamp(WAIT_MIN, WAIT_MAX)
    }

    fn note_round_trip(&mut self, sample: Duration) {
        let smooth = |old: Duration| (old.saturating_mul(7).saturating_add(sample)) / 8;
        self.round_trip = Some(self.round_trip.map_or(sample, smooth));
    }
}

/// The size to try next: the middle one of the usual ones that may be right, else the middle of what is
/// left. While nothing has failed the link's own is the likeliest.
fn candidate(Span { proven, failed }: Span, link: u16) -> Option<u16> {
    if failed > link {
        return (link > proven).then_some(link);
    }
    let is_open = |size: &u16| *size > proven && *size < failed && *size <= link;
    let open = || SIZES.iter().copied().filter(is_open);
    if let Some(size) = open().nth(open().count().saturating_sub(1) / 2) {
        return Some(size);
    }
    let gap = failed.saturating_sub(proven);
    (gap > GRAIN).then(|| proven.saturating_add(gap / 2) & !0b11).filter(|size| *size > proven)
}

fn later(at: Instant, by: Duration) -> Instant {
    at.checked_add(by).unwrap_or(at)
}

/// RFC 8899 §5.1.2: BASE_PLPMTU is what should pass nearly everywhere. For both families 1,280.
pub(crate) const BASE: u16 = 1_280;
/// What links have: IPv6's least, tunnels over tunnels, PPPoE, Ethernet, FDDI and jumbo frames.
const SIZES: [u16; 13] =
    [1_006, 1_280, 1_380, 1_400, 1_420, 1_440, 1_454, 1_472, 1_492, 1_500, 4_352, 8_166, 9_000];
/// What is left is not worth another probe.
const GRAIN: u16 = 16;
/// RFC 8899 §5.1.2: MAX_PROBES.
const PROBES_MAX: u8 = 3;
/// Tries of the size in force before it is a black hole. With a tenth of all packets lost in each
/// direction that many answers are missing once in a hundred thousand rounds.
const CONFIRM_TRIES_MAX: u8 = 7;
/// RFC 8899 §5.1.1: the confirmation timer, while much is sent. Together with the tries this bounds
/// how long a black hole lasts.
const CONFIRM: Duration = Duration::from_secs(1);
/// The same while little is sent.
const CONFIRM_SELDOM: Duration = Duration::from_secs(15);
/// Packets of the size in force whose octets are much.
const PACKETS_OF_NOTE: u64 = 8;
/// RFC 8899 §5.1.1: PMTU_RAISE_TIMER is 600 s.
const RAISE: Duration = Duration::from_secs(600);
/// From one time that a size is told to the next, at most: a third of the time that it is believed, which
/// is ten minutes if nobody says otherwise.
const TELL: Duration = Duration::from_secs(200);
/// The same after it has become larger, and how often.
const RETELL: Duration = Duration::from_secs(5);
const RETELLS: u8 = 3;
/// Nothing is probed, nor is there a timer, if nothing was sent for so long.
const IDLE: Duration = Duration::from_secs(5);
/// How long an answer is waited for before the first has come, and at least and at most. All tries of a
/// size at the least are over before TCP tries its segment for the fourth time, 1.4 s after the first
/// (RFC 6298 §5.5, of 0.2 s at first): it has not to wait for the fifth.
const WAIT_FIRST: Duration = Duration::from_millis(300);
const WAIT_MIN: Duration = Duration::from_millis(150);
const WAIT_MAX: Duration = Duration::from_secs(1);
/// From the end of a round that had no answer at all to the next.
const PATIENCE_MIN: Duration = Duration::from_secs(1);
const PATIENCE_MAX: Duration = Duration::from_secs(8);
/// The same if no probe was ever answered: it may be that none will be.
const PATIENCE_UNKNOWN_MAX: Duration = Duration::from_secs(120);
/// Probes that are remembered.
const FLIGHT_MAX: usize = 32;

#[cfg(test)]
mod tests;
