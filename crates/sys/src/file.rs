//! Files that only their owner may read.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

/// Replaces a file in one step with one of mode 0600: readers see the old content or the new.
///
/// # Errors
///
/// What creating, writing or renaming answers; then the old file stands unchanged.
pub fn write_private(path: &Path, octets: &[u8]) -> io::Result<()> {
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    let mut hidden = std::ffi::OsString::from(".");
    hidden.push(name);
    hidden.push(format!(".{}", std::process::id()));
    let temporary = path.with_file_name(hidden);
    // A leftover of a killed process with our number is in nobody's use.
    let _ = fs::remove_file(&temporary);
    let result = create_private(&temporary)
        .and_then(|mut file| {
            file.write_all(octets)?;
            file.sync_all()
        })
        .and_then(|()| fs::rename(&temporary, path));
    if result.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    result
}

/// Makes a new file of mode 0600; one that exists, or a link in its place, is an error.
///
/// # Errors
///
/// `AlreadyExists` and what else creating answers.
pub fn create_private(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
}

/// Who may use a file: its permission bits and its owner.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Permissions {
    /// The lower nine bits, `rwxrwxrwx`.
    pub mode: u32,
    /// User id of the owner.
    pub owner: u32,
}

impl Permissions {
    /// Of an open file, so that no other file can take its place after the check.
    ///
    /// # Errors
    ///
    /// What `fstat` answers.
    pub fn of(file: &File) -> io::Result<Self> {
        let metadata = file.metadata()?;
        Ok(Self {
            mode: metadata.mode() & 0o777,
            owner: metadata.uid(),
        })
    }

    /// Whether group or others may read or write it (E511 for a secret).
    #[must_use]
    pub fn open_to_others(self) -> bool {
        self.mode & 0o077 != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn private_files_are_replaced_whole_and_stay_private() {
        let path = std::env::temp_dir().join(format!("adit-file-{}", std::process::id()));
        fs::write(&path, "old and open").unwrap();

        write_private(&path, b"new").unwrap();

        assert_eq!(fs::read(&path).unwrap(), b"new");
        let permissions = Permissions::of(&File::open(&path).unwrap()).unwrap();
        assert_eq!(permissions.mode, 0o600);
        assert!(!permissions.open_to_others());
        assert!(create_private(&path).is_err());
        fs::remove_file(&path).unwrap();
        assert!(write_private(Path::new("/proc/no/such"), b"").is_err());
    }
}
