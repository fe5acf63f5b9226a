//! Who is in a world and what is configured there, drawn from the seed.

mod extras;

use std::collections::BTreeSet;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use adit_crypto::SeededRng;
use adit_db::{
    ChildConfig, Connection, HostSpec, IkeVersion, Keep, LimitSpec, Mobike, ProposalSpec, TsSpec,
};
use adit_ike::{EndpointConfig, FragmentOctets};

use super::net::{Home, Weather};
use super::profile::Rates;
use crate::draw::Draw as _;
use crate::network::Nat;
use extras::Extras;

/// The drawn configuration of one run. Host 0 is the hub: it is never behind a NAT and never roams.
#[derive(Clone, Debug)]
pub(super) struct Scenario {
    pub(super) hosts: Vec<HostPlan>,
    pub(super) tunnels: Vec<Tunnel>,
    /// Children of each tunnel.
    pub(super) children: usize,
    pub(super) background: Weather,
    short_lives: bool,
    dpd_delay: Duration,
    cookies: bool,
    few_half_open: bool,
    other_group_first: bool,
    child_key_exchange: bool,
    small_fragments: bool,
    turbo: bool,
    /// Whether IKE SAs move with their hosts (RFC 4555).
    mobike: bool,
    extras: Extras,
}

/// What a host is like.
#[derive(Clone, Copy, Debug)]
pub(super) struct HostPlan {
    pub(super) nat: bool,
    /// Whether its address may change, so that nobody can know it beforehand.
    pub(super) roams: bool,
}

/// Two hosts with a connection.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Tunnel {
    pub(super) ends: [usize; 2],
    /// Which of the two wants it up.
    pub(super) keeps: [bool; 2],
    pub(super) version: IkeVersion,
    /// Whether its children are bundles of AH and ESP (RFC 2401 §4.3).
    pub(super) bundles: bool,
}

impl Tunnel {
    /// One that nobody wants up yet.
    fn between(one: usize, other: usize) -> Self {
        Self { ends: [one, other], keeps: [false, false], version: IkeVersion::V2, bundles: false }
    }

    /// The host at the other end.
    pub(super) fn peer_of(&self, host: usize) -> usize {
        let [one, other] = self.ends;
        if host == one { other } else { one }
    }
}

/// Most children of a tunnel.
pub(super) const CHILDREN_MAX: usize = 2;

impl Scenario {
    pub(super) fn draw(rng: &mut SeededRng, rates: &Rates) -> Self {
        let count = 2 + rng.index(usize::try_from(rates.hosts_max - 1).unwrap_or(1));
        let hosts: Vec<HostPlan> = (0..count)
            .map(|host| HostPlan {
                nat: host > 0 && rng.percent(rates.nat_percent),
                roams: host > 0 && rates.roam > 0 && rng.percent(60),
            })
            .collect();
        let mut tunnels = draw_tunnels(rng, &hosts);
        if rates.ikev1_percent > 0 {
            draw_versions(rng, &hosts, rates.ikev1_percent, &mut tunnels);
        }
        if rates.bundle_percent > 0 {
            draw_bundles(rng, &hosts, rates.bundle_percent, &mut tunnels);
        }
        Self {
            hosts,
            tunnels,
            children: 1 + rng.index(CHILDREN_MAX),
            background: draw_weather(rng, rates.background),
            short_lives: rng.percent(rates.short_lives_percent),
            dpd_delay: rng.pick(&[5, 10, 20].map(Duration::from_secs)),
            cookies: rng.percent(10) || (rates.flood > 0 && rng.percent(40)),
            few_half_open: rates.flood > 0 && rng.percent(50),
            other_group_first: rng.percent(5),
            child_key_exchange: rng.percent(10),
            small_fragments: rng.percent(10),
            turbo: rng.percent(20),
            mobike: rng.percent(60),
            extras: if rates.has_extras { Extras::draw(rng) } else { Extras::default() },
        }
    }

