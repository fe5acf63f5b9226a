//! Medians and ranges over rounds, and ratios within rounds.

use serde::Serialize;

use super::cell::Cell;
use super::counters::Moved;
use super::rounds::Sample;
use super::subject::Subject;

/// What several rounds gave.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Spread {
    /// The middle one; of an even number the mean of the two in the middle.
    pub(crate) median: f64,
    /// The least.
    pub(crate) least: f64,
    /// The most.
    pub(crate) most: f64,
}

impl Spread {
    /// Of `values`, if there are any.
    pub(crate) fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<f64> = values.into_iter().filter(|value| value.is_finite()).collect();
        values.sort_by(f64::total_cmp);
        let (least, most) = (*values.first()?, *values.last()?);
        let (low, high) = (values.get((values.len() - 1) / 2)?, values.get(values.len() / 2)?);
        Some(Self { median: f64::midpoint(*low, *high), least, most })
    }

    /// `2.32 [1.84-2.64]`.
    pub(crate) fn show(&self, digits: usize) -> String {
        format!("{:.digits$} [{:.digits$}-{:.digits$}]", self.median, self.least, self.most)
    }
}

/// What is looked at in a cell.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Measure {
    /// The cell's own value.
    Value,
    /// CPU-seconds of both daemons per gigabit.
    CpuPerGbit,
    /// System calls of both daemons for each packet that one of them moved.
    CallsPerPacket,
}

impl Measure {
    /// In one sample, if there is such a thing in it.
    fn of(self, sample: &Sample) -> Option<f64> {
        match self {
            Self::Value => Some(sample.value),
            Self::CpuPerGbit => sample.cpu_s_per_gbit(),
            Self::CallsPerPacket => sample.moved.and_then(Moved::calls_per_packet),
        }
    }

    /// Unit in a cell.
    pub(crate) fn unit(self, cell: Cell) -> &'static str {
        match self {
            Self::Value => cell.unit(),
            Self::CpuPerGbit => "CPU-s/Gbit",
            Self::CallsPerPacket => "calls/packet",
        }
    }

    /// Digits after the point that mean something.
    pub(crate) fn digits(self, cell: Cell) -> usize {
        match self {
            Self::Value => cell.digits(),
            Self::CpuPerGbit | Self::CallsPerPacket => 3,
        }
    }
}

/// What one subject had in one cell.
pub(crate) fn spread(
    samples: &[Sample],
    subject: Subject,
    cell: Cell,
    measure: Measure,
) -> Option<Spread> {
    Spread::of(of(samples, subject, cell).filter_map(|sample| measure.of(sample)))
}

/// How many times `ours` is `theirs`, round by round: machines and their neighbours change between
/// rounds, less so within one.
pub(crate) fn ratio(
    samples: &[Sample],
    ours: Subject,
    theirs: Subject,
    cell: Cell,
    measure: Measure,
) -> Option<Spread> {
    Spread::of(of(samples, ours, cell).filter_map(|sample| {
        let mut others = of(samples, theirs, cell);
        let other = others.find(|other| other.round == sample.round)?;
        Some(measure.of(sample)? / measure.of(other).filter(|value| *value > 0.0)?)
    }))
}

fn of(samples: &[Sample], subject: Subject, cell: Cell) -> impl Iterator<Item = &Sample> {
    samples.iter().filter(move |sample| sample.subject == subject && sample.cell == cell)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_in_the_middle() {
        let spread = |values: &[f64]| Spread::of(values.iter().copied());
        assert_eq!(spread(&[]), None);
        assert_eq!(spread(&[f64::NAN]), None);
        assert_eq!(spread(&[3.0]), Some(Spread { median: 3.0, least: 3.0, most: 3.0 }));
        assert_eq!(spread(&[3.0, 1.0]), Some(Spread { median: 2.0, least: 1.0, most: 3.0 }));
        let three = spread(&[3.0, 1.0, 2.5]).unwrap();
        assert_eq!(three.show(1), "2.5 [1.0-3.0]");
    }

    #[test]
    fn ratios_are_those_of_the_same_round() {
        let sample = |round, subject, value| Sample {
            round,
            subject,
            cell: Cell::Tcp1,
            value,
            gigabits: 1.0,
            user_s: value,
            system_s: 0.0,
            moved: Some(Moved { packets: 100, calls: 7 }),
        };
        let samples = [
            sample(1, Subject::AditAes, 8.0),
            sample(1, Subject::Gotatun, 2.0),
            sample(2, Subject::AditAes, 4.0),
            sample(2, Subject::Gotatun, 2.0),
            sample(3, Subject::AditAes, 9.0),
        ];
        let value = Measure::Value;
        let found = ratio(&samples, Subject::AditAes, Subject::Gotatun, Cell::Tcp1, value);
        assert_eq!(found, Some(Spread { median: 3.0, least: 2.0, most: 4.0 }));
        assert_eq!(ratio(&samples, Subject::AditAes, Subject::Veth, Cell::Tcp1, value), None);
        assert_eq!(
            spread(&samples, Subject::AditAes, Cell::Tcp1, Measure::CpuPerGbit).unwrap().median,
            8.0
        );
    }
}
