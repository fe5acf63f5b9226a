//! Redirection to another gateway (RFC 5685). The right side is all the gateways there are: it answers
//! at whatever address.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use adit_db::{Connection, Gateway, HostSpec};
use adit_ike::{Command, Event, FailureReason, Step};
use adit_wire::iana::{ExchangeType, NotifyType};

use super::header;
use crate::common::{LEFT, Pair, RIGHT, connections, reversed};

const OTHER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 3));

/// The left side follows; the right side answers at all addresses and redirects to one of them.
fn redirecting(to: Option<&str>) -> [Connection; 2] {
    let mut connections = connections();
    connections[0].redirect.follow = true;
    connections[1].local_addresses = vec![HostSpec::Any];
    connections[1].redirect.to = to.map(|to| to.parse().unwrap());
    connections
}

fn pair(connections: [Connection; 2]) -> Pair {
    Pair::new(Default::default(), connections)
}

fn has_notify(octets: &[u8], kind: NotifyType) -> bool {
    let [high, low] = kind.0.to_be_bytes();
    octets.windows(4).any(|four| four == [0, 0, high, low])
}

fn followed(pair: &Pair) -> usize {
    let is_redirect =
        |event: &&Event| matches!(event, Event::Progress { step: Step::Redirected { .. }, .. });
    pair.left.events.iter().filter(is_redirect).count()
}

//= https://www.rfc-editor.org/rfc/rfc5685#section-3
//= type=test
//# In the IKE_SA_INIT exchange with the new VPN gateway, the client MUST
//# include the REDIRECTED_FROM payload
/// CHECKLIST R01: in IKE_SA_INIT, before anything is computed.
#[test]
fn a_client_is_redirected_in_ike_sa_init() {
    let mut pair = pair(redirecting(Some("192.0.2.3")));
    let request = pair.left.initiate(pair.now);
    let (_, first) = &pair.left.sent[0];
    assert!(has_notify(first, NotifyType::REDIRECT_SUPPORTED));
    pair.deliver(|_| true);
    let (_, answer) = &pair.right.sent[0];
    assert!(has_notify(answer, NotifyType::REDIRECT));
    assert!(header(answer).spi_r.is_zero() && pair.right.endpoint.ike_sas().count() == 0);
    pair.deliver(|_| true);
    let (path, second) = &pair.left.sent[0];
    assert_eq!(path.remote.ip(), OTHER);
    assert!(has_notify(second, NotifyType::REDIRECTED_FROM));
    assert!(!has_notify(second, NotifyType::REDIRECT_SUPPORTED));
    let from = [1, 4, 192, 0, 2, 2];
    assert!(second.windows(6).any(|six| six == from));
    pair.run();

    assert_eq!(pair.left.done.get(&request), Some(&Ok(())));
    pair.assert_one_tunnel();
    assert_eq!(pair.left.established()[0].remote.ip(), OTHER);
    assert_eq!(followed(&pair), 1);
}

//= https://www.rfc-editor.org/rfc/rfc5685#section-6
//= type=test
//# The gateway MUST verify the client's AUTH payload before sending the
//# REDIRECT payload, and the client MUST verify the gateway's AUTH
//# payload before acting on the REDIRECT payload.
/// CHECKLIST R01: in IKE_AUTH, where only the identity says which tunnel it is.
#[test]
fn a_client_is_redirected_in_ike_auth() {
    let mut pair = pair(redirecting(Some("192.0.2.3")));
    let mut another = connections()[1].clone();
    another.name = "another".parse().unwrap();
    another.pad.remote_id = "somebody.example".parse().unwrap();
    pair.right.command(Command::Load(Arc::new(another)), pair.now);
    let request = pair.left.initiate(pair.now);
    pair.run();

    assert_eq!(pair.left.done.get(&request), Some(&Ok(())));
    assert_eq!(followed(&pair), 1);
    let left = pair.left.established();
    assert_eq!((left.len(), left[0].remote.ip()), (1, OTHER));
    assert_eq!(pair.left.children.len(), 1);
    // The IKE SA with the first gateway was deleted.
    assert_eq!(pair.right.established().len(), 1);

    // A wrong proof goes nowhere.
    let mut wrong = self::pair(redirecting(Some("192.0.2.3")));
    wrong.left.secret = b"something else";
    let request = wrong.left.initiate(wrong.now);
    wrong.run();
    assert!(matches!(wrong.left.done.get(&request), Some(Err(_))));
}

