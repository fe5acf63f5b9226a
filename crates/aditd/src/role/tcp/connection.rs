//! One TCP connection of RFC 9329.

use std::collections::VecDeque;
use std::io;
use std::time::Instant;

use adit_ike::{Path, TcpProblem, Transport};
use adit_sys::tcp::TcpStream;
use adit_sys::wake::Interest;
use adit_wire::encap::tcp::{STREAM_PREFIX, StreamReader, ike_header};
use adit_wire::encap::udp::Encapsulated;

use super::{CONNECT_WITHIN, FAREWELL, IDLE_MAX, UNPROVEN_FOR};

/// Octets that wait for room in the connection before ESP packets are dropped: the kernel has as many
/// again and more, and what waits longer is of no use to anybody.
const WAITING_OCTETS_MAX: usize = 256 * 1024;
/// IKE messages go on top of that, so many octets.
const MESSAGE_OCTETS_MAX: usize = 128 * 1024;
/// IKE messages that a peer may send before it has authenticated: more than any handshake has.
const UNPROVEN_MESSAGES_MAX: u16 = 128;
/// Reads before other connections have their turn.
const READS_IN_A_ROW: usize = 8;

pub(super) struct Connection {
    stream: TcpStream,
    path: Path,
    /// It is being made.
    connecting: bool,
    reader: StreamReader,
    /// The IKE message that there was no room for. Nothing more is read until there is.
    held: Option<Vec<u8>>,
    /// IKE messages of a peer that has not authenticated.
    messages: u16,
    waiting: VecDeque<u8>,
    since: Instant,
    /// When a message last went either way, keepalives not counted.
    used: Instant,
    /// Whether the peer has authenticated.
    proven: bool,
    /// It is to be closed, at the latest when this much time has passed since.
    leaving: Option<Instant>,
    interest: Interest,
}

impl Connection {
    /// One that we open; the prefix goes first.
    //= https://www.rfc-editor.org/rfc/rfc9329#section-6.1
    //# The first bytes sent on the TCP stream MUST be the stream prefix value
    pub(super) fn opened(stream: TcpStream, path: Path, now: Instant) -> Self {
        Self {
            connecting: true,
            waiting: STREAM_PREFIX.into(),
            interest: Interest::Both,
            ..Self::new(stream, path, StreamReader::of_responder(), now)
        }
    }

    /// One that a peer has opened.
    //= https://www.rfc-editor.org/rfc/rfc9329#section-6.1
    //# The TCP Responder MUST wait for the entire stream prefix to be received on the stream before
    //# trying to parse out any IKE or ESP messages.
    pub(super) fn accepted(stream: TcpStream, path: Path, now: Instant) -> Self {
        Self::new(stream, path, StreamReader::of_originator(), now)
    }

    fn new(stream: TcpStream, path: Path, reader: StreamReader, now: Instant) -> Self {
        Self {
            stream,
            path,
            connecting: false,
            reader,
            held: None,
            messages: 0,
            waiting: VecDeque::new(),
            since: now,
            used: now,
            proven: false,
            leaving: None,
            interest: Interest::Readable,
        }
    }

    pub(super) fn stream(&self) -> &TcpStream {
        &self.stream
    }

    pub(super) fn path(&self) -> Path {
        self.path
    }

    pub(super) fn prove(&mut self) {
        self.proven = true;
    }

    /// Whether a stranger has opened it.
    pub(super) fn is_unproven(&self) -> bool {
        self.path.transport == Transport::TcpResponder && !self.proven
    }

    pub(super) fn say_farewell(&mut self, now: Instant) {
        self.leaving.get_or_insert(now);
    }

    pub(super) fn is_leaving(&self) -> bool {
        self.leaving.is_some()
    }

    /// Whether it is to be closed, and nothing waits.
    pub(super) fn has_said_farewell(&self) -> bool {
        self.is_leaving() && self.waiting.is_empty()
    }

