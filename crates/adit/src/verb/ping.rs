//! `adit ping`: echo requests through a tunnel, and where they are lost.

use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use adit_mgmt::api::{SCHEMA, TunnelState, TunnelStatus};
use adit_sys::clock;
use adit_sys::netlink::Netlink;
use adit_sys::ping::{Pinger, Refusal};
use serde::Serialize;

use crate::args::Ping;
use crate::daemon::Daemon;
use crate::doctor::longest_uncut;
use crate::echo::network::{enter, longest_packet, pinger, why};
use crate::echo::size::Sizes;
use crate::echo::way::Way;
use crate::echo::{self, Flow, Lost, Statistics, contains, ms, refusal};
use crate::error::{Error, Exit};
use crate::screen::{Screen, Style};
use crate::table::fact;
use crate::verb::act::known_tunnel;
use crate::words::{clean, grouped};

/// For `--json`.
#[derive(Debug, Serialize)]
struct Report {
    schema: u32,
    tunnel: String,
    address: IpAddr,
    payload_octets: u16,
    sent: u64,
    answered: u64,
    loss_percent: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    min_ms: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mean_ms: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_ms: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    jitter_ms: Option<f64>,
    /// What the tunnel's SAs counted meanwhile, other traffic included.
    #[serde(flatten)]
    flow: Flow,
    #[serde(skip_serializing_if = "Option::is_none")]
    lost: Option<Lost>,
    #[serde(skip_serializing_if = "Option::is_none")]
    refused: Option<Refused>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mtu: Option<Sizes>,
}

/// Who has said by ICMP that requests do not arrive.
#[derive(Clone, Copy, Debug, Serialize)]
struct Refused {
    address: IpAddr,
    /// Type and code.
    icmp: (u8, u8),
    #[serde(skip)]
    what: Refusal,
}

impl Refused {
    fn new(what: Refusal) -> Self {
        Self { address: what.from, icmp: (what.icmp.kind, what.icmp.code), what }
    }

    fn words(&self, to: IpAddr) -> String {
        refusal::words(self.address, self.what.icmp, to)
    }
}

/// `adit ping`.
pub(crate) fn run(args: &Ping, vici: &Path, screen: &mut Screen) -> Result<Exit, Error> {
    let mut pace = Pace::new(args)?;
    let mut daemon = Daemon::connect(vici)?;
    let tunnel = known_tunnel(&mut daemon, &args.name)?;
    let to = whom(args, &tunnel)?;
    enter(&daemon)?;
    is_behind(args, &tunnel, to, &mut daemon)?;
    let mut pinger = pinger(to)?;
    if !args.json {
        let name = screen.paint.with(Style::Bold, &clean(&args.name)).into_owned();
        screen.line(&format!("{name}  {to}, {} octets", args.size))?;
    }
    let before = Flow::of(&args.name, &daemon.sad()?);
    let (statistics, refused) = requests(args, to, &mut pinger, &mut pace, screen)?;
    let flow = Flow::of(&args.name, &daemon.sad()?).since(before);
    let mtu = match args.mtu && statistics.answered() > 0 {
        true => sizes(&mut pinger, to, &statistics)?,
        false => None,
    };
    let report = report(args, to, &statistics, refused, flow, mtu);
    if args.json {
        screen.json(&report)?
    } else {
        print(&report, screen)?
    }
    let good = report.lost.is_none() && mtu.is_none_or(|mtu| mtu.lost.is_none());
    Ok(if good { Exit::Good } else { Exit::Problem })
}

/// Sends the requests, and shows what comes of each; in a safe flood only of those without an answer.
fn requests(
    args: &Ping,
    to: IpAddr,
    pinger: &mut Pinger,
    pace: &mut Pace,
    screen: &mut Screen,
) -> Result<(Statistics, Option<Refused>), Error> {
    let (mut statistics, mut refused) = (Statistics::default(), None);
    for number in 1..=args.count {
        let started = clock::now();
        let answer =
            pinger.round_trip(args.size.into(), PATIENCE).map_err(|error| error.to_string());
        let time = answer.as_ref().ok().copied().flatten();
        statistics.take(time);
        let refusal = pinger.take_refusal().map(Refused::new);
        refused = refusal.or(refused);
        let is_shown = time.is_none() || !args.flood_safe;
        if !args.json && is_shown {
            let refusal = refusal.map(|refusal| refusal.words(to));
            screen.line(&line(number, &answer, refusal.as_deref()))?;
        }
        if number < args.count {
            let took = clock::now().saturating_duration_since(started);
            std::thread::sleep(pace.pause(time, took));
        }
    }
    Ok((statistics, refused))
}

