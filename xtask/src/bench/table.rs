//! The report as aligned text, and its tables as rows of cells that the page shows too.

use super::cell::Cell;
use super::load::Mix;
use super::profile::{Hot, Profile};
use super::report::{Entry, Report};
use super::statistics::Measure;
use super::subject::Subject;

/// A head, and rows of as many cells.
pub(crate) struct Table {
    /// What it shows.
    pub(crate) title: String,
    /// Heads of the columns.
    pub(crate) head: Vec<String>,
    /// The rows.
    pub(crate) rows: Vec<Vec<String>>,
}

/// Where there is no value.
const NOTHING: &str = "-";

/// All tables of a report.
pub(crate) fn tables(report: &Report) -> Vec<Table> {
    let mut tables = Vec::new();
    if !flows(report).is_empty() {
        tables.push(throughput(report));
    }
    tables.push(latency_and_cpu(report));
    tables.extend(
        report
            .present()
            .filter(|entry| entry.subject.is_adit())
            .map(|entry| ratios(report, entry.subject)),
    );
    tables.extend(report.profiles.iter().map(profile));
    tables.push(subjects(report));
    tables
}

/// Cells that are a throughput.
fn flows(report: &Report) -> Vec<Cell> {
    report.cells.iter().copied().filter(|cell| *cell != Cell::Ping).collect()
}

fn throughput(report: &Report) -> Table {
    let cells = flows(report);
    let row = |entry: &Entry| {
        let value = |cell: &Cell| {
            report
                .spread(entry.subject, *cell, Measure::Value)
                .map(|spread| spread.show(cell.digits()))
        };
        named(entry.subject, cells.iter().map(value))
    };
    Table {
        title: "Throughput: median [least-most]".to_owned(),
        head: named_head(cells.iter().map(|cell| cell.title())),
        rows: report.present().map(row).collect(),
    }
}

fn latency_and_cpu(report: &Report) -> Table {
    let measured = |cell: &Cell| report.cells.contains(cell);
    let cells: Vec<Cell> = [Cell::Tcp1, Cell::Tcp4].into_iter().filter(measured).collect();
    let called: Vec<Cell> =
        [Cell::Tcp1, Cell::Udp(Mix::Small)].into_iter().filter(measured).collect();
    let row = |entry: &Entry| {
        let subject = entry.subject;
        let ping = report.spread(subject, Cell::Ping, Measure::Value).map(|spread| spread.show(0));
        let cpu = |cell: &Cell| {
            report.spread(subject, *cell, Measure::CpuPerGbit).map(|spread| spread.show(3))
        };
        #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
        let memory = entry.memory_octets.map(|octets| format!("{:.1}", octets as f64 / 1e6));
        let calls = |cell: &Cell| {
            report.spread(subject, *cell, Measure::CallsPerPacket).map(|spread| spread.show(3))
        };
        named(
            subject,
            [ping]
                .into_iter()
                .chain(cells.iter().map(cpu))
                .chain([memory])
                .chain(called.iter().map(calls)),
        )
    };
    let cpu_head = |cell: &Cell| {
        let streams = if *cell == Cell::Tcp1 { 1 } else { 4 };
        format!("CPU-s/Gbit, TCP {streams}")
    };
    let calls_head = |cell: &Cell| format!("calls/packet, {}", cell.name());
    let heads = [Cell::Ping.title()].into_iter().chain(cells.iter().map(cpu_head));
    Table {
        title: "Latency and cost, both ends together".to_owned(),
        head: named_head(
            heads.chain(["memory, MB".to_owned()]).chain(called.iter().map(calls_head)),
        ),
        rows: report.present().map(row).collect(),
    }
}

fn ratios(report: &Report, ours: Subject) -> Table {
    let cells = &report.cells;
    let row = |entry: &Entry| {
        let theirs = entry.subject;
        let of_values = cells.iter().map(|cell| report.ratio(ours, theirs, *cell, Measure::Value));
        let of_cpu = report.ratio(ours, theirs, Cell::Tcp1, Measure::CpuPerGbit);
        let all = of_values.chain([of_cpu]);
        named(theirs, all.map(|ratio| ratio.map(|spread| spread.show(2))))
    };
    let others = report.present().filter(|entry| entry.subject != ours);
    let heads = cells.iter().map(|cell| cell.name().to_owned());
    Table {
        title: format!("{} as a multiple of each, in the same rounds", ours.name()),
        head: named_head(heads.chain(["CPU, tcp-1".to_owned()])),
        rows: others.map(row).collect(),
    }
}

/// Where the time of a subject goes.
fn profile(profile: &Profile) -> Table {
    let row = |hot: &Hot| {
        let place = if hot.kernel { "kernel" } else { "daemon" };
        vec![format!("{:.1} %", hot.percent), place.to_owned(), hot.function.clone()]
    };
    Table {
        title: format!("Where {} spends its time, {}", profile.subject.name(), profile.cell.name()),
        head: ["of both daemons", "in", "function"].map(str::to_owned).to_vec(),
        rows: profile.hottest.iter().map(row).collect(),
    }
}

fn subjects(report: &Report) -> Table {
    let row = |entry: &Entry| {
        let note = match &entry.absent {
            None => entry.subject.title().to_owned(),
            Some(reason) => format!("NOT MEASURED: {reason}"),
        };
        let texts = [entry.cipher.to_owned(), entry.version.clone(), note];
        named(entry.subject, texts.into_iter().map(|text| (!text.is_empty()).then_some(text)))
    };
    Table {
        title: "Subjects".to_owned(),
        head: named_head(["cipher", "version", "what it is"].map(str::to_owned)),
        rows: report.entries.iter().map(row).collect(),
    }
}

fn named(subject: Subject, cells: impl IntoIterator<Item = Option<String>>) -> Vec<String> {
    let cells = cells.into_iter().map(|cell| cell.unwrap_or_else(|| NOTHING.to_owned()));
    std::iter::once(subject.name().to_owned()).chain(cells).collect()
}

fn named_head(heads: impl IntoIterator<Item = String>) -> Vec<String> {
    std::iter::once(String::new()).chain(heads).collect()
}

/// A table for a terminal: columns as wide as their widest cell.
pub(crate) fn aligned(table: &Table) -> String {
    let lines = || std::iter::once(&table.head).chain(&table.rows);
    let width = |column: usize| {
        let cells = lines().filter_map(|line| line.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or_default()
    };
    let widths: Vec<usize> = (0..table.head.len()).map(width).collect();
    let mut text = format!("{}\n", table.title);
    for line in lines() {
        let cells = line.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        let cells: Vec<String> = cells.collect();
        text.push_str(&format!("  {}\n", cells.join("  ").trim_end()));
    }
    text
}

/// The same for Markdown.
pub(crate) fn markdown(table: &Table) -> String {
    let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
    let rule = vec!["---".to_owned(); table.head.len()];
    let rows: String = table.rows.iter().map(|row| line(row)).collect();
    format!("{}{}{rows}", line(&table.head), line(&rule))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_stand_below_their_heads() {
        let row = |cells: [&str; 2]| cells.map(str::to_owned).to_vec();
        let rows = vec![row(["veth", "12.25"]), row(["adit", "-"])];
        let table = Table { title: "Speed".to_owned(), head: row(["", "a"]), rows };
        assert_eq!(aligned(&table), "Speed\n        a\n  veth  12.25\n  adit  -\n");
        let text = "|  | a |\n| --- | --- |\n| veth | 12.25 |\n| adit | - |\n";
        assert_eq!(markdown(&table), text);
    }
}
