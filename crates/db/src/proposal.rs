//! Proposals as the operator writes them: RFC 7296 §3.3, RFC 9370 §2.2.1, in the words of
//! `swanctl.conf`.
//!
//! `aes256gcm16-prfsha384-x25519-ke1_mlkem768` is one proposal: words joined by hyphens, each a
//! transform. A list of proposals is joined by commas; `default` in a list stands for ours, and the
//! name of another [`Profile`] for its.
//!
//! A [`ProposalSpec`] that exists is legal for its protocol: it has a cipher, an integrity
//! transform exactly if the cipher needs one, for IKE also a PRF and a key exchange, for ESP the
//! ESN transform. For AH it has no cipher, an integrity transform and the ESN transform.

mod caution;
mod profile;
mod words;

use std::fmt;
use std::sync::Arc;

use adit_crypto::{Cipher, KemSet};
use adit_wire::iana::{EncryptionId, IntegrityId, KeyExchangeId, ProtocolId, TransformType};
use adit_wire::ikev2::Transform;

pub use self::caution::{Caution, Verdict, allowable};
pub use self::profile::{Profile, Reasoned};
use crate::nearest::nearest;

/// One proposal for IKE, ESP or AH: its transforms in order of preference within each type.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct ProposalSpec {
    protocol: ProtocolId,
    /// Shared by all that were made alike.
    transforms: Arc<[Transform]>,
}

/// Most transforms in one proposal.
pub const TRANSFORMS_MAX: usize = 64;

/// Most proposals in one list.
pub const PROPOSALS_MAX: usize = 32;

/// Why a text is no proposal.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ProposalError {
    /// A word stands for no transform of this suite.
    #[error("unknown algorithm {word:?}{}", did_you_mean(*.nearest))]
    UnknownWord {
        /// The word as written.
        word: String,
        /// The valid word most like it.
        nearest: Option<&'static str>,
    },
    /// A group of curves over 2^n (RFC 2409 §6.3, §6.4), which no version of this computes.
    #[error(
        "{0:?} is an EC2N group, a curve over 2^n, which is not done here; use modp2048 or ecp256, on the peer as well"
    )]
    Ec2n(String),
    /// The word names a transform this protocol does not have, as a PRF in ESP.
    #[error("{word:?} has no place in a proposal for {protocol}")]
    WrongProtocol {
        /// The word as written.
        word: String,
        /// The protocol of the proposal.
        protocol: ProtocolId,
    },
    /// No encryption algorithm.
    #[error("no encryption algorithm in {0:?}")]
    NoEncryption(String),
    /// AEADs and other ciphers side by side: they need different integrity transforms (RFC 7296
    /// §3.3), so they belong in proposals of their own.
    #[error("{0:?} mixes AEAD and other ciphers; write two proposals")]
    MixedCiphers(String),
    /// A cipher without built-in integrity, and no integrity algorithm.
    #[error("no integrity algorithm in {0:?}")]
    NoIntegrity(String),
    /// An IKE proposal without PRF, and without integrity algorithm to take it from.
    #[error("no PRF in {0:?}; add prfsha256 or prfsha384")]
    NoPrf(String),
    /// An IKE proposal without key exchange, or additional ones that follow none.
    #[error("no key exchange in {0:?}; add x25519 or ecp384")]
    NoKeyExchange(String),
    /// Ciphertexts to static keys, and another key exchange that the peer could choose instead or as
    /// well: whether there is forward secrecy is not left to it.
    #[error("{0:?} mixes static ML-KEM and other key exchanges; a tunnel has one or the other")]
    MixedKeyExchanges(String),
    /// Nothing stands where a proposal should.
    #[error("a proposal must not be empty")]
    Empty,
    /// More than [`TRANSFORMS_MAX`] transforms or [`PROPOSALS_MAX`] proposals.
    #[error("too many algorithms or proposals")]
    TooMany,
}

fn did_you_mean(word: Option<&'static str>) -> String {
    word.map_or_else(String::new, |word| format!("; did you mean {word:?}?"))
}

