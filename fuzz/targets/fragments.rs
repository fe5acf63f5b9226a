//! Fragments of packets that are protected, discarded and passed in clear, mixed, moved, cut short
//! and repeated: none of what is protected or discarded is ever seen in clear, whatever an attacker
//! makes of it, nor comes out of a tunnel that is for another port.

#![no_main]

use std::sync::Arc;
use std::time::{Duration, Instant};

use adit_dataplane::{
    Inbound, InboundCommand, OpenVerdict, Outbound, OutboundCommand, PACKETS_MAX, Verdict,
    packet_buffer,
};
use adit_db::{Action, PolicyId, Spd, SpdEntry};
use adit_fuzz::esp::{self, Options};
use adit_fuzz::{Choices, start};
use adit_wire::PacketBuf;
use adit_wire::iana::IpProtocol;
use adit_wire::ikev2::{PortRange, TrafficSelector};
use adit_wire::ip::{IpPacket, Ipv4Header, Ipv6Header, write_fragment};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|octets: &[u8]| {
    let mut choices = Choices(octets);
    let mut world = World::new(&mut choices);
    for _ in 0..STEPS_MAX {
        if choices.is_over() {
            break;
        }
        world.step(&mut choices);
    }
});

struct World {
    now: Instant,
    sender: Outbound,
    /// A sender without policies that look at ports: its fragments go through the tunnel.
    careless: Outbound,
    receiver: Inbound,
    /// All packets have one identification, so that fragments of one may be taken for those of
    /// another: whose octets are in a packet proves nothing, only its port does.
    mixed: bool,
}

/// What is to happen to the datagrams of a port; their octets are the port's.
#[derive(Clone, Copy)]
enum Fate {
    Protected = 43,
    Discarded = 99,
    Clear = 53,
}

const FATES: [Fate; 3] = [Fate::Protected, Fate::Discarded, Fate::Clear];

impl World {
    fn new(choices: &mut Choices<'_>) -> Self {
        let now = start();
        let options = Options::choose(1, choices);
        let spd = |entries| OutboundCommand::SetPolicies(Arc::new(Spd::new(entries).unwrap()));
        let install = |engine: &mut Outbound| {
            let sa = Box::new(options.outbound(POLICY, now));
            engine.handle_command(OutboundCommand::Install { sa, active: true }, now);
        };
        let mut sender = Outbound::new();
        sender.handle_command(
            spd(vec![
                entry(Some(Fate::Protected), Action::Protect(POLICY)),
                entry(Some(Fate::Discarded), Action::Discard),
                entry(None, Action::Bypass),
            ]),
            now,
        );
        install(&mut sender);
        let mut careless = Outbound::new();
        careless.handle_command(spd(vec![entry(None, Action::Protect(POLICY))]), now);
        install(&mut careless);
        let mut receiver = Inbound::new();
        let narrow = Options { to: to_port(Some(Fate::Protected)), ..options };
        let sa = Box::new(narrow.inbound(now));
        receiver.handle_command(InboundCommand::Install(sa));
        Self { now, sender, careless, receiver, mixed: choices.flag() }
    }

    fn step(&mut self, choices: &mut Choices<'_>) {
        let fragments = fragments(self.mixed, choices);
        for _ in 0..choices.u8() & 31 {
            let mut octets = fragments[choices.below(fragments.len())].clone();
            damage(&mut octets, choices);
            self.leave(&octets);
            self.arrive(&octets);
        }
        self.now += Duration::from_millis(u64::from(choices.u8()) << 6);
    }

    fn leave(&mut self, octets: &[u8]) {
        let (verdict, packet) = seal(&mut self.sender, octets, self.now);
        if verdict == Verdict::Bypass {
            assert_clear(packet.data(), self.mixed);
        }
        while let Some(packet) = self.sender.poll_packet() {
            if packet.meta.whole {
                assert_clear(packet.data(), self.mixed);
            }
        }
        let drops = self.sender.report().drops;
        assert!(drops.total() < u64::MAX && self.sender.report().held <= PACKETS_MAX);
    }

    fn arrive(&mut self, octets: &[u8]) {
        let (verdict, mut packet) = seal(&mut self.careless, octets, self.now);
        if verdict != Verdict::Send {
            return;
        }
        let mut verdicts = Vec::new();
        packet.meta.local = esp::receiver();
        packet.meta.remote = esp::sender();
        self.receiver.open_batch(std::slice::from_mut(&mut packet), &mut verdicts, self.now);
        if verdicts[0] == OpenVerdict::Deliver {
            let whole = IpPacket::read(packet.data()).expect("a packet is delivered");
            assert!(whole.fragment().is_none());
            let ports = whole.ports().expect("a packet with ports");
            assert_eq!(ports.1, Fate::Protected as u16);
            // A first fragment may have been moved: its zeros are nobody's.
            let own = [0, Fate::Protected as u8];
            let data = &whole.payload()[8..];
            assert!(self.mixed || data.iter().all(|octet| own.contains(octet)));
        }
    }
}

