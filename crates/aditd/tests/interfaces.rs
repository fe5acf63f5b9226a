//! Tunnels with an interface of their own: routes decide which one protects a packet. Needs root.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail the test")]

mod common;

use adit_db::Dscp;
use adit_mgmt::Code;
use adit_mgmt::api::{Fate, TunnelState};
use adit_mgmt::vici::Request;
use adit_sys::netlink::{Family, Route, RouteKind, Rule, RuleAction};
use adit_sys::netns::write_sysctl;
use adit_sys::udp::{SocketOptions, UdpSocket};
use adit_wire::ip::FlowKey;
use common::{Pair, SECRET, Site, wait_until};

/// A tunnel of everything with an interface of its own.
fn everything(peer: &str, interface: &str, extra: &str) -> String {
    format!(
        "peer = \"{peer}\"\nlocal = \"0.0.0.0/0\"\nremote = \"0.0.0.0/0\"\n\
         interface = \"{interface}\"\nsecret = \"file:tunnel.psk\"\n{extra}\n"
    )
}

fn index(site: &Site, interface: &str) -> Option<u32> {
    site.namespace.netlink().unwrap().link_by_name(interface).ok().map(|link| link.index)
}

fn route(site: &Site, destination: &str, source: &str, interface: &str) {
    let route = Route {
        interface: index(site, interface),
        source: Some(source.parse().unwrap()),
        ..Route::new(destination.parse().unwrap(), RouteKind::Unicast)
    };
    site.namespace.netlink().unwrap().replace_route(&route).unwrap();
}

fn reload(site: &Site) {
    site.call(&Request::AditReload { dry_run: false });
}

fn sent(site: &Site, tunnel: &str) -> u64 {
    site.tunnel(tunnel).unwrap().packets_out
}

/// A gateway with two peers, both of which speak for everything and have 10.9.0.1.
fn gateway(name: &str) -> Option<(Pair, Site)> {
    let mut pair = Pair::new(name)?;
    let mut paris = pair.paris(name)?;
    for site in [&pair.berlin, &paris] {
        let mut netlink = site.namespace.netlink().unwrap();
        let lo = netlink.link_by_name("lo").unwrap().index;
        netlink.add_address(lo, "10.9.0.1/32".parse().unwrap()).unwrap();
    }
    let passive = |peer: &str| everything(peer, "vpn0", "routes = false\nkeep = \"passive\"");
    pair.start(&everything("192.0.2.2", "vpn1", "routes = false"), &passive("192.0.2.1"));
    paris.write("tunnel.toml", &passive("198.51.100.1"), 0o644);
    paris.write("tunnel.psk", SECRET, 0o600);
    paris.start();
    let to_paris = everything("198.51.100.3", "vpn2", "routes = false");
    pair.oslo.write("paris.toml", &to_paris, 0o644);
    reload(&pair.oslo);
    for tunnel in ["tunnel", "paris"] {
        pair.oslo.wait_for(tunnel, TunnelState::Up);
    }
    for site in [&pair.berlin, &paris] {
        site.wait_for("tunnel", TunnelState::Up);
        route(site, "10.1.0.0/24", "10.9.0.1", "vpn0");
    }
    Some((pair, paris))
}

