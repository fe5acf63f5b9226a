//! The checks of one source file.

use super::finding::Finding;
use super::lexer::Token;
use super::paths::paths;
use super::source::Source;
use super::table;

/// Runs every check on one file.
pub(crate) fn check(source: &Source<'_>) -> Vec<Finding> {
    let checks = [file_length, function_length, unsafe_home, unfinished, rfc_in_docs, banned_io];
    checks.into_iter().flat_map(|check| check(source)).collect()
}

fn file_length(source: &Source<'_>) -> Vec<Finding> {
    let lines = source.text.lines().count();
    if lines <= table::FILE_LINES_MAX {
        return Vec::new();
    }
    let what = format!("the file has {lines} lines, {} is the end", table::FILE_LINES_MAX);
    vec![Finding::new(source.path, 1, what, "move one idea into a file of its own")]
}

/// Stricter than `clippy::too_many_lines` with the same limit, which counts the body alone and
/// skips blank lines and comments.
fn function_length(source: &Source<'_>) -> Vec<Finding> {
    let long = source.functions().into_iter().filter(|f| f.lines > table::FUNCTION_LINES_MAX);
    long.map(|f| {
        let what = format!("`{}` has {} lines of {}", f.name, f.lines, table::FUNCTION_LINES_MAX);
        Finding::new(source.path, f.line, what, "keep the branches here, move the leaves out")
    })
    .collect()
}

fn unsafe_home(source: &Source<'_>) -> Vec<Finding> {
    if source.path.starts_with(table::UNSAFE_HOME) {
        return Vec::new();
    }
    let found = source.code.iter().filter(|token| token.is_ident("unsafe"));
    let what = format!("`unsafe` outside {}", table::UNSAFE_HOME);
    found
        .map(|t| Finding::new(source.path, t.line, what.clone(), "give adit-sys a safe function"))
        .collect()
}

/// Marks of work left undone, in comments, macros and attributes.
fn unfinished(source: &Source<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for token in source.all.iter().filter(|token| token.is_comment()) {
        for (offset, line) in token.text.lines().enumerate() {
            if let Some(word) = words(line).find(|word| table::UNFINISHED_WORDS.contains(word)) {
                let what = format!("`{word}` in a comment");
                let fix = "finish it, or leave it out and open an issue";
                findings.push(Finding::new(source.path, token.line + offset, what, fix));
            }
        }
    }
    for path in paths(&source.code) {
        if path.words.last().is_some_and(|w| table::UNFINISHED_MACROS.contains(&w.as_str())) {
            let what = format!("`{}`", path.words.join("::"));
            findings.push(Finding::new(source.path, path.line, what, "write it or leave it out"));
        }
    }
    findings.extend(source.attributes().into_iter().filter_map(|a| ignored(source, a)));
    findings
}

fn words(line: &str) -> impl Iterator<Item = &str> {
    line.split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
}

fn ignored(source: &Source<'_>, attribute: &[Token<'_>]) -> Option<Finding> {
    let first = attribute.first()?;
    let conditional = first.is_ident("cfg_attr");
    let mark = attribute.iter().find(|token| token.is_ident("ignore"))?;
    (conditional || first.is_ident("ignore")).then(|| {
        let fix = "let it run everywhere, or let it return early and say why";
        Finding::new(source.path, mark.line, "a test that nobody runs".to_owned(), fix)
    })
}

/// A file about a protocol says first which document it implements.
fn rfc_in_docs(source: &Source<'_>) -> Vec<Finding> {
    let wanted = table::PROTOCOL_FOLDERS.iter().any(|folder| source.path.starts_with(folder));
    let excused = table::NO_RFC_NEEDED.contains(&source.path) || source.is_test_file();
    if !wanted || excused || names_rfc(&source.module_summary()) {
        return Vec::new();
    }
    let what = "the first paragraph of the module's docs names no RFC".to_owned();
    let fix = "begin with `//! What this is, RFC 7296 §3.11.` or add the file to NO_RFC_NEEDED";
    vec![Finding::new(source.path, 1, what, fix)]
}

