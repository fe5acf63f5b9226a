//! ML-KEM keys that stay (RFC 9935): PKCS#8 with the seed, SubjectPublicKeyInfo, as OpenSSL 3.5 writes
//! them.

use std::fmt;

use adit_crypto::{KemKey, KemPublicKey, KemSet, Secret, sha256};
use base64ct::{Base64, Encoding as _};
use der::Tag;

use crate::algorithm::{OBJECT_IDENTIFIER, SEQUENCE, element};
use crate::read::{Reader, implicit};
use crate::{PkiError, oid, pem};

/// The name of a public key: SHA-256 over its SubjectPublicKeyInfo.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct KemKeyId(pub [u8; 32]);

impl KemKeyId {
    /// Octets of a name.
    pub const LEN: usize = 32;

    /// The name of a key.
    pub fn of(key: &KemPublicKey) -> Self {
        Self(sha256(&[&public_der(key)]))
    }
}

/// Lower-case hex digits.
impl fmt::Display for KemKeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|octet| write!(f, "{octet:02x}"))
    }
}

/// Reads a private key: PKCS#8 in PEM or DER, with its seed.
///
/// # Errors
///
/// [`PkiError::Missing`] if there is no ML-KEM key in it or only the expanded form, of which nobody
/// can tell whether it is one; [`PkiError::Encrypted`]; [`PkiError::Malformed`].
pub fn read_kem_key(octets: &[u8]) -> Result<KemKey, PkiError> {
    for block in pem::blocks(octets)? {
        match block.label.as_str() {
            "PRIVATE KEY" | "" => return private_of(block.octets.as_bytes()),
            "ENCRYPTED PRIVATE KEY" => return Err(PkiError::Encrypted),
            _ => {}
        }
    }
    Err(PkiError::Missing("private ML-KEM key"))
}

/// Reads a public key: SubjectPublicKeyInfo in PEM or DER.
///
/// # Errors
///
/// [`PkiError::Missing`] if there is no ML-KEM key in it; [`PkiError::Malformed`] if it is no
/// encapsulation key.
pub fn read_kem_public(octets: &[u8]) -> Result<KemPublicKey, PkiError> {
    for block in pem::blocks(octets)? {
        if matches!(block.label.as_str(), "PUBLIC KEY" | "") {
            return public_of(block.octets.as_bytes());
        }
    }
    Err(PkiError::Missing("public ML-KEM key"))
}

/// The file of a private key.
pub fn kem_key_pem(key: &KemKey) -> Secret {
    let seed = Secret::new(element(SEED, key.seed().as_bytes()));
    let parts = [
        element(INTEGER, &[0]),
        algorithm_of(key.public().set()),
        element(OCTET_STRING, seed.as_bytes()),
    ];
    let info = Secret::concat(&[&parts[0], &parts[1], &parts[2]]);
    let der = Secret::new(element(SEQUENCE, info.as_bytes()));
    Secret::new(text("PRIVATE KEY", der.as_bytes()).into_bytes())
}

/// The file of a public key, for the peer.
pub fn kem_public_pem(key: &KemPublicKey) -> String {
    text("PUBLIC KEY", &public_der(key))
}

fn private_of(der: &[u8]) -> Result<KemKey, PkiError> {
    let mut info = Reader::new(der, PRIVATE)?.sequence(PRIVATE)?;
    let _version = info.take(Tag::Integer)?;
    let set = set_of(&mut info, "private ML-KEM key")?;
    let mut key = Reader::new(info.take(Tag::OctetString)?, PRIVATE)?;
    let seed = match key.take_if(implicit(0))? {
        Some(seed) => seed,
        None => match key.take_if(Tag::Sequence)? {
            Some(both) => Reader::new(both, PRIVATE)?.take(Tag::OctetString)?,
            None => return Err(PkiError::Missing("seed of the ML-KEM key")),
        },
    };
    KemKey::from_seed(set, seed).ok_or(PkiError::Malformed(PRIVATE))
}

fn public_of(der: &[u8]) -> Result<KemPublicKey, PkiError> {
    let mut outer = Reader::new(der, PUBLIC)?;
    let mut info = outer.sequence(PUBLIC)?;
    outer.finish()?;
    let set = set_of(&mut info, "public ML-KEM key")?;
    let bits = info.bits()?;
    info.finish()?;
    KemPublicKey::from_octets(set, bits).map_err(|_| PkiError::Malformed("encapsulation key"))
}

/// The AlgorithmIdentifier, which has no parameters (RFC 9935 §3).
fn set_of(info: &mut Reader<'_>, wanted: &'static str) -> Result<KemSet, PkiError> {
    let mut algorithm = info.sequence(wanted)?;
    let name = algorithm.take(Tag::ObjectIdentifier)?;
    algorithm.finish()?;
    let set = KemSet::ALL.into_iter().find(|set| oid_of(*set) == name);
    set.ok_or(PkiError::Missing(wanted))
}

