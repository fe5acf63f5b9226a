//! Message ids stay in their windows.
//!
//! Requests of one end are numbered from 0 without gaps, the next one only follows the response to
//! the one before (RFC 7296 §2.2, §2.3: a window of one), and nobody answers what was not asked.

use std::collections::{HashMap, HashSet};

use adit_wire::iana::ExchangeType;
use adit_wire::ikev2::{Header, IkeSpi};

use super::Broken;

/// The message ids that were seen.
#[derive(Debug, Default)]
pub(in crate::world) struct Windows {
    /// Requests of a host, by its own SPI.
    requests: HashMap<(usize, IkeSpi), Asked>,
    /// Ids of requests that came to a host, by the SPI it is meant by.
    heard: HashMap<(usize, IkeSpi), HashSet<u32>>,
    exchanges: u64,
}

#[derive(Clone, Copy, Debug)]
struct Asked {
    id: u32,
    is_answered: bool,
}

impl Windows {
    /// Exchanges: requests whose response has come back.
    pub(in crate::world) fn exchanges(&self) -> u64 {
        self.exchanges
    }

    /// A host has sent a message.
    pub(in crate::world) fn sent(&mut self, host: usize, header: &Header) -> Option<Broken> {
        let id = header.message_id;
        let own = if header.flags.is_initiator() { header.spi_i } else { header.spi_r };
        if header.flags.is_response() {
            // The first response is the first message with the responder's SPI.
            let is_first = header.exchange == ExchangeType::IKE_SA_INIT;
            let heard = self.heard.get(&(host, own)).is_some_and(|ids| ids.contains(&id));
            return (!is_first && !heard)
                .then(|| Broken::new("windows", format_args!("{own} answers {id}, never asked")));
        }
        let first = Asked { id: 0, is_answered: false };
        let asked = self.requests.entry((host, own)).or_insert(first);
        if id == asked.id {
            return None;
        }
        let text = || format!("{own} asks {id} after {asked:?}");
        if id != asked.id.wrapping_add(1) || !asked.is_answered {
            return Some(Broken::new("windows", text()));
        }
        *asked = Asked { id, is_answered: false };
        None
    }

    /// A host gets a message.
    pub(in crate::world) fn arrived(&mut self, host: usize, header: &Header) {
        let own = if header.flags.is_initiator() { header.spi_r } else { header.spi_i };
        let id = header.message_id;
        if !header.flags.is_response() {
            self.heard.entry((host, own)).or_default().insert(id);
            return;
        }
        if let Some(asked) = self.requests.get_mut(&(host, own))
            && asked.id == id
            && !asked.is_answered
        {
            asked.is_answered = true;
            self.exchanges += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use adit_wire::iana::PayloadType;
    use adit_wire::ikev2::{Flags, Version};

    use super::*;

    fn message(message_id: u32, response: bool) -> Header {
        Header {
            spi_i: IkeSpi([1; 8]),
            spi_r: IkeSpi([2; 8]),
            next_payload: PayloadType::SK,
            version: Version::V2,
            exchange: ExchangeType::INFORMATIONAL,
            // The original initiator asks, the original responder answers.
            flags: Flags::new(!response, response),
            message_id,
            length: 28,
        }
    }

    fn exchange(windows: &mut Windows, id: u32) {
        assert_eq!(windows.sent(0, &message(id, false)), None);
        windows.arrived(1, &message(id, false));
        assert_eq!(windows.sent(1, &message(id, true)), None);
        windows.arrived(0, &message(id, true));
    }

    #[test]
    fn exchanges_in_order_are_counted_once() {
        let mut windows = Windows::default();
        (0..4).for_each(|id| exchange(&mut windows, id));
        windows.arrived(0, &message(3, true));
        assert_eq!(windows.exchanges(), 4);
    }

    #[test]
    fn a_request_before_the_response_to_the_last_is_seen() {
        let mut windows = Windows::default();
        exchange(&mut windows, 0);
        assert_eq!(windows.sent(0, &message(1, false)), None);
        assert_eq!(windows.sent(0, &message(1, false)), None);
        assert!(windows.sent(0, &message(2, false)).is_some());
    }

    #[test]
    fn a_gap_and_a_step_back_are_seen() {
        for id in [0, 3] {
            let mut windows = Windows::default();
            exchange(&mut windows, 0);
            exchange(&mut windows, 1);
            assert!(windows.sent(0, &message(id, false)).is_some(), "{id}");
        }
    }

    #[test]
    fn a_response_to_nothing_is_seen() {
        let mut windows = Windows::default();
        assert!(windows.sent(1, &message(0, true)).is_some());
    }
}
