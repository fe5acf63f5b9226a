//! `ike = 1`: a tunnel for a peer that has nothing newer (RFC 2409). What IKEv1 has no place for, or what
//! is not built for it, is refused by the key that asks for it.

use std::ops::Range;

use adit_crypto::KeyKind;
use adit_db::{
    Aggressive, AuthSpec, BaseMode, ChildConfig, Connection, Encap, IkeVersion, Mode, ProposalSpec,
    SignatureSpec, TsSpec, UserAuth,
};
use adit_wire::iana::doi::{EspTransformId, GroupId, Phase1Encryption, Phase1Hash};
use adit_wire::iana::{EncryptionId, KeyExchangeId, PrfId, TransformType};
use adit_wire::ikev2::PortRange;

use crate::codes::Code;
use crate::config::fields::{Fields, Item, Placed};
use crate::config::report::Mistake;

/// What is said about the version, and which algorithms beside it.
pub(super) struct Asked {
    pub(super) version: IkeVersion,
    /// Where the number stands; nowhere if none does.
    span: Option<Range<usize>>,
    /// The algorithms beside the number.
    pub(super) algorithms: Option<Vec<Placed<String>>>,
    aggressive: Option<Placed<Aggressive>>,
    base_mode: Option<Placed<BaseMode>>,
}

const AGGRESSIVE: &[(&str, Aggressive)] = &[
    ("refuse", Aggressive::Refuse),
    ("allow", Aggressive::Allow),
    ("initiate", Aggressive::Initiate),
];

/// Keys of IKEv2 alone.
const OF_V2: &[&str] = &[
    "childless",
    "redirect",
    "follow_redirects",
    "resumption",
    "mobike",
    "tcp",
    "reauth",
    "ppk",
    "ppk_id",
    "ppk_required",
    "second",
    "kem_key",
    "peer_kem_key",
    "cpus",
];

/// Keys of what is not built for IKEv1.
const NOT_BUILT: &[&str] = &["auth", "peer_auth", "over", "classes", "pfp", "idle"];

const BASE_MODE: &[(&str, BaseMode)] =
    &[("refuse", BaseMode::Refuse), ("allow", BaseMode::Allow), ("initiate", BaseMode::Initiate)];

/// `ike` as a number, or as a list that begins with one. Keys that then have no place are refused, so
/// this comes before all others are read.
pub(super) fn read(fields: &mut Fields<'_>) -> Asked {
    let aggressive = fields.word("aggressive", AGGRESSIVE);
    let base_mode = fields.word("base_mode", BASE_MODE);
    let v2 = Asked {
        version: IkeVersion::V2,
        span: None,
        algorithms: None,
        aggressive: None,
        base_mode: None,
    };
    if !fields.begins_with_integer("ike") {
        refuse_modes(fields, aggressive, base_mode);
        return v2;
    }
    let Some(mut items) = fields.integers("ike") else { return v2 };
    let first = items.remove(0);
    let version = match first.value {
        Item::Number(1) => IkeVersion::V1,
        Item::Number(2) => IkeVersion::V2,
        Item::Number(_) | Item::Text(_) => {
            fields.mistake(
                Mistake::new(first.span, "there is no such version of IKE")
                    .label("must be 1 or 2")
                    .help("leave the number out for IKEv2"),
            );
            return v2;
        }
    };
    let mut algorithms = Vec::new();
    for item in items {
        match item.value {
            Item::Text(value) => algorithms.push(Placed { value, span: item.span }),
            Item::Number(_) => fields.mistake(
                Mistake::new(item.span, "`ike` has two versions")
                    .label("one stands in front already")
                    .help("ike = [1, \"aes256-sha256-modp2048\"]"),
            ),
        }
    }
    let (aggressive, base_mode) = match version {
        IkeVersion::V1 => {
            refuse_keys(fields, &first.span);
            (aggressive, base_mode)
        }
        IkeVersion::V2 => {
            refuse_modes(fields, aggressive, base_mode);
            (None, None)
        }
    };
    let algorithms = (!algorithms.is_empty()).then_some(algorithms);
    Asked { version, span: Some(first.span), algorithms, aggressive, base_mode }
}

fn refuse_modes(
    fields: &mut Fields<'_>,
    aggressive: Option<Placed<Aggressive>>,
    base_mode: Option<Placed<BaseMode>>,
) {
    let places = [
        aggressive.map(|place| ("aggressive", place.span)),
        base_mode.map(|place| ("base_mode", place.span)),
    ];
    for (key, span) in places.into_iter().flatten() {
        fields.mistake(
            Mistake::new(span, format!("`{key}` is a matter of IKEv1"))
                .label("IKEv2 has nothing like it")
                .help("leave it out, or write ike = 1"),
        );
    }
}

