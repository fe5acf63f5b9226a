//! `cargo xtask interop linux`: our daemon against the ESP of a real Linux kernel.
//!
//! The kernel is a guest on the right side of the lab, with a strongSwan that gives it keys. One
//! pair of daemons does all cases, one after the other: connect, ping from either side, and look
//! at the kernel's SAs: they have the mode, the algorithms and the numbers that were meant, and
//! every ping and every answer went through them.

use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;

use super::gateway::{Gateway, Level, Make};
use super::in_guest::{KernelPeer, State};
use super::lab::{Lab, OUTSIDE, Side, output};
use super::plan::Plan;
use super::{Figures, Row, adit};
use crate::linux::suite::Suite;
use crate::outcome::Status;
use crate::{clock, linux, needs};

/// How packets travel in a case.
#[derive(Clone, Copy, Debug)]
struct Shape {
    name: &'static str,
    claim: &'static str,
    transport: bool,
    outside_v6: bool,
    inside_v6: bool,
    udp: bool,
    /// In a bundle with IPComp, which IKEv1 agrees on in one quick mode.
    compressed: bool,
}

const fn shape(name: &'static str, claim: &'static str) -> Shape {
    Shape {
        name,
        claim,
        transport: false,
        outside_v6: false,
        inside_v6: false,
        udp: false,
        compressed: false,
    }
}

/// The two shapes that every suite goes through.
const MAIN: [Shape; 2] = [
    shape("tunnel", "tunnel mode, IPv4 in ESP over IPv4"),
    Shape { transport: true, ..shape("transport", "transport mode over IPv4") },
];

/// The others, each for a few suites.
const MORE: [Shape; 7] = [
    Shape { outside_v6: true, inside_v6: true, ..shape("tunnel-6", "IPv6 in ESP over IPv6") },
    Shape { outside_v6: true, ..shape("tunnel-4-in-6", "IPv4 in ESP over IPv6") },
    Shape { inside_v6: true, ..shape("tunnel-6-in-4", "IPv6 in ESP over IPv4") },
    Shape { udp: true, ..shape("tunnel-udp", "IPv4 in ESP in UDP over IPv4") },
    Shape { udp: true, outside_v6: true, ..shape("tunnel-udp-6", "IPv4 in ESP in UDP over IPv6") },
    Shape {
        transport: true,
        outside_v6: true,
        inside_v6: true,
        ..shape("transport-6", "transport mode over IPv6")
    },
    Shape { transport: true, udp: true, ..shape("transport-udp", "transport mode in UDP") },
];

/// Of IKEv1.
const BUNDLES: [Shape; 2] = [
    Shape { compressed: true, ..shape("ikev1-ipcomp", "IKEv1: ESP and IPComp in one bundle") },
    Shape {
        compressed: true,
        transport: true,
        ..shape("ikev1-ipcomp-transport", "IKEv1: the same in transport mode")
    },
];

/// The suite of these.
const BUNDLED: &str = "aes128-sha256";

/// Suites for all shapes: an AEAD and a pair, a counter and a random IV.
const BOTH_KINDS: [&str; 3] = ["aes256gcm16", "aes128-sha256", "chacha20poly1305"];

/// Suites of a short look: each algorithm that peers still have.
const FEW: [&str; 18] = [
    "aes256gcm16",
    "aes128gcm8",
    "aes192gcm12",
    "aes128ccm8",
    "aes256ccm16",
    "aes128gmac",
    "chacha20poly1305",
    "aes128-sha256",
    "aes128-sha384",
    "aes128-sha512",
    "aes128-sha1",
    "aes128-aesxcbc",
    "aes128-aescmac",
    "aes128ctr-sha1",
    "camellia128-aescmac",
    "3des-sha512",
    "cast128-sha256",
    "null-sha256",
];

/// One connection.
struct Case {
    name: String,
    suite: Suite,
    esn: bool,
    shape: Shape,
    we_begin: bool,
}

/// Which cases.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Extent {
    /// A few suites.
    Few,
    /// Every suite that the kernel has.
    All,
}

