//! A daemon is recorded through all that happens to a tunnel, and what its endpoint takes gives the same
//! once more, without the daemon. Needs root.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail the test")]

mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use adit_ike::Input;
use adit_ike::record::{
    Difference, Entry, RecordError, RecordReader, RecordWriter, Replay, Step, describe,
};
use adit_mgmt::api::TunnelState;
use adit_mgmt::vici::answer::Outcome;
use adit_mgmt::vici::{Initiate, Rekey, Request, Selection, Terminate};
use common::{Pair, SECRET, Site, wait_until};

fn tunnel(here: u8, there: u8, extra: &str) -> String {
    format!(
        "peer = \"192.0.2.{there}\"\nlocal = \"10.{here}.0.0/24\"\nremote = \"10.{there}.0.0/24\"\n\
         secret = \"file:tunnel.psk\"\n{extra}\n"
    )
}

/// A pair whose first site is to be recorded, and the file.
fn recorded(name: &str) -> Option<(Pair, String)> {
    let mut pair = Pair::new(name)?;
    let file = pair.oslo.directory.join("recording").display().to_string();
    pair.oslo.options = vec!["--ike-threads", "1", "--record", file.clone().leak()];
    pair.oslo.write("tunnel.toml", &tunnel(1, 2, "keep = \"up\"\ndpd = \"1s\""), 0o644);
    pair.berlin.write("tunnel.toml", &tunnel(2, 1, "keep = \"passive\""), 0o644);
    pair.berlin.write("tunnel.psk", SECRET, 0o600);
    Some((pair, file))
}

#[expect(clippy::disallowed_methods, reason = "any instant is as good as the origin of a run")]
fn base() -> Instant {
    Instant::now()
}

fn steps(file: &[u8]) -> Result<Vec<Step>, RecordError> {
    Replay::new(file, base())?.collect()
}

fn rekey(site: &Site, selection: Selection) {
    let request = Request::Rekey(Rekey { selection, reauthenticate: false });
    assert_eq!(Outcome::parse(&site.call(&request)).error, None);
}

/// The spare time of a tunnel's life: a peer that is not there, another secret, up, new keys, down, up
/// again, gone from the configuration.
fn live(pair: &mut Pair) {
    let is_refused = |site: &Site| {
        let problem = site.tunnel("tunnel").and_then(|tunnel| tunnel.problem);
        problem.is_some_and(|problem| (200..300).contains(&problem.code.number()))
    };
    // Nobody answers: the first message goes out again and again.
    pair.oslo.write("tunnel.psk", "Xz9Kp4Rt7Vb2Nm6Qw1Ls8Jd3Hf5Gc0Ty", 0o600);
    pair.oslo.start();
    std::thread::sleep(Duration::from_millis(1_800));
    // Another secret.
    pair.berlin.start();
    wait_until("the secrets differ", || is_refused(&pair.oslo));
    pair.oslo.write("tunnel.psk", SECRET, 0o600);
    pair.oslo.call(&Request::AditReload { dry_run: false });
    pair.oslo.wait_for("tunnel", TunnelState::Up);
    assert_eq!(pair.oslo.ping("10.1.0.1", "10.2.0.1", 3).lost(), 0);
    // New keys of both kinds, from both ends.
    let child = || Selection { child: Some("tunnel".into()), ..Selection::default() };
    for site in [&pair.oslo, &pair.berlin] {
        rekey(site, child());
        std::thread::sleep(Duration::from_millis(500));
        rekey(site, Selection::connection("tunnel"));
        std::thread::sleep(Duration::from_millis(500));
    }
    // Liveness checks, as nothing passes.
    std::thread::sleep(Duration::from_millis(2_500));
    let selection = Selection::connection("tunnel");
    pair.oslo.call(&Request::Terminate(Terminate { selection, ..Terminate::default() }));
    wait_until("the SA is gone", || pair.oslo.sad().sas.is_empty());
    let again = Initiate { child: Some("tunnel".into()), ..Initiate::default() };
    pair.oslo.call(&Request::Initiate(again));
    pair.oslo.wait_for("tunnel", TunnelState::Up);
    fs::remove_file(pair.oslo.directory.join("tunnels/tunnel.toml")).unwrap();
    pair.oslo.call(&Request::AditReload { dry_run: false });
    wait_until("the tunnel is gone", || pair.oslo.tunnel("tunnel").is_none());
}

