//! Compression.

use super::{FIVE_LINES, load_one, with};
use crate::codes::Code;

#[test]
fn compression_is_wanted_or_not() {
    let compress = |lines: &str| {
        let configuration = load_one(&format!("{FIVE_LINES}\n{lines}\n")).unwrap();
        let codes: Vec<Code> = configuration.warnings.iter().map(|warning| warning.code).collect();
        let child = &configuration.tunnels["berlin"].connection.children[0];
        (child.compress, child.negotiates_ipcomp(), codes)
    };
    assert_eq!(compress(""), (false, false, vec![]));
    assert_eq!(compress("compress = false"), (false, false, vec![]));
    assert_eq!(compress("compress = true"), (true, true, vec![Code::E518]));
    assert_eq!(compress("compress = \"deflate\""), (true, true, vec![Code::E518]));
}

#[test]
fn the_warning_says_what_lengths_tell() {
    let configuration = load_one(&format!("{FIVE_LINES}\ncompress = true\n")).unwrap();
    insta::assert_snapshot!(configuration.warnings[0].render(false), @"
    warning[E518]: berlin: lengths will tell about contents
     --> tunnels/berlin.toml:5:12
      |
    5 | compress = true
      |            ^^^^ who can send through the tunnel beside a secret may find it out by lengths
      |
      = help: leave the key out unless the link is slow and what goes over it is all yours
    ");
}

#[test]
fn what_makes_no_sense_is_refused() {
    for (lines, expected) in [
        ("compress = true\ntfc_padding = 600", "compression and padding contradict each other"),
        ("compress = true\nprotocol = \"ah\"", "compression is for ESP"),
        ("compress = 1", "must be true or false, not an integer"),
        ("compress = \"lzs\"", "must be \"deflate\""),
        ("compress = \"lzjh\"", "must be \"deflate\""),
        ("compress = \"oui\"", "must be \"deflate\""),
        ("ipcomp = true", "did you mean `compress`?"),
    ] {
        let refused = with(lines);
        assert!(refused.contains("error[E510]"), "{refused}");
        assert!(refused.contains(expected), "{refused}");
    }
}
