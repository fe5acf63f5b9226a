//! `cargo xtask tidy`: what the compiler and clippy cannot see.

mod arrows;
mod finding;
mod lexer;
mod named;
mod paths;
mod rules;
mod source;
mod table;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;

use crate::root;
use finding::Finding;
use source::Source;

/// Folders whose Rust sources are checked.
const FOLDERS: [&str; 3] = ["crates", "xtask", "fuzz"];

/// Folders below them that hold no source of ours.
const SKIPPED: [&str; 4] = ["target", "corpus", "artifacts", "coverage"];

/// Checks the workspace and prints one line per finding.
pub(crate) fn run() -> anyhow::Result<ExitCode> {
    let mut findings = arrows::check(&metadata()?, &manifest_line)?;
    findings.extend(manifests()?);
    findings.extend(named::check()?);
    let files = sources()?;
    for file in &files {
        findings.extend(check_file(file)?);
    }
    findings.sort();
    for finding in &findings {
        println!("{finding}");
    }
    if findings.is_empty() {
        eprintln!("tidy: {} files, nothing to mend", files.len());
        return Ok(ExitCode::SUCCESS);
    }
    eprintln!("tidy: {} findings in {} files", findings.len(), files.len());
    Ok(ExitCode::FAILURE)
}

fn metadata() -> anyhow::Result<String> {
    let output = root::cargo()
        .args(["metadata", "--no-deps", "--format-version", "1"])
        .output()
        .context("cannot start cargo")?;
    let complaint = String::from_utf8_lossy(&output.stderr);
    anyhow::ensure!(output.status.success(), "cargo metadata failed: {complaint}");
    String::from_utf8(output.stdout).context("cargo metadata is not UTF-8")
}

/// The manifest of a crate, and the line that starts with `key`.
fn manifest_line(krate: &str, key: &str) -> (String, usize) {
    let folder = krate.strip_prefix("adit-").unwrap_or(krate);
    let path = if krate == "xtask" {
        "xtask/Cargo.toml".to_owned()
    } else {
        format!("crates/{folder}/Cargo.toml")
    };
    let text = fs::read_to_string(root::path(&path)).unwrap_or_default();
    let line = text.lines().position(|line| line.starts_with(key)).map_or(1, |at| at + 1);
    (path, line)
}

/// A crate that does not inherit the workspace's lints escapes all of them.
fn manifests() -> anyhow::Result<Vec<Finding>> {
    let mut findings = Vec::new();
    let krates = fs::read_dir(root::path("crates")).context("cannot list crates")?;
    let mut folders = vec!["xtask".to_owned()];
    for krate in krates {
        folders.push(format!("crates/{}", krate?.file_name().to_string_lossy()));
    }
    for path in folders.iter().map(|folder| format!("{folder}/Cargo.toml")) {
        let text = fs::read_to_string(root::path(&path)).with_context(|| format!("no {path}"))?;
        if !text.contains("[lints]\nworkspace = true") {
            let what = "the crate does not inherit the workspace's lints".to_owned();
            findings.push(Finding::new(&path, 1, what, "add `[lints]` with `workspace = true`"));
        }
    }
    Ok(findings)
}

fn sources() -> anyhow::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for folder in FOLDERS.map(root::path).iter().filter(|folder| folder.is_dir()) {
        collect(folder, &mut files)?;
    }
    files.sort();
    Ok(files)
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    let entries =
        fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))?;
    for entry in entries {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if path.is_dir() && !SKIPPED.contains(&name.as_ref()) {
            collect(&path, files)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    Ok(())
}

fn check_file(file: &Path) -> anyhow::Result<Vec<Finding>> {
    let text =
        fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    let short = file.strip_prefix(root::folder()).unwrap_or(file);
    Ok(rules::check(&Source::new(&short.to_string_lossy(), &text)))
}