/// CHECKLIST H14. The same selectors on two interfaces, or everything: a route says which tunnel, and
/// what comes out of one comes by its interface.
#[test]
fn routes_decide_between_tunnels_of_the_same_networks() {
    let Some((pair, paris)) = gateway("vpn") else { return };
    let oslo = &pair.oslo;
    assert_eq!(oslo.our_rules(), 0, "routes are somebody else's affair");
    for interface in ["vpn1", "vpn2"] {
        // Strict: what comes by another interface than the way back is dropped.
        let setting = format!("net/ipv4/conf/{interface}/rp_filter");
        oslo.namespace.run(|| write_sysctl(&setting, "1")).unwrap().unwrap();
    }
    // Neither the engine nor the packet filter asks what is for the default interface.
    oslo.policy("closed.toml", "action = \"discard\"\nremote = \"10.9.0.0/24\"\n");
    reload(oslo);
    assert_eq!(oslo.spd().entries.len(), 3);
    for (interface, tunnel, other) in
        [("vpn1", "tunnel", "paris"), ("vpn2", "paris", "tunnel"), ("vpn1", "tunnel", "paris")]
    {
        route(oslo, "10.9.0.1/32", "10.1.0.1", interface);
        let before = (sent(oslo, tunnel), sent(oslo, other));
        let report = oslo.ping("10.1.0.1", "10.9.0.1", 5);
        assert_eq!(report.lost(), 0, "{interface}: {report:?}\n{}", oslo.log());
        assert_eq!((sent(oslo, tunnel), sent(oslo, other)), (before.0 + 5, before.1));

        let why = oslo.why("10.1.0.1", "10.9.0.1", 1, None);
        let policy = why.policy.unwrap();
        assert_eq!((why.fate, policy.name.as_str()), (Fate::Protected, tunnel));
        assert_eq!(policy.interface.as_deref(), Some(interface));
        assert_eq!(why.sa.unwrap().tunnel, tunnel);
        assert_eq!(oslo.tunnel(tunnel).unwrap().interface.as_deref(), Some(interface));
    }
    // Asked about another interface than that of the route.
    let flow = FlowKey::without_ports([10, 1, 0, 1].into(), [10, 9, 0, 1].into(), 1);
    let why = oslo.why_at(flow, Dscp::default(), Some("vpn2"));
    assert_eq!((why.fate, why.policy.unwrap().name.as_str()), (Fate::Protected, "paris"));
    // From the other ends, too.
    for site in [&pair.berlin, &paris] {
        let interface = if site.directory == paris.directory { "vpn2" } else { "vpn1" };
        route(oslo, "10.9.0.1/32", "10.1.0.1", interface);
        let report = site.ping("10.9.0.1", "10.1.0.1", 5);
        assert_eq!(report.lost(), 0, "{interface}: {report:?}\n{}", oslo.log());
    }
    assert!(oslo.sad().sas.iter().all(|sa| sa.interface.is_some()));
}

/// CHECKLIST H14: a rule of the host's picks the interface by the firewall mark, and so which of two tunnels of the
/// same networks protects a packet.
#[test]
fn marks_decide_between_tunnels_of_the_same_networks() {
    let Some((pair, _paris)) = gateway("mark") else { return };
    let oslo = &pair.oslo;
    route(oslo, "10.9.0.1/32", "10.1.0.1", "vpn1");
    let mut netlink = oslo.namespace.netlink().unwrap();
    let marked = Route {
        table: 100,
        interface: index(oslo, "vpn2"),
        ..Route::new("10.9.0.1/32".parse().unwrap(), RouteKind::Unicast)
    };
    netlink.replace_route(&marked).unwrap();
    let rule = Rule::new(Family::V4, 100, RuleAction::Table(100));
    netlink.add_rule(&Rule { mark: Some(0x10), ..rule }).unwrap();
    let (local, remote) = ("10.1.0.1:0".parse().unwrap(), "10.9.0.1:9".parse().unwrap());
    for (mark, tunnel, other) in [
        (None, "tunnel", "paris"),
        (Some(0x10), "paris", "tunnel"),
        (Some(0x11), "tunnel", "paris"),
    ] {
        let before = (sent(oslo, tunnel), sent(oslo, other));
        let options = SocketOptions { mark, ..SocketOptions::default() };
        let socket = oslo.namespace.run(|| UdpSocket::bind(local, &options)).unwrap().unwrap();
        for _ in 0..5 {
            socket.send_to(socket.local(), remote, 0, &[], b"by its mark").unwrap();
        }
        wait_until("the packets are out", || sent(oslo, tunnel) >= before.0 + 5);
        assert_eq!((sent(oslo, tunnel), sent(oslo, other)), (before.0 + 5, before.1), "{mark:?}");
    }
}

