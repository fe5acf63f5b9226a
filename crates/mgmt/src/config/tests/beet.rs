//! Tunnels in BEET mode.

use adit_db::Mode;

use super::{changed, complaint, good, with};

fn hosts(more: &str) -> String {
    let lines = changed(|lines| {
        for line in lines.iter_mut().filter(|line| line.contains("10.")) {
            *line = if line.starts_with("local") {
                "local = \"10.1.0.5\""
            } else {
                "remote = [\"10.2.0.7[tcp]\", \"10.2.0.7[icmp]\"]"
            };
        }
    });
    format!("{lines}mode = \"beet\"\n{more}\n")
}

#[test]
fn beet_mode_is_between_two_hosts() {
    assert_eq!(good(&hosts("")).connection.children[0].mode, Mode::Beet);
    insta::assert_snapshot!(with("mode = \"beet\""), @r#"
        error[E510]: berlin: BEET mode is for one host on each side
         --> tunnels/berlin.toml:2:10
          |
        2 | local  = "10.1.0.0/24"
          |          ^^^^^^^^^^^^^ more than one address, or another family
        ...
        5 | mode = "beet"
          |        ------ asks for it
          |
          = help: write one address, or mode = "tunnel"
        error[E510]: berlin: BEET mode is for one host on each side
         --> tunnels/berlin.toml:3:10
          |
        3 | remote = "10.2.0.0/24"
          |          ^^^^^^^^^^^^^ more than one address, or another family
        4 | secret = "file:good.psk"
        5 | mode = "beet"
          |        ------ asks for it
          |
          = help: write one address, or mode = "tunnel"
        "#);
    let named = complaint(&hosts("").replace("\"10.1.0.5\"", "\"dynamic\""));
    assert!(named.contains("BEET mode needs an address as `local`"), "{named}");
    for other in ["protocol = \"ah\"", "compress = true"] {
        let refused = complaint(&hosts(other));
        assert!(refused.contains("BEET mode is for ESP without compression"), "{refused}");
    }
    for two in ["[\"10.1.0.5\", \"10.1.0.6\"]", "[\"10.1.0.5\", \"fd01::5\"]", "\"fd01::5\""] {
        let refused = complaint(&hosts("").replace("\"10.1.0.5\"", two));
        assert!(refused.contains("more than one address, or another family"), "{refused}");
    }
    let padded = complaint(&hosts("tfc_padding = 600"));
    assert!(padded.contains("for ESP in tunnel mode"), "{padded}");
}
