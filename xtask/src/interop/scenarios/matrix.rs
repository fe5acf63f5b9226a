//! The algorithms that strongSwan has in user space, each in a tunnel of its own.

use anyhow::Context as _;

use super::super::gateway::Level;
use super::super::plan::Plan;
use super::super::{Bench, Figures};
use super::{SOON, basic};
use crate::clock;

/// Suites of IKE and of ESP. Each algorithm of either stands in one pair at least; strongSwan's
/// kernel-libipsec has neither AES-GMAC nor extended sequence numbers.
const MATRIX: &[(&str, &str)] = &[
    ("aes128gcm16-prfsha256-x25519", "aes128gcm16"),
    ("aes192gcm16-prfsha384-ecp256", "aes192gcm16"),
    ("aes256gcm12-prfsha256-x25519", "aes128gcm12"),
    ("aes128gcm8-prfsha1-x25519", "aes256gcm8"),
    ("aes128ccm16-prfsha256-x25519", "aes128ccm16"),
    ("aes256ccm12-prfaescmac-ecp256", "aes192ccm12"),
    ("aes128ccm8-prfaesxcbc-x25519", "aes256ccm8"),
    ("chacha20poly1305-prfsha384-x25519", "chacha20poly1305"),
    ("aes128-sha1-modp2048", "aes128-sha1"),
    ("aes192-sha384-ecp384", "aes192-sha384"),
    ("aes256-sha512-x25519", "aes256-sha512"),
    ("aes128-aesxcbc-ecp256", "aes128-aesxcbc"),
    ("aes128-aescmac-ecp256", "aes256-aescmac"),
    ("aes128-md5-modp2048", "aes128-md5"),
    ("aes128ctr-sha256-ecp256", "aes128ctr-sha256"),
    ("aes256ctr-aesxcbc-ecp256", "aes192ctr-sha1"),
    ("aes256ctr-sha256-modp2048", "aes256ctr-aescmac"),
    ("camellia128-sha256-ecp256", "camellia128-sha256"),
    ("camellia256-sha1-modp2048", "camellia192-sha1"),
    ("camellia128-aesxcbc-ecp256", "camellia256-aesxcbc"),
    ("3des-sha1-modp2048", "3des-sha1"),
    ("3des-md5-modp2048", "3des-sha256"),
    ("aes128-sha256-ecp256", "null-sha256"),
    ("aes128-sha256-ecp256", "null-aescmac"),
    ("aes128-sha256-modp768", "aes128-sha256"),
    ("aes128-sha256-modp1024", "aes128-sha256-modp1024"),
    ("aes128-sha256-modp1536", "aes128-sha256"),
    ("aes128-sha256-modp3072", "aes128-sha256"),
    ("aes128-sha256-modp4096", "aes128-sha256"),
    ("aes128-sha256-modp6144", "aes128-sha256"),
    ("aes128-sha256-modp8192", "aes128-sha256"),
    ("aes128-sha256-modp1024s160", "aes128-sha256"),
    ("aes128-sha256-modp2048s224", "aes128-sha256"),
    ("aes128-sha256-modp2048s256", "aes128-sha256"),
    ("aes128-sha256-ecp192", "aes128-sha256"),
    ("aes128-sha256-ecp224", "aes128-sha256"),
    ("aes128-sha256-ecp521", "aes128-sha256-ecp521"),
    ("aes128-sha256-ecp256bp", "aes128-sha256"),
    ("aes128-sha256-ecp384bp", "aes128-sha256"),
    ("aes128-sha256-x448", "aes128-sha256"),
];

/// The same for IKEv1, where phase 1 has CBC and HMAC alone.
const MATRIX_OF_IKEV1: &[(&str, &str)] = &[
    ("aes128-sha1-modp2048", "aes128-sha1"),
    ("aes192-sha384-ecp384", "aes192-sha384"),
    ("aes256-sha512-ecp521", "aes256-sha512-ecp521"),
    ("aes128-md5-modp1024", "aes128-md5-modp1024"),
    ("aes128-sha256-ecp256", "aes128gcm16"),
    ("aes256-sha256-ecp256", "aes192gcm16"),
    ("3des-sha1-modp1024", "3des-sha1"),
    ("3des-md5-modp1536", "3des-sha256"),
    ("camellia128-sha256-ecp256", "camellia128-sha256"),
    ("camellia256-sha1-modp2048", "camellia256-sha1"),
    ("aes128-sha256-ecp256", "null-sha256"),
    ("aes128-sha256-ecp256", "aes128gcm8"),
    ("aes128-sha256-ecp256", "aes128ccm16"),
    ("aes128-sha256-modp768", "aes256gcm16"),
    ("aes128-sha256-modp1536", "aes128-sha256"),
    ("aes128-sha256-modp3072", "aes128-sha256"),
    ("aes128-sha256-modp4096", "aes128-sha256"),
    ("aes128-sha256-modp6144", "aes128-sha256"),
    ("aes128-sha256-modp8192", "aes128-sha256"),
    ("aes128-sha256-modp1024s160", "aes128-sha256"),
    ("aes128-sha256-modp2048s224", "aes128-sha256"),
    ("aes128-sha256-modp2048s256", "aes128-sha256"),
    ("aes128-sha256-ecp192", "aes128-sha256"),
    ("aes128-sha256-ecp224", "aes128-sha256"),
];

/// Our daemon gets one pair after the other and initiates; the peer takes them all.
pub(crate) fn every_suite(bench: &Bench) -> anyhow::Result<Figures> {
    each_of(MATRIX, bench)
}

/// The same with IKEv1.
pub(crate) fn every_suite_of_ikev1(bench: &Bench) -> anyhow::Result<Figures> {
    each_of(MATRIX_OF_IKEV1, bench)
}

fn each_of(matrix: &[(&'static str, &'static str)], bench: &Bench) -> anyhow::Result<Figures> {
    let start = clock::now();
    for (ike, esp) in matrix {
        let version = bench.plan.version;
        let plan = Plan { version, ..Plan::one_of_the_matrix(ike, esp) };
        let try_it = || -> anyhow::Result<()> {
            bench.left.reconfigure(&bench.right.side, &plan)?;
            basic::bring_up(bench, &bench.left)?;
            bench.left.terminate(Level::Ike)?;
            bench.right.wait_for_none(SOON)
        };
        try_it().with_context(|| format!("{ike} with {esp}"))?;
    }
    let count = u32::try_from(matrix.len()).context("a short list")?;
    let each = start.elapsed().as_secs_f64() / f64::from(count);
    Ok(Figures::from([("suites", f64::from(count)), ("each_s", each)]))
}
