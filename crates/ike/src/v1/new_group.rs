//! New Group mode (RFC 2409 §5.6): a peer asks for a group of its own for key exchanges to come.
//!
//! A group that has a number is taken, if it is one of ours: nothing follows from that, as everybody has it.
//! A private group is refused, whatever it is. That its modulus is a prime, and half of it, would be our
//! work, seconds of it for each that a peer makes up; and a prime can be made so that its maker alone takes
//! logarithms in it. Groups of curves over 2^n (EC2N) are refused like that, and named.

use adit_crypto::KeyExchange;
use adit_wire::iana::doi::{GroupId, Phase1Class, ProtocolId};
use adit_wire::iana::isakmp::{ExchangeType, PayloadType};
use adit_wire::isakmp::{ChainBuilder, Sa};

use crate::failure::FailureReason;

use super::core::Core;
use super::ec2n;
use super::keys::Iv;
use super::received::Received;

/// The answer to an authentic request for a group that has a number: the same SA payload.
///
/// # Errors
///
/// Why the group is refused.
pub(crate) fn answer(
    message_id: u32,
    received: &Received<'_>,
    iv: &Iv,
    core: &Core,
) -> Result<Vec<u8>, FailureReason> {
    let keys = core.keys.as_ref().ok_or(super::core::NO_KEYS)?;
    let sa = received.sa.as_ref().ok_or(NO_GROUP)?;
    check(sa)?;
    let mut covered = ChainBuilder::new();
    covered.push(PayloadType::SA, |w| w.bytes(received.sa_body));
    let hash = keys.hash_1(message_id, covered.octets());
    let mut chain = ChainBuilder::new();
    chain.push(PayloadType::HASH, |w| w.bytes(hash.as_bytes()));
    chain.append(covered).map_err(|_| super::core::TOO_LONG)?;
    core.sealed(ExchangeType::NEW_GROUP_MODE, message_id, chain, &mut iv.clone())
}

fn check(sa: &Sa<'_>) -> Result<(), FailureReason> {
    let [proposal] = sa.proposals.as_slice() else { return Err(NO_GROUP) };
    let [transform] = proposal.transforms.as_slice() else { return Err(NO_GROUP) };
    if proposal.protocol != ProtocolId::ISAKMP {
        return Err(NO_GROUP);
    }
    let value = |class: Phase1Class| {
        let mut found = transform.attributes.iter().filter(|one| one.class == class.0);
        found.next().and_then(|one| one.value.number())
    };
    if ec2n::is_asked_for(transform) {
        return Err(OF_EC2N);
    }
    let number = value(Phase1Class::GROUP_DESCRIPTION).ok_or(PRIVATE)?;
    let group = u16::try_from(number).map(GroupId).map_err(|_| PRIVATE)?;
    let is_alone =
        transform.attributes.iter().all(|one| one.class == Phase1Class::GROUP_DESCRIPTION.0);
    let is_ours = group.key_exchange().and_then(KeyExchange::from_id).is_some();
    if is_alone && is_ours { Ok(()) } else { Err(PRIVATE) }
}

const NO_GROUP: FailureReason =
    FailureReason::PeerMisbehaved("New Group mode that names no group, or several");

const PRIVATE: FailureReason = FailureReason::PeerMisbehaved(
    "New Group mode with a group of its own: only groups that have a number are taken",
);

const OF_EC2N: FailureReason = FailureReason::PeerMisbehaved(
    "New Group mode with an EC2N group, a curve over 2^n: use MODP 14 or an ECP group",
);

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use adit_wire::isakmp::{AttributeList, Proposal, Transform};

    use super::*;

    fn asked(attributes: AttributeList) -> Result<(), FailureReason> {
        let transform = Transform { number: 1, id: 1, attributes: attributes.finish() };
        let proposal = Proposal {
            number: 1,
            protocol: ProtocolId::ISAKMP,
            spi: Cow::Borrowed(&[]),
            transforms: vec![transform],
        };
        check(&Sa { proposals: vec![proposal] })
    }

    /// RFC 2409 §5.6: what has a number is taken, and nothing that a peer makes up; EC2N by its name.
    #[test]
    fn only_groups_with_a_number_are_taken() {
        let list = AttributeList::new;
        for known in [2, 5, 14, 19] {
            assert_eq!(asked(list().basic(4, known)), Ok(()));
        }
        for ec2n in [list().basic(4, 3), list().basic(4, 4), list().basic(4, 32_768).basic(5, 3)] {
            assert_eq!(asked(ec2n), Err(OF_EC2N));
        }
        let private = list().basic(4, 32_768).basic(5, 1).variable(6, &[0xff; 256]).basic(7, 2);
        assert_eq!(asked(private), Err(PRIVATE));
        assert_eq!(asked(list().basic(4, 14).variable(6, &[0xff; 256])), Err(PRIVATE));
        assert_eq!(asked(list().basic(4, 99)), Err(PRIVATE));
        assert_eq!(asked(list().basic(5, 1)), Err(PRIVATE));
        assert_eq!(check(&Sa::default()), Err(NO_GROUP));
    }
}
