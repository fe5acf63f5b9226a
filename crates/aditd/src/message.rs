//! What the roles say to each other. Plain values: no pointers into another role, no long-term
//! secret to a role that parses packets.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use adit_dataplane::{
    InboundCommand, InboundReport, MtuSource, OutboundCommand, OutboundReport, SaCounters,
};
use adit_db::{
    ChildKeys, ChildName, ChildSa, ChildSaId, Connection, ConnectionName, Dscp, Encapsulation,
    IkeSaId, InterfaceName, KernelOptions, ManualSa, OperatorPolicy, PolicyId, TableId,
};
pub(crate) use adit_ike::Input;
use adit_ike::{
    Command, ConnectionInfo, Event, Failure, IkeSaCounts, IkeSaInfo, Output, PacketEvent, Path,
    RequestId,
};
use adit_mgmt::api::{EngineHalf, EngineIke, PolicyStatus};
use adit_sys::filter::FilterRule;
use adit_sys::tun::Tun;
use adit_sys::udp::ConnectedSocket;
use adit_sys::wake::CommandSender;
use adit_wire::ip::FlowKey;

use crate::policy::{Held, Routed, TunnelInterface};
use crate::role::forward::{Bundle, Seat};
use crate::role::keys::ToKeys;
use crate::role::tcp::TcpLink;
use crate::shards::ShardLinks;

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
    /// To its shards, what is for one of them.
    pub(crate) shards: ShardLinks,
    /// To the keys role.
    pub(crate) keys: CommandSender<ToKeys>,
    /// To the outbound threads.
    pub(crate) outbound: Fleet<ToOutbound>,
    /// To the inbound threads.
    pub(crate) inbound: Fleet<ToInbound>,
    /// To the kernel role.
    pub(crate) kernel: CommandSender<ToKernel>,
    /// To the control role.
    pub(crate) control: CommandSender<ToControl>,
    /// To the tcp role.
    pub(crate) tcp: TcpLink,
}

impl Links {
    /// Whether several threads seal, or several open.
    pub(crate) fn has_many_packet_threads(&self) -> bool {
        self.outbound.count() > 1 || self.inbound.count() > 1
    }
}

/// The way to threads that are one role together.
pub(crate) struct Fleet<T>(Vec<CommandSender<T>>);

impl<T> Fleet<T> {
    /// The threads in their order.
    pub(crate) fn new(threads: Vec<CommandSender<T>>) -> Self {
        Self(threads)
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.0.len()
    }

    /// The way to one of them.
    pub(crate) fn get(&self, number: usize) -> Option<&CommandSender<T>> {
        self.0.get(number)
    }

    /// The ways to each.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &CommandSender<T>> {
        self.0.iter()
    }

    /// Tells all of them the same; waits while a queue is full.
    pub(crate) fn send_each(&self, mut command: impl FnMut() -> T) {
        for thread in &self.0 {
            // It is gone only when the daemon stops.
            let _ = thread.send(command());
        }
    }

    /// Queues something for one of them, which [`Self::ring`] wakes.
    pub(crate) fn push_to(&self, number: usize, command: T) {
        if let Some(thread) = self.0.get(number) {
            let _ = thread.push(command);
        }
    }

    /// Queues the same for all of them.
    pub(crate) fn push_each(&self, mut command: impl FnMut() -> T) {
        (0..self.count()).for_each(|number| self.push_to(number, command()));
    }

    /// Has those see what was queued for them before they open the next packet, and lets sleepers sleep.
    pub(crate) fn announce(&self) {
        self.0.iter().for_each(CommandSender::announce);
    }

    /// Wakes those for whom something was queued.
    pub(crate) fn ring(&self) {
        self.0.iter().for_each(CommandSender::ring);
    }

    /// Asks all of them without waiting; false if one has no room.
    pub(crate) fn try_send_each(&self, mut command: impl FnMut() -> T) -> bool {
        self.0.iter().all(|thread| thread.try_send(command()).is_ok())
    }
}

impl<T> Clone for Fleet<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

/// Shows that something is under way; it ends with it.
pub(crate) type Ticket = Arc<()>;

/// To a shard of the ike role that is not the first.
#[derive(Debug)]
pub(crate) enum ToShard {
    /// For its endpoint.
    Input(Input),
    /// These peers are behind tunnels, and no others.
    Inside(Arc<BTreeSet<IpAddr>>),
    /// Tell the ike role how things stand.
    Snapshot(QueryId),
    /// Tell the ike role how many IKE SAs there are.
    Count(QueryId),
    /// All of these, one after the other.
    Many(Vec<Self>),
}

/// What a shard says when the ike role asks.
#[derive(Debug)]
pub(crate) enum ShardAnswer {
    /// Answers [`ToShard::Snapshot`].
    Snapshot {
        /// Its IKE SAs with their children.
        sas: Vec<IkeSaInfo>,
        /// All connections, with its effort to keep them as wished.
        connections: Vec<ConnectionInfo>,
    },
    /// Answers [`ToShard::Count`].
    Counts(IkeSaCounts),
}

