//! Two peers, a network and a clock.

use std::time::{Duration, Instant};

use adit_crypto::SystemRng;

use crate::Seed;
use crate::ladder::{Fate, Ladder, MessageView};
use crate::network::{Letter, Network};
use crate::peer::{Child, KeyStore, Peer, Randomness};
use crate::setup::{LEFT, RIGHT, Setup};

/// One of the two.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Side {
    /// Initiates in most tests.
    Left,
    /// Answers in most tests.
    Right,
}

impl Side {
    /// The other one.
    #[must_use]
    pub fn other(self) -> Self {
        match self {
            Self::Left => Self::Right,
            Self::Right => Self::Left,
        }
    }
}

/// Two peers in virtual time.
///
/// Orders to [`Pair::left`] and [`Pair::right`] take effect at once, but what they send travels
/// only while the clock runs: [`Pair::run_until_idle`], [`Pair::run_for`], [`Pair::step`].
#[derive(Debug)]
pub struct Pair {
    /// One side.
    pub left: Peer,
    /// The other side.
    pub right: Peer,
    /// What is between them.
    pub network: Network,
    /// The first configured child.
    pub child: Child,
    ladder: Ladder,
    start: Instant,
    now: Instant,
    /// When the last IKE message was sent.
    last_message: Instant,
    steps_at_this_instant: u32,
    messages_sent: u64,
}

/// Nothing sent for so long, and nothing due: longer than any wait between retransmissions.
const QUIET: Duration = Duration::from_secs(25);

/// Time in which a pair must have become quiet.
const IDLE_WITHIN: Duration = Duration::from_secs(3_600);

/// Time in which a tunnel must have come up.
const UP_WITHIN: Duration = Duration::from_secs(60);

/// Steps without progress of the clock: a timer that is due again and again.
const STEPS_PER_INSTANT_MAX: u32 = 2_000;

impl Pair {
    pub(crate) fn new(setup: Setup) -> Self {
        let start = origin();
        let seed = setup.seed;
        let mut network = Network::new(LEFT, setup.faults, seed.part(0));
        network.nat = setup.nat;
        let randomness = |part| match setup.system_randomness {
            false => Randomness::Seeded(Box::new(seed.part(part))),
            true => Randomness::System(SystemRng),
        };
        let now = setup.calendar;
        let later = setup.later_secret;
        let ppks_of = setup.ppks_of;
        let keys = |own, ppk, credentials| {
            KeyStore::new((own, later.clone()), (ppk, &ppks_of), credentials, now)
        };
        let left_keys = keys(setup.left_secret, setup.left_ppk, setup.left_credentials);
        let right_keys = keys(setup.right_secret, setup.right_ppk, setup.right_credentials);
        let peer = |side, config, connection, keys, address, part| {
            Peer::new(side, config, connection, keys, address, randomness(part), start)
        };
        let (left, right) = (Side::Left, Side::Right);
        Self {
            left: peer(left, setup.left_config, setup.left, left_keys, LEFT, 1),
            right: peer(right, setup.right_config, setup.right, right_keys, RIGHT, 2),
            network,
            child: Child(0),
            ladder: Ladder::default(),
            start,
            now: start,
            last_message: start,
            steps_at_this_instant: 0,
            messages_sent: 0,
        }
    }

    /// Two peers with an IKE SA and one child, initiated by the left side.
    ///
    /// # Panics
    ///
    /// If that does not come about.
    pub fn established(seed: Seed) -> Self {
        Setup::new(seed).pair().up()
    }

    /// Lets the left side initiate the first child, and runs until it is there.
    ///
    /// # Panics
    ///
    /// If it does not come.
    #[must_use]
    pub fn up(mut self) -> Self {
        let request = self.left.initiate(self.child);
        self.run_until(UP_WITHIN, |pair| {
            pair.left.result(request).is_some() && pair.network.messages_under_way() == 0
        });
        let result = self.left.result(request);
        assert!(matches!(result, Some(Ok(()))), "not up: {result:?}\n{}", self.ladder);
        assert_eq!(self.left.child_sas(), self.right.child_sas().mirrored(), "{}", self.ladder);
        self
    }

    /// One side has these addresses from now on, that which routes prefer first. What is under way to
    /// one that it has no more still arrives.
    pub fn move_to(&mut self, side: Side, addresses: &[&str]) {
        let parsed = addresses.iter().map(|text| text.parse().expect("an address"));
        let addresses: Vec<std::net::IpAddr> = parsed.collect();
        self.flush();
        self.network.set_addresses(side, &addresses);
        self.peer(side).set_addresses(&addresses);
    }

