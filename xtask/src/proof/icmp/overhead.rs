//! Row 5: the largest packet that fits. The engine says how long it may be, the formula of RFC 4303
//! says the same, it is sent and seen on the wire as long as blocks let be, and one octet more is
//! refused with that very number.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::Duration;

use anyhow::Context as _;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::cells::Cells;
use super::ends::{Ends, Shape};
use super::net::{EDGE, ETHERNET, Net};
use crate::clock;
use crate::interop::adit;
use crate::interop::gateway::{Level, Make};
use crate::interop::lab::Side;
use crate::interop::plan::Plan;
use crate::linux::pcap::{Esp, packets};
use crate::linux::suite::Suite;
use crate::proof::{Effort, Finding, lacks};

/// The gateway's link: no round number of blocks.
const MTU: usize = 1_398;

/// Suites of a short look: each block, IV and ICV.
const FEW: [&str; 6] =
    ["aes256gcm16", "aes128gcm8", "aes128-sha256", "aes128ctr-sha1", "3des-sha512", "null-sha256"];

// CHECKLIST PM-06, PM-07, PM-08: over both families, ESP alone and in UDP.
const BY_INTERFACE: &str = " by its interface";

/// Suites for every shape.
const BOTH_KINDS: [&str; 3] = ["aes256gcm16", "aes128-sha256", "chacha20poly1305"];

/// Every suite in both modes and encapsulations over IPv4, three in all others.
pub(super) fn measure(effort: &Effort) -> anyhow::Result<Finding> {
    if let Some(finding) = lacks(&["ip", "ping", "tcpdump"]) {
        return Ok(finding);
    }
    adit::build()?;
    let net = Net::new(false)?;
    net.set_edge_mtu(u16::try_from(MTU)?)?;
    let mut cells = Cells::default();
    for shape in Shape::all() {
        let is_main = !shape.inside_v6 && !shape.outside_v6;
        let is_wanted = |suite: &Suite| match (effort.quick, is_main) {
            (true, main) => main && FEW.contains(&suite.word().as_str()),
            (false, main) => main || BOTH_KINDS.contains(&suite.word().as_str()),
        };
        let suites: Vec<Suite> = Suite::all().into_iter().filter(is_wanted).collect();
        if !suites.is_empty() {
            of_shape(&net, shape, &suites, "turbo = \"off\"\n", &mut cells);
        }
    }
    for (shape, more) in route_based() {
        let suites: Vec<Suite> = Suite::all().into_iter().filter(is_first).collect();
        of_shape(&net, shape, &suites, more, &mut cells);
    }
    net.set_edge_mtu(ETHERNET)?;
    Ok(cells.finding())
}

fn is_first(suite: &Suite) -> bool {
    BOTH_KINDS.first().is_some_and(|first| suite.word() == *first)
}

/// Tunnels with an interface of their own, each with what its file says of that.
fn route_based() -> Vec<(Shape, &'static str)> {
    let more = "turbo = \"off\"\ninterface = \"vpn1\"\n";
    let is_it = |shape: &Shape| !shape.transport && shape.inside_v6 == shape.outside_v6;
    Shape::all().into_iter().filter(is_it).map(|shape| (shape, more)).collect()
}

/// All suites with one pair of daemons.
fn of_shape(net: &Net, shape: Shape, suites: &[Suite], more: &'static str, cells: &mut Cells) {
    let mut ready = None;
    let plan = |suite: &Suite| plan(shape, suite.word(), more);
    let Some(first) = suites.first().map(plan) else { return };
    let started = Ends::up(net, shape, &first, Make::Adit)
        .and_then(|ends| Ok((ends, Capture::start(&net.r1)?)));
    match started {
        Ok(started) => ready = Some(started),
        Err(error) => cells.check(&shape.name(), || Err(error)),
    }
    let Some((ends, capture)) = ready else { return };
    for suite in suites {
        let way = if more.contains("interface") { BY_INTERFACE } else { "" };
        let name = format!("{}{way} {}", shape.name(), suite.word());
        cells.check(&name, || try_it(net, &ends, &capture, (shape, suite), &plan(suite)));
    }
}

/// Each packet in an ESP packet of its own, so that its length is the packet's.
fn plan(shape: Shape, suite: String, more: &'static str) -> Plan {
    Plan {
        esp: suite.into(),
        left_more: if shape.transport { "" } else { more },
        allow: &["3des", "des", "blowfish", "cast128", "md5"],
        ..shape.plan()
    }
}

