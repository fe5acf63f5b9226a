//! Files that only their owner may read.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

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
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}

/// The text files of a directory whose names end in `.extension`, in order of their names; those
/// that begin with a dot are left out.
///
/// # Errors
///
/// What reading the directory or one of the files answers; a file that is not UTF-8 is
/// `InvalidData`.
pub fn read_texts(directory: &Path, extension: &str) -> io::Result<Vec<(PathBuf, String)>> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        let hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        if !hidden && path.extension().is_some_and(|found| found == extension) {
            paths.push(path);
        }
    }
    paths.sort();
    let read = |path: PathBuf| {
        let text = fs::read_to_string(&path).map_err(|error| {
            io::Error::new(error.kind(), format!("{}: {error}", path.display()))
        })?;
        Ok((path, text))
    };
    paths.into_iter().map(read).collect()
}

/// A file's contents with its permission bits, taken from the same open file.
///
/// # Errors
///
/// What opening and reading answer; `FileTooLarge` beyond [`SMALL_OCTETS_MAX`].
pub fn read_with_mode(path: &Path) -> io::Result<(Vec<u8>, u32)> {
    let file = File::open(path)?;
    let permissions = Permissions::of(&file)?;
    let mut octets = Vec::new();
    file.take(SMALL_OCTETS_MAX + 1).read_to_end(&mut octets)?;
    if octets.len() as u64 > SMALL_OCTETS_MAX {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    Ok((octets, permissions.mode))
}

/// Largest file that [`read_with_mode`] reads.
pub const SMALL_OCTETS_MAX: u64 = 64 * 1024;

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
        Ok(Self { mode: metadata.mode() & 0o777, owner: metadata.uid() })
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
