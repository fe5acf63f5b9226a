//! Run-time SAs (RFC 4301 §4.4.2), one type per direction: small, and owned by one thread each. Where
//! several threads send, each has its own part of an outbound SA.

mod cold;
mod path;
mod prudence;
mod selectors;

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use adit_crypto::{
    AuthenticationKey, Extent, KeyLengthError, OpenKey, Prefetch, Protection, SealKey,
};
use adit_db::sad::{Meter, SequenceCounter};
use adit_db::{
    Aggfrag, Amounts, ChildKeys, ChildSa, ChildSaId, DfPolicy, Encapsulation, Hosts,
    IcmpInterfaces, IcmpPassage, IcmpRed, IcmpSide, Lifetime, Mode, MssClamp, PathMtuRule,
    PolicyId, ReplayWindow, SecurityFailures, TableId, Tfc,
};
use adit_wire::esp::Spi;
use adit_wire::iana::IpProtocol;
use adit_wire::ikev2::TrafficSelector;
use adit_wire::ip::{AddressChange, FlowKey, Icmp, IpPacket};

use crate::aggfrag::pack::Packer;
use crate::aggfrag::unpack::Unpacker;
use crate::counters::{IpCompCounters, PathReport, SaCounters};
use crate::drop_reason::DropCounters;
use crate::echo_probe::EchoProbe;
use crate::esp::INNER_MTU;
use crate::event::{Event, Events};
use crate::gateway_notice::ByIke;
use crate::group::Group;
use crate::ipcomp::{Compression, Decompression};
use crate::nesting::Under;
use crate::path_probe::{Begun, PathTalk};
use crate::tos::TosRule;
use crate::transit::TransitLog;

pub use self::cold::EXPIRY_INTERVAL;
use self::cold::{InboundCold, OutboundCold};
pub use self::path::ANSWERS_PER_SA;
use self::path::inner_max_of;
pub use self::prudence::prudent;
use self::selectors::{Selectors, hosts};

/// Cuts a child SA into what the outbound and what the inbound thread need.
///
/// `policy` is the number of the SA's connection and child; `now` begins its lifetime.
///
/// # Errors
///
/// [`KeyLengthError`] if the keys are not those of the cipher.
pub fn split(
    sa: &ChildSa,
    policy: PolicyId,
    now: Instant,
) -> Result<(InboundSa, OutboundSa), KeyLengthError> {
    Ok((InboundSa::new(sa, policy, now)?, OutboundSa::new(sa, policy, now)?))
}

/// Our half of a child SA: what sealing a packet needs.
#[derive(Debug)]
pub struct OutboundSa {
    pub(crate) key: SealingKey,
    pub(crate) sequence: SequenceCounter,
    pub(crate) spi: Spi,
    pub(crate) esn: bool,
    pub(crate) tos: TosRule,
    pub(crate) df: DfPolicy,
    pub(crate) child: ChildSaId,
    pub(crate) policy: PolicyId,
    pub(crate) meter: Meter,
    pub(crate) encap: Encapsulation,
    pub(crate) mode: Mode,
    pub(crate) tfc: Tfc,
    pub(crate) ipcomp: Option<Box<Compression>>,
    /// How packets share its ESP packets, if they do, and what puts them there once there was one.
    pub(crate) agreed: Option<Aggfrag>,
    pub(crate) aggfrag: Option<Box<Packer>>,
    /// Where the IVs begin to count, for keys that have been used before.
    pub(crate) iv_base: u64,
    /// Whether packets of its policy go through it.
    pub(crate) active: bool,
    /// Longest inner packet that goes as it is: what is longer is looked at again, and refused, cut or
    /// let through.
    pub(crate) inner_max: u16,
    /// Longest packet that the interface takes, octets: nothing is filled up beyond that.
    pub(crate) tun_mtu: u16,
    /// The thread that alone sends on it; `None` if all do.
    pub(crate) home: Option<u16>,
    /// Whether it is for its home alone, beside another SA of its policy (RFC 9611).
    pub(crate) is_for_home: bool,
    /// Whether other SAs protect its packets once more.
    is_nested: bool,
    /// Whether any selector asks for more than addresses.
    looks_above_ip: bool,
    /// Whether somebody has said what the first link on its way takes.
    is_link_told: bool,
    /// Who looks at packets: [`USE`], [`WAKE`], [`REVEAL`], [`LONG`], or nobody.
    watched: u8,
    /// Whether both peers have agreed on probes of its path, or somebody answers echo requests.
    talks: bool,
    /// From what its path is probed, while no packet has asked for that.
    pub(crate) begun: Option<Begun>,
    /// What the IKE SA carries.
    by_ike: ByIke,
    selectors: Box<Selectors>,
    /// There once there is something to be remembered.
    cold: Option<Box<OutboundCold>>,
}

