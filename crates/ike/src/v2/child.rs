//! The child SAs of one IKE SA (RFC 7296 §1.3, §2.8, §2.17): what they are, how they come and go.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use adit_db::{
    Aggfrag, Amounts, ChildConfig, ChildName, ChildSa, ChildSaId, Connection, Encapsulation,
    Identity, IkeSaId, IpComp, Mode, Pfp, ProposalSpec, Sides, Tfc, TsSpec,
};
use adit_wire::esp::Spi;
use adit_wire::iana::{IpProtocol, NotifyType, PayloadType, ProtocolId};
use adit_wire::ikev2::{PortRange, Sa, TrafficSelector, Transform};
use adit_wire::ip::{FlowKey, FlowSide};

use crate::context::Context;
use crate::event::{ChildSaInfo, ChildSaState};
use crate::failure::{By, FailureReason};
use crate::keymat::{ChildKeymat, Role};
use crate::output::Output;
use crate::proposal::{ChildSuite, Choice, NoProposalChosen, Purpose, choose_child};
use crate::traffic_selector::{
    SelectorError, SelectorPair, check_answer, intersection, narrow, with_first,
};
use crate::v2::idleness::Idleness;
use crate::v2::mode::Agreement;
use crate::v2::said::Said;

/// One child SA, from installation to removal.
#[derive(Debug)]
pub(crate) struct Child {
    pub(crate) id: ChildSaId,
    pub(crate) name: ChildName,
    /// ESP or AH.
    pub(crate) protocol: ProtocolId,
    pub(crate) phase: Phase,
    /// SPI of packets to us; the peer's name for the SA is `spi_out`.
    pub(crate) spi_in: Spi,
    pub(crate) spi_out: Spi,
    pub(crate) selectors: Selectors,
    /// Which of them were taken from a packet.
    pub(crate) pfp: Pfp,
    mode: Mode,
    pub(crate) rekey_at: Option<Instant>,
    pub(crate) over_at: Option<Instant>,
    /// Limits beside those in time, which the packet engine watches, for people. Boxed: most have none.
    amounts: Option<Box<[Amounts; 2]>>,
    /// Whether we asked for it.
    by_us: bool,
    pub(crate) idleness: Idleness,
    /// Whether the peer surely has it: it has our answer, or sends on it.
    /// Before it has our IKE_AUTH answer the initiator takes no request, so that one counts.
    confirmed: bool,
    /// Why it ends, for the listeners; none if another took its place.
    pub(crate) end: Option<Box<FailureReason>>,
    in_engine: bool,
    reqid: u32,
    suite: Arc<[Transform]>,
    esn: bool,
    ipcomp: Option<IpComp>,
    aggfrag: Option<Aggfrag>,
    installed: Instant,
}

/// Where a child stands.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Phase {
    /// Carries traffic.
    Installed,
    /// Carries traffic until the replacement we ask for is there.
    Rekeying,
    /// Replaced by the peer, who will delete it (RFC 7296 §2.8).
    Rekeyed {
        /// Its successor.
        by: ChildSaId,
        /// When we stop waiting for the delete.
        until: Instant,
    },
    /// We asked the peer to delete it, or are about to.
    Deleting,
}

/// A child that should be there. Of most children there is one at a time; of one that takes selectors
/// from packets there is one for each class of them (RFC 4301 §4.4.1.2).
#[derive(Clone, Copy)]
pub(crate) struct Wish<'a> {
    pub(crate) name: &'a ChildName,
    pub(crate) pfp: Pfp,
    /// The packet that asks.
    pub(crate) flow: Option<&'a FlowKey>,
}

impl Wish<'_> {
    /// Whether a request for the child `name`, which `flow` asked for, is for what is wished.
    pub(crate) fn is_for(&self, name: &ChildName, flow: Option<&FlowKey>) -> bool {
        let class = |flow: &FlowKey| self.pfp.class(flow);
        name == self.name && (self.pfp.is_none() || flow.map(class) == self.flow.map(class))
    }

    /// Whether an SA of the child `name` is what is wished.
    pub(crate) fn is_met_by(&self, name: &ChildName, selectors: &Selectors) -> bool {
        name == self.name
            && (self.pfp.is_none() || self.flow.is_some_and(|flow| selectors.serve(self.pfp, flow)))
    }
}

