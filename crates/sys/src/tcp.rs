//! TCP for IKE and ESP (RFC 9329): listeners and connections that never block and know both their
//! addresses.

use std::io::{self, IoSlice, Read as _, Write as _};
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use nix::libc;
use socket2::{Domain, Protocol, Socket, Type};

use crate::error::SysError;
use crate::socket_option;

/// Connections that the kernel holds until they are accepted.
const BACKLOG: i32 = 64;

/// How long data may wait for the peer's acknowledgment before the connection is given up.
const UNACKNOWLEDGED_MAX: Duration = Duration::from_secs(30);

/// A listening socket of one family.
#[derive(Debug)]
pub struct TcpListener {
    socket: Socket,
    local: SocketAddr,
}

impl TcpListener {
    /// Listens at `local`; port 0 lets the kernel choose. An IPv6 socket takes no IPv4 connections.
    /// Connections have `mark`, too.
    ///
    /// # Errors
    ///
    /// - [`SysError::AddressInUse`] (E502), [`SysError::AddressMissing`].
    /// - [`SysError::NotPermitted`] (E504) for a low port or a mark without privileges.
    /// - [`SysError::FamilyUnsupported`], [`SysError::Io`].
    pub fn bind(local: SocketAddr, mark: Option<u32>) -> Result<Self, SysError> {
        let socket = open(local, mark)?;
        if local.is_ipv6() {
            socket.set_only_v6(true).map_err(|error| SysError::of("configure socket", error))?;
        }
        // Connections of the daemon before us may still be about to end.
        socket.set_reuse_address(true).map_err(|error| SysError::of("configure socket", error))?;
        socket.bind(&local.into()).map_err(|error| bind_error(local, error))?;
        socket.listen(BACKLOG).map_err(|error| bind_error(local, error))?;
        let bound = socket.local_addr().ok().and_then(|bound| bound.as_socket());
        Ok(Self { socket, local: bound.unwrap_or(local) })
    }

    /// The address bound, with the port the kernel chose.
    #[must_use]
    pub fn local(&self) -> SocketAddr {
        self.local
    }

    /// The next connection; `None` if none waits.
    ///
    /// # Errors
    ///
    /// Too many open files; a connection that ended before it was accepted is passed over.
    pub fn accept(&self) -> io::Result<Option<TcpStream>> {
        let (socket, remote) = match self.socket.accept() {
            Ok(accepted) => accepted,
            Err(error) if is_passing(&error) => return Ok(None),
            Err(error) => return Err(error),
        };
        socket.set_nonblocking(true)?;
        configure(&socket);
        let local = socket.local_addr()?.as_socket();
        let (Some(local), Some(remote)) = (local, remote.as_socket()) else { return Ok(None) };
        Ok(Some(TcpStream { socket, local, remote }))
    }
}

impl AsFd for TcpListener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// A connection, or one that is being made.
#[derive(Debug)]
pub struct TcpStream {
    socket: Socket,
    local: SocketAddr,
    remote: SocketAddr,
}

impl TcpStream {
    /// Begins a connection from `local`, its port included, to `remote`. When it can be written to it
    /// is there or has failed: ask [`Self::take_error`].
    ///
    /// # Errors
    ///
    /// What bind and connect answer at once: `AddrInUse`, `AddrNotAvailable`, `NetworkUnreachable`, …
    pub fn connect(local: SocketAddr, remote: SocketAddr, mark: Option<u32>) -> io::Result<Self> {
        let socket = open(local, mark).map_err(io::Error::other)?;
        configure(&socket);
        socket.bind(&local.into())?;
        match socket.connect(&remote.into()) {
            Ok(()) => {}
            Err(error) if error.raw_os_error() == Some(libc::EINPROGRESS) => {}
            Err(error) => return Err(error),
        }
        Ok(Self { socket, local, remote })
    }

    /// Our end.
    #[must_use]
    pub fn local(&self) -> SocketAddr {
        self.local
    }

    /// The peer's end.
    #[must_use]
    pub fn remote(&self) -> SocketAddr {
        self.remote
    }

    /// What has gone wrong since the last call, if anything has.
    ///
    /// # Errors
    ///
    /// None in practice.
    pub fn take_error(&self) -> io::Result<Option<io::Error>> {
        self.socket.take_error()
    }

