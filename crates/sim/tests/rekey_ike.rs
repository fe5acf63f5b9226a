//! Rekeying of the IKE SA (RFC 7296 §1.3.2, §2.18, §2.8.2).

#![cfg(test)]

use std::collections::BTreeMap;
use std::time::Duration;

use adit_db::{Connection, HostSpec, ProposalSpec};
use adit_ike::Event;
use adit_sim::{Child, Fate, Pair, Peer, Seed, Setup, Side};
use adit_wire::Reader;
use adit_wire::iana::ExchangeType;
use adit_wire::ikev2::Header;

fn assert_one_tunnel(pair: &Pair) {
    assert_eq!(
        (pair.left.ike_sas().len(), pair.right.ike_sas().len()),
        (1, 1),
        "{}",
        pair.ladder()
    );
    let (left, right) = (&pair.left.established()[0], &pair.right.established()[0]);
    assert_eq!((left.spi_i, left.spi_r), (right.spi_i, right.spi_r), "{}", pair.ladder());
    assert_eq!((left.children.len(), right.children.len()), (1, 1), "{}", pair.ladder());
    assert_eq!(pair.left.child_sas().len(), 1, "{}", pair.ladder());
    assert_eq!(pair.left.child_sas(), pair.right.child_sas().mirrored(), "{}", pair.ladder());
}

fn rekeys(peer: &Peer) -> usize {
    peer.events().iter().filter(|event| matches!(event, Event::IkeRekeyed { .. })).count()
}

/// CHECKLIST K01, K17: the children move, untouched; roles may swap; message ids restart.
#[test]
fn an_ike_sa_is_rekeyed_from_either_side() {
    for side in [Side::Left, Side::Right] {
        let mut pair = Pair::established(Seed(7));
        let (children, ike) = (pair.left.child_sas(), pair.left.established()[0].spi_i);
        pair.peer(side).rekey_ike();
        pair.run_until_idle();
        assert_one_tunnel(&pair);
        assert_ne!(pair.left.established()[0].spi_i, ike);
        assert_eq!(pair.left.established()[0].initiator, side == Side::Left);
        assert_eq!(pair.left.child_sas(), children);
        assert_eq!((rekeys(&pair.left), rekeys(&pair.right)), (1, 1));
        // The new IKE SA works in both directions.
        pair.left.rekey_child(pair.child);
        pair.run_until_idle();
        pair.right.rekey_child(pair.child);
        pair.run_until_idle();
        assert_one_tunnel(&pair);
    }
}

/// CHECKLIST K17: who asks for the new IKE SA is its initiator, whoever was that of the one before: its SPI comes
/// first, its messages alone have the flag (RFC 7296 §3.1), and both ends count their requests from 0.
#[test]
fn who_rekeys_is_the_initiator_of_what_follows() {
    let mut pair = Pair::established(Seed(21));
    for side in [Side::Right, Side::Right, Side::Left, Side::Right] {
        pair.peer(side).rekey_ike();
        pair.run_until_idle();
        assert_one_tunnel(&pair);
        let info = pair.left.established()[0].clone();
        let of_right = pair.right.established()[0].initiator;
        assert_eq!((info.initiator, of_right), (side == Side::Left, side == Side::Right));
        pair.network.record();
        for other in [Side::Left, Side::Right] {
            let child = pair.child;
            pair.peer(other).rekey_child(child);
            pair.run_until_idle();
        }
        let mut asked = BTreeMap::new();
        for recorded in pair.network.recorded() {
            let header = Header::read(&mut Reader(&recorded.octets)).unwrap();
            let from = recorded.to.other();
            assert_eq!((header.spi_i, header.spi_r), (info.spi_i, info.spi_r));
            assert_eq!(header.flags.is_initiator(), from == side, "{}", pair.ladder());
            if !header.flags.is_response() {
                let ids: &mut Vec<u32> = asked.entry(from == Side::Left).or_default();
                ids.push(header.message_id);
                ids.dedup();
            }
        }
        assert_eq!(asked.len(), 2);
        for ids in asked.values() {
            assert!(ids.iter().copied().eq(0..u32::try_from(ids.len()).unwrap()), "{ids:?}");
        }
        assert_one_tunnel(&pair);
    }
    // Two requests cross, and both ends delete: as ever.
    pair.left.rekey_ike();
    pair.right.rekey_ike();
    pair.run_until_idle();
    assert_one_tunnel(&pair);
    pair.left.terminate_ike();
    pair.right.terminate_ike();
    pair.run_until_idle();
    assert!(pair.left.ike_sas().is_empty() && pair.right.ike_sas().is_empty());
}

