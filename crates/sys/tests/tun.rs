//! The TUN interface and the routes that lead into it.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod common;

use std::net::SocketAddr;

use adit_sys::netlink::{Family, Monitor, NetworkChange, RouteKind, RuleAction};
use adit_sys::netns::{Namespace, write_sysctl};
use adit_sys::route::{
    HostRouting, MARK, RULE_PRIORITY, Removed, RoutePlan, RouteSizes, TABLE, cleanup_stale,
};
use adit_sys::tun::{Tun, TunConfig};
use adit_sys::udp::{SocketOptions, UdpSocket};
use adit_sys::{BatchIo, SysError};
use adit_wire::Reader;
use adit_wire::vnet::{Gso, VnetHeader};
use common::{HEADROOM, address, namespaces_allowed, packets, receive, set_up, wait};

fn create(namespace: &Namespace, name: &str, addresses: &[&str]) -> Result<Tun, SysError> {
    let config = TunConfig {
        name: name.to_owned(),
        mtu: 1_400,
        addresses: addresses.iter().map(|text| text.parse().unwrap()).collect(),
        offloads: false,
    };
    namespace.run(|| Tun::create(&config)).unwrap()
}

fn plan(local: &[&str], remote: &[&str]) -> RoutePlan {
    let parse = |list: &[&str]| list.iter().map(|text| text.parse().unwrap()).collect();
    RoutePlan { local: parse(local), remote: parse(remote), mtu: None }
}

/// A gateway: 192.0.2.1 outside with a default route, 10.1.0.1 and 2001:db8:1::1 inside.
fn gateway() -> (Namespace, Tun, u32) {
    let namespace = Namespace::create().unwrap();
    let mut netlink = namespace.netlink().unwrap();
    netlink.add_veth("wan0", "wan1").unwrap();
    let wan = set_up(&mut netlink, "wan0", &["192.0.2.1/24", "2001:db8::1/64"]);
    set_up(&mut netlink, "wan1", &[]);
    netlink.add_veth("lan0", "lan1").unwrap();
    set_up(&mut netlink, "lan0", &["10.1.0.1/24", "2001:db8:1::1/64"]);
    set_up(&mut netlink, "lan1", &[]);
    for (all, via) in [("0.0.0.0/0", "192.0.2.254"), ("::/0", "2001:db8::fe")] {
        let route = adit_sys::netlink::Route::by_gateway(all.parse().unwrap(), address(via));
        netlink.add_route(&route).unwrap();
    }
    let tun = create(&namespace, "adit0", &[]).unwrap();
    (namespace, tun, wan.index)
}

#[test]
fn packets_pass_the_interface_both_ways() {
    if !namespaces_allowed("packets_pass_the_interface_both_ways") {
        return;
    }
    let namespace = Namespace::create().unwrap();
    let tun = create(&namespace, "adit0", &["10.7.0.1/24", "2001:db8:7::1/64"]).unwrap();
    for (local, remote, addresses_at, length) in
        [("10.7.0.1:7", "10.7.0.2:7", 12, 4), ("[2001:db8:7::1]:7", "[2001:db8:7::2]:7", 8, 16)]
    {
        let local: SocketAddr = local.parse().unwrap();
        let remote: SocketAddr = remote.parse().unwrap();
        let options = SocketOptions { mark: None, ..SocketOptions::default() };
        let socket = namespace.run(|| UdpSocket::bind(local, &options).unwrap()).unwrap();
        for n in 0..5 {
            socket.send_to(local, remote, 0, &[], &[n; 20]).unwrap();
        }

        assert!(wait(&tun));
        let mut got = packets(8, 1_500);
        let count = tun.recv_batch(HEADROOM, &mut got).unwrap();
        assert_eq!(count, 5);
        assert!(got[..5].iter().all(|packet| packet.headroom() == HEADROOM));
        assert_eq!(tun.recv_batch(HEADROOM, &mut packets(1, 1_500)).unwrap(), 0);

        // Exchanging the addresses keeps every checksum right.
        for packet in &mut got[..5] {
            let (source, destination) = packet.data_mut()[addresses_at..].split_at_mut(length);
            source.swap_with_slice(&mut destination[..length]);
        }
        assert_eq!(tun.send_batch(&got[..5]).sent, 5);

        let mut back = packets(5, 100);
        receive(&socket, &mut back, 5);
        assert!((0..).zip(&back).all(|(n, packet)| packet.data() == [n; 20]));
        assert_eq!(back[0].meta.remote, remote);
    }
    assert_eq!(tun.send_batch(&packets(1, 10)).failed, 1, "an empty packet is refused");
}

