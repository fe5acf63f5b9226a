//! Inbound SAs (RFC 4301 §4.4.2) and which of them a packet is for: a unicast SA is found by its SPI
//! alone, a multicast SA by SPI, destination and perhaps source (RFC 4301 §4.1).

use std::collections::BTreeMap;
use std::net::IpAddr;

use adit_db::ChildSaId;
use adit_db::sad::Table;
use adit_wire::PacketMeta;
use adit_wire::esp::Spi;

use crate::sa::InboundSa;

/// The inbound SAs of the engine.
#[derive(Default)]
pub(crate) struct InboundSad {
    unicast: Table<Spi, InboundSa>,
    groups: Table<GroupKey, InboundSa>,
    places: BTreeMap<ChildSaId, Place>,
}

/// What finds a multicast SA.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(crate) struct GroupKey {
    pub(crate) spi: Spi,
    pub(crate) group: IpAddr,
    /// The one sender, if no other has this SA.
    pub(crate) source: Option<IpAddr>,
}

#[derive(Clone, Copy)]
enum Place {
    Unicast(Spi),
    Group(GroupKey),
}

impl InboundSad {
    /// Adds an SA; where its number or its place is taken, the older one stays and this is false.
    pub(crate) fn insert(&mut self, sa: InboundSa) -> bool {
        let child = sa.child;
        if self.places.contains_key(&child) {
            return false;
        }
        let (place, inserted) = match sa.group_key() {
            Some(key) => (Place::Group(key), self.groups.insert(key, sa)),
            None => (Place::Unicast(sa.spi), self.unicast.insert(sa.spi, sa)),
        };
        let inserted = inserted.is_ok();
        if inserted {
            self.places.insert(child, place);
        }
        inserted
    }

    /// Takes an SA out.
    pub(crate) fn remove(&mut self, child: ChildSaId) -> Option<InboundSa> {
        match self.places.remove(&child)? {
            Place::Unicast(spi) => self.unicast.remove(&spi),
            Place::Group(key) => self.groups.remove(&key),
        }
    }

    /// The unicast SA with this SPI.
    pub(crate) fn unicast(&self, spi: Spi) -> Option<&InboundSa> {
        self.unicast.get(&spi)
    }

    /// The SA of a packet: the longest match (RFC 4301 §4.1), so that what was made for a group and a
    /// source goes before what was made for the group, and that before what has the SPI.
    pub(crate) fn find(&mut self, spi: Spi, meta: &PacketMeta) -> Option<&mut InboundSa> {
        if !self.groups.is_empty() && meta.local.ip().is_multicast() {
            let group = meta.local.ip();
            let mut keys = [Some(meta.remote.ip()), None].into_iter();
            let key = keys.find_map(|source| {
                let key = GroupKey { spi, group, source };
                self.groups.get(&key).map(|_| key)
            });
            if let Some(key) = key {
                return self.groups.get_mut(&key);
            }
        }
        self.unicast.get_mut(&spi)
    }

    /// An SA by its number.
    pub(crate) fn by_child(&self, child: ChildSaId) -> Option<&InboundSa> {
        self.at(*self.places.get(&child)?)
    }

    /// An SA by its number, to be changed.
    pub(crate) fn by_child_mut(&mut self, child: ChildSaId) -> Option<&mut InboundSa> {
        match self.places.get(&child)? {
            Place::Unicast(spi) => self.unicast.get_mut(spi),
            Place::Group(key) => self.groups.get_mut(key),
        }
    }

    /// Every SA, in the order of their numbers.
    pub(crate) fn all(&self) -> impl Iterator<Item = &InboundSa> {
        self.places.values().filter_map(|place| self.at(*place))
    }

    fn at(&self, place: Place) -> Option<&InboundSa> {
        match place {
            Place::Unicast(spi) => self.unicast.get(&spi),
            Place::Group(key) => self.groups.get(&key),
        }
    }
}
