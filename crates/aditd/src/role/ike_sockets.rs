//! How IKE messages leave: ports 500 and 4500 (RFC 7296 §2.23), with the marker of RFC 3948 on
//! the second.

use adit_ike::Path;
use adit_sys::udp::{DualUdpSocket, UdpSocket};
use adit_sys::{BatchIo, SysError};
use adit_wire::PacketBuf;
use adit_wire::encap::udp::NON_ESP_MARKER;
use tracing::debug;

use crate::role::tcp::{TcpLink, ToTcp};

/// A message for a peer.
pub(crate) struct Letter {
    pub(crate) path: Path,
    pub(crate) octets: Vec<u8>,
    /// Whether it goes through a tunnel.
    pub(crate) inside: bool,
}

/// The two sockets, and what there is beside them.
pub(crate) struct IkeSockets {
    /// UDP 500, read by the ike role.
    pub(crate) ike: DualUdpSocket,
    /// UDP 4500, read by the inbound thread.
    pub(crate) nat: DualUdpSocket,
    /// Who has the TCP connections.
    pub(crate) tcp: TcpLink,
}

impl IkeSockets {
    /// Another handle to the same sockets.
    ///
    /// # Errors
    ///
    /// [`SysError::Io`]: too many open files.
    pub(crate) fn try_clone(&self) -> Result<Self, SysError> {
        Ok(Self { ike: self.ike.try_clone()?, nat: self.nat.try_clone()?, tcp: self.tcp.clone() })
    }

    /// Sends an IKE message; `inside` a tunnel, if the peer is behind one.
    pub(crate) fn transmit(&self, path: Path, octets: &[u8], inside: bool) {
        if path.is_tcp() {
            return self.transmit_by_tcp(path, octets);
        }
        self.send(path, self.marker(path), octets, inside);
    }

    /// Sends letters, those of each socket in their order and with few system calls. They are written
    /// into `packets`, as many at a time as there are.
    pub(crate) fn transmit_all(
        &self,
        letters: &[Letter],
        packets: &mut [PacketBuf],
        io: &mut BatchIo,
    ) {
        for some in letters.chunks(packets.len().max(1)) {
            let mut written = 0;
            for letter in some {
                if letter.inside || letter.path.is_tcp() {
                    self.transmit(letter.path, &letter.octets, letter.inside);
                } else if let Some(packet) = packets.get_mut(written)
                    && self.write(letter, packet)
                {
                    written += 1;
                }
            }
            self.send_packets(packets.get(..written).unwrap_or_default(), io);
        }
    }

    fn transmit_by_tcp(&self, path: Path, octets: &[u8]) {
        if !self.tcp.tell(ToTcp::Message { path, octets: octets.to_vec() }) {
            debug!(remote = %path.remote, "a message is lost: the tcp role is busy");
        }
    }

    /// Closes a TCP connection when what was sent before has left.
    pub(crate) fn hang_up(&self, path: Path) {
        if !self.tcp.tell(ToTcp::HangUp(path)) {
            debug!(remote = %path.remote, "a TCP connection stays: the tcp role is busy");
        }
    }

    /// Makes a letter the packet that is sent; `false` if it is longer than any datagram.
    fn write(&self, letter: &Letter, packet: &mut PacketBuf) -> bool {
        let Letter { path, octets, .. } = letter;
        packet.reset(0);
        for part in [self.marker(*path), octets.as_slice()] {
            let Some(room) = packet.push_back(part.len()) else {
                debug!(octets = octets.len(), "a message is longer than any datagram");
                return false;
            };
            room.copy_from_slice(part);
        }
        let meta = &mut packet.meta;
        (meta.local, meta.remote, meta.tos) = (path.local, path.remote, IKE_TOS);
        true
    }

    fn send_packets(&self, packets: &[PacketBuf], io: &mut BatchIo) {
        for (is_nat, is_v4) in [(false, true), (false, false), (true, true), (true, false)] {
            let is_own = |packet: &&PacketBuf| {
                let path = Path::udp(packet.meta.local, packet.meta.remote);
                self.is_nat(path) == is_nat && path.remote.is_ipv4() == is_v4
            };
            let own = packets.iter().filter(is_own);
            let Some(socket) = half(if is_nat { &self.nat } else { &self.ike }, is_v4) else {
                if own.count() > 0 {
                    debug!("this host has no IPv6");
                }
                continue;
            };
            let report = socket.send_batch(io, own);
            let lost = report.unsent + report.too_big + report.failed;
            if lost > 0 {
                let error = std::io::Error::from_raw_os_error(report.errno);
                debug!(%error, lost, full = report.unsent, "sending failed");
            }
        }
    }

