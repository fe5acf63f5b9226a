//! A host that keeps a tunnel up, and whoever holds the wire: what nobody has authenticated ends
//! nothing, and when the wire is left alone the tunnel comes up.

#![no_main]

use std::time::Duration;

use adit_db::Keep;
use adit_fuzz::Choices;
use adit_fuzz::ike::{Setup, Side, World};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|octets: &[u8]| {
    let mut choices = Choices(octets);
    let setup = Setup::choose(Keep::Up, &mut choices);
    let mut world = World::new(&setup);
    for _ in 0..STEPS_MAX {
        if choices.is_over() {
            break;
        }
        world.attack(Side::Left, &mut choices);
    }

    world.calm(Duration::from_secs(600));
    world.end(Side::Left);
});

const STEPS_MAX: usize = 32;
