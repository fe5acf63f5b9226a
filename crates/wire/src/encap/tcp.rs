//! IKE and ESP in one TCP stream, RFC 9329 §3 and §4.
//!
//! ```text
//! originator only: "IKETCP"
//! then each way:   | length (2), itself included | zero marker (4) | IKE message |
//!                  | length (2), itself included | ESP packet from its SPI on    |
//! ```

use alloc::boxed::Box;
use alloc::vec;

use super::udp::{Encapsulated, NON_ESP_MARKER, classify};
use crate::WireError;

/// What whoever opens the connection sends first (RFC 9329 §4).
pub const STREAM_PREFIX: [u8; 6] = *b"IKETCP";

/// Octets of the length field.
pub const LENGTH_LEN: usize = 2;

/// What stands before an IKE message of `len` octets; `None` if it is too long for a frame.
#[must_use]
pub fn ike_header(len: usize) -> Option<[u8; LENGTH_LEN + NON_ESP_MARKER.len()]> {
    let whole = len.checked_add(LENGTH_LEN)?.checked_add(NON_ESP_MARKER.len())?;
    let [l0, l1] = u16::try_from(whole).ok()?.to_be_bytes();
    Some([l0, l1, 0, 0, 0, 0])
}

/// What stands before an ESP packet of `len` octets; `None` if it is too long for a frame.
#[must_use]
pub fn esp_header(len: usize) -> Option<[u8; LENGTH_LEN]> {
    let whole = len.checked_add(LENGTH_LEN)?;
    Some(u16::try_from(whole).ok()?.to_be_bytes())
}

/// Cuts what comes out of a TCP connection into messages, however the segments fall.
///
/// ```
/// use adit_wire::encap::{tcp::StreamReader, udp::Encapsulated};
///
/// let mut reader = StreamReader::of_responder();
/// reader.spare_mut()[..9].copy_from_slice(&[0, 8, 0, 0, 0, 0, 1, 2, 0]);
/// reader.advance(9);
/// assert_eq!(reader.next_message(), Ok(Some(Encapsulated::Ike(&[1, 2]))));
/// assert_eq!(reader.next_message(), Ok(None));
/// ```
#[derive(Debug)]
pub struct StreamReader {
    octets: Box<[u8]>,
    start: usize,
    end: usize,
    /// The prefix is still to come.
    awaits_prefix: bool,
}

impl StreamReader {
    /// For the side that accepted the connection: the stream begins with [`STREAM_PREFIX`].
    #[must_use]
    pub fn of_originator() -> Self {
        Self { awaits_prefix: true, ..Self::of_responder() }
    }

    /// For the side that opened the connection: the stream begins with a message.
    #[must_use]
    pub fn of_responder() -> Self {
        let octets = vec![0; CAPACITY].into_boxed_slice();
        Self { octets, start: 0, end: 0, awaits_prefix: false }
    }

    /// Room for what is read from the connection, never empty if [`Self::next_message`] has been
    /// called until it had no more; [`Self::advance`] then says how much it was.
    pub fn spare_mut(&mut self) -> &mut [u8] {
        if self.start > 0 {
            self.octets.copy_within(self.start..self.end, 0);
            self.end = self.end.saturating_sub(self.start);
            self.start = 0;
        }
        self.octets.get_mut(self.end..).unwrap_or_default()
    }

    /// Notes that `len` octets were read (at most all the room there was).
    pub fn advance(&mut self, len: usize) {
        self.end = self.end.saturating_add(len).min(self.octets.len());
    }

    /// The next message; `None` if it has not come in whole.
    ///
    /// # Errors
    ///
    /// [`WireError::BadValue`] if this is no such stream: a wrong prefix, or a length below that of
    /// the field itself. There is no way to find the next message then, and the connection has to
    /// be closed.
    pub fn next_message(&mut self) -> Result<Option<Encapsulated<'_>>, WireError> {
        if self.awaits_prefix {
            let len = self.unread().len().min(STREAM_PREFIX.len());
            if self.unread().get(..len) != STREAM_PREFIX.get(..len) {
                let first = self.unread().first().copied().unwrap_or_default();
                return Err(WireError::BadValue("TCP stream prefix", first.into()));
            }
            if len < STREAM_PREFIX.len() {
                return Ok(None);
            }
            self.start = self.start.saturating_add(len);
            self.awaits_prefix = false;
        }
        let Some(length) = self.unread().first_chunk::<LENGTH_LEN>() else {
            return Ok(None);
        };
        let length = usize::from(u16::from_be_bytes(*length));
        if length < LENGTH_LEN {
            return Err(WireError::BadValue("TCP frame length", length as u64));
        }
        let from = self.start;
        let to = from.saturating_add(length);
        if to > self.end {
            return Ok(None);
        }
        self.start = to;
        let message = self.octets.get(from.saturating_add(LENGTH_LEN)..to).unwrap_or_default();
        Ok(Some(classify(message)))
    }

    fn unread(&self) -> &[u8] {
        self.octets.get(self.start..self.end).unwrap_or_default()
    }
}

