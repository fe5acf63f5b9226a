//! Addresses inside that peers have given us: they are the TUN's, so that programs can speak from them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use adit_db::IkeSaId;
use adit_sys::SysError;
use adit_sys::netlink::Netlink;
use ipnet::IpNet;
use tracing::{info, warn};

use super::Parent;

/// Who has given us which.
#[derive(Debug, Default)]
pub(super) struct Inside(BTreeMap<IkeSaId, Vec<IpAddr>>);

impl Inside {
    /// An IKE SA has these from now on: what the TUN gets, and what it loses.
    fn set(&mut self, ike: IkeSaId, addresses: Vec<IpAddr>) -> [Vec<IpAddr>; 2] {
        let all =
            |inside: &Self| -> BTreeSet<IpAddr> { inside.0.values().flatten().copied().collect() };
        let before = all(self);
        if addresses.is_empty() {
            self.0.remove(&ike);
        } else {
            self.0.insert(ike, addresses);
        }
        let after = all(self);
        [&after - &before, &before - &after].map(|set| set.into_iter().collect())
    }
}

impl Parent {
    /// An IKE SA has these addresses from now on, and no others.
    pub(super) fn have_addresses(&mut self, ike: IkeSaId, addresses: Vec<IpAddr>) {
        let [new, gone] = self.inside.set(ike, addresses);
        if new.is_empty() && gone.is_empty() {
            return;
        }
        if let Err(error) = change(self.tun_index, &new, &gone) {
            warn!(%error, "the addresses inside could not be changed");
        }
        for address in new {
            info!(%address, "the peer has given us an address");
        }
    }
}

fn change(interface: u32, new: &[IpAddr], gone: &[IpAddr]) -> Result<(), SysError> {
    let mut netlink = Netlink::open()?;
    for address in new {
        netlink.add_address(interface, IpNet::from(*address))?;
    }
    for address in gone {
        netlink.delete_address(interface, IpNet::from(*address))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_stays_while_an_ike_sa_has_it() {
        let [one, two]: [IpAddr; 2] = ["10.9.0.1", "10.9.0.2"].map(|text| text.parse().unwrap());
        let (mut inside, none) = (Inside::default(), Vec::<IpAddr>::new);
        assert_eq!(inside.set(IkeSaId(1), vec![one]), [vec![one], none()]);
        // Another takes its place, with the same and with another.
        assert_eq!(inside.set(IkeSaId(2), vec![one]), [none(), none()]);
        assert_eq!(inside.set(IkeSaId(1), vec![]), [none(), none()]);
        assert_eq!(inside.set(IkeSaId(3), vec![two]), [vec![two], none()]);
        assert_eq!(inside.set(IkeSaId(2), vec![]), [none(), vec![one]]);
        assert_eq!(inside.set(IkeSaId(9), vec![]), [none(), none()]);
    }
}
