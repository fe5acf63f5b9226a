//! The daemon as a process of its own in a network namespace: starting, refusing to start,
//! control socket, reload, and leaving nothing behind. Needs root.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail the test")]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use adit_sys::netlink::Family;
use adit_sys::netns::{Namespace, can_create};

/// A namespace with a configuration directory and perhaps a daemon.
struct Site {
    namespace: Namespace,
    directory: PathBuf,
    daemon: Option<Child>,
}

impl Site {
    /// `None`, with a message, where namespaces cannot be made; in CI that is a failure.
    fn new(name: &str) -> Option<Self> {
        if !can_create() {
            assert!(std::env::var_os("CI").is_none(), "namespaces are needed in CI");
            eprintln!("SKIPPED: needs the right to make network namespaces (root)");
            return None;
        }
        let directory =
            std::env::temp_dir().join(format!("aditd-test-{}-{name}", std::process::id()));
        fs::create_dir_all(directory.join("tunnels")).unwrap();
        Some(Self { namespace: Namespace::create().unwrap(), directory, daemon: None })
    }

    fn write(&self, file: &str, text: &str, mode: u32) {
        let path = self.directory.join("tunnels").join(file);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    }

    fn tunnel(&self) {
        self.write("berlin.toml", TUNNEL, 0o644);
        self.write("berlin.psk", SECRET, 0o600);
    }

    fn vici(&self) -> PathBuf {
        self.directory.join("vici")
    }

    fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_aditd"));
        command.arg("--config").arg(&self.directory);
        command.arg("--vici").arg(self.vici());
        command
    }

    fn start(&mut self) {
        let mut command = self.command();
        command.arg("--log").arg(self.directory.join("log"));
        self.daemon = Some(self.namespace.spawn(&mut command).unwrap());
        wait_until("the daemon listens", || self.log().contains("started"));
    }

    /// Runs a second daemon to its end.
    fn run_to_end(&self, command: &mut Command) -> Output {
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        self.namespace.spawn(command).unwrap().wait_with_output().unwrap()
    }

    fn log(&self) -> String {
        fs::read_to_string(self.directory.join("log")).unwrap_or_default()
    }

    /// Runs Debian's swanctl against our socket; `None`, with a message, where it is missing.
    fn swanctl(&self, arguments: &[&str]) -> Option<String> {
        let mut command = Command::new("swanctl");
        command.args(arguments).arg("--uri").arg(format!("unix://{}", self.vici().display()));
        command.env("SWANCTL_DIR", &self.directory);
        match command.output() {
            Ok(output) => {
                let text = String::from_utf8_lossy(&output.stdout).into_owned()
                    + &String::from_utf8_lossy(&output.stderr);
                assert!(output.status.success(), "swanctl {arguments:?}: {text}");
                Some(text)
            }
            Err(error) => {
                assert!(std::env::var_os("CI").is_none(), "swanctl is needed in CI: {error}");
                eprintln!("SKIPPED: needs swanctl (package strongswan-swanctl)");
                None
            }
        }
    }

    fn our_rules(&self) -> usize {
        let rules = |family| {
            self.namespace
                .netlink()
                .unwrap()
                .rules(family)
                .unwrap()
                .iter()
                .filter(|rule| rule.priority == adit_sys::route::RULE_PRIORITY)
                .count()
        };
        rules(Family::V4) + rules(Family::V6)
    }

    fn kill(&mut self) {
        if let Some(mut daemon) = self.daemon.take() {
            daemon.kill().unwrap();
            daemon.wait().unwrap();
        }
    }

    fn terminate(&mut self) {
        let mut daemon = self.daemon.take().unwrap();
        adit_sys::process::terminate(daemon.id()).unwrap();
        let status = daemon.wait().unwrap();
        assert!(status.success(), "{status}");
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        self.kill();
        let _ = fs::remove_dir_all(&self.directory);
    }
}

const TUNNEL: &str = r#"
peer   = "203.0.113.7"
local  = "10.1.0.0/24"
remote = "10.2.0.0/24"
secret = "file:berlin.psk"
keep   = "on-demand"
"#;
const SECRET: &str = "q3Vb0Zp6mKf8s1Yx4Tn7Lr2Wd5Hg9Jc0";

fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = adit_sys::clock::now() + Duration::from_secs(10);
    while !condition() {
        assert!(adit_sys::clock::now() < deadline, "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

/// CHECKLIST X02: orphan state is flushed at start-up.
#[test]
fn a_killed_daemon_leaves_nothing_that_the_next_does_not_remove() {
    let Some(mut site) = Site::new("killed") else { return };
    site.tunnel();
    site.start();
    wait_until("the rule stands", || site.our_rules() == 1);

    site.kill();
    assert_eq!(site.our_rules(), 1, "a killed process cannot tidy up");
    fs::remove_file(site.directory.join("log")).unwrap();
    fs::remove_file(site.directory.join("tunnels/berlin.toml")).unwrap();
    site.start();
    assert_eq!(site.our_rules(), 0);
}

#[test]
fn a_stopped_daemon_leaves_nothing() {
    let Some(mut site) = Site::new("stopped") else { return };
    site.tunnel();
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
    site.tunnel();
    site.start();
    wait_until("the tunnel is loaded", || site.log().contains("configuration added"));
    let Some(before) = site.swanctl(&["--list-conns"]) else { return };

    site.write("paris.toml", "peer = \"192.0.2.1\"\nremotes = \"10.3.0.0/24\"\n", 0o644);
    hangup(&site);
    wait_until("the mistake is told", || site.log().contains("remotes"));
    assert_eq!(site.swanctl(&["--list-conns"]).unwrap(), before);
    assert!(site.log().contains("paris.toml:2"), "{}", site.log());
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

    fs::write(site.directory.join("swanctl.conf"), "connections { }\n").unwrap();
    let loaded = site.swanctl(&["--load-all", "--noprompt"]).unwrap();
    assert!(
        loaded.contains("0 connections, 1 unloaded") || loaded.contains("unloaded"),
        "{loaded}"
    );
    assert_eq!(site.swanctl(&["--list-conns"]).unwrap(), "");
}

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
