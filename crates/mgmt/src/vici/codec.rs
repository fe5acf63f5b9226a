//! VICI's transport and packet layers: a 32-bit length, a type, perhaps a name, perhaps a
//! message (strongSwan, `src/libcharon/plugins/vici/README.md`, "Packet layer").

use std::fmt;

use super::message::{Message, Octets, write_name};

/// Longest packet, without its length prefix: strongSwan's own limit.
pub const PACKET_OCTETS_MAX: usize = 512 * 1024;

/// Why octets are not VICI, or a message cannot be written as VICI.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum CodecError {
    /// The length prefix passes [`PACKET_OCTETS_MAX`], or the packet to be sent does.
    #[error("packet longer than {PACKET_OCTETS_MAX} octets")]
    PacketTooLong,
    /// A packet type strongSwan's documentation does not list.
    #[error("unknown packet type {0}")]
    UnknownPacket(u8),
    /// An element type strongSwan's documentation does not list.
    #[error("unknown message element {0}")]
    UnknownElement(u8),
    /// The packet ends inside an element.
    #[error("message ends inside an element")]
    Truncated,
    /// Section or list not closed, closed without being open, or an element where none may be.
    #[error("sections or lists are not balanced")]
    Unbalanced,
    /// More sections inside sections than [`super::DEPTH_MAX`].
    #[error("sections nested too deeply")]
    TooDeep,
    /// Two entries of one section have the same name.
    #[error("a name stands twice in one section")]
    DuplicateName,
    /// A name that is not UTF-8.
    #[error("a name is not text")]
    NameNotText,
    /// A name over 255 octets cannot be written.
    #[error("a name is longer than 255 octets")]
    NameTooLong,
    /// A value over 65,535 octets cannot be written.
    #[error("a value is longer than 65535 octets")]
    ValueTooLong,
    /// Octets behind a packet that carries no message.
    #[error("octets left over behind the packet")]
    Trailing,
}

/// One packet.
#[derive(Clone, Eq, PartialEq)]
pub enum Packet {
    /// Client: run this command.
    Request {
        /// Command.
        name: String,
        /// Its arguments.
        message: Message,
    },
    /// Server: the command's answer.
    Response(Message),
    /// Server: there is no such command.
    UnknownCommand,
    /// Client: send me this event from now on.
    Register(String),
    /// Client: no longer send me this event.
    Unregister(String),
    /// Server: registered or unregistered.
    EventConfirm,
    /// Server: there is no such event.
    EventUnknown,
    /// Server: an event happened.
    Event {
        /// Event.
        name: String,
        /// What happened.
        message: Message,
    },
}

/// Commands whose arguments are secrets and stay out of logs.
const SECRET_COMMANDS: [&str; 3] = ["load-shared", "load-key", "load-token"];

impl fmt::Debug for Packet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Request { name, .. } if SECRET_COMMANDS.contains(&name.as_str()) => {
                write!(f, "Request({name}, <secret>)")
            }
            Self::Request { name, message } => write!(f, "Request({name}, {message:?})"),
            Self::Response(message) => write!(f, "Response({message:?})"),
            Self::UnknownCommand => f.write_str("UnknownCommand"),
            Self::Register(name) => write!(f, "Register({name})"),
            Self::Unregister(name) => write!(f, "Unregister({name})"),
            Self::EventConfirm => f.write_str("EventConfirm"),
            Self::EventUnknown => f.write_str("EventUnknown"),
            Self::Event { name, message } => write!(f, "Event({name}, {message:?})"),
        }
    }
}

impl Packet {
    /// Reads one packet; `octets` is the whole of it without its length prefix.
    ///
    /// # Errors
    ///
    /// [`CodecError`] for any octet the format does not explain.
    pub fn read(octets: &[u8]) -> Result<Self, CodecError> {
        let mut r = Octets(octets);
        let packet = match r.u8()? {
            CMD_REQUEST => {
                Self::Request { name: r.name()?, message: Message::read(take_rest(&mut r))? }
            }
            CMD_RESPONSE => Self::Response(Message::read(take_rest(&mut r))?),
            CMD_UNKNOWN => Self::UnknownCommand,
            EVENT_REGISTER => Self::Register(r.name()?),
            EVENT_UNREGISTER => Self::Unregister(r.name()?),
            EVENT_CONFIRM => Self::EventConfirm,
            EVENT_UNKNOWN => Self::EventUnknown,
            EVENT => Self::Event { name: r.name()?, message: Message::read(take_rest(&mut r))? },
            kind => return Err(CodecError::UnknownPacket(kind)),
        };
        if r.0.is_empty() { Ok(packet) } else { Err(CodecError::Trailing) }
    }

