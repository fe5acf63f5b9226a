//! What a child SA does to its packets: ESP with a suite (RFC 4303), or AH (RFC 4302).

use core::fmt;

use adit_wire::iana::ProtocolId;

use super::{Authentication, Cipher};

/// The algorithms of a child SA.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Protection {
    /// ESP.
    Esp(Cipher),
    /// AH: authentic and readable.
    Ah(Authentication),
}

impl Protection {
    /// The protocol, as IKE names it.
    pub const fn protocol(self) -> ProtocolId {
        match self {
            Self::Esp(_) => ProtocolId::ESP,
            Self::Ah(_) => ProtocolId::AH,
        }
    }

    /// Octets of encryption key material; none with AH.
    pub const fn encryption_key_len(self) -> usize {
        match self {
            Self::Esp(cipher) => cipher.encryption_key_len(),
            Self::Ah(_) => 0,
        }
    }

    /// Octets of integrity key.
    pub const fn integrity_key_len(self) -> usize {
        match self {
            Self::Esp(cipher) => cipher.integrity_key_len(),
            Self::Ah(authentication) => authentication.key_len(),
        }
    }

    /// Octets after which a key should be replaced, whatever the configuration says.
    pub const fn octets_soft(self) -> Option<u64> {
        match self {
            Self::Esp(cipher) => cipher.octets_soft(),
            Self::Ah(authentication) => authentication.octets_soft(),
        }
    }

    /// Octets after which a key must not be used, whatever the configuration says.
    pub const fn octets_hard(self) -> Option<u64> {
        match self {
            Self::Esp(cipher) => cipher.octets_hard(),
            Self::Ah(_) => None,
        }
    }
}

impl From<Cipher> for Protection {
    fn from(cipher: Cipher) -> Self {
        Self::Esp(cipher)
    }
}

impl From<Authentication> for Protection {
    fn from(authentication: Authentication) -> Self {
        Self::Ah(authentication)
    }
}

impl fmt::Display for Protection {
    /// Writes the words of swanctl's proposals.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Esp(cipher) => cipher.fmt(f),
            Self::Ah(authentication) => authentication.fmt(f),
        }
    }
}
