use adit_crypto::Secret;
use serde_json::Value;

use super::*;
use crate::esp::HEADROOM_MAX;

/// One packet, as it was before AH and as others made it.
struct Case {
    name: String,
    key: AuthenticationKey,
    /// High half of the sequence number.
    high: u64,
    esn: bool,
    is_tunnel: bool,
    inner: Vec<u8>,
    /// From the outer IP header on.
    packet: Vec<u8>,
}

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> =
        text.chars().map(|digit| digit.to_digit(16).unwrap().try_into().unwrap()).collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

fn cases(file: &str) -> Vec<Case> {
    let all: Vec<Value> = serde_json::from_str(file).unwrap();
    let case = |case: &Value| {
        let text = |name: &str| case[name].as_str().unwrap();
        let word = text("auth");
        let algorithm = Authentication::ALL.into_iter().find(|one| one.to_string() == word);
        let key = Secret::new(hex(text("key")));
        Case {
            name: format!("{word} {} {} {}", case["esn"], text("mode"), text("headers")),
            key: AuthenticationKey::new(algorithm.unwrap(), &key).unwrap(),
            high: case["high"].as_u64().unwrap(),
            esn: case["esn"].as_bool().unwrap(),
            is_tunnel: text("mode") == "tunnel",
            inner: hex(text("inner")),
            packet: hex(text("packet")),
        }
    };
    all.iter().map(case).collect()
}

fn known_packets() -> Vec<Case> {
    let scapy = cases(include_str!("../../tests/vectors/scapy-ah-packets.json"));
    assert_eq!(scapy.len(), 260);
    for algorithm in Authentication::ALL {
        assert!(scapy.iter().any(|case| case.key.algorithm() == algorithm), "{algorithm}");
    }
    let linux = cases(include_str!("../../tests/vectors/linux-ah-packets.json"));
    assert_eq!(linux.len(), 37);
    scapy.into_iter().chain(linux).collect()
}

fn buffer(octets: &[u8]) -> PacketBuf {
    let mut packet = PacketBuf::with_capacity(HEADROOM_MAX, octets.len());
    assert!(packet.fill(octets));
    packet
}

impl Case {
    fn label(&self, header: AhHeader) -> Label {
        let sequence = self.high << 32 | u64::from(header.sequence);
        Label { spi: header.spi, sequence, esn: self.esn }
    }
}

/// CHECKLIST S01, S07, S08: packets of others pass, and what comes out is what went in.
#[test]
fn known_packets_are_opened() {
    for case in known_packets() {
        let mut packet = buffer(&case.packet);
        let place = find(&mut packet).unwrap();
        let next_at = place.verify(&packet, &case.key, case.label(place.header));
        let next_at = next_at.unwrap_or_else(|reason| panic!("{}: {reason}", case.name));
        if case.is_tunnel {
            assert!(packet.pull_front(place.front_len + place.header.total_len()));
        } else {
            close_gap(&mut packet, place, next_at).unwrap();
        }
        assert_eq!(packet.data(), case.inner, "{}", case.name);
    }
}

/// CHECKLIST S01: our octets are those of others. The outer header of a tunnel is theirs, for its
/// identification and lifetime are the sender's to choose. So is padding (RFC 4302 §3.3.3.2.1): that
/// of Linux with ESN is something left over, and such packets are left out.
#[test]
fn known_packets_are_sealed_octet_for_octet() {
    let mut sealed = 0;
    for case in known_packets() {
        let mut theirs = buffer(&case.packet);
        let place = find(&mut theirs).unwrap();
        let padding_at = place.front_len + AhHeader::LEN + case.key.algorithm().tag_len();
        let payload_at = place.front_len + place.header.total_len();
        if case.packet[padding_at..payload_at].iter().any(|octet| *octet != 0) {
            continue;
        }
        sealed += 1;
        let label = case.label(place.header);
        let ipv6 = case.packet[0] >> 4 == 6;
        let field_len = AhHeader::icv_field_len(case.key.algorithm().tag_len(), ipv6);
        let plan = Plan {
            front_len: place.front_len,
            ah_len: AhHeader::LEN + field_len,
            next: place.header.next,
        };
        let mut packet = buffer(&case.inner);
        if case.is_tunnel {
            let front = packet.push_front(plan.front_len + plan.ah_len).unwrap();
            front[..plan.front_len].copy_from_slice(&case.packet[..plan.front_len]);
        } else {
            // Destination options without a route may stand on either side of AH (RFC 4302 §3.1.1);
            // theirs stand in front.
            let next_at = place.verify(&theirs, &case.key, label).unwrap();
            let front = FrontHeaders { len: plan.front_len, next_at, next: plan.next };
            open_gap(&mut packet, &plan, &front, label.sequence).unwrap();
        }
        sign(&mut packet, &case.key, label, &plan).unwrap();
        assert_eq!(packet.data(), case.packet, "{}", case.name);
    }
    assert!(sealed >= 290, "{sealed}");
}

/// Another key, another number, another high half: no packet passes.
#[test]
fn a_known_packet_passes_under_its_own_sa_alone() {
    for case in known_packets() {
        let mut packet = buffer(&case.packet);
        let place = find(&mut packet).unwrap();
        let label = case.label(place.header);
        let other_half = Label { sequence: label.sequence ^ (1 << 40), ..label };
        let opened = place.verify(&packet, &case.key, other_half);
        assert_eq!(opened.is_ok(), !case.esn, "{}", case.name);
        let other = Label { esn: !case.esn, ..label };
        assert_eq!(place.verify(&packet, &case.key, other), Err(DropReason::BadIcv));
        let key = Secret::new(vec![1; case.key.algorithm().key_len()]);
        let key = AuthenticationKey::new(case.key.algorithm(), &key).unwrap();
        assert_eq!(place.verify(&packet, &key, label), Err(DropReason::BadIcv));
    }
}

#[test]
fn identifications_are_never_zero() {
    for sequence in [0, 1, 65_534, 65_535, 65_536, u64::MAX] {
        assert_ne!(identification(sequence), 0);
    }
    assert_ne!(identification(65_534), identification(65_535));
}

#[test]
fn the_longest_front_fits() {
    for algorithm in Authentication::ALL {
        let field_len = AhHeader::icv_field_len(algorithm.tag_len(), true);
        assert!(Ipv6Header::LEN + AhHeader::LEN + field_len <= FRONT_MAX);
    }
}
