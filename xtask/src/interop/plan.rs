//! What a scenario configures on both gateways.

use std::borrow::Cow;

use super::credentials::{Kind, Login};
use super::lab::Side;

/// Name of the connection on both sides; in Adit's words the tunnel, in strongSwan's the
/// connection.
pub(crate) const CONNECTION: &str = "site";

/// The secret that both sides know.
pub(crate) const SECRET: &str = "c0mmon-to-b0th-ends-of-the-cable-5912";

/// The secret of what enters authentication beside that.
pub(crate) const MORE_SECRET: &str = "an0ther-secret-f0r-both-ends-7731-x";

/// Differences between scenarios.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// IPv6 between the gateways.
    pub(crate) outside_v6: bool,
    /// IPv6 behind the gateways.
    pub(crate) inside_v6: bool,
    /// The gateways speak for themselves, in their own packets (transport mode).
    pub(crate) transport: bool,
    /// The version of IKE.
    pub(crate) version: u8,
    /// Seconds of silence after which the left side asks for a sign of life, and the right side; as it does
    /// by itself if there are none.
    pub(crate) dpd_s: [u8; 2],
    /// ESP travels in UDP.
    pub(crate) udp: bool,
    /// IKE suite of both sides, in swanctl's words.
    pub(crate) ike: &'static str,
    /// ESP suite of both sides, in swanctl's words.
    pub(crate) esp: Cow<'static, str>,
    /// Does the left gateway, if it is ours, propose what it does without configuration?
    pub(crate) left_defaults: bool,
    /// Weak algorithms that our tunnel's file allows, in its words.
    pub(crate) allow: &'static [&'static str],
    /// Does the left gateway keep its tunnel up by itself?
    pub(crate) left_keeps_up: bool,
    /// Do tunnels move with the addresses of their ends (RFC 4555)?
    pub(crate) moves: bool,
    /// Networks on the left besides the first, to make messages long.
    pub(crate) more_networks: u8,
    /// Octets of an IKE datagram beyond which the right gateway splits a message.
    pub(crate) right_fragment_octets: u16,
    /// How the gateways prove themselves.
    pub(crate) login: Login,
    /// What enters authentication beside that.
    pub(crate) beside: Beside,
    /// More lines of our tunnel's file.
    pub(crate) left_more: &'static str,
    /// Phase 1 is aggressive mode.
    pub(crate) aggressive: bool,
    /// Whether one side is a client, with a user and an address that it is given.
    pub(crate) remote: Remote,
    /// What our daemon logs.
    pub(crate) log_level: &'static str,
    /// Whether an IKE SA begins without a child, on the left and on the right, in the words of both.
    pub(crate) childless: [&'static str; 2],
    /// The gateways answer at both of their addresses, and who calls goes where it is sent.
    pub(crate) redirects: bool,
    /// Ours sends who calls it to its other address.
    pub(crate) left_redirects: bool,
    /// The right gateway compresses what it protects (IPComp); ours does if its file says so.
    pub(crate) right_compresses: bool,
}

/// What enters authentication beside the login.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Beside {
    /// Nothing.
    Nothing,
    /// A post-quantum key that both insist on (RFC 8784).
    Ppk,
    /// The same on the left side; the right one has a secret of another name, and neither insists.
    OtherPpk,
    /// A second round of each side (RFC 4739).
    Second,
    /// Repetition that the left side has configured (RFC 4478).
    ReauthLeft,
    /// Repetition that the right side has configured.
    ReauthRight,
}

/// What a side that is a client does beside the login.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Remote {
    /// There is none.
    None,
    /// It has a user (draft-beaulieu-ike-xauth-02).
    User(Client),
    /// It has a user and nothing else, and its gateway a certificate
    /// (draft-ietf-ipsec-isakmp-hybrid-auth-05).
    Hybrid(Client),
    /// It asks for an address (draft-ietf-ipsec-isakmp-mode-cfg-05).
    Pull(Client),
    /// It is given one without asking.
    Push(Client),
}

/// Which side is the client.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Client {
    /// Ours.
    Left,
    /// Theirs.
    Right,
}

impl Remote {
    /// Who the client is, if there is one.
    pub(crate) fn client(self) -> Option<Client> {
        match self {
            Self::None => None,
            Self::User(client) | Self::Hybrid(client) | Self::Pull(client) | Self::Push(client) => {
                Some(client)
            }
        }
    }

