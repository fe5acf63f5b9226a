//! IKE and ESP in TCP (RFC 9329): over to it where UDP does not pass, back again, and what happens when
//! a connection breaks. CHECKLIST C07, N10 to N13.

use std::time::Duration;

use adit_db::{Encap, HostSpec, Keep, ProposalSpec};
use adit_ike::{EndpointConfig, Event, FailureReason, Step, TcpProblem, Transport};
use adit_sim::{Child, Pair, Peer, Seed, Setup, Side};

const PORT: u16 = 4500;

/// Two peers that may use TCP, the left one with this `encap`.
fn setup(seed: u64, encap: Encap) -> Setup {
    let mut setup = Setup::new(Seed(seed));
    setup.left.encap = encap;
    setup.left.tcp_ports = vec![PORT];
    setup
}

fn blocked(seed: u64) -> Pair {
    let mut pair = setup(seed, Encap::Auto).pair();
    pair.network.udp_blocked = true;
    pair
}

fn transports(peer: &Peer) -> Vec<Transport> {
    peer.established().iter().map(|info| info.transport).collect()
}

fn exchange_packets(pair: &mut Pair) {
    let before = (pair.left.packets_opened, pair.right.packets_opened);
    pair.left.send_packet(Child(0));
    pair.right.send_packet(Child(0));
    pair.run_for(Duration::from_secs(1));
    let after = (pair.left.packets_opened, pair.right.packets_opened);
    assert_eq!(after, (before.0 + 1, before.1 + 1), "{}", pair.ladder());
}

/// CHECKLIST N10: the first attempt is by UDP, whose silence is short, the second by TCP, with another
/// SPI (RFC 9329 §5.1).
#[test]
fn where_udp_is_blocked_tcp_takes_its_place() {
    let mut pair = blocked(1).up();
    assert_eq!(transports(&pair.left), [Transport::TcpOriginator]);
    assert_eq!(transports(&pair.right), [Transport::TcpResponder]);
    assert!(pair.elapsed() < Duration::from_secs(12), "{}", pair.ladder());
    assert_eq!(fallbacks(&pair.left), 1);
    assert_eq!(pair.left.failures().count(), 0, "{}", pair.ladder());
    let info = &pair.left.established()[0];
    assert_eq!(info.remote.port(), PORT);
    let encap = info.children[0].encap;
    assert!(encap.tcp && encap.udp && encap.remote == info.remote);
    exchange_packets(&mut pair);
}

/// Who has no port of the peer's stays with UDP.
#[test]
fn nobody_falls_back_unasked() {
    let mut pair = Setup::new(Seed(2)).pair();
    pair.network.udp_blocked = true;
    let request = pair.left.initiate(Child(0));
    pair.run_until_idle();
    let failure = pair.left.result(request).unwrap().as_ref().unwrap_err();
    assert!(matches!(failure.reason, FailureReason::PeerSilent { transmissions: 6, .. }));
    assert_eq!(pair.network.tcp_connections(), 0);
}

/// Back to UDP when that passes again: a second IKE SA replaces the first, and nothing is lost.
#[test]
fn udp_takes_over_again() {
    let mut pair = blocked(3).up();
    let interval = EndpointConfig::default().udp_probe;
    // It is tried in vain, which nobody hears of.
    pair.run_for(interval * 3);
    assert_eq!(transports(&pair.left), [Transport::TcpOriginator]);
    assert_eq!(pair.left.failures().count(), 0, "{}", pair.ladder());
    exchange_packets(&mut pair);
    pair.network.udp_blocked = false;
    let is_back = |pair: &Pair| transports(&pair.left) == [Transport::Udp];
    let lost = (pair.left.packets_lost, pair.right.packets_lost);
    let mut back = false;
    for _ in 0..interval.as_secs() + 20 {
        exchange_packets(&mut pair);
        back |= is_back(&pair);
    }
    assert!(back, "{}", pair.ladder());
    pair.run_until_idle();
    assert_eq!(transports(&pair.right), [Transport::Udp]);
    assert_eq!((pair.left.packets_lost, pair.right.packets_lost), lost, "{}", pair.ladder());
    assert_eq!(pair.left.child_sas(), pair.right.child_sas().mirrored());
    assert_eq!(pair.network.tcp_connections(), 0, "{}", pair.ladder());
}

/// CHECKLIST N10: without UDP, from the first message on. No NAT is looked for, nothing floats.
#[test]
fn tcp_can_be_had_at_once() {
    let mut pair = setup(4, Encap::Tcp).pair().up();
    assert!(pair.elapsed() < Duration::from_secs(1));
    assert_eq!(transports(&pair.left), [Transport::TcpOriginator]);
    assert!(!pair.left.established()[0].nat_local && !pair.left.established()[0].nat_remote);
    pair.run_for(EndpointConfig::default().udp_probe * 3);
    assert_eq!(transports(&pair.left), [Transport::TcpOriginator]);
    exchange_packets(&mut pair);
}