/// CHECKLIST S15; RFC 3948 §2.1: ESP in UDP comes in with a checksum of zero above IPv4, and with
/// one that is right; a wrong one is the kernel's to find.
#[test]
fn esp_in_udp_comes_in_with_and_without_a_checksum() {
    if !namespaces_allowed("esp_in_udp_comes_in_with_and_without_a_checksum") {
        return;
    }
    let namespace = Namespace::create().unwrap();
    let tun = create(&namespace, "adit0", &["10.7.0.1/24"]).unwrap();
    let (local, remote): (SocketAddr, SocketAddr) =
        ("10.7.0.1:4500".parse().unwrap(), "10.7.0.2:4500".parse().unwrap());
    let options = SocketOptions { mark: None, ..SocketOptions::default() };
    let socket = namespace.run(|| UdpSocket::bind(local, &options).unwrap()).unwrap();
    for n in 1..4 {
        socket.send_to(local, remote, 0, &[], &[n; 40]).unwrap();
    }
    assert!(wait(&tun));
    let mut got = packets(3, 1_500);
    assert_eq!(tun.recv_batch(HEADROOM, &mut got).unwrap(), 3);
    for packet in &mut got {
        let (source, destination) = packet.data_mut()[12..].split_at_mut(4);
        source.swap_with_slice(&mut destination[..4]);
        // Linux has no reason to leave it out.
        assert_ne!(packet.data()[26..28], [0, 0]);
    }
    got[0].data_mut()[26..28].fill(0);
    got[1].data_mut()[27] ^= 1;
    assert_eq!(tun.send_batch(&got).sent, 3);
    let mut back = packets(2, 100);
    receive(&socket, &mut back, 2);
    assert_eq!((back[0].data(), back[1].data()), (&[1; 40][..], &[3; 40][..]));
}

/// The kernel makes an IPv6 address its own only after the request for it was answered, and refuses
/// packets to it until then.
#[test]
fn packets_to_an_interface_are_delivered_as_soon_as_it_is_made() {
    if !namespaces_allowed("packets_to_an_interface_are_delivered_as_soon_as_it_is_made") {
        return;
    }
    let namespace = Namespace::create().unwrap();
    let mut netlink = namespace.netlink().unwrap();
    for _ in 0..50 {
        let _tun = create(&namespace, "adit0", &["10.7.0.1/24", "2001:db8:7::1/64"]).unwrap();
        for ours in ["10.7.0.1", "2001:db8:7::1"] {
            let way = netlink.lookup_route(address(ours), None, 0).unwrap();
            assert_eq!(way.kind, RouteKind::Local, "{ours}");
        }
    }
}

#[test]
fn a_name_in_use_is_reported_and_freed_by_the_last_handle() {
    if !namespaces_allowed("a_name_in_use_is_reported_and_freed_by_the_last_handle") {
        return;
    }
    let namespace = Namespace::create().unwrap();
    let first = create(&namespace, "adit0", &[]).unwrap();
    let clone = first.clone();
    namespace.netlink().unwrap().add_veth("veth0", "veth1").unwrap();

    for taken in ["adit0", "veth0"] {
        let error = create(&namespace, taken, &[]).unwrap_err();
        assert!(matches!(error, SysError::InterfaceExists { .. }), "{taken}: {error:?}");
    }

    drop(first);
    assert!(namespace.netlink().unwrap().link_by_name("adit0").is_ok());
    drop(clone);
    assert!(namespace.netlink().unwrap().link_by_name("adit0").is_err());
    create(&namespace, "adit0", &[]).unwrap();
}

