//! Data attributes, RFC 2408 §3.3.

use alloc::{borrow::Cow, vec::Vec};

use super::IsakmpError;
use crate::{Reader, WireError, Writer};

/// Attributes taken from one list.
pub const ATTRIBUTES_MAX: usize = 128;

/// One data attribute, RFC 2408 §3.3.
///
/// ```text
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// |A|       Attribute Type        |    AF=0  Attribute Length     |
/// |F|                             |    AF=1  Attribute Value      |
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// ~                   AF=0  Attribute Value                       ~
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// ```
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Attribute<'a> {
    /// Its class, 15 bits wide; what the number means depends on where the list stands.
    pub class: u16,
    /// Its value.
    pub value: AttributeValue<'a>,
}

/// Value of an attribute in one of its two forms.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum AttributeValue<'a> {
    /// Type/Value: two octets.
    Basic(u16),
    /// Type/Length/Value.
    Variable(&'a [u8]),
}

impl<'a> Attribute<'a> {
    fn read(r: &mut Reader<'a>) -> Result<Self, WireError> {
        let kind = r.u16()?;
        let value = r.u16()?;
        let class = kind & !FORMAT_BASIC;
        if kind & FORMAT_BASIC != 0 {
            return Ok(Self { class, value: AttributeValue::Basic(value) });
        }
        Ok(Self { class, value: AttributeValue::Variable(r.bytes(value.into())?) })
    }
}

impl AttributeValue<'_> {
    /// The value as a number: both forms are allowed wherever a number may be long (RFC 2407 §4.5).
    /// One that does not fit is as large as can be; none if there is no octet.
    #[must_use]
    pub fn number(self) -> Option<u64> {
        match self {
            Self::Basic(value) => Some(value.into()),
            Self::Variable([]) => None,
            Self::Variable(octets) => {
                let start = octets.iter().position(|&octet| octet != 0).unwrap_or(octets.len());
                let significant = octets.get(start..).unwrap_or_default();
                if significant.len() > 8 {
                    return Some(u64::MAX);
                }
                Some(significant.iter().fold(0, |number, &octet| number << 8 | u64::from(octet)))
            }
        }
    }
}

/// A list of attributes, checked and kept octet for octet: what a responder chooses goes back to the
/// initiator as it came (RFC 2409 §5).
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
pub struct Attributes<'a>(Cow<'a, [u8]>);

impl<'a> Attributes<'a> {
    /// Takes all that `r` holds.
    ///
    /// # Errors
    ///
    /// PAYLOAD-MALFORMED if the last attribute is cut short or there are more than
    /// [`ATTRIBUTES_MAX`].
    pub fn read(r: &mut Reader<'a>) -> Result<Self, IsakmpError> {
        let octets = r.rest();
        let mut check = Reader(octets);
        let mut count = 0_usize;
        while !check.is_empty() {
            if count == ATTRIBUTES_MAX {
                return Err(WireError::TooMany("attributes").into());
            }
            Attribute::read(&mut check).map_err(|error| error.within("attribute"))?;
            count = count.saturating_add(1);
        }
        Ok(Self(Cow::Borrowed(octets)))
    }

    /// The attributes in their order.
    pub fn iter(&self) -> impl Iterator<Item = Attribute<'_>> {
        let mut r = Reader(&self.0);
        core::iter::from_fn(move || if r.is_empty() { None } else { Attribute::read(&mut r).ok() })
    }

    /// The octets of the list.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The same list, no longer borrowed.
    #[must_use]
    pub fn into_owned(self) -> Attributes<'static> {
        Attributes(Cow::Owned(self.0.into_owned()))
    }

    /// Appends the list; the exact inverse of [`Self::read`].
    pub fn write(&self, w: &mut Writer<'_>) {
        w.bytes(&self.0);
    }
}

/// Builds a list of attributes.
#[derive(Clone, Debug, Default)]
pub struct AttributeList(Vec<u8>);

impl AttributeList {
    /// An empty list.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds an attribute of two octets.
    #[must_use]
    pub fn basic(mut self, class: u16, value: u16) -> Self {
        let mut w = Writer(&mut self.0);
        w.u16(class | FORMAT_BASIC);
        w.u16(value);
        self
    }

