//! Sessions that are resumed with a ticket (RFC 5723): the left side is the client, the right side the
//! gateway.

mod proof;

use std::sync::Arc;
use std::time::{Duration, Instant};

use adit_crypto::SeededRng;
use adit_db::{AuthSpec, Connection, HostSpec, Keep, LocalRound, PpkSpec, RemoteRound};
use adit_ike::{Command, EndpointConfig, TicketKeys};
use adit_wire::iana::{ExchangeType, NotifyType};

use super::header;
use crate::common::{LEFT, Pair, connections, reversed, with_ike};

const NOW_S: u64 = 1_800_000_000;
const DAY_S: u64 = 86_400;

/// Both sides resume; the client keeps the tunnel up and notices soon when the gateway is silent.
fn resuming(mut connections: [Connection; 2]) -> [Connection; 2] {
    connections.iter_mut().for_each(|one| one.resumption = true);
    let client = &mut connections[0];
    client.dpd_delay = Duration::from_secs(10);
    client.children[0] = client.children[0].clone().kept(Keep::Up);
    connections
}

fn keys(seed: u64) -> Arc<TicketKeys> {
    Arc::new(TicketKeys::generate(NOW_S, &mut SeededRng::new(seed)))
}

struct Session {
    pair: Pair,
    connections: [Connection; 2],
    /// The gateway's, beside that.
    others: Vec<Connection>,
    keys: Arc<TicketKeys>,
    origin: Instant,
    /// Exchanges that the client has begun, in order and each once.
    begun: Vec<ExchangeType>,
}

impl Session {
    fn new(connections: [Connection; 2]) -> Self {
        let pair = Pair::new(Default::default(), connections.clone());
        let (others, begun, origin) = (Vec::new(), Vec::new(), pair.now);
        let mut session = Self { pair, connections, others, keys: keys(7), origin, begun };
        session.give_keys();
        session.settle(|_| true);
        session.pair.assert_one_tunnel();
        session.begun.clear();
        session
    }

    fn give_keys(&mut self) {
        let now_s = NOW_S + self.pair.now.duration_since(self.origin).as_secs();
        let command = Command::UseTicketKeys { keys: Arc::clone(&self.keys), now_s };
        self.pair.right.command(command, self.pair.now);
    }

    /// The gateway loses everything but its file of keys.
    fn crash(&mut self) {
        let right = &mut self.pair.right;
        right.restart(EndpointConfig::default());
        right.children.clear();
        right.sent.clear();
        for connection in self.connections[1..].iter().chain(&self.others) {
            right.command(Command::Load(Arc::new(connection.clone())), self.pair.now);
        }
        self.give_keys();
    }

    /// Delivers what passes until nobody has anything to say.
    fn settle(&mut self, passes: impl Fn(&[u8]) -> bool) {
        loop {
            for (_, octets) in &self.pair.left.sent {
                let header = header(octets);
                if !header.flags.is_response() && self.begun.last() != Some(&header.exchange) {
                    self.begun.push(header.exchange);
                }
            }
            if !self.pair.deliver(&passes) {
                return;
            }
        }
    }

    fn run_for(&mut self, seconds: u64, passes: impl Fn(&[u8]) -> bool) {
        let end = self.pair.now + Duration::from_secs(seconds);
        self.settle(&passes);
        loop {
            let ends = [&self.pair.left.endpoint, &self.pair.right.endpoint];
            let next = ends.into_iter().filter_map(|one| one.poll_timeout()).min();
            let Some(next) = next.filter(|next| *next <= end) else { break };
            self.pair.now = self.pair.now.max(next);
            self.pair.left.timeout(self.pair.now);
            self.pair.right.timeout(self.pair.now);
            self.settle(&passes);
        }
        self.pair.now = end;
    }

    /// Until the client has noticed and is back.
    fn recover(&mut self) {
        self.begun.clear();
        self.run_for(300, |_| true);
        self.pair.assert_one_tunnel();
        // What the client has tried before was liveness.
        self.begun.retain(|kind| *kind != ExchangeType::INFORMATIONAL);
    }

