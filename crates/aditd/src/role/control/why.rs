//! `adit spd`, `adit sad` and `adit why`: the databases, and what they decide about one packet.

use std::collections::BTreeMap;
use std::time::Instant;

use adit_dataplane::{DropCounters, DropReason, SaCounters};
use adit_db::{
    ChildName, ChildSaId, ConnectionName, Dscp, Engine, IpComp, Steering, TransformWords, TsSpec,
};
use adit_ike::{ChildSaInfo, IkeSaInfo};
use adit_mgmt::Diagnosis;
use adit_mgmt::api::{
    CompressionStatus, Fate, PolicyAction, PolicyStatus, SCHEMA, SaStatus, SadReport, SpdReport,
    TunnelStatus, Why,
};
use adit_sys::clock;
use adit_wire::iana::IpProtocol;
use adit_wire::ip::FlowKey;

use super::Running;
use super::answers::Numbers;
use super::events::millis;
use super::snapshots::{seconds_since, seconds_until};
use super::status::{outer_status, protocol_words};
use crate::message::{PolicyView, RouteView};

/// What flowed through an SA: in, out.
pub(super) fn halves(id: ChildSaId, numbers: &Numbers) -> [Option<SaCounters>; 2] {
    let half = |all: &[SaCounters]| all.iter().find(|half| half.child == id).copied();
    [half(&numbers.inbound.sas), half(&numbers.outbound.sas)]
}

fn one(ike: &IkeSaInfo, sa: &ChildSaInfo, numbers: &Numbers, now: Instant) -> SaStatus {
    let [inbound, outbound] = halves(sa.id, numbers);
    let outer = sa.outer.as_deref();
    let [outer_in, outer_out] = outer.map_or([None, None], |outer| halves(outer.id, numbers));
    let drops =
        |halves: &[Option<SaCounters>]| drop_words(halves.iter().flatten().map(|half| half.drops));
    SaStatus {
        tunnel: ike.connection.as_ref().map_or_else(String::new, ToString::to_string),
        child: sa.name.to_string(),
        class: ike.connection.as_ref().and_then(|name| code_points(name, &sa.name, numbers)),
        id: sa.id.0,
        state: sa.state.to_string(),
        spi_in: format!("{:08x}", sa.spi_in.0),
        spi_out: format!("{:08x}", sa.spi_out.0),
        outer_local: sa.encap.local.to_string(),
        outer_remote: sa.encap.remote.to_string(),
        protocol: protocol_words(sa),
        outer: outer.map(outer_status),
        udp: sa.encap.udp && !sa.encap.tcp,
        tcp: sa.encap.tcp,
        by_kernel: Engine::of(sa.spi_in) == Engine::Kernel,
        suite: TransformWords(&sa.suite).to_string(),
        local: sa.local_ts.iter().map(|ts| TsSpec::from(*ts).to_string()).collect(),
        remote: sa.remote_ts.iter().map(|ts| TsSpec::from(*ts).to_string()).collect(),
        compression: sa.ipcomp.map(|agreed| compression(agreed, inbound, outbound)),
        aggfrag: sa.aggfrag.is_some(),
        age_s: seconds_since(sa.installed, now),
        rekey_in_s: sa.rekey_at.map(|at| seconds_until(at, now)),
        over_in_s: sa.over_at.map(|at| seconds_until(at, now)),
        idle_in_s: sa.idle_at.map(|at| seconds_until(at, now)),
        drops: drops(&[inbound, outbound, outer_in, outer_out]),
        drops_in: drops(&[inbound, outer_in]),
        drops_out: drops(&[outbound, outer_out]),
        ..flowed([inbound, outbound], now)
    }
}

/// What the two halves of an SA have counted.
pub(super) fn flowed(halves: [Option<SaCounters>; 2], now: Instant) -> SaStatus {
    let [inbound, outbound] = halves;
    let ago = |half: Option<SaCounters>| {
        half.and_then(|half| half.last_used).map(|at| millis(now.saturating_duration_since(at)))
    };
    SaStatus {
        packets_in: inbound.map_or(0, |half| half.packets),
        octets_in: inbound.map_or(0, |half| half.octets),
        packets_out: outbound.map_or(0, |half| half.packets),
        octets_out: outbound.map_or(0, |half| half.octets),
        sequence_in: inbound.map_or(0, |half| half.sequence),
        sequence_out: outbound.map_or(0, |half| half.sequence),
        last_in_ms: ago(inbound),
        last_out_ms: ago(outbound),
        drops: drop_words(halves.into_iter().flatten().map(|half| half.drops)),
        drops_in: drop_words(inbound.map(|half| half.drops).into_iter()),
        drops_out: drop_words(outbound.map(|half| half.drops).into_iter()),
        ..SaStatus::default()
    }
}

/// The code points of a child that is a class of its tunnel's traffic.
fn code_points(
    connection: &ConnectionName,
    child: &ChildName,
    numbers: &Numbers,
) -> Option<String> {
    let known = numbers.connections.iter().find(|known| known.connection.name == *connection)?;
    let child = known.connection.child(child).filter(|child| child.resource.is_none())?;
    Some(child.class.as_ref()?.code_points.to_string())
}

