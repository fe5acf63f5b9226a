//! A subject that is up: its namespaces, its daemons, and how to reach the other side through it.

use std::path::Path;
use std::process::Child;
use std::time::Duration;

use anyhow::Context as _;

use super::counters::Moved;
use super::load::MTU;
use super::rivals::Rival;
use super::subject::Subject;
use super::wireguard;
use crate::clock;
use crate::interop::gateway::{Gateway, Make};
use crate::interop::lab::{Lab, OUTSIDE, Side, ip, output};
use crate::interop::plan::Plan;
use crate::root;

/// The port of iperf3 on the right.
pub(crate) const IPERF_PORT: &str = "5201";

/// The first answer comes through within this time.
const FIRST_ANSWER: Duration = Duration::from_secs(10);

/// The interface and port of the plane without an engine.
const PLAIN_TUN: &str = "plain0";
const PLAIN_PORT: u16 = 4_500;

/// Between two tries.
const PAUSE: Duration = Duration::from_millis(200);

/// What carries packets. What it holds ends before the lab goes.
pub(crate) struct Tunnel {
    /// What it is.
    pub(crate) subject: Subject,
    /// Process ids of the daemons of both ends.
    pub(crate) processes: Vec<u32>,
    ends: Ends,
    _iperf: Child,
    /// Its namespaces.
    pub(crate) lab: Lab,
}

/// The daemons.
enum Ends {
    None,
    Gateways(Box<[Gateway; 2]>),
    // The janitor of the lab ends them.
    Others(Vec<Child>),
}

impl Tunnel {
    /// Brings `subject` up in namespaces of its own.
    ///
    /// # Errors
    ///
    /// It does not start, or nothing comes through it.
    pub(crate) fn start(subject: Subject, rival: Option<&Rival>) -> anyhow::Result<Self> {
        let lab = Lab::new(false)?;
        let ends = match subject {
            Subject::Veth => cable(&lab)?,
            Subject::Plain => Ends::Others(plain(&lab)?),
            Subject::AditAes => adit(&lab, plan("aes128gcm16", true))?,
            Subject::AditChacha => adit(&lab, plan("chacha20poly1305", true))?,
            Subject::AditEsp => adit(&lab, plan("aes128gcm16", false))?,
            Subject::Libipsec => libipsec(&lab, plan("aes128gcm16", true))?,
            Subject::WireguardGo | Subject::Boringtun | Subject::Gotatun => {
                let rival = rival.context("the rival was not made ready")?;
                Ends::Others(wireguard::start(&lab, subject, rival)?)
            }
        };
        let processes = ends.processes();
        let mut server = lab.right.endless_command(Path::new("iperf3"));
        server.args(["-s", "-p", IPERF_PORT]);
        let iperf = lab.right.spawn(server, "iperf3.log")?;
        let tunnel = Self { subject, processes, ends, _iperf: iperf, lab };
        tunnel.wait_for_an_answer().inspect_err(|_| eprint!("{}", tunnel.last_words()))?;
        Ok(tunnel)
    }

    fn wait_for_an_answer(&self) -> anyhow::Result<()> {
        let (left, right) = (&self.lab.left, &self.lab.right);
        let answers = || {
            let mut ping = left.command(Path::new("ping"));
            ping.args(["-n", "-q", "-c", "1", "-W", "1", "-I", &left.inside(false).to_string()]);
            output(ping.arg(right.inside(false).to_string())).is_ok()
        };
        let name = self.subject.name();
        anyhow::ensure!(clock::poll(FIRST_ANSWER, PAUSE, answers), "nothing comes through {name}");
        Ok(())
    }

    /// What the engines of both daemons have counted, if they are ours.
    pub(crate) fn moved(&self) -> Option<Moved> {
        let Ends::Gateways(gateways) = &self.ends else { return None };
        let ours = gateways.iter().filter(|gateway| gateway.is_adit());
        let counted = ours.map(|gateway| {
            let text = gateway.ask(&["status", "--engine", "--json"]).ok()?;
            Some(Moved::read(&serde_json::from_str(&text).ok()?))
        });
        counted.collect::<Option<Vec<Moved>>>()?.into_iter().reduce(Moved::and)
    }

