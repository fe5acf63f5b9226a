//! The receiving packet engine with AH: any headers, any inner octets, authentic or not. A forged
//! packet changes nothing; an authentic one comes out as it went in, or is dropped by name; what
//! routers change does not matter.

#![no_main]

use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use adit_crypto::{Authentication, AuthenticationKey, Protection, Secret};
use adit_dataplane::{DropReason, HEADROOM_MAX, Inbound, InboundCommand, OpenVerdict, split};
use adit_db::{
    ChildKeys, ChildSa, ChildSaId, DfPolicy, DscpPolicy, EcnPolicy, Encapsulation, IcmpRules,
    IkeSaId, Lifetime, Mode, MssClamp, MtuPolicy, PolicyId, Tfc, WindowSize,
};
use adit_fuzz::{Choices, esp, start};
use adit_wire::ah::AhHeader;
use adit_wire::esp::Spi;
use adit_wire::iana::IpProtocol;
use adit_wire::ikev2::TrafficSelector;
use adit_wire::ip::{IpPacket, checksum, covered_headers};
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

/// One SA: what the peer knows, and the receiver.
struct World {
    now: Instant,
    engine: Inbound,
    algorithm: Authentication,
    esn: bool,
    mode: Mode,
    ipv6: bool,
    sequence: u64,
}

impl World {
    fn choose(choices: &mut Choices<'_>) -> Self {
        let algorithm = choices.pick(&Authentication::ALL);
        let (esn, ipv6) = (choices.flag(), choices.flag());
        let mode = choices.pick(&[Mode::Tunnel, Mode::Transport]);
        let now = start();
        let mut world =
            Self { now, engine: Inbound::new(), algorithm, esn, mode, ipv6, sequence: 0 };
        let (inbound, _) =
            split(&world.child_sa(), PolicyId(0), now).expect("a key of the algorithm");
        world.engine.handle_command(InboundCommand::Install(Box::new(inbound)));
        world
    }

    fn ends(&self) -> [IpAddr; 2] {
        let ends =
            if self.ipv6 { ["2001:db8::1", "2001:db8::2"] } else { ["192.0.2.1", "192.0.2.2"] };
        ends.map(|end| end.parse().expect("an address"))
    }

    fn key(&self) -> Secret {
        Secret::new((1..=u8::MAX).take(self.algorithm.key_len()).collect())
    }

    fn child_sa(&self) -> ChildSa {
        let keys = || ChildKeys { encryption: Secret::default(), integrity: self.key() };
        let [remote, local] = self.ends();
        let all = vec![TrafficSelector::ANY_V4, TrafficSelector::ANY_V6];
        ChildSa {
            id: ChildSaId(1),
            ike: IkeSaId(1),
            connection: "fuzz".parse().expect("a name"),
            child: "fuzz".parse().expect("a name"),
            spi_in: SPI,
            spi_out: Spi(SPI.0 + 1),
            protection: Protection::Ah(self.algorithm),
            mode: self.mode,
            peer_view: None,
            esn: self.esn,
            keys_in: keys(),
            keys_out: keys(),
            local_ts: all.clone(),
            remote_ts: all,
            encap: Encapsulation {
                udp: false,
                tcp: false,
                local: SocketAddr::new(local, 0),
                remote: SocketAddr::new(remote, 0),
            },
            lifetime: Lifetime::NONE,
            replay_window: WindowSize::MIN,
            icmp: IcmpRules::default(),
            dscp: DscpPolicy::Copy,
            ecn: EcnPolicy::Normal,
            df: DfPolicy::Copy,
            // What comes out is what went in: SYNs, too.
            mtu: MtuPolicy { mss: MssClamp::Off, ..MtuPolicy::DEFAULT },
            tfc: Tfc::OFF,
            ipcomp: None,
            aggfrag: None,
            path_probe: false,
            notices: false,
            outer: None,
            rekeys: None,
        }
    }

    fn step(&mut self, choices: &mut Choices<'_>) {
        match choices.u8() & 3 {
            0 => self.garbage(choices),
            1 => self.sequence += u64::from(choices.u16()),
            _ => self.authentic(choices),
        }
        while self.engine.poll_event().is_some() {}
    }

    /// Octets that nobody sealed, perhaps behind the SPI. They change nothing.
    fn garbage(&mut self, choices: &mut Choices<'_>) {
        let mut octets = choices.long().to_vec();
        let at = usize::from(choices.u8());
        if let Some(place) = octets.get_mut(at..at + 4) {
            place.copy_from_slice(&SPI.to_octets());
        }
        let before = self.progress();
        if self.open(&octets).is_err() {
            assert_eq!(self.progress(), before);
        }
    }

