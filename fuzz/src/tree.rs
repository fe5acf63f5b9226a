//! A VICI message written as lines, so that an input for it is text.
//!
//! ```text
//! children {
//! net {
//! mode=tunnel
//! local_ts=10.1.0.0/24,10.3.0.0/24
//! }
//! }
//! ```
//!
//! A value with a comma is a list, as swanctl sends it; `=` without a name in front ends nothing.

use adit_mgmt::vici::{DEPTH_MAX, NAME_OCTETS_MAX, Section, Value};

/// Reads lines until the section's end. Every text means something.
pub fn section<'a>(lines: &mut impl Iterator<Item = &'a str>) -> Section {
    read(lines, 0)
}

fn read<'a>(lines: &mut impl Iterator<Item = &'a str>, depth: usize) -> Section {
    let mut section = Section::new();
    while let Some(line) = lines.next() {
        let line = line.trim();
        if line == "}" {
            break;
        }
        if let Some(name) = line.strip_suffix('{') {
            let inner = if depth < DEPTH_MAX { read(lines, depth + 1) } else { Section::new() };
            section.put_value(cut(name.trim_end()), Value::Section(inner));
        } else if let Some((name, value)) = line.split_once('=') {
            section.put_value(cut(name), leaf(value));
        }
    }
    section
}

fn leaf(value: &str) -> Value {
    let octets = |text: &str| text.as_bytes().to_vec();
    match value.strip_suffix(',') {
        // A list of one.
        Some(only) if !only.contains(',') => Value::List(vec![octets(only)]),
        _ if value.contains(',') => Value::List(value.split(',').map(octets).collect()),
        _ => Value::Text(octets(value)),
    }
}

/// What VICI has room for.
fn cut(name: &str) -> &str {
    &name[..name.floor_char_boundary(NAME_OCTETS_MAX)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_make_a_tree() {
        let text = "version=2\nchildren {\nnet {\nlocal_ts=a,b\nremote_ts=c,\n}\n}\nunique=no";
        let net = Section::new().with_list("local_ts", ["a", "b"]).with_list("remote_ts", ["c"]);
        let children = Section::new().with_section("net", net);
        let expected = Section::new()
            .with("version", 2)
            .with_section("children", children)
            .with("unique", "no");
        assert_eq!(section(&mut text.lines()), expected);
    }
}