impl ProposalSpec {
    /// Reads one IKE proposal.
    ///
    /// The PRF is that of the integrity algorithm if none is written, and an integrity algorithm
    /// beside an AEAD cipher gives only its PRF (as swanctl has it).
    ///
    /// # Errors
    ///
    /// Each [`ProposalError`]; the text of an unknown word names the nearest known one.
    pub fn ike(text: &str) -> Result<Self, ProposalError> {
        let mut transforms = read_words(text, ProtocolId::IKE)?;
        let aead = check_ciphers(text, &transforms)?;
        if !has(&transforms, TransformType::PRF) {
            let implied: Vec<Transform> = transforms.iter().filter_map(implied_prf).collect();
            if implied.is_empty() {
                return Err(ProposalError::NoPrf(text.to_owned()));
            }
            transforms.extend(implied);
        }
        settle_integrity(text, aead, &mut transforms)?;
        if !transforms.iter().any(is_key_exchange) {
            return Err(ProposalError::NoKeyExchange(text.to_owned()));
        }
        check_static_kem(text, &transforms)?;
        // RFC 7296 §3.3.6 has no NONE for the key exchange of an IKE SA.
        transforms.retain(|t| t.kind != TransformType::KE || t.id != KE_NONE);
        Self::ordered(ProtocolId::IKE, transforms)
    }

    /// Reads one ESP proposal. Without `esn` and `noesn` it is `noesn`, as swanctl has it.
    ///
    /// A key exchange gives perfect forward secrecy when the child SA is rekeyed; additional ones
    /// (RFC 9370 §2.2.4) can follow it.
    ///
    /// # Errors
    ///
    /// Each [`ProposalError`]; the text of an unknown word names the nearest known one.
    pub fn esp(text: &str) -> Result<Self, ProposalError> {
        let mut transforms = read_words(text, ProtocolId::ESP)?;
        let aead = check_ciphers(text, &transforms)?;
        settle_integrity(text, aead, &mut transforms)?;
        check_additional(text, &transforms)?;
        if !has(&transforms, TransformType::ESN) {
            transforms.push(NO_ESN);
        }
        Self::ordered(ProtocolId::ESP, transforms)
    }

    /// Reads one AH proposal: integrity algorithms, `aes128gmac` among them, and what
    /// [`ProposalSpec::esp`] takes besides its cipher.
    ///
    /// # Errors
    ///
    /// Each [`ProposalError`]; a cipher is [`ProposalError::WrongProtocol`].
    pub fn ah(text: &str) -> Result<Self, ProposalError> {
        let mut transforms = read_words(text, ProtocolId::AH)?;
        if !has(&transforms, TransformType::INTEG) {
            return Err(ProposalError::NoIntegrity(text.to_owned()));
        }
        check_additional(text, &transforms)?;
        if !has(&transforms, TransformType::ESN) {
            transforms.push(NO_ESN);
        }
        Self::ordered(ProtocolId::AH, transforms)
    }

    /// Reads a comma list of IKE proposals; the name of a [`Profile`] stands for its proposals.
    ///
    /// # Errors
    ///
    /// See [`ProposalSpec::ike`].
    pub fn ike_list(text: &str) -> Result<Vec<Self>, ProposalError> {
        read_list(text, Self::ike, ProtocolId::IKE)
    }

    /// Reads a comma list of ESP proposals; the name of a [`Profile`] stands for its proposals.
    ///
    /// # Errors
    ///
    /// See [`ProposalSpec::esp`].
    pub fn esp_list(text: &str) -> Result<Vec<Self>, ProposalError> {
        read_list(text, Self::esp, ProtocolId::ESP)
    }

    /// Reads a comma list of AH proposals; the name of a [`Profile`] stands for its proposals.
    ///
    /// # Errors
    ///
    /// See [`ProposalSpec::ah`].
    pub fn ah_list(text: &str) -> Result<Vec<Self>, ProposalError> {
        read_list(text, Self::ah, ProtocolId::AH)
    }

