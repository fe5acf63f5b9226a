//! What happens in a world: a list, drawn up front, so that whoever looks for the shortest one that
//! fails takes entries away.

use std::fmt;
use std::time::Duration;

use adit_crypto::SeededRng;

use super::net::{Link, Weather};
use super::profile::Rates;
use super::scenario::{Scenario, child_name, draw_weather, host_name, tunnel_name};
use crate::draw::Draw as _;

/// Something that happens at a time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    /// Since the beginning.
    pub(super) at: Duration,
    pub(super) deed: Deed,
}

/// A child of a tunnel, seen from one of its ends.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) struct Place {
    pub(super) host: usize,
    pub(super) tunnel: usize,
    pub(super) child: usize,
}

/// What happens.
#[derive(Clone, Copy, Debug)]
pub(super) enum Deed {
    RekeyChild(Place),
    RekeyIke(Place),
    TerminateChild(Place),
    TerminateIke(Place),
    Initiate(Place),
    /// Packets from one end to the other.
    Talk {
        from: Place,
        packets: u32,
        every: Duration,
    },
    /// A link is bad for a while; all are, if none is named.
    Weather {
        link: Option<Link>,
        weather: Weather,
        lasts: Duration,
    },
    Cut {
        link: Link,
        lasts: Duration,
    },
    /// Loses all state and returns.
    Crash {
        host: usize,
        off: Duration,
    },
    /// Sleeps and returns with its state; its clock has gone on.
    Pause {
        host: usize,
        off: Duration,
    },
    /// The host, or the NAT before it, has another address.
    Roam {
        host: usize,
        place: u8,
    },
    /// The NAT forgets its mappings, and gets the address of that place if there is one.
    Rebind {
        host: usize,
        place: Option<u8>,
    },
    Drift {
        host: usize,
        drift_ppm: i32,
    },
    Jump {
        host: usize,
        by: Duration,
    },
    /// A stranger sends to a host.
    Flood {
        host: usize,
        with: Forgery,
        messages: u32,
        every: Duration,
    },
}

/// What strangers send.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Forgery {
    /// IKE_SA_INIT requests like those that were seen, from many addresses.
    Init,
    /// The same from one address.
    InitFromOne,
    /// What was seen, once more, from where it came.
    Replay,
    /// What was seen, once more, from another address.
    ReplayElsewhere,
    /// What was seen with other octets in it.
    Spoilt,
    /// The end of what was seen is missing.
    CutOff,
    /// Random octets behind a header that was seen.
    Garbage,
    /// What a host sent comes back to it.
    Mirror,
}

impl Forgery {
    const ALL: [Self; 8] = [
        Self::Init,
        Self::InitFromOne,
        Self::Replay,
        Self::ReplayElsewhere,
        Self::Spoilt,
        Self::CutOff,
        Self::Garbage,
        Self::Mirror,
    ];
}

impl Entry {
    /// When nothing of it is left.
    pub(super) fn over_at(&self) -> Duration {
        self.at
            + match self.deed {
                Deed::Weather { lasts, .. } | Deed::Cut { lasts, .. } => lasts,
                Deed::Crash { off, .. } | Deed::Pause { off, .. } => off,
                Deed::Talk { packets: count, every, .. }
                | Deed::Flood { messages: count, every, .. } => every * count,
                Deed::RekeyChild(_)
                | Deed::RekeyIke(_)
                | Deed::TerminateChild(_)
                | Deed::TerminateIke(_)
                | Deed::Initiate(_)
                | Deed::Roam { .. }
                | Deed::Rebind { .. }
                | Deed::Drift { .. }
                | Deed::Jump { .. } => Duration::ZERO,
            }
    }
}

/// Draws what happens, in order.
pub(super) fn draw(rng: &mut SeededRng, rates: &Rates, scenario: &Scenario) -> Vec<Entry> {
    let mut artist = Artist { rng, rates, scenario, places: 0 };
    let count = 1 + artist.rng.below(rates.deeds_max);
    let mut entries = Vec::new();
    for _ in 0..count {
        let at = artist.millis(5_000, u64::try_from(rates.span.as_millis()).unwrap_or(u64::MAX));
        artist.draw(at, &mut entries);
    }
    entries.sort_by_key(|entry| entry.at);
    entries
}

struct Artist<'a> {
    rng: &'a mut SeededRng,
    rates: &'a Rates,
    scenario: &'a Scenario,
    /// How many addresses hosts had besides their first.
    places: u8,
}

