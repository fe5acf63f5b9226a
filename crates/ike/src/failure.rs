//! Why something failed, with both sides' values as far as they may be known.
//!
//! These values are for the operator. What the peer learns is a notify of RFC 7296 §2.21, chosen
//! where the message is answered.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use adit_db::{
    ChildName, ConnectionName, Gateway, Identity, IdentityPattern, NonceEncryption, PpkId,
    ProposalSpec,
};
use adit_pki::Distrust;
use adit_wire::iana::doi::GroupId;
use adit_wire::iana::isakmp::NotifyType as IsakmpNotifyType;
use adit_wire::iana::{AuthMethod, ExchangeType, KeyExchangeId, NotifyType};
use adit_wire::ikev2::{Proposal, TrafficSelector};

use crate::command::TcpProblem;
use crate::notification_data::PeerSays;
use crate::v2::signature::SignFailure;

/// An attempt that failed, or an SA that went down against our wish.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Failure {
    /// The connection; `None` when a responder could not tell which one the peer meant.
    pub connection: Option<ConnectionName>,
    /// The child, when only the child failed.
    pub child: Option<ChildName>,
    /// The peer's address, when there is one.
    pub remote: Option<SocketAddr>,
    /// Whether we were the initiator of the exchange that failed.
    pub initiator: bool,
    /// What happened.
    pub reason: FailureReason,
    /// Time from the start of the attempt.
    pub elapsed: Duration,
    /// What the peer says about it beside its notify: for people, and not to be believed.
    pub peer_says: Option<Box<PeerSays>>,
}

/// Which side said no.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum By {
    /// This side.
    Us,
    /// The other side, by a notify.
    Peer,
}

impl fmt::Display for By {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Us => "us",
            Self::Peer => "the peer",
        })
    }
}

/// What is missing where static ML-KEM keys stand for a key exchange (docs/dhless.md).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum StaticKemGap {
    /// The connection names none.
    Unconfigured,
    /// Our private half is not here.
    Missing,
    /// No connection is for the two keys that the peer names.
    Unknown,
}

impl fmt::Display for StaticKemGap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unconfigured => "the connection names none",
            Self::Missing => "our private key is not here",
            Self::Unknown => "the peer names others",
        })
    }
}

/// What is missing where a post-quantum pre-shared key is wanted (RFC 8784).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum PpkGap {
    /// The peer does not say that it has any.
    Unsupported,
    /// We have none of the name that the peer says, and one side insists on it.
    Unknown,
    /// We have none of the name that our configuration says.
    Missing,
    /// The peer answered without it.
    Declined,
}

impl fmt::Display for PpkGap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unsupported => "the peer has none",
            Self::Unknown => "the peer names another",
            Self::Missing => "its secret is not here",
            Self::Declined => "the peer declined it",
        })
    }
}

