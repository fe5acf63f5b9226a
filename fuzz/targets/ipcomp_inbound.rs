//! Compressed packets at the receiving engine: what is in them meets the checks that it would meet
//! in plain, and what is no compressed packet does no harm.

#![no_main]

use std::time::Instant;

use adit_dataplane::{
    DropReason, Inbound, InboundCommand, OpenVerdict, Outbound, OutboundCommand, Verdict,
    packet_buffer,
};
use adit_db::{Action, PolicyId, Spd, SpdEntry};
use adit_fuzz::esp::{self, Options};
use adit_fuzz::{Choices, start};
use adit_wire::iana::IpProtocol;
use adit_wire::ikev2::TrafficSelector;
use adit_wire::ip::IpPacket;
use adit_wire::ipcomp::{Cpi, IpCompHeader};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|octets: &[u8]| {
    let mut choices = Choices(octets);
    let mut world = World::choose(&mut choices);
    for _ in 0..STEPS_MAX {
        if choices.is_over() {
            break;
        }
        match choices.u8() % 3 {
            0 => world.send_ours(&mut choices),
            1 => world.compare(&mut choices),
            _ => world.send_octets(&mut choices),
        }
    }
});

/// A receiver, and a sender with the same keys.
struct World {
    now: Instant,
    options: Options,
    receiver: Inbound,
    sender: Outbound,
    /// The last sequence number used.
    sequence: u64,
}

impl World {
    fn choose(choices: &mut Choices<'_>) -> Self {
        let now = start();
        let options = Options { cpi: Some(CPI), ..Options::choose(1, choices) };
        let mut receiver = Inbound::new();
        receiver.handle_command(InboundCommand::Install(Box::new(options.inbound(now))));
        let mut sender = Outbound::new();
        let all = vec![TrafficSelector::ANY_V4, TrafficSelector::ANY_V6];
        let entry = SpdEntry { local: all.clone(), remote: all, action: Action::Protect(POLICY) };
        let spd = Spd::new(vec![entry]).expect("one entry").into();
        sender.handle_command(OutboundCommand::SetPolicies(spd), now);
        Self { now, options, receiver, sender, sequence: 0 }
    }

    /// What our sender makes of a packet arrives as it was.
    fn send_ours(&mut self, choices: &mut Choices<'_>) {
        let inner = esp::inner(choices);
        let child = self.options.child();
        let sa = self.options.outbound(POLICY, self.now).with_sequence_after(self.sequence);
        self.sender.handle_command(OutboundCommand::Remove { child }, self.now);
        let sa = Box::new(sa);
        self.sender.handle_command(OutboundCommand::Install { sa, active: true }, self.now);
        let mut packet = packet_buffer();
        assert!(packet.fill(&inner));
        let mut verdicts = Vec::new();
        self.sender.seal_batch(std::slice::from_mut(&mut packet), &mut verdicts, self.now);
        match verdicts[0] {
            Verdict::Send => {}
            Verdict::Drop(DropReason::NotIp | DropReason::Redirect | DropReason::IcmpRefused) => {
                return;
            }
            other => panic!("{other:?}"),
        }
        self.sequence += 1;
        let whole = IpPacket::read(&inner).expect("it was sent");
        let expected = self.options.judge(&whole).map(|()| whole.octets().to_vec());
        let sealed = packet.data().to_vec();
        assert_eq!(self.open(&sealed), expected);
    }

    /// Any octets in plain, and the same compressed by another, have the same end.
    fn compare(&mut self, choices: &mut Choices<'_>) {
        let level = choices.u8() % 11;
        let next = choices.u8();
        let octets = choices.long();
        if [IpProtocol::IPCOMP, IpProtocol::NO_NEXT].contains(&IpProtocol(next)) {
            return;
        }
        let plain = self.receive(octets, next);
        let deflate = miniz_oxide::deflate::compress_to_vec(octets, level);
        let header = IpCompHeader { next: IpProtocol(next), cpi: CPI }.to_octets();
        let compressed = self.receive(&[&header[..], &deflate].concat(), IpProtocol::IPCOMP.0);
        assert_eq!(compressed, plain);
    }

    /// Any octets behind an IPComp header; with another CPI they are not looked at.
    fn send_octets(&mut self, choices: &mut Choices<'_>) {
        let next = choices.u8();
        let other = choices.u8();
        let octets = choices.long();
        let cpi = Cpi(CPI.0 ^ u16::from(other));
        let header = IpCompHeader { next: IpProtocol(next), cpi }.to_octets();
        let packet = [&header[..], octets].concat();
        match self.receive(&packet, IpProtocol::IPCOMP.0) {
            Ok(inner) => {
                assert_eq!(other, 0, "another CPI");
                assert!(IpPacket::read(&inner).is_ok_and(|ip| ip.total_len() == inner.len()));
            }
            Err(DropReason::UnknownCpi) => assert_ne!(other, 0),
            Err(
                DropReason::BadCompression
                | DropReason::InflatesTooFar
                | DropReason::BadInner
                | DropReason::IcmpRefused
                | DropReason::IcmpQuote,
            ) => {
                assert_eq!(other, 0, "the CPI comes first")
            }
            Err(reason) => panic!("{reason:?}"),
        }
    }

    /// Seals octets as a peer with the keys can, and opens them.
    fn receive(&mut self, octets: &[u8], next: u8) -> Result<Vec<u8>, DropReason> {
        let block = self.options.cipher.block_len();
        let padded_len = (octets.len() + 2).next_multiple_of(block);
        let padding = u8::try_from(padded_len - octets.len() - 2).expect("less than a block");
        let trailer: Vec<u8> = (1..=padding).chain([padding, next]).collect();
        self.sequence += 1;
        let sealed = self.options.seal_text(self.sequence, &[octets, &trailer].concat());
        self.open(&sealed)
    }

    fn open(&mut self, sealed: &[u8]) -> Result<Vec<u8>, DropReason> {
        let mut packet = packet_buffer();
        assert!(packet.fill(sealed));
        packet.meta.local = esp::receiver();
        packet.meta.remote = esp::sender();
        packet.meta.udp = true;
        let mut verdicts = Vec::new();
        self.receiver.open_batch(std::slice::from_mut(&mut packet), &mut verdicts, self.now);
        while self.receiver.poll_event().is_some() {}
        match verdicts.as_slice() {
            [OpenVerdict::Deliver] => Ok(packet.data().to_vec()),
            [OpenVerdict::Drop(reason)] => Err(*reason),
            other => panic!("one packet, {other:?}"),
        }
    }
}

const POLICY: PolicyId = PolicyId(0);
const CPI: Cpi = Cpi(0x1234);
const STEPS_MAX: usize = 16;
