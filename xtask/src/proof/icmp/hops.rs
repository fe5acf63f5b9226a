//! Row 3: what the ordinary tools show through a tunnel, and through a tunnel in a tunnel.

use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;

use super::cells::Cells;
use super::ends::{Ends, Shape};
use super::listing;
use super::net::{Net, inner_host};
use crate::interop::adit;
use crate::interop::gateway::{Gateway, Make};
use crate::interop::lab::Side;
use crate::interop::plan::{CONNECTION, Plan};
use crate::proof::{Effort, Finding, lacks};

/// What is listed, addresses alone: from where, family, hops.
const LISTINGS: [(Whence, bool, &str); 4] = [
    (Whence::Host, false, "10.1.0.1 10.2.0.1 10.2.0.10"),
    (Whence::Host, true, "fd01::1 fd02::1 fd02::10"),
    (Whence::Gateway, false, "10.2.0.1 10.2.0.10"),
    (Whence::Gateway, true, "fd02::1 fd02::10"),
];

/// The same from the host where routers outside are hops, too: those of IPv4 have stand-ins in IPv6 (RFC 6052).
const REVEALED: [(Whence, bool, &str); 2] = [
    (Whence::Host, false, "10.1.0.1 192.0.2.251 198.51.100.2 10.2.0.1 10.2.0.10"),
    (Whence::Host, true, "fd01::1 64:ff9b::c000:2fb 64:ff9b::c633:6402 fd02::1 fd02::10"),
];

/// What there is between the hosts.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Between {
    /// A tunnel, which is one hop.
    Tunnel,
    /// The same in another one.
    Nested,
    /// A tunnel that reveals the routers outside (`traceroute_transit`).
    Revealed,
}

impl Between {
    fn name(self) -> &'static str {
        match self {
            Self::Tunnel => "one tunnel",
            Self::Nested => "nested tunnels",
            Self::Revealed => "one tunnel that reveals",
        }
    }

    /// What is listed.
    fn listings(self) -> &'static [(Whence, bool, &'static str)] {
        if self == Self::Revealed { &REVEALED } else { &LISTINGS }
    }

    /// Whether a tool is asked.
    fn is_asked(self, tool: &str, quick: bool) -> bool {
        let is_wanted = !quick || QUICK.contains(&tool);
        is_wanted && (self != Self::Revealed || tool.starts_with("traceroute"))
    }

    /// What both gateways have in the tunnel's file besides.
    fn more(self) -> &'static str {
        match self {
            Self::Tunnel => "",
            Self::Nested => "over = \"outer\"\n",
            Self::Revealed => "traceroute_transit = \"reveal\"\n",
        }
    }
}

/// Where a tool runs.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Whence {
    /// On the host behind the left gateway.
    Host,
    /// On that gateway.
    Gateway,
}

/// A tool with its words; `SOURCE` and `TARGET` are addresses. The first name is what is reported.
const TOOLS: [(&str, &str); 8] = [
    ("ping", "ping -n -c 2 -i 0.1 -W 1 -I SOURCE TARGET"),
    // It has no word for the source.
    ("tracepath", "tracepath -n -m 8 TARGET"),
    ("traceroute, ICMP", "traceroute -n -I -q 1 -w 1 -m 8 -s SOURCE TARGET"),
    ("traceroute, UDP", "traceroute -n -U -p 4000 -q 1 -w 1 -m 8 -s SOURCE TARGET"),
    ("traceroute, TCP", "traceroute -n -T -p 80 -q 1 -w 1 -m 8 -s SOURCE TARGET"),
    ("mtr, ICMP", "mtr -n -r -c 1 -i 0.2 -G 1 -m 8 -a SOURCE TARGET"),
    ("mtr, UDP", "mtr -n -r -u -c 1 -i 0.2 -G 1 -m 8 -a SOURCE TARGET"),
    ("mtr, TCP", "mtr -n -r -T -P 80 -c 1 -i 0.2 -G 1 -m 8 -a SOURCE TARGET"),
];

/// Tools of a short look: those of `mtr` take seconds.
const QUICK: [&str; 5] =
    ["ping", "tracepath", "traceroute, ICMP", "traceroute, UDP", "traceroute, TCP"];

