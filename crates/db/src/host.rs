//! Where a peer is, or which of our addresses is used: addresses, networks and names as
//! configured.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;

/// One entry of a list of local or remote addresses.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum HostSpec {
    /// Any address: `%any`.
    Any,
    /// One address.
    Address(IpAddr),
    /// Any address of a network; cannot be initiated to.
    Network(IpNet),
    /// A host name, resolved before each attempt.
    Name(String),
}

/// Why a text is no host.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum HostError {
    /// Nothing stands where a host should.
    #[error("a host must not be empty")]
    Empty,
    /// It looks like a network, but is not `address/prefix-length`.
    #[error("{0:?} is not a network; write address/length, as 192.0.2.0/24")]
    BadNetwork(String),
    /// It is neither an address nor a host name (RFC 1123 §2.1).
    #[error("{0:?} is neither an address nor a host name")]
    BadName(String),
}

/// Longest host name, RFC 1035 §2.3.4.
const HOST_NAME_OCTETS_MAX: usize = 253;

impl HostSpec {
    /// The address, where it is one.
    pub fn address(&self) -> Option<IpAddr> {
        match self {
            Self::Address(address) => Some(*address),
            Self::Any | Self::Network(_) | Self::Name(_) => None,
        }
    }

    /// Whether it stands for a single host, so that a message can be sent there.
    pub fn is_single(&self) -> bool {
        matches!(self, Self::Address(_) | Self::Name(_))
    }

    /// Whether an address fits, as far as can be said without resolving names: `None` for a name.
    pub fn contains(&self, address: IpAddr) -> Option<bool> {
        match self {
            Self::Any => Some(true),
            Self::Address(wanted) => Some(*wanted == address),
            Self::Network(network) => Some(network.contains(&address)),
            Self::Name(_) => None,
        }
    }
}

/// The address, if the list names exactly one host by its address.
pub fn single_address(hosts: &[HostSpec]) -> Option<IpAddr> {
    match hosts {
        [HostSpec::Address(address)] => Some(*address),
        _ => None,
    }
}

/// Reads `%any`, `%any4`, `%any6`, an address, `address/length` or a host name.
impl FromStr for HostSpec {
    type Err = HostError;

    fn from_str(text: &str) -> Result<Self, HostError> {
        match text {
            "" => return Err(HostError::Empty),
            "%any" => return Ok(Self::Any),
            "%any4" => return Ok(Self::Network(IpNet::V4(ipnet::Ipv4Net::default()))),
            "%any6" => return Ok(Self::Network(IpNet::V6(ipnet::Ipv6Net::default()))),
            _ => {}
        }
        if let Ok(address) = text.parse() {
            return Ok(Self::Address(address));
        }
        if text.contains('/') {
            let network = text.parse::<IpNet>().map(|network| network.trunc());
            return network.map(Self::Network).map_err(|_| HostError::BadNetwork(text.to_owned()));
        }
        if is_host_name(text) {
            return Ok(Self::Name(text.to_owned()));
        }
        Err(HostError::BadName(text.to_owned()))
    }
}

impl fmt::Display for HostSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("%any"),
            Self::Address(address) => address.fmt(f),
            Self::Network(network) => write!(f, "{network}"),
            Self::Name(name) => f.write_str(name),
        }
    }
}

/// Letters, digits, hyphens and underscores in labels; not digits alone at the end, which would
/// be a mistyped address.
fn is_host_name(text: &str) -> bool {
    let name = text.strip_suffix('.').unwrap_or(text);
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|octet| octet.is_ascii_alphanumeric() || b"-_".contains(&octet))
    };
    let numeric = |label: &str| label.bytes().all(|octet| octet.is_ascii_digit());
    name.len() <= HOST_NAME_OCTETS_MAX
        && name.split('.').all(label)
        && !name.rsplit('.').next().is_some_and(numeric)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_print_what_they_read() {
        for text in ["%any", "192.0.2.7", "2001:db8::7", "192.0.2.0/24", "gw.example", "gw"] {
            assert_eq!(text.parse::<HostSpec>().unwrap().to_string(), text);
        }
        assert_eq!("192.0.2.7/24".parse::<HostSpec>().unwrap().to_string(), "192.0.2.0/24");
    }

    #[test]
    fn mistyped_addresses_are_no_names() {
        let error = |text: &str| text.parse::<HostSpec>().unwrap_err();
        assert_eq!(error(""), HostError::Empty);
        assert_eq!(error("192.0.2.300"), HostError::BadName("192.0.2.300".into()));
        assert_eq!(error("192.0.2"), HostError::BadName("192.0.2".into()));
        assert_eq!(error("10.0.0.0/33"), HostError::BadNetwork("10.0.0.0/33".into()));
        assert_eq!(error("a b"), HostError::BadName("a b".into()));
        assert_eq!(error("2001:db8:::1"), HostError::BadName("2001:db8:::1".into()));
        assert_eq!(error("-x.example"), HostError::BadName("-x.example".into()));
    }

    #[test]
    fn containment_is_known_without_names() {
        let address = "192.0.2.7".parse().unwrap();
        let contains = |text: &str| text.parse::<HostSpec>().unwrap().contains(address);
        assert_eq!(contains("%any"), Some(true));
        assert_eq!(contains("%any6"), Some(false));
        assert_eq!(contains("192.0.2.0/24"), Some(true));
        assert_eq!(contains("192.0.2.8"), Some(false));
        assert_eq!(contains("gw.example"), None);
    }
}
