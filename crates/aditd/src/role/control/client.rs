//! One client of the control socket: octets in and out, what it registered for, what it waits for.

use std::collections::BTreeSet;
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;

use adit_mgmt::vici::{Decoder, Event, EventKind, Message, PACKET_OCTETS_MAX, Packet};
use tracing::debug;

/// A client that does not read its events is cut off when so much waits for it.
const BACKLOG_OCTETS_MAX: usize = 4 * 1024 * 1024;
/// A client that sends so much while its command runs is cut off: one of the longest packets.
const PENDING_OCTETS_MAX: usize = PACKET_OCTETS_MAX + 4;
/// Of a long answer so much waits for room, and the rest is not in words yet.
const AHEAD_OCTETS: usize = 64 * 1024;
/// Read at once.
const CHUNK_OCTETS: usize = 16 * 1024;

/// Events that are the answer of a command.
pub(super) type Rows = Box<dyn Iterator<Item = Event> + Send>;

/// One connected client.
pub(super) struct Client {
    stream: UnixStream,
    decoder: Decoder,
    backlog: Vec<u8>,
    /// What the running command is still to be answered with.
    rows: Option<Rows>,
    registered: BTreeSet<EventKind>,
    /// A command is running: the next one waits, as VICI has no numbers for its answers.
    pub(super) busy: bool,
    /// The end of a long answer was put into words: what has come in meanwhile may be taken.
    pub(super) freed: bool,
    /// Most verbose level of control-log that the running command wants.
    pub(super) log_level: i8,
    broken: bool,
    /// Whether its owner watches for room in the socket.
    pub(super) watched: bool,
}

impl Client {
    /// A client that has just connected.
    pub(super) fn new(stream: UnixStream) -> std::io::Result<Self> {
        stream.set_nonblocking(true)?;
        Ok(Self {
            stream,
            decoder: Decoder::new(),
            backlog: Vec::new(),
            rows: None,
            registered: BTreeSet::new(),
            busy: false,
            freed: false,
            log_level: -1,
            broken: false,
            watched: false,
        })
    }

    /// Whether the connection is to be closed.
    pub(super) fn is_broken(&self) -> bool {
        self.broken
    }

    /// Whether octets wait for room in the socket.
    pub(super) fn wants_to_write(&self) -> bool {
        !self.backlog.is_empty()
    }

    /// Reads what the socket has.
    pub(super) fn read(&mut self) {
        let mut chunk = [0; CHUNK_OCTETS];
        match self.stream.read(&mut chunk) {
            Ok(0) => self.broken = true,
            Ok(len) => self.take(chunk.get(..len).unwrap_or_default()),
            Err(error)
                if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            Err(_) => self.broken = true,
        }
    }

    fn take(&mut self, octets: &[u8]) {
        self.decoder.handle_input(octets);
        // What comes in while a command runs is not taken out, and that command may run for ever.
        if self.busy && self.decoder.pending_octets() > PENDING_OCTETS_MAX {
            debug!("a client sends without waiting for its answer");
            self.broken = true;
        }
    }

    /// The next command; registrations are answered here.
    pub(super) fn next_command(&mut self) -> Option<(String, Message)> {
        while !self.busy && !self.broken {
            match self.decoder.poll_packet() {
                Ok(Some(Packet::Request { name, message })) => return Some((name, message)),
                Ok(Some(Packet::Register(name))) => self.register(&name, true),
                Ok(Some(Packet::Unregister(name))) => self.register(&name, false),
                Ok(None) => return None,
                Ok(Some(packet)) => {
                    debug!(?packet, "a client sent what only a server may");
                    self.broken = true;
                }
                Err(error) => {
                    debug!(%error, "a client sent no VICI");
                    self.broken = true;
                }
            }
        }
        None
    }

    fn register(&mut self, name: &str, register: bool) {
        let Ok(kind) = name.parse::<EventKind>() else {
            self.send(&Packet::EventUnknown);
            return;
        };
        if register {
            self.registered.insert(kind);
        } else {
            self.registered.remove(&kind);
        }
        self.send(&Packet::EventConfirm);
    }

    /// Whether it hears of what happens. The lines of its own command are an event like others.
    pub(super) fn follows(&self) -> bool {
        !self.registered.is_empty()
    }

    /// Whether it registered for an event.
    pub(super) fn listens(&self, kind: EventKind) -> bool {
        self.registered.contains(&kind)
    }

    /// Sends an event if the client registered for it.
    pub(super) fn tell(&mut self, event: &Event) {
        if self.listens(event.kind()) {
            self.send(&event.packet());
        }
    }

