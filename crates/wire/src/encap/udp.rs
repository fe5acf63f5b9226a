//! IKE and ESP in one UDP port, RFC 3948 §2.

/// Four zero octets before an IKE message, where ESP has its SPI (RFC 3948 §2.2).
pub const NON_ESP_MARKER: [u8; 4] = [0; 4];

/// Payload of a NAT keepalive (RFC 3948 §2.3).
pub const KEEPALIVE: [u8; 1] = [0xff];

/// Payload of one datagram on the port that ESP shares, 4500 as a rule.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Encapsulated<'a> {
    /// Keeps a NAT mapping alive and means nothing else.
    Keepalive,
    /// An IKE message, its marker taken off; perhaps empty.
    Ike(&'a [u8]),
    /// An ESP packet from its SPI on, at least eight octets.
    Esp(&'a [u8]),
    /// Nothing of these.
    TooShort,
}

/// Tells what a datagram's payload is.
///
/// ```
/// use adit_wire::encap::udp::{Encapsulated, classify};
///
/// assert_eq!(classify(&[0xff]), Encapsulated::Keepalive);
/// assert_eq!(classify(&[0, 0, 0, 0, 7]), Encapsulated::Ike(&[7]));
/// ```
#[must_use]
pub fn classify(datagram: &[u8]) -> Encapsulated<'_> {
    if datagram == KEEPALIVE {
        return Encapsulated::Keepalive;
    }
    match datagram.strip_prefix(NON_ESP_MARKER.as_slice()) {
        Some(message) => Encapsulated::Ike(message),
        None if datagram.len() >= ESP_LEN_MIN => Encapsulated::Esp(datagram),
        None => Encapsulated::TooShort,
    }
}

/// SPI and sequence number.
const ESP_LEN_MIN: usize = 8;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// CHECKLIST D18.
    #[test]
    fn short_datagrams_are_told_apart() {
        assert_eq!(classify(&[]), Encapsulated::TooShort);
        assert_eq!(classify(&[0]), Encapsulated::TooShort);
        assert_eq!(classify(&[0xff]), Encapsulated::Keepalive);
        assert_eq!(classify(&[0xff, 0xff]), Encapsulated::TooShort);
        assert_eq!(classify(&[0, 0, 0]), Encapsulated::TooShort);
        assert_eq!(classify(&[0, 0, 0, 0]), Encapsulated::Ike(&[]));
        assert_eq!(classify(&[0, 0, 0, 1]), Encapsulated::TooShort);
        assert_eq!(classify(&[0, 0, 1, 0, 0, 0, 1]), Encapsulated::TooShort);
    }

    //= https://www.rfc-editor.org/rfc/rfc3948#section-2.1
    //= type=test
    //# The SPI field in the ESP header MUST NOT be a zero value.
    #[test]
    fn a_zero_where_the_spi_is_means_ike() {
        let ike = [0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8];
        let esp = [0, 0, 1, 0, 0, 0, 0, 1, 9];
        assert_eq!(classify(&ike), Encapsulated::Ike(&ike[4..]));
        assert_eq!(classify(&esp), Encapsulated::Esp(&esp));
    }

    proptest! {
        /// A marker before any message is taken off again.
        #[test]
        fn a_marked_message_is_found(message in prop::collection::vec(any::<u8>(), 0..64)) {
            let datagram = [NON_ESP_MARKER.as_slice(), &message].concat();
            prop_assert_eq!(classify(&datagram), Encapsulated::Ike(&message));
        }
    }
}
