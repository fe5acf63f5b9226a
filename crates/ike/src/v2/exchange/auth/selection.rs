//! Which connection an IKE_AUTH request means (RFC 4301 §4.4.3, RFC 7296 §2.15).

use std::cmp::Reverse;
use std::sync::Arc;

use adit_db::{Connection, Identity};

use crate::connections::RANK_ADDRESS;
use crate::context::Context;
use crate::failure::FailureReason;
use crate::v2::handshake::Handshake;
use crate::v2::ike_sa::core::Core;
use crate::v2::null_auth;
use crate::v2::rules::{Received, ReceivedId};
use crate::v2::signature::{Proof, is_of};
use crate::v2::static_kem;

/// The connection of an IKE_AUTH request.
pub(super) struct Selected {
    pub(super) connection: Arc<Connection>,
    /// Who the peer says it is.
    pub(super) remote_id: Identity,
    /// Whether a failure may show our identity.
    pub(super) show_identity: bool,
}

/// The connection of a session that is resumed: the one that its ticket names, whatever else would
/// take the peer, as nothing has been proven to that.
pub(super) fn resumed(received: &Received<'_>, core: &Core) -> Result<Selected, FailureReason> {
    let connection = core.connection.clone().ok_or(FailureReason::NoSuch("connection"))?;
    let id_i = received.id_i.ok_or(FailureReason::PeerMisbehaved("no IDi"))?;
    let (remote_id, asked) = (identity_of(id_i)?, identity_asked(received)?);
    let ours = connection.pad.local_id(core.path.local.ip());
    if asked.as_ref().is_some_and(|asked| !asked.is_same(&ours)) {
        let expected = vec![(connection.name.clone(), connection.pad.remote_id.clone())];
        return Err(FailureReason::UnknownPeer { remote: remote_id, local: asked, expected });
    }
    Ok(Selected { connection, remote_id, show_identity: false })
}

/// Finds the connection by addresses, suite and both identities (RFC 4301 §4.4.3.1; CHECKLIST
/// F22): one that expects the method of its proof, then the one that names the peer most exactly,
/// then the one that names its address most exactly, then the first by name.
pub(super) fn select(
    handshake: &Handshake,
    received: &Received<'_>,
    core: &Core,
    cx: &Context<'_>,
) -> Result<Selected, FailureReason> {
    let id_i = received.id_i.ok_or(FailureReason::PeerMisbehaved("no IDi"))?;
    let remote_id = identity_of(id_i)?;
    let is_null = null_auth::is_used(received);
    if remote_id == Identity::Null && !is_null {
        return Err(FailureReason::PeerMisbehaved("ID_NULL without NULL authentication"));
    }
    let asked = identity_asked(received)?;
    let local = core.path.local.ip();
    let fits = |connection: &Connection| handshake.fits(&connection.proposals);
    let mut accepting = cx.connections.accepting(core.path, &remote_id, &fits);
    // Who made the keys by a static one is nobody but the owner of that.
    accepting.retain(|(_, connection)| static_kem::is_same(handshake, core, connection));
    // Why a peer that is known by its name is not let in: it proves more or less than it is asked for.
    let asked_of_it = accepting.first().map(|(_, connection)| &connection.pad.remote_auth);
    let spurned = asked_of_it.and_then(|auth| Proof::received(received, auth).err());
    // RFC 7619 §2.4: who proves nothing gets what is for anybody, whatever it calls itself.
    accepting.retain(|(_, connection)| {
        !connection.pad.is_peer_anonymous() && connection.pad.remote_auth.is_null() == is_null
    });
    if is_null {
        let anybody = cx.connections.accepting(core.path, &Identity::Null, &fits);
        let anybody = anybody.into_iter().filter(|(_, it)| {
            it.pad.is_peer_anonymous() && static_kem::is_same(handshake, core, it)
        });
        accepting.extend(anybody);
    }
    let best = accepting
        .into_iter()
        .filter(|(_, connection)| {
            let ours = connection.pad.local_id(local);
            asked.as_ref().is_none_or(|asked| asked.is_same(&ours))
        })
        .max_by_key(|(rank, connection)| {
            let method = received.auth.map(|auth| auth.method);
            let fits = method.is_some_and(|method| is_of(method, &connection.pad.remote_auth));
            (fits, connection.pad.remote_id.rank(), *rank, Reverse(&connection.name))
        });
    match best {
        Some((rank, connection)) => Ok(Selected {
            connection: Arc::clone(connection),
            show_identity: asked.is_some() && rank == RANK_ADDRESS,
            remote_id: match connection.pad.is_peer_anonymous() {
                true => Identity::Null,
                false => remote_id,
            },
        }),
        None => Err(spurned.unwrap_or_else(|| FailureReason::UnknownPeer {
            remote: remote_id,
            local: asked,
            expected: cx
                .connections
                .first(core.path, EXPECTED_MAX, &fits)
                .into_iter()
                .map(|connection| (connection.name.clone(), connection.pad.remote_id.clone()))
                .collect(),
        })),
    }
}

/// Whom an IDi payload names.
pub(super) fn identity_of(id: ReceivedId<'_>) -> Result<Identity, FailureReason> {
    Identity::from_wire(id.id.kind, id.id.data)
        .map_err(|_| FailureReason::PeerMisbehaved("IDi is no identity"))
}

/// Whom an IDr payload asks for.
fn identity_asked(received: &Received<'_>) -> Result<Option<Identity>, FailureReason> {
    let asked = received.id_r.map(|id_r| Identity::from_wire(id_r.id.kind, id_r.id.data));
    asked.transpose().map_err(|_| FailureReason::PeerMisbehaved("IDr is no identity"))
}

/// Connections named in a failure.
const EXPECTED_MAX: usize = 4;
