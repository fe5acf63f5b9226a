//! Keys, proofs, and what follows of them.

use adit_crypto::Secret;
use adit_db::Identity;

use crate::command::{AuthResult, JobId};
use crate::context::Context;
use crate::failure::FailureReason;
use crate::keymat::Nonces;
use crate::output::{AuthJob, AuthJobKind, Output};
use crate::v2::signature::Proof;

use super::super::core::{Core, NO_KEYS};
use super::super::keymat::skeyid_signatures;
use super::super::keys::Keys;
use super::super::method::{Algorithm, Base, ProofKind};
use super::super::nat;
use super::rules::{Exchange, Part};
use super::{NO_SUITE, Outcome, Phase1, StepResult, Waits};

/// What becomes of a proof.
enum Verdict {
    /// It is right, or the message has none.
    Right,
    /// It is wrong, which whoever is wronged was told.
    Wrong,
    /// Somebody else has to say so.
    Pending,
}

impl Phase1 {
    /// Goes on as far as it can.
    pub(super) fn advance(&mut self, core: &mut Core, cx: &mut Context<'_>) -> StepResult {
        // A step is a message, of which the longest exchange has six, with its proof.
        for _ in 0..STEPS_MAX {
            if self.lacks_skeyid() && !self.ask_early(core, cx)? {
                return Ok(Outcome::Stay);
            }
            if core.keys.is_none() && self.has_material() && !self.derive(core, cx)? {
                return Ok(Outcome::Stay);
            }
            if self.taken.is_some() {
                match self.verify(core, cx)? {
                    Verdict::Right => {
                        self.accept(core, cx)?;
                        continue;
                    }
                    Verdict::Wrong | Verdict::Pending => return Ok(Outcome::Stay),
                }
            }
            if self.number == self.exchange.last() {
                let by_us = Exchange::sender(self.number) == core.role;
                return Ok(Outcome::Done(self.answered.take().filter(|_| by_us)));
            }
            let next = self.number.saturating_add(1);
            if Exchange::sender(next) != core.role || self.sign(next, core, cx)? {
                return Ok(Outcome::Stay);
            }
            self.send(next, core, cx)?;
        }
        Ok(Outcome::Stay)
    }

    /// Whether both ends have shown what the keys come of.
    fn has_material(&self) -> bool {
        !self.material.nonce_r.is_empty() && !self.material.public_r.is_empty()
    }

    // ---- Keys ----

    /// SKEYID: of signatures it comes of the key exchange alone, else it is asked for. Whether it is
    /// there.
    fn derive(&mut self, core: &mut Core, cx: &mut Context<'_>) -> Result<bool, FailureReason> {
        let suite = self.suite.as_ref().ok_or(NO_SUITE)?;
        let material = &self.material;
        match suite.method.base {
            Base::Signature(_) => {
                let nonces = Nonces { initiator: &material.nonce_i, responder: &material.nonce_r };
                let skeyid = skeyid_signatures(suite.prf, &material.shared, nonces);
                self.use_skeyid(skeyid, core)?;
                Ok(true)
            }
            Base::PreSharedKey if self.skeyid.is_some() => {
                let skeyid = self.skeyid.take().ok_or(NO_KEYS)?;
                self.use_skeyid(skeyid, core)?;
                Ok(true)
            }
            Base::PreSharedKey => {
                let octets = Secret::concat(&[&material.nonce_i, &material.nonce_r]);
                let job = self.ask(AuthJobKind::Derive, octets, core, cx)?;
                self.waits = Waits::Secret(job);
                Ok(false)
            }
            Base::RsaEncryption | Base::RevisedRsaEncryption | Base::Dhless => Err(NO_SUITE),
        }
    }

    fn use_skeyid(&self, skeyid: Secret, core: &mut Core) -> Result<(), FailureReason> {
        let suite = self.suite.as_ref().ok_or(NO_SUITE)?;
        let keys = Keys::derive(suite, skeyid, &self.material, core.cookies());
        core.keys = Some(keys.ok_or(FailureReason::Internal("key length"))?);
        Ok(())
    }

