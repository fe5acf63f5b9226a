//! Whom echo requests ask how long packets may be.

use adit_db::{EchoRule, PerFamily};

use super::{FIVE_LINES, changed, complaint, good, with};

fn read(lines: &str) -> EchoRule {
    good(&format!("{FIVE_LINES}\n{lines}\n")).connection.children[0].mtu.echo
}

fn named(to: &[&str], from: &[&str]) -> EchoRule {
    let all = |texts: &[&str]| {
        let mut all = PerFamily::NONE;
        assert!(texts.iter().all(|text| all.put(text.parse().unwrap())));
        all
    };
    EchoRule { to: all(to), from: all(from), ..EchoRule::DEFAULT }
}

/// CHECKLIST PM-25: one address of each family, and from where; nobody by default.
#[test]
fn who_is_asked_is_named() {
    assert_eq!(read(""), EchoRule::DEFAULT);
    assert_eq!(read("path_probe = \"10.2.0.1\""), named(&["10.2.0.1"], &[]));
    let both = "path_probe = \"10.2.0.1\"\npath_probe_from = \"10.1.0.1\"";
    assert_eq!(read(both), named(&["10.2.0.1"], &["10.1.0.1"]));
    let families = changed(|lines| {
        lines[1] = "local = [\"10.1.0.0/24\", \"fd01::/48\"]";
        lines[2] = "remote = [\"10.2.0.0/24\", \"fd02::/48\"]";
        lines.push("path_probe = [\"fd02::1\", \"10.2.0.1\"]");
    });
    let echo = good(&families).connection.children[0].mtu.echo;
    assert_eq!(echo, named(&["10.2.0.1", "fd02::1"], &[]));
    assert!(!read("path_probe = false").asks_peer);
    let transport = changed(|lines| {
        lines.retain(|line| !line.contains("/24"));
        lines.push("mode = \"transport\"\npath_probe = false");
    });
    assert!(!good(&transport).connection.children[0].mtu.echo.asks_peer);
}

#[test]
fn who_cannot_be_asked_is_said() {
    insta::assert_snapshot!(with("path_probe = \"10.9.0.1\""), @r#"
        error[E510]: berlin: 10.9.0.1 is outside of `remote`
         --> tunnels/berlin.toml:5:14
          |
        3 | remote = "10.2.0.0/24"
          |          ------------- `remote`
        4 | secret = "file:good.psk"
        5 | path_probe = "10.9.0.1"
          |              ^^^^^^^^^^ echo requests would not go through this tunnel
          |
          = help: write an address inside `remote`
    "#);
    insta::assert_snapshot!(with("path_probe = \"gw.berlin.example\""), @r#"
        error[E510]: berlin: `path_probe` cannot be understood
         --> tunnels/berlin.toml:5:14
          |
        5 | path_probe = "gw.berlin.example"
          |              ^^^^^^^^^^^^^^^^^^^ "gw.berlin.example" is no address of a host
          |
          = help: path_probe = "10.2.0.1", or a list of one address of each family
    "#);
    insta::assert_snapshot!(with("path_probe = [\"10.2.0.1\", \"10.2.0.2\"]"), @r#"
        error[E510]: berlin: `path_probe` has two addresses of IPv4
         --> tunnels/berlin.toml:5:27
          |
        5 | path_probe = ["10.2.0.1", "10.2.0.2"]
          |                           ^^^^^^^^^^ the second one
          |
          = help: keep one for each family
    "#);
    insta::assert_snapshot!(with("path_probe = true"), @r#"
        error[E510]: berlin: `path_probe` must be an address, or false
         --> tunnels/berlin.toml:5:1
          |
        5 | path_probe = true
          | ^^^^^^^^^^ whom is to be asked?
          |
          = help: path_probe = "10.2.0.1", a host behind the peer
    "#);
    insta::assert_snapshot!(with("path_probe_from = \"10.1.0.1\""), @r#"
        error[E510]: berlin: `path_probe_from` without `path_probe`
         --> tunnels/berlin.toml:5:1
          |
        5 | path_probe_from = "10.1.0.1"
          | ^^^^^^^^^^^^^^^ nobody is asked from there
          |
          = help: path_probe = "10.2.0.1", a host behind the peer, or leave this out
    "#);
    let foreign = with("path_probe = \"10.2.0.1\"\npath_probe_from = \"192.0.2.1\"");
    assert!(foreign.contains("192.0.2.1 is outside of `local`"), "{foreign}");
    let many = with("path_probe = \"224.0.0.1\"");
    assert!(many.contains("\"224.0.0.1\" is no address of a host"), "{many}");
}

#[test]
fn where_lengths_say_nothing_nobody_is_asked() {
    for (line, why) in [
        ("mode = \"beet\"", "not in BEET mode"),
        ("encap = \"tcp\"", "a stream has no longest packet"),
        ("protocol = \"ah\"", "not with AH"),
        ("tfc_padding = 1000", "`tfc_padding` hides lengths"),
        ("path_mtu = 1400", "`path_mtu` says already what the path takes"),
        ("engine = \"kernel\"", "the kernel finds the path MTU by itself"),
    ] {
        let said = with(&format!("{line}\npath_probe = \"10.2.0.1\""));
        assert!(said.contains(why), "{said}");
    }
    let transport = complaint(&changed(|lines| {
        lines.retain(|line| !line.contains("/24"));
        lines.push("mode = \"transport\"\npath_probe = \"10.2.0.1\"");
    }));
    insta::assert_snapshot!(transport, @r#"
        error[E510]: berlin: the path is not probed by echo requests
         --> tunnels/berlin.toml:4:1
          |
        4 | path_probe = "10.2.0.1"
          | ^^^^^^^^^^ in transport mode the peer itself is asked, nobody else
          |
          = help: leave `path_probe` out, or write false, which asks nobody
    "#);
}

#[test]
fn other_names_lead_to_the_key() {
    let other = with("echo_probe = \"10.2.0.1\"");
    assert!(other.contains("did you mean `path_probe`?"), "{other}");
}