/// All tools from both places, through one tunnel and through two; and through one that reveals what is outside.
pub(super) fn measure(effort: &Effort) -> anyhow::Result<Finding> {
    if let Some(finding) = lacks(&["ip", "ping", "tracepath", "traceroute", "mtr"]) {
        return Ok(finding);
    }
    adit::build()?;
    let net = Net::new(false)?;
    let mut cells = Cells::default();
    for between in [Between::Tunnel, Between::Nested, Between::Revealed] {
        let name = between.name();
        let mut ends = None;
        cells.check(name, || {
            ends = Some(up(&net, between)?);
            Ok("up".to_owned())
        });
        let Some(_ends) = ends else { continue };
        for (whence, v6, wanted) in between.listings().iter().copied() {
            if between == Between::Revealed {
                // An SA passes on ten messages of routers in a second, and these tools are faster.
                std::thread::sleep(Duration::from_secs(1));
            }
            let tools = TOOLS.iter().filter(|(tool, _)| between.is_asked(tool, effort.quick));
            for (tool, words) in tools {
                let family = if v6 { "IPv6" } else { "IPv4" };
                let name = format!("{tool} from the {whence:?}, {family}, {name}").to_lowercase();
                cells.check(&name, || listed(&net, words, (whence, v6), wanted));
            }
        }
    }
    Ok(cells.finding())
}

/// Runs a tool; it has to list what is wanted.
fn listed(
    net: &Net,
    words: &str,
    (whence, v6): (Whence, bool),
    wanted: &str,
) -> anyhow::Result<String> {
    let (side, source) = match whence {
        Whence::Host => (&net.a, inner_host(&net.a, v6)),
        Whence::Gateway => (&net.left, net.left.inside(v6)),
    };
    let found = run(side, words, source, inner_host(&net.b, v6))?;
    let (found, wanted) = match words.starts_with("ping") {
        true => (listing::answerers(&found), wanted.split(' ').next_back().unwrap_or_default()),
        false => (listing::hops(&found), wanted),
    };
    anyhow::ensure!(found == wanted, "lists {found}, and {wanted} is right");
    Ok(found)
}

fn run(side: &Side, words: &str, source: IpAddr, target: IpAddr) -> anyhow::Result<String> {
    let words = words.replace("SOURCE", &source.to_string());
    let words = words.replace("TARGET", &target.to_string());
    let mut words = words.split(' ');
    let tool = words.next().unwrap_or_default();
    let output = side.command(Path::new(tool)).args(words).output().context("a tool")?;
    // A tool that reaches nobody says so in its listing, whatever its exit status.
    let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
    if !complaint.trim().is_empty() {
        eprintln!("    {}", complaint.trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// One tunnel for both families, or the same in another between the gateways.
fn up(net: &Net, kind: Between) -> anyhow::Result<Ends<'_>> {
    let nested = kind == Between::Nested;
    let shape = Shape { inside_v6: false, outside_v6: false, udp: !nested, transport: false };
    let plan = Plan { left_more: kind.more(), ..shape.plan() };
    let sides = [(&net.left, &net.right), (&net.right, &net.left)];
    for (side, peer) in sides {
        adit::write(side, peer, &plan)?;
        adit::write_file(side, &both_families(side, peer, &plan))?;
        let outer = if nested { between(peer) } else { String::new() };
        adit::write_named(side, "outer", &outer)?;
    }
    let [left, right] = sides.map(|(side, _)| Gateway::start_as_is(side, Make::Adit));
    let ends = Ends::of(net, shape, left?, right?);
    if nested {
        ends.left.ask(&["up", "outer", "--timeout", "20"]).context("the outer tunnel")?;
    }
    ends.left.ask(&["up", CONNECTION, "--timeout", "20"]).context("the tunnel")?;
    let is_nested = ends.status()?.get("over").is_some();
    anyhow::ensure!(is_nested == nested, "the status says whether tunnels are nested, wrongly");
    Ok(ends)
}

fn both_families(side: &Side, peer: &Side, plan: &Plan) -> String {
    let networks =
        |side: &Side| format!("[\"{}\", \"{}\"]", side.network(false), side.network(true));
    format!(
        "peer = \"{}\"\naddress = \"{}\"\nid = \"{}\"\npeer_id = \"{}\"\nlocal = {}\nremote = {}\n\
         secret = \"file:{CONNECTION}.psk\"\nkeep = \"passive\"\nencap = \"{}\"\n{}",
        peer.outside(false),
        side.outside(false),
        side.identity(),
        peer.identity(),
        networks(side),
        networks(peer),
        if plan.udp { "udp" } else { "esp" },
        plan.left_more
    )
}

/// The tunnel under it: for what the gateways say to each other.
fn between(peer: &Side) -> String {
    format!(
        "peer = \"{}\"\nlocal = \"dynamic\"\nremote = \"dynamic\"\nkeep = \"passive\"\n\
         secret = \"file:{CONNECTION}.psk\"\nencap = \"udp\"\n",
        peer.outside(false)
    )
}
