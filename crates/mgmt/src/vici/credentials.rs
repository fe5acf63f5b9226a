//! Certificates and private keys through the socket: `load-cert`, `load-key`, `unload-key`, `get-keys`,
//! `list-certs` as swanctl sends and shows them.

use std::sync::Arc;

use adit_pki::{Certificate, KeyId, PrivateKey, PublicKey, read_certificates};

use super::message::Message;
use super::request::RequestError;
use super::{Value, answer::Outcome};

/// What `load-cert` brings.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Loaded {
    /// A certificate, trusted to sign others or not.
    Certificate {
        /// The certificate.
        certificate: Arc<Certificate>,
        /// Whether it was loaded as an authority's.
        is_authority: bool,
    },
    /// A raw public key.
    PublicKey(Arc<PublicKey>),
}

/// Arguments of `list-certs`.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct CertFilter {
    /// Only this type: `X509`, `PUBKEY`; `None` is any.
    pub kind: Option<String>,
    /// Only with this flag: `NONE`, `CA`; `None` is any.
    pub flag: Option<String>,
    /// Only this subject.
    pub subject: Option<String>,
}

/// A certificate or key as `list-cert` shows it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct CertSnapshot {
    /// Itself.
    pub loaded: Loaded,
    /// Whether there is a private key for it.
    pub has_private_key: bool,
}

impl Loaded {
    /// The type's word.
    fn kind(&self) -> &'static str {
        match self {
            Self::Certificate { .. } => "X509",
            Self::PublicKey(_) => "PUBKEY",
        }
    }

    fn flag(&self) -> &'static str {
        match self {
            Self::Certificate { is_authority: true, .. } => "CA",
            Self::Certificate { .. } | Self::PublicKey(_) => "NONE",
        }
    }

    /// Its public key.
    pub fn public_key(&self) -> &PublicKey {
        match self {
            Self::Certificate { certificate, .. } => certificate.public_key(),
            Self::PublicKey(key) => key,
        }
    }
}

impl CertFilter {
    /// Whether this one is wanted.
    pub fn wants(&self, loaded: &Loaded) -> bool {
        let any = |wanted: &Option<String>, word: &str| {
            wanted.as_ref().is_none_or(|wanted| {
                wanted.eq_ignore_ascii_case("any") || wanted.eq_ignore_ascii_case(word)
            })
        };
        let subject = match loaded {
            Loaded::Certificate { certificate, .. } => certificate.subject_text(),
            Loaded::PublicKey(_) => String::new(),
        };
        any(&self.kind, loaded.kind())
            && any(&self.flag, loaded.flag())
            && self.subject.as_ref().is_none_or(|wanted| *wanted == subject)
    }

    /// As VICI; the inverse of [`list_certs`].
    pub(super) fn message(&self, message: &mut Message) {
        message.put_some("type", self.kind.as_ref());
        message.put_some("flag", self.flag.as_ref());
        message.put_some("subject", self.subject.as_ref());
    }
}

impl CertSnapshot {
    /// Its fields.
    pub fn message(&self) -> Message {
        let der = match &self.loaded {
            Loaded::Certificate { certificate, .. } => certificate.der(),
            Loaded::PublicKey(key) => key.der(),
        };
        let mut message =
            Message::new().with("type", self.loaded.kind()).with("flag", self.loaded.flag());
        message.put_if("has_privkey", self.has_private_key);
        message.put_value("data", Value::Text(der.to_vec()));
        message
    }
}

/// Understands `load-cert`.
pub(super) fn load_cert(message: &Message) -> Result<Loaded, RequestError> {
    let kind = message.text("type").unwrap_or_default();
    let flag = message.text("flag").unwrap_or("NONE");
    let data = message.octets("data").ok_or_else(|| invalid("missing data"))?;
    match kind.to_ascii_uppercase().as_str() {
        "X509" => {
            let mut read = read_certificates(data).map_err(|error| invalid(error.to_string()))?;
            let (Some(certificate), true) = (read.pop(), read.is_empty()) else {
                return Err(invalid("one certificate at a time"));
            };
            let is_authority = match flag.to_ascii_uppercase().as_str() {
                "CA" if certificate.is_authority() => true,
                "CA" => return Err(invalid("the certificate is no authority's")),
                "NONE" => false,
                other => {
                    return Err(invalid(format!(
                        "certificates with flag {other} are not supported"
                    )));
                }
            };
            Ok(Loaded::Certificate { certificate, is_authority })
        }
        "PUBKEY" => {
            let key = PublicKey::from_file(data).map_err(|error| invalid(error.to_string()))?;
            Ok(Loaded::PublicKey(Arc::new(key)))
        }
        other => Err(invalid(format!("certificates of type {other} are not supported"))),
    }
}

/// The arguments of `load-cert`; the inverse of [`load_cert`].
pub(super) fn put_loaded(message: &mut Message, loaded: &Loaded) {
    let der = match loaded {
        Loaded::Certificate { certificate, .. } => certificate.der(),
        Loaded::PublicKey(key) => key.der(),
    };
    message.put("type", loaded.kind());
    message.put("flag", loaded.flag());
    message.put_value("data", Value::Text(der.to_vec()));
}

/// Understands `load-key`. The type that is announced is a hint: the key says what it is.
pub(super) fn load_key(message: &Message) -> Result<PrivateKey, RequestError> {
    let data = message.octets("data").ok_or_else(|| invalid("missing data"))?;
    PrivateKey::from_file(data).map_err(|error| invalid(error.to_string()))
}

/// The answer to `load-key`: the name to unload it by.
pub fn key_loaded(fingerprint: KeyId) -> Message {
    Outcome::ok().message().with("id", fingerprint)
}

/// Understands `unload-key`.
pub(super) fn unload_key(message: &Message) -> Result<KeyId, RequestError> {
    let text = message.text("id").ok_or_else(|| invalid("missing id"))?;
    let octets = crate::secret::hex_octets(text.as_bytes());
    let id = octets.and_then(|octets| <[u8; 20]>::try_from(octets.as_bytes()).ok());
    id.map(KeyId).ok_or_else(|| invalid(format!("id = {text:?} is no key's")))
}

/// Understands `list-certs`.
pub(super) fn list_certs(message: &Message) -> CertFilter {
    let text = |name| message.text(name).filter(|text| !text.is_empty()).map(str::to_owned);
    CertFilter { kind: text("type"), flag: text("flag"), subject: text("subject") }
}

fn invalid(reason: impl Into<String>) -> RequestError {
    RequestError::Invalid(reason.into())
}