    fn is_resumed(&self) -> bool {
        let [left, right] = [&self.pair.left, &self.pair.right].map(|peer| peer.established());
        assert_eq!(left[0].resumed, right[0].resumed);
        left[0].resumed
    }
}

const RESUMED: [ExchangeType; 2] = [ExchangeType::IKE_SESSION_RESUME, ExchangeType::IKE_AUTH];

//= https://www.rfc-editor.org/rfc/rfc5723#section-4.3.3
//= type=test
//# AUTH = prf(SK_px, <message octets>)
/// CHECKLIST R04: two messages each way, without a key exchange and without the long-term secret;
/// and again with the ticket of the resumed session.
#[test]
fn a_session_is_resumed_without_key_exchange_and_secret() {
    let mut session = Session::new(resuming(connections()));
    assert!(!session.is_resumed());
    let before = session.pair.left.established()[0].clone();
    session.pair.right.secret = b"another";
    for _ in 0..2 {
        session.crash();
        session.recover();
        assert_eq!(session.begun, RESUMED);
        assert!(session.is_resumed());
    }
    let after = session.pair.left.established()[0].clone();
    assert_ne!((before.spi_i, before.spi_r), (after.spi_i, after.spi_r));
    assert_eq!((before.suite, before.remote_id), (after.suite, after.remote_id));
    // The resumed IKE SA is one like others.
    session.pair.left.command(Command::RekeyIke(after.id), session.pair.now);
    session.settle(|_| true);
    session.pair.assert_one_tunnel();
}

/// A session that was only cut off: the gateway still has the old IKE SA, which goes silently.
#[test]
fn the_old_ike_sa_is_deleted_silently() {
    let mut session = Session::new(resuming(connections()));
    session.run_for(150, |_| false);
    assert!(session.pair.left.established().is_empty());
    assert_eq!(session.pair.right.established().len(), 1);
    session.recover();
    assert!(session.is_resumed());
    assert_eq!(session.pair.right.endpoint.ike_sas().count(), 1);
}

/// CHECKLIST R04: after one roll-over of the gateway's key it works, after two a full exchange follows,
/// as when the gateway has lost its keys.
#[test]
fn a_ticket_outlives_one_roll_over_of_its_key() {
    let mut session = Session::new(resuming(connections()));
    let mut rng = SeededRng::new(1);
    session.keys = Arc::new(session.keys.renewed(NOW_S + DAY_S, &mut rng).unwrap());
    session.crash();
    session.recover();
    assert!(session.is_resumed());
    let once = session.keys.renewed(NOW_S + 2 * DAY_S, &mut rng).unwrap();
    session.keys = Arc::new(once.renewed(NOW_S + 3 * DAY_S, &mut rng).unwrap());
    session.crash();
    session.recover();
    assert!(!session.is_resumed());
    let full = [ExchangeType::IKE_SESSION_RESUME, ExchangeType::IKE_SA_INIT];
    assert_eq!(session.begun[..2], full);

    session.keys = keys(8);
    session.crash();
    session.recover();
    assert!(!session.is_resumed());
    assert_eq!(session.begun[..2], full);
}

/// The gateway answers nothing of that kind: after a few seconds a full exchange follows.
#[test]
fn silence_about_a_ticket_leads_to_a_full_exchange() {
    let mut session = Session::new(resuming(connections()));
    session.crash();
    session.begun.clear();
    session.run_for(300, |octets| header(octets).exchange != ExchangeType::IKE_SESSION_RESUME);
    session.pair.assert_one_tunnel();
    assert!(!session.is_resumed());
    assert!(session.begun.contains(&ExchangeType::IKE_SESSION_RESUME));
}

