//! RFC 4555: what an authenticated peer may say about addresses.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use adit_db::Mobike;
use adit_ike::{Path, Transport};

use super::*;

/// Somewhere else.
const ELSEWHERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(198, 51, 100, 9));

fn notify(chain: &mut ChainBuilder, kind: NotifyType, data: &[u8]) {
    chain.put(&Payload::Notify(Notify::new(kind, data)));
}

/// An established pair whose right side is told so about moving.
fn pair_with(mobike: Mobike) -> Pair {
    let exporting = EndpointConfig { export_keys: true, ..EndpointConfig::default() };
    let offer = "aes256gcm16-prfsha384-x25519";
    let mut connections = with_ike(offer, offer);
    connections[1].mobike = mobike;
    let mut pair = Pair::new([EndpointConfig::default(), exporting], connections);
    pair.left.initiate(pair.now);
    pair.run();
    pair
}

/// Gives the right side a request of the left one that comes from an address.
fn request_from(pair: &mut Pair, remote: IpAddr, message_id: u32, chain: ChainBuilder) {
    let at = |ip| SocketAddr::new(ip, 4500);
    request_on(pair, Path::udp(at(RIGHT), at(remote)), message_id, chain);
}

/// The same on any way.
fn request_on(pair: &mut Pair, path: Path, message_id: u32, chain: ChainBuilder) {
    let keys = keys(pair);
    let exchange = ExchangeType::INFORMATIONAL;
    let header = Header::new(keys.spi_i, keys.spi_r, exchange, Flags::new(true, false), message_id);
    let request = sealed(keys, header, chain);
    pair.right.datagram(path, &request, pair.now);
}

fn update() -> ChainBuilder {
    let mut chain = ChainBuilder::new();
    notify(&mut chain, NotifyType::UPDATE_SA_ADDRESSES, &[]);
    chain
}

fn peer_of_right(pair: &Pair) -> IpAddr {
    pair.right.established()[0].remote.ip()
}

//= https://www.rfc-editor.org/rfc/rfc4555#section-3.7
//= type=test
//# if included, the recipient of an INFORMATIONAL request MUST copy the notification as-is to the
//# response.
#[test]
fn cookies_are_said_back() {
    let mut pair = established();
    for (message_id, octets) in (FIRST..).zip([8, 16, 64, 7, 65, 0]) {
        let cookie: Vec<u8> = (0..octets).collect();
        let mut chain = ChainBuilder::new();
        notify(&mut chain, NotifyType::COOKIE2, &cookie);
        let answer = answer(&mut pair, ExchangeType::INFORMATIONAL, message_id, chain);
        match payloads(&answer)[..] {
            [Payload::Notify(said)] if (8..=64).contains(&octets) => {
                assert_eq!((said.kind, said.data), (NotifyType::COOKIE2, &cookie[..]));
            }
            ref said => assert!(said.is_empty() && !(8..=64).contains(&octets), "{octets}"),
        }
    }
    pair.assert_one_tunnel();
}

/// RFC 4555 §3.7: also while the IKE SA goes.
#[test]
fn a_cookie_is_said_back_at_the_end() {
    let mut pair = established();
    let (id, request) = (pair.right.established()[0].id, pair.right.request());
    pair.right.command(Command::TerminateIke { id, request }, pair.now);
    pair.right.sent.pop_front().unwrap();
    let mut chain = ChainBuilder::new();
    notify(&mut chain, NotifyType::COOKIE2, &[7; 16]);
    let answer = answer(&mut pair, ExchangeType::INFORMATIONAL, FIRST, chain);
    let [Payload::Notify(said)] = payloads(&answer)[..] else { panic!("{answer:?}") };
    assert_eq!((said.kind, said.data), (NotifyType::COOKIE2, &[7; 16][..]));
}

/// What goes over UDP does not go over to TCP by an update, and what is refused changes nothing.
#[test]
fn an_update_does_not_move_an_ike_sa_to_tcp() {
    let mut pair = pair_with(Mobike::Unchecked);
    let before = pair.right.established()[0].clone();
    let at = |ip| SocketAddr::new(ip, 4500);
    let path = Path { transport: Transport::TcpResponder, ..Path::udp(at(RIGHT), at(ELSEWHERE)) };
    request_on(&mut pair, path, FIRST, update());
    let (_, response) = pair.right.sent.pop_front().unwrap();
    let answer = opened(keys(&pair), &response);
    assert_eq!(notifies(&answer), [NotifyType::UNACCEPTABLE_ADDRESSES]);
    let after = pair.right.established()[0].clone();
    assert_eq!((after.transport, after.remote), (before.transport, before.remote));
}

/// CHECKLIST D17: who has not agreed to move does not, whatever a peer says.
#[test]
fn an_update_that_nobody_agreed_on_changes_nothing() {
    for (mobike, moves) in [(Mobike::No, false), (Mobike::Unchecked, true)] {
        let mut pair = pair_with(mobike);
        request_from(&mut pair, ELSEWHERE, FIRST, update());
        let (_, response) = pair.right.sent.pop_front().unwrap();
        assert_eq!(opened(keys(&pair), &response), (PayloadType::NONE, Vec::new()));
        assert_eq!(peer_of_right(&pair) == ELSEWHERE, moves);
    }
}

