//! `auth = pubkey…`, `certs`, `cacerts` and `pubkeys` of a round: signatures (RFC 7427).

use std::sync::Arc;

use adit_crypto::{SignatureHash, SignatureScheme};
use adit_pki::{PublicKey, read_certificates};

use super::ConnError;
use super::value::Entry;

/// The schemes that `pubkey`, `rsa`, `rsa/pss`, `ecdsa` or `ed25519` with hashes behind it let a side
/// use; empty is any. `ike:` in front says that it is for AUTH and not for certificates, which is all
/// that is restricted here.
///
/// # Errors
///
/// For key sizes, which cannot be asked for, and for words that mean nothing.
pub(super) fn schemes(entry: &Entry<'_>, text: &str) -> Result<Vec<SignatureScheme>, ConnError> {
    let mut words = text.strip_prefix("ike:").unwrap_or(text).split('-');
    let kind = words.next().unwrap_or_default();
    let mut hashes = Vec::new();
    for word in words {
        if word.parse::<u32>().is_ok() {
            return Err(entry.unsupported(
                "key sizes cannot be asked for; RSA keys have at least 2048 bits in any case",
            ));
        }
        let hash = HASHES.iter().find(|(name, _)| *name == word);
        let Some((_, hash)) = hash else {
            return Err(entry.bad(format!("{word} is no hash; sha256, sha384 and sha512 are")));
        };
        hashes.push(*hash);
    }
    let of = |scheme: &SignatureScheme| {
        let is_kind = match scheme {
            SignatureScheme::RsaPkcs1(_) => kind == "rsa",
            SignatureScheme::RsaPss(_) => {
                matches!(kind, "rsa" | "rsa/pss") && is_open(&hashes, kind)
            }
            SignatureScheme::Ecdsa(_) => kind == "ecdsa",
            SignatureScheme::Ed25519 => kind == "ed25519",
        };
        let is_hash = match hashes.as_slice() {
            [] => scheme.hash() != SignatureHash::Sha1,
            named => named.contains(&scheme.hash()) || *scheme == SignatureScheme::Ed25519,
        };
        (kind == "pubkey" || is_kind) && is_hash
    };
    if kind == "pubkey" && hashes.is_empty() {
        return Ok(Vec::new());
    }
    let schemes: Vec<_> = SignatureScheme::ALL.iter().copied().filter(of).collect();
    match schemes.as_slice() {
        [] => Err(entry.bad("must be psk, or pubkey, rsa, rsa/pss, ecdsa or ed25519 with hashes")),
        _ => Ok(schemes),
    }
}

/// `rsa-sha256` is PKCS #1, as in strongSwan, and `rsa` alone is both.
fn is_open(hashes: &[SignatureHash], kind: &str) -> bool {
    kind == "rsa/pss" || hashes.is_empty()
}

const HASHES: &[(&str, SignatureHash)] = &[
    ("sha1", SignatureHash::Sha1),
    ("sha256", SignatureHash::Sha2_256),
    ("sha384", SignatureHash::Sha2_384),
    ("sha512", SignatureHash::Sha2_512),
];

/// The certificates of `certs` or `cacerts`, whose files swanctl sends.
pub(super) fn certificates(
    entry: &Entry<'_>,
    into: &mut Vec<Arc<adit_pki::Certificate>>,
) -> Result<(), ConnError> {
    for blob in entry.blobs()? {
        into.extend(read_certificates(blob).map_err(|error| entry.bad_blob(error))?);
    }
    Ok(())
}

/// The keys of `pubkeys`.
pub(super) fn public_keys(
    entry: &Entry<'_>,
    into: &mut Vec<Arc<PublicKey>>,
) -> Result<(), ConnError> {
    for blob in entry.blobs()? {
        let key = PublicKey::from_file(blob).map_err(|error| entry.bad_blob(error))?;
        into.push(Arc::new(key));
    }
    Ok(())
}
