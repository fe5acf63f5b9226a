//! The daemon as a process of its own in a network namespace: starting, refusing to start,
//! control socket, reload, and leaving nothing behind. Needs root.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail the test")]

mod common;

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;

use adit_mgmt::vici::{Message, Packet};
use common::{Pair, SECRET, Site, wait_until};

const TUNNEL: &str = r#"
peer   = "203.0.113.7"
local  = "10.1.0.0/24"
remote = "10.2.0.0/24"
secret = "file:berlin.psk"
keep   = "on-demand"
"#;

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

/// CHECKLIST X02: orphan state is flushed at start-up.
#[test]
fn a_killed_daemon_leaves_nothing_that_the_next_does_not_remove() {
    let Some(mut site) = Site::new("killed") else { return };
    site.write("berlin.toml", TUNNEL, 0o644);
    site.write("berlin.psk", SECRET, 0o600);
    site.start();
    wait_until("the rule stands", || site.our_rules() == 1);

    site.kill();
    assert_eq!(site.our_rules(), 1, "a killed process cannot tidy up");
    fs::remove_file(site.directory.join("log")).unwrap();
    fs::remove_file(site.directory.join("tunnels/berlin.toml")).unwrap();
    site.start();
    // The socket listens before the host is tidied up: only who holds it may tidy up.
    wait_until("the killed one's rule is gone", || site.our_rules() == 0);
}

#[test]
fn a_stopped_daemon_leaves_nothing() {
    let Some(mut site) = Site::new("stopped") else { return };
    site.write("berlin.toml", TUNNEL, 0o644);
    site.write("berlin.psk", SECRET, 0o600);
    site.start();
    wait_until("the rule stands", || site.our_rules() == 1);
    assert_eq!(mode(&site.vici()), 0o600);

    site.terminate();
    assert_eq!(site.our_rules(), 0);
    assert!(!site.vici().exists());
}

#[test]
fn a_second_daemon_is_refused_with_the_port_it_wants() {
    let Some(mut site) = Site::new("second") else { return };
    site.start();

    let mut command = Command::new(env!("CARGO_BIN_EXE_aditd"));
    command.arg("--config").arg(&site.directory).arg("--vici").arg(site.directory.join("other"));
    let output = site.run_to_end(&mut command);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(
        String::from_utf8_lossy(&output.stderr),
        "error[E502]: 0.0.0.0:500 is already in use\n  \
         fix            stop the other IKE daemon (ss -ulpn names it)\n\n"
    );
    let output = site.run_to_end(&mut site.command());
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(text.starts_with("error[E502]") && text.contains("/vici is already in use"), "{text}");
}

#[test]
fn a_bad_file_changes_nothing() {
    let Some(mut site) = Site::new("reload") else { return };
    site.write("berlin.toml", TUNNEL, 0o644);
    site.write("berlin.psk", SECRET, 0o600);
    site.start();
    wait_until("the tunnel is loaded", || site.log().contains("configuration added"));
    let Some(before) = site.swanctl(&["--list-conns"]) else { return };

    site.write("paris.toml", "peer = \"192.0.2.1\"\nremotes = \"10.3.0.0/24\"\n", 0o644);
    hangup(&site);
    wait_until("the mistake is told", || site.log().contains("remotes"));
    assert_eq!(site.swanctl(&["--list-conns"]).unwrap(), before);
    assert!(site.log().contains("paris.toml:2"), "{}", site.log());
}

/// E507: a tunnel of the kernel loads where the kernel can, and otherwise changes nothing; `auto`
/// loads everywhere.
#[test]
fn a_tunnel_of_the_kernel_is_refused_by_name_where_the_kernel_cannot() {
    let Some(mut site) = Site::new("engine") else { return };
    site.write("berlin.toml", &format!("{TUNNEL}engine = \"auto\"\n"), 0o644);
    site.write("berlin.psk", SECRET, 0o600);
    site.start();
    wait_until("the tunnel is loaded", || site.log().contains("configuration added"));
    let kernel_can = !site.log().contains("the engine is in user space");

    site.write("berlin.toml", &format!("{TUNNEL}engine = \"kernel\"\n"), 0o644);
    hangup(&site);
    if kernel_can {
        // `auto` was the kernel already.
        return assert!(!site.log().contains("E507"), "{}", site.log());
    }
    wait_until("what is missing is told", || site.log().contains("E507"));
    assert!(site.log().contains("the kernel cannot be the tunnel's engine"), "{}", site.log());
    assert!(!site.log().contains("configuration changed"), "{}", site.log());
}