fn public_der(key: &KemPublicKey) -> Vec<u8> {
    let bits = element(BIT_STRING, &[&[0], key.octets()].concat());
    element(SEQUENCE, &[algorithm_of(key.set()), bits].concat())
}

fn algorithm_of(set: KemSet) -> Vec<u8> {
    element(SEQUENCE, &element(OBJECT_IDENTIFIER, oid_of(set)))
}

fn oid_of(set: KemSet) -> &'static [u8] {
    match set {
        KemSet::MlKem512 => oid::ML_KEM_512,
        KemSet::MlKem768 => oid::ML_KEM_768,
        KemSet::MlKem1024 => oid::ML_KEM_1024,
    }
}

/// PEM (RFC 7468 §2).
fn text(label: &str, der: &[u8]) -> String {
    let digits = Base64::encode_string(der);
    let room = digits.len() + digits.len() / LINE + 2 * label.len() + 40;
    // With all the room it needs, so that growing leaves no copies behind.
    let mut text = String::with_capacity(room);
    text.push_str(&format!("-----BEGIN {label}-----\n"));
    let mut rest = digits.as_str();
    while let Some((line, more)) = rest.split_at_checked(LINE).filter(|(line, _)| !line.is_empty())
    {
        text.push_str(line);
        text.push('\n');
        rest = more;
    }
    if !rest.is_empty() {
        text.push_str(rest);
        text.push('\n');
    }
    text.push_str(&format!("-----END {label}-----\n"));
    drop(Secret::new(digits.into_bytes()));
    text
}

/// Characters of a line.
const LINE: usize = 64;

const PRIVATE: &str = "private ML-KEM key";
const PUBLIC: &str = "public ML-KEM key";
const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const OCTET_STRING: u8 = 0x04;
/// `[0]` in place of OCTET STRING.
const SEED: u8 = 0x80;

#[cfg(test)]
mod tests {
    use adit_crypto::SeededRng;

    use super::*;

    /// What is written reads back, and the form is that of RFC 9935 §6: 86 octets of PKCS#8 with a
    /// seed of 64.
    #[test]
    fn files_round_trip() {
        for set in KemSet::ALL {
            let key = KemKey::generate(set, &mut SeededRng::new(1));
            let file = kem_key_pem(&key);
            let again = read_kem_key(file.as_bytes()).unwrap();
            assert_eq!(again.public(), key.public());
            let der = pem::blocks(file.as_bytes()).unwrap().remove(0).octets;
            assert_eq!(der.len(), 86);
            assert_eq!(read_kem_key(der.as_bytes()).unwrap().public(), key.public());
            let public = kem_public_pem(key.public());
            assert!(public.lines().all(|line| line.len() <= LINE), "{public}");
            let public = read_kem_public(public.as_bytes()).unwrap();
            assert_eq!(&public, key.public());
            assert_eq!(KemKeyId::of(&public), KemKeyId::of(key.public()));
        }
    }

    /// OpenSSL 3.5 writes seed and expanded key unless it is told otherwise.
    #[test]
    fn a_key_in_both_forms_is_read_by_its_seed() {
        let set = KemSet::MlKem768;
        let key = KemKey::generate(set, &mut SeededRng::new(1));
        let seed = element(OCTET_STRING, key.seed().as_bytes());
        let wrap = |inner: &[u8]| {
            let octets = element(OCTET_STRING, inner);
            element(SEQUENCE, &[element(INTEGER, &[0]), algorithm_of(set), octets].concat())
        };
        let expanded = element(OCTET_STRING, &[7; 2_400]);
        let both = wrap(&element(SEQUENCE, &[seed, expanded.clone()].concat()));
        assert_eq!(read_kem_key(&both).unwrap().public(), key.public());
        let alone = read_kem_key(&wrap(&expanded)).unwrap_err();
        assert_eq!(alone, PkiError::Missing("seed of the ML-KEM key"));
    }

    #[test]
    fn other_files_are_refused_by_name() {
        let key = KemKey::generate(KemSet::MlKem512, &mut SeededRng::new(1));
        let (private, public) = (kem_key_pem(&key), kem_public_pem(key.public()));
        assert!(matches!(read_kem_key(public.as_bytes()), Err(PkiError::Missing(_))));
        assert!(matches!(read_kem_public(private.as_bytes()), Err(PkiError::Missing(_))));
        assert!(read_kem_key(&[]).is_err() && read_kem_public(&[0x30, 0x80]).is_err());
        let ed25519 = "-----BEGIN PUBLIC KEY-----\n\
            MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n-----END PUBLIC KEY-----\n";
        let error = read_kem_public(ed25519.as_bytes()).unwrap_err();
        assert_eq!(error.to_string(), "there is no public ML-KEM key in it");
    }
}
