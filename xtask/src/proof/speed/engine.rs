//! The packet engine without any I/O: figures of the bench `share` of `adit-dataplane`.

use anyhow::Context as _;

use super::Compared;
use crate::proof::{Effort, printed};
use crate::root;

/// The suite and size that the share is about.
const SHARE: [&str; 2] = ["seal/aes128gcm16/1400", "open/aes128gcm16/1400"];

/// A line of the bench: a name, two times in nanoseconds and their ratio.
#[derive(Debug, PartialEq)]
struct Line {
    name: String,
    first_ns: f64,
    second_ns: f64,
    ratio: f64,
}

/// The bare AEAD's time as a share of ours, the lesser one of both directions.
///
/// # Errors
///
/// The bench does not build or prints something else.
pub(super) fn share(_: &Effort) -> anyhow::Result<Compared> {
    let lines = bench(&SHARE)?;
    let shares: Vec<&Line> =
        lines.iter().filter(|line| SHARE.contains(&line.name.as_str())).collect();
    anyhow::ensure!(shares.len() == SHARE.len(), "the bench has no {}", SHARE.join(" or "));
    let least = shares.iter().copied().min_by(|a, b| a.ratio.total_cmp(&b.ratio));
    let least = least.context("the bench printed no share")?;
    let words = |line: &&Line| {
        format!(
            "{}: {:.0} of {:.0} ns ({:.2})",
            line.name, line.first_ns, line.second_ns, line.ratio
        )
    };
    let values: Vec<String> = shares.iter().map(words).collect();
    let reason = format!(
        "of {} the cipher takes {:.0} ns and everything around it {:.0} ns",
        least.name,
        least.first_ns,
        least.second_ns - least.first_ns
    );
    Ok(Compared { values: values.join(", "), ratio: least.ratio, reason })
}

/// The cost of a packet with many SAs as a multiple of that with few, the worst one of all mixes and
/// directions.
///
/// # Errors
///
/// The bench does not build or prints something else.
pub(super) fn scale(_: &Effort) -> anyhow::Result<Compared> {
    let lines = bench(&["scale/"])?;
    let lines: Vec<&Line> = lines.iter().filter(|line| line.name.starts_with("scale/")).collect();
    let worst = lines.iter().copied().max_by(|a, b| a.ratio.total_cmp(&b.ratio));
    let worst = worst.context("the bench printed no costs")?;
    let words = |line: &&Line| {
        let name = line.name.trim_start_matches("scale/");
        format!("{name} {:.0} to {:.0} ns ({:.2})", line.first_ns, line.second_ns, line.ratio)
    };
    let values: Vec<String> = lines.iter().map(words).collect();
    let reason = format!(
        "with {} each packet costs {:.0} ns more, for what is no longer in the processor's caches",
        worst.name,
        worst.second_ns - worst.first_ns
    );
    Ok(Compared { values: values.join(", "), ratio: worst.ratio, reason })
}

/// Runs the lines of the bench that have one of `words`.
fn bench(words: &[&str]) -> anyhow::Result<Vec<Line>> {
    let mut cargo = root::cargo();
    cargo.args(["bench", "--quiet", "-p", "adit-dataplane", "--bench", "share", "--"]).args(words);
    let text = printed(&mut cargo)?;
    eprintln!("{text}");
    Ok(text.lines().filter_map(read).collect())
}

/// `seal/aes128gcm16/1400    170.0    200.0   0.850`; heads and whatever else stands there are none.
fn read(line: &str) -> Option<Line> {
    let words: Vec<&str> = line.split_ascii_whitespace().collect();
    let [name, first, second, ratio] = words.as_slice() else { return None };
    let number = |text: &str| text.parse().ok();
    Some(Line {
        name: (*name).to_owned(),
        first_ns: number(first)?,
        second_ns: number(second)?,
        ratio: number(ratio)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_with_three_numbers_are_read() {
        let line = read("seal/aes128gcm16/1400   170.0   200.0   0.850").unwrap();
        assert_eq!((line.first_ns, line.second_ns, line.ratio), (170.0, 200.0, 0.85));
        assert_eq!(read("SAs and policies   10: ns  100000: ns  ratio"), None);
        assert_eq!(read("name bare ours share"), None);
    }
}