/// The peer's half of a child SA: what opening a packet needs.
#[derive(Debug)]
pub struct InboundSa {
    pub(crate) key: OpeningKey,
    pub(crate) window: ReplayWindow,
    pub(crate) spi: Spi,
    pub(crate) child: ChildSaId,
    pub(crate) policy: PolicyId,
    pub(crate) meter: Meter,
    /// Where the newest authentic packet came from.
    pub(crate) remote: SocketAddr,
    pub(crate) udp: bool,
    /// When the control loop is to be told again that packets come in; at once if never yet.
    pub(crate) traffic_due: Option<Instant>,
    pub(crate) mode: Mode,
    /// In transport mode through a NAT: what the sender's checksums miss.
    pub(crate) change: Option<AddressChange>,
    pub(crate) ipcomp: Option<Box<Decompression>>,
    /// How packets share its ESP packets, if they do, and what puts them together once there was one.
    pub(crate) agreed: Option<Aggfrag>,
    pub(crate) aggfrag: Option<Box<Unpacker>>,
    /// Its place under the SAs that protect its packets once more.
    pub(crate) under: Option<Box<Under>>,
    /// Where its packets go.
    pub(crate) table: TableId,
    /// Whether any selector asks for more than addresses.
    looks_above_ip: bool,
    /// If it is from a multicast group: which, and who sends.
    pub(crate) group: Option<Box<Group>>,
    /// What is to be noted: [`USE`], [`TALK`], or nothing.
    watched: u8,
    /// What TCP connections are told that begin from the peer's side, and how long a packet is that the
    /// other half takes.
    mss: MssClamp,
    inner_max: u16,
    selectors: Box<Selectors>,
    /// Where the control loop has the peer, by its mark.
    settled: u8,
    /// What is told about its path, once anything was.
    talk: Option<Box<PathTalk>>,
    /// There once there is something to be remembered.
    cold: Option<Box<InboundCold>>,
}

/// What protects the packets that leave.
#[derive(Debug)]
pub(crate) enum SealingKey {
    Esp(SealKey),
    Ah(AuthenticationKey),
}

/// What proves the packets that come in.
#[derive(Debug)]
pub(crate) enum OpeningKey {
    Esp(OpenKey),
    Ah(AuthenticationKey),
}

impl SealingKey {
    fn new(protection: Protection, keys: &ChildKeys) -> Result<Self, KeyLengthError> {
        Ok(match protection {
            Protection::Esp(cipher) => {
                Self::Esp(SealKey::new(cipher, &keys.encryption, &keys.integrity)?)
            }
            Protection::Ah(algorithm) => {
                Self::Ah(AuthenticationKey::new(algorithm, &keys.integrity)?)
            }
        })
    }
}

impl OpeningKey {
    fn new(protection: Protection, keys: &ChildKeys) -> Result<Self, KeyLengthError> {
        Ok(match protection {
            Protection::Esp(cipher) => {
                Self::Esp(OpenKey::new(cipher, &keys.encryption, &keys.integrity)?)
            }
            Protection::Ah(algorithm) => {
                Self::Ah(AuthenticationKey::new(algorithm, &keys.integrity)?)
            }
        })
    }
}

/// Somebody waits for an SA to be idle.
const USE: u8 = 0b01;

