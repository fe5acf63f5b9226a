//! A configuration whose files several threads have divided is the one that one thread reads.

use std::path::Path;

use adit_crypto::Secret;
use adit_mgmt::config::{self, Files, SecretFile, SourceFile};

fn secret(_: &Path) -> Result<SecretFile, String> {
    Ok(SecretFile { octets: Secret::from_slice(b"0123456789abcdef0123456789abcdef"), mode: 0o600 })
}

/// Tunnels to hosts of their own; of some what stands behind `more` as well.
fn tunnels(count: usize, more: impl Fn(usize) -> &'static str) -> Vec<SourceFile> {
    let file = |number: usize| SourceFile {
        path: format!("/etc/adit/tunnels/t{number:03}.toml").into(),
        text: format!(
            "peer = \"192.0.2.{number}\"\nlocal = \"10.1.0.0/24\"\nremote = \"10.2.{number}.0/24\"\n\
             secret = \"file:all.psk\"\n{}",
            more(number)
        ),
    };
    (0..count).map(file).collect()
}

#[test]
fn parts_make_the_same_whole() {
    let files = tunnels(50, |_| "");
    let whole = config::load(&files, &secret).unwrap();
    for size in [1, 7, 49, 50] {
        let parts = files.chunks(size).map(|part| config::read_tunnels(part, &secret)).collect();
        let all = Files { tunnels: &files, ..Files::default() };
        let joined = config::load_read(all, parts, &secret).unwrap();
        assert!(config::diff(&whole, &joined).is_empty());
        assert_eq!(joined.tunnels.len(), 50);
    }
}

#[test]
fn mistakes_of_all_parts_are_told_in_order_and_so_are_clashes_between_parts() {
    let sentences = |files: &[SourceFile], size: usize| -> Vec<String> {
        let parts = files.chunks(size).map(|part| config::read_tunnels(part, &secret)).collect();
        let all = Files { tunnels: files, ..Files::default() };
        let problems = config::load_read(all, parts, &secret).unwrap_err();
        problems.iter().map(|problem| format!("{}: {}", problem.tunnel, problem.sentence)).collect()
    };
    let wrong = tunnels(20, |number| if number % 6 == 1 { "colour = \"red\"" } else { "" });
    let told = sentences(&wrong, 20);
    assert_eq!(told.len(), 4);
    assert_eq!(sentences(&wrong, 3), told);

    let mut clashing = tunnels(9, |_| "");
    clashing[8].text = clashing[8].text.replace("10.2.8.0/24", "10.2.0.0/25");
    let told = sentences(&clashing, 9);
    assert_eq!(told.len(), 1);
    assert_eq!(sentences(&clashing, 4), told);
}
