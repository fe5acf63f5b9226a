//! `esp` and `ah` beside each other: a bundle, AH around ESP (RFC 2401 §4.3), which IKEv1 alone negotiates.

use std::ops::Range;

use adit_db::{ChildConfig, Connection, Encap, IkeVersion, ProposalSpec};
use adit_wire::iana::doi::AuthAlgorithm;
use adit_wire::iana::{IntegrityId, KeyExchangeId, ProtocolId, TransformType};

use crate::config::fields::Fields;
use crate::config::report::Mistake;

/// What the two lists are together.
pub(super) enum Lists {
    /// One protocol: the other's list has no place.
    One,
    /// A bundle; where the list of AH stands.
    Both(Range<usize>),
    /// A bundle, and said that there is none.
    Refused,
}

/// Whether a bundle is asked for, and can be.
pub(super) fn asked_for(
    fields: &mut Fields<'_>,
    protocol: ProtocolId,
    version: IkeVersion,
) -> Lists {
    let both = (fields.key_span("esp"), fields.key_span("ah"));
    let (Some(esp), Some(ah)) = both else { return Lists::One };
    match (protocol, version) {
        (ProtocolId::AH, _) => Lists::One,
        (_, IkeVersion::V1) => Lists::Both(ah),
        (_, IkeVersion::V2) => {
            fields.mistake(
                Mistake::new(ah, "`ah` beside `esp` is a bundle, and IKEv2 has none")
                    .label("AH around ESP")
                    .note(esp, "what it is around")
                    .help("keep one of the two; only a tunnel with ike = 1 can have both"),
            );
            Lists::Refused
        }
    }
}

/// Takes the list of AH, where that goes around ESP.
pub(super) fn settle(
    fields: &mut Fields<'_>,
    span: Range<usize>,
    ah: Vec<ProposalSpec>,
    connection: &Connection,
    child: &mut ChildConfig,
) {
    if connection.encap == Encap::Udp {
        fields.mistake(
            Mistake::new(span.clone(), "AH cannot travel in UDP")
                .label("around ESP, and encap = \"udp\" puts that in UDP")
                .help("leave `ah` or `encap` out"),
        );
    }
    if ah.iter().any(has_key_exchange) {
        fields.mistake(
            Mistake::new(span.clone(), "a bundle has one key exchange for both")
                .label("names one of its own")
                .help("name it in `esp`: esp = \"aes256-sha256-modp2048\", ah = \"sha256\""),
        );
    }
    // What could not be understood has been said.
    if !ah.is_empty() && !ah.iter().any(is_of_phase_2) {
        fields.mistake(
            Mistake::new(span, "IKEv1 has numbers for none of the algorithms of `ah`")
                .label("IKEv1")
                .help("ah = \"sha256\""),
        );
    }
    child.outer_ah = ah;
}

/// Whether a proposal names a key exchange.
pub(crate) fn has_key_exchange(spec: &ProposalSpec) -> bool {
    spec.of_kind(TransformType::KE).any(|one| one.id != KeyExchangeId::NONE.0)
}

/// Whether IKEv1 has numbers for an algorithm of this proposal of AH.
pub(crate) fn is_of_phase_2(spec: &ProposalSpec) -> bool {
    let number = |id| AuthAlgorithm::from_integrity(IntegrityId(id))?.ah_transform();
    spec.of_kind(TransformType::INTEG).any(|one| number(one.id).is_some())
}
