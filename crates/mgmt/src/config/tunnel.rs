//! One tunnel's file.

mod authentication;
mod beet;
pub(crate) mod bundle;
mod claims;
mod gateway;
mod icmp;
mod idle;
pub(crate) mod ikev1;
mod kernel;
mod lifetime_rule;
mod mobike;
pub(super) mod nesting;
mod pfp;
mod remote_access;
mod signature;
mod static_kem;

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use adit_db::proposal::{Profile, Verdict, allowable};
use adit_db::{
    AuthSpec, Caution, ChildConfig, ChildName, Connection, ConnectionName, Encap, Engine, HostSpec,
    Identity, IdentityPattern, Keep, LimitSpec, Mode, ProposalError, ProposalSpec, Tfc, TsSpec,
    TsSpecError, WindowSize,
};
use adit_wire::iana::ProtocolId;
use ipnet::IpNet;

use super::fields::{Fields, Placed, narrow};
use super::memo::{Memo, ReadProposals};
use super::overlap::PlacedSelector;
use super::report::{ConfigError, Mistake, tunnel_name};
use super::{MoreSecrets, Origin, SecretFile, SourceFile, Tunnel, TunnelSecret};
use crate::codes::Code;
use crate::secret::{trim_secret, weakness};
use crate::vici::conn::parse_seconds;

mod classes;
mod cpus;
mod dsa;
mod encryption;
mod forward_secrecy;
mod outer_header;
mod path_mtu;
mod path_probe;
mod tcp;

/// A tunnel that was read without error, with what the comparison with others needs.
pub(super) struct Draft<'a> {
    pub(super) file: &'a SourceFile,
    pub(super) tunnel: Tunnel,
    /// Fixed selectors of our side; empty for `dynamic`.
    pub(super) local: Vec<PlacedSelector>,
    /// Fixed selectors of the peer's side.
    pub(super) remote: Vec<PlacedSelector>,
    /// Where the outer tunnel is named.
    over: Option<Range<usize>>,
}

/// Reads one file; a draft comes out only if there is no error.
pub(super) fn read<'a>(
    file: &'a SourceFile,
    memo: &Memo<'_>,
) -> (Option<Draft<'a>>, Vec<ConfigError>) {
    let name = tunnel_name(file);
    let names = ConnectionName::new(&name).and_then(|c| Ok((c, ChildName::new(&name)?)));
    let names = match names {
        Ok(names) => names,
        Err(error) => {
            let sentence = format!("the file's name names no tunnel: {error}");
            return (None, vec![ConfigError::whole_file(file, sentence)]);
        }
    };
    let mut fields = Fields::new(file);
    let draft =
        if fields.mistakes.is_empty() { read_fields(&mut fields, names, memo) } else { None };
    fields.conclude(draft)
}