    /// Reads what there is into `room`: `None` if nothing waits, 0 at the end of the stream.
    ///
    /// # Errors
    ///
    /// What read answers beyond that, such as `ConnectionReset`.
    pub fn read(&self, room: &mut [u8]) -> io::Result<Option<usize>> {
        match (&self.socket).read(room) {
            Ok(octets) => Ok(Some(octets)),
            Err(error) if is_passing(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Writes the parts, or as much of them as there is room for; how many octets that was.
    ///
    /// # Errors
    ///
    /// What write answers beyond a lack of room, such as `BrokenPipe`.
    pub fn write(&self, parts: &[&[u8]; 2]) -> io::Result<usize> {
        let parts = parts.map(IoSlice::new);
        match (&self.socket).write_vectored(&parts) {
            Ok(octets) => Ok(octets),
            Err(error) if is_passing(&error) => Ok(0),
            Err(error) => Err(error),
        }
    }
}

impl AsFd for TcpStream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn open(local: SocketAddr, mark: Option<u32>) -> Result<Socket, SysError> {
    let kind = Type::STREAM.nonblocking().cloexec();
    let socket = Socket::new(Domain::for_address(local), kind, Some(Protocol::TCP))
        .map_err(|error| SysError::of("open TCP socket", error))?;
    if let Some(mark) = mark {
        socket.set_mark(mark).map_err(|error| SysError::of("mark socket", error))?;
    }
    Ok(socket)
}

/// What makes a connection better and is no reason to have none.
fn configure(socket: &Socket) {
    let unacknowledged = i32::try_from(UNACKNOWLEDGED_MAX.as_millis()).unwrap_or(i32::MAX);
    let set =
        socket.set_tcp_nodelay(true).and_then(|()| socket.set_keepalive(true)).and_then(|()| {
            let (level, name) = (libc::IPPROTO_TCP, libc::TCP_USER_TIMEOUT);
            socket_option::set(socket, level, name, unacknowledged)
        });
    if let Err(error) = set {
        tracing::debug!(%error, "a TCP connection stays as the kernel makes it");
    }
}

fn is_passing(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, Interrupted, WouldBlock};
    matches!(error.kind(), WouldBlock | Interrupted | ConnectionAborted)
}

fn bind_error(local: SocketAddr, error: io::Error) -> SysError {
    match error.raw_os_error() {
        Some(libc::EADDRINUSE) => {
            SysError::AddressInUse { address: local.ip(), port: local.port() }
        }
        Some(libc::EADDRNOTAVAIL) => SysError::AddressMissing { address: local.ip() },
        _ => SysError::of("listen for TCP", error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wake::{Interest, wait_for};

    const WAIT: Option<Duration> = Some(Duration::from_secs(10));

    fn any() -> SocketAddr {
        "127.0.0.1:0".parse().unwrap()
    }

    /// A port that was free a moment ago.
    fn free_port() -> SocketAddr {
        TcpListener::bind(any(), None).unwrap().local()
    }

    #[test]
    fn both_ends_know_both_addresses() {
        let listener = TcpListener::bind(any(), None).unwrap();
        assert!(listener.accept().unwrap().is_none());
        let from = free_port();
        let client = TcpStream::connect(from, listener.local(), None).unwrap();
        assert!(wait_for(&listener, Interest::Readable, WAIT).unwrap());
        let server = listener.accept().unwrap().unwrap();
        assert_eq!((server.local(), server.remote()), (listener.local(), from));
        assert_eq!((client.local(), client.remote()), (from, listener.local()));
        assert!(client.take_error().unwrap().is_none());

        assert_eq!(client.write(&[b"one ", b"two"]).unwrap(), 7);
        assert!(wait_for(&server, Interest::Readable, WAIT).unwrap());
        let mut room = [0; 16];
        assert_eq!(server.read(&mut room).unwrap(), Some(7));
        assert_eq!(&room[..7], b"one two");
        assert_eq!(server.read(&mut room).unwrap(), None);
        drop(client);
        assert!(wait_for(&server, Interest::Readable, WAIT).unwrap());
        assert_eq!(server.read(&mut room).unwrap(), Some(0));
    }

    #[test]
    fn a_refused_connection_says_so() {
        let (from, nobody) = (free_port(), free_port());
        let refused = match TcpStream::connect(from, nobody, None) {
            Ok(client) => {
                assert!(wait_for(&client, Interest::Writable, WAIT).unwrap());
                client.take_error().unwrap().unwrap()
            }
            Err(error) => error,
        };
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
    }

    #[test]
    fn a_port_is_taken_once() {
        let first = TcpListener::bind(any(), None).unwrap();
        let second = TcpListener::bind(first.local(), None).unwrap_err();
        assert!(matches!(second, SysError::AddressInUse { .. }), "{second}");
    }

    /// Who does not read makes the writer stop, not wait.
    #[test]
    fn a_full_connection_takes_no_more() {
        let listener = TcpListener::bind(any(), None).unwrap();
        let client = TcpStream::connect(free_port(), listener.local(), None).unwrap();
        assert!(wait_for(&listener, Interest::Readable, WAIT).unwrap());
        let _server = listener.accept().unwrap().unwrap();
        let octets = vec![7; 1 << 16];
        let written = (0..4_096).take_while(|_| client.write(&[&octets, &[]]).unwrap() > 0);
        assert!(written.count() < 4_096);
    }
}
