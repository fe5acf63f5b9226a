//! The policies in force as people see them: those of the kernel first, because it asks them before
//! a packet comes to the TUN.

use adit_db::{
    Action, ChildSaId, Engine, Identity, IdentityPattern, PolicyId, Rank, Sides, SpdEntry,
    Steering, TableId, TsSpec,
};
use adit_mgmt::api::{PolicyAction, PolicySource, PolicyStatus};
use adit_wire::ikev2::TrafficSelector;
use adit_wire::ip::FlowKey;

use super::negotiated::Agreement;
use super::tables::InForce;
use super::{BEYOND, CONFIGURED, Held, PolicyBook};

/// What becomes of a packet that leaves.
#[derive(Debug, Default)]
pub(crate) struct Decision {
    /// The entry that decides.
    pub(crate) entry: Option<PolicyStatus>,
    /// The SA that carries it, if the kernel does that.
    pub(crate) carrier: Option<ChildSaId>,
}

/// What the kernel protects or holds.
struct OfKernel {
    /// The SA that alone brings it.
    sa: Option<ChildSaId>,
    policy: PolicyId,
    sides: Sides,
    steering: Steering,
}

impl OfKernel {
    /// Whether the kernel asks it about a packet without a mark that the routes send through an
    /// interface.
    fn decides(&self, flow: &FlowKey, interface: Option<&str>) -> bool {
        is_steered(&self.steering, interface) && matches(&self.sides, flow)
    }
}

fn is_steered(steering: &Steering, interface: Option<&str>) -> bool {
    let own = steering.interface.as_ref();
    let there = own.is_none_or(|own| interface == Some(own.as_str()));
    there && steering.mark.is_none_or(|mark| mark.value == 0)
}

impl PolicyBook {
    /// How many entries there are.
    pub(crate) fn count(&self) -> usize {
        let ours = self.tables.all().map(|(_, in_force)| in_force.spd.len());
        ours.sum::<usize>() + self.of_kernel().len()
    }

    /// The first entries in force, for people.
    pub(crate) fn list(&mut self, count: usize) -> Vec<PolicyStatus> {
        self.count_parts();
        let kernel = self.of_kernel();
        let ours = self.tables.all();
        let ours = ours.flat_map(|(table, in_force)| {
            in_force.spd.entries().map(move |(rank, entry)| (table, rank, entry))
        });
        let ours = (kernel.len()..).zip(ours);
        let ours = ours.map(|(place, (table, rank, entry))| self.show(place, table, rank, entry));
        let all = kernel.iter().enumerate().map(|(place, one)| self.show_of_kernel(place, one));
        all.chain(ours).take(count).collect()
    }

    /// What decides about a packet that leaves by an interface, for people.
    pub(crate) fn deciding(&mut self, flow: &FlowKey, interface: Option<&str>) -> Decision {
        self.count_parts();
        let kernel = self.of_kernel();
        let sas = self.negotiated.iter().rev().filter(|(_, sa)| sa.engine == Engine::Kernel);
        let carries = |sa: &Agreement| {
            let steering = self.kernel_options(sa.policy).steering;
            is_steered(&steering, interface) && matches(&sa.sides(), flow)
        };
        let carrier = sas.clone().find(|(_, sa)| carries(sa));
        // An SA goes before whatever only holds its traffic.
        let place = match carrier {
            Some((id, sa)) => kernel.iter().position(|one| match one.sa {
                Some(own) => own == id,
                None => one.policy == sa.policy,
            }),
            None => kernel.iter().position(|one| one.decides(flow, interface)),
        };
        if let Some((place, one)) = place.and_then(|place| Some((place, kernel.get(place)?))) {
            let entry = Some(self.show_of_kernel(place, one));
            return Decision { entry, carrier: carrier.map(|(id, _)| id) };
        }
        let table = self.table_at(interface);
        let before = self.tables.all().take_while(|(other, _)| *other < table);
        let before = kernel.len() + before.map(|(_, other)| other.spd.len()).sum::<usize>();
        let entry = self.tables.get(table).and_then(|in_force| {
            let (rank, entry) = in_force.spd.entry_outbound(flow)?;
            Some(self.show(before + in_force.spd.before(rank), table, rank, entry))
        });
        Decision { entry, carrier: None }
    }

