//! Keys of IKEv1 and what is computed with them (RFC 2409 §5, appendix B).

use adit_crypto::{CbcKey, Prf, Protection, Secret};
use adit_db::ChildKeys;
use adit_wire::esp::Spi;
use adit_wire::iana::ProtocolId;
use adit_wire::ikev2::IkeSpi;

use crate::keymat::Role;

use super::core::Core;
use super::suite::Phase1Suite;

/// What both ends have shown each other in the first four messages.
#[derive(Debug, Default)]
pub(crate) struct Material {
    /// `SAi_b`: the initiator's SA payload behind its generic header.
    pub(crate) sa_body: Vec<u8>,
    /// `g^xi`.
    pub(crate) public_i: Vec<u8>,
    /// `g^xr`.
    pub(crate) public_r: Vec<u8>,
    /// `Ni_b`.
    pub(crate) nonce_i: Vec<u8>,
    /// `Nr_b`.
    pub(crate) nonce_r: Vec<u8>,
    /// `g^xy`.
    pub(crate) shared: Secret,
}

/// What the next message of an exchange is encrypted with.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Iv(Vec<u8>);

/// `Ni_b` and `Nr_b` of a quick mode.
#[derive(Clone, Debug)]
pub(crate) struct Phase2Nonces {
    pub(crate) initiator: Vec<u8>,
    pub(crate) responder: Vec<u8>,
}

/// What HASH_I or HASH_R is over.
pub(crate) struct Phase1Hash<'a> {
    /// Whose it is.
    pub(crate) of: Role,
    pub(crate) core: &'a Core,
    pub(crate) material: &'a Material,
    /// `IDii_b` or `IDir_b`.
    pub(crate) id_body: &'a [u8],
}

/// The keys of a phase 1.
#[derive(Debug)]
pub(crate) struct Keys {
    prf: Prf,
    skeyid: Secret,
    /// SKEYID_d: keys of children come of it.
    d: Secret,
    /// SKEYID_a: authenticates messages.
    a: Secret,
    cipher: CbcKey,
    /// The last block of phase 1, of which the IVs of all other exchanges come.
    iv: Iv,
}

impl Keys {
    /// SKEYID_d, SKEYID_a and SKEYID_e of SKEYID (RFC 2409 §5), the key of the cipher and the first IV
    /// (appendix B). `None` if the cipher does not take a key of its own length.
    pub(crate) fn derive(
        suite: &Phase1Suite,
        skeyid: Secret,
        material: &Material,
        (cookie_i, cookie_r): (IkeSpi, IkeSpi),
    ) -> Option<Self> {
        let prf = suite.prf;
        let next = |before: &Secret, number: u8| {
            let parts: [&[u8]; 5] = [
                before.as_bytes(),
                material.shared.as_bytes(),
                &cookie_i.0,
                &cookie_r.0,
                &[number],
            ];
            prf.compute(skeyid.as_bytes(), &parts)
        };
        let d = next(&Secret::default(), 0);
        let a = next(&d, 1);
        let e = next(&a, 2);
        let cipher = CbcKey::new(suite.encryption, &stretched(prf, e, suite.encryption.key_len()))?;
        let hash = prf.hash(&[&material.public_i, &material.public_r])?;
        let iv = Iv(hash.get(..cipher.block_octets())?.to_vec());
        Some(Self { prf, skeyid, d, a, cipher, iv })
    }

    /// Octets that messages are padded to a multiple of.
    pub(crate) fn block_octets(&self) -> usize {
        self.cipher.block_octets()
    }

    /// Encrypts what is behind a header, and moves the IV on to its last block.
    pub(crate) fn encrypt(&self, body: &mut [u8], iv: &mut Iv) {
        if self.cipher.encrypt(&iv.0, body) {
            iv.follow(body);
        }
    }

    /// The inverse; `None` if there are no whole blocks.
    pub(crate) fn decrypt(&self, body: &mut [u8], iv: &mut Iv) -> Option<()> {
        let before = iv.clone();
        if !body.len().is_multiple_of(self.block_octets()) {
            return None;
        }
        iv.follow(body);
        self.cipher.decrypt(&before.0, body).then_some(())
    }

    /// The IV of the next message of phase 1.
    pub(crate) fn phase1_iv(&self) -> &Iv {
        &self.iv
    }

    /// Moves it on.
    pub(crate) fn set_phase1_iv(&mut self, iv: Iv) {
        self.iv = iv;
    }

    /// `hash(last block of phase 1 | M-ID)`: the first IV of another exchange (appendix B).
    pub(crate) fn exchange_iv(&self, message_id: u32) -> Iv {
        let hash = self.prf.hash(&[&self.iv.0, &message_id.to_be_bytes()]).unwrap_or_default();
        Iv(hash.get(..self.block_octets()).unwrap_or_default().to_vec())
    }

