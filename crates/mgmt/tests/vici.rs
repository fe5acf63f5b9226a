//! Our octets and strongSwan's: packets recorded between swanctl and charon 5.9.8
//! (`tests/vectors/vici-strongswan-5.9.8.json`) are read, understood, and written alike.

#![expect(clippy::unwrap_used, reason = "helpers of tests may panic as the tests do")]

use std::sync::Arc;

use adit_db::{IkeVersion, Mode};
use adit_mgmt::vici::pool::Pools;
use adit_mgmt::vici::{
    AccessSnapshot, ChildSnapshot, Decoder, Event, EventKind, LogLine, Message, Packet,
    PolicySnapshot, Request, SaSnapshot, Section, Timeout, Value, conn,
};
use adit_wire::esp::Spi;
use adit_wire::iana::{EncryptionId, IntegrityId, KeyExchangeId, PrfId, ProtocolId};
use adit_wire::ikev2::{IkeSpi, Transform};
use serde::Deserialize;

#[derive(Deserialize)]
struct Vectors {
    packets: Vec<Vector>,
}

#[derive(Deserialize)]
struct Vector {
    from: String,
    name: String,
    packet: String,
}

impl Vector {
    fn octets(&self) -> Vec<u8> {
        let digits = self.packet.as_bytes().chunks(2);
        digits
            .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
            .collect()
    }

    fn packet(&self) -> Packet {
        Packet::read(&self.octets()).unwrap()
    }
}

fn recorded() -> Vec<Vector> {
    let text = include_str!("vectors/vici-strongswan-5.9.8.json");
    let vectors: Vectors = serde_json::from_str(text).unwrap();
    assert!(vectors.packets.len() > 50);
    vectors.packets
}

fn requests(command: &str) -> Vec<Request> {
    recorded()
        .iter()
        .filter(|vector| vector.from == "swanctl" && vector.name == command)
        .filter_map(|vector| {
            let Packet::Request { name, message } = vector.packet() else { return None };
            Some(Request::parse(&name, &message).unwrap())
        })
        .collect()
}

fn event(name: &str) -> Message {
    recorded()
        .iter()
        .filter(|vector| vector.from == "charon" && vector.name == name)
        .find_map(|vector| {
            let Packet::Event { message, .. } = vector.packet() else { return None };
            Some(message)
        })
        .unwrap()
}

#[test]
fn recorded_packets_are_written_as_they_were_read() {
    for vector in recorded() {
        assert_eq!(vector.packet().encode().unwrap()[4..], vector.octets());
    }
}

#[test]
fn recorded_packets_survive_a_stream_of_single_octets() {
    let mut decoder = Decoder::new();
    for vector in recorded() {
        for octet in vector.packet().encode().unwrap() {
            assert_eq!(decoder.poll_packet(), Ok(None));
            decoder.handle_input(&[octet]);
        }
        assert_eq!(decoder.poll_packet(), Ok(Some(vector.packet())));
    }
}

#[test]
fn every_command_and_event_of_swanctl_is_known() {
    for vector in recorded() {
        if let Packet::Request { name, message } = vector.packet() {
            let request = Request::parse(&name, &message).unwrap();
            assert_eq!(request.name(), name);
        }
        if let Packet::Register(name) = vector.packet() {
            assert!(name.parse::<EventKind>().is_ok(), "{name}");
        }
    }
}

/// `load-shared` and the like: what we send is what swanctl sends, argument for argument.
#[test]
fn requests_are_written_with_swanctls_arguments() {
    for vector in recorded().iter().filter(|vector| vector.from == "swanctl") {
        let Packet::Request { name, message } = vector.packet() else { continue };
        let request = Request::parse(&name, &message).unwrap();
        let same = Request::parse(&name, &request.message()).unwrap();
        if request.ready_answer().is_none() {
            assert_eq!(format!("{request:?}"), format!("{same:?}"));
        }
    }
}

#[test]
fn initiate_and_terminate_carry_their_arguments() {
    let [Request::Initiate(first), .., Request::Initiate(last)] = &requests("initiate")[..] else {
        panic!("recorded initiate commands")
    };
    assert_eq!(first.child.as_deref(), Some("net"));
    assert_eq!(first.timeout, Timeout::After(std::time::Duration::from_secs(20)));
    assert_eq!(first.log_level, 1);
    // swanctl --timeout -1
    assert_eq!(last.timeout, Timeout::Immediately);
    let by_id = requests("terminate").into_iter().find_map(|request| {
        let Request::Terminate(terminate) = request else { return None };
        terminate.selection.ike_id
    });
    assert_eq!(by_id, Some(99));
}

