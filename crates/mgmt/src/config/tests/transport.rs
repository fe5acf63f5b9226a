//! Tunnels in transport mode.

use adit_db::{Mode, TsSpec};

use super::{changed, good, with};

#[test]
fn transport_mode_needs_no_networks() {
    let bare = changed(|lines| {
        lines.retain(|line| !line.contains("10."));
        lines.push("mode = \"transport\"");
    });
    let child = good(&bare).connection.children[0].clone();
    assert_eq!(child.mode, Mode::Transport);
    assert_eq!((child.local_ts, child.remote_ts), (vec![TsSpec::DYNAMIC], vec![TsSpec::DYNAMIC]));

    let port = good(&format!("{bare}remote = \"203.0.113.7[tcp/179]\"\n"));
    assert_eq!(port.connection.children[0].remote_ts[0].to_string(), "203.0.113.7/32[tcp/179]");
}

#[test]
fn transport_mode_with_networks() {
    insta::assert_snapshot!(with("mode = \"transport\""), @r#"
        error[E510]: berlin: transport mode is for the two ends alone
         --> tunnels/berlin.toml:2:10
          |
        2 | local  = "10.1.0.0/24"
          |          ^^^^^^^^^^^^^ more than the address of one end
          |
          = help: write "dynamic", or mode = "tunnel"
        "#);
}
