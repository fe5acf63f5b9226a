//! Text that `swanctl` shows: libvici takes a value with any octet outside printable ASCII, line
//! feeds included, for binary, and the operator then reads nothing at all.

use std::borrow::Cow;

/// The text in one line of printable ASCII: lines are joined by `; `, other characters written as
/// `\u{a7}`.
pub(super) fn printable(text: &str) -> Cow<'_, str> {
    if text.bytes().all(is_printable) {
        return Cow::Borrowed(text);
    }
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let mut out = String::with_capacity(text.len());
    for character in lines.join("; ").chars() {
        match character {
            '\t' => out.push(' '),
            ' '..='~' => out.push(character),
            other => out.extend(other.escape_unicode()),
        }
    }
    Cow::Owned(out)
}

fn is_printable(octet: u8) -> bool {
    matches!(octet, b' '..=b'~')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn lines_are_joined_and_letters_escaped() {
        assert_eq!(printable("as it is, 100 %"), "as it is, 100 %");
        assert_eq!(printable("first\n  second\t2\n\n"), "first; second 2");
        assert_eq!(printable("RFC 4301 §5.1"), r"RFC 4301 \u{a7}5.1");
        assert_eq!(printable("\u{1b}[2J\0"), r"\u{1b}[2J\u{0}");
    }

    proptest! {
        #[test]
        fn nothing_else_comes_out(text in any::<String>()) {
            prop_assert!(printable(&text).bytes().all(is_printable));
        }
    }
}