/// To the ike role.
#[derive(Debug)]
pub(crate) enum ToIke {
    /// For the endpoint of the first shard, which is here.
    Input(Input),
    /// What another shard wants done, in order.
    Outputs(u16, Vec<Output>),
    /// Another shard answers: the one of this number.
    Answer(QueryId, u16, ShardAnswer),
    /// The shard of this number has deleted every SA and has ended.
    ShardStopped(u16),
    /// The packet engine has seen something.
    Packet(PacketNews),
    /// This host has these addresses, and its routes may have changed.
    Network(Vec<IpAddr>),
    /// An operator wants something.
    Command(Command),
    /// Unload the connection of this name and load this one, with nothing between: what both have in
    /// common, such as an interface, stays.
    Replace(Arc<Connection>),
    /// All of these, one after the other: a configuration comes whole or not at all, however long the
    /// queue is.
    Configure(Vec<Self>),
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
    /// Tell the control role how many IKE SAs there are.
    Count(QueryId),
    /// Tell the control role how they are spread over threads.
    Show(QueryId),
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
    /// Another path MTU is in force for an SA.
    PathMtu {
        /// The SA.
        child: ChildSaId,
        /// Longest outer packet, octets.
        mtu: u16,
        /// Longest inner packet, octets; 65,535 if there is no limit.
        inner: u16,
        /// Who says so.
        source: MtuSource,
    },
    /// Anything else.
    Event(PacketEvent),
}

/// To an outbound thread.
#[derive(Debug)]
pub(crate) enum ToOutbound {
    /// Change the engine.
    Engine(OutboundCommand),
    /// Seal and send these, which came to another thread.
    Packets(Bundle),
    /// What a router says about a packet that this thread may have sent, from the IP header on.
    Icmp(Box<[u8]>),
    /// Tell the control role what flowed, and which SAs would carry a packet.
    Report(QueryId, Option<(TableId, FlowKey, Dscp)>),
    /// Tell the control role how packets are moved.
    Show(QueryId),
    /// Read packets from these interfaces of tunnels, and no others.
    Interfaces(Interfaces),
    /// Tell the control role what flowed through this SA, which is about to go.
    Flowed(ChildSaId),
    /// Give this socket of one peer up: nobody can read it while the peer sends there.
    Unread(SocketNumber),
    /// Give up the sockets that are connected to one peer each: what comes to them may be the kernel's.
    Disconnect,
    /// End.
    Stop,
}

/// Names a socket that is connected to one peer, among those of all outbound threads.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct SocketNumber(pub(crate) u64);

impl SocketNumber {
    /// The first of a thread; no thread has so many that it comes to those of the next.
    pub(crate) fn first_of(thread: u16) -> Self {
        Self(u64::from(thread) << 40)
    }

    /// The thread that made it.
    pub(crate) fn thread(self) -> usize {
        usize::try_from(self.0 >> 40).unwrap_or(usize::MAX)
    }

    /// This one, and the next from then on.
    pub(crate) fn take_next(&mut self) -> Self {
        std::mem::replace(self, Self(self.0 + 1))
    }
}

/// The interfaces that tunnels have for themselves, by the number of their policies.
pub(crate) type Interfaces = BTreeMap<TableId, Tun>;

/// To an inbound thread.
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
    /// Do the work of the outbound thread too, for as long as there is little.
    Seat(Box<Seat>),
    /// Tell the control role what flowed.
    Report(QueryId),
    /// Tell the control role how packets are moved.
    Show(QueryId),
    /// Tell the control role what flowed through this SA, which is about to go.
    Flowed(ChildSaId),
    /// Read this socket of one peer, too.
    Connected {
        /// Its name.
        number: SocketNumber,
        /// A handle to it.
        socket: Box<ConnectedSocket>,
    },
    /// Open these, which came by TCP.
    Stream(Bundle),
    /// Nothing comes to this socket any more but what is under way: close it after that.
    TurnedAway(SocketNumber),
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
    /// Answers [`ToIke::Count`].
    Counts(QueryId, IkeSaCounts),
    /// Answers [`ToIke::Policies`].
    Policies(QueryId, Box<PolicyView>),
    /// Answers [`ToOutbound::Report`].
    Outbound(QueryId, Box<OutboundReport>, Vec<ChildSaId>),
    /// Answers [`ToInbound::Report`].
    Inbound(QueryId, Box<InboundReport>),
    /// Answers [`ToKernel::Report`].
    Kernel(QueryId, Box<KernelReport>),
    /// Answers [`ToIke::Show`].
    ShownIke(QueryId, Box<EngineIke>),
    /// Answers [`ToOutbound::Show`].
    ShownOut(QueryId, Box<EngineHalf>),
    /// Answers [`ToInbound::Show`].
    ShownIn(QueryId, Box<EngineHalf>),
    /// Answers [`ToOutbound::Flowed`]; `None` if there is no such SA.
    FlowedOut(ChildSaId, Option<Box<SaCounters>>),
    /// Answers [`ToInbound::Flowed`]; `None` if there is no such SA.
    FlowedIn(ChildSaId, Option<Box<SaCounters>>),
    /// Answers [`ToKernel::Flowed`], inbound first; `None` if there is no such SA.
    FlowedInKernel(ChildSaId, Box<[Option<SaCounters>; 2]>),
    /// A problem of this host that the parent found.
    Problem(Box<adit_mgmt::Diagnosis>),
    /// The routes of a tunnel are right again.
    RouteMended(ConnectionName),
    /// All of these, one after the other.
    Many(Vec<Self>),
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
    /// Interfaces take so many octets from now on, and those that are not among them what is usual.
    TunMtus(BTreeMap<TableId, u16>),
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
    /// A peer has given us these addresses inside, and no others, by this IKE SA.
    Inside(IkeSaId, Vec<IpAddr>),
    /// Close a TCP connection when the routes sent earlier are in place, and what was sent before.
    HangUp(Path),
    /// The ike role tells the control role something, which must not arrive before the routes sent
    /// earlier are in place: whoever reads that a tunnel is up may send a packet at once.
    Tell(Box<ToControl>),
    /// What the ike role sends this way, with its ticket: when all of these are given back, nothing it
    /// sent is on its way here any more.
    InTurn(Box<Self>, Ticket),
    /// The ike role has deleted every SA.
    IkeStopped,
    /// A role cannot go on.
    Failed(&'static str),
}
