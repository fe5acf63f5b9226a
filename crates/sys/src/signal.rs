//! Signals as readable events instead of handlers (signalfd).

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use nix::errno::Errno;
use nix::sys::signal::{self as posix, SigSet};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use crate::error::SysError;

/// A signal the daemon reacts to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Signal {
    /// SIGINT: stop, the operator pressed Ctrl-C.
    Interrupt,
    /// SIGTERM: stop.
    Terminate,
    /// SIGHUP: read the configuration again.
    Hangup,
}

/// Blocks SIGINT, SIGTERM and SIGHUP and lets them be read here instead.
#[derive(Debug)]
pub struct Signals(SignalFd);

impl Signals {
    /// Takes the three signals over for the whole process.
    ///
    /// Call it before the first thread starts: threads inherit the mask, and one without it would
    /// be killed by the signal. Programs started with `std::process::Command` get an empty mask.
    ///
    /// # Errors
    ///
    /// [`SysError::Io`] if the kernel refuses another descriptor.
    pub fn take() -> Result<Self, SysError> {
        let mask: SigSet = [posix::SIGINT, posix::SIGTERM, posix::SIGHUP].into_iter().collect();
        mask.thread_block().map_err(|errno| SysError::of("block signals", errno))?;
        SignalFd::with_flags(&mask, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
            .map(Self)
            .map_err(|errno| SysError::of("signalfd", errno))
    }

    /// The next pending signal; `None` if there is none now.
    ///
    /// # Errors
    ///
    /// What reading the descriptor answers.
    pub fn next(&self) -> io::Result<Option<Signal>> {
        loop {
            let info = match self.0.read_signal() {
                Ok(Some(info)) => info,
                Ok(None) => return Ok(None),
                Err(Errno::EINTR) => continue,
                Err(errno) => return Err(errno.into()),
            };
            match i32::try_from(info.ssi_signo) {
                Ok(nix::libc::SIGINT) => return Ok(Some(Signal::Interrupt)),
                Ok(nix::libc::SIGTERM) => return Ok(Some(Signal::Terminate)),
                Ok(nix::libc::SIGHUP) => return Ok(Some(Signal::Hangup)),
                _ => {}
            }
        }
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_become_values() {
        let signals = Signals::take().unwrap();
        assert_eq!(signals.next().unwrap(), None);

        // To this thread only: the others of the test program have no mask.
        posix::raise(posix::SIGHUP).unwrap();
        posix::raise(posix::SIGTERM).unwrap();

        let mut seen = [signals.next().unwrap(), signals.next().unwrap()];
        seen.sort_by_key(|signal| *signal == Some(Signal::Terminate));
        assert_eq!(seen, [Some(Signal::Hangup), Some(Signal::Terminate)]);
        assert_eq!(signals.next().unwrap(), None);
    }
}
