//! What we send is what `ip xfrm` sends, octet for octet, and a reader that we did not write
//! understands it. What the kernel sends is read from messages that a writer we did not write made.

use std::net::IpAddr;
use std::time::Duration;

use adit_crypto::{
    Authentication, Cipher, Encryption, IcvSize, Integrity, KeySize, Protection, Secret,
};
use adit_db::{Amounts, ChildKeys, Lifetime, Mode, WindowSize};
use adit_wire::esp::Spi;
use adit_wire::iana::IpProtocol;
use adit_wire::ikev2::{PortRange, TrafficSelector};
use netlink_packet_core::{NetlinkHeader, NetlinkMessage, NetlinkPayload};
use netlink_packet_xfrm::monitor::{AcquireMessage, ExpireMessage, MappingMessage};
use netlink_packet_xfrm::{UserTemplate, XfrmAttrs, XfrmMessage};

use super::octets::Request;
use super::*;

/// `name kind flags octets` of the file.
fn golden(name: &str) -> (u16, u16, Vec<u8>) {
    let line = include_str!("golden.txt")
        .lines()
        .find(|line| line.split(' ').next() == Some(name))
        .unwrap_or_else(|| panic!("no {name} in golden.txt"));
    let [_, kind, flags, hex] = line.split(' ').collect::<Vec<_>>()[..] else {
        panic!("{name} is malformed");
    };
    let kind = match kind {
        "NEWSA" => octets::NEWSA,
        "DELSA" => octets::DELSA,
        "GETSA" => octets::GETSA,
        "UPDPOLICY" => octets::UPDPOLICY,
        "DELPOLICY" => octets::DELPOLICY,
        other => panic!("{other}"),
    };
    let flags = if flags == "REQUEST|ACK" { ACK } else { ASK };
    let octets = (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16));
    (kind, flags, octets.collect::<Result<_, _>>().unwrap())
}

#[track_caller]
fn is_golden(name: &str, request: Request) {
    let ours = request.finish(7);
    let (kind, flags, theirs) = golden(name);
    assert_eq!(View(&ours).u16(4), Some(kind), "{name}");
    assert_eq!(View(&ours).u16(6), Some(flags), "{name}");
    assert_eq!(ours[16..], theirs[..], "{name}");
}

fn octets(count: u8) -> Secret {
    Secret::new((0..count).collect())
}

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

const SPI: Spi = Spi(0xc000_0001);

fn ends(v6: bool) -> (IpAddr, IpAddr) {
    if v6 {
        (address("2001:db8::1"), address("2001:db8::2"))
    } else {
        (address("192.0.2.1"), address("192.0.2.2"))
    }
}

fn id(v6: bool) -> StateId {
    let (source, destination) = ends(v6);
    StateId { source, destination, protocol: IpProtocol::ESP, spi: SPI, mark: None }
}

const MARK_7: Option<Mark> = Some(Mark { value: 7, mask: 0xff });

fn state(protection: impl Into<Protection>, keys: &ChildKeys) -> State<'_> {
    State {
        id: id(false),
        reqid: 5,
        mode: Mode::Tunnel,
        protection: protection.into(),
        keys,
        encap: None,
        lifetime: Lifetime::NONE,
        replay: Replay::sending(false),
        selector: None,
        any_family: false,
        clear_dscp: false,
        clear_ecn: false,
        clear_df: false,
        output_mark: None,
        if_id: None,
        offload: None,
    }
}

fn aead_keys(count: u8) -> ChildKeys {
    ChildKeys { encryption: octets(count), integrity: Secret::default() }
}

const GCM: Cipher = Cipher::AesGcm(KeySize::Bits128, IcvSize::Octets16);

#[test]
fn sas_of_aeads_are_golden() {
    let keys = aead_keys(20);
    let window = WindowSize::covering(128).unwrap();
    let gcm = State { replay: Replay::receiving(window, true), ..state(GCM, &keys) };
    is_golden("gcm-esn", gcm.add().unwrap());

    let offload = Some(Offload { interface: 1, inbound: true, packet: false });
    is_golden("offload", State { offload, ..state(GCM, &keys) }.add().unwrap());
    let offload = Some(Offload { interface: 1, inbound: false, packet: false });
    is_golden("offload-out", State { offload, ..state(GCM, &keys) }.add().unwrap());

    let key = [octets(32).as_bytes(), octets(4).as_bytes()].concat();
    let keys = ChildKeys { encryption: Secret::new(key), integrity: Secret::default() };
    is_golden("chacha", state(Cipher::ChaCha20Poly1305, &keys).add().unwrap());
}

