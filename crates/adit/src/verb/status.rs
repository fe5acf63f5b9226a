//! `adit status`: the tunnels as the daemon sees them.

use std::path::Path;
use std::time::Duration;

use adit_mgmt::Severity;
use adit_mgmt::api::{
    AccessStatus, ChildStatus, DaemonStatus, EngineReport, OuterStatus, Source, Status as Report,
    TunnelState, TunnelStatus,
};

use crate::args::Status;
use crate::daemon::Daemon;
use crate::error::{Error, Exit};
use crate::screen::{Paint, Screen, Style};
use crate::table::{Cell, Table, fact};
use crate::verb::act::{find_tunnel, known_tunnel};
use crate::verb::describe::severity_style;
use crate::verb::drops::Drops;
use crate::verb::engine;
use crate::words::{clean, count, duration, grouped, octets, seconds};

/// `adit status`.
pub(crate) fn run(args: &Status, vici: &Path, screen: &mut Screen) -> Result<Exit, Error> {
    if !args.watch && args.engine {
        let report = Daemon::connect(vici)?.engine()?;
        print_engine(args, &report, screen)?;
        return Ok(Exit::Good);
    }
    if !args.watch && args.drops {
        let report = Daemon::connect(vici).and_then(|mut daemon| known_drops(args, &mut daemon))?;
        print_drops(args, &report, screen)?;
        return Ok(Exit::Good);
    }
    if !args.watch {
        let status = Daemon::connect(vici)?.status()?;
        let problems = problems(&status);
        print(args, status, screen)?;
        return Ok(if problems == 0 { Exit::Good } else { Exit::Problem });
    }
    loop {
        // A daemon that is restarted comes back here, so the connection is made anew.
        let shown = Daemon::connect(vici).and_then(|mut daemon| Picture::take(args, &mut daemon));
        clear(args, screen)?;
        match shown {
            Ok(Picture::Tunnels(status)) => print(args, status, screen)?,
            Ok(Picture::Drops(report)) => print_drops(args, &report, screen)?,
            Ok(Picture::Engine(report)) => print_engine(args, &report, screen)?,
            Err(Error::Diagnosed(diagnosis)) if !args.json => screen.diagnosis(&diagnosis)?,
            Err(error) => crate::screen::explain(&error, args.json, screen),
        }
        std::thread::sleep(WATCH_INTERVAL);
    }
}

/// What `--watch` shows.
enum Picture {
    Tunnels(Report),
    Drops(Drops),
    Engine(Box<EngineReport>),
}

impl Picture {
    fn take(args: &Status, daemon: &mut Daemon) -> Result<Self, Error> {
        if args.engine {
            daemon.engine().map(|report| Self::Engine(Box::new(report)))
        } else if args.drops {
            known_drops(args, daemon).map(Self::Drops)
        } else {
            daemon.status().map(Self::Tunnels)
        }
    }
}

fn print_engine(args: &Status, report: &EngineReport, screen: &mut Screen) -> Result<(), Error> {
    if args.json { screen.json(report) } else { screen.text(&engine::text(report, screen.paint)) }
}

/// What was dropped, of all tunnels or of one that there must be.
fn known_drops(args: &Status, daemon: &mut Daemon) -> Result<Drops, Error> {
    if let Some(name) = &args.name {
        known_tunnel(daemon, name)?;
    }
    Ok(Drops::of(&daemon.sad()?, args.name.as_deref()))
}

fn print_drops(args: &Status, drops: &Drops, screen: &mut Screen) -> Result<(), Error> {
    if args.json { screen.json(drops) } else { screen.text(&drops.text(screen.paint)) }
}

/// From one picture to the next.
const WATCH_INTERVAL: Duration = Duration::from_secs(1);

/// Makes room for the next picture of `--watch`.
fn clear(args: &Status, screen: &mut Screen) -> Result<(), Error> {
    match (args.json, screen.terminal) {
        (true, _) => Ok(()),
        // Cursor home, then clear to the end: no flicker.
        (false, true) => screen.text("\x1b[H\x1b[J"),
        (false, false) => screen.line(""),
    }
}

