//! What a responder makes of a quick mode's first message: which child, which suite (RFC 2409 §5.5).

use std::sync::Arc;

use adit_db::{ChildConfig, ChildName, ChildSaId, Connection, Hosts, Mode, ProposalSpec, TsSpec};
use adit_wire::esp::Spi;
use adit_wire::iana::isakmp::NotifyType;
use adit_wire::iana::{ExchangeType as AnyExchangeType, ProtocolId};
use adit_wire::ikev2::TrafficSelector;

use crate::context::Context;
use crate::failure::{By, FailureReason};
use crate::keymat::Role;

use super::bundle;
use super::child::Child;
use super::child_suite::{self, Phase2Choice};
use super::core::Core;
use super::identification;
use super::informational;
use super::nat;
use super::notification_data;
use super::received::Received;

/// What is to be agreed to.
pub(crate) struct Chosen {
    pub(crate) connection: Arc<Connection>,
    pub(crate) child: ChildName,
    pub(crate) choice: Phase2Choice,
    pub(crate) local: TrafficSelector,
    pub(crate) remote: TrafficSelector,
    pub(crate) rekeys: Option<ChildSaId>,
    /// In transport mode, the two ends as the peer knows them, if that is not as we do.
    pub(crate) peer_view: Option<Hosts>,
    /// Whether our side is less than the peer asks for.
    pub(crate) narrowed: bool,
}

/// A request that is refused.
#[derive(Debug)]
pub(crate) struct Refused {
    pub(crate) child: Option<ChildName>,
    pub(crate) reason: FailureReason,
    notify: NotifyType,
    /// The SA that the peer asks for.
    sa: Option<(ProtocolId, Spi)>,
}

impl Refused {
    /// Something went wrong of which the peer hears nothing.
    pub(crate) fn because(child: ChildName, reason: FailureReason) -> Self {
        Self { child: Some(child), reason, notify: NotifyType::INVALID_KEY_INFORMATION, sa: None }
    }

    /// Something that is about no child.
    pub(crate) fn of_no_child(reason: FailureReason) -> Self {
        Self { child: None, reason, notify: NotifyType::ATTRIBUTES_NOT_SUPPORTED, sa: None }
    }

    /// Tells the peer, whose quick mode has this message id.
    pub(crate) fn tell(&self, message_id: u32, core: &Core, cx: &mut Context<'_>) {
        let Some((protocol, spi)) = self.sa else { return };
        let of = (AnyExchangeType::QUICK_MODE, message_id);
        let data = notification_data::of_refusal(self.notify, &self.reason, of, core);
        informational::tell(self.notify, protocol, spi, &data, core, cx);
    }
}

/// Chooses a child for an authentic first message.
pub(crate) fn choose(
    received: &Received<'_>,
    core: &Core,
    children: &[Child],
    cx: &Context<'_>,
) -> Result<Chosen, Box<Refused>> {
    let malformed = |reason| {
        let reason = FailureReason::PeerMisbehaved(reason);
        let notify = NotifyType::PAYLOAD_MALFORMED;
        Box::new(Refused { child: None, reason, notify, sa: None })
    };
    let (Some(sa), Some(nonce)) = (&received.sa, received.nonce) else {
        return Err(malformed("quick mode without SA or nonce"));
    };
    if !(8..=256).contains(&nonce.len()) {
        return Err(malformed("nonce of a wrong length"));
    }
    let offered = child_suite::offered_sa(sa);
    let (peers, ours) = match received.ids.as_slice() {
        // Without identities it is for the two ends themselves.
        [] => (
            TrafficSelector::from_address(core.path.remote.ip()),
            TrafficSelector::from_address(core.path.local.ip()),
        ),
        ids => identification::pair(ids).ok_or_else(|| {
            let reason = FailureReason::PeerMisbehaved("identities are no networks");
            let notify = NotifyType::INVALID_ID_INFORMATION;
            Box::new(Refused { child: None, reason, notify, sa: offered })
        })?,
    };
    let mut nearest: Option<Refused> = None;
    for connection in candidates(core, children, cx) {
        for config in &connection.children {
            let is_moved = config.mode == Mode::Transport && core.wrap().is_some();
            let (asked, remote) =
                if is_moved { nat::as_here((ours, peers), core) } else { (ours, peers) };
            let local = narrowed(config, core, asked);
            if !protects(&connection, config, core, local, remote) {
                continue;
            }
            let choice = child_suite::choose_phase2(&connection, config, sa, core.wrap());
            let Some(choice) = choice else {
                nearest.get_or_insert_with(|| no_proposal(config, core, offered));
                continue;
            };
            let child = config.name.clone();
            let same = |old: &&Child| {
                old.is_current() && (&old.name, old.local, old.remote) == (&child, local, remote)
            };
            let rekeys = children.iter().rfind(same).map(|old| old.id);
            let connection = Arc::clone(&connection);
            let original = received.original_addresses.as_slice();
            let peer_view =
                is_moved.then(|| nat::peer_view(Role::Responder, original, core)).flatten();
            let narrowed = local != asked;
            return Ok(Chosen {
                connection,
                child,
                choice,
                local,
                remote,
                rekeys,
                peer_view,
                narrowed,
            });
        }
    }
    Err(Box::new(nearest.unwrap_or_else(|| no_selectors(core, ours, peers, offered))))
}

