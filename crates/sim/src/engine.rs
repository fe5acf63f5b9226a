//! A packet engine reduced to what two gateways must agree on: which child SAs are installed, with
//! which keys, and on which one traffic goes out.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use adit_crypto::{Protection, Secret, sha1};
use adit_db::{
    Aggfrag, ChildKeys, ChildName, ChildSa, ChildSaId, Encapsulation, IpComp, Mode, USE_INTERVAL,
};
use adit_wire::esp::Spi;
use adit_wire::ikev2::TrafficSelector;
use adit_wire::ip::FlowKey;

/// A child SA as one side has it installed.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct ChildView {
    /// SPI of packets to this side.
    pub spi_in: Spi,
    /// SPI of packets from this side.
    pub spi_out: Spi,
    /// Digest of the keys of packets to this side.
    pub keys_in: [u8; 20],
    /// Digest of the keys of packets from this side.
    pub keys_out: [u8; 20],
    /// Protocol and algorithms.
    pub protection: Protection,
    /// Whether sequence numbers have 64 bits.
    pub esn: bool,
    /// Whether ESP travels in UDP.
    pub udp: bool,
    /// Whether it is in transport mode.
    pub transport: bool,
    /// Its compression, if it has one.
    pub ipcomp: Option<IpComp>,
    /// How packets share ESP packets, if they do.
    pub aggfrag: Option<Aggfrag>,
    /// This side's selectors.
    pub local_ts: Vec<TrafficSelector>,
    /// The other side's selectors.
    pub remote_ts: Vec<TrafficSelector>,
}

impl ChildView {
    fn mirrored(&self) -> Self {
        Self {
            spi_in: self.spi_out,
            spi_out: self.spi_in,
            keys_in: self.keys_out,
            keys_out: self.keys_in,
            protection: self.protection,
            esn: self.esn,
            udp: self.udp,
            transport: self.transport,
            ipcomp: self
                .ipcomp
                .map(|IpComp { cpi_in, cpi_out }| IpComp { cpi_in: cpi_out, cpi_out: cpi_in }),
            aggfrag: self.aggfrag,
            local_ts: self.remote_ts.clone(),
            remote_ts: self.local_ts.clone(),
        }
    }
}

/// The child SAs that one side has installed. Those of two peers that agree mirror each other.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct ChildSas(BTreeSet<ChildView>);

impl ChildSas {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The same child SAs as the other side should have them.
    #[must_use]
    pub fn mirrored(&self) -> Self {
        Self(self.0.iter().map(ChildView::mirrored).collect())
    }

    /// Each of them.
    pub fn iter(&self) -> impl Iterator<Item = &ChildView> {
        self.0.iter()
    }
}

/// One installed child SA.
#[derive(Debug)]
pub(crate) struct Installed {
    pub(crate) child: ChildName,
    pub(crate) view: ChildView,
    /// Where its packets go.
    pub(crate) encap: Encapsulation,
    /// The newest packet that was opened.
    newest: u64,
    /// Order of [`Engine::activate`]: the newest carries the traffic.
    outbound_since: Option<u64>,
    /// When the inbound half goes; the outbound half is gone already.
    closes: Option<Instant>,
    soft: Option<Instant>,
    hard: Option<Instant>,
    /// Whether it has a limit of idle time, and when its use was reported last.
    watched: bool,
    use_told: Option<Instant>,
}

/// An expiry that has come.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Expiry {
    Soft(ChildSaId),
    Hard(ChildSaId),
}

/// What one side has installed.
#[derive(Debug, Default)]
pub(crate) struct Engine {
    installed: BTreeMap<ChildSaId, Installed>,
    activations: u64,
}

impl Engine {
    pub(crate) fn install(&mut self, sa: ChildSa, outbound: bool, now: Instant) {
        let view = ChildView {
            spi_in: sa.spi_in,
            spi_out: sa.spi_out,
            keys_in: digest(&sa.keys_in),
            keys_out: digest(&sa.keys_out),
            protection: sa.protection,
            esn: sa.esn,
            udp: sa.encap.udp,
            transport: sa.mode == Mode::Transport,
            ipcomp: sa.ipcomp,
            aggfrag: sa.aggfrag,
            local_ts: sorted(sa.local_ts),
            remote_ts: sorted(sa.remote_ts),
        };
        let after = |limit: Option<Duration>| limit.map(|limit| now + limit);
        let installed = Installed {
            child: sa.child,
            view,
            encap: sa.encap,
            newest: 0,
            outbound_since: None,
            closes: None,
            soft: after(sa.lifetime.soft.time),
            hard: after(sa.lifetime.hard.time),
            watched: sa.lifetime.idle.is_some(),
            use_told: None,
        };
        let replaced = self.installed.insert(sa.id, installed);
        assert!(replaced.is_none(), "child SA {} is installed twice", sa.id);
        if outbound {
            self.activate(sa.id);
        }
    }

    /// The addresses of a child SA have changed.
    pub(crate) fn update(&mut self, id: ChildSaId, encap: Encapsulation) {
        let installed = self.installed.get_mut(&id);
        let installed = installed.unwrap_or_else(|| panic!("child SA {id} is not installed"));
        installed.encap = encap;
        installed.view.udp = encap.udp;
    }

