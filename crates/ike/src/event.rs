//! What happened, for listeners and for `status`: snapshots of SAs and steps of a handshake.
//!
//! The snapshots carry what VICI's `list-sas` and `list-conns` show.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use adit_db::{
    Aggfrag, Amounts, ChildName, ChildSaId, ClientSettings, Connection, ConnectionName,
    Encapsulation, Gateway, Identity, IkeSaId, IkeVersion, IpComp, Mode,
};
use adit_wire::esp::Spi;
use adit_wire::iana::{KeyExchangeId, ProtocolId};
use adit_wire::ikev2::{IkeSpi, TrafficSelector, Transform};

use crate::command::{Path, ProofEnd, TcpProblem, Transport};
use crate::failure::{Failure, FailureReason};
use crate::lifetime::Origin;

/// Something listeners want to know. `Display` of the parts is for logs; peers' identities and
/// addresses belong at level `debug`.
#[derive(Clone, Debug)]
pub enum Event {
    /// An IKE SA is established (not after a rekey: that is [`Event::IkeRekeyed`]).
    IkeUp(Box<IkeSaInfo>),
    /// An IKE SA that was established is gone; its children went with it, each with its own event.
    IkeDown {
        /// How it was.
        info: Box<IkeSaInfo>,
        /// Why.
        reason: FailureReason,
    },
    /// An IKE SA got new keys.
    IkeRekeyed {
        /// Before.
        old: Box<IkeSaInfo>,
        /// After; the children have moved here.
        new: Box<IkeSaInfo>,
    },
    /// A child SA is installed (not after a rekey: that is [`Event::ChildRekeyed`]).
    ChildUp {
        /// Its IKE SA.
        ike: Box<IkeSaInfo>,
        /// The child SA.
        child: Box<ChildSaInfo>,
    },
    /// A child SA is gone and nothing replaced it.
    ChildDown {
        /// Its IKE SA.
        ike: Box<IkeSaInfo>,
        /// How it was.
        child: Box<ChildSaInfo>,
        /// Why.
        reason: FailureReason,
    },
    /// A child SA got new keys.
    ChildRekeyed {
        /// Their IKE SA.
        ike: Box<IkeSaInfo>,
        /// Before.
        old: Box<ChildSaInfo>,
        /// After.
        new: Box<ChildSaInfo>,
    },
    /// Our address changed, and the peer knows (RFC 4555).
    Moved {
        /// The IKE SA.
        ike: Box<IkeSaInfo>,
        /// Where we were.
        old: SocketAddr,
    },
    /// The peer's address changed: it has moved (RFC 4555), or its NAT's mapping.
    PeerMoved {
        /// The IKE SA.
        ike: Box<IkeSaInfo>,
        /// Where the peer was.
        old: SocketAddr,
    },
    /// A handshake took a step.
    Progress {
        /// The connection, when it is known.
        connection: Option<ConnectionName>,
        /// The IKE SA, when there is one.
        ike: Option<IkeSaId>,
        /// The step.
        step: Step,
        /// Time from the start of the attempt.
        elapsed: Duration,
    },
    /// An attempt failed, or an SA went down against our wish.
    Failed(Box<Failure>),
    /// What should be up is not, and will be tried again.
    Retry {
        /// The connection.
        connection: ConnectionName,
        /// The wait until then.
        after: Duration,
        /// Failures in a row.
        failures: u32,
    },
}

