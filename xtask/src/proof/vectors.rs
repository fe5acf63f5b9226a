//! Published test vectors, all of them or those of ESP. The tests are the crates' own; a row sees that they ran, and
//! counts what they were given.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use anyhow::Context as _;
use serde_json::Value;

use super::{Effort, Finding, printed};
use crate::root;

/// A file of vectors and the tests that read it.
struct Set {
    package: &'static str,
    file: &'static str,
    tests: &'static [&'static str],
    about: About,
}

/// What vectors are about.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum About {
    /// ESP packets, and the ciphers and MACs in them.
    Packets,
    /// What is around them: keys, messages, headers.
    Rest,
}

const SETS: [Set; 38] = [
    cipher("nist_gcm_decrypt_128.json", &["aes_gcm_gives_the_answers_of_nist"]),
    cipher("wycheproof_aes_gcm.json", &["aes_gcm_gives_the_answers_of_wycheproof"]),
    cipher(
        "wycheproof_chacha20_poly1305.json",
        &["chacha20_poly1305_gives_the_answers_of_wycheproof"],
    ),
    cipher("nist_aes_cbc_128.json", &["aes_cbc_gives_the_answers_of_nist"]),
    cipher("wycheproof_aes_cbc_pkcs5.json", &["aes_cbc_gives_the_answers_of_wycheproof"]),
    cipher("wycheproof_aes_ccm.json", &["aes_ccm_gives_the_answers_of_wycheproof"]),
    cipher("block_cbc.json", &["cbc_gives_the_answers_of_others"]),
    cipher("block_ctr.json", &["counter_mode_gives_the_answers_of_rfc_3686_and_rfc_5528"]),
    cipher("block_mac.json", &["prf_of_aes_blocks_gives_the_answers_of_the_rfcs"]),
    cipher("wycheproof_aes_cmac.json", &["aes_cmac_gives_the_answers_of_wycheproof"]),
    cipher("rfc2202_hmac.json", &["prf_gives_the_answers_of_rfc_2202"]),
    cipher("wycheproof_hmac_sha1.json", &["prf_gives_the_answers_of_wycheproof"]),
    cipher("rfc4231_hmac.json", &["prf_gives_the_answers_of_rfc_4231"]),
    cipher("wycheproof_hmac_sha256.json", &["prf_gives_the_answers_of_wycheproof"]),
    cipher("wycheproof_hmac_sha512.json", &["prf_gives_the_answers_of_wycheproof"]),
    rest("nist_ikev2_kdf.json", &["prf_and_prf_plus_derive_the_keys_of_the_nist_cases"]),
    rest("rfc5903_ecp.json", &["ecp_groups_give_the_answers_of_rfc_5903"]),
    rest(
        "modp.json",
        &["modp_groups_give_the_answers_of_another_big_integer_and_keep_leading_zeros"],
    ),
    rest(
        "modp_others.json",
        &["modp_groups_give_the_answers_of_another_big_integer_and_keep_leading_zeros"],
    ),
    rest("ecp_others.json", &["other_curves_give_the_answers_of_another_implementation"]),
    rest("rfc7748_x448.json", &["x448_gives_the_answers_of_rfc_7748"]),
    rest("rsa_forged.json", &["forged_rsa_signatures_are_refused"]),
    rest("rsa_decryption.json", &["rsa_ciphertexts_and_what_is_none_decrypt_as_openssl_does"]),
    rest("dsa.json", &["dsa_signatures_are_those_of_openssl"]),
    rest("wycheproof_x25519.json", &["x25519_gives_the_answers_of_wycheproof_and_refuses_zeros"]),
    rest(
        "wycheproof_ecdh_secp256r1.json",
        &["p256_gives_the_answers_of_wycheproof_and_refuses_points_off_the_curve"],
    ),
    rest("wycheproof_mlkem_768.json", &["mlkem_keys_and_secrets_are_those_of_wycheproof"]),
    rest(
        "wycheproof_mlkem_768_encaps.json",
        &["mlkem_ciphertexts_are_those_of_wycheproof_and_unreduced_keys_are_refused"],
    ),
    cipher("dpdk_esp.json", &["esp_packets_of_dpdk_open"]),
    rest(
        "wycheproof_mlkem_768_keygen_seed.json",
        &["mlkem_keys_and_secrets_are_those_of_wycheproof"],
    ),
    esp("crates/dataplane/tests/vectors/dpdk-ipsec-packets.json"),
    esp("crates/dataplane/tests/vectors/rfc7634-appendix-a.json"),
    esp("crates/dataplane/tests/vectors/mcgrew-gcm-test-01.json"),
    esp("crates/dataplane/tests/vectors/scapy-esp-packets.json"),
    esp("crates/dataplane/tests/vectors/linux-esp-packets.json"),
    Set {
        package: "adit-ike",
        file: "crates/ike/tests/vectors/cavs-ikev2.fax",
        tests: &["keys_equal_the_answers_of_nist_cavs"],
        about: About::Rest,
    },
    Set {
        package: "adit-wire",
        file: "crates/wire/tests/vectors/ikev2.json",
        tests: &["captured_messages_are_read_and_written"],
        about: About::Rest,
    },
    Set {
        package: "adit-wire",
        file: "crates/wire/tests/vectors/ip.json",
        tests: &["captured_packets_show_their_protocol"],
        about: About::Rest,
    },
];