#[test]
fn protected_traffic_goes_into_the_tunnel_and_marked_packets_do_not() {
    if !namespaces_allowed("protected_traffic_goes_into_the_tunnel_and_marked_packets_do_not") {
        return;
    }
    let (namespace, tun, wan) = gateway();
    let sizes = RouteSizes { mtu: Some(1_380), advmss: Some(1_340) };
    let mut routing = namespace.run(|| HostRouting::new(tun.index(), sizes).unwrap()).unwrap();

    // The peer 203.0.113.5 lies inside the remote selector.
    let remote = ["10.2.0.0/24", "203.0.113.0/24", "2001:db8:2::/64"];
    routing.install("berlin", plan(&["10.1.0.0/24", "2001:db8:1::/64"], &remote)).unwrap();

    for (to, source) in
        [("10.2.0.5", "10.1.0.1"), ("203.0.113.5", "10.1.0.1"), ("2001:db8:2::5", "2001:db8:1::1")]
    {
        let found = routing.lookup(address(to)).unwrap();
        assert_eq!((found.interface, found.table), (tun.index(), TABLE), "{to}");
        assert_eq!(found.source, Some(address(source)), "{to}");
        assert_eq!(found.mtu, Some(1_380));
    }
    let mut netlink = namespace.netlink().unwrap();
    let outer = netlink.lookup_route(address("203.0.113.5"), None, MARK).unwrap();
    assert_eq!((outer.interface, outer.via), (wan, Some(address("192.0.2.254"))));
    let other = routing.lookup(address("198.51.100.1")).unwrap();
    assert_eq!(other.interface, wan);

    routing.uninstall("berlin").unwrap();
    assert_eq!(routing.lookup(address("10.2.0.5")).unwrap().interface, wan);
    assert!(netlink.routes(TABLE).unwrap().is_empty());
}

#[test]
fn local_networks_stay_out_of_a_tunnel_for_everything() {
    if !namespaces_allowed("local_networks_stay_out_of_a_tunnel_for_everything") {
        return;
    }
    let (namespace, tun, wan) = gateway();
    let mut routing =
        namespace.run(|| HostRouting::new(tun.index(), RouteSizes::default()).unwrap()).unwrap();

    let local = ["10.1.0.0/24", "2001:db8:1::/64"];
    routing.install("all", plan(&local, &["0.0.0.0/0", "::/0"])).unwrap();

    let mut netlink = namespace.netlink().unwrap();
    let lan = netlink.link_by_name("lan0").unwrap().index;
    for (to, interface) in [
        ("8.8.8.8", tun.index()),
        ("2001:4860::1", tun.index()),
        ("10.1.0.9", lan),
        ("2001:db8:1::9", lan),
    ] {
        assert_eq!(routing.lookup(address(to)).unwrap().interface, interface, "{to}");
    }
    let throws = netlink.routes(TABLE).unwrap();
    assert_eq!(throws.iter().filter(|route| route.kind == RouteKind::Throw).count(), 2);
    assert_eq!(netlink.lookup_route(address("8.8.8.8"), None, MARK).unwrap().interface, wan);

    // A second child for a network that was only thrown before: it wins, and gives back.
    routing.install("more", plan(&["10.1.0.0/24"], &["10.1.0.0/24"])).unwrap();
    assert_eq!(routing.lookup(address("10.1.0.9")).unwrap().interface, tun.index());
    routing.uninstall("more").unwrap();
    assert_eq!(routing.lookup(address("10.1.0.9")).unwrap().interface, lan);
}

#[test]
fn a_network_of_two_children_is_routed_until_the_last_goes() {
    if !namespaces_allowed("a_network_of_two_children_is_routed_until_the_last_goes") {
        return;
    }
    let (namespace, tun, wan) = gateway();
    let mut routing =
        namespace.run(|| HostRouting::new(tun.index(), RouteSizes::default()).unwrap()).unwrap();
    let shared = plan(&["10.1.0.0/24"], &["10.2.0.0/24"]);

    routing.install("one", shared.clone()).unwrap();
    routing.install("two", shared.clone()).unwrap();
    routing.install("two", shared).unwrap();
    routing.uninstall("one").unwrap();
    assert_eq!(routing.lookup(address("10.2.0.5")).unwrap().interface, tun.index());
    routing.uninstall("two").unwrap();
    routing.uninstall("two").unwrap();
    assert_eq!(routing.lookup(address("10.2.0.5")).unwrap().interface, wan);
}

