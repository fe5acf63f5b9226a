//! Policies whose packets go through several SAs by their DSCP (RFC 4301 §4.1).

use std::collections::BTreeMap;

use crate::dscp_class::DscpSet;
use crate::ids::PolicyId;
use crate::outer_header::Dscp;

/// For each policy that has classes, whose SAs carry which code point.
#[derive(Clone, Debug, Default)]
pub(super) struct Classes(BTreeMap<PolicyId, Box<[PolicyId; Dscp::COUNT]>>);

impl Classes {
    pub(super) fn insert(&mut self, policy: PolicyId, code_points: DscpSet, class: PolicyId) {
        let table = self.0.entry(policy).or_insert_with(|| Box::new([policy; Dscp::COUNT]));
        for (value, place) in (0..).zip(table.iter_mut()) {
            if Dscp::new(value).is_some_and(|dscp| code_points.contains(dscp)) {
                *place = class;
            }
        }
    }

    pub(super) fn has(&self, policy: PolicyId) -> bool {
        self.0.contains_key(&policy)
    }

    pub(super) fn find(&self, policy: PolicyId, dscp: Dscp) -> PolicyId {
        let table = self.0.get(&policy);
        table.and_then(|table| table.get(usize::from(dscp.get()))).copied().unwrap_or(policy)
    }
}
