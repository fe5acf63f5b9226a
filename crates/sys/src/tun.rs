//! The TUN interface: IP packets between the kernel and the data plane.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::Duration;

use adit_wire::PacketBuf;
use ipnet::IpNet;
use nix::libc;
use tun_rs::{DeviceBuilder, SyncDevice};

use crate::batch::SendReport;
use crate::error::SysError;
use crate::netlink::Netlink;
use crate::netns::write_sysctl;
use crate::wake::{Interest, wait_for};

/// What to make.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct TunConfig {
    /// Interface name, at most 15 octets.
    pub name: String,
    /// Largest inner IP packet, octets.
    pub mtu: u16,
    /// Addresses of the interface; none is usual, as routes bring their source address.
    pub addresses: Vec<IpNet>,
}

/// A TUN interface; it goes away with its last clone. Never blocks.
#[derive(Clone)]
pub struct Tun {
    device: Arc<SyncDevice>,
    name: String,
    index: u32,
}

impl Tun {
    /// Makes the interface in the namespace of the calling thread and switches it on.
    ///
    /// # Errors
    ///
    /// - [`SysError::NoTun`] (E503): the kernel has no TUN driver or the device file is missing.
    /// - [`SysError::NotPermitted`] (E504) without CAP_NET_ADMIN.
    /// - [`SysError::InterfaceExists`]: another program holds an interface of that name.
    /// - [`SysError::Io`].
    pub fn create(config: &TunConfig) -> Result<Self, SysError> {
        let device = DeviceBuilder::new()
            .name(config.name.clone())
            .mtu(config.mtu)
            .enable(false)
            .build_sync()
            .map_err(|error| create_error(&config.name, error))?;
        device.set_nonblocking(true).map_err(|error| SysError::of("configure TUN", error))?;
        let mut netlink = Netlink::open()?;
        let index = netlink.link_by_name(&config.name)?.index;
        // Router solicitations of an automatic link-local address have no place in a tunnel.
        let setting = format!("net/ipv6/conf/{}/addr_gen_mode", config.name);
        if let Err(error) = write_sysctl(&setting, "1") {
            tracing::debug!(%error, "TUN keeps its link-local address");
        }
        netlink.set_up(index, true)?;
        for network in &config.addresses {
            netlink.add_address(index, *network)?;
        }
        if !config.addresses.is_empty() && !netlink.wait_until_ready(index, READY_PATIENCE)? {
            tracing::debug!("the addresses of the TUN are not ready yet");
        }
        Ok(Self { device: Arc::new(device), name: config.name.clone(), index })
    }

    /// Interface name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Interface number.
    #[must_use]
    pub fn index(&self) -> u32 {
        self.index
    }

    /// Changes the size of the largest inner packet, octets. Call it in the interface's namespace.
    ///
    /// # Errors
    ///
    /// [`SysError::Io`] (EINVAL) below 68 octets.
    pub fn set_mtu(&self, mtu: u16) -> Result<(), SysError> {
        self.device.set_mtu(mtu).map_err(|error| SysError::of("set MTU of TUN", error))
    }

    /// Reads packets into the front of `packets`, each `headroom` octets into its buffer; returns
    /// how many, zero if nothing waits. `meta` is reset.
    ///
    /// A packet larger than its buffer is cut by the kernel: give buffers of at least the MTU.
    ///
    /// # Errors
    ///
    /// What reading answers, for example EIO after the interface was deleted.
    pub fn recv_batch(&self, headroom: usize, packets: &mut [PacketBuf]) -> io::Result<usize> {
        let mut got = 0;
        for packet in packets {
            packet.reset(headroom);
            match self.device.recv(packet.spare_mut()) {
                Ok(length) => packet.set_len(length),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => break,
                // Packets already read must not be lost: the error comes again next time.
                Err(error) if got == 0 => return Err(error),
                Err(_) => break,
            }
            got += 1;
        }
        Ok(got)
    }

    /// Writes each packet, which begins with its IP header.
    pub fn send_batch<'a>(&self, packets: impl IntoIterator<Item = &'a PacketBuf>) -> SendReport {
        let mut report = SendReport::default();
        for packet in packets {
            if report.unsent > 0 {
                report.unsent += 1;
                continue;
            }
            match self.device.send(packet.data()) {
                Ok(_) => report.sent += 1,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => report.unsent = 1,
                Err(error) => report.note(error.raw_os_error().unwrap_or(libc::EIO)),
            }
        }
        report
    }

    /// Waits until a packet can be written; `false` if `timeout` passed first.
    ///
    /// # Errors
    ///
    /// What poll answers.
    pub fn wait_writable(&self, timeout: Duration) -> io::Result<bool> {
        wait_for(self, Interest::Writable, Some(timeout))
    }
}

impl AsFd for Tun {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.device.as_fd()
    }
}

impl std::fmt::Debug for Tun {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tun").field("name", &self.name).field("index", &self.index).finish()
    }
}

/// How long a new interface may take until packets to its addresses are delivered.
const READY_PATIENCE: Duration = Duration::from_secs(1);

fn create_error(name: &str, error: io::Error) -> SysError {
    match error.raw_os_error() {
        // ENOTTY: something else lies at the path of the device.
        Some(libc::ENOENT | libc::ENODEV | libc::ENXIO | libc::ENOTTY) => {
            SysError::NoTun { source: error }
        }
        // EBUSY: a TUN of that name is held; EINVAL: the name belongs to another kind of device.
        Some(libc::EBUSY | libc::EINVAL) => SysError::InterfaceExists { name: name.to_owned() },
        _ => SysError::of("make TUN", error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_driver_and_missing_rights_have_their_codes() {
        let code = |errno| create_error("adit0", io::Error::from_raw_os_error(errno)).code();
        for missing in [libc::ENOENT, libc::ENODEV, libc::ENXIO, libc::ENOTTY] {
            assert_eq!(code(missing), Some("E503"));
        }
        assert_eq!(code(libc::EPERM), Some("E504"));
        assert_eq!(code(libc::EACCES), Some("E504"));
        assert_eq!(code(libc::EBUSY), None);
    }
}
