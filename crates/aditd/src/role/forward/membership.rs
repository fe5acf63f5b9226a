//! The multicast groups whose packets this host takes, for SAs that are keyed by hand.

use std::collections::BTreeMap;
use std::net::IpAddr;

use adit_db::ChildSaId;
use adit_sys::SysError;
use adit_sys::netlink::Family;
use adit_sys::raw::RawEspSocket;
use tracing::debug;

/// Which SA needs which group on which interface.
#[derive(Default)]
pub(super) struct Memberships(BTreeMap<ChildSaId, Vec<Place>>);

/// A group and the number of an interface.
type Place = (IpAddr, u32);

impl Memberships {
    /// Joins what an SA needs and no other has joined.
    ///
    /// # Errors
    ///
    /// What the system says about the first that it refuses; the others are joined.
    pub(super) fn join(
        &mut self,
        child: ChildSaId,
        places: Vec<Place>,
        sockets: &[RawEspSocket],
    ) -> Result<(), SysError> {
        let mut result = Ok(());
        let mut joined = Vec::new();
        for place in places {
            let known = joined.contains(&place) || self.0.values().flatten().any(|p| *p == place);
            match socket(sockets, place.0) {
                Some(socket) if !known => match socket.join(place.0, place.1) {
                    Ok(()) => joined.push(place),
                    Err(error) => result = result.and(Err(error)),
                },
                Some(_) | None => joined.push(place),
            }
        }
        self.0.insert(child, joined);
        result
    }

    /// Leaves what an SA had joined and no other needs.
    pub(super) fn leave(&mut self, child: ChildSaId, sockets: &[RawEspSocket]) {
        let mut left = self.0.remove(&child).unwrap_or_default();
        left.sort_unstable();
        left.dedup();
        for place in left {
            if self.0.values().flatten().any(|other| *other == place) {
                continue;
            }
            if let Some(Err(error)) = socket(sockets, place.0).map(|s| s.leave(place.0, place.1)) {
                debug!(%error, "a group could not be left");
            }
        }
    }
}

fn socket(sockets: &[RawEspSocket], group: IpAddr) -> Option<&RawEspSocket> {
    sockets.iter().find(|socket| socket.family() == Family::of(group))
}
