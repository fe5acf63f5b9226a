//! Arrows between crates, as `cargo metadata` tells them.

use anyhow::Context as _;
use serde::Deserialize;

use super::finding::Finding;
use super::table::{ARROWS, BENCHES, IO_CRATES, PURE_CRATES, SIMULATOR};

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    dependencies: Vec<Dependency>,
}

#[derive(Deserialize)]
struct Dependency {
    name: String,
    /// `null`, `"dev"` or `"build"`.
    kind: Option<String>,
    /// Set for crates of this workspace alone.
    path: Option<String>,
}

/// Checks the output of `cargo metadata --no-deps --format-version 1`. `manifest` finds the
/// manifest of a crate and the line on which a dependency stands.
pub(crate) fn check(
    metadata: &str,
    manifest: &dyn Fn(&str, &str) -> (String, usize),
) -> anyhow::Result<Vec<Finding>> {
    let metadata: Metadata =
        serde_json::from_str(metadata).context("cargo metadata printed something else")?;
    let mut findings = Vec::new();
    for package in &metadata.packages {
        for dependency in &package.dependencies {
            if let Some((what, fix)) = verdict(&package.name, dependency) {
                let (path, line) = manifest(&package.name, &dependency.name);
                findings.push(Finding::new(&path, line, what, fix));
            }
        }
        if !ARROWS.iter().any(|arrows| arrows.from == package.name) {
            let (path, line) = manifest(&package.name, "name");
            let what = format!("crate `{}` has no place in the table of arrows", package.name);
            findings.push(Finding::new(&path, line, what, "add it to xtask/src/tidy/table.rs"));
        }
    }
    Ok(findings)
}

/// What is wrong with one dependency, and what to do.
fn verdict(from: &str, dependency: &Dependency) -> Option<(String, &'static str)> {
    let to = dependency.name.as_str();
    let dev = dependency.kind.as_deref() == Some("dev");
    if dependency.path.is_none() {
        let io = !dev && PURE_CRATES.contains(&from) && IO_CRATES.contains(&to);
        let what = format!("pure crate `{from}` depends on `{to}`, which does I/O");
        return io.then_some((what, "do the I/O in adit-sys or in a program"));
    }
    // A crate that is not in the table gets one finding, not one per dependency.
    let arrows = ARROWS.iter().find(|arrows| arrows.from == from)?;
    if arrows.to.contains(&to) || (dev && (to == SIMULATOR || (from, to) == BENCHES)) {
        return None;
    }
    let what = format!("forbidden arrow `{from}` -> `{to}`");
    Some((what, "see ARCHITECTURE.md; let the two meet in a value of a lower crate"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(from: &str, to: &str, kind: &str, path: &str) -> Vec<String> {
        let metadata = format!(
            r#"{{"packages":[{{"name":"{from}","dependencies":[{{"name":"{to}","kind":{kind},"path":{path}}}]}}]}}"#
        );
        let manifest = |name: &str, _: &str| (format!("crates/{name}/Cargo.toml"), 3);
        let findings = check(&metadata, &manifest).expect("metadata");
        findings.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn ike_and_dataplane_do_not_know_each_other() {
        let all = found("adit-ike", "adit-dataplane", "null", "\"x\"");
        assert!(all[0].starts_with("crates/adit-ike/Cargo.toml:3: forbidden arrow"), "{all:?}");
        assert_eq!(found("adit-ike", "adit-dataplane", "\"dev\"", "\"x\"").len(), 1);
        assert_eq!(found("adit-ike", "adit-db", "null", "\"x\"").len(), 0);
    }

    #[test]
    fn the_simulator_is_nobodys_normal_dependency() {
        assert_eq!(found("adit-ike", "adit-sim", "null", "\"x\"").len(), 1);
        assert_eq!(found("adit-ike", "adit-sim", "\"dev\"", "\"x\"").len(), 0);
    }

    #[test]
    fn pure_crates_depend_on_no_io() {
        assert_eq!(found("adit-ike", "nix", "null", "null").len(), 1);
        assert_eq!(found("adit-ike", "nix", "\"dev\"", "null").len(), 0);
        assert_eq!(found("adit-sys", "nix", "null", "null").len(), 0);
    }

    #[test]
    fn a_new_crate_needs_a_place() {
        let all = found("adit-new", "adit-wire", "null", "\"x\"");
        assert!(all.len() == 1 && all[0].contains("no place"), "{all:?}");
    }
}
