//! Two engines with a child SA between them, and packets to send.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use adit_crypto::{Authentication, Cipher, Protection, Secret};
use adit_dataplane::{
    HEADROOM_MAX, Inbound, InboundCommand, OpenVerdict, Outbound, OutboundCommand, TAILROOM_MAX,
    Verdict, split,
};
use adit_db::{
    Action, Aggfrag, ChildKeys, ChildSa, ChildSaId, DfPolicy, DscpPolicy, EcnPolicy, Encapsulation,
    Hosts, IcmpRules, IkeSaId, IpComp, Lifetime, Mode, MtuPolicy, PolicyId, Spd, SpdEntry, Tfc,
    TsSpec, WindowSize,
};
use adit_wire::PacketBuf;
use adit_wire::esp::Spi;
use adit_wire::iana::IpProtocol;
use adit_wire::ikev2::TrafficSelector;
use adit_wire::ip::{Ipv4Header, Ipv6Header};

/// The policy of every test.
pub(crate) const POLICY: PolicyId = PolicyId(0);
/// The child SA of most tests.
pub(crate) const CHILD: ChildSaId = ChildSaId(1);
/// What the left engine sends with and the right one expects.
pub(crate) const SPI: Spi = Spi(0xc000_0001);

/// An instant to start from.
#[expect(clippy::disallowed_methods, reason = "a test needs some instant to start from")]
pub(crate) fn start() -> Instant {
    Instant::now()
}

/// What a test may choose about its SA.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    /// Number and SPI of the SA.
    pub(crate) child: ChildSaId,
    /// See there.
    pub(crate) cipher: Cipher,
    /// AH instead of ESP with the cipher.
    pub(crate) ah: Option<Authentication>,
    /// See there.
    pub(crate) esn: bool,
    /// Over UDP 4500 or directly above IP.
    pub(crate) udp: bool,
    /// See there.
    pub(crate) lifetime: Lifetime,
    /// Replay window of the right side.
    pub(crate) window: WindowSize,
    /// See there.
    pub(crate) icmp: IcmpRules,
    /// See there.
    pub(crate) dscp: DscpPolicy,
    /// See there.
    pub(crate) ecn: EcnPolicy,
    /// See there.
    pub(crate) df: DfPolicy,
    /// See there.
    pub(crate) mtu: MtuPolicy,
    /// See there.
    pub(crate) tfc: Tfc,
    /// See there; the left side sends with `cpi_out`, the right one takes that.
    pub(crate) ipcomp: Option<IpComp>,
    /// See there.
    pub(crate) aggfrag: Option<Aggfrag>,
    /// See there.
    pub(crate) path_probe: bool,
    /// See there.
    pub(crate) notices: bool,
    /// See there.
    pub(crate) mode: Mode,
    /// The right side's knowledge of what the left side takes the ends for.
    pub(crate) peer_view: Option<Hosts>,
    /// The outer addresses, left and right.
    pub(crate) ends: (SocketAddr, SocketAddr),
    /// What the right side lets in as the left side's.
    pub(crate) left_ts: Vec<TrafficSelector>,
    /// What both sides speak for as the right side's.
    pub(crate) right_ts: Vec<TrafficSelector>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            child: CHILD,
            cipher: Cipher::ALL[0],
            ah: None,
            esn: true,
            udp: true,
            lifetime: Lifetime::NONE,
            window: WindowSize::MIN,
            icmp: IcmpRules::default(),
            dscp: DscpPolicy::Copy,
            ecn: EcnPolicy::Normal,
            df: DfPolicy::Clear,
            mtu: MtuPolicy::default(),
            tfc: Tfc::OFF,
            ipcomp: None,
            aggfrag: None,
            path_probe: false,
            notices: false,
            mode: Mode::Tunnel,
            peer_view: None,
            ends: (left(), right()),
            left_ts: ts(&["10.1.0.0/16", "fd01::/48"]),
            right_ts: ts(&["10.2.0.0/16", "fd02::/48"]),
        }
    }
}

/// Selectors from their texts.
pub(crate) fn ts(texts: &[&str]) -> Vec<TrafficSelector> {
    let selector = |text: &&str| text.parse::<TsSpec>().unwrap().selector().unwrap();
    texts.iter().map(selector).collect()
}

/// The outer address of the left side.
pub(crate) fn left() -> SocketAddr {
    "192.0.2.1:4500".parse().unwrap()
}

/// The outer address of the right side.
pub(crate) fn right() -> SocketAddr {
    "198.51.100.1:4500".parse().unwrap()
}

