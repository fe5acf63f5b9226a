//! How the two ends prove themselves in phase 1 (RFC 2409 §5.1 to §5.4, RFC 4754,
//! draft-ietf-ipsec-isakmp-hybrid-auth-05, draft-ietf-ipsec-isakmp-xauth-06 §7,
//! draft-ietf-ipsec-dhless-enc-mode-00).
//!
//! One number of a transform says it for both ends: which proof each of them gives, and whether one of
//! them has a user who proves himself afterwards.

use adit_crypto::{KeyKind, Prf};
use adit_db::{AuthSpec, Connection, SignatureSpec, UserAuth};
use adit_wire::iana::doi::Phase1Auth;

use crate::keymat::Role;

/// An authentication method.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Method {
    pub(crate) base: Base,
    /// The end whose user XAUTH asks for a password after phase 1.
    pub(crate) extended: Option<Extended>,
}

/// What SKEYID comes of, and which proofs go with it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Base {
    /// A pre-shared key (RFC 2409 §5.4).
    PreSharedKey,
    /// Signatures (§5.1).
    Signature(Algorithm),
    /// Encryption with RSA (§5.2).
    RsaEncryption,
    /// The same, revised (§5.3).
    RevisedRsaEncryption,
    /// The same, without a key exchange.
    Dhless,
}

/// What signs.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Algorithm {
    /// DSA over the bare hash, which is by SHA-1 whatever the suite has (RFC 2409 §5.1).
    Dss,
    /// RSA over the bare hash (RFC 2409 §5.1).
    Rsa,
    /// ECDSA on P-256 with SHA-256 (RFC 4754).
    EcdsaP256,
    /// ECDSA on P-384 with SHA-384.
    EcdsaP384,
    /// ECDSA on P-521 with SHA-512.
    EcdsaP521,
}

/// Who is asked for a password.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Extended {
    /// Whose user it is.
    pub(crate) of: Role,
    /// Whether the password is that end's only proof (draft-ietf-ipsec-isakmp-hybrid-auth-05).
    pub(crate) is_hybrid: bool,
}

/// What stands where one end proves itself.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum ProofKind {
    /// HASH_I or HASH_R.
    Hash,
    /// SIG_I or SIG_R.
    Signature(Algorithm),
}

/// Every number and what it means.
const NUMBERS: [(Phase1Auth, Method); 23] = {
    use Algorithm::{Dss, EcdsaP256, EcdsaP384, EcdsaP521, Rsa};
    use Base::{Dhless, PreSharedKey, RevisedRsaEncryption, RsaEncryption, Signature};
    use Role::{Initiator, Responder};
    [
        (Phase1Auth::PRE_SHARED_KEY, plain(PreSharedKey)),
        (Phase1Auth::DSS_SIGNATURES, plain(Signature(Dss))),
        (Phase1Auth::RSA_SIGNATURES, plain(Signature(Rsa))),
        (Phase1Auth::RSA_ENCRYPTION, plain(RsaEncryption)),
        (Phase1Auth::REVISED_RSA_ENCRYPTION, plain(RevisedRsaEncryption)),
        (Phase1Auth::DHLESS_RSA_ENCRYPTION, plain(Dhless)),
        (Phase1Auth::ECDSA_SHA256_P256, plain(Signature(EcdsaP256))),
        (Phase1Auth::ECDSA_SHA384_P384, plain(Signature(EcdsaP384))),
        (Phase1Auth::ECDSA_SHA512_P521, plain(Signature(EcdsaP521))),
        (Phase1Auth::HYBRID_INIT_RSA, hybrid(Rsa, Initiator)),
        (Phase1Auth::HYBRID_RESP_RSA, hybrid(Rsa, Responder)),
        (Phase1Auth::HYBRID_INIT_DSS, hybrid(Dss, Initiator)),
        (Phase1Auth::HYBRID_RESP_DSS, hybrid(Dss, Responder)),
        (Phase1Auth::XAUTH_INIT_PRE_SHARED, xauth(PreSharedKey, Initiator)),
        (Phase1Auth::XAUTH_RESP_PRE_SHARED, xauth(PreSharedKey, Responder)),
        (Phase1Auth::XAUTH_INIT_DSS, xauth(Signature(Dss), Initiator)),
        (Phase1Auth::XAUTH_RESP_DSS, xauth(Signature(Dss), Responder)),
        (Phase1Auth::XAUTH_INIT_RSA, xauth(Signature(Rsa), Initiator)),
        (Phase1Auth::XAUTH_RESP_RSA, xauth(Signature(Rsa), Responder)),
        (Phase1Auth::XAUTH_INIT_RSA_ENCRYPTION, xauth(RsaEncryption, Initiator)),
        (Phase1Auth::XAUTH_RESP_RSA_ENCRYPTION, xauth(RsaEncryption, Responder)),
        (Phase1Auth::XAUTH_INIT_REVISED_RSA_ENCRYPTION, xauth(RevisedRsaEncryption, Initiator)),
        (Phase1Auth::XAUTH_RESP_REVISED_RSA_ENCRYPTION, xauth(RevisedRsaEncryption, Responder)),
    ]
};

