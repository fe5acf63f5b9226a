//! Which static ML-KEM keys an IKE_SA_INIT request is about: the private notify ADIT_STATIC_KEM
//! (docs/dhless.md).

use crate::{Reader, WireError, Writer};

/// The names of both keys, each SHA-256 over a SubjectPublicKeyInfo.
///
/// ```text
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// ~             Name of the Initiator's Key (32 octets)           ~
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// ~             Name of the Responder's Key (32 octets)           ~
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// ```
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct StaticKemNames {
    /// Of the initiator's key.
    pub initiator: [u8; 32],
    /// Of the responder's.
    pub responder: [u8; 32],
}

impl StaticKemNames {
    /// Reads one body; `r` holds exactly the notification data.
    ///
    /// # Errors
    ///
    /// [`WireError`] unless there are 64 octets.
    pub fn read(r: &mut Reader<'_>) -> Result<Self, WireError> {
        let mut name = || {
            let octets = r.bytes(32)?.try_into();
            octets.map_err(|_| WireError::BadValue("ADIT_STATIC_KEM", 0))
        };
        let names = Self { initiator: name()?, responder: name()? };
        r.finish("ADIT_STATIC_KEM")?;
        Ok(names)
    }

    /// Appends the body; the exact inverse of [`StaticKemNames::read`].
    pub fn write(&self, w: &mut Writer<'_>) {
        w.bytes(&self.initiator);
        w.bytes(&self.responder);
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec;
    use alloc::vec::Vec;

    use super::*;

    #[test]
    fn names_of_keys_round_trip_and_have_one_length() {
        let names = StaticKemNames { initiator: [1; 32], responder: [2; 32] };
        let mut data = Vec::new();
        names.write(&mut Writer(&mut data));
        assert_eq!(data.len(), 64);
        assert_eq!(StaticKemNames::read(&mut Reader(&data)), Ok(names));
        for len in (0..64).chain([65, 128]) {
            let octets = vec![1; len];
            assert!(StaticKemNames::read(&mut Reader(&octets)).is_err(), "{len}");
        }
    }
}
