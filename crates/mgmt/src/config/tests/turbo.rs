//! What makes a tunnel faster between peers that can.

use super::{FIVE_LINES, load_one, with};

/// Whether shared ESP packets are negotiated: unless somebody does not want them, wherever they are
/// possible.
#[test]
fn turbo_is_on_where_it_can_be() {
    let shares = |lines: &str| {
        let configuration = load_one(&format!("{FIVE_LINES}\n{lines}\n")).unwrap();
        let connection = &configuration.tunnels["berlin"].connection;
        connection.negotiates_aggfrag(&connection.children[0])
    };
    for lines in ["", "turbo = \"auto\"", "classes = [[\"ef\"]]", "esp = \"aes128gcm16\""] {
        assert!(shares(lines), "{lines}");
    }
    for lines in [
        "turbo = \"off\"",
        "compress = true",
        "tfc_padding = 600",
        "tfc_padding = \"mtu\"\ntfc_dummies = 1\nturbo = \"auto\"",
        "protocol = \"ah\"",
        "replay_window = 0",
        "engine = \"kernel\"",
    ] {
        assert!(!shares(lines), "{lines}");
    }
}

#[test]
fn turbo_is_one_of_two_words() {
    for (line, expected) in [
        ("turbo = \"on\"", "must be \"auto\" or \"off\""),
        ("turbo = true", "must be a string"),
        ("iptfs = true", "did you mean `turbo`?"),
    ] {
        let refused = with(line);
        assert!(refused.contains("error[E510]"), "{refused}");
        assert!(refused.contains(expected), "{refused}");
    }
}
