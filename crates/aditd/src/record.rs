//! The file of `--record`: written by a thread of its own, so that no disk ever holds the ike role up.
//!
//! What it holds is the business of `adit_ike::record`. The file is made anew, for nobody but us, since
//! whoever reads it has the keys of all SAs. A disk that is full or too slow ends the recording and not
//! the daemon; what was written whole until then can be replayed.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

use adit_mgmt::Diagnosis;
use adit_sys::thread::spawn_named;
use tracing::{error, warn};

use crate::args::Args;

/// A file that is being written.
#[derive(Debug)]
pub(crate) struct RecordFile {
    queue: Option<Sender<Vec<u8>>>,
    thread: Option<JoinHandle<()>>,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    /// Octets that wait to be written.
    waiting: AtomicUsize,
    /// Writing has failed.
    failed: AtomicBool,
}

/// Octets that may wait; more is a disk that does not keep up.
const WAITING_MAX: usize = 64 << 20;

/// Opens the file that the command line asks for.
///
/// # Errors
///
/// E530: there is such a file, it cannot be made, or there are several IKE threads.
pub(crate) fn open(args: &Args) -> Result<Option<RecordFile>, Box<Diagnosis>> {
    let Some(path) = &args.record else { return Ok(None) };
    let threads = args.ike_threads.0.count();
    if threads > 1 {
        let reason = format!("{threads} IKE threads run side by side, in no order that returns");
        let fix = "add --ike-threads 1";
        return Err(Box::new(Diagnosis::no_recording(path, reason, fix)));
    }
    let file = RecordFile::create(path).map_err(|error| {
        let fix = if error.kind() == io::ErrorKind::AlreadyExists {
            "give --record a name that is free, or remove the file"
        } else {
            "give --record a file in a directory that is there and that we may write to"
        };
        Box::new(Diagnosis::no_recording(path, error.to_string(), fix))
    })?;
    warn!(
        file = %path.display(),
        "all that IKE does is recorded: whoever reads the file has the keys of every SA"
    );
    Ok(Some(file))
}

impl RecordFile {
    /// Makes a file that is not there, with mode 0600.
    fn create(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        Self::over(file)
    }

    fn over(target: impl Write + Send + 'static) -> io::Result<Self> {
        let (queue, octets) = channel();
        let shared = Arc::<Shared>::default();
        let of_thread = Arc::clone(&shared);
        let thread = spawn_named("record", move || write(target, &octets, &of_thread))?;
        Ok(Self { queue: Some(queue), thread: Some(thread), shared })
    }

    /// Hands octets over without waiting. False when nothing more will be written.
    pub(crate) fn push(&mut self, octets: Vec<u8>) -> bool {
        let Some(queue) = &self.queue else { return false };
        let len = octets.len();
        let waiting = self.shared.waiting.fetch_add(len, Ordering::Relaxed).saturating_add(len);
        let is_slow = waiting > WAITING_MAX && !self.shared.failed.load(Ordering::Relaxed);
        if is_slow {
            error!("the recording ends here: the disk does not keep up");
        }
        if waiting > WAITING_MAX || queue.send(octets).is_err() {
            self.queue = None;
        }
        self.queue.is_some()
    }
}

/// The thread: each piece is written as it comes, so that a kill loses little.
fn write(mut target: impl Write, octets: &Receiver<Vec<u8>>, shared: &Shared) {
    for piece in octets {
        if let Err(error) = target.write_all(&piece) {
            shared.failed.store(true, Ordering::Relaxed);
            error!(%error, "the recording ends here: it cannot be written; the daemon goes on");
            return;
        }
        shared.waiting.fetch_sub(piece.len(), Ordering::Relaxed);
    }
}

impl Drop for RecordFile {
    /// Waits until all is written.
    fn drop(&mut self) {
        self.queue = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;
    use std::sync::mpsc::sync_channel;

    use super::*;

    fn path(name: &str) -> std::path::PathBuf {
        std::env::temp_dir().join(format!("aditd-record-{}-{name}", std::process::id()))
    }

    #[test]
    fn a_recording_is_for_us_alone_and_takes_no_file_over() {
        let path = path("mode");
        let mut file = RecordFile::create(&path).unwrap();
        assert!(file.push(b"some".to_vec()) && file.push(b" octets".to_vec()));
        drop(file);
        assert_eq!(std::fs::read(&path).unwrap(), b"some octets");
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);

        let refused = RecordFile::create(&path).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(std::fs::read(&path).unwrap(), b"some octets");
        std::fs::remove_file(path).unwrap();
    }

    /// A disk without room refuses to write; what comes then is dropped, and nobody waits.
    #[test]
    fn a_full_disk_ends_the_recording() {
        let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
        let mut file = RecordFile::over(full).unwrap();
        file.push(vec![0; 10]);
        // The thread ends by itself.
        file.thread.take().unwrap().join().unwrap();
        assert!(!file.push(vec![0; 10]));
        assert!(!file.push(vec![0; 10]));
        assert!(file.shared.failed.load(Ordering::Relaxed));
    }

    /// A disk that takes nothing holds nobody up, and what waits for it is bounded.
    #[test]
    fn a_disk_that_stands_still_ends_the_recording() {
        struct Still(Receiver<()>);
        impl Write for Still {
            fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
                let _ = self.0.recv();
                Ok(octets.len())
            }

            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let (release, held) = sync_channel(0);
        let mut file = RecordFile::over(Still(held)).unwrap();
        assert!(file.push(vec![0; WAITING_MAX]));
        assert!(!file.push(vec![0; 1]));
        drop(release);
    }
}