/// The same inputs give the same outputs, octet for octet; a damaged or shortened file is told;
/// another setting is the first difference.
#[test]
fn what_a_daemon_did_is_done_again_from_its_recording() {
    let Some((mut pair, file)) = recorded("recorded") else { return };
    live(&mut pair);
    pair.oslo.terminate();
    let log = pair.oslo.log();
    assert!(log.contains("whoever reads the file has the keys of every SA"), "{log}");
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let octets = fs::read(&file).unwrap();

    let mut replay = Replay::new(&octets, base()).unwrap();
    let steps: Vec<Step> = replay.by_ref().map(Result::unwrap).collect();
    assert_eq!(replay.octets_left(), 0);
    for step in &steps {
        let what = describe(&step.input);
        assert!(step.is_compared && step.difference.is_none(), "{what}: {:?}", step.difference);
    }
    assert_is_whole_life(&steps);
    assert_other_settings_show(&octets);
    assert_damage_shows(&octets);

    // Nothing is recorded over it.
    let refused = pair.oslo.run_to_end(&mut pair.oslo.command());
    let text = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(text.contains("error[E530]: nothing can be recorded"), "{text}");
    assert_eq!(fs::read(&file).unwrap(), octets);
}

/// All that was to happen is in it.
fn assert_is_whole_life(steps: &[Step]) {
    let outputs: Vec<_> = steps.iter().flat_map(|step| &step.outputs).collect();
    let has = |start: &str| outputs.iter().any(|output| output.text.starts_with(start));
    for start in [
        "Event(Failed(",
        "Event(IkeUp(",
        "Event(IkeRekeyed",
        "Event(ChildRekeyed",
        "Event(IkeDown",
        "InstallChild",
        "RemoveChild",
        "Auth(",
        "Resolve",
        "Done",
    ] {
        assert!(has(start), "no {start}");
    }
    let messages: Vec<_> = outputs.iter().filter(|output| output.is_message()).collect();
    let is_repeated = messages.windows(2).any(|pair| matches!(pair, [a, b] if a == b));
    assert!(is_repeated, "nothing was sent again");
    let is_there = |wanted: fn(&Input) -> bool| steps.iter().any(|step| wanted(&step.input));
    assert!(is_there(|input| matches!(input, Input::Unreachable(..))));
    assert!(is_there(|input| matches!(input, Input::Packet(_))));
    assert!(is_there(|input| matches!(input, Input::Command(adit_ike::Command::Unload(_)))));
}

fn assert_other_settings_show(octets: &[u8]) {
    let mut entries = RecordReader::new(octets).unwrap().map(Result::unwrap);
    let Some(Entry::Begin(begin)) = entries.next() else { panic!("no beginning") };
    let mut changed = Vec::new();
    let mut writer = RecordWriter::begin(begin, &mut changed).unwrap();
    for mut entry in entries {
        if let Entry::Input(_, Input::Command(adit_ike::Command::Load(connection))) = &mut entry {
            Arc::make_mut(connection).dpd_delay = Duration::from_millis(1_100);
        }
        writer.entry(&entry, &mut changed).unwrap();
    }
    let last = steps(&changed).unwrap().pop().unwrap();
    let difference = last.difference.unwrap();
    assert!(matches!(difference, Difference::Output { .. }), "{difference:?}");
}