    /// Adds an attribute of any length; octets beyond the 65,535th cannot be counted and are left
    /// out.
    #[must_use]
    pub fn variable(mut self, class: u16, value: &[u8]) -> Self {
        let length = u16::try_from(value.len()).unwrap_or(u16::MAX);
        let mut w = Writer(&mut self.0);
        w.u16(class & !FORMAT_BASIC);
        w.u16(length);
        w.bytes(value.get(..length.into()).unwrap_or_default());
        self
    }

    /// Adds a number in the shortest form that all peers read: two octets, four, or eight.
    #[must_use]
    pub fn number(self, class: u16, value: u64) -> Self {
        if let Ok(value) = u16::try_from(value) {
            return self.basic(class, value);
        }
        match u32::try_from(value) {
            Ok(value) => self.variable(class, &value.to_be_bytes()),
            Err(_) => self.variable(class, &value.to_be_bytes()),
        }
    }

    /// Adds `attribute` in the form it has.
    #[must_use]
    pub fn attribute(self, attribute: Attribute<'_>) -> Self {
        match attribute.value {
            AttributeValue::Basic(value) => self.basic(attribute.class, value),
            AttributeValue::Variable(value) => self.variable(attribute.class, value),
        }
    }

    /// The list.
    #[must_use]
    pub fn finish(self) -> Attributes<'static> {
        Attributes(Cow::Owned(self.0))
    }
}

const FORMAT_BASIC: u16 = 0x8000;

#[cfg(test)]
mod tests {
    use super::*;

    /// CHECKLIST T02: the same number in both forms, and lifetimes above 64k.
    #[test]
    fn both_forms_are_read_as_numbers() {
        let octets = [
            0x80, 0x0b, 0x00, 0x01, // basic
            0x00, 0x0c, 0x00, 0x04, 0x00, 0x01, 0x51, 0x80, // 86,400
            0x00, 0x0c, 0x00, 0x08, 0, 0, 0, 0, 0, 1, 0, 0, // eight octets
            0x00, 0x0c, 0x00, 0x01, 0x07, // one
            0x00, 0x0c, 0x00, 0x09, 1, 0, 0, 0, 0, 0, 0, 0, 0, // more than fits
            0x00, 0x0c, 0x00, 0x09, 0, 0, 0, 0, 0, 0, 0, 0, 9, // fits
            0x00, 0x0c, 0x00, 0x00, // nothing
        ];
        let mut r = Reader(&octets);

        let attributes = Attributes::read(&mut r).unwrap();

        let numbers = attributes.iter().map(|one| (one.class, one.value.number()));
        let expected = [
            (11, Some(1)),
            (12, Some(86_400)),
            (12, Some(0x10000)),
            (12, Some(7)),
            (12, Some(u64::MAX)),
            (12, Some(9)),
            (12, None),
        ];
        assert_eq!(numbers.collect::<Vec<_>>(), expected);
        let mut again = Vec::new();
        attributes.write(&mut Writer(&mut again));
        assert_eq!(again, octets);
        let rebuilt = attributes.iter().fold(AttributeList::new(), AttributeList::attribute);
        assert_eq!(rebuilt.finish(), attributes);
    }

    #[test]
    fn a_number_is_as_short_as_can_be() {
        let list = AttributeList::new().number(12, 65_535).number(12, 65_536).number(2, 1 << 32);
        let list = list.finish();
        let lens = list.iter().map(|one| match one.value {
            AttributeValue::Basic(_) => 2,
            AttributeValue::Variable(octets) => octets.len(),
        });
        assert_eq!(lens.collect::<Vec<_>>(), [2, 4, 8]);
    }

    #[test]
    fn a_list_cut_short_or_too_long_is_malformed() {
        let octets = [0x00, 0x0c, 0x00, 0x04, 0, 1, 2, 3];
        for cut in 1..octets.len() {
            assert!(Attributes::read(&mut Reader(&octets[..cut])).is_err(), "{cut}");
        }
        let many = [0x80, 0x01, 0, 0].repeat(ATTRIBUTES_MAX + 1);
        assert!(Attributes::read(&mut Reader(&many[4..])).is_ok());
        assert_eq!(
            Attributes::read(&mut Reader(&many)),
            Err(WireError::TooMany("attributes").into())
        );
    }
}
