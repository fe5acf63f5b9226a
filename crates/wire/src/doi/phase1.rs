//! Transforms of phase 1, RFC 2409 §5 and appendix A.

use super::{Lifetimes, basic, lifetime::LifetimeReader, not_supported, put};
use crate::{
    WireError,
    iana::{
        KeyLength,
        doi::{
            GroupId, IsakmpTransformId, KeyFrom, Phase1Auth, Phase1Class, Phase1Encryption,
            Phase1Hash,
        },
        isakmp::NotifyType,
    },
    isakmp::{Attribute, AttributeList, IsakmpError, Transform},
};

/// What a transform of PROTO_ISAKMP says: how an ISAKMP SA comes to its keys and uses them.
///
/// Two transforms that differ in nothing but their lifetimes mean the same algorithms.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Phase1Transform {
    /// Cipher of messages.
    pub encryption: Phase1Encryption,
    /// Key length in bits, for ciphers with several.
    pub key_bits: Option<u16>,
    /// Hash, and as HMAC the prf.
    pub hash: Phase1Hash,
    /// How the peers prove who they are.
    pub auth: Phase1Auth,
    /// Group of the key exchange; none where there is no key exchange, and only there.
    pub group: Option<GroupId>,
    /// How long the SA lives.
    pub lifetimes: Lifetimes,
}

impl Phase1Transform {
    /// Reads a transform of a PROTO_ISAKMP proposal.
    ///
    /// # Errors
    ///
    /// - INVALID-TRANSFORM-ID: it is not KEY_IKE.
    /// - ATTRIBUTES-NOT-SUPPORTED: an attribute is unknown, there twice, or basic and not of two
    ///   octets; one of the four is missing that RFC 2409 §5 wants; a key length where there is only
    ///   one, or none where there are several; a group by its numbers instead of its name, or a prf,
    ///   of which none has a number; lifetimes that contradict themselves.
    pub fn read(transform: &Transform<'_>) -> Result<Self, IsakmpError> {
        if transform.id != IsakmpTransformId::KEY_IKE.0 {
            return Err(IsakmpError::value(
                NotifyType::INVALID_TRANSFORM_ID,
                "Transform.id",
                transform.id.into(),
            ));
        }
        let mut parts = Parts::default();
        for attribute in transform.attributes.iter() {
            parts.take(attribute)?;
        }
        parts.finish()
    }

    /// The transform of this number that says so.
    #[must_use]
    pub fn to_transform(&self, number: u8) -> Transform<'static> {
        let mut list = AttributeList::new()
            .basic(Phase1Class::ENCRYPTION_ALGORITHM.0, self.encryption.0)
            .basic(Phase1Class::HASH_ALGORITHM.0, self.hash.0)
            .basic(Phase1Class::AUTHENTICATION_METHOD.0, self.auth.0);
        if let Some(group) = self.group {
            list = list.basic(Phase1Class::GROUP_DESCRIPTION.0, group.0);
        }
        if let Some(bits) = self.key_bits {
            list = list.basic(Phase1Class::KEY_LENGTH.0, bits);
        }
        let attributes = self.lifetimes.append_phase1(list).finish();
        Transform { number, id: IsakmpTransformId::KEY_IKE.0, attributes }
    }
}

#[derive(Default)]
struct Parts {
    encryption: Option<Phase1Encryption>,
    key_bits: Option<u16>,
    hash: Option<Phase1Hash>,
    auth: Option<Phase1Auth>,
    group: Option<GroupId>,
    lifetimes: LifetimeReader,
}

impl Parts {
    fn take(&mut self, attribute: Attribute<'_>) -> Result<(), IsakmpError> {
        let class = Phase1Class(attribute.class);
        let name = class.name().unwrap_or("Attribute.class");
        let value = || basic(attribute, name);
        match class {
            Phase1Class::ENCRYPTION_ALGORITHM => {
                put(&mut self.encryption, Phase1Encryption(value()?), name)
            }
            Phase1Class::HASH_ALGORITHM => put(&mut self.hash, Phase1Hash(value()?), name),
            Phase1Class::AUTHENTICATION_METHOD => put(&mut self.auth, Phase1Auth(value()?), name),
            Phase1Class::GROUP_DESCRIPTION => put(&mut self.group, GroupId(value()?), name),
            Phase1Class::KEY_LENGTH => put(&mut self.key_bits, value()?, name),
            Phase1Class::LIFE_TYPE => self.lifetimes.take_type(attribute),
            Phase1Class::LIFE_DURATION => self.lifetimes.take_duration(attribute.value),
            _ => Err(not_supported(name, class.0.into())),
        }
    }

    fn finish(self) -> Result<Phase1Transform, IsakmpError> {
        let encryption = self.encryption.ok_or_else(|| missing("Encryption Algorithm"))?;
        let hash = self.hash.ok_or_else(|| missing("Hash Algorithm"))?;
        let auth = self.auth.ok_or_else(|| missing("Authentication Method"))?;
        let needs_group = auth.key_from() != Some(KeyFrom::Dhless);
        if needs_group && self.group.is_none() {
            return Err(missing("Group Description"));
        }
        check_key_length(encryption, self.key_bits)?;
        Ok(Phase1Transform {
            encryption,
            key_bits: self.key_bits,
            hash,
            auth,
            // draft-ietf-ipsec-dhless-enc-mode-00 is silent about the group: it is passed over.
            group: self.group.filter(|_| needs_group),
            lifetimes: self.lifetimes.finish()?,
        })
    }
}

