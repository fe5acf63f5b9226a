//! An endpoint whose inputs may be recorded.

use std::collections::VecDeque;
use std::ops::Deref;
use std::time::Instant;

use adit_crypto::Rng;

use super::Begin;
use super::frame::{RecordWriter, Unrecordable};
use crate::command::Path;
use crate::endpoint::Endpoint;
use crate::input::Input;
use crate::output::Output;

/// An endpoint that takes inputs as values, and writes them down if that is wanted; then
/// [`Recorded::take_octets`] is to be called now and then. Questions go to the endpoint itself.
#[derive(Debug)]
pub struct Recorded {
    endpoint: Endpoint,
    recording: Option<Box<Recording>>,
}

#[derive(Debug)]
struct Recording {
    writer: RecordWriter,
    base: Instant,
    /// Written and not taken.
    octets: Vec<u8>,
    /// Recorded and not polled.
    outputs: VecDeque<Output>,
    /// Why nothing more is written.
    ended: Option<Unrecordable>,
    is_stopped: bool,
}

impl Recorded {
    /// An endpoint that nobody records.
    pub fn unrecorded(endpoint: Endpoint) -> Self {
        Self { endpoint, recording: None }
    }

    /// A new endpoint with the settings of `begin`, alone on its host, recorded from `now` on.
    ///
    /// # Errors
    ///
    /// [`Unrecordable::TooLong`] if the name of the program is.
    pub fn new(begin: Begin, now: Instant) -> Result<Self, Unrecordable> {
        let endpoint = Endpoint::new(begin.config.clone());
        let mut octets = Vec::new();
        let recording = Recording {
            writer: RecordWriter::begin(begin, &mut octets)?,
            base: now,
            octets,
            outputs: VecDeque::new(),
            ended: None,
            is_stopped: false,
        };
        Ok(Self { endpoint, recording: Some(Box::new(recording)) })
    }

    /// Gives an input to the endpoint.
    pub fn give(&mut self, input: Input, now: Instant, rng: &mut dyn Rng) {
        match &mut self.recording {
            Some(recording) => recording.give(input, &mut self.endpoint, now, rng),
            None => input.give(&mut self.endpoint, now, rng),
        }
    }

    /// The same as an [`Input::Datagram`], which is made only to be recorded.
    pub fn datagram(&mut self, path: Path, octets: &[u8], now: Instant, rng: &mut dyn Rng) {
        if self.recording.is_none() {
            return self.endpoint.handle_datagram(path, octets, now, rng);
        }
        self.give(Input::Datagram { path, octets: octets.to_vec() }, now, rng);
    }

    /// As [`Endpoint::poll_output`].
    pub fn poll_output(&mut self) -> Option<Output> {
        match &mut self.recording {
            Some(recording) => recording.outputs.pop_front(),
            None => self.endpoint.poll_output(),
        }
    }

    /// What was written since it was taken last: the next piece of the file. Empty without a recording.
    #[must_use]
    pub fn take_octets(&mut self) -> Vec<u8> {
        let octets = self.recording.as_mut().map(|recording| &mut recording.octets);
        octets.map(std::mem::take).unwrap_or_default()
    }

    /// Why nothing more is written, once it has happened.
    pub fn ended(&self) -> Option<Unrecordable> {
        self.recording.as_ref().and_then(|recording| recording.ended)
    }

    /// Writes nothing any more: there is no room for it.
    pub fn stop(&mut self) {
        if let Some(recording) = &mut self.recording {
            recording.is_stopped = true;
            recording.octets = Vec::new();
        }
    }
}

impl Deref for Recorded {
    type Target = Endpoint;

    fn deref(&self) -> &Endpoint {
        &self.endpoint
    }
}

impl Recording {
    fn give(&mut self, input: Input, endpoint: &mut Endpoint, now: Instant, rng: &mut dyn Rng) {
        let at = now.saturating_duration_since(self.base);
        // First of all: it may be the input that the program ends with.
        self.write(|writer, _, octets| writer.input(at, &input, octets));
        let mut tap = Tap { rng, drawn: Vec::new() };
        input.give(endpoint, now, &mut tap);
        let drawn = tap.drawn;
        let outputs: Vec<Output> = std::iter::from_fn(|| endpoint.poll_output()).collect();
        self.write(|writer, base, octets| writer.done(drawn, &outputs, base, octets));
        self.outputs.extend(outputs);
    }

    fn write(
        &mut self,
        write: impl FnOnce(&mut RecordWriter, Instant, &mut Vec<u8>) -> Result<(), Unrecordable>,
    ) {
        if self.is_stopped || self.ended.is_some() {
            return;
        }
        self.ended = write(&mut self.writer, self.base, &mut self.octets).err();
    }
}

/// Notes what is drawn.
struct Tap<'a> {
    rng: &'a mut dyn Rng,
    drawn: Vec<u8>,
}

impl Rng for Tap<'_> {
    fn fill(&mut self, out: &mut [u8]) {
        self.rng.fill(out);
        self.drawn.extend_from_slice(out);
    }

    /// What is drawn is all that there is to know, as the octets are drawn again.
    fn is_deterministic(&self) -> bool {
        true
    }
}