/// A NAT between does no harm (RFC 9329 §6.5), and no keepalive is needed (§6.6).
#[test]
fn a_nat_is_passed() {
    let mut setup = setup(5, Encap::Tcp).behind_nat();
    setup.left.keepalive = Duration::from_secs(20);
    let mut pair = setup.pair().up();
    assert!(pair.left.established()[0].nat_local);
    exchange_packets(&mut pair);
    pair.run_for(Duration::from_secs(100));
    assert_eq!(pair.right.keepalives_received, 0);
    exchange_packets(&mut pair);
}

//= https://www.rfc-editor.org/rfc/rfc9329#section-6.3
//= type=test
//# The exchange Responder SHOULD NOT send an IKEv2 Cookie request without an accompanied
//# Puzzle
/// CHECKLIST N11, C07: TCP has shown that the address is right, so that no cookie is asked for; another
/// group is asked for over the same connection.
#[test]
fn other_groups_and_no_cookies_over_tcp() {
    let mut setup = setup(6, Encap::Tcp);
    setup.right_config.cookie_threshold = 0;
    setup.left.proposals = ProposalSpec::ike_list("aes256gcm16-prfsha256-x25519-ecp256").unwrap();
    setup.right.proposals = ProposalSpec::ike_list("aes256gcm16-prfsha256-ecp256").unwrap();
    let pair = setup.pair().up();
    let asked = |wanted: fn(&Step) -> bool| {
        let steps = pair.left.events().iter();
        steps.filter(|event| matches!(event, Event::Progress { step, .. } if wanted(step))).count()
    };
    assert_eq!(asked(|step| matches!(step, Step::CookieAsked)), 0, "{}", pair.ladder());
    assert_eq!(asked(|step| matches!(step, Step::KeyExchangeAsked { .. })), 1);
    assert_eq!(pair.network.tcp_connections(), 1, "{}", pair.ladder());
}

/// CHECKLIST N11: an error is believed at once (RFC 9329 §6.4), and the connection is closed.
#[test]
fn a_refusal_over_tcp_needs_no_waiting() {
    let mut setup = setup(7, Encap::Tcp);
    setup.left.proposals = ProposalSpec::ike_list("aes128gcm16-prfsha256-x25519").unwrap();
    setup.right.proposals = ProposalSpec::ike_list("aes256gcm16-prfsha512-x25519").unwrap();
    let mut pair = setup.pair();
    let request = pair.left.initiate(Child(0));
    pair.run_for(Duration::from_millis(100));
    let failure = pair.left.result(request).unwrap().as_ref().unwrap_err();
    assert_eq!(failure.reason.code(), Some(101), "{}", pair.ladder());
    pair.run_until_idle();
    assert_eq!(pair.network.tcp_connections(), 0);
}

/// CHECKLIST N11: authentication fails on the first connection.
#[test]
fn a_wrong_secret_over_tcp() {
    let mut setup = setup(8, Encap::Tcp);
    setup.left_secret = Some("something else".to_owned());
    let mut pair = setup.pair();
    let request = pair.left.initiate(Child(0));
    pair.run_until_idle();
    let failure = pair.left.result(request).unwrap().as_ref().unwrap_err();
    assert_eq!(failure.reason.code(), Some(203), "{}", pair.ladder());
    pair.run_for(Duration::from_secs(60));
    assert_eq!(pair.network.tcp_connections(), 0);
}

/// Where another gateway is.
const OTHER: &str = "203.0.113.3";

/// How often an attempt over UDP was followed by one over TCP.
fn fallbacks(peer: &Peer) -> usize {
    let said = |step: &Step| matches!(step, Step::FallingBack { .. });
    let steps = peer.events().iter();
    steps.filter(|event| matches!(event, Event::Progress { step, .. } if said(step))).count()
}