    /// The end of what the daemons have logged.
    fn last_words(&self) -> String {
        match &self.ends {
            Ends::None => String::new(),
            Ends::Gateways(gateways) => gateways.iter().map(Gateway::last_words).collect(),
            Ends::Others(_) => [&self.lab.left, &self.lab.right].map(printed).concat(),
        }
    }
}

impl Ends {
    fn processes(&self) -> Vec<u32> {
        match self {
            Self::None => Vec::new(),
            Self::Gateways(gateways) => gateways.iter().filter_map(Gateway::process).collect(),
            Self::Others(children) => children.iter().map(Child::id).collect(),
        }
    }
}

fn printed(side: &Side) -> String {
    let text = std::fs::read_to_string(side.folder.join("output.log")).unwrap_or_default();
    format!("--- {}\n{text}\n", side.name)
}

/// No tunnel: routes over the cable.
fn cable(lab: &Lab) -> anyhow::Result<Ends> {
    for (side, peer) in [(&lab.left, &lab.right), (&lab.right, &lab.left)] {
        set_mtu(side, OUTSIDE)?;
        let gateway = peer.outside(false).to_string();
        ip(&["-n", &side.namespace, "route", "add", &peer.network(false), "via", &gateway])?;
    }
    Ok(Ends::None)
}

/// Our plane without an engine: an example of the daemon's.
fn plain(lab: &Lab) -> anyhow::Result<Vec<Child>> {
    let program = root::target().join("release/examples/plain");
    let mut processes = Vec::new();
    for (side, peer) in [(&lab.left, &lab.right), (&lab.right, &lab.left)] {
        let port = |side: &Side| format!("{}:{PLAIN_PORT}", side.outside(false));
        let mut command = side.endless_command(&program);
        command.args([PLAIN_TUN, &port(side), &port(peer)]);
        processes.push(side.spawn(command, "output.log")?);
        let is_up = || ip(&["-n", &side.namespace, "link", "show", "up", "dev", PLAIN_TUN]).is_ok();
        anyhow::ensure!(clock::poll(FIRST_ANSWER, PAUSE, is_up), "{PLAIN_TUN} did not appear");
        set_mtu(side, PLAIN_TUN)?;
        let network = peer.network(false);
        ip(&["-n", &side.namespace, "route", "add", &network, "dev", PLAIN_TUN])?;
    }
    Ok(processes)
}

/// Builds that example.
///
/// # Errors
///
/// It does not build.
pub(crate) fn build_plain() -> anyhow::Result<()> {
    let mut cargo = root::cargo();
    cargo.args(["build", "--release", "-p", "aditd", "--example", "plain"]);
    let status = cargo.status().context("cannot start cargo")?;
    anyhow::ensure!(status.success(), "the example `plain` of aditd does not build");
    Ok(())
}

/// Our daemon on both sides, as its packages bring it.
fn adit(lab: &Lab, plan: Plan) -> anyhow::Result<Ends> {
    gateways(lab, &plan, Make::Adit, "adit0")
}

/// strongSwan on both sides.
fn libipsec(lab: &Lab, plan: Plan) -> anyhow::Result<Ends> {
    gateways(lab, &plan, Make::StrongSwan, "ipsec0")
}

fn gateways(lab: &Lab, plan: &Plan, make: Make, interface: &str) -> anyhow::Result<Ends> {
    let right = Gateway::start(&lab.right, &lab.left, plan, make)?;
    let left = Gateway::start(&lab.left, &lab.right, plan, make)?;
    let gateways = [left, right];
    let [left, right] = &gateways;
    left.initiate().inspect_err(|_| eprint!("{}{}", left.last_words(), right.last_words()))?;
    for gateway in &gateways {
        set_mtu(&gateway.side, interface)?;
    }
    Ok(Ends::Gateways(Box::new(gateways)))
}

/// The suite of ESP; whether it travels in UDP.
fn plan(esp: &'static str, udp: bool) -> Plan {
    Plan {
        udp,
        ike: "aes128gcm16-prfsha256-x25519",
        esp: esp.into(),
        log_level: "info",
        ..Plan::default()
    }
}

fn set_mtu(side: &Side, interface: &str) -> anyhow::Result<()> {
    ip(&["-n", &side.namespace, "link", "set", interface, "mtu", &MTU.to_string()])
}
