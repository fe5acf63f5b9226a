//! What an IKE SA (RFC 7296 §2) has in every state: names, addresses, windows, protection.
//!
//! [`Core::receive`] turns datagrams into authentic messages, [`Core::request`] and
//! [`Core::respond`] go the other way. Nothing above sees octets that were not authenticated.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use adit_db::{Connection, ConnectionName, Encap, Encapsulation, Identity, IkeSaId, IkeVersion};
use adit_wire::iana::ExchangeType;
use adit_wire::ikev2::{ChainBuilder, Flags, Header, IkeSpi, Transform};

use crate::command::{Path, ProofEnd};
use crate::config::Retransmission;
use crate::context::Context;
use crate::event::{AuthLimit, IkeSaInfo, IkeSaState, PeerSoftware, Step};
use crate::failure::{Failure, FailureReason};
use crate::keymat::{Role, SkKeys};
use crate::nat::Verdict;
use crate::notification_data::PeerSays;
use crate::output::{DebugKeys, IkeDebugKeys, Output};
use crate::proposal::IkeSuite;
use crate::v2::child::{Claims, Ends};
use crate::v2::leash::Leash;
use crate::v2::message_id::{Datagrams, Due, Incoming, Requests, Responses};
use crate::v2::message_id_sync::{Synchronized, Synchronizes};
use crate::v2::mobike::Roaming;
use crate::v2::protected::{Envelope, Message, Opened, Protection, Reassembly, Sealed};
use crate::v2::redirect::Redirecting;
use crate::v2::tcp_encap::{self, Redial};

/// The part of an IKE SA that stays while its state changes.
#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) id: IkeSaId,
    /// Our role when this IKE SA was created (RFC 7296 §2.2).
    pub(crate) role: Role,
    pub(crate) spi_i: IkeSpi,
    pub(crate) spi_r: IkeSpi,
    pub(crate) connection: Option<Arc<Connection>>,
    pub(crate) local_id: Option<Identity>,
    pub(crate) remote_id: Option<Identity>,
    pub(crate) path: Path,
    /// Where requests came from, and what may go there.
    pub(crate) leash: Leash,
    pub(crate) nat: Verdict,
    /// Of a TCP connection that is to be opened anew. Boxed: most of the time there is none.
    pub(crate) redial: Option<Box<Redial>>,
    /// Both ends want ESP in UDP, NAT or not ([`crate::v2::udp_encap`]); before the peer's answer, only
    /// we.
    pub(crate) udp_agreed: bool,
    /// Whether the IKE SA moves with its addresses (RFC 4555), and which end decides where to: who began
    /// the first of those that have rekeyed each other. Before the peer's answer, whether we want it.
    pub(crate) mobike: Option<Role>,
    /// Boxed: few have moved, or have a peer with several addresses.
    pub(crate) roaming: Option<Box<Roaming>>,
    pub(crate) peer: PeerSoftware,
    /// There may be a ticket for it (RFC 5723): ours, or one that we gave.
    pub(crate) has_ticket: bool,
    /// It resumes a session.
    pub(crate) is_resumed: bool,
    /// What holds for the whole session.
    pub(crate) terms: Terms,
    /// Both ends take fragments (RFC 7383 §2.3).
    pub(crate) fragmentation: bool,
    pub(crate) suite: Arc<[Transform]>,
    pub(crate) started: Instant,
    /// When the answer came that ends this IKE SA, if it was not believed at once.
    pub(crate) settled: Option<Instant>,
    /// When the peer last gave a sign of life.
    pub(crate) heard: Instant,
    /// The network reported the peer as unreachable since then.
    pub(crate) unreachable: bool,
    pub(crate) requests: Requests,
    pub(crate) responses: Responses,
    /// Boxed: hardly any peer is a cluster.
    pub(crate) synchronized: Option<Box<Synchronized>>,
    /// When the first of the certificates ends that a proof rests on, until authentication is done. Boxed:
    /// most have none.
    proof_end: Option<Box<AuthLimit>>,
    /// What the message under way says about an error in it. Boxed: hardly any does.
    pub(crate) peer_says: Option<Box<PeerSays>>,
    protection: Option<Protection>,
    request_fragments: Reassembly,
    response_fragments: Reassembly,
}

