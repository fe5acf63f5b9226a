//! Identities of peers: RFC 7296 §3.5 (Identification payload) and RFC 4301 §4.4.3.1 (PAD names).
//!
//! The textual form is the one of `swanctl.conf`, so that an operator's habits and files carry
//! over: an address, `@gateway.example`, `user@host.example`, `keyid:…`, or a type prefix.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use adit_pki::name;
use adit_wire::iana::IdType;

/// Who a peer claims to be; one value of an IDi or IDr payload.
///
/// `==` compares the authenticated octets; [`Identity::is_same`] asks whether the same peer is
/// meant, for whom the letters of host names have no case (RFC 4343).
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Identity {
    /// ID_IPV4_ADDR.
    Ipv4(Ipv4Addr),
    /// ID_IPV6_ADDR.
    Ipv6(Ipv6Addr),
    /// ID_FQDN: a host name without terminator.
    Fqdn(String),
    /// ID_RFC822_ADDR: a mail address.
    Rfc822(String),
    /// ID_KEY_ID: octets the two sides agreed on.
    KeyId(Vec<u8>),
    /// ID_DER_ASN1_DN: a distinguished name as DER.
    Dn(Vec<u8>),
    /// ID_NULL: nobody says who this is (RFC 7619 §2.2).
    Null,
}

/// Longest identity in octets. RFC 7296 sets no limit; a host name has at most 255.
pub const IDENTITY_OCTETS_MAX: usize = 1024;

/// Why a text or an ID payload is no identity.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum IdentityError {
    /// Nothing stands where the identity should.
    #[error("an identity must not be empty")]
    Empty,
    /// The identity is longer than [`IDENTITY_OCTETS_MAX`].
    #[error("an identity has at most {IDENTITY_OCTETS_MAX} octets")]
    TooLong,
    /// After `ipv4:` or `ipv6:` stands no such address.
    #[error("{0:?} is not an address of the announced family")]
    BadAddress(String),
    /// After `@#` or `keyid:0x` or `dn:` stands something other than pairs of hex digits.
    #[error("{0:?} is not an even number of hex digits")]
    BadHex(String),
    /// A wildcard stands where one exact identity is needed.
    #[error("{0:?} is a pattern, an exact identity is needed here")]
    Pattern(String),
    /// A `*` elsewhere than in front, or something the pattern language does not know.
    #[error("{0:?}: a wildcard may only replace the leading part, as in *.example or *@example")]
    BadPattern(String),
    /// What has an equals sign and is no distinguished name.
    #[error("{0:?} is no distinguished name such as C=CH, O=strongSwan, CN=gw: {1}")]
    BadName(String, String),
    /// The ID payload has a type this suite does not take as an identity.
    #[error("ID type {0} is not supported")]
    UnsupportedType(u8),
    /// The octets of the ID payload do not fit its type (address length, text encoding).
    #[error("the octets of the identity do not fit its type")]
    BadOctets,
}

impl Identity {
    /// Reads the data of an ID payload (RFC 7296 §3.5), without its generic header and the three
    /// reserved octets.
    ///
    /// # Errors
    ///
    /// [`IdentityError::UnsupportedType`] for a type without a variant here,
    /// [`IdentityError::BadOctets`], [`IdentityError::Empty`] or [`IdentityError::TooLong`] when
    /// the octets do not fit.
    pub fn from_wire(kind: IdType, octets: &[u8]) -> Result<Self, IdentityError> {
        //= https://www.rfc-editor.org/rfc/rfc7619#section-2.2
        //# The Identification Data field of the ID payload for this ID Type MUST be empty.
        if kind == IdType::NULL {
            return if octets.is_empty() { Ok(Self::Null) } else { Err(IdentityError::BadOctets) };
        }
        check_length(octets.len())?;
        match kind {
            IdType::IPV4_ADDR => <[u8; 4]>::try_from(octets)
                .map(|octets| Self::Ipv4(octets.into()))
                .map_err(|_| IdentityError::BadOctets),
            IdType::IPV6_ADDR => <[u8; 16]>::try_from(octets)
                .map(|octets| Self::Ipv6(octets.into()))
                .map_err(|_| IdentityError::BadOctets),
            IdType::FQDN => text(octets).map(Self::Fqdn),
            IdType::RFC822_ADDR => text(octets).map(Self::Rfc822),
            IdType::KEY_ID => Ok(Self::KeyId(octets.to_vec())),
            IdType::DER_ASN1_DN => Ok(Self::Dn(octets.to_vec())),
            other => Err(IdentityError::UnsupportedType(other.0)),
        }
    }