//= https://www.rfc-editor.org/rfc/rfc5685#section-5
//= type=test
//# Once the client sends an acknowledgement to the gateway, it SHOULD
//# delete the existing security associations with the old gateway by
//# sending an INFORMATIONAL message with a DELETE payload.
/// CHECKLIST R01: in the middle of a session; the child comes along although nothing keeps it up.
#[test]
fn a_client_is_redirected_while_the_tunnel_is_up() {
    let mut pair = pair(redirecting(None));
    pair.left.initiate(pair.now);
    pair.run();
    pair.assert_one_tunnel();
    let right = &pair.right.established()[0];
    assert!(right.follows_redirects && !pair.left.established()[0].follows_redirects);
    let to = Gateway::Address(OTHER);
    pair.right.command(Command::RedirectIke { id: right.id, to }, pair.now);
    pair.run_for(Duration::from_secs(5));

    pair.assert_one_tunnel();
    assert_eq!(pair.left.established()[0].remote.ip(), OTHER);
    assert_eq!(followed(&pair), 1);
}

/// While another IKE SA is being made with the gateway that sends us elsewhere, as it is time to
/// authenticate anew: that one is left, too.
#[test]
fn an_attempt_under_way_is_left_for_the_other_gateway() {
    let mut pair = pair(redirecting(None));
    pair.left.initiate(pair.now);
    pair.run();
    let (left, right) = (pair.left.established()[0].id, pair.right.established()[0].id);
    pair.left.command(Command::Reauthenticate(left), pair.now);
    // Its first message is under way for long.
    let first: Vec<_> = pair.left.sent.drain(..).collect();
    assert_eq!(first.len(), 1);
    let to = Gateway::Address(OTHER);
    pair.right.command(Command::RedirectIke { id: right, to }, pair.now);
    pair.run();
    let remotes = |pair: &Pair| -> Vec<IpAddr> {
        pair.left.endpoint.ike_sas().map(|info| info.remote.ip()).collect()
    };
    assert_eq!(remotes(&pair), [OTHER]);
    pair.left.sent.extend(first);
    pair.run_for(Duration::from_secs(5));
    assert_eq!(remotes(&pair), [OTHER]);
}

/// Whoever initiates the rekeying: the session's client stays the client.
#[test]
fn a_rekeyed_ike_sa_is_redirected_as_well() {
    for by_gateway in [false, true] {
        let mut pair = pair(redirecting(None));
        pair.left.initiate(pair.now);
        pair.run();
        let ike = |peer: &crate::common::Peer| peer.established()[0].id;
        let (left, right) = (ike(&pair.left), ike(&pair.right));
        match by_gateway {
            true => pair.right.command(Command::RekeyIke(right), pair.now),
            false => pair.left.command(Command::RekeyIke(left), pair.now),
        }
        pair.run();
        let (left, right) = (ike(&pair.left), ike(&pair.right));
        let to = || Gateway::Address(OTHER);
        // The client redirects nobody.
        pair.left.command(Command::RedirectIke { id: left, to: to() }, pair.now);
        pair.run_for(Duration::from_secs(1));
        assert_eq!(pair.right.established()[0].id, right);
        pair.right.command(Command::RedirectIke { id: right, to: to() }, pair.now);
        pair.run_for(Duration::from_secs(5));
        assert_eq!(pair.left.established()[0].remote.ip(), OTHER);
        pair.assert_one_tunnel();
    }
}

//= https://www.rfc-editor.org/rfc/rfc5685#section-3
//= type=test
//# If the IKE_SA_INIT request did not indicate support for the redirect
//# mechanism, the responder MUST NOT send the REDIRECT payload to the VPN
//# client.
/// CHECKLIST R03: nobody is redirected who does not follow.
#[test]
fn who_does_not_follow_is_served_or_ignores_it() {
    let mut connections = redirecting(Some("192.0.2.3"));
    connections[0].redirect.follow = false;
    let mut pair = pair(connections);
    pair.left.initiate(pair.now);
    assert!(!has_notify(&pair.left.sent[0].1, NotifyType::REDIRECT_SUPPORTED));
    pair.run();
    pair.assert_one_tunnel();
    assert_eq!(pair.left.established()[0].remote.ip(), RIGHT);
    let id = pair.right.established()[0].id;
    let to = Gateway::Address(OTHER);
    pair.right.command(Command::RedirectIke { id, to }, pair.now);
    assert!(pair.right.sent.is_empty());
}

