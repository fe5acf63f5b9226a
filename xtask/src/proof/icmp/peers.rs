//! Row 4: the same transfers with others at the far end: strongSwan, whose ESP is in user space, and
//! the ESP of a Linux kernel, which is a guest.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::Context as _;

use super::cells::Cells;
use super::ends::{Ends, Shape};
use super::matrix::{Path, through, worse};
use super::net::{EDGE, ETHERNET, Net, inner_host, route_to_peer};
use super::{PROGRAMS, cells};
use crate::clock;
use crate::interop::gateway::{Gateway, Level, Make};
use crate::interop::in_guest::KernelPeer;
use crate::interop::lab::{Side, output};
use crate::interop::plan::Plan;
use crate::interop::transfer::{Transfer, compare};
use crate::interop::{adit, own_copy};
use crate::linux::{self, guest::Guest};
use crate::proof::{Effort, Finding, lacks};

/// Both peers.
pub(super) fn measure(effort: &Effort) -> anyhow::Result<Finding> {
    let programs = [&PROGRAMS[..], &linux::PROGRAMS, &["charon-systemd", "swanctl"]].concat();
    if let Some(finding) = lacks(&programs) {
        return Ok(finding);
    }
    adit::build()?;
    let paths: &[Path] = if effort.quick { &[Path::Hole] } else { &Path::ALL };
    let mut cells = Cells::default();
    let net = Net::new(false)?;
    for shape in strongswan_shapes(effort.quick) {
        for path in paths {
            let name = format!("strongSwan, {}, {}", shape.name(), path.name());
            cells.run(&name, || with_strongswan(&net, shape, *path));
        }
    }
    drop(net);
    let net = Net::new(false)?;
    let plan = Shape::all().first().map(|shape| shape.plan()).unwrap_or_default();
    net.r2.cut_super_packets(EDGE)?;
    let kernel = KernelPeer::start(&net.right, &plan)?;
    for v6 in [false, true] {
        kernel.run(&format!("ip {}", route_to_peer(&net.r2, &net.right, v6)))?;
    }
    for shape in kernel_shapes(effort.quick) {
        for path in paths {
            let name = format!("Linux, {}, {}", shape.name(), path.name());
            cells.run(&name, || with_kernel(&net, &kernel, shape, *path));
        }
    }
    Ok(cells.finding())
}

/// kernel-libipsec knows tunnels in UDP alone.
fn strongswan_shapes(quick: bool) -> Vec<Shape> {
    let is_it = |shape: &Shape| shape.udp && !shape.transport;
    let is_wanted = |shape: &Shape| !quick || shape.inside_v6 == shape.outside_v6;
    Shape::all().into_iter().filter(is_it).filter(is_wanted).collect()
}

fn kernel_shapes(quick: bool) -> Vec<Shape> {
    const FEW: [&str; 4] =
        ["tunnel 4-in-4 raw", "tunnel 4-in-4 udp", "tunnel 6-in-6 raw", "transport 4-in-4 raw"];
    let is_wanted = |shape: &Shape| !quick || FEW.contains(&shape.name().as_str());
    Shape::all().into_iter().filter(is_wanted).collect()
}

/// Ours asks the peer's inside address how long packets may be: others answer no probes of ours. In transport
/// mode it asks the peer by itself.
fn plan(shape: Shape) -> Plan {
    let left_more = match (shape.transport, shape.inside_v6) {
        (true, _) => "",
        (false, false) => "path_probe = \"10.2.0.1\"\n",
        (false, true) => "path_probe = \"fd02::1\"\n",
    };
    Plan { left_more, ..shape.plan() }
}

