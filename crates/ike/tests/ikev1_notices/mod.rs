//! What two Adits tell each other under a phase 1 beside what RFC 2407 has: notices about children, that
//! probes of the path are answered, and why something is refused.

use std::time::Duration;

use adit_db::{ChildSaId, GatewayNotice, ProposalSpec};
use adit_ike::{By, FailureReason, Input, PacketEvent, PeerSays, PeerSoftware};
use adit_wire::iana::doi::{Doi, ProtocolId};
use adit_wire::iana::isakmp::{ExchangeType, NotifyType, PayloadType};
use adit_wire::iana::{ExchangeType as AnyExchangeType, PayloadType as AnyPayloadType};
use adit_wire::isakmp::{ChainBuilder, Notify};
use adit_wire::notification_data::{ErrorText, NotificationData};
use adit_wire::{Reader, Writer};

use crate::common::{LEFT, Pair, RIGHT, path};
use crate::ikev1_attacks::{forger, given, up_with_keys};
use crate::{up, up_with, v1_connections, v1_pair, with_suites};

fn tell(pair: &mut Pair, child: ChildSaId, notice: GatewayNotice) {
    let now = pair.now;
    pair.left.give(Input::Packet(PacketEvent::Notice { child, notice }), now);
    pair.left.drain(now);
}

fn only_child(of: &std::collections::BTreeMap<ChildSaId, adit_db::ChildSa>) -> ChildSaId {
    assert_eq!(of.len(), 1);
    *of.keys().next().unwrap()
}

/// Begins with a first message that does not name our program; nobody authenticates that.
fn begin_as_a_stranger(pair: &mut Pair) {
    pair.left.initiate(pair.now);
    let (path, mut first) = pair.left.sent.pop_front().unwrap();
    let name = b"Adit IKEv1";
    let place = first.windows(name.len()).position(|octets| octets == name).unwrap();
    first[place] ^= 1;
    pair.left.sent.push_front((path, first));
    pair.run();
}

/// Both kinds arrive as they were given, about the right child, and the tunnel is as before.
#[test]
fn a_notice_reaches_the_child_at_the_other_end() {
    let mut pair = up();
    let left = only_child(&pair.left.children);
    let right = only_child(&pair.right.children);
    let notices = [
        GatewayNotice::IcmpError((0..=255).collect()),
        GatewayNotice::IcmpError(vec![0x60; GatewayNotice::ICMP_MAX]),
        GatewayNotice::LargestFragment(1_288),
    ];
    for notice in &notices {
        tell(&mut pair, left, notice.clone());
    }
    pair.run();
    assert_eq!(pair.right.notices, notices.map(|notice| (right, notice)));
    assert_eq!(pair.left.notices, []);
    pair.assert_one_tunnel();
    for child in pair.left.children.values().chain(pair.right.children.values()) {
        assert!(child.notices && child.path_probe, "the packet engine knows what the peer takes");
    }
}

/// Nobody else is told anything, or takes it.
#[test]
fn strangers_hear_no_notices() {
    let mut pair = v1_pair();
    begin_as_a_stranger(&mut pair);
    pair.assert_one_tunnel();
    assert_eq!(pair.left.established()[0].peer, PeerSoftware::Unknown);
    for child in pair.left.children.values().chain(pair.right.children.values()) {
        assert!(!child.notices && !child.path_probe);
    }
    let left = only_child(&pair.left.children);
    tell(&mut pair, left, GatewayNotice::LargestFragment(1_288));
    assert!(pair.left.sent.is_empty());
}

/// What hides its lengths, or is AH, is not probed; notices are told about it all the same.
#[test]
fn what_hides_lengths_is_not_probed() {
    let [mut hides, mut is_ah] = [v1_connections(), v1_connections()];
    hides[1].children[0].tfc.dummies = 1;
    for connection in &mut is_ah {
        connection.children[0].proposals = ProposalSpec::ah_list("sha256").unwrap();
    }
    for connections in [hides, is_ah] {
        let pair = up_with(connections);
        for child in pair.left.children.values().chain(pair.right.children.values()) {
            assert!(child.notices && !child.path_probe);
        }
    }
}

/// What is more than ten in a second is lost; so is what is about a child that is gone.
#[test]
fn few_notices_go_out() {
    let mut pair = up();
    let left = only_child(&pair.left.children);
    tell(&mut pair, ChildSaId(77), GatewayNotice::LargestFragment(576));
    for octets in 0..100 {
        tell(&mut pair, left, GatewayNotice::LargestFragment(octets));
    }
    assert_eq!(pair.left.sent.len(), 10);
    pair.run();
    pair.now += Duration::from_secs(1);
    tell(&mut pair, left, GatewayNotice::LargestFragment(1_400));
    pair.run();
    let heard: Vec<_> = pair.right.notices.iter().map(|(_, notice)| notice.clone()).collect();
    let expected: Vec<_> = (0..10).chain([1_400]).map(GatewayNotice::LargestFragment).collect();
    assert_eq!(heard, expected);
}

