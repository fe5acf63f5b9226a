//! Other gateways that a gateway sends its peers to (RFC 5685).

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use crate::host::HostSpec;

/// A gateway that peers are sent to: what the notify REDIRECT can name (RFC 5685 §9.2).
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum Gateway {
    /// By its address.
    Address(IpAddr),
    /// By its host name.
    Name(String),
}

/// A text that names no gateway.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("must be the address or the host name of one gateway")]
pub struct GatewayError;

impl Gateway {
    /// Where to send messages to.
    pub fn host(&self) -> HostSpec {
        match self {
            Self::Address(address) => HostSpec::Address(*address),
            Self::Name(name) => HostSpec::Name(name.clone()),
        }
    }
}

impl FromStr for Gateway {
    type Err = GatewayError;

    fn from_str(text: &str) -> Result<Self, GatewayError> {
        match text.parse() {
            Ok(HostSpec::Address(address)) => Ok(Self::Address(address)),
            Ok(HostSpec::Name(name)) => Ok(Self::Name(name)),
            Ok(HostSpec::Any | HostSpec::Network(_)) | Err(_) => Err(GatewayError),
        }
    }
}

impl fmt::Display for Gateway {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Name(name) => f.write_str(name),
        }
    }
}

/// Where peers are sent to, and whether we let ourselves be sent.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
pub struct Redirect {
    /// The gateway that peers which begin an IKE SA are sent to.
    pub to: Option<Gateway>,
    /// Whether we go where the peer sends us. Who we meet there must prove to be the peer.
    pub follow: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gateway_is_one_host() {
        for text in ["203.0.113.7", "2001:db8::7", "gw2.example"] {
            assert_eq!(text.parse::<Gateway>().unwrap().to_string(), text);
        }
        for text in ["", "%any", "203.0.113.0/24", "not a name", "1.2.3"] {
            assert_eq!(text.parse::<Gateway>(), Err(GatewayError), "{text}");
        }
    }
}
