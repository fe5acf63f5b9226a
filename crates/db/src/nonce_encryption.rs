//! How peers of IKEv1 prove who they are by decrypting (RFC 2409 §5.2, §5.3).

/// What is encrypted to the key of the other end, and what comes of it.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum NonceEncryption {
    /// Nonce and identity each to the peer's RSA key, beside a key exchange in clear (RFC 2409 §5.2).
    Plain,
    /// The nonce to the peer's RSA key, and all else under a key made of the nonce (RFC 2409 §5.3).
    Revised,
    /// The same without a key exchange: nothing but the nonces is secret
    /// (draft-ietf-ipsec-dhless-enc-mode-00).
    DhLess,
}

impl NonceEncryption {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Plain, Self::Revised, Self::DhLess];

    /// The word of the configuration.
    pub fn word(self) -> &'static str {
        match self {
            Self::Plain => "rsa-encryption",
            Self::Revised => "revised-rsa-encryption",
            Self::DhLess => "dhless",
        }
    }

    /// Whether a key exchange keeps what was sent secret from who gets the private keys later.
    pub fn has_key_exchange(self) -> bool {
        self != Self::DhLess
    }
}