    /// What we offer for IKE SAs unless told otherwise: AEAD ciphers first, then AES-CBC for old
    /// peers, both with ML-KEM-768 as an additional key exchange the peer may decline.
    pub fn ike_default() -> Vec<Self> {
        Profile::usual().proposals(ProtocolId::IKE)
    }

    /// What we offer for child SAs unless told otherwise: with and without ESN, with and without
    /// a key exchange of their own.
    pub fn esp_default() -> Vec<Self> {
        Profile::usual().proposals(ProtocolId::ESP)
    }

    /// What we offer for child SAs with AH unless told otherwise.
    pub fn ah_default() -> Vec<Self> {
        Profile::usual().proposals(ProtocolId::AH)
    }

    /// IKE, ESP or AH.
    pub fn protocol(&self) -> ProtocolId {
        self.protocol
    }

    /// The transforms, by type and within a type in order of preference, without repetition.
    pub fn transforms(&self) -> &[Transform] {
        &self.transforms
    }

    /// The transforms of one type in order of preference.
    pub fn of_kind(&self, kind: TransformType) -> impl Iterator<Item = Transform> {
        self.transforms.iter().copied().filter(move |transform| transform.kind == kind)
    }

    /// The KEM whose ciphertexts to static keys stand for a key exchange, if they do
    /// (docs/dhless.md); then there is no other.
    pub fn static_kem(&self) -> Option<KemSet> {
        self.of_kind(TransformType::KE).find_map(|transform| static_kem(&transform))
    }

    /// What the operator should know about this proposal, each algorithm once.
    pub fn cautions(&self) -> Vec<Caution> {
        let mut cautions: Vec<Caution> = Vec::new();
        if self.protocol == ProtocolId::AH {
            cautions.push(Caution::AH);
        }
        for caution in self.transforms.iter().filter_map(Caution::of) {
            if !cautions.contains(&caution) {
                cautions.push(caution);
            }
        }
        cautions
    }

    /// Every suite that one of each of its transforms makes; for ESP and IKE.
    pub fn ciphers(&self) -> Vec<Cipher> {
        let mut integrities: Vec<Option<IntegrityId>> =
            self.of_kind(TransformType::INTEG).map(|one| Some(IntegrityId(one.id))).collect();
        if integrities.is_empty() {
            integrities.push(None);
        }
        let mut ciphers = Vec::new();
        for one in self.of_kind(TransformType::ENCR) {
            let suite = |integrity: &Option<IntegrityId>| {
                Cipher::from_transforms(EncryptionId(one.id), one.key_bits, *integrity)
            };
            ciphers.extend(integrities.iter().filter_map(suite));
        }
        ciphers
    }

    /// The proposal without ESN: for a receiver that keeps no replay window (RFC 4303 §3.3.3;
    /// CHECKLIST E16).
    #[must_use]
    pub fn without_esn(&self) -> Self {
        let mut transforms = self.transforms.to_vec();
        transforms.retain(|transform| transform.kind != TransformType::ESN);
        transforms.push(NO_ESN);
        Self { protocol: self.protocol, transforms: transforms.into() }
    }

    /// The proposal without key exchanges: for the first child of an IKE SA, whose keys come from
    /// the IKE SA (RFC 7296 §1.2).
    #[must_use]
    pub fn without_key_exchange(&self) -> Self {
        let has_place = |kind: TransformType| kind != TransformType::KE && !kind.is_additional_ke();
        let without_ke = self.transforms.iter().filter(|transform| has_place(transform.kind));
        Self { protocol: self.protocol, transforms: without_ke.copied().collect() }
    }

    /// Sorts by type, keeping the order within, and drops repetitions.
    fn ordered(protocol: ProtocolId, transforms: Vec<Transform>) -> Result<Self, ProposalError> {
        let mut unique: Vec<Transform> = Vec::new();
        for transform in transforms {
            if !unique.contains(&transform) {
                unique.push(transform);
            }
        }
        if unique.len() > TRANSFORMS_MAX {
            return Err(ProposalError::TooMany);
        }
        unique.sort_by_key(|transform| transform.kind);
        Ok(Self { protocol, transforms: unique.into() })
    }
}

