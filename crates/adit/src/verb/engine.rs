//! `adit status --engine`: how the packet engine moves packets.

use adit_mgmt::api::{EngineHalf, EngineIke, EngineReport, EngineTcp, IkeThread};

use crate::screen::{Paint, Style};
use crate::table::{LABEL_COLUMNS, fact_in};
use crate::verb::icmp;
use crate::words::{clean, grouped, octets};

/// Both directions and IKE, one below the other.
pub(crate) fn text(report: &EngineReport, paint: Paint) -> String {
    let halves = [("outbound", &report.outbound), ("inbound", &report.inbound)];
    let names = halves.iter().flat_map(|(_, half)| &half.paths).map(|path| clean(&path.name));
    let widest = names.map(|name| name.chars().count().saturating_add(GAP)).max();
    let columns = LABEL_COLUMNS.max(widest.unwrap_or(0));
    let fact = |label: &str, value: &str| fact_in(paint, columns, label, value);
    let title = |name: &str| paint.with(Style::Bold, name).to_string();
    let lines = halves
        .iter()
        .flat_map(|(name, half)| std::iter::once(title(name)).chain(half_lines(half, fact)));
    let lines = lines.chain(std::iter::once(title("ike"))).chain(ike_lines(&report.ike, fact));
    let halves: String = lines.map(|line| line + "\n").collect();
    let icmp = match report.icmp.is_empty() {
        true => "  as by default everywhere; `adit explain icmp` has the table\n".to_owned(),
        false => icmp::settings(&report.icmp, paint),
    };
    format!("{halves}{}\n{icmp}", paint.with(Style::Bold, "icmp"))
}

fn half_lines(half: &EngineHalf, fact: impl Fn(&str, &str) -> String) -> Vec<String> {
    let mut lines = Vec::new();
    for path in &half.paths {
        let state = if path.on { "on" } else { "off" };
        let reason = path.reason.as_ref().map(|reason| format!("   ({})", clean(reason)));
        let value = format!("{state}{}", reason.unwrap_or_default());
        lines.push(fact(&clean(&path.name), &value));
    }
    let calls = half.calls();
    let by_kind = format!(
        "{}   ({} each packet)\nread {}, write {}, wait {}, spin {}",
        grouped(calls),
        ratio(calls, half.packets),
        grouped(half.calls_read),
        grouped(half.calls_write),
        grouped(half.calls_wait),
        grouped(half.calls_spin),
    );
    let in_one = format!("{} of several packets", grouped(half.super_packets));
    let spun = format!("{}, {} of them in time", grouped(half.spins), grouped(half.spins_paid));
    lines.push(fact("threads", &grouped(half.threads)));
    lines.push(fact("packets", &grouped(half.packets)));
    lines.push(fact("in one", &in_one));
    lines.push(fact("calls", &by_kind));
    lines.push(fact("spun", &spun));
    let peers = format!(
        "{} sockets of one peer, {} complaints of the network",
        grouped(half.connected),
        grouped(half.complaints)
    );
    lines.push(fact("connected", &peers));
    lines.push(fact("memory", &octets(half.memory_octets)));
    lines
}

fn ike_lines(ike: &EngineIke, fact: impl Fn(&str, &str) -> String) -> Vec<String> {
    let each = ike.threads.iter().map(|thread| {
        let IkeThread { established, half_open, leaving } = *thread;
        let [established, half_open, leaving] = [established, half_open, leaving].map(grouped);
        format!("{established} established, {half_open} half-open, {leaving} leaving")
    });
    let each: Vec<String> = each.collect();
    let count = u64::try_from(each.len()).unwrap_or(u64::MAX);
    vec![
        fact("threads", &grouped(count)),
        fact("IKE SAs", &each.join("\n")),
        fact("dropped", &grouped(ike.dropped)),
        fact("TCP", &tcp_words(&ike.tcp)),
    ]
}

/// Spaces behind the longest label.
const GAP: usize = 2;

/// Connections of RFC 9329, and what became of others.
fn tcp_words(tcp: &EngineTcp) -> String {
    let EngineTcp { connections, opened, accepted, refused, garbled, dropped } = *tcp;
    let [connections, opened, accepted, refused, garbled, dropped] =
        [connections, opened, accepted, refused, garbled, dropped].map(grouped);
    format!(
        "{connections} connections; {opened} opened, {accepted} accepted, {refused} too many, \
         {garbled} without IKE\n{dropped} packets dropped"
    )
}

