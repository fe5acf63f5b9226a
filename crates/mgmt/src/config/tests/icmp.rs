//! What becomes of ICMP messages.

use adit_db::{IcmpCarry, IcmpPassage, IcmpRed, IcmpRow, IcmpRules, SecurityFailures, Transit};

use super::{FIVE_LINES, good, with};
use crate::api::icmp_settings;

/// CHECKLIST PM-27: by setting.
#[test]
fn each_row_is_a_setting() {
    let read =
        |lines: &str| good(&format!("{FIVE_LINES}\n{lines}\n")).connection.children[0].icmp.clone();
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
            let icmp = good(&lines).connection.children[0].icmp.clone();
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

/// Interfaces have colours by name; one that is missing is a warning, as it may come later.
#[test]
fn interfaces_are_red_or_black_by_name() {
    let lines =
        "[icmp]\nred = [\"wan0\", \"wan1\"]\nblack = \"lan0\"\ntoo-big = { red = \"prompt\" }";
    let tunnel = good(&format!("{FIVE_LINES}\n{lines}\n"));
    let icmp = &tunnel.connection.children[0].icmp;
    assert_eq!(icmp.interfaces.to_string(), "red wan0 wan1, black lan0");
    let names: Vec<&str> = tunnel.interfaces.iter().map(|named| named.name.as_str()).collect();
    assert_eq!(names, ["lan0", "wan0", "wan1"]);
    insta::assert_snapshot!(tunnel.interfaces[0].missing.render(false), @r#"
        warning[E510]: berlin: there is no interface `lan0` now
         --> tunnels/berlin.toml:7:9
          |
        7 | black = "lan0"
          |         ^^^^^^ named as black
          |
          = help: see `ip link` for the names; if it comes later, this is no mistake
    "#);
    assert_eq!(tunnel.interfaces[0].missing.place.line, Some(7));

    let twice = with("[icmp]\nred = [\"wan0\"]\nblack = [\"wan0\"]");
    assert!(twice.contains("`wan0` is named twice"), "{twice}");
    let name = with("[icmp]\nred = [\"a name that is too long\"]");
    assert!(name.contains("`a name that is too long` is no interface"), "{name}");
    let none = with("[icmp]\nred = []");
    assert!(none.contains("`icmp.red` must not be empty"), "{none}");
    let table = with("[icmp]\nred = { wan0 = \"discard\" }");
    assert!(table.contains("a string or a list of strings"), "{table}");
    let kernel = with("engine = \"kernel\"\n[icmp]\nred = [\"wan0\"]");
    assert!(kernel.contains("the kernel asks nobody where ICMP comes from"), "{kernel}");
    let many: Vec<String> = (0..17).map(|number| format!("\"e{number}\"")).collect();
    let many = with(&format!("[icmp]\nblack = [{}]", many.join(", ")));
    assert!(many.contains("more than 16 interfaces"), "{many}");
}

/// What is not as by default is told with its place, and nothing else.
#[test]
fn settings_are_told_with_their_place() {
    let told = |lines: &str| {
        let tunnel = good(&format!("{FIVE_LINES}\n{lines}\n"));
        let settings = icmp_settings(&tunnel.connection, &tunnel.context());
        let each = settings.into_iter().map(|one| {
            assert_eq!(one.tunnel, "berlin");
            format!("{} = {} by {}", one.setting, one.value, one.source)
        });
        each.collect::<Vec<_>>()
    };
    assert_eq!(told(""), Vec::<String>::new());
    assert_eq!(told("[icmp]\nhost-unreachable = { red = \"prompt\" }"), Vec::<String>::new());
    let lines = "icmp_errors = \"implicit\"\nicmp_carry = \"ike\"\n[icmp]\nred = [\"wan0\"]\n\
                 echo-request = { black = \"discard\", tunnel = \"discard\" }\n\
                 too-big = { red = \"prompt\" }";
    assert_eq!(
        told(lines),
        [
            "icmp_carry = ike by tunnels/berlin.toml:6",
            "interfaces = red wan0 by tunnels/berlin.toml:7",
            "too-big = red prompt by tunnels/berlin.toml:7",
            "echo-request = black discard, tunnel discard by tunnels/berlin.toml:7",
        ]
    );
    let kernel = told("engine = \"kernel\"");
    assert_eq!(kernel.len(), 1);
    assert!(kernel[0].starts_with("notices = none: the kernel joins fragments"), "{kernel:?}");
    assert!(kernel[0].ends_with(" by the kernel is the engine"), "{kernel:?}");
}
