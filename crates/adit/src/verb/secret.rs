//! `adit secret`: making pre-shared keys, and keys of SAs that are keyed by hand.

use std::io::{self, Write as _};
use std::path::Path;

use adit_crypto::{KemSet, Protection};
use adit_db::{ProposalSpec, counts_nonces};
use adit_mgmt::api::SCHEMA;
use adit_mgmt::secret::{
    KEM_SEED_OCTETS, SECRET_OCTETS, hex_text, kem_key_texts, key_words, new_secret_text,
};
use adit_sys::file::create_private;
use serde::Serialize;

use crate::args::{KemSize, Secret, SecretVerb};
use crate::error::Error;
use crate::screen::Screen;

/// `adit secret`.
pub(crate) fn run(args: &Secret, screen: &mut Screen) -> Result<(), Error> {
    match &args.verb {
        SecretVerb::New { file: Some(file), kem: Some(size), json, .. } => {
            new_kem(*size, file, *json, screen)
        }
        SecretVerb::New { file, sa: None, json, .. } => new(file.as_deref(), *json, screen),
        SecretVerb::New { file, sa: Some(suite), json, .. } => {
            new_key(suite, file.as_deref(), *json, screen)
        }
    }
}

/// Whether the caller is a program that reads JSON.
pub(crate) fn wants_json(args: &Secret) -> bool {
    match args.verb {
        SecretVerb::New { json, .. } => json,
    }
}

/// A new secret for `--json`: itself, or the file that holds it.
#[derive(Serialize)]
struct Made<'a> {
    schema: u32,
    bits: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    secret: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<&'a Path>,
}

fn new(file: Option<&Path>, json: bool, screen: &mut Screen) -> Result<(), Error> {
    let random = adit_sys::entropy::array::<SECRET_OCTETS>().map_err(Error::io("random octets"))?;
    let text = new_secret_text(&random);
    if let Some(file) = file {
        write_new(file, &text)?;
    }
    if json {
        let secret = file.is_none().then_some(text.as_str());
        let bits = SECRET_OCTETS * 8;
        return screen.json(&Made { schema: SCHEMA, bits, secret, file });
    }
    let Some(file) = file else {
        return screen.line(&text);
    };
    screen.line(&format!(
        "{}: 256 random bits, readable by you alone; copy it to the other side as it is",
        file.display()
    ))
}

/// A key for SAs that are keyed by hand, as long as the suite wants it.
fn new_key(suite: &str, file: Option<&Path>, json: bool, screen: &mut Screen) -> Result<(), Error> {
    let protection = read_suite(suite)?;
    let len = protection.encryption_key_len() + protection.integrity_key_len();
    let mut random = vec![0; len];
    adit_sys::entropy::fill(&mut random).map_err(Error::io("random octets"))?;
    let key = adit_crypto::Secret::new(random);
    let text = hex_text(key.as_bytes());
    if let Some(file) = file {
        write_new(file, &text)?;
    }
    if json {
        let secret = file.is_none().then_some(text.as_str());
        return screen.json(&Made { schema: SCHEMA, bits: len * 8, secret, file });
    }
    let Some(file) = file else {
        return screen.line(&text);
    };
    screen.line(&format!(
        "{}: {}; copy it to the other side as it is, for the other direction of its SAs",
        file.display(),
        key_words(protection)
    ))
}

/// A static ML-KEM key for `--json`.
#[derive(Serialize)]
struct MadeKem<'a> {
    schema: u32,
    size: String,
    file: &'a Path,
    public: &'a str,
}

/// A static ML-KEM key. Its public half is what is printed, and nothing else, so that it can go into a
/// file for the peer.
fn new_kem(size: KemSize, file: &Path, json: bool, screen: &mut Screen) -> Result<(), Error> {
    let public = make_kem(size, file)?;
    if json {
        let size = size.set().to_string();
        return screen.json(&MadeKem { schema: SCHEMA, size, file, public: &public });
    }
    screen.line(public.trim_end())
}