//= https://www.rfc-editor.org/rfc/rfc5723#section-4.3.1
//= type=test
//# A reused ticket SHOULD be rejected by a gateway.
/// A ticket that somebody has seen gives an IKE SA to nobody, and none to its owner a second time.
#[test]
fn a_used_ticket_is_refused() {
    let mut session = Session::new(resuming(connections()));
    session.crash();
    session.begun.clear();
    while session.begun.last() != Some(&ExchangeType::IKE_SESSION_RESUME) {
        let at = session.pair.left.endpoint.poll_timeout().unwrap();
        session.pair.now = session.pair.now.max(at);
        session.pair.left.timeout(session.pair.now);
        if let Some((_, octets)) = session.pair.left.sent.back()
            && header(octets).exchange == ExchangeType::IKE_SESSION_RESUME
        {
            break;
        }
        session.settle(|_| false);
    }
    let (to, request) = session.pair.left.sent.back().unwrap().clone();
    session.settle(|_| true);
    session.pair.assert_one_tunnel();
    // The thief has another SPI and nonce.
    let mut replayed = request.clone();
    replayed[0] ^= 1;
    session.pair.right.datagram(reversed(to), &replayed, session.pair.now);
    let (_, answer) = session.pair.right.sent.pop_back().unwrap();
    assert!(header(&answer).spi_r.is_zero() && answer.len() <= replayed.len());
    assert_eq!(answer[answer.len() - 2..], NotifyType::TICKET_NACK.0.to_be_bytes());
    session.pair.assert_one_tunnel();
    // Before it is used it opens a door to nobody: what follows has to prove the keys.
    let mut fresh = Session::new(resuming(connections()));
    fresh.crash();
    fresh.pair.right.datagram(reversed(to), &replayed, fresh.pair.now);
    assert!(fresh.pair.right.established().is_empty());
}

//= https://www.rfc-editor.org/rfc/rfc5723#section-6.2
//= type=test
//# when an IKE SA is deleted by the client or the gateway, the client
//# MUST delete its stored ticket.
#[test]
fn a_deleted_session_is_not_resumed() {
    for by_client in [true, false] {
        let mut session = Session::new(resuming(connections()));
        let peer = match by_client {
            true => &mut session.pair.left,
            false => &mut session.pair.right,
        };
        let (id, request) = (peer.established()[0].id, peer.request());
        peer.command(Command::TerminateIke { id, request }, session.pair.now);
        session.settle(|_| true);
        session.begun.clear();
        session.pair.left.initiate(session.pair.now);
        session.run_for(5, |_| true);
        assert_eq!(session.begun[0], ExchangeType::IKE_SA_INIT, "{by_client}");
        assert!(!session.is_resumed());
    }
}

/// RFC 5723 §6.2: a rekeyed IKE SA has another ticket, whoever has rekeyed it.
#[test]
fn a_rekeyed_session_gets_another_ticket() {
    for by_client in [true, false] {
        let mut session = Session::new(resuming(connections()));
        let peer = match by_client {
            true => &mut session.pair.left,
            false => &mut session.pair.right,
        };
        let id = peer.established()[0].id;
        peer.command(Command::RekeyIke(id), session.pair.now);
        session.settle(|_| true);
        assert!(session.begun.contains(&ExchangeType::INFORMATIONAL));
        session.crash();
        session.recover();
        assert_eq!(session.begun, RESUMED);
        assert!(session.is_resumed());
    }
}

/// Only where both want it.
#[test]
fn nobody_resumes_unasked() {
    for off in [0, 1] {
        let mut connections = resuming(connections());
        connections[off].resumption = false;
        let mut session = Session::new(connections);
        session.crash();
        session.recover();
        assert!(!session.is_resumed());
        assert!(!session.begun.contains(&ExchangeType::IKE_SESSION_RESUME));
    }
}

/// What the gateway allows by now counts, not what it allowed then.
#[test]
fn a_suite_or_identity_that_is_not_allowed_any_more_is_not_resumed() {
    let both = "aes256gcm16-prfsha384-x25519,aes128gcm16-prfsha256-x25519";
    let mut session = Session::new(resuming(with_ike(both, both)));
    let stricter = with_ike(both, "aes128gcm16-prfsha256-x25519");
    session.connections[1].proposals = stricter[1].proposals.clone();
    session.crash();
    session.recover();
    assert!(!session.is_resumed());

    session.connections[1].pad.remote_id = "somebody.example".parse().unwrap();
    session.crash();
    session.begun.clear();
    session.run_for(300, |_| true);
    assert!(session.pair.right.established().is_empty());
}