fn read_fields<'a>(
    fields: &mut Fields<'a>,
    (connection_name, child_name): (ConnectionName, ChildName),
    memo: &Memo<'_>,
) -> Option<Draft<'a>> {
    let mut connection = Connection::new(connection_name);
    let asked = ikev1::read(fields);
    let keep = fields.word("keep", KEEP).map_or(Keep::Up, |keep| keep.value);
    read_ends(fields, &mut connection, keep);
    read_identities(fields, &mut connection);
    gateway::read(fields, &mut connection);
    let over = nesting::read(fields, &mut connection);
    let encap_span = fields.key_span("encap");
    let protocol = read_protocol(fields, &mut connection);
    if let Some(engine) = fields.word("engine", ENGINE) {
        connection.engine = engine.value;
    }
    tcp::read(fields, encap_span, protocol, &mut connection);
    let mut child = ChildConfig::new(child_name).kept(keep);
    let mode = fields.word("mode", MODE);
    child.mode = mode.as_ref().map_or(Mode::Tunnel, |mode| mode.value);
    mobike::read(fields, &mut connection, child.mode);
    let ike_span = fields.key_span("ike");
    let has_own_esp = ["esp", "ah", "suite"].iter().any(|key| fields.has(key));
    read_suites(fields, protocol, memo, &asked, &mut connection, &mut child);
    read_times(fields, &mut connection, &mut child);
    lifetime_rule::read(fields, asked.version, &mut connection, &mut child);
    read_windows(fields, &mut child);
    read_tfc(fields, &mut child);
    read_compress(fields, &mut child);
    let turbo = fields.word("turbo", TURBO);
    child.turbo = turbo.as_ref().is_none_or(|turbo| turbo.value);
    kernel::read(fields, connection.engine, &mut child);
    outer_header::read(fields, &mut child);
    let interfaces = icmp::read(fields, connection.engine, turbo, &mut child);
    path_mtu::read(fields, connection.engine, &mut child);
    idle::read(fields, &mut child);
    pfp::read(fields, &mut child);
    let (local, remote) = read_selectors(fields, &connection, &mut child);
    beet::check(fields, mode, &child, [&local, &remote]);
    path_probe::read(fields, &connection, &mut child, [&local, &remote]);
    let classes = classes::read(fields, &child);
    let resources = cpus::read(fields, &mut child, !classes.is_empty());
    connection.children.push(child);
    connection.children.extend(classes);
    connection.children.extend(resources);
    claims::read(fields, &mut connection);
    let places = dsa::Places::of(fields);
    let key = signature::read(fields, memo, &mut connection);
    let (kem_key, given_up) = static_kem::read(fields, memo, ike_span.clone(), &mut connection);
    encryption::read(fields, asked.version, &mut connection, given_up);
    let remote_ts = connection.children.first().map(|child| child.remote_ts.clone());
    let remote_ts = remote_ts.unwrap_or_default();
    let more_secrets = authentication::read(fields, memo, &mut connection, &remote_ts);
    let mut access_secrets = MoreSecrets::default();
    remote_access::read(fields, memo, asked.version, &mut connection, &mut access_secrets);
    static_kem::check_proofs(fields, &connection, ike_span);
    asked.settle(fields, &mut connection, has_own_esp);
    places.check(fields, asked.version, &connection);
    let secret = read_secret(fields, memo, &connection);
    let origin = Origin { file: fields.file.path.clone(), key_lines: fields.key_lines.clone() };
    let connection = Arc::new(connection);
    let (secret, MoreSecrets { ppk, second, .. }) = (secret?, more_secrets?);
    let more_secrets = MoreSecrets { ppk, second, ..access_secrets };
    let tunnel = Tunnel { connection, secret, more_secrets, key, kem_key, interfaces, origin };
    Some(Draft { file: fields.file, tunnel, local, remote, over })
}

/// `replay_window` and `peer_replay_window`.
fn read_windows(fields: &mut Fields<'_>, child: &mut ChildConfig) {
    let windows = 0..=WindowSize::MAX.packets();
    if let Some(window) = fields.integer("replay_window", windows.clone(), "packets") {
        child.replay_window = WindowSize::covering(window.value).unwrap_or_default();
    }
    if let Some(window) = fields.integer("peer_replay_window", windows, "packets") {
        child.peer_replay_window = WindowSize::covering(window.value).unwrap_or_default();
    }
}

const KEEP: &[(&str, Keep)] =
    &[("up", Keep::Up), ("on-demand", Keep::OnDemand), ("passive", Keep::Passive)];

const MODE: &[(&str, Mode)] =
    &[("tunnel", Mode::Tunnel), ("transport", Mode::Transport), ("beet", Mode::Beet)];

/// Where it is possible, or nowhere.
const TURBO: &[(&str, bool)] = &[("auto", true), ("off", false)];

const ENCAP: &[(&str, Encap)] =
    &[("auto", Encap::Auto), ("udp", Encap::Udp), ("esp", Encap::Esp), ("tcp", Encap::Tcp)];

const ENGINE: &[(&str, Engine)] =
    &[("userspace", Engine::Userspace), ("kernel", Engine::Kernel), ("auto", Engine::Auto)];

/// Between the peers, what a packet is protected with.
pub(super) const PROTOCOL: &[(&str, ProtocolId)] =
    &[("esp", ProtocolId::ESP), ("ah", ProtocolId::AH)];

