//! What peers have agreed on, one entry for each child SA. There may be a hundred thousand, nearly all
//! for just what is configured: such a one only remembers the connection that it came of.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use adit_db::{
    Action, ChildName, ChildSaId, Connection, Engine, KernelOptions, Mode, PolicyId, Sides,
    SpdEntry,
};
use adit_wire::ikev2::TrafficSelector;

/// What two peers agreed on; it may be narrower than what is configured.
#[derive(Debug)]
pub(super) struct Negotiated {
    /// The one that has the entry.
    pub(super) policy: PolicyId,
    pub(super) engine: Engine,
    pub(super) mode: Mode,
    pub(super) peer: IpAddr,
    pub(super) sides: Sides,
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Agreements {
    by_id: BTreeMap<ChildSaId, Agreement>,
    /// The child SAs of each policy.
    users: BTreeSet<(PolicyId, ChildSaId)>,
}

/// One of them.
#[derive(Debug)]
pub(super) struct Agreement {
    pub(super) policy: PolicyId,
    pub(super) engine: Engine,
    pub(super) mode: Mode,
    pub(super) peer: IpAddr,
    origin: Option<Origin>,
    /// The selectors, if they are not those that were configured.
    own: Option<Box<Sides>>,
}

/// What was configured when it came: it may outlive that.
#[derive(Clone, Debug)]
pub(super) struct Origin {
    connection: Arc<Connection>,
    /// Place among its children.
    child: u16,
}

impl Origin {
    /// That of a child as it is configured now.
    pub(super) fn of(connection: &Arc<Connection>, name: &ChildName) -> Option<Self> {
        let child = connection.children.iter().position(|child| child.name == *name)?;
        Some(Self { connection: Arc::clone(connection), child: u16::try_from(child).ok()? })
    }

    fn sides(&self, policy: PolicyId) -> Option<Sides> {
        let child = self.connection.children.get(usize::from(self.child))?;
        let SpdEntry { local, remote, .. } = SpdEntry::configured(&self.connection, child, policy)?;
        Some(Sides { local, remote })
    }

    fn options(&self) -> Option<&KernelOptions> {
        let child = self.connection.children.get(usize::from(self.child))?;
        Some(&child.kernel)
    }
}

impl Agreements {
    /// Notes what was agreed on, where this is configured.
    pub(super) fn insert(&mut self, id: ChildSaId, sa: Negotiated, origin: Option<Origin>) {
        let Negotiated { policy, engine, mode, peer, sides } = sa;
        let configured = origin.as_ref().and_then(|origin| origin.sides(policy));
        let own = (configured.as_ref() != Some(&sides)).then(|| Box::new(sides));
        self.by_id.insert(id, Agreement { policy, engine, mode, peer, origin, own });
        self.users.insert((policy, id));
    }

    /// Forgets a child SA.
    pub(super) fn remove(&mut self, id: ChildSaId) -> Option<Agreement> {
        let sa = self.by_id.remove(&id)?;
        self.users.remove(&(sa.policy, id));
        Some(sa)
    }

    pub(super) fn get(&self, id: ChildSaId) -> Option<&Agreement> {
        self.by_id.get(&id)
    }

    pub(super) fn get_mut(&mut self, id: ChildSaId) -> Option<&mut Agreement> {
        self.by_id.get_mut(&id)
    }

    /// All of them, the oldest first.
    pub(super) fn iter(&self) -> impl DoubleEndedIterator<Item = (ChildSaId, &Agreement)> + Clone {
        self.by_id.iter().map(|(id, sa)| (*id, sa))
    }

    /// The policies that have any, some perhaps more than once.
    pub(super) fn policies(&self) -> impl Iterator<Item = PolicyId> {
        self.users.iter().map(|(policy, _)| *policy)
    }

    /// Those of a policy, the oldest first.
    pub(super) fn of(&self, policy: PolicyId) -> impl DoubleEndedIterator<Item = &Agreement> {
        let range = (policy, ChildSaId(0))..=(policy, ChildSaId(u32::MAX));
        self.users.range(range).filter_map(|(_, id)| self.get(*id))
    }
}

impl Agreement {
    /// The selectors.
    pub(super) fn sides(&self) -> Cow<'_, Sides> {
        if let Some(own) = &self.own {
            return Cow::Borrowed(own);
        }
        let configured = self.origin.as_ref().and_then(|origin| origin.sides(self.policy));
        let nothing = || Sides { local: Vec::new(), remote: Vec::new() };
        Cow::Owned(configured.unwrap_or_else(nothing))
    }

    /// What was configured about interface and routes.
    pub(super) fn options(&self) -> Option<&KernelOptions> {
        self.origin.as_ref().and_then(Origin::options)
    }

    /// Where it was configured.
    pub(super) fn origin(&self) -> Option<&Origin> {
        self.origin.as_ref()
    }

    /// Whether the entry is of the same policy and covers it.
    pub(super) fn is_within(&self, entry: &SpdEntry) -> bool {
        let covered = |ours: &[TrafficSelector], theirs: &[TrafficSelector]| {
            ours.iter().all(|one| theirs.iter().any(|other| one.is_subset_of(other)))
        };
        let sides = self.sides();
        entry.action == Action::Protect(self.policy)
            && covered(&sides.local, &entry.local)
            && covered(&sides.remote, &entry.remote)
    }
}
