//! Transforms of phase 2, RFC 2407 §4.4 and §4.5.

use alloc::vec::Vec;

use super::{Lifetimes, basic, lifetime::LifetimeReader, not_supported, put};
use crate::{
    WireError,
    iana::{
        KeyLength,
        doi::{AuthAlgorithm, EncapsulationMode, EspTransformId, GroupId, Phase2Class, ProtocolId},
        isakmp::NotifyType,
    },
    isakmp::{Attribute, AttributeList, AttributeValue, IsakmpError, Transform},
};

/// What a transform of AH, ESP or IPComp says.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Phase2Transform {
    /// Transform identifier; the registry depends on the protocol.
    pub id: u8,
    /// How long the SA lives; where nothing is said, 28,800 seconds (RFC 2407 §4.5).
    pub lifetimes: Lifetimes,
    /// Group of the key exchange in Quick Mode; none without PFS.
    pub group: Option<GroupId>,
    /// Tunnel or transport, in UDP or not; what nothing means is up to the host (RFC 2407 §4.5).
    pub mode: Option<EncapsulationMode>,
    /// Authentication of AH, or beside the cipher of ESP.
    pub auth: Option<AuthAlgorithm>,
    /// Key length of the cipher in bits, for ciphers with several.
    pub key_bits: Option<u16>,
    /// Rounds of the cipher, for ciphers with several numbers of them.
    pub key_rounds: Option<u16>,
    /// Logarithm of the largest dictionary of IPComp, in octets.
    pub dictionary_bits: Option<u16>,
    /// A vendor's algorithm of IPComp.
    pub private_algorithm: Option<Vec<u8>>,
    /// Whether ECN may be used in the tunnel: 1 for yes, 2 for no (RFC 3168 §9.2.1.2).
    pub ecn_tunnel: Option<u16>,
    /// Sequence numbers of 64 bits (RFC 4304).
    pub esn: bool,
}

impl Phase2Transform {
    /// A transform without attributes.
    #[must_use]
    pub const fn new(id: u8) -> Self {
        Self {
            id,
            lifetimes: Lifetimes { seconds: None, kilobytes: None },
            group: None,
            mode: None,
            auth: None,
            key_bits: None,
            key_rounds: None,
            dictionary_bits: None,
            private_algorithm: None,
            ecn_tunnel: None,
            esn: false,
        }
    }

    /// Reads a transform of a proposal for `protocol`.
    ///
    /// # Errors
    ///
    /// - INVALID-PROTOCOL-ID: the protocol is none of AH, ESP and IPComp.
    /// - ATTRIBUTES-NOT-SUPPORTED: an attribute is unknown, there twice, or basic and not of two
    ///   octets; AH without an authentication algorithm or with another than the transform's; ESP
    ///   with neither cipher nor authentication, or with authentication beside a cipher that has its
    ///   own; a key length where there is only one, or none where there are several; lifetimes that
    ///   contradict themselves.
    pub fn read(protocol: ProtocolId, transform: &Transform<'_>) -> Result<Self, IsakmpError> {
        let mut read = Self::new(transform.id);
        let mut lifetimes = LifetimeReader::default();
        let mut esn = None;
        for attribute in transform.attributes.iter() {
            match Phase2Class(attribute.class) {
                Phase2Class::SA_LIFE_TYPE => lifetimes.take_type(attribute)?,
                Phase2Class::SA_LIFE_DURATION => lifetimes.take_duration(attribute.value)?,
                Phase2Class::EXTENDED_SEQUENCE_NUMBER => {
                    put(&mut esn, basic(attribute, "ESN")?, "ESN")?;
                }
                _ => read.take(attribute)?,
            }
        }
        read.lifetimes = lifetimes.finish()?;
        read.esn = match esn {
            None => false,
            Some(1) => true,
            Some(other) => return Err(not_supported("ESN", other.into())),
        };
        match protocol {
            ProtocolId::AH => read.check_ah()?,
            ProtocolId::ESP => read.check_esp()?,
            ProtocolId::IPCOMP => {}
            other => {
                let notify = NotifyType::INVALID_PROTOCOL_ID;
                return Err(IsakmpError::value(notify, "Proposal.protocol", other.0.into()));
            }
        }
        Ok(read)
    }

