//! What an IKE SA (RFC 7296 §2) has in every state: names, addresses, windows, protection.
//!
//! [`Core::receive`] turns datagrams into authentic messages, [`Core::request`] and
//! [`Core::respond`] go the other way. Nothing above sees octets that were not authenticated.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use adit_db::{Connection, ConnectionName, Encap, Encapsulation, Identity, IkeSaId};
use adit_wire::iana::ExchangeType;
use adit_wire::ikev2::{ChainBuilder, Flags, Header, IkeSpi, Transform};

use crate::command::Path;
use crate::config::Retransmission;
use crate::context::Context;
use crate::event::{IkeSaInfo, IkeSaState, PeerSoftware, Step};
use crate::failure::{Failure, FailureReason};
use crate::keymat::{Role, SkKeys};
use crate::nat::Verdict;
use crate::output::{DebugKeys, IkeDebugKeys, Output};
use crate::proposal::IkeSuite;
use crate::v2::child::{Claims, Ends};
use crate::v2::message_id::{Due, Incoming, Requests, Responses};
use crate::v2::protected::{Envelope, Message, Opened, Protection, Reassembly, Sealed};

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
    /// Where the request under way came from; its response goes back there (RFC 7296 §2.11).
    reply_path: Path,
    pub(crate) nat: Verdict,
    pub(crate) peer: PeerSoftware,
    /// Both ends take fragments (RFC 7383 §2.3).
    pub(crate) fragmentation: bool,
    pub(crate) suite: Vec<Transform>,
    pub(crate) started: Instant,
    /// When the answer came that ends this IKE SA, if it was not believed at once.
    pub(crate) settled: Option<Instant>,
    /// When the peer last gave a sign of life.
    pub(crate) heard: Instant,
    /// The network reported the peer as unreachable since then.
    pub(crate) unreachable: bool,
    pub(crate) requests: Requests,
    pub(crate) responses: Responses,
    protection: Option<Protection>,
    request_fragments: Reassembly,
    response_fragments: Reassembly,
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
            reply_path: path,
            nat: Verdict::default(),
            peer: PeerSoftware::Unknown,
            fragmentation: false,
            suite: Vec::new(),
            started: cx.now,
            settled: None,
            heard: cx.now,
            unreachable: false,
            requests: Requests::new(0),
            responses: Responses::new(0),
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
        Self {
            spi_i,
            spi_r,
            connection: self.connection.clone(),
            local_id: self.local_id.clone(),
            remote_id: self.remote_id.clone(),
            nat: self.nat,
            peer: self.peer,
            fragmentation: self.fragmentation,
            heard: self.heard,
            ..Self::new(role, self.path, cx)
        }
    }

    /// Our SPI: what the peer's messages are found by.
    pub(crate) fn our_spi(&self) -> IkeSpi {
        match self.role {
            Role::Initiator => self.spi_i,
            Role::Responder => self.spi_r,
        }
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
        let udp = match encap.unwrap_or_default() {
            Encap::Auto => self.nat.needs_udp(),
            Encap::Udp => self.nat.supported,
            Encap::Esp => false,
        };
        Encapsulation { udp, local: self.path.local, remote: self.path.remote }
    }

    /// Snapshot of an IKE SA that is not established (any more).
    pub(crate) fn info(&self) -> IkeSaInfo {
        IkeSaInfo {
            id: self.id,
            connection: self.connection_name().cloned(),
            state: IkeSaState::Connecting,
            local: self.path.local,
            remote: self.path.remote,
            local_id: self.local_id.clone(),
            remote_id: self.remote_id.clone(),
            initiator: self.role.is_initiator(),
            spi_i: self.spi_i,
            spi_r: self.spi_r,
            nat_local: self.nat.we_are_behind_nat,
            nat_remote: self.nat.peer_is_behind_nat,
            fragmentation: self.fragmentation,
            peer: self.peer,
            suite: self.suite.clone(),
            established: None,
            rekey_at: None,
            over_at: None,
            children: Vec::new(),
        }
    }

    pub(crate) fn failure(&self, reason: FailureReason, now: Instant) -> Box<Failure> {
        Box::new(Failure {
            connection: self.connection_name().cloned(),
            child: None,
            remote: Some(self.path.remote),
            initiator: self.role.is_initiator(),
            reason,
            elapsed: self.elapsed(self.settled.unwrap_or(now)),
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
        if follow && path != old {
            self.path = path;
        }
        let moved_from = (self.path.remote != old.remote).then_some(old.remote);
        Some(Arrival { message, moved_from })
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
                cx.transmit(path, response);
                return None;
            }
            Incoming::RepeatedIfAuthentic => {
                if self.protection.as_ref()?.open(envelope).is_ok() {
                    cx.transmit(path, self.responses.last_response());
                }
                return None;
            }
            Incoming::Drop => return None,
        }
        if !wanted(envelope, &self.request_fragments) {
            return None;
        }
        let (message, first_datagram) = match self.protection.as_ref()?.open(envelope).ok()? {
            Opened::Message(message) => (message, octets.to_vec()),
            Opened::Fragment(fragment) => {
                let reassembled = self.request_fragments.add(fragment, cx.now)?;
                (reassembled.message, reassembled.first_datagram)
            }
        };
        self.reply_path = path;
        self.responses.begin(first_datagram);
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
        cx.transmit(self.path, &sealed.sealed.datagrams);
        let datagrams = sealed.sealed.datagrams.clone();
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
        cx.transmit(self.reply_path, &sealed.sealed.datagrams);
        self.responses.answered(sealed.sealed.datagrams.clone());
        Ok(sealed)
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
        self.fragmentation.then(|| datagram.saturating_sub(headers))
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
            Due::Repeat(datagrams) => {
                cx.transmit(self.path, datagrams);
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