/// The address that was given, or the first one behind the peer.
fn whom(args: &Ping, tunnel: &TunnelStatus) -> Result<IpAddr, Error> {
    if !matches!(tunnel.state, TunnelState::Up | TunnelState::Sick) {
        return Err(match &tunnel.problem {
            Some(problem) => problem.clone().into(),
            None => Error::Refused(format!("{0} is not up; `adit up {0}` tries it", args.name)),
        });
    }
    let inside = || {
        echo::inside(tunnel).ok_or_else(|| {
            let hint = "its networks name no host that may be pinged";
            Error::Usage(format!("whom? {hint}: adit ping {} ADDRESS", args.name))
        })
    };
    args.address.map_or_else(inside, Ok)
}

/// Whoever asks for an address that another tunnel or none is for would take silence for a fault of
/// this one.
fn is_behind(
    args: &Ping,
    tunnel: &TunnelStatus,
    to: IpAddr,
    daemon: &mut Daemon,
) -> Result<(), Error> {
    let networks: Vec<&str> =
        tunnel.children.iter().flat_map(|child| &child.remote).map(String::as_str).collect();
    if networks.is_empty() || networks.iter().any(|network| contains(network, to)) {
        return Ok(());
    }
    // SAs may be for single flows: policies know more.
    let route = Netlink::open()?.lookup_route(to, None, 0).ok();
    let from = route.and_then(|route| route.source);
    let found = from.map(|from| why(daemon, from, to)).transpose()?;
    let other = found.and_then(|why| why.tunnel).map(|tunnel| tunnel.name);
    if other.as_deref() == Some(args.name.as_str()) {
        return Ok(());
    }
    Err(not_behind(&args.name, &networks, (from, to), other.as_deref()))
}

fn not_behind(
    name: &str,
    networks: &[&str],
    (from, to): (Option<IpAddr>, IpAddr),
    other: Option<&str>,
) -> Error {
    let from = from.map_or_else(|| "SRC".to_owned(), |from| from.to_string());
    let hint = match other {
        Some(other) => format!("tunnel {other} is for it: adit ping {other} {to}"),
        None => format!("`adit why {from} {to}` says what happens to packets to it"),
    };
    Error::Usage(format!("{to} is not behind {name}, which is for {}: {hint}", networks.join(", ")))
}

/// How fast requests follow each other.
struct Pace {
    interval: Duration,
    /// With `--flood-safe`: what is waited beside the round trip.
    adaptive: Option<Duration>,
}

impl Pace {
    fn new(args: &Ping) -> Result<Self, Error> {
        let interval = Duration::try_from_secs_f64(args.interval).unwrap_or_default();
        if !args.flood_safe && interval < INTERVAL_MIN {
            return Err(Error::Usage(format!(
                "--interval {} would flood: 0.1 is the least; --flood-safe goes as fast as the way allows",
                args.interval
            )));
        }
        Ok(Self { interval, adaptive: args.flood_safe.then_some(PAUSE_MIN) })
    }

    /// How long to wait after a request that took so long, from sending to answer or to the end of
    /// patience.
    fn pause(&mut self, answer: Option<Duration>, took: Duration) -> Duration {
        let Some(pause) = &mut self.adaptive else {
            return self.interval.saturating_sub(took);
        };
        // Half of the time the way is empty; after a loss it gets more of it each time.
        *pause = match answer {
            Some(time) => time.clamp(PAUSE_MIN, PAUSE_MAX),
            None => (*pause * 2).clamp(PAUSE_AFTER_LOSS, PAUSE_MAX),
        };
        *pause
    }
}

fn line(number: u16, answer: &Result<Option<Duration>, String>, refusal: Option<&str>) -> String {
    let words = match answer {
        Ok(Some(time)) => format!("{:.2} ms", ms(*time)),
        Ok(None) => match refusal {
            Some(refusal) => format!("no answer: {}", clean(refusal)),
            None => "no answer".to_owned(),
        },
        Err(error) => format!("not sent: {}", clean(error)),
    };
    format!("{number:>5}  {words}")
}

