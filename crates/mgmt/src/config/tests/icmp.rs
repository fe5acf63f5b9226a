//! What becomes of ICMP messages.

use adit_db::{IcmpCarry, IcmpPassage, IcmpRed, IcmpRow, IcmpRules, SecurityFailures, Transit};

use super::{FIVE_LINES, good, with};

/// CHECKLIST PM-27: by setting.
#[test]
fn each_row_is_a_setting() {
    let read = |lines: &str| good(&format!("{FIVE_LINES}\n{lines}\n")).connection.children[0].icmp;
    assert_eq!(read(""), IcmpRules::default());
    assert_eq!(read("icmp_errors = \"explicit\"").errors, IcmpPassage::Explicit);
    assert_eq!(read("icmp_errors = \"discard\"").errors, IcmpPassage::Discard);
    assert_eq!(read("").security_failures, SecurityFailures::Off);
    for (word, wish) in SecurityFailures::WORDS {
        assert_eq!(read(&format!("security_failures = \"{word}\"")).security_failures, wish);
    }

    let icmp = read(
        "icmp_errors = \"implicit\"\n[icmp]\nhost-admin-prohibited = { black = \"discard\", \
         tunnel = \"implicit\" }\necho-request = { tunnel = \"discard\" }",
    );
    let treatment = |key| icmp.treatment(IcmpRow::named(key).unwrap());
    let admin = treatment("host-admin-prohibited");
    assert_eq!((admin.black, admin.tunnel), (IcmpPassage::Discard, IcmpPassage::Implicit));
    let echo = treatment("echo-request");
    assert_eq!((echo.black, echo.tunnel), (IcmpPassage::Explicit, IcmpPassage::Discard));
    assert_eq!((admin.red, echo.red), (IcmpRed::Prompt, IcmpRed::Discard));
    let deaf = read("[icmp]\ntoo-big = { red = \"discard\" }");
    assert_eq!(deaf.treatment(IcmpRow::named("too-big").unwrap()).red, IcmpRed::Discard);
    let default = IcmpRules::default();
    let row = IcmpRow::named("too-big").unwrap();
    assert_eq!(icmp.treatment(row), default.treatment(row));
}

#[test]
fn mistakes_name_what_is_meant() {
    let errors = with("icmp_errors = \"implict\"");
    assert!(errors.contains("did you mean \"implicit\"?"), "{errors}");
    let failures = with("security_failures = \"insde\"");
    assert!(failures.contains("did you mean \"inside\"?"), "{failures}");
    let row = with("[icmp]\nhost-unreachible = { black = \"discard\" }");
    assert!(row.contains("unknown row `host-unreachible` in [icmp]"), "{row}");
    assert!(row.contains("did you mean `host-unreachable`?"), "{row}");
    let side = with("[icmp]\ntoo-big = { blak = \"discard\" }");
    assert!(side.contains("did you mean `black`?"), "{side}");
    let red = with("[icmp]\nhost-unreachable = { red = \"measure\" }");
    assert!(red.contains("must be \"discard\" or \"prompt\""), "{red}");
    let red = with("[icmp]\necho-request = { red = \"prompt\" }");
    assert!(red.contains("`red` of `echo-request` is no setting"), "{red}");
    assert!(red.contains("can be forged"), "{red}");
    let red = with("[icmp]\ntoo-big = { red = \"implicit\" }");
    assert!(red.contains("must be \"discard\", \"prompt\" or \"measure\""), "{red}");
    let word = with("[icmp]\ntoo-big = { black = \"drop\" }");
    assert!(word.contains("must be \"discard\", \"explicit\" or \"implicit\""), "{word}");
    let echo = with("[icmp]\necho-request = { black = \"implicit\" }");
    assert!(echo.contains("`echo-request` cannot be implicit"), "{echo}");
    let redirect = with("[icmp]\nredirect = { black = \"explicit\" }");
    assert!(redirect.contains("`redirect` is no setting"), "{redirect}");
    let flat = with("[icmp]\ntoo-big = \"discard\"");
    assert!(flat.contains("a table, [icmp.too-big]"), "{flat}");
}

#[test]
fn routers_outside_are_shown_if_somebody_says_so() {
    let read = |lines: &str| {
        let tunnel = good(&format!("{FIVE_LINES}\n{lines}\n"));
        let child = &tunnel.connection.children[0];
        (child.icmp.transit, child.turbo)
    };
    assert_eq!(read(""), (Transit::Hide, true));
    assert_eq!(read("traceroute_transit = \"hide\""), (Transit::Hide, true));
    assert_eq!(read("traceroute_transit = \"reveal\""), (Transit::Reveal, false));
    assert!(!read("traceroute_transit = \"reveal\"\nturbo = \"off\"").1);

    let word = with("traceroute_transit = \"show\"");
    assert!(word.contains("must be \"hide\" or \"reveal\""), "{word}");
    let key = with("traceroute_transits = \"hide\"");
    assert!(key.contains("did you mean `traceroute_transit`?"), "{key}");
    let mode = with("traceroute_transit = \"reveal\"\nmode = \"transport\"");
    assert!(mode.contains("only in tunnel mode"), "{mode}");
    let shared = with("traceroute_transit = \"reveal\"\nturbo = \"auto\"");
    assert!(shared.contains("packets travel alone"), "{shared}");
}

/// CHECKLIST PM-29: the `red` column is a setting of every row of errors about packets of ours.
#[test]
fn what_comes_from_outside_is_a_setting_of_each_row() {
    for row in IcmpRow::ALL.iter().filter(|row| row.default.red != IcmpRed::Discard) {
        let number = IcmpRow::named(row.key).unwrap();
        for (word, red) in IcmpRed::WORDS_OF_ERRORS {
            let lines = format!("{FIVE_LINES}\n[icmp]\n{} = {{ red = \"{word}\" }}\n", row.key);
            let icmp = good(&lines).connection.children[0].icmp;
            let mut expected = row.default;
            expected.red = red;
            assert_eq!(icmp.treatment(number), expected, "{}", row.key);
        }
    }
    let usual = good(&format!("{FIVE_LINES}\n[icmp]\nother = {{ red = \"discard\" }}\n"));
    assert_eq!(usual.connection.children[0].icmp, IcmpRules::default());
}

#[test]
fn what_carries_errors_is_a_setting() {
    let read =
        |line: &str| good(&format!("{FIVE_LINES}\n{line}\n")).connection.children[0].icmp.carry;
    assert_eq!(read(""), IcmpCarry::Esp);
    for (word, carry) in IcmpCarry::WORDS {
        assert_eq!(read(&format!("icmp_carry = \"{word}\"")), carry);
    }
    insta::assert_snapshot!(with("icmp_errors = \"explicit\"\nicmp_carry = \"ike\""), @r#"
        error[E510]: berlin: `icmp_carry` has no use with icmp_errors = "explicit"
         --> tunnels/berlin.toml:6:1
          |
        6 | icmp_carry = "ike"
          | ^^^^^^^^^^ is about errors that are outside the tunnel's networks, and these do not pass
          |
          = help: leave `icmp_carry` out, or write icmp_errors = "implicit"
    "#);
    let word = with("icmp_carry = \"ikev2\"");
    assert!(word.contains("did you mean \"ike\"?"), "{word}");
}