fn cases(extent: Extent) -> Vec<Case> {
    let mut cases = Vec::new();
    for (number, suite) in Suite::all().into_iter().enumerate() {
        if extent == Extent::Few && !FEW.contains(&suite.word().as_str()) {
            continue;
        }
        let place = BOTH_KINDS.iter().position(|word| *word == suite.word());
        let more = MORE.into_iter().filter(|_| place.is_some());
        let number = place.unwrap_or(number);
        for (turn, shape) in MAIN.into_iter().chain(more).enumerate() {
            // Each suite and each shape is seen with extended numbers and without.
            let esn = (number + turn).is_multiple_of(2);
            let word = suite.word();
            let name = format!("{}/{word}{}", shape.name, if esn { "-esn" } else { "" });
            cases.push(Case { name, suite, esn, shape, we_begin: esn });
        }
    }
    let bundled = Suite::all().into_iter().filter(|suite| suite.word() == BUNDLED);
    for suite in bundled {
        for (shape, we_begin) in BUNDLES.into_iter().zip([true, false]) {
            let name = format!("{}/{BUNDLED}", shape.name);
            cases.push(Case { name, suite, esn: false, shape, we_begin });
        }
    }
    cases
}

/// The names of all cases and what they show.
pub(super) fn list() -> Vec<(String, &'static str)> {
    cases(Extent::All).into_iter().map(|case| (case.name, case.shape.claim)).collect()
}

/// Runs the cases that are named; all of `extent` if none is. A shape's name stands for all of
/// its cases.
pub(super) fn rows(
    extent: Extent,
    names: &[String],
    keep: bool,
    report: impl Fn(&Row),
) -> anyhow::Result<Vec<Row>> {
    let cases = choose(extent, names)?;
    let missing = needs::missing(&programs());
    if !missing.is_empty() {
        let reason = format!("missing: {}", missing.join("; "));
        let row = row("linux".to_owned(), Status::missing(), reason);
        report(&row);
        return Ok(vec![row]);
    }
    adit::build()?;
    let lab = Lab::new(keep)?;
    let bench = Bench::start(&lab)?;
    let mut rows = Vec::new();
    for case in cases {
        let start = clock::now();
        let mut row = match bench.try_it(&case) {
            Ok(()) => row(case.name, Status::Pass, case.shape.claim.to_owned()),
            Err(error) => {
                eprint!("{}{}", bench.left.last_words(), bench.right.last_words());
                bench.forget();
                row(case.name, Status::Fail, format!("{error:#}"))
            }
        };
        row.seconds = start.elapsed().as_secs_f64();
        report(&row);
        rows.push(row);
    }
    Ok(rows)
}

fn choose(extent: Extent, names: &[String]) -> anyhow::Result<Vec<Case>> {
    let mut cases = cases(extent);
    if names.is_empty() {
        return Ok(cases);
    }
    let is_it = |name: &String, case: &Case| *name == case.name || name == case.shape.name;
    if let Some(name) = names.iter().find(|name| !cases.iter().any(|case| is_it(name, case))) {
        anyhow::bail!("no case `{name}`; --list shows them");
    }
    cases.retain(|case| names.iter().any(|name| is_it(name, case)));
    Ok(cases)
}

/// The programs that it runs.
pub(crate) fn programs() -> Vec<&'static str> {
    [&super::PROGRAMS[..], &linux::PROGRAMS].concat()
}

fn row(scenario: String, status: Status, reason: String) -> Row {
    Row { scenario, status, reason, seconds: 0.0, figures: Figures::new() }
}

/// Both sides; they stand before the lab, so they go first.
struct Bench<'a> {
    left: Gateway,
    right: KernelPeer,
    lab: &'a Lab,
}

impl<'a> Bench<'a> {
    fn start(lab: &'a Lab) -> anyhow::Result<Self> {
        let plan = Plan::default();
        lab.left.cut_super_packets(OUTSIDE)?;
        let right = KernelPeer::start(&lab.right, &plan)?;
        right.load(&lab.left, &plan)?;
        let left = Gateway::start(&lab.left, &lab.right, &plan, Make::Adit)?;
        Ok(Self { left, right, lab })
    }

