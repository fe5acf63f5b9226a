//! The path MTU of an outbound SA (RFC 4301 §8.2): which value is in force, who said so, and for how
//! long it is believed.
//!
//! Octets here are those of the outer IP packet, with all its headers. What the SA has room for
//! inside is `overhead`'s.

use std::time::{Duration, Instant};

use adit_db::{MtuPolicy, PathMtuRule};

/// Who has told a path MTU.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum MtuSource {
    /// The first link, or the route to the peer.
    Link,
    /// An ICMP message from outside, which nobody has authenticated (RFC 4301 §8.2.1).
    Icmp,
    /// A packet of this size has been answered through the SA, or none of a larger one (RFC 8899).
    Probe,
    /// The same by echo requests (RFC 792), of which a reply shows no more than that.
    Echo,
    /// The peer has seen fragments of this size, and said so through the SA.
    Report,
    /// The configuration, which nobody overrules.
    Operator,
}

impl MtuSource {
    /// The word that status and events use: lower case, never changed.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Link => "link",
            Self::Icmp => "icmp",
            Self::Probe => "probe",
            Self::Echo => "echo",
            Self::Report => "report",
            Self::Operator => "operator",
        }
    }

    /// Whether a message of this origin may also say that a path takes more than was known: only who
    /// is authenticated (RFC 4301 §6.1.1).
    const fn may_raise(self) -> bool {
        matches!(self, Self::Probe | Self::Echo | Self::Report | Self::Operator)
    }
}

/// What a path is taken for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct PathMtu {
    /// What the first link takes.
    link: u16,
    /// What is known beyond that.
    learnt: Option<Learnt>,
    /// No message makes it less.
    floor: u16,
    /// For how long a message is believed.
    ageing: Duration,
    /// Routers may cut what is sent to IPv4 peers: one has said that it takes less than the floor.
    may_be_cut: bool,
}

/// A value that somebody has told.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Learnt {
    mtu: u16,
    source: MtuSource,
    /// When it was told; `None` if it does not age.
    at: Option<Instant>,
}

impl PathMtu {
    /// A path of which nothing is known but its first link.
    pub(crate) const fn new(link: u16, is_ipv4: bool) -> Self {
        let floor = if is_ipv4 { FLOOR_V4 } else { FLOOR_V6 };
        Self { link, learnt: None, floor, ageing: MTU_AGEING, may_be_cut: false }
    }

    /// A path as the operator wants it treated.
    pub(crate) fn by(policy: &MtuPolicy, is_ipv4: bool) -> Self {
        let mtu = match policy.path {
            PathMtuRule::Fixed(mtu) => Some(mtu),
            PathMtuRule::Discover | PathMtuRule::Ignore => None,
        };
        let learnt = mtu.map(|mtu| Learnt { mtu, source: MtuSource::Operator, at: None });
        Self { learnt, ageing: policy.ageing, ..Self::new(LINK_MTU, is_ipv4) }
    }

    /// Takes what somebody has told; says whether another value is in force now.
    ///
    /// What is too small counts as the floor; what a source without authority says beyond the value
    /// in force is ignored; nothing overrules the operator.
    pub(crate) fn learn(&mut self, mtu: u16, source: MtuSource, now: Instant) -> bool {
        let before = (self.in_force(), self.may_be_cut());
        let is_below = source == MtuSource::Icmp && mtu < self.floor && self.floor == FLOOR_V4;
        match source {
            MtuSource::Link => self.set_link(mtu),
            MtuSource::Icmp | MtuSource::Probe | MtuSource::Echo | MtuSource::Report
                if self.is_settled() => {}
            MtuSource::Icmp
            | MtuSource::Probe
            | MtuSource::Echo
            | MtuSource::Report
            | MtuSource::Operator => {
                let mtu = mtu.max(self.floor);
                let in_force = before.0.0;
                if mtu < in_force || source.may_raise() {
                    self.may_be_cut = is_below;
                    let at = (source != MtuSource::Operator).then_some(now);
                    self.learnt = Some(Learnt { mtu, source, at });
                } else if mtu == in_force {
                    self.may_be_cut |= is_below && self.learnt.is_some();
                    self.renew(now);
                }
            }
        }
        (self.in_force(), self.may_be_cut()) != before
    }

    /// The peer is elsewhere now: what was learnt about the way to where it was is no use.
    pub(crate) fn handle_new_path(&mut self, is_ipv4: bool) {
        self.floor = if is_ipv4 { FLOOR_V4 } else { FLOOR_V6 };
        self.link = self.link.max(self.floor);
        if !self.is_settled() {
            self.learnt = None;
        }
    }

