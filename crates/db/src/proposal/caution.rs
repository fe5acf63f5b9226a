//! What algorithms cost those who use them: RFC 8221 and RFC 8247, updated by RFC 9395.

use std::fmt;

use adit_wire::iana::{EncryptionId, IntegrityId, KeyExchangeId, PrfId, TransformType};
use adit_wire::ikev2::Transform;

/// What an operator should know about an algorithm before it is used.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Caution {
    /// The algorithm, whatever its key length and use: `blowfish`, `md5`. Words of proposals
    /// contain it, but for `null` and `gmac`, which are no proposals of IKE.
    pub algorithm: &'static str,
    /// What the standards say.
    pub verdict: Verdict,
    /// What it costs, in a clause.
    pub cost: &'static str,
}

/// What the standards say about an algorithm.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Verdict {
    /// Not to be used, in the words of the standard.
    Discouraged(&'static str),
    /// In order, and yet everyone on the way reads the traffic.
    Readable,
}

impl Caution {
    /// Of AH, whatever its algorithm.
    pub const AH: Self = Self { algorithm: "ah", ..NULL };

    /// What there is to know about a transform; mostly nothing.
    pub fn of(transform: &Transform) -> Option<Self> {
        match transform.kind {
            TransformType::ENCR => encryption(EncryptionId(transform.id)),
            TransformType::INTEG => {
                (IntegrityId(transform.id) == IntegrityId::HMAC_MD5_96).then_some(MD5)
            }
            TransformType::PRF => (PrfId(transform.id) == PrfId::HMAC_MD5).then_some(MD5),
            // In an additional round (RFC 9370) a method is as weak as in the first.
            kind if kind == TransformType::KE || kind.is_additional_ke() => {
                key_exchange(KeyExchangeId(transform.id))
            }
            _ => None,
        }
    }

    /// Whether the algorithm is used only where the operator allows it by name.
    pub fn must_be_allowed(&self) -> bool {
        matches!(self.verdict, Verdict::Discouraged(_))
    }
}

impl fmt::Display for Caution {
    /// Writes `3des (RFC 8221: SHOULD NOT): …`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.verdict {
            Verdict::Discouraged(words) => write!(f, "{} ({words}): {}", self.algorithm, self.cost),
            Verdict::Readable => write!(f, "{}: {}", self.algorithm, self.cost),
        }
    }
}

/// Every algorithm that is used only where the operator allows it by name.
pub fn allowable() -> impl Iterator<Item = &'static str> {
    let ciphers = [TRIPLE_DES, DES, BLOWFISH, CAST, MD5];
    let methods =
        [MODP_768, MODP_1024, MODP_1536, MODP_1024_160, MODP_2048_224, MODP_2048_256, ECP_192];
    ciphers.into_iter().chain(methods).map(|caution| caution.algorithm)
}

fn key_exchange(id: KeyExchangeId) -> Option<Caution> {
    match id {
        KeyExchangeId::MODP_768 => Some(MODP_768),
        KeyExchangeId::MODP_1024 => Some(MODP_1024),
        KeyExchangeId::MODP_1536 => Some(MODP_1536),
        KeyExchangeId::MODP_1024_160 => Some(MODP_1024_160),
        KeyExchangeId::MODP_2048_224 => Some(MODP_2048_224),
        KeyExchangeId::MODP_2048_256 => Some(MODP_2048_256),
        KeyExchangeId::ECP_192 => Some(ECP_192),
        _ => None,
    }
}

fn encryption(id: EncryptionId) -> Option<Caution> {
    match id {
        EncryptionId::TRIPLE_DES => Some(TRIPLE_DES),
        EncryptionId::DES => Some(DES),
        EncryptionId::BLOWFISH => Some(BLOWFISH),
        EncryptionId::CAST => Some(CAST),
        EncryptionId::NULL => Some(NULL),
        EncryptionId::NULL_AUTH_AES_GMAC => Some(GMAC),
        _ => None,
    }
}

const TRIPLE_DES: Caution = Caution {
    algorithm: "3des",
    verdict: Verdict::Discouraged("RFC 8221: SHOULD NOT"),
    cost: "its blocks of 64 bits repeat and then tell about the traffic (Sweet32), so a key is \
           replaced after 1 GiB and ends after 4 GiB; many times slower than AES",
};

const DES: Caution = Caution {
    algorithm: "des",
    verdict: Verdict::Discouraged("RFC 8221 and RFC 8247: MUST NOT"),
    cost: "its 56 bits of key are found by trying all of them; recorded traffic is as good as read",
};

const BLOWFISH: Caution = Caution {
    algorithm: "blowfish",
    verdict: Verdict::Discouraged("RFC 8221: MUST NOT"),
    cost: "its blocks of 64 bits repeat and then tell about the traffic (Sweet32), so a key is \
           replaced after 1 GiB and ends after 4 GiB",
};

