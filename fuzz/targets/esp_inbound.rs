//! The receiving packet engine: what a peer sealed is delivered unchanged and once, what anybody
//! changed is dropped and changes nothing, and sealed nonsense does no harm.
//!
//! A second implementation of the replay window (a set of numbers) and of the checks behind the
//! decryption says what must happen to each packet.

#![no_main]

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use adit_dataplane::{
    DropReason, HEADROOM_MAX, Inbound, InboundCommand, OpenVerdict, Outbound, OutboundCommand,
    TAILROOM_MAX, Verdict,
};
use adit_db::{Action, PolicyId, Spd, SpdEntry};
use adit_fuzz::esp::{self, Options};
use adit_fuzz::{Choices, policy, start};
use adit_wire::iana::IpProtocol;
use adit_wire::ikev2::TrafficSelector;
use adit_wire::ip::{Ecn, IpPacket, set_traffic_class};
use adit_wire::{PacketBuf, PathMessage, Reader};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|octets: &[u8]| {
    let mut choices = Choices(octets);
    let mut world = World::choose(&mut choices);
    for _ in 0..STEPS_MAX {
        if choices.is_over() {
            break;
        }
        world.step(&mut choices);
    }
});

/// An engine with a few SAs, and the peers at their other ends.
struct World {
    now: Instant,
    engine: Inbound,
    peers: Vec<Peer>,
}

/// One SA: the sender's engine, and what the receiver is expected to know.
struct Peer {
    options: Options,
    sender: Outbound,
    /// The last sequence number used.
    sequence: u64,
    model: Window,
    /// Sealed packets that are on their way.
    flying: Vec<Flying>,
}

#[derive(Clone)]
struct Flying {
    sequence: u64,
    sealed: Vec<u8>,
    /// What the receiver makes of it if it is the first to arrive with its number, and not marked
    /// on its way.
    outcome: Result<Vec<u8>, DropReason>,
    outer: u8,
}

/// The replay window as a set.
struct Window {
    top: u64,
    seen: BTreeSet<u64>,
    size: u64,
    esn: bool,
}

impl World {
    fn choose(choices: &mut Choices<'_>) -> Self {
        let now = start();
        let mut engine = Inbound::new();
        let count = 1 + choices.below(PEERS_MAX);
        let peers = (1..)
            .take(count)
            .map(|number| {
                let mut options = Options::choose(number, choices);
                if choices.flag() {
                    options.from = vec![policy::selector(choices), policy::selector(choices)];
                    options.to = vec![policy::selector(choices)];
                }
                engine.handle_command(InboundCommand::Install(Box::new(options.inbound(now))));
                Peer::new(options, now)
            })
            .collect();
        Self { now, engine, peers }
    }

    fn step(&mut self, choices: &mut Choices<'_>) {
        let kind = choices.u8();
        let which = choices.below(self.peers.len());
        match kind & 7 {
            0 | 1 => self.peers[which].send(choices, self.now),
            2 => self.peers[which].send_nonsense(choices),
            3 => self.peers[which].jump(choices),
            4 => self.forge(which, choices),
            5 => self.garbage(choices),
            6 => self.now += Duration::from_millis(choices.u16().into()),
            _ => self.reinstall(which),
        }
        // The newest arrives at once, unless it is held back.
        if kind & 8 == 0 {
            self.arrive(which, usize::MAX, choices);
        } else if kind & 16 != 0 {
            let index = choices.u8().into();
            self.arrive(which, index, choices);
        }
        let mut events = 0;
        while self.engine.poll_event().is_some() {
            events += 1;
        }
        assert!(events <= EVENTS_PER_STEP_MAX, "{events} events");
    }

    /// One packet arrives, perhaps marked by a router, and perhaps once more later.
    fn arrive(&mut self, which: usize, index: usize, choices: &mut Choices<'_>) {
        let peer = &mut self.peers[which];
        let Some(last) = peer.flying.len().checked_sub(1) else {
            return;
        };
        let packet = peer.flying[index.min(last)].clone();
        let mark = choices.u8();
        let tos = if mark & 0x80 == 0 { packet.outer } else { mark };

        let expected = peer.model.judge(packet.sequence).and_then(|()| {
            peer.model.mark(packet.sequence);
            marked(packet.outcome.clone()?, tos)
        });
        let opened = open(&mut self.engine, &packet.sealed, tos, self.now);
        if expected == Err(DropReason::Fragment) {
            // It waits, is refused or completes its packet: the target `fragments` knows more. Or it was for
            // the engine itself.
            return;
        }
        assert_eq!(opened, expected, "number {:#x} of {:?}", packet.sequence, peer.options);
    }