#[test]
fn routes_follow_the_hosts_addresses() {
    if !namespaces_allowed("routes_follow_the_hosts_addresses") {
        return;
    }
    let (namespace, tun, _) = gateway();
    let mut routing =
        namespace.run(|| HostRouting::new(tun.index(), RouteSizes::default()).unwrap()).unwrap();
    let mut monitor = namespace.run(|| Monitor::open(Some(TABLE)).unwrap()).unwrap();
    routing.install("berlin", plan(&["10.1.0.0/24"], &["10.2.0.0/24"])).unwrap();
    // The kernel gives the new links their link-local addresses about now; these are in its table 255.
    let mut changes = monitor.poll_changes().unwrap();
    changes.retain(|change| {
        !matches!(change, NetworkChange::Address { .. } | NetworkChange::Route { table: 255 })
    });
    assert_eq!(changes, [], "our own routes are no news");

    // The address the routes use as source goes: so does the route, without a word to us.
    let mut netlink = namespace.netlink().unwrap();
    let lan = netlink.link_by_name("lan0").unwrap().index;
    netlink.delete_address(lan, "10.1.0.1/24".parse().unwrap()).unwrap();
    netlink.add_address(lan, "10.1.0.7/24".parse().unwrap()).unwrap();
    assert!(wait(&monitor));
    let changes = monitor.poll_changes().unwrap();
    assert!(changes.contains(&NetworkChange::Address { interface: lan }), "{changes:?}");

    routing.refresh().unwrap();
    let found = routing.lookup(address("10.2.0.5")).unwrap();
    assert_eq!(found.interface, tun.index());
    assert_eq!(found.source, Some(address("10.1.0.7")));
}

/// Somebody cleans up too much, as `ip rule flush` does: a refresh brings everything back, once.
#[test]
fn a_refresh_restores_what_others_removed() {
    if !namespaces_allowed("a_refresh_restores_what_others_removed") {
        return;
    }
    let (namespace, tun, wan) = gateway();
    let mut netlink = namespace.netlink().unwrap();
    let before: Vec<_> = Family::BOTH.map(|family| netlink.rules(family).unwrap()).to_vec();
    let mut routing =
        namespace.run(|| HostRouting::new(tun.index(), RouteSizes::default()).unwrap()).unwrap();
    routing.install("both", plan(&[], &["10.2.0.0/24", "2001:db8:2::/64"])).unwrap();
    let with_ours: Vec<_> = Family::BOTH.map(|family| netlink.rules(family).unwrap()).to_vec();

    let ours = adit_sys::netlink::Rule::not_marked(Family::V4, RULE_PRIORITY, MARK, TABLE);
    netlink.delete_rule(&ours).unwrap();
    for route in netlink.routes(TABLE).unwrap() {
        netlink.delete_route(&route).unwrap();
    }
    assert_eq!(routing.lookup(address("10.2.0.5")).unwrap().interface, wan);

    for _ in 0..2 {
        routing.refresh().unwrap();
        assert_eq!(routing.lookup(address("10.2.0.5")).unwrap().interface, tun.index());
        assert_eq!(routing.lookup(address("2001:db8:2::5")).unwrap().interface, tun.index());
        let rules: Vec<_> = Family::BOTH.map(|family| netlink.rules(family).unwrap()).to_vec();
        assert_eq!(rules, with_ours);
    }
    routing.close().unwrap();
    let rules: Vec<_> = Family::BOTH.map(|family| netlink.rules(family).unwrap()).to_vec();
    assert_eq!(rules, before);
    assert!(netlink.routes(TABLE).unwrap().is_empty());
}

