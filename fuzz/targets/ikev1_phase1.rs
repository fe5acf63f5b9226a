//! Two hosts with a tunnel of IKEv1, and whoever holds the wire, before phase 1 is complete and after:
//! what nobody has authenticated ends nothing, no stranger gets more than it sent, what is half-open is
//! bounded, and when the wire is left alone the tunnel comes up.

#![no_main]

use std::time::Duration;

use adit_db::Keep;
use adit_fuzz::Choices;
use adit_fuzz::ike::{Setup, Side, World};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|octets: &[u8]| {
    let mut choices = Choices(octets);
    let victim = if choices.flag() { Side::Left } else { Side::Right };
    let setup = Setup::choose_v1(Keep::Up, &mut choices);
    let mut world = World::new(&setup);
    for _ in 0..STEPS_MAX {
        if choices.is_over() {
            break;
        }
        world.attack(victim, &mut choices);
    }
    world.calm(Duration::from_secs(900));
    world.end(victim);
});

const STEPS_MAX: usize = 40;