/// The longest frame behind the prefix, and as much again, so that a read is never a short one.
const CAPACITY: usize = 2 * (u16::MAX as usize + 1);

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use proptest::prelude::*;

    use super::*;

    /// One message of the stream, owned.
    #[derive(Clone, Debug, Eq, PartialEq)]
    enum Message {
        Ike(Vec<u8>),
        Esp(Vec<u8>),
        Keepalive,
        TooShort,
    }

    fn owned(message: Encapsulated<'_>) -> Message {
        match message {
            Encapsulated::Ike(octets) => Message::Ike(octets.to_vec()),
            Encapsulated::Esp(octets) => Message::Esp(octets.to_vec()),
            Encapsulated::Keepalive => Message::Keepalive,
            Encapsulated::TooShort => Message::TooShort,
        }
    }

    fn frame(message: &Message) -> Vec<u8> {
        match message {
            Message::Ike(octets) => [&ike_header(octets.len()).unwrap()[..], octets].concat(),
            Message::Esp(octets) => [&esp_header(octets.len()).unwrap()[..], octets].concat(),
            Message::Keepalive => [0, 3, 0xff].to_vec(),
            Message::TooShort => [0, 2].to_vec(),
        }
    }

    fn any_message() -> impl Strategy<Value = Message> {
        let octets = || prop::collection::vec(any::<u8>(), 4..200);
        prop_oneof![
            4 => octets().prop_map(Message::Ike),
            4 => octets().prop_map(|tail| Message::Esp([vec![9, 8, 7, 6], tail].concat())),
            1 => Just(Message::Esp([vec![9; 60], vec![1; 65_473]].concat())),
            1 => Just(Message::Keepalive),
            1 => Just(Message::TooShort),
        ]
    }

    proptest! {
        /// However TCP cuts the stream, the messages come out whole and in order.
        #[test]
        fn messages_come_out_as_they_went_in(
            messages in prop::collection::vec(any_message(), 0..8),
            cuts in prop::collection::vec(1_usize..3_000, 1..20),
            originator: bool,
        ) {
            let prefix = if originator { &STREAM_PREFIX[..] } else { &[] };
            let frames: Vec<u8> = messages.iter().flat_map(frame).collect();
            let stream = [prefix, &frames].concat();
            let mut reader =
                if originator { StreamReader::of_originator() } else { StreamReader::of_responder() };
            let (mut found, mut rest) = (Vec::new(), &stream[..]);
            let mut cuts = cuts.into_iter().cycle();
            while !rest.is_empty() {
                let spare = reader.spare_mut();
                let len = cuts.next().unwrap().min(rest.len()).min(spare.len());
                prop_assert!(len > 0);
                spare[..len].copy_from_slice(&rest[..len]);
                reader.advance(len);
                rest = &rest[len..];
                while let Some(message) = reader.next_message().unwrap() {
                    found.push(owned(message));
                }
            }
            prop_assert!(found == messages);
        }

        /// Whatever comes, reading ends: with an error, or with less unread than a frame.
        #[test]
        fn any_stream_is_read_or_refused(
            stream in prop::collection::vec(any::<u8>(), 0..600),
            originator: bool,
        ) {
            let mut reader =
                if originator { StreamReader::of_originator() } else { StreamReader::of_responder() };
            reader.spare_mut()[..stream.len()].copy_from_slice(&stream);
            reader.advance(stream.len());
            let mut count = 0;
            while let Ok(Some(_)) = reader.next_message() {
                count += 1;
            }
            prop_assert!(count <= stream.len() / LENGTH_LEN);
            prop_assert!(!reader.spare_mut().is_empty());
        }
    }

    fn read(originator: bool, stream: &[u8]) -> Result<Option<Message>, WireError> {
        let mut reader =
            if originator { StreamReader::of_originator() } else { StreamReader::of_responder() };
        reader.spare_mut()[..stream.len()].copy_from_slice(stream);
        reader.advance(stream.len());
        reader.next_message().map(|message| message.map(owned))
    }

    /// RFC 9329 §3.1 and §3.2: the length counts itself and the marker.
    #[test]
    fn lengths_count_themselves() {
        assert_eq!(ike_header(28), Some([0, 34, 0, 0, 0, 0]));
        assert_eq!(esp_header(1_400), Some([0x05, 0x7a]));
        assert_eq!(ike_header(65_529), Some([0xff, 0xff, 0, 0, 0, 0]));
        assert_eq!(ike_header(65_530), None);
        assert_eq!(esp_header(65_533), Some([0xff, 0xff]));
        assert_eq!(esp_header(65_534), None);
    }

    #[test]
    fn a_stream_of_something_else_is_refused() {
        assert!(read(true, b"GET / HTTP/1.1\r\n").is_err());
        assert!(read(true, b"IKETCp").is_err());
        assert_eq!(read(true, b"IKE"), Ok(None));
        assert_eq!(read(true, b"IKETCP\0\x02"), Ok(Some(Message::TooShort)));
        assert!(read(false, &[0, 0]).is_err());
        assert!(read(false, &[0, 1]).is_err());
        assert_eq!(read(false, &[0]), Ok(None));
    }
}
