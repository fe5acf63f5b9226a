//! What an error notify says beside its type: draft-ietf-ipsec-notifymsg-04.
//!
//! The draft is for IKEv1, whose data attributes these are (RFC 2408 §3.3). Nothing in them is about a
//! version of IKE, so that an IKEv2 notify carries the same list between peers that have agreed on it.
//!
//! ```text
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |1|       Attribute Type        |        Attribute Value        |   basic
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |0|       Attribute Type        |       Attribute Length        |   variable
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! ~                        Attribute Value                        ~
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! ```
//!
//! The version stands first and is always written the same, so its four octets are what tells such a
//! list from other data of a notify.

use crate::iana::{ExchangeType, PayloadType};
use crate::{Reader, WireError, Writer};

/// The attributes of a list that are there. All but the version may be missing.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct NotificationData<'a> {
    /// Attribute 3: type of the payload that the error is about.
    pub payload_type: Option<PayloadType>,
    /// Attributes 4 and 5: that payload with its generic header.
    pub payload: Option<OffendingPayload<'a>>,
    /// Attributes 6 and 7: the error in words.
    pub text: Option<ErrorText<'a>>,
    /// Attribute 8: message ID of the exchange that the error is about.
    pub message_id: Option<u32>,
    /// Attribute 9: type of that exchange.
    pub exchange: Option<ExchangeType>,
    /// Attribute 10: those bits of the header's flags that are not valid.
    pub invalid_flags: Option<u8>,
    /// Attribute 11: a proposal that would have been taken.
    pub suggested_proposal: Option<&'a [u8]>,
}

/// A payload with an error in it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct OffendingPayload<'a> {
    /// Its octets, generic header first.
    pub octets: &'a [u8],
    /// Where in them the error is.
    pub offset: Option<u16>,
}

/// An error in words. Whoever shows it to people has to see to its length and its characters first.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ErrorText<'a> {
    /// The words.
    pub text: &'a str,
    /// Tag of their language (RFC 1766).
    pub language: Option<&'a str>,
}

impl<'a> NotificationData<'a> {
    /// Whether the data of a notify is such a list.
    #[must_use]
    pub fn is_one(data: &[u8]) -> bool {
        data.starts_with(&VERSION_1)
    }

    /// Reads the whole data of a notify. Attributes that are unknown, or private, mean nothing; of two of
    /// one kind the first counts.
    ///
    /// # Errors
    ///
    /// - [`WireError::BadValue`]: it is no such list, a basic attribute is written as a variable one, an
    ///   attribute is longer or larger than what it says, a text is not UTF-8, or what needs another
    ///   attribute stands alone.
    /// - [`WireError::Truncated`]: it ends inside an attribute.
    pub fn read(r: &mut Reader<'a>) -> Result<Self, WireError> {
        let truncated = |error: WireError| error.within("NotificationData");
        let version: [u8; 4] = r.array().map_err(truncated)?;
        if version != VERSION_1 {
            return Err(WireError::BadValue(
                "NotificationData.version",
                u32::from_be_bytes(version).into(),
            ));
        }
        let mut parts = Parts::default();
        while !r.is_empty() {
            let attribute = Attribute::read(r).map_err(truncated)?;
            parts.take(&attribute)?;
        }
        parts.join()
    }

    /// Appends the list; what [`Self::read`] gives back.
    ///
    /// # Errors
    ///
    /// [`WireError::TooLong`]: a value is longer than an attribute. Then part of the list is written.
    pub fn write(&self, w: &mut Writer<'_>) -> Result<(), WireError> {
        w.bytes(&VERSION_1);
        if let Some(kind) = self.payload_type {
            put_basic(PAYLOAD_TYPE, kind.0.into(), w);
        }
        if let Some(payload) = self.payload {
            put_variable(PAYLOAD, payload.octets, w)?;
            if let Some(offset) = payload.offset {
                put_basic(OFFSET, offset, w);
            }
        }
        if let Some(text) = self.text {
            put_variable(TEXT, text.text.as_bytes(), w)?;
            if let Some(language) = text.language {
                put_variable(LANGUAGE, language.as_bytes(), w)?;
            }
        }
        if let Some(id) = self.message_id {
            put_variable(MESSAGE_ID, &id.to_be_bytes(), w)?;
        }
        if let Some(exchange) = self.exchange {
            put_basic(EXCHANGE, exchange.0.into(), w);
        }
        if let Some(flags) = self.invalid_flags {
            put_basic(FLAGS, flags.into(), w);
        }
        if let Some(proposal) = self.suggested_proposal {
            put_variable(PROPOSAL, proposal, w)?;
        }
        Ok(())
    }
}

/// One attribute; the value of a basic one has two octets.
struct Attribute<'a> {
    kind: u16,
    is_basic: bool,
    value: &'a [u8],
}

impl<'a> Attribute<'a> {
    fn read(r: &mut Reader<'a>) -> Result<Self, WireError> {
        let head = r.u16()?;
        let (kind, is_basic) = (head & !BASIC, head & BASIC != 0);
        let len = if is_basic { 2 } else { r.u16()? };
        Ok(Self { kind, is_basic, value: r.bytes(len.into())? })
    }

    /// The number of an attribute that is basic and nothing else (RFC 2407 §4.5).
    fn number(&self, name: &'static str) -> Result<u16, WireError> {
        match *self.value {
            [high, low] if self.is_basic => Ok(u16::from_be_bytes([high, low])),
            _ => Err(WireError::BadValue(name, len_of(self.value))),
        }
    }

    fn octet(&self, name: &'static str) -> Result<u8, WireError> {
        let number = self.number(name)?;
        u8::try_from(number).map_err(|_| WireError::BadValue(name, number.into()))
    }

    fn text(&self, name: &'static str) -> Result<&'a str, WireError> {
        core::str::from_utf8(self.value).map_err(|_| WireError::BadValue(name, len_of(self.value)))
    }
}

fn len_of(value: &[u8]) -> u64 {
    u64::try_from(value.len()).unwrap_or(u64::MAX)
}

/// What has been read, before it is known whether it belongs together.
#[derive(Default)]
struct Parts<'a> {
    data: NotificationData<'a>,
    payload: Option<&'a [u8]>,
    offset: Option<u16>,
    text: Option<&'a str>,
    language: Option<&'a str>,
}

impl<'a> Parts<'a> {
    fn take(&mut self, attribute: &Attribute<'a>) -> Result<(), WireError> {
        let data = &mut self.data;
        match attribute.kind {
            PAYLOAD_TYPE => {
                let kind = attribute.octet("NotificationData.payload_type")?;
                data.payload_type.get_or_insert(PayloadType(kind));
            }
            PAYLOAD => {
                self.payload.get_or_insert(attribute.value);
            }
            OFFSET => {
                self.offset.get_or_insert(attribute.number("NotificationData.offset")?);
            }
            TEXT => {
                self.text.get_or_insert(attribute.text("NotificationData.text")?);
            }
            LANGUAGE => {
                self.language.get_or_insert(attribute.text("NotificationData.language")?);
            }
            MESSAGE_ID => {
                data.message_id.get_or_insert(message_id(attribute)?);
            }
            EXCHANGE => {
                let exchange = attribute.octet("NotificationData.exchange")?;
                data.exchange.get_or_insert(ExchangeType(exchange));
            }
            FLAGS => {
                let flags = attribute.octet("NotificationData.invalid_flags")?;
                data.invalid_flags.get_or_insert(flags);
            }
            PROPOSAL => {
                data.suggested_proposal.get_or_insert(attribute.value);
            }
            _ => {}
        }
        Ok(())
    }

    fn join(self) -> Result<NotificationData<'a>, WireError> {
        let Self { data, payload, offset, text, language } = self;
        if payload.is_none()
            && let Some(offset) = offset
        {
            return Err(WireError::BadValue("NotificationData.offset", offset.into()));
        }
        if text.is_none() && language.is_some() {
            return Err(WireError::BadValue("NotificationData.language", 0));
        }
        let payload = payload.map(|octets| OffendingPayload { octets, offset });
        let text = text.map(|text| ErrorText { text, language });
        Ok(NotificationData { payload, text, ..data })
    }
}

/// A message ID that fits two octets may stand in a basic attribute.
fn message_id(attribute: &Attribute<'_>) -> Result<u32, WireError> {
    match *attribute.value {
        [a, b, c, d] => Ok(u32::from_be_bytes([a, b, c, d])),
        [high, low] => Ok(u16::from_be_bytes([high, low]).into()),
        _ => Err(WireError::BadValue("NotificationData.message_id", len_of(attribute.value))),
    }
}

fn put_basic(kind: u16, value: u16, w: &mut Writer<'_>) {
    w.u16(kind | BASIC);
    w.u16(value);
}

/// A value of two octets is shorter as a basic attribute, which it may be.
fn put_variable(kind: u16, value: &[u8], w: &mut Writer<'_>) -> Result<(), WireError> {
    if let [high, low] = *value {
        put_basic(kind, u16::from_be_bytes([high, low]), w);
        return Ok(());
    }
    let len = u16::try_from(value.len()).map_err(|_| WireError::TooLong("NotificationData"))?;
    w.u16(kind);
    w.u16(len);
    w.bytes(value);
    Ok(())
}

/// Attribute 12 with the value 1.
const VERSION_1: [u8; 4] = [0x80, 12, 0, 1];
/// The bit of basic attributes.
const BASIC: u16 = 0x8000;

const PAYLOAD_TYPE: u16 = 3;
const PAYLOAD: u16 = 4;
const OFFSET: u16 = 5;
const TEXT: u16 = 6;
const LANGUAGE: u16 = 7;
const MESSAGE_ID: u16 = 8;
const EXCHANGE: u16 = 9;
const FLAGS: u16 = 10;
const PROPOSAL: u16 = 11;

#[cfg(test)]
mod tests {
    use alloc::string::String;
    use alloc::vec::Vec;

    use proptest::prelude::*;

    use super::*;

    fn read(octets: &[u8]) -> Result<NotificationData<'_>, WireError> {
        let mut r = Reader(octets);
        let data = NotificationData::read(&mut r);
        assert!(data.is_err() || r.is_empty());
        data
    }

    fn written(data: &NotificationData<'_>) -> Vec<u8> {
        let mut octets = Vec::new();
        data.write(&mut Writer(&mut octets)).unwrap();
        octets
    }

    /// Version, payload type 33, text "no", language "en" in two octets each, message ID 7.
    const KNOWN: [u8; 24] = [
        0x80, 12, 0, 1, 0x80, 3, 0, 33, 0x80, 6, b'n', b'o', 0x80, 7, b'e', b'n', 0, 8, 0, 4, 0, 0,
        0, 7,
    ];

    #[test]
    fn a_known_list_is_read_and_written() {
        let data = NotificationData {
            payload_type: Some(PayloadType::SA),
            text: Some(ErrorText { text: "no", language: Some("en") }),
            message_id: Some(7),
            ..NotificationData::default()
        };
        assert_eq!(read(&KNOWN), Ok(data));
        assert_eq!(written(&data), KNOWN);
        assert!(NotificationData::is_one(&KNOWN));
    }

    /// Both forms of a value that fits two octets mean the same; basic ones have one form.
    #[test]
    fn a_short_value_has_two_forms() {
        let basic = [0x80, 12, 0, 1, 0x80, 6, b'n', b'o'];
        let variable = [0x80, 12, 0, 1, 0, 6, 0, 2, b'n', b'o'];
        assert_eq!(read(&basic), read(&variable));
        let id = [0x80, 12, 0, 1, 0x80, 8, 1, 2];
        assert_eq!(read(&id).unwrap().message_id, Some(0x0102));
        let payload_type = [0x80, 12, 0, 1, 0, 3, 0, 2, 0, 33];
        assert!(matches!(read(&payload_type), Err(WireError::BadValue(..))));
    }

    #[test]
    fn what_is_no_list_is_refused() {
        for other in [&[0, 12, 0, 1][..], &[0x80, 12, 0, 2], &[0x80, 11, 0, 1], &[0, 31]] {
            assert!(!NotificationData::is_one(other));
            assert!(read(other).is_err());
        }
        for len in (0..KNOWN.len()).filter(|len| ![4, 8, 12, 16].contains(len)) {
            assert!(matches!(read(&KNOWN[..len]), Err(WireError::Truncated(_))), "{len}");
        }
    }

    #[test]
    fn unknown_attributes_mean_nothing() {
        let mut octets = KNOWN.to_vec();
        octets.extend([0x80, 2, 0, 0, 0x80, 13, 0, 0, 0x40, 0, 0, 1, 9, 0xc0, 1, 0, 0]);
        assert_eq!(read(&octets), read(&KNOWN));
    }

    /// "Requires": an offset is within a payload, a language is that of a text.
    #[test]
    fn what_requires_another_does_not_stand_alone() {
        assert!(read(&[0x80, 12, 0, 1, 0x80, 5, 0, 4]).is_err());
        assert!(read(&[0x80, 12, 0, 1, 0x80, 7, b'e', b'n']).is_err());
    }

    #[test]
    fn a_text_is_utf_8_and_an_octet_is_one() {
        assert!(read(&[0x80, 12, 0, 1, 0x80, 6, 0xff, 0xfe]).is_err());
        assert!(read(&[0x80, 12, 0, 1, 0x80, 9, 1, 0]).is_err());
        assert!(read(&[0x80, 12, 0, 1, 0x80, 10, 1, 0]).is_err());
        assert!(read(&[0x80, 12, 0, 1, 0, 8, 0, 3, 1, 2, 3]).is_err());
    }

    #[test]
    fn what_is_too_long_is_not_written() {
        let long = [0; 0x1_0000];
        let data =
            NotificationData { suggested_proposal: Some(&long), ..NotificationData::default() };
        let refused = Err(WireError::TooLong("NotificationData"));
        assert_eq!(data.write(&mut Writer(&mut Vec::new())), refused);
    }

    proptest! {
        #[test]
        fn lists_round_trip(
            payload_type: Option<u8>,
            octets in prop::option::of(prop::collection::vec(any::<u8>(), 0..40)),
            offset: Option<u16>,
            text in prop::option::of(".{0,20}"),
            language in prop::option::of("[a-z]{0,4}"),
            message_id: Option<u32>,
            exchange: Option<u8>,
            invalid_flags: Option<u8>,
            proposal in prop::option::of(prop::collection::vec(any::<u8>(), 0..40)),
        ) {
            let text: Option<String> = text;
            let data = NotificationData {
                payload_type: payload_type.map(PayloadType),
                payload: octets.as_deref().map(|octets| OffendingPayload { octets, offset }),
                text: text.as_deref().map(|text| ErrorText { text, language: language.as_deref() }),
                message_id,
                exchange: exchange.map(ExchangeType),
                invalid_flags,
                suggested_proposal: proposal.as_deref(),
            };
            let octets = written(&data);
            prop_assert_eq!(read(&octets), Ok(data));
        }

        #[test]
        fn any_octets_are_a_list_or_an_error(octets in prop::collection::vec(any::<u8>(), 0..80)) {
            let octets = [&VERSION_1[..], &octets].concat();
            if let Ok(data) = read(&octets) {
                let again = written(&data);
                prop_assert!(again.len() <= octets.len());
                prop_assert_eq!(read(&again), Ok(data));
            }
        }
    }
}
