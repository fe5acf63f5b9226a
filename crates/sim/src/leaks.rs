//! Random lives of one gateway's packet engine, and a sniffer on its outside: whatever is done to
//! policies and child SAs, in whatever order, nothing that a policy protects or discards leaves in
//! clear.
//!
//! A run draws policies, commands and packets from its seed. The far end has the other halves of
//! all SAs: it opens what leaves, which must give the packet that was sent, and sends what it
//! likes, of which nothing may come in that the SA's selectors and the policies do not let in.
//! What the policies mean is judged by a plain walk over the list ([`mod@reference`]).

mod draw;
mod gateway;
mod reference;

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use adit_db::{Action, ChildSaId};
use adit_wire::PacketBuf;

use self::draw::{Datagram, Dice, End};
use self::gateway::{Gateway, Left};
use crate::Seed;

/// What became of one seed.
#[derive(Clone, Debug)]
pub struct LeakOutcome {
    /// The seed.
    pub seed: Seed,
    /// How it went.
    pub result: Result<LeakSummary, Leak>,
    /// What was done, one step a line.
    pub steps: String,
}

/// Numbers of a run that went well.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct LeakSummary {
    /// Packets and fragments that somebody sent out.
    pub sent: u64,
    /// ESP packets that left, dummies included.
    pub sealed: u64,
    /// Packets and fragments that left in clear, as they may.
    pub bypassed: u64,
    /// Packets and fragments that did not leave, or not yet.
    pub kept: u64,
    /// Packets and fragments that came in.
    pub delivered: u64,
    /// Packets and fragments that did not come in, or not yet.
    pub refused: u64,
    /// Child SAs installed.
    pub sas: u64,
    /// Engines replaced by new ones.
    pub crashes: u64,
}

/// What must not happen.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Leak {
    /// Code panicked.
    Panic(String),
    /// Data of a packet left in clear that a policy protects or discards.
    InClear {
        /// The packet.
        flow: String,
        /// What its policy says.
        policy: Option<Action>,
    },
    /// A packet that may pass in clear did not, or not as it was.
    NotPassed(String),
    /// A packet left through an SA that is not its.
    WrongSa {
        /// The packet.
        flow: String,
        /// The SA.
        child: ChildSaId,
    },
    /// What left does not open at the far end, or is not what was sent.
    NotOpened(String),
    /// A packet came in that should not have.
    LetIn {
        /// The packet.
        flow: String,
        /// Why it should not have.
        because: &'static str,
    },
}

impl fmt::Display for Leak {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Panic(message) => write!(f, "panic: {message}"),
            Self::InClear { flow, policy } => write!(f, "{flow} left in clear: {policy:?}"),
            Self::NotPassed(flow) => write!(f, "{flow} may pass in clear and did not"),
            Self::WrongSa { flow, child } => write!(f, "{flow} left through child SA {child}"),
            Self::NotOpened(why) => write!(f, "the far end did not get what was sent: {why}"),
            Self::LetIn { flow, because } => write!(f, "{flow} came in, but {because}"),
        }
    }
}

/// Plays one seed; `start` is the instant from which virtual time counts.
pub fn run_leak_seed(seed: Seed, start: Instant) -> LeakOutcome {
    let mut dice = Dice(seed.part(5));
    let gateway = Gateway::new(&mut dice, start);
    let mut run = Run {
        dice,
        gateway,
        datagrams: Vec::new(),
        pieces: Vec::new(),
        summary: LeakSummary::default(),
        steps: Vec::new(),
    };
    let result = catch_unwind(AssertUnwindSafe(|| run.play()));
    let result =
        result.unwrap_or_else(|panic| Err(Leak::Panic(crate::seeds::panic_message(&*panic))));
    let result = result.map(|()| LeakSummary { sas: run.gateway.sas_installed(), ..run.summary });
    LeakOutcome { seed, result, steps: run.steps.join("\n") }
}

/// Most steps of a run.
const STEPS_MAX: u64 = 150;
/// Most datagrams of which some fragments are still to be sent.
const PIECES_MAX: usize = 40;

/// Why something must not have come in.
const CHANGED: &str = "it is not what was sent";

struct Run {
    dice: Dice,
    gateway: Gateway,
    datagrams: Vec<Sent>,
    /// Fragments that nobody has sent yet, with their datagram.
    pieces: Vec<(usize, Vec<u8>)>,
    summary: LeakSummary,
    steps: Vec<String>,
}

struct Sent {
    datagram: Datagram,
    /// What the policies said when it was sent in one piece.
    policy: Option<Option<Action>>,
}

