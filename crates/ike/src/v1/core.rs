//! What an IKE SA of IKEv1 has in every state: names, addresses, keys (RFC 2408 §2.5).

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use adit_db::{Connection, ConnectionName, Encapsulation, Identity, IkeSaId, IkeVersion};
use adit_wire::iana::isakmp::ExchangeType;
use adit_wire::ikev2::{IkeSpi, TrafficSelector, Transform};
use adit_wire::isakmp::{ChainBuilder, Flags, Header, MessageBuilder};

use crate::command::{Path, ProofEnd};
use crate::context::Context;
use crate::event::{IkeSaInfo, IkeSaState, PeerSoftware, Step};
use crate::failure::{Failure, FailureReason};
use crate::keymat::Role;
use crate::lifetime::Offer;
use crate::nat::Verdict;
use crate::notification_data::PeerSays;
use crate::output::{DebugKeys, Output};

use super::fragmentation::Fragmentation;
use super::keys::{Cookies, Iv, Keys};
use super::leash::Leash;
use super::nat::{self, Numbers};
use super::transaction_phase::Access;

/// The part of an IKE SA that stays while its state changes.
#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) id: IkeSaId,
    /// Our role in phase 1.
    pub(crate) role: Role,
    pub(crate) cookie_i: IkeSpi,
    pub(crate) cookie_r: IkeSpi,
    pub(crate) connection: Arc<Connection>,
    pub(crate) local_id: Option<Identity>,
    /// Proven, once phase 1 is complete.
    pub(crate) remote_id: Option<Identity>,
    pub(crate) path: Path,
    /// How much may go there.
    pub(crate) leash: Leash,
    pub(crate) peer: PeerSoftware,
    /// The peer answers R-U-THERE (RFC 3706).
    pub(crate) peer_has_dpd: bool,
    /// Both know NAT traversal, by these numbers (RFC 3947 §3.1).
    pub(crate) nat_numbers: Option<Numbers>,
    /// What both ends' hashes say about the path.
    pub(crate) nat: Verdict,
    pub(crate) suite: Arc<[Transform]>,
    /// How long an initiator wants it to live; of an initiator nothing, as its own limits are that.
    pub(crate) life: Option<Duration>,
    /// The same in kilobytes.
    pub(crate) life_kilobytes: Option<u64>,
    /// Octets that it has protected since it is complete: what we have encrypted, and what came and was
    /// authentic.
    pub(crate) protected: Cell<u64>,
    /// Message ids of Informational exchanges of ours: what comes under one of them somebody has sent back. Both
    /// ends have one key, and nothing in such a message says who has sent it.
    own_ids: RefCell<VecDeque<u32>>,
    /// Of a responder, what it has to tell the initiator of that.
    pub(crate) told_life: Option<Offer>,
    pub(crate) started: Instant,
    /// When the peer last gave a sign of life.
    pub(crate) heard: Instant,
    /// When the last authentic message came; packets show nothing of whether the peer still has the phase 1.
    last_message: Instant,
    /// The network reported the peer as unreachable since then.
    pub(crate) unreachable: bool,
    /// What the message says that is being worked on, beside its notify.
    pub(crate) peer_says: Option<Box<PeerSays>>,
    pub(crate) keys: Option<Keys>,
    /// Users, and addresses inside.
    pub(crate) access: Access,
    pub(crate) fragmentation: Fragmentation,
}

impl Core {
    pub(crate) fn new(
        role: Role,
        connection: Arc<Connection>,
        path: Path,
        cx: &mut Context<'_>,
    ) -> Self {
        Self {
            id: cx.out.next_ike_sa(),
            role,
            cookie_i: IkeSpi::ZERO,
            cookie_r: IkeSpi::ZERO,
            connection,
            local_id: None,
            remote_id: None,
            path,
            leash: Leash::default(),
            peer: PeerSoftware::Unknown,
            peer_has_dpd: false,
            nat_numbers: None,
            nat: Verdict::default(),
            suite: Arc::default(),
            life: None,
            life_kilobytes: None,
            protected: Cell::new(0),
            own_ids: RefCell::default(),
            told_life: None,
            started: cx.now,
            heard: cx.now,
            last_message: cx.now,
            unreachable: false,
            peer_says: None,
            keys: None,
            access: Access::default(),
            fragmentation: Fragmentation::default(),
        }
    }

    /// Our cookie: what the peer's messages are found by.
    pub(crate) fn our_cookie(&self) -> IkeSpi {
        match self.role {
            Role::Initiator => self.cookie_i,
            Role::Responder => self.cookie_r,
        }
    }

    pub(crate) fn cookies(&self) -> Cookies {
        Cookies { initiator: self.cookie_i, responder: self.cookie_r }
    }

    pub(crate) fn connection_name(&self) -> &ConnectionName {
        &self.connection.name
    }

