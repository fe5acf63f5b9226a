//! Authentication payload, RFC 7296 §3.8.

use crate::{Reader, WireError, Writer, iana::AuthMethod};

/// Authentication payload body, RFC 7296 §3.8.
///
/// ```text
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// | Auth Method   |                RESERVED                       |
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// ~                      Authentication Data                      ~
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// ```
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Auth<'a> {
    /// How the sender proves its identity.
    pub method: AuthMethod,
    /// The proof.
    pub data: &'a [u8],
}

impl<'a> Auth<'a> {
    /// Reads one body; `r` holds exactly the payload without its generic header.
    ///
    /// # Errors
    ///
    /// [`WireError::Truncated`].
    pub fn read(r: &mut Reader<'a>) -> Result<Self, WireError> {
        let method = AuthMethod(r.u8()?);
        let _reserved: [u8; 3] = r.array()?;
        Ok(Self { method, data: r.rest() })
    }

    /// Appends the body; the exact inverse of [`Auth::read`].
    pub fn write(&self, w: &mut Writer<'_>) {
        w.u8(self.method.0);
        w.bytes(&[0; 3]);
        w.bytes(self.data);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        iana::PayloadType,
        ikev2::{
            Payload,
            testing::{fixed, prefixes_fail, read, round_trip},
        },
    };

    #[test]
    fn a_known_body_is_read_and_written() {
        let body = [2, 0, 0, 0, 1, 2, 3];
        assert_eq!(
            fixed(PayloadType::AUTH, &body),
            Payload::Auth(Auth { method: AuthMethod::SHARED_KEY, data: &[1, 2, 3] })
        );
        prefixes_fail(PayloadType::AUTH, &body, 4);
    }

    /// CHECKLIST D05.
    #[test]
    fn reserved_bits_are_ignored() {
        assert_eq!(
            read(PayloadType::AUTH, &[2, 1, 2, 3, 9]),
            read(PayloadType::AUTH, &[2, 0, 0, 0, 9])
        );
    }

    proptest! {
        #[test]
        fn auth_round_trips(method: u8, data in prop::collection::vec(any::<u8>(), 0..600)) {
            round_trip(&Payload::Auth(Auth { method: AuthMethod(method), data: &data }));
        }
    }
}
