//! `adit status --drops`: which packets were dropped, for each SA and direction, and why.

use adit_mgmt::api::{SCHEMA, SadReport};
use adit_mgmt::drops as advice;
use serde::Serialize;

use crate::screen::{Paint, Style};
use crate::table::{Cell, Table};
use crate::words::{clean, grouped};

/// For `--json`.
#[derive(Debug, Serialize)]
pub(crate) struct Drops {
    schema: u32,
    drops: Vec<Drop>,
}

/// One reason.
#[derive(Debug, Serialize)]
struct Drop {
    /// Nothing if the packets belong to no SA that there is.
    #[serde(skip_serializing_if = "Option::is_none")]
    tunnel: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    spi: Option<String>,
    /// `in` or `out`.
    way: &'static str,
    reason: String,
    packets: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    meaning: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fix: Option<&'static str>,
}

impl Drops {
    /// Of all SAs, or of those of one tunnel; and what belongs to none.
    pub(crate) fn of(report: &SadReport, tunnel: Option<&str>) -> Self {
        let mut drops = Vec::new();
        let meant = |reason: &String| report.reasons.get(reason).cloned();
        for sa in report.sas.iter().filter(|sa| tunnel.is_none_or(|name| sa.tunnel == name)) {
            let ways = [("in", &sa.spi_in, &sa.drops_in), ("out", &sa.spi_out, &sa.drops_out)];
            for (way, spi, counted) in ways {
                drops.extend(counted.iter().map(|(reason, packets)| Drop {
                    tunnel: Some(sa.tunnel.clone()),
                    spi: Some(spi.clone()),
                    way,
                    reason: reason.clone(),
                    packets: *packets,
                    meaning: meant(reason),
                    fix: advice::fix(reason),
                }));
            }
        }
        for (way, all) in [("in", &report.drops_in), ("out", &report.drops_out)] {
            drops.extend(all.iter().filter_map(|(reason, packets)| {
                let packets = packets.saturating_sub(of_sas(report, way, reason));
                (packets > 0).then(|| Drop {
                    tunnel: None,
                    spi: None,
                    way,
                    reason: reason.clone(),
                    packets,
                    meaning: meant(reason),
                    fix: advice::fix(reason),
                })
            }));
        }
        Self { schema: SCHEMA, drops }
    }

    /// A table, and what helps below it, each reason once.
    pub(crate) fn text(&self, paint: Paint) -> String {
        if self.drops.is_empty() {
            return "no packet was dropped\n".to_owned();
        }
        let mut table = Table::new(&["TUNNEL", "SPI", "WAY", "PACKETS", "REASON", "MEANING"]);
        let mut fixes: Vec<(&str, &str)> = Vec::new();
        for drop in &self.drops {
            let fault = advice::is_fault(&drop.reason);
            table.row(vec![
                Cell::new(drop.tunnel.as_deref().map_or_else(|| "no SA".to_owned(), clean)),
                drop.spi.as_deref().map(clean).into(),
                Cell::new(drop.way),
                Cell::new(grouped(drop.packets)),
                Cell::styled(if fault { Style::Warning } else { Style::Dim }, clean(&drop.reason)),
                drop.meaning.as_deref().map(clean).into(),
            ]);
            if let Some(fix) = drop.fix
                && !fixes.contains(&(&drop.reason, fix))
            {
                fixes.push((&drop.reason, fix));
            }
        }
        let mut out = table.render(paint);
        if !fixes.is_empty() {
            out.push('\n');
        }
        for (reason, fix) in fixes {
            let label = paint.with(Style::Label, &format!("{reason:<FIX_COLUMNS$}")).into_owned();
            out.push_str(&format!("  {label} {fix}\n"));
        }
        out
    }
}

/// What the SAs that there are have counted of a reason.
fn of_sas(report: &SadReport, way: &str, reason: &str) -> u64 {
    let lists = report.sas.iter().map(|sa| if way == "in" { &sa.drops_in } else { &sa.drops_out });
    let fitting = lists.flatten().filter(|(name, _)| name == reason);
    fitting.fold(0, |sum, (_, packets)| sum.saturating_add(*packets))
}

/// Columns of the longest reason.
const FIX_COLUMNS: usize = 18;

#[cfg(test)]
mod tests {
    use adit_mgmt::api::SaStatus;

    use super::*;

    fn report() -> SadReport {
        let sa = |tunnel: &str, drops_in: Vec<(String, u64)>| SaStatus {
            tunnel: tunnel.into(),
            spi_in: "c0ffee01".into(),
            spi_out: "c0ffee02".into(),
            drops_in,
            drops_out: vec![("too_big".into(), 1)],
            ..SaStatus::default()
        };
        SadReport {
            schema: SCHEMA,
            sas: vec![sa("berlin", vec![("replayed".into(), 1_234)]), sa("paris", Vec::new())],
            drops_in: vec![("replayed".into(), 1_234), ("unknown_spi".into(), 7)],
            drops_out: vec![("too_big".into(), 2)],
            reasons: [
                ("replayed".to_owned(), "the sequence number was seen before".to_owned()),
                ("too_big".to_owned(), "too long for the link".to_owned()),
            ]
            .into(),
        }
    }

    #[test]
    fn each_way_of_each_sa_says_why() {
        insta::assert_snapshot!(Drops::of(&report(), Some("berlin")).text(Paint::PLAIN), @r"
        TUNNEL  SPI       WAY  PACKETS  REASON       MEANING
        berlin  c0ffee01  in   1,234    replayed     the sequence number was seen before
        berlin  c0ffee02  out  1        too_big      too long for the link
        no SA   -         in   7        unknown_spi  -

          replayed           packets come twice or far out of order: `replay_window` makes the window wider
          too_big            senders must hear of it: let ICMP type 3 code 4 and ICMPv6 type 2 through
          unknown_spi        the peer sends on an SA that ended here: `adit restart NAME` if it goes on
        ");
    }

    #[test]
    fn what_belongs_to_no_sa_is_what_the_sas_have_not_counted() {
        let drops = Drops::of(&report(), None);
        let strange: Vec<_> = drops.drops.iter().filter(|drop| drop.tunnel.is_none()).collect();
        assert_eq!(strange.len(), 1);
        assert_eq!((strange[0].reason.as_str(), strange[0].packets), ("unknown_spi", 7));
        assert_eq!(
            Drops::of(&SadReport::default(), None).text(Paint::PLAIN),
            "no packet was dropped\n"
        );
    }
}
