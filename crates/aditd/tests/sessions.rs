//! A session is resumed with a gateway that was killed (RFC 5723), and goes to another address by
//! command (RFC 5685). Needs root.

mod common;

use std::time::{Duration, Instant};

use adit_mgmt::api::TunnelState;
use common::{Pair, wait_until};

fn tunnel(here: u8, there: u8, extra: &str) -> String {
    format!(
        "peer = \"192.0.2.{there}\"\nlocal = \"10.{here}.0.0/24\"\nremote = \"10.{there}.0.0/24\"\n\
         secret = \"file:tunnel.psk\"\nresumption = true\n{extra}\n"
    )
}

/// Longer than the client takes to be sure that the gateway is silent.
const SILENCE: Duration = Duration::from_secs(150);

/// CHECKLIST R04: the gateway is killed, has nothing left but its file of keys, and knows the client by
/// its ticket.
#[test]
fn a_killed_gateway_resumes_a_session_by_its_file_of_keys() {
    let Some(mut pair) = Pair::new("resumed") else { return };
    let state = pair.berlin.directory.join("state").display().to_string();
    pair.berlin.options = vec!["--state", state.leak()];
    pair.start(&tunnel(1, 2, "keep = \"up\"\ndpd = \"1s\""), &tunnel(2, 1, "keep = \"passive\""));
    pair.oslo.wait_for("tunnel", TunnelState::Up);
    pair.berlin.kill();
    pair.berlin.start();
    #[expect(clippy::disallowed_methods, reason = "the daemons have real clocks")]
    let start = Instant::now();
    let is_back = || {
        let list = pair.berlin.swanctl(&["--list-sas", "--raw"]);
        list.is_none_or(|list| list.contains("resumed=yes"))
    };
    while !is_back() {
        assert!(start.elapsed() < SILENCE, "{}\n{}", pair.oslo.log(), pair.berlin.log());
        std::thread::sleep(Duration::from_millis(500));
    }
    assert_eq!(pair.oslo.ping("10.1.0.1", "10.2.0.1", 3).lost(), 0, "{}", pair.oslo.log());
}

/// CHECKLIST R01: `swanctl --redirect` sends a peer to our other address; the tunnel comes along.
#[test]
fn a_peer_is_redirected_by_command() {
    let Some(mut pair) = Pair::new("redirected") else { return };
    let client = "peer = \"192.0.2.2\"\nid = \"oslo.example\"\npeer_id = \"berlin.example\"\n\
        local = \"10.1.0.0/24\"\nremote = \"10.2.0.0/24\"\nsecret = \"file:tunnel.psk\"\n\
        follow_redirects = true\n";
    let gateway = "id = \"berlin.example\"\npeer_id = \"oslo.example\"\nkeep = \"passive\"\n\
        local = \"10.2.0.0/24\"\nremote = \"10.1.0.0/24\"\nsecret = \"file:tunnel.psk\"\n";
    pair.start(client, gateway);
    pair.oslo.wait_for("tunnel", TunnelState::Up);
    let nobody = ["--redirect", "--peer-ip", "198.51.100.0/24", "--gateway", "2001:db8::2"];
    let Some((said, done)) = pair.berlin.swanctl_says(&nobody) else { return };
    assert!(!done && said.contains("no matching SAs to redirect found"), "{said}");
    let chosen = ["--redirect", "--peer-ip", "192.0.2.0/24", "--gateway", "2001:db8::2"];
    pair.berlin.swanctl(&chosen);
    wait_until("the client is at the other address", || {
        let list = pair.berlin.swanctl(&["--list-sas", "--raw"]);
        list.is_none_or(|list| list.contains("remote-host=2001:db8::1"))
    });
    pair.oslo.wait_for("tunnel", TunnelState::Up);
    assert_eq!(pair.oslo.ping("10.1.0.1", "10.2.0.1", 3).lost(), 0, "{}", pair.oslo.log());
}