/// `protocol` and `encap`.
fn read_protocol(fields: &mut Fields<'_>, connection: &mut Connection) -> ProtocolId {
    let encap = fields.word("encap", ENCAP);
    connection.encap = encap.as_ref().map_or(Encap::Auto, |encap| encap.value);
    let Some(protocol) = fields.word("protocol", PROTOCOL) else { return ProtocolId::ESP };
    if protocol.value == ProtocolId::AH {
        warn_of_ah(fields, protocol.span.clone());
    }
    if let Some(encap) = encap.filter(|encap| encap.value == Encap::Udp)
        && protocol.value == ProtocolId::AH
    {
        fields.mistake(
            Mistake::new(encap.span, "AH cannot travel in UDP")
                .label("UDP is for passing a NAT, and AH covers the addresses that a NAT changes")
                .note(protocol.span, "asks for AH")
                .help("encap = \"auto\", or protocol = \"esp\""),
        );
    }
    protocol.value
}

pub(super) fn warn_of_ah(fields: &mut Fields<'_>, span: Range<usize>) {
    fields.mistake(
        Mistake::new(span, "the tunnel does not encrypt")
            .code(Code::E516)
            .label(Caution::AH.cost)
            .help("protocol = \"esp\" encrypts as well"),
    );
}

/// `peer` and `address`.
fn read_ends(fields: &mut Fields<'_>, connection: &mut Connection, keep: Keep) {
    if fields.has("peer") {
        for host in fields.strings("peer").unwrap_or_default() {
            match host.value.parse::<HostSpec>() {
                Ok(HostSpec::Any) | Ok(HostSpec::Network(_)) if keep != Keep::Passive => {
                    fields.mistake(
                        Mistake::new(host.span, "nobody to call")
                            .label("not the address of one host")
                            .help("write an address or a host name, or keep = \"passive\""),
                    );
                }
                Ok(host) => connection.remote_addresses.push(host),
                Err(error) => fields.mistake(
                    Mistake::new(host.span, "`peer` cannot be understood").label(error.to_string()),
                ),
            }
        }
    } else if keep == Keep::Passive {
        fields.optional("peer");
    } else {
        fields.missing("peer", "\"203.0.113.7\", the peer's address or host name");
    }
    mobike::read_addresses(fields, connection);
}

/// `id` and `peer_id`. Without them each side is known by its address.
fn read_identities(fields: &mut Fields<'_>, connection: &mut Connection) {
    let id = fields.parsed::<Identity>("id", |error, _| error.to_string());
    connection.pad.local_id = id.map(|id| id.value);
    let has_peer_id = fields.has("peer_id");
    let peer_id = fields.parsed::<IdentityPattern>("peer_id", |error, _| error.to_string());
    connection.pad.remote_id = match (peer_id, connection.remote_addresses.as_slice()) {
        (Some(pattern), _) => pattern.value,
        (None, [HostSpec::Address(address)]) if !has_peer_id => {
            IdentityPattern::Exact((*address).into())
        }
        (None, _) => IdentityPattern::Any,
    };
}

