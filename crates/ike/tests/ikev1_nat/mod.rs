//! IKEv1 where a NAT is between the two (RFC 3947), and what nobody may make of the messages for it.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use adit_db::{Connection, Encap, HostSpec, Hosts, IkeVersion, Mode, ProposalSpec};
use adit_ike::{Command, Event, PacketEvent, Path};

use super::common::{LEFT, Pair, Peer, RIGHT, reversed, selector};
use super::{exchange, up_with, v1_connections, with_suites};

/// The address of the NAT on the side of the other.
const OUTSIDE: IpAddr = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 7));

/// Vendor ids of RFC 3947, and of its drafts -03 and -02 in both forms.
const NAT_IDS: [[u8; 4]; 4] = [
    [0x4a, 0x13, 0x1c, 0x81],
    [0x7d, 0x94, 0x19, 0xa6],
    [0x90, 0xcb, 0x80, 0x91],
    [0xcd, 0x60, 0x46, 0x43],
];

const VENDOR_ID: u8 = 13;
const NONCE: u8 = 10;
const NAT_D: u8 = 20;
const NAT_D_DRAFT: u8 = 130;

/// The left one is behind a NAT, which gives it ports that are greater by `shift`.
pub(super) struct Behind {
    pub(super) pair: Pair,
    shift: u16,
    /// What the right one got and the left one got, as they saw it.
    seen: Vec<(Path, Vec<u8>)>,
}

impl Behind {
    pub(super) fn new(mut connections: [Connection; 2], shift: u16) -> Self {
        connections[1].remote_addresses = vec![HostSpec::Address(OUTSIDE)];
        Self { pair: Pair::new(Default::default(), connections), shift, seen: Vec::new() }
    }

    fn up(connections: [Connection; 2]) -> Self {
        let mut behind = Self::new(connections, 10_000);
        let request = behind.pair.left.initiate(behind.pair.now);
        behind.run();
        let failures = behind.pair.left.failures();
        assert_eq!(behind.pair.left.done.get(&request), Some(&Ok(())), "{failures:?}");
        behind
    }

    fn outside(&self, port: u16) -> SocketAddr {
        SocketAddr::new(OUTSIDE, port + self.shift)
    }

    pub(super) fn run(&mut self) {
        while self.deliver(|octets| Some(octets.to_vec())) {}
    }

    /// One round of messages, each as `pass` leaves it.
    fn deliver(&mut self, pass: impl Fn(&[u8]) -> Option<Vec<u8>>) -> bool {
        let now = self.pair.now;
        let from_left: Vec<_> = self.pair.left.sent.drain(..).collect();
        let from_right: Vec<_> = self.pair.right.sent.drain(..).collect();
        let any = !from_left.is_empty() || !from_right.is_empty();
        for (path, octets) in from_left {
            let Some(octets) = pass(&octets) else { continue };
            let seen = Path::udp(path.remote, self.outside(path.local.port()));
            self.seen.push((seen, octets.clone()));
            self.pair.right.datagram(seen, &octets, now);
        }
        for (path, octets) in from_right {
            let Some(octets) = pass(&octets) else { continue };
            // A mapping that is not there any more leads nowhere.
            let Some(port) = path.remote.port().checked_sub(self.shift) else { continue };
            if path.remote.ip() == OUTSIDE && [500, 4500].contains(&port) {
                let seen = Path::udp(SocketAddr::new(LEFT, port), path.local);
                self.seen.push((seen, octets.clone()));
                self.pair.left.datagram(seen, &octets, now);
            }
        }
        any
    }

    fn run_for(&mut self, time: Duration) {
        let end = self.pair.now + time;
        self.run();
        loop {
            let timers =
                [self.pair.left.endpoint.poll_timeout(), self.pair.right.endpoint.poll_timeout()];
            let Some(next) = timers.into_iter().flatten().min().filter(|next| *next <= end) else {
                self.pair.now = end;
                return;
            };
            let now = self.pair.now.max(next);
            self.pair.now = now;
            self.pair.left.timeout(now);
            self.pair.right.timeout(now);
            self.run();
        }
    }
}

/// Type and body of each payload of a message in clear.
pub(super) fn payloads(octets: &[u8]) -> Vec<(u8, Vec<u8>)> {
    let (mut kind, mut rest, mut found) = (octets[16], &octets[28..], Vec::new());
    while kind != 0 {
        let len = usize::from(u16::from_be_bytes([rest[2], rest[3]]));
        found.push((kind, rest[4..len].to_vec()));
        (kind, rest) = (rest[0], &rest[len..]);
    }
    found
}

