//! What is drawn: policies, packets and child SAs from a small pool, so that they meet often.

use std::net::{IpAddr, SocketAddr};

use adit_crypto::{Cipher, Encryption, Rng, Secret, SeededRng};
use adit_db::{
    Action, Amounts, ChildKeys, ChildSa, ChildSaId, DfPolicy, DscpPolicy, EcnPolicy, Encapsulation,
    IcmpRules, IkeSaId, Lifetime, Mode, MtuPolicy, PolicyId, SpdEntry, Tfc, WindowSize,
};
use adit_wire::esp::Spi;
use adit_wire::iana::IpProtocol;
use adit_wire::ikev2::{PortRange, TrafficSelector};
use adit_wire::ip::{IpPacket, Ipv4Header, Ipv6Header, write_fragment};

use super::reference::Flow;

/// Draws of a run, in the words of this module.
#[derive(Debug)]
pub(super) struct Dice(pub(super) SeededRng);

impl Dice {
    /// A number from 0 to one less than `bound`.
    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.0.next_u64() % bound.max(1)
    }

    /// The same as index.
    pub(super) fn index(&mut self, len: usize) -> usize {
        usize::try_from(self.below(len as u64)).unwrap_or(0)
    }

    /// Whether something happens that happens so often.
    pub(super) fn percent(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    /// One of several.
    pub(super) fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        *from.get(self.index(from.len())).expect("there is something to pick from")
    }

    fn small(&mut self, bound: u8) -> u8 {
        u8::try_from(self.below(bound.into())).unwrap_or(0)
    }
}

/// Which end of the tunnel an address belongs to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum End {
    Near,
    Far,
}

/// One host out of twelve of a family.
fn host(end: End, ipv6: bool, net: u8, host: u8) -> IpAddr {
    let side = if end == End::Near { 1 } else { 2 };
    if ipv6 {
        let mut octets = [0; 16];
        (octets[0], octets[1], octets[7], octets[15]) = (0xfd, side, net, host);
        octets.into()
    } else {
        [10, side, net, host].into()
    }
}

fn any_host(dice: &mut Dice, end: End, ipv6: bool) -> IpAddr {
    host(end, ipv6, dice.small(3), 1 + dice.small(4))
}

const PROTOCOLS: [IpProtocol; 4] =
    [IpProtocol::TCP, IpProtocol::UDP, IpProtocol::ICMP, IpProtocol(GRE)];
const GRE: u8 = 47;

fn above_ip(dice: &mut Dice, ipv6: bool) -> IpProtocol {
    match dice.pick(&PROTOCOLS) {
        IpProtocol::ICMP if ipv6 => IpProtocol::ICMPV6,
        other => other,
    }
}

/// Of TCP and UDP. Few, so that rules of ports meet packets.
const PORTS: [u16; 4] = [53, 443, 4_500, 40_000];

/// Policies that packets may be protected by.
pub(super) const POLICIES: u32 = 3;

/// Entries in order of precedence.
pub(super) fn entries(dice: &mut Dice) -> Vec<SpdEntry> {
    let count = 1 + dice.below(5);
    let by_ports = dice.percent(60);
    (0..count)
        .map(|_| SpdEntry {
            local: selectors(dice, End::Near, by_ports),
            remote: selectors(dice, End::Far, by_ports),
            action: match dice.below(10) {
                0..5 => Action::Protect(policy(dice)),
                5..8 => Action::Bypass,
                _ => Action::Discard,
            },
        })
        .collect()
}

fn policy(dice: &mut Dice) -> PolicyId {
    PolicyId(u32::try_from(dice.below(POLICIES.into())).unwrap_or(0))
}

fn selectors(dice: &mut Dice, end: End, by_ports: bool) -> Vec<TrafficSelector> {
    if dice.percent(50) {
        return vec![TrafficSelector::ANY_V4, TrafficSelector::ANY_V6];
    }
    let count = 1 + dice.below(2);
    (0..count).map(|_| selector(dice, end, by_ports)).collect()
}

fn selector(dice: &mut Dice, end: End, by_ports: bool) -> TrafficSelector {
    let ipv6 = dice.percent(40);
    let one = any_host(dice, end, ipv6);
    let range = match dice.below(4) {
        0 => TrafficSelector::from_prefix(one, if ipv6 { 128 } else { 32 }),
        1 => TrafficSelector::from_prefix(one, if ipv6 { 64 } else { 24 }),
        2 => TrafficSelector::from_prefix(one, 16),
        _ => {
            let other = any_host(dice, end, ipv6);
            TrafficSelector::from_range(one.min(other), one.max(other))
        }
    };
    let range = range.expect("of one family, in order, and no longer than the address");
    if !by_ports || dice.percent(40) {
        return range;
    }
    let protocol = if dice.percent(10) { 0 } else { above_ip(dice, ipv6).0 };
    let port = dice.pick(&PORTS);
    let ports = match dice.below(8) {
        0..3 => PortRange::ANY,
        3..5 => PortRange::single(port),
        5 => PortRange { start: 0, end: port },
        6 => PortRange { start: port, end: u16::MAX },
        _ => PortRange::OPAQUE,
    };
    TrafficSelector { protocol, ports, ..range }
}

