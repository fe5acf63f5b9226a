//! Who sends which vendor id (RFC 2408 §3.16): gateways and clients that are met in the field.
//!
//! Nobody registers them. The octets are those that `epan/dissectors/packet-isakmp.c` of Wireshark,
//! `ike-vendor-ids` of ike-scan, `programs/pluto/vendorid.c` of Libreswan, `isakmp_vendor.c` of strongSwan and
//! `vendor.c` of isakmpd agree on, or that one of them has; of hashes the text stands beside. What several send
//! stands nowhere here: NAT traversal, DPD, XAUTH, fragmentation, Cisco's Unity, and `da8e9378` of SafeNet, which
//! SonicWall's client, WatchGuard's and others have, too. MikroTik, vpnc and Android have none of their own.

use crate::event::PeerSoftware;

/// What stands behind a beginning.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Tail {
    /// The id is this and no more.
    Nothing,
    /// So many octets: a hash in other letters.
    Octets(usize),
    /// A version, or what its vendor likes.
    Anything,
}

use Tail::{Anything, Nothing, Octets};

impl Tail {
    fn is(self, octets: usize) -> bool {
        match self {
            Nothing => octets == 0,
            Octets(exactly) => octets == exactly,
            Anything => true,
        }
    }
}

/// Who the peer is by all its ids. Of one id the longest beginning counts; of several who stands first in the
/// table, for clients that claim to be like another one stand before it.
pub(super) fn software(vendor_ids: &[&[u8]]) -> PeerSoftware {
    let known = vendor_ids.iter().filter_map(|id| place(id));
    let first = known.min().and_then(|place| NAMES.get(place));
    first.map_or(PeerSoftware::Unknown, |(_, _, software)| *software)
}

/// Where in the table an id stands.
fn place(id: &[u8]) -> Option<usize> {
    let is_one = |beginning: &str, tail: Tail| {
        let rest = id.len().checked_sub(beginning.len() / 2);
        rest.is_some_and(|octets| tail.is(octets)) && begins(id, beginning)
    };
    let those = NAMES.iter().enumerate().filter(|(_, (text, tail, _))| is_one(text, *tail));
    those.max_by_key(|(_, (beginning, ..))| beginning.len()).map(|(place, _)| place)
}

/// Whether octets begin with these, in hexadecimal digits.
fn begins(id: &[u8], beginning: &str) -> bool {
    beginning.as_bytes().chunks(2).zip(id).all(|(two, octet)| two == digits(*octet))
}

fn digits(octet: u8) -> [u8; 2] {
    [octet >> 4, octet & 15].map(|four| if four < 10 { b'0' + four } else { b'a' - 10 + four })
}