/// What asks for a child.
#[derive(Clone, Copy)]
pub(crate) enum Cause<'a> {
    /// The configuration or a command.
    Order,
    /// A packet.
    Packet(&'a FlowKey),
    /// Its own age: these are the selectors of the child it replaces.
    Rekey(&'a Selectors),
}

/// What the SA protects, from our side.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Selectors {
    pub(crate) local: Vec<TrafficSelector>,
    pub(crate) remote: Vec<TrafficSelector>,
}

/// The two ends' addresses, for `dynamic` selectors, and whether they are others elsewhere.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ends {
    pub(crate) local: IpAddr,
    pub(crate) remote: IpAddr,
    pub(crate) we_are_behind_nat: bool,
    pub(crate) peer_is_behind_nat: bool,
    /// Whether packets travel in UDP, because of a NAT, by configuration or by agreement.
    pub(crate) udp: bool,
}

impl Ends {
    /// The proposals of a child that make sense between these ends: without those for AH where
    /// there is a NAT or UDP (RFC 3948 §1). `None` if there are no others.
    pub(crate) fn passable(&self, config: &ChildConfig) -> Option<Vec<ProposalSpec>> {
        let mut proposals = config.offered_proposals();
        if self.udp || self.we_are_behind_nat || self.peer_is_behind_nat {
            proposals.retain(|spec| spec.protocol() != ProtocolId::AH);
        }
        (!proposals.is_empty()).then_some(proposals)
    }

    /// Selectors of the peer's side.
    fn of_peer(self, specs: &[TsSpec]) -> Vec<TrafficSelector> {
        specs.iter().map(|spec| spec.resolve(self.remote)).collect()
    }

    /// Why [`Self::passable`] has none.
    pub(crate) fn ah_through_nat(&self) -> FailureReason {
        FailureReason::AhThroughNat {
            nat_local: self.we_are_behind_nat,
            nat_remote: self.peer_is_behind_nat,
        }
    }
}

/// What both ends agreed on, ready to be installed.
pub(crate) struct Agreed<'a> {
    pub(crate) ike: IkeSaId,
    pub(crate) connection: &'a Connection,
    pub(crate) config: &'a ChildConfig,
    /// Our role in the exchange that made it.
    pub(crate) role: Role,
    pub(crate) choice: Choice<ChildSuite>,
    pub(crate) spi_in: Spi,
    pub(crate) spi_out: Spi,
    pub(crate) selectors: SelectorPair,
    pub(crate) mode: Agreement,
    /// Whether the peer takes no padding behind inner packets.
    pub(crate) no_tfc: bool,
    pub(crate) ipcomp: Option<IpComp>,
    pub(crate) aggfrag: Option<Aggfrag>,
    /// Whether the peer answers probes of the path MTU.
    pub(crate) path_probe: bool,
    /// Whether the peer takes notices about it.
    pub(crate) notices: bool,
    pub(crate) keymat: ChildKeymat,
    pub(crate) encap: Encapsulation,
    pub(crate) rekeys: Option<ChildSaId>,
    /// Whether to send on it from now on.
    pub(crate) outbound: bool,
    /// Whether it is the child of IKE_AUTH.
    pub(crate) first: bool,
}

/// Child SAs of one IKE SA at a time, those about to go included.
pub(crate) const CHILDREN_MAX: usize = 1_024;

/// How long a request that crossed ours may be under way, sent again and again.
const CROSSING_WAIT: Duration = Duration::from_secs(90);

/// How long a replaced child waits for the peer's delete before we delete it ourselves: for longer
/// than the peer asks for our answer, as it does not know the successor before it has that.
pub(crate) const REKEYED_WAIT: Duration = Duration::from_secs(90);

impl Selectors {
    /// The same in no more memory than they need, to be kept: each side has one most often, and a
    /// vector that grows by itself begins with room for four.
    fn exact(mut self) -> Self {
        self.local.shrink_to_fit();
        self.remote.shrink_to_fit();
        self
    }

