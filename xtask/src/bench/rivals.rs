//! The rivals: where they come from, and which version of each runs.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context as _;

use super::debian::{self, Suite};
use super::subject::Subject;
use crate::interop::lab::output;
use crate::{needs, root};

/// Versions from crates.io, named so that two runs compare the same programs.
const BORINGTUN: Crate =
    Crate { name: "boringtun-cli", program: "boringtun-cli", version: "0.7.1" };
const GOTATUN: Crate = Crate { name: "gotatun-cli", program: "gotatun", version: "0.10.2" };

/// A program from crates.io.
struct Crate {
    name: &'static str,
    program: &'static str,
    version: &'static str,
}

/// A rival that is ready to run.
#[derive(Clone, Debug)]
pub(crate) struct Rival {
    /// Its program.
    pub(crate) program: PathBuf,
    /// Its version and where that is from.
    pub(crate) version: String,
}

/// Makes `subject` ready, and says what it is; what is not there is fetched.
///
/// # Errors
///
/// It cannot be had on this host.
pub(crate) fn prepare(subject: Subject) -> anyhow::Result<Rival> {
    match subject {
        Subject::WireguardGo => wireguard_go(),
        Subject::Boringtun => from_crates_io(&BORINGTUN),
        Subject::Gotatun => from_crates_io(&GOTATUN),
        Subject::Libipsec => strongswan(),
        Subject::Veth
        | Subject::Plain
        | Subject::AditAes
        | Subject::AditChacha
        | Subject::AditEsp => {
            anyhow::bail!("{} is no rival", subject.name())
        }
    }
}

/// `wg`, which gives the WireGuards their keys and peers.
///
/// # Errors
///
/// It is neither installed nor to be had.
pub(crate) fn wg() -> anyhow::Result<PathBuf> {
    match needs::find("wg") {
        Some(program) => Ok(program),
        None => {
            Ok(debian::unpack(Suite::Host, "wireguard-tools", "usr/bin/wg", &folder())?.program)
        }
    }
}

/// Where rivals lie.
fn folder() -> PathBuf {
    root::target().join("bench")
}

/// Debian's newest, or else the one of this host's Debian.
fn wireguard_go() -> anyhow::Result<Rival> {
    let (package, program) = ("wireguard-go", "usr/bin/wireguard-go");
    let newest = debian::unpack(Suite::Sid, package, program, &folder().join("sid"));
    let (found, suite) = match newest {
        Ok(found) => (found, "Debian sid"),
        Err(error) => {
            eprintln!("  no wireguard-go from Debian sid: {error:#}");
            (debian::unpack(Suite::Host, package, program, &folder())?, "this host's Debian")
        }
    };
    Ok(Rival { program: found.program, version: format!("{} ({suite})", found.version) })
}

fn from_crates_io(wanted: &Crate) -> anyhow::Result<Rival> {
    let folder = folder().join(wanted.name);
    let program = folder.join("bin").join(wanted.program);
    if !has_version(&folder, wanted) {
        eprintln!("  building {} {}", wanted.name, wanted.version);
        let mut cargo = root::cargo();
        cargo.args(["install", "--quiet", "--locked", "--force", "--root"]).arg(&folder);
        cargo.args(["--version", wanted.version, wanted.name]);
        cargo.arg("--target-dir").arg(folder.join("build"));
        let status = cargo.status().context("cannot start cargo")?;
        anyhow::ensure!(status.success(), "cargo install {} failed", wanted.name);
    }
    Ok(Rival { program, version: format!("{} (crates.io)", wanted.version) })
}

/// Cargo keeps a list of what it has installed.
fn has_version(folder: &Path, wanted: &Crate) -> bool {
    let list = std::fs::read_to_string(folder.join(".crates.toml")).unwrap_or_default();
    list.contains(&format!("\"{} {} ", wanted.name, wanted.version))
}

/// strongSwan looks for its plugins where its package puts them, so it has to be installed.
fn strongswan() -> anyhow::Result<Rival> {
    let version = match strongswan_version() {
        Ok(version) => version,
        Err(_) => {
            debian::install(&STRONGSWAN)?;
            strongswan_version()?
        }
    };
    let program = needs::find("charon-systemd").context("charon-systemd is missing")?;
    Ok(Rival { program, version: format!("{version} (this host's Debian)") })
}

/// The daemon, its command line, kernel-libipsec, and X25519.
const STRONGSWAN: [&str; 4] = [
    "charon-systemd",
    "strongswan-swanctl",
    "libcharon-extra-plugins",
    "libstrongswan-extra-plugins",
];

/// The one version of all of its packages.
fn strongswan_version() -> anyhow::Result<String> {
    let mut query = Command::new("dpkg-query");
    query.args(["-W", "-f", "${db:Status-Status} ${Version}\n"]).args(STRONGSWAN);
    let text = output(&mut query)?;
    let versions: Option<Vec<&str>> =
        text.lines().map(|line| line.strip_prefix("installed ")).collect();
    let versions = versions.with_context(|| format!("not all are installed: {}", text.trim()))?;
    versions.first().map(|version| (*version).to_owned()).context("no package was found")
}
