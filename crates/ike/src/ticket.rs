//! Tickets of a gateway (RFC 5723 §6, §9): what they hold, how they are sealed, which are void.
//!
//! A ticket is by value: the gateway keeps nothing of an IKE SA that it has given one for. It is
//!
//! ```text
//! version (1) | key id (8) | salt (32) | AES-256-GCM { state, zeros up to a multiple of 64 } | ICV (16)
//! ```
//!
//! and each is sealed under a key of its own, made from the gateway's key and the salt: so no nonce
//! is ever used twice, whoever shares the gateway's key and however often it starts. Keys are the
//! program's to keep and to renew; a ticket is good as long as its key is the current or the last one.

mod pad_digest;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use adit_crypto::{Cipher, IcvSize, KeySize, OpenKey, Prf, Rng, SealKey, Secret};
use adit_db::ConnectionName;
use adit_wire::iana::TransformType;
use adit_wire::ikev2::{IkeSpi, Transform};
use adit_wire::{Reader, WireError, Writer};

pub(crate) use self::pad_digest::{PadDigest, pad_digest};

/// The keys that a gateway seals tickets with. Whoever has them can read the sessions that were
/// resumed with its tickets.
#[derive(Debug)]
pub struct TicketKeys {
    current: TicketKey,
    previous: Option<TicketKey>,
}

#[derive(Debug)]
struct TicketKey {
    id: [u8; Self::ID_OCTETS],
    secret: Secret,
    /// Seconds since 1970.
    made_s: u64,
}

impl TicketKey {
    const ID_OCTETS: usize = 8;
    const SECRET_OCTETS: usize = 32;
    const OCTETS: usize = Self::ID_OCTETS + Self::SECRET_OCTETS + 8;

    fn generate(now_s: u64, rng: &mut dyn Rng) -> Self {
        let secret = Secret::random(Self::SECRET_OCTETS, rng);
        Self { id: rng.array(), secret, made_s: now_s }
    }

    /// A second copy: one set of keys is in use while the next one is made of it.
    fn duplicate(&self) -> Self {
        Self { id: self.id, secret: self.secret.duplicate(), made_s: self.made_s }
    }

    /// The key of one ticket.
    fn of_ticket(&self, salt: &[u8]) -> Option<Secret> {
        let len = CIPHER.encryption_key_len();
        PRF.plus(self.secret.as_bytes(), &[LABEL, salt], len).ok()
    }

    fn read(r: &mut Reader<'_>) -> Result<Self, WireError> {
        let id = r.array()?;
        let secret = Secret::from_slice(r.bytes(Self::SECRET_OCTETS)?);
        Ok(Self { id, secret, made_s: r.u64()? })
    }
}

impl TicketKeys {
    /// How long tickets are sealed with one key; it opens them for as long again. Longer than the life
    /// of a ticket, as RFC 5723 §6.2 asks.
    pub const PERIOD: Duration = Duration::from_hours(24);

    /// The first key, at a time in seconds since 1970.
    pub fn generate(now_s: u64, rng: &mut dyn Rng) -> Self {
        Self { current: TicketKey::generate(now_s, rng), previous: None }
    }

    /// The next ones, if it is time for that. A clock that was set back is no reason, unless the key is
    /// of a day that is far from coming: it would never grow old, and its tickets would not expire.
    pub fn renewed(&self, now_s: u64, rng: &mut dyn Rng) -> Option<Self> {
        let age_s = now_s.saturating_sub(self.current.made_s);
        let period_s = Self::PERIOD.as_secs();
        let is_ahead = self.current.made_s > now_s.saturating_add(period_s);
        let is_recent = age_s < 2 * period_s && !is_ahead;
        (age_s >= period_s || is_ahead).then(|| Self {
            current: TicketKey::generate(now_s, rng),
            previous: is_recent.then(|| self.current.duplicate()),
        })
    }