    /// Why it is to be given up by now, if it is.
    pub(super) fn overdue(&self, now: Instant) -> Option<TcpProblem> {
        let age = now.saturating_duration_since(self.since);
        let is_peers = self.path.transport == Transport::TcpResponder;
        let idle = now.saturating_duration_since(self.used);
        let leaves = |since: Instant| now.saturating_duration_since(since) >= FAREWELL;
        if self.connecting && age >= CONNECT_WITHIN {
            return Some(TcpProblem::Silent);
        }
        let is_over = self.leaving.is_some_and(leaves)
            || self.is_unproven() && age >= UNPROVEN_FOR
            || is_peers && idle >= IDLE_MAX;
        is_over.then_some(TcpProblem::Closed)
    }

    /// Puts an IKE message in the queue; false if there is no room.
    pub(super) fn queue_message(&mut self, octets: &[u8], now: Instant) -> bool {
        let Some(header) = ike_header(octets.len()) else { return false };
        if self.waiting.len() >= WAITING_OCTETS_MAX + MESSAGE_OCTETS_MAX {
            return false;
        }
        self.waiting.extend(header);
        self.waiting.extend(octets);
        self.used = now;
        true
    }

    /// The same for ESP packets with their lengths before them.
    pub(super) fn queue_packets(&mut self, frames: &[u8], now: Instant) -> bool {
        if self.waiting.len().saturating_add(frames.len()) > WAITING_OCTETS_MAX {
            return false;
        }
        self.waiting.extend(frames);
        self.used = now;
        true
    }

    /// Learns whether a connection that is being made is there.
    pub(super) fn settle(&mut self, writable: bool) -> Result<(), TcpProblem> {
        if !self.connecting || !writable {
            return Ok(());
        }
        match self.stream.take_error() {
            Ok(None) => self.connecting = false,
            Ok(Some(error)) | Err(error) => return Err(problem(&error)),
        }
        Ok(())
    }

    /// Writes what waits, as much as there is room for.
    pub(super) fn write(&mut self) -> Result<(), TcpProblem> {
        while !self.connecting && !self.waiting.is_empty() {
            let (front, back) = self.waiting.as_slices();
            match self.stream.write(&[front, back]) {
                Ok(0) => break,
                Ok(octets) => drop(self.waiting.drain(..octets.min(self.waiting.len()))),
                Err(error) => return Err(problem(&error)),
            }
        }
        Ok(())
    }

    /// What to wait for.
    pub(super) fn interest(&self) -> Interest {
        match (self.connecting || !self.waiting.is_empty(), self.is_stalled()) {
            (true, false) => Interest::Both,
            (true, true) => Interest::Writable,
            (false, false) => Interest::Readable,
            (false, true) => Interest::Nothing,
        }
    }

    /// The same if it has changed since it was last asked.
    pub(super) fn new_interest(&mut self) -> Option<Interest> {
        let interest = self.interest();
        (std::mem::replace(&mut self.interest, interest) != interest).then_some(interest)
    }

    /// Whether a message waits to be taken.
    pub(super) fn is_stalled(&self) -> bool {
        self.held.is_some()
    }