#[test]
fn an_sa_with_limits_in_udp_is_golden() {
    let cipher = Cipher::Paired(Encryption::AesCbc(KeySize::Bits128), Integrity::HmacSha2_256_128);
    let keys = ChildKeys { encryption: octets(16), integrity: octets(32) };
    let amounts = |time, octets, packets| Amounts {
        time: Some(Duration::from_secs(time)),
        octets: Some(octets),
        packets: Some(packets),
    };
    let sa = State {
        encap: Some(EncapPorts { source: 4500, destination: 4501 }),
        lifetime: Lifetime {
            soft: amounts(3600, 1000, 5),
            hard: amounts(3960, 2000, 10),
            idle: None,
        },
        replay: Replay::receiving(WindowSize::MIN, false),
        output_mark: Some(Mark { value: 0xad17, mask: u32::MAX }),
        clear_ecn: true,
        ..state(cipher, &keys)
    };
    is_golden("cbc-udp", sa.add().unwrap());
}

/// CHECKLIST S17: XFRM_STATE_NOPMTUDISC, in the octet where the golden SA has XFRM_STATE_NOECN.
#[test]
fn the_df_bit_is_cleared_by_a_flag() {
    let keys = aead_keys(20);
    let octets = |clear_ecn, clear_df| {
        let sa = State { clear_ecn, clear_df, ..state(GCM, &keys) };
        sa.add().unwrap().finish(7)
    };
    let (plain, no_ecn) = (octets(false, false), octets(true, false));
    let at = plain.iter().zip(no_ecn.iter()).position(|(one, other)| one != other).unwrap();
    let mut expected = plain;
    expected[at] |= 4;
    assert_eq!(octets(false, true), expected);
}

#[test]
fn an_sa_of_transport_mode_with_marks_is_golden() {
    let cipher = Cipher::Paired(Encryption::AesCbc(KeySize::Bits128), Integrity::HmacSha1_96);
    let keys = ChildKeys { encryption: octets(16), integrity: octets(20) };
    let (source, destination) = ends(true);
    let selector = Selector {
        source: source.into(),
        destination: destination.into(),
        protocol: 0,
        source_port: MaskedPort::default(),
        destination_port: MaskedPort::default(),
    };
    let sa = State {
        id: StateId { mark: MARK_7, ..id(true) },
        mode: Mode::Transport,
        replay: Replay::receiving(WindowSize::MIN, false),
        selector: Some(selector),
        clear_dscp: true,
        if_id: Some(42),
        ..state(cipher, &keys)
    };
    is_golden("transport-v6", sa.add().unwrap());
}

#[test]
fn removals_and_questions_are_golden() {
    is_golden("delete", id(false).delete());
    is_golden("delete-mark", StateId { mark: MARK_7, ..id(true) }.delete());
    is_golden("get", id(false).get());
}

fn key(direction: Direction, source: &str, destination: &str) -> PolicyKey {
    let ts = |text: &str| text.parse::<TrafficSelector>().unwrap();
    let selector = Selector::cover(&ts(source), &ts(destination)).unwrap()[0];
    PolicyKey { direction, selector, mark: None, if_id: None }
}

fn protect(v6: bool) -> Action {
    let ends = Some(ends(v6));
    Action::Protect(Template { ends, reqid: 5, mode: Mode::Tunnel, ..Template::ANY })
}

#[test]
fn policies_are_golden() {
    let out = key(Direction::Out, "10.1.0.0/24", "10.2.0.0/24");
    is_golden(
        "policy-out",
        Policy { id: out, priority: 100, action: protect(false), offload: None }.put(),
    );
    is_golden("policy-delete", out.delete());
    let marked = PolicyKey { mark: MARK_7, if_id: Some(42), ..out };
    is_golden("policy-delete-mark", marked.delete());

    let inbound = key(Direction::In, "10.2.0.0/24", "10.1.0.0/24");
    let any = Template { reqid: 5, ..Template::ANY };
    let held = Policy { id: inbound, priority: 100, action: Action::Protect(any), offload: None };
    is_golden("policy-any", held.put());
    is_golden(
        "policy-block",
        Policy { id: inbound, priority: 0, action: Action::Block, offload: None }.put(),
    );
    let forward = PolicyKey { direction: Direction::Forward, ..inbound };
    is_golden(
        "policy-allow",
        Policy { id: forward, priority: 3, action: Action::Allow, offload: None }.put(),
    );
}