/// A step of a handshake, in the order of `adit up`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Step {
    /// The peer's name is being looked up.
    Resolving {
        /// The host name.
        name: String,
    },
    /// The first request went out.
    Reaching {
        /// Where to.
        path: Path,
    },
    /// The first request went out, with a ticket to resume a session (RFC 5723).
    Resuming {
        /// Where to.
        path: Path,
    },
    /// UDP does not get through: the same is tried over TCP (RFC 9329 §5.1).
    FallingBack {
        /// How the attempt over UDP ended.
        reason: FailureReason,
    },
    /// The TCP connection is gone and is opened anew (RFC 9329 §6.1).
    Reconnecting {
        /// What happened to it.
        problem: TcpProblem,
    },
    /// The peer asked for proof of our address first (RFC 7296 §2.6).
    CookieAsked,
    /// The peer asked for another key exchange method (RFC 7296 §1.3).
    KeyExchangeAsked {
        /// What the peer wants.
        wanted: KeyExchangeId,
    },
    /// The peer's error to IKE_SA_INIT; it is not authenticated, so we keep trying for a while.
    ErrorReceived {
        /// What would be reported if nothing better comes.
        reason: FailureReason,
    },
    /// The peer sends us to another gateway (RFC 5685).
    Redirected {
        /// Where.
        to: Gateway,
    },
    /// IKE_SA_INIT is done.
    Reached {
        /// The addresses from now on.
        path: Path,
        /// Whether we are behind a NAT.
        nat_local: bool,
        /// Whether the peer is behind a NAT.
        nat_remote: bool,
        /// What the peer's vendor id says, if it is a known one.
        peer: PeerSoftware,
    },
    /// The suite is agreed and the keys are there, additional key exchanges included.
    Keys {
        /// The agreed transforms.
        suite: Vec<Transform>,
    },
    /// Both sides have authenticated.
    Authenticated {
        /// Our identity.
        local: Identity,
        /// The identity the peer proved.
        remote: Identity,
        /// What it proved it by ([`adit_db::AuthSpec::word`]).
        method: &'static str,
    },
    /// A child was agreed.
    Child {
        /// Its name.
        child: ChildName,
        /// Our side.
        local: Vec<TrafficSelector>,
        /// The peer's side.
        remote: Vec<TrafficSelector>,
    },
}

/// What we know about the peer's program from its vendor id payloads. Nothing security-relevant
/// hangs on it: vendor ids are not authenticated when they come.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum PeerSoftware {
    /// No vendor id, or none we know.
    #[default]
    Unknown,
    /// This program.
    Adit,
    /// strongSwan.
    StrongSwan,
    /// Libreswan.
    Libreswan,
    /// Microsoft Windows.
    Windows,
    /// Cisco.
    Cisco,
    /// Openswan.
    Openswan,
    /// FreeS/WAN.
    FreeSwan,
    /// racoon: of KAME, of IPsec-Tools or Apple's.
    Racoon,
    /// OpenBSD's isakmpd, for IKEv1.
    Isakmpd,
    /// OpenIKED, for IKEv2.
    OpenIked,
    /// Check Point.
    CheckPoint,
    /// FortiGate and FortiClient.
    Fortinet,
    /// NetScreen and what Juniper made of it.
    NetScreen,
    /// SonicWall.
    SonicWall,
    /// ZyXEL's ZyWALL.
    ZyWall,
    /// Nortel's Contivity.
    Nortel,
    /// Aruba.
    Aruba,
    /// Shrew Soft's client.
    ShrewSoft,
    /// NCP's client.
    Ncp,
}

/// Where an IKE SA stands; `Display` gives strongSwan's words.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum IkeSaState {
    /// Not authenticated yet.
    Connecting,
    /// Up.
    Established,
    /// Up; new keys are being negotiated.
    Rekeying,
    /// Replaced by a newer SA and about to be deleted.
    Rekeyed,
    /// Delete sent.
    Deleting,
}

impl std::fmt::Display for IkeSaState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Connecting => "CONNECTING",
            Self::Established => "ESTABLISHED",
            Self::Rekeying => "REKEYING",
            Self::Rekeyed => "REKEYED",
            Self::Deleting => "DELETING",
        })
    }
}

/// Where a child SA stands; `Display` gives strongSwan's words.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ChildSaState {
    /// Carries traffic both ways.
    Installed,
    /// Carries traffic; new keys are being negotiated.
    Rekeying,
    /// Replaced by a newer SA and about to be deleted.
    Rekeyed,
    /// Delete sent.
    Deleting,
}

