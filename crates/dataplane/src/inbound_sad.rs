//! Inbound SAs (RFC 4301 §4.4.2) and which of them a packet is for: a unicast SA is found by its SPI
//! alone, a multicast SA by SPI, destination and perhaps source (RFC 4301 §4.1).

use std::collections::BTreeMap;
use std::net::IpAddr;

use adit_crypto::Prefetch;
use adit_db::ChildSaId;
use adit_db::sad::Table;
use adit_wire::PacketMeta;
use adit_wire::esp::Spi;

use crate::look_ahead::CACHED_SAS;
use crate::sa::InboundSa;
use crate::slab::{Slab, Slot};

/// The inbound SAs of the engine. What finds them is small beside them, and so near.
#[derive(Default)]
pub(crate) struct InboundSad {
    sas: Slab<InboundSa>,
    unicast: Table<Spi, Slot>,
    groups: Table<GroupKey, Slot>,
    by_child: BTreeMap<ChildSaId, Slot>,
    /// The SPI that is asked for next, and where its SA is, if that has been found already.
    foreseen: Option<(Spi, Slot)>,
}

/// What finds a multicast SA.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(crate) struct GroupKey {
    pub(crate) spi: Spi,
    pub(crate) group: IpAddr,
    /// The one sender, if no other has this SA.
    pub(crate) source: Option<IpAddr>,
}

impl InboundSad {
    /// Adds an SA; where its number or what finds it is taken, the older one stays and this is false.
    pub(crate) fn insert(&mut self, sa: Box<InboundSa>) -> bool {
        let (child, spi, group) = (sa.child, sa.spi, sa.group_key());
        let is_taken = match &group {
            Some(key) => self.groups.get(key).is_some(),
            None => self.unicast.get(&spi).is_some(),
        };
        if is_taken || self.by_child.contains_key(&child) {
            return false;
        }
        let Ok(slot) = self.sas.insert(sa) else { return false };
        self.by_child.insert(child, slot);
        match group {
            Some(key) => self.groups.insert(key, slot).is_ok(),
            None => self.unicast.insert(spi, slot).is_ok(),
        }
    }

    /// Takes an SA out.
    pub(crate) fn remove(&mut self, child: ChildSaId) -> Option<Box<InboundSa>> {
        self.foreseen = None;
        let sa = self.sas.remove(self.by_child.remove(&child)?)?;
        match sa.group_key() {
            Some(key) => self.groups.remove(&key),
            None => self.unicast.remove(&sa.spi),
        };
        Some(sa)
    }

    /// The unicast SA with this SPI.
    pub(crate) fn unicast(&self, spi: Spi) -> Option<&InboundSa> {
        self.sas.get(self.slot(spi)?)
    }

    /// Where the unicast SA with this SPI lies.
    #[inline]
    pub(crate) fn slot(&self, spi: Spi) -> Option<Slot> {
        self.unicast.get(&spi).copied()
    }

    /// Notes where the SA of the next packet is, so that it need not be found again.
    #[inline]
    pub(crate) fn foresee(&mut self, foreseen: Option<(Spi, Slot)>) {
        self.foreseen = foreseen;
    }

    /// Looks at some SAs together, so that they are at hand.
    pub(crate) fn touch(&self, slots: impl Iterator<Item = Slot> + Clone, by: Prefetch) {
        self.sas.touch(slots, |sa| sa.spi.0, by);
    }

    /// The SA that lies here.
    #[inline]
    pub(crate) fn get(&self, slot: Slot) -> Option<&InboundSa> {
        self.sas.get(slot)
    }

    /// Whether there are so many that a packet's SA is in no cache of the processor.
    #[inline]
    pub(crate) fn is_large(&self) -> bool {
        self.unicast.len() > CACHED_SAS
    }

    /// Whether all SAs are unicast.
    pub(crate) fn has_no_groups(&self) -> bool {
        self.groups.is_empty()
    }

    /// The SA that lies here, to be changed.
    #[inline]
    pub(crate) fn at_mut(&mut self, slot: Slot) -> Option<&mut InboundSa> {
        self.sas.get_mut(slot)
    }

    /// Where the SA of a packet lies: the longest match (RFC 4301 §4.1), so that what was made for a group and a
    /// source goes before what was made for the group, and that before what has the SPI.
    pub(crate) fn find(&self, spi: Spi, meta: &PacketMeta) -> Option<Slot> {
        if !self.groups.is_empty() && meta.local.ip().is_multicast() {
            let group = meta.local.ip();
            let mut keys = [Some(meta.remote.ip()), None].into_iter();
            let slot = keys.find_map(|source| self.groups.get(&GroupKey { spi, group, source }));
            if let Some(slot) = slot {
                return Some(*slot);
            }
        }
        match self.foreseen {
            Some((foreseen, slot)) if foreseen == spi => Some(slot),
            _ => self.slot(spi),
        }
    }

    /// An SA by its number.
    pub(crate) fn by_child(&self, child: ChildSaId) -> Option<&InboundSa> {
        self.sas.get(*self.by_child.get(&child)?)
    }

    /// An SA by its number, to be changed.
    pub(crate) fn by_child_mut(&mut self, child: ChildSaId) -> Option<&mut InboundSa> {
        self.sas.get_mut(*self.by_child.get(&child)?)
    }

    /// Every SA, in the order of their numbers.
    pub(crate) fn all(&self) -> impl Iterator<Item = &InboundSa> {
        self.by_child.values().filter_map(|slot| self.get(*slot))
    }
}