/// Nobody sends packets to an address from which no host has said what only the peer can know.
//= https://www.rfc-editor.org/rfc/rfc4555#section-3.7
//= type=test
//# When processing the response, the original sender MUST verify that the value is the
//# same one as sent.  If the values do not match, the IKE_SA MUST be closed.
#[test]
fn a_wrong_cookie_ends_the_ike_sa() {
    for case in ["right", "wrong", "missing"] {
        let mut pair = pair_with(Mobike::Yes);
        request_from(&mut pair, ELSEWHERE, FIRST, update());
        pair.right.sent.pop_front().unwrap();
        let (to, check) = pair.right.sent.pop_front().unwrap();
        assert_eq!(to.remote.ip(), ELSEWHERE);
        let asked = opened(keys(&pair), &check);
        let [Payload::Notify(cookie)] = payloads(&asked)[..] else { panic!("{asked:?}") };
        assert_eq!((cookie.kind, cookie.data.len()), (NotifyType::COOKIE2, 16));

        let mut chain = ChainBuilder::new();
        match case {
            "right" => notify(&mut chain, NotifyType::COOKIE2, cookie.data),
            "wrong" => notify(&mut chain, NotifyType::COOKIE2, &[7; 16]),
            _ => {}
        }
        let asked = header(&check);
        let said = Header { flags: Flags::new(true, true), ..asked };
        let response = sealed(keys(&pair), said, chain);
        pair.right.datagram(reversed(to), &response, pair.now);
        assert_eq!(pair.right.established().len(), usize::from(case == "right"), "{case}");
        assert_eq!(pair.right.children.len(), usize::from(case == "right"), "{case}");
    }
}

/// However many addresses a peer has, a few are kept, and those that no host can have are not.
#[test]
fn of_a_peers_addresses_a_few_are_kept() {
    let mut pair = established();
    let mut chain = ChainBuilder::new();
    for octets in [[224, 0, 0, 1], [0; 4], [127, 0, 0, 1], [255; 4], [10, 0, 0, 1], [10, 0, 0, 1]] {
        notify(&mut chain, NotifyType::ADDITIONAL_IP4_ADDRESS, &octets);
    }
    notify(&mut chain, NotifyType::ADDITIONAL_IP4_ADDRESS, &[10, 0, 0]);
    notify(&mut chain, NotifyType::ADDITIONAL_IP6_ADDRESS, &[10, 0, 0, 2]);
    for last in 1..40 {
        let octets = [[0x20, 1, 0xd, 0xb8, 0, 0, 0, 0], [0, 0, 0, 0, 0, 0, 0, last]].concat();
        notify(&mut chain, NotifyType::ADDITIONAL_IP6_ADDRESS, &octets);
    }
    answer(&mut pair, ExchangeType::INFORMATIONAL, FIRST, chain);
    let kept = pair.right.established()[0].peer_addresses.clone();
    assert_eq!(kept.len(), 8);
    assert_eq!(kept[0], "10.0.0.1".parse::<IpAddr>().unwrap());
    assert_eq!(kept[1], "2001:db8::1".parse::<IpAddr>().unwrap());

    let mut chain = ChainBuilder::new();
    notify(&mut chain, NotifyType::NO_ADDITIONAL_ADDRESSES, &[]);
    answer(&mut pair, ExchangeType::INFORMATIONAL, FIRST + 1, chain);
    assert!(pair.right.established()[0].peer_addresses.is_empty());
    pair.assert_one_tunnel();
}

/// CHECKLIST N07: a peer that says again and again that it is where somebody else is has no more sent there for
/// each time than two short messages; what was asked before is repeated by its schedule, begun anew once
/// (RFC 4555 §5.3).
#[test]
fn a_peer_cannot_have_a_long_request_sent_elsewhere_again_and_again() {
    let others = [ELSEWHERE, "198.51.100.10".parse().unwrap()];
    for is_busy in [false, true] {
        let mut pair = pair_with(Mobike::Yes);
        let child = *pair.right.children.keys().next().unwrap();
        if is_busy {
            pair.right.command(Command::RekeyChild(child), pair.now);
        }
        let asked = pair.right.sent.drain(..).map(|(_, octets)| octets.len()).sum::<usize>();
        assert!(asked > 200 || !is_busy);
        let (mut went, mut long) = (0, 0);
        for (message_id, remote) in (FIRST..FIRST + 300).zip(others.into_iter().cycle()) {
            request_from(&mut pair, remote, message_id, update());
            pair.now += Duration::from_millis(10);
            pair.right.timeout(pair.now);
            for (way, octets) in pair.right.sent.drain(..) {
                assert!(others.contains(&way.remote.ip()));
                went += octets.len();
                let exchange = header(&octets).exchange;
                long += usize::from(exchange == ExchangeType::CREATE_CHILD_SA);
            }
        }
        assert_eq!((2..=7).contains(&long), is_busy, "{long}");
        // Each of them has 65 octets.
        assert!(went <= 3 * 300 * 65 + 7 * asked, "{went}");
        assert_eq!(pair.right.established().len(), 1);
    }
}