/// CHECKLIST C01, C03 hold for tickets, too: a gateway under load asks for a cookie first.
#[test]
fn a_loaded_gateway_asks_for_a_cookie_first() {
    let mut session = Session::new(resuming(connections()));
    let loaded = EndpointConfig { cookie_threshold: 0, ..EndpointConfig::default() };
    session.crash();
    session.pair.right.restart(loaded);
    let connection = Arc::new(session.connections[1].clone());
    session.pair.right.command(Command::Load(connection), session.pair.now);
    session.give_keys();
    session.recover();
    assert!(session.is_resumed());
}

/// An expired ticket is not presented.
#[test]
fn an_expired_ticket_is_not_presented() {
    let mut connections = resuming(connections());
    connections[1].rekey_time = Duration::from_secs(100);
    connections[1].over_time = Duration::from_secs(20);
    connections[1].rand_time = Duration::ZERO;
    let mut session = Session::new(connections);
    session.crash();
    session.run_for(119, |_| false);
    session.run_for(2, |_| false);
    session.recover();
    assert!(!session.is_resumed());
}

/// Nor is it good for longer than the authentication of the client (RFC 4478).
#[test]
fn a_ticket_ends_with_the_authentication() {
    let over_time = resuming(connections())[1].over_time;
    // A gateway that cannot call, and does not insist, either.
    for (over_time, remote) in
        [(over_time, HostSpec::Address(LEFT)), (Duration::ZERO, HostSpec::Any)]
    {
        let mut connections = resuming(connections());
        connections[1].reauth_time = Duration::from_secs(100);
        connections[1].rand_time = Duration::ZERO;
        connections[1].over_time = over_time;
        connections[1].remote_addresses = vec![remote];
        let mut session = Session::new(connections);
        session.crash();
        session.run_for(121, |_| false);
        session.recover();
        assert!(!session.is_resumed());
    }
}

/// A post-quantum key (RFC 8784) is in the keys that the new ones come from, and is not asked for again.
#[test]
fn a_post_quantum_key_goes_along() {
    let mut connections = resuming(connections());
    let ppk = PpkSpec { id: "berlin".parse().unwrap(), required: true };
    connections.iter_mut().for_each(|one| one.pad.ppk = Some(ppk.clone()));
    let mut session = Session::new(connections);
    for _ in 0..2 {
        session.crash();
        session.recover();
        assert_eq!(session.begun, RESUMED);
        assert!(session.is_resumed());
        assert!(session.pair.left.established()[0].ppk && session.pair.right.established()[0].ppk);
    }
}

/// A session without one is none for a gateway that insists on it by now.
#[test]
fn a_missing_post_quantum_key_is_not_overlooked() {
    let mut session = Session::new(resuming(connections()));
    let ppk = PpkSpec { id: "berlin".parse().unwrap(), required: true };
    session.connections[1].pad.ppk = Some(ppk);
    session.crash();
    session.run_for(300, |_| true);
    assert!(session.begun.contains(&ExchangeType::IKE_SESSION_RESUME));
    assert!(session.pair.right.established().is_empty());
}

/// However many authentications (RFC 4739) it took to begin the session.
#[test]
fn all_rounds_of_authentication_are_done() {
    let mut connections = resuming(connections());
    let (id, auth) = ("alice@left.example", AuthSpec::Psk);
    let round = LocalRound { id: Some(id.parse().unwrap()), auth: auth.clone() };
    connections[0].pad.more_local.push(round);
    connections[1].pad.more_remote.push(RemoteRound { id: id.parse().unwrap(), auth });
    let mut session = Session::new(connections);
    session.crash();
    session.recover();
    assert_eq!(session.begun, RESUMED);
    assert!(session.is_resumed());
}

/// Who proves nothing (RFC 7619) has no identity to find again.
#[test]
fn nobody_resumes_what_somebody_unknown_began() {
    let mut connections = resuming(connections());
    connections[0].pad.local_auth = AuthSpec::Null;
    connections[1].pad.remote_auth = AuthSpec::Null;
    connections[1].pad.remote_id = "%any".parse().unwrap();
    let mut session = Session::new(connections);
    session.crash();
    session.recover();
    assert!(!session.is_resumed());
    assert!(!session.begun.contains(&ExchangeType::IKE_SESSION_RESUME));
}