/// The child that carries a DSCP, if the tunnel of a policy has classes.
fn class(policy: &PolicyStatus, dscp: Dscp, numbers: &Numbers) -> Option<String> {
    let mut all = numbers.connections.iter().map(|known| &known.connection);
    let connection = all.find(|connection| connection.name.as_str() == policy.name)?;
    let child = connection.child(&policy.child.as_ref()?.parse().ok()?)?;
    let mut classes = connection.classes_with(child).filter(|one| one.resource.is_none());
    let has_classes = classes.nth(1).is_some();
    has_classes.then(|| connection.class_for(child, dscp).name.to_string())
}

fn compression(
    agreed: IpComp,
    inbound: Option<SaCounters>,
    outbound: Option<SaCounters>,
) -> CompressionStatus {
    let [received, sent] =
        [inbound, outbound].map(|half| half.map(|half| half.ipcomp).unwrap_or_default());
    CompressionStatus {
        cpi_in: format!("{:04x}", agreed.cpi_in.0),
        cpi_out: format!("{:04x}", agreed.cpi_out.0),
        packets_in: received.packets,
        plain_octets_in: received.plain_octets,
        compressed_octets_in: received.compressed_octets,
        packets_out: sent.packets,
        plain_octets_out: sent.plain_octets,
        compressed_octets_out: sent.compressed_octets,
    }
}

/// What was dropped, by reason; only reasons that occurred.
pub(super) fn drop_words(counters: impl Iterator<Item = DropCounters>) -> Vec<(String, u64)> {
    let mut words: Vec<(String, u64)> = Vec::new();
    for (reason, count) in counters.flat_map(|one| one.iter().collect::<Vec<_>>()) {
        match words.iter_mut().find(|(name, _)| name == reason.name()) {
            Some((_, sum)) => *sum += count,
            None if count > 0 => words.push((reason.name().to_owned(), count)),
            None => {}
        }
    }
    words
}

/// What reasons mean, by their names.
fn meanings<'a>(names: impl Iterator<Item = &'a str>) -> BTreeMap<String, String> {
    let text = |name: &str| {
        let reason = DropReason::ALL.iter().find(|reason| reason.name() == name)?;
        Some((name.to_owned(), reason.text().to_owned()))
    };
    names.filter_map(text).collect()
}

impl Running {
    /// The SAs.
    pub(super) fn sad(&self, numbers: &Numbers) -> SadReport {
        let now = clock::now();
        let all = numbers.sas.iter().flat_map(|ike| ike.children.iter().map(move |sa| (ike, sa)));
        let sas = all.map(|(ike, sa)| {
            let tunnel = ike.connection.as_ref().and_then(|name| self.store.tunnels.get(name));
            let connection = tunnel.map(|tunnel| &tunnel.connection);
            let over = connection.and_then(|connection| connection.over.as_ref());
            let child = connection.and_then(|connection| connection.child(&sa.name));
            let Steering { interface, mark } =
                child.map(|child| child.kernel.steering.clone()).unwrap_or_default();
            SaStatus {
                over: over.map(ToString::to_string),
                interface: interface.map(|name| name.to_string()),
                mark: mark.map(|mark| mark.to_string()),
                ..one(ike, sa, numbers, now)
            }
        });
        let mut sas: Vec<SaStatus> = sas.collect();
        sas.extend(self.manual_sas(numbers, now));
        let drops_in = drop_words([numbers.inbound.drops].into_iter());
        let drops_out = drop_words([numbers.outbound.drops].into_iter());
        let lists = sas.iter().map(|sa| &sa.drops).chain([&drops_in, &drops_out]);
        let reasons = meanings(lists.flatten().map(|(name, _)| name.as_str()));
        SadReport { schema: SCHEMA, sas, drops_in, drops_out, reasons }
    }

    /// The policies.
    pub(super) fn spd(&self, view: Option<Box<PolicyView>>) -> SpdReport {
        let (total, mut entries) = view.map_or((0, Vec::new()), |view| (view.total, view.entries));
        entries.iter_mut().for_each(|entry| self.store.locate(entry));
        SpdReport { schema: SCHEMA, total, entries }
    }

    /// Whether packets that go to an interface come to the user-space engine.
    fn is_ours(&self, interface: &str) -> bool {
        interface == self.role.tun || self.store.has_tun(interface)
    }