/// `X02`: orphan state is flushed at start-up.
#[test]
fn a_killed_daemon_leaves_nothing_after_the_next_start() {
    if !namespaces_allowed("a_killed_daemon_leaves_nothing_after_the_next_start") {
        return;
    }
    let (namespace, tun, wan) = gateway();
    let mut netlink = namespace.netlink().unwrap();
    let before: Vec<_> = Family::BOTH.map(|family| netlink.rules(family).unwrap()).to_vec();
    // Somebody else's rule with our priority, and one with our table, must survive.
    let mut foreign = adit_sys::netlink::Rule::not_marked(Family::V4, RULE_PRIORITY, 7, TABLE);
    netlink.add_rule(&foreign).unwrap();
    foreign.mark = Some(MARK);
    foreign.priority = RULE_PRIORITY + 1;
    netlink.add_rule(&foreign).unwrap();
    let foreign_rules = netlink.rules(Family::V4).unwrap();

    let mut routing =
        namespace.run(|| HostRouting::new(tun.index(), RouteSizes::default()).unwrap()).unwrap();
    let all = plan(&["10.1.0.0/24", "2001:db8:1::/64"], &["0.0.0.0/0", "::/0"]);
    routing.install("all", all).unwrap();
    // As SIGKILL does: no destructor runs, the kernel takes the interface.
    std::mem::forget(routing);
    drop(tun);
    assert_eq!(netlink.routes(TABLE).unwrap().len(), 2, "the throw routes stay");
    let ours = |rule: &&adit_sys::netlink::Rule| rule.action == RuleAction::Table(TABLE);
    assert_eq!(netlink.rules(Family::V6).unwrap().iter().filter(ours).count(), 1);

    let removed = namespace.run(|| cleanup_stale().unwrap()).unwrap();

    assert_eq!(removed, Removed { rules: 2, routes: 2 });
    assert_eq!(netlink.rules(Family::V4).unwrap(), foreign_rules);
    assert_eq!(netlink.rules(Family::V6).unwrap(), before[1]);
    assert!(netlink.routes(TABLE).unwrap().is_empty());
    assert_eq!(netlink.lookup_route(address("8.8.8.8"), None, 0).unwrap().interface, wan);
    assert_eq!(namespace.run(|| cleanup_stale().unwrap()).unwrap(), Removed::default());
}

#[test]
fn closing_and_dropping_remove_everything() {
    if !namespaces_allowed("closing_and_dropping_remove_everything") {
        return;
    }
    let (namespace, tun, _) = gateway();
    let mut netlink = namespace.netlink().unwrap();
    let before: Vec<_> = Family::BOTH.map(|family| netlink.rules(family).unwrap()).to_vec();
    for close in [true, false] {
        let mut routing = namespace
            .run(|| HostRouting::new(tun.index(), RouteSizes::default()).unwrap())
            .unwrap();
        routing.install("all", plan(&["10.1.0.0/24"], &["0.0.0.0/0", "::/0"])).unwrap();
        if close {
            routing.close().unwrap();
        } else {
            drop(routing);
        }
        assert!(netlink.routes(TABLE).unwrap().is_empty());
        let after: Vec<_> = Family::BOTH.map(|family| netlink.rules(family).unwrap()).to_vec();
        assert_eq!(after, before);
    }
}

#[test]
fn marked_packets_to_a_peer_inside_its_selector_leave_by_the_wire() {
    if !namespaces_allowed("marked_packets_to_a_peer_inside_its_selector_leave_by_the_wire") {
        return;
    }
    let pair = common::Pair::new();
    let tun = create(&pair.left, "adit0", &[]).unwrap();
    let mut routing =
        pair.left.run(|| HostRouting::new(tun.index(), RouteSizes::default()).unwrap()).unwrap();
    routing.install("peer", plan(&["192.0.2.1/32"], &["192.0.2.2/32"])).unwrap();
    let local: SocketAddr = "192.0.2.1:4500".parse().unwrap();
    let remote: SocketAddr = "192.0.2.2:4500".parse().unwrap();
    let bind = |at: SocketAddr| move || UdpSocket::bind(at, &SocketOptions::default()).unwrap();
    let outer = pair.left.run(bind(local)).unwrap();
    let peer = pair.right.run(bind(remote)).unwrap();
    let plain = SocketOptions { mark: None, ..SocketOptions::default() };
    let inner = pair.left.run(|| UdpSocket::bind("0.0.0.0:9".parse().unwrap(), &plain)).unwrap();

    outer.send_to(local, remote, 0, &[], b"esp").unwrap();
    receive(&peer, &mut packets(1, 100), 1);

    inner.unwrap().send_to("0.0.0.0:0".parse().unwrap(), remote, 0, &[], b"clear").unwrap();
    assert!(wait(&tun));
    assert_eq!(tun.recv_batch(HEADROOM, &mut packets(4, 1_500)).unwrap(), 1);
    let mut io = BatchIo::new(HEADROOM);
    assert_eq!(peer.recv_batch(&mut io, &mut packets(1, 100)).unwrap(), 0);
}

