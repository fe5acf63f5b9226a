//! Packets that the packet filter has dropped and tells of, by the kernel's log for programs (NFLOG).

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use netlink_sys::{Socket, protocols::NETLINK_NETFILTER};

use crate::error::SysError;

/// What a [`filter`](crate::filter) tells of: at most ten packets a second, and the beginning of each.
#[derive(Debug)]
pub struct FilterLog {
    socket: Socket,
    buffer: Box<[u8]>,
}

impl FilterLog {
    /// Has what filters of the calling thread's namespace tell from now on come here.
    ///
    /// # Errors
    ///
    /// [`SysError::Io`]: the kernel has no such log (EPROTONOSUPPORT, ECONNREFUSED), or another program has
    /// the number (EBUSY).
    pub fn open() -> Result<Self, SysError> {
        let failed = |error| SysError::of("read what the packet filter drops", error);
        Self::open_group().map_err(failed)
    }

    fn open_group() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_NETFILTER)?;
        socket.bind_auto()?;
        let log = Self { socket, buffer: vec![0; BUFFER_OCTETS].into_boxed_slice() };
        let [r0, r1, r2, r3] = u32::from(LOGGED_OCTETS).to_be_bytes();
        log.configure(CFG_CMD, &[CMD_BIND])?;
        log.configure(CFG_MODE, &[r0, r1, r2, r3, COPY_PACKET, 0])?;
        log.socket.set_non_blocking(true)?;
        Ok(log)
    }

    /// Sends one attribute of the settings, and waits for what the kernel says to it.
    fn configure(&self, attribute: u16, value: &[u8]) -> io::Result<()> {
        let len = value.len().saturating_add(4);
        let total = HEADERS.saturating_add(len.next_multiple_of(4));
        let mut request = Vec::with_capacity(total);
        request.extend(u32::try_from(total).unwrap_or(0).to_ne_bytes());
        request.extend(kind(MSG_CONFIG).to_ne_bytes());
        // NLM_F_REQUEST and NLM_F_ACK, no number, the kernel chooses the port.
        request.extend(5_u16.to_ne_bytes());
        request.extend([0; 8]);
        // AF_UNSPEC, version 0.
        request.extend([0, 0]);
        request.extend(LOG_GROUP.to_be_bytes());
        request.extend(u16::try_from(len).unwrap_or(0).to_ne_bytes());
        request.extend(attribute.to_ne_bytes());
        request.extend(value);
        request.resize(total, 0);
        self.socket.send(&request, 0)?;
        let mut answer = vec![0; BUFFER_OCTETS];
        for _ in 0..DATAGRAMS_MAX {
            let length = self.socket.recv(&mut &mut answer[..], 0)?;
            match answer.get(..length).and_then(error_in) {
                Some(0) => return Ok(()),
                Some(code) => return Err(io::Error::from_raw_os_error(code.saturating_neg())),
                // A filter may be there already, and tell of packets.
                None => {}
            }
        }
        Err(io::ErrorKind::InvalidData.into())
    }

    /// Hands on the beginning of each packet that was dropped since the last call, from its IP header on,
    /// at most [`LOGGED_OCTETS`] of it. Never waits.
    pub fn poll(&mut self, mut each: impl FnMut(&[u8])) {
        for _ in 0..DATAGRAMS_MAX {
            let Ok(length) = self.socket.recv(&mut &mut self.buffer[..], 0) else { return };
            let mut rest = self.buffer.get(..length).unwrap_or_default();
            while let Some((message, behind)) = message(rest) {
                packet_in(message).into_iter().for_each(&mut each);
                rest = behind;
            }
        }
    }
}

