//! The interfaces that tunnels of the user-space engine have for themselves: TUNs beside that of the
//! daemon, which go with their last tunnel, or with the daemon, however it ends.

use std::collections::{BTreeMap, BTreeSet};

use adit_dataplane::INNER_MTU;
use adit_db::{InterfaceName, TableId};
use adit_mgmt::Diagnosis;
use adit_mgmt::diagnosis::Context;
use adit_sys::SysError;
use adit_sys::netlink::Netlink;
use adit_sys::route::TunnelWay;
use adit_sys::tun::{Offloads, Queues, Tun, TunConfig};
use tracing::{error, info};

use super::Parent;
use crate::message::{ToControl, ToInbound, ToOutbound};
use crate::policy::TunnelInterface;

/// See the top of the file.
#[derive(Default)]
pub(super) struct TunnelTuns {
    wanted: Vec<TunnelInterface>,
    made: BTreeMap<TableId, Tun>,
    /// What they take, octets, and the interface of the daemon, if that is not what is usual.
    mtus: BTreeMap<TableId, u16>,
    /// Wanted, and somebody else has the name.
    missing: BTreeSet<InterfaceName>,
    /// The packet threads may not have let go of these yet: nobody else has the name.
    leaving: BTreeSet<InterfaceName>,
}

/// What an attempt to have what is wanted has changed.
#[derive(Default)]
struct Attempt {
    /// Came or went.
    changed: BTreeSet<String>,
    failed: Vec<(TunnelInterface, SysError)>,
    mended: Vec<TunnelInterface>,
}

impl TunnelTuns {
    /// Whether an interface is wanted and not there, though another may be of that name.
    pub(super) fn lack(&self, name: &str) -> bool {
        let is_missing = |one: &TunnelInterface| !self.made.contains_key(&one.table);
        self.wanted.iter().any(|one| one.name.as_str() == name && is_missing(one))
    }

    /// What an interface is to take, octets.
    fn mtu(&self, table: TableId) -> u16 {
        self.mtus.get(&table).copied().unwrap_or(INNER_MTU)
    }

    fn names(&self) -> Vec<String> {
        self.made.values().map(|tun| tun.name().to_owned()).collect()
    }

    /// Takes away what is not wanted and makes what is missing.
    fn attempt(&mut self, queues: Queues) -> Attempt {
        let mut attempt = Attempt::default();
        let Self { wanted, made, mtus, missing, leaving } = self;
        made.retain(|table, tun| {
            let stays = wanted.iter().any(|one| one.table == *table);
            if !stays {
                info!(interface = tun.name(), "no tunnel needs this interface any more");
                leaving.extend(tun.name().parse());
                attempt.changed.insert(tun.name().to_owned());
            }
            stays
        });
        missing.retain(|name| wanted.iter().any(|one| one.name == *name));
        for one in &*wanted {
            if made.contains_key(&one.table) {
                continue;
            }
            let mtu = mtus.get(&one.table).copied().unwrap_or(INNER_MTU);
            match make(&one.name, mtu, queues) {
                Ok(tun) => {
                    info!(interface = %one.name, "made the interface of a tunnel");
                    made.insert(one.table, tun);
                    leaving.remove(&one.name);
                    attempt.changed.insert(one.name.to_string());
                    if missing.remove(&one.name) {
                        attempt.mended.push(one.clone());
                    }
                }
                // A change of the network brings us back when it is gone.
                Err(SysError::InterfaceExists { .. }) if leaving.contains(&one.name) => {}
                Err(error) => {
                    missing.insert(one.name.clone());
                    attempt.failed.push((one.clone(), error));
                }
            }
        }
        attempt
    }
}

/// A TUN, if nothing has the name: one that is there already could be taken over, and is not ours.
fn make(name: &InterfaceName, mtu: u16, queues: Queues) -> Result<Tun, SysError> {
    if Netlink::open()?.link_by_name(name.as_str()).is_ok() {
        return Err(SysError::InterfaceExists { name: name.to_string() });
    }
    make_tun(name.to_string(), mtu, queues)
}

