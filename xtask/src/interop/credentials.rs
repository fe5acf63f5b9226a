//! Certificates and keys for both gateways: an authority of its own for each scenario.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    SignatureAlgorithm,
};

use super::lab::Side;

/// How the gateways prove themselves.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Login {
    /// By the secret that both know.
    Secret,
    /// By certificates of one authority for keys of this kind.
    Certificates(Kind),
    /// By raw public keys that both were given.
    RawKeys(Kind),
    /// By certificates for RSA keys, and PSS alone is allowed.
    Pss,
}

/// Kinds of keys.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Kind {
    /// RSA with 2048 bits.
    Rsa,
    /// ECDSA on P-256.
    P256,
    /// ECDSA on P-384.
    P384,
    /// Ed25519.
    Ed25519,
}

impl Login {
    /// The kind of keys, if there are some.
    pub(crate) fn kind(self) -> Option<Kind> {
        match self {
            Self::Secret => None,
            Self::Certificates(kind) | Self::RawKeys(kind) => Some(kind),
            Self::Pss => Some(Kind::Rsa),
        }
    }
}

impl Kind {
    fn algorithm(self) -> &'static SignatureAlgorithm {
        match self {
            Self::Rsa => &rcgen::PKCS_RSA_SHA256,
            Self::P256 => &rcgen::PKCS_ECDSA_P256_SHA256,
            Self::P384 => &rcgen::PKCS_ECDSA_P384_SHA384,
            Self::Ed25519 => &rcgen::PKCS_ED25519,
        }
    }
}

/// A file of a side: `ca.pem`, `own.pem`, `own.key`, `own.pub`, `peer.pub`.
pub(crate) fn file(side: &Side, name: &str) -> PathBuf {
    side.folder.join("pki").join(name)
}

/// Makes the files of both sides.
pub(crate) fn write(sides: [&Side; 2], kind: Kind) -> anyhow::Result<()> {
    let authority_key = KeyPair::generate_for(kind.algorithm())?;
    let mut params = named("lab authority", Vec::new())?;
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let authority = params.self_signed(&authority_key)?.pem();
    let issuer = Issuer::new(params, authority_key);
    let keys = [KeyPair::generate_for(kind.algorithm())?, KeyPair::generate_for(kind.algorithm())?];
    for (number, side) in sides.into_iter().enumerate() {
        let [first, second] = &keys;
        let (own, peer) = if number == 0 { (first, second) } else { (second, first) };
        let name = side.identity();
        let certificate = named(&name, vec![name.clone()])?.signed_by(own, &issuer)?.pem();
        for (name, text) in [
            ("ca.pem", authority.clone()),
            ("own.pem", certificate),
            ("own.key", own.serialize_pem()),
            ("own.pub", own.public_key_pem()),
            ("peer.pub", peer.public_key_pem()),
        ] {
            write_file(&file(side, name), &text)?;
        }
    }
    Ok(())
}

fn named(name: &str, alt_names: Vec<String>) -> anyhow::Result<CertificateParams> {
    let mut params = CertificateParams::new(alt_names)?;
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CountryName, "CH");
    params.distinguished_name.push(DnType::CommonName, name);
    Ok(params)
}

/// A file that its owner alone can read, and its folder.
pub(crate) fn write_file(path: &Path, text: &str) -> anyhow::Result<()> {
    let folder = path.parent().context("a file without a folder")?;
    fs::create_dir_all(folder)?;
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
    Ok(())
}
