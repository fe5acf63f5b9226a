//! `adit trace`: who is on the path through the tunnels, hop by hop.

mod hop;
mod listing;

use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use adit_mgmt::api::{self, Fate, SCHEMA, SaStatus, Status, Why};
use adit_mgmt::vici::Request;
use adit_sys::SysError;
use adit_sys::netlink::Netlink;
use adit_sys::trace::{Probe, Tracer};
use adit_wire::iana::IpProtocol;
use adit_wire::ip::FlowKey;
use serde::Serialize;

use self::hop::{Hop, Place};
use self::listing::Listing;
use crate::args::{ProbeKind, Trace};
use crate::daemon::Daemon;
use crate::echo::network::enter;
use crate::error::{Error, Exit};
use crate::screen::{Paint, Screen, Style};
use crate::words::{clean, grouped};

/// For `--json`.
#[derive(Debug, Serialize)]
struct Report {
    schema: u32,
    source: IpAddr,
    destination: IpAddr,
    probe: &'static str,
    max_hops: u8,
    /// The tunnels that packets go through, the innermost first; none if they go in clear.
    tunnels: Vec<Through>,
    hops: Vec<Hop>,
    /// Whether the destination has answered.
    reached: bool,
}

/// A tunnel on the path.
#[derive(Debug, Serialize)]
struct Through {
    tunnel: String,
    /// SPI of the packets that we send, eight hex digits.
    spi_out: String,
    /// Outer address of the far gateway.
    peer: String,
    /// Longest outer packet, octets, and who says so.
    #[serde(skip_serializing_if = "Option::is_none")]
    path_mtu: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    path_mtu_source: Option<String>,
    /// Longest inner packet, octets.
    #[serde(skip_serializing_if = "Option::is_none")]
    mtu: Option<u32>,
    /// What the far gateway speaks for.
    #[serde(skip)]
    remote: Vec<String>,
}

/// `adit trace`.
pub(crate) fn run(args: &Trace, vici: &Path, screen: &mut Screen) -> Result<Exit, Error> {
    let (given, destination) = ends(&args.addresses)?;
    let mut daemon = Daemon::connect(vici)?;
    enter(&daemon)?;
    let source = match given {
        Some(source) => source,
        None => own_address(destination)?,
    };
    let tunnels = way(&mut daemon, args, source, destination)?;
    let mut tracer = Tracer::open(source, destination, probe(args))
        .map_err(|error| not_opened(error, source, destination))?;
    let mut report = Report {
        schema: SCHEMA,
        source,
        destination,
        probe: args.probe.word(),
        max_hops: args.max_hops,
        tunnels,
        hops: Vec::new(),
        reached: false,
    };
    if !args.json {
        screen.text(&beginning(&report, screen.paint))?;
    }
    follow(args, &mut tracer, &mut report, screen)?;
    if args.json {
        screen.json(&report)?;
    } else if !report.reached {
        screen.line(&ending(&report))?;
    }
    Ok(if report.reached { Exit::Good } else { Exit::Problem })
}

/// Why nothing can be sent from an address.
fn not_opened(error: SysError, source: IpAddr, destination: IpAddr) -> Error {
    if !matches!(error, SysError::AddressMissing { .. }) {
        return error.into();
    }
    let own = own_address(destination);
    let here = own.map_or_else(|_| "here".to_owned(), |own| own.to_string());
    Error::Usage(format!(
        "{source} is not an address of this gateway, which alone can send from it: leave it out to trace \
         from {here}, or trace on the host that has it"
    ))
}

/// From where, if that is said, and to where.
fn ends(addresses: &[IpAddr]) -> Result<(Option<IpAddr>, IpAddr), Error> {
    match *addresses {
        [to] => Ok((None, to)),
        [from, to] if from.is_ipv4() == to.is_ipv4() => Ok((Some(from), to)),
        [from, to] => Err(Error::Usage(format!(
            "{from} and {to} are not of the same address family: write two addresses of IPv4 or two of IPv6"
        ))),
        _ => Err(Error::Usage("to which address? adit trace [FROM] TO".to_owned())),
    }
}