/// CHECKLIST N11, R01: a gateway sends its peer to another one, in its first answer or while the tunnel is up. The
/// connection with the first is closed; where UDP may do, that is tried with the next one before TCP is
/// (RFC 9329 §7.2).
#[test]
fn a_redirect_over_tcp_is_followed() {
    for (encap, while_up, seed) in [
        (Encap::Tcp, false, 40),
        (Encap::Tcp, true, 41),
        (Encap::Auto, false, 42),
        (Encap::Auto, true, 43),
    ] {
        let mut setup = setup(seed, encap);
        setup.left.redirect.follow = true;
        setup.right.local_addresses = vec![HostSpec::Any];
        setup.right.redirect.to = (!while_up).then(|| OTHER.parse().unwrap());
        let mut pair = setup.pair();
        pair.network.udp_blocked = encap == Encap::Auto;
        let mut pair = pair.up();
        if while_up {
            assert_ne!(pair.left.established()[0].remote.ip().to_string(), OTHER);
            pair.right.redirect(OTHER.parse().unwrap());
            pair.run_for(Duration::from_secs(30));
        }
        let info = &pair.left.established()[0];
        assert_eq!(info.remote.to_string(), format!("{OTHER}:{PORT}"), "{}", pair.ladder());
        assert_eq!(transports(&pair.left), [Transport::TcpOriginator]);
        assert_eq!(pair.right.established().len(), 1, "{}", pair.ladder());
        assert_eq!(pair.network.tcp_connections(), 1, "{}", pair.ladder());
        assert_eq!(fallbacks(&pair.left), if encap == Encap::Auto { 2 } else { 0 });
        exchange_packets(&mut pair);
    }
}

/// CHECKLIST N11: UDP reaches the gateway that a peer is sent to from a connection.
#[test]
fn a_redirect_over_tcp_may_lead_to_udp() {
    let mut setup = setup(44, Encap::Auto);
    setup.left.redirect.follow = true;
    setup.right.local_addresses = vec![HostSpec::Any];
    let mut pair = setup.pair();
    pair.network.udp_blocked = true;
    let mut pair = pair.up();
    pair.network.udp_blocked = false;
    pair.right.redirect(OTHER.parse().unwrap());
    pair.run_for(Duration::from_secs(10));
    assert_eq!(pair.left.established()[0].remote.ip().to_string(), OTHER, "{}", pair.ladder());
    assert_eq!(transports(&pair.left), [Transport::Udp], "{}", pair.ladder());
    assert_eq!((pair.network.tcp_connections(), fallbacks(&pair.left)), (0, 1));
    exchange_packets(&mut pair);
}

/// Nobody listens: that is said, and next time it is UDP again.
#[test]
fn a_refused_connection_has_a_name() {
    for (encap, seed) in [(Encap::Tcp, 9), (Encap::Auto, 10)] {
        let mut pair = setup(seed, encap).pair();
        (pair.network.udp_blocked, pair.network.tcp_refused) = (true, true);
        let request = pair.left.initiate(Child(0));
        pair.run_until_idle();
        let failure = pair.left.result(request).unwrap().as_ref().unwrap_err();
        let problem = TcpProblem::Refused;
        let is_it = |reason: &FailureReason| matches!(reason, FailureReason::TcpFailed { problem: found, .. } if *found == problem);
        assert!(is_it(&failure.reason), "{failure:?}");
        assert_eq!(failure.reason.code(), Some(122));
        pair.network.udp_blocked = false;
        pair.network.tcp_refused = encap != Encap::Auto;
        if encap == Encap::Auto {
            let pair = pair.up();
            assert_eq!(transports(&pair.left), [Transport::Udp], "{}", pair.ladder());
        }
    }
}

//= https://www.rfc-editor.org/rfc/rfc9329#section-6.1
//= type=test
//# The TCP Originator is responsible for re-establishing the TCP connection if it is torn down for
//# any unexpected reason.
/// CHECKLIST N12: only who has opened the connection opens another; the SAs stay, and go over to it.
#[test]
fn a_broken_connection_is_opened_again() {
    let mut pair = setup(11, Encap::Tcp).pair().up();
    let before = pair.left.established()[0].clone();
    for _ in 0..3 {
        pair.break_tcp();
        pair.run_until_idle();
        assert_eq!(pair.network.tcp_connections(), 1, "{}", pair.ladder());
        let after = &pair.left.established()[0];
        assert_eq!((after.id, after.spi_i), (before.id, before.spi_i));
        assert_eq!(pair.right.established()[0].remote, after.local);
        exchange_packets(&mut pair);
    }
    assert_ne!(pair.left.established()[0].local, before.local);
    assert_eq!(pair.left.child_sas(), pair.right.child_sas().mirrored());
}

