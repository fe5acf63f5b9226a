//! PEM (RFC 7468): lines of base64 between BEGIN and END.

use adit_crypto::Secret;
use base64ct::{Base64, Encoding as _};

use crate::PkiError;

/// Blocks read from one file.
const BLOCKS_MAX: usize = 64;

/// One block. What is in it may be a private key.
pub(crate) struct Block {
    /// `CERTIFICATE`; empty for a file that is no PEM but what would be in one.
    pub(crate) label: String,
    pub(crate) octets: Secret,
}

/// The blocks of a file; one without a label if it is no PEM. What stands between blocks is skipped.
pub(crate) fn blocks(octets: &[u8]) -> Result<Vec<Block>, PkiError> {
    let text = std::str::from_utf8(octets).ok().filter(|text| text.contains("-----BEGIN "));
    let Some(text) = text else {
        return Ok(vec![Block { label: String::new(), octets: Secret::from_slice(octets) }]);
    };
    let mut blocks = Vec::new();
    let mut lines = text.lines().map(str::trim);
    while let Some(line) = lines.next() {
        let Some(label) = line.strip_prefix("-----BEGIN ").and_then(|l| l.strip_suffix("-----"))
        else {
            continue;
        };
        if blocks.len() >= BLOCKS_MAX {
            return Err(PkiError::TooMuch("blocks in a PEM file"));
        }
        let end = format!("-----END {label}-----");
        // With all the room it needs, so that growing leaves no copies behind.
        let mut digits = Vec::with_capacity(octets.len());
        let mut is_over = false;
        for line in lines.by_ref() {
            if line == end {
                is_over = true;
                break;
            }
            // `Proc-Type: 4,ENCRYPTED` (RFC 1421 §4.6.1.1).
            if line.contains("ENCRYPTED") {
                return Err(PkiError::Encrypted);
            }
            digits.extend_from_slice(line.as_bytes());
        }
        let digits = Secret::new(digits);
        if !is_over {
            return Err(PkiError::Malformed("PEM"));
        }
        blocks.push(Block { label: label.to_owned(), octets: decoded(&digits)? });
    }
    Ok(blocks)
}

fn decoded(digits: &Secret) -> Result<Secret, PkiError> {
    let bad = PkiError::Malformed("base64 of the PEM");
    let text = std::str::from_utf8(digits.as_bytes()).map_err(|_| bad.clone())?;
    Base64::decode_vec(text).map(Secret::new).map_err(|_| bad)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_come_with_their_labels() {
        let file = "words\n-----BEGIN A B-----\nAQID\nBA==\n-----END A B-----\r\n\
            -----BEGIN C-----\n\n-----END C-----\n";
        let blocks = blocks(file.as_bytes()).unwrap();
        let seen: Vec<_> =
            blocks.iter().map(|b| (b.label.as_str(), b.octets.as_bytes().to_vec())).collect();
        assert_eq!(seen, [("A B", vec![1, 2, 3, 4]), ("C", vec![])]);
    }

    #[test]
    fn what_is_no_pem_is_one_block() {
        let blocks = blocks(&[0x30, 0x80, 0xff]).unwrap();
        assert_eq!(
            (blocks[0].label.as_str(), blocks[0].octets.as_bytes()),
            ("", &[0x30, 0x80, 0xff][..])
        );
    }

    #[test]
    fn broken_pem_is_refused() {
        let read = |text: &str| blocks(text.as_bytes()).err();
        assert_eq!(read("-----BEGIN A-----\nAQID\n"), Some(PkiError::Malformed("PEM")));
        let bad = Some(PkiError::Malformed("base64 of the PEM"));
        assert_eq!(read("-----BEGIN A-----\nA\n-----END A-----"), bad);
        let encrypted = "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n\nAQID\n\
            -----END RSA PRIVATE KEY-----";
        assert_eq!(read(encrypted), Some(PkiError::Encrypted));
        let many = "-----BEGIN A-----\nAQID\n-----END A-----\n".repeat(BLOCKS_MAX + 1);
        assert_eq!(read(&many), Some(PkiError::TooMuch("blocks in a PEM file")));
    }
}
