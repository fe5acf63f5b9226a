//! Child SAs in the kernel: a state for each direction, what they have carried, and their end.
//!
//! Of a bundle (RFC 2401 §4.3) there are two for each direction, AH in transport mode around ESP, which come and
//! go as one.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use adit_crypto::Protection;
use adit_dataplane::{
    DropCounters, DropReason, EXPIRY_INTERVAL, IpCompCounters, SaCounters, prudent,
};
use adit_db::{
    Amounts, ChildSa, ChildSaId, ConnectionName, DfPolicy, Dscp, DscpPolicy, EcnPolicy,
    Encapsulation, HwOffload, Lifetime, Mark,
};
use adit_ike::PacketEvent;
use adit_sys::clock;
use adit_sys::netlink::Netlink;
use adit_sys::route::MARK;
use adit_sys::xfrm::{
    EncapPorts, Migration, Offload, Refusal, Replay, State, StateId, StateInfo, Xfrm,
};
use adit_wire::esp::Spi;
use adit_wire::iana::IpProtocol;
use adit_wire::ikev2::TrafficSelector;
use tracing::{debug, error, warn};

use super::Place;
use super::policies::{Bundle, Group};
use crate::message::KernelReport;

/// All child SAs that the kernel has for us.
#[derive(Debug, Default)]
pub(super) struct Sas {
    sas: BTreeMap<ChildSaId, KernelSa>,
    /// Whose inbound half goes when the packets under way have arrived, the earliest first.
    leaving: VecDeque<(Instant, ChildSaId)>,
    /// Where the last look ended.
    looked_at: Option<ChildSaId>,
    /// What the kernel last objected to, until somebody asks.
    refusal: Option<Refused>,
}

/// What the kernel did not do for an SA.
#[derive(Debug)]
pub(super) struct Refused {
    pub(super) error: Refusal,
    /// The network device that should have done it.
    pub(super) device: Option<String>,
}

#[derive(Debug)]
struct KernelSa {
    /// With its keys: a peer that moves makes the states anew.
    sa: Box<ChildSa>,
    /// AH around its ESP.
    outer: Option<Box<Self>>,
    /// It is around packets of the other family, too: policies of that one ask for it.
    is_mixed: bool,
    place: Place,
    /// The network device that does a part of it, by number.
    device: Option<u32>,
    /// Whether the outbound half is in the kernel.
    sends: bool,
    inbound: Flow,
    outbound: Flow,
    /// When a soft limit was last told.
    soft: Option<Instant>,
    /// Where the peer was last seen elsewhere, and when that was told.
    moved: Option<(SocketAddr, Instant)>,
}

/// What one direction had carried at the last look.
#[derive(Clone, Copy, Debug, Default)]
struct Flow {
    packets: u64,
    octets: u64,
    sequence: u64,
    drops: DropCounters,
    last_used: Option<Instant>,
    /// What of it states carried that are gone since.
    packets_before: u64,
    octets_before: u64,
}

/// What the kernel says of a device that has no ESP: not every kernel does.
const EOPNOTSUPP: i32 = 95;
/// SAs looked at in one go; the others have their turn next time.
const LOOKS_MAX: usize = 256;
/// Least time between two reports of the same new address.
const MOVED_INTERVAL: Duration = Duration::from_secs(1);
/// Sequence numbers left out when an SA moves: more than can be sent in between, so that none is
/// used twice.
const SEQUENCE_LEAP: u64 = 1 << 20;
/// Packets after which a sender without ESN should be replaced: all but a sixteenth.
const PACKETS_SOFT: u64 = (1 << 32) - (1 << 28);
/// Packets after which it must not send (RFC 4303 §3.3.3).
const PACKETS_HARD: u64 = (1 << 32) - 1;

impl Sas {
    pub(super) fn is_empty(&self) -> bool {
        self.sas.is_empty()
    }

    /// What the kernel last objected to.
    pub(super) fn take_refusal(&mut self) -> Option<Refused> {
        self.refusal.take()
    }

