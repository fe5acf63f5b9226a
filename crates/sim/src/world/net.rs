//! The network of a world: links that lose, repeat, spoil, delay and reorder, NATs, partitions.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use adit_crypto::{Rng as _, SeededRng};
use adit_ike::Path;

use super::digest::RunDigest;
use crate::draw::Draw;
use crate::network::Nat;

/// How bad a link is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Weather {
    /// Datagrams that never arrive, in percent.
    pub(super) loss_percent: u8,
    /// Datagrams that arrive twice, in percent.
    pub(super) duplicate_percent: u8,
    /// Datagrams of which a bit has changed, in percent.
    pub(super) spoilt_percent: u8,
    /// Longest way; datagrams overtake each other where it differs from the shortest.
    pub(super) delay_max: Duration,
    /// Longest datagram that gets through.
    pub(super) mtu_octets: usize,
}

impl Weather {
    /// All arrives, in order.
    pub(super) const GOOD: Self = Self {
        loss_percent: 0,
        duplicate_percent: 0,
        spoilt_percent: 0,
        delay_max: DELAY_MIN,
        mtu_octets: 1_500,
    };

    /// As bad as the worse of two.
    fn or(self, other: Self) -> Self {
        Self {
            loss_percent: self.loss_percent.max(other.loss_percent),
            duplicate_percent: self.duplicate_percent.max(other.duplicate_percent),
            spoilt_percent: self.spoilt_percent.max(other.spoilt_percent),
            delay_max: self.delay_max.max(other.delay_max),
            mtu_octets: self.mtu_octets.min(other.mtu_octets),
        }
    }
}

/// Shortest way.
pub(super) const DELAY_MIN: Duration = Duration::from_millis(5);

/// What travels.
#[derive(Clone, Debug)]
pub(super) enum Letter {
    /// An IKE message without a non-ESP marker.
    Ike(Vec<u8>),
    /// An ESP packet.
    Esp(EspLetter),
    /// A NAT keepalive.
    Keepalive,
    /// An IP packet in clear.
    Clear(Vec<u8>),
}

impl Letter {
    /// Its octets.
    pub(super) fn octets(&self) -> &[u8] {
        match self {
            Self::Ike(octets) | Self::Clear(octets) => octets,
            Self::Esp(esp) => &esp.octets,
            Self::Keepalive => &[0xff],
        }
    }

    fn octets_mut(&mut self) -> &mut [u8] {
        match self {
            Self::Ike(octets) | Self::Clear(octets) => octets,
            Self::Esp(esp) => &mut esp.octets,
            Self::Keepalive => &mut [],
        }
    }
}

/// An ESP packet on its way.
#[derive(Clone, Debug)]
pub(super) struct EspLetter {
    pub(super) octets: Vec<u8>,
    /// Whether it travels in UDP.
    pub(super) udp: bool,
    /// Whether AH is around it, behind the IPv4 header that AH covers: the octets begin with that.
    pub(super) in_ah: bool,
    /// Whether both ends had an SA for what is in it when it was sent, so that it must come in.
    pub(super) must_arrive: bool,
}

/// An IPv4 header of the packet engine.
const IPV4_HEADER_OCTETS: usize = 20;

impl EspLetter {
    /// From the header of AH on, if AH is around it.
    pub(super) fn ah(&self) -> Option<&[u8]> {
        self.in_ah.then(|| self.octets.get(IPV4_HEADER_OCTETS..).unwrap_or_default())
    }

    /// From the header of ESP on.
    pub(super) fn esp(&self) -> &[u8] {
        let Some(ah) = self.ah() else { return &self.octets };
        // RFC 4302 §2.2: the length of AH in words of four octets, less two.
        let words = ah.get(1).map_or(0, |len| usize::from(*len) + 2);
        ah.get(words * 4..).unwrap_or_default()
    }
}

/// A datagram on its way.
#[derive(Clone, Debug)]
pub(super) struct Parcel {
    /// Who gets it.
    pub(super) to: usize,
    /// Who sent it; nobody if that was a stranger.
    pub(super) from: Option<usize>,
    /// As the receiver sees it.
    pub(super) path: Path,
    pub(super) letter: Letter,
    /// When it was sent.
    pub(super) sent_at: Duration,
    /// Whether it is not as it was sent, or not the first of its kind.
    pub(super) is_odd: bool,
}

/// What became of a datagram.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Fate {
    Arrives,
    Twice,
    Spoilt,
    Lost,
    /// The sender does not have the address it sends from.
    NotOurs,
    /// Nobody has the address, or the NAT does not know the port.
    Nowhere,
    /// The partition.
    Cut,
    TooLong,
}

