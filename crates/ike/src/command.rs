//! What the program asks of an [`Endpoint`](crate::Endpoint), and what the packet engine tells it.

use std::net::SocketAddr;
use std::sync::Arc;

use adit_db::{ChildName, ChildSaId, Connection, ConnectionName, IkeSaId};
use adit_wire::ip::FlowKey;

/// Names a request of the program; comes back in [`Output::Done`](crate::Output::Done).
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct RequestId(pub u64);

/// Names a piece of work the endpoint handed out; comes back with the result.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct JobId(pub u64);

/// Where a datagram travels.
///
/// When `local.port()` is [`EndpointConfig::nat_port`](crate::EndpointConfig::nat_port) the
/// datagram is UDP-encapsulated: whoever sends it puts the four octets of the non-ESP marker in
/// front, whoever receives it has taken them off (RFC 7296 §2.23, RFC 3948 §2.2).
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Path {
    /// Our end.
    pub local: SocketAddr,
    /// The peer's end.
    pub remote: SocketAddr,
}

/// An order to the endpoint.
#[derive(Clone, Debug)]
pub enum Command {
    /// Loads a connection or replaces the one of the same name.
    ///
    /// IKE SAs whose connection did not change in anything they depend on stay; a child whose
    /// configuration changed or disappeared is deleted; an IKE SA whose own part changed is
    /// deleted and, if something should be up, set up anew.
    Load(Arc<Connection>),
    /// Removes a connection; its IKE SAs are deleted.
    Unload(ConnectionName),
    /// Sets up a child (with its IKE SA, if there is none), or only the IKE SA.
    ///
    /// Lifts a [`Command::Down`]. Done when the child or the IKE SA is up; done at once if it
    /// is up already.
    Initiate {
        /// The loaded connection.
        connection: ConnectionName,
        /// The child of it; `None` sets up what the configuration says should be up, or the first
        /// child if nothing does.
        child: Option<ChildName>,
        /// Comes back with the result.
        request: RequestId,
    },
    /// Takes a connection down: deletes its IKE SAs and stops all attempts to set it up, until it
    /// is initiated or loaded again. A connection `on-demand` still comes up by traffic.
    Down {
        /// The loaded connection.
        connection: ConnectionName,
        /// Comes back when nothing is left.
        request: RequestId,
    },
    /// Deletes one IKE SA with its children. Like [`Command::Down`], what should be up does not
    /// return by itself.
    TerminateIke {
        /// The IKE SA.
        id: IkeSaId,
        /// Comes back when it is gone.
        request: RequestId,
    },
    /// Deletes one child SA. It does not return by itself.
    TerminateChild {
        /// The child SA.
        id: ChildSaId,
        /// Comes back when it is gone.
        request: RequestId,
    },
    /// Replaces the keys of an IKE SA now (RFC 7296 §1.3.2); unknown ids are ignored.
    RekeyIke(IkeSaId),
    /// Replaces a child SA now (RFC 7296 §1.3.3); unknown ids are ignored.
    RekeyChild(ChildSaId),
    /// Deletes everything and accepts nothing new. The endpoint is idle, and
    /// [`Endpoint::is_idle`](crate::Endpoint::is_idle) true, when the peers have confirmed or
    /// stayed silent.
    Shutdown,
}

/// Something the packet engine has seen.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum PacketEvent {
    /// A packet wants a child SA that is not there.
    Acquire {
        /// The connection of the policy it met.
        connection: ConnectionName,
        /// The child of the policy it met.
        child: ChildName,
        /// The packet's addresses and ports: the most specific selector of the offer
        /// (RFC 7296 §2.9).
        flow: FlowKey,
    },
    /// A child SA has reached its soft lifetime in time, octets or packets: replace it.
    SoftExpire {
        /// The child SA.
        child: ChildSaId,
    },
    /// A child SA has reached its hard lifetime and carries nothing any more.
    HardExpire {
        /// The child SA.
        child: ChildSaId,
    },
    /// An authentic, fresh ESP packet came from another address than the one we send to.
    PeerMoved {
        /// The child SA it came in on.
        child: ChildSaId,
        /// Where it came from.
        remote: SocketAddr,
    },
    /// An authentic ESP packet came in: the peer lives (RFC 7296 §2.4). One event a second and
    /// child is enough.
    Traffic {
        /// The child SA it came in on.
        child: ChildSaId,
    },
    /// Packets that are no dummies pass a child SA with a limit of idle time, in whichever direction.
    /// One event in [`USE_INTERVAL`](adit_db::USE_INTERVAL) is enough.
    Used {
        /// The child SA.
        child: ChildSaId,
    },
}

/// What a job with a long-term secret came to.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum AuthResult {
    /// Answers [`AuthJobKind::Sign`](crate::AuthJobKind::Sign): the authentication data.
    Signed(Vec<u8>),
    /// Answers [`AuthJobKind::Verify`](crate::AuthJobKind::Verify): the peer proved its identity.
    Verified,
    /// Answers [`AuthJobKind::Verify`](crate::AuthJobKind::Verify): the peer's data is wrong.
    Refused,
    /// There is no secret for this pair of identities.
    NoSecret,
}