/// CHECKLIST K17, R01: what the ends have told each other about the session holds when the gateway has rekeyed: the
/// client still goes where it is sent.
#[test]
fn a_gateway_that_has_rekeyed_still_redirects_its_client() {
    let mut setup = Setup::new(Seed(22));
    setup.left.redirect.follow = true;
    setup.right.local_addresses = vec![HostSpec::Any];
    let mut pair = setup.pair().up();
    pair.right.rekey_ike();
    pair.run_until_idle();
    assert!(pair.right.established()[0].follows_redirects);
    assert!(!pair.left.established()[0].follows_redirects);
    pair.right.redirect("203.0.113.3".parse().unwrap());
    pair.run_for(Duration::from_secs(10));
    assert_one_tunnel(&pair);
    assert_eq!(pair.left.established()[0].remote.ip().to_string(), "203.0.113.3");
}

/// CHECKLIST K04: the four nonce outcomes; the redundant IKE SA is deleted by its creator.
/// CHECKLIST K05: with ML-KEM by IKE_FOLLOWUP_KE.
#[test]
fn simultaneous_ike_rekey_leaves_one_ike_sa() {
    for seed in 0..16 {
        let mut pair = Pair::established(Seed(seed));
        pair.left.rekey_ike();
        pair.right.rekey_ike();
        pair.run_until_idle();
        assert_one_tunnel(&pair);
    }
}

/// CHECKLIST K07: a collision with a late answer.
/// CHECKLIST K08: with ML-KEM by IKE_FOLLOWUP_KE.
#[test]
fn a_collision_with_a_late_answer_leaves_one_ike_sa() {
    for seed in 0..8 {
        for late in [Side::Left, Side::Right] {
            let mut pair = Pair::established(Seed(seed));
            pair.network.intercept(move |message| {
                let create = message.exchange == ExchangeType::CREATE_CHILD_SA;
                match create && message.response && message.from == late {
                    true => Fate::Delay(Duration::from_millis(200)),
                    false => Fate::Deliver,
                }
            });
            pair.left.rekey_ike();
            pair.right.rekey_ike();
            pair.run_until_idle();
            assert_one_tunnel(&pair);
        }
    }
}

/// One key exchange: who answers a rekey has the new IKE SA at once.
fn one_group() -> Vec<ProposalSpec> {
    ProposalSpec::ike_list("aes128gcm16-prfsha256-x25519").unwrap()
}

/// A fuzzer's find: the peer's rekey is ready, ours is still under way, and the configuration changes
/// in between. Whichever IKE SA takes over knows the new one.
#[test]
fn a_child_configured_between_two_colliding_rekeys_comes_up() {
    for seed in 0..16 {
        let mut setup = Setup::new(Seed(seed)).with_child(5);
        let after = Connection { proposals: one_group(), ..setup.left.clone() };
        setup.left.children.truncate(1);
        for connection in [&mut setup.left, &mut setup.right] {
            connection.proposals = one_group();
        }
        let mut pair = setup.pair().up();
        pair.network.intercept(|message| {
            let request = message.exchange == ExchangeType::CREATE_CHILD_SA && !message.response;
            match message.from == Side::Right && !request {
                true => Fate::Delay(Duration::from_millis(200)),
                false => Fate::Deliver,
            }
        });
        pair.left.rekey_ike();
        pair.right.rekey_ike();
        pair.run_for(Duration::from_millis(100));
        pair.left.load(after);
        pair.left.initiate(Child(1));
        pair.run_until_idle();
        let counts = [&pair.left, &pair.right].map(|peer| peer.established()[0].children.len());
        assert_eq!(counts, [2, 2], "{}", pair.ladder());
    }
}

