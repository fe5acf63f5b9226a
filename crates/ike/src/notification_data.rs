//! What error notifies (RFC 7296 §3.10, RFC 2408 §3.14) say beside their type, by
//! draft-ietf-ipsec-notifymsg-04: between peers that both understand it, a refusal carries a line for the
//! other operator, and names the payload that is refused. How two of them agree, and who is told what,
//! is in `v2` and `v1`.
//!
//! The lines are fixed, by the number of the code: no value of ours is in them. What a peer says is shown
//! to the operator as the peer's words and used for nothing else. It is cut, and characters that could
//! change what stands around it on a screen are replaced.

use std::fmt;

use adit_wire::iana::{ExchangeType, PayloadType};
use adit_wire::notification_data::ErrorText;
use adit_wire::{NotificationData, Reader, Writer};

/// What a peer says about an error, fit to be shown.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PeerSays {
    /// Its words, at most 160 characters and none that is not printed.
    pub text: Option<String>,
    /// Type of the payload that it is about.
    pub payload: Option<PayloadType>,
    /// Type of the exchange that it is about.
    pub exchange: Option<ExchangeType>,
}

impl fmt::Display for PeerSays {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text.as_deref().unwrap_or("something is wrong"))?;
        match (self.payload, self.exchange) {
            (Some(payload), Some(exchange)) => write!(f, " ({payload} payload of {exchange})"),
            (Some(payload), None) => write!(f, " ({payload} payload)"),
            (None, Some(exchange)) => write!(f, " ({exchange})"),
            (None, None) => Ok(()),
        }
    }
}

impl PeerSays {
    /// What the data of a notify says, if it is such a list and says anything.
    pub(crate) fn of(data: &[u8]) -> Option<Box<Self>> {
        let data = NotificationData::read(&mut Reader(data)).ok()?;
        let text = data.text.and_then(|text| shown(text.text));
        let says = Self { text, payload: data.payload_type, exchange: data.exchange };
        let is_something = says.text.is_some() || says.payload.is_some() || says.exchange.is_some();
        is_something.then(|| Box::new(says))
    }
}

/// The characters of a text that may stand on a screen, the others replaced; none if it has none.
fn shown(text: &str) -> Option<String> {
    let cut = text.trim().chars().map(|c| if is_shown(c) { c } else { REPLACEMENT });
    let mut shown: String = cut.take(TEXT_CHARS_MAX).collect();
    if text.trim().chars().nth(TEXT_CHARS_MAX).is_some() {
        shown.pop();
        shown.push('…');
    }
    (!shown.is_empty()).then_some(shown)
}

/// Whether a character shows itself and changes nothing around it: no control, no end of a line, nothing
/// that is not seen, no change of direction.
fn is_shown(c: char) -> bool {
    let is_hidden = matches!(c,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}'
        | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}'
        | '\u{fff0}'..='\u{fffb}' | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}'
        | '\u{e0000}'..='\u{e0fff}');
    !c.is_control() && !is_hidden
}

/// What there is to say about an error.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct About {
    /// The number of its code.
    pub(crate) code: Option<u16>,
    /// Type of the payload with the error.
    pub(crate) payload: Option<PayloadType>,
    /// Type of the exchange, if it is another than that of the message.
    pub(crate) exchange: Option<ExchangeType>,
}

/// The data of a notify that says that; none if there is nothing to say.
pub(crate) fn data(about: About) -> Vec<u8> {
    data_about(about, None)
}

/// The same, with the message ID of the exchange that it is about.
pub(crate) fn data_about(about: About, message_id: Option<u32>) -> Vec<u8> {
    let line = about.code.and_then(|code| Some((code, told(code)?)));
    let line = line.map(|(code, line)| format!("E{code} {line}"));
    if line.is_none() && about.payload.is_none() && about.exchange.is_none() {
        return Vec::new();
    }
    let text = line.as_deref().map(|text| ErrorText { text, language: Some("en") });
    let list = NotificationData {
        payload_type: about.payload,
        text,
        exchange: about.exchange,
        message_id,
        ..NotificationData::default()
    };
    let mut data = Vec::new();
    // Lines are short; what could not be written would not be sent.
    if list.write(&mut Writer(&mut data)).is_err() {
        data.clear();
    }
    data
}

/// What a peer is told of a code.
fn told(code: u16) -> Option<&'static str> {
    TOLD.iter().find(|(told, _)| *told == code).map(|(_, line)| *line)
}

/// The codes that a peer is told, each with its line, which is the title of the code in the registry.
pub const TOLD: [(u16, &str); 16] = [
    (101, "no common IKE algorithms"),
    (102, "no common ESP algorithms"),
    (103, "AH cannot pass a NAT"),
    (203, "the pre-shared keys differ"),
    (205, "the peer proved another identity than the configured one"),
    (207, "the peer's certificate or key is not one we trust"),
    (208, "a signature is refused"),
    (209, "the two sides authenticate in different ways"),
    (210, "the peer's certificate is for somebody else"),
    (211, "the peer's certificate has expired"),
    (212, "the peer's certificate is not valid yet"),
    (213, "the peer's certificate may not be used for this"),
    (221, "no post-quantum key in common"),
    (222, "the two sides authenticate a different number of times"),
    (301, "the two sides disagree about which networks to connect"),
    (302, "the peer claims networks that it may not speak for"),
];

/// Characters of a peer's text that are shown.
const TEXT_CHARS_MAX: usize = 160;
const REPLACEMENT: char = '\u{fffd}';

#[cfg(test)]
mod tests {
    use super::*;

    /// What could forge a line of a log, hide text or turn it around is not shown as it came.
    #[test]
    fn a_peers_text_is_made_harmless() {
        assert_eq!(
            shown("a\nb\u{1b}[31mc\u{202e}d\u{200b}e"),
            Some("a\u{fffd}b\u{fffd}[31mc\u{fffd}d\u{fffd}e".to_owned())
        );
        assert_eq!(
            shown("kein gemeinsamer Schlüssel, 鍵"),
            Some("kein gemeinsamer Schlüssel, 鍵".to_owned())
        );
        assert_eq!(shown("  \r\n"), None);
        assert_eq!(shown(""), None);
    }

    #[test]
    fn a_peers_text_is_cut() {
        let exact = "ü".repeat(TEXT_CHARS_MAX);
        assert_eq!(shown(&exact), Some(exact.clone()));
        let longer = shown(&format!("{exact}ü")).unwrap();
        assert_eq!(longer.chars().count(), TEXT_CHARS_MAX);
        assert!(longer.ends_with("ü…"));
    }

    #[test]
    fn nothing_to_say_is_no_data() {
        assert!(data(About::default()).is_empty());
        // "There is no secret for this peer" is nothing that a peer is told.
        assert!(data(About { code: Some(201), ..About::default() }).is_empty());
    }

    #[test]
    fn every_line_is_written_and_shown() {
        for (code, line) in TOLD {
            let octets = data(About { code: Some(code), ..About::default() });
            let read = NotificationData::read(&mut Reader(&octets)).unwrap();
            let text = read.text.unwrap();
            assert_eq!(text.language, Some("en"));
            assert_eq!(shown(text.text), Some(format!("E{code} {line}")));
        }
    }
}
