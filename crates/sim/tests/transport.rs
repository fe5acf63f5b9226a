//! Transport mode between two hosts (RFC 7296 §1.3.1), with a NAT in between, too (§2.23.1).

#![cfg(test)]

use adit_db::{Mode, TsSpec};
use adit_sim::{Pair, Seed, Setup};

/// Both sides want transport mode, or not.
fn setup(left: Mode, right: Mode) -> Setup {
    let mut setup = Setup::new(Seed(7));
    for (side, mode) in [(&mut setup.left, left), (&mut setup.right, right)] {
        let child = &mut side.children[0];
        child.mode = mode;
        child.local_ts = vec![TsSpec::DYNAMIC];
        child.remote_ts = vec![TsSpec::DYNAMIC];
    }
    setup
}

/// The selectors of each side and whether it is in transport mode.
fn agreed(pair: &Pair) -> [(bool, String, String); 2] {
    [&pair.left, &pair.right].map(|peer| {
        let sas = peer.child_sas();
        assert_eq!(sas.len(), 1);
        let sa = sas.iter().next().unwrap();
        let [local, remote] = [&sa.local_ts, &sa.remote_ts].map(|side| side[0].to_string());
        assert_eq!((sa.local_ts.len(), sa.remote_ts.len()), (1, 1));
        (sa.transport, local, remote)
    })
}

fn view(transport: bool, local: &str, remote: &str) -> (bool, String, String) {
    (transport, local.to_owned(), remote.to_owned())
}

const LEFT: &str = "192.0.2.1/32";
const RIGHT: &str = "203.0.113.2/32";

//= https://www.rfc-editor.org/rfc/rfc7296#section-1.3.1
//= type=test
//# If the request is accepted, the response MUST also include
//# a notification of type USE_TRANSPORT_MODE.
/// CHECKLIST H15.
#[test]
fn two_hosts_agree_on_transport_mode() {
    let mut pair = setup(Mode::Transport, Mode::Transport).pair().up();
    let expected = [view(true, LEFT, RIGHT), view(true, RIGHT, LEFT)];
    assert_eq!(agreed(&pair), expected);
    assert_eq!(pair.left.child_sas(), pair.right.child_sas().mirrored());

    // CHECKLIST J28: it stays so when either side replaces it, and when the IKE SA is replaced.
    for left in [true, false] {
        let peer = if left { &mut pair.left } else { &mut pair.right };
        peer.rekey_child(pair.child);
        pair.run_until_idle();
        assert_eq!(agreed(&pair), expected);
    }
    pair.left.rekey_ike();
    pair.run_until_idle();
    assert_eq!(agreed(&pair), expected);
}

//= https://www.rfc-editor.org/rfc/rfc7296#section-1.3.1
//= type=test
//# If the responder declines the request, the Child SA will be
//# established in tunnel mode.
/// CHECKLIST H15.
#[test]
fn a_side_that_wants_a_tunnel_gets_one() {
    for (left, right) in [(Mode::Transport, Mode::Tunnel), (Mode::Tunnel, Mode::Transport)] {
        let pair = setup(left, right).pair().up();
        assert_eq!(agreed(&pair), [view(false, LEFT, RIGHT), view(false, RIGHT, LEFT)]);
    }
}

/// Networks have no place in transport mode: such an offer gets a tunnel (RFC 4301 §4.1).
#[test]
fn networks_get_a_tunnel() {
    let mut setup = setup(Mode::Transport, Mode::Transport);
    setup.left.children[0].local_ts = vec!["192.0.2.0/24".parse().unwrap()];
    setup.right.children[0].remote_ts = vec!["192.0.2.0/24".parse().unwrap()];
    let pair = setup.pair().up();
    assert_eq!(agreed(&pair)[0], view(false, "192.0.2.0/24", RIGHT));
}

//= https://www.rfc-editor.org/rfc/rfc7296#section-2.23.1
//= type=test
//# If the server is behind a NAT, substitute the IP address in the TSr
//# entries with the local address of the IKE SA.
/// CHECKLIST H16.
#[test]
fn through_a_nat_each_side_has_the_addresses_it_sees() {
    let mut pair = setup(Mode::Transport, Mode::Transport).behind_nat().pair();
    pair.left.initiate(pair.child);
    pair.run_until_idle();
    let outside = pair.right.established()[0].remote.ip();
    let outside = format!("{outside}/32");
    let expected = [view(true, LEFT, RIGHT), view(true, RIGHT, &outside)];
    assert_eq!(agreed(&pair), expected);
    pair.right.rekey_child(pair.child);
    pair.run_until_idle();
    assert_eq!(agreed(&pair), expected);
}