    /// Seen from us, whose role in the exchange is `role`.
    pub(crate) fn from_pair(pair: SelectorPair, role: Role) -> Self {
        match role {
            Role::Initiator => Self { local: pair.initiator, remote: pair.responder },
            Role::Responder => Self { local: pair.responder, remote: pair.initiator },
        }
    }

    /// What the configuration allows.
    fn configured(config: &ChildConfig, ends: Ends) -> Self {
        Self {
            local: config.local_ts.iter().map(|spec| spec.resolve(ends.local)).collect(),
            remote: ends.of_peer(&config.remote_ts),
        }
    }

    /// What the configuration allows a peer that may speak for no more than these networks, if
    /// there is a limit.
    pub(crate) fn allowed(config: &ChildConfig, ends: Ends, claims: Option<Claims<'_>>) -> Self {
        let Self { local, remote } = Self::configured(config, ends);
        let Some(claims) = claims else { return Self { local, remote } };
        Self { local, remote: intersection(&remote, &claims.selectors(ends)) }
    }

    /// Seen from the exchange in which our role is `role`.
    pub(crate) fn into_pair(self, role: Role) -> SelectorPair {
        match role {
            Role::Initiator => SelectorPair { initiator: self.local, responder: self.remote },
            Role::Responder => SelectorPair { initiator: self.remote, responder: self.local },
        }
    }

    /// What is offered to a peer that may speak for no more than `claims`, if there is a limit. Where
    /// selectors come from packets, they stay those of the first one.
    ///
    /// # Errors
    ///
    /// - [`FailureReason::NeedsPacket`] if they should come from a packet and there is none.
    /// - [`FailureReason::NotClaimed`] if the peer may speak for nothing of it.
    pub(crate) fn offered(
        config: &ChildConfig,
        ends: Ends,
        claims: Option<Claims<'_>>,
        cause: Cause<'_>,
    ) -> Result<SelectorPair, FailureReason> {
        let allowed = Self::allowed(config, ends, claims);
        if let Some(claims) = claims.filter(|_| allowed.remote.is_empty()) {
            return Err(claims.exceeded_by(Self::configured(config, ends).remote, ends));
        }
        Ok(match (config.pfp.is_none(), cause) {
            (true, Cause::Packet(flow)) => allowed.offer(Some(flow)),
            (true, Cause::Order | Cause::Rekey(_)) => allowed.offer(None),
            (false, Cause::Packet(flow)) => {
                let Self { local, remote } = allowed;
                let populated = config.pfp.populate(&Sides { local, remote }, flow);
                let Sides { local, remote } = populated.ok_or(FailureReason::NeedsPacket)?;
                Self { local, remote }.offer(Some(flow))
            }
            (false, Cause::Rekey(old)) => old.clone().offer(None),
            (false, Cause::Order) => return Err(FailureReason::NeedsPacket),
        })
    }

    /// Whether they carry a packet, or were made for packets of its class.
    fn serve(&self, pfp: Pfp, flow: &FlowKey) -> bool {
        let carry = self.local.iter().any(|ts| ts.contains_source(flow))
            && self.remote.iter().any(|ts| ts.contains_destination(flow));
        let sides = || Sides { local: self.local.clone(), remote: self.remote.clone() };
        carry || pfp.is_for(&sides(), flow)
    }

    /// The offer of an initiator: the packet that asks for the child first (RFC 7296 §2.9).
    fn offer(self, flow: Option<&FlowKey>) -> SelectorPair {
        SelectorPair {
            initiator: with_first(flow.map(|flow| side(flow.source())), &self.local),
            responder: with_first(flow.map(|flow| side(flow.destination())), &self.remote),
        }
    }
}

/// The selector of one end of a packet. ICMP has no ports: its types would only narrow the offer
/// to one kind of message.
fn side(side: FlowSide) -> TrafficSelector {
    let is_icmp = [IpProtocol::ICMP.0, IpProtocol::ICMPV6.0].contains(&side.protocol);
    let ports = side.port.filter(|_| !is_icmp).map_or(PortRange::ANY, PortRange::single);
    TrafficSelector::from_address(side.address).with_protocol(IpProtocol(side.protocol), ports)
}

