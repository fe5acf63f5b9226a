//! Where the demo keeps its files: one directory, which a marker file shows to be the demo's.

use std::path::{Path, PathBuf};

use adit_sys::process::effective_uid;

use crate::error::Error;

/// One of the two sites.
#[derive(Clone, Copy, Debug, Eq, PartialEq, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Site {
    /// Begins every negotiation.
    Oslo,
    /// Waits.
    Berlin,
}

impl Site {
    /// Both.
    pub(crate) const ALL: [Self; 2] = [Self::Oslo, Self::Berlin];

    /// Its name, which is also the name of the other side's tunnel to it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Oslo => "oslo",
            Self::Berlin => "berlin",
        }
    }

    /// The other one.
    pub(crate) fn other(self) -> Self {
        match self {
            Self::Oslo => Self::Berlin,
            Self::Berlin => Self::Oslo,
        }
    }
}

/// The demo's directory.
#[derive(Clone, Debug)]
pub(crate) struct Place(PathBuf);

impl Place {
    /// The directory asked for, or the usual one: /run/adit-demo for root, below $XDG_RUNTIME_DIR
    /// for others.
    pub(crate) fn new(directory: Option<&Path>) -> Self {
        if let Some(directory) = directory {
            return Self(directory.to_owned());
        }
        if effective_uid() == 0 {
            return Self("/run/adit-demo".into());
        }
        match std::env::var_os("XDG_RUNTIME_DIR").filter(|value| !value.is_empty()) {
            Some(runtime) => Self(PathBuf::from(runtime).join("adit-demo")),
            None => Self(std::env::temp_dir().join(format!("adit-demo-{}", effective_uid()))),
        }
    }

    /// The directory.
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// Socket on which the holder takes orders.
    pub(crate) fn orders(&self) -> PathBuf {
        self.0.join("orders")
    }

    /// Control socket of a gateway's daemon.
    pub(crate) fn vici(&self, site: Site) -> PathBuf {
        self.0.join(format!("{}.vici", site.name()))
    }

    /// Log of a gateway's daemon.
    pub(crate) fn log(&self, site: Site) -> PathBuf {
        self.0.join(format!("{}.log", site.name()))
    }

    /// Configuration directory of a gateway.
    pub(crate) fn config(&self, site: Site) -> PathBuf {
        self.0.join(site.name())
    }

    /// Who holds the demo and where its namespaces are.
    pub(crate) fn lab(&self) -> PathBuf {
        self.0.join(MARKER)
    }

    /// Makes the directory, empty. What an earlier demo left is removed; a directory of somebody
    /// else is refused.
    pub(crate) fn prepare(&self) -> Result<(), Error> {
        let what = || self.0.display().to_string();
        self.remove()?;
        std::fs::create_dir_all(&self.0).map_err(Error::io(what()))?;
        std::fs::write(self.lab(), "{}").map_err(Error::io(what()))
    }

    /// Removes the directory with everything in it, if it is the demo's.
    pub(crate) fn remove(&self) -> Result<(), Error> {
        let what = || self.0.display().to_string();
        let mut entries = match std::fs::read_dir(&self.0) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(Error::io(what())(error)),
        };
        if entries.next().is_some() && !self.lab().is_file() {
            return Err(Error::Refused(format!("{} holds files that are not the demo's", what())));
        }
        std::fs::remove_dir_all(&self.0).map_err(Error::io(what()))
    }
}

/// The file that only the demo makes.
const MARKER: &str = "adit-demo.json";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_demos_own_directory_is_removed() {
        let path = std::env::temp_dir().join(format!("adit-place-{}", std::process::id()));
        let place = Place::new(Some(&path));
        place.prepare().unwrap();
        place.prepare().unwrap();
        place.remove().unwrap();
        assert!(!path.exists());
        place.remove().unwrap();

        std::fs::create_dir(&path).unwrap();
        std::fs::write(path.join("precious"), "x").unwrap();
        assert!(place.prepare().is_err());
        assert!(path.join("precious").exists());
        std::fs::remove_dir_all(&path).unwrap();
    }
}
