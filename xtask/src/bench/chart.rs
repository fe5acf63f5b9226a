//! The report as an SVG picture: bars with their ranges, readable on light and on dark ground.

use std::fmt::Write as _;

use super::cell::Cell;
use super::report::Report;
use super::statistics::{Measure, Spread};
use super::subject::Subject;

/// Sizes in pixels of the picture's own coordinates.
const WIDTH: f64 = 760.0;
const LABELS: f64 = 120.0;
const FIGURES: f64 = 150.0;
const ROW: f64 = 22.0;
const BAR: f64 = 14.0;
const GAP: f64 = 46.0;
const TOP: f64 = 34.0;

/// Where a reader prefers dark ground, so does the picture.
const STYLE: &str = "\
text{font:12px system-ui,sans-serif;fill:#1f2328}\
.head{font-weight:600;font-size:13px}\
.note{fill:#59636e}\
.ours{fill:#0969da}.rival{fill:#8c959f}.roof{fill:#d1d9e0}\
.range{stroke:#1f2328;stroke-width:1}\
@media(prefers-color-scheme:dark){\
text{fill:#f0f6fc}.note{fill:#9198a1}\
.ours{fill:#4493f8}.rival{fill:#6e7681}.roof{fill:#3d444d}\
.range{stroke:#f0f6fc}}";

/// One group of bars.
struct Panel {
    title: &'static str,
    note: &'static str,
    digits: usize,
    bars: Vec<(Subject, Spread)>,
}

/// The picture.
pub(crate) fn svg(report: &Report) -> String {
    let panels = panels(report);
    let mut body = String::new();
    let mut y = TOP;
    for panel in &panels {
        draw(&mut body, panel, y);
        y += GAP + ROW * as_pixels(panel.bars.len());
    }
    let title = format!("Adit beside others, {}", report.machine.date);
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {y}\" role=\"img\">\n\
         <title>{title}</title>\n<style>{STYLE}</style>\n{body}</svg>\n"
    )
}

fn panels(report: &Report) -> Vec<Panel> {
    let values = |cell: Cell| -> Vec<(Subject, Spread)> {
        let value = |subject| Some((subject, report.spread(subject, cell, Measure::Value)?));
        report.present().filter_map(|entry| value(entry.subject)).collect()
    };
    let costs = report.present().filter_map(|entry| {
        Some((entry.subject, report.spread(entry.subject, Cell::Tcp1, Measure::CpuPerGbit)?))
    });
    let panels = [
        panel("TCP, 1 stream", "Gbit/s, more is better", 2, values(Cell::Tcp1)),
        panel("TCP, 4 streams", "Gbit/s, more is better", 2, values(Cell::Tcp4)),
        panel(
            "Processor time of both ends, TCP, 1 stream",
            "seconds per Gbit, less is better",
            3,
            costs.collect(),
        ),
    ];
    panels.into_iter().filter(|panel| !panel.bars.is_empty()).collect()
}

fn panel(
    title: &'static str,
    note: &'static str,
    digits: usize,
    bars: Vec<(Subject, Spread)>,
) -> Panel {
    Panel { title, note, digits, bars }
}

fn draw(body: &mut String, panel: &Panel, top: f64) {
    let most = panel.bars.iter().map(|(_, spread)| spread.most).fold(0.0, f64::max);
    let scale = if most > 0.0 { (WIDTH - LABELS - FIGURES) / most } else { 0.0 };
    let head = format!(
        "<text class=\"head\" x=\"8\" y=\"{:.0}\">{}</text>\
         <text class=\"note\" x=\"{:.0}\" y=\"{:.0}\" text-anchor=\"end\">{}</text>\n",
        top - 12.0,
        panel.title,
        WIDTH - 8.0,
        top - 12.0,
        panel.note
    );
    body.push_str(&head);
    for (index, (subject, spread)) in panel.bars.iter().enumerate() {
        let y = top + ROW * as_pixels(index);
        bar(body, *subject, spread, panel.digits, y, scale);
    }
}

fn bar(body: &mut String, subject: Subject, spread: &Spread, digits: usize, y: f64, scale: f64) {
    let middle = y + BAR / 2.0;
    let (base, end) = (y + BAR - 3.0, LABELS + spread.median * scale);
    let (low, high) = (LABELS + spread.least * scale, LABELS + spread.most * scale);
    let figures = end.max(high) + 6.0;
    // Writing to a string cannot fail.
    let _ = writeln!(
        body,
        "<text x=\"{:.0}\" y=\"{base:.0}\" text-anchor=\"end\">{}</text>\
         <rect class=\"{}\" x=\"{LABELS}\" y=\"{y:.0}\" width=\"{:.1}\" height=\"{BAR}\" rx=\"2\"/>\
         <path class=\"range\" d=\"M{low:.1} {middle:.0}H{high:.1}\"/>\
         <text x=\"{figures:.1}\" y=\"{base:.0}\">{}</text>",
        LABELS - 8.0,
        subject.name(),
        class(subject),
        spread.median * scale,
        spread.show(digits),
    );
}

fn class(subject: Subject) -> &'static str {
    if subject.is_adit() {
        "ours"
    } else if subject.is_rival() {
        "rival"
    } else {
        "roof"
    }
}

/// A handful of rows is exact as a float.
#[expect(clippy::cast_precision_loss, reason = "there are fewer rows than a float has bits")]
fn as_pixels(count: usize) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::super::report::tests::report;
    use super::*;

    #[test]
    fn every_measured_subject_has_a_bar_in_each_panel() {
        let picture = svg(&report());
        assert!(picture.starts_with("<svg ") && picture.ends_with("</svg>\n"));
        assert_eq!(picture.matches("<rect class=\"ours\"").count(), 2);
        assert_eq!(picture.matches("<rect class=\"rival\"").count(), 2);
        assert!(picture.contains(">TCP, 1 stream<") && !picture.contains(">TCP, 4 streams<"));
        assert!(picture.contains("prefers-color-scheme:dark"));
    }

    #[test]
    fn no_bar_is_wider_than_the_picture() {
        let picture = svg(&report());
        let widths = picture.split("width=\"").skip(1).filter_map(|rest| rest.split('"').next());
        let widths: Vec<f64> = widths.map(|text| text.parse().unwrap()).collect();
        assert!(widths.iter().all(|width| *width <= WIDTH - LABELS - FIGURES + 0.1), "{widths:?}");
        assert!(widths.iter().any(|width| *width > 100.0), "{widths:?}");
    }
}
