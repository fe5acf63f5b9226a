//! `adit spd`, `adit sad`, `adit why`: the databases of RFC 4301, and what they do with a packet.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use adit_db::Dscp;
use adit_mgmt::api::{
    self, CompressionStatus, Fate, OuterStatus, PolicyAction, PolicyStatus, SaStatus, SadReport,
    SpdReport, TunnelStatus, Why as Answer,
};
use adit_mgmt::vici::Request;
use adit_wire::iana::IpProtocol;
use adit_wire::ip::FlowKey;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::args::{Json, Why};
use crate::daemon::Daemon;
use crate::error::{Error, Exit};
use crate::screen::{Paint, Screen, Style};
use crate::table::{Cell, Table, fact};
use crate::verb::status::state_style;
use crate::words::{clean, duration, grouped, octets, seconds};

/// `adit spd`.
pub(crate) fn spd(args: &Json, vici: &Path, screen: &mut Screen) -> Result<Exit, Error> {
    let report: SpdReport = ask(vici, &Request::AditSpd)?;
    let good = Exit::Good;
    show(&report, args.json, screen, |paint| spd_text(&report, paint)).map(|()| good)
}

/// `adit sad`.
pub(crate) fn sad(args: &Json, vici: &Path, screen: &mut Screen) -> Result<Exit, Error> {
    let report: SadReport = ask(vici, &Request::AditSad)?;
    let good = Exit::Good;
    show(&report, args.json, screen, |paint| sad_text(&report, paint)).map(|()| good)
}

/// `adit why`.
pub(crate) fn why(args: &Why, vici: &Path, screen: &mut Screen) -> Result<Exit, Error> {
    let flow = flow(args)?;
    let dscp = dscp(&args.dscp)?;
    let interface = args.interface.clone();
    let answer: Answer = ask(vici, &Request::AditWhy { flow, dscp, interface })?;
    show(&answer, args.json, screen, |paint| why_text(&answer, paint))?;
    Ok(match answer.fate {
        _ if !answer.reachable => Exit::Problem,
        Fate::Protected | Fate::Bypassed | Fate::Outside => Exit::Good,
        Fate::Discarded | Fate::Blocked | Fate::Waiting | Fate::Astray => Exit::Problem,
    })
}

fn ask<T: DeserializeOwned>(vici: &Path, request: &Request) -> Result<T, Error> {
    let answer = Daemon::connect(vici)?.call(request, |_| Ok(()))?;
    Ok(api::from_message(&answer)?)
}

fn show(
    value: &impl Serialize,
    json: bool,
    screen: &mut Screen,
    text: impl FnOnce(Paint) -> String,
) -> Result<(), Error> {
    if json { screen.json(value) } else { screen.text(&text(screen.paint)) }
}

/// The packet that is meant: with a port TCP, without one a ping, unless the protocol is said.
fn flow(args: &Why) -> Result<FlowKey, Error> {
    let (source, source_port) = end(&args.source)?;
    let (destination, destination_port) = end(&args.destination)?;
    if source.is_ipv4() != destination.is_ipv4() {
        let mixed = format!("{source} and {destination} are not of the same address family");
        return Err(Error::Usage(mixed));
    }
    let ping = if source.is_ipv4() { IpProtocol::ICMP } else { IpProtocol::ICMPV6 };
    let protocol = match (&args.protocol, destination_port.or(source_port)) {
        (Some(name), _) => protocol(name)?,
        (None, Some(_)) => IpProtocol::TCP,
        (None, None) => ping,
    };
    if protocol == ping {
        // RFC 7296 §3.13.1: type and code in the place of ports.
        let echo = if source.is_ipv4() { ECHO_V4 } else { ECHO_V6 };
        return Ok(FlowKey::new(source, destination, protocol.0, echo, echo));
    }
    let flow = match (source_port, destination_port) {
        (None, None) => FlowKey::without_ports(source, destination, protocol.0),
        (from, to) => {
            let from = from.unwrap_or(EPHEMERAL);
            FlowKey::new(source, destination, protocol.0, from, to.unwrap_or(EPHEMERAL))
        }
    };
    Ok(flow)
}