fn refuse_keys(fields: &mut Fields<'_>, because: &Range<usize>) {
    let keys = OF_V2.iter().map(|key| (key, "IKEv1 has no place for it"));
    let encrypts = super::encryption::is_asked_for(fields);
    let not_built = NOT_BUILT.iter().filter(|key| !(encrypts && **key == "auth"));
    let keys = keys.chain(not_built.map(|key| (key, "not built for IKEv1 yet")));
    let found: Vec<_> =
        keys.filter_map(|(key, why)| Some((key, why, fields.key_span(key)?))).collect();
    for (key, why, span) in found {
        fields.mistake(
            Mistake::new(span, format!("`{key}` does not go with ike = 1"))
                .label(why)
                .note(because.clone(), "asks for IKEv1")
                .help("leave it out, or use IKEv2"),
        );
    }
}

impl Asked {
    /// Holds a tunnel against what IKEv1 can carry, once all of it has been read.
    pub(super) fn settle(
        &self,
        fields: &mut Fields<'_>,
        connection: &mut Connection,
        has_own_esp: bool,
    ) {
        connection.ike = self.version;
        let Some(span) = self.span.clone().filter(|_| self.version == IkeVersion::V1) else {
            return;
        };
        if self.algorithms.is_none() {
            connection.proposals = phase_1_default();
        }
        let own =
            connection.children.iter_mut().filter(|child| !has_own_esp && child.is_esp_only());
        for child in own {
            child.proposals = phase_2_default();
        }
        // A list that cannot be understood is empty, and has its own mistake.
        let is_understood = !connection.proposals.is_empty();
        if is_understood && !connection.proposals.iter().any(is_of_phase_1) {
            fields.mistake(
                Mistake::new(span.clone(), "IKEv1 has numbers for none of the algorithms of `ike`")
                    .label("AEADs and ML-KEM are IKEv2's")
                    .help("ike = [1, \"aes256-sha256-modp2048\"]"),
            );
        }
        if let Some(aggressive) = &self.aggressive {
            connection.aggressive = aggressive.value;
            warn_of_guesses(fields, aggressive, connection);
        }
        if let Some(base_mode) = &self.base_mode {
            connection.base_mode = base_mode.value;
        }
        self.refuse_two_beginnings(fields);
        for refused in refused_of(connection, connection.children.first(), has_own_esp) {
            let (sentence, help) = refused;
            fields.mistake(Mistake::new(span.clone(), sentence).label("IKEv1").help(help));
        }
    }
}

impl Asked {
    /// A phase 1 begins in one way.
    fn refuse_two_beginnings(&self, fields: &mut Fields<'_>) {
        let (Some(aggressive), Some(base)) = (&self.aggressive, &self.base_mode) else { return };
        if (aggressive.value, base.value) == (Aggressive::Initiate, BaseMode::Initiate) {
            fields.mistake(
                Mistake::new(base.span.clone(), "`base_mode` contradicts `aggressive`")
                    .label("we can begin in one of the two")
                    .note(aggressive.span.clone(), "so does this")
                    .help("write \"allow\" for the one that only the peer begins with"),
            );
        }
    }
}

/// Who asks for aggressive mode with a secret is given a hash to try guesses on (RFC 2409 §5.4).
fn warn_of_guesses(
    fields: &mut Fields<'_>,
    aggressive: &Placed<Aggressive>,
    connection: &Connection,
) {
    let is_refused = aggressive.value == Aggressive::Refuse;
    if is_refused || connection.pad.local_auth != AuthSpec::Psk {
        return;
    }
    fields.mistake(
        Mistake::new(aggressive.span.clone(), "whoever asks may guess at the secret")
            .code(Code::E519)
            .label("one message of aggressive mode shows enough to try guesses on")
            .help("use main mode or certificates where the peer can; else a secret of `adit secret new`"),
    );
}

/// What of a tunnel does not go with IKEv1, and what to write instead.
pub(crate) fn refused_of(
    connection: &Connection,
    child: Option<&ChildConfig>,
    has_own_esp: bool,
) -> Vec<(&'static str, &'static str)> {
    let mut refused = Vec::new();
    if connection.encap == Encap::Tcp {
        refused.push((
            "`encap` in TCP is a matter of IKEv2",
            "encap = \"udp\", or leave it out: in UDP if there is a NAT",
        ));
    }
    if let Some(problem) = mixed_proofs(connection) {
        refused.push(problem);
    }
    if child.is_some_and(|child| child.mode == Mode::Beet) {
        refused.push(("BEET mode is a matter of IKEv2", "mode = \"tunnel\""));
    }
    match child.map_or(1, pairs) {
        0 => refused.push((
            "no network of `local` is of the family of one of `remote`",
            "write networks of IPv4 on both sides, or of IPv6",
        )),
        1..=PAIRS_MAX => {}
        _ => refused.push((
            "IKEv1 has a quick mode for each pair of networks, and there are more than 32 pairs",
            "write wider networks, or several tunnels",
        )),
    }
    if child.is_some_and(has_port_ranges) {
        refused.push((
            "a quick mode has one port or all of them",
            "name one port, or leave the ports out",
        ));
    }
    // A list that cannot be understood is empty, and has its own mistake.
    let is_understood = |child: &&ChildConfig| !child.proposals.is_empty();
    if has_own_esp && child.filter(is_understood).is_some_and(|child| !has_phase_2(child)) {
        refused.push((
            "IKEv1 has numbers for none of the algorithms of `esp` or `ah`",
            "esp = [\"aes256gcm16\", \"aes256-sha256\"]",
        ));
    }
    refused
}

