//! The packets of those behind the hosts.

use adit_dataplane::Verdict;
use adit_db::IkeVersion;
use adit_wire::esp::Spi;
use adit_wire::iana::IpProtocol;
use adit_wire::ip::Ipv4Header;

use super::World;
use crate::draw::Draw as _;
use crate::network::Nat;
use crate::world::host::{Installed, Power};
use crate::world::invariants::converged::is_pair;
use crate::world::invariants::protect::{self, Sealing};
use crate::world::net::EspLetter;
use crate::world::scenario::{CHILDREN_MAX, inner_address};
use crate::world::schedule::Place;

/// In front of the number of each packet; long enough that no ciphertext shows it by chance.
const MARK: [u8; 8] = [0xad, 0x17, 0x5e, 0xed, 0xf1, 0x0c, 0x8d, 0x39];
/// Octets of an IPv4 header and a UDP header.
const HEADERS: usize = 28;

impl World<'_> {
    /// Sends a packet from one end of a child to the other, and gives its number.
    pub(super) fn send_packet(&mut self, from: Place) -> u32 {
        let number = self.packets;
        self.packets += 1;
        let Place { host, tunnel, child } = from;
        if self.host(host).power != Power::On {
            return number;
        }
        let ends = self.scenario.tunnels.get(tunnel);
        let peer = ends.map_or(host, |tunnel| tunnel.peer_of(host));
        let padding = self.rng.pick(&[0, 40, 500, 1_000]);
        let octets = packet(host, peer, from, number, padding);
        let has_pair = self.has_pair(host, tunnel, child);
        let is_protected = child < CHILDREN_MAX;
        let verdict = self.host(host).send_packet(&octets);
        if self.story.is_told() && verdict != Verdict::Send && verdict != Verdict::Bypass {
            self.story.note(self.now, host, format!("packet {number}: {verdict:?}"));
        }
        self.note_broken(protect::sealed(Sealing { is_protected, has_pair, verdict }));
        number
    }

    /// Whether both ends have a child SA for this that is not over, and that neither is told to end.
    pub(super) fn has_pair(&self, host: usize, tunnel: usize, child: usize) -> bool {
        self.has_pair_with((host, tunnel, child), |_| true)
    }

    /// The same, and what is sent on it goes to where the peer is. One that has moved and begun anew may not
    /// have the child that it asked for there, and no other one leads there.
    fn has_way(&self, host: usize, tunnel: usize, child: usize) -> bool {
        let peer = self.scenario.tunnels.get(tunnel).map(|plan| plan.peer_of(host));
        let home = peer.and_then(|peer| self.net.homes.get(peer));
        let place = home.map(|home| home.nat.as_ref().map_or(home.address, Nat::public));
        self.has_pair_with((host, tunnel, child), |sa| Some(sa.remote) == place)
    }

    fn has_pair_with(
        &self,
        (host, tunnel, child): (usize, usize, usize),
        is_meant: impl Fn(&Installed) -> bool,
    ) -> bool {
        let Some(plan) = self.scenario.tunnels.get(tunnel) else { return false };
        let (Some(one), Some(other)) = (self.hosts.get(host), self.hosts.get(plan.peer_of(host)))
        else {
            return false;
        };
        let is_ours = |sa: &&Installed| {
            (sa.tunnel, sa.child) == (tunnel, child)
                && sa.may_send()
                && !sa.unwanted
                && is_meant(sa)
        };
        let is_theirs = |sa: &Installed, peer: &Installed| is_pair(sa, peer) && !peer.unwanted;
        let ours = one.engine.live(one.now).filter(is_ours);
        let mut pairs =
            ours.filter(|sa| other.engine.live(other.now).any(|peer| is_theirs(sa, peer)));
        pairs.next().is_some() && other.power == Power::On
    }

    /// Whether a host may know that the peer has what it sends on. In IKEv1 nothing tells it of a peer that
    /// has lost a child with all its state, and takes another phase 1 for its first.
    fn may_know(&self, host: usize, tunnel: usize, spi: Option<Spi>) -> bool {
        let Some(plan) = self.scenario.tunnels.get(tunnel) else { return false };
        let peer = self.hosts.get(plan.peer_of(host));
        let mut theirs = peer.into_iter().flat_map(|peer| peer.engine.live(peer.now));
        plan.version == IkeVersion::V2 || theirs.any(|sa| Some(sa.spi_in) == spi)
    }

    /// Looks at an ESP packet that a host sends.
    pub(super) fn watch_esp(&mut self, from: usize, esp: &mut EspLetter) {
        let spi = esp.esp().first_chunk().map(|spi| Spi(u32::from_be_bytes(*spi)));
        let host = self.host(from);
        let sa = host.engine.all().find(|sa| Some(sa.spi_out) == spi);
        let Some((keys, outer, tunnel, child)) =
            sa.map(|sa| (sa.keys_out, sa.outer, sa.tunnel, sa.child))
        else {
            return;
        };
        esp.must_arrive = self.has_way(from, tunnel, child) && self.may_know(from, tunnel, spi);
        let broken = self.watch.nonces.esp(keys, esp.esp());
        self.note_broken(broken);
        let (keys, wanted) = outer.map(|outer| (outer.keys_out, outer.spi_out)).unzip();
        self.note_broken(protect::wrapped(wanted, esp.ah()));
        let number = keys.zip(esp.ah()).and_then(|(keys, ah)| self.watch.nonces.ah(keys, ah));
        self.note_broken(number);
        self.note_broken(protect::hidden(&esp.octets, &MARK));
    }

    /// A packet came in at a host.
    pub(super) fn came_in(&mut self, to: usize, octets: &[u8]) {
        let Some(number) = number_of(octets) else { return };
        self.digest.add_number(u64::from(number) << 8 | u64::try_from(to).unwrap_or(0));
        let broken = self.watch.delivered.came(number);
        self.note_broken(broken);
    }
}

/// An IPv4 packet from one network to the other.
fn packet(from: usize, to: usize, place: Place, number: u32, padding: usize) -> Vec<u8> {
    let address = |host| inner_address(host, place.tunnel, place.child, 7);
    let body = [&MARK[..], &number.to_be_bytes(), &vec![0x5a; padding]].concat();
    let udp_len = u16::try_from(8 + body.len()).unwrap_or(u16::MAX);
    let header = Ipv4Header {
        traffic_class: 0,
        total_len: 20 + udp_len,
        identification: 0,
        dont_fragment: false,
        ttl: 63,
        protocol: IpProtocol::UDP,
        src: address(from),
        dst: address(to),
    };
    let ports = [4_000_u16.to_be_bytes(), 4_001_u16.to_be_bytes()].concat();
    let udp = [&ports[..], &udp_len.to_be_bytes(), &[0, 0]].concat();
    [&header.to_octets()[..], &udp, &body].concat()
}

fn number_of(octets: &[u8]) -> Option<u32> {
    let body = octets.get(HEADERS..)?.strip_prefix(&MARK)?;
    Some(u32::from_be_bytes(*body.first_chunk()?))
}

/// The host that has the network a packet is for.
pub(super) fn destination(octets: &[u8]) -> Option<usize> {
    octets.get(17).map(|host| usize::from(*host))
}