/// `suite`, or `ike` and `esp` or `ah`.
fn read_suites(
    fields: &mut Fields<'_>,
    protocol: ProtocolId,
    memo: &Memo<'_>,
    asked: &ikev1::Asked,
    connection: &mut Connection,
    child: &mut ChildConfig,
) {
    let suite_span = fields.key_span("suite");
    let list_span = ["ike", "esp", "ah"].iter().find_map(|key| fields.key_span(key));
    if let (Some(suite), Some(list)) = (suite_span, list_span) {
        fields.mistake(
            Mistake::new(suite, "`suite` contradicts the lists of algorithms")
                .label("chooses the algorithms")
                .note(list, "so does this")
                .help("keep one of the two"),
        );
    }
    let profile = read_profile(fields, protocol);
    let of_profile = |key, read, default: fn() -> _| match profile {
        // Its name stands for its proposals.
        Some(profile) => memo.proposals(key, profile.name, read).unwrap_or_else(|_| default()),
        None => default(),
    };
    connection.proposals =
        of_profile("suite, ike", ProposalSpec::ike_list, ProposalSpec::ike_default);
    let allowed = read_allowed(fields);
    let beside_version = asked
        .algorithms
        .as_ref()
        .map(|texts| proposals_of(fields, "ike", texts, (ProposalSpec::ike_list, memo), &allowed));
    let read_proposals =
        |fields: &mut Fields<'_>, key, read| read_proposals(fields, key, (read, memo), &allowed);
    let ike = beside_version.or_else(|| read_proposals(fields, "ike", ProposalSpec::ike_list));
    if let Some(proposals) = ike {
        connection.proposals = proposals;
    }
    let lists = bundle::asked_for(fields, protocol, asked.version);
    if matches!(lists, bundle::Lists::One) {
        refuse_other_list(fields, protocol);
    }
    let esp = read_proposals(fields, "esp", ProposalSpec::esp_list);
    let mut ah = read_proposals(fields, "ah", ProposalSpec::ah_list);
    if let bundle::Lists::Both(span) = lists {
        bundle::settle(fields, span, ah.take().unwrap_or_default(), connection, child);
    }
    child.proposals = match protocol {
        ProtocolId::AH => ah.unwrap_or_else(|| {
            of_profile("suite, ah", ProposalSpec::ah_list, ProposalSpec::ah_default)
        }),
        _ => esp.unwrap_or_else(|| {
            of_profile("suite, esp", ProposalSpec::esp_list, ProposalSpec::esp_default)
        }),
    };
}