    /// As the kernel has them: what SAs bring beyond the configuration, the newest foremost, then
    /// what is configured.
    fn of_kernel(&self) -> Vec<OfKernel> {
        let held = self.held_by_kernel();
        let is_held = |sa: &Agreement| {
            held.iter().any(|Held { policy, local, remote, .. }| {
                sa.is_within(&SpdEntry {
                    local: local.clone(),
                    remote: remote.clone(),
                    action: Action::Protect(*policy),
                })
            })
        };
        let beyond = self.negotiated.iter().rev();
        let beyond = beyond.filter(|(_, sa)| sa.engine == Engine::Kernel && !is_held(sa));
        let beyond = beyond.map(|(id, sa)| OfKernel {
            sa: Some(id),
            policy: sa.policy,
            sides: sa.sides().into_owned(),
            steering: self.kernel_options(sa.policy).steering,
        });
        let mut all: Vec<OfKernel> = beyond.collect();
        all.extend(held.into_iter().map(|Held { policy, local, remote, steering }| OfKernel {
            sa: None,
            policy,
            sides: Sides { local, remote },
            steering,
        }));
        all
    }

    fn count_parts(&mut self) {
        for InForce { spd, parts, .. } in self.tables.all_mut() {
            parts.get_or_insert_with(|| spd.parts().into_iter().collect());
        }
    }

    fn show_of_kernel(&self, place: usize, one: &OfKernel) -> PolicyStatus {
        let source = if one.sa.is_some() { PolicySource::Peer } else { PolicySource::Tunnel };
        let OfKernel { policy, sides: Sides { local, remote }, steering, .. } = one;
        let status = PolicyStatus {
            source,
            by_kernel: true,
            interface: steering.interface.as_ref().map(ToString::to_string),
            mark: steering.mark.map(|mark| mark.to_string()),
            ..status(place, local, remote)
        };
        self.protecting(*policy, status)
    }

    fn show(&self, place: usize, table: TableId, rank: Rank, entry: &SpdEntry) -> PolicyStatus {
        let in_force = self.tables.get(table);
        let parts = in_force.and_then(|in_force| in_force.parts.as_ref());
        let mut status = PolicyStatus {
            parts: parts.and_then(|parts| parts.get(&rank)).copied(),
            interface: self.interface_of(table).map(ToString::to_string),
            ..status(place, &entry.local, &entry.remote)
        };
        match entry.action {
            Action::Bypass => status.action = PolicyAction::Bypass,
            Action::Discard => status.action = PolicyAction::Discard,
            Action::Protect(policy) => {
                status.source = match rank.0 {
                    CONFIGURED.. => PolicySource::Tunnel,
                    BEYOND.. => PolicySource::Peer,
                    _ => PolicySource::Manual,
                };
                status = self.protecting(policy, status);
            }
        }
        let operators = in_force.map_or(&[][..], |in_force| &in_force.operators);
        let operator = usize::try_from(rank.0).ok().and_then(|n| operators.get(n));
        if let Some(name) = operator {
            status.name = name.to_string();
        }
        status
    }

    fn protecting(&self, policy: PolicyId, mut status: PolicyStatus) -> PolicyStatus {
        status.action = PolicyAction::Protect;
        if let Some((connection, child)) = self.names(policy) {
            status.name = connection.to_string();
            status.child = Some(child.to_string());
        }
        let connection = self.table.names(policy).and_then(|(name, _)| self.connections.get(name));
        status.peer_id = connection.and_then(|connection| name_of(&connection.pad.remote_id));
        // A peer's entry is what was taken already.
        if let Some((_, child)) =
            self.child(policy).filter(|_| status.source == PolicySource::Tunnel)
        {
            status.pfp = child.pfp.words().map(str::to_owned).collect();
        }
        status
    }
}

/// The name in an entry of the SPD (RFC 4301 §4.4.1.1); an address is none.
fn name_of(peer: &IdentityPattern) -> Option<String> {
    let is_address = matches!(peer.exact(), Some(Identity::Ipv4(_) | Identity::Ipv6(_)));
    (*peer != IdentityPattern::Any && !is_address).then(|| peer.to_string())
}

fn status(place: usize, local: &[TrafficSelector], remote: &[TrafficSelector]) -> PolicyStatus {
    let words =
        |side: &[TrafficSelector]| side.iter().map(|ts| TsSpec::from(*ts).to_string()).collect();
    PolicyStatus {
        number: place + 1,
        local: words(local),
        remote: words(remote),
        ..PolicyStatus::default()
    }
}

fn matches(sides: &Sides, flow: &FlowKey) -> bool {
    sides.local.iter().any(|ts| ts.contains_source(flow))
        && sides.remote.iter().any(|ts| ts.contains_destination(flow))
}
