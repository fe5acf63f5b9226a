//! Remote clients of IKEv1: users (XAUTH), addresses from a pool (Mode-Config), what goes with them.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use adit_db::{
    AuthSpec, ClientSettings, ConfigClient, ConfigMode, ConfigServer, Connection, HostSpec,
    IdentityPattern, TsSpec, Unique, UserAuth,
};
use adit_ike::{By, Command, Failure, FailureReason, Path};

use super::common::{Pair, Peer, reversed, selector};
use super::ikev1_aggressive::aggressively;
use super::ikev1_signatures::certificates;
use super::{exchange, v1_connections};

const TRANSACTION: u8 = 6;
const QUICK_MODE: u8 = 32;

/// What the server's clients are told.
fn settings() -> ClientSettings {
    ClientSettings {
        dns: vec!["10.2.0.53".parse().unwrap()],
        domain: Some("berlin.example".to_owned()),
        banner: Some("Welcome".to_owned()),
        ..ClientSettings::default()
    }
}

/// A client with a user on the left, a server with a pool on the right.
fn access(client: ConfigMode, server: ConfigMode) -> [Connection; 2] {
    with_access(v1_connections(), client, server)
}

fn with_access(
    [mut left, mut right]: [Connection; 2],
    client: ConfigMode,
    server: ConfigMode,
) -> [Connection; 2] {
    left.remote_access.user = UserAuth::Ours { name: "alice".to_owned() };
    left.remote_access.client = Some(ConfigClient { mode: client });
    left.children[0].local_ts = vec![TsSpec::DYNAMIC];
    right.remote_access.user = UserAuth::Peers { message: Some("Who is there?".to_owned()) };
    let pool = vec!["10.9.0.0/24".parse().unwrap()];
    right.remote_access.server = Some(ConfigServer { mode: server, pool, settings: settings() });
    right.remote_addresses = vec![HostSpec::Any];
    right.children[0].remote_ts = vec![TsSpec::DYNAMIC];
    [left, right]
}

fn pull() -> [Connection; 2] {
    access(ConfigMode::Pull, ConfigMode::Pull)
}

fn pair_of(connections: [Connection; 2]) -> Pair {
    Pair::new(Default::default(), connections)
}

/// Both with the tunnel up.
fn up(connections: [Connection; 2]) -> Pair {
    let mut pair = pair_of(connections);
    bring_up(&mut pair);
    pair
}

