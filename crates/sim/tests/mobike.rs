//! MOBIKE (RFC 4555): addresses change, IKE SAs and children stay.

#![cfg(test)]

use std::net::IpAddr;
use std::time::Duration;

use adit_db::{Encap, HostSpec, Mobike, Mode};
use adit_ike::{EndpointConfig, Event, FailureReason, IkeSaInfo};
use adit_sim::{Fate, Faults, Pair, Seed, Setup, Side};
use adit_wire::Reader;
use adit_wire::iana::ExchangeType;
use adit_wire::ikev2::Header;

const HOME: &str = "192.0.2.1";
const CAFE: &str = "192.0.2.77";
const TRAIN: &str = "192.0.2.99";
const RIGHT: &str = "203.0.113.2";
const RIGHT_TOO: &str = "203.0.113.3";

/// A road warrior on the left that may use any address, and a gateway that knows it by name.
fn setup() -> Setup {
    let mut setup = Setup::new(Seed(7));
    setup.left.local_addresses.clear();
    setup.right.local_addresses.clear();
    setup.right.remote_addresses = vec![HostSpec::Any];
    setup
}

fn addresses(info: &IkeSaInfo) -> [String; 2] {
    [info.local.ip().to_string(), info.remote.ip().to_string()]
}

/// Both have one IKE SA and one child, at these addresses, and packets pass both ways.
fn assert_at(pair: &mut Pair, left: &str, right: &str) {
    let (ours, theirs) = (pair.left.established(), pair.right.established());
    assert_eq!((ours.len(), theirs.len()), (1, 1), "{}", pair.ladder());
    assert_eq!(addresses(&ours[0]), [left, right], "{}", pair.ladder());
    assert_eq!(addresses(&theirs[0]), [right, left], "{}", pair.ladder());
    assert_eq!(ours[0].children[0].encap.local.ip().to_string(), left);
    assert_eq!(pair.left.child_sas(), pair.right.child_sas().mirrored(), "{}", pair.ladder());
    assert_carries(pair);
}

fn assert_carries(pair: &mut Pair) {
    let before = (pair.left.packets_opened, pair.right.packets_opened);
    let child = pair.child;
    for _ in 0..3 {
        pair.left.send_packet(child);
        pair.right.send_packet(child);
        pair.run_for(Duration::from_millis(50));
    }
    let after = (pair.left.packets_opened, pair.right.packets_opened);
    assert_eq!(after, (before.0 + 3, before.1 + 3), "{}", pair.ladder());
}

fn moves(pair: &Pair) -> (usize, usize) {
    let ours = pair.left.events().iter().filter(|event| matches!(event, Event::Moved { .. }));
    let theirs = pair.right.events().iter();
    let theirs = theirs.filter(|event| matches!(event, Event::PeerMoved { .. }));
    (ours.count(), theirs.count())
}

/// No other IKE SA was made meanwhile.
fn assert_unbroken(pair: &Pair) {
    for peer in [&pair.left, &pair.right] {
        let down = |event: &&Event| matches!(event, Event::IkeDown { .. });
        assert_eq!(peer.events().iter().filter(down).count(), 0, "{}", pair.ladder());
    }
}

/// CHECKLIST N07: the initiator's address changes; a single round trip, and both follow.
//= https://www.rfc-editor.org/rfc/rfc4555#section-3.2
//= type=test
//# Implementations that wish to use MOBIKE for a particular IKE_SA MUST include a
//# MOBIKE_SUPPORTED notification in the IKE_AUTH exchange (in case of multiple IKE_AUTH
//# exchanges, in the message containing the SA payload).
#[test]
fn an_initiator_moves() {
    let mut pair = setup().pair().up();
    assert!(pair.left.established()[0].mobike && pair.right.established()[0].mobike);
    assert_at(&mut pair, HOME, RIGHT);
    pair.move_to(Side::Left, &[CAFE]);
    pair.run_for(Duration::from_millis(100));
    assert_at(&mut pair, CAFE, RIGHT);
    pair.move_to(Side::Left, &[HOME]);
    pair.run_for(Duration::from_millis(100));
    assert_at(&mut pair, HOME, RIGHT);
    assert_eq!(moves(&pair), (2, 2));
    assert_unbroken(&pair);
}

