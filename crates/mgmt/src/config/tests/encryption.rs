//! `auth = "rsa-encryption"`, `"revised-rsa-encryption"` and `"dhless"`, and `forward_secrecy`.

use std::time::Duration;

use adit_db::{IkeVersion, NonceEncryption};
use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};

use super::*;
use crate::codes::Code;

/// Files by name.
struct Lab {
    files: BTreeMap<&'static str, (String, u32)>,
}

impl Lab {
    fn new() -> Self {
        let key = |kind| KeyPair::generate_for(kind).unwrap();
        let (own, peer) = (key(&rcgen::PKCS_RSA_SHA256), key(&rcgen::PKCS_RSA_SHA256));
        let curve = key(&rcgen::PKCS_ED25519);
        let mut above = CertificateParams::new(vec!["ca.example".to_owned()]).unwrap();
        above.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let files = [
            ("tunnels/ca.pem", (above.self_signed(&curve).unwrap().pem(), 0o100_644)),
            ("tunnels/own.key", (own.serialize_pem(), 0o100_600)),
            ("tunnels/peer.pub", (peer.public_key_pem(), 0o100_644)),
            ("tunnels/curve.key", (curve.serialize_pem(), 0o100_600)),
            ("tunnels/curve.pub", (curve.public_key_pem(), 0o100_644)),
        ];
        Self { files: files.into_iter().collect() }
    }

    fn load(&self, lines: &str) -> Result<(Tunnel, Vec<Code>), String> {
        let text = format!(
            "peer = \"203.0.113.7\"\nlocal = \"10.1.0.0/24\"\nremote = \"10.2.0.0/24\"\n{lines}\n"
        );
        let read = |path: &Path| {
            let found = path.to_str().and_then(|path| self.files.get(path));
            let (text, mode) = found.ok_or("No such file or directory (os error 2)")?;
            Ok(SecretFile { octets: Secret::from_slice(text.as_bytes()), mode: *mode })
        };
        let mut configuration = load(&[file("berlin", &text)], &read).map_err(rendered)?;
        let warnings = configuration.warnings.iter().map(|warning| warning.code).collect();
        Ok((configuration.tunnels.remove("berlin").unwrap(), warnings))
    }

    fn complaint(&self, lines: &str) -> String {
        self.load(lines).map(|_| ()).unwrap_err()
    }
}

const KEYS: &str = "ike = 1\nkey = \"file:own.key\"\npeer_key = \"file:peer.pub\"";

#[test]
fn nonces_are_encrypted_where_auth_says_so() {
    let lab = Lab::new();
    for (word, kind) in [
        ("rsa-encryption", NonceEncryption::Plain),
        ("revised-rsa-encryption", NonceEncryption::Revised),
    ] {
        let (tunnel, warnings) = lab.load(&format!("{KEYS}\nauth = \"{word}\"")).unwrap();
        assert_eq!(tunnel.connection.ike, IkeVersion::V1);
        assert_eq!(tunnel.connection.nonce_encryption, Some(kind));
        assert!(tunnel.secret.is_none() && tunnel.key.is_some());
        assert_eq!(warnings, []);
    }
}

/// draft-ietf-ipsec-dhless-enc-mode-00: refused where forward secrecy is wanted, which it is unless
/// somebody says that it is not; then it is warned of, and sessions are short.
#[test]
fn forward_secrecy_is_not_given_up_by_accident() {
    let lab = Lab::new();
    let dhless = format!("{KEYS}\nauth = \"dhless\"");
    for lines in [dhless.clone(), format!("{dhless}\nforward_secrecy = true")] {
        let text = lab.complaint(&lines);
        assert!(text.contains("`auth` gives up forward secrecy"), "{text}");
        assert!(text.contains("forward_secrecy = false"), "{text}");
    }
    let (tunnel, warnings) = lab.load(&format!("{dhless}\nforward_secrecy = false")).unwrap();
    assert_eq!(tunnel.connection.nonce_encryption, Some(NonceEncryption::DhLess));
    assert_eq!(tunnel.connection.rekey_time, Duration::from_hours(1));
    assert_eq!(warnings, [Code::E534]);

    let text =
        lab.complaint(&format!("{KEYS}\nauth = \"rsa-encryption\"\nforward_secrecy = false"));
    assert!(text.contains("nothing here gives up forward secrecy"), "{text}");
}

/// RFC 2409 §5.3: of peers that call and send their certificate the authority is enough.
#[test]
fn peers_that_call_may_bring_their_certificates() {
    let lab = Lab::new();
    let by_authority = |auth: &str, more: &str| {
        lab.load(&format!(
            "ike = 1\nauth = \"{auth}\"\nkey = \"file:own.key\"\nca = \"file:ca.pem\"\n{more}"
        ))
    };
    by_authority("revised-rsa-encryption", "keep = \"passive\"").unwrap();
    by_authority("dhless", "keep = \"passive\"\nforward_secrecy = false").unwrap();
    for (auth, more) in [
        ("rsa-encryption", "keep = \"passive\""),
        ("revised-rsa-encryption", "keep = \"up\""),
        ("revised-rsa-encryption", "keep = \"on-demand\""),
    ] {
        let text = by_authority(auth, more).map(|_| ()).unwrap_err();
        assert!(text.contains("no key of the peer") && text.contains("`ca` is enough"), "{text}");
    }
}

#[test]
fn both_ends_need_an_rsa_key_of_their_own() {
    let lab = Lab::new();
    for (lines, word) in [
        ("ike = 1\nauth = \"rsa-encryption\"\npeer_key = \"file:peer.pub\"", "no key to decrypt"),
        ("ike = 1\nauth = \"rsa-encryption\"\nkey = \"file:own.key\"", "no key of the peer"),
        (
            "ike = 1\nauth = \"rsa-encryption\"\nkey = \"file:curve.key\"\npeer_key = \"file:peer.pub\"",
            "must be RSA",
        ),
        (
            "ike = 1\nauth = \"rsa-encryption\"\nkey = \"file:own.key\"\npeer_key = \"file:curve.pub\"",
            "must be RSA",
        ),
        (
            "ike = 1\nauth = \"rsa-encryption\"\nkey = \"file:own.key\"\n\
             peer_key = [\"file:peer.pub\", \"file:curve.pub\"]",
            "several keys",
        ),
        (
            "ike = 1\nkey = \"file:own.key\"\npeer_key = \"file:peer.pub\"\n\
             auth = \"rsa-encryption\"\nbase_mode = \"allow\"",
            "no place for encrypted nonces",
        ),
        (
            "key = \"file:own.key\"\npeer_key = \"file:peer.pub\"\nauth = \"rsa-encryption\"",
            "is IKEv1's",
        ),
    ] {
        let text = lab.complaint(lines);
        assert!(text.contains(word), "{lines}: {text}");
    }
}
