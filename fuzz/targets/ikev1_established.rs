//! A peer of a tunnel of IKEv1 that has authenticated, and then writes whatever it wants under the true
//! keys: Quick Mode, deletes, notifies, absurdities. It cannot crash us, get more than is configured, or
//! leave anything behind.

#![no_main]

use std::time::Duration;

use adit_db::Keep;
use adit_fuzz::Choices;
use adit_fuzz::ike::{Setup, Side, World};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|octets: &[u8]| {
    let mut choices = Choices(octets);
    let victim = if choices.flag() { Side::Left } else { Side::Right };
    let setup = Setup::choose_v1(Keep::Passive, &mut choices);
    let mut world = World::new(&setup);
    world.up();
    for _ in 0..STEPS_MAX {
        if choices.is_over() {
            break;
        }
        step(&mut world, victim, &mut choices);
    }
    world.end(victim);
});

fn step(world: &mut World, victim: Side, choices: &mut Choices<'_>) {
    let kind = choices.u8();
    match kind & 7 {
        0..5 => {
            world.inject_isakmp(victim, choices);
            // The true peer hears nothing of it.
            world.wire.clear();
        }
        5 => world.pass(Duration::from_millis(u64::from(choices.u16()) << (kind >> 5))),
        6 => world.order(victim, choices),
        _ => world.run(1 + usize::from(kind >> 4)),
    }
}

const STEPS_MAX: usize = 48;