    /// All of it, for a file that nobody else can read.
    pub fn octets(&self) -> Secret {
        let keys = [Some(&self.current), self.previous.as_ref()];
        let parts: Vec<Secret> = keys
            .into_iter()
            .flatten()
            .map(|key| {
                let parts = [&key.id[..], key.secret.as_bytes(), &key.made_s.to_be_bytes()];
                Secret::concat(&parts)
            })
            .collect();
        Secret::concat(&parts.iter().map(Secret::as_bytes).collect::<Vec<_>>())
    }

    /// What [`Self::octets`] has given; `None` if it is something else.
    pub fn from_octets(octets: &[u8]) -> Option<Self> {
        let is_whole = matches!(octets.len().checked_div(TicketKey::OCTETS), Some(1 | 2))
            && octets.len().is_multiple_of(TicketKey::OCTETS);
        let mut r = Reader(octets);
        let current = TicketKey::read(&mut r).ok().filter(|_| is_whole)?;
        let previous = if r.is_empty() { None } else { Some(TicketKey::read(&mut r).ok()?) };
        Some(Self { current, previous })
    }

    fn by_id(&self, id: [u8; TicketKey::ID_OCTETS]) -> Option<&TicketKey> {
        [Some(&self.current), self.previous.as_ref()].into_iter().flatten().find(|key| key.id == id)
    }
}

/// The SPIs of the IKE SA that a ticket is for: they name it.
pub(crate) type TicketId = (IkeSpi, IkeSpi);

/// What a ticket holds of an IKE SA (RFC 5723 §5).
#[derive(Debug, Eq, PartialEq)]
pub(crate) struct TicketState {
    pub(crate) id: TicketId,
    /// The connection that let the client in.
    pub(crate) connection: ConnectionName,
    /// What it had to prove for that.
    pub(crate) pad: PadDigest,
    pub(crate) suite: Vec<Transform>,
    pub(crate) sk_d: Secret,
    /// Body of the client's ID payload.
    pub(crate) id_i: Vec<u8>,
    /// Body of ours.
    pub(crate) id_r: Vec<u8>,
    /// Whether a post-quantum key is in SK_d (RFC 8784).
    pub(crate) ppk: bool,
    /// When the client's authentication is good no more (RFC 4478), in seconds since 1970.
    pub(crate) authenticated_until_s: Option<u64>,
}

impl TicketState {
    /// Octets of what has always the same length, and of a transform.
    const FIXED_OCTETS: usize = 8 + 16 + 1 + 32 + 4 * 2 + 1 + 8;
    const TRANSFORM_OCTETS: usize = 1 + 2 + 2;

    /// What is sealed, in one place from the beginning: a vector that grows leaves secrets behind in
    /// freed memory. `None` if it is too long for a ticket.
    fn text(&self, expires_s: u64) -> Option<Vec<u8>> {
        let parts = [self.sk_d.len(), self.id_i.len(), self.id_r.len()];
        let suite = Self::TRANSFORM_OCTETS * self.suite.len();
        let name = self.connection.as_str().len();
        let len = Self::FIXED_OCTETS + suite + parts.iter().sum::<usize>() + name;
        let len = len.next_multiple_of(PADDED_TO);
        if HEADER_OCTETS + CIPHER.iv_len() + len + CIPHER.icv_len() > TICKET_OCTETS_MAX {
            return None;
        }
        let mut text = Vec::with_capacity(len);
        self.write(expires_s, &mut Writer(&mut text));
        text.resize(len, 0);
        Some(text)
    }

    fn write(&self, expires_s: u64, w: &mut Writer<'_>) {
        w.u64(expires_s);
        w.bytes(&self.id.0.0);
        w.bytes(&self.id.1.0);
        w.u8(u8::try_from(self.suite.len()).unwrap_or(u8::MAX));
        for transform in &self.suite {
            w.u8(transform.kind.0);
            w.u16(transform.id);
            // No cipher has a key of no bits.
            w.u16(transform.key_bits.unwrap_or(0));
        }
        w.bytes(&self.pad);
        let name = self.connection.as_str().as_bytes();
        for part in [self.sk_d.as_bytes(), &self.id_i, &self.id_r, name] {
            w.u16(u16::try_from(part.len()).unwrap_or(u16::MAX));
            w.bytes(part);
        }
        w.u8(self.ppk.into());
        // No clock will show the last second.
        w.u64(self.authenticated_until_s.unwrap_or(u64::MAX));
    }

