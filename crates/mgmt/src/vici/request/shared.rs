//! `load-shared`: pre-shared keys, post-quantum ones and passwords of users.

use adit_crypto::Secret;
use adit_db::{IdentityPattern, PpkId};

use super::super::Value;
use super::super::conn::parse_identity_pattern;
use super::super::message::Message;
use super::{Request, RequestError, invalid, needed, text};

/// Arguments of `load-shared`.
#[derive(Debug)]
pub struct LoadShared {
    /// Name to unload it by; swanctl gives the name of its section.
    pub id: Option<String>,
    /// The key.
    pub secret: Secret,
    /// Whose it is: fits a pair of identities if one or both of them match; empty fits all.
    pub owners: Vec<IdentityPattern>,
}

/// Arguments of `load-shared` for a post-quantum key (RFC 8784).
#[derive(Debug)]
pub struct LoadPpk {
    /// Name to unload it by; swanctl gives the name of its section.
    pub id: Option<String>,
    /// The key.
    pub secret: Secret,
    /// What the two sides call it; empty fits every name.
    pub names: Vec<PpkId>,
}

/// Arguments of `load-shared` for the password of a user (XAUTH).
#[derive(Debug)]
pub struct LoadUser {
    /// Name to unload it by; swanctl gives the name of its section.
    pub id: Option<String>,
    /// The password.
    pub password: Secret,
    /// What the user is called; empty fits every user.
    pub names: Vec<String>,
}

/// Reads the command.
pub(super) fn read(message: &Message) -> Result<Request, RequestError> {
    let kind = needed(message, "type")?.to_ascii_lowercase();
    let kinds = ["ike", "ppk", "xauth", "eap"];
    if !kinds.contains(&kind.as_str()) {
        let reason =
            format!("secrets of type {kind} are not supported yet; use ike, ppk, xauth or eap");
        return Err(invalid(reason));
    }
    let data = message.octets("data").ok_or_else(|| invalid("missing data"))?;
    if data.is_empty() {
        return Err(invalid("the secret is empty"));
    }
    let (id, secret) = (text(message, "id")?, Secret::from_slice(data));
    let named = message.texts("owners").filter(|name| *name != "%any");
    match kind.as_str() {
        "ppk" => {
            let names = named.map(|name| name.parse().map_err(|e| invalid(format!("id: {e}"))));
            let names = names.collect::<Result<_, _>>()?;
            Ok(Request::LoadPpk(LoadPpk { id, secret, names }))
        }
        // As with charon, a password is for both: whoever asks for it says how.
        "xauth" | "eap" => {
            if data.len() > PASSWORD_OCTETS_MAX {
                return Err(invalid("a password has at most 255 octets"));
            }
            let names = named.map(str::to_owned).collect();
            Ok(Request::LoadUser(LoadUser { id, password: secret, names }))
        }
        _ => {
            let owners = message.texts("owners").map(|owner| {
                parse_identity_pattern(owner).map_err(|e| invalid(format!("owner: {e}")))
            });
            let owners = owners.collect::<Result<_, _>>()?;
            Ok(Request::LoadShared(LoadShared { id, secret, owners }))
        }
    }
}

/// The arguments of a command about secrets; the inverse of [`read`].
pub(super) fn put_any(request: &Request, message: &mut Message) {
    #[expect(clippy::wildcard_enum_match_arm, reason = "all others are about something else")]
    match request {
        Request::LoadShared(shared) => shared.put(message),
        Request::LoadPpk(ppk) => ppk.put(message),
        Request::LoadUser(user) => user.put(message),
        _ => {}
    }
}

/// XAUTH sends a password in one attribute; files of tunnels have no longer ones either.
const PASSWORD_OCTETS_MAX: usize = 255;

impl LoadShared {
    fn put(&self, message: &mut Message) {
        put(message, self.id.as_ref(), "ike", &self.secret);
        message.put_list("owners", &self.owners);
    }
}

impl LoadPpk {
    fn put(&self, message: &mut Message) {
        put(message, self.id.as_ref(), "ppk", &self.secret);
        message.put_list("owners", &self.names);
    }
}

impl LoadUser {
    fn put(&self, message: &mut Message) {
        put(message, self.id.as_ref(), "xauth", &self.password);
        message.put_list("owners", &self.names);
    }
}

fn put(message: &mut Message, id: Option<&String>, kind: &str, secret: &Secret) {
    message.put_some("id", id);
    message.put("type", kind);
    message.put_value("data", Value::Text(secret.as_bytes().to_vec()));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(kind: &str, password: &str, owners: &[&str]) -> Result<Request, RequestError> {
        let message = Message::new().with("id", "one").with("type", kind).with("data", password);
        Request::parse("load-shared", &message.with_list("owners", owners))
    }

    /// CHECKLIST W01: a password is its user's, and that of any user if nobody is named.
    #[test]
    fn a_users_password_is_xauth_or_eap() {
        for kind in ["xauth", "EAP"] {
            let Ok(Request::LoadUser(user)) = load(kind, "horse", &["alice", "al"]) else {
                panic!("no user")
            };
            assert_eq!(
                (user.names, user.password.as_bytes()),
                (vec!["alice".to_owned(), "al".to_owned()], &b"horse"[..])
            );
        }
        let Ok(Request::LoadUser(any)) = load("xauth", "horse", &["%any"]) else { panic!("none") };
        assert!(any.names.is_empty());
        assert!(load("xauth", "", &["alice"]).is_err());
        assert!(load("xauth", &"x".repeat(256), &["alice"]).is_err());
        let error = load("ntlm", "horse", &["alice"]).unwrap_err().to_string();
        assert!(error.contains("type ntlm are not supported yet"), "{error}");
    }
}
