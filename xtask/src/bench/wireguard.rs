//! WireGuards in user space: both ends started, given keys and addresses.

use std::io::Write as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::Context as _;

use super::load::MTU;
use super::rivals::{Rival, wg};
use super::subject::Subject;
use crate::clock;
use crate::interop::lab::{Lab, Side, ip, output};

/// The port of both ends.
const PORT: &str = "51820";

/// An interface is there within this time.
const START: Duration = Duration::from_secs(10);

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(50);

/// Starts both ends.
///
/// # Errors
///
/// One does not start, or does not take its configuration.
pub(crate) fn start(lab: &Lab, subject: Subject, rival: &Rival) -> anyhow::Result<Vec<Child>> {
    let wg = wg()?;
    let keys = [KeyPair::new(&wg)?, KeyPair::new(&wg)?];
    let mut processes = Vec::new();
    let [left_keys, right_keys] = &keys;
    let ends = [
        (&lab.left, &lab.right, left_keys, right_keys),
        (&lab.right, &lab.left, right_keys, left_keys),
    ];
    for (side, peer, own, others) in ends {
        let interface = interface(side, subject);
        processes.push(side.spawn(daemon(side, subject, rival, &interface), "output.log")?);
        wait_for(side, &interface)?;
        configure(&wg, side, peer, &interface, own, &others.public)?;
    }
    Ok(processes)
}

/// Its control socket lies in a folder that all namespaces share, so the name is one of a kind.
fn interface(side: &Side, subject: Subject) -> String {
    let first = |text: &str| text.chars().next().unwrap_or('x');
    format!("{}{}{}", first(subject.name()), first(side.name), std::process::id())
}

/// Each in the foreground, and otherwise as it comes.
fn daemon(side: &Side, subject: Subject, rival: &Rival, interface: &str) -> Command {
    let mut command = side.endless_command(&rival.program);
    command.arg("-f");
    if subject != Subject::WireguardGo {
        // They would look for the user who has called `sudo`.
        command.arg("--disable-drop-privileges");
    }
    command.arg(interface).env("WG_PROCESS_FOREGROUND", "1").env("LOG_LEVEL", "error");
    command.env("WG_LOG_FILE", side.folder.join("wireguard.log"));
    command
}

fn wait_for(side: &Side, interface: &str) -> anyhow::Result<()> {
    let socket = format!("/var/run/wireguard/{interface}.sock");
    let is_there = || {
        Path::new(&socket).exists()
            && ip(&["-n", &side.namespace, "link", "show", "dev", interface]).is_ok()
    };
    anyhow::ensure!(clock::poll(START, PAUSE, is_there), "{interface} did not appear");
    Ok(())
}

fn configure(
    wg: &Path,
    side: &Side,
    peer: &Side,
    interface: &str,
    own: &KeyPair,
    peers_key: &str,
) -> anyhow::Result<()> {
    let network = peer.network(false);
    let endpoint = format!("{}:{PORT}", peer.outside(false));
    let mut set = side.command(wg);
    set.args(["set", interface, "listen-port", PORT, "private-key", "/dev/stdin"]);
    set.args(["peer", peers_key, "allowed-ips", &network, "endpoint", &endpoint]);
    told(&mut set, &own.private).context("wg set")?;
    let namespace = side.namespace.as_str();
    ip(&["-n", namespace, "link", "set", interface, "mtu", &MTU.to_string(), "up"])?;
    ip(&["-n", namespace, "route", "add", &network, "dev", interface])
}

struct KeyPair {
    private: String,
    public: String,
}

impl KeyPair {
    fn new(wg: &Path) -> anyhow::Result<Self> {
        let private = output(Command::new(wg).arg("genkey"))?;
        let public = told(Command::new(wg).arg("pubkey"), &private)?.trim().to_owned();
        Ok(Self { private, public })
    }
}

/// Runs a command that reads `input`, and returns what it prints.
fn told(command: &mut Command, input: &str) -> anyhow::Result<String> {
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().with_context(|| format!("cannot start {command:?}"))?;
    child.stdin.take().context("it reads nothing")?.write_all(input.as_bytes())?;
    let output = child.wait_with_output()?;
    anyhow::ensure!(output.status.success(), "{command:?}: {}", output.status);
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