/// Pairs of networks of one tunnel: all are renewed at about the same time.
const PAIRS_MAX: usize = 32;

/// How many pairs of networks there are. Of what follows the addresses the family shows later.
fn pairs(child: &ChildConfig) -> usize {
    let family = |ts: &TsSpec| ts.selector().map(|ts| ts.start.is_ipv4());
    let locals = child.local_ts.iter().map(family);
    let remotes = || child.remote_ts.iter().map(family);
    let fits = |local: Option<bool>, remote: Option<bool>| match (local, remote) {
        (Some(local), Some(remote)) => local == remote,
        _ => true,
    };
    locals.map(|local| remotes().filter(|remote| fits(local, *remote)).count()).sum()
}

/// What is wrong with how the two sides prove themselves.
fn mixed_proofs(connection: &Connection) -> Option<(&'static str, &'static str)> {
    let pad = &connection.pad;
    let (ours, theirs) = (pad.local_auth.signature(), pad.remote_auth.signature());
    let user = &connection.remote_access.user;
    let of_user = match user {
        UserAuth::None => None,
        UserAuth::Ours { .. } => Some(&pad.local_auth),
        UserAuth::Peers { .. } => Some(&pad.remote_auth),
    };
    // Whose user has a password may do without (`hybrid`).
    let is_hybrid = of_user == Some(&AuthSpec::Null);
    if ours.is_some() != theirs.is_some() && !is_hybrid {
        return Some((
            "in IKEv1 both sides prove themselves in the same way",
            "a secret for both, or keys or certificates on both sides",
        ));
    }
    let keys = |spec: &SignatureSpec| {
        let leaves = spec.certificates.iter().filter(|one| !one.is_authority());
        let kinds = leaves.map(|one| one.public_key().kind());
        kinds.chain(spec.public_keys.iter().map(|key| key.kind())).collect::<Vec<_>>()
    };
    let has_ed25519 =
        [ours, theirs].into_iter().flatten().any(|spec| keys(spec).contains(&KeyKind::Ed25519));
    if has_ed25519 {
        return Some(("IKEv1 has no number for Ed25519", "use keys of RSA or ECDSA"));
    }
    let is_known = |kind: &KeyKind| matches!(kind, KeyKind::Rsa(_) | KeyKind::Dsa(_));
    let all = [ours, theirs].into_iter().flatten().all(|spec| keys(spec).iter().all(is_known));
    let is_odd = *user != UserAuth::None && !all;
    is_odd
        .then_some(("XAUTH has numbers for RSA and DSA keys alone", "use keys of RSA, or a secret"))
}

fn has_port_ranges(child: &ChildConfig) -> bool {
    let selectors = child.local_ts.iter().chain(&child.remote_ts).filter_map(|ts| ts.selector());
    selectors.into_iter().any(|ts| ts.ports != PortRange::ANY && ts.ports.start != ts.ports.end)
}

/// Whether IKEv1 has numbers for a suite of this proposal.
pub(crate) fn is_of_phase_1(spec: &ProposalSpec) -> bool {
    let ciphers = |id| Phase1Encryption::from_encryption(EncryptionId(id)).is_some();
    let hashes = |id| Phase1Hash::from_prf(PrfId(id)).is_some();
    let groups = |id| is_group(KeyExchangeId(id));
    spec.of_kind(TransformType::ENCR).any(|one| ciphers(one.id))
        && spec.of_kind(TransformType::PRF).any(|one| hashes(one.id))
        && spec.of_kind(TransformType::KE).any(|one| groups(one.id))
}

/// What is offered where nothing is said about algorithms.
pub(crate) fn phase_1_default() -> Vec<ProposalSpec> {
    let specs = ProposalSpec::ike_list("compat").unwrap_or_default();
    specs.into_iter().filter(is_of_phase_1).collect()
}

/// The same for children.
pub(crate) fn phase_2_default() -> Vec<ProposalSpec> {
    ProposalSpec::esp_list("compat").unwrap_or_default()
}

fn is_group(id: KeyExchangeId) -> bool {
    GroupId(id.0).key_exchange() == Some(id)
}

fn has_phase_2(child: &ChildConfig) -> bool {
    let known = |id| EspTransformId::from_encryption(EncryptionId(id)).is_some();
    child.proposals.iter().any(|spec| {
        let mut ciphers = spec.of_kind(TransformType::ENCR).peekable();
        ciphers.peek().is_none() || ciphers.any(|one| known(one.id))
    })
}