    /// The type of the ID payload that carries this identity.
    pub fn kind(&self) -> IdType {
        match self {
            Self::Ipv4(_) => IdType::IPV4_ADDR,
            Self::Ipv6(_) => IdType::IPV6_ADDR,
            Self::Fqdn(_) => IdType::FQDN,
            Self::Rfc822(_) => IdType::RFC822_ADDR,
            Self::KeyId(_) => IdType::KEY_ID,
            Self::Dn(_) => IdType::DER_ASN1_DN,
            Self::Null => IdType::NULL,
        }
    }

    /// The identification data of the ID payload; the inverse of [`Identity::from_wire`].
    pub fn octets(&self) -> Vec<u8> {
        match self {
            Self::Ipv4(address) => address.octets().to_vec(),
            Self::Ipv6(address) => address.octets().to_vec(),
            Self::Fqdn(text) | Self::Rfc822(text) => text.as_bytes().to_vec(),
            Self::KeyId(octets) | Self::Dn(octets) => octets.clone(),
            Self::Null => Vec::new(),
        }
    }

    /// Whether both name the same peer: equal octets, or equal host names but for case, or equal
    /// distinguished names but for case, spaces and encoding (RFC 5280 §7.1).
    pub fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Fqdn(a), Self::Fqdn(b)) | (Self::Rfc822(a), Self::Rfc822(b)) => {
                a.eq_ignore_ascii_case(b)
            }
            (Self::Dn(a), Self::Dn(b)) => name::same(a, b),
            _ => self == other,
        }
    }

    /// The form that all identities have in common which are the same by [`Self::is_same`]: host names
    /// compare without case (RFC 4343).
    #[must_use]
    pub fn canonical(&self) -> Self {
        match self {
            Self::Fqdn(name) => Self::Fqdn(name.to_ascii_lowercase()),
            Self::Rfc822(name) => Self::Rfc822(name.to_ascii_lowercase()),
            Self::Dn(name) => Self::Dn(name::canonical(name)),
            Self::Ipv4(_) | Self::Ipv6(_) | Self::KeyId(_) | Self::Null => self.clone(),
        }
    }

    fn parse_prefixed(text: &str) -> Option<Result<Self, IdentityError>> {
        let (prefix, rest) = text.split_once(':')?;
        let identity = match prefix {
            "ipv4" => rest.parse().map(Self::Ipv4).map_err(|_| bad_address(rest)),
            "ipv6" => rest.parse().map(Self::Ipv6).map_err(|_| bad_address(rest)),
            "fqdn" | "dns" => Ok(Self::Fqdn(rest.to_owned())),
            "email" | "rfc822" | "userfqdn" => Ok(Self::Rfc822(rest.to_owned())),
            "keyid" => parse_key_id(rest).map(Self::KeyId),
            "dn" | "asn1dn" => match rest.strip_prefix('#') {
                Some(hex) => parse_hex(hex),
                None => parse_name(rest),
            }
            .map(Self::Dn),
            _ => return None,
        };
        Some(if rest.is_empty() { Err(IdentityError::Empty) } else { identity })
    }

    fn parse_plain(text: &str) -> Result<Self, IdentityError> {
        if let Ok(address) = text.parse::<IpAddr>() {
            return Ok(address.into());
        }
        if let Some(hex) = text.strip_prefix("@#") {
            return parse_hex(hex).map(Self::KeyId);
        }
        // As strongSwan decides: whatever has an equals sign and no prefix is a distinguished name.
        if text.contains('=') && !text.starts_with('@') {
            return parse_name(text).map(Self::Dn);
        }
        // swanctl: `@@` forces a mail address without a local part, `@` a host name.
        if let Some(mail) = text.strip_prefix("@@") {
            return Ok(Self::Rfc822(mail.to_owned()));
        }
        if let Some(host) = text.strip_prefix('@') {
            return Ok(Self::Fqdn(host.to_owned()));
        }
        if text.contains('@') {
            return Ok(Self::Rfc822(text.to_owned()));
        }
        Ok(Self::Fqdn(text.to_owned()))
    }

    fn length(&self) -> usize {
        match self {
            Self::Ipv4(_) => 4,
            Self::Ipv6(_) => 16,
            Self::Fqdn(text) | Self::Rfc822(text) => text.len(),
            Self::KeyId(octets) | Self::Dn(octets) => octets.len(),
            Self::Null => 0,
        }
    }
}

impl From<IpAddr> for Identity {
    fn from(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(address) => Self::Ipv4(address),
            IpAddr::V6(address) => Self::Ipv6(address),
        }
    }
}

