//! NAT detection of IKEv2 (RFC 7296 §2.23).
//!
//! Each end sends hashes of the SPIs and of the addresses it believes in; the other compares them
//! with the addresses on the datagram it received.

use std::net::{IpAddr, SocketAddr};

use adit_crypto::{Rng, sha1};
use adit_wire::iana::NotifyType;
use adit_wire::ikev2::{IkeSpi, Notify};

use crate::command::Path;

/// Octets of a NAT_DETECTION notify: one SHA-1 digest.
pub(crate) const HASH_OCTETS: usize = 20;

/// What both ends' hashes say about the path.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Verdict {
    /// The peer sent the notifies at all; without them there is no NAT traversal (RFC 7296 §2.23).
    pub(crate) supported: bool,
    /// Our address changed on the way: we send keepalives and float to port 4500.
    pub(crate) we_are_behind_nat: bool,
    /// The peer's address changed on the way, or it pretends so to force encapsulation.
    pub(crate) peer_is_behind_nat: bool,
}

impl Verdict {
    /// Whether IKE moves to port 4500 and ESP travels in UDP.
    pub(crate) fn needs_udp(self) -> bool {
        self.we_are_behind_nat || self.peer_is_behind_nat
    }
}

/// `SHA-1(SPIi | SPIr | address | port)` (RFC 7296 §2.23). In an IKE_SA_INIT request the
/// responder's SPI is zero.
pub(crate) fn detection_hash(
    spi_i: IkeSpi,
    spi_r: IkeSpi,
    address: SocketAddr,
) -> [u8; HASH_OCTETS] {
    let port = address.port().to_be_bytes();
    match address.ip().to_canonical() {
        IpAddr::V4(ip) => sha1(&[&spi_i.0, &spi_r.0, &ip.octets(), &port]),
        IpAddr::V6(ip) => sha1(&[&spi_i.0, &spi_r.0, &ip.octets(), &port]),
    }
}

/// The two hashes to send on `path`: NAT_DETECTION_SOURCE_IP and NAT_DETECTION_DESTINATION_IP.
///
/// With `force_udp` the first is random, so the peer sees a NAT in front of us and encapsulates
/// (RFC 7296 §2.23 allows UDP encapsulation without a NAT).
pub(crate) fn our_hashes(
    spi_i: IkeSpi,
    spi_r: IkeSpi,
    path: Path,
    force_udp: bool,
    rng: &mut dyn Rng,
) -> ([u8; HASH_OCTETS], [u8; HASH_OCTETS]) {
    let mut source = detection_hash(spi_i, spi_r, path.local);
    if force_udp {
        rng.fill(&mut source);
    }
    (source, detection_hash(spi_i, spi_r, path.remote))
}

/// Judges the peer's notifies against the addresses its datagram had: `path.remote` is where it
/// came from, `path.local` where it arrived. The SPIs are those of the message's header.
///
//= https://www.rfc-editor.org/rfc/rfc7296#section-2.23
//# There MAY be multiple NAT_DETECTION_SOURCE_IP payloads in a message if the
//# sender does not know which of several network attachments will be used to
//# send the packet.
pub(crate) fn verdict(
    spi_i: IkeSpi,
    spi_r: IkeSpi,
    path: Path,
    notifies: &[Notify<'_>],
) -> Verdict {
    let source = Seen::among(
        notifies,
        NotifyType::NAT_DETECTION_SOURCE_IP,
        &detection_hash(spi_i, spi_r, path.remote),
    );
    let destination = Seen::among(
        notifies,
        NotifyType::NAT_DETECTION_DESTINATION_IP,
        &detection_hash(spi_i, spi_r, path.local),
    );
    let supported = source != Seen::Absent && destination != Seen::Absent;
    Verdict {
        supported,
        we_are_behind_nat: supported && destination == Seen::Differs,
        peer_is_behind_nat: supported && source == Seen::Differs,
    }
}

/// How the notifies of one kind compare with the expected hash.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Seen {
    Absent,
    Equal,
    Differs,
}

impl Seen {
    fn among(notifies: &[Notify<'_>], kind: NotifyType, expected: &[u8; HASH_OCTETS]) -> Self {
        let mut seen = Self::Absent;
        for notify in notifies.iter().filter(|notify| notify.kind == kind) {
            if notify.data == expected {
                return Self::Equal;
            }
            seen = Self::Differs;
        }
        seen
    }
}

#[cfg(test)]
mod tests;