/// The message with other payloads.
pub(super) fn rebuilt(octets: &[u8], payloads: &[(u8, Vec<u8>)]) -> Vec<u8> {
    let mut message = octets[..28].to_vec();
    message[16] = payloads[0].0;
    for (index, (_, body)) in payloads.iter().enumerate() {
        let next = payloads.get(index + 1).map_or(0, |(kind, _)| *kind);
        message.extend([next, 0]);
        message.extend(u16::try_from(body.len() + 4).unwrap().to_be_bytes());
        message.extend(body);
    }
    let len = u32::try_from(message.len()).unwrap();
    message[24..28].copy_from_slice(&len.to_be_bytes());
    message
}

fn is_clear_main_mode(octets: &[u8]) -> bool {
    exchange(octets) == 2 && octets[19] & 1 == 0
}

/// The message as somebody sends it who knows no more of NAT traversal than `known`.
fn without_ids(octets: &[u8], known: &[[u8; 4]]) -> Option<Vec<u8>> {
    if !is_clear_main_mode(octets) {
        return Some(octets.to_vec());
    }
    let mut all = payloads(octets);
    let is_unknown =
        |body: &[u8]| NAT_IDS.iter().any(|id| body.starts_with(id) && !known.contains(id));
    all.retain(|(kind, body)| *kind != VENDOR_ID || !is_unknown(body));
    Some(rebuilt(octets, &all))
}

/// CHECKLIST W08, N01: RFC 3947 with a NAT before who calls. From the fifth message on everything goes
/// between the NAT ports, and ESP in UDP.
#[test]
fn who_is_behind_a_nat_moves_to_the_nat_ports() {
    let behind = Behind::up(v1_connections());
    behind.pair.assert_one_tunnel();
    let ports: Vec<(u16, u16)> =
        behind.seen.iter().map(|(path, _)| (path.local.port(), path.remote.port())).collect();
    assert_eq!(ports[..4], [(500, 10_500), (500, 500), (500, 10_500), (500, 500)]);
    assert!(ports[4..].iter().all(|pair| matches!(pair, (4500, 14_500 | 4500))), "{ports:?}");
    let third = payloads(&behind.seen[2].1);
    assert_eq!(third.iter().filter(|(kind, _)| *kind == NAT_D).count(), 2);

    let (left, right) = (&behind.pair.left.established()[0], &behind.pair.right.established()[0]);
    assert_eq!((left.nat_local, left.nat_remote), (true, false));
    assert_eq!((right.nat_local, right.nat_remote), (false, true));
    let theirs = behind.pair.right.children.values().next().unwrap();
    assert!(theirs.encap.udp);
    assert_eq!(theirs.encap.remote, behind.outside(4500));
    assert!(behind.pair.left.children.values().all(|child| child.encap.udp));
}

/// The same with the NAT before who is called, which forwards the ports.
#[test]
fn who_is_called_may_be_behind_a_nat() {
    let mut behind = Behind::new(v1_connections(), 0);
    let request = behind.pair.right.initiate(behind.pair.now);
    behind.run();
    assert_eq!(behind.pair.right.done.get(&request), Some(&Ok(())));
    behind.pair.assert_one_tunnel();
    let left = &behind.pair.left.established()[0];
    assert_eq!((left.nat_local, left.nat_remote), (true, false));
    assert!(behind.pair.left.children.values().all(|child| child.encap.udp));
}

/// CHECKLIST W08, T14: a peer that knows the drafts alone, and one that knows nothing.
#[test]
fn the_drafts_have_other_numbers() {
    for known in [&NAT_IDS[1..2], &NAT_IDS[2..3], &NAT_IDS[3..4]] {
        let mut behind = Behind::new(v1_connections(), 10_000);
        behind.pair.left.initiate(behind.pair.now);
        while behind.deliver(|octets| without_ids(octets, known)) {}
        behind.pair.assert_one_tunnel();
        let third = payloads(&behind.seen[2].1);
        assert_eq!(third.iter().filter(|(kind, _)| *kind == NAT_D_DRAFT).count(), 2);
        assert!(behind.pair.right.children.values().all(|child| child.encap.udp));
    }
    let mut behind = Behind::new(v1_connections(), 10_000);
    behind.pair.left.initiate(behind.pair.now);
    while behind.deliver(|octets| without_ids(octets, &[])) {}
    behind.pair.assert_one_tunnel();
    assert!(behind.seen.iter().all(|(path, _)| path.local.port() == 500));
    assert!(behind.pair.right.children.values().all(|child| !child.encap.udp));
}