    /// The tunnel of an SA.
    pub(super) fn tunnel_of(&self, child: ChildSaId) -> Option<ConnectionName> {
        self.sas.get(&child).map(|entry| entry.sa.connection.clone())
    }

    /// When the next inbound half goes.
    pub(super) fn next_leaving(&self) -> Option<Instant> {
        self.leaving.front().map(|(at, _)| *at)
    }

    /// Gives an SA to the kernel, its outbound half only if it is `active`. False if the kernel
    /// refuses; then it has neither (CHECKLIST I15).
    pub(super) fn install(
        &mut self,
        sa: Box<ChildSa>,
        place: Place,
        active: bool,
        now: Instant,
        xfrm: &mut Xfrm,
    ) -> bool {
        if matches!(sa.protection, Protection::Ah(_)) {
            error!("AH alone is for the engine in user space");
            return false;
        }
        let mut entry = KernelSa::new(sa, place);
        entry.find_device();
        if let Err(refusal) = entry.put_inbound(xfrm) {
            error!(error = %refusal, "the kernel refuses an inbound SA");
            self.refusal = Some(entry.refused(refusal));
            return false;
        }
        let child = entry.sa.id;
        self.sas.insert(child, entry);
        if active && !self.activate(child, xfrm) {
            self.leaving.push_front((now, child));
            self.let_go(now, xfrm);
            return false;
        }
        true
    }

    /// Sends on an SA from now on; false if the kernel refuses.
    pub(super) fn activate(&mut self, child: ChildSaId, xfrm: &mut Xfrm) -> bool {
        let Some(entry) = self.sas.get_mut(&child).filter(|entry| !entry.sends) else {
            return true;
        };
        match entry.put_outbound(xfrm) {
            Ok(()) => entry.set_sending(true),
            Err(refusal) => {
                error!(error = %refusal, "the kernel refuses an outbound SA");
                self.refusal = Some(entry.refused(refusal));
            }
        }
        entry.sends
    }

    /// The SA sends nothing more, and receives until `at`; policies stop to count on it.
    pub(super) fn retire(&mut self, child: ChildSaId, at: Instant) {
        if let Some(entry) = self.sas.get_mut(&child) {
            entry.set_sending(false);
            let place = self.leaving.partition_point(|(other, _)| *other <= at);
            self.leaving.insert(place, (at, child));
        }
    }

    /// Takes the outbound half out of the kernel.
    pub(super) fn remove_outbound(&self, child: ChildSaId, xfrm: &mut Xfrm) {
        if let Some(entry) = self.sas.get(&child) {
            entry.layers().for_each(|sa| note(xfrm.delete_state(&sa.outbound_id())));
        }
    }

    /// Takes out of the kernel what has waited long enough; true if there was something.
    pub(super) fn let_go(&mut self, now: Instant, xfrm: &mut Xfrm) -> bool {
        let mut gone = false;
        while let Some((_, child)) = self.leaving.pop_front_if(|(at, _)| *at <= now) {
            if let Some(entry) = self.sas.remove(&child) {
                entry.layers().for_each(|sa| note(xfrm.delete_state(&sa.inbound_id())));
                gone = true;
            }
        }
        gone
    }

    /// Takes everything out of the kernel.
    pub(super) fn remove_all(&mut self, xfrm: &mut Xfrm) {
        for (_, entry) in std::mem::take(&mut self.sas) {
            for sa in entry.layers() {
                note(xfrm.delete_state(&sa.outbound_id()));
                note(xfrm.delete_state(&sa.inbound_id()));
            }
        }
    }

    /// The peer has another address, or is inside UDP from now on. False if the kernel refuses.
    pub(super) fn move_to(
        &mut self,
        child: ChildSaId,
        encap: Encapsulation,
        xfrm: &mut Xfrm,
    ) -> bool {
        let number = self.sas.get(&child).map(|entry| entry.place.reqid);
        let mut others =
            self.sas.iter().filter(|(id, one)| **id != child && Some(one.place.reqid) == number);
        let alone = !others.any(|(_, one)| one.is_in_kernel(xfrm));
        let Some(entry) = self.sas.get_mut(&child) else { return true };
        entry.moved = None;
        match entry.move_to(encap, alone, xfrm) {
            Ok(()) => true,
            Err(refusal) => {
                error!(error = %refusal, "the kernel does not move an SA");
                self.refusal = Some(entry.refused(refusal));
                false
            }
        }
    }

