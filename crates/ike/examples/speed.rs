//! What IKE costs in one process, both ends of it: `speed handshakes MILLISECONDS`, `speed memory
//! COUNT`, `speed storm COUNT`.
//!
//! Times are of this thread's own processor, so others may have the machine meanwhile; a handshake and
//! the bare key exchanges in it are measured by turns. One line for each figure, words between
//! spaces, for `cargo xtask bench ike`.

#![allow(clippy::print_stdout, reason = "its figures are for the program that runs it")]

#[path = "../benches/pair/crowd.rs"]
mod crowd;
#[path = "../benches/pair/mod.rs"]
mod pair;

use std::env;
use std::process::ExitCode;
use std::time::Duration;

use adit_crypto::{KeyExchange, SystemRng};
use adit_ike::{Command, Endpoint, IkeSaInfo, IkeSaState};
use nix::time::{ClockId, clock_gettime};

use self::crowd::Crowd;
use self::pair::settle;

/// Key exchanges in the words of proposals, and their methods.
const EXCHANGES: [(&str, &str, &[KeyExchange]); 6] = [
    ("x25519", "x25519", &[KeyExchange::X25519]),
    ("ecp256", "ecp256", &[KeyExchange::EcpP256]),
    ("ecp384", "ecp384", &[KeyExchange::EcpP384]),
    ("modp2048", "modp2048", &[KeyExchange::Modp2048]),
    ("x25519+mlkem768", "x25519-ke1_mlkem768", &[KeyExchange::X25519, KeyExchange::MlKem768]),
    ("mlkem1024", "mlkem1024", &[KeyExchange::MlKem1024]),
];

/// Handshakes between two looks at the clock.
const BATCH: u32 = 10;

/// SAs that stand before those are measured that come next: tables have their first sizes then.
const BEFORE: u32 = 10;

fn main() -> ExitCode {
    let mut arguments = env::args().skip(1);
    let what = arguments.next();
    let number = arguments.next().and_then(|number| number.parse().ok());
    match (what.as_deref(), number) {
        (Some("handshakes"), Some(ms)) => handshakes(Duration::from_millis(u64::from(ms))),
        (Some("memory"), Some(count)) => memory(count),
        (Some("storm"), Some(count)) => storm(count),
        _ => {
            eprintln!("speed handshakes MILLISECONDS | memory COUNT | storm COUNT");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

/// `NAME MICROSECONDS_OF_A_HANDSHAKE MICROSECONDS_OF_ITS_KEY_EXCHANGES`, both ends together.
fn handshakes(time: Duration) {
    for (name, words, methods) in EXCHANGES {
        let proposal = format!("aes256gcm16-prfsha384-{words}");
        let (mut whole, mut bare, mut count) = (Duration::ZERO, Duration::ZERO, 0_u32);
        while whole < time {
            let mut pairs: Vec<_> =
                (0..BATCH).map(|_| pair::endpoints(&proposal, &mut SystemRng)).collect();
            let start = own_time();
            for pair in &mut pairs {
                assert!(pair::connect(pair, &mut SystemRng), "no child SA");
            }
            let between = own_time();
            (0..BATCH).for_each(|_| methods.iter().for_each(exchange));
            whole += between - start;
            bare += own_time() - between;
            count += BATCH;
        }
        let each = |time: Duration| time.as_secs_f64() * 1e6 / f64::from(count);
        println!("{name} {:.1} {:.1}", each(whole), each(bare));
    }
}

/// All that both ends compute for one key exchange.
fn exchange(method: &KeyExchange) {
    let share = method.generate(&mut SystemRng);
    let (public, theirs) =
        method.respond(share.public(), &mut SystemRng).expect("our own value is valid");
    let ours = share.agree(&public).expect("our own value is valid");
    assert_eq!(ours.as_bytes(), theirs.as_bytes());
}

/// `OCTETS COUNT`: what an established IKE SA with one child takes at one end of so many, keys of
/// the packet engine and configuration apart.
fn memory(count: u32) {
    let mut crowd = Crowd::new(count + BEFORE);
    crowd.connect(BEFORE);
    let taken = allocation_counter::measure(|| crowd.connect(count));
    let each = taken.bytes_current as f64 / f64::from(2 * count);
    let [_, right] = &crowd.ends;
    assert_eq!(established(right).count(), (count + BEFORE) as usize);
    println!("{each:.0} {count}");
}

/// `child|ike MICROSECONDS LOST COUNT`: all tunnels rekeyed at once, time of both ends together for
/// each, and how many are not there afterwards.
fn storm(count: u32) {
    let mut crowd = Crowd::new(count);
    crowd.connect(count);
    let child = |info: &IkeSaInfo| info.children.first().map(|child| Command::RekeyChild(child.id));
    let ike = |info: &IkeSaInfo| Some(Command::RekeyIke(info.id));
    let orders: [(&str, Order); 2] = [("child", child), ("ike", ike)];
    for (what, command) in orders {
        let [left, right] = &mut crowd.ends;
        let before: Vec<IkeSaInfo> = established(left).collect();
        let commands: Vec<Command> = before.iter().filter_map(command).collect();
        // The peers have long had all answers.
        crowd.now += Duration::from_secs(120);
        let now = crowd.now;
        let start = own_time();
        for command in commands {
            left.handle_command(command, now, &mut crowd.rng);
        }
        settle::settle([left, right], || now, &mut crowd.rng);
        let each = (own_time() - start).as_secs_f64() * 1e6 / f64::from(count);
        println!("{what} {each:.1} {} {count}", lost(&crowd, count, &before, what));
    }
}

/// What a tunnel is told.
type Order = fn(&IkeSaInfo) -> Option<Command>;

fn established(end: &Endpoint) -> impl Iterator<Item = IkeSaInfo> {
    end.ike_sas().filter(|info| info.state == IkeSaState::Established)
}

/// Tunnels without exactly one child at both ends, and those that are as they were before.
fn lost(crowd: &Crowd, count: u32, before: &[IkeSaInfo], what: &str) -> usize {
    let good = |info: &IkeSaInfo| info.children.len() == 1;
    let [left, right] = &crowd.ends;
    let there = |end| established(end).filter(good).count();
    let missing = |end| (count as usize).saturating_sub(there(end));
    let spi = |info: &IkeSaInfo| match what {
        "ike" => info.spi_i.0.to_vec(),
        _ => info.children.first().map_or_else(Vec::new, |child| child.spi_in.to_octets().to_vec()),
    };
    let old: std::collections::BTreeSet<_> = before.iter().map(spi).collect();
    let same = established(left).filter(|info| old.contains(&spi(info))).count();
    missing(left).max(missing(right)).max(same)
}

/// What this thread has had of a processor.
fn own_time() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).expect("Linux has it").into()
}
