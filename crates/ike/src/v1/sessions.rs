//! The IKE SAs of IKEv1 of an endpoint, and the ways to find them.

use std::collections::BTreeMap;
use std::net::SocketAddr;

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
}

#[derive(Debug)]
struct Session {
    sa: IkeSa,
    timer: Timer,
}

impl Sessions {
    /// Takes an IKE SA.
    pub(crate) fn insert(&mut self, sa: IkeSa) {
        let id = sa.core.id;
        self.by_cookie.insert(sa.core.our_cookie(), id);
        if !sa.core.role.is_initiator() {
            self.by_opening.insert((sa.core.path.remote, sa.core.cookie_i), id);
        }
        self.all.insert(id, Session { sa, timer: Timer::default() });
    }

    /// Gives one up, and its timer back.
    pub(crate) fn remove(&mut self, id: IkeSaId) -> Option<Timer> {
        let Session { sa, timer } = self.all.remove(&id)?;
        self.by_cookie.remove(&sa.core.our_cookie());
        self.by_opening.remove(&(sa.core.path.remote, sa.core.cookie_i));
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
        self.iter().filter(move |sa| sa.core.connection_name() == name)
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
