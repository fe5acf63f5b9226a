//! Numbers that stand for policies in the packet engine.

use std::collections::BTreeMap;

use crate::ids::PolicyId;
use crate::names::{ChildName, ConnectionName};

/// Numbers for (connection, child) pairs, the same for the life of the process however often the
/// configuration changes.
#[derive(Clone, Debug, Default)]
pub struct PolicyTable {
    numbers: BTreeMap<(ConnectionName, ChildName), PolicyId>,
    names: Vec<(ConnectionName, ChildName)>,
}

impl PolicyTable {
    /// The number of a pair, a new one if it has none.
    pub fn intern(&mut self, connection: &ConnectionName, child: &ChildName) -> PolicyId {
        let names = (connection.clone(), child.clone());
        if let Some(number) = self.numbers.get(&names) {
            return *number;
        }
        let number = PolicyId(u32::try_from(self.names.len()).unwrap_or(u32::MAX));
        self.names.push(names.clone());
        self.numbers.insert(names, number);
        number
    }

    /// The number of a pair that has one.
    pub fn id(&self, connection: &ConnectionName, child: &ChildName) -> Option<PolicyId> {
        self.numbers.get(&(connection.clone(), child.clone())).copied()
    }

    /// The pair with a number.
    pub fn names(&self, policy: PolicyId) -> Option<(&ConnectionName, &ChildName)> {
        self.names.get(policy.0 as usize).map(|(connection, child)| (connection, child))
    }
}
