//! The sections `local…` and `remote…`: one authentication round each.

use adit_db::{AuthMethodConfig, PadEntry};

use super::value::{Entry, Refused};
use super::{ConnError, ConnReason, parse_identity, parse_identity_pattern};
use crate::vici::message::Section;

/// Who we are and who the peer must be.
pub(super) fn pad_entry(connection: &Section) -> Result<PadEntry, ConnError> {
    let mut pad = PadEntry { auth: AuthMethodConfig::Psk, ..PadEntry::default() };
    let (name, section) = round(connection, "local")?;
    let local = read_round(name, section)?;
    if let Some(entry) = local {
        pad.local_id = parse_identity(entry.text()?).map_err(|error| entry.bad(error))?;
    }
    let (name, section) = round(connection, "remote")?;
    let remote = read_round(name, section)?;
    if let Some(entry) = remote {
        pad.remote_id = parse_identity_pattern(entry.text()?).map_err(|error| entry.bad(error))?;
    }
    Ok(pad)
}

/// The one section whose name begins with `side`.
fn round<'a>(connection: &'a Section, side: &'a str) -> Result<(&'a str, &'a Section), ConnError> {
    let mut rounds = connection.sections().filter(|(name, _)| name.starts_with(side));
    match (rounds.next(), rounds.next()) {
        (Some(round), None) => Ok(round),
        (None, _) => Err(contradiction(side, "the section is missing; write auth = psk in it")),
        (Some(_), Some((second, _))) => {
            Err(contradiction(second, "several authentication rounds are not supported yet"))
        }
    }
}

/// Checks a round and returns its `id`.
fn read_round<'a>(path: &str, section: &'a Section) -> Result<Option<Entry<'a>>, ConnError> {
    let mut id = None;
    let mut psk = false;
    for entry in Entry::all(path, section) {
        match entry.key.as_str() {
            "auth" => psk = read_auth(&entry)?,
            "id" => id = Some(entry),
            key if is_certificate_section(key) && entry.is_section() => {
                return Err(entry.unsupported(NO_CERTIFICATES));
            }
            _ => entry.settle(HONOURED, ACCEPTED, REFUSED)?,
        }
    }
    if psk {
        return Ok(id.filter(|entry| entry.text() != Ok("")));
    }
    // swanctl.conf's default.
    let path = format!("{path}.auth");
    let reason = ConnReason::Unsupported { value: "pubkey".to_owned(), reason: NO_CERTIFICATES };
    Err(ConnError { path, reason })
}

fn read_auth(entry: &Entry<'_>) -> Result<bool, ConnError> {
    let auth = entry.text()?;
    let starts = |words: &[&str]| words.iter().any(|word| auth.starts_with(word));
    if auth == "psk" {
        return Ok(true);
    }
    if starts(&["pubkey", "rsa", "ecdsa", "ed25519", "ed448", "bliss", "ike:"]) {
        return Err(entry.unsupported(NO_CERTIFICATES));
    }
    if starts(&["eap"]) {
        return Err(entry.unsupported("EAP is not supported yet; use psk"));
    }
    if starts(&["xauth"]) {
        return Err(entry.unsupported("XAuth is IKEv1, which is not supported yet; use psk"));
    }
    Err(entry.bad("must be psk"))
}

fn is_certificate_section(key: &str) -> bool {
    key.starts_with("cert") || key.starts_with("cacert")
}

fn contradiction(path: &str, reason: &'static str) -> ConnError {
    ConnError { path: path.to_owned(), reason: ConnReason::Contradiction(reason) }
}

const NO_CERTIFICATES: &str = "certificates are not supported yet; use psk";
const NO_EAP: &str = "EAP is not supported yet";

const HONOURED: &[&str] = &["auth", "id"];

/// The order of rounds does not matter when there is one; revocation concerns certificates.
const ACCEPTED: &[&str] = &["round", "revocation"];

const REFUSED: &[Refused] = &[
    Refused("certs", &[], NO_CERTIFICATES),
    Refused("cacerts", &[], NO_CERTIFICATES),
    Refused("cert_policy", &[], NO_CERTIFICATES),
    Refused("ca_id", &[], NO_CERTIFICATES),
    Refused("pubkeys", &[], "raw public keys are not supported yet; use psk"),
    Refused("groups", &[], "group membership is not supported yet"),
    Refused("eap_id", &[], NO_EAP),
    Refused("aaa_id", &[], NO_EAP),
    Refused("xauth_id", &[], "XAuth is IKEv1, which is not supported yet"),
];