impl Child {
    /// Hands what was agreed to the packet engine.
    pub(crate) fn install(agreed: Agreed<'_>, cx: &mut Context<'_>) -> Self {
        let (id, config) = (cx.out.next_child_sa(), agreed.config);
        let jitter = std::array::from_fn(|_| cx.rng.next_u64());
        let lifetime = config.lifetime.draw(jitter);
        let selectors = Selectors::from_pair(agreed.selectors, agreed.role).exact();
        let (keys_in, keys_out) = agreed.keymat.into_directions(agreed.role);
        let suite = cx.out.shared_suite(agreed.choice.visible_transforms());
        let negotiated = agreed.choice.suite;
        let sa = ChildSa {
            id,
            ike: agreed.ike,
            connection: agreed.connection.name.clone(),
            child: config.name.clone(),
            spi_in: agreed.spi_in,
            spi_out: agreed.spi_out,
            protection: negotiated.protection,
            mode: agreed.mode.mode(),
            peer_view: agreed.mode.peer_view(),
            esn: negotiated.esn,
            keys_in,
            keys_out,
            local_ts: selectors.local.clone(),
            remote_ts: selectors.remote.clone(),
            encap: agreed.encap,
            lifetime,
            replay_window: config.replay_window,
            icmp: config.icmp.clone(),
            dscp: config.dscp,
            ecn: config.ecn,
            df: config.df,
            mtu: config.mtu,
            tfc: if agreed.no_tfc { Tfc::OFF } else { config.tfc },
            ipcomp: agreed.ipcomp,
            aggfrag: agreed.aggfrag,
            path_probe: agreed.path_probe,
            notices: agreed.notices,
            outer: None,
            rekeys: agreed.rekeys,
        };
        cx.out.take_spi(agreed.spi_in);
        agreed.ipcomp.into_iter().for_each(|ipcomp| cx.out.take_cpi(ipcomp.cpi_in));
        cx.out.own_child(id, agreed.ike);
        cx.export_keys(&sa);
        cx.out.push(Output::InstallChild { sa: Box::new(sa), outbound: agreed.outbound });
        Self {
            id,
            name: config.name.clone(),
            protocol: negotiated.protection.protocol(),
            phase: Phase::Installed,
            spi_in: agreed.spi_in,
            spi_out: agreed.spi_out,
            selectors,
            pfp: config.pfp,
            mode: agreed.mode.mode(),
            rekey_at: lifetime.soft.time.map(|age| cx.now + age),
            over_at: lifetime.hard.time.map(|age| cx.now + age),
            amounts: lifetime.has_amounts().then(|| Box::new([lifetime.soft, lifetime.hard])),
            by_us: agreed.role.is_initiator(),
            idleness: Idleness::new(lifetime.idle, cx.now),
            confirmed: agreed.role.is_initiator() || agreed.first,
            end: None,
            in_engine: true,
            reqid: cx.out.reqid(&agreed.connection.name, &config.name),
            suite,
            esn: negotiated.esn,
            ipcomp: agreed.ipcomp,
            aggfrag: agreed.aggfrag,
            installed: cx.now,
        }
    }

    /// Takes the child from the packet engine, once; packets under way still come in for `delay`.
    pub(crate) fn take_from_engine(&mut self, delay: Duration, cx: &mut Context<'_>) {
        if std::mem::take(&mut self.in_engine) {
            cx.out.release_spi(self.spi_in);
            if let Some(ipcomp) = self.ipcomp {
                cx.out.release_cpi(ipcomp.cpi_in);
            }
            cx.out.push(Output::RemoveChild { id: self.id, delay });
        }
    }

    /// The peer has it.
    pub(crate) fn confirm(&mut self) {
        self.confirmed = true;
    }

    /// Whether the peer surely has it.
    pub(crate) fn is_confirmed(&self) -> bool {
        self.confirmed
    }

    /// Whether the peer has it, or should by now: our answer may have been lost, and it asks
    /// again until it has one.
    pub(crate) fn is_known_to_peer(&self, wait: Duration, now: Instant) -> bool {
        self.confirmed || now.saturating_duration_since(self.installed) >= wait
    }

