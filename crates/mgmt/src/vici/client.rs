//! The client's side of a connection, without I/O.
//!
//! VICI numbers nothing: answers come in the order of requests, and an event belongs to a command
//! only because it arrives before the command's answer. So the client has one operation on the
//! way at a time and queues the others.

use std::collections::VecDeque;

use super::codec::{CodecError, Decoder, Packet};
use super::events::EventKind;
use super::message::Message;
use super::request::Request;

/// Why the connection is of no more use.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// The server's octets are not VICI, or our request does not fit into it.
    #[error(transparent)]
    Codec(#[from] CodecError),
    /// An answer came that nobody asked for.
    #[error("the daemon sent an answer without a question")]
    Unexpected,
}

/// What the server said.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum ClientEvent {
    /// An event this client registered for.
    Event {
        /// Its name.
        name: String,
        /// What happened.
        message: Message,
    },
    /// The answer to the oldest unanswered request.
    Response(Message),
    /// The server does not know the oldest unanswered request.
    UnknownCommand,
    /// [`Client::subscribe`] took effect.
    Subscribed(EventKind),
    /// The server does not know this event.
    UnknownEvent(EventKind),
}

/// One connection to the daemon.
///
/// ```
/// use adit_mgmt::vici::{Client, ClientEvent, Message, Packet, Request};
///
/// let mut client = Client::new();
/// client.request(&Request::Version)?;
/// let to_socket = client.poll_transmit().expect("the request");
/// # let _ = to_socket;
/// // … the socket's answer:
/// let answer = Packet::Response(Message::new().with("daemon", "aditd"));
/// client.handle_input(&answer.encode()?)?;
/// let Some(ClientEvent::Response(message)) = client.poll_event() else { panic!() };
/// assert_eq!(message.text("daemon"), Some("aditd"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Default)]
pub struct Client {
    decoder: Decoder,
    waiting: VecDeque<(Operation, Vec<u8>)>,
    active: Option<Operation>,
    transmit: VecDeque<Vec<u8>>,
    events: VecDeque<ClientEvent>,
}

#[derive(Clone, Copy, Debug)]
enum Operation {
    Command,
    Register(EventKind, Purpose),
    Unregister,
}

/// Registrations around a streaming command are nobody's business.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Purpose {
    Stream,
    Subscription,
}

impl Client {
    /// A client at the beginning of a connection.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sends a command, registered for the events that belong to its answer until that comes.
    ///
    /// # Errors
    ///
    /// [`CodecError`] if the arguments do not fit into a packet; nothing is sent then.
    pub fn request(&mut self, request: &Request) -> Result<(), CodecError> {
        let packet =
            Packet::Request { name: request.name().to_owned(), message: request.message() };
        let command = packet.encode()?;
        for kind in request.streams() {
            self.register(*kind, Purpose::Stream)?;
        }
        self.waiting.push_back((Operation::Command, command));
        for kind in request.streams() {
            let packet = Packet::Unregister(kind.name().to_owned());
            self.waiting.push_back((Operation::Unregister, packet.encode()?));
        }
        self.start_next();
        Ok(())
    }

    /// Registers for an event until the connection ends.
    ///
    /// # Errors
    ///
    /// None in practice: the names fit.
    pub fn subscribe(&mut self, kind: EventKind) -> Result<(), CodecError> {
        self.register(kind, Purpose::Subscription)?;
        self.start_next();
        Ok(())
    }

    fn register(&mut self, kind: EventKind, purpose: Purpose) -> Result<(), CodecError> {
        let packet = Packet::Register(kind.name().to_owned());
        self.waiting.push_back((Operation::Register(kind, purpose), packet.encode()?));
        Ok(())
    }

    /// Takes octets from the socket.
    ///
    /// # Errors
    ///
    /// [`ClientError`]: close the connection.
    pub fn handle_input(&mut self, octets: &[u8]) -> Result<(), ClientError> {
        self.decoder.handle_input(octets);
        while let Some(packet) = self.decoder.poll_packet()? {
            self.handle_packet(packet)?;
        }
        Ok(())
    }

    /// Octets for the socket.
    pub fn poll_transmit(&mut self) -> Option<Vec<u8>> {
        self.transmit.pop_front()
    }

    /// What the server said.
    pub fn poll_event(&mut self) -> Option<ClientEvent> {
        self.events.pop_front()
    }

    /// True if nothing is on the way or waits.
    pub fn is_idle(&self) -> bool {
        self.active.is_none() && self.waiting.is_empty()
    }

