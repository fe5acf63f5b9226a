//! Debian's strongSwan, configured for one side: with ESP in user space (kernel-libipsec), or with
//! that of the kernel under it.
//!
//! kernel-libipsec knows ESP in UDP alone, no extended sequence numbers, and wants the inner
//! address to exist on this host.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::credentials::{self, Login};
use super::lab::Side;
use super::plan::{
    Beside, CONNECTION, MORE_SECRET, POOL, PPK_ID, Plan, REAUTH_S, Remote, SECRET, USER,
    second_identity,
};
use crate::needs;

/// Name of the child SA's configuration.
pub(crate) const CHILD: &str = "net";

/// What has to be loaded besides, kernel-libipsec before kernel-netlink.
const PLUGINS: &str = "random nonce aes sha1 sha2 hmac kdf pem pkcs1 pkcs8 x509 pubkey constraints \
    revocation openssl gcm ccm ctr cmac xcbc chapoly curve25519 gmp drbg xauth-generic";

/// Where a daemon finds its files, and whose ESP it uses.
pub(crate) struct Place {
    /// The control socket.
    pub(crate) vici: PathBuf,
    /// The log.
    pub(crate) log: PathBuf,
    /// Plugins that bring SAs to where packets are.
    pub(crate) kernel: &'static str,
}

/// The control socket.
pub(crate) fn vici(side: &Side) -> PathBuf {
    side.folder.join("vici")
}

/// The daemon's own log.
pub(crate) fn log(side: &Side) -> PathBuf {
    side.folder.join("charon.log")
}

/// Writes strongswan.conf and swanctl.conf for `side`.
pub(crate) fn write(side: &Side, peer: &Side, plan: &Plan) -> anyhow::Result<()> {
    let kernel = "kernel-libipsec kernel-netlink";
    let place = Place { vici: vici(side), log: log(side), kernel };
    write_daemon(&side.folder, &place, plan)?;
    write_swanctl(&side.folder, side, peer, plan)
}

/// Writes strongswan.conf into `folder`.
pub(crate) fn write_daemon(folder: &Path, place: &Place, plan: &Plan) -> anyhow::Result<()> {
    Ok(fs::write(folder.join("strongswan.conf"), daemon_file(place, plan))?)
}

/// Writes an ordinary swanctl.conf below `folder`, for whichever daemon will get it through its
/// socket.
pub(crate) fn write_swanctl(
    folder: &Path,
    side: &Side,
    peer: &Side,
    plan: &Plan,
) -> anyhow::Result<()> {
    let folder = folder.join("swanctl");
    for empty in ["conf.d", "x509", "x509ca", "private", "pubkey"] {
        fs::create_dir_all(folder.join(empty))?;
    }
    let mut files = vec![("own.key", "private")];
    match plan.login {
        Login::Secret => files.clear(),
        Login::RawKeys(_) => files.extend([("own.pub", "pubkey"), ("peer.pub", "pubkey")]),
        Login::Certificates(_) | Login::Pss => {
            files.extend([("own.pem", "x509"), ("ca.pem", "x509ca")]);
        }
    }
    for (name, kind) in files {
        let text = fs::read_to_string(credentials::file(side, name))?;
        credentials::write_file(&folder.join(kind).join(name), &text)?;
    }
    fs::write(folder.join("swanctl.conf"), connection_file(side, peer, plan))?;
    Ok(())
}

/// The daemon, in its namespace.
pub(crate) fn daemon(side: &Side) -> Command {
    let mut command = side.endless_command(&program("charon-systemd"));
    set_folders(&mut command, side);
    command
}

/// `swanctl VERB --uri … ARGUMENTS` against the socket `vici`.
pub(crate) fn swanctl(side: &Side, vici: &Path, arguments: &[&str]) -> Command {
    let mut command = side.command(&program("swanctl"));
    set_folders(&mut command, side);
    let (verb, rest) = arguments.split_first().unwrap_or((&"--version", &[]));
    command.arg(verb).args(["--uri", &format!("unix://{}", vici.display())]).args(rest);
    command
}

fn set_folders(command: &mut Command, side: &Side) {
    // A side that runs our daemon has none, and swanctl then needs no settings either.
    let settings = side.folder.join("strongswan.conf");
    let settings = if settings.exists() { settings } else { PathBuf::from("/dev/null") };
    command.env("STRONGSWAN_CONF", settings);
    command.env("SWANCTL_DIR", side.folder.join("swanctl"));
}

