//! `ike = 1`.

use adit_db::{Aggressive, IkeVersion, ProposalSpec};

use super::{FIVE_LINES, good, load_one, with};
use crate::codes::Code;

#[test]
fn ike_is_a_version_or_algorithms_or_both() {
    let read = |line: &str| good(&format!("{FIVE_LINES}\n{line}\n")).connection;
    assert_eq!(read("").ike, IkeVersion::V2);
    assert_eq!(read("ike = 2").ike, IkeVersion::V2);
    assert_eq!(read("ike = 2").proposals, read("").proposals);
    assert_eq!(read("ike = \"aes256-sha256-modp2048\"").ike, IkeVersion::V2);

    let plain = read("ike = 1");
    assert_eq!(plain.ike, IkeVersion::V1);
    let modp = "aes256-aes128-sha256-sha384-sha512-modp2048-ecp256-ecp384-modp3072-x25519";
    assert_eq!(plain.proposals[0], ProposalSpec::ike(modp).unwrap());
    let esp = ProposalSpec::esp_list("compat").unwrap();
    assert_eq!(plain.children[0].proposals, esp);
    let listed = read("ike = [1, \"aes128-sha256-modp3072\"]");
    assert_eq!(listed.ike, IkeVersion::V1);
    assert_eq!(listed.proposals, ProposalSpec::ike_list("aes128-sha256-modp3072").unwrap());
}

#[test]
fn what_ikev1_has_no_place_for_is_refused_by_its_key() {
    for (line, key) in [
        ("mobike = \"yes\"", "mobike"),
        ("resumption = true", "resumption"),
        ("childless = \"prefer\"", "childless"),
        ("reauth = \"1h\"", "reauth"),
        ("cpus = 2", "cpus"),
        ("auth = \"null\"", "auth"),
        ("idle = \"5m\"", "idle"),
    ] {
        let text = with(&format!("ike = 1\n{line}"));
        assert!(text.contains(&format!("`{key}` does not go with ike = 1")), "{text}");
    }
    let text = with("ike = 1\ncompress = true");
    assert!(text.contains("not built for IKEv1 yet"), "{text}");
    for (line, word) in [
        ("ike = [1, \"aes256gcm16-prfsha256-x25519\"]", "numbers for none of the algorithms"),
        ("ike = 3", "must be 1 or 2"),
        ("ike = [1, 2]", "two versions"),
        ("ike = 1\nencap = \"tcp\"", "a matter of IKEv2"),
        ("ike = 1\nengine = \"kernel\"", "not built for the kernel"),
        ("ike = 1\nesp = \"chacha20poly1305\"", "algorithms of `esp`"),
        ("aggressive = \"allow\"", "`aggressive` is a matter of IKEv1"),
        ("base_mode = \"allow\"", "`base_mode` is a matter of IKEv1"),
        (
            "ike = 1\naggressive = \"initiate\"\nbase_mode = \"initiate\"",
            "`base_mode` contradicts `aggressive`",
        ),
        ("ike = 2\naggressive = \"initiate\"", "`aggressive` is a matter of IKEv1"),
        ("ike = 1\naggressive = \"maybe\"", "must be \"refuse\", \"allow\" or \"initiate\""),
    ] {
        let text = with(line);
        assert!(text.contains(word), "{line}: {text}");
    }
}

/// CHECKLIST T20: aggressive mode is off, and with a secret it comes with a warning of what it gives away.
#[test]
fn aggressive_mode_is_asked_for_and_warned_of() {
    let read = |line: &str| good(&format!("{FIVE_LINES}\n{line}\n")).connection;
    assert_eq!(read("ike = 1").aggressive, Aggressive::Refuse);
    assert_eq!(read("ike = 1\naggressive = \"refuse\"").aggressive, Aggressive::Refuse);
    for word in ["allow", "initiate"] {
        let text = format!("{FIVE_LINES}\nike = 1\naggressive = \"{word}\"\n");
        let configuration = load_one(&text).unwrap();
        let codes: Vec<Code> = configuration.warnings.iter().map(|one| one.code).collect();
        assert_eq!(codes, [Code::E519], "{word}");
    }
}