/// Echo request and code 0.
const ECHO_V4: u16 = 8 << 8;
const ECHO_V6: u16 = 128 << 8;
/// A port that clients take when they do not care (RFC 6335 §6).
const EPHEMERAL: u16 = 49_152;

/// `10.1.0.5`, `10.1.0.5:443`, `fd01::5`, `[fd01::5]:443`.
fn end(text: &str) -> Result<(IpAddr, Option<u16>), Error> {
    if let Ok(address) = text.trim_start_matches('[').trim_end_matches(']').parse() {
        return Ok((address, None));
    }
    match text.parse::<SocketAddr>() {
        Ok(end) => Ok((end.ip(), Some(end.port()))),
        Err(_) => Err(Error::Usage(format!(
            "{text:?} is no address and no ADDRESS:PORT; IPv6 with a port is [ADDRESS]:PORT"
        ))),
    }
}

fn dscp(name: &str) -> Result<Dscp, Error> {
    let known = Dscp::named(name).or_else(|| name.parse().ok().and_then(Dscp::new));
    known.ok_or_else(|| Error::Usage(format!("{name:?} is no DSCP's name, and not 0 to 63")))
}

fn protocol(name: &str) -> Result<IpProtocol, Error> {
    let known = IpProtocol::from_name(name).or_else(|| name.parse().ok().map(IpProtocol));
    known.ok_or_else(|| Error::Usage(format!("{name:?} is no protocol's name or number")))
}

fn spd_text(report: &SpdReport, paint: Paint) -> String {
    if report.entries.is_empty() {
        return "no policies: no tunnel is wanted, and nothing is routed here\n".to_owned();
    }
    let mut table = Table::new(&["", "ACTION", "LOCAL", "REMOTE", "FROM", "PARTS", "FILE"]);
    for entry in &report.entries {
        table.row(vec![
            Cell::new(entry.number.to_string()),
            Cell::styled(action_style(entry.action), entry.action.to_string()),
            Cell::new(side(&entry.local)),
            Cell::new(side(&entry.remote)),
            Cell::new(owner(entry)),
            parts(entry.parts),
            Cell::new(place(entry).unwrap_or_else(|| "-".to_owned())),
        ]);
    }
    let more = report.total.saturating_sub(report.entries.len());
    let more =
        if more > 0 { format!("and {} more\n", grouped(more as u64)) } else { String::new() };
    let kernel = if report.entries.iter().any(|entry| entry.by_kernel) {
        "Those of the kernel are asked by it, before a packet comes to us: see `ip xfrm policy`.\n"
    } else {
        ""
    };
    format!(
        "{}{more}The first that matches decides; what none matches is dropped.\n{kernel}",
        table.render(paint)
    )
}

fn parts(parts: Option<usize>) -> Cell {
    match parts {
        Some(0) => Cell::styled(Style::Warning, "none: no packet gets here"),
        Some(many) => Cell::new(many.to_string()),
        None => Cell::new("-"),
    }
}

fn action_style(action: PolicyAction) -> Style {
    match action {
        PolicyAction::Protect => Style::Good,
        PolicyAction::Bypass => Style::Warning,
        PolicyAction::Discard => Style::Bad,
    }
}

/// One side's selectors; both families whole are `any`.
fn side(texts: &[String]) -> String {
    if texts == ["0.0.0.0/0", "::/0"] { "any".to_owned() } else { texts.join(", ") }
}

