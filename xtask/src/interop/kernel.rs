//! `cargo xtask interop kernel`: our daemon with `engine = "kernel"` in a guest, on the right side
//! of the lab, against our daemon in user space and against strongSwan on the left.
//!
//! What counts is what the guest's kernel says: SAs of the mode that was meant, through which the
//! pings went, and nothing left when the tunnel is down.

mod bundle;
mod by_hand;
mod steered;

use std::fs;
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::Context as _;

use super::gateway::{Gateway, Level, Make};
use super::in_guest::{State, states};
use super::lab::{Lab, OUTSIDE, Side, output};
use super::plan::{CONNECTION, Plan, SECRET};
use super::raw::{self, IkeSa};
use super::{Figures, Row, adit, ping};
use crate::linux::guest::{EXCHANGE, Guest};
use crate::outcome::Status;
use crate::{clock, linux, needs, root};

/// How packets travel in a case.
#[derive(Clone, Copy, Debug)]
struct Shape {
    transport: bool,
    outside_v6: bool,
    inside_v6: bool,
    udp: bool,
    /// By IKEv1, with AH around ESP.
    bundle: bool,
}

const TUNNEL: Shape =
    Shape { transport: false, outside_v6: false, inside_v6: false, udp: false, bundle: false };
const TRANSPORT: Shape = Shape { transport: true, ..TUNNEL };

