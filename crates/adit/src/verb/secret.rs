//! `adit secret`: making pre-shared keys.

use std::io::{self, Write as _};
use std::path::Path;

use adit_mgmt::api::SCHEMA;
use adit_mgmt::secret::{SECRET_OCTETS, new_secret_text};
use adit_sys::file::create_private;
use serde::Serialize;

use crate::args::{Secret, SecretVerb};
use crate::error::Error;
use crate::screen::Screen;

/// `adit secret`.
pub(crate) fn run(args: &Secret, screen: &mut Screen) -> Result<(), Error> {
    match &args.verb {
        SecretVerb::New { file, json } => new(file.as_deref(), *json, screen),
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
