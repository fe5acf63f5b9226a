//! Messages and packets that nobody here made.
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
    Reader, WireError, Writer,
    encap::udp::{Encapsulated, classify},
    esp::{EspHeader, Spi},
    iana::{EncryptionId, IpProtocol, KeyExchangeId, NotifyType, TransformType},
    ikev2::{Header, MessageBuilder, Payload, Payloads, RawPayload},
    ip::IpPacket,
};
use common::{cases, datagrams, from_hex, octets, pcaps_under, shared, shared_path};

#[test]
fn captured_messages_are_read_and_written() {
    for case in cases("ikev2.json", "messages") {
        let expected: Vec<&str> = case["payloads"]
            .as_array()
            .unwrap()
            .iter()
            .map(|name| name.as_str().unwrap())
            .collect();
        let octets = octets(&case);

        let mut r = Reader(&octets);
        let header = Header::read(&mut r).unwrap();
        let mut builder = MessageBuilder::new(header);
        let mut names = Vec::new();
        let mut is_protected = false;
        for raw in Payloads::new(header.next_payload, r.rest()) {
            let payload = Payload::read(raw.unwrap()).unwrap();
            names.push(payload.kind().name().unwrap());
            is_protected |= matches!(payload, Payload::Sk(_));
            builder.put(&payload);
        }

        assert_eq!(names, expected, "{}", case["name"]);
        if !is_protected {
            assert_eq!(builder.finish().unwrap(), octets, "{}", case["name"]);
        }
        for cut in 0..octets.len() {
            assert!(Header::read(&mut Reader(&octets[..cut])).is_err());
        }
    }
}

/// What tcpdump prints of the first packet of ikev2four.pcap.
#[test]
fn a_captured_proposal_says_what_tcpdump_says() {
    let case = &cases("ikev2.json", "messages")[0];
    let message = octets(case);
    let payloads = payloads(&message).unwrap();

    let Payload::Sa(sa) = &payloads[0] else { panic!("{:?}", payloads[0]) };
    let [proposal] = sa.proposals.as_slice() else { panic!("{sa:?}") };
    assert_eq!((proposal.number, proposal.transforms.len()), (1, 12));
    let bits: Vec<_> = proposal
        .transforms_of(TransformType::ENCR)
        .map(|transform| (EncryptionId(transform.id), transform.key_bits))
        .collect();
    assert_eq!(
        bits,
        [
            (EncryptionId::AES_CBC, Some(128)),
            (EncryptionId::AES_CBC, Some(256)),
            (EncryptionId::AES_CBC, Some(192)),
            (EncryptionId::TRIPLE_DES, None),
        ]
    );
    let Payload::Ke(ke) = &payloads[1] else { panic!("{:?}", payloads[1]) };
    assert_eq!((ke.method, ke.data.len()), (KeyExchangeId::MODP_1024, 128));
    let Payload::Notify(notify) = &payloads[3] else { panic!("{:?}", payloads[3]) };
    assert_eq!((notify.kind, notify.data.len()), (NotifyType::NAT_DETECTION_SOURCE_IP, 20));
}

/// CHECKLIST A13, D13: zero SPIs, lengths that lie, loops.
#[test]
fn malformed_captures_are_refused() {
    for case in cases("malformed.json", "messages") {
        let octets = octets(&case);
        assert!(Header::read(&mut Reader(&octets)).is_err(), "{}", case["name"]);
    }
}

