//! What was measured, for people.

use std::fmt;

use super::{Held, Report, Row, Seen};

/// Functions that are shown of a profile.
const HOTTEST: usize = 8;

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:<22} {:>6} standing: {:>6.0}/s, CPU {:>5.0} us + {:>5.0} us, \
             memory {:>6.0} B + {:>6.0} B",
            self.daemon,
            self.standing,
            self.per_second,
            self.initiator_us,
            self.responder_us,
            self.initiator_octets,
            self.responder_octets
        )
    }
}

impl fmt::Display for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:<22} {:>6} IKE SAs with one child: {:.0} B + {:.0} B each",
            self.daemon, self.sas, self.initiator_octets, self.responder_octets
        )
    }
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:<22} {:>6} standing, time of both ends:", self.daemon, self.standing)?;
        for hot in self.functions.iter().take(HOTTEST) {
            write!(f, "\n    {:>5.1} %  {}", hot.percent, hot.function)?;
        }
        Ok(())
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "handshakes, initiator + responder for each:")?;
        for row in &self.rows {
            writeln!(f, "  {row}")?;
        }
        writeln!(f, "memory of all of them, initiator + responder:")?;
        for held in &self.held {
            writeln!(f, "  {held}")?;
        }
        for seen in &self.seen {
            writeln!(f, "  {seen}")?;
        }
        writeln!(f, "{} tunnels loaded in {:.2} s", self.tunnels, self.load_s)
    }
}
