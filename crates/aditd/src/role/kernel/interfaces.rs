//! The interfaces of route-based tunnels: each has a number (`if_id`) that its SAs and policies
//! have too, so that they are about nothing but what goes through it.

use std::collections::{BTreeMap, BTreeSet};

use adit_dataplane::INNER_MTU;
use adit_db::InterfaceName;
use adit_sys::SysError;
use adit_sys::netlink::{IF_ID_FIRST, IF_ID_LAST, Netlink};
use tracing::{info, warn};

/// See the top of the file.
#[derive(Debug, Default)]
pub(super) struct Interfaces {
    /// A name, once it has a number, keeps it: an SA may outlive its interface for a while.
    numbers: BTreeMap<InterfaceName, u32>,
    /// Which ones are there, by their number in this namespace.
    made: BTreeMap<InterfaceName, u32>,
}

/// An interface that could not be made.
#[derive(Debug)]
pub(super) struct NotMade {
    pub(super) name: InterfaceName,
    pub(super) error: SysError,
}

impl Interfaces {
    /// The number of the SAs and policies of an interface. The last one is shared by all names
    /// beyond the sixty-five thousandth.
    pub(super) fn if_id(&mut self, name: &InterfaceName) -> u32 {
        if let Some(number) = self.numbers.get(name) {
            return *number;
        }
        let count = u32::try_from(self.numbers.len()).unwrap_or(u32::MAX);
        let number = IF_ID_FIRST.saturating_add(count).min(IF_ID_LAST);
        self.numbers.insert(name.clone(), number);
        number
    }

    /// Makes what is wanted and takes away what is not any more.
    pub(super) fn have(&mut self, wanted: &BTreeSet<InterfaceName>) -> Vec<NotMade> {
        if *wanted == self.made.keys().cloned().collect() {
            return Vec::new();
        }
        let mut netlink = match Netlink::open() {
            Ok(netlink) => netlink,
            Err(error) => {
                warn!(%error, "the interfaces of tunnels stay as they are");
                return Vec::new();
            }
        };
        self.made.retain(|name, index| {
            let stays = wanted.contains(name);
            if !stays {
                remove(&mut netlink, name.as_str(), *index);
            }
            stays
        });
        let mut not_made = Vec::new();
        for name in wanted {
            if self.made.contains_key(name) {
                continue;
            }
            let if_id = self.if_id(name);
            match netlink.add_xfrm(name.as_str(), if_id, INNER_MTU) {
                Ok(index) => {
                    info!(interface = %name, if_id, "made the interface of a tunnel");
                    self.made.insert(name.clone(), index);
                }
                Err(error) => not_made.push(NotMade { name: name.clone(), error }),
            }
        }
        not_made
    }
}

/// Takes away the interfaces of an earlier run.
pub(super) fn remove_leftovers() {
    let Ok(mut netlink) = Netlink::open() else { return };
    for (index, name) in netlink.our_xfrm_links().unwrap_or_default() {
        info!(interface = name, "removing the interface of an earlier run");
        remove(&mut netlink, &name, index);
    }
}

fn remove(netlink: &mut Netlink, name: &str, index: u32) {
    if let Err(error) = netlink.delete_link(index) {
        warn!(%error, interface = name, "an interface stays behind; the next start removes it");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_has_a_number_of_its_own_and_keeps_it() {
        let mut interfaces = Interfaces::default();
        let mut number = |name: &str| interfaces.if_id(&name.parse().unwrap());
        let (one, two) = (number("vpn1"), number("vpn2"));
        assert_eq!((one, two), (IF_ID_FIRST, IF_ID_FIRST + 1));
        assert_eq!(number("vpn1"), one);
    }
}