fn try_it(
    net: &Net,
    ends: &Ends<'_>,
    capture: &Capture,
    (shape, suite): (Shape, &Suite),
    plan: &Plan,
) -> anyhow::Result<String> {
    net.forget()?;
    ends.left.terminate(Level::Ike)?;
    ends.right.reconfigure(&net.left, plan)?;
    ends.left.reconfigure(&net.right, plan)?;
    ends.left.initiate().context("the tunnel does not come up")?;
    let fits = Overhead::of(suite, shape);
    let wanted = fits.largest(MTU);
    let said = ends.status()?.get("mtu").and_then(serde_json::Value::as_u64).unwrap_or_default();
    let mut faults = Vec::new();
    if usize::try_from(said)? != wanted {
        faults.push(format!("the engine says {said}, and {wanted} is right"));
    }
    let seen = capture.count();
    let printed = echo(ends, shape, wanted)?;
    match capture.longest_since(seen) {
        Some(len) if len == fits.sealed(wanted) && len <= MTU => {}
        Some(len) => faults.push(format!("{len} octets on the wire, not {}", fits.sealed(wanted))),
        None => faults.push(format!("{wanted} octets do not leave: {}", last(&printed))),
    }
    let seen = capture.count();
    let printed = echo(ends, shape, wanted + 1)?;
    if let Some(len) = capture.longest_since(seen) {
        faults.push(format!("one octet more left, as {len}"));
    }
    if !(printed.contains(&format!("mtu = {wanted}")) || printed.contains(&format!("mtu={wanted}")))
    {
        faults.push(format!("one octet more is not answered with {wanted}: {}", last(&printed)));
    }
    anyhow::ensure!(faults.is_empty(), "{}", faults.join("; "));
    Ok(format!("{wanted} in {} of {MTU}", fits.sealed(wanted)))
}

/// Two echoes with DF in IP packets of so many octets; what `ping` printed. The second hears what
/// the first has made known.
fn echo(ends: &Ends<'_>, shape: Shape, octets: usize) -> anyhow::Result<String> {
    let [(side, source), (_, target)] = ends.speakers();
    let headers = if target.is_ipv6() { 48 } else { 28 };
    let size = octets.saturating_sub(headers).to_string();
    let mut ping = side.command(Path::new("ping"));
    ping.args(["-n", "-M", "do", "-c", "2", "-i", "0.05", "-W", "0.3", "-s", &size, "-I"]);
    let output = ping.args([source, target].map(|end| end.to_string())).output();
    let output = output.with_context(|| format!("ping, {}", shape.name()))?;
    let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
    Ok(format!("{}{complaint}", String::from_utf8_lossy(&output.stdout)))
}

/// The line that says what happened.
fn last(printed: &str) -> String {
    let is_it = |line: &&str| line.contains("mtu") || line.contains("packets transmitted");
    printed.lines().find(is_it).unwrap_or_default().trim().to_owned()
}

/// What a suite adds to a packet (RFC 4303 §2), by its words alone: not the engine's own reckoning.
#[derive(Clone, Copy, Debug)]
struct Overhead {
    /// IP and UDP outside.
    outer: usize,
    /// The header in front of what is protected in transport mode.
    kept: usize,
    block: usize,
    iv: usize,
    icv: usize,
}

/// SPI and sequence number; pad length and next header.
const ESP_HEADER: usize = 8;
const TRAILER: usize = 2;

impl Overhead {
    fn of(suite: &Suite, shape: Shape) -> Self {
        let ip = if shape.outside_v6 { 40 } else { 20 };
        let word = suite.word();
        let cipher = word.split('-').next().unwrap_or_default();
        let has = |part: &str| cipher.contains(part);
        let (block, iv) = if ["gcm", "ccm", "gmac", "ctr", "poly"].into_iter().any(has) {
            (4, 8)
        } else if ["3des", "des", "blowfish", "cast"].into_iter().any(has) {
            (8, 8)
        } else if has("null") {
            (4, 0)
        } else {
            (16, 16)
        };
        let icv_bits: usize = suite.kernel_names().iter().map(|(_, bits)| bits).sum();
        Self {
            outer: ip + if shape.udp { 8 } else { 0 },
            kept: if shape.transport { ip } else { 0 },
            block,
            iv,
            icv: icv_bits / 8,
        }
    }

