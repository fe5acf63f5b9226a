//! What a policy protects never leaves in clear, and while both ends have an SA for it that is not
//! over, and that nobody has told to end, it arrives: replacing an SA loses nothing.
//!
//! Lost traffic at every rekeying is what users complain of most. A packet is lost if its sender has
//! no SA to send it on although both have one, or if it was sent on one that the receiver has given
//! up for another (RFC 7296 §2.8: the new SA is there before the old one goes).

use std::collections::HashSet;
use std::time::Duration;

use adit_dataplane::{DropReason, Verdict};
use adit_ike::FailureReason;
use adit_wire::esp::Spi;

use super::Broken;

/// What was seen of a packet that somebody behind a host sent.
#[derive(Clone, Copy, Debug)]
pub(in crate::world) struct Sealing {
    /// Whether its policy protects it; else it may pass.
    pub(in crate::world) is_protected: bool,
    /// Whether both ends have an SA for it.
    pub(in crate::world) has_pair: bool,
    pub(in crate::world) verdict: Verdict,
}

/// Judges what a host made of a packet.
pub(in crate::world) fn sealed(seen: Sealing) -> Option<Broken> {
    let Sealing { is_protected, has_pair, verdict } = seen;
    let is_right = match (is_protected, verdict) {
        (false, verdict) => verdict == Verdict::Bypass,
        (true, Verdict::Bypass) => false,
        (true, verdict) => verdict == Verdict::Send || !has_pair,
    };
    (!is_right).then(|| Broken::new("protect", format_args!("a packet was not sent: {seen:?}")))
}

/// Judges what leaves: nothing of a protected packet may be seen in it.
pub(in crate::world) fn hidden(esp: &[u8], mark: &[u8]) -> Option<Broken> {
    let shows = esp.windows(mark.len()).any(|window| window == mark);
    shows.then(|| Broken::new("protect", "an ESP packet shows what is in it"))
}

/// Judges what is around an ESP packet that leaves: of a bundle the AH with this SPI, else nothing
/// (RFC 2401 §4.3). `ah` begins with the header of AH.
pub(in crate::world) fn wrapped(wanted: Option<Spi>, ah: Option<&[u8]>) -> Option<Broken> {
    let spi = |ah: &[u8]| Some(Spi(u32::from_be_bytes(*ah.get(4..)?.first_chunk()?)));
    let is_right = wanted == ah.and_then(spi) && wanted.is_some() == ah.is_some();
    let text = || format!("an ESP packet leaves, and AH around it is not {wanted:?}");
    (!is_right).then(|| Broken::new("protect", text()))
}

/// An SA that a packet came too late for, by the receiver's clock.
///
/// A suspended host's clock jumps: what was under way meanwhile may find the grace of an SA over that
/// would have taken it otherwise. Nobody can send more in time than the grace is long, so that packet
/// alone is lost rightly.
#[derive(Clone, Copy, Debug)]
pub(in crate::world) struct Gone {
    /// When its grace was over.
    pub(in crate::world) over_at: Duration,
    pub(in crate::world) now: Duration,
    /// By how much the clock jumped since the packet was sent.
    pub(in crate::world) jumped: Duration,
}

impl Gone {
    /// Whether the packet had come in time if the clock had not jumped while it was under way.
    fn is_cut_short(self) -> bool {
        self.now.saturating_sub(self.jumped) < self.over_at
    }
}

/// What was seen of an ESP packet that arrived as it was sent, and for the first time.
#[derive(Clone, Copy, Debug)]
pub(in crate::world) struct Arrival<'a> {
    /// Whether both ends had an SA for what is in it when it was sent.
    pub(in crate::world) had_pair: bool,
    /// Whether the receiver was down at any time since.
    pub(in crate::world) was_down: bool,
    /// Why the SA ended that it was sent on, if nothing replaced it.
    pub(in crate::world) end: Option<&'a FailureReason>,
    /// If the receiver has had that SA and its grace is over.
    pub(in crate::world) gone: Option<Gone>,
    pub(in crate::world) dropped: Option<DropReason>,
}

/// Judges what a host made of an ESP packet.
pub(in crate::world) fn arrived(seen: Arrival<'_>) -> Option<Broken> {
    let Arrival { had_pair, was_down, end, gone, dropped } = seen;
    let reason = dropped?;
    let is_cut_short = reason == DropReason::UnknownSpi && gone.is_some_and(Gone::is_cut_short);
    // An SA may end by its lifetime, too, while a packet is on its way.
    let is_fine = matches!(reason, DropReason::Dummy | DropReason::LifetimeOver);
    let is_excused = !had_pair || was_down || end.is_some() || is_cut_short || is_fine;
    (!is_excused).then(|| Broken::new("protect", format_args!("a packet was lost: {reason}")))
}

