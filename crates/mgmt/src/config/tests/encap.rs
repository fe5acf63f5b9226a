//! `encap`: how ESP travels.

use adit_db::Encap;

use super::{FIVE_LINES, good, with};

#[test]
fn every_word_has_its_meaning() {
    for (line, encap) in [
        ("", Encap::Auto),
        ("encap = \"auto\"", Encap::Auto),
        ("encap = \"udp\"", Encap::Udp),
        ("encap = \"esp\"", Encap::Esp),
        ("encap = \"tcp\"", Encap::Tcp),
    ] {
        assert_eq!(good(&format!("{FIVE_LINES}\n{line}\n")).connection.encap, encap, "{line}");
    }
}

/// CHECKLIST N10: whether, and to which ports.
#[test]
fn tcp_is_allowed_or_demanded() {
    for (lines, ports) in [
        ("", &[][..]),
        ("tcp = false", &[]),
        ("tcp = true", &[4500]),
        ("tcp = 443", &[443]),
        ("tcp = [4500, 443]", &[4500, 443]),
        ("encap = \"tcp\"", &[4500]),
        ("encap = \"tcp\"\ntcp = 443", &[443]),
    ] {
        assert_eq!(
            good(&format!("{FIVE_LINES}\n{lines}\n")).connection.tcp_ports,
            ports,
            "{lines}"
        );
    }
}

#[test]
fn ports_of_tcp_are_numbers() {
    insta::assert_snapshot!(with("tcp = [443, 0]"), @"
    error[E510]: berlin: `tcp` names no ports
     --> tunnels/berlin.toml:5:13
      |
    5 | tcp = [443, 0]
      |             ^ must be up to 8 different ports, 1 to 65535
      |
      = help: write tcp = true for 4500, tcp = 443, or tcp = [4500, 443]
    ");
    for wrong in ["[]", "\"yes\"", "[443, 443]", "70000", "[1,2,3,4,5,6,7,8,9]", "1.5"] {
        assert!(with(&format!("tcp = {wrong}")).contains("error[E510]"), "{wrong}");
    }
}

#[test]
fn what_tcp_cannot_go_with_is_said() {
    insta::assert_snapshot!(with("encap = \"udp\"\ntcp = true"), @r#"
    error[E510]: berlin: `tcp` is for encap = "auto" or "tcp"
     --> tunnels/berlin.toml:6:1
      |
    6 | tcp = true
      | ^^^ the other two never use it
      |
      = help: do without `tcp` and without encap = "tcp"
    "#);
    for other in ["protocol = \"ah\"", "engine = \"kernel\"", "encap = \"esp\""] {
        assert!(with(&format!("tcp = true\n{other}")).contains("do without `tcp`"), "{other}");
    }
    assert!(with("encap = \"tcp\"\ntcp = false").contains("contradicts `tcp`"));
    assert!(with("encap = \"tcp\"\nprotocol = \"ah\"").contains("AH cannot travel in TCP"));
}

#[test]
fn others_are_mistakes() {
    insta::assert_snapshot!(with("encap = \"upd\""), @r#"
    error[E510]: berlin: unknown value for `encap`
     --> tunnels/berlin.toml:5:9
      |
    5 | encap = "upd"
      |         ^^^^^ must be "auto", "udp", "esp" or "tcp"
      |
      = help: did you mean "udp"?
    "#);
}
