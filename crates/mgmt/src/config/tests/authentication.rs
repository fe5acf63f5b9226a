//! NULL authentication, post-quantum keys, a second authentication, authentication that is repeated.

use adit_db::{AuthSpec, Identity, IdentityPattern, PpkSpec};

use super::{FIVE_LINES, Tunnel, good, load_one, with};

fn with_lines(lines: &str) -> Tunnel {
    good(&format!("{FIVE_LINES}\n{lines}\n"))
}

/// What is said about these lines, which have no secret beside them.
fn without_secret(lines: &str) -> Result<Tunnel, String> {
    let text: Vec<_> = FIVE_LINES.lines().filter(|line| !line.starts_with("secret")).collect();
    match load_one(&format!("{}\n{lines}\n", text.join("\n"))) {
        Ok(mut configuration) => Ok(configuration.tunnels.remove("berlin").unwrap()),
        Err(errors) => Err(errors.iter().map(|error| error.render(false)).collect()),
    }
}

#[test]
fn a_ppk_is_named_and_required_unless_it_is_said_otherwise() {
    let tunnel = with_lines("ppk = \"file:other.psk\"\nppk_id = \"berlin\"");
    let id = "berlin".parse().unwrap();
    assert_eq!(tunnel.connection.pad.ppk, Some(PpkSpec { id, required: true }));
    let secret = tunnel.more_secrets.ppk.unwrap();
    assert_eq!(secret.as_bytes(), b"another-secret-of-32-characters!");
    let optional = "ppk = \"file:other.psk\"\nppk_id = \"opaque:berlin\"\nppk_required = false";
    assert!(!with_lines(optional).connection.pad.ppk.as_ref().unwrap().required);

    let unnamed = with("ppk = \"file:other.psk\"");
    assert!(unnamed.contains("add ppk_id = \"NAME\", which both sides call the key"), "{unnamed}");
    let missing = with("ppk_id = \"berlin\"");
    assert!(missing.contains("there is no `ppk` for this"), "{missing}");
    assert!(
        missing.contains("ppk = \"file:berlin.ppk\"; `adit secret new` makes one"),
        "{missing}"
    );
    let plain = with("ppk = \"another-secret-of-32-characters!\"\nppk_id = \"berlin\"");
    assert!(!plain.contains("another-secret"), "{plain}");
    let gone = with("ppk = \"file:gone.ppk\"\nppk_id = \"berlin\"");
    assert!(gone.contains("E512") && gone.contains("gone.ppk"), "{gone}");
    let open = with("ppk = \"file:open.psk\"\nppk_id = \"berlin\"");
    assert!(open.contains("E511"), "{open}");
}

/// CHECKLIST F08.
#[test]
fn no_proof_is_asked_for_by_name_alone() {
    let tunnel = with_lines("auth = \"null\"");
    assert_eq!(tunnel.connection.pad.local_auth, AuthSpec::Null);
    assert_eq!(tunnel.connection.pad.remote_auth, AuthSpec::Psk);
    let tunnel = with_lines("peer_auth = \"null\"");
    assert_eq!(tunnel.connection.pad.remote_auth, AuthSpec::Null);
    assert_eq!(tunnel.connection.pad.remote_id, IdentityPattern::Any);
    let tunnel = without_secret("auth = \"null\"\npeer_auth = \"null\"").unwrap();
    assert!(tunnel.secret.is_none());
    assert!(without_secret("auth = \"null\"").unwrap_err().contains("`secret` is missing"));
    let useless = with("auth = \"null\"\npeer_auth = \"null\"");
    assert!(useless.contains("`secret` is of no use to this tunnel"), "{useless}");

    let named = with("peer_auth = \"null\"\npeer_id = \"gw.example\"");
    assert!(named.contains("a peer that proves nothing has no name"), "{named}");
    let typo = with("auth = \"nul\"");
    assert!(typo.contains("did you mean \"null\"?"), "{typo}");
}

/// RFC 7619 §2.5: whoever comes has its own address, and no network.
#[test]
fn anybody_speaks_for_itself_alone() {
    let text = |remote: &str| {
        format!(
            "keep = \"passive\"\nlocal = \"10.1.0.0/24\"\nremote = \"{remote}\"\n\
             secret = \"file:good.psk\"\npeer_auth = \"null\"\n"
        )
    };
    assert!(load_one(&text("dynamic")).is_ok());
    let errors = load_one(&text("10.2.0.0/24")).unwrap_err();
    let said: String = errors.iter().map(|error| error.render(false)).collect();
    assert!(said.contains("anybody could take these networks"), "{said}");
    assert!(said.contains("write remote = \"dynamic\""), "{said}");
}

/// CHECKLIST F09.
#[test]
fn a_second_authentication_has_names_and_a_secret_of_its_own() {
    let table = "[second]\nid = \"alice@example\"\npeer_id = \"bob@example\"\n\
                 secret = \"file:other.psk\"";
    let tunnel = with_lines(table);
    let pad = &tunnel.connection.pad;
    let alice: Identity = "alice@example".parse().unwrap();
    assert_eq!(pad.more_local[0].id, Some(alice));
    assert_eq!(pad.more_remote[0].id, "bob@example".parse().unwrap());
    assert!(tunnel.more_secrets.second.is_some());

    let tunnel = with_lines("[second]\nauth = \"null\"");
    assert_eq!(tunnel.connection.pad.more_local[0].auth, AuthSpec::Null);
    assert!(tunnel.connection.pad.more_remote.is_empty());

    let bare = with("[second]\nid = \"alice@example\"");
    assert!(bare.contains("the second authentication has no `secret`"), "{bare}");
    let nobody = with("[second]\nsecret = \"file:other.psk\"");
    assert!(nobody.contains("nobody authenticates a second time"), "{nobody}");
    let useless = with("[second]\nauth = \"null\"\nsecret = \"file:other.psk\"");
    assert!(useless.contains("`secret` of [second] is of no use"), "{useless}");
    let nameless = with("[second]\npeer_auth = \"psk\"\nsecret = \"file:other.psk\"");
    assert!(nameless.contains("add peer_id = "), "{nameless}");
    let typo = with("[second]\npeerid = \"bob@example\"");
    assert!(typo.contains("did you mean `peer_id`?"), "{typo}");
}

/// CHECKLIST K15.
#[test]
fn authentication_is_repeated_after_a_while() {
    let tunnel = with_lines("reauth = \"10h\"");
    assert_eq!(tunnel.connection.reauth_time.as_secs(), 36_000);
    assert_eq!(tunnel.connection.over_time.as_secs(), 3_600);
    assert!(with("reauth = \"soon\"").contains("must be a time such as"));
    assert!(with("reauth_time = \"3h\"").contains("did you mean `reauth`?"));
}
