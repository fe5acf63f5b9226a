//! What the program asks of an [`Endpoint`](crate::Endpoint), and what the packet engine tells it.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use adit_db::{ChildName, ChildSaId, Connection, ConnectionName, Gateway, GatewayNotice, IkeSaId};
use adit_pki::{Certificate, Distrust, Moment};
use adit_wire::esp::Spi;
use adit_wire::ip::{FlowKey, Icmp};

use crate::auth::DerivedKey;
use crate::ticket::TicketKeys;
use crate::v2::ppk::PpkKeys;
use crate::v2::signature::{Proof, SignFailure};

/// Names a request of the program; comes back in [`Output::Done`](crate::Output::Done).
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct RequestId(pub u64);

/// Names a piece of work the endpoint handed out; comes back with the result.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct JobId(pub u64);

/// Where a datagram travels, or what goes over a TCP connection.
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
    /// What is between the two.
    pub transport: Transport,
}

impl Path {
    /// A way for datagrams.
    pub fn udp(local: SocketAddr, remote: SocketAddr) -> Self {
        Self { local, remote, transport: Transport::Udp }
    }

    /// Whether it is a TCP connection (RFC 9329).
    pub fn is_tcp(self) -> bool {
        self.transport != Transport::Udp
    }

    /// The same way as the peer sees it, if nobody translates addresses.
    #[must_use]
    pub fn reversed(self) -> Self {
        let transport = match self.transport {
            Transport::Udp => Transport::Udp,
            Transport::TcpOriginator => Transport::TcpResponder,
            Transport::TcpResponder => Transport::TcpOriginator,
        };
        Self { local: self.remote, remote: self.local, transport }
    }
}

/// What carries messages and ESP packets between two addresses with ports.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Transport {
    /// Datagrams (RFC 7296 §2).
    #[default]
    Udp,
    /// A TCP connection that we open (RFC 9329 §1.2): the first message to a path without one opens
    /// it, from that local port.
    TcpOriginator,
    /// A TCP connection that the peer has opened; what is sent when it is gone is lost.
    TcpResponder,
}

/// An ICMP message about packets of ours.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct IcmpHeard {
    /// Which it is, of the family of the path.
    pub icmp: Icmp,
    /// The interface by which it came, if that is known.
    pub by: Option<String>,
}

/// Why there is no TCP connection (any more), or none of RFC 9329.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum TcpProblem {
    /// Nobody listens there, or a firewall says no.
    Refused,
    /// There is no way to the peer, or our address is gone.
    Unreachable,
    /// Nothing answers.
    Silent,
    /// The peer, or somebody on the way, has ended it.
    Closed,
    /// What comes is no IKE in TCP: the peer serves something else on that port.
    Garbled,
}

impl TcpProblem {
    /// Whether there never was a connection.
    pub fn is_unconnected(self) -> bool {
        matches!(self, Self::Refused | Self::Unreachable | Self::Silent)
    }
}

impl fmt::Display for TcpProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Refused => "the connection was refused",
            Self::Unreachable => "there is no way to the peer",
            Self::Silent => "nothing answers",
            Self::Closed => "the connection was closed",
            Self::Garbled => "what comes back is no IKE",
        })
    }
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
    /// Loads a connection, or replaces the one of the same name, that another endpoint of this host
    /// brings up: peers may set it up here all the same.
    LoadElsewhere(Arc<Connection>),
    /// Says whether a connection is brought up here or by another endpoint of this host, as it is
    /// where the newest IKE SA is.
    BringUp {
        /// The loaded connection.
        connection: ConnectionName,
        /// Whether it is here.
        here: bool,
    },
    /// Removes a connection; its IKE SAs are deleted.
    Unload(ConnectionName),
    /// Sets up a child (with its IKE SA, if there is none), or only the IKE SA.
    ///
    /// Lifts a [`Command::Down`]. Done when the child or the IKE SA is up; done at once if it
    /// is up already.
    Initiate {
        /// The loaded connection.
        connection: ConnectionName,
        /// The child of it; `None` sets up what the configuration says should be up, or if nothing
        /// does the first child, or where the IKE SA begins without one ([`adit_db::Childless`])
        /// nothing else.
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
    /// Sets up an IKE SA from the first message, with the same children, and then deletes this one
    /// (RFC 7296 §2.8.3); unknown ids are ignored.
    Reauthenticate(IkeSaId),
    /// Replaces a child SA now (RFC 7296 §1.3.3); unknown ids are ignored.
    RekeyChild(ChildSaId),
    /// Gives and takes tickets with these keys from now on (RFC 5723), those for connections with
    /// [`resumption`](Connection::resumption). Without, clients ask in vain.
    UseTicketKeys {
        /// The keys; [`TicketKeys::renewed`] says when to give others.
        keys: Arc<TicketKeys>,
        /// The time, in seconds since 1970.
        now_s: u64,
    },
    /// Sends the peer of an IKE SA to another gateway (RFC 5685 §5); ignored if the peer has not said
    /// that it follows, or if the id is unknown.
    RedirectIke {
        /// The IKE SA.
        id: IkeSaId,
        /// Where to.
        to: Gateway,
    },
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
    /// Somebody outside says that packets of a child SA do not arrive. Nobody has authenticated it.
    Doubted {
        /// The child SA.
        child: ChildSaId,
    },
    /// A packet came under an SPI that no SA has. Anybody can send one.
    UnknownSpi {
        /// The SPI.
        spi: Spi,
        /// Where it came from.
        remote: SocketAddr,
    },
    /// The peer is to be told something about a child SA that the SA itself cannot carry.
    Notice {
        /// The child SA.
        child: ChildSaId,
        /// What to tell.
        notice: GatewayNotice,
    },
}

