//! Message ids, windows of one and retransmission (RFC 7296 §2.1, §2.2, §2.3).
//!
//! Each end counts its own requests. [`Requests`] holds our one request in flight and says when
//! to send it again; [`Responses`] expects the peer's requests one after the other and keeps the
//! last response for repeated ones. Fragments (RFC 7383 §2.6.1) are repeated as a set.

use std::time::{Duration, Instant};

use adit_crypto::{Rng, sha1};

use crate::config::Retransmission;

/// One IKE message as it goes over the wire: one datagram, or its fragments in order.
pub(crate) type Datagrams = Vec<Vec<u8>>;

/// Our requests: the next message id, and the one request in flight.
#[derive(Debug)]
pub(crate) struct Requests {
    next: u32,
    /// Whether one was given up before it was answered.
    is_abandoned: bool,
    /// Boxed: most of the time there is none.
    in_flight: Option<Box<InFlight>>,
}

/// A request that waits for its response.
#[derive(Debug)]
struct InFlight {
    id: u32,
    datagrams: Datagrams,
    schedule: Retransmission,
    transmissions: u8,
    first_sent: Instant,
    due: Instant,
    /// Whether it has been hastened because the peer said that it is elsewhere.
    followed: bool,
}

/// What [`Requests::handle_timeout`] found due.
#[derive(Debug, Eq, PartialEq)]
pub(crate) enum Due<'a> {
    /// Nothing yet.
    Nothing,
    /// Send these again, unchanged.
    Repeat(&'a [Vec<u8>]),
    /// The tries are spent: the peer is silent (RFC 7296 §2.4).
    GaveUp {
        /// How often the request was sent.
        transmissions: u8,
        /// Since the first transmission.
        waited: Duration,
    },
}

impl Requests {
    /// Counts from `next`: 0 on a new IKE SA, also on one made by rekeying (RFC 7296 §2.2).
    pub(crate) fn new(next: u32) -> Self {
        Self { next, is_abandoned: false, in_flight: None }
    }

    /// The message id for the next request. `None` at the end of the numbers: the IKE SA must be
    /// closed before it wraps (RFC 7296 §2.2).
    pub(crate) fn next_id(&self) -> Option<u32> {
        (self.next < u32::MAX).then_some(self.next)
    }

    /// The message id after those that were used.
    pub(crate) fn next(&self) -> u32 {
        self.next
    }

    /// Goes on with another message id; nobody waits for a request in flight any more.
    pub(crate) fn restart_at(&mut self, next: u32) {
        *self = Self::new(next);
    }

    /// The message id of the request in flight.
    pub(crate) fn in_flight(&self) -> Option<u32> {
        self.in_flight.as_ref().map(|request| request.id)
    }

    /// Whether a new request may be sent: the window has size one (B13).
    pub(crate) fn is_idle(&self) -> bool {
        self.in_flight.is_none()
    }

    /// Notes a request built with [`Requests::next_id`] as sent, and starts its timer.
    ///
    /// A request already in flight is replaced and keeps its message id: that is the repeated
    /// IKE_SA_INIT with a cookie or another key exchange (RFC 7296 §2.6, §1.2). The caller sends
    /// the datagrams.
    pub(crate) fn sent(
        &mut self,
        datagrams: Datagrams,
        schedule: Retransmission,
        now: Instant,
        rng: &mut dyn Rng,
    ) {
        let id = match &self.in_flight {
            Some(replaced) => replaced.id,
            None => {
                let id = self.next;
                self.next = self.next.saturating_add(1);
                id
            }
        };
        let due = now + jittered(schedule.wait_after(1), rng);
        self.in_flight = Some(Box::new(InFlight {
            id,
            datagrams,
            schedule,
            transmissions: 1,
            first_sent: now,
            due,
            followed: false,
        }));
    }

    /// How often the request in flight has been sent; 0 if there is none.
    pub(crate) fn transmissions(&self) -> u8 {
        self.in_flight.as_ref().map_or(0, |request| request.transmissions)
    }

