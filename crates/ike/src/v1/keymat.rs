//! Keying material of IKEv1, RFC 2409 §5 and appendix B, and without a key exchange
//! (draft-ietf-ipsec-dhless-enc-mode-00).
//!
//! Everything here is a function of octets: what a message said and where it came from is known
//! elsewhere. "Octets" of a payload are its body without the generic header, as it was received:
//! `SAi_b`, `IDii_b`, `Ni_b`.

use adit_crypto::{CbcKey, CbcKeyError, Encryption, Hash, Prf, Protection, Secret};
use adit_db::ChildKeys;
use adit_wire::iana::doi::ProtocolId;
use adit_wire::isakmp::Cookie;

use crate::keymat::{Nonces, Role};

/// What stands for g^xi, g^xr and g^xy where there is no key exchange: one zero octet
/// (draft-ietf-ipsec-dhless-enc-mode-00 §2).
pub(crate) const NO_KEY_EXCHANGE: &[u8] = &[0];

/// Both cookies of an ISAKMP SA.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Cookies {
    /// CKY-I.
    pub(crate) initiator: Cookie,
    /// CKY-R.
    pub(crate) responder: Cookie,
}

/// Public values of phase 1: the bodies of both KE payloads, or twice [`NO_KEY_EXCHANGE`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct PublicValues<'a> {
    /// g^xi.
    pub(crate) initiator: &'a [u8],
    /// g^xr.
    pub(crate) responder: &'a [u8],
}

/// `SKEYID = prf(pre-shared-key, Ni_b | Nr_b)`.
#[cfg_attr(not(test), allow(dead_code, reason = "the holder of the key has the nonces in one"))]
pub(crate) fn skeyid_pre_shared_key(prf: Prf, key: &Secret, nonces: Nonces<'_>) -> Secret {
    prf.compute(key.as_bytes(), &[nonces.initiator, nonces.responder])
}

/// `SKEYID = prf(Ni_b | Nr_b, g^xy)` of all signatures.
#[cfg_attr(not(test), allow(dead_code, reason = "signatures are not built yet"))]
pub(crate) fn skeyid_signatures(prf: Prf, shared: &Secret, nonces: Nonces<'_>) -> Secret {
    let key = Secret::concat(&[nonces.initiator, nonces.responder]);
    prf.compute(key.as_bytes(), &[shared.as_bytes()])
}

/// `SKEYID = prf(hash(Ni_b | Nr_b), CKY-I | CKY-R)` of RSA encryption, revised or not, with a key
/// exchange or without. The nonces are the decrypted ones.
pub(crate) fn skeyid_encryption(
    hash: Hash,
    prf: Prf,
    nonces: Nonces<'_>,
    cookies: Cookies,
) -> Secret {
    let key = hash.digest(&[nonces.initiator, nonces.responder]);
    prf.compute(key.as_bytes(), &[&cookies.initiator.0, &cookies.responder.0])
}

/// SKEYID and the keys that come of it.
#[derive(Debug)]
pub(crate) struct Skeyids {
    /// SKEYID: proves that both know all of it.
    pub(crate) skeyid: Secret,
    /// SKEYID_d: the keys of children are derived from it.
    pub(crate) d: Secret,
    /// SKEYID_a: authenticates messages after phase 1.
    pub(crate) a: Secret,
    /// SKEYID_e: encrypts messages.
    pub(crate) e: Secret,
}

impl Skeyids {
    /// ```text
    /// SKEYID_d = prf(SKEYID,            g^xy | CKY-I | CKY-R | 0)
    /// SKEYID_a = prf(SKEYID, SKEYID_d | g^xy | CKY-I | CKY-R | 1)
    /// SKEYID_e = prf(SKEYID, SKEYID_a | g^xy | CKY-I | CKY-R | 2)
    /// ```
    ///
    /// `shared` is g^xy with its leading zeros, or [`NO_KEY_EXCHANGE`].
    pub(crate) fn derive(prf: Prf, skeyid: Secret, shared: &[u8], cookies: Cookies) -> Self {
        let next = |before: &[u8], number: u8| {
            let (i, r) = (&cookies.initiator.0, &cookies.responder.0);
            prf.compute(skeyid.as_bytes(), &[before, shared, i, r, &[number]])
        };
        let d = next(&[], 0);
        let a = next(d.as_bytes(), 1);
        let e = next(a.as_bytes(), 2);
        Self { skeyid, d, a, e }
    }

