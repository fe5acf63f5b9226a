//! Messages of IKEv1 that nobody here made.
//!
//! `tests/vectors` holds captures under licences that allow it. Those under the GPL are read from
//! `../shared/vectors` beside the workspace, or where `ADIT_VECTORS` says, and skipped with a word
//! where that does not exist.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a failure in a helper of tests is a failed test"
)]

mod common;

use std::fs;

use adit_wire::{
    Reader, Writer,
    doi::{Identity, Lifetimes, Phase1Transform, Phase2Transform},
    encap::udp::{Encapsulated, classify},
    iana::{
        doi::{GroupId, Phase1Auth, Phase1Encryption, Phase1Hash, ProtocolId},
        isakmp::{NotifyType, PayloadType},
    },
    isakmp::{Header, IsakmpError, MessageBuilder, Payload, Payloads, RawPayload, Vendor},
};
use common::{cases, datagrams, from_hex, octets, pcaps_under, shared, shared_path};
use serde_json::Value;

/// CHECKLIST T01: messages 1 to 4 of a Main Mode are read as tcpdump reads them, and written again;
/// 5 and 6 and those of Quick Mode are encrypted.
#[test]
fn captured_messages_are_read_and_written() {
    let cases = cases("isakmp.json", "messages");
    assert_eq!(cases.len(), 9);
    for case in cases {
        let octets = octets(&case);
        let mut r = Reader(&octets);
        let header = Header::read(&mut r).unwrap();
        if header.flags.is_encrypted() {
            assert_eq!(r.len() % 16, 0, "{}", case["name"]);
            continue;
        }
        let mut builder = MessageBuilder::new(header);
        let mut names = Vec::new();
        for raw in Payloads::new(header.next_payload, r.rest()) {
            let payload = Payload::read(raw.unwrap()).unwrap();
            names.push(payload.kind().name().unwrap());
            builder.put(&payload);
        }
        assert_eq!(Value::from(names), case["payloads"], "{}", case["name"]);
        assert_eq!(builder.finish().unwrap(), octets, "{}", case["name"]);
        for cut in 0..octets.len() {
            assert!(Header::read(&mut Reader(&octets[..cut])).is_err());
        }
    }
}

/// CHECKLIST T02: what tcpdump prints of the first packet of ISAKMP_sa_setup.pcap.
#[test]
fn a_captured_proposal_says_what_tcpdump_says() {
    let octets = octets(&cases("isakmp.json", "messages")[0]);
    let payloads = payloads(&octets).unwrap();

    let Payload::Sa(sa) = &payloads[0] else { panic!("{:?}", payloads[0]) };
    let transform = Phase1Transform::read(&sa.proposals[0].transforms[0]).unwrap();

    let expected = Phase1Transform {
        encryption: Phase1Encryption::AES_CBC,
        key_bits: Some(128),
        hash: Phase1Hash::SHA,
        auth: Phase1Auth::PRE_SHARED_KEY,
        group: Some(GroupId::MODP_768),
        lifetimes: Lifetimes::of_seconds(86_400),
    };
    assert_eq!(transform, expected);
}

/// CHECKLIST D13, T11: what once crashed another reader is refused.
#[test]
fn malformed_captures_are_refused() {
    for case in cases("isakmp.json", "malformed") {
        let octets = octets(&case);
        let (Encapsulated::Ike(message) | Encapsulated::Esp(message)) = classify(&octets) else {
            continue;
        };
        // One is a name of 248 zeros: well formed, and no name.
        let read = payloads(message).and_then(|payloads| {
            payloads.iter().try_for_each(|payload| {
                let Payload::Id(id) = payload else { return Ok(()) };
                Identity::read(id).map(drop)
            })
        });
        assert!(read.is_err(), "{}", case["name"]);
        digest(message);
    }
}

/// Every prefix and every changed octet of a message gives values or errors.
#[test]
fn damaged_captures_are_values_or_errors() {
    for case in cases("isakmp.json", "messages") {
        let octets = octets(&case);
        for at in 0..octets.len() {
            digest(&octets[..at]);
            for change in [0x01, 0x80, 0xff] {
                let mut damaged = octets.clone();
                damaged[at] ^= change;
                digest(&damaged);
            }
        }
    }
}

/// What Scapy's own tests dissect.
#[test]
fn scapys_literals_say_what_scapy_says() {
    let Some(text) = shared("ike/scapy-literals/isakmp.uts.json") else { return };
    let cases: Vec<Value> = serde_json::from_str(&text).unwrap();
    let literal = |test: &str| {
        let case = cases.iter().find(|case| case["test"].as_str().unwrap().contains(test));
        from_hex(case.unwrap()["hex"].as_str().unwrap())
    };

    // Behind the ports of UDP, its length and checksum.
    let aggressive = literal("Aggressive Security Association");
    let payloads = payloads(&aggressive[8..]).unwrap();
    let Payload::Sa(sa) = &payloads[0] else { panic!("{:?}", payloads[0]) };
    let transform = Phase1Transform::read(&sa.proposals[0].transforms[0]).unwrap();
    assert_eq!(transform.group, Some(GroupId::MODP_4096));
    assert!(matches!(payloads[1], Payload::Ke(ke) if ke.0.len() == 512));
    assert_eq!((transform.key_bits, transform.hash), (Some(128), Phase1Hash::MD5));
    let Payload::Id(id) = &payloads[3] else { panic!("{:?}", payloads[3]) };
    assert_eq!(Identity::read(id), Ok(Identity::Address([2, 2, 2, 2].into())));
    let vendors = payloads.iter().filter_map(|payload| {
        let Payload::VendorId(id) = payload else { return None };
        Vendor::of(*id)
    });
    let known = [
        Vendor::Xauth,
        Vendor::DeadPeerDetection,
        Vendor::Fragmentation,
        Vendor::NatTraversal,
        Vendor::NatTraversalDraft02Newline,
    ];
    assert_eq!(vendors.collect::<Vec<_>>(), known);

    // A chain without header: HASH, SA and so on of Quick Mode.
    let quick = literal("Phase 2 - Security Association");
    let chain = Payloads::decrypted(PayloadType::HASH, &quick);
    let payloads: Vec<_> = chain.map(|raw| Payload::read(raw.unwrap()).unwrap()).collect();
    let Payload::Sa(sa) = &payloads[1] else { panic!("{:?}", payloads[1]) };
    let proposal = &sa.proposals[0];
    assert_eq!((proposal.protocol, proposal.spi.len()), (ProtocolId::ESP, 4));
    let transform = Phase2Transform::read(ProtocolId::ESP, &proposal.transforms[0]).unwrap();
    assert_eq!(transform.lifetimes, Lifetimes::of_seconds(33));
}

