//! A token scanner for Rust sources.
//!
//! It knows just enough to tell code from comments, strings, chars and lifetimes, which is what
//! keeps the checks from tripping over a brace in a string or a keyword in a sentence. It never
//! fails: an unfinished literal ends with the file, and the compiler says the rest.

/// What a token is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Kind {
    /// A keyword or a name; a raw identifier without its `r#`.
    Ident,
    /// One character of punctuation, brackets included.
    Punct,
    /// A string, char, byte or number, in any of their spellings.
    Literal,
    /// `'a`, or the label of a loop.
    Lifetime,
    /// `//!` or `/*!`.
    InnerDoc,
    /// Any other comment.
    Comment,
}

/// One token and where it stands.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Token<'a> {
    /// What it is.
    pub(crate) kind: Kind,
    /// Its octets as written, comment signs and quotes included.
    pub(crate) text: &'a str,
    /// The line it starts on, from 1.
    pub(crate) line: usize,
}

impl Token<'_> {
    /// Is this the keyword or name `word`?
    pub(crate) fn is_ident(&self, word: &str) -> bool {
        self.kind == Kind::Ident && self.text == word
    }

    /// Is this the punctuation `sign`?
    pub(crate) fn is_punct(&self, sign: char) -> bool {
        self.kind == Kind::Punct && self.text.starts_with(sign)
    }

    /// Is this for readers only?
    pub(crate) fn is_comment(&self) -> bool {
        matches!(self.kind, Kind::InnerDoc | Kind::Comment)
    }
}

/// Splits `source` into tokens.
pub(crate) fn tokens(source: &str) -> Vec<Token<'_>> {
    let mut lexer = Lexer { rest: source, line: 1 };
    let mut tokens = Vec::new();
    while let Some(token) = lexer.next_token() {
        tokens.push(token);
    }
    tokens
}

struct Lexer<'a> {
    rest: &'a str,
    line: usize,
}

impl<'a> Lexer<'a> {
    fn next_token(&mut self) -> Option<Token<'a>> {
        let blank = self.rest.len() - self.rest.trim_start().len();
        self.take(blank);
        let first = self.rest.chars().next()?;
        let (kind, len) = self.measure(first);
        let line = self.line;
        let text = self.take(len);
        let text = if kind == Kind::Ident { text.trim_start_matches("r#") } else { text };
        Some(Token { kind, text, line })
    }

    /// Removes `len` octets from the front and counts their lines.
    fn take(&mut self, len: usize) -> &'a str {
        let (taken, rest) = self.rest.split_at(len);
        self.rest = rest;
        self.line += taken.matches('\n').count();
        taken
    }

    /// Kind and length of the token that starts with `first`.
    fn measure(&self, first: char) -> (Kind, usize) {
        let rest = self.rest;
        if rest.starts_with("//") {
            let kind = if rest.starts_with("//!") { Kind::InnerDoc } else { Kind::Comment };
            return (kind, rest.find('\n').unwrap_or(rest.len()));
        }
        if rest.starts_with("/*") {
            let kind = if rest.starts_with("/*!") { Kind::InnerDoc } else { Kind::Comment };
            return (kind, block_comment_len(rest));
        }
        if let Some(len) = prefixed_literal_len(rest) {
            return (Kind::Literal, len);
        }
        match first {
            '"' => (Kind::Literal, quoted_len(rest, '"')),
            '\'' => char_or_lifetime(rest),
            '0'..='9' => (Kind::Literal, number_len(rest)),
            _ if is_ident_start(first) => (Kind::Ident, ident_len(rest)),
            _ => (Kind::Punct, first.len_utf8()),
        }
    }
}

fn is_ident_start(c: char) -> bool {
    c == '_' || c.is_alphabetic()
}

fn is_ident_continue(c: char) -> bool {
    c == '_' || c.is_alphanumeric()
}

/// Length of the leading run of characters of a name.
fn run_len(text: &str) -> usize {
    text.find(|c| !is_ident_continue(c)).unwrap_or(text.len())
}

/// Length of a name, `r#` included.
fn ident_len(text: &str) -> usize {
    match text.strip_prefix("r#") {
        Some(name) if name.starts_with(is_ident_start) => 2 + run_len(name),
        _ => run_len(text),
    }
}

/// `r"…"`, `r#"…"#`, `b"…"`, `b'…'`, `c"…"`, `br#"…"#` and the like.
fn prefixed_literal_len(text: &str) -> Option<usize> {
    let prefix = ["br", "cr", "b", "c", "r"]
        .into_iter()
        .find(|p| text.strip_prefix(p).is_some_and(|rest| rest.starts_with(['"', '#', '\''])))?;
    let rest = text.get(prefix.len()..)?;
    if prefix.ends_with('r') {
        return raw_len(rest).map(|len| prefix.len() + len);
    }
    match rest.chars().next()? {
        '"' => Some(prefix.len() + quoted_len(rest, '"')),
        '\'' if prefix == "b" => Some(prefix.len() + quoted_len(rest, '\'')),
        _ => None,
    }
}

/// `#*"…"#*`; `None` if this is a raw identifier or a lone `r`.
fn raw_len(text: &str) -> Option<usize> {
    let hashes = text.find(|c| c != '#')?;
    let body = text.get(hashes..)?.strip_prefix('"')?;
    let end = format!("\"{}", "#".repeat(hashes));
    let opened = hashes + 1;
    Some(body.find(&end).map_or(text.len(), |at| opened + at + end.len()))
}