/// CHECKLIST V33: a notice that comes again is not taken again, however many others there were since; nor
/// is one that was overtaken.
#[test]
fn replays_of_notices_are_nothing() {
    let mut pair = up();
    let left = only_child(&pair.left.children);
    tell(&mut pair, left, GatewayNotice::LargestFragment(600));
    let (_, first) = pair.left.sent.pop_front().unwrap();
    for octets in 700..1_000 {
        pair.now += Duration::from_millis(200);
        tell(&mut pair, left, GatewayNotice::LargestFragment(octets));
        let (_, octets) = pair.left.sent.pop_front().unwrap();
        pair.right.datagram(path(RIGHT, LEFT), &octets, pair.now);
    }
    assert_eq!(pair.right.notices.len(), 300);
    pair.right.datagram(path(RIGHT, LEFT), &first, pair.now);
    assert_eq!(pair.right.notices.len(), 300, "it is too late");
    assert_eq!(pair.right.established().len(), 1);
}

fn notify(kind: NotifyType, protocol: ProtocolId, spi: &[u8], data: &[u8]) -> ChainBuilder {
    let notify = Notify { doi: Doi::IPSEC, protocol, spi, kind, data };
    ChainBuilder::new().payload(PayloadType::NOTIFICATION, |w| notify.write(w))
}

/// What is too long, too short, about a child of nobody or of another protocol changes nothing.
#[test]
fn what_is_no_notice_is_nothing() {
    let mut pair = up_with_keys();
    let spi = pair.left.children.values().next().unwrap().spi_in.to_octets();
    let long = vec![1; 4 + GatewayNotice::ICMP_MAX + 1];
    let (icmp, fragment) = (NotifyType::ADIT_ICMP_ERROR, NotifyType::ADIT_LARGEST_FRAGMENT);
    let esp = ProtocolId::ESP;
    let true_one: [u8; 6] = [0, 0, 0, 1, 5, 0];
    let strange: [(_, &[u8], _, &[u8]); 10] = [
        (esp, &spi, icmp, &long),
        (esp, &spi, icmp, &[]),
        (esp, &spi, icmp, &[0, 0, 0, 9]),
        (esp, &spi, fragment, &[5, 0]),
        (esp, &spi, fragment, &[0, 0, 0, 9, 5]),
        (esp, &spi, fragment, &[0, 0, 0, 0, 5, 0]),
        (esp, &[9, 9, 9, 9], fragment, &true_one),
        (esp, &[], fragment, &true_one),
        (ProtocolId::AH, &spi, fragment, &true_one),
        (ProtocolId::ISAKMP, &[], icmp, &true_one),
    ];
    for (id, (protocol, spi, kind, data)) in (100..).zip(strange) {
        let chain = notify(kind, protocol, spi, data);
        let octets = forger(&pair).first(ExchangeType::INFORMATIONAL, id, chain);
        assert_eq!(given(&mut pair, &octets), Vec::<Vec<u8>>::new());
    }
    assert_eq!(pair.right.notices, []);
    let chain = notify(fragment, esp, &spi, &true_one);
    let octets = forger(&pair).first(ExchangeType::INFORMATIONAL, 200, chain);
    given(&mut pair, &octets);
    assert_eq!(pair.right.notices.len(), 1, "and the true one is taken");
    assert_eq!(pair.right.established().len(), 1);
}

// ---- Why something is refused ----

/// draft-ietf-ipsec-notifymsg-04: a refused child comes with the other side's code, its line, the payload
/// that is refused and the exchange.
#[test]
fn a_refused_child_says_why() {
    let mut other_networks = v1_connections();
    other_networks[1].children[0].local_ts = vec!["10.9.0.0/24".parse().unwrap()];
    let other_suites = with_suites(["aes256-sha256-modp2048"; 2], ["aes256gcm16", "aes128-sha256"]);
    let networks = "E301 the two sides disagree about which networks to connect";
    let cases = [
        (other_networks, networks, AnyPayloadType::ID_I),
        (other_suites, "E102 no common ESP algorithms", AnyPayloadType::SA),
    ];
    for (connections, text, payload) in cases {
        let mut pair = Pair::new(Default::default(), connections);
        let request = pair.left.initiate(pair.now);
        pair.run_for(Duration::from_secs(5));
        let failure = pair.left.done[&request].clone().unwrap_err();
        let expected = PeerSays {
            text: Some(text.to_owned()),
            payload: Some(payload),
            exchange: Some(AnyExchangeType::QUICK_MODE),
        };
        assert_eq!(failure.peer_says.as_deref(), Some(&expected));
        assert_eq!(expected.to_string(), format!("{text} ({payload} payload of Quick Mode)"));
        assert_eq!(pair.right.failures()[0].peer_says, None, "nobody has said anything to it");
    }
}