/// Keys of the packets from left to right, the same at every call.
pub(crate) fn keys(protection: impl Into<Protection>) -> ChildKeys {
    let protection = protection.into();
    let octets = |len: usize, first: u8| -> Vec<u8> {
        (0..len).map(|index| first.wrapping_add(u8::try_from(index).unwrap())).collect()
    };
    ChildKeys {
        encryption: Secret::new(octets(protection.encryption_key_len(), 1)),
        integrity: Secret::new(octets(protection.integrity_key_len(), 101)),
    }
}

impl Options {
    fn protection(&self) -> Protection {
        self.ah.map_or_else(|| self.cipher.into(), Protection::Ah)
    }

    /// One side of the child SA.
    pub(crate) fn child_sa(&self, at_left: bool) -> ChildSa {
        let encap = |local, remote| Encapsulation { udp: self.udp, tcp: false, local, remote };
        let (left, right) = self.ends;
        let spi = Spi(SPI.0 - CHILD.0 + self.child.0);
        // What goes from right to left is no matter here, but SPIs must differ.
        let back = Spi(spi.0 + 0x1000);
        ChildSa {
            id: self.child,
            ike: IkeSaId(1),
            connection: "berlin".parse().unwrap(),
            child: "net".parse().unwrap(),
            spi_in: if at_left { back } else { spi },
            spi_out: if at_left { spi } else { back },
            protection: self.protection(),
            mode: self.mode,
            peer_view: self.peer_view.filter(|_| !at_left),
            esn: self.esn,
            keys_in: keys(self.protection()),
            keys_out: keys(self.protection()),
            local_ts: match (at_left, self.mode) {
                (false, _) => self.right_ts.clone(),
                (true, Mode::Tunnel | Mode::Transport) => ts(&["0.0.0.0/0", "::/0"]),
                (true, Mode::Beet) => self.left_ts.clone(),
            },
            remote_ts: if at_left { self.right_ts.clone() } else { self.left_ts.clone() },
            encap: if at_left { encap(left, right) } else { encap(right, left) },
            lifetime: self.lifetime,
            replay_window: self.window,
            icmp: self.icmp.clone(),
            dscp: self.dscp,
            ecn: self.ecn,
            df: self.df,
            mtu: self.mtu,
            tfc: self.tfc,
            aggfrag: self.aggfrag,
            path_probe: self.path_probe,
            notices: self.notices,
            ipcomp: self.ipcomp.map(|IpComp { cpi_in, cpi_out }| match at_left {
                true => IpComp { cpi_in, cpi_out },
                false => IpComp { cpi_in: cpi_out, cpi_out: cpi_in },
            }),
            outer: None,
            rekeys: None,
        }
    }

    /// The command that gives the left engine its half.
    pub(crate) fn left_half(&self, now: Instant, active: bool) -> OutboundCommand {
        let (_, outbound) = split(&self.child_sa(true), POLICY, now).unwrap();
        OutboundCommand::Install { sa: Box::new(outbound), active }
    }

    /// The same for another policy, in use at once.
    pub(crate) fn left_half_of(&self, policy: PolicyId, now: Instant) -> OutboundCommand {
        let (_, outbound) = split(&self.child_sa(true), policy, now).unwrap();
        OutboundCommand::Install { sa: Box::new(outbound), active: true }
    }

    /// The same, with the sequence number after this one as its first.
    pub(crate) fn left_half_after(&self, last: u64, now: Instant) -> OutboundCommand {
        let (_, outbound) = split(&self.child_sa(true), POLICY, now).unwrap();
        OutboundCommand::Install { sa: Box::new(outbound.with_sequence_after(last)), active: true }
    }

    /// The command that gives the right engine its half.
    pub(crate) fn right_half(&self, now: Instant) -> InboundCommand {
        let (inbound, _) = split(&self.child_sa(false), POLICY, now).unwrap();
        InboundCommand::Install(Box::new(inbound))
    }

    /// Both engines, ready.
    pub(crate) fn tunnel(&self) -> Tunnel {
        let now = start();
        let mut tunnel = Tunnel { left: protecting_engine(now), right: Inbound::new(), now };
        tunnel.left.handle_command(self.left_half(now, true), now);
        tunnel.right.handle_command(self.right_half(now));
        tunnel
    }
}

/// Policies that protect everything to the right.
pub(crate) fn protecting_spd() -> Arc<Spd> {
    let entry = SpdEntry {
        local: ts(&["0.0.0.0/0", "::/0"]),
        remote: ts(&["10.2.0.0/16", "fd02::/48"]),
        action: Action::Protect(POLICY),
    };
    Arc::new(Spd::new(vec![entry]).unwrap())
}

