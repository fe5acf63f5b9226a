//! The native configuration: one TOML file for each tunnel, `/etc/adit/tunnels/NAME.toml`.
//!
//! ```toml
//! peer   = "203.0.113.7"
//! local  = "10.1.0.0/24"
//! remote = "10.2.0.0/24"
//! secret = "file:berlin.psk"
//! ```
//!
//! Algorithms that RFC 8221, RFC 8247 or RFC 9395 advise against are refused unless the file names
//! them in `allow = ["3des"]`, and then warned of ([`adit_db::Caution`]).
//!
//! Beside them stand policies that send traffic past the tunnels or drop it, in the order of their
//! names, `/etc/adit/policies/NAME.toml`:
//!
//! ```toml
//! action = "bypass"
//! remote = "10.2.0.5/32[tcp/22]"
//! ```
//!
//! And SAs that are keyed by hand, `/etc/adit/sas/NAME.toml`.
//!
//! [`load`] takes the files' texts and reads secrets through a function, so that the daemon,
//! `adit check` and tests read alike. Either everything is right, or nothing is used and every
//! mistake is told with its place ([`ConfigError`]). [`diff`] says what a reload disturbs.

mod fields;
mod memo;
mod overlap;
mod policy;
mod report;
mod sa;
#[cfg(test)]
mod tests;
mod tunnel;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use adit_crypto::{KemKey, Secret};
use adit_db::{Connection, InterfaceName, OperatorPolicy};
use adit_pki::PrivateKey;

use self::memo::Memo;
pub use self::report::ConfigError;
pub use self::sa::KeyedSa;
pub(crate) use self::tunnel::{bundle as bundle_rules, ikev1 as ikev1_rules};
use crate::codes::Severity;
use crate::diagnosis::Context;
use crate::secret::SecretFacts;

/// A file of the tunnels' directory, already read.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SourceFile {
    /// Its path; the name without `.toml` is the tunnel's.
    pub path: PathBuf,
    /// Its text.
    pub text: String,
}

/// A secret's file, already read.
#[derive(Debug, Eq, PartialEq)]
pub struct SecretFile {
    /// Its contents.
    pub octets: Secret,
    /// Its permission bits, as stat(2) gives them.
    pub mode: u32,
}

/// How [`load`] reads a secret's file. The error is the system's text.
pub type ReadSecret<'a> = &'a dyn Fn(&Path) -> Result<SecretFile, String>;

/// Everything the files say.
#[derive(Debug, Default)]
pub struct Configuration {
    /// By name.
    pub tunnels: BTreeMap<String, Tunnel>,
    /// SAs that are keyed by hand, by name; no tunnel has the same.
    pub sas: BTreeMap<String, KeyedSa>,
    /// What no tunnel gets, in order of precedence.
    pub policies: Vec<OperatorPolicy>,
    /// Where each of them stands, by name.
    pub policy_origins: BTreeMap<String, Origin>,
    /// What should be mended and does not prevent anything.
    pub warnings: Vec<ConfigError>,
}

impl Configuration {
    /// Warns of interfaces that files name and the host does not have, now.
    pub fn warn_of_interfaces(&mut self, exists: impl Fn(&str) -> bool) {
        let named = self.tunnels.values().flat_map(|tunnel| &tunnel.interfaces);
        let missing = named.filter(|named| !exists(named.name.as_str()));
        self.warnings.extend(missing.map(|named| named.missing.clone()));
    }
}

/// One tunnel.
#[derive(Debug)]
pub struct Tunnel {
    /// What to negotiate; its one child has the tunnel's name.
    pub connection: Arc<Connection>,
    /// The pre-shared key, if a side proves itself by it.
    pub secret: Option<TunnelSecret>,
    /// What else is secret about it.
    pub more_secrets: MoreSecrets,
    /// The private key, if we sign. Its public half is in the connection.
    pub key: Option<PrivateKey>,
    /// The static ML-KEM key, if peers make ciphertexts for it. Its name is in the connection.
    pub kem_key: Option<KemKey>,
    /// Interfaces that its file names and that somebody else makes.
    pub interfaces: Vec<NamedInterface>,
    /// Where it stands.
    pub origin: Origin,
}

