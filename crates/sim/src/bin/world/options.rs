//! The command line.

use std::time::Duration;

use adit_sim::WorldProfile;

pub(crate) const USAGE: &str = "usage: world [--seeds N] [--minutes M] [--exchanges N] \
     [--profile rekey|roam|crash|dos|chaos|hybrid|ikev1|bundle|all] [--jobs J] [--start SEED] \
     [--keep NUMBERS] [--story] [--json]";

/// What to play.
#[derive(Debug)]
pub(crate) struct Options {
    /// Seeds of each profile; as many as there is time for if it is not said.
    pub(crate) seeds: Option<u64>,
    pub(crate) time: Option<Duration>,
    pub(crate) exchanges: Option<u64>,
    pub(crate) profiles: Vec<WorldProfile>,
    pub(crate) jobs: usize,
    pub(crate) start: u64,
    /// The entries of the schedule to play; all if it is not said.
    pub(crate) kept: Option<Vec<usize>>,
    pub(crate) story: bool,
    pub(crate) json: bool,
}

impl Options {
    pub(crate) fn read(mut arguments: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut options = Self {
            seeds: None,
            time: None,
            exchanges: None,
            profiles: WorldProfile::ALL.to_vec(),
            jobs: std::thread::available_parallelism().map_or(1, usize::from),
            start: 0,
            kept: None,
            story: false,
            json: false,
        };
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--story" => options.story = true,
                "--json" => options.json = true,
                _ => {
                    let value = arguments.next();
                    let value = value.ok_or_else(|| format!("{argument} needs a value"))?;
                    options.set(&argument, &value)?;
                }
            }
        }
        if (options.seeds, options.time, options.exchanges) == (None, None, None) {
            options.seeds = Some(SEEDS);
        }
        Ok(options)
    }

    fn set(&mut self, name: &str, value: &str) -> Result<(), String> {
        let number = || -> Result<u64, String> {
            value.parse().map_err(|_| format!("{name}: {value:?} is not a number"))
        };
        match name {
            "--seeds" => self.seeds = Some(number()?),
            "--minutes" => self.time = Some(Duration::from_secs(number()?.saturating_mul(60))),
            "--exchanges" => self.exchanges = Some(number()?),
            "--jobs" => self.jobs = usize::try_from(number()?.max(1)).unwrap_or(1),
            "--start" => self.start = number()?,
            "--profile" if value == "all" => self.profiles = WorldProfile::ALL.to_vec(),
            "--profile" => self.profiles = vec![value.parse()?],
            "--keep" => self.kept = Some(numbers(value)?),
            _ => return Err(format!("there is no option {name}")),
        }
        Ok(())
    }
}

/// Seeds of each profile if nothing is said about how much to play.
const SEEDS: u64 = 20;

/// Numbers with commas between; nothing is none.
fn numbers(text: &str) -> Result<Vec<usize>, String> {
    let parts = text.split(',').filter(|part| !part.is_empty());
    parts.map(|part| part.parse().map_err(|_| format!("{part:?} is not a number"))).collect()
}