const IKEV1: [Set; 5] = [
    ike("crates/ike/tests/vectors/cavs-ikev1-psk.fax", &["keys_equal_the_answers_of_nist_cavs"]),
    ike(
        "crates/ike/tests/vectors/cavs-ikev1-dsa.fax",
        &["keys_equal_the_answers_of_nist_cavs", "keys_equal_all_answers_of_nist_cavs_if_present"],
    ),
    ike(
        "crates/ike/tests/vectors/ikev1-reference.txt",
        &[
            "phase_1_equals_an_independent_computation",
            "what_follows_phase_1_equals_an_independent_computation",
            "keys_of_payloads_equal_an_independent_computation",
            "encrypted_payloads_equal_an_independent_computation",
            "captured_messages_are_decrypted_with_their_key",
        ],
    ),
    ike(
        "crates/ike/tests/vectors/hashcat-aggressive-psk.txt",
        &["hash_r_equals_the_answer_of_hashcat"],
    ),
    Set {
        package: "adit-wire",
        file: "crates/wire/tests/vectors/isakmp.json",
        tests: &[
            "captured_messages_are_read_and_written",
            "malformed_captures_are_refused",
            "scapys_literals_say_what_scapy_says",
            "ike_scans_packets_are_read",
            "openswans_messages_are_read",
        ],
        about: About::Rest,
    },
];

const ESP: [&str; 2] = ["known_packets_are_sealed_octet_for_octet", "known_packets_are_opened"];

