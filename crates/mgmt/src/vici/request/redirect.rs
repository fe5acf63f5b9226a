//! `redirect`: sends the peers of IKE SAs to another gateway (RFC 5685).

use std::net::IpAddr;
use std::str::FromStr;

use adit_db::{Gateway, IdentityPattern};
use ipnet::IpNet;

use super::{Request, RequestError, invalid, needed, number, text};
use crate::vici::conn::parse_identity_pattern;
use crate::vici::message::Message;

/// Arguments of `redirect`: all IKE SAs that fit everything that is given.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Redirect {
    /// Where to.
    pub gateway: Gateway,
    /// Name of a connection.
    pub connection: Option<String>,
    /// Number of an IKE SA.
    pub ike_id: Option<u32>,
    /// Where the peer is.
    pub peer_ip: Option<PeerRange>,
    /// Who the peer is.
    pub peer_id: Option<IdentityPattern>,
}

/// Addresses from one to another.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct PeerRange {
    first: IpAddr,
    last: IpAddr,
}

impl PeerRange {
    /// Whether an address is among them.
    pub fn contains(self, address: IpAddr) -> bool {
        let alike = self.first.is_ipv4() == address.is_ipv4();
        alike && (self.first..=self.last).contains(&address)
    }
}

/// One address, `address/length`, or `first-last`.
impl FromStr for PeerRange {
    type Err = RequestError;

    fn from_str(text: &str) -> Result<Self, RequestError> {
        let bad = || invalid(format!("peer-ip: {text:?} is no address, network or range"));
        let address = |text: &str| text.trim().parse::<IpAddr>().map_err(|_| bad());
        if let Some((first, last)) = text.split_once('-') {
            let (first, last) = (address(first)?, address(last)?);
            let is_range = first.is_ipv4() == last.is_ipv4() && first <= last;
            return if is_range { Ok(Self { first, last }) } else { Err(bad()) };
        }
        if text.contains('/') {
            let network: IpNet = text.parse().map_err(|_| bad())?;
            return Ok(Self { first: network.network(), last: network.broadcast() });
        }
        address(text).map(|one| Self { first: one, last: one })
    }
}

impl std::fmt::Display for PeerRange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}", self.first, self.last)
    }
}

pub(super) fn read(message: &Message) -> Result<Request, RequestError> {
    let gateway = needed(message, "gateway")?;
    let gateway = gateway.parse().map_err(|error| invalid(format!("gateway: {error}")))?;
    let peer_ip = text(message, "peer-ip")?.map(|text| text.parse()).transpose()?;
    let peer_id = text(message, "peer-id")?;
    let peer_id = peer_id
        .map(|text| parse_identity_pattern(&text).map_err(|e| invalid(format!("peer-id: {e}"))))
        .transpose()?;
    let (connection, ike_id) = (text(message, "ike")?, number(message, &["ike-id"])?);
    if connection.is_none() && ike_id.is_none() && peer_ip.is_none() && peer_id.is_none() {
        return Err(invalid("missing redirect selector: give ike, ike-id, peer-ip or peer-id"));
    }
    Ok(Request::Redirect(Redirect { gateway, connection, ike_id, peer_ip, peer_id }))
}

pub(super) fn put(redirect: &Redirect, message: &mut Message) {
    message.put_some("ike", redirect.connection.as_ref());
    message.put_some("ike-id", redirect.ike_id);
    message.put_some("peer-ip", redirect.peer_ip);
    message.put_some("peer-id", redirect.peer_id.as_ref());
    message.put("gateway", &redirect.gateway);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(lines: &[(&str, &str)]) -> Result<Request, RequestError> {
        let mut message = Message::new();
        lines.iter().for_each(|(key, value)| message.put(key, value));
        Request::parse("redirect", &message)
    }

    #[test]
    fn every_filter_is_read_and_written() {
        let lines = [
            ("gateway", "gw2.example"),
            ("ike", "berlin"),
            ("ike-id", "7"),
            ("peer-ip", "203.0.113.0/24"),
            ("peer-id", "*.example"),
        ];
        let request = parse(&lines).unwrap();
        let Request::Redirect(redirect) = &request else { panic!("{request:?}") };
        let range = redirect.peer_ip.unwrap();
        assert!(range.contains("203.0.113.255".parse().unwrap()));
        assert!(!range.contains("203.0.114.0".parse().unwrap()));
        assert!(!range.contains("2001:db8::1".parse().unwrap()));
        let again = Request::parse("redirect", &request.message()).unwrap();
        assert_eq!(again.message(), request.message());
    }

    #[test]
    fn what_selects_nothing_or_goes_nowhere_is_refused() {
        let error = |lines: &[_]| parse(lines).unwrap_err().to_string();
        assert!(error(&[("ike", "berlin")]).contains("gateway"));
        assert!(error(&[("gateway", "192.0.2.0/24"), ("ike", "x")]).contains("one gateway"));
        assert!(error(&[("gateway", "192.0.2.3")]).contains("missing redirect selector"));
        for bad in ["192.0.2.9-192.0.2.1", "here", "192.0.2.1-2001:db8::1"] {
            let lines = [("gateway", "192.0.2.3"), ("peer-ip", bad)];
            assert!(error(&lines).contains("peer-ip"), "{bad}");
        }
    }
}