/// A datagram of somebody behind a gateway.
#[derive(Debug)]
pub(super) struct Datagram {
    /// What policies see once it is whole.
    pub(super) flow: Flow,
    /// In one piece.
    pub(super) octets: Vec<u8>,
    /// Its fragments, if it is to be sent in several.
    pub(super) pieces: Vec<Vec<u8>>,
}

/// Octets that show where somebody's data lies in clear.
const MARK: [u8; 4] = [0xad, 0x17, 0x5e, 0xed];
/// A mark with the number of its datagram.
const MARK_LEN: usize = 8;

/// The datagrams whose data is in plain sight in `octets`.
pub(super) fn seen_in(octets: &[u8]) -> Vec<usize> {
    let marked = octets.windows(MARK_LEN).filter_map(|window| {
        let number = window.strip_prefix(&MARK)?;
        usize::try_from(u32::from_be_bytes(number.try_into().ok()?)).ok()
    });
    let mut seen: Vec<usize> = marked.collect();
    seen.dedup();
    seen
}

/// A datagram with the next number, from `end` to the other one.
pub(super) fn datagram(dice: &mut Dice, number: usize, end: End) -> Datagram {
    let ipv6 = dice.percent(40);
    let (src_end, dst_end) = match end {
        End::Near => (End::Near, End::Far),
        End::Far => (End::Far, End::Near),
    };
    let (src, dst) = (any_host(dice, src_end, ipv6), any_host(dice, dst_end, ipv6));
    let protocol = above_ip(dice, ipv6);
    let (head, ports) = transport_header(dice, protocol);
    let in_pieces = dice.percent(30);
    let marks = if in_pieces { 20 + dice.index(600) } else { 1 + dice.index(150) };
    let mark = [MARK, u32::try_from(number).unwrap_or(u32::MAX).to_be_bytes()].concat();
    let body = [head, mark.repeat(marks)].concat();
    let id = u16::try_from(number).unwrap_or(0);
    let octets = ip_packet(src, dst, protocol, id, !in_pieces && dice.percent(50), &body);
    let pieces = if in_pieces { cut(dice, &octets, id) } else { Vec::new() };
    Datagram { flow: Flow { src, dst, protocol: protocol.0, ports }, octets, pieces }
}

/// A multiple of [`MARK_LEN`] octets, and the ports in them.
fn transport_header(dice: &mut Dice, protocol: IpProtocol) -> (Vec<u8>, Option<(u16, u16)>) {
    let (one, other) = (dice.pick(&PORTS), dice.pick(&PORTS));
    let ports = [one.to_be_bytes(), other.to_be_bytes()].concat();
    match protocol {
        IpProtocol::UDP => ([&ports[..], &[0; 4]].concat(), Some((one, other))),
        IpProtocol::TCP => {
            let offset_and_flags = [0x60, 0x10];
            let rest = [&[0; 8][..], &offset_and_flags, &[0; 10]].concat();
            ([ports, rest].concat(), Some((one, other)))
        }
        // Type and code are both ports (RFC 7296 §3.13.1).
        IpProtocol::ICMP => (vec![8, 0, 0, 0, 0, 0, 0, 0], Some((0x0800, 0x0800))),
        IpProtocol::ICMPV6 => (vec![128, 0, 0, 0, 0, 0, 0, 0], Some((0x8000, 0x8000))),
        _ => (Vec::new(), None),
    }
}

fn ip_packet(
    src: IpAddr,
    dst: IpAddr,
    protocol: IpProtocol,
    identification: u16,
    dont_fragment: bool,
    body: &[u8],
) -> Vec<u8> {
    let len = u16::try_from(body.len()).expect("a short one");
    let header = match (src, dst) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => Ipv4Header {
            traffic_class: 0,
            total_len: len + 20,
            identification,
            dont_fragment,
            ttl: 63,
            protocol,
            src,
            dst,
        }
        .to_octets()
        .to_vec(),
        (IpAddr::V6(src), IpAddr::V6(dst)) => Ipv6Header {
            traffic_class: 0,
            flow_label: 9,
            payload_len: len,
            next: protocol,
            hop_limit: 63,
            src,
            dst,
        }
        .to_octets()
        .to_vec(),
        _ => unreachable!("flows have one family"),
    };
    [&header[..], body].concat()
}

/// The fragments of a datagram, in any order, some of them twice.
fn cut(dice: &mut Dice, octets: &[u8], id: u16) -> Vec<Vec<u8>> {
    let whole = IpPacket::read(octets).expect("a packet of ours");
    let len = 8 * (3 + u16::try_from(dice.below(150)).unwrap_or(0));
    let (mut pieces, mut offset) = (Vec::new(), 0);
    loop {
        let mut out = vec![0; 1_400];
        let Some((written, more)) = write_fragment(&whole, id.into(), offset, len.into(), &mut out)
        else {
            break;
        };
        out.truncate(written);
        let at = dice.index(pieces.len() + 1);
        if dice.percent(5) {
            pieces.push(out.clone());
        }
        pieces.insert(at, out);
        if !more {
            break;
        }
        offset = offset.saturating_add(len);
    }
    pieces
}