    fn try_it(&self, case: &Case) -> anyhow::Result<()> {
        let plan = case.plan();
        self.right.load(&self.lab.left, &plan)?;
        self.left.reconfigure(&self.lab.right, &plan)?;
        // Whoever asks, the other's packets have to be opened.
        if case.we_begin {
            self.left.initiate()?
        } else {
            self.right.initiate()?
        }
        let ours = self.left.wait_for(SOON, "the tunnel", |_| true)?;
        // A responder of IKEv1 has its SAs when it has the third message, and the modules that they need.
        let is_there = || self.right.states().is_ok_and(|states| count_esp(&states) == 2);
        anyhow::ensure!(clock::poll(SOON, PAUSE, is_there), "the kernel has no SAs");
        self.ping(case).context("ping")?;
        let states = self.right.states()?;
        if case.shape.compressed {
            case.judge_bundle(&states)?;
        } else {
            case.judge(&states)?;
        }
        let spis: Vec<&str> =
            ours.live_children().flat_map(|child| child.spis.split(' ')).collect();
        let is_ours = |state: &State| {
            let is_esp = state.text.contains("proto esp");
            !is_esp || spis.iter().any(|spi| state.has_spi(spi))
        };
        anyhow::ensure!(states.iter().all(is_ours), "ours are {spis:?}, theirs {states:?}");
        self.left.terminate(Level::Ike)?;
        let is_empty = || self.right.states().is_ok_and(|states| states.is_empty());
        anyhow::ensure!(clock::poll(SOON, PAUSE, is_empty), "the kernel keeps its SAs");
        Ok(())
    }

    /// From either side, and not one may be lost.
    fn ping(&self, case: &Case) -> anyhow::Result<()> {
        let (left, right) = (&self.lab.left, &self.lab.right);
        let from_left = case.ping_words(case.address(left), case.address(right));
        output(self.lab.left.command(Path::new("ping")).args(&from_left))?;
        let from_right = case.ping_words(case.address(right), case.address(left));
        self.right.run(&format!("ping {}", from_right.join(" "))).map(drop)
    }

    /// The next case finds nothing of this one.
    fn forget(&self) {
        let clean = self.left.terminate(Level::Ike).and_then(|()| self.right.forget());
        if let Err(error) = clean.and_then(|()| self.left.wait_for_none(SOON)) {
            eprintln!("xtask: {error:#}");
        }
    }
}

impl Case {
    /// ping fails unless every echo comes back. What is to become shorter is dull.
    fn ping_words(&self, from: IpAddr, to: IpAddr) -> Vec<String> {
        let octets = if self.shape.compressed { "-p 00 " } else { "" };
        let text = format!("-n -q -i 0.02 -W 2 -c {PINGS} -s {PING_OCTETS} {octets}-I {from} {to}");
        text.split(' ').map(str::to_owned).collect()
    }

    fn plan(&self) -> Plan {
        let esn = if self.esn { "-esn" } else { "" };
        let word = format!("{}{esn}", self.suite.word());
        Plan {
            outside_v6: self.shape.outside_v6,
            inside_v6: self.shape.inside_v6,
            transport: self.shape.transport,
            udp: self.shape.udp,
            version: if self.shape.compressed { 1 } else { 2 },
            ike: if self.shape.compressed { IKEV1 } else { "aes128gcm16-prfsha256-x25519" },
            left_more: if self.shape.compressed { "compress = true\n" } else { "" },
            right_compresses: self.shape.compressed,
            esp: word.into(),
            allow: &["3des", "des", "blowfish", "cast128", "md5"],
            ..Plan::default()
        }
    }

    /// Where `side` is pinged.
    fn address(&self, side: &Side) -> IpAddr {
        if self.shape.transport {
            side.outside(self.shape.outside_v6)
        } else {
            side.inside(self.shape.inside_v6)
        }
    }

    /// One SA for each direction, with what was meant, and every echo and every answer in it.
    fn judge(&self, states: &[State]) -> anyhow::Result<()> {
        anyhow::ensure!(states.len() == 2, "the kernel has {} SAs", states.len());
        for state in states {
            let has = |words: &str| state.text.contains(words);
            let mode = if self.shape.transport { "mode transport" } else { "mode tunnel" };
            let names = self.suite.kernel_names();
            let mut wrong: Vec<&str> = names
                .iter()
                .map(|(name, _)| *name)
                .filter(|name| !has(&format!(" {name} ")))
                .collect();
            // `hmac(sha256) 0xKEY (256 bits) 128`.
            let has_icv = names.iter().filter(|(_, bits)| *bits > 0).all(|(name, bits)| {
                let behind = state.text.split_once(name).map_or("", |(_, behind)| behind);
                behind.split_whitespace().nth(3) == Some(&bits.to_string())
            });
            let facts = [
                (has(mode), mode),
                (has_icv, "the length of the ICV"),
                (has("esn context") == self.esn, "extended sequence numbers"),
                (has("encap type espinudp") == self.shape.udp, "UDP"),
                (state.packets >= 2 * PINGS, "the count of packets"),
            ];
            wrong.extend(facts.iter().filter(|(holds, _)| !holds).map(|(_, what)| *what));
            anyhow::ensure!(wrong.is_empty(), "not as meant: {}: {}", wrong.join(", "), state.text);
        }
        Ok(())
    }
}

