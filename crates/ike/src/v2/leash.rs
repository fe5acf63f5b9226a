//! What may go to an address before the peer has shown that it is there, RFC 7296 §2.11.
//!
//! It has us answer where a request came from. Nobody authenticates that address: who has seen
//! a request can send it again from wherever it likes, again and again, and who holds one back can have the
//! IKE SA follow it (§2.23). So an answer goes to an address that is not proven once as many octets
//! have come from there, which is then less by the answer. A peer behind a NAT that gives it another
//! address has its answer when it has asked twice or so; who forges addresses makes nothing of us
//! that it has not sent itself.
//!
//! What we ask has to go where the peer may be, or nothing would ever be proven. A stranger there gets one short
//! question and its repetitions ([`crate::v2::established`]); what was in flight before goes on at its own pace
//! and is begun anew once, not with every word of the peer (`Requests::may_follow`).
//!
//! Proven is the address of the handshake, and after a move that which has answered what was asked since.
//! Beside it the octets of one address are counted; another begins at nothing. A connection of TCP proves its
//! own ends.

use std::net::IpAddr;

use crate::command::Path;

/// Where requests came from, and what has come from whom. Boxed: most of the time there is nothing to know.
#[derive(Debug, Default)]
pub(crate) struct Leash(Option<Box<Ways>>);

#[derive(Debug, Default)]
struct Ways {
    /// Where the request under way came from; its response goes back there (RFC 7296 §2.11).
    request: Option<Path>,
    /// Where the peer was shown to be last, if it has moved since.
    proven: Option<IpAddr>,
    /// Our request that was in flight then: its answer may have been asked for at the address before.
    asked_before: Option<u32>,
    /// An address that is not proven, and the octets that came from there less those that went there.
    other: Option<(IpAddr, usize)>,
    /// Whether the peer has been asked for a sign of life since it moved from where it was proven to be. Once
    /// has to do: who answers from yet another address each time would be asked for nothing else.
    asked: bool,
}

impl Leash {
    /// Where the request came from that is being answered.
    pub(crate) fn request_path(&self) -> Option<Path> {
        self.0.as_ref().and_then(|ways| ways.request)
    }

    /// A request is to be answered that came on this path.
    pub(crate) fn set_request_path(&mut self, path: Path) {
        self.0.get_or_insert_default().request = Some(path);
    }

    /// The request is answered.
    pub(crate) fn take_request_path(&mut self) -> Option<Path> {
        let path = self.0.as_mut()?.request.take();
        self.tidy();
        path
    }

    /// What is sent to the peer goes elsewhere from now on, while our request `in_flight` waits for its
    /// answer.
    pub(crate) fn moved(&mut self, old: Path, new: Path, in_flight: Option<u32>) {
        let (old, new) = (old.remote.ip(), new.remote.ip());
        if old == new {
            return;
        }
        let ways = self.0.get_or_insert_default();
        let proven = ways.proven.unwrap_or(old);
        ways.proven = (proven != new).then_some(proven);
        ways.asked &= ways.proven.is_some();
        ways.asked_before = in_flight;
        self.tidy();
    }

    /// The answer to our request `message_id` has come from where it was sent to.
    pub(crate) fn prove(&mut self, message_id: u32) {
        if let Some(ways) = self.0.as_mut().filter(|ways| ways.asked_before != Some(message_id)) {
            **ways = Ways { request: ways.request, ..Ways::default() };
            self.tidy();
        }
    }

    /// Whether the peer is to be asked for a sign of life before anything else; `used` is the path of the IKE SA.
    pub(crate) fn asks(&mut self, used: Path) -> bool {
        let is_proven = self.is_proven(used, used);
        let ways = self.0.as_mut().filter(|_| !is_proven);
        ways.is_some_and(|ways| !std::mem::replace(&mut ways.asked, true))
    }

    /// What the successor of an IKE SA takes over.
    pub(crate) fn inherited(&self) -> Self {
        let proven = self.0.as_ref().and_then(|ways| ways.proven);
        Self(proven.map(|proven| Box::new(Ways { proven: Some(proven), ..Ways::default() })))
    }

    /// Whether the peer has shown that it is at the far end of a path; `used` is the IKE SA's own.
    pub(crate) fn is_proven(&self, path: Path, used: Path) -> bool {
        let proven =
            self.0.as_ref().and_then(|ways| ways.proven).unwrap_or_else(|| used.remote.ip());
        path.is_tcp() || path.remote.ip() == proven
    }