/// CHECKLIST S10: AH in transport mode around ESP (RFC 2401 §4.3); what is sent names both SAs.
#[test]
fn bundles_are_golden() {
    let keys = ChildKeys { encryption: Secret::default(), integrity: octets(32) };
    let ah = State {
        id: StateId { protocol: IpProtocol::AH, ..id(false) },
        mode: Mode::Transport,
        replay: Replay::receiving(WindowSize::MIN, false),
        ..state(Authentication::Mac(Integrity::HmacSha2_256_128), &keys)
    };
    is_golden("bundle-ah", ah.add().unwrap());
    is_golden("bundle-ah-delete", ah.id.delete());
    is_golden("bundle-ah-get", ah.id.get());
    // XFRM_STATE_AF_UNSPEC, beside XFRM_STATE_ALIGN4.
    let for_both = State { any_family: true, ..ah };
    let at = 16 + 216;
    assert_eq!(for_both.add().unwrap().finish(1)[at], 32 | 64);
    let ah = State { any_family: false, ..for_both };
    let octets = ah.add().unwrap().finish(1);
    assert_eq!(octets[at], 64);
    let info = StateInfo::read(state::body(&octets)).unwrap();
    assert_eq!((info.id, info.reqid), (ah.id, 5));

    let esp = Template { reqid: 5, mode: Mode::Tunnel, ..Template::ANY };
    let ah = Template { protocol: IpProtocol::AH, mode: Mode::Transport, ..esp };
    let inbound = key(Direction::In, "10.2.0.0/24", "10.1.0.0/24");
    let both = Action::Bundle { inner: esp, outer: ah };
    let policy = Policy { id: inbound, priority: 100, action: both, offload: None };
    is_golden("bundle-in", policy.put());

    let ends = Some(ends(false));
    let inner = Template { ends, spi: Some(SPI), ..esp };
    let outer = Template { ends, spi: Some(Spi(SPI.0 + 1)), ..ah };
    let id = key(Direction::Out, "10.1.0.0/24", "10.2.0.0/24");
    let policy = Policy { id, action: Action::Bundle { inner, outer }, ..policy };
    is_golden("bundle-out", policy.put());
    // Its first template has the number.
    let octets = policy.put().finish(1);
    assert_eq!(PolicyInfo::read(state::body(&octets)).unwrap().reqid, Some(5));
}

#[test]
fn policies_with_ports_and_icmp_are_golden() {
    let tcp = |port| {
        let any: TrafficSelector = "10.0.0.0/8".parse().unwrap();
        any.with_protocol(IpProtocol::TCP, PortRange::single(port))
    };
    let mut id = key(Direction::In, "10.2.0.0/24", "10.1.0.0/24");
    let ports = Selector::cover(&tcp(80), &tcp(1024)).unwrap()[0];
    id.selector = Selector { source: id.selector.source, ..ports };
    id.selector.destination = key(Direction::In, "10.2.0.0/24", "10.1.0.0/24").selector.destination;
    let id = PolicyKey { mark: MARK_7, if_id: Some(42), ..id };
    is_golden(
        "policy-port",
        Policy { id, priority: 7, action: protect(false), offload: None }.put(),
    );

    let mut id = key(Direction::Forward, "fd02::/64", "fd01::/64");
    let exact = |port| MaskedPort { port, mask: 0xffff };
    id.selector.protocol = IpProtocol::ICMPV6.0;
    (id.selector.source_port, id.selector.destination_port) = (exact(8), exact(1));
    is_golden(
        "policy-icmp",
        Policy { id, priority: 9, action: protect(true), offload: None }.put(),
    );
}

fn foreign(octets: &[u8]) -> XfrmMessage {
    let message = NetlinkMessage::<XfrmMessage>::deserialize(octets).unwrap();
    let NetlinkPayload::InnerMessage(message) = message.payload else {
        panic!("{message:?}");
    };
    message
}

