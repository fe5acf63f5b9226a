//! NAT traversal of IKEv1 (RFC 3947, and the drafts before it, which have other numbers).
//!
//! Vendor ids of the first two messages say that both can, hashes in the next two what each end believes
//! about the addresses, and from the fifth on everything goes between the NAT ports if one of them is
//! wrong. The verdict is the value that `v2` has; how it comes about differs.

use std::net::{IpAddr, SocketAddr};

use adit_crypto::Hash;
use adit_db::{Connection, Encap, Hosts, Mode};
use adit_wire::iana::doi::EncapsulationMode;
use adit_wire::iana::isakmp::PayloadType;
use adit_wire::ikev2::TrafficSelector;
use adit_wire::isakmp::{ChainBuilder, NatOriginalAddress, Vendor};

use crate::command::Path;
use crate::context::Context;
use crate::keymat::Role;
use crate::nat::Verdict;

use super::core::Core;
use super::keys::Cookies;
use super::received::Received;

/// Whose numbers payloads and modes have.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Numbers {
    /// Those of RFC 3947.
    Rfc,
    /// Those of draft-ietf-ipsec-nat-t-ike-02 and -03.
    Draft,
}

/// What we know, the best first. Of draft -00, which stays on port 500, nothing is left to be met.
const KNOWN: [(Vendor, Numbers); 4] = [
    (Vendor::NatTraversal, Numbers::Rfc),
    (Vendor::NatTraversalDraft03, Numbers::Draft),
    (Vendor::NatTraversalDraft02Newline, Numbers::Draft),
    (Vendor::NatTraversalDraft02, Numbers::Draft),
];

/// NAT-D payloads that are looked at: a peer may have several addresses (RFC 3947 §3.2).
pub(crate) const HASHES_MAX: usize = 16;

/// The ports that IKE and ESP in UDP have where nobody says otherwise (RFC 2408 §2.5.1, RFC 3947 §4).
const IKE_PORT: u16 = 500;
const NAT_PORT: u16 = 4500;

impl Numbers {
    /// NAT-D.
    fn detection(self) -> PayloadType {
        match self {
            Self::Rfc => PayloadType::NAT_D,
            Self::Draft => PayloadType::NAT_D_DRAFT,
        }
    }

    /// NAT-OA.
    fn original_address(self) -> PayloadType {
        match self {
            Self::Rfc => PayloadType::NAT_OA,
            Self::Draft => PayloadType::NAT_OA_DRAFT,
        }
    }

    /// How a quick mode says that ESP goes in UDP (RFC 3947 §5.1).
    pub(crate) fn mode(self, mode: Mode) -> EncapsulationMode {
        match (self, mode) {
            (Self::Rfc, Mode::Transport) => EncapsulationMode::UDP_TRANSPORT,
            (Self::Rfc, Mode::Tunnel | Mode::Beet) => EncapsulationMode::UDP_TUNNEL,
            (Self::Draft, Mode::Transport) => EncapsulationMode::UDP_TRANSPORT_DRAFT,
            (Self::Draft, Mode::Tunnel | Mode::Beet) => EncapsulationMode::UDP_TUNNEL_DRAFT,
        }
    }
}

// ---- Vendor ids ----

/// The ids that an initiator sends, best first.
pub(crate) fn offered(core: &Core) -> impl Iterator<Item = &'static [u8]> {
    let count = if is_wanted(core) { KNOWN.len() } else { 0 };
    KNOWN.into_iter().take(count).map(|(vendor, _)| vendor.id().0)
}

/// Whether this is an id of NAT traversal, all of which are as long.
pub(crate) fn is_known(id: &[u8]) -> bool {
    KNOWN.into_iter().any(|(vendor, _)| vendor.id().0 == id)
}

/// The best that both know: its id, and the numbers that come with it.
pub(crate) fn common(vendor_ids: &[&[u8]], core: &Core) -> Option<(&'static [u8], Numbers)> {
    let known = KNOWN.into_iter().map(|(vendor, numbers)| (vendor.id().0, numbers));
    known.filter(|_| is_wanted(core)).find(|(id, _)| vendor_ids.contains(id))
}

