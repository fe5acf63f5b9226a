//! The keys that tickets for session resumption are sealed with (RFC 5723): made at the start or read
//! from a file, and renewed once a day.
//!
//! With `--state` they are in a file, so that sessions can be resumed after a restart; without, a
//! restart voids all tickets. They are the ike role's, which has the keys of all sessions anyway.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use adit_crypto::{Rng, Secret, SystemRng};
use adit_ike::{Command, TicketKeys};
use adit_sys::clock;
use adit_sys::file::{read_with_mode, write_private};
use tracing::warn;

/// The keys and where they are kept.
#[derive(Debug)]
pub(crate) struct Tickets {
    file: Option<PathBuf>,
    keys: Arc<TicketKeys>,
    look_at: Instant,
}

/// In the directory of `--state`.
const FILE: &str = "ticket-keys";
/// Between two looks at their age.
const LOOK_INTERVAL: Duration = Duration::from_mins(10);

impl Tickets {
    /// Reads the keys of this directory, or makes some; without a directory they are nowhere else.
    ///
    /// # Errors
    ///
    /// What making the directory or writing the file answers. A file that cannot be used is replaced.
    pub(crate) fn open(state: Option<&Path>) -> io::Result<Self> {
        let file = state.map(|directory| directory.join(FILE));
        if let Some(directory) = state {
            std::fs::create_dir_all(directory)?;
        }
        let known = file.as_deref().and_then(read);
        let is_known = known.is_some();
        let now_s = clock::unix_time().as_secs();
        let keys = known.unwrap_or_else(|| TicketKeys::generate(now_s, &mut SystemRng));
        let mut tickets = Self { file, keys: Arc::new(keys), look_at: clock::now() };
        if !is_known {
            tickets.write()?;
        }
        tickets.renew(now_s, &mut SystemRng);
        Ok(tickets)
    }

    /// What the endpoints are to be told now.
    pub(crate) fn command(&self) -> Command {
        let now_s = clock::unix_time().as_secs();
        Command::UseTicketKeys { keys: Arc::clone(&self.keys), now_s }
    }

    /// Renews the keys if it is time for that, and says whether the endpoints are to be told.
    pub(crate) fn look(&mut self, now: Instant, rng: &mut dyn Rng) -> bool {
        if now < self.look_at {
            return false;
        }
        self.look_at = now + LOOK_INTERVAL;
        self.renew(clock::unix_time().as_secs(), rng)
    }

    fn renew(&mut self, now_s: u64, rng: &mut dyn Rng) -> bool {
        let Some(keys) = self.keys.renewed(now_s, rng) else { return false };
        self.keys = Arc::new(keys);
        if let Err(error) = self.write() {
            warn!(%error, "keys of tickets could not be written: a restart will void them");
        }
        true
    }

    fn write(&self) -> io::Result<()> {
        let Some(file) = &self.file else { return Ok(()) };
        write_private(file, self.keys.octets().as_bytes())
    }
}

/// `None` if there is no such file, or none that may be used.
fn read(file: &Path) -> Option<TicketKeys> {
    let (octets, mode) = match read_with_mode(file) {
        Ok((octets, mode)) => (Secret::new(octets), mode),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
        Err(error) => {
            warn!(%error, file = %file.display(), "keys of tickets cannot be read");
            return None;
        }
    };
    if mode & 0o077 != 0 {
        warn!(file = %file.display(), "others may have read the keys of tickets: new ones are made");
        return None;
    }
    let keys = TicketKeys::from_octets(octets.as_bytes());
    if keys.is_none() {
        warn!(file = %file.display(), "holds no keys of tickets: new ones are made");
    }
    keys
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn octets(tickets: &Tickets) -> Secret {
        tickets.keys.octets()
    }

    #[test]
    fn keys_outlive_a_restart_only_in_a_file() {
        let state = std::env::temp_dir().join(format!("aditd-tickets-{}", std::process::id()));
        let first = Tickets::open(Some(&state)).unwrap();
        let file = state.join(FILE);
        let mode = std::fs::metadata(&file).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(octets(&Tickets::open(Some(&state)).unwrap()), octets(&first));
        let alone = Tickets::open(None).unwrap();
        assert_ne!(octets(&alone), octets(&Tickets::open(None).unwrap()));

        // What others may have read, or is no file of keys, is replaced.
        std::fs::set_permissions(&file, PermissionsExt::from_mode(0o644)).unwrap();
        let second = Tickets::open(Some(&state)).unwrap();
        assert_ne!(octets(&second), octets(&first));
        write_private(&file, b"something else").unwrap();
        let third = Tickets::open(Some(&state)).unwrap();
        assert_ne!(octets(&third), octets(&second));
        assert_eq!(octets(&Tickets::open(Some(&state)).unwrap()), octets(&third));
        std::fs::remove_dir_all(state).unwrap();
    }

    #[test]
    fn keys_are_renewed_once_a_day() {
        let mut tickets = Tickets::open(None).unwrap();
        let now_s = clock::unix_time().as_secs();
        let day_s = TicketKeys::PERIOD.as_secs();
        assert!(!tickets.renew(now_s + day_s / 2, &mut SystemRng));
        assert!(tickets.renew(now_s + day_s, &mut SystemRng));
        let now = tickets.look_at;
        assert!(!tickets.look(now, &mut SystemRng));
        assert_eq!(tickets.look_at, now + LOOK_INTERVAL);
    }
}