/// A TUN of the daemon's, which moves super-packets where the kernel can.
pub(super) fn make_tun(name: String, mtu: u16, queues: Queues) -> Result<Tun, SysError> {
    let config = TunConfig { name, mtu, addresses: Vec::new(), offloads: true };
    let tun = Tun::create_with(&config, queues)?;
    let Offloads { tcp, udp } = tun.offloads();
    if !(tcp && udp) {
        info!(interface = tun.name(), tcp, udp, "the kernel moves not all packets in one piece");
    }
    Ok(tun)
}

impl Parent {
    /// Has these interfaces and no others.
    pub(super) fn have_interfaces(&mut self, wanted: Vec<TunnelInterface>) {
        let told = std::mem::replace(&mut self.tuns.wanted, wanted);
        self.settle_interfaces(&told);
    }

    /// Has each interface take so many octets.
    pub(super) fn set_tun_mtus(&mut self, mtus: BTreeMap<TableId, u16>) {
        let before = std::mem::replace(&mut self.tuns.mtus, mtus);
        let before = |table| before.get(&table).copied().unwrap_or(INNER_MTU);
        let own = self.tuns.made.iter().map(|(table, tun)| (*table, tun.index()));
        for (table, index) in own.chain([(TableId::DEFAULT, self.tun_index)]) {
            let mtu = self.tuns.mtu(table);
            if mtu == before(table) {
                continue;
            }
            info!(interface = index, mtu, "an interface takes packets of another length");
            let set = Netlink::open().and_then(|mut it| it.set_mtu(index, mtu.into()));
            if let Err(error) = set {
                error!(%error, interface = index, mtu, "an interface keeps its MTU");
            }
        }
    }

    /// Somebody has taken an interface away: it comes again, without what was routed there.
    pub(super) fn interface_is_gone(&mut self, table: TableId) {
        if let Some(tun) = self.tuns.made.remove(&table) {
            let name = tun.name().to_owned();
            info!(interface = name, "an interface was taken away and is made again");
            drop(tun);
            self.settle_interfaces(&[]);
            self.hand_out(&[name].into());
        }
    }

    /// The network has changed: names may be free now.
    pub(super) fn retry_interfaces(&mut self) {
        let TunnelTuns { wanted, made, .. } = &self.tuns;
        if wanted.iter().any(|one| !made.contains_key(&one.table)) {
            let told = wanted.clone();
            self.settle_interfaces(&told);
        }
    }

    /// Does what can be done, and tells the tunnels that lack theirs, but for those that were told.
    fn settle_interfaces(&mut self, told: &[TunnelInterface]) {
        let Attempt { changed, failed, mended } = self.tuns.attempt(self.queues);
        if !changed.is_empty() {
            self.hand_out(&changed);
        }
        for (interface, error) in failed {
            if told.contains(&interface) {
                continue;
            }
            for tunnel in &interface.tunnels {
                let cx = Context::of(tunnel.to_string());
                let problem = Diagnosis::no_interface(&cx, &interface.name, &error);
                error!(connection = %tunnel, "{}", problem.one_line());
                let _ = self.links.control.send(ToControl::Problem(Box::new(problem)));
            }
        }
        for tunnel in mended.into_iter().flat_map(|interface| interface.tunnels) {
            let _ = self.links.control.send(ToControl::RouteMended(tunnel));
        }
    }

    /// Tells everyone which interfaces there are, and routes to those that came.
    fn hand_out(&mut self, changed: &BTreeSet<String>) {
        let made = &self.tuns.made;
        self.links.outbound.send_each(|| ToOutbound::Interfaces(made.clone()));
        self.links.inbound.send_each(|| ToInbound::Interfaces(made.clone()));
        let names = self.tuns.names();
        if let Some(filter) = &mut self.filter {
            let set = filter.set_interfaces(&names);
            self.tell_unfiltered(set.err());
        }
        let own = self.routed.iter();
        let own = own.filter(|(_, routed)| match &routed.way {
            TunnelWay::Interface(name) => changed.contains(name),
            TunnelWay::Tun | TunnelWay::Peer(_) | TunnelWay::Nowhere => false,
        });
        let own: Vec<_> = own.map(|(policy, routed)| (*policy, routed.clone())).collect();
        for (policy, routed) in own {
            self.put_route(policy, &routed);
        }
    }
}
