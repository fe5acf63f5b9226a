//! A package of the distribution over a guest's root, without installing it: peers that cannot stand
//! beside each other on one machine, and what they need.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context as _;

use super::guest::Guest;
use crate::interop::lab::output;
use crate::root;

/// Where a guest sees its root with the package over it.
pub(crate) const ROOT: &str = "/run/root";

/// A package and what it depends on, unpacked.
pub(crate) struct Layer(PathBuf);

impl Layer {
    /// Fetches and unpacks a package, once; what is installed on this machine is not fetched.
    pub(crate) fn unpack(package: &str) -> anyhow::Result<Self> {
        let folder = root::target().join("peers").join(package);
        if folder.is_dir() {
            return Ok(Self(folder));
        }
        let work = root::target().join("peers").join(format!(".{package}.{}", std::process::id()));
        let result = fetch(package, &work).and_then(|()| {
            let rename = fs::rename(work.join("root"), &folder);
            rename.with_context(|| format!("cannot make {}", folder.display()))
        });
        // Whatever a failure has left.
        let _ = fs::remove_dir_all(&work);
        result.map(|()| Self(folder))
    }

    /// Lays the package over the guest's root, at [`ROOT`]; what is written there is gone with the guest.
    pub(crate) fn lay(&self, guest: &Guest) -> anyhow::Result<()> {
        let folder = self.0.canonicalize().context("the unpacked package")?;
        let script = LAY.replace("LAYER", &folder.to_string_lossy()).replace("ROOT", ROOT);
        guest.run(&script).context("a package over the guest's root").map(drop)
    }
}

fn fetch(package: &str, work: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(work.join("root")).context("cannot make a folder for packages")?;
    // Old lists name versions that are gone; none name nothing.
    if download(package, work).is_err() {
        output(apt_get().arg("update")).context("cannot learn which packages there are")?;
        download(package, work)?;
    }
    for entry in fs::read_dir(work)? {
        let file = entry?.path();
        if file.extension().is_some_and(|ending| ending == "deb") {
            let mut command = Command::new("dpkg-deb");
            output(command.arg("-x").arg(&file).arg(work.join("root")))?;
        }
    }
    merge_usr(&work.join("root"))
}

fn download(package: &str, work: &Path) -> anyhow::Result<()> {
    let names = packages(package)?;
    let mut command = apt_get();
    output(command.current_dir(work).arg("download").args(names))
        .context("cannot fetch packages")?;
    Ok(())
}

fn apt_get() -> Command {
    let mut command = Command::new("apt-get");
    command.args(["-q", "-o", "Acquire::Retries=3", "-o", "APT::Sandbox::User=root"]);
    command.env("LC_ALL", "C");
    command
}

/// What an installation would bring. The package's conflicts do not matter, as nothing is installed.
fn packages(package: &str) -> anyhow::Result<Vec<String>> {
    let mut command = apt_get();
    command.args(["--simulate", "--no-install-recommends", "install", package]);
    let printed =
        output(&mut command).with_context(|| format!("the package {package} is not to be had"))?;
    let mut names = installs(&printed);
    if names.is_empty() {
        // It is installed, and so is all that it needs.
        names.push(package.to_owned());
    }
    Ok(names)
}

fn installs(printed: &str) -> Vec<String> {
    let lines = printed.lines().filter_map(|line| line.strip_prefix("Inst "));
    let names = lines.filter_map(|rest| rest.split(' ').next());
    names.filter(|name| !name.ends_with("-dev")).map(str::to_owned).collect()
}

/// A real `/lib` in a layer would hide the link that the machine's is.
fn merge_usr(root: &Path) -> anyhow::Result<()> {
    for name in ["bin", "sbin", "lib", "lib64"] {
        let folder = root.join(name);
        if !folder.is_dir() {
            continue;
        }
        let usr = root.join("usr").join(name);
        fs::create_dir_all(&usr)?;
        let mut copy = Command::new("cp");
        output(copy.arg("-a").arg(folder.join(".")).arg(&usr))?;
        fs::remove_dir_all(&folder)?;
    }
    Ok(())
}

const LAY: &str = "set -e
mkdir -p /mnt/layer /run/changes ROOT
mount -t hostfs none /mnt/layer -o LAYER
mount -t tmpfs changes /run/changes
mkdir /run/changes/upper /run/changes/work
modprobe -d /run/modules overlay
mount -t overlay root -o lowerdir=/mnt/layer:/,upperdir=/run/changes/upper,workdir=/run/changes/work ROOT
for folder in proc sys dev; do mount --rbind /$folder ROOT/$folder; done
mount -t tmpfs run ROOT/run
mount -t tmpfs tmp ROOT/tmp
mkdir -p ROOT/run/modules ROOT/run/bin ROOT/run/lock ROOT/mnt
mount -t tmpfs mnt ROOT/mnt
mkdir -p ROOT/mnt/exchange
mount --bind /mnt/exchange ROOT/mnt/exchange
mount --rbind /run/modules ROOT/run/modules
cp /run/bin/modprobe ROOT/run/bin/
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_simulated_installation_names_packages() {
        let printed = "Reading package lists...\nRemv charon-systemd [5.9.8]\n\
            Inst libnss3-dev [2:3.87] (2:3.87.1 Debian:12/oldstable [amd64]) []\n\
            Inst libldns3 (1.8.3-1+b1 Debian:12.15/oldstable [amd64])\n\
            Inst libreswan (4.10-2 Debian:12.15/oldstable [amd64])\nConf libreswan (4.10-2)\n";
        assert_eq!(installs(printed), ["libldns3", "libreswan"]);
    }

    #[test]
    fn real_folders_move_under_usr() {
        let root = std::env::temp_dir().join(format!("adit-layer-{}", std::process::id()));
        fs::create_dir_all(root.join("lib/x")).unwrap();
        fs::write(root.join("lib/x/one"), "1").unwrap();
        merge_usr(&root).unwrap();
        let moved = fs::read_to_string(root.join("usr/lib/x/one"));
        let left = root.join("lib").exists();
        fs::remove_dir_all(&root).unwrap();
        assert_eq!((moved.unwrap().as_str(), left), ("1", false));
    }
}
