//! Putting fragments together (RFC 7383 §2.6).

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::{Envelope, FragmentNumber, Message};

/// Fragments of one message, ours and a peer's. 64 KiB in fragments for IPv4's 576 octets are
/// about 130.
pub(crate) const FRAGMENTS_MAX: u16 = 256;

/// Octets of one message, whole or put together.
pub(crate) const MESSAGE_OCTETS_MAX: usize = 65_000;

/// How long fragments wait for the rest; the peer repeats them all anyway.
pub(crate) const REASSEMBLY_TIMEOUT: Duration = Duration::from_secs(30);

/// A part of a message whose integrity has been verified.
#[derive(Clone, Debug)]
pub(crate) struct Fragment {
    message_id: u32,
    number: FragmentNumber,
    /// Header and generic header, of the first fragment only; the text goes to `inner` later.
    head: Option<Message>,
    text: Vec<u8>,
    /// The datagram, of the first fragment only: a retransmission begins with it.
    datagram: Vec<u8>,
}

impl Fragment {
    pub(super) fn new(envelope: &Envelope<'_>, number: FragmentNumber, text: Vec<u8>) -> Self {
        let is_first = number.number == 1;
        Self {
            message_id: envelope.header.message_id,
            number,
            head: is_first.then(|| Message::new(envelope, Vec::new())),
            text,
            datagram: match is_first {
                true => [envelope.in_front, envelope.sealed].concat(),
                false => Vec::new(),
            },
        }
    }
}

/// Fragments of one message that is not complete yet. Requests and responses each have their own.
///
/// Whoever holds the keys can fill it; it holds at most [`FRAGMENTS_MAX`] fragments and
/// [`MESSAGE_OCTETS_MAX`] octets of one message, for [`REASSEMBLY_TIMEOUT`].
#[derive(Debug, Default)]
pub(crate) struct Reassembly {
    /// Boxed: there is hardly ever one.
    set: Option<Box<FragmentSet>>,
}

#[derive(Debug)]
struct FragmentSet {
    message_id: u32,
    total: u16,
    octets: usize,
    fragments: BTreeMap<u16, Fragment>,
    expires: Instant,
}

/// A message put together, with the datagram of its first fragment.
#[derive(Clone, Debug)]
pub(crate) struct Reassembled {
    /// The message.
    pub(crate) message: Message,
    /// Datagram of the first fragment, by which
    /// [`Responses`](crate::v2::message_id::Responses) recognise a retransmission.
    pub(crate) first_datagram: Vec<u8>,
}

impl Reassembly {
    /// Nothing received yet.
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Whether this fragment could be of use: cheap, and asked before it is decrypted.
    pub(crate) fn wants(&self, message_id: u32, number: FragmentNumber) -> bool {
        if number.total > FRAGMENTS_MAX {
            return false;
        }
        match &self.set {
            Some(set) if set.message_id == message_id => {
                number.total > set.total
                    || (number.total == set.total && !set.fragments.contains_key(&number.number))
            }
            _ => true,
        }
    }

    /// Takes one authentic fragment; the message if it was the last one missing.
    ///
    /// A fragment of another message id, or of a set with more fragments, starts anew: the peer
    /// tries with smaller ones. Repeated ones and those of a set with fewer fragments are
    /// dropped, as is a set that grows beyond the bounds.
    pub(crate) fn add(&mut self, fragment: Fragment, now: Instant) -> Option<Reassembled> {
        self.expire(now);
        if !self.wants(fragment.message_id, fragment.number) {
            return None;
        }
        let total = fragment.number.total;
        let begins = self
            .set
            .as_ref()
            .is_none_or(|set| set.message_id != fragment.message_id || set.total != total);
        if begins {
            self.set = Some(Box::new(FragmentSet::new(fragment.message_id, total, now)));
        }
        let set = self.set.as_mut()?;
        set.octets += fragment.text.len();
        if set.octets > MESSAGE_OCTETS_MAX {
            self.set = None;
            return None;
        }
        set.fragments.insert(fragment.number.number, fragment);
        if set.fragments.len() < usize::from(total) {
            return None;
        }
        self.set.take()?.join()
    }

    /// Drops what has waited too long.
    pub(crate) fn expire(&mut self, now: Instant) {
        self.set.take_if(|set| now >= set.expires);
    }

    /// When [`Reassembly::expire`] has something to do.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.set.as_ref().map(|set| set.expires)
    }

    /// Octets held.
    #[cfg(test)]
    pub(crate) fn octets(&self) -> usize {
        self.set.as_ref().map_or(0, |set| set.octets)
    }
}

impl FragmentSet {
    fn new(message_id: u32, total: u16, now: Instant) -> Self {
        Self {
            message_id,
            total,
            octets: 0,
            fragments: BTreeMap::new(),
            expires: now + REASSEMBLY_TIMEOUT,
        }
    }

    fn join(mut self) -> Option<Reassembled> {
        let first = self.fragments.get_mut(&1)?;
        let mut message = first.head.take()?;
        let first_datagram = std::mem::take(&mut first.datagram);
        message.inner = Vec::with_capacity(self.octets);
        for fragment in self.fragments.values() {
            message.inner.extend_from_slice(&fragment.text);
        }
        super::patch_lengths(&mut message.associated, message.inner.len());
        Some(Reassembled { message, first_datagram })
    }
}
