//! Why a message is not one, and which notify says so (RFC 2408 §5).

use crate::{WireError, iana::isakmp::NotifyType};

/// What is wrong with a message, in the words of RFC 2408 and in those of the format.
///
/// Whether a peer hears of it is not for the parser to say: nobody has proven who he is before
/// phase 1 is over, and a notify in clear proves nothing either.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{notify}: {cause}")]
pub struct IsakmpError {
    /// The notify message type that RFC 2408 §5 gives for it.
    pub notify: NotifyType,
    /// The field, or the structure, that is wrong.
    pub cause: WireError,
}

impl IsakmpError {
    /// An error that `notify` would report.
    #[must_use]
    pub const fn new(notify: NotifyType, cause: WireError) -> Self {
        Self { notify, cause }
    }

    /// A field that may not have this value.
    #[must_use]
    pub const fn value(notify: NotifyType, field: &'static str, value: u64) -> Self {
        Self::new(notify, WireError::BadValue(field, value))
    }

    /// Names the structure, if the cause does not name one yet.
    #[must_use]
    pub fn within(self, name: &'static str) -> Self {
        Self { cause: self.cause.within(name), ..self }
    }

    /// The same cause under another notify, if the parser had none but the general one.
    #[must_use]
    pub(crate) fn or(self, notify: NotifyType) -> Self {
        if self.notify == NotifyType::PAYLOAD_MALFORMED { Self { notify, ..self } } else { self }
    }
}

/// RFC 2408 §5.3 and after: what has not the form of its payload is malformed.
impl From<WireError> for IsakmpError {
    fn from(cause: WireError) -> Self {
        Self::new(NotifyType::PAYLOAD_MALFORMED, cause)
    }
}
