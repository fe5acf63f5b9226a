//! How fast we are beside others, and how fast we have to be: one row per figure.
//!
//! Most figures come from the short form of `cargo xtask bench`, as ratios within its rounds. A miss
//! says where the time goes.

mod engine;
mod handshakes;
mod raw;
mod reason;

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::Context as _;

use super::{Effort, Finding, Row, lacks};
use crate::bench::handshakes::{self as daemons, Report as Handshakes};
use crate::bench::{self, Cell, Extent, Measure, Report, Subject};
use crate::{clock, interop};

/// What a ratio has to be.
#[derive(Clone, Copy, Debug)]
enum Wanted {
    AtLeast(f64),
    AtMost(f64),
}

/// Where a figure comes from.
#[derive(Clone, Copy)]
enum Source {
    /// From the rounds of the bench.
    Rounds(Pair),
    /// From the handshakes of both daemons.
    Handshakes(fn(&Handshakes) -> anyhow::Result<Compared>),
    /// From a measurement of its own.
    Own(fn(&Effort) -> anyhow::Result<Compared>),
}

/// Two subjects in one cell.
#[derive(Clone, Copy, Debug)]
struct Pair {
    ours: Subject,
    theirs: Against,
    cell: Cell,
    measure: Measure,
}

/// Whom we are compared with.
#[derive(Clone, Copy, Debug)]
enum Against {
    One(Subject),
    /// The rival that is best in this cell.
    BestRival,
}

/// A figure beside another.
pub(super) struct Compared {
    /// Both values, with their unit, in words.
    pub(super) values: String,
    /// How many times the one the other is.
    pub(super) ratio: f64,
    /// What explains it, for a miss.
    pub(super) reason: String,
}

/// One figure, and what it has to reach.
struct Figure {
    number: u8,
    claim: &'static str,
    wanted: Wanted,
    source: Source,
}

const FIGURES: &[Figure] = &[
    rounds(1, "TCP, 1 stream, against wireguard-go", 3.5, WIREGUARD, Cell::Tcp1),
    rounds(2, "TCP, 4 streams, against wireguard-go", 4.0, WIREGUARD, Cell::Tcp4),
    rounds(3, "TCP against strongSwan's kernel-libipsec, same cipher", 18.0, LIBIPSEC, Cell::Tcp1),
    rounds(4, "TCP against boringtun", 12.0, BORINGTUN, Cell::Tcp1),
    rounds(5, "TCP against gotatun", 7.0, GOTATUN, Cell::Tcp1),
    Figure {
        number: 6,
        claim: "TCP against wireguard-go with its own cipher, ChaCha20-Poly1305",
        wanted: Wanted::AtLeast(2.0),
        source: Source::Rounds(Pair {
            ours: Subject::AditChacha,
            theirs: WIREGUARD,
            cell: Cell::Tcp1,
            measure: Measure::Value,
        }),
    },
    rounds(
        7,
        "TCP as a share of our own plane without crypto",
        0.9,
        Against::One(Subject::Plain),
        Cell::Tcp1,
    ),
    rounds(8, "TCP as a share of the bare cable", 0.5, Against::One(Subject::Veth), Cell::Tcp1),
    cpu(9, "CPU-seconds per Gbit against wireguard-go", 1.0 / 5.0, WIREGUARD),
    cpu(10, "CPU-seconds per Gbit against kernel-libipsec", 1.0 / 20.0, LIBIPSEC),
    rounds(11, "UDP, 64 octets, against wireguard-go", 3.0, WIREGUARD, UDP_64),
    rounds(12, "UDP, 64 octets, against the best rival", 2.0, Against::BestRival, UDP_64),
    Figure {
        number: 13,
        claim: "ping through the tunnel against the best rival",
        wanted: Wanted::AtMost(1.0),
        source: Source::Rounds(Pair {
            ours: Subject::AditAes,
            theirs: Against::BestRival,
            cell: Cell::Ping,
            measure: Measure::Value,
        }),
    },
    Figure {
        number: 14,
        claim: "raw ESP packets per second against plain raw sockets",
        wanted: Wanted::AtLeast(2.0),
        source: Source::Own(raw::speed),
    },
    Figure {
        number: 15,
        claim: "the engine in process as a share of the bare AEAD, 1,400 octets",
        wanted: Wanted::AtLeast(0.85),
        source: Source::Own(engine::share),
    },
    Figure {
        number: 16,
        claim: "cost of a packet with 100,000 SAs and policies against 10 of both",
        wanted: Wanted::AtMost(1.3),
        source: Source::Own(engine::scale),
    },
    Figure {
        number: 17,
        claim: "handshakes per second, PSK and X25519, against charon",
        wanted: Wanted::AtLeast(8.0),
        source: Source::Handshakes(handshakes::rate),
    },
    Figure {
        number: 18,
        claim: "CPU of a handshake with 10,000 SAs standing against 500",
        wanted: Wanted::AtMost(1.1),
        source: Source::Handshakes(handshakes::flatness),
    },
    Figure {
        number: 19,
        claim: "memory of an IKE SA with one child against charon's with one",
        wanted: Wanted::AtMost(1.0 / 5.0),
        source: Source::Handshakes(handshakes::memory),
    },
    Figure {
        number: 20,
        claim: "handshakes per second with ML-KEM-768 as a share of those without",
        wanted: Wanted::AtLeast(0.6),
        source: Source::Handshakes(handshakes::hybrid),
    },
];

