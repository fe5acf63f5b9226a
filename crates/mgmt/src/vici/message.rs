//! VICI's message format: an ordered tree of sections, texts and lists
//! (strongSwan, `src/libcharon/plugins/vici/README.md`, "Message format").

use std::collections::BTreeSet;
use std::fmt;

use super::CodecError;

/// Sections inside sections; swanctl's deepest tree (a child's certificate) has five.
pub const DEPTH_MAX: usize = 16;
/// Longest name of a section, key or list, in octets: its length is one octet.
pub const NAME_OCTETS_MAX: usize = 255;
/// Longest value, in octets: its length is two octets.
pub const VALUE_OCTETS_MAX: usize = 65_535;

/// One entry's value.
#[derive(Clone, Eq, PartialEq)]
pub enum Value {
    /// Octets, nearly always text; numbers are decimal text.
    Text(Vec<u8>),
    /// Texts without names.
    List(Vec<Vec<u8>>),
    /// A tree below this name.
    Section(Section),
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(octets) => write!(f, "{:?}", String::from_utf8_lossy(octets)),
            Self::List(items) => {
                f.debug_list().entries(items.iter().map(|i| String::from_utf8_lossy(i))).finish()
            }
            Self::Section(section) => section.fmt(f),
        }
    }
}

/// A whole message is the unnamed section at the root.
pub type Message = Section;

/// Named values in the order they were written; names are unique.
#[derive(Clone, Default, Eq, PartialEq)]
pub struct Section {
    entries: Vec<(String, Value)>,
}

impl fmt::Debug for Section {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.entries.iter().map(|(name, value)| (name, value))).finish()
    }
}

impl Section {
    /// An empty section.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a text; for building in one expression.
    #[must_use]
    pub fn with(mut self, name: &str, text: impl fmt::Display) -> Self {
        self.put(name, text);
        self
    }

    /// Adds a list of texts; for building in one expression.
    #[must_use]
    pub fn with_list<T: fmt::Display>(
        mut self,
        name: &str,
        items: impl IntoIterator<Item = T>,
    ) -> Self {
        self.put_list(name, items);
        self
    }

    /// Adds a section; for building in one expression.
    #[must_use]
    pub fn with_section(mut self, name: &str, section: Self) -> Self {
        self.put_value(name, Value::Section(section));
        self
    }

    /// Adds or replaces a text.
    pub fn put(&mut self, name: &str, text: impl fmt::Display) {
        self.put_value(name, Value::Text(text.to_string().into_bytes()));
    }

    /// Adds `name = text` if there is one.
    pub fn put_some<T: fmt::Display>(&mut self, name: &str, text: Option<T>) {
        if let Some(text) = text {
            self.put(name, text);
        }
    }

    /// Adds `name = yes` if `condition` holds and nothing otherwise, as charon does.
    pub fn put_if(&mut self, name: &str, condition: bool) {
        if condition {
            self.put(name, "yes");
        }
    }

    /// Adds or replaces a list of texts.
    pub fn put_list<T: fmt::Display>(&mut self, name: &str, items: impl IntoIterator<Item = T>) {
        let items = items.into_iter().map(|item| item.to_string().into_bytes()).collect();
        self.put_value(name, Value::List(items));
    }

    /// Adds a value, or replaces the one of the same name in its place.
    pub fn put_value(&mut self, name: &str, value: Value) {
        match self.entries.iter_mut().find(|(known, _)| known == name) {
            Some((_, place)) => *place = value,
            None => self.entries.push((name.to_owned(), value)),
        }
    }

    /// Entries in order.
    pub fn entries(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.entries.iter().map(|(name, value)| (name.as_str(), value))
    }

