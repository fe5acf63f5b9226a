//! Session keys as files for Wireshark: `ikev2_decryption_table`, `ikev1_decryption_table` and
//! `esp_sa`, as they stand in a Wireshark profile. Only with `--export-keys`; whoever reads these files reads the traffic.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};

use adit_crypto::{Cipher, Encryption, IcvSize, Integrity, Secret};
use adit_ike::{DebugKeys, EspDebugKeys, IkeDebugKeys, IsakmpDebugKeys};
use adit_sys::file::write_private;

/// The tables, rewritten at every change.
#[derive(Debug)]
pub(crate) struct KeyLog {
    directory: PathBuf,
    /// By SPIs: IKE_INTERMEDIATE replaces the keys of an IKE SA, both sets are kept in order.
    ike: Vec<String>,
    isakmp: Vec<String>,
    esp: BTreeMap<String, String>,
}

impl KeyLog {
    /// Writes into `directory`, which is made if it does not exist.
    pub(crate) fn new(directory: &Path) -> io::Result<Self> {
        std::fs::create_dir_all(directory)?;
        Ok(Self {
            directory: directory.to_owned(),
            ike: Vec::new(),
            isakmp: Vec::new(),
            esp: BTreeMap::new(),
        })
    }

    /// Adds a row and rewrites its table; Wireshark has no words for some algorithms, then there is
    /// no row.
    pub(crate) fn add(&mut self, keys: &DebugKeys) -> io::Result<()> {
        match keys {
            DebugKeys::Ike(keys) => {
                self.ike.extend(ike_row(keys));
                self.rewrite("ikev2_decryption_table", self.ike.iter())
            }
            DebugKeys::Isakmp(keys) => {
                self.isakmp.push(isakmp_row(keys));
                self.rewrite("ikev1_decryption_table", self.isakmp.iter())
            }
            DebugKeys::Esp(keys) => {
                let name = format!("{}-{:08x}", keys.destination.ip(), keys.spi.0);
                self.esp.extend(esp_row(keys).map(|row| (name, row)));
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
fn ike_row(keys: &IkeDebugKeys) -> Option<String> {
    let encryption = match keys.cipher {
        Cipher::AesGcm(size, icv) => {
            format!("AES-GCM-{} with {} octet ICV [RFC5282]", size.bits(), icv.octets())
        }
        Cipher::AesCcm(size, icv) => {
            format!("AES-CCM-{} with {} octet ICV [RFC5282]", size.bits(), icv.octets())
        }
        Cipher::ChaCha20Poly1305 => "ChaCha20 with Poly1305 [RFC7634]".to_owned(),
        Cipher::Paired(Encryption::AesCbc(size), _) => format!("AES-CBC-{} [RFC3602]", size.bits()),
        Cipher::Paired(Encryption::AesCtr(size), _) => format!("AES-CTR-{} [RFC5930]", size.bits()),
        Cipher::Paired(Encryption::TripleDes, _) => "3DES [RFC2451]".to_owned(),
        Cipher::AesGmac(_) | Cipher::ImplicitIv(_) | Cipher::Paired(..) => return None,
    };
    let integrity = match keys.cipher {
        Cipher::Paired(_, Integrity::HmacMd5_96) => "HMAC_MD5_96 [RFC2403]",
        Cipher::Paired(_, Integrity::HmacSha1_96) => "HMAC_SHA1_96 [RFC2404]",
        Cipher::Paired(_, Integrity::HmacSha2_256_128) => "HMAC_SHA2_256_128 [RFC4868]",
        Cipher::Paired(_, Integrity::HmacSha2_384_192) => "HMAC_SHA2_384_192 [RFC4868]",
        Cipher::Paired(_, Integrity::HmacSha2_512_256) => "HMAC_SHA2_512_256 [RFC4868]",
        Cipher::Paired(_, Integrity::AesXcbc96 | Integrity::AesCmac96) => {
            "ANY 96-bits of Authentication [No Checking]"
        }
        Cipher::AesGcm(..)
        | Cipher::AesCcm(..)
        | Cipher::ChaCha20Poly1305
        | Cipher::AesGmac(_)
        | Cipher::ImplicitIv(_) => "NONE [RFC4306]",
    };
    Some(format!(
        r#"{},{},{},{},"{encryption}",{},{},"{integrity}""#,
        hex(&keys.spi_i.0),
        hex(&keys.spi_r.0),
        secret_hex(&keys.sk_ei),
        secret_hex(&keys.sk_er),
        secret_hex(&keys.sk_ai),
        secret_hex(&keys.sk_ar),
    ))
}

/// `initiator's cookie,key`.
fn isakmp_row(keys: &IsakmpDebugKeys) -> String {
    format!("{},{}", hex(&keys.cookie_i.0), secret_hex(&keys.key))
}

/// `"IPv4","source","destination","SPI","ENCR","KEY","INTEG","KEY"`.
fn esp_row(keys: &EspDebugKeys) -> Option<String> {
    let family = if keys.source.is_ipv4() { "IPv4" } else { "IPv6" };
    let encryption = match keys.cipher {
        Cipher::AesGcm(_, IcvSize::Octets8) => "AES-GCM with 8 octet ICV [RFC4106]",
        Cipher::AesGcm(_, IcvSize::Octets12) => "AES-GCM with 12 octet ICV [RFC4106]",
        Cipher::AesGcm(_, IcvSize::Octets16) => "AES-GCM with 16 octet ICV [RFC4106]",
        Cipher::ChaCha20Poly1305 => "ChaCha20 with Poly1305 [RFC7634]",
        Cipher::Paired(encryption, _) => esp_encryption(encryption)?,
        Cipher::AesCcm(..) | Cipher::AesGmac(_) | Cipher::ImplicitIv(_) => return None,
    };
    let integrity = match keys.cipher {
        Cipher::Paired(_, Integrity::HmacMd5_96) => "HMAC-MD5-96 [RFC2403]",
        Cipher::Paired(_, Integrity::HmacSha1_96) => "HMAC-SHA-1-96 [RFC2404]",
        Cipher::Paired(_, Integrity::HmacSha2_256_128) => "HMAC-SHA-256-128 [RFC4868]",
        Cipher::Paired(_, Integrity::HmacSha2_384_192) => "HMAC-SHA-384-192 [RFC4868]",
        Cipher::Paired(_, Integrity::HmacSha2_512_256) => "HMAC-SHA-512-256 [RFC4868]",
        Cipher::Paired(_, Integrity::AesXcbc96 | Integrity::AesCmac96) => {
            "ANY 96 bit authentication [no checking]"
        }
        Cipher::AesGcm(..)
        | Cipher::AesCcm(..)
        | Cipher::ChaCha20Poly1305
        | Cipher::AesGmac(_)
        | Cipher::ImplicitIv(_) => "NULL",
    };
    let key = |secret: &Secret| {
        if secret.is_empty() { String::new() } else { format!("0x{}", secret_hex(secret)) }
    };
    Some(format!(
        r#""{family}","{}","{}","0x{:08x}","{encryption}","{}","{integrity}","{}""#,
        keys.source.ip(),
        keys.destination.ip(),
        keys.spi.0,
        key(&keys.encryption),
        key(&keys.integrity),
    ))
}

fn esp_encryption(encryption: Encryption) -> Option<&'static str> {
    match encryption {
        Encryption::AesCbc(_) => Some("AES-CBC [RFC3602]"),
        Encryption::AesCtr(_) => Some("AES-CTR [RFC3686]"),
        Encryption::TripleDes => Some("TripleDES-CBC [RFC2451]"),
        Encryption::Des => Some("DES-CBC [RFC2405]"),
        Encryption::Blowfish(_) => Some("BLOWFISH-CBC [RFC2451]"),
        Encryption::Cast128 => Some("CAST5-CBC [RFC2144]"),
        Encryption::Null => Some("NULL"),
        Encryption::CamelliaCbc(_) | Encryption::CamelliaCtr(_) => None,
    }
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
    use adit_crypto::KeySize;
    use adit_wire::esp::Spi;

    #[test]
    fn a_row_of_ikev1_is_what_wireshark_reads() {
        let keys = IsakmpDebugKeys {
            cookie_i: adit_wire::ikev2::IkeSpi([0xc0; 8]),
            cookie_r: adit_wire::ikev2::IkeSpi([0xc1; 8]),
            encryption: Encryption::AesCbc(KeySize::Bits128),
            key: Secret::from_slice(&[0x5e; 16]),
            skeyid_a: Secret::from_slice(&[1; 20]),
            prf: adit_crypto::Prf::HmacSha1,
            last_block: vec![0; 16],
        };
        assert_eq!(isakmp_row(&keys), "c0c0c0c0c0c0c0c0,5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e");
    }

    #[test]
    fn an_esp_row_is_what_wireshark_reads() {
        let keys = EspDebugKeys {
            source: "192.0.2.1:4500".parse().unwrap(),
            destination: "192.0.2.2:4500".parse().unwrap(),
            spi: Spi(0xc0ff_ee01),
            cipher: Cipher::AesGcm(KeySize::Bits128, IcvSize::Octets16),
            encryption: Secret::from_slice(&[0xab; 4]),
            integrity: Secret::from_slice(&[]),
            esn: false,
        };
        assert_eq!(
            esp_row(&keys).unwrap(),
            r#""IPv4","192.0.2.1","192.0.2.2","0xc0ffee01","AES-GCM with 16 octet ICV [RFC4106]","0xabababab","NULL","""#
        );
    }
}