/// What a job with a long-term secret came to.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum AuthResult {
    /// Answers [`AuthJobKind::Sign`](crate::AuthJobKind::Sign): our proof.
    Signed(Proof),
    /// Answers [`AuthJobKind::Verify`](crate::AuthJobKind::Verify): the peer proved its identity.
    Verified,
    /// Answers [`AuthJobKind::VerifyAndSign`](crate::AuthJobKind::VerifyAndSign): the peer proved
    /// its identity, and this is our proof.
    VerifiedAndSigned(Proof),
    /// The peer's data is wrong: it has another secret.
    Refused,
    /// Answers [`Output::Ppk`](crate::Output::Ppk): the keys with the PPK mixed in.
    Mixed(PpkKeys),
    /// Answers [`AuthJobKind::Derive`](crate::AuthJobKind::Derive) and
    /// [`AuthJobKind::Decapsulate`](crate::AuthJobKind::Decapsulate): what comes of the secret.
    Derived(DerivedKey),
    /// Answers [`AuthJobKind::Decrypt`](crate::AuthJobKind::Decrypt): a message for each ciphertext. Of
    /// octets that were none it is one that nobody else can know.
    Decrypted(Vec<DerivedKey>),
    /// There is no secret for this pair of identities, or no PPK of this name.
    NoSecret,
    /// The peer's signature, certificate or key is not believed.
    Distrusted(Box<Distrust>),
    /// We cannot sign as the connection and the peer want it.
    CannotSign(Box<SignFailure>),
    /// One of the first three, or messages that were decrypted, and it rests on a certificate.
    Limited(Box<Limited>),
}

/// A job that came to something which is good for a while.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Limited {
    /// What ends it.
    pub end: ProofEnd,
    /// Whether the peer has proven its identity.
    pub verified: bool,
    /// Our proof.
    pub signed: Option<Proof>,
    /// The messages, where some were to be decrypted.
    pub decrypted: Option<Vec<DerivedKey>>,
}

/// The end of a proof of identity: that of a certificate which it rests on (RFC 4301 §4.4.3.4).
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ProofEnd {
    /// Seconds until then.
    pub left_s: u64,
    /// It is our proof, not the peer's.
    pub ours: bool,
    /// Whose certificate it is that ends first.
    pub subject: String,
    /// Its notAfter.
    pub until: Moment,
}

impl ProofEnd {
    /// The end of a certificate, as our clock says now.
    pub(crate) fn of(certificate: &Certificate, ours: bool, now: Moment) -> Self {
        let (_, until) = certificate.validity();
        let left_s = until.0.saturating_sub(now.0);
        Self { left_s, ours, subject: certificate.subject_text(), until }
    }

    /// Whichever comes first.
    pub(crate) fn sooner(one: Option<Self>, other: Option<Self>) -> Option<Self> {
        [one, other].into_iter().flatten().min_by_key(|end| end.until)
    }
}

impl AuthResult {
    /// The same, with what ends it.
    pub(crate) fn until(self, end: Option<ProofEnd>) -> Self {
        let Some(end) = end else { return self };
        let (verified, signed, decrypted) = match self {
            Self::Signed(proof) => (false, Some(proof), None),
            Self::Verified => (true, None, None),
            Self::VerifiedAndSigned(proof) => (true, Some(proof), None),
            Self::Decrypted(messages) => (false, None, Some(messages)),
            Self::Refused
            | Self::Mixed(_)
            | Self::NoSecret
            | Self::Distrusted(_)
            | Self::CannotSign(_)
            | Self::Derived(_)
            | Self::Limited(_) => return self,
        };
        Self::Limited(Box::new(Limited { end, verified, signed, decrypted }))
    }

    /// The inverse.
    pub(crate) fn split(self) -> (Self, Option<ProofEnd>) {
        let Self::Limited(limited) = self else { return (self, None) };
        let Limited { end, verified, signed, decrypted } = *limited;
        let result = match (verified, signed, decrypted) {
            (true, Some(proof), _) => Self::VerifiedAndSigned(proof),
            (true, None, _) => Self::Verified,
            (false, Some(proof), _) => Self::Signed(proof),
            (false, None, Some(messages)) => Self::Decrypted(messages),
            (false, None, None) => Self::Refused,
        };
        (result, Some(end))
    }
}
