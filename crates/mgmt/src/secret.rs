//! Pre-shared keys as text: making them, and saying facts about them that tell two apart without
//! giving them away.

use std::fmt;

use adit_crypto::{KemKey, KemSet, Protection, Secret};
use adit_pki::{kem_key_pem, kem_public_pem};

/// Octets `adit secret new` draws: 256 bits.
pub const SECRET_OCTETS: usize = 32;

/// A new secret as text: 43 characters of base64url (RFC 4648 §5) without padding, none of which
/// any shell, TOML, swanctl.conf or vendor dialect treats specially.
///
/// `random` are [`SECRET_OCTETS`] octets of a cryptographic generator.
pub fn new_secret_text(random: &[u8; SECRET_OCTETS]) -> String {
    base64url(random)
}

/// Octets that an ML-KEM key is made of (FIPS 203 §7.1).
pub const KEM_SEED_OCTETS: usize = 64;

/// A new static ML-KEM key as the texts of two files: its private half, and the public one for the peer.
///
/// `random` are [`KEM_SEED_OCTETS`] octets of a cryptographic generator.
pub fn kem_key_texts(set: KemSet, random: &[u8; KEM_SEED_OCTETS]) -> (Secret, String) {
    let key = KemKey::from_seed(set, random).expect("the seed has its length");
    (kem_key_pem(&key), kem_public_pem(key.public()))
}

fn base64url(octets: &[u8]) -> String {
    let mut out = String::with_capacity(octets.len().div_ceil(3) * 4);
    for chunk in octets.chunks(3) {
        let group = chunk.iter().fold(0u32, |group, octet| (group << 8) | u32::from(*octet));
        let group = group << (8 * (3 - chunk.len()));
        for index in 0..=chunk.len() {
            out.push(digit((group >> (18 - 6 * index)) & 0x3f));
        }
    }
    out
}

fn digit(value: u32) -> char {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    usize::try_from(value).ok().and_then(|index| DIGITS.get(index)).map_or('A', |c| char::from(*c))
}

/// Key material as hex digits.
pub fn hex_text(octets: &[u8]) -> String {
    octets.iter().flat_map(|octet| [octet >> 4, octet & 0x0f]).filter_map(hex_digit).collect()
}

fn hex_digit(value: u8) -> Option<char> {
    char::from_digit(value.into(), 16)
}

/// Key material from hex digits, `0x` in front or not; `None` if it is anything else.
pub fn hex_octets(text: &[u8]) -> Option<Secret> {
    let digits = text.strip_prefix(b"0x").unwrap_or(text);
    let value =
        |digit: u8| char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok());
    let (pairs, rest) = digits.as_chunks::<2>();
    // With all the room it needs, so that growing leaves no copies behind.
    let mut octets = Vec::with_capacity(pairs.len());
    for [high, low] in pairs {
        octets.push((value(*high)? << 4) | value(*low)?);
    }
    rest.is_empty().then(|| Secret::new(octets))
}

/// How much key material a suite wants and in which order: `64 octets: 32 of encryption, then 32 of
/// integrity`.
pub fn key_words(protection: Protection) -> String {
    match (protection.encryption_key_len(), protection.integrity_key_len()) {
        (0, integrity) => format!("{integrity} octets"),
        (encryption, integrity) => {
            let all = encryption + integrity;
            format!("{all} octets: {encryption} of encryption, then {integrity} of integrity")
        }
    }
}

/// Line feeds and a carriage return at the end of a secret's file do not belong to the secret.
pub fn trim_secret(octets: &[u8]) -> &[u8] {
    let end = octets.iter().rposition(|octet| !matches!(octet, b'\n' | b'\r'));
    octets.get(..end.map_or(0, |last| last + 1)).unwrap_or_default()
}

/// What may be said about a secret: enough to see the usual mistakes, too little to guess it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct SecretFacts {
    /// Length in octets, without trailing line feeds.
    pub octets: usize,
    /// Whether the file ended with a line feed, which is not part of the secret.
    pub newline_trimmed: bool,
    /// Whether it begins or ends with a quote.
    pub quoted: bool,
    /// Whether it begins or ends with a space or tab.
    pub spaced: bool,
    /// Whether it looks like hex (`0x…`) or base64 (`0s…`) notation of swanctl.conf, which a
    /// secret's file takes literally.
    pub encoded: bool,
    /// Whether it holds octets that are not printable ASCII.
    pub binary: bool,
}

impl SecretFacts {
    /// Looks at the contents of a secret's file.
    pub fn of_file(octets: &[u8]) -> Self {
        let secret = trim_secret(octets);
        let ends = |set: &[u8]| {
            [secret.first(), secret.last()].iter().flatten().any(|end| set.contains(end))
        };
        Self {
            octets: secret.len(),
            newline_trimmed: secret.len() < octets.len(),
            quoted: ends(b"\"'"),
            spaced: ends(b" \t"),
            encoded: secret.starts_with(b"0x") || secret.starts_with(b"0s"),
            binary: secret.iter().any(|octet| !matches!(octet, b' '..=b'~')),
        }
    }

