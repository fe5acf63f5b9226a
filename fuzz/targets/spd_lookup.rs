//! Policy databases: the decorrelated lookup finds the entry that a linear search finds.

#![no_main]

use adit_db::{Action, Spd};
use adit_fuzz::{Choices, policy};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|octets: &[u8]| {
    let mut choices = Choices(octets);
    let entries = policy::entries(&mut choices);
    // A few hundred pairs can overlap in more ways than the database takes; then it says so.
    let Ok(spd) = Spd::new(entries.clone()) else {
        return;
    };
    while !choices.is_over() {
        let flow = policy::flow(&mut choices);
        let expected = policy::first_match(&entries, &flow);
        assert_eq!(spd.entry_outbound(&flow), expected, "{flow} leaves");
        assert_eq!(spd.entry_inbound(&flow.reversed()), expected, "{flow} arrives");
        if let Some(Action::Protect(policy)) = expected.map(|entry| entry.action) {
            assert!(spd.allows_inbound(policy, &flow.reversed()));
        }
    }
});