/// CHECKLIST N02, W08: UDP without a NAT if one side insists, and none if one side refuses.
#[test]
fn the_configuration_may_insist_on_udp_or_refuse_it() {
    for (left, right, udp) in [
        (Encap::Udp, Encap::Auto, true),
        (Encap::Auto, Encap::Udp, true),
        (Encap::Udp, Encap::Udp, true),
        (Encap::Auto, Encap::Auto, false),
        (Encap::Udp, Encap::Esp, false),
        (Encap::Esp, Encap::Udp, false),
    ] {
        let mut connections = v1_connections();
        connections[0].encap = left;
        connections[1].encap = right;
        let pair = up_with(connections);
        pair.assert_one_tunnel();
        for child in pair.left.children.values().chain(pair.right.children.values()) {
            assert_eq!(child.encap.udp, udp, "{left:?} {right:?}");
        }
    }
}

/// CHECKLIST T09, U08: each message lost once, and all of them once more when all is over.
#[test]
fn lost_and_repeated_messages_change_nothing_behind_a_nat() {
    for lost in 0..9 {
        let mut behind = Behind::new(v1_connections(), 10_000);
        let request = behind.pair.left.initiate(behind.pair.now);
        let count = std::cell::Cell::new(0);
        let pass =
            |octets: &[u8]| (count.replace(count.get() + 1) != lost).then(|| octets.to_vec());
        while behind.deliver(pass) {}
        behind.run_for(Duration::from_secs(60));
        assert_eq!(behind.pair.left.done.get(&request), Some(&Ok(())), "message {lost} lost");
        behind.pair.assert_one_tunnel();
        for (path, octets) in behind.seen.clone() {
            let to_right = path.local.ip() == RIGHT;
            let peer = if to_right { &mut behind.pair.right } else { &mut behind.pair.left };
            peer.datagram(path, &octets, behind.pair.now);
        }
        behind.run();
        behind.pair.assert_one_tunnel();
    }
}

/// CHECKLIST N06, U12: the NAT forgets, and gives other ports: the next authentic message says so to the
/// other side, and nothing else does.
#[test]
fn authentic_messages_move_a_peer_behind_a_nat() {
    let mut connections = v1_connections();
    connections[0].dpd_delay = Duration::from_secs(30);
    let mut behind = Behind::up(connections);
    let old = behind.seen.clone();
    behind.shift = 20_000;
    // What was said before moves nobody, from wherever it comes again.
    for (_, octets) in old.iter().filter(|(path, _)| path.local.ip() == RIGHT) {
        let from = Path::udp(SocketAddr::new(RIGHT, 4500), behind.outside(4500));
        behind.pair.right.datagram(from, octets, behind.pair.now);
    }
    assert_eq!(behind.pair.right.established()[0].remote.port(), 14_500);
    behind.pair.right.sent.clear();

    behind.run_for(Duration::from_secs(40));
    assert_eq!(behind.pair.right.established()[0].remote, behind.outside(4500));
    let is_move = |event: &&Event| matches!(event, Event::PeerMoved { .. });
    assert_eq!(behind.pair.right.events.iter().filter(is_move).count(), 1);
    let is_down = |event: &Event| matches!(event, Event::IkeDown { .. } | Event::ChildDown { .. });
    assert!(!behind.pair.left.events.iter().any(is_down));
    behind.pair.assert_one_tunnel();
}

/// CHECKLIST N06, U12: the answer to a quick mode is the first message from another port: the child that it
/// makes is for that port.
#[test]
fn a_child_is_for_where_the_answer_came_from() {
    let mut behind = Behind::up(v1_connections());
    let child = *behind.pair.right.children.keys().next().unwrap();
    behind.pair.right.command(Command::RekeyChild(child), behind.pair.now);
    assert!(behind.deliver(|octets| Some(octets.to_vec())));
    behind.shift = 20_000;
    behind.run_for(Duration::from_secs(5));
    assert_eq!(behind.pair.right.children.len(), 2);
    let outside = behind.outside(4500);
    assert!(behind.pair.right.children.values().all(|child| child.encap.remote == outside));
}