    fn handle_packet(&mut self, packet: Packet) -> Result<(), ClientError> {
        if let Packet::Event { name, message } = packet {
            self.events.push_back(ClientEvent::Event { name, message });
            return Ok(());
        }
        let operation = self.active.take().ok_or(ClientError::Unexpected)?;
        let event = match (operation, packet) {
            (Operation::Command, Packet::Response(message)) => Some(ClientEvent::Response(message)),
            (Operation::Command, Packet::UnknownCommand) => Some(ClientEvent::UnknownCommand),
            (Operation::Register(kind, Purpose::Subscription), Packet::EventConfirm) => {
                Some(ClientEvent::Subscribed(kind))
            }
            (Operation::Register(kind, Purpose::Subscription), Packet::EventUnknown) => {
                Some(ClientEvent::UnknownEvent(kind))
            }
            // A server that lacks an event of ours (charon) still runs the command.
            (
                Operation::Register(_, Purpose::Stream) | Operation::Unregister,
                Packet::EventConfirm | Packet::EventUnknown,
            ) => None,
            _ => return Err(ClientError::Unexpected),
        };
        self.events.extend(event);
        self.start_next();
        Ok(())
    }

    fn start_next(&mut self) {
        if self.active.is_some() {
            return;
        }
        if let Some((operation, octets)) = self.waiting.pop_front() {
            self.active = Some(operation);
            self.transmit.push_back(octets);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vici::{ListFilter, LogLine};

    fn sent(client: &mut Client) -> Vec<Packet> {
        let mut packets = Vec::new();
        while let Some(octets) = client.poll_transmit() {
            packets.push(Packet::read(&octets[4..]).unwrap());
        }
        packets
    }

    fn answer(client: &mut Client, packet: &Packet) -> Result<(), ClientError> {
        client.handle_input(&packet.encode().unwrap())
    }

    #[test]
    fn a_streaming_command_is_framed_by_its_registration() {
        let mut client = Client::new();
        client.request(&Request::ListSas(ListFilter::default())).unwrap();
        assert_eq!(sent(&mut client), [Packet::Register("list-sa".into())]);

        answer(&mut client, &Packet::EventConfirm).unwrap();
        let list = Packet::Request { name: "list-sas".into(), message: Message::new() };
        assert_eq!(sent(&mut client), [list]);

        let message = Message::new().with_section("t", Message::new());
        let event = Packet::Event { name: "list-sa".into(), message: message.clone() };
        answer(&mut client, &event).unwrap();
        answer(&mut client, &Packet::Response(Message::new())).unwrap();
        assert_eq!(sent(&mut client), [Packet::Unregister("list-sa".into())]);
        answer(&mut client, &Packet::EventConfirm).unwrap();

        assert_eq!(
            client.poll_event(),
            Some(ClientEvent::Event { name: "list-sa".into(), message })
        );
        assert_eq!(client.poll_event(), Some(ClientEvent::Response(Message::new())));
        assert_eq!(client.poll_event(), None);
        assert!(client.is_idle());
    }

    #[test]
    fn requests_wait_for_the_answer_of_the_one_before() {
        let mut client = Client::new();
        client.request(&Request::Version).unwrap();
        client.request(&Request::Stats).unwrap();
        assert_eq!(sent(&mut client).len(), 1);
        answer(&mut client, &Packet::UnknownCommand).unwrap();
        assert_eq!(sent(&mut client).len(), 1);
        assert_eq!(client.poll_event(), Some(ClientEvent::UnknownCommand));
    }

    #[test]
    fn an_unknown_event_of_a_stream_does_not_stop_the_command() {
        let mut client = Client::new();
        client.request(&Request::Initiate(Default::default())).unwrap();
        sent(&mut client);
        answer(&mut client, &Packet::EventConfirm).unwrap();
        sent(&mut client);
        answer(&mut client, &Packet::EventUnknown).unwrap();
        assert!(matches!(&sent(&mut client)[..], [Packet::Request { .. }]));
    }

    #[test]
    fn subscriptions_are_confirmed_and_events_arrive_in_between() {
        let mut client = Client::new();
        client.subscribe(EventKind::Log).unwrap();
        sent(&mut client);
        let line = LogLine { text: "hello".into(), ..LogLine::default() };
        answer(&mut client, &Packet::EventConfirm).unwrap();
        let event = Packet::Event { name: "log".into(), message: line.message() };
        answer(&mut client, &event).unwrap();
        assert_eq!(client.poll_event(), Some(ClientEvent::Subscribed(EventKind::Log)));
        let Some(ClientEvent::Event { message, .. }) = client.poll_event() else { panic!() };
        assert_eq!(LogLine::parse(&message).text, "hello");
    }

    #[test]
    fn answers_nobody_asked_for_end_the_connection() {
        let mut client = Client::new();
        assert_eq!(
            answer(&mut client, &Packet::Response(Message::new())),
            Err(ClientError::Unexpected)
        );
    }
}