impl std::fmt::Display for ChildSaState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Installed => "INSTALLED",
            Self::Rekeying => "REKEYING",
            Self::Rekeyed => "REKEYED",
            Self::Deleting => "DELETING",
        })
    }
}

/// How many IKE SAs there are.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct IkeSaCounts {
    /// Both sides have authenticated.
    pub established: usize,
    /// On their way there.
    pub half_open: usize,
    /// Replaced or being deleted, until the peer says so, too.
    pub leaving: usize,
}

impl IkeSaCounts {
    /// Counts in those of another endpoint.
    pub fn add(&mut self, other: Self) {
        self.established = self.established.saturating_add(other.established);
        self.half_open = self.half_open.saturating_add(other.half_open);
        self.leaving = self.leaving.saturating_add(other.leaving);
    }
}

/// Snapshot of an IKE SA.
#[derive(Clone, Debug)]
pub struct IkeSaInfo {
    /// Process-unique number (`uniqueid`).
    pub id: IkeSaId,
    /// The connection; `None` while a responder does not know it yet.
    pub connection: Option<ConnectionName>,
    /// The protocol.
    pub version: IkeVersion,
    /// Where it stands.
    pub state: IkeSaState,
    /// Our address and port.
    pub local: SocketAddr,
    /// The peer's address and port.
    pub remote: SocketAddr,
    /// What is between them.
    pub transport: Transport,
    /// Our identity, when it is known.
    pub local_id: Option<Identity>,
    /// The peer's identity, when it is known; proven when the SA is established.
    pub remote_id: Option<Identity>,
    /// Whether we are the original initiator of this SA (RFC 7296 §2.2).
    pub initiator: bool,
    /// The initiator's SPI.
    pub spi_i: IkeSpi,
    /// The responder's SPI; zero before it answered.
    pub spi_r: IkeSpi,
    /// Whether we are behind a NAT.
    pub nat_local: bool,
    /// Whether the peer is behind a NAT.
    pub nat_remote: bool,
    /// Whether the peer may split large messages (RFC 7383).
    pub fragmentation: bool,
    /// Whether it was resumed by a ticket, without the long-term secret (RFC 5723).
    pub resumed: bool,
    /// Whether the peer lets us send it to another gateway (RFC 5685).
    pub follows_redirects: bool,
    /// Whether it moves with the addresses of its ends (RFC 4555).
    pub mobike: bool,
    /// Where else the peer is, as it says.
    pub peer_addresses: Vec<IpAddr>,
    /// The peer's program.
    pub peer: PeerSoftware,
    /// The agreed transforms, additional key exchanges included; empty while not agreed.
    pub suite: Vec<Transform>,
    /// When it was established.
    pub established: Option<Instant>,
    /// When we will replace its keys.
    pub rekey_at: Option<Instant>,
    /// When we will replace it by one that is authenticated anew (RFC 4478).
    pub reauth_at: Option<Instant>,
    /// What ends authentication, in no order.
    pub auth_limits: Vec<AuthLimit>,
    /// Whether a post-quantum pre-shared key is in its keys (RFC 8784).
    pub ppk: bool,
    /// When it ends unless it was replaced.
    pub over_at: Option<Instant>,
    /// Octets that renew and end it; of IKEv1 alone.
    pub volume: Option<IkeVolume>,
    /// Users, and addresses inside, if there are any.
    pub access: Option<Box<AccessInfo>>,
    /// Its children, oldest first.
    pub children: Vec<ChildSaInfo>,
}

/// What an IKE SA has of remote access.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct AccessInfo {
    /// Who the peer's user has proven to be.
    pub user: Option<String>,
    /// What the peer has given us: our addresses inside, and what goes with them.
    pub given: Option<ClientSettings>,
    /// The peer's addresses inside, which it has from us.
    pub leases: Vec<IpAddr>,
}

/// Something that ends authentication at some time.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct AuthLimit {
    /// What it is.
    pub origin: Origin,
    /// When.
    pub until: Instant,
}

