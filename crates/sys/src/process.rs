//! The process itself and the children it starts.

#![expect(unsafe_code, reason = "pidfd and mlockall have no safe wrapper")]

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd};

use nix::libc;
use nix::sys::signal::Signal;
use nix::unistd::Pid;

use crate::error::SysError;

/// In a child before exec: asks for SIGKILL at the parent's end, and fails if that has been.
pub(crate) fn bind_to(parent: Pid) -> io::Result<()> {
    nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)?;
    if nix::unistd::getppid() == parent {
        return Ok(());
    }
    Err(io::Error::from_raw_os_error(libc::ESRCH))
}

/// Makes this process the leader of a session without a terminal: it outlives the terminal it was
/// started from.
///
/// # Errors
///
/// [`SysError::NotPermitted`] if it leads a process group already.
pub fn new_session() -> Result<(), SysError> {
    nix::unistd::setsid().map(drop).map_err(|errno| SysError::of("setsid", errno))
}

/// Forbids core dumps and tracing by others: the memory holds keys.
///
/// # Errors
///
/// [`SysError::Io`] from `prctl`.
pub fn forbid_core_dumps() -> Result<(), SysError> {
    nix::sys::prctl::set_dumpable(false).map_err(|errno| SysError::of("PR_SET_DUMPABLE", errno))
}

/// Keeps all present and future pages out of swap.
///
/// # Errors
///
/// [`SysError::NotPermitted`] or [`SysError::Io`] (ENOMEM) when RLIMIT_MEMLOCK is too small; the
/// caller usually only warns.
pub fn lock_memory() -> Result<(), SysError> {
    // SAFETY: mlockall takes flags only and touches no memory of ours.
    let result = unsafe { libc::mlockall(libc::MCL_CURRENT | libc::MCL_FUTURE) };
    if result == 0 {
        return Ok(());
    }
    Err(SysError::of("mlockall", io::Error::last_os_error()))
}

/// The effective user of this process.
#[must_use]
pub fn effective_uid() -> u32 {
    nix::unistd::geteuid().as_raw()
}

/// What `uname` tells: system name, release and machine; empty where it is no text.
#[must_use]
pub fn system_name() -> (String, String, String) {
    let Ok(name) = nix::sys::utsname::uname() else {
        return Default::default();
    };
    let text = |field: &OsStr| field.to_string_lossy().into_owned();
    (text(name.sysname()), text(name.release()), text(name.machine()))
}

/// A process by descriptor: unlike a number it never comes to mean another process.
#[derive(Debug)]
pub struct PidFd(OwnedFd);

impl PidFd {
    /// Opens a process, usually a child just started (`child.id()`).
    ///
    /// # Errors
    ///
    /// [`SysError::Io`] with ESRCH if it is gone.
    pub fn open(pid: u32) -> Result<Self, SysError> {
        let pid = libc::pid_t::try_from(pid)
            .map_err(|_| SysError::of("pidfd_open", io::Error::from_raw_os_error(libc::ESRCH)))?;
        // SAFETY: pidfd_open takes two integers and returns a new descriptor or -1.
        let raw = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
        match i32::try_from(raw) {
            // SAFETY: the kernel has just made this descriptor for us; nobody else owns it.
            Ok(raw) if raw >= 0 => Ok(Self(unsafe { OwnedFd::from_raw_fd(raw) })),
            _ => Err(SysError::of("pidfd_open", io::Error::last_os_error())),
        }
    }

    /// Sends SIGTERM.
    ///
    /// # Errors
    ///
    /// As [`Self::open`].
    pub fn terminate(&self) -> Result<(), SysError> {
        self.send(libc::SIGTERM)
    }

    /// Sends SIGKILL.
    ///
    /// # Errors
    ///
    /// As [`Self::open`].
    pub fn kill(&self) -> Result<(), SysError> {
        self.send(libc::SIGKILL)
    }

    fn send(&self, signal: i32) -> Result<(), SysError> {
        use std::os::fd::AsRawFd;
        // SAFETY: integers and a null siginfo, which the kernel documents as allowed.
        let result = unsafe {
            libc::syscall(
                libc::SYS_pidfd_send_signal,
                self.0.as_raw_fd(),
                signal,
                std::ptr::null::<libc::siginfo_t>(),
                0,
            )
        };
        if result == 0 {
            return Ok(());
        }
        Err(SysError::of("pidfd_send_signal", io::Error::last_os_error()))
    }
}

/// Becomes readable when the process has ended.
impl AsFd for PidFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Sends SIGTERM to a process by number.
///
/// # Errors
///
/// [`SysError::Io`] with ESRCH if it is gone, and for 0, which is no process: the kernel would
/// take it for all of the caller's group.
pub fn terminate(pid: u32) -> Result<(), SysError> {
    let pid = i32::try_from(pid)
        .ok()
        .filter(|pid| *pid > 0)
        .ok_or_else(|| SysError::of("kill", io::Error::from_raw_os_error(libc::ESRCH)))?;
    nix::sys::signal::kill(Pid::from_raw(pid), Signal::SIGTERM)
        .map_err(|errno| SysError::of("kill", errno))
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn the_system_has_a_name() {
        assert_eq!(system_name().0, "Linux");
    }

    #[test]
    fn a_pidfd_ends_a_child() {
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();

        PidFd::open(child.id()).unwrap().kill().unwrap();

        assert!(!child.wait().unwrap().success());
    }

    #[test]
    fn number_zero_is_nobody() {
        let nobody = |result: Result<(), SysError>| result.unwrap_err().errno();
        assert_eq!(nobody(terminate(0)), Some(libc::ESRCH));
        assert_eq!(nobody(terminate(u32::MAX)), Some(libc::ESRCH));
    }
}
