//! Shared ESP packets at the receiving engine: what an honest peer packs comes out as it went in, and
//! what another with the keys makes of payloads, offsets and numbers does no harm.

#![no_main]

use std::time::{Duration, Instant};

use adit_dataplane::offload::{SUPER_SEGMENTS_MAX, SuperPacket};
use adit_dataplane::{
    DropReason, INNER_MTU, Inbound, InboundCommand, OpenVerdict, Outbound, OutboundCommand,
    REORDER_WAIT, UNPACKED_MAX, Verdict, packet_buffer,
};
use adit_db::{Action, Aggfrag, PolicyId, Spd, SpdEntry};
use adit_fuzz::esp::{self, Options};
use adit_fuzz::{Choices, start};
use adit_wire::PacketBuf;
use adit_wire::aggfrag::SuperHeader;
use adit_wire::iana::IpProtocol;
use adit_wire::ikev2::TrafficSelector;
use adit_wire::ip::IpPacket;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|octets: &[u8]| {
    let mut choices = Choices(octets);
    let mut world = World::choose(&mut choices);
    for _ in 0..STEPS_MAX {
        if choices.is_over() {
            break;
        }
        match choices.u8() % 6 {
            0 => world.send_burst(&mut choices),
            1 => world.send_octets(&mut choices),
            2 => world.send_packets(&mut choices),
            3 => world.skip(&mut choices),
            4 => world.send_super_packet(&mut choices),
            _ => world.wait(&mut choices),
        }
    }
});

/// A receiver, and a sender with the same keys.
struct World {
    now: Instant,
    options: Options,
    receiver: Inbound,
    sender: Outbound,
    /// The highest sequence number used.
    sequence: u64,
}

impl World {
    fn choose(choices: &mut Choices<'_>) -> Self {
        let now = start();
        let options = Options {
            aggfrag: Some(Aggfrag { super_packets: true }),
            ..Options::choose(1, choices)
        };
        let mut receiver = Inbound::new();
        receiver.handle_command(InboundCommand::Install(Box::new(options.inbound(now))));
        let mut sender = Outbound::new();
        let all = vec![TrafficSelector::ANY_V4, TrafficSelector::ANY_V6];
        let entry = SpdEntry { local: all.clone(), remote: all, action: Action::Protect(POLICY) };
        let spd = Spd::new(vec![entry]).expect("one entry").into();
        sender.handle_command(OutboundCommand::SetPolicies(spd), now);
        Self { now, options, receiver, sender, sequence: 0 }
    }

    /// What our sender makes of a burst arrives, whole and in order, once the way is free.
    fn send_burst(&mut self, choices: &mut Choices<'_>) {
        self.free_the_way();
        let child = self.options.child();
        let sa = self.options.outbound(POLICY, self.now).with_sequence_after(self.sequence);
        self.sender.handle_command(OutboundCommand::Remove { child }, self.now);
        let sa = Box::new(sa);
        self.sender.handle_command(OutboundCommand::Install { sa, active: true }, self.now);
        let inners: Vec<Vec<u8>> = (0..choices.below(8)).map(|_| esp::inner(choices)).collect();
        let mut batch: Vec<PacketBuf> = inners.iter().map(|inner| filled(inner)).collect();
        let mut verdicts = Vec::new();
        self.sender.seal_batch(&mut batch, &mut verdicts, self.now);
        let mut sent = Vec::new();
        let mut sealed: Vec<Vec<u8>> = Vec::new();
        for ((inner, packet), verdict) in inners.iter().zip(&batch).zip(verdicts) {
            if verdict == Verdict::Send {
                sealed.push(packet.data().to_vec());
            }
            match verdict {
                Verdict::Held | Verdict::Send => {
                    let whole = IpPacket::read(inner).expect("it was sent");
                    if self.options.judge(&whole).is_ok() {
                        sent.push(whole.octets().to_vec());
                    }
                }
                Verdict::Drop(
                    DropReason::NotIp
                    | DropReason::Redirect
                    | DropReason::IcmpRefused
                    | DropReason::TooBig,
                ) => {}
                other => panic!("{other:?}"),
            }
        }
        sealed.extend(self.sender.flush().iter().map(|packet| packet.data().to_vec()));
        self.sequence += u64::try_from(sealed.len()).expect("few");
        let mut arriving: Vec<PacketBuf> = sealed.iter().map(|packet| arriving(packet)).collect();
        assert_eq!(self.open(&mut arriving), sent);
    }

    /// Any octets as payload, with a number that may be any.
    fn send_octets(&mut self, choices: &mut Choices<'_>) {
        let next = if choices.flag() { IpProtocol::AGGFRAG.0 } else { choices.u8() };
        let ahead = choices.u8() % 20;
        let octets = choices.long();
        self.receive(octets, next, ahead);
    }

    /// Packets behind each other, cut somewhere, behind a header that says something about it.
    fn send_packets(&mut self, choices: &mut Choices<'_>) {
        let ahead = choices.u8() % 4;
        let offset = choices.u16();
        let mut payload = vec![0, 0];
        payload.extend(offset.to_be_bytes());
        payload.extend(choices.short());
        for _ in 0..choices.below(4) {
            payload.extend(esp::inner(choices));
        }
        let cut = usize::from(choices.u16());
        if cut < payload.len() {
            payload.truncate(payload.len() - cut);
        }
        self.receive(&payload, IpProtocol::AGGFRAG.0, ahead);
    }

