//! Fragmentation of IKE messages as the vendors do it: Cisco's, which Microsoft, strongSwan and libreswan
//! have, too (\[MS-IKEE\] §3.3.5.2.1). Both ends announce it by a vendor id.
//!
//! A fragment is a message of one payload in clear, a piece of a whole message with its header. Nobody
//! authenticates it, so that who knows both cookies may spoil what is being joined, as it may spoil what
//! is in clear anyway: all of it is bounded, and nothing but that is lost.

use std::time::{Duration, Instant};

use adit_crypto::Rng;
use adit_wire::Reader;
use adit_wire::iana::isakmp::PayloadType;
use adit_wire::isakmp::{ChainBuilder, Flags, Fragment, Header, MessageBuilder, Vendor};

/// What an IKE SA knows of fragments.
#[derive(Debug, Default)]
pub(crate) struct Fragmentation {
    /// The peer has announced it, and so do we.
    is_announced: bool,
    /// The peer has heard of us: what goes before that, as the second message of aggressive mode, is whole.
    is_heard: bool,
    partial: Option<Box<Partial>>,
}

/// A message of which not all has come.
#[derive(Debug)]
struct Partial {
    id: u16,
    /// By number, from 1.
    pieces: Vec<Option<Vec<u8>>>,
    /// The number of the last one, once that has come.
    last: Option<usize>,
    octets: usize,
    until: Instant,
}

/// Fragments of one message.
const FRAGMENTS_MAX: usize = 64;

/// Octets of a message that was joined, which is more than certificates need.
const MESSAGE_OCTETS_MAX: usize = 32_768;

/// How long a message may take to be whole.
const PARTIAL_LIFE: Duration = Duration::from_secs(30);

/// Our vendor id: fragments of main and quick mode are taken. Peers look for the flags behind the name.
pub(crate) const VENDOR_ID: &[u8] = &[
    0x40, 0x48, 0xb7, 0xd5, 0x6e, 0xbc, 0xe8, 0x85, 0x25, 0xe7, 0xde, 0x7f, 0x00, 0xd6, 0xc2, 0xd3,
    0x80, 0x00, 0x00, 0x00,
];

/// Whether the peer announces it, with whatever flags.
pub(crate) fn is_announced(vendor_ids: &[&[u8]]) -> bool {
    vendor_ids.iter().any(|id| id.starts_with(Vendor::Fragmentation.id().0))
}

impl Fragmentation {
    /// The vendor ids of the peer; whether we announce it, too.
    pub(crate) fn note(&mut self, is_wanted: bool, vendor_ids: &[&[u8]]) {
        self.is_announced |= is_wanted && is_announced(vendor_ids);
    }

    /// A message has come with the cookies of both ends.
    pub(crate) fn note_both_cookies(&mut self) {
        self.is_heard = true;
    }

    /// Whether both ends take fragments, and know it of each other.
    pub(crate) fn is_agreed(&self) -> bool {
        self.is_announced && self.is_heard
    }

    /// Takes a fragment of the peer's; gives the message once it is whole, which has the header's cookies
    /// and is no fragment.
    pub(crate) fn join(&mut self, header: &Header, octets: &[u8], now: Instant) -> Option<Vec<u8>> {
        let fragment = self.is_agreed().then(|| read(octets)).flatten()?;
        let number = usize::from(fragment.number);
        if number > FRAGMENTS_MAX {
            return None;
        }
        let is_other = |partial: &Partial| partial.id != fragment.id || now >= partial.until;
        if self.partial.as_deref().is_none_or(is_other) {
            self.partial = Some(Box::new(Partial::new(fragment.id, now)));
        }
        let partial = self.partial.as_mut()?;
        if !partial.take(number, &fragment) {
            self.partial = None;
            return None;
        }
        let whole = partial.whole()?;
        self.partial = None;
        let inner = Header::read(&mut Reader(&whole)).ok()?;
        let is_of_it = (inner.cookie_i, inner.cookie_r, inner.exchange)
            == (header.cookie_i, header.cookie_r, header.exchange);
        (is_of_it && inner.next_payload != PayloadType::FRAGMENT).then_some(whole)
    }

