//! The program behind `cargo xtask replay`: what it prints, and how it ends.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail the test")]

use std::path::PathBuf;
use std::process::{Command as Process, Output};
use std::sync::Arc;
use std::time::{Duration, Instant};

use adit_crypto::SeededRng;
use adit_db::{ChildConfig, Connection, HostSpec};
use adit_ike::record::{Begin, Entry, RecordReader, RecordWriter, Recorded};
use adit_ike::{Command, EndpointConfig, Input, JobId, Path, RequestId};

#[expect(clippy::disallowed_methods, reason = "any instant is as good as the origin of a run")]
fn base() -> Instant {
    Instant::now()
}

/// One that calls a peer, which never answers, for a second.
fn recording() -> Vec<u8> {
    let base = base();
    let config = EndpointConfig::default();
    let begin = Begin { program: "a \"test\"".to_owned(), started_s: 7, config };
    let mut endpoint = Recorded::new(begin, base).unwrap();
    let mut connection = Connection::new("berlin".parse().unwrap());
    connection.remote_addresses = vec![HostSpec::Address([192, 0, 2, 2].into())];
    connection.children = vec![ChildConfig::new("net".parse().unwrap())];
    let initiate = Command::Initiate {
        connection: connection.name.clone(),
        child: None,
        request: RequestId(1),
    };
    let mut rng = SeededRng::new(1);
    let mut give = |input, ms| {
        endpoint.give(input, base + Duration::from_millis(ms), &mut rng);
    };
    give(Input::Command(Command::Load(Arc::new(connection))), 0);
    give(Input::Command(initiate), 1);
    give(Input::Resolved(JobId(0), vec![[192, 0, 2, 1].into()]), 2);
    give(Input::Resolved(JobId(1), vec![[192, 0, 2, 1].into()]), 2);
    let here = "192.0.2.1:500".parse().unwrap();
    let path = Path::udp(here, "192.0.2.9:500".parse().unwrap());
    give(Input::Datagram { path, octets: vec![1, 2, 3] }, 10);
    give(Input::Timeout, 1_000);
    endpoint.take_octets()
}

/// The recording with the last octet of its last message changed.
fn changed(file: &[u8]) -> Vec<u8> {
    let mut entries: Vec<Entry> = RecordReader::new(file).unwrap().map(Result::unwrap).collect();
    let messages = entries.iter_mut().filter_map(|entry| match entry {
        Entry::Done(done) => done.outputs.iter_mut().find(|output| output.is_message()),
        Entry::Begin(_) | Entry::Input(..) => None,
    });
    *messages.last().unwrap().octets.last_mut().unwrap() ^= 1;
    let mut entries = entries.into_iter();
    let Some(Entry::Begin(begin)) = entries.next() else { panic!("no beginning") };
    let mut changed = Vec::new();
    let mut writer = RecordWriter::begin(begin, &mut changed).unwrap();
    entries.for_each(|entry| writer.entry(&entry, &mut changed).unwrap());
    changed
}

/// A file for one test.
struct File(PathBuf);

impl File {
    fn new(name: &str, octets: &[u8]) -> Self {
        let path = std::env::temp_dir().join(format!("adit-replay-{}-{name}", std::process::id()));
        std::fs::write(&path, octets).unwrap();
        Self(path)
    }

    fn replay(&self, flags: &[&str]) -> Output {
        Process::new(env!("CARGO_BIN_EXE_replay")).arg(&self.0).args(flags).output().unwrap()
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

#[test]
fn the_same_is_a_ladder_and_ends_well() {
    let file = File::new("same", &recording());
    let output = file.replay(&[]);
    let text = said(&output);
    assert_eq!(output.status.code(), Some(0), "{text}");
    for line in [
        "    0.000  daemon  ◁ Load(berlin)\n",
        "daemon ──▶ 192.0.2.2:500  IKE_SA_INIT request 0, ",
        "    0.010  daemon ◀── 192.0.2.9:500  no IKE message, 3 octets\n",
        "    1.000  daemon ──▶ 192.0.2.2:500  IKE_SA_INIT request 0, ",
        "recorded by   a \"test\"\n",
        "time covered  1.000 s\n",
        "inputs        6, 1 messages\n",
        "result        same\n",
    ] {
        assert!(text.contains(line), "no {line:?} in\n{text}");
    }
    let json = said(&file.replay(&["--json"]));
    assert!(json.starts_with("{\"result\":\"same\",\"program\":\"a \\\"test\\\"\","), "{json}");
    assert!(json.contains("\"inputs\":6,") && json.ends_with("\"difference\":null}\n"), "{json}");
}

#[test]
fn a_difference_is_shown_with_both_versions_and_ends_badly() {
    let file = File::new("different", &changed(&recording()));
    let output = file.replay(&[]);
    let text = said(&output);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("result        different at input 6, 1.000 s: Timeout\n"), "{text}");
    assert!(text.contains("output 1, then:\n  Transmit(") && text.contains("output 1, now:\n"));
    let json = said(&file.replay(&["--json"]));
    assert!(json.contains("\"result\":\"different\"") && json.contains("\"output\":1,"), "{json}");
}

#[test]
fn a_damaged_a_cut_and_another_file_are_told() {
    let recording = recording();
    let mut damaged = recording.clone();
    let last = damaged.len() - 1;
    damaged[last] ^= 1;
    let output = File::new("damaged", &damaged).replay(&[]);
    let text = said(&output);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("result        damaged: frame 13, which begins at octet "), "{text}");

    let output = File::new("cut", &recording[..last]).replay(&[]);
    let text = said(&output);
    assert_eq!(output.status.code(), Some(0), "{text}");
    assert!(text.contains("are no whole frame and left out\n"), "{text}");
    assert!(text.contains("the daemon ended in the last input"), "{text}");

    let output = File::new("other", b"something else").replay(&[]);
    assert_eq!(output.status.code(), Some(2));
    assert!(said(&output).contains("this is no recording"));
    let output = File::new("flag", &recording).replay(&["--yaml"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(said(&output).contains("usage: replay FILE [--json]"));
}