/// CHECKLIST K09, K10: the other side's request is lost at first, or late.
#[test]
fn a_collision_that_one_side_never_sees_leaves_one_ike_sa() {
    for seed in 0..8 {
        for fate in [Fate::Lose, Fate::Delay(Duration::from_millis(300))] {
            let mut pair = Pair::established(Seed(seed));
            let mut met = false;
            pair.network.intercept(move |message| {
                let create = message.exchange == ExchangeType::CREATE_CHILD_SA;
                if create && !message.response && message.from == Side::Right && !met {
                    met = true;
                    return fate;
                }
                Fate::Deliver
            });
            pair.left.rekey_ike();
            pair.right.rekey_ike();
            pair.run_until_idle();
            assert_one_tunnel(&pair);
        }
    }
}

/// CHECKLIST K03: another group is asked for.
#[test]
fn an_ike_rekeying_with_another_group_is_repeated() {
    let ike = |text| ProposalSpec::ike_list(text).unwrap();
    let mut setup = Setup::new(Seed(7));
    setup.left.proposals = ike("aes256gcm16-prfsha384-x25519-ecp384");
    setup.right.proposals = ike("aes256gcm16-prfsha384-ecp384-x25519");
    let mut pair = setup.pair().up();
    for side in [Side::Left, Side::Right] {
        pair.peer(side).rekey_ike();
        pair.run_until_idle();
        assert_one_tunnel(&pair);
    }
    assert_eq!(rekeys(&pair.left), 2, "{}", pair.ladder());
}

/// CHECKLIST K06: both rekey, and both are asked for another group first; one of the second requests
/// is late.
#[test]
fn a_collision_of_two_refused_groups_leaves_one_ike_sa() {
    let ike = |text| ProposalSpec::ike_list(text).unwrap();
    for seed in 0..8 {
        for late in [false, true] {
            let mut setup = Setup::new(Seed(seed));
            setup.left.proposals = ike("aes256gcm16-prfsha384-x25519-ecp384");
            setup.right.proposals = ike("aes256gcm16-prfsha384-ecp384-x25519");
            let mut pair = setup.pair().up();
            let mut requests = 0;
            pair.network.intercept(move |message| {
                let is_request =
                    message.exchange == ExchangeType::CREATE_CHILD_SA && !message.response;
                requests += usize::from(is_request && message.from == Side::Left);
                match late && is_request && message.from == Side::Left && requests == 2 {
                    true => Fate::Delay(Duration::from_millis(300)),
                    false => Fate::Deliver,
                }
            });
            pair.left.rekey_ike();
            pair.right.rekey_ike();
            pair.run_until_idle();
            assert_one_tunnel(&pair);
        }
    }
}

/// CHECKLIST J26, I02: an IKE rekeying crosses a child rekeying or a new child: TEMPORARY_FAILURE
/// and a new try.
#[test]
fn an_ike_rekeying_that_crosses_a_child_rekeying_ends_in_agreement() {
    for seed in 0..16 {
        let mut pair = Pair::established(Seed(seed));
        let before = pair.left.child_sas();
        pair.left.rekey_ike();
        pair.right.rekey_child(pair.child);
        pair.run_until_idle();
        pair.run_for(Duration::from_secs(60));
        assert_one_tunnel(&pair);
        assert_eq!(rekeys(&pair.left), 1, "{}", pair.ladder());
        assert_ne!(pair.left.child_sas(), before, "{}", pair.ladder());
    }
}

