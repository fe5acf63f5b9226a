//! Distinguished names (RFC 5280 §4.1.2.4), ID_DER_ASN1_DN in IKE (RFC 7296 §3.5).
//!
//! As text they look as in swanctl.conf: `C=CH, O=strongSwan, CN=gw.example`.

use std::fmt::Write as _;

use der::Tag;

use crate::algorithm::{OBJECT_IDENTIFIER, SEQUENCE, element};
use crate::read::Reader;
use crate::{PkiError, oid};

/// Relative names in one name.
const PARTS_MAX: usize = 64;

/// One attribute of a name.
#[derive(Clone, Copy)]
struct Attribute<'a> {
    kind: &'a [u8],
    tag: Tag,
    value: &'a [u8],
}

/// Whether both are names of the same entity: the same attributes in the same order, their texts
/// compared without case and without regard to how they are encoded and spaced (RFC 5280 §7.1).
/// What is no name is the same as nothing but its own octets.
pub fn same(a: &[u8], b: &[u8]) -> bool {
    a == b || canonical(a) == canonical(b)
}

/// The form that all octets have in common which are the [`same`] name. It is no name itself.
pub fn canonical(name: &[u8]) -> Vec<u8> {
    let Ok(attributes) = attributes(name) else { return [&[NO_NAME], name].concat() };
    let mut out = vec![NAME];
    for attribute in &attributes {
        out.extend(element(OBJECT_IDENTIFIER, attribute.kind));
        out.extend(match string(attribute) {
            Some(text) => element(UTF8_STRING, folded(&text).as_bytes()),
            None => element(attribute.tag.number().value().to_be_bytes()[3], attribute.value),
        });
    }
    out
}

/// A name as text; `None` if the octets are none.
pub fn text(name: &[u8]) -> Option<String> {
    let attributes = attributes(name).ok()?;
    let mut out = String::new();
    for attribute in &attributes {
        if !out.is_empty() {
            out.push_str(", ");
        }
        match word(attribute.kind) {
            Some(word) => out.push_str(word),
            None => attribute.kind.iter().for_each(|octet| {
                let _ = write!(out, "{octet:02x}");
            }),
        }
        out.push('=');
        match string(attribute) {
            Some(value) => value.chars().filter(|c| !c.is_control()).for_each(|c| match c {
                ',' | '\\' => out.extend(['\\', c]),
                _ => out.push(c),
            }),
            None => attribute.value.iter().for_each(|octet| {
                let _ = write!(out, "{octet:02x}");
            }),
        }
    }
    Some(out)
}

/// The DER of a name in words: `C=CH, O=strongSwan, CN=gw.example`, or with `/` between.
///
/// # Errors
///
/// What is wrong with it.
pub fn from_text(text: &str) -> Result<Vec<u8>, String> {
    let mut relative = Vec::new();
    for part in split(text) {
        let (key, value) = part
            .split_once('=')
            .ok_or_else(|| format!("{part:?} is no attribute such as CN=gw.example"))?;
        let (key, value) = (key.trim(), value.trim());
        let kind = WORDS.iter().find(|(word, _)| word.eq_ignore_ascii_case(key));
        let Some((_, kind)) = kind else {
            return Err(format!("{key:?} is no attribute of a name"));
        };
        if value.is_empty() {
            return Err(format!("{key} has no value"));
        }
        if value.contains('*') {
            return Err("wildcards in distinguished names are not supported".to_owned());
        }
        let value = element(string_tag(kind, value), value.as_bytes());
        let attribute = element(SEQUENCE, &[element(OBJECT_IDENTIFIER, kind), value].concat());
        relative.push(element(SET, &attribute));
    }
    match relative.len() {
        0 => Err("a name has at least one attribute".to_owned()),
        1..=PARTS_MAX => Ok(element(SEQUENCE, &relative.concat())),
        _ => Err(format!("a name has at most {PARTS_MAX} attributes")),
    }
}

/// Cuts at commas that no backslash protects, or at slashes if it begins with one.
fn split(text: &str) -> Vec<String> {
    let (text, between) = match text.trim().strip_prefix('/') {
        Some(rest) => (rest, '/'),
        None => (text.trim(), ','),
    };
    let mut parts = vec![String::new()];
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        let part = parts.last_mut();
        match (c, part) {
            ('\\', Some(part)) => part.extend(chars.next()),
            (c, _) if c == between => parts.push(String::new()),
            (c, Some(part)) => part.push(c),
            (_, None) => {}
        }
    }
    parts.retain(|part| !part.trim().is_empty());
    parts
}

/// RFC 5280 §4.1.2.4 and Appendix A: which string type an attribute has.
fn string_tag(kind: &[u8], value: &str) -> u8 {
    let is_printable = |c: char| c.is_ascii_alphanumeric() || " '()+,-./:=?".contains(c);
    if kind == oid::EMAIL || kind == oid::DOMAIN_COMPONENT {
        IA5_STRING
    } else if value.chars().all(is_printable) {
        PRINTABLE_STRING
    } else {
        UTF8_STRING
    }
}

