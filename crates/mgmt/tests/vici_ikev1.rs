//! What swanctl sends for IKEv1, recorded between it and charon 5.9.8
//! (`tests/vectors/vici-strongswan-5.9.8-ikev1.json`): connections, pools and users are read, and shown as charon
//! shows them.

#![expect(clippy::unwrap_used, reason = "helpers of tests may panic as the tests do")]

use std::sync::Arc;

use adit_db::{Aggressive, AuthSpec, ConfigMode, Connection, IkeVersion, UserAuth};
use adit_mgmt::vici::pool::{PoolSnapshot, Pools, pools_message};
use adit_mgmt::vici::{Event, Message, Packet, Request, conn};
use serde::Deserialize;

#[derive(Deserialize)]
struct Vectors {
    packets: Vec<Vector>,
}

#[derive(Deserialize)]
struct Vector {
    name: String,
    packet: String,
}

impl Vector {
    fn packet(&self) -> Packet {
        let digits = self.packet.as_bytes().chunks(2);
        let octets: Vec<u8> = digits
            .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
            .collect();
        let packet = Packet::read(&octets).unwrap();
        assert_eq!(packet.encode().unwrap().get(4..), Some(octets.as_slice()));
        packet
    }
}

fn recorded(name: &str) -> Vec<Packet> {
    let text = include_str!("vectors/vici-strongswan-5.9.8-ikev1.json");
    let vectors: Vectors = serde_json::from_str(text).unwrap();
    let named = vectors.packets.iter().filter(|vector| vector.name == name);
    named.map(Vector::packet).collect()
}

fn requests(command: &str) -> Vec<Request> {
    let requests = recorded(command).into_iter().filter_map(|packet| {
        let Packet::Request { name, message } = packet else { return None };
        let request = Request::parse(&name, &message).unwrap();
        assert_eq!(request.name(), command);
        let again = Request::parse(&name, &request.message()).unwrap();
        assert_eq!(format!("{request:?}"), format!("{again:?}"));
        Some(request)
    });
    requests.collect()
}

fn pools() -> Pools {
    let loaded = requests("load-pool").into_iter().map(|request| {
        let Request::LoadPool(loaded) = request else { panic!("{request:?}") };
        (loaded.name, loaded.pool)
    });
    loaded.collect()
}

fn connections() -> Vec<Connection> {
    let pools = pools();
    let loaded = requests("load-conn").into_iter().map(|request| {
        let Request::LoadConn { name, section } = request else { panic!("{request:?}") };
        // Ours is 30 s where swanctl.conf's default is off, and charon lists only what is on.
        conn::connection(&name, &section.with("dpd_delay", 0), &pools).unwrap()
    });
    loaded.collect()
}

/// CHECKLIST W01, W03, W05: a gateway with users and pools, a client, and a gateway of hybrid.
#[test]
fn connections_of_ikev1_are_read() {
    let [gateway, client, hybrid] = &connections()[..] else { panic!("three connections") };
    for connection in [gateway, client, hybrid] {
        assert_eq!(connection.ike, IkeVersion::V1, "{}", connection.name);
    }
    assert_eq!(gateway.aggressive, Aggressive::Initiate);
    assert_eq!(gateway.remote_access.user, UserAuth::Peers { message: None });
    let server = gateway.remote_access.server.as_ref().unwrap();
    let pool: Vec<String> = server.pool.iter().map(ToString::to_string).collect();
    assert_eq!(pool, ["10.9.0.0/24", "fd09::/64"]);
    assert_eq!((server.settings.dns.len(), server.settings.split.len()), (2, 1));
    assert_eq!(server.settings.banner.as_deref(), Some("Welcome"));

    assert_eq!(client.remote_access.user, UserAuth::Ours { name: "alice".to_owned() });
    assert_eq!(client.remote_access.client.as_ref().unwrap().mode, ConfigMode::Push);
    assert_eq!(hybrid.pad.remote_auth, AuthSpec::Null);
    assert_eq!(hybrid.remote_access.user, UserAuth::Peers { message: None });
}

#[test]
fn they_are_listed_as_charon_does() {
    let ours = connections().into_iter();
    let ours: Vec<Message> = ours.map(|one| Event::ListConn(Arc::new(one)).message()).collect();
    let charons: Vec<Message> = recorded("list-conn")
        .into_iter()
        .filter_map(|packet| {
            let Packet::Event { message, .. } = packet else { return None };
            Some(message)
        })
        .collect();
    // Of the gateway charon says neither that anybody may come nor how users say who they are, as it is
    // written nowhere.
    assert_eq!(ours[1..], charons[1..]);
    let round = |message: &Message, name: &str| {
        message.section("gw").unwrap().section(name).unwrap().text("class").unwrap().to_owned()
    };
    for name in ["local-1", "remote-1", "remote-2"] {
        assert_eq!(round(&ours[0], name), round(&charons[0], name));
    }
}

/// CHECKLIST W01: passwords of users, however swanctl.conf calls them.
#[test]
fn users_are_read() {
    let [Request::LoadShared(psk), Request::LoadUser(alice), Request::LoadUser(bob)] =
        &requests("load-shared")[..]
    else {
        panic!("three secrets")
    };
    assert_eq!(psk.owners.len(), 1);
    assert_eq!(
        (alice.id.as_deref(), &alice.names[..]),
        (Some("xauth-alice"), &["alice".to_owned()][..])
    );
    assert_eq!(alice.password.as_bytes(), b"horse");
    assert_eq!(bob.names, ["bob", "bobby"]);
    assert!(!format!("{alice:?}").contains("horse"));
}

#[test]
fn pools_are_listed_as_charon_does() {
    let shown: Vec<PoolSnapshot> = pools()
        .into_iter()
        .map(|(name, pool)| PoolSnapshot { name, network: pool.network, leases: Vec::new() })
        .collect();
    let charons: Vec<Message> = recorded("get-pools")
        .into_iter()
        .filter_map(|packet| {
            let Packet::Response(message) = packet else { return None };
            Some(message)
        })
        .collect();
    // Without and with leases, and of one pool alone.
    let [_, with_leases, one] = &charons[..] else { panic!("three answers") };
    assert_eq!(&pools_message(&shown, true), with_leases);
    assert_eq!(&pools_message(&shown[..1], false), one);
    let filters = requests("get-pools").into_iter().map(|request| {
        let Request::GetPools(filter) = request else { panic!("{request:?}") };
        (filter.leases, filter.name)
    });
    let filters: Vec<_> = filters.collect();
    assert_eq!(filters[1..], [(true, None), (false, Some("rw".to_owned()))]);
}