fn print(args: &Status, status: Report, screen: &mut Screen) -> Result<(), Error> {
    match (&args.name, args.json) {
        (None, true) => screen.json(&status),
        (None, false) => screen.text(&overview(&status, screen.paint)),
        (Some(name), true) => {
            let (schema, daemon) = (status.schema, status.daemon.clone());
            let tunnels = vec![find_tunnel(status, name)?];
            screen.json(&Report { schema, daemon, tunnels })
        }
        (Some(name), false) => {
            let tunnel = find_tunnel(status, name)?;
            screen.text(&details(&tunnel, screen.paint))
        }
    }
}

/// Errors, of tunnels and of the host.
pub(crate) fn problems(status: &Report) -> usize {
    let of_tunnels = status.tunnels.iter().filter_map(|tunnel| tunnel.problem.as_ref());
    let all = of_tunnels.chain(&status.daemon.problems);
    all.filter(|problem| problem.severity == Severity::Error).count()
}

/// The table with one row for each tunnel, and what is wrong.
pub(crate) fn overview(status: &Report, paint: Paint) -> String {
    if status.tunnels.is_empty() {
        return format!(
            "no tunnels: put one into /etc/adit/tunnels/NAME.toml, or try `adit demo`\n{}",
            host_problems(&status.daemon, paint)
        );
    }
    let mut table =
        Table::new(&["TUNNEL", "STATE", "PEER", "SINCE", "IN / OUT", "LAST PKT", "NEXT", ""]);
    for tunnel in &status.tunnels {
        table.row(row(tunnel));
    }
    let mut out = table.render(paint);
    out.push_str(&host_problems(&status.daemon, paint));
    out.push_str(&summary(status, paint));
    out
}

fn row(tunnel: &TunnelStatus) -> Vec<Cell> {
    let flow = format!("{} / {}", octets(tunnel.octets_in), octets(tunnel.octets_out));
    let silent = tunnel.octets_in == 0 && tunnel.octets_out == 0 && tunnel.peer_address.is_none();
    let problem = tunnel.problem.as_ref().map(|problem| {
        let words = format!("{} {}", problem.code, clean(&problem.sentence));
        Cell::styled(severity_style(problem.severity), words)
    });
    vec![
        Cell::styled(Style::Bold, clean(&tunnel.name)),
        Cell::styled(state_style(tunnel.state), tunnel.state.to_string()),
        Cell::new(peer(tunnel)),
        tunnel.since_s.map(seconds).into(),
        if silent { Cell::new("-") } else { Cell::new(flow) },
        tunnel.last_packet_ms.map(|ms| duration(Duration::from_millis(ms))).into(),
        next(tunnel).into(),
        problem.unwrap_or_default(),
    ]
}

/// The peer's address without the port that every peer has.
fn peer(tunnel: &TunnelStatus) -> String {
    let Some(address) = &tunnel.peer_address else {
        return clean(&tunnel.peer);
    };
    let host = address.rsplit_once(':').map_or(address.as_str(), |(host, _)| host);
    host.trim_matches(['[', ']']).to_owned()
}

fn next(tunnel: &TunnelStatus) -> Option<String> {
    let retry = tunnel.retry_in_s.map(|left| format!("retry {}", seconds(left)));
    retry.or_else(|| tunnel.rekey_in_s.map(|left| format!("rekey {}", seconds(left))))
}

pub(crate) fn state_style(state: TunnelState) -> Style {
    match state {
        TunnelState::Up => Style::Good,
        TunnelState::Sick | TunnelState::Connecting => Style::Warning,
        TunnelState::Down => Style::Bad,
        TunnelState::Idle => Style::Dim,
    }
}

/// What is wrong with the host, one line each.
fn host_problems(daemon: &DaemonStatus, paint: Paint) -> String {
    let line = |problem: &adit_mgmt::Diagnosis| {
        let head = format!("{}[{}]", problem.severity, problem.code);
        let head = paint.with(severity_style(problem.severity), &head).into_owned();
        format!("{head}: {}\n", clean(&problem.sentence))
    };
    daemon.problems.iter().map(line).collect()
}

