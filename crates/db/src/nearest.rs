//! The word the operator probably meant.

/// Returns the candidate closest to `word`, if one is close enough to be a likely slip.
///
/// Close means at most one third of the word's length away (two edits at least), where an edit
/// is an inserted, deleted, replaced or swapped character. Of equally close candidates the first
/// wins. Meant for error messages: words longer than 64 characters have no nearest word.
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if word.len() > WORD_CHARS_MAX {
        return None;
    }
    let word = word.to_lowercase();
    let farthest = usize::max(2, word.chars().count() / 3);
    let mut best: Option<(usize, &'a str)> = None;
    for candidate in candidates {
        let distance = edits(&word, &candidate.to_lowercase());
        let nothing_in_common = distance >= candidate.chars().count();
        if distance > farthest || nothing_in_common {
            continue;
        }
        if best.is_none_or(|(least, _)| distance < least) {
            best = Some((distance, candidate));
        }
    }
    best.map(|(_, candidate)| candidate)
}

/// Longest word compared; the comparison is quadratic.
const WORD_CHARS_MAX: usize = 64;

/// Optimal string alignment distance: Levenshtein plus swaps of neighbours.
fn edits(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut before: Vec<usize> = Vec::new();
    let mut above: Vec<usize> = (0..=b.len()).collect();
    let mut a_last = None;
    for (row, a_char) in a.chars().enumerate() {
        let mut current = vec![row.saturating_add(1)];
        let mut b_last = None;
        for (column, b_char) in b.iter().copied().enumerate() {
            let at = |line: &[usize], index: usize| line.get(index).copied().unwrap_or(usize::MAX);
            let replaced = at(&above, column).saturating_add(usize::from(a_char != b_char));
            let deleted = at(&above, column.saturating_add(1)).saturating_add(1);
            let inserted = at(&current, column).saturating_add(1);
            let mut least = replaced.min(deleted).min(inserted);
            if a_last == Some(b_char) && b_last == Some(a_char) {
                let swapped = at(&before, column.saturating_sub(1)).saturating_add(1);
                least = least.min(swapped);
            }
            current.push(least);
            b_last = Some(b_char);
        }
        a_last = Some(a_char);
        before = above;
        above = current;
    }
    above.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edits_count_each_kind_of_slip() {
        assert_eq!(edits("aes256", "aes256"), 0);
        assert_eq!(edits("aes265", "aes256"), 1);
        assert_eq!(edits("aes56", "aes256"), 1);
        assert_eq!(edits("aes2566", "aes256"), 1);
        assert_eq!(edits("aex256", "aes256"), 1);
        assert_eq!(edits("", "abc"), 3);
        assert_eq!(edits("kitten", "sitting"), 3);
    }

    #[test]
    fn nearest_finds_slips_and_refuses_strangers() {
        let words = ["sha256", "sha384", "x25519", "modp2048"];
        assert_eq!(nearest("sha265", words), Some("sha256"));
        assert_eq!(nearest("SHA384", words), Some("sha384"));
        assert_eq!(nearest("x22519", words), Some("x25519"));
        assert_eq!(nearest("blowfish", words), None);
        assert_eq!(nearest(&"x".repeat(1000), words), None);
    }
}