/// Whether the first message of a peer on the NAT ports says nothing of NAT traversal. Nobody begins there
/// without (RFC 3947 §4), so its id was spoilt on its way, as nobody authenticates it, and packets would find no
/// way: the same message again does better.
pub(crate) fn is_lost(vendor_ids: &[&[u8]], core: &Core, cx: &Context<'_>) -> bool {
    let is_there = core.path.local.port() == cx.config.nat_port;
    is_there && is_wanted(core) && common(vendor_ids, core).is_none()
}

/// A tunnel whose ESP is to be IP protocol 50 does without, as it does in IKEv2.
fn is_wanted(core: &Core) -> bool {
    core.connection.encap != Encap::Esp && !core.path.is_tcp()
}

// ---- Addresses ----

/// `HASH(CKY-I | CKY-R | address | port)` (RFC 3947 §3.2).
fn hash_of(hash: Hash, cookies: Cookies, address: SocketAddr) -> Vec<u8> {
    let port = address.port().to_be_bytes();
    let digest = |ip: &[u8]| {
        hash.digest(&[&cookies.initiator.0, &cookies.responder.0, ip, &port]).as_bytes().to_vec()
    };
    match address.ip().to_canonical() {
        IpAddr::V4(ip) => digest(&ip.octets()),
        IpAddr::V6(ip) => digest(&ip.octets()),
    }
}

/// Adds the two NAT-D payloads, the peer's address first, if both know them.
///
/// Where a tunnel insists on UDP our own is random: the peer sees a NAT and encapsulates.
pub(crate) fn put_hashes(hash: Hash, core: &Core, chain: &mut ChainBuilder, cx: &mut Context<'_>) {
    let Some(numbers) = core.nat_numbers else { return };
    let destination = hash_of(hash, core.cookies(), core.path.remote);
    let mut source = hash_of(hash, core.cookies(), core.path.local);
    if core.connection.encap == Encap::Udp {
        cx.rng.fill(&mut source);
    }
    for digest in [destination, source] {
        chain.push(numbers.detection(), |w| w.bytes(&digest));
    }
}

/// What the peer's NAT-D payloads say about the addresses that its message had.
///
/// RFC 3947 §3.2: the first is of the address that the peer has sent to, all others are of addresses that
/// it may have sent from.
///
/// `path` is the one that the message came on. That of aggressive mode may be between the NAT ports
/// already, and some compute its hashes for the ports before.
pub(crate) fn verdict(hash: Hash, core: &Core, path: Path, hashes: &[&[u8]]) -> Verdict {
    let (Some((destination, sources)), Some(_)) = (hashes.split_first(), core.nat_numbers) else {
        return Verdict::default();
    };
    if sources.is_empty() {
        return Verdict::default();
    }
    let of = |address| hash_of(hash, core.cookies(), address);
    let locals = [path.local, core.path.local].map(of);
    let remotes = [path.remote, core.path.remote].map(of);
    Verdict {
        supported: true,
        we_are_behind_nat: !locals.iter().any(|local| destination == local),
        peer_is_behind_nat: !remotes.iter().any(|remote| sources.contains(&remote.as_slice())),
    }
}

/// Responder: whether there is a NAT and the initiator, which has said that it can pass one, does not know
/// that we can. Our id was spoilt on its way, as nobody authenticates it, and packets would find no way: the
/// next attempt does better.
pub(crate) fn is_hidden(received: &Received<'_>, core: &Core) -> bool {
    let port = core.path.remote.port();
    let is_changed = ![IKE_PORT, NAT_PORT, core.connection.ports.remote].contains(&port);
    let is_able = core.nat_numbers.is_some() && core.connection.encap == Encap::Auto;
    core.role == Role::Responder && is_able && is_changed && received.nat_hashes.len() < 2
}

/// Whether ESP goes in UDP, and IKE with it.
pub(crate) fn is_in_udp(verdict: Verdict, connection: &Connection) -> bool {
    match connection.encap {
        Encap::Auto => verdict.needs_udp(),
        Encap::Udp | Encap::Tcp => verdict.supported,
        Encap::Esp => false,
    }
}

