//! DER by the `der` crate, one element after the other.

use der::asn1::AnyRef;
use der::{Reader as _, SliceReader, Tag, Tagged as _};

use crate::PkiError;

/// What is left of some DER; an error names the part that is being read.
pub(crate) struct Reader<'a> {
    rest: SliceReader<'a>,
    part: &'static str,
}

/// One element: its tag and its contents.
#[derive(Clone, Copy)]
pub(crate) struct Element<'a> {
    pub(crate) tag: Tag,
    pub(crate) value: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Reads `octets`, which are called `part` in errors.
    pub(crate) fn new(octets: &'a [u8], part: &'static str) -> Result<Self, PkiError> {
        let rest = SliceReader::new(octets).map_err(|_| PkiError::Malformed(part))?;
        Ok(Self { rest, part })
    }

    /// That something is wrong here.
    pub(crate) fn error(&self) -> PkiError {
        PkiError::Malformed(self.part)
    }

    /// The next element, whatever it is.
    pub(crate) fn any(&mut self) -> Result<Element<'a>, PkiError> {
        let any: AnyRef<'a> = self.rest.decode().map_err(|_| PkiError::Malformed(self.part))?;
        Ok(Element { tag: any.tag(), value: any.value() })
    }

    /// The contents of the next element, which must have this tag.
    pub(crate) fn take(&mut self, tag: Tag) -> Result<&'a [u8], PkiError> {
        let element = self.any()?;
        if element.tag == tag { Ok(element.value) } else { Err(self.error()) }
    }

    /// The contents of the next element, if it has this tag.
    pub(crate) fn take_if(&mut self, tag: Tag) -> Result<Option<&'a [u8]>, PkiError> {
        match Tag::peek(&self.rest) {
            Ok(next) if next == tag => self.take(tag).map(Some),
            _ => Ok(None),
        }
    }

    /// The next element as it stands, with its header.
    pub(crate) fn raw(&mut self) -> Result<&'a [u8], PkiError> {
        self.rest.tlv_bytes().map_err(|_| PkiError::Malformed(self.part))
    }

    /// A reader of the next element's contents, which is a SEQUENCE.
    pub(crate) fn sequence(&mut self, part: &'static str) -> Result<Self, PkiError> {
        Self::new(self.take(Tag::Sequence)?, part)
    }

    /// The octets of a BIT STRING of whole octets.
    pub(crate) fn bits(&mut self) -> Result<&'a [u8], PkiError> {
        match self.take(Tag::BitString)?.split_first() {
            Some((0, octets)) => Ok(octets),
            _ => Err(self.error()),
        }
    }

    /// Whether nothing is left.
    pub(crate) fn is_empty(&self) -> bool {
        self.rest.is_finished()
    }

    /// Whether nothing is left, as an error.
    pub(crate) fn finish(self) -> Result<(), PkiError> {
        if self.is_empty() { Ok(()) } else { Err(self.error()) }
    }
}

/// A tag in square brackets with elements inside.
pub(crate) fn explicit(number: u32) -> Tag {
    Tag::ContextSpecific { constructed: true, number: der::TagNumber(number) }
}

/// A tag in square brackets in place of another.
pub(crate) fn implicit(number: u32) -> Tag {
    Tag::ContextSpecific { constructed: false, number: der::TagNumber(number) }
}
