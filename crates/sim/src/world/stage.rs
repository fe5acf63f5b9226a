//! The world itself: hosts, their network, what happens, and who watches.

mod deeds;
mod exam;
mod traffic;
mod verdicts;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use adit_crypto::SeededRng;
use adit_ike::Path;
use adit_wire::Reader;
use adit_wire::esp::Spi;
use adit_wire::ikev2::Header;
use adit_wire::isakmp;

use super::digest::RunDigest;
use super::host::{Host, Power, Sight};
use super::invariants::protect::Delivered;
use super::invariants::{
    Broken, bounds, chains::Chains, codes, keys::Keys, nonces::Nonces, protect,
    strangers::Strangers, windows::Windows,
};
use super::net::{EspLetter, Fate, Letter, Net, Parcel};
use super::scenario::{Scenario, host_name};
use super::schedule::{Entry, Forgery, Place};
use super::story::Story;
use crate::Seed;

/// All of it, at one moment.
#[derive(Debug)]
pub(super) struct World<'a> {
    scenario: &'a Scenario,
    hosts: Vec<Host>,
    net: Net,
    /// What is still to come.
    agenda: BTreeMap<(Duration, u64), Task>,
    tasks: u64,
    start: Instant,
    now: Duration,
    steps_at_this_moment: u32,
    steps: u64,
    rng: SeededRng,
    /// The last IKE messages, for strangers.
    overheard: VecDeque<Parcel>,
    /// Number of the next packet.
    packets: u32,
    watch: Watch,
    pub(super) digest: RunDigest,
    pub(super) story: Story,
    /// The first invariant that broke.
    broken: Option<Broken>,
}

/// The invariants that remember.
#[derive(Debug, Default)]
struct Watch {
    keys: Keys,
    nonces: Nonces,
    windows: Windows,
    chains: Chains,
    strangers: Strangers,
    delivered: Delivered,
    /// When each host came back last.
    back: BTreeMap<usize, Duration>,
    /// When the clock of a host jumped, and by how much.
    jumps: Vec<(usize, Duration, Duration)>,
}

/// Something on the agenda.
#[derive(Clone, Copy, Debug)]
enum Task {
    Do(Entry),
    Talk {
        from: Place,
        left: u32,
        every: Duration,
    },
    Flood {
        host: usize,
        with: Forgery,
        left: u32,
        every: Duration,
    },
    /// A spell of weather or a cut is over.
    End(u64),
    Wake {
        host: usize,
        power: Power,
    },
}

/// IKE messages that strangers remember.
const OVERHEARD_MAX: usize = 48;

impl<'a> World<'a> {
    pub(super) fn new(
        seed: Seed,
        scenario: &'a Scenario,
        schedule: &[Entry],
        start: Instant,
        is_told: bool,
    ) -> Self {
        let homes = scenario.homes();
        let host = |(number, home): (usize, &super::net::Home)| {
            let (config, connections) = (scenario.config(number), scenario.connections(number));
            let rng = seed.part_of(number);
            let mut host = Host::new(config, connections, home.address, rng, start);
            host.is_told = is_told;
            host
        };
        let hosts = homes.iter().enumerate().map(host).collect();
        let mut world = Self {
            scenario,
            hosts,
            net: Net::new(homes, scenario.background, seed.part(6)),
            agenda: BTreeMap::new(),
            tasks: 0,
            start,
            now: Duration::ZERO,
            steps_at_this_moment: 0,
            steps: 0,
            rng: seed.part(7),
            overheard: VecDeque::new(),
            packets: 0,
            watch: Watch::default(),
            digest: RunDigest::default(),
            story: Story::new(is_told),
            broken: None,
        };
        for entry in schedule {
            world.plan(entry.at, Task::Do(*entry));
        }
        world.flush();
        world
    }

    pub(super) fn now(&self) -> Duration {
        self.now
    }

    /// Exchanges so far: requests whose response has come back, and of IKEv1 what was said to the end.
    pub(super) fn exchanges(&self) -> u64 {
        self.watch.windows.exchanges() + self.watch.chains.exchanges()
    }

    /// Events so far.
    pub(super) fn steps(&self) -> u64 {
        self.steps
    }

    /// Lets time pass up to a moment.
    ///
    /// # Errors
    ///
    /// The first invariant that broke.
    pub(super) fn run_until(&mut self, end: Duration) -> Result<(), Broken> {
        while let Some(next) = self.next_moment().filter(|next| *next <= end) {
            self.step(next)?;
        }
        self.set_time(end);
        self.whole()
    }