/// An interface of the host that a file names.
#[derive(Debug)]
pub struct NamedInterface {
    /// The name.
    pub name: InterfaceName,
    /// What is said if there is none.
    pub missing: ConfigError,
}

/// The pre-shared key of a tunnel.
#[derive(Debug)]
pub struct TunnelSecret {
    /// Its name in the file, `file:berlin.psk`.
    pub name: String,
    /// Itself. Comparable, never printed.
    pub octets: Secret,
    /// What may be said about it.
    pub facts: SecretFacts,
}

/// Secrets of a tunnel that most have none of.
#[derive(Debug, Default, Eq, PartialEq)]
pub struct MoreSecrets {
    /// The post-quantum pre-shared key (RFC 8784).
    pub ppk: Option<Secret>,
    /// The secret of the second authentication (RFC 4739).
    pub second: Option<Secret>,
    /// The password of our user (XAUTH).
    pub password: Option<Secret>,
    /// Names and passwords of the peer's users.
    pub users: Vec<(String, Secret)>,
}

/// Where a tunnel's configuration stands.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Origin {
    /// File.
    pub file: PathBuf,
    /// Lines of its keys, counted from 1.
    pub key_lines: BTreeMap<String, usize>,
}

/// The line that says which traffic is meant: the first of the keys that is there.
pub fn selector_line(key_lines: &BTreeMap<String, usize>) -> usize {
    let line = |key| key_lines.get(key).copied();
    ["remote", "local", "action"].into_iter().find_map(line).unwrap_or(1)
}

impl Tunnel {
    /// What a diagnosis wants to know about the tunnel.
    pub fn context(&self) -> Context {
        Context {
            tunnel: Some(self.connection.name.to_string()),
            file: Some(self.origin.file.display().to_string()),
            key_lines: self.origin.key_lines.clone(),
            ..Context::default()
        }
    }

    /// Whether replacing one by the other changes nothing but lines and file names.
    fn is_same(&self, other: &Self) -> bool {
        let same_secret = match (&self.secret, &other.secret) {
            (Some(a), Some(b)) => a.octets == b.octets,
            (a, b) => a.is_none() && b.is_none(),
        };
        // Users are asked anew with each phase 1, and so are no reason to negotiate anew.
        let [ours, theirs] = [&self.more_secrets, &other.more_secrets]
            .map(|more| (&more.ppk, &more.second, &more.password));
        let same_secrets = same_secret && ours == theirs;
        self.connection == other.connection && same_secrets
    }
}

/// What a reload does to each tunnel, by name.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Changes {
    /// New.
    pub added: Vec<String>,
    /// Negotiated anew.
    pub changed: Vec<String>,
    /// Gone.
    pub removed: Vec<String>,
    /// Not touched.
    pub unchanged: Vec<String>,
}

impl Changes {
    /// True if a reload would do nothing.
    pub fn is_empty(&self) -> bool {
        self.added.is_empty() && self.changed.is_empty() && self.removed.is_empty()
    }
}

/// Most files in one directory.
pub const FILES_MAX: usize = 131_072;

/// Files of all kinds, already read.
#[derive(Clone, Copy, Debug, Default)]
pub struct Files<'a> {
    /// Tunnels.
    pub tunnels: &'a [SourceFile],
    /// Policies beside them, in order of precedence.
    pub policies: &'a [SourceFile],
    /// SAs that are keyed by hand.
    pub sas: &'a [SourceFile],
}

/// Understands all tunnels' files; there is nothing else.
///
/// # Errors
///
/// See [`load_all`].
pub fn load(
    files: &[SourceFile],
    secrets: ReadSecret<'_>,
) -> Result<Configuration, Vec<ConfigError>> {
    load_all(Files { tunnels: files, ..Files::default() }, secrets)
}

/// Files of tunnels that have been understood one by one, and all that is wrong with them.
pub struct ReadTunnels<'a> {
    drafts: Vec<tunnel::Draft<'a>>,
    problems: Vec<ConfigError>,
}