    /// A packet that would ask for one of the same selectors, if it takes them from packets.
    pub(crate) fn sample_flow(&self) -> Option<FlowKey> {
        let (local, remote) = (self.selectors.local.first()?, self.selectors.remote.first()?);
        let (source, destination) = (local.ports.start, remote.ports.start);
        let flow = FlowKey::new(local.start, remote.start, local.protocol, source, destination);
        (!self.pfp.is_none()).then_some(flow)
    }

    /// Whether we asked for it so lately that a request of the peer may have crossed ours.
    pub(crate) fn may_have_crossed(&self, now: Instant) -> bool {
        self.by_us && now.saturating_duration_since(self.installed) < CROSSING_WAIT
    }

    /// Whether the packet engine still has it.
    pub(crate) fn is_in_engine(&self) -> bool {
        self.in_engine
    }

    /// Whether it is the one that carries its policy's traffic, now and later.
    pub(crate) fn is_current(&self) -> bool {
        matches!(self.phase, Phase::Installed | Phase::Rekeying)
    }

    pub(crate) fn info(&self, encap: Encapsulation) -> ChildSaInfo {
        ChildSaInfo {
            id: self.id,
            name: self.name.clone(),
            protocol: self.protocol,
            reqid: self.reqid,
            state: match self.phase {
                Phase::Installed => ChildSaState::Installed,
                Phase::Rekeying => ChildSaState::Rekeying,
                Phase::Rekeyed { .. } => ChildSaState::Rekeyed,
                Phase::Deleting => ChildSaState::Deleting,
            },
            encap,
            mode: self.mode,
            spi_in: self.spi_in,
            spi_out: self.spi_out,
            suite: self.suite.to_vec(),
            esn: self.esn,
            ipcomp: self.ipcomp,
            outer: None,
            aggfrag: self.aggfrag,
            installed: self.installed,
            rekey_at: self.rekey_at,
            over_at: self.over_at,
            amounts: self.amounts.clone(),
            idle_at: self.idle_at(),
            local_ts: self.selectors.local.clone(),
            remote_ts: self.selectors.remote.clone(),
        }
    }

    /// Whether a soft limit asks for its replacement.
    pub(crate) fn may_be_rekeyed(&self) -> bool {
        self.phase == Phase::Installed && !self.idleness.makes_superfluous()
    }

    /// When it ends unless packets pass.
    pub(crate) fn idle_at(&self) -> Option<Instant> {
        self.idleness.over_at().filter(|_| self.phase == Phase::Installed)
    }

    /// When something is to be done about its age.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        let soft = self.rekey_at.filter(|_| self.may_be_rekeyed());
        let hard = self.over_at.filter(|_| self.phase != Phase::Deleting);
        let wait = match self.phase {
            Phase::Rekeyed { until, .. } => Some(until),
            Phase::Installed | Phase::Rekeying | Phase::Deleting => None,
        };
        [soft, hard, wait, self.idle_at()].into_iter().flatten().min()
    }
}

/// What a responder makes of an offered child: its configuration, the suite, the selectors.
pub(crate) struct Answer<'a> {
    pub(crate) config: &'a ChildConfig,
    pub(crate) choice: Choice<ChildSuite>,
    pub(crate) spi_out: Spi,
    pub(crate) selectors: SelectorPair,
    pub(crate) mode: Agreement,
    /// Whether another configuration would take other parts of the offer, in an SA of their own.
    pub(crate) others_possible: bool,
}

/// An offered child, as far as a responder chooses from it.
pub(crate) struct Offered<'a> {
    pub(crate) purpose: Purpose,
    pub(crate) sa: &'a Sa,
    pub(crate) selectors: &'a SelectorPair,
    /// Whether transport mode is asked for, and what else.
    pub(crate) said: Said,
    /// The child that is being replaced.
    pub(crate) rekeys: Option<&'a Child>,
    /// What the peer may speak for, if the PAD limits it.
    pub(crate) claims: Option<Claims<'a>>,
}

/// What a peer may speak for (RFC 4301 §4.4.3.4), where the PAD limits it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Claims<'a> {
    /// Who it is.
    pub(crate) peer: &'a Identity,
    /// Its networks.
    pub(crate) networks: &'a [TsSpec],
}

