//! Two daemons without files: Debian's swanctl makes one a gateway of IKEv1 with users and a pool, the other its
//! client. Needs root.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail the test")]

mod common;

use std::fs;

use common::{Pair, Site, wait_until};

const GATEWAY: &str = r#"
connections {
  clients {
    version = 1
    aggressive = yes
    local_addrs = 192.0.2.2
    pools = inside
    proposals = aes256-sha256-modp2048
    local { auth = psk
      id = berlin.lab }
    remote { auth = psk
      id = oslo.lab }
    remote-user { auth = xauth }
    children { net { local_ts = 10.2.0.0/24 } }
  }
}
pools { inside { addrs = NETWORK
    dns = 10.2.0.53 } }
secrets {
  ike-1 { secret = "lab-psk-0123456789" }
  xauth-alice { id = alice
    secret = "correct horse" }
  eap-bob { id = bob
    secret = "battery staple" }
}
"#;

const CLIENT: &str = r#"
connections {
  gateway {
    version = 1
    aggressive = yes
    remote_addrs = 192.0.2.2
    vips = 0.0.0.0
    keyingtries = 1
    proposals = aes256-sha256-modp2048
    local { auth = psk
      id = oslo.lab }
    local-user { auth = xauth
      xauth_id = USER }
    remote { auth = psk
      id = berlin.lab }
    children { net { remote_ts = 10.2.0.0/24 } }
  }
}
secrets {
  ike-1 { secret = "lab-psk-0123456789" }
  xauth-1 { id = USER
    secret = "PASSWORD" }
}
"#;

fn load(site: &Site, text: &str) -> Option<String> {
    fs::write(site.directory.join("swanctl.conf"), text).unwrap();
    site.swanctl(&["--load-all", "--noprompt"])
}

fn client(user: &str, password: &str) -> String {
    CLIENT.replace("USER", user).replace("PASSWORD", password)
}

fn gateway(network: &str) -> String {
    GATEWAY.replace("NETWORK", network)
}

/// CHECKLIST W01, W05: users and addresses by swanctl alone, and what it shows of them.
#[test]
fn swanctl_makes_a_gateway_with_users_and_a_pool() {
    let Some(mut pair) = Pair::new("vici-v1") else { return };
    pair.berlin.start();
    pair.oslo.start();
    let Some(loaded) = load(&pair.berlin, &gateway("10.9.0.0/24")) else { return };
    assert!(loaded.contains("loaded pool 'inside'"), "{loaded}");
    load(&pair.oslo, &client("alice", "correct horse"));
    let up = ["--initiate", "--child", "net", "--timeout", "20"];
    let said = pair.oslo.swanctl(&up).unwrap();
    assert!(said.contains("initiate completed successfully"), "{said}");
    let report = pair.oslo.ping("10.9.0.1", "10.2.0.1", 3);
    assert_eq!(report.lost(), 0, "{}\n{}", pair.oslo.log(), pair.berlin.log());

    let sas = pair.berlin.swanctl(&["--list-sas"]).unwrap();
    assert!(sas.contains("ESTABLISHED, IKEv1, ") && sas.contains("XAuth: 'alice'"), "{sas}");
    assert!(sas.contains("[10.9.0.1]"), "{sas}");
    let pools = pair.berlin.swanctl(&["--list-pools", "--leases"]).unwrap();
    let line = "inside               10.9.0.0                            1 / 0 / 254\n";
    assert!(pools.starts_with(line), "{pools}");
    assert!(pools.contains("online") && pools.contains("'alice'"), "{pools}");
    assert!(!pair.berlin.log().contains("horse"), "{}", pair.berlin.log());

    pair.oslo.swanctl(&["--terminate", "--ike", "gateway"]).unwrap();
    wait_until("the lease is one of the past", || {
        let pools = pair.berlin.swanctl(&["--list-pools", "--leases"]).unwrap();
        pools.contains("0 / 1 / 254") && pools.contains("offline")
    });

    // Another network for the same pool, another user, and a pool that goes.
    load(&pair.berlin, &gateway("10.8.0.0/24"));
    load(&pair.oslo, &client("bob", "battery staple"));
    pair.oslo.swanctl(&up).unwrap();
    let sas = pair.oslo.swanctl(&["--list-sas"]).unwrap();
    assert!(sas.contains("[10.8.0.1]"), "{sas}");
    pair.oslo.swanctl(&["--terminate", "--ike", "gateway"]).unwrap();
    let (start, rest) = GATEWAY.split_once("pools { inside").unwrap();
    let (_, secrets) = rest.split_once("} }\n").unwrap();
    let without = format!("{}{secrets}", start.replace("    pools = inside\n", ""));
    let unloaded = load(&pair.berlin, &without).unwrap();
    assert!(unloaded.contains("no pools found, 1 unloaded"), "{unloaded}");
    assert_eq!(pair.berlin.swanctl(&["--list-pools"]).unwrap(), "");
}

