//! Programs out of Debian's packages: downloaded by `apt-get`, which checks the signatures, and
//! unpacked into a folder of ours; or installed, where a program finds its parts only so.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context as _;

use crate::interop::lab::output;
use crate::needs;

/// Where a package comes from.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Suite {
    /// What this host installs from.
    Host,
    /// Debian's newest, with package lists of its own, so that the host's stay as they are.
    Sid,
}

/// Debian's keys, which the host has if it is a Debian.
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// A program out of a package.
#[derive(Clone, Debug)]
pub(crate) struct Unpacked {
    /// The program.
    pub(crate) program: PathBuf,
    /// The package's version.
    pub(crate) version: String,
}

/// `program` out of `package`, unpacked below `folder`; it is fetched if it is not there.
///
/// # Errors
///
/// This host is no Debian, its servers cannot be reached, or the package has no such program.
pub(crate) fn unpack(
    suite: Suite,
    package: &str,
    program: &str,
    folder: &Path,
) -> anyhow::Result<Unpacked> {
    let folder = folder.join(package);
    let files = folder.join("files");
    if !files.join(program).is_file() {
        eprintln!("  fetching {package} from Debian");
        fetch(suite, package, &folder)?;
        let archive = archive(&folder)?;
        output(Command::new("dpkg-deb").arg("-x").arg(archive).arg(&files))?;
    }
    let version = output(Command::new("dpkg-deb").arg("-f").arg(archive(&folder)?).arg("Version"))?;
    let program = files.join(program);
    anyhow::ensure!(program.is_file(), "{package} has no {}", program.display());
    Ok(Unpacked { program, version: version.trim().to_owned() })
}

/// Installs packages on this host, and starts no daemon of theirs.
///
/// # Errors
///
/// This host is no Debian, we are not root, or `apt-get` fails.
pub(crate) fn install(packages: &[&str]) -> anyhow::Result<()> {
    anyhow::ensure!(needs::find("apt-get").is_some(), "this host has no apt-get");
    anyhow::ensure!(needs::is_root(), "only root may install {}", packages.join(" "));
    eprintln!("  installing {}", packages.join(" "));
    output(apt(&[]).arg("update"))?;
    let _quiet = NoDaemons::new(Path::new(POLICY))?;
    let mut install = apt(&[]);
    install.args(["install", "--yes", "--no-install-recommends", "-o", "DPkg::Lock::Timeout=300"]);
    output(install.args(packages).env("DEBIAN_FRONTEND", "noninteractive")).map(drop)
}

/// The program that Debian's packages ask before they start a daemon.
const POLICY: &str = "/usr/sbin/policy-rc.d";

/// For as long as it lives, that program says no; afterwards what was there is there again.
struct NoDaemons {
    policy: PathBuf,
    aside: PathBuf,
}

impl NoDaemons {
    fn new(policy: &Path) -> anyhow::Result<Self> {
        let aside = policy.with_extension("before-adit");
        if policy.exists() {
            fs::rename(policy, &aside)?;
        }
        let quiet = Self { policy: policy.to_owned(), aside };
        fs::write(policy, "#!/bin/sh\nexit 101\n")?;
        fs::set_permissions(policy, fs::Permissions::from_mode(0o755))?;
        Ok(quiet)
    }
}

impl Drop for NoDaemons {
    fn drop(&mut self) {
        let restored = if self.aside.exists() {
            fs::rename(&self.aside, &self.policy)
        } else {
            fs::remove_file(&self.policy)
        };
        if let Err(error) = restored {
            eprintln!("xtask: look at {}: {error}", self.policy.display());
        }
    }
}

/// Downloads the package into `folder`.
fn fetch(suite: Suite, package: &str, folder: &Path) -> anyhow::Result<()> {
    anyhow::ensure!(needs::find("apt-get").is_some(), "this host has no apt-get");
    fs::create_dir_all(folder)?;
    // A download of another version may have been left there.
    for entry in fs::read_dir(folder)?.flatten() {
        if is_archive(&entry.path()) {
            fs::remove_file(entry.path())?;
        }
    }
    let options = match suite {
        Suite::Host => Vec::new(),
        Suite::Sid => lists_of_our_own(folder)?,
    };
    output(apt(&options).arg("update"))?;
    output(apt(&options).args(["download", package]).current_dir(folder)).map(drop)
}

fn apt(options: &[String]) -> Command {
    let mut command = Command::new("apt-get");
    command.args(["-q", "-o", "Acquire::Retries=3", "-o", "APT::Sandbox::User=root"]);
    command.args(options).env("LC_ALL", "C");
    command
}

/// Settings with which apt leaves the host's lists and cache alone.
fn lists_of_our_own(folder: &Path) -> anyhow::Result<Vec<String>> {
    anyhow::ensure!(Path::new(KEYRING).exists(), "{KEYRING} is missing: this is no Debian");
    let apt = folder.join("apt");
    for part in ["lists/partial", "cache/archives/partial"] {
        fs::create_dir_all(apt.join(part))?;
    }
    let sources = apt.join("sources.list");
    let mirror = mirror(&output(
        Command::new("apt-get")
            .args(["indextargets", "--format"])
            .args(["$(REPO_URI)", "Created-By: Packages"]),
    )?)?;
    fs::write(&sources, format!("deb [signed-by={KEYRING}] {mirror} sid main\n"))?;
    let set = |name: &str, value: &Path| ["-o".to_owned(), format!("{name}={}", value.display())];
    let settings = [
        set("Dir::Etc::sourcelist", &sources),
        set("Dir::Etc::sourceparts", Path::new("-")),
        set("Dir::State::lists", &apt.join("lists")),
        set("Dir::Cache", &apt.join("cache")),
        set("Acquire::Languages", Path::new("none")),
    ];
    Ok(settings.concat())
}

/// Where this host has its Debian from, of all that its apt reads: sid is there, too.
fn mirror(targets: &str) -> anyhow::Result<String> {
    let mut mirrors = targets.lines().filter(|uri| !uri.contains("security"));
    let mirror = mirrors.next().context("the apt of this host names no mirror of Debian")?;
    Ok(mirror.to_owned())
}

fn archive(folder: &Path) -> anyhow::Result<PathBuf> {
    let entries = fs::read_dir(folder).with_context(|| format!("no {}", folder.display()))?;
    let mut archives = entries.flatten().map(|entry| entry.path()).filter(|path| is_archive(path));
    archives.next().with_context(|| format!("no package in {}", folder.display()))
}

fn is_archive(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "deb")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sid_comes_from_where_the_host_has_its_packages() {
        let targets = "http://192.0.2.1/security/\nhttp://192.0.2.1/packages/\n";
        assert_eq!(mirror(targets).unwrap(), "http://192.0.2.1/packages/");
        assert!(mirror("").is_err());
    }

    #[test]
    fn what_a_host_had_to_say_about_daemons_comes_back() {
        let folder = std::env::temp_dir().join(format!("adit-policy-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let policy = folder.join("policy-rc.d");
        drop(NoDaemons::new(&policy).unwrap());
        assert!(!policy.exists());
        fs::write(&policy, "theirs").unwrap();
        let quiet = NoDaemons::new(&policy).unwrap();
        assert!(fs::read_to_string(&policy).unwrap().contains("exit 101"));
        drop(quiet);
        assert_eq!(fs::read_to_string(&policy).unwrap(), "theirs");
        fs::remove_dir_all(&folder).unwrap();
    }
}
