//! X.509 certificates as far as IKE needs them (RFC 5280 §4, RFC 4945 §5).

use std::fmt;
use std::net::IpAddr;
use std::ops::Range;
use std::sync::Arc;

use adit_crypto::SignatureScheme;
use der::Tag;

use crate::read::{Reader, explicit, implicit};
use crate::{AltName, Moment, PkiError, PublicKey, algorithm, name, oid, pem};

/// Longest certificate that is read.
pub const CERTIFICATE_OCTETS_MAX: usize = 16_384;

/// Names in subjectAltName, and extensions of a certificate.
const NAMES_MAX: usize = 128;
const EXTENSIONS_MAX: usize = 64;

/// A certificate, read once. Two are the same if their octets are.
pub struct Certificate {
    der: Box<[u8]>,
    /// Where the part that is signed stands in `der`.
    signed: Range<usize>,
    scheme: Option<SignatureScheme>,
    /// By DSA with SHA-256: no scheme of IKE, and so none of those.
    is_signed_by_dsa: bool,
    signature: Box<[u8]>,
    serial: Box<[u8]>,
    issuer: Box<[u8]>,
    subject: Box<[u8]>,
    validity: (Moment, Moment),
    public_key: PublicKey,
    extensions: Extensions,
}

/// What the extensions say.
#[derive(Debug, Default)]
struct Extensions {
    alt_names: Vec<AltName>,
    is_authority: bool,
    path_length: Option<usize>,
    key_usage: Option<KeyUsage>,
    /// `None` without the extension.
    is_for_ike: Option<bool>,
    subject_key_id: Option<Box<[u8]>>,
    has_unknown_critical: bool,
}

/// The bits of keyUsage that matter (RFC 5280 §4.2.1.3).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct KeyUsage(u8);

impl KeyUsage {
    /// digitalSignature or nonRepudiation (RFC 4945 §5.1.3.2).
    pub(crate) fn signs(self) -> bool {
        self.0 & 0xc0 != 0
    }

    /// keyEncipherment.
    pub(crate) fn enciphers_keys(self) -> bool {
        self.0 & 0x20 != 0
    }

    /// keyCertSign.
    pub(crate) fn signs_certificates(self) -> bool {
        self.0 & 0x04 != 0
    }
}

impl Certificate {
    /// Reads a certificate; `der` is nothing else.
    ///
    /// # Errors
    ///
    /// [`PkiError::Malformed`] with the part that cannot be read; [`PkiError::TooMuch`];
    /// [`PkiError::Key`] if its key is too short or of a kind that is not done here.
    pub fn from_der(der: &[u8]) -> Result<Self, PkiError> {
        if der.len() > CERTIFICATE_OCTETS_MAX {
            return Err(PkiError::TooMuch("octets of a certificate"));
        }
        let mut outer = Reader::new(der, "certificate")?;
        let mut certificate = outer.sequence("certificate")?;
        outer.finish()?;
        let signed = certificate.raw()?;
        let outer_algorithm = certificate.raw()?;
        let signature = certificate.bits()?.into();
        certificate.finish()?;

        let mut tbs = Reader::new(signed, "tbsCertificate")?.sequence("tbsCertificate")?;
        let version = read_version(&mut tbs)?;
        let serial = tbs.take(Tag::Integer)?.into();
        // RFC 5280 §4.1.1.2: both must be the same, and only one of them is signed.
        if tbs.raw()? != outer_algorithm {
            return Err(PkiError::Malformed("signature algorithm"));
        }
        let issuer = read_name(&mut tbs)?;
        let mut times = tbs.sequence("validity")?;
        let from = Moment::read(times.raw()?, "validity")?;
        let until = Moment::read(times.raw()?, "validity")?;
        times.finish()?;
        let subject = read_name(&mut tbs)?;
        let public_key = PublicKey::from_der(tbs.raw()?)?;
        // issuerUniqueID and subjectUniqueID: nobody uses them.
        let _ = tbs.take_if(implicit(1))?;
        let _ = tbs.take_if(implicit(2))?;
        let extensions = match tbs.take_if(explicit(3))? {
            Some(extensions) if version == VERSION_3 => Extensions::read(extensions)?,
            Some(_) => return Err(PkiError::Malformed("version")),
            None => Extensions::default(),
        };
        tbs.finish()?;
        Ok(Self {
            signed: place(der, signed).ok_or(PkiError::Malformed("certificate"))?,
            scheme: algorithm::read_algorithm(outer_algorithm).ok(),
            is_signed_by_dsa: algorithm::is_dsa_sha256(outer_algorithm),
            der: der.into(),
            signature,
            serial,
            issuer,
            subject,
            validity: (from, until),
            public_key,
            extensions,
        })
    }

    /// The certificate as it came.
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// Its key.
    pub fn public_key(&self) -> &PublicKey {
        &self.public_key
    }