    /// The longest packet that fits into `mtu` octets.
    fn largest(self, mtu: usize) -> usize {
        let room = mtu - self.outer - ESP_HEADER - self.iv - self.icv;
        room / self.block * self.block - TRAILER + self.kept
    }

    /// How long a packet of so many octets is outside.
    fn sealed(self, octets: usize) -> usize {
        let inside = (octets - self.kept + TRAILER).next_multiple_of(self.block);
        self.outer + ESP_HEADER + self.iv + inside + self.icv
    }
}

/// What passes the router beside the left gateway, in a file that grows.
struct Capture {
    process: Child,
    file: PathBuf,
}

impl Capture {
    fn start(router: &Side) -> anyhow::Result<Self> {
        let file = router.folder.join("wire.pcap");
        let _ = fs::remove_file(&file);
        let mut tcpdump = router.endless_command(Path::new("tcpdump"));
        tcpdump.args(["-n", "-U", "--immediate-mode", "-Z", "root", "-i", EDGE, "-Q", "in", "-w"]);
        tcpdump.arg(&file).arg("esp or udp port 4500");
        let capture = Self { process: router.spawn(tcpdump, "tcpdump.log")?, file };
        let listens = || fs::metadata(&capture.file).is_ok_and(|file| file.len() > 0);
        anyhow::ensure!(clock::poll(SOON, PAUSE, listens), "tcpdump does not capture");
        Ok(capture)
    }

    /// Lengths of all ESP packets so far, as IP packets.
    fn lengths(&self) -> Vec<usize> {
        let octets = fs::read(&self.file).unwrap_or_default();
        let packets = packets(&octets).unwrap_or_default();
        let length = |packet: &&[u8]| {
            let esp = Esp::find(packet)?;
            let headers = if esp.v6 { 40 } else { 20 } + if esp.udp { 8 } else { 0 };
            Some(headers + esp.octets.len())
        };
        packets.iter().filter_map(length).collect()
    }

    fn count(&self) -> usize {
        self.lengths().len()
    }

    /// The longest one behind the first `seen`, if it is about as long as the link lets be.
    fn longest_since(&self, seen: usize) -> Option<usize> {
        const NEAR: usize = 64;
        let mut longest = None;
        clock::poll(WHILE, PAUSE, || {
            longest = self.lengths().into_iter().skip(seen).max();
            longest.is_some_and(|len| len + NEAR > MTU)
        });
        longest.filter(|len| len + NEAR > MTU)
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        if let Ok(process) = i32::try_from(self.process.id()) {
            let _ = kill(Pid::from_raw(process), Signal::SIGTERM);
        }
        let _ = self.process.wait();
    }
}

const SOON: Duration = Duration::from_secs(5);

/// What was sent is in the file within this time.
const WHILE: Duration = Duration::from_millis(150);

const PAUSE: Duration = Duration::from_millis(15);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_packet_fits_and_no_larger_one() {
        for shape in Shape::all() {
            for suite in Suite::all() {
                let overhead = Overhead::of(&suite, shape);
                for mtu in [576, 1_280, 1_398, 1_500, 9_000] {
                    let largest = overhead.largest(mtu);
                    assert!(overhead.sealed(largest) <= mtu);
                    assert!(overhead.sealed(largest + 1) > mtu);
                    assert!(overhead.sealed(largest) + overhead.block > mtu);
                }
            }
        }
    }

    /// Numbers everybody knows: AES-GCM in tunnel mode over IPv4 on Ethernet.
    #[test]
    fn known_overheads_are_right() {
        let suite = |word: &str| Suite::all().into_iter().find(|one| one.word() == word).unwrap();
        let shape = Shape { inside_v6: false, outside_v6: false, udp: false, transport: false };
        assert_eq!(Overhead::of(&suite("aes256gcm16"), shape).largest(1_500), 1_446);
        let udp = Shape { udp: true, ..shape };
        assert_eq!(Overhead::of(&suite("aes256gcm16"), udp).largest(1_500), 1_438);
        assert_eq!(Overhead::of(&suite("aes128-sha256"), shape).largest(1_500), 1_438);
    }
}
