//! Users of connections that VICI has loaded: passwords of `load-shared`, of type `xauth` or `eap`. Those of
//! tunnels are in their files.

use adit_crypto::Secret;

/// A password and whose it is.
#[derive(Debug)]
pub(crate) struct SharedUser {
    /// Its unique id.
    pub(crate) id: String,
    /// What the user is called; empty is any.
    pub(crate) names: Vec<String>,
    /// The password.
    pub(crate) password: Secret,
}

/// All of them, in the order in which they came.
#[derive(Debug, Default)]
pub(super) struct SharedUsers(Vec<SharedUser>);

impl SharedUsers {
    pub(super) fn add(&mut self, user: SharedUser) {
        self.0.push(user);
    }

    pub(super) fn remove(&mut self, id: &str) {
        self.0.retain(|user| user.id != id);
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// The password of a user. One that is of a name goes before one of any, and later ones win.
    pub(super) fn password(&self, name: &str) -> Option<&Secret> {
        let is_named = |user: &&SharedUser| user.names.iter().any(|one| one == name);
        let named = self.0.iter().rfind(is_named);
        let of_any = || self.0.iter().rfind(|user| user.names.is_empty());
        named.or_else(of_any).map(|user| &user.password)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(id: &str, names: &[&str]) -> SharedUser {
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        SharedUser { id: id.to_owned(), names, password: Secret::from_slice(id.as_bytes()) }
    }

    /// CHECKLIST W01: a password is its user's.
    #[test]
    fn a_password_is_that_of_its_user() {
        let mut users = SharedUsers::default();
        users.add(user("one", &["alice", "al"]));
        users.add(user("two", &["bob"]));
        let found = |users: &SharedUsers, name| {
            users.password(name).map(|password| password.as_bytes().to_vec())
        };
        assert_eq!(found(&users, "al").unwrap(), b"one");
        assert_eq!(found(&users, "bob").unwrap(), b"two");
        assert_eq!(found(&users, "carol"), None);
        assert_eq!(found(&users, ""), None);
        users.add(user("any", &[]));
        users.add(user("new", &["bob"]));
        assert_eq!(found(&users, "carol").unwrap(), b"any");
        assert_eq!(found(&users, "bob").unwrap(), b"new");
        users.remove("new");
        assert_eq!(found(&users, "bob").unwrap(), b"two");
        users.clear();
        assert_eq!(found(&users, "bob"), None);
    }
}