fn sizes(pinger: &mut Pinger, to: IpAddr, known: &Statistics) -> Result<Option<Sizes>, Error> {
    let whole = longest_packet(&mut Netlink::open()?, to);
    let longest = known.round_trips.iter().max().copied().unwrap_or_default();
    let patience = (longest * 3 + SIZE_PATIENCE_MIN).min(PATIENCE);
    let Some(whole) = whole.map(|octets| octets.min(u32::from(u16::MAX))) else { return Ok(None) };
    longest_uncut(pinger, to, whole, patience).map(Some)
}

fn report(
    args: &Ping,
    to: IpAddr,
    statistics: &Statistics,
    refused: Option<Refused>,
    flow: Flow,
    mtu: Option<Sizes>,
) -> Report {
    let range = statistics.range_ms();
    Report {
        schema: SCHEMA,
        tunnel: args.name.clone(),
        address: to,
        payload_octets: args.size,
        sent: statistics.sent,
        answered: statistics.answered(),
        loss_percent: statistics.loss_percent(),
        min_ms: range.map(|(min, _)| min),
        mean_ms: statistics.mean_ms(),
        max_ms: range.map(|(_, max)| max),
        jitter_ms: statistics.jitter_ms(),
        flow,
        lost: Lost::judge(statistics.sent, statistics.answered(), flow, refused.is_some()),
        refused,
        mtu,
    }
}

fn print(report: &Report, screen: &mut Screen) -> Result<(), Error> {
    let mut facts = vec![(
        "answered",
        format!("{} of {}, {:.0} % lost", report.answered, report.sent, report.loss_percent),
    )];
    if let (Some(min), Some(mean), Some(max)) = (report.min_ms, report.mean_ms, report.max_ms) {
        let jitter = report.jitter_ms.map(|jitter| format!(", jitter {jitter:.2}"));
        let jitter = jitter.unwrap_or_default();
        facts.push(("time", format!("{min:.2} ms min, {mean:.2} mean, {max:.2} max{jitter}")));
    }
    let sent = if report.flow.packets_out == 1 { "packet" } else { "packets" };
    facts.push(("there", format!("{} {sent} sent on the SA", grouped(report.flow.packets_out))));
    let came = if report.flow.packets_in == 1 { "packet" } else { "packets" };
    facts.push(("back", format!("{} {came} received on the SA", grouped(report.flow.packets_in))));
    facts.extend(report.lost.map(|lost| ("lost", lost_words(lost, report))));
    facts.extend(report.mtu.map(|mtu| ("mtu", mtu_words(mtu))));
    let paint = screen.paint;
    let lines: Vec<String> =
        facts.iter().map(|(label, value)| fact(paint, label, &clean(value)) + "\n").collect();
    screen.text(&lines.concat())
}

/// Where requests were lost: who says so knows best.
fn lost_words(lost: Lost, report: &Report) -> String {
    match (lost, &report.refused) {
        (Lost::Refused, Some(refused)) => refused.words(report.address),
        _ => lost.text().replace("NAME", &report.tunnel),
    }
}

/// `1,218 of 1,400 octets pass both ways uncut; 1,219 vanish without a word`.
fn mtu_words(mtu: Sizes) -> String {
    let passes = format!(
        "{} of {} octets pass both ways uncut",
        grouped(mtu.largest.into()),
        grouped(mtu.whole.into())
    );
    match mtu.lost {
        Some(lost) => {
            let way = Way::words(mtu.lost_on);
            format!("{passes}; {} vanish without a word{way}", grouped(lost.into()))
        }
        None if mtu.told => format!("{passes}; senders of longer ones are told"),
        None => passes,
    }
}

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(1);
/// Ten requests in a second are no flood.
const INTERVAL_MIN: Duration = Duration::from_millis(100);
const PAUSE_MIN: Duration = Duration::from_millis(1);
const PAUSE_AFTER_LOSS: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(1);
const SIZE_PATIENCE_MIN: Duration = Duration::from_millis(150);

