//! `cargo xtask lifetimes`: writes the tables of `docs/lifetimes.md` anew.

use std::process::{ExitCode, Stdio};

use anyhow::Context as _;

use crate::root;

/// Where the test that compares the document with the code leaves what would be right.
const RIGHT: &str = "tmp/lifetimes.md";

/// Runs the verb. The test fails where there is something to write.
pub(crate) fn run() -> anyhow::Result<ExitCode> {
    let right = root::target().join(RIGHT);
    if right.exists() {
        std::fs::remove_file(&right).with_context(|| format!("cannot remove {right:?}"))?;
    }
    let mut cargo = root::cargo();
    cargo.args(["test", "--quiet", "-p", "adit-ike", "--test", "lifetimes", "the_document"]);
    cargo.stdout(Stdio::null()).status().context("cannot start cargo")?;
    let text = std::fs::read(&right).context("crates/ike/tests/lifetimes.rs did not run")?;
    let document = root::path("docs/lifetimes.md");
    std::fs::write(&document, text).with_context(|| format!("cannot write {document:?}"))?;
    Ok(ExitCode::SUCCESS)
}