    /// HASH_I of the initiator, HASH_R of the responder:
    ///
    /// ```text
    /// HASH_I = prf(SKEYID, g^xi | g^xr | CKY-I | CKY-R | SAi_b | IDii_b)
    /// HASH_R = prf(SKEYID, g^xr | g^xi | CKY-R | CKY-I | SAi_b | IDir_b)
    /// ```
    pub(crate) fn identity_hash(
        &self,
        prf: Prf,
        of: Role,
        public: PublicValues<'_>,
        cookies: Cookies,
        sa_i: &[u8],
        id: &[u8],
    ) -> Secret {
        let (i, r) = (&cookies.initiator.0, &cookies.responder.0);
        let (x, y, cky_x, cky_y) = match of {
            Role::Initiator => (public.initiator, public.responder, i, r),
            Role::Responder => (public.responder, public.initiator, r, i),
        };
        prf.compute(self.skeyid.as_bytes(), &[x, y, cky_x, cky_y, sa_i, id])
    }

    /// `HASH(1) = prf(SKEYID_a, M-ID | payloads)`, of the first message of every exchange after
    /// phase 1 and of those with one message. `payloads` are those after the HASH payload with their
    /// generic headers and without padding.
    pub(crate) fn hash_1(&self, prf: Prf, message_id: u32, payloads: &[u8]) -> Secret {
        prf.compute(self.a.as_bytes(), &[&message_id.to_be_bytes(), payloads])
    }

    /// `HASH(2) = prf(SKEYID_a, M-ID | Ni_b | payloads)`, of the second message of Quick Mode.
    pub(crate) fn hash_2(
        &self,
        prf: Prf,
        message_id: u32,
        nonce_i: &[u8],
        payloads: &[u8],
    ) -> Secret {
        prf.compute(self.a.as_bytes(), &[&message_id.to_be_bytes(), nonce_i, payloads])
    }

    /// `HASH(3) = prf(SKEYID_a, 0 | M-ID | Ni_b | Nr_b)`, of the third message of Quick Mode.
    pub(crate) fn hash_3(&self, prf: Prf, message_id: u32, nonces: Nonces<'_>) -> Secret {
        let message_id = message_id.to_be_bytes();
        let parts = [&[0], message_id.as_slice(), nonces.initiator, nonces.responder];
        prf.compute(self.a.as_bytes(), &parts)
    }

    /// The key that encrypts messages (RFC 2409 appendix B): the first octets of SKEYID_e, or of its
    /// [`expansion`](expanded). Of DES it is the first eight octets that are not weak.
    ///
    /// # Errors
    ///
    /// [`CbcKeyError::NotCbc`]; [`CbcKeyError::Weak`] if no octets make a key that may be used.
    pub(crate) fn cipher(&self, prf: Prf, encryption: Encryption) -> Result<CbcKey, CbcKeyError> {
        CbcKey::new(encryption, &self.cipher_key(prf, encryption)?)
    }

    /// The octets of that key.
    ///
    /// # Errors
    ///
    /// [`CbcKeyError::Weak`] as above.
    pub(crate) fn cipher_key(
        &self,
        prf: Prf,
        encryption: Encryption,
    ) -> Result<Secret, CbcKeyError> {
        let len = encryption.key_len();
        if encryption != Encryption::Des {
            return Ok(expanded(prf, &self.e, len));
        }
        let mut keys = self.e.as_bytes().chunks_exact(len).map(Secret::from_slice);
        keys.find(|key| CbcKey::new(encryption, key).is_ok()).ok_or(CbcKeyError::Weak)
    }

    /// The keys of one SA of Quick Mode (RFC 2409 §5.5): those for packets with this SPI, which are
    /// the inbound ones of who chose it.
    ///
    /// ```text
    /// KEYMAT = K1 | K2 | K3 | ...
    ///   K1 = prf(SKEYID_d,      [g(qm)^xy |] protocol | SPI | Ni_b | Nr_b)
    ///   K2 = prf(SKEYID_d, K1 | [g(qm)^xy |] protocol | SPI | Ni_b | Nr_b)
    /// ```
    ///
    /// The nonces are those of Quick Mode, `shared` is its own g^xy with its leading zeros, none
    /// without PFS. Encryption comes before integrity (RFC 2407 §4.4.4.1).
    pub(crate) fn child_keys(
        &self,
        prf: Prf,
        protection: Protection,
        sa: ChildSpi<'_>,
        shared: Option<&Secret>,
        nonces: Nonces<'_>,
    ) -> ChildKeys {
        let lengths = [protection.encryption_key_len(), protection.integrity_key_len()];
        let shared = shared.map_or(&[][..], Secret::as_bytes);
        let seed = [shared, &[sa.protocol.0], sa.spi, nonces.initiator, nonces.responder];
        let octets = chained(lengths.iter().sum(), |before| {
            let mut parts = vec![before];
            parts.extend(seed);
            prf.compute(self.d.as_bytes(), &parts)
        });
        let [encryption, integrity] = octets.split(lengths).expect(EXACT);
        ChildKeys { encryption, integrity }
    }
}

