//! What others send that no honest peer of IKEv1 does: without keys, and with them.

mod authentic;
mod opening;

use adit_crypto::{CbcKey, Hash};
use adit_ike::{DebugKeys, EndpointConfig, IsakmpDebugKeys};
use adit_wire::iana::isakmp::{ExchangeType, PayloadType};
use adit_wire::isakmp::{ChainBuilder, Flags, Header, MessageBuilder, Payload, Payloads};

use crate::common::Pair;
use crate::{reversed, v1_connections};

/// The keys of an ISAKMP SA in the hands of a peer who writes what it likes.
pub(super) struct Forger<'a>(&'a IsakmpDebugKeys);

/// A pair that is up and has shown its keys.
pub(super) fn up_with_keys() -> Pair {
    let config = EndpointConfig { export_keys: true, ..EndpointConfig::default() };
    let mut pair = Pair::new([config.clone(), config], v1_connections());
    let request = pair.left.initiate(pair.now);
    pair.run();
    assert_eq!(pair.left.done.get(&request), Some(&Ok(())));
    pair
}

/// The left one as a forger: what it seals, and what it reads.
pub(super) fn forger(pair: &Pair) -> Forger<'_> {
    let keys = pair.left.keys.iter().rev().find_map(|keys| match keys {
        DebugKeys::Isakmp(keys) => Some(keys),
        DebugKeys::Ike(_) | DebugKeys::Esp(_) => None,
    });
    Forger(keys.expect("keys of an ISAKMP SA"))
}

impl Forger<'_> {
    /// A message with HASH(1), the first of its exchange.
    pub(super) fn first(&self, exchange: ExchangeType, id: u32, covered: ChainBuilder) -> Vec<u8> {
        let key = self.0.skeyid_a.as_bytes();
        let hash = self.0.prf.compute(key, &[&id.to_be_bytes(), covered.octets()]);
        self.sealed(exchange, id, Some(hash.as_bytes()), covered)
    }

    /// A message with this hash, or none.
    pub(super) fn sealed(
        &self,
        exchange: ExchangeType,
        id: u32,
        hash: Option<&[u8]>,
        covered: ChainBuilder,
    ) -> Vec<u8> {
        let mut chain = ChainBuilder::new();
        if let Some(hash) = hash {
            chain.push(PayloadType::HASH, |w| w.bytes(hash));
        }
        chain.append(covered).unwrap();
        let header = Header::new(self.0.cookie_i, self.0.cookie_r, exchange, Flags::ENCRYPTION, id);
        let key = CbcKey::new(self.0.encryption, &self.0.key).unwrap();
        let builder = MessageBuilder::with_chain(header, chain);
        let mut octets = builder.finish_padded(key.block_len()).unwrap();
        key.encrypt(&self.iv(id), &mut octets[Header::LEN..]).unwrap();
        octets
    }

    /// The kinds of the notifies in the first message of an exchange, with their data.
    pub(super) fn notifies(&self, octets: &[u8]) -> Vec<(u16, Vec<u8>)> {
        let header = Header::read(&mut adit_wire::Reader(octets)).unwrap();
        let key = CbcKey::new(self.0.encryption, &self.0.key).unwrap();
        let mut plain = octets[Header::LEN..].to_vec();
        key.decrypt(&self.iv(header.message_id), &mut plain).unwrap();
        let payloads = Payloads::decrypted(header.next_payload, &plain).map(Result::unwrap);
        let notifies = payloads.filter_map(|raw| match Payload::read(raw) {
            Ok(Payload::Notify(notify)) => Some((notify.kind.0, notify.data.to_vec())),
            _ => None,
        });
        notifies.collect()
    }

    /// Both cookies, as notifies and deletes name the ISAKMP SA.
    pub(super) fn cookies(&self) -> Vec<u8> {
        [self.0.cookie_i.0, self.0.cookie_r.0].concat()
    }

    fn iv(&self, id: u32) -> Vec<u8> {
        let hash = Hash::ALL.into_iter().find(|hash| hash.prf() == self.0.prf).unwrap();
        let digest = hash.digest(&[&self.0.last_block, &id.to_be_bytes()]);
        digest.as_bytes()[..self.0.last_block.len()].to_vec()
    }
}

/// The right one gets this from where the left one is. What it answers.
pub(super) fn given(pair: &mut Pair, octets: &[u8]) -> Vec<Vec<u8>> {
    let info = &pair.left.established()[0];
    let path = adit_ike::Path::udp(info.local, info.remote);
    pair.right.datagram(reversed(path), octets, pair.now);
    pair.right.sent.drain(..).map(|(_, octets)| octets).collect()
}
