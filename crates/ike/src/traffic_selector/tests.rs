//! Narrowing and checks of it.

use proptest::prelude::*;

use super::*;

fn list(text: &str) -> Vec<TrafficSelector> {
    text.split_whitespace().map(|one| one.parse().unwrap()).collect()
}

fn pair(initiator: &str, responder: &str) -> SelectorPair {
    SelectorPair { initiator: list(initiator), responder: list(responder) }
}

/// CHECKLIST H01, H05: narrowing to the policy, several subnets, unequal lists.
#[test]
fn the_answer_is_what_both_want() {
    let offer = pair("10.1.0.0/16 10.2.0.0/16", "0.0.0.0/0");
    let policy = pair("10.1.5.0/24 10.2.0.0/15", "192.168.0.0/24 192.168.1.0/24");
    let expected = pair("10.1.5.0/24 10.2.0.0/16", "192.168.0.0/24 192.168.1.0/24");
    assert_eq!(narrow(&offer, &policy), Ok(expected));
}

//= https://www.rfc-editor.org/rfc/rfc7296#section-2.9
//= type=test
//# If the responder's policy allows it to accept the first selector of TSi and TSr, then the
//# responder MUST narrow the Traffic Selectors to a subset that includes the
//# initiator's first choices.
#[test]
fn the_packet_that_started_it_stays_inside() {
    let offer = pair("10.1.0.7[tcp/50000] 10.0.0.0/8", "192.168.0.9[tcp/443] 192.168.0.0/16");
    let policy = pair("10.1.0.0/16 10.2.0.0/16", "192.168.0.0/24");
    let answer = narrow(&offer, &policy).unwrap();
    assert_eq!(answer, pair("10.1.0.0/16 10.2.0.0/16", "192.168.0.0/24"));
    assert!(offer.initiator[0].is_subset_of(&answer.initiator[0]));
    assert!(offer.responder[0].is_subset_of(&answer.responder[0]));
}

/// CHECKLIST H03.
#[test]
fn no_overlap_is_refused() {
    let error = Err(SelectorError::NoOverlap);
    assert_eq!(
        narrow(&pair("10.1.0.0/16", "10.2.0.0/16"), &pair("10.3.0.0/16", "10.2.0.0/16")),
        error
    );
    assert_eq!(narrow(&pair("10.1.0.0/16", "10.2.0.0/16"), &pair("10.1.0.0/16", "")), error);
}

/// CHECKLIST H04: protocols, ports, ICMP types.
#[test]
fn protocols_and_ports_are_narrowed() {
    let narrowed = |offer: &str, policy: &str| {
        narrow(&pair(offer, "10.2.0.0/16"), &pair(policy, "10.2.0.0/16"))
            .map(|answer| answer.initiator)
    };
    assert_eq!(
        narrowed("10.1.0.0/16", "10.1.0.0/16[tcp/80-90]"),
        Ok(list("10.1.0.0/16[tcp/80-90]"))
    );
    assert_eq!(
        narrowed("10.1.0.0/16[tcp/85-100]", "10.1.0.0/16[tcp/80-90]"),
        Ok(list("10.1.0.0/16[tcp/85-90]"))
    );
    assert_eq!(narrowed("10.1.0.0/16[udp]", "10.1.0.0/16[tcp]"), Err(SelectorError::NoOverlap));
    // Echo request: type 8, code 0.
    assert_eq!(narrowed("10.1.0.0/16[1/2048]", "10.1.0.0/16[1]"), Ok(list("10.1.0.0/16[1/2048]")));
}

/// CHECKLIST H06: families do not mix; a family without a partner is left out.
#[test]
fn selectors_without_partner_are_left_out() {
    let offer = pair("10.1.0.0/16 fd01::/64", "10.2.0.0/16 fd02::/64");
    let policy = pair("10.1.0.0/16 fd01::/64", "10.2.0.0/16");
    assert_eq!(narrow(&offer, &policy), Ok(pair("10.1.0.0/16", "10.2.0.0/16")));
    let crossed = pair("10.1.0.0/16", "fd02::/64");
    assert_eq!(narrow(&crossed, &crossed), Err(SelectorError::NoOverlap));
    let protocols = pair("10.1.0.0/16[tcp]", "10.2.0.0/16[udp]");
    assert_eq!(narrow(&protocols, &protocols), Err(SelectorError::NoOverlap));
}

