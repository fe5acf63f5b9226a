//! `[xauth]` and `[mode_config]`.

use adit_db::{ConfigClient, ConfigMode, UserAuth};

use super::{
    FIVE_LINES, GOOD_SECRET, Tunnel, changed, complaint, file, good, load, load_one, secrets,
};

/// A client's file with this behind the tunnel's own lines.
fn client(tables: &str) -> String {
    let lines = changed(|lines| {
        lines.retain(|line| !line.starts_with("local"));
        lines.insert(0, "local = \"dynamic\"");
    });
    format!("ike = 1\n{lines}{tables}\n")
}

/// A gateway's.
fn gateway(tables: &str) -> String {
    let lines = changed(|lines| {
        lines.retain(|line| !line.starts_with("remote"));
        lines.insert(0, "remote = \"dynamic\"");
    });
    format!("ike = 1\n{lines}{tables}\n")
}

fn read(text: &str) -> Tunnel {
    good(text)
}

/// CHECKLIST W01, W03.
#[test]
fn a_client_has_a_user_and_asks_for_an_address() {
    let tables = "[xauth]\nuser = \"alice\"\npassword = \"file:alice.password\"\n\
                  [mode_config]\naddress = \"ask\"";
    let tunnel = read(&client(tables));
    let access = &tunnel.connection.remote_access;
    assert_eq!(access.user, UserAuth::Ours { name: "alice".to_owned() });
    assert_eq!(access.client, Some(ConfigClient { mode: ConfigMode::Pull }));
    assert_eq!(access.server, None);
    assert_eq!(tunnel.more_secrets.password.unwrap().as_bytes(), b"correct horse");
    let waits = read(&client("[mode_config]\naddress = \"wait\""));
    let access = &waits.connection.remote_access;
    assert_eq!(access.client, Some(ConfigClient { mode: ConfigMode::Push }));
    assert!(good(FIVE_LINES).connection.remote_access.is_none());
}

/// CHECKLIST W01, W03, W06.
#[test]
fn a_gateway_has_users_and_a_pool() {
    let tables = "[xauth]\nusers = \"file:users\"\nmessage = \"Who is there?\"\n\
                  [mode_config]\npool = [\"10.9.0.0/24\", \"fd09::/64\"]\npush = \"yes\"\n\
                  dns = \"10.1.0.53\"\nnbns = \"10.1.0.42\"\ndomain = \"oslo.example\"\n\
                  split = \"10.1.0.0/16\"\nsplit_dns = [\"oslo.example\"]\nbanner = \"Hello\"\n\
                  exclude = \"192.168.0.0/24\"\nsave_password = \"yes\"";
    let tunnel = read(&gateway(tables));
    let access = &tunnel.connection.remote_access;
    assert_eq!(access.user, UserAuth::Peers { message: Some("Who is there?".to_owned()) });
    let server = access.server.as_ref().unwrap();
    assert_eq!((server.mode, server.pool.len()), (ConfigMode::Push, 2));
    let settings = &server.settings;
    assert_eq!((settings.dns.len(), settings.nbns.len(), settings.split.len()), (1, 1, 1));
    assert_eq!(settings.domain.as_deref(), Some("oslo.example"));
    assert_eq!(settings.banner.as_deref(), Some("Hello"));
    assert!(settings.save_password);
    let users: Vec<(&str, &[u8])> = tunnel
        .more_secrets
        .users
        .iter()
        .map(|(name, password)| (name.as_str(), password.as_bytes()))
        .collect();
    assert_eq!(users, [("alice", &b"correct horse"[..]), ("bob", b"staple")]);
}

/// A user who comes or goes is no reason to negotiate with the others anew.
#[test]
fn users_come_and_go() {
    let text = gateway("[xauth]\nusers = \"file:users\"");
    let old = load_one(&text).unwrap();
    let other = |path: &std::path::Path| {
        let mut file = secrets(path)?;
        if path.ends_with("users") {
            file.octets = adit_crypto::Secret::from_slice(b"carol secret\n");
        }
        Ok(file)
    };
    let new = load(&[file("berlin", &text)], &other).unwrap();
    assert_ne!(old.tunnels["berlin"].more_secrets.users, new.tunnels["berlin"].more_secrets.users);
    assert_eq!(super::diff(&old, &new).unchanged, ["berlin"]);
}

#[test]
fn mistakes_are_told_and_passwords_are_not() {
    for (text, words) in [
        (client("[xauth]\nuser = \"alice\""), "does not say which side has the user"),
        (
            client("[xauth]\nuser = \"a b\"\npassword = \"file:alice.password\""),
            "no name of a user",
        ),
        (client("[xauth]\nuser = \"a\"\npassword = \"hunter2\""), "a file of its own"),
        (client("[xauth]\nuser = \"a\"\npassword = \"file:empty.psk\""), "no password in the file"),
        (client("[xauth]\nusers = \"file:gone\""), "E512"),
        (gateway("[xauth]\nusers = \"file:open.psk\""), "E511"),
        (gateway("[xauth]\nusers = \"file:odd.users\""), "line 2 of the users is no name"),
        (gateway("[xauth]\nusers = \"file:twice.users\""), "line 2 of the users has a name for"),
        (gateway("[xauth]\nusers = \"file:empty.psk\""), "no users in the file"),
        (gateway("[xauth]\nuserss = \"file:users\""), "did you mean `users`?"),
        (gateway("[mode_config]\ndns = \"10.1.0.53\""), "does not say who gets an address"),
        (gateway("[mode_config]\npool = \"10.9.0/24\""), "must be a network"),
        (gateway("[mode_config]\npool = \"10.9.0.0/24\"\naddress = \"ask\""), "one side alone"),
        (
            gateway("[mode_config]\npool = \"10.9.0.0/24\"\nbanners = \"x\""),
            "did you mean `banner`?",
        ),
        (client("[mode_config]\naddress = \"asked\""), "`address`"),
        (gateway("[mode_config]\naddress = \"ask\""), "local = \"dynamic\""),
        (client("[mode_config]\npool = \"10.9.0.0/24\""), "remote = \"dynamic\""),
        (client("[mode_config]\naddress = \"ask\"").replace("ike = 1\n", ""), "a matter of IKEv1"),
    ] {
        let said = complaint(&text);
        assert!(said.contains(words), "{text}\n{said}");
        assert!(!said.contains("hunter2") && !said.contains(GOOD_SECRET.trim()), "{said}");
    }
}