/// Both peers have agreed on messages about the path, or the IKE SA carries them.
const TALK: u8 = 0b1000;

/// The next packet wakes what probes the path.
const WAKE: u8 = 0b10;

/// Packets with few hops left are looked at: routers outside are to be seen.
const REVEAL: u8 = 0b100;

/// Long packets are looked at: they may not arrive.
const LONG: u8 = 0b1_0000;

impl OutboundSa {
    /// The outbound half.
    ///
    /// # Errors
    ///
    /// [`KeyLengthError`] if the keys are not those of the cipher.
    pub fn new(sa: &ChildSa, policy: PolicyId, now: Instant) -> Result<Self, KeyLengthError> {
        let meter = Meter::new(prudent(sa.lifetime, sa.protection), now);
        Self::with(sa, policy, (SequenceCounter::new(sa.esn), meter))
    }

    /// The outbound half for several threads, in their order: no sequence number is given out twice,
    /// and limits hold for what all of them send.
    ///
    /// If it has a home, which is the number of a thread, the others give it their packets: its numbers
    /// leave in order, as a narrow replay window wants them.
    ///
    /// # Errors
    ///
    /// [`KeyLengthError`] if the keys are not those of the cipher.
    pub fn for_threads(
        sa: &ChildSa,
        policy: PolicyId,
        now: Instant,
        threads: u16,
        home: Option<u16>,
    ) -> Result<Vec<Self>, KeyLengthError> {
        if threads <= 1 {
            return Self::new(sa, policy, now).map(|sa| vec![sa]);
        }
        let counters = SequenceCounter::shared(0, sa.esn, threads.into());
        let meters = Meter::shared(prudent(sa.lifetime, sa.protection), now, threads.into());
        let part = |(number, shared): (u16, (SequenceCounter, Meter))| {
            let mut part = Self::with(sa, policy, shared)?;
            part.home = home;
            // One of them is enough to keep up appearances.
            if number != home.unwrap_or_default() {
                part.tfc.dummies = 0;
                part.forget_talk();
            }
            Ok(part)
        };
        (0..threads).zip(counters.zip(meters)).map(part).collect()
    }

    fn with(
        sa: &ChildSa,
        policy: PolicyId,
        (sequence, meter): (SequenceCounter, Meter),
    ) -> Result<Self, KeyLengthError> {
        // Who wants no path MTU wants no packet lost for its length either.
        let df = if sa.mtu.path == PathMtuRule::Ignore { DfPolicy::Clear } else { sa.df };
        let mut outbound = Self {
            key: SealingKey::new(sa.protection, &sa.keys_out)?,
            sequence,
            spi: sa.spi_out,
            esn: sa.esn,
            tos: TosRule::new(sa.dscp, sa.ecn),
            df,
            child: sa.id,
            policy,
            meter,
            encap: sa.encap,
            mode: sa.mode,
            tfc: sa.tfc,
            ipcomp: sa.ipcomp.map(|ipcomp| Box::new(Compression::new(ipcomp))),
            agreed: sa.aggfrag.filter(|_| matches!(sa.protection, Protection::Esp(_))),
            aggfrag: None,
            iv_base: 0,
            active: false,
            inner_max: u16::MAX,
            tun_mtu: INNER_MTU,
            home: None,
            is_for_home: false,
            is_nested: false,
            looks_above_ip: looks_above_ip(sa),
            is_link_told: false,
            watched: if sa.lifetime.idle.is_some() { USE } else { 0 },
            talks: sa.path_probe,
            begun: None,
            by_ike: ByIke::of(sa),
            selectors: Box::new(Selectors::of(sa)),
            cold: OutboundCold::of(sa),
        };
        if outbound.transit().is_some() {
            outbound.watched |= REVEAL;
        }
        outbound.fit_path();
        Ok(outbound)
    }

    /// The child SA it is half of.
    pub fn child(&self) -> ChildSaId {
        self.child
    }

