//! The network of this host, for IKE SAs that move with it (RFC 4555): addresses, told when they or
//! routes have changed, and not for each change of several that belong together.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use adit_sys::clock;
use adit_sys::netlink::Netlink;
use tracing::debug;

use super::Parent;
use crate::message::ToIke;

/// Changes within this time are told together: an address that goes and one that comes in its place.
const TOGETHER: Duration = Duration::from_millis(100);

/// When the ike role is told next.
#[derive(Default)]
pub(super) struct Network {
    tell_at: Option<Instant>,
}

impl Network {
    /// How long the parent may sleep.
    pub(super) fn timeout(&self) -> Option<Duration> {
        self.tell_at.map(|at| at.saturating_duration_since(clock::now()))
    }

    /// Something has changed.
    pub(super) fn note_change(&mut self) {
        self.tell_at.get_or_insert_with(|| clock::now() + TOGETHER);
    }
}

impl Parent {
    /// Tells what has changed, if it is time.
    pub(super) fn tell_network(&mut self) {
        if self.network.tell_at.take_if(|at| clock::now() >= *at).is_some() {
            let addresses = addresses(self.tun_index);
            let _ = self.links.ike.send(ToIke::Network(addresses));
        }
    }
}

/// The addresses of this host that others can reach, but for those of our TUN.
pub(super) fn addresses(tun_index: u32) -> Vec<IpAddr> {
    let found = Netlink::open().and_then(|mut netlink| netlink.addresses());
    let found = found.unwrap_or_else(|error| {
        debug!(%error, "the addresses of this host cannot be listed");
        Vec::new()
    });
    let counts = found
        .iter()
        .filter(|address| address.global && address.usable && address.interface != tun_index);
    counts.map(adit_sys::netlink::Address::address).collect()
}