fn assert_damage_shows(octets: &[u8]) {
    let mut damaged = octets.to_vec();
    let middle = damaged.len() / 2;
    *damaged.get_mut(middle).unwrap() ^= 0x20;
    let error = steps(&damaged).unwrap_err();
    assert!(matches!(error, RecordError::Damaged { offset, .. } if offset <= middle), "{error}");
    assert!(error.to_string().contains("is damaged"), "{error}");

    let cut = octets.get(..octets.len() - 5).unwrap();
    let mut replay = Replay::new(cut, base()).unwrap();
    assert!(replay.by_ref().all(|step| step.unwrap().difference.is_none()));
    assert!(replay.octets_left() > 0);
}

/// After a kill all but the last moment is in the file.
#[test]
fn a_killed_daemon_leaves_a_recording() {
    let Some((mut pair, file)) = recorded("recorded-killed") else { return };
    pair.oslo.write("tunnel.psk", SECRET, 0o600);
    pair.berlin.start();
    pair.oslo.start();
    pair.oslo.wait_for("tunnel", TunnelState::Up);
    pair.oslo.kill();

    let steps = steps(&fs::read(file).unwrap()).unwrap();
    assert!(steps.iter().all(|step| step.difference.is_none()));
    let up =
        steps.iter().flat_map(|step| &step.outputs).any(|one| one.text.starts_with("Event(IkeUp"));
    assert!(up, "{} steps", steps.len());
}

/// Several threads cannot be recorded, and neither can a file in a directory that is not there; the daemon
/// says so and does not start.
#[test]
fn what_cannot_be_recorded_is_refused() {
    let Some(mut site) = Site::new("unrecorded") else { return };
    for (threads, directory, fix) in
        [("2", "", "add --ike-threads 1"), ("1", "nowhere/", "in a directory that is there")]
    {
        let file = site.directory.join(format!("{directory}recording")).display().to_string();
        site.options = vec!["--ike-threads", threads, "--record", file.clone().leak()];
        let output = site.run_to_end(&mut site.command());
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1));
        assert!(text.contains("error[E530]") && text.contains(fix), "{text}");
        assert!(!fs::exists(&file).unwrap());
    }
}

/// A disk that fills up ends the recording, not the daemon.
#[test]
fn a_full_disk_ends_the_recording_and_not_the_daemon() {
    let Some((mut pair, _)) = recorded("recorded-full") else { return };
    let disk = pair.oslo.directory.join("disk");
    fs::create_dir_all(&disk).unwrap();
    let disk_text = disk.display().to_string();
    let mount = ["-t", "tmpfs", "-o", "size=4k", "tmpfs", &disk_text];
    if !Command::new("mount").args(mount).status().is_ok_and(|status| status.success()) {
        assert!(std::env::var_os("CI").is_none(), "mounting is needed in CI");
        eprintln!("SKIPPED: needs the right to mount a tmpfs");
        return;
    }
    let _unmount = Unmount(disk_text.clone());
    let file = format!("{disk_text}/recording");
    pair.oslo.options = vec!["--ike-threads", "1", "--record", file.clone().leak()];
    pair.oslo.write("tunnel.psk", SECRET, 0o600);
    pair.berlin.start();
    pair.oslo.start();
    pair.oslo.wait_for("tunnel", TunnelState::Up);
    wait_until("the end is told", || pair.oslo.log().contains("the recording ends here"));
    rekey(&pair.oslo, Selection::connection("tunnel"));
    assert_eq!(pair.oslo.ping("10.1.0.1", "10.2.0.1", 3).lost(), 0, "{}", pair.oslo.log());
    let octets = fs::read(file).unwrap();
    assert!(octets.len() <= 4_096);
    assert!(steps(&octets).unwrap().iter().all(|step| step.difference.is_none()));
    pair.oslo.terminate();
}

struct Unmount(String);

impl Drop for Unmount {
    fn drop(&mut self) {
        let _ = Command::new("umount").args(["-l", &self.0]).status();
    }
}