impl Fate {
    /// For the story.
    pub(super) fn text(self) -> &'static str {
        match self {
            Self::Arrives => "",
            Self::Twice => "  (twice)",
            Self::Spoilt => "  (spoilt)",
            Self::Lost => "  ✗ lost",
            Self::NotOurs => "  ✗ from an address that is gone",
            Self::Nowhere => "  ✗ to nobody",
            Self::Cut => "  ✗ cut",
            Self::TooLong => "  ✗ too long",
        }
    }
}

/// Where a host is.
#[derive(Debug)]
pub(super) struct Home {
    pub(super) address: IpAddr,
    pub(super) nat: Option<Nat>,
}

/// Everything between the hosts.
#[derive(Debug)]
pub(super) struct Net {
    pub(super) homes: Vec<Home>,
    background: Weather,
    /// What makes it worse for now, on one link or everywhere.
    spells: BTreeMap<u64, (Option<Link>, Weather)>,
    cuts: BTreeMap<u64, Link>,
    under_way: BTreeMap<(Duration, u64), Parcel>,
    sent: u64,
    key: u64,
}

/// Two hosts, in any order.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Link(pub(super) usize, pub(super) usize);

impl Link {
    fn is_between(self, one: usize, other: usize) -> bool {
        let Self(a, b) = self;
        (a, b) == (one, other) || (a, b) == (other, one)
    }
}

impl Net {
    pub(super) fn new(homes: Vec<Home>, background: Weather, mut rng: SeededRng) -> Self {
        let (spells, cuts, under_way) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        Self { homes, background, spells, cuts, under_way, sent: 0, key: rng.next_u64() }
    }

    /// Makes a link worse until [`Self::end`] is told the same number.
    pub(super) fn begin(&mut self, number: u64, link: Option<Link>, weather: Weather) {
        self.spells.insert(number, (link, weather));
    }

    /// Lets nothing through until [`Self::end`] is told the same number.
    pub(super) fn cut(&mut self, number: u64, link: Link) {
        self.cuts.insert(number, link);
    }

    pub(super) fn end(&mut self, number: u64) {
        self.spells.remove(&number);
        self.cuts.remove(&number);
    }

    /// No faults from here on.
    pub(super) fn calm_down(&mut self) {
        self.background = Weather::GOOD;
        self.spells.clear();
        self.cuts.clear();
    }

    /// Gives a host, or the NAT before it, another address.
    pub(super) fn roam(&mut self, host: usize, address: IpAddr, public: IpAddr) {
        if let Some(home) = self.homes.get_mut(host) {
            match &mut home.nat {
                None => home.address = public,
                Some(nat) => {
                    home.address = address;
                    nat.move_to(public);
                }
            }
        }
    }

    /// The NAT of a host forgets, and gets another address if there is one.
    pub(super) fn rebind(&mut self, host: usize, public: Option<IpAddr>) {
        let home = self.homes.get_mut(host);
        if let Some(nat) = home.and_then(|home| home.nat.as_mut()) {
            match public {
                Some(public) => nat.move_to(public),
                None => nat.forget(),
            }
        }
    }

    pub(super) fn next_arrival(&self) -> Option<Duration> {
        self.under_way.keys().next().map(|(at, _)| *at)
    }

    pub(super) fn arrival(&mut self, now: Duration) -> Option<Parcel> {
        let entry = self.under_way.first_entry()?;
        (entry.key().0 <= now).then(|| entry.remove())
    }

    /// How many datagrams are under way.
    pub(super) fn under_way(&self) -> usize {
        self.under_way.len()
    }

    /// Takes one datagram; `from` is nobody if a stranger sends it.
    pub(super) fn send(
        &mut self,
        from: Option<usize>,
        path: Path,
        letter: Letter,
        now: Duration,
    ) -> Fate {
        let source = match from {
            None => path.local,
            Some(host) => match self.outward(host, path.local, &letter) {
                Ok(source) => source,
                Err(fate) => return fate,
            },
        };
        let Some((to, local)) = self.destination(path.remote, &letter) else {
            return Fate::Nowhere;
        };
        let path = Path::udp(local, source);
        let mut dice = Dice::of(self.key, now, from, letter.octets().len());
        let fate = self.fate(from, to, letter.octets().len(), &mut dice);
        let mut parcel = Parcel { to, from, path, letter, sent_at: now, is_odd: false };
        match fate {
            Fate::Spoilt => spoil(&mut parcel, &mut dice),
            Fate::Arrives => {}
            Fate::Twice => {
                let copy = Parcel { is_odd: true, ..parcel.clone() };
                // The copy may overtake it; the first to come is the one that counts.
                let (one, two) = (self.delay(from, to, &mut dice), self.delay(from, to, &mut dice));
                self.post(parcel, now + one.min(two));
                self.post(copy, now + one.max(two));
                return fate;
            }
            Fate::Lost | Fate::NotOurs | Fate::Nowhere | Fate::Cut | Fate::TooLong => return fate,
        }
        let at = now + self.delay(from, to, &mut dice);
        self.post(parcel, at);
        fate
    }

