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

    /// Sends an IKE message.
    pub(crate) fn transmit(&self, path: Path, octets: &[u8]) {
        let marker: &[u8] = if self.is_nat(path) { &NON_ESP_MARKER } else { &[] };
        self.send(path, marker, octets);
    }

    /// Keeps a NAT's mapping alive (RFC 3948 §2.3).
    pub(crate) fn keep_alive(&self, path: Path) {
        self.send(path, &[], &[KEEPALIVE]);
    }

    fn is_nat(&self, path: Path) -> bool {
        path.local.port() == self.nat.port()
    }

    fn send(&self, path: Path, prefix: &[u8], octets: &[u8]) {
        let pair = if self.is_nat(path) { &self.nat } else { &self.ike };
        let socket = if path.remote.is_ipv4() { Some(pair.v4()) } else { pair.v6() };
        let Some(socket) = socket else {
            debug!("this host has no IPv6");
            return;
        };
        if let Err(error) = socket.send_to(path.local, path.remote, IKE_TOS, prefix, octets) {
            debug!(%error, local = %path.local, remote = %path.remote, "sending failed");
        }
    }
}

const KEEPALIVE: u8 = 0xff;
/// DSCP CS6, network control: IKE keeps working on a full link.
const IKE_TOS: u8 = 48 << 2;
