//! Selectors that come from packets.

use adit_db::Pfp;

use super::{FIVE_LINES, good, with};

#[test]
fn flags_are_named() {
    let pfp = |lines: &str| {
        let tunnel = good(&format!("{FIVE_LINES}\nkeep = \"on-demand\"\n{lines}\n"));
        tunnel.connection.children[0].pfp
    };
    assert_eq!(pfp(""), Pfp::NONE);
    assert_eq!(pfp("pfp = \"remote\""), Pfp { remote: true, ..Pfp::NONE });
    let all = "pfp = [\"local\", \"remote\", \"protocol\", \"local_port\", \"remote_port\"]";
    assert!(pfp(all).words().eq(Pfp::WORDS));
}

#[test]
fn what_no_packet_can_say_is_refused() {
    for (lines, expected) in [
        ("pfp = [\"remote\"]", "write keep = \"on-demand\""),
        ("keep = \"passive\"\npfp = [\"remote\"]", "`pfp` is for tunnels on demand"),
        ("keep = \"on-demand\"\npfp = [\"remot\"]", "did you mean \"remote\"?"),
        ("keep = \"on-demand\"\npfp = [\"name\"]", "must be one of local, remote, protocol"),
        ("keep = \"on-demand\"\npfp = [\"remote_port\"]", "add \"protocol\""),
    ] {
        let refused = with(lines);
        assert!(refused.contains("error[E510]"), "{refused}");
        assert!(refused.contains(expected), "{refused}");
    }
}
