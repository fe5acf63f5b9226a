//! Two network namespaces with a cable between them, and programs running in them.

use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::Context as _;

use super::janitor::Janitor;

/// Prefix of the names of all our namespaces.
const NAME: &str = "adit-interop";

/// The interface of each side on the cable.
pub(crate) const OUTSIDE: &str = "eth0";

/// Seconds until a command that should answer at once is given up.
const COMMAND_S_MAX: u32 = 40;

/// Numbers the labs of this process.
static NEXT: AtomicU32 = AtomicU32::new(0);

/// One end of the cable.
#[derive(Clone, Debug)]
pub(crate) struct Side {
    /// Name of its namespace.
    pub(crate) namespace: String,
    /// Its files: configuration, logs, sockets.
    pub(crate) folder: PathBuf,
    /// `left` or `right`.
    pub(crate) name: &'static str,
    number: u8,
}

/// The namespaces and their folder; all of it goes when this is dropped.
pub(crate) struct Lab {
    /// Where Adit runs.
    pub(crate) left: Side,
    /// Where strongSwan runs.
    pub(crate) right: Side,
    // Last, so that it outlives the rest.
    _janitor: Janitor,
}

impl Lab {
    /// Makes both namespaces and connects them. With `keep`, the folder stays and its name is
    /// printed.
    pub(crate) fn new(keep: bool) -> anyhow::Result<Self> {
        let mut janitor = Janitor::start()?;
        let names = [("left", 1), ("right", 2)];
        let [left, right] = sides(&mut janitor, keep, names)?;
        connect((&left, OUTSIDE), (&right, OUTSIDE))?;
        for side in [&left, &right] {
            side.add_addresses()?;
        }
        Ok(Self { left, right, _janitor: janitor })
    }
}