    /// A packet of somebody who has the key: any headers in front, anything behind.
    fn authentic(&mut self, choices: &mut Choices<'_>) {
        let front = self.front(choices);
        let next = IpProtocol(choices.u8());
        let next = match (self.mode, next.0 & 3) {
            (Mode::Tunnel, 0) => IpProtocol::IPV4,
            (Mode::Tunnel, 1) => IpProtocol::IPV6,
            _ => next,
        };
        let body =
            if self.mode == Mode::Tunnel { esp::inner(choices) } else { choices.long().to_vec() };
        let change = (choices.u16(), choices.u8());
        self.sequence += 1;
        let Some(sealed) = self.seal(&front, next, &body) else { return };

        // First somebody changes an octet on the way.
        let mut changed = sealed.clone();
        let at = usize::from(change.0) % changed.len();
        changed[at] ^= change.1;
        let before = self.progress();
        if changed != sealed && !may_change(self.ipv6, front.len(), at) {
            assert!(self.open(&changed).is_err(), "octet {at}");
            assert_eq!(self.progress(), before);
        }
        let opened = self.open(&sealed);
        let expected = self.expected(&sealed, front.len(), next, &body);
        match (&opened, &expected) {
            (Ok(opened), Some(expected)) => assert_eq!(opened, expected),
            (Err(reason), None) => assert!(!matches!(reason, DropReason::BadIcv), "{reason}"),
            // A class of traffic that says congestion, for a packet that cannot.
            (Err(DropReason::EcnNotCapable | DropReason::SelectorMismatch), Some(_)) => {}
            // Which ones, the target `esp_inbound` knows.
            (Err(DropReason::IcmpRefused | DropReason::IcmpQuote), Some(_)) => {}
            (Err(DropReason::BadInner), Some(inner)) if has_short_icmp(inner) => {}
            _ => panic!("{opened:?} instead of {expected:?}"),
        }
    }

    /// A header with options or extension headers, well-formed or not, that leads to AH.
    fn front(&self, choices: &mut Choices<'_>) -> Vec<u8> {
        let [src, dst] = self.ends();
        let mut front = match (src, dst) {
            (IpAddr::V4(src), IpAddr::V4(dst)) => {
                let mut options = choices.short().to_vec();
                options.truncate(40);
                options.resize(options.len().next_multiple_of(4), 0);
                let words = u8::try_from(5 + options.len() / 4).expect("at most 15");
                let mut front = vec![0x40 | words, 0, 0, 0, 0, 7, 0, 0, 64, 51, 0, 0];
                front.extend(src.octets());
                front.extend(dst.octets());
                front.extend(options);
                front
            }
            (IpAddr::V6(src), IpAddr::V6(dst)) => {
                let mut front = vec![0x60, 0, 0, 0, 0, 0, 51, 64];
                front.extend(src.octets());
                front.extend(dst.octets());
                let mut names = 6;
                for _ in 0..choices.below(4) {
                    front[names] = choices.pick(&[0, 60, 43, 44]);
                    names = front.len();
                    let body = choices.short();
                    let len = (body.len() + 2).next_multiple_of(8);
                    front.extend([51, u8::try_from(len / 8 - 1).expect("at most 255 octets")]);
                    front.extend(body);
                    front.resize(names + len, 0);
                }
                front
            }
            _ => unreachable!("both ends have one family"),
        };
        let tos = choices.u8();
        // Without ECN, which changes the inner packet: `esp_inbound` has its rules.
        front[1] = tos & if self.ipv6 { 0xcf } else { 0xfc };
        front
    }

    /// RFC 4302 §3.3.3; `None` if the headers cannot be covered.
    fn seal(&self, front: &[u8], next: IpProtocol, body: &[u8]) -> Option<Vec<u8>> {
        let tag_len = self.algorithm.tag_len();
        let field_len = AhHeader::icv_field_len(tag_len, self.ipv6);
        let header = AhHeader {
            next,
            icv_words: u8::try_from(field_len / 4).expect("a short one"),
            spi: SPI,
            sequence: u32::try_from(self.sequence & 0xffff_ffff).expect("32 bits"),
        };
        let total = front.len() + header.total_len() + body.len();
        let mut front = front.to_vec();
        if self.ipv6 {
            front[4..6].copy_from_slice(&u16::try_from(total - 40).ok()?.to_be_bytes());
        } else {
            front[2..4].copy_from_slice(&u16::try_from(total).ok()?.to_be_bytes());
            let sum = checksum(&front).to_be_bytes();
            front[10..12].copy_from_slice(&sum);
        }
        let key = AuthenticationKey::new(self.algorithm, &self.key()).expect("its length");
        let mut covered = Ok(0);
        let tag = key.sign(self.sequence, |absorber| {
            covered =
                covered_headers(&front, IpProtocol::AH, &mut |part: &[u8]| absorber.absorb(part));
            absorber.absorb(&header.to_octets());
            absorber.absorb(&vec![0; field_len]);
            absorber.absorb(body);
            if self.esn {
                absorber.absorb(&self.sequence.to_be_bytes()[..4]);
            }
        });
        covered.ok()?;
        let padding = vec![0; field_len - tag_len];
        Some([&front[..], &header.to_octets(), tag.as_bytes(), &padding, body].concat())
    }