/// CHECKLIST W08, U06: nobody authenticates vendor ids. If those of the first message of a renewal on the NAT
/// ports are spoilt on their way, or that of the second, the next copy counts, and ESP stays in UDP.
#[test]
fn a_renewal_on_the_nat_ports_knows_of_the_nat() {
    for (by_left, spoilt) in [(true, 1), (true, 2), (false, 1), (false, 2)] {
        let mut behind = Behind::up(v1_connections());
        let first = behind.pair.left.established()[0].spi_i;
        let now = behind.pair.now;
        let peer = if by_left { &mut behind.pair.left } else { &mut behind.pair.right };
        let ike = peer.established()[0].id;
        peer.command(Command::RekeyIke(ike), now);
        for number in 1..=spoilt {
            assert!(behind.deliver(|octets| match number == spoilt {
                true => without_ids(octets, &[]),
                false => Some(octets.to_vec()),
            }));
        }
        behind.run_for(Duration::from_secs(5));
        behind.pair.assert_one_tunnel();
        let left = &behind.pair.left.established()[0];
        assert!(left.spi_i != first && left.nat_local, "by left: {by_left}, message {spoilt}");
        let now = behind.pair.now;
        let child = *behind.pair.left.children.keys().next().unwrap();
        behind.pair.left.command(Command::RekeyChild(child), now);
        behind.run_for(Duration::from_secs(120));
        behind.pair.assert_one_tunnel();
        assert!(behind.pair.left.children.values().all(|child| child.encap.udp));
    }
}

/// Packets move a peer that is behind a NAT, and no other.
#[test]
fn packets_move_a_peer_behind_a_nat() {
    let mut behind = Behind::up(v1_connections());
    let remote = SocketAddr::new(OUTSIDE, 34_500);
    let child = *behind.pair.right.children.keys().next().unwrap();
    let moved = adit_ike::Input::Packet(PacketEvent::PeerMoved { child, remote });
    behind.pair.right.give(moved, behind.pair.now);
    behind.pair.right.timeout(behind.pair.now);
    assert_eq!(behind.pair.right.established()[0].remote, remote);

    let child = *behind.pair.left.children.keys().next().unwrap();
    let moved = adit_ike::Input::Packet(PacketEvent::PeerMoved { child, remote });
    behind.pair.left.give(moved, behind.pair.now);
    behind.pair.left.timeout(behind.pair.now);
    assert_eq!(behind.pair.left.established()[0].remote, SocketAddr::new(RIGHT, 4500));
}

/// CHECKLIST U06, RFC 3947 §4: both sides renew phase 1 and children, who is outside on the NAT ports.
#[test]
fn both_sides_renew_behind_a_nat() {
    for by_left in [true, false] {
        let mut behind = Behind::up(v1_connections());
        let first = behind.pair.left.established()[0].spi_i;
        let now = behind.pair.now;
        let peer = if by_left { &mut behind.pair.left } else { &mut behind.pair.right };
        let ike = peer.established()[0].id;
        peer.command(Command::RekeyIke(ike), now);
        behind.run_for(Duration::from_secs(5));
        behind.pair.assert_one_tunnel();
        assert_ne!(behind.pair.left.established()[0].spi_i, first, "by left: {by_left}");

        let now = behind.pair.now;
        let peer = if by_left { &mut behind.pair.left } else { &mut behind.pair.right };
        let child = *peer.children.keys().next().unwrap();
        peer.command(Command::RekeyChild(child), now);
        behind.run_for(Duration::from_secs(120));
        behind.pair.assert_one_tunnel();
        assert!(behind.pair.right.children.values().all(|child| child.encap.udp));
    }
}

/// CHECKLIST W08, H16: transport mode, where each side learns how the other knows both (NAT-OA).
#[test]
fn transport_mode_passes_a_nat() {
    let connections = v1_connections().map(|mut connection| {
        let child = &mut connection.children[0];
        child.mode = Mode::Transport;
        child.local_ts = vec![selector("dynamic")];
        child.remote_ts = vec![selector("dynamic")];
        connection
    });
    let behind = Behind::up(connections);
    let left = behind.pair.left.children.values().next().unwrap();
    let right = behind.pair.right.children.values().next().unwrap();
    assert_eq!((left.mode, right.mode), (Mode::Transport, Mode::Transport));
    assert_eq!(left.peer_view, Some(Hosts { local: OUTSIDE, remote: RIGHT }));
    assert_eq!(right.peer_view, Some(Hosts { local: RIGHT, remote: LEFT }));
    assert_eq!(right.remote_ts[0].start, OUTSIDE);
    assert_eq!(left.local_ts[0].start, LEFT);
    assert!(left.encap.udp && right.encap.udp);
}