    /// The packet behind its length prefix, ready for the socket.
    ///
    /// # Errors
    ///
    /// A name, value or packet longer than the format can say.
    pub fn encode(&self) -> Result<Vec<u8>, CodecError> {
        let mut out = vec![0; PREFIX_OCTETS];
        match self {
            Self::Request { name, message } => write_named(&mut out, CMD_REQUEST, name, message)?,
            Self::Response(message) => {
                out.push(CMD_RESPONSE);
                message.write(&mut out)?;
            }
            Self::UnknownCommand => out.push(CMD_UNKNOWN),
            Self::Register(name) => write_named(&mut out, EVENT_REGISTER, name, &Message::new())?,
            Self::Unregister(name) => {
                write_named(&mut out, EVENT_UNREGISTER, name, &Message::new())?;
            }
            Self::EventConfirm => out.push(EVENT_CONFIRM),
            Self::EventUnknown => out.push(EVENT_UNKNOWN),
            Self::Event { name, message } => write_named(&mut out, EVENT, name, message)?,
        }
        let len = out.len() - PREFIX_OCTETS;
        if len > PACKET_OCTETS_MAX {
            return Err(CodecError::PacketTooLong);
        }
        let prefix = u32::try_from(len).map_err(|_| CodecError::PacketTooLong)?.to_be_bytes();
        if let Some(place) = out.first_chunk_mut::<PREFIX_OCTETS>() {
            *place = prefix;
        }
        Ok(out)
    }
}

fn take_rest<'a>(r: &mut Octets<'a>) -> &'a [u8] {
    std::mem::take(&mut r.0)
}

fn write_named(
    out: &mut Vec<u8>,
    kind: u8,
    name: &str,
    message: &Message,
) -> Result<(), CodecError> {
    out.push(kind);
    write_name(out, name)?;
    message.write(out)
}

/// Cuts a byte stream into packets.
///
/// Give it what the socket gave in [`Self::handle_input`], then drain [`Self::poll_packet`]. It
/// holds at most one unfinished packet plus the last input, so the memory of one client is
/// bounded by [`PACKET_OCTETS_MAX`] and the reader's own buffer.
#[derive(Debug, Default)]
pub struct Decoder {
    buffer: Vec<u8>,
    taken: usize,
    broken: bool,
}

impl Decoder {
    /// A decoder at the beginning of a stream.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes octets from the stream.
    pub fn handle_input(&mut self, octets: &[u8]) {
        if self.broken {
            return;
        }
        if self.taken > 0 {
            self.buffer.drain(..self.taken);
            self.taken = 0;
        }
        self.buffer.extend_from_slice(octets);
    }

    /// Octets taken from the stream that are not part of a polled packet yet. Whoever does not
    /// drain [`Self::poll_packet`] after each input bounds this.
    pub fn pending_octets(&self) -> usize {
        self.buffer.len() - self.taken
    }

    /// The next complete packet.
    ///
    /// # Errors
    ///
    /// [`CodecError::PacketTooLong`] breaks the stream: it comes again on every call and the
    /// connection is to be closed. Any other error concerns one packet, which is consumed; the
    /// stream goes on behind it.
    pub fn poll_packet(&mut self) -> Result<Option<Packet>, CodecError> {
        if self.broken {
            return Err(CodecError::PacketTooLong);
        }
        let pending = self.buffer.get(self.taken..).unwrap_or_default();
        let Some((prefix, rest)) = pending.split_first_chunk::<PREFIX_OCTETS>() else {
            return Ok(None);
        };
        let len = usize::try_from(u32::from_be_bytes(*prefix)).unwrap_or(usize::MAX);
        if len > PACKET_OCTETS_MAX {
            self.broken = true;
            self.buffer = Vec::new();
            self.taken = 0;
            return Err(CodecError::PacketTooLong);
        }
        let Some(packet) = rest.get(..len) else {
            return Ok(None);
        };
        let read = Packet::read(packet);
        self.taken += PREFIX_OCTETS + len;
        read.map(Some)
    }
}

const PREFIX_OCTETS: usize = 4;