/// CHECKLIST W01: a user who has another's password is none.
#[test]
fn a_password_of_another_user_is_refused() {
    let Some(mut pair) = Pair::new("vici-v1-wrong") else { return };
    pair.berlin.start();
    pair.oslo.start();
    if load(&pair.berlin, &gateway("10.9.0.0/24")).is_none() {
        return;
    }
    load(&pair.oslo, &client("bob", "correct horse"));
    let up = ["--initiate", "--child", "net", "--timeout", "20"];
    let (said, is_up) = pair.oslo.swanctl_says(&up).unwrap();
    assert!(!is_up, "{said}");
    wait_until("the gateway tells", || pair.berlin.log().contains("E223"));
    assert!(!pair.berlin.log().contains("horse"), "{}", pair.berlin.log());
    let unknown = GATEWAY.replace("    pools = inside", "    pools = outside");
    let (said, is_loaded) = {
        fs::write(pair.berlin.directory.join("swanctl.conf"), unknown).unwrap();
        pair.berlin.swanctl_says(&["--load-conns"]).unwrap()
    };
    assert!(!is_loaded && said.contains("there is no pool \"outside\""), "{said}");
}

const BUNDLE: &str = r#"
connections {
  site {
    version = 1
    local_addrs = 192.0.2.HERE
    remote_addrs = 192.0.2.THERE
    proposals = aes256-sha256-modp2048
    local { auth = psk }
    remote { auth = psk }
    children { net { local_ts = 10.HERE.0.0/24
        remote_ts = 10.THERE.0.0/24
        esp_proposals = aes128-sha256
        ah_proposals = sha256 } }
  }
}
secrets { ike-1 { secret = "lab-psk-0123456789" } }
"#;

/// CHECKLIST S10, U16: both lists of a child are AH around ESP, and swanctl shows the two.
#[test]
fn swanctl_makes_a_bundle() {
    let Some(mut pair) = Pair::new("vici-v1-bundle") else { return };
    pair.berlin.start();
    pair.oslo.start();
    let file = |here: &str, there: &str| BUNDLE.replace("THERE", there).replace("HERE", here);
    if load(&pair.berlin, &file("2", "1")).is_none() {
        return;
    }
    load(&pair.oslo, &file("1", "2"));
    let up = ["--initiate", "--child", "net", "--timeout", "20"];
    let said = pair.oslo.swanctl(&up).unwrap();
    assert!(said.contains("initiate completed successfully"), "{said}");
    let report = pair.oslo.ping("10.1.0.1", "10.2.0.1", 3);
    assert_eq!(report.lost(), 0, "{}\n{}", pair.oslo.log(), pair.berlin.log());
    let raw = pair.oslo.swanctl(&["--list-sas", "--raw"]).unwrap();
    assert!(
        raw.contains("protocol=ESP") && raw.contains("ah-integ-alg=HMAC_SHA2_256_128"),
        "{raw}"
    );
}
