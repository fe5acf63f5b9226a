//! The child SAs of IKEv1, which a phase 2 makes: pairs of SAs that outlive the phase 1 they come
//! from (RFC 2409 §5.5).

use std::sync::Arc;
use std::time::{Duration, Instant};

use adit_crypto::Protection;
use adit_db::{
    Amounts, ChildConfig, ChildKeys, ChildName, ChildSa, ChildSaId, Connection, Encapsulation,
    Hosts, IkeSaId, IpComp, Lifetime, LimitSpec, Mode, OuterAh, Tfc,
};
use adit_wire::esp::Spi;
use adit_wire::iana::ProtocolId;
use adit_wire::ikev2::{TrafficSelector, Transform};

use crate::context::Context;
use crate::event::{ChildSaInfo, ChildSaState, OuterSaInfo};
use crate::keymat::Role;
use crate::lifetime::{KILOBYTE_OCTETS, KILOBYTE_OCTETS_LEAST, Limit, Limits, Origin, Rank};
use crate::output::Output;

use super::lifetimes::{self, News};

/// One child SA, from installation to removal.
#[derive(Debug)]
pub(crate) struct Child {
    pub(crate) id: ChildSaId,
    pub(crate) name: ChildName,
    pub(crate) protocol: ProtocolId,
    pub(crate) phase: ChildPhase,
    pub(crate) spi_in: Spi,
    pub(crate) spi_out: Spi,
    pub(crate) local: TrafficSelector,
    pub(crate) remote: TrafficSelector,
    /// Whether we began the quick mode.
    pub(crate) by_us: bool,
    /// When we send on it whatever we hear; `None` once we do.
    pub(crate) activates: Option<Instant>,
    /// We have begun to send on it, and the packet engine does as long as it has nothing newer.
    pub(crate) sends: bool,
    /// Whether anything shows that the peer has it.
    pub(crate) shown: Shown,
    /// What it was asked for in the place of.
    pub(crate) renews: Option<ChildSaId>,
    /// The peer has asked for it, and had sent packets on what it renews before we heard of that.
    pub(crate) is_renewal: bool,
    pub(crate) installed: Instant,
    mode: Mode,
    rekey_at: Option<Instant>,
    over_at: Option<Instant>,
    /// Its soft and its hard limits, if there are any beside those in time.
    amounts: Option<Box<[Amounts; 2]>>,
    /// The kilobytes that the peer wants to live by, which it said too late for this child.
    pub(crate) told_kilobytes: Option<u64>,
    /// The peer wants it to live shorter than is a life, and the configuration is strict.
    pub(crate) is_unacceptable: bool,
    rank: Rank,
    reqid: u32,
    /// How its packets travel.
    encap: Encapsulation,
    suite: Arc<[Transform]>,
    /// The peer's side as far as it goes through the tunnel.
    remote_ts: Vec<TrafficSelector>,
    esn: bool,
    ipcomp: Option<IpComp>,
    /// AH around its ESP.
    outer: Option<OuterSaInfo>,
    pub(super) in_engine: bool,
}

/// AH around ESP, as both ends agreed on it.
pub(crate) struct Around {
    pub(crate) sa: OuterAh,
    pub(crate) suite: Vec<Transform>,
}

/// Where a child stands.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum ChildPhase {
    /// The peer has not confirmed it yet: packets come in, none go out.
    Offered,
    /// Carries traffic.
    Installed,
    /// Carries traffic until its replacement is there.
    Rekeying,
    /// Replaced; what is under way still comes in.
    Replaced {
        /// When it goes if nobody deletes it.
        until: Instant,
    },
}

impl Around {
    /// For the packet engine, and for us.
    fn into_parts(self) -> (Box<OuterAh>, OuterSaInfo) {
        let Self { sa, suite } = self;
        let OuterAh { id, spi_in, spi_out, esn, .. } = sa;
        (Box::new(sa), OuterSaInfo { id, spi_in, spi_out, suite, esn })
    }
}

/// Whether the peer has shown that it has a child.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Shown {
    /// It has not. Of one that we asked for our last message may have been lost.
    Nothing,
    /// The child is on its way out for that, and packets on it would show it.
    Doubted,
    /// By a packet, or by a message after ours.
    Has,
}

