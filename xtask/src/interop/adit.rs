//! Our own daemon, configured for one side.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::Command;

use anyhow::Context as _;

use super::lab::Side;
use super::plan::{CONNECTION, Plan, SECRET};
use crate::root;

/// Where the configuration of `side` lies.
fn config(side: &Side) -> PathBuf {
    side.folder.join("config")
}

/// The control socket.
pub(crate) fn vici(side: &Side) -> PathBuf {
    side.folder.join("vici")
}

/// The daemon's log.
pub(crate) fn log(side: &Side) -> PathBuf {
    side.folder.join("aditd.log")
}

/// Builds the daemon and the command line.
pub(crate) fn build() -> anyhow::Result<()> {
    let mut cargo = root::cargo();
    cargo.args(["build", "--release", "-p", "aditd", "-p", "adit"]);
    let status = cargo.status().context("cannot start cargo")?;
    anyhow::ensure!(status.success(), "aditd and adit do not build");
    Ok(())
}

/// Writes an empty configuration: everything comes through the control socket.
pub(crate) fn write_nothing(side: &Side) -> anyhow::Result<()> {
    fs::create_dir_all(config(side).join("tunnels")).context("cannot make the configuration")
}

/// Writes the tunnel's file and its secret.
pub(crate) fn write(side: &Side, peer: &Side, plan: &Plan) -> anyhow::Result<()> {
    write_nothing(side)?;
    let tunnels = config(side).join("tunnels");
    let secret = tunnels.join(format!("{CONNECTION}.psk"));
    fs::write(&secret, SECRET)?;
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o600))?;
    write_file(side, &tunnel_file(side, peer, plan))
}

/// Writes the tunnel's file alone.
pub(crate) fn write_file(side: &Side, text: &str) -> anyhow::Result<()> {
    let file = config(side).join("tunnels").join(format!("{CONNECTION}.toml"));
    fs::write(file, text).context("cannot write the tunnel's file")
}

/// Writes a file of SAs that are keyed by hand, or one of their keys.
pub(crate) fn write_sa(side: &Side, name: &str, text: &str, mode: u32) -> anyhow::Result<()> {
    let folder = config(side).join("sas");
    fs::create_dir_all(&folder)?;
    let file = folder.join(name);
    fs::write(&file, text).context("cannot write the SA's file")?;
    fs::set_permissions(&file, fs::Permissions::from_mode(mode)).context("cannot keep it private")
}

/// Removes a file of SAs, if it is there.
pub(crate) fn remove_sa(side: &Side, name: &str) -> anyhow::Result<()> {
    match fs::remove_file(config(side).join("sas").join(name)) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
        _ => Ok(()),
    }
}

fn tunnel_file(side: &Side, peer: &Side, plan: &Plan) -> String {
    let list = |networks: Vec<String>| format!("[\"{}\"]", networks.join("\", \""));
    let traffic = if plan.transport {
        "mode    = \"transport\"".to_owned()
    } else {
        let (local, remote) = (list(plan.networks(side)), list(plan.networks(peer)));
        format!("local   = {local}\nremote  = {remote}")
    };
    format!(
        "peer    = \"{peer_address}\"
address = \"{address}\"
id      = \"{id}\"
peer_id = \"{peer_id}\"
{traffic}
secret  = \"file:{CONNECTION}.psk\"
keep    = \"{keep}\"
{choices}",
        peer_address = peer.outside(plan.outside_v6),
        address = side.outside(plan.outside_v6),
        id = side.identity(),
        peer_id = peer.identity(),
        keep = if plan.left_keeps_up { "up" } else { "passive" },
        choices = choices(plan),
    )
}

/// What else the tunnel's file says, if anything.
fn choices(plan: &Plan) -> String {
    if plan.left_defaults {
        return String::new();
    }
    let allow = match plan.allow {
        [] => String::new(),
        words => format!("allow   = [\"{}\"]\n", words.join("\", \"")),
    };
    let encap = if plan.udp { "udp" } else { "esp" };
    let Plan { ike, esp, .. } = plan;
    format!("encap   = \"{encap}\"\nike     = \"{ike}\"\nesp     = \"{esp}\"\n{allow}")
}

/// The daemon, in its namespace.
pub(crate) fn daemon(side: &Side) -> Command {
    let mut command = side.endless_command(&root::target().join("release/aditd"));
    command.arg("--config").arg(config(side)).arg("--vici").arg(vici(side));
    command.arg("--log").arg(log(side)).args(["--log-level", "debug"]);
    command
}

/// `adit ARGUMENTS` against the daemon of this side.
pub(crate) fn adit(side: &Side, arguments: &[&str]) -> Command {
    let mut command = side.command(&root::target().join("release/adit"));
    command.arg("--vici").arg(vici(side)).args(arguments);
    command
}