/// `0.07`; `-` of nothing.
fn ratio(count: u64, of: u64) -> String {
    let hundredths = count.saturating_mul(100).checked_div(of);
    hundredths.map_or_else(
        || "-".to_owned(),
        |hundredths| format!("{}.{:02}", hundredths / 100, hundredths % 100),
    )
}

#[cfg(test)]
mod tests {
    use adit_mgmt::api::{EnginePath, IcmpSetting, SCHEMA};

    use super::*;

    #[test]
    fn each_direction_shows_its_paths_and_what_they_spare() {
        let refused = Some("Protocol not available".to_owned());
        let inbound = EngineHalf {
            threads: 2,
            paths: vec![
                EnginePath::new("spin", None),
                EnginePath::new("UDP GRO", refused),
                EnginePath::new("TUN TSO", None),
            ],
            packets: 1_200_345,
            super_packets: 27_000,
            calls_read: 40_000,
            calls_write: 30_100,
            calls_wait: 12_000,
            calls_spin: 900,
            spins: 12,
            spins_paid: 7,
            memory_octets: 6 << 20,
            connected: 3,
            complaints: 12,
        };
        let threads = vec![
            IkeThread { established: 51_200, half_open: 3, leaving: 0 },
            IkeThread { established: 48_800, half_open: 0, leaving: 1 },
        ];
        let tcp = EngineTcp { connections: 2, accepted: 9, dropped: 1, ..EngineTcp::default() };
        let ike = EngineIke { threads, dropped: 7, tcp };
        let report = EngineReport {
            schema: SCHEMA,
            outbound: EngineHalf::default(),
            inbound,
            ike,
            icmp: Vec::new(),
        };
        insta::assert_snapshot!(text(&report, Paint::PLAIN), @r"
        outbound
          threads    0
          packets    0
          in one     0 of several packets
          calls      0   (- each packet)
                     read 0, write 0, wait 0, spin 0
          spun       0, 0 of them in time
          connected  0 sockets of one peer, 0 complaints of the network
          memory     0
        inbound
          spin       on
          UDP GRO    off   (Protocol not available)
          TUN TSO    on
          threads    2
          packets    1,200,345
          in one     27,000 of several packets
          calls      83,000   (0.06 each packet)
                     read 40,000, write 30,100, wait 12,000, spin 900
          spun       12, 7 of them in time
          connected  3 sockets of one peer, 12 complaints of the network
          memory     6.0 MiB
        ike
          threads    2
          IKE SAs    51,200 established, 3 half-open, 0 leaving
                     48,800 established, 0 half-open, 1 leaving
          dropped    7
          TCP        2 connections; 0 opened, 9 accepted, 0 too many, 0 without IKE
                     1 packets dropped
        icmp
          as by default everywhere; `adit explain icmp` has the table
        ");
    }

    /// A label that is longer than others moves all values, so that none stands in it.
    #[test]
    fn values_stand_below_each_other_behind_the_longest_label() {
        let mut report = EngineReport::default();
        report.outbound.paths =
            vec![EnginePath::new("UDP GSO", None), EnginePath::new("UDP connected", None)];
        let shown = text(&report, Paint::PLAIN);
        assert!(shown.contains("\n  UDP GSO        on\n  UDP connected  on\n"), "{shown}");
        assert!(shown.contains("\n  threads        0\n"), "{shown}");
        assert!(shown.contains("\n                 read 0, write 0"), "{shown}");
    }

    #[test]
    fn what_is_set_about_icmp_is_shown_with_its_place() {
        let setting = |setting: &str, value: &str, line: u8| IcmpSetting {
            tunnel: "berlin".to_owned(),
            setting: setting.to_owned(),
            value: value.to_owned(),
            source: format!("tunnels/berlin.toml:{line}"),
        };
        let icmp = vec![
            setting("icmp_errors", "explicit", 6),
            setting("interfaces", "red wan0, black lan0", 8),
            setting("too-big", "red prompt", 8),
        ];
        let report = EngineReport { icmp, ..EngineReport::default() };
        let shown = text(&report, Paint::PLAIN);
        let at = shown.find("icmp\n").unwrap();
        insta::assert_snapshot!(&shown[at..], @r"
        icmp
        TUNNEL  ICMP         IS                    BY
        berlin  icmp_errors  explicit              tunnels/berlin.toml:6
        berlin  interfaces   red wan0, black lan0  tunnels/berlin.toml:8
        berlin  too-big      red prompt            tunnels/berlin.toml:8
        ");
    }
}
