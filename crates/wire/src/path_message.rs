//! What two Adits tell each other about the path between them, inside an SA: probes of its MTU
//! (RFC 8899 §4.1), their answers, and the largest fragment that came.
//!
//! It travels as a dummy packet (RFC 4303 §2.6), whose next header is 59: everybody else drops it.
//!
//! ```text
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |                          "ADITPATH"                           |
//! |                                                               |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |     Kind      |   Reserved    |       Largest Fragment        |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |                             Nonce                             |
//! |                                                               |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! ~                 zeros, which make it as long as it is to be   ~
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! ```

use crate::{Reader, WireError, Writer};

/// One message.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum PathMessage {
    /// Kind 1: asks for an answer.
    Probe {
        /// Tells it from others.
        nonce: u64,
    },
    /// Kind 2: the probe with this nonce came.
    Answer {
        /// That of the probe.
        nonce: u64,
    },
    /// Kind 3: outer packets come in fragments.
    Report {
        /// Octets of the largest of them.
        largest_fragment: u16,
    },
}

impl PathMessage {
    /// Octets of a message without zeros behind it.
    pub const LEN: usize = 20;

    /// Reads what a dummy packet carries; `r` is empty then, for what follows means nothing.
    ///
    /// # Errors
    ///
    /// - [`WireError::Truncated`]: it is shorter than a message.
    /// - [`WireError::BadValue`]: it is a dummy like others, or a kind that came later.
    pub fn read(r: &mut Reader<'_>) -> Result<Self, WireError> {
        let truncated = |error: WireError| error.within("path message");
        let mark: [u8; 8] = r.array().map_err(truncated)?;
        let [kind, _reserved, f0, f1] = r.array().map_err(truncated)?;
        let nonce = r.u64().map_err(truncated)?;
        if mark != MARK {
            return Err(WireError::BadValue("path message", 0));
        }
        let largest_fragment = u16::from_be_bytes([f0, f1]);
        r.rest();
        match kind {
            PROBE => Ok(Self::Probe { nonce }),
            ANSWER => Ok(Self::Answer { nonce }),
            REPORT => Ok(Self::Report { largest_fragment }),
            other => Err(WireError::BadValue("path message kind", other.into())),
        }
    }

    /// Its octets.
    #[must_use]
    pub const fn to_octets(self) -> [u8; Self::LEN] {
        let (kind, largest, nonce) = match self {
            Self::Probe { nonce } => (PROBE, 0, nonce),
            Self::Answer { nonce } => (ANSWER, 0, nonce),
            Self::Report { largest_fragment } => (REPORT, largest_fragment, 0),
        };
        let [a, d, i, t, p, b, s, h] = MARK;
        let [f0, f1] = largest.to_be_bytes();
        let [n0, n1, n2, n3, n4, n5, n6, n7] = nonce.to_be_bytes();
        [a, d, i, t, p, b, s, h, kind, 0, f0, f1, n0, n1, n2, n3, n4, n5, n6, n7]
    }

    /// Appends it; the exact inverse of [`Self::read`].
    pub fn write(&self, w: &mut Writer<'_>) {
        w.bytes(&self.to_octets());
    }
}

const MARK: [u8; 8] = *b"ADITPATH";
const PROBE: u8 = 1;
const ANSWER: u8 = 2;
const REPORT: u8 = 3;

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::*;

    #[test]
    fn messages_round_trip() {
        let nonce = 0x0102_0304_0506_0708;
        for message in [
            PathMessage::Probe { nonce },
            PathMessage::Answer { nonce },
            PathMessage::Report { largest_fragment: 1_280 },
        ] {
            let mut octets = Vec::new();
            message.write(&mut Writer(&mut octets));
            assert_eq!(octets.len(), PathMessage::LEN);
            octets.resize(1_400, 0);
            let mut r = Reader(&octets);
            assert_eq!(PathMessage::read(&mut r), Ok(message));
            assert!(r.is_empty());
        }
    }

    #[test]
    fn other_dummies_are_no_messages() {
        let octets = PathMessage::Probe { nonce: 7 }.to_octets();
        for len in 0..PathMessage::LEN {
            let truncated = WireError::Truncated("path message");
            let read = PathMessage::read(&mut Reader(&octets[..len]));
            assert_eq!(read, Err(truncated), "{len}");
        }
        assert!(PathMessage::read(&mut Reader(&[0; 64])).is_err());
        let mut unknown = octets;
        unknown[8] = 4;
        let later = WireError::BadValue("path message kind", 4);
        assert_eq!(PathMessage::read(&mut Reader(&unknown)), Err(later));
    }
}