/// CHECKLIST K17: who began the first IKE SA decides about addresses, also when the other end has begun the one in
/// use, and so it is the one to move.
#[test]
fn who_began_moves_though_the_roles_have_swapped() {
    for times in 1..3 {
        let mut pair = setup().pair();
        pair.move_to(Side::Right, &[RIGHT, RIGHT_TOO]);
        let mut pair = pair.up();
        for _ in 0..times {
            pair.right.rekey_ike();
            pair.run_until_idle();
        }
        assert!(!pair.left.established()[0].initiator && pair.right.established()[0].initiator);
        pair.move_to(Side::Left, &[CAFE]);
        pair.run_for(Duration::from_millis(100));
        assert_at(&mut pair, CAFE, RIGHT);
        // The responder of old has to say so, and is followed.
        pair.move_to(Side::Right, &[RIGHT_TOO]);
        pair.run_for(Duration::from_secs(1));
        assert_at(&mut pair, CAFE, RIGHT_TOO);
        assert_unbroken(&pair);
    }
}

/// A better address comes and the old one stays.
#[test]
fn an_initiator_follows_its_routes() {
    let mut pair = setup().pair().up();
    pair.move_to(Side::Left, &[CAFE, HOME]);
    pair.run_for(Duration::from_millis(100));
    assert_at(&mut pair, CAFE, RIGHT);
    // Something else on this host changes: nothing to say.
    let before = pair.messages_sent();
    pair.move_to(Side::Left, &[CAFE, HOME, TRAIN]);
    pair.run_for(Duration::from_millis(100));
    assert_eq!(pair.messages_sent(), before);
}

/// CHECKLIST N15: the address is gone, and later back. What was sent meanwhile does not wait for its turn.
#[test]
fn an_address_that_comes_back_is_used_at_once() {
    let mut setup = setup();
    setup.left.dpd_delay = Duration::from_secs(5);
    let mut pair = setup.pair().up();
    pair.move_to(Side::Left, &["fd00::9"]);
    pair.run_for(Duration::from_secs(50));
    pair.move_to(Side::Left, &[HOME]);
    pair.run_for(Duration::from_millis(200));
    let idle = pair.messages_sent();
    assert_at(&mut pair, HOME, RIGHT);
    assert_eq!(pair.messages_sent(), idle);
    assert_unbroken(&pair);
}

/// From IPv4 to IPv6 and back.
#[test]
fn an_initiator_roams_between_families() {
    let mut setup = setup();
    let v6 = HostSpec::Address("2001:db8::2".parse().unwrap());
    setup.left.remote_addresses.push(v6);
    let mut pair = setup.pair();
    pair.move_to(Side::Right, &[RIGHT, "2001:db8::2"]);
    let mut pair = pair.up();
    pair.move_to(Side::Left, &["2001:db8:77::1"]);
    pair.run_for(Duration::from_millis(200));
    assert_at(&mut pair, "2001:db8:77::1", "2001:db8::2");
    pair.move_to(Side::Left, &[CAFE]);
    pair.run_for(Duration::from_millis(200));
    assert_at(&mut pair, CAFE, RIGHT);
    assert_unbroken(&pair);
}

/// CHECKLIST D17, N07: who did not agree to it neither says anything nor obeys.
#[test]
fn who_declines_does_not_move() {
    for left_declines in [false, true] {
        let mut setup = setup();
        let side = if left_declines { &mut setup.left } else { &mut setup.right };
        side.mobike = Mobike::No;
        setup.left.dpd_delay = Duration::from_secs(5);
        let mut pair = setup.pair().up();
        assert!(!pair.left.established()[0].mobike && !pair.right.established()[0].mobike);
        pair.move_to(Side::Left, &[CAFE]);
        pair.run_for(Duration::from_secs(4));
        let left = &pair.left.established()[0];
        assert_eq!(addresses(left), [HOME, RIGHT], "{}", pair.ladder());
    }
}