/// One case.
struct Case {
    name: &'static str,
    claim: &'static str,
    peer: Make,
    shape: Shape,
    run: fn(&Bench<'_>) -> anyhow::Result<Figures>,
}

const fn ours(name: &'static str, claim: &'static str, shape: Shape) -> Case {
    Case { name, claim, peer: Make::Adit, shape, run: everything }
}

const fn theirs(name: &'static str, claim: &'static str, shape: Shape) -> Case {
    Case { name, claim, peer: Make::StrongSwan, shape, run: everything }
}

const fn bundled(name: &'static str, claim: &'static str, shape: Shape) -> Case {
    let shape = Shape { bundle: true, ..shape };
    Case { name, claim, peer: Make::Adit, shape, run: bundle::run }
}

const fn special(
    name: &'static str,
    claim: &'static str,
    run: fn(&Bench<'_>) -> anyhow::Result<Figures>,
) -> Case {
    Case { name, claim, peer: Make::Adit, shape: TUNNEL, run }
}

/// All of them. What is the same for all: up from either side, pings both ways, new keys from
/// either side under pings of which none is lost, and down.
const CASES: [Case; 26] = [
    ours("tunnel-4", "tunnel, ESP over IPv4, our user space", TUNNEL),
    ours(
        "tunnel-6",
        "tunnel, ESP over IPv6",
        Shape { outside_v6: true, inside_v6: true, ..TUNNEL },
    ),
    ours("tunnel-6-in-4", "IPv6 in ESP over IPv4", Shape { inside_v6: true, ..TUNNEL }),
    ours("tunnel-4-in-6", "IPv4 in ESP over IPv6", Shape { outside_v6: true, ..TUNNEL }),
    ours("tunnel-4-udp", "tunnel, ESP in UDP over IPv4", Shape { udp: true, ..TUNNEL }),
    ours("tunnel-6-udp", "ESP in UDP over IPv6", Shape { udp: true, outside_v6: true, ..TUNNEL }),
    ours("transport-4", "transport mode over IPv4", TRANSPORT),
    ours("transport-6", "transport mode over IPv6", Shape { outside_v6: true, ..TRANSPORT }),
    ours("transport-4-udp", "transport mode in UDP", Shape { udp: true, ..TRANSPORT }),
    ours(
        "transport-6-udp",
        "transport mode in UDP over IPv6",
        Shape { udp: true, outside_v6: true, ..TRANSPORT },
    ),
    // CHECKLIST S10, U16.
    bundled("bundle-4", "AH around an ESP tunnel, by IKEv1", TUNNEL),
    bundled(
        "bundle-4-in-6",
        "AH around IPv4 in ESP over IPv6",
        Shape { outside_v6: true, ..TUNNEL },
    ),
    bundled(
        "bundle-6-in-4",
        "AH around IPv6 in ESP over IPv4",
        Shape { inside_v6: true, ..TUNNEL },
    ),
    bundled("bundle-transport", "AH around ESP between two hosts", TRANSPORT),
    theirs("strongswan-4", "tunnel, ESP in UDP, strongSwan", Shape { udp: true, ..TUNNEL }),
    theirs(
        "strongswan-6",
        "IPv6 in ESP in UDP over IPv6, strongSwan",
        Shape { udp: true, outside_v6: true, inside_v6: true, ..TUNNEL },
    ),
    special(
        "acquire",
        "the first packet brings an on-demand tunnel up; `auto` is the kernel here",
        acquire,
    ),
    special("expire", "the kernel's soft limit brings new keys, no ping is lost", expire),
    Case {
        shape: Shape { udp: true, ..TUNNEL },
        ..special(
            "moved",
            "the peer's NAT gives it another port, SAs and their numbers follow",
            steered::port,
        )
    },
    Case {
        shape: Shape { udp: true, ..TUNNEL },
        ..special(
            "moved-address",
            "the peer's address changes under pings, SAs and their numbers follow",
            steered::address,
        )
    },
    // CHECKLIST I15.
    special("refused", "the kernel takes no SA: the peer is told, nothing stays", refused),
    special(
        "by-hand",
        "SAs of sas/NAME.toml in user space and `ip xfrm` in the guest: a pair, and one to a group",
        by_hand::run,
    ),
    special("killed", "a killed daemon's SAs and policies go at the next start", killed),
    // Behind `refused`, which wants a kernel whose ESP nobody holds any more.
    special("mark", "packets with the mark go through the tunnel, others do not", steered::mark),
    special(
        "no-offload",
        "no network device does ESP: the peer is told, and so is the operator",
        steered::no_offload,
    ),
    special(
        "no-interface",
        "a kernel without XFRM interfaces: the tunnel is refused, nothing changes",
        steered::no_interface,
    ),
];

/// The names of all cases and what they show.
pub(super) fn list() -> impl Iterator<Item = (&'static str, &'static str)> {
    CASES.iter().map(|case| (case.name, case.claim))
}

/// Cases of a short look: both modes, ESP alone and in UDP, both peers, a policy that waits, one
/// that asks for a mark, and SAs that move.
const QUICK: [&str; 6] =
    ["tunnel-4", "transport-6-udp", "acquire", "moved-address", "mark", "strongswan-4"];

/// Runs the cases that are named; if none is, all, or a few with `quick`.
pub(super) fn rows(
    quick: bool,
    names: &[String],
    keep: bool,
    report: impl Fn(&Row),
) -> anyhow::Result<Vec<Row>> {
    if let Some(name) = names.iter().find(|name| !CASES.iter().any(|case| case.name == **name)) {
        anyhow::bail!("no case `{name}`; --list shows them");
    }
    let is_wanted = |case: &Case| match (names, quick) {
        ([], true) => QUICK.contains(&case.name),
        ([], false) => true,
        (names, _) => names.iter().any(|name| name == case.name),
    };
    let programs = [&super::PROGRAMS[..], &linux::PROGRAMS, &["nft"]].concat();
    let missing = needs::missing(&programs);
    if !missing.is_empty() {
        let reason = format!("missing: {}", missing.join("; "));
        let row = row("kernel", Status::missing(), reason);
        report(&row);
        return Ok(vec![row]);
    }
    adit::build()?;
    let mut rows = Vec::new();
    // One guest for all cases with one kind of peer.
    for peer in [Make::Adit, Make::StrongSwan] {
        let of_peer = CASES.iter().filter(|case| case.peer == peer);
        let cases: Vec<&Case> = of_peer.filter(|case| is_wanted(case)).collect();
        if cases.is_empty() {
            continue;
        }
        let lab = Lab::new(keep)?;
        lab.left.cut_super_packets(OUTSIDE)?;
        let right = KernelGateway::start(&lab.right)?;
        for case in cases {
            let row = run(case, &lab, &right);
            report(&row);
            rows.push(row);
        }
    }
    Ok(rows)
}

fn run(case: &Case, lab: &Lab, right: &KernelGateway) -> Row {
    let start = clock::now();
    let result = Bench::start(case, lab, right).and_then(|bench| {
        let result = (case.run)(&bench);
        if result.is_err() {
            eprint!("{}{}", bench.left.last_words(), bench.right.last_words());
        }
        // The next case has its own.
        bench.left.stop().and(result)
    });
    let mut row = match result {
        Ok(figures) => Row { figures, ..row(case.name, Status::Pass, case.claim.to_owned()) },
        Err(error) => row(case.name, Status::Fail, format!("{error:#}")),
    };
    row.seconds = start.elapsed().as_secs_f64();
    row
}

fn row(scenario: &'static str, status: Status, reason: String) -> Row {
    let scenario = scenario.to_owned();
    Row { scenario, status, reason, seconds: 0.0, figures: Figures::new() }
}

/// Both sides of a case.
struct Bench<'a> {
    left: Gateway,
    right: &'a KernelGateway,
    shape: Shape,
    sides: (&'a Side, &'a Side),
}

impl<'a> Bench<'a> {
    fn start(case: &Case, lab: &'a Lab, right: &'a KernelGateway) -> anyhow::Result<Self> {
        let shape = case.shape;
        let plan =
            Plan { outside_v6: shape.outside_v6, inside_v6: shape.inside_v6, ..Plan::default() };
        let bench_side = (&lab.left, &lab.right);
        let left = Gateway::start(&lab.left, &lab.right, &plan, case.peer)?;
        let bench = Self { left, right, shape, sides: bench_side };
        bench.configure("kernel", "passive", "")?;
        bench.is_down().context("before the case")?;
        Ok(bench)
    }

