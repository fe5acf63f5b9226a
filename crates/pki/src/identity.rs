//! Whether a certificate is of an identity (RFC 4945 §3.1, RFC 7296 §4).

use std::net::IpAddr;

use adit_wire::iana::IdType;

use crate::{Certificate, name};

/// A name in subjectAltName.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum AltName {
    /// dNSName.
    Dns(String),
    /// rfc822Name.
    Email(String),
    /// iPAddress.
    Ip(IpAddr),
    /// directoryName, as DER.
    Directory(Box<[u8]>),
}

impl Certificate {
    /// Whether the certificate is of the identity in an ID payload of this type with this data.
    ///
    /// Addresses, host names and mail addresses must stand in subjectAltName, exactly and without
    /// wildcards; the common name does not stand in for them (CHECKLIST G03). A distinguished name is
    /// the subject, or a directoryName. A key id is the subjectKeyIdentifier.
    pub fn is_of(&self, kind: IdType, data: &[u8]) -> bool {
        let any = |is: &dyn Fn(&AltName) -> bool| self.alt_names().iter().any(is);
        match kind {
            IdType::FQDN => any(
                &|name| matches!(name, AltName::Dns(host) if host.as_bytes().eq_ignore_ascii_case(data)),
            ),
            IdType::RFC822_ADDR => any(
                &|name| matches!(name, AltName::Email(mail) if mail.as_bytes().eq_ignore_ascii_case(data)),
            ),
            IdType::IPV4_ADDR => any(
                &|name| matches!(name, AltName::Ip(IpAddr::V4(address)) if address.octets() == data),
            ),
            IdType::IPV6_ADDR => any(
                &|name| matches!(name, AltName::Ip(IpAddr::V6(address)) if address.octets() == data),
            ),
            IdType::DER_ASN1_DN => {
                name::same(self.subject(), data)
                    || any(&|one| matches!(one, AltName::Directory(dn) if name::same(dn, data)))
            }
            IdType::KEY_ID => self.subject_key_id() == Some(data),
            _ => false,
        }
    }
}
