//! Which payloads the messages of phase 1 have (RFC 2409 §5): a table for each exchange and each way to
//! prove oneself. Who sends a message writes what its row says in that order, who gets one wants what
//! must be there, in whichever order.

use adit_db::{Aggressive, BaseMode, Connection};
use adit_wire::iana::ExchangeType as AnyExchangeType;
use adit_wire::iana::isakmp::ExchangeType;

use crate::keymat::Role;

use super::super::method::{Base, Method};
use super::super::received::Received;

/// An exchange that makes a phase 1.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Exchange {
    /// Main mode: six messages, which hide who the ends are.
    Main,
    /// Aggressive mode: three, which do not.
    Aggressive,
    /// Base mode: four, which do not, and in which the initiator is the first to prove itself
    /// (draft-ietf-ipsec-ike-base-mode-02).
    Base,
}

impl Exchange {
    /// The exchange of a message of phase 1.
    pub(crate) fn from_type(number: ExchangeType) -> Option<Self> {
        match number {
            ExchangeType::IDENTITY_PROTECTION => Some(Self::Main),
            ExchangeType::AGGRESSIVE => Some(Self::Aggressive),
            ExchangeType::BASE => Some(Self::Base),
            _ => None,
        }
    }

    /// Its number.
    pub(crate) fn exchange_type(self) -> ExchangeType {
        match self {
            Self::Main => ExchangeType::IDENTITY_PROTECTION,
            Self::Aggressive => ExchangeType::AGGRESSIVE,
            // Section 3: "The XCHG for Base Mode is ISAKMP Base."
            Self::Base => ExchangeType::BASE,
        }
    }

    /// The same, as reports name it.
    pub(crate) fn named(self) -> AnyExchangeType {
        AnyExchangeType(self.exchange_type().0)
    }

    /// The number of the last message, counted from 1.
    pub(crate) fn last(self) -> u8 {
        match self {
            Self::Main => 6,
            Self::Aggressive => 3,
            Self::Base => 4,
        }
    }

    /// The one that we begin a connection with.
    pub(crate) fn first_of(connection: &Connection) -> Self {
        match (connection.base_mode, connection.aggressive) {
            (BaseMode::Initiate, _) => Self::Base,
            (_, Aggressive::Initiate) => Self::Aggressive,
            _ => Self::Main,
        }
    }

    /// Whether a peer may begin a connection with it.
    pub(crate) fn is_for(self, connection: &Connection) -> bool {
        match self {
            Self::Main => true,
            Self::Aggressive => connection.aggressive != Aggressive::Refuse,
            Self::Base => connection.base_mode != BaseMode::Refuse,
        }
    }

    /// Who sends a message.
    pub(crate) fn sender(number: u8) -> Role {
        match number % 2 {
            1 => Role::Initiator,
            _ => Role::Responder,
        }
    }
}

/// What a message says in one place.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Part {
    /// The proposals, or the one that is chosen.
    Sa,
    /// The public value of the key exchange.
    KeyExchange,
    Nonce,
    /// Who the sender is.
    Id,
    /// HASH_I, HASH_R, SIG_I or SIG_R, as the method says.
    Proof,
    /// What shows whose the key of a signature is.
    Certificates,
    /// Which certificates the sender trusts.
    CertificateRequests,
    /// INITIAL-CONTACT (RFC 2407 §4.6.3.3).
    InitialContact,
    VendorIds,
    /// NAT-D (RFC 3947 §3.2).
    NatHashes,
}

/// Whether a message is encrypted.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Seal {
    /// In clear.
    Clear,
    /// Encrypted.
    Sealed,
    /// Encrypted by us; both ways by others (RFC 2409 §5: the last message of aggressive mode "MAY NOT
    /// be sent under protection of the ISAKMP SA").
    Either,
}

/// What a message is made of.
#[derive(Debug)]
pub(crate) struct Rule {
    /// In the order of sending; whether a message without it is none.
    pub(crate) parts: &'static [(Part, bool)],
    pub(crate) seal: Seal,
}

impl Rule {
    /// The rule of a message. `None` if there is none of that number, or for a method with which nobody
    /// here has a phase 1.
    pub(crate) fn of(exchange: Exchange, method: Method, number: u8) -> Option<&'static Self> {
        let table: &[Self] = match (exchange, method.base) {
            (Exchange::Main, Base::PreSharedKey | Base::Signature(_)) => &MAIN,
            (Exchange::Aggressive, Base::PreSharedKey | Base::Signature(_)) => &AGGRESSIVE,
            (Exchange::Base, Base::PreSharedKey | Base::Signature(_)) => &BASE,
            (_, Base::RsaEncryption | Base::RevisedRsaEncryption | Base::Dhless) => return None,
        };
        table.get(usize::from(number).checked_sub(1)?)
    }

    /// Whether a message has this part.
    pub(crate) fn has(&self, part: Part) -> bool {
        self.parts.iter().any(|(own, _)| *own == part)
    }

    /// Whether everything is there that must be. Nonces are of 8 to 256 octets (RFC 2409 §5).
    pub(crate) fn is_met_by(&self, received: &Received<'_>) -> bool {
        let is_there = |part| match part {
            Part::Sa => received.sa.is_some(),
            Part::KeyExchange => received.key_exchange.is_some_and(|public| !public.is_empty()),
            Part::Nonce => received.nonce.is_some_and(|nonce| NONCE_OCTETS.contains(&nonce.len())),
            Part::Id => received.ids.len() == 1,
            Part::Proof => received.hash.is_some() || received.signature.is_some(),
            Part::Certificates
            | Part::CertificateRequests
            | Part::InitialContact
            | Part::VendorIds
            | Part::NatHashes => true,
        };
        self.parts.iter().all(|(part, is_needed)| !is_needed || is_there(*part))
    }
}

