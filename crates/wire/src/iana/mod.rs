//! Numbers that IANA assigns, as newtypes with the names of the registries.
//!
//! A peer may send a number nobody here knows; it stays a value and prints as `UNKNOWN(n)`.

pub mod doi;
mod icmp;
mod ike;
mod ip;
mod ipcomp;
pub mod isakmp;
mod mode_config;
mod notify;
mod transform;

pub use icmp::SecurityFailure;
pub use ike::{
    AuthMethod, CertEncoding, ConfigurationType, ExchangeType, HashAlgorithm, IdType, PayloadType,
    PpkIdType, ProtocolId, TsType,
};
pub use ip::IpProtocol;
pub use ipcomp::IpCompTransformId;
pub use mode_config::ConfigAttribute;
pub use notify::NotifyType;
pub use transform::{
    EncryptionId, EsnId, IntegrityId, KeyExchangeId, KeyLength, PrfId, TransformType,
};

/// Declares a number with its registry: `CONST = value, "NAME";`.
macro_rules! registry {
    (
        $(#[$doc:meta])*
        pub struct $name:ident($int:ty) {
            $($constant:ident = $value:literal, $text:literal;)*
        }
    ) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
        pub struct $name(pub $int);

        impl $name {
            $(
                #[doc = concat!("`", $text, "` (", stringify!($value), ").")]
                pub const $constant: Self = Self($value);
            )*

            /// Every number with a name here, in the order of the registry.
            pub const ALL: &'static [Self] = &[$(Self::$constant),*];

            /// The name in the registry, if the number has one here.
            #[must_use]
            pub const fn name(self) -> Option<&'static str> {
                match self.0 {
                    $($value => Some($text),)*
                    _ => None,
                }
            }
        }

        impl core::fmt::Display for $name {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                match self.name() {
                    Some(name) => f.pad(name),
                    None => write!(f, "UNKNOWN({})", self.0),
                }
            }
        }

        impl core::fmt::Debug for $name {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                write!(f, "{self}")
            }
        }
    };
}
use registry;

#[cfg(test)]
mod tests {
    use alloc::string::ToString;

    use super::*;

    #[test]
    fn a_known_number_prints_its_name_and_an_unknown_one_itself() {
        assert_eq!(NotifyType::COOKIE.to_string(), "COOKIE");
        assert_eq!(NotifyType(40_000).to_string(), "UNKNOWN(40000)");
        assert_eq!(ExchangeType(34).to_string(), "IKE_SA_INIT");
    }

    #[test]
    fn registries_ascend_without_repetition() {
        fn ascends<T: Ord>(all: &[T]) -> bool {
            all.windows(2).all(|pair| pair[0] < pair[1])
        }
        assert!(ascends(AuthMethod::ALL));
        assert!(ascends(CertEncoding::ALL));
        assert!(ascends(EncryptionId::ALL));
        assert!(ascends(ExchangeType::ALL));
        assert!(ascends(IdType::ALL));
        assert!(ascends(IntegrityId::ALL));
        assert!(ascends(IpProtocol::ALL));
        assert!(ascends(KeyExchangeId::ALL));
        assert!(ascends(NotifyType::ALL));
        assert!(ascends(PayloadType::ALL));
        assert!(ascends(PpkIdType::ALL));
        assert!(ascends(PrfId::ALL));
        assert!(ascends(ProtocolId::ALL));
        assert!(ascends(SecurityFailure::ALL));
        assert!(ascends(TransformType::ALL));
        assert!(ascends(TsType::ALL));
    }
}