    /// The same SA as one that its home alone has use for (RFC 9611): the other threads have their own,
    /// or send on the one for all.
    #[must_use]
    pub fn for_home(self) -> Self {
        Self { is_for_home: true, ..self }
    }

    /// The same SA with its counter moved on, to continue that of an SA taken over from elsewhere.
    /// It is never moved back: a number given out twice would be a nonce used twice.
    #[must_use]
    pub fn with_sequence_after(mut self, last: u64) -> Self {
        self.sequence.skip_to(last);
        self
    }

    /// The same SA under those of another policy, which protect its packets once more.
    #[must_use]
    pub fn over(mut self, policy: PolicyId) -> Self {
        self.is_nested = true;
        self.cold_mut().over = Some(policy);
        // No packet makes what is fitted to the others.
        self.way_mut();
        self.make_packer();
        self
    }

    /// The policy of the SAs that protect its packets once more.
    pub(crate) fn outer_policy(&self) -> Option<PolicyId> {
        if self.is_nested { self.cold.as_ref()?.over } else { None }
    }

    /// The same SA with IVs that begin to count at a random number, for keys that are written down:
    /// whoever restarts counts packets from 1 again, and an IV that comes again shows which packets
    /// begin alike. Only for ciphers whose IVs are not nonces.
    #[must_use]
    pub fn with_iv_base(self, iv_base: u64) -> Self {
        Self { iv_base, ..self }
    }