fn program(name: &str) -> PathBuf {
    needs::find(name).unwrap_or_else(|| PathBuf::from(name))
}

fn daemon_file(place: &Place, plan: &Plan) -> String {
    // Where addresses change it has to rekey for user-space ESP to follow, and asks for that before it
    // answers our request. Until it is through with ours it ignores our answer if the message ids are the
    // same, and asks again. Packets wait for that, so it should not take its usual four seconds.
    let patience = if plan.moves { "retransmit_timeout = 0.5" } else { "" };
    format!(
        "charon-systemd {{
  {patience}
  {aggressive}
  load = {PLUGINS} {kernel} socket-default updown vici
  fragment_size = {fragment}
  plugins {{
    vici {{ socket = unix://{vici} }}
    kernel-libipsec {{ allow_peer_ts = yes }}
    kernel-netlink {{ fwmark = !0x42 }}
    socket-default {{ fwmark = 0x42 }}
  }}
  filelog {{ charon {{
      path = {log}
      default = 1
      ike = 2
      cfg = 2
      flush_line = yes
      time_format = \"%T\"
      time_add_ms = yes
  }} }}
  journal {{ default = -1 }}
}}
swanctl {{ load = pem pkcs1 pkcs8 x509 pubkey openssl random }}
",
        // What an aggressive mode with a secret gives away is known here, too.
        aggressive = if plan.aggressive {
            "i_dont_care_about_security_and_use_aggressive_mode_psk = yes"
        } else {
            ""
        },
        fragment = plan.right_fragment_octets,
        kernel = place.kernel,
        vici = place.vici.display(),
        log = place.log.display(),
    )
}

fn connection_file(side: &Side, peer: &Side, plan: &Plan) -> String {
    format!(
        "connections {{ {CONNECTION} {{
    version = {version}
    aggressive = {aggressive}
    local_addrs = {local}
    remote_addrs = {remote}
    proposals = {ike}
    encap = {encap}
    fragmentation = yes
    childless = {childless}
    mobike = {mobike}
    dpd_delay = {dpd}s
    unique = replace
    keyingtries = 0
    {beside}
    local {{
      {local_auth}
      id = {id}
    }}
    remote {{
      {remote_auth}
      id = {peer_id}
    }}
    {second}
    children {{ {CHILD} {{
        {traffic}
        esp_proposals = {esp}
        ipcomp = {ipcomp}
        start_action = {action}
        close_action = {action}
    }} }}
}} }}
secrets {{ ike-1 {{
    id-1 = {id}
    id-2 = {peer_id}
    secret = \"{SECRET}\"
}} {secrets} }}
pools {{ lab {{ addrs = {POOL} }} }}
",
        local = if plan.moves { "%any".to_owned() } else { addresses(side, plan) },
        mobike = if plan.moves { "yes" } else { "no" },
        remote = addresses(peer, plan),
        childless = plan.childless_of(side),
        ike = plan.ike,
        version = plan.version,
        dpd = plan.dpd_s[1],
        id = side.identity(),
        peer_id = peer.identity(),
        aggressive = if plan.aggressive { "yes" } else { "no" },
        local_auth = first_auth(side, plan, "own"),
        remote_auth = first_auth(peer, plan, "peer"),
        beside = [beside(side, plan), client(side, plan)].concat(),
        second = second(side, peer, plan),
        secrets = more_secrets(side, peer, plan),
        encap = if plan.udp { "yes" } else { "no" },
        traffic = traffic(side, peer, plan),
        esp = plan.esp,
        ipcomp = if plan.right_compresses { "yes" } else { "no" },
        action = if plan.left_keeps_up && side.name == "left" { "start" } else { "none" },
    )
}

/// How a side proves itself first. Of a hybrid the client does so by its user alone.
fn first_auth(side: &Side, plan: &Plan, whose: &str) -> String {
    let is_hybrid = matches!(plan.remote, Remote::Hybrid(_));
    match is_hybrid && plan.remote.is_client(side) {
        true => user(whose),
        false => auth(plan.login, whose),
    }
}

/// A side that has a user.
fn user(whose: &str) -> String {
    if whose == "own" {
        format!("auth = xauth\n      xauth_id = {}", USER.0)
    } else {
        "auth = xauth".to_owned()
    }
}