/// Understands some of the tunnels' files, for [`load_read`]: that takes most of the time, and several
/// threads can divide the files.
pub fn read_tunnels<'a>(files: &'a [SourceFile], secrets: ReadSecret<'_>) -> ReadTunnels<'a> {
    let (memo, mut problems) = (Memo::new(secrets), Vec::new());
    let drafts = read_all(files, |file| tunnel::read(file, &memo), &mut problems);
    ReadTunnels { drafts, problems }
}

/// Understands all files.
///
/// # Errors
///
/// Every mistake in every file, in the order of files and places. Warnings are among them only if
/// there is an error too; otherwise they stand in [`Configuration::warnings`].
pub fn load_all(
    files: Files<'_>,
    secrets: ReadSecret<'_>,
) -> Result<Configuration, Vec<ConfigError>> {
    let few = files.tunnels.get(..FILES_MAX).unwrap_or(files.tunnels);
    load_read(files, vec![read_tunnels(few, secrets)], secrets)
}

/// Understands all files, of which those of tunnels have been read, in order.
///
/// # Errors
///
/// As [`load_all`].
pub fn load_read(
    files: Files<'_>,
    tunnels: Vec<ReadTunnels<'_>>,
    secrets: ReadSecret<'_>,
) -> Result<Configuration, Vec<ConfigError>> {
    let kinds = [files.tunnels, files.policies, files.sas];
    if let Some(file) = kinds.iter().find_map(|files| files.get(FILES_MAX)) {
        return Err(vec![ConfigError::whole_file(file, "there are too many files")]);
    }
    let (mut problems, mut drafts) = (Vec::new(), Vec::new());
    for read in tunnels {
        drafts.extend(read.drafts);
        problems.extend(read.problems);
    }
    let policy_drafts = read_all(files.policies, policy::read, &mut problems);
    let sa_drafts = read_all(files.sas, |file| sa::read(file, secrets), &mut problems);
    problems.extend(overlap::find(&drafts));
    problems.extend(sa::judge(&sa_drafts, &drafts));
    if !problems.iter().any(|problem| problem.severity == Severity::Error) {
        problems.extend(policy::judge(&policy_drafts, &sa_drafts, &drafts));
        problems.extend(tunnel::nesting::judge(&drafts));
    }
    if problems.iter().any(|problem| problem.severity == Severity::Error) {
        return Err(problems);
    }
    let sas = sa_drafts.into_iter().map(|draft| draft.keyed);
    let sas = sas.map(|keyed| (keyed.sa.name.to_string(), keyed)).collect();
    let mut tunnels = BTreeMap::new();
    for draft in drafts {
        let file = draft.file;
        let name = draft.tunnel.connection.name.to_string();
        if tunnels.insert(name, draft.tunnel).is_some() {
            return Err(vec![ConfigError::whole_file(file, "another file has the same name")]);
        }
    }
    let mut policies = Vec::new();
    let mut policy_origins = BTreeMap::new();
    for draft in policy_drafts {
        policy_origins.insert(draft.policy.name.to_string(), draft.origin);
        policies.push(draft.policy);
    }
    Ok(Configuration { tunnels, sas, policies, policy_origins, warnings: problems })
}

/// What could be read of some files; all that is wrong goes to `problems`.
fn read_all<'a, T>(
    files: &'a [SourceFile],
    read: impl Fn(&'a SourceFile) -> (Option<T>, Vec<ConfigError>),
    problems: &mut Vec<ConfigError>,
) -> Vec<T> {
    let mut drafts = Vec::new();
    for file in files {
        let (draft, mistakes) = read(file);
        problems.extend(mistakes);
        drafts.extend(draft);
    }
    drafts
}

/// What changes when `new` takes the place of `old`.
pub fn diff(old: &Configuration, new: &Configuration) -> Changes {
    let mut changes = Changes::default();
    let names: BTreeSet<&String> = old.tunnels.keys().chain(new.tunnels.keys()).collect();
    for name in names {
        let list = match (old.tunnels.get(name), new.tunnels.get(name)) {
            (None, _) => &mut changes.added,
            (_, None) => &mut changes.removed,
            (Some(old), Some(new)) if old.is_same(new) => &mut changes.unchanged,
            (Some(_), Some(_)) => &mut changes.changed,
        };
        list.push(name.clone());
    }
    changes
}
