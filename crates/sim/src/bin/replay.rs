//! Plays a recording of `aditd --record` again: `replay FILE [--json]`.
//!
//! Prints a ladder of what went in and out and whether all came to the same. Ends with status 1 if
//! something did not, or the file is damaged; with 2 if there is nothing to play.

use std::io::{Read as _, Write as _};
use std::process::ExitCode;
use std::time::Instant;

use adit_ike::record::{Difference, Shown};
use adit_pki::Moment;
use adit_sim::{Replayed, replay};

const USAGE: &str = "usage: replay FILE [--json]";

/// A longer file is not read.
const FILE_OCTETS_MAX: u64 = 2 << 30;

/// Octets of a message in a line.
const LINE_OCTETS: usize = 32;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (flags, files): (Vec<_>, Vec<_>) =
        arguments.iter().partition(|argument| argument.starts_with("--"));
    let [file] = files[..] else { return refuse(USAGE) };
    if flags.iter().any(|flag| *flag != "--json") {
        return refuse(USAGE);
    }
    let octets = match read(file) {
        Ok(octets) => octets,
        Err(error) => return refuse(&format!("{file}: {error}")),
    };
    let replayed = match replay(&octets, clock()) {
        Ok(replayed) => replayed,
        Err(error) => return refuse(&format!("{file}: {error}")),
    };
    let text = if flags.is_empty() { report(&replayed) } else { json(&replayed) };
    // Who reads the beginning alone wants no more.
    let _ = std::io::stdout().lock().write_all(text.as_bytes());
    if replayed.is_same() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn refuse(message: &str) -> ExitCode {
    eprintln!("{message}");
    ExitCode::from(2)
}

fn read(file: &str) -> std::io::Result<Vec<u8>> {
    let mut octets = Vec::new();
    std::fs::File::open(file)?.take(FILE_OCTETS_MAX + 1).read_to_end(&mut octets)?;
    if u64::try_from(octets.len()).unwrap_or(u64::MAX) > FILE_OCTETS_MAX {
        let message = format!("longer than {FILE_OCTETS_MAX} octets");
        return Err(std::io::Error::new(std::io::ErrorKind::FileTooLarge, message));
    }
    Ok(octets)
}

fn report(replayed: &Replayed) -> String {
    let rows = [
        ("recorded by", replayed.begin.program.clone()),
        ("begun", Moment(replayed.begin.started_s).to_string()),
        ("time covered", format!("{:.3} s", replayed.covered.as_secs_f64())),
        ("inputs", format!("{}, {} messages", replayed.inputs, replayed.messages_in)),
        ("outputs", format!("{}, {} messages", replayed.outputs, replayed.messages_out)),
    ];
    let mut text = format!("{}\n", replayed.ladder);
    for (name, value) in rows {
        text.push_str(&format!("{name:<13} {value}\n"));
    }
    if replayed.octets_left > 0 {
        let left = replayed.octets_left;
        text.push_str(&format!(
            "cut           the last {left} octets are no whole frame and left out\n"
        ));
    }
    if replayed.is_last_open {
        text.push_str(
            "open          the daemon ended in the last input: nothing to compare it with\n",
        );
    }
    text.push_str(&verdict(replayed));
    text
}

fn verdict(replayed: &Replayed) -> String {
    if let Some(problem) = &replayed.problem {
        return format!("result        damaged: {problem}\n");
    }
    let Some((input, at, words, difference)) = &replayed.difference else {
        return "result        same\n".to_owned();
    };
    let head =
        format!("result        different at input {input}, {:.3} s: {words}\n", at.as_secs_f64());
    match difference {
        Difference::Output { number, recorded, replayed } => format!(
            "{head}output {number}, then:\n{}output {number}, now:\n{}",
            version(recorded.as_ref()),
            version(replayed.as_ref())
        ),
        Difference::Drawn { recorded, replayed } => {
            format!("{head}random octets: {recorded} then, {replayed} now\n")
        }
    }
}

fn version(output: Option<&Shown>) -> String {
    let Some(output) = output else { return "  none\n".to_owned() };
    let mut text = format!("  {}\n", output.text);
    for line in output.octets.chunks(LINE_OCTETS) {
        text.push_str(&format!("    {}\n", hex(line)));
    }
    text
}

fn hex(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}

fn json(replayed: &Replayed) -> String {
    let result = match (&replayed.problem, &replayed.difference) {
        (Some(_), _) => "damaged",
        (None, Some(_)) => "different",
        (None, None) => "same",
    };
    let difference = match &replayed.difference {
        None => "null".to_owned(),
        Some((input, at, words, difference)) => format!(
            "{{\"input\":{input},\"at_s\":{:.9},\"what\":{},{}}}",
            at.as_secs_f64(),
            quoted(words),
            versions(difference)
        ),
    };
    let problem =
        replayed.problem.as_ref().map_or_else(|| "null".to_owned(), |one| quoted(&one.to_string()));
    format!(
        "{{\"result\":\"{result}\",\"program\":{},\"started_s\":{},\"covered_s\":{:.9},\"inputs\":{},\
         \"outputs\":{},\"messages_in\":{},\"messages_out\":{},\"octets_left\":{},\
         \"is_last_open\":{},\"problem\":{problem},\"difference\":{difference}}}\n",
        quoted(&replayed.begin.program),
        replayed.begin.started_s,
        replayed.covered.as_secs_f64(),
        replayed.inputs,
        replayed.outputs,
        replayed.messages_in,
        replayed.messages_out,
        replayed.octets_left,
        replayed.is_last_open,
    )
}

fn versions(difference: &Difference) -> String {
    let version = |output: &Option<Shown>| match output {
        None => "null".to_owned(),
        Some(Shown { text, octets }) => {
            format!("{{\"text\":{},\"octets\":\"{}\"}}", quoted(text), hex(octets))
        }
    };
    match difference {
        Difference::Output { number, recorded, replayed } => format!(
            "\"output\":{number},\"recorded\":{},\"replayed\":{}",
            version(recorded),
            version(replayed)
        ),
        Difference::Drawn { recorded, replayed } => {
            format!("\"drawn_recorded\":{recorded},\"drawn_replayed\":{replayed}")
        }
    }
}

/// A string of JSON (RFC 8259 §7).
fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for letter in text.chars() {
        match letter {
            '"' | '\\' => quoted.extend(['\\', letter]),
            control if u32::from(control) < 0x20 => {
                quoted.push_str(&format!("\\u{:04x}", u32::from(control)));
            }
            letter => quoted.push(letter),
        }
    }
    quoted.push('"');
    quoted
}

#[expect(clippy::disallowed_methods, reason = "any instant is as good as the origin of a run")]
fn clock() -> Instant {
    Instant::now()
}