    /// Answers the running command.
    pub(super) fn answer(&mut self, message: Message) {
        self.busy = false;
        self.log_level = -1;
        self.send(&Packet::Response(message));
    }

    /// Answers the running command with events, if the client registered for them. They are made one
    /// after the other, as the client reads them.
    pub(super) fn answer_with(&mut self, rows: Rows) {
        self.rows = Some(rows);
        self.flush();
    }

    /// Sends a packet, or keeps it until the socket has room.
    pub(super) fn send(&mut self, packet: &Packet) {
        self.put(packet);
        self.flush();
        self.broken |= self.backlog.len() > BACKLOG_OCTETS_MAX;
    }

    fn put(&mut self, packet: &Packet) {
        match packet.encode() {
            Ok(octets) => self.backlog.extend_from_slice(&octets),
            Err(error) => {
                debug!(%error, "an answer is too long for VICI");
                self.broken = true;
            }
        }
    }

    /// Writes what waits, as far as the socket has room, and puts more of a long answer into words.
    pub(super) fn flush(&mut self) {
        self.write();
        while self.backlog.is_empty() && !self.broken && self.rows.is_some() {
            self.put_rows();
            self.write();
        }
    }

    fn put_rows(&mut self) {
        let Some(mut rows) = self.rows.take() else { return };
        while self.backlog.len() < AHEAD_OCTETS {
            let Some(event) = rows.next() else {
                self.busy = false;
                self.freed = true;
                self.log_level = -1;
                return self.put(&Packet::Response(Message::new()));
            };
            if self.listens(event.kind()) {
                self.put(&event.packet());
            }
        }
        self.rows = Some(rows);
    }

    fn write(&mut self) {
        while !self.backlog.is_empty() && !self.broken {
            match self.stream.write(&self.backlog) {
                Ok(0) => self.broken = true,
                Ok(len) => {
                    self.backlog.drain(..len);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => self.broken = true,
            }
        }
    }
}

impl AsFd for Client {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use adit_mgmt::vici::LogLine;

    use super::*;

    fn line(number: usize) -> Event {
        let text = format!("{number} {}", "x".repeat(1_000));
        Event::Log(LogLine { level: 1, text, ..LogLine::default() })
    }

    /// Lines about its own command reach no client that has not registered for them, and words that nobody
    /// gets are not to be made.
    #[test]
    fn a_client_follows_what_it_registered_for() {
        let (ours, _theirs) = UnixStream::pair().unwrap();
        let mut client = Client::new(ours).unwrap();
        client.log_level = 1;
        assert!(!client.follows());
        client.register("control-log", true);
        assert!(client.follows());
        client.register("control-log", false);
        assert!(!client.follows());
    }

    /// A long answer takes no more room than a short one, and a client that reads gets all of it.
    #[test]
    fn a_long_answer_is_made_as_it_is_read() {
        const ROWS: usize = 20_000;
        let (ours, theirs) = UnixStream::pair().unwrap();
        let mut client = Client::new(ours).unwrap();
        client.registered.insert(line(0).kind());
        client.busy = true;
        client.answer_with(Box::new((0..ROWS).map(line)));
        assert!(client.busy && client.wants_to_write());

        theirs.set_nonblocking(true).unwrap();
        let (mut theirs, mut decoder, mut events) = (theirs, Decoder::new(), 0);
        let mut chunk = vec![0; CHUNK_OCTETS];
        loop {
            client.flush();
            assert!(!client.is_broken());
            assert!(client.backlog.len() < AHEAD_OCTETS + 4_096);
            while let Ok(len) = theirs.read(&mut chunk) {
                decoder.handle_input(&chunk[..len]);
            }
            while let Some(packet) = decoder.poll_packet().unwrap() {
                if matches!(packet, Packet::Event { .. }) {
                    events += 1;
                    continue;
                }
                assert!(matches!(packet, Packet::Response(_)));
                assert_eq!(events, ROWS);
                assert!(!client.busy && client.freed && !client.wants_to_write());
                return;
            }
        }
    }

    #[test]
    fn who_did_not_register_gets_the_end_of_a_long_answer_alone() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let mut client = Client::new(ours).unwrap();
        client.busy = true;
        client.answer_with(Box::new((0..100).map(line)));
        assert!(!client.busy && !client.wants_to_write());
        let mut chunk = [0; 16];
        let len = theirs.read(&mut chunk).unwrap();
        let mut decoder = Decoder::new();
        decoder.handle_input(&chunk[..len]);
        assert!(matches!(decoder.poll_packet().unwrap(), Some(Packet::Response(_))));
    }
}