    /// The datagrams of the request in flight.
    pub(crate) fn datagrams(&self) -> &[Vec<u8>] {
        self.in_flight.as_ref().map_or(&[], |request| &request.datagrams)
    }

    /// Sends the request in flight again as soon as may be, and as patiently as if it had just been
    /// sent: there is another way to the peer.
    pub(crate) fn hasten(&mut self, now: Instant) {
        if let Some(request) = &mut self.in_flight {
            (request.transmissions, request.due) = (0, now);
        }
    }

    /// Whether the request in flight may be hastened because the peer says that it is elsewhere: a long
    /// one once.
    ///
    /// Nobody has checked what the peer says (RFC 4555 §5.3), and it can say so again and again in less
    /// octets than the request has. What comes after that waits for its turn in the schedule, at whatever
    /// address, and so a request is sent to strangers a dozen times at most.
    pub(crate) fn may_follow(&mut self) -> bool {
        self.in_flight.as_mut().is_some_and(|request| {
            let octets: usize = request.datagrams.iter().map(Vec::len).sum();
            !std::mem::replace(&mut request.followed, true) || octets <= SHORT_OCTETS
        })
    }

    /// Whether a response with this message id is the awaited one. Anything else is dropped
    /// (B09, B16).
    pub(crate) fn expects(&self, id: u32) -> bool {
        self.in_flight() == Some(id)
    }

    /// Gives up the request in flight, if there is one: nobody waits for it any more. With a window
    /// of one nothing may be asked after that, as the peer may not have got it (RFC 7296 §2.3).
    pub(crate) fn abandon(&mut self) {
        self.is_abandoned |= self.in_flight.take().is_some();
    }

    /// Whether all that was asked has been answered, or is still being asked.
    pub(crate) fn may_ask(&self) -> bool {
        !self.is_abandoned
    }

    /// Ends the request in flight: its authentic response has been taken, or the IKE SA is over.
    /// Resending stops (B02).
    pub(crate) fn answered(&mut self) {
        self.in_flight = None;
    }

    /// The request in flight as it was sent; nothing if there is none.
    pub(crate) fn pending(&self) -> &[Vec<u8>] {
        self.in_flight.as_ref().map_or(&[], |request| &request.datagrams)
    }

    /// When [`Requests::handle_timeout`] wants to be called.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.in_flight.as_ref().map(|request| request.due)
    }

    /// Repeats the request in flight if its time has come (B01), or gives it up (B11).
    ///
    /// After [`Due::GaveUp`] nothing is in flight.
    pub(crate) fn handle_timeout(&mut self, now: Instant, rng: &mut dyn Rng) -> Due<'_> {
        let Some(request) = self.in_flight.take_if(|request| {
            now >= request.due && request.transmissions >= request.schedule.transmissions
        }) else {
            return self.repeat_if_due(now, rng);
        };
        self.is_abandoned = true;
        Due::GaveUp {
            transmissions: request.transmissions,
            waited: now.saturating_duration_since(request.first_sent),
        }
    }

    fn repeat_if_due(&mut self, now: Instant, rng: &mut dyn Rng) -> Due<'_> {
        match &mut self.in_flight {
            Some(request) if now >= request.due => {
                request.transmissions += 1;
                let wait = request.schedule.wait_after(request.transmissions);
                request.due = now + jittered(wait, rng);
                Due::Repeat(&request.datagrams)
            }
            _ => Due::Nothing,
        }
    }
}

/// A request of so many octets is hardly longer than what says that the peer is elsewhere.
const SHORT_OCTETS: usize = 128;

/// Up to an eighth more, so that many peers of a gateway that was away do not come back in step.
fn jittered(wait: Duration, rng: &mut dyn Rng) -> Duration {
    let eighth_ms = u64::try_from((wait / 8).as_millis()).unwrap_or(u64::MAX);
    wait + Duration::from_millis(rng.next_u64() % eighth_ms.saturating_add(1))
}

/// The peer's requests: the id expected next, and the last response.
#[derive(Debug)]
pub(crate) struct Responses {
    expected: u32,
    /// Boxed, as one of both at most is there most of the time.
    under_way: Option<Box<Request>>,
    last: Option<Box<Answered>>,
}