    /// HASH_I or HASH_R: `prf(SKEYID, g^x | g^y | CKY-X | CKY-Y | SAi_b | ID_b)`, one's own first.
    pub(crate) fn phase1_hash(&self, over: Phase1Hash<'_>) -> Secret {
        let Phase1Hash { of, core, material, id_body } = over;
        let (i, r) = ((&material.public_i, core.cookie_i), (&material.public_r, core.cookie_r));
        let ((public, cookie), (peer_public, peer_cookie)) = match of {
            Role::Initiator => (i, r),
            Role::Responder => (r, i),
        };
        let parts: [&[u8]; 6] =
            [public, peer_public, &cookie.0, &peer_cookie.0, &material.sa_body, id_body];
        self.prf.compute(self.skeyid.as_bytes(), &parts)
    }

    /// HASH(1) of a quick mode, and of an Informational exchange: `prf(SKEYID_a, M-ID | payloads)`.
    pub(crate) fn hash_1(&self, message_id: u32, covered: &[u8]) -> Secret {
        self.prf.compute(self.a.as_bytes(), &[&message_id.to_be_bytes(), covered])
    }

    /// HASH(2): `prf(SKEYID_a, M-ID | Ni_b | payloads)`.
    pub(crate) fn hash_2(&self, message_id: u32, nonce_i: &[u8], covered: &[u8]) -> Secret {
        self.prf.compute(self.a.as_bytes(), &[&message_id.to_be_bytes(), nonce_i, covered])
    }

    /// HASH(3): `prf(SKEYID_a, 0 | M-ID | Ni_b | Nr_b)`.
    pub(crate) fn hash_3(&self, message_id: u32, nonces: &Phase2Nonces) -> Secret {
        let parts: [&[u8]; 4] =
            [&[0], &message_id.to_be_bytes(), &nonces.initiator, &nonces.responder];
        self.prf.compute(self.a.as_bytes(), &parts)
    }

    /// The keys of packets that carry this SPI (RFC 2409 §5.5):
    /// `KEYMAT = K1 | K2 | …`, `K1 = prf(SKEYID_d, seed)`, `K2 = prf(SKEYID_d, K1 | seed)`, where the
    /// seed is `[g(qm)^xy |] protocol | SPI | Ni_b | Nr_b`.
    pub(crate) fn child_keys(
        &self,
        protection: Protection,
        protocol: ProtocolId,
        spi: Spi,
        shared: Option<&Secret>,
        nonces: &Phase2Nonces,
    ) -> ChildKeys {
        let lengths = [protection.encryption_key_len(), protection.integrity_key_len()];
        let (shared, spi) = (shared.map_or(&[][..], Secret::as_bytes), spi.to_octets());
        let seed: [&[u8]; 5] = [shared, &[protocol.0], &spi, &nonces.initiator, &nonces.responder];
        let wanted: usize = lengths.iter().sum();
        let mut block = Secret::default();
        let mut keymat = Secret::default();
        while keymat.len() < wanted {
            let parts: Vec<&[u8]> = [block.as_bytes()].into_iter().chain(seed).collect();
            block = self.prf.compute(self.d.as_bytes(), &parts);
            keymat = Secret::concat(&[keymat.as_bytes(), block.as_bytes()]);
        }
        let exact = Secret::from_slice(keymat.as_bytes().get(..wanted).unwrap_or_default());
        let [encryption, integrity] = exact.split(lengths).expect(EXACT);
        ChildKeys { encryption, integrity }
    }
}

impl Iv {
    /// Goes on with the last block of a message.
    fn follow(&mut self, ciphertext: &[u8]) {
        let start = ciphertext.len().saturating_sub(self.0.len());
        if let Some(last) = ciphertext.get(start..).filter(|last| last.len() == self.0.len()) {
            self.0.copy_from_slice(last);
        }
    }
}

/// The key of the cipher: SKEYID_e, or where that is too short `K1 | K2 | …` with
/// `K1 = prf(SKEYID_e, 0)`, `K2 = prf(SKEYID_e, K1)` (RFC 2409 appendix B).
fn stretched(prf: Prf, e: Secret, wanted: usize) -> Secret {
    if e.len() >= wanted {
        return Secret::from_slice(e.as_bytes().get(..wanted).unwrap_or_default());
    }
    let mut block = prf.compute(e.as_bytes(), &[&[0]]);
    let mut key = block.duplicate();
    while key.len() < wanted {
        block = prf.compute(e.as_bytes(), &[block.as_bytes()]);
        key = Secret::concat(&[key.as_bytes(), block.as_bytes()]);
    }
    Secret::from_slice(key.as_bytes().get(..wanted).unwrap_or_default())
}

/// Why cutting the key material cannot fail.
const EXACT: &str = "key material is exactly the sum of the lengths";
