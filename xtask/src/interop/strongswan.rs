//! Debian's strongSwan with ESP in user space (kernel-libipsec), configured for one side.
//!
//! kernel-libipsec knows ESP in UDP alone, no extended sequence numbers, and wants the inner
//! address to exist on this host.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use super::lab::Side;
use super::plan::{CONNECTION, Plan, SECRET};
use crate::needs;

/// Name of the child SA's configuration.
pub(crate) const CHILD: &str = "net";

/// What has to be loaded, kernel-libipsec before kernel-netlink.
const PLUGINS: &str = "random nonce aes sha1 sha2 hmac kdf pem pkcs1 pkcs8 x509 pubkey constraints \
    revocation openssl gcm ccm ctr cmac xcbc chapoly curve25519 gmp drbg kernel-libipsec \
    kernel-netlink socket-default updown vici";

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
    fs::write(side.folder.join("strongswan.conf"), daemon_file(side, plan))?;
    write_swanctl(side, peer, plan, "yes")
}

/// Writes an ordinary swanctl.conf, for whichever daemon will get it through its socket.
pub(crate) fn write_swanctl(
    side: &Side,
    peer: &Side,
    plan: &Plan,
    encap: &str,
) -> anyhow::Result<()> {
    let folder = side.folder.join("swanctl");
    for empty in ["conf.d", "x509", "x509ca", "private"] {
        fs::create_dir_all(folder.join(empty))?;
    }
    fs::write(folder.join("swanctl.conf"), connection_file(side, peer, plan, encap))?;
    Ok(())
}

/// The daemon, in its namespace.
pub(crate) fn daemon(side: &Side) -> Command {
    let mut command = side.endless_command(&program("charon-systemd"));
    set_folders(&mut command, side);
    command
}

/// `swanctl VERB --uri … ARGUMENTS` against the socket `vici`.
pub(crate) fn swanctl(side: &Side, vici: &std::path::Path, arguments: &[&str]) -> Command {
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

fn daemon_file(side: &Side, plan: &Plan) -> String {
    format!(
        "charon-systemd {{
  load = {PLUGINS}
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
        fragment = plan.right_fragment_octets,
        vici = vici(side).display(),
        log = log(side).display(),
    )
}

fn connection_file(side: &Side, peer: &Side, plan: &Plan, encap: &str) -> String {
    format!(
        "connections {{ {CONNECTION} {{
    version = 2
    local_addrs = {local}
    remote_addrs = {remote}
    proposals = {ike}
    encap = {encap}
    fragmentation = yes
    mobike = no
    dpd_delay = 0
    unique = replace
    keyingtries = 0
    local {{
      auth = psk
      id = {id}
    }}
    remote {{
      auth = psk
      id = {peer_id}
    }}
    children {{ {CHILD} {{
        local_ts = {local_ts}
        remote_ts = {remote_ts}
        esp_proposals = {esp}
        start_action = {action}
        close_action = {action}
    }} }}
}} }}
secrets {{ ike-1 {{
    id-1 = {id}
    id-2 = {peer_id}
    secret = \"{SECRET}\"
}} }}
",
        local = side.outside(plan.outside_v6),
        remote = peer.outside(plan.outside_v6),
        ike = plan.ike,
        id = side.identity(),
        peer_id = peer.identity(),
        local_ts = plan.networks(side).join(","),
        remote_ts = plan.networks(peer).join(","),
        esp = plan.esp,
        action = if plan.left_keeps_up && side.name == "left" { "start" } else { "none" },
    )
}
