//! Both ends: two daemons of one make, configured, and told to connect.

use std::fs;
use std::os::fd::AsFd as _;
use std::path::Path;
use std::process::{Child, Command};
use std::time::Duration;

use anyhow::ensure;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::charon;
use super::usage::Usage;
use super::vici::Client;
use crate::interop::lab::{Lab, Side};
use crate::{clock, needs, root};

/// Whose daemons.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Make {
    /// Ours.
    Adit {
        /// With ML-KEM-768 beside X25519.
        post_quantum: bool,
    },
    /// strongSwan's.
    Charon,
}

/// Our half-open IKE SAs stay below the number from which cookies are asked for.
const ADIT_IN_FLIGHT: usize = 24;
/// charon's threads want more to do.
const CHARON_IN_FLIGHT: usize = 200;
/// A daemon has opened its socket, or loaded its tunnels, by then.
const START: Duration = Duration::from_secs(300);
/// All handshakes of a step are done by then.
const CONNECT: Duration = Duration::from_secs(300);
const PAUSE: Duration = Duration::from_millis(10);
/// A handshake that takes longer than this has failed.
const ANSWER_MS: u16 = 20_000;

impl Make {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Adit { post_quantum: false } => "adit x25519",
            Self::Adit { post_quantum: true } => "adit x25519+mlkem768",
            Self::Charon => "charon x25519",
        }
    }
}

/// One daemon.
struct End {
    daemon: Child,
    vici: Client,
}

/// The initiator and the responder.
pub(super) struct Ends {
    make: Make,
    left: End,
    right: End,
    /// More connections to the initiator, one for each handshake in flight.
    slots: Vec<Client>,
    /// Tunnels that each side has.
    pub(super) tunnels: usize,
    /// Seconds until the initiator had them.
    pub(super) load_s: f64,
    begun: usize,
    sides: [Side; 2],
}

impl Ends {
    /// Starts both, with room for so many IKE SAs.
    pub(super) fn start(
        lab: &Lab,
        make: Make,
        program: Option<&Path>,
        tunnels: usize,
    ) -> anyhow::Result<Self> {
        let (left, right) = (&lab.left, &lab.right);
        if make == Make::Charon {
            charon::add_hosts(lab)?;
        }
        let mut load_s = 0.0;
        let mut start = |side: &Side, peer: &Side| -> anyhow::Result<End> {
            write(side, peer, make, tunnels)?;
            let mut end = End::start(side, make, program)?;
            let begun = clock::now();
            end.load(side, make, tunnels)?;
            load_s = begun.elapsed().as_secs_f64();
            Ok(end)
        };
        let right_end = start(right, left)?;
        let left_end = start(left, right)?;
        let slots = match make {
            Make::Adit { .. } => ADIT_IN_FLIGHT,
            Make::Charon => 0,
        };
        let slots = (0..slots).map(|_| Client::connect(&socket(left)));
        let slots = slots.collect::<anyhow::Result<_>>()?;
        let sides = [left.clone(), right.clone()];
        Ok(Self { make, left: left_end, right: right_end, slots, tunnels, load_s, begun: 0, sides })
    }

    /// IKE SAs that the responder has established.
    pub(super) fn established(&mut self) -> anyhow::Result<usize> {
        let stats = self.right.vici.ask("stats", &[])?;
        Ok(stats.number("ikesas.total")?.saturating_sub(stats.number("ikesas.half-open")?))
    }

    /// An error unless each IKE SA that was asked for has its child SA.
    pub(super) fn check_children(&mut self) -> anyhow::Result<()> {
        if self.make == Make::Charon {
            for side in &self.sides {
                let children = charon::children(side)?;
                ensure!(children == self.begun, "{children} child SAs of {}", self.begun);
            }
        }
        Ok(())
    }

    /// Both daemons.
    pub(super) fn processes(&self) -> [u32; 2] {
        [self.left.daemon.id(), self.right.daemon.id()]
    }

    /// What each has used.
    pub(super) fn usage(&self) -> anyhow::Result<[Usage; 2]> {
        Ok([Usage::of(self.left.daemon.id())?, Usage::of(self.right.daemon.id())?])
    }

    /// Makes so many IKE SAs.
    pub(super) fn connect(&mut self, count: usize) -> anyhow::Result<()> {
        match self.make {
            Make::Adit { .. } => self.connect_adit(count),
            Make::Charon => self.connect_charon(count),
        }
    }

    /// Every slot waits for one handshake at a time.
    fn connect_adit(&mut self, count: usize) -> anyhow::Result<()> {
        let end = self.begun.saturating_add(count);
        let mut busy = vec![false; self.slots.len()];
        loop {
            for (slot, busy) in self.slots.iter_mut().zip(&mut busy) {
                if !*busy && self.begun < end {
                    let timeout = ANSWER_MS.to_string();
                    let arguments = [("ike", &*name(self.begun)), ("timeout", &*timeout)];
                    slot.send("initiate", &arguments)?;
                    self.begun += 1;
                    *busy = true;
                }
            }
            if !busy.contains(&true) {
                return Ok(());
            }
            let mut waiting: Vec<PollFd<'_>> = self
                .slots
                .iter()
                .map(|slot| PollFd::new(slot.stream().as_fd(), PollFlags::POLLIN))
                .collect();
            poll(&mut waiting, PollTimeout::from(ANSWER_MS))?;
            let ready: Vec<bool> =
                waiting.iter().map(|one| one.any().unwrap_or_default()).collect();
            ensure!(ready.contains(&true), "a handshake does not come to its end");
            for ((slot, busy), ready) in self.slots.iter_mut().zip(&mut busy).zip(ready) {
                if ready {
                    slot.answer()?.check()?;
                    *busy = false;
                }
            }
        }
    }

