//! Work of the packet engine to be counted: `packets seal|open|lookup BATCHES`.
//!
//! `cargo xtask instructions` runs it twice with different numbers of batches, so that what comes
//! before the first batch does not count.

#[path = "../benches/fixtures/mod.rs"]
mod fixtures;

use std::env;
use std::hint::black_box;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use adit_crypto::{Cipher, IcvSize, KeySize};
use adit_dataplane::{Inbound, InboundCommand, OpenVerdict, Outbound, OutboundCommand, Verdict};
use adit_db::{ChildSa, FlowCache, Mode, PolicyId, WindowSize};
use adit_wire::PacketBuf;
use adit_wire::ip::IpPacket;

use fixtures::{buffer, child_sa, inner_packet, many_policies, one_policy, refill, site};

const BATCH: usize = 64;
const OCTETS: usize = 1_400;
/// Policies that are looked through, and flows that are asked for.
const POLICIES: u32 = 1_000;

fn main() -> ExitCode {
    let words: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let (work, batches) = match *words {
        [work, batches] => (work, batches.parse()),
        _ => ("", "0".parse()),
    };
    match (work, batches) {
        ("seal", Ok(batches)) => seal(batches),
        ("open", Ok(batches)) => open(batches),
        ("lookup", Ok(batches)) => lookup(batches),
        _ => {
            eprintln!("packets seal|open|lookup BATCHES");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

/// Batches of one flow, sealed.
fn seal(batches: u64) {
    let now = now();
    let mut engine = outbound(now);
    let inner = inner_packet(OCTETS);
    let mut packets: Vec<PacketBuf> = (0..BATCH).map(|_| buffer(&inner)).collect();
    let mut verdicts = Vec::with_capacity(BATCH);
    for _ in 0..batches {
        packets.iter_mut().for_each(|packet| refill(packet, &inner));
        engine.seal_batch(&mut packets, &mut verdicts, now);
        assert!(verdicts.iter().all(|verdict| *verdict == Verdict::Send));
    }
}

/// The same batch opened again and again: without a replay window, whose share is small.
fn open(batches: u64) {
    let now = now();
    let mut engine = Inbound::new();
    let sa = ChildSa { replay_window: WindowSize::OFF, ..sa() };
    let (sa, _) = adit_dataplane::split(&sa, PolicyId(0), now).expect("keys of its lengths");
    engine.handle_command(InboundCommand::Install(Box::new(sa)));
    let mut packets: Vec<PacketBuf> = (0..BATCH).map(|_| buffer(&inner_packet(OCTETS))).collect();
    outbound(now).seal_batch(&mut packets, &mut Vec::new(), now);
    let sealed: Vec<Vec<u8>> = packets.iter().map(|packet| packet.data().to_vec()).collect();
    let mut verdicts = Vec::with_capacity(BATCH);
    for _ in 0..batches {
        packets.iter_mut().zip(&sealed).for_each(|(packet, octets)| refill(packet, octets));
        engine.open_batch(&mut packets, &mut verdicts, now);
        assert!(verdicts.iter().all(|verdict| *verdict == OpenVerdict::Deliver));
    }
}

/// Flows found in the policies, and again in the cache before them.
fn lookup(batches: u64) {
    let spd = many_policies(POLICIES);
    let flow = |number| IpPacket::read(&site(number, 64)).map(|packet| packet.flow_key());
    let flows: Vec<_> = (0..POLICIES).filter_map(|number| flow(number).ok()).collect();
    let mut cache = FlowCache::default();
    for flow in flows.iter().cycle().take(usize::try_from(batches).unwrap_or(0) * BATCH) {
        let found = black_box(&spd).lookup_outbound(flow);
        assert!(found.is_some() && cache.get_or_insert_with(flow, || found) == found);
    }
}

fn outbound(now: Instant) -> Outbound {
    let mut engine = Outbound::new();
    engine.handle_command(OutboundCommand::SetPolicies(Arc::new(one_policy())), now);
    let (_, sa) = adit_dataplane::split(&sa(), PolicyId(0), now).expect("keys of its lengths");
    engine.handle_command(OutboundCommand::Install { sa: Box::new(sa), active: true }, now);
    engine
}

fn sa() -> ChildSa {
    child_sa(Cipher::AesGcm(KeySize::Bits128, IcvSize::Octets16), Mode::Tunnel)
}

#[expect(clippy::disallowed_methods, reason = "the work needs some instant")]
fn now() -> Instant {
    Instant::now()
}
