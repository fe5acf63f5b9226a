//! What happened in a world, as a ladder that people read.

use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

use adit_ike::Path;
use adit_wire::iana::ExchangeType;
use adit_wire::{Reader, isakmp};

use super::net::Fate;
use super::scenario::host_name;
use super::schedule::Entry;
use crate::ladder::MessageView;
use crate::pair::Side;

/// The lines; none are kept unless somebody reads them.
#[derive(Debug)]
pub(super) struct Story {
    is_told: bool,
    lines: VecDeque<String>,
    forgotten: usize,
}

/// Lines kept.
const LINES_MAX: usize = 4_000;

impl Story {
    pub(super) fn new(is_told: bool) -> Self {
        Self { is_told, lines: VecDeque::new(), forgotten: 0 }
    }

    /// Whether anybody reads it.
    pub(super) fn is_told(&self) -> bool {
        self.is_told
    }

    pub(super) fn deed(&mut self, entry: &Entry) {
        if self.is_told {
            let line = entry.to_string();
            self.push(format!("{line}  ━━━━"));
        }
    }

    pub(super) fn note(&mut self, at: Duration, host: usize, note: String) {
        if self.is_told {
            self.line(at, &format!("{:<5} · {note}", host_name(host)));
        }
    }

    pub(super) fn message(
        &mut self,
        at: Duration,
        from: usize,
        path: Path,
        octets: &[u8],
        fate: Fate,
    ) {
        if self.is_told {
            let host = host_name(from);
            let message = message(octets);
            let (fate, Path { local, remote, .. }) = (fate.text(), path);
            self.line(at, &format!("{host:<5} ──▶  {message}  {local} ▶ {remote}{fate}"));
        }
    }

    pub(super) fn forged(
        &mut self,
        at: Duration,
        to: usize,
        path: Path,
        octets: &[u8],
        fate: Fate,
    ) {
        if self.is_told {
            let host = host_name(to);
            let message = message(octets);
            let (fate, Path { local, remote, .. }) = (fate.text(), path);
            let line = format!("stranger ──▶ {host}  {message}  {local} ▶ {remote}{fate}");
            self.line(at, &line);
        }
    }

    pub(super) fn line(&mut self, at: Duration, text: &str) {
        if self.is_told {
            self.push(format!("{:>9.3}  {text}", at.as_secs_f64()));
        }
    }

    fn push(&mut self, line: String) {
        if self.lines.len() == LINES_MAX {
            self.lines.pop_front();
            self.forgotten += 1;
        }
        self.lines.push_back(line);
    }
}

/// An IKE message as anyone on the way can see it.
fn message(octets: &[u8]) -> String {
    if let Ok(header) = isakmp::Header::read(&mut Reader(octets)) {
        let (exchange, id) = (ExchangeType(header.exchange.0), header.message_id);
        return format!("{exchange} {id:08x}, {} octets", octets.len());
    }
    // Which side it is of is no part of what is shown.
    let view = MessageView::read(Side::Left, octets);
    view.map_or_else(|| format!("{} octets", octets.len()), |view| view.to_string())
}

impl fmt::Display for Story {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.forgotten > 0 {
            writeln!(f, "   ({} earlier lines)", self.forgotten)?;
        }
        self.lines.iter().try_for_each(|line| writeln!(f, "{line}"))
    }
}
