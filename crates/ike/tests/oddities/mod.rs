//! Odd peers and odd places: answers of other versions and protocols, a peer that is ourselves, several
//! behind one NAT, names that resolve late, answers that do not fit.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use adit_db::{Connection, HostSpec, ProposalSpec};
use adit_ike::{Command, Endpoint, EndpointConfig, Output, Path, Query, RequestId, Retransmission};
use adit_wire::Reader;
use adit_wire::iana::{ExchangeType, IpProtocol, NotifyType, PayloadType};
use adit_wire::ikev2::{ChainBuilder, Delete, Flags, Header, Notify, Payload, Spis, Ts};
use adit_wire::ip::FlowKey;

use crate::common::{
    LEFT, Pair, Peer, RIGHT, connections, opened, path, reversed, sealed, with_ike,
};
use crate::forged::{
    FIRST, answer, child_request, established, established_between, keys, notifies,
};
use crate::{header, ids};

/// CHECKLIST A18: an answer of IKEv1 to an opening of IKEv2 makes nobody fall back, nor give up.
#[test]
fn an_answer_of_ikev1_changes_nothing() {
    let mut pair = Pair::default_pair();
    let request = pair.left.initiate(pair.now);
    let (to_right, init) = pair.left.sent.pop_front().unwrap();
    for exchange in [2, 4, 5] {
        let mut old = init[..8].to_vec();
        old.extend([9; 8]);
        old.extend([1, 0x10, exchange, 0, 0, 0, 0, 0, 0, 0, 0, 40]);
        old.extend([0, 0, 0, 12, 0, 0, 0, 1, 0, 0, 0, 1]);
        pair.left.datagram(reversed(to_right), &old, pair.now);
    }
    assert!(pair.left.sent.is_empty() && pair.left.done.is_empty());
    pair.left.sent.push_back((to_right, init));
    pair.run();
    assert_eq!(pair.left.done.get(&request), Some(&Ok(())));
    pair.assert_one_tunnel();
}

/// CHECKLIST D19: AuthIP on our port: its messages have the version of IKEv1 and exchange types of
/// their own.
#[test]
fn authip_gets_silence() {
    let mut pair = Pair::default_pair();
    for exchange in 243..=247 {
        let mut message = vec![7; 8];
        message.extend([0; 8]);
        message.extend([1, 0x10, exchange, 0, 0, 0, 0, 0, 0, 0, 0, 60]);
        message.extend([0; 32]);
        pair.right.datagram(path(RIGHT, LEFT), &message, pair.now);
        assert!(pair.right.sent.is_empty(), "{exchange}");
        assert_eq!(pair.right.endpoint.ike_sas().count(), 0);
    }
}

/// CHECKLIST D20: nobody is answered where nobody can be, and nobody's port 0.
#[test]
fn broadcast_addresses_are_no_peers() {
    let mut pair = Pair::default_pair();
    pair.left.initiate(pair.now);
    let (_, init) = pair.left.sent.pop_front().unwrap();
    let strangers = ["255.255.255.255:500", "224.0.0.1:500", "0.0.0.0:500", "192.0.2.1:0"];
    for stranger in strangers.into_iter().chain(["[ff02::1]:500", "[::]:500"]) {
        let remote: SocketAddr = stranger.parse().unwrap();
        let local = SocketAddr::new(RIGHT, 500);
        pair.right.datagram(Path::udp(local, remote), &init, pair.now);
        assert!(pair.right.sent.is_empty(), "{stranger}");
        assert_eq!(pair.right.endpoint.ike_sas().count(), 0, "{stranger}");
    }
}

/// CHECKLIST A19: a tunnel from a host to itself comes up or fails; it does not go in circles.
#[test]
fn a_host_that_is_its_own_peer_comes_to_an_end() {
    let mut itself = connections()[0].clone();
    itself.remote_addresses = vec![HostSpec::Address(LEFT)];
    itself.pad.remote_id = itself.pad.local_id.clone().unwrap().to_string().parse().unwrap();
    let mut host = Peer::new(EndpointConfig::default(), 1);
    let mut now = crate::common::origin();
    host.command(Command::Load(Arc::new(itself)), now);
    let request = host.initiate(now);
    let mut delivered = 0;
    for _ in 0..400 {
        while let Some((path, octets)) = host.sent.pop_front() {
            delivered += 1;
            assert!(delivered < 1_000, "it goes in circles");
            host.datagram(reversed(path), &octets, now);
        }
        let Some(next) = host.endpoint.poll_timeout().filter(|_| !host.done.contains_key(&request))
        else {
            break;
        };
        now = now.max(next);
        host.timeout(now);
    }
    assert!(host.done.contains_key(&request), "after {delivered} messages");
}