/// An outbound engine with these.
pub(crate) fn protecting_engine(now: Instant) -> Outbound {
    let mut engine = Outbound::new();
    engine.handle_command(OutboundCommand::SetPolicies(protecting_spd()), now);
    engine
}

/// What sends at the left and what receives at the right.
pub(crate) struct Tunnel {
    /// Seals.
    pub(crate) left: Outbound,
    /// Opens.
    pub(crate) right: Inbound,
    /// Now.
    pub(crate) now: Instant,
}

impl Tunnel {
    /// Seals one packet.
    pub(crate) fn seal(&mut self, packet: &mut PacketBuf) -> Verdict {
        seal(&mut self.left, packet, self.now)
    }

    /// Seals an inner packet and shows the receiver what the path makes of its outer header.
    pub(crate) fn sealed(&mut self, inner: &[u8]) -> PacketBuf {
        self.sealed_from(buffer(inner))
    }

    /// The same for a packet that came in fragments.
    pub(crate) fn sealed_joined(&mut self, inner: &[u8]) -> PacketBuf {
        let mut packet = buffer(inner);
        packet.meta.joined = true;
        self.sealed_from(packet)
    }

    fn sealed_from(&mut self, mut packet: PacketBuf) -> PacketBuf {
        assert_eq!(self.seal(&mut packet), Verdict::Send);
        std::mem::swap(&mut packet.meta.local, &mut packet.meta.remote);
        packet
    }

    /// Opens one packet.
    pub(crate) fn open(&mut self, packet: &mut PacketBuf) -> OpenVerdict {
        let mut verdicts = Vec::new();
        self.right.open_batch(std::slice::from_mut(packet), &mut verdicts, self.now);
        verdicts[0]
    }

    /// Sends an inner packet through and returns what comes out.
    pub(crate) fn send(&mut self, inner: &[u8]) -> Vec<u8> {
        let mut packet = self.sealed(inner);
        assert_eq!(self.open(&mut packet), OpenVerdict::Deliver);
        packet.data().to_vec()
    }
}

/// Seals one packet.
pub(crate) fn seal(engine: &mut Outbound, packet: &mut PacketBuf, now: Instant) -> Verdict {
    let mut verdicts = Vec::new();
    engine.seal_batch(std::slice::from_mut(packet), &mut verdicts, now);
    verdicts[0]
}

/// A buffer that holds these octets, with room to seal them.
pub(crate) fn buffer(octets: &[u8]) -> PacketBuf {
    let mut packet = PacketBuf::with_capacity(HEADROOM_MAX, octets.len() + TAILROOM_MAX);
    assert!(packet.fill(octets));
    packet
}

/// A copy of a packet with its addressing.
pub(crate) fn copy(packet: &PacketBuf) -> PacketBuf {
    let mut other = buffer(packet.data());
    other.meta = packet.meta;
    other
}

/// A UDP packet from left to right with so many octets in all, at least 28 or 48.
pub(crate) fn udp_packet(ipv6: bool, traffic_class: u8, len: usize) -> Vec<u8> {
    let (src, dst) = if ipv6 { ("fd01::5", "fd02::7") } else { ("10.1.0.5", "10.2.0.7") };
    packet_between(src, dst, traffic_class, len)
}

/// The same between any two hosts.
pub(crate) fn packet_between(src: &str, dst: &str, traffic_class: u8, len: usize) -> Vec<u8> {
    let (src, dst): (IpAddr, IpAddr) = (src.parse().unwrap(), dst.parse().unwrap());
    let len_u16 = u16::try_from(len).unwrap();
    let mut octets = match (src, dst) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => Ipv4Header {
            traffic_class,
            total_len: len_u16,
            identification: 7,
            dont_fragment: true,
            ttl: 63,
            protocol: IpProtocol::UDP,
            src,
            dst,
        }
        .to_octets()
        .to_vec(),
        (IpAddr::V6(src), IpAddr::V6(dst)) => Ipv6Header {
            traffic_class,
            flow_label: 9,
            payload_len: len_u16 - 40,
            next: IpProtocol::UDP,
            hop_limit: 63,
            src,
            dst,
        }
        .to_octets()
        .to_vec(),
        _ => panic!("two families"),
    };
    octets.extend([0x9c, 0x40, 0, 53]);
    octets.extend((octets.len()..len).map(|index| u8::try_from(index % 251).unwrap()));
    octets
}
