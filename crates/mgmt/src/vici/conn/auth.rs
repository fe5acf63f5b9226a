//! The sections `local…` and `remote…`: one authentication round each (RFC 4739).

use std::sync::Arc;

use adit_db::{
    AuthSpec, Identity, IdentityPattern, LocalRound, PadEntry, ROUNDS_MAX, RemoteRound,
    SignatureSpec,
};

use super::signature::{certificates, public_keys, schemes};
use super::value::{Entry, Refused};
use super::{ConnError, contradiction, parse_identity, parse_identity_pattern};
use crate::vici::message::Section;

/// The rounds that prove a user of the device (XAUTH): the path of each, and our user's name.
#[derive(Debug, Default)]
pub(super) struct Users {
    pub(super) ours: Option<(String, Option<String>)>,
    pub(super) theirs: Option<(String, Option<String>)>,
}

/// Who we are and who the peer must be, in the first round and in those after it, and whose user is asked
/// after them.
pub(super) fn pad_entry(connection: &Section) -> Result<(PadEntry, Users), ConnError> {
    let mut pad = PadEntry::default();
    let mut users = Users::default();
    let mut local = rounds(connection, "local")?;
    users.ours = take_user(&mut local)?;
    let mut local = local.into_iter();
    if let Some(first) = local.next() {
        (pad.local_id, pad.local_auth) = (first.local_id()?, first.auth);
    }
    for round in local {
        pad.more_local.push(LocalRound { id: round.local_id()?, auth: round.auth });
    }
    let mut remote = rounds(connection, "remote")?;
    users.theirs = take_user(&mut remote)?;
    let mut remote = remote.into_iter();
    if let Some(first) = remote.next() {
        (pad.remote_id, pad.remote_auth) = (first.remote_id()?, first.auth);
    }
    for round in remote {
        pad.more_remote.push(RemoteRound { id: round.remote_id()?, auth: round.auth });
    }
    Ok((pad, users))
}

/// Takes out the round that is a user's; it is the last one. Where it is the only one, it stays as that of a
/// device that proves nothing (hybrid).
fn take_user(rounds: &mut Vec<Round<'_>>) -> Result<Option<(String, Option<String>)>, ConnError> {
    let Some(at) = rounds.iter().position(|round| round.user.is_some()) else { return Ok(None) };
    let is_last = at.saturating_add(1) == rounds.len();
    let Some(round) = rounds.get_mut(at).filter(|_| is_last) else {
        let path = rounds.get(at).map_or("", |round| round.path);
        return Err(contradiction(path, "the user (XAuth) comes after the device; use round = 2"));
    };
    let id = round.id.as_ref().map(Entry::text).transpose()?.map(str::to_owned);
    let name = round.user.take().flatten().or(id);
    let path = round.path.to_owned();
    if at > 0 {
        rounds.truncate(at);
    }
    Ok(Some((path, name)))
}

/// What the sections say whose names begin with `side`, in the order of their rounds.
fn rounds<'a>(connection: &'a Section, side: &'a str) -> Result<Vec<Round<'a>>, ConnError> {
    let sections = connection.sections().filter(|(name, _)| name.starts_with(side));
    let rounds = sections.map(|(name, section)| read_round(name, section));
    let mut rounds = rounds.collect::<Result<Vec<_>, _>>()?;
    if rounds.is_empty() {
        return Err(contradiction(side, "the section is missing; write auth = psk in it"));
    }
    if rounds.len() > ROUNDS_MAX {
        return Err(contradiction(side, "a side has at most four rounds of authentication"));
    }
    rounds.sort_by_key(|round| round.number);
    Ok(rounds)
}

/// What a round says.
struct Round<'a> {
    /// The name of its section.
    path: &'a str,
    /// swanctl.conf(5): rounds without a number are ordered by their position.
    number: u32,
    id: Option<Entry<'a>>,
    auth: AuthSpec,
    /// If it is that of a user: the name, if there is one.
    user: Option<Option<String>>,
}

impl Round<'_> {
    fn local_id(&self) -> Result<Option<Identity>, ConnError> {
        if let Some(entry) = &self.id {
            return parse_identity(entry.text()?).map_err(|error| entry.bad(error));
        }
        // swanctl.conf(5): without an id we are the subject of our certificate.
        let own = self.auth.signature().and_then(|spec| spec.certificates.first());
        Ok(own.map(|own| Identity::Dn(own.subject().to_vec())))
    }

    fn remote_id(&self) -> Result<IdentityPattern, ConnError> {
        let id = match &self.id {
            Some(entry) => {
                parse_identity_pattern(entry.text()?).map_err(|error| entry.bad(error))?
            }
            None => IdentityPattern::Any,
        };
        let problem = match self.auth.signature() {
            Some(spec) if spec.mixes_keys_and_authorities() => MIXED,
            Some(spec) if spec.has_keys_of_several() && id.exact().is_none() => SEVERAL,
            _ => return Ok(id),
        };
        Err(contradiction(&format!("{}.pubkeys", self.path), problem))
    }
}