/// What the two ends have told each other about a session: it holds for the IKE SAs that replace the
/// first, too, whoever initiates them.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Terms {
    pub(crate) redirecting: Redirecting,
    pub(crate) synchronizes: Synchronizes,
    /// The peer gives us tickets (RFC 5723).
    pub(crate) is_ticket_client: bool,
    /// Error notifies may say more ([`crate::v2::notification_data`]).
    pub(crate) notification_data: bool,
    /// The peer takes notices about child SAs ([`crate::v2::gateway_notice`]).
    pub(crate) notices: bool,
}

/// An authentic message, not looked into yet.
#[derive(Debug)]
pub(crate) struct Arrival {
    pub(crate) message: Message,
    /// The peer's address before, if this message moved it.
    pub(crate) moved_from: Option<SocketAddr>,
}

impl Core {
    pub(crate) fn new(role: Role, path: Path, cx: &mut Context<'_>) -> Self {
        Self {
            id: cx.out.next_ike_sa(),
            role,
            spi_i: IkeSpi::ZERO,
            spi_r: IkeSpi::ZERO,
            connection: None,
            local_id: None,
            remote_id: None,
            path,
            leash: Leash::default(),
            redial: None,
            nat: Verdict::default(),
            udp_agreed: false,
            mobike: None,
            roaming: None,
            peer: PeerSoftware::Unknown,
            has_ticket: false,
            is_resumed: false,
            terms: Terms::default(),
            fragmentation: false,
            suite: Arc::default(),
            started: cx.now,
            settled: None,
            heard: cx.now,
            unreachable: false,
            requests: Requests::new(0),
            responses: Responses::new(0),
            synchronized: None,
            proof_end: None,
            peer_says: None,
            protection: None,
            request_fragments: Reassembly::new(),
            response_fragments: Reassembly::new(),
        }
    }

    /// The core of the IKE SA that replaces this one: same peer, new names, message ids from 0
    /// (RFC 7296 §2.18).
    pub(crate) fn successor(
        &self,
        role: Role,
        spi_i: IkeSpi,
        spi_r: IkeSpi,
        cx: &mut Context<'_>,
    ) -> Self {
        let mut core = Self { spi_i, spi_r, ..Self::new(role, self.path, cx) };
        core.follow(self);
        core
    }

    /// Takes over what this IKE SA knows of the peer and of the configuration. A successor may have
    /// been ready for a while before it takes over: who it belongs to may have moved or been
    /// configured anew since.
    pub(crate) fn follow(&mut self, old: &Self) {
        self.connection.clone_from(&old.connection);
        self.local_id.clone_from(&old.local_id);
        self.remote_id.clone_from(&old.remote_id);
        self.path = old.path;
        self.leash = old.leash.inherited();
        self.nat = old.nat;
        self.udp_agreed = old.udp_agreed;
        self.mobike = old.mobike;
        self.roaming = old.inherited_roaming();
        self.peer = old.peer;
        self.terms = old.terms;
        self.fragmentation = old.fragmentation;
        self.heard = old.heard;
    }

    /// Our SPI: what the peer's messages are found by.
    pub(crate) fn our_spi(&self) -> IkeSpi {
        match self.role {
            Role::Initiator => self.spi_i,
            Role::Responder => self.spi_r,
        }
    }

    /// Where the request came from that is being answered.
    pub(crate) fn request_path(&self) -> Option<Path> {
        self.leash.request_path()
    }

    pub(crate) fn connection_name(&self) -> Option<&ConnectionName> {
        self.connection.as_ref().map(|connection| &connection.name)
    }

