//! IKE_AUTH (RFC 7296 §1.2, §2.15): both sides.
//!
//! The secrets are elsewhere: signing and verifying are jobs ([`Output::Auth`]) that come back as
//! input, so each side has a state for each job. The responder's does both. What needs no secret
//! ([NULL](crate::v2::null_auth), a session that is [resumed](crate::v2::resumption)) is done at once.
//!
//! | initiator | responder |
//! |---|---|
//! | [`AuthSigning`]: our proof is being made | [`InitAnswered`]: the request is awaited |
//! | [`AuthSent`]: the response is awaited | [`AuthChecking`]: the peer's proof is being checked |
//! | [`AuthVerifying`]: the peer's proof is being checked  |
//!
//! With several authentications (RFC 4739) both go through these states again. A post-quantum key
//! (RFC 8784) is one job more, in the state before the proofs.

mod initiator;
mod responder;
mod selection;

use std::sync::Arc;

use adit_crypto::Secret;
use adit_db::Connection;
use adit_pki::Distrust;

use crate::command::JobId;
use crate::context::Context;
use crate::failure::FailureReason;
use crate::output::{AuthJob, AuthJobKind, Output};
use crate::v2::handshake::Handshake;
use crate::v2::ike_sa::core::Core;
use crate::v2::signature::SignFailure;

pub(crate) use initiator::{AuthSent, AuthSigning, AuthVerifying};
pub(crate) use responder::{AuthChecking, AuthRequest, InitAnswered, refuse_child};

/// Hands out a job; both identities are known.
fn start_job(
    kind: AuthJobKind,
    octets: Secret,
    handshake: &Handshake,
    core: &Core,
    cx: &mut Context<'_>,
) -> Result<JobId, FailureReason> {
    let (Some(connection), (Some(local_id), Some(remote_id))) =
        (&core.connection, handshake.rounds.identities(core))
    else {
        return Err(FailureReason::Internal("identities are not known"));
    };
    let round = match kind {
        AuthJobKind::Sign
        | AuthJobKind::SignHash { .. }
        | AuthJobKind::Derive
        | AuthJobKind::Decapsulate { .. }
        | AuthJobKind::Decrypt(_)
        | AuthJobKind::Password { .. }
        | AuthJobKind::CheckPassword { .. } => handshake.rounds.ours,
        AuthJobKind::Verify { .. }
        | AuthJobKind::VerifyHash { .. }
        | AuthJobKind::Trust { .. }
        | AuthJobKind::VerifyAndSign { .. } => handshake.rounds.theirs,
    };
    let job = cx.out.next_job();
    let auth = AuthJob {
        job,
        kind,
        connection: connection.name.clone(),
        round,
        local_id: local_id.clone(),
        remote_id: remote_id.clone(),
        prf: handshake.suite.prf,
        octets,
        local_auth: handshake.rounds.our_auth(&connection.pad).clone(),
        remote_auth: handshake.rounds.their_auth(&connection.pad).clone(),
        announced: handshake.announced.clone(),
    };
    cx.out.begin_auth(job, core.id);
    cx.out.push(Output::Auth(auth));
    Ok(job)
}

/// A secret for these identities is missing on this side.
fn no_secret(handshake: &Handshake, core: &Core) -> FailureReason {
    match handshake.rounds.identities(core) {
        (Some(local), Some(remote)) => {
            FailureReason::NoSecret { local: local.clone(), remote: remote.clone() }
        }
        _ => FailureReason::Internal("identities are not known"),
    }
}

/// The connection of the IKE SA.
fn configured(core: &Core) -> Result<Arc<Connection>, FailureReason> {
    core.connection.clone().ok_or(FailureReason::NoSuch("connection"))
}

/// We cannot sign.
fn cannot_sign(handshake: &Handshake, core: &Core, problem: Box<SignFailure>) -> FailureReason {
    match handshake.rounds.identities(core).0 {
        Some(local) => FailureReason::CannotSign { local: local.clone(), problem },
        None => FailureReason::Internal("identities are not known"),
    }
}

/// We do not believe the peer's signature, certificate or key.
fn not_trusted(handshake: &Handshake, core: &Core, problem: Box<Distrust>) -> FailureReason {
    match handshake.rounds.identities(core).1 {
        Some(remote) => FailureReason::NotTrusted { remote: remote.clone(), problem },
        None => FailureReason::Internal("identities are not known"),
    }
}
