//! What the roles say to each other. Plain values: no pointers into another role, no long-term
//! secret to a role that parses packets.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use adit_dataplane::{InboundCommand, InboundReport, OutboundCommand, OutboundReport, SaCounters};
use adit_db::{
    ChildKeys, ChildName, ChildSa, ChildSaId, Connection, ConnectionName, Dscp, Encapsulation,
    InterfaceName, KernelOptions, ManualSa, OperatorPolicy, PolicyId, TableId,
};
use adit_ike::{
    AuthResult, Command, ConnectionInfo, Event, Failure, IkeSaInfo, JobId, PacketEvent, Path,
    RequestId,
};
use adit_mgmt::api::PolicyStatus;
use adit_sys::filter::FilterRule;
use adit_sys::tun::Tun;
use adit_sys::wake::CommandSender;
use adit_wire::ip::FlowKey;

use crate::policy::{Held, Routed, TunnelInterface};
use crate::role::keys::ToKeys;

/// What the ike role knows about policies, for people.
#[derive(Debug)]
pub(crate) struct PolicyView {
    /// All of them up to a limit, or the one that decides about the packet.
    pub(crate) entries: Vec<PolicyStatus>,
    /// How many there are.
    pub(crate) total: usize,
    /// The SA that carries the packet, if the kernel does that.
    pub(crate) carrier: Option<ChildSaId>,
    /// The packet's routes.
    pub(crate) routes: Option<RouteView>,
}

/// Where the kernel sends a packet.
#[derive(Debug)]
pub(crate) struct RouteView {
    /// As it comes from this host or through it.
    pub(crate) plain: Way,
    /// As it comes from us in clear.
    pub(crate) clear: Way,
}

/// One answer of the kernel.
#[derive(Debug)]
pub(crate) struct Way {
    /// In the words of `ip route get`.
    pub(crate) text: String,
    /// The interface.
    pub(crate) interface: Option<String>,
    /// Whether it leads anywhere; if not, the kernel drops the packet.
    pub(crate) leads: bool,
}

/// A question of the control role; comes back with the answer.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct QueryId(pub(crate) u64);

/// The way to every role.
#[derive(Clone)]
pub(crate) struct Links {
    /// To the parent.
    pub(crate) parent: CommandSender<ToParent>,
    /// To the ike role.
    pub(crate) ike: CommandSender<ToIke>,
    /// To the keys role.
    pub(crate) keys: CommandSender<ToKeys>,
    /// To the outbound thread.
    pub(crate) outbound: CommandSender<ToOutbound>,
    /// To the inbound thread.
    pub(crate) inbound: CommandSender<ToInbound>,
    /// To the kernel role.
    pub(crate) kernel: CommandSender<ToKernel>,
    /// To the control role.
    pub(crate) control: CommandSender<ToControl>,
}

/// To the ike role.
#[derive(Debug)]
pub(crate) enum ToIke {
    /// An IKE message that came in on port 4500, marker taken off.
    Datagram {
        /// Where it travelled.
        path: Path,
        /// The message.
        octets: Vec<u8>,
    },
    /// The network says that what we sent did not arrive.
    Unreachable(Path),
    /// The packet engine has seen something.
    Packet(PacketNews),
    /// The keys role has computed.
    Auth(JobId, AuthResult),
    /// A lookup is done; empty if nothing was found.
    Resolved(JobId, Vec<IpAddr>),
    /// An operator wants something.
    Command(Command),
    /// Unload the connection of this name and load this one, with nothing between: what both have in
    /// common, such as an interface, stays.
    Replace(Arc<Connection>),
    /// Hold a child's policy although it is passive (VICI `install`), or stop that.
    Install {
        /// The child.
        connection: ConnectionName,
        /// Its name.
        child: ChildName,
        /// Whether to hold it.
        install: bool,
    },
    /// SAs that are keyed by hand come or go.
    Manual(ManualChange),
    /// These are the entries that operators wrote down, in order.
    SetPolicies(Vec<OperatorPolicy>),
    /// Tell the control role how things stand.
    Snapshot(QueryId),
    /// Tell the control role which policies hold, or what becomes of a packet; of that the outbound
    /// thread is asked, too.
    Policies(QueryId, Option<Asked>),
    /// Delete every SA and end.
    Stop,
}