/// CHECKLIST H02.
#[test]
fn a_wider_answer_is_refused() {
    let offer = pair("10.1.0.0/24 10.1.1.0/24[tcp]", "10.2.0.0/16");
    let check =
        |initiator: &str, responder: &str| check_answer(&offer, &pair(initiator, responder));
    assert_eq!(check("10.1.0.0/24", "10.2.0.0/16"), Ok(()));
    assert_eq!(check("10.1.0.5", "10.2.9.0/24[udp]"), Ok(()));
    // Two of the offered ranges side by side, as one.
    assert_eq!(check("10.1.0.0/23[tcp]", "10.2.0.0/16"), Ok(()));
    assert_eq!(check("10.1.0.0/23", "10.2.0.0/16"), Err(SelectorError::Wider));
    assert_eq!(check("10.1.0.0/24", "10.2.0.0/15"), Err(SelectorError::Wider));
    assert_eq!(check("10.1.0.0/24", "::/0"), Err(SelectorError::Wider));
    assert_eq!(check("", "10.2.0.0/16"), Err(SelectorError::NoOverlap));
}

#[test]
fn the_packet_comes_first_once_and_only_if_it_is_ours() {
    let configured = list("10.1.0.0/16");
    let inside: TrafficSelector = "10.1.0.7[tcp/443]".parse().unwrap();
    let outside: TrafficSelector = "10.9.0.7".parse().unwrap();
    assert_eq!(with_first(Some(inside), &configured), list("10.1.0.7[tcp/443] 10.1.0.0/16"));
    assert_eq!(with_first(Some(outside), &configured), configured);
    assert_eq!(with_first(Some(configured[0]), &configured), configured);
    assert_eq!(with_first(None, &configured), configured);
}

#[test]
fn a_laborious_offer_is_cut() {
    let many: String = (0..128).map(|n| format!("10.{n}.0.0/16 ")).collect();
    let offer = pair(&many, &many);
    let answer = narrow(&offer, &pair("0.0.0.0/0", "0.0.0.0/0")).unwrap();
    assert_eq!(answer.initiator.len(), SELECTORS_MAX);
    assert_eq!(answer.initiator[0], offer.initiator[0]);
}

fn any_selector() -> impl Strategy<Value = TrafficSelector> {
    let v4 = (0_u32..64, 0_u32..64).prop_map(|(a, b)| {
        let [start, end] = [a.min(b), a.max(b)].map(|n| IpAddr::V4(n.into()));
        (start, end)
    });
    let v6 = (0_u128..16, 0_u128..16).prop_map(|(a, b)| {
        let [start, end] = [a.min(b), a.max(b)].map(|n| IpAddr::V6(n.into()));
        (start, end)
    });
    let ports = prop::sample::select(vec!["any", "80", "80-90", "opaque", "85-443"]);
    let protocol = prop::sample::select(vec!["any", "tcp", "udp"]);
    (prop_oneof![3 => v4, 1 => v6], protocol, ports).prop_map(|((start, end), protocol, ports)| {
        format!("{start}..{end}[{protocol}/{ports}]").parse().unwrap()
    })
}

fn any_pair() -> impl Strategy<Value = SelectorPair> {
    let list = || prop::collection::vec(any_selector(), 1..5);
    (list(), list()).prop_map(|(initiator, responder)| SelectorPair { initiator, responder })
}

proptest! {
    /// What comes out is in both, and the initiator takes it.
    #[test]
    fn narrowing_stays_within_both_sides(offer in any_pair(), policy in any_pair()) {
        if let Ok(answer) = narrow(&offer, &policy) {
            prop_assert_eq!(check_answer(&offer, &answer), Ok(()));
            prop_assert_eq!(check_answer(&policy, &answer), Ok(()));
        }
    }

    /// A first choice that the policy has is in the answer.
    #[test]
    fn narrowing_keeps_the_first_choice(offer in any_pair(), policy in any_pair()) {
        let first = SelectorPair {
            initiator: vec![offer.initiator[0]],
            responder: vec![offer.responder[0]],
        };
        if check_answer(&policy, &first).is_ok() && narrow(&first, &first).is_ok() {
            let answer = narrow(&offer, &policy).unwrap();
            prop_assert_eq!(check_answer(&answer, &first), Ok(()));
        }
    }

    /// Both sides may narrow in either order.
    #[test]
    fn narrowing_is_symmetric(offer in any_pair(), policy in any_pair()) {
        let sorted = |pair: Result<SelectorPair, SelectorError>| {
            pair.map(|mut pair| {
                pair.initiator.sort_unstable();
                pair.responder.sort_unstable();
                pair
            })
        };
        prop_assert_eq!(sorted(narrow(&offer, &policy)), sorted(narrow(&policy, &offer)));
    }
}