    fn take(&mut self, attribute: Attribute<'_>) -> Result<(), IsakmpError> {
        let class = Phase2Class(attribute.class);
        let name = class.name().unwrap_or("Attribute.class");
        let value = || basic(attribute, name);
        match class {
            Phase2Class::GROUP_DESCRIPTION => put(&mut self.group, GroupId(value()?), name),
            Phase2Class::ENCAPSULATION_MODE => {
                put(&mut self.mode, EncapsulationMode(value()?), name)
            }
            Phase2Class::AUTHENTICATION_ALGORITHM => {
                put(&mut self.auth, AuthAlgorithm(value()?), name)
            }
            Phase2Class::KEY_LENGTH => put(&mut self.key_bits, value()?, name),
            Phase2Class::KEY_ROUNDS => put(&mut self.key_rounds, value()?, name),
            Phase2Class::COMPRESS_DICTIONARY_SIZE => put(&mut self.dictionary_bits, value()?, name),
            Phase2Class::COMPRESS_PRIVATE_ALGORITHM => {
                let value = match attribute.value {
                    AttributeValue::Basic(value) => value.to_be_bytes().to_vec(),
                    AttributeValue::Variable(value) => value.to_vec(),
                };
                put(&mut self.private_algorithm, value, name)
            }
            Phase2Class::ECN_TUNNEL => put(&mut self.ecn_tunnel, value()?, name),
            _ => Err(not_supported(name, class.0.into())),
        }
    }

    /// RFC 2407 §4.4.3: the attribute has to be there, and to say the same as the transform.
    fn check_ah(&self) -> Result<(), IsakmpError> {
        let auth = self.auth.ok_or_else(|| missing("Authentication Algorithm"))?;
        match auth.ah_transform() {
            Some(expected) if expected.0 == self.id => Ok(()),
            _ => Err(not_supported("Authentication Algorithm", auth.0.into())),
        }
    }

    fn check_esp(&self) -> Result<(), IsakmpError> {
        let id = EspTransformId(self.id);
        let encryption = id.encryption();
        // RFC 2406 §5: "the NULL encryption and NULL authentication algorithms MUST NOT both be
        // selected".
        if id == EspTransformId::NULL && self.auth.is_none() {
            return Err(missing("Authentication Algorithm"));
        }
        if let (Some(encryption), Some(auth)) = (encryption, self.auth)
            && encryption.is_aead()
        {
            return Err(not_supported("Authentication Algorithm", auth.0.into()));
        }
        let rule = match encryption {
            Some(encryption) => encryption.key_length(),
            None => KeyLength::Unknown,
        };
        match (rule, self.key_bits) {
            (KeyLength::Required, None) => Err(missing("Key Length")),
            (KeyLength::Forbidden, Some(bits)) => Err(not_supported("Key Length", bits.into())),
            _ => Ok(()),
        }
    }

    /// The transform of this number that says so.
    #[must_use]
    pub fn to_transform(&self, number: u8) -> Transform<'static> {
        let numbers = [
            (Phase2Class::GROUP_DESCRIPTION, self.group.map(|group| group.0)),
            (Phase2Class::ENCAPSULATION_MODE, self.mode.map(|mode| mode.0)),
            (Phase2Class::AUTHENTICATION_ALGORITHM, self.auth.map(|auth| auth.0)),
            (Phase2Class::KEY_LENGTH, self.key_bits),
            (Phase2Class::KEY_ROUNDS, self.key_rounds),
            (Phase2Class::COMPRESS_DICTIONARY_SIZE, self.dictionary_bits),
            (Phase2Class::ECN_TUNNEL, self.ecn_tunnel),
            (Phase2Class::EXTENDED_SEQUENCE_NUMBER, self.esn.then_some(1)),
        ];
        let list = self.lifetimes.append_phase2(AttributeList::new());
        let list = numbers.into_iter().fold(list, |list, (class, value)| match value {
            Some(value) => list.basic(class.0, value),
            None => list,
        });
        let list = match &self.private_algorithm {
            Some(value) => list.variable(Phase2Class::COMPRESS_PRIVATE_ALGORITHM.0, value),
            None => list,
        };
        Transform { number, id: self.id, attributes: list.finish() }
    }
}

