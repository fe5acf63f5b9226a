//! Tracing a path through a tunnel: routers between the gateways are hidden or shown, by setting, and the
//! far gateway is on the path with its inside address. Needs root.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail the test")]

mod common;

use std::net::IpAddr;
use std::time::Duration;

use adit_mgmt::api::TunnelState;
use adit_sys::netlink::Route;
use adit_sys::netns::{Namespace, write_sysctl};
use adit_sys::ping::Pinger;
use adit_sys::trace::{Probe, Said, Tracer};
use common::{SECRET, Site, wait_until};

/// Oslo, two routers, Berlin, and a host behind Berlin.
///
/// ```text
/// oslo 192.0.2.1 - 192.0.2.254 near 203.0.113.1 - 203.0.113.2 far 198.51.100.254 - 198.51.100.2 berlin
/// 10.1.0.1, fd01::1                                          berlin 10.2.0.1 - 10.2.0.20 host
/// ```
struct Line {
    oslo: Site,
    berlin: Site,
    routers: [Namespace; 2],
    _host: Namespace,
}

fn put(namespace: &Namespace, link: &str, addresses: &[&str]) {
    let mut netlink = namespace.netlink().unwrap();
    let index = netlink.link_by_name(link).unwrap().index;
    for address in addresses {
        netlink.add_address(index, address.parse().unwrap()).unwrap();
    }
    netlink.set_up(index, true).unwrap();
}

fn wait(namespace: &Namespace, link: &str) {
    let mut netlink = namespace.netlink().unwrap();
    let index = netlink.link_by_name(link).unwrap().index;
    assert!(netlink.wait_until_ready(index, Duration::from_secs(5)).unwrap());
}

fn route(namespace: &Namespace, to: &str, by: &str) {
    let route = Route::by_gateway(to.parse().unwrap(), by.parse().unwrap());
    namespace.netlink().unwrap().add_route(&route).unwrap();
}

fn forward(namespace: &Namespace) {
    let on = || {
        write_sysctl("net.ipv4.ip_forward", "1").unwrap();
        write_sysctl("net.ipv6.conf.all.forwarding", "1").unwrap();
        // Tracing is what this is about: nobody is to be told less often.
        write_sysctl("net.ipv4.icmp_ratelimit", "0").unwrap();
        write_sysctl("net.ipv6.icmp.ratelimit", "0").unwrap();
    };
    namespace.run(on).unwrap();
}

fn link(one: &Namespace, name: &str, other: &Namespace, other_name: &str) {
    one.netlink().unwrap().add_veth_to(name, other_name, other).unwrap();
}

impl Line {
    fn new(name: &str) -> Option<Self> {
        let oslo = Site::new(&format!("{name}-oslo"))?;
        let berlin = Site::new(&format!("{name}-berlin"))?;
        let routers = [Namespace::create().unwrap(), Namespace::create().unwrap()];
        let host = Namespace::create().unwrap();
        let [near, far] = &routers;
        link(&oslo.namespace, "wan", near, "left");
        link(near, "right", far, "left");
        link(far, "right", &berlin.namespace, "wan");
        link(&berlin.namespace, "lan", &host, "lan");
        put(&oslo.namespace, "wan", &["192.0.2.1/24", "2001:db8:1::1/64"]);
        put(&oslo.namespace, "lo", &["10.1.0.1/32", "fd01::1/128"]);
        put(near, "left", &["192.0.2.254/24", "2001:db8:1::fe/64"]);
        put(near, "right", &["203.0.113.1/24", "2001:db8:9::1/64"]);
        put(far, "left", &["203.0.113.2/24", "2001:db8:9::2/64"]);
        put(far, "right", &["198.51.100.254/24", "2001:db8:2::fe/64"]);
        put(&berlin.namespace, "wan", &["198.51.100.2/24", "2001:db8:2::2/64"]);
        put(&berlin.namespace, "lan", &["10.2.0.1/24", "fd02::1/64"]);
        put(&host, "lan", &["10.2.0.20/24", "fd02::20/64"]);
        for (namespace, link) in [
            (&oslo.namespace, "wan"),
            (near, "left"),
            (near, "right"),
            (far, "left"),
            (far, "right"),
            (&berlin.namespace, "wan"),
            (&berlin.namespace, "lan"),
            (&host, "lan"),
        ] {
            wait(namespace, link);
        }
        for (namespace, to, by) in [
            (&oslo.namespace, "0.0.0.0/0", "192.0.2.254"),
            (&oslo.namespace, "::/0", "2001:db8:1::fe"),
            (near, "198.51.100.0/24", "203.0.113.2"),
            (near, "2001:db8:2::/64", "2001:db8:9::2"),
            (far, "192.0.2.0/24", "203.0.113.1"),
            (far, "2001:db8:1::/64", "2001:db8:9::1"),
            (&berlin.namespace, "0.0.0.0/0", "198.51.100.254"),
            (&berlin.namespace, "::/0", "2001:db8:2::fe"),
            (&host, "0.0.0.0/0", "10.2.0.1"),
            (&host, "::/0", "fd02::1"),
        ] {
            route(namespace, to, by);
        }
        [near, far, &berlin.namespace].into_iter().for_each(forward);
        Some(Self { oslo, berlin, routers, _host: host })
    }

