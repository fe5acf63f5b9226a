//! Notices about child SAs in the IKE SA: to whom they are sent, and which are taken.

use adit_db::{ChildSaId, GatewayNotice, IcmpInterfaces, IcmpRed, IcmpRow, IcmpTreatment};
use adit_ike::{IcmpHeard, Input, PacketEvent, Path};
use adit_wire::iana::{ExchangeType, NotifyType, ProtocolId};
use adit_wire::ikev2::{ChainBuilder, Flags, Header, Notify, Payload};
use adit_wire::ip::Icmp;

use crate::common::{LEFT, Pair, RIGHT, connections, path, sealed};
use crate::forged::{FIRST, established, keys};
use crate::ids;

fn tell(pair: &mut Pair, child: ChildSaId, notice: GatewayNotice) {
    let now = pair.now;
    pair.left.give(Input::Packet(PacketEvent::Notice { child, notice }), now);
    pair.left.drain(now);
}

/// Both kinds arrive as they were given, about the right child, and the tunnel is as before.
#[test]
fn a_notice_reaches_the_child_at_the_other_end() {
    let mut pair = Pair::established();
    let (_, left) = ids(&pair);
    let right = pair.right.established()[0].children[0].id;
    let notices = [
        GatewayNotice::IcmpError((0..=255).collect()),
        GatewayNotice::IcmpError(vec![0x60; GatewayNotice::ICMP_MAX]),
        GatewayNotice::LargestFragment(1_288),
    ];
    for notice in &notices {
        tell(&mut pair, left, notice.clone());
    }
    pair.run();
    assert_eq!(pair.right.notices, notices.map(|notice| (right, notice)));
    assert_eq!(pair.left.notices, []);
    pair.assert_one_tunnel();
    let child = &pair.right.children[&right];
    assert!(child.notices, "the packet engine knows that the peer takes them");
}

/// What comes faster than answers do is lost, so that new keys need not wait for it; so is what is about a
/// child that is gone.
#[test]
fn few_notices_wait() {
    let mut pair = Pair::established();
    let (_, left) = ids(&pair);
    for octets in 0..100 {
        tell(&mut pair, left, GatewayNotice::LargestFragment(octets));
    }
    tell(&mut pair, ChildSaId(77), GatewayNotice::LargestFragment(576));
    pair.run();
    let heard: Vec<_> = pair.right.notices.iter().map(|(_, notice)| notice.clone()).collect();
    // One is under way, and four wait.
    assert_eq!(heard, [0, 1, 2, 3, 4].map(GatewayNotice::LargestFragment));
}

/// Sends the right side a request with this notify under the true keys.
fn send(pair: &mut Pair, message_id: u32, notify: Notify<'_>) {
    let keys = keys(pair);
    let exchange = ExchangeType::INFORMATIONAL;
    let flags = Flags::new(true, false);
    let header = Header::new(keys.spi_i, keys.spi_r, exchange, flags, message_id);
    let mut chain = ChainBuilder::new();
    chain.put(&Payload::Notify(notify));
    let request = sealed(keys, header, chain);
    pair.right.datagram(path(RIGHT, LEFT), &request, pair.now);
}

/// What is too long, too short, about a child of nobody or of another protocol changes nothing, and is answered
/// as any other notify.
#[test]
fn what_is_no_notice_is_nothing() {
    let mut pair = established();
    let spi = pair.left.established()[0].children[0].spi_in.to_octets();
    let long = vec![0; GatewayNotice::ICMP_MAX + 1];
    let (icmp, fragment) = (NotifyType::ADIT_ICMP_ERROR, NotifyType::ADIT_LARGEST_FRAGMENT);
    let esp = ProtocolId::ESP;
    let strange: [(_, &[u8], _, &[u8]); 8] = [
        (esp, &spi, icmp, &long),
        (esp, &spi, icmp, &[]),
        (esp, &spi, fragment, &[5]),
        (esp, &spi, fragment, &[0, 5, 0]),
        (esp, &[9, 9, 9, 9], fragment, &[5, 0]),
        (esp, &[], fragment, &[5, 0]),
        (ProtocolId::AH, &spi, fragment, &[5, 0]),
        (ProtocolId::NONE, &[], icmp, &[0x45]),
    ];
    let mut message_id = FIRST;
    for (protocol, spi, kind, data) in strange {
        send(&mut pair, message_id, Notify { protocol, spi, kind, data });
        assert!(pair.right.sent.pop_front().is_some(), "it is answered");
        message_id += 1;
    }
    assert_eq!(pair.right.notices, []);
    send(&mut pair, message_id, Notify { protocol: esp, spi: &spi, kind: fragment, data: &[5, 0] });
    assert_eq!(pair.right.notices.len(), 1, "and the true one is taken");
    assert_eq!(pair.right.established().len(), 1);
}

/// CHECKLIST PM-29, M03: an ICMP message from outside asks for a sign of life, if the tunnel hears messages of
/// its row, and by the interface by which it came; so does what the packet engine has heard about an ESP packet.
#[test]
fn the_red_column_says_what_prompts_a_question() {
    let heard =
        |code, by: &str| Some(IcmpHeard { icmp: Icmp { kind: 3, code }, by: Some(by.to_owned()) });
    let mut deaf = connections();
    let row = IcmpRow::named("host-unreachable").unwrap();
    let rules = &mut deaf[0].children[0].icmp;
    rules.set(row, IcmpTreatment { red: IcmpRed::Discard, ..rules.treatment(row) });
    rules.interfaces = IcmpInterfaces::new(vec!["wan0".parse().unwrap()], Vec::new());
    let mut pair = Pair::new(Default::default(), deaf);
    pair.left.initiate(pair.now);
    pair.run();
    let (_, child) = ids(&pair);
    let info = pair.left.established().remove(0);
    let way = Path::udp(info.local, info.remote);
    let cases = [
        (Input::Unreachable(way, heard(1, "wan0")), false),
        (Input::Unreachable(way, heard(3, "lan0")), false),
        (Input::Unreachable(way, heard(3, "lo")), true),
        (Input::Unreachable(way, heard(3, "wan0")), true),
        (Input::Unreachable(way, None), true),
        (Input::Packet(PacketEvent::Doubted { child }), true),
    ];
    for (input, asks) in cases {
        pair.now += std::time::Duration::from_secs(6);
        let now = pair.now;
        pair.left.give(input.clone(), now);
        pair.left.drain(now);
        assert_eq!(pair.left.sent.is_empty(), !asks, "{input:?}");
        pair.run();
    }
}
