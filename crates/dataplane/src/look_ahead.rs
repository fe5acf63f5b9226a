//! Looking at the packets of a burst before the first of them is protected or opened, RFC 4301 §4.4.2.
//!
//! With many SAs what a packet needs is in no cache of the processor, and what lies
//! there takes as long to come as a packet takes to be encrypted. So it is asked for, for all packets of
//! a burst at once, from one step to the next: where a flow is remembered, the SA that is named there,
//! the key that the SA points to. Each step is a loop so short that the processor has several of its
//! turns in work, and waits for all of them together; a page that is not at hand, either, is found by a
//! true look at it, for not every processor looks for pages when it is only told. The key, which has the
//! most lines, comes while the packet before is worked on.

use adit_db::{FlowPlace, TableId};
use adit_wire::ip::FlowKey;

use crate::seal::Look;
use crate::slab::Slot;

/// SAs that a processor's second cache has room for, with their keys. With more of them it is worth
/// while to look ahead.
pub(crate) const CACHED_SAS: usize = 256;

/// Packets that are looked at before the first of them goes, at most.
pub(crate) const AHEAD_MAX: usize = 64;

/// Of neighbours in one flow the first counts: so many are looked at together, as the processor waits for
/// at once. What they need stays in its first cache until then.
pub(crate) const FIRSTS_MAX: usize = 16;

/// What is known of the packets of a burst that leave.
pub(crate) struct Ahead {
    seen: Vec<Seen>,
    plans: Vec<Plan>,
}

/// A packet, before anybody has asked where it goes.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Seen {
    /// There is more to it than fits here.
    Odd,
    /// It is of the flow of the packet before, and so long.
    Same(usize),
    /// It is of this flow, and so long.
    First(Sight, usize),
}

/// What is seen of a packet.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sight {
    pub(crate) table: TableId,
    pub(crate) flow: FlowKey,
    pub(crate) place: FlowPlace,
    pub(crate) look: Look,
}

/// Where a packet goes.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Plan {
    /// It goes the long way.
    Unknown,
    /// By an SA, which may still turn out to be a special one; it is so long.
    Sa { slot: Slot, look: Look, total_len: usize },
}

impl Default for Ahead {
    fn default() -> Self {
        Self { seen: Vec::with_capacity(AHEAD_MAX), plans: Vec::with_capacity(AHEAD_MAX) }
    }
}

impl Ahead {
    /// Begins a burst.
    pub(crate) fn clear(&mut self) {
        self.seen.clear();
        self.plans.clear();
    }

    /// Notes what is seen of packets as long as there is room, and says of how many; no more than
    /// [`AHEAD_MAX`] of them.
    pub(crate) fn see(&mut self, all: impl Iterator<Item = Seen>) -> usize {
        let mut firsts = 0_usize;
        for seen in all.take(AHEAD_MAX) {
            firsts = firsts.saturating_add(usize::from(!matches!(seen, Seen::Same(_))));
            self.seen.push(seen);
            if firsts == FIRSTS_MAX {
                break;
            }
        }
        self.seen.len()
    }

    /// Plans the ways of all packets by those of the first ones of each flow.
    pub(crate) fn plan(&mut self, mut slot_of: impl FnMut(&Sight) -> Option<Slot>) {
        let mut way = None;
        for seen in &self.seen {
            let total_len = match seen {
                Seen::Odd => {
                    way = None;
                    0
                }
                Seen::Same(total_len) => *total_len,
                Seen::First(sight, total_len) => {
                    way = slot_of(sight).map(|slot| (slot, sight.look));
                    *total_len
                }
            };
            self.plans.push(match way {
                Some((slot, look)) => Plan::Sa { slot, look, total_len },
                None => Plan::Unknown,
            });
        }
    }

    /// What is seen of the first packet of each flow.
    pub(crate) fn sights(&self) -> impl Iterator<Item = &Sight> {
        self.seen.iter().filter_map(|seen| match seen {
            Seen::First(sight, _) => Some(sight),
            Seen::Odd | Seen::Same(_) => None,
        })
    }

    /// The SAs of packets, of neighbours in one flow once.
    pub(crate) fn slots(&self) -> impl Iterator<Item = Slot> + Clone {
        let mut before = None;
        self.plans.iter().filter_map(move |plan| match plan {
            Plan::Sa { slot, .. } => (before.replace(*slot) != Some(*slot)).then_some(*slot),
            Plan::Unknown => None,
        })
    }

    /// The way of a packet.
    #[inline]
    pub(crate) fn way(&self, number: usize) -> Plan {
        self.plans.get(number).copied().unwrap_or(Plan::Unknown)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_of_a_flow_go_one_way() {
        let look = Look { class: 0, is_ipv4: true, dont_fragment: false };
        let flow = |port| FlowKey::new([10, 1, 0, 5].into(), [10, 2, 0, 7].into(), 17, port, 9);
        let first = |port| {
            let place = FlowPlace::default();
            let sight = Sight { table: TableId::DEFAULT, flow: flow(port), place, look };
            Seen::First(sight, 100)
        };
        let mut ahead = Ahead::default();
        let all = [first(1), Seen::Same(90), Seen::Odd, first(2), Seen::Same(80), first(3)];
        assert_eq!(ahead.see(all.into_iter()), 6);
        // No SA carries port 2.
        ahead.plan(|sight| (sight.flow.src_port != 2).then(|| Slot(sight.flow.src_port.into())));
        let ways: Vec<Option<(u32, usize)>> = (0..7)
            .map(|number| match ahead.way(number) {
                Plan::Sa { slot, total_len, .. } => Some((slot.0, total_len)),
                Plan::Unknown => None,
            })
            .collect();
        assert_eq!(ways, [Some((1, 100)), Some((1, 90)), None, None, None, Some((3, 100)), None]);
        assert_eq!(ahead.slots().collect::<Vec<_>>(), [Slot(1), Slot(3)]);
        assert_eq!(ahead.sights().count(), 3);
    }

    #[test]
    fn a_burst_is_bounded() {
        let mut ahead = Ahead::default();
        assert_eq!(ahead.see(std::iter::repeat(Seen::Same(1))), AHEAD_MAX);
        ahead.plan(|_| None);
        assert_eq!((ahead.seen.len(), ahead.plans.len()), (AHEAD_MAX, AHEAD_MAX));
        ahead.clear();
        assert_eq!(ahead.see(std::iter::repeat(Seen::Odd)), FIRSTS_MAX);
    }
}