    /// When something is to be done though no packet comes: a limit of time, a dummy packet.
    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        let due = self.meter.next_limit().into_iter().chain(self.dummy_due());
        due.chain(self.path().next_timeout()).min()
    }

    /// When the next dummy packet is to be sent, if nothing else is (RFC 4303 §2.6).
    pub(crate) fn dummy_due(&self) -> Option<Instant> {
        let dummies = self.tfc.dummies;
        if dummies == 0 || !self.active {
            return None;
        }
        let interval = Duration::from_secs(1) / u32::from(dummies);
        let sent = self.cold.as_ref().and_then(|cold| cold.dummy_sent);
        let last = self.meter.last_used().max(sent);
        last.and_then(|last| last.checked_add(interval))
    }

    /// Notes that a dummy packet was sent; dummies begin to count from the first call.
    pub(crate) fn note_dummy(&mut self, now: Instant) {
        if self.tfc.dummies > 0 {
            self.cold_mut().dummy_sent = Some(now);
        }
    }

    pub(crate) fn is_ah(&self) -> bool {
        matches!(self.key, SealingKey::Ah(_))
    }

    /// Whether what the other carries is all that this one would: it has nothing to do behind that.
    pub(crate) fn is_idle_behind(&self, other: &Self) -> bool {
        self.selectors == other.selectors && self.is_for_home == other.is_for_home
    }

    /// Whether its packets are of IPv6.
    pub(crate) fn carries_v6(&self) -> bool {
        self.selectors.begin_with_ipv6()
    }

    /// Tells the processor of the key; the SA itself is read for it.
    #[inline]
    pub(crate) fn prefetch_key(&self, by: Prefetch, extent: Extent) {
        match &self.key {
            SealingKey::Esp(key) => key.prefetch(by, extent),
            SealingKey::Ah(_) => {}
        }
    }

    /// Whether the negotiated selectors let this packet out.
    pub(crate) fn carries(&self, flow: &FlowKey) -> bool {
        self.selectors.contain(flow)
    }

    /// How an ICMP message of the protected side gets into it.
    pub(crate) fn passage(&self, protocol: IpProtocol, icmp: Icmp) -> IcmpPassage {
        self.passage_from(IcmpSide::Black, protocol, icmp)
    }

    /// The same of one that comes from this side.
    pub(crate) fn passage_from(&self, side: IcmpSide, of: IpProtocol, icmp: Icmp) -> IcmpPassage {
        self.selectors.passage(side, of, icmp)
    }

    /// What becomes of an ICMP message about its packets from outside.
    pub(crate) fn red(&self, protocol: IpProtocol, icmp: Icmp) -> IcmpRed {
        self.selectors.red(protocol, icmp)
    }

    /// Where outside is, if somebody says so.
    pub(crate) fn interfaces(&self) -> Option<&IcmpInterfaces> {
        self.selectors.interfaces()
    }

    /// Whether the negotiated selectors cannot judge every fragment.
    pub(crate) fn looks_above_ip(&self) -> bool {
        self.looks_above_ip
    }

    /// Counts a packet that passed, of so many inner octets.
    pub(crate) fn count(&mut self, octets: usize, now: Instant, events: &mut Events) {
        self.meter.count(octets, now);
        if self.watched != 0 {
            self.note_use(now, events);
        }
    }

    /// Counts a super-packet as the packets that it stands for.
    pub(crate) fn count_super(
        &mut self,
        packets: usize,
        octets: usize,
        now: Instant,
        events: &mut Events,
    ) {
        self.meter.count_super(u64::try_from(packets).unwrap_or(0), octets, now);
        if self.watched != 0 {
            self.note_use(now, events);
        }
    }

    /// Tells those that wait for packets to pass.
    #[cold]
    fn note_use(&mut self, now: Instant, events: &mut Events) {
        if self.watched & WAKE != 0 && events.wake(self.child, now) {
            self.wake_by_traffic(false);
        }
        if self.watched & USE != 0 && self.newly_used(now) {
            events.push(Event::Used { child: self.child });
        }
    }

    /// Whether the next packet wakes what probes the path.
    pub(crate) fn wake_by_traffic(&mut self, wakes: bool) {
        self.watched = self.watched & !WAKE | if wakes { WAKE } else { 0 };
    }

    /// Whether long packets are looked at before they are sealed.
    #[inline]
    pub(crate) fn watches_long(&self) -> bool {
        self.watched & LONG != 0
    }

    /// Has them looked at, or no more.
    pub(crate) fn watch_long(&mut self, watches: bool) {
        self.watched = self.watched & !LONG | if watches { LONG } else { 0 };
    }

    /// Whether routers on its path are to be seen.
    pub(crate) fn reveals(&self) -> bool {
        self.watched & REVEAL != 0
    }

    /// What is remembered of packets that may end at one of those.
    pub(crate) fn transit(&mut self) -> Option<&mut TransitLog> {
        self.known_way().and_then(|way| way.transit.as_deref_mut())
    }

    /// What went through and what did not.
    pub(crate) fn counters(&self) -> SaCounters {
        let ipcomp = self.ipcomp.as_ref().map(|ipcomp| ipcomp.counters).unwrap_or_default();
        let (mtu, source) = self.path().in_force();
        self.with_cold_counters(SaCounters {
            ipcomp,
            path: Some(PathReport { mtu, inner: self.inner_max, source, told: self.path().told() }),
            ..passed(self.child, self.spi, &self.meter, self.sequence.last())
        })
    }
}

impl InboundSa {
    /// The inbound half.
    ///
    /// Its limits of time are watched by the outbound half; here time only closes the SA.
    ///
    /// # Errors
    ///
    /// [`KeyLengthError`] if the keys are not those of the cipher.
    pub fn new(sa: &ChildSa, policy: PolicyId, now: Instant) -> Result<Self, KeyLengthError> {
        let lifetime = prudent(sa.lifetime, sa.protection);
        let soft = Amounts { time: None, ..lifetime.soft };
        Ok(Self {
            key: OpeningKey::new(sa.protection, &sa.keys_in)?,
            window: ReplayWindow::new(sa.replay_window, sa.esn),
            spi: sa.spi_in,
            child: sa.id,
            policy,
            meter: Meter::new(Lifetime { soft, ..lifetime }, now),
            remote: sa.encap.remote,
            udp: sa.encap.udp,
            traffic_due: None,
            mode: sa.mode,
            change: sa.peer_view.and_then(|view| address_change(view, hosts(sa))),
            ipcomp: sa.ipcomp.map(|ipcomp| Box::new(Decompression::new(ipcomp))),
            agreed: sa.aggfrag,
            aggfrag: None,
            under: None,
            table: TableId::DEFAULT,
            looks_above_ip: looks_above_ip(sa),
            group: None,
            watched: if sa.lifetime.idle.is_some() { USE } else { 0 }
                | if sa.path_probe || sa.notices { TALK } else { 0 },
            selectors: Box::new(Selectors::of(sa)),
            settled: mark_of(sa.encap.remote),
            talk: None,
            mss: sa.mtu.mss,
            inner_max: inner_max_of(sa),
            cold: InboundCold::of(sa),
        })
    }

