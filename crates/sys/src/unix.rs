//! The control socket: a Unix listener only its owner can reach.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use nix::sys::socket::{getsockopt, sockopt};
use nix::sys::stat::{Mode, fchmod};
use socket2::{Domain, SockAddr, Socket, Type};

use crate::error::SysError;

/// Who is at the other end of a Unix stream, as the kernel saw it when it connected.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct PeerCredentials {
    /// Process.
    pub pid: i32,
    /// User.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

/// A listening Unix socket with mode 0600 whose file goes away with it.
#[derive(Debug)]
pub struct ControlListener {
    listener: UnixListener,
    path: PathBuf,
    inode: u64,
}

impl ControlListener {
    /// Listens at `path`, replacing a socket file that no program answers on any more.
    ///
    /// The file never exists with a wider mode than 0600. Accepting does not block.
    ///
    /// # Errors
    ///
    /// - [`SysError::SocketInUse`]: somebody answers there, or the file is no socket.
    /// - [`SysError::NotPermitted`], [`SysError::Io`]: the directory cannot be written or is missing.
    pub fn bind(path: &Path) -> Result<Self, SysError> {
        let listener = match Self::listen(path) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                remove_stale(path)?;
                Self::listen(path)
            }
            result => result,
        };
        let listener = listener.map_err(|error| SysError::of("bind control socket", error))?;
        let inode = std::fs::symlink_metadata(path).map_or(0, |metadata| metadata.ino());
        Ok(Self { listener, path: path.to_owned(), inode })
    }

    /// The next waiting client and who it is; `None` if nobody waits. The stream blocks.
    ///
    /// # Errors
    ///
    /// What `accept` answers, for example too many open files.
    pub fn accept(&self) -> io::Result<Option<(UnixStream, PeerCredentials)>> {
        let stream = match self.listener.accept() {
            Ok((stream, _)) => stream,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
            Err(error) => return Err(error),
        };
        stream.set_nonblocking(false)?;
        let peer = peer_credentials(&stream)?;
        Ok(Some((stream, peer)))
    }

    /// Where it listens.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn listen(path: &Path) -> io::Result<UnixListener> {
        let socket = Socket::new(Domain::UNIX, Type::STREAM.nonblocking().cloexec(), None)?;
        // Linux gives the file the mode of the unbound socket, so it is never open to others.
        fchmod(&socket, Mode::S_IRUSR | Mode::S_IWUSR)?;
        socket.bind(&SockAddr::unix(path)?)?;
        socket.listen(BACKLOG)?;
        Ok(socket.into())
    }
}

impl AsFd for ControlListener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.listener.as_fd()
    }
}

impl Drop for ControlListener {
    fn drop(&mut self) {
        // A successor may have replaced the file: only ours is removed.
        let ours = std::fs::symlink_metadata(&self.path).is_ok_and(|m| m.ino() == self.inode);
        if ours && let Err(error) = std::fs::remove_file(&self.path) {
            tracing::debug!(%error, path = %self.path.display(), "socket file stays");
        }
    }
}

/// Who is at the other end of `stream`.
///
/// # Errors
///
/// What SO_PEERCRED answers.
pub fn peer_credentials(stream: &UnixStream) -> io::Result<PeerCredentials> {
    let peer = getsockopt(stream, sockopt::PeerCredentials)?;
    Ok(PeerCredentials { pid: peer.pid(), uid: peer.uid(), gid: peer.gid() })
}

fn remove_stale(path: &Path) -> Result<(), SysError> {
    let in_use = || SysError::SocketInUse { path: path.to_owned() };
    let metadata = std::fs::symlink_metadata(path)
        .map_err(|error| SysError::of("look at control socket", error))?;
    if !metadata.file_type().is_socket() {
        return Err(in_use());
    }
    match UnixStream::connect(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            std::fs::remove_file(path)
                .map_err(|error| SysError::of("remove stale control socket", error))
        }
        Ok(_) | Err(_) => Err(in_use()),
    }
}

/// Clients that may wait for `accept`.
const BACKLOG: i32 = 64;

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn path(name: &str) -> PathBuf {
        std::env::temp_dir().join(format!("adit-unix-{}-{name}", std::process::id()))
    }

    #[test]
    fn only_the_owner_may_connect_and_is_known() {
        let path = path("mode");
        let listener = ControlListener::bind(&path).unwrap();
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);

        let _client = UnixStream::connect(&path).unwrap();
        let (_, peer) = listener.accept().unwrap().unwrap();
        assert_eq!(peer.pid, i32::try_from(std::process::id()).unwrap());
        assert!(listener.accept().unwrap().is_none());

        drop(listener);
        assert!(!path.exists());
    }

    #[test]
    fn a_stale_socket_is_replaced_and_a_live_one_is_not() {
        let path = path("stale");
        drop(UnixListener::bind(&path).unwrap());
        assert!(path.exists());

        let listener = ControlListener::bind(&path).unwrap();
        let second = ControlListener::bind(&path).unwrap_err();

        assert!(matches!(second, SysError::SocketInUse { .. }), "{second}");
        drop(listener);
    }

    #[test]
    fn an_ordinary_file_is_never_removed() {
        let path = path("file");
        std::fs::write(&path, "precious").unwrap();
        assert!(matches!(ControlListener::bind(&path), Err(SysError::SocketInUse { .. })));
        assert_eq!(std::fs::read(&path).unwrap(), b"precious");
        std::fs::remove_file(&path).unwrap();
    }
}