/// CHECKLIST N01: AH does not pass a NAT, and the operator hears why.
#[test]
fn ah_does_not_pass_a_nat() {
    let mut connections = v1_connections();
    for connection in &mut connections {
        connection.children[0].proposals = ProposalSpec::ah_list("sha256").unwrap();
    }
    up_with(connections.clone()).assert_one_tunnel();
    let mut behind = Behind::new(connections, 10_000);
    let request = behind.pair.left.initiate(behind.pair.now);
    behind.run();
    let failure = behind.pair.left.done[&request].clone().unwrap_err();
    assert_eq!(failure.reason.code(), Some(103), "{:?}", failure.reason);
}

/// Invariant 5: whatever the first and the third message lack, the second is not longer than the first,
/// nor the fourth than the third.
#[test]
fn short_messages_get_short_answers() {
    let suites = || with_suites(["aes256-sha512-modp2048"; 2], ["aes128-sha256"; 2]);
    for (ids, nonce, hashes) in
        [(true, 32, 2), (false, 32, 0), (true, 8, 2), (true, 8, 1), (true, 8, 0), (false, 8, 0)]
    {
        let mut pair = Pair::new(Default::default(), suites());
        assert_eq!(suites()[0].ike, IkeVersion::V1);
        pair.left.initiate(pair.now);
        let (path, first) = pair.left.sent.pop_front().unwrap();
        let mut all = payloads(&first);
        all.retain(|(kind, _)| ids || *kind != VENDOR_ID);
        let short = rebuilt(&first, &all);
        pair.right.datagram(reversed(path), &short, pair.now);
        let (back, second) = pair.right.sent.pop_front().unwrap();
        assert!(second.len() <= short.len(), "{} for {}", second.len(), short.len());

        pair.left.datagram(reversed(back), &second, pair.now);
        let (path, third) = pair.left.sent.pop_front().unwrap();
        let mut all = payloads(&third);
        let mut left = hashes;
        all.retain(|(kind, _)| {
            let is_kept = *kind != NAT_D || left > 0;
            left -= usize::from(*kind == NAT_D && left > 0);
            is_kept
        });
        for (kind, body) in &mut all {
            body.truncate(if *kind == NONCE { nonce } else { usize::MAX });
        }
        let short = rebuilt(&third, &all);
        pair.right.datagram(reversed(path), &short, pair.now);
        let (_, fourth) = pair.right.sent.pop_front().unwrap();
        assert!(fourth.len() <= short.len(), "{} for {}", fourth.len(), short.len());
    }
}

/// CHECKLIST W09: L2TP's selectors, UDP port 1701 at both ends in transport mode, of two clients behind one
/// NAT: each has SAs of its own, and neither takes the other's place.
#[test]
fn two_clients_of_l2tp_are_behind_one_nat() {
    const SECOND: u16 = 20_000;
    let mut connections = v1_connections().map(|mut connection| {
        let child = &mut connection.children[0];
        child.mode = Mode::Transport;
        child.local_ts = vec![selector("dynamic[udp/1701]")];
        child.remote_ts = vec![selector("dynamic[udp/1701]")];
        connection
    });
    connections[1].pad.remote_id = "%any".parse().unwrap();
    let mut second = connections[0].clone();
    second.pad.local_id = Some("second.example".parse().unwrap());
    let mut behind = Behind::up(connections);
    let mut other = Peer::new(Default::default(), 7);
    let now = behind.pair.now;
    other.command(Command::Load(std::sync::Arc::new(second)), now);
    let request = other.initiate(now);
    while let Some((path, octets)) = other.sent.pop_front() {
        let outside = SocketAddr::new(OUTSIDE, path.local.port() + SECOND);
        behind.pair.right.datagram(Path::udp(path.remote, outside), &octets, now);
        for (path, octets) in std::mem::take(&mut behind.pair.right.sent) {
            let port = path.remote.port().checked_sub(SECOND).unwrap();
            other.datagram(Path::udp(SocketAddr::new(LEFT, port), path.local), &octets, now);
        }
    }
    assert_eq!(other.done.get(&request), Some(&Ok(())), "{:?}", other.failures());
    behind.run();
    let right = &behind.pair.right;
    assert_eq!((behind.pair.left.children.len(), other.children.len()), (1, 1));
    assert_eq!((right.children.len(), right.established().len()), (2, 2));
    for child in right.children.values() {
        assert_eq!((child.remote_ts[0].start, child.remote_ts[0].ports.start), (OUTSIDE, 1_701));
        assert_eq!(child.peer_view, Some(Hosts { local: RIGHT, remote: LEFT }));
    }
    let ports: Vec<u16> = right.children.values().map(|sa| sa.encap.remote.port()).collect();
    assert_eq!(ports, [14_500, 24_500]);
}