    /// SAs by the policies that serve them.
    pub(super) fn groups(&self) -> Vec<Group> {
        let mut groups: BTreeMap<(u32, IpAddr), Group> = BTreeMap::new();
        // In order of age: the newest one that sends decides where to.
        for entry in self.sas.values() {
            let sa = &entry.sa;
            let ends = (sa.encap.local.ip(), sa.encap.remote.ip());
            let group = groups.entry((entry.place.reqid, ends.1)).or_insert_with(|| Group {
                place: entry.place,
                local: sa.local_ts.clone(),
                remote: sa.remote_ts.clone(),
                mode: sa.mode,
                bundle: entry.bundle(),
                ends,
                sends: false,
                device: None,
                newest: sa.id,
            });
            group.sends |= entry.sends;
            group.newest = sa.id;
            group.device = entry.device.filter(|_| entry.place.offload == HwOffload::Packet);
            if entry.sends {
                (group.ends, group.mode) = (ends, sa.mode);
                group.bundle = entry.bundle();
            }
        }
        groups.into_values().collect()
    }

    /// An SA has reached a limit: without AH around it ESP goes nowhere, so that both are over.
    pub(super) fn expired(
        &mut self,
        destination: IpAddr,
        protocol: IpProtocol,
        spi: Spi,
        hard: bool,
        now: Instant,
    ) -> Option<PacketEvent> {
        let is_it =
            |id: StateId| (id.destination, id.protocol, id.spi) == (destination, protocol, spi);
        let found = self.sas.iter_mut().find(|(_, entry)| {
            entry.layers().any(|sa| is_it(sa.inbound_id()) || is_it(sa.outbound_id()))
        });
        let (child, entry) = found?;
        if hard {
            return Some(PacketEvent::HardExpire { child: *child });
        }
        let told = entry.soft.replace(now);
        told.is_none().then_some(PacketEvent::SoftExpire { child: *child })
    }

    /// A packet came from another address.
    pub(super) fn moved(
        &mut self,
        spi: Spi,
        remote: SocketAddr,
        now: Instant,
    ) -> Option<PacketEvent> {
        let (child, entry) = self.sas.iter_mut().find(|(_, entry)| entry.sa.spi_in == spi)?;
        let told = entry.moved.is_some_and(|(last, at)| {
            last == remote && now.saturating_duration_since(at) < MOVED_INTERVAL
        });
        if told || entry.sa.encap.remote == remote {
            return None;
        }
        entry.moved = Some((remote, now));
        Some(PacketEvent::PeerMoved { child: *child, remote })
    }

    /// Looks at what some of the SAs have carried: a packet that came in is a sign of life
    /// (RFC 7296 §2.4), and a limit that was reached is told again while the SA is there.
    pub(super) fn look(&mut self, now: Instant, xfrm: &mut Xfrm) -> Vec<PacketEvent> {
        let mut events = Vec::new();
        let after = self.looked_at.take();
        let order = self.sas.keys().filter(|id| Some(**id) > after).copied();
        let order: Vec<ChildSaId> = order.take(LOOKS_MAX).collect();
        if order.len() == LOOKS_MAX {
            self.looked_at = order.last().copied();
        }
        for child in order {
            let Some(entry) = self.sas.get_mut(&child) else { continue };
            let (received, sent) = (entry.inbound.packets, entry.outbound.packets);
            entry.look(now, xfrm);
            let receives = entry.inbound.packets > received;
            if receives {
                events.push(PacketEvent::Traffic { child });
            }
            let is_watched = entry.sa.lifetime.idle.is_some();
            if is_watched && (receives || entry.outbound.packets > sent) {
                events.push(PacketEvent::Used { child });
            }
            let overdue = |at: Instant| now.saturating_duration_since(at) >= EXPIRY_INTERVAL;
            if entry.soft.is_some_and(overdue) {
                entry.soft = Some(now);
                events.push(PacketEvent::SoftExpire { child });
            }
        }
        events
    }

