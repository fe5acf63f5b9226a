//! What goes wrong with nonces that are encrypted (RFC 2409 §5.2, §5.3): E109, E224.

use adit_db::{Identity, IdentityPattern, NonceEncryption};

use super::{Context, Diagnosis, Side};
use crate::codes::Code;

impl Diagnosis {
    /// E109: the peer takes no phase 1 of this method.
    pub fn nonce_encryption_declined(cx: &Context, method: NonceEncryption) -> Self {
        let known = match method {
            NonceEncryption::DhLess => "Adit alone has it",
            NonceEncryption::Plain | NonceEncryption::Revised => "few have it",
        };
        cx.start(Code::E109, format!("the peer declines `auth` = \"{}\"", method.word()))
            .line("we offer", format!("phase 1 by {}; {known}", method.word()))
            .line("saw", "NO-PROPOSAL-CHOSEN")
            .fix("write the same `auth` on both sides, or take certificates or a secret")
            .place(cx.at("auth"))
    }

    /// E224: what one side encrypts the other cannot decrypt.
    pub fn wrong_encryption_key(
        cx: &Context,
        by: Side,
        local: &Identity,
        remote: &IdentityPattern,
    ) -> Self {
        let saw = match by {
            Side::Us => "the peer's proof is none: it has decrypted something else",
            Side::Peer => "the peer could not read our proof, or refused it",
        };
        cx.start(Code::E224, "the RSA keys of the two sides do not fit")
            .line("we are", local.to_string())
            .line("the peer", remote.to_string())
            .line("saw", saw)
            .fix("compare `key` here with `peer_key` there, and the other way round")
            .place(cx.at("peer_key"))
    }
}