    /// What must come out; `None` if it is to be dropped.
    fn expected(
        &self,
        sealed: &[u8],
        front_len: usize,
        next: IpProtocol,
        body: &[u8],
    ) -> Option<Vec<u8>> {
        if next == IpProtocol::NO_NEXT {
            return None;
        }
        if self.mode == Mode::Tunnel {
            let inner = IpPacket::read(body).ok()?;
            let version = if inner.is_ipv4() { IpProtocol::IPV4 } else { IpProtocol::IPV6 };
            return (next == version).then(|| inner.octets().to_vec());
        }
        let mut whole = [&sealed[..front_len], body].concat();
        let names = if self.ipv6 { last_name(&whole, front_len) } else { 9 };
        whole[names] = next.0;
        if self.ipv6 {
            let len = u16::try_from(whole.len() - 40).expect("it was longer");
            whole[4..6].copy_from_slice(&len.to_be_bytes());
        } else {
            let len = u16::try_from(whole.len()).expect("it was longer");
            whole[2..4].copy_from_slice(&len.to_be_bytes());
            whole[10..12].fill(0);
            let sum = checksum(&whole[..front_len]).to_be_bytes();
            whole[10..12].copy_from_slice(&sum);
        }
        let packet = IpPacket::read(&whole).ok()?;
        let [src, dst] = self.ends();
        let fits = packet.fragment().is_none() && (packet.src(), packet.dst()) == (src, dst);
        fits.then_some(whole.clone())
    }

    /// Number and count of the packets that got through.
    fn progress(&self) -> Vec<(u64, u64)> {
        self.engine.report().sas.iter().map(|sa| (sa.sequence, sa.packets)).collect()
    }

    fn open(&mut self, octets: &[u8]) -> Result<Vec<u8>, DropReason> {
        let mut packet = esp::buffer(HEADROOM_MAX, octets, 0);
        packet.meta.whole = true;
        let mut verdicts = Vec::new();
        self.engine.open_batch(std::slice::from_mut(&mut packet), &mut verdicts, self.now);
        match verdicts.as_slice() {
            [OpenVerdict::Deliver] => Ok(packet.data().to_vec()),
            [OpenVerdict::Drop(reason)] => Err(*reason),
            // It waits for the others of its packet.
            [OpenVerdict::Held] => Err(DropReason::Fragment),
            other => panic!("one packet, {other:?}"),
        }
    }
}

/// Where the octet is that names what follows the last extension header.
fn last_name(packet: &[u8], front_len: usize) -> usize {
    let (mut names, mut at) = (6, 40);
    while at < front_len {
        names = at;
        at += usize::from(packet[at + 1]) * 8 + 8;
    }
    names
}

/// Whether a packet is of ICMP, and ends before the type.
fn has_short_icmp(inner: &[u8]) -> bool {
    IpPacket::read(inner).is_ok_and(|packet| {
        let is_icmp = [IpProtocol::ICMP, IpProtocol::ICMPV6].contains(&packet.protocol());
        is_icmp && packet.icmp().is_none() && !packet.is_later_fragment()
    })
}

/// Whether a change there may pass: base header fields of RFC 4302 §3.3.3.1, and all options, whose
/// classes have tests of their own.
fn may_change(ipv6: bool, front_len: usize, at: usize) -> bool {
    match (ipv6, at) {
        (false, 1 | 6 | 7 | 8 | 10 | 11) | (true, 0..=3 | 7) => true,
        (false, 20..) | (true, 40..) => at < front_len,
        // A route predicts the destination, wherever the packet is on it.
        (false, 16..) => front_len > 20,
        (true, 24..) => front_len > 40,
        _ => false,
    }
}

const SPI: Spi = Spi(0x0000_0a0a);
const STEPS_MAX: usize = 64;
