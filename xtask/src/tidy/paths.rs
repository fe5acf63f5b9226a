//! Paths as a compiler would read them: `use` trees spread out, macros with their `!`.

use super::lexer::{Kind, Token};

/// One path.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Path {
    /// Its words without the `::`; the name of a macro carries its `!`.
    pub(crate) words: Vec<String>,
    /// The line of its last word.
    pub(crate) line: usize,
}

impl Path {
    /// Do these words stand in it, one after the other?
    pub(crate) fn contains(&self, words: &[&str]) -> bool {
        self.words.windows(words.len()).any(|window| window == words)
    }
}

/// Every path in `code`, which is free of comments. `a::{b, c::d}` gives `a::b` and `a::c::d`.
pub(crate) fn paths(code: &[Token<'_>]) -> Vec<Path> {
    let mut reader = Reader { code, at: 0, found: Vec::new() };
    while reader.at < code.len() {
        if !reader.read(&Path::default()) {
            reader.at += 1;
        }
    }
    reader.found
}

struct Reader<'s, 'a> {
    code: &'s [Token<'a>],
    at: usize,
    found: Vec<Path>,
}

impl Reader<'_, '_> {
    /// Reads the path that starts here, if one does, as a continuation of `prefix`.
    fn read(&mut self, prefix: &Path) -> bool {
        let mut path = prefix.clone();
        let start = self.at;
        while let Some(token) = self.code.get(self.at).filter(|t| t.kind == Kind::Ident) {
            path.words.push(token.text.to_owned());
            path.line = token.line;
            self.at += 1;
            if !self.is_separator() {
                break;
            }
            self.at += 2;
            if self.is('{') {
                self.read_group(&path);
                return true;
            }
        }
        if self.at == start {
            return false;
        }
        if self.is('!') && !self.is_at(self.at + 1, '=') {
            let last = path.words.pop().unwrap_or_default();
            path.words.push(format!("{last}!"));
        }
        self.found.push(path);
        true
    }

    /// Reads `{b, c::{d, e}}` behind `prefix::`.
    fn read_group(&mut self, prefix: &Path) {
        self.at += 1;
        while self.at < self.code.len() && !self.is('}') {
            if !self.read(prefix) {
                self.at += 1;
            }
        }
        self.at += 1;
    }

    fn is_separator(&self) -> bool {
        self.is(':') && self.is_at(self.at + 1, ':')
    }

    fn is(&self, sign: char) -> bool {
        self.is_at(self.at, sign)
    }

    fn is_at(&self, at: usize, sign: char) -> bool {
        self.code.get(at).is_some_and(|token| token.is_punct(sign))
    }
}

#[cfg(test)]
mod tests {
    use super::super::lexer::tokens;
    use super::*;

    fn joined(text: &str) -> Vec<String> {
        paths(&tokens(text)).iter().map(|path| path.words.join("::")).collect()
    }

    #[test]
    fn use_trees_are_spread_out() {
        assert_eq!(
            joined("use std::{fs, net::{IpAddr, UdpSocket}, time::*};"),
            ["use", "std::fs", "std::net::IpAddr", "std::net::UdpSocket", "std::time"]
        );
    }

    #[test]
    fn macros_carry_their_mark() {
        assert_eq!(joined("std::println!(a); b != c"), ["std::println!", "a", "b", "c"]);
    }

    #[test]
    fn unfinished_paths_end_with_the_file() {
        for text in ["a::", "a::{", "a::{b", "a::{b,", "a::{::", "{", "a::{b::{c"] {
            let _ = joined(text);
        }
    }
}
