//! Recordings: all that went into an endpoint and all that came out, so that a run can be repeated
//! anywhere, without sockets and without a peer.
//!
//! The endpoint reads no clock and draws no randomness by itself, so the same inputs at the same times
//! with the same random octets give the same outputs. [`Recorded`] writes down each input before the
//! endpoint gets it, and afterwards what was drawn and what came of it; [`Replay`] gives the inputs to a new
//! endpoint and compares.
//!
//! A recording begins with a mark and the number of its format, and then has frames:
//!
//! ```text
//! length (4) | check of length (4) | body (length) | check (8)
//! ```
//!
//! The check of a frame is made of its body and of the check before it, so that no octet can change and
//! no frame can be left out unseen. It protects from accidents, not from people. A file that ends inside
//! a frame was cut, as by a kill: what is whole can be replayed.
//!
//! **A recording holds secrets.** Whoever reads the random octets in it has the keys of all its SAs.
//! Long-term secrets are not in it: what was computed with them is.

mod codec;
mod frame;
mod recorded;
mod replay;
mod shown;
mod types;

use std::time::Duration;

use adit_wire::{Reader, WireError, Writer};

use crate::config::EndpointConfig;
use crate::input::Input;

pub use self::frame::{FRAME_OCTETS_MAX, RecordError, RecordReader, RecordWriter, Unrecordable};
pub use self::recorded::Recorded;
pub use self::replay::{Difference, Replay, Step};
pub use self::shown::{Shown, describe};

use self::codec::{Coded, structs};

/// What a recording says about itself.
#[derive(Clone, Debug)]
pub struct Begin {
    /// The program that wrote it, with its version.
    pub program: String,
    /// When, in seconds since 1970.
    pub started_s: u64,
    /// Settings of the endpoint.
    pub config: EndpointConfig,
}

/// What an input came to.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Done {
    /// The random octets that the endpoint drew.
    pub drawn: Vec<u8>,
    /// All outputs, in their order.
    pub outputs: Vec<Shown>,
}

/// One frame.
#[derive(Clone, Debug)]
pub enum Entry {
    /// The first.
    Begin(Begin),
    /// Something goes in, so long after the beginning.
    Input(Duration, Input),
    /// What the last input came to; missing if the program ended meanwhile.
    Done(Done),
}

structs! {
    Begin { program, started_s, config }
    Done { drawn, outputs }
    Shown { text, octets }
}

impl Coded for Entry {
    fn put(&self, w: &mut Writer<'_>) {
        match self {
            Self::Begin(begin) => {
                w.u8(0);
                begin.put(w);
            }
            Self::Input(at, input) => put_input(*at, input, w),
            Self::Done(done) => {
                w.u8(2);
                done.put(w);
            }
        }
    }

    fn take(r: &mut Reader<'_>) -> Result<Self, WireError> {
        match r.u8()? {
            0 => Begin::take(r).map(Self::Begin),
            1 => Ok(Self::Input(Coded::take(r)?, take_input(r)?)),
            2 => Done::take(r).map(Self::Done),
            other => Err(WireError::BadValue("kind of a frame", other.into())),
        }
    }
}

fn put_input(at: Duration, input: &Input, w: &mut Writer<'_>) {
    w.u8(1);
    at.put(w);
    match input {
        Input::Datagram { path, octets } => {
            w.u8(0);
            path.put(w);
            codec::put_octets(octets, w);
        }
        Input::Unreachable(path, icmp) => {
            w.u8(1);
            path.put(w);
            icmp.put(w);
        }
        Input::TcpLost(path, problem) => {
            w.u8(2);
            path.put(w);
            problem.put(w);
        }
        Input::Packet(event) => {
            w.u8(3);
            event.put(w);
        }
        Input::Auth(job, result) => {
            w.u8(4);
            job.put(w);
            result.put(w);
        }
        Input::Resolved(job, addresses) => {
            w.u8(5);
            job.put(w);
            addresses.put(w);
        }
        Input::Command(command) => {
            w.u8(6);
            command.put(w);
        }
        Input::Network(addresses) => {
            w.u8(7);
            addresses.put(w);
        }
        Input::Timeout => w.u8(8),
        Input::PrepareKeyShare => w.u8(9),
        // An endpoint that has others beside it cannot be repeated alone.
        Input::Tidings(_) => w.u8(TIDINGS),
    }
}

/// Reads as nothing: [`RecordWriter::input`] refuses them.
const TIDINGS: u8 = 10;

fn take_input(r: &mut Reader<'_>) -> Result<Input, WireError> {
    Ok(match r.u8()? {
        0 => Input::Datagram { path: Coded::take(r)?, octets: codec::take_octets(r)?.to_vec() },
        1 => Input::Unreachable(Coded::take(r)?, Coded::take(r)?),
        2 => Input::TcpLost(Coded::take(r)?, Coded::take(r)?),
        3 => Input::Packet(Coded::take(r)?),
        4 => Input::Auth(Coded::take(r)?, Coded::take(r)?),
        5 => Input::Resolved(Coded::take(r)?, Coded::take(r)?),
        6 => Input::Command(Coded::take(r)?),
        7 => Input::Network(Coded::take(r)?),
        8 => Input::Timeout,
        9 => Input::PrepareKeyShare,
        other => return Err(WireError::BadValue("kind of an input", other.into())),
    })
}

#[cfg(test)]
mod tests;