impl Claims<'_> {
    /// The networks, as selectors of an IKE SA between these ends.
    pub(crate) fn selectors(self, ends: Ends) -> Vec<TrafficSelector> {
        ends.of_peer(self.networks)
    }

    /// The peer claims more.
    pub(crate) fn exceeded_by(self, claimed: Vec<TrafficSelector>, ends: Ends) -> FailureReason {
        FailureReason::NotClaimed {
            peer: self.peer.clone(),
            allowed: self.selectors(ends),
            claimed,
        }
    }
}

/// Why a responder refuses a child.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Refusal {
    /// NO_PROPOSAL_CHOSEN; the configuration whose proposals did not fit.
    NoProposal(ChildName),
    /// NO_PROPOSAL_CHOSEN; the configuration that wants AH through a NAT.
    AhThroughNat(ChildName),
    /// TS_UNACCEPTABLE; the configuration to show to the operator.
    Selectors(Option<ChildName>),
    /// TS_UNACCEPTABLE; the configuration that would fit another peer.
    NotClaimed(ChildName),
}

impl Refusal {
    /// The notify that answers the peer.
    pub(crate) fn notify(&self) -> NotifyType {
        match self {
            Self::NoProposal(_) | Self::AhThroughNat(_) => NotifyType::NO_PROPOSAL_CHOSEN,
            Self::Selectors(_) | Self::NotClaimed(_) => NotifyType::TS_UNACCEPTABLE,
        }
    }

    /// The payload of the request that is refused.
    pub(crate) fn payload(&self) -> PayloadType {
        match self {
            Self::NoProposal(_) | Self::AhThroughNat(_) => PayloadType::SA,
            Self::Selectors(_) | Self::NotClaimed(_) => PayloadType::TS_I,
        }
    }

    /// The configuration that came nearest.
    pub(crate) fn child(&self) -> Option<&ChildName> {
        match self {
            Self::NoProposal(child) | Self::AhThroughNat(child) | Self::NotClaimed(child) => {
                Some(child)
            }
            Self::Selectors(child) => child.as_ref(),
        }
    }

    /// What the operator is told.
    pub(crate) fn reason(
        &self,
        connection: &Connection,
        ends: Ends,
        offered: &Offered<'_>,
    ) -> FailureReason {
        let config = self.child().and_then(|name| connection.child(name));
        match self {
            Self::AhThroughNat(_) => ends.ah_through_nat(),
            Self::NoProposal(_) => FailureReason::NoCommonEspSuite {
                by: By::Us,
                ours: config.map(ChildConfig::offered_proposals).unwrap_or_default(),
                theirs: offered.sa.proposals.clone(),
            },
            Self::NotClaimed(_) => offered
                .claims
                .map_or(FailureReason::Internal("nothing limits the peer"), |claims| {
                    claims.exceeded_by(offered.selectors.initiator.clone(), ends)
                }),
            Self::Selectors(_) => {
                let ours =
                    config.map(|config| Selectors::configured(config, ends)).unwrap_or_default();
                FailureReason::SelectorMismatch {
                    by: By::Us,
                    our_local: ours.local,
                    our_remote: ours.remote,
                    their_view_of_local: offered.selectors.responder.clone(),
                    their_view_of_remote: offered.selectors.initiator.clone(),
                }
            }
        }
    }
}