const fn cipher(file: &'static str, tests: &'static [&'static str]) -> Set {
    Set { package: "adit-crypto", file, tests, about: About::Packets }
}

const fn rest(file: &'static str, tests: &'static [&'static str]) -> Set {
    Set { package: "adit-crypto", file, tests, about: About::Rest }
}

const fn ike(file: &'static str, tests: &'static [&'static str]) -> Set {
    Set { package: "adit-ike", file, tests, about: About::Rest }
}

const fn esp(file: &'static str) -> Set {
    Set { package: "adit-dataplane", file, tests: &ESP, about: About::Packets }
}

/// Every set.
pub(super) fn measure(_: &Effort) -> anyhow::Result<Finding> {
    measure_sets(&SETS.iter().collect::<Vec<_>>())
}

/// The sets that are about packets. Their tests seal and open, encrypt and decrypt.
pub(super) fn measure_esp(_: &Effort) -> anyhow::Result<Finding> {
    measure_sets(&SETS.iter().filter(|set| set.about == About::Packets).collect::<Vec<_>>())
}

/// The sets of IKEv1.
pub(super) fn measure_ikev1() -> anyhow::Result<Finding> {
    measure_sets(&IKEV1.iter().collect::<Vec<_>>())
}

/// Those that have to do with phase 1 without a key exchange.
pub(super) fn measure_dhless() -> anyhow::Result<Finding> {
    let is_its = |set: &&Set| {
        set.file.ends_with("ikev1-reference.txt") || set.file.ends_with("rsa_decryption.json")
    };
    measure_sets(&SETS.iter().chain(&IKEV1).filter(is_its).collect::<Vec<_>>())
}

/// Runs the tests of each package once and looks for the named ones among those that passed.
fn measure_sets(sets: &[&Set]) -> anyhow::Result<Finding> {
    let packages: BTreeSet<&str> = sets.iter().map(|set| set.package).collect();
    let mut passed: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    let mut skipped = BTreeSet::new();
    for package in packages {
        let mut cargo = root::cargo();
        cargo.args(["test", "--quiet", "-p", package, "--"]);
        let text = printed(cargo.args(["--format=pretty", "--show-output"]))
            .with_context(|| format!("the tests of {package}"))?;
        passed.insert(package, tests_that(&text, "ok"));
        skipped.extend(skipped_vectors(&text));
    }
    let mut total = 0;
    let mut faults = Vec::new();
    for set in sets {
        let count = count(set, &skipped)?;
        eprintln!("{:>5}  {}", count, set.file);
        total += count;
        if count == 0 {
            faults.push(format!("{} holds no vector", set.file));
        }
        for test in set.tests {
            if !passed.get(set.package).is_some_and(|names| names.contains(*test)) {
                faults.push(format!("{}: test `{test}` did not run", set.package));
            }
        }
    }
    let figure = format!("{total} vectors in {} files", sets.len());
    if faults.is_empty() {
        return Ok(Finding::pass(figure));
    }
    Ok(Finding::fail(figure, faults.join("; ")))
}

/// Names, without their modules, of the tests of which libtest says so: `ok`, `FAILED`.
pub(super) fn tests_that(text: &str, word: &str) -> BTreeSet<String> {
    let results = text.lines().filter_map(|line| line.strip_prefix("test ")?.split_once(" ... "));
    let paths = results.filter(|(_, result)| *result == word).map(|(path, _)| path);
    paths.map(|path| path.rsplit("::").next().unwrap_or(path).to_owned()).collect()
}

/// Names of the vectors that a test says it passes over, because their ciphers are not ours.
fn skipped_vectors(text: &str) -> BTreeSet<String> {
    let names = text.lines().filter_map(|line| line.strip_prefix("skipped, no such cipher here: "));
    names.map(str::to_owned).collect()
}

/// How many vectors the tests were given.
fn count(set: &Set, skipped: &BTreeSet<String>) -> anyhow::Result<usize> {
    let path = if set.file.contains('/') {
        root::path(set.file)
    } else {
        root::path("crates/crypto/tests/vectors").join(set.file)
    };
    let text = fs::read_to_string(&path).with_context(|| format!("no {}", path.display()))?;
    if path.extension().is_some_and(|extension| extension == "json") {
        let value: Value = serde_json::from_str(&text)?;
        return Ok(count_json(&value) - count_named(&value, skipped));
    }
    if path.extension().is_some_and(|extension| extension == "txt") {
        // A value on each line.
        return Ok(text.lines().filter(|line| line.contains(" = ")).count());
    }
    // NIST's own form.
    Ok(text.lines().filter(|line| line.trim_start().starts_with("COUNT")).count())
}

/// Entries of all arrays called `tests`; elsewhere, objects of the outermost array.
fn count_json(value: &Value) -> usize {
    let in_tests = count_tests(value);
    if in_tests > 0 {
        return in_tests;
    }
    let Some(object) = value.as_object() else {
        return value.as_array().map_or(0, Vec::len);
    };
    object.values().filter_map(Value::as_array).map(Vec::len).max().unwrap_or_default()
}

/// Objects of the outermost array with one of `names`.
fn count_named(value: &Value, names: &BTreeSet<String>) -> usize {
    let all = value.as_array().map(Vec::as_slice).unwrap_or_default();
    let name = |value: &Value| value.get("name").and_then(Value::as_str).map(str::to_owned);
    all.iter().filter(|value| name(value).is_some_and(|name| names.contains(&name))).count()
}

fn count_tests(value: &Value) -> usize {
    match value {
        Value::Object(object) => object
            .iter()
            .map(|(key, value)| match value.as_array() {
                Some(tests) if key == "tests" => tests.len(),
                _ => count_tests(value),
            })
            .sum(),
        Value::Array(values) => values.iter().map(count_tests).sum(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_of_the_ciphers_is_among_the_sets() {
        for entry in fs::read_dir(root::path("crates/crypto/tests/vectors")).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            let is_named = SETS.iter().any(|set| set.file == name);
            assert!(is_named || !name.ends_with(".json"), "{name}");
        }
    }

    #[test]
    fn vectors_are_counted_in_each_form() {
        let count = |text| count_json(&serde_json::from_str(text).unwrap());
        assert_eq!(count(r#"{"testGroups":[{"tests":[{},{}]},{"tests":[{}]}]}"#), 3);
        assert_eq!(count(r#"{"origin":"x","packets":[{},{}]}"#), 2);
        assert_eq!(count("[{},{},{},{}]"), 4);
        assert_eq!(count("{}"), 0);
    }

    #[test]
    fn vectors_of_other_ciphers_do_not_count() {
        let names = skipped_vectors("x\nskipped, no such cipher here: a\ntest b ... ok\n");
        let value = serde_json::from_str(r#"[{"name":"a"},{"name":"b"},{}]"#).unwrap();
        assert_eq!((count_json(&value), count_named(&value, &names)), (3, 1));
    }

    #[test]
    fn only_tests_that_passed_count() {
        let text = "test a::b ... ok\ntest c ... FAILED\ntest d ... ignored\ntest e ... ok";
        assert_eq!(tests_that(text, "ok"), ["b", "e"].map(str::to_owned).into());
    }
}