/// What both ends agreed on in a quick mode.
pub(crate) struct Agreed<'a> {
    pub(crate) ike: IkeSaId,
    pub(crate) connection: &'a Connection,
    pub(crate) config: &'a ChildConfig,
    pub(crate) role: Role,
    pub(crate) protection: Protection,
    pub(crate) suite: Vec<Transform>,
    pub(crate) mode: Mode,
    pub(crate) esn: bool,
    pub(crate) ipcomp: Option<IpComp>,
    pub(crate) outer: Option<Around>,
    /// Each end answers the other's probes of the path MTU.
    pub(crate) path_probe: bool,
    /// The peer takes notices about the child ([`super::gateway_notice`]).
    pub(crate) notices: bool,
    /// Where it ends, as far as the two have agreed on that.
    pub(crate) limits: Limits,
    /// What an initiator has heard about it before there was an SA.
    pub(crate) news: News,
    pub(crate) rank: Rank,
    pub(crate) spi_in: Spi,
    pub(crate) spi_out: Spi,
    pub(crate) local: TrafficSelector,
    pub(crate) remote: TrafficSelector,
    /// What of the peer's side the peer wants in the tunnel; empty is all of it.
    pub(crate) split: Vec<TrafficSelector>,
    pub(crate) keys_in: ChildKeys,
    pub(crate) keys_out: ChildKeys,
    pub(crate) encap: Encapsulation,
    /// In transport mode, the two ends as the peer knows them, if that is not as we do.
    pub(crate) peer_view: Option<Hosts>,
    pub(crate) rekeys: Option<ChildSaId>,
    pub(crate) sends: Sends,
}

/// When we send on a child.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Sends {
    /// From now on.
    Now,
    /// When something comes in on it, or after this time.
    After(Duration),
    /// When the peer has said that it has our answer.
    Confirmed,
}

impl Agreed<'_> {
    /// Where it is renewed, and where it ends: by what was agreed, by what is configured beside that, and
    /// renewed before the other end would (draft-jenkins-ipsec-rekeying-06 §2.2).
    fn lifetime(&self, jitter: [u64; 3]) -> Lifetime {
        let [seconds, octets, _] = jitter;
        let spec = &self.config.lifetime;
        let mut lifetime = spec.draw(jitter);
        let drawn = |limit: LimitSpec, jitter| {
            let amount = lifetimes::drawn(limit.soft, limit.rand, self.rank, jitter);
            (limit.soft > 0).then_some(amount)
        };
        lifetime.soft.time = drawn(spec.seconds, seconds).map(Duration::from_secs);
        lifetime.soft.octets = drawn(spec.octets, octets);
        if let Some(limit) = &self.limits.seconds {
            let end = Duration::from_secs(limit.amount);
            lifetime.hard.time = Some(end);
            shorten(&mut lifetime.soft.time, lifetimes::renewal_before(end, self.rank));
        }
        if let Some((soft, hard)) = self.limits.octets(self.rank) {
            shorten(&mut lifetime.hard.octets, hard);
            shorten(&mut lifetime.soft.octets, soft);
        }
        if let Some(kilobytes) = self.news.renewal_kilobytes {
            let soft = kilobytes.saturating_mul(KILOBYTE_OCTETS_LEAST);
            shorten(&mut lifetime.soft.octets, soft);
        }
        lifetime
    }
}

/// How long a replaced child takes what was under way before the one who replaced it deletes it
/// (draft-jenkins-ipsec-rekeying-06 §2.2).
pub(crate) const OVERLAP: Duration = Duration::from_secs(30);

/// How long the other side waits for that delete.
pub(crate) const OVERLAP_OF_PEER: Duration = Duration::from_secs(90);

/// How long an initiator goes on sending on the old child if nothing comes in on the new one: the
/// responder may have to see the third message first.
pub(crate) const SWITCH_WAIT: Duration = Duration::from_secs(5);

impl Sends {
    /// Where a child begins.
    fn phase(self) -> ChildPhase {
        match self {
            Self::Confirmed => ChildPhase::Offered,
            Self::Now | Self::After(_) => ChildPhase::Installed,
        }
    }

    /// When a child that is not sent on yet is.
    fn waits_until(self, now: Instant) -> Option<Instant> {
        match self {
            Self::After(wait) => Some(now + wait),
            Self::Now | Self::Confirmed => None,
        }
    }
}

/// How long CONNECTED of a peer that has set the commit bit is waited for.
pub(crate) const COMMIT_WAIT: Duration = Duration::from_secs(2);

