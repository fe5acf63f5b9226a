//! The show: clear octets before, the tunnel, pings, a transfer, ESP after.

use std::time::Duration;

use adit_sys::ping::PingReport;

use crate::demo::lab::{WIRE_BERLIN, WIRE_OSLO};
use crate::demo::news::{Line, Mood, News, Report, Show};
use crate::demo::place::Site;
use crate::demo::stage::{Attempt, Stage};
use crate::demo::traffic::{self, PAGE, REQUEST};
use crate::demo::wire::{Tap, readable_octets};
use crate::error::Error;
use crate::words::{duration, grouped};

/// The two wires that onlookers see.
struct Wires {
    oslo: Tap,
    berlin: Tap,
}

/// Shows everything and fills the report; what a part that fails has left out stays empty there.
pub(crate) fn show(
    stage: &mut Stage,
    order: &Show,
    report: &mut Report,
    line: &mut Line,
) -> Result<(), Error> {
    let wires = Wires {
        oslo: Tap::start(&stage.lab.internet, WIRE_OSLO, order.capture.as_deref())?,
        berlin: Tap::start(&stage.lab.internet, WIRE_BERLIN, None)?,
    };
    show_clear(stage, &wires, line)?;
    let place = stage.place.path().display().to_string();
    line.fact("daemons", format!("two aditd, configured in {place}/{{oslo,berlin}}/tunnels/"))?;
    match stage.establish(line)? {
        Attempt::Up(took) => {
            report.established_ms = Some(rounded_ms(took));
            line.tell("tunnel", up_words(took), Mood::Good)?;
        }
        Attempt::Failed(diagnosis) => {
            let site = Site::Oslo;
            line.send(&News::Diagnosis { site, diagnosis: diagnosis.clone() })?;
            report.problem = Some(diagnosis);
            return Ok(());
        }
    }
    wires.settle();
    // What crossed the wire until now was before the tunnel.
    wires.oslo.take_counts();
    wires.berlin.take_counts();
    show_ping(stage, report, line)?;
    show_transfer(stage, order.bytes, report, line)?;
    let readable = show_protected(stage, &wires, line)?;
    finish(stage, wires, report, line)?;
    report.ok = report.ping_ok
        && report.checksum_ok
        && readable == 0
        && report.clear_bytes_seen_on_wire == 0
        && report.esp_packets > 0;
    Ok(())
}

impl Wires {
    /// Waits until the taps have read what was sent.
    fn settle(&self) {
        self.oslo.settle();
        self.berlin.settle();
    }

    /// The packets of one request for the secret page.
    fn ask(&self, stage: &Stage) -> Result<Vec<Vec<u8>>, Error> {
        self.settle();
        self.oslo.begin_samples();
        let asked = traffic::ask_secret(&stage.lab.oslo_host);
        self.settle();
        let packets = self.oslo.take_samples();
        asked.map(|_| packets)
    }
}

/// Before the tunnel: the request crosses the Internet as it is.
fn show_clear(stage: &Stage, wires: &Wires, line: &mut Line) -> Result<(), Error> {
    stage.lab.route_private_networks(true)?;
    let packets = wires.ask(stage)?;
    stage.lab.route_private_networks(false)?;
    let request = packets.iter().find(|packet| readable(packet) >= REQUEST.len());
    let Some(request) = request else {
        return Err(Error::Refused("the clear request was not seen on the wire".into()));
    };
    line.send(&News::Octets {
        label: "before".into(),
        text: "GET /secret from oslo-host to berlin-host, as anyone on the way reads it:".into(),
        octets: request.get(HEADERS_OCTETS..).unwrap_or_default().to_vec(),
        readable: packets.iter().map(|packet| readable(packet)).sum(),
    })
}

/// The same request through the tunnel. Returns how many octets of it can be read on the wire.
fn show_protected(stage: &Stage, wires: &Wires, line: &mut Line) -> Result<usize, Error> {
    let packets = wires.ask(stage)?;
    let readable = packets.iter().map(|packet| readable(packet)).sum();
    // The largest of Oslo's packets is the request; the others are TCP's own.
    let ours = packets.iter().filter(|packet| packet.get(12..16) == source(Site::Oslo).as_deref());
    let request = ours.max_by_key(|packet| packet.len());
    line.send(&News::Octets {
        label: "after".into(),
        text: "the same request through the tunnel, as anyone on the way sees it:".into(),
        octets: request.and_then(|packet| packet.get(IP_OCTETS..)).unwrap_or_default().to_vec(),
        readable,
    })?;
    Ok(readable)
}