/// iproute2 has words for devices that do the headers and policies only since 6.2, so another
/// reader has to do.
#[test]
fn what_a_device_has_whole_is_what_another_reader_expects() {
    let there = |nlas: &[XfrmAttrs]| {
        let devices = nlas.iter().filter_map(|nla| {
            let XfrmAttrs::OffloadDevice(device) = nla else { return None };
            Some((device.ifindex, device.flags))
        });
        devices.collect::<Vec<_>>()
    };
    let keys = aead_keys(20);
    let offload = Some(Offload { interface: 3, inbound: false, packet: true });
    let octets = State { offload, ..state(GCM, &keys) }.add().unwrap().finish(1);
    let XfrmMessage::AddSa(sa) = foreign(&octets) else { panic!("not an SA") };
    assert_eq!(there(&sa.nlas), [(3, 4)]);

    let id = key(Direction::In, "10.2.0.0/24", "10.1.0.0/24");
    let offload = Some(Offload { interface: 3, inbound: true, packet: true });
    let octets = Policy { id, priority: 7, action: protect(false), offload }.put().finish(1);
    let XfrmMessage::UpdatePolicy(policy) = foreign(&octets) else { panic!("not a policy") };
    assert_eq!(there(&policy.nlas), [(3, 6)]);
}

/// `ip` has no word for it, so another reader has to do.
#[test]
fn a_migration_is_what_another_reader_expects() {
    let new = (address("198.51.100.1"), address("198.51.100.2"));
    let encap = Some(EncapPorts { source: 4500, destination: 24_500 });
    let old = ends(false);
    let migration = Migration { old, new, reqid: 5, mode: Mode::Tunnel, if_id: Some(7), encap };
    let octets = policy::migrate(&migration.handle().id, &migration).finish(1);
    let XfrmMessage::Migrate(message) = foreign(&octets) else {
        panic!("not a migration");
    };
    assert_eq!(message.user_policy_id.direction, 1);
    assert_eq!(message.user_policy_id.selector.prefixlen_d, 32);
    let Some(XfrmAttrs::Migrate(migrate)) = message.nlas.first() else {
        panic!("{:?}", message.nlas);
    };
    assert_eq!(migrate.old_saddr.to_ipv4(), std::net::Ipv4Addr::new(192, 0, 2, 1));
    assert_eq!(migrate.new_daddr.to_ipv4(), std::net::Ipv4Addr::new(198, 51, 100, 2));
    assert_eq!((migrate.proto, migrate.mode, migrate.reqid), (50, 1, 5));
    let is_moved = |nla: &XfrmAttrs| {
        matches!(nla, XfrmAttrs::EncapsulationTemplate(encap)
            if (encap.encap_sport, encap.encap_dport) == (4500, 24_500))
    };
    assert!(message.nlas.iter().any(is_moved));
    assert!(message.nlas.iter().any(|nla| matches!(nla, XfrmAttrs::IfId(7))));
}

/// What the kernel finds the SA by names its number and its addresses, and no packet meets it.
#[test]
fn a_migration_has_a_policy_of_its_own() {
    for v6 in [false, true] {
        let (old, new) = (ends(v6), ends(v6));
        let migration =
            Migration { old, new, reqid: 5, mode: Mode::Transport, if_id: None, encap: None };
        let Policy { id, action, .. } = migration.handle();
        let template = Template { ends: Some(old), reqid: 5, ..Template::ANY };
        assert_eq!(action, Action::Protect(template));
        assert_eq!(id.selector.source.prefix_len(), if v6 { 128 } else { 32 });
    }
}

/// Windows of every size, both kinds of numbers, both ways: what we write comes back.
#[test]
fn replay_state_round_trips() {
    let keys = aead_keys(20);
    for packets in [0, 64, 1024, 4096, 65_536] {
        for esn in [false, true] {
            let window = WindowSize::covering(packets).unwrap();
            let receiving = Replay::receiving(window, esn);
            assert!(receiving.window.packets() <= 4096);
            let words = receiving.window.packets().div_ceil(32);
            let bitmap = (0..words).collect();
            let replay = Replay { received: 5 << 32 | 9, sent: 3 << 32 | 7, bitmap, ..receiving };
            let sa = State { replay: replay.clone(), ..state(GCM, &keys) };
            let octets = sa.add().unwrap().finish(1);
            let info = StateInfo::read(state::body(&octets)).unwrap();
            let read = info.replay.unwrap();
            assert_eq!((read.sent, read.received), (replay.sent, replay.received));
            if packets > 0 {
                assert_eq!(read, replay);
            }
        }
    }
}