    /// The child SA it is half of.
    pub fn child(&self) -> ChildSaId {
        self.child
    }

    /// The same SA for a tunnel with an interface of its own: its packets go there.
    #[must_use]
    pub fn into_table(self, table: TableId) -> Self {
        Self { table, ..self }
    }

    /// The same SA under those of another policy: it takes only what comes out of these and goes to
    /// `local`, our end of it.
    #[must_use]
    pub fn over(self, policy: PolicyId, local: SocketAddr) -> Self {
        let under = Under { policy, local, udp: self.udp };
        Self { under: Some(Box::new(under)), ..self }
    }

    /// What is told about its path, if both peers have agreed on that.
    pub(crate) fn talk(&mut self) -> Option<&mut PathTalk> {
        let talks = self.watched & TALK != 0;
        talks.then(|| &mut **self.talk.get_or_insert_default())
    }

    /// The same SA, whose peer answers echo requests about the path of the other half.
    #[must_use]
    pub fn with_echo(mut self, echo: EchoProbe) -> Self {
        self.talk.get_or_insert_default().echo = Some(echo);
        self
    }

    /// The nonce of the probe that an inner packet answers.
    #[cold]
    pub(crate) fn answered_by(&self, packet: &IpPacket<'_>) -> Option<u64> {
        self.talk.as_ref()?.echo?.answered_by(packet)
    }

    /// What is told about its path, by whom ever, if anything was.
    pub(crate) fn all_talk(&mut self) -> Option<&mut PathTalk> {
        self.talk.as_deref_mut()
    }

    /// The SPI of its packets.
    pub fn spi(&self) -> Spi {
        self.spi
    }

    /// The two ends of transport mode, as they were when it was negotiated, or the hosts of BEET mode.
    pub(crate) fn hosts(&self) -> Option<Hosts> {
        self.selectors.hosts()
    }

    /// The same SA as one of a group, which has not two ends.
    pub(crate) fn of(self, group: Group) -> Self {
        let mut selectors = self.selectors;
        selectors.forget_hosts();
        Self { group: Some(Box::new(group)), selectors, ..self }
    }

    /// How an ICMP message gets out of it.
    pub(crate) fn passage(&self, protocol: IpProtocol, icmp: Icmp) -> IcmpPassage {
        self.selectors.passage(IcmpSide::Tunnel, protocol, icmp)
    }

    /// Who is told of packets that it refuses.
    pub(crate) fn security_failures(&self) -> SecurityFailures {
        self.selectors.security_failures()
    }

    /// Whether our half would carry this packet to the peer.
    pub(crate) fn would_carry(&self, flow: &FlowKey) -> bool {
        self.selectors.contain(flow)
    }

    /// The same for any packet between its addresses.
    pub(crate) fn would_carry_addresses(&self, flow: &FlowKey) -> bool {
        self.selectors.contain_addresses(flow)
    }

    /// Whether the negotiated selectors let this packet in (RFC 4301 §5.2 step 4).
    pub(crate) fn admits(&self, flow: &FlowKey) -> bool {
        self.selectors.contain(&flow.reversed())
    }

    /// Whether the negotiated selectors cannot judge every fragment.
    pub(crate) fn looks_above_ip(&self) -> bool {
        self.looks_above_ip
    }

    /// Counts a packet that passed, of so many inner octets.
    pub(crate) fn count(&mut self, octets: usize, now: Instant, events: &mut Events) {
        self.meter.count(octets, now);
        if self.watched & USE != 0 && self.newly_used(now) {
            events.push(Event::Used { child: self.child });
        }
    }

