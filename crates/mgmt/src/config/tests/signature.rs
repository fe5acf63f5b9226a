//! Certificates and keys: `cert`, `key`, `ca`, `peer_cert`, `peer_key`.

use adit_db::AuthSpec;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, KeyPair};

use super::*;

/// Files by name, among them an authority, a certificate with its key, and another key.
struct Lab {
    files: BTreeMap<String, (String, u32)>,
}

const PUBLIC: u32 = 0o100_644;
const PRIVATE: u32 = 0o100_600;

impl Lab {
    fn new() -> Self {
        let key = || KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
        let params = |name: &str| {
            let mut params = CertificateParams::new(vec![format!("{name}.example")]).unwrap();
            params.distinguished_name = rcgen::DistinguishedName::new();
            params.distinguished_name.push(DnType::CommonName, name);
            params
        };
        let (own, other, authority) = (key(), key(), key());
        let mut above = params("corp");
        above.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let files = [
            ("gw.pem", params("gw").self_signed(&own).unwrap().pem(), PUBLIC),
            ("gw.key", own.serialize_pem(), PRIVATE),
            ("open.key", own.serialize_pem(), PUBLIC),
            ("other.key", other.serialize_pem(), PRIVATE),
            ("peer.pub", other.public_key_pem(), PUBLIC),
            ("ca.pem", above.self_signed(&authority).unwrap().pem(), PUBLIC),
            ("locked.key", "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n".to_owned(), PRIVATE),
            ("good.psk", GOOD_SECRET.to_owned(), PRIVATE),
        ];
        let files =
            files.into_iter().map(|(name, text, mode)| (format!("tunnels/{name}"), (text, mode)));
        Self { files: files.collect() }
    }

    fn load(&self, lines: &str) -> Result<Tunnel, String> {
        let text = format!(
            "peer = \"203.0.113.7\"\nlocal = \"10.1.0.0/24\"\nremote = \"10.2.0.0/24\"\n{lines}\n"
        );
        let read = |path: &Path| {
            let found = path.to_str().and_then(|path| self.files.get(path));
            let (text, mode) = found.ok_or("No such file or directory (os error 2)")?;
            Ok(SecretFile { octets: Secret::from_slice(text.as_bytes()), mode: *mode })
        };
        let mut configuration = load(&[file("berlin", &text)], &read).map_err(rendered)?;
        assert_eq!(configuration.warnings, []);
        Ok(configuration.tunnels.remove("berlin").unwrap())
    }

    fn complaint(&self, lines: &str) -> String {
        self.load(lines).map(|_| ()).unwrap_err()
    }
}

const CERTIFICATES: &str = "cert = \"file:gw.pem\"\nkey = \"file:gw.key\"\nca = \"file:ca.pem\"";

/// CHECKLIST G02: the identity is taken from the certificate, or given and also in it.
#[test]
fn certificates_on_both_sides_need_no_secret() {
    let lab = Lab::new();
    let tunnel = lab.load(CERTIFICATES).unwrap();
    let pad = &tunnel.connection.pad;
    assert_eq!(pad.local_id.as_ref().unwrap().to_string(), "gw.example");
    assert_eq!(pad.local_auth.signature().unwrap().certificates.len(), 1);
    assert_eq!(pad.remote_auth.signature().unwrap().authorities.len(), 1);
    assert!(tunnel.secret.is_none() && tunnel.key.is_some());
    for id in ["gw.example", "CN=gw"] {
        lab.load(&format!("{CERTIFICATES}\nid = \"{id}\"")).unwrap();
    }
}