/// CHECKLIST B12: a schedule of one transmission.
#[test]
fn a_schedule_without_repetition_sends_once() {
    let once = Retransmission {
        first: Duration::from_secs(1),
        longest: Duration::from_secs(1),
        transmissions: 1,
    };
    let config = EndpointConfig { connecting: once, ..EndpointConfig::default() };
    let mut pair = Pair::new([config, EndpointConfig::default()], connections());
    let request = pair.left.initiate(pair.now);
    assert_eq!(pair.left.sent.drain(..).count(), 1);
    for _ in 0..10 {
        pair.now += Duration::from_secs(1);
        pair.left.timeout(pair.now);
    }
    assert!(pair.left.sent.is_empty());
    assert!(matches!(pair.left.done.get(&request), Some(Err(_))));
}

/// CHECKLIST C08: 253 handshakes at once, all messages of one kind before those of the next.
#[test]
fn hundreds_of_handshakes_at_once_come_to_an_end() {
    const TUNNELS: u64 = 253;
    let offer = "aes128gcm16-prfsha256-x25519";
    let config = EndpointConfig {
        cookie_threshold: usize::MAX,
        half_open_per_address_max: 1_000,
        ..EndpointConfig::default()
    };
    let mut pair = Pair::new([config.clone(), config], with_ike(offer, offer));
    for number in 0..TUNNELS {
        for (side, mut connection) in with_ike(offer, offer).into_iter().enumerate() {
            connection.name = format!("tunnel-{number}").parse().unwrap();
            connection.pad.local_id = format!("{side}.{number}.example").parse().ok();
            connection.pad.remote_id = format!("{}.{number}.example", 1 - side).parse().unwrap();
            let peer = if side == 0 { &mut pair.left } else { &mut pair.right };
            peer.command(Command::Load(Arc::new(connection)), pair.now);
        }
    }
    for number in 0..TUNNELS {
        let connection = format!("tunnel-{number}").parse().unwrap();
        let request = RequestId(1_000 + number);
        let command = Command::Initiate { connection, child: None, request };
        pair.left.command(command, pair.now);
    }
    pair.run_for(Duration::from_secs(5));
    let done = pair.left.done.values().filter(|result| result.is_ok()).count();
    assert_eq!(u64::try_from(done), Ok(TUNNELS));
    assert_eq!(pair.left.children.len(), pair.right.children.len());
}

/// The left side's next request, and a response to it that its peer did not make.
fn respond(pair: &mut Pair, chain: ChainBuilder) -> (PayloadType, Vec<u8>) {
    let (_, request) = pair.left.sent.pop_front().unwrap();
    let asked = opened(keys(pair), &request);
    let header = Header { flags: Flags::new(false, true), ..header(&request) };
    let response = sealed(keys(pair), header, chain);
    pair.left.datagram(path(LEFT, RIGHT), &response, pair.now);
    asked
}

fn refusal(kind: NotifyType) -> ChainBuilder {
    let mut chain = ChainBuilder::new();
    chain.put(&Payload::Notify(Notify::new(kind, &[])));
    chain
}

/// CHECKLIST J07: the peer has lost the child: it goes, and a fresh one is asked for.
//= https://www.rfc-editor.org/rfc/rfc7296#section-2.25
//= type=test
//# If a peer receives a CHILD_SA_NOT_FOUND notification, it SHOULD silently delete the Child SA (if it
//# still exists) and send a request to create a new Child SA from scratch (if the Child SA does not yet
//# exist).
#[test]
fn a_child_that_the_peer_has_lost_is_made_anew() {
    let mut pair = established();
    let (_, child) = ids(&pair);
    pair.left.command(Command::RekeyChild(child), pair.now);
    respond(&mut pair, refusal(NotifyType::CHILD_SA_NOT_FOUND));
    assert!(pair.left.children.is_empty());
    assert_eq!(pair.left.established().len(), 1);
    let (first, _) = respond(&mut pair, ChainBuilder::new());
    assert_eq!(first, PayloadType::DELETE, "in case the peer has it after all");
    let (_, request) = pair.left.sent.pop_front().unwrap();
    assert_eq!(header(&request).exchange, ExchangeType::CREATE_CHILD_SA);
    let asked = opened(keys(&pair), &request);
    assert!(!notifies(&asked).contains(&NotifyType::REKEY_SA), "it rekeys nothing");
}