impl Artist<'_> {
    fn millis(&mut self, least: u64, most: u64) -> Duration {
        Duration::from_millis(least + self.rng.below(most.saturating_sub(least) + 1))
    }

    fn place(&mut self) -> Place {
        let tunnel = self.rng.index(self.scenario.tunnels.len());
        let ends = self.scenario.tunnels.get(tunnel).map_or([0, 1], |tunnel| tunnel.ends);
        let child = self.rng.index(self.scenario.children);
        Place { host: self.rng.pick(&ends), tunnel, child }
    }

    fn link(&mut self) -> Link {
        let tunnel = self.rng.index(self.scenario.tunnels.len());
        let ends = self.scenario.tunnels.get(tunnel).map_or([0, 1], |tunnel| tunnel.ends);
        Link(ends[0], ends[1])
    }

    /// A host that may, or the hub.
    fn host(&mut self, may: impl Fn(usize) -> bool) -> Option<usize> {
        let hosts: Vec<usize> = (0..self.scenario.hosts.len()).filter(|host| may(*host)).collect();
        (!hosts.is_empty()).then(|| self.rng.pick(&hosts))
    }

    fn next_place(&mut self) -> u8 {
        self.places = self.places.saturating_add(1);
        self.places
    }

    /// Draws one deed, or several that belong together.
    fn draw(&mut self, at: Duration, entries: &mut Vec<Entry>) {
        let r = self.rates;
        let weights = [
            r.rekey,
            r.terminate,
            r.initiate,
            r.talk,
            r.weather,
            r.cut,
            r.crash,
            r.pause,
            r.roam,
            r.rebind,
            r.clock,
            r.flood,
        ];
        let mut dice = self.rng.below(weights.iter().sum());
        let kind = weights.iter().position(|weight| match dice.checked_sub(*weight) {
            Some(rest) => {
                dice = rest;
                false
            }
            None => true,
        });
        let deed = match kind.unwrap_or(0) {
            0 => return self.rekey(at, entries),
            1 => return self.end(at, entries),
            2 => Some(Deed::Initiate(self.place())),
            3 => Some(self.talk()),
            4 => Some(self.weather()),
            5 => {
                let (link, lasts) = (self.link(), self.millis(100, 90_000));
                Some(Deed::Cut { link, lasts })
            }
            6 => {
                let (host, off) = (self.host(|_| true), self.millis(10, 60_000));
                host.map(|host| Deed::Crash { host, off })
            }
            7 => {
                let (host, off) = (self.host(|_| true), self.millis(500, 200_000));
                host.map(|host| Deed::Pause { host, off })
            }
            8 => {
                let scenario = self.scenario;
                let host = self.host(|host| scenario.plan(host).roams);
                host.map(|host| Deed::Roam { host, place: self.next_place() })
            }
            9 => {
                let scenario = self.scenario;
                let host = self.host(|host| scenario.plan(host).nat);
                let elsewhere = self.rng.percent(40);
                let place = elsewhere.then(|| self.next_place());
                host.map(|host| Deed::Rebind { host, place })
            }
            10 => self.clock(),
            _ => self.flood(),
        };
        entries.extend(deed.map(|deed| Entry { at, deed }));
    }

    /// Often both ends, or one of them twice, at nearly the same time.
    fn rekey(&mut self, at: Duration, entries: &mut Vec<Entry>) {
        let mut place = self.place();
        for _ in 0..1 + self.rng.below(3) {
            let deed = match self.rng.below(10) {
                0..6 => Deed::RekeyChild(place),
                6..9 => Deed::RekeyIke(place),
                _ => self.talk_of(place),
            };
            let wait = self.millis(0, 300);
            let at = if self.rng.percent(50) { at } else { at + wait };
            entries.push(Entry { at, deed });
            place.host = self.other_end(place);
        }
        if self.rng.percent(50) {
            let deed = self.talk_of(place);
            entries.push(Entry { at, deed });
        }
    }

    fn end(&mut self, at: Duration, entries: &mut Vec<Entry>) {
        let mut place = self.place();
        for _ in 0..1 + self.rng.below(2) {
            let deed = match self.rng.percent(60) {
                true => Deed::TerminateChild(place),
                false => Deed::TerminateIke(place),
            };
            let wait = self.millis(0, 300);
            entries.push(Entry { at: at + wait, deed });
            place.host = self.other_end(place);
        }
        // What was ended by command stays so: somebody wants it back.
        let wait = self.millis(100, 20_000);
        entries.push(Entry { at: at + wait, deed: Deed::Initiate(place) });
    }

    fn other_end(&self, place: Place) -> usize {
        let tunnel = self.scenario.tunnels.get(place.tunnel);
        tunnel.map_or(place.host, |tunnel| tunnel.peer_of(place.host))
    }

    fn talk(&mut self) -> Deed {
        let place = self.place();
        self.talk_of(place)
    }

    fn talk_of(&mut self, from: Place) -> Deed {
        let packets = 1 + u32::try_from(self.rng.below(40)).unwrap_or(0);
        Deed::Talk { from, packets, every: self.millis(5, 50) }
    }

    fn weather(&mut self) -> Deed {
        let worst = Weather {
            loss_percent: 60,
            duplicate_percent: 50,
            spoilt_percent: 3,
            delay_max: Duration::from_millis(1_500),
            mtu_octets: self.rng.pick(&[200, 400, 576, 1_500, 1_500]),
        };
        let link = if self.rng.percent(60) { Some(self.link()) } else { None };
        let weather = draw_weather(self.rng, worst);
        Deed::Weather { link, weather, lasts: self.millis(500, 60_000) }
    }

    fn clock(&mut self) -> Option<Deed> {
        let host = self.host(|_| true)?;
        if self.rng.percent(40) {
            return Some(Deed::Jump { host, by: self.millis(100, 90_000) });
        }
        let ppm = i32::try_from(self.rng.below(40_001)).unwrap_or(0) - 20_000;
        Some(Deed::Drift { host, drift_ppm: ppm })
    }

    fn flood(&mut self) -> Option<Deed> {
        let host = self.host(|_| true)?;
        let with = self.rng.pick(&Forgery::ALL);
        let messages = 1 + u32::try_from(self.rng.below(60)).unwrap_or(0);
        Some(Deed::Flood { host, with, messages, every: self.millis(1, 60) })
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, tunnel, child } = *self;
        write!(f, "{} {} {}", host_name(host), tunnel_name(tunnel), child_name(child))
    }
}

