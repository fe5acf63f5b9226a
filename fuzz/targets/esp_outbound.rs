//! The sending packet engine: whatever comes from the device goes where a linear search of the
//! policies says, sealed packets open again at the other end, and no number is used twice.

#![no_main]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use adit_dataplane::{
    DropReason, HEADROOM_MAX, HELD_MAX, HELD_PER_POLICY, Outbound, OutboundCommand, TAILROOM_MAX,
    Verdict,
};
use adit_db::{Action, Amounts, ChildSaId, Lifetime, PolicyId, Spd, SpdEntry};
use adit_fuzz::esp::{self, Options};
use adit_fuzz::policy::{POLICIES, entries, first_match, is_for_link, look_above_ip, selector};
use adit_fuzz::{Choices, start};
use adit_wire::iana::IpProtocol;
use adit_wire::ip::IpPacket;
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

struct World {
    now: Instant,
    engine: Outbound,
    entries: Vec<SpdEntry>,
    /// What is installed, by SPI.
    sas: BTreeMap<u32, Sa>,
}

struct Sa {
    options: Options,
    policy: PolicyId,
    /// The last number that was used.
    sequence: u64,
}

impl World {
    fn choose(choices: &mut Choices<'_>) -> Self {
        let mut world = Self {
            now: start(),
            engine: Outbound::new(),
            entries: Vec::new(),
            sas: BTreeMap::new(),
        };
        world.set_policies(choices);
        world
    }

    fn step(&mut self, choices: &mut Choices<'_>) {
        match choices.u8() & 7 {
            0..3 => self.send(choices),
            3 => self.install(choices),
            4 => {
                let child = self.child(choices);
                self.engine.handle_command(OutboundCommand::Activate { child }, self.now);
            }
            5 => self.remove(choices),
            6 => self.pass_time(choices),
            _ => self.set_policies(choices),
        }
        self.drain();
    }

    fn set_policies(&mut self, choices: &mut Choices<'_>) {
        let entries = entries(choices);
        // Entries can overlap in more ways than the database takes; then the old ones hold on.
        if let Ok(spd) = Spd::new(entries.clone()) {
            self.entries = entries;
            self.engine.handle_command(OutboundCommand::SetPolicies(Arc::new(spd)), self.now);
        }
    }

    fn install(&mut self, choices: &mut Choices<'_>) {
        let number = choices.u8() % SAS_MAX;
        let mut options = Options::choose(number, choices);
        if choices.flag() {
            options.from = vec![selector(choices)];
            options.to = vec![selector(choices), selector(choices)];
        }
        if choices.flag() {
            options.lifetime = lifetime(choices);
        }
        let policy = PolicyId(u32::from(choices.u8()) % POLICIES);
        let left = choices.u8();
        let active = left & 1 == 0;
        if self.sas.contains_key(&options.spi().0) {
            return;
        }
        let max = if options.esn { u64::MAX } else { u32::MAX.into() };
        let sequence = if left & 2 == 0 { 0 } else { max - u64::from(left >> 2) };
        let sa = options.outbound(policy, self.now).with_sequence_after(sequence);
        self.sas.insert(options.spi().0, Sa { options, policy, sequence });
        let sa = Box::new(sa);
        self.engine.handle_command(OutboundCommand::Install { sa, active }, self.now);
    }

    fn remove(&mut self, choices: &mut Choices<'_>) {
        let child = self.child(choices);
        self.sas.retain(|_, sa| sa.options.child() != child);
        self.engine.handle_command(OutboundCommand::Remove { child }, self.now);
    }

    fn child(&self, choices: &mut Choices<'_>) -> ChildSaId {
        ChildSaId(u32::from(choices.u8() % SAS_MAX))
    }

    fn pass_time(&mut self, choices: &mut Choices<'_>) {
        self.now += Duration::from_millis(choices.u16().into());
        if let Some(limit) = self.engine.poll_timeout()
            && limit <= self.now
        {
            self.engine.handle_timeout(self.now);
            let next = self.engine.poll_timeout();
            assert!(next.is_none_or(|next| next > self.now), "the timer stands still");
        }
    }

    /// A batch from the device: one packet, or a train of them.
    fn send(&mut self, choices: &mut Choices<'_>) {
        let shape = choices.u8();
        let inner = esp::inner(choices);
        let other = esp::inner(choices);
        let (headroom, tailroom) = match shape >> 4 {
            15 => (choices.u8().into(), choices.u8().into()),
            _ => (HEADROOM_MAX, TAILROOM_MAX),
        };
        let inners = (0..shape & 7).map(|bit| if shape & 8 << bit == 0 { &inner } else { &other });
        let inners: Vec<&Vec<u8>> = inners.collect();
        let mut packets: Vec<PacketBuf> =
            inners.iter().map(|inner| esp::buffer(headroom, inner, tailroom)).collect();
        let mut verdicts = Vec::new();
        self.engine.seal_batch(&mut packets, &mut verdicts, self.now);
        assert_eq!(verdicts.len(), packets.len());
        for ((packet, verdict), inner) in packets.iter().zip(verdicts).zip(inners) {
            self.check(packet, verdict, inner);
        }
    }