fn summary(status: &Report, paint: Paint) -> String {
    let wrong = problems(status);
    if wrong == 0 {
        return String::new();
    }
    let mut out = paint.with(Style::Bad, &count(wrong, "problem")).into_owned() + ".";
    let named = status.tunnels.iter().filter(|tunnel| tunnel.problem.is_some());
    for tunnel in named.take(SUGGESTIONS_MAX) {
        out.push_str(&format!("  adit status {}", clean(&tunnel.name)));
    }
    out + "\n"
}

/// Tunnels named below the table.
const SUGGESTIONS_MAX: usize = 4;

/// Everything that is known about one tunnel.
pub(crate) fn details(tunnel: &TunnelStatus, paint: Paint) -> String {
    let state = paint.with(state_style(tunnel.state), &tunnel.state.to_string()).into_owned();
    let since = tunnel.since_s.map_or_else(String::new, |s| format!(" for {}", seconds(s)));
    let name = paint.with(Style::Bold, &clean(&tunnel.name)).into_owned();
    let mut lines = vec![format!("{name}  {state}{since}")];
    let mut add = |label: &str, value: Option<String>| {
        lines.extend(value.map(|value| fact(paint, label, &value)));
    };
    let software = tunnel.peer_software.as_ref().map(|name| format!("   ({})", clean(name)));
    let address = tunnel.peer_address.as_ref().unwrap_or(&tunnel.peer);
    add("peer", Some(format!("{}{}", clean(address), software.unwrap_or_default())));
    add("also at", (!tunnel.peer_addresses.is_empty()).then(|| also_at(tunnel)));
    add("mobike", tunnel.mobike.then(|| "the tunnel stays when an address changes".to_owned()));
    add("over", tunnel.over.as_ref().map(|over| format!("tunnel {}", clean(over))));
    add("we are", tunnel.local_id.as_deref().map(clean));
    add("peer is", tunnel.remote_id.as_deref().map(clean));
    for (label, value) in tunnel.access.iter().flat_map(access_words) {
        add(label, Some(value));
    }
    let source = match tunnel.source {
        Source::File => "configuration file",
        Source::Vici => "loaded by VICI (swanctl)",
    };
    add("keep", Some(format!("{}   ({source})", tunnel.keep)));
    add("ike", tunnel.ike_suite.clone());
    let packets =
        |packets, octets_count| format!("{}, {}", count_packets(packets), octets(octets_count));
    add("received", Some(packets(tunnel.packets_in, tunnel.octets_in)));
    add("sent", Some(packets(tunnel.packets_out, tunnel.octets_out)));
    add("last pkt", tunnel.last_packet_ms.map(|ms| duration(Duration::from_millis(ms)) + " ago"));
    add("mtu", mtu_words(tunnel));
    add("interface", tunnel.interface.as_deref().map(clean));
    add("next", next(tunnel));
    for child in &tunnel.children {
        add("traffic", Some(child_words(child)));
    }
    let mut out = lines.join("\n") + "\n";
    if let Some(problem) = &tunnel.problem {
        out.push('\n');
        out.push_str(&problem.render(paint.colour));
    }
    out
}

/// What fits inside, and what the path takes outside as far as that is known.
fn mtu_words(tunnel: &TunnelStatus) -> Option<String> {
    let path = tunnel.path_mtu.map(|path| match &tunnel.path_mtu_source {
        Some(source) => format!("path {path}, {}", clean(source)),
        None => format!("path {path}"),
    });
    match (tunnel.mtu, path) {
        (Some(mtu), Some(path)) => Some(format!("{mtu}   ({path})")),
        (Some(mtu), None) => Some(mtu.to_string()),
        (None, Some(path)) => Some(format!("any   ({path})")),
        (None, None) => None,
    }
}

/// Users and addresses inside. What the peer says is shown and nothing more.
fn access_words(access: &AccessStatus) -> Vec<(&'static str, String)> {
    let list =
        |words: &[String]| words.iter().map(|word| clean(word)).collect::<Vec<_>>().join(", ");
    let rows = [
        ("inside", list(&access.addresses)),
        ("dns", list(&access.dns)),
        ("domain", access.domain.as_deref().map(clean).unwrap_or_default()),
        ("split", list(&access.split)),
        ("banner", access.banner.as_deref().map(clean).unwrap_or_default()),
        ("clients", list(&access.clients)),
    ];
    rows.into_iter().filter(|(_, value)| !value.is_empty()).collect()
}