const WIREGUARD: Against = Against::One(Subject::WireguardGo);
const LIBIPSEC: Against = Against::One(Subject::Libipsec);
const BORINGTUN: Against = Against::One(Subject::Boringtun);
const GOTATUN: Against = Against::One(Subject::Gotatun);
const UDP_64: Cell = Cell::Udp(bench::load::Mix::Small);

/// A throughput with AES-128-GCM that has to be at least so many times another.
const fn rounds(
    number: u8,
    claim: &'static str,
    least: f64,
    theirs: Against,
    cell: Cell,
) -> Figure {
    let pair = Pair { ours: Subject::AditAes, theirs, cell, measure: Measure::Value };
    Figure { number, claim, wanted: Wanted::AtLeast(least), source: Source::Rounds(pair) }
}

/// A cost with AES-128-GCM and one TCP stream that has to be at most such a share of another.
const fn cpu(number: u8, claim: &'static str, most: f64, theirs: Against) -> Figure {
    let pair =
        Pair { ours: Subject::AditAes, theirs, cell: Cell::Tcp1, measure: Measure::CpuPerGbit };
    Figure { number, claim, wanted: Wanted::AtMost(most), source: Source::Rounds(pair) }
}

/// Numbers of the rows.
pub(super) fn numbers() -> Vec<u8> {
    FIGURES.iter().map(|figure| figure.number).collect()
}

/// Measures the figures whose numbers are `wanted`, all of them if it is empty.
pub(super) fn rows(effort: &Effort, wanted: &[u8]) -> Vec<Row> {
    let is_wanted = |figure: &&Figure| wanted.is_empty() || wanted.contains(&figure.number);
    let figures: Vec<&Figure> = FIGURES.iter().filter(is_wanted).collect();
    let (mut rounds, mut shaken) = (None, None);
    let mut rows = Vec::new();
    for figure in figures.iter().copied() {
        eprintln!("\n=== {} {}", figure.number, figure.claim);
        let start = clock::now();
        let found = match figure.source {
            Source::Own(measure) => measure(effort).map(|compared| judge(figure.wanted, compared)),
            Source::Handshakes(of) => {
                let report = shaken.get_or_insert_with(measure_handshakes);
                report.as_ref().map_err(Clone::clone).map_or_else(Ok, |report| {
                    of(report).map(|compared| judge(figure.wanted, compared))
                })
            }
            Source::Rounds(pair) => {
                let report = rounds.get_or_insert_with(|| measure_rounds(&figures, effort));
                Ok(compare(figure.wanted, report, pair))
            }
        };
        let found = found.unwrap_or_else(|error| Finding::fail("", format!("{error:#}")));
        rows.push(Row {
            number: figure.number,
            claim: figure.claim,
            figure: found.figure,
            status: found.status,
            reason: found.reason,
            seconds: start.elapsed().as_secs_f64(),
        });
    }
    rows
}

