//! strongSwan's charon with ESP in user space (kernel-libipsec), as it holds many tunnels best.
//!
//! The initiator has a child for each tunnel under as few connections as a message of its control socket
//! has room for. The responder has one connection and one child, which each peer narrows to what it asks
//! for: charon looks through its connections one by one, and so there is nothing to look through.
//!
//! kernel-libipsec takes only children with an address of this host in them, and charon looks through
//! those one by one, too. So each side has one, and the children differ in their ports: as many policies
//! as with hosts of their own, and fewer routes.

use std::fmt::Write as _;
use std::fs;
use std::process::Command;

use anyhow::{Context as _, ensure};

use super::ends::{SECRET, name, socket};
use crate::interop::lab::{Lab, Side};
use crate::needs;

/// Children of one connection: more do not fit a message of the control socket.
const CHILDREN_MAX: usize = 1_000;

/// Ports of the responder that tunnels have in turn, for each port of the initiator.
const PORTS: usize = 50_000;

/// Plugins, the one for ESP before the one for routes.
const PLUGINS: &str = "random nonce aes sha1 sha2 hmac kdf pem openssl gcm curve25519 gmp \
                       kernel-libipsec kernel-netlink socket-default vici";

/// The connection that has the child of a tunnel.
pub(super) fn connection(tunnel: usize) -> String {
    format!("c{}", tunnel / CHILDREN_MAX)
}

/// Gives each side the host that its children are for.
pub(super) fn add_hosts(lab: &Lab) -> anyhow::Result<()> {
    [&lab.left, &lab.right]
        .into_iter()
        .try_for_each(|side| side.add_address(&format!("{}/32", host(side)), "lo"))
}

fn host(side: &Side) -> &'static str {
    if side.name == "left" { "10.64.0.1" } else { "10.128.0.1" }
}

/// Writes strongswan.conf and swanctl.conf.
pub(super) fn write(side: &Side, peer: &Side, tunnels: usize) -> anyhow::Result<()> {
    fs::write(side.folder.join("strongswan.conf"), daemon_file(side))?;
    let folder = side.folder.join("swanctl");
    for empty in ["conf.d", "x509", "x509ca", "private"] {
        fs::create_dir_all(folder.join(empty))?;
    }
    let mut text = String::from("connections {\n");
    if side.name == "left" {
        for first in (0..tunnels).step_by(CHILDREN_MAX) {
            let numbers = first..tunnels.min(first + CHILDREN_MAX);
            let children = numbers.map(|number| {
                let local = format!("{}[udp/{}]", host(side), number / PORTS + 1);
                let remote = format!("{}[udp/{}]", host(peer), number % PORTS + 1);
                (name(number), local, remote)
            });
            put_connection(&mut text, &connection(first), [side, peer], children)?;
        }
    } else {
        let [local, remote] = [side, peer].map(|one| host(one).to_owned());
        let child = std::iter::once(("all".to_owned(), local, remote));
        put_connection(&mut text, "c", [side, peer], child)?;
    }
    write!(text, "}}\nsecrets {{ ike {{ secret = \"{SECRET}\" }} }}\n")?;
    fs::write(folder.join("swanctl.conf"), text).context("cannot write swanctl.conf")
}

fn daemon_file(side: &Side) -> String {
    format!(
        "charon-systemd {{
  threads = 16
  reuse_ikesa = no
  dos_protection = no
  cookie_threshold = 0
  block_threshold = 0
  init_limit_half_open = 0
  half_open_timeout = 60
  ikesa_table_size = 32768
  ikesa_table_segments = 16
  install_virtual_ip = no
  load = {PLUGINS}
  plugins {{
    vici {{ socket = unix://{} }}
    kernel-libipsec {{ allow_peer_ts = yes }}
    kernel-netlink {{ fwmark = !0x42 }}
    socket-default {{ fwmark = 0x42 }}
  }}
  journal {{ default = -1 }}
}}
swanctl {{ load = pem openssl random }}
",
        socket(side).display()
    )
}

/// A connection and its children: their names, selectors of our side and of the peer's.
fn put_connection(
    text: &mut String,
    name: &str,
    [side, peer]: [&Side; 2],
    children: impl Iterator<Item = (String, String, String)>,
) -> anyhow::Result<()> {
    write!(
        text,
        "{name} {{
  local_addrs = {}
  remote_addrs = {}
  version = 2
  unique = never
  mobike = no
  proposals = aes128gcm16-prfsha256-x25519
  local {{
    auth = psk
    id = {}
  }}
  remote {{
    auth = psk
    id = {}
  }}
  children {{
",
        side.outside(false),
        peer.outside(false),
        side.identity(),
        peer.identity(),
    )?;
    for (child, local, remote) in children {
        writeln!(
            text,
            "{child} {{\n local_ts = {local}\n remote_ts = {remote}\n \
             esp_proposals = aes128gcm16\n}}"
        )?;
    }
    writeln!(text, "}}\n}}").context("cannot write swanctl.conf")
}

/// Tells the daemon of a side something, and gives its answer.
pub(super) fn swanctl(side: &Side, verb: &str) -> anyhow::Result<String> {
    let mut swanctl = Command::new(needs::find("swanctl").context("no swanctl")?);
    swanctl.env("STRONGSWAN_CONF", side.folder.join("strongswan.conf"));
    swanctl.env("SWANCTL_DIR", side.folder.join("swanctl")).args([verb, "--uri"]);
    let output = swanctl.arg(format!("unix://{}", socket(side).display())).output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "swanctl {verb}: {said}");
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// How many child SAs a side has.
pub(super) fn children(side: &Side) -> anyhow::Result<usize> {
    Ok(swanctl(side, "--list-sas")?.matches("INSTALLED").count())
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    #[test]
    fn the_initiator_has_a_child_for_each_tunnel_and_the_responder_one_for_all() {
        let folder = std::env::temp_dir().join(format!("adit-bench-charon-{}", std::process::id()));
        let side = |name: &'static str, number| {
            let folder: PathBuf = folder.join(name);
            fs::create_dir_all(&folder).unwrap();
            Side::example(name, number, folder)
        };
        let (left, right) = (side("left", 1), side("right", 2));
        let written = |side: &Side, peer: &Side| {
            write(side, peer, 2_500).unwrap();
            fs::read_to_string(side.folder.join("swanctl/swanctl.conf")).unwrap()
        };
        let initiator = written(&left, &right);
        assert_eq!(initiator.matches("esp_proposals").count(), 2_500);
        assert_eq!(initiator.matches("childless").count(), 0);
        assert!(initiator.contains("c2 {") && !initiator.contains("c3 {"), "{initiator}");
        assert!(initiator.contains("remote_ts = 10.128.0.1[udp/2500]"), "{initiator}");
        assert_eq!(connection(2_499), "c2");
        let responder = written(&right, &left);
        assert_eq!(responder.matches("esp_proposals").count(), 1);
        assert!(responder.contains("local_ts = 10.128.0.1\n"), "{responder}");
        fs::remove_dir_all(&folder).unwrap();
    }
}