/// `suite`: the profile that it names.
fn read_profile(fields: &mut Fields<'_>, protocol: ProtocolId) -> Option<&'static Profile> {
    let words = Profile::ALL.map(|profile| (profile.name, profile));
    let Placed { value: profile, span } = fields.word("suite", &words)?;
    if profile.reasoned(protocol).is_empty() {
        fields.mistake(
            Mistake::new(span, format!("suite \"{}\" has nothing for AH", profile.name))
                .label("knows ESP alone")
                .help("leave `protocol` out, or name the algorithms in `ike` and `ah`"),
        );
        return None;
    }
    Some(profile)
}

/// A list of algorithms for the protocol that the tunnel does not use.
pub(super) fn refuse_other_list(fields: &mut Fields<'_>, protocol: ProtocolId) {
    let (other, chosen) = match protocol {
        ProtocolId::AH => ("esp", "ah"),
        _ => ("ah", "esp"),
    };
    if let Some(span) = fields.key_span(other) {
        let mut mistake = Mistake::new(span, format!("`{other}` is of no use to this tunnel"))
            .label(format!("the tunnel uses {}", chosen.to_uppercase()))
            .help(format!("name the algorithms in `{chosen}`, or set protocol = \"{other}\""));
        if let Some(place) = fields.key_span("protocol") {
            mistake = mistake.note(place, "says so");
        }
        fields.mistake(mistake);
    }
}

/// `allow`: the weak algorithms that the operator takes the blame for.
pub(super) fn read_allowed(fields: &mut Fields<'_>) -> Vec<String> {
    let mut allowed = Vec::new();
    for text in fields.strings("allow").unwrap_or_default() {
        if allowable().any(|algorithm| algorithm == text.value) {
            allowed.push(text.value);
            continue;
        }
        let all = allowable().collect::<Vec<_>>().join(", ");
        let nearest = adit_db::nearest(&text.value, allowable());
        fields.mistake(
            Mistake::new(text.span, "`allow` names nothing that must be allowed")
                .label(format!("must be one of {all}"))
                .help_some(nearest.map(|word| format!("did you mean \"{word}\"?"))),
        );
    }
    allowed
}

fn read_proposals(
    fields: &mut Fields<'_>,
    key: &'static str,
    reader: (ReadProposals, &Memo<'_>),
    allowed: &[String],
) -> Option<Vec<ProposalSpec>> {
    let texts = fields.strings(key)?;
    Some(proposals_of(fields, key, &texts, reader, allowed))
}

/// The proposals that some texts name.
fn proposals_of(
    fields: &mut Fields<'_>,
    key: &'static str,
    texts: &[Placed<String>],
    (read, memo): (ReadProposals, &Memo<'_>),
    allowed: &[String],
) -> Vec<ProposalSpec> {
    let mut proposals = Vec::new();
    for text in texts {
        match memo.proposals(key, &text.value, read) {
            Ok(list) => {
                judge(fields, text, &list, allowed);
                proposals.extend(list);
            }
            Err(error) => refuse_proposal(fields, key, text, &error),
        }
    }
    proposals
}

/// A list of algorithms that is none.
pub(super) fn refuse_proposal(
    fields: &mut Fields<'_>,
    key: &str,
    text: &Placed<String>,
    error: &ProposalError,
) {
    let (culprit, label, help) = culprit(key, error);
    let span = narrow(fields.file, &text.span, culprit);
    let sentence = format!("`{key}` cannot be understood");
    fields.mistake(Mistake::new(span, sentence).label(label).help_some(help));
}

/// Refuses what is weak and not allowed, and says what the rest costs; each algorithm once.
pub(super) fn judge(
    fields: &mut Fields<'_>,
    text: &Placed<String>,
    list: &[ProposalSpec],
    allowed: &[String],
) {
    let mut told: Vec<Caution> = Vec::new();
    for caution in list.iter().flat_map(ProposalSpec::cautions) {
        if told.contains(&caution) {
            continue;
        }
        told.push(caution);
        // The key `protocol` has said it.
        if caution == Caution::AH {
            continue;
        }
        let (algorithm, cost) = (caution.algorithm, caution.cost);
        let place = narrow(fields.file, &text.span, algorithm);
        let mistake = match caution.verdict {
            Verdict::Discouraged(words) if allowed.iter().any(|word| word == algorithm) => {
                Mistake::new(place, format!("{algorithm} is allowed, and weak"))
                    .code(Code::E515)
                    .label(words)
                    .help(cost)
            }
            Verdict::Discouraged(words) => {
                Mistake::new(place, format!("{algorithm} is too weak to be used unasked"))
                    .code(Code::E514)
                    .label(words)
                    .help(cost)
                    .help(format!("if the peer knows nothing better: allow = [\"{algorithm}\"]"))
            }
            Verdict::Readable => Mistake::new(place, "the tunnel does not encrypt")
                .code(Code::E516)
                .label(cost)
                .help("aes256gcm16 encrypts as well"),
        };
        fields.mistake(mistake);
    }
}

/// The word that is wrong, what is wrong with it, and the word that is right.
fn culprit<'a>(key: &str, error: &'a ProposalError) -> (&'a str, String, Option<String>) {
    if let ProposalError::UnknownWord { word, nearest } = error {
        let help = nearest.map(|word| format!("did you mean \"{word}\"?"));
        return (word, "unknown algorithm".to_owned(), help);
    }
    if let ProposalError::Ec2n(word) = error {
        let help = "use modp2048 or ecp256, on the peer as well".to_owned();
        return (
            word,
            "an EC2N group, a curve over 2^n, which is not done here".to_owned(),
            Some(help),
        );
    }
    if let ProposalError::WrongProtocol { word, .. } = error {
        return (word, error.to_string(), None);
    }
    if let ProposalError::NoIntegrity(text) = error {
        let aead = ", or an AEAD cipher such as aes256gcm16";
        let or_aead = if key == "esp" || key == "ike" { aead } else { "" };
        return ("", error.to_string(), Some(format!("\"{text}-sha256\"{or_aead}")));
    }
    ("", error.to_string(), None)
}

/// `rekey`, `life`, `ike_rekey` and `dpd`.
fn read_times(fields: &mut Fields<'_>, connection: &mut Connection, child: &mut ChildConfig) {
    let rekey = read_time(fields, "rekey", false);
    let life = read_time(fields, "life", false);
    let limit = &mut child.lifetime.seconds;
    match (&rekey, &life) {
        (Some(rekey), _) => *limit = LimitSpec::from_soft(rekey.value),
        (None, Some(life)) => *limit = LimitSpec::from_soft(life.value - life.value / 11),
        (None, None) => {}
    }
    if let Some(life) = life {
        limit.hard = life.value;
        limit.rand = life.value.saturating_sub(limit.soft);
        if limit.soft >= limit.hard {
            let mut mistake = Mistake::new(life.span, "`life` is not longer than `rekey`")
                .label("the keys would end before they are renewed");
            if let Some(rekey) = rekey {
                mistake = mistake.note(rekey.span, "renewed after this time");
            }
            fields.mistake(mistake);
        }
    }
    if let Some(rekey) = read_time(fields, "ike_rekey", false) {
        connection.rekey_time = Duration::from_secs(rekey.value);
        connection.over_time = connection.rekey_time / 10;
        connection.rand_time = connection.over_time;
    }
    if let Some(dpd) = read_time(fields, "dpd", true) {
        connection.dpd_delay = Duration::from_secs(dpd.value);
    }
}

/// `tfc_padding` and `tfc_dummies`.
fn read_tfc(fields: &mut Fields<'_>, child: &mut ChildConfig) {
    let padding = fields.padding("tfc_padding");
    let most = Tfc::DUMMIES_MAX.into();
    let dummies = fields.integer("tfc_dummies", 0..=most, "packets per second");
    child.tfc = Tfc {
        padding: padding.as_ref().map_or(0, |padding| padding.value),
        dummies: dummies.as_ref().map_or(0, |count| u16::try_from(count.value).unwrap_or(0)),
    };
    let place = padding.map(|padding| padding.span).or_else(|| dummies.map(|dummies| dummies.span));
    let Some(place) = place.filter(|_| child.tfc != Tfc::OFF) else { return };
    if child.mode != Mode::Tunnel || child.is_ah_only() {
        fields.mistake(
            Mistake::new(place, "padding and dummies are for ESP in tunnel mode")
                .label("nothing here hides behind them")
                .help("leave the key out, or write mode = \"tunnel\" and protocol = \"esp\""),
        );
    } else if child.tfc.padding == 0 {
        fields.mistake(
            Mistake::new(place, "dummies without padding")
                .label("their length tells them from the packets they are to hide")
                .help("add tfc_padding = \"mtu\""),
        );
    }
}

/// `compress`.
fn read_compress(fields: &mut Fields<'_>, child: &mut ChildConfig) {
    let Some(compress) = fields.flag("compress", COMPRESS) else { return };
    child.compress = compress.value;
    if !child.compress {
        return;
    }
    let mistake = if child.negotiates_ipcomp() {
        Mistake::new(compress.span, "lengths will tell about contents")
            .code(Code::E518)
            .label("who can send through the tunnel beside a secret may find it out by lengths")
            .help("leave the key out unless the link is slow and what goes over it is all yours")
    } else if child.tfc.padding > 0 {
        Mistake::new(compress.span, "compression and padding contradict each other")
            .label("`tfc_padding` hides the lengths that this would save")
            .help("leave one of the two keys out")
    } else {
        Mistake::new(compress.span, "compression is for ESP")
            .label("not together with AH")
            .help("leave the key out, or write protocol = \"esp\"")
    };
    fields.mistake(mistake);
}

/// The one algorithm by its name; LZS, LZJH and OUI are not there.
const COMPRESS: &[(&str, bool)] = &[("deflate", true)];

/// Seconds of `"30s"`, `"5m"`, `"4h"`, `"1d"`; with `off` also `"off"`.
fn read_time(fields: &mut Fields<'_>, key: &'static str, off: bool) -> Option<Placed<u64>> {
    let text = fields.string(key)?;
    if off && text.value == "off" {
        return Some(text.map(|_| 0));
    }
    match parse_seconds(&text.value) {
        Some(seconds) if seconds > 0 => Some(text.map(|_| seconds)),
        _ => {
            let or_off = if off { ", or \"off\"" } else { "" };
            let label = format!("must be a time such as \"30s\", \"5m\", \"4h\" or \"1d\"{or_off}");
            let sentence = format!("`{key}` cannot be understood");
            fields.mistake(Mistake::new(text.span, sentence).label(label));
            None
        }
    }
}

/// `local` and `remote`.
fn read_selectors(
    fields: &mut Fields<'_>,
    connection: &Connection,
    child: &mut ChildConfig,
) -> (Vec<PlacedSelector>, Vec<PlacedSelector>) {
    let (local_example, remote_example) = match child.mode {
        Mode::Tunnel | Mode::Beet => (
            Some("\"10.1.0.0/24\", the networks on our side"),
            Some("\"10.2.0.0/24\", the networks on the peer's side"),
        ),
        Mode::Transport => (None, None),
    };
    let local = read_side(fields, "local", local_example);
    let remote = read_side(fields, "remote", remote_example);
    // Where routes decide, both sides may be everything.
    let apart = child.kernel.steering.interface.is_none();
    for a in local.iter().filter(|_| apart).filter_map(fixed) {
        for b in remote.iter().filter_map(fixed) {
            if let Some(common) = a.selector.intersection(&b.selector) {
                fields.mistake(
                    Mistake::new(b.span, "`local` and `remote` overlap")
                        .label(format!("{common} would be on both sides"))
                        .note(a.span.clone(), "our side"),
                );
            }
        }
    }
    child.local_ts = local.iter().map(|ts| ts.value).collect();
    child.remote_ts = remote.iter().map(|ts| ts.value).collect();
    if let Some(beyond) = connection.beyond_ends(child).copied() {
        let mut sides = local.iter().chain(&remote);
        if let Some(place) = sides.find(|ts| ts.value == beyond) {
            fields.mistake(
                Mistake::new(place.span.clone(), "transport mode is for the two ends alone")
                    .label("more than the address of one end")
                    .help("write \"dynamic\", or mode = \"tunnel\""),
            );
        }
    }
    (local.iter().filter_map(fixed).collect(), remote.iter().filter_map(fixed).collect())
}

fn fixed(ts: &Placed<TsSpec>) -> Option<PlacedSelector> {
    let selector = ts.value.selector()?;
    Some(PlacedSelector { selector, span: ts.span.clone() })
}

/// The selectors of one side. They may be left out if there is no example of what is missing.
pub(super) fn read_side(
    fields: &mut Fields<'_>,
    key: &'static str,
    example: Option<&str>,
) -> Vec<Placed<TsSpec>> {
    if !fields.has(key) {
        let Some(example) = example else {
            fields.optional(key);
            return vec![Placed { value: TsSpec::DYNAMIC, span: 0..0 }];
        };
        fields.missing(key, example);
        return Vec::new();
    }
    let texts = fields.strings(key).unwrap_or_default();
    parse_side(fields, key, texts)
}

fn parse_side(
    fields: &mut Fields<'_>,
    key: &'static str,
    texts: Vec<Placed<String>>,
) -> Vec<Placed<TsSpec>> {
    let mut side = Vec::new();
    for text in texts {
        if let Some(mistake) = host_bits(fields.file, &text) {
            fields.mistake(mistake);
            continue;
        }
        match text.value.parse::<TsSpec>() {
            Ok(value) => side.push(Placed { value, span: text.span }),
            Err(error) => {
                let sentence = format!("`{key}` cannot be understood");
                let mistake = Mistake::new(text.span, sentence).label(error.to_string());
                fields.mistake(mistake.help(selector_help(&error)));
            }
        }
    }
    side
}

fn selector_help(error: &TsSpecError) -> &'static str {
    match error {
        TsSpecError::BadAddress(_) | TsSpecError::BadRange(_) => {
            "write a network such as \"10.1.0.0/24\""
        }
        TsSpecError::BadProtocol(_) => "write for example \"10.1.0.0/24[tcp/443]\"",
        TsSpecError::BadMessageType(_) => "write for example \"[icmp/echo-request]\"",
    }
}

/// `10.1.0.5/24`: is the host meant, or its network?
fn host_bits<'a>(file: &SourceFile, text: &Placed<String>) -> Option<Mistake<'a>> {
    let address = text.value.split('[').next()?;
    let network: IpNet = address.parse().ok()?;
    if network.addr() == network.network() {
        return None;
    }
    let all = network.max_prefix_len();
    Some(
        Mistake::new(narrow(file, &text.span, address), "the address has bits behind its prefix")
            .label(format!("one host, or the network of {} bits?", network.prefix_len()))
            .help(format!("write {} or {}/{all}", network.trunc(), network.addr())),
    )
}

/// `secret`: its name, itself, and what may be said about it; the inner `None` where neither side
/// proves itself by it. The outer one is a mistake.
fn read_secret(
    fields: &mut Fields<'_>,
    memo: &Memo<'_>,
    connection: &Connection,
) -> Option<Option<TunnelSecret>> {
    let pad = &connection.pad;
    let both_do_without = pad.local_auth != AuthSpec::Psk && pad.remote_auth != AuthSpec::Psk;
    if let Some(span) = fields.key_span("secret").filter(|_| both_do_without) {
        fields.mistake(
            Mistake::new(span, "`secret` is of no use to this tunnel")
                .label("neither side proves itself by it")
                .help("leave it out"),
        );
    }
    if both_do_without && !fields.has("secret") {
        fields.optional("secret");
        return Some(None);
    }
    if !fields.has("secret") && pad.local_auth.signature().is_some() {
        fields.missing(
            "ca",
            "\"file:ca.pem\", who signs the peer's certificate; or peer_key; or secret",
        );
        return None;
    }
    if !fields.has("secret") {
        let name = tunnel_name(fields.file);
        fields.missing("secret", format!("\"file:{name}.psk\"; `adit secret new` makes one"));
        return None;
    }
    let Placed { value: name, span } = fields.hidden_string("secret")?;
    let (octets, facts) = authentication::read_file(fields, memo, "secret", &name, span)?;
    Some(Some(TunnelSecret { name, octets, facts }))
}

/// A secret in the file itself must not be repeated in the message.
pub(super) fn no_file<'a>(span: Range<usize>, key: &str, name: &str) -> Mistake<'a> {
    let later = ["cmd:", "tpm:", "systemd-cred:"];
    match later.iter().find(|scheme| name.starts_with(**scheme)) {
        Some(scheme) => Mistake::new(span, format!("secrets by `{scheme}` are not supported yet"))
            .label("must be \"file:NAME\""),
        None => Mistake::hidden(span, "a secret stands in a file of its own, never in this one")
            .help(format!("put it into a file and write {key} = \"file:NAME\"")),
    }
}

/// A file that is not its owner's alone.
pub(super) fn refuse_open_file(
    fields: &mut Fields<'_>,
    span: Range<usize>,
    path: &Path,
    secret: &SecretFile,
) {
    let path = path.display();
    if secret.mode & 0o077 != 0 {
        fields.mistake(
            Mistake::new(span, format!("{path} can be read or changed by other users"))
                .code(Code::E511)
                .label(format!("its permissions are {:04o}, must be 0600", secret.mode & 0o7777))
                .help(format!("chmod 600 {path}")),
        );
    }
}

fn check_secret(fields: &mut Fields<'_>, span: Range<usize>, path: &Path, secret: &SecretFile) {
    refuse_open_file(fields, span.clone(), path, secret);
    let path = path.display();
    let octets = trim_secret(secret.octets.as_bytes());
    if octets.is_empty() {
        fields.mistake(
            Mistake::new(span, format!("{path} is empty"))
                .label("no secret in it")
                .help(format!("adit secret new > {path}")),
        );
    } else if let Some(weakness) = weakness(octets) {
        fields.mistake(
            Mistake::new(span, format!("the secret in {path} is weak"))
                .code(Code::E513)
                .label(weakness.to_string())
                .help("`adit secret new` makes a good one; both sides need the same"),
        );
    }
}