    /// One octet of a packet changes on its way. It is dropped, and nothing else happens.
    fn forge(&mut self, which: usize, choices: &mut Choices<'_>) {
        self.peers[which].send(choices, self.now);
        let Some(packet) = self.peers[which].flying.last() else {
            return;
        };
        let mut sealed = packet.sealed.clone();
        let at = usize::from(choices.u16()) % sealed.len();
        sealed[at] ^= choices.u8().max(1);
        self.refused(&sealed, "forged");
        // Cut short, or with something behind it.
        let mut sealed = packet_of(&self.peers[which]);
        let change = choices.u8();
        if change & 1 == 0 {
            sealed.truncate(sealed.len().saturating_sub(1 + usize::from(change)));
        } else {
            sealed.extend(std::iter::repeat_n(change, change.into()));
        }
        self.refused(&sealed, "of another length");
    }

    fn refused(&mut self, sealed: &[u8], what: &str) {
        let before = progress(&self.engine);
        let opened = open(&mut self.engine, sealed, 0, self.now);
        assert!(opened.is_err(), "{what}");
        assert_eq!(progress(&self.engine), before, "{what}");
    }

    /// Octets that nobody sealed; an input may know the keys all the same.
    fn garbage(&mut self, choices: &mut Choices<'_>) {
        let octets = choices.long();
        let tos = choices.u8();
        let before = progress(&self.engine);
        match open(&mut self.engine, octets, tos, self.now) {
            Ok(inner) => assert!(inner.len() < octets.len()),
            Err(DropReason::BadIcv | DropReason::Truncated | DropReason::UnknownSpi) => {
                assert_eq!(progress(&self.engine), before);
            }
            Err(_) => {}
        }
        // The models no longer know what was seen, so everything begins again.
        if progress(&self.engine) != before {
            (0..self.peers.len()).for_each(|which| self.reinstall(which));
        }
    }

    /// The SA ends, a packet for it comes too late, and another takes its place.
    fn reinstall(&mut self, which: usize) {
        let options = self.peers[which].options.clone();
        self.engine.handle_command(InboundCommand::Remove { child: options.child() });
        let late = options.seal_text(1, &[]);
        assert_eq!(open(&mut self.engine, &late, 0, self.now), Err(DropReason::UnknownSpi));
        let sa = Box::new(options.inbound(self.now));
        self.engine.handle_command(InboundCommand::Install(sa));
        self.peers[which] = Peer::new(options, self.now);
    }
}

fn packet_of(peer: &Peer) -> Vec<u8> {
    peer.flying.last().map(|packet| packet.sealed.clone()).unwrap_or_default()
}

/// Number and count of the packets that got through, per SA.
fn progress(engine: &Inbound) -> Vec<(u64, u64)> {
    engine.report().sas.iter().map(|sa| (sa.sequence, sa.packets)).collect()
}

fn open(engine: &mut Inbound, octets: &[u8], tos: u8, now: Instant) -> Result<Vec<u8>, DropReason> {
    let mut packet = esp::buffer(0, octets, 0);
    packet.meta.local = esp::receiver();
    packet.meta.remote = esp::sender();
    packet.meta.tos = tos;
    packet.meta.udp = true;
    let mut verdicts = Vec::new();
    let drops = dropped(engine);
    engine.open_batch(std::slice::from_mut(&mut packet), &mut verdicts, now);
    match verdicts.as_slice() {
        [OpenVerdict::Deliver] => {
            assert_eq!(dropped(engine), drops);
            Ok(packet.data().to_vec())
        }
        [OpenVerdict::Drop(reason)] => {
            assert_eq!(dropped(engine), drops + 1);
            Err(*reason)
        }
        [OpenVerdict::Held] => Err(DropReason::Fragment),
        other => panic!("one packet, {other:?}"),
    }
}

