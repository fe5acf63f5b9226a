//! Random lives of two gateways: whatever happens, they end with one tunnel or a named error.
//!
//! A run draws a [`Scenario`] from its seed, plays random operations on a bad network, and then
//! waits: first with the faults still on, then with a good network. What must hold, always or at
//! the end, is a [`Violation`] if it does not.

mod scenario;

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use adit_crypto::SeededRng;
use adit_ike::{Event, IkeSaInfo, IkeSaState};

use crate::Seed;
use crate::draw::Draw as _;
use crate::network::Faults;
use crate::pair::{Pair, Side};
use crate::peer::{Child, Peer};
use scenario::{Disagreement, Operation, Scenario};

/// What a run may do.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Profile {
    /// Most datagrams lost, in percent.
    pub loss_percent_max: u8,
    /// Most datagrams repeated, in percent.
    pub duplicate_percent_max: u8,
    /// Longest way of a datagram; the shortest is 5 ms, so they overtake each other.
    pub delay_max: Duration,
    /// Most operations of one run.
    pub operations_max: u32,
}

impl Default for Profile {
    fn default() -> Self {
        Self {
            loss_percent_max: 30,
            duplicate_percent_max: 20,
            delay_max: Duration::from_millis(400),
            operations_max: 12,
        }
    }
}

/// What became of one seed.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The seed.
    pub seed: Seed,
    /// What was played.
    pub scenario: String,
    /// How it went.
    pub result: Result<Summary, Violation>,
    /// What went over the network, operations between.
    pub ladder: String,
}

/// Numbers of a run that went well.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Summary {
    /// Virtual time.
    pub elapsed: Duration,
    /// IKE datagrams sent.
    pub messages: u64,
    /// IKE SAs that came up on the left side.
    pub ike_sas: usize,
    /// IKE SAs and child SAs that got new keys on the left side.
    pub rekeys: usize,
    /// Failures reported on both sides.
    pub failures: usize,
}

/// What must not happen.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Violation {
    /// Code panicked.
    Panic(String),
    /// A side holds more than any sequence of events explains.
    Unbounded {
        /// Which side.
        side: Side,
        /// IKE SAs.
        ike_sas: usize,
        /// Installed child SAs.
        child_sas: usize,
    },
    /// The two sides did not end with one IKE SA and the wanted children, both with the same keys.
    NotConverged {
        /// Whether the network was good by then.
        healed: bool,
        /// What there is instead.
        state: String,
    },
    /// They had converged, and on a good network did not stay so.
    NotStable(String),
    /// Peers that cannot agree did not say why, or said something else.
    NoNamedError {
        /// Error codes of which one was due.
        expected: &'static [u16],
        /// Codes that were reported.
        reported: Vec<u16>,
    },
    /// Peers that cannot agree have a child.
    UnwantedChild(String),
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Panic(message) => write!(f, "panic: {message}"),
            Self::Unbounded { side, ike_sas, child_sas } => {
                write!(f, "{side:?} holds {ike_sas} IKE SAs and {child_sas} child SAs")
            }
            Self::NotConverged { healed, state } => {
                let network = if *healed { "good" } else { "bad" };
                write!(f, "not converged on a {network} network\n{state}")
            }
            Self::NotStable(state) => write!(f, "converged, but did not stay so\n{state}"),
            Self::NoNamedError { expected, reported } => {
                write!(f, "one of {expected:?} was due, reported were {reported:?}")
            }
            Self::UnwantedChild(state) => write!(f, "a child that cannot be\n{state}"),
        }
    }
}

/// Plays one seed.
pub fn run_seed(seed: Seed, profile: Profile) -> Outcome {
    let mut rng = seed.part(3);
    let scenario = Scenario::draw(&mut rng, profile);
    let mut pair = scenario.setup(seed).pair();
    let result = catch_unwind(AssertUnwindSafe(|| Run::new(&scenario, &mut rng).play(&mut pair)));
    let result = result.unwrap_or_else(|panic| Err(Violation::Panic(panic_message(&*panic))));
    Outcome {
        seed,
        scenario: scenario.to_string(),
        result: result.map(|()| summary(&pair)),
        ladder: pair.ladder().to_string(),
    }
}