    /// Commands that return at once, and a look at the responder now and then.
    fn connect_charon(&mut self, count: usize) -> anyhow::Result<()> {
        let before = self.established()?;
        let (mut begun, mut done) = (0, 0);
        let start = clock::now();
        while done < count {
            ensure!(start.elapsed() < CONNECT, "{done} of {count} handshakes in {CONNECT:?}");
            while begun < count && begun < done + CHARON_IN_FLIGHT {
                let (ike, child) = (charon::connection(self.begun), name(self.begun));
                let arguments =
                    [("ike", &*ike), ("child", &*child), ("timeout", "-1"), ("init-limits", "no")];
                self.left.vici.ask("initiate", &arguments)?.check()?;
                self.begun += 1;
                begun += 1;
            }
            done = self.established()?.saturating_sub(before);
            std::thread::sleep(PAUSE);
        }
        Ok(())
    }
}

impl End {
    /// Starts a daemon that has nothing loaded yet.
    fn start(side: &Side, make: Make, program: Option<&Path>) -> anyhow::Result<Self> {
        let socket = socket(side);
        let daemon = side.spawn(daemon(side, make, program), "output.log")?;
        ensure!(
            clock::poll(START, PAUSE, || Client::connect(&socket).is_ok()),
            "{} opened no control socket",
            make.name()
        );
        Ok(Self { daemon, vici: Client::connect(&socket)? })
    }

    /// Gives it its tunnels and waits until it has them.
    fn load(&mut self, side: &Side, make: Make, tunnels: usize) -> anyhow::Result<()> {
        if make == Make::Charon {
            return charon::swanctl(side, "--load-all").map(drop);
        }
        fs::rename(side.folder.join("later"), side.folder.join("config/tunnels"))?;
        self.vici.ask("reload-settings", &[])?.check()?;
        // All roles have taken their part when the last tunnel's route is there.
        let last = network(PEER, tunnels.saturating_sub(1), side);
        let has_route = || -> bool {
            let mut ip = side.command(Path::new("ip"));
            let output = ip.args(["route", "show", "table", "all", &last]).output();
            output.is_ok_and(|output| !output.stdout.is_empty())
        };
        ensure!(clock::poll(START, PAUSE, has_route), "the tunnels are not there");
        self.vici.ask("stats", &[]).map(drop)
    }
}

impl Drop for End {
    fn drop(&mut self) {
        let _ = self.daemon.kill();
        let _ = self.daemon.wait();
    }
}

pub(super) fn socket(side: &Side) -> std::path::PathBuf {
    side.folder.join("vici")
}

fn daemon(side: &Side, make: Make, ours: Option<&Path>) -> Command {
    if make == Make::Charon {
        let program = needs::find("charon-systemd").unwrap_or_default();
        let mut command = side.endless_command(&program);
        command.env("STRONGSWAN_CONF", side.folder.join("strongswan.conf"));
        return command;
    }
    let built = root::target().join("release/aditd");
    let mut command = side.endless_command(ours.unwrap_or(&built));
    command.arg("--config").arg(side.folder.join("config")).arg("--vici").arg(socket(side));
    command.arg("--log").arg(side.folder.join("aditd.log")).args(["--log-level", "warn"]);
    command
}

// ---- Configuration ----

fn write(side: &Side, peer: &Side, make: Make, tunnels: usize) -> anyhow::Result<()> {
    match make {
        Make::Adit { post_quantum } => write_adit(side, peer, post_quantum, tunnels),
        Make::Charon => charon::write(side, peer, tunnels),
    }
}

/// The name of a tunnel.
pub(super) fn name(number: usize) -> String {
    format!("t{number:06}")
}

/// A host behind a side.
fn network(of: Behind, number: usize, side: &Side) -> String {
    let is_left = (side.name == "left") == (of == OWN);
    let base = if is_left { 64 } else { 128 };
    let [_, b, c, d] = u32::try_from(number).unwrap_or(u32::MAX).to_be_bytes();
    format!("10.{}.{c}.{d}", base + b)
}

/// Whether a host is this side's own.
type Behind = bool;
const OWN: Behind = true;
const PEER: Behind = false;

fn write_adit(side: &Side, peer: &Side, post_quantum: bool, tunnels: usize) -> anyhow::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    let later = side.folder.join("later");
    fs::create_dir_all(&later)?;
    fs::create_dir_all(side.folder.join("config"))?;
    let secret = later.join("bench.psk");
    fs::write(&secret, SECRET)?;
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o600))?;
    let more = if post_quantum { "-ke1_mlkem768" } else { "" };
    for number in 0..tunnels {
        let text = format!(
            "peer = \"{}\"\naddress = \"{}\"\nid = \"{}{number}.example\"\n\
             peer_id = \"{}{number}.example\"\nlocal = \"{}\"\nremote = \"{}\"\n\
             secret = \"file:bench.psk\"\nkeep = \"on-demand\"\ndpd = \"off\"\n\
             ike = \"aes128gcm16-prfsha256-x25519{more}\"\nesp = \"aes128gcm16\"\n",
            peer.outside(false),
            side.outside(false),
            side.name,
            peer.name,
            network(OWN, number, side),
            network(PEER, number, side),
        );
        fs::write(later.join(format!("{}.toml", name(number))), text)?;
    }
    Ok(())
}

pub(super) const SECRET: &str = "a secret of this bench, 0123456789abcdef";