/// What an SA of Quick Mode is told from others by.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ChildSpi<'a> {
    /// AH or ESP.
    pub(crate) protocol: ProtocolId,
    /// The SPI its receiver chose.
    pub(crate) spi: &'a [u8],
}

/// `len` octets of key material: the first of `key`, or where it is shorter of `K1 | K2 | …`
/// (RFC 2409 §5.3 and appendix B).
///
/// ```text
/// K1 = prf(key, 0)
/// K2 = prf(key, K1)
/// ```
pub(crate) fn expanded(prf: Prf, key: &Secret, len: usize) -> Secret {
    if let Some(start) = key.as_bytes().get(..len) {
        return Secret::from_slice(start);
    }
    chained(len, |before| {
        let before = if before.is_empty() { &[0] } else { before };
        prf.compute(key.as_bytes(), &[before])
    })
}

/// The first `len` octets of blocks, each of which `next` makes of the one before; the first has none.
fn chained(len: usize, next: impl Fn(&[u8]) -> Secret) -> Secret {
    let mut octets = Vec::with_capacity(len);
    let mut block = Secret::default();
    while octets.len() < len {
        block = next(block.as_bytes());
        let missing = len.saturating_sub(octets.len());
        octets.extend(block.as_bytes().iter().take(missing));
    }
    Secret::new(octets)
}

/// Why cutting key material cannot fail.
const EXACT: &str = "as many octets as asked for";

/// Initialization vector of the next message of one exchange (RFC 2409 appendix B).
///
/// A message that does not turn out to be genuine must not move it: keep the old one until then.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Iv(Vec<u8>);

impl Iv {
    /// Of phase 1: the first octets of `hash(g^xi | g^xr)`.
    pub(crate) fn phase1(hash: Hash, public: PublicValues<'_>, block_len: usize) -> Self {
        Self::first(block_len, &hash.digest(&[public.initiator, public.responder]))
    }

    /// Of another exchange: the first octets of `hash(last block of phase 1 | M-ID)`. `self` is what
    /// phase 1 left.
    pub(crate) fn exchange(&self, hash: Hash, message_id: u32) -> Self {
        Self::first(self.0.len(), &hash.digest(&[&self.0, &message_id.to_be_bytes()]))
    }

    /// All zeros: of the first payload that Ke_i or Ke_r encrypts (RFC 2409 §5.3).
    pub(crate) fn zero(block_len: usize) -> Self {
        Self(vec![0; block_len])
    }

    /// Its octets, for who decrypts captures.
    pub(crate) fn octets(&self) -> &[u8] {
        &self.0
    }

    fn first(block_len: usize, digest: &Secret) -> Self {
        Self(digest.as_bytes().iter().copied().take(block_len).collect())
    }

    /// Encrypts whole blocks in place; gives the IV of what follows.
    ///
    /// # Errors
    ///
    /// [`CbcKeyError::Length`]; the octets are then as they were.
    pub(crate) fn encrypt(&self, key: &CbcKey, text: &mut [u8]) -> Result<Self, CbcKeyError> {
        key.encrypt(&self.0, text)?;
        Ok(Self::last_block(key, text))
    }

    /// Decrypts whole blocks in place; gives the IV of what follows, if the message is genuine.
    ///
    /// # Errors
    ///
    /// [`CbcKeyError::Length`]; the octets are then as they were.
    pub(crate) fn decrypt(&self, key: &CbcKey, text: &mut [u8]) -> Result<Self, CbcKeyError> {
        let next = Self::last_block(key, text);
        key.decrypt(&self.0, text)?;
        Ok(next)
    }

    fn last_block(key: &CbcKey, ciphertext: &[u8]) -> Self {
        let start = ciphertext.len().saturating_sub(key.block_len());
        Self(ciphertext.get(start..).unwrap_or_default().to_vec())
    }
}

/// The key that encrypts what follows an encrypted nonce in the revised RSA mode and without a key
/// exchange (RFC 2409 §5.3): Ke_i of `Ne_i = prf(Ni_b, CKY-I)`, Ke_r of `Ne_r = prf(Nr_b, CKY-R)`.
///
/// # Errors
///
/// Those of [`CbcKey::new`].
pub(crate) fn payload_key(
    prf: Prf,
    encryption: Encryption,
    nonce: &Secret,
    cookie: Cookie,
) -> Result<CbcKey, CbcKeyError> {
    let ne = prf.compute(nonce.as_bytes(), &[&cookie.0]);
    CbcKey::new(encryption, &expanded(prf, &ne, encryption.key_len()))
}

/// `HASH(1) = hash(certificate)` of RSA encryption: which of the responder's keys was used. It is
/// over the body of the certificate payload.
pub(crate) fn certificate_hash(hash: Hash, certificate: &[u8]) -> Secret {
    hash.digest(&[certificate])
}

#[cfg(test)]
mod tests;
