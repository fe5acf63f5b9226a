//! The IKE SAs of IKEv1 of an endpoint, and the ways to find them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use adit_db::{ConnectionName, IkeSaId};
use adit_wire::ikev2::IkeSpi;
use adit_wire::isakmp::Header;

use crate::event::IkeSaCounts;
use crate::timers::Timer;

use super::ike_sa::IkeSa;

/// All of them, oldest first.
#[derive(Debug, Default)]
pub(crate) struct Sessions {
    all: BTreeMap<IkeSaId, Session>,
    by_cookie: BTreeMap<IkeSpi, IkeSaId>,
    /// Those that a peer has begun: its first message may come again.
    by_opening: BTreeMap<(SocketAddr, IkeSpi), IkeSaId>,
    by_connection: BTreeMap<ConnectionName, BTreeSet<IkeSaId>>,
    /// By where the peer is.
    by_peer: BTreeSet<(IpAddr, IkeSaId)>,
}

#[derive(Debug)]
struct Session {
    sa: IkeSa,
    timer: Timer,
    /// What it is entered under.
    connection: ConnectionName,
    peer: IpAddr,
    /// What its first message is found by; where the peer is may change.
    opening: Option<(SocketAddr, IkeSpi)>,
}

impl Sessions {
    /// Takes an IKE SA.
    pub(crate) fn insert(&mut self, sa: IkeSa) {
        let id = sa.core.id;
        self.by_cookie.insert(sa.core.our_cookie(), id);
        let by_peer = !sa.core.role.is_initiator();
        let opening = by_peer.then_some((sa.core.path.remote, sa.core.cookie_i));
        if let Some(opening) = opening {
            self.by_opening.insert(opening, id);
        }
        let connection = sa.core.connection_name().clone();
        self.by_connection.entry(connection.clone()).or_default().insert(id);
        let peer = sa.core.path.remote.ip();
        self.by_peer.insert((peer, id));
        self.all.insert(id, Session { sa, timer: Timer::default(), connection, peer, opening });
    }

    /// Brings the indexes up to date: which of several connections is meant may show late, and a peer may
    /// move.
    pub(crate) fn update(&mut self, id: IkeSaId) {
        let Some(session) = self.all.get_mut(&id) else { return };
        let peer = session.sa.core.path.remote.ip();
        if peer != session.peer {
            self.by_peer.remove(&(std::mem::replace(&mut session.peer, peer), id));
            self.by_peer.insert((peer, id));
        }
        if session.sa.core.connection_name() == &session.connection {
            return;
        }
        let now = session.sa.core.connection_name().clone();
        let before = std::mem::replace(&mut session.connection, now.clone());
        self.leave(&before, id);
        self.by_connection.entry(now).or_default().insert(id);
    }

    fn leave(&mut self, connection: &ConnectionName, id: IkeSaId) {
        if let Some(ids) = self.by_connection.get_mut(connection) {
            ids.remove(&id);
            if ids.is_empty() {
                self.by_connection.remove(connection);
            }
        }
    }

    /// Gives one up, and its timer back.
    pub(crate) fn remove(&mut self, id: IkeSaId) -> Option<Timer> {
        let Session { sa, timer, connection, peer, opening } = self.all.remove(&id)?;
        self.by_peer.remove(&(peer, id));
        self.leave(&connection, id);
        self.by_cookie.remove(&sa.core.our_cookie());
        if let Some(opening) = opening {
            self.by_opening.remove(&opening);
        }
        Some(timer)
    }

    pub(crate) fn get(&self, id: IkeSaId) -> Option<&IkeSa> {
        self.all.get(&id).map(|session| &session.sa)
    }

    pub(crate) fn get_mut(&mut self, id: IkeSaId) -> Option<&mut IkeSa> {
        self.all.get_mut(&id).map(|session| &mut session.sa)
    }

    /// Its timer, to be set.
    pub(crate) fn timer(&mut self, id: IkeSaId) -> Option<&mut Timer> {
        self.all.get_mut(&id).map(|session| &mut session.timer)
    }

    pub(crate) fn contains(&self, id: IkeSaId) -> bool {
        self.all.contains_key(&id)
    }

    /// The one that a message is for: which of the cookies is ours nothing says, so both are tried.
    pub(crate) fn addressee(&self, header: &Header) -> Option<IkeSaId> {
        let own = |cookie: IkeSpi| {
            let id = *self.by_cookie.get(&cookie)?;
            let core = &self.get(id)?.core;
            let same_i = core.cookie_i == header.cookie_i;
            // An initiator learns the responder's with the second message.
            let same_r = core.cookie_r == header.cookie_r || core.cookie_r.is_zero();
            (same_i && same_r).then_some(id)
        };
        own(header.cookie_r).or_else(|| own(header.cookie_i))
    }

    /// The one that this first message has begun.
    pub(crate) fn begun_by(&self, remote: SocketAddr, cookie_i: IkeSpi) -> Option<IkeSaId> {
        self.by_opening.get(&(remote, cookie_i)).copied()
    }

    /// All that are not over, oldest first.
    pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = &IkeSa> {
        self.all.values().map(|session| &session.sa).filter(|sa| !sa.is_closed())
    }

    /// Those of a connection.
    pub(crate) fn of(&self, name: &ConnectionName) -> impl DoubleEndedIterator<Item = &IkeSa> {
        let ids = self.by_connection.get(name).into_iter().flatten();
        ids.filter_map(|id| self.get(*id)).filter(|sa| !sa.is_closed())
    }

    /// Those with a peer at this address.
    pub(crate) fn with_peer(&self, peer: IpAddr) -> impl Iterator<Item = &IkeSa> {
        let ids = self.by_peer.range((peer, IkeSaId(0))..=(peer, IkeSaId(u32::MAX)));
        ids.filter_map(|(_, id)| self.get(*id)).filter(|sa| !sa.is_closed())
    }

    /// How many there are.
    pub(crate) fn counts(&self) -> IkeSaCounts {
        let mut counts = IkeSaCounts::default();
        for sa in self.iter() {
            let place = match () {
                () if sa.is_established() => &mut counts.established,
                () if sa.is_connecting() => &mut counts.half_open,
                () => &mut counts.leaving,
            };
            *place = place.saturating_add(1);
        }
        counts
    }

    /// Whether there is none.
    pub(crate) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }
}
