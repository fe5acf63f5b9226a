//! The root of the workspace, and cargo as it was called.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The folder that holds the workspace's manifest.
pub(crate) fn folder() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies in the workspace")
}

/// `relative` below the root.
pub(crate) fn path(relative: &str) -> PathBuf {
    folder().join(relative)
}

/// The cargo that runs us, in the root, without what `cargo run` told us about our own package:
/// build scripts that watch these variables would run again.
pub(crate) fn cargo() -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(folder());
    for (name, _) in env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
            command.env_remove(&name);
        }
    }
    command
}

/// Where cargo puts what it builds.
pub(crate) fn target() -> PathBuf {
    env::var_os("CARGO_TARGET_DIR").map_or_else(|| path("target"), |folder| folder.into())
}