/// Beginnings in hexadecimal digits.
const NAMES: &[(&str, Tail, PeerSoftware)] = &[
    // "Adit IKEv1"
    ("4164697420494b457631", Nothing, PeerSoftware::Adit),
    // MD5 of "strongSwan"
    ("882fe56d6fd20dbc2251613b2ebe5beb", Nothing, PeerSoftware::StrongSwan),
    // Shrew Soft's client also sends ids of gateways whose attributes it knows, as NCP's does.
    ("f14b94b7bff1fef02773b8c49feded26", Nothing, PeerSoftware::ShrewSoft),
    ("101fb0b35c5a4f4c08b919f1cb9777b0", Nothing, PeerSoftware::Ncp),
    // "OE-Libreswan", its version behind; up to 3.5 "OEN" and a hash
    ("4f452d4c696272657377616e", Anything, PeerSoftware::Libreswan),
    ("4f454e", Octets(9), PeerSoftware::Libreswan),
    // FreeS/WAN 2.00 to 2.06: "OE", and ten octets of an MD5 as letters
    ("4f45486b7d44784d42676b5d", Nothing, PeerSoftware::FreeSwan),
    ("4f457c4f547e6e615b426e56", Nothing, PeerSoftware::FreeSwan),
    ("4f456c6b44696d7f6b4c4e60", Nothing, PeerSoftware::FreeSwan),
    ("4f45566671474962734e6264", Nothing, PeerSoftware::FreeSwan),
    ("4f45704f736579505c6e5f6d", Nothing, PeerSoftware::FreeSwan),
    ("4f457271785f4c7e496f4d54", Nothing, PeerSoftware::FreeSwan),
    ("4f457e4c466e5d427c5c6b52", Nothing, PeerSoftware::FreeSwan),
    // Openswan went on with that: "OE", or "OSW"
    ("4f45", Octets(10), PeerSoftware::Openswan),
    ("4f5357", Octets(9), PeerSoftware::Openswan),
    // MD5 of "MS NT5 ISAKMPOAKLEY", its version behind
    ("1e2b516905991c7d7c96fcbfb587e461", Anything, PeerSoftware::Windows),
    // MD5 of "OpenBSD-4.0" and of "OpenBSD-6.3"
    ("6c0dcd481deae8ae0b0a68384b3072f9", Nothing, PeerSoftware::Isakmpd),
    ("9826c552791aa1800ca6ff33aaf1e83b", Nothing, PeerSoftware::Isakmpd),
    // MD5 of "KAME/racoon" and of "IPSec-Tools"; "Mac OSX 10.x"
    ("7003cbc1097dbe9c2600ba6983bc8b35", Nothing, PeerSoftware::Racoon),
    ("20a3622c1cea7ce37bee3ca484425276", Nothing, PeerSoftware::Racoon),
    ("4d6163204f53582031302e78", Nothing, PeerSoftware::Racoon),
    // FortiGate, release and build behind; MD5 of "forticlient connect license" and of "Fortinet Endpoint Control"
    ("8299031757a36082c6a621de", Anything, PeerSoftware::Fortinet),
    ("4c53427b6d465d1b337bb755a37a7fef", Nothing, PeerSoftware::Fortinet),
    ("b4f01ca951e9da8d0bafbbd34ad3044e", Nothing, PeerSoftware::Fortinet),
    // Product, version, time and features behind
    ("f4ed19e0c114eb516faaac0ee37daf2807b4381f", Anything, PeerSoftware::CheckPoint),
    // "BNES", a version of four octets behind; some of them send the second of ZyWALL, too
    ("424e4553", Octets(4), PeerSoftware::Nortel),
    ("b858d1addd08c1e8adafea150608aa4497aa6cc8", Nothing, PeerSoftware::ZyWall),
    ("625027749d5ab97f5616c1602765cf480a3b7d0b", Nothing, PeerSoftware::ZyWall),
    ("f758f22668750f03b08df6ebe1d0", Nothing, PeerSoftware::ZyWall),
    ("404bf439522ca3f6", Nothing, PeerSoftware::SonicWall),
    // Remote access point, controller, client
    ("ca3e2b854ba8030017dc1023a4fde2041f9f7463", Nothing, PeerSoftware::Aruba),
    ("3c8e70bdf9c7d74add53e4100915dc2e4bb51274", Nothing, PeerSoftware::Aruba),
    ("88f0e3149b3fa48b05aa7f685f0b766be186ccb8", Nothing, PeerSoftware::Aruba),
    // One for each kind of box, eight octets of versions behind
    ("299ee8289f40a8973bc78687e2e7226b532c3b76", Anything, PeerSoftware::NetScreen),
    ("3a15e1f3cf2a63582e3ac82d1c64cbe3b6d779e7", Anything, PeerSoftware::NetScreen),
    ("47d2b126bfcd83489760e2cf8c5d4d5a03497c15", Anything, PeerSoftware::NetScreen),
    ("4a4340b543e02b84c88a8b96a8af9ebe77d9accc", Anything, PeerSoftware::NetScreen),
    ("64405f46f03b7660a23be116a1975058e69e8387", Anything, PeerSoftware::NetScreen),
    ("699369228741c6d4ca094c93e242c9de19e7b7c6", Anything, PeerSoftware::NetScreen),
    ("8c0dc6cf62a0ef1b5c6eabd1b67ba69866adf16a", Anything, PeerSoftware::NetScreen),
    ("92d27a9ecb31d99246986d3453d0c3d57a222a61", Anything, PeerSoftware::NetScreen),
    ("9b096d9ac3275a7d6fe8b91c583111b09efed1a0", Anything, PeerSoftware::NetScreen),
    ("bf03746108d746c904f1f3547de24f78479fed12", Anything, PeerSoftware::NetScreen),
    ("c2e80500f4cc5fbf5daaeed3bb59abaeee56c652", Anything, PeerSoftware::NetScreen),
    ("c8660a62b03b1b6130bf781608d32a6a8d0fb89f", Anything, PeerSoftware::NetScreen),
    ("f885da40b1e7a9abd17655ec5bbec0f21f0ed52e", Anything, PeerSoftware::NetScreen),
    ("2a2bcac19b8e91b426107807e02e7249569d6fd3", Anything, PeerSoftware::NetScreen),
    ("166f932d55eb64d8e4df4fd37e2313f0d0fd8451", Anything, PeerSoftware::NetScreen),
    ("a35bfd05ca1ac0b3d2f24e9e82bfcbff9c9e52b5", Anything, PeerSoftware::NetScreen),
    // VPN 3000 and ASA: most of the MD5 of "ALTIGA GATEWAY", a version of two octets behind
    ("1f07f70eaa6514d3b0fa96542a50", Octets(2), PeerSoftware::Cisco),
];

