//! Static ML-KEM keys: `kem_key`, `peer_kem_key`, `forward_secrecy`.

use adit_crypto::KemSet;
use adit_pki::{KemKeyId, read_kem_public};

use super::*;
use crate::secret::kem_key_texts;

const KEYS: &str = "kem_key = \"file:ours.kem\"\npeer_kem_key = \"file:theirs.pub\"";
const IKE: &str = "ike = \"aes256gcm16-prfsha384-static_mlkem768\"";
const GATE: &str = "forward_secrecy = false";

fn files(path: &Path) -> Result<SecretFile, String> {
    let pair = |octet| kem_key_texts(KemSet::MlKem768, &[octet; 64]);
    let (ours, theirs, small) = (pair(1), pair(2), kem_key_texts(KemSet::MlKem512, &[3; 64]));
    let (octets, mode) = match path.to_str() {
        Some("tunnels/ours.kem") => (ours.0, 0o100_600),
        Some("tunnels/open.kem") => (ours.0, 0o100_644),
        Some("tunnels/small.kem") => (small.0, 0o100_600),
        Some("tunnels/ours.pub") => (Secret::from_slice(ours.1.as_bytes()), 0o100_644),
        Some("tunnels/theirs.pub") => (Secret::from_slice(theirs.1.as_bytes()), 0o100_644),
        _ => return secrets(path),
    };
    Ok(SecretFile { octets, mode })
}

fn loaded(lines: &str) -> Result<Configuration, Vec<ConfigError>> {
    load(&[file("berlin", &format!("{FIVE_LINES}\n{lines}\n"))], &files)
}

fn complaint(lines: &str) -> String {
    loaded(lines).map(|_| ()).map_err(rendered).unwrap_err()
}

/// The tunnel has both keys, and a warning that stays.
#[test]
fn static_keys_are_read_and_warned_of() {
    let mut configuration = loaded(&format!("{IKE}\n{KEYS}\n{GATE}")).unwrap();
    let codes: Vec<_> = configuration.warnings.iter().map(|warning| warning.code).collect();
    assert_eq!(codes, [Code::E534]);
    let tunnel = configuration.tunnels.remove("berlin").unwrap();
    let keys = tunnel.connection.pad.static_kem.as_ref().unwrap();
    assert_eq!(keys.local(), KemKeyId::of(tunnel.kem_key.unwrap().public()));
    let (_, theirs) = kem_key_texts(KemSet::MlKem768, &[2; 64]);
    assert_eq!(**keys.remote(), read_kem_public(theirs.as_bytes()).unwrap());
}

/// Nothing gives forward secrecy up unless the tunnel says so, and nothing says so for nothing.
#[test]
fn forward_secrecy_is_given_up_in_words_alone() {
    for asked in ["", "forward_secrecy = true"] {
        let text = complaint(&format!("{IKE}\n{KEYS}\n{asked}"));
        assert!(text.contains("`static_mlkem` gives up forward secrecy"), "{text}");
        assert!(text.contains("forward_secrecy = false"), "{text}");
    }
    let text = complaint(GATE);
    assert!(text.contains("nothing here gives up forward secrecy"), "{text}");
    assert!(loaded("forward_secrecy = true").is_ok());
}

/// The peer is never left to choose, keys fit the proposals, and both sides prove who they are.
#[test]
fn what_does_not_fit_is_refused() {
    let mixed =
        "ike = [\"aes256gcm16-prfsha384-static_mlkem768\", \"aes256gcm16-prfsha384-x25519\"]";
    let small = "ike = \"aes256gcm16-prfsha384-static_mlkem512\"";
    let small_key = KEYS.replace("ours.kem", "small.kem");
    let null = format!("{IKE}\npeer_auth = \"null\"");
    let within = "ike = \"aes256gcm16-prfsha384-static_mlkem768-x25519\"";
    let added = "ike = \"aes256gcm16-prfsha384-static_mlkem768-ke1_mlkem768\"";
    for (ike, keys, said) in [
        (mixed, KEYS, "stands beside another key exchange"),
        (within, KEYS, "mixes static ML-KEM and other key exchanges"),
        (added, KEYS, "mixes static ML-KEM and other key exchanges"),
        (small, KEYS, "the key is of another size than `ike` says"),
        (IKE, &small_key, "a key of mlkem512"),
        (IKE, "", "kem_key = \"file:berlin.kem\""),
        (IKE, &KEYS.replace("theirs", "ours"), "the peer's key is our own"),
        (IKE, &KEYS.replace("ours.kem", "open.kem"), "can be read or changed by other users"),
        (IKE, &KEYS.replace("ours.kem", "good.psk"), "cannot be used"),
        (IKE, &KEYS.replace("theirs.pub", "ours.kem"), "there is no public ML-KEM key in it"),
        (&null, KEYS, "wants both sides to prove who they are"),
        ("ike = [1, \"aes256-sha256-static_mlkem768\"]", "", "IKEv1 has numbers for none"),
    ] {
        let text = complaint(&format!("{ike}\n{keys}\n{GATE}"));
        assert!(text.contains(said), "{said}: {text}");
    }
    let text = complaint(KEYS);
    assert!(text.contains("`kem_key` is of no use to this tunnel"), "{text}");
    let text = complaint("esp = \"aes256gcm16-static_mlkem768\"");
    assert!(text.contains("has no place in a proposal for ESP"), "{text}");
}
