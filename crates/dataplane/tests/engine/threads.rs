//! Several threads that send on one SA.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use adit_dataplane::{
    DropReason, Event, Inbound, OpenVerdict, Outbound, OutboundCommand, OutboundReport, OutboundSa,
    Verdict,
};
use adit_db::{Amounts, ChildSa, ChildSaId, Lifetime, Tfc};
use adit_wire::PacketBuf;
use adit_wire::esp::Spi;

use crate::fixtures::{
    CHILD, Options, POLICY, SPI, buffer, protecting_spd, seal, start, udp_packet,
};

/// One engine in so many threads, and the other end.
struct Threads {
    outbound: Vec<Outbound>,
    inbound: Inbound,
    now: Instant,
}

impl Threads {
    fn new(options: &Options, threads: u16, home: Option<u16>) -> Self {
        let now = start();
        let sa = options.child_sa(true);
        let parts = OutboundSa::for_threads(&sa, POLICY, now, threads, home).unwrap();
        let engine = |(number, part): (u16, OutboundSa)| {
            let mut engine = Outbound::of_thread(number);
            engine.handle_command(OutboundCommand::SetPolicies(protecting_spd()), now);
            let sa = Box::new(part);
            engine.handle_command(OutboundCommand::Install { sa, active: true }, now);
            engine
        };
        let outbound = (0..threads).zip(parts).map(engine).collect();
        let mut inbound = Inbound::new();
        inbound.handle_command(options.right_half(now));
        Self { outbound, inbound, now }
    }

    fn seal(&mut self, thread: usize) -> (PacketBuf, Verdict) {
        let mut packet = buffer(&udp_packet(false, 0, 60));
        let verdict = seal(&mut self.outbound[thread], &mut packet, self.now);
        (packet, verdict)
    }

    fn open(&mut self, packet: &mut PacketBuf) -> OpenVerdict {
        std::mem::swap(&mut packet.meta.local, &mut packet.meta.remote);
        let mut verdicts = Vec::new();
        self.inbound.open_batch(std::slice::from_mut(packet), &mut verdicts, self.now);
        verdicts[0]
    }

    fn report(&mut self) -> OutboundReport {
        let mut reports = self.outbound.iter_mut().map(Outbound::report);
        let mut all = reports.next().unwrap();
        reports.for_each(|report| all.add(report));
        all
    }
}

fn number(packet: &PacketBuf) -> u32 {
    u32::from_be_bytes(*packet.data()[4..].first_chunk().unwrap())
}

/// CHECKLIST S03: no number twice, and so no nonce, and the other end takes every packet.
#[test]
fn threads_share_an_sa_and_no_number() {
    let mut threads = Threads::new(&Options::default(), 3, None);
    let mut numbers = BTreeSet::new();
    for turn in 0..600 {
        // The third sends now and then.
        let thread = if turn % 31 == 0 { 2 } else { turn % 2 };
        let (mut packet, verdict) = threads.seal(thread);
        assert_eq!(verdict, Verdict::Send);
        assert!(numbers.insert(number(&packet)));
        assert_eq!(threads.open(&mut packet), OpenVerdict::Deliver);
    }
    let report = threads.report();
    assert_eq!(report.sas.len(), 1);
    assert_eq!((report.sas[0].packets, report.sas[0].octets), (600, 600 * 60));
    assert_eq!(report.sas[0].sequence, u64::from(*numbers.last().unwrap()));
}

/// CHECKLIST S06: limits hold for what all threads send, and whoever is beyond tells.
#[test]
fn threads_end_an_sa_together() {
    let packets = |packets| Amounts { packets: Some(packets), ..Amounts::NONE };
    let lifetime = Lifetime { soft: packets(50), hard: packets(100), idle: None };
    let mut threads = Threads::new(&Options { lifetime, ..Options::default() }, 2, None);
    let mut sent = 0;
    for turn in 0..300 {
        match threads.seal(turn % 2).1 {
            Verdict::Send => sent += 1,
            Verdict::Drop(reason) => assert_eq!(reason, DropReason::LifetimeOver),
            other @ (Verdict::Bypass | Verdict::Held) => panic!("{other:?}"),
        }
    }
    assert!((100..116).contains(&sent), "{sent}");
    for engine in &mut threads.outbound {
        let events: Vec<_> = std::iter::from_fn(|| engine.poll_event()).collect();
        let wanted = [Event::SoftExpire { child: CHILD }, Event::HardExpire { child: CHILD }];
        assert_eq!(events, wanted);
    }
    assert_eq!(threads.report().sas[0].drops.get(DropReason::LifetimeOver), 300 - sent);
}

