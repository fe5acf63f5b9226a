//! What may go to an address that the peer has moved to before it shows that it is there.
//!
//! RFC 3947 §4 has us follow an authentic message that comes from elsewhere. Nobody authenticates where it
//! came from: who holds one back and sends it from another address has us send there, whoever that is. So
//! little more goes there than has come from there, until the peer answers what went there.

use std::cell::Cell;
use std::time::Instant;

use crate::command::Path;

/// The leash that an IKE SA is on.
#[derive(Debug, Default)]
pub(crate) struct Leash(Cell<Option<Length>>);

#[derive(Clone, Copy, Debug)]
struct Length {
    octets: usize,
    since: Instant,
    /// Where the peer was when it last showed that it was there.
    home: Path,
}

/// Octets that may go there beside what has come: all times that a question is sent, and then some.
const OCTETS: usize = 1_200;

impl Leash {
    /// The peer is at another address than this one.
    pub(crate) fn put_on(&mut self, before: Path, now: Instant) {
        let home = self.home().unwrap_or(before);
        self.0.set(Some(Length { octets: OCTETS, since: now, home }));
    }

    /// Where the peer was last that has yet to show that it is where it seems to be.
    pub(crate) fn home(&self) -> Option<Path> {
        self.0.get().map(|length| length.home)
    }

    /// So many octets have come from where we send to.
    pub(crate) fn lengthen(&self, octets: usize) {
        let longer = |length: Length| Length { octets: length.octets + octets, ..length };
        self.0.set(self.0.get().map(longer));
    }

    /// Whether so many octets may go there.
    pub(crate) fn spend(&self, octets: usize) -> bool {
        let Some(length) = self.0.get() else { return true };
        let Some(rest) = length.octets.checked_sub(octets) else { return false };
        self.0.set(Some(Length { octets: rest, ..length }));
        true
    }

    /// The peer has answered. What came with the move itself was asked for elsewhere.
    pub(crate) fn take_off(&self, now: Instant) {
        if self.0.get().is_some_and(|length| now > length.since) {
            self.0.set(None);
        }
    }

    /// Whether the peer has yet to show that it is there.
    pub(crate) fn is_on(&self) -> bool {
        self.0.get().is_some()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    #[expect(clippy::disallowed_methods, reason = "any instant will do")]
    fn little_goes_to_who_has_not_answered() {
        let (mut leash, now) = (Leash::default(), Instant::now());
        assert!(leash.spend(usize::MAX) && !leash.is_on());
        let [home, elsewhere] = ["192.0.2.1:500", "192.0.2.2:500"].map(path_to);
        leash.put_on(home, now);
        assert!(leash.spend(OCTETS - 1) && !leash.spend(2));
        leash.lengthen(100);
        assert!(leash.spend(101) && !leash.spend(1));
        leash.take_off(now);
        assert!(leash.is_on());
        leash.put_on(elsewhere, now);
        assert_eq!(leash.home(), Some(home));
        leash.take_off(now + Duration::from_millis(1));
        assert!(leash.spend(OCTETS) && !leash.is_on() && leash.home().is_none());
    }

    fn path_to(remote: &str) -> Path {
        Path::udp("198.51.100.1:500".parse().unwrap(), remote.parse().unwrap())
    }
}