    /// Asks whoever has secrets and private keys.
    pub(super) fn ask(
        &self,
        kind: AuthJobKind,
        octets: Secret,
        core: &Core,
        cx: &mut Context<'_>,
    ) -> Result<JobId, FailureReason> {
        let prf = self.suite.as_ref().ok_or(NO_SUITE)?.prf;
        let job = cx.out.next_job();
        cx.out.begin_auth(job, core.id);
        // Of aggressive mode the peer has said who it is; the one name that a tunnel has comes first.
        let claimed =
            self.claimed(core).filter(|_| core.connection.pad.remote_id.exact().is_none());
        cx.out.push(Output::Auth(AuthJob {
            job,
            kind,
            connection: core.connection_name().clone(),
            round: 0,
            local_id: core.own_id(),
            remote_id: claimed.unwrap_or_else(|| core.expected_id()),
            prf,
            octets,
            local_auth: core.connection.pad.local_auth.clone(),
            remote_auth: core.connection.pad.remote_auth.clone(),
            announced: self.announced.clone(),
        }));
        Ok(job)
    }

    /// Takes the result of a job.
    pub(crate) fn handle_auth(
        &mut self,
        job: JobId,
        result: AuthResult,
        core: &mut Core,
        cx: &mut Context<'_>,
    ) -> StepResult {
        let (result, end) = result.split();
        let claimed = self.claimed(core);
        let refused = |result, core: &Core| refusal(result, claimed.clone(), core);
        match (self.waits, result) {
            (Waits::Secret(own), result) if own == job => {
                let AuthResult::Derived(key) = result else { return Err(refused(result, core)) };
                match self.has_material() {
                    true => self.use_skeyid(key.0, core)?,
                    false => self.skeyid = Some(key.0),
                }
            }
            (Waits::Verdict(own), result) if own == job => {
                let AuthResult::Verified = result else { return Err(refused(result, core)) };
                if let Some(taken) = &mut self.taken {
                    taken.proof = None;
                }
            }
            (Waits::Signature(own), result) if own == job => {
                let AuthResult::Signed(proof) = result else { return Err(refused(result, core)) };
                self.signed = Some(Box::new(proof));
            }
            _ => return Ok(Outcome::Stay),
        }
        core.limit(end);
        self.waits = Waits::Message;
        self.advance(core, cx)
    }

    // ---- The peer's proof ----

    /// Checks the proof of the message that is being taken.
    fn verify(&mut self, core: &Core, cx: &mut Context<'_>) -> Result<Verdict, FailureReason> {
        let Some(taken) = &self.taken else { return Ok(Verdict::Right) };
        let Some(proof) = &taken.proof else { return Ok(Verdict::Right) };
        let peer = core.role.other();
        let right = self.hash_of(peer, core).ok_or(NO_KEYS)?;
        match self.method().ok_or(NO_SUITE)?.proof(peer) {
            // Compared in constant time.
            ProofKind::Hash if right == Secret::from_slice(proof) => Ok(Verdict::Right),
            ProofKind::Hash => {
                self.taken = None;
                self.doubt_secret(core, cx);
                Ok(Verdict::Wrong)
            }
            ProofKind::Signature(algorithm) => {
                let auth = Proof {
                    method: algorithm.as_method(),
                    data: proof.clone(),
                    certificates: taken.certificates.clone(),
                };
                // Of a stranger's claims only those that the tunnel is for are looked at.
                if !self.is_acceptable(core)? {
                    return Ok(Verdict::Wrong);
                }
                let kind = AuthJobKind::VerifyHash { auth };
                let job = self.ask(kind, right, core, cx)?;
                self.waits = Waits::Verdict(job);
                Ok(Verdict::Pending)
            }
        }
    }