    /// Gives both sides this shape; the rest is for the guest's.
    fn configure(&self, engine: &str, keep: &str, more: &str) -> anyhow::Result<()> {
        let (left, right) = self.sides;
        if self.left.is_adit() {
            adit::write_file(left, &tunnel_file(left, right, self.shape, "passive", ""))?;
            output(&mut adit::adit(left, &["reload"]))?;
        }
        let more = format!("engine = \"{engine}\"\n{more}");
        self.right.load(&tunnel_file(right, left, self.shape, keep, &more))
    }

    /// Both have the same SAs, the kernel's are as meant, and pings pass both ways through them.
    fn is_up(&self) -> anyhow::Result<()> {
        self.left.wait_for(SOON, "the same tunnel on both sides", |ours| {
            let theirs = self.right.ike_sas().unwrap_or_default();
            let is_it = |sa: &IkeSa| sa.spis == ours.spis && sa.live_children().count() == 1;
            theirs.iter().any(is_it)
        })?;
        self.pings()?;
        self.judge(&self.right.states()?)
    }

    /// Pings from either side, of which none may be lost.
    fn pings(&self) -> anyhow::Result<()> {
        let (left, right) = self.sides;
        let words = ping_words(self.address(left), self.address(right), PINGS);
        ping::lossless(&output(left.command(Path::new("ping")).args(&words))?)?;
        let words = ping_words(self.address(right), self.address(left), PINGS);
        ping::lossless(&self.right.guest.run(&format!("ping {}", words.join(" ")))?)
    }

    /// One SA for each direction, as meant, and every echo and every answer went through it.
    fn judge(&self, states: &[State]) -> anyhow::Result<()> {
        let count = if self.shape.bundle { 4 } else { 2 };
        anyhow::ensure!(states.len() == count, "the kernel has {} SAs", states.len());
        let mode = if self.shape.transport { "mode transport" } else { "mode tunnel" };
        for state in states {
            let State { text, packets, .. } = state;
            let in_udp = text.contains("encap type espinudp");
            let is_meant = match self.shape.bundle {
                true => bundle::is_meant(self.shape, state),
                false => text.contains(mode) && in_udp == self.shape.udp,
            };
            anyhow::ensure!(is_meant && *packets >= 2 * u64::from(PINGS), "not as meant: {text}");
        }
        Ok(())
    }

    /// Whose pings and where to.
    fn address(&self, side: &Side) -> IpAddr {
        if self.shape.transport {
            side.outside(self.shape.outside_v6)
        } else {
            side.inside(self.shape.inside_v6)
        }
    }

    /// Does something while pings run from the left to the guest; none may be lost.
    fn under_pings(
        &self,
        count: u32,
        what: impl FnOnce() -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let (left, right) = self.sides;
        let words = ping_words(self.address(left), self.address(right), count);
        let mut command = left.command(Path::new("ping"));
        let pings = command.args(&words).stdout(Stdio::piped()).spawn().context("ping")?;
        let done = what();
        let printed = pings.wait_with_output().context("ping vanished")?;
        done?;
        ping::lossless(&String::from_utf8_lossy(&printed.stdout))
    }