//= https://www.rfc-editor.org/rfc/rfc5685#section-3
//= type=test
//# When the client receives the IKE_SA_INIT response, it MUST verify that
//# the nonce data matches the value sent in the IKE_SA_INIT request. If
//# the values do not match, the client MUST silently discard the response
/// CHECKLIST R03: a redirection with another nonce, or one that was not asked for, changes nothing.
#[test]
fn a_forged_redirection_is_discarded() {
    for follows in [true, false] {
        let mut connections = redirecting(None);
        connections[0].redirect.follow = follows;
        let mut pair = pair(connections);
        pair.left.initiate(pair.now);
        let (to_right, init) = pair.left.sent[0].clone();
        let data = [&[1, 4, 192, 0, 2, 3][..], &[7; 32]].concat();
        let notify_len = u16::try_from(8 + data.len()).unwrap();
        let mut forged = init[..8].to_vec();
        forged.extend([0; 8]);
        forged.extend([41, 0x20, 34, 0x20, 0, 0, 0, 0]);
        forged.extend((28 + u32::from(notify_len)).to_be_bytes());
        forged.extend([0, 0]);
        forged.extend(notify_len.to_be_bytes());
        forged.extend([0, 0]);
        forged.extend(NotifyType::REDIRECT.0.to_be_bytes());
        forged.extend(data);
        pair.left.datagram(reversed(to_right), &forged, pair.now);
        assert_eq!((followed(&pair), pair.left.sent.len()), (0, 1));
        pair.run();
        pair.assert_one_tunnel();
        assert_eq!(pair.left.established()[0].remote.ip(), RIGHT);
    }
}

/// CHECKLIST R02: two gateways that redirect to each other are left after five redirections.
#[test]
fn a_loop_of_redirections_ends() {
    let mut connections = redirecting(None);
    let address = |ip| vec![HostSpec::Address(ip)];
    connections[1].local_addresses = address(RIGHT);
    connections[1].redirect.to = Some(Gateway::Address(OTHER));
    let mut second = connections[1].clone();
    second.name = "second".parse().unwrap();
    second.local_addresses = address(OTHER);
    second.redirect.to = Some(Gateway::Address(RIGHT));
    let mut pair = pair(connections);
    pair.right.command(Command::Load(Arc::new(second)), pair.now);
    let request = pair.left.initiate(pair.now);
    pair.run();

    let failure = pair.left.done[&request].clone().unwrap_err();
    assert_eq!(failure.reason, FailureReason::TooManyRedirects { limit: 5 });
    assert_eq!((failure.reason.code(), followed(&pair)), (Some(134), 5));
    assert!(pair.delivered <= 12, "{} messages", pair.delivered);
    // After a while it is tried again.
    pair.now += Duration::from_secs(301);
    pair.left.initiate(pair.now);
    pair.run();
    assert_eq!(followed(&pair), 10);
}

/// CHECKLIST R02: the other gateway is dead, so the next attempt goes to the configured one.
#[test]
fn a_dead_gateway_is_left_for_the_configured_one() {
    let mut pair = pair(redirecting(Some("192.0.2.3")));
    let request = pair.left.initiate(pair.now);
    pair.deliver(|_| true);
    pair.deliver(|_| true);
    assert_eq!(pair.left.sent[0].0.remote.ip(), OTHER);
    pair.left.sent.clear();
    let end = pair.now + Duration::from_secs(60);
    while pair.left.done.is_empty() {
        pair.now = pair.left.endpoint.poll_timeout().filter(|at| *at < end).unwrap();
        pair.left.timeout(pair.now);
        pair.left.sent.clear();
    }
    let failure = pair.left.done[&request].clone().unwrap_err();
    assert!(matches!(failure.reason, FailureReason::PeerSilent { remote, .. }
        if remote.ip() == OTHER));
    pair.left.initiate(pair.now);
    assert_eq!(pair.left.sent[0].0.remote.ip(), RIGHT);
}

/// By name: it is looked up before anything is sent. The lookup of these tests finds the left side's
/// own address.
#[test]
fn a_gateway_may_be_named() {
    let mut pair = pair(redirecting(Some("gw2.example")));
    pair.left.initiate(pair.now);
    pair.deliver(|_| true);
    pair.deliver(|_| true);
    let resolving = |event: &Event| {
        matches!(event, Event::Progress { step: Step::Resolving { name }, .. }
            if name == "gw2.example")
    };
    assert!(pair.left.events.iter().any(resolving));
    assert_eq!(pair.left.sent[0].0.remote.ip(), LEFT);
}

/// Who we meet elsewhere must be who was meant: PAD entries do not change (RFC 5685 §3).
#[test]
fn another_identity_is_refused_at_the_other_gateway() {
    let mut connections = redirecting(Some("192.0.2.3"));
    connections[1].local_addresses = vec![HostSpec::Address(RIGHT)];
    let mut second = connections[1].clone();
    second.name = "second".parse().unwrap();
    second.local_addresses = vec![HostSpec::Address(OTHER)];
    second.redirect.to = None;
    second.pad.local_id = Some("mallory.example".parse().unwrap());
    let mut pair = pair(connections);
    pair.right.command(Command::Load(Arc::new(second)), pair.now);
    let request = pair.left.initiate(pair.now);
    pair.run();
    assert!(matches!(pair.left.done.get(&request), Some(Err(_))));
    assert!(pair.left.established().is_empty());
    let exchange = |octets: &[u8]| header(octets).exchange;
    assert!(pair.left.sent.iter().all(|(_, octets)| exchange(octets) != ExchangeType::IKE_AUTH));
}