impl Run {
    fn play(&mut self) -> Result<(), Leak> {
        for _ in 0..30 + self.dice.below(STEPS_MAX - 30) {
            let left = match self.dice.below(100) {
                0..50 => {
                    self.send()?;
                    continue;
                }
                50..65 => {
                    self.receive()?;
                    continue;
                }
                65..75 => {
                    let name = self.gateway.install(&mut self.dice);
                    self.note(name)
                }
                75..80 => {
                    let name = self.gateway.activate(&mut self.dice);
                    self.note(name)
                }
                80..84 => {
                    let name = self.gateway.remove(&mut self.dice);
                    self.note(name)
                }
                84..90 => {
                    let name = self.gateway.set_policies(&mut self.dice);
                    self.note(name)
                }
                90..93 => {
                    let name = self.gateway.move_peer(&mut self.dice);
                    self.note(name)
                }
                93..94 => {
                    self.summary.crashes += 1;
                    let name = self.gateway.crash(&mut self.dice);
                    self.note(name)
                }
                _ => {
                    let passed = Duration::from_millis(self.dice.below(20_000));
                    self.gateway.let_pass(passed);
                    self.note(format!("{} ms pass", passed.as_millis()))
                }
            };
            self.sniff(left)?;
        }
        Ok(())
    }

    /// Writes a step down and gives what left the gateway by it.
    fn note(&mut self, step: String) -> Vec<Left> {
        self.steps.push(step);
        self.gateway.leaving()
    }

    /// Somebody behind the gateway sends a packet or a fragment.
    fn send(&mut self) -> Result<(), Leak> {
        let (number, octets) = self.next_to_send();
        let Some(sent) = self.datagrams.get_mut(number) else { return Ok(()) };
        let policy = self.gateway.policies.outbound(&sent.datagram.flow);
        let whole = octets == sent.datagram.octets;
        if whole {
            sent.policy = Some(policy);
        }
        // Of a packet without ports a policy of ports may want the other fragments.
        let must_pass =
            whole && policy == Some(Action::Bypass) && sent.datagram.flow.ports.is_some();
        let flow = format!("{} {:?}", number, sent.datagram.flow);
        let (verdict, left) = self.gateway.seal(&octets);
        let part = if whole { "all" } else { "part" };
        self.steps.push(format!("send {part} of {flow}, {policy:?}: {verdict:?}"));
        self.summary.sent += 1;
        if left.is_empty() {
            self.summary.kept += 1;
        }
        let passed = matches!(left.as_slice(), [Left::Clear(same)] if *same == octets);
        if must_pass && !passed {
            return Err(Leak::NotPassed(flow));
        }
        // What shows none of its data, as a first fragment may, is known to be of this datagram.
        let in_clear = left.iter().any(|one| matches!(one, Left::Clear(_)));
        if in_clear && policy != Some(Action::Bypass) {
            return Err(Leak::InClear { flow, policy });
        }
        self.sniff(left)
    }

    fn next_to_send(&mut self) -> (usize, Vec<u8>) {
        let crowded = self.pieces.len() >= PIECES_MAX;
        if !self.pieces.is_empty() && (crowded || self.dice.percent(60)) {
            // Mostly in the order they were cut to, which is none, but of several datagrams at once.
            let at = self.dice.index(self.pieces.len().min(6));
            return self.pieces.remove(at);
        }
        let number = self.draw(End::Near);
        let drawn = self.datagrams.get(number);
        let drawn = drawn.map(|sent| (sent.datagram.octets.clone(), sent.datagram.pieces.clone()));
        let (octets, mut pieces) = drawn.unwrap_or_default();
        let Some(first) = pieces.pop() else { return (number, octets) };
        self.keep_pieces(number, &pieces);
        (number, first)
    }

    fn keep_pieces(&mut self, number: usize, pieces: &[Vec<u8>]) {
        self.pieces.extend(pieces.iter().map(|piece| (number, piece.clone())));
    }

    fn draw(&mut self, end: End) -> usize {
        let number = self.datagrams.len();
        let datagram = draw::datagram(&mut self.dice, number, end);
        self.datagrams.push(Sent { datagram, policy: None });
        number
    }

    /// Looks at all that left the gateway, in the order it did.
    fn sniff(&mut self, left: Vec<Left>) -> Result<(), Leak> {
        for one in left {
            self.look(one.octets())?;
            match one {
                Left::Clear(_) => self.summary.bypassed += 1,
                Left::Esp(packet) => {
                    self.summary.sealed += 1;
                    self.open(packet)?;
                }
            }
        }
        Ok(())
    }