/// A tunnel of both families on a host whose IPv6 is switched off.
#[test]
fn ipv4_is_routed_where_ipv6_is_off() {
    if !namespaces_allowed("ipv4_is_routed_where_ipv6_is_off") {
        return;
    }
    let namespace = Namespace::create().unwrap();
    for which in ["all", "default"] {
        let setting = format!("net.ipv6.conf.{which}.disable_ipv6");
        namespace.run(|| write_sysctl(&setting, "1").unwrap()).unwrap();
    }
    let tun = create(&namespace, "adit0", &["10.7.0.1/24"]).unwrap();
    let index = tun.index();
    let mut routing =
        namespace.run(|| HostRouting::new(index, RouteSizes::default()).unwrap()).unwrap();

    let both = plan(&[], &["2001:db8:2::/64", "10.2.0.0/24"]);
    let error = routing.install("both", both).unwrap_err();

    assert!(matches!(error, SysError::FamilyUnsupported { .. }), "{error:?}");
    let way = routing.lookup(address("10.2.0.1")).unwrap();
    assert_eq!((way.interface, way.table), (index, TABLE));
    routing.close().unwrap();
}

/// What is sent in one piece comes out in one piece, however long: with a shorter `gso_max_size` the
/// kernel would cut what a gateway forwards into packets.
#[test]
fn super_packets_are_as_long_as_ip_lets_them() {
    if !namespaces_allowed("super_packets_are_as_long_as_ip_lets_them") {
        return;
    }
    let namespace = Namespace::create().unwrap();
    let config = TunConfig {
        name: "adit0".to_owned(),
        mtu: 1_400,
        addresses: vec!["10.7.0.1/24".parse().unwrap()],
        offloads: true,
    };
    let tun = namespace.run(|| Tun::create(&config).unwrap()).unwrap();
    assert!(tun.offloads().tcp);
    let options = SocketOptions { mark: None, ..SocketOptions::default() };
    let local = "10.7.0.1:7".parse().unwrap();
    let socket = namespace.run(|| UdpSocket::bind(local, &options).unwrap()).unwrap();
    let in_one_piece = tun.offloads().udp;
    for count in [7, 49] {
        let mut sent = packets(count, 1_300);
        for packet in &mut sent {
            packet.set_len(1_300);
            packet.meta.remote = "10.7.0.2:7".parse().unwrap();
        }
        assert_eq!(socket.send_batch(&mut BatchIo::new(HEADROOM), &sent).sent, count);
        let mut room = vec![0; 70_000];
        let mut lengths = Vec::new();
        while let Some(length) = tun.recv_super(&mut room).unwrap() {
            let header = VnetHeader::read(&mut Reader(&room)).unwrap();
            assert_eq!(header.gso == Gso::UdpL4, in_one_piece);
            lengths.push(length - VnetHeader::LEN);
        }
        let wanted = if in_one_piece { vec![28 + count * 1_300] } else { vec![1_328; count] };
        assert_eq!(lengths, wanted);
    }
    // One that cannot be read is lost, and the next is there.
    let mut sent = packets(2, 1_300);
    for (packet, length) in sent.iter_mut().zip([100, 200]) {
        packet.set_len(length);
        packet.meta.remote = "10.7.0.2:7".parse().unwrap();
        assert_eq!(socket.send_batch(&mut BatchIo::new(HEADROOM), [&*packet]).sent, 1);
    }
    let error = tun.recv_super(&mut [0; VnetHeader::LEN - 1]).unwrap_err();
    assert!(adit_sys::tun::is_about_one_packet(&error), "{error}");
    let length = tun.recv_super(&mut [0; 2_000]).unwrap();
    assert_eq!(length, Some(VnetHeader::LEN + 28 + 200));
}