#[cfg(test)]
mod tests {
    use adit_wire::ip::Icmp;

    use super::*;

    fn args() -> Ping {
        Ping {
            name: "berlin".into(),
            address: None,
            count: 4,
            size: 56,
            interval: 1.0,
            flood_safe: false,
            mtu: false,
            json: false,
        }
    }

    #[test]
    fn what_would_flood_is_refused() {
        let fast = Pace::new(&Ping { interval: 0.01, ..args() }).err().unwrap().to_string();
        assert!(fast.contains("would flood"), "{fast}");
        assert!(Pace::new(&Ping { interval: -1.0, ..args() }).is_err());
        assert!(Pace::new(&Ping { interval: f64::NAN, ..args() }).is_err());
        assert!(Pace::new(&Ping { interval: 0.1, ..args() }).is_ok());
    }

    #[test]
    fn a_safe_flood_slows_down_after_losses() {
        let mut pace = Pace::new(&Ping { flood_safe: true, ..args() }).unwrap();
        let time = Duration::from_millis(30);
        assert_eq!(pace.pause(Some(time), time), time);
        assert_eq!(pace.pause(None, PATIENCE), PAUSE_AFTER_LOSS);
        assert_eq!(pace.pause(None, PATIENCE), PAUSE_AFTER_LOSS * 2);
        let slow: Vec<_> = (0..5).map(|_| pace.pause(None, PATIENCE)).collect();
        assert_eq!(slow.last(), Some(&PAUSE_MAX));
    }

    #[test]
    fn a_tunnel_that_is_down_says_why_instead() {
        let down = TunnelStatus { name: "berlin".into(), ..TunnelStatus::default() };
        let said = whom(&args(), &down).err().unwrap().to_string();
        assert_eq!(said, "berlin is not up; `adit up berlin` tries it");
        let up = TunnelStatus { state: TunnelState::Up, ..down };
        assert!(matches!(whom(&args(), &up), Err(Error::Usage(_))));
        let given = Ping { address: Some([10, 2, 0, 7].into()), ..args() };
        assert_eq!(whom(&given, &up).unwrap(), IpAddr::from([10, 2, 0, 7]));
    }

    #[test]
    fn the_longest_packet_is_told_in_words() {
        let mtu = Sizes { largest: 1_218, whole: 1_400, lost: Some(1_219), ..Sizes::default() };
        let words = "1,218 of 1,400 octets pass both ways uncut; 1,219 vanish without a word";
        assert_eq!(mtu_words(mtu), words);
        let there = Sizes { lost_on: Some(Way::There), ..mtu };
        assert_eq!(mtu_words(there), format!("{words} on the way there"));
    }

    #[test]
    fn an_address_of_another_tunnel_is_told() {
        let to = IpAddr::from([10, 3, 0, 7]);
        let said = |other| not_behind("berlin", &["10.2.0.0/24"], (None, to), other).to_string();
        assert_eq!(
            said(Some("oslo")),
            "10.3.0.7 is not behind berlin, which is for 10.2.0.0/24: tunnel oslo is for it: \
             adit ping oslo 10.3.0.7"
        );
        assert!(said(None).contains("`adit why SRC 10.3.0.7`"));
    }

    #[test]
    fn who_says_that_requests_do_not_arrive_is_quoted() {
        let what = Refusal { from: [10, 2, 0, 1].into(), icmp: Icmp { kind: 3, code: 1 } };
        let (to, flow) = (IpAddr::from([10, 2, 0, 77]), Flow { packets_out: 4, packets_in: 4 });
        let refused = Some(Refused::new(what));
        let statistics = Statistics { sent: 4, ..Statistics::default() };
        let report = report(&args(), to, &statistics, refused, flow, None);
        let words = "10.2.0.1 finds no host with the address 10.2.0.77 (ICMP 3/1)";
        assert_eq!(lost_words(report.lost.unwrap(), &report), words);
        assert_eq!(line(7, &Ok(None), Some(words)), format!("    7  no answer: {words}"));
        let json = serde_json::to_value(&report).unwrap();
        assert_eq!(json["lost"], "refused");
        assert_eq!(json["refused"]["address"], "10.2.0.1");
        assert_eq!(json["refused"]["icmp"], serde_json::json!([3, 1]));
    }
}