/// What one recognises a repeated request by.
#[derive(Debug)]
struct Request {
    id: u32,
    /// Of the datagram, or that of the first fragment. A retransmission is bitwise identical
    /// (RFC 7296 §2.1); who could make another datagram with this digest could as well repeat that one.
    digest: [u8; 20],
}

/// A request that has been answered.
#[derive(Debug)]
struct Answered {
    request: Request,
    response: Datagrams,
}

/// What to do with a datagram that claims to be a request of the peer.
#[derive(Debug, Eq, PartialEq)]
pub(crate) enum Incoming<'a> {
    /// The expected request, or a fragment of it: authenticate it and go on.
    New,
    /// The last request, octet for octet: send the response again (B05, B06).
    Repeated(&'a [Vec<u8>]),
    /// The id of the last request in other octets, as after the peer changed its fragment size
    /// (RFC 7383 §2.6): if it is authentic, send [`Responses::last_response`] again.
    RepeatedIfAuthentic,
    /// A further fragment of an answered request: it asks for nothing.
    Piece,
    /// Being worked on, or outside the window: drop.
    Drop,
}

impl Responses {
    /// Expects `first`: 0 on a new IKE SA, also on one made by rekeying.
    pub(crate) fn new(first: u32) -> Self {
        Self { expected: first, under_way: None, last: None }
    }

    /// The message id of the next new request.
    pub(crate) fn expected(&self) -> u32 {
        self.expected
    }

    /// Goes on with another message id; what came before is forgotten.
    pub(crate) fn restart_at(&mut self, expected: u32) {
        *self = Self::new(expected);
    }

    /// Sorts a request datagram before anything of it is decrypted. `fragment` is the fragment
    /// number of an SKF payload, 1 for the first.
    pub(crate) fn classify(&self, id: u32, octets: &[u8], fragment: Option<u16>) -> Incoming<'_> {
        // B17: only the last one is repeated from the cache. It stays the last one at the end of the
        // numbers, where none can be expected after it (RFC 7296 §2.2).
        match &self.last {
            Some(last) if last.request.id == id => last.again(octets, fragment),
            _ if id == self.expected && self.under_way.is_none() => Incoming::New,
            _ => Incoming::Drop,
        }
    }

    /// Notes that the expected request has been authenticated and is being worked on. `octets`
    /// is its datagram, or the datagram of its first fragment. Repetitions are dropped until
    /// [`Responses::answered`].
    pub(crate) fn begin(&mut self, octets: &[u8]) {
        self.under_way = Some(Box::new(Request { id: self.expected, digest: sha1(&[octets]) }));
    }

    /// The id of a request that was begun and not answered yet.
    pub(crate) fn under_way(&self) -> Option<u32> {
        self.under_way.as_ref().map(|request| request.id)
    }

    /// Keeps the response to the request under way and expects the next one. The caller sends
    /// the datagrams.
    pub(crate) fn answered(&mut self, response: Datagrams) {
        if let Some(request) = self.under_way.take() {
            self.expected = self.expected.saturating_add(1);
            self.last = Some(Box::new(Answered { request: *request, response }));
        }
    }

    /// The response to the last request; empty before the first.
    pub(crate) fn last_response(&self) -> &[Vec<u8>] {
        self.last.as_ref().map_or(&[], |last| &last.response)
    }
}

impl Answered {
    //= https://www.rfc-editor.org/rfc/rfc7383#section-2.6.1
    //# that event MUST only trigger a retransmission of the response message
    //# (fragmented or not) if the Fragment Number field in the received
    //# fragment is set to 1; otherwise, it MUST be ignored.
    fn again(&self, octets: &[u8], fragment: Option<u16>) -> Incoming<'_> {
        if fragment.is_some_and(|number| number != 1) {
            return Incoming::Piece;
        }
        if sha1(&[octets]) == self.request.digest {
            Incoming::Repeated(&self.response)
        } else {
            Incoming::RepeatedIfAuthentic
        }
    }
}

#[cfg(test)]
mod tests;
