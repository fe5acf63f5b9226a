//! `auth = "rsa-encryption"` and what is like it: phase 1 of IKEv1 with nonces that are encrypted to the
//! other end's RSA key (RFC 2409 §5.2, §5.3; draft-ietf-ipsec-dhless-enc-mode-00).

use std::ops::Range;
use std::time::Duration;

use adit_crypto::KeyKind;
use adit_db::{AuthSpec, Connection, IkeVersion, Keep, NonceEncryption};

use super::super::fields::Fields;
use super::super::report::Mistake;
use super::forward_secrecy::{self, GivenUp};

const WORDS: [(&str, NonceEncryption); 3] = [
    ("rsa-encryption", NonceEncryption::Plain),
    ("revised-rsa-encryption", NonceEncryption::Revised),
    ("dhless", NonceEncryption::DhLess),
];

/// Whether `auth` asks for it.
pub(super) fn is_asked_for(fields: &Fields<'_>) -> bool {
    WORDS.iter().any(|(word, _)| fields.is_text("auth", word))
}

/// Reads `auth`, if it is one of these words, once the keys of both ends have been read.
/// `given_up` is what gives up forward secrecy beside it.
pub(super) fn read(
    fields: &mut Fields<'_>,
    version: IkeVersion,
    connection: &mut Connection,
    given_up: Option<GivenUp>,
) {
    let asked = if is_asked_for(fields) { fields.word("auth", &WORDS) } else { None };
    let gives_up = asked.as_ref().filter(|kind| !kind.value.has_key_exchange());
    forward_secrecy::read(fields, gives_up.map(|kind| ("auth", kind.span.clone())).or(given_up));
    let Some(kind) = asked else { return };
    if version != IkeVersion::V1 {
        fields.mistake(
            Mistake::new(kind.span, format!("`auth` = \"{}\" is IKEv1's", kind.value.word()))
                .label("IKEv2 has no such method")
                .help("ike = 1 beside it, or leave `auth` out"),
        );
        return;
    }
    if !kind.value.has_key_exchange() && !fields.has("ike_rekey") && !was_set(connection) {
        connection.rekey_time = DHLESS_REKEY_TIME;
    }
    if fields.key_lines.contains_key("base_mode") {
        fields.mistake(
            Mistake::new(kind.span.clone(), "base mode has no place for encrypted nonces")
                .label("goes with main mode and aggressive mode")
                .help("leave `base_mode` out"),
        );
    }
    connection.nonce_encryption = Some(kind.value);
    check_own_key(fields, &kind.span, connection);
    check_peer_key(fields, kind.span, connection);
}

/// Keys that nothing protects later are not for long.
const DHLESS_REKEY_TIME: Duration = Duration::from_hours(1);

/// Whether the file says how long an IKE SA lives.
fn was_set(connection: &Connection) -> bool {
    connection.rekey_time != Connection::DEFAULT_REKEY_TIME
}

fn check_own_key(fields: &mut Fields<'_>, span: &Range<usize>, connection: &Connection) {
    let own = &connection.pad.local_auth;
    if own.signature().is_none() {
        fields.mistake(
            Mistake::new(span.clone(), "there is no key to decrypt with")
                .label("the peer encrypts to our RSA key")
                .help("key = \"file:NAME.key\", whose public half the peer has"),
        );
    } else if !kinds(own).iter().any(is_rsa) {
        fields.mistake(
            Mistake::new(span.clone(), "our key cannot decrypt")
                .label(format!("it is {}, must be RSA", named(own)))
                .help("`openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:3072` makes one"),
        );
    }
}

fn check_peer_key(fields: &mut Fields<'_>, span: Range<usize>, connection: &Connection) {
    let peer = &connection.pad.remote_auth;
    let kinds = kinds(peer);
    if kinds.is_empty() && may_come_with_the_peer(connection) {
        return;
    }
    let mistake = match kinds.as_slice() {
        [kind] if is_rsa(kind) => return,
        [_] => Mistake::new(span, "nothing can be encrypted to the peer's key")
            .label(format!("it is {}, must be RSA", named(peer)))
            .help("peer_key = \"file:PEER.pub\", an RSA key"),
        [] => Mistake::new(span, "there is no key of the peer to encrypt to")
            .label("has to be here before the first message")
            .help("peer_key = \"file:PEER.pub\", or peer_cert = \"file:PEER.pem\"")
            .help("of peers that call, `ca` is enough: with keep = \"passive\", and not \"rsa-encryption\""),
        _ => Mistake::new(span, "the peer has several keys")
            .label("what is encrypted is for one of them")
            .help("write a tunnel for each key"),
    };
    fields.mistake(mistake);
}

/// Whether the peer calls and sends its certificate with its first encrypted payloads, as the revised mode lets it
/// (RFC 2409 §5.3).
fn may_come_with_the_peer(connection: &Connection) -> bool {
    let sends = connection.nonce_encryption.is_some_and(|kind| kind != NonceEncryption::Plain);
    let is_vouched =
        connection.pad.remote_auth.signature().is_some_and(|spec| !spec.authorities.is_empty());
    sends && is_vouched && connection.children.iter().all(|child| child.keep == Keep::Passive)
}

/// The kinds of the keys that a side may have.
fn kinds(auth: &AuthSpec) -> Vec<KeyKind> {
    let Some(spec) = auth.signature() else { return Vec::new() };
    let certified = spec.certificates.iter().filter(|one| !one.is_authority());
    let certified = certified.map(|one| one.public_key().kind());
    certified.chain(spec.public_keys.iter().map(|key| key.kind())).collect()
}

fn is_rsa(kind: &KeyKind) -> bool {
    matches!(kind, KeyKind::Rsa(_))
}

fn named(auth: &AuthSpec) -> String {
    kinds(auth).first().map_or_else(|| "of no kind".to_owned(), ToString::to_string)
}