    /// A message of ours as the datagrams that it goes in: itself, unless it is longer than `most` octets
    /// and the peer takes fragments.
    pub(crate) fn cut(&self, message: &[u8], most: usize, rng: &mut dyn Rng) -> Vec<Vec<u8>> {
        let piece = most.saturating_sub(OVERHEAD).max(PIECE_OCTETS_MIN);
        let is_whole = !self.is_agreed()
            || message.len() <= most
            || message.len().div_ceil(piece) > FRAGMENTS_MAX;
        let header = Header::read(&mut Reader(message)).ok().filter(|_| !is_whole);
        let Some(header) = header else { return vec![message.to_vec()] };
        // Each time another, so that pieces of two transmissions do not meet.
        let [.., a, b] = rng.next_u64().to_be_bytes();
        let id = u16::from_be_bytes([a, b]).max(1);
        let count = message.len().div_ceil(piece);
        let numbered = (1..=u8::MAX).zip(message.chunks(piece));
        let cut = numbered.filter_map(|(number, data)| {
            let last = usize::from(number) == count;
            let fragment = Fragment { id, number, last, data };
            let chain = ChainBuilder::new().payload(PayloadType::FRAGMENT, |w| fragment.write(w));
            let header = Header { flags: Flags::NONE, ..header };
            MessageBuilder::with_chain(header, chain).finish().ok()
        });
        cut.collect()
    }
}

/// The header, the generic header of the payload, and what the payload has before its data.
const OVERHEAD: usize = Header::LEN + 8;

/// A piece is no shorter, whatever the path: so the count stays small.
const PIECE_OCTETS_MIN: usize = 512;

impl Partial {
    fn new(id: u16, now: Instant) -> Self {
        Self { id, pieces: Vec::new(), last: None, octets: 0, until: now + PARTIAL_LIFE }
    }

    /// Keeps a piece; false if it does not go with those before it.
    fn take(&mut self, number: usize, fragment: &Fragment<'_>) -> bool {
        if self.last.is_some_and(|last| number > last || (fragment.last && number != last)) {
            return false;
        }
        if fragment.last {
            self.last = Some(number);
        }
        if self.pieces.len() < number {
            self.pieces.resize(number, None);
        }
        let is_behind_last = self.last.is_some_and(|last| self.pieces.len() > last);
        let Some(place) = number.checked_sub(1).and_then(|index| self.pieces.get_mut(index)) else {
            return false;
        };
        // A piece that comes again changes nothing.
        if place.is_none() {
            self.octets = self.octets.saturating_add(fragment.data.len());
            *place = Some(fragment.data.to_vec());
        }
        !is_behind_last && self.octets <= MESSAGE_OCTETS_MAX
    }

    fn whole(&self) -> Option<Vec<u8>> {
        let last = self.last.filter(|&last| self.pieces.len() == last)?;
        let pieces: Vec<&[u8]> = self.pieces.iter().map_while(|piece| piece.as_deref()).collect();
        (pieces.len() == last).then(|| pieces.concat())
    }
}

/// The one payload of a message that is a fragment.
fn read(octets: &[u8]) -> Option<Fragment<'_>> {
    let mut r = Reader(octets.get(Header::LEN..)?);
    let [next, _, high, low] = r.array().ok()?;
    let length = usize::from(u16::from_be_bytes([high, low])).checked_sub(4)?;
    (next == PayloadType::NONE.0 && r.len() == length).then(|| Fragment::read(&mut r).ok())?
}

#[cfg(test)]
mod tests {
    use adit_crypto::SeededRng;
    use adit_wire::iana::isakmp::ExchangeType;
    use adit_wire::ikev2::IkeSpi;
    use proptest::prelude::*;

    use super::*;

    fn agreed() -> Fragmentation {
        Fragmentation { is_announced: true, is_heard: true, ..Fragmentation::default() }
    }

    fn message(len: usize) -> Vec<u8> {
        let header = Header::new(
            IkeSpi([1; 8]),
            IkeSpi([2; 8]),
            ExchangeType::QUICK_MODE,
            Flags::ENCRYPTION,
            7,
        );
        let mut body = vec![0; len];
        adit_crypto::Rng::fill(&mut SeededRng::new(3), &mut body);
        let chain = ChainBuilder::new().payload(PayloadType::NONCE, |w| w.bytes(&body));
        MessageBuilder::with_chain(header, chain).finish().unwrap()
    }

    #[expect(clippy::disallowed_methods, reason = "any instant will do")]
    fn now() -> Instant {
        Instant::now()
    }

    fn cut(message: &[u8]) -> Vec<Vec<u8>> {
        agreed().cut(message, 1_000, &mut SeededRng::new(5))
    }

