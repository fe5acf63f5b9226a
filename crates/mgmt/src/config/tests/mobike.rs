//! Tunnels that move.

use std::net::IpAddr;

use adit_db::{HostSpec, Mobike};

use super::{FIVE_LINES, good, with};

#[test]
fn a_tunnel_moves_unless_it_is_told_not_to() {
    let mobike = |lines: &str| good(&format!("{FIVE_LINES}\n{lines}\n")).connection.mobike;
    assert_eq!(mobike(""), Mobike::Yes);
    assert_eq!(mobike("mobike = \"yes\""), Mobike::Yes);
    assert_eq!(mobike("mobike = \"unchecked\""), Mobike::Unchecked);
    assert_eq!(mobike("mobike = \"no\""), Mobike::No);
    let said = with("mobike = \"maybe\"");
    assert!(said.contains("unknown value for `mobike`"), "{said}");
}

#[test]
fn what_cannot_move_is_not_asked_to() {
    let moves = |lines: &str| good(&format!("{FIVE_LINES}\n{lines}\n")).connection.may_move();
    assert!(moves(""));
    assert!(!moves("mobike = \"no\""));
    let said = with("mode = \"transport\"\nmobike = \"yes\"");
    assert!(said.contains("this tunnel cannot move"), "{said}");
    assert!(said.contains("= help: leave `mobike` out"), "{said}");
}

#[test]
fn one_address_or_several_of_ours() {
    let ours = |lines: &str| {
        let tunnel = good(&format!("{FIVE_LINES}\n{lines}\n"));
        tunnel.connection.local_addresses.clone()
    };
    let address = |text: &str| HostSpec::Address(text.parse::<IpAddr>().unwrap());
    assert_eq!(ours("address = \"192.0.2.1\""), [address("192.0.2.1")]);
    let both = ours("address = [\"192.0.2.1\", \"2001:db8::1\"]");
    assert_eq!(both, [address("192.0.2.1"), address("2001:db8::1")]);
    let said = with("address = [\"192.0.2.1\", \"eth0\"]");
    assert!(said.contains("\"eth0\" is no IP address of this host"), "{said}");
}
