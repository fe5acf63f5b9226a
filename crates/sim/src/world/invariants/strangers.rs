//! Nobody whose address is not proven gets more octets than it sent.
//!
//! Who answers forged requests with more than they are is a weapon against whoever has the forged
//! address (RFC 7296 §2.6 has cookies so that a request costs little before).
//!
//! One who sees a message and is faster than it with its copy moves the IKE SA to another address: the
//! peer behind a NAT by any message (RFC 7296 §2.23), one with MOBIKE by that which says so (RFC 4555
//! §3.5), as no check covers the outer addresses. Proof needs a request to that address then, and so
//! the one in the window goes there, as often as it is sent again, and no more than that.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};

use adit_wire::ikev2::{Header, IkeSpi};

use crate::world::digest::digest_of;

use super::Broken;

/// What was sent to addresses that nobody of this world has, less what came from them.
#[derive(Debug, Default)]
pub(in crate::world) struct Strangers {
    came: HashMap<IpAddr, usize>,
    /// Messages that hosts have sent, and whether nobody has got them.
    sent: HashMap<u64, bool>,
    /// What an IKE SA that was moved may still send to its address.
    moved: HashMap<(IkeSpi, IkeSpi, IpAddr), usize>,
}

/// The longest request of a world, as often as it is sent.
const REQUEST_OCTETS: usize = 8 * 400;

impl Strangers {
    /// So many octets have come from a stranger, if its address is one of theirs and not forged.
    pub(in crate::world) fn asked(&mut self, from: IpAddr, octets: usize) {
        if is_strange(from) {
            *self.came.entry(from).or_default() += octets;
        }
    }

    /// A host has sent an IKE message. Only one whose address may change is followed.
    pub(in crate::world) fn sent(&mut self, message: &[u8], is_followed: bool) {
        if is_followed {
            self.sent.entry(digest_of(message)).or_insert(true);
        }
    }

    /// An IKE message has arrived from an address.
    pub(in crate::world) fn arrived(&mut self, from: IpAddr, header: &Header, message: &[u8]) {
        let is_first = self.sent.get_mut(&digest_of(message)).is_some_and(std::mem::take);
        if is_first && is_strange(from) {
            self.moved.insert((header.spi_i, header.spi_r, from), REQUEST_OCTETS);
        }
    }

    /// A host has sent octets to an address; those of nobody else are of no interest.
    pub(in crate::world) fn answered(
        &mut self,
        to: IpAddr,
        header: &Header,
        octets: usize,
    ) -> Option<Broken> {
        let left = self.came.get_mut(&to)?;
        if let Some(rest) = left.checked_sub(octets) {
            *left = rest;
            return None;
        }
        let moved = self.moved.get_mut(&(header.spi_i, header.spi_r, to));
        if let Some(allowed) = moved
            && let Some(rest) = allowed.checked_sub(octets)
        {
            *allowed = rest;
            return None;
        }
        let text = format!("{octets} octets to {to}, which may get {left}");
        Some(Broken::new("strangers", text))
    }
}

/// An address that no host of a world has.
pub(in crate::world) fn stranger(number: u16) -> IpAddr {
    let [high, low] = number.to_be_bytes();
    Ipv4Addr::new(100, 64, high, low).into()
}

fn is_strange(address: IpAddr) -> bool {
    matches!(address, IpAddr::V4(v4) if v4.octets().first() == Some(&100))
}

#[cfg(test)]
mod tests {
    use adit_wire::iana::{ExchangeType, PayloadType};
    use adit_wire::ikev2::{Flags, Version};

    use super::*;

    fn header(spi: u8) -> Header {
        Header {
            spi_i: IkeSpi([spi; 8]),
            spi_r: IkeSpi([9; 8]),
            next_payload: PayloadType::SK,
            version: Version::V2,
            exchange: ExchangeType::INFORMATIONAL,
            flags: Flags::INITIATOR,
            message_id: 3,
            length: 28,
        }
    }

    #[test]
    fn more_octets_than_came_are_seen() {
        let mut strangers = Strangers::default();
        let (stranger, other) = (stranger(1), "198.18.0.1".parse().unwrap());
        strangers.asked(other, 1);
        strangers.asked(stranger, 100);
        assert_eq!(strangers.answered(stranger, &header(1), 60), None);
        assert_eq!(strangers.answered(other, &header(1), 1_000), None);
        let broken = strangers.answered(stranger, &header(1), 41);
        assert_eq!(broken.unwrap().invariant, "strangers");
        assert_eq!(strangers.answered(stranger, &header(1), 40), None);
    }

    /// Only the first copy of a message moves an IKE SA, only that one, and for no more than a request.
    #[test]
    fn an_ike_sa_that_was_moved_sends_one_request() {
        let stranger = stranger(1);
        let mut strangers = Strangers::default();
        strangers.asked(stranger, 0);
        strangers.sent(b"had", true);
        strangers.arrived("198.18.1.1".parse().unwrap(), &header(1), b"had");
        strangers.sent(b"had", true);
        strangers.arrived(stranger, &header(1), b"had");
        assert!(strangers.answered(stranger, &header(1), 57).is_some());
        strangers.sent(b"of one that stays", false);
        strangers.arrived(stranger, &header(1), b"of one that stays");
        assert!(strangers.answered(stranger, &header(1), 57).is_some());

        strangers.sent(b"not had", true);
        strangers.arrived(stranger, &header(1), b"not had");
        assert!(strangers.answered(stranger, &header(2), 57).is_some());
        assert_eq!(strangers.answered(stranger, &header(1), REQUEST_OCTETS), None);
        assert!(strangers.answered(stranger, &header(1), 57).is_some());
    }
}
