//! Which message ids are next.

use std::collections::BTreeMap;

use adit_wire::Reader;
use adit_wire::iana::ExchangeType;
use adit_wire::ikev2::{Header, IkeSpi};

use super::seal::Session;

/// Requests by their IKE SA and whether its initiator made them.
#[derive(Default)]
pub(super) struct Tracks(BTreeMap<(IkeSpi, IkeSpi, bool), Track>);

/// The requests of one end of an IKE SA.
#[derive(Clone, Copy, Debug)]
pub(super) struct Track {
    /// The id after the last.
    pub(super) next: u32,
    /// The exchange of the last.
    pub(super) exchange: ExchangeType,
}

impl Tracks {
    /// Counts a request, if it is the next one.
    pub(super) fn note(&mut self, octets: &[u8]) {
        let Ok(header) = Header::read(&mut Reader(octets)) else { return };
        if header.flags.is_response() || header.spi_r.is_zero() {
            return;
        }
        let key = (header.spi_i, header.spi_r, header.flags.is_initiator());
        let first = Track { next: header.message_id, exchange: header.exchange };
        let track = self.0.entry(key).or_insert(first);
        if header.message_id == track.next {
            *track = Track { next: track.next.wrapping_add(1), exchange: header.exchange };
        }
    }

    /// Those of one end; before the first, IKE_SA_INIT may have come.
    pub(super) fn of(&self, session: &Session, initiator: bool) -> Track {
        let (spi_i, spi_r) = session.spis();
        let none = Track {
            next: u32::from(initiator && session.is_first()),
            exchange: ExchangeType::INFORMATIONAL,
        };
        self.0.get(&(spi_i, spi_r, initiator)).copied().unwrap_or(none)
    }
}