/// Makes namespaces with a folder for each, not connected to anything. With `keep`, the folders stay
/// and their name is printed. A side's number is that of its addresses.
///
/// # Errors
///
/// No right to make namespaces.
pub(crate) fn sides<const N: usize>(
    janitor: &mut Janitor,
    keep: bool,
    names: [(&'static str, u8); N],
) -> anyhow::Result<[Side; N]> {
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let id = format!("{}-{number}", std::process::id());
    let folder = std::env::temp_dir().join(format!("{NAME}-{id}"));
    if keep {
        eprintln!("files stay in {}", folder.display());
    } else {
        janitor.folder(&folder)?;
    }
    let mut place = 0;
    let sides = names.map(|(name, number)| {
        place += 1;
        let namespace = format!("{NAME}-{id}-{place}");
        Side { namespace, folder: folder.join(name), name, number }
    });
    for side in &sides {
        fs::create_dir_all(&side.folder)
            .with_context(|| format!("cannot make {}", side.folder.display()))?;
        janitor.namespace(&side.namespace)?;
        ip(&["netns", "add", &side.namespace])?;
        ip(&["-n", &side.namespace, "link", "set", "lo", "up"])?;
    }
    Ok(sides)
}

/// A veth pair between two interfaces, made inside the namespaces so that the host never sees it.
pub(crate) fn connect(left: (&Side, &str), right: (&Side, &str)) -> anyhow::Result<()> {
    let ((a, a_name), (b, b_name)) = (left, right);
    let (a, b) = (a.namespace.as_str(), b.namespace.as_str());
    let pair = ["type", "veth", "peer", "name", b_name, "netns", b];
    ip(&[&["-n", a, "link", "add", a_name][..], &pair].concat())?;
    for (namespace, name) in [(a, a_name), (b, b_name)] {
        ip(&["-n", namespace, "link", "set", name, "up"])?;
    }
    Ok(())
}

impl Side {
    /// A side of no lab, for tests of what is written into its folder.
    #[cfg(test)]
    pub(crate) fn example(name: &'static str, number: u8, folder: PathBuf) -> Self {
        Self { namespace: name.to_owned(), folder, name, number }
    }

    /// Address on the cable.
    pub(crate) fn outside(&self, v6: bool) -> IpAddr {
        on_the_cable(self.number, v6)
    }

    /// Address of the other side on the cable.
    pub(crate) fn other_outside(&self, v6: bool) -> IpAddr {
        on_the_cable(3 - self.number, v6)
    }

    /// Address behind the gateway.
    pub(crate) fn inside(&self, v6: bool) -> IpAddr {
        address(v6, &format!("10.{}.0.1", self.number), &format!("fd0{}::1", self.number))
    }

    /// Network behind the gateway.
    pub(crate) fn network(&self, v6: bool) -> String {
        if v6 { format!("fd0{}::/64", self.number) } else { format!("10.{}.0.0/24", self.number) }
    }

    /// Name in IKE.
    pub(crate) fn identity(&self) -> String {
        format!("{}.example", self.name)
    }

    fn add_addresses(&self) -> anyhow::Result<()> {
        self.add_address(&format!("{}/24", self.outside(false)), OUTSIDE)?;
        self.add_address(&format!("{}/64", self.outside(true)), OUTSIDE)?;
        self.add_address(&format!("{}/32", self.inside(false)), "lo")?;
        self.add_address(&format!("{}/128", self.inside(true)), "lo")
    }

    /// Takes the addresses off the cable's end, for a guest whose interface lies on it.
    pub(crate) fn hand_over(&self) -> anyhow::Result<()> {
        for interface in [OUTSIDE, "lo"] {
            ip(&["-n", &self.namespace, "addr", "flush", "dev", interface])?;
        }
        ip(&["-n", &self.namespace, "link", "set", OUTSIDE, "promisc", "on"])
    }

    /// Cuts super-packets before they go out by an interface, as a network card does: Linux in a guest takes
    /// none of UDP from the socket that is its card (before Linux 6.2 a virtio-net header says nothing of
    /// `GSO_UDP_L4`), and loses them whole.
    pub(crate) fn cut_super_packets(&self, interface: &str) -> anyhow::Result<()> {
        ip(&["-n", &self.namespace, "link", "set", interface, "gso_max_segs", "1"])
    }

    /// Gives this side one address more.
    pub(crate) fn add_address(&self, address: &str, interface: &str) -> anyhow::Result<()> {
        let base = ["-n", &self.namespace, "addr", "add", address, "dev", interface];
        // Duplicate address detection would take longer than the whole test.
        let nodad: &[&str] = if address.contains(':') { &["nodad"] } else { &[] };
        ip(&[&base, nodad].concat())
    }

    /// Takes the address on the cable from this side and gives it another one.
    pub(crate) fn readdress(&self, old: &str, new: &str) -> anyhow::Result<()> {
        ip(&["-n", &self.namespace, "addr", "del", old, "dev", OUTSIDE])?;
        self.add_address(new, OUTSIDE)
    }

    /// A command that will run inside the namespace, and is ended if it takes too long.
    pub(crate) fn command(&self, program: &Path) -> Command {
        let mut command = self.endless_command(Path::new("timeout"));
        command.args(["-k", "2", &COMMAND_S_MAX.to_string()]).arg(program);
        command
    }

    /// A command that will run inside the namespace until it ends or is ended.
    pub(crate) fn endless_command(&self, program: &Path) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.namespace]).arg(program);
        command.env("LC_ALL", "C").stdin(Stdio::null());
        command
    }

    /// Starts a daemon; what it prints goes to `LOG` in the folder of this side.
    pub(crate) fn spawn(&self, mut command: Command, log: &str) -> anyhow::Result<Child> {
        let file = fs::OpenOptions::new().create(true).append(true).open(self.folder.join(log))?;
        command.stdout(file.try_clone()?).stderr(file);
        command.spawn().with_context(|| format!("cannot start {command:?}"))
    }
}

fn on_the_cable(number: u8, v6: bool) -> IpAddr {
    address(v6, &format!("192.0.2.{number}"), &format!("2001:db8::{number}"))
}

fn address(v6: bool, four: &str, six: &str) -> IpAddr {
    let text = if v6 { six } else { four };
    text.parse().expect("an address made from a digit")
}

/// Runs `ip`.
pub(crate) fn ip(arguments: &[&str]) -> anyhow::Result<()> {
    output(Command::new("ip").args(arguments)).map(drop)
}

/// Runs a command to its end and returns what it printed; an error holds what it complained of.
pub(crate) fn output(command: &mut Command) -> anyhow::Result<String> {
    let output = command.output().with_context(|| format!("cannot start {command:?}"))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() {
        return Ok(text);
    }
    let complaint = String::from_utf8_lossy(&output.stderr);
    let words: Vec<&str> = text.lines().chain(complaint.lines()).collect();
    let last = words.get(words.len().saturating_sub(LINES_SHOWN)..).unwrap_or_default().join(" | ");
    let arguments: Vec<_> = command.get_args().map(|a| a.to_string_lossy()).collect();
    anyhow::bail!("`{}`: {}: {last}", arguments.join(" "), output.status)
}

/// Lines of a failed command's output that an error repeats.
const LINES_SHOWN: usize = 12;