/// Packets that were dropped when they came, not fragments that waited in vain.
fn dropped(engine: &Inbound) -> u64 {
    let drops = engine.report().drops;
    drops.total() - drops.get(DropReason::FragmentsMissing)
}

impl Peer {
    fn new(options: Options, now: Instant) -> Self {
        let model = Window {
            top: 0,
            seen: BTreeSet::new(),
            size: options.window.packets().into(),
            esn: options.esn,
        };
        let mut peer =
            Self { options, sender: Outbound::new(), sequence: 0, model, flying: Vec::new() };
        let all = vec![TrafficSelector::ANY_V4, TrafficSelector::ANY_V6];
        let entry = SpdEntry { local: all.clone(), remote: all, action: Action::Protect(POLICY) };
        let spd = Spd::new(vec![entry]).expect("one entry").into();
        peer.sender.handle_command(OutboundCommand::SetPolicies(spd), now);
        peer.install_sender(now);
        peer
    }

    /// The sender's selectors let everything out, whatever the receiver's let in.
    fn install_sender(&mut self, now: Instant) {
        let all = vec![TrafficSelector::ANY_V4, TrafficSelector::ANY_V6];
        let options = Options { from: all.clone(), to: all, ..self.options.clone() };
        let child = options.child();
        let sa = options.outbound(POLICY, now).with_sequence_after(self.sequence);
        self.sender.handle_command(OutboundCommand::Remove { child }, now);
        let sa = Box::new(sa);
        self.sender.handle_command(OutboundCommand::Install { sa, active: true }, now);
    }

    /// Seals an inner packet with the engine's other half.
    fn send(&mut self, choices: &mut Choices<'_>, now: Instant) {
        let inner = esp::inner(choices);
        let mut packet = esp::buffer(HEADROOM_MAX, &inner, TAILROOM_MAX);
        self.install_sender(now);
        match seal(&mut self.sender, &mut packet, now) {
            Verdict::Send => {}
            Verdict::Drop(DropReason::NotIp) => {
                assert!(IpPacket::read(&inner).is_err());
                return;
            }
            // Which ones, the target `esp_outbound` knows.
            Verdict::Drop(DropReason::Redirect | DropReason::IcmpRefused) => return,
            Verdict::Drop(DropReason::SequenceExhausted) => {
                assert!(self.sequence >= self.last_sequence());
                return;
            }
            other => panic!("{other:?}"),
        }
        self.sequence += 1;
        let outcome = self.expected(&inner);
        self.launch(packet.data().to_vec(), outcome, packet.meta.tos);
    }

    /// Seals any octets, as only a peer with the keys can.
    fn send_nonsense(&mut self, choices: &mut Choices<'_>) {
        if self.sequence >= self.last_sequence() {
            return;
        }
        self.sequence += 1;
        let mut text = choices.long().to_vec();
        text.resize(text.len().next_multiple_of(self.options.cipher.block_len()), 0);
        let sealed = self.options.seal_text(self.sequence, &text);
        let outcome = match text.as_slice() {
            [] => {
                // No trailer: refused before the cipher is asked, and the number stays free.
                self.sequence -= 1;
                return;
            }
            text => unpadded(text).and_then(|(inner, next)| self.expected_as(inner, next)),
        };
        self.launch(sealed, outcome, 0);
    }

    fn launch(&mut self, sealed: Vec<u8>, outcome: Result<Vec<u8>, DropReason>, outer: u8) {
        let sequence = self.sequence;
        if self.flying.len() == FLYING_MAX {
            self.flying.remove(0);
        }
        self.flying.push(Flying { sequence, sealed, outcome, outer });
    }

    /// Packets are lost: the numbers go on from further up.
    fn jump(&mut self, choices: &mut Choices<'_>) {
        let by = match choices.u8() & 3 {
            0 => choices.u8().into(),
            1 => choices.u16().into(),
            2 => choices.u32().into(),
            _ => u64::from(choices.u32()) << 32 | u64::from(choices.u32()),
        };
        self.sequence = self.sequence.saturating_add(by).min(self.last_sequence());
    }

    fn last_sequence(&self) -> u64 {
        if self.options.esn { u64::MAX } else { u32::MAX.into() }
    }

