//! `adit log`: what happened lately, then what happens.

use std::path::Path;

use adit_mgmt::api;
use adit_mgmt::vici::{EventKind, LogLine, Request};
use serde::Serialize;

use crate::args::Log;
use crate::daemon::{Daemon, Event};
use crate::error::Error;
use crate::screen::{Paint, Screen, Style};
use crate::verb::act::known_tunnel;
use crate::words::clean;

/// A line of the log for `--json`.
#[derive(Serialize)]
struct JsonLine<'a> {
    schema: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    time: Option<&'a str>,
    /// 0 needs attention, 1 is the ordinary course, more is for debugging.
    level: i8,
    /// The part of the program.
    part: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    tunnel: Option<&'a str>,
    text: &'a str,
}

/// `adit log`.
pub(crate) fn run(args: &Log, vici: &Path, screen: &mut Screen) -> Result<(), Error> {
    let mut daemon = Daemon::connect(vici)?;
    if let Some(name) = &args.name {
        known_tunnel(&mut daemon, name)?;
    }
    let history = Request::AditLog { tunnel: args.name.clone(), lines: None };
    daemon.act(&history, |event| print(event, args, screen))?;
    daemon.subscribe(EventKind::Log)?;
    while let Some(event) = daemon.next_event(None)? {
        print(event, args, screen)?;
    }
    Ok(())
}

fn print(event: Event, args: &Log, screen: &mut Screen) -> Result<(), Error> {
    let Event::Log(line) = event else {
        return Ok(());
    };
    let tunnel = line.connection.as_deref();
    if args.name.is_some() && tunnel != args.name.as_deref() {
        return Ok(());
    }
    if args.json {
        return screen.json(&JsonLine {
            schema: api::SCHEMA,
            time: line.time.as_deref(),
            level: line.level,
            part: &line.group,
            tunnel,
            text: &line.text,
        });
    }
    screen.line(&render(&line, screen.paint))
}

fn render(line: &LogLine, paint: Paint) -> String {
    let tunnel = line.connection.as_deref().unwrap_or("-");
    let style = match line.level {
        ..=0 => Some(Style::Warning),
        1 => None,
        2.. => Some(Style::Dim),
    };
    let text = clean(&line.text);
    let text = style.map_or_else(|| text.clone().into(), |style| paint.with(style, &text));
    // The letters of ISO 8601 are for programs.
    let time = line.time.as_deref().unwrap_or("-").replace('T', " ").replace('Z', "");
    let head = format!("{} {}", clean(&time), line.group);
    format!("{} {:<10} {text}", paint.with(Style::Dim, &head), clean(tunnel))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_names_part_and_tunnel() {
        let line = LogLine {
            group: "IKE".into(),
            level: 1,
            connection: Some("berlin".into()),
            text: "child SA installed spi=c0ffee01\u{1b}[2J".into(),
            time: Some("2026-11-24T03:12:00.123Z".into()),
            ..LogLine::default()
        };
        insta::assert_snapshot!(
            render(&line, Paint::PLAIN),
            @r"2026-11-24 03:12:00.123 IKE berlin     child SA installed spi=c0ffee01�[2J"
        );
    }
}