const fn plain(base: Base) -> Method {
    Method { base, extended: None }
}

const fn xauth(base: Base, of: Role) -> Method {
    Method { base, extended: Some(Extended { of, is_hybrid: false }) }
}

const fn hybrid(algorithm: Algorithm, of: Role) -> Method {
    let extended = Some(Extended { of, is_hybrid: true });
    Method { base: Base::Signature(algorithm), extended }
}

impl Method {
    /// A pre-shared key.
    pub(crate) const PRE_SHARED_KEY: Self = plain(Base::PreSharedKey);

    /// What a number means; `None` for those that nobody has.
    pub(crate) fn from_number(number: Phase1Auth) -> Option<Self> {
        NUMBERS.iter().find(|(known, _)| *known == number).map(|(_, method)| *method)
    }

    /// Its number.
    pub(crate) fn number(self) -> Option<Phase1Auth> {
        NUMBERS.iter().find(|(_, method)| *method == self).map(|(number, _)| *number)
    }

    /// What proves this end in phase 1.
    pub(crate) fn proof(self, of: Role) -> ProofKind {
        let only_password = self.extended.is_some_and(|one| one.is_hybrid && one.of == of);
        match self.base {
            Base::Signature(algorithm) if !only_password => ProofKind::Signature(algorithm),
            Base::Signature(_)
            | Base::PreSharedKey
            | Base::RsaEncryption
            | Base::RevisedRsaEncryption
            | Base::Dhless => ProofKind::Hash,
        }
    }

    /// The prf of the hash that proves this end.
    pub(crate) fn proof_prf(self, of: Role, suites: Prf) -> Prf {
        match self.proof(of) {
            ProofKind::Hash => suites,
            ProofKind::Signature(algorithm) => algorithm.own_prf().unwrap_or(suites),
        }
    }

    /// Whether SKEYID comes of a secret that both know: who has another one reads nothing.
    pub(crate) fn has_secret(self) -> bool {
        self.base == Base::PreSharedKey
    }
}

/// The methods by which both ends of a connection may prove themselves, the best first. A connection
/// whose ends prove themselves differently has none, as one number is for both, unless one of them has a
/// user who proves himself afterwards. Our role says which end that is.
pub(crate) fn methods_of(connection: &Connection, role: Role) -> Vec<Method> {
    if connection.nonce_encryption.is_some() {
        // `encryption` has a machine of its own.
        return Vec::new();
    }
    let user = match connection.remote_access.user {
        UserAuth::None => None,
        UserAuth::Ours { .. } => Some(role),
        UserAuth::Peers { .. } => Some(role.other()),
    };
    // Whose only proof is the user's password says so by proving nothing else.
    let (of_devices, is_hybrid) = match (&connection.pad.local_auth, &connection.pad.remote_auth) {
        (AuthSpec::Psk, AuthSpec::Psk) => (vec![Method::PRE_SHARED_KEY], false),
        (AuthSpec::Signature(ours), AuthSpec::Signature(_)) => (signatures(ours), false),
        (AuthSpec::Null, AuthSpec::Signature(theirs)) if user == Some(role) => {
            let algorithm = if signs_by_dss(theirs) { Algorithm::Dss } else { Algorithm::Rsa };
            (vec![plain(Base::Signature(algorithm))], true)
        }
        (AuthSpec::Signature(ours), AuthSpec::Null) if user == Some(role.other()) => {
            (signatures(ours), true)
        }
        _ => (Vec::new(), false),
    };
    let extended = user.map(|of| Extended { of, is_hybrid });
    let with_user = of_devices.into_iter().map(|method| Method { extended, ..method });
    // Not every method has a number for that.
    with_user.filter(|method| method.number().is_some()).collect()
}

