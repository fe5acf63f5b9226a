//! A peer that has authenticated, or holds the keys of a handshake without being able to, and then
//! writes whatever it wants: what it cannot do is crash us, get more than is configured, leave
//! anything behind, or come up without the secret.

#![no_main]

use std::time::Duration;

use adit_db::Keep;
use adit_fuzz::Choices;
use adit_fuzz::ike::{Setup, Side, World};
use adit_ike::Path;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|octets: &[u8]| {
    let mut choices = Choices(octets);
    let setup = Setup::choose(Keep::Passive, &mut choices);
    let stage = choices.u8();
    let mut world = World::new(&setup);
    let victim = if stage & 1 == 0 { Side::Right } else { Side::Left };
    match stage >> 1 & 3 {
        // Both have authenticated.
        0 | 1 => world.up(),
        // Keys, but no identity.
        _ => {
            world.begin();
            world.run_unauthenticated(1 + usize::from(stage >> 3));
            world.wire.clear();
        }
    }
    let authenticated = stage >> 1 & 3 < 2;
    for _ in 0..STEPS_MAX {
        if choices.is_over() {
            break;
        }
        step(&mut world, victim, authenticated, &mut choices);
    }
    world.end(victim);
});

fn step(world: &mut World, victim: Side, authenticated: bool, choices: &mut Choices<'_>) {
    let kind = choices.u8();
    match kind & 7 {
        0..5 => {
            let sessions = world.host(victim).keys.sessions().to_vec();
            let Some(newest) = sessions.len().checked_sub(1) else { return };
            let session = &sessions[newest.saturating_sub(usize::from(kind >> 5))];
            let path = path(world, victim);
            world.seal_and_deliver(victim, session, path, choices);
            // The true peer hears nothing of it.
            world.wire.clear();
        }
        5 => world.pass(Duration::from_millis(u64::from(choices.u16()) << (kind >> 5))),
        6 => world.order(victim, choices),
        _ if authenticated => world.run(1 + usize::from(kind >> 4)),
        _ => world.pass(Duration::from_millis(100)),
    }
    if !authenticated {
        assert_eq!(world.host(victim).ups, 0, "up without the secret");
        assert!(world.host(victim).installed().is_empty(), "installed without the secret");
    }
}

/// Where the victim last saw its peer.
fn path(world: &mut World, victim: Side) -> Path {
    let info = world.host(victim).endpoint().ike_sas().last();
    let known =
        info.map(|info| Path { transport: info.transport, ..Path::udp(info.local, info.remote) });
    known.unwrap_or_else(|| World::first_path(victim))
}

const STEPS_MAX: usize = 48;