//= https://www.rfc-editor.org/rfc/rfc9329#section-6.2
//= type=test
//# If a new TCP connection for the IKE SA is established while the exchange Initiator is waiting
//# for a response, the Initiator MUST retransmit its request over this connection and continue to
//# wait for a response.
/// CHECKLIST N12: what was asked when the connection broke is asked again on the new one, by whichever
/// end; over the same connection nothing is sent twice (RFC 9329 §6.2).
#[test]
fn requests_are_repeated_on_another_connection_alone() {
    for (side, seed) in [(Side::Left, 12), (Side::Right, 13)] {
        let mut pair = setup(seed, Encap::Tcp).pair().up();
        let old = pair.left.established()[0].id;
        pair.peer(side).rekey_ike();
        pair.break_tcp();
        pair.run_until_idle();
        assert_ne!(pair.left.established()[0].id, old, "{}", pair.ladder());
        exchange_packets(&mut pair);
    }
    let mut pair = setup(14, Encap::Tcp).pair().up();
    pair.network.faults.delay_max = Duration::from_secs(3);
    let before = pair.messages_sent();
    pair.left.rekey_child(Child(0));
    pair.run_until_idle();
    // The rekey, the delete, and both answers.
    assert_eq!(pair.messages_sent() - before, 4, "{}", pair.ladder());
}

/// CHECKLIST N12: nobody is there to be connected to: the attempts come at growing intervals, and the
/// peer is taken for dead when the request is old enough.
#[test]
fn a_peer_that_is_gone_is_given_up() {
    let mut pair = setup(15, Encap::Tcp).pair().up();
    pair.network.tcp_refused = true;
    pair.break_tcp();
    pair.run_for(Duration::from_secs(100));
    assert!(pair.left.established().is_empty(), "{}", pair.ladder());
    let reconnecting =
        pair.left.events().iter().filter(|event| {
            matches!(event, Event::Progress { step: Step::Reconnecting { .. }, .. })
        });
    assert!((4..=10).contains(&reconnecting.count()));
}

/// CHECKLIST N13: child and IKE SA are rekeyed over TCP, by either end, and stay there.
#[test]
fn both_rekey_over_tcp() {
    let mut pair = setup(16, Encap::Tcp).pair().up();
    for side in [Side::Left, Side::Right] {
        pair.peer(side).rekey_child(Child(0));
        pair.run_until_idle();
        pair.peer(side).rekey_ike();
        pair.run_until_idle();
        exchange_packets(&mut pair);
        assert_eq!(pair.network.tcp_connections(), 1, "{}", pair.ladder());
    }
    assert_eq!(transports(&pair.left), [Transport::TcpOriginator]);
    pair.break_tcp();
    pair.run_until_idle();
    exchange_packets(&mut pair);
}

/// CHECKLIST N13: a packet brings the tunnel up over TCP.
#[test]
fn on_demand_over_tcp() {
    let mut setup = setup(17, Encap::Auto);
    setup.left.children[0] = setup.left.children[0].clone().kept(Keep::OnDemand);
    let mut pair = setup.pair();
    pair.network.udp_blocked = true;
    pair.left.send_packet(Child(0));
    pair.run_until_idle();
    assert_eq!(transports(&pair.left), [Transport::TcpOriginator], "{}", pair.ladder());
    exchange_packets(&mut pair);
}

/// Messages are not fragmented over TCP (RFC 9329 §7.5), however long.
#[test]
fn nothing_is_fragmented_over_tcp() {
    let mut setup = setup(18, Encap::Tcp);
    setup.left_config.fragment_octets.v4 = 160;
    setup.right_config.fragment_octets.v4 = 160;
    let pair = setup.pair().up();
    // IKE_SA_INIT, IKE_INTERMEDIATE and IKE_AUTH, in one piece each.
    assert_eq!(pair.messages_sent(), 6, "{}", pair.ladder());
}

/// A connection that UDP may not carry the packets of is not served over TCP.
#[test]
fn the_responder_may_not_take_it() {
    let mut setup = setup(19, Encap::Tcp);
    setup.right.encap = Encap::Esp;
    let mut pair = setup.pair();
    let request = pair.left.initiate(Child(0));
    pair.run_until_idle();
    let failure = pair.left.result(request).unwrap().as_ref().unwrap_err();
    assert_eq!(failure.reason.code(), Some(101), "{}", pair.ladder());
}

/// AH has no place in TCP.
#[test]
fn ah_does_not_go_over_tcp() {
    let mut setup = setup(22, Encap::Tcp);
    for side in [&mut setup.left, &mut setup.right] {
        side.children[0].proposals = ProposalSpec::ah_default();
    }
    let mut pair = setup.pair();
    let request = pair.left.initiate(Child(0));
    pair.run_until_idle();
    let failure = pair.left.result(request).unwrap().as_ref().unwrap_err();
    assert!(failure.reason.code().is_some(), "{failure:?}");
    assert_eq!(pair.right.child_sas(), pair.left.child_sas().mirrored());
    assert!(pair.left.established().iter().all(|info| info.children.is_empty()));
}