/// What the connection says about users and addresses of a client.
fn client(side: &Side, plan: &Plan) -> String {
    let is_client = plan.remote.is_client(side);
    match (plan.remote, is_client) {
        (Remote::None | Remote::Hybrid(_), _) => String::new(),
        (Remote::User(_), true) => {
            format!("local-2 {{\n      round = 2\n      {}\n    }}", user("own"))
        }
        (Remote::User(_), false) => {
            format!("remote-2 {{\n      round = 2\n      {}\n    }}", user("peer"))
        }
        (Remote::Pull(_), true) => "vips = 0.0.0.0".to_owned(),
        (Remote::Push(_), true) => "vips = 0.0.0.0\n    pull = no".to_owned(),
        (Remote::Pull(_), false) => "pools = lab".to_owned(),
        (Remote::Push(_), false) => "pools = lab\n    pull = no".to_owned(),
    }
}

/// What the connection says about post-quantum keys and repeated authentication.
fn beside(side: &Side, plan: &Plan) -> String {
    let is_left = side.name == "left";
    match (plan.beside, is_left) {
        (Beside::Ppk, _) => format!("ppk_id = {PPK_ID}\n    ppk_required = yes"),
        (Beside::OtherPpk, true) => format!("ppk_id = {PPK_ID}"),
        (Beside::ReauthLeft, true) | (Beside::ReauthRight, false) => {
            format!("reauth_time = {REAUTH_S}s\n    over_time = 10s\n    rand_time = 1s")
        }
        _ => String::new(),
    }
}

/// The second round of both sides.
fn second(side: &Side, peer: &Side, plan: &Plan) -> String {
    let round = |which: &str, side: &Side| {
        let id = second_identity(side);
        format!("{which}-2 {{\n      auth = psk\n      round = 2\n      id = {id}\n    }}")
    };
    match plan.beside {
        Beside::Second => format!("{}\n    {}", round("local", side), round("remote", peer)),
        Beside::Nothing
        | Beside::Ppk
        | Beside::OtherPpk
        | Beside::ReauthLeft
        | Beside::ReauthRight => String::new(),
    }
}

/// Secrets for that.
fn more_secrets(side: &Side, peer: &Side, plan: &Plan) -> String {
    let ppk = |id: &str| format!("ppk-1 {{\n    id = {id}\n    secret = \"{MORE_SECRET}\"\n}}");
    if plan.remote.has_user() {
        let (id, password) = USER;
        return format!("xauth-1 {{\n    id = {id}\n    secret = \"{password}\"\n}}");
    }
    match plan.beside {
        Beside::Ppk => ppk(PPK_ID),
        Beside::OtherPpk if side.name == "left" => ppk(PPK_ID),
        Beside::OtherPpk => ppk(&format!("other-{PPK_ID}")),
        Beside::Second => {
            let (id, peer_id) = (second_identity(side), second_identity(peer));
            let ids = format!("id-1 = {id}\n    id-2 = {peer_id}");
            format!("ike-2 {{\n    {ids}\n    secret = \"{MORE_SECRET}\"\n}}")
        }
        Beside::Nothing | Beside::ReauthLeft | Beside::ReauthRight => String::new(),
    }
}

/// How a side proves itself.
fn auth(login: Login, whose: &str) -> String {
    let scheme = if login == Login::Pss { "ike:rsa/pss-sha256" } else { "pubkey" };
    match (login, whose) {
        (Login::Secret, _) => "auth = psk".to_owned(),
        (Login::RawKeys(_), whose) => format!("auth = pubkey\n      pubkeys = {whose}.pub"),
        (_, "own") => format!("auth = {scheme}\n      certs = own.pem"),
        (_, _) => format!("auth = {scheme}\n      cacerts = ca.pem"),
    }
}

/// Where a side is, the address that is called first.
fn addresses(side: &Side, plan: &Plan) -> String {
    let first = side.outside(plan.outside_v6).to_string();
    let second = plan.redirects.then(|| side.outside(!plan.outside_v6).to_string());
    std::iter::once(first).chain(second).collect::<Vec<_>>().join(",")
}

/// What a child SA is for. Without selectors it is for the two hosts.
fn traffic(side: &Side, peer: &Side, plan: &Plan) -> String {
    if plan.transport {
        return "mode = transport".to_owned();
    }
    let networks = |of: &Side| match plan.remote.has_address() && plan.remote.is_client(of) {
        true => "dynamic".to_owned(),
        false => plan.networks(of).join(","),
    };
    let (local, remote) = (networks(side), networks(peer));
    format!("local_ts = {local}\n        remote_ts = {remote}")
}
