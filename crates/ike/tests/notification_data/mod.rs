//! What error notifies say beside their type (draft-ietf-ipsec-notifymsg-04), between those that have
//! agreed on it.

use adit_db::ProposalSpec;
use adit_ike::{By, Command, FailureReason, PeerSays};
use adit_wire::Writer;
use adit_wire::iana::{ExchangeType, NotifyType, PayloadType};
use adit_wire::ikev2::{
    ChainBuilder, Flags, Header, MessageBuilder, Notify, Payload, Payloads, RawPayload, VendorId,
};
use adit_wire::notification_data::{ErrorText, NotificationData};

use super::header;
use crate::common::{LEFT, Pair, RIGHT, connections, path, sealed, selector};
use crate::forged::{FIRST, established, keys};

const SUPPORT: NotifyType = NotifyType::ADIT_NOTIFICATION_DATA;

fn says(text: &str, payload: Option<PayloadType>, exchange: Option<ExchangeType>) -> PeerSays {
    PeerSays { text: Some(text.to_owned()), payload, exchange }
}

fn announces(octets: &[u8]) -> bool {
    let payloads = Payloads::new(header(octets).next_payload, &octets[Header::LEN..]);
    payloads.map(Result::unwrap).any(|raw| is_support(&raw))
}

fn is_support(raw: &RawPayload<'_>) -> bool {
    matches!(Payload::read(*raw), Ok(Payload::Notify(notify)) if notify.kind == SUPPORT)
}

/// A refused child comes with the other side's code, its line and the payload that is refused.
#[test]
fn a_refused_child_says_why() {
    let mut other_networks = connections();
    other_networks[1].children[0].local_ts = vec![selector("10.3.0.0/24")];
    let mut other_suites = connections();
    other_suites[0].children[0].proposals = ProposalSpec::esp_list("aes256gcm16").unwrap();
    other_suites[1].children[0].proposals = ProposalSpec::esp_list("aes128-sha256").unwrap();
    let networks = "E301 the two sides disagree about which networks to connect";
    let cases = [
        (other_networks, networks, PayloadType::TS_I),
        (other_suites, "E102 no common ESP algorithms", PayloadType::SA),
    ];
    for (connections, text, payload) in cases {
        let mut pair = Pair::new(Default::default(), connections);
        let request = pair.left.initiate(pair.now);
        pair.run();
        let failure = pair.left.done[&request].clone().unwrap_err();
        assert_eq!(failure.peer_says.as_deref(), Some(&says(text, Some(payload), None)));
        assert_eq!(pair.right.failures()[0].peer_says, None, "nobody has said anything to it");

        // The same by CREATE_CHILD_SA, where the IKE SA is up.
        let again = pair.left.initiate(pair.now);
        pair.run();
        let failure = pair.left.done[&again].clone().unwrap_err();
        assert_eq!(failure.peer_says.as_deref(), Some(&says(text, Some(payload), None)));
    }
}

/// A responder tells somebody who has not proven its identity no more than that.
#[test]
fn who_has_proven_nothing_is_told_nothing() {
    let mut pair = Pair::default_pair();
    pair.right.secret = b"another secret altogether";
    let request = pair.left.initiate(pair.now);
    pair.run();
    let failure = pair.left.done[&request].clone().unwrap_err();
    assert_eq!((failure.reason.code(), failure.peer_says), (Some(203), None));
}

/// An initiator that does not believe the responder tells what is wrong with its proof; the responder is
/// up by then and takes the whole to be over.
#[test]
fn a_responder_hears_why_it_is_not_believed() {
    let mut connections = connections();
    connections[0].pad.remote_id = "*.example".parse().unwrap();
    connections[1].pad.local_id = Some("right.example.net".parse().unwrap());
    let mut pair = Pair::new(Default::default(), connections);
    let request = pair.left.initiate(pair.now);
    pair.run();
    let failure = pair.left.done[&request].clone().unwrap_err();
    assert!(matches!(failure.reason, FailureReason::WrongIdentity { .. }), "{:?}", failure.reason);
    assert_eq!(failure.peer_says, None);
    let failures = pair.right.failures();
    let failure = failures.last().unwrap();
    assert!(matches!(failure.reason, FailureReason::WrongSecret { by: By::Peer, .. }));
    let line = "E205 the peer proved another identity than the configured one";
    let expected = says(line, None, Some(ExchangeType::IKE_AUTH));
    assert_eq!(failure.peer_says.as_deref(), Some(&expected));
    assert_eq!(expected.to_string(), format!("{line} (IKE_AUTH)"));
}