/// One line.
impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:>9.3}  ", self.at.as_secs_f64())?;
        match self.deed {
            Deed::RekeyChild(place) => write!(f, "rekey child: {place}"),
            Deed::RekeyIke(place) => write!(f, "rekey IKE SA: {place}"),
            Deed::TerminateChild(place) => write!(f, "terminate child: {place}"),
            Deed::TerminateIke(place) => write!(f, "terminate IKE SA: {place}"),
            Deed::Initiate(place) => write!(f, "initiate: {place}"),
            Deed::Talk { from, packets, every } => {
                write!(f, "{packets} packets from {from}, one every {every:?}")
            }
            Deed::Weather { link: None, weather, lasts } => {
                write!(f, "all links for {lasts:?}: {weather}")
            }
            Deed::Weather { link: Some(Link(one, other)), weather, lasts } => {
                write!(f, "{}-{} for {lasts:?}: {weather}", host_name(one), host_name(other))
            }
            Deed::Cut { link: Link(one, other), lasts } => {
                write!(f, "{}-{} cut for {lasts:?}", host_name(one), host_name(other))
            }
            Deed::Crash { host, off } => write!(f, "{} crashes for {off:?}", host_name(host)),
            Deed::Pause { host, off } => write!(f, "{} sleeps for {off:?}", host_name(host)),
            Deed::Roam { host, .. } => write!(f, "{} has another address", host_name(host)),
            Deed::Rebind { host, place: None } => {
                write!(f, "the NAT of {} forgets", host_name(host))
            }
            Deed::Rebind { host, place: Some(_) } => {
                write!(f, "the NAT of {} has another address", host_name(host))
            }
            Deed::Drift { host, drift_ppm } => {
                write!(f, "the clock of {} drifts by {drift_ppm} ppm", host_name(host))
            }
            Deed::Jump { host, by } => write!(f, "the clock of {} jumps {by:?}", host_name(host)),
            Deed::Flood { host, with, messages, every } => {
                let host = host_name(host);
                write!(f, "strangers send {host} {messages} × {with:?}, one every {every:?}")
            }
        }
    }
}

impl fmt::Display for Weather {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { loss_percent, duplicate_percent, spoilt_percent, delay_max, mtu_octets } = self;
        write!(
            f,
            "loss {loss_percent} %, twice {duplicate_percent} %, spoilt {spoilt_percent} %, "
        )?;
        write!(f, "delay to {delay_max:?}, at most {mtu_octets} octets")
    }
}
