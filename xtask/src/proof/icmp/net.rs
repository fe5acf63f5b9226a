//! Six namespaces in a row: `A - G1 - R1 - R2 - G2 - B`. The hosts A and B are behind the gateways; the
//! middle cable, between the routers, has the MTU that a case wants.
//!
//! The gateways' outer addresses are those that both have in every lab of ours, though two routers
//! are between them: so plans, daemons and guests need not know.

use std::net::IpAddr;
use std::path::Path;

use anyhow::Context as _;

use crate::interop::janitor::Janitor;
use crate::interop::lab::{OUTSIDE, Side, connect, ip, output, sides};

/// The row, and what tidies up behind it.
pub(super) struct Net {
    /// The host behind the left gateway.
    pub(super) a: Side,
    /// The left gateway.
    pub(super) left: Side,
    /// The router beside it.
    pub(super) r1: Side,
    /// The router beside the right gateway.
    pub(super) r2: Side,
    /// The right gateway.
    pub(super) right: Side,
    /// The host behind it.
    pub(super) b: Side,
    // Last, so that it outlives the rest.
    _janitor: Janitor,
}

/// The cables' ordinary MTU.
pub(super) const ETHERNET: u16 = 1_500;

/// The small one, IPv6's least (RFC 8200 §5).
pub(super) const SMALL: u16 = 1_280;

/// The routers' interfaces towards the gateways.
pub(super) const EDGE: &str = "edge";

const MIDDLE: &str = "middle";
const LAN: &str = "lan";

impl Net {
    /// Makes it. On the right there may be a guest instead of the gateway: then `right` is left
    /// alone but for its cable.
    ///
    /// # Errors
    ///
    /// No right to make namespaces.
    pub(super) fn new(keep: bool) -> anyhow::Result<Self> {
        let mut janitor = Janitor::start()?;
        let names = [("a", 1), ("left", 1), ("r1", 1), ("r2", 2), ("right", 2), ("b", 2)];
        let [a, left, r1, r2, right, b] = sides(&mut janitor, keep, names)?;
        let net = Self { a, left, r1, r2, right, b, _janitor: janitor };
        for side in [&net.a, &net.left, &net.r1, &net.r2, &net.right, &net.b] {
            at_once(side)?;
        }
        connect((&net.a, LAN), (&net.left, LAN))?;
        connect((&net.left, OUTSIDE), (&net.r1, EDGE))?;
        connect((&net.r1, MIDDLE), (&net.r2, MIDDLE))?;
        connect((&net.r2, EDGE), (&net.right, OUTSIDE))?;
        connect((&net.right, LAN), (&net.b, LAN))?;
        for (host, gateway) in [(&net.a, &net.left), (&net.b, &net.right)] {
            net.lay_lan(host, gateway)?;
        }
        for (router, gateway) in [(&net.r1, &net.left), (&net.r2, &net.right)] {
            net.lay_edge(router, gateway)?;
        }
        net.lay_middle()?;
        Ok(net)
    }

    /// A network behind a gateway, with one host.
    fn lay_lan(&self, host: &Side, gateway: &Side) -> anyhow::Result<()> {
        for v6 in [false, true] {
            let len = if v6 { 64 } else { 24 };
            gateway.add_address(&format!("{}/{len}", gateway.inside(v6)), LAN)?;
            host.add_address(&format!("{}/{len}", inner_host(host, v6)), LAN)?;
            let via = gateway.inside(v6).to_string();
            ip(&["-n", &host.namespace, family(v6), "route", "add", "default", "via", &via])?;
        }
        answer_all(host)?;
        forward(gateway)
    }

    /// The cable between a gateway and its router. Whoever is on the gateway's end has a route by
    /// its router to the other gateway alone.
    fn lay_edge(&self, router: &Side, gateway: &Side) -> anyhow::Result<()> {
        for v6 in [false, true] {
            let len = if v6 { 64 } else { 24 };
            gateway.add_address(&format!("{}/{len}", gateway.outside(v6)), OUTSIDE)?;
            let (whole, own) = (if v6 { 128 } else { 32 }, gateway.outside(v6).to_string());
            router.add_address(&format!("{}/{whole}", at_edge(router, v6)), EDGE)?;
            let to_gateway = [family(v6), "route", "add", &own, "dev", EDGE];
            ip(&[&["-n", &router.namespace][..], &to_gateway].concat())?;
            let route = route_to_peer(router, gateway, v6);
            let words: Vec<&str> = route.split(' ').collect();
            ip(&[&["-n", &gateway.namespace][..], &words].concat())?;
        }
        forward(router)
    }

    fn lay_middle(&self) -> anyhow::Result<()> {
        let ends = [(&self.r1, 1, 2, &self.right), (&self.r2, 2, 1, &self.left)];
        for (router, own, ..) in ends {
            router.add_address(&format!("198.51.100.{own}/24"), MIDDLE)?;
            router.add_address(&format!("2001:db8:1::{own}/64"), MIDDLE)?;
        }
        for (router, _, next, gateway) in ends {
            for (v6, via) in
                [(false, format!("198.51.100.{next}")), (true, format!("2001:db8:1::{next}"))]
            {
                let to = gateway.outside(v6).to_string();
                let route = [family(v6), "route", "add", &to, "via", &via];
                ip(&[&["-n", &router.namespace][..], &route].concat())?;
            }
        }
        Ok(())
    }