/// Writes the words that [`ProposalSpec::ike`], [`ProposalSpec::esp`] or [`ProposalSpec::ah`] read
/// back as the same value.
impl fmt::Display for ProposalSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt_transforms(&self.transforms, f)
    }
}

/// Transforms in the words of `swanctl.conf`, as in `aes256gcm16-prfsha384-x25519`; a transform
/// without word prints as `type:number`. For messages about what a peer offers.
#[derive(Clone, Copy, Debug)]
pub struct TransformWords<'a>(pub &'a [Transform]);

impl fmt::Display for TransformWords<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt_transforms(self.0, f)
    }
}

/// One transform in the word of `swanctl.conf`, if it has one.
pub fn transform_word(transform: &Transform) -> Option<String> {
    words::word_of(transform)
}

/// Every word a proposal may hold, for completions and messages.
pub fn all_words() -> impl Iterator<Item = &'static str> {
    words::all()
}

fn fmt_transforms(transforms: &[Transform], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    for (index, transform) in transforms.iter().enumerate() {
        if index > 0 {
            f.write_str("-")?;
        }
        match words::word_of(transform) {
            Some(word) => f.write_str(&word)?,
            None => write!(f, "{}:{}", transform.kind.0, transform.id)?,
        }
    }
    Ok(())
}

fn read_list(
    text: &str,
    read: fn(&str) -> Result<ProposalSpec, ProposalError>,
    protocol: ProtocolId,
) -> Result<Vec<ProposalSpec>, ProposalError> {
    let mut proposals: Vec<ProposalSpec> = Vec::new();
    for item in text.split(',').map(str::trim) {
        match Profile::named(item) {
            Some(profile) => proposals.extend(profile.proposals(protocol)),
            None => proposals.push(read(item)?),
        }
        if proposals.len() > PROPOSALS_MAX {
            return Err(ProposalError::TooMany);
        }
    }
    if proposals.is_empty() {
        return Err(ProposalError::Empty);
    }
    Ok(proposals)
}

fn read_words(text: &str, protocol: ProtocolId) -> Result<Vec<Transform>, ProposalError> {
    if text.trim().is_empty() {
        return Err(ProposalError::Empty);
    }
    let mut transforms = Vec::new();
    for word in text.trim().split('-') {
        let transform = words::transform_of(word, protocol).ok_or_else(|| unknown(word))?;
        if !belongs(&transform, protocol) {
            return Err(ProposalError::WrongProtocol { word: word.to_owned(), protocol });
        }
        transforms.push(transform);
        if transforms.len() > TRANSFORMS_MAX {
            return Err(ProposalError::TooMany);
        }
    }
    Ok(transforms)
}

/// What is said of a word that stands for nothing.
fn unknown(word: &str) -> ProposalError {
    if word.to_ascii_lowercase().starts_with("ec2n") {
        return ProposalError::Ec2n(word.to_owned());
    }
    ProposalError::UnknownWord { word: word.to_owned(), nearest: nearest(word, words::all()) }
}

/// RFC 7296 §3.3.2, RFC 9370 §2.2.1.
fn belongs(transform: &Transform, protocol: ProtocolId) -> bool {
    match transform.kind {
        TransformType::ENCR => match protocol {
            ProtocolId::ESP => true,
            ProtocolId::AH => false,
            _ => is_for_ike(transform),
        },
        TransformType::INTEG => true,
        // The IKE SA's first keys alone come of static keys.
        TransformType::KE => protocol == ProtocolId::IKE || static_kem(transform).is_none(),
        kind if kind.is_additional_ke() => static_kem(transform).is_none(),
        TransformType::ESN => matches!(protocol, ProtocolId::ESP | ProtocolId::AH),
        _ => protocol == ProtocolId::IKE,
    }
}