    /// Keeps a NAT's mapping alive (RFC 3948 §2.3).
    pub(crate) fn keep_alive(&self, path: Path, inside: bool) {
        self.send(path, &[], &[KEEPALIVE], inside);
    }

    fn is_nat(&self, path: Path) -> bool {
        path.local.port() == self.nat.port()
    }

    fn marker(&self, path: Path) -> &'static [u8] {
        if self.is_nat(path) { &NON_ESP_MARKER } else { &[] }
    }

    fn send(&self, path: Path, prefix: &[u8], octets: &[u8], inside: bool) {
        let pair = if self.is_nat(path) { &self.nat } else { &self.ike };
        let Some(socket) = half(pair, path.remote.is_ipv4()) else {
            debug!("this host has no IPv6");
            return;
        };
        let Path { local, remote, .. } = path;
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

/// The socket of a family.
fn half(pair: &DualUdpSocket, is_v4: bool) -> Option<&UdpSocket> {
    if is_v4 { Some(pair.v4()) } else { pair.v6() }
}

const KEEPALIVE: u8 = 0xff;
/// DSCP CS6, network control: IKE keeps working on a full link.
const IKE_TOS: u8 = 48 << 2;

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, SocketAddr};
    use std::sync::Arc;

    use adit_sys::udp::SocketOptions;
    use adit_sys::wake::{Interest, channel, wait_for};

    use super::*;

    fn sockets() -> IkeSockets {
        let options = SocketOptions { mark: None, ..SocketOptions::default() };
        let bind = || DualUdpSocket::bind(0, &options).unwrap();
        let (queue, _) = channel(1).unwrap();
        let tcp = TcpLink { queue, counters: Arc::default() };
        IkeSockets { ike: bind(), nat: bind(), tcp }
    }

    fn at(socket: &DualUdpSocket) -> SocketAddr {
        SocketAddr::new(Ipv4Addr::LOCALHOST.into(), socket.port())
    }

    fn buffers(count: usize) -> Vec<PacketBuf> {
        (0..count).map(|_| PacketBuf::with_capacity(0, 2_000)).collect()
    }

    /// So many datagrams as they arrive.
    fn received(socket: &UdpSocket, count: usize) -> Vec<Vec<u8>> {
        let (mut io, mut packets) = (BatchIo::new(0), buffers(4));
        let mut all = Vec::new();
        while all.len() < count {
            let wait = Some(std::time::Duration::from_secs(10));
            assert!(wait_for(socket, Interest::Readable, wait).unwrap(), "only {}", all.len());
            let got = socket.recv_batch(&mut io, &mut packets).unwrap();
            all.extend(packets[..got].iter().map(|packet| packet.data().to_vec()));
        }
        all
    }

    /// More letters than buffers, of all lengths, to both ports, each in its order.
    #[test]
    fn letters_of_a_burst_arrive_in_order() {
        let (ours, theirs) = (sockets(), sockets());
        let mut wanted = [Vec::new(), Vec::new()];
        let mut letters = Vec::new();
        for number in 0..41_u8 {
            let octets = vec![number; 100 + usize::from(number / 5) * 30];
            let is_nat = number % 3 == 0;
            let (local, remote) = match is_nat {
                true => (at(&ours.nat), at(&theirs.nat)),
                false => (at(&ours.ike), at(&theirs.ike)),
            };
            let marker: &[u8] = if is_nat { &NON_ESP_MARKER } else { &[] };
            wanted[usize::from(is_nat)].push([marker, &octets].concat());
            letters.push(Letter { path: Path::udp(local, remote), octets, inside: false });
        }
        ours.transmit_all(&letters, &mut buffers(7), &mut BatchIo::new(0));
        assert_eq!(received(theirs.ike.v4(), wanted[0].len()), wanted[0]);
        assert_eq!(received(theirs.nat.v4(), wanted[1].len()), wanted[1]);
    }

    /// What is too long, or has no way, keeps nothing else from leaving.
    #[test]
    fn a_letter_that_cannot_leave_is_left_out() {
        let (ours, theirs) = (sockets(), sockets());
        let path = Path::udp(at(&ours.ike), at(&theirs.ike));
        let letter = |octets| Letter { path, octets, inside: false };
        let nowhere = Path { remote: "[2001:db8::1]:500".parse().unwrap(), ..path };
        let letters = [
            letter(vec![1; 2_001]),
            Letter { path: nowhere, octets: vec![2; 40], inside: false },
            letter(vec![3; 40]),
        ];
        ours.transmit_all(&letters, &mut buffers(2), &mut BatchIo::new(0));
        assert_eq!(received(theirs.ike.v4(), 1), [vec![3; 40]]);
    }
}
