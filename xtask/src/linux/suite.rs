//! Protection suites in swanctl's words and in those of `ip xfrm`.

use std::fmt::Write as _;

/// One algorithm as the kernel calls it.
#[derive(Clone, Copy, Debug)]
struct Algorithm {
    /// In swanctl's proposals.
    word: &'static str,
    /// In the kernel.
    name: &'static str,
    /// Octets of key material, the salt included.
    key: usize,
    /// Bits of ICV; none for encryption.
    icv_bits: usize,
}

const fn algorithm(
    word: &'static str,
    name: &'static str,
    key: usize,
    icv_bits: usize,
) -> Algorithm {
    Algorithm { word, name, key, icv_bits }
}

/// What encrypts and authenticates at once.
const AEADS: [Algorithm; 22] = [
    algorithm("aes128gcm8", "rfc4106(gcm(aes))", 20, 64),
    algorithm("aes128gcm12", "rfc4106(gcm(aes))", 20, 96),
    algorithm("aes128gcm16", "rfc4106(gcm(aes))", 20, 128),
    algorithm("aes192gcm8", "rfc4106(gcm(aes))", 28, 64),
    algorithm("aes192gcm12", "rfc4106(gcm(aes))", 28, 96),
    algorithm("aes192gcm16", "rfc4106(gcm(aes))", 28, 128),
    algorithm("aes256gcm8", "rfc4106(gcm(aes))", 36, 64),
    algorithm("aes256gcm12", "rfc4106(gcm(aes))", 36, 96),
    algorithm("aes256gcm16", "rfc4106(gcm(aes))", 36, 128),
    algorithm("aes128ccm8", "rfc4309(ccm(aes))", 19, 64),
    algorithm("aes128ccm12", "rfc4309(ccm(aes))", 19, 96),
    algorithm("aes128ccm16", "rfc4309(ccm(aes))", 19, 128),
    algorithm("aes192ccm8", "rfc4309(ccm(aes))", 27, 64),
    algorithm("aes192ccm12", "rfc4309(ccm(aes))", 27, 96),
    algorithm("aes192ccm16", "rfc4309(ccm(aes))", 27, 128),
    algorithm("aes256ccm8", "rfc4309(ccm(aes))", 35, 64),
    algorithm("aes256ccm12", "rfc4309(ccm(aes))", 35, 96),
    algorithm("aes256ccm16", "rfc4309(ccm(aes))", 35, 128),
    algorithm("aes128gmac", "rfc4543(gcm(aes))", 20, 128),
    algorithm("aes192gmac", "rfc4543(gcm(aes))", 28, 128),
    algorithm("aes256gmac", "rfc4543(gcm(aes))", 36, 128),
    algorithm("chacha20poly1305", "rfc7539esp(chacha20,poly1305)", 36, 128),
];

/// What only encrypts; the kernel has no Camellia in counter mode.
const ENCRYPTION: [Algorithm; 16] = [
    algorithm("aes128", "cbc(aes)", 16, 0),
    algorithm("aes192", "cbc(aes)", 24, 0),
    algorithm("aes256", "cbc(aes)", 32, 0),
    algorithm("aes128ctr", "rfc3686(ctr(aes))", 20, 0),
    algorithm("aes192ctr", "rfc3686(ctr(aes))", 28, 0),
    algorithm("aes256ctr", "rfc3686(ctr(aes))", 36, 0),
    algorithm("camellia128", "cbc(camellia)", 16, 0),
    algorithm("camellia192", "cbc(camellia)", 24, 0),
    algorithm("camellia256", "cbc(camellia)", 32, 0),
    algorithm("3des", "cbc(des3_ede)", 24, 0),
    algorithm("des", "cbc(des)", 8, 0),
    algorithm("blowfish128", "cbc(blowfish)", 16, 0),
    algorithm("blowfish192", "cbc(blowfish)", 24, 0),
    algorithm("blowfish256", "cbc(blowfish)", 32, 0),
    algorithm("cast128", "cbc(cast5)", 16, 0),
    algorithm("null", "ecb(cipher_null)", 0, 0),
];

/// What only authenticates.
const INTEGRITY: [Algorithm; 7] = [
    algorithm("sha256", "hmac(sha256)", 32, 128),
    algorithm("sha384", "hmac(sha384)", 48, 192),
    algorithm("sha512", "hmac(sha512)", 64, 256),
    algorithm("sha1", "hmac(sha1)", 20, 96),
    algorithm("md5", "hmac(md5)", 16, 96),
    algorithm("aesxcbc", "xcbc(aes)", 16, 96),
    algorithm("aescmac", "cmac(aes)", 16, 96),
];