/// The packets that came in.
#[derive(Debug, Default)]
pub(in crate::world) struct Delivered {
    numbers: HashSet<u32>,
}

impl Delivered {
    /// A packet came in: each may once.
    pub(in crate::world) fn came(&mut self, number: u32) -> Option<Broken> {
        let is_first = self.numbers.insert(number);
        (!is_first).then(|| Broken::new("protect", format_args!("packet {number} came in twice")))
    }

    pub(in crate::world) fn has(&self, number: u32) -> bool {
        self.numbers.contains(&number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_protected_packet_in_clear_is_seen() {
        let seen = Sealing { is_protected: true, has_pair: false, verdict: Verdict::Bypass };
        assert_eq!(sealed(seen).unwrap().invariant, "protect");
        assert!(hidden(b"abcMARKdef", b"MARK").is_some());
        assert_eq!(hidden(b"abcMARdef", b"MARK"), None);
    }

    #[test]
    fn a_packet_with_a_part_of_its_bundle_is_seen() {
        let (ah, spi) = ([51, 4, 0, 0, 0, 0, 1, 7, 0, 0, 0, 1], Some(Spi(0x107)));
        assert_eq!(wrapped(spi, Some(&ah)), None);
        assert_eq!(wrapped(None, None), None);
        assert_eq!(wrapped(spi, None).unwrap().invariant, "protect");
        assert!(wrapped(None, Some(&ah)).is_some());
        assert!(wrapped(Some(Spi(0x108)), Some(&ah)).is_some());
        assert!(wrapped(None, Some(&ah[..7])).is_some());
    }

    #[test]
    fn a_packet_without_way_is_seen_where_there_is_one() {
        for verdict in [Verdict::Held, Verdict::Drop(DropReason::NoSa)] {
            let seen = Sealing { is_protected: true, has_pair: true, verdict };
            assert!(sealed(seen).is_some());
            assert_eq!(sealed(Sealing { has_pair: false, ..seen }), None);
        }
        let seen = Sealing { is_protected: false, has_pair: false, verdict: Verdict::Held };
        assert!(sealed(seen).is_some());
    }

    #[test]
    fn a_packet_that_is_lost_is_seen() {
        let dropped = Some(DropReason::UnknownSpi);
        let seen = Arrival { had_pair: true, was_down: false, end: None, gone: None, dropped };
        assert!(arrived(seen).is_some());
        assert_eq!(arrived(Arrival { had_pair: false, ..seen }), None);
        assert_eq!(arrived(Arrival { was_down: true, ..seen }), None);
        assert_eq!(arrived(Arrival { end: Some(&FailureReason::ByCommand), ..seen }), None);
        assert_eq!(arrived(Arrival { dropped: None, ..seen }), None);
    }

    /// Only a jump while the packet is under way excuses, only if the packet had come in time without
    /// it, and only that the SA is gone.
    #[test]
    fn a_packet_that_is_lost_is_seen_though_a_clock_jumped() {
        let gone = |over_at, now, jumped| {
            let [over_at, now, jumped] = [over_at, now, jumped].map(Duration::from_secs);
            Some(Gone { over_at, now, jumped })
        };
        let dropped = Some(DropReason::UnknownSpi);
        let seen = |gone| Arrival { had_pair: true, was_down: false, end: None, gone, dropped };
        assert_eq!(arrived(seen(gone(105, 126, 25))), None);
        // The clock had jumped before the packet was sent, by too little, or when all was over.
        assert!(arrived(seen(gone(105, 126, 0))).is_some());
        assert!(arrived(seen(gone(105, 126, 20))).is_some());
        assert!(arrived(seen(gone(100, 126, 25))).is_some());
        let refused = Arrival { dropped: Some(DropReason::Replayed), ..seen(gone(105, 126, 25)) };
        assert!(arrived(refused).is_some());
    }

    #[test]
    fn a_packet_that_comes_in_twice_is_seen() {
        let mut delivered = Delivered::default();
        assert_eq!(delivered.came(1), None);
        assert_eq!(delivered.came(2), None);
        assert!(delivered.has(2) && !delivered.has(3));
        assert!(delivered.came(1).is_some());
    }
}