    /// Goes to the next event and lets it happen.
    fn step(&mut self, next: Duration) -> Result<(), Broken> {
        self.set_time(next.max(self.now));
        self.steps += 1;
        self.steps_at_this_moment += 1;
        self.note_broken(bounds::stood_still(self.steps_at_this_moment));
        if let Some(entry) = self.agenda.first_entry().filter(|entry| entry.key().0 <= self.now) {
            let task = entry.remove();
            self.perform(task);
        } else if let Some(parcel) = self.net.arrival(self.now) {
            self.deliver(parcel);
        } else {
            self.ring();
        }
        self.flush();
        self.check_holdings();
        self.whole()
    }

    fn whole(&mut self) -> Result<(), Broken> {
        self.broken.take().map_or(Ok(()), Err)
    }

    fn note_broken(&mut self, broken: Option<Broken>) {
        if self.broken.is_none() {
            self.broken = broken;
        }
    }

    fn next_moment(&self) -> Option<Duration> {
        let task = self.agenda.keys().next().map(|(at, _)| *at);
        let timers = self.hosts.iter().filter_map(|host| self.timer_of(host));
        timers.chain(task).chain(self.net.next_arrival()).min()
    }

    /// When, by the world's time, a host wants to be woken.
    fn timer_of(&self, host: &Host) -> Option<Duration> {
        let shown = host.next_timeout().filter(|_| host.power == Power::On)?;
        Some(host.clock.moment_of(shown.saturating_duration_since(self.start)))
    }

    fn set_time(&mut self, now: Duration) {
        if now > self.now {
            self.steps_at_this_moment = 0;
        }
        self.now = now;
        for host in &mut self.hosts {
            host.now = self.start + host.clock.at(now);
        }
    }

    /// Lets every host do what is due.
    fn ring(&mut self) {
        for host in &mut self.hosts {
            let is_due = host.next_timeout().is_some_and(|at| at <= host.now);
            if is_due && host.power == Power::On {
                host.handle_timeout();
            }
        }
    }

    fn plan(&mut self, at: Duration, task: Task) -> u64 {
        self.tasks += 1;
        self.agenda.insert((at, self.tasks), task);
        self.tasks
    }

    fn host(&mut self, number: usize) -> &mut Host {
        self.hosts.get_mut(number).expect("a host of this world")
    }

    /// Hands a datagram to its receiver.
    fn deliver(&mut self, parcel: Parcel) {
        let now = self.now;
        let Parcel { to, from, path, letter, sent_at, is_odd } = parcel;
        if from.is_none() {
            self.watch.strangers.asked(path.remote.ip(), letter.octets().len());
        }
        if self.host(to).power != Power::On {
            return;
        }
        match letter {
            Letter::Ike(octets) => {
                if let Ok(header) = Header::read(&mut Reader(&octets)) {
                    match isakmp::Header::read(&mut Reader(&octets)) {
                        Ok(header) => self.watch.chains.arrived(&header, &octets),
                        Err(_) => self.watch.windows.arrived(to, &header),
                    }
                    // Cookies stand where SPIs do.
                    self.watch.strangers.arrived(path.remote.ip(), &header, &octets);
                }
                self.host(to).handle_ike(path, &octets);
            }
            Letter::Esp(esp) => self.deliver_esp(to, path, &esp, sent_at, is_odd),
            Letter::Clear(octets) => self.came_in(to, &octets),
            Letter::Keepalive => {}
        }
        self.digest.add_number(u64::try_from(now.as_nanos()).unwrap_or(u64::MAX));
    }

    fn deliver_esp(
        &mut self,
        to: usize,
        path: Path,
        esp: &EspLetter,
        sent_at: Duration,
        is_odd: bool,
    ) {
        let came = self.host(to).handle_esp(path, esp);
        if !is_odd {
            let was_down = self.watch.back.get(&to).is_some_and(|back| *back >= sent_at);
            let spi = esp.esp().first_chunk().map(|spi| u32::from_be_bytes(*spi));
            let gone = spi.and_then(|spi| self.gone(to, Spi(spi), sent_at));
            let engine = &self.host(to).engine;
            let end = spi.and_then(|spi| engine.end_of(Spi(spi)));
            let (had_pair, dropped) = (esp.must_arrive, came.dropped);
            let seen = protect::Arrival { had_pair, was_down, end, gone, dropped };
            let broken = protect::arrived(seen);
            let text = |broken: Broken| {
                let (sent, spi) = (sent_at.as_secs_f64(), spi.unwrap_or_default());
                let to = host_name(to);
                let seen = format!("{}, SPI {spi:08x}, to {to}, sent at {sent:.3}", broken.seen);
                Broken { seen, ..broken }
            };
            self.note_broken(broken.map(text));
        }
        for packet in &came.packets {
            self.came_in(to, packet);
        }
    }

