//! The inbound thread's handles to sockets that are connected to one peer each.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use adit_sys::udp::{ConnectedSocket, UdpSocket};
use adit_sys::wake::{Interest, Poller, Token};
use tracing::{debug, error};

use crate::message::SocketNumber;

/// How long a socket stays that was turned away from its peer: what was on its way has come by then.
const LEAVE_AFTER: Duration = Duration::from_millis(100);

/// The sockets, by their numbers.
#[derive(Default)]
pub(super) struct Connections {
    sockets: BTreeMap<SocketNumber, ConnectedSocket>,
    /// Those that nobody waits for yet.
    arrived: Vec<SocketNumber>,
    /// Those that nobody can wait for, and whose thread has not heard of it.
    unread: Vec<SocketNumber>,
    /// Those that go, the earliest first.
    leaving: VecDeque<(Instant, SocketNumber)>,
}

impl Connections {
    /// Takes a socket in; `joins` says whether the kernel joins datagrams of the others.
    pub(super) fn add(&mut self, number: SocketNumber, socket: ConnectedSocket, joins: bool) {
        if joins && let Err(error) = socket.socket().join_datagrams() {
            debug!(%error, "datagrams of a peer are received one by one");
        }
        self.sockets.insert(number, socket);
        self.arrived.push(number);
    }

    /// The socket is to go.
    pub(super) fn turned_away(&mut self, number: SocketNumber, now: Instant) {
        self.leaving.push_back((now + LEAVE_AFTER, number));
    }

    /// The socket with this number.
    pub(super) fn get(&self, number: SocketNumber) -> Option<&UdpSocket> {
        self.sockets.get(&number).map(ConnectedSocket::socket)
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.sockets.len()
    }

    /// Waits for those that have arrived, too. One that cannot be waited for is read once it was turned
    /// away; see [`Self::give_up`].
    pub(super) fn watch(&mut self, poller: &Poller, token: impl Fn(SocketNumber) -> Token) {
        for number in self.arrived.drain(..) {
            let Some(socket) = self.sockets.get(&number) else { continue };
            if let Err(error) = poller.add(socket, token(number), Interest::Readable) {
                error!(%error, remote = %socket.remote(), "a peer's socket is given up");
                self.unread.push(number);
            }
        }
    }

    /// Asks for the sockets that nobody can wait for to be turned away. What `asked` is false for is
    /// asked for again: their threads never wait for this one, nor does it for them.
    pub(super) fn give_up(&mut self, mut asked: impl FnMut(SocketNumber) -> bool) {
        self.unread.retain(|number| !asked(*number));
    }

    /// When the next one goes, or is asked for again.
    pub(super) fn poll_timeout(&self, now: Instant) -> Option<Instant> {
        let again = (!self.unread.is_empty()).then_some(now + LEAVE_AFTER);
        self.leaving.front().map(|(at, _)| *at).into_iter().chain(again).min()
    }

    /// One whose time has come; it is to be read until it is empty, and removed.
    pub(super) fn next_leaving(&mut self, now: Instant) -> Option<SocketNumber> {
        self.leaving.pop_front_if(|(at, _)| *at <= now).map(|(_, number)| number)
    }

    /// Closes it.
    pub(super) fn remove(&mut self, number: SocketNumber, poller: &Poller) {
        let Some(socket) = self.sockets.remove(&number) else { return };
        if let Err(error) = poller.remove(&socket) {
            debug!(%error, "a socket was not waited for");
        }
    }
}

#[cfg(test)]
mod tests {
    use adit_sys::clock;
    use adit_sys::udp::{DualUdpSocket, SocketOptions};

    use super::*;

    fn socket() -> ConnectedSocket {
        let options = SocketOptions { mark: None, ..SocketOptions::default() };
        let port = DualUdpSocket::bind(0, &options).unwrap();
        port.v4().admit_connected(&options).unwrap();
        let [ours, theirs] = [[127, 0, 0, 1], [127, 0, 0, 2]];
        port.v4().beside(ours.into(), (theirs, 9).into(), &options).unwrap()
    }

    /// Peers whose packets would wait unread are to be turned away, and are read then.
    #[test]
    fn a_socket_that_cannot_be_waited_for_is_given_up() {
        let (poller, now) = (Poller::new().unwrap(), clock::now());
        let mut connections = Connections::default();
        let numbers = [SocketNumber(3), SocketNumber(4)];
        numbers.iter().for_each(|number| connections.add(*number, socket(), false));
        // The system does not wait twice for one.
        let [bad, good] = numbers;
        let early = connections.get(bad).unwrap();
        poller.add(early, Token(9), Interest::Readable).unwrap();
        connections.watch(&poller, |number| Token(number.0));

        assert_eq!(connections.poll_timeout(now), Some(now + LEAVE_AFTER));
        for is_heard in [false, true] {
            connections.give_up(|number| {
                assert_eq!(number, bad);
                is_heard
            });
        }
        assert_eq!(connections.poll_timeout(now), None);
        connections.give_up(|number| panic!("{number:?} twice"));
        connections.turned_away(bad, now);
        assert_eq!(connections.next_leaving(now), None);
        assert_eq!(connections.next_leaving(now + LEAVE_AFTER), Some(bad));
        connections.remove(bad, &poller);
        assert!(connections.get(bad).is_none() && connections.get(good).is_some());
    }
}