    /// The message counts: its proof is right, or it needs none.
    fn accept(&mut self, core: &mut Core, cx: &mut Context<'_>) -> Result<(), FailureReason> {
        let Some(taken) = self.taken.take() else { return Ok(()) };
        let rule = self.rule(taken.number).ok_or(NO_SUITE)?;
        if rule.has(Part::Proof) {
            self.is_acceptable(core)?;
            core.remote_id = self.claimed(core);
            nat::settle(core, taken.path, cx);
            core.hear(taken.path, cx.now);
            self.initial_contact |= taken.initial_contact;
        }
        if let (Some(iv), Some(keys)) = (taken.iv, &mut core.keys) {
            keys.set_phase1_iv(iv);
        }
        if self.exchange == Exchange::Base && taken.number == 3 {
            self.answer_proven(core, cx)?;
        }
        self.number = taken.number;
        self.answered = Some(taken.answered);
        self.patience.answered();
        if taken.has_hashes && core.role.is_initiator() {
            nat::float(core, cx);
        }
        Ok(())
    }

    /// Whether the peer is one that the tunnel is for.
    ///
    /// # Errors
    ///
    /// [`FailureReason::WrongIdentity`], or that it is nobody.
    fn is_acceptable(&self, core: &Core) -> Result<bool, FailureReason> {
        let pad = &core.connection.pad;
        let Some(received) = self.claimed(core) else { return Err(NO_NAME) };
        if pad.accepts(&received) {
            return Ok(true);
        }
        let expected = pad.remote_id.clone();
        Err(FailureReason::WrongIdentity { expected, received })
    }

    // ---- Our own ----

    /// Has our signature made, if the next message needs one. Whether it has to come first.
    fn sign(&mut self, next: u8, core: &Core, cx: &mut Context<'_>) -> Result<bool, FailureReason> {
        let rule = self.rule(next).ok_or(NO_SUITE)?;
        let proof = self.method().ok_or(NO_SUITE)?.proof(core.role);
        let ProofKind::Signature(algorithm) = proof else { return Ok(false) };
        if !rule.has(Part::Proof) || self.signed.is_some() {
            return Ok(false);
        }
        self.prepare(rule, cx);
        let hash = self.hash_of(core.role, core).ok_or(NO_KEYS)?;
        let kind = AuthJobKind::SignHash { method: algorithm.as_method() };
        self.waits = Waits::Signature(self.ask(kind, hash, core, cx)?);
        Ok(true)
    }
}

impl Algorithm {
    /// What IKEv2 calls a proof by a key of that kind.
    fn as_method(self) -> adit_wire::iana::AuthMethod {
        use adit_wire::iana::AuthMethod;
        match self {
            Self::Dss => AuthMethod::DSS_SIGNATURE,
            Self::Rsa => AuthMethod::RSA_SIGNATURE,
            Self::EcdsaP256 => AuthMethod::ECDSA_SHA256_P256,
            Self::EcdsaP384 => AuthMethod::ECDSA_SHA384_P384,
            Self::EcdsaP521 => AuthMethod::ECDSA_SHA512_P521,
        }
    }
}

/// Why a job that came to nothing ends the attempt.
fn refusal(result: AuthResult, claimed: Option<Identity>, core: &Core) -> FailureReason {
    let (local, remote) = (core.own_id(), claimed.unwrap_or_else(|| core.expected_id()));
    match result {
        AuthResult::Distrusted(problem) => FailureReason::NotTrusted { remote, problem },
        AuthResult::CannotSign(problem) => FailureReason::CannotSign { local, problem },
        AuthResult::NoSecret
        | AuthResult::Refused
        | AuthResult::Signed(_)
        | AuthResult::Verified
        | AuthResult::VerifiedAndSigned(_)
        | AuthResult::Mixed(_)
        | AuthResult::Derived(_)
        | AuthResult::Decrypted(_)
        | AuthResult::Limited(_) => FailureReason::NoSecret { local, remote },
    }
}

/// What is more would be a loop.
const STEPS_MAX: usize = 8;

/// Nobody here has a name of that type, or it is none of IKE (RFC 2407 §4.6.2).
const NO_NAME: FailureReason = FailureReason::PeerMisbehaved("identity of phase 1");