fn bring_up(pair: &mut Pair) {
    let request = pair.left.initiate(pair.now);
    pair.run_for(Duration::from_secs(60));
    assert_eq!(pair.left.done.get(&request), Some(&Ok(())), "{:?}", pair.left.failures());
    pair.assert_one_tunnel();
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// The address that the client has inside, as both ends and the child see it.
fn address(pair: &Pair) -> IpAddr {
    let (left, right) = (pair.left.established(), pair.right.established());
    let given = left[0].access.as_ref().unwrap().given.as_ref().unwrap().addresses[0];
    assert_eq!(right[0].access.as_ref().unwrap().leases, [given]);
    let child = pair.left.children.values().next().unwrap();
    assert_eq!((child.local_ts[0].start, child.local_ts[0].end), (given, given));
    given
}

/// CHECKLIST W01, W03: the user says who it is, the client asks for its address, and quick mode has it.
#[test]
fn a_user_gets_in_and_an_address() {
    let pair = up(pull());
    assert_eq!(address(&pair), ip("10.9.0.1"));
    // Six of main mode, four of XAUTH, two of Mode-Config, three of quick mode.
    assert_eq!(pair.delivered, 15);
    let left = pair.left.established()[0].access.clone().unwrap().given.unwrap();
    assert_eq!((&left.dns, &left.domain), (&settings().dns, &settings().domain));
    assert_eq!(left.banner.as_deref(), Some("Welcome"));
    let right = pair.right.established()[0].access.clone().unwrap();
    assert_eq!(right.user.as_deref(), Some("alice"));
}

/// CHECKLIST W03: the server gives unasked, to a client that waits and to one that asks; a server of which
/// clients ask has no word for one that waits.
#[test]
fn an_address_is_asked_for_or_given() {
    for client in [ConfigMode::Push, ConfigMode::Pull] {
        let pair = up(access(client, ConfigMode::Push));
        assert_eq!(address(&pair), ip("10.9.0.1"));
    }
    let mut pair = pair_of(access(ConfigMode::Push, ConfigMode::Pull));
    pair.left.initiate(pair.now);
    pair.run_for(Duration::from_secs(200));
    assert!(pair.left.established().is_empty());
    let reason = &pair.left.failures()[0].reason;
    assert!(matches!(reason, FailureReason::HandshakeTimeout { .. }), "{reason:?}");
}

/// XAUTH without addresses, and addresses without users.
#[test]
fn each_comes_without_the_other() {
    let [mut left, mut right] = pull();
    left.remote_access.client = None;
    left.children[0].local_ts = vec![selector("10.1.0.0/24")];
    right.remote_access.server = None;
    right.children[0].remote_ts = vec![selector("10.1.0.0/24")];
    let pair = up([left, right]);
    assert_eq!(pair.delivered, 13);

    let [mut left, mut right] = pull();
    left.remote_access.user = UserAuth::None;
    right.remote_access.user = UserAuth::None;
    let pair = up([left, right]);
    assert_eq!((address(&pair), pair.delivered), (ip("10.9.0.1"), 11));
}

fn refusals(peer: &Peer) -> Vec<(By, Option<String>)> {
    let refused = |failure: Failure| {
        let FailureReason::UserRefused { by, user } = failure.reason else { return None };
        Some((by, user))
    };
    peer.failures().into_iter().filter_map(refused).collect()
}

/// CHECKLIST W01: a wrong password, and a user whom nobody knows, are told to both sides.
#[test]
fn who_is_wrong_stays_outside() {
    let mut pair = pair_of(pull());
    pair.left.password = b"wrong";
    let request = pair.left.initiate(pair.now);
    pair.run();
    let failure = pair.left.done[&request].clone().unwrap_err();
    let user = Some("alice".to_owned());
    assert_eq!(failure.reason, FailureReason::UserRefused { by: By::Peer, user });
    assert!(pair.left.children.is_empty() && pair.right.children.is_empty());
    assert_eq!(pair.right.endpoint.ike_sas().count(), 0);

    let [mut left, right] = pull();
    left.remote_access.user = UserAuth::Ours { name: "mallory".to_owned() };
    let mut pair = pair_of([left, right]);
    pair.left.initiate(pair.now);
    pair.run();
    assert_eq!(refusals(&pair.left), [(By::Peer, Some("mallory".to_owned()))]);
    assert!(pair.right.established().is_empty());
}

/// CHECKLIST W01: without a user there is no way in, nor with one where nobody is asked.
#[test]
fn users_are_for_both_sides_or_none() {
    for side in 0..2 {
        let mut connections = pull();
        connections[side].remote_access.user = UserAuth::None;
        let mut pair = pair_of(connections);
        pair.left.initiate(pair.now);
        pair.run_for(Duration::from_secs(10));
        let reason = &pair.left.failures()[0].reason;
        assert!(matches!(reason, FailureReason::NoCommonIkeSuite { .. }), "{reason:?}");
    }
}

/// CHECKLIST W01: who is let in without a user gets nothing of a tunnel that asks for one, although the
/// networks of a quick mode may choose among several with the same peer.
#[test]
fn no_way_leads_around_the_user() {
    for has_user in [true, false] {
        let [mut left, right] = v1_connections();
        left.children[0].remote_ts = vec![selector("10.3.0.0/24")];
        let mut other = right.clone();
        let mut pair = pair_of([left, right]);
        other.name = "vpn".parse().unwrap();
        other.children[0].local_ts = vec![selector("10.3.0.0/24")];
        if has_user {
            other.remote_access.user = UserAuth::Peers { message: None };
        }
        pair.right.command(Command::Load(other.into()), pair.now);
        pair.left.initiate(pair.now);
        pair.run();
        assert_eq!(pair.right.children.is_empty(), has_user);
    }
}

/// CHECKLIST W02: each message lost once, each message twice.
#[test]
fn lost_and_repeated_messages_change_nothing() {
    for lost in 0..15 {
        let mut pair = pair_of(pull());
        let request = pair.left.initiate(pair.now);
        let count = std::cell::Cell::new(0);
        let passes = |_: &[u8]| count.replace(count.get() + 1) != lost;
        while pair.deliver(passes) {}
        pair.run_for(Duration::from_secs(60));
        assert_eq!(pair.left.done.get(&request), Some(&Ok(())), "message {lost} lost");
        pair.assert_one_tunnel();
        assert_eq!(address(&pair), ip("10.9.0.1"));
    }
    let mut pair = pair_of(pull());
    let request = pair.left.initiate(pair.now);
    for _ in 0..60 {
        let right = pair.left.sent.pop_front();
        let left = pair.right.sent.pop_front();
        for _ in 0..2 {
            if let Some((path, octets)) = &right {
                pair.right.datagram(reversed(*path), octets, pair.now);
            }
            if let Some((path, octets)) = &left {
                pair.left.datagram(reversed(*path), octets, pair.now);
            }
        }
    }
    pair.run_for(Duration::from_secs(60));
    assert_eq!(pair.left.done.get(&request), Some(&Ok(())));
    pair.assert_one_tunnel();
}

/// CHECKLIST W02: whoever falls silent before or in XAUTH is forgotten, and a phase 1 that is deleted
/// before it is gone at once; until then there is no quick mode.
#[test]
fn a_phase_1_without_its_user_comes_to_nothing() {
    let mut pair = pair_of(pull());
    pair.left.initiate(pair.now);
    while pair.deliver(|octets| exchange(octets) != TRANSACTION) {}
    assert_eq!(pair.right.endpoint.ike_sas().count(), 1);
    assert!(pair.left.established().is_empty() && pair.right.established().is_empty());
    let end = pair.now + Duration::from_secs(200);
    while let Some(next) = pair.right.endpoint.poll_timeout().filter(|next| *next < end) {
        pair.now = next;
        pair.right.timeout(next);
        pair.right.sent.clear();
    }
    assert_eq!(pair.right.endpoint.ike_sas().count(), 0);

    let mut pair = pair_of(pull());
    pair.left.initiate(pair.now);
    while pair.deliver(|octets| exchange(octets) != TRANSACTION) {}
    let (connection, request) = ("tunnel".parse().unwrap(), pair.left.request());
    let down = Command::Down { connection, request };
    pair.left.command(down, pair.now);
    pair.run();
    assert_eq!(pair.right.endpoint.ike_sas().count(), 0);
    assert_eq!(pair.left.endpoint.ike_sas().count(), 0);
}

/// CHECKLIST W05: who comes again has its address again; who had it has gone.
#[test]
fn a_client_keeps_its_address() {
    let mut pair = up(pull());
    assert_eq!(address(&pair), ip("10.9.0.1"));
    let (connection, request) = ("tunnel".parse().unwrap(), pair.left.request());
    let down = Command::Down { connection, request };
    pair.left.command(down, pair.now);
    pair.run();
    assert_eq!(pair.right.endpoint.ike_sas().count(), 0);
    let [_, right] = pull();
    for user in ["bob", "alice"] {
        let [mut left, _] = pull();
        left.remote_access.user = UserAuth::Ours { name: user.to_owned() };
        pair.left.command(Command::Load(left.into()), pair.now);
        pair.left.password = if user == "bob" { b"battery staple" } else { b"correct horse" };
        bring_up(&mut pair);
        let expected = if user == "bob" { "10.9.0.2" } else { "10.9.0.1" };
        assert_eq!(address(&pair), ip(expected));
        let request = pair.left.request();
        let connection = right.name.clone();
        let down = Command::Down { connection, request };
        pair.left.command(down, pair.now);
        pair.run();
    }
}

/// CHECKLIST W05: when every address is in use there is none, and the client says so.
#[test]
fn an_empty_pool_is_told() {
    let [left, mut right] = pull();
    if let Some(server) = &mut right.remote_access.server {
        server.pool = vec!["fd09::/64".parse().unwrap()];
    }
    // An address of IPv6 is one, and fits nothing that the child is for.
    let mut pair = pair_of([left.clone(), right.clone()]);
    pair.left.initiate(pair.now);
    pair.run();
    assert!(pair.left.children.is_empty());
    right.remote_access.server.as_mut().unwrap().pool.clear();
    let mut pair = pair_of([left, right]);
    let request = pair.left.initiate(pair.now);
    pair.run();
    let failure = pair.left.done[&request].clone().unwrap_err();
    assert_eq!(failure.reason, FailureReason::NoInnerAddress);
}

/// CHECKLIST W04: a client that comes again goes on with its address without a word about it; another
/// one's it does not get.
#[test]
fn a_client_may_skip_mode_config_when_it_comes_again() {
    for (had, works) in [("10.9.0.1", true), ("10.9.0.2", false)] {
        let mut pair = up(pull());
        let (connection, request) = ("tunnel".parse().unwrap(), pair.left.request());
        let down = Command::Down { connection, request };
        pair.left.command(down, pair.now);
        pair.run();
        let [mut left, _] = pull();
        left.remote_access.client = None;
        left.children[0].local_ts = vec![selector(&format!("{had}/32"))];
        pair.left.command(Command::Load(left.into()), pair.now);
        pair.left.initiate(pair.now);
        pair.run_for(Duration::from_secs(5));
        assert_eq!(!pair.left.children.is_empty(), works, "{had}");
    }
    // Nobody has had one: there is nothing to speak from.
    let [mut left, right] = pull();
    left.remote_access.client = None;
    left.children[0].local_ts = vec![selector("10.9.0.1/32")];
    let mut pair = pair_of([left, right]);
    pair.left.initiate(pair.now);
    pair.run_for(Duration::from_secs(5));
    assert!(pair.left.children.is_empty());
}

/// CHECKLIST U07: a client that asks for everything gets what there is.
#[test]
fn who_asks_for_everything_gets_what_there_is() {
    let [mut left, right] = pull();
    left.children[0].remote_ts = vec![selector("0.0.0.0/0")];
    let pair = up([left, right]);
    let child = pair.left.children.values().next().unwrap();
    assert_eq!(child.remote_ts[0].to_string(), "10.2.0.0/24");
}

/// CHECKLIST W06: what of the other side goes through the tunnel the server says.
#[test]
fn split_networks_are_what_goes_through() {
    let [mut left, mut right] = pull();
    left.children[0].remote_ts = vec![selector("0.0.0.0/0")];
    right.children[0].local_ts = vec![selector("0.0.0.0/0")];
    let split = ["10.2.0.0/24", "10.3.0.0/16"].map(|net| net.parse().unwrap()).to_vec();
    right.remote_access.server.as_mut().unwrap().settings.split = split;
    let mut pair = pair_of([left, right]);
    pair.left.initiate(pair.now);
    pair.run();
    let child = pair.left.children.values().next().unwrap();
    let networks: Vec<String> = child.remote_ts.iter().map(ToString::to_string).collect();
    assert_eq!(networks, ["10.2.0.0/24", "10.3.0.0/16"]);
}

/// CHECKLIST W07: two clients behind one NAT, each with its own address; one of them begins again while
/// it is asked who it is.
#[test]
fn two_clients_behind_one_nat_are_two() {
    let [left, mut right] = pull();
    right.pad.remote_id = IdentityPattern::Any;
    let mut pair = pair_of([left.clone(), right]);
    let mut other = Peer::new(Default::default(), 3);
    let mut second = left;
    second.remote_access.user = UserAuth::Ours { name: "bob".to_owned() };
    other.password = b"battery staple";
    other.command(Command::Load(second.into()), pair.now);

    pair.left.initiate(pair.now);
    other.initiate(pair.now);
    let mut dropped = 0;
    for _ in 0..40 {
        for (number, client) in [(0_u16, &mut pair.left), (1, &mut other)] {
            for (path, octets) in client.sent.drain(..).collect::<Vec<_>>() {
                // Its first questions are lost: it begins anew.
                if number == 1 && exchange(&octets) == TRANSACTION && dropped < 1 {
                    dropped += 1;
                    continue;
                }
                let path = outside(path, number == 1);
                pair.right.datagram(reversed(path), &octets, pair.now);
            }
        }
        if dropped == 1 {
            dropped = 2;
            other.initiate(pair.now);
        }
        for (path, octets) in pair.right.sent.drain(..).collect::<Vec<_>>() {
            let mut path = reversed(path);
            let port = path.local.port();
            let client = if port > SHIFT { &mut other } else { &mut pair.left };
            path.local.set_port(port % SHIFT);
            client.datagram(path, &octets, pair.now);
        }
        pair.now += Duration::from_millis(300);
        pair.left.timeout(pair.now);
        other.timeout(pair.now);
        pair.right.timeout(pair.now);
    }
    let infos = pair.right.established();
    let mut users: Vec<_> = infos
        .iter()
        .map(|info| info.access.as_ref().unwrap())
        .map(|access| (access.user.clone().unwrap(), access.leases[0].to_string()))
        .collect();
    users.sort();
    let users: Vec<(&str, &str)> = users.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect();
    assert_eq!(users.len(), 2, "{users:?}");
    assert_eq!((users[0].0, users[1].0), ("alice", "bob"));
    assert_ne!(users[0].1, users[1].1);
    assert_eq!(pair.right.children.len(), 2);
    assert_eq!((pair.left.children.len(), other.children.len()), (1, 1));
}

/// The path as it is outside: the second client has other ports there.
fn outside(mut path: Path, is_second: bool) -> Path {
    if is_second {
        path.local.set_port(path.local.port() + SHIFT);
    }
    path
}

const SHIFT: u16 = 10_000;

/// A renewal of phase 1 asks for the user again and keeps the address and the children.
#[test]
fn a_renewal_asks_again_and_keeps_all() {
    let [mut left, right] = pull();
    left.rekey_time = Duration::from_secs(600);
    left.rand_time = Duration::ZERO;
    left.over_time = Duration::from_secs(60);
    let mut pair = up([left, right]);
    let before = pair.left.established()[0].spi_i;
    pair.run_for(Duration::from_secs(700));
    pair.assert_one_tunnel();
    assert_ne!(pair.left.established()[0].spi_i, before);
    assert_eq!(address(&pair), ip("10.9.0.1"));
    assert_eq!(pair.left.done.len(), 1);
}

/// CHECKLIST W01: with hybrid authentication the gateway signs and the password is the client's only proof;
/// with signatures of both it comes on top of them.
#[test]
fn a_gateway_signs_and_a_user_has_a_password() {
    for is_hybrid in [true, false] {
        for is_aggressive in [false, true] {
            let shape = |connections| {
                let connections = with_access(connections, ConfigMode::Pull, ConfigMode::Pull);
                let [mut left, mut right] =
                    if is_aggressive { aggressively(connections) } else { connections };
                if is_hybrid {
                    left.pad.local_auth = AuthSpec::Null;
                    right.pad.remote_auth = AuthSpec::Null;
                }
                [left, right]
            };
            let mut pair = certificates(&rcgen::PKCS_RSA_SHA256, shape);
            bring_up(&mut pair);
            assert_eq!(address(&pair), ip("10.9.0.1"));

            let mut pair = certificates(&rcgen::PKCS_RSA_SHA256, shape);
            pair.left.password = b"wrong";
            pair.left.initiate(pair.now);
            pair.run();
            assert_eq!(refusals(&pair.left), [(By::Peer, Some("alice".to_owned()))]);
            assert!(pair.right.established().is_empty() && pair.right.children.is_empty());
        }
    }
}

/// Nobody gets in who proves nothing and has no user: without XAUTH there is no hybrid authentication, and
/// keys of which XAUTH has no number are none for it.
#[test]
fn hybrid_needs_a_user_and_rsa() {
    let without_user = |connections| {
        let [mut left, mut right] = with_access(connections, ConfigMode::Pull, ConfigMode::Pull);
        left.pad.local_auth = AuthSpec::Null;
        right.pad.remote_auth = AuthSpec::Null;
        right.remote_access.user = UserAuth::None;
        [left, right]
    };
    let with_ecdsa = |connections| with_access(connections, ConfigMode::Pull, ConfigMode::Pull);
    for mut pair in [
        certificates(&rcgen::PKCS_RSA_SHA256, without_user),
        certificates(&rcgen::PKCS_ECDSA_P256_SHA256, with_ecdsa),
    ] {
        pair.left.initiate(pair.now);
        pair.run_for(Duration::from_secs(20));
        assert!(pair.left.children.is_empty() && pair.right.established().is_empty());
        assert!(!pair.left.failures().is_empty());
    }
}

/// Nothing in clear or under other keys is taken for a message of the exchange, and no quick mode comes
/// before its time.
#[test]
fn forged_transactions_change_nothing() {
    let mut pair = pair_of(pull());
    pair.left.initiate(pair.now);
    while pair.deliver(|octets| exchange(octets) != TRANSACTION) {}
    let path = super::common::path(super::common::RIGHT, super::common::LEFT);
    let header = pair.right.endpoint.ike_sas().next().unwrap();
    for flags in [0_u8, 1] {
        for kind in [TRANSACTION, QUICK_MODE] {
            let mut forged = [header.spi_i.0, header.spi_r.0].concat();
            forged.extend([8, 0x10, kind, flags, 0, 0, 0, 7, 0, 0, 0, 28 + 64]);
            forged.extend([0x5a; 64]);
            pair.right.datagram(path, &forged, pair.now);
            assert!(pair.right.sent.is_empty());
        }
    }
    assert!(pair.right.established().is_empty());
    pair.run_for(Duration::from_secs(60));
    pair.assert_one_tunnel();
}

/// Many have one identity, and each of their users is a peer: `unique` is about the same user on another host, and
/// about no other.
#[test]
fn uniqueness_is_by_user() {
    for (unique, user, old_stays, count) in [
        (Unique::Keep, "alice", true, 1),
        (Unique::Keep, "bob", true, 2),
        (Unique::Replace, "alice", false, 1),
        (Unique::Replace, "bob", true, 2),
    ] {
        let [mut left, mut right] = pull();
        (left.unique, right.unique) = (Unique::Replicated, unique);
        let mut second = left.clone();
        let mut pair = up([left, right]);
        let old = pair.left.established()[0].spi_i;

        second.name = "second".parse().unwrap();
        second.local_addresses = vec!["192.0.2.9".parse().unwrap()];
        second.remote_access.user = UserAuth::Ours { name: user.to_owned() };
        pair.left.password = if user == "bob" { b"battery staple" } else { b"correct horse" };
        pair.left.command(Command::Load(Arc::new(second)), pair.now);
        let request = pair.left.initiate_named("second", pair.now);
        pair.run_for(Duration::from_secs(60));

        let case = format!("{unique:?} {user}");
        let remaining = pair.right.established();
        assert_eq!(remaining.len(), count, "{case}");
        assert_eq!(remaining.iter().any(|info| info.spi_i == old), old_stays, "{case}");
        let is_refused = old_stays && count == 1;
        assert_eq!(pair.left.done.get(&request) == Some(&Ok(())), !is_refused, "{case}");
        if is_refused {
            assert_eq!(pair.right.failures()[0].reason, FailureReason::NotUnique, "{case}");
        }
    }
}
