//! One Rust file, taken apart once for all checks.

use super::lexer::{Kind, Token, tokens};

/// A Rust source with its tokens and the lines that only tests compile.
pub(crate) struct Source<'a> {
    /// Path from the root of the workspace, with `/`.
    pub(crate) path: &'a str,
    /// The whole text.
    pub(crate) text: &'a str,
    /// Everything, comments included.
    pub(crate) all: Vec<Token<'a>>,
    /// The tokens the compiler sees.
    pub(crate) code: Vec<Token<'a>>,
    test_lines: Vec<(usize, usize)>,
}

/// A function with a body.
#[derive(Debug, Eq, PartialEq)]
pub(crate) struct Function<'a> {
    /// Its name.
    pub(crate) name: &'a str,
    /// The line of the word `fn`.
    pub(crate) line: usize,
    /// Lines from the word `fn` to the closing brace, both included.
    pub(crate) lines: usize,
}

impl<'a> Source<'a> {
    /// Scans `text`, which was read from `path`.
    pub(crate) fn new(path: &'a str, text: &'a str) -> Self {
        let all = tokens(text);
        let code: Vec<Token<'a>> = all.iter().copied().filter(|t| !t.is_comment()).collect();
        let test_lines = test_lines(&code);
        Self { path, text, all, code, test_lines }
    }

    /// Is the whole file for tests or benches?
    pub(crate) fn is_test_file(&self) -> bool {
        let mut parts = self.path.split('/').rev();
        let file = parts.next().unwrap_or_default();
        file == "tests.rs" || parts.any(|part| part == "tests" || part == "benches")
    }

    /// Is this line compiled for tests only?
    pub(crate) fn is_test_line(&self, line: usize) -> bool {
        self.is_test_file()
            || self.test_lines.iter().any(|(from, to)| (*from..=*to).contains(&line))
    }

    /// The functions that have a body, outer before inner.
    pub(crate) fn functions(&self) -> Vec<Function<'a>> {
        let starts = self.code.iter().enumerate().filter(|(_, token)| token.is_ident("fn"));
        starts.filter_map(|(at, _)| function_at(&self.code, at)).collect()
    }

    /// The attributes, each as the tokens between its brackets.
    pub(crate) fn attributes(&self) -> Vec<&[Token<'a>]> {
        let starts = (0..self.code.len()).filter(|at| is_attribute(&self.code, *at));
        starts.filter_map(|at| Some(attribute_at(&self.code, at)?.0)).collect()
    }

    /// The first paragraph of the module's documentation, as one line.
    pub(crate) fn module_summary(&self) -> String {
        let docs = self.all.iter().filter(|t| t.kind == Kind::InnerDoc);
        let lines = docs.flat_map(|t| t.text.lines()).map(strip_doc_signs);
        let paragraph =
            lines.skip_while(|line| line.is_empty()).take_while(|line| !line.is_empty());
        paragraph.collect::<Vec<_>>().join(" ")
    }
}

fn strip_doc_signs(line: &str) -> &str {
    let line = line.trim();
    let line = ["//!", "/*!", "*"].iter().find_map(|sign| line.strip_prefix(sign)).unwrap_or(line);
    line.trim_end_matches("*/").trim()
}

/// Index of the bracket that closes the one at `open`.
fn closing(code: &[Token<'_>], open: usize) -> Option<usize> {
    let mut depth = 0_usize;
    for (at, token) in code.iter().enumerate().skip(open) {
        if token.kind != Kind::Punct {
            continue;
        }
        match token.text {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" | "}" => depth = depth.checked_sub(1)?,
            _ => {}
        }
        if depth == 0 {
            return Some(at);
        }
    }
    None
}

/// Index of the `{` or `;` at which the signature that starts at `from` ends.
fn signature_end(code: &[Token<'_>], from: usize) -> Option<usize> {
    let mut at = from;
    loop {
        let token = code.get(at).filter(|t| t.kind == Kind::Punct);
        match token.map(|t| t.text) {
            Some(";") => return Some(at),
            Some("{") if !is_const_argument(code, at) => return Some(at),
            Some("(" | "[" | "{") => at = closing(code, at)?,
            Some(")" | "]" | "}") => return None,
            Some(_) => {}
            None => {
                code.get(at)?;
            }
        }
        at += 1;
    }
}

/// `Buffer<{ N + 1 }>` is a type, not a body.
fn is_const_argument(code: &[Token<'_>], open: usize) -> bool {
    let before = open.checked_sub(1).and_then(|at| code.get(at));
    let after = closing(code, open).and_then(|at| code.get(at + 1));
    before.is_some_and(|t| t.is_punct('<')) || after.is_some_and(|t| t.is_punct('>'))
}

/// The function whose word `fn` stands at `at`; `None` for function pointer types and for
/// declarations without a body.
fn function_at<'a>(code: &[Token<'a>], at: usize) -> Option<Function<'a>> {
    let keyword = code.get(at)?;
    // `fn $name` in a macro.
    let name_at = if code.get(at + 1)?.is_punct('$') { at + 2 } else { at + 1 };
    let name = code.get(name_at).filter(|t| t.kind == Kind::Ident)?;
    let open = signature_end(code, name_at + 1)?;
    if !code.get(open)?.is_punct('{') {
        return None;
    }
    let close = code.get(closing(code, open)?)?;
    Some(Function { name: name.text, line: keyword.line, lines: close.line - keyword.line + 1 })
}