#[test]
fn raw_keys_and_a_secret_for_one_side() {
    let lab = Lab::new();
    let tunnel = lab.load("key = \"file:gw.key\"\npeer_key = \"file:peer.pub\"").unwrap();
    let pad = &tunnel.connection.pad;
    assert_eq!(pad.local_auth.signature().unwrap().public_keys.len(), 1);
    assert_eq!(pad.remote_auth.signature().unwrap().public_keys.len(), 1);
    assert_eq!(pad.local_id, None);

    let tunnel = lab.load("key = \"file:gw.key\"\nsecret = \"file:good.psk\"").unwrap();
    assert!(tunnel.connection.pad.local_auth.signature().is_some());
    assert_eq!(tunnel.connection.pad.remote_auth, AuthSpec::Psk);
    let tunnel = lab.load("peer_cert = \"file:gw.pem\"\nsecret = \"file:good.psk\"").unwrap();
    assert_eq!(tunnel.connection.pad.local_auth, AuthSpec::Psk);
}

/// A raw key says neither who vouches for it nor whose it is.
#[test]
fn raw_keys_of_several_need_one_name() {
    let lab = Lab::new();
    let keys = "key = \"file:gw.key\"\npeer_key = [\"file:peer.pub\", \"file:peer.pub\"]";
    lab.load(&format!("{keys}\npeer_id = \"b.example\"")).unwrap();
    lab.load("key = \"file:gw.key\"\npeer_key = \"file:peer.pub\"\npeer_id = \"%any\"").unwrap();
    for id in ["%any", "*.example"] {
        let said = lab.complaint(&format!("{keys}\npeer_id = \"{id}\""));
        assert!(said.contains("one tunnel for each peer"), "{said}");
        let mixed =
            "key = \"file:gw.key\"\npeer_key = \"file:peer.pub\"\npeer_cert = \"file:gw.pem\"";
        let said = lab.complaint(&format!("{mixed}\npeer_id = \"{id}\""));
        assert!(said.contains("one tunnel for each peer"), "{said}");
    }
}

#[test]
fn mistakes_name_what_to_do() {
    let lab = Lab::new();
    for (lines, words) in [
        (
            "cert = \"file:gw.pem\"\nkey = \"file:other.key\"\nca = \"file:ca.pem\"",
            &["E525", "does not fit"][..],
        ),
        (
            "cert = \"file:gw.pem\"\nca = \"file:ca.pem\"\nsecret = \"file:good.psk\"",
            &["without its private key", "key = "],
        ),
        (
            "cert = \"file:gw.pem\"\nkey = \"file:open.key\"\nca = \"file:ca.pem\"",
            &["E511", "chmod 600"],
        ),
        ("key = \"file:locked.key\"\nca = \"file:ca.pem\"", &["E524", "encrypted", "openssl pkey"]),
        ("key = \"file:gw.pem\"\nca = \"file:ca.pem\"", &["E524", "no private key in it"]),
        ("key = \"file:gw.key\"\nca = \"file:gw.pem\"", &["E524", "no authority's", "peer_cert"]),
        ("key = \"file:gw.key\"\nca = \"file:none.pem\"", &["E512", "none.pem cannot be read"]),
        ("key = \"file:gw.key\"\nca = \"ca.pem\"", &["must be \"file:NAME\""]),
        (
            "key = \"file:gw.key\"\nca = \"file:ca.pem\"\npeer_key = \"file:peer.pub\"",
            &["`peer_key` contradicts `ca`", "leave `ca` out"],
        ),
        ("key = \"file:gw.key\"", &["`ca` is missing", "peer_key; or secret"]),
        ("key = \"secret-words\"\nca = \"file:ca.pem\"", &["a file of its own"]),
        ("privatekey = \"x\"\nsecret = \"file:good.psk\"", &["unknown key"]),
    ] {
        let said = lab.complaint(lines);
        for word in words {
            assert!(said.contains(word), "{word:?} is not in:\n{said}");
        }
        assert!(!said.contains("secret-words"), "{said}");
    }
    let twice = lab.complaint(&format!("{CERTIFICATES}\nsecret = \"file:good.psk\""));
    assert!(twice.contains("`secret` is of no use"), "{twice}");
    let other = lab.complaint(&format!("{CERTIFICATES}\nid = \"mallory.example\""));
    assert!(other.contains("it is for gw.example"), "{other}");
}
