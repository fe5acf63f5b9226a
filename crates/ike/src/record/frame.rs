//! Frames of a recording: written one after the other, read until the last that is whole.

use std::time::{Duration, Instant};

use adit_wire::{Reader, WireError, Writer};

use super::codec::Coded;
use super::shown::Shown;
use super::{Begin, Done, Entry};
use crate::command::Command;
use crate::input::Input;
use crate::output::Output;

/// What a recording begins with.
const MARK: &[u8; 8] = b"ADITREC\n";
/// Number of the format; another one has another number.
const FORMAT: u32 = 3;
/// Length and its check.
const HEAD_OCTETS: usize = 8;
/// Check of the body.
const TAIL_OCTETS: usize = 8;
/// Longest body of a frame that is written or read.
pub const FRAME_OCTETS_MAX: usize = 16 << 20;

/// FNV-1a of 64 bits: each octet changes all that follows, so that one changed octet never goes unseen.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Check(u64);

impl Check {
    const START: Self = Self(0xcbf2_9ce4_8422_2325);
    const PRIME: u64 = 0x0100_0000_01b3;

    #[must_use]
    fn over(self, octets: &[u8]) -> Self {
        let step = |sum: u64, octet: &u8| (sum ^ u64::from(*octet)).wrapping_mul(Self::PRIME);
        Self(octets.iter().fold(self.0, step))
    }

    /// Of a length, beside what came before.
    fn of_length(self, length: u32) -> u32 {
        let Self(sum) = self.over(&length.to_be_bytes());
        u32::try_from(sum >> 32).unwrap_or(0)
    }
}

/// Why an input cannot be recorded, and so nothing after it.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Unrecordable {
    /// The endpoint has others beside it.
    #[error("what another IKE thread tells cannot be recorded")]
    Tidings,
    /// It is longer than a frame.
    #[error("an input or what came of it is longer than {FRAME_OCTETS_MAX} octets")]
    TooLong,
    /// What was written does not read back as the same.
    #[error("a connection cannot be written so that it reads back as the same")]
    Unfaithful,
}

/// Writes a recording, frame by frame, into vectors of the caller.
#[derive(Clone, Debug)]
pub struct RecordWriter {
    check: Check,
}

impl RecordWriter {
    /// Appends the mark and the first frame.
    ///
    /// # Errors
    ///
    /// [`Unrecordable::TooLong`] if the name of the program is.
    pub fn begin(begin: Begin, out: &mut Vec<u8>) -> Result<Self, Unrecordable> {
        let mut w = Writer(out);
        w.bytes(MARK);
        w.u32(FORMAT);
        let mut writer = Self { check: Check::START };
        writer.entry(&Entry::Begin(begin), out)?;
        Ok(writer)
    }

    /// Appends an input that is about to be given to the endpoint, `at` after the beginning.
    ///
    /// # Errors
    ///
    /// [`Unrecordable`]; then `out` is as it was, and nothing more is to be written.
    pub fn input(
        &mut self,
        at: Duration,
        input: &Input,
        out: &mut Vec<u8>,
    ) -> Result<(), Unrecordable> {
        if matches!(input, Input::Tidings(_)) {
            return Err(Unrecordable::Tidings);
        }
        if !is_faithful(input) {
            return Err(Unrecordable::Unfaithful);
        }
        self.frame(out, |w| super::put_input(at, input, w))
    }

    /// Appends what the last input came to: the random octets that were drawn and all outputs. `base` is
    /// the beginning of the recording: instants are told from there.
    ///
    /// # Errors
    ///
    /// [`Unrecordable`]; then `out` is as it was, and nothing more is to be written.
    pub fn done(
        &mut self,
        drawn: Vec<u8>,
        outputs: impl IntoIterator<Item = impl std::borrow::Borrow<Output>>,
        base: Instant,
        out: &mut Vec<u8>,
    ) -> Result<(), Unrecordable> {
        let outputs = outputs.into_iter().map(|output| Shown::of(output.borrow(), base)).collect();
        self.entry(&Entry::Done(Done { drawn, outputs }), out)
    }

    /// Appends any frame, as when one recording is made of another.
    ///
    /// # Errors
    ///
    /// [`Unrecordable::TooLong`].
    pub fn entry(&mut self, entry: &Entry, out: &mut Vec<u8>) -> Result<(), Unrecordable> {
        self.frame(out, |w| entry.put(w))
    }

    /// A frame of any octets.
    #[cfg(test)]
    pub(super) fn frame_of(&mut self, octets: &[u8], out: &mut Vec<u8>) {
        self.frame(out, |w| w.bytes(octets)).unwrap();
    }