    /// Reads what has come, some of it, and hands on its messages, as long as they are taken. What is not
    /// whole when the connection ends goes with it.
    pub(super) fn read(
        &mut self,
        now: Instant,
        mut take: impl FnMut(Path, Encapsulated<'_>) -> bool,
    ) -> Result<(), TcpProblem> {
        if let Some(octets) = self.held.take() {
            if !take(self.path, Encapsulated::Ike(&octets)) {
                self.held = Some(octets);
                return Ok(());
            }
            self.hand_on(now, &mut take)?;
        }
        for _ in 0..READS_IN_A_ROW {
            if self.is_stalled() {
                break;
            }
            match self.stream.read(self.reader.spare_mut()) {
                Ok(None) => break,
                Ok(Some(0)) => return Err(TcpProblem::Closed),
                Ok(Some(octets)) => self.reader.advance(octets),
                Err(error) => return Err(problem(&error)),
            }
            self.hand_on(now, &mut take)?;
        }
        Ok(())
    }

    fn hand_on(
        &mut self,
        now: Instant,
        take: &mut impl FnMut(Path, Encapsulated<'_>) -> bool,
    ) -> Result<(), TcpProblem> {
        let is_strangers = self.is_unproven();
        while !self.is_stalled() {
            let message = self.reader.next_message().map_err(|_| TcpProblem::Garbled)?;
            let Some(message) = message else { break };
            if let Encapsulated::Ike(octets) = message {
                if is_strangers {
                    self.messages = self.messages.saturating_add(1);
                }
                if self.messages > UNPROVEN_MESSAGES_MAX && is_strangers {
                    return Err(TcpProblem::Closed);
                }
                self.used = now;
                if !take(self.path, message) {
                    self.held = Some(octets.to_vec());
                }
            } else {
                if matches!(message, Encapsulated::Esp(_)) {
                    self.used = now;
                }
                take(self.path, message);
            }
        }
        Ok(())
    }
}

/// What an error of the kernel means.
pub(super) fn problem(error: &io::Error) -> TcpProblem {
    let kind = error.kind();
    if kind == io::ErrorKind::ConnectionRefused {
        TcpProblem::Refused
    } else if kind == io::ErrorKind::TimedOut {
        TcpProblem::Silent
    } else if NO_WAY.contains(&kind) {
        TcpProblem::Unreachable
    } else {
        TcpProblem::Closed
    }
}

/// Errors that say that nothing can be sent from there to there.
const NO_WAY: [io::ErrorKind; 6] = [
    io::ErrorKind::HostUnreachable,
    io::ErrorKind::NetworkUnreachable,
    io::ErrorKind::NetworkDown,
    io::ErrorKind::AddrInUse,
    io::ErrorKind::AddrNotAvailable,
    io::ErrorKind::PermissionDenied,
];

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use adit_sys::clock;
    use adit_sys::tcp::TcpListener;
    use adit_sys::wake::wait_for;

    use super::*;

    const WAIT: Option<Duration> = Some(Duration::from_secs(10));

    /// Both ends of a connection; that of the side that has opened it first.
    fn pair() -> (Connection, Connection) {
        let listen = || TcpListener::bind("127.0.0.1:0".parse().unwrap(), None).unwrap();
        let (listener, free) = (listen(), listen().local());
        let client = TcpStream::connect(free, listener.local(), None).unwrap();
        assert!(wait_for(&listener, Interest::Readable, WAIT).unwrap());
        let server = listener.accept().unwrap().unwrap();
        let path = Path::udp(client.local(), client.remote());
        let path = Path { transport: Transport::TcpOriginator, ..path };
        let now = clock::now();
        let mut client = Connection::opened(client, path, now);
        client.settle(true).unwrap();
        (client, Connection::accepted(server, path.reversed(), now))
    }

    /// What comes next: lengths of IKE messages and ESP packets.
    fn read(connection: &mut Connection) -> Result<Vec<(char, usize)>, TcpProblem> {
        assert!(wait_for(connection.stream(), Interest::Readable, WAIT).unwrap());
        let mut all = Vec::new();
        connection.read(clock::now(), |_, message| {
            all.push(match message {
                Encapsulated::Ike(octets) => ('i', octets.len()),
                Encapsulated::Esp(octets) => ('e', octets.len()),
                Encapsulated::Keepalive => ('k', 1),
                Encapsulated::TooShort => ('?', 0),
            });
            true
        })?;
        Ok(all)
    }

    #[test]
    fn messages_pass_in_order() {
        let (mut client, mut server) = pair();
        let now = clock::now();
        assert!(client.queue_message(&[7; 40], now));
        assert!(client.queue_packets(&[&[0, 18][..], &[1; 16]].concat(), now));
        client.write().unwrap();
        assert_eq!(read(&mut server), Ok(vec![('i', 40), ('e', 16)]));
        assert!(server.queue_message(&[8; 50], now));
        server.write().unwrap();
        assert_eq!(read(&mut client), Ok(vec![('i', 50)]));
    }

    //= https://www.rfc-editor.org/rfc/rfc9329#section-6.1
    //= type=test
    //# A peer MUST discard a partially received message due to a broken connection.
    /// CHECKLIST N12.
    #[test]
    fn half_a_message_is_none() {
        let (client, mut server) = pair();
        client.stream().write(&[b"IKETCP", &[0, 200, 0, 0, 0, 0, 1, 2]]).unwrap();
        assert_eq!(read(&mut server), Ok(vec![]));
        drop(client);
        assert_eq!(read(&mut server), Err(TcpProblem::Closed));
    }

    #[test]
    fn what_is_no_such_stream_ends_it() {
        let (client, mut server) = pair();
        client.stream().write(&[b"GET /", b" HTTP/1.1"]).unwrap();
        assert_eq!(read(&mut server), Err(TcpProblem::Garbled));
    }

    /// CHECKLIST N12: nobody reads, and so what waits is bounded; IKE has room when ESP has none.
    #[test]
    fn a_stalled_connection_takes_no_more() {
        let (mut client, _server) = pair();
        let now = clock::now();
        let frames = [1; 64 * 1024];
        let mut taken = 0;
        while client.queue_packets(&frames, now) {
            client.write().unwrap();
            taken += 1;
            assert!(taken < 4_096, "without end");
        }
        assert!(client.waiting.len() <= WAITING_OCTETS_MAX);
        assert!(client.queue_message(&[7; 1_000], now));
        while client.queue_message(&[7; 1_000], now) {}
        assert!(client.waiting.len() <= WAITING_OCTETS_MAX + MESSAGE_OCTETS_MAX + 1_006);
        assert_eq!(client.interest(), Interest::Both);
    }

    /// Of a stream nothing is lost: what is not taken is tried again, before anything that came later.
    #[test]
    fn what_is_not_taken_waits() {
        let (mut client, mut server) = pair();
        let lengths = [40, 41, 42, 43];
        for octets in lengths {
            assert!(client.queue_message(&vec![7; octets], clock::now()));
        }
        client.write().unwrap();
        assert!(wait_for(server.stream(), Interest::Readable, WAIT).unwrap());
        let mut all = Vec::new();
        for (turn, room) in [1, 0, 2, 9].into_iter().enumerate() {
            let most = all.len() + room;
            server
                .read(clock::now(), |_, message| {
                    let Encapsulated::Ike(octets) = message else { panic!("{message:?}") };
                    let has_room = all.len() < most;
                    if has_room {
                        all.push(octets.len());
                    }
                    has_room
                })
                .unwrap();
            assert_eq!(server.is_stalled(), turn < 3);
            let waits = if turn < 3 { Interest::Nothing } else { Interest::Readable };
            assert_eq!(server.interest(), waits);
        }
        assert_eq!(all, lengths);
    }

    /// A stranger says as much as a handshake needs, a peer as much as it likes.
    #[test]
    fn a_stranger_does_not_go_on_for_ever() {
        for proves in [false, true] {
            let (mut client, mut server) = pair();
            if proves {
                server.prove();
            }
            for _ in 0..=UNPROVEN_MESSAGES_MAX {
                assert!(client.queue_message(&[7; 28], clock::now()));
            }
            client.write().unwrap();
            let (mut taken, end) = (0, clock::now() + Duration::from_secs(1));
            let mut result = Ok(());
            while result.is_ok()
                && taken <= usize::from(UNPROVEN_MESSAGES_MAX)
                && clock::now() < end
            {
                result = read(&mut server).map(|some| taken += some.len());
            }
            assert_eq!(result.is_ok(), proves);
        }
    }

    /// Keepalives keep the way open and say nothing of who needs it.
    #[test]
    fn keepalives_are_no_use() {
        let (client, mut server) = pair();
        server.prove();
        let before = server.used;
        client.stream().write(&[b"IKETCP", &[0, 3, 0xff]]).unwrap();
        std::thread::sleep(Duration::from_millis(2));
        assert_eq!(read(&mut server), Ok(vec![('k', 1)]));
        assert_eq!(server.used, before);
    }

    #[test]
    fn each_has_its_time() {
        let (mut client, mut server) = pair();
        let start = clock::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        // Who has opened it keeps it; a stranger has half a minute, a peer ten idle ones.
        assert_eq!(client.overdue(after(3_600)), None);
        assert_eq!(server.overdue(after(29)), None);
        assert_eq!(server.overdue(after(31)), Some(TcpProblem::Closed));
        server.prove();
        assert_eq!(server.overdue(after(31)), None);
        assert_eq!(server.overdue(after(601)), Some(TcpProblem::Closed));
        client.say_farewell(start);
        assert_eq!(client.overdue(after(6)), Some(TcpProblem::Closed));
        client.connecting = true;
        client.leaving = None;
        assert_eq!(client.overdue(after(11)), Some(TcpProblem::Silent));
    }
}