/// The short form of the bench, as far as `figures` ask for it; or why it did not run.
fn measure_rounds(figures: &[&Figure], effort: &Effort) -> Result<Report, Finding> {
    if let Some(finding) = lacks(&bench::PROGRAMS) {
        return Err(finding);
    }
    let pairs = figures.iter().filter_map(|figure| match figure.source {
        Source::Rounds(pair) => Some(pair),
        Source::Own(_) | Source::Handshakes(_) => None,
    });
    let (mut subjects, mut cells) = (BTreeSet::new(), BTreeSet::new());
    for pair in pairs {
        cells.insert(pair.cell);
        subjects.insert(pair.ours);
        match pair.theirs {
            Against::One(subject) => subjects.extend([subject]),
            Against::BestRival => subjects.extend(rivals()),
        }
    }
    let (rounds, seconds) = if effort.quick { QUICK } else { FULL };
    let time = Duration::from_secs(seconds);
    let cells = cells.into_iter().collect();
    let extent = Extent { rounds, time, cells, profile: true };
    let subjects: Vec<Subject> = subjects.into_iter().collect();
    bench::measure(&subjects, &extent).map_err(|error| Finding::fail("", format!("{error:#}")))
}

/// Handshakes of both daemons, or why there are none.
fn measure_handshakes() -> Result<Handshakes, Finding> {
    if let Some(finding) = lacks(&interop::PROGRAMS) {
        return Err(finding);
    }
    daemons::measure_for_proof().map_err(|error| Finding::fail("", format!("{error:#}")))
}

/// Rounds, and seconds of each value.
const FULL: (u32, u64) = (5, 3);
const QUICK: (u32, u64) = (2, 1);

fn rivals() -> impl Iterator<Item = Subject> {
    Subject::ALL.into_iter().filter(|subject| subject.is_rival())
}

/// One row out of the rounds.
fn compare(wanted: Wanted, report: &Result<Report, Finding>, pair: Pair) -> Finding {
    let report = match report {
        Ok(report) => report,
        Err(finding) => return finding.clone(),
    };
    let theirs = match pair.theirs {
        Against::One(subject) => Some(subject),
        Against::BestRival => best_rival(report, pair),
    };
    let Some(theirs) = theirs else { return Finding::missing("no rival could be measured") };
    for subject in [pair.ours, theirs] {
        if let Some(reason) = report.why_absent(subject) {
            return Finding::missing(format!("{}: {reason}", subject.name()));
        }
    }
    match compared(report, pair, theirs) {
        Ok(compared) => judge(wanted, compared),
        Err(error) => Finding::fail("", format!("{error:#}")),
    }
}

/// The rival with the highest throughput, or with the lowest cost or ping.
fn best_rival(report: &Report, pair: Pair) -> Option<Subject> {
    let Pair { cell, measure, .. } = pair;
    let less_is_better = cell == Cell::Ping || measure == Measure::CpuPerGbit;
    let median = |subject| Some((subject, report.spread(subject, cell, measure)?.median));
    let mut measured: Vec<(Subject, f64)> = rivals().filter_map(median).collect();
    measured.sort_by(|(_, a), (_, b)| if less_is_better { b.total_cmp(a) } else { a.total_cmp(b) });
    measured.pop().map(|(subject, _)| subject)
}