/// Time to converge while the network is still bad.
const CONVERGE_WITHIN: Duration = Duration::from_secs(1_800);
/// Time to converge once it is good: dead peers must be noticed and replaced meanwhile.
const HEAL_WITHIN: Duration = Duration::from_secs(400);
/// How long a converged pair is watched.
const WATCH: Duration = Duration::from_secs(100);
/// A rekeying takes at most so long on a good network.
const REKEY_WITHIN: Duration = Duration::from_secs(30);
/// Most IKE SAs a side may hold, old, new, half-open and closing ones.
const IKE_SAS_MAX: usize = 12;
/// Most installed child SAs of one configured child, those in their grace included.
const CHILD_SAS_MAX: usize = 12;

struct Run<'a> {
    scenario: &'a Scenario,
    rng: &'a mut SeededRng,
}

impl<'a> Run<'a> {
    fn new(scenario: &'a Scenario, rng: &'a mut SeededRng) -> Self {
        Self { scenario, rng }
    }

    fn play(&mut self, pair: &mut Pair) -> Result<(), Violation> {
        for _ in 0..self.scenario.operations {
            let pause = Duration::from_millis(self.rng.below(15_000));
            self.run_for(pair, pause)?;
            self.operate(pair)?;
        }
        match self.scenario.disagreement {
            None => self.converge(pair),
            Some(disagreement) => self.disagree(pair, disagreement),
        }
    }

    fn operate(&mut self, pair: &mut Pair) -> Result<(), Violation> {
        let side = if self.rng.percent(50) { Side::Left } else { Side::Right };
        let child = self.scenario.any_child(self.rng);
        let operation = Operation::draw(self.rng);
        pair.note(side, format_args!("{operation:?}"));
        let config = self.scenario.config(side);
        let peer = pair.peer(side);
        match operation {
            Operation::RekeyChild => peer.rekey_child(child),
            Operation::RekeyIke => peer.rekey_ike(),
            Operation::RekeyBoth => {
                peer.rekey_child(child);
                pair.peer(side.other()).rekey_child(child);
            }
            Operation::RekeyIkeBoth => {
                peer.rekey_ike();
                pair.peer(side.other()).rekey_ike();
            }
            Operation::TerminateChild => peer.terminate_child(child),
            Operation::TerminateIke => peer.terminate_ike(),
            Operation::TerminateBoth => {
                peer.terminate_child(child);
                pair.peer(side.other()).terminate_child(child);
            }
            Operation::Initiate => {
                peer.initiate(child);
            }
            Operation::Packet => peer.send_packet(child),
            Operation::SoftExpire => peer.expire_softly(child),
            Operation::HardExpire => peer.expire(child),
            Operation::Crash => peer.crash(config),
            Operation::Remap => {
                if let Some(nat) = &mut pair.network.nat {
                    nat.forget();
                }
            }
            Operation::Cut => {
                pair.network.cut = true;
                let pause = Duration::from_millis(self.rng.below(90_000));
                self.run_for(pair, pause)?;
                pair.network.cut = false;
            }
        }
        Ok(())
    }

    /// Asks for everything wanted, then waits on a bad and on a good network.
    fn converge(&mut self, pair: &mut Pair) -> Result<(), Violation> {
        for side in self.scenario.keepers() {
            pair.note(side, "wants everything");
            for child in self.scenario.children() {
                pair.peer(side).initiate(child);
            }
        }
        self.run_until_converged(pair, CONVERGE_WITHIN, false)?;
        pair.note(Side::Left, "the network is good from here on");
        pair.network.faults = Faults::NONE;
        self.run_until_converged(pair, HEAL_WITHIN, true)?;
        self.run_for(pair, WATCH)?;
        let wanted = self.scenario.children().count();
        if pair.run_until(REKEY_WITHIN, |pair| is_converged(pair, wanted)) {
            Ok(())
        } else {
            Err(Violation::NotStable(state(pair)))
        }
    }

    fn run_until_converged(
        &mut self,
        pair: &mut Pair,
        time: Duration,
        healed: bool,
    ) -> Result<(), Violation> {
        let wanted = self.scenario.children().count();
        let end = pair.elapsed() + time;
        while pair.elapsed() < end {
            if pair.run_until(SLICE, |pair| is_converged(pair, wanted)) {
                return Ok(());
            }
            self.check_bounds(pair)?;
        }
        Err(Violation::NotConverged { healed, state: state(pair) })
    }