    pub(crate) fn elapsed(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.started)
    }

    /// How ESP travels.
    pub(crate) fn encapsulation(&self) -> Encapsulation {
        let Path { local, remote, .. } = self.path;
        Encapsulation { udp: nat::is_in_udp(self.nat, &self.connection), tcp: false, local, remote }
    }

    /// How quick modes say that ESP goes in UDP; `None` if it does not.
    pub(crate) fn wrap(&self) -> Option<Numbers> {
        self.nat_numbers.filter(|_| self.encapsulation().udp)
    }

    /// A certificate ends before the phase 1 would: then it does not live longer (RFC 4301 §4.4.3.4).
    pub(crate) fn limit(&mut self, end: Option<ProofEnd>) {
        if let Some(end) = end {
            let left = Duration::from_secs(end.left_s);
            self.life = Some(self.life.map_or(left, |life| life.min(left)));
        }
    }

    /// Whether no message has come for so long.
    pub(crate) fn is_silent_for(&self, time: Duration, now: Instant) -> bool {
        now.saturating_duration_since(self.last_message) >= time
    }

    /// The peer has proven that it lives, and where it is.
    pub(crate) fn hear(&mut self, path: Path, now: Instant) {
        self.heard = now;
        self.last_message = now;
        self.go_to(path, now);
    }

    /// The peer is elsewhere, says something that is authentic.
    pub(crate) fn go_to(&mut self, path: Path, now: Instant) {
        if path.remote.ip() != self.path.remote.ip() {
            self.leash.put_on(self.path, now);
        }
        self.path = path;
    }

    /// Our address inside, of the family of what it speaks with: the peer has given it, or it is the outer
    /// one.
    pub(crate) fn inside_local(&self, other: Option<IpAddr>) -> IpAddr {
        self.access.own(other, self.path.local.ip())
    }

    /// The peer's, likewise.
    pub(crate) fn inside_remote(&self, other: Option<IpAddr>) -> IpAddr {
        self.access.peers(other, self)
    }

    /// The peer's side of a child, as the peer has answered what we asked. A gateway that has given us an
    /// address may have less for us than we would like.
    pub(crate) fn narrowed_by_peer(
        &self,
        answered: Option<(TrafficSelector, TrafficSelector)>,
        asked: (TrafficSelector, TrafficSelector),
    ) -> Option<TrafficSelector> {
        let (local, remote) = answered?;
        let may_be_less = self.connection.remote_access.client.is_some();
        let is_less = may_be_less && local == asked.0 && remote.is_subset_of(&asked.1);
        (is_less || (local, remote) == asked).then_some(remote)
    }

    /// Our identity: the configured one, else our address.
    pub(crate) fn own_id(&self) -> Identity {
        let own = self.connection.pad.local_id.clone();
        own.unwrap_or_else(|| self.path.local.ip().into())
    }

    /// The identity by which the peer's secret is found before it has said who it is: the one that
    /// the configuration names, else its address (RFC 2409 §5.4).
    pub(crate) fn expected_id(&self) -> Identity {
        let exact = self.connection.pad.remote_id.exact();
        exact.cloned().unwrap_or_else(|| self.path.remote.ip().into())
    }

    /// Snapshot without children.
    pub(crate) fn info(&self) -> IkeSaInfo {
        IkeSaInfo {
            id: self.id,
            connection: Some(self.connection.name.clone()),
            version: IkeVersion::V1,
            state: IkeSaState::Connecting,
            local: self.path.local,
            remote: self.path.remote,
            transport: self.path.transport,
            local_id: self.local_id.clone(),
            remote_id: self.remote_id.clone(),
            initiator: self.role.is_initiator(),
            spi_i: self.cookie_i,
            spi_r: self.cookie_r,
            nat_local: self.nat.we_are_behind_nat,
            nat_remote: self.nat.peer_is_behind_nat,
            fragmentation: self.fragmentation.is_agreed(),
            resumed: false,
            follows_redirects: false,
            mobike: false,
            peer_addresses: Vec::new(),
            peer: self.peer,
            suite: self.suite.to_vec(),
            established: None,
            rekey_at: None,
            reauth_at: None,
            auth_limits: Vec::new(),
            ppk: false,
            over_at: None,
            volume: None,
            access: self.access.info(),
            children: Vec::new(),
        }
    }

    pub(crate) fn failure(&self, reason: FailureReason, now: Instant) -> Box<Failure> {
        Box::new(Failure {
            connection: Some(self.connection.name.clone()),
            child: None,
            remote: Some(self.path.remote),
            initiator: self.role.is_initiator(),
            reason,
            elapsed: self.elapsed(now),
            peer_says: self.peer_says.clone(),
        })
    }

    pub(crate) fn progress(&self, step: Step, cx: &mut Context<'_>) {
        let elapsed = self.elapsed(cx.now);
        cx.out.progress(Some(&self.connection.name), Some(self.id), step, elapsed);
    }

    pub(crate) fn transmit(&self, octets: &[u8], cx: &mut Context<'_>) {
        let most = self.datagram_octets(cx);
        for octets in self.fragmentation.cut(octets, most, cx.rng) {
            if self.leash.spend(octets.len()) {
                cx.out.push(Output::Transmit { path: self.path, octets });
            }
        }
    }

    /// Octets of a message that is not fragmented.
    fn datagram_octets(&self, cx: &Context<'_>) -> usize {
        let (datagram, headers) = match self.path.remote.ip() {
            IpAddr::V4(_) => (cx.config.fragment_octets.v4, IPV4_UDP_MARKER_OCTETS),
            IpAddr::V6(_) => (cx.config.fragment_octets.v6, IPV6_UDP_MARKER_OCTETS),
        };
        datagram.saturating_sub(headers)
    }

    /// Gives the keys to whoever decrypts captures, if the operator wants that.
    pub(crate) fn export_keys(&self, cx: &mut Context<'_>) {
        let keys = self.keys.as_ref().filter(|_| cx.config.export_keys);
        if let Some(keys) = keys.and_then(|keys| keys.exported(self.cookies())) {
            cx.out.push(Output::Keys(DebugKeys::Isakmp(keys)));
        }
    }

    fn header(&self, exchange: ExchangeType, flags: Flags, message_id: u32) -> Header {
        Header::new(self.cookie_i, self.cookie_r, exchange, flags, message_id)
    }

    /// A message in clear.
    pub(crate) fn clear(
        &self,
        exchange: ExchangeType,
        message_id: u32,
        chain: ChainBuilder,
    ) -> Result<Vec<u8>, FailureReason> {
        let header = self.header(exchange, Flags::NONE, message_id);
        MessageBuilder::with_chain(header, chain).finish().map_err(|_| TOO_LONG)
    }

    /// An encrypted message; the next one of its exchange goes on from `iv` (RFC 2409 appendix B).
    pub(crate) fn sealed(
        &self,
        exchange: ExchangeType,
        message_id: u32,
        chain: ChainBuilder,
        iv: &mut Iv,
    ) -> Result<Vec<u8>, FailureReason> {
        let keys = self.keys.as_ref().ok_or(NO_KEYS)?;
        let header = self.header(exchange, Flags::ENCRYPTION, message_id);
        let mut octets = MessageBuilder::with_chain(header, chain)
            .finish_padded(keys.block_octets())
            .map_err(|_| TOO_LONG)?;
        let body = octets.get_mut(Header::LEN..).unwrap_or_default();
        *iv = keys.encrypt(body, iv).ok_or(TOO_LONG)?;
        self.count(&octets);
        if exchange == ExchangeType::INFORMATIONAL {
            let mut own_ids = self.own_ids.borrow_mut();
            if own_ids.len() >= OWN_IDS_MAX {
                own_ids.pop_front();
            }
            own_ids.push_back(message_id);
        }
        Ok(octets)
    }

    /// Whether an Informational exchange under this id was begun by us.
    pub(crate) fn is_own(&self, message_id: u32) -> bool {
        self.own_ids.borrow().contains(&message_id)
    }

    /// Counts what an encrypted message protects. One that came counts when it is authentic: else anybody
    /// could use up the SA.
    pub(crate) fn count(&self, octets: &[u8]) {
        let len = octets.len().saturating_sub(Header::LEN);
        let len = u64::try_from(len).unwrap_or(u64::MAX);
        self.protected.set(self.protected.get().saturating_add(len));
    }

    /// What is behind the header of an encrypted message, and the IV that follows it; `iv` stays, as
    /// nobody has authenticated the message yet. `None` if it is no whole number of blocks.
    pub(crate) fn opened(&self, octets: &[u8], iv: &Iv) -> Option<(Vec<u8>, Iv)> {
        let keys = self.keys.as_ref()?;
        let mut body = octets.get(Header::LEN..)?.to_vec();
        let next = keys.decrypt(&mut body, iv)?;
        Some((body, next))
    }
}

/// What is in front of a message at most: IP, UDP, and the marker of RFC 3948.
const IPV4_UDP_MARKER_OCTETS: usize = 20 + 8 + 4;
const IPV6_UDP_MARKER_OCTETS: usize = 40 + 8 + 4;

/// Message ids of ours that are remembered, as many as of the peer's.
const OWN_IDS_MAX: usize = 256;

/// What our own messages never are.
pub(super) const TOO_LONG: FailureReason = FailureReason::Internal("message is too long");
/// Nothing is encrypted before there are keys.
pub(super) const NO_KEYS: FailureReason = FailureReason::Internal("no keys to protect with");
