//! Traffic Selector payloads, RFC 7296 §3.13.

use alloc::vec::Vec;

use super::selector::TrafficSelector;
use crate::{Reader, WireError, Writer};

/// Traffic selectors taken from one payload.
pub const SELECTORS_MAX: u8 = 128;

/// Traffic Selector payload body (TSi and TSr alike), RFC 7296 §3.13.
///
/// ```text
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// | Number of TSs |                 RESERVED                      |
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// ~                       <Traffic Selectors>                     ~
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// ```
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Ts {
    /// Selectors of address ranges, in the order of the message.
    pub selectors: Vec<TrafficSelector>,
    /// How many more there were, of types nobody here knows; `write` leaves them out.
    pub unknown: u8,
}

impl Ts {
    /// A payload of these selectors.
    #[must_use]
    pub const fn new(selectors: Vec<TrafficSelector>) -> Self {
        Self {
            selectors,
            unknown: 0,
        }
    }

    /// Reads one body; `r` holds exactly the payload without its generic header.
    ///
    /// # Errors
    ///
    /// - [`WireError::Truncated`], [`WireError::Trailing`]: count or length is wrong.
    /// - [`WireError::TooMany`]: more than [`SELECTORS_MAX`].
    /// - [`WireError::BadValue`]: no selector at all; a range that ends before it starts; a length
    ///   the type does not have.
    pub fn read(r: &mut Reader<'_>) -> Result<Self, WireError> {
        let count = r.u8()?;
        let _reserved: [u8; 3] = r.array()?;
        if count == 0 {
            return Err(WireError::BadValue("TS.count", 0));
        }
        if count > SELECTORS_MAX {
            return Err(WireError::TooMany("traffic selectors"));
        }
        let mut ts = Self::default();
        for _ in 0..count {
            match TrafficSelector::read(r)? {
                Some(selector) => ts.selectors.push(selector),
                None => ts.unknown = ts.unknown.saturating_add(1),
            }
        }
        r.finish("TS")?;
        Ok(ts)
    }

    /// Appends the body; the inverse of [`Ts::read`] but for selectors of unknown types.
    pub fn write(&self, w: &mut Writer<'_>) {
        w.u8(u8::try_from(self.selectors.len()).unwrap_or(u8::MAX));
        w.bytes(&[0; 3]);
        for selector in &self.selectors {
            selector.write(w);
        }
    }
}