    /// The peer of one side.
    pub fn peer(&mut self, side: Side) -> &mut Peer {
        match side {
            Side::Left => &mut self.left,
            Side::Right => &mut self.right,
        }
    }

    /// What went over the network so far.
    pub fn ladder(&self) -> &Ladder {
        &self.ladder
    }

    /// Writes a line into the ladder.
    pub fn note(&mut self, side: Side, text: impl std::fmt::Display) {
        self.ladder.note(self.elapsed(), side, text);
    }

    /// Time since the run began.
    pub fn elapsed(&self) -> Duration {
        self.now.saturating_duration_since(self.start)
    }

    /// IKE messages sent so far, each fragment counted.
    pub fn messages_sent(&self) -> u64 {
        self.messages_sent
    }

    /// Runs until nobody has anything to say: no IKE message for a while, none due soon.
    ///
    /// # Panics
    ///
    /// If that takes more than an hour of virtual time.
    pub fn run_until_idle(&mut self) {
        let limit = self.now + IDLE_WITHIN;
        self.flush();
        self.last_message = self.now;
        while let Some(next) = self.next_event() {
            let busy = self.network.messages_under_way() > 0
                || self.left.has_jobs()
                || self.right.has_jobs();
            if !busy && next > self.last_message + QUIET {
                return;
            }
            assert!(next < limit, "no end of it\n{}", self.ladder);
            self.step();
        }
    }

    /// Lets so much time pass.
    pub fn run_for(&mut self, time: Duration) {
        let end = self.now + time;
        self.flush();
        while self.next_event().is_some_and(|next| next <= end) {
            self.step();
        }
        self.set_clock(end);
    }

    /// Runs until `done` says so; whether it did within `time`.
    pub fn run_until(&mut self, time: Duration, done: impl Fn(&Self) -> bool) -> bool {
        let end = self.now + time;
        self.flush();
        loop {
            if done(self) {
                return true;
            }
            if self.next_event().is_none_or(|next| next > end) {
                self.set_clock(end);
                return done(self);
            }
            self.step();
        }
    }

    /// Goes to the next event: an arrival, a timer or the end of a job. `false` if there is none.
    ///
    /// # Panics
    ///
    /// If a timer is due again and again without end.
    pub fn step(&mut self) -> bool {
        self.flush();
        let Some(next) = self.next_event() else {
            return false;
        };
        self.set_clock(next.max(self.now));
        self.steps_at_this_instant += 1;
        assert!(
            self.steps_at_this_instant < STEPS_PER_INSTANT_MAX,
            "the clock stands still\n{}",
            self.ladder
        );
        if let Some(arrival) = self.network.arrival(self.now) {
            self.peer(arrival.to).arrived(arrival);
        } else {
            self.left.timeout();
            self.right.timeout();
        }
        self.flush();
        true
    }

    /// Breaks every TCP connection.
    pub fn break_tcp(&mut self) {
        self.flush();
        self.network.break_tcp(self.now);
    }

    fn next_event(&self) -> Option<Instant> {
        let events =
            [self.network.next_arrival(), self.left.next_timeout(), self.right.next_timeout()];
        events.into_iter().flatten().min()
    }

    fn set_clock(&mut self, now: Instant) {
        if now > self.now {
            self.steps_at_this_instant = 0;
        }
        self.now = now;
        self.left.now = now;
        self.right.now = now;
    }

    /// Puts what the peers have sent on its way.
    fn flush(&mut self) {
        for side in [Side::Left, Side::Right] {
            while let Some((path, letter)) = self.peer(side).outbox.pop_front() {
                if let Letter::TcpLost(_) = letter {
                    self.network.hang_up(path);
                    continue;
                }
                let view = match &letter {
                    Letter::Ike(octets) => MessageView::read(side, octets),
                    Letter::Esp { .. } | Letter::Keepalive | Letter::TcpLost(_) => None,
                };
                let fate = self.network.send(side, path, letter, self.now);
                if let Some(view) = view {
                    self.record(view, fate);
                }
            }
        }
    }

    fn record(&mut self, view: MessageView, fate: Fate) {
        self.last_message = self.now;
        self.messages_sent += 1;
        self.ladder.message(self.elapsed(), view, fate);
    }
}

#[expect(clippy::disallowed_methods, reason = "any instant is as good as the origin of a run")]
fn origin() -> Instant {
    Instant::now()
}