#[test]
fn swanctl_loads_lists_and_unloads() {
    let Some(mut site) = Site::new("swanctl") else { return };
    site.start();
    fs::write(site.directory.join("swanctl.conf"), SWANCTL_CONF).unwrap();
    let Some(loaded) = site.swanctl(&["--load-all", "--noprompt"]) else { return };
    assert!(loaded.contains("loaded ike secret 'ike-1'"), "{loaded}");
    assert!(loaded.contains("successfully loaded 1 connections, 0 unloaded"), "{loaded}");

    let listed = site.swanctl(&["--list-conns"]).unwrap();
    assert!(listed.contains("lab: IKEv2") && listed.contains("10.2.0.0/24"), "{listed}");

    assert_eq!(site.swanctl(&["--list-pols"]).unwrap(), "");
    let (missing, success) = site.swanctl_says(&["--uninstall", "--child", "net"]).unwrap();
    assert!(!success && missing.contains("policy 'net' not found"), "{missing}");
    site.swanctl(&["--install", "--child", "net"]).unwrap();
    let policies = site.swanctl(&["--list-pols"]).unwrap();
    assert_eq!(policies, "lab/net, TUNNEL\n  local:  10.1.0.0/24\n  remote: 10.2.0.0/24\n");
    wait_until("the rule stands", || site.our_rules() == 1);
    site.swanctl(&["--uninstall", "--child", "net"]).unwrap();
    assert_eq!(site.swanctl(&["--list-pols"]).unwrap(), "");
    wait_until("the rule is gone", || site.our_rules() == 0);

    fs::write(site.directory.join("swanctl.conf"), "connections { }\n").unwrap();
    let loaded = site.swanctl(&["--load-all", "--noprompt"]).unwrap();
    assert!(
        loaded.contains("0 connections, 1 unloaded") || loaded.contains("unloaded"),
        "{loaded}"
    );
    assert_eq!(site.swanctl(&["--list-conns"]).unwrap(), "");
}

/// swanctl shows nothing of a text that has line feeds or other than ASCII letters.
#[test]
fn swanctl_shows_what_is_wrong_with_a_file() {
    let Some(mut site) = Site::new("shown") else { return };
    site.start();
    site.write("b\u{e9}rlin.toml", "peer = \"192.0.2.1\"\nremotes = \"10.3.0.0/24\"\n", 0o644);
    let Some((shown, success)) = site.swanctl_says(&["--reload-settings"]) else { return };
    assert!(!success, "{shown}");
    assert!(shown.starts_with("reload-settings failed: E510: "), "{shown}");
    assert!(shown.contains(r"/tunnels/b\u{e9}rlin.toml:2: unknown key `remotes`"), "{shown}");
}

