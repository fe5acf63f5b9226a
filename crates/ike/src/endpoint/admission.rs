//! Who may begin an IKE SA with us (RFC 7296 §2.4, §2.6, §2.21.1).
//!
//! Until it is accepted a request leaves nothing behind. Above a number of half-open IKE SAs the
//! initiator has to return a cookie first, above another one nobody gets in; both are counted
//! until the peer has authenticated or its time is over.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use adit_crypto::{Rng, sha1};
use adit_db::{Connection, IkeSaId};
use adit_wire::iana::NotifyType;
use adit_wire::ikev2::Header;

use crate::command::Path;
use crate::config::EndpointConfig;
use crate::cookie::{CookieJar, CookieRequest};
use crate::event::Event;
use crate::failure::{By, Failure, FailureReason, StaticKemGap};
use crate::output::Output;
use crate::proposal::{Choice, IkeSuite, choose_ike};
use crate::shard::Shard;
use crate::v2::exchange::init::{self, Acceptable};
use crate::v2::ike_sa::IkeSa;
use crate::v2::redirect;
use crate::v2::rules::{Form, Received, RuleError};
use crate::v2::static_kem;

use super::Endpoint;

/// Bookkeeping about peers that have not authenticated.
#[derive(Debug)]
pub(super) struct Admission {
    /// IKE SAs by a digest of the request that made them: repetitions are answered from there.
    by_request: BTreeMap<[u8; 20], IkeSaId>,
    digests: BTreeMap<IkeSaId, [u8; 20]>,
    half_open: BTreeMap<IkeSaId, IpAddr>,
    /// By [`site`].
    per_address: BTreeMap<IpAddr, usize>,
    cookies: Option<CookieJar>,
    answers: Option<Answers>,
    /// Answers and reports within a second.
    answers_max: usize,
}

/// Answers to strangers within the current second.
#[derive(Debug)]
struct Answers {
    since: Instant,
    count: usize,
}

/// Unprotected answers and reports about strangers, per second (CHECKLIST C10, M09).
const ANSWERS_PER_SECOND: usize = 20;

/// Octets of an IKE_SA_INIT request. It is not fragmented (RFC 7383 §2.1), so an honest one fits a
/// datagram of the path; what a stranger makes us keep is bounded by it.
const INIT_OCTETS_MAX: usize = 8_192;

impl Admission {
    /// That of an endpoint, which answers strangers with its share of what the host does.
    pub(super) fn of(shard: &Shard) -> Self {
        Self {
            by_request: BTreeMap::new(),
            digests: BTreeMap::new(),
            half_open: BTreeMap::new(),
            per_address: BTreeMap::new(),
            cookies: None,
            answers: None,
            answers_max: shard.share_of(ANSWERS_PER_SECOND),
        }
    }

    /// Whether one more stranger may be answered or reported.
    pub(super) fn may_answer(&mut self, now: Instant) -> bool {
        let fresh = Answers { since: now, count: 0 };
        let answers = self.answers.get_or_insert(Answers { since: now, count: 0 });
        if now.saturating_duration_since(answers.since) >= Duration::from_secs(1) {
            *answers = fresh;
        }
        answers.count += 1;
        answers.count <= self.answers_max
    }

    /// Counts an IKE SA in or out, or from one address to another: the peer may move while its
    /// handshake runs.
    pub(super) fn count(&mut self, id: IkeSaId, address: IpAddr, half_open: bool) {
        let address = site(address);
        let (before, after) = match half_open {
            true => (self.half_open.insert(id, address), Some(address)),
            false => (self.half_open.remove(&id), None),
        };
        if before == after {
            return;
        }
        if let Some(address) = after {
            *self.per_address.entry(address).or_default() += 1;
        }
        if let Some(address) = before
            && let Some(count) = self.per_address.get_mut(&address)
        {
            *count -= 1;
            if *count == 0 {
                self.per_address.remove(&address);
            }
        }
    }

    /// Forgets an IKE SA that is over.
    pub(super) fn forget(&mut self, id: IkeSaId) {
        if let Some(address) = self.half_open.get(&id).copied() {
            self.count(id, address, false);
        }
        if let Some(digest) = self.digests.remove(&id) {
            self.by_request.remove(&digest);
        }
    }

    fn remember(&mut self, digest: [u8; 20], id: IkeSaId) {
        self.by_request.insert(digest, id);
        self.digests.insert(id, digest);
    }
}

/// Whether anybody could have sent from there and be answered (CHECKLIST D20).
pub(super) fn is_plausible(path: Path) -> bool {
    let address = path.remote.ip();
    let broadcast = matches!(address, IpAddr::V4(v4) if v4.is_broadcast());
    path.remote.port() != 0 && !address.is_unspecified() && !address.is_multicast() && !broadcast
}