fn count_esp(states: &[State]) -> usize {
    states.iter().filter(|state| state.text.contains("proto esp")).count()
}

/// What both have of IKEv1.
const IKEV1: &str = "aes256-sha256-modp2048";

impl Case {
    /// ESP for each direction, which every echo went through and in which it is shorter, and IPComp in front.
    fn judge_bundle(&self, states: &[State]) -> anyhow::Result<()> {
        let of = |protocol: &'static str| {
            states.iter().filter(move |state| state.text.contains(protocol)).collect::<Vec<_>>()
        };
        let (esp, comp) = (of("proto esp"), of("proto comp"));
        anyhow::ensure!((esp.len(), comp.len()) == (2, 2), "not two of each: {states:?}");
        let names = self.suite.kernel_names();
        for state in esp {
            let wrong = names.iter().find(|(name, _)| !state.text.contains(name));
            anyhow::ensure!(wrong.is_none(), "no {wrong:?}: {}", state.text);
            anyhow::ensure!(state.packets >= 2 * PINGS, "pings went elsewhere: {}", state.text);
            // The kernel counts what ESP adds as well.
            let plain = state.packets * u64::from(PING_OCTETS);
            anyhow::ensure!(state.octets < plain, "nothing is compressed: {}", state.text);
        }
        Ok(())
    }
}

/// Echoes from each side.
const PINGS: u64 = 5;

/// Octets of an echo: no multiple of a block.
const PING_OCTETS: u16 = 333;

/// What both have agreed on shows within this time.
const SOON: Duration = Duration::from_secs(10);

const PAUSE: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use super::*;

    fn state(text: &str, packets: u64) -> State {
        State { text: text.to_owned(), packets, ..State::default() }
    }

    #[test]
    fn cases_are_many_and_of_every_shape() {
        let (all, few) = (cases(Extent::All), cases(Extent::Few));
        let shapes = MAIN.len() + MORE.len();
        let plain = FEW.len() * MAIN.len() + BOTH_KINDS.len() * MORE.len();
        assert_eq!(few.len(), plain + BUNDLES.len());
        assert!(all.len() > few.len());
        for shape in MAIN.iter().chain(&MORE) {
            let of_it = few.iter().filter(|case| case.shape.name == shape.name);
            assert!(of_it.clone().any(|case| case.esn) && of_it.clone().any(|case| !case.esn));
        }
        assert_eq!(shapes, 9);
    }

    #[test]
    fn cases_are_chosen_by_name_and_by_shape() {
        let choose = |name: &str| choose(Extent::All, &[name.to_owned()]).map(|cases| cases.len());
        assert!(choose("transport").unwrap() > 12);
        assert_eq!(choose(&list()[0].0).unwrap(), 1);
        assert!(choose("tunnel/rot13").is_err());
    }

    #[test]
    fn what_is_not_as_meant_is_named() {
        let is_it = |suite: &Suite| suite.word() == "aes128gcm8";
        let suite = Suite::all().into_iter().find(is_it).unwrap();
        let case = Case { name: String::new(), suite, esn: true, shape: MAIN[0], we_begin: true };
        let good =
            "mode tunnel aead rfc4106(gcm(aes)) 0x00 (160 bits) 64 anti-replay esn context: ";
        assert!(case.judge(&[state(good, 10), state(good, 10)]).is_ok());
        assert!(case.judge(&[state(good, 10)]).is_err());
        for (wrong, packets) in [
            (good.replace("tunnel", "transport"), 10),
            (good.replace("64", "128"), 10),
            (good.replace("4106", "4543"), 10),
            (good.replace("esn", ""), 10),
            (format!("{good}encap type espinudp"), 10),
            (good.to_owned(), 9),
        ] {
            assert!(case.judge(&[state(good, 10), state(&wrong, packets)]).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_bundle_is_compressed() {
        let case = cases(Extent::Few).pop().unwrap();
        assert!(case.shape.compressed && case.plan().right_compresses);
        let esp = |octets| State {
            octets,
            ..state("proto esp enc cbc(aes) auth-trunc hmac(sha256) ", 10)
        };
        let comp = || state("proto comp spi 0x00001234", 10);
        assert!(case.judge_bundle(&[esp(900), comp(), esp(900), comp()]).is_ok());
        assert!(case.judge_bundle(&[esp(900), comp(), esp(5_000), comp()]).is_err());
        assert!(case.judge_bundle(&[esp(900), esp(900)]).is_err());
    }
}