    /// True if there is no entry.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The value of that name.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.entries.iter().find(|(known, _)| known == name).map(|(_, value)| value)
    }

    /// The octets of the text of that name; `None` also for a list or a section.
    pub fn octets(&self, name: &str) -> Option<&[u8]> {
        match self.get(name)? {
            Value::Text(octets) => Some(octets),
            Value::List(_) | Value::Section(_) => None,
        }
    }

    /// The text of that name, if it is UTF-8.
    pub fn text(&self, name: &str) -> Option<&str> {
        std::str::from_utf8(self.octets(name)?).ok()
    }

    /// The list of that name, its items as they came.
    pub fn list(&self, name: &str) -> Option<&[Vec<u8>]> {
        match self.get(name)? {
            Value::List(items) => Some(items),
            Value::Text(_) | Value::Section(_) => None,
        }
    }

    /// The items of that list which are UTF-8; empty when there is no such list.
    pub fn texts(&self, name: &str) -> impl Iterator<Item = &str> {
        self.list(name).unwrap_or_default().iter().filter_map(|item| std::str::from_utf8(item).ok())
    }

    /// The section of that name.
    pub fn section(&self, name: &str) -> Option<&Self> {
        match self.get(name)? {
            Value::Section(section) => Some(section),
            Value::Text(_) | Value::List(_) => None,
        }
    }

    /// Subsections in order, other entries left out.
    pub fn sections(&self) -> impl Iterator<Item = (&str, &Self)> {
        self.entries().filter_map(|(name, value)| match value {
            Value::Section(section) => Some((name, section)),
            Value::Text(_) | Value::List(_) => None,
        })
    }

    /// Reads a whole message body; the exact inverse of [`Self::write`].
    ///
    /// # Errors
    ///
    /// Any octet the format does not explain, names that are not UTF-8 or not unique, and
    /// nesting deeper than [`DEPTH_MAX`].
    pub fn read(octets: &[u8]) -> Result<Self, CodecError> {
        let mut r = Octets(octets);
        let mut open: Vec<(String, Self)> = Vec::new();
        let mut current = Self::new();
        while !r.0.is_empty() {
            match r.u8()? {
                SECTION_START => {
                    if open.len() >= DEPTH_MAX {
                        return Err(CodecError::TooDeep);
                    }
                    open.push((r.name()?, std::mem::take(&mut current)));
                }
                SECTION_END => {
                    let (name, parent) = open.pop().ok_or(CodecError::Unbalanced)?;
                    let done = std::mem::replace(&mut current, parent);
                    done.check_unique()?;
                    current.entries.push((name, Value::Section(done)));
                }
                KEY_VALUE => {
                    let name = r.name()?;
                    current.entries.push((name, Value::Text(r.value()?.to_vec())));
                }
                LIST_START => {
                    let name = r.name()?;
                    current.entries.push((name, Value::List(r.list()?)));
                }
                LIST_ITEM | LIST_END => return Err(CodecError::Unbalanced),
                element => return Err(CodecError::UnknownElement(element)),
            }
        }
        if !open.is_empty() {
            return Err(CodecError::Unbalanced);
        }
        current.check_unique()?;
        Ok(current)
    }

    /// Appends the message body.
    ///
    /// # Errors
    ///
    /// [`CodecError::NameTooLong`] and [`CodecError::ValueTooLong`]; `out` then holds a part.
    pub fn write(&self, out: &mut Vec<u8>) -> Result<(), CodecError> {
        for (name, value) in &self.entries {
            match value {
                Value::Text(text) => {
                    out.push(KEY_VALUE);
                    write_name(out, name)?;
                    write_value(out, text)?;
                }
                Value::List(items) => {
                    out.push(LIST_START);
                    write_name(out, name)?;
                    for item in items {
                        out.push(LIST_ITEM);
                        write_value(out, item)?;
                    }
                    out.push(LIST_END);
                }
                Value::Section(section) => {
                    out.push(SECTION_START);
                    write_name(out, name)?;
                    section.write(out)?;
                    out.push(SECTION_END);
                }
            }
        }
        Ok(())
    }

    // "Key names must be unique in the current section": two readers of one message would
    // otherwise disagree about which of the two counts.
    fn check_unique(&self) -> Result<(), CodecError> {
        let mut seen = BTreeSet::new();
        if self.entries.iter().all(|(name, _)| seen.insert(name.as_str())) {
            Ok(())
        } else {
            Err(CodecError::DuplicateName)
        }
    }
}

/// Appends a name behind its one-octet length.
pub(super) fn write_name(out: &mut Vec<u8>, name: &str) -> Result<(), CodecError> {
    out.push(u8::try_from(name.len()).map_err(|_| CodecError::NameTooLong)?);
    out.extend_from_slice(name.as_bytes());
    Ok(())
}

fn write_value(out: &mut Vec<u8>, value: &[u8]) -> Result<(), CodecError> {
    let len = u16::try_from(value.len()).map_err(|_| CodecError::ValueTooLong)?;
    out.extend_from_slice(&len.to_be_bytes());
    out.extend_from_slice(value);
    Ok(())
}

/// What is left to read.
pub(super) struct Octets<'a>(pub(super) &'a [u8]);

impl<'a> Octets<'a> {
    pub(super) fn u8(&mut self) -> Result<u8, CodecError> {
        let (first, rest) = self.0.split_first().ok_or(CodecError::Truncated)?;
        self.0 = rest;
        Ok(*first)
    }

    fn bytes(&mut self, len: usize) -> Result<&'a [u8], CodecError> {
        let (head, rest) = self.0.split_at_checked(len).ok_or(CodecError::Truncated)?;
        self.0 = rest;
        Ok(head)
    }

    pub(super) fn name(&mut self) -> Result<String, CodecError> {
        let len = usize::from(self.u8()?);
        let name = std::str::from_utf8(self.bytes(len)?).map_err(|_| CodecError::NameNotText)?;
        Ok(name.to_owned())
    }

    fn value(&mut self) -> Result<&'a [u8], CodecError> {
        let len = u16::from_be_bytes([self.u8()?, self.u8()?]);
        self.bytes(usize::from(len))
    }

    fn list(&mut self) -> Result<Vec<Vec<u8>>, CodecError> {
        let mut items = Vec::new();
        loop {
            match self.u8()? {
                LIST_ITEM => items.push(self.value()?.to_vec()),
                LIST_END => return Ok(items),
                SECTION_START | SECTION_END | KEY_VALUE | LIST_START => {
                    return Err(CodecError::Unbalanced);
                }
                element => return Err(CodecError::UnknownElement(element)),
            }
        }
    }
}