/// A packet that somebody asks about.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    /// It.
    pub(crate) flow: FlowKey,
    /// See there.
    pub(crate) dscp: Dscp,
    /// The interface that it goes to; if there is none, the one that the routes say.
    pub(crate) interface: Option<String>,
}

/// What happens to SAs that are keyed by hand.
#[derive(Debug)]
pub(crate) enum ManualChange {
    /// They are wanted.
    Add(Box<ManualOrder>),
    /// They are not wanted any more.
    Remove(ConnectionName),
}

/// SAs that are keyed by hand, with their keys.
#[derive(Debug)]
pub(crate) struct ManualOrder {
    /// Everything but the keys.
    pub(crate) sa: Arc<ManualSa>,
    /// Their number.
    pub(crate) id: ChildSaId,
    /// Keys of what comes in, if anything does.
    pub(crate) keys_in: ChildKeys,
    /// Keys of what goes out, likewise.
    pub(crate) keys_out: ChildKeys,
}

/// What a packet thread tells the ike role, in the packet engine's own numbers.
#[derive(Debug)]
pub(crate) enum PacketNews {
    /// A packet of this policy wants through and there is no SA.
    Acquire {
        /// The policy.
        policy: PolicyId,
        /// The packet.
        flow: FlowKey,
    },
    /// Anything else.
    Event(PacketEvent),
}

/// To the outbound thread.
#[derive(Debug)]
pub(crate) enum ToOutbound {
    /// Change the engine.
    Engine(OutboundCommand),
    /// Tell the control role what flowed, and which SAs would carry a packet.
    Report(QueryId, Option<(TableId, FlowKey, Dscp)>),
    /// Read packets from these interfaces of tunnels, and no others.
    Interfaces(Interfaces),
    /// Tell the control role what flowed through this SA, which is about to go.
    Flowed(ChildSaId),
    /// End.
    Stop,
}

/// The interfaces that tunnels have for themselves, by the number of their policies.
pub(crate) type Interfaces = BTreeMap<TableId, Tun>;

/// To the inbound thread.
#[derive(Debug)]
pub(crate) enum ToInbound {
    /// Change the engine.
    Engine(InboundCommand),
    /// Forget an SA after the packets under way have had time to arrive.
    RemoveLater {
        /// The SA.
        child: ChildSaId,
        /// The time.
        delay: std::time::Duration,
    },
    /// Take the packets of a multicast group for an SA.
    Join {
        /// The SA.
        child: ChildSaId,
        /// Its name.
        name: ConnectionName,
        /// The group of its packets.
        group: IpAddr,
        /// Number of the interface towards it.
        interface: u32,
        /// Groups of the packets inside: this host's programs get them from the TUN.
        inside: Vec<IpAddr>,
    },
    /// Take them no more.
    Leave(ChildSaId),
    /// Give what SAs of these tables have opened to these interfaces.
    Interfaces(Interfaces),
    /// Tell the control role what flowed.
    Report(QueryId),
    /// Tell the control role what flowed through this SA, which is about to go.
    Flowed(ChildSaId),
    /// End.
    Stop,
}