    /// What all SAs have carried.
    pub(super) fn report(&mut self, xfrm: &mut Xfrm) -> KernelReport {
        let mut report = KernelReport::default();
        for entry in self.sas.values_mut() {
            entry.look(clock::now(), xfrm);
            for sa in entry.layers() {
                let (inbound, outbound) = sa.counters();
                report.inbound.push(inbound);
                report.outbound.push(outbound);
            }
        }
        report
    }

    /// What one SA has carried, in and out.
    pub(super) fn counters_of(
        &mut self,
        child: ChildSaId,
        xfrm: &mut Xfrm,
    ) -> Option<(SaCounters, SaCounters)> {
        let entry = self.sas.get_mut(&child)?;
        entry.look(clock::now(), xfrm);
        Some(entry.counters())
    }
}

/// Adds a state. A kernel whose device cannot take it may do the work itself and say nothing.
fn put(state: &State<'_>, xfrm: &mut Xfrm) -> Result<(), Refusal> {
    xfrm.add_state(state)?;
    if state.offload.is_none() || xfrm.state(&state.id)?.is_some_and(|info| info.offloaded) {
        return Ok(());
    }
    note(xfrm.delete_state(&state.id));
    Err(io::Error::from_raw_os_error(EOPNOTSUPP).into())
}

fn note(removed: Result<(), Refusal>) {
    if let Err(refusal) = removed {
        warn!(error = %refusal, "an SA stays in the kernel");
    }
}

impl KernelSa {
    fn new(mut sa: Box<ChildSa>, place: Place) -> Self {
        let is_other = |ts: &TrafficSelector| ts.start.is_ipv4() != sa.encap.local.is_ipv4();
        let is_mixed = sa.local_ts.iter().any(is_other);
        let around = |outer| Self { is_mixed, ..Self::new(Box::new(outer), place) };
        let outer = sa.take_outer().map(|outer| Box::new(around(outer)));
        Self {
            sa,
            outer,
            is_mixed: false,
            place,
            device: None,
            sends: false,
            inbound: Flow::default(),
            outbound: Flow::default(),
            soft: None,
            moved: None,
        }
    }

    /// Itself, and then AH around it.
    fn layers(&self) -> impl Iterator<Item = &Self> {
        std::iter::once(self).chain(self.outer.as_deref())
    }

    /// What its packets go out by, if it is a bundle.
    fn bundle(&self) -> Option<Bundle> {
        let outer = self.outer.as_ref()?;
        Some(Bundle { esp: self.sa.spi_out, ah: outer.sa.spi_out })
    }

    fn set_sending(&mut self, sends: bool) {
        self.sends = sends;
        self.outer.iter_mut().for_each(|outer| outer.sends = sends);
    }

    /// Both parts of a bundle, or neither.
    fn put_inbound(&self, xfrm: &mut Xfrm) -> Result<(), Refusal> {
        let outer = self.outer.as_deref();
        outer.map_or(Ok(()), |outer| put(&outer.inbound_state(None), xfrm))?;
        put(&self.inbound_state(None), xfrm).inspect_err(|_| {
            outer.into_iter().for_each(|outer| note(xfrm.delete_state(&outer.inbound_id())));
        })
    }

    /// The same for what is sent.
    fn put_outbound(&self, xfrm: &mut Xfrm) -> Result<(), Refusal> {
        let outer = self.outer.as_deref();
        outer.map_or(Ok(()), |outer| put(&outer.outbound_state(None), xfrm))?;
        put(&self.outbound_state(None), xfrm).inspect_err(|_| {
            outer.into_iter().for_each(|outer| note(xfrm.delete_state(&outer.outbound_id())));
        })
    }

