//! `ike = 1`.

use adit_db::{AbsentLifetime, Aggressive, IkeVersion, LifetimeBounds, LifetimeRule, ProposalSpec};

use super::{FIVE_LINES, complaint, good, load_one, with};
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
    for (line, word) in [
        ("ike = [1, \"aes256gcm16-prfsha256-x25519\"]", "numbers for none of the algorithms"),
        ("ike = 3", "must be 1 or 2"),
        ("ike = [1, 2]", "two versions"),
        ("ike = 1\nencap = \"tcp\"", "a matter of IKEv2"),
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

/// `docs/lifetimes.md`: what an operator may say of the rule.
#[test]
fn what_is_taken_of_lifetimes_is_read() {
    let text = "ike = 1\nlife_absent = \"reject\"\nlife_strict = true\nike_life_min = \"10m\"
ike_life_max = \"1d\"\nlife_max = \"8h\"\nlife_kilobytes = 4608000\nlife_kilobytes_min = 2048
ike_life_kilobytes = 5000\nike_life_kilobytes_max = 9000\n";
    let connection = good(&format!("{FIVE_LINES}\n{text}")).connection;
    let expected = LifetimeRule {
        absent: AbsentLifetime::Reject,
        strict: true,
        ike_seconds: LifetimeBounds { least: 600, most: 86_400 },
        ike_kilobytes: LifetimeBounds { least: 0, most: 9_000 },
        ike_own_kilobytes: 5_000,
        child_seconds: LifetimeBounds { least: 0, most: 28_800 },
        child_kilobytes: LifetimeBounds { least: 2_048, most: 0 },
    };
    assert_eq!(connection.lifetime_rule, expected);
    assert_eq!(connection.children[0].lifetime.octets.hard, 4_608_000 * 1_024);
    let plain = good(&format!("{FIVE_LINES}\nike = 1\n")).connection;
    assert_eq!(plain.lifetime_rule, LifetimeRule::default());

    for (line, word) in [
        ("life_absent = \"reject\"", "`life_absent` is for ike = 1"),
        ("life_kilobytes = 4608000", "`life_kilobytes` is for ike = 1"),
        ("ike = 1\nlife_absent = \"never\"", "life_absent"),
        ("ike = 1\nlife_kilobytes = 1000", "life_kilobytes"),
        ("ike_life_kilobytes = 5000", "`ike_life_kilobytes` is for ike = 1"),
        ("ike = 1\nike_life_kilobytes = 1000", "ike_life_kilobytes"),
        (
            "ike = 1\nike_life_kilobytes_min = 4000\nike_life_kilobytes_max = 3000",
            "`ike_life_kilobytes_max` is less than the least",
        ),
        ("ike = 1\nlife_min = \"2h\"\nlife_max = \"1h\"", "`life_max` is less than the least"),
    ] {
        let text = with(line);
        assert!(text.contains(word), "{line}: {text}");
    }
}

/// A quick mode for each pair of networks, and not for any number of them.
#[test]
fn a_tunnel_has_several_networks() {
    let with_networks = |local: &str, remote: &str| {
        let text = FIVE_LINES.lines().filter(|line| {
            !line.trim_start().starts_with("local") && !line.trim_start().starts_with("remote")
        });
        let text: Vec<&str> = text.collect();
        format!("{}\nike = 1\nlocal = [{local}]\nremote = [{remote}]\n", text.join("\n"))
    };
    let networks = |count: u8| {
        let all: Vec<String> = (0..count).map(|n| format!("\"10.{n}.0.0/16\"")).collect();
        all.join(", ")
    };
    let remote = "\"192.168.1.0/24\", \"192.168.2.0/24\"";
    let connection = good(&with_networks(&networks(16), remote)).connection;
    assert_eq!(connection.children[0].local_ts.len(), 16);
    let text = complaint(&with_networks(&networks(17), remote));
    assert!(text.contains("more than 32 pairs"), "{text}");
    let text = complaint(&with_networks("\"2001:db8::/32\"", remote));
    assert!(text.contains("of the family of one of `remote`"), "{text}");
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

/// Groups 3 and 4 of RFC 2409 are told apart from words that mean nothing, in both versions.
#[test]
fn ec2n_groups_are_refused_by_name() {
    for ike in
        ["[1, \"aes128-sha1-ec2n155\"]", "[1, \"aes128-sha1-ec2n185\"]", "\"aes128-sha1-ec2n163\""]
    {
        let text = with(&format!("ike = {ike}"));
        assert!(text.contains("an EC2N group, a curve over 2^n"), "{text}");
        assert!(text.contains("use modp2048 or ecp256"), "{text}");
        assert_eq!(text.matches("error[").count(), 1, "{text}");
    }
}

/// A list of `esp` with a slip in it is no list that IKEv1 has no numbers for, alone and in a bundle.
#[test]
fn a_slip_in_a_list_is_told_once() {
    for (lines, told) in [
        ("esp = \"aes257-sha256\"", "`esp` cannot be understood"),
        ("esp = \"aes256-sha257\"\nah = \"sha256\"", "`esp` cannot be understood"),
        ("esp = \"aes256-sha256\"\nah = \"sha257\"", "`ah` cannot be understood"),
        ("protocol = \"ah\"\nah = \"sha257\"", "`ah` cannot be understood"),
    ] {
        let text = with(&format!("ike = 1\n{lines}"));
        assert!(text.contains(told), "{text}");
        assert_eq!(text.matches("error[").count(), 1, "{text}");
    }
}