/// By what kind of key we have. Where the configuration names none, it may be any but DSA, which is for those
/// who ask for it: they are known where the private keys are.
fn signatures(ours: &SignatureSpec) -> Vec<Method> {
    let kinds = kinds(ours);
    let all = [Algorithm::EcdsaP256, Algorithm::EcdsaP384, Algorithm::EcdsaP521, Algorithm::Rsa];
    let may = |algorithm: &Algorithm| {
        kinds.is_empty() || kinds.iter().any(|kind| Algorithm::of(*kind) == Some(*algorithm))
    };
    let dss = signs_by_dss(ours).then_some(Algorithm::Dss);
    let may = all.into_iter().filter(may).chain(dss);
    may.map(|algorithm| plain(Base::Signature(algorithm))).collect()
}

fn signs_by_dss(spec: &SignatureSpec) -> bool {
    kinds(spec).iter().any(|kind| Algorithm::of(*kind) == Some(Algorithm::Dss))
}

/// Of what kind the keys are that the configuration names.
fn kinds(spec: &SignatureSpec) -> Vec<KeyKind> {
    let certified = spec.certificates.iter().filter(|one| !one.is_authority());
    let certified = certified.map(|one| one.public_key().kind());
    certified.chain(spec.public_keys.iter().map(|key| key.kind())).collect()
}

impl Algorithm {
    /// What a key of this kind signs with; nothing if IKEv1 has no number for it.
    pub(crate) fn of(kind: KeyKind) -> Option<Self> {
        match kind {
            KeyKind::Rsa(_) => Some(Self::Rsa),
            KeyKind::P256 => Some(Self::EcdsaP256),
            KeyKind::P384 => Some(Self::EcdsaP384),
            KeyKind::P521 => Some(Self::EcdsaP521),
            KeyKind::Dsa(_) => Some(Self::Dss),
            KeyKind::Ed25519 => None,
        }
    }

    /// The prf of HASH_I and HASH_R where it is not that of the suite. RFC 2409 §5.1: a signature whose algorithm
    /// is tied to a hash is over HASH_I or HASH_R by the HMAC of that hash, and DSS is tied to SHA-1; all else
    /// stays with what was negotiated.
    fn own_prf(self) -> Option<Prf> {
        match self {
            Self::Dss => Some(Prf::HmacSha1),
            Self::Rsa | Self::EcdsaP256 | Self::EcdsaP384 | Self::EcdsaP521 => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each number of the registry means one method, and each method has one number.
    #[test]
    fn every_number_goes_there_and_back() {
        for number in Phase1Auth::ALL {
            let method = Method::from_number(*number);
            assert_eq!(method.is_some(), *number != Phase1Auth::ECDSA_GENERIC, "{number}");
            assert!(method.is_none_or(|method| method.number() == Some(*number)), "{number}");
            let extended = method.is_some_and(|method| method.extended.is_some());
            assert_eq!(extended, number.is_followed_by_xauth(), "{number}");
        }
    }

    /// RFC 2409 §5.1: what DSS signs is by HMAC-SHA1, and nothing else is.
    #[test]
    fn dss_signs_a_hash_of_its_own() {
        let proof =
            |number, of| Method::from_number(number).unwrap().proof_prf(of, Prf::HmacSha2_512);
        let both = [Role::Initiator, Role::Responder];
        let prfs = |number| both.map(|of| proof(number, of));
        assert_eq!(prfs(Phase1Auth::DSS_SIGNATURES), [Prf::HmacSha1; 2]);
        assert_eq!(prfs(Phase1Auth::XAUTH_INIT_DSS), [Prf::HmacSha1; 2]);
        // The client's is no signature.
        assert_eq!(prfs(Phase1Auth::HYBRID_INIT_DSS), [Prf::HmacSha2_512, Prf::HmacSha1]);
        assert_eq!(prfs(Phase1Auth::RSA_SIGNATURES), [Prf::HmacSha2_512; 2]);
        assert_eq!(prfs(Phase1Auth::ECDSA_SHA256_P256), [Prf::HmacSha2_512; 2]);
    }

    /// draft-ietf-ipsec-isakmp-hybrid-auth-05 §3.2: the client sends a hash, the gateway a signature.
    #[test]
    fn whose_only_proof_is_a_password_signs_nothing() {
        let hybrid = Method::from_number(Phase1Auth::HYBRID_INIT_RSA).unwrap();
        assert_eq!(hybrid.proof(Role::Initiator), ProofKind::Hash);
        assert_eq!(hybrid.proof(Role::Responder), ProofKind::Signature(Algorithm::Rsa));
        let xauth = Method::from_number(Phase1Auth::XAUTH_INIT_RSA).unwrap();
        assert_eq!(xauth.proof(Role::Initiator), ProofKind::Signature(Algorithm::Rsa));
        assert!(!xauth.has_secret() && Method::PRE_SHARED_KEY.has_secret());
    }
}
