//! What a run found, as values: for JSON, tables, the chart and the page.

use serde::Serialize;

use super::cell::Cell;
use super::load::MTU;
use super::machine::Machine;
use super::profile::Profile;
use super::rounds::Sample;
use super::statistics::{self, Measure, Spread};
use super::subject::Subject;

/// A whole run.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Report {
    /// Where and when.
    pub(crate) machine: Machine,
    /// Rounds that were run.
    pub(crate) rounds: u32,
    /// Seconds of each cell.
    pub(crate) cell_s: f64,
    /// MTU of each inner link, in octets.
    pub(crate) mtu: u16,
    /// What was to be measured, whether it could be or not.
    pub(crate) entries: Vec<Entry>,
    /// Cells, in the order of the columns.
    pub(crate) cells: Vec<Cell>,
    /// Every single value.
    pub(crate) samples: Vec<Sample>,
    /// Where processor time went, if somebody wanted to know.
    pub(crate) profiles: Vec<Profile>,
}

/// One subject of a run.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Entry {
    /// What it is.
    pub(crate) subject: Subject,
    /// What encrypts its packets.
    pub(crate) cipher: &'static str,
    /// The version that ran; empty for what has none.
    pub(crate) version: String,
    /// Why it was not measured.
    pub(crate) absent: Option<String>,
    /// Resident memory of both daemons at the end, in octets.
    pub(crate) memory_octets: Option<u64>,
}

impl Report {
    /// A run that has not measured anything.
    pub(crate) fn new(machine: Machine, rounds: u32, cell_s: f64, cells: &[Cell]) -> Self {
        Self {
            machine,
            rounds,
            cell_s,
            mtu: MTU,
            entries: Vec::new(),
            cells: cells.to_vec(),
            samples: Vec::new(),
            profiles: Vec::new(),
        }
    }

    /// The subjects that were measured.
    pub(crate) fn present(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter().filter(|entry| entry.absent.is_none())
    }

    /// Why `subject` was not measured, if it was wanted and was not.
    pub(crate) fn why_absent(&self, subject: Subject) -> Option<&str> {
        let entry = self.entries.iter().find(|entry| entry.subject == subject)?;
        entry.absent.as_deref()
    }

    /// What one subject had in one cell.
    pub(crate) fn spread(&self, subject: Subject, cell: Cell, measure: Measure) -> Option<Spread> {
        statistics::spread(&self.samples, subject, cell, measure)
    }

    /// How many times what `theirs` had that of `ours` is, in the same rounds.
    pub(crate) fn ratio(
        &self,
        ours: Subject,
        theirs: Subject,
        cell: Cell,
        measure: Measure,
    ) -> Option<Spread> {
        statistics::ratio(&self.samples, ours, theirs, cell, measure)
    }

    /// Share of the daemons' processor time that they spend in the kernel, in one cell.
    pub(crate) fn kernel_share(&self, subject: Subject, cell: Cell) -> Option<f64> {
        let is_it = |sample: &&Sample| sample.subject == subject && sample.cell == cell;
        let (mut user_s, mut system_s) = (0.0, 0.0);
        for sample in self.samples.iter().filter(is_it) {
            user_s += sample.user_s;
            system_s += sample.system_s;
        }
        (user_s + system_s > 0.0).then(|| system_s / (user_s + system_s))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A small run: Adit and gotatun in one cell, and no strongSwan.
    pub(crate) fn report() -> Report {
        let machine = Machine {
            date: "2026-01-02".to_owned(),
            processor: "A processor".to_owned(),
            processors: 2,
            kernel: "Linux 6.1".to_owned(),
            system: "Debian".to_owned(),
            commit: "abc".to_owned(),
            load: "0.10".to_owned(),
        };
        let mut report = Report::new(machine, 3, 2.0, &[Cell::Tcp1]);
        for (subject, value, cpu_s) in [(Subject::AditAes, 8.0, 1.0), (Subject::Gotatun, 2.0, 3.0)]
        {
            report.entries.push(entry(subject, None));
            for round in 1..=3 {
                let (gigabits, user_s, system_s) = (2.0 * value, cpu_s, 3.0 * cpu_s);
                let cell = Cell::Tcp1;
                report.samples.push(Sample {
                    round,
                    subject,
                    cell,
                    value,
                    gigabits,
                    user_s,
                    system_s,
                    moved: None,
                });
            }
        }
        report.entries.push(entry(Subject::Libipsec, Some("no charon")));
        report
    }

    fn entry(subject: Subject, absent: Option<&str>) -> Entry {
        Entry {
            subject,
            cipher: subject.cipher(),
            version: String::new(),
            absent: absent.map(str::to_owned),
            memory_octets: None,
        }
    }

    #[test]
    fn costs_are_compared_per_gigabit() {
        let report = report();
        let (ours, theirs) = (Subject::AditAes, Subject::Gotatun);
        assert_eq!(report.ratio(ours, theirs, Cell::Tcp1, Measure::Value).unwrap().median, 4.0);
        // 4 s for 16 Gbit against 12 s for 4.
        let ratio = report.ratio(ours, theirs, Cell::Tcp1, Measure::CpuPerGbit).unwrap().median;
        assert!((ratio - 1.0 / 12.0).abs() < 1e-9, "{ratio}");
        assert_eq!(report.kernel_share(ours, Cell::Tcp1), Some(0.75));
        assert_eq!(report.why_absent(Subject::Libipsec), Some("no charon"));
        assert_eq!(report.why_absent(Subject::Veth), None);
    }
}
