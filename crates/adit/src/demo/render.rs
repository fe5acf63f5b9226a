//! The news of the demo, as people see them.

use std::fmt::Write as _;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::demo::news::{Mood, News};
use crate::demo::place::Site;
use crate::error::Error;
use crate::screen::{Paint, Screen, Style};
use crate::table::fact;
use crate::verb::act::step_line;
use crate::words::grouped;

/// Shows one piece of news after the other.
pub(crate) struct View<'a> {
    screen: &'a mut Screen,
    bar: Option<ProgressBar>,
}

impl<'a> View<'a> {
    /// On a screen.
    pub(crate) fn new(screen: &'a mut Screen) -> Self {
        Self { screen, bar: None }
    }

    /// Shows one.
    pub(crate) fn show(&mut self, news: &News) -> Result<(), Error> {
        if let News::Amount { done, total } = news {
            self.advance(*done, *total);
            return Ok(());
        }
        if let News::Patience { text, seconds } = news {
            return self.wait(text, *seconds);
        }
        let paint = self.screen.paint;
        if let News::Step(step) = news {
            return self.step(&format!("  {}", step_line(step, paint)));
        }
        self.clear_bar();
        match news {
            News::Fact { label, text, mood } => {
                self.screen.line(&fact(paint, label, &mooded(paint, *mood, text)))
            }
            News::Octets { label, text, octets, readable } => {
                self.screen.line(&fact(paint, label, text))?;
                self.screen.text(&hex_dump(octets, *readable, paint))
            }
            News::Diagnosis { site, diagnosis } => {
                let says = match site {
                    Site::Oslo => "oslo-gw says",
                    Site::Berlin => "berlin-gw says",
                };
                self.screen.line("")?;
                self.screen.line(&paint.with(Style::Dim, says))?;
                self.screen.diagnosis(diagnosis)
            }
            News::Step(_)
            | News::Amount { .. }
            | News::Patience { .. }
            | News::Report(_)
            | News::Done { .. }
            | News::Failed { .. } => Ok(()),
        }
    }

    /// A step may come while something is waited for: it is printed above the clock.
    fn step(&mut self, text: &str) -> Result<(), Error> {
        let Self { screen, bar } = self;
        match bar {
            Some(bar) => bar.suspend(|| screen.line(text)),
            None => screen.line(text),
        }
    }

    fn advance(&mut self, done: u64, total: u64) {
        if !self.screen.terminal {
            return;
        }
        let bar = self.bar.get_or_insert_with(|| {
            let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr());
            let style = "  transfer   [{bar:40}] {decimal_bytes}/{decimal_total_bytes}, {decimal_bytes_per_sec}";
            bar.with_style(bar_style(style))
        });
        bar.set_position(done);
    }

    /// Something that says nothing for a while, on a terminal with a clock.
    fn wait(&mut self, text: &str, seconds: u64) -> Result<(), Error> {
        self.clear_bar();
        let words = format!("{text} (at most {seconds} s)");
        if !self.screen.terminal {
            return self.screen.line(&fact(self.screen.paint, "wait", &words));
        }
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
        let bar = bar.with_style(bar_style("  wait       {spinner} {elapsed} {msg}"));
        let bar = bar.with_message(words);
        bar.enable_steady_tick(Duration::from_millis(120));
        self.bar = Some(bar);
        Ok(())
    }

    fn clear_bar(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }
}

impl Drop for View<'_> {
    fn drop(&mut self) {
        self.clear_bar();
    }
}

fn bar_style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template)
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .progress_chars("=> ")
}

fn mooded(paint: Paint, mood: Mood, text: &str) -> String {
    let style = match mood {
        Mood::Plain => return text.to_owned(),
        Mood::Good => Style::Good,
        Mood::Bad => Style::Bad,
    };
    // Only the first words carry the judgement; the rest stays readable.
    let (first, rest) = match text.find("     ") {
        Some(at) => text.split_at(at),
        None => (text, ""),
    };
    format!("{}{rest}", paint.with(style, first))
}