    /// An endpoint's settings.
    pub(super) fn config(&self, host: usize) -> EndpointConfig {
        let mut config = EndpointConfig { export_keys: true, ..EndpointConfig::default() };
        if self.cookies && host == 0 {
            config.cookie_threshold = 0;
        }
        if self.few_half_open {
            (config.cookie_threshold, config.half_open_max) = (3, 12);
            config.half_open_per_address_max = 6;
        }
        if self.small_fragments {
            config.fragment_octets = FragmentOctets { v4: 576, v6: 1_280 };
        }
        config
    }

    /// What a host has loaded, with the numbers of the tunnels.
    pub(super) fn connections(&self, host: usize) -> Vec<(usize, Connection)> {
        let tunnels = self.tunnels.iter().enumerate();
        let ours = tunnels.filter(|(_, tunnel)| tunnel.ends.contains(&host));
        ours.map(|(number, tunnel)| (number, self.connection(number, tunnel, host))).collect()
    }

    fn connection(&self, number: usize, tunnel: &Tunnel, host: usize) -> Connection {
        let peer = tunnel.peer_of(host);
        let mut connection = Connection::new(tunnel_name(number).parse().expect("a legal name"));
        connection.local_addresses = self.address_spec(host, inside(host, 0));
        connection.remote_addresses = match self.plan(peer) {
            HostPlan { nat: false, roams: false } => vec![HostSpec::Address(inside(peer, 0))],
            _ => vec![HostSpec::Any],
        };
        let identity = |host: usize| format!("{}.example", host_name(host));
        connection.pad.local_id = Some(identity(host).parse().expect("a legal identity"));
        connection.pad.remote_id = identity(peer).parse().expect("a legal identity");
        connection.dpd_delay = self.dpd_delay;
        connection.mobike = if self.mobike { Mobike::Yes } else { Mobike::No };
        connection.ike = tunnel.version;
        connection.proposals = ike(self.ike_proposal(tunnel.version, host));
        if self.short_lives {
            connection.rekey_time = Duration::from_secs(80);
            connection.rand_time = Duration::from_secs(20);
            connection.over_time = Duration::from_secs(60);
        }
        let [one, _] = tunnel.ends;
        let [keeps_one, keeps_other] = tunnel.keeps;
        let keeps = if host == one { keeps_one } else { keeps_other };
        let keep = if keeps { Keep::Up } else { Keep::Passive };
        let child = |child| self.child(number, child, host, tunnel).kept(keep);
        connection.children = (0..self.children).map(child).collect();
        if tunnel.version == IkeVersion::V2 {
            let ends = tunnel.ends.map(|end| self.plan(end));
            self.extras.dress(&mut connection, host == one, ends);
        }
        connection
    }

    fn child(&self, tunnel: usize, number: usize, host: usize, plan: &Tunnel) -> ChildConfig {
        let peer = plan.peer_of(host);
        let mut child = ChildConfig::new(child_name(number).parse().expect("a legal name"));
        let network = |host| -> TsSpec {
            let address = inner_address(host, tunnel, number, 0);
            format!("{address}/24").parse().expect("a legal selector")
        };
        child.local_ts = vec![network(host)];
        child.remote_ts = vec![network(peer)];
        child.proposals = esp(match (self.child_key_exchange, plan.version) {
            (true, IkeVersion::V1) => "aes128gcm16-ecp256",
            (true, _) => "aes128gcm16-x25519",
            (false, _) => "aes128gcm16",
        });
        if plan.bundles {
            child.outer_ah = ProposalSpec::ah_list("sha256").expect("a legal proposal");
        }
        child.turbo = self.turbo;
        if self.short_lives {
            child.lifetime.seconds = LimitSpec { soft: 50, hard: 120, rand: 20 };
        }
        child
    }