fn source(site: Site) -> Option<Vec<u8>> {
    match site.gateway() {
        std::net::IpAddr::V4(v4) => Some(v4.octets().to_vec()),
        std::net::IpAddr::V6(_) => None,
    }
}

fn readable(packet: &[u8]) -> usize {
    readable_octets(packet, REQUEST.as_bytes()) + readable_octets(packet, PAGE.as_bytes())
}

fn show_ping(stage: &Stage, report: &mut Report, line: &mut Line) -> Result<(), Error> {
    let pings = stage.ping(PINGS, Duration::from_secs(1))?;
    report.ping_ok = pings.lost() == 0;
    report.ping_ms = pings.mean().map(rounded_ms);
    let mood = if report.ping_ok { Mood::Good } else { Mood::Bad };
    line.tell("ping", ping_words(&pings), mood)
}

/// Milliseconds to three digits after the point.
fn rounded_ms(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e3
}

/// The tunnel is up.
pub(crate) fn up_words(took: Duration) -> String {
    let took = match took.as_secs() {
        0 => format!("{:.1} ms", took.as_secs_f64() * 1e3),
        _ => duration(took),
    };
    format!("oslo <-> berlin UP in {took}")
}

/// What came of pings, in words.
pub(crate) fn ping_words(pings: &PingReport) -> String {
    let mut words = format!("{} of {} answered", pings.received(), pings.sent);
    if let Some(mean) = pings.mean() {
        words.push_str(&format!(", {:.2} ms on average", mean.as_secs_f64() * 1e3));
    }
    words + "     oslo-host -> berlin-host"
}

fn show_transfer(
    stage: &Stage,
    bytes: u64,
    report: &mut Report,
    line: &mut Line,
) -> Result<(), Error> {
    let mut tell = |done| line.send(&News::Amount { done, total: bytes });
    let transfer = traffic::fetch_bulk(&stage.lab.oslo_host, bytes, &mut tell)?;
    report.tcp_bytes = transfer.octets;
    report.checksum_ok = transfer.equal;
    report.tcp_mbit_s = Some((transfer.mbit_s() * 10.0).round() / 10.0);
    let verdict = if transfer.equal { "every octet as it was sent" } else { "OCTETS DIFFER" };
    let words = format!(
        "{} octets over TCP in {}, {:.0} Mbit/s, {verdict}",
        grouped(transfer.octets),
        duration(transfer.took),
        transfer.mbit_s()
    );
    let mood = if transfer.equal { Mood::Good } else { Mood::Bad };
    line.tell("transfer", words, mood)
}

/// Counts what was seen and asks for the suites.
fn finish(
    stage: &mut Stage,
    wires: Wires,
    report: &mut Report,
    line: &mut Line,
) -> Result<(), Error> {
    let (oslo, lost_oslo) = wires.oslo.stop()?;
    let (berlin, lost_berlin) = wires.berlin.stop()?;
    report.esp_packets = oslo.esp_packets;
    report.clear_bytes_seen_on_wire = oslo.clear_octets + berlin.clear_octets;
    report.capture_lost = lost_oslo + lost_berlin;
    let status = stage.oslo.connect()?.status()?;
    if let Some(tunnel) = status.tunnels.first() {
        report.ike_suite.clone_from(&tunnel.ike_suite);
        report.esp_suite = tunnel.children.first().and_then(|child| child.suite.clone());
    }
    let clear = report.clear_bytes_seen_on_wire;
    let lost = match report.capture_lost {
        0 => String::new(),
        lost => format!(" (and {} frames that the capture missed)", grouped(lost)),
    };
    let words = format!(
        "{} ESP packets, {} octets in clear since the tunnel is up{lost}",
        grouped(report.esp_packets),
        grouped(clear)
    );
    line.tell("wire", words, if clear == 0 { Mood::Good } else { Mood::Bad })?;
    let suite = |suite: &Option<String>| suite.clone().unwrap_or_else(|| "?".to_owned());
    let (ike, esp) = (suite(&report.ike_suite), suite(&report.esp_suite));
    line.fact("suites", format!("IKE  {ike}\nESP  {esp}, in user space"))
}

const PINGS: u16 = 5;
const IP_OCTETS: usize = 20;
/// IPv4 and TCP with time stamps, in front of the request.
const HEADERS_OCTETS: usize = 52;