const CMD_REQUEST: u8 = 0;
const CMD_RESPONSE: u8 = 1;
const CMD_UNKNOWN: u8 = 2;
const EVENT_REGISTER: u8 = 3;
const EVENT_UNREGISTER: u8 = 4;
const EVENT_CONFIRM: u8 = 5;
const EVENT_UNKNOWN: u8 = 6;
const EVENT: u8 = 7;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn one_of_each() -> Vec<Packet> {
        let message = Message::new().with("child", "net").with_list("empty", [""; 0]);
        vec![
            Packet::Request { name: "initiate".into(), message: message.clone() },
            Packet::Response(message.clone()),
            Packet::Response(Message::new()),
            Packet::UnknownCommand,
            Packet::Register("list-sa".into()),
            Packet::Unregister("list-sa".into()),
            Packet::EventConfirm,
            Packet::EventUnknown,
            Packet::Event { name: "log".into(), message },
        ]
    }

    #[test]
    fn packets_survive_a_stream_cut_at_every_octet() {
        let sent = one_of_each();
        let stream: Vec<u8> = sent.iter().flat_map(|packet| packet.encode().unwrap()).collect();

        let mut decoder = Decoder::new();
        let mut received = Vec::new();
        for octet in &stream {
            decoder.handle_input(std::slice::from_ref(octet));
            while let Some(packet) = decoder.poll_packet().unwrap() {
                received.push(packet);
            }
        }
        assert_eq!(received, sent);
    }

    #[test]
    fn many_packets_in_one_input_come_in_order() {
        let sent = one_of_each();
        let mut decoder = Decoder::new();
        let stream: Vec<u8> = sent.iter().flat_map(|packet| packet.encode().unwrap()).collect();
        decoder.handle_input(&stream);
        for packet in sent {
            assert_eq!(decoder.poll_packet(), Ok(Some(packet)));
        }
        assert_eq!(decoder.poll_packet(), Ok(None));
    }

    /// What Debian 12's swanctl 5.9.8 wrote for `--initiate --child net --timeout 20`.
    #[test]
    fn captured_swanctl_request_is_read() {
        let octets = b"\x00\x08initiate\x03\x05child\0\x03net\x03\x07timeout\0\x0520000\
            \x03\x08loglevel\0\x011";
        let message = Message::new().with("child", "net").with("timeout", 20_000);
        let message = message.with("loglevel", 1);
        let packet = Packet::Request { name: "initiate".into(), message };
        assert_eq!(Packet::read(octets), Ok(packet.clone()));
        assert_eq!(packet.encode().unwrap()[4..], octets[..]);
    }

    #[test]
    fn too_long_a_length_breaks_the_stream_before_anything_is_stored() {
        let mut decoder = Decoder::new();
        decoder.handle_input(&524_289_u32.to_be_bytes());
        assert_eq!(decoder.poll_packet(), Err(CodecError::PacketTooLong));
        decoder.handle_input(&Packet::EventConfirm.encode().unwrap());
        assert_eq!(decoder.poll_packet(), Err(CodecError::PacketTooLong));
    }

    #[test]
    fn what_is_not_polled_yet_is_counted() {
        let mut decoder = Decoder::new();
        decoder.handle_input(&[0, 0, 0, 1, 5, 0, 0]);
        assert_eq!(decoder.pending_octets(), 7);
        assert_eq!(decoder.poll_packet(), Ok(Some(Packet::EventConfirm)));
        assert_eq!(decoder.pending_octets(), 2);
        decoder.handle_input(&[0, 1, 5]);
        assert_eq!(decoder.poll_packet(), Ok(Some(Packet::EventConfirm)));
        assert_eq!(decoder.pending_octets(), 0);
    }

    #[test]
    fn a_malformed_packet_leaves_the_stream_usable() {
        let mut decoder = Decoder::new();
        decoder.handle_input(&[0, 0, 0, 1, 99]);
        decoder.handle_input(&[0, 0, 0, 0]);
        decoder.handle_input(&Packet::EventConfirm.encode().unwrap());
        assert_eq!(decoder.poll_packet(), Err(CodecError::UnknownPacket(99)));
        assert_eq!(decoder.poll_packet(), Err(CodecError::Truncated));
        assert_eq!(decoder.poll_packet(), Ok(Some(Packet::EventConfirm)));
    }

    #[test]
    fn a_packet_over_the_limit_is_not_sent() {
        let items = std::iter::repeat_n("x".repeat(60_000), 9);
        let packet = Packet::Response(Message::new().with_list("l", items));
        assert_eq!(packet.encode(), Err(CodecError::PacketTooLong));
    }

    #[test]
    fn secrets_stay_out_of_debug_output() {
        let message = Message::new().with("data", "hunter2");
        let packet = Packet::Request { name: "load-shared".into(), message };
        assert!(!format!("{packet:?}").contains("hunter2"));
    }

    proptest! {
        /// Garbage in any cutting is refused, never fatal, and never makes the decoder spin.
        #[test]
        fn garbage_does_not_panic(inputs in prop::collection::vec(
            prop::collection::vec(any::<u8>(), 0..64), 0..16)) {
            let mut decoder = Decoder::new();
            for input in &inputs {
                decoder.handle_input(input);
                for _ in 0..1_000 {
                    match decoder.poll_packet() {
                        Ok(None) | Err(CodecError::PacketTooLong) => break,
                        Ok(Some(_)) | Err(_) => {}
                    }
                }
            }
        }

        /// Small lengths and types, so that the inner parsers are reached.
        #[test]
        fn near_garbage_does_not_panic(octets in prop::collection::vec(0u8..9, 0..200)) {
            let _ = Packet::read(&octets);
        }
    }
}
