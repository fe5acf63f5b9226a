//! Memory and timers are bounded.
//!
//! Whatever peers and strangers do, a host holds no more than its settings and what is configured
//! explain, and no timer is due again and again without anything happening.

use super::Broken;

/// What a host holds.
#[derive(Clone, Copy, Debug)]
pub(in crate::world) struct Holding {
    /// Tunnels it has, and children of all of them.
    pub(in crate::world) tunnels: usize,
    pub(in crate::world) children: usize,
    /// IKE SAs that are established, replaced or being deleted.
    pub(in crate::world) ike_sas: usize,
    pub(in crate::world) half_open: usize,
    /// As its settings say.
    pub(in crate::world) half_open_max: usize,
    /// Those whose grace is not over counted in.
    pub(in crate::world) child_sas: usize,
    /// Packets that wait for an SA.
    pub(in crate::world) held: usize,
    /// Events of the packet engine that found no room.
    pub(in crate::world) events_lost: u64,
}

/// Most IKE SAs of a tunnel: two from crossing initiations, each with a successor from either end,
/// and as many that are being deleted.
const IKE_SAS_MAX: usize = 12;
/// Most child SAs of a child, in the same way, those in their grace counted in.
const CHILD_SAS_MAX: usize = 16;
/// Steps without progress of the clock.
const STEPS_MAX: u32 = 5_000;
/// Datagrams on all links: a storm of hosts that answer each other has no end.
const UNDER_WAY_MAX: usize = 3_000;

/// Judges what a host holds.
pub(in crate::world) fn held(seen: Holding) -> Option<Broken> {
    let is_right = seen.ike_sas <= IKE_SAS_MAX * seen.tunnels
        // Its own attempts are half-open, too.
        && seen.half_open <= seen.half_open_max + 2 * seen.tunnels
        && seen.child_sas <= CHILD_SAS_MAX * seen.children
        && seen.held <= adit_dataplane::HELD_PER_POLICY * seen.children
        && seen.events_lost == 0;
    (!is_right).then(|| Broken::new("bounds", format_args!("a host holds too much: {seen:?}")))
}

/// Judges how many datagrams are under way.
pub(in crate::world) fn under_way(datagrams: usize) -> Option<Broken> {
    let text = || format!("{datagrams} datagrams are under way");
    (datagrams > UNDER_WAY_MAX).then(|| Broken::new("bounds", text()))
}

/// Judges how often something was due at one moment.
pub(in crate::world) fn stood_still(steps: u32) -> Option<Broken> {
    let text = "a timer is due again and again";
    (steps > STEPS_MAX).then(|| Broken::new("bounds", text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_is_too_much_is_seen() {
        let fine = Holding {
            tunnels: 1,
            children: 2,
            ike_sas: 12,
            half_open: 6,
            half_open_max: 4,
            child_sas: 32,
            held: 8,
            events_lost: 0,
        };
        assert_eq!(held(fine), None);
        for wrong in [
            Holding { ike_sas: 13, ..fine },
            Holding { half_open: 7, ..fine },
            Holding { child_sas: 33, ..fine },
            Holding { held: 9, ..fine },
            Holding { events_lost: 1, ..fine },
        ] {
            assert_eq!(held(wrong).unwrap().invariant, "bounds", "{wrong:?}");
        }
    }

    #[test]
    fn a_clock_that_stands_still_is_seen() {
        assert_eq!(stood_still(STEPS_MAX), None);
        assert!(stood_still(STEPS_MAX + 1).is_some());
    }

    #[test]
    fn a_storm_is_seen() {
        assert_eq!(under_way(UNDER_WAY_MAX), None);
        assert!(under_way(UNDER_WAY_MAX + 1).is_some());
    }
}