    /// Whether an answer may go where a request has come from, of which `came` octets are new; `used` is the
    /// path of the IKE SA.
    pub(crate) fn allows(
        &mut self,
        path: Path,
        used: Path,
        came: usize,
        answer: &[Vec<u8>],
    ) -> bool {
        self.is_proven(path, used) || self.allows_anybody(path, came, answer)
    }

    /// The same where a request proves nothing, wherever it comes from.
    pub(crate) fn allows_anybody(&mut self, path: Path, came: usize, answer: &[Vec<u8>]) -> bool {
        if path.is_tcp() {
            return true;
        }
        self.lengthen(path.remote.ip(), came);
        self.spend(path.remote.ip(), answer)
    }

    /// More has gone to another address than had come from there.
    pub(crate) fn forget_other(&mut self) {
        if let Some(ways) = &mut self.0 {
            ways.other = None;
        }
        self.tidy();
    }

    /// So many octets have come from an address that is not proven.
    pub(crate) fn lengthen(&mut self, from: IpAddr, octets: usize) {
        let other = &mut self.0.get_or_insert_default().other;
        let before = other.filter(|(address, _)| *address == from).map_or(0, |(_, octets)| octets);
        *other = Some((from, before.saturating_add(octets)));
    }

    /// Whether as many octets as this have come from an address. If so they are gone.
    fn spend(&mut self, to: IpAddr, answer: &[Vec<u8>]) -> bool {
        let other = self.0.as_mut().and_then(|ways| ways.other.as_mut());
        let Some((_, left)) = other.filter(|(address, _)| *address == to) else { return false };
        let Some(rest) = left.checked_sub(answer.iter().map(Vec::len).sum()) else { return false };
        *left = rest;
        true
    }

    fn tidy(&mut self) {
        let is_empty =
            |ways: &Ways| ways.request.is_none() && ways.proven.is_none() && ways.other.is_none();
        self.0.take_if(|ways| is_empty(ways));
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;

    fn at(remote: u8) -> Path {
        let address = |last| SocketAddr::from(([192, 0, 2, last], 4500));
        Path::udp(address(1), address(remote))
    }

    fn ip(remote: u8) -> IpAddr {
        at(remote).remote.ip()
    }

    #[test]
    fn an_answer_goes_once_as_much_has_come() {
        let mut leash = Leash::default();
        let answer = [vec![0; 200], vec![0; 50]];
        assert!(leash.is_proven(at(2), at(2)) && !leash.is_proven(at(3), at(2)));
        assert!(!leash.spend(ip(3), &answer));
        leash.lengthen(ip(3), 240);
        assert!(!leash.spend(ip(3), &answer));
        leash.lengthen(ip(3), 240);
        assert!(leash.spend(ip(3), &answer) && !leash.spend(ip(3), &answer));
        leash.lengthen(ip(3), 20);
        assert!(!leash.spend(ip(4), &answer) && leash.spend(ip(3), &answer));
        // Another address begins at nothing, and so does the one before when it is back.
        leash.lengthen(ip(3), 249);
        leash.lengthen(ip(4), 1);
        leash.lengthen(ip(3), 1);
        assert!(!leash.spend(ip(3), &answer));
    }

    #[test]
    fn an_address_is_proven_by_what_was_asked_there() {
        let mut leash = Leash::default();
        leash.moved(at(2), at(3), Some(7));
        assert!(leash.is_proven(at(2), at(3)) && !leash.is_proven(at(3), at(3)));
        leash.prove(7);
        leash.moved(at(3), at(4), None);
        assert!(leash.is_proven(at(2), at(4)) && !leash.is_proven(at(4), at(4)));
        assert!(!leash.inherited().is_proven(at(4), at(4)));
        leash.prove(8);
        assert!(leash.is_proven(at(4), at(4)) && !leash.is_proven(at(2), at(4)));
        assert!(!leash.asks(at(4)));
        leash.moved(at(4), at(5), None);
        assert!(leash.asks(at(5)) && !leash.asks(at(5)));
        leash.moved(at(5), at(6), None);
        assert!(!leash.asks(at(6)));
        leash.moved(at(6), at(4), None);
        // Nothing stays of a move there and back.
        leash.moved(at(4), at(5), None);
        leash.moved(at(5), at(4), Some(9));
        assert!(leash.is_proven(at(4), at(4)) && leash.0.is_none());
    }

    #[test]
    fn a_request_is_answered_where_it_came_from() {
        let mut leash = Leash::default();
        leash.set_request_path(at(3));
        leash.prove(0);
        assert_eq!(leash.request_path(), Some(at(3)));
        assert_eq!(leash.take_request_path(), Some(at(3)));
        assert!(leash.take_request_path().is_none() && leash.0.is_none());
    }
}