/// Where else the peer is, as it says.
fn also_at(tunnel: &TunnelStatus) -> String {
    let addresses: Vec<String> = tunnel.peer_addresses.iter().map(|one| clean(one)).collect();
    addresses.join(", ")
}

fn child_words(child: &ChildStatus) -> String {
    let mut lines = vec![format!("{} <-> {}", child.local.join(", "), child.remote.join(", "))];
    lines.extend(child.class.as_ref().map(|class| format!("only DSCP {}", clean(class))));
    let protocol = if child.protocol.is_empty() { "ESP" } else { &child.protocol };
    let how = match (child.udp, child.tcp) {
        (_, true) => format!("{protocol} in TCP"),
        (true, false) => format!("{protocol} in UDP"),
        (false, false) => protocol.to_owned(),
    };
    if let (true, Some(suite)) = (child.up, &child.suite) {
        let mode = if child.mode == "transport" { ", transport mode" } else { "" };
        let shared = if child.aggfrag { ", aggfrag" } else { "" };
        lines.push(format!("{how}{mode}{shared}, {suite}"));
    }
    if let (Some(spi_in), Some(spi_out)) = (&child.spi_in, &child.spi_out) {
        lines.push(format!("SPI {spi_in} in, {spi_out} out"));
    }
    lines.extend(child.outer.as_ref().map(outer_words));
    for (reason, packets) in &child.drops {
        lines.push(format!("dropped {} ({reason})", count_packets(*packets)));
    }
    lines.join("\n")
}

/// AH around ESP.
fn outer_words(outer: &OuterStatus) -> String {
    let [suite, spi_in, spi_out] =
        [&outer.suite, &outer.spi_in, &outer.spi_out].map(|it| clean(it));
    format!("AH outside, {suite}\nSPI {spi_in} in, {spi_out} out")
}

fn count_packets(packets: u64) -> String {
    let plural = if packets == 1 { "" } else { "s" };
    format!("{} packet{plural}", grouped(packets))
}

#[cfg(test)]
mod tests {
    use adit_mgmt::api::SCHEMA;
    use adit_mgmt::{Code, Diagnosis};

    use super::*;

    fn berlin() -> TunnelStatus {
        TunnelStatus {
            name: "berlin".into(),
            state: TunnelState::Up,
            keep: "up".into(),
            peer: "gw.berlin.example".into(),
            peer_address: Some("203.0.113.7:4500".into()),
            peer_software: Some("strongSwan".into()),
            local_id: Some("gw.oslo.example".into()),
            remote_id: Some("gw.berlin.example".into()),
            since_s: Some(5 * 3_600),
            octets_in: 1_288_490_188,
            packets_in: 1_200_345,
            octets_out: 400 << 20,
            packets_out: 1,
            last_packet_ms: Some(200),
            mtu: Some(1_400),
            path_mtu: Some(1_492),
            path_mtu_source: Some("icmp".to_owned()),
            ike_suite: Some("aes256gcm16-prfsha384-x25519-ke1_mlkem768".into()),
            rekey_in_s: Some(41 * 60),
            children: vec![ChildStatus {
                name: "berlin".into(),
                up: true,
                class: None,
                local: vec!["10.1.0.0/24".into()],
                remote: vec!["10.2.0.0/24".into(), "fd02::/48".into()],
                suite: Some("aes256gcm16-esn".into()),
                protocol: "ESP".into(),
                outer: None,
                udp: true,
                tcp: false,
                mode: "tunnel".into(),
                aggfrag: true,
                spi_in: Some("c0ffee01".into()),
                spi_out: Some("c0ffee02".into()),
                drops: vec![("replayed".into(), 3)],
            }],
            ..TunnelStatus::default()
        }
    }

