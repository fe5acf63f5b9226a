//! What becomes of ICMP messages.

use adit_db::{IcmpPassage, IcmpRow, IcmpRules, SecurityFailures};

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
    let red = with("[icmp]\ntoo-big = { red = \"discard\" }");
    assert!(red.contains("can be forged"), "{red}");
    let word = with("[icmp]\ntoo-big = { black = \"drop\" }");
    assert!(word.contains("must be \"discard\", \"explicit\" or \"implicit\""), "{word}");
    let echo = with("[icmp]\necho-request = { black = \"implicit\" }");
    assert!(echo.contains("`echo-request` cannot be implicit"), "{echo}");
    let redirect = with("[icmp]\nredirect = { black = \"explicit\" }");
    assert!(redirect.contains("`redirect` is no setting"), "{redirect}");
    let flat = with("[icmp]\ntoo-big = \"discard\"");
    assert!(flat.contains("a table, [icmp.too-big]"), "{flat}");
}
