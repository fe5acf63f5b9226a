//! How much data a key may protect, whatever the configuration says (RFC 7296 §2.8 has SAs renewed before
//! their cryptographic limits).

use adit_crypto::Protection;
use adit_db::{Amounts, Lifetime};

/// Rekeys a key before its safe amount of data, and ends it before its dangerous one, whatever the
/// configuration says.
#[must_use]
pub fn prudent(lifetime: Lifetime, protection: Protection) -> Lifetime {
    let at_most = |amounts: Amounts, most: Option<u64>| Amounts {
        octets: amounts.octets.into_iter().chain(most).min(),
        ..amounts
    };
    Lifetime {
        soft: at_most(lifetime.soft, protection.octets_soft()),
        hard: at_most(lifetime.hard, protection.octets_hard()),
        ..lifetime
    }
}

#[cfg(test)]
mod tests {
    use adit_crypto::{
        AES_OCTETS_MAX, Cipher, Encryption, Integrity, SHORT_BLOCK_OCTETS_MAX,
        SHORT_BLOCK_OCTETS_SOFT,
    };

    use super::*;

    #[test]
    fn aes_keys_are_rekeyed_in_time() {
        let gcm = Cipher::ALL[0];
        let soft = |lifetime| prudent(lifetime, gcm.into()).soft.octets;
        assert_eq!(soft(Lifetime::NONE), Some(AES_OCTETS_MAX));
        let small = Amounts { octets: Some(1000), ..Amounts::NONE };
        assert_eq!(soft(Lifetime { soft: small, ..Lifetime::NONE }), Some(1000));
        let chacha = prudent(Lifetime::NONE, Cipher::ChaCha20Poly1305.into());
        assert_eq!(chacha, Lifetime::NONE);
    }

    /// Blocks of 8 octets collide long before anybody's default lifetime is over.
    #[test]
    fn short_blocks_end_in_time() {
        let cipher = Cipher::Paired(Encryption::TripleDes, Integrity::HmacSha1_96);
        let limits = |soft, hard| {
            let amounts = |octets| Amounts { octets, ..Amounts::NONE };
            let lifetime = Lifetime { soft: amounts(soft), hard: amounts(hard), ..Lifetime::NONE };
            let lifetime = prudent(lifetime, cipher.into());
            (lifetime.soft.octets.unwrap(), lifetime.hard.octets.unwrap())
        };
        assert_eq!(limits(None, None), (SHORT_BLOCK_OCTETS_SOFT, SHORT_BLOCK_OCTETS_MAX));
        let many = Some(u64::MAX);
        assert_eq!(limits(many, many), (SHORT_BLOCK_OCTETS_SOFT, SHORT_BLOCK_OCTETS_MAX));
        assert_eq!(limits(Some(7), Some(9)), (7, 9));
    }
}