fn compared(report: &Report, pair: Pair, theirs: Subject) -> anyhow::Result<Compared> {
    let Pair { ours, cell, measure, .. } = pair;
    let ratio = report.ratio(ours, theirs, cell, measure);
    let ratio = ratio.with_context(|| format!("no round has both of {}", cell.name()))?;
    let value = |subject: Subject| {
        let digits = measure.digits(cell);
        let spread = report.spread(subject, cell, measure);
        spread.map_or_else(|| "-".to_owned(), |spread| format!("{:.digits$}", spread.median))
    };
    let values = format!(
        "{} {} against {} ({}), rounds from {:.2} to {:.2}",
        value(ours),
        measure.unit(cell),
        value(theirs),
        theirs.name(),
        ratio.least,
        ratio.most
    );
    let reason = reason::of(report, ours, theirs, cell, measure);
    Ok(Compared { values, ratio: ratio.median, reason })
}

fn judge(wanted: Wanted, compared: Compared) -> Finding {
    let Compared { values, ratio, reason } = compared;
    let (reached, words) = match wanted {
        Wanted::AtLeast(least) => (ratio >= least, format!("at least {least:.2}")),
        Wanted::AtMost(most) => (ratio <= most, format!("at most {most:.2}")),
    };
    let figure = format!("{ratio:.2} times, {words} wanted: {values}");
    if reached { Finding::pass(figure) } else { Finding::fail(figure, reason) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::Sample;
    use crate::outcome::Status;

    #[test]
    fn every_figure_has_a_number_of_its_own() {
        let numbers = numbers();
        let different: BTreeSet<u8> = numbers.iter().copied().collect();
        assert_eq!(different.len(), numbers.len());
    }

    #[test]
    fn a_miss_says_why_and_a_hit_need_not() {
        let compared = |ratio| Compared {
            values: "7.00 Gbit/s against 2.00".to_owned(),
            ratio,
            reason: "the kernel".to_owned(),
        };
        let hit = judge(Wanted::AtLeast(3.5), compared(3.5));
        assert_eq!((hit.status, hit.reason.as_str()), (Status::Pass, ""));
        assert_eq!(hit.figure, "3.50 times, at least 3.50 wanted: 7.00 Gbit/s against 2.00");
        let miss = judge(Wanted::AtMost(0.2), compared(0.21));
        assert_eq!((miss.status, miss.reason.as_str()), (Status::Fail, "the kernel"));
    }

    #[test]
    fn rows_come_from_the_rounds() {
        let mut report = bench::small_report();
        let ours = report.samples.iter().filter(|sample| sample.subject == Subject::AditAes);
        let plain = |sample: &Sample| Sample { subject: Subject::Plain, value: 10.0, ..*sample };
        let plain: Vec<Sample> = ours.map(plain).collect();
        report.samples.extend(plain);
        let report = Ok(report);
        let pair =
            |theirs, measure| Pair { ours: Subject::AditAes, theirs, cell: Cell::Tcp1, measure };
        let found = compare(Wanted::AtLeast(4.0), &report, pair(GOTATUN, Measure::Value));
        assert_eq!(found.status, Status::Pass, "{}", found.reason);
        assert!(found.figure.contains("8.00 Gbit/s against 2.00 (gotatun)"), "{}", found.figure);
        let best = pair(Against::BestRival, Measure::CpuPerGbit);
        let found = compare(Wanted::AtMost(0.05), &report, best);
        assert!(found.figure.contains("0.250 CPU-s/Gbit against 3.000"), "{}", found.figure);
        assert!(
            found.reason.contains("75 % of our processor time is the kernel's"),
            "{}",
            found.reason
        );
        let found = compare(Wanted::AtLeast(9.0), &report, pair(GOTATUN, Measure::Value));
        assert!(
            found.reason.starts_with("without crypto it would be 5.00 times"),
            "{}",
            found.reason
        );
        let found = compare(Wanted::AtLeast(1.0), &report, pair(LIBIPSEC, Measure::Value));
        assert_eq!(found.reason, "libipsec: no charon");
    }
}