fn attributes(name: &[u8]) -> Result<Vec<Attribute<'_>>, PkiError> {
    let mut outer = Reader::new(name, PART)?;
    let mut relative = outer.sequence(PART)?;
    outer.finish()?;
    let mut attributes = Vec::new();
    while !relative.is_empty() {
        let mut set = Reader::new(relative.take(Tag::Set)?, PART)?;
        while !set.is_empty() {
            if attributes.len() >= PARTS_MAX {
                return Err(PkiError::TooMuch("attributes of a name"));
            }
            let mut pair = set.sequence(PART)?;
            let kind = pair.take(Tag::ObjectIdentifier)?;
            let value = pair.any()?;
            pair.finish()?;
            attributes.push(Attribute { kind, tag: value.tag, value: value.value });
        }
    }
    Ok(attributes)
}

/// Letters without case, runs of spaces as one, none at the ends.
fn folded(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ").to_lowercase()
}

fn string(attribute: &Attribute<'_>) -> Option<String> {
    let (tag, value) = (attribute.tag, attribute.value);
    if [Tag::Utf8String, Tag::PrintableString, Tag::Ia5String].contains(&tag) {
        return std::str::from_utf8(value).ok().map(str::to_owned);
    }
    // T.61 as everybody uses it: ISO 8859-1.
    if tag == Tag::TeletexString {
        return Some(value.iter().map(|octet| char::from(*octet)).collect());
    }
    if tag != Tag::BmpString {
        return None;
    }
    let (pairs, rest) = value.as_chunks::<2>();
    let units = pairs.iter().map(|pair| u16::from_be_bytes(*pair));
    let text: Result<String, _> = char::decode_utf16(units).collect();
    text.ok().filter(|_| rest.is_empty())
}

fn word(kind: &[u8]) -> Option<&'static str> {
    WORDS.iter().find(|(_, octets)| *octets == kind).map(|(word, _)| *word)
}

/// The first word of a kind is the one that is written.
const WORDS: &[(&str, &[u8])] = &[
    ("C", oid::COUNTRY),
    ("ST", oid::STATE),
    ("L", oid::LOCALITY),
    ("O", oid::ORGANIZATION),
    ("OU", oid::UNIT),
    ("CN", oid::COMMON_NAME),
    ("E", oid::EMAIL),
    ("emailAddress", oid::EMAIL),
    ("DC", oid::DOMAIN_COMPONENT),
    ("UID", oid::USER_ID),
    ("SN", oid::SERIAL_NUMBER),
    ("serialNumber", oid::SERIAL_NUMBER),
    ("S", oid::SURNAME),
    ("G", oid::GIVEN_NAME),
    ("T", oid::TITLE),
    ("STREET", oid::STREET),
    ("postalCode", oid::POSTAL_CODE),
];

const PART: &str = "distinguished name";
/// What stands in front of a canonical form: DER begins with neither.
const NAME: u8 = 0;
const NO_NAME: u8 = 1;
const SET: u8 = 0x31;
const UTF8_STRING: u8 = 0x0c;
const PRINTABLE_STRING: u8 = 0x13;
const IA5_STRING: u8 = 0x16;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_are_written_as_they_are_read() {
        for name in
            ["C=CH, O=strongSwan, CN=gw.example", "CN=a\\, b, E=x@y.example", "DC=org, O=Grün"]
        {
            assert_eq!(text(&from_text(name).unwrap()).as_deref(), Some(name));
        }
        let slashes = from_text("/C=CH/CN=gw").unwrap();
        assert_eq!(slashes, from_text("C=CH, CN=gw").unwrap());
        for bad in ["", "gw", "X=1", "CN=", "CN=*"] {
            assert!(from_text(bad).is_err(), "{bad}");
        }
    }

    /// CHECKLIST F21: DN compare with short or odd encodings.
    #[test]
    fn encoding_case_and_spaces_do_not_matter() {
        let printable = from_text("C=CH, CN=Gate  Way").unwrap();
        let mut utf8 = from_text("C=CH, CN=gate way ").unwrap();
        assert!(same(&printable, &utf8));
        // The common name as UTF8String.
        let at = utf8.iter().rposition(|octet| *octet == PRINTABLE_STRING).unwrap();
        utf8[at] = UTF8_STRING;
        assert!(same(&printable, &utf8));
        assert!(!same(&printable, &from_text("CN=Gate Way, C=CH").unwrap()));
        assert!(!same(&printable, &from_text("C=CH, CN=Gate Way, O=x").unwrap()));
        assert!(!same(&printable, &printable[..printable.len() - 1]));
        assert!(!same(&[], &printable) && same(&[], &[]));
        // An empty name, and a name of one empty set.
        assert!(!same(&[0x30, 0], &printable));
        assert!(!same(&[0x30, 2, 0x31, 0], &printable));
    }

    proptest! {
        #[test]
        fn octets_never_panic(a in prop::collection::vec(any::<u8>(), 0..80), b in prop::collection::vec(any::<u8>(), 0..80)) {
            let _ = (text(&a), same(&a, &b));
            prop_assert!(same(&a, &a));
        }
    }
}