/// Who wants a policy, `tunnel berlin`.
fn owner(entry: &PolicyStatus) -> String {
    let child = entry.child.as_ref().filter(|child| **child != entry.name);
    let child = child.map_or_else(String::new, |child| format!("/{}", clean(child)));
    let engine = engine(entry.by_kernel, entry.interface.as_deref(), entry.mark.as_deref());
    let pfp = if entry.pfp.is_empty() { String::new() } else { format!(", pfp {}", pfp(entry)) };
    let peer = entry.peer_id.as_ref();
    let peer = peer.map_or_else(String::new, |peer| format!(", peer {}", clean(peer)));
    format!("{} {}{child}{engine}{peer}{pfp}", entry.source, clean(&entry.name))
}

/// Which selectors SAs take from packets, `remote,protocol`.
fn pfp(entry: &PolicyStatus) -> String {
    entry.pfp.iter().map(|word| clean(word)).collect::<Vec<_>>().join(",")
}

/// ` (kernel)`, ` (kernel, interface vpn1)`, ` (interface vpn1)`; nothing for user space and its TUN.
fn engine(by_kernel: bool, interface: Option<&str>, mark: Option<&str>) -> String {
    let kernel = by_kernel.then(|| "kernel".to_owned());
    let interface = interface.map(|name| format!("interface {}", clean(name)));
    let mark = mark.map(|mark| format!("mark {}", clean(mark)));
    let words: Vec<String> = [kernel, interface, mark].into_iter().flatten().collect();
    if words.is_empty() { String::new() } else { format!(" ({})", words.join(", ")) }
}

/// Where it stands, `/etc/adit/tunnels/berlin.toml:6`.
fn place(entry: &PolicyStatus) -> Option<String> {
    let file = clean(entry.file.as_ref()?);
    Some(entry.line.map_or_else(|| file.clone(), |line| format!("{file}:{line}")))
}

fn sad_text(report: &SadReport, paint: Paint) -> String {
    if report.sas.is_empty() {
        return "no SAs: `adit status` says how the tunnels stand\n".to_owned();
    }
    let mut table = Table::new(&[
        "TUNNEL", "SPI IN", "SPI OUT", "PEER", "TRAFFIC", "IN", "OUT", "REKEY", "SUITE", "",
    ]);
    for sa in &report.sas {
        let flow = |packets: u64, all: u64| format!("{} ({})", grouped(packets), octets(all));
        table.row(vec![
            Cell::styled(Style::Bold, sa_owner(sa)),
            Cell::new(&sa.spi_in),
            Cell::new(&sa.spi_out),
            Cell::new(&sa.outer_remote),
            Cell::new(format!("{} <-> {}", side(&sa.local), side(&sa.remote))),
            Cell::new(flow(sa.packets_in, sa.octets_in)),
            Cell::new(flow(sa.packets_out, sa.octets_out)),
            sa.rekey_in_s.map(seconds).into(),
            Cell::new(
                sa.suite.clone()
                    + &engine(sa.by_kernel, sa.interface.as_deref(), sa.mark.as_deref()),
            ),
            Cell::styled(Style::Warning, drops(&sa.drops)),
        ]);
    }
    table.render(paint)
}

/// The tunnel of an SA: `berlin over paris`, `berlin (cs5, ef)` if it has only a class of its traffic.
fn sa_owner(sa: &SaStatus) -> String {
    let class = sa.class.as_ref().map(|class| format!(" ({})", clean(class)));
    format!("{}{}", clean(&tunnel_of(sa)), class.unwrap_or_default())
}

/// `berlin over paris`.
fn tunnel_of(sa: &SaStatus) -> String {
    let over = sa.over.as_ref().map(|over| format!(" over {over}"));
    format!("{}{}", sa.tunnel, over.unwrap_or_default())
}

/// `3 replayed, 1 too_old dropped`; nothing if nothing was.
fn drops(drops: &[(String, u64)]) -> String {
    let words: Vec<String> =
        drops.iter().map(|(reason, packets)| format!("{} {reason}", grouped(*packets))).collect();
    if words.is_empty() { String::new() } else { format!("{} dropped", words.join(", ")) }
}