/// IANA's column for IKEv2: messages must not be readable (RFC 7296 §5), they have no sequence
/// number to be an IV (RFC 8750 §3), and nobody has said how Camellia's counter mode would work
/// there.
fn is_for_ike(cipher: &Transform) -> bool {
    let not_for_ike = [
        EncryptionId::NULL,
        EncryptionId::NULL_AUTH_AES_GMAC,
        EncryptionId::CAMELLIA_CTR,
        EncryptionId::AES_GCM_16_IIV,
        EncryptionId::AES_CCM_8_IIV,
        EncryptionId::CHACHA20_POLY1305_IIV,
    ];
    !not_for_ike.contains(&EncryptionId(cipher.id))
}

fn static_kem(transform: &Transform) -> Option<KemSet> {
    KemSet::from_static_id(KeyExchangeId(transform.id))
}

/// Static keys stand alone (docs/dhless.md).
fn check_static_kem(text: &str, transforms: &[Transform]) -> Result<(), ProposalError> {
    let methods = transforms.iter().filter(|transform| {
        transform.kind == TransformType::KE || transform.kind.is_additional_ke()
    });
    let mut methods = methods.map(|transform| (transform.kind, transform.id)).collect::<Vec<_>>();
    methods.dedup();
    let is_static = |id: u16| KemSet::from_static_id(KeyExchangeId(id)).is_some();
    match methods.len() > 1 && methods.iter().any(|(_, id)| is_static(*id)) {
        true => Err(ProposalError::MixedKeyExchanges(text.to_owned())),
        false => Ok(()),
    }
}

fn is_key_exchange(transform: &Transform) -> bool {
    transform.kind == TransformType::KE && transform.id != KE_NONE
}

/// RFC 9370 §2.2.4: additional key exchanges of a child SA follow one in CREATE_CHILD_SA.
fn check_additional(text: &str, transforms: &[Transform]) -> Result<(), ProposalError> {
    let is_additional = |t: &Transform| t.kind.is_additional_ke() && t.id != KE_NONE;
    match transforms.iter().any(is_additional) && !transforms.iter().any(is_key_exchange) {
        true => Err(ProposalError::NoKeyExchange(text.to_owned())),
        false => Ok(()),
    }
}

fn has(transforms: &[Transform], kind: TransformType) -> bool {
    transforms.iter().any(|transform| transform.kind == kind)
}

/// Says whether the ciphers are AEADs; all must be, or none.
fn check_ciphers(text: &str, transforms: &[Transform]) -> Result<bool, ProposalError> {
    let mut ciphers = transforms.iter().filter(|transform| transform.kind == TransformType::ENCR);
    let Some(first) = ciphers.next() else {
        return Err(ProposalError::NoEncryption(text.to_owned()));
    };
    let aead = is_aead(first);
    if ciphers.any(|cipher| is_aead(cipher) != aead) {
        return Err(ProposalError::MixedCiphers(text.to_owned()));
    }
    Ok(aead)
}

fn is_aead(cipher: &Transform) -> bool {
    EncryptionId(cipher.id).is_aead()
}

fn settle_integrity(
    text: &str,
    aead: bool,
    transforms: &mut Vec<Transform>,
) -> Result<(), ProposalError> {
    if aead {
        transforms.retain(|transform| transform.kind != TransformType::INTEG);
        return Ok(());
    }
    if has(transforms, TransformType::INTEG) {
        return Ok(());
    }
    Err(ProposalError::NoIntegrity(text.to_owned()))
}

fn implied_prf(transform: &Transform) -> Option<Transform> {
    if transform.kind != TransformType::INTEG {
        return None;
    }
    words::prf_of_integrity(transform.id)
}

const KE_NONE: u16 = KeyExchangeId::NONE.0;

/// "No Extended Sequence Numbers", RFC 7296 §3.3.2.
const NO_ESN: Transform = Transform { kind: TransformType::ESN, id: 0, key_bits: None };

#[cfg(test)]
mod tests;