    fn ike_proposal(&self, version: IkeVersion, host: usize) -> &'static str {
        match (version, self.other_group_first, host) {
            (IkeVersion::V1, false, _) => "aes128-sha256-ecp256",
            (IkeVersion::V1, true, 0) => "aes128-sha256-ecp384-ecp256",
            (IkeVersion::V1, true, _) => "aes128-sha256-ecp256-ecp384",
            (_, false, _) => "aes128gcm16-prfsha256-x25519",
            (_, true, 0) => "aes128gcm16-prfsha256-ecp256-x25519",
            (_, true, _) => "aes128gcm16-prfsha256-x25519-ecp256",
        }
    }

    fn address_spec(&self, host: usize, address: IpAddr) -> Vec<HostSpec> {
        match self.plan(host).roams {
            true => Vec::new(),
            false => vec![HostSpec::Address(address)],
        }
    }

    pub(super) fn plan(&self, host: usize) -> HostPlan {
        self.hosts.get(host).copied().unwrap_or(HostPlan { nat: false, roams: false })
    }

    /// Whether the peers of a host follow it to another address (RFC 7296 §2.23, RFC 4555 §3.5).
    pub(super) fn is_followed(&self, host: usize) -> bool {
        self.mobike || self.plan(host).nat
    }

    /// Where the hosts are at first.
    pub(super) fn homes(&self) -> Vec<Home> {
        let home = |(host, plan): (usize, &HostPlan)| Home {
            address: inside(host, 0),
            nat: plan.nat.then(|| Nat::new(outside(host, 0))),
        };
        self.hosts.iter().enumerate().map(home).collect()
    }
}

/// What it is, in one line.
impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (host, plan) in self.hosts.iter().enumerate() {
            let nat = if plan.nat { " behind a NAT" } else { "" };
            let roams = if plan.roams { " on the move" } else { "" };
            write!(f, "{}{nat}{roams}, ", host_name(host))?;
        }
        for (number, tunnel) in self.tunnels.iter().enumerate() {
            let Tunnel { ends: [one, other], keeps, version, bundles } = tunnel;
            let arrow = match keeps {
                [true, true] => "<>",
                [true, false] => "->",
                _ => "<-",
            };
            let ike = match (version, bundles) {
                (_, true) => " of IKEv1 with AH around ESP",
                (IkeVersion::V1, false) => " of IKEv1",
                _ => "",
            };
            let (name, one, other) = (tunnel_name(number), host_name(*one), host_name(*other));
            write!(f, "{name} {one}{arrow}{other}{ike}, ")?;
        }
        let Weather { loss_percent, duplicate_percent, delay_max, .. } = self.background;
        write!(
            f,
            "{} children, loss {loss_percent} %, twice {duplicate_percent} %",
            self.children
        )?;
        write!(f, ", delay to {delay_max:?}, liveness {:?}", self.dpd_delay)?;
        let flags = [
            (self.short_lives, "short lives"),
            (self.cookies, "cookies"),
            (self.few_half_open, "few half-open"),
            (self.other_group_first, "another group first"),
            (self.child_key_exchange, "key exchange for children"),
            (self.small_fragments, "small fragments"),
            (self.turbo, "shared ESP packets"),
        ];
        flags.iter().filter(|(set, _)| *set).try_for_each(|(_, name)| write!(f, ", {name}"))?;
        self.extras.fmt(f)
    }
}

/// Each host with the hub, and sometimes two others with each other.
fn draw_tunnels(rng: &mut SeededRng, hosts: &[HostPlan]) -> Vec<Tunnel> {
    let mut tunnels = Vec::new();
    for (host, plan) in hosts.iter().enumerate().skip(1) {
        // Nobody can initiate towards a host whose address is not known.
        let keeps = match rng.below(3) {
            0 if !plan.nat && !plan.roams => [true, false],
            1 if !plan.nat && !plan.roams => [true, true],
            _ => [false, true],
        };
        tunnels.push(Tunnel { keeps, ..Tunnel::between(0, host) });
    }
    if let [_, one, two, ..] = hosts
        && !two.nat
        && !two.roams
        && rng.percent(30)
    {
        let both = !one.nat && !one.roams && rng.percent(50);
        tunnels.push(Tunnel { keeps: [true, both], ..Tunnel::between(1, 2) });
    }
    tunnels
}

