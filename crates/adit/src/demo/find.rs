//! Finds the daemon's program, building it if this is a run through cargo.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::error::Error;

/// The program `aditd`: beside this one, or in PATH. Under `cargo run` and `cargo test` it is built
/// first, so that both programs are of the same age.
pub(crate) fn aditd() -> Result<PathBuf, Error> {
    let beside = beside()?;
    // Cargo's mark shows that this program was built and not installed.
    let built = beside.with_file_name(".cargo-lock").is_file();
    if let (true, Some(cargo), Some(package)) =
        (built, std::env::var_os("CARGO"), std::env::var_os("CARGO_MANIFEST_DIR"))
    {
        build(Path::new(&cargo), Path::new(&package), &beside)?;
    }
    if beside.is_file() {
        return Ok(beside);
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|directory| directory.join(NAME));
    found.into_iter().find(|program| program.is_file()).ok_or_else(|| {
        Error::Refused(format!(
            "there is no {} and no {NAME} in PATH; the demo needs the daemon beside this program: \
             `cargo install --path crates/{NAME}` puts it there",
            beside.display()
        ))
    })
}

/// What to type for this program: `adit` where it was installed; through cargo, its path.
pub(crate) fn own_name() -> String {
    let built = std::env::var_os("CARGO").and_then(|_| {
        let own = std::env::current_exe().ok()?;
        let here = std::env::current_dir().ok()?;
        let path = own.strip_prefix(&here).unwrap_or(&own);
        Some(path.display().to_string())
    });
    built.unwrap_or_else(|| "adit".to_owned())
}

fn beside() -> Result<PathBuf, Error> {
    let own = std::env::current_exe().map_err(Error::io("own program"))?;
    Ok(own.with_file_name(NAME))
}

/// Runs `cargo build -p aditd` with the profile of the running program; cargo's own progress is
/// shown if there is much to do.
fn build(cargo: &Path, package: &Path, program: &Path) -> Result<(), Error> {
    let mut command = Command::new(cargo);
    command.args(["build", "--package", NAME, "--manifest-path"]);
    command.arg(package.join("Cargo.toml")).stdin(Stdio::null());
    if program.is_file() {
        command.arg("--quiet");
    } else {
        eprintln!("building the daemon first: once, a few minutes");
    }
    let directory = program.parent().and_then(Path::file_name);
    match directory.and_then(|name| name.to_str()) {
        Some("debug") | None => {}
        Some("release") => drop(command.arg("--release")),
        Some(profile) => drop(command.args(["--profile", profile])),
    }
    // Standard output may carry JSON.
    command.stdout(Stdio::null());
    let status = command.status().map_err(Error::io("cargo"))?;
    if status.success() {
        return Ok(());
    }
    Err(Error::Refused(format!("cargo could not build {NAME} ({status})")))
}

const NAME: &str = "aditd";