    fn protocol(&self) -> IpProtocol {
        match self.sa.protection {
            Protection::Esp(_) => IpProtocol::ESP,
            Protection::Ah(_) => IpProtocol::AH,
        }
    }

    fn inbound_id(&self) -> StateId {
        let Encapsulation { local, remote, .. } = self.sa.encap;
        let (source, destination) = (remote.ip(), local.ip());
        let protocol = self.protocol();
        StateId { source, destination, protocol, spi: self.sa.spi_in, mark: None }
    }

    fn outbound_id(&self) -> StateId {
        let Encapsulation { local, remote, .. } = self.sa.encap;
        let (source, destination) = (local.ip(), remote.ip());
        let mark = self.place.tags.mark;
        let protocol = self.protocol();
        StateId { source, destination, protocol, spi: self.sa.spi_out, mark }
    }

    /// The peer's half. Its limits of time are watched by ours; here time only closes it.
    fn inbound_state(&self, replay: Option<Replay>) -> State<'_> {
        let sa = &self.sa;
        let Encapsulation { udp, local, remote, .. } = sa.encap;
        let lifetime = prudent(sa.lifetime, sa.protection);
        let soft = Amounts { time: None, ..lifetime.soft };
        State {
            id: self.inbound_id(),
            keys: &sa.keys_in,
            encap: udp.then_some(EncapPorts { source: remote.port(), destination: local.port() }),
            lifetime: Lifetime { soft, ..lifetime },
            replay: replay.unwrap_or_else(|| Replay::receiving(sa.replay_window, sa.esn)),
            // What is opened meets the policies in which it is asked for.
            output_mark: self.place.tags.mark,
            offload: self.offload(true),
            ..self.common_state()
        }
    }

    /// Our half.
    fn outbound_state(&self, replay: Option<Replay>) -> State<'_> {
        let sa = &self.sa;
        let Encapsulation { udp, local, remote, .. } = sa.encap;
        let lifetime = prudent(sa.lifetime, sa.protection);
        State {
            id: self.outbound_id(),
            keys: &sa.keys_out,
            encap: udp.then_some(EncapPorts { source: local.port(), destination: remote.port() }),
            lifetime: if sa.esn { lifetime } else { short_of_packets(lifetime) },
            replay: replay.unwrap_or_else(|| Replay::sending(sa.esn)),
            any_family: self.is_mixed,
            // Our own routes are not for what is protected already.
            output_mark: Some(Mark { value: MARK, mask: u32::MAX }),
            offload: self.offload(false),
            ..self.common_state()
        }
    }

    fn common_state(&self) -> State<'_> {
        let sa = &self.sa;
        State {
            id: self.outbound_id(),
            reqid: self.place.reqid,
            mode: sa.mode,
            protection: sa.protection,
            keys: &sa.keys_out,
            encap: None,
            lifetime: Lifetime::NONE,
            replay: Replay::default(),
            selector: None,
            any_family: false,
            clear_dscp: sa.dscp == DscpPolicy::Set(Dscp::default()),
            clear_ecn: sa.ecn == EcnPolicy::Compatibility,
            clear_df: sa.df == DfPolicy::Clear,
            output_mark: None,
            if_id: self.place.tags.if_id,
            offload: None,
        }
    }

    /// The device on the way to the peer, if one is to do a part of the work.
    fn find_device(&mut self) {
        self.device = None;
        if self.place.offload == HwOffload::Off {
            return;
        }
        let remote = self.sa.encap.remote.ip();
        let way = Netlink::open().and_then(|mut netlink| netlink.lookup_route(remote, None, MARK));
        match way {
            Ok(way) => self.device = Some(way.interface),
            // The kernel looks for one, and says what it thinks of it.
            Err(_) => self.device = Some(0),
        }
    }

    fn offload(&self, inbound: bool) -> Option<Offload> {
        let packet = self.place.offload == HwOffload::Packet;
        self.device.map(|interface| Offload { interface, inbound, packet })
    }

    fn refused(&self, error: Refusal) -> Refused {
        let name = self.device.and_then(|device| {
            let links = Netlink::open().and_then(|mut netlink| netlink.links()).ok()?;
            links.into_iter().find(|link| link.index == device).map(|link| link.name)
        });
        Refused { error, device: name }
    }

    /// Moves both states to other addresses or ports. `alone`: no other SA has its number.
    fn move_to(
        &mut self,
        encap: Encapsulation,
        alone: bool,
        xfrm: &mut Xfrm,
    ) -> Result<(), Refusal> {
        if encap == self.sa.encap {
            return Ok(());
        }
        self.look(clock::now(), xfrm);
        if let Some(outer) = &mut self.outer {
            // Two are moved by two messages, with packets between them, in any case.
            let around = Encapsulation { udp: false, tcp: false, ..encap };
            outer.make_anew(around, xfrm)?;
            return self.make_anew(encap, xfrm);
        }
        // The kernel finds what is to move by number and addresses, and might take another one; it
        // takes nothing out of UDP; and before 6.14 it leaves behind what a device does.
        let plain = self.place.offload == HwOffload::Off;
        if alone && plain && (encap.udp || !self.sa.encap.udp) {
            let before = self.sa.encap;
            match self.migrate(encap, xfrm) {
                Ok(()) => return Ok(()),
                Err(refusal) => {
                    debug!(error = %refusal, "the kernel moves no SA: it is made anew");
                    self.sa.encap = before;
                }
            }
        }
        self.make_anew(encap, xfrm)
    }

    /// Whether the kernel has a state of it, as far as it tells: those of one that leaves may have come to their hard
    /// limit.
    fn is_in_kernel(&self, xfrm: &mut Xfrm) -> bool {
        let ids = [self.inbound_id(), self.outbound_id()];
        ids.iter().any(|id| !matches!(xfrm.state(id), Ok(None)))
    }

    /// Lets the kernel move the states: numbers and windows go on where they are.
    ///
    /// A packet sent in the moment in which there are both has a number that is used once more; the
    /// peer drops one of the two. No IV is: the kernel's hold a salt that each state draws anew.
    fn migrate(&mut self, encap: Encapsulation, xfrm: &mut Xfrm) -> Result<(), Refusal> {
        let old = (self.inbound_id(), self.outbound_id());
        self.sa.encap = encap;
        let new = (self.inbound_id(), self.outbound_id());
        let (local, remote) = (encap.local.port(), encap.remote.port());
        let received = EncapPorts { source: remote, destination: local };
        let sent = EncapPorts { source: local, destination: remote };
        let opened = self.place.tags.mark.map(|mark| mark.value);
        let inbound = self.migrate_half(&old.0, &new.0, received, opened, xfrm)?;
        self.inbound.go_on_from(inbound.packets);
        if self.sends {
            let outbound = self.migrate_half(&old.1, &new.1, sent, Some(MARK), xfrm)?;
            self.outbound.go_on_from(outbound.packets);
        }
        Ok(())
    }

    /// Moves one state, and looks whether it has arrived whole: kernels before 5.6 forget the mark.
    fn migrate_half(
        &self,
        old: &StateId,
        new: &StateId,
        ports: EncapPorts,
        mark: Option<u32>,
        xfrm: &mut Xfrm,
    ) -> Result<StateInfo, Refusal> {
        xfrm.migrate(&Migration {
            old: (old.source, old.destination),
            new: (new.source, new.destination),
            reqid: self.place.reqid,
            mode: self.sa.mode,
            if_id: self.place.tags.if_id,
            encap: self.sa.encap.udp.then_some(ports),
        })?;
        let arrived = xfrm.state(new)?.filter(|info| info.output_mark == mark);
        arrived.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound).into())
    }

    /// Makes both states anew with other addresses; windows and counters go on. A packet in the
    /// moment between is dropped, as the policies stand. What has moved already goes, too.
    fn make_anew(&mut self, encap: Encapsulation, xfrm: &mut Xfrm) -> Result<(), Refusal> {
        let old = (self.inbound_id(), self.outbound_id());
        self.sa.encap = encap;
        self.find_device();
        let new = (self.inbound_id(), self.outbound_id());
        let received = take(&[old.0, new.0], xfrm)?;
        let sent = if self.sends { take(&[old.1, new.1], xfrm)? } else { None };
        self.inbound.begin_anew();
        self.outbound.begin_anew();
        put(&self.inbound_state(received), xfrm)?;
        if self.sends {
            let leap = |replay: Replay| Replay {
                sent: replay.sent.saturating_add(SEQUENCE_LEAP),
                bitmap: Vec::new(),
                ..replay
            };
            put(&self.outbound_state(sent.map(leap)), xfrm)?;
        }
        Ok(())
    }

    /// Asks the kernel what both halves have carried, and AH around them; a half that is gone has carried what it had.
    fn look(&mut self, now: Instant, xfrm: &mut Xfrm) {
        self.outer.iter_mut().for_each(|outer| outer.look(now, xfrm));
        if let Ok(Some(info)) = xfrm.state(&self.inbound_id()) {
            let sequence = info.replay.as_ref().map_or(0, |replay| replay.received);
            self.inbound.update(&info, sequence, now);
        }
        if !self.sends {
            return;
        }
        if let Ok(Some(info)) = xfrm.state(&self.outbound_id()) {
            let sequence = info.replay.as_ref().map_or(0, |replay| replay.sent);
            self.outbound.update(&info, sequence, now);
        }
    }

    fn counters(&self) -> (SaCounters, SaCounters) {
        let of = |flow: Flow, spi| SaCounters {
            path: None,
            child: self.sa.id,
            spi,
            packets: flow.packets,
            octets: flow.octets,
            last_used: flow.last_used,
            sequence: flow.sequence,
            drops: flow.drops,
            ecn_suspicious: 0,
            ipcomp: IpCompCounters::default(),
        };
        (of(self.inbound, self.sa.spi_in), of(self.outbound, self.sa.spi_out))
    }
}