/// CHECKLIST N14: without MOBIKE a client that has moved begins anew, having noticed that its old IKE SA
/// is dead or having lost it, and takes the place of its old self; behind a NAT or not.
#[test]
fn a_client_that_moves_without_mobike_replaces_its_old_sa() {
    for behind_nat in [false, true] {
        for restarts in [false, true] {
            let mut setup = if behind_nat { setup().behind_nat() } else { setup() };
            setup.left.mobike = Mobike::No;
            setup.left.dpd_delay = Duration::from_secs(5);
            let mut pair = setup.pair().up();
            let before = pair.right.established()[0].clone();
            pair.move_to(Side::Left, &[CAFE]);
            if let Some(nat) = &mut pair.network.nat {
                nat.forget();
            }
            if restarts {
                pair.left.crash(EndpointConfig::default());
                pair.move_to(Side::Left, &[CAFE]);
            } else {
                let is_gone = |pair: &Pair| pair.left.ike_sas().is_empty();
                assert!(pair.run_until(Duration::from_secs(300), is_gone), "{}", pair.ladder());
            }
            assert_eq!(pair.right.established().len(), 1, "the gateway knows nothing of it");
            pair.left.initiate(pair.child);
            pair.run_for(Duration::from_secs(1));
            let (ours, theirs) = (pair.left.established(), pair.right.established());
            assert_eq!((ours.len(), theirs.len()), (1, 1), "{}", pair.ladder());
            assert_eq!(ours[0].local.ip().to_string(), CAFE);
            assert_ne!((theirs[0].spi_i, theirs[0].remote), (before.spi_i, before.remote));
            assert_eq!(behind_nat, theirs[0].remote.ip().to_string() != CAFE);
            assert_eq!(pair.left.child_sas(), pair.right.child_sas().mirrored());
            assert_eq!(pair.right.child_sas().len(), 1, "{}", pair.ladder());
            assert_carries(&mut pair);
        }
    }
}

/// Selectors of transport mode are the addresses.
#[test]
fn transport_mode_stays_where_it_is() {
    let mut setup = Setup::new(Seed(7));
    for side in [&mut setup.left, &mut setup.right] {
        side.children[0].mode = Mode::Transport;
        side.children[0].local_ts = vec![adit_db::TsSpec::DYNAMIC];
        side.children[0].remote_ts = vec![adit_db::TsSpec::DYNAMIC];
    }
    let pair = setup.pair().up();
    assert!(!pair.left.established()[0].mobike);
}

/// CHECKLIST N07, N08: whatever is lost, duplicated and overtaken, both are at the same place in the
/// end, with the IKE SA they had.
#[test]
fn moves_survive_a_bad_network() {
    for seed in 0..40 {
        let mut setup = setup();
        setup.seed = Seed(seed);
        let mut pair = setup.pair().up();
        pair.network.faults = Faults {
            loss_percent: 30,
            duplicate_percent: 10,
            delay_min: Duration::from_millis(5),
            delay_max: Duration::from_millis(80),
        };
        for place in [CAFE, TRAIN, HOME] {
            pair.move_to(Side::Left, &[place]);
            pair.run_for(Duration::from_secs(60));
        }
        pair.network.faults = Faults::NONE;
        pair.run_for(Duration::from_secs(40));
        assert_at(&mut pair, HOME, RIGHT);
        assert_unbroken(&pair);
    }
}

/// CHECKLIST N08: the address changes while rekeys of either kind, from either side, are in flight.
#[test]
fn moves_cross_rekeys() {
    for case in 0..48_u64 {
        let mut setup = setup();
        setup.seed = Seed(case);
        let mut pair = setup.pair().up();
        let child = pair.child;
        let side = if case % 2 == 0 { Side::Left } else { Side::Right };
        match case / 2 % 3 {
            0 => pair.peer(side).rekey_child(child),
            1 => pair.peer(side).rekey_ike(),
            _ => {
                pair.left.rekey_ike();
                pair.right.rekey_ike();
            }
        }
        // Anywhere in the exchange: a round trip takes 20 ms.
        pair.run_for(Duration::from_millis(5 * (case / 6)));
        pair.move_to(Side::Left, &[CAFE]);
        pair.run_for(Duration::from_secs(90));
        assert_at(&mut pair, CAFE, RIGHT);
        assert_unbroken(&pair);
    }
}

/// CHECKLIST N08: the address flaps faster than an update takes.
#[test]
fn the_last_of_many_moves_counts() {
    for pause_ms in [1, 7, 15, 25, 40] {
        let mut pair = setup().pair().up();
        for place in [CAFE, TRAIN, HOME, CAFE, TRAIN, CAFE, TRAIN] {
            pair.move_to(Side::Left, &[place]);
            pair.run_for(Duration::from_millis(pause_ms));
        }
        pair.run_for(Duration::from_secs(5));
        assert_at(&mut pair, TRAIN, RIGHT);
        assert_unbroken(&pair);
    }
}