impl Child {
    /// Hands what was agreed to the packet engine.
    pub(crate) fn install(agreed: Agreed<'_>, cx: &mut Context<'_>) -> Self {
        let (id, config) = (cx.out.next_child_sa(), agreed.config);
        let lifetime = agreed.lifetime(std::array::from_fn(|_| cx.rng.next_u64()));
        let (outer, outer_info) = agreed.outer.map(Around::into_parts).unzip();
        let remote_ts = part_of(agreed.remote, agreed.split);
        let sa = ChildSa {
            id,
            ike: agreed.ike,
            connection: agreed.connection.name.clone(),
            child: config.name.clone(),
            spi_in: agreed.spi_in,
            spi_out: agreed.spi_out,
            protection: agreed.protection,
            mode: agreed.mode,
            peer_view: agreed.peer_view,
            esn: agreed.esn,
            keys_in: agreed.keys_in,
            keys_out: agreed.keys_out,
            local_ts: vec![agreed.local],
            remote_ts: remote_ts.clone(),
            encap: agreed.encap,
            lifetime,
            replay_window: config.replay_window,
            icmp: config.icmp.clone(),
            dscp: config.dscp,
            ecn: config.ecn,
            df: config.df,
            mtu: config.mtu,
            tfc: Tfc { padding: 0, ..config.tfc },
            ipcomp: agreed.ipcomp,
            aggfrag: None,
            path_probe: agreed.path_probe,
            notices: agreed.notices,
            outer,
            rekeys: agreed.rekeys,
        };
        hand_over(sa, agreed.sends == Sends::Now, cx);
        Self {
            id,
            name: config.name.clone(),
            protocol: agreed.protection.protocol(),
            phase: agreed.sends.phase(),
            spi_in: agreed.spi_in,
            spi_out: agreed.spi_out,
            local: agreed.local,
            remote: agreed.remote,
            by_us: agreed.role.is_initiator(),
            renews: agreed.rekeys,
            is_renewal: false,
            activates: agreed.sends.waits_until(cx.now),
            sends: agreed.sends == Sends::Now,
            shown: Shown::Nothing,
            installed: cx.now,
            mode: agreed.mode,
            rekey_at: lifetime.soft.time.and_then(|age| cx.now.checked_add(age)),
            over_at: lifetime.hard.time.and_then(|age| cx.now.checked_add(age)),
            amounts: lifetime.has_amounts().then(|| Box::new([lifetime.soft, lifetime.hard])),
            told_kilobytes: agreed.news.kilobytes,
            is_unacceptable: agreed.news.delete,
            rank: agreed.rank,
            reqid: cx.out.reqid(&agreed.connection.name, &config.name),
            encap: agreed.encap,
            suite: cx.out.shared_suite(agreed.suite),
            remote_ts,
            esn: agreed.esn,
            ipcomp: agreed.ipcomp,
            outer: outer_info,
            in_engine: true,
        }
    }

    /// Takes the child from the packet engine, once; packets under way still come in for `delay`.
    pub(crate) fn take_from_engine(&mut self, delay: Duration, cx: &mut Context<'_>) {
        if std::mem::take(&mut self.in_engine) {
            cx.out.release_spi(self.spi_in);
            self.outer.iter().for_each(|outer| cx.out.release_spi(outer.spi_in));
            self.ipcomp.into_iter().for_each(|ipcomp| cx.out.release_cpi(ipcomp.cpi_in));
            cx.out.disown_child(self.id);
            cx.out.push(Output::RemoveChild { id: self.id, delay });
        }
    }

    /// The peer may be elsewhere now. Whether ESP goes in UDP stays as it was agreed. AH around ESP is for
    /// these two addresses, which it covers: that child stays where it is until the next one.
    pub(crate) fn follow(&mut self, encap: Encapsulation, cx: &mut Context<'_>) {
        if self.outer.is_none()
            && self.in_engine
            && encap.udp == self.encap.udp
            && encap != self.encap
        {
            self.encap = encap;
            cx.out.push(Output::UpdatePeer { child: self.id, encap });
        }
    }

    /// Whether it carries its policy's traffic, now and later.
    pub(crate) fn is_current(&self) -> bool {
        matches!(self.phase, ChildPhase::Installed | ChildPhase::Rekeying)
    }

    /// Our SPIs of its SAs of a protocol.
    pub(crate) fn spis_in(&self, protocol: ProtocolId) -> impl Iterator<Item = Spi> {
        let outer = self.outer.as_ref().filter(|_| protocol == ProtocolId::AH);
        let own = (self.protocol == protocol).then_some(self.spi_in);
        own.into_iter().chain(outer.map(|outer| outer.spi_in))
    }

    /// The SAs that we send on, by protocol and the peer's SPI; those of ESP before AH around it.
    pub(crate) fn sas_out(&self) -> impl Iterator<Item = (ProtocolId, Spi)> {
        let outer = self.outer.as_ref().map(|outer| (ProtocolId::AH, outer.spi_out));
        std::iter::once((self.protocol, self.spi_out)).chain(outer)
    }

    /// Whether one of its SAs has this SPI, at either end.
    pub(crate) fn has_spi(&self, spi: Spi) -> bool {
        let outer = self.outer.as_ref().map(|outer| [outer.spi_in, outer.spi_out]);
        std::iter::once([self.spi_in, self.spi_out]).chain(outer).flatten().any(|own| own == spi)
    }

    /// Whether another child protects the same.
    pub(crate) fn is_like(&self, other: &Self) -> bool {
        (&self.name, self.local, self.remote) == (&other.name, other.local, other.remote)
    }