fn why_text(answer: &Answer, paint: Paint) -> String {
    let mut out = format!(
        "{} -> {} {}  =>  {}{}\n\n",
        answer.source,
        answer.destination,
        answer.protocol,
        paint.with(fate_style(answer.fate), &answer.fate.to_string()),
        summary(answer),
    );
    let mut facts = vec![("route", route(answer)), ("policy", policy(answer))];
    facts.extend(answer.class.as_ref().map(|class| {
        ("class", format!("DSCP {} goes through {}", clean(&answer.dscp), clean(class)))
    }));
    facts.extend(answer.tunnel.as_ref().map(|tunnel| ("tunnel", tunnel_words(tunnel, paint))));
    if let Some(sa) = &answer.sa {
        facts.push(("sa", sa_words(sa)));
        facts.push(("packets", packets(sa)));
    }
    for sa in &answer.over {
        facts.push(("over", format!("tunnel {}\n{}", clean(&sa.tunnel), sa_words(sa))));
        facts.push(("packets", packets(sa)));
    }
    if answer.routed_here {
        let lost = drops(&answer.drops);
        let lost = if lost.is_empty() { "none of any kind so far".to_owned() } else { lost };
        facts.push(("drops", format!("whole host: {lost}")));
    }
    for (label, value) in facts {
        out.push_str(&fact(paint, label, &value));
        out.push('\n');
    }
    out.push('\n');
    match &answer.problem {
        Some(problem) => out.push_str(&problem.render(paint.colour)),
        None if !answer.reachable => {
            out.push_str("The kernel has no route for it, and drops it: see `ip route`.\n");
        }
        None => out.push_str("Nothing is wrong on this host.\n"),
    }
    out
}

fn fate_style(fate: Fate) -> Style {
    match fate {
        Fate::Protected => Style::Good,
        Fate::Bypassed | Fate::Outside => Style::Warning,
        Fate::Discarded | Fate::Blocked | Fate::Waiting | Fate::Astray => Style::Bad,
    }
}

/// The fate in words.
fn summary(answer: &Answer) -> String {
    let name = answer.policy.as_ref().map_or_else(String::new, |policy| clean(&policy.name));
    match answer.fate {
        Fate::Protected => {
            let over = answer.over.iter().map(|sa| format!(" over {}", clean(&sa.tunnel)));
            format!(" by tunnel {name}{}", over.collect::<String>())
        }
        Fate::Bypassed | Fate::Discarded => format!(" by policy {name}"),
        Fate::Blocked => ": no policy matches, so it is dropped".to_owned(),
        Fate::Waiting if answer.policy.as_ref().is_some_and(|policy| !policy.pfp.is_empty()) => {
            format!(": its first packet opens an SA of its own in tunnel {name}")
        }
        Fate::Waiting => format!(": tunnel {name} has no SA for it"),
        Fate::Astray => format!(": tunnel {name} should carry it, the kernel sends it elsewhere"),
        Fate::Outside => ": the kernel does not give it to us".to_owned(),
    }
}

fn route(answer: &Answer) -> String {
    let by_kernel = answer.policy.as_ref().is_some_and(|policy| policy.by_kernel);
    let here = match (answer.fate, answer.routed_here) {
        _ if by_kernel => "through the kernel's own IPsec",
        (Fate::Bypassed, _) => "into the tunnels' interface, then out in clear",
        (_, true) => "into the tunnels' interface",
        (_, false) => "past the tunnels' interface",
    };
    format!("{here}\n{}", clean(&answer.route))
}

