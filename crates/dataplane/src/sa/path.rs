//! What the path of an outbound SA takes, and so the SA itself (RFC 4301 §8.2).

use std::time::Instant;

use adit_db::{ChildSa, DfPolicy, FragmentPolicy, Mode, MtuPolicy, PathMtuRule};

use super::{InboundSa, OutboundSa, SealingKey};
use crate::bucket::TokenBucket;
use crate::echo_probe::EchoProbe;
use crate::event::{Event, Events};
use crate::gateway_notice::ByIke;
use crate::mss::{MssMax, syn_at};
use crate::outbound::Stuck;
use crate::overhead::{Frame, Security};
use crate::path_mtu::{LINK_MTU, MtuSource, PathMtu};
use crate::path_probe::{PathTalk, Probing};
use crate::probing::BASE;
use crate::transit::TransitLog;

/// Most ICMP errors a second about packets of one SA (RFC 1812 §4.3.2.8, RFC 4443 §2.4 (f)).
pub const ANSWERS_PER_SA: u32 = 10;

/// What an outbound SA knows of the way to its peer; no packet that is short enough needs it.
#[derive(Clone, Debug)]
pub(super) struct Way {
    path: PathMtu,
    /// What the operator says about it.
    policy: MtuPolicy,
    /// Which state of the SAs over this one it has been fitted to, by a number of the engine's.
    fitted: u32,
    /// What its outer headers say about cutting once they may be cut no more; there while they may.
    df: Option<DfPolicy>,
    /// Whether the path is to be found by asking, and nobody has answered yet.
    is_unproven: bool,
    /// How many of its packets were answered of late.
    answers: TokenBucket,
    /// What is told about it, once anything was.
    talk: Option<Box<PathTalk>>,
    /// What is remembered of packets that may end on it, if its routers are to be seen.
    pub(super) transit: Option<Box<TransitLog>>,
    /// What is kept of packets that may be too long, while some are.
    stuck: Option<Box<Stuck>>,
}

/// That of most SAs, about whose paths nobody has said anything.
static UNKNOWN_V4: Way = Way::new(PathMtu::new(LINK_MTU, true), MtuPolicy::DEFAULT);
static UNKNOWN_V6: Way = Way::new(PathMtu::new(LINK_MTU, false), MtuPolicy::DEFAULT);

impl Way {
    const fn new(path: PathMtu, policy: MtuPolicy) -> Self {
        Self {
            path,
            policy,
            fitted: 0,
            df: None,
            is_unproven: false,
            answers: TokenBucket::NEW,
            talk: None,
            transit: None,
            stuck: None,
        }
    }

    /// What is to be remembered of the way of an SA that is new; mostly nothing.
    pub(super) fn of(sa: &ChildSa) -> Option<Box<Self>> {
        let is_ipv4 = sa.encap.remote.is_ipv4();
        let transit = TransitLog::of(&sa.icmp, sa.mode);
        let is_usual = sa.mtu == MtuPolicy::DEFAULT && transit.is_none();
        let way = || Self { transit, ..Self::new(PathMtu::by(&sa.mtu, is_ipv4), sa.mtu) };
        (!is_usual).then(|| Box::new(way()))
    }
}

impl OutboundSa {
    /// What the IKE SA carries of it.
    pub(crate) fn by_ike(&self) -> ByIke {
        self.by_ike
    }

    /// The same SA, which probes its path by echo requests: of several threads, this is the part of that
    /// one, and one of them probes.
    #[must_use]
    pub fn with_echo(mut self, echo: EchoProbe, thread: u16) -> Self {
        if thread == self.home.unwrap_or_default() && !self.talks {
            self.talks = true;
            self.talk().echo = Some(echo);
        }
        self.way_mut().is_unproven = true;
        self
    }

    /// By which echo requests it probes its path, if it does.
    pub(crate) fn echo(&self) -> Option<EchoProbe> {
        self.way().talk.as_ref().and_then(|talk| talk.echo)
    }

    /// Whether both peers have agreed on probes, or somebody answers echo requests.
    pub(crate) fn has_probing(&self) -> bool {
        self.talks
    }

    /// What is told about its path.
    pub(crate) fn talk(&mut self) -> &mut PathTalk {
        self.way_mut().talk.get_or_insert_default()
    }

    /// What it does about probes of its path, once it does anything.
    pub(crate) fn probing(&mut self) -> Option<&mut Probing> {
        self.known_way().and_then(|way| way.talk.as_mut()).map(|talk| &mut talk.probing)
    }

