//! The keys to protected messages: opening, changing and sealing what only peers can.

use std::rc::Rc;

use adit_crypto::{OpenKey, SealKey};
use adit_ike::IkeDebugKeys;
use adit_wire::iana::{ExchangeType, PayloadType};
use adit_wire::ikev2::{
    Chain, Flags, Header, IkeSpi, MessageBuilder, Payloads, Protected, SealSpace,
};
use adit_wire::{Reader, WireError};

/// Keys of IKE SAs, the newest last.
#[derive(Clone, Default)]
pub struct Keyring(Vec<Session>);

/// The keys of one IKE SA; good for both directions.
#[derive(Clone)]
pub struct Session {
    keys: Rc<IkeDebugKeys>,
    /// Whether it came first, from an IKE_SA_INIT exchange.
    is_first: bool,
}

/// What a protected message holds.
#[derive(Clone, Debug)]
pub struct Opened {
    /// Its header.
    pub header: Header,
    /// The payloads inside.
    pub chain: Chain,
}

impl Keyring {
    /// Adds keys; those of the same IKE SA before an additional key exchange give way.
    pub fn add(&mut self, keys: IkeDebugKeys) {
        self.0.retain(|known| known.spis() != (keys.spi_i, keys.spi_r));
        self.0.push(Session { is_first: self.0.is_empty(), keys: Rc::new(keys) });
    }

    /// All of them.
    pub fn sessions(&self) -> &[Session] {
        &self.0
    }

    /// The keys of the IKE SA of a message.
    pub fn find(&self, header: &Header) -> Option<&Session> {
        self.0.iter().find(|session| session.spis() == (header.spi_i, header.spi_r))
    }
}

impl Session {
    /// Both SPIs.
    pub fn spis(&self) -> (IkeSpi, IkeSpi) {
        (self.keys.spi_i, self.keys.spi_r)
    }

    /// Whether its numbers begin with an IKE_SA_INIT exchange.
    pub fn is_first(&self) -> bool {
        self.is_first
    }

    fn space(&self) -> SealSpace {
        let cipher = self.keys.cipher;
        SealSpace {
            iv_len: cipher.iv_len(),
            icv_len: cipher.icv_len(),
            block_len: if cipher.is_aead() { 1 } else { cipher.block_len() },
        }
    }

    /// Opens a whole message.
    pub fn open(&self, message: &[u8]) -> Option<Opened> {
        let header = Header::read(&mut Reader(message)).ok()?;
        let keys = &self.keys;
        let (encryption, integrity) = match header.flags.is_initiator() {
            true => (&keys.sk_ei, &keys.sk_ai),
            false => (&keys.sk_er, &keys.sk_ar),
        };
        let key = OpenKey::new(keys.cipher, encryption, integrity).ok()?;
        let mut octets = message.to_vec();
        let protected = Protected::read(&mut octets, self.space()).ok()?;
        if protected.fragment.is_some() {
            return None;
        }
        let first = protected.first;
        let inner = protected.open(|parts| {
            let failed = |_| WireError::Truncated("SK");
            key.open(parts.aad, parts.iv, parts.text, parts.icv, &[]).map_err(failed)
        });
        Some(Opened { header, chain: Chain { first, octets: inner.ok()?.to_vec() } })
    }

    /// Seals a chain into one message, or into fragments of so many octets of text.
    pub fn seal(
        &self,
        exchange: ExchangeType,
        flags: Flags,
        message_id: u32,
        chain: &Chain,
        fragment_text: Option<usize>,
    ) -> Vec<Vec<u8>> {
        let (spi_i, spi_r) = self.spis();
        let header = Header::new(spi_i, spi_r, exchange, flags, message_id);
        let builder = || MessageBuilder::new(header);
        let drafts = match fragment_text.map(|text| chain.fragments(text)) {
            None | Some(Err(_)) => vec![builder().protect(chain, self.space())],
            Some(Ok(fragments)) => fragments
                .iter()
                .take(FRAGMENTS_MAX)
                .map(|fragment| builder().protect_fragment(fragment, self.space()))
                .collect(),
        };
        let keys = &self.keys;
        let (encryption, integrity) = match flags.is_initiator() {
            true => (&keys.sk_ei, &keys.sk_ai),
            false => (&keys.sk_er, &keys.sk_ar),
        };
        let key = SealKey::new(keys.cipher, encryption, integrity).expect("keys of the cipher");
        let sealed = drafts.into_iter().flatten().zip(COUNTER_FIRST..).map(|(draft, counter)| {
            let counter = counter + (u64::from(message_id) << 16);
            draft.seal(|parts| key.seal(counter, parts.aad, parts.iv, parts.text, parts.icv, &[]))
        });
        sealed.flatten().collect()
    }
}

impl Opened {
    /// The payloads' types, as far as the chain is whole.
    pub fn kinds(&self) -> Vec<PayloadType> {
        let payloads = Payloads::new(self.chain.first, &self.chain.octets);
        payloads.map_while(Result::ok).map(|payload| payload.kind).collect()
    }
}

/// Away from the numbers that the endpoints use.
const COUNTER_FIRST: u64 = 1 << 48;
const FRAGMENTS_MAX: usize = 40;
