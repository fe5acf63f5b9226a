//! `cargo xtask vectors linux` and `linux-bundles`: packets sealed by a real Linux kernel, as test vectors.
//!
//! A kernel in a namespace gets one SA after the other by hand and a clear packet for each; what
//! leaves it is captured on the other end of the cable. The keys and the clear packets are the
//! same in each run, the IVs are the kernel's.

use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::{Args, ValueEnum};
use serde::Serialize;

use super::PROGRAMS;
use super::guest::{EXCHANGE, Guest};
use super::packets::{Octets, RAW, Round, UDP_HEADER, hex, udp};
use super::pcap::{Ah, Esp, packets};
use super::suite::Suite;
use super::{beet, bundle};
use crate::interop::lab::{Lab, OUTSIDE, Side};
use crate::outcome::json_list;
use crate::{clock, needs, root};

/// The command line.
#[derive(Args, Clone, Debug)]
pub(crate) struct Options {
    /// Who makes them
    from: Source,
    /// Keep logs and the capture, and say where
    #[arg(long)]
    keep: bool,
}

/// Who makes vectors.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
enum Source {
    /// The ESP of a Linux kernel
    Linux,
    /// AH around ESP, by a Linux kernel
    LinuxBundles,
}

/// Where the vectors go.
const FILE: &str = "crates/dataplane/tests/vectors/linux-esp-packets.json";
const BEET_FILE: &str = "crates/dataplane/tests/vectors/linux-beet-packets.json";
const BUNDLE_FILE: &str = "crates/dataplane/tests/vectors/linux-bundle-packets.json";

/// Time from the guest's last packet until the capture holds it.
const SETTLED: Duration = Duration::from_secs(10);

/// One SA of the kernel.
struct Case {
    suite: Suite,
    spi: u32,
    encryption: Vec<u8>,
    integrity: Vec<u8>,
    esn: bool,
    /// Number of its first packet.
    first: u64,
    tunnel: bool,
    outer_v6: bool,
    udp: bool,
    /// Clear IP packets.
    packets: Vec<Vec<u8>>,
}

/// One vector, as the other files of its kind have it.
#[derive(Serialize)]
struct Vector {
    cipher: String,
    esn: bool,
    high: u32,
    mode: &'static str,
    outer: &'static str,
    udp: bool,
    next_header: u8,
    encryption: String,
    integrity: String,
    inner: String,
    esp: String,
}

