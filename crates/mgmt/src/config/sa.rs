//! One file of SAs that are keyed by hand, `/etc/adit/sas/NAME.toml` (RFC 4301 §4.5): a pair with one
//! peer, or one SA to or from a multicast group.
//!
//! ```toml
//! address = "192.0.2.1"
//! peer    = "192.0.2.2"
//! local   = "10.1.0.0/24"
//! remote  = "10.2.0.0/24"
//! esp     = "aes256-sha256"
//! spi_in  = 0x1001
//! spi_out = 0x1002
//! key_in  = "file:berlin-in.key"
//! key_out = "file:berlin-out.key"
//! ```

mod ends;
mod key;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::ops::Range;
use std::sync::Arc;

use adit_crypto::{Protection, Secret};
use adit_db::proposal::ProposalError;
use adit_db::{
    ChildKeys, ConnectionName, Directions, ManualSa, Mode, ProposalSpec, WindowSize, counts_nonces,
};
use adit_wire::esp::Spi;
use adit_wire::iana::ProtocolId;

use self::ends::{Ends, Far};
use super::fields::{Fields, Placed};
use super::report::{ConfigError, Mistake, tunnel_name};
use super::tunnel::{self, Draft, PROTOCOL};
use super::{Origin, ReadSecret, SourceFile};
use crate::codes::Code;
use crate::diagnosis::Context;

/// SAs of one file, with their keys.
#[derive(Debug)]
pub struct KeyedSa {
    /// Everything but the keys.
    pub sa: Arc<ManualSa>,
    /// Key of what comes in: encryption, then integrity; empty if nothing does.
    pub key_in: Secret,
    /// Key of what goes out, likewise.
    pub key_out: Secret,
    /// Where it stands.
    pub origin: Origin,
}

impl KeyedSa {
    /// What a diagnosis wants to know about it.
    pub fn context(&self) -> Context {
        Context {
            tunnel: Some(self.sa.name.to_string()),
            file: Some(self.origin.file.display().to_string()),
            key_lines: self.origin.key_lines.clone(),
            ..Context::default()
        }
    }

    /// The keys as packet engines take them: of what comes in, of what goes out.
    pub fn into_keys(self) -> (ChildKeys, ChildKeys) {
        let cut = |key: Secret| {
            let lengths =
                [self.sa.protection.encryption_key_len(), self.sa.protection.integrity_key_len()];
            // A half that is not there has no key at all.
            let [encryption, integrity] = key.split(lengths).unwrap_or_default();
            ChildKeys { encryption, integrity }
        };
        (cut(self.key_in), cut(self.key_out))
    }
}

/// A file that was read without error.
pub(super) struct SaDraft<'a> {
    pub(super) file: &'a SourceFile,
    pub(super) keyed: KeyedSa,
    /// Where the SPI of what comes in stands.
    spi_in: Range<usize>,
}

/// Reads one file; a draft comes out only if there is no error.
pub(super) fn read<'a>(
    file: &'a SourceFile,
    secrets: ReadSecret<'_>,
) -> (Option<SaDraft<'a>>, Vec<ConfigError>) {
    let name = match ConnectionName::new(&tunnel_name(file)) {
        Ok(name) => name,
        Err(error) => {
            let sentence = format!("the file's name names no SA: {error}");
            return (None, vec![ConfigError::whole_file(file, sentence)]);
        }
    };
    let mut fields = Fields::new(file);
    let draft =
        if fields.mistakes.is_empty() { read_fields(&mut fields, name, secrets) } else { None };
    fields.conclude(draft)
}

fn read_fields<'a>(
    fields: &mut Fields<'a>,
    name: ConnectionName,
    secrets: ReadSecret<'_>,
) -> Option<SaDraft<'a>> {
    // Not where a key stands: somebody may have written it down there.
    let place = fields.key_span("spi_in").or_else(|| fields.key_span("spi_out"));
    let protocol = read_protocol(fields);
    let mode = fields.word("mode", MODE).map_or(Mode::Tunnel, |mode| mode.value);
    let ends = ends::read(fields);
    let udp = ends::read_encap(fields, protocol, ends.as_ref());
    let suite = read_suite(fields, protocol);
    let protection = suite.as_ref().map(|suite| suite.value.0);
    let halves = read_halves(fields, ends.as_ref());
    let key_in = key::read(fields, "key_in", secrets, protection);
    let key_out = key::read(fields, "key_out", secrets, protection);
    let senders = ends::read_senders(fields, ends.as_ref(), &halves);
    let replay_window = read_window(fields, suite.as_ref(), &halves, senders.is_empty());
    warn(fields, place, replay_window);
    let from_group = ends.as_ref().is_some_and(Ends::is_group) && halves.spi_in.is_some();
    let sides = ends::read_sides(fields, mode, from_group);
    let (ends, suite) = (ends?, suite?);
    let directions = match (ends.far, halves.spi_in, halves.spi_out) {
        (Far::Peer(_), Some(spi_in), Some(spi_out)) => Directions::Both { spi_in, spi_out },
        (Far::Group(_), Some(spi), None) => Directions::FromGroup { spi, senders },
        (Far::Group(_), None, Some(spi)) => Directions::ToGroup(spi),
        (Far::Peer(_) | Far::Group(_), ..) => return None,
    };
    let (local_ts, remote_ts) = ends::settle(fields, mode, &ends, &directions, sides);
    let port = if udp { NAT_PORT } else { 0 };
    let (protection, esn) = suite.value;
    let sa = ManualSa {
        name,
        local: SocketAddr::new(ends.address, port),
        remote: SocketAddr::new(ends.far.address(), port),
        directions,
        mode,
        protection,
        esn,
        udp,
        local_ts,
        remote_ts,
        replay_window,
    };
    let origin = Origin { file: fields.file.path.clone(), key_lines: fields.key_lines.clone() };
    let (key_in, key_out) = (key_in.unwrap_or_default(), key_out.unwrap_or_default());
    let keyed = KeyedSa { sa: Arc::new(sa), key_in, key_out, origin };
    Some(SaDraft { file: fields.file, keyed, spi_in: halves.spi_in_span })
}

