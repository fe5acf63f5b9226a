//! A UDP socket for one peer beside the socket for all: connected, it looks up no route for each
//! message, and the kernel gives it what this peer sends from this address and port to ours.
//!
//! None of that is lost, and nothing of others:
//!
//! - before it is connected, a program in the kernel keeps the socket from being chosen
//!   ([`UdpSocket::admit_connected`]). Bound to an address of its own, because the route to the peer
//!   would choose another, it gets what others send there for a moment; whoever reads it finds with each
//!   datagram who sent it, as with any.
//! - before it is closed it is turned away from the peer ([`ConnectedSocket::turn_away`]), and what had
//!   come by then is read.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd};

use adit_db::InboundThreads;
use adit_wire::PacketBuf;
use socket2::{Domain, Protocol, Socket, Type};

use super::{SocketOptions, UdpSocket, send_batch, share};
use crate::batch::{BatchIo, SendReport, Target};
use crate::error::SysError;
use crate::steering::choose_by_spi;

/// A socket of one peer; see [`UdpSocket::beside`].
#[derive(Debug)]
pub struct ConnectedSocket {
    socket: UdpSocket,
    local: IpAddr,
    remote: SocketAddr,
}

impl UdpSocket {
    /// Prepares the port for sockets [`beside`](Self::beside) this one. A port that several threads
    /// share by SPI is not for them: what a peer sends would come to one thread.
    ///
    /// # Errors
    ///
    /// [`SysError::Io`] where the kernel does not share ports by a program.
    pub fn admit_connected(&self, options: &SocketOptions) -> Result<(), SysError> {
        // A group exists from its second socket on, and stays when that one goes. What goes astray in
        // between is sent again: nobody knows the port yet.
        let second = self.bind_another(options)?;
        choose_by_spi(self.as_fd(), InboundThreads::ONE, false)
            .map_err(|error| SysError::of("keep a UDP port to its first socket", error))?;
        drop(second);
        Ok(())
    }

    /// Binds the port of this socket once more, for datagrams between `local`, an address of this host,
    /// and `remote`. It is not connected yet: hand it to whoever reads it before.
    ///
    /// # Errors
    ///
    /// - [`SysError::AddressMissing`]: `local` is not ours.
    /// - [`SysError::Io`]: no way to `remote`, or too many open files.
    pub fn beside(
        &self,
        local: IpAddr,
        remote: SocketAddr,
        options: &SocketOptions,
    ) -> Result<ConnectedSocket, SysError> {
        // Bound to all addresses, it will get that which the route chooses.
        let chosen = chosen_source(remote, options)
            .map_err(|error| SysError::of("look for the way to a peer", error))?;
        let any = self.local;
        let bound = if chosen == local { any } else { SocketAddr::new(local, any.port()) };
        let socket = Self::open(bound, options, share)?;
        Ok(ConnectedSocket { socket: Self { local: any, ..socket }, local, remote })
    }
}

/// The source that the kernel gives to packets for `remote`.
fn chosen_source(remote: SocketAddr, options: &SocketOptions) -> io::Result<IpAddr> {
    let domain = Domain::for_address(remote);
    let socket = Socket::new(domain, Type::DGRAM.nonblocking(), Some(Protocol::UDP))?;
    if let Some(mark) = options.mark {
        socket.set_mark(mark)?;
    }
    socket.connect(&remote.into())?;
    source_of(&socket)
}

fn source_of(socket: &Socket) -> io::Result<IpAddr> {
    let local = socket.local_addr()?.as_socket();
    local.map(|local| local.ip()).ok_or_else(|| io::ErrorKind::AddrNotAvailable.into())
}

impl ConnectedSocket {
    /// Connects it: from now on what the peer sends comes here, and [`Self::send_batch`] sends.
    ///
    /// # Errors
    ///
    /// [`SysError::Io`]: there is no way to the peer; [`SysError::AddressMissing`]: the way has another
    /// source by now.
    pub fn connect(&self) -> Result<(), SysError> {
        let failed = |error| SysError::of("connect a UDP socket", error);
        let socket = &self.socket.socket;
        socket.connect(&self.remote.into()).map_err(failed)?;
        if source_of(socket).map_err(failed)? != self.local {
            return Err(SysError::AddressMissing { address: self.local });
        }
        Ok(())
    }

    /// The peer.
    #[must_use]
    pub fn remote(&self) -> SocketAddr {
        self.remote
    }

    /// To receive with, and to learn of errors, as with the socket that this one was made beside.
    #[must_use]
    pub fn socket(&self) -> &UdpSocket {
        &self.socket
    }

    /// Another handle to the same socket, for another thread.
    ///
    /// # Errors
    ///
    /// [`SysError::Io`]: too many open files.
    pub fn try_clone(&self) -> Result<Self, SysError> {
        Ok(Self { socket: self.socket.try_clone()?, ..*self })
    }

    /// Sends each packet to the peer with `meta.tos`, whatever addresses `meta` has; otherwise as
    /// [`UdpSocket::send_batch`].
    pub fn send_batch<'a>(
        &self,
        io: &mut BatchIo,
        packets: impl IntoIterator<Item = &'a PacketBuf>,
    ) -> SendReport {
        let remote = self.remote;
        // Without control messages but the size of segments the kernel keeps the route that it has.
        let local: IpAddr = match remote {
            SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        send_batch(&self.socket, io, packets, |packet| Target {
            remote,
            local: Some(SocketAddr::new(local, 0)),
            tos: packet.meta.tos,
            dont_fragment: packet.meta.dont_fragment,
            connected: true,
        })
    }

    /// Has what the peer sends from now on come to the socket for all. What has come before waits here
    /// to be read.
    ///
    /// # Errors
    ///
    /// [`SysError::Io`].
    pub fn turn_away(&self) -> Result<(), SysError> {
        // Another peer: ourselves, who never send there. Disconnected, it would be for everybody.
        let ours = SocketAddr::new(self.local, self.socket.local.port());
        self.socket
            .socket
            .connect(&ours.into())
            .map_err(|error| SysError::of("turn a UDP socket away", error))
    }
}

impl AsFd for ConnectedSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
