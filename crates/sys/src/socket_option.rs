//! Socket options that no wrapper crate offers for both families.

#![expect(unsafe_code, reason = "setsockopt takes a raw pointer")]

use std::io;
use std::os::fd::{AsFd, AsRawFd};

use nix::libc::{self, c_int};

/// Sets an option whose value is one integer.
pub(crate) fn set(socket: impl AsFd, level: c_int, name: c_int, value: c_int) -> io::Result<()> {
    set_value(socket, level, name, &value)
}

/// The value of an option that is one integer.
pub(crate) fn get(socket: impl AsFd, level: c_int, name: c_int) -> io::Result<c_int> {
    let mut value: c_int = 0;
    let mut length = libc::socklen_t::try_from(size_of::<c_int>()).unwrap_or(0);
    // SAFETY: the pointers lead to a live integer and to its size.
    let result = unsafe {
        libc::getsockopt(
            socket.as_fd().as_raw_fd(),
            level,
            name,
            (&raw mut value).cast(),
            &raw mut length,
        )
    };
    if result == 0 { Ok(value) } else { Err(io::Error::last_os_error()) }
}

/// Sets an option whose value is a structure that the kernel reads.
pub(crate) fn set_value<T>(
    socket: impl AsFd,
    level: c_int,
    name: c_int,
    value: &T,
) -> io::Result<()> {
    let length = libc::socklen_t::try_from(size_of::<T>()).unwrap_or(0);
    // SAFETY: the pointer leads to a live value and the length is its size; the kernel only reads.
    let result = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            level,
            name,
            std::ptr::from_ref(value).cast(),
            length,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Asks for buffers of this size, past the administrator's limit if privileges allow, else up to
/// it. Returns nothing: smaller buffers lose bursts, they are no failure.
pub(crate) fn grow_buffers(socket: impl AsFd + Copy, receive: usize, send: usize) {
    let receive = c_int::try_from(receive).unwrap_or(c_int::MAX);
    let send = c_int::try_from(send).unwrap_or(c_int::MAX);
    for (forced, plain, octets) in [
        (libc::SO_RCVBUFFORCE, libc::SO_RCVBUF, receive),
        (libc::SO_SNDBUFFORCE, libc::SO_SNDBUF, send),
    ] {
        let granted = set(socket, libc::SOL_SOCKET, forced, octets)
            .or_else(|_| set(socket, libc::SOL_SOCKET, plain, octets));
        if let Err(error) = granted {
            tracing::debug!(%error, octets, "socket buffer stays small");
        }
    }
}
