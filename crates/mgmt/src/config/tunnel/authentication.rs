//! How the two sides prove themselves beyond a secret or a signature: not at all (`auth`, `peer_auth`;
//! RFC 7619), with a post-quantum key (`ppk`, `ppk_id`, `ppk_required`; RFC 8784), twice (`[second]`;
//! RFC 4739), again after a while (`reauth`; RFC 4478).

use std::ops::Range;
use std::path::{Path, PathBuf};

use adit_crypto::Secret;
use adit_db::{
    AuthSpec, Connection, HostSpec, Identity, IdentityPattern, LocalRound, PpkId, PpkSpec,
    RemoteRound, TsSpec,
};

use super::super::MoreSecrets;
use super::super::fields::{Fields, Placed, Row};
use super::super::memo::Memo;
use super::super::report::{Mistake, tunnel_name};
use super::{check_secret, no_file, read_time};
use crate::codes::Code;
use crate::secret::{SecretFacts, trim_secret};

/// Reads the keys. What a signature has settled already stays.
pub(super) fn read(
    fields: &mut Fields<'_>,
    memo: &Memo<'_>,
    connection: &mut Connection,
    remote: &[TsSpec],
) -> Option<MoreSecrets> {
    let encrypts = connection.nonce_encryption.is_some();
    let ours = (!encrypts)
        .then(|| null(fields, "auth", connection.pad.local_auth.signature().is_some()))
        .flatten();
    let theirs = null(fields, "peer_auth", connection.pad.remote_auth.signature().is_some());
    if ours.is_some() {
        connection.pad.local_auth = AuthSpec::Null;
    }
    if theirs.is_some() {
        connection.pad.remote_auth = AuthSpec::Null;
    }
    let ppk = read_ppk(fields, memo, connection)?;
    if let Some(span) = theirs {
        check_anonymous(fields, span, connection, remote);
    }
    if let Some(time) = read_time(fields, "reauth", false) {
        connection.reauth_time = std::time::Duration::from_secs(time.value);
        let tenth = connection.reauth_time / 10;
        connection.over_time = connection.over_time.max(tenth);
        connection.rand_time = connection.rand_time.max(tenth);
    }
    let second = read_second(fields, memo, connection)?;
    Some(MoreSecrets { ppk, second, ..MoreSecrets::default() })
}

/// Where a side is said to prove nothing, which a side that signs does not do.
fn null(fields: &mut Fields<'_>, key: &'static str, signs: bool) -> Option<Range<usize>> {
    let word = fields.word(key, WORDS)?;
    if signs && word.value {
        fields.mistake(
            Mistake::new(word.span, format!("`{key}` contradicts the keys of this side"))
                .label("a side that signs proves who it is")
                .help("leave it out, or leave the certificates and keys out"),
        );
        return None;
    }
    word.value.then_some(word.span)
}

const WORDS: &[(&str, bool)] = &[("psk", false), ("null", true)];

/// Who proves nothing may be anybody: it has no name, and speaks for itself alone (RFC 7619 §2.5).
fn check_anonymous(
    fields: &mut Fields<'_>,
    span: Range<usize>,
    connection: &mut Connection,
    remote: &[TsSpec],
) {
    if !connection.pad.is_peer_anonymous() {
        return;
    }
    // Otherwise it would be the address that we call.
    connection.pad.remote_id = IdentityPattern::Any;
    if fields.key_lines.contains_key("peer_id") {
        fields.mistake(
            Mistake::new(span.clone(), "a peer that proves nothing has no name")
                .label("asks for no proof, and `peer_id` for a name")
                .help("leave `peer_id` out, or add a `ppk`, which proves it"),
        );
    }
    let hosts = connection.remote_addresses.as_slice();
    let is_one_host = matches!(hosts, [HostSpec::Address(_) | HostSpec::Name(_)]);
    if !is_one_host && remote.iter().any(|ts| ts.selector().is_some()) {
        fields.mistake(
            Mistake::new(span, "anybody could take these networks")
                .label("asks for no proof of who the peer is")
                .help("write remote = \"dynamic\", so that each peer has its own address alone"),
        );
    }
}

/// `ppk`, `ppk_id` and `ppk_required`. The outer `None` is a mistake.
fn read_ppk(
    fields: &mut Fields<'_>,
    memo: &Memo<'_>,
    connection: &mut Connection,
) -> Option<Option<Secret>> {
    let id = fields.parsed::<PpkId>("ppk_id", |error, _| error.to_string());
    let required = fields.flag("ppk_required", &[]);
    if !fields.has("ppk") {
        fields.optional("ppk");
        let place = id.map(|id| id.span).or_else(|| required.map(|it| it.span));
        let Some(place) = place else { return Some(None) };
        let name = tunnel_name(fields.file);
        fields.mistake(
            Mistake::new(place, "there is no `ppk` for this")
                .label("says something about a key that is not there")
                .help(format!("ppk = \"file:{name}.ppk\"; `adit secret new` makes one")),
        );
        return None;
    }
    let Placed { value: name, span } = fields.hidden_string("ppk")?;
    let (secret, _) = read_file(fields, memo, "ppk", &name, span)?;
    let id = match id {
        Some(id) => id.value,
        // Both sides have to say the same: the name of the tunnel is seldom that.
        None => {
            fields.missing("ppk_id", "\"NAME\", which both sides call the key");
            return None;
        }
    };
    let required = required.is_none_or(|required| required.value);
    connection.pad.ppk = Some(PpkSpec { id, required });
    Some(Some(secret))
}

