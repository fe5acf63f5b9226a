//! One policy's file, `/etc/adit/policies/NAME.toml`: traffic that no tunnel gets (RFC 4301
//! §4.4.1, BYPASS and DISCARD).
//!
//! ```toml
//! action = "bypass"
//! remote = "10.2.0.5/32[tcp/22]"
//! ```

use std::collections::BTreeSet;

use adit_db::{
    Action, ChildConfig, ConnectionName, Keep, OperatorPolicy, PolicyId, Spd, SpdEntry, SpdError,
    Steering,
};
use adit_wire::ikev2::TrafficSelector;

use super::fields::Fields;
use super::report::{ConfigError, Mistake, tunnel_name};
use super::sa::SaDraft;
use super::tunnel::{Draft, read_side};
use super::{Origin, SourceFile};
use crate::codes::Code;

/// A policy that was read without error.
pub(super) struct PolicyDraft<'a> {
    pub(super) file: &'a SourceFile,
    pub(super) policy: OperatorPolicy,
    pub(super) origin: Origin,
}

const ACTIONS: &[(&str, Action)] = &[("bypass", Action::Bypass), ("discard", Action::Discard)];

/// Reads one file; a draft comes out only if there is no error.
pub(super) fn read(file: &SourceFile) -> (Option<PolicyDraft<'_>>, Vec<ConfigError>) {
    let name = match ConnectionName::new(&tunnel_name(file)) {
        Ok(name) => name,
        Err(error) => {
            let sentence = format!("the file's name names no policy: {error}");
            return (None, vec![ConfigError::whole_file(file, sentence)]);
        }
    };
    let mut fields = Fields::new(file);
    let entry = if fields.mistakes.is_empty() { read_entry(&mut fields) } else { None };
    let origin = Origin { file: file.path.clone(), key_lines: fields.key_lines.clone() };
    let mistakes = fields.finish();
    let problems: Vec<_> = mistakes.iter().map(|mistake| mistake.render(file)).collect();
    let policy = entry.filter(|_| problems.is_empty()).map(|entry| OperatorPolicy { name, entry });
    (policy.map(|policy| PolicyDraft { file, policy, origin }), problems)
}

fn read_entry(fields: &mut Fields<'_>) -> Option<SpdEntry> {
    let action = if fields.has("action") {
        fields.word("action", ACTIONS)
    } else {
        fields.missing("action", "\"bypass\" or \"discard\"");
        None
    };
    let mut side = |key| {
        if !fields.has(key) {
            fields.optional(key);
            return vec![TrafficSelector::ANY_V4, TrafficSelector::ANY_V6];
        }
        let mut selectors = Vec::new();
        for ts in read_side(fields, key, None) {
            match ts.value.selector() {
                Some(selector) => selectors.push(selector),
                None => fields.mistake(
                    Mistake::new(ts.span, format!("`{key}` cannot be \"dynamic\""))
                        .label("only a tunnel has an address of its own")
                        .help("write an address or a network"),
                ),
            }
        }
        selectors
    };
    let local = side("local");
    let remote = side("remote");
    Some(SpdEntry { local, remote, action: action?.value })
}

/// Whether all entries together make a database, and which of them can never decide anything.
pub(super) fn judge(
    policies: &[PolicyDraft<'_>],
    sas: &[SaDraft<'_>],
    tunnels: &[Draft<'_>],
) -> Vec<ConfigError> {
    let mut files = Vec::new();
    let mut entries = Vec::new();
    for draft in policies {
        files.push(draft.file);
        entries.push(draft.policy.entry.clone());
    }
    let mut numbers = (0..).map(PolicyId);
    for (draft, number) in sas.iter().zip(&mut numbers) {
        files.push(draft.file);
        entries.push(draft.keyed.sa.policy(number));
    }
    for (draft, number) in tunnels.iter().zip(numbers) {
        let connection = &draft.tunnel.connection;
        // Interfaces and marks are the kernel's, and keep packets apart that are alike here.
        let is_plain = |child: &&ChildConfig| child.kernel.steering == Steering::default();
        let held = |child: &&ChildConfig| child.keep != Keep::Passive && child.class.is_none();
        for child in connection.children.iter().filter(held).filter(is_plain) {
            let entry = SpdEntry::configured(connection, child, number);
            files.extend(entry.as_ref().map(|_| draft.file));
            entries.extend(entry);
        }
    }
    // What an inner tunnel has sealed gets to its outer one past all policies.
    let connections = || tunnels.iter().map(|draft| (draft, &draft.tunnel.connection));
    let outer: BTreeSet<_> = connections().filter_map(|(_, one)| one.over.as_ref()).collect();
    let outer = connections().filter(|(_, one)| outer.contains(&one.name));
    let outer: BTreeSet<_> = outer.map(|(draft, _)| &draft.file.path).collect();
    match Spd::new(entries) {
        Ok(spd) => {
            let idle = spd.parts().into_iter().zip(&files).filter(|((_, parts), _)| *parts == 0);
            let idle = idle.map(|(_, file)| file).filter(|file| !outer.contains(&file.path));
            idle.map(|file| never_reached(file)).collect()
        }
        Err(error) => too_much(error, &files).into_iter().collect(),
    }
}

fn never_reached(file: &SourceFile) -> ConfigError {
    let mistake = Mistake::whole_file("no packet ever gets here").code(Code::E517);
    mistake
        .help("policies before it, in the order of file names, take all of its traffic")
        .render(file)
}

fn too_much(error: SpdError, files: &[&SourceFile]) -> Option<ConfigError> {
    let (file, help) = match error {
        SpdError::TooManyPairs => (files.last(), "join neighbouring networks"),
        SpdError::Entangled { entry } => (
            files.get(entry),
            "this one is cut into the most parts: make it smaller, or those that overlap it",
        ),
    };
    Some(Mistake::whole_file(error.to_string()).help(help).render(file?))
}
