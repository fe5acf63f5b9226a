//! How IKE messages leave: ports 500 and 4500 (RFC 7296 §2.23), with the marker of RFC 3948 on
//! the second.

use adit_ike::Path;
use adit_sys::SysError;
use adit_sys::udp::DualUdpSocket;
use adit_wire::encap::udp::NON_ESP_MARKER;
use tracing::debug;

/// The two sockets.
pub(crate) struct IkeSockets {
    /// UDP 500, read by the ike role.
    pub(crate) ike: DualUdpSocket,
    /// UDP 4500, read by the inbound thread.
    pub(crate) nat: DualUdpSocket,
}

impl IkeSockets {
    /// Another handle to the same sockets.
    ///
    /// # Errors
    ///
    /// [`SysError::Io`]: too many open files.
    pub(crate) fn try_clone(&self) -> Result<Self, SysError> {
        Ok(Self { ike: self.ike.try_clone()?, nat: self.nat.try_clone()? })
    }

    /// Sends an IKE message; `inside` a tunnel, if the peer is behind one.
    pub(crate) fn transmit(&self, path: Path, octets: &[u8], inside: bool) {
        let marker: &[u8] = if self.is_nat(path) { &NON_ESP_MARKER } else { &[] };
        self.send(path, marker, octets, inside);
    }

    /// Keeps a NAT's mapping alive (RFC 3948 §2.3).
    pub(crate) fn keep_alive(&self, path: Path, inside: bool) {
        self.send(path, &[], &[KEEPALIVE], inside);
    }

    fn is_nat(&self, path: Path) -> bool {
        path.local.port() == self.nat.port()
    }

    fn send(&self, path: Path, prefix: &[u8], octets: &[u8], inside: bool) {
        let pair = if self.is_nat(path) { &self.nat } else { &self.ike };
        let socket = if path.remote.is_ipv4() { Some(pair.v4()) } else { pair.v6() };
        let Some(socket) = socket else {
            debug!("this host has no IPv6");
            return;
        };
        let Path { local, remote } = path;
        let sent = if inside {
            socket.send_unmarked(local, remote, IKE_TOS, prefix, octets)
        } else {
            socket.send_to(local, remote, IKE_TOS, prefix, octets)
        };
        if let Err(error) = sent {
            debug!(%error, %local, %remote, "sending failed");
        }
    }
}

const KEEPALIVE: u8 = 0xff;
/// DSCP CS6, network control: IKE keeps working on a full link.
const IKE_TOS: u8 = 48 << 2;