    /// Who it is of, as DER.
    pub fn subject(&self) -> &[u8] {
        &self.subject
    }

    /// Who has signed it, as DER.
    pub fn issuer(&self) -> &[u8] {
        &self.issuer
    }

    /// Who it is of, in words; the serial number if it has no name.
    pub fn subject_text(&self) -> String {
        match name::text(&self.subject) {
            Some(text) if !text.is_empty() => text,
            _ => format!("the certificate {}", self.serial_text()),
        }
    }

    /// The serial number as hex digits.
    pub fn serial_text(&self) -> String {
        self.serial.iter().map(|octet| format!("{octet:02x}")).collect()
    }

    /// First and last moment of its validity.
    pub fn validity(&self) -> (Moment, Moment) {
        self.validity
    }

    /// The names in subjectAltName.
    pub fn alt_names(&self) -> &[AltName] {
        &self.extensions.alt_names
    }

    /// Whether it is an authority's.
    pub fn is_authority(&self) -> bool {
        self.extensions.is_authority
    }

    pub(crate) fn path_length(&self) -> Option<usize> {
        self.extensions.path_length
    }

    pub(crate) fn key_usage(&self) -> Option<KeyUsage> {
        self.extensions.key_usage
    }

    pub(crate) fn is_for_ike(&self) -> bool {
        self.extensions.is_for_ike != Some(false)
    }

    pub(crate) fn subject_key_id(&self) -> Option<&[u8]> {
        self.extensions.subject_key_id.as_deref()
    }

    pub(crate) fn has_unknown_critical(&self) -> bool {
        self.extensions.has_unknown_critical
    }

    pub(crate) fn scheme(&self) -> Option<SignatureScheme> {
        self.scheme
    }

    pub(crate) fn is_signed_by_dsa(&self) -> bool {
        self.is_signed_by_dsa
    }

    pub(crate) fn signed(&self) -> &[u8] {
        self.der.get(self.signed.clone()).unwrap_or_default()
    }

    pub(crate) fn signature(&self) -> &[u8] {
        &self.signature
    }
}

/// Reads the certificates of a file: PEM with several, or DER with one.
///
/// # Errors
///
/// As [`Certificate::from_der`], and [`PkiError::Missing`] if there is none.
pub fn read_certificates(octets: &[u8]) -> Result<Vec<Arc<Certificate>>, PkiError> {
    let blocks = pem::blocks(octets)?;
    let is_certificate = |label: &str| {
        matches!(label, "" | "CERTIFICATE" | "X509 CERTIFICATE" | "TRUSTED CERTIFICATE")
    };
    let read = |block: &pem::Block| Certificate::from_der(block.octets.as_bytes()).map(Arc::new);
    let certificates: Vec<_> = blocks
        .iter()
        .filter(|block| is_certificate(&block.label))
        .map(read)
        .collect::<Result<_, _>>()?;
    if certificates.is_empty() { Err(PkiError::Missing("certificate")) } else { Ok(certificates) }
}

impl Extensions {
    fn read(octets: &[u8]) -> Result<Self, PkiError> {
        let mut outer = Reader::new(octets, "extensions")?;
        let mut list = outer.sequence("extensions")?;
        outer.finish()?;
        let mut extensions = Self::default();
        let mut seen: Vec<&[u8]> = Vec::new();
        while !list.is_empty() {
            let mut extension = list.sequence("extension")?;
            let kind = extension.take(Tag::ObjectIdentifier)?;
            let critical = match extension.take_if(Tag::Boolean)? {
                Some([0xff]) => true,
                Some([0]) | None => false,
                Some(_) => return Err(extension.error()),
            };
            let value = extension.take(Tag::OctetString)?;
            extension.finish()?;
            // RFC 5280 §4.2: one of each kind.
            if seen.contains(&kind) {
                return Err(PkiError::Malformed("extensions"));
            }
            if seen.len() >= EXTENSIONS_MAX {
                return Err(PkiError::TooMuch("extensions of a certificate"));
            }
            seen.push(kind);
            if !extensions.take(kind, value)? && critical {
                extensions.has_unknown_critical = true;
            }
        }
        Ok(extensions)
    }