/// CHECKLIST N06: who is behind the NAT keeps its mapping alive, and nobody else sends for nothing.
#[test]
fn the_mapping_is_kept_alive() {
    let mut behind = Behind::up(v1_connections());
    behind.run_for(Duration::from_mins(10));
    let keepalives = [&behind.pair.left, &behind.pair.right].map(|peer| peer.keepalives);
    assert_eq!(keepalives, [30, 0]);
}

/// RFC 3947 §4: in aggressive mode the last message is the first between the NAT ports, lost or not.
#[test]
fn aggressive_mode_passes_a_nat() {
    let behind = Behind::up(super::ikev1_aggressive::aggressive());
    let ports: Vec<u16> = behind.seen.iter().map(|(path, _)| path.local.port()).collect();
    assert_eq!(ports, [500, 500, 4500, 4500, 4500, 4500]);
    behind.pair.assert_one_tunnel();
    let right = &behind.pair.right.established()[0];
    assert_eq!(right.remote, behind.outside(4500));
    assert!(right.nat_remote && !right.nat_local);
    assert!(behind.pair.right.children.values().all(|child| child.encap.udp));

    for lost in 0..6 {
        let mut behind = Behind::new(super::ikev1_aggressive::aggressive(), 10_000);
        let request = behind.pair.left.initiate(behind.pair.now);
        let count = std::cell::Cell::new(0);
        let pass = |octets: &[u8]| {
            let passes = count.replace(count.get() + 1) != lost;
            passes.then(|| octets.to_vec())
        };
        while behind.deliver(pass) {}
        behind.run_for(Duration::from_secs(60));
        assert_eq!(behind.pair.left.done.get(&request), Some(&Ok(())), "message {lost} lost");
        behind.pair.assert_one_tunnel();
    }
}

/// NAT-D payloads are not authentic: whichever end is made to believe in a NAT by them, both take the same
/// for it, and the tunnel comes up and is renewed from either side.
#[test]
fn forged_hashes_bring_nobody_apart() {
    let all = [v1_connections(), super::ikev1_aggressive::aggressive()];
    for (connections, to_right) in all.iter().flat_map(|it| [(it, true), (it, false)]) {
        let mut pair = Pair::new(Default::default(), connections.clone());
        let request = pair.left.initiate(pair.now);
        loop {
            let [from_left, from_right] = [&mut pair.left, &mut pair.right]
                .map(|peer| peer.sent.drain(..).collect::<Vec<_>>());
            if from_left.is_empty() && from_right.is_empty() {
                break;
            }
            for (path, octets) in from_left {
                let octets = if to_right { with_other_hashes(&octets) } else { octets };
                pair.right.datagram(reversed(path), &octets, pair.now);
            }
            for (path, octets) in from_right {
                let octets = if to_right { octets } else { with_other_hashes(&octets) };
                pair.left.datagram(reversed(path), &octets, pair.now);
            }
        }
        assert_eq!(pair.left.done.get(&request), Some(&Ok(())), "{:?}", pair.left.failures());
        for right in [false, true] {
            let peer = if right { &mut pair.right } else { &mut pair.left };
            let child = *peer.children.keys().next_back().unwrap();
            peer.command(Command::RekeyChild(child), pair.now);
            pair.run_for(Duration::from_mins(4));
            pair.assert_one_tunnel();
        }
        let udp = |peer: &Peer| peer.children.values().all(|child| child.encap.udp);
        assert_eq!(udp(&pair.left), udp(&pair.right));
    }
}

/// A message in clear whose NAT-D payloads fit no address.
fn with_other_hashes(octets: &[u8]) -> Vec<u8> {
    if octets[19] & 1 != 0 {
        return octets.to_vec();
    }
    let changed = |(kind, body): (u8, Vec<u8>)| match kind {
        NAT_D => (kind, vec![7; body.len()]),
        _ => (kind, body),
    };
    rebuilt(octets, &payloads(octets).into_iter().map(changed).collect::<Vec<_>>())
}