    /// What the peer may speak for, once it has proved who it is (RFC 4301 §4.4.3.4). `None` if only
    /// the children's selectors limit it.
    pub(crate) fn claims(&self) -> Option<Claims<'_>> {
        let peer = self.remote_id.as_ref()?;
        let networks = self.connection.as_ref()?.pad.claimed_by(peer)?;
        Some(Claims { peer, networks })
    }

    pub(crate) fn elapsed(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.started)
    }

    pub(crate) fn ends(&self) -> Ends {
        Ends {
            local: self.path.local.ip(),
            remote: self.path.remote.ip(),
            we_are_behind_nat: self.nat.we_are_behind_nat,
            peer_is_behind_nat: self.nat.peer_is_behind_nat,
            udp: self.encapsulation().udp,
        }
    }

    /// How ESP travels on this IKE SA (RFC 7296 §2.23).
    pub(crate) fn encapsulation(&self) -> Encapsulation {
        let encap = self.connection.as_ref().map(|connection| connection.encap);
        let tcp = self.path.is_tcp();
        let udp = match encap.unwrap_or_default() {
            _ if tcp => true,
            Encap::Auto => self.nat.needs_udp() || self.udp_agreed,
            Encap::Udp | Encap::Tcp => self.nat.supported,
            Encap::Esp => false,
        };
        Encapsulation { udp, tcp, local: self.path.local, remote: self.path.remote }
    }

    /// Snapshot of an IKE SA that is not established (any more).
    pub(crate) fn info(&self) -> IkeSaInfo {
        IkeSaInfo {
            id: self.id,
            connection: self.connection_name().cloned(),
            version: IkeVersion::V2,
            state: IkeSaState::Connecting,
            local: self.path.local,
            remote: self.path.remote,
            transport: self.path.transport,
            local_id: self.local_id.clone(),
            remote_id: self.remote_id.clone(),
            initiator: self.role.is_initiator(),
            spi_i: self.spi_i,
            spi_r: self.spi_r,
            nat_local: self.nat.we_are_behind_nat,
            nat_remote: self.nat.peer_is_behind_nat,
            fragmentation: self.fragmentation,
            resumed: self.is_resumed,
            follows_redirects: self.terms.redirecting == Redirecting::PeerFollows,
            mobike: self.mobike.is_some(),
            peer_addresses: self.peer_addresses().to_vec(),
            peer: self.peer,
            suite: self.suite.to_vec(),
            established: None,
            rekey_at: None,
            reauth_at: None,
            auth_limits: Vec::new(),
            ppk: false,
            over_at: None,
            volume: None,
            access: None,
            children: Vec::new(),
        }
    }

    /// One of the proofs that this IKE SA rests on ends.
    pub(crate) fn limit_proof(&mut self, end: ProofEnd, now: Instant) {
        let Some(limit) = AuthLimit::of_proof(end, now) else { return };
        if self.proof_end.as_ref().is_none_or(|before| limit.until < before.until) {
            self.proof_end = Some(Box::new(limit));
        }
    }

    /// The first of them to end, once.
    pub(crate) fn take_proof_end(&mut self) -> Option<AuthLimit> {
        self.proof_end.take().map(|end| *end)
    }

    pub(crate) fn failure(&self, reason: FailureReason, now: Instant) -> Box<Failure> {
        Box::new(Failure {
            connection: self.connection_name().cloned(),
            child: None,
            remote: Some(self.path.remote),
            initiator: self.role.is_initiator(),
            reason,
            elapsed: self.elapsed(self.settled.unwrap_or(now)),
            peer_says: self.peer_says.clone(),
        })
    }

    pub(crate) fn progress(&self, step: Step, cx: &mut Context<'_>) {
        let elapsed = self.elapsed(cx.now);
        cx.out.progress(self.connection_name(), Some(self.id), step, elapsed);
    }

    /// Header of a message of ours.
    pub(crate) fn header(&self, exchange: ExchangeType, response: bool, message_id: u32) -> Header {
        let flags = Flags::new(self.role.is_initiator(), response);
        Header::new(self.spi_i, self.spi_r, exchange, flags, message_id)
    }

    /// Protects messages with these keys from now on.
    pub(crate) fn protect(
        &mut self,
        suite: &IkeSuite,
        keys: &SkKeys,
        cx: &mut Context<'_>,
    ) -> Result<(), FailureReason> {
        let protection = Protection::new(suite.cipher, keys, self.role)
            .map_err(|_| FailureReason::Internal("key length"))?;
        self.protection = Some(protection);
        if cx.config.export_keys {
            cx.out.push(Output::Keys(DebugKeys::Ike(IkeDebugKeys {
                spi_i: self.spi_i,
                spi_r: self.spi_r,
                // The operator asked for a copy to decrypt captures with.
                sk_ei: keys.ei.duplicate(),
                sk_er: keys.er.duplicate(),
                sk_ai: keys.ai.duplicate(),
                sk_ar: keys.ar.duplicate(),
                cipher: suite.cipher,
            })));
        }
        Ok(())
    }

    /// Authenticates one datagram and sorts it by message id. `follow`: whether an authentic
    /// message may move the peer's address.
    ///
    /// `None`: nothing new. A repeated request has been answered from the cache, everything else
    /// is dropped without a trace (CHECKLIST D11).
    pub(crate) fn receive(
        &mut self,
        path: Path,
        octets: &[u8],
        follow: bool,
        cx: &mut Context<'_>,
    ) -> Option<Arrival> {
        let envelope = Envelope::read(octets).ok()?;
        let message = if envelope.header.flags.is_response() {
            self.receive_response(&envelope, cx)?
        } else {
            self.receive_request(&envelope, octets, path, cx)?
        };
        self.heard = cx.now;
        self.unreachable = false;
        let old = self.path;
        if message.header.flags.is_response() && path.remote.ip() == old.remote.ip() {
            self.leash.prove(message.header.message_id);
        }
        if follow && path != old && path.transport == old.transport {
            self.go_to(path);
        }
        let moved_from = (self.path.remote != old.remote).then_some(old.remote);
        self.settle_connection(path, moved_from.is_some(), cx);
        Some(Arrival { message, moved_from })
    }

    /// Sends to the peer on another path from now on; the one before.
    pub(crate) fn go_to(&mut self, path: Path) -> Path {
        let old = std::mem::replace(&mut self.path, path);
        self.leash.moved(old, path, self.requests.in_flight());
        old
    }

    fn receive_response(&mut self, envelope: &Envelope<'_>, cx: &Context<'_>) -> Option<Message> {
        // CHECKLIST B09, B16: only the response that is waited for.
        if !self.requests.expects(envelope.header.message_id) {
            return None;
        }
        if !wanted(envelope, &self.response_fragments) {
            return None;
        }
        match self.protection.as_ref()?.open(envelope).ok()? {
            Opened::Message(message) => Some(message),
            Opened::Fragment(fragment) => {
                Some(self.response_fragments.add(fragment, cx.now)?.message)
            }
        }
    }

    fn receive_request(
        &mut self,
        envelope: &Envelope<'_>,
        octets: &[u8],
        path: Path,
        cx: &mut Context<'_>,
    ) -> Option<Message> {
        let number = envelope.fragment.map(|fragment| fragment.number);
        match self.responses.classify(envelope.header.message_id, octets, number) {
            Incoming::New => {}
            Incoming::Repeated(response) => {
                if self.leash.allows(path, self.path, octets.len(), response) {
                    cx.transmit(path, response);
                }
                return None;
            }
            Incoming::RepeatedIfAuthentic => {
                self.protection.as_ref()?.open(envelope).ok()?;
                let response = self.responses.last_response();
                if self.leash.allows(path, self.path, octets.len(), response) {
                    cx.transmit(path, response);
                }
                return None;
            }
            Incoming::Piece => {
                if !self.leash.is_proven(path, self.path) {
                    self.protection.as_ref()?.open(envelope).ok()?;
                    self.leash.lengthen(path.remote.ip(), octets.len());
                }
                return None;
            }
            Incoming::Drop => return None,
        }
        if !wanted(envelope, &self.request_fragments) {
            return None;
        }
        let opened = self.protection.as_ref()?.open(envelope).ok()?;
        if !self.leash.is_proven(path, self.path) {
            self.leash.lengthen(path.remote.ip(), octets.len());
        }
        let message = match opened {
            Opened::Message(message) => {
                self.responses.begin(octets);
                message
            }
            Opened::Fragment(fragment) => {
                let reassembled = self.request_fragments.add(fragment, cx.now)?;
                self.responses.begin(&reassembled.first_datagram);
                reassembled.message
            }
        };
        self.leash.set_request_path(path);
        Some(message)
    }

    /// Seals and sends a request; the window must be free. Returns what IntAuth takes.
    pub(crate) fn request(
        &mut self,
        exchange: ExchangeType,
        chain: ChainBuilder,
        schedule: Retransmission,
        cx: &mut Context<'_>,
    ) -> Result<SealedChain, FailureReason> {
        let id =
            self.requests.next_id().ok_or(FailureReason::Internal("message ids are used up"))?;
        let header = self.header(exchange, false, id);
        let sealed = self.seal(header, chain, cx)?;
        if !self.is_disconnected() {
            cx.transmit(self.path, &sealed.sealed.datagrams);
        }
        let datagrams = sealed.sealed.datagrams.clone();
        let schedule = tcp_encap::schedule(self, exchange, schedule);
        self.requests.sent(datagrams, schedule, cx.now, cx.rng);
        Ok(sealed)
    }

    /// Seals and sends the response to the request under way. Returns what IntAuth takes.
    pub(crate) fn respond(
        &mut self,
        exchange: ExchangeType,
        chain: ChainBuilder,
        cx: &mut Context<'_>,
    ) -> Result<SealedChain, FailureReason> {
        let id = self.responses.under_way().ok_or(FailureReason::Internal("nothing to answer"))?;
        let header = self.header(exchange, true, id);
        let sealed = self.seal(header, chain, cx)?;
        let path = self.leash.take_request_path().unwrap_or(self.path);
        if self.may_respond(exchange, path, &sealed.sealed.datagrams) {
            cx.transmit(path, &sealed.sealed.datagrams);
        }
        self.responses.answered(sealed.sealed.datagrams.clone());
        Ok(sealed)
    }

    /// Whether a response may go where its request came from now. If not, it goes when the request is
    /// repeated.
    fn may_respond(&mut self, exchange: ExchangeType, path: Path, response: &[Vec<u8>]) -> bool {
        // A NAT with several addresses may give each port another, and certificates are long.
        let is_handshake = exchange == ExchangeType::IKE_AUTH;
        let may = self.leash.allows(path, self.path, 0, response);
        if is_handshake && !may {
            self.leash.forget_other();
        }
        may || is_handshake
    }

    /// Seals and sends a response that has no place in the window of the peer's requests, where its request
    /// of so many octets came from.
    pub(crate) fn respond_apart(
        &mut self,
        (path, octets): (Path, usize),
        message_id: u32,
        chain: ChainBuilder,
        cx: &mut Context<'_>,
    ) -> Result<Datagrams, FailureReason> {
        let header = self.header(ExchangeType::INFORMATIONAL, true, message_id);
        let sealed = self.seal(header, chain, cx)?;
        if self.leash.allows(path, self.path, octets, &sealed.sealed.datagrams) {
            cx.transmit(path, &sealed.sealed.datagrams);
        }
        Ok(sealed.sealed.datagrams)
    }

    /// An authentic message that came in one piece, whatever its message id; it counts for nothing.
    pub(crate) fn open_whole(&self, octets: &[u8]) -> Option<Message> {
        let envelope = Envelope::read(octets).ok().filter(|one| one.fragment.is_none())?;
        match self.protection.as_ref()?.open(&envelope).ok()? {
            Opened::Message(message) => Some(message),
            Opened::Fragment(_) => None,
        }
    }

    fn seal(
        &mut self,
        header: Header,
        chain: ChainBuilder,
        cx: &Context<'_>,
    ) -> Result<SealedChain, FailureReason> {
        let too_long = |_| FailureReason::Internal("message is too long");
        let chain = chain.finish().map_err(too_long)?;
        let limit = self.fragment_limit(cx);
        let protection =
            self.protection.as_mut().ok_or(FailureReason::Internal("no keys to protect with"))?;
        let sealed = protection
            .seal(header, chain.first, &chain.octets, limit)
            .map_err(|_| FailureReason::Internal("message is too long"))?;
        Ok(SealedChain { sealed, inner: chain.octets })
    }

    /// Octets of an IKE message that is not fragmented.
    fn fragment_limit(&self, cx: &Context<'_>) -> Option<usize> {
        let (datagram, headers) = match self.path.remote.ip() {
            IpAddr::V4(_) => (cx.config.fragment_octets.v4, IPV4_UDP_MARKER_OCTETS),
            IpAddr::V6(_) => (cx.config.fragment_octets.v6, IPV6_UDP_MARKER_OCTETS),
        };
        //= https://www.rfc-editor.org/rfc/rfc9329#section-7.5
        //# an implementation SHOULD NOT send fragments when going over a TCP connection
        (self.fragmentation && !self.path.is_tcp()).then(|| datagram.saturating_sub(headers))
    }

    /// Repeats the request in flight if its time has come; the reason to give up when the tries
    /// are spent.
    pub(crate) fn retransmit(
        &mut self,
        exchange: ExchangeType,
        cx: &mut Context<'_>,
    ) -> Option<FailureReason> {
        match self.requests.handle_timeout(cx.now, cx.rng) {
            Due::Nothing => None,
            //= https://www.rfc-editor.org/rfc/rfc9329#section-6.2
            //# The exchange Initiator SHOULD NOT retransmit request message
            Due::Repeat(_) if self.path.is_tcp() => None,
            Due::Repeat(datagrams) => {
                cx.transmit(self.path, datagrams);
                let others = self.roaming.as_ref().map_or(&[][..], |roaming| roaming.candidates());
                others.iter().for_each(|path| cx.transmit(*path, datagrams));
                None
            }
            Due::GaveUp { transmissions, waited } => Some(FailureReason::PeerSilent {
                exchange,
                remote: self.path.remote,
                transmissions,
                waited,
                unreachable: self.unreachable,
            }),
        }
    }

    /// Drops fragments that have waited too long, in whatever state.
    pub(crate) fn expire_fragments(&mut self, now: Instant) {
        self.request_fragments.expire(now);
        self.response_fragments.expire(now);
    }

    /// When [`Core::retransmit`] or [`Core::expire_fragments`] has something to do.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        [
            self.redial.as_ref().and_then(|redial| redial.at()),
            self.requests.poll_timeout(),
            self.request_fragments.poll_timeout(),
            self.response_fragments.poll_timeout(),
        ]
        .into_iter()
        .flatten()
        .min()
    }
}

/// A sealed message beside its clear payloads, for IntAuth (RFC 9242 §3.3.2).
#[derive(Debug)]
pub(crate) struct SealedChain {
    pub(crate) sealed: Sealed,
    pub(crate) inner: Vec<u8>,
}

/// Whether a datagram is worth decrypting: whole messages always, fragments that are missing.
fn wanted(envelope: &Envelope<'_>, fragments: &Reassembly) -> bool {
    envelope.fragment.is_none_or(|fragment| fragments.wants(envelope.header.message_id, fragment))
}

/// IPv4 header, UDP header and non-ESP marker.
const IPV4_UDP_MARKER_OCTETS: usize = 20 + 8 + 4;

/// IPv6 header, UDP header and non-ESP marker.
const IPV6_UDP_MARKER_OCTETS: usize = 40 + 8 + 4;