const CAST: Caution = Caution {
    algorithm: "cast128",
    verdict: Verdict::Discouraged("RFC 9395: deprecated"),
    cost: "its blocks of 64 bits repeat and then tell about the traffic (Sweet32), so a key is \
           replaced after 1 GiB and ends after 4 GiB",
};

const MD5: Caution = Caution {
    algorithm: "md5",
    verdict: Verdict::Discouraged("RFC 8221 and RFC 8247: MUST NOT"),
    cost: "MD5 itself is broken; that HMAC-MD5 is not yet is the only thing that holds",
};

const MODP_768: Caution = Caution {
    algorithm: "modp768",
    verdict: Verdict::Discouraged("RFC 8247: MUST NOT"),
    cost: "its logarithms are taken by anyone with a few machines: recorded traffic is as good as read",
};

const MODP_1024: Caution = Caution {
    algorithm: "modp1024",
    verdict: Verdict::Discouraged("RFC 8247: SHOULD NOT"),
    cost: "all use the same prime, and who has broken it once, as states can, reads every exchange (Logjam)",
};

const MODP_1536: Caution = Caution {
    algorithm: "modp1536",
    verdict: Verdict::Discouraged("RFC 8247: SHOULD NOT"),
    cost: "its strength is below 112 bits, too little for traffic that is to stay secret for years",
};

const MODP_1024_160: Caution = Caution {
    algorithm: "modp1024s160",
    verdict: Verdict::Discouraged("RFC 8247: MUST NOT"),
    cost: "as weak as modp1024, and nobody has told how its prime was chosen",
};

const MODP_2048_224: Caution = Caution {
    algorithm: "modp2048s224",
    verdict: Verdict::Discouraged("RFC 8247: SHOULD NOT"),
    cost: "nobody has told how its prime was chosen: a trap door in it could not be seen",
};

const MODP_2048_256: Caution = Caution { algorithm: "modp2048s256", ..MODP_2048_224 };

const ECP_192: Caution = Caution {
    algorithm: "ecp192",
    verdict: Verdict::Discouraged("NIST SP 800-131A: disallowed"),
    cost: "its strength is 96 bits, too little for traffic that is to stay secret for years",
};

const NULL: Caution = Caution {
    algorithm: "null",
    verdict: Verdict::Readable,
    cost: "nothing is encrypted: everyone on the way can read the traffic, though not change it",
};

const GMAC: Caution = Caution { algorithm: "gmac", ..NULL };

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proposal::{ProposalSpec, all_words};

    fn cautions(spec: &ProposalSpec) -> Vec<&'static str> {
        spec.cautions().iter().map(|caution| caution.algorithm).collect()
    }

    /// RFC 8221 §5 and §6, RFC 8247 §2, RFC 9395 §5: exactly these.
    #[test]
    fn discouraged_algorithms_are_those_of_the_rfcs() {
        let weak: Vec<&str> = all_words()
            .filter(|word| {
                let spec = ProposalSpec::esp(&format!("{word}-sha256"))
                    .or_else(|_| ProposalSpec::esp(&format!("aes128-{word}")))
                    .or_else(|_| ProposalSpec::ike(&format!("aes128-sha256-x25519-{word}")));
                spec.is_ok_and(|spec| spec.cautions().iter().any(Caution::must_be_allowed))
            })
            .collect();
        assert_eq!(
            weak.join(" "),
            "3des cast128 blowfish128 blowfish192 blowfish256 des blowfish md5 prfmd5 ecp192 modp768 \
             modp1024 modp1536 modp1024s160 modp2048s224 modp2048s256"
        );
        for algorithm in allowable() {
            assert!(weak.iter().any(|word| word.contains(algorithm)), "{algorithm}");
        }
    }

    #[test]
    fn each_algorithm_is_told_once() {
        let ike = ProposalSpec::ike("3des-des-md5-sha1-modp2048").unwrap();
        assert_eq!(cautions(&ike), ["3des", "des", "md5"]);
        let esp = ProposalSpec::esp("null-sha256").unwrap();
        assert_eq!(cautions(&esp), ["null"]);
        assert!(!esp.cautions()[0].must_be_allowed());
        assert_eq!(cautions(&ProposalSpec::esp("aes128gmac").unwrap()), ["gmac"]);
    }

    #[test]
    fn defaults_are_beyond_reproach() {
        for spec in [ProposalSpec::ike_default(), ProposalSpec::esp_default()].concat() {
            assert_eq!(spec.cautions(), []);
        }
    }

    #[test]
    fn a_caution_names_algorithm_authority_and_cost() {
        assert_eq!(
            DES.to_string(),
            "des (RFC 8221 and RFC 8247: MUST NOT): its 56 bits of key are found by trying all of \
             them; recorded traffic is as good as read"
        );
        assert!(NULL.to_string().starts_with("null: nothing is encrypted"));
    }
}
