//! As much of VICI as a load generator needs: one command at a time, texts in its arguments, and of
//! an answer the text of one key.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;

use anyhow::{Context as _, bail, ensure};

const REQUEST: u8 = 0;
const RESPONSE: u8 = 1;
const SECTION_START: u8 = 1;
const SECTION_END: u8 = 2;
const KEY_VALUE: u8 = 3;
const LIST_START: u8 = 4;
const LIST_ITEM: u8 = 5;
const LIST_END: u8 = 6;
/// Longest answer taken.
const PACKET_OCTETS_MAX: usize = 512 * 1024;

/// One connection to a daemon.
pub(super) struct Client(UnixStream);

impl Client {
    /// Connects.
    pub(super) fn connect(socket: &Path) -> anyhow::Result<Self> {
        let stream = UnixStream::connect(socket);
        stream.map(Self).with_context(|| format!("cannot connect to {}", socket.display()))
    }

    /// The stream, to wait for an answer.
    pub(super) fn stream(&self) -> &UnixStream {
        &self.0
    }

    /// Sends a command.
    pub(super) fn send(&mut self, name: &str, arguments: &[(&str, &str)]) -> anyhow::Result<()> {
        let mut body = vec![REQUEST];
        put_name(&mut body, name)?;
        for (key, value) in arguments {
            body.push(KEY_VALUE);
            put_name(&mut body, key)?;
            body.extend(u16::try_from(value.len())?.to_be_bytes());
            body.extend(value.as_bytes());
        }
        let mut packet = u32::try_from(body.len())?.to_be_bytes().to_vec();
        packet.extend(body);
        self.0.write_all(&packet).context("the daemon does not read")
    }

    /// Waits for the answer of a command.
    pub(super) fn answer(&mut self) -> anyhow::Result<Answer> {
        let mut prefix = [0; 4];
        self.0.read_exact(&mut prefix).context("the daemon does not answer")?;
        let length = usize::try_from(u32::from_be_bytes(prefix))?;
        ensure!((1..=PACKET_OCTETS_MAX).contains(&length), "an answer of {length} octets");
        let mut packet = vec![0; length];
        self.0.read_exact(&mut packet).context("the daemon does not answer")?;
        match packet.split_first() {
            Some((&RESPONSE, message)) => Answer::read(message),
            _ => bail!("the daemon knows no such command"),
        }
    }

    /// Runs a command.
    pub(super) fn ask(&mut self, name: &str, arguments: &[(&str, &str)]) -> anyhow::Result<Answer> {
        self.send(name, arguments)?;
        self.answer()
    }
}

/// The texts of an answer, each by the names on the way to it: `ikesas.total`.
#[derive(Debug)]
pub(super) struct Answer(Vec<(String, String)>);

impl Answer {
    fn read(mut octets: &[u8]) -> anyhow::Result<Self> {
        let mut texts = Vec::new();
        let mut way: Vec<String> = Vec::new();
        while let Some((element, rest)) = octets.split_first() {
            octets = rest;
            match *element {
                SECTION_START | LIST_START => way.push(take_name(&mut octets)?),
                SECTION_END | LIST_END => drop(way.pop()),
                KEY_VALUE => {
                    way.push(take_name(&mut octets)?);
                    texts.push((way.join("."), take_value(&mut octets)?));
                    way.pop();
                }
                LIST_ITEM => texts.push((way.join("."), take_value(&mut octets)?)),
                other => bail!("an element {other} in an answer"),
            }
        }
        Ok(Self(texts))
    }

    /// The text of a key.
    pub(super) fn text(&self, key: &str) -> Option<&str> {
        self.0.iter().find(|(name, _)| name == key).map(|(_, text)| text.as_str())
    }

    /// The number of a key.
    pub(super) fn number(&self, key: &str) -> anyhow::Result<usize> {
        let text = self.text(key).with_context(|| format!("no {key} in an answer"))?;
        text.parse().with_context(|| format!("{key} is {text}"))
    }

    /// An error unless the command was successful.
    pub(super) fn check(&self) -> anyhow::Result<()> {
        let refused = self.text("success") == Some("no");
        ensure!(!refused, "refused: {}", self.text("errmsg").unwrap_or("no reason given"));
        Ok(())
    }
}

fn put_name(out: &mut Vec<u8>, name: &str) -> anyhow::Result<()> {
    out.push(u8::try_from(name.len())?);
    out.extend(name.as_bytes());
    Ok(())
}

fn take_name(octets: &mut &[u8]) -> anyhow::Result<String> {
    let (length, rest) = octets.split_first().context("an answer ends early")?;
    *octets = rest;
    take(octets, (*length).into())
}

fn take_value(octets: &mut &[u8]) -> anyhow::Result<String> {
    let (length, rest) = octets.split_first_chunk::<2>().context("an answer ends early")?;
    *octets = rest;
    take(octets, u16::from_be_bytes(*length).into())
}

fn take(octets: &mut &[u8], length: usize) -> anyhow::Result<String> {
    let (text, rest) = octets.split_at_checked(length).context("an answer ends early")?;
    *octets = rest;
    Ok(String::from_utf8_lossy(text).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_found_by_the_names_around_them() {
        let octets = b"\x01\x06ikesas\x03\x05total\0\x0212\x02\x03\x07success\0\x02no\
            \x04\x01l\x05\0\x01a\x06\x03\x06errmsg\0\x04busy";
        let answer = Answer::read(octets).unwrap();
        assert_eq!(answer.number("ikesas.total").unwrap(), 12);
        assert_eq!(answer.text("l"), Some("a"));
        assert_eq!(answer.check().unwrap_err().to_string(), "refused: busy");
        assert!(Answer::read(b"\x03\x05tot").is_err());
    }
}
