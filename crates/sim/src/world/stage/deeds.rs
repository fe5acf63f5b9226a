//! How what is on the agenda is done.

use std::net::SocketAddr;
use std::time::Duration;

use adit_crypto::Rng as _;
use adit_ike::Path;
use adit_wire::Reader;
use adit_wire::iana::ExchangeType;
use adit_wire::ikev2::Header;

use super::{Task, World};
use crate::draw::Draw as _;
use crate::world::host::{Host, Power};
use crate::world::invariants::strangers::stranger;
use crate::world::net::{Letter, Parcel};
use crate::world::scenario::{inside, outside};
use crate::world::schedule::{Deed, Entry, Forgery, Place};

impl World<'_> {
    pub(super) fn perform(&mut self, task: Task) {
        match task {
            Task::Do(entry) => self.carry_out(&entry),
            Task::Talk { from, left, every } => {
                self.send_packet(from);
                if left > 1 {
                    self.plan(self.now + every, Task::Talk { from, left: left - 1, every });
                }
            }
            Task::Flood { host, with, left, every } => {
                self.forge(host, with);
                if left > 1 {
                    self.plan(self.now + every, Task::Flood { host, with, left: left - 1, every });
                }
            }
            Task::End(number) => self.net.end(number),
            Task::Wake { host, power } => self.wake(host, power),
        }
    }

    fn carry_out(&mut self, entry: &Entry) {
        self.story.deed(entry);
        match entry.deed {
            Deed::RekeyChild(place) => self.order(place, Host::rekey_child),
            Deed::RekeyIke(place) => self.order(place, Host::rekey_ike),
            Deed::TerminateChild(place) => self.order(place, Host::terminate_child),
            Deed::TerminateIke(place) => self.order(place, Host::terminate_ike),
            Deed::Initiate(place) => self.order(place, Host::initiate),
            Deed::Talk { from, packets: left, every } => {
                self.plan(self.now, Task::Talk { from, left, every });
            }
            Deed::Weather { link, weather, lasts } => {
                let number = self.plan_end(lasts);
                self.net.begin(number, link, weather);
            }
            Deed::Cut { link, lasts } => {
                let number = self.plan_end(lasts);
                self.net.cut(number, link);
            }
            Deed::Crash { host, off } => self.stop(host, Power::Off, off),
            Deed::Pause { host, off } => self.stop(host, Power::Asleep, off),
            Deed::Roam { host, place } => {
                self.net.roam(host, inside(host, place), outside(host, place));
                let home = self.net.homes.get(host);
                let address = home.map_or_else(|| inside(host, 0), |home| home.address);
                self.host(host).set_address(address);
            }
            Deed::Rebind { host, place } => {
                self.net.rebind(host, place.map(|place| outside(host, place)));
            }
            Deed::Drift { host, drift_ppm } => {
                let now = self.now;
                self.host(host).clock.drift(now, drift_ppm);
            }
            Deed::Jump { host, by } => {
                let now = self.now;
                self.host(host).clock.jump(now, by);
                self.watch.jumps.push((host, now, by));
                self.set_time(now);
            }
            Deed::Flood { host, with, messages: left, every } => {
                self.plan(self.now, Task::Flood { host, with, left, every });
            }
        }
    }

    /// Gives a command, if the host is up.
    fn order(&mut self, place: Place, command: fn(&mut Host, Place) -> bool) {
        let host = self.host(place.host);
        if host.power != Power::On {
            return;
        }
        let was_done = command(host, place);
        if !was_done {
            self.story.note(self.now, place.host, "there is none".to_owned());
        }
    }

    fn plan_end(&mut self, lasts: Duration) -> u64 {
        let number = self.tasks + 1;
        self.plan(self.now + lasts, Task::End(number))
    }

    fn stop(&mut self, host: usize, power: Power, off: Duration) {
        if self.host(host).power == Power::On {
            self.host(host).power = power;
            self.plan(self.now + off, Task::Wake { host, power });
        }
    }

    fn wake(&mut self, number: usize, power: Power) {
        self.watch.back.insert(number, self.now);
        let host = self.host(number);
        host.power = Power::On;
        if power == Power::Off {
            host.restart();
        } else {
            host.look_at_network();
        }
        self.story.note(self.now, number, "is back".to_owned());
    }

    /// A stranger sends one datagram to a host.
    fn forge(&mut self, host: usize, with: Forgery) {
        let heard = self.overheard.len();
        let index = self.rng.index(heard);
        let Some(Parcel { path, letter: Letter::Ike(octets), from, .. }) =
            self.overheard.get(index).cloned()
        else {
            return;
        };
        let address = self.net.homes.get(host).map(|home| match &home.nat {
            Some(nat) => nat.public(),
            None => home.address,
        });
        let port = path.remote.port();
        let target = SocketAddr::new(address.unwrap_or_else(|| path.remote.ip()), port);
        let Some((source, target, octets)) =
            self.forgery(with, path, target, octets, from == Some(host))
        else {
            return;
        };
        let path = Path::udp(source, target);
        let fate = self.net.send(None, path, Letter::Ike(octets.clone()), self.now);
        self.digest.add(&octets);
        self.story.forged(self.now, host, path, &octets, fate);
    }

    /// Where a forged datagram seems to come from, where it goes, and what it is.
    fn forgery(
        &mut self,
        with: Forgery,
        seen: Path,
        target: SocketAddr,
        mut octets: Vec<u8>,
        is_its_own: bool,
    ) -> Option<(SocketAddr, SocketAddr, Vec<u8>)> {
        let one = SocketAddr::new(stranger(7), 500);
        match with {
            Forgery::Init | Forgery::InitFromOne => {
                let (spi, number) = (self.rng.next_u64(), self.rng.below(65_536));
                let octets = self.an_init()?;
                let fresh = [&spi.to_be_bytes()[..], octets.get(8..)?].concat();
                let many = SocketAddr::new(stranger(u16::try_from(number).unwrap_or(0)), 500);
                let source = if with == Forgery::Init { many } else { one };
                Some((source, SocketAddr::new(target.ip(), 500), fresh))
            }
            Forgery::Replay => Some((seen.local, seen.remote, octets)),
            Forgery::ReplayElsewhere => {
                Some((SocketAddr::new(one.ip(), seen.local.port()), seen.remote, octets))
            }
            Forgery::Spoilt => {
                let at = self.rng.index(octets.len());
                *octets.get_mut(at)? ^= 0x40;
                Some((seen.local, seen.remote, octets))
            }
            Forgery::CutOff => {
                let len = self.rng.index(octets.len());
                octets.truncate(len);
                Some((seen.local, seen.remote, octets))
            }
            Forgery::Garbage => {
                let (_, body) = octets.split_at_mut_checked(28)?;
                self.rng.fill(body);
                Some((one, seen.remote, octets))
            }
            Forgery::Mirror => is_its_own.then_some((seen.remote, target, octets)),
        }
    }

    /// An IKE_SA_INIT request that was seen, or the first message of a main mode.
    fn an_init(&self) -> Option<&[u8]> {
        self.overheard.iter().find_map(|parcel| {
            let octets = parcel.letter.octets();
            let header = Header::read(&mut Reader(octets)).ok()?;
            let is_init = header.exchange == ExchangeType::IKE_SA_INIT;
            let is_main = header.exchange == ExchangeType::MAIN_MODE && header.spi_r.is_zero();
            ((is_init && !header.flags.is_response()) || is_main).then_some(octets)
        })
    }
}
