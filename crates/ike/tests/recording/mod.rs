//! Recordings of an endpoint: what a replay finds, and what it does not mind. That all other tests of two
//! endpoints come to the same when they are replayed is checked where they end.

use std::sync::Arc;
use std::time::Duration;

use adit_ike::record::{Difference, Entry, RecordError, RecordReader, RecordWriter, Replay, Step};
use adit_ike::{Command, EndpointConfig, Input};

use super::common::{Pair, connections, origin};

/// How long a peer may be silent.
const DPD: Duration = Duration::from_secs(30);

/// A pair with liveness checks, up and idle for some time, as its left end was recorded.
fn recording() -> Vec<u8> {
    let mut connections = connections();
    connections.iter_mut().for_each(|connection| connection.dpd_delay = DPD);
    let mut pair = Pair::new([EndpointConfig::default(), EndpointConfig::default()], connections);
    pair.left.initiate(pair.now);
    pair.run();
    pair.run_for(4 * DPD);
    pair.assert_one_tunnel();
    pair.left.restarted(EndpointConfig::default())
}

fn steps(file: &[u8]) -> Result<Vec<Step>, RecordError> {
    Replay::new(file, origin())?.collect()
}

/// The recording with every frame put through `change`.
fn changed(file: &[u8], mut change: impl FnMut(&mut Entry)) -> Vec<u8> {
    let mut entries = RecordReader::new(file).unwrap().map(Result::unwrap);
    let Some(Entry::Begin(begin)) = entries.next() else { panic!("no beginning") };
    let mut changed = Vec::new();
    let mut writer = RecordWriter::begin(begin, &mut changed).unwrap();
    for mut entry in entries {
        change(&mut entry);
        writer.entry(&entry, &mut changed).unwrap();
    }
    changed
}

fn is_timeout(step: &Step) -> bool {
    matches!(step.input, Input::Timeout)
}

#[test]
fn another_liveness_check_is_the_first_difference() {
    let file = recording();
    let slower = changed(&file, |entry| {
        if let Entry::Input(_, Input::Command(Command::Load(connection))) = entry {
            Arc::make_mut(connection).dpd_delay = DPD + Duration::from_secs(5);
        }
    });

    let (same, other) = (steps(&file).unwrap(), steps(&slower).unwrap());
    assert!(same.iter().all(|step| step.difference.is_none()));
    // All is as it was until the peer should have been asked, and there the replay ends.
    let last = other.last().unwrap();
    let silence = last.at - other.iter().rfind(|step| !is_timeout(step)).unwrap().at;
    assert!(silence >= DPD && silence < DPD + Duration::from_secs(5), "{silence:?}");
    assert!(is_timeout(last), "{:?}", last.input);
    let Some(Difference::Output { number: 1, recorded: Some(recorded), replayed: None }) =
        &last.difference
    else {
        panic!("{:?}", last.difference);
    };
    assert!(recorded.is_message());
    assert_eq!(other.len(), same.iter().position(|step| step.number == last.number).unwrap() + 1);
}

/// One octet of a message is enough.
#[test]
fn an_octet_that_went_out_differently_is_shown_with_both_versions() {
    let file = recording();
    let mut before = None;
    let other = changed(&file, |entry| {
        if let Entry::Done(done) = entry
            && let Some(output) = done.outputs.iter_mut().find(|output| output.is_message())
            && before.is_none()
        {
            before = Some(output.clone());
            *output.octets.last_mut().unwrap() ^= 1;
        }
    });
    let steps = steps(&other).unwrap();
    let Some(Difference::Output { recorded: Some(recorded), replayed, .. }) =
        &steps.last().unwrap().difference
    else {
        panic!("{:?}", steps.last());
    };
    assert_eq!(*replayed, before);
    assert_ne!(Some(recorded), before.as_ref());
}

#[test]
fn other_randomness_and_more_of_it_are_differences() {
    let file = recording();
    let mut is_first = true;
    let other = changed(&file, |entry| {
        if let Entry::Done(done) = entry
            && !done.drawn.is_empty()
            && std::mem::take(&mut is_first)
        {
            done.drawn.push(0);
        }
    });
    let last = steps(&other).unwrap().pop().unwrap();
    assert!(
        matches!(last.difference, Some(Difference::Drawn { recorded, replayed }) if recorded == replayed + 1),
        "{:?}",
        last.difference
    );
}

/// The program was killed in the middle of an input, or that input has ended it.
#[test]
fn the_last_input_is_given_though_nobody_knows_what_came_of_it() {
    let file = recording();
    let frames = RecordReader::new(&file).unwrap().count();
    let mut reader = RecordReader::new(&file).unwrap();
    let _ = reader.by_ref().take(frames - 1).count();
    let cut = file.len() - reader.octets_left();

    let all = steps(&file).unwrap();
    let some = steps(&file[..cut]).unwrap();
    assert_eq!(some.len(), all.len());
    let (last, before) = some.split_last().unwrap();
    assert!(!last.is_compared && last.difference.is_none());
    assert!(before.iter().all(|step| step.is_compared));
}