//= https://www.rfc-editor.org/rfc/rfc7296#section-2.25
//= type=test
//# If a peer continues to receive TEMPORARY_FAILURE on the same IKE SA
//# after several minutes, it SHOULD conclude that the state information
//# is out of sync and close the IKE SA.
/// CHECKLIST I02, J15.
#[test]
fn a_peer_that_is_busy_for_minutes_is_left() {
    let mut pair = established();
    let (_, child) = ids(&pair);
    let begin = pair.now;
    pair.left.command(Command::RekeyChild(child), pair.now);
    while !pair.left.established().is_empty() {
        respond(&mut pair, refusal(NotifyType::TEMPORARY_FAILURE));
        assert!(pair.now - begin < Duration::from_secs(600), "for ever");
        let Some(next) = pair.left.endpoint.poll_timeout().filter(|_| pair.left.sent.is_empty())
        else {
            continue;
        };
        assert!(next - pair.now >= Duration::from_secs(1), "RFC 7296 §2.25: not at once");
        pair.now = next;
        pair.left.timeout(pair.now);
    }
    assert!(pair.now - begin > Duration::from_secs(120));
    let (first, _) = respond(&mut pair, ChainBuilder::new());
    assert_eq!(first, PayloadType::DELETE);
    assert!(pair.left.children.is_empty());
}

/// CHECKLIST K14: a rekeying that is refused for good ends the IKE SA, with a delete.
#[test]
fn an_ike_sa_that_may_not_be_rekeyed_is_deleted() {
    for kind in [NotifyType::NO_PROPOSAL_CHOSEN, NotifyType::NO_ADDITIONAL_SAS] {
        let mut pair = established();
        let (ike, _) = ids(&pair);
        pair.left.command(Command::RekeyIke(ike), pair.now);
        respond(&mut pair, refusal(kind));
        assert!(pair.left.established().is_empty() && pair.left.children.is_empty());
        let (first, _) = respond(&mut pair, ChainBuilder::new());
        assert_eq!(first, PayloadType::DELETE);
        assert!(pair.left.endpoint.ike_sas().next().is_none());
    }
}

/// CHECKLIST I12: whatever an answer to our delete says, what was deleted is gone.
#[test]
fn an_odd_answer_to_a_delete_leaves_no_half_sa() {
    let odd = |number: u8| {
        let mut chain = ChainBuilder::new();
        let spis = [[9, 9, 9, number]];
        match number {
            0 => {}
            1 => chain.put(&Payload::Notify(Notify::new(NotifyType::INVALID_SPI, &[]))),
            2 => chain.put(&Payload::Notify(Notify::new(NotifyType::CHILD_SA_NOT_FOUND, &[]))),
            _ => {
                let delete = Delete::Esp(Spis::new(&spis).unwrap());
                chain.push(PayloadType::DELETE, |w| delete.write(w));
            }
        }
        chain
    };
    for number in 0..4 {
        let mut pair = established();
        let (_, id) = ids(&pair);
        let request = pair.left.request();
        pair.left.command(Command::TerminateChild { id, request }, pair.now);
        respond(&mut pair, odd(number));
        assert!(pair.left.children.is_empty(), "{number}");
        assert_eq!(pair.left.done.get(&request), Some(&Ok(())), "{number}");
        assert_eq!(pair.left.established().len(), 1, "{number}");
    }
}

//= https://www.rfc-editor.org/rfc/rfc7296#section-2.25.2
//= type=test
//# If a peer receives a request to delete a Child SA when it is
//# currently rekeying the IKE SA, it SHOULD reply as usual, with a
//# Delete payload.
/// CHECKLIST I08.
#[test]
fn a_child_may_be_deleted_while_its_ike_sa_is_rekeyed() {
    let mut pair = established();
    let (_, id) = ids(&pair);
    let ours = pair.right.children.values().next().unwrap().spi_in;
    let ike = pair.right.established()[0].id;
    pair.right.command(Command::RekeyIke(ike), pair.now);
    let request = pair.left.request();
    pair.left.command(Command::TerminateChild { id, request }, pair.now);
    let (to_right, delete) = pair.left.sent.pop_front().unwrap();
    let rekeying = pair.right.sent.pop_front().unwrap();
    pair.right.datagram(reversed(to_right), &delete, pair.now);
    let answer = opened(keys(&pair), &pair.right.sent[0].1);
    let mut payloads = adit_wire::ikev2::Payloads::new(answer.0, &answer.1);
    let Payload::Delete(Delete::Esp(named)) =
        Payload::read(payloads.next().unwrap().unwrap()).unwrap()
    else {
        panic!("{answer:?}");
    };
    assert!(named.iter().eq([ours]));
    pair.right.sent.push_back(rekeying);
    pair.run_for(Duration::from_secs(10));
    assert!(pair.left.children.is_empty() && pair.right.children.is_empty());
    let (left, right) = (pair.left.established(), pair.right.established());
    assert_eq!((left[0].spi_i, left.len(), right.len()), (right[0].spi_i, 1, 1));
    assert_ne!(right[0].id, ike, "it is rekeyed all the same");
}