/// Removes a state, wherever it is, and returns its numbers.
fn take(places: &[StateId], xfrm: &mut Xfrm) -> Result<Option<Replay>, Refusal> {
    let mut replay = None;
    for place in places {
        let found = xfrm.state(place)?.and_then(|info| info.replay);
        replay = found.or(replay);
        xfrm.delete_state(place)?;
    }
    Ok(replay)
}

/// A sender with numbers of 32 bits is replaced before they end.
fn short_of_packets(lifetime: Lifetime) -> Lifetime {
    let at_most = |amounts: Amounts, most: u64| Amounts {
        packets: Some(amounts.packets.map_or(most, |packets| packets.min(most))),
        ..amounts
    };
    Lifetime {
        soft: at_most(lifetime.soft, PACKETS_SOFT),
        hard: at_most(lifetime.hard, PACKETS_HARD),
        ..lifetime
    }
}

impl Flow {
    /// The state is about to be made anew, and will count from zero.
    fn begin_anew(&mut self) {
        (self.packets_before, self.octets_before) = (self.packets, self.octets);
    }

    /// The state has moved, and counts from there: kernels differ in whether its counters do.
    fn go_on_from(&mut self, packets: u64) {
        if packets < self.packets.saturating_sub(self.packets_before) {
            self.begin_anew();
        }
    }

    fn update(&mut self, info: &StateInfo, sequence: u64, now: Instant) {
        let packets = self.packets_before.saturating_add(info.packets);
        if packets > self.packets {
            self.last_used = Some(now);
        }
        self.packets = packets;
        self.octets = self.octets_before.saturating_add(info.octets);
        self.sequence = sequence;
        self.drops.set(DropReason::TooOld, info.too_old.into());
        self.drops.set(DropReason::Replayed, info.replayed.into());
        self.drops.set(DropReason::BadIcv, info.bad_icv.into());
    }
}