/// Reads a round. Without `auth` it is `pubkey`, swanctl.conf's default.
fn read_round<'a>(path: &'a str, section: &'a Section) -> Result<Round<'a>, ConnError> {
    let mut id = None;
    let mut number = 0;
    let mut psk = false;
    let (mut is_user, mut name) = (false, None);
    let mut spec = SignatureSpec::default();
    let mut credential = None;
    for entry in Entry::all(path, section) {
        match entry.key.as_str() {
            "auth" => match read_auth(&entry)? {
                Method::Psk => psk = true,
                Method::User => is_user = true,
                Method::Signature(schemes) => spec.schemes = schemes,
            },
            "id" => id = Some(entry),
            "xauth_id" => name = Some(entry.text()?.to_owned()).filter(|name| !name.is_empty()),
            "round" => number = entry.number()?,
            "certs" => certificates(&entry, &mut spec.certificates)?,
            "cacerts" => certificates(&entry, &mut spec.authorities)?,
            "pubkeys" => public_keys(&entry, &mut spec.public_keys)?,
            key if is_certificate_section(key) && entry.is_section() => {
                return Err(entry.unsupported(
                    "certificates by handle or from tokens are not supported; use certs and cacerts",
                ));
            }
            _ => entry.settle(HONOURED, ACCEPTED, REFUSED)?,
        }
        if let Some(key) = CREDENTIALS.iter().find(|key| section.get(key).is_some()) {
            credential.get_or_insert(*key);
        }
    }
    if let (true, Some(key)) = (psk || is_user, credential.filter(|_| !spec.is_open())) {
        let reason =
            if psk { "is of no use with auth = psk" } else { "is of no use with auth = xauth" };
        return Err(contradiction(&format!("{path}.{key}"), reason));
    }
    if let (false, Some(_)) = (is_user, &name) {
        return Err(contradiction(
            &format!("{path}.xauth_id"),
            "is of no use without auth = xauth",
        ));
    }
    let id = id.filter(|entry| entry.text() != Ok(""));
    let auth = match (psk, is_user) {
        (true, _) => AuthSpec::Psk,
        (false, true) => AuthSpec::Null,
        (false, false) => AuthSpec::Signature(Arc::new(spec)),
    };
    Ok(Round { path, number, id, auth, user: is_user.then_some(name) })
}

enum Method {
    Psk,
    /// XAUTH.
    User,
    Signature(Vec<adit_crypto::SignatureScheme>),
}

fn read_auth(entry: &Entry<'_>) -> Result<Method, ConnError> {
    let auth = entry.text()?;
    let starts = |words: &[&str]| words.iter().any(|word| auth.starts_with(word));
    if auth == "psk" {
        return Ok(Method::Psk);
    }
    if starts(&["ed448"]) {
        let reason = "no library that others have reviewed signs by Ed448; use Ed25519";
        return Err(entry.unsupported(reason));
    }
    if starts(&["bliss"]) {
        return Err(
            entry.unsupported("this kind of key is not supported; use RSA, ECDSA or Ed25519")
        );
    }
    if starts(&["pubkey", "rsa", "ecdsa", "ed25519", "ike:"]) {
        return schemes(entry, auth).map(Method::Signature);
    }
    if starts(&["eap"]) {
        return Err(entry.unsupported("EAP is not supported yet; use psk or pubkey"));
    }
    if ["xauth", "xauth-generic"].contains(&auth) {
        return Ok(Method::User);
    }
    if starts(&["xauth"]) {
        return Err(entry.unsupported("users are those of secrets; use xauth"));
    }
    Err(entry.bad("must be psk or pubkey"))
}

fn is_certificate_section(key: &str) -> bool {
    key.starts_with("cert") || key.starts_with("cacert")
}

const MIXED: &str =
    "contradicts cacerts, as no authority has signed a raw key; leave one of them out";
const SEVERAL: &str = "the owner of one key could claim the identity of another's; \
                       write one connection for each peer, or the exact id if all are of one";

const NO_EAP: &str = "EAP is not supported yet";

const CREDENTIALS: [&str; 3] = ["certs", "cacerts", "pubkeys"];

const HONOURED: &[&str] = &["auth", "id", "xauth_id", "round", "certs", "cacerts", "pubkeys"];

const ACCEPTED: &[&str] = &[];

const REFUSED: &[Refused] = &[
    Refused("revocation", &["relaxed"], "revocation is not checked yet"),
    Refused("cert_policy", &[], "certificate policies are not supported yet"),
    Refused("ca_id", &[], "identities of authorities are not supported yet; use cacerts"),
    Refused("groups", &[], "group membership is not supported yet"),
    Refused("eap_id", &[], NO_EAP),
    Refused("aaa_id", &[], NO_EAP),
];