    #[test]
    fn a_bundle_shows_both_sas() {
        let mut child = berlin().children.remove(0);
        (child.protocol, child.udp, child.aggfrag) = ("AH+ESP".to_owned(), false, false);
        child.outer = Some(OuterStatus {
            spi_in: "c0ffee03".into(),
            spi_out: "c0ffee04".into(),
            suite: "sha256-noesn".into(),
        });
        let words = child_words(&child);
        assert!(
            words.contains("AH+ESP, aes256gcm16-esn\nSPI c0ffee01 in, c0ffee02 out\n"),
            "{words}"
        );
        assert!(
            words.contains("AH outside, sha256-noesn\nSPI c0ffee03 in, c0ffee04 out"),
            "{words}"
        );
    }

    fn lisbon() -> TunnelStatus {
        let problem = Diagnosis::new(Code::E203, "the peer rejects our login")
            .tunnel("lisbon")
            .line("peer said", "AUTHENTICATION_FAILED")
            .fix("compare the secrets");
        TunnelStatus {
            name: "lisbon".into(),
            state: TunnelState::Down,
            keep: "up".into(),
            peer: "192.0.2.77".into(),
            since_s: Some(12 * 60),
            retry_in_s: Some(24),
            problem: Some(problem),
            ..TunnelStatus::default()
        }
    }

    fn status(tunnels: Vec<TunnelStatus>) -> Report {
        Report { schema: SCHEMA, daemon: DaemonStatus::default(), tunnels }
    }

    #[test]
    fn the_table_shows_states_and_problems() {
        let mut status = status(vec![berlin(), lisbon()]);
        status.daemon.problems.push(Diagnosis::forwarding_off(&Default::default(), false));
        insta::assert_snapshot!(overview(&status, Paint::PLAIN), @r"
        TUNNEL  STATE  PEER         SINCE   IN / OUT           LAST PKT  NEXT
        berlin  UP     203.0.113.7  5 h     1.1 GiB / 400 MiB  200 ms    rekey 41 min
        lisbon  DOWN   192.0.2.77   12 min  -                  -         retry 24 s    E203 the peer rejects our login
        warning[E505]: this host does not forward packets; only itself can use the tunnel
        1 problem.  adit status lisbon
        ");
    }

    #[test]
    fn no_tunnel_is_no_empty_table() {
        insta::assert_snapshot!(overview(&status(Vec::new()), Paint::PLAIN), @r"no tunnels: put one into /etc/adit/tunnels/NAME.toml, or try `adit demo`");
    }

    #[test]
    fn one_tunnel_is_shown_with_everything() {
        insta::assert_snapshot!(details(&berlin(), Paint::PLAIN), @r"
        berlin  UP for 5 h
          peer       203.0.113.7:4500   (strongSwan)
          we are     gw.oslo.example
          peer is    gw.berlin.example
          keep       up   (configuration file)
          ike        aes256gcm16-prfsha384-x25519-ke1_mlkem768
          received   1,200,345 packets, 1.1 GiB
          sent       1 packet, 400 MiB
          last pkt   200 ms ago
          mtu        1400   (path 1492, icmp)
          next       rekey 41 min
          traffic    10.1.0.0/24 <-> 10.2.0.0/24, fd02::/48
                     ESP in UDP, aggfrag, aes256gcm16-esn
                     SPI c0ffee01 in, c0ffee02 out
                     dropped 3 packets (replayed)
        ");
        insta::assert_snapshot!(details(&lisbon(), Paint::PLAIN), @r"
        lisbon  DOWN for 12 min
          peer       192.0.2.77
          keep       up   (configuration file)
          received   0 packets, 0
          sent       0 packets, 0
          next       retry 24 s

        error[E203]: lisbon: the peer rejects our login
          peer said      AUTHENTICATION_FAILED
          fix            compare the secrets
        ");
    }

    #[test]
    fn a_nested_tunnel_names_its_outer_one() {
        let tunnel = TunnelStatus { over: Some("paris".into()), ..berlin() };
        let said = details(&tunnel, Paint::PLAIN);
        assert!(said.contains("\n  over       tunnel paris\n"), "{said}");
        assert!(!details(&berlin(), Paint::PLAIN).contains("over"));
    }

    #[test]
    fn ipv6_peers_lose_their_port_too() {
        let tunnel = TunnelStatus { peer_address: Some("[2001:db8::7]:4500".into()), ..berlin() };
        assert_eq!(peer(&tunnel), "2001:db8::7");
    }
}