#[test]
fn the_secret_of_load_shared_arrives_and_stays_unprinted() {
    let [Request::LoadShared(shared)] = &requests("load-shared")[..] else { panic!() };
    assert_eq!(shared.secret.as_bytes(), b"lab-psk-0123456789");
    assert_eq!(shared.id.as_deref(), Some("ike-1"));
    assert!(shared.owners.is_empty());
    assert!(!format!("{shared:?}").contains("lab-psk"));
}

/// `secrets { ppk-lab { id = lab } }` of swanctl.conf.
#[test]
fn a_post_quantum_key_has_names_of_its_own_kind() {
    let request = |owner: &str| {
        let message = Message::new()
            .with("id", "ppk-lab")
            .with("type", "PPK")
            .with("data", "lab-ppk-0123456789")
            .with_list("owners", [owner]);
        Request::parse("load-shared", &message)
    };
    let Ok(Request::LoadPpk(ppk)) = request("lab") else { panic!() };
    assert_eq!(ppk.secret.as_bytes(), b"lab-ppk-0123456789");
    assert_eq!(ppk.names, ["lab".parse().unwrap()]);
    assert!(!format!("{ppk:?}").contains("0123456789"));
    let Ok(Request::LoadPpk(ppk)) = request("%any") else { panic!() };
    assert!(ppk.names.is_empty());
    assert!(request("*.lab").is_err());
}

#[test]
fn a_connection_comes_back_as_charon_lists_it() {
    let [Request::LoadConn { name, section }] = &requests("load-conn")[..] else { panic!() };
    // Ours is 30 s where swanctl.conf's default is off, and charon lists only what is on.
    let section = section.clone().with("dpd_delay", 0);
    let connection = conn::connection(name, &section, &Pools::new()).unwrap();
    assert_eq!(Event::ListConn(Arc::new(connection)).message(), event("list-conn"));
}

#[test]
fn an_ike_sa_is_listed_octet_for_octet_as_charon_does() {
    let mut ours = Vec::new();
    Event::ListSa(Box::new(sa())).message().write(&mut ours).unwrap();
    let mut charons = Vec::new();
    event("list-sa").write(&mut charons).unwrap();
    assert_eq!(ours, charons);
}

#[test]
fn a_trap_policy_is_listed_as_charon_does() {
    let policy = PolicySnapshot {
        child: "net".into(),
        connection: "t".into(),
        mode: "TUNNEL".into(),
        local_ts: vec!["10.1.0.0/24".into()],
        remote_ts: vec!["10.2.0.0/24".into()],
    };
    assert_eq!(Event::ListPolicy(policy).message(), event("list-policy"));
}

/// Charon adds the tasks it works on, which it alone has.
#[test]
fn up_and_down_have_charons_fields() {
    let without_tasks = |message: &Message| {
        let mut copy = Message::new();
        for (name, value) in message.entries() {
            if let Value::Section(section) = value {
                let mut inner = Section::new();
                let kept = section.entries().filter(|(name, _)| *name != "tasks-active");
                kept.for_each(|(name, value)| inner.put_value(name, value.clone()));
                copy.put_value(name, Value::Section(inner));
            } else {
                copy.put_value(name, value.clone());
            }
        }
        copy
    };
    let sa = Box::new(sa());
    let up = Event::IkeUpdown { up: true, sa: sa.clone() };
    assert_eq!(up.message(), without_tasks(&event("ike-updown")));
    let child = Box::new(sa.children[0].clone());
    let up = Event::ChildUpdown { up: true, sa: sa.clone(), child };
    assert_eq!(up.message(), without_tasks(&event("child-updown")));
    let down = Event::IkeUpdown { up: false, sa };
    assert_eq!(down.message().get("up"), None);
}

/// strongSwan's README: `old` and `new` below the connection, or below the child's name.
#[test]
fn rekeyings_show_before_and_after() {
    let (old, mut new) = (sa(), sa());
    new.unique_id = 2;
    let rekey = Event::IkeRekey { old: Box::new(old.clone()), new: Box::new(new) };
    let message = rekey.message();
    let pair = message.section("t").unwrap();
    assert_eq!(pair.section("old").unwrap().text("uniqueid"), Some("1"));
    assert_eq!(pair.section("new").unwrap().text("uniqueid"), Some("2"));

    let child = old.children[0].clone();
    let mut next = child.clone();
    next.unique_id = 2;
    let sa = Box::new(old);
    let rekey = Event::ChildRekey { sa, old: Box::new(child), new: Box::new(next) };
    let message = rekey.message();
    let pair = message.section("t").unwrap().section("child-sas").unwrap().section("net").unwrap();
    assert_eq!(pair.section("old").unwrap().text("spi-in"), Some("548eec7c"));
    assert_eq!(pair.section("new").unwrap().text("uniqueid"), Some("2"));
}