/// Length of a literal with escapes, from its opening to its closing `quote`.
fn quoted_len(text: &str, quote: char) -> usize {
    let mut chars = text.char_indices().skip(1);
    while let Some((at, c)) = chars.next() {
        if c == '\\' {
            chars.next();
        } else if c == quote {
            return at + c.len_utf8();
        }
    }
    text.len()
}

/// `'x'` and `'\n'` are chars, `'x` is a lifetime.
fn char_or_lifetime(text: &str) -> (Kind, usize) {
    let mut chars = text.chars().skip(1);
    match (chars.next(), chars.next()) {
        (Some('\\'), _) | (Some(_), Some('\'')) => (Kind::Literal, quoted_len(text, '\'')),
        _ => (Kind::Lifetime, 1 + run_len(text.get(1..).unwrap_or_default())),
    }
}

/// A number with its suffix; `1..2` is not one number, `1.5` is.
fn number_len(text: &str) -> usize {
    let whole = run_len(text);
    match text.get(whole..).and_then(|rest| rest.strip_prefix('.')) {
        Some(fraction) if fraction.starts_with(|c: char| c.is_ascii_digit()) => {
            whole + 1 + run_len(fraction)
        }
        _ => whole,
    }
}

/// Block comments nest.
fn block_comment_len(text: &str) -> usize {
    let mut depth = 0_usize;
    let mut at = 0;
    while let Some(rest) = text.get(at..).filter(|rest| !rest.is_empty()) {
        if rest.starts_with("/*") {
            depth += 1;
            at += 2;
        } else if rest.starts_with("*/") {
            depth -= 1;
            at += 2;
        } else {
            at += rest.chars().next().map_or(1, char::len_utf8);
        }
        if depth == 0 {
            return at;
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(source: &str) -> Vec<(Kind, &str)> {
        tokens(source).into_iter().map(|t| (t.kind, t.text)).collect()
    }

    #[test]
    fn lifetimes_are_not_chars() {
        assert_eq!(
            kinds("&'a x '{' '\\'' 'é' b'\"'"),
            [
                (Kind::Punct, "&"),
                (Kind::Lifetime, "'a"),
                (Kind::Ident, "x"),
                (Kind::Literal, "'{'"),
                (Kind::Literal, "'\\''"),
                (Kind::Literal, "'é'"),
                (Kind::Literal, "b'\"'"),
            ]
        );
    }

    #[test]
    fn one_letter_lifetimes_before_a_char_stay_apart() {
        assert_eq!(
            kinds("<'a>('b','c')"),
            [
                (Kind::Punct, "<"),
                (Kind::Lifetime, "'a"),
                (Kind::Punct, ">"),
                (Kind::Punct, "("),
                (Kind::Literal, "'b'"),
                (Kind::Punct, ","),
                (Kind::Literal, "'c'"),
                (Kind::Punct, ")"),
            ]
        );
    }

    #[test]
    fn raw_strings_end_at_their_own_hashes() {
        assert_eq!(
            kinds(r###"r#"a " { b"# br"\" cr##"x"#y"## end"###),
            [
                (Kind::Literal, r###"r#"a " { b"#"###),
                (Kind::Literal, r#"br"\""#),
                (Kind::Literal, r###"cr##"x"#y"##"###),
                (Kind::Ident, "end"),
            ]
        );
    }

    #[test]
    fn raw_identifiers_lose_their_prefix() {
        assert_eq!(
            kinds("r#fn r b"),
            [(Kind::Ident, "fn"), (Kind::Ident, "r"), (Kind::Ident, "b")]
        );
    }

    #[test]
    fn strings_keep_escaped_quotes_and_count_lines() {
        let found = tokens("\"a \\\" {\n\\\\\" after");
        assert_eq!(found.len(), 2);
        assert_eq!(found[1].text, "after");
        assert_eq!(found[1].line, 2);
    }

    #[test]
    fn block_comments_nest() {
        let found = tokens("/* a /* { */ unsafe */ fn\n//! doc\n// fn");
        let kinds: Vec<Kind> = found.iter().map(|t| t.kind).collect();
        assert_eq!(kinds, [Kind::Comment, Kind::Ident, Kind::InnerDoc, Kind::Comment]);
        assert_eq!(found[2].line, 2);
    }

    #[test]
    fn numbers_do_not_swallow_ranges() {
        assert_eq!(
            kinds("0..10 1.5f32 0xFF_u8 x.0.1"),
            [
                (Kind::Literal, "0"),
                (Kind::Punct, "."),
                (Kind::Punct, "."),
                (Kind::Literal, "10"),
                (Kind::Literal, "1.5f32"),
                (Kind::Literal, "0xFF_u8"),
                (Kind::Ident, "x"),
                (Kind::Punct, "."),
                (Kind::Literal, "0.1"),
            ]
        );
    }

    #[test]
    fn unfinished_input_ends_with_the_file() {
        for source in ["\"open", "r#\"open", "/* open", "'", "'\\", "b'", "r#", "é", "1."] {
            let total: usize = tokens(source).iter().map(|t| t.text.len()).sum();
            assert!(total <= source.len(), "{source}");
        }
    }
}
