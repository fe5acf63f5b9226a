//! No nonce is used twice under a key.
//!
//! With AES-GCM two messages under one nonce give away the difference of their texts and the key of
//! the integrity check (RFC 5116 §5.1.1). ESP takes the sequence number, IKE counts its messages;
//! what is sent again must be octet for octet what was sent (RFC 7296 §2.1). Each IKE_INTERMEDIATE makes
//! new keys for what follows it (RFC 9370 §2.2.2), under which both ends count anew.

use std::collections::{HashMap, HashSet};

use adit_wire::Reader;
use adit_wire::iana::{ExchangeType, PayloadType};
use adit_wire::ikev2::{Header, IkeSpi, Payloads};

use super::Broken;
use crate::world::digest::digest_of;
use crate::world::host::Digest;

/// The nonces that were seen. All ciphers of a world have explicit ones of eight octets.
#[derive(Debug, Default)]
pub(in crate::world) struct Nonces {
    esp: HashSet<(Digest, [u8; 8])>,
    /// Sequence numbers of AH, which has no nonces: a second packet of one is never taken.
    ah: HashSet<(Digest, [u8; 4])>,
    /// With the digest of the message.
    ike: HashMap<(IkeSpi, IkeSpi, Generation, bool, [u8; 8]), u64>,
}

/// Which keys of an IKE SA: those that an IKE_INTERMEDIATE of this message id ends, or 0 for the last.
type Generation = u32;

impl Nonces {
    /// An ESP packet was sealed with these keys.
    pub(in crate::world) fn esp(&mut self, keys: Digest, packet: &[u8]) -> Option<Broken> {
        let iv = *packet.get(8..)?.first_chunk()?;
        let text = || format!("IV {iv:02x?} of an ESP packet is used again");
        (!self.esp.insert((keys, iv))).then(|| Broken::new("nonces", text()))
    }

    /// A packet was given AH with this key (RFC 4302 §3.3.2); it begins with the header of AH.
    pub(in crate::world) fn ah(&mut self, keys: Digest, packet: &[u8]) -> Option<Broken> {
        let number = *packet.get(8..)?.first_chunk()?;
        let text = || format!("sequence number {number:02x?} of AH is used again");
        (!self.ah.insert((keys, number))).then(|| Broken::new("nonces", text()))
    }

    /// An IKE message was sent.
    pub(in crate::world) fn ike(&mut self, header: &Header, message: &[u8]) -> Option<Broken> {
        let iv = encrypted_iv(header, message)?;
        let sender = header.flags.is_initiator();
        let key = (header.spi_i, header.spi_r, generation(header), sender, iv);
        let digest = digest_of(message);
        let known = *self.ike.entry(key).or_insert(digest);
        let text = || format!("IV {iv:02x?} of IKE SA {} is used again", header.spi_i);
        (known != digest).then(|| Broken::new("nonces", text()))
    }
}

fn generation(header: &Header) -> Generation {
    // Each of ours has a key exchange, so that no other message has the keys of one.
    if header.exchange == ExchangeType::IKE_INTERMEDIATE { header.message_id } else { 0 }
}

/// The IV of the SK or SKF payload.
fn encrypted_iv(header: &Header, message: &[u8]) -> Option<[u8; 8]> {
    let mut r = Reader(message);
    Header::read(&mut r).ok()?;
    let mut payloads = Payloads::new(header.next_payload, r.rest()).filter_map(Result::ok);
    payloads.find_map(|payload| match payload.kind {
        PayloadType::SK => payload.body.first_chunk().copied(),
        // Behind number and total of the fragment.
        PayloadType::SKF => payload.body.get(4..)?.first_chunk().copied(),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use adit_wire::Writer;
    use adit_wire::ikev2::{Flags, Version};

    use super::*;

    #[test]
    fn an_iv_of_esp_that_is_used_again_is_seen() {
        let mut nonces = Nonces::default();
        let packet = [7; 40];
        assert_eq!(nonces.esp([1; 20], &packet), None);
        assert_eq!(nonces.esp([2; 20], &packet), None);
        assert_eq!(nonces.esp([1; 20], &packet).unwrap().invariant, "nonces");
    }

    #[test]
    fn a_sequence_number_of_ah_that_is_used_again_is_seen() {
        let mut nonces = Nonces::default();
        let packet = [7; 40];
        assert_eq!(nonces.ah([1; 20], &packet), None);
        assert_eq!(nonces.ah([2; 20], &packet), None);
        assert_eq!(nonces.ah([1; 20], &packet).unwrap().invariant, "nonces");
    }

    fn message(exchange: ExchangeType, message_id: u32, last: u8) -> (Header, Vec<u8>) {
        let mut octets = Vec::new();
        let header = Header {
            spi_i: IkeSpi([1; 8]),
            spi_r: IkeSpi([2; 8]),
            next_payload: PayloadType::SK,
            version: Version::V2,
            exchange,
            flags: Flags::INITIATOR,
            message_id,
            length: 28 + 4 + 24,
        };
        header.write(&mut Writer(&mut octets));
        octets.extend([0, 0, 0, 28]);
        octets.extend([9; 23]);
        octets.push(last);
        (header, octets)
    }

    /// What is repeated unchanged is no second use; another text is one.
    #[test]
    fn an_iv_of_ike_that_is_used_again_is_seen() {
        for exchange in [ExchangeType::INFORMATIONAL, ExchangeType::IKE_INTERMEDIATE] {
            let mut nonces = Nonces::default();
            let (header, octets) = message(exchange, 3, 0);
            assert_eq!(nonces.ike(&header, &octets), None);
            assert_eq!(nonces.ike(&header, &octets), None);
            let (header, octets) = message(exchange, 3, 1);
            assert_eq!(nonces.ike(&header, &octets).unwrap().invariant, "nonces");
        }
        let mut nonces = Nonces::default();
        let (header, octets) = message(ExchangeType::INFORMATIONAL, 3, 0);
        assert_eq!(nonces.ike(&header, &octets), None);
        let (header, octets) = message(ExchangeType::CREATE_CHILD_SA, 4, 0);
        assert!(nonces.ike(&header, &octets).is_some());
    }

    /// The keys of an IKE_INTERMEDIATE protect nothing else.
    #[test]
    fn every_ike_intermediate_has_ivs_of_its_own() {
        let mut nonces = Nonces::default();
        for (exchange, id) in [
            (ExchangeType::IKE_INTERMEDIATE, 1),
            (ExchangeType::IKE_INTERMEDIATE, 2),
            (ExchangeType::IKE_AUTH, 3),
        ] {
            let (header, octets) = message(exchange, id, 0);
            assert_eq!(nonces.ike(&header, &octets), None, "{id}");
        }
    }
}