impl KemSize {
    fn set(self) -> KemSet {
        match self {
            Self::Mlkem512 => KemSet::MlKem512,
            Self::Mlkem768 => KemSet::MlKem768,
            Self::Mlkem1024 => KemSet::MlKem1024,
        }
    }
}

/// Writes a new private key; its public half comes out.
fn make_kem(size: KemSize, file: &Path) -> Result<String, Error> {
    let random =
        adit_sys::entropy::array::<KEM_SEED_OCTETS>().map_err(Error::io("random octets"))?;
    let (private, public) = kem_key_texts(size.set(), &random);
    let private = std::str::from_utf8(private.as_bytes()).unwrap_or_default();
    write_new(file, private.trim_end())?;
    Ok(public)
}

/// One suite of ESP, or one algorithm of AH.
fn read_suite(text: &str) -> Result<Protection, Error> {
    let spec = ProposalSpec::esp(text).or_else(|error| {
        ProposalSpec::ah(text).map_err(|_| Error::Usage(format!("--sa {text}: {error}")))
    })?;
    let one = spec.single().map(|(protection, _)| protection);
    let protection =
        one.ok_or_else(|| Error::Usage(format!("--sa {text}: name one algorithm of each kind")))?;
    if counts_nonces(protection) {
        return Err(Error::Usage(format!(
            "--sa {text}: such keys must not stay (RFC 8221 §4); aes256-sha256 may"
        )));
    }
    Ok(protection)
}

/// Writes a secret into a file that does not exist yet and that only its owner can read.
pub(crate) fn write_new(file: &Path, secret: &str) -> Result<(), Error> {
    let opened = create_private(file);
    let mut opened = match opened {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            return Err(Error::Refused(format!(
                "{} exists already and is not overwritten: both sides would need the new secret",
                file.display()
            )));
        }
        result => result.map_err(Error::io(file.display().to_string()))?,
    };
    opened
        .write_all(format!("{secret}\n").as_bytes())
        .map_err(Error::io(file.display().to_string()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_suite_is_one_that_bears_keys_that_stay() {
        let words = |text: &str| read_suite(text).map(key_words).map_err(|error| error.to_string());
        let both = "64 octets: 32 of encryption, then 32 of integrity";
        assert_eq!(words("aes256-sha256").unwrap(), both);
        assert_eq!(words("sha512").unwrap(), "64 octets");
        assert_eq!(words("null-sha256").unwrap(), "32 octets");
        assert!(words("aes256gcm16").unwrap_err().contains("must not stay"));
        assert!(words("aes256-sha256-x25519").unwrap_err().contains("one algorithm of each kind"));
        assert!(words("aes257-sha256").unwrap_err().contains("unknown algorithm"));
    }

    /// What is printed is the peer's file and nothing else; the private half is its owner's alone.
    #[test]
    fn a_kem_key_is_written_and_its_public_half_printed() {
        for size in [KemSize::Mlkem512, KemSize::Mlkem768, KemSize::Mlkem1024] {
            let name = format!("adit-kem-{}-{}", std::process::id(), size.set());
            let file = std::env::temp_dir().join(name);
            let public = make_kem(size, &file).unwrap();
            let mode = std::fs::metadata(&file).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
            let text = std::fs::read_to_string(&file).unwrap();
            assert!(text.starts_with("-----BEGIN PRIVATE KEY-----\n"), "{text}");
            assert!(public.starts_with("-----BEGIN PUBLIC KEY-----\n"), "{public}");
            assert!(public.ends_with("-----END PUBLIC KEY-----\n"), "{public}");
            assert!(make_kem(size, &file).unwrap_err().to_string().contains("exists already"));
            std::fs::remove_file(&file).unwrap();
        }
    }

    #[test]
    fn a_secret_is_private_and_never_overwritten() {
        let file = std::env::temp_dir().join(format!("adit-secret-{}", std::process::id()));
        write_new(&file, "first").unwrap();
        let mode = std::fs::metadata(&file).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);

        let error = write_new(&file, "second").unwrap_err();

        assert!(error.to_string().contains("exists already"), "{error}");
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "first\n");
        std::fs::remove_file(&file).unwrap();
    }
}
