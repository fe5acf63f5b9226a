//! The keys to protected messages: opening, changing and sealing what only peers can.

use std::rc::Rc;

use adit_crypto::{OpenKey, SealKey, Secret};
use adit_ike::IkeDebugKeys;
use adit_wire::iana::{ExchangeType, PayloadType};
use adit_wire::ikev2::{
    Chain, Flags, FragmentNumber, Header, IkeSpi, MessageBuilder, Parts, Protected, SealSpace,
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
            block_len: cipher.text_multiple(),
        }
    }

    /// Opens a whole message.
    pub fn open(&self, message: &[u8]) -> Option<Opened> {
        let header = Header::read(&mut Reader(message)).ok()?;
        let mut octets = message.to_vec();
        let (first, fragment, inner) = self.read(&header, &mut octets, |_| {})?;
        let chain = Chain { first, octets: inner.to_vec() };
        fragment.is_none().then_some(Opened { header, chain })
    }

    /// Key and IV of a message or fragment that was sealed under these keys.
    pub fn key_and_iv(&self, message: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
        let header = Header::read(&mut Reader(message)).ok()?;
        let (encryption, _) = self.sending(header.flags.is_initiator());
        let mut iv = Vec::new();
        self.read(&header, &mut message.to_vec(), |parts| iv = parts.iv.to_vec())?;
        Some((encryption.as_bytes().to_vec(), iv))
    }

    /// The keys of the messages that one end sends.
    fn sending(&self, initiator: bool) -> (&Secret, &Secret) {
        match initiator {
            true => (&self.keys.sk_ei, &self.keys.sk_ai),
            false => (&self.keys.sk_er, &self.keys.sk_ar),
        }
    }

    /// Opens in place; `look` sees the parts when they have proven authentic.
    fn read<'m>(
        &self,
        header: &Header,
        message: &'m mut [u8],
        look: impl FnOnce(&Parts<'m>),
    ) -> Option<(PayloadType, Option<FragmentNumber>, &'m [u8])> {
        let (encryption, integrity) = self.sending(header.flags.is_initiator());
        let key = OpenKey::new(self.keys.cipher, encryption, integrity).ok()?;
        let protected = Protected::read(message, self.space()).ok()?;
        let (first, fragment) = (protected.first, protected.fragment);
        let inner = protected.open(|parts| {
            let failed = |_| WireError::Truncated("SK");
            key.open(parts.aad, parts.iv, parts.text, parts.icv, &[]).map_err(failed)?;
            look(parts);
            Ok::<(), WireError>(())
        });
        Some((first, fragment, inner.ok()?))
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
        let (encryption, integrity) = self.sending(flags.is_initiator());
        let key =
            SealKey::new(self.keys.cipher, encryption, integrity).expect("keys of the cipher");
        let sealed = drafts.into_iter().flatten().zip(COUNTER_FIRST..).map(|(draft, counter)| {
            let counter = counter + (u64::from(message_id) << 16);
            draft.seal(|parts| key.seal(counter, parts.aad, parts.iv, parts.text, parts.icv, &[]))
        });
        sealed.flatten().collect()
    }
}

/// Away from the numbers that the endpoints use.
const COUNTER_FIRST: u64 = 1 << 48;
const FRAGMENTS_MAX: usize = 40;
