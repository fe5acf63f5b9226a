//! Our own daemon, configured for one side.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::Command;

use anyhow::Context as _;

use super::credentials::{self, Login};
use super::lab::Side;
use super::plan::{
    Beside, CONNECTION, MORE_SECRET, POOL, PPK_ID, Plan, REAUTH_S, Remote, SECRET, USER,
    second_identity,
};
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
    credentials::write_file(&tunnels.join(MORE_FILE), MORE_SECRET)?;
    if plan.remote.has_user() {
        let (user, password) = USER;
        credentials::write_file(&tunnels.join("users"), &format!("{user} {password}\n"))?;
        credentials::write_file(&tunnels.join("password"), password)?;
    }
    write_file(side, &tunnel_file(side, peer, plan))
}

/// Writes the tunnel's file alone.
pub(crate) fn write_file(side: &Side, text: &str) -> anyhow::Result<()> {
    let file = config(side).join("tunnels").join(format!("{CONNECTION}.toml"));
    fs::write(file, text).context("cannot write the tunnel's file")
}

/// Writes the file of another tunnel; an empty text removes it.
pub(crate) fn write_named(side: &Side, name: &str, text: &str) -> anyhow::Result<()> {
    let file = config(side).join("tunnels").join(format!("{name}.toml"));
    if !text.is_empty() {
        return fs::write(file, text).context("cannot write the tunnel's file");
    }
    match fs::remove_file(file) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
        _ => Ok(()),
    }
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
        let networks = |of: &Side| match plan.remote.has_address() && plan.remote.is_client(of) {
            true => vec!["dynamic".to_owned()],
            false => plan.networks(of),
        };
        let (local, remote) = (list(networks(side)), list(networks(peer)));
        format!("local   = {local}\nremote  = {remote}")
    };
    let (first, other) = (peer.outside(plan.outside_v6), peer.outside(!plan.outside_v6));
    let ends = if plan.redirects {
        format!("peer    = [\"{first}\", \"{other}\"]\nfollow_redirects = true")
    } else if plan.moves {
        format!("peer    = \"{first}\"")
    } else {
        format!("peer    = \"{first}\"\naddress = \"{}\"", side.outside(plan.outside_v6))
    };
    let elsewhere = if plan.left_redirects {
        format!("redirect = \"{}\"\n", side.outside(!plan.outside_v6))
    } else {
        String::new()
    };
    format!(
        "{ends}
{childless}{elsewhere}id      = \"{id}\"
peer_id = \"{peer_id}\"
{traffic}
{login}
{beside}
keep    = \"{keep}\"
{choices}{more}{second}{tables}",
        childless = childless(side, plan),
        id = side.identity(),
        peer_id = peer.identity(),
        login = login(side, plan),
        beside = beside(plan),
        keep = if plan.left_keeps_up { "up" } else { "passive" },
        choices = choices(plan),
        second = second(side, peer, plan),
        more = plan.left_more,
        tables = remote_tables(side, plan),
    )
}

/// Whether an IKE SA begins without a child, of which IKEv1 knows nothing.
fn childless(side: &Side, plan: &Plan) -> String {
    match plan.version {
        1 => String::new(),
        _ => format!("childless = \"{}\"\n", plan.childless_of(side)),
    }
}

/// The tables of remote clients, at the end of the file.
fn remote_tables(side: &Side, plan: &Plan) -> String {
    let is_client = plan.remote.is_client(side);
    match plan.remote {
        Remote::None => String::new(),
        Remote::User(_) | Remote::Hybrid(_) => {
            let hybrid =
                if let Remote::Hybrid(_) = plan.remote { "hybrid = \"yes\"\n" } else { "" };
            let user = match is_client {
                true => format!("user = \"{}\"\npassword = \"file:password\"\n", USER.0),
                false => "users = \"file:users\"\n".to_owned(),
            };
            format!("\n[xauth]\n{hybrid}{user}")
        }
        Remote::Pull(_) if is_client => "\n[mode_config]\naddress = \"ask\"\n".to_owned(),
        Remote::Push(_) if is_client => "\n[mode_config]\naddress = \"wait\"\n".to_owned(),
        Remote::Pull(_) => format!("\n[mode_config]\npool = \"{POOL}\"\n"),
        Remote::Push(_) => format!("\n[mode_config]\npool = \"{POOL}\"\npush = \"yes\"\n"),
    }
}

/// How the tunnel's file has both sides prove themselves.
fn login(side: &Side, plan: &Plan) -> String {
    let file = |name| format!("\"file:{}\"", credentials::file(side, name).display());
    if let Remote::Hybrid(_) = plan.remote {
        let ours = match plan.remote.is_client(side) {
            true => format!("ca = {}", file("ca.pem")),
            false => format!("cert = {}\nkey = {}", file("own.pem"), file("own.key")),
        };
        return ours;
    }
    match plan.login {
        Login::Secret => format!("secret  = \"file:{CONNECTION}.psk\""),
        Login::RawKeys(_) => {
            format!("key = {}\npeer_key = {}", file("own.key"), file("peer.pub"))
        }
        Login::Certificates(_) | Login::Pss => {
            let (cert, key, ca) = (file("own.pem"), file("own.key"), file("ca.pem"));
            format!("cert = {cert}\nkey = {key}\nca = {ca}")
        }
    }
}

/// Post-quantum keys and repeated authentication.
fn beside(plan: &Plan) -> String {
    let ppk = |required| {
        format!("ppk = \"file:{MORE_FILE}\"\nppk_id = \"{PPK_ID}\"\nppk_required = {required}")
    };
    match plan.beside {
        Beside::Ppk => ppk(true),
        Beside::OtherPpk => ppk(false),
        Beside::ReauthLeft => format!("reauth = \"{REAUTH_S}s\""),
        Beside::Nothing | Beside::Second | Beside::ReauthRight => String::new(),
    }
}

/// The table of the second round, at the end of the file.
fn second(side: &Side, peer: &Side, plan: &Plan) -> String {
    let (id, peer_id) = (second_identity(side), second_identity(peer));
    match plan.beside {
        Beside::Second => format!(
            "\n[second]\nid = \"{id}\"\npeer_id = \"{peer_id}\"\nsecret = \"file:{MORE_FILE}\"\n"
        ),
        Beside::Nothing
        | Beside::Ppk
        | Beside::OtherPpk
        | Beside::ReauthLeft
        | Beside::ReauthRight => String::new(),
    }
}

/// The secret of what enters authentication beside the login.
const MORE_FILE: &str = "more.psk";

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
    let ike = if plan.version == 1 { format!("[1, \"{ike}\"]") } else { format!("\"{ike}\"") };
    let dpd = match plan.dpd_s[0] {
        0 => String::new(),
        seconds => format!("dpd     = \"{seconds}s\"\n"),
    };
    format!("encap   = \"{encap}\"\nike     = {ike}\nesp     = \"{esp}\"\n{dpd}{allow}")
}

/// The daemon, in its namespace; it logs what belongs to `level`.
pub(crate) fn daemon(side: &Side, level: &str) -> Command {
    let mut command = side.endless_command(&root::target().join("release/aditd"));
    command.arg("--config").arg(config(side)).arg("--vici").arg(vici(side));
    command.arg("--log").arg(log(side)).args(["--log-level", level]);
    command
}

/// `adit ARGUMENTS` against the daemon of this side.
pub(crate) fn adit(side: &Side, arguments: &[&str]) -> Command {
    let mut command = side.command(&root::target().join("release/adit"));
    command.arg("--vici").arg(vici(side)).args(arguments);
    command
}
