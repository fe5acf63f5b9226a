//! Static ML-KEM keys in place of an ephemeral key exchange (docs/dhless.md): `kem_key`, `peer_kem_key`, and
//! `static_mlkem768` in `ike`.

use std::ops::Range;
use std::sync::Arc;

use adit_crypto::{KemKey, KemPublicKey, KemSet};
use adit_db::{Connection, StaticKemSpec};
use adit_pki::{KemKeyId, PkiError, read_kem_key, read_kem_public};

use super::forward_secrecy::GivenUp;
use super::refuse_open_file;
use super::signature::{file, unusable};
use crate::codes::Code;
use crate::config::fields::{Fields, Placed};
use crate::config::memo::Memo;
use crate::config::report::{Mistake, tunnel_name};

/// Reads both keys and holds them against the proposals. The private key comes out, and what gives
/// forward secrecy up. `ike` is where the proposals stand.
pub(super) fn read(
    fields: &mut Fields<'_>,
    memo: &Memo<'_>,
    ike: Option<Range<usize>>,
    connection: &mut Connection,
) -> (Option<KemKey>, Option<GivenUp>) {
    let sets: Vec<Option<KemSet>> =
        connection.proposals.iter().map(|spec| spec.static_kem()).collect();
    let span = ike.unwrap_or_default();
    let Some(set) = sets.iter().find_map(|set| *set) else {
        refuse_keys(fields);
        return (None, None);
    };
    check_alone(fields, &sets, set, &span);
    let (ours, theirs) = (own_key(fields, memo, set), peer_key(fields, memo));
    if let (Some(ours), Some(theirs)) = (&ours, &theirs) {
        check_pair(fields, (ours, theirs), set, &span);
        let local = KemKeyId::of(ours.value.public());
        let keys = StaticKemSpec::new(local, Arc::new(theirs.value.clone()));
        connection.pad.static_kem = Some(keys);
    }
    (ours.map(|key| key.value), Some(("static_mlkem", span)))
}

/// Keys without a proposal that uses them.
fn refuse_keys(fields: &mut Fields<'_>) {
    for key in ["kem_key", "peer_kem_key"] {
        let Some(span) = fields.key_span(key) else {
            fields.optional(key);
            continue;
        };
        fields.mistake(
            Mistake::new(span, format!("`{key}` is of no use to this tunnel"))
                .label("no proposal of `ike` has static ML-KEM")
                .help("leave it out; or ike = \"aes256gcm16-prfsha384-static_mlkem768\""),
        );
        let _ = fields.hidden_string(key);
    }
}

/// The peer must not choose whether there is forward secrecy, and each side has one key.
fn check_alone(fields: &mut Fields<'_>, sets: &[Option<KemSet>], set: KemSet, span: &Range<usize>) {
    if sets.iter().any(|other| *other != Some(set)) {
        fields.mistake(
            Mistake::new(span.clone(), "static ML-KEM stands beside another key exchange")
                .label("the peer would choose whether there is forward secrecy")
                .help(format!("let every proposal have static_{set}, or none of them")),
        );
    }
}

/// Static keys are no proof of identity by themselves. `ike` is where the proposals stand.
pub(super) fn check_proofs(
    fields: &mut Fields<'_>,
    connection: &Connection,
    ike: Option<Range<usize>>,
) {
    let pad = &connection.pad;
    let is_static = connection.proposals.iter().any(|spec| spec.static_kem().is_some());
    if is_static && pad.local_auths().chain(pad.remote_auths()).any(|auth| auth.is_null()) {
        fields.mistake(
            Mistake::new(
                ike.unwrap_or_default(),
                "static ML-KEM wants both sides to prove who they are",
            )
            .label("its keys are those of a peer that is known")
            .help("leave auth = \"null\" and peer_auth = \"null\" out"),
        );
    }
}

fn check_pair(
    fields: &mut Fields<'_>,
    (ours, theirs): (&Placed<KemKey>, &Placed<KemPublicKey>),
    set: KemSet,
    span: &Range<usize>,
) {
    let sizes = [(&ours.span, ours.value.public().set()), (&theirs.span, theirs.value.set())];
    for (place, other) in sizes.into_iter().filter(|(_, other)| *other != set) {
        fields.mistake(
            Mistake::new(place.clone(), "the key is of another size than `ike` says")
                .code(Code::E524)
                .label(format!("a key of {other}"))
                .note(span.clone(), format!("static_{set}"))
                .help("both keys and `ike` have one size"),
        );
    }
    if ours.value.public() == &theirs.value {
        fields.mistake(
            Mistake::new(theirs.span.clone(), "the peer's key is our own")
                .code(Code::E524)
                .label("the public half of `kem_key`")
                .help("each side makes a key, and gives the other the public half alone"),
        );
    }
}

fn own_key(fields: &mut Fields<'_>, memo: &Memo<'_>, set: KemSet) -> Option<Placed<KemKey>> {
    if !fields.has("kem_key") {
        let name = tunnel_name(fields.file);
        let how =
            format!("\"file:{name}.kem\"; `adit secret new {name}.kem --kem {set}` makes one");
        fields.missing("kem_key", how);
        return None;
    }
    let text = fields.hidden_string("kem_key")?;
    let (path, read) = file(fields, memo, "kem_key", &text)?;
    refuse_open_file(fields, text.span.clone(), &path, &read);
    let key = read_kem_key(read.octets.as_bytes());
    usable(fields, text.span, &path, key)
}

fn peer_key(fields: &mut Fields<'_>, memo: &Memo<'_>) -> Option<Placed<KemPublicKey>> {
    if !fields.has("peer_kem_key") {
        fields.missing("peer_kem_key", "\"file:PEER.kem.pub\", the public half of the peer's key");
        return None;
    }
    let text = fields.string("peer_kem_key")?;
    let (path, read) = file(fields, memo, "peer_kem_key", &text)?;
    let key = read_kem_public(read.octets.as_bytes());
    usable(fields, text.span, &path, key)
}

fn usable<T>(
    fields: &mut Fields<'_>,
    span: Range<usize>,
    path: &std::path::Path,
    read: Result<T, PkiError>,
) -> Option<Placed<T>> {
    match read {
        Ok(value) => Some(Placed { value, span }),
        Err(error) => {
            unusable(fields, span, path, &error);
            None
        }
    }
}
