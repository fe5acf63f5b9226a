//! Tunnels for identities, which may come from anywhere (RFC 4301 §4.4.1.1, names). Needs root.

mod common;

use adit_mgmt::api::{Fate, TunnelState};
use adit_mgmt::vici::{Request, Selection, Terminate};
use common::{Pair, SECRET, wait_until};

/// Two tunnels with the same addresses pattern: each takes the traffic of its own peer, and no SA takes
/// that of the other's.
#[test]
fn each_identity_has_its_own_traffic() {
    let Some(mut pair) = Pair::new("names") else { return };
    let Some(mut paris) = pair.paris("names") else { return };
    for name in ["alice", "bob"] {
        let text = format!(
            "keep = \"passive\"\nlocal = \"10.1.0.0/24\"\nremote = \"dynamic\"\n\
             peer_id = \"{name}.example\"\nsecret = \"file:tunnel.psk\"\n"
        );
        pair.oslo.write(&format!("{name}.toml"), &text, 0o644);
    }
    pair.oslo.write("tunnel.psk", SECRET, 0o600);
    pair.oslo.start();
    for (site, name, oslo) in
        [(&mut pair.berlin, "alice", "192.0.2.1"), (&mut paris, "bob", "198.51.100.1")]
    {
        let text = format!(
            "peer = \"{oslo}\"\nlocal = \"dynamic\"\nremote = \"10.1.0.0/24\"\n\
             id = \"{name}.example\"\nsecret = \"file:tunnel.psk\"\n"
        );
        site.write("tunnel.toml", &text, 0o644);
        site.write("tunnel.psk", SECRET, 0o600);
        site.start();
        site.wait_for("tunnel", TunnelState::Up);
    }
    let oslo = &pair.oslo;
    let named: Vec<_> =
        oslo.spd().entries.into_iter().map(|entry| (entry.remote, entry.peer_id)).collect();
    let entry = |address: &str, peer: &str| (vec![address.to_owned()], Some(peer.to_owned()));
    assert!(named.contains(&entry("192.0.2.2/32", "alice.example")), "{named:?}");
    assert!(named.contains(&entry("198.51.100.3/32", "bob.example")), "{named:?}");

    assert_eq!(oslo.ping("10.1.0.1", "198.51.100.3", 5).lost(), 0, "{}", oslo.log());
    let sent = |tunnel: &str| {
        let sas = oslo.sad().sas;
        sas.iter().filter(|sa| sa.tunnel == tunnel).map(|sa| sa.packets_out).sum::<u64>()
    };
    assert_eq!((sent("alice"), sent("bob")), (0, 5));
    let why = oslo.why("10.1.0.1", "198.51.100.3", 1, None);
    assert_eq!(why.policy.map(|policy| policy.peer_id), Some(Some("bob.example".to_owned())));
    assert_eq!(why.sa.map(|sa| sa.tunnel), Some("bob".to_owned()));

    // Without bob nobody else has his traffic.
    let selection = Selection::connection("bob");
    oslo.call(&Request::Terminate(Terminate { selection, ..Terminate::default() }));
    wait_until("bob is gone", || oslo.sad().sas.iter().all(|sa| sa.tunnel == "alice"));
    let why = oslo.why("10.1.0.1", "198.51.100.3", 1, None);
    assert_ne!(why.fate, Fate::Protected, "{why:?}");
    assert_eq!(sent("alice"), 0);
}