/// CHECKLIST K11, K13: the delete wins.
#[test]
fn a_delete_that_crosses_an_ike_rekeying_wins() {
    for seed in 0..8 {
        let mut pair = Pair::established(Seed(seed));
        pair.left.rekey_ike();
        pair.right.terminate_ike();
        pair.run_until_idle();
        assert_eq!(
            (pair.left.ike_sas().len(), pair.right.ike_sas().len()),
            (0, 0),
            "{}",
            pair.ladder()
        );
        assert!(pair.left.child_sas().is_empty() && pair.right.child_sas().is_empty());
    }
}

/// CHECKLIST J33: a child is to be rekeyed shortly before its IKE SA is replaced, while that is done, and
/// shortly after: both are replaced, and nothing is lost or left over.
#[test]
fn a_child_is_rekeyed_though_its_ike_sa_is_about_to_go() {
    for offset_ms in (0..240).step_by(15) {
        let mut setup = Setup::new(Seed(31));
        for connection in [&mut setup.left, &mut setup.right] {
            connection.rekey_time = Duration::from_secs(60);
            connection.rand_time = Duration::ZERO;
            connection.over_time = Duration::from_secs(30);
        }
        // One end alone begins, at a moment that is known.
        setup.right.rekey_time = Duration::from_secs(80);
        let mut pair = setup.pair().up();
        let (children, ike) = (pair.left.child_sas(), pair.left.established()[0].spi_i);
        pair.run_for(Duration::from_millis(59_880 + offset_ms) - pair.elapsed());
        pair.right.rekey_child(pair.child);
        for _ in 0..100 {
            pair.left.send_packet(Child(0));
            pair.right.send_packet(Child(0));
            pair.run_for(Duration::from_millis(100));
        }
        assert_one_tunnel(&pair);
        assert_ne!(pair.left.established()[0].spi_i, ike, "{offset_ms}: {}", pair.ladder());
        assert_ne!(pair.left.child_sas(), children, "{offset_ms}: {}", pair.ladder());
        assert_eq!(pair.left.packets_lost + pair.right.packets_lost, 0, "{}", pair.ladder());
    }
}

/// CHECKLIST K20: IKE SAs with short lives are replaced by themselves and lose no child.
#[test]
fn ike_sas_rekey_by_themselves() {
    let mut setup = Setup::new(Seed(7));
    for connection in [&mut setup.left, &mut setup.right] {
        connection.rekey_time = Duration::from_secs(60);
        connection.rand_time = Duration::from_secs(10);
        connection.over_time = Duration::from_secs(30);
    }
    let mut pair = setup.pair().up();
    let before = pair.left.child_sas();
    pair.run_for(Duration::from_secs(600));
    assert!(rekeys(&pair.left) >= 9, "{}", rekeys(&pair.left));
    assert_eq!(pair.left.child_sas(), before);
}

/// Both rekey at once with several key exchanges, and the follow-up of the one that prevails is lost for
/// so long that the other has forgotten its series: one of them begins anew, and nothing is rekeyed
/// twice.
#[test]
fn a_collision_whose_series_stops_is_begun_anew() {
    for seed in 0..8 {
        let words = "aes256gcm16-prfsha384-x25519-ke1_mlkem512";
        let mut setup = Setup::new(Seed(seed));
        for connection in [&mut setup.left, &mut setup.right] {
            connection.proposals = ProposalSpec::ike_list(words).unwrap();
        }
        let mut pair = setup.pair().up();
        let before = pair.left.established()[0].spi_i;
        pair.network.intercept(|message| match message.exchange {
            ExchangeType::IKE_FOLLOWUP_KE => Fate::Lose,
            _ => Fate::Deliver,
        });
        pair.left.rekey_ike();
        pair.right.rekey_ike();
        pair.run_for(Duration::from_secs(21));
        assert_eq!(pair.left.ike_sas()[0].spi_i, before, "{}", pair.ladder());
        pair.network.stop_intercepting();
        pair.run_for(Duration::from_secs(120));
        assert_one_tunnel(&pair);
        assert_ne!(pair.left.established()[0].spi_i, before, "{}", pair.ladder());
        assert_eq!((rekeys(&pair.left), rekeys(&pair.right)), (1, 1), "{}", pair.ladder());
    }
}