    fn frame(
        &mut self,
        out: &mut Vec<u8>,
        put: impl FnOnce(&mut Writer<'_>),
    ) -> Result<(), Unrecordable> {
        let start = out.len();
        let mut w = Writer(out);
        w.zeros(HEAD_OCTETS);
        put(&mut w);
        let body = out.get(start.saturating_add(HEAD_OCTETS)..).unwrap_or_default();
        let length = u32::try_from(body.len()).ok().filter(|_| body.len() <= FRAME_OCTETS_MAX);
        let Some(length) = length else {
            out.truncate(start);
            return Err(Unrecordable::TooLong);
        };
        let of_length = self.check.of_length(length);
        self.check = self.check.over(body);
        let mut w = Writer(out);
        w.patch_u32(start, length);
        w.patch_u32(start.saturating_add(4), of_length);
        w.u64(self.check.0);
        Ok(())
    }
}

/// Whether a connection reads back as it is. Everything else is written as it is in memory.
fn is_faithful(input: &Input) -> bool {
    let Input::Command(Command::Load(connection) | Command::LoadElsewhere(connection)) = input
    else {
        return true;
    };
    let mut octets = Vec::new();
    connection.put(&mut Writer(&mut octets));
    Coded::take(&mut Reader(&octets)).is_ok_and(|read: adit_db::Connection| read == **connection)
}

/// Why a recording cannot be read on.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum RecordError {
    /// Something else.
    #[error("this is no recording: it does not begin with ADITREC")]
    NotARecording,
    /// Of another version of this program.
    #[error(
        "the recording has format {found}, and this program reads format {FORMAT}: replay it with the version that wrote it"
    )]
    OtherFormat {
        /// What it has.
        found: u32,
    },
    /// An octet has changed, or a frame is missing.
    #[error("frame {frame}, which begins at octet {offset}, is damaged: its check is wrong")]
    Damaged {
        /// Counted from 1.
        frame: u64,
        /// Where it begins in the file.
        offset: usize,
    },
    /// It is whole and not understood.
    #[error(
        "frame {frame}, which begins at octet {offset}, is not understood: {error}; it was written by another version of this program"
    )]
    Malformed {
        /// Counted from 1.
        frame: u64,
        /// Where it begins in the file.
        offset: usize,
        /// What is wrong with it.
        error: WireError,
    },
    /// Frames come in an order that nobody writes.
    #[error("frame {frame} has no place there")]
    OutOfOrder {
        /// Counted from 1.
        frame: u64,
    },
}

/// Reads a recording; gives its frames until the end of what is whole, or one error.
#[derive(Clone, Debug)]
pub struct RecordReader<'a> {
    all: usize,
    r: Reader<'a>,
    check: Check,
    frames: u64,
    ended: bool,
}

impl<'a> RecordReader<'a> {
    /// Begins with the octets of a whole file.
    ///
    /// # Errors
    ///
    /// [`RecordError::NotARecording`], [`RecordError::OtherFormat`].
    pub fn new(octets: &'a [u8]) -> Result<Self, RecordError> {
        let mut r = Reader(octets);
        if r.bytes(MARK.len()).ok() != Some(MARK) {
            return Err(RecordError::NotARecording);
        }
        match r.u32() {
            Ok(FORMAT) => {}
            Ok(found) => return Err(RecordError::OtherFormat { found }),
            Err(_) => return Err(RecordError::NotARecording),
        }
        Ok(Self { all: octets.len(), r, check: Check::START, frames: 0, ended: false })
    }

    /// Frames that were read.
    pub fn frames(&self) -> u64 {
        self.frames
    }

    /// Octets behind the last frame that is whole: not 0 if the file was cut.
    pub fn octets_left(&self) -> usize {
        self.r.len()
    }

    fn offset(&self) -> usize {
        self.all.saturating_sub(self.r.len())
    }

    /// The body of the next frame; `None` at the end or where the file was cut. The reader stays before
    /// what is not whole.
    fn body(&mut self) -> Result<Option<&'a [u8]>, RecordError> {
        let (frame, offset) = (self.frames.saturating_add(1), self.offset());
        let damaged = RecordError::Damaged { frame, offset };
        let mut r = self.r.clone();
        let (Ok(length), Ok(of_length)) = (r.u32(), r.u32()) else { return Ok(None) };
        let len = usize::try_from(length).unwrap_or(usize::MAX);
        if of_length != self.check.of_length(length) || len > FRAME_OCTETS_MAX {
            return Err(damaged);
        }
        let Some((body, tail)) = r.rest().split_at_checked(len) else { return Ok(None) };
        if tail.len() < TAIL_OCTETS {
            return Ok(None);
        }
        let mut r = Reader(tail);
        let check = self.check.over(body);
        if r.u64() != Ok(check.0) {
            return Err(damaged);
        }
        (self.check, self.r, self.frames) = (check, r, frame);
        Ok(Some(body))
    }

    fn read(&mut self) -> Result<Option<Entry>, RecordError> {
        let offset = self.offset();
        let Some(body) = self.body()? else { return Ok(None) };
        let mut r = Reader(body);
        let entry = Entry::take(&mut r).and_then(|entry| r.finish("frame").map(|()| entry));
        let frame = self.frames;
        entry.map(Some).map_err(|error| RecordError::Malformed { frame, offset, error })
    }
}

impl Iterator for RecordReader<'_> {
    type Item = Result<Entry, RecordError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let next = self.read().transpose();
        self.ended = !matches!(next, Some(Ok(_)));
        next
    }
}