    /// Waits until peers that cannot agree have said so, on the bad network.
    fn disagree(&mut self, pair: &mut Pair, disagreement: Disagreement) -> Result<(), Violation> {
        for side in self.scenario.keepers() {
            for child in self.scenario.children() {
                pair.peer(side).initiate(child);
            }
        }
        let expected = disagreement.codes(self.scenario.nat);
        let has_named_it = |peer: &Peer| codes(peer).iter().any(|code| expected.contains(code));
        let said = |pair: &Pair| self.scenario.keepers().all(|side| has_named_it(peer(pair, side)));
        if !pair.run_until(CONVERGE_WITHIN, said) {
            let reported = [&pair.left, &pair.right].into_iter().flat_map(codes).collect();
            return Err(Violation::NoNamedError { expected, reported });
        }
        pair.network.faults = Faults::NONE;
        self.run_for(pair, WATCH)?;
        match pair.left.child_sas().is_empty() && pair.right.child_sas().is_empty() {
            true => Ok(()),
            false => Err(Violation::UnwantedChild(state(pair))),
        }
    }

    fn run_for(&mut self, pair: &mut Pair, time: Duration) -> Result<(), Violation> {
        let end = pair.elapsed() + time;
        while pair.elapsed() < end {
            pair.run_for(SLICE.min(end - pair.elapsed()));
            self.check_bounds(pair)?;
        }
        Ok(())
    }

    fn check_bounds(&self, pair: &Pair) -> Result<(), Violation> {
        let children = self.scenario.children().count();
        for side in [Side::Left, Side::Right] {
            let peer = peer(pair, side);
            let (ike_sas, child_sas) = (peer.ike_sas().len(), peer.installed());
            if ike_sas > IKE_SAS_MAX || child_sas > CHILD_SAS_MAX * children {
                return Err(Violation::Unbounded { side, ike_sas, child_sas });
            }
        }
        Ok(())
    }
}

/// How often bounds are checked.
const SLICE: Duration = Duration::from_secs(1);

/// One IKE SA, the same on both sides, with the wanted children, the same on both sides.
fn is_converged(pair: &Pair, children: usize) -> bool {
    let (left, right) = (pair.left.child_sas(), pair.right.child_sas());
    if left.len() != children || left != right.mirrored() {
        return false;
    }
    let (left, right) = (pair.left.ike_sas(), pair.right.ike_sas());
    let ([left], [right]) = (left.as_slice(), right.as_slice()) else {
        return false;
    };
    let is_whole =
        |ike: &IkeSaInfo| ike.state == IkeSaState::Established && ike.children.len() == children;
    is_whole(left) && is_whole(right) && (left.spi_i, left.spi_r) == (right.spi_i, right.spi_r)
}

fn peer(pair: &Pair, side: Side) -> &Peer {
    match side {
        Side::Left => &pair.left,
        Side::Right => &pair.right,
    }
}

/// Codes of all failures that one side reported.
fn codes(peer: &Peer) -> Vec<u16> {
    let mut codes: Vec<u16> = peer.failures().filter_map(|reason| reason.code()).collect();
    codes.sort_unstable();
    codes.dedup();
    codes
}

fn summary(pair: &Pair) -> Summary {
    let count = |wanted: fn(&Event) -> bool| {
        pair.left.events().iter().filter(|event| wanted(event)).count()
    };
    let is_rekey =
        |event: &Event| matches!(event, Event::IkeRekeyed { .. } | Event::ChildRekeyed { .. });
    Summary {
        elapsed: pair.elapsed(),
        messages: pair.messages_sent(),
        ike_sas: count(|event| matches!(event, Event::IkeUp(_))),
        rekeys: count(is_rekey),
        failures: pair.left.failures().count() + pair.right.failures().count(),
    }
}

/// What both sides hold, for people.
fn state(pair: &Pair) -> String {
    let mut lines = Vec::new();
    for side in [Side::Left, Side::Right] {
        let peer = peer(pair, side);
        lines.push(format!("{side:?} at {:.3} s:", pair.elapsed().as_secs_f64()));
        for ike in peer.ike_sas() {
            let role = if ike.initiator { "initiator" } else { "responder" };
            lines
                .push(format!("  IKE {} {}/{} {} {role}", ike.id, ike.spi_i, ike.spi_r, ike.state));
            for child in &ike.children {
                let (spi_in, spi_out) = (child.spi_in, child.spi_out);
                let (id, name, state) = (child.id, &child.name, child.state);
                lines.push(format!("    child {id} {name} in {spi_in} out {spi_out} {state}"));
            }
        }
        for sa in peer.child_sas().iter() {
            lines.push(format!("  engine in {} out {}", sa.spi_in, sa.spi_out));
        }
    }
    lines.join("\n")
}

pub(crate) fn panic_message(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("unknown").to_owned()
}

impl Scenario {
    /// All configured children.
    fn children(&self) -> impl Iterator<Item = Child> {
        (0..self.children).map(Child)
    }
}
