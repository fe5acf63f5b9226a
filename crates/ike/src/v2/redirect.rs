//! Redirection to another gateway (RFC 5685): in IKE_SA_INIT, in IKE_AUTH and on an IKE SA that is up.
//!
//! Only the responder of a session's first IKE SA redirects, and only who has said that it follows. In
//! IKE_SA_INIT it does so if all connections that may be meant go to the same gateway; else the
//! peer's identity decides, once it is proven (§11). Whoever is met at the other gateway must be the one
//! that the connection names: PAD and SPD entries are the same, and nothing but the address changes
//! (§3).
//!
//! Declined: the gateway deletes nothing by itself after redirecting a session (§5 lets the client
//! do so), anycast addresses are not known as such (§4), and Mobile IPv6 is not done (§8).

use std::net::IpAddr;
use std::time::Duration;

use adit_db::{Connection, Gateway};
use adit_wire::iana::{ExchangeType, NotifyType};
use adit_wire::ikev2::{ChainBuilder, GatewayId, MessageBuilder, Notify, Payload, Redirect};
use adit_wire::{Reader, Writer};

use crate::context::{Context, Notice};
use crate::failure::FailureReason;
use crate::keymat::Role;
use crate::v2::established::Own;
use crate::v2::ike_sa::core::Core;
use crate::v2::rules::Received;

/// Redirections that one connection follows within [`LOOP_PERIOD`] (RFC 5685 §7, MAX_REDIRECTS).
pub(crate) const REDIRECTS_MAX: u8 = 5;

/// RFC 5685 §7, REDIRECT_LOOP_DETECT_PERIOD.
pub(crate) const LOOP_PERIOD: Duration = Duration::from_secs(300);

/// How long an IKE SA stays on which nothing was said but where to go instead.
pub(crate) const REDIRECTED_WAIT: Duration = Duration::from_secs(30);

/// Who redirects whom in a session.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) enum Redirecting {
    /// Nobody.
    #[default]
    Off,
    /// The peer may redirect us.
    WeFollow,
    /// We may redirect the peer.
    PeerFollows,
}

/// Initiator: says that we follow, and who has sent us.
//= https://www.rfc-editor.org/rfc/rfc5685#section-3
//# In the IKE_SA_INIT exchange with the new VPN gateway, the client MUST
//# include the REDIRECTED_FROM payload
pub(crate) fn put_support(
    message: &mut MessageBuilder,
    redirected_from: Option<IpAddr>,
    core: &mut Core,
) {
    let follows = core.connection.as_ref().is_some_and(|connection| connection.redirect.follow);
    if let Some(from) = redirected_from.filter(|_| follows) {
        let mut data = Vec::new();
        id_of_address(from).write(&mut Writer(&mut data));
        message.put(&Payload::Notify(Notify::new(NotifyType::REDIRECTED_FROM, &data)));
    } else if follows {
        message.put(&Payload::Notify(Notify::new(NotifyType::REDIRECT_SUPPORTED, &[])));
    }
    core.terms.redirecting = if follows { Redirecting::WeFollow } else { Redirecting::Off };
}

/// Responder: whether the peer says that it follows. REDIRECTED_FROM says so, too (§9.3).
pub(crate) fn follows(received: &Received<'_>) -> bool {
    let kinds = [NotifyType::REDIRECT_SUPPORTED, NotifyType::REDIRECTED_FROM];
    kinds.into_iter().any(|kind| received.has_notify(kind))
}

/// Responder: the data of REDIRECT that answers an IKE_SA_INIT request of a peer that follows, if all
/// connections that may be meant go to the same gateway, and that is not here.
//= https://www.rfc-editor.org/rfc/rfc5685#section-3
//# If the IKE_SA_INIT request did not indicate support for the redirect
//# mechanism, the responder MUST NOT send the REDIRECT payload to the VPN
//# client.
pub(crate) fn in_init<'a>(
    candidates: impl IntoIterator<Item = &'a Connection>,
    here: IpAddr,
    received: &Received<'_>,
) -> Option<Vec<u8>> {
    let mut targets = candidates.into_iter().map(|connection| connection.redirect.to.as_ref());
    let first = targets.next()??;
    let is_elsewhere = *first != Gateway::Address(here);
    let is_meant = follows(received) && is_elsewhere && targets.all(|other| other == Some(first));
    let nonce = received.nonce.map(|nonce| nonce.as_bytes()).unwrap_or_default();
    is_meant.then(|| data(first, nonce))
}

