//! A host that waits for a peer, and whoever holds the wire between them: no datagram, however
//! made, ends or moves what is established, is answered with more than came, or leaves more
//! behind than the configured limits.

#![no_main]

use adit_db::Keep;
use adit_fuzz::Choices;
use adit_fuzz::ike::{Setup, Side, World};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|octets: &[u8]| {
    let mut choices = Choices(octets);
    let setup = Setup::choose(Keep::Passive, &mut choices);
    let mut world = World::new(&setup);
    world.begin();
    for _ in 0..STEPS_MAX {
        if choices.is_over() {
            break;
        }
        world.attack(Side::Right, &mut choices);
    }
    world.end(Side::Right);
});

const STEPS_MAX: usize = 48;
