//! What an Identification payload says, RFC 2407 §4.6.2.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::{
    WireError, Writer,
    iana::{IpProtocol, doi::IdType, isakmp::NotifyType},
    isakmp::{Id, IsakmpError},
};

/// An identity: who somebody is in phase 1, between what an SA is in phase 2.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Identity<'a> {
    /// ID_IPV4_ADDR, ID_IPV6_ADDR.
    Address(IpAddr),
    /// ID_FQDN: a name of a host, without control characters.
    Fqdn(&'a str),
    /// ID_USER_FQDN: a name of a user at a host, without control characters.
    UserFqdn(&'a str),
    /// ID_IPV4_ADDR_SUBNET, ID_IPV6_ADDR_SUBNET: first address and length of the prefix.
    Subnet(IpAddr, u8),
    /// ID_IPV4_ADDR_RANGE, ID_IPV6_ADDR_RANGE: first and last address of one family.
    Range(IpAddr, IpAddr),
    /// ID_DER_ASN1_DN: DER of a distinguished name.
    DerName(&'a [u8]),
    /// ID_DER_ASN1_GN: DER of a general name.
    DerGeneralName(&'a [u8]),
    /// ID_KEY_ID: octets of a vendor.
    KeyId(&'a [u8]),
}

impl<'a> Identity<'a> {
    /// What `id` says. Bits of a subnet's address behind its mask are passed over.
    ///
    /// # Errors
    ///
    /// INVALID-ID-INFORMATION: the type is unknown; a mask has ones behind zeros; a range ends before
    /// it begins; a name has control characters or is no UTF-8.
    pub fn read(id: &Id<'a>) -> Result<Self, IsakmpError> {
        let octets = id.data;
        let read = match id.kind {
            IdType::IPV4_ADDR => v4(octets).map(Self::Address),
            IdType::IPV6_ADDR => v6(octets).map(Self::Address),
            IdType::FQDN => name(octets).map(Self::Fqdn),
            IdType::USER_FQDN => name(octets).map(Self::UserFqdn),
            IdType::IPV4_ADDR_SUBNET => pair(octets, v4).and_then(subnet),
            IdType::IPV6_ADDR_SUBNET => pair(octets, v6).and_then(subnet),
            IdType::IPV4_ADDR_RANGE => pair(octets, v4).and_then(range),
            IdType::IPV6_ADDR_RANGE => pair(octets, v6).and_then(range),
            IdType::DER_ASN1_DN => Some(Self::DerName(octets)),
            IdType::DER_ASN1_GN => Some(Self::DerGeneralName(octets)),
            IdType::KEY_ID => Some(Self::KeyId(octets)),
            _ => None,
        };
        read.ok_or_else(|| {
            let cause = WireError::BadValue("ID.data of type", id.kind.0.into());
            IsakmpError::new(NotifyType::INVALID_ID_INFORMATION, cause)
        })
    }

    /// What RFC 2407 §4.6.2 wants of an identity in phase 1: no protocol and port, or those of IKE, of
    /// which RFC 3947 made two.
    ///
    /// # Errors
    ///
    /// INVALID-ID-INFORMATION for others.
    pub fn check_phase1(id: &Id<'_>) -> Result<(), IsakmpError> {
        match (id.protocol, id.port) {
            (0, 0) => Ok(()),
            (protocol, 0 | 500 | 4500) if protocol == IpProtocol::UDP.0 => Ok(()),
            (_, port) => {
                Err(IsakmpError::value(NotifyType::INVALID_ID_INFORMATION, "ID.port", port.into()))
            }
        }
    }

    /// The type of the payload that says so.
    #[must_use]
    pub const fn kind(&self) -> IdType {
        match self {
            Self::Address(IpAddr::V4(_)) => IdType::IPV4_ADDR,
            Self::Address(IpAddr::V6(_)) => IdType::IPV6_ADDR,
            Self::Fqdn(_) => IdType::FQDN,
            Self::UserFqdn(_) => IdType::USER_FQDN,
            Self::Subnet(IpAddr::V4(_), _) => IdType::IPV4_ADDR_SUBNET,
            Self::Subnet(IpAddr::V6(_), _) => IdType::IPV6_ADDR_SUBNET,
            Self::Range(IpAddr::V4(_), _) => IdType::IPV4_ADDR_RANGE,
            Self::Range(IpAddr::V6(_), _) => IdType::IPV6_ADDR_RANGE,
            Self::DerName(_) => IdType::DER_ASN1_DN,
            Self::DerGeneralName(_) => IdType::DER_ASN1_GN,
            Self::KeyId(_) => IdType::KEY_ID,
        }
    }

    /// Appends the body of the Identification payload that says so; zeros for every protocol and
    /// port.
    pub fn write(&self, protocol: u8, port: u16, w: &mut Writer<'_>) {
        w.u8(self.kind().0);
        w.u8(protocol);
        w.u16(port);
        match *self {
            Self::Address(address) => write_address(address, w),
            Self::Fqdn(name) | Self::UserFqdn(name) => w.bytes(name.as_bytes()),
            Self::Subnet(address, prefix_len) => {
                write_address(address, w);
                write_address(mask(address, prefix_len), w);
            }
            Self::Range(first, last) => {
                write_address(first, w);
                write_address(last, w);
            }
            Self::DerName(octets) | Self::DerGeneralName(octets) | Self::KeyId(octets) => {
                w.bytes(octets);
            }
        }
    }

    /// First and last address that an identity of addresses means; none for the others.
    #[must_use]
    pub fn addresses(&self) -> Option<(IpAddr, IpAddr)> {
        match *self {
            Self::Address(address) => Some((address, address)),
            Self::Subnet(address, prefix_len) => Some(ends(address, prefix_len)),
            Self::Range(first, last) => Some((first, last)),
            Self::Fqdn(_)
            | Self::UserFqdn(_)
            | Self::DerName(_)
            | Self::DerGeneralName(_)
            | Self::KeyId(_) => None,
        }
    }
}

fn v4(octets: &[u8]) -> Option<IpAddr> {
    <[u8; 4]>::try_from(octets).ok().map(IpAddr::from)
}

fn v6(octets: &[u8]) -> Option<IpAddr> {
    <[u8; 16]>::try_from(octets).ok().map(IpAddr::from)
}

fn pair(octets: &[u8], address: impl Fn(&[u8]) -> Option<IpAddr>) -> Option<(IpAddr, IpAddr)> {
    let (first, second) = octets.split_at_checked(octets.len() / 2)?;
    Some((address(first)?, address(second)?))
}

/// RFC 2407 §4.6.2.3: "the name MUST NOT contain any terminators (e.g., NULL, CR, etc.)".
fn name(octets: &[u8]) -> Option<&str> {
    let name = core::str::from_utf8(octets).ok()?;
    (!name.contains(char::is_control)).then_some(name)
}

fn subnet<'a>((address, mask): (IpAddr, IpAddr)) -> Option<Identity<'a>> {
    let (bits, ones) = match mask {
        IpAddr::V4(mask) => (mask.to_bits().count_ones(), mask.to_bits().leading_ones()),
        IpAddr::V6(mask) => (mask.to_bits().count_ones(), mask.to_bits().leading_ones()),
    };
    let prefix_len = u8::try_from(ones).ok().filter(|_| bits == ones)?;
    Some(Identity::Subnet(ends(address, prefix_len).0, prefix_len))
}

fn range<'a>((first, last): (IpAddr, IpAddr)) -> Option<Identity<'a>> {
    (first <= last).then_some(Identity::Range(first, last))
}

/// Ones for the prefix, zeros behind it.
fn mask(like: IpAddr, prefix_len: u8) -> IpAddr {
    let host_bits = |width: u8| u32::from(width.saturating_sub(prefix_len));
    match like {
        IpAddr::V4(_) => {
            let mask = u32::MAX.checked_shl(host_bits(32)).unwrap_or_default();
            Ipv4Addr::from_bits(mask).into()
        }
        IpAddr::V6(_) => {
            let mask = u128::MAX.checked_shl(host_bits(128)).unwrap_or_default();
            Ipv6Addr::from_bits(mask).into()
        }
    }
}

fn ends(address: IpAddr, prefix_len: u8) -> (IpAddr, IpAddr) {
    match (address, mask(address, prefix_len)) {
        (IpAddr::V4(address), IpAddr::V4(mask)) => {
            let (address, mask) = (address.to_bits(), mask.to_bits());
            (
                Ipv4Addr::from_bits(address & mask).into(),
                Ipv4Addr::from_bits(address | !mask).into(),
            )
        }
        (IpAddr::V6(address), IpAddr::V6(mask)) => {
            let (address, mask) = (address.to_bits(), mask.to_bits());
            (
                Ipv6Addr::from_bits(address & mask).into(),
                Ipv6Addr::from_bits(address | !mask).into(),
            )
        }
        // A mask is of the family of its address.
        (address, _) => (address, address),
    }
}

fn write_address(address: IpAddr, w: &mut Writer<'_>) {
    match address {
        IpAddr::V4(address) => w.bytes(&address.octets()),
        IpAddr::V6(address) => w.bytes(&address.octets()),
    }
}

#[cfg(test)]
mod tests {
    use alloc::{string::ToString, vec::Vec};

    use super::*;
    use crate::Reader;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn read(kind: IdType, data: &[u8]) -> Option<Identity<'_>> {
        Identity::read(&Id { kind, protocol: 0, port: 0, data }).ok()
    }

    #[test]
    fn all_eleven_types_are_written_as_they_are_read() {
        let all = [
            Identity::Address(address("192.0.2.1")),
            Identity::Fqdn("gw.example.org"),
            Identity::UserFqdn("carol@example.org"),
            Identity::Subnet(address("10.1.0.0"), 16),
            Identity::Address(address("2001:db8::1")),
            Identity::Subnet(address("2001:db8::"), 33),
            Identity::Range(address("10.0.0.1"), address("10.0.0.9")),
            Identity::Range(address("2001:db8::1"), address("2001:db8::9")),
            Identity::DerName(&[0x30, 0]),
            Identity::DerGeneralName(&[0x82, 0]),
            Identity::KeyId(b"group 1"),
        ];
        for (kind, identity) in (1..).zip(all) {
            let mut body = Vec::new();
            identity.write(17, 500, &mut Writer(&mut body));
            let id = Id::read(&mut Reader(&body)).unwrap();
            assert_eq!((id.kind, id.protocol, id.port), (IdType(kind), 17, 500));
            assert_eq!(Identity::read(&id), Ok(identity));
            assert!(id.kind.to_string().starts_with("ID_"));
        }
    }

    #[test]
    fn addresses_are_ranges() {
        let net = Identity::Subnet(address("10.1.2.0"), 23);
        assert_eq!(net.addresses(), Some((address("10.1.2.0"), address("10.1.3.255"))));
        let all = read(IdType::IPV4_ADDR_SUBNET, &[10, 9, 8, 7, 0, 0, 0, 0]).unwrap();
        assert_eq!(all, Identity::Subnet(address("0.0.0.0"), 0));
        assert_eq!(all.addresses(), Some((address("0.0.0.0"), address("255.255.255.255"))));
        let six = Identity::Subnet(address("2001:db8::"), 64).addresses().unwrap();
        assert_eq!(six.1, address("2001:db8::ffff:ffff:ffff:ffff"));
        assert_eq!(Identity::KeyId(&[1]).addresses(), None);
    }

    #[test]
    fn what_is_no_identity_is_refused() {
        assert_eq!(read(IdType::IPV4_ADDR_SUBNET, &[10, 0, 0, 0, 255, 0, 255, 0]), None);
        assert_eq!(read(IdType::IPV4_ADDR_RANGE, &[10, 0, 0, 2, 10, 0, 0, 1]), None);
        assert_eq!(read(IdType::FQDN, b"gw\0.example.org"), None);
        assert_eq!(read(IdType::USER_FQDN, b"carol\r\n@example.org"), None);
        assert_eq!(read(IdType::FQDN, &[0xff]), None);
        assert_eq!(read(IdType(12), &[1]), None);
        assert_eq!(read(IdType::IPV4_ADDR, &[1, 2, 3]), None);
    }

    //= https://www.rfc-editor.org/rfc/rfc2407#section-4.6.2
    //= type=test
    //# During Phase I negotiations, the ID port and protocol fields MUST be
    //# set to zero or to UDP port 500.
    #[test]
    fn phase_1_has_no_ports_but_those_of_ike() {
        let check = |protocol, port| {
            Identity::check_phase1(&Id { kind: IdType::FQDN, protocol, port, data: b"a" })
        };
        assert_eq!(check(0, 0), Ok(()));
        assert_eq!(check(17, 500), Ok(()));
        assert_eq!(check(17, 4500), Ok(()));
        for (protocol, port) in [(0, 500), (6, 500), (17, 501), (17, 1701)] {
            let refused = check(protocol, port).map_err(|error| error.notify);
            assert_eq!(refused, Err(NotifyType::INVALID_ID_INFORMATION));
        }
    }
}