/// The address that the routes take for packets to there: an inside one of ours, if a tunnel does.
fn own_address(to: IpAddr) -> Result<IpAddr, Error> {
    let route = Netlink::open()?.lookup_route(to, None, 0)?;
    route.source.ok_or_else(|| {
        Error::Usage(format!(
            "the routes name no address of ours for packets to {to}: adit trace FROM {to}"
        ))
    })
}

fn probe(args: &Trace) -> Probe {
    match args.probe {
        ProbeKind::Icmp => Probe::Icmp,
        ProbeKind::Udp => Probe::Udp(args.port.unwrap_or(UDP_PORT)),
        ProbeKind::Tcp => Probe::Tcp(args.port.unwrap_or(TCP_PORT)),
    }
}

/// What the packets look like to policies.
fn flow(args: &Trace, from: IpAddr, to: IpAddr) -> FlowKey {
    let (protocol, ports) = match (probe(args), from.is_ipv4()) {
        // RFC 7296 §3.13.1: type and code in the place of ports.
        (Probe::Icmp, true) => (IpProtocol::ICMP, (8 << 8, 8 << 8)),
        (Probe::Icmp, false) => (IpProtocol::ICMPV6, (128 << 8, 128 << 8)),
        (Probe::Udp(port), _) => (IpProtocol::UDP, (EPHEMERAL, port)),
        (Probe::Tcp(port), _) => (IpProtocol::TCP, (EPHEMERAL, port)),
    };
    FlowKey::new(from, to, protocol.0, ports.0, ports.1)
}

/// The tunnels that would carry the packets; an error says why none does that should.
fn way(daemon: &mut Daemon, args: &Trace, from: IpAddr, to: IpAddr) -> Result<Vec<Through>, Error> {
    let request = Request::AditWhy {
        flow: flow(args, from, to),
        dscp: adit_db::Dscp::default(),
        interface: None,
    };
    let why: Why = api::from_message(&daemon.call(&request, |_| Ok(()))?)?;
    if !matches!(why.fate, Fate::Protected | Fate::Bypassed | Fate::Outside) {
        let fate = why.fate.to_string().to_lowercase();
        return Err(why.problem.map_or_else(
            || {
                Error::Refused(format!(
                    "packets from {from} to {to} are {fate}: `adit why {from} {to}` says by which policy"
                ))
            },
            Error::from,
        ));
    }
    let status = daemon.status()?;
    Ok(why.sa.iter().chain(&why.over).map(|sa| Through::of(sa, &status)).collect())
}

impl Through {
    fn of(sa: &SaStatus, status: &Status) -> Self {
        let tunnel = status.tunnels.iter().find(|tunnel| tunnel.name == sa.tunnel);
        Self {
            tunnel: sa.tunnel.clone(),
            spi_out: sa.spi_out.clone(),
            peer: sa.outer_remote.clone(),
            path_mtu: tunnel.and_then(|tunnel| tunnel.path_mtu),
            path_mtu_source: tunnel.and_then(|tunnel| tunnel.path_mtu_source.clone()),
            mtu: tunnel.and_then(|tunnel| tunnel.mtu),
            remote: sa.remote.clone(),
        }
    }

    /// `berlin  SA c1a2b3c4 to 203.0.113.7, path MTU 1,500 (link), inside 1,422`.
    fn words(&self, paint: Paint) -> String {
        let mut words = format!("SA {} to {}", clean(&self.spi_out), clean(&self.peer));
        if let Some(path_mtu) = self.path_mtu {
            words += &format!(", path MTU {}", grouped(path_mtu.into()));
            if let Some(source) = &self.path_mtu_source {
                words += &format!(" ({})", clean(source));
            }
        }
        if let Some(mtu) = self.mtu {
            words += &format!(", {} inside", grouped(mtu.into()));
        }
        format!("{}  {words}", paint.with(Style::Bold, &clean(&self.tunnel)))
    }
}

/// What is known before the first packet.
fn beginning(report: &Report, paint: Paint) -> String {
    let Report { source, destination, probe, max_hops, tunnels, .. } = report;
    let ends = format!("{source} -> {destination}");
    let ends = paint.with(Style::Bold, &ends);
    let mut out = format!("trace  {ends}, {probe}, at most {max_hops} hops\n");
    out += &hop::row("0", &source.to_string(), "this gateway", paint);
    for (depth, tunnel) in tunnels.iter().enumerate() {
        let word = if depth == 0 { "tunnel" } else { "over" };
        out += &format!("       {word:<6} {}\n", tunnel.words(paint));
    }
    if tunnels.is_empty() {
        out += "       no tunnel: packets go in clear\n";
    }
    out
}

