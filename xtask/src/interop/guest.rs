//! A guest: User-mode Linux in a namespace of the lab, its interface on the end of the cable
//! there. So a kernel with IPsec of its own is there whatever the machine's kernel can do.

use std::cell::Cell;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::Duration;

use anyhow::Context as _;

use super::lab::{OUTSIDE, Side, output};
use crate::clock;

/// What a guest is made of.
pub(crate) const PROGRAMS: [&str; 4] = ["ip", "cc", "linux.uml", "modprobe"];

/// Where the guest sees the exchange folder.
pub(crate) const EXCHANGE: &str = "/mnt/exchange";

/// The guest's interface on the cable.
const INTERFACE: &str = "vec0";

/// Time from the start until the guest takes its first script; it needs two seconds.
const BOOT_MAX: Duration = Duration::from_secs(60);

/// Time for one script.
const SCRIPT_MAX: Duration = Duration::from_secs(120);

/// Time to switch itself off.
const HALT_MAX: Duration = Duration::from_secs(3);

const PAUSE: Duration = Duration::from_millis(20);

/// A running kernel. It takes the addresses of its side over, and is switched off when dropped; if
/// we are killed, the lab's janitor ends it with all that runs in the namespace.
pub(crate) struct Guest {
    process: Child,
    /// Seen by the guest as [`EXCHANGE`].
    folder: PathBuf,
    log: PathBuf,
    scripts: Cell<u32>,
}

impl Guest {
    /// Boots a kernel on `side` and gives it the addresses of `side`.
    pub(crate) fn boot(side: &Side) -> anyhow::Result<Self> {
        let folder = side.folder.join("guest");
        fs::create_dir_all(folder.join("tmp")).context("cannot make the guest's folder")?;
        hand_over(side)?;
        let init = folder.join("init.sh");
        fs::write(&init, INIT.replace("EXCHANGE", &folder.to_string_lossy()))?;
        output(Command::new("chmod").arg("755").arg(&init))?;
        let process = side.spawn(kernel(side, &folder, &init)?, LOG)?;
        let log = side.folder.join(LOG);
        let guest = Self { process, folder, log, scripts: Cell::new(0) };
        let ready = guest.folder.join("ready");
        let is_up = || ready.exists();
        anyhow::ensure!(clock::poll(BOOT_MAX, PAUSE, is_up), "no guest: {}", guest.last_words());
        guest.run(&addresses(side)).context("the guest's addresses")?;
        Ok(guest)
    }

    /// Runs a shell script in the guest, in the exchange folder, and returns what it printed.
    pub(crate) fn run(&self, script: &str) -> anyhow::Result<String> {
        let number = self.scripts.get() + 1;
        self.scripts.set(number);
        let file = |ending: &str| self.folder.join(format!("{number}.{ending}"));
        fs::write(file("part"), script)?;
        fs::rename(file("part"), file("sh"))?;
        let status = file("status");
        if !clock::poll(SCRIPT_MAX, PAUSE, || status.exists()) {
            anyhow::bail!("the guest did not end a script: {}", self.last_words());
        }
        let printed = fs::read_to_string(file("out"))?;
        let status = fs::read_to_string(status)?;
        let status = status.trim();
        anyhow::ensure!(status == "0", "in the guest, exit status {status}: {}", last(&printed));
        Ok(printed)
    }

    /// The exchange folder, as it is called outside.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The end of what its kernel said.
    pub(crate) fn last_words(&self) -> String {
        fs::read_to_string(&self.log).map_or_else(|error| error.to_string(), |text| last(&text))
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        let _ = fs::write(self.folder.join("halt"), "");
        let process = &mut self.process;
        if !clock::poll(HALT_MAX, PAUSE, || !matches!(process.try_wait(), Ok(None))) {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

/// Takes the addresses off the cable's end: the guest's interface lies on it.
fn hand_over(side: &Side) -> anyhow::Result<()> {
    for words in [["addr", "flush", "dev", OUTSIDE], ["addr", "flush", "dev", "lo"]] {
        output(Command::new("ip").args(["-n", &side.namespace]).args(words))?;
    }
    let promiscuous = ["link", "set", OUTSIDE, "promisc", "on"];
    output(Command::new("ip").args(["-n", &side.namespace]).args(promiscuous)).map(drop)
}

/// `linux.uml` with the machine's root, read-only, as its own.
fn kernel(side: &Side, folder: &Path, init: &Path) -> anyhow::Result<Command> {
    let shim = folder.join("xstate.so");
    let source = folder.join("xstate.c");
    fs::write(&source, XSTATE)?;
    output(Command::new("cc").args(["-O2", "-shared", "-fPIC", "-o"]).arg(&shim).arg(&source))?;
    let temporary = folder.join("tmp");
    let mut command = side.endless_command(Path::new("env"));
    command.arg(format!("LD_PRELOAD={}", shim.display()));
    command.arg(format!("TMPDIR={}", temporary.display()));
    command.args(["linux.uml", "mem=192M", "rootfstype=hostfs", "rootflags=/", "ro"]);
    command.arg(format!("init={}", init.display()));
    command.args(["con=null", "con0=null,fd:1", "ssl=null", "umid=guest"]);
    command.arg(format!("uml_dir={}/", temporary.display()));
    command.arg(format!("vec0:transport=raw,ifname={OUTSIDE},depth=128,gro=1"));
    Ok(command)
}

fn addresses(side: &Side) -> String {
    format!(
        "ip link set {INTERFACE} up && ip addr add {}/24 dev {INTERFACE} &&
ip addr add {}/64 dev {INTERFACE} nodad && ip addr add {}/32 dev lo && ip addr add {}/128 dev lo",
        side.outside(false),
        side.outside(true),
        side.inside(false),
        side.inside(true),
    )
}

/// The last lines of a text in one.
fn last(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines.get(lines.len().saturating_sub(LINES_SHOWN)..).unwrap_or_default().join(" | ")
}

const LINES_SHOWN: usize = 8;

/// The kernel's console.
const LOG: &str = "guest.log";

const INIT: &str = include_str!("guest/init.sh");

const XSTATE: &str = include_str!("guest/xstate.c");
