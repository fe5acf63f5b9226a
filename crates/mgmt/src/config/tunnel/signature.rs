//! Certificates and keys (RFC 7427, RFC 7670): `cert`, `key`, `ca`, `peer_cert`, `peer_key`.

use std::ops::Range;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;

use adit_db::{AuthSpec, Connection, Identity, SignatureSpec};
use adit_pki::{AltName, Certificate, PkiError, PrivateKey, PublicKey, read_certificates};

use super::super::SecretFile;
use super::super::fields::{Fields, Placed};
use super::super::memo::Memo;
use super::super::report::Mistake;
use super::{no_file, refuse_open_file};
use crate::codes::Code;

/// Reads the keys and settles how both sides prove themselves. The private key is what comes out.
pub(super) fn read(
    fields: &mut Fields<'_>,
    memo: &Memo<'_>,
    connection: &mut Connection,
) -> Option<PrivateKey> {
    let has_id = fields.has("id") || connection.pad.local_id.is_some();
    let own = certificates(fields, memo, "cert");
    let key_span = fields.key_span("key");
    let key = private_key(fields, memo);
    if let (Some(span), None, None) = (own.as_ref().map(|own| own.span.clone()), &key, key_span) {
        fields.mistake(
            Mistake::new(span, "a certificate without its private key")
                .label("nothing to sign with")
                .help("name the file of the private key: key = \"file:NAME.key\""),
        );
    }
    if let Some(key) = &key {
        let spec = ours(fields, own, key, has_id, connection);
        connection.pad.local_auth = AuthSpec::Signature(Arc::new(spec));
    }
    let is_one = connection.pad.remote_id.exact().is_some();
    if let Some(spec) = theirs(fields, memo, is_one) {
        connection.pad.remote_auth = AuthSpec::Signature(Arc::new(spec));
    }
    key.map(|key| key.value)
}

/// What we sign with: the certificates if there are some, else the raw key.
fn ours(
    fields: &mut Fields<'_>,
    own: Option<Placed<Vec<Arc<Certificate>>>>,
    key: &Placed<PrivateKey>,
    has_id: bool,
    connection: &mut Connection,
) -> SignatureSpec {
    let public = key.value.public();
    let Some(own) = own else {
        return SignatureSpec { public_keys: vec![Arc::clone(public)], ..SignatureSpec::default() };
    };
    let leaf = own.value.iter().find(|one| one.public_key().id() == public.id());
    match leaf {
        None => fields.mistake(
            Mistake::new(key.span.clone(), "the private key does not fit the certificate")
                .code(Code::E525)
                .label(format!("this is a key of {}", public.kind()))
                .note(own.span, "none of these certificates has its public half")
                .help("`openssl pkey -in KEY -pubout` shows the public half; ask for a certificate of it"),
        ),
        Some(leaf) => settle_id(fields, leaf, own.span, has_id, connection),
    }
    SignatureSpec { certificates: own.value, ..SignatureSpec::default() }
}

/// `id` must be in the certificate; without it we are who the certificate says (CHECKLIST G02).
fn settle_id(
    fields: &mut Fields<'_>,
    leaf: &Certificate,
    span: Range<usize>,
    has_id: bool,
    connection: &mut Connection,
) {
    if !has_id {
        connection.pad.local_id = Some(identity_of(leaf));
        return;
    }
    let Some(id) = &connection.pad.local_id else { return };
    if !leaf.is_of(id.kind(), &id.octets()) {
        let names: Vec<String> =
            leaf.alt_names().iter().filter_map(identity).map(|id| id.to_string()).collect();
        let names = if names.is_empty() { leaf.subject_text() } else { names.join(", ") };
        fields.mistake(
            Mistake::new(span, format!("`id` is not in the certificate: {id}"))
                .label(format!("it is for {names}"))
                .help("set `id` to one of these, or leave it out; peers check it against the certificate"),
        );
    }
}

/// The first name in subjectAltName, else the subject.
fn identity_of(leaf: &Certificate) -> Identity {
    let first = leaf.alt_names().iter().find_map(identity);
    first.unwrap_or_else(|| Identity::Dn(leaf.subject().to_vec()))
}

fn identity(name: &AltName) -> Option<Identity> {
    match name {
        AltName::Dns(host) => Some(Identity::Fqdn(host.clone())),
        AltName::Email(mail) => Some(Identity::Rfc822(mail.clone())),
        AltName::Ip(address) => Some((*address).into()),
        AltName::Directory(_) => None,
    }
}

