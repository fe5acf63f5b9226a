//! A world: hosts with IKE and packet engines, clocks that drift and jump, a network that loses,
//! repeats, spoils, delays, reorders and parts them, NATs that forget, and strangers.
//!
//! A run draws a [`Scenario`] and a schedule from its seed, plays the schedule, makes the network
//! good, and waits until everything that is wanted is up. Meanwhile it checks what must hold
//! whatever happens ([`invariants`]). The schedule is a list that is drawn up front: of one that
//! fails, [`shrink_world`] finds the shortest part that still does.

mod clock;
mod digest;
mod host;
mod invariants;
mod net;
mod profile;
mod scenario;
mod schedule;
mod shrink;
mod stage;
mod story;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

pub use invariants::Broken;
pub use profile::WorldProfile;
pub use shrink::{Shrunk, shrink_world};

use scenario::Scenario;
use schedule::Entry;
use stage::World;

use crate::Seed;
use crate::seeds::panic_message;

/// What became of one seed.
#[derive(Clone, Debug)]
pub struct WorldOutcome {
    /// The seed.
    pub seed: Seed,
    /// Who was in it and how that was configured, in one line.
    pub scenario: String,
    /// What happened, a numbered line each.
    pub schedule: Vec<(usize, String)>,
    /// How it went.
    pub result: Result<WorldSummary, Broken>,
    /// The ladder; empty unless it was asked for.
    pub story: String,
    /// Stands for every octet that was sent and every packet that came in, with its time.
    pub digest: u64,
    /// Exchanges, whose responses came back, whether it went well or not.
    pub exchanges: u64,
    /// Events.
    pub steps: u64,
}

/// Numbers of a run that went well.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct WorldSummary {
    /// Virtual time.
    pub elapsed: Duration,
    /// Time from the last fault until everything was up.
    pub converged_after: Duration,
}

/// What is played of a seed.
#[derive(Clone, Copy, Debug)]
pub struct WorldPlay<'a> {
    /// The seed.
    pub seed: Seed,
    /// What it suffers from.
    pub profile: WorldProfile,
    /// The entries of the schedule that are played, by number; all if there is none.
    pub kept: Option<&'a [usize]>,
    /// The instant from which virtual time counts; nothing depends on it.
    pub start: Instant,
    /// Whether to tell the story.
    pub is_told: bool,
}

/// Plays one seed.
pub fn run_world(play: &WorldPlay<'_>) -> WorldOutcome {
    let (scenario, all) = plan(play);
    let numbered = all.into_iter().enumerate();
    let is_kept = |number: &usize| play.kept.is_none_or(|kept| kept.contains(number));
    let schedule: Vec<(usize, Entry)> = numbered.filter(|(number, _)| is_kept(number)).collect();
    let entries: Vec<Entry> = schedule.iter().map(|(_, entry)| *entry).collect();
    let mut world = World::new(play.seed, &scenario, &entries, play.start, play.is_told);
    let result = catch_unwind(AssertUnwindSafe(|| live(&mut world, &entries)));
    let result = result.unwrap_or_else(|panic| Err(Broken::new("panic", panic_message(&*panic))));
    WorldOutcome {
        seed: play.seed,
        scenario: scenario.to_string(),
        schedule: schedule.iter().map(|(number, entry)| (*number, entry.to_string())).collect(),
        result,
        story: world.story.to_string(),
        digest: world.digest.value(),
        exchanges: world.exchanges(),
        steps: world.steps(),
    }
}

/// How many entries the schedule of a seed has.
pub(crate) fn schedule_len(play: &WorldPlay<'_>) -> usize {
    plan(play).1.len()
}

/// What a seed stands for. It does not depend on what is played of it.
fn plan(play: &WorldPlay<'_>) -> (Scenario, Vec<Entry>) {
    let mut rng = play.seed.part(5);
    let rates = play.profile.rates();
    let scenario = Scenario::draw(&mut rng, &rates);
    let schedule = schedule::draw(&mut rng, &rates, &scenario);
    (scenario, schedule)
}

/// Time for the first handshakes before the network is looked at, and after the last fault.
const A_MOMENT: Duration = Duration::from_secs(1);
/// How long a world in which everything is up is watched.
const WATCH: Duration = Duration::from_secs(100);

/// From the first handshake to the end.
fn live(world: &mut World<'_>, schedule: &[Entry]) -> Result<WorldSummary, Broken> {
    let last = schedule.iter().map(Entry::over_at).max().unwrap_or_default();
    world.run_until(last + A_MOMENT)?;
    world.settle();
    let converged_after = world.converge()?;
    world.quiet_down()?;
    world.pass()?;
    world.run_until(world.now() + WATCH)?;
    world.quiet_down()?;
    world.pass()?;
    world.examine()?;
    world.quiet_down()?;
    world.pass()?;
    Ok(WorldSummary { elapsed: world.now(), converged_after })
}