/// Reads the forms of `swanctl.conf`: an address, `@host`, `host`, `user@host`, `@#hex`,
/// `keyid:text`, `keyid:0xhex`, `C=CH, CN=host`, `%null` for nobody, and the prefixes `ipv4:`, `ipv6:`,
/// `fqdn:`, `email:`, `dn:#hex`.
impl FromStr for Identity {
    type Err = IdentityError;

    fn from_str(text: &str) -> Result<Self, IdentityError> {
        if text == NULL {
            return Ok(Self::Null);
        }
        let identity = match Self::parse_prefixed(text) {
            Some(prefixed) => prefixed?,
            None => {
                if text.starts_with('%') || text.contains('*') {
                    return Err(IdentityError::Pattern(text.to_owned()));
                }
                Self::parse_plain(text)?
            }
        };
        check_length(identity.length())?;
        if let Self::Fqdn(text) | Self::Rfc822(text) = &identity
            && !is_text(text)
        {
            return Err(IdentityError::BadOctets);
        }
        Ok(identity)
    }
}

/// Writes a form that [`FromStr`] reads back as the same identity.
impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ipv4(address) => address.fmt(f),
            Self::Ipv6(address) => address.fmt(f),
            Self::Fqdn(host) if is_plain_host(host) => f.write_str(host),
            Self::Fqdn(host) => write!(f, "fqdn:{host}"),
            Self::Rfc822(mail) if is_plain_mail(mail) => f.write_str(mail),
            Self::Rfc822(mail) => write!(f, "email:{mail}"),
            Self::KeyId(octets) => match key_id_text(octets) {
                Some(text) => write!(f, "keyid:{text}"),
                None => write!(f, "keyid:0x{}", Hex(octets)),
            },
            Self::Dn(octets) => match name_text(octets) {
                Some(text) => f.write_str(&text),
                None => write!(f, "dn:#{}", Hex(octets)),
            },
            Self::Null => f.write_str(NULL),
        }
    }
}

/// Which identities a PAD entry accepts (RFC 4301 §4.4.3.1).
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub enum IdentityPattern {
    /// Every identity: `%any`.
    #[default]
    Any,
    /// This one.
    Exact(Identity),
    /// Host names below a domain: `*.berlin.example`. The name itself is not below itself.
    Below(String),
    /// Mail addresses of a domain: `*@corp.example`.
    MailOf(String),
}

impl IdentityPattern {
    /// Whether the pattern accepts the identity.
    pub fn matches(&self, identity: &Identity) -> bool {
        match (self, identity) {
            (Self::Any, _) => true,
            (Self::Exact(wanted), given) => wanted.is_same(given),
            (Self::Below(domain), Identity::Fqdn(host)) => split_domain(host, domain)
                .is_some_and(|front| front.len() > 1 && front.ends_with('.')),
            (Self::MailOf(domain), Identity::Rfc822(mail)) => split_domain(mail, domain)
                .is_some_and(|front| front.len() > 1 && front.ends_with('@')),
            (Self::Below(_) | Self::MailOf(_), _) => false,
        }
    }

    /// The one identity accepted, if there is only one.
    pub fn exact(&self) -> Option<&Identity> {
        match self {
            Self::Exact(identity) => Some(identity),
            Self::Any | Self::Below(_) | Self::MailOf(_) => None,
        }
    }

    /// How much a match says: exact before wildcard before any. The best of several PAD entries
    /// wins.
    pub fn rank(&self) -> u8 {
        match self {
            Self::Exact(_) => 2,
            Self::Below(_) | Self::MailOf(_) => 1,
            Self::Any => 0,
        }
    }

    /// How close a match is, of patterns that match the same identity: as [`Self::rank`], and the
    /// longer domain before the shorter.
    pub fn precision(&self) -> (u8, usize) {
        let domain = match self {
            Self::Below(domain) | Self::MailOf(domain) => domain.len(),
            Self::Any | Self::Exact(_) => 0,
        };
        (self.rank(), domain)
    }
}

/// Reads `%any`, `*.domain`, `*@domain`, or any form of [`Identity`].
impl FromStr for IdentityPattern {
    type Err = IdentityError;

    fn from_str(text: &str) -> Result<Self, IdentityError> {
        if matches!(text, "%any" | "*" | "%any4" | "%any6") {
            return Ok(Self::Any);
        }
        // A type prefix means the text as it stands, so that every exact identity can be written.
        let bare = text.strip_prefix('@').filter(|rest| rest.starts_with('*'));
        let wildcard = bare.unwrap_or(text);
        let pattern = if let Some(domain) = wildcard.strip_prefix("*.") {
            Self::Below(domain.to_owned())
        } else if let Some(domain) = wildcard.strip_prefix("*@") {
            Self::MailOf(domain.to_owned())
        } else {
            return match text.parse() {
                Err(IdentityError::Pattern(text)) => Err(IdentityError::BadPattern(text)),
                other => other.map(Self::Exact),
            };
        };
        match &pattern {
            Self::Below(domain) | Self::MailOf(domain)
                if domain.is_empty() || domain.contains(['*', '@', '%', '=']) =>
            {
                Err(IdentityError::BadPattern(text.to_owned()))
            }
            Self::Below(_) | Self::MailOf(_) | Self::Any | Self::Exact(_) => Ok(pattern),
        }
    }
}