/// The table `[second]`. The outer `None` is a mistake.
fn read_second(
    fields: &mut Fields<'_>,
    memo: &Memo<'_>,
    connection: &mut Connection,
) -> Option<Option<Secret>> {
    if !fields.has("second") {
        fields.optional("second");
        return Some(None);
    }
    let table = fields.key_span("second")?;
    let rows = fields.table("second")?;
    let mut second = Second::default();
    for row in rows {
        second.take(fields, row)?;
    }
    let Second { id, auth, peer_id, peer_auth, secret } = second;
    let (ours, theirs) = (id.is_some() || auth.is_some(), peer_id.is_some() || peer_auth.is_some());
    if !ours && !theirs {
        fields.mistake(
            Mistake::new(table, "nobody authenticates a second time")
                .label("names neither side")
                .help(
                    "add id = \"alice@example\" for us, or peer_id = \"bob@example\" for the peer",
                ),
        );
        return None;
    }
    let spec = |null: Option<bool>| if null == Some(true) { AuthSpec::Null } else { AuthSpec::Psk };
    let (auth, peer_auth) = (spec(auth), spec(peer_auth));
    let needs = ours && auth == AuthSpec::Psk || theirs && peer_auth == AuthSpec::Psk;
    if theirs && peer_auth == AuthSpec::Psk && peer_id.is_none() {
        fields.mistake(
            Mistake::new(table, "the peer's second authentication has no name")
                .label("the peer proves by the secret who it is, and nobody is named")
                .help("add peer_id = \"bob@example\", or \"%any\" for whoever has the secret"),
        );
        return None;
    }
    if ours {
        connection.pad.more_local.push(LocalRound { id, auth });
    }
    if theirs {
        let id = peer_id.unwrap_or_default();
        connection.pad.more_remote.push(RemoteRound { id, auth: peer_auth });
    }
    match (needs, secret) {
        (false, None) => Some(None),
        (true, Some((name, span))) => Some(Some(read_file(fields, memo, "secret", &name, span)?.0)),
        (true, None) => {
            let name = tunnel_name(fields.file);
            fields.mistake(
                Mistake::new(table, "the second authentication has no `secret`")
                    .label("its names are proved by a secret of their own")
                    .help(format!("secret = \"file:{name}-second.psk\" in [second]")),
            );
            None
        }
        (false, Some((_, span))) => {
            fields.mistake(
                Mistake::hidden(span, "`secret` of [second] is of no use")
                    .help("leave it out: nobody proves anything by it"),
            );
            None
        }
    }
}

/// The rows of `[second]`.
#[derive(Default)]
struct Second {
    id: Option<Identity>,
    auth: Option<bool>,
    peer_id: Option<IdentityPattern>,
    peer_auth: Option<bool>,
    secret: Option<(String, Range<usize>)>,
}

impl Second {
    fn take(&mut self, fields: &mut Fields<'_>, (key, texts): Row) -> Option<()> {
        let Ok([text]) = <[Placed<String>; 1]>::try_from(texts) else {
            fields.mistake(
                Mistake::new(key.span, format!("`{}` of [second] must be one string", key.value))
                    .label("a list"),
            );
            return None;
        };
        match key.value.as_str() {
            "id" => self.id = Some(parsed(fields, text)?),
            "peer_id" => self.peer_id = Some(parsed(fields, text)?),
            "auth" => self.auth = Some(fields.word_of("auth", &text, WORDS)?.value),
            "peer_auth" => self.peer_auth = Some(fields.word_of("peer_auth", &text, WORDS)?.value),
            "secret" => self.secret = Some((text.value, text.span)),
            _ => {
                let known = ["id", "auth", "peer_id", "peer_auth", "secret"];
                let nearest = adit_db::nearest(&key.value, known);
                fields.mistake(
                    Mistake::new(key.span, format!("unknown key `{}` in [second]", key.value))
                        .label(format!("must be one of {}", known.join(", ")))
                        .help_some(nearest.map(|word| format!("did you mean `{word}`?"))),
                );
                return None;
            }
        }
        Some(())
    }
}

fn parsed<T: std::str::FromStr<Err = adit_db::IdentityError>>(
    fields: &mut Fields<'_>,
    text: Placed<String>,
) -> Option<T> {
    match text.value.parse() {
        Ok(value) => Some(value),
        Err(error) => {
            fields.mistake(
                Mistake::new(text.span, "an identity of [second] cannot be understood")
                    .label(error.to_string()),
            );
            None
        }
    }
}

/// The secret in a file, and what can be said of it.
pub(super) fn read_file(
    fields: &mut Fields<'_>,
    memo: &Memo<'_>,
    key: &str,
    name: &str,
    span: Range<usize>,
) -> Option<(Secret, SecretFacts)> {
    let Some(file) = name.strip_prefix("file:") else {
        fields.mistake(no_file(span, key, name));
        return None;
    };
    let path: PathBuf = fields.file.path.parent().unwrap_or_else(|| Path::new("")).join(file);
    match memo.secret(&path) {
        Err(error) => {
            fields.mistake(
                Mistake::new(span, format!("{} cannot be read", path.display()))
                    .code(Code::E512)
                    .label(error)
                    .help(format!("adit secret new {}", path.display())),
            );
            None
        }
        Ok(secret) => {
            check_secret(fields, span, &path, &secret);
            let octets = Secret::from_slice(trim_secret(secret.octets.as_bytes()));
            Some((octets, SecretFacts::of_file(secret.octets.as_bytes())))
        }
    }
}
