//! IKE_AUTH with pre-shared keys (RFC 7296 §1.2, §2.15): both sides.
//!
//! The secrets are elsewhere: signing and verifying are jobs ([`Output::Auth`]) that come back as
//! input, so each side has a state for each job.
//!
//! | initiator | responder |
//! |---|---|
//! | [`AuthSigning`]: our proof is being made | [`InitAnswered`]: the request is awaited |
//! | [`AuthSent`]: the response is awaited | [`AuthChecking`]: the peer's proof is being checked |
//! | [`AuthVerifying`]: the peer's proof is being checked | [`AuthAnswering`]: our proof is being made |

mod initiator;
mod responder;

use adit_crypto::Secret;
use adit_db::Identity;

use crate::command::JobId;
use crate::context::Context;
use crate::failure::FailureReason;
use crate::output::{AuthJob, AuthJobKind, Output};
use crate::v2::handshake::Handshake;
use crate::v2::ike_sa::core::Core;

pub(crate) use initiator::{AuthSent, AuthSigning, AuthVerifying};
pub(crate) use responder::{AuthAnswering, AuthChecking, InitAnswered, address_rank, refuse_child};

/// Hands out a job; both identities are known.
fn start_job(
    kind: AuthJobKind,
    octets: Secret,
    handshake: &Handshake,
    core: &Core,
    cx: &mut Context<'_>,
) -> Result<JobId, FailureReason> {
    let (Some(connection), Some(local_id), Some(remote_id)) =
        (core.connection_name(), &core.local_id, &core.remote_id)
    else {
        return Err(FailureReason::Internal("identities are not known"));
    };
    let job = cx.out.next_job();
    let auth = AuthJob {
        job,
        kind,
        connection: connection.clone(),
        local_id: local_id.clone(),
        remote_id: remote_id.clone(),
        prf: handshake.suite.prf,
        octets,
    };
    cx.out.begin_auth(job, core.id);
    cx.out.push(Output::Auth(auth));
    Ok(job)
}

/// A secret for these identities is missing on this side.
fn no_secret(core: &Core) -> FailureReason {
    match (&core.local_id, &core.remote_id) {
        (Some(local), Some(remote)) => {
            FailureReason::NoSecret { local: local.clone(), remote: remote.clone() }
        }
        _ => FailureReason::Internal("identities are not known"),
    }
}

/// Our identity on this IKE SA.
fn local_id(core: &Core) -> Result<Identity, FailureReason> {
    let connection = core.connection.as_ref().ok_or(FailureReason::NoSuch("connection"))?;
    Ok(connection.pad.local_id(core.path.local.ip()))
}