impl fmt::Display for IdentityPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("%any"),
            Self::Exact(identity) => identity.fmt(f),
            Self::Below(domain) => write!(f, "*.{domain}"),
            Self::MailOf(domain) => write!(f, "*@{domain}"),
        }
    }
}

/// ID_NULL in writing.
const NULL: &str = "%null";

fn check_length(octets: usize) -> Result<(), IdentityError> {
    match octets {
        0 => Err(IdentityError::Empty),
        1..=IDENTITY_OCTETS_MAX => Ok(()),
        _ => Err(IdentityError::TooLong),
    }
}

/// Host names and mail addresses are UTF-8 without control characters (a terminator included:
/// RFC 7296 §3.5 forbids them).
fn text(octets: &[u8]) -> Result<String, IdentityError> {
    match std::str::from_utf8(octets) {
        Ok(text) if is_text(text) => Ok(text.to_owned()),
        _ => Err(IdentityError::BadOctets),
    }
}

fn is_text(text: &str) -> bool {
    !text.contains(char::is_control)
}

fn bad_address(text: &str) -> IdentityError {
    IdentityError::BadAddress(text.to_owned())
}

fn parse_key_id(text: &str) -> Result<Vec<u8>, IdentityError> {
    match text.strip_prefix("0x").or_else(|| text.strip_prefix('#')) {
        Some(hex) => parse_hex(hex),
        None => Ok(text.as_bytes().to_vec()),
    }
}

/// The text form of a key id, when reading it gives the same octets again.
fn key_id_text(octets: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(octets).ok()?;
    let plain = text.bytes().all(|octet| octet.is_ascii_graphic());
    let read_as_hex = text.starts_with("0x") || text.starts_with('#');
    (plain && !read_as_hex).then_some(text)
}

fn parse_name(text: &str) -> Result<Vec<u8>, IdentityError> {
    name::from_text(text).map_err(|error| IdentityError::BadName(text.to_owned(), error))
}

/// The words of a distinguished name, when reading them gives the same name again.
fn name_text(octets: &[u8]) -> Option<String> {
    let text = name::text(octets)?;
    let is_plain = text.contains('=') && !text.starts_with(['%', '@']) && !text.contains('*');
    let again = name::from_text(&text).ok().filter(|_| is_plain)?;
    name::same(&again, octets).then_some(text)
}

fn parse_hex(text: &str) -> Result<Vec<u8>, IdentityError> {
    let bad = || IdentityError::BadHex(text.to_owned());
    let digits: Option<Vec<u8>> = text
        .bytes()
        .filter(|octet| *octet != b':')
        .map(|octet| char::from(octet).to_digit(16).and_then(|digit| u8::try_from(digit).ok()))
        .collect();
    let digits = digits.ok_or_else(bad)?;
    let (pairs, rest) = digits.as_chunks::<2>();
    if !rest.is_empty() || pairs.is_empty() {
        return Err(bad());
    }
    Ok(pairs.iter().map(|[high, low]| (high << 4) | low).collect())
}

/// What stands before `domain` at the end of `name`, compared without case.
fn split_domain<'a>(name: &'a str, domain: &str) -> Option<&'a str> {
    let at = name.len().checked_sub(domain.len())?;
    let (front, tail) = name.split_at_checked(at)?;
    tail.eq_ignore_ascii_case(domain).then_some(front)
}

/// Whether the bare host name reads back as a host name, in swanctl.conf too, where `=` makes a
/// distinguished name.
fn is_plain_host(host: &str) -> bool {
    !host.contains(['@', ':', '*', '=']) && !host.starts_with('%') && reads_back(host)
}

fn is_plain_mail(mail: &str) -> bool {
    let inner_at = mail.find('@').is_some_and(|at| at > 0);
    inner_at && !mail.contains([':', '*', '=']) && !mail.starts_with('%') && reads_back(mail)
}

fn reads_back(text: &str) -> bool {
    text.parse::<IpAddr>().is_err()
}

struct Hex<'a>(&'a [u8]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|octet| write!(f, "{octet:02x}"))
    }
}

#[cfg(test)]
mod tests;