/// Initiator: moves to the NAT ports before it proves itself (RFC 3947 §4).
pub(crate) fn float(core: &mut Core, cx: &Context<'_>) {
    let is_there = core.path.local.port() == cx.config.nat_port;
    if is_there || !is_in_udp(core.nat, &core.connection) {
        return;
    }
    core.path.local.set_port(cx.config.nat_port);
    // A peer that listens elsewhere was told so; then it is that port for everything.
    if core.path.remote.port() == IKE_PORT {
        core.path.remote.set_port(NAT_PORT);
    }
}

/// Responder: who has proven itself has moved to the NAT ports if it believes in a NAT, and stays if it does
/// not (RFC 3947 §4). It holds what the initiator believes: NAT-D payloads are not authentic, and the two
/// ends may have seen different ones; without one mind about UDP no quick mode comes to anything.
pub(crate) fn settle(core: &mut Core, path: Path, cx: &Context<'_>) {
    if core.role.is_initiator() || path.is_tcp() {
        return;
    }
    let [was_there, is_there] =
        [core.path.local, path.local].map(|local| local.port() == cx.config.nat_port);
    if !is_there && is_in_udp(core.nat, &core.connection) {
        core.nat = Verdict::default();
    } else if is_there && !was_there && core.nat.supported && !core.nat.needs_udp() {
        core.nat.peer_is_behind_nat = true;
    }
}

/// Responder: whether the message with the peer's proof may come on another path than the ones before it.
///
/// RFC 3947 §4: if it is authentic, all that follows goes where it came from, "and possibly the new IP
/// address".
pub(crate) fn may_float_to(path: Path, core: &Core, cx: &Context<'_>) -> bool {
    core.role == Role::Responder
        && !path.is_tcp()
        && path.local.port() == cx.config.nat_port
        && path.local.ip() == core.path.local.ip()
        && path.remote.is_ipv4() == core.path.remote.is_ipv4()
}

/// Whether an authentic message may come from another address than before: the NAT in front of the peer
/// may have another mapping.
pub(crate) fn may_move_to(path: Path, core: &Core) -> bool {
    core.nat.peer_is_behind_nat && !path.is_tcp() && path.local == core.path.local
}

// ---- Transport mode ----

/// Adds both ends' addresses as we know them, NAT-OAi first (RFC 3947 §5.2): the peer needs them for the
/// checksums inside.
pub(crate) fn put_original_addresses(by: Role, core: &Core, chain: &mut ChainBuilder) {
    let Some(numbers) = core.wrap() else { return };
    let (local, remote) = (core.path.local.ip(), core.path.remote.ip());
    let both = if by.is_initiator() { [local, remote] } else { [remote, local] };
    for address in both {
        let body = NatOriginalAddress(address.to_canonical());
        chain.push(numbers.original_address(), |w| body.write(w));
    }
}

/// The two ends as the peer knows them, if that is not as we do. `us` is our role in the quick mode.
pub(crate) fn peer_view(us: Role, original: &[IpAddr], core: &Core) -> Option<Hosts> {
    let &[initiator, responder] = original else { return None };
    let (local, remote) =
        if us.is_initiator() { (initiator, responder) } else { (responder, initiator) };
    let (here, there) = (core.path.local.ip(), core.path.remote.ip());
    let same_family = local.is_ipv4() == here.is_ipv4() && remote.is_ipv4() == there.is_ipv4();
    (same_family && (local, remote) != (here, there)).then_some(Hosts { local, remote })
}

/// The peer's selectors of a child in transport mode as they are here: whoever is behind a NAT has another
/// address on the other side of it. First ours, then the peer's.
pub(crate) fn as_here(
    (local, remote): (TrafficSelector, TrafficSelector),
    core: &Core,
) -> (TrafficSelector, TrafficSelector) {
    let moved = |is_moved: bool, one: TrafficSelector, address: IpAddr| {
        let is_host = one.start == one.end && one.start.is_ipv4() == address.is_ipv4();
        match is_moved && is_host {
            true => TrafficSelector { start: address, end: address, ..one },
            false => one,
        }
    };
    (
        moved(core.nat.we_are_behind_nat, local, core.path.local.ip()),
        moved(core.nat.peer_is_behind_nat, remote, core.path.remote.ip()),
    )
}