    /// Where the packets of a child SA travel.
    pub(crate) fn encap(&self, id: ChildSaId) -> Option<Encapsulation> {
        self.installed.get(&id).map(|sa| sa.encap)
    }

    /// Notes an opened packet; where it came from, if that is news (RFC 7296 §2.23).
    pub(crate) fn note_source(
        &mut self,
        id: ChildSaId,
        number: u64,
        remote: SocketAddr,
    ) -> Option<SocketAddr> {
        let sa = self.installed.get_mut(&id)?;
        let is_newest = number > sa.newest;
        sa.newest = sa.newest.max(number);
        (is_newest && sa.encap.udp && sa.encap.remote != remote).then_some(remote)
    }

    pub(crate) fn activate(&mut self, id: ChildSaId) {
        self.activations += 1;
        let installed = self.installed.get_mut(&id);
        let installed = installed.unwrap_or_else(|| panic!("child SA {id} is not installed"));
        installed.outbound_since = Some(self.activations);
    }

    pub(crate) fn remove(&mut self, id: ChildSaId, delay: Duration, now: Instant) {
        let installed = self.installed.get_mut(&id);
        let installed = installed.unwrap_or_else(|| panic!("child SA {id} is not installed"));
        installed.outbound_since = None;
        installed.closes = Some(now + delay);
        (installed.soft, installed.hard) = (None, None);
    }

    /// Forgets the inbound halves whose grace is over.
    pub(crate) fn sweep(&mut self, now: Instant) {
        self.installed.retain(|_, sa| sa.closes.is_none_or(|closes| closes > now));
    }

    /// The next expiry that is due; each comes once.
    pub(crate) fn expired(&mut self, now: Instant) -> Option<Expiry> {
        for (id, sa) in &mut self.installed {
            if sa.hard.take_if(|at| *at <= now).is_some() {
                sa.soft = None;
                return Some(Expiry::Hard(*id));
            }
            if sa.soft.take_if(|at| *at <= now).is_some() {
                return Some(Expiry::Soft(*id));
            }
        }
        None
    }

    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        let timers = |sa: &Installed| [sa.soft, sa.hard, sa.closes];
        self.installed.values().flat_map(timers).flatten().min()
    }

    /// The child SAs that are not about to go.
    pub(crate) fn child_sas(&self) -> ChildSas {
        ChildSas(self.live().map(|(_, sa)| sa.view.clone()).collect())
    }

    /// Installed and not about to go, oldest first.
    pub(crate) fn live(&self) -> impl Iterator<Item = (ChildSaId, &Installed)> {
        self.installed.iter().filter(|(_, sa)| sa.closes.is_none()).map(|(id, sa)| (*id, sa))
    }

    /// How many are installed, those about to go included.
    pub(crate) fn len(&self) -> usize {
        self.installed.len()
    }

    /// The newest installed child SA of a configuration.
    pub(crate) fn newest(&self, child: &ChildName) -> Option<ChildSaId> {
        self.live().filter(|(_, sa)| sa.child == *child).map(|(id, _)| id).last()
    }

    /// The child SA that a packet for this configuration goes out on.
    pub(crate) fn outbound(&self, child: &ChildName) -> Option<(ChildSaId, &ChildView)> {
        let candidates = self.live().filter(|(_, sa)| sa.child == *child);
        let active = candidates.filter(|(_, sa)| sa.outbound_since.is_some());
        active.max_by_key(|(_, sa)| sa.outbound_since).map(|(id, sa)| (id, &sa.view))
    }

    /// The child SA that a packet goes out on, if it is within the selectors of one.
    pub(crate) fn carrier(
        &self,
        child: &ChildName,
        flow: &FlowKey,
    ) -> Option<(ChildSaId, &ChildView)> {
        let carries = |view: &ChildView| {
            view.local_ts.iter().any(|ts| ts.contains_source(flow))
                && view.remote_ts.iter().any(|ts| ts.contains_destination(flow))
        };
        let candidates = self.live().filter(|(_, sa)| sa.child == *child && carries(&sa.view));
        let active = candidates.filter(|(_, sa)| sa.outbound_since.is_some());
        active.max_by_key(|(_, sa)| sa.outbound_since).map(|(id, sa)| (id, &sa.view))
    }

    /// Whether it is to be reported that a child SA is used; if so, it counts as reported.
    pub(crate) fn is_use_news(&mut self, id: ChildSaId, now: Instant) -> bool {
        let Some(sa) = self.installed.get_mut(&id).filter(|sa| sa.watched) else { return false };
        let since = sa.use_told.map(|told| now.saturating_duration_since(told));
        let due = since.is_none_or(|since| since >= USE_INTERVAL);
        if due {
            sa.use_told = Some(now);
        }
        due
    }

    /// Who could open a packet with this SPI and these keys.
    pub(crate) fn opener(&self, spi: Spi, keys: [u8; 20]) -> Option<ChildSaId> {
        let opens = |sa: &Installed| sa.view.spi_in == spi && sa.view.keys_in == keys;
        self.installed.iter().find(|(_, sa)| opens(sa)).map(|(id, _)| *id)
    }
}

fn digest(keys: &ChildKeys) -> [u8; 20] {
    sha1(&[&keys.encryption, &keys.integrity].map(Secret::as_bytes))
}

fn sorted(mut selectors: Vec<TrafficSelector>) -> Vec<TrafficSelector> {
    selectors.sort_unstable();
    selectors
}