    fn read(r: &mut Reader<'_>) -> Result<(u64, Self), WireError> {
        let expires_s = r.u64()?;
        let id = (IkeSpi(r.array()?), IkeSpi(r.array()?));
        let mut suite = Vec::new();
        for _ in 0..r.u8()? {
            let (kind, id) = (TransformType(r.u8()?), r.u16()?);
            let key_bits = Some(r.u16()?).filter(|bits| *bits > 0);
            suite.push(Transform { kind, id, key_bits });
        }
        let pad = r.array()?;
        let mut part = || {
            let len = r.u16()?;
            r.bytes(len.into())
        };
        let sk_d = Secret::from_slice(part()?);
        let (id_i, id_r) = (part()?.to_vec(), part()?.to_vec());
        let connection = read_name(part()?)?;
        let ppk = r.u8()? != 0;
        let authenticated_until_s = Some(r.u64()?).filter(|until_s| *until_s != u64::MAX);
        let state =
            Self { id, connection, pad, suite, sk_d, id_i, id_r, ppk, authenticated_until_s };
        Ok((expires_s, state))
    }
}

fn read_name(octets: &[u8]) -> Result<ConnectionName, WireError> {
    let text = std::str::from_utf8(octets).ok();
    let name = text.and_then(|text| ConnectionName::new(text).ok());
    name.ok_or(WireError::BadValue("name of a connection", 0))
}

/// What a gateway needs to give and take tickets.
#[derive(Debug)]
pub(crate) struct TicketOffice {
    keys: Arc<TicketKeys>,
    /// A moment on both clocks: tickets outlive the process, and so this clock.
    at: (Instant, u64),
    /// Tickets that are good no more, and until when they would be.
    void: BTreeMap<TicketId, u64>,
    void_by_end: BTreeSet<(u64, TicketId)>,
}

/// The longest life of a ticket.
pub(crate) const LIFETIME_MAX: Duration = Duration::from_hours(8);

/// Octets of the longest ticket that is looked at; of another gateway's, that is kept.
pub(crate) const TICKET_OCTETS_MAX: usize = 2_048;

/// Void tickets that are remembered. When there are more, those go first that end first.
const VOID_MAX: usize = 65_536;

const VERSION: u8 = 1;
const SALT_OCTETS: usize = 32;
const HEADER_OCTETS: usize = 1 + TicketKey::ID_OCTETS + SALT_OCTETS;
/// So that the length tells little about identities (RFC 5723 §9.10).
const PADDED_TO: usize = 64;
const LABEL: &[u8] = b"Adit resumption ticket";
const PRF: Prf = Prf::HmacSha2_256;
const CIPHER: Cipher = Cipher::AesGcm(KeySize::Bits256, IcvSize::Octets16);
/// The one number that is used with the key of a ticket.
const COUNT: u64 = 1;

impl TicketOffice {
    pub(crate) fn new(keys: Arc<TicketKeys>, now: Instant, now_s: u64) -> Self {
        Self { keys, at: (now, now_s), void: BTreeMap::new(), void_by_end: BTreeSet::new() }
    }

    /// Takes other keys, and the time of day. That goes on only: an expired ticket stays so when the
    /// host's clock is set back.
    pub(crate) fn renew(&mut self, keys: Arc<TicketKeys>, now: Instant, now_s: u64) {
        self.keys = keys;
        self.at = (now, now_s.max(self.seconds(now)));
    }

    /// A moment in whole seconds since 1970.
    pub(crate) fn seconds(&self, at: Instant) -> u64 {
        self.at.1.saturating_add(at.saturating_duration_since(self.at.0).as_secs())
    }

    /// The moment that is so many seconds after 1970, or the first one known if that is earlier.
    pub(crate) fn instant(&self, at_s: u64) -> Option<Instant> {
        self.at.0.checked_add(Duration::from_secs(at_s.saturating_sub(self.at.1)))
    }

