//! Tunnel files: any text gives tunnels, or mistakes that can be shown; secrets are never shown.
//!
//! The first line says what secrets' files hold: octal permissions, a space, the contents (`-`
//! and nothing else: there is no such file). Tunnels follow; a line `--- NAME` begins the next.

#![no_main]

use std::path::Path;

use adit_crypto::Secret;
use adit_mgmt::config::{self, ConfigError, Configuration, SecretFile, SourceFile};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|octets: &[u8]| {
    let head_len = octets.iter().position(|octet| *octet == b'\n').unwrap_or(octets.len());
    let (head, text) = octets.split_at(head_len);
    let Ok(text) = str::from_utf8(text.get(1..).unwrap_or_default()) else {
        return;
    };
    let files = files(text);
    let secret = secret(head);
    let read = |_: &Path| -> Result<SecretFile, String> {
        let (octets, mode) = secret.ok_or("No such file or directory (os error 2)")?;
        Ok(SecretFile { octets: Secret::from_slice(octets), mode })
    };
    // A secret that stands in a tunnel's file may be shown as part of that.
    let telling = secret
        .and_then(|(octets, _)| str::from_utf8(octets).ok())
        .filter(|secret| secret.len() >= SECRET_LEN_TELLING && !text.contains(secret));

    match config::load(&files, &read) {
        Ok(configuration) => {
            check_tunnels(&configuration, files.len());
            check_mistakes(&configuration.warnings, telling);
            let again = config::load(&files, &read).expect("the same files");
            let changes = config::diff(&configuration, &again);
            assert!(changes.is_empty(), "{changes:?}");
            let nothing = Configuration::default();
            let changes = config::diff(&nothing, &again);
            assert_eq!(changes.added.len(), configuration.tunnels.len());
        }
        Err(mistakes) => {
            assert!(!mistakes.is_empty());
            check_mistakes(&mistakes, telling);
        }
    }
});

fn files(text: &str) -> Vec<SourceFile> {
    let text = format!("--- berlin\n{text}");
    let parts = text.strip_prefix("--- ").unwrap_or_default().split("\n--- ");
    parts
        .map(|part| {
            let (name, text) = part.split_once('\n').unwrap_or((part, ""));
            SourceFile { path: format!("tunnels/{name}.toml").into(), text: text.to_owned() }
        })
        .collect()
}

/// The contents of secrets' files, and their mode.
fn secret(head: &[u8]) -> Option<(&[u8], u32)> {
    let space = head.iter().position(|octet| *octet == b' ')?;
    let (mode, contents) = head.split_at(space);
    let mode = u32::from_str_radix(str::from_utf8(mode).ok()?, 8).ok()?;
    Some((&contents[1..], mode))
}

fn check_tunnels(configuration: &Configuration, files: usize) {
    assert_eq!(configuration.tunnels.len(), files);
    for (name, tunnel) in &configuration.tunnels {
        assert_eq!(tunnel.connection.name.as_str(), name);
        let [child] = tunnel.connection.children.as_slice() else {
            panic!("{name} has {} children", tunnel.connection.children.len());
        };
        assert_eq!(child.name.as_str(), name);
        assert!(!child.local_ts.is_empty() && !child.remote_ts.is_empty(), "{name}");
        assert!(!tunnel.connection.proposals.is_empty() && !child.proposals.is_empty());
        let secret = tunnel.secret.as_ref();
        assert!(secret.is_none_or(|secret| !secret.octets.is_empty()));
        let context = tunnel.context();
        assert!(context.key_lines.values().all(|line| *line >= 1));
        let _ = secret.map(|secret| secret.facts.to_string());
    }
}

fn check_mistakes(mistakes: &[ConfigError], secret: Option<&str>) {
    for mistake in mistakes {
        assert!(!mistake.sentence.is_empty());
        let plain = mistake.render(false);
        assert!(plain.starts_with("error[E") || plain.starts_with("warning[E"), "{plain}");
        assert_eq!(mistake.to_problem().rendered, plain);
        assert!(mistake.render(true).contains('\x1b'));
        assert!(secret.is_none_or(|secret| !plain.contains(secret)), "{plain}");
    }
}

/// A shorter secret may stand in a message by chance.
const SECRET_LEN_TELLING: usize = 24;