fn policy(answer: &Answer) -> String {
    let Some(entry) = &answer.policy else {
        return match answer.policies {
            0 => "there is none".to_owned(),
            1 => "the only one does not match".to_owned(),
            many => format!("none of the {many} matches"),
        };
    };
    let earlier = entry.number.saturating_sub(1);
    let earlier = match earlier {
        0 => "the first one".to_owned(),
        1 => "the one before it does not match".to_owned(),
        many => format!("the {many} before it do not match"),
    };
    let place = place(entry).map_or_else(String::new, |place| format!("\n{place}"));
    let name = match &entry.peer_id {
        Some(peer) => format!("\nonly through SAs of a peer that has proven to be {}", clean(peer)),
        None => String::new(),
    };
    format!(
        "{} of {}: {} {} <-> {}\nfrom {}; {earlier}{name}{place}",
        entry.number,
        answer.policies,
        entry.action,
        side(&entry.local),
        side(&entry.remote),
        owner(entry),
    )
}

fn tunnel_words(tunnel: &TunnelStatus, paint: Paint) -> String {
    let state = tunnel.state.to_string();
    let mut words =
        vec![format!("{} {}", clean(&tunnel.name), paint.with(state_style(tunnel.state), &state))];
    words.extend(tunnel.since_s.map(|since| format!("for {}", seconds(since))));
    let peer = tunnel.peer_address.as_ref().unwrap_or(&tunnel.peer);
    words.push(format!("with {}", clean(peer)));
    let mut parts = vec![words.join(" ")];
    parts.extend(tunnel.rekey_in_s.map(|left| format!("rekey in {}", seconds(left))));
    parts.extend(tunnel.retry_in_s.map(|left| format!("next try in {}", seconds(left))));
    parts.join(", ")
}

fn sa_words(sa: &SaStatus) -> String {
    let how = match (sa.udp, sa.tcp) {
        (_, true) => format!("{} in TCP", sa.protocol),
        (true, false) => format!("{} in UDP", sa.protocol),
        (false, false) => sa.protocol.clone(),
    };
    let how = clean(&how);
    let by = if sa.by_kernel { " by the kernel" } else { "" };
    let shared = if sa.aggfrag { ", aggfrag" } else { "" };
    let sides = format!("{} <-> {}", sa.local.join(", "), sa.remote.join(", "));
    let around = sa.outer.as_ref().map(|outer| {
        let OuterStatus { spi_in, spi_out, suite } = outer;
        format!("\n{}", clean(&format!("AH outside: SPI {spi_out} out, {spi_in} in; {suite}")))
    });
    let around = around.unwrap_or_default();
    format!(
        "SPI {} out, {} in; {how}{by}{shared}, {}{around}\n{sides}",
        sa.spi_out, sa.spi_in, sa.suite
    )
}

fn packets(sa: &SaStatus) -> String {
    let one = |packets: u64, last: Option<u64>, way: &str| {
        let last = last.map(|ms| format!(", last {} ago", duration(Duration::from_millis(ms))));
        format!("{} {way}{}", grouped(packets), last.unwrap_or_default())
    };
    let lost = drops(&sa.drops);
    let lost = if lost.is_empty() { "none dropped".to_owned() } else { lost };
    let compressed = sa.compression.as_ref().map(compression).unwrap_or_default();
    format!(
        "{}; {}; {lost}{compressed}",
        one(sa.packets_out, sa.last_out_ms, "out"),
        one(sa.packets_in, sa.last_in_ms, "in"),
    )
}

/// How many packets were made smaller, and to how much of what they were.
fn compression(status: &CompressionStatus) -> String {
    let one = |packets: u64, plain: u64, less: u64, way: &str| {
        let percent = less.saturating_mul(100).checked_div(plain);
        let to = percent.map(|percent| format!(" to {percent} %")).unwrap_or_default();
        format!("{} {way}{to}", grouped(packets))
    };
    let s = status;
    format!(
        "\ncompressed {}; {}",
        one(s.packets_out, s.plain_octets_out, s.compressed_octets_out, "out"),
        one(s.packets_in, s.plain_octets_in, s.compressed_octets_in, "in"),
    )
}

#[cfg(test)]
mod tests;
