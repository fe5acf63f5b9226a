//! One question to a peer's UDP port and its answer, sent as our own outer packets are.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use nix::libc;

use crate::error::SysError;
use crate::route::MARK;
use crate::socket_option;

/// Sends `question` and returns the first answer from the very same address and port, at most
/// 65,535 octets; `None` if none came within `patience`. It is sent `tries` times, evenly spread.
///
/// The datagram carries our mark, so that it goes past our own routes into the TUN, as IKE and ESP
/// do; it may be cut on the way. Must be called in the namespace it shall leave from.
///
/// # Errors
///
/// [`SysError::NotPermitted`] without CAP_NET_ADMIN, [`SysError::Io`] when nothing can be sent or
/// ICMP says that nobody listens (`ConnectionRefused`).
pub fn ask(
    peer: SocketAddr,
    question: &[u8],
    tries: u32,
    patience: Duration,
) -> Result<Option<Vec<u8>>, SysError> {
    let any: IpAddr = match peer {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let failed = |error: io::Error| SysError::of("ask a peer", error);
    let socket = UdpSocket::bind(SocketAddr::new(any, 0)).map_err(failed)?;
    let mark = libc::c_int::try_from(MARK).unwrap_or_default();
    socket_option::set(&socket, libc::SOL_SOCKET, libc::SO_MARK, mark).map_err(failed)?;
    let (level, name) = match peer {
        SocketAddr::V4(_) => (libc::IPPROTO_IP, libc::IP_MTU_DISCOVER),
        SocketAddr::V6(_) => (libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER),
    };
    socket_option::set(&socket, level, name, libc::IP_PMTUDISC_DONT).map_err(failed)?;
    // Only this peer's datagrams come in, and its ICMP errors.
    socket.connect(peer).map_err(failed)?;
    let mut buffer = vec![0; ANSWER_OCTETS_MAX];
    let each = patience / tries.max(1);
    for _ in 0..tries.max(1) {
        socket.send(question).map_err(failed)?;
        socket.set_read_timeout(Some(each.max(PATIENCE_MIN))).map_err(failed)?;
        match socket.recv(&mut buffer) {
            Ok(length) => {
                buffer.truncate(length);
                return Ok(Some(buffer));
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(failed(error)),
        }
    }
    Ok(None)
}

/// A timeout of nothing would be none at all.
const PATIENCE_MIN: Duration = Duration::from_millis(1);
const ANSWER_OCTETS_MAX: usize = 65_535;

#[cfg(test)]
mod tests {
    use super::*;

    /// The mark needs a privilege; without it the answer says so.
    #[test]
    fn silence_is_no_error_and_an_answer_is_returned() {
        let peer = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = peer.local_addr().unwrap();
        let patience = Duration::from_millis(20);
        match ask(address, b"anybody?", 2, patience) {
            Ok(answer) => assert_eq!(answer, None),
            Err(error) => return assert!(matches!(error, SysError::NotPermitted { .. })),
        }
        let answer = std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut buffer = [0; 64];
                // What the first question has left comes before the second one.
                loop {
                    let (length, from) = peer.recv_from(&mut buffer).unwrap();
                    peer.send_to(b"yes", from).unwrap();
                    if buffer.get(..length) == Some(b"really?") {
                        return;
                    }
                }
            });
            ask(address, b"really?", 1, Duration::from_secs(5)).unwrap()
        });
        assert_eq!(answer.as_deref(), Some(&b"yes"[..]));
    }
}