    /// Neither side has an SA, and the guest's kernel has nothing.
    fn is_down(&self) -> anyhow::Result<()> {
        self.left.wait_for_none(SOON)?;
        let mut last = Vec::new();
        let is_empty = clock::poll(SOON, PAUSE, || {
            last = self.right.states().unwrap_or_default();
            last.is_empty()
        });
        anyhow::ensure!(is_empty, "the kernel keeps its SAs: {last:?}");
        Ok(())
    }

    /// New keys from these sides, one after the other: the guest's if it is said so.
    fn rekeys(&self, sides: &[bool]) -> anyhow::Result<()> {
        for &by_guest in sides {
            let before = self.left.only_sa()?;
            if by_guest {
                self.right.adit(&format!("rekey {CONNECTION}"))?;
            } else {
                self.left.rekey(Level::Child)?;
            }
            self.new_keys(&before)?;
        }
        Ok(())
    }

    fn new_keys(&self, before: &IkeSa) -> anyhow::Result<()> {
        let spis = |sa: &IkeSa| -> Vec<String> {
            sa.live_children().map(|child| child.spis.clone()).collect()
        };
        let is_new = |sa: &IkeSa| sa.spis == before.spis && spis(sa) != spis(before);
        self.left.wait_for(SOON, "the rekeying", is_new).map(drop)
    }
}

fn everything(bench: &Bench<'_>) -> anyhow::Result<Figures> {
    bench.left.initiate()?;
    bench.is_up()?;
    // In IKEv1 what the other end makes at once counts as crossed, until packets have shown that it has the child.
    let first: &[bool] = if bench.shape.bundle { &[false] } else { &[true, false] };
    bench.under_pings(PINGS_UNDER_WAY, || bench.rekeys(first))?;
    bench.left.terminate(Level::Ike)?;
    bench.is_down()?;
    bench.right.adit(&format!("up {CONNECTION} --timeout 20"))?;
    bench.is_up()?;
    let mut pings = PINGS_UNDER_WAY + 4 * PINGS;
    if bench.shape.bundle {
        bench.under_pings(PINGS_UNDER_WAY, || bench.rekeys(&[true]))?;
        pings += PINGS_UNDER_WAY;
    }
    bench.right.adit(&format!("down {CONNECTION}"))?;
    bench.is_down()?;
    Ok(Figures::from([("pings", f64::from(pings))]))
}

/// The kernel asks for an SA when a packet meets its policy; that packet is lost, and never in
/// clear.
fn acquire(bench: &Bench<'_>) -> anyhow::Result<Figures> {
    bench.configure("auto", "on-demand", "")?;
    let policies = bench.right.guest.run("ip xfrm policy")?;
    anyhow::ensure!(policies.contains("10.1.0.0/24"), "no policy is held: {policies}");
    let (left, right) = bench.sides;
    let words = ping_words(bench.address(right), bench.address(left), 1);
    // The exit status is that of the lost packet.
    bench.right.guest.run(&format!("ping {} || true", words.join(" ")))?;
    bench.is_up()?;
    bench.left.terminate(Level::Ike)?;
    bench.is_down()?;
    Ok(Figures::new())
}

/// Nobody asks for new keys but the kernel.
fn expire(bench: &Bench<'_>) -> anyhow::Result<Figures> {
    bench.configure("kernel", "passive", "rekey = \"8s\"\nlife = \"10s\"\n")?;
    bench.left.initiate()?;
    bench.is_up()?;
    let before = bench.left.only_sa()?;
    bench.under_pings(2 * PINGS_UNDER_WAY, || bench.new_keys(&before))?;
    bench.left.terminate(Level::Ike)?;
    bench.is_down()?;
    Ok(Figures::new())
}

/// Rules that give UDP 500 and 4500 other ports outside, and an address, without a memory of flows. The kernel's ESP
/// in UDP has no checksum, and must not get one that is wrong.
fn nat(port: u16, own: IpAddr, address: IpAddr) -> String {
    format!(
        "flush ruleset; table ip nat {{
chain out {{ type filter hook output priority 0;
udp sport {{ 500, 4500 }} ip saddr {own} ip saddr set {address};
udp sport 500 udp sport set 1500; udp sport 4500 udp sport set {port}; }}
chain in {{ type filter hook prerouting priority -300;
udp dport {{ 1500, 14500, 24500 }} ip daddr {address} ip daddr set {own};
udp dport 1500 udp dport set 500; udp dport {{ 14500, 24500 }} udp dport set 4500 udp checksum set 0; }}
}}"
    )
}