/// The responder's answer has the notify for an Adit that has it, and nobody else; so it is never longer
/// by it than what it answers (CHECKLIST C10).
#[test]
fn support_is_said_to_who_says_it() {
    let mut pair = Pair::default_pair();
    pair.left.initiate(pair.now);
    let (_, request) = pair.left.sent.pop_front().unwrap();
    assert!(announces(&request));
    let without_support = without(&request, is_support);
    let without_name = without(
        &request,
        |raw| matches!(Payload::read(*raw), Ok(Payload::VendorId(id)) if id == VendorId::ADIT),
    );
    for (spi, request, expected) in
        [(1, &request, true), (2, &without_support, false), (3, &without_name, false)]
    {
        let mut request = request.clone();
        request[0] = spi;
        pair.right.datagram(path(RIGHT, LEFT), &request, pair.now);
        let (_, response) = pair.right.sent.pop_front().unwrap();
        assert_eq!(announces(&response), expected);
        assert!(response.len() <= request.len());
    }
}

fn without(message: &[u8], leaves_out: impl Fn(&RawPayload<'_>) -> bool) -> Vec<u8> {
    let header = header(message);
    let mut builder = MessageBuilder::new(header);
    for raw in Payloads::new(header.next_payload, &message[Header::LEN..]) {
        let raw = raw.unwrap();
        if !leaves_out(&raw) {
            builder.put_raw(&raw);
        }
    }
    builder.finish().unwrap()
}

/// Sends the right side, under the true keys, a notify that ends the IKE SA, with this data.
fn end_with(pair: &mut Pair, data: &[u8]) {
    let keys = keys(pair);
    let exchange = ExchangeType::INFORMATIONAL;
    let header = Header::new(keys.spi_i, keys.spi_r, exchange, Flags::new(true, false), FIRST);
    let mut chain = ChainBuilder::new();
    chain.put(&Payload::Notify(Notify::new(NotifyType::AUTHENTICATION_FAILED, data)));
    let request = sealed(keys, header, chain);
    pair.right.datagram(path(RIGHT, LEFT), &request, pair.now);
}

/// A peer's text is shown cut, and without what could change the screen it is shown on.
#[test]
fn a_hostile_text_is_made_harmless() {
    let mut pair = established();
    let text = format!("\u{1b}[2J\r\nE000 all is well\u{202e}{}", "x".repeat(4_000));
    let list = NotificationData {
        text: Some(ErrorText { text: &text, language: Some("en\n") }),
        ..NotificationData::default()
    };
    let mut data = Vec::new();
    list.write(&mut Writer(&mut data)).unwrap();
    end_with(&mut pair, &data);

    assert!(pair.right.established().is_empty());
    let failure = pair.right.failures().pop().unwrap();
    let shown = failure.peer_says.unwrap().to_string();
    assert_eq!(shown.chars().count(), 160);
    assert!(!shown.chars().any(|c| c.is_control() || c == '\u{202e}'), "{shown}");
}

/// Data that is no such list means what it always did, or nothing.
#[test]
fn other_data_is_nothing_to_show() {
    for data in [&b""[..], b"some words", &[0x80, 12, 0, 1, 0, 6, 0, 9, b'x'], &[0x80, 12, 0, 1]] {
        let mut pair = established();
        end_with(&mut pair, data);
        assert!(pair.right.established().is_empty());
        assert_eq!(pair.right.failures().pop().unwrap().peer_says, None);
    }
}

/// What a peer has said is about the message that says it, and not about what happens later.
#[test]
fn what_was_said_is_forgotten() {
    let mut connections = connections();
    connections[1].children[0].local_ts = vec![selector("10.3.0.0/24")];
    let mut pair = Pair::new(Default::default(), connections);
    let request = pair.left.initiate(pair.now);
    pair.run();
    assert!(pair.left.done[&request].clone().unwrap_err().peer_says.is_some());

    // The peer closes it without a word.
    let (connection, request) = ("tunnel".parse().unwrap(), pair.right.request());
    pair.right.command(Command::Down { connection, request }, pair.now);
    pair.run();
    let failure = pair.left.failures().pop().unwrap();
    assert_eq!((failure.reason, failure.peer_says), (FailureReason::ClosedByPeer, None));
}