/// CHECKLIST J08, J20: the peer deletes the old child itself, before its answer to the rekeying.
#[test]
fn a_responder_that_deletes_the_old_child_itself_does_no_harm() {
    let mut pair = established();
    let (_, old) = ids(&pair);
    let spi = pair.left.children[&old].spi_out;
    pair.left.command(Command::RekeyChild(old), pair.now);
    pair.deliver(|_| true);
    let answer = pair.right.sent.pop_front().unwrap();
    let mut chain = ChainBuilder::new();
    let spis = [spi.to_octets()];
    let delete = Delete::Esp(Spis::new(&spis).unwrap());
    chain.push(PayloadType::DELETE, |w| delete.write(w));
    let keys = keys(&pair);
    let flags = Flags::new(false, false);
    let header = Header::new(keys.spi_i, keys.spi_r, ExchangeType::INFORMATIONAL, flags, 0);
    let forged = sealed(keys, header, chain);
    pair.left.datagram(path(LEFT, RIGHT), &forged, pair.now);
    assert!(!pair.left.children.contains_key(&old));
    pair.left.sent.clear();
    pair.left.datagram(reversed(answer.0), &answer.1, pair.now);
    assert_eq!(pair.left.children.len(), 1);
    assert_eq!(pair.left.outbound.last(), pair.left.children.keys().next());
}

/// CHECKLIST J30: a rekeying without a nonce, or with one that is too short or too long.
#[test]
fn a_rekeying_with_a_bad_nonce_is_refused() {
    for length in [None, Some(0), Some(15), Some(257)] {
        let mut pair = established();
        let rest = child_request(&pair, &[]).finish().unwrap();
        let mut chain = ChainBuilder::new();
        let mut r = Reader(&rest.octets);
        let mut kind = rest.first;
        while let (Ok(next), Ok(_), Ok(size)) = (r.u8(), r.u8(), r.u16()) {
            let body = r.bytes(usize::from(size) - 4).unwrap();
            match (kind, length) {
                (PayloadType::NONCE, None) => {}
                (PayloadType::NONCE, Some(length)) => {
                    chain.push(kind, |w| w.bytes(&vec![7; length]));
                }
                _ => chain.push(kind, |w| w.bytes(body)),
            }
            kind = PayloadType(next);
        }
        let answer = answer(&mut pair, ExchangeType::CREATE_CHILD_SA, FIRST, chain);
        assert_eq!(notifies(&answer), [NotifyType::INVALID_SYNTAX], "{length:?}");
    }
}

/// CHECKLIST H08: a peer that takes single pairs of addresses alone is asked for those of the packet.
#[test]
fn a_single_pair_is_asked_for_when_it_is_required() {
    let mut pair = established();
    let (_, id) = ids(&pair);
    let request = pair.left.request();
    pair.left.command(Command::TerminateChild { id, request }, pair.now);
    respond(&mut pair, ChainBuilder::new());
    pair.now += Duration::from_secs(60);
    let ends = ["10.1.0.7", "10.2.0.9"].map(|end| end.parse::<IpAddr>().unwrap());
    let flow = FlowKey::new(ends[0], ends[1], IpProtocol::TCP.0, 50_000, 443);
    pair.left.acquire(flow, pair.now);
    let offered = |asked: &(PayloadType, Vec<u8>), wanted: PayloadType| -> Vec<[IpAddr; 2]> {
        let ts = ts_of(asked, wanted);
        ts.selectors.iter().map(|one| [one.start, one.end]).collect()
    };
    let asked = respond(&mut pair, refusal(NotifyType::SINGLE_PAIR_REQUIRED));
    assert!(offered(&asked, PayloadType::TS_I).len() > 1);
    let asked = respond(&mut pair, refusal(NotifyType::SINGLE_PAIR_REQUIRED));
    assert_eq!(offered(&asked, PayloadType::TS_I), [[ends[0]; 2]]);
    assert_eq!(offered(&asked, PayloadType::TS_R), [[ends[1]; 2]]);
    assert!(pair.left.sent.is_empty(), "there is nothing smaller to ask for");
    assert!(pair.left.children.is_empty());
}