    /// A ticket for an IKE SA. `None` only if something is longer than any honest IKE SA has it.
    //= https://www.rfc-editor.org/rfc/rfc5723#section-6.1
    //# When passing a "ticket by value" to the client, the ticket content
    //# MUST be integrity protected and encrypted.
    pub(crate) fn issue(
        &self,
        state: &TicketState,
        lifetime: Duration,
        now: Instant,
        rng: &mut dyn Rng,
    ) -> Option<Vec<u8>> {
        let key = &self.keys.current;
        let salt: [u8; SALT_OCTETS] = rng.array();
        let header = [&[VERSION][..], &key.id, &salt].concat();
        let seal = SealKey::new(CIPHER, &key.of_ticket(&salt)?, &Secret::default()).ok()?;
        let (mut iv, mut icv) = (vec![0; CIPHER.iv_len()], vec![0; CIPHER.icv_len()]);
        let mut text = state.text(self.seconds(now).saturating_add(lifetime.as_secs()))?;
        if seal.seal(COUNT, &header, &mut iv, &mut text, &mut icv, &[]).is_err() {
            drop(Secret::new(text));
            return None;
        }
        Some([header, iv, text, icv].concat())
    }

    /// What a ticket holds, if it is one of ours, has not expired and is not void.
    pub(crate) fn open(&self, ticket: &[u8], now: Instant) -> Option<TicketState> {
        if ticket.len() > TICKET_OCTETS_MAX {
            return None;
        }
        let (header, rest) = ticket.split_at_checked(HEADER_OCTETS)?;
        let mut r = Reader(header);
        let is_ours = r.u8() == Ok(VERSION);
        let key = self.keys.by_id(r.array().ok()?).filter(|_| is_ours)?;
        let open = OpenKey::new(CIPHER, &key.of_ticket(r.rest())?, &Secret::default()).ok()?;
        let (iv, rest) = rest.split_at_checked(CIPHER.iv_len())?;
        let (text, icv) = rest.split_at_checked(rest.len().checked_sub(CIPHER.icv_len())?)?;
        let mut text = text.to_vec();
        let is_opened = open.open(header, iv, &mut text, icv, &[]).is_ok();
        // Erased, whatever has become of it.
        let text = Some(Secret::new(text)).filter(|_| is_opened)?;
        let (expires_s, state) = TicketState::read(&mut Reader(text.as_bytes())).ok()?;
        // Which is longer than any ticket lives if it was given by a clock that was ahead.
        let left_s = expires_s.saturating_sub(self.seconds(now));
        let is_timely = (1..=LIFETIME_MAX.as_secs()).contains(&left_s);
        (is_timely && !self.is_void(state.id)).then_some(state)
    }

    /// Whether no ticket of this IKE SA is taken any more.
    pub(crate) fn is_void(&self, id: TicketId) -> bool {
        self.void.contains_key(&id)
    }

    /// Takes no ticket of this IKE SA any more: one was used, or the IKE SA was replaced or deleted.
    pub(crate) fn invalidate(&mut self, id: TicketId, now: Instant) {
        let now_s = self.seconds(now);
        let until_s = now_s.saturating_add(LIFETIME_MAX.as_secs());
        if let Some(before) = self.void.insert(id, until_s) {
            self.void_by_end.remove(&(before, id));
        }
        self.void_by_end.insert((until_s, id));
        let is_over = |end: &(u64, TicketId), count| end.0 <= now_s || count > VOID_MAX;
        while let Some(first) = self.void_by_end.first().copied()
            && is_over(&first, self.void.len())
        {
            self.void_by_end.remove(&first);
            self.void.remove(&first.1);
        }
    }
}

#[cfg(test)]
mod tests {
    use adit_crypto::SeededRng;

    use super::*;

    const NOW_S: u64 = 1_800_000_000;

    #[expect(clippy::disallowed_methods, reason = "any instant will do")]
    fn office() -> (TicketOffice, Instant, SeededRng) {
        let (now, mut rng) = (Instant::now(), SeededRng::new(7));
        let keys = Arc::new(TicketKeys::generate(NOW_S, &mut rng));
        (TicketOffice::new(keys, now, NOW_S), now, rng)
    }