/// An interface comes and goes with its tunnels; one that somebody takes away comes again.
#[test]
fn interfaces_come_and_go_with_their_tunnels() {
    let Some((mut pair, _paris)) = gateway("gone") else { return };
    let oslo = &pair.oslo;
    std::fs::remove_file(oslo.directory.join("tunnels/tunnel.toml")).unwrap();
    reload(oslo);
    wait_until("the interface is gone", || index(oslo, "vpn1").is_none());
    route(oslo, "10.9.0.1/32", "10.1.0.1", "vpn2");
    assert_eq!(oslo.ping("10.1.0.1", "10.9.0.1", 5).lost(), 0, "{}", oslo.log());

    // A changed tunnel is negotiated anew; its interface, with what others put there, stays.
    let before = index(oslo, "vpn2").unwrap();
    let changed = everything("198.51.100.3", "vpn2", "routes = false\ndpd = \"20s\"");
    oslo.write("paris.toml", &changed, 0o644);
    reload(oslo);
    wait_until("paris is up again", || {
        oslo.tunnel("paris").is_some_and(|tunnel| tunnel.state == TunnelState::Up)
            && oslo.ping("10.1.0.1", "10.9.0.1", 1).lost() == 0
    });
    assert_eq!(index(oslo, "vpn2"), Some(before));

    let taken = index(oslo, "vpn2").unwrap();
    oslo.namespace.netlink().unwrap().delete_link(taken).unwrap();
    wait_until("it is there again", || index(oslo, "vpn2").is_some_and(|now| now != taken));
    route(oslo, "10.9.0.1/32", "10.1.0.1", "vpn2");
    assert_eq!(oslo.ping("10.1.0.1", "10.9.0.1", 5).lost(), 0, "{}", oslo.log());

    pair.oslo.kill();
    wait_until("nothing stays behind", || index(&pair.oslo, "vpn2").is_none());
}

/// E509: what has the name stays as it is, nothing is routed there, and other tunnels go on. When the
/// name is free the tunnel has it. Here the daemon routes the networks itself.
#[test]
fn an_interface_of_somebody_else_is_left_alone() {
    let Some(mut pair) = Pair::new("foreign") else { return };
    let file = |here: u8, there: u8, interface: &str, extra: &str| {
        let text = everything(&format!("192.0.2.{there}"), interface, extra);
        text.replace("local = \"0.0.0.0/0\"", &format!("local = \"10.{here}.0.0/24\""))
            .replace("remote = \"0.0.0.0/0\"", &format!("remote = \"10.{there}.0.0/24\""))
    };
    let other = Site::new("foreign-other").unwrap();
    pair.oslo.namespace.netlink().unwrap().add_veth_to("vpn1", "x", &other.namespace).unwrap();
    let foreign = index(&pair.oslo, "vpn1").unwrap();
    pair.start(&file(1, 2, "vpn1", ""), &file(2, 1, "vpn1", "keep = \"passive\""));
    let oslo = &pair.oslo;
    let problem = || oslo.tunnel("tunnel").and_then(|tunnel| tunnel.problem).map(|it| it.code);
    wait_until("the operator is told", || problem() == Some(Code::E509));
    oslo.wait_for("tunnel", TunnelState::Sick);
    assert_eq!(index(oslo, "vpn1"), Some(foreign));
    let routes = |site: &Site| site.namespace.netlink().unwrap().routes(adit_sys::route::TABLE);
    let into = |route: &Route| route.kind == RouteKind::Unicast && route.interface.is_some();
    assert!(!routes(oslo).unwrap().iter().any(into));
    assert_ne!(oslo.ping("10.1.0.1", "10.2.0.1", 1).lost(), 0);

    oslo.namespace.netlink().unwrap().delete_link(foreign).unwrap();
    wait_until("the name is taken", || index(oslo, "vpn1").is_some());
    oslo.wait_for("tunnel", TunnelState::Up);
    wait_until("the network is routed", || routes(oslo).unwrap().iter().any(into));
    pair.assert_carries("10.1.0.1", "10.2.0.1");
}