/// Where one thread alone sends, the others give it their packets.
#[test]
fn an_sa_with_a_home_leaves_in_order() {
    let mut threads = Threads::new(&Options::default(), 3, Some(1));
    for turn in 0..30_usize {
        let (packet, verdict) = threads.seal(turn % 3);
        if turn % 3 == 1 {
            assert_eq!(verdict, Verdict::Send);
            assert_eq!(threads.outbound[1].poll_passed().map(|(home, _)| home), None);
            continue;
        }
        assert_eq!((verdict, packet.data()), (Verdict::Held, &*udp_packet(false, 0, 60)));
        let (home, mut passed) = threads.outbound[turn % 3].poll_passed().unwrap();
        assert_eq!((home, passed.data()), (1, packet.data()));
        assert_eq!(seal(&mut threads.outbound[1], &mut passed, threads.now), Verdict::Send);
        assert_eq!(threads.open(&mut passed), OpenVerdict::Deliver);
    }
    assert_eq!(threads.report().sas[0].packets, 30);
    let mut last = 0;
    for _ in 0..20 {
        let (packet, _) = threads.seal(1);
        assert!(number(&packet) > last);
        last = number(&packet);
    }
}

/// Packets for a thread that does not keep up are lost, and counted.
#[test]
fn what_waits_for_another_thread_is_bounded() {
    let mut threads = Threads::new(&Options::default(), 2, Some(1));
    let refused = (0..2_000).filter(|_| threads.seal(0).1 != Verdict::Held).count();
    assert_eq!(refused, 2_000 - 1_024);
    let drops = threads.report().drops;
    assert_eq!(drops.get(DropReason::Crowded), u64::try_from(refused).unwrap());
}

/// RFC 4303 §2.6: dummy packets come from one of the threads.
#[test]
fn one_thread_sends_dummies() {
    let tfc = Tfc { dummies: 10, ..Tfc::default() };
    let options = Options { tfc, ..Options::default() };
    for home in [None, Some(1)] {
        let mut threads = Threads::new(&options, 2, home);
        let later = threads.now + Duration::from_millis(150);
        let dummies = threads.outbound.iter_mut().map(|engine| {
            engine.handle_timeout(later);
            std::iter::from_fn(|| engine.poll_packet()).count()
        });
        let at_home = usize::from(home.unwrap_or_default());
        assert_eq!(dummies.collect::<Vec<_>>()[at_home], 1);
        assert!(threads.outbound[1 - at_home].poll_timeout().is_none());
    }
}

/// One thread probes the path, for what all of them send, and looks for that once a second.
#[test]
fn one_thread_probes_for_all() {
    let options = Options { path_probe: true, ..Options::default() };
    let mut threads = Threads::new(&options, 2, None);
    let probes = |threads: &mut Threads| {
        let now = threads.now;
        let probes = threads.outbound.iter_mut().map(|engine| {
            engine.handle_timeout(now);
            std::iter::from_fn(|| engine.poll_packet()).count()
        });
        probes.collect::<Vec<_>>()
    };
    for _ in 0..10 {
        assert_eq!(probes(&mut threads), [0, 0]);
        let due = threads.outbound[0].poll_timeout().unwrap();
        assert!(due >= threads.now + Duration::from_secs(1));
        threads.now = due;
    }
    for _ in 0..20 {
        assert_eq!(threads.seal(1).1, Verdict::Send);
    }
    // The size in force, and two shorter ones beside the first try.
    assert_eq!(probes(&mut threads), [3, 0]);
}

/// RFC 9611: each thread sends on the SA that is for it, and one without on the SA for all.
#[test]
fn threads_have_sas_of_their_own() {
    let mut threads = Threads::new(&Options::default(), 3, Some(0));
    let spis = [1, 2].map(|home| {
        let spi = Spi(SPI.0 + u32::from(home));
        let child = ChildSaId(10 + u32::from(home));
        let sa = ChildSa { id: child, spi_out: spi, ..Options::default().child_sa(true) };
        let parts = OutboundSa::for_threads(&sa, POLICY, threads.now, 3, Some(home)).unwrap();
        for (engine, part) in threads.outbound.iter_mut().zip(parts) {
            let sa = Box::new(part.for_home());
            engine.handle_command(OutboundCommand::Install { sa, active: true }, threads.now);
        }
        spi
    });
    let all = [SPI, spis[0], spis[1]];
    let spi_of =
        |packet: &PacketBuf| Spi(u32::from_be_bytes(*packet.data().first_chunk().unwrap()));
    for (thread, wanted) in all.iter().enumerate() {
        let (packet, verdict) = threads.seal(thread);
        assert_eq!((verdict, spi_of(&packet)), (Verdict::Send, *wanted));
    }
    // Without its own a thread takes the one for all.
    for engine in &mut threads.outbound {
        let remove = OutboundCommand::Remove { child: ChildSaId(12) };
        engine.handle_command(remove, threads.now);
    }
    assert_eq!(threads.seal(2).1, Verdict::Held);
    assert_eq!(threads.outbound[2].poll_passed().map(|(home, _)| home), Some(0));
    // Without that, too, what is there.
    for engine in &mut threads.outbound {
        engine.handle_command(OutboundCommand::Remove { child: CHILD }, threads.now);
    }
    assert_eq!(threads.seal(2).1, Verdict::Held);
    assert_eq!(threads.outbound[2].poll_passed().map(|(home, _)| home), Some(1));
}