#[test]
fn captured_packets_show_their_protocol() {
    let cases = cases("ip.json", "packets");
    for case in &cases {
        let octets = octets(case);
        let packet = IpPacket::read(&octets).unwrap();
        assert!(packet.has_good_checksum(), "{}", case["name"]);
        assert!(packet.total_len() <= octets.len(), "{}", case["name"]);
        match packet.protocol() {
            IpProtocol::ICMP | IpProtocol::ICMPV6 => {
                assert!(!packet.flow_key().opaque);
                let is_error = packet.icmp().unwrap().is_error(packet.protocol());
                let is_redirect = case["name"] == "icmp6-redirect.pcap";
                assert_eq!(is_error, !is_redirect, "{}", case["name"]);
            }
            IpProtocol::ESP => {
                assert!(packet.flow_key().opaque);
                let esp = EspHeader::read(&mut Reader(packet.payload())).unwrap();
                assert_eq!(esp, EspHeader { spi: Spi(0x1234_5678), sequence: 1 });
            }
            other => panic!("{}: {other}", case["name"]),
        }
    }
    assert_eq!(cases.len(), 8);
}

/// The packets inside ICMP errors are cut short, and then refused.
#[test]
fn a_packet_inside_an_icmp_error_is_whole_or_refused() {
    for case in cases("ip.json", "packets") {
        let octets = octets(&case);
        let packet = IpPacket::read(&octets).unwrap();
        if packet.icmp().is_some_and(|icmp| icmp.is_error(packet.protocol())) {
            let inner = IpPacket::read(packet.payload().get(8..).unwrap());
            let is_cut_short = ["icmp6-destunreach-ip6ext-trunc.pcap", "icmp-destunreach-udp.pcap"]
                .contains(&case["name"].as_str().unwrap());
            assert_eq!(inner.is_err(), is_cut_short, "{}: {inner:?}", case["name"]);
        }
    }
}

/// CHECKLIST D13: what a fuzzer sent to libreswan gives values or errors, never a panic.
#[test]
fn libreswans_bad_packets_are_values_or_errors() {
    let Some(text) = shared("ike/malformed/libreswan-ikev2-bad-packets-even.json") else {
        return;
    };
    let cases: Vec<String> = serde_json::from_str(&text).unwrap();
    assert!(!cases.is_empty());
    for case in cases {
        digest(&from_hex(&case));
    }
}

/// The messages of openswan's unit tests are sound but for those that say otherwise.
#[test]
fn openswans_messages_are_read() {
    let Some(root) = shared_path("pcap/openswan-unit") else {
        return;
    };
    let mut count = 0;
    for file in pcaps_under(&root) {
        for datagram in datagrams(&fs::read(&file).unwrap()) {
            let (Encapsulated::Ike(message) | Encapsulated::Esp(message)) = classify(&datagram)
            else {
                panic!("{} holds no message", file.display());
            };
            digest(message);
            let mut r = Reader(message);
            let header = Header::read(&mut r).unwrap();
            if header.version.major() == 2 {
                let read = payloads(message);
                let is_bad = file.to_string_lossy().contains("syntax");
                assert!(is_bad || read.is_ok(), "{}: {read:?}", file.display());
                count += 1;
            }
        }
    }
    assert!(count > 10, "only {count} messages");
}

/// Every prefix and every changed octet of a message gives values or errors.
#[test]
fn damaged_captures_are_values_or_errors() {
    for case in cases("ikev2.json", "messages") {
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

/// Reads everything there is in a message; what is read must be written and read again alike.
fn digest(message: &[u8]) {
    let mut r = Reader(message);
    let Ok(header) = Header::read(&mut r) else {
        return;
    };
    for raw in Payloads::new(header.next_payload, r.rest()) {
        let Ok(raw) = raw else { return };
        let Ok(payload) = Payload::read(raw) else {
            continue;
        };
        // These leave out on writing what nobody can use.
        if matches!(payload, Payload::Sa(_) | Payload::TsI(_) | Payload::TsR(_)) {
            continue;
        }
        let mut body = Vec::new();
        payload.write(&mut Writer(&mut body));
        assert_eq!(Payload::read(RawPayload { body: &body, ..raw }), Ok(payload));
    }
}

fn payloads(message: &[u8]) -> Result<Vec<Payload<'_>>, WireError> {
    let mut r = Reader(message);
    let header = Header::read(&mut r)?;
    Payloads::new(header.next_payload, r.rest()).map(|raw| raw.and_then(Payload::read)).collect()
}