    fn state(spi: u8) -> TicketState {
        let transform = |id, key_bits| Transform { kind: TransformType::ENCR, id, key_bits };
        TicketState {
            id: (IkeSpi([spi; 8]), IkeSpi([9; 8])),
            connection: "tunnel".parse().unwrap(),
            pad: [4; 32],
            suite: vec![transform(20, Some(256)), transform(5, None)],
            sk_d: Secret::from_slice(&[3; 48]),
            id_i: b"\x02\0\0\0client.example".to_vec(),
            id_r: b"\x02\0\0\0gw.example".to_vec(),
            ppk: spi == 2,
            authenticated_until_s: (spi == 2).then_some(NOW_S + 9),
        }
    }

    const HOUR: Duration = Duration::from_hours(1);

    //= https://www.rfc-editor.org/rfc/rfc5723#section-6.1
    //= type=test
    //# A "ticket by value" MUST include a protected expiration time, which is
    //# an absolute time value
    #[test]
    fn a_ticket_holds_its_state_until_it_expires() {
        let (office, now, mut rng) = office();
        let ticket = office.issue(&state(1), HOUR, now, &mut rng).unwrap();
        assert_eq!(office.open(&ticket, now), Some(state(1)));
        assert_eq!(office.open(&ticket, now + HOUR - Duration::from_secs(1)), Some(state(1)));
        assert_eq!(office.open(&ticket, now + HOUR), None);
        let with_ppk = office.issue(&state(2), HOUR, now, &mut rng).unwrap();
        assert_eq!(office.open(&with_ppk, now), Some(state(2)));
        // Nothing of it can be read, and no two are alike.
        assert!(!ticket.windows(6).any(|part| part == b"client"));
        assert_ne!(office.issue(&state(1), HOUR, now, &mut rng), Some(ticket));
    }

    /// A clock that was ahead when the key was made, and has been set right.
    #[test]
    fn a_key_of_a_day_to_come_is_replaced() {
        let (office, _, mut rng) = office();
        let day_s = TicketKeys::PERIOD.as_secs();
        let next = office.keys.renewed(NOW_S - day_s - 1, &mut rng).unwrap();
        assert_eq!((next.current.made_s, next.previous.is_none()), (NOW_S - day_s - 1, true));
        assert_ne!(next.current.id, office.keys.current.id);
        assert!(office.keys.renewed(0, &mut rng).is_some());
    }

    /// Nothing that is done to the clock gives a ticket a longer life.
    #[test]
    fn a_clock_that_is_set_back_revives_no_ticket() {
        let (mut office, now, mut rng) = office();
        let ticket = office.issue(&state(1), HOUR, now, &mut rng).unwrap();
        let later = now + 2 * HOUR;
        let keys = Arc::clone(&office.keys);
        office.renew(Arc::clone(&keys), later, NOW_S);
        assert_eq!(office.open(&ticket, later), None);
        let longest = office.issue(&state(1), LIFETIME_MAX, later, &mut rng).unwrap();
        assert_eq!(office.open(&longest, later), Some(state(1)));
        // After a restart.
        let mut office = TicketOffice::new(keys, later, NOW_S);
        assert_eq!(office.open(&longest, later), None);
        // A clock that is put on is believed.
        office.renew(Arc::clone(&office.keys), later, NOW_S + 2 * HOUR.as_secs());
        assert_eq!(office.open(&longest, later), Some(state(1)));
    }