fn check_key_length(
    encryption: Phase1Encryption,
    key_bits: Option<u16>,
) -> Result<(), IsakmpError> {
    let rule = match encryption.encryption() {
        Some(id) => id.key_length(),
        None => KeyLength::Unknown,
    };
    match (rule, key_bits) {
        (KeyLength::Required, None) => Err(missing("Key Length")),
        (KeyLength::Forbidden, Some(bits)) => Err(not_supported("Key Length", bits.into())),
        _ => Ok(()),
    }
}

fn missing(name: &'static str) -> IsakmpError {
    IsakmpError::new(NotifyType::ATTRIBUTES_NOT_SUPPORTED, WireError::Truncated(name))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::isakmp::Attributes;

    const AES: Phase1Transform = Phase1Transform {
        encryption: Phase1Encryption::AES_CBC,
        key_bits: Some(128),
        hash: Phase1Hash::SHA,
        auth: Phase1Auth::PRE_SHARED_KEY,
        group: Some(GroupId::MODP_1024),
        lifetimes: Lifetimes { seconds: Some(86_400), kilobytes: None },
    };

    fn read(id: u8, attributes: Attributes<'static>) -> Result<Phase1Transform, NotifyType> {
        let transform = Transform { number: 1, id, attributes };
        Phase1Transform::read(&transform).map_err(|error| error.notify)
    }

    fn four(extra: impl FnOnce(AttributeList) -> AttributeList) -> Attributes<'static> {
        let list = AttributeList::new().basic(1, 5).basic(2, 2).basic(3, 1).basic(4, 2);
        extra(list).finish()
    }

    const REFUSED: Result<Phase1Transform, NotifyType> = Err(NotifyType::ATTRIBUTES_NOT_SUPPORTED);

    #[test]
    fn a_transform_is_written_as_it_is_read() {
        let transform = AES.to_transform(3);
        assert_eq!((transform.number, transform.id), (3, 1));
        assert_eq!(Phase1Transform::read(&transform), Ok(AES));
    }

    /// CHECKLIST T03: each of the four attributes has to be there.
    #[test]
    fn none_of_the_four_may_be_missing() {
        for absent in 1..=4 {
            let list = (1..=4).filter(|&class| class != absent);
            let list = list.fold(AttributeList::new(), |list, class| list.basic(class, 2));
            assert_eq!(read(1, list.finish()), REFUSED, "{absent}");
        }
        assert!(read(1, four(|list| list)).is_ok());
        assert_eq!(read(2, four(|list| list)), Err(NotifyType::INVALID_TRANSFORM_ID));
    }

    /// CHECKLIST T02: a basic attribute in the long form, an unknown one, or one twice is refused.
    #[test]
    fn attributes_that_contradict_are_refused() {
        assert_eq!(read(1, four(|list| list.basic(1, 5))), REFUSED);
        assert_eq!(read(1, four(|list| list.variable(2, &[0, 2]))), REFUSED);
        assert_eq!(read(1, four(|list| list.basic(13, 65_001))), REFUSED);
        assert_eq!(read(1, four(|list| list.basic(5, 1))), REFUSED);
        assert_eq!(read(1, four(|list| list.variable(6, &[1; 128]))), REFUSED);
        assert_eq!(read(1, four(|list| list.basic(99, 1))), REFUSED);
        assert_eq!(read(1, four(|list| list.basic(12, 60).basic(11, 1))), REFUSED);
    }

    /// CHECKLIST U15: a key length belongs to ciphers with several, and to no other.
    #[test]
    fn the_key_length_is_where_it_belongs() {
        assert_eq!(read(1, four(|list| list.basic(14, 192))), REFUSED);
        let without = Phase1Transform { key_bits: None, ..AES }.to_transform(1);
        assert_eq!(read(1, without.attributes), REFUSED);
        let blowfish = Phase1Transform { encryption: Phase1Encryption::BLOWFISH_CBC, ..AES };
        for key_bits in [None, Some(256)] {
            let blowfish = Phase1Transform { key_bits, ..blowfish };
            assert_eq!(Phase1Transform::read(&blowfish.to_transform(1)), Ok(blowfish));
        }
    }

    #[test]
    fn without_a_key_exchange_the_group_is_passed_over() {
        let auth = Phase1Auth::DHLESS_RSA_ENCRYPTION;
        for group in [None, Some(GroupId::MODP_1024)] {
            let read =
                Phase1Transform::read(&Phase1Transform { auth, group, ..AES }.to_transform(1));
            assert_eq!(read.map(|transform| transform.group), Ok(None));
        }
    }

    proptest! {
        #[test]
        fn whatever_is_read_is_written_to_the_same_meaning(
            values in prop::collection::vec((1_u16..18, 0_u16..9), 0..10),
        ) {
            let list = values.into_iter();
            let list = list.fold(AttributeList::new(), |list, (class, value)| list.basic(class, value));
            if let Ok(transform) = read(1, list.finish()) {
                prop_assert_eq!(Phase1Transform::read(&transform.to_transform(1)), Ok(transform));
            }
        }
    }
}