/// Shortest and longest nonce (RFC 2409 §5).
const NONCE_OCTETS: std::ops::RangeInclusive<usize> = 8..=256;

const fn must(part: Part) -> (Part, bool) {
    (part, true)
}

/// What stands there if the sender has some: certificates only where somebody signs.
const fn may(part: Part) -> (Part, bool) {
    (part, false)
}

const fn clear(parts: &'static [(Part, bool)]) -> Rule {
    Rule { parts, seal: Seal::Clear }
}

const fn sealed(parts: &'static [(Part, bool)]) -> Rule {
    Rule { parts, seal: Seal::Sealed }
}

/// RFC 2409 §5.1 and §5.4 with identity protection:
///
/// ```text
/// initiator                                responder
/// HDR, SA                          ->
///                                  <-      HDR, SA
/// HDR, KE, Ni                      ->
///                                  <-      HDR, KE, Nr
/// HDR*, IDii, [CERT,] HASH_I | SIG_I  ->
///                                  <-      HDR*, IDir, [CERT,] HASH_R | SIG_R
/// ```
const MAIN: [Rule; 6] = {
    use Part::{
        CertificateRequests, Certificates, Id, InitialContact, KeyExchange, NatHashes, Nonce,
        Proof, Sa, VendorIds,
    };
    const KEYS: &[(Part, bool)] =
        &[must(KeyExchange), must(Nonce), may(CertificateRequests), may(NatHashes)];
    [
        clear(&[must(Sa), may(VendorIds)]),
        clear(&[must(Sa), may(VendorIds)]),
        clear(KEYS),
        clear(KEYS),
        sealed(&[must(Id), may(Certificates), must(Proof), may(InitialContact)]),
        sealed(&[must(Id), may(Certificates), must(Proof)]),
    ]
};

/// RFC 2409 §5.1 and §5.4 without it, with the NAT traversal of RFC 3947 §3.2:
///
/// ```text
/// initiator                                responder
/// HDR, SA, KE, Ni, IDii            ->
///                                  <-      HDR, SA, KE, Nr, IDir, [CERT,] HASH_R | SIG_R
/// HDR*, [CERT,] HASH_I | SIG_I     ->
/// ```
const AGGRESSIVE: [Rule; 3] = {
    use Part::{
        CertificateRequests, Certificates, Id, InitialContact, KeyExchange, NatHashes, Nonce,
        Proof, Sa, VendorIds,
    };
    [
        clear(&[
            must(Sa),
            must(KeyExchange),
            must(Nonce),
            must(Id),
            may(CertificateRequests),
            may(VendorIds),
        ]),
        clear(&[
            must(Sa),
            must(KeyExchange),
            must(Nonce),
            must(Id),
            may(Certificates),
            may(CertificateRequests),
            must(Proof),
            may(VendorIds),
            may(NatHashes),
        ]),
        Rule {
            parts: &[may(Certificates), must(Proof), may(NatHashes), may(InitialContact)],
            seal: Seal::Either,
        },
    ]
};

/// draft-ietf-ipsec-ike-base-mode-02 §3.1 and §3.4. Of NATs nobody has said how it passes them.
///
/// ```text
/// initiator                                responder
/// HDR, SA, IDii, Ni                ->
///                                  <-      HDR, SA, IDir, Nr
/// HDR, KE, [CERT,] HASH_I | SIG_I  ->
///                                  <-      HDR, KE, [CERT,] HASH_R | SIG_R
/// ```
const BASE: [Rule; 4] = {
    use Part::{
        CertificateRequests, Certificates, Id, InitialContact, KeyExchange, Nonce, Proof, Sa,
        VendorIds,
    };
    const NAMES: &[(Part, bool)] =
        &[must(Sa), must(Id), must(Nonce), may(CertificateRequests), may(VendorIds)];
    [
        clear(NAMES),
        clear(NAMES),
        clear(&[must(KeyExchange), may(Certificates), must(Proof), may(InitialContact)]),
        clear(&[must(KeyExchange), may(Certificates), must(Proof)]),
    ]
};

#[cfg(test)]
mod tests {
    use super::*;

    /// CHECKLIST T01, T06: how many messages there are, who sends them, and which are encrypted.
    #[test]
    fn every_message_has_a_row() {
        for (exchange, sealed) in
            [(Exchange::Main, 5), (Exchange::Aggressive, 3), (Exchange::Base, 5)]
        {
            for number in 1..=exchange.last() {
                let rule = Rule::of(exchange, Method::PRE_SHARED_KEY, number).unwrap();
                assert_eq!(rule.seal == Seal::Clear, number < sealed, "{exchange:?} {number}");
            }
            let after = exchange.last() + 1;
            assert!(Rule::of(exchange, Method::PRE_SHARED_KEY, after).is_none());
            assert!(Rule::of(exchange, Method::PRE_SHARED_KEY, 0).is_none());
            assert_eq!(Exchange::from_type(exchange.exchange_type()), Some(exchange));
        }
        assert_eq!(Exchange::sender(1), Role::Initiator);
        assert_eq!(Exchange::sender(6), Role::Responder);
    }
}