/// The kernel has lost its ESP since the tunnel was loaded (CHECKLIST I15).
fn refused(bench: &Bench<'_>) -> anyhow::Result<Figures> {
    let guest = &bench.right.guest;
    guest.run(
        "cat /proc/sys/kernel/modprobe >modprobe && echo /bin/false >/proc/sys/kernel/modprobe",
    )?;
    guest.run("modprobe -d /run/modules -r esp4")?;
    // What is negotiated is over as soon as the kernel has refused it.
    let _ = bench.left.initiate();
    let is_told = || {
        let sas = bench.left.ike_sas().unwrap_or_default();
        sas.iter().all(|sa| sa.live_children().count() == 0)
    };
    anyhow::ensure!(clock::poll(SOON, PAUSE, is_told), "the peer keeps an SA that is none");
    anyhow::ensure!(bench.right.states()?.is_empty(), "half an SA stays in the kernel");
    // Its exit status says that something is wrong.
    let status = guest.run(&format!("{EXCHANGE}/adit --vici {VICI} status || true"))?;
    anyhow::ensure!(status.contains("E507"), "the operator is not told: {status}");
    guest.run("cat modprobe >/proc/sys/kernel/modprobe && modprobe -d /run/modules esp4")?;
    bench.left.terminate(Level::Ike)?;
    bench.is_down()?;
    bench.left.initiate()?;
    bench.is_up()?;
    bench.left.terminate(Level::Ike)?;
    bench.is_down()?;
    Ok(Figures::new())
}

/// What a killed daemon left holds until the next one has looked (CHECKLIST X02).
fn killed(bench: &Bench<'_>) -> anyhow::Result<Figures> {
    bench.configure("kernel", "up", "")?;
    bench.is_up()?;
    let guest = &bench.right.guest;
    // Another's policy, which is not to be touched.
    guest.run("ip xfrm policy add src 10.77.0.0/16 dst 10.78.0.0/16 dir out action block")?;
    bench.right.kill()?;
    let left_behind = bench.right.states()?.len();
    anyhow::ensure!(left_behind == 2, "{left_behind} SAs outlive their daemon");
    let (left, right) = bench.sides;
    let words = ping_words(bench.address(right), bench.address(left), 1);
    let clear = format!("ip xfrm state flush; ping {} && exit 1 || exit 0", words.join(" "));
    guest.run(&clear).context("a packet passed without an SA")?;
    bench.right.start_again()?;
    bench.is_up()?;
    let policies = guest.run("ip xfrm policy")?;
    anyhow::ensure!(policies.contains("10.77.0.0/16"), "another's policy is gone: {policies}");
    bench.configure("kernel", "passive", "")?;
    bench.is_down()?;
    let policies = guest.run("ip xfrm policy")?;
    anyhow::ensure!(!policies.contains("10.1.0.0/24"), "a policy stays: {policies}");
    Ok(Figures::new())
}

/// Our daemon in a guest.
struct KernelGateway {
    guest: Guest,
}

impl KernelGateway {
    /// Boots the guest and starts the daemon, which has no tunnel yet.
    fn start(side: &Side) -> anyhow::Result<Self> {
        let gateway = Self { guest: Guest::boot(side)? };
        let (v4, v6) = (side.inside(false), side.inside(true));
        let script = format!("ip addr add {v4}/32 dev lo && ip addr add {v6}/128 dev lo nodad");
        gateway.guest.run(&script).context("the guest's inner addresses")?;
        let folder = gateway.guest.folder();
        for program in ["aditd", "adit"] {
            let from = root::target().join("release").join(program);
            fs::copy(from, folder.join(program)).context("cannot copy our programs")?;
        }
        fs::create_dir_all(folder.join("config/tunnels"))?;
        let secret = folder.join(format!("config/tunnels/{CONNECTION}.psk"));
        fs::write(&secret, SECRET)?;
        fs::set_permissions(&secret, fs::Permissions::from_mode(0o600))?;
        fs::write(folder.join(SETTINGS), "swanctl { load = random }\n")?;
        gateway.start_again()?;
        Ok(gateway)
    }

