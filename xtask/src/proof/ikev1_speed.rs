//! What the first phase of IKE costs: with static keys, and with a key exchange, beside the bare
//! primitives. All in one process without a network, figures of `crates/ike/examples/phase1.rs`; the table
//! is that of docs/dhless.md.

use anyhow::Context as _;

use super::{Effort, Finding, printed};
use crate::root;

/// Processor time for each row.
const TIME_MS: u32 = 2_000;
const TIME_MS_QUICK: u32 = 200;

/// Rows that there must be: what the claim is about.
const WANTED: [(&str, &str); 8] = [
    ("IKEv1", "dhless"),
    ("IKEv1", "modp1024"),
    ("IKEv1", "modp2048"),
    ("IKEv1", "ecp256"),
    ("IKEv2", "ecp256"),
    ("IKEv2", "x25519"),
    ("IKEv2", "mlkem768"),
    ("IKEv2", "static_mlkem768"),
];

/// The document, and the lines that the table stands between.
const DOCUMENT: &str = "docs/dhless.md";
const BEGIN: &str = "<!-- begin: cargo xtask proof ikev1 5 --write -->\n";
const END: &str = "<!-- end -->\n";

/// One way to an IKE SA, both ends of it.
#[derive(Debug, PartialEq)]
struct Row {
    version: String,
    method: String,
    proof: String,
    whole_us: f64,
    bare_us: f64,
}

/// Measures all of it, and writes the table if that is wanted.
///
/// # Errors
///
/// The program does not build, or stops.
pub(super) fn measure(effort: &Effort) -> anyhow::Result<Finding> {
    let time_ms = if effort.quick { TIME_MS_QUICK } else { TIME_MS };
    let mut cargo = root::cargo();
    cargo.args(["run", "--quiet", "--release", "-p", "adit-ike", "--example", "phase1", "--"]);
    let rows = rows(&printed(cargo.arg(time_ms.to_string()))?)?;
    if effort.write {
        let path = root::path(DOCUMENT);
        let text = std::fs::read_to_string(&path).with_context(|| format!("no {path:?}"))?;
        let text = with_table(&text, &table(&rows))
            .with_context(|| format!("{DOCUMENT} has no place for it"))?;
        std::fs::write(&path, text).with_context(|| format!("cannot write {path:?}"))?;
    }
    Ok(judge(&rows))
}

fn judge(rows: &[Row]) -> Finding {
    let shown: Vec<String> = rows.iter().map(Row::shown).collect();
    let figure = format!("per second and core, both ends on it: {}", shown.join(", "));
    let has = |(version, method): &(&str, &str)| {
        rows.iter().any(|row| row.version == *version && row.method == *method)
    };
    match WANTED.iter().find(|wanted| !has(wanted)) {
        Some((version, method)) => {
            Finding::fail(figure, format!("{version} {method} was not measured"))
        }
        None => Finding::pass(figure),
    }
}

impl Row {
    fn per_second(&self) -> f64 {
        1e6 / self.whole_us
    }

    /// `IKEv2 x25519 psk 4000 (250 us, 2.00 times its primitives)`.
    fn shown(&self) -> String {
        let Self { version, method, proof, whole_us, bare_us } = self;
        let (rate, ratio) = (self.per_second(), whole_us / bare_us);
        format!(
            "{version} {method} {proof} {rate:.0} ({whole_us:.0} us, {ratio:.2} times its primitives)"
        )
    }
}

fn rows(text: &str) -> anyhow::Result<Vec<Row>> {
    text.lines().map(row).collect()
}

fn row(line: &str) -> anyhow::Result<Row> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let [version, method, proof, whole, bare] = *words else {
        anyhow::bail!("cannot read {line:?}");
    };
    let number = |word: &str| word.parse().with_context(|| format!("cannot read {line:?}"));
    Ok(Row {
        version: version.to_owned(),
        method: method.to_owned(),
        proof: proof.to_owned(),
        whole_us: number(whole)?,
        bare_us: number(bare)?,
    })
}

fn table(rows: &[Row]) -> String {
    let mut table =
        "| IKE | keys come of | proof | per second and core | whole, µs | bare primitives, µs |\n\
        |---|---|---|---|---|---|\n"
            .to_owned();
    for row in rows {
        let Row { version, method, proof, whole_us, bare_us } = row;
        let rate = row.per_second();
        table += &format!(
            "| {version} | `{method}` | {proof} | {rate:.0} | {whole_us:.0} | {bare_us:.0} |\n"
        );
    }
    table
}

/// The document with this table; `None` if it has no place for one.
fn with_table(text: &str, table: &str) -> Option<String> {
    let (before, rest) = text.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    Some([before, BEGIN, table, END, after].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINES: &str =
        "IKEv1 dhless rsa2048-decryption 2000.0 1000.0\nIKEv2 x25519 psk 250.0 125.0\n";

    #[test]
    fn figures_are_read_shown_and_judged() {
        let read = rows(LINES).unwrap();
        assert_eq!(read[1].shown(), "IKEv2 x25519 psk 4000 (250 us, 2.00 times its primitives)");
        assert_eq!(judge(&read).reason, "IKEv1 modp1024 was not measured");
        let all: String = WANTED
            .iter()
            .map(|(version, method)| format!("{version} {method} psk 2.0 1.0\n"))
            .collect();
        assert_eq!(judge(&rows(&all).unwrap()).reason, "");
        assert!(rows("IKEv2 x25519 psk 250.0").is_err());
        assert!(rows("IKEv2 x25519 psk fast 1.0").is_err());
    }

    #[test]
    fn the_table_has_its_place_in_the_document() {
        let table = table(&rows(LINES).unwrap());
        assert!(table.contains("| IKEv2 | `x25519` | psk | 4000 | 250 | 125 |\n"), "{table}");
        let text = format!("before\n{BEGIN}old\n{END}after\n");
        assert_eq!(
            with_table(&text, "new\n").unwrap(),
            format!("before\n{BEGIN}new\n{END}after\n")
        );
        assert_eq!(with_table("nothing", "new"), None);
        let document = std::fs::read_to_string(root::path(DOCUMENT)).unwrap();
        assert!(with_table(&document, "").is_some());
    }
}
