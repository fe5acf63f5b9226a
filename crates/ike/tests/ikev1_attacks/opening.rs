//! Before anybody has authenticated.

use adit_wire::Reader;
use adit_wire::iana::isakmp::{NotifyType, PayloadType};
use adit_wire::isakmp::{ChainBuilder, Header, MessageBuilder, Payloads};

use std::time::Duration;

use super::super::common::Pair;
use super::super::{MAIN_MODE, exchange, reversed, v1_pair};

/// Where the right one gets the message of that number, from 0, another octet string of it arrives before
/// the true one. The tunnel comes up all the same; what the other octets were answered with.
fn before_the_true_one(number: usize, forge: impl Fn(&[u8]) -> Vec<u8>) -> (Pair, usize) {
    let mut pair = v1_pair();
    let request = pair.left.initiate(pair.now);
    let mut answers = 0;
    for message in 0.. {
        let Some((path, octets)) = pair.left.sent.pop_front() else { break };
        if message == number {
            pair.right.datagram(reversed(path), &forge(&octets), pair.now);
            let now = pair.now;
            for (path, octets) in pair.right.sent.drain(..).collect::<Vec<_>>() {
                answers += 1;
                pair.left.datagram(reversed(path), &octets, now);
            }
        }
        pair.right.datagram(reversed(path), &octets, pair.now);
        for (path, octets) in pair.right.sent.drain(..).collect::<Vec<_>>() {
            pair.left.datagram(reversed(path), &octets, pair.now);
        }
    }
    pair.run_for(Duration::from_secs(60));
    assert_eq!(pair.left.done.get(&request), Some(&Ok(())), "{:?}", pair.left.failures());
    pair.assert_one_tunnel();
    (pair, answers)
}

/// The same message with another payload of this type; an empty chain leaves it out.
fn with_payload(octets: &[u8], kind: PayloadType, body: Option<&[u8]>) -> Vec<u8> {
    let header = Header::read(&mut Reader(octets)).unwrap();
    let mut chain = ChainBuilder::new();
    for raw in Payloads::new(header.next_payload, &octets[Header::LEN..]).map(Result::unwrap) {
        match (raw.kind == kind, body) {
            (false, _) => chain.put_raw(&raw),
            (true, Some(body)) => chain.push(kind, |w| w.bytes(body)),
            (true, None) => {}
        }
    }
    MessageBuilder::with_chain(header, chain).finish().unwrap()
}

/// CHECKLIST T10: a KE payload that is missing, empty, zero or of another length leads nowhere, and nor
/// does a nonce of a wrong length; the true message does.
#[test]
fn a_key_exchange_that_is_none_changes_nothing() {
    let wrong: [(PayloadType, Option<Vec<u8>>); 7] = [
        (PayloadType::KE, None),
        (PayloadType::KE, Some(Vec::new())),
        (PayloadType::KE, Some(vec![0; 256])),
        (PayloadType::KE, Some(vec![0xff; 256])),
        (PayloadType::KE, Some(vec![2; 255])),
        (PayloadType::NONCE, None),
        (PayloadType::NONCE, Some(vec![1; 7])),
    ];
    for (kind, body) in wrong {
        let (_, answers) =
            before_the_true_one(1, |octets| with_payload(octets, kind, body.as_deref()));
        assert_eq!(answers, 0, "{kind:?} {body:?}");
    }
}

/// CHECKLIST T11: reserved flags, a zero cookie, another's cookie, a wrong type of the first payload or of
/// one behind it, a version: dropped, and the true message is answered.
#[test]
fn a_header_that_is_wrong_changes_nothing() {
    let changes: [fn(&mut Vec<u8>); 8] = [
        |octets| octets[19] |= 0x80,
        |octets| octets[19] |= 0x08,
        |octets| octets[..8].fill(0),
        |octets| octets[8] ^= 1,
        |octets| octets[16] = PayloadType::HASH.0,
        |octets| octets[16] = 99,
        |octets| octets[17] = 0x11,
        |octets| octets[28] = 99,
    ];
    for (number, change) in changes.into_iter().enumerate() {
        let (pair, answers) = before_the_true_one(1, |octets| {
            let mut octets = octets.to_vec();
            change(&mut octets);
            octets
        });
        assert_eq!(answers, 0, "change {number}");
        assert_eq!(pair.right.endpoint.ike_sas().count(), 1, "change {number}");
    }
}