/// CHECKLIST N01, N08: into a network with NAT, and out of it.
#[test]
fn a_nat_appears_and_disappears() {
    for encap in [Encap::Auto, Encap::Udp] {
        let mut setup = setup();
        setup.left.encap = encap;
        // Without the preference of two Adits for UDP it is the NAT that decides.
        setup.right.engine = adit_db::Engine::Kernel;
        let mut pair = setup.pair().up();
        assert_eq!(pair.left.established()[0].remote.port(), 4500);
        assert_eq!(pair.left.established()[0].children[0].encap.udp, encap == Encap::Udp);
        pair.network.nat = Some(adit_sim::Nat::new("198.51.100.3".parse().unwrap()));
        pair.move_to(Side::Left, &["10.77.0.5"]);
        pair.run_for(Duration::from_millis(200));
        let (left, right) = (&pair.left.established()[0], &pair.right.established()[0]);
        assert!(left.nat_local && right.nat_remote, "{}", pair.ladder());
        assert_eq!(right.remote.ip().to_string(), "198.51.100.3");
        assert!(left.children[0].encap.udp && right.children[0].encap.udp);
        assert_carries(&mut pair);
        // Keepalives begin.
        pair.run_for(Duration::from_secs(60));
        assert!(pair.right.keepalives_received >= 2);

        pair.network.nat = None;
        pair.move_to(Side::Left, &[CAFE]);
        pair.run_for(Duration::from_millis(200));
        assert_at(&mut pair, CAFE, RIGHT);
        let left = &pair.left.established()[0];
        assert!(!left.nat_local);
        assert_eq!(left.children[0].encap.udp, encap == Encap::Udp);
        let before = pair.right.keepalives_received;
        pair.run_for(Duration::from_secs(60));
        assert_eq!(pair.right.keepalives_received, before);
        assert_unbroken(&pair);
    }
}

/// The host keeps its address and a NAT comes into its way: the next sign of life shows it.
#[test]
fn a_nat_in_the_way_is_noticed() {
    let mut setup = setup();
    setup.left.dpd_delay = Duration::from_secs(10);
    let mut pair = setup.pair().up();
    pair.network.nat = Some(adit_sim::Nat::new("198.51.100.3".parse().unwrap()));
    pair.run_for(Duration::from_secs(30));
    let (left, right) = (&pair.left.established()[0], &pair.right.established()[0]);
    assert!(left.nat_local && right.nat_remote, "{}", pair.ladder());
    assert_eq!(right.remote.ip().to_string(), "198.51.100.3");
    assert_carries(&mut pair);
}

/// CHECKLIST N04, N05: the NAT forgets. The initiator notices and says so; IKE messages alone move
/// nothing.
//= https://www.rfc-editor.org/rfc/rfc4555#section-3.8
//= type=test
//# The host not behind a NAT MUST NOT use these dynamic updates for IKEv2 packets, but MAY use
//# them for ESP packets.
//= https://www.rfc-editor.org/rfc/rfc4555#section-3.8
//= type=test
//# the NAT_DETECTION_SOURCE_IP and NAT_DETECTION_DESTINATION_IP notifications MAY be included
//# in any INFORMATIONAL request; if the request includes them, the responder MUST also include
//# them in the response
#[test]
fn a_new_mapping_is_told_and_not_guessed() {
    let mut setup = setup().behind_nat();
    setup.left.dpd_delay = Duration::from_secs(10);
    let mut pair = setup.pair().up();
    // Two signs of life: from now on it is known how the peer sees us.
    pair.run_for(Duration::from_secs(25));
    let old = pair.right.established()[0].remote;
    pair.network.nat.as_mut().unwrap().forget();
    let child = pair.child;
    pair.left.rekey_child(child);
    pair.run_for(Duration::from_secs(1));
    assert_eq!(pair.right.established()[0].remote, old, "no IKE message moves it by itself");
    pair.run_for(Duration::from_secs(15));
    assert_ne!(pair.right.established()[0].remote, old, "{}", pair.ladder());
    assert_carries(&mut pair);

    // ESP may.
    let old = pair.right.established()[0].remote;
    pair.network.nat.as_mut().unwrap().forget();
    pair.left.send_packet(child);
    pair.run_for(Duration::from_millis(100));
    assert_ne!(pair.right.established()[0].remote, old);
    assert_carries(&mut pair);
    assert_unbroken(&pair);
}

/// A peer that asks at a mapping that is no more is busy until it gives up. It is told where we are
/// before that, and did not hear of it from what else it was asked (seeds 3042 and 3600).
#[test]
fn a_peer_that_is_busy_asking_at_an_old_mapping_is_told_of_the_new_one() {
    let mut pair = setup().behind_nat().pair().up();
    pair.run_for(Duration::from_secs(5));
    let old = pair.right.established()[0].remote;
    pair.network.nat.as_mut().unwrap().forget();
    let child = pair.child;
    pair.right.rekey_child(child);
    pair.run_for(Duration::from_secs(1));
    pair.left.rekey_ike();
    pair.run_for(Duration::from_secs(20));
    assert_ne!(pair.right.established()[0].remote, old, "{}", pair.ladder());
    assert_carries(&mut pair);
    assert_unbroken(&pair);
}