/// CHECKLIST H08: where another child of ours takes other parts of the offer, the answer says so behind
/// its selectors (RFC 7296, Appendix C.4), and an initiator that hears it has its child.
#[test]
fn an_answer_says_that_more_is_possible_in_another_sa() {
    let offer = "aes256gcm16-prfsha384-x25519";
    let mut connections = with_ike(offer, offer);
    connections[0].children[0].remote_ts = vec!["10.2.0.0/16".parse().unwrap()];
    let mut second = connections[1].children[0].clone();
    second.name = "second".parse().unwrap();
    second.local_ts = vec!["10.2.1.0/24".parse().unwrap()];
    connections[1].children.push(second);
    let mut pair = established_between(connections);
    let (_, id) = ids(&pair);
    let request = pair.left.request();
    pair.left.command(Command::TerminateChild { id, request }, pair.now);
    pair.run();
    pair.now += Duration::from_secs(60);

    let ends = ["10.1.0.7", "10.2.1.9"].map(|end| end.parse::<IpAddr>().unwrap());
    let flow = FlowKey::new(ends[0], ends[1], IpProtocol::TCP.0, 50_000, 443);
    pair.left.acquire(flow, pair.now);
    let (_, request) = pair.left.sent.pop_front().unwrap();
    pair.right.datagram(path(RIGHT, LEFT), &request, pair.now);
    let (_, response) = pair.right.sent.pop_front().unwrap();
    let answer = opened(keys(&pair), &response);
    let payloads = adit_wire::ikev2::Payloads::new(answer.0, &answer.1);
    let kinds: Vec<PayloadType> = payloads.map(|raw| raw.unwrap().kind).collect();
    assert!(kinds.ends_with(&[PayloadType::TS_I, PayloadType::TS_R, PayloadType::NOTIFY]));
    assert_eq!(notifies(&answer).last(), Some(&NotifyType::ADDITIONAL_TS_POSSIBLE));
    // CHECKLIST H01: of its two children it is the one that the packet asks for.
    let narrowed = ts_of(&answer, PayloadType::TS_R).selectors;
    assert_eq!(narrowed.first().map(ToString::to_string).as_deref(), Some("10.2.1.0/24"));
    assert!(narrowed.iter().any(|one| (one.start..=one.end).contains(&ends[1])));

    pair.left.datagram(path(LEFT, RIGHT), &response, pair.now);
    pair.run();
    pair.assert_one_tunnel();
}

fn ts_of((first, octets): &(PayloadType, Vec<u8>), wanted: PayloadType) -> Ts {
    let payloads = adit_wire::ikev2::Payloads::new(*first, octets);
    let found = payloads.map(|raw| raw.unwrap()).find(|raw| raw.kind == wanted).unwrap();
    let payload = Payload::read(found).unwrap();
    let (Payload::TsI(ts) | Payload::TsR(ts)) = payload else { panic!("{payload:?}") };
    ts
}

const NAT: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 51, 100, 3));

/// Two clients with the same address behind one NAT, which gives each port of each its own.
struct Clients {
    clients: [Peer; 2],
    gateway: Peer,
    now: std::time::Instant,
    /// Whether a client's messages get through.
    reachable: [bool; 2],
}

impl Clients {
    fn up() -> Self {
        let now = crate::common::origin();
        let mut all = Self {
            clients: [1, 2].map(|seed| Peer::new(EndpointConfig::default(), seed)),
            gateway: Peer::new(EndpointConfig::default(), 3),
            now,
            reachable: [true; 2],
        };
        for number in 0..2 {
            let [client, gateway] = Self::connections(number);
            all.clients[number].command(Command::Load(Arc::new(client)), now);
            all.gateway.command(Command::Load(Arc::new(gateway)), now);
            all.clients[number].initiate_named(&format!("client-{number}"), now);
            all.settle();
        }
        all
    }

