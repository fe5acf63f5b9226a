//! SAs that are keyed by hand: they pass through here because policies are made here. No peer is asked
//! and no IKE SA has them.

use std::net::{IpAddr, SocketAddr};

use adit_crypto::Rng as _;
use adit_dataplane::{InboundCommand, InboundSa, OutboundCommand};
use adit_db::{ChildSa, ChildSaId, ConnectionName, Directions, ManualSa, PolicyId};
use adit_ike::PacketEvent;
use adit_mgmt::Diagnosis;
use adit_mgmt::diagnosis::Context;
use adit_sys::clock;
use tracing::{error, info, warn};

use super::Running;
use crate::message::{ManualChange, ManualOrder, ToControl, ToInbound};

impl Running {
    /// Adds or removes. What this says about policies is published with the next [`Self::settle`].
    pub(super) fn manual(&mut self, change: ManualChange) {
        match change {
            ManualChange::Add(order) => self.add_manual(*order),
            ManualChange::Remove(name) => self.remove_manual(&name),
        }
        self.stale = true;
    }

    fn add_manual(&mut self, order: ManualOrder) {
        let ManualOrder { sa, id, keys_in, keys_out } = order;
        let child_sa = sa.child_sa(id, keys_in, keys_out);
        let policy = self.policies.add_manual(sa.clone(), id);
        let (Some(mut child_sa), Some(policy)) = (child_sa, policy) else {
            error!(sa = %sa.name, "an SA keyed by hand has a name that is too long");
            return;
        };
        if sa.remote.ip().is_multicast() {
            self.find_interface(&sa, &mut child_sa);
        }
        match self.install_manual(&sa, &child_sa, policy) {
            Ok(()) => info!(sa = %sa.name, "an SA keyed by hand is in place"),
            Err(error) => error!(sa = %sa.name, %error, "an SA keyed by hand has wrong keys"),
        }
    }

    fn install_manual(
        &mut self,
        sa: &ManualSa,
        child_sa: &ChildSa,
        policy: PolicyId,
    ) -> Result<(), adit_crypto::KeyLengthError> {
        let now = clock::now();
        if sa.directions.spi_in().is_some() {
            let mut inbound = InboundSa::new(child_sa, policy, now)?;
            if let Directions::FromGroup { senders, .. } = &sa.directions {
                inbound = inbound.from_group(sa.remote.ip(), senders);
            }
            self.install_inbound(inbound, self.inbound_owner(child_sa, false));
        }
        if sa.directions.spi_out().is_some() {
            let iv_base = self.endpoint.rng.next_u64();
            let parts = self.outbound_parts(child_sa, policy, false, now)?;
            let parts = parts.into_iter().map(|part| part.with_iv_base(iv_base));
            self.install_outbound(parts, true);
        }
        Ok(())
    }

    /// Settles by which interface the packets of a group come and go: that which has our address.
    fn find_interface(&mut self, sa: &ManualSa, child_sa: &mut ChildSa) {
        let addresses = self.netlink.addresses().unwrap_or_default();
        let ours = addresses.iter().find(|one| one.address() == sa.local.ip());
        let Some(interface) = ours.map(|address| address.interface) else {
            let cx = Context::of(sa.name.to_string());
            let reason = format!("no interface has {}", sa.local.ip());
            let problem = Diagnosis::group_unreachable(&cx, sa.remote.ip(), &reason);
            warn!(sa = %sa.name, "{}", problem.one_line());
            self.tell_control(ToControl::Problem(Box::new(problem)));
            return;
        };
        if let Directions::FromGroup { .. } = sa.directions {
            let join = ToInbound::Join {
                child: child_sa.id,
                name: sa.name.clone(),
                group: sa.remote.ip(),
                interface,
                inside: inner_groups(sa),
            };
            self.role.links.inbound.push_to(JOINS, join);
        }
        // An IPv4 source names its interface by itself.
        if let SocketAddr::V6(local) = &mut child_sa.encap.local {
            local.set_scope_id(interface);
        }
    }

    fn remove_manual(&mut self, name: &ConnectionName) {
        let Some(child) = self.policies.remove_manual(name) else { return };
        self.tell_outbound(|| OutboundCommand::Remove { child });
        self.tell_inbound(|| InboundCommand::Remove { child });
        self.role.links.inbound.push_to(JOINS, ToInbound::Leave(child));
        info!(sa = %name, "an SA keyed by hand is gone");
    }

    /// Whether an event was about an SA that is keyed by hand; then it is dealt with.
    pub(super) fn is_manual_event(&mut self, event: &PacketEvent) -> bool {
        let Some(sa) = child_of(event).and_then(|child| self.policies.manual(child)) else {
            return false;
        };
        let cx = Context::of(sa.name.to_string());
        if let PacketEvent::HardExpire { .. } = event {
            let problem = Diagnosis::manual_sa_over(&cx);
            error!(sa = %sa.name, "{}", problem.one_line());
            self.tell_control(ToControl::Problem(Box::new(problem)));
        } else if let PacketEvent::SoftExpire { .. } = event {
            warn!(sa = %sa.name, "an SA keyed by hand is nearly used up and needs new keys");
        }
        true
    }
}

/// The inbound thread that joins groups; the host then gives their packets to the sockets of all.
const JOINS: usize = 0;

fn child_of(event: &PacketEvent) -> Option<ChildSaId> {
    match event {
        PacketEvent::SoftExpire { child }
        | PacketEvent::HardExpire { child }
        | PacketEvent::PeerMoved { child, .. }
        | PacketEvent::Traffic { child }
        | PacketEvent::Used { child }
        | PacketEvent::Doubted { child }
        | PacketEvent::Notice { child, .. } => Some(*child),
        PacketEvent::Acquire { .. } | PacketEvent::UnknownSpi { .. } => None,
    }
}

/// The groups that inner packets are for.
fn inner_groups(sa: &ManualSa) -> Vec<IpAddr> {
    let single = sa.local_ts.iter().filter(|ts| ts.start == ts.end && ts.start.is_multicast());
    single.map(|ts| ts.start).collect()
}