    /// Gives the middle cable an MTU, at both ends.
    pub(super) fn set_mtu(&self, octets: u16) -> anyhow::Result<()> {
        let octets = octets.to_string();
        for router in [&self.r1, &self.r2] {
            ip(&["-n", &router.namespace, "link", "set", MIDDLE, "mtu", &octets])?;
        }
        Ok(())
    }

    /// Gives the left gateway's own cable an MTU, at both ends.
    pub(super) fn set_edge_mtu(&self, octets: u16) -> anyhow::Result<()> {
        let octets = octets.to_string();
        ip(&["-n", &self.left.namespace, "link", "set", OUTSIDE, "mtu", &octets])?;
        ip(&["-n", &self.r1.namespace, "link", "set", EDGE, "mtu", &octets])
    }

    /// Whether the routers tell what is too long for them.
    pub(super) fn filter_icmp(&self, filtered: bool) -> anyhow::Result<()> {
        let rules = if filtered { SILENT } else { "flush ruleset" };
        for router in [&self.r1, &self.r2] {
            output(router.command(Path::new("nft")).arg(rules)).context("nft")?;
        }
        Ok(())
    }

    /// Everybody forgets what they have learnt of the paths.
    pub(super) fn forget(&self) -> anyhow::Result<()> {
        for side in [&self.a, &self.left, &self.right, &self.b] {
            for v6 in [false, true] {
                ip(&["-n", &side.namespace, family(v6), "route", "flush", "cache"])?;
            }
            // A kernel without metrics of TCP has none to forget.
            let _ = ip(&["-n", &side.namespace, "tcp_metrics", "flush", "all"]);
        }
        Ok(())
    }

    /// The lab does what it says: what is too long for the middle does not pass, and the sender
    /// hears of it unless it is kept quiet.
    pub(super) fn prove(&self) -> anyhow::Result<()> {
        for v6 in [false, true] {
            let long = || self.outer_echo(v6, 1_400);
            self.set_mtu(ETHERNET)?;
            self.forget()?;
            anyhow::ensure!(long()?.contains(" 0% packet loss"), "the lab drops 1,400 octets");
            self.set_mtu(SMALL)?;
            self.filter_icmp(true)?;
            let said = long()?;
            let is_silent = said.contains("100% packet loss") && !said.contains("mtu");
            anyhow::ensure!(is_silent, "the lab's black hole is none: {said}");
            self.filter_icmp(false)?;
            let said = long()?;
            anyhow::ensure!(said.contains("mtu"), "the lab's routers do not tell: {said}");
        }
        self.set_mtu(ETHERNET)?;
        self.forget()
    }

    /// Two echoes with DF from gateway to gateway, in clear; what `ping` printed.
    fn outer_echo(&self, v6: bool, octets: u16) -> anyhow::Result<String> {
        let target = self.right.outside(v6).to_string();
        let mut ping = self.left.command(Path::new("ping"));
        ping.args(["-n", "-M", "do", "-c", "2", "-i", "0.1", "-W", "1", "-s"]);
        let output = ping.arg(octets.to_string()).arg(target).output().context("ping")?;
        let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
        Ok(format!("{}{complaint}", String::from_utf8_lossy(&output.stdout)))
    }
}

/// The address of the host in the network behind a gateway.
pub(super) fn inner_host(side: &Side, v6: bool) -> IpAddr {
    match side.inside(v6) {
        IpAddr::V4(address) => {
            let [a, b, c, _] = address.octets();
            IpAddr::from([a, b, c, 10])
        }
        IpAddr::V6(address) => {
            let [a, b, c, d, e, f, g, _] = address.segments();
            IpAddr::from([a, b, c, d, e, f, g, 0x10])
        }
    }
}

/// The words for `ip`, of the route by which a gateway reaches the other one.
pub(super) fn route_to_peer(router: &Side, gateway: &Side, v6: bool) -> String {
    let (peer, via) = (gateway.other_outside(v6), at_edge(router, v6));
    format!("{} route replace {peer} via {via}", family(v6))
}

/// A router's address on its gateway's cable.
fn at_edge(router: &Side, v6: bool) -> IpAddr {
    let own = if router.name == "r1" { 1 } else { 2 };
    if v6 {
        IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, 0xf0 + own])
    } else {
        let [a, b, c, _] = [192, 0, 2, 0];
        IpAddr::from([a, b, c, 250 + u8::try_from(own).unwrap_or_default()])
    }
}

fn family(v6: bool) -> &'static str {
    if v6 { "-6" } else { "-4" }
}

fn forward(side: &Side) -> anyhow::Result<()> {
    set(side, ["net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1"])?;
    answer_all(side)
}

/// Link-local addresses are there at once too: a gateway asks with them for its host's address, and
/// what comes before that is lost.
fn at_once(side: &Side) -> anyhow::Result<()> {
    set(side, ["net.ipv6.conf.all.accept_dad=0", "net.ipv6.conf.default.accept_dad=0"])
}

/// Every probe of a listing is answered, however many there are.
fn answer_all(side: &Side) -> anyhow::Result<()> {
    set(side, ["net.ipv4.icmp_ratelimit=0", "net.ipv6.icmp.ratelimit=0"])
}

fn set(side: &Side, settings: [&str; 2]) -> anyhow::Result<()> {
    output(side.command(Path::new("sysctl")).arg("-qw").args(settings)).context("sysctl").map(drop)
}

/// No router says that a packet was too long.
const SILENT: &str =
    "flush ruleset; table inet silent { chain out { type filter hook output priority 0;
icmp type destination-unreachable drop; icmpv6 type packet-too-big drop; }; }";