#[test]
fn what_no_kernel_has_is_refused() {
    let keys = ChildKeys { encryption: octets(20), integrity: octets(20) };
    let camellia = Encryption::CamelliaCtr(KeySize::Bits128);
    let cipher = Cipher::Paired(camellia, Integrity::HmacSha1_96);
    assert!(state(cipher, &keys).add().is_err());
    assert!(state(Authentication::AesGmac(KeySize::Bits128), &keys).add().is_err());
}

/// A message as the other writer makes it.
fn sent(message: XfrmMessage) -> Vec<u8> {
    let mut message = NetlinkMessage::new(NetlinkHeader::default(), NetlinkPayload::from(message));
    message.finalize();
    let mut octets = vec![0; message.buffer_len()];
    message.serialize(&mut octets);
    octets
}

fn read_event(octets: &[u8]) -> Option<Event> {
    let (kind, _, message) = messages(octets).next()?;
    event::read_event(kind, state::body(message))
}

#[test]
fn an_acquire_names_policy_and_packet() {
    let mut message = AcquireMessage::default();
    let selector = &mut message.acquire.selector;
    selector.source_prefix(&address("10.1.0.1"), 32);
    selector.destination_prefix(&address("10.2.0.1"), 32);
    (selector.sport, selector.sport_mask) = (40_000, u16::MAX);
    (selector.dport, selector.dport_mask) = (443, u16::MAX);
    selector.proto = 6;
    let template = UserTemplate { reqid: REQID_FIRST + 3, ..UserTemplate::default() };
    message.nlas.push(XfrmAttrs::Template(vec![template]));

    let event = read_event(&sent(XfrmMessage::Acquire(message))).unwrap();
    let Event::Acquire { reqid, flow } = event else { panic!("{event:?}") };
    assert_eq!(reqid, REQID_FIRST + 3);
    assert_eq!(flow.to_string(), "10.1.0.1:40000 > 10.2.0.1:443 tcp");
}

#[test]
fn an_expiry_names_the_sa() {
    let mut message = ExpireMessage::default();
    let expire = &mut message.expire;
    expire.state.id.daddr = netlink_packet_xfrm::Address::from_ip(&address("192.0.2.2"));
    expire.state.id.spi = SPI.0;
    expire.state.id.proto = 50;
    expire.state.family = 2;
    expire.hard = 1;
    let event = read_event(&sent(XfrmMessage::Expire(message.clone())));
    let destination = address("192.0.2.2");
    let protocol = IpProtocol::ESP;
    assert_eq!(event, Some(Event::Expire { destination, protocol, spi: SPI, hard: true }));
    message.expire.state.id.proto = 51;
    let event = read_event(&sent(XfrmMessage::Expire(message)));
    let protocol = IpProtocol::AH;
    assert_eq!(event, Some(Event::Expire { destination, protocol, spi: SPI, hard: true }));
}

#[test]
fn a_mapping_names_the_new_address() {
    let mut message = MappingMessage::default();
    let map = &mut message.map;
    map.id.spi = SPI.0;
    map.id.family = 2;
    map.new_saddr = netlink_packet_xfrm::Address::from_ip(&address("198.51.100.9"));
    map.new_sport = 4711;
    let event = read_event(&sent(XfrmMessage::Mapping(message)));
    let remote = "198.51.100.9:4711".parse().unwrap();
    assert_eq!(event, Some(Event::Moved { spi: SPI, remote }));
}

#[test]
fn the_kernels_words_are_read() {
    // As 6.18 answers an unknown cipher: not capped, the request is repeated before the words.
    let request = id(false).delete().finish(9);
    let mut answer = vec![0; 16];
    answer.extend((-nix::libc::ENOSYS).to_ne_bytes());
    answer.extend(request.iter());
    answer.extend([8, 0, 1, 0, b'n', b'o', b't', 0]);
    answer[6..8].copy_from_slice(&NLM_F_ACK_TLVS.to_ne_bytes());
    let refusal = verdict(&answer).unwrap_err();
    assert_eq!(refusal.errno(), nix::libc::ENOSYS);
    assert_eq!(refusal.text.as_deref(), Some("not"));
    assert!(verdict(&answer[..18]).is_ok());
}

#[test]
fn malformed_datagrams_end_the_walk() {
    assert_eq!(messages(&[0; 64]).count(), 0);
    assert_eq!(messages(&[9, 0, 0, 0, 1]).count(), 0);
    let ours = id(false).delete().finish(1);
    assert_eq!(messages(&ours).count(), 1);
    assert_eq!(messages(&ours[..ours.len() - 1]).count(), 0);
}
