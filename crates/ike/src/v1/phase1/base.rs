//! What only base mode has (draft-ietf-ipsec-ike-base-mode-02 §3): the initiator proves itself before the
//! responder has shown its public value, so that neither the key exchange nor its keys have a part in that.

use adit_crypto::{Hash, Secret};

use crate::context::Context;
use crate::failure::FailureReason;
use crate::keymat::Role;
use crate::output::AuthJobKind;

use super::super::core::Core;
use super::rules::Exchange;
use super::take::BAD_KEY;
use super::{NO_SUITE, Phase1, Waits};

impl Phase1 {
    /// Whether SKEYID of a secret is wanted before the key exchange.
    pub(super) fn lacks_skeyid(&self) -> bool {
        let has_secret = self.method().is_some_and(|method| method.has_secret());
        self.exchange == Exchange::Base
            && has_secret
            && self.skeyid.is_none()
            && !self.material.nonce_r.is_empty()
            && self.material.public_r.is_empty()
    }

    /// Asks for it. Never there at once.
    pub(super) fn ask_early(
        &mut self,
        core: &Core,
        cx: &mut Context<'_>,
    ) -> Result<bool, FailureReason> {
        let octets = Secret::concat(&[&self.material.nonce_i, &self.material.nonce_r]);
        self.waits = Waits::Secret(self.ask(AuthJobKind::Derive, octets, core, cx)?);
        Ok(false)
    }

    /// HASH_I and HASH_R where they are other than those of RFC 2409 §5:
    ///
    /// ```text
    /// secret:      HASH_I = prf(SKEYID, g^xi | CKY-I | CKY-R | SAi_b | IDii_b)
    /// signatures:  HASH_I = prf(hash(Ni_b | Nr_b),
    ///                           g^xi | CKY-I | CKY-R | SAi_b | IDii_b | IDir_b)
    ///              HASH_R = prf(hash(Ni_b | Nr_b),
    ///                           g^xr | g^xi | CKY-R | CKY-I | SAi_b | IDir_b | IDii_b)
    /// ```
    pub(super) fn base_hash(&self, of: Role, core: &Core) -> Option<Secret> {
        let (prf, material) = (self.suite.as_ref()?.prf, &*self.material);
        let (cky_i, cky_r) = (&core.cookie_i.0[..], &core.cookie_r.0[..]);
        let (id_i, id_r) = (material.id_i.as_slice(), material.id_r.as_slice());
        let (xi, xr, sa) = (&*material.public_i, &*material.public_r, &*material.sa_body);
        let has_secret = self.method()?.has_secret();
        match (of, has_secret) {
            (Role::Initiator, true) => {
                let skeyid = self.skeyid.as_ref()?;
                Some(prf.compute(skeyid.as_bytes(), &[xi, cky_i, cky_r, sa, id_i]))
            }
            (Role::Responder, true) => None,
            (of, false) => {
                let hash = Hash::ALL.into_iter().find(|hash| hash.prf() == prf)?;
                let key = hash.digest(&[&material.nonce_i, &material.nonce_r]);
                let parts: &[&[u8]] = match of {
                    Role::Initiator => &[xi, cky_i, cky_r, sa, id_i, id_r],
                    Role::Responder => &[xr, xi, cky_r, cky_i, sa, id_r, id_i],
                };
                let prf = self.method()?.proof_prf(of, prf);
                Some(prf.compute(key.as_bytes(), parts))
            }
        }
    }

    /// Responder: the initiator has proven itself, and only now its public value is answered.
    pub(super) fn answer_proven(
        &mut self,
        core: &Core,
        cx: &mut Context<'_>,
    ) -> Result<(), FailureReason> {
        if core.role.is_initiator() {
            return Ok(());
        }
        let group = self.suite.as_ref().ok_or(NO_SUITE)?.group;
        let answer = cx.answer_key_share(group, &self.material.public_i).map_err(|_| BAD_KEY)?;
        (self.material.public_r, self.material.shared) = answer;
        Ok(())
    }
}