/// A child SA as the near end has it; the far end's is [`mirrored`]. Sealing it hides everything,
/// so no NULL encryption and no AH.
pub(super) fn child_sa(dice: &mut Dice, id: ChildSaId) -> (ChildSa, PolicyId) {
    let transport = dice.percent(15);
    let ipv6 = dice.percent(40);
    let udp = dice.percent(50);
    let (local, remote) = if transport {
        (any_host(dice, End::Near, ipv6), any_host(dice, End::Far, ipv6))
    } else {
        ([192, 0, 2, 1].into(), [198, 51, 100, 1].into())
    };
    let end = |address: IpAddr| SocketAddr::new(address, if udp { 4_500 } else { 0 });
    let by_ports = dice.percent(20);
    let ciphers: Vec<Cipher> = Cipher::ALL.into_iter().filter(|one| hides(*one)).collect();
    let cipher = dice.pick(&ciphers);
    let esn = dice.percent(50);
    let sa = ChildSa {
        id,
        ike: IkeSaId(1),
        connection: "berlin".parse().expect("a name"),
        child: "net".parse().expect("a name"),
        spi_in: Spi(0xc000_0000 + id.0),
        spi_out: Spi(0xd000_0000 + id.0),
        protection: cipher.into(),
        mode: if transport { Mode::Transport } else { Mode::Tunnel },
        peer_view: None,
        esn,
        keys_in: keys(dice, cipher),
        keys_out: keys(dice, cipher),
        local_ts: selectors(dice, End::Near, by_ports),
        remote_ts: selectors(dice, End::Far, by_ports),
        encap: Encapsulation { udp, tcp: false, local: end(local), remote: end(remote) },
        lifetime: lifetime(dice),
        replay_window: WindowSize::DEFAULT,
        icmp: IcmpRules::default(),
        dscp: DscpPolicy::Copy,
        ecn: EcnPolicy::Normal,
        df: DfPolicy::Clear,
        mtu: MtuPolicy::default(),
        ipcomp: None,
        aggfrag: None,
        path_probe: false,
        notices: false,
        tfc: Tfc {
            padding: if dice.percent(10) { 600 } else { 0 },
            dummies: if dice.percent(10) { 1 } else { 0 },
        },
        outer: None,
        rekeys: None,
    };
    (sa, policy(dice))
}

fn hides(cipher: Cipher) -> bool {
    !matches!(cipher, Cipher::AesGmac(_) | Cipher::Paired(Encryption::Null, _))
}

fn keys(dice: &mut Dice, cipher: Cipher) -> ChildKeys {
    let mut octets = |len: usize| {
        let mut octets = vec![0; len];
        dice.0.fill(&mut octets);
        Secret::new(octets)
    };
    ChildKeys {
        encryption: octets(cipher.encryption_key_len()),
        integrity: octets(cipher.integrity_key_len()),
    }
}

fn lifetime(dice: &mut Dice) -> Lifetime {
    let hard = match dice.below(6) {
        0 => Amounts {
            time: Some(std::time::Duration::from_secs(5 + dice.below(120))),
            ..Amounts::NONE
        },
        1 => Amounts { octets: Some(dice.below(5_000)), ..Amounts::NONE },
        2 => Amounts { packets: Some(dice.below(8)), ..Amounts::NONE },
        _ => Amounts::NONE,
    };
    Lifetime { hard, ..Lifetime::NONE }
}

/// The same SA at the far end, which never ends it and takes and sends whatever there is.
pub(super) fn mirrored(sa: &ChildSa) -> ChildSa {
    let copy = |keys: &ChildKeys| {
        let secret = |secret: &Secret| Secret::new(secret.as_bytes().to_vec());
        ChildKeys { encryption: secret(&keys.encryption), integrity: secret(&keys.integrity) }
    };
    let all = || vec![TrafficSelector::ANY_V4, TrafficSelector::ANY_V6];
    ChildSa {
        id: sa.id,
        ike: sa.ike,
        connection: sa.connection.clone(),
        child: sa.child.clone(),
        spi_in: sa.spi_out,
        spi_out: sa.spi_in,
        protection: sa.protection,
        mode: sa.mode,
        peer_view: None,
        esn: sa.esn,
        keys_in: copy(&sa.keys_out),
        keys_out: copy(&sa.keys_in),
        local_ts: all(),
        remote_ts: all(),
        encap: Encapsulation {
            udp: sa.encap.udp,
            tcp: false,
            local: sa.encap.remote,
            remote: sa.encap.local,
        },
        lifetime: Lifetime::NONE,
        replay_window: sa.replay_window,
        icmp: sa.icmp.clone(),
        dscp: sa.dscp,
        ecn: sa.ecn,
        df: sa.df,
        mtu: sa.mtu,
        ipcomp: None,
        aggfrag: sa.aggfrag,
        path_probe: sa.path_probe,
        notices: sa.notices,
        tfc: Tfc::OFF,
        outer: None,
        rekeys: None,
    }
}