/// A peer that goes back to UDP and does not delete what it had over TCP: we do, after a while.
#[test]
fn who_stays_on_tcp_is_left() {
    let mut pair = blocked(23).up();
    pair.network.udp_blocked = false;
    let wait = EndpointConfig::default().udp_probe * 2;
    assert!(pair.run_until(wait, |pair| transports(&pair.left).contains(&Transport::Udp)));
    // Its delete is lost with the connection.
    pair.break_tcp();
    pair.run_for(Duration::from_secs(5));
    assert_eq!(pair.right.established().len(), 2, "{}", pair.ladder());
    pair.run_for(Duration::from_secs(40));
    assert_eq!(transports(&pair.right), [Transport::Udp], "{}", pair.ladder());
    assert_eq!(transports(&pair.left), [Transport::Udp]);
    exchange_packets(&mut pair);
}

/// When all is over the connection is closed by who opened it.
#[test]
fn the_last_delete_closes_the_connection() {
    for (side, seed) in [(Side::Left, 20), (Side::Right, 21)] {
        let mut pair = setup(seed, Encap::Tcp).pair().up();
        pair.peer(side).terminate_ike();
        pair.run_until_idle();
        assert!(pair.left.established().is_empty() && pair.right.established().is_empty());
        assert_eq!(pair.network.tcp_connections(), 0, "{}", pair.ladder());
    }
}

/// RFC 9329 §6.1: several IKE SAs may share a connection. One that repeats the authentication (RFC 4478)
/// of another goes where that is, whoever begins.
#[test]
fn authentication_is_repeated_on_the_same_connection() {
    for side in [Side::Left, Side::Right] {
        let mut pair = blocked(23).up();
        let before = pair.left.established()[0].spi_i;
        pair.peer(side).reauthenticate();
        pair.run_for(Duration::from_secs(30));
        assert_eq!(
            (pair.left.ike_sas().len(), pair.right.ike_sas().len()),
            (1, 1),
            "{}",
            pair.ladder()
        );
        assert_ne!(pair.left.established()[0].spi_i, before, "{}", pair.ladder());
        assert_eq!(transports(&pair.left), [Transport::TcpOriginator]);
        assert_eq!(pair.network.tcp_connections(), 1);
        exchange_packets(&mut pair);
    }
}

/// The address that the connection began at is gone: nothing can be opened from there, and so the IKE SA
/// is set up anew from another one.
#[test]
fn nothing_is_opened_from_an_address_that_is_gone() {
    let mut setup = setup(31, Encap::Tcp);
    setup.left.local_addresses.clear();
    setup.right.remote_addresses = vec![HostSpec::Any];
    for child in &mut setup.left.children {
        child.keep = Keep::Up;
    }
    let mut pair = setup.pair().up();
    pair.move_to(Side::Left, &["192.0.2.77"]);
    pair.break_tcp();
    pair.run_for(Duration::from_secs(10));
    let locals = pair.left.established().into_iter().map(|info| info.local.ip().to_string());
    assert_eq!(locals.collect::<Vec<_>>(), ["192.0.2.77"], "{}", pair.ladder());
    exchange_packets(&mut pair);
}

/// Nobody opens a connection to take leave, and nobody waits for one.
#[test]
fn who_ends_without_a_connection_is_done() {
    let mut pair = setup(32, Encap::Tcp).pair().up();
    pair.break_tcp();
    pair.step();
    pair.left.terminate_ike();
    pair.run_for(Duration::from_secs(60));
    assert!(pair.left.ike_sas().is_empty(), "{}", pair.ladder());
    assert_eq!(pair.network.tcp_connections(), 0);
}

/// A message was lost although its connection stands, as by a peer who had no room for it: after some
/// silence it is sent again on another one.
#[test]
fn a_request_that_was_lost_is_sent_on_another_connection() {
    let mut pair = setup(33, Encap::Tcp).pair().up();
    let before = pair.left.established()[0].clone();
    pair.network.dead = vec![(before.local.ip(), before.remote.ip())];
    pair.left.rekey_child(Child(0));
    pair.run_for(Duration::from_secs(1));
    pair.network.dead.clear();
    pair.run_for(Duration::from_secs(40));
    let after = pair.left.established()[0].clone();
    assert_eq!((after.id, after.children.len()), (before.id, 1), "{}", pair.ladder());
    assert_ne!(after.children[0].id, before.children[0].id, "{}", pair.ladder());
    assert_ne!(after.local, before.local);
    assert_eq!(pair.network.tcp_connections(), 1, "{}", pair.ladder());
    exchange_packets(&mut pair);
}
