//! Multicast SAs (RFC 4301 §4.1): whose packets they are, and a replay window for each sender (RFC 4303
//! §2.2).

use std::net::IpAddr;

use adit_db::ReplayWindow;
use adit_wire::PacketMeta;

use crate::drop_reason::DropReason;
use crate::inbound_sad::GroupKey;
use crate::sa::InboundSa;

/// What an SA from a group has beyond one from a peer.
#[derive(Debug)]
pub(crate) struct Group {
    address: IpAddr,
    senders: Senders,
}

#[derive(Debug)]
enum Senders {
    /// Whoever has the key; their sequence numbers cannot be told apart.
    Any,
    /// This one; its window is the SA's.
    One(IpAddr),
    /// These, sorted. A stranger adds nothing to them.
    Several(Box<[(IpAddr, ReplayWindow)]>),
}

impl InboundSa {
    /// The same SA as one from a multicast group: its packets are found by their destination, too, and
    /// their senders' addresses are no one peer's.
    ///
    /// `senders` are those who may send, each with a window of its own; anybody if there is none. In
    /// transport mode the selectors say for themselves whose packets come in.
    #[must_use]
    pub fn from_group(self, address: IpAddr, senders: &[IpAddr]) -> Self {
        let mut sorted = senders.to_vec();
        sorted.sort_unstable();
        sorted.dedup();
        let senders = match sorted.as_slice() {
            [] => Senders::Any,
            [one] => Senders::One(*one),
            several => {
                let windows = several.iter().map(|sender| (*sender, self.window.clone()));
                Senders::Several(windows.collect())
            }
        };
        self.of(Group { address, senders })
    }

    /// How the SA is found, if not by its SPI alone.
    pub(crate) fn group_key(&self) -> Option<GroupKey> {
        let Group { address, senders } = self.group.as_deref()?;
        let source = match senders {
            Senders::One(source) => Some(*source),
            Senders::Any | Senders::Several(_) => None,
        };
        Some(GroupKey { spi: self.spi, group: *address, source })
    }

    /// The replay window of a sender. RFC 4303 §2.2 has none for an SA of several, since one counter
    /// cannot serve them; where their addresses are known each has its own.
    ///
    /// # Errors
    ///
    /// [`DropReason::UnknownSender`] if it has none here.
    #[inline]
    pub(crate) fn window_of(&mut self, meta: &PacketMeta) -> Result<&mut ReplayWindow, DropReason> {
        match self.group {
            None => Ok(&mut self.window),
            Some(_) => self.window_in_group(meta.remote.ip()),
        }
    }

    fn window_in_group(&mut self, sender: IpAddr) -> Result<&mut ReplayWindow, DropReason> {
        let Some(Group { senders: Senders::Several(windows), .. }) = self.group.as_deref_mut()
        else {
            return Ok(&mut self.window);
        };
        let place = windows.binary_search_by_key(&sender, |(sender, _)| *sender);
        let window = place.ok().and_then(|place| windows.get_mut(place));
        window.map(|(_, window)| window).ok_or(DropReason::UnknownSender)
    }

    /// The highest authentic sequence number, of whatever sender.
    pub(crate) fn top(&self) -> u64 {
        match self.group.as_deref() {
            Some(Group { senders: Senders::Several(windows), .. }) => {
                windows.iter().map(|(_, window)| window.top()).max().unwrap_or(0)
            }
            _ => self.window.top(),
        }
    }
}
