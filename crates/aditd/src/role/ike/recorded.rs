//! The endpoint of the ike role with its randomness, and the file that it may be recorded in.

use std::ops::Deref;
use std::time::Instant;

use adit_crypto::BufferedRng;
use adit_ike::record::{Begin, Recorded};
use adit_ike::{Endpoint, EndpointConfig, Input, Output, Path, Shard};
use adit_sys::clock;
use tracing::error;

use crate::record::RecordFile;

/// Takes inputs, gives outputs; questions go to the endpoint itself.
pub(super) struct Seat {
    recorded: Recorded,
    pub(super) rng: BufferedRng,
    file: Option<RecordFile>,
}

impl Seat {
    /// A new endpoint; with a file it is the only one of this host.
    pub(super) fn new(config: EndpointConfig, shard: Shard, file: Option<RecordFile>) -> Self {
        let rng = BufferedRng::default();
        if file.is_some() {
            let program = concat!("aditd ", env!("CARGO_PKG_VERSION")).to_owned();
            let started_s = clock::unix_time().as_secs();
            let begin = Begin { program, started_s, config: config.clone() };
            match Recorded::new(begin, clock::now()) {
                Ok(recorded) => return Self { recorded, rng, file },
                Err(reason) => error!(%reason, "nothing is recorded"),
            }
        }
        let recorded = Recorded::unrecorded(Endpoint::of_shard(config, shard));
        Self { recorded, rng, file: None }
    }

    pub(super) fn give(&mut self, input: Input, now: Instant) {
        self.recorded.give(input, now, &mut self.rng);
    }

    pub(super) fn datagram(&mut self, path: Path, octets: &[u8], now: Instant) {
        self.recorded.datagram(path, octets, now, &mut self.rng);
    }

    pub(super) fn poll_output(&mut self) -> Option<Output> {
        self.recorded.poll_output()
    }

    /// Hands on what was recorded. Nobody waits for the file.
    pub(super) fn flush(&mut self) {
        let Some(file) = &mut self.file else { return };
        let octets = self.recorded.take_octets();
        let goes_on = octets.is_empty() || file.push(octets);
        if !goes_on {
            self.recorded.stop();
            self.file = None;
            return;
        }
        if let Some(reason) = self.recorded.ended()
            && file.close()
        {
            // The file stays, so that only the end of the role waits for what it has taken.
            error!(%reason, "the recording ends here");
            self.recorded.stop();
        }
    }
}

impl Deref for Seat {
    type Target = Endpoint;

    fn deref(&self) -> &Endpoint {
        &self.recorded
    }
}

/// Also where the role ends by a panic: the input that it came with is the last in the file.
impl Drop for Seat {
    fn drop(&mut self) {
        self.flush();
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::time::Duration;

    use adit_ike::Command;
    use adit_ike::record::{Entry, RecordReader};

    use super::*;
    use crate::args::Args;
    use crate::record;

    /// Whatever ends the role, the inputs up to that are in the file.
    #[test]
    fn the_last_input_before_a_panic_is_in_the_file() {
        use clap::Parser as _;

        let name = format!("aditd-seat-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        let file = path.display().to_string();
        let args = Args::parse_from(["aditd", "--ike-threads", "1", "--record", &file]);
        let file = record::open(&args).unwrap();
        let seat = Seat::new(EndpointConfig::default(), Shard::alone(), file);
        let run = AssertUnwindSafe(move || {
            let mut seat = seat;
            seat.give(Input::Command(Command::Shutdown), clock::now());
            panic!("a test wants it");
        });
        assert!(catch_unwind(run).is_err());

        let octets = std::fs::read(&path).unwrap();
        let entries: Vec<_> = RecordReader::new(&octets).unwrap().map(Result::unwrap).collect();
        let [
            Entry::Begin(begin),
            Entry::Input(_, Input::Command(Command::Shutdown)),
            Entry::Done(_),
        ] = &entries[..]
        else {
            panic!("{entries:?}");
        };
        assert!(begin.program.starts_with("aditd "));
        // Nothing is recorded over it.
        let refused = record::open(&args).unwrap_err().render(false);
        assert!(refused.contains("E530") && refused.contains("exists"), "{refused}");
        std::fs::remove_file(path).unwrap();
    }

    /// IKE goes on at once when the disk hangs.
    #[test]
    fn a_disk_that_hangs_holds_ike_up_no_more_than_none() {
        let (file, release) = RecordFile::on_a_hung_disk();
        let start = clock::now();
        let mut seat = Seat::new(EndpointConfig::default(), Shard::alone(), Some(file));
        assert!(seat.file.is_some());
        seat.flush();
        assert!(seat.file.is_none());
        seat.give(Input::Command(Command::Shutdown), clock::now());
        drop(seat);
        assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
        drop(release);
    }

    #[test]
    fn several_threads_are_not_recorded() {
        use clap::Parser as _;

        let args = Args::parse_from(["aditd", "--ike-threads", "2", "--record", "/nowhere/else"]);
        let refused = record::open(&args).unwrap_err().render(false);
        assert!(refused.contains("E530") && refused.contains("add --ike-threads 1"), "{refused}");
    }
}