/// What one stranger may have all addresses of: of IPv6 a /64, as any host may have them.
pub(crate) fn site(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6((u128::from(v6) >> 64 << 64).into()),
        v4 @ IpAddr::V4(_) => v4,
    }
}

/// Names a request by where it came from and what it says: another nonce is another attempt
/// (CHECKLIST B10).
fn digest(path: Path, octets: &[u8]) -> [u8; 20] {
    let address = path.remote.to_string();
    sha1(&[address.as_bytes(), octets])
}

/// An acceptable choice and the connection it was made for.
type Admitted = (Choice<IkeSuite>, Arc<Connection>);

impl Endpoint {
    /// Takes a request for a new IKE SA.
    pub(super) fn handle_init_request(
        &mut self,
        path: Path,
        header: &Header,
        octets: &[u8],
        now: Instant,
        rng: &mut dyn Rng,
    ) {
        let digest = digest(path, octets);
        if let Some(id) = self.admission.by_request.get(&digest).copied() {
            self.with_sa(id, now, rng, |sa, cx| sa.handle_repeated_init(path, octets, cx));
            return;
        }
        let is_sensible = header.message_id == 0 && header.flags.is_initiator();
        if !is_sensible || octets.len() > INIT_OCTETS_MAX || self.shutting_down {
            return;
        }
        let payloads = octets.get(Header::LEN..).unwrap_or_default();
        let received = match Received::read(header, header.next_payload, payloads) {
            Ok(received) => received,
            Err(error) => return self.refuse_malformed(path, header, &error, now),
        };
        let made = if received.form == Form::Resume {
            self.resume(path, header, octets, &received, now, rng)
        } else {
            self.admit(path, header, &received, now, rng).map(|(choice, connection)| {
                let request =
                    Acceptable { path, header, octets, received: &received, choice, connection };
                IkeSa::respond(&request, &mut self.context(now, rng))
            })
        };
        let refused = match made {
            Ok(sa) => {
                let id = self.insert(sa, now);
                self.admission.remember(digest, id);
                return self.settle(now, rng);
            }
            Err(refused) => refused,
        };
        if let Refused::With(kind, data) = refused
            && let Some(octets) = init::refusal(header, kind, &data)
        {
            self.out.push(Output::Transmit { path, octets });
        }
    }

    fn refuse_malformed(&mut self, path: Path, header: &Header, error: &RuleError, now: Instant) {
        if self.admission.may_answer(now)
            && let Some(octets) = init::refusal(header, error.notify(), &error.notify_data())
        {
            self.out.push(Output::Transmit { path, octets });
        }
    }

    /// Decides about a well-formed request; keeps nothing.
    fn admit(
        &mut self,
        path: Path,
        header: &Header,
        received: &Received<'_>,
        now: Instant,
        rng: &mut dyn Rng,
    ) -> Result<Admitted, Refused> {
        self.check_cookie(path, header, received, now, rng)?;
        let candidates: Vec<Arc<Connection>> =
            static_kem::candidates(path, received, &self.connections);
        let fits = |connection: &Arc<Connection>| !path.is_tcp() || connection.fits_tcp();
        let candidates: Vec<Arc<Connection>> = candidates.into_iter().filter(fits).collect();
        if candidates.is_empty() {
            self.report_stranger(path, Vec::new(), received, now);
            return Err(Refused::With(NotifyType::NO_PROPOSAL_CHOSEN, Vec::new()));
        }
        self.check_room(path)?;
        let purpose = init::purpose(received);
        let offered = init::offered(received);
        let chosen = candidates.iter().find_map(|connection| {
            let choice = choose_ike(purpose, &connection.proposals, offered).ok()?;
            Some((choice, Arc::clone(connection)))
        });
        let Some((choice, connection)) = chosen else {
            // CHECKLIST A06.
            self.report_stranger(path, candidates, received, now);
            return Err(Refused::With(NotifyType::NO_PROPOSAL_CHOSEN, Vec::new()));
        };
        let fits = |one: &&Connection| choose_ike(purpose, &one.proposals, offered).is_ok();
        if connection.redirect.to.is_some()
            && let fitting = candidates.iter().map(Arc::as_ref).filter(fits)
            && let Some(data) = redirect::in_init(fitting, path.local.ip(), received)
        {
            return Err(Refused::With(NotifyType::REDIRECT, data));
        }
        match init::needs_other_key_exchange(&choice, received) {
            None => Ok((choice, connection)),
            Some(wanted) => {
                let data = wanted.0.to_be_bytes().to_vec();
                Err(Refused::With(NotifyType::INVALID_KE_PAYLOAD, data))
            }
        }
    }

    /// Whether one more may be half-open, and with this peer.
    pub(super) fn check_room(&self, path: Path) -> Result<(), Refused> {
        let address = site(path.remote.ip());
        let from_there = self.admission.per_address.get(&address).copied().unwrap_or(0);
        let is_full = self.admission.half_open.len() >= self.config.half_open_max
            || from_there >= self.config.half_open_per_address_max;
        if is_full { Err(Refused::Silently) } else { Ok(()) }
    }