/// What authenticates in AH.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Integrity(Algorithm);

impl Integrity {
    /// All that the kernel has.
    pub(crate) fn all() -> [Self; INTEGRITY.len()] {
        INTEGRITY.map(Self)
    }

    /// In swanctl's words.
    pub(crate) fn word(&self) -> &'static str {
        self.0.word
    }

    /// Octets of its key.
    pub(crate) fn key_octets(&self) -> usize {
        self.0.key
    }

    /// As `ip xfrm state add` takes it; the key in hexadecimal.
    pub(crate) fn arguments(&self, key: &str) -> String {
        let Algorithm { name, icv_bits, .. } = self.0;
        format!("auth-trunc '{name}' 0x{key} {icv_bits}")
    }
}

/// A suite that the kernel has.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Suite {
    encryption: Algorithm,
    integrity: Option<Algorithm>,
}

impl Suite {
    /// Every AEAD, every encryption algorithm with one integrity algorithm, and every integrity
    /// algorithm with AES and with none: what matters of a pair is each of its algorithms, and
    /// the order in which they work.
    pub(crate) fn all() -> Vec<Self> {
        let aeads = AEADS.map(|encryption| Self { encryption, integrity: None });
        let pair = |(encryption, integrity): (&Algorithm, &Algorithm)| Self {
            encryption: *encryption,
            integrity: Some(*integrity),
        };
        let each = ENCRYPTION.iter().zip(INTEGRITY.iter().cycle()).map(pair);
        let [first, .., null] = &ENCRYPTION;
        let with =
            |encryption| INTEGRITY.iter().map(move |integrity| pair((encryption, integrity)));
        let mut all: Vec<Self> =
            aeads.into_iter().chain(each).chain(with(first)).chain(with(null)).collect();
        all.sort_by_key(Self::word);
        all.dedup_by_key(|suite| suite.word());
        all
    }

    /// In swanctl's words.
    pub(crate) fn word(&self) -> String {
        match self.integrity {
            Some(integrity) => format!("{}-{}", self.encryption.word, integrity.word),
            None => self.encryption.word.to_owned(),
        }
    }

    /// Octets of encryption key material, and of the integrity key.
    pub(crate) fn key_octets(&self) -> (usize, usize) {
        (self.encryption.key, self.integrity.map_or(0, |integrity| integrity.key))
    }

    /// What `ip xfrm state` prints of an SA with this suite, without the keys: the kernel's names,
    /// each with its bits of ICV unless it only encrypts.
    pub(crate) fn kernel_names(&self) -> Vec<(&'static str, usize)> {
        let all = [Some(self.encryption), self.integrity];
        all.into_iter().flatten().map(|one| (one.name, one.icv_bits)).collect()
    }

    /// As `ip xfrm state add` takes it; the keys in hexadecimal.
    pub(crate) fn arguments(&self, encryption: &str, integrity: &str) -> String {
        let key = |hex: &str| if hex.is_empty() { "''".to_owned() } else { format!("0x{hex}") };
        let Algorithm { name, icv_bits, .. } = self.encryption;
        let mut text = match self.integrity {
            Some(_) => format!("enc '{name}' {}", key(encryption)),
            None => format!("aead '{name}' {} {icv_bits}", key(encryption)),
        };
        if let Some(Algorithm { name, icv_bits, .. }) = self.integrity {
            let _ = write!(text, " auth-trunc '{name}' {} {icv_bits}", key(integrity));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_algorithm_stands_in_a_suite() {
        let words: Vec<String> = Suite::all().iter().map(Suite::word).collect();
        let pairs = || words.iter().filter_map(|word| word.split_once('-'));
        assert!(AEADS.iter().all(|one| words.iter().any(|word| word == one.word)));
        assert!(ENCRYPTION.iter().all(|one| pairs().any(|(word, _)| word == one.word)));
        assert!(INTEGRITY.iter().all(|one| pairs().any(|(_, word)| word == one.word)));
    }

    #[test]
    fn a_suite_is_said_as_the_kernel_wants_it() {
        let suite = |word: &str| Suite::all().into_iter().find(|one| one.word() == word).unwrap();
        let text = suite("aes128ccm8").arguments("00ff", "");
        assert_eq!(text, "aead 'rfc4309(ccm(aes))' 0x00ff 64");
        let text = suite("null-sha256").arguments("", "aa");
        assert_eq!(text, "enc 'ecb(cipher_null)' '' auth-trunc 'hmac(sha256)' 0xaa 128");
    }
}
