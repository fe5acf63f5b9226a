//! The keys of a phase 1, and what is computed with them (RFC 2409 §5, appendix B).

use adit_crypto::{CbcKey, Encryption, Hash, Prf, Protection, Secret};
use adit_db::ChildKeys;
use adit_wire::esp::Spi;
use adit_wire::iana::ProtocolId as ChildProtocol;
use adit_wire::iana::doi::ProtocolId;

use crate::keymat::{Nonces, Role};
use crate::output::IsakmpDebugKeys;

use super::core::Core;
use super::keymat::{ChildSpi, PublicValues, Skeyids};
pub(crate) use super::keymat::{Cookies, Iv};
use super::suite::Phase1Suite;

/// What both ends have shown each other.
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
    /// `IDii_b`: the initiator's ID payload behind its generic header.
    pub(crate) id_i: Vec<u8>,
    /// `IDir_b`.
    pub(crate) id_r: Vec<u8>,
}

impl Material {
    fn public(&self) -> PublicValues<'_> {
        PublicValues { initiator: &self.public_i, responder: &self.public_r }
    }
}

/// `Ni_b` and `Nr_b` of a quick mode.
#[derive(Clone, Debug)]
pub(crate) struct Phase2Nonces {
    pub(crate) initiator: Vec<u8>,
    pub(crate) responder: Vec<u8>,
}

impl Phase2Nonces {
    fn both(&self) -> Nonces<'_> {
        Nonces { initiator: &self.initiator, responder: &self.responder }
    }
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
    hash: Hash,
    skeyids: Skeyids,
    cipher: CbcKey,
    /// That of the next message of phase 1; after the last, of which those of all exchanges come.
    iv: Iv,
}

impl Keys {
    /// The keys that come of SKEYID. `None` if the cipher takes none of them.
    pub(crate) fn derive(
        suite: &Phase1Suite,
        skeyid: Secret,
        material: &Material,
        cookies: Cookies,
    ) -> Option<Self> {
        Self::of(suite.prf, suite.encryption, skeyid, material, cookies)
    }

    /// The same, where a suite has other parts.
    pub(crate) fn of(
        prf: Prf,
        encryption: Encryption,
        skeyid: Secret,
        material: &Material,
        cookies: Cookies,
    ) -> Option<Self> {
        let hash = Hash::ALL.into_iter().find(|hash| hash.prf() == prf)?;
        let skeyids = Skeyids::derive(prf, skeyid, material.shared.as_bytes(), cookies);
        let cipher = skeyids.cipher(prf, encryption).ok()?;
        let iv = Iv::phase1(hash, material.public(), cipher.block_len());
        Some(Self { prf, hash, skeyids, cipher, iv })
    }

    /// Octets that messages are padded to a multiple of.
    pub(crate) fn block_octets(&self) -> usize {
        self.cipher.block_len()
    }

    /// Encrypts what is behind a header; gives the IV of what follows. `None` if there are no whole
    /// blocks.
    pub(crate) fn encrypt(&self, body: &mut [u8], iv: &Iv) -> Option<Iv> {
        iv.encrypt(&self.cipher, body).ok()
    }

    /// The inverse.
    pub(crate) fn decrypt(&self, body: &mut [u8], iv: &Iv) -> Option<Iv> {
        iv.decrypt(&self.cipher, body).ok()
    }

    /// What decrypts captures of messages after phase 1. `None` if the cipher has no such key.
    pub(crate) fn exported(&self, cookies: Cookies) -> Option<IsakmpDebugKeys> {
        let encryption = self.cipher.encryption();
        Some(IsakmpDebugKeys {
            cookie_i: cookies.initiator,
            cookie_r: cookies.responder,
            encryption,
            key: self.skeyids.cipher_key(self.prf, encryption).ok()?,
            // The operator asked for a copy to decrypt captures with.
            skeyid_a: self.skeyids.a.duplicate(),
            prf: self.prf,
            last_block: self.iv.octets().to_vec(),
        })
    }

    /// The IV of the next message of phase 1.
    pub(crate) fn phase1_iv(&self) -> &Iv {
        &self.iv
    }

    /// Moves it on.
    pub(crate) fn set_phase1_iv(&mut self, iv: Iv) {
        self.iv = iv;
    }

    /// The first IV of another exchange.
    pub(crate) fn exchange_iv(&self, message_id: u32) -> Iv {
        self.iv.exchange(self.hash, message_id)
    }

    /// HASH_I or HASH_R.
    pub(crate) fn phase1_hash(&self, over: Phase1Hash<'_>) -> Secret {
        self.phase1_hash_by(self.prf, over)
    }

    /// The same by another prf than the suite's, which a signature may want (RFC 2409 §5.1).
    pub(crate) fn phase1_hash_by(&self, prf: Prf, over: Phase1Hash<'_>) -> Secret {
        let Phase1Hash { of, core, material, id_body } = over;
        let (public, cookies) = (material.public(), core.cookies());
        self.skeyids.identity_hash(prf, of, public, cookies, &material.sa_body, id_body)
    }

    /// HASH(1) of a quick mode, and of an Informational exchange.
    pub(crate) fn hash_1(&self, message_id: u32, covered: &[u8]) -> Secret {
        self.skeyids.hash_1(self.prf, message_id, covered)
    }

    /// HASH(2) of a quick mode.
    pub(crate) fn hash_2(&self, message_id: u32, nonce_i: &[u8], covered: &[u8]) -> Secret {
        self.skeyids.hash_2(self.prf, message_id, nonce_i, covered)
    }

    /// HASH(3) of a quick mode.
    pub(crate) fn hash_3(&self, message_id: u32, nonces: &Phase2Nonces) -> Secret {
        self.skeyids.hash_3(self.prf, message_id, nonces.both())
    }

    /// The keys of packets that carry this SPI.
    pub(crate) fn child_keys(
        &self,
        protection: Protection,
        protocol: ChildProtocol,
        spi: Spi,
        shared: Option<&Secret>,
        nonces: &Phase2Nonces,
    ) -> ChildKeys {
        let spi = spi.to_octets();
        // AH and ESP have the same numbers in IKEv1 and IKEv2.
        let sa = ChildSpi { protocol: ProtocolId(protocol.0), spi: &spi };
        self.skeyids.child_keys(self.prf, protection, sa, shared, nonces.both())
    }
}