/// Chooses configuration, suite and selectors for an offered child (RFC 7296 §2.7, §2.9).
///
/// Of several configurations that fit, the first that loses nothing of the offer wins, else the first
/// that holds its first choices, which are those of a packet that waits, else the first.
///
//= https://www.rfc-editor.org/rfc/rfc7296#section-2.9
//# When narrowing is done, there may be several subsets that are
//# acceptable but their union is not.  In this case, the responder
//# arbitrarily chooses one of them, and MAY include an
//# ADDITIONAL_TS_POSSIBLE notification in the response.
///
/// # Errors
///
/// [`Refusal`]: what fits best, and what about it does not fit.
pub(crate) fn choose<'a>(
    connection: &'a Connection,
    ends: Ends,
    offered: &Offered<'_>,
) -> Result<Answer<'a>, Refusal> {
    let candidates = connection
        .children
        .iter()
        .filter(|config| offered.rekeys.is_none_or(|old| old.name == config.name));
    let mut fits: Vec<Answer<'a>> = Vec::new();
    let mut refusal = Refusal::Selectors(connection.children.first().map(|c| c.name.clone()));
    for config in candidates {
        match answer(config, ends, offered) {
            Ok(answer) if answer.selectors == *offered.selectors => return Ok(answer),
            Ok(answer) => fits.push(answer),
            Err(Refusal::Selectors(_)) => {}
            Err(nearer) => refusal = nearer,
        }
    }
    let holds_first = |answer: &Answer<'_>| answer.selectors.holds_first_of(offered.selectors);
    let place = fits.iter().position(holds_first).unwrap_or(0);
    if place >= fits.len() {
        return Err(refusal);
    }
    let best = fits.swap_remove(place);
    let is_other = |other: &Answer<'_>| check_answer(&best.selectors, &other.selectors).is_err();
    let others_possible = fits.iter().any(is_other);
    Ok(Answer { others_possible, ..best })
}

fn answer<'a>(
    config: &'a ChildConfig,
    ends: Ends,
    offered: &Offered<'_>,
) -> Result<Answer<'a>, Refusal> {
    let (mode, selectors) = match between_hosts(config, ends, offered) {
        Some((mode, selectors)) => (mode, selectors),
        None => (Agreement::Tunnel, common(config, ends, offered, offered.selectors)?),
    };
    let no_proposal = || Refusal::NoProposal(config.name.clone());
    let ours = ends.passable(config).ok_or_else(|| Refusal::AhThroughNat(config.name.clone()))?;
    let choice = choose_child(offered.purpose, &ours, offered.sa)
        .map_err(|NoProposalChosen| no_proposal())?;
    let spi_out = Spi::from_field(&choice.peer_spi).ok_or_else(no_proposal)?;
    Ok(Answer { config, choice, spi_out, selectors, mode, others_possible: false })
}

/// What both sides want protected.
fn common(
    config: &ChildConfig,
    ends: Ends,
    offered: &Offered<'_>,
    selectors: &SelectorPair,
) -> Result<SelectorPair, Refusal> {
    let with = |policy: Selectors| narrow(selectors, &policy.into_pair(Role::Responder));
    let no_overlap = |_: SelectorError| Refusal::Selectors(Some(config.name.clone()));
    // What was taken from a packet stays, even if the peer would have all of its own configuration.
    if let Some(old) = offered.rekeys.filter(|_| !config.pfp.is_none()) {
        let Selectors { local, remote } = old.selectors.clone();
        let claimed = offered.claims.map(|claims| claims.selectors(ends));
        let remote = match claimed {
            Some(claimed) => intersection(&remote, &claimed),
            None => remote,
        };
        return with(Selectors { local, remote }).map_err(no_overlap);
    }
    let configured = with(Selectors::configured(config, ends)).map_err(no_overlap)?;
    if offered.claims.is_none() {
        return Ok(configured);
    }
    with(Selectors::allowed(config, ends, offered.claims))
        .map_err(|_| Refusal::NotClaimed(config.name.clone()))
}

/// Responder: transport or BEET mode, if it is asked for, configured, and between two hosts alone, in
/// transport mode the two ends; else the child is a tunnel (RFC 7296 §1.3.1).
fn between_hosts(
    config: &ChildConfig,
    ends: Ends,
    offered: &Offered<'_>,
) -> Option<(Agreement, SelectorPair)> {
    match config.mode {
        Mode::Transport if offered.said.transport => {
            let (agreement, here) = Agreement::transport(offered.selectors, Role::Responder, ends)?;
            Some((agreement, common(config, ends, offered, &here).ok()?))
        }
        Mode::Beet if offered.said.beet && config.is_esp_only() => {
            let selectors = common(config, ends, offered, offered.selectors).ok()?;
            Some((Agreement::beet(&selectors)?, selectors))
        }
        Mode::Tunnel | Mode::Transport | Mode::Beet => None,
    }
}

#[cfg(test)]
mod tests;
