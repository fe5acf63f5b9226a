//! The notifies of RFC 4555 §4.2: written, and read with the doubt that a peer deserves.

use std::net::{IpAddr, SocketAddr};

use adit_wire::iana::NotifyType;
use adit_wire::ikev2::{ChainBuilder, Notify, Payload};

use crate::command::Path;
use crate::context::Context;
use crate::keymat::Role;
use crate::nat::our_hashes;
use crate::v2::ike_sa::core::Core;
use crate::v2::rules::Received;

use super::{ADDITIONAL_MAX, additional, offer_for};

/// Octets of our COOKIE2; of a peer's there may be from 8 to 64.
pub(super) const COOKIE_OCTETS: usize = 16;

fn put(kind: NotifyType, data: &[u8], chain: &mut ChainBuilder) {
    chain.put(&Payload::Notify(Notify::new(kind, data)));
}

/// Initiator: what goes into the IKE_AUTH request with the SA payload, if it is offered.
///
//= https://www.rfc-editor.org/rfc/rfc4555#section-3.2
//# Implementations that wish to use MOBIKE for a particular IKE_SA MUST include a
//# MOBIKE_SUPPORTED notification in the IKE_AUTH exchange (in case of multiple IKE_AUTH
//# exchanges, in the message containing the SA payload).
pub(crate) fn put_offer(core: &Core, chain: &mut ChainBuilder, cx: &Context<'_>) {
    if core.mobike.is_some() {
        put(NotifyType::MOBIKE_SUPPORTED, &[], chain);
        put_additional(core, chain, cx);
        put_no_nats(core, chain);
    }
}

/// Responder: the same for the response.
pub(crate) fn put_answer(core: &Core, chain: &mut ChainBuilder, cx: &Context<'_>) {
    if core.mobike.is_some() {
        put(NotifyType::MOBIKE_SUPPORTED, &[], chain);
        put_additional(core, chain, cx);
    }
}

/// Responder: takes the offer, if there is one and the connection lets IKE SAs move.
pub(crate) fn read_offer(received: &Received<'_>, core: &mut Core) {
    let said = received.has_notify(NotifyType::MOBIKE_SUPPORTED);
    // A TCP connection does not move; what is over it is opened anew (RFC 9329 §7.1).
    let may = said && !core.path.is_tcp();
    let connection = core.connection.as_deref().filter(|_| may);
    core.mobike = connection.and_then(|connection| offer_for(connection, Role::Responder));
    if core.mobike.is_some() {
        keep_additional(received, core);
    }
}

/// Initiator: what the responder says to the offer; unasked it says nothing.
pub(crate) fn read_answer(received: &Received<'_>, core: &mut Core) {
    core.mobike = core.mobike.filter(|_| received.has_notify(NotifyType::MOBIKE_SUPPORTED));
    if core.mobike.is_some() {
        keep_additional(received, core);
    }
}

/// Adds one notify for each of our other addresses; whether there was any.
pub(super) fn put_additional(core: &Core, chain: &mut ChainBuilder, cx: &Context<'_>) -> bool {
    let others = additional(core, cx.addresses);
    for address in &others {
        match address {
            IpAddr::V4(v4) => put(NotifyType::ADDITIONAL_IP4_ADDRESS, &v4.octets(), chain),
            IpAddr::V6(v6) => put(NotifyType::ADDITIONAL_IP6_ADDRESS, &v6.octets(), chain),
        }
    }
    !others.is_empty()
}

/// Adds our other addresses, or that there are none (§3.6).
pub(super) fn put_addresses(core: &Core, chain: &mut ChainBuilder, cx: &Context<'_>) {
    if !put_additional(core, chain, cx) {
        put(NotifyType::NO_ADDITIONAL_ADDRESSES, &[], chain);
    }
}

/// Whether a message says where else its sender is.
pub(super) fn tells_addresses(received: &Received<'_>) -> bool {
    [
        NotifyType::ADDITIONAL_IP4_ADDRESS,
        NotifyType::ADDITIONAL_IP6_ADDRESS,
        NotifyType::NO_ADDITIONAL_ADDRESSES,
    ]
    .into_iter()
    .any(|kind| received.has_notify(kind))
}