fn missing(name: &'static str) -> IsakmpError {
    IsakmpError::new(NotifyType::ATTRIBUTES_NOT_SUPPORTED, WireError::Truncated(name))
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use super::*;
    use crate::iana::doi::AhTransformId;

    fn esp(id: EspTransformId) -> Phase2Transform {
        Phase2Transform {
            mode: Some(EncapsulationMode::TUNNEL),
            auth: Some(AuthAlgorithm::HMAC_SHA),
            lifetimes: Lifetimes { seconds: Some(28_800), kilobytes: Some(4_608_000) },
            ..Phase2Transform::new(id.0)
        }
    }

    fn read(
        protocol: ProtocolId,
        transform: &Phase2Transform,
    ) -> Result<Phase2Transform, NotifyType> {
        Phase2Transform::read(protocol, &transform.to_transform(1)).map_err(|error| error.notify)
    }

    const REFUSED: Result<Phase2Transform, NotifyType> = Err(NotifyType::ATTRIBUTES_NOT_SUPPORTED);

    /// CHECKLIST U16: ESP, AH, ESN and IPComp, with all that their transforms can say.
    #[test]
    fn transforms_are_written_as_they_are_read() {
        let aes = Phase2Transform {
            key_bits: Some(256),
            esn: true,
            group: Some(GroupId::MODP_2048),
            ecn_tunnel: Some(1),
            ..esp(EspTransformId::AES_CBC)
        };
        let gcm =
            Phase2Transform { auth: None, key_bits: Some(128), ..esp(EspTransformId::AES_GCM_16) };
        let blowfish = Phase2Transform { key_rounds: Some(16), ..esp(EspTransformId::BLOWFISH) };
        for transform in [aes, gcm, blowfish, esp(EspTransformId::NULL)] {
            assert_eq!(read(ProtocolId::ESP, &transform), Ok(transform));
        }
        let ah = Phase2Transform {
            auth: Some(AuthAlgorithm::HMAC_SHA2_256),
            ..Phase2Transform::new(AhTransformId::SHA2_256.0)
        };
        assert_eq!(read(ProtocolId::AH, &ah), Ok(ah));
        let ipcomp = Phase2Transform {
            dictionary_bits: Some(15),
            private_algorithm: Some(vec![1, 2, 3]),
            ..Phase2Transform::new(2)
        };
        assert_eq!(read(ProtocolId::IPCOMP, &ipcomp), Ok(ipcomp));
    }

    #[test]
    fn ah_names_its_algorithm_twice() {
        let ah = Phase2Transform::new(AhTransformId::SHA.0);
        assert_eq!(read(ProtocolId::AH, &ah), REFUSED);
        let md5 = Phase2Transform { auth: Some(AuthAlgorithm::HMAC_MD5), ..ah };
        assert_eq!(read(ProtocolId::AH, &md5), REFUSED);
    }

    /// CHECKLIST U15: AES without a key length, 3DES with one.
    #[test]
    fn esp_needs_something_that_protects_and_the_right_key_length() {
        assert_eq!(read(ProtocolId::ESP, &esp(EspTransformId::AES_CBC)), REFUSED);
        let long = Phase2Transform { key_bits: Some(192), ..esp(EspTransformId::TRIPLE_DES) };
        assert_eq!(read(ProtocolId::ESP, &long), REFUSED);
        let nothing = Phase2Transform { auth: None, ..esp(EspTransformId::NULL) };
        assert_eq!(read(ProtocolId::ESP, &nothing), REFUSED);
        let both = Phase2Transform { key_bits: Some(128), ..esp(EspTransformId::AES_GCM_16) };
        assert_eq!(read(ProtocolId::ESP, &both), REFUSED);
    }

    #[test]
    fn attributes_that_contradict_are_refused() {
        let refused = |list: AttributeList| {
            let transform = Transform { number: 1, id: 3, attributes: list.finish() };
            Phase2Transform::read(ProtocolId::ESP, &transform).map_err(|error| error.notify)
        };
        let list = || AttributeList::new().basic(5, 2);
        assert!(refused(list()).is_ok());
        assert_eq!(refused(list().basic(5, 2)), REFUSED);
        assert_eq!(refused(list().variable(4, &[0, 1])), REFUSED);
        assert_eq!(refused(list().basic(12, 1)), REFUSED);
        assert_eq!(refused(list().basic(11, 2)), REFUSED);
        assert_eq!(refused(list().basic(11, 1).basic(11, 1)), REFUSED);
        assert_eq!(refused(list().basic(2, 60)), REFUSED);
        let ike = read(ProtocolId::ISAKMP, &esp(EspTransformId::TRIPLE_DES));
        assert_eq!(ike, Err(NotifyType::INVALID_PROTOCOL_ID));
    }
}