/// What ike-scan's own tests hold.
#[test]
fn ike_scans_packets_are_read() {
    let read = |name: &str| {
        let path = shared_path(&format!("ike/ike-scan/{name}"))?;
        Some(fs::read(path).unwrap())
    };
    let kinds = |octets: &[u8]| {
        let payloads = payloads(octets)?;
        Ok::<_, IsakmpError>(payloads.iter().map(Payload::kind).collect::<Vec<_>>())
    };
    let Some(offer) = read("pkt-default-proposal.dat") else { return };
    let payloads = payloads(&offer).unwrap();
    let Payload::Sa(sa) = &payloads[0] else { panic!("{:?}", payloads[0]) };
    let transforms = sa.proposals[0].transforms.iter();
    let auths = transforms.map(|one| Phase1Transform::read(one).unwrap().auth);
    assert!(auths.eq([Phase1Auth::PRE_SHARED_KEY; 8]));

    let single = read("pkt-single-trans.dat").unwrap();
    assert_eq!(kinds(&single), Ok(vec![PayloadType::SA]));
    let main = read("pkt-main-mode-response.dat").unwrap();
    assert_eq!(kinds(&main).unwrap()[0], PayloadType::SA);
    let aggressive = read("pkt-aggr-mode-response.dat").unwrap();
    let expected = [PayloadType::SA, PayloadType::KE, PayloadType::NONCE, PayloadType::ID];
    let aggressive = kinds(&aggressive).unwrap();
    assert!(expected.iter().all(|kind| aggressive.contains(kind)), "{aggressive:?}");
    for bad in ["pkt-malformed.dat", "pkt-v2-sainit-response.dat"] {
        let octets = read(bad).unwrap();
        let refused = kinds(&octets).map_err(|error| error.notify);
        assert_eq!(refused, Err(NotifyType::INVALID_MAJOR_VERSION), "{bad}");
        digest(&octets);
    }
}

/// The messages of openswan's and libreswan's unit tests.
#[test]
fn openswans_messages_are_read() {
    let Some(root) = shared_path("pcap/openswan-unit") else { return };
    let mut files = pcaps_under(&root);
    files.extend(pcaps_under(&shared_path("pcap/libreswan").unwrap()));
    let mut count = 0;
    for file in files {
        for datagram in datagrams(&fs::read(&file).unwrap()) {
            let (Encapsulated::Ike(message) | Encapsulated::Esp(message)) = classify(&datagram)
            else {
                panic!("{} holds no message", file.display());
            };
            digest(message);
            let Ok(header) = Header::read(&mut Reader(message)) else { continue };
            if !header.flags.is_encrypted() {
                let read = payloads(message);
                assert!(read.is_ok(), "{}: {read:?}", file.display());
            }
            count += 1;
        }
    }
    assert!(count > 5, "only {count} messages");
}

/// Reads everything there is in a message; what is read must be written and read again alike.
fn digest(message: &[u8]) {
    let mut r = Reader(message);
    let Ok(header) = Header::read(&mut r) else { return };
    for raw in Payloads::new(header.next_payload, r.rest()) {
        let Ok(raw) = raw else { return };
        let Ok(payload) = Payload::read(raw) else { continue };
        mean(&payload);
        // These say only where they stood.
        if matches!(payload, Payload::Private(_)) {
            continue;
        }
        let mut body = Vec::new();
        payload.write(&mut Writer(&mut body));
        assert_eq!(Payload::read(RawPayload { body: &body, ..raw }), Ok(payload));
    }
}

/// Asks a payload what it means.
fn mean(payload: &Payload<'_>) {
    if let Payload::Sa(sa) = payload {
        for proposal in &sa.proposals {
            for transform in &proposal.transforms {
                let _ = Phase1Transform::read(transform);
                let _ = Phase2Transform::read(proposal.protocol, transform);
            }
        }
    }
    if let Payload::Id(id) = payload {
        let _ = Identity::read(id);
    }
    if let Payload::Notify(notify) = payload {
        let _ = Lifetimes::read_responder_lifetime(notify.data);
    }
}

fn payloads(message: &[u8]) -> Result<Vec<Payload<'_>>, IsakmpError> {
    let mut r = Reader(message);
    let header = Header::read(&mut r)?;
    Payloads::new(header.next_payload, r.rest()).map(|raw| raw.and_then(Payload::read)).collect()
}
