//! `cargo xtask sim`: the simulator's seeds.

use std::process::{Command, ExitCode, Stdio};

use anyhow::Context as _;
use clap::{Args, ValueEnum};

use crate::outcome::Outcome;
use crate::root;

/// How the simulator is built.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Profile {
    /// As the tests are; nothing to build for a few seeds.
    Dev,
    /// Fast, for thousands of seeds.
    Release,
}

/// The command line of `cargo xtask sim`.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct Options {
    /// Seeds of each profile; as many as there is time for if only a time is given
    #[arg(long)]
    seeds: Option<u64>,
    /// Ends after so many minutes
    #[arg(long)]
    minutes: Option<u64>,
    /// Ends after so many exchanges
    #[arg(long)]
    exchanges: Option<u64>,
    /// What the worlds suffer from; `pair` are two gateways alone
    #[arg(long, value_enum, default_value_t)]
    profile: Suffering,
    /// Threads; as many as there are processors if it is not said
    #[arg(long)]
    jobs: Option<u64>,
    /// The first seed
    #[arg(long)]
    start: Option<u64>,
    /// Plays only these entries of a seed's schedule, as a failure says
    #[arg(long)]
    keep: Option<String>,
    /// Prints what happens
    #[arg(long)]
    story: bool,
    /// Prints one JSON object at the end
    #[arg(long)]
    json: bool,
}

/// What simulated hosts suffer from.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, ValueEnum)]
enum Suffering {
    /// All profiles of worlds, in turn
    #[default]
    All,
    /// SAs are replaced all the time, from both ends at once
    Rekey,
    /// Addresses and mappings of NATs change
    Roam,
    /// Hosts die, sleep and return
    Crash,
    /// Strangers forge, replay and flood
    Dos,
    /// All at once
    Chaos,
    /// SAs have several key exchanges and are replaced in more than one way
    Hybrid,
    /// The same with tunnels of IKEv1
    Ikev1,
    /// Two gateways and a bad link
    Pair,
}

impl Suffering {
    fn word(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Rekey => "rekey",
            Self::Roam => "roam",
            Self::Crash => "crash",
            Self::Dos => "dos",
            Self::Chaos => "chaos",
            Self::Hybrid => "hybrid",
            Self::Ikev1 => "ikev1",
            Self::Pair => "pair",
        }
    }
}

impl Options {
    /// As the programs of the simulator take them.
    fn arguments(&self) -> Vec<String> {
        let numbers = [
            ("--seeds", self.seeds),
            ("--minutes", self.minutes),
            ("--exchanges", self.exchanges),
            ("--jobs", self.jobs),
            ("--start", self.start),
        ];
        let mut arguments = Vec::new();
        for (name, number) in numbers {
            arguments
                .extend(number.iter().flat_map(|number| [name.to_owned(), number.to_string()]));
        }
        if self.profile != Suffering::Pair {
            arguments.extend(["--profile".to_owned(), self.profile.word().to_owned()]);
        }
        arguments.extend(self.keep.iter().flat_map(|keep| ["--keep".to_owned(), keep.clone()]));
        let flags = [("--story", self.story), ("--json", self.json)];
        arguments.extend(flags.iter().filter(|(_, set)| *set).map(|(name, _)| (*name).to_owned()));
        arguments
    }
}

/// Runs the verb; what the simulator says goes where it says it.
pub(crate) fn run_verb(options: &Options) -> anyhow::Result<ExitCode> {
    let program = if options.profile == Suffering::Pair { "seeds" } else { "world" };
    let status = simulator(program, Profile::Release, &options.arguments())
        .status()
        .context("cannot start cargo")?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Plays worlds of all profiles until they have made so many exchanges.
pub(crate) fn worlds(exchanges: u64) -> anyhow::Result<Outcome> {
    let options = Options { exchanges: Some(exchanges), ..Options::default() };
    play("world", Profile::Release, &options.arguments())
}

/// Plays a slice of the worlds of all profiles.
pub(crate) fn few_worlds(seeds: u64) -> anyhow::Result<Outcome> {
    let options = Options { seeds: Some(seeds), ..Options::default() };
    play("world", Profile::Dev, &options.arguments())
}

/// Plays seeds 0 to `seeds` of two gateways.
pub(crate) fn run(seeds: u64, profile: Profile) -> anyhow::Result<Outcome> {
    play("seeds", profile, &["--seeds".to_owned(), seeds.to_string()])
}

/// Plays seeds 0 to `seeds` of one gateway's packet engine.
pub(crate) fn leaks(seeds: u64) -> anyhow::Result<Outcome> {
    play("leaks", Profile::Release, &["--seeds".to_owned(), seeds.to_string()])
}

/// What the simulator says goes to stderr, its last line is the note.
fn play(program: &str, profile: Profile, arguments: &[String]) -> anyhow::Result<Outcome> {
    let mut cargo = simulator(program, profile, arguments);
    let output = cargo.stderr(Stdio::inherit()).output().context("cannot start cargo")?;
    let text = String::from_utf8_lossy(&output.stdout);
    eprint!("{text}");
    let last = text.trim_end().lines().last().unwrap_or("the simulator did not start").to_owned();
    if output.status.success() {
        return Ok(Outcome::pass(last));
    }
    Ok(Outcome::fail(format!("{last}; `{program} --start SEED --seeds 1` plays a seed again")))
}

/// A program of the simulator, to be built and run.
pub(crate) fn simulator(program: &str, profile: Profile, arguments: &[String]) -> Command {
    let mut cargo = root::cargo();
    cargo.args(["run", "--quiet", "-p", "adit-sim", "--bin", program]);
    if profile == Profile::Release {
        cargo.arg("--release");
    }
    cargo.arg("--").args(arguments);
    cargo
}