    /// Forgets what is too old, and is the link's again; says whether another value is in force now.
    pub(crate) fn handle_timeout(&mut self, now: Instant) -> bool {
        let is_over = self.next_timeout().is_some_and(|over| over <= now);
        let before = self.in_force();
        if is_over {
            self.learnt = None;
        }
        self.in_force() != before
    }

    /// When [`Self::handle_timeout`] has something to do.
    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        self.learnt?.at?.checked_add(self.ageing)
    }

    /// Longest outer packet, octets, and who says so.
    pub(crate) fn in_force(&self) -> (u16, MtuSource) {
        match self.learnt {
            Some(Learnt { mtu, source: MtuSource::Operator, .. }) => (mtu, MtuSource::Operator),
            Some(Learnt { mtu, source, .. }) if mtu <= self.link => (mtu, source),
            _ => (self.link, MtuSource::Link),
        }
    }

    /// When the value in force was told, if it ages.
    pub(crate) fn told(&self) -> Option<Instant> {
        let (mtu, source) = self.in_force();
        self.learnt.filter(|learnt| (learnt.mtu, learnt.source) == (mtu, source))?.at
    }

    /// Whether routers may cut what is sent (CHECKLIST PM-03). That is believed no longer than the value
    /// which came with it.
    pub(crate) fn may_be_cut(&self) -> bool {
        self.may_be_cut && self.learnt.is_some_and(|learnt| learnt.source == MtuSource::Icmp)
    }

    /// For how long a message is believed.
    pub(crate) fn ageing(&self) -> Duration {
        self.ageing
    }

    /// What the first link takes.
    pub(crate) fn link(&self) -> u16 {
        self.link
    }

    /// What no message makes it less than.
    pub(crate) fn floor(&self) -> u16 {
        self.floor
    }

    /// The first link takes so many octets.
    pub(crate) fn set_link(&mut self, mtu: u16) {
        self.link = mtu.max(self.floor);
    }

    /// Takes over what is known of the same path from another SA; what the link takes only if nobody
    /// has said so yet. What the operator wants of that one is for that one alone.
    pub(crate) fn inherit(&mut self, other: &Self, takes_link: bool) {
        if takes_link {
            self.set_link(other.link);
        }
        if !self.is_settled() && !other.is_settled() {
            (self.learnt, self.may_be_cut) = (other.learnt, other.may_be_cut);
        }
    }

    /// Whether the operator has settled it.
    fn is_settled(&self) -> bool {
        self.learnt.is_some_and(|learnt| learnt.source == MtuSource::Operator)
    }

    /// A message that says the same again makes the value younger.
    fn renew(&mut self, now: Instant) {
        if let Some(Learnt { at: Some(at), .. }) = &mut self.learnt {
            *at = now;
        }
    }
}

/// For how long a path MTU that was told is believed (RFC 1191 §6.3, RFC 8201 §4).
pub const MTU_AGEING: Duration = MtuPolicy::AGEING_DEFAULT;

/// Longest packet of a link of which nothing is known: Ethernet's.
pub const LINK_MTU: u16 = 1_500;

/// Least path MTU of IPv4 that a message is believed: every host takes so much (RFC 791 §3.2). A
/// forged message does no more harm than that.
pub const FLOOR_V4: u16 = 576;

/// Least path MTU of IPv6 (RFC 8200 §5).
pub const FLOOR_V6: u16 = 1_280;

#[cfg(test)]
mod tests {
    use super::*;

    #[expect(clippy::disallowed_methods, reason = "a test needs some instant to start from")]
    fn path() -> (PathMtu, Instant) {
        (PathMtu::new(LINK_MTU, true), Instant::now())
    }

    #[test]
    fn a_path_begins_with_its_link() {
        let (path, _) = path();
        assert_eq!(path.in_force(), (1_500, MtuSource::Link));
        assert_eq!(path.next_timeout(), None);
    }

    /// CHECKLIST PM-21: unauthenticated values are bounded below, and larger ones are ignored.
    #[test]
    fn icmp_only_lowers_and_not_below_the_floor() {
        let (mut path, now) = path();
        assert!(path.learn(1_400, MtuSource::Icmp, now));
        assert!(!path.learn(1_450, MtuSource::Icmp, now));
        assert_eq!(path.in_force(), (1_400, MtuSource::Icmp));
        for absurd in [0, 68, 296] {
            path.learn(absurd, MtuSource::Icmp, now);
            assert_eq!(path.in_force(), (FLOOR_V4, MtuSource::Icmp));
        }
    }