#[cfg(test)]
mod tests {
    use super::super::ADIT;
    use super::*;

    fn octets(hex: &str) -> Vec<u8> {
        let digit = |digit: u8| u8::try_from(char::from(digit).to_digit(16).unwrap()).unwrap();
        hex.as_bytes().chunks(2).map(|two| digit(two[0]) << 4 | digit(two[1])).collect()
    }

    /// CHECKLIST T14: every row names its vendor, with as much behind as may be there and not with other; one
    /// octet changed or lacking, and it is nobody's, or another row's that is shorter.
    #[test]
    fn every_row_names_its_vendor_and_nothing_else_does() {
        for (beginning, tail, expected) in NAMES {
            let mut id = octets(beginning);
            let fits = match tail {
                Nothing => 0,
                Octets(some) => *some,
                Anything => 8,
            };
            id.resize(id.len() + fits, 0x51);
            assert_eq!(software(&[&id]), *expected, "{beginning}");
            let is_swan = beginning.starts_with("4f45");
            if *tail != Anything {
                id.push(0);
                assert_eq!(software(&[&id]), PeerSoftware::Unknown, "{beginning} and more");
                id.pop();
            }
            for place in 0..beginning.len() / 2 {
                let mut changed = id.clone();
                changed[place] ^= 0x80;
                let named = software(&[&changed]);
                let other = if is_swan { PeerSoftware::Openswan } else { PeerSoftware::Unknown };
                assert!([PeerSoftware::Unknown, other].contains(&named), "{beginning}: {place}");
                assert_eq!(
                    software(&[&id[..place]]),
                    PeerSoftware::Unknown,
                    "{beginning}: {place}"
                );
            }
        }
        assert_eq!(software(&[ADIT]), PeerSoftware::Adit);
        assert_eq!(software(&[&[]]), PeerSoftware::Unknown);
    }

    /// The longest beginning counts, wherever it stands; and no row stands twice.
    #[test]
    fn the_longest_beginning_counts() {
        for (id, expected) in [
            (&b"OE-Libreswan-4.10"[..], PeerSoftware::Libreswan),
            (b"OE-Libreswan", PeerSoftware::Libreswan),
            (b"OENbcdefghij", PeerSoftware::Libreswan),
            (b"OE\x48\x6b\x7d\x44\x78\x4d\x42\x67\x6b\x5d", PeerSoftware::FreeSwan),
            (b"OE\x48\x6b\x7d\x44\x78\x4d\x42\x67\x6b\x5e", PeerSoftware::Openswan),
            (b"OSWabcdefghi", PeerSoftware::Openswan),
            (b"OE", PeerSoftware::Unknown),
            (b"OE and more than is in a hash", PeerSoftware::Unknown),
        ] {
            assert_eq!(software(&[id]), expected, "{}", String::from_utf8_lossy(id));
        }
        for (place, (beginning, ..)) in NAMES.iter().enumerate() {
            assert!(NAMES[..place].iter().all(|(other, ..)| other != beginning), "{beginning}");
        }
    }

