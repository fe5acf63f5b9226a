//! IKE SAs that begin without a child (RFC 6023).

use adit_db::{Childless, Connection, Keep};
use adit_ike::{By, Command, EndpointConfig, FailureReason, RequestId};
use adit_wire::iana::{ExchangeType, NotifyType, TransformType};
use adit_wire::ikev2::Header;
use std::time::Duration;

use super::header;
use crate::common::{Pair, connections};

fn pair(left: Childless, right: Childless) -> Pair {
    let mut connections = connections();
    connections[0].childless = left;
    connections[1].childless = right;
    Pair::new([EndpointConfig::default(), EndpointConfig::default()], connections)
}

/// Whether an IKE_SA_INIT message has a notify.
fn announces(octets: &[u8], kind: NotifyType) -> bool {
    let [high, low] = kind.0.to_be_bytes();
    octets.windows(4).any(|four| four == [1, 0, high, low])
}

fn initiate(pair: &mut Pair, child: Option<&str>) -> RequestId {
    let request = pair.left.request();
    let child = child.map(|name| name.parse().unwrap());
    let connection = "tunnel".parse().unwrap();
    pair.left.command(Command::Initiate { connection, child, request }, pair.now);
    request
}

//= https://www.rfc-editor.org/rfc/rfc6023#section-3
//= type=test
//# A supporting responder MUST include the Notify payload, described in
//# Section 4, within the IKE_SA_INIT response.
/// CHECKLIST A08: the IKE SA first, the child by CREATE_CHILD_SA with a key exchange of its own.
#[test]
fn the_child_comes_later_with_a_key_exchange() {
    for wish in [Childless::Prefer, Childless::Force] {
        let mut pair = pair(wish, Childless::Allow);
        let request = initiate(&mut pair, Some("net"));
        pair.deliver(|_| true);
        let (_, response) = &pair.right.sent[0];
        assert!(announces(response, NotifyType::CHILDLESS_IKEV2_SUPPORTED));
        let mut exchanges = Vec::new();
        loop {
            let sent = pair.left.sent.iter().chain(&pair.right.sent);
            exchanges.extend(sent.map(|(_, octets): &(_, Vec<u8>)| header(octets).exchange));
            if !pair.deliver(|_| true) {
                break;
            }
        }
        pair.assert_one_tunnel();
        assert_eq!(pair.left.done.get(&request), Some(&Ok(())));
        let count = |kind| exchanges.iter().filter(|one| **one == kind).count();
        assert_eq!(count(ExchangeType::IKE_AUTH), 2);
        assert!(count(ExchangeType::CREATE_CHILD_SA) >= 2);
        let child = &pair.left.established()[0].children[0];
        assert!(child.suite.iter().any(|transform| transform.kind == TransformType::KE));
    }
}

/// With `allow`, the default, the child is in IKE_AUTH as ever.
#[test]
fn who_only_allows_it_asks_for_a_child_at_once() {
    let mut pair = pair(Childless::Allow, Childless::Allow);
    initiate(&mut pair, Some("net"));
    let mut children = 0;
    while pair.deliver(|octets| {
        let header: Header = header(octets);
        header.exchange != ExchangeType::CREATE_CHILD_SA
    }) {
        children = pair.left.children.len();
    }
    assert_eq!(children, 1);
    pair.assert_one_tunnel();
}

/// CHECKLIST A09: nothing but the IKE SA is made until somebody asks for a child.
#[test]
fn an_ike_sa_alone_waits_for_somebody_to_want_a_child() {
    let mut pair = pair(Childless::Prefer, Childless::Allow);
    let request = initiate(&mut pair, None);
    pair.run();
    assert_eq!(pair.left.done.get(&request), Some(&Ok(())));
    assert_eq!((pair.left.established().len(), pair.left.children.len()), (1, 0));
    pair.run_for(Duration::from_secs(60));
    assert_eq!((pair.right.established().len(), pair.right.children.len()), (1, 0));
    // It is there already.
    let again = initiate(&mut pair, None);
    assert_eq!(pair.left.done.get(&again), Some(&Ok(())));

    let child = initiate(&mut pair, Some("net"));
    pair.run();
    assert_eq!(pair.left.done.get(&child), Some(&Ok(())));
    pair.assert_one_tunnel();
}