    /// CHECKLIST PM-03: never below 1,280 for IPv6.
    #[test]
    fn ipv6_has_its_own_floor() {
        let mut path = PathMtu::new(LINK_MTU, false);
        assert!(path.learn(600, MtuSource::Icmp, self::path().1));
        assert_eq!(path.in_force(), (FLOOR_V6, MtuSource::Icmp));
    }

    #[test]
    fn a_probe_raises_what_icmp_had_lowered() {
        let (mut path, now) = path();
        path.learn(600, MtuSource::Icmp, now);
        assert!(path.learn(1_420, MtuSource::Probe, now));
        assert_eq!(path.in_force(), (1_420, MtuSource::Probe));
    }

    /// CHECKLIST PM-02: when the link is raised the value does not exceed what was learnt.
    #[test]
    fn the_link_bounds_what_was_learnt() {
        let (mut path, now) = path();
        path.learn(1_400, MtuSource::Icmp, now);
        assert!(path.learn(1_300, MtuSource::Link, now));
        assert_eq!(path.in_force(), (1_300, MtuSource::Link));
        assert!(path.learn(2_000, MtuSource::Link, now));
        assert_eq!(path.in_force(), (1_400, MtuSource::Icmp));
    }

    /// CHECKLIST PM-24: a learnt value ages out after ten minutes, and later if it is told again.
    #[test]
    fn a_value_ages() {
        let (mut path, now) = path();
        path.learn(1_400, MtuSource::Icmp, now);
        let almost = now + MTU_AGEING - Duration::from_secs(1);
        assert!(!path.handle_timeout(almost));
        path.learn(1_400, MtuSource::Icmp, almost);
        assert!(!path.handle_timeout(now + MTU_AGEING));
        assert!(path.handle_timeout(almost + MTU_AGEING));
        assert_eq!(path.in_force(), (1_500, MtuSource::Link));
    }

    /// CHECKLIST PM-03: who takes less than all do may cut what we send, for as long as it is believed.
    #[test]
    fn what_takes_less_than_the_floor_may_cut() {
        let (mut path, now) = path();
        path.learn(576, MtuSource::Icmp, now);
        assert!(!path.may_be_cut());
        assert!(path.learn(296, MtuSource::Icmp, now));
        assert!(path.may_be_cut());
        assert!(path.handle_timeout(now + MTU_AGEING));
        assert!(!path.may_be_cut());
        path.learn(296, MtuSource::Icmp, now);
        assert!(path.may_be_cut());
        path.learn(1_500, MtuSource::Probe, now);
        assert!(!path.may_be_cut());
        let mut path = PathMtu::new(LINK_MTU, false);
        path.learn(296, MtuSource::Icmp, now);
        assert!(!path.may_be_cut());
    }

    /// CHECKLIST PM-37: another SA's operator says nothing about this one, and a link that was told is
    /// kept whatever it takes.
    #[test]
    fn only_what_was_learnt_is_inherited() {
        let (mut path, now) = path();
        let mut other = path;
        other.learn(1_350, MtuSource::Operator, now);
        other.set_link(1_280);
        path.inherit(&other, false);
        assert_eq!(path.in_force(), (1_500, MtuSource::Link));
        path.inherit(&other, true);
        assert_eq!(path.in_force(), (1_280, MtuSource::Link));
    }

    /// CHECKLIST PM-03: an SA that moves to a peer of the other family has that one's floor.
    #[test]
    fn a_move_forgets_what_was_learnt() {
        let (mut path, now) = path();
        path.learn(600, MtuSource::Icmp, now);
        path.handle_new_path(false);
        assert_eq!(path.in_force(), (1_500, MtuSource::Link));
        path.learn(600, MtuSource::Icmp, now);
        assert_eq!(path.in_force(), (FLOOR_V6, MtuSource::Icmp));
        path.learn(1_350, MtuSource::Operator, now);
        path.handle_new_path(true);
        assert_eq!(path.in_force(), (1_350, MtuSource::Operator));
    }

    #[test]
    fn nobody_overrules_the_operator() {
        let (mut path, now) = path();
        path.learn(1_350, MtuSource::Operator, now);
        for source in [MtuSource::Icmp, MtuSource::Probe, MtuSource::Echo, MtuSource::Report] {
            assert!(!path.learn(1_000, source, now));
        }
        assert!(!path.handle_timeout(now + 2 * MTU_AGEING));
        assert_eq!(path.in_force(), (1_350, MtuSource::Operator));
    }
}
