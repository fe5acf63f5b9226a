//! Whether somebody keeps the clock right.

#![expect(unsafe_code, reason = "adjtimex takes a raw pointer")]

use std::io;
use std::mem::MaybeUninit;

use nix::libc;

use crate::error::SysError;

/// Whether a program corrects the clock (NTP, PTP, the hypervisor), as the kernel knows it.
///
/// # Errors
///
/// [`SysError::Io`].
pub fn is_synchronised() -> Result<bool, SysError> {
    let mut timex = MaybeUninit::<libc::timex>::zeroed();
    // SAFETY: all-zero octets are a timex, whose zero `modes` ask to change nothing; the pointer leads
    // to a live one.
    let (state, status) = unsafe {
        let state = libc::adjtimex(timex.as_mut_ptr());
        (state, timex.assume_init().status)
    };
    if state < 0 {
        return Err(SysError::of("ask for the clock's state", io::Error::last_os_error()));
    }
    Ok(state != libc::TIME_ERROR && status & libc::STA_UNSYNC == 0)
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_kernel_answers_without_privileges() {
        super::is_synchronised().unwrap();
    }
}