/// Keeps the addresses that a message names, in place of those before.
pub(super) fn keep_additional(received: &Received<'_>, core: &mut Core) {
    let named = received.notifies.iter().filter_map(|notify| match notify.kind {
        NotifyType::ADDITIONAL_IP4_ADDRESS => {
            <[u8; 4]>::try_from(notify.data).ok().map(IpAddr::from)
        }
        NotifyType::ADDITIONAL_IP6_ADDRESS => {
            <[u8; 16]>::try_from(notify.data).ok().map(IpAddr::from)
        }
        _ => None,
    });
    let mut addresses: Vec<IpAddr> = Vec::new();
    for address in named.filter(|address| may_be_a_host(*address)) {
        if addresses.len() < ADDITIONAL_MAX && !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    if !addresses.is_empty() || core.roaming.is_some() {
        core.roaming_mut().peer_addresses = addresses;
    }
}

/// Whether a host somewhere else may have an address.
pub(super) fn may_be_a_host(address: IpAddr) -> bool {
    let broadcast = matches!(address, IpAddr::V4(v4) if v4.is_broadcast());
    let nowhere = address.is_unspecified() || address.is_loopback() || address.is_multicast();
    !broadcast && !nowhere
}

/// Adds NAT detection for a way, where NAT traversal is possible (§3.5).
pub(super) fn put_detection(
    path: Path,
    core: &Core,
    chain: &mut ChainBuilder,
    cx: &mut Context<'_>,
) {
    if !core.nat.supported {
        return;
    }
    let encap = core.connection.as_ref().map(|connection| connection.encap);
    let force_udp = encap == Some(adit_db::Encap::Udp);
    let (source, destination) = our_hashes(core.spi_i, core.spi_r, path, force_udp, cx.rng);
    put(NotifyType::NAT_DETECTION_SOURCE_IP, &source, chain);
    put(NotifyType::NAT_DETECTION_DESTINATION_IP, &destination, chain);
}

/// Adds where the message is sent from and to, where there is no NAT traversal: nobody may change it.
///
//= https://www.rfc-editor.org/rfc/rfc4555#section-3.9
//# More specifically, when NAT Traversal is not enabled, all messages that can update the
//# addresses associated with the IKE_SA and/or IPsec SAs (the first IKE_AUTH request and all
//# INFORMATIONAL requests that contain any of the following notifications: UPDATE_SA_ADDRESSES,
//# ADDITIONAL_IP4_ADDRESS, ADDITIONAL_IP6_ADDRESS, NO_ADDITIONAL_ADDRESSES) MUST also include a
//# NO_NATS_ALLOWED notification.
pub(super) fn put_no_nats(core: &Core, chain: &mut ChainBuilder) {
    if !core.nat.supported {
        let Path { local, remote, .. } = core.path;
        put(NotifyType::NO_NATS_ALLOWED, &addresses_of(local, remote), chain);
    }
}

/// §4.2.6: source address, destination address, source port, destination port.
fn addresses_of(source: SocketAddr, destination: SocketAddr) -> Vec<u8> {
    let ip = |address: SocketAddr| match address.ip().to_canonical() {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    };
    let port = |address: SocketAddr| address.port().to_be_bytes();
    let ports = [port(source), port(destination)].concat();
    [ip(source), ip(destination), ports].concat()
}

/// Whether a request that lets nobody change its addresses came with others than it names.
///
//= https://www.rfc-editor.org/rfc/rfc4555#section-3.9
//# The exchange responder MUST verify that the contents of the NO_NATS_ALLOWED notification
//# match the addresses in the IP header.
pub(crate) fn unexpected_nat(received: &Received<'_>, path: Path) -> bool {
    let named = received.notify(NotifyType::NO_NATS_ALLOWED);
    named.is_some_and(|named| named.data != addresses_of(path.remote, path.local))
}

/// Adds a COOKIE2 of ours; what the response must say.
pub(super) fn put_cookie(chain: &mut ChainBuilder, cx: &mut Context<'_>) -> [u8; COOKIE_OCTETS] {
    let mut cookie = [0; COOKIE_OCTETS];
    cx.rng.fill(&mut cookie);
    put(NotifyType::COOKIE2, &cookie, chain);
    cookie
}

/// Says a peer's COOKIE2 back.
///
//= https://www.rfc-editor.org/rfc/rfc4555#section-3.7
//# if included, the recipient of an INFORMATIONAL request MUST copy the notification as-is to the
//# response.
pub(crate) fn echo_cookie(received: &Received<'_>, chain: &mut ChainBuilder) {
    let cookie = received.notify(NotifyType::COOKIE2).map(|notify| notify.data);
    if let Some(cookie) = cookie.filter(|cookie| COOKIE2_OCTETS.contains(&cookie.len())) {
        put(NotifyType::COOKIE2, cookie, chain);
    }
}

/// Octets that a COOKIE2 may have (§4.2.5).
const COOKIE2_OCTETS: std::ops::RangeInclusive<usize> = 8..=64;

/// Adds an error, or UPDATE_SA_ADDRESSES.
pub(super) fn put_word(kind: NotifyType, chain: &mut ChainBuilder) {
    put(kind, &[], chain);
}
