//! Data of the notifies REDIRECT and REDIRECTED_FROM, RFC 5685 §9.2, §9.3.

use crate::{Reader, WireError, Writer};

/// A gateway as RFC 5685 §9.2 names it.
///
/// ```text
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// | GW Ident Type |  GW Ident Len |                               |
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+                               ~
/// ~                   New Responder GW Identity                   ~
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// ```
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum GatewayId<'a> {
    /// Its IPv4 address.
    V4([u8; 4]),
    /// Its IPv6 address.
    V6([u8; 16]),
    /// Its host name, not looked into.
    Fqdn(&'a [u8]),
}

impl<'a> GatewayId<'a> {
    /// Reads one from the front of the notification data.
    ///
    /// # Errors
    ///
    /// [`WireError::Truncated`]; [`WireError::BadValue`] for a type that RFC 5685 does not know, and
    /// for a length that is not that of the type.
    pub fn read(r: &mut Reader<'a>) -> Result<Self, WireError> {
        let kind = r.u8()?;
        let len = r.u8()?;
        match (kind, len) {
            (IPV4, 4) => r.array().map(Self::V4),
            (IPV6, 16) => r.array().map(Self::V6),
            (FQDN, 1..) => r.bytes(len.into()).map(Self::Fqdn),
            (IPV4 | IPV6 | FQDN, _) => Err(WireError::BadValue("Redirect.ident_len", len.into())),
            _ => Err(WireError::BadValue("Redirect.ident_type", kind.into())),
        }
    }

    /// Appends it; the exact inverse of [`GatewayId::read`]. A name has at most 255 octets.
    pub fn write(&self, w: &mut Writer<'_>) {
        let (kind, octets) = match self {
            Self::V4(address) => (IPV4, address.as_slice()),
            Self::V6(address) => (IPV6, address.as_slice()),
            Self::Fqdn(name) => (FQDN, *name),
        };
        w.u8(kind);
        w.u8(u8::try_from(octets.len()).unwrap_or(u8::MAX));
        w.bytes(octets);
    }
}

const IPV4: u8 = 1;
const IPV6: u8 = 2;
const FQDN: u8 = 3;

/// Data of REDIRECT.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Redirect<'a> {
    /// Where to go.
    pub gateway: GatewayId<'a>,
    /// The nonce of the IKE_SA_INIT request that it answers; empty in protected messages.
    pub nonce: &'a [u8],
}

impl<'a> Redirect<'a> {
    /// Reads notification data; `r` holds exactly that.
    ///
    /// # Errors
    ///
    /// As [`GatewayId::read`].
    pub fn read(r: &mut Reader<'a>) -> Result<Self, WireError> {
        Ok(Self { gateway: GatewayId::read(r)?, nonce: r.rest() })
    }

    /// Appends it; the exact inverse of [`Redirect::read`].
    pub fn write(&self, w: &mut Writer<'_>) {
        self.gateway.write(w);
        w.bytes(self.nonce);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn known_data_is_read() {
        let read = |octets| Redirect::read(&mut Reader(octets));
        let v4 = Redirect { gateway: GatewayId::V4([203, 0, 113, 7]), nonce: &[9; 3] };
        assert_eq!(read(&[1, 4, 203, 0, 113, 7, 9, 9, 9]), Ok(v4));
        let name = Redirect { gateway: GatewayId::Fqdn(b"gw"), nonce: &[] };
        assert_eq!(read(&[3, 2, b'g', b'w']), Ok(name));
        let bad = |field, value| Err(WireError::BadValue(field, value));
        assert_eq!(read(&[1, 5, 203, 0, 113, 7, 9]), bad("Redirect.ident_len", 5));
        assert_eq!(read(&[2, 4, 203, 0, 113, 7]), bad("Redirect.ident_len", 4));
        assert_eq!(read(&[3, 0]), bad("Redirect.ident_len", 0));
        assert_eq!(read(&[4, 2, 1, 1]), bad("Redirect.ident_type", 4));
        for cut in 0..6 {
            assert!(read(&[1, 4, 203, 0, 113, 7][..cut]).is_err(), "{cut}");
        }
    }

    proptest! {
        #[test]
        fn redirect_round_trips(
            kind in 0..3_u8, address: [u8; 16], name in prop::collection::vec(any::<u8>(), 1..256),
            nonce in prop::collection::vec(any::<u8>(), 0..40),
        ) {
            let [a, b, c, d, ..] = address;
            let gateway = match kind {
                0 => GatewayId::V4([a, b, c, d]),
                1 => GatewayId::V6(address),
                _ => GatewayId::Fqdn(&name),
            };
            let sent = Redirect { gateway, nonce: &nonce };
            let mut octets = alloc::vec::Vec::new();
            sent.write(&mut Writer(&mut octets));
            prop_assert_eq!(Redirect::read(&mut Reader(&octets)), Ok(sent));
        }
    }
}