/// BEET mode is for what is negotiated.
const MODE: &[(&str, Mode)] = &[("tunnel", Mode::Tunnel), ("transport", Mode::Transport)];

/// UDP port of ESP in UDP on both sides (RFC 3948 §2.1).
const NAT_PORT: u16 = 4500;

fn read_protocol(fields: &mut Fields<'_>) -> ProtocolId {
    let Some(protocol) = fields.word("protocol", PROTOCOL) else { return ProtocolId::ESP };
    if protocol.value == ProtocolId::AH {
        tunnel::warn_of_ah(fields, protocol.span);
    }
    protocol.value
}

/// `esp` or `ah`, and `allow`: one suite that bears keys which stay, and whether it has ESN.
fn read_suite(fields: &mut Fields<'_>, protocol: ProtocolId) -> Option<Placed<(Protection, bool)>> {
    let allowed = tunnel::read_allowed(fields);
    tunnel::refuse_other_list(fields, protocol);
    type Read = fn(&str) -> Result<ProposalSpec, ProposalError>;
    let (key, other, example, read): (_, _, _, Read) = match protocol {
        ProtocolId::AH => ("ah", "esp", "sha256", ProposalSpec::ah),
        _ => ("esp", "ah", "aes256-sha256", ProposalSpec::esp),
    };
    let _ = fields.string(other);
    if !fields.has(key) {
        fields.missing(key, format!("\"{example}\", the algorithms of both sides"));
        return None;
    }
    let text = fields.string(key)?;
    let spec = match read(&text.value) {
        Ok(spec) => spec,
        Err(error) => {
            tunnel::refuse_proposal(fields, key, &text, &error);
            return None;
        }
    };
    let Some(suite) = spec.single() else {
        fields.mistake(
            Mistake::new(text.span, format!("`{key}` leaves a choice"))
                .label("nobody negotiates here: one algorithm of each kind, and no key exchange")
                .help(format!("{key} = \"{example}\"")),
        );
        return None;
    };
    if counts_nonces(suite.0) {
        fields.mistake(
            Mistake::new(text.span, format!("{} is not for keys that stay", suite.0))
                .label("whoever restarts uses its nonces again, which gives the traffic away")
                .help("RFC 8221 §4: counter modes, and the AEADs made of them, need IKE")
                .help(format!("{key} = \"{example}\"")),
        );
        return None;
    }
    tunnel::judge(fields, &text, std::slice::from_ref(&spec), &allowed);
    Some(text.map(|_| suite))
}

/// The SPIs that are there, and whether what they belong to is.
struct Halves {
    spi_in: Option<Spi>,
    spi_out: Option<Spi>,
    spi_in_span: Range<usize>,
}

