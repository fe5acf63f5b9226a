//! One entry of a section of swanctl.conf, and the kinds of values there are.

use std::fmt::Display;
use std::str::FromStr;
use std::time::Duration;

use super::{ConnError, ConnReason};
use crate::vici::message::{Section, Value};

/// A key that is refused, unless its value is one of those that ask for nothing.
pub(super) struct Refused(
    pub(super) &'static str,
    pub(super) &'static [&'static str],
    pub(super) &'static str,
);

/// One entry with its place.
pub(super) struct Entry<'a> {
    path: String,
    pub(super) key: String,
    value: &'a Value,
}

impl<'a> Entry<'a> {
    /// The entries of a section; `path` is the section's, empty for the connection's own.
    pub(super) fn all(path: &str, section: &'a Section) -> impl Iterator<Item = Self> {
        section.entries().map(move |(key, value)| Self {
            path: if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") },
            // swanctl compares keys without case.
            key: key.to_ascii_lowercase(),
            value,
        })
    }

    pub(super) fn is_section(&self) -> bool {
        matches!(self.value, Value::Section(_))
    }

    /// The value as one text, without spaces around it.
    pub(super) fn text(&self) -> Result<&'a str, ConnError> {
        match self.value {
            Value::Text(octets) => match std::str::from_utf8(octets) {
                Ok(text) => Ok(text.trim()),
                Err(_) => Err(self.bad("is not text")),
            },
            Value::List(_) => Err(self.bad("is a list; one value is needed")),
            Value::Section(_) => Err(self.bad("is a section; a value is needed")),
        }
    }

    /// The value as items: a list, or a text with commas as other clients than swanctl send it.
    pub(super) fn items(&self) -> Result<Vec<&'a str>, ConnError> {
        match self.value {
            Value::List(items) => {
                let items = items.iter().map(|item| std::str::from_utf8(item).map(str::trim));
                items.collect::<Result<_, _>>().map_err(|_| self.bad("is not text"))
            }
            Value::Text(_) | Value::Section(_) => {
                let items = self.text()?.split(',').map(str::trim);
                Ok(items.filter(|item| !item.is_empty()).collect())
            }
        }
    }

    /// The octets of files: a list, or one.
    pub(super) fn blobs(&self) -> Result<Vec<&'a [u8]>, ConnError> {
        match self.value {
            Value::List(items) => Ok(items.iter().map(Vec::as_slice).collect()),
            Value::Text(octets) if octets.is_empty() => Ok(Vec::new()),
            Value::Text(octets) => Ok(vec![octets]),
            Value::Section(_) => Err(self.bad("is a section; a value is needed")),
        }
    }

    pub(super) fn parsed_list<T>(&self) -> Result<Vec<T>, ConnError>
    where
        T: FromStr,
        T::Err: Display,
    {
        self.items()?.into_iter().map(|item| item.parse().map_err(|e| self.bad(e))).collect()
    }

    pub(super) fn number<T: FromStr>(&self) -> Result<T, ConnError> {
        self.text()?.parse().map_err(|_| self.bad("must be a number in range"))
    }

    /// A UDP port; 0 is as if the key were not there.
    pub(super) fn port(&self) -> Result<Option<u16>, ConnError> {
        Ok(Some(self.number()?).filter(|port| *port != 0))
    }

    pub(super) fn flag(&self) -> Result<bool, ConnError> {
        match self.text()?.to_ascii_lowercase().as_str() {
            "yes" | "true" | "enabled" | "1" => Ok(true),
            "no" | "false" | "disabled" | "0" => Ok(false),
            _ => Err(self.bad("must be yes or no")),
        }
    }

    /// Seconds, or a number with `s`, `m`, `h` or `d` behind it.
    pub(super) fn duration(&self) -> Result<Duration, ConnError> {
        parse_seconds(self.text()?)
            .map(Duration::from_secs)
            .ok_or_else(|| self.bad("must be a time such as 30s, 5m, 4h or 1d"))
    }

    /// A number, perhaps with `k`, `m` or `g` behind it for powers of 1024.
    pub(super) fn amount(&self) -> Result<u64, ConnError> {
        parse_amount(self.text()?)
            .ok_or_else(|| self.bad("must be a number, or one with k, m or g behind it"))
    }

    pub(super) fn bad(&self, reason: impl Display) -> ConnError {
        let reason = ConnReason::BadValue { value: self.shown(), reason: reason.to_string() };
        ConnError { path: self.path.clone(), reason }
    }

    /// As [`Self::bad`] for a value that is a file, which is not shown.
    pub(super) fn bad_blob(&self, reason: impl Display) -> ConnError {
        let reason =
            ConnReason::BadValue { value: "the file".to_owned(), reason: reason.to_string() };
        ConnError { path: self.path.clone(), reason }
    }

    pub(super) fn unsupported(&self, reason: &'static str) -> ConnError {
        let reason = ConnReason::Unsupported { value: self.shown(), reason };
        ConnError { path: self.path.clone(), reason }
    }

    /// A key that is not honoured: accepted, refused, or unknown.
    pub(super) fn settle(
        &self,
        honoured: &'static [&'static str],
        accepted: &'static [&'static str],
        refused: &'static [Refused],
    ) -> Result<(), ConnError> {
        let key = self.key.as_str();
        if accepted.contains(&key) {
            return Ok(());
        }
        if let Some(Refused(_, harmless, reason)) = refused.iter().find(|r| r.0 == key) {
            return if self.is_harmless(harmless) { Ok(()) } else { Err(self.unsupported(reason)) };
        }
        let known = honoured.iter().chain(accepted).copied();
        let nearest = adit_db::nearest(key, known.chain(refused.iter().map(|r| r.0)));
        Err(ConnError { path: self.path.clone(), reason: ConnReason::UnknownKey { nearest } })
    }

    /// Empty, or one of the words that ask for nothing. `no` and `0` stand for all their spellings.
    fn is_harmless(&self, words: &[&str]) -> bool {
        match self.value {
            Value::Section(_) => false,
            Value::List(items) => items.is_empty(),
            Value::Text(octets) if octets.is_empty() => true,
            Value::Text(_) => {
                let Ok(text) = self.text() else { return false };
                words.contains(&text)
                    || (words.contains(&"no") && self.flag() == Ok(false))
                    || (words.contains(&"0") && self.duration() == Ok(Duration::ZERO))
            }
        }
    }

    /// The value as it stands in a message.
    fn shown(&self) -> String {
        const SHOWN_CHARS_MAX: usize = 80;
        let text = match self.value {
            Value::Text(octets) => String::from_utf8_lossy(octets).into_owned(),
            Value::List(items) => {
                items.iter().map(|i| String::from_utf8_lossy(i)).collect::<Vec<_>>().join(", ")
            }
            Value::Section(_) => "{...}".to_owned(),
        };
        if text.chars().count() > SHOWN_CHARS_MAX {
            return text.chars().take(SHOWN_CHARS_MAX).chain("...".chars()).collect();
        }
        text
    }
}

/// Seconds of `90`, `90s`, `5m`, `4h` or `1d`.
pub(crate) fn parse_seconds(text: &str) -> Option<u64> {
    let (digits, unit) = split_unit(text);
    let factor = match unit {
        "" | "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return None,
    };
    digits.parse::<u64>().ok()?.checked_mul(factor).filter(|s| *s <= SECONDS_MAX)
}

/// A number of `500`, `500k`, `2m` or `1g`.
fn parse_amount(text: &str) -> Option<u64> {
    let (digits, unit) = split_unit(text);
    let shift = match unit {
        "" => 0,
        "k" | "K" => 10,
        "m" | "M" => 20,
        "g" | "G" => 30,
        _ => return None,
    };
    digits.parse::<u64>().ok()?.checked_mul(1 << shift)
}

fn split_unit(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, unit) = text.split_at_checked(end).unwrap_or((text, ""));
    (digits, unit.trim())
}

/// Ten years: far above any lifetime, far below where adding it to a clock overflows.
const SECONDS_MAX: u64 = 10 * 365 * 86_400;