/// CHECKLIST N07: with a third address. The gateway says where else it is, and is found there when its
/// first address has died without a word.
#[test]
fn a_silent_peer_is_found_at_its_other_address() {
    let mut setup = setup();
    setup.left.dpd_delay = Duration::from_secs(5);
    let mut pair = setup.pair();
    pair.move_to(Side::Right, &[RIGHT, RIGHT_TOO]);
    let mut pair = pair.up();
    let told = pair.left.established()[0].peer_addresses.clone();
    assert_eq!(told, [RIGHT_TOO.parse::<IpAddr>().unwrap()]);
    pair.network.dead = vec![(HOME.parse().unwrap(), RIGHT.parse().unwrap())];
    pair.run_for(Duration::from_secs(12));
    assert_at(&mut pair, HOME, RIGHT_TOO);
    assert_unbroken(&pair);
}

/// Of two uplinks the one that is preferred goes dead, and no interface says so.
#[test]
fn a_dead_uplink_is_left() {
    let mut setup = setup();
    setup.left.dpd_delay = Duration::from_secs(5);
    let mut pair = setup.pair();
    pair.move_to(Side::Left, &[HOME, CAFE]);
    let mut pair = pair.up();
    assert_at(&mut pair, HOME, RIGHT);
    pair.network.dead = vec![(HOME.parse().unwrap(), RIGHT.parse().unwrap())];
    pair.run_for(Duration::from_secs(12));
    assert_at(&mut pair, CAFE, RIGHT);
    assert_unbroken(&pair);
}

/// The gateway loses the address in use: it goes on from another one, and the initiator follows.
#[test]
fn a_responder_that_loses_its_address_is_followed() {
    let mut pair = setup().pair();
    pair.move_to(Side::Right, &[RIGHT, RIGHT_TOO]);
    let mut pair = pair.up();
    pair.move_to(Side::Right, &[RIGHT_TOO]);
    pair.run_for(Duration::from_secs(1));
    assert_at(&mut pair, HOME, RIGHT_TOO);
    assert!(pair.left.established()[0].peer_addresses.is_empty());
    assert_unbroken(&pair);
}

/// The gateway gets an address, and tells its peers in its own time.
#[test]
fn a_responder_tells_of_changes() {
    let mut pair = setup().pair().up();
    assert!(pair.left.established()[0].peer_addresses.is_empty());
    pair.move_to(Side::Right, &[RIGHT, RIGHT_TOO]);
    pair.run_for(Duration::from_secs(11));
    let told = &pair.left.established()[0].peer_addresses;
    assert_eq!(*told, [RIGHT_TOO.parse::<IpAddr>().unwrap()], "{}", pair.ladder());
    pair.move_to(Side::Right, &[RIGHT]);
    pair.run_for(Duration::from_secs(11));
    assert!(pair.left.established()[0].peer_addresses.is_empty());
    assert_at(&mut pair, HOME, RIGHT);
}

/// A client that is to be in one network does not move out of it, and both go on where they were.
#[test]
fn an_unacceptable_address_is_refused() {
    let mut setup = setup();
    setup.right.remote_addresses = vec![HostSpec::Network("192.0.2.0/26".parse().unwrap())];
    let mut pair = setup.pair().up();
    pair.move_to(Side::Left, &[CAFE, HOME]);
    pair.run_for(Duration::from_secs(1));
    assert_at(&mut pair, HOME, RIGHT);
    let refused = |reason: &FailureReason| matches!(reason, FailureReason::AddressRefused { .. });
    assert_eq!(pair.left.failures().filter(|reason| refused(reason)).count(), 1);
    // It keeps to that until its network changes again.
    let before = pair.messages_sent();
    pair.run_for(Duration::from_secs(60));
    assert_eq!(pair.messages_sent(), before);
    assert_unbroken(&pair);
}