/// Both sides' values of a failure, line by line, before swanctl's own last word; and the steps of
/// a command that takes something down.
#[test]
fn swanctl_shows_the_steps_of_its_commands() {
    let Some(mut pair) = Pair::new("steps") else { return };
    for (site, here, there) in [(&mut pair.oslo, 1, 2), (&mut pair.berlin, 2, 1)] {
        site.start();
        let text = PAIR_CONF.replace("OURS", &here.to_string());
        let text = text.replace("THEIRS", &there.to_string());
        fs::write(site.directory.join("swanctl.conf"), text).unwrap();
        let Some(loaded) = site.swanctl(&["--load-all", "--noprompt"]) else { return };
        assert!(loaded.contains("successfully loaded 1 connections"), "{loaded}");
    }
    let initiate = |child| {
        pair.oslo.swanctl_says(&["--initiate", "--child", child, "--timeout", "20"]).unwrap()
    };
    let (up, success) = initiate("net");
    assert!(success, "{up}");
    assert!(up.contains("[IKE] reach: asking 192.0.2.2:4500\n"), "{up}");
    assert!(up.ends_with("initiate completed successfully\n"), "{up}");

    let (refused, success) = initiate("other");
    assert!(!success, "{refused}");
    for line in [
        "[IKE] error[E301]: lab: the two sides disagree about which networks to connect\n",
        "[IKE]   we asked for   10.1.0.0/24 <-> 10.9.1.0/24\n",
        "initiate failed: E301: lab: the two sides disagree",
    ] {
        assert!(refused.contains(line), "{line}\n{refused}");
    }
    let (down, _) = pair.oslo.swanctl_says(&["--terminate", "--ike", "lab"]).unwrap();
    assert!(down.contains("[IKE] traffic: net is closed, taken down by command\n"), "{down}");
    assert!(down.contains("[IKE] keys: the IKE SA is closed, taken down by command\n"), "{down}");
    assert!(down.ends_with("terminate completed successfully\n"), "{down}");
}

/// `initiate` to a silent peer runs for half a minute; what its client sends meanwhile waits in
/// memory.
#[test]
fn a_client_that_floods_its_running_command_is_cut_off() {
    const CHUNK: usize = 64 * 1024;
    const ACCEPTED_MAX: usize = 4 * 1024 * 1024;
    let Some(mut pair) = Pair::new("flood") else { return };
    pair.oslo.write("berlin.toml", &TUNNEL.replace("203.0.113.7", "192.0.2.2"), 0o644);
    pair.oslo.write("berlin.psk", SECRET, 0o600);
    pair.oslo.start();
    wait_until("the tunnel is loaded", || pair.oslo.log().contains("configuration added"));

    let mut stream = UnixStream::connect(pair.oslo.vici()).unwrap();
    let message = Message::new().with("child", "berlin");
    let command = Packet::Request { name: "initiate".into(), message };
    stream.write_all(&command.encode().unwrap()).unwrap();
    let more = Packet::Request { name: "version".into(), message: Message::new() };
    let more = more.encode().unwrap().repeat(CHUNK / 12);
    let mut accepted = 0;
    while accepted < ACCEPTED_MAX && stream.write_all(&more).is_ok() {
        accepted += more.len();
    }
    assert!(accepted < ACCEPTED_MAX, "{accepted} octets were taken");
    assert!(pair.oslo.tunnel("berlin").is_some(), "the daemon goes on");
}

const PAIR_CONF: &str = r"
connections {
  lab {
    remote_addrs = 192.0.2.THEIRS
    remote_port = 4500
    local { auth = psk
      id = gwOURS.lab }
    remote { auth = psk
      id = gwTHEIRS.lab }
    children {
      net { local_ts = 10.OURS.0.0/24
        remote_ts = 10.THEIRS.0.0/24 }
      other { local_ts = 10.OURS.0.0/24
        remote_ts = 10.9.OURS.0/24 }
    }
  }
}
secrets { ike-1 { secret = q3Vb0Zp6mKf8s1Yx4Tn7Lr2Wd5Hg9Jc0 } }
";

const SWANCTL_CONF: &str = r"
connections {
  lab {
    version = 2
    local_addrs = 192.0.2.1
    remote_addrs = 192.0.2.2
    proposals = aes256gcm16-prfsha384-x25519
    local { auth = psk
      id = a.lab }
    remote { auth = psk
      id = b.lab }
    children { net { local_ts = 10.1.0.0/24
      remote_ts = 10.2.0.0/24
      esp_proposals = aes256gcm16-x25519 } }
  }
}
secrets { ike-1 { id-1 = a.lab
  id-2 = b.lab
  secret = q3Vb0Zp6mKf8s1Yx4Tn7Lr2Wd5Hg9Jc0 } }
";

fn hangup(site: &Site) {
    let pid = site.daemon.as_ref().unwrap().id().to_string();
    assert!(Command::new("kill").args(["-HUP", &pid]).status().unwrap().success());
}