    /// Both daemons with a tunnel between these addresses, up.
    fn start(&mut self, ends: [&str; 2], extra: &str) {
        let [oslo, berlin] = ends;
        let file = |there: &str, [ours, theirs]: [u8; 2], extra: &str| {
            format!(
                "peer = \"{there}\"\nlocal = [\"10.{ours}.0.0/24\", \"fd0{ours}::/64\"]\n\
                 remote = [\"10.{theirs}.0.0/24\", \"fd0{theirs}::/64\"]\n\
                 secret = \"file:tunnel.psk\"\n{extra}\n"
            )
        };
        self.oslo.write("tunnel.toml", &file(berlin, [1, 2], extra), 0o644);
        self.berlin.write("tunnel.toml", &file(oslo, [2, 1], "keep = \"passive\""), 0o644);
        for site in [&mut self.berlin, &mut self.oslo] {
            site.write("tunnel.psk", SECRET, 0o600);
            site.start();
        }
        self.oslo.wait_for("tunnel", TunnelState::Up);
    }

    /// Who answers packets of Oslo with one hop left, two, and so on, up to the destination.
    fn path(&self, from: &str, to: &str, probe: Probe) -> Vec<String> {
        let (from, to): (IpAddr, IpAddr) = (from.parse().unwrap(), to.parse().unwrap());
        let trace = || {
            let mut tracer = Tracer::open(from, to, probe).unwrap();
            let mut path = Vec::new();
            for hops in 1..=6 {
                // The first packet may have had to wait for addresses of links.
                let ask = |tracer: &mut Tracer| tracer.ask(hops, Duration::from_secs(1)).unwrap();
                let heard = ask(&mut tracer).or_else(|| ask(&mut tracer));
                path.push(heard.map_or_else(|| "-".to_owned(), |heard| heard.from.to_string()));
                if heard.is_some_and(|heard| heard.what == Said::Reached) {
                    break;
                }
            }
            path
        };
        self.oslo.namespace.run(trace).unwrap()
    }
}

const PROBES: [Probe; 3] = [Probe::Icmp, Probe::Udp(33_434), Probe::Tcp(9)];

/// The tunnel is one hop, whatever is outside: no router of the outside is on the path.
#[test]
fn by_default_a_tunnel_is_one_hop() {
    let Some(mut line) = Line::new("trace-hide") else { return };
    line.start(["192.0.2.1", "198.51.100.2"], "");
    for probe in PROBES {
        let path = line.path("10.1.0.1", "10.2.0.20", probe);
        assert_eq!(path, ["10.2.0.1", "10.2.0.20"], "{probe:?} {}", line.oslo.log());
        let path = line.path("fd01::1", "fd02::20", probe);
        assert_eq!(path, ["fd02::1", "fd02::20"], "{probe:?} {}", line.oslo.log());
    }
}