    /// Whether this side is the client.
    pub(crate) fn is_client(self, side: &Side) -> bool {
        let name = if self.client() == Some(Client::Left) { "left" } else { "right" };
        self.client().is_some() && side.name == name
    }

    /// Whether the client has a user.
    pub(crate) fn has_user(self) -> bool {
        matches!(self, Self::User(_) | Self::Hybrid(_))
    }

    /// Whether the client is given an address.
    pub(crate) fn has_address(self) -> bool {
        matches!(self, Self::Pull(_) | Self::Push(_))
    }
}

/// The client's user and its password.
pub(crate) const USER: (&str, &str) = ("alice", "w0nderland-is-behind-the-glass");

/// The network that clients get addresses of.
pub(crate) const POOL: &str = "10.9.0.0/24";

/// How an address of the pool begins.
pub(crate) const POOL_BEGINS: &str = "10.9.0.";

/// The name of the post-quantum key.
pub(crate) const PPK_ID: &str = "lab-ppk";

/// Seconds until authentication is repeated, where it is.
pub(crate) const REAUTH_S: u64 = 20;

/// Who a side is in its second round.
pub(crate) fn second_identity(side: &Side) -> String {
    format!("user@{}", side.identity())
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            outside_v6: false,
            inside_v6: false,
            transport: false,
            version: 2,
            dpd_s: [0, 0],
            udp: true,
            ike: "aes256gcm16-prfsha384-x25519",
            esp: "aes256gcm16-x25519".into(),
            left_defaults: false,
            allow: &[],
            left_keeps_up: false,
            moves: false,
            more_networks: 0,
            right_fragment_octets: 1_280,
            login: Login::Secret,
            beside: Beside::Nothing,
            left_more: "",
            aggressive: false,
            remote: Remote::None,
            log_level: "debug",
            childless: ["allow"; 2],
            redirects: false,
            left_redirects: false,
            right_compresses: false,
        }
    }
}

impl Plan {
    /// The networks behind `side`.
    pub(crate) fn networks(&self, side: &Side) -> Vec<String> {
        let first = side.network(self.inside_v6);
        let count = if side.name == "left" { self.more_networks } else { 0 };
        let more = (0..count).map(|number| format!("10.101.{number}.0/24"));
        std::iter::once(first).chain(more).collect()
    }