    fn join(to: &mut Fragmentation, datagram: &[u8], now: Instant) -> Option<Vec<u8>> {
        let header = Header::read(&mut Reader(datagram)).unwrap();
        to.join(&header, datagram, now)
    }

    /// CHECKLIST T17: pieces in any order, some of them twice, are the message; none is longer than asked.
    #[test]
    fn what_is_cut_is_joined_in_any_order() {
        let (whole, now) = (message(4_000), now());
        let mut pieces = cut(&whole);
        assert_eq!(pieces.len(), 5);
        assert!(pieces.iter().all(|piece| piece.len() <= 1_000));
        pieces.reverse();
        pieces.insert(2, pieces[1].clone());
        let mut to = agreed();
        let joined: Vec<_> = pieces.iter().map(|piece| join(&mut to, piece, now)).collect();
        let (last, before) = joined.split_last().unwrap();
        assert!(before.iter().all(Option::is_none));
        assert_eq!(last.as_deref(), Some(&whole[..]));
    }

    /// Only if both ends have announced it, and only what is long.
    #[test]
    fn short_messages_and_strangers_get_them_whole() {
        let (long, short) = (message(4_000), message(100));
        let plain = Fragmentation::default().cut(&long, 1_000, &mut SeededRng::new(5));
        assert_eq!(plain, std::slice::from_ref(&long));
        assert_eq!(cut(&short), [short]);
        let pieces = cut(&long);
        let mut stranger = Fragmentation::default();
        assert!(pieces.iter().all(|piece| join(&mut stranger, piece, now()).is_none()));
    }

    /// CHECKLIST V33: CVE-2013-6076 and the like: numbers that contradict each other, more octets than any message has,
    /// a fragment inside of fragments, pieces that come too late.
    #[test]
    fn nothing_but_whole_messages_comes_of_pieces() {
        let (now, whole) = (now(), message(4_000));
        let pieces = cut(&whole);
        let changed = |piece: &[u8], at: usize, to: u8| {
            let mut changed = piece.to_vec();
            changed[Header::LEN + at] = to;
            changed
        };
        let mut to = agreed();
        // A second last one, a number behind the last, and the highest there is.
        assert_eq!(join(&mut to, &pieces[4], now), None);
        assert_eq!(join(&mut to, &changed(&pieces[1], 7, 1), now), None);
        assert_eq!(join(&mut to, &pieces[4], now), None);
        assert_eq!(join(&mut to, &changed(&pieces[1], 6, 200), now), None);
        assert_eq!(join(&mut to, &changed(&pieces[1], 6, 9), now), None);
        for piece in &pieces[..4] {
            assert_eq!(join(&mut to, piece, now), None);
        }
        let mut to = agreed();
        for piece in &pieces[..4] {
            assert_eq!(join(&mut to, piece, now), None);
        }
        assert_eq!(join(&mut to, &pieces[4], now + PARTIAL_LIFE), None);

        let data = [0; 1_500];
        let fragment = Fragment { id: 1, number: 1, last: true, data: &data };
        let chain = ChainBuilder::new().payload(PayloadType::FRAGMENT, |w| fragment.write(w));
        let header = Header::read(&mut Reader(&whole)).unwrap();
        let nested = cut(&MessageBuilder::with_chain(header, chain).finish().unwrap());
        let mut to = agreed();
        assert!(nested.iter().all(|piece| join(&mut to, piece, now).is_none()));
    }

    proptest! {
        /// Whatever comes is bounded, and nobody panics.
        #[test]
        fn hostile_pieces_are_bounded(
            pieces in prop::collection::vec((0_u16..3, 0_u8.., any::<bool>(), 1_usize..2_000), 1..80),
        ) {
            let (now, mut to) = (now(), agreed());
            for (id, number, last, len) in pieces {
                let data = vec![0; len];
                let fragment = Fragment { id, number, last, data: &data };
                let chain =
                    ChainBuilder::new().payload(PayloadType::FRAGMENT, |w| fragment.write(w));
                let exchange = ExchangeType::IDENTITY_PROTECTION;
                let header = Header::new(IkeSpi([1; 8]), IkeSpi([2; 8]), exchange, Flags::NONE, 0);
                let datagram = MessageBuilder::with_chain(header, chain).finish().unwrap();
                prop_assert_eq!(join(&mut to, &datagram, now), None);
                let kept = to.partial.as_ref().map_or(0, |partial| partial.octets);
                prop_assert!(kept <= MESSAGE_OCTETS_MAX);
            }
        }
    }
}
