//! Names of connections and children, as the operator wrote them.
//!
//! A name is a label for people: it selects configuration and stands in logs, and never reaches
//! the peer. Cloning is cheap, the text is shared.

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// Name of a connection: one peer with the children negotiated below it.
#[derive(Clone, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct ConnectionName(Arc<str>);

/// Name of a child configuration; unique within its connection.
#[derive(Clone, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct ChildName(Arc<str>);

/// Longest name in octets.
pub const NAME_OCTETS_MAX: usize = 128;

/// Why a text is no name.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum NameError {
    /// The text has no characters.
    #[error("a name must not be empty")]
    Empty,
    /// The text is longer than [`NAME_OCTETS_MAX`].
    #[error("a name has at most {NAME_OCTETS_MAX} octets")]
    TooLong,
    /// The text holds a space, a control character or a slash, which would confuse logs and paths.
    #[error("a name must not contain {0:?}")]
    BadCharacter(char),
}

fn check(text: &str) -> Result<Arc<str>, NameError> {
    if text.is_empty() {
        return Err(NameError::Empty);
    }
    if text.len() > NAME_OCTETS_MAX {
        return Err(NameError::TooLong);
    }
    let forbidden = |c: &char| c.is_whitespace() || c.is_control() || *c == '/';
    match text.chars().find(forbidden) {
        Some(c) => Err(NameError::BadCharacter(c)),
        None => Ok(Arc::from(text)),
    }
}

macro_rules! name {
    ($type:ident) => {
        impl $type {
            /// Takes over a name.
            ///
            /// # Errors
            ///
            /// [`NameError`] when the text is empty, too long or holds a forbidden character.
            pub fn new(text: &str) -> Result<Self, NameError> {
                check(text).map(Self)
            }

            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $type {
            type Err = NameError;

            fn from_str(text: &str) -> Result<Self, NameError> {
                Self::new(text)
            }
        }

        impl TryFrom<&str> for $type {
            type Error = NameError;

            fn try_from(text: &str) -> Result<Self, NameError> {
                Self::new(text)
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }

        impl AsRef<str> for $type {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        // Eq, Ord and Hash of the newtype are those of the text, as `Borrow` demands.
        impl Borrow<str> for $type {
            fn borrow(&self) -> &str {
                &self.0
            }
        }
    };
}

name!(ConnectionName);
name!(ChildName);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_keep_their_text() {
        let name: ConnectionName = "berlin-1.example".parse().unwrap();
        assert_eq!(name.as_str(), "berlin-1.example");
        assert_eq!(format!("{name:<18}|"), "berlin-1.example  |");
    }

    #[test]
    fn unprintable_names_are_refused() {
        assert_eq!(ChildName::new(""), Err(NameError::Empty));
        assert_eq!(ChildName::new("a b"), Err(NameError::BadCharacter(' ')));
        assert_eq!(ChildName::new("../x"), Err(NameError::BadCharacter('/')));
        assert_eq!(ChildName::new("a\n"), Err(NameError::BadCharacter('\n')));
        assert_eq!(ChildName::new(&"x".repeat(129)), Err(NameError::TooLong));
    }
}