    /// Takes one extension; false if nothing here knows it.
    fn take(&mut self, kind: &[u8], value: &[u8]) -> Result<bool, PkiError> {
        match kind {
            oid::SUBJECT_ALT_NAME => self.alt_names = read_alt_names(value)?,
            oid::BASIC_CONSTRAINTS => self.read_basic_constraints(value)?,
            oid::KEY_USAGE => self.key_usage = Some(read_key_usage(value)?),
            oid::EXT_KEY_USAGE => self.is_for_ike = Some(read_ext_key_usage(value)?),
            oid::SUBJECT_KEY_ID => {
                let mut r = Reader::new(value, "subjectKeyIdentifier")?;
                self.subject_key_id = Some(r.take(Tag::OctetString)?.into());
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn read_basic_constraints(&mut self, value: &[u8]) -> Result<(), PkiError> {
        let mut outer = Reader::new(value, "basicConstraints")?;
        let mut r = outer.sequence("basicConstraints")?;
        outer.finish()?;
        self.is_authority = match r.take_if(Tag::Boolean)? {
            Some([0xff]) => true,
            Some([0]) | None => false,
            Some(_) => return Err(r.error()),
        };
        self.path_length = match r.take_if(Tag::Integer)? {
            Some([length @ 0..128]) => Some((*length).into()),
            // More than any path has.
            Some([first, _, ..]) if first & 0x80 == 0 => None,
            None => None,
            Some(_) => return Err(r.error()),
        };
        r.finish()
    }
}

fn read_version(tbs: &mut Reader<'_>) -> Result<u8, PkiError> {
    match tbs.take_if(explicit(0))? {
        // Version 1 is the default, which DER leaves out.
        None => Ok(0),
        Some([2, 1, version @ 1..=VERSION_3]) => Ok(*version),
        Some(_) => Err(PkiError::Malformed("version")),
    }
}

fn read_name(tbs: &mut Reader<'_>) -> Result<Box<[u8]>, PkiError> {
    let name = tbs.raw()?;
    match name::text(name) {
        Some(_) => Ok(name.into()),
        None => Err(PkiError::Malformed("distinguished name")),
    }
}

fn read_alt_names(value: &[u8]) -> Result<Vec<AltName>, PkiError> {
    const PART: &str = "subjectAltName";
    let mut outer = Reader::new(value, PART)?;
    let mut list = outer.sequence(PART)?;
    outer.finish()?;
    let mut names = Vec::new();
    while !list.is_empty() {
        if names.len() >= NAMES_MAX {
            return Err(PkiError::TooMuch("names of a certificate"));
        }
        let element = list.any()?;
        let text = |octets: &[u8]| match std::str::from_utf8(octets) {
            Ok(text) if text.is_ascii() && !text.contains(char::is_control) => Ok(text.to_owned()),
            _ => Err(PkiError::Malformed(PART)),
        };
        if element.tag == implicit(1) {
            names.push(AltName::Email(text(element.value)?));
        } else if element.tag == implicit(2) {
            names.push(AltName::Dns(text(element.value)?));
        } else if element.tag == explicit(4) {
            names.push(AltName::Directory(element.value.into()));
        } else if element.tag == implicit(7) {
            let v4 = <[u8; 4]>::try_from(element.value).map(IpAddr::from);
            let address = v4.or_else(|_| <[u8; 16]>::try_from(element.value).map(IpAddr::from));
            names.push(AltName::Ip(address.map_err(|_| PkiError::Malformed(PART))?));
        }
        // otherName, URI and the rest name nobody in IKE (RFC 4945 §5.1.3.6).
    }
    Ok(names)
}

fn read_key_usage(value: &[u8]) -> Result<KeyUsage, PkiError> {
    let mut r = Reader::new(value, "keyUsage")?;
    let bits = r.take(Tag::BitString)?;
    r.finish()?;
    match bits {
        [0..8, first, ..] => Ok(KeyUsage(*first)),
        [0] => Ok(KeyUsage(0)),
        _ => Err(PkiError::Malformed("keyUsage")),
    }
}

/// Whether the extension lets the key be used for IKE: RFC 4945 §5.1.3.12, and the purposes of TLS,
/// which public authorities give to gateways.
fn read_ext_key_usage(value: &[u8]) -> Result<bool, PkiError> {
    const PURPOSES: [&[u8]; 5] = [
        oid::ANY_EXT_KEY_USAGE,
        oid::IPSEC_IKE,
        oid::IKE_INTERMEDIATE,
        oid::SERVER_AUTH,
        oid::CLIENT_AUTH,
    ];
    let mut outer = Reader::new(value, "extKeyUsage")?;
    let mut list = outer.sequence("extKeyUsage")?;
    outer.finish()?;
    let mut is_for_ike = false;
    while !list.is_empty() {
        is_for_ike |= PURPOSES.contains(&list.take(Tag::ObjectIdentifier)?);
    }
    Ok(is_for_ike)
}

/// Where `part` stands in `whole`, of which it is a part.
fn place(whole: &[u8], part: &[u8]) -> Option<Range<usize>> {
    let header =
        whole.len().checked_sub(Reader::new(whole, "certificate").ok()?.any().ok()?.value.len())?;
    let end = header.checked_add(part.len())?;
    (whole.get(header..end)? == part).then_some(header..end)
}

const VERSION_3: u8 = 2;

impl PartialEq for Certificate {
    fn eq(&self, other: &Self) -> bool {
        self.der == other.der
    }
}

impl Eq for Certificate {}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Certificate({})", self.subject_text())
    }
}

#[cfg(test)]
mod tests;