    /// Of two children that both ends made at once, both ends keep the greater.
    pub(crate) fn rank(&self) -> (Spi, Spi) {
        (self.spi_in.min(self.spi_out), self.spi_in.max(self.spi_out))
    }

    /// Whether its soft limit has come.
    pub(crate) fn is_due(&self, now: Instant) -> bool {
        self.phase == ChildPhase::Installed && self.rekey_at.is_some_and(|at| now >= at)
    }

    /// Whether its hard limit has come.
    pub(crate) fn is_over(&self, now: Instant) -> bool {
        self.over_at.is_some_and(|at| now >= at)
    }

    /// Its soft limit has come by volume.
    pub(crate) fn expire_softly(&mut self, now: Instant) {
        self.rekey_at = Some(self.rekey_at.map_or(now, |at| at.min(now)));
    }

    /// Where it ends, from its beginning.
    pub(crate) fn limits(&self) -> Limits {
        let life = self.over_at.map(|at| at.saturating_duration_since(self.installed));
        let octets = self.amounts.as_deref().and_then(|[_, hard]| hard.octets);
        let kilobytes = octets.map(|octets| octets / KILOBYTE_OCTETS);
        let told = self.told_kilobytes.into_iter().chain(kilobytes).min();
        Limits {
            seconds: lifetimes::seconds(life),
            kilobytes: told.map(|amount| Limit::new(amount, Origin::Configured)),
        }
    }

    /// The peer lives shorter on it. Kilobytes that it names only now hold from the next one on: what this
    /// one may carry the packet engine has been told.
    pub(crate) fn heed(&mut self, news: News) {
        self.is_unacceptable |= news.delete;
        self.told_kilobytes = news.kilobytes.or(self.told_kilobytes);
        if let Some(end) = news.end {
            self.over_at = self.installed.checked_add(end);
        }
        if let Some(at) =
            news.latest_renewal(self.rank).and_then(|latest| self.installed.checked_add(latest))
        {
            self.rekey_at = Some(self.rekey_at.map_or(at, |before| before.min(at)));
        }
    }

    /// Its replacement has failed: it is tried again later.
    pub(crate) fn put_off(&mut self, until: Instant) {
        if self.phase == ChildPhase::Rekeying {
            self.phase = ChildPhase::Installed;
        }
        self.rekey_at = Some(until);
    }

    /// When something is to be done about it.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        let soft = self.rekey_at.filter(|_| self.phase == ChildPhase::Installed);
        let wait = match self.phase {
            ChildPhase::Replaced { until } => Some(until),
            ChildPhase::Offered | ChildPhase::Installed | ChildPhase::Rekeying => None,
        };
        [soft, self.over_at, wait, self.activates].into_iter().flatten().min()
    }

    /// A snapshot.
    pub(crate) fn info(&self) -> ChildSaInfo {
        ChildSaInfo {
            id: self.id,
            name: self.name.clone(),
            protocol: self.protocol,
            reqid: self.reqid,
            state: match self.phase {
                ChildPhase::Offered | ChildPhase::Installed => ChildSaState::Installed,
                ChildPhase::Rekeying => ChildSaState::Rekeying,
                ChildPhase::Replaced { .. } => ChildSaState::Rekeyed,
            },
            encap: self.encap,
            mode: self.mode,
            spi_in: self.spi_in,
            spi_out: self.spi_out,
            suite: self.suite.to_vec(),
            esn: self.esn,
            ipcomp: self.ipcomp,
            outer: self.outer.clone().map(Box::new),
            aggfrag: None,
            installed: self.installed,
            rekey_at: self.rekey_at,
            over_at: self.over_at,
            amounts: self.amounts.clone(),
            idle_at: None,
            local_ts: vec![self.local],
            remote_ts: self.remote_ts.clone(),
        }
    }
}

/// The peer's side: what of it the peer wants in the tunnel, or all.
fn part_of(whole: TrafficSelector, split: Vec<TrafficSelector>) -> Vec<TrafficSelector> {
    if split.is_empty() { vec![whole] } else { split }
}

/// A limit that is not to be later than another.
fn shorten<T: Copy + Ord>(limit: &mut Option<T>, most: T) {
    *limit = Some(limit.map_or(most, |limit| limit.min(most)));
}

/// Gives an SA to the packet engine, and notes whose it is.
fn hand_over(sa: ChildSa, outbound: bool, cx: &mut Context<'_>) {
    cx.out.take_spi(sa.spi_in);
    sa.outer.iter().for_each(|outer| cx.out.take_spi(outer.spi_in));
    sa.ipcomp.into_iter().for_each(|ipcomp| cx.out.take_cpi(ipcomp.cpi_in));
    cx.out.own_child(sa.id, sa.ike);
    cx.export_keys(&sa);
    cx.out.push(Output::InstallChild { sa: Box::new(sa), outbound });
}