/// The connection of the phase 1, and as long as it has no child the others with this peer: which of
/// them is meant only the networks tell.
///
/// Only among connections that name this one peer: what proved the identity is the first one's, and
/// where that is for anybody it proves no name.
fn candidates(core: &Core, children: &[Child], cx: &Context<'_>) -> Vec<Arc<Connection>> {
    let own = Arc::clone(&core.connection);
    let (true, Some(peer)) = (children.is_empty(), own.pad.remote_id.exact()) else {
        return vec![own];
    };
    let is_alike = |other: &&&Arc<Connection>| {
        let is_same = other.pad.remote_id.exact() == Some(peer);
        // Who is let in without a user does not get to where users are asked for, nor who has proven itself
        // in another way than is wanted there.
        let is_proven = other.remote_access == own.remote_access
            && other.pad.remote_auth == own.pad.remote_auth
            && other.nonce_encryption == own.nonce_encryption;
        other.name != own.name && is_same && is_proven && other.pad.local_id == own.pad.local_id
    };
    let others = cx.connections.of_v1(core.path);
    let others: Vec<_> = others.iter().filter(is_alike).map(|&other| Arc::clone(other)).collect();
    std::iter::once(own).chain(others).collect()
}

/// Our side of a child. A remote client that asks for more than there is, mostly for everything, gets what
/// there is: it has been told which networks these are, or takes what comes.
fn narrowed(config: &ChildConfig, core: &Core, asked: TrafficSelector) -> TrafficSelector {
    if core.connection.remote_access.server.is_none() {
        return asked;
    }
    let mut own = config.local_ts.iter().filter_map(TsSpec::selector);
    own.find(|own| own.is_subset_of(&asked)).unwrap_or(asked)
}

/// Whether a child is for this traffic, and the peer may speak for it.
fn protects(
    connection: &Connection,
    config: &ChildConfig,
    core: &Core,
    local: TrafficSelector,
    remote: TrafficSelector,
) -> bool {
    let here = core.inside_local(Some(remote.start));
    let there = core.inside_remote(Some(local.start));
    let within = |one: TrafficSelector, specs: &[TsSpec], address| {
        specs.iter().any(|spec| one.is_subset_of(&spec.resolve(address)))
    };
    let claims = core.remote_id.as_ref().and_then(|id| connection.pad.claimed_by(id));
    within(local, &config.local_ts, here)
        && within(remote, &config.remote_ts, there)
        && claims.is_none_or(|networks| within(remote, networks, there))
}

fn no_proposal(config: &ChildConfig, core: &Core, sa: Option<(ProtocolId, Spi)>) -> Refused {
    let is_esp = |spec: &ProposalSpec| spec.protocol() == ProtocolId::ESP;
    let has_ah = !config.outer_ah.is_empty() || !config.proposals.iter().any(is_esp);
    let reason = match core.wrap() {
        Some(_) if has_ah => FailureReason::AhThroughNat {
            nat_local: core.nat.we_are_behind_nat,
            nat_remote: core.nat.peer_is_behind_nat,
        },
        _ => FailureReason::NoCommonEspSuite {
            by: By::Us,
            ours: bundle::wanted(config),
            theirs: Vec::new(),
        },
    };
    let notify = NotifyType::NO_PROPOSAL_CHOSEN;
    Refused { child: Some(config.name.clone()), reason, notify, sa }
}

fn no_selectors(
    core: &Core,
    local: TrafficSelector,
    remote: TrafficSelector,
    sa: Option<(ProtocolId, Spi)>,
) -> Refused {
    let config = core.connection.children.first();
    let resolved = |specs: &[TsSpec], address| {
        specs.iter().map(|spec| spec.resolve(address)).collect::<Vec<_>>()
    };
    let reason = FailureReason::SelectorMismatch {
        by: By::Us,
        our_local: config
            .map(|config| resolved(&config.local_ts, core.inside_local(None)))
            .unwrap_or_default(),
        our_remote: config
            .map(|config| resolved(&config.remote_ts, core.inside_remote(None)))
            .unwrap_or_default(),
        their_view_of_local: vec![local],
        their_view_of_remote: vec![remote],
    };
    let child = config.map(|config| config.name.clone());
    Refused { child, reason, notify: NotifyType::INVALID_ID_INFORMATION, sa }
}
