//! Responder: the initiator's key is to be had of the certificate that it has sent (RFC 2409 §5.3).

use std::sync::Arc;

use adit_db::Identity;
use adit_pki::{Certificate, Distrust};
use adit_wire::Reader;
use adit_wire::isakmp::Id;

use crate::Announced;
use crate::command::{AuthResult, JobId};
use crate::context::Context;
use crate::failure::FailureReason;
use crate::output::{AuthJob, AuthJobKind, Output};
use crate::v1::core::Core;
use crate::v1::identification;
use crate::v1::phase1::{Outcome, StepResult};

use super::super::proof::check_identity;
use super::super::trust;
use super::{EncryptedPhase1, Opened, Stage};

/// What goes on when the initiator's certificate is trusted.
#[derive(Debug)]
pub(super) struct Certifying {
    job: JobId,
    certificate: Arc<Certificate>,
    remote: Identity,
    opened: Opened,
}

impl EncryptedPhase1 {
    /// Asks whoever knows the authorities. Until there is an answer, repetitions get none.
    ///
    /// # Errors
    ///
    /// [`FailureReason::NotTrusted`] if there is no certificate, or its key is none that encrypts;
    /// [`FailureReason::WrongIdentity`] if the tunnel is not for who the peer says to be.
    pub(super) fn ask_trust(
        &mut self,
        opened: Opened,
        core: &Core,
        cx: &mut Context<'_>,
    ) -> StepResult {
        let remote = claimed(&opened).unwrap_or_else(|| core.expected_id());
        let distrusted = |problem| {
            Err(FailureReason::NotTrusted { remote: remote.clone(), problem: Box::new(problem) })
        };
        let body = opened.peer.certificate.as_deref().filter(|_| opened.peer.is_sound);
        let Some(certificate) = body.and_then(trust::read) else {
            return distrusted(trust::UNREADABLE);
        };
        if super::super::PeerKey::certified(&certificate).is_none() {
            return distrusted(NOT_RSA);
        }
        check_identity(&remote, core)?;
        let job = cx.out.next_job();
        cx.out.begin_auth(job, core.id);
        cx.out.push(Output::Auth(AuthJob {
            job,
            kind: AuthJobKind::Trust { certificate: certificate.der().to_vec() },
            connection: core.connection_name().clone(),
            round: 0,
            local_id: core.own_id(),
            remote_id: remote.clone(),
            prf: opened.suite.prf,
            octets: adit_crypto::Secret::default(),
            local_auth: core.connection.pad.local_auth.clone(),
            remote_auth: core.connection.pad.remote_auth.clone(),
            announced: Announced::default(),
        }));
        self.stage = Stage::Certifying(Box::new(Certifying { job, certificate, remote, opened }));
        Ok(Outcome::Stay)
    }

    /// Takes the verdict, and answers with what is encrypted to the key.
    pub(super) fn handle_trust(
        &mut self,
        job: JobId,
        result: AuthResult,
        core: &mut Core,
        cx: &mut Context<'_>,
    ) -> StepResult {
        if !matches!(&self.stage, Stage::Certifying(waiting) if waiting.job == job) {
            return Ok(Outcome::Stay);
        }
        let stage = std::mem::replace(&mut self.stage, Stage::Over);
        let Stage::Certifying(waiting) = stage else { return Ok(Outcome::Stay) };
        let Certifying { certificate, remote, opened, .. } = *waiting;
        let (result, end) = result.split();
        match result {
            AuthResult::Verified => {}
            AuthResult::Distrusted(problem) => {
                return Err(FailureReason::NotTrusted { remote, problem });
            }
            AuthResult::Signed(_)
            | AuthResult::VerifiedAndSigned(_)
            | AuthResult::Refused
            | AuthResult::Mixed(_)
            | AuthResult::Derived(_)
            | AuthResult::Decrypted(_)
            | AuthResult::NoSecret
            | AuthResult::CannotSign(_)
            | AuthResult::Limited(_) => {
                return Err(FailureReason::Internal("a certificate was to be judged"));
            }
        }
        core.limit(end);
        self.certified = Some(certificate);
        self.answer_opened(opened, core, cx)
    }
}

/// Who the peer says to be, which nothing has proven yet.
fn claimed(opened: &Opened) -> Option<Identity> {
    identification::identity(&Id::read(&mut Reader(&opened.peer.id_body)).ok()?)
}

const NOT_RSA: Distrust =
    Distrust::NoCertificate("the peer's certificate has no RSA key, to which alone we can encrypt");
