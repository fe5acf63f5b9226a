//! The table of RFC 7296 Appendix C: which payloads each form of message must and may have.

use adit_wire::iana::{ExchangeType, NotifyType, PayloadType, ProtocolId};
use adit_wire::ikev2::Header;

use super::{Received, RuleError};

/// A message as the table knows it.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(crate) enum Form {
    /// IKE_SA_INIT request.
    InitRequest,
    /// IKE_SA_INIT response that accepts.
    InitResponse,
    /// IKE_SESSION_RESUME, both ways (RFC 5723 §4.3.2).
    Resume,
    /// IKE_INTERMEDIATE, both ways.
    Intermediate,
    /// IKE_AUTH request.
    AuthRequest,
    /// IKE_AUTH request that asks for no child (RFC 6023 §5).
    AuthRequestWithoutChild,
    /// IKE_AUTH response with a child.
    AuthResponse,
    /// IKE_AUTH response that authenticates and refuses the child (RFC 7296 §1.2), or has none because
    /// none was asked for (RFC 6023 §5): what it is, the state machine knows.
    AuthResponseWithoutChild,
    /// IKE_AUTH response after which IKE_AUTH goes on (RFC 4739).
    AuthRound,
    /// CREATE_CHILD_SA for a child, new or rekeyed, both ways.
    CreateChild,
    /// CREATE_CHILD_SA that rekeys the IKE SA, both ways.
    RekeyIke,
    /// IKE_FOLLOWUP_KE, both ways.
    FollowupKe,
    /// INFORMATIONAL, both ways.
    Informational,
    /// A response that refuses: an error notify, COOKIE or REDIRECT, and nothing that must be there.
    Refusal,
}

/// How often a payload stands in a message.
struct Rule {
    kind: PayloadType,
    at_least: usize,
    at_most: usize,
}

const fn one(kind: PayloadType) -> Rule {
    Rule { kind, at_least: 1, at_most: 1 }
}

const fn maybe(kind: PayloadType) -> Rule {
    Rule { kind, at_least: 0, at_most: 1 }
}

const NEW_IKE_KEYS: &[Rule] =
    &[one(PayloadType::SA), one(PayloadType::KE), one(PayloadType::NONCE)];

const RESUME: &[Rule] = &[one(PayloadType::NONCE)];

const INTERMEDIATE: &[Rule] = &[maybe(PayloadType::KE)];

/// Without AUTH it asks for EAP (RFC 7296 §2.16): for the state machine to refuse, as what is missing
/// in the first of several requests (RFC 4739).
const AUTH_REQUEST: &[Rule] = &[
    maybe(PayloadType::ID_I),
    maybe(PayloadType::ID_R),
    maybe(PayloadType::AUTH),
    maybe(PayloadType::SA),
    maybe(PayloadType::TS_I),
    maybe(PayloadType::TS_R),
    maybe(PayloadType::CP),
];

/// Without IDr and AUTH it ends rounds of authentication that the responder was through with.
const AUTH_RESPONSE: &[Rule] = &[
    maybe(PayloadType::ID_R),
    maybe(PayloadType::AUTH),
    one(PayloadType::SA),
    one(PayloadType::TS_I),
    one(PayloadType::TS_R),
    maybe(PayloadType::CP),
];

/// The child is missing on purpose, or as that of later rounds.
const AUTH_REQUEST_WITHOUT_CHILD: &[Rule] = &[
    maybe(PayloadType::ID_I),
    maybe(PayloadType::ID_R),
    maybe(PayloadType::AUTH),
    maybe(PayloadType::CP),
];

const AUTH_RESPONSE_WITHOUT_CHILD: &[Rule] =
    &[one(PayloadType::ID_R), one(PayloadType::AUTH), maybe(PayloadType::CP)];

const AUTH_ROUND: &[Rule] = &[maybe(PayloadType::ID_R), maybe(PayloadType::AUTH)];

const CREATE_CHILD: &[Rule] = &[
    one(PayloadType::SA),
    one(PayloadType::NONCE),
    maybe(PayloadType::KE),
    one(PayloadType::TS_I),
    one(PayloadType::TS_R),
];

const FOLLOWUP_KE: &[Rule] = &[one(PayloadType::KE)];

const INFORMATIONAL: &[Rule] = &[maybe(PayloadType::CP)];

