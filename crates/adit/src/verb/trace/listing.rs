//! The hops as they are found. Those from which nobody answers are one line for all in a row: behind the
//! last that does there are often many.

use super::hop::{Hop, silence};
use crate::screen::Paint;

/// What is on the screen.
#[derive(Debug)]
pub(super) struct Listing {
    /// Whether the last line may be written over.
    is_live: bool,
    paint: Paint,
    /// The first and the last of the silent hops in a row, which stand on the last line or still wait for
    /// their place.
    silent: Option<(u8, u8)>,
}

impl Listing {
    pub(super) fn new(is_live: bool, paint: Paint) -> Self {
        Self { is_live, paint, silent: None }
    }

    /// What to show after each packet of a hop; nothing if only whole lines are shown.
    pub(super) fn under_way(&mut self, hop: &Hop) -> Option<String> {
        self.is_live.then(|| format!("{CLEAR}{}", self.lines(hop).trim_end()))
    }

    /// What to show once a hop has had all its packets.
    pub(super) fn done(&mut self, hop: &Hop) -> String {
        let lines = self.lines(hop);
        if hop.is_silent() {
            self.silent = Some((self.first_silent(hop), hop.number));
        }
        match (self.is_live, hop.is_silent()) {
            (true, true) => format!("{CLEAR}{}", lines.trim_end()),
            (true, false) => format!("{CLEAR}{lines}"),
            (false, true) => String::new(),
            (false, false) => lines,
        }
    }

    /// What is left to be shown behind the last hop.
    pub(super) fn end(&mut self) -> String {
        match self.silent.take() {
            Some(_) if self.is_live => "\n".to_owned(),
            Some((first, last)) => silence(first, last, self.paint),
            None => String::new(),
        }
    }

    /// The line of a hop, and in front of it that of the silent ones that it comes behind.
    fn lines(&mut self, hop: &Hop) -> String {
        if hop.is_silent() {
            return silence(self.first_silent(hop), hop.number, self.paint);
        }
        let before = self.silent.take();
        let before = before.map(|(first, last)| silence(first, last, self.paint));
        before.unwrap_or_default() + &hop.text(self.paint)
    }

    fn first_silent(&self, hop: &Hop) -> u8 {
        self.silent.map_or(hop.number, |(first, _)| first)
    }
}

/// To the beginning of the line, which is erased.
const CLEAR: &str = "\r\x1b[K";

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use adit_sys::trace::{Heard, Said};

    use super::*;

    /// Hops of one packet each: whether somebody answers.
    fn listed(is_live: bool, answers: &[bool]) -> String {
        let mut listing = Listing::new(is_live, Paint::PLAIN);
        let mut out = String::new();
        for (number, answers) in (1..).zip(answers) {
            let mut hop = Hop::new(number);
            let after = Duration::from_millis(1);
            let heard = Heard { from: [10, 2, 0, number].into(), after, what: Said::Expired };
            hop.take(answers.then_some(heard));
            out += &listing.under_way(&hop).unwrap_or_default();
            out += &listing.done(&hop);
        }
        out + &listing.end()
    }

    /// What a terminal shows.
    fn seen(text: &str) -> String {
        let lines = text.split('\n').map(|line| line.rsplit(CLEAR).next().unwrap_or_default());
        lines.collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn silent_hops_in_a_row_are_one_line() {
        let answers = [true, false, true, false, false, false];
        let plain = listed(false, &answers);
        insta::assert_snapshot!(plain, @r"
        1  10.2.0.1                                    1.00 ms
        2  -                        no answer
        3  10.2.0.3                                    1.00 ms
      4-6  -                        no answer
        ");
        assert_eq!(seen(&listed(true, &answers)), plain);
        for answers in [&[][..], &[false], &[true], &[false, false, true]] {
            let plain = listed(false, answers);
            assert_eq!(seen(&listed(true, answers)), plain, "{answers:?}");
        }
        assert!(!plain.contains('\x1b'));
    }
}
