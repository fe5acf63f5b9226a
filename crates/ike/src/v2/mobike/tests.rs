use adit_db::{ChildConfig, ConnectionName};

use super::*;

fn connection(local_ts: &str) -> Connection {
    let mut connection = Connection::new(ConnectionName::new("tunnel").unwrap());
    let mut child = ChildConfig::new("net".parse().unwrap());
    child.local_ts = vec![local_ts.parse().unwrap()];
    connection.children.push(child);
    connection
}

/// What only the tunnel leads to is no address to call; a gateway for all that there is stays one.
#[test]
fn addresses_inside_the_tunnel_are_not_told() {
    let address = |text: &str| -> IpAddr { text.parse().unwrap() };
    let inside = |local_ts: &str, text: &str| is_inside(&connection(local_ts), address(text));
    assert!(inside("10.1.0.0/24", "10.1.0.1"));
    assert!(!inside("10.1.0.0/24", "192.0.2.1"));
    assert!(!inside("0.0.0.0/0", "192.0.2.1"));
    assert!(!inside("10.1.0.0/24", "fd00::1"));
    assert!(inside("fd00::/64", "fd00::1"));
    assert!(!inside("dynamic", "192.0.2.1"));
}

/// Selectors of transport mode are the addresses, and those of an inner tunnel the outer one's.
#[test]
fn what_is_bound_to_its_addresses_does_not_move() {
    let free = connection("10.1.0.0/24");
    assert_eq!(offer_for(&free, Role::Initiator), Some(Role::Initiator));
    let mut transport = free.clone();
    transport.children[0].mode = adit_db::Mode::Transport;
    let over = ConnectionName::new("outer").unwrap();
    let inner = Connection { over: Some(over), ..free.clone() };
    let off = Connection { mobike: Mobike::No, ..free };
    for bound in [transport, inner, off] {
        assert_eq!(offer_for(&bound, Role::Responder), None);
    }
}
