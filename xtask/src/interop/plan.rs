//! What a scenario configures on both gateways.

use std::borrow::Cow;

use super::lab::Side;

/// Name of the connection on both sides; in Adit's words the tunnel, in strongSwan's the
/// connection.
pub(crate) const CONNECTION: &str = "site";

/// The secret that both sides know.
pub(crate) const SECRET: &str = "c0mmon-to-b0th-ends-of-the-cable-5912";

/// Differences between scenarios.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// IPv6 between the gateways.
    pub(crate) outside_v6: bool,
    /// IPv6 behind the gateways.
    pub(crate) inside_v6: bool,
    /// The gateways speak for themselves, in their own packets (transport mode).
    pub(crate) transport: bool,
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
    /// Networks on the left besides the first, to make messages long.
    pub(crate) more_networks: u8,
    /// Octets of an IKE datagram beyond which the right gateway splits a message.
    pub(crate) right_fragment_octets: u16,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            outside_v6: false,
            inside_v6: false,
            transport: false,
            udp: true,
            ike: "aes256gcm16-prfsha384-x25519",
            esp: "aes256gcm16-x25519".into(),
            left_defaults: false,
            allow: &[],
            left_keeps_up: false,
            more_networks: 0,
            right_fragment_octets: 1_280,
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

    /// Ours wants its tunnel always.
    pub(crate) fn kept_up() -> Self {
        Self { left_keeps_up: true, ..Self::default() }
    }

    /// Ours says nothing about algorithms and about how ESP travels.
    pub(crate) fn left_defaults() -> Self {
        Self { left_defaults: true, ..Self::default() }
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

    /// Everything that the matrix of suites tries, for the side that is asked.
    pub(crate) fn matrix() -> Self {
        Self::one_of_the_matrix(
            "aes128-aes192-aes256-sha256-sha384-sha512-sha1-md5-aesxcbc-aescmac\
             -modp2048-modp3072-ecp256-ecp384-x25519,\
             aes128ctr-aes256ctr-3des-camellia128-camellia256\
             -sha256-sha1-md5-aesxcbc-aescmac-modp2048-ecp256,\
             aes128gcm16-aes256gcm16-aes192gcm16-aes256gcm12-aes128gcm8-aes128ccm16-aes256ccm12\
             -aes128ccm8-chacha20poly1305\
             -prfsha256-prfsha384-prfsha1-prfaesxcbc-prfaescmac-x25519-ecp256",
            "aes128-aes192-aes256-camellia128-camellia192-camellia256-3des-null\
             -aes128ctr-aes192ctr-aes256ctr-sha256-sha384-sha512-sha1-md5-aesxcbc-aescmac,\
             aes128gcm16-aes192gcm16-aes256gcm16-aes128gcm12-aes128gcm8-aes256gcm8\
             -aes128ccm16-aes192ccm12-aes256ccm8-chacha20poly1305",
        )
    }

    /// One IKE suite and one ESP suite, with whatever has to be allowed for it.
    pub(crate) fn one_of_the_matrix(ike: &'static str, esp: &'static str) -> Self {
        Self { allow: &["3des", "md5"], ..Self::suites(ike, esp) }
    }

    fn suites(ike: &'static str, esp: &'static str) -> Self {
        Self { ike, esp: esp.into(), ..Self::default() }
    }
}