/// CHECKLIST T11: a first message with a payload that nobody knows is none; one with a private payload is.
#[test]
fn unknown_payloads_are_refused_and_private_ones_skipped() {
    for (kind, is_taken) in [(99, false), (200, true)] {
        let mut pair = v1_pair();
        pair.left.initiate(pair.now);
        let (path, octets) = pair.left.sent.pop_front().unwrap();
        let header = Header::read(&mut Reader(&octets)).unwrap();
        let mut chain = ChainBuilder::new();
        for raw in Payloads::new(header.next_payload, &octets[Header::LEN..]) {
            chain.put_raw(&raw.unwrap());
        }
        chain.push(PayloadType(kind), |w| w.bytes(b"whatever"));
        let more = MessageBuilder::with_chain(header, chain).finish().unwrap();
        pair.right.datagram(reversed(path), &more, pair.now);
        assert_eq!(pair.right.sent.len(), usize::from(is_taken), "type {kind}");
    }
}

/// CHECKLIST T12: the commit bit and the authentication-only bit of a peer that sets them change nothing, but
/// that CONNECTED is waited for a moment.
#[test]
fn flags_that_nobody_needs_are_passed_over() {
    for flag in [0x02, 0x04] {
        let mut pair = v1_pair();
        let request = pair.left.initiate(pair.now);
        for _ in 0..20 {
            let now = pair.now;
            for (path, mut octets) in pair.left.sent.drain(..).collect::<Vec<_>>() {
                octets[19] |= flag;
                pair.right.datagram(reversed(path), &octets, now);
            }
            for (path, mut octets) in pair.right.sent.drain(..).collect::<Vec<_>>() {
                octets[19] |= flag;
                pair.left.datagram(reversed(path), &octets, now);
            }
        }
        assert_eq!(pair.left.done.get(&request), Some(&Ok(())), "flag {flag}");
        pair.run_for(Duration::from_secs(3));
        pair.assert_one_tunnel();
    }
}

/// CHECKLIST T08, U14: notifies in clear for nobody, for an attempt and for its opposite: what is half-open
/// stays, nothing is answered, and the attempt comes to its end.
#[test]
fn notifies_in_clear_end_nothing_at_once() {
    for kind in [
        NotifyType::INVALID_COOKIE,
        NotifyType::NO_PROPOSAL_CHOSEN,
        NotifyType::AUTHENTICATION_FAILED,
        NotifyType::CONNECTED,
        NotifyType::INITIAL_CONTACT,
        NotifyType(40_000),
        NotifyType(65_535),
    ] {
        let mut pair = v1_pair();
        let request = pair.left.initiate(pair.now);
        for _ in 0..6 {
            let (from_left, from_right) = (pair.left.sent.pop_front(), pair.right.sent.pop_front());
            if let Some((path, octets)) = from_left {
                pair.right.datagram(reversed(path), &notified(&octets, kind), pair.now);
                assert!(pair.right.sent.is_empty(), "{kind:?} is answered");
                pair.right.datagram(reversed(path), &octets, pair.now);
            }
            if let Some((path, octets)) = from_right {
                pair.left.datagram(reversed(path), &notified(&octets, kind), pair.now);
                assert!(pair.left.sent.is_empty(), "{kind:?} is answered");
                pair.left.datagram(reversed(path), &octets, pair.now);
            }
        }
        pair.run_for(Duration::from_secs(30));
        assert_eq!(pair.left.done.get(&request), Some(&Ok(())), "{kind:?}");
        pair.assert_one_tunnel();
    }
}

/// An Informational exchange in clear about the phase 1 that a message belongs to.
fn notified(octets: &[u8], kind: NotifyType) -> Vec<u8> {
    assert!(exchange(octets) == MAIN_MODE || octets[19] & 1 != 0);
    let cookies = octets[..16].to_vec();
    let body = [&[0, 0, 0, 1, 1, 16][..], &kind.0.to_be_bytes(), &cookies].concat();
    let length = u16::try_from(4 + body.len()).unwrap().to_be_bytes();
    let header = [&cookies[..], &[PayloadType::NOTIFICATION.0, 0x10, 5, 0, 1, 2, 3, 4]].concat();
    let all = u32::try_from(32 + body.len()).unwrap().to_be_bytes();
    [&header[..], &all, &[0, 0], &length, &body].concat()
}