/// Responder: where a peer that has proven its identity goes.
pub(crate) fn in_auth(core: &Core) -> Option<Gateway> {
    let to = core.connection.as_ref()?.redirect.to.as_ref()?;
    let is_meant = core.terms.redirecting == Redirecting::PeerFollows
        && *to != Gateway::Address(core.path.local.ip());
    is_meant.then(|| to.clone())
}

/// Adds REDIRECT to a protected message.
//= https://www.rfc-editor.org/rfc/rfc5685#section-5
//# The gateway MUST NOT include any nonce data in the REDIRECT payload,
//# since it is a gateway-initiated redirect and is protected by the IKEv2
//# security association.
pub(crate) fn put(to: &Gateway, chain: &mut ChainBuilder) {
    let data = data(to, &[]);
    chain.put(&Payload::Notify(Notify::new(NotifyType::REDIRECT, &data)));
}

/// Initiator: where an IKE_SA_INIT response sends us, if it is an answer to our request.
//= https://www.rfc-editor.org/rfc/rfc5685#section-3
//# When the client receives the IKE_SA_INIT response, it MUST verify that
//# the nonce data matches the value sent in the IKE_SA_INIT request. If
//# the values do not match, the client MUST silently discard the response
pub(crate) fn from_init(core: &Core, received: &Received<'_>, nonce: &[u8]) -> Option<Gateway> {
    let redirect = read(received).filter(|_| core.terms.redirecting == Redirecting::WeFollow)?;
    (redirect.nonce == nonce).then(|| gateway(redirect.gateway))?
}

/// Client: where a protected message sends us.
pub(crate) fn from_protected(core: &Core, received: &Received<'_>) -> Option<Gateway> {
    let redirect = read(received).filter(|_| core.terms.redirecting == Redirecting::WeFollow)?;
    gateway(redirect.gateway)
}

/// Client: tells the endpoint where an INFORMATIONAL request sends us; it decides whether we go.
pub(crate) fn take(core: &Core, received: &Received<'_>, cx: &mut Context<'_>) {
    if let Some(to) = from_protected(core, received) {
        cx.out.notice(Notice::Redirected { ike: core.id, to });
    }
}

/// Gateway: sends the peer of an IKE SA that is up elsewhere, if it follows.
pub(crate) fn start(
    to: &Gateway,
    core: &mut Core,
    cx: &mut Context<'_>,
) -> Result<Option<Own>, FailureReason> {
    if core.terms.redirecting != Redirecting::PeerFollows {
        return Ok(None);
    }
    let mut chain = ChainBuilder::new();
    put(to, &mut chain);
    core.request(ExchangeType::INFORMATIONAL, chain, cx.config.established, cx)?;
    Ok(Some(Own::Redirect(Box::new(to.clone()))))
}

/// Responder: notes in IKE_SA_INIT whether the peer follows.
pub(crate) fn note(core: &mut Core, received: &Received<'_>) {
    if core.role == Role::Responder && follows(received) {
        core.terms.redirecting = Redirecting::PeerFollows;
    }
}

fn read<'a>(received: &Received<'a>) -> Option<Redirect<'a>> {
    let notify = received.notify(NotifyType::REDIRECT)?;
    Redirect::read(&mut Reader(notify.data)).ok()
}

/// A name has to be one of a host: a peer chose it.
fn gateway(id: GatewayId<'_>) -> Option<Gateway> {
    match id {
        GatewayId::V4(octets) => plausible(IpAddr::from(octets)),
        GatewayId::V6(octets) => plausible(IpAddr::from(octets)),
        GatewayId::Fqdn(octets) => std::str::from_utf8(octets).ok()?.parse().ok(),
    }
}

/// Not where nobody else answers, or many do.
fn plausible(address: IpAddr) -> Option<Gateway> {
    let is_broadcast = matches!(address, IpAddr::V4(v4) if v4.is_broadcast());
    let is_here = address.is_loopback() || address.is_unspecified();
    let is_nobody = is_here || address.is_multicast() || is_broadcast;
    (!is_nobody).then_some(Gateway::Address(address))
}

fn data(to: &Gateway, nonce: &[u8]) -> Vec<u8> {
    let gateway = match to {
        Gateway::Address(address) => id_of_address(*address),
        Gateway::Name(name) => GatewayId::Fqdn(name.as_bytes()),
    };
    let mut data = Vec::new();
    Redirect { gateway, nonce }.write(&mut Writer(&mut data));
    data
}

fn id_of_address(address: IpAddr) -> GatewayId<'static> {
    match address {
        IpAddr::V4(v4) => GatewayId::V4(v4.octets()),
        IpAddr::V6(v6) => GatewayId::V6(v6.octets()),
    }
}