    /// Above the threshold: does the request return our cookie? (CHECKLIST C01, C03)
    pub(super) fn check_cookie(
        &mut self,
        path: Path,
        header: &Header,
        received: &Received<'_>,
        now: Instant,
        rng: &mut dyn Rng,
    ) -> Result<(), Refused> {
        //= https://www.rfc-editor.org/rfc/rfc9329#section-6.3
        //# The exchange Responder SHOULD NOT send an IKEv2 Cookie request without an accompanied
        //# Puzzle
        if path.is_tcp() || self.admission.half_open.len() < self.config.cookie_threshold {
            return Ok(());
        }
        let request = CookieRequest {
            nonce: received.nonce.map(|nonce| nonce.as_bytes()).unwrap_or_default(),
            address: path.remote.ip(),
            spi_i: header.spi_i,
        };
        let jar = self.admission.cookies.get_or_insert_with(|| CookieJar::new(now, rng));
        jar.rotate(now, rng);
        let returned = received.notify(NotifyType::COOKIE).map(|notify| notify.data);
        if returned.is_some_and(|cookie| jar.check(cookie, request)) {
            return Ok(());
        }
        Err(Refused::With(NotifyType::COOKIE, jar.make(request)))
    }

    /// Tells the operator about an opening that no connection accepts.
    fn report_stranger(
        &mut self,
        path: Path,
        candidates: Vec<Arc<Connection>>,
        received: &Received<'_>,
        now: Instant,
    ) {
        if !self.admission.may_answer(now) {
            return;
        }
        let nearest = candidates.first();
        let reason = match nearest {
            other if static_kem::is_unknown(received, other.map(Arc::as_ref)) => {
                FailureReason::NoStaticKem(StaticKemGap::Unknown)
            }
            None => FailureReason::NoConnection,
            Some(connection) => FailureReason::NoCommonIkeSuite {
                by: By::Us,
                ours: connection.proposals.clone(),
                theirs: init::offered(received).proposals.clone(),
            },
        };
        self.out.event(Event::Failed(Box::new(Failure {
            connection: nearest.map(|connection| connection.name.clone()),
            child: None,
            remote: Some(path.remote),
            initiator: false,
            reason,
            elapsed: Duration::ZERO,
            peer_says: None,
        })));
    }
}

/// Why a request is not accepted.
pub(super) enum Refused {
    /// Answered with this notify.
    With(NotifyType, Vec<u8>),
    /// Not answered: there is no room, and an answer would only be more load.
    Silently,
}

/// What one of the endpoints of a host allows. No address may take all of a small share, and some may
/// come without a cookie also where there are many endpoints.
pub(super) fn limits_of(config: EndpointConfig, shard: &Shard) -> EndpointConfig {
    if shard.is_alone() {
        return config;
    }
    let half_open_max = shard.share_of(config.half_open_max);
    let cookieless_min = config.cookie_threshold.min(COOKIELESS_MIN);
    let per_address = (half_open_max / PART_PER_ADDRESS).max(PER_ADDRESS_MIN);
    EndpointConfig {
        cookie_threshold: shard.share_of(config.cookie_threshold).max(cookieless_min),
        half_open_max,
        half_open_per_address_max: config.half_open_per_address_max.min(per_address),
        ..config
    }
}

/// Half-open IKE SAs that an endpoint allows before it asks for cookies, unless fewer are configured.
const COOKIELESS_MIN: usize = 8;
/// Of what an endpoint may have half-open, one address may have one in so many.
const PART_PER_ADDRESS: usize = 10;
/// But so many: a peer may bring up some tunnels at the same time.
const PER_ADDRESS_MIN: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shard::Shards;

    #[test]
    fn one_address_takes_a_part_of_each_share() {
        let limits = |shards: u16| {
            let shard = Shard::all(Shards::new(shards)).remove(0);
            let limits = limits_of(EndpointConfig::default(), &shard);
            let EndpointConfig { cookie_threshold, half_open_max, .. } = limits;
            (cookie_threshold, half_open_max, limits.half_open_per_address_max)
        };
        assert_eq!(limits(1), (30, 1_000, 100));
        assert_eq!(limits(2), (15, 500, 50));
        assert_eq!(limits(8), (8, 125, 12));
        assert_eq!(limits(64), (8, 16, 4));

        let shard = Shard::all(Shards::new(8)).remove(0);
        let strict = EndpointConfig {
            cookie_threshold: 0,
            half_open_per_address_max: 1,
            ..EndpointConfig::default()
        };
        let limits = limits_of(strict, &shard);
        assert_eq!((limits.cookie_threshold, limits.half_open_per_address_max), (0, 1));
    }
}