    /// A super-packet, with some octets of its headers changed or none, over some payloads.
    fn send_super_packet(&mut self, choices: &mut Choices<'_>) {
        let header = SuperHeader { segment_len: choices.u16() % 1_500 };
        let mut block = [&header.to_octets()[..], &super_packet(choices)].concat();
        for _ in 0..choices.below(4) {
            let (at, octet) = (usize::from(choices.u8()), choices.u8());
            if let Some(place) = block.get_mut(at) {
                *place = octet;
            }
        }
        let piece_len = usize::from(choices.u16() % 1_400).max(64);
        let mut left = block.len();
        for piece in block.chunks(piece_len) {
            let offset = if left < block.len() { left } else { 0 };
            let offset = u16::try_from(offset).expect("less than a packet");
            let payload = [&[0, 0], &offset.to_be_bytes()[..], piece].concat();
            self.receive(&payload, IpProtocol::AGGFRAG.0, 1);
            left -= piece.len();
        }
    }

    /// Some packets are lost.
    fn skip(&mut self, choices: &mut Choices<'_>) {
        self.sequence += u64::from(choices.u8());
    }

    /// Time passes.
    fn wait(&mut self, choices: &mut Choices<'_>) {
        self.now += Duration::from_millis(choices.u8().into());
        if self.receiver.poll_timeout().is_some_and(|at| at <= self.now) {
            self.receiver.handle_timeout(self.now);
            self.check_unpacked();
        }
    }

    /// Nothing waits any more, and a payload that ends with padding has ended what was begun.
    fn free_the_way(&mut self) {
        self.receive(&[0, 0, 0, 0, 0x75], IpProtocol::AGGFRAG.0, 1);
        self.now += REORDER_WAIT;
        while self.receiver.poll_timeout().is_some() {
            self.receiver.handle_timeout(self.now);
            self.check_unpacked();
            self.now += REORDER_WAIT;
        }
    }

    /// Seals octets as a peer with the keys can, and opens them. They are so many numbers ahead of
    /// the others, or the last again.
    fn receive(&mut self, octets: &[u8], next: u8, ahead: u8) {
        let block = self.options.cipher.block_len();
        let padded_len = (octets.len() + 2).next_multiple_of(block);
        let padding = u8::try_from(padded_len - octets.len() - 2).expect("less than a block");
        let trailer: Vec<u8> = (1..=padding).chain([padding, next]).collect();
        self.sequence = (self.sequence + u64::from(ahead)).max(1);
        let sealed = self.options.seal_text(self.sequence, &[octets, &trailer].concat());
        self.open(&mut [arriving(&sealed)]);
    }

    /// What comes out of ESP packets, in order.
    fn open(&mut self, sealed: &mut [PacketBuf]) -> Vec<Vec<u8>> {
        let mut verdicts = Vec::new();
        self.receiver.open_batch(sealed, &mut verdicts, self.now);
        while self.receiver.poll_event().is_some() {}
        self.check_unpacked();
        let alone = sealed.iter().zip(verdicts);
        let alone = alone.filter(|(_, verdict)| *verdict == OpenVerdict::Deliver);
        let all = alone.map(|(packet, _)| packet).chain(&*self.receiver.unpacked());
        all.map(|packet| packet.data().to_vec()).collect()
    }

    fn check_unpacked(&mut self) {
        let unpacked = self.receiver.unpacked();
        assert!(unpacked.len() <= UNPACKED_MAX);
        let is_whole = |packet: &PacketBuf| {
            IpPacket::read(packet.data()).is_ok_and(|ip| ip.total_len() == packet.len())
        };
        assert!(unpacked.iter().all(is_whole));
        for packet in unpacked.iter().filter(|packet| packet.meta.segment_len > 0) {
            let whole = SuperPacket::in_buffer(packet).expect("it was judged");
            let mut segments = whole.segments().expect("it is sound");
            let mut piece = PacketBuf::with_capacity(0, INNER_MTU.into());
            let cut = (0..).take_while(|_| segments.write_next(&mut piece)).count();
            assert!(cut == whole.count() && cut <= SUPER_SEGMENTS_MAX);
        }
    }
}

/// Several TCP segments between the peer's networks in one piece.
fn super_packet(choices: &mut Choices<'_>) -> Vec<u8> {
    let payload_len = usize::from(choices.u16() % 9_000);
    let covered_len = u16::try_from(20 + payload_len).expect("short");
    let mut packet = if choices.flag() {
        let [l0, l1] = (covered_len + 20).to_be_bytes();
        vec![0x45, 0, l0, l1, 0, 1, 0x40, 0, 64, 6, 0, 0, 10, 1, 0, 5, 10, 2, 0, 7]
    } else {
        let [l0, l1] = covered_len.to_be_bytes();
        let ends = [[0xfd, 1], [0xfd, 2]].map(|net| [&net[..], &[0; 13], &[5]].concat());
        [&[0x60, 0, 0, 0, l0, l1, 6, 64], &ends[0][..], &ends[1]].concat()
    };
    packet.extend([0x9c, 0x40, 1, 187, 0, 0, 0, 9, 0, 0, 0, 7, 0x50, 0x18, 1, 0, 0, 0, 0, 0]);
    packet.resize(packet.len() + payload_len, 7);
    packet
}

fn filled(octets: &[u8]) -> PacketBuf {
    let mut packet = packet_buffer();
    assert!(packet.fill(octets));
    packet
}

fn arriving(sealed: &[u8]) -> PacketBuf {
    let mut packet = filled(sealed);
    packet.meta.local = esp::receiver();
    packet.meta.remote = esp::sender();
    packet.meta.udp = true;
    packet
}

const POLICY: PolicyId = PolicyId(0);
const STEPS_MAX: usize = 16;