    fn expected(&self, inner: &[u8]) -> Result<Vec<u8>, DropReason> {
        let version = inner.first().map_or(0, |octet| octet >> 4);
        let next = if version == 6 { IpProtocol::IPV6 } else { IpProtocol::IPV4 };
        self.expected_as(inner, next)
    }

    /// RFC 4301 §5.2 behind the decryption.
    fn expected_as(&self, inner: &[u8], next: IpProtocol) -> Result<Vec<u8>, DropReason> {
        if next == IpProtocol::NO_NEXT {
            // A message about the path is held, as fragments are.
            let is_message = PathMessage::read(&mut Reader(inner)).is_ok();
            return Err(if is_message { DropReason::Fragment } else { DropReason::Dummy });
        }
        if next == IpProtocol::IPCOMP {
            // No SA here compresses; the target `ipcomp_inbound` has those.
            return Err(DropReason::UnknownCpi);
        }
        let packet = IpPacket::read(inner).map_err(|_| DropReason::BadInner)?;
        if next != (if packet.is_ipv4() { IpProtocol::IPV4 } else { IpProtocol::IPV6 }) {
            return Err(DropReason::BadInner);
        }
        let selectors = self.options.from.iter().chain(&self.options.to);
        if packet.fragment().is_some() && policy::look_above_ip(selectors) {
            return Err(DropReason::Fragment);
        }
        self.options.judge(&packet)?;
        Ok(packet.octets().to_vec())
    }
}

/// RFC 4303 §2.4: padding counts 1, 2, 3 …
fn unpadded(text: &[u8]) -> Result<(&[u8], IpProtocol), DropReason> {
    let [rest @ .., pad_len, next] = text else {
        return Err(DropReason::Truncated);
    };
    let counted: Vec<u8> = (1..=*pad_len).collect();
    let inner = rest.strip_suffix(counted.as_slice()).ok_or(DropReason::BadPadding)?;
    Ok((inner, IpProtocol(*next)))
}

/// RFC 6040 §4.2: what a router said about congestion.
fn marked(mut inner: Vec<u8>, outer: u8) -> Result<Vec<u8>, DropReason> {
    let class = IpPacket::read(&inner).expect("it was one").traffic_class();
    let before = Ecn::from_traffic_class(class);
    let after = before.decapsulate(Ecn::from_traffic_class(outer));
    let after = after.ok_or(DropReason::EcnNotCapable)?;
    if after != before {
        assert!(set_traffic_class(&mut inner, after.in_traffic_class(class)));
    }
    Ok(inner)
}

impl Window {
    /// What becomes of a genuine packet with this number.
    fn judge(&self, sequence: u64) -> Result<(), DropReason> {
        let guess = self.guess(sequence)?;
        if guess == 0 {
            return Err(DropReason::BadSequence);
        }
        if self.size > 0 && guess <= self.top {
            if self.top - guess >= self.size {
                return Err(DropReason::TooOld);
            }
            if self.seen.contains(&guess) {
                return Err(DropReason::Replayed);
            }
        }
        // The number is authenticated: a wrong guess is found out.
        if guess == sequence { Ok(()) } else { Err(DropReason::BadIcv) }
    }

    /// RFC 4303 Appendix A2: of the numbers that end so, the first not before the window.
    fn guess(&self, sequence: u64) -> Result<u64, DropReason> {
        if !self.esn {
            return Ok(sequence);
        }
        let span = 1_i128 << 32;
        let bottom = i128::from(self.top) - i128::from(self.size.max(64)) + 1;
        let guess = bottom + (i128::from(sequence) - bottom).rem_euclid(span);
        u64::try_from(guess).map_err(|_| DropReason::BadSequence)
    }

    fn mark(&mut self, sequence: u64) {
        self.top = self.top.max(sequence);
        self.seen.insert(sequence);
    }
}

fn seal(engine: &mut Outbound, packet: &mut PacketBuf, now: Instant) -> Verdict {
    let mut verdicts = Vec::new();
    engine.seal_batch(std::slice::from_mut(packet), &mut verdicts, now);
    verdicts[0]
}

const POLICY: PolicyId = PolicyId(0);
const PEERS_MAX: usize = 3;
const STEPS_MAX: usize = 64;
const FLYING_MAX: usize = 16;
/// A packet makes at most one event each of traffic, expiry, move and audit; a step has few.
const EVENTS_PER_STEP_MAX: usize = 16;
