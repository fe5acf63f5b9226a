//! What the messages of phase 1 say where nonces are encrypted.
//!
//! ```text
//! RSA encryption   KE, [HASH(1),] <IDii_b>Pubkey, <Ni_b>Pubkey
//! revised          [HASH(1),] <Ni_b>Pubkey, <KE_b>Ke_i, <IDii_b>Ke_i [, <Cert-I_b>Ke_i]
//! without a key exchange
//!                  [HASH(1),] <Ni_b>Pubkey, <IDii_b>Ke_i [, <Cert-I_b>Ke_i]
//! ```
//!
//! The responder says the same without HASH(1) and certificate. The initiator's is left unread where we have its
//! key already.

use adit_crypto::{RsaPadding, Secret};
use adit_db::NonceEncryption;
use adit_wire::Reader;
use adit_wire::iana::isakmp::{NotifyType, PayloadType};
use adit_wire::isakmp::{ChainBuilder, Cookie, Notify, Payloads, Sa};

use crate::failure::FailureReason;
use crate::v1::keymat::{NO_KEY_EXCHANGE, certificate_hash};

use super::PeerKey;
use super::decrypt::Ciphertexts;
use super::payloads::PayloadCipher;
use super::suite::Suite;

/// The payloads of a message whose bodies mean something only once they are decrypted.
#[derive(Debug, Default)]
pub(crate) struct Received<'a> {
    pub(crate) sa: Option<Sa<'a>>,
    /// The octets of the SA payload behind its generic header.
    pub(crate) sa_body: &'a [u8],
    pub(crate) vendor_ids: Vec<&'a [u8]>,
    /// NAT-D of either numbering.
    pub(crate) nat_hashes: Vec<&'a [u8]>,
    /// HASH payloads in order: HASH(1), HASH_I, HASH_R.
    hashes: Vec<&'a [u8]>,
    nonce: Option<&'a [u8]>,
    key_exchange: Option<&'a [u8]>,
    id: Option<&'a [u8]>,
    certificate: Option<&'a [u8]>,
    pub(crate) initial_contact: bool,
}

/// Payloads of a kind that are looked at.
const SAME_MAX: usize = 16;

impl<'a> Received<'a> {
    /// Reads a chain; `None` if it is none, or has something twice.
    pub(crate) fn read(first: PayloadType, octets: &'a [u8]) -> Option<Self> {
        let mut received = Self::default();
        for raw in Payloads::new(first, octets) {
            let raw = raw.ok()?;
            let body = raw.body;
            match raw.kind {
                PayloadType::SA if received.sa.is_none() => {
                    received.sa = Some(Sa::read(&mut Reader(body)).ok()?);
                    received.sa_body = body;
                }
                PayloadType::SA => return None,
                PayloadType::NONCE => once(&mut received.nonce, body)?,
                PayloadType::KE => once(&mut received.key_exchange, body)?,
                PayloadType::ID => once(&mut received.id, body)?,
                PayloadType::CERT => {
                    received.certificate.get_or_insert(body);
                }
                PayloadType::HASH => some(&mut received.hashes, body),
                PayloadType::VENDOR_ID => some(&mut received.vendor_ids, body),
                PayloadType::NAT_D | PayloadType::NAT_D_DRAFT => {
                    some(&mut received.nat_hashes, body);
                }
                PayloadType::NOTIFICATION => {
                    let notify = Notify::read(&mut Reader(body)).ok()?;
                    received.initial_contact |= notify.kind == NotifyType::INITIAL_CONTACT;
                }
                _ => {}
            }
        }
        Some(received)
    }

    /// HASH_I or HASH_R: the last of its kind.
    pub(crate) fn proof(&self) -> Option<&'a [u8]> {
        self.hashes.last().copied()
    }
}

fn once<'a>(place: &mut Option<&'a [u8]>, body: &'a [u8]) -> Option<()> {
    place.replace(body).is_none().then_some(())
}

fn some<'a>(place: &mut Vec<&'a [u8]>, body: &'a [u8]) {
    let has_room = place.len() < SAME_MAX;
    place.extend(has_room.then_some(body));
}

/// What one end shows the other.
#[derive(Debug)]
pub(crate) struct Shown {
    pub(crate) nonce: Secret,
    /// Its public value, or what stands for one.
    pub(crate) public: Vec<u8>,
    pub(crate) id_body: Vec<u8>,
    /// The body of its CERT payload, of which the initiator may have one.
    pub(crate) certificate: Option<Vec<u8>>,
    /// Nothing of it was such that it cannot be right.
    pub(crate) is_sound: bool,
}

/// To whom it is shown, and how.
pub(crate) struct Showing<'a> {
    pub(crate) suite: &'a Suite,
    pub(crate) peer: &'a PeerKey,
    pub(crate) padding: RsaPadding,
    /// The cookie of who shows it.
    pub(crate) cookie: Cookie,
    /// Whether to say which key was used: the initiator does.
    pub(crate) names_key: bool,
}