fn is_attribute(code: &[Token<'_>], at: usize) -> bool {
    let sign = |at: usize, c| code.get(at).is_some_and(|t: &Token<'_>| t.is_punct(c));
    sign(at, '#') && (sign(at + 1, '[') || sign(at + 1, '!') && sign(at + 2, '['))
}

/// The tokens inside the attribute whose `#` stands at `at`, and the index of its `]`.
fn attribute_at<'s, 'a>(code: &'s [Token<'a>], at: usize) -> Option<(&'s [Token<'a>], usize)> {
    let open = if code.get(at + 1)?.is_punct('!') { at + 2 } else { at + 1 };
    let close = closing(code, open)?;
    Some((code.get(open + 1..close)?, close))
}

/// `cfg(test)`, `cfg(all(test, …))`, but not `cfg(not(test))`.
fn is_cfg_test(attribute: &[Token<'_>]) -> bool {
    attribute.first().is_some_and(|t| t.is_ident("cfg"))
        && attribute.iter().any(|t| t.is_ident("test"))
        && !attribute.iter().any(|t| t.is_ident("not"))
}

/// First and last line of each item under `#[cfg(test)]`.
fn test_lines(code: &[Token<'_>]) -> Vec<(usize, usize)> {
    let mut regions = Vec::new();
    for (at, token) in code.iter().enumerate() {
        if !is_attribute(code, at) {
            continue;
        }
        let Some((attribute, close)) = attribute_at(code, at) else {
            continue;
        };
        let Some(end) = is_cfg_test(attribute).then(|| item_end(code, close + 1)).flatten() else {
            continue;
        };
        regions.push((token.line, code.get(end).map_or(usize::MAX, |t| t.line)));
    }
    regions
}

/// Index of the `}` or `;` that ends the item at `from`, whose other attributes may come first.
fn item_end(code: &[Token<'_>], from: usize) -> Option<usize> {
    let mut at = from;
    while is_attribute(code, at) {
        at = attribute_at(code, at)?.1 + 1;
    }
    let end = signature_end(code, at)?;
    if code.get(end)?.is_punct('{') { closing(code, end) } else { Some(end) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lengths(text: &str) -> Vec<(&str, usize)> {
        Source::new("x.rs", text).functions().iter().map(|f| (f.name, f.lines)).collect()
    }

    #[test]
    fn a_function_counts_from_its_signature_to_its_brace() {
        assert_eq!(lengths("fn a() {}\nfn b(\n  x: u8,\n) {\n  x\n}\n"), [("a", 1), ("b", 5)]);
    }

    #[test]
    fn braces_in_literals_and_comments_do_not_count() {
        let text = r##"fn a<'a>() {
            let _ = ('{', "{", r#"}"#, b'}', '\'', '}');
            // }
            /* } /* { */ */
        }
        fn b() {}"##;
        assert_eq!(lengths(text), [("a", 5), ("b", 1)]);
    }

    #[test]
    fn nested_functions_count_in_both() {
        assert_eq!(lengths("fn a() {\n fn b() {\n }\n}"), [("a", 4), ("b", 2)]);
    }

    #[test]
    fn types_declarations_and_const_arguments_are_no_bodies() {
        let text = "trait T { fn a(&self); fn b() -> [u8; { 1 }]; }\ntype F = fn(u8) -> u8;\n\
                    fn c() -> B<{ N }>\nwhere\n  [(); { N }]: Sized,\n{\n}";
        assert_eq!(lengths(text), [("c", 5)]);
    }

    #[test]
    fn functions_in_macros_are_found() {
        let text = "macro_rules! m { ($n:ident) => { fn $n() {\n} } }";
        assert_eq!(lengths(text), [("n", 2)]);
    }

    #[test]
    fn test_modules_are_known_by_line() {
        let text = "fn a() {}\n#[cfg(test)]\n#[allow(x)]\nmod tests {\n fn b() {}\n}\nfn c() {}\n\
                    #[cfg(not(test))]\nmod d {}\n";
        let source = Source::new("crates/wire/src/x.rs", text);
        let marked: Vec<usize> = (1..=9).filter(|line| source.is_test_line(*line)).collect();
        assert_eq!(marked, [2, 3, 4, 5, 6]);
    }

    #[test]
    fn test_files_are_known_by_path() {
        for path in ["crates/a/tests/x.rs", "crates/a/benches/x.rs", "crates/a/src/b/tests.rs"] {
            assert!(Source::new(path, "").is_test_file(), "{path}");
        }
        assert!(!Source::new("crates/a/src/attests.rs", "").is_test_file());
    }

    #[test]
    fn the_summary_is_the_first_paragraph() {
        let text = "//! Delete payload,\n//! RFC 7296.\n//!\n//! More.\nfn a() {}";
        assert_eq!(Source::new("x.rs", text).module_summary(), "Delete payload, RFC 7296.");
        assert_eq!(Source::new("x.rs", "fn a() {}").module_summary(), "");
    }

    #[test]
    fn attributes_are_listed() {
        let source = Source::new("x.rs", "#![deny(x)]\n#[ignore = \"slow\"]\nfn a() { b[0] }");
        let first: Vec<&str> = source.attributes().iter().map(|a| a[0].text).collect();
        assert_eq!(first, ["deny", "ignore"]);
    }
}
