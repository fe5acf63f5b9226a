//! Post-quantum pre-shared keys (RFC 8784): what they are called, and whether a connection insists on
//! one. The keys themselves live with the role that holds keys.

use std::fmt;
use std::str::FromStr;

use adit_wire::iana::PpkIdType;

use crate::identity::{Identity, IdentityError};

/// PPK_ID: by which name both sides know a key (RFC 8784 §5.1).
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct PpkId {
    kind: PpkIdType,
    name: Vec<u8>,
}

/// The key of a connection, and whether the connection is refused without.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PpkSpec {
    /// The key's name.
    pub id: PpkId,
    /// Whether an IKE SA without it is refused.
    pub required: bool,
}

/// Longest name of a key in octets. RFC 8784 sets no limit.
pub const PPK_ID_OCTETS_MAX: usize = 256;

/// Why something is no PPK_ID.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum PpkError {
    /// The name is none.
    #[error("{0}")]
    BadName(#[from] IdentityError),
    /// The name is longer than [`PPK_ID_OCTETS_MAX`], or there is none.
    #[error("the name of a PPK has 1 to {PPK_ID_OCTETS_MAX} octets")]
    BadLength,
    /// The type has no variant here.
    #[error("PPK_ID type {0} is not known")]
    UnknownType(u8),
}

impl PpkId {
    /// Reads the data of a PPK_IDENTITY notify: `type (1) | name`.
    ///
    /// # Errors
    ///
    /// [`PpkError::UnknownType`], [`PpkError::BadLength`].
    pub fn from_wire(data: &[u8]) -> Result<Self, PpkError> {
        let (kind, name) = data.split_first().ok_or(PpkError::BadLength)?;
        Self::new(PpkIdType(*kind), name)
    }

    fn new(kind: PpkIdType, name: &[u8]) -> Result<Self, PpkError> {
        if !matches!(kind, PpkIdType::OPAQUE | PpkIdType::FIXED) {
            return Err(PpkError::UnknownType(kind.0));
        }
        if name.is_empty() || name.len() > PPK_ID_OCTETS_MAX {
            return Err(PpkError::BadLength);
        }
        Ok(Self { kind, name: name.to_vec() })
    }

    /// The data of a PPK_IDENTITY notify; the inverse of [`Self::from_wire`].
    pub fn to_wire(&self) -> Vec<u8> {
        [&[self.kind.0], self.name.as_slice()].concat()
    }
}

/// Reads what `ppk_id` of swanctl.conf takes: the forms of [`Identity`], of which the octets are
/// the name. `opaque:` in front makes it a name of the other type.
impl FromStr for PpkId {
    type Err = PpkError;

    fn from_str(text: &str) -> Result<Self, PpkError> {
        match text.strip_prefix(OPAQUE) {
            Some(rest) => Self::new(PpkIdType::OPAQUE, &rest.parse::<Identity>()?.octets()),
            None => Self::new(PpkIdType::FIXED, &text.parse::<Identity>()?.octets()),
        }
    }
}

/// Writes a form that [`FromStr`] reads back as the same name.
impl fmt::Display for PpkId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.kind == PpkIdType::OPAQUE {
            f.write_str(OPAQUE)?;
        }
        let plain = std::str::from_utf8(&self.name).ok().filter(|text| reads_back(text));
        match plain {
            Some(text) => f.write_str(text),
            None => Identity::KeyId(self.name.clone()).fmt(f),
        }
    }
}

fn reads_back(text: &str) -> bool {
    let read = text.parse::<Identity>();
    !text.starts_with(OPAQUE) && read.is_ok_and(|read| read.octets() == text.as_bytes())
}

/// In front of a name that is PPK_ID_OPAQUE.
const OPAQUE: &str = "opaque:";

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_name_is_written_as_strongswan_writes_it() {
        let id: PpkId = "berlin".parse().unwrap();
        assert_eq!(id.to_wire(), b"\x02berlin");
        assert_eq!("@berlin".parse::<PpkId>().unwrap(), id);
        assert_eq!("opaque:berlin".parse::<PpkId>().unwrap().to_wire(), b"\x01berlin");
        assert_eq!(id.to_string(), "berlin");
    }

    #[test]
    fn other_types_and_lengths_are_no_names() {
        assert_eq!(PpkId::from_wire(b""), Err(PpkError::BadLength));
        assert_eq!(PpkId::from_wire(b"\x02"), Err(PpkError::BadLength));
        assert_eq!(PpkId::from_wire(b"\x03name"), Err(PpkError::UnknownType(3)));
        assert_eq!(PpkId::from_wire(&[2; 258]), Err(PpkError::BadLength));
        assert!("%any".parse::<PpkId>().is_err());
        assert_eq!("%null".parse::<PpkId>(), Err(PpkError::BadLength));
    }

    proptest! {
        #[test]
        fn names_round_trip(kind in 1_u8..3, name in prop::collection::vec(any::<u8>(), 1..40)) {
            let wire = [vec![kind], name].concat();
            let id = PpkId::from_wire(&wire).unwrap();
            prop_assert_eq!(id.to_wire(), wire);
            prop_assert_eq!(id.to_string().parse::<PpkId>(), Ok(id));
        }
    }
}