/// Nothing but what may be seen.
fn assert_clear(octets: &[u8], mixed: bool) {
    let hidden = [Fate::Protected as u8, Fate::Discarded as u8];
    let packet = IpPacket::read(octets).expect("a packet passes in clear");
    if let Some((_, port)) = packet.ports() {
        assert!(hidden.iter().all(|hidden| port != u16::from(*hidden)));
    }
    if mixed {
        return;
    }
    // A first fragment and a whole packet begin with the ports.
    let at = if packet.is_later_fragment() { 0 } else { 8 };
    let data = packet.payload().get(at..).unwrap_or_default();
    assert!(data.iter().all(|octet| !hidden.contains(octet)), "{data:?}");
}

fn to_port(fate: Option<Fate>) -> Vec<TrafficSelector> {
    let to = |all: TrafficSelector| match fate {
        Some(fate) => TrafficSelector {
            protocol: IpProtocol::UDP.0,
            ports: PortRange::single(fate as u16),
            ..all
        },
        None => all,
    };
    vec![to(TrafficSelector::ANY_V4), to(TrafficSelector::ANY_V6)]
}

fn entry(fate: Option<Fate>, action: Action) -> SpdEntry {
    SpdEntry { local: to_port(None), remote: to_port(fate), action }
}

/// The fragments of a datagram of each fate.
fn fragments(mixed: bool, choices: &mut Choices<'_>) -> Vec<Vec<u8>> {
    let ipv6 = choices.flag();
    let mut all = Vec::new();
    for fate in FATES {
        let len = 64 + 16 * usize::from(choices.u8());
        let id = if mixed { 7 } else { fate as u16 };
        let whole = datagram(ipv6, fate, id, len);
        let piece = 16 + 8 * u16::from(choices.u8() & 63);
        let packet = IpPacket::read(&whole).expect("a datagram");
        let mut offset = 0;
        loop {
            let mut out = vec![0; 1_400];
            let written = write_fragment(&packet, id.into(), offset, piece.into(), &mut out);
            let (len, more) = written.expect("it can be cut");
            out.truncate(len);
            all.push(out);
            offset += piece;
            if !more || all.len() > 200 {
                break;
            }
        }
    }
    all
}

fn datagram(ipv6: bool, fate: Fate, id: u16, len: usize) -> Vec<u8> {
    let payload_len = u16::try_from(len).expect("a short one");
    let header = if ipv6 {
        let header = Ipv6Header {
            traffic_class: 0,
            flow_label: 0,
            payload_len,
            next: IpProtocol::UDP,
            hop_limit: 64,
            src: [0xfd01, 0, 0, 0, 0, 0, 0, 5].into(),
            dst: [0xfd02, 0, 0, 0, 0, 0, 0, 7].into(),
        };
        header.to_octets().to_vec()
    } else {
        let header = Ipv4Header {
            traffic_class: 0,
            total_len: payload_len + 20,
            identification: id,
            dont_fragment: false,
            ttl: 64,
            protocol: IpProtocol::UDP,
            src: [10, 1, 0, 5].into(),
            dst: [10, 2, 0, 7].into(),
        };
        header.to_octets().to_vec()
    };
    let udp = [0, 0, 0, fate as u8, 0, 0, 0, 0];
    let mut octets = [&header[..], &udp].concat();
    octets.resize(header.len() + len, fate as u8);
    octets
}

/// Moves a fragment elsewhere, or cuts it short, as only an attacker does. None becomes the first of
/// its packet: that would be another packet, which shows other ports.
fn damage(octets: &mut Vec<u8>, choices: &mut Choices<'_>) {
    let before = octets.clone();
    alter(octets, choices);
    let is_later = |octets: &[u8]| IpPacket::read(octets).is_ok_and(|one| one.is_later_fragment());
    if is_later(&before) && !is_later(octets) {
        *octets = before;
    }
}

fn alter(octets: &mut Vec<u8>, choices: &mut Choices<'_>) {
    let kind = choices.u8();
    if kind < 0xc0 {
        return;
    }
    let place = if octets[0] >> 4 == 4 { 6 } else { 42 };
    match kind & 3 {
        0 => octets[place] ^= choices.u8() & 0x20,
        1 => octets[place + 1] = choices.u8(),
        2 => {
            // Shorter, and honest about it.
            let by = usize::from(choices.u8() & 15);
            octets.truncate(octets.len().saturating_sub(by).max(place + 8));
            let len = u16::try_from(octets.len()).expect("a short one");
            if place == 6 {
                octets[2..4].copy_from_slice(&len.to_be_bytes());
            } else {
                octets[4..6].copy_from_slice(&(len - 40).to_be_bytes());
            }
        }
        _ => octets[place + 1] ^= 1 << (choices.u8() & 7),
    }
}

fn seal(engine: &mut Outbound, octets: &[u8], now: Instant) -> (Verdict, PacketBuf) {
    let mut packet = packet_buffer();
    assert!(packet.fill(octets));
    let mut verdicts = Vec::new();
    engine.seal_batch(std::slice::from_mut(&mut packet), &mut verdicts, now);
    (verdicts[0], packet)
}

const POLICY: PolicyId = PolicyId(0);
const STEPS_MAX: usize = 16;
