//! What was played, and how it went.

use std::time::Duration;

use adit_sim::{Seed, Shrunk, WorldOutcome, WorldProfile};

/// A seed that broke an invariant.
#[derive(Debug)]
pub(crate) struct Failed {
    pub(crate) play: (Seed, WorldProfile),
    pub(crate) shrunk: Option<Shrunk>,
}

/// Sums over all seeds.
#[derive(Debug, Default)]
pub(crate) struct Report {
    worlds: u64,
    failed: Vec<Failed>,
    exchanges: u64,
    steps: u64,
    virtual_time: Duration,
    /// How long each took from the last fault until all was up, in milliseconds.
    converged_ms: Vec<u64>,
    took: Duration,
}

impl Report {
    pub(crate) fn count(&mut self, outcome: &WorldOutcome) {
        self.worlds += 1;
        self.exchanges += outcome.exchanges;
        self.steps += outcome.steps;
        if let Ok(summary) = &outcome.result {
            self.virtual_time += summary.elapsed;
            let ms = summary.converged_after.as_millis();
            self.converged_ms.push(u64::try_from(ms).unwrap_or(u64::MAX));
        }
    }

    pub(crate) fn fail(&mut self, failed: Failed) {
        self.failed.push(failed);
    }

    pub(crate) fn add(&mut self, other: Self) {
        self.worlds += other.worlds;
        self.failed.extend(other.failed);
        self.exchanges += other.exchanges;
        self.steps += other.steps;
        self.virtual_time += other.virtual_time;
        self.converged_ms.extend(other.converged_ms);
    }

    pub(crate) fn finish(&mut self, took: Duration) {
        self.took = took;
        self.converged_ms.sort_unstable();
        self.failed.sort_by_key(|failed| failed.play);
    }

    pub(crate) fn is_clean(&self) -> bool {
        self.failed.is_empty()
    }

    /// The time within which so many percent were up, in milliseconds.
    fn converged_ms(&self, percent: usize) -> u64 {
        let last = self.converged_ms.len().saturating_sub(1);
        self.converged_ms.get(last * percent / 100).copied().unwrap_or_default()
    }

    /// The last line is for whoever reads only one.
    pub(crate) fn text(&self) -> String {
        let Self { worlds, exchanges, steps, .. } = self;
        let seconds = |percent| Duration::from_millis(self.converged_ms(percent)).as_secs_f64();
        let failed: Vec<String> = self
            .failed
            .iter()
            .map(|Failed { play: (Seed(seed), profile), .. }| format!("{profile} {seed}"))
            .collect();
        let failed = match failed.as_slice() {
            [] => "none failed".to_owned(),
            failed => format!("FAILED: {}", failed.join(", ")),
        };
        format!(
            "{worlds} worlds, {failed}; {exchanges} exchanges and {steps} events in {:.1} s \
             ({:.0} exchanges/s), {:.0} h virtual; all up after the last fault in {:.0} s (half), \
             {:.0} s (99 of 100), {:.0} s (all)",
            self.took.as_secs_f64(),
            per_second(*exchanges, self.took),
            self.virtual_time.as_secs_f64() / 3_600.0,
            seconds(50),
            seconds(99),
            seconds(100),
        )
    }

    pub(crate) fn json(&self) -> String {
        let failed: Vec<String> = self
            .failed
            .iter()
            .map(|Failed { play: (Seed(seed), profile), shrunk }| {
                let kept = shrunk.as_ref().map(|shrunk| shrunk.kept.clone()).unwrap_or_default();
                format!("{{\"profile\":\"{profile}\",\"seed\":{seed},\"keep\":{kept:?}}}")
            })
            .collect();
        format!(
            "{{\"worlds\":{},\"failed\":[{}],\"exchanges\":{},\"events\":{},\"seconds\":{:.1},\
             \"exchanges_per_s\":{:.0},\"virtual_s\":{},\"converged_ms\":{{\"p50\":{},\"p90\":{},\
             \"p99\":{},\"max\":{}}}}}",
            self.worlds,
            failed.join(","),
            self.exchanges,
            self.steps,
            self.took.as_secs_f64(),
            per_second(self.exchanges, self.took),
            self.virtual_time.as_secs(),
            self.converged_ms(50),
            self.converged_ms(90),
            self.converged_ms(99),
            self.converged_ms(100),
        )
    }
}

impl Failed {
    /// The shortest schedule that fails, its ladder, and how to play it again.
    pub(crate) fn text(&self, outcome: &WorldOutcome) -> String {
        let (Seed(seed), profile) = self.play;
        let again = format!("cargo xtask sim --profile {profile} --start {seed} --seeds 1");
        let Some(Shrunk { kept, of, outcome: shortest }) = &self.shrunk else {
            let broken = outcome.result.as_ref().err().map(ToString::to_string);
            let broken = broken.unwrap_or_default();
            return format!("{profile} {seed} failed once and not again: {broken}\n{again}");
        };
        let schedule: Vec<String> = shortest
            .schedule
            .iter()
            .map(|(number, entry)| format!("{number:>4}  {entry}"))
            .collect();
        let broken = shortest.result.as_ref().err().map(ToString::to_string).unwrap_or_default();
        let numbers: Vec<String> = kept.iter().map(usize::to_string).collect();
        format!(
            "=== {profile} {seed}: {}\n{}\n--- {} of {of} entries are enough:\n{}\n--- {broken}\n\
             --- again: {again} --keep '{}' --story\n",
            shortest.scenario,
            shortest.story,
            kept.len(),
            schedule.join("\n"),
            numbers.join(","),
        )
    }
}

pub(crate) fn per_second(count: u64, time: Duration) -> f64 {
    let count = u32::try_from(count).map_or_else(|_| f64::from(u32::MAX), f64::from);
    count / time.as_secs_f64().max(0.001)
}
