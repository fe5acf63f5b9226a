//! The file of `--record`: written by a thread of its own, so that no disk ever holds the ike role up.
//!
//! What it holds is the business of `adit_ike::record`. The file is made anew, for nobody but us, since
//! whoever reads it has the keys of all SAs. A disk that is full or too slow ends the recording and not
//! the daemon; what was written whole until then can be replayed.

use std::convert::Infallible;
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use adit_mgmt::Diagnosis;
use adit_sys::thread::spawn_named;
use tracing::{error, warn};

use crate::args::Args;

/// A file that is being written.
#[derive(Debug)]
pub(crate) struct RecordFile {
    queue: Option<Sender<Vec<u8>>>,
    /// None once nobody waits for it.
    thread: Option<JoinHandle<()>>,
    /// Disconnected once the thread has written and closed everything.
    writing: Receiver<Infallible>,
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

/// For so long the end of the ike role waits for what is not yet written.
const END_WITHIN: Duration = Duration::from_secs(5);

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
        let (alive, writing) = channel();
        let thread = spawn_named("record", move || {
            write(target, &octets, &of_thread);
            drop::<Sender<Infallible>>(alive);
        })?;
        Ok(Self { queue: Some(queue), thread: Some(thread), writing, shared })
    }

    /// Hands octets over without waiting. False when nothing more will be taken; then nobody waits
    /// for the thread, which may hang in the disk for good.
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
            self.thread = None;
        }
        self.queue.is_some()
    }

    /// Takes nothing more; what was taken is still written. Whether that is new.
    pub(crate) fn close(&mut self) -> bool {
        self.queue.take().is_some()
    }

    /// Waits until all is written, or for as long as is given. False if that was too short.
    fn finish(&mut self, within: Duration) -> bool {
        self.close();
        let Some(thread) = self.thread.take() else { return true };
        let is_written = self.writing.recv_timeout(within) == Err(RecvTimeoutError::Disconnected);
        if is_written {
            let _ = thread.join();
        }
        is_written
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
    /// Waits until all is written, unless that was given up, and not for ever.
    fn drop(&mut self) {
        if !self.finish(END_WITHIN) {
            error!("the end of the recording is not written: the disk does not keep up");
        }
    }
}

#[cfg(test)]
impl RecordFile {
    /// On a disk that takes nothing until the sender is dropped, with as much as may wait for it.
    pub(crate) fn on_a_hung_disk() -> (Self, Sender<()>) {
        struct Hung(Receiver<()>);
        impl Write for Hung {
            fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
                let _ = self.0.recv();
                Ok(octets.len())
            }

            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let (release, held) = channel();
        let mut file = Self::over(Hung(held)).unwrap();
        assert!(file.push(vec![0; WAITING_MAX]));
        (file, release)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use adit_sys::clock;

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

    /// A disk that takes nothing holds nobody up, and what waits for it is bounded: not when the
    /// recording is given up, and not when that is dropped while the thread hangs.
    #[test]
    fn a_disk_that_hangs_ends_the_recording() {
        let (mut file, release) = RecordFile::on_a_hung_disk();
        let start = clock::now();
        assert!(!file.push(vec![0; 1]));
        assert!(!file.push(vec![0; 1]));
        drop(file);
        assert!(start.elapsed() < END_WITHIN / 2, "{:?}", start.elapsed());
        drop(release);
    }

    /// At the regular end there is a wait for the disk, and it has an end.
    #[test]
    fn the_wait_for_a_disk_that_hangs_has_an_end() {
        let (mut file, release) = RecordFile::on_a_hung_disk();
        assert!(file.close() && !file.close());
        let start = clock::now();
        assert!(!file.finish(Duration::from_millis(20)));
        // Once is enough.
        assert!(file.finish(END_WITHIN));
        assert!(start.elapsed() < END_WITHIN / 2, "{:?}", start.elapsed());
        drop(release);
        assert_eq!(file.writing.recv(), Err(std::sync::mpsc::RecvError));
    }

    /// A disk that is only slow is waited for.
    #[test]
    fn at_the_end_all_is_written() {
        let (mut file, release) = RecordFile::on_a_hung_disk();
        let disk = spawn_named("disk", move || {
            std::thread::sleep(Duration::from_millis(50));
            drop(release);
        })
        .unwrap();
        assert!(file.finish(END_WITHIN));
        assert_eq!(file.shared.waiting.load(Ordering::Relaxed), 0);
        disk.join().unwrap();
    }
}