    /// Clients say that they are like this gateway or that one: they are who they say themselves, in any order.
    #[test]
    fn who_is_like_another_is_itself() {
        let shrew = octets("f14b94b7bff1fef02773b8c49feded26");
        let screen = octets("166f932d55eb64d8e4df4fd37e2313f0d0fd84510000000000000000");
        assert_eq!(software(&[&screen, &shrew]), PeerSoftware::ShrewSoft);
        assert_eq!(software(&[&shrew, &screen]), PeerSoftware::ShrewSoft);
        let (nortel, zyxel) =
            (octets("424e455300000009"), octets("625027749d5ab97f5616c1602765cf480a3b7d0b"));
        assert_eq!(software(&[&zyxel, &nortel]), PeerSoftware::Nortel);
        assert_eq!(software(&[&zyxel, ADIT]), PeerSoftware::Adit);
    }

    /// What peers of captures that others have taken send: of ike-scan, Libreswan, Openswan, tcpdump and Wireshark.
    #[test]
    fn peers_of_captures_are_named() {
        for (ids, expected) in [
            // pkt-aggr-mode-response.dat
            (
                &[
                    "166f932d55eb64d8e4df4fd37e2313f0d0fd84510000000000000000",
                    "afcad71368a1f1c96b8696fc77570100",
                    "4865617274426561745f4e6f74696679386b0100",
                ][..],
                PeerSoftware::NetScreen,
            ),
            // pkt-main-mode-response.dat
            (
                &[
                    "f4ed19e0c114eb516faaac0ee37daf2807b4381f000000010000138d459becd70000000018000000",
                ],
                PeerSoftware::CheckPoint,
            ),
            // 01-isakmp-vid-second-resp.pcap
            (&["4f45407942714f72547e497b"], PeerSoftware::Openswan),
            // lp173-parentN1
            (
                &["4f45706c75746f756e697430", "afcad71368a1f1c96b8696fc77570100"],
                PeerSoftware::Openswan,
            ),
            // ISAKMP_sa_setup.pcap: a draft of NAT traversal; then Unity, DPD, one of chance, XAUTH
            (&["439b59f8ba676c4c7737ae22eab8f582"], PeerSoftware::Unknown),
            (
                &[
                    "12f5f28c457168a9702d9fe274cc0100",
                    "afcad71368a1f1c96b8696fc77570100",
                    "3ac5957214a85b93db6a509869fdb330",
                    "09002689dfd6b712",
                ],
                PeerSoftware::Unknown,
            ),
            // ikev1-bug-12620.pcapng: nothing but what many say
            (&["09002689dfd6b712", "afcad71368a1f1c96b8696fc77570100"], PeerSoftware::Unknown),
            // Of other gateways, as their owners have shown them in logs
            (&["1f07f70eaa6514d3b0fa96542a500100"], PeerSoftware::Cisco),
            (&["1e2b516905991c7d7c96fcbfb587e46100000009"], PeerSoftware::Windows),
            (
                &["699369228741c6d4ca094c93e242c9de19e7b7c60000000500000500"],
                PeerSoftware::NetScreen,
            ),
        ] {
            let ids: Vec<Vec<u8>> = ids.iter().map(|id| octets(id)).collect();
            let ids: Vec<&[u8]> = ids.iter().map(Vec::as_slice).collect();
            assert_eq!(software(&ids), expected, "{ids:02x?}");
        }
    }
}
