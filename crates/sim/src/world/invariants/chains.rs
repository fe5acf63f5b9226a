//! In IKEv1 no two messages are encrypted under one IV.
//!
//! The IV of an exchange comes of its message id, and each further message has the last block of the one
//! before (RFC 2409 appendix B). Who begins two exchanges under one id, or says two things in one place
//! of an exchange, encrypts two texts under one IV, and shows where they begin alike. Nothing but order
//! tells messages apart, so the ends of an exchange take turns; what is sent again is octet for octet
//! what was sent.

use std::collections::HashMap;

use adit_wire::iana::isakmp::ExchangeType;
use adit_wire::ikev2::IkeSpi;
use adit_wire::isakmp::Header;

use super::Broken;
use crate::world::digest::digest_of;

/// The exchanges that were seen.
#[derive(Debug, Default)]
pub(in crate::world) struct Chains {
    seen: HashMap<(IkeSpi, IkeSpi, u32), Exchange>,
    exchanges: u64,
}

/// The encrypted messages of one exchange.
#[derive(Debug)]
struct Exchange {
    kind: ExchangeType,
    /// Who sent each, and its digest.
    messages: Vec<(usize, u64)>,
    /// The last has arrived.
    is_over: bool,
}

impl Chains {
    /// Exchanges of which the last message has arrived.
    pub(in crate::world) fn exchanges(&self) -> u64 {
        self.exchanges
    }

    /// A host has sent a message.
    pub(in crate::world) fn sent(
        &mut self,
        host: usize,
        header: &Header,
        octets: &[u8],
    ) -> Option<Broken> {
        if !header.flags.is_encrypted() {
            return None;
        }
        let (kind, id) = (header.exchange, header.message_id);
        let key = (header.cookie_i, header.cookie_r, id);
        let none = Exchange { kind, messages: Vec::new(), is_over: false };
        let exchange = self.seen.entry(key).or_insert(none);
        let message = (host, digest_of(octets));
        if exchange.messages.contains(&message) {
            return None;
        }
        let is_turn = exchange.messages.last().is_none_or(|(last, _)| *last != host);
        let has_room = exchange.messages.len() < messages_of(kind);
        let is_right = exchange.kind == kind && is_turn && has_room;
        exchange.messages.push(message);
        let text = || format!("{kind:?} {id:08x} of ISAKMP SA {}: one IV for two", header.cookie_i);
        (!is_right).then(|| Broken::new("chains", text()))
    }

    /// A host gets a message.
    pub(in crate::world) fn arrived(&mut self, header: &Header, octets: &[u8]) {
        let key = (header.cookie_i, header.cookie_r, header.message_id);
        let Some(exchange) = self.seen.get_mut(&key) else { return };
        let is_last = exchange.messages.len() == messages_of(exchange.kind)
            && exchange.messages.last().is_some_and(|(_, digest)| *digest == digest_of(octets));
        if is_last && !exchange.is_over {
            exchange.is_over = true;
            self.exchanges += 1;
        }
    }
}

/// Encrypted messages of an exchange (RFC 2409 §5.4, §5.5, §5.7).
fn messages_of(kind: ExchangeType) -> usize {
    match kind {
        ExchangeType::IDENTITY_PROTECTION => 2,
        ExchangeType::QUICK_MODE => 3,
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use adit_wire::Writer;
    use adit_wire::isakmp::Flags;

    use super::*;

    fn message(kind: ExchangeType, id: u32, text: u8) -> (Header, Vec<u8>) {
        let (i, r) = (IkeSpi([1; 8]), IkeSpi([2; 8]));
        let header = Header::new(i, r, kind, Flags::ENCRYPTION, id);
        let mut octets = Vec::new();
        header.write(&mut Writer(&mut octets));
        octets.push(text);
        (header, octets)
    }

    fn sent(chains: &mut Chains, host: usize, kind: ExchangeType, text: u8) -> Option<Broken> {
        let (header, octets) = message(kind, 7, text);
        chains.sent(host, &header, &octets)
    }

    #[test]
    fn a_quick_mode_in_turns_is_counted_once() {
        let mut chains = Chains::default();
        for (host, text) in [(0, 1), (0, 1), (1, 2), (0, 1), (0, 3), (1, 2), (0, 3)] {
            assert_eq!(sent(&mut chains, host, ExchangeType::QUICK_MODE, text), None);
        }
        for text in [1, 2, 3, 3] {
            let (header, octets) = message(ExchangeType::QUICK_MODE, 7, text);
            chains.arrived(&header, &octets);
        }
        assert_eq!(chains.exchanges(), 1);
    }

    #[test]
    fn two_texts_in_one_place_are_seen() {
        for (host, kind) in [
            (0, ExchangeType::QUICK_MODE),
            (1, ExchangeType::INFORMATIONAL),
            (0, ExchangeType::INFORMATIONAL),
        ] {
            let mut chains = Chains::default();
            assert_eq!(sent(&mut chains, 0, ExchangeType::QUICK_MODE, 1), None);
            let broken = sent(&mut chains, host, kind, 2);
            assert_eq!(broken.unwrap().invariant, "chains", "{host} {kind:?}");
        }
        let mut chains = Chains::default();
        assert_eq!(sent(&mut chains, 0, ExchangeType::INFORMATIONAL, 1), None);
        assert!(sent(&mut chains, 1, ExchangeType::INFORMATIONAL, 2).is_some());
    }
}