    /// Nothing in plain sight may be of a packet that a policy does not pass: not now, and not when
    /// it was sent.
    fn look(&self, octets: &[u8]) -> Result<(), Leak> {
        for number in draw::seen_in(octets) {
            let Some(sent) = self.datagrams.get(number) else { continue };
            let policy = self.gateway.policies.outbound(&sent.datagram.flow);
            let then = sent.policy.unwrap_or(policy);
            if let Some(policy) =
                [policy, then].into_iter().find(|one| *one != Some(Action::Bypass))
            {
                let flow = format!("{number} {:?}", sent.datagram.flow);
                return Err(Leak::InClear { flow, policy });
            }
        }
        Ok(())
    }

    /// The far end opens an ESP packet: it must be a packet that was sent, whole or a fragment, and
    /// in one of its SAs.
    fn open(&mut self, packet: PacketBuf) -> Result<(), Leak> {
        let Some(opened) = self.gateway.open_at_far_end(packet).map_err(Leak::NotOpened)? else {
            return Ok(());
        };
        let numbers = draw::seen_in(&opened.octets);
        let [number] = numbers.as_slice() else {
            // Of a first fragment with nothing but ports nobody knows whose it is.
            return match opened.octets.len() {
                0..100 => Ok(()),
                _ => Err(Leak::NotOpened(format!("it holds data of {numbers:?}"))),
            };
        };
        let Some(sent) = self.datagrams.get(*number) else {
            return Err(Leak::NotOpened(format!("nobody sent {number}")));
        };
        let datagram = &sent.datagram;
        let flow = format!("{number} {:?}", datagram.flow);
        if opened.is(&datagram.octets) {
            let policy = self.gateway.policies.outbound(&datagram.flow);
            let carries = reference::lets_out(&opened.sides, &datagram.flow);
            if policy != Some(Action::Protect(opened.policy)) || !carries {
                return Err(Leak::WrongSa { flow, child: opened.child });
            }
            return Ok(());
        }
        let is_piece = datagram.pieces.contains(&opened.octets);
        if is_piece { Ok(()) } else { Err(Leak::NotOpened(format!("{flow} is not as sent"))) }
    }

    /// The far end sends a packet, which may be none that the gateway wants, or is forged.
    fn receive(&mut self) -> Result<(), Leak> {
        let Some(child) = self.gateway.any_child(&mut self.dice) else { return Ok(()) };
        let number = self.draw(End::Far);
        let Some(sent) = self.datagrams.get(number) else { return Ok(()) };
        let datagram = &sent.datagram;
        let forged = self.dice.percent(10);
        let parts = match datagram.pieces.as_slice() {
            [] => std::slice::from_ref(&datagram.octets),
            pieces => pieces,
        };
        self.steps.push(format!("child SA {child} brings {number} {:?}", datagram.flow));
        for part in parts {
            let Some(come) = self.gateway.receive(child, part, forged) else { continue };
            let Some(come) = come else {
                self.summary.refused += 1;
                continue;
            };
            self.summary.delivered += 1;
            let because = self.gateway.reason_against(come.child, &datagram.flow, forged);
            let as_sent = come.is(&datagram.octets) || datagram.pieces.contains(&come.octets);
            let because = because.or(if as_sent { None } else { Some(CHANGED) });
            if let Some(because) = because {
                let flow = format!("{number} {:?}", datagram.flow);
                return Err(Leak::LetIn { flow, because });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whoever looks for leaks must see one: the data of a packet without its SA.
    #[test]
    #[expect(clippy::disallowed_methods, reason = "virtual time counts from some instant")]
    fn data_in_clear_is_seen() {
        let start = Instant::now();
        let mut seen = [0, 0];
        for seed in 0..200 {
            let mut dice = Dice(Seed(seed).part(5));
            let gateway = Gateway::new(&mut dice, start);
            let summary = LeakSummary::default();
            let (datagrams, pieces, steps) = (Vec::new(), Vec::new(), Vec::new());
            let mut run = Run { dice, gateway, datagrams, pieces, summary, steps };
            let number = run.draw(End::Near);
            let datagram = &run.datagrams[number].datagram;
            let may_pass = run.gateway.policies.outbound(&datagram.flow) == Some(Action::Bypass);
            assert_eq!(run.look(&datagram.octets).is_ok(), may_pass);
            seen[usize::from(may_pass)] += 1;
        }
        assert!(seen.iter().all(|count| *count > 20), "{seen:?}");
    }
}
