//! Groups of curves over 2^n (EC2N, RFC 2409 §6.3 and §6.4, draft-ietf-ipsec-ike-ecc-groups), which nobody here
//! computes: they are refused by their name, so that whoever sees it knows what to change.

use adit_wire::iana::doi::{GroupId, Phase1Class, ProtocolId};
use adit_wire::isakmp::{Sa, Transform};

/// The type of curves over 2^n (RFC 2409 appendix A).
const GROUP_TYPE: u64 = 3;

/// The numbers that have been given to such groups.
const GROUPS: [GroupId; 10] = [
    GroupId::EC2N_155,
    GroupId::EC2N_185,
    GroupId::EC2N_163_SECOND,
    GroupId::EC2N_163,
    GroupId::EC2N_283_SECOND,
    GroupId::EC2N_283,
    GroupId::EC2N_409_SECOND,
    GroupId::EC2N_409,
    GroupId::EC2N_571_SECOND,
    GroupId::EC2N_571,
];

/// Which groups are named is told of so many.
const NAMED_MAX: usize = 10;

/// Whether a transform asks for such a group, by its number or by describing it.
pub(crate) fn is_asked_for(transform: &Transform<'_>) -> bool {
    group(transform).is_some() || number(transform, Phase1Class::GROUP_TYPE) == Some(GROUP_TYPE)
}

/// The groups of an offer that has no others; `None` if it has.
pub(crate) fn alone(sa: &Sa<'_>) -> Option<Vec<GroupId>> {
    let of_phase_1 = sa.proposals.iter().filter(|one| one.protocol == ProtocolId::ISAKMP);
    let transforms = || of_phase_1.clone().flat_map(|proposal| &proposal.transforms);
    if transforms().next().is_none() || !transforms().all(is_asked_for) {
        return None;
    }
    let mut groups = Vec::new();
    for group in transforms().filter_map(group) {
        if groups.len() < NAMED_MAX && !groups.contains(&group) {
            groups.push(group);
        }
    }
    Some(groups)
}

fn group(transform: &Transform<'_>) -> Option<GroupId> {
    let number = number(transform, Phase1Class::GROUP_DESCRIPTION)?;
    GROUPS.into_iter().find(|group| u64::from(group.0) == number)
}

fn number(transform: &Transform<'_>, class: Phase1Class) -> Option<u64> {
    let mut found = transform.attributes.iter().filter(|one| one.class == class.0);
    found.next().and_then(|one| one.value.number())
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use adit_wire::isakmp::{AttributeList, Proposal};

    use super::*;

    fn offer(groups: &[AttributeList]) -> Sa<'static> {
        let transforms = groups.iter().zip(1..).map(|(group, number)| Transform {
            number,
            id: 1,
            attributes: group.clone().finish(),
        });
        let proposal = Proposal {
            number: 1,
            protocol: ProtocolId::ISAKMP,
            spi: Cow::Borrowed(&[]),
            transforms: transforms.collect(),
        };
        Sa { proposals: vec![proposal] }
    }

    /// RFC 2409 §6.3, §6.4: groups 3 and 4, those of the same kind that came later, and one that a peer
    /// describes itself.
    #[test]
    fn offers_of_nothing_else_are_known() {
        let group = |number| AttributeList::new().basic(4, number);
        let own = AttributeList::new().basic(5, 3).variable(6, &[1; 24]);
        assert_eq!(
            alone(&offer(&[group(3), group(4), group(3), group(7)])),
            Some(vec![GroupId::EC2N_155, GroupId::EC2N_185, GroupId::EC2N_163])
        );
        assert_eq!(alone(&offer(std::slice::from_ref(&own))), Some(Vec::new()));
        assert_eq!(alone(&offer(&[own, group(3)])), Some(vec![GroupId::EC2N_155]));
        for other in [1, 2, 5, 14, 19, 31, 99] {
            assert_eq!(alone(&offer(&[group(3), group(other)])), None, "{other}");
        }
        assert_eq!(alone(&offer(&[AttributeList::new()])), None);
        assert_eq!(alone(&offer(&[])), None);
    }
}