/// Packets do not go to an address before somebody with the keys has answered there.
#[test]
fn packets_wait_for_the_check() {
    for (mobike, wait) in [(Mobike::Yes, true), (Mobike::Unchecked, false)] {
        let mut setup = setup();
        setup.right.mobike = mobike;
        let mut pair = setup.pair().up();
        pair.move_to(Side::Left, &[CAFE]);
        // The update is there, the answer to the check is not.
        let told = pair.run_until(Duration::from_secs(1), |pair| {
            addresses(&pair.right.established()[0])[1] == CAFE
        });
        assert!(told, "{}", pair.ladder());
        let moved = moves(&pair).1 == 1;
        assert_eq!(moved, !wait);
        pair.run_for(Duration::from_millis(100));
        assert_at(&mut pair, CAFE, RIGHT);
        assert_eq!(moves(&pair).1, 1);
    }
}

/// CHECKLIST N07: nobody allows a NAT here, and one changes the addresses of an update.
//= https://www.rfc-editor.org/rfc/rfc4555#section-3.9
//= type=test
//# The exchange responder MUST verify that the contents of the NO_NATS_ALLOWED notification
//# match the addresses in the IP header.
#[test]
fn a_forbidden_nat_is_refused() {
    let mut setup = setup();
    for side in [&mut setup.left, &mut setup.right] {
        side.encap = Encap::Esp;
    }
    let mut pair = setup.clone().pair().up();
    assert_eq!(pair.left.established()[0].remote.port(), 500);
    pair.move_to(Side::Left, &[CAFE]);
    pair.run_for(Duration::from_millis(100));
    assert_at(&mut pair, CAFE, RIGHT);

    pair.network.nat = Some(adit_sim::Nat::new("198.51.100.3".parse().unwrap()));
    pair.move_to(Side::Left, &["10.77.0.5", CAFE]);
    pair.run_for(Duration::from_secs(20));
    let refused = |reason: &FailureReason| matches!(reason, FailureReason::UnexpectedNat { .. });
    assert_eq!(
        pair.left.failures().filter(|reason| refused(reason)).count(),
        1,
        "{}",
        pair.ladder()
    );
    assert_eq!(addresses(&pair.right.established()[0]), [RIGHT, CAFE]);

    // Nor is an IKE SA made through one.
    let mut pair = setup.behind_nat().pair();
    let request = pair.left.initiate(pair.child);
    pair.run_for(Duration::from_secs(5));
    assert!(pair.right.established().is_empty());
    assert!(!matches!(pair.left.result(request), Some(Ok(()))), "{}", pair.ladder());
}

/// The network changes while the peer is silent, for nothing: the way that is used next may be as dead, and
/// others are looked for again.
#[test]
fn other_ways_are_looked_for_again_after_a_change() {
    let to_right = |local: &str| (local.parse().unwrap(), RIGHT.parse().unwrap());
    for (before, after) in
        [([HOME, CAFE], [HOME, CAFE, TRAIN]), ([HOME, HOME], [CAFE, HOME, TRAIN])]
    {
        let mut setup = setup();
        setup.left.dpd_delay = Duration::from_secs(5);
        let mut pair = setup.pair();
        pair.move_to(Side::Left, &before);
        let mut pair = pair.up();
        pair.network.dead = vec![to_right(HOME), to_right(CAFE)];
        // Long enough to have looked for other ways.
        pair.run_for(Duration::from_secs(12));
        pair.move_to(Side::Left, &after);
        pair.run_for(Duration::from_secs(20));
        assert_at(&mut pair, TRAIN, RIGHT);
        assert_unbroken(&pair);
    }
}

/// An IKE SA was replaced, and tells the peer of an address all the same, when everything ends: with a
/// window of one that was the last that could be said there.
#[test]
fn nothing_follows_an_unanswered_update_on_a_replaced_ike_sa() {
    let mut pair = setup().pair().up();
    let old = pair.left.established()[0].spi_i;
    pair.network.intercept(|message| match message.exchange {
        ExchangeType::INFORMATIONAL => Fate::Lose,
        _ => Fate::Deliver,
    });
    pair.right.rekey_ike();
    pair.run_for(Duration::from_secs(1));
    pair.network.record();
    pair.move_to(Side::Left, &[CAFE]);
    pair.run_for(Duration::from_millis(100));
    pair.left.shut_down();
    pair.run_for(Duration::from_secs(5));
    let sent = pair.network.recorded().iter().filter(|message| message.to == Side::Right);
    let headers = sent.map(|message| Header::read(&mut Reader(&message.octets)).unwrap());
    let asked = headers.filter(|header| header.spi_i == old && !header.flags.is_response());
    let mut asked: Vec<u32> = asked.map(|header| header.message_id).collect();
    asked.dedup();
    assert_eq!(asked.len(), 1, "{asked:?}\n{}", pair.ladder());
}