/// Each router outside is a hop, and behind them the gateway with its inside address.
#[test]
fn routers_outside_are_shown_where_the_operator_wants_it() {
    for (name, ends, encap) in [
        ("trace-udp", ["192.0.2.1", "198.51.100.2"], "udp"),
        ("trace-esp", ["192.0.2.1", "198.51.100.2"], "esp"),
    ] {
        let Some(mut line) = Line::new(name) else { return };
        line.start(ends, &format!("traceroute_transit = \"reveal\"\nencap = \"{encap}\""));
        for probe in PROBES {
            let path = line.path("10.1.0.1", "10.2.0.20", probe);
            let expected = ["192.0.2.254", "203.0.113.2", "10.2.0.1", "10.2.0.20"];
            assert_eq!(path, expected, "{probe:?} {}", line.oslo.log());
            let path = line.path("fd01::1", "fd02::20", probe);
            let expected = ["64:ff9b::c000:2fe", "64:ff9b::cb00:7102", "fd02::1", "fd02::20"];
            assert_eq!(path, expected, "{probe:?} {}", line.oslo.log());
        }
        // Everything else goes as ever.
        let there = line.oslo.ping("10.1.0.1", "10.2.0.20", 5);
        assert_eq!(there.lost(), 0, "{there:?}");
    }
}

/// CHECKLIST PM-29: who sends packets of all hops at once, as traceroute does, sees the far gateway the first time.
#[test]
fn who_asks_for_all_hops_at_once_sees_the_far_gateway() {
    for (name, ends, encap) in [
        ("trace-all-udp", ["192.0.2.1", "198.51.100.2"], "udp"),
        ("trace-all-esp6", ["2001:db8:1::1", "2001:db8:2::2"], "esp"),
    ] {
        let Some(mut line) = Line::new(name) else { return };
        line.start(ends, &format!("traceroute_transit = \"reveal\"\nencap = \"{encap}\""));
        // The routers know each other, and have answered what looks for them.
        assert_eq!(line.oslo.ping("10.1.0.1", "10.2.0.20", 2).lost(), 0);
        let (from, to) = ("10.1.0.1".parse().unwrap(), "10.2.0.20".parse().unwrap());
        let ask = |hops| {
            let ask = move || {
                let mut tracer = Tracer::open(from, to, Probe::Icmp).unwrap();
                tracer.ask(hops, Duration::from_secs(2)).unwrap().unwrap().from.to_string()
            };
            line.oslo.namespace.run(ask).unwrap()
        };
        let listing: Vec<String> = std::thread::scope(|scope| {
            let all: Vec<_> = (1..=5).map(|hops| scope.spawn(move || ask(hops))).collect();
            all.into_iter().map(|one| one.join().unwrap()).collect()
        });
        let routers = match encap {
            "udp" => ["192.0.2.254", "203.0.113.2"],
            _ => ["192.0.0.8", "192.0.0.8"],
        };
        let expected = [&routers[..], &["10.2.0.1", "10.2.0.20", "10.2.0.20"]].concat();
        assert_eq!(listing, expected, "{}", line.oslo.log());
    }
}

/// Through two tunnels, one inside the other, and where one of them hides what is on its way.
#[test]
fn routers_are_shown_through_nested_tunnels() {
    for (name, outer, expected) in [
        ("trace-nest", "reveal", &["192.0.2.254", "203.0.113.2", "10.2.0.1", "10.2.0.20"][..]),
        ("trace-nest-hide", "hide", &["10.2.0.1", "10.2.0.20"]),
    ] {
        let Some(mut line) = Line::new(name) else { return };
        let between = |there: &str, keep: &str| {
            format!(
                "peer = \"{there}\"\nlocal = \"dynamic\"\nremote = \"dynamic\"\nencap = \"esp\"\n\
                 secret = \"file:tunnel.psk\"\nkeep = \"{keep}\"\n\
                 traceroute_transit = \"{outer}\"\n"
            )
        };
        let inner = |there: &str, [ours, theirs]: [u8; 2], keep: &str| {
            format!(
                "peer = \"{there}\"\nlocal = \"10.{ours}.0.0/24\"\nremote = \"10.{theirs}.0.0/24\"\n\
                 secret = \"file:tunnel.psk\"\nkeep = \"{keep}\"\nover = \"outer\"\n\
                 id = \"net{ours}.example\"\npeer_id = \"net{theirs}.example\"\n\
                 traceroute_transit = \"reveal\"\n"
            )
        };
        line.oslo.write("outer.toml", &between("198.51.100.2", "up"), 0o644);
        line.berlin.write("outer.toml", &between("192.0.2.1", "passive"), 0o644);
        line.oslo.write("tunnel.toml", &inner("198.51.100.2", [1, 2], "up"), 0o644);
        line.berlin.write("tunnel.toml", &inner("192.0.2.1", [2, 1], "passive"), 0o644);
        for site in [&mut line.berlin, &mut line.oslo] {
            site.write("tunnel.psk", SECRET, 0o600);
            site.start();
        }
        for tunnel in ["outer", "tunnel"] {
            line.oslo.wait_for(tunnel, TunnelState::Up);
            line.berlin.wait_for(tunnel, TunnelState::Up);
        }
        let path = line.path("10.1.0.1", "10.2.0.20", Probe::Icmp);
        assert_eq!(path, expected, "{} {}", line.oslo.log(), line.berlin.log());
    }
}

