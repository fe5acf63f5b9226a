//! The IKE SAs of an endpoint and the ways to find them: by number, by SPI (RFC 7296 §2.6), by
//! connection, by peer. Each costs the same with ten SAs and with a hundred thousand.

use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;

use adit_db::{ConnectionName, IkeSaId};
use adit_wire::ikev2::IkeSpi;

use crate::event::IkeSaCounts;
use crate::hash::{FixedHash, SpreadHash};
use crate::slab::{Key, Slab};
use crate::timers::Timer;
use crate::v2::ike_sa::IkeSa;

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Population {
    residents: Slab<Resident>,
    by_id: HashMap<IkeSaId, Key, SpreadHash>,
    by_spi: HashMap<IkeSpi, Key, SpreadHash>,
    by_connection: HashMap<ConnectionName, Ends, FixedHash>,
    by_peer: BTreeSet<(IpAddr, IkeSaId)>,
    all: Ends,
    counts: IkeSaCounts,
}

/// One IKE SA and what the indexes have it under.
#[derive(Debug)]
struct Resident {
    sa: IkeSa,
    connection: Option<ConnectionName>,
    peer: IpAddr,
    standing: Standing,
    timer: Timer,
    /// Its neighbours among all.
    among_all: Neighbours,
    /// Its neighbours among those of its connection.
    among_own: Neighbours,
}

/// Both ends of a list in the order of coming.
#[derive(Clone, Copy, Debug, Default)]
struct Ends {
    oldest: Option<Key>,
    newest: Option<Key>,
}

/// Those before and after an IKE SA in a list.
#[derive(Clone, Copy, Debug, Default)]
struct Neighbours {
    older: Option<Key>,
    newer: Option<Key>,
}

/// Which list.
type Which = fn(&mut Resident) -> &mut Neighbours;
const ALL: Which = |resident| &mut resident.among_all;
const OWN: Which = |resident| &mut resident.among_own;

/// How an IKE SA is counted.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Standing {
    /// Over, kept to repeat its last response.
    Over,
    /// Not established yet.
    HalfOpen,
    Established,
    /// Not established any more, but not over: replaced, or being deleted.
    Leaving,
}

impl Standing {
    fn of(sa: &IkeSa) -> Self {
        match () {
            () if sa.is_closed() => Self::Over,
            () if sa.is_established() => Self::Established,
            () if sa.is_leaving() => Self::Leaving,
            () => Self::HalfOpen,
        }
    }
}

impl Population {
    /// Takes an IKE SA.
    pub(super) fn insert(&mut self, sa: IkeSa) {
        let (id, spi, peer) = (sa.core.id, sa.core.our_spi(), sa.core.path.remote.ip());
        let resident = Resident {
            sa,
            connection: None,
            peer,
            standing: Standing::Over,
            timer: Timer::default(),
            among_all: Neighbours::default(),
            among_own: Neighbours::default(),
        };
        let key = self.residents.insert(resident);
        self.all.add(&mut self.residents, key, ALL);
        self.by_id.insert(id, key);
        self.by_spi.insert(spi, key);
        self.by_peer.insert((peer, id));
        self.update(id);
    }

    /// Brings the indexes up to date with an IKE SA that has taken an input: a responder learns its
    /// connection late, and a peer may move. Gives its timer to be set.
    pub(super) fn update(&mut self, id: IkeSaId) -> Option<&mut Timer> {
        let key = self.by_id.get(&id).copied()?;
        let resident = self.residents.get_mut(key)?;
        let standing = Standing::of(&resident.sa);
        let before = std::mem::replace(&mut resident.standing, standing);
        if before != standing {
            self.counts.count(before, standing);
        }
        let peer = resident.sa.core.path.remote.ip();
        if peer != resident.peer {
            self.by_peer.remove(&(resident.peer, id));
            self.by_peer.insert((peer, id));
            resident.peer = peer;
        }
        if resident.sa.core.connection_name() != resident.connection.as_ref() {
            self.leave(key);
            self.join(key);
        }
        self.residents.get_mut(key).map(|resident| &mut resident.timer)
    }

    /// Gives an IKE SA up, and its timer back.
    pub(super) fn remove(&mut self, id: IkeSaId) -> Option<Timer> {
        let key = self.by_id.remove(&id)?;
        self.leave(key);
        self.all.remove(&mut self.residents, key, ALL);
        let resident = self.residents.remove(key)?;
        self.by_spi.remove(&resident.sa.core.our_spi());
        self.by_peer.remove(&(resident.peer, id));
        self.counts.count(resident.standing, Standing::Over);
        Some(resident.timer)
    }

    /// Enters an IKE SA under its connection.
    fn join(&mut self, key: Key) {
        let Some(resident) = self.residents.get_mut(key) else { return };
        let Some(name) = resident.sa.core.connection_name().cloned() else { return };
        resident.connection = Some(name.clone());
        self.by_connection.entry(name).or_default().add(&mut self.residents, key, OWN);
    }