impl Form {
    /// Payloads with a rule. Notify, Delete, Vendor ID, CERT and CERTREQ may stand as often as a
    /// message has room; every other payload has no place and is skipped.
    const fn rules(self) -> &'static [Rule] {
        match self {
            Self::InitRequest | Self::InitResponse | Self::RekeyIke => NEW_IKE_KEYS,
            Self::Resume => RESUME,
            Self::Intermediate => INTERMEDIATE,
            Self::AuthRequest => AUTH_REQUEST,
            Self::AuthRequestWithoutChild => AUTH_REQUEST_WITHOUT_CHILD,
            Self::AuthResponse => AUTH_RESPONSE,
            Self::AuthResponseWithoutChild => AUTH_RESPONSE_WITHOUT_CHILD,
            Self::AuthRound => AUTH_ROUND,
            Self::CreateChild => CREATE_CHILD,
            Self::FollowupKe => FOLLOWUP_KE,
            Self::Informational => INFORMATIONAL,
            Self::Refusal => &[],
        }
    }

    /// The form of a message by its header and contents.
    pub(super) fn of(header: &Header, received: &Received<'_>) -> Result<Self, RuleError> {
        let response = header.flags.is_response();
        let refused = response && received.error().is_some();
        Ok(match header.exchange {
            ExchangeType::IKE_SA_INIT if !response => Self::InitRequest,
            // RFC 7296 §2.6, RFC 5685 §3: a cookie comes alone, and so does a redirection.
            ExchangeType::IKE_SA_INIT
                if refused || (received.sa.is_none() && comes_alone(received)) =>
            {
                Self::Refusal
            }
            ExchangeType::IKE_SA_INIT => Self::InitResponse,
            ExchangeType::IKE_SESSION_RESUME
                if refused || (response && received.nonce.is_none() && comes_alone(received)) =>
            {
                Self::Refusal
            }
            ExchangeType::IKE_SESSION_RESUME => Self::Resume,
            ExchangeType::IKE_AUTH if !response && has_no_child(received) => {
                Self::AuthRequestWithoutChild
            }
            ExchangeType::IKE_AUTH if !response => Self::AuthRequest,
            // RFC 7296 §1.2: an error about the child stands beside IDr and AUTH.
            ExchangeType::IKE_AUTH if refused && received.auth.is_none() => Self::Refusal,
            ExchangeType::IKE_AUTH if refused && received.sa.is_none() => {
                Self::AuthResponseWithoutChild
            }
            ExchangeType::IKE_AUTH if has_no_child(received) => Self::AuthRound,
            ExchangeType::IKE_AUTH => Self::AuthResponse,
            ExchangeType::IKE_INTERMEDIATE
            | ExchangeType::CREATE_CHILD_SA
            | ExchangeType::IKE_FOLLOWUP_KE
                if refused =>
            {
                Self::Refusal
            }
            ExchangeType::IKE_INTERMEDIATE => Self::Intermediate,
            ExchangeType::CREATE_CHILD_SA if replaces_ike_sa(received) => Self::RekeyIke,
            ExchangeType::CREATE_CHILD_SA => Self::CreateChild,
            ExchangeType::IKE_FOLLOWUP_KE => Self::FollowupKe,
            ExchangeType::INFORMATIONAL => Self::Informational,
            exchange => return Err(RuleError::Exchange(exchange)),
        })
    }
}

fn comes_alone(received: &Received<'_>) -> bool {
    let kinds = [NotifyType::COOKIE, NotifyType::REDIRECT, NotifyType::TICKET_NACK];
    kinds.into_iter().any(|kind| received.has_notify(kind))
}

/// RFC 6023 §5: all three payloads are missing, or none.
fn has_no_child(received: &Received<'_>) -> bool {
    received.sa.is_none() && received.ts_i.is_none() && received.ts_r.is_none()
}

/// RFC 7296 §1.3.2: an SA payload for IKE, and no traffic selectors.
fn replaces_ike_sa(received: &Received<'_>) -> bool {
    let proposals = received.sa.iter().flat_map(|sa| &sa.proposals);
    let mut protocols = proposals.map(|proposal| proposal.protocol);
    match protocols.next() {
        Some(protocol) => protocol == ProtocolId::IKE,
        // Nothing acceptable is left of the proposals.
        None => received.ts_i.is_none() && received.ts_r.is_none(),
    }
}

/// Checks the payloads of a message, given by type, against the rules of its form.
pub(super) fn check(form: Form, kinds: &[PayloadType]) -> Result<(), RuleError> {
    for rule in form.rules() {
        let count = kinds.iter().filter(|kind| **kind == rule.kind).count();
        if count < rule.at_least {
            return Err(RuleError::Missing(rule.kind));
        }
        if count > rule.at_most {
            return Err(RuleError::TooMany(rule.kind));
        }
    }
    Ok(())
}
