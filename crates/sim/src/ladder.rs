//! What went over the network, to be read by people.

use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

use adit_wire::Reader;
use adit_wire::iana::{ExchangeType, PayloadType};
use adit_wire::ikev2::{Header, Payloads};

use crate::pair::Side;

/// What the network did to a datagram.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Fate {
    /// It arrives after a while.
    Deliver,
    /// It arrives twice.
    Duplicate,
    /// It arrives so much later.
    Delay(Duration),
    /// It never arrives.
    Lose,
}

/// An IKE message as anyone on the way can see it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct MessageView {
    /// Who sent it.
    pub from: Side,
    /// The exchange.
    pub exchange: ExchangeType,
    /// Whether it is a response.
    pub response: bool,
    /// The message id.
    pub message_id: u32,
    /// Number and total of a fragment.
    pub fragment: Option<(u16, u16)>,
    /// Octets of the IKE message.
    pub octets: usize,
}

impl MessageView {
    pub(crate) fn read(from: Side, octets: &[u8]) -> Option<Self> {
        let mut r = Reader(octets);
        let header = Header::read(&mut r).ok()?;
        let fragment = Payloads::new(header.next_payload, r.rest())
            .filter_map(Result::ok)
            .find(|payload| payload.kind == PayloadType::SKF)
            .and_then(|payload| {
                let mut r = Reader(payload.body);
                Some((r.u16().ok()?, r.u16().ok()?))
            });
        Some(Self {
            from,
            exchange: header.exchange,
            response: header.flags.is_response(),
            message_id: header.message_id,
            fragment,
            octets: octets.len(),
        })
    }
}

impl fmt::Display for MessageView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.response { "response" } else { "request" };
        write!(f, "{} {kind} {}", self.exchange, self.message_id)?;
        if let Some((number, total)) = self.fragment {
            write!(f, " fragment {number}/{total}")?;
        }
        write!(f, ", {} octets", self.octets)
    }
}

/// The last messages of a run, and notes between them.
#[derive(Clone, Debug, Default)]
pub struct Ladder {
    rungs: VecDeque<String>,
    forgotten: usize,
}

/// Lines kept.
const RUNGS_MAX: usize = 4_000;

impl Ladder {
    pub(crate) fn message(&mut self, at: Duration, view: MessageView, fate: Fate) {
        let arrow = match view.from {
            Side::Left => "left ──▶ right",
            Side::Right => "left ◀── right",
        };
        let fate = match fate {
            Fate::Deliver => String::new(),
            Fate::Duplicate => "  (twice)".to_owned(),
            Fate::Delay(delay) => format!("  (late by {delay:?})"),
            Fate::Lose => "  ✗ lost".to_owned(),
        };
        self.push(at, format_args!("{arrow}  {view}{fate}"));
    }

    pub(crate) fn note(&mut self, at: Duration, side: Side, text: impl fmt::Display) {
        let column = match side {
            Side::Left => "left          ",
            Side::Right => "         right",
        };
        self.push(at, format_args!("{column}  · {text}"));
    }

    pub(crate) fn push(&mut self, at: Duration, line: fmt::Arguments<'_>) {
        if self.rungs.len() == RUNGS_MAX {
            self.rungs.pop_front();
            self.forgotten += 1;
        }
        self.rungs.push_back(format!("{:>9.3}  {line}", at.as_secs_f64()));
    }
}

impl fmt::Display for Ladder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.forgotten > 0 {
            writeln!(f, "   ({} earlier lines)", self.forgotten)?;
        }
        self.rungs.iter().try_for_each(|rung| writeln!(f, "{rung}"))
    }
}
