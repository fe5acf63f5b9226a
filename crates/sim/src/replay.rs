//! A recording of a daemon, played again and shown as a ladder.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use adit_ike::record::{Begin, Difference, RecordError, Replay, Shown, Step, describe};
use adit_ike::{AuthResult, Command, Input};

use crate::ladder::{Ladder, MessageView};
use crate::pair::Side;

/// What a recording came to.
#[derive(Clone, Debug)]
pub struct Replayed {
    /// What it says about itself.
    pub begin: Begin,
    /// What went in and out, with what was different at the end.
    pub ladder: Ladder,
    /// Inputs given.
    pub inputs: u64,
    /// Outputs taken.
    pub outputs: u64,
    /// Messages among the inputs.
    pub messages_in: u64,
    /// Messages among the outputs.
    pub messages_out: u64,
    /// From the beginning to the last input.
    pub covered: Duration,
    /// Octets behind what is whole: the file was cut.
    pub octets_left: usize,
    /// Nobody knows what the last input came to then.
    pub is_last_open: bool,
    /// The first input that came to something else, and what was different.
    pub difference: Option<(u64, Duration, String, Difference)>,
    /// Why it could not be read to its end.
    pub problem: Option<RecordError>,
}

impl Replayed {
    /// Whether all that was read came to the same.
    pub fn is_same(&self) -> bool {
        self.difference.is_none() && self.problem.is_none()
    }
}

/// Octets of a line that says what something was.
const WORDS_MAX: usize = 140;

/// Plays the octets of a whole file. Any instant will do as the beginning.
///
/// # Errors
///
/// [`RecordError`] of the beginning; what is wrong further on is [`Replayed::problem`].
pub fn replay(octets: &[u8], base: Instant) -> Result<Replayed, RecordError> {
    let mut replay = Replay::new(octets, base)?;
    let mut replayed = Replayed {
        begin: replay.begin().clone(),
        ladder: Ladder::default(),
        inputs: 0,
        outputs: 0,
        messages_in: 0,
        messages_out: 0,
        covered: Duration::ZERO,
        octets_left: 0,
        is_last_open: false,
        difference: None,
        problem: None,
    };
    for step in &mut replay {
        match step {
            Ok(step) => replayed.note(step),
            Err(error) => replayed.problem = Some(error),
        }
    }
    replayed.octets_left = if replayed.is_same() { replay.octets_left() } else { 0 };
    Ok(replayed)
}

impl Replayed {
    fn note(&mut self, step: Step) {
        let at = step.at;
        self.inputs += 1;
        self.covered = self.covered.max(at);
        self.is_last_open = !step.is_compared;
        if let Input::Datagram { path, octets } = &step.input {
            self.messages_in += 1;
            let what = message(Side::Right, octets);
            self.ladder.push(at, format_args!("daemon ◀── {}  {what}", path.remote));
        } else if !matches!(step.input, Input::Timeout | Input::PrepareKeyShare) {
            // Of those there are many, and what comes of them tells enough.
            let what = shorten(&words(&step.input));
            self.ladder.push(at, format_args!("daemon  ◁ {what}"));
        }
        for output in &step.outputs {
            self.outputs += 1;
            self.messages_out += u64::from(output.is_message());
            self.output(at, output);
        }
        if let Some(difference) = step.difference {
            self.ladder.push(at, format_args!("daemon  ✗ here it is different"));
            self.difference = Some((step.number, at, words(&step.input), difference));
        }
    }

    fn output(&mut self, at: Duration, output: &Shown) {
        if !output.is_message() {
            return self.ladder.push(at, format_args!("daemon  ▷ {}", shorten(&output.text)));
        }
        let what = message(Side::Left, &output.octets);
        let remote =
            output.remote().map_or_else(String::new, |remote: SocketAddr| remote.to_string());
        self.ladder.push(at, format_args!("daemon ──▶ {remote}  {what}"));
    }
}

fn message(from: Side, octets: &[u8]) -> String {
    MessageView::read(from, octets)
        .map_or_else(|| format!("no IKE message, {} octets", octets.len()), |view| view.to_string())
}

/// An input in few words; nothing in it that is longer than a line.
fn words(input: &Input) -> String {
    match input {
        Input::Command(Command::Load(connection)) => format!("Load({})", connection.name),
        Input::Command(Command::UseTicketKeys { .. }) => "UseTicketKeys".to_owned(),
        Input::Auth(job, AuthResult::Signed(_)) => format!("Auth({}, Signed)", job.0),
        Input::Auth(job, AuthResult::VerifiedAndSigned(_)) => {
            format!("Auth({}, VerifiedAndSigned)", job.0)
        }
        Input::Datagram { .. }
        | Input::Unreachable(..)
        | Input::TcpLost(..)
        | Input::Packet(_)
        | Input::Auth(..)
        | Input::Resolved(..)
        | Input::Command(_)
        | Input::Tidings(_)
        | Input::Network(_)
        | Input::Timeout
        | Input::PrepareKeyShare => describe(input),
    }
}

fn shorten(text: &str) -> String {
    match text.char_indices().nth(WORDS_MAX) {
        Some((at, _)) => format!("{}…", text.get(..at).unwrap_or_default()),
        None => text.to_owned(),
    }
}