/// Which tunnels are of IKEv1. With a secret main mode knows its peer by the address alone (RFC 2409 §5.4),
/// so that each host may have one peer of that kind whose address nobody knows.
fn draw_versions(rng: &mut SeededRng, hosts: &[HostPlan], percent: u64, tunnels: &mut [Tunnel]) {
    let mut strangers = BTreeSet::new();
    for tunnel in tunnels {
        let is_known = |end: &usize| hosts.get(*end).is_some_and(|plan| !plan.nat && !plan.roams);
        let [one, other] = tunnel.ends;
        let mut hears = Vec::new();
        hears.extend((!is_known(&other)).then_some(one));
        hears.extend((!is_known(&one)).then_some(other));
        if rng.percent(percent) && hears.iter().all(|host| !strangers.contains(host)) {
            tunnel.version = IkeVersion::V1;
            strangers.extend(hears);
        }
    }
}

/// Which tunnels of IKEv1 have bundles: AH covers the addresses, so that it passes no NAT.
fn draw_bundles(rng: &mut SeededRng, hosts: &[HostPlan], percent: u64, tunnels: &mut [Tunnel]) {
    for tunnel in tunnels.iter_mut().filter(|tunnel| tunnel.version == IkeVersion::V1) {
        let is_behind_nat = |end: &usize| hosts.get(*end).is_some_and(|plan| plan.nat);
        tunnel.bundles = rng.percent(percent) && !tunnel.ends.iter().any(is_behind_nat);
    }
}

/// Some weather, at most so bad.
pub(super) fn draw_weather(rng: &mut SeededRng, worst: Weather) -> Weather {
    let mut percent = |max: u8| u8::try_from(rng.below(u64::from(max) + 1)).unwrap_or(max);
    let loss_percent = percent(worst.loss_percent);
    let duplicate_percent = percent(worst.duplicate_percent);
    let spoilt_percent = percent(worst.spoilt_percent);
    let delay_ms = u64::try_from(worst.delay_max.as_millis()).unwrap_or(u64::MAX);
    let delay_max = Duration::from_millis(5 + rng.below(delay_ms.saturating_sub(4)));
    Weather { loss_percent, duplicate_percent, spoilt_percent, delay_max, ..worst }
}

/// The address of a host at its n-th place, behind the NAT if it has one.
pub(super) fn inside(host: usize, place: u8) -> IpAddr {
    Ipv4Addr::new(198, 18, octet(host), 1 + place).into()
}

/// The address of the NAT of a host at its n-th place.
pub(super) fn outside(host: usize, place: u8) -> IpAddr {
    Ipv4Addr::new(203, 0, 113, octet(host) * 60 + 1 + place % 60).into()
}

/// An address in the network of a child; child [`CHILDREN_MAX`] stands for what is not protected.
pub(super) fn inner_address(host: usize, tunnel: usize, child: usize, last: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, octet(host), octet(tunnel * 8 + child), last)
}

pub(super) fn host_name(host: usize) -> &'static str {
    ["hub", "oslo", "bonn", "kiel"].get(host).copied().unwrap_or("nobody")
}

pub(super) fn tunnel_name(tunnel: usize) -> String {
    format!("tunnel-{tunnel}")
}

pub(super) fn child_name(child: usize) -> String {
    format!("net-{child}")
}

fn octet(number: usize) -> u8 {
    u8::try_from(number).unwrap_or(u8::MAX)
}

fn ike(text: &str) -> Vec<ProposalSpec> {
    ProposalSpec::ike_list(text).expect("a legal proposal")
}

fn esp(text: &str) -> Vec<ProposalSpec> {
    ProposalSpec::esp_list(text).expect("a legal proposal")
}
