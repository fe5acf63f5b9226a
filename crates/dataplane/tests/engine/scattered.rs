//! With many SAs the engine looks at the packets of a burst before the first of them goes. Whatever it
//! sees, each packet fares as it does without.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use adit_crypto::{Prefetch, Rng as _, SeededRng};
use adit_dataplane::{
    Inbound, InboundCommand, OpenVerdict, Outbound, OutboundCommand, OutboundSa, Verdict, split,
};
use adit_db::{Action, ChildSa, ChildSaId, Mode, PolicyId, Spd, SpdEntry, TableId, Tfc};
use adit_wire::esp::Spi;
use adit_wire::{PacketBuf, PacketMeta};

use crate::fixtures::{Options, buffer, copy, packet_between, start, ts};

/// More than the engine takes for few.
const SITES: u16 = 300;

/// What is special about the SAs of some sites.
fn site(number: u16) -> ChildSa {
    let net = |side: u8, ipv6: bool| match ipv6 {
        true => ts(&[&format!("fd{side:02x}:{number:x}::/64")]),
        false => ts(&[&format!("{side}.{}.{}.0/24", number / 256, number % 256)]),
    };
    let options = Options {
        tfc: Tfc { padding: if number % 10 == 3 { 200 } else { 0 }, ..Tfc::OFF },
        mode: if number == 4 { Mode::Transport } else { Mode::Tunnel },
        ..Options::default()
    };
    let ipv6 = number % 10 == 7;
    ChildSa {
        id: ChildSaId(number.into()),
        spi_in: Spi(0xc100_0000 + u32::from(number)),
        spi_out: Spi(0xc100_0000 + u32::from(number)),
        local_ts: net(10, ipv6),
        remote_ts: net(11, ipv6),
        ..options.child_sa(true)
    }
}

/// All sites are protected, two of them by SAs that there are none of; some is passed, some is dropped.
fn policies() -> Arc<Spd> {
    let site = |number| {
        let ChildSa { local_ts: local, remote_ts: remote, .. } = site(number);
        SpdEntry { local, remote, action: Action::Protect(PolicyId(number.into())) }
    };
    let other = |remote: &str, action| SpdEntry {
        local: ts(&["0.0.0.0/0"]),
        remote: ts(&[remote]),
        action,
    };
    let others = [other("12.0.0.0/16", Action::Bypass), other("12.1.0.0/16", Action::Discard)];
    Arc::new(Spd::new((0..SITES + 2).map(site).chain(others).collect()).unwrap())
}

fn engines(prefetch: Option<Prefetch>, now: Instant) -> (Outbound, Inbound) {
    let (mut left, mut right) = (Outbound::new(), Inbound::new());
    if let Some(prefetch) = prefetch {
        (left, right) = (left.with_prefetch(prefetch), right.with_prefetch(prefetch));
    }
    left.handle_command(OutboundCommand::SetPolicies(policies()), now);
    let table = Some(policies());
    left.handle_command(OutboundCommand::SetTable { table: TableId(1), spd: table }, now);
    for number in 0..SITES {
        let sa = site(number);
        let policy = PolicyId(number.into());
        let (_, outbound) = split(&sa, policy, now).unwrap();
        let home = OutboundSa::for_threads(&sa, policy, now, 2, Some(1)).unwrap().remove(0);
        let outbound = if number == 5 { home } else { outbound };
        let sa = Box::new(outbound);
        left.handle_command(OutboundCommand::Install { sa, active: true }, now);
        let sa = site(number);
        let there = ChildSa { local_ts: sa.remote_ts, remote_ts: sa.local_ts, ..sa };
        let (inbound, _) = split(&there, policy, now).unwrap();
        right.handle_command(InboundCommand::Install(Box::new(inbound)));
    }
    (left, right)
}

/// Any packet: mostly of some site, in runs.
fn packet(rng: &mut SeededRng, before: &[PacketBuf]) -> PacketBuf {
    if let Some(last) = before.last().filter(|_| !rng.next_u32().is_multiple_of(3)) {
        return copy(last);
    }
    let number = rng.next_u32() % u32::from(SITES + 4);
    let (high, low) = (number / 256, number % 256);
    let len = [60, 61, 700, 1_380][rng.next_u32() as usize % 4];
    let class = [0, 2, 0xb8][rng.next_u32() as usize % 3];
    let mut octets = match rng.next_u32() % 40 {
        0 => packet_between("10.0.0.1", "12.0.0.1", class, len),
        1 => packet_between("10.0.0.1", "12.1.0.1", class, len),
        2 => packet_between("10.0.0.1", "13.0.0.1", class, len),
        3 => vec![0x45, 0, 0],
        _ if number % 10 == 7 => {
            let (src, dst) = (format!("fd0a:{number:x}::1"), format!("fd0b:{number:x}::2"));
            packet_between(&src, &dst, class, len.max(60))
        }
        _ => {
            let (src, dst) = (format!("10.{high}.{low}.1"), format!("11.{high}.{low}.2"));
            packet_between(&src, &dst, class, len)
        }
    };
    if octets.len() > 20 && octets[0] == 0x45 {
        match rng.next_u32() % 30 {
            // Not the first fragment.
            0 => octets[6..8].copy_from_slice(&[0, 60]),
            // A redirect.
            1 => (octets[9], octets[20]) = (1, 5),
            _ => {}
        }
        octets[10..12].fill(0);
        let sum = adit_wire::ip::checksum(&octets[..20]).to_be_bytes();
        octets[10..12].copy_from_slice(&sum);
    }
    let mut packet = buffer(&octets);
    // There is no table 2.
    packet.meta.table = [1, 2].get(rng.next_u32() as usize % 40).copied().unwrap_or(0);
    packet
}

