//! DSA keys: with `ike = 1`, and nowhere else.

use adit_crypto::KeyKind;

use super::*;

const SMALL: &str = include_str!("../../../../pki/tests/vectors/dsa-1024.pem");
const SMALL_CERTIFICATE: &str = include_str!("../../../../pki/tests/vectors/dsa-1024.crt");
const SMALL_PUBLIC: &str = include_str!("../../../../pki/tests/vectors/dsa-1024.pub");
const LARGE: &str = include_str!("../../../../pki/tests/vectors/dsa-2048.pem");
const LARGE_CERTIFICATE: &str = include_str!("../../../../pki/tests/vectors/dsa-2048.crt");
const AUTHORITY: &str = include_str!("../../../../pki/tests/vectors/dsa-ca.crt");

const DSA_AUTHORITY: &str = include_str!("../../../../pki/tests/vectors/dsa-authority.crt");
const SHORT_AUTHORITY: &str = include_str!("../../../../pki/tests/vectors/dsa-small-authority.crt");

/// A tunnel with these lines, and what is warned of; or the mistakes.
fn loaded(lines: &str) -> Result<(Tunnel, String), String> {
    let text = format!(
        "peer = \"203.0.113.7\"\nlocal = \"10.1.0.0/24\"\nremote = \"10.2.0.0/24\"\n{lines}\n"
    );
    // Another octet of the public value, which is then of no group's order.
    let place = SMALL_PUBLIC.rfind("\n-----END").unwrap() - 20;
    let (before, after) = SMALL_PUBLIC.split_at(place);
    let other = if after.starts_with('A') { "B" } else { "A" };
    let broken = [before, other, &after[1..]].concat();
    let read = |path: &Path| {
        let text = match path.to_str() {
            Some("tunnels/small.key") => SMALL,
            Some("tunnels/small.pem") => SMALL_CERTIFICATE,
            Some("tunnels/small.pub") => SMALL_PUBLIC,
            Some("tunnels/broken.pub") => &broken,
            Some("tunnels/large.key") => LARGE,
            Some("tunnels/large.pem") => LARGE_CERTIFICATE,
            Some("tunnels/ca.pem") => AUTHORITY,
            Some("tunnels/dsa-ca.pem") => DSA_AUTHORITY,
            Some("tunnels/short-ca.pem") => SHORT_AUTHORITY,
            _ => return Err("No such file or directory (os error 2)".to_owned()),
        };
        Ok(SecretFile { octets: Secret::from_slice(text.as_bytes()), mode: 0o100_600 })
    };
    let mut configuration = load(&[file("berlin", &text)], &read).map_err(rendered)?;
    let warnings = rendered(std::mem::take(&mut configuration.warnings));
    Ok((configuration.tunnels.remove("berlin").unwrap(), warnings))
}

const LARGE_LINES: &str =
    "cert = \"file:large.pem\"\nkey = \"file:large.key\"\nca = \"file:ca.pem\"";

#[test]
fn dsa_keys_are_for_ikev1() {
    let (tunnel, warnings) = loaded(&format!("ike = 1\n{LARGE_LINES}")).unwrap();
    assert_eq!(warnings, "");
    assert_eq!(tunnel.key.unwrap().public().kind(), KeyKind::Dsa(2048));
    let (_, warnings) =
        loaded("ike = 1\nkey = \"file:large.key\"\npeer_cert = \"file:large.pem\"").unwrap();
    assert_eq!(warnings, "");
    for lines in [LARGE_LINES, "ike = 2\nkey = \"file:large.key\"\npeer_key = \"file:small.pub\""] {
        let said = loaded(lines).map(|_| ()).unwrap_err();
        assert!(said.contains("IKEv2 has no DSA here") && said.contains("ike = 1"), "{said}");
    }
}

/// What is worth 80 bits is taken, and warned of on either side.
#[test]
fn short_dsa_keys_are_warned_of() {
    for lines in [
        "cert = \"file:small.pem\"\nkey = \"file:small.key\"\nca = \"file:ca.pem\"",
        "key = \"file:large.key\"\npeer_key = \"file:small.pub\"",
        "key = \"file:large.key\"\npeer_cert = \"file:small.pem\"",
    ] {
        let (_, warnings) = loaded(&format!("ike = 1\n{lines}")).unwrap();
        assert_eq!(warnings.matches("warning[E515]").count(), 1, "{warnings}");
        assert!(warnings.contains("a key of DSA 1024 is weak"), "{warnings}");
    }
}

#[test]
fn a_dsa_key_of_no_group_is_refused() {
    let lines = "ike = 1\nkey = \"file:large.key\"\npeer_key = \"file:broken.pub\"";
    let said = loaded(lines).map(|_| ()).unwrap_err();
    assert!(said.contains("E524") && said.contains("not of the order q"), "{said}");
}

/// Authorities with DSA keys are believed as far as that goes, and no further without a word.
#[test]
fn authorities_may_have_dsa_keys() {
    let with = |ca: &str, lines: &str| {
        let own = "cert = \"file:large.pem\"\nkey = \"file:large.key\"";
        loaded(&format!("{own}\nca = \"file:{ca}.pem\"\n{lines}"))
    };
    assert_eq!(with("dsa-ca", "ike = 1").unwrap().1, "");
    let said = with("short-ca", "ike = 1").map(|_| ()).unwrap_err();
    assert!(said.contains("E524") && said.contains("peer_cert"), "{said}");
    let said = with("dsa-ca", "").map(|_| ()).unwrap_err();
    assert!(said.contains("IKEv2 has no DSA here"), "{said}");
}