impl AsFd for FilterLog {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// The number of a message of this subsystem.
const fn kind(message: u16) -> u16 {
    SUBSYSTEM << 8 | message
}

/// The number in an NLMSG_ERROR (2), which also says that all is well.
fn error_in(message: &[u8]) -> Option<i32> {
    let is_one = message.get(4..6)? == 2_u16.to_ne_bytes();
    let code = message.get(16..)?.first_chunk().copied().map(i32::from_ne_bytes)?;
    is_one.then_some(code)
}

/// The first of several messages, and what is behind it.
fn message(octets: &[u8]) -> Option<(&[u8], &[u8])> {
    let len = usize::try_from(u32::from_ne_bytes(*octets.first_chunk()?)).ok()?;
    let message = octets.get(..len).filter(|message| message.len() >= 16)?;
    Some((message, octets.get(len.next_multiple_of(4)..).unwrap_or_default()))
}

/// The packet that a message tells of.
fn packet_in(message: &[u8]) -> Option<&[u8]> {
    if *message.get(4..)?.first_chunk()? != kind(MSG_PACKET).to_ne_bytes() {
        return None;
    }
    let mut rest = message.get(HEADERS..)?;
    loop {
        let [l0, l1, k0, k1] = *rest.first_chunk()?;
        let len = usize::from(u16::from_ne_bytes([l0, l1]));
        let value = rest.get(4..len)?;
        // The top bits are flags.
        if u16::from_ne_bytes([k0, k1]) & 0x3fff == PAYLOAD {
            return Some(value);
        }
        rest = rest.get(len.next_multiple_of(4)..)?;
    }
}

/// Which log our filters write to.
pub(crate) const LOG_GROUP: u16 = 4_500;
/// Octets of each packet that are told: headers with all options, and more than RFC 2521 quotes.
pub const LOGGED_OCTETS: u16 = 128;

/// The netlink header, and that of netfilter.
const HEADERS: usize = 16 + 4;
/// NFNL_SUBSYS_ULOG.
const SUBSYSTEM: u16 = 4;
/// NFULNL_MSG_PACKET, NFULNL_MSG_CONFIG.
const MSG_PACKET: u16 = 0;
const MSG_CONFIG: u16 = 1;
/// NFULA_CFG_CMD with NFULNL_CFG_CMD_BIND, NFULA_CFG_MODE with NFULNL_COPY_PACKET.
const CFG_CMD: u16 = 1;
const CMD_BIND: u8 = 1;
const CFG_MODE: u16 = 2;
const COPY_PACKET: u8 = 2;
/// NFULA_PAYLOAD.
const PAYLOAD: u16 = 9;
const BUFFER_OCTETS: usize = 65_536;
/// Datagrams read in one go.
const DATAGRAMS_MAX: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    /// A message with a mark (5) before the packet.
    fn told(packet: &[u8]) -> Vec<u8> {
        let mut octets = vec![0; HEADERS];
        octets[4..6].copy_from_slice(&kind(MSG_PACKET).to_ne_bytes());
        octets.extend(8_u16.to_ne_bytes());
        octets.extend(5_u16.to_ne_bytes());
        octets.extend([1, 2, 3, 4]);
        let len = u16::try_from(4 + packet.len()).unwrap();
        octets.extend(len.to_ne_bytes());
        octets.extend(PAYLOAD.to_ne_bytes());
        octets.extend(packet);
        octets.resize(octets.len().next_multiple_of(4), 0);
        let len = u32::try_from(octets.len()).unwrap();
        octets[..4].copy_from_slice(&len.to_ne_bytes());
        octets
    }

    #[test]
    fn packets_are_found_in_messages() {
        let both = [told(&[0x45, 1, 2]), told(&[0x45; 28])].concat();
        let (first, behind) = message(&both).unwrap();
        let (second, none) = message(behind).unwrap();
        assert_eq!(packet_in(first), Some(&[0x45, 1, 2][..]));
        assert_eq!((packet_in(second), none), (Some(&[0x45; 28][..]), &[][..]));
        assert!(message(none).is_none());
    }

    /// Cut anywhere, and with lengths that lead nowhere: no panic, no packet, no end that never comes.
    #[test]
    fn broken_messages_are_no_packets() {
        let whole = told(&[0x45; 28]);
        for len in 0..whole.len() {
            assert_eq!(packet_in(&whole[..len]), None, "{len}");
            assert!(message(&whole[..len]).is_none());
        }
        for len in 0..4 {
            let mut octets = whole.clone();
            octets[HEADERS..HEADERS + 2].copy_from_slice(&u16::to_ne_bytes(len));
            assert_eq!(packet_in(&octets), None, "{len}");
        }
    }
}
