//! `adit ping`: echo requests through a tunnel, and where they are lost.

use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use adit_mgmt::api::{SCHEMA, TunnelState, TunnelStatus};
use adit_sys::clock;
use adit_sys::netlink::Netlink;
use adit_sys::ping::Pinger;
use serde::Serialize;

use crate::args::Ping;
use crate::daemon::Daemon;
use crate::doctor::longest_uncut;
use crate::echo::network::{enter, longest_packet, pinger};
use crate::echo::size::Sizes;
use crate::echo::{self, Flow, Lost, Statistics, ms};
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
    mtu: Option<Sizes>,
}

/// `adit ping`.
pub(crate) fn run(args: &Ping, vici: &Path, screen: &mut Screen) -> Result<Exit, Error> {
    let mut pace = Pace::new(args)?;
    let mut daemon = Daemon::connect(vici)?;
    let tunnel = known_tunnel(&mut daemon, &args.name)?;
    let to = whom(args, &tunnel)?;
    enter(&daemon)?;
    let mut pinger = pinger(to)?;
    if !args.json {
        let name = screen.paint.with(Style::Bold, &clean(&args.name)).into_owned();
        screen.line(&format!("{name}  {to}, {} octets", args.size))?;
    }
    let before = Flow::of(&args.name, &daemon.sad()?);
    let mut statistics = Statistics::default();
    for number in 1..=args.count {
        let started = clock::now();
        let answer = match pinger.round_trip(args.size.into(), PATIENCE) {
            Ok(time) => Ok(time),
            Err(error) => Err(error.to_string()),
        };
        let time = answer.as_ref().ok().copied().flatten();
        statistics.take(time);
        if !args.json {
            screen.line(&line(number, &answer))?;
        }
        if number < args.count {
            let took = clock::now().saturating_duration_since(started);
            std::thread::sleep(pace.pause(time, took));
        }
    }
    let flow = Flow::of(&args.name, &daemon.sad()?).since(before);
    let mtu = match args.mtu && statistics.answered() > 0 {
        true => sizes(&mut pinger, to, &statistics)?,
        false => None,
    };
    let report = report(args, to, &statistics, flow, mtu);
    if args.json {
        screen.json(&report)?
    } else {
        print(&report, screen)?
    }
    let good = report.lost.is_none() && mtu.is_none_or(|mtu| mtu.lost.is_none());
    Ok(if good { Exit::Good } else { Exit::Problem })
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

fn line(number: u16, answer: &Result<Option<Duration>, String>) -> String {
    let words = match answer {
        Ok(Some(time)) => format!("{:.2} ms", ms(*time)),
        Ok(None) => "no answer".to_owned(),
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
        lost: Lost::judge(statistics.sent, statistics.answered(), flow),
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
    facts.extend(report.lost.map(|lost| ("lost", lost.text().replace("NAME", &report.tunnel))));
    facts.extend(report.mtu.map(|mtu| ("mtu", mtu_words(mtu))));
    let paint = screen.paint;
    let lines: Vec<String> =
        facts.iter().map(|(label, value)| fact(paint, label, &clean(value)) + "\n").collect();
    screen.text(&lines.concat())
}

/// `1,218 of 1,400 octets pass both ways uncut; 1,219 vanish without a word`.
fn mtu_words(mtu: Sizes) -> String {
    let passes = format!(
        "{} of {} octets pass both ways uncut",
        grouped(mtu.largest.into()),
        grouped(mtu.whole.into())
    );
    match mtu.lost {
        Some(lost) => format!("{passes}; {} vanish without a word", grouped(lost.into())),
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
        let mtu = Sizes { largest: 1_218, whole: 1_400, lost: Some(1_219), told: false };
        assert_eq!(
            mtu_words(mtu),
            "1,218 of 1,400 octets pass both ways uncut; 1,219 vanish without a word"
        );
    }
}