/// To the kernel role, which is the packet engine of some tunnels.
#[derive(Debug)]
pub(crate) enum ToKernel {
    /// Take a child SA: inbound at once, outbound too if it is active.
    Install {
        /// The SA.
        sa: Box<ChildSa>,
        /// Its policy.
        policy: PolicyId,
        /// What is configured for it.
        options: KernelOptions,
        /// Whether to send on it.
        active: bool,
    },
    /// Send on this SA from now on.
    Activate(ChildSaId),
    /// Stop sending on an SA, and forget it after the packets under way have had time to arrive.
    RemoveLater {
        /// The SA.
        child: ChildSaId,
        /// The time.
        delay: std::time::Duration,
    },
    /// The peer has another address, or the encapsulation changed.
    UpdatePeer {
        /// The SA.
        child: ChildSaId,
        /// The new outer addresses.
        encap: Encapsulation,
    },
    /// Have these interfaces and no others.
    Interfaces(BTreeSet<InterfaceName>),
    /// Hold these selectors while no SA serves them.
    Policies(Vec<Held>),
    /// Tell the control role what flowed.
    Report(QueryId),
    /// Tell the control role what flowed through this SA, which is about to go.
    Flowed(ChildSaId),
    /// Pass this on, when everything before is done.
    Then(Box<ToParent>),
    /// Take everything out of the kernel and end.
    Stop,
}

/// What the kernel's SAs have carried.
#[derive(Debug, Default)]
pub(crate) struct KernelReport {
    /// Each inbound half.
    pub(crate) inbound: Vec<SaCounters>,
    /// Each outbound half.
    pub(crate) outbound: Vec<SaCounters>,
}

/// To the control role.
#[derive(Debug)]
pub(crate) enum ToControl {
    /// Something happened.
    Event(Event),
    /// A request is done.
    Done {
        /// The request.
        request: RequestId,
        /// Why it failed, if it did.
        result: Result<(), Box<Failure>>,
    },
    /// Answers [`ToIke::Snapshot`].
    Snapshot {
        /// The question.
        query: QueryId,
        /// All IKE SAs with their children.
        sas: Vec<IkeSaInfo>,
        /// All connections with the effort to keep them as wished.
        connections: Vec<ConnectionInfo>,
    },
    /// Answers [`ToIke::Policies`].
    Policies(QueryId, Box<PolicyView>),
    /// Answers [`ToOutbound::Report`].
    Outbound(QueryId, Box<OutboundReport>, Vec<ChildSaId>),
    /// Answers [`ToInbound::Report`].
    Inbound(QueryId, Box<InboundReport>),
    /// Answers [`ToKernel::Report`].
    Kernel(QueryId, Box<KernelReport>),
    /// Answers [`ToOutbound::Flowed`]; `None` if there is no such SA.
    FlowedOut(ChildSaId, Option<Box<SaCounters>>),
    /// Answers [`ToInbound::Flowed`]; `None` if there is no such SA.
    FlowedIn(ChildSaId, Option<Box<SaCounters>>),
    /// A problem of this host that the parent found.
    Problem(Box<adit_mgmt::Diagnosis>),
    /// The routes of a tunnel are right again.
    RouteMended(ConnectionName),
    /// A line of the log.
    Log(crate::log::Line),
    /// Read the configuration directory again (SIGHUP).
    Reload,
    /// Close the socket and end.
    Stop,
}

/// Which networks belong to which tunnels.
#[derive(Debug)]
pub(crate) enum RouteChange {
    /// These and no others.
    All(BTreeMap<PolicyId, Routed>),
    /// Those of this policy are these, those of others stay.
    One(PolicyId, Option<Routed>),
}

/// To the parent.
#[derive(Debug)]
pub(crate) enum ToParent {
    /// These networks belong to tunnels from now on.
    Routes(RouteChange),
    /// Tunnels have these interfaces from now on.
    Interfaces(Vec<TunnelInterface>),
    /// An interface of tunnels does not work any more: somebody has taken it away.
    InterfaceGone(TableId),
    /// This may come in beside the tunnels from now on, and this not.
    Filter(Vec<FilterRule>),
    /// Send an IKE message when the routes sent earlier are in place.
    Transmit {
        /// Where it travels.
        path: Path,
        /// The message.
        octets: Vec<u8>,
        /// Whether it goes through a tunnel itself.
        inside: bool,
    },
    /// The ike role tells the control role something, which must not arrive before the routes sent
    /// earlier are in place: whoever reads that a tunnel is up may send a packet at once.
    Tell(Box<ToControl>),
    /// The ike role has deleted every SA.
    IkeStopped,
    /// A role cannot go on.
    Failed(&'static str),
}