/// Sixteen octets in a row, as numbers and as text, and how many of all can be read.
fn hex_dump(octets: &[u8], readable: usize, paint: Paint) -> String {
    let mut out = String::new();
    for row in octets.chunks(COLUMNS).take(ROWS) {
        let mut numbers = String::new();
        for octet in row {
            // Writing to a String cannot fail.
            let _ = write!(numbers, "{octet:02x} ");
        }
        let text: String = row.iter().map(|octet| printable(*octet)).collect();
        let text = paint.with(if readable > 0 { Style::Bad } else { Style::Dim }, &text);
        let _ = writeln!(out, "             {numbers:<width$} {text}", width = COLUMNS * 3);
    }
    let left = octets.len().saturating_sub(COLUMNS * ROWS);
    let (style, verdict) = match readable {
        0 => (Style::Good, "0 readable octets".to_owned()),
        count => (Style::Bad, format!("{} readable octets", grouped(count as u64))),
    };
    let more =
        if left > 0 { format!(", {left} octets more in this packet") } else { String::new() };
    let _ = writeln!(out, "             {}{more}", paint.with(style, &verdict));
    out
}

fn printable(octet: u8) -> char {
    match octet {
        b' '..=b'~' => char::from(octet),
        _ => '.',
    }
}

const COLUMNS: usize = 16;
const ROWS: usize = 5;

/// What to do with a demo that runs; `adit` is what to type for this program.
pub(crate) fn what_to_try(adit: &str, paint: Paint) -> String {
    let lines = [
        "break psk | id | proposal | esp | selectors | route | port | daemon",
        "break mtu | nat | fragments | oneway",
        "fix",
        "status",
        "shell oslo-host         then: ping 10.2.0.20, curl http://10.2.0.20/secret",
        "stop",
    ];
    let lines = lines.map(|line| format!("{adit} demo {line}"));
    format!("\n{}\n", fact(paint, "try", &lines.join("\n")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn octets_are_shown_as_numbers_and_text() {
        let clear = hex_dump(b"GET /secret HTTP/1.1\r\nHost: 10.2.0.20\r\n", 39, Paint::PLAIN);
        insta::assert_snapshot!(clear, @r"
        47 45 54 20 2f 73 65 63 72 65 74 20 48 54 54 50  GET /secret HTTP
        2f 31 2e 31 0d 0a 48 6f 73 74 3a 20 31 30 2e 32  /1.1..Host: 10.2
        2e 30 2e 32 30 0d 0a                             .0.20..
        39 readable octets
        ");
        let sealed: Vec<u8> = (0..100).map(|i: u8| i.wrapping_mul(151) ^ 0xa5).collect();
        insta::assert_snapshot!(hex_dump(&sealed, 0, Paint::PLAIN), @r"
        a5 32 8b 60 f9 56 2f 84 1d ea 43 d8 b1 0e e7 7c  .2.`.V/...C....|
        d5 a2 3b 90 69 c6 5f 34 8d 1a f3 48 21 be 17 ec  ..;.i._4...H!...
        45 d2 ab 00 99 76 cf a4 3d 8a 63 f8 51 2e 87 1c  E....v..=.c.Q...
        f5 42 db b0 09 e6 7f d4 ad 3a 93 68 c1 5e 37 8c  .B.......:.h.^7.
        65 f2 4b 20 b9 16 ef 44 dd aa 03 98 71 ce a7 3c  e.K ...D....q..<
        0 readable octets, 20 octets more in this packet
        ");
    }

    #[test]
    fn what_to_try_is_aligned() {
        insta::assert_snapshot!(what_to_try("adit", Paint::PLAIN), @r"

        try        adit demo break psk | id | proposal | esp | selectors | route | port | daemon
                   adit demo break mtu | nat | fragments | oneway
                   adit demo fix
                   adit demo status
                   adit demo shell oslo-host         then: ping 10.2.0.20, curl http://10.2.0.20/secret
                   adit demo stop
        ");
    }
}
