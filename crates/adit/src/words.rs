//! Numbers in words: octets, durations, counts.

use std::time::Duration;

/// Octets with a binary unit: `0`, `980 B`, `1.2 MiB`, `88 GiB`.
pub(crate) fn octets(count: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if count == 0 {
        return "0".to_owned();
    }
    if count < 1_024 {
        return format!("{count} B");
    }
    let mut whole = count;
    let mut rest = 0;
    let mut unit = "B";
    for next in UNITS {
        if whole < 1_024 {
            break;
        }
        rest = whole % 1_024;
        whole /= 1_024;
        unit = next;
    }
    if whole < 10 {
        format!("{whole}.{} {unit}", rest * 10 / 1_024)
    } else {
        format!("{whole} {unit}")
    }
}

/// A time in the words of `adit status`: `18 ms`, `3.2 s`, `41 min`, `5 h`, `2 d`.
pub(crate) fn duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0 => format!("{} ms", duration.as_millis()),
        1..=9 => format!("{seconds}.{} s", duration.subsec_millis() / 100),
        10..=119 => format!("{seconds} s"),
        120..=7_199 => format!("{} min", seconds / 60),
        7_200..=172_799 => format!("{} h", seconds / 3_600),
        _ => format!("{} d", seconds / 86_400),
    }
}

/// Whole seconds in words.
pub(crate) fn seconds(count: u64) -> String {
    match count {
        0..=119 => format!("{count} s"),
        _ => duration(Duration::from_secs(count)),
    }
}

/// `1 tunnel`, `2 tunnels`.
pub(crate) fn count(number: usize, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {noun}{plural}")
}

/// A large number with commas between groups of three digits.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// Breaks a paragraph into lines of at most `columns` characters, at spaces.
pub(crate) fn wrapped(paragraph: &str, columns: usize) -> String {
    let mut out = String::with_capacity(paragraph.len() + 8);
    let mut column = 0;
    for word in paragraph.split(' ') {
        let length = word.chars().count();
        if column > 0 && column + 1 + length > columns {
            out.push('\n');
            column = 0;
        } else if column > 0 {
            out.push(' ');
            column += 1;
        }
        out.push_str(word);
        column += length;
    }
    out
}

/// Text of a peer or another process without control characters, which could move the cursor.
pub(crate) fn clean(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn octets_keep_two_digits() {
        let words: Vec<_> = [0, 1, 1_023, 1_024, 1_260_000, 10 << 20, 95_000_000_000, u64::MAX]
            .into_iter()
            .map(octets)
            .collect();
        assert_eq!(
            words,
            ["0", "1 B", "1023 B", "1.0 KiB", "1.2 MiB", "10 MiB", "88 GiB", "15 EiB"]
        );
    }

    #[test]
    fn times_use_the_unit_that_matters() {
        assert_eq!(duration(Duration::from_millis(18)), "18 ms");
        assert_eq!(duration(Duration::from_millis(3_290)), "3.2 s");
        assert_eq!(seconds(5), "5 s");
        assert_eq!(seconds(41 * 60), "41 min");
        assert_eq!(seconds(5 * 3_600), "5 h");
        assert_eq!(seconds(2 * 86_400), "2 d");
    }

    #[test]
    fn numbers_are_grouped_and_counted() {
        assert_eq!(grouped(0), "0");
        assert_eq!(grouped(999), "999");
        assert_eq!(grouped(1_234_567), "1,234,567");
        assert_eq!(count(1, "problem"), "1 problem");
        assert_eq!(count(0, "problem"), "0 problems");
    }

    #[test]
    fn paragraphs_break_at_spaces() {
        assert_eq!(wrapped("one two three", 7), "one two\nthree");
        assert_eq!(wrapped("incomprehensibilities ok", 5), "incomprehensibilities\nok");
        assert_eq!(wrapped("", 5), "");
    }

    #[test]
    fn a_peers_words_cannot_move_the_cursor() {
        assert_eq!(clean("a\x1b[2Jb"), "a\u{fffd}[2Jb");
    }
}