/// What happened. One variant per thing an operator does differently; [`FailureReason::code`] is
/// the number the programs print.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum FailureReason {
    /// E101: the two IKE proposals have no suite in common.
    #[error("no common IKE suite, says {by}")]
    NoCommonIkeSuite {
        /// Who found out.
        by: By,
        /// What our configuration offers or accepts.
        ours: Vec<ProposalSpec>,
        /// What the peer offered; empty when the peer is the one who refused.
        theirs: Vec<Proposal>,
    },
    /// E101: the peer offers key exchanges on curves over 2^n alone (RFC 2409 §6.3, §6.4), of which none is done
    /// here.
    #[error("the peer offers no group but curves over 2^n (EC2N)")]
    Ec2nAlone {
        /// Those of its groups that have a number.
        groups: Vec<GroupId>,
        /// What our configuration accepts.
        ours: Vec<ProposalSpec>,
    },
    /// E102: the two ESP or AH proposals have no suite in common.
    #[error("no common ESP or AH suite, says {by}")]
    NoCommonEspSuite {
        /// Who found out.
        by: By,
        /// What our configuration offers or accepts.
        ours: Vec<ProposalSpec>,
        /// What the peer offered or, if it is an Adit peer that refused, what it accepts.
        theirs: Vec<Proposal>,
    },
    /// E101: the peer insists on a key exchange method that we did not offer.
    #[error("peer asks for key exchange {wanted}, which is not offered")]
    KeyExchangeNotOffered {
        /// What the peer wants.
        wanted: KeyExchangeId,
        /// What our configuration offers.
        ours: Vec<ProposalSpec>,
    },
    /// E103: AH covers the addresses of a packet, so none comes through a NAT, nor through UDP.
    #[error("AH cannot pass the NAT{}", if *.nat_local || *.nat_remote { "" } else { " that UDP is for" })]
    AhThroughNat {
        /// Whether we are behind a NAT.
        nat_local: bool,
        /// Whether the peer is behind a NAT.
        nat_remote: bool,
    },
    /// E104: one side insists on an IKE SA that begins without a child (RFC 6023).
    #[error("an IKE SA that begins {}", if *.by == By::Us { "with a child" } else { "without a child is not for this peer" })]
    NotChildless {
        /// Who would not have it.
        by: By,
    },
    /// E105: the peer begins an IKE SA of IKEv1 in a mode that the tunnel does not allow.
    #[error("{remote} begins in {exchange}, which is not allowed")]
    AggressiveRefused {
        /// Aggressive or base mode.
        exchange: ExchangeType,
        /// Whom the peer claims to be.
        remote: Identity,
    },
    /// E109: the peer does not prove who it is by decrypting nonces, or not in this way.
    #[error("peer declines {}", .method.word())]
    NonceEncryptionDeclined {
        /// What we offer.
        method: NonceEncryption,
    },
    /// E110: a request was sent until the tries were spent and nothing usable came back.
    #[error("peer {remote} is silent: {transmissions} transmissions of {exchange} in {waited:?}")]
    PeerSilent {
        /// The exchange that was not answered.
        exchange: ExchangeType,
        /// Where the request went.
        remote: SocketAddr,
        /// How often.
        transmissions: u8,
        /// For how long.
        waited: Duration,
        /// Whether the network reported the address or port as unreachable meanwhile.
        unreachable: bool,
    },
    /// E111: this host has no route to the peer.
    #[error("no route to {remote}")]
    NoRoute {
        /// The peer's address.
        remote: IpAddr,
    },
    /// E112: the peer's host name has no address.
    #[error("{name} does not resolve")]
    NameUnknown {
        /// The host name.
        name: String,
    },
    /// E121: the peer answers on port 500, but IKE_AUTH on 4500 gets nothing back.
    #[error("UDP 4500 is blocked: {transmissions} transmissions of {exchange} in {waited:?}")]
    NatPortBlocked {
        /// The exchange that was not answered.
        exchange: ExchangeType,
        /// Where the request went.
        remote: SocketAddr,
        /// How often.
        transmissions: u8,
        /// For how long.
        waited: Duration,
        /// Whether we are behind a NAT.
        nat_local: bool,
        /// Whether the peer is behind a NAT.
        nat_remote: bool,
    },
    /// E122 and E123: there is no TCP connection to the peer (RFC 9329), or it ended before the peer
    /// had authenticated.
    #[error("no IKE over TCP with {remote}: {problem}")]
    TcpFailed {
        /// Where the connection goes.
        remote: SocketAddr,
        /// What is the matter.
        problem: TcpProblem,
    },
    /// E124: the peer does not let us move to this address (RFC 4555 §3.5).
    #[error("peer {remote} does not take {local} as our address")]
    AddressRefused {
        /// Where we wanted to be.
        local: IpAddr,
        /// Where the peer was to be reached.
        remote: SocketAddr,
    },
    /// E125: something on the way changes addresses, and none is to (RFC 4555 §3.9).
    #[error("a NAT changes addresses between {local} and {remote}, and none is allowed")]
    UnexpectedNat {
        /// Our address.
        local: IpAddr,
        /// The peer's, as we see it.
        remote: SocketAddr,
    },
    /// E130: the peer deleted the SA.
    #[error("peer closed the SA")]
    ClosedByPeer,
    /// E201: there is no secret for this pair of identities on this side.
    #[error("no secret for {local} and {remote}")]
    NoSecret {
        /// Our identity.
        local: Identity,
        /// The peer's.
        remote: Identity,
    },
    /// E203: the authentication data is wrong: the secrets differ.
    #[error("authentication of {remote} towards {local} refused by {by}")]
    WrongSecret {
        /// Who found out.
        by: By,
        /// Our identity.
        local: Identity,
        /// The peer's identity as far as it is known.
        remote: IdentityPattern,
        /// Whether the secret is certainly the reason. If the peer refused and is no Adit, it
        /// may just as well not know our identity (E204).
        certain: bool,
    },
    /// E224: what one side encrypts the other cannot decrypt: one of them has another key of the other.
    #[error("the RSA keys of {local} and {remote} do not fit, says {by}")]
    WrongEncryptionKey {
        /// Who found out.
        by: By,
        /// Our identity.
        local: Identity,
        /// The peer's identity as far as it is known.
        remote: IdentityPattern,
    },
    /// E206: we cannot prove our identity by a signature.
    #[error("cannot sign as {local}: {problem}")]
    CannotSign {
        /// Our identity.
        local: Identity,
        /// Why.
        problem: Box<SignFailure>,
    },
    /// E207 to E213: we do not believe the peer's signature, certificate or key.
    #[error("{remote} is not believed: {problem}")]
    NotTrusted {
        /// Whom it claims to be.
        remote: Identity,
        /// Why.
        problem: Box<Distrust>,
    },
    /// E208: the peer does not take our certificate or our signature, or does not know us.
    #[error("our signature as {local} is refused by the peer")]
    CredentialRefused {
        /// Our identity.
        local: Identity,
        /// The peer's identity as far as it is known.
        remote: IdentityPattern,
    },
    /// E209: the peer proves its identity in another way than the connection asks for.
    #[error("peer authenticates by {received}, not by {expected}")]
    WrongMethod {
        /// What the configuration asks for.
        expected: &'static str,
        /// What the peer does.
        received: AuthMethod,
    },
    /// E204: the peer does not know us by our identity.
    #[error("peer does not know us as {local}")]
    UnknownToPeer {
        /// Our identity.
        local: Identity,
        /// The identity we asked the peer for.
        remote: IdentityPattern,
    },
    /// E204: we know no connection for the peer's identity.
    #[error("no connection for {remote}, which asks for {local:?}")]
    UnknownPeer {
        /// The identity the peer claims.
        remote: Identity,
        /// The identity the peer asked us for.
        local: Option<Identity>,
        /// The identities our connections with that address expect, at most a few.
        expected: Vec<(ConnectionName, IdentityPattern)>,
    },
    /// E204: no connection is for the addresses a stranger uses.
    #[error("no connection for this address")]
    NoConnection,
    /// E205: the peer proves another identity than the one configured.
    #[error("peer is {received}, not {expected}")]
    WrongIdentity {
        /// What the configuration says.
        expected: IdentityPattern,
        /// What the peer says.
        received: Identity,
    },
    /// E221: there is no post-quantum pre-shared key in common, and one side insists on it.
    #[error("no post-quantum key in common: {gap}")]
    NoPpk {
        /// The name of ours.
        id: Option<PpkId>,
        /// What is missing.
        gap: PpkGap,
    },
    /// E225: there is no pair of static ML-KEM keys in common (docs/dhless.md).
    #[error("no static ML-KEM keys in common: {0}")]
    NoStaticKem(StaticKemGap),
    /// E222: the peer authenticates more often or less often than configured (RFC 4739).
    #[error("peer does {} of {expected} authentications", if *.more { "more" } else { "fewer" })]
    WrongRounds {
        /// How many the configuration asks for.
        expected: usize,
        /// Whether the peer goes on where it should be through.
        more: bool,
    },
    /// E223: the user is not let in (XAUTH).
    #[error("user{} refused, says {by}", user.as_ref().map(|user| format!(" {user}")).unwrap_or_default())]
    UserRefused {
        /// Who found out.
        by: By,
        /// The name, if it is ours.
        user: Option<String>,
    },
    /// E303: the peer has no address for us.
    #[error("the peer has no address inside for us")]
    NoInnerAddress,
    /// E301: the two sides disagree about the traffic to protect.
    #[error("traffic selectors do not overlap, says {by}")]
    SelectorMismatch {
        /// Who found out.
        by: By,
        /// Our configuration's local side.
        our_local: Vec<TrafficSelector>,
        /// Our configuration's remote side.
        our_remote: Vec<TrafficSelector>,
        /// What the peer wants our side to be; empty if it did not say.
        their_view_of_local: Vec<TrafficSelector>,
        /// What the peer wants its own side to be; empty if it did not say.
        their_view_of_remote: Vec<TrafficSelector>,
    },
    /// E302: the PAD does not let this peer speak for that traffic (RFC 4301 §4.4.3.4).
    #[error("{peer} may not speak for what it claims")]
    NotClaimed {
        /// Whom it proved to be.
        peer: Identity,
        /// What it may speak for.
        allowed: Vec<TrafficSelector>,
        /// What it wants its side to be.
        claimed: Vec<TrafficSelector>,
    },
    /// The peer sent an error notify that has no variant of its own.
    #[error("peer answered {exchange} with {notify}")]
    PeerError {
        /// The exchange that failed.
        exchange: ExchangeType,
        /// What the peer said.
        notify: NotifyType,
    },
    /// The peer of IKEv1 sent an error notify that has no variant of its own.
    #[error("peer answered {exchange} with {notify}")]
    PeerRefused {
        /// The exchange that failed.
        exchange: ExchangeType,
        /// What the peer said.
        notify: IsakmpNotifyType,
    },
    /// The peer broke the protocol.
    #[error("peer broke the protocol: {0}")]
    PeerMisbehaved(&'static str),
    /// The peer did not finish the handshake it started.
    #[error("peer did not finish the handshake within {waited:?}")]
    HandshakeTimeout {
        /// The time it had.
        waited: Duration,
    },
    /// IKE_SA_INIT was started again too often: cookies or key exchange methods without end.
    #[error("gave up after {limit} restarts of IKE_SA_INIT")]
    TooManyRestarts {
        /// The limit.
        limit: u8,
    },
    /// A session could not be resumed (RFC 5723); a full handshake follows.
    #[error("session could not be resumed")]
    NotResumed,
    /// The peer sends us to another gateway (RFC 5685), and we go.
    #[error("peer sends us to {to}")]
    Redirected {
        /// Where.
        to: Gateway,
    },
    /// E134: one gateway sends us to another without end (RFC 5685 §7).
    #[error("redirected more than {limit} times")]
    TooManyRedirects {
        /// The limit.
        limit: u8,
    },
    /// The SA lived to its end without being replaced (RFC 7296 §2.8).
    #[error("lifetime is over")]
    LifetimeOver,
    /// Nothing passed the child SA for as long as its configuration lets it idle.
    #[error("nothing passed for too long")]
    Idle,
    /// Another IKE SA with the same peer took its place (RFC 7296 §2.4).
    #[error("replaced by a newer SA")]
    Replaced,
    /// The peer refused a second IKE SA, or we did, because one exists and `unique` says so.
    #[error("an IKE SA with this peer exists already")]
    NotUnique,
    /// The IKE SA went down before the request could be sent.
    #[error("the IKE SA went down first: {0}")]
    IkeSaGone(Box<Self>),
    /// Somebody on this side asked for it.
    #[error("taken down by command")]
    ByCommand,
    /// The configuration changed.
    #[error("configuration changed")]
    Reconfigured,
    /// This endpoint shuts down.
    #[error("shutting down")]
    ShuttingDown,
    /// The child takes selectors from packets (RFC 4301 §4.4.1.2), and there is none.
    #[error("the child takes its selectors from a packet: only a packet brings it up")]
    NeedsPacket,
    /// The command names something that does not exist.
    #[error("no such {0}")]
    NoSuch(&'static str),
    /// The connection cannot be initiated: it names no single peer address.
    #[error("connection has no address to initiate to")]
    NoAddress,
    /// A bound of this endpoint is reached.
    #[error("too many {0}")]
    TooMany(&'static str),
    /// E601: a computation failed that cannot fail with the values of an honest peer.
    #[error("internal error: {0}")]
    Internal(&'static str),
}

impl FailureReason {
    /// The number of the message to the operator, `101` for E101. Codes never change meaning.
    /// `None`: nothing is wrong, somebody wanted this.
    pub fn code(&self) -> Option<u16> {
        match self {
            Self::NoCommonIkeSuite { .. }
            | Self::KeyExchangeNotOffered { .. }
            | Self::Ec2nAlone { .. } => Some(101),
            Self::NoCommonEspSuite { .. } => Some(102),
            Self::AhThroughNat { .. } => Some(103),
            Self::NotChildless { .. } => Some(104),
            Self::AggressiveRefused { .. } => Some(105),
            Self::NonceEncryptionDeclined { .. } => Some(109),
            Self::WrongEncryptionKey { .. } => Some(224),
            Self::PeerSilent { unreachable: true, .. } | Self::NoRoute { .. } => Some(111),
            Self::PeerSilent { .. } | Self::HandshakeTimeout { .. } => Some(110),
            Self::NameUnknown { .. } => Some(112),
            Self::NatPortBlocked { .. } => Some(121),
            Self::TcpFailed { problem, .. } if problem.is_unconnected() => Some(122),
            Self::TcpFailed { .. } => Some(123),
            Self::AddressRefused { .. } => Some(124),
            Self::UnexpectedNat { .. } => Some(125),
            Self::ClosedByPeer => Some(130),
            Self::NoSecret { .. } => Some(201),
            Self::CannotSign { .. } => Some(206),
            Self::NotTrusted { problem, .. } => Some(distrust_code(problem)),
            Self::CredentialRefused { .. } => Some(208),
            Self::WrongMethod { .. } => Some(209),
            Self::WrongSecret { .. } => Some(203),
            Self::UnknownToPeer { .. } | Self::UnknownPeer { .. } | Self::NoConnection => Some(204),
            Self::WrongIdentity { .. } => Some(205),
            Self::NoPpk { .. } => Some(221),
            Self::NoStaticKem(_) => Some(225),
            Self::WrongRounds { .. } => Some(222),
            Self::UserRefused { .. } => Some(223),
            Self::NoInnerAddress => Some(303),
            Self::SelectorMismatch { .. } => Some(301),
            Self::NotClaimed { .. } => Some(302),
            Self::IkeSaGone(reason) => reason.code(),
            Self::NoAddress => Some(113),
            Self::PeerError { .. }
            | Self::PeerRefused { .. }
            | Self::PeerMisbehaved(_)
            | Self::TooManyRestarts { .. } => Some(131),
            Self::NotUnique => Some(132),
            Self::LifetimeOver => Some(133),
            Self::TooManyRedirects { .. } => Some(134),
            Self::TooMany(_) | Self::Internal(_) => Some(601),
            Self::NoSuch(_)
            | Self::NeedsPacket
            | Self::Idle
            | Self::Redirected { .. }
            | Self::NotResumed
            | Self::Replaced
            | Self::ByCommand
            | Self::Reconfigured
            | Self::ShuttingDown => None,
        }
    }
}

/// One number for each thing that is mended in another place.
fn distrust_code(problem: &Distrust) -> u16 {
    match problem {
        Distrust::UnknownIssuer { .. }
        | Distrust::OtherIssuer { .. }
        | Distrust::OtherKey
        | Distrust::NoCertificate(_) => 207,
        Distrust::BadSignature => 208,
        Distrust::Method(_) => 209,
        Distrust::OtherIdentity { .. } => 210,
        Distrust::Expired { .. } => 211,
        Distrust::NotYetValid { .. } => 212,
        Distrust::Unfit { .. } => 213,
    }
}