/// Nobody else gets more than the notify.
#[test]
fn strangers_are_told_no_reasons() {
    let mut connections = v1_connections();
    connections[1].children[0].local_ts = vec!["10.9.0.0/24".parse().unwrap()];
    let mut pair = Pair::new(Default::default(), connections);
    begin_as_a_stranger(&mut pair);
    let failure = pair.left.failures().pop().unwrap();
    assert_eq!((failure.reason.code(), failure.peer_says), (Some(301), None));
}

/// The list names the message id of what is refused.
#[test]
fn a_refusal_names_the_exchange() {
    let mut pair = up_with_keys();
    let octets = forger(&pair).first(ExchangeType::QUICK_MODE, 0x0102_0304, strange_request());
    let answers = given(&mut pair, &octets);
    let notifies = forger(&pair).notifies(&answers[0]);
    assert_eq!(notifies[0].0, NotifyType::INVALID_ID_INFORMATION.0);
    let data = NotificationData::read(&mut Reader(&notifies[0].1)).unwrap();
    assert_eq!(data.message_id, Some(0x0102_0304));
    assert_eq!(data.exchange, Some(AnyExchangeType::QUICK_MODE));
    assert_eq!(data.payload_type.map(|kind| kind.0), Some(PayloadType::ID.0));
    assert_eq!(data.text.map(|text| text.language), Some(Some("en")));
}

/// A first message of a quick mode for networks that nobody has.
fn strange_request() -> ChainBuilder {
    use adit_wire::doi::Phase2Transform;
    use adit_wire::iana::doi::{AuthAlgorithm, EncapsulationMode};
    use adit_wire::isakmp::{Proposal, Sa};

    let transform = Phase2Transform {
        mode: Some(EncapsulationMode::TUNNEL),
        auth: Some(AuthAlgorithm::HMAC_SHA2_256),
        key_bits: Some(128),
        ..Phase2Transform::new(12)
    };
    let proposal = Proposal {
        number: 1,
        protocol: ProtocolId::ESP,
        spi: vec![1, 2, 3, 4].into(),
        transforms: vec![transform.to_transform(1)],
    };
    let mut chain = ChainBuilder::new();
    chain.push(PayloadType::SA, |w| Sa { proposals: vec![proposal] }.write(w));
    chain.push(PayloadType::NONCE, |w| w.bytes(&[8; 20]));
    for network in [[172, 16, 0, 0], [172, 17, 0, 0]] {
        chain.push(PayloadType::ID, |w| {
            w.bytes(&[4, 0, 0, 0]);
            w.bytes(&network);
            w.bytes(&[255, 255, 255, 0]);
        });
    }
    chain
}

/// What a peer says is about the message that says it, is cut, and harmless on a screen.
#[test]
fn a_hostile_text_is_made_harmless() {
    let mut pair = up_with_keys();
    // The right one asks, and hears the forger before the left one.
    let child = only_child(&pair.right.children);
    pair.right.command(adit_ike::Command::RekeyChild(child), pair.now);
    pair.right.sent.clear();
    let text = format!("\u{1b}[2J\r\nE000 all is well\u{202e}{}", "x".repeat(400));
    let list = NotificationData {
        text: Some(ErrorText { text: &text, language: Some("en\n") }),
        ..NotificationData::default()
    };
    let mut data = Vec::new();
    list.write(&mut Writer(&mut data)).unwrap();
    let chain = notify(NotifyType::NO_PROPOSAL_CHOSEN, ProtocolId::ESP, &[], &data);
    let octets = forger(&pair).first(ExchangeType::INFORMATIONAL, 300, chain);
    given(&mut pair, &octets);
    let failure = pair.right.failures().pop().unwrap();
    assert!(matches!(failure.reason, FailureReason::NoCommonEspSuite { by: By::Peer, .. }));
    let shown = failure.peer_says.unwrap().to_string();
    assert_eq!(shown.chars().count(), 160);
    assert!(!shown.chars().any(|c| c.is_control() || c == '\u{202e}'), "{shown}");
    // The same without words says nothing.
    pair.run_for(Duration::from_secs(40));
    let before = pair.right.failures().len();
    let child = *pair.right.children.keys().last().unwrap();
    pair.right.command(adit_ike::Command::RekeyChild(child), pair.now);
    pair.right.sent.clear();
    let chain = notify(NotifyType::NO_PROPOSAL_CHOSEN, ProtocolId::ESP, &[], b"some words");
    let octets = forger(&pair).first(ExchangeType::INFORMATIONAL, 301, chain);
    given(&mut pair, &octets);
    let failures = pair.right.failures();
    assert_eq!(failures.len(), before + 1);
    assert_eq!(failures.last().unwrap().peer_says, None);
}
