//! `adit why-lifetime`: when a tunnel's SAs are renewed and end, and what each number comes from.

use std::path::Path;

use adit_mgmt::api::{self, LifetimeReport, LimitStatus, SaLifetimes};
use adit_mgmt::vici::Request;

use crate::args::WhyLifetime;
use crate::daemon::Daemon;
use crate::error::{Error, Exit};
use crate::screen::{Paint, Screen, Style};
use crate::table::{Cell, Table};
use crate::verb::act::known_tunnel;
use crate::words::{clean, grouped, octets, seconds};

/// `adit why-lifetime`.
pub(crate) fn run(args: &WhyLifetime, vici: &Path, screen: &mut Screen) -> Result<Exit, Error> {
    let mut daemon = Daemon::connect(vici)?;
    let tunnel = known_tunnel(&mut daemon, &args.name)?.name;
    let answer = daemon.call(&Request::AditWhyLifetime { tunnel }, |_| Ok(()))?;
    let report: LifetimeReport = api::from_message(&answer)?;
    if args.json {
        screen.json(&report)?;
    } else {
        screen.text(&text(&report, screen.paint))?;
    }
    Ok(Exit::Good)
}

fn text(report: &LifetimeReport, paint: Paint) -> String {
    let name = clean(&report.tunnel);
    if report.sas.is_empty() {
        return format!("{name} has no SAs: `adit status {name}` says how it stands\n");
    }
    let mut table = Table::new(&["SA", "LIMIT", "AT", "LEFT", "", "FROM"]);
    for sa in &report.sas {
        for (index, limit) in sa.limits.iter().enumerate() {
            // Each SA is named once.
            let sa = if index == 0 { Cell::styled(Style::Bold, of(sa)) } else { Cell::new("") };
            table.row(vec![
                sa,
                Cell::new(limit.limit.clone()),
                Cell::new(amount(limit, limit.amount)),
                Cell::new(amount(limit, limit.left)),
                if limit.first { Cell::styled(Style::Good, "first") } else { Cell::new("") },
                Cell::new(from(limit)),
            ]);
        }
    }
    table.render(paint)
}

/// `IKE 3`, `ESP net 7`.
fn of(sa: &SaLifetimes) -> String {
    let child = sa.child.as_ref().map(|child| format!("{} ", clean(child))).unwrap_or_default();
    format!("{} {child}{}", clean(&sa.protocol), sa.id)
}

fn amount(limit: &LimitStatus, amount: Option<u64>) -> String {
    match (amount, limit.unit.as_str()) {
        (None, _) => "-".to_owned(),
        (Some(amount), "octets") => octets(amount),
        (Some(amount), "packets") => format!("{} packets", grouped(amount)),
        (Some(amount), _) => seconds(amount),
    }
}

fn from(limit: &LimitStatus) -> String {
    let place = limit.place.as_ref().map(|place| format!(" ({})", clean(place)));
    format!("{}{}", clean(&limit.origin), place.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limit(limit: &str, unit: &str, left: Option<u64>, origin: &str) -> LimitStatus {
        LimitStatus {
            limit: limit.to_owned(),
            unit: unit.to_owned(),
            amount: left.map(|left| left + 600),
            left,
            origin: origin.to_owned(),
            ..LimitStatus::default()
        }
    }

    #[test]
    fn each_number_says_what_it_comes_from() {
        let first = |limit: LimitStatus| LimitStatus { first: true, ..limit };
        let rekey = limit("rekey", "seconds", Some(12_500), "ike_rekey: 14400 s");
        let certificate = "the peer's certificate CN=moon is valid until 2026-12-01 09:00 UTC";
        let ike = vec![
            first(LimitStatus { place: Some("/etc/adit/berlin.toml:7".to_owned()), ..rekey }),
            limit("reauthenticate", "seconds", None, "nothing ends authentication"),
            first(limit("authentication", "seconds", Some(90), certificate)),
        ];
        let child = vec![
            first(limit("rekey", "seconds", Some(2_700), "default: 3600 s, less 300 of up to 360")),
            first(limit("rekey", "octets", Some(3 << 30), "rekey_bytes by VICI, or its default")),
            limit("end", "packets", Some(1_000_000), "life_packets by VICI, or its default"),
        ];
        let sa = |protocol: &str, child: Option<&str>, id, limits| SaLifetimes {
            protocol: protocol.to_owned(),
            child: child.map(str::to_owned),
            id,
            state: "INSTALLED".to_owned(),
            age_s: 600,
            limits,
        };
        let report = LifetimeReport {
            tunnel: "berlin".to_owned(),
            sas: vec![sa("IKE", None, 3, ike), sa("ESP", Some("net"), 12, child)],
            ..LifetimeReport::default()
        };
        insta::assert_snapshot!(text(&report, Paint::PLAIN), @"
        SA          LIMIT           AT                 LEFT                      FROM
        IKE 3       rekey           3 h                3 h                first  ike_rekey: 14400 s (/etc/adit/berlin.toml:7)
                    reauthenticate  -                  -                         nothing ends authentication
                    authentication  11 min             90 s               first  the peer's certificate CN=moon is valid until 2026-12-01 09:00 UTC
        ESP net 12  rekey           55 min             45 min             first  default: 3600 s, less 300 of up to 360
                    rekey           3.0 GiB            3.0 GiB            first  rekey_bytes by VICI, or its default
                    end             1,000,600 packets  1,000,000 packets         life_packets by VICI, or its default
        ");
        let empty = LifetimeReport { sas: Vec::new(), ..report };
        insta::assert_snapshot!(text(&empty, Paint::PLAIN), @"berlin has no SAs: `adit status berlin` says how it stands");
    }
}