    fn check(&mut self, packet: &PacketBuf, verdict: Verdict, inner: &[u8]) {
        let Ok(read) = IpPacket::read(inner) else {
            assert_eq!(verdict, Verdict::Drop(DropReason::NotIp));
            assert_eq!(packet.data(), inner);
            return;
        };
        if read.fragment().is_some() && self.looks_above_ip() {
            // It waits, is refused or completes its packet: the target `fragments` knows more.
            if verdict == Verdict::Send {
                self.opened(packet);
            }
            return;
        }
        let flow = read.flow_key();
        let action = first_match(&self.entries, &flow).map(|entry| entry.action);
        match (action, verdict) {
            (Some(Action::Protect(policy)), Verdict::Send) => {
                assert_eq!(self.opened(packet), (read.octets().to_vec(), policy));
            }
            (Some(Action::Protect(_)), Verdict::Held) => {}
            (Some(Action::Protect(_)), Verdict::Drop(reason)) => {
                assert!(matches!(
                    reason,
                    DropReason::NoSa
                        | DropReason::NoRoom
                        | DropReason::LifetimeOver
                        | DropReason::SequenceExhausted
                        | DropReason::Redirect
                        | DropReason::IcmpRefused
                        | DropReason::TooBig
                ));
                assert!(packet.data() == inner || packet.data() == read.octets());
            }
            (Some(Action::Bypass), Verdict::Bypass) => assert_eq!(packet.data(), inner),
            (Some(Action::Discard), Verdict::Drop(DropReason::PolicyDiscard)) => {
                assert_eq!(packet.data(), inner);
            }
            (None, Verdict::Drop(reason)) => {
                let for_link = is_for_link(flow.dst);
                let named =
                    if for_link { DropReason::LinkLocalMulticast } else { DropReason::NoPolicy };
                assert_eq!(reason, named);
                assert_eq!(packet.data(), inner);
            }
            (action, verdict) => panic!("{flow}: {action:?} gives {verdict:?}"),
        }
    }

    fn looks_above_ip(&self) -> bool {
        let entries = self.entries.iter().flat_map(|entry| entry.local.iter().chain(&entry.remote));
        let sas = self.sas.values().flat_map(|sa| sa.options.from.iter().chain(&sa.options.to));
        look_above_ip(entries.chain(sas))
    }

    /// A sealed packet goes through an SA that may carry it, under the next number, and opens as
    /// what it was. Returns that and the SA's policy.
    fn opened(&mut self, packet: &PacketBuf) -> (Vec<u8>, PolicyId) {
        let sa = self.sa_of(packet);
        sa.sequence = sa.sequence.checked_add(1).expect("a number is left");
        assert!(sa.options.esn || sa.sequence <= u32::MAX.into());
        let (inner, next) = sa.options.open(sa.sequence, packet.data());
        let read = IpPacket::read(&inner).expect("an inner packet");
        assert_eq!(read.total_len(), inner.len());
        let version = if read.is_ipv4() { IpProtocol::IPV4 } else { IpProtocol::IPV6 };
        assert_eq!(next, version);
        let flow = read.flow_key();
        assert!(sa.options.from.iter().any(|ts| ts.contains_source(&flow)));
        assert!(sa.options.to.iter().any(|ts| ts.contains_destination(&flow)));
        assert_eq!((packet.meta.local, packet.meta.remote), (esp::sender(), esp::receiver()));
        assert_eq!(packet.meta.tos, read.traffic_class());
        (inner, sa.policy)
    }

    /// Whether it is a probe of the path, which the engine sends by itself. It has its number, too.
    fn is_path_message(&mut self, packet: &PacketBuf) -> bool {
        let sa = self.sa_of(packet);
        let (inner, next) = sa.options.open(sa.sequence.saturating_add(1), packet.data());
        let is_message =
            next == IpProtocol::NO_NEXT && PathMessage::read(&mut Reader(&inner)).is_ok();
        sa.sequence += u64::from(is_message);
        is_message
    }

    fn sa_of(&mut self, packet: &PacketBuf) -> &mut Sa {
        let (spi, _) = packet.data().split_first_chunk::<4>().expect("an SPI");
        self.sas.get_mut(&u32::from_be_bytes(*spi)).expect("an SA that is installed")
    }

    fn drain(&mut self) {
        let mut count = 0;
        while let Some(packet) = self.engine.poll_packet() {
            // A packet in clear was cut again.
            if !packet.meta.whole && !self.is_path_message(&packet) {
                count += 1;
                self.opened(&packet);
            }
        }
        assert!(count <= HELD_PER_POLICY * POLICIES as usize);
        let mut events = 0;
        while self.engine.poll_event().is_some() {
            events += 1;
        }
        assert!(events <= EVENTS_PER_STEP_MAX, "{events} events");
        let report = self.engine.report();
        assert!(report.held <= HELD_MAX.min(HELD_PER_POLICY * POLICIES as usize));
        assert_eq!(report.sas.len(), self.sas.len());
    }
}

fn lifetime(choices: &mut Choices<'_>) -> Lifetime {
    let mut amounts = || Amounts {
        time: choices.flag().then(|| Duration::from_millis(choices.u16().into())),
        octets: choices.flag().then(|| choices.u16().into()),
        packets: choices.flag().then(|| choices.u8().into()),
    };
    Lifetime { soft: amounts(), hard: amounts(), idle: None }
}

const SAS_MAX: u8 = 6;
const STEPS_MAX: usize = 64;
/// A packet asks for at most one SA, and an SA tells twice that it expires and once that it is
/// used up; a step sends seven packets.
const EVENTS_PER_STEP_MAX: usize = 32;
