//! `suite`, and the lists that it stands for.

use super::*;

#[test]
fn compat_suites_are_what_old_equipment_reads() {
    let tunnel = good(&changed(|lines| lines.push("suite = \"compat\"")));
    let words = tunnel.connection.proposals[0].to_string();
    assert!(words.starts_with("aes256-aes128-"), "{words}");
    assert!(!words.contains("mlkem"));
    assert!(tunnel.connection.children[0].proposals[0].to_string().ends_with("noesn"));
}

#[test]
fn default_suite_is_the_default() {
    let named = good(&changed(|lines| lines.push("suite = \"default\"")));
    assert_eq!(named.connection, good(FIVE_LINES).connection);
}

/// The names of all suites, each as it is explained, and in lists beside proposals.
#[test]
fn suites_are_those_that_are_explained() {
    for profile in adit_db::Profile::ALL {
        let name = profile.name;
        let chosen = changed(|lines| lines.push("suite = \"NAME\"")).replace("NAME", name);
        let tunnel = good(&chosen);
        let listed = changed(|lines| lines.extend(["ike = [\"NAME\"]", "esp = \"NAME\""]));
        let named = good(&listed.replace("NAME", name));
        assert_eq!(tunnel.connection, named.connection);
        let words: Vec<_> = tunnel.connection.proposals.iter().map(ToString::to_string).collect();
        let read = |one: &adit_db::proposal::Reasoned| {
            adit_db::ProposalSpec::ike(one.words).unwrap().to_string()
        };
        assert_eq!(words, profile.ike.iter().map(read).collect::<Vec<_>>());
    }
}

#[test]
fn a_suite_without_ah_is_refused_for_ah() {
    insta::assert_snapshot!(with("protocol = \"ah\"\nsuite = \"cnsa2\""), @r#"
    warning[E516]: berlin: the tunnel does not encrypt
     --> tunnels/berlin.toml:5:12
      |
    5 | protocol = "ah"
      |            ^^^^ nothing is encrypted: everyone on the way can read the traffic, though not change it
      |
      = help: protocol = "esp" encrypts as well
    error[E510]: berlin: suite "cnsa2" has nothing for AH
     --> tunnels/berlin.toml:6:9
      |
    6 | suite = "cnsa2"
      |         ^^^^^^^ knows ESP alone
      |
      = help: leave `protocol` out, or name the algorithms in `ike` and `ah`
    "#);
}

/// RFC 9370: additional key exchanges for the tunnel's own keys.
#[test]
fn additional_key_exchanges_of_a_tunnel_follow_one() {
    let tunnel = good(&changed(|lines| {
        lines.push("esp = \"aes256gcm16-x25519-ke1_mlkem768-ke2_ecp384-ke2_none\"");
    }));
    let words = tunnel.connection.children[0].proposals[0].to_string();
    assert_eq!(words, "aes256gcm16-x25519-noesn-ke1_mlkem768-ke2_ecp384-ke2_none");
    insta::assert_snapshot!(with("esp = \"aes256gcm16-ke1_mlkem768\""), @r#"
    error[E510]: berlin: `esp` cannot be understood
     --> tunnels/berlin.toml:5:7
      |
    5 | esp = "aes256gcm16-ke1_mlkem768"
      |       ^^^^^^^^^^^^^^^^^^^^^^^^^^ no key exchange in "aes256gcm16-ke1_mlkem768"; add x25519 or ecp384
    "#);
}

#[test]
fn unknown_suite() {
    insta::assert_snapshot!(with("suite = \"compact\""), @r#"
        error[E510]: berlin: unknown value for `suite`
         --> tunnels/berlin.toml:5:9
          |
        5 | suite = "compact"
          |         ^^^^^^^^^ must be "default", "compat", "cnsa2" or "fips"
          |
          = help: did you mean "compat"?
        "#);
}

#[test]
fn suite_beside_lists() {
    insta::assert_snapshot!(
        with("suite = \"compat\"\nesp = \"aes256gcm16\""), @r#"
        error[E510]: berlin: `suite` contradicts the lists of algorithms
         --> tunnels/berlin.toml:5:1
          |
        5 | suite = "compat"
          | ^^^^^ chooses the algorithms
        6 | esp = "aes256gcm16"
          | --- so does this
          |
          = help: keep one of the two
        "#);
}
