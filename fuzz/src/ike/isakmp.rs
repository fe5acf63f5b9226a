//! The keys to messages of IKEv1 after phase 1: opening and sealing what only peers can.

use std::collections::BTreeMap;
use std::rc::Rc;

use adit_crypto::{CbcKey, Hash, Secret};
use adit_ike::IsakmpDebugKeys;
use adit_wire::Reader;
use adit_wire::iana::isakmp::{ExchangeType, PayloadType};
use adit_wire::ikev2::IkeSpi;
use adit_wire::isakmp::{ChainBuilder, Flags, Header, MessageBuilder, Payload, Payloads};

/// The keys of one ISAKMP SA, and how far its exchanges are.
#[derive(Clone)]
pub struct IsakmpSession {
    keys: Rc<IsakmpDebugKeys>,
    exchanges: BTreeMap<u32, Link>,
}

/// Where an exchange stands.
#[derive(Clone, Debug, Default)]
pub struct Link {
    /// What the next message is encrypted with.
    iv: Vec<u8>,
    /// The nonces of Quick Mode so far, the initiator's first.
    nonces: Vec<Vec<u8>>,
    /// Messages so far.
    pub messages: usize,
}

/// What a message is authenticated with.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Proof {
    /// HASH(1), HASH(2) or HASH(3), as it is their turn.
    Next,
    /// HASH(1), whatever went before.
    First,
    /// Octets that prove nothing.
    Wrong,
    /// There is no HASH payload.
    None,
}

impl IsakmpSession {
    /// One that has just come up.
    pub fn new(keys: Rc<IsakmpDebugKeys>) -> Self {
        Self { keys, exchanges: BTreeMap::new() }
    }

    /// Both cookies.
    pub fn cookies(&self) -> (IkeSpi, IkeSpi) {
        (self.keys.cookie_i, self.keys.cookie_r)
    }

    /// The exchanges that were seen, and how far they are.
    pub fn exchanges(&self) -> impl Iterator<Item = (u32, &Link)> {
        self.exchanges.iter().map(|(id, link)| (*id, link))
    }

    /// A message was sent: the next one of its exchange goes on from it.
    pub fn note(&mut self, octets: &[u8]) {
        let Ok(header) = Header::read(&mut Reader(octets)) else { return };
        let is_ours = (header.cookie_i, header.cookie_r) == self.cookies();
        if !is_ours || header.message_id == 0 || !header.flags.is_encrypted() {
            return;
        }
        let link = self.link(header.message_id);
        let Some((plain, iv)) = self.decrypted(octets, &link.iv) else { return };
        let payloads = Payloads::decrypted(header.next_payload, &plain);
        let Ok(payloads) = payloads.collect::<Result<Vec<_>, _>>() else { return };
        if payloads.first().is_none_or(|first| first.kind != PayloadType::HASH) {
            return;
        }
        let nonces = payloads.iter().filter(|one| one.kind == PayloadType::NONCE);
        let nonces = nonces.map(|one| one.body.to_vec());
        let all = link.nonces.iter().cloned().chain(nonces).take(2).collect();
        self.keep(header.message_id, Link { iv, nonces: all, messages: link.messages + 1 });
    }

    /// Seals payloads behind a HASH payload.
    pub fn seal(
        &mut self,
        exchange: ExchangeType,
        flags: Flags,
        message_id: u32,
        proof: Proof,
        covered: ChainBuilder,
    ) -> Option<Vec<u8>> {
        let link = self.link(message_id);
        let hash = self.hash(message_id, proof, &link, covered.octets());
        let nonces = nonces_of(&covered);
        let mut chain = ChainBuilder::new();
        if proof != Proof::None {
            chain.push(PayloadType::HASH, |w| w.bytes(hash.as_bytes()));
        }
        chain.append(covered).ok()?;
        let (cookie_i, cookie_r) = self.cookies();
        let header = Header::new(cookie_i, cookie_r, exchange, flags, message_id);
        let cipher = self.cipher();
        let mut octets =
            MessageBuilder::with_chain(header, chain).finish_padded(cipher.block_len()).ok()?;
        cipher.encrypt(&link.iv, octets.get_mut(Header::LEN..)?).ok()?;
        let last = octets.len().checked_sub(cipher.block_len())?;
        if matches!(proof, Proof::Next | Proof::First) {
            let iv = octets.get(last..)?.to_vec();
            let nonces = link.nonces.iter().cloned().chain(nonces).take(2).collect();
            self.keep(message_id, Link { iv, nonces, messages: link.messages + 1 });
        }
        Some(octets)
    }

    fn hash(&self, message_id: u32, proof: Proof, link: &Link, covered: &[u8]) -> Secret {
        let id = message_id.to_be_bytes();
        let key = self.keys.skeyid_a.as_bytes();
        let compute = |parts: &[&[u8]]| self.keys.prf.compute(key, parts);
        match (proof, link.nonces.as_slice()) {
            (Proof::Wrong | Proof::None, _) => Secret::from_slice(&[7; 20]),
            (Proof::First, _) | (Proof::Next, []) => compute(&[&id, covered]),
            (Proof::Next, [nonce]) => compute(&[&id, nonce, covered]),
            (Proof::Next, [one, two, ..]) => compute(&[&[0], &id, one, two]),
        }
    }

    fn link(&self, message_id: u32) -> Link {
        self.exchanges.get(&message_id).cloned().unwrap_or_else(|| {
            let hash = Hash::ALL.into_iter().find(|hash| hash.prf() == self.keys.prf);
            let hash = hash.expect("a prf of IKEv1 is of a hash");
            let digest = hash.digest(&[&self.keys.last_block, &message_id.to_be_bytes()]);
            let iv = digest.as_bytes()[..self.keys.last_block.len()].to_vec();
            Link { iv, ..Link::default() }
        })
    }

    fn keep(&mut self, message_id: u32, link: Link) {
        if self.exchanges.len() >= EXCHANGES_MAX {
            self.exchanges.pop_first();
        }
        self.exchanges.insert(message_id, link);
    }

    fn decrypted(&self, octets: &[u8], iv: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
        let cipher = self.cipher();
        let mut text = octets.get(Header::LEN..)?.to_vec();
        let next = text.get(text.len().checked_sub(cipher.block_len())?..)?.to_vec();
        cipher.decrypt(iv, &mut text).ok()?;
        Some((text, next))
    }

    fn cipher(&self) -> CbcKey {
        CbcKey::new(self.keys.encryption, &self.keys.key).expect("a key of the cipher")
    }
}

fn nonces_of(chain: &ChainBuilder) -> Vec<Vec<u8>> {
    let Ok((first, octets)) = chain.clone().finish() else { return Vec::new() };
    let payloads = Payloads::new(first, &octets).flatten();
    let nonces = payloads.filter_map(|raw| match Payload::read(raw) {
        Ok(Payload::Nonce(_)) => Some(raw.body.to_vec()),
        _ => None,
    });
    nonces.collect()
}

/// Exchanges that are remembered.
const EXCHANGES_MAX: usize = 64;