    /// Counts a super-packet as the packets that it stands for.
    pub(crate) fn count_super(
        &mut self,
        packets: usize,
        octets: usize,
        now: Instant,
        events: &mut Events,
    ) {
        self.meter.count_super(u64::try_from(packets).unwrap_or(0), octets, now);
        if self.watched & USE != 0 && self.newly_used(now) {
            events.push(Event::Used { child: self.child });
        }
    }

    /// Tells the processor of the key; the SA itself is read for it.
    #[inline]
    pub(crate) fn prefetch_key(&self, by: Prefetch, extent: Extent) {
        match &self.key {
            OpeningKey::Esp(key) => key.prefetch(by, extent),
            OpeningKey::Ah(_) => {}
        }
    }

    /// Tells the processor of what else a packet of this number needs.
    #[inline]
    pub(crate) fn prefetch_rest(&self, sequence: u32, by: Prefetch) {
        self.window.prefetch(sequence, by);
        by.value(&*self.selectors);
    }

    /// The control loop has the peer here.
    pub(crate) fn settle(&mut self, remote: SocketAddr) {
        self.remote = remote;
        self.settled = mark_of(remote);
    }

    /// Whether the newest packet came from where the control loop has the peer.
    pub(crate) fn is_settled(&self) -> bool {
        self.settled == mark_of(self.remote)
    }

    /// What came through and what did not.
    pub(crate) fn counters(&self) -> SaCounters {
        let ipcomp = self.ipcomp.as_ref().map(|ipcomp| ipcomp.counters).unwrap_or_default();
        let passed = passed(self.child, self.spi, &self.meter, self.top());
        self.with_cold_counters(SaCounters { ipcomp, ..passed })
    }
}

/// An end in one octet. That a packet comes from another end is told at once, whatever its mark; where two
/// have the same it is not told again.
fn mark_of(end: SocketAddr) -> u8 {
    let address = match end.ip() {
        IpAddr::V4(address) => u128::from(u32::from(address)),
        IpAddr::V6(address) => address.into(),
    };
    let octets = address.to_be_bytes().into_iter().chain(end.port().to_be_bytes());
    octets.fold(0, |mark: u8, octet| mark.rotate_left(3) ^ octet)
}

/// What went through, and nothing else.
fn passed(child: ChildSaId, spi: Spi, meter: &Meter, sequence: u64) -> SaCounters {
    SaCounters {
        child,
        spi,
        packets: meter.usage().packets,
        octets: meter.usage().octets,
        last_used: meter.last_used(),
        sequence,
        drops: DropCounters::default(),
        ipcomp: IpCompCounters::default(),
        ecn_suspicious: 0,
        path: None,
    }
}

fn looks_above_ip(sa: &ChildSa) -> bool {
    sa.local_ts.iter().chain(&sa.remote_ts).any(TrafficSelector::looks_above_ip)
}

/// From the addresses that the peer sums up to those its packets have here.
fn address_change(peer: Hosts, here: Hosts) -> Option<AddressChange> {
    let pair = |hosts: Hosts| -> [IpAddr; 2] { [hosts.local, hosts.remote] };
    (peer != here).then(|| AddressChange::new(pair(peer), pair(here)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Five cache lines per SA and direction, or parts of six: a packet touches nothing else beside the
    /// key, the window and the selectors. Of them 16 octets lead to the key before it is expanded, which no
    /// packet but the first needs.
    #[test]
    fn run_time_sas_stay_small() {
        let sizes = [
            ("OutboundSa", size_of::<OutboundSa>(), 336),
            ("InboundSa", size_of::<InboundSa>(), 320),
            ("Selectors", size_of::<Selectors>(), 120),
            ("PathTalk", size_of::<PathTalk>(), 168),
        ];
        let grown: Vec<_> = sizes.iter().filter(|(_, octets, most)| octets > most).collect();
        assert!(grown.is_empty(), "{grown:?}");
    }
}
