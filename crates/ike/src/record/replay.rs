//! A recorded run, once more.

use std::time::{Duration, Instant};

use adit_crypto::{Rng, SeededRng};

use super::frame::{RecordError, RecordReader};
use super::shown::Shown;
use super::{Begin, Done, Entry};
use crate::endpoint::Endpoint;
use crate::input::Input;

/// One input and what it came to.
#[derive(Debug)]
pub struct Step {
    /// Counted from 1.
    pub number: u64,
    /// Since the beginning.
    pub at: Duration,
    /// What went in.
    pub input: Input,
    /// What came out now.
    pub outputs: Vec<Shown>,
    /// Whether it is known what came out then: not if the program ended meanwhile.
    pub is_compared: bool,
    /// The first thing that is not as it was.
    pub difference: Option<Difference>,
}

/// What is not as it was.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Difference {
    /// An output.
    Output {
        /// Which one of those of the input, counted from 1.
        number: usize,
        /// As it was; `None` if there was none.
        recorded: Option<Shown>,
        /// As it is; `None` if there is none.
        replayed: Option<Shown>,
    },
    /// The outputs are the same, and another amount of randomness was drawn for them.
    Drawn {
        /// Octets then.
        recorded: usize,
        /// Octets now.
        replayed: usize,
    },
}

/// Gives the inputs of a recording to an endpoint of its own, in their order and at their times.
///
/// It ends with the first difference: what comes after it is another run.
#[derive(Debug)]
pub struct Replay<'a> {
    reader: RecordReader<'a>,
    begin: Begin,
    endpoint: Endpoint,
    base: Instant,
    steps: u64,
    ended: bool,
}

impl<'a> Replay<'a> {
    /// Begins a replay of the octets of a whole file. Any instant will do as the beginning.
    ///
    /// # Errors
    ///
    /// [`RecordError`] of the first frame, [`RecordError::OutOfOrder`] if it is not a beginning.
    pub fn new(octets: &'a [u8], base: Instant) -> Result<Self, RecordError> {
        let mut reader = RecordReader::new(octets)?;
        let Some(Entry::Begin(begin)) = reader.next().transpose()? else {
            return Err(RecordError::OutOfOrder { frame: 1 });
        };
        let endpoint = Endpoint::new(begin.config.clone());
        Ok(Self { reader, begin, endpoint, base, steps: 0, ended: false })
    }

    /// What the recording says about itself.
    pub fn begin(&self) -> &Begin {
        &self.begin
    }

    /// Octets behind the last frame that is whole, once all steps were taken: not 0 if the file was cut.
    pub fn octets_left(&self) -> usize {
        self.reader.octets_left()
    }

    fn step(&mut self) -> Result<Option<Step>, RecordError> {
        let Some((at, input)) = self.next_input()? else { return Ok(None) };
        let done = self.next_done()?;
        let mut rng = Playback::new(done.as_ref().map_or(&[], |done| &done.drawn));
        let now = self.base.checked_add(at).unwrap_or(self.base);
        input.clone().give(&mut self.endpoint, now, &mut rng);
        let drawn = rng.drawn();
        let outputs: Vec<Shown> = std::iter::from_fn(|| self.endpoint.poll_output())
            .map(|output| Shown::of(&output, self.base))
            .collect();
        let difference = done.as_ref().and_then(|done| difference(done, &outputs, drawn));
        self.steps = self.steps.saturating_add(1);
        self.ended = difference.is_some();
        let is_compared = done.is_some();
        Ok(Some(Step { number: self.steps, at, input, outputs, is_compared, difference }))
    }

    fn next_input(&mut self) -> Result<Option<(Duration, Input)>, RecordError> {
        match self.reader.next().transpose()? {
            None => Ok(None),
            Some(Entry::Input(at, input)) => Ok(Some((at, input))),
            Some(Entry::Begin(_) | Entry::Done(_)) => Err(self.out_of_order()),
        }
    }

    fn next_done(&mut self) -> Result<Option<Done>, RecordError> {
        match self.reader.next().transpose()? {
            None => Ok(None),
            Some(Entry::Done(done)) => Ok(Some(done)),
            Some(Entry::Begin(_) | Entry::Input(..)) => Err(self.out_of_order()),
        }
    }

    fn out_of_order(&self) -> RecordError {
        RecordError::OutOfOrder { frame: self.reader.frames() }
    }
}

impl Iterator for Replay<'_> {
    type Item = Result<Step, RecordError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let step = self.step().transpose();
        self.ended |= !matches!(step, Some(Ok(_)));
        step
    }
}

fn difference(done: &Done, outputs: &[Shown], drawn: usize) -> Option<Difference> {
    let count = done.outputs.len().max(outputs.len());
    let pair = |place: usize| (done.outputs.get(place), outputs.get(place));
    let place = (0..count).find(|place| {
        let (recorded, replayed) = pair(*place);
        recorded != replayed
    });
    if let Some(place) = place {
        let (recorded, replayed) = pair(place);
        let number = place.saturating_add(1);
        let (recorded, replayed) = (recorded.cloned(), replayed.cloned());
        return Some(Difference::Output { number, recorded, replayed });
    }
    let recorded = done.drawn.len();
    (recorded != drawn).then_some(Difference::Drawn { recorded, replayed: drawn })
}

/// Gives random octets again. Who wants more than there were gets others: it is another run then.
struct Playback<'a> {
    left: &'a [u8],
    drawn: usize,
    more: SeededRng,
}

impl<'a> Playback<'a> {
    fn new(left: &'a [u8]) -> Self {
        Self { left, drawn: 0, more: SeededRng::new(0) }
    }

    fn drawn(&self) -> usize {
        self.drawn
    }
}

impl Rng for Playback<'_> {
    fn fill(&mut self, out: &mut [u8]) {
        self.drawn = self.drawn.saturating_add(out.len());
        match self.left.split_at_checked(out.len()) {
            Some((octets, left)) => {
                out.copy_from_slice(octets);
                self.left = left;
            }
            None => {
                self.left = &[];
                self.more.fill(out);
            }
        }
    }

    fn is_deterministic(&self) -> bool {
        true
    }
}