#[test]
fn optional_fields_are_there_when_they_apply() {
    let mut sa = sa();
    sa.nat_local = true;
    sa.initiator = false;
    sa.suite.push(Transform {
        kind: adit_wire::iana::TransformType::ADDKE1,
        id: KeyExchangeId::ML_KEM_768.0,
        key_bits: None,
    });
    let child = &mut sa.children[0];
    child.esn = true;
    child.udp = false;
    child.idle_in_s = Some(3);
    let message = Event::ListSa(Box::new(sa)).message();
    let section = message.section("t").unwrap();
    assert_eq!(section.text("nat-local"), Some("yes"));
    assert_eq!(section.text("initiator"), None);
    assert_eq!(section.text("ke1-alg"), Some("ML_KEM_768"));
    let child = section.section("child-sas").unwrap().section("net-1").unwrap();
    assert_eq!(child.text("esn"), Some("1"));
    assert_eq!(child.text("encap"), None);
    assert_eq!(child.text("use-in"), Some("3"));
}

/// Fields as charon orders them; swanctl reads no text that is not printable ASCII.
#[test]
fn a_line_of_the_log_has_charons_fields_and_survives() {
    let line = LogLine {
        group: "IKE".into(),
        level: 1,
        thread: 3,
        connection: Some("t".into()),
        ike_id: Some(7),
        text: "the name is naïve".into(),
        time: None,
    };
    let message = line.message();
    assert_eq!(message.text("thread"), Some("3"));
    assert_eq!(message.text("ikesa-name"), Some("t"));
    assert_eq!(message.text("ikesa-uniqueid"), Some("7"));
    assert_eq!(message.text("msg"), Some(r"the name is na\u{ef}ve"));
    assert_eq!(LogLine::parse(&message), line);

    let unknown = LogLine { ike_id: None, thread: 0, ..line };
    assert_eq!(unknown.message().text("ikesa-uniqueid"), None);
    assert_eq!(unknown.message().text("thread"), None);
}

/// The SA charon listed.
fn sa() -> SaSnapshot {
    SaSnapshot {
        connection: "t".into(),
        unique_id: 1,
        version: IkeVersion::V2,
        state: "ESTABLISHED".into(),
        local: "192.0.2.1:4500".parse().unwrap(),
        remote: "192.0.2.2:4500".parse().unwrap(),
        local_id: Some("a.lab".parse().unwrap()),
        remote_id: Some("b.lab".parse().unwrap()),
        initiator: true,
        spi_i: IkeSpi([0xac, 0x2f, 0x83, 0x76, 0xdf, 0x74, 0xa3, 0xb6]),
        spi_r: IkeSpi([0x71, 0xaf, 0x17, 0x5d, 0x18, 0xbc, 0xa1, 0xc0]),
        nat_local: false,
        nat_remote: true,
        nat_fake: false,
        resumed: false,
        suite: vec![
            Transform::encryption(EncryptionId::AES_CBC, Some(128)),
            Transform::integrity(IntegrityId::HMAC_SHA2_256_128),
            Transform::prf(PrfId::HMAC_SHA2_256),
            Transform::key_exchange(KeyExchangeId::CURVE25519),
        ],
        established_s: Some(0),
        rekey_s: Some(14_103),
        reauth_s: None,
        ppk: false,
        access: AccessSnapshot::default(),
        children: vec![ChildSnapshot {
            name: "net".into(),
            unique_id: 1,
            reqid: 1,
            state: "INSTALLED".into(),
            protocol: ProtocolId::ESP,
            udp: true,
            mode: Mode::Tunnel,
            spi_in: Spi(0x548e_ec7c),
            spi_out: Spi(0x29dd_3b70),
            ipcomp: None,
            ah: None,
            suite: vec![Transform::encryption(EncryptionId::AES_GCM_16, Some(128))],
            esn: false,
            octets_in: 0,
            packets_in: 0,
            idle_in_s: None,
            octets_out: 0,
            packets_out: 0,
            idle_out_s: None,
            rekey_s: Some(3_529),
            life_s: Some(3_960),
            installed_s: 0,
            path: None,
            local_ts: vec!["10.1.0.0/24".parse().unwrap()],
            remote_ts: vec!["10.2.0.0/24".parse().unwrap()],
        }],
    }
}
