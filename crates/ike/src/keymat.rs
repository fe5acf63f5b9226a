//! Keying material of IKE SAs and child SAs (RFC 7296 §2.13, §2.14, §2.17, §2.18).
//!
//! Additional key exchanges change it in two ways (RFC 9370): during IKE_INTERMEDIATE each one
//! renews the keys of the IKE SA (§2.2.2, [`skeyseed_update`]); after CREATE_CHILD_SA all shared
//! secrets enter one derivation (§2.2.4, [`SharedSecrets::additional`]).

use adit_crypto::{Cipher, Prf, PrfPlusTooLong, Protection, Secret};
use adit_db::ChildKeys;
use adit_wire::ikev2::IkeSpi;

/// Which end of an exchange, or of an IKE SA, one is.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(crate) enum Role {
    /// Sent the request that created the SA.
    Initiator,
    /// Answered it.
    Responder,
}

impl Role {
    /// The other end.
    pub(crate) fn other(self) -> Self {
        match self {
            Self::Initiator => Self::Responder,
            Self::Responder => Self::Initiator,
        }
    }

    /// Whether this end sent the request that created the SA.
    pub(crate) fn is_initiator(self) -> bool {
        self == Self::Initiator
    }
}

/// The nonces of one exchange, in the order every derivation takes them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Nonces<'a> {
    /// Ni: of the initiator of the exchange.
    pub(crate) initiator: &'a [u8],
    /// Nr: of its responder.
    pub(crate) responder: &'a [u8],
}

/// What the key exchanges of one CREATE_CHILD_SA came to.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct SharedSecrets<'a> {
    /// `g^ir (new)`, or SK(0) of RFC 9370; none in a child without a key exchange of its own.
    pub(crate) first: Option<&'a Secret>,
    /// SK(1) … SK(n) of the IKE_FOLLOWUP_KE exchanges.
    pub(crate) additional: &'a [Secret],
}

/// `SKEYSEED = prf(Ni | Nr, g^ir)` of an IKE_SA_INIT exchange (RFC 7296 §2.14), with the beginnings
/// of the nonces where the prf asks for no more.
pub(crate) fn skeyseed(prf: Prf, shared: &Secret, nonces: Nonces<'_>) -> Secret {
    let part = |nonce| match prf.skeyseed_nonce_len() {
        Some(len) => <[u8]>::get(nonce, ..len).unwrap_or(nonce),
        None => nonce,
    };
    let key = Secret::concat(&[part(nonces.initiator), part(nonces.responder)]);
    prf.compute(key.as_bytes(), &[shared.as_bytes()])
}

/// `SKEYSEED(n) = prf(SK_d(n-1), SK(n) | Ni | Nr)` after an additional key exchange by
/// IKE_INTERMEDIATE (RFC 9370 §2.2.2). The nonces are those of IKE_SA_INIT.
pub(crate) fn skeyseed_update(
    prf: Prf,
    sk_d: &Secret,
    shared: &Secret,
    nonces: Nonces<'_>,
) -> Secret {
    let seed = [shared.as_bytes(), nonces.initiator, nonces.responder];
    prf.compute(sk_d.as_bytes(), &seed)
}

/// `SKEYSEED = prf(SK_d (old), g^ir (new) | Ni | Nr)` of the IKE SA that replaces another
/// (RFC 7296 §2.18), with the additional secrets of RFC 9370 §2.2.4 at the end.
///
/// `old_prf` and `old_sk_d` are those of the replaced IKE SA: the exchange belongs to it.
pub(crate) fn skeyseed_rekey(
    old_prf: Prf,
    old_sk_d: &Secret,
    shared: SharedSecrets<'_>,
    nonces: Nonces<'_>,
) -> Secret {
    old_prf.compute(old_sk_d.as_bytes(), &create_child_seed(shared, nonces))
}

/// `SKEYSEED = prf(SK_d (old), "Resumption" | Ni | Nr)` of a session that is resumed (RFC 5723 §5.1).
/// The nonces are those of IKE_SESSION_RESUME.
pub(crate) fn skeyseed_resume(prf: Prf, old_sk_d: &Secret, nonces: Nonces<'_>) -> Secret {
    prf.compute(old_sk_d.as_bytes(), &[b"Resumption", nonces.initiator, nonces.responder])
}

/// The seven keys of an IKE SA (RFC 7296 §2.14).
#[derive(Debug)]
pub(crate) struct SkKeys {
    /// SK_d: later keys are derived from it.
    pub(crate) d: Secret,
    /// SK_ai: integrity of the original initiator's messages; empty with an AEAD.
    pub(crate) ai: Secret,
    /// SK_ar: integrity of the original responder's messages; empty with an AEAD.
    pub(crate) ar: Secret,
    /// SK_ei: encryption of the original initiator's messages, the salt of an AEAD at its end.
    pub(crate) ei: Secret,
    /// SK_er: encryption of the original responder's messages, the salt of an AEAD at its end.
    pub(crate) er: Secret,
    /// SK_pi: enters the original initiator's AUTH payload.
    pub(crate) pi: Secret,
    /// SK_pr: enters the original responder's AUTH payload.
    pub(crate) pr: Secret,
}