const SECTION_START: u8 = 1;
const SECTION_END: u8 = 2;
const KEY_VALUE: u8 = 3;
const LIST_START: u8 = 4;
const LIST_ITEM: u8 = 5;
const LIST_END: u8 = 6;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn example() -> Message {
        Message::new().with("key1", "value1").with_section(
            "section1",
            Section::new()
                .with_section("sub-section", Section::new().with("key2", "value2"))
                .with_list("list1", ["item1", "item2"]),
        )
    }

    /// The octets of the README's "Encoding example".
    const EXAMPLE: &[u8] = b"\x03\x04key1\0\x06value1\x01\x08section1\x01\x0bsub-section\
        \x03\x04key2\0\x06value2\x02\x04\x05list1\x05\0\x05item1\x05\0\x05item2\x06\x02";

    #[test]
    fn documented_example_is_written_octet_for_octet() {
        let mut out = Vec::new();
        example().write(&mut out).unwrap();
        assert_eq!(out, EXAMPLE);
    }

    #[test]
    fn documented_example_is_read() {
        assert_eq!(Message::read(EXAMPLE), Ok(example()));
    }

    #[test]
    fn every_proper_prefix_is_refused_or_a_shorter_message() {
        for end in 0..EXAMPLE.len() {
            if let Ok(message) = Message::read(&EXAMPLE[..end]) {
                assert!(message.section("section1").is_none());
            }
        }
    }

    #[test]
    fn nesting_is_bounded() {
        let nested = |depth: usize| {
            let mut octets = b"\x01\x01a".repeat(depth);
            octets.extend(vec![SECTION_END; depth]);
            Message::read(&octets)
        };
        assert!(nested(DEPTH_MAX).is_ok());
        assert_eq!(nested(DEPTH_MAX + 1), Err(CodecError::TooDeep));
        assert_eq!(nested(100_000), Err(CodecError::TooDeep));
    }

    #[test]
    fn a_name_given_twice_is_refused() {
        assert_eq!(
            Message::read(b"\x03\x01a\0\x01x\x03\x01a\0\x01y"),
            Err(CodecError::DuplicateName)
        );
    }

    #[test]
    fn lists_hold_items_only_and_items_stand_in_lists_only() {
        assert_eq!(Message::read(b"\x04\x01a\x03\x01b\0\0"), Err(CodecError::Unbalanced));
        assert_eq!(Message::read(b"\x05\0\0"), Err(CodecError::Unbalanced));
        assert_eq!(Message::read(b"\x06"), Err(CodecError::Unbalanced));
        assert_eq!(Message::read(b"\x02"), Err(CodecError::Unbalanced));
        assert_eq!(Message::read(b"\x07"), Err(CodecError::UnknownElement(7)));
    }

    #[test]
    fn a_value_too_long_for_its_length_field_is_refused() {
        let mut out = Vec::new();
        let long = Message::new().with("a", "x".repeat(VALUE_OCTETS_MAX + 1));
        assert_eq!(long.write(&mut out), Err(CodecError::ValueTooLong));
        let name = "n".repeat(NAME_OCTETS_MAX + 1);
        assert_eq!(Message::new().with(&name, 1).write(&mut out), Err(CodecError::NameTooLong));
    }

    fn tree() -> impl Strategy<Value = Message> {
        let octets = prop::collection::vec(any::<u8>(), 0..40);
        let leaf = prop_oneof![
            octets.clone().prop_map(Value::Text),
            prop::collection::vec(octets, 0..4).prop_map(Value::List),
        ];
        let value = leaf.prop_recursive(4, 40, 5, |inner| {
            prop::collection::btree_map("[a-z*-]{0,12}", inner, 0..5)
                .prop_map(|entries| Value::Section(entries.into_iter().collect()))
        });
        prop::collection::btree_map("[a-z_0-9-]{0,12}", value, 0..6)
            .prop_map(|entries| entries.into_iter().collect())
    }

    impl FromIterator<(String, Value)> for Section {
        fn from_iter<I: IntoIterator<Item = (String, Value)>>(entries: I) -> Self {
            Self { entries: entries.into_iter().collect() }
        }
    }

    proptest! {
        /// Whatever `write` emits, `read` returns.
        #[test]
        fn messages_round_trip(message in tree()) {
            let mut octets = Vec::new();
            message.write(&mut octets).unwrap();
            prop_assert_eq!(Message::read(&octets), Ok(message));
        }

        /// Whatever `read` accepts, `write` returns octet for octet.
        #[test]
        fn accepted_octets_have_one_writing(octets in prop::collection::vec(0u8..8, 0..64)) {
            if let Ok(message) = Message::read(&octets) {
                let mut again = Vec::new();
                message.write(&mut again).unwrap();
                prop_assert_eq!(again, octets);
            }
        }

        /// Garbage is refused, never fatal.
        #[test]
        fn garbage_does_not_panic(octets in prop::collection::vec(any::<u8>(), 0..512)) {
            let _ = Message::read(&octets);
        }
    }
}