    /// How a packet has missed the child SA with this inbound SPI, if that is gone.
    fn gone(&self, to: usize, spi: Spi, sent_at: Duration) -> Option<protect::Gone> {
        let host = self.hosts.get(to)?;
        let over_at = host.engine.gone_at(spi)?.saturating_duration_since(self.start);
        let now = host.now.saturating_duration_since(self.start);
        let since = self.watch.jumps.iter().filter(|(host, at, _)| *host == to && *at >= sent_at);
        let jumped = since.map(|(_, _, by)| *by).sum();
        Some(protect::Gone { over_at, now, jumped })
    }

    /// Puts what the hosts have sent on its way, and tells the watch what they have done.
    fn flush(&mut self) {
        for number in 0..self.hosts.len() {
            for sight in std::mem::take(&mut self.host(number).sights) {
                self.see(number, sight);
            }
            for note in std::mem::take(&mut self.host(number).notes) {
                self.story.note(self.now, number, note);
            }
            let mut unreachable = BTreeSet::new();
            for (path, letter) in std::mem::take(&mut self.host(number).outbox) {
                if self.post(number, path, letter) == Fate::NotOurs {
                    unreachable.insert((path.local, path.remote));
                }
            }
            for (local, remote) in unreachable {
                self.host(number).unreachable(Path::udp(local, remote));
            }
        }
    }

    fn see(&mut self, host: usize, sight: Sight) {
        let broken = match sight {
            Sight::Child(sa) => {
                let ends = self.scenario.tunnels.get(sa.tunnel);
                let peer = ends.map_or(host, |tunnel| tunnel.peer_of(host));
                let outer = sa.outer.map(|outer| outer.seen());
                let all = [Some((sa.spi_in, sa.spi_out, sa.keys_in, sa.keys_out)), outer];
                all.into_iter().flatten().find_map(|(spi_in, spi_out, keys_in, keys_out)| {
                    let inbound = self.watch.keys.child(host, spi_in, keys_in);
                    inbound.or_else(|| self.watch.keys.child(peer, spi_out, keys_out))
                })
            }
            Sight::ChildGone(spi) => {
                self.watch.keys.forget(host, spi);
                None
            }
            Sight::IkeSa { spis, keys } => self.watch.keys.ike_sa(spis, keys),
            Sight::Failed(reason) => codes::failed(&reason),
        };
        self.note_broken(broken);
    }

    /// Sends a datagram of a host.
    fn post(&mut self, from: usize, path: Path, mut letter: Letter) -> Fate {
        self.digest.add(letter.octets());
        match &mut letter {
            Letter::Ike(octets) => self.watch_ike(from, path, octets),
            Letter::Esp(esp) => self.watch_esp(from, esp),
            Letter::Keepalive | Letter::Clear(_) => {}
        }
        if let Letter::Clear(octets) = &letter {
            // In clear it goes by the addresses in it, which no router here knows.
            if let Some(to) = traffic::destination(octets) {
                self.came_in(to, &octets.clone());
            }
            return Fate::Arrives;
        }
        let remembered = matches!(letter, Letter::Ike(_)).then(|| letter.clone());
        let fate = self.net.send(Some(from), path, letter, self.now);
        if let Some(letter @ Letter::Ike(_)) = remembered {
            self.story.message(self.now, from, path, letter.octets(), fate);
            self.overhear(from, path, letter);
        }
        fate
    }

    fn watch_ike(&mut self, from: usize, path: Path, octets: &[u8]) {
        let Ok(header) = Header::read(&mut Reader(octets)) else { return };
        let broken = match isakmp::Header::read(&mut Reader(octets)) {
            Ok(header) => self.watch.chains.sent(from, &header, octets),
            Err(_) => {
                let broken = self.watch.windows.sent(from, &header);
                broken.or_else(|| self.watch.nonces.ike(&header, octets))
            }
        };
        self.note_broken(broken);
        self.watch.strangers.sent(octets, self.scenario.is_followed(from));
        let broken = self.watch.strangers.answered(path.remote.ip(), &header, octets.len());
        self.note_broken(broken);
    }

    fn overhear(&mut self, from: usize, path: Path, letter: Letter) {
        if self.overheard.len() == OVERHEARD_MAX {
            self.overheard.pop_front();
        }
        let (to, sent_at) = (from, self.now);
        let parcel = Parcel { to, from: Some(from), path, letter, sent_at, is_odd: true };
        self.overheard.push_back(parcel);
    }
}