impl AuthLimit {
    /// The end of a certificate. None if it is too far to matter: 9999-12-31 says that there is none
    /// (RFC 5280 §4.1.2.5), and adding it to a clock could overflow.
    pub(crate) fn of_proof(end: ProofEnd, now: Instant) -> Option<Self> {
        let ProofEnd { left_s, ours, subject, until } = end;
        let origin = Origin::Certificate { ours, subject, until };
        (left_s < FAR_S).then(|| Self { origin, until: now + Duration::from_secs(left_s) })
    }
}

/// A hundred years.
const FAR_S: u64 = 100 * 365 * 86_400;

/// Snapshot of a child SA. What flowed through it is the packet engine's to tell.
#[derive(Clone, Debug)]
pub struct ChildSaInfo {
    /// Process-unique number (`uniqueid`).
    pub id: ChildSaId,
    /// Name of its configuration.
    pub name: ChildName,
    /// ESP or AH.
    pub protocol: ProtocolId,
    /// Number of its policy, the same across rekeys.
    pub reqid: u32,
    /// Where it stands.
    pub state: ChildSaState,
    /// Outer addresses and whether ESP travels in UDP.
    pub encap: Encapsulation,
    /// What was agreed on: a peer may have declined transport mode.
    pub mode: Mode,
    /// SPI of packets to us.
    pub spi_in: Spi,
    /// SPI of packets to the peer.
    pub spi_out: Spi,
    /// The agreed transforms, with the key exchange if there was one of its own.
    pub suite: Vec<Transform>,
    /// Whether sequence numbers have 64 bits.
    pub esn: bool,
    /// Its compression, if it has one.
    pub ipcomp: Option<IpComp>,
    /// AH around its ESP, where both are a bundle.
    pub outer: Option<Box<OuterSaInfo>>,
    /// How its packets share ESP packets, if they do.
    pub aggfrag: Option<Aggfrag>,
    /// When it was installed.
    pub installed: Instant,
    /// When its soft lifetime in time ends.
    pub rekey_at: Option<Instant>,
    /// When its hard lifetime in time ends.
    pub over_at: Option<Instant>,
    /// Its soft and its hard limits, where there are any beside those in time.
    pub amounts: Option<Box<[Amounts; 2]>>,
    /// When it ends unless packets pass.
    pub idle_at: Option<Instant>,
    /// Our side.
    pub local_ts: Vec<TrafficSelector>,
    /// The peer's side.
    pub remote_ts: Vec<TrafficSelector>,
}

/// Octets that an ISAKMP SA has protected, and its limits in octets (RFC 2409 appendix A, life type 2).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct IkeVolume {
    /// So many, in both directions.
    pub octets: u64,
    /// Where it is renewed.
    pub soft: Option<u64>,
    /// Where it ends.
    pub hard: Option<u64>,
}

/// AH around the ESP of a child SA (RFC 2401 §4.3).
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct OuterSaInfo {
    /// Its number in the packet engine.
    pub id: ChildSaId,
    /// SPI of packets to us.
    pub spi_in: Spi,
    /// SPI of packets to the peer.
    pub spi_out: Spi,
    /// The agreed transforms.
    pub suite: Vec<Transform>,
    /// Whether sequence numbers have 64 bits.
    pub esn: bool,
}

/// Snapshot of a loaded connection and of the effort to keep it as wished.
#[derive(Clone, Debug)]
pub struct ConnectionInfo {
    /// The configuration.
    pub connection: Arc<Connection>,
    /// Whether this endpoint of the host is to bring it up.
    pub is_here: bool,
    /// IKE SAs of it, established or not.
    pub ike_sas: Vec<IkeSaId>,
    /// Whether somebody took it down by command.
    pub held_down: bool,
    /// When it will be tried again.
    pub retry_at: Option<Instant>,
    /// Failures in a row.
    pub failures: u32,
    /// The last of them; cleared when the connection is up.
    pub last_failure: Option<Box<Failure>>,
    /// Addresses inside that clients have had, which are kept for them, and what they have proven to be.
    pub past_leases: Vec<(IpAddr, String)>,
}