    /// What is sealed never moves, so that no octet of SK_d is left where it was.
    #[test]
    fn the_text_of_a_ticket_has_its_place_from_the_beginning() {
        let (office, now, mut rng) = office();
        for (len, fits) in [(1, true), (500, true), (850, true), (1_800, false), (70_000, false)] {
            let state = TicketState { id_i: vec![1; len], id_r: vec![2; len], ..state(1) };
            let text = state.text(NOW_S);
            assert_eq!(text.is_some(), fits, "{len}");
            assert!(text.is_none_or(|text| text.capacity() == text.len()), "{len}");
            let ticket = office.issue(&state, HOUR, now, &mut rng);
            assert_eq!(ticket.and_then(|ticket| office.open(&ticket, now)).is_some(), fits);
        }
        // Written, it is as long as was foreseen: nothing but padding follows.
        let mut written = Vec::new();
        state(1).write(NOW_S, &mut Writer(&mut written));
        let parts = 48 + state(1).id_i.len() + state(1).id_r.len() + "tunnel".len();
        let foreseen = TicketState::FIXED_OCTETS + 2 * TicketState::TRANSFORM_OCTETS + parts;
        assert_eq!(written.len(), foreseen);
    }

    //= https://www.rfc-editor.org/rfc/rfc5723#section-9.9
    //= type=test
    //# The "ticket by value" MUST have its integrity and confidentiality
    //# protected with strong cryptographic techniques
    #[test]
    fn a_changed_ticket_is_none() {
        let (office, now, mut rng) = office();
        let ticket = office.issue(&state(1), HOUR, now, &mut rng).unwrap();
        for at in 0..ticket.len() {
            let mut changed = ticket.clone();
            changed[at] ^= 1;
            assert_eq!(office.open(&changed, now), None, "{at}");
            assert_eq!(office.open(&ticket[..at], now), None, "{at}");
        }
        assert_eq!(office.open(&vec![1; TICKET_OCTETS_MAX + 1], now), None);
    }

    /// CHECKLIST R04: after a roll-over of the key its tickets are still good, after two they are not.
    #[test]
    fn keys_are_renewed_and_the_last_one_still_opens() {
        let (mut office, now, mut rng) = office();
        let ticket = office.issue(&state(1), HOUR, now, &mut rng).unwrap();
        let day_s = TicketKeys::PERIOD.as_secs();
        assert!(office.keys.renewed(NOW_S + day_s - 1, &mut rng).is_none());
        assert!(office.keys.renewed(NOW_S - day_s, &mut rng).is_none());
        let next = office.keys.renewed(NOW_S + day_s, &mut rng).unwrap();
        let stored = TicketKeys::from_octets(next.octets().as_bytes()).unwrap();
        office.renew(Arc::new(stored), now, NOW_S);
        assert_eq!(office.open(&ticket, now), Some(state(1)));
        let next = office.keys.renewed(NOW_S + 2 * day_s, &mut rng).unwrap();
        office.renew(Arc::new(next), now, NOW_S);
        assert_eq!(office.open(&ticket, now), None);
        // After a long sleep the last key is too old as well.
        assert!(office.keys.renewed(NOW_S + 9 * day_s, &mut rng).unwrap().previous.is_none());
    }

    #[test]
    fn keys_are_read_as_they_were_written() {
        let (office, ..) = office();
        let octets = office.keys.octets();
        assert!(TicketKeys::from_octets(octets.as_bytes()).unwrap().previous.is_none());
        assert!(TicketKeys::from_octets(&[]).is_none());
        assert!(TicketKeys::from_octets(&octets.as_bytes()[1..]).is_none());
        assert!(TicketKeys::from_octets(&[0; 3 * TicketKey::OCTETS]).is_none());
        assert!(!format!("{office:?}").contains(&format!("{:?}", &octets.as_bytes()[8..40])));
    }

    #[test]
    fn a_void_ticket_is_none_and_the_list_is_bounded() {
        let (mut office, now, mut rng) = office();
        let ticket = office.issue(&state(1), HOUR, now, &mut rng).unwrap();
        office.invalidate(state(1).id, now);
        assert_eq!(office.open(&ticket, now), None);
        for spi in 0..VOID_MAX + 10 {
            let spi = IkeSpi((spi as u64 + 1).to_be_bytes());
            office.invalidate((spi, spi), now);
        }
        assert_eq!((office.void.len(), office.void_by_end.len()), (VOID_MAX, VOID_MAX));
        office.invalidate(state(2).id, now + LIFETIME_MAX + HOUR);
        assert_eq!((office.void.len(), office.void_by_end.len()), (1, 1));
    }
}