    /// Another thread probes its path, or nobody any more.
    pub(crate) fn forget_talk(&mut self) {
        (self.talks, self.begun) = (false, None);
        self.known_way().into_iter().for_each(|way| way.talk = None);
    }

    /// What is kept of its packets that may be too long.
    pub(crate) fn stuck(&mut self) -> &mut Option<Box<Stuck>> {
        &mut self.way_mut().stuck
    }

    fn way(&self) -> &Way {
        let unknown = if self.encap.remote.is_ipv4() { &UNKNOWN_V4 } else { &UNKNOWN_V6 };
        self.cold.as_ref().and_then(|cold| cold.way.as_deref()).unwrap_or(unknown)
    }

    /// What is remembered of it, if anything is.
    pub(super) fn known_way(&mut self) -> Option<&mut Way> {
        self.cold.as_mut().and_then(|cold| cold.way.as_deref_mut())
    }

    pub(super) fn way_mut(&mut self) -> &mut Way {
        let unknown = if self.encap.remote.is_ipv4() { &UNKNOWN_V4 } else { &UNKNOWN_V6 };
        self.cold_mut().way.get_or_insert_with(|| Box::new(unknown.clone()))
    }

    /// Makes a packet that begins a TCP connection say at most what fits.
    #[inline]
    pub(crate) fn clamp_mss(&self, packet: &mut [u8]) {
        if let Some(tcp_at) = syn_at(packet) {
            MssMax::new(self.way().policy.mss, self.mss_inner_max()).clamp(packet, tcp_at);
        }
    }

    /// Longest inner packet for a TCP connection that begins now. Its other end sends by a peer that may
    /// never hear what the path takes, so until that is known it is what every path should (RFC 8899 §5.1.2).
    fn mss_inner_max(&self) -> u16 {
        match self.way().is_unproven {
            true => self.inner_max.min(self.inner_max_in(BASE.into(), None)),
            false => self.inner_max,
        }
    }

    /// Whether its path is to be found by asking, and nobody has answered yet.
    pub(crate) fn is_unproven(&self) -> bool {
        self.way().is_unproven
    }

    /// Whether it has been fitted to this state of the SAs over it; it counts as fitted from now on.
    pub(crate) fn is_fitted(&mut self, state: u32) -> bool {
        std::mem::replace(&mut self.way_mut().fitted, state) == state
    }

    /// Takes what somebody has told about its path.
    pub(crate) fn learn_mtu(
        &mut self,
        mtu: u16,
        source: MtuSource,
        now: Instant,
        events: &mut Events,
    ) {
        self.is_link_told |= source == MtuSource::Link;
        if source == MtuSource::Echo && self.is_unproven() {
            self.way_mut().is_unproven = false;
        }
        // What everybody takes it for is not worth remembering.
        let is_known = (mtu, source) == self.way().path.in_force();
        let is_usual = is_known && self.known_way().is_none();
        if !is_usual && self.way_mut().path.learn(mtu, source, now) {
            self.fit_path();
            self.tell_path(events);
        }
    }

    /// Forgets what was told too long ago.
    pub(crate) fn age_path(&mut self, now: Instant, events: &mut Events) {
        if self.known_way().is_some_and(|way| way.path.handle_timeout(now)) {
            self.fit_path();
            self.tell_path(events);
        }
    }

    /// The same SA where the first link on its way takes so many octets.
    #[must_use]
    pub fn with_link_mtu(mut self, mtu: u16) -> Self {
        self.is_link_told = true;
        if mtu != LINK_MTU {
            self.way_mut().path.set_link(mtu);
        }
        self.fit_path();
        self
    }

    /// Begins with what an SA to the same peer has learnt.
    pub(crate) fn inherit_path(&mut self, other: &PathMtu) {
        let takes_link = !self.is_link_told;
        if *other != *self.path() {
            self.way_mut().path.inherit(other, takes_link);
        }
        if other.in_force().1 == MtuSource::Echo && self.is_unproven() {
            self.way_mut().is_unproven = false;
        }
        self.fit_path();
    }

    /// Its peer is at another address now, as `encap` says already.
    pub(crate) fn handle_new_path(&mut self, events: &mut Events) {
        let is_ipv4 = self.encap.remote.is_ipv4();
        let before = self.path().in_force();
        if let Some(way) = self.known_way() {
            way.path.handle_new_path(is_ipv4);
            way.transit.iter_mut().for_each(|transit| transit.handle_new_path());
        }
        self.fit_path();
        if self.path().in_force() != before {
            self.tell_path(events);
        }
    }

    /// What is known of its path.
    pub(crate) fn path(&self) -> &PathMtu {
        &self.way().path
    }

