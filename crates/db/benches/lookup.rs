//! Nanoseconds for one lookup among 10 to 1,000,000 policies and SAs.
//!
//! Question: does a packet pay for the policies of others? `busy` has 4,096 flows spread over all
//! policies, as a gateway has at any moment, asked for in turn through the flow cache as the packet
//! engine does; the last line of the table, largest by smallest, should stay below 3. `tree` asks
//! the database itself about the same flows, `cold` about another entry each time, as a scan of all
//! addresses does: that is the price of main memory, and says how much of it a lookup touches. `build`
//! is what a new configuration costs, `change` what a child SA costs that adds an entry of its own
//! to it, a new snapshot included.

#![expect(clippy::print_stdout, reason = "a bench speaks on stdout")]

use std::hint::black_box;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use adit_db::sad::Table;
use adit_db::{Action, FlowCache, PolicyId, Rank, Sides, Spd, SpdEntry};
use adit_wire::esp::Spi;
use adit_wire::ikev2::TrafficSelector;
use adit_wire::ip::FlowKey;

const SIZES: [u32; 6] = [10, 100, 1_000, 10_000, 100_000, 1_000_000];
const FLOWS: u32 = 4_096;
/// Lookups of one measurement, of which the fastest of [`ROUNDS`] counts: others only add noise.
const LOOKUPS: u32 = 1 << 20;
const ROUNDS: usize = 7;
/// As large as the run-time half of an SA.
type Half = [u64; 64];

fn main() {
    table("policies, IPv4", |size| policies(size, v4));
    table("policies, IPv6", |size| policies(size, v6));
    table("SAs by SPI", sas);
}

/// What was measured at one size.
struct Line {
    busy: f64,
    tree: f64,
    cold: f64,
    build: Duration,
    change: Duration,
}

/// A line for each size, and how much slower the slowest is than the fastest.
fn table(title: &str, measure: impl Fn(u32) -> Line) {
    println!(
        "{title:<16} {:>9} {:>9} {:>9} {:>9} {:>9}",
        "busy ns", "tree ns", "cold ns", "build ms", "change us"
    );
    let mut lines = Vec::new();
    for size in SIZES {
        let line = measure(size);
        let Line { busy, tree, cold, build, change } = line;
        let (build, change) = (build.as_millis(), change.as_secs_f64() * 1e6);
        println!("{size:>16} {busy:>9.1} {tree:>9.1} {cold:>9.1} {build:>9} {change:>9.1}");
        lines.push(line);
    }
    let ratio = |column: fn(&Line) -> f64| {
        let bounds = |(least, most): (f64, f64), ns: f64| (least.min(ns), most.max(ns));
        let (least, most) = lines.iter().map(column).fold((f64::MAX, 0.0), bounds);
        most / least
    };
    let ratios = [ratio(|line| line.busy), ratio(|line| line.tree), ratio(|line| line.cold)];
    let [busy, tree, cold] = ratios;
    println!("{:>16} {busy:>9.2} {tree:>9.2} {cold:>9.2}\n", "largest/smallest");
}

/// The entries that packets ask for, one after the other, all over the table.
fn entries(count: u32, size: u32) -> Vec<u32> {
    let mut state = 1_u32;
    let mut next = || {
        // Numerical Recipes' generator; its upper bits are good enough here.
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (u64::from(state) * u64::from(size)) >> 32
    };
    (0..count).map(|_| u32::try_from(next()).unwrap_or(0)).collect()
}

/// Sites with a network of 16 addresses on either side, and one policy for everything else.
fn policies(size: u32, address: fn(u32, u32) -> IpAddr) -> Line {
    let network = |side: u32, number: u32| TrafficSelector {
        end: address(side, number * 16 + 15),
        ..TrafficSelector::from_address(address(side, number * 16))
    };
    let mut sites: Vec<SpdEntry> = (1..size)
        .map(|number| SpdEntry {
            local: vec![network(10, number)],
            remote: vec![network(11, number)],
            action: Action::Protect(PolicyId(number)),
        })
        .collect();
    let all = |ts: TrafficSelector| SpdEntry {
        local: vec![ts],
        remote: vec![ts],
        action: Action::Discard,
    };
    sites.extend([TrafficSelector::ANY_V4, TrafficSelector::ANY_V6].map(all));
    let started = now();
    let spd = Spd::new(sites).unwrap_or_default();
    let build = started.elapsed();
    let flows = |count: u32| -> Vec<FlowKey> {
        let flow = |(number, port): (u32, u16)| {
            FlowKey::new(address(10, number * 16 + 1), address(11, number * 16 + 9), 6, port, 443)
        };
        entries(count, size).into_iter().zip((0..=u16::MAX).cycle()).map(flow).collect()
    };
    let (some, many) = (flows(FLOWS), flows(LOOKUPS));
    let mut cache = FlowCache::default();
    let mut cached = |flow: &FlowKey| cache.get_or_insert_with(flow, || spd.lookup_outbound(flow));
    let tree = |flow: &FlowKey| spd.lookup_outbound(flow);
    let busy = time(&some, &mut cached);
    let (tree, cold) = (time(&some, tree), time(&many, tree));
    Line { busy, tree, cold, build, change: change(spd, address) }
}

/// The time of one change, when [`CHANGES`] child SAs come up whose peers have an address each.
fn change(mut spd: Spd, address: fn(u32, u32) -> IpAddr) -> Duration {
    let started = now();
    for number in 0..CHANGES {
        let mut next = spd.clone();
        let one = |side| vec![TrafficSelector::from_address(address(side, number))];
        let sides = Sides { local: one(12), remote: one(13) };
        next.insert(Rank(u64::from(number)), PolicyId(number), &sides);
        spd = black_box(next);
    }
    started.elapsed() / CHANGES
}

const CHANGES: u32 = 10_000;

fn v4(side: u32, number: u32) -> IpAddr {
    IpAddr::V4((side << 24 | number).into())
}

fn v6(side: u32, number: u32) -> IpAddr {
    IpAddr::V6((0xfd << 120 | u128::from(side) << 112 | u128::from(number) << 64 | 7).into())
}

fn sas(size: u32) -> Line {
    let spi = |number: u32| Spi((number + 256).wrapping_mul(0x9e37_79b1));
    let started = now();
    let mut table = Table::<Spi, Half>::default();
    for number in 0..size {
        // The multiplication keeps numbers apart, so that no SPI is taken.
        let _ = table.insert(spi(number), [number.into(); 64]);
    }
    let build = started.elapsed();
    let spis = |count: u32| -> Vec<Spi> { entries(count, size).into_iter().map(spi).collect() };
    let find = |spi: &Spi| table.get(spi).map(|half| half.first().copied());
    // An SPI is found in one step; there is nothing to remember.
    let busy = time(&spis(FLOWS), find);
    let change = build / size;
    Line { busy, tree: busy, cold: time(&spis(LOOKUPS), find), build, change }
}

/// Nanoseconds for one of the questions.
fn time<Q, A>(questions: &[Q], mut ask: impl FnMut(&Q) -> A) -> f64 {
    let mut fastest = Duration::MAX;
    for _ in 0..ROUNDS {
        let started = now();
        for question in questions.iter().cycle().take(LOOKUPS as usize) {
            black_box(ask(black_box(question)));
        }
        fastest = fastest.min(started.elapsed());
    }
    fastest.as_secs_f64() * 1e9 / f64::from(LOOKUPS)
}

#[expect(clippy::disallowed_methods, reason = "a bench needs a clock")]
fn now() -> Instant {
    Instant::now()
}
