//! What each lifetime of a tunnel comes from: `adit why-lifetime`. Needs root.

mod common;

use adit_mgmt::api::{self, LifetimeReport, LimitStatus, SaLifetimes, Source, TunnelState};
use adit_mgmt::vici::Request;
use common::{Pair, Site};

fn tunnel(here: u8, there: u8, extra: &str) -> String {
    format!(
        "peer = \"192.0.2.{there}\"\nlocal = \"10.{here}.0.0/24\"\nremote = \"10.{there}.0.0/24\"\n\
         secret = \"file:tunnel.psk\"\n{extra}\n"
    )
}

fn report(site: &Site, tunnel: &str) -> LifetimeReport {
    let request = Request::AditWhyLifetime { tunnel: tunnel.to_owned() };
    api::from_message(&site.call(&request)).expect("a report")
}

fn limit<'a>(sa: &'a SaLifetimes, name: &str) -> &'a LimitStatus {
    let found = sa.limits.iter().find(|limit| limit.limit == name);
    found.unwrap_or_else(|| panic!("no {name}: {sa:?}"))
}

/// CHECKLIST S06, K16: limits of the file with their lines, limits by default, and what the responder says.
#[test]
fn each_limit_says_what_it_comes_from() {
    let Some(mut pair) = Pair::new("lifetimes") else { return };
    let ours =
        "ike_rekey = \"3h\"\nrekey = \"20m\"\nlife = \"30m\"\nidle = \"10m\"\nkeep = \"on-demand\"";
    let theirs = "reauth = \"2h\"\nkeep = \"passive\"";
    pair.start(&tunnel(1, 2, ours), &tunnel(2, 1, theirs));
    pair.oslo.wait_for("tunnel", TunnelState::Idle);
    assert!(report(&pair.oslo, "tunnel").sas.is_empty());
    pair.assert_carries("10.1.0.1", "10.2.0.1");

    let oslo = report(&pair.oslo, "tunnel");
    assert_eq!((oslo.source, oslo.sas.len()), (Source::File, 2));
    let [ike, child] = [&oslo.sas[0], &oslo.sas[1]];
    let at = |line: usize| format!("/tunnel.toml:{line}");
    let is_at = |limit: &LimitStatus, line| {
        limit.place.as_ref().is_some_and(|place| place.ends_with(&at(line)))
    };
    let rekey = limit(ike, "rekey");
    assert!(is_at(rekey, 5) && rekey.origin.starts_with("ike_rekey: 10800 s"), "{rekey:?}");
    assert!(rekey.amount.is_some_and(|amount| (9_720..=10_800).contains(&amount)), "{rekey:?}");
    let end = limit(ike, "end");
    assert_eq!(end.amount, Some(11_880), "{end:?}");
    let said = limit(ike, "authentication");
    assert_eq!(said.origin, "AUTH_LIFETIME of the peer");
    assert_eq!((said.amount, said.first), (Some(7_200), true), "{ike:?}");
    let reauth = limit(ike, "reauthenticate");
    assert!(reauth.first && reauth.amount == Some(6_480), "{reauth:?}");

    let (soft, hard, idle) = (limit(child, "rekey"), limit(child, "end"), limit(child, "idle"));
    assert!(is_at(soft, 6) && is_at(hard, 7) && is_at(idle, 8), "{child:?}");
    assert!(soft.amount.is_some_and(|amount| (600..=1_200).contains(&amount)), "{soft:?}");
    assert_eq!((hard.amount, idle.amount), (Some(1_800), Some(600)));
    assert!(idle.first && !hard.first);

    let berlin = report(&pair.berlin, "tunnel");
    let [ike, child] = [&berlin.sas[0], &berlin.sas[1]];
    let proof = limit(ike, "authentication");
    assert!(is_at(proof, 5) && proof.origin == "reauth", "{proof:?}");
    assert_eq!(proof.amount, Some(7_200));
    assert!(limit(ike, "rekey").origin.starts_with("default: 14400 s"), "{ike:?}");
    assert!(limit(child, "rekey").origin.starts_with("default: 3600 s"), "{child:?}");
    assert_eq!((limit(child, "end").amount, &limit(child, "end").place), (Some(3_960), &None));
    assert!(report(&pair.oslo, "nowhere").sas.is_empty());
}

/// `docs/lifetimes.md`: kilobytes of a phase 1 of IKEv1, by the end that wants less of them, and what has gone.
#[test]
fn kilobytes_of_phase_1_say_what_they_come_from() {
    let Some(mut pair) = Pair::new("v1-kilobytes") else { return };
    let with = |keep: &str, kilobytes: u32| {
        format!(
            "ike = [1, \"aes256-sha256-modp2048\"]\nike_life_kilobytes = {kilobytes}\n\
             keep = \"{keep}\""
        )
    };
    pair.start(&tunnel(1, 2, &with("up", 100_000)), &tunnel(2, 1, &with("passive", 50_000)));
    pair.oslo.wait_for("tunnel", TunnelState::Up);
    pair.berlin.wait_for("tunnel", TunnelState::Up);
    for (site, origin) in
        [(&pair.oslo, "agreed with the peer"), (&pair.berlin, "ike_life_kilobytes")]
    {
        let report = report(site, "tunnel");
        let octets = report.sas[0].limits.iter().filter(|limit| limit.unit == "octets");
        let octets: Vec<&LimitStatus> = octets.collect();
        assert_eq!(octets.len(), 2, "{report:?}");
        assert!(octets.iter().all(|limit| limit.origin.contains(origin)), "{octets:?}");
        assert_eq!((&*octets[1].limit, octets[1].amount), ("end", Some(51_200_000)));
        assert!(octets.iter().all(|limit| limit.left < limit.amount && limit.first), "{octets:?}");
    }
}