    /// Whether the operator wants nothing to be known about it.
    pub(crate) fn ignores_path(&self) -> bool {
        self.way().policy.path == PathMtuRule::Ignore
    }

    /// Says what is in force.
    pub(crate) fn tell_path(&self, events: &mut Events) {
        let (mtu, source) = self.way().path.in_force();
        events.push(Event::PathMtu { child: self.child, mtu, inner: self.inner_max, source });
    }

    /// Draws from the path what the SA takes.
    pub(crate) fn fit_path(&mut self) {
        let mut df = self.df;
        if let Some(way) = self.known_way() {
            match (way.path.may_be_cut(), way.df) {
                (true, None) => way.df = Some(std::mem::replace(&mut df, DfPolicy::Clear)),
                (false, Some(before)) => (df, way.df) = (before, None),
                (true, Some(_)) | (false, None) => {}
            }
        }
        self.df = df;
        self.fit(usize::from(self.way().path.in_force().0));
    }

    /// The same where the SAs over it leave it so many octets; says whether that is another limit.
    pub(crate) fn fit(&mut self, outer_max: usize) -> bool {
        let inner_max = self.inner_max_in(outer_max, None);
        let is_other = inner_max != self.inner_max;
        if self.aggfrag.is_some() {
            let payload_max = self.payload_max(outer_max);
            self.aggfrag.iter_mut().zip(payload_max).for_each(|(packer, max)| packer.fit(max));
        }
        self.inner_max = inner_max;
        is_other
    }

    /// Longest payload of an outer packet that has so many octets at most; `None` if nobody is to know.
    pub(crate) fn payload_max(&self, outer_max: usize) -> Option<usize> {
        let is_known = self.way().policy.path != PathMtuRule::Ignore;
        is_known.then(|| self.frame(None).inner_max(outer_max))
    }

    /// Longest inner packet, with so many octets of headers in front of what it protects, where an
    /// outer one has so many octets at most.
    pub(crate) fn inner_max_in(&self, outer_max: usize, front_len: Option<usize>) -> u16 {
        // A stream has no packets, and payloads that packets share take any (RFC 9347 §2.2.1).
        let is_any = self.encap.tcp || self.is_aggfrag();
        if is_any || self.way().policy.path == PathMtuRule::Ignore {
            return u16::MAX;
        }
        u16::try_from(self.frame(front_len).inner_max(outer_max)).unwrap_or(u16::MAX)
    }

    fn frame(&self, front_len: Option<usize>) -> Frame {
        let security = match &self.key {
            SealingKey::Esp(key) => Security::Esp(key.shape()),
            SealingKey::Ah(key) => Security::Ah { tag_len: key.algorithm().tag_len() },
        };
        Frame::new(security, self.mode, &self.encap, self.carries_v6(), front_len)
    }

    /// Whether packets that are too long and may be cut are cut before it protects them. In transport
    /// mode it takes whole packets alone, and selectors that look at ports no later fragments.
    pub(crate) fn cuts_before(&self) -> bool {
        self.way().policy.fragment == FragmentPolicy::Before
            && self.mode == Mode::Tunnel
            && !self.looks_above_ip
    }

    /// Whether one more of its packets may be answered.
    pub(crate) fn may_answer(&mut self, now: Instant) -> bool {
        self.way_mut().answers.pass(ANSWERS_PER_SA, now)
    }
}

impl InboundSa {
    /// What we send by the other half has so many octets at most: TCP is told.
    pub(crate) fn fit_mss(&mut self, inner_max: u16) {
        self.inner_max = inner_max;
    }

    /// Makes a packet that begins a TCP connection say at most what fits.
    #[inline]
    pub(crate) fn clamp_mss(&self, packet: &mut [u8]) {
        if let Some(tcp_at) = syn_at(packet) {
            MssMax::new(self.mss, self.inner_max).clamp(packet, tcp_at);
        }
    }
}

/// Longest packet that the other half of an SA takes before anything is known of the path but its
/// first link; 65,535 if there is no limit.
pub(super) fn inner_max_of(sa: &ChildSa) -> u16 {
    let outer_max = match sa.mtu.path {
        PathMtuRule::Fixed(mtu) => mtu,
        PathMtuRule::Discover => LINK_MTU,
        PathMtuRule::Ignore => return u16::MAX,
    };
    if sa.encap.tcp || sa.aggfrag.is_some() {
        return u16::MAX;
    }
    u16::try_from(Frame::of(sa).inner_max(outer_max.into())).unwrap_or(u16::MAX)
}