fn shown(packets: &[PacketBuf]) -> Vec<(Vec<u8>, PacketMeta)> {
    packets.iter().map(|packet| (packet.data().to_vec(), packet.meta)).collect()
}

static TOLD: AtomicUsize = AtomicUsize::new(0);

fn told() {
    TOLD.fetch_add(1, Ordering::Relaxed);
}

#[test]
fn who_looks_ahead_does_the_same() {
    let now = start();
    let telling = Prefetch::new(|_, _| told(), |_, _| told());
    let (mut left, mut right) = engines(Some(telling), now);
    let (mut plain_left, mut plain_right) = engines(None, now);
    let mut rng = SeededRng::new(7);
    let (mut sent, mut delivered) = (0, 0);
    for _ in 0..150 {
        let mut burst = Vec::new();
        for _ in 0..rng.next_u32() % 150 {
            burst.push(packet(&mut rng, &burst));
        }
        let mut plain: Vec<PacketBuf> = burst.iter().map(copy).collect();
        let (mut verdicts, mut plain_verdicts) = (Vec::new(), Vec::new());
        left.seal_batch(&mut burst, &mut verdicts, now);
        plain_left.seal_batch(&mut plain, &mut plain_verdicts, now);
        assert_eq!(verdicts, plain_verdicts);
        assert_eq!(shown(&burst), shown(&plain));

        let verdict = |number: &usize| verdicts[*number] == Verdict::Send;
        let leaving = (0..burst.len()).filter(verdict).map(|number| copy(&burst[number]));
        let mut leaving: Vec<PacketBuf> = leaving.collect();
        sent += leaving.len();
        for packet in &mut leaving {
            match rng.next_u32() % 30 {
                0 => packet.data_mut()[20] ^= 1,
                1 => packet.data_mut()[0] ^= 1,
                2 => packet.truncate(5),
                _ => {}
            }
        }
        let twice: Vec<PacketBuf> = leaving.iter().take(2).map(copy).collect();
        leaving.extend(twice);
        let mut plain: Vec<PacketBuf> = leaving.iter().map(copy).collect();
        let (mut opened, mut plain_opened) = (Vec::new(), Vec::new());
        right.open_batch(&mut leaving, &mut opened, now);
        plain_right.open_batch(&mut plain, &mut plain_opened, now);
        assert_eq!(opened, plain_opened);
        assert_eq!(shown(&leaving), shown(&plain));
        delivered += opened.iter().filter(|one| **one == OpenVerdict::Deliver).count();
    }
    assert_eq!(left.report(), plain_left.report());
    assert_eq!(right.report(), plain_right.report());
    assert!(sent > 5_000 && delivered > sent / 2, "{sent} {delivered}");
    assert!(TOLD.load(Ordering::Relaxed) > sent / 4);
}

#[test]
fn looking_ahead_costs_no_allocation() {
    let now = start();
    let (mut left, mut right) = engines(Some(Prefetch::NONE), now);
    let burst = (0..128_u32).map(|number| {
        let (src, dst) = (format!("10.0.{number}.1"), format!("11.0.{number}.2"));
        buffer(&packet_between(&src, &dst, 0, 100))
    });
    let usual = |number: &usize| ![4, 5].contains(number) && number % 10 != 7;
    let (numbers, burst): (Vec<usize>, Vec<PacketBuf>) =
        burst.enumerate().filter(|(number, _)| usual(number)).unzip();
    let mut burst = burst;
    let (mut verdicts, mut opened) = (Vec::with_capacity(128), Vec::with_capacity(128));
    let count = allocation_counter::measure(|| {
        left.seal_batch(&mut burst, &mut verdicts, now);
        right.open_batch(&mut burst, &mut opened, now);
    });
    assert_eq!(count.count_total, 0);
    assert_eq!(opened, vec![OpenVerdict::Deliver; numbers.len()], "{verdicts:?}");
}