fn names_rfc(text: &str) -> bool {
    let mut after = text.split("RFC ").skip(1);
    after.any(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
}

/// A pure crate has no clock, entropy, socket, thread, file or terminal (its tests may).
fn banned_io(source: &Source<'_>) -> Vec<Finding> {
    let pure = table::PURE_SOURCES.iter().any(|folder| source.path.starts_with(folder));
    let excused = table::PURE_EXCEPT.iter().any(|folder| source.path.starts_with(folder));
    if !pure || excused {
        return Vec::new();
    }
    let paths = paths(&source.code).into_iter().filter(|path| !source.is_test_line(path.line));
    paths
        .filter_map(|path| {
            let ban = table::BANNED_IO.iter().find(|ban| path.contains(ban.words))?;
            if table::EXCUSED_IO.contains(&(source.path, ban.words)) {
                return None;
            }
            let what = format!("`{}` in a pure crate", ban.words.join("::"));
            Some(Finding::new(source.path, path.line, what, ban.instead))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(path: &str, text: &str) -> Vec<String> {
        check(&Source::new(path, text)).iter().map(ToString::to_string).collect()
    }

    fn is_clean(path: &str, text: &str) {
        assert_eq!(found(path, text), Vec::<String>::new());
    }

    fn is_found(path: &str, text: &str, what: &str) {
        let all = found(path, text);
        assert!(all.len() == 1 && all[0].contains(what), "{all:?}");
    }

    #[test]
    fn long_files_and_functions_are_found() {
        is_found("crates/db/src/a.rs", &"\n".repeat(801), "a.rs:1: the file has 801 lines");
        is_clean("crates/db/src/a.rs", &"\n".repeat(800));
        let body = |lines| format!("\nfn a() {{\n{}}}\n", "x();\n".repeat(lines));
        is_found("crates/db/src/a.rs", &body(69), "a.rs:2: `a` has 71 lines of 70");
        is_clean("crates/db/src/a.rs", &body(68));
    }

    #[test]
    fn unsafe_lives_in_one_crate() {
        let block = "fn a() { unsafe { b() } }";
        is_found("crates/db/src/a.rs", block, "db/src/a.rs:1: `unsafe` outside crates/sys/");
        is_clean("crates/sys/src/a.rs", block);
        is_clean(
            "crates/db/src/a.rs",
            "#![forbid(unsafe_code)]\n// unsafe\nconst A: &str = \"unsafe\";",
        );
    }

    #[test]
    fn unfinished_work_is_found() {
        is_found("crates/db/src/a.rs", "// TODO: later", "`TODO` in a comment");
        is_found("crates/db/src/a.rs", "/* one\n FIXME\n*/", "a.rs:2: `FIXME`");
        is_found("crates/db/src/a.rs", "/// XXX\nfn a() {}", "`XXX`");
        is_found("crates/db/src/a.rs", "fn a() { todo!() }", "`todo!`");
        is_found("crates/db/src/a.rs", "fn a() { unimplemented!(\"b\") }", "`unimplemented!`");
        is_found(
            "crates/db/src/a.rs",
            "#[test]\n#[ignore = \"slow\"]\nfn a() {}",
            "a.rs:2: a test",
        );
        is_found("crates/db/src/a.rs", "#[cfg_attr(b, ignore)]\nfn a() {}", "nobody runs");
        is_clean(
            "crates/db/src/a.rs",
            "// TODOS, XXXX, autodo\nlet todo = \"TODO\"; if todo != 1 {}",
        );
        is_clean("crates/db/src/a.rs", "#[doc = \"ignore\"]\nfn ignore() {}");
    }

    #[test]
    fn protocol_files_name_their_rfc() {
        let path = "crates/wire/src/ikev2/delete.rs";
        is_clean(path, "//! Delete payload body,\n//! RFC 7296 §3.11.\n");
        is_found(path, "//! Delete payload body.\n//!\n//! RFC 7296 §3.11.\n", "names no RFC");
        is_found(path, "fn a() {}", "names no RFC");
        is_clean("crates/wire/src/reader.rs", "//! Reads.");
        is_clean("crates/dataplane/src/esp/tests.rs", "//! Tests.");
    }

    #[test]
    fn pure_crates_do_no_io() {
        let path = "crates/ike/src/a.rs";
        is_found(path, "use std::fs;", "`std::fs` in a pure crate");
        is_found(path, "use std::{io, net::{IpAddr, UdpSocket}};", "`UdpSocket`");
        is_found(path, "fn a() { std::thread::sleep(b) }", "`std::thread`");
        is_found(path, "fn a() { let now = Instant::now(); }", "`Instant::now`");
        is_found(path, "fn a() { let now = std::time::SystemTime::now(); }", "`SystemTime::now`");
        is_found(path, "fn a() { println!(\"b\") }", "`println!`");
        is_found(path, "fn a() { std::io::stdout().flush() }", "`io::stdout`");
        is_found(path, "fn a() { b(&mut SystemRng) }", "`SystemRng`");
        is_found(path, "fn a() { aws_lc_rs::rand::fill(b) }", "`rand::fill`");
        is_clean("crates/crypto/src/random.rs", "fn a() { aws_lc_rs::rand::fill(b) }");
        is_clean(path, "use std::net::IpAddr; fn a(now: Instant) { self.fs.now() }");
        is_clean(path, "#[cfg(test)]\nmod tests {\n use std::fs;\n}");
        is_clean("crates/ike/tests/a.rs", "use std::fs;");
        is_clean("crates/aditd/src/a.rs", "use std::fs;");
        is_clean("crates/sim/src/bin/seeds.rs", "fn a() { println!(\"b\") }");
    }
}