impl SkKeys {
    /// `{SK_d | SK_ai | SK_ar | SK_ei | SK_er | SK_pi | SK_pr} =
    /// prf+(SKEYSEED, Ni | Nr | SPIi | SPIr)` (RFC 7296 §2.14).
    ///
    /// All lengths come from the negotiated suite. With an AEAD SK_ai and SK_ar are empty
    /// (RFC 5282 §7).
    ///
    /// # Errors
    ///
    /// When prf+ cannot give so many octets; no suite of this crate asks for that many.
    pub(crate) fn derive(
        prf: Prf,
        cipher: Cipher,
        skeyseed: &Secret,
        nonces: Nonces<'_>,
        spi_i: IkeSpi,
        spi_r: IkeSpi,
    ) -> Result<Self, PrfPlusTooLong> {
        let (p, a, e) = (prf.key_len(), cipher.integrity_key_len(), cipher.encryption_key_len());
        let lengths = [p, a, a, e, e, p, p];
        let seed: [&[u8]; 4] = [nonces.initiator, nonces.responder, &spi_i.0, &spi_r.0];
        let octets = prf.plus(skeyseed.as_bytes(), &seed, lengths.iter().sum())?;
        let [d, ai, ar, ei, er, pi, pr] = octets.split(lengths).expect(EXACT);
        Ok(Self { d, ai, ar, ei, er, pi, pr })
    }

    /// SK_pi or SK_pr: the key that binds an identity to this IKE SA (RFC 7296 §2.15).
    pub(crate) fn identity_key(&self, role: Role) -> &Secret {
        match role {
            Role::Initiator => &self.pi,
            Role::Responder => &self.pr,
        }
    }

    /// SK_e and SK_a of the messages that this end of the IKE SA sends.
    pub(crate) fn sending(&self, role: Role) -> (&Secret, &Secret) {
        match role {
            Role::Initiator => (&self.ei, &self.ai),
            Role::Responder => (&self.er, &self.ar),
        }
    }
}

/// Keys of a child SA by the direction of its packets (RFC 7296 §2.17).
#[derive(Debug)]
pub(crate) struct ChildKeymat {
    /// For packets from the initiator of the exchange to its responder.
    pub(crate) from_initiator: ChildKeys,
    /// For packets from the responder of the exchange to its initiator.
    pub(crate) from_responder: ChildKeys,
}

impl ChildKeymat {
    /// `KEYMAT = prf+(SK_d, [g^ir (new) |] Ni | Nr [| SK(1) | … SK(n)])` (RFC 7296 §2.17,
    /// RFC 9370 §2.2.4).
    ///
    /// The nonces are those of the exchange that creates the child: IKE_SA_INIT for the child of
    /// IKE_AUTH, CREATE_CHILD_SA otherwise. `prf` and `sk_d` are those of the IKE SA around it.
    ///
    /// # Errors
    ///
    /// When prf+ cannot give so many octets; no suite of this crate asks for that many.
    pub(crate) fn derive(
        prf: Prf,
        sk_d: &Secret,
        protection: Protection,
        shared: SharedSecrets<'_>,
        nonces: Nonces<'_>,
    ) -> Result<Self, PrfPlusTooLong> {
        let (e, a) = (protection.encryption_key_len(), protection.integrity_key_len());
        // RFC 7296 §2.17: the initiator's direction first; in each, encryption before integrity.
        let lengths = [e, a, e, a];
        let seed = create_child_seed(shared, nonces);
        let octets = prf.plus(sk_d.as_bytes(), &seed, lengths.iter().sum())?;
        let [ei, ai, er, ar] = octets.split(lengths).expect(EXACT);
        Ok(Self {
            from_initiator: ChildKeys { encryption: ei, integrity: ai },
            from_responder: ChildKeys { encryption: er, integrity: ar },
        })
    }

    /// The keys as (inbound, outbound) of the end that had this role in the exchange.
    pub(crate) fn into_directions(self, role: Role) -> (ChildKeys, ChildKeys) {
        match role {
            Role::Initiator => (self.from_responder, self.from_initiator),
            Role::Responder => (self.from_initiator, self.from_responder),
        }
    }
}

/// `[SK(0)] | Ni | Nr [| SK(1) | … SK(n)]`.
fn create_child_seed<'a>(shared: SharedSecrets<'a>, nonces: Nonces<'a>) -> Vec<&'a [u8]> {
    shared
        .first
        .map(Secret::as_bytes)
        .into_iter()
        .chain([nonces.initiator, nonces.responder])
        .chain(shared.additional.iter().map(Secret::as_bytes))
        .collect()
}

/// Why cutting the output of prf+ cannot fail.
const EXACT: &str = "prf+ gives exactly the sum of the lengths";

#[cfg(test)]
mod tests;
