//! Session keys as files for Wireshark: `ikev2_decryption_table` and `esp_sa`, as they stand in a
//! Wireshark profile. Only with `--export-keys`; whoever reads these files reads the traffic.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};

use adit_crypto::{AesKeySize, Cipher, Integrity, Secret};
use adit_ike::{DebugKeys, EspDebugKeys, IkeDebugKeys};
use adit_sys::file::write_private;

/// The two tables, rewritten at every change.
#[derive(Debug)]
pub(crate) struct KeyLog {
    directory: PathBuf,
    /// By SPIs: IKE_INTERMEDIATE replaces the keys of an IKE SA, both sets are kept in order.
    ike: Vec<String>,
    esp: BTreeMap<String, String>,
}

impl KeyLog {
    /// Writes into `directory`, which is made if it does not exist.
    pub(crate) fn new(directory: &Path) -> io::Result<Self> {
        std::fs::create_dir_all(directory)?;
        Ok(Self { directory: directory.to_owned(), ike: Vec::new(), esp: BTreeMap::new() })
    }

    /// Adds a row and rewrites its table.
    pub(crate) fn add(&mut self, keys: &DebugKeys) -> io::Result<()> {
        match keys {
            DebugKeys::Ike(keys) => {
                self.ike.push(ike_row(keys));
                self.rewrite("ikev2_decryption_table", self.ike.iter())
            }
            DebugKeys::Esp(keys) => {
                let name = format!("{}-{:08x}", keys.destination.ip(), keys.spi.0);
                self.esp.insert(name, esp_row(keys));
                self.rewrite("esp_sa", self.esp.values())
            }
        }
    }

    fn rewrite<'a>(&self, file: &str, rows: impl Iterator<Item = &'a String>) -> io::Result<()> {
        let text: String = rows.map(|row| format!("{row}\n")).collect();
        write_private(&self.directory.join(file), text.as_bytes())
    }
}

/// `SPIi,SPIr,SK_ei,SK_er,"ENCR",SK_ai,SK_ar,"INTEG"`.
fn ike_row(keys: &IkeDebugKeys) -> String {
    let (encryption, integrity) = match keys.cipher {
        Cipher::AesGcm16(size) => {
            (format!("AES-GCM-{} with 16 octet ICV [RFC5282]", size.bits()), "NONE [RFC4306]")
        }
        Cipher::ChaCha20Poly1305 => {
            ("ChaCha20 with Poly1305 [RFC7634]".to_owned(), "NONE [RFC4306]")
        }
        Cipher::AesCbc(size, integrity) => (
            format!("AES-CBC-{} [RFC3602]", size.bits()),
            match integrity {
                Integrity::HmacSha2_256_128 => "HMAC_SHA2_256_128 [RFC4868]",
                Integrity::HmacSha2_384_192 => "HMAC_SHA2_384_192 [RFC4868]",
                Integrity::HmacSha2_512_256 => "HMAC_SHA2_512_256 [RFC4868]",
            },
        ),
    };
    format!(
        r#"{},{},{},{},"{encryption}",{},{},"{integrity}""#,
        hex(&keys.spi_i.0),
        hex(&keys.spi_r.0),
        secret_hex(&keys.sk_ei),
        secret_hex(&keys.sk_er),
        secret_hex(&keys.sk_ai),
        secret_hex(&keys.sk_ar),
    )
}

/// `"IPv4","source","destination","SPI","ENCR","KEY","INTEG","KEY"`.
fn esp_row(keys: &EspDebugKeys) -> String {
    let family = if keys.source.is_ipv4() { "IPv4" } else { "IPv6" };
    let (encryption, integrity) = match keys.cipher {
        Cipher::AesGcm16(AesKeySize::Bits128 | AesKeySize::Bits256) => {
            ("AES-GCM with 16 octet ICV [RFC4106]", "NULL")
        }
        Cipher::ChaCha20Poly1305 => ("ChaCha20 with Poly1305 [RFC7634]", "NULL"),
        Cipher::AesCbc(_, integrity) => (
            "AES-CBC [RFC3602]",
            match integrity {
                Integrity::HmacSha2_256_128 => "HMAC-SHA-256-128 [RFC4868]",
                Integrity::HmacSha2_384_192 => "HMAC-SHA-384-192 [RFC4868]",
                Integrity::HmacSha2_512_256 => "HMAC-SHA-512-256 [RFC4868]",
            },
        ),
    };
    let key = |secret: &Secret| {
        if secret.is_empty() { String::new() } else { format!("0x{}", secret_hex(secret)) }
    };
    format!(
        r#""{family}","{}","{}","0x{:08x}","{encryption}","{}","{integrity}","{}""#,
        keys.source.ip(),
        keys.destination.ip(),
        keys.spi.0,
        key(&keys.encryption),
        key(&keys.integrity),
    )
}

fn secret_hex(secret: &Secret) -> String {
    hex(secret.as_bytes())
}

fn hex(octets: &[u8]) -> String {
    octets.iter().fold(String::new(), |mut text, octet| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{octet:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use adit_wire::esp::Spi;

    #[test]
    fn an_esp_row_is_what_wireshark_reads() {
        let keys = EspDebugKeys {
            source: "192.0.2.1:4500".parse().unwrap(),
            destination: "192.0.2.2:4500".parse().unwrap(),
            spi: Spi(0xc0ff_ee01),
            cipher: Cipher::AesGcm16(AesKeySize::Bits128),
            encryption: Secret::from_slice(&[0xab; 4]),
            integrity: Secret::from_slice(&[]),
            esn: false,
        };
        assert_eq!(
            esp_row(&keys),
            r#""IPv4","192.0.2.1","192.0.2.2","0xc0ffee01","AES-GCM with 16 octet ICV [RFC4106]","0xabababab","NULL","""#
        );
    }
}