    /// Whether an IKE SA of `side` begins without a child.
    pub(crate) fn childless_of(&self, side: &Side) -> &'static str {
        let [left, right] = self.childless;
        if side.name == "left" { left } else { right }
    }

    /// Ours wants its tunnel always.
    pub(crate) fn kept_up() -> Self {
        Self { left_keeps_up: true, ..Self::default() }
    }

    /// Either side may change its address.
    pub(crate) fn moving() -> Self {
        Self { moves: true, ..Self::default() }
    }

    /// Ours says nothing about algorithms and about how ESP travels.
    pub(crate) fn left_defaults() -> Self {
        Self { left_defaults: true, ..Self::default() }
    }

    /// Ours begins without a child.
    pub(crate) fn childless_ours() -> Self {
        Self { childless: ["force", "allow"], ..Self::default() }
    }

    /// Theirs begins without a child.
    pub(crate) fn childless_theirs() -> Self {
        Self { childless: ["allow", "force"], ..Self::default() }
    }

    /// They may send us to their other address.
    pub(crate) fn redirect_theirs() -> Self {
        Self { redirects: true, ..Self::default() }
    }

    /// We send them to our other address.
    pub(crate) fn redirect_ours() -> Self {
        Self { redirects: true, left_redirects: true, ..Self::default() }
    }

    /// IPv6 between the gateways.
    pub(crate) fn outside_v6() -> Self {
        Self { outside_v6: true, ..Self::default() }
    }

    /// IPv6 behind the gateways.
    pub(crate) fn inside_v6() -> Self {
        Self { inside_v6: true, ..Self::default() }
    }

    /// The suite that every implementation has to have (RFC 8247, RFC 8221).
    pub(crate) fn cbc_128() -> Self {
        Self::suites("aes128-sha256-ecp256", "aes128-sha256-ecp256")
    }

    /// Long keys and checks.
    pub(crate) fn cbc_256() -> Self {
        Self::suites("aes256-sha512-ecp384", "aes256-sha512-ecp384")
    }

    /// A short AEAD key and the large finite field.
    pub(crate) fn gcm_128() -> Self {
        Self::suites("aes128gcm16-prfsha256-modp3072", "aes128gcm16-modp3072")
    }

    /// The other AEAD and the usual finite field.
    pub(crate) fn chacha() -> Self {
        Self::suites("chacha20poly1305-prfsha256-modp2048", "chacha20poly1305-modp2048")
    }

    /// Messages longer than one datagram: 91 networks are 1,456 octets of selectors.
    pub(crate) fn fragmented() -> Self {
        Self { more_networks: 90, right_fragment_octets: 576, ..Self::default() }
    }

    /// Certificates for RSA keys.
    pub(crate) fn cert_rsa() -> Self {
        Self { login: Login::Certificates(Kind::Rsa), ..Self::default() }
    }

    /// Certificates for RSA keys, and PSS alone.
    pub(crate) fn cert_pss() -> Self {
        Self { login: Login::Pss, ..Self::default() }
    }

    /// Certificates for ECDSA keys.
    pub(crate) fn cert_p256() -> Self {
        Self { login: Login::Certificates(Kind::P256), ..Self::default() }
    }

    /// Certificates for longer ECDSA keys.
    pub(crate) fn cert_p384() -> Self {
        Self { login: Login::Certificates(Kind::P384), ..Self::default() }
    }

    /// Certificates for Ed25519 keys.
    pub(crate) fn cert_ed25519() -> Self {
        Self { login: Login::Certificates(Kind::Ed25519), ..Self::default() }
    }

    /// Raw ECDSA keys.
    pub(crate) fn raw_p256() -> Self {
        Self { login: Login::RawKeys(Kind::P256), ..Self::default() }
    }

    /// Raw Ed25519 keys.
    pub(crate) fn raw_ed25519() -> Self {
        Self { login: Login::RawKeys(Kind::Ed25519), ..Self::default() }
    }

    /// IKEv1, main mode with a secret.
    pub(crate) fn ikev1() -> Self {
        let suites = Self::suites("aes256-sha256-modp2048", "aes256gcm16-modp2048");
        Self { version: 1, ..suites }
    }

    /// The same, and whoever hears nothing asks.
    pub(crate) fn ikev1_dpd_ours() -> Self {
        Self { dpd_s: [2, 0], ..Self::ikev1() }
    }

    /// The same by them. Each question ends the other side's silence: with one limit for both it is left to
    /// chance who asks.
    pub(crate) fn ikev1_dpd_theirs() -> Self {
        Self { dpd_s: [0, 2], ..Self::ikev1() }
    }

    /// IKEv1 without a key exchange on our side, and signatures with the same keys on theirs.
    pub(crate) fn ikev1_dhless() -> Self {
        Self {
            login: Login::RawKeys(Kind::Rsa),
            left_more: "auth = \"dhless\"\nforward_secrecy = false\n",
            ..Self::ikev1()
        }
    }

    /// Everything that both have for IKEv1, for the side that is asked.
    pub(crate) fn ikev1_matrix() -> Self {
        let all = Self::one_of_the_matrix(
            "aes128-aes192-aes256-camellia128-camellia256-3des-sha1-md5-sha256-sha384-sha512\
             -modp768-modp1024-modp1536-modp2048-modp3072-modp4096-modp6144-modp8192\
             -modp1024s160-modp2048s224-modp2048s256-ecp192-ecp224-ecp256-ecp384-ecp521",
            "aes128-aes192-aes256-camellia128-camellia256-3des-null\
             -sha1-md5-sha256-sha384-sha512-modp1024-ecp521-none,\
             aes128gcm16-aes192gcm16-aes256gcm16-aes128gcm8-aes128ccm16",
        );
        Self { version: 1, ..all }
    }

    /// IKEv1 in aggressive mode with a secret.
    pub(crate) fn ikev1_aggressive() -> Self {
        Self { aggressive: true, left_more: "aggressive = \"initiate\"\n", ..Self::ikev1() }
    }

    /// IKEv1 with signatures by RSA keys.
    pub(crate) fn ikev1_rsa() -> Self {
        Self { login: Login::Certificates(Kind::Rsa), ..Self::ikev1() }
    }

    /// IKEv1 with signatures by ECDSA keys.
    pub(crate) fn ikev1_ecdsa() -> Self {
        Self { login: Login::Certificates(Kind::P256), ..Self::ikev1() }
    }

    /// IKEv1, where ours has a user.
    pub(crate) fn xauth_ours() -> Self {
        Self { remote: Remote::User(Client::Left), ..Self::ikev1() }
    }

    /// IKEv1, where theirs has a user.
    pub(crate) fn xauth_theirs() -> Self {
        Self { remote: Remote::User(Client::Right), ..Self::ikev1() }
    }

    /// IKEv1, where ours has a user and theirs a certificate.
    pub(crate) fn hybrid_ours() -> Self {
        Self { remote: Remote::Hybrid(Client::Left), ..Self::ikev1_rsa() }
    }

    /// IKEv1, where theirs has a user and ours a certificate.
    pub(crate) fn hybrid_theirs() -> Self {
        Self { remote: Remote::Hybrid(Client::Right), ..Self::ikev1_rsa() }
    }

    /// IKEv1, where ours asks for an address.
    pub(crate) fn pull_ours() -> Self {
        Self { remote: Remote::Pull(Client::Left), ..Self::ikev1() }
    }

    /// IKEv1, where theirs asks for an address.
    pub(crate) fn pull_theirs() -> Self {
        Self { remote: Remote::Pull(Client::Right), ..Self::ikev1() }
    }

    /// IKEv1, where ours waits for an address.
    pub(crate) fn push_ours() -> Self {
        Self { remote: Remote::Push(Client::Left), ..Self::ikev1() }
    }

    /// IKEv1, where theirs waits for an address.
    pub(crate) fn push_theirs() -> Self {
        Self { remote: Remote::Push(Client::Right), ..Self::ikev1() }
    }

    /// A post-quantum key.
    pub(crate) fn ppk() -> Self {
        Self { beside: Beside::Ppk, ..Self::default() }
    }

    /// Post-quantum keys of different names.
    pub(crate) fn other_ppk() -> Self {
        Self { beside: Beside::OtherPpk, ..Self::default() }
    }

    /// Two secrets, one after the other.
    pub(crate) fn second_psk() -> Self {
        Self { beside: Beside::Second, ..Self::default() }
    }

    /// A certificate and then a secret.
    pub(crate) fn second_cert() -> Self {
        Self { login: Login::Certificates(Kind::P256), ..Self::second_psk() }
    }

    /// We authenticate again.
    pub(crate) fn reauth_left() -> Self {
        Self { beside: Beside::ReauthLeft, ..Self::default() }
    }

    /// They want authentication again.
    pub(crate) fn reauth_right() -> Self {
        Self { beside: Beside::ReauthRight, ..Self::default() }
    }

    /// Everything that the matrix of suites tries, for the side that is asked.
    pub(crate) fn matrix() -> Self {
        Self::one_of_the_matrix(
            "aes128-aes192-aes256-sha256-sha384-sha512-sha1-md5-aesxcbc-aescmac\
             -modp2048-modp3072-ecp256-ecp384-x25519\
             -modp768-modp1024-modp1536-modp4096-modp6144-modp8192-modp1024s160-modp2048s224-modp2048s256\
             -ecp192-ecp224-ecp521-ecp256bp-ecp384bp-x448,\
             aes128ctr-aes256ctr-3des-camellia128-camellia256\
             -sha256-sha1-md5-aesxcbc-aescmac-modp2048-ecp256,\
             aes128gcm16-aes256gcm16-aes192gcm16-aes256gcm12-aes128gcm8-aes128ccm16-aes256ccm12\
             -aes128ccm8-chacha20poly1305\
             -prfsha256-prfsha384-prfsha1-prfaesxcbc-prfaescmac-x25519-ecp256",
            "aes128-aes192-aes256-camellia128-camellia192-camellia256-3des-null\
             -aes128ctr-aes192ctr-aes256ctr-sha256-sha384-sha512-sha1-md5-aesxcbc-aescmac\
             -none-modp1024-ecp521,\
             aes128gcm16-aes192gcm16-aes256gcm16-aes128gcm12-aes128gcm8-aes256gcm8\
             -aes128ccm16-aes192ccm12-aes256ccm8-chacha20poly1305",
        )
    }

    /// One IKE suite and one ESP suite, with whatever has to be allowed for it.
    pub(crate) fn one_of_the_matrix(ike: &'static str, esp: &'static str) -> Self {
        let allow = &[
            "3des",
            "md5",
            "modp768",
            "modp1024",
            "modp1536",
            "modp1024s160",
            "modp2048s224",
            "modp2048s256",
            "ecp192",
        ];
        Self { allow, ..Self::suites(ike, esp) }
    }

    fn suites(ike: &'static str, esp: &'static str) -> Self {
        Self { ike, esp: esp.into(), ..Self::default() }
    }
}
