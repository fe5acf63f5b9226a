//! Configuration payload, RFC 7296 §3.15.

use crate::{Reader, WireError, Writer, iana::ConfigurationType};

/// Configuration payload body, RFC 7296 §3.15: its kind, then the attributes unread.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Cp<'a> {
    /// Question or answer.
    pub kind: ConfigurationType,
    /// The attributes.
    pub attributes: &'a [u8],
}

impl<'a> Cp<'a> {
    /// Reads one body; `r` holds exactly the payload without its generic header.
    ///
    /// # Errors
    ///
    /// [`WireError::Truncated`].
    pub fn read(r: &mut Reader<'a>) -> Result<Self, WireError> {
        let kind = ConfigurationType(r.u8()?);
        let _reserved: [u8; 3] = r.array()?;
        Ok(Self {
            kind,
            attributes: r.rest(),
        })
    }

    /// Appends the body; the exact inverse of [`Cp::read`].
    pub fn write(&self, w: &mut Writer<'_>) {
        w.u8(self.kind.0);
        w.bytes(&[0; 3]);
        w.bytes(self.attributes);
    }
}