    /// Starts the daemon with the configuration that it had.
    fn start_again(&self) -> anyhow::Result<()> {
        let script = format!(
            "rm -f {VICI}
{EXCHANGE}/aditd --config {EXCHANGE}/config --vici {VICI} --log {EXCHANGE}/aditd.log \
--log-level debug >output.log 2>&1 &
echo $! >/run/aditd.pid
tries=0
while [ ! -S {VICI} ]; do
  tries=$((tries + 1)); [ $tries -lt 200 ] || exit 1; sleep 0.05
done"
        );
        self.guest.run(&script).context("aditd in the guest").map(drop)
    }

    fn kill(&self) -> anyhow::Result<()> {
        self.guest.run("kill -9 $(cat /run/aditd.pid); sleep 0.2").map(drop)
    }

    /// Replaces its tunnel.
    fn load(&self, text: &str) -> anyhow::Result<()> {
        self.write(text)?;
        self.adit("reload")
    }

    /// Writes its tunnel, which it does not know yet.
    fn write(&self, text: &str) -> anyhow::Result<()> {
        let file = format!("config/tunnels/{CONNECTION}.toml");
        fs::write(self.guest.folder().join(file), text).context("cannot write the tunnel")
    }

    fn adit(&self, words: &str) -> anyhow::Result<()> {
        self.guest.run(&format!("{EXCHANGE}/adit --vici {VICI} {words}")).map(drop)
    }

    fn ike_sas(&self) -> anyhow::Result<Vec<IkeSa>> {
        let settings = format!("STRONGSWAN_CONF={EXCHANGE}/{SETTINGS}");
        let ask = format!("{settings} swanctl --list-sas --raw --uri unix://{VICI}");
        raw::ike_sas(&self.guest.run(&ask)?)
    }

    fn states(&self) -> anyhow::Result<Vec<State>> {
        Ok(states(&self.guest.run("ip -s xfrm state")?))
    }

    fn last_words(&self) -> String {
        let log = self.guest.run(
            "cat output.log; tail -n 60 aditd.log; ip -s xfrm state; \
            ip xfrm policy; ip route show table all; cat /proc/net/xfrm_stat",
        );
        let log = log.unwrap_or_else(|error| format!("{error:#}"));
        format!("--- aditd in the guest\n{log}\n--- its kernel\n{}\n", self.guest.last_words())
    }
}

/// swanctl wants settings of its own.
const SETTINGS: &str = "strongswan.conf";

/// In the guest's own memory: a socket on the machine's files would be the machine's.
const VICI: &str = "/run/vici";

fn tunnel_file(side: &Side, peer: &Side, shape: Shape, keep: &str, more: &str) -> String {
    let plan = Plan::default();
    let encap = if shape.udp { "udp" } else { "esp" };
    let protection = match shape.bundle {
        true => bundle::LINES.to_owned(),
        false => {
            format!("encap = \"{encap}\"\nike = \"{}\"\nesp = \"{}\"\n", plan.ike, plan.esp)
        }
    };
    let networks = if shape.transport {
        "mode = \"transport\"\n".to_owned()
    } else {
        let (ours, theirs) = (side.network(shape.inside_v6), peer.network(shape.inside_v6));
        format!("local = \"{ours}\"\nremote = \"{theirs}\"\n")
    };
    format!(
        "peer = \"{}\"\naddress = \"{}\"\nid = \"{}\"\npeer_id = \"{}\"\n{networks}\
         secret = \"file:{CONNECTION}.psk\"\nkeep = \"{keep}\"\n{protection}{more}",
        peer.outside(shape.outside_v6),
        side.outside(shape.outside_v6),
        side.identity(),
        peer.identity(),
    )
}

fn ping_words(from: IpAddr, to: IpAddr, count: u32) -> Vec<String> {
    let text = format!("-n -q -i 0.02 -W 2 -c {count} -s 333 -I {from} {to}");
    text.split(' ').map(str::to_owned).collect()
}

/// Echoes from each side.
const PINGS: u32 = 5;

/// Echoes while something happens: five seconds of them.
const PINGS_UNDER_WAY: u32 = 250;

/// What both have agreed on shows within this time.
const SOON: Duration = Duration::from_secs(20);

const PAUSE: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique() {
        let mut names: Vec<&str> = list().map(|(name, _)| name).collect();
        assert!(QUICK.iter().all(|name| names.contains(name)));
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), CASES.len());
    }
}
