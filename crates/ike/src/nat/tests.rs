//! NAT detection between two ends.

use adit_crypto::SeededRng;

use super::*;

const SPI_I: IkeSpi = IkeSpi([1; 8]);
const SPI_R: IkeSpi = IkeSpi([2; 8]);

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

/// What `to` concludes when `from` sends and the datagram arrives with these addresses.
fn judged(from: Path, arrives: Path, force_udp: bool) -> Verdict {
    let (source, destination) = our_hashes(SPI_I, SPI_R, from, force_udp, &mut SeededRng::new(7));
    let notifies = [
        Notify::new(NotifyType::NAT_DETECTION_SOURCE_IP, &source),
        Notify::new(NotifyType::NAT_DETECTION_DESTINATION_IP, &destination),
    ];
    verdict(SPI_I, SPI_R, arrives, &notifies)
}

fn path(local: &str, remote: &str) -> Path {
    Path::udp(address(local), address(remote))
}

/// CHECKLIST N01: no NAT, NAT before the sender, NAT before the receiver, both.
#[test]
fn each_nat_is_seen_by_the_hash_it_spoils() {
    let left = "10.0.0.1:500";
    let right = "192.0.2.2:500";
    let sent = path(left, right);
    let none = judged(sent, path(right, left), false);
    assert!(none.supported && !none.needs_udp());

    let before_sender = judged(sent, path(right, "198.51.100.1:1024"), false);
    assert!(before_sender.peer_is_behind_nat && !before_sender.we_are_behind_nat);

    let before_receiver = judged(sent, path("10.9.9.9:500", left), false);
    assert!(before_receiver.we_are_behind_nat && !before_receiver.peer_is_behind_nat);

    let both = judged(sent, path("10.9.9.9:500", "198.51.100.1:1024"), false);
    assert!(both.we_are_behind_nat && both.peer_is_behind_nat && both.needs_udp());
}

/// CHECKLIST N02: encapsulation can be forced; the peer believes in a NAT before us.
#[test]
fn a_random_hash_forces_encapsulation() {
    let sent = path("192.0.2.1:500", "192.0.2.2:500");
    let verdict = judged(sent, path("192.0.2.2:500", "192.0.2.1:500"), true);
    assert!(verdict.peer_is_behind_nat && !verdict.we_are_behind_nat);
}

#[test]
fn ipv6_is_hashed_with_its_16_octets() {
    let sent = path("[2001:db8::1]:500", "[2001:db8::2]:500");
    assert!(!judged(sent, path("[2001:db8::2]:500", "[2001:db8::1]:500"), false).needs_udp());
    assert!(judged(sent, path("[2001:db8::2]:500", "[2001:db8::3]:500"), false).needs_udp());
}

//= https://www.rfc-editor.org/rfc/rfc7296#section-2.23
//= type=test
//# There MAY be multiple NAT_DETECTION_SOURCE_IP payloads in a message if the
//# sender does not know which of several network attachments will be used to
//# send the packet.
#[test]
fn one_matching_source_of_several_is_enough() {
    let right = detection_hash(SPI_I, SPI_R, address("192.0.2.1:500"));
    let other = detection_hash(SPI_I, SPI_R, address("192.0.2.9:500"));
    let to = detection_hash(SPI_I, SPI_R, address("192.0.2.2:500"));
    let notifies = [
        Notify::new(NotifyType::NAT_DETECTION_SOURCE_IP, &other),
        Notify::new(NotifyType::NAT_DETECTION_SOURCE_IP, &right),
        Notify::new(NotifyType::NAT_DETECTION_DESTINATION_IP, &to),
    ];
    let verdict = verdict(SPI_I, SPI_R, path("192.0.2.2:500", "192.0.2.1:500"), &notifies);
    assert!(verdict.supported && !verdict.needs_udp());
}

#[test]
fn without_both_notifies_there_is_no_verdict() {
    let only = [Notify::new(NotifyType::NAT_DETECTION_SOURCE_IP, &[0; 20])];
    let verdict = verdict(SPI_I, SPI_R, path("192.0.2.2:500", "192.0.2.1:500"), &only);
    assert_eq!(verdict, Verdict::default());
}