/// What the peer must sign with; `None` if it has a pre-shared key. `is_one` is whether its identity is
/// a single one.
fn theirs(fields: &mut Fields<'_>, memo: &Memo<'_>, is_one: bool) -> Option<SignatureSpec> {
    let asked = ["ca", "peer_cert", "peer_key"].iter().any(|key| fields.has(key));
    let authorities = certificates(fields, memo, "ca");
    let pinned = certificates(fields, memo, "peer_cert");
    let keys_span = fields.key_span("peer_key");
    let keys = public_keys(fields, memo);
    if let Some(authorities) = &authorities
        && let Some(other) = authorities.value.iter().find(|one| !one.is_authority())
    {
        let label = format!("{} may not sign certificates", other.subject_text());
        fields.mistake(
            Mistake::new(
                authorities.span.clone(),
                "`ca` names a certificate that is no authority's",
            )
            .code(Code::E524)
            .label(label)
            .help("to accept just this certificate of the peer write peer_cert instead of ca"),
        );
    }
    let spec = SignatureSpec {
        schemes: Vec::new(),
        certificates: pinned.map(|placed| placed.value).unwrap_or_default(),
        public_keys: keys,
        authorities: authorities.map(|placed| placed.value).unwrap_or_default(),
    };
    if let Some(span) = keys_span {
        check_keys(fields, span, &spec, is_one);
    }
    asked.then_some(spec)
}

/// What a raw key cannot do: come from an authority, and say whose it is.
fn check_keys(fields: &mut Fields<'_>, span: Range<usize>, spec: &SignatureSpec, is_one: bool) {
    if spec.mixes_keys_and_authorities() {
        fields.mistake(
            Mistake::new(span.clone(), "`peer_key` contradicts `ca`")
                .label("no authority has signed a raw key")
                .help("leave `ca` out; or pin a certificate that it has signed: peer_cert instead of peer_key"),
        );
    }
    if spec.has_keys_of_several() && !is_one {
        fields.mistake(
            Mistake::new(span, "nothing says whose of these keys is whose")
                .label("the owner of one could claim the name of another")
                .help("write one tunnel for each peer; or, if all are of one, its exact `peer_id`"),
        );
    }
}

/// The certificates of the files under a key. There is at least one, or a mistake.
fn certificates(
    fields: &mut Fields<'_>,
    memo: &Memo<'_>,
    key: &'static str,
) -> Option<Placed<Vec<Arc<Certificate>>>> {
    let mut all = Vec::new();
    let mut place = None;
    for text in fields.strings(key)? {
        let Some(path) = path(fields, key, &text) else { continue };
        let read = memo.certificates(key, &path, read_certificates);
        let span = text.span;
        match read {
            Ok(Ok(certificates)) => all.extend(certificates),
            Ok(Err(error)) => unusable(fields, span.clone(), &path, &error),
            Err(error) => unreadable(fields, span.clone(), &path, &error),
        }
        place.get_or_insert(span);
    }
    Some(Placed { value: all, span: place? }).filter(|placed| !placed.value.is_empty())
}

fn public_keys(fields: &mut Fields<'_>, memo: &Memo<'_>) -> Vec<Arc<PublicKey>> {
    let mut keys = Vec::new();
    for text in fields.strings("peer_key").unwrap_or_default() {
        let Some((path, file)) = file(fields, memo, "peer_key", &text) else { continue };
        match PublicKey::from_file(file.octets.as_bytes()) {
            Ok(key) => keys.push(Arc::new(key)),
            Err(error) => unusable(fields, text.span, &path, &error),
        }
    }
    keys
}

fn private_key(fields: &mut Fields<'_>, memo: &Memo<'_>) -> Option<Placed<PrivateKey>> {
    let text = fields.hidden_string("key")?;
    let (path, file) = file(fields, memo, "key", &text)?;
    refuse_open_file(fields, text.span.clone(), &path, &file);
    match PrivateKey::from_file(file.octets.as_bytes()) {
        Ok(key) => Some(Placed { value: key, span: text.span }),
        Err(error) => {
            unusable(fields, text.span, &path, &error);
            None
        }
    }
}

/// The file under a key; where it cannot be read that is a mistake.
pub(super) fn file(
    fields: &mut Fields<'_>,
    memo: &Memo<'_>,
    key: &'static str,
    text: &Placed<String>,
) -> Option<(PathBuf, Rc<SecretFile>)> {
    let path = path(fields, key, text)?;
    match memo.secret(&path) {
        Ok(file) => Some((path, file)),
        Err(error) => {
            unreadable(fields, text.span.clone(), &path, &error);
            None
        }
    }
}

fn path(fields: &mut Fields<'_>, key: &'static str, text: &Placed<String>) -> Option<PathBuf> {
    let Some(name) = text.value.strip_prefix("file:") else {
        fields.mistake(match key {
            "key" | "kem_key" => no_file(text.span.clone(), key, &text.value),
            _ => Mistake::new(text.span.clone(), format!("`{key}` cannot be understood"))
                .label("must be \"file:NAME\""),
        });
        return None;
    };
    let directory = fields.file.path.parent().map(std::path::Path::to_path_buf);
    Some(directory.unwrap_or_default().join(name))
}

fn unreadable(fields: &mut Fields<'_>, span: Range<usize>, path: &std::path::Path, error: &str) {
    let sentence = format!("{} cannot be read", path.display());
    fields.mistake(Mistake::new(span, sentence).code(Code::E512).label(error.to_owned()));
}

pub(super) fn unusable(
    fields: &mut Fields<'_>,
    span: Range<usize>,
    path: &std::path::Path,
    error: &PkiError,
) {
    fields.mistake(
        Mistake::new(span, format!("{} cannot be used", path.display()))
            .code(Code::E524)
            .label(error.to_string()),
    );
}
