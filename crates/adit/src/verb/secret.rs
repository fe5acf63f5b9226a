//! `adit secret`: making pre-shared keys.

use std::io::{self, Write as _};
use std::path::Path;

use adit_mgmt::secret::{SECRET_OCTETS, new_secret_text};
use adit_sys::file::create_private;

use crate::args::{Secret, SecretVerb};
use crate::error::Error;
use crate::screen::Screen;

/// `adit secret`.
pub(crate) fn run(args: &Secret, screen: &mut Screen) -> Result<(), Error> {
    match &args.verb {
        SecretVerb::New { file } => new(file.as_deref(), screen),
    }
}

fn new(file: Option<&Path>, screen: &mut Screen) -> Result<(), Error> {
    let random = adit_sys::entropy::array::<SECRET_OCTETS>().map_err(Error::io("random octets"))?;
    let text = new_secret_text(&random);
    let Some(file) = file else {
        return screen.line(&text);
    };
    write_new(file, &text)?;
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