    /// Takes an IKE SA out of the list of the connection that it is entered under.
    fn leave(&mut self, key: Key) {
        let resident = self.residents.get_mut(key);
        let Some(name) = resident.and_then(|resident| resident.connection.take()) else { return };
        if let Entry::Occupied(mut own) = self.by_connection.entry(name) {
            own.get_mut().remove(&mut self.residents, key, OWN);
            if own.get().oldest.is_none() {
                own.remove();
            }
        }
    }

    pub(super) fn get(&self, id: IkeSaId) -> Option<&IkeSa> {
        let resident = self.residents.get(*self.by_id.get(&id)?)?;
        Some(&resident.sa)
    }

    pub(super) fn get_mut(&mut self, id: IkeSaId) -> Option<&mut IkeSa> {
        let resident = self.residents.get_mut(*self.by_id.get(&id)?)?;
        Some(&mut resident.sa)
    }

    /// The one that has this SPI as ours.
    pub(super) fn by_spi(&self, spi: IkeSpi) -> Option<IkeSaId> {
        let resident = self.residents.get(*self.by_spi.get(&spi)?)?;
        Some(resident.sa.core.id)
    }

    /// All of them, oldest first.
    pub(super) fn iter(&self) -> impl Iterator<Item = &IkeSa> {
        let resident = |key: Option<Key>| self.residents.get(key?);
        let all = std::iter::successors(resident(self.all.oldest), move |before| {
            resident(before.among_all.newer)
        });
        all.map(|resident| &resident.sa)
    }

    /// Those of a connection that are not over, oldest first.
    pub(super) fn of(&self, name: &ConnectionName) -> impl Iterator<Item = &IkeSa> {
        self.walk(self.ends_of(name).oldest, |resident| resident.among_own.newer)
    }

    /// Those of a connection that are not over, newest first.
    pub(super) fn newest_of(&self, name: &ConnectionName) -> impl Iterator<Item = &IkeSa> {
        self.walk(self.ends_of(name).newest, |resident| resident.among_own.older)
    }

    fn ends_of(&self, name: &ConnectionName) -> Ends {
        self.by_connection.get(name).copied().unwrap_or_default()
    }

    fn walk(
        &self,
        first: Option<Key>,
        next: fn(&Resident) -> Option<Key>,
    ) -> impl Iterator<Item = &IkeSa> {
        let resident = |key: Option<Key>| self.residents.get(key?);
        let residents =
            std::iter::successors(resident(first), move |before| resident(next(before)));
        residents.map(|resident| &resident.sa).filter(|sa| !sa.is_closed())
    }

    /// Those with a peer of this address.
    pub(super) fn with_peer(&self, peer: IpAddr) -> impl Iterator<Item = &IkeSa> {
        let range = (peer, IkeSaId(0))..=(peer, IkeSaId(u32::MAX));
        self.by_peer.range(range).filter_map(|(_, id)| self.get(*id))
    }

    /// How many there are that are not over.
    pub(super) fn counts(&self) -> IkeSaCounts {
        self.counts
    }
}

impl Ends {
    /// Adds an IKE SA behind all others.
    fn add(&mut self, residents: &mut Slab<Resident>, key: Key, which: Which) {
        let older = self.newest.replace(key);
        match older.and_then(|older| residents.get_mut(older)) {
            Some(older) => which(older).newer = Some(key),
            None => self.oldest = Some(key),
        }
        if let Some(own) = residents.get_mut(key) {
            *which(own) = Neighbours { older, newer: None };
        }
    }

    /// Takes an IKE SA out that is there.
    fn remove(&mut self, residents: &mut Slab<Resident>, key: Key, which: Which) {
        let Some(own) = residents.get_mut(key).map(which) else { return };
        let Neighbours { older, newer } = std::mem::take(own);
        match older.and_then(|older| residents.get_mut(older)) {
            Some(older) => which(older).newer = newer,
            None => self.oldest = newer,
        }
        match newer.and_then(|newer| residents.get_mut(newer)) {
            Some(newer) => which(newer).older = older,
            None => self.newest = older,
        }
    }
}

impl IkeSaCounts {
    fn count(&mut self, before: Standing, after: Standing) {
        match before {
            Standing::Over => {}
            Standing::HalfOpen => self.half_open = self.half_open.saturating_sub(1),
            Standing::Established => self.established = self.established.saturating_sub(1),
            Standing::Leaving => self.leaving = self.leaving.saturating_sub(1),
        }
        match after {
            Standing::Over => {}
            Standing::HalfOpen => self.half_open = self.half_open.saturating_add(1),
            Standing::Established => self.established = self.established.saturating_add(1),
            Standing::Leaving => self.leaving = self.leaving.saturating_add(1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::v2::child::Child;
    use crate::v2::established::Established;

    /// What an IKE SA that is up takes beside its identities and keys; there may be a hundred thousand.
    #[test]
    fn ike_sas_stay_small() {
        let sizes = [
            ("Resident", size_of::<Resident>(), 504),
            ("Established", size_of::<Established>(), 184),
            ("Child", size_of::<Child>(), 216),
        ];
        let grown: Vec<_> = sizes.iter().filter(|(_, octets, most)| octets > most).collect();
        assert!(grown.is_empty(), "{grown:?}");
    }
}