/// Runs the verb.
pub(crate) fn run(options: &Options) -> anyhow::Result<ExitCode> {
    let programs = [&PROGRAMS[..], &["tcpdump"]].concat();
    let missing = needs::missing(&programs);
    anyhow::ensure!(missing.is_empty(), "missing: {}", missing.join("; "));
    let lab = Lab::new(options.keep)?;
    let guest = Guest::boot(&lab.right)?;
    let capture = start_capture(&lab.left)?;
    match options.from {
        Source::Linux => esp_and_beet(&lab, &guest, &capture)?,
        Source::LinuxBundles => bundles(&lab, &guest, &capture)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn esp_and_beet(lab: &Lab, guest: &Guest, capture: &Path) -> anyhow::Result<()> {
    let cases = cases(lab);
    let bound = beet::cases(lab);
    let rounds = cases.iter().map(|case| case.round(lab));
    let rounds: Vec<Round> = rounds.chain(bound.iter().map(|case| case.round(lab))).collect();
    let version = send(guest, &rounds)?;
    // The packets of BEET mode are the last ones.
    let bound = collect(capture, |wire| {
        let wire: Vec<Esp<'_>> = wire.iter().copied().filter_map(Esp::find).collect();
        bound.iter().map(|case| case.vector(&wire)).collect()
    })?;
    let vectors = collect(capture, |wire| {
        let wire: Vec<Esp<'_>> = wire.iter().copied().filter_map(Esp::find).collect();
        vectors(&cases, &wire)
    })?;
    fs::write(root::path(FILE), json_list(&vectors)? + "\n")?;
    fs::write(root::path(BEET_FILE), json_list::<beet::Vector>(&bound)? + "\n")?;
    println!("{} packets of Linux {version} in {FILE}", vectors.len());
    println!("{} packets of Linux {version} in {BEET_FILE}", bound.len());
    Ok(())
}

fn bundles(lab: &Lab, guest: &Guest, capture: &Path) -> anyhow::Result<()> {
    let cases = bundle::cases(lab);
    let rounds: Vec<Round> = cases.iter().map(|case| case.round(lab)).collect();
    let version = send(guest, &rounds)?;
    let vectors = collect(capture, |wire| {
        let wire: Vec<Ah<'_>> = wire.iter().copied().filter_map(Ah::find).collect();
        cases.iter().map(|case| case.vector(&wire)).collect()
    })?;
    fs::write(root::path(BUNDLE_FILE), json_list::<bundle::Vector>(&vectors)? + "\n")?;
    println!("{} packets of Linux {version} in {BUNDLE_FILE}", vectors.len());
    Ok(())
}

/// Has the guest send what its kernel protects; the version of that.
fn send(guest: &Guest, rounds: &[Round]) -> anyhow::Result<String> {
    guest.give("rounds.json", &serde_json::to_string(rounds)?)?;
    guest.run(&format!("{} guest-send {EXCHANGE}/rounds.json", Guest::own_program()?))?;
    Ok(guest.run("uname -r")?.trim().to_owned())
}

/// tcpdump on the end of the cable that is ours; the lab ends it.
fn start_capture(side: &Side) -> anyhow::Result<PathBuf> {
    let file = side.folder.join("wire.pcap");
    let mut command = side.endless_command(Path::new("tcpdump"));
    command.args(["-Z", "root", "-U", "--immediate-mode", "-B", "8192", "-i", OUTSIDE, "-w"]);
    command.arg(&file);
    side.spawn(command, "tcpdump.log")?;
    let is_open = || fs::metadata(&file).is_ok_and(|data| data.len() > 0);
    let opened = clock::poll(SETTLED, Duration::from_millis(50), is_open);
    anyhow::ensure!(opened, "tcpdump captures nothing");
    Ok(file)
}

/// What the capture holds for each case; waits for the last packet.
fn collect<T>(
    capture: &Path,
    read: impl Fn(&[&[u8]]) -> anyhow::Result<Vec<T>>,
) -> anyhow::Result<Vec<T>> {
    let mut found = Err(anyhow::anyhow!("no packet was looked for"));
    let look = || {
        let capture = fs::read(capture)?;
        read(&packets(&capture)?)
    };
    clock::poll(SETTLED, Duration::from_millis(200), || {
        found = look();
        found.is_ok()
    });
    found
}

fn vectors(cases: &[Case], wire: &[Esp<'_>]) -> anyhow::Result<Vec<Vector>> {
    let mut vectors = Vec::new();
    for case in cases {
        let sealed: Vec<&Esp<'_>> =
            wire.iter().filter(|packet| packet.spi() == Some(case.spi)).collect();
        let word = case.suite.word();
        anyhow::ensure!(
            sealed.len() == case.packets.len(),
            "{word}: {} packets of {} left the kernel",
            sealed.len(),
            case.packets.len()
        );
        for (number, (inner, esp)) in (case.first..).zip(case.packets.iter().zip(sealed)) {
            vectors.push(case.vector(number, inner, esp).context(word.clone())?);
        }
    }
    Ok(vectors)
}

/// Each suite in both modes, with and without ESN; versions, UDP and lengths are mixed.
fn cases(lab: &Lab) -> Vec<Case> {
    let mut octets = Octets::new(SEED);
    let mut cases = Vec::new();
    for suite in Suite::all() {
        for (esn, tunnel) in [(false, true), (false, false), (true, true), (true, false)] {
            let spi = FIRST_SPI + u32::try_from(cases.len()).expect("some hundred SAs");
            cases.push(Case::new(suite, spi, esn, tunnel, lab, &mut octets));
        }
    }
    cases
}

impl Case {
    fn new(
        suite: Suite,
        spi: u32,
        esn: bool,
        tunnel: bool,
        lab: &Lab,
        octets: &mut Octets,
    ) -> Self {
        let (encryption, integrity) = suite.key_octets();
        let number = octets.number();
        // Every fourth SA with ESN goes over the end of the lower half.
        let turns = esn && number.is_multiple_of(4);
        let (first, count) = match (esn, turns) {
            (true, true) => (number | 0xffff_ffff, 2),
            (true, false) => (number, 1),
            (false, _) => (number & 0xff_ffff, 1),
        };
        let shape = octets.number();
        let outer_v6 = shape & 1 != 0;
        let inner_v6 = if tunnel { shape & 2 != 0 } else { outer_v6 };
        let ends =
            |side: &Side| if tunnel { side.inside(inner_v6) } else { side.outside(inner_v6) };
        let ends = [&lab.right, &lab.left].map(ends);
        Self {
            suite,
            spi,
            encryption: octets.take(encryption),
            integrity: octets.take(integrity),
            esn,
            first: first.max(1),
            tunnel,
            outer_v6,
            udp: shape & 4 != 0,
            packets: (0..count).map(|_| clear_packet(ends, octets)).collect(),
        }
    }

    /// What the guest does with it.
    fn round(&self, lab: &Lab) -> Round {
        let (from, to) = (lab.right.outside(self.outer_v6), lab.left.outside(self.outer_v6));
        let mode = if self.tunnel { "tunnel" } else { "transport" };
        let inner_v6 = self.packets.first().is_some_and(|packet| is_v6(packet));
        let to_inside = if self.tunnel { lab.left.inside(inner_v6) } else { to };
        let any = if inner_v6 { "::/0" } else { "0.0.0.0/0" };
        let last = self.first - 1;
        let (high, low) = (last >> 32, last & 0xffff_ffff);
        let mut flags = String::new();
        if self.esn {
            flags.push_str(" esn");
        }
        if inner_v6 != self.outer_v6 {
            flags.push_str(" af-unspec");
        }
        let flag = if flags.is_empty() { String::new() } else { format!(" flag{flags}") };
        let numbers = if self.esn { format!(" replay-oseq-hi {high}") } else { String::new() };
        let encap = if self.udp { " encap espinudp 4500 4500 0.0.0.0" } else { "" };
        let suite = self.suite.arguments(&hex(&self.encryption), &hex(&self.integrity));
        let batch = format!(
            "xfrm state flush\nxfrm policy flush\n\
             xfrm state add src {from} dst {to} proto esp spi {} reqid 1 mode {mode} \
             replay-window 64 replay-oseq {low}{numbers}{flag} {suite}{encap}\n\
             xfrm policy add src {any} dst {to_inside} proto {RAW} dir out \
             tmpl src {from} dst {to} proto esp reqid 1 mode {mode}\n",
            self.spi
        );
        Round {
            batch,
            destination: to_inside,
            packets: self.packets.iter().map(|p| hex(p)).collect(),
        }
    }

    /// The kernel's packet with the number that it should have.
    fn vector(&self, number: u64, clear: &[u8], esp: &Esp<'_>) -> anyhow::Result<Vector> {
        let [high, low] = [number >> 32, number & 0xffff_ffff].map(u32::try_from);
        let shape = (esp.v6, esp.udp, esp.sequence());
        let expected = (self.outer_v6, self.udp, Some(low?));
        anyhow::ensure!(shape == expected, "{shape:?} on the wire instead of {expected:?}");
        let v6 = is_v6(clear);
        let header_len = if v6 { 40 } else { 20 };
        let (inner, next_header) = match (self.tunnel, v6) {
            (true, false) => (Some(clear), 4),
            (true, true) => (Some(clear), 41),
            (false, _) => (clear.get(header_len..), 17),
        };
        Ok(Vector {
            cipher: self.suite.word(),
            esn: self.esn,
            high: high?,
            mode: if self.tunnel { "tunnel" } else { "transport" },
            outer: if self.outer_v6 { "ipv6" } else { "ipv4" },
            udp: self.udp,
            next_header,
            encryption: hex(&self.encryption),
            integrity: hex(&self.integrity),
            inner: hex(inner.context("a packet without a header")?),
            esp: hex(esp.octets),
        })
    }
}

fn is_v6(packet: &[u8]) -> bool {
    packet.first().is_some_and(|octet| octet >> 4 == 6)
}

fn clear_packet([from, to]: [IpAddr; 2], octets: &mut Octets) -> Vec<u8> {
    let random = octets.number().to_be_bytes();
    let [len, high, low, ..] = random;
    let payload = octets.take(usize::from(len) % PAYLOAD_MAX);
    // The kernel fills in an identification of zero.
    udp(from, to, u16::from_be_bytes([high, low | 1]), &payload)
}

const SEED: u64 = 4303;

const FIRST_SPI: u32 = 0xc0de_0000;

/// Octets of payload stay below this: every length of padding occurs, and the file stays short.
const PAYLOAD_MAX: usize = 72 - UDP_HEADER;