/// Routers are shown with IPv6 outside as well, by stand-ins where hosts inside have only IPv4.
#[test]
fn routers_of_ipv6_are_shown_as_well() {
    for (name, encap) in [("trace-udp6", "udp"), ("trace-esp6", "esp")] {
        let Some(mut line) = Line::new(name) else { return };
        let extra = format!("traceroute_transit = \"reveal\"\nencap = \"{encap}\"");
        line.start(["2001:db8:1::1", "2001:db8:2::2"], &extra);
        let path = line.path("fd01::1", "fd02::20", Probe::Icmp);
        let expected = ["2001:db8:1::fe", "2001:db8:9::2", "fd02::1", "fd02::20"];
        assert_eq!(path, expected, "{}", line.oslo.log());
        let path = line.path("10.1.0.1", "10.2.0.20", Probe::Udp(33_434));
        assert_eq!(path, ["192.0.0.8", "192.0.0.8", "10.2.0.1", "10.2.0.20"]);
    }
}

/// CHECKLIST PM-09: the link between the routers is small, and the near one says so to the gateway, whatever its
/// packets travel in. Nobody probes the path, since lengths are hidden, so it is the router who is believed.
#[test]
fn a_routers_word_about_its_next_link_reaches_the_sa() {
    let ends = [["192.0.2.1", "198.51.100.2"], ["2001:db8:1::1", "2001:db8:2::2"]];
    // AES-GCM around the packet, in blocks of four octets with two of the trailer.
    let around = 16 + 16 + 2;
    for (name, ends, encap, inner) in [
        ("small-udp", ends[0], "udp", 1_280 - 20 - 8 - around),
        ("small-esp", ends[0], "esp", 1_280 - 20 - around),
        ("small-udp6", ends[1], "udp", 1_280 - 40 - 8 - around),
        ("small-esp6", ends[1], "esp", 1_280 - 40 - around),
    ] {
        let Some(mut line) = Line::new(name) else { return };
        let extra = format!("turbo = \"off\"\ndf = \"set\"\ntfc_padding = 64\nencap = \"{encap}\"");
        line.start(ends, &extra);
        let known = |line: &Line| {
            let status = line.oslo.tunnel("tunnel").unwrap();
            (status.path_mtu, status.path_mtu_source, status.mtu)
        };
        for (router, name) in line.routers.iter().zip(["right", "left"]) {
            let mut netlink = router.netlink().unwrap();
            let middle = netlink.link_by_name(name).unwrap().index;
            netlink.set_mtu(middle, 1_280).unwrap();
        }
        let ping = || {
            let (from, to) = ("10.1.0.1".parse().unwrap(), "10.2.0.20".parse().unwrap());
            let mut pinger = Pinger::open(to, Some(from)).unwrap();
            pinger.set_dont_fragment(true).unwrap();
            pinger.round_trip(1_300 - 28, Duration::from_millis(200))
        };
        let learnt = (Some(1_280), Some("icmp".to_owned()), Some(inner));
        wait_until("the SA knows", || {
            let _ = line.oslo.namespace.run(ping).unwrap();
            known(&line) == learnt
        });
        assert_eq!(line.oslo.ping_with("10.1.0.1", "10.2.0.20", 2, 1_000).lost(), 0, "{name}");
    }
}