    fn connections(number: usize) -> [Connection; 2] {
        let mut both = connections();
        for connection in &mut both {
            connection.name = format!("client-{number}").parse().unwrap();
            connection.proposals = ProposalSpec::ike_list("aes128gcm16-prfsha256-x25519").unwrap();
        }
        both[0].pad.local_id = format!("client-{number}.example").parse().ok();
        both[1].pad.remote_id = format!("client-{number}.example").parse().unwrap();
        both[1].remote_addresses = vec![HostSpec::Any];
        both[1].dpd_delay = Duration::from_secs(10);
        both
    }

    fn outside(number: usize, inside: SocketAddr) -> SocketAddr {
        let port = 20_000 + 10 * u16::try_from(number).unwrap() + inside.port() % 7;
        SocketAddr::new(NAT, port)
    }

    /// Delivers everything until nobody has anything to say.
    fn settle(&mut self) {
        loop {
            let mut any = false;
            for number in 0..2 {
                while let Some((path, octets)) = self.clients[number].sent.pop_front() {
                    let remote = Self::outside(number, path.local);
                    any = true;
                    if self.reachable[number] {
                        let path = Path::udp(path.remote, remote);
                        self.gateway.datagram(path, &octets, self.now);
                    }
                }
            }
            while let Some((path, octets)) = self.gateway.sent.pop_front() {
                any = true;
                let hosts = (0..2).flat_map(|number| [(number, 500), (number, 4_500)]);
                let mut hosts = hosts.map(|(number, port)| (number, SocketAddr::new(LEFT, port)));
                let (number, local) = hosts
                    .find(|(number, inside)| Self::outside(*number, *inside) == path.remote)
                    .unwrap();
                if self.reachable[number] {
                    let path = Path::udp(local, path.local);
                    self.clients[number].datagram(path, &octets, self.now);
                }
            }
            if !any {
                return;
            }
        }
    }
}

/// CHECKLIST N03, M05: two clients with one inner address behind one NAT; one dies, the other stays.
#[test]
fn of_two_clients_behind_one_nat_one_dies_and_the_other_stays() {
    let mut all = Clients::up();
    let remotes = |all: &Clients| -> Vec<SocketAddr> {
        all.gateway.established().iter().map(|info| info.remote).collect()
    };
    assert_eq!(remotes(&all).len(), 2);
    assert_ne!(remotes(&all)[0], remotes(&all)[1]);
    assert_eq!(all.gateway.children.len(), 2);
    all.reachable[0] = false;
    for _ in 0..600 {
        all.now += Duration::from_secs(1);
        all.gateway.timeout(all.now);
        all.clients[1].timeout(all.now);
        all.settle();
    }
    assert_eq!(all.gateway.children.len(), 1);
    let [left] = all.gateway.established().try_into().unwrap();
    assert_eq!(left.remote, Clients::outside(1, SocketAddr::new(LEFT, 4_500)));
    assert_eq!(all.clients[1].children.len(), 1);
}

/// CHECKLIST N16: the peer's name resolves late; the next attempt goes where it leads by then.
#[test]
fn a_name_that_resolves_late_is_asked_again() {
    let mut connection = connections()[0].clone();
    connection.remote_addresses = vec![HostSpec::Name("gateway.example".to_owned())];
    connection.children[0] = connection.children[0].clone().kept(adit_db::Keep::Up);
    let mut endpoint = Endpoint::new(EndpointConfig::default());
    let mut rng = adit_crypto::SeededRng::new(1);
    let mut now = crate::common::origin();
    let addresses: [IpAddr; 2] = ["192.0.2.2", "192.0.2.3"].map(|one| one.parse().unwrap());
    let mut names = vec![vec![], vec![], vec![addresses[0]], vec![addresses[1]]].into_iter();
    let mut went = Vec::new();
    endpoint.handle_command(Command::Load(Arc::new(connection)), now, &mut rng);
    for _ in 0..200 {
        while let Some(output) = endpoint.poll_output() {
            if let Output::Resolve { job, query } = output {
                let found = match query {
                    Query::Name(_) => names.next().unwrap_or_else(|| vec![addresses[1]]),
                    Query::SourceFor(_) => vec![LEFT],
                };
                endpoint.handle_resolved(job, found, now, &mut rng);
            } else if let Output::Transmit { path, .. } = output
                && went.last() != Some(&path.remote.ip())
            {
                went.push(path.remote.ip());
            }
        }
        let Some(next) = endpoint.poll_timeout().filter(|_| went.len() < 2) else { break };
        now = now.max(next);
        endpoint.handle_timeout(now, &mut rng);
    }
    assert_eq!(went, addresses);
}
