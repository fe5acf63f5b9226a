//! The kernel's names of transforms of ESP and AH (`net/xfrm/xfrm_algo.c`), and their keys.

use adit_crypto::{Authentication, Cipher, Encryption, Integrity, KeySize, Protection};
use adit_db::ChildKeys;

use super::octets::{Request, XFRMA_ALG_AEAD, XFRMA_ALG_AUTH_TRUNC, XFRMA_ALG_CRYPT};

/// What the kernel calls a suite.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Names {
    /// One algorithm for both, with the length of its ICV in octets.
    Aead(&'static str, usize),
    /// Encryption and integrity.
    Pair(&'static str, &'static str),
    /// Integrity of AH.
    Mac(&'static str),
}

/// The names; `None` if no kernel has the suite: counter mode of Camellia, implicit IVs, AES-GMAC in AH.
pub(super) fn names(protection: Protection) -> Option<Names> {
    let cipher = match protection {
        Protection::Esp(cipher) => cipher,
        Protection::Ah(Authentication::Mac(integrity)) => {
            return Some(Names::Mac(integrity_name(integrity)));
        }
        Protection::Ah(Authentication::AesGmac(_)) => return None,
    };
    Some(match cipher {
        Cipher::AesGcm(_, icv) => Names::Aead("rfc4106(gcm(aes))", icv.octets()),
        Cipher::AesCcm(_, icv) => Names::Aead("rfc4309(ccm(aes))", icv.octets()),
        Cipher::AesGmac(_) => Names::Aead("rfc4543(gcm(aes))", cipher.icv_len()),
        Cipher::ChaCha20Poly1305 => Names::Aead("rfc7539esp(chacha20,poly1305)", cipher.icv_len()),
        Cipher::ImplicitIv(_) => return None,
        Cipher::Paired(encryption, integrity) => {
            Names::Pair(encryption_name(encryption)?, integrity_name(integrity))
        }
    })
}

fn encryption_name(encryption: Encryption) -> Option<&'static str> {
    match encryption {
        Encryption::AesCbc(_) => Some("cbc(aes)"),
        Encryption::AesCtr(_) => Some("rfc3686(ctr(aes))"),
        Encryption::CamelliaCbc(_) => Some("cbc(camellia)"),
        Encryption::CamelliaCtr(_) => None,
        Encryption::TripleDes => Some("cbc(des3_ede)"),
        Encryption::Des => Some("cbc(des)"),
        Encryption::Blowfish(KeySize::Bits128 | KeySize::Bits192 | KeySize::Bits256) => {
            Some("cbc(blowfish)")
        }
        Encryption::Cast128 => Some("cbc(cast5)"),
        Encryption::Null => Some("ecb(cipher_null)"),
    }
}

fn integrity_name(integrity: Integrity) -> &'static str {
    match integrity {
        Integrity::HmacSha2_256_128 => "hmac(sha256)",
        Integrity::HmacSha2_384_192 => "hmac(sha384)",
        Integrity::HmacSha2_512_256 => "hmac(sha512)",
        Integrity::AesXcbc96 => "xcbc(aes)",
        Integrity::AesCmac96 => "cmac(aes)",
        Integrity::HmacSha1_96 => "hmac(sha1)",
        Integrity::HmacMd5_96 => "hmac(md5)",
    }
}

/// Appends the attributes of a suite with its keys.
pub(super) fn write(request: &mut Request, protection: Protection, names: Names, keys: &ChildKeys) {
    let encryption = keys.encryption.as_bytes();
    let mac = |request: &mut Request, name: &str| {
        let integrity = keys.integrity.as_bytes();
        request.attribute(XFRMA_ALG_AUTH_TRUNC, |r| {
            r.name(name);
            r.u32(bits(integrity.len()));
            r.u32(bits(icv_octets(protection)));
            r.bytes(integrity);
        });
    };
    match names {
        Names::Aead(name, icv_octets) => request.attribute(XFRMA_ALG_AEAD, |r| {
            r.name(name);
            r.u32(bits(encryption.len()));
            r.u32(bits(icv_octets));
            r.bytes(encryption);
        }),
        Names::Pair(encryption_name, integrity_name) => {
            request.attribute(XFRMA_ALG_CRYPT, |r| {
                r.name(encryption_name);
                r.u32(bits(encryption.len()));
                r.bytes(encryption);
            });
            mac(request, integrity_name);
        }
        Names::Mac(name) => mac(request, name),
    }
}

fn icv_octets(protection: Protection) -> usize {
    match protection {
        Protection::Esp(cipher) => cipher.icv_len(),
        Protection::Ah(authentication) => authentication.tag_len(),
    }
}

fn bits(octets: usize) -> u32 {
    u32::try_from(octets.saturating_mul(8)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_but_those_of_no_kernel_have_a_name() {
        for cipher in Cipher::ALL {
            let nameless = matches!(
                cipher,
                Cipher::Paired(Encryption::CamelliaCtr(_), _) | Cipher::ImplicitIv(_)
            );
            assert_eq!(names(cipher.into()).is_none(), nameless, "{cipher}");
        }
        for authentication in Authentication::ALL {
            let nameless = matches!(authentication, Authentication::AesGmac(_));
            assert_eq!(names(authentication.into()).is_none(), nameless, "{authentication}");
        }
    }
}