fn with_strongswan(net: &Net, shape: Shape, path: Path) -> anyhow::Result<Transfer> {
    net.forget()?;
    net.filter_icmp(path.is_hole())?;
    net.set_mtu(ETHERNET)?;
    let ends = Ends::up(net, shape, &plan(shape), Make::StrongSwan)?;
    let there = through(net, path, |octets, pace| ends.there(octets, pace));
    let found = match there {
        Ok(there) if !path.moves() => {
            ends.back(cells::MIB, Duration::ZERO).map(|back| worse(there, back))
        }
        there => there,
    };
    net.set_mtu(ETHERNET)?;
    net.filter_icmp(false)?;
    found
}

fn with_kernel(
    net: &Net,
    kernel: &KernelPeer,
    shape: Shape,
    path: Path,
) -> anyhow::Result<Transfer> {
    net.forget()?;
    net.filter_icmp(path.is_hole())?;
    net.set_mtu(ETHERNET)?;
    let plan = plan(shape);
    kernel.load(&net.left, &plan)?;
    let left = Gateway::start(&net.left, &net.right, &plan, Make::Adit)?;
    let (from, to) = if shape.transport {
        let v6 = shape.outside_v6;
        ((&net.left, net.left.outside(v6)), net.right.outside(v6))
    } else {
        let v6 = shape.inside_v6;
        ((&net.a, inner_host(&net.a, v6)), net.right.inside(v6))
    };
    let found = bring_up(&left, kernel)
        .context("the tunnel does not come up")
        .and_then(|()| through(net, path, |octets, pace| into(kernel, from, to, octets, pace)));
    // The next one finds nothing of this.
    let ended = left.terminate(Level::Ike);
    if left.stop().is_err() {
        left.kill()?;
    }
    if ended.is_err() || found.is_err() {
        kernel.forget()?;
    }
    net.set_mtu(ETHERNET)?;
    net.filter_icmp(false)?;
    found
}

/// Brings the tunnel up, however busy the machine is: a guest may answer an attempt when that is over, and
/// then has something of it that must go before the next.
fn bring_up(left: &Gateway, kernel: &KernelPeer) -> anyhow::Result<()> {
    let start = clock::now();
    loop {
        match left.initiate_within(ATTEMPT) {
            Err(error) if start.elapsed() > PATIENCE => return Err(error),
            Err(_) => {
                // There may be nothing on our side.
                let _ = left.terminate(Level::Ike);
                kernel.forget()?;
            }
            up => return up,
        }
    }
}

/// One attempt to bring a tunnel up, and all of them.
const ATTEMPT: Duration = Duration::from_secs(60);
const PATIENCE: Duration = Duration::from_secs(180);

/// A transfer to a program in the guest.
fn into(
    kernel: &KernelPeer,
    (side, source): (&Side, IpAddr),
    target: IpAddr,
    octets: u64,
    pace: Duration,
) -> anyhow::Result<Transfer> {
    let program = Guest::own_program()?;
    let script = format!(
        "rm -f receiver.out; {program} receive {target} >receiver.out 2>receiver.err &
tries=0
while [ ! -s receiver.out ]; do
  tries=$((tries + 1)); [ $tries -lt 1000 ] || exit 1; sleep 0.05
done; cat receiver.out"
    );
    let address: SocketAddr = kernel.run(&script)?.trim().parse().context("the receiver")?;
    let start = clock::now();
    let mut send = side.command(&own_copy(side)?);
    send.args(["send", &source.to_string(), &address.to_string(), &octets.to_string()]);
    let sent = output(send.arg(pace.as_millis().to_string())).context("to the guest")?;
    let time = start.elapsed();
    let received = kernel.run("sleep 0.1; cat receiver.out")?;
    let mut lines = received.lines().skip(1);
    compare(&sent, lines.next().unwrap_or_default())?;
    let pause = lines.next().unwrap_or_default().parse().context("the receiver's pause")?;
    let pause = Duration::from_millis(pause);
    #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
    let mbit_s = octets as f64 * 8.0 / 1e6 / time.as_secs_f64();
    Ok(Transfer { mbit_s, time, pause })
}