/// `spi_in` and `spi_out`, and which of them and of the keys there must be.
fn read_halves(fields: &mut Fields<'_>, ends: Option<&Ends>) -> Halves {
    let is_group = ends.is_some_and(Ends::is_group);
    let has = |fields: &Fields<'_>, key: &str| fields.has(key);
    let both = |fields: &Fields<'_>| {
        (has(fields, "spi_in") || has(fields, "key_in"))
            && (has(fields, "spi_out") || has(fields, "key_out"))
    };
    if is_group
        && both(fields)
        && let Some(span) = fields.key_span("spi_out").or_else(|| fields.key_span("key_out"))
    {
        fields.mistake(
            Mistake::new(span, "one file is one direction of a group")
                .label("this file receives already")
                .help("write what this host sends to the group into a file of its own"),
        );
    }
    let receives = has(fields, "spi_in") || has(fields, "key_in") || has(fields, "senders");
    let sends = has(fields, "spi_out") || has(fields, "key_out");
    let (needs_in, needs_out) = match (is_group, receives, sends) {
        (false, ..) => (true, true),
        (true, _, false) => (true, false),
        (true, receives, true) => (receives, true),
    };
    let in_range = if is_group { adit_db::GROUP_SPIS } else { adit_db::MANUAL_SPIS };
    let why = if is_group { "(those above are the kernel's)" } else { "(IKE draws those above)" };
    let spi_in_span = fields.key_span("spi_in").unwrap_or(0..0);
    let spi = |fields: &mut Fields<'_>, key, needed, range, why| {
        if needed && !has(fields, key) {
            fields.missing(key, "0x1001, as on the other side");
        }
        fields.integer(key, range, why).map(|spi| Spi(spi.value))
    };
    let spi_in = spi(fields, "spi_in", needs_in, in_range, why);
    let spi_out = spi(fields, "spi_out", needs_out, 256..=u32::MAX, "(RFC 4303 §2.1)");
    for (key, needed) in [("key_in", needs_in), ("key_out", needs_out)] {
        if needed && !has(fields, key) {
            let name = tunnel_name(fields.file);
            let words = format!("\"file:{name}.key\"; `adit secret new --sa SUITE FILE` makes one");
            fields.missing(key, words);
        }
    }
    Halves { spi_in, spi_out, spi_in_span }
}

/// `replay_window`; off unless asked for (RFC 4303 §3.4.3).
fn read_window(
    fields: &mut Fields<'_>,
    suite: Option<&Placed<(Protection, bool)>>,
    halves: &Halves,
    any_sender: bool,
) -> WindowSize {
    let is_group = fields.key_lines.contains_key("group");
    let window = fields.integer("replay_window", 0..=WindowSize::MAX.packets(), "packets");
    let size = window.as_ref().map_or(0, |window| window.value);
    let size = WindowSize::covering(size).unwrap_or_default();
    if let Some(window) = window.filter(|_| !size.is_off()) {
        if halves.spi_in.is_none() && halves.spi_out.is_some() {
            fields.mistake(
                Mistake::new(window.span, "there is nothing to count")
                    .label("the window is for what comes in")
                    .help("leave the key out"),
            );
        } else if is_group && any_sender {
            fields.mistake(
                Mistake::new(window.span, "a window needs to know the senders")
                    .label("each counts its own packets, and nothing says whose these are")
                    .help("name them: senders = [\"192.0.2.1\"], or leave the window out"),
            );
        }
    } else if let Some(suite) = suite.filter(|suite| suite.value.1)
        && halves.spi_in.is_some()
    {
        fields.mistake(
            Mistake::new(suite.span.clone(), "ESN needs a replay window")
                .label("without one nobody knows the upper half of a number")
                .help("replay_window = 1024, or leave `esn` out"),
        );
    }
    size
}

/// What every one of these SAs lacks.
fn warn(fields: &mut Fields<'_>, span: Option<Range<usize>>, window: WindowSize) {
    let Some(span) = span else { return };
    let mut mistake = Mistake::new(span, "these SAs are keyed by hand")
        .code(Code::E521)
        .label(if window.is_off() {
            "no new keys, no forward secrecy, no replay protection, no sign of a dead peer"
        } else {
            "no new keys, no forward secrecy, no sign of a dead peer"
        })
        .help("a tunnel has all of that: tunnels/NAME.toml, with a pre-shared key");
    if !window.is_off() {
        mistake = mistake.help(
            "a sender that restarts counts from 1: the window drops its packets until it is where \
             it was",
        );
    }
    fields.mistake(mistake);
}

/// What is wrong with several files together.
pub(super) fn judge(drafts: &[SaDraft<'_>], tunnels: &[Draft<'_>]) -> Vec<ConfigError> {
    let mut problems = Vec::new();
    let mut inbound = BTreeMap::new();
    for draft in drafts {
        let sa = &draft.keyed.sa;
        if let Some(tunnel) = tunnels.iter().find(|one| one.tunnel.connection.name == sa.name) {
            let sentence = format!("a tunnel has this name, too: {}", tunnel.file.path.display());
            let mistake = Mistake::whole_file(sentence).help("rename one of the two files");
            problems.push(mistake.render(draft.file));
        }
        let Some(spi) = sa.directions.spi_in() else { continue };
        let place = match &sa.directions {
            Directions::FromGroup { senders, .. } => {
                let source = if let [one] = senders.as_slice() { Some(*one) } else { None };
                (spi.0, Some(sa.remote.ip()), source)
            }
            Directions::Both { .. } | Directions::ToGroup(_) => (spi.0, None, None),
        };
        if let Some(other) = inbound.insert(place, draft) {
            let other: &SaDraft<'_> = other;
            let mistake = Mistake::new(draft.spi_in.clone(), "two SAs have this SPI")
                .label("nobody could tell whose packets these are")
                .elsewhere(other.file, other.spi_in.clone(), "taken here")
                .help("each side chooses the SPI of what it receives: choose another");
            problems.push(mistake.render(draft.file));
        }
    }
    problems
}