    /// Looks at a loaded secret.
    pub fn of_secret(secret: &Secret) -> Self {
        Self::of_file(secret.as_bytes())
    }
}

impl fmt::Display for SecretFacts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes, ", self.octets)?;
        f.write_str(if self.newline_trimmed {
            "newline at the end of the file left out"
        } else {
            "no newline"
        })?;
        if self.quoted {
            f.write_str(", a quote at its end counts as part of it")?;
        }
        if self.spaced {
            f.write_str(", a space at its end counts as part of it")?;
        }
        if self.encoded {
            f.write_str(", the 0x or 0s in front counts as part of it")?;
        }
        if self.binary {
            f.write_str(", not only printable characters")?;
        }
        Ok(())
    }
}

/// Why a secret is weak.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Weakness {
    /// Fewer octets than [`SECRET_OCTETS_GOOD`].
    #[error("it has only {0} bytes; {SECRET_OCTETS_GOOD} random ones are the least to rely on")]
    Short(usize),
    /// Few different octets.
    #[error("it has only {0} different characters")]
    Monotonous(usize),
    /// Lower-case letters only and short enough for a dictionary.
    #[error("it looks like words of a language")]
    Words,
}

/// Least length of a pre-shared key that gets no warning: 128 bits if its octets are random.
pub const SECRET_OCTETS_GOOD: usize = 16;

/// Whether guesses would find the secret, as far as a look at it can tell.
pub fn weakness(secret: &[u8]) -> Option<Weakness> {
    if secret.len() < SECRET_OCTETS_GOOD {
        return Some(Weakness::Short(secret.len()));
    }
    let mut seen = [false; 256];
    for octet in secret {
        if let Some(place) = seen.get_mut(usize::from(*octet)) {
            *place = true;
        }
    }
    let different = seen.iter().filter(|seen| **seen).count();
    if different < 8 {
        return Some(Weakness::Monotonous(different));
    }
    let wordlike = |octet: &u8| octet.is_ascii_lowercase() || matches!(octet, b' ' | b'-');
    (secret.len() < 24 && secret.iter().all(wordlike)).then_some(Weakness::Words)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 4648 §10, with the padding left out.
    #[test]
    fn base64url_follows_the_rfc() {
        for (octets, text) in [
            ("", ""),
            ("f", "Zg"),
            ("fo", "Zm8"),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg"),
            ("fooba", "Zm9vYmE"),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(base64url(octets.as_bytes()), text);
        }
        assert_eq!(base64url(&[0xfb, 0xff, 0xfe]), "-__-");
    }

    #[test]
    fn a_new_secret_has_43_plain_characters_and_is_not_weak() {
        let random: [u8; 32] = std::array::from_fn(|i| u8::try_from(i * 37 % 251).unwrap());
        let text = new_secret_text(&random);
        assert_eq!(text.len(), 43);
        assert!(text.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'-' || c == b'_'));
        assert_eq!(weakness(text.as_bytes()), None);
    }

    #[test]
    fn hex_is_read_as_it_is_written() {
        assert_eq!(hex_text(&[0x00, 0xaf, 0x10]), "00af10");
        let read = |text: &str| hex_octets(text.as_bytes()).map(|key| key.as_bytes().to_vec());
        assert_eq!(read("00AF10"), Some(vec![0x00, 0xaf, 0x10]));
        assert_eq!(read("0x00af10"), Some(vec![0x00, 0xaf, 0x10]));
        for other in ["00af1", "00 af 10", "00ag", "x", "0x0", "é0"] {
            assert_eq!(read(other), None, "{other}");
        }
    }

    #[test]
    fn trailing_line_feeds_do_not_count() {
        assert_eq!(trim_secret(b"abc\n"), b"abc");
        assert_eq!(trim_secret(b"abc\r\n\n"), b"abc");
        assert_eq!(trim_secret(b"a\nbc"), b"a\nbc");
        assert_eq!(trim_secret(b"\n"), b"");
        assert_eq!(trim_secret(b""), b"");
    }

    #[test]
    fn weak_secrets_are_named() {
        assert_eq!(weakness(b"hunter2"), Some(Weakness::Short(7)));
        assert_eq!(weakness(&[b'a'; 40]), Some(Weakness::Monotonous(1)));
        assert_eq!(weakness(b"correct horse battery"), Some(Weakness::Words));
        assert_eq!(weakness(b"lab-psk-0123456789"), None);
    }

    #[test]
    fn facts_show_the_usual_mistakes() {
        assert_eq!(SecretFacts::of_file(b"abc").to_string(), "3 bytes, no newline");
        assert_eq!(
            SecretFacts::of_file(b"\"abc\"\n").to_string(),
            "5 bytes, newline at the end of the file left out, a quote at its end counts as part \
             of it"
        );
        assert!(SecretFacts::of_file(b"0x00ff").encoded);
        assert!(SecretFacts::of_file(b" abc").spaced);
    }
}
