//! After the last fault everything that is wanted comes up, within [`CONVERGE_WITHIN`].
//!
//! Dead tunnels after a bounce of the link, and daemons that wait for each other without end, are the
//! oldest complaints there are. The time is what it takes at worst to notice that the peer is gone
//! (a liveness check after the silence, and its retransmissions), the longest pause between two
//! attempts, and an attempt.

use std::time::Duration;

use super::Broken;
use crate::world::host::Installed;

/// From the last fault on. The longest of what it consists of: 20 s of silence, 72 s of
/// retransmissions, a pause of 75 s, 26 s of an attempt that meets the old state and another pause
/// and attempt; the clocks differ, too.
pub(in crate::world) const CONVERGE_WITHIN: Duration = Duration::from_secs(400);

/// Whether two ends have an SA for a child that each sends on and the other has.
pub(in crate::world) fn is_up<'a>(
    ours: impl Iterator<Item = &'a Installed>,
    theirs: impl Iterator<Item = &'a Installed> + Clone,
) -> bool {
    let mut ours = ours.filter(|sa| sa.active);
    ours.any(|one| theirs.clone().any(|other| other.active && is_pair(one, other)))
}

/// Whether these are the two ends of one child SA.
pub(in crate::world) fn is_pair(one: &Installed, other: &Installed) -> bool {
    (one.spi_in, one.spi_out) == (other.spi_out, other.spi_in)
        && (one.tunnel, one.child) == (other.tunnel, other.child)
        && (one.keys_in, one.keys_out) == (other.keys_out, other.keys_in)
        && one.outer.map(|ah| ah.seen()) == other.outer.map(|ah| ah.mirrored())
}

/// Judges how long it has taken; `state` says what there is instead.
pub(in crate::world) fn took(time: Duration, state: impl FnOnce() -> String) -> Option<Broken> {
    (time > CONVERGE_WITHIN).then(|| Broken::new("converged", format_args!("not\n{}", state())))
}

#[cfg(test)]
pub(super) mod tests {
    use adit_db::ChildSaId;
    use adit_wire::esp::Spi;

    use super::*;
    use crate::world::host::Around;

    pub(in crate::world::invariants) fn child(id: u32, spi_in: u32, spi_out: u32) -> Installed {
        let digest = |spi: u32| [u8::try_from(spi).unwrap(); 20];
        let network = |text: &str| vec![text.parse::<adit_db::TsSpec>().unwrap()];
        let selectors = |specs: Vec<adit_db::TsSpec>| {
            specs.iter().filter_map(adit_db::TsSpec::selector).collect()
        };
        Installed {
            id: ChildSaId(id),
            tunnel: 0,
            child: 0,
            spi_in: Spi(spi_in),
            spi_out: Spi(spi_out),
            keys_in: digest(spi_in),
            keys_out: digest(spi_out),
            outer: None,
            local_ts: selectors(network("10.1.0.0/24")),
            remote_ts: selectors(network("10.2.0.0/24")),
            remote: [198, 18, 0, 1].into(),
            replaces: false,
            heard: false,
            active: true,
            closes: None,
            over_at: None,
            unwanted: false,
        }
    }

    fn around(spi_in: u32, spi_out: u32) -> Around {
        let Installed { id, spi_in, spi_out, keys_in, keys_out, .. } = child(101, spi_in, spi_out);
        Around { id, spi_in, spi_out, keys_in, keys_out }
    }

    #[test]
    fn halves_that_do_not_meet_are_seen() {
        let (one, other) = (child(1, 10, 20), child(1, 20, 10));
        let up = |one: &Installed, other: &Installed| is_up([one].into_iter(), [other].into_iter());
        assert!(up(&one, &other));
        assert!(!up(&one, &child(1, 20, 11)));
        assert!(!up(&one, &Installed { keys_in: [0; 20], ..other.clone() }));
        assert!(!up(&one, &Installed { active: false, ..other.clone() }));
        assert!(!up(&one, &Installed { outer: Some(around(7, 8)), ..other.clone() }));
        let bundle = |sa: &Installed, ah| Installed { outer: Some(ah), ..sa.clone() };
        assert!(up(&bundle(&one, around(7, 8)), &bundle(&other, around(8, 7))));
        assert!(!up(&bundle(&one, around(7, 8)), &bundle(&other, around(8, 9))));
        assert!(!up(&one, &Installed { child: 1, ..other }));
    }

    #[test]
    fn a_wait_without_end_is_seen() {
        assert_eq!(took(CONVERGE_WITHIN, String::new), None);
        let late = took(CONVERGE_WITHIN + Duration::from_millis(1), || "nothing".to_owned());
        assert!(late.unwrap().seen.contains("nothing"));
    }
}