/// Sends packets with one hop left, two, and so on, and shows each answer when it comes.
fn follow(
    args: &Trace,
    tracer: &mut Tracer,
    report: &mut Report,
    screen: &mut Screen,
) -> Result<(), Error> {
    let mut listing = Listing::new(!args.json && screen.terminal, screen.paint);
    let mut was_silent = false;
    for number in 1..=args.max_hops {
        let mut hop = Hop::new(number);
        // Behind one that is silent there is often nobody: one packet tells.
        let count = if was_silent { 1 } else { args.count };
        for _ in 0..count {
            let heard = tracer.ask(number, PATIENCE).map_err(Error::io(format!(
                "a packet was not sent (`adit why {} {}` shows its way)",
                report.source, report.destination
            )))?;
            hop.take(heard);
            hop.place = Place::of(&hop, &report.tunnels, report.destination);
            if let Some(text) = listing.under_way(&hop) {
                screen.text(&text)?;
            }
        }
        let text = listing.done(&hop);
        if !args.json {
            screen.text(&text)?;
        }
        was_silent = hop.is_silent();
        let (reached, is_end) = (hop.has_reached(), hop.is_end());
        report.hops.push(hop);
        if reached || is_end {
            report.reached = reached;
            break;
        }
    }
    if !args.json {
        screen.text(&listing.end())?;
    }
    Ok(())
}

/// What an operator may do about a path that does not end.
fn ending(report: &Report) -> String {
    let Report { source, destination, .. } = report;
    let last = report.hops.iter().rev().find(|hop| !hop.is_silent());
    match last {
        Some(hop) if hop.is_end() => hop.refusal(*destination).unwrap_or_default(),
        Some(hop) => format!(
            "{destination} did not answer; the last that did is hop {}: look behind that one, or try \
             --probe udp or tcp",
            hop.number
        ),
        None => format!(
            "nobody answered: `adit doctor` tries the tunnel, `adit why {source} {destination}` shows the way"
        ),
    }
}

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(1);
/// Where traceroute begins, and nobody listens.
const UDP_PORT: u16 = 33_434;
/// What firewalls let pass most often.
const TCP_PORT: u16 = 443;
/// A port that clients take when they do not care (RFC 6335 §6).
const EPHEMERAL: u16 = 49_152;

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn one_address_is_where_to() {
        let (from, to) = (address("10.1.0.1"), address("10.2.0.1"));
        assert_eq!(ends(&[to]).unwrap(), (None, to));
        assert_eq!(ends(&[from, to]).unwrap(), (Some(from), to));
        let mixed = ends(&[from, address("fd02::1")]).unwrap_err().to_string();
        assert!(mixed.contains("not of the same address family"), "{mixed}");
    }

    #[test]
    fn the_beginning_names_each_tunnel() {
        let tunnel = |name: &str, path_mtu| Through {
            tunnel: name.into(),
            spi_out: "c1a2b3c4".into(),
            peer: "203.0.113.7".into(),
            path_mtu,
            path_mtu_source: Some("link".into()),
            mtu: path_mtu.map(|mtu| mtu - 78),
            remote: Vec::new(),
        };
        let mut report = Report {
            schema: SCHEMA,
            source: address("10.1.0.1"),
            destination: address("10.2.0.20"),
            probe: "icmp",
            max_hops: 30,
            tunnels: vec![tunnel("berlin", Some(1_500)), tunnel("outer", None)],
            hops: Vec::new(),
            reached: false,
        };
        insta::assert_snapshot!(beginning(&report, Paint::PLAIN), @r"
        trace  10.1.0.1 -> 10.2.0.20, icmp, at most 30 hops
           0  10.1.0.1                 this gateway
               tunnel berlin  SA c1a2b3c4 to 203.0.113.7, path MTU 1,500 (link), 1,422 inside
               over   outer  SA c1a2b3c4 to 203.0.113.7
        ");
        assert!(ending(&report).contains("adit why 10.1.0.1 10.2.0.20"));
        report.tunnels.clear();
        assert!(beginning(&report, Paint::PLAIN).contains("in clear"));
    }
}
