//! Policy databases: the decorrelated lookup finds the entry that a linear search finds, whether
//! it was there from the start or came later.

#![no_main]

use adit_db::{Action, Rank, Sides, Spd, SpdEntry};
use adit_fuzz::{Choices, policy};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|octets: &[u8]| {
    let mut choices = Choices(octets);
    let entries = policy::entries(&mut choices);
    // A few hundred pairs can overlap in more ways than the database takes; then it says so.
    let Some(spd) = database(&entries, choices.u16()) else {
        return;
    };
    while !choices.is_over() {
        let flow = policy::flow(&mut choices);
        let expected = policy::first_match(&entries, &flow);
        let entry = |found: Option<(_, _)>| found.map(|(_, entry)| entry);
        assert_eq!(entry(spd.entry_outbound(&flow)), expected, "{flow} leaves");
        assert_eq!(entry(spd.entry_inbound(&flow.reversed())), expected, "{flow} arrives");
        if let Some(Action::Protect(policy)) = expected.map(|entry| entry.action) {
            assert!(spd.allows_inbound(policy, &flow.reversed()));
        }
    }
});

/// The database of some entries; those chosen come later, as those of child SAs do.
fn database(entries: &[SpdEntry], later: u16) -> Option<Spd> {
    let ranked = || (0..).map(Rank).zip(entries);
    let comes_later = |rank: Rank, entry: &SpdEntry| match entry.action {
        Action::Protect(policy) if later >> (rank.0 % 16) & 1 == 1 => Some(policy),
        _ => None,
    };
    let first = ranked().filter(|(rank, entry)| comes_later(*rank, entry).is_none());
    let mut spd = Spd::ranked(first.map(|(rank, entry)| (rank, entry.clone())).collect()).ok()?;
    for (rank, entry) in ranked() {
        let Some(policy) = comes_later(rank, entry) else { continue };
        let sides = Sides { local: entry.local.clone(), remote: entry.remote.clone() };
        spd.insert(rank, policy, &sides);
    }
    Some(spd)
}
