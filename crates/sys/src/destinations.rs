//! Which addresses packets are delivered to on this host, for those who get packets before the kernel
//! has asked its routes.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use nix::libc;

use crate::clock;
use crate::error::SysError;
use crate::netlink::{Netlink, RouteKind};

/// What the routes said about addresses, for a while.
///
/// A known address costs a comparison or a few; asking the kernel allocates and takes some
/// microseconds, and strangers' packets cannot make it happen more often than
/// [`QUESTIONS_PER_SECOND`], nor displace what is known of our own.
#[derive(Debug)]
pub(crate) struct Destinations {
    netlink: Netlink,
    ours: Vec<Answer>,
    others: Vec<Answer>,
    unanswered: Unanswered,
    /// Since when questions are counted, and how many there were.
    counted_since: Instant,
    questions: u32,
    /// The time of the questions that follow: read once for each batch.
    now: Instant,
}

/// What an address is held to be while the kernel has not been asked, or has not answered.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Unanswered {
    /// Ours: somebody has looked before.
    Ours,
    /// Another host's.
    Strange,
}

#[derive(Clone, Copy, Debug)]
struct Answer {
    address: IpAddr,
    until: Instant,
}

impl Destinations {
    /// Asks in the namespace of the calling thread.
    pub(crate) fn open(unanswered: Unanswered) -> Result<Self, SysError> {
        let now = clock::now();
        Ok(Self {
            netlink: Netlink::open()?,
            ours: Vec::with_capacity(OURS_MAX),
            others: Vec::with_capacity(OTHERS_MAX),
            unanswered,
            counted_since: now,
            questions: 0,
            now,
        })
    }

    /// Notes the time for the questions that follow.
    pub(crate) fn look_at_the_clock(&mut self) {
        self.now = clock::now();
        if self.now.saturating_duration_since(self.counted_since) >= Duration::from_secs(1) {
            self.counted_since = self.now;
            self.questions = 0;
        }
    }

    /// Whether packets to an address are for this host. While there are too many questions what was
    /// true stays true.
    pub(crate) fn is_ours(&mut self, address: IpAddr) -> bool {
        let known = |answer: &Answer| answer.address == address;
        let ours = self.ours.iter().position(known);
        let fresh = |answer: Option<&Answer>| answer.is_some_and(|answer| self.now < answer.until);
        if let Some(place) = ours.filter(|place| fresh(self.ours.get(*place))) {
            // The next packet is likely to be for the same one.
            self.ours.swap(0, place);
            return true;
        }
        if fresh(self.others.iter().find(|answer| known(answer))) {
            return ours.is_some();
        }
        let is_quiet = self.questions < QUESTIONS_PER_SECOND;
        let answer = if is_quiet { self.ask(address) } else { None };
        answer.unwrap_or_else(|| ours.is_some() || self.unanswered == Unanswered::Ours)
    }

    /// `None` if there is no answer.
    fn ask(&mut self, address: IpAddr) -> Option<bool> {
        self.questions += 1;
        let is_ours = match self.netlink.lookup_route(address, None, 0) {
            Ok(route) => route.kind == RouteKind::Local,
            Err(error) if NO_ANSWER.contains(&error.errno()?) => return None,
            // There is no route.
            Err(_) => false,
        };
        for list in [&mut self.ours, &mut self.others] {
            list.retain(|answer| answer.address != address);
        }
        let (list, kept, room) = if is_ours {
            (&mut self.ours, OURS_FOR, OURS_MAX)
        } else {
            (&mut self.others, OTHERS_FOR, OTHERS_MAX)
        };
        // The oldest makes room.
        if list.len() >= room {
            let oldest = list.iter().map(|answer| answer.until).min();
            if let Some(place) = list.iter().position(|answer| Some(answer.until) == oldest) {
                list.swap_remove(place);
            }
        }
        list.push(Answer { address, until: self.now + kept });
        Some(is_ours)
    }
}

/// Addresses that are remembered: ours, and others.
pub(crate) const OURS_MAX: usize = 256;
const OTHERS_MAX: usize = 64;
const QUESTIONS_PER_SECOND: u32 = 256;
/// What netlink says when it says nothing about the address.
const NO_ANSWER: [i32; 5] = [libc::EAGAIN, libc::EINTR, libc::ENOBUFS, libc::ENOMEM, libc::EBUSY];
/// An address that goes is another host's, whose packets have SPIs that we do not know.
const OURS_FOR: Duration = Duration::from_secs(10);
/// An address that comes is to work at once.
const OTHERS_FOR: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use super::*;

    /// All of ours are remembered, and of what was not asked each user thinks as it has to.
    #[test]
    fn what_was_not_asked_is_not_an_answer() {
        for (unanswered, is_ours) in [(Unanswered::Ours, true), (Unanswered::Strange, false)] {
            let mut destinations = Destinations::open(unanswered).unwrap();
            let address = |host: u8| IpAddr::from([127, 0, 0, host]);
            for _ in 0..2 {
                assert!((1..=200).all(|host| destinations.is_ours(address(host))));
            }
            assert_eq!(destinations.questions, 200);
            assert!(!destinations.is_ours("224.0.0.9".parse().unwrap()));
            destinations.questions = QUESTIONS_PER_SECOND;
            assert!((1..=200).all(|host| destinations.is_ours(address(host))));
            assert_eq!(destinations.is_ours(address(201)), is_ours);
            assert!(!destinations.is_ours("224.0.0.9".parse().unwrap()), "that was an answer");
        }
    }
}