    /// What happens to a packet that leaves, and how we know.
    pub(super) fn why(
        &self,
        (flow, dscp, interface): (&FlowKey, Dscp, Option<&str>),
        view: Option<Box<PolicyView>>,
        carriers: &[ChildSaId],
        numbers: &Numbers,
    ) -> Why {
        let Some(PolicyView { entries, total, carrier: by_kernel, routes: Some(routes) }) =
            view.map(|view| *view)
        else {
            return Why { schema: SCHEMA, ..Why::default() };
        };
        let mut policy = entries.into_iter().next();
        policy.iter_mut().for_each(|policy| self.store.locate(policy));
        let tunnel = policy.as_ref().filter(|policy| policy.action == PolicyAction::Protect);
        let tunnel = tunnel
            .and_then(|policy| self.status(Some(&policy.name), numbers).tunnels.into_iter().next());
        let is_kernels = policy.as_ref().is_some_and(|policy| policy.by_kernel);
        let by_kernel: Vec<ChildSaId> = by_kernel.into_iter().collect();
        let carriers = if is_kernels { &by_kernel } else { carriers };
        let all = self.sad(numbers).sas;
        let find = |id: &ChildSaId| all.iter().find(|sa| sa.id == id.0).cloned();
        let mut sas = carriers.iter().filter_map(find);
        let sa = sas.next();
        let over = sas.collect();
        let goes_to = interface.or(routes.plain.interface.as_deref());
        let routed_here = goes_to.is_some_and(|name| self.is_ours(name));
        let fate = fate(policy.as_ref(), routed_here, sa.is_some());
        let case = Case { flow, policy: policy.as_ref(), tunnel: tunnel.as_ref(), routes: &routes };
        let problem = case.problem(fate, &self.role.tun);
        let class = policy.as_ref().and_then(|policy| class(policy, dscp, numbers));
        let shown = for_people(flow);
        let way = if fate == Fate::Bypassed { routes.clear } else { routes.plain };
        Why {
            schema: SCHEMA,
            source: shown.source().to_string(),
            destination: shown.destination().to_string(),
            protocol: protocol(flow),
            dscp: dscp.to_string(),
            class,
            fate,
            route: way.text,
            reachable: way.leads,
            routed_here,
            policy,
            policies: total,
            tunnel,
            sa,
            over,
            drops: drop_words([numbers.outbound.drops, numbers.inbound.drops].into_iter()),
            problem,
        }
    }
}

/// A packet without what stands in the place of ports for want of them (RFC 7296 §3.13.1).
fn for_people(flow: &FlowKey) -> FlowKey {
    match IpProtocol(flow.protocol) {
        IpProtocol::ICMP | IpProtocol::ICMPV6 => {
            FlowKey::without_ports(flow.src, flow.dst, flow.protocol)
        }
        _ => *flow,
    }
}

/// A protocol's name or number.
fn protocol(flow: &FlowKey) -> String {
    IpProtocol(flow.protocol).name().map_or_else(|| flow.protocol.to_string(), str::to_owned)
}

fn fate(policy: Option<&PolicyStatus>, routed_here: bool, carried: bool) -> Fate {
    // What the kernel protects it protects on whatever way.
    let routed_here = routed_here || policy.is_some_and(|policy| policy.by_kernel);
    match (policy.map(|policy| policy.action), routed_here) {
        (Some(PolicyAction::Protect), false) => Fate::Astray,
        (_, false) => Fate::Outside,
        (None, true) => Fate::Blocked,
        (Some(PolicyAction::Bypass), true) => Fate::Bypassed,
        (Some(PolicyAction::Discard), true) => Fate::Discarded,
        (Some(PolicyAction::Protect), true) if carried => Fate::Protected,
        (Some(PolicyAction::Protect), true) => Fate::Waiting,
    }
}

/// What a diagnosis is made of.
struct Case<'a> {
    flow: &'a FlowKey,
    policy: Option<&'a PolicyStatus>,
    tunnel: Option<&'a TunnelStatus>,
    routes: &'a RouteView,
}

impl Case<'_> {
    fn problem(&self, fate: Fate, tun: &str) -> Option<Diagnosis> {
        let packet = for_people(self.flow).to_string();
        let name = self.policy.map_or("", |policy| policy.name.as_str());
        match fate {
            Fate::Protected => self.tunnel.and_then(|tunnel| tunnel.problem.clone()),
            Fate::Bypassed | Fate::Outside => None,
            Fate::Blocked => Some(Diagnosis::no_policy(&packet)),
            Fate::Discarded => Some(Diagnosis::discarded(&packet, name)),
            Fate::Waiting => {
                let known = self.tunnel.and_then(|tunnel| tunnel.problem.clone());
                let pfp = self.policy.map_or(&[][..], |policy| policy.pfp.as_slice());
                let no_sa = || match pfp {
                    [] => Diagnosis::no_sa(&packet, name),
                    pfp => Diagnosis::no_sa_yet(&packet, name, pfp),
                };
                Some(known.unwrap_or_else(no_sa))
            }
            Fate::Astray => {
                let remote = self.policy.map(|policy| policy.remote.join(", "));
                let cx = adit_mgmt::diagnosis::Context::of(name);
                let expected = format!("dev {tun}");
                let found = &self.routes.plain.text;
                Some(Diagnosis::route_elsewhere(&cx, &remote.unwrap_or_default(), found, &expected))
            }
        }
    }
}