    fn post(&mut self, parcel: Parcel, at: Duration) {
        self.sent += 1;
        self.under_way.insert((at, self.sent), parcel);
    }

    fn outward(
        &mut self,
        host: usize,
        source: SocketAddr,
        letter: &Letter,
    ) -> Result<SocketAddr, Fate> {
        let home = self.homes.get_mut(host).ok_or(Fate::NotOurs)?;
        if home.address != source.ip() {
            return Err(Fate::NotOurs);
        }
        match &mut home.nat {
            None => Ok(source),
            // What has no ports has no way back.
            Some(_) if !has_ports(letter) => Err(Fate::Nowhere),
            Some(nat) => Ok(nat.outward(source)),
        }
    }

    /// Whose an address is, and which it is behind the NAT.
    fn destination(&self, to: SocketAddr, letter: &Letter) -> Option<(usize, SocketAddr)> {
        self.homes.iter().enumerate().find_map(|(host, home)| match &home.nat {
            None => (home.address == to.ip()).then_some((host, to)),
            Some(nat) if nat.public() == to.ip() && has_ports(letter) => {
                Some((host, nat.inward(to)?))
            }
            Some(_) => None,
        })
    }

    fn weather(&self, from: Option<usize>, to: usize) -> Weather {
        let concerns = |link: &Option<Link>| match (link, from) {
            (None, _) => true,
            (Some(link), Some(from)) => link.is_between(from, to),
            (Some(_), None) => false,
        };
        let spells = self.spells.values().filter(|(link, _)| concerns(link));
        spells.fold(self.background, |worst, (_, weather)| worst.or(*weather))
    }

    fn fate(&self, from: Option<usize>, to: usize, octets: usize, draws: &mut Dice) -> Fate {
        let is_cut = |link: &Link| from.is_some_and(|from| link.is_between(from, to));
        if self.cuts.values().any(is_cut) {
            return Fate::Cut;
        }
        let weather = self.weather(from, to);
        if octets > weather.mtu_octets {
            return Fate::TooLong;
        }
        let dice = u8::try_from(draws.below(100)).unwrap_or(0);
        let (loss, spoilt) = (weather.loss_percent, weather.spoilt_percent);
        if dice < loss {
            return Fate::Lost;
        }
        if dice - loss < spoilt {
            return Fate::Spoilt;
        }
        match draws.percent(weather.duplicate_percent.into()) {
            true => Fate::Twice,
            false => Fate::Arrives,
        }
    }

    fn delay(&self, from: Option<usize>, to: usize, dice: &mut Dice) -> Duration {
        let spread = self.weather(from, to).delay_max.saturating_sub(DELAY_MIN);
        let spread_us = u64::try_from(spread.as_micros()).unwrap_or(u64::MAX);
        DELAY_MIN + Duration::from_micros(dice.below(spread_us.saturating_add(1)))
    }
}

/// Changes one bit.
fn spoil(parcel: &mut Parcel, dice: &mut Dice) {
    parcel.is_odd = true;
    let octets = parcel.letter.octets_mut();
    let (at, bit) = (dice.index(octets.len()), dice.below(8));
    if let Some(octet) = octets.get_mut(at) {
        *octet ^= 1 << bit;
    }
}

/// Draws for one datagram by when it is sent, by whom and how long it is, so that what happens to
/// others does not change its fate: a shorter schedule is then much like the longer one.
#[derive(Debug)]
struct Dice(u64);

impl Dice {
    fn of(key: u64, now: Duration, from: Option<usize>, octets: usize) -> Self {
        let mut digest = RunDigest::default();
        digest.add_number(key);
        digest.add_number(u64::try_from(now.as_nanos()).unwrap_or(u64::MAX));
        digest.add_number(from.and_then(|from| u64::try_from(from).ok()).unwrap_or(u64::MAX));
        digest.add_number(u64::try_from(octets).unwrap_or(u64::MAX));
        Self(digest.value())
    }
}

impl Draw for Dice {
    /// SplitMix64 (Steele, Lea, Flood 2014).
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound.max(1)
    }
}

fn has_ports(letter: &Letter) -> bool {
    match letter {
        Letter::Ike(_) | Letter::Keepalive => true,
        Letter::Esp(esp) => esp.udp,
        Letter::Clear(_) => false,
    }
}