/// What is to be up comes by itself.
#[test]
fn a_child_that_is_kept_up_follows_at_once() {
    let mut connections: [Connection; 2] = connections();
    connections[0].childless = Childless::Force;
    connections[0].children[0] = connections[0].children[0].clone().kept(Keep::Up);
    let mut pair = Pair::new(Default::default(), connections);
    pair.run();
    pair.assert_one_tunnel();
}

//= https://www.rfc-editor.org/rfc/rfc6023#section-3
//= type=test
//# The initiator MUST NOT send the modified IKE_AUTH request if the
//# notification was not present.
/// CHECKLIST A10: who insists on it gives up if the peer does not announce it; who prefers it asks
/// for a child.
#[test]
fn who_insists_gives_up_without_the_announcement() {
    let mut forced = pair(Childless::Force, Childless::Never);
    let request = initiate(&mut forced, Some("net"));
    forced.run_for(Duration::from_secs(5));
    let failure = forced.left.done[&request].clone().unwrap_err();
    assert_eq!(failure.reason, FailureReason::NotChildless { by: By::Peer });
    assert_eq!(failure.reason.code(), Some(104));
    assert_eq!(forced.right.established().len(), 0);

    let mut preferred = pair(Childless::Prefer, Childless::Never);
    initiate(&mut preferred, Some("net"));
    preferred.run();
    preferred.assert_one_tunnel();
}

/// CHECKLIST A11: a responder that insists refuses who asks for a child, with INVALID_SYNTAX.
#[test]
fn a_responder_that_insists_refuses_a_child_in_ike_auth() {
    let mut pair = pair(Childless::Allow, Childless::Force);
    let request = initiate(&mut pair, Some("net"));
    pair.run();
    let refused = FailureReason::PeerError {
        exchange: ExchangeType::IKE_AUTH,
        notify: NotifyType::INVALID_SYNTAX,
    };
    assert_eq!(pair.left.done[&request].clone().unwrap_err().reason, refused);
    let seen = &pair.right.failures()[0].reason;
    assert_eq!(*seen, FailureReason::NotChildless { by: By::Us });
    assert!(pair.left.established().is_empty() && pair.right.established().is_empty());
}

//= https://www.rfc-editor.org/rfc/rfc6023#section-3
//= type=test
//# it SHOULD reply with an INVALID_SYNTAX Notify payload if the client
//# sends an IKE_AUTH request that is modified as described in Section 5.
/// CHECKLIST A12: SA and TS payloads are missing, and nobody said that they may be. The initiator
/// believes a forged announcement, which AUTH would uncover if it came to that.
#[test]
fn a_child_must_not_be_missing_unless_that_was_announced() {
    let mut announcing = pair(Childless::Prefer, Childless::Allow);
    initiate(&mut announcing, Some("net"));
    announcing.deliver(|_| true);
    let (_, honest) = announcing.right.sent.pop_front().unwrap();
    let [high, low] = NotifyType::CHILDLESS_IKEV2_SUPPORTED.0.to_be_bytes();
    let at = honest.windows(4).position(|four| four == [1, 0, high, low]).unwrap();
    let notify = honest[at - 4..at + 4].to_vec();

    let mut pair = pair(Childless::Prefer, Childless::Never);
    let request = initiate(&mut pair, Some("net"));
    pair.deliver(|_| true);
    let (to, mut response) = pair.right.sent.pop_front().unwrap();
    assert!(!announces(&response, NotifyType::CHILDLESS_IKEV2_SUPPORTED));
    // Put in front: what was first follows it.
    let first = std::mem::replace(&mut response[16], 41);
    let insert = [&[first, 0][..], &notify[2..]].concat();
    response.splice(28..28, insert);
    let length = u32::try_from(response.len()).unwrap();
    response[24..28].copy_from_slice(&length.to_be_bytes());
    pair.left.datagram(crate::common::reversed(to), &response, pair.now);
    pair.run();

    let refused = FailureReason::PeerError {
        exchange: ExchangeType::IKE_AUTH,
        notify: NotifyType::INVALID_SYNTAX,
    };
    assert_eq!(pair.left.done[&request].clone().unwrap_err().reason, refused);
    assert!(pair.left.established().is_empty() && pair.right.established().is_empty());
}
