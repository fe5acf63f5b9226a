//! Whether a packet that is refused for its security is answered by ICMP (RFC 2521).

use std::fmt;

/// Who is told, by an ICMP security failure, type 40. IPv6 has no such message.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum SecurityFailures {
    /// Nobody.
    #[default]
    Off,
    /// Hosts behind the peer, whose packets came out of an SA and are discarded by a policy.
    Inside,
    /// The peer, too, in clear: whose packets have an SPI that no SA has, or cannot be authenticated,
    /// decrypted or decompressed. And who sends in clear what the tunnel protects.
    All,
}

impl SecurityFailures {
    /// All, with their words.
    pub const WORDS: [(&str, Self); 3] =
        [("off", Self::Off), ("inside", Self::Inside), ("all", Self::All)];

    /// Its word in the configuration.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Inside => "inside",
            Self::All => "all",
        }
    }
}

impl fmt::Display for SecurityFailures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}
