//! Tunnels that protect their traffic with AH.

use adit_wire::iana::ProtocolId;

use super::{FIVE_LINES, load_one, rendered, with};

/// The proposals of a good tunnel with these lines, and the warnings it has.
fn proposals(lines: &str) -> (Vec<String>, String) {
    let mut configuration = load_one(&format!("{FIVE_LINES}\n{lines}\n")).unwrap();
    let child = configuration.tunnels.remove("berlin").unwrap().connection.children[0].clone();
    assert!(child.proposals.iter().all(|spec| spec.protocol() == ProtocolId::AH));
    let words = child.proposals.iter().map(ToString::to_string).collect();
    (words, rendered(configuration.warnings))
}

#[test]
fn ah_names_its_algorithms_and_says_that_it_does_not_encrypt() {
    let (words, said) = proposals("protocol = \"ah\"\nah = \"aes256gmac-esn\"");
    assert_eq!(words, ["aes256gmac-esn"]);
    assert!(said.starts_with("warning[E516]: berlin: the tunnel does not encrypt"), "{said}");
    assert!(said.contains("protocol = \"ah\"") && said.contains("everyone on the way"), "{said}");
    let (words, _) = proposals("protocol = \"ah\"");
    assert_eq!(words.len(), 1);
    assert!(words[0].starts_with("sha256-sha384-sha512-"), "{words:?}");
    let (words, _) = proposals("protocol = \"ah\"\nsuite = \"compat\"");
    assert!(words[0].ends_with("-none-noesn"), "{words:?}");
}

/// Each line, and what the operator reads about it.
#[test]
fn what_makes_no_sense_with_ah_is_refused() {
    for (lines, expected) in [
        (
            "protocol = \"ah\"\nah = \"aes256-sha256\"",
            &["E510", "`ah` cannot be understood", "\"aes256\" has no place in a proposal for AH"]
                [..],
        ),
        (
            "protocol = \"ah\"\nah = \"x25519\"",
            &["no integrity algorithm in \"x25519\"", "help: \"x25519-sha256\"\n"],
        ),
        ("protocol = \"ah\"\nah = \"md5\"", &["E514", "allow = [\"md5\"]"]),
        (
            "protocol = \"ah\"\nesp = \"aes256gcm16\"",
            &["`esp` is of no use to this tunnel", "the tunnel uses AH", "protocol = \"esp\""],
        ),
        ("ah = \"sha256\"", &["`ah` is of no use to this tunnel", "set protocol = \"ah\""]),
        (
            "protocol = \"ah\"\nencap = \"udp\"",
            &["AH cannot travel in UDP", "encap = \"auto\", or protocol = \"esp\""],
        ),
        ("protocol = \"l2tp\"", &["protocol", "\"esp\"", "\"ah\""]),
        ("suite = \"compat\"\nprotocol = \"ah\"\nah = \"sha256\"", &["`suite` contradicts"]),
    ] {
        let said = with(lines);
        for part in expected {
            assert!(said.contains(part), "{part:?} is missing in\n{said}");
        }
    }
}

/// CHECKLIST U16: both lists are a bundle of IKEv1, and what cannot be one is told.
#[test]
fn esp_and_ah_are_a_bundle_of_ikev1() {
    let lines = "ike = 1\nesp = \"aes256-sha256-modp2048\"\nah = [\"sha256-esn-noesn\", \"sha1\"]";
    let mut configuration = load_one(&format!("{FIVE_LINES}\n{lines}\n")).unwrap();
    let child = configuration.tunnels.remove("berlin").unwrap().connection.children[0].clone();
    let words = |specs: &[adit_db::ProposalSpec]| {
        specs.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
    };
    assert!(child.is_esp_only());
    assert_eq!(words(&child.proposals), "aes256-sha256-modp2048-noesn");
    assert_eq!(words(&child.outer_ah), "sha256-esn-noesn sha1-noesn");
    assert!(!rendered(configuration.warnings).contains("does not encrypt"));

    for (lines, expected) in [
        ("esp = \"aes256gcm16\"\nah = \"sha256\"", "IKEv2 has none"),
        ("ike = 2\nesp = \"aes256gcm16\"\nah = \"sha256\"", "only a tunnel with ike = 1"),
        ("ike = 1\nah = \"sha256\"", "`ah` is of no use to this tunnel"),
        ("ike = 1\nprotocol = \"ah\"\nah = \"sha256\"\nesp = \"aes256\"", "`esp` is of no use"),
        (
            "ike = 1\nesp = \"aes256gcm16\"\nah = \"sha256-modp2048\"",
            "a bundle has one key exchange for both",
        ),
        (
            "ike = 1\nencap = \"udp\"\nesp = \"aes256gcm16\"\nah = \"sha256\"",
            "AH cannot travel in UDP",
        ),
        ("ike = 1\nesp = \"aes256gcm16\"\nah = \"aes256\"", "`ah` cannot be understood"),
    ] {
        let said = with(lines);
        assert!(said.contains(expected), "{expected:?} is missing in\n{said}");
    }
}