impl Showing<'_> {
    /// Adds the payloads.
    ///
    /// # Errors
    ///
    /// [`FailureReason::Internal`]: the peer's key has no room for a nonce or for our identity.
    pub(crate) fn put(
        &self,
        shown: &Shown,
        chain: &mut ChainBuilder,
        rng: &mut dyn adit_crypto::Rng,
    ) -> Result<(), FailureReason> {
        let mut to_peer =
            |message: &[u8]| self.peer.key.encrypt(self.padding, message, rng).ok_or(NO_ROOM);
        if self.suite.kind == NonceEncryption::Plain {
            chain.push(PayloadType::KE, |w| w.bytes(&shown.public));
            self.name_key(chain);
            let (id, nonce) = (to_peer(&shown.id_body)?, to_peer(shown.nonce.as_bytes())?);
            chain.push(PayloadType::ID, |w| w.bytes(&id));
            chain.push(PayloadType::NONCE, |w| w.bytes(&nonce));
            return Ok(());
        }
        self.name_key(chain);
        let nonce = to_peer(shown.nonce.as_bytes())?;
        chain.push(PayloadType::NONCE, |w| w.bytes(&nonce));
        let cipher = PayloadCipher::new(self.suite, &shown.nonce, self.cookie);
        let mut cipher = cipher.ok_or(NO_CIPHER)?;
        if self.suite.group.is_some() {
            let sealed = cipher.seal(&shown.public).ok_or(NO_CIPHER)?;
            chain.push(PayloadType::KE, |w| w.bytes(&sealed));
        }
        let sealed = cipher.seal(&shown.id_body).ok_or(NO_CIPHER)?;
        chain.push(PayloadType::ID, |w| w.bytes(&sealed));
        if let Some(certificate) = &shown.certificate {
            let sealed = cipher.seal(certificate).ok_or(NO_CIPHER)?;
            chain.push(PayloadType::CERT, |w| w.bytes(&sealed));
        }
        Ok(())
    }

    /// HASH(1), where the peer has a certificate that we know.
    fn name_key(&self, chain: &mut ChainBuilder) {
        let named = self.peer.certificate.as_ref().filter(|_| self.names_key);
        if let Some((certificate, hash)) = named.zip(self.suite.hash()) {
            let digest = certificate_hash(hash, certificate.der());
            chain.push(PayloadType::HASH, |w| w.bytes(digest.as_bytes()));
        }
    }
}

const NO_ROOM: FailureReason =
    FailureReason::Internal("the identity is longer than the peer's RSA key can encrypt");
const NO_CIPHER: FailureReason = FailureReason::Internal("no key comes of the nonce");

/// What the peer shows, still encrypted.
#[derive(Debug)]
pub(crate) struct Sealed {
    key: Option<Vec<u8>>,
    nonce: Vec<u8>,
    public: Option<Vec<u8>>,
    id: Vec<u8>,
    certificate: Option<Vec<u8>>,
}

impl Sealed {
    /// `None` if a payload is missing that everybody sees to be missing. `answers` is whether it is the
    /// responder who shows it.
    pub(crate) fn of(received: &Received<'_>, suite: &Suite, answers: bool) -> Option<Self> {
        let public = match suite.group {
            Some(_) => Some(received.key_exchange?.to_vec()),
            None => None,
        };
        let key = received.hashes.first().filter(|_| !answers).map(|digest| digest.to_vec());
        let (nonce, id) = (received.nonce?.to_vec(), received.id?.to_vec());
        let certificate = received.certificate.filter(|_| !answers).map(<[u8]>::to_vec);
        Some(Self { key, nonce, public, id, certificate })
    }

    /// What has to be decrypted with the private key.
    pub(crate) fn ciphertexts(&self, suite: &Suite, padding: RsaPadding) -> Ciphertexts {
        let key = suite.hash().zip(self.key.clone());
        let mut octets = vec![self.nonce.clone()];
        octets.extend((suite.kind == NonceEncryption::Plain).then(|| self.id.clone()));
        Ciphertexts { padding, key, octets }
    }

    /// What it says, with what came of the ciphertexts. It always says something: what cannot be right is
    /// noted, and nobody is told before the end.
    pub(crate) fn open(self, suite: &Suite, cookie: Cookie, messages: Vec<Secret>) -> Shown {
        let mut messages = messages.into_iter();
        let nonce = messages.next().unwrap_or_default();
        // RFC 2409 §5: 8 to 256 octets.
        let mut is_sound = (8..=256).contains(&nonce.len());
        if suite.kind == NonceEncryption::Plain {
            let id_body = messages.next().unwrap_or_default().as_bytes().to_vec();
            let public = self.public.unwrap_or_default();
            return Shown { nonce, public, id_body, certificate: None, is_sound };
        }
        let mut cipher = PayloadCipher::new(suite, &nonce, cookie);
        let mut open = |sealed: &[u8]| {
            let opened = cipher.as_mut().and_then(|cipher| cipher.open(sealed));
            is_sound &= opened.is_some();
            opened.unwrap_or_default()
        };
        let public = match &self.public {
            Some(sealed) => open(sealed),
            None => NO_KEY_EXCHANGE.to_vec(),
        };
        let id_body = open(&self.id);
        // Whoever has the peer's key does not need it.
        let certificate = self.certificate.and_then(|sealed| cipher?.open(&sealed));
        Shown { nonce, public, id_body, certificate, is_sound }
    }
}
