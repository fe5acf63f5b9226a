//! Probes of the path MTU between two whole engines, in virtual time (RFC 8899).

use std::time::{Duration, Instant};

use adit_crypto::Cipher;
use adit_dataplane::{
    DropReason, Event, Inbound, InboundCommand, MtuSource, OpenVerdict, Outbound, OutboundCommand,
    Verdict, split,
};
use adit_db::{Action, Aggfrag, ChildSaId, Encapsulation, Mode, Spd, SpdEntry, Tfc};
use adit_wire::{PacketBuf, PathMessage};

use crate::fixtures::{CHILD, Options, POLICY, buffer, packet_between, start, ts, udp_packet};

/// An end: it protects everything.
struct End {
    outbound: Outbound,
    inbound: Inbound,
    found: Vec<(Duration, u16, MtuSource)>,
}

/// Two ends with an SA in each direction, and the path between them.
struct Path {
    ends: [End; 2],
    now: Instant,
    start: Instant,
    mtu: usize,
    /// Octets around an ESP packet.
    around: usize,
    /// How many packets came that were probes or answers.
    messages: usize,
    longest: usize,
}

fn probing() -> Options {
    Options { path_probe: true, ..Options::default() }
}

fn end(options: &Options, at_left: bool, now: Instant) -> End {
    let (inbound, outbound) = split(&options.child_sa(at_left), POLICY, now).unwrap();
    let entry = SpdEntry {
        local: ts(&["0.0.0.0/0", "::/0"]),
        remote: ts(&["0.0.0.0/0", "::/0"]),
        action: Action::Protect(POLICY),
    };
    let mut engine = Outbound::new();
    engine.handle_command(OutboundCommand::SetPolicies(Spd::new(vec![entry]).unwrap().into()), now);
    let install = OutboundCommand::Install { sa: Box::new(outbound), active: true };
    engine.handle_command(install, now);
    let mut inbound_engine = Inbound::new();
    inbound_engine.handle_command(InboundCommand::Install(Box::new(inbound)));
    End { outbound: engine, inbound: inbound_engine, found: Vec::new() }
}

impl Path {
    fn new(options: &Options, mtu: usize) -> Self {
        let now = start();
        let ends = [end(options, true, now), end(options, false, now)];
        let is_ipv4 = options.ends.0.is_ipv4();
        let around = if is_ipv4 { 20 } else { 40 } + if options.udp { 8 } else { 0 };
        Self { ends, now, start: now, mtu, around, messages: 0, longest: 0 }
    }

    /// Carries what an end sends to the other, if it fits the path.
    fn carry(&mut self, from: usize, mut packet: PacketBuf) {
        self.longest = self.longest.max(packet.len() + self.around);
        if packet.len() + self.around > self.mtu {
            return;
        }
        std::mem::swap(&mut packet.meta.local, &mut packet.meta.remote);
        let mut verdicts = Vec::new();
        let there = &mut self.ends[1 - from];
        there.inbound.open_batch(std::slice::from_mut(&mut packet), &mut verdicts, self.now);
        self.messages += usize::from(verdicts == [OpenVerdict::Held]);
        while let Some(event) = there.inbound.poll_event() {
            if let Event::PathMessage { child, message } = event {
                let heard = OutboundCommand::PathMessage { child, message };
                there.outbound.handle_command(heard, self.now);
            }
        }
        self.send_ready(1 - from);
    }

    fn send_ready(&mut self, at: usize) {
        while let Some(packet) = self.ends[at].outbound.poll_packet() {
            self.carry(at, packet);
        }
    }

    /// The left end sends such packets, a dozen a second.
    fn run(&mut self, time: Duration, inner: Option<&[u8]>) {
        let end = self.now + time;
        while self.now < end {
            self.now += Duration::from_millis(10);
            let turn = (self.now - self.start).as_millis() / 10;
            if let Some(inner) = inner.filter(|_| turn.is_multiple_of(8)) {
                let mut packet = buffer(inner);
                let mut verdicts = Vec::new();
                let left = &mut self.ends[0].outbound;
                left.seal_batch(std::slice::from_mut(&mut packet), &mut verdicts, self.now);
                if verdicts == [Verdict::Send] {
                    self.carry(0, packet);
                }
            }
            for at in 0..2 {
                let outbound = &mut self.ends[at].outbound;
                if outbound.poll_timeout().is_some_and(|due| due <= self.now) {
                    outbound.handle_timeout(self.now);
                }
                self.send_ready(at);
                let Self { ends, now, start, .. } = self;
                while let Some(event) = ends[at].outbound.poll_event() {
                    if let Event::PathMtu { mtu, source, .. } = event {
                        ends[at].found.push((*now - *start, mtu, source));
                    }
                }
            }
        }
    }
}

/// CHECKLIST PM-25: a black hole under the largest packets, in every suite, is found within three
/// seconds and measured, and the last word fits the path.
#[test]
fn a_black_hole_is_found_in_every_suite() {
    let inner = udp_packet(false, 0, 1_300);
    for cipher in Cipher::ALL {
        for udp in [true, false] {
            let mut path = Path::new(&Options { cipher, udp, ..probing() }, 1_400);
            path.run(Duration::from_secs(6), Some(&inner));
            let found = &path.ends[0].found;
            let (at, first, source) = found[0];
            assert!(at < Duration::from_secs(3) && first <= 1_400, "{cipher}: {found:?}");
            assert_eq!(source, MtuSource::Probe);
            let last = found.last().map(|last| last.1).unwrap();
            assert!((1_385..=1_400).contains(&last), "{cipher}: {found:?}");
        }
    }
}

/// Probes are as long as they say: the longest one that a suite can make of it, of 1,500 octets.
#[test]
fn probes_are_as_long_as_the_packets_they_speak_for() {
    for cipher in Cipher::ALL {
        let mut path = Path::new(&Options { cipher, ..probing() }, 1_500);
        path.run(Duration::from_secs(2), Some(&udp_packet(false, 0, 100)));
        assert!((1_485..=1_500).contains(&path.longest), "{cipher}: {}", path.longest);
        assert_eq!(path.ends[0].found, [], "{cipher}");
    }
}

/// Both families outside, and transport mode, where the selectors have no room for pings.
#[test]
fn every_outer_family_and_mode_is_probed() {
    let v6 = ("[2001:db8::1]:4500".parse().unwrap(), "[2001:db8::2]:4500".parse().unwrap());
    for ends in [Options::default().ends, v6] {
        for mode in [Mode::Tunnel, Mode::Transport] {
            let selectors = || ts(&["0.0.0.0/0", "::/0"]);
            let (left_ts, right_ts) = (selectors(), selectors());
            let options = Options { ends, mode, left_ts, right_ts, ..probing() };
            let mut path = Path::new(&options, 1_380);
            let (src, dst) = (ends.0.ip().to_string(), ends.1.ip().to_string());
            let inner = packet_between(&src, &dst, 0, 1_000);
            path.run(Duration::from_secs(8), Some(&inner));
            let last = path.ends[0].found.last().map(|last| last.1);
            assert_eq!(last, Some(1_380), "{ends:?} {mode:?}: {:?}", path.ends[0].found);
        }
    }
}

/// RFC 9347: where packets share others, two Adits have agreed on probes beside them.
#[test]
fn shared_packets_are_probed_for() {
    let aggfrag = Some(Aggfrag { super_packets: true });
    let mut path = Path::new(&Options { aggfrag, ..probing() }, 1_400);
    path.run(Duration::from_secs(6), Some(&udp_packet(false, 0, 1_300)));
    let found = &path.ends[0].found;
    assert!(found.first().is_some_and(|first| first.0 < Duration::from_secs(3)), "{found:?}");
    assert_eq!(found.last().map(|last| last.1), Some(1_400), "{found:?}");
}

/// Without traffic there are no probes, and no timers.
#[test]
fn an_idle_sa_is_silent() {
    let mut path = Path::new(&probing(), 1_500);
    path.run(Duration::from_secs(120), None);
    assert_eq!((path.messages, path.longest), (0, 0));
    assert!(path.ends.iter().all(|end| end.outbound.poll_timeout().is_none()));
    path.run(Duration::from_secs(1), Some(&udp_packet(false, 0, 100)));
    assert!(path.messages > 0);
    path.run(Duration::from_secs(60), None);
    assert!(path.ends.iter().all(|end| end.outbound.poll_timeout().is_none()));
}

/// An SA that another has replaced is not probed: the peer may have deleted it.
#[test]
fn what_was_replaced_is_silent() {
    let mut path = Path::new(&probing(), 1_500);
    path.run(Duration::from_millis(100), Some(&udp_packet(false, 0, 1_300)));
    let now = path.now;
    let left = &mut path.ends[0].outbound;
    let next = Options { child: ChildSaId(2), ..probing() };
    left.handle_command(next.left_half(now, false), now);
    left.handle_command(OutboundCommand::Activate { child: ChildSaId(2) }, now);
    let sent = |left: &mut Outbound| -> Vec<u64> {
        left.report().sas.iter().filter(|sa| sa.child == CHILD).map(|sa| sa.sequence).collect()
    };
    let before = sent(left);
    assert_eq!(before.len(), 1);
    path.run(Duration::from_secs(10), None);
    assert_eq!(sent(&mut path.ends[0].outbound), before);
}

/// A peer that has not agreed is neither probed nor answered.
#[test]
fn who_has_not_agreed_is_left_alone() {
    let mut path = Path::new(&Options::default(), 1_500);
    path.run(Duration::from_secs(20), Some(&udp_packet(false, 0, 1_300)));
    assert_eq!(path.messages, 0);
}

/// CHECKLIST PM-21: a message of ICMP that is believed has its effect undone within a second, if more
/// passes; and the operator's word ends the probes.
#[test]
fn a_false_report_lasts_a_moment() {
    let inner = udp_packet(false, 0, 1_000);
    let mut path = Path::new(&probing(), 1_500);
    path.run(Duration::from_secs(2), Some(&inner));
    let told = |mtu, source| OutboundCommand::PathMtu { child: CHILD, mtu, source };
    path.ends[0].outbound.handle_command(told(600, MtuSource::Icmp), path.now);
    path.run(Duration::from_secs(1), Some(&inner));
    let values: Vec<_> =
        path.ends[0].found.iter().map(|(_, mtu, source)| (*mtu, *source)).collect();
    assert_eq!(values, [(600, MtuSource::Icmp), (1_500, MtuSource::Probe)]);
    path.ends[0].outbound.handle_command(told(1_300, MtuSource::Operator), path.now);
    path.run(Duration::from_secs(1), Some(&inner));
    let before = path.messages;
    path.run(Duration::from_secs(60), Some(&inner));
    assert_eq!(path.messages, before);
}

/// CHECKLIST PM-25: an answer is no longer than the probe, and no probe of another SA gets one.
#[test]
fn replayed_probes_are_not_answered() {
    let mut path = Path::new(&probing(), 1_500);
    let mut packet = buffer(&udp_packet(false, 0, 1_300));
    let mut verdicts = Vec::new();
    let left = &mut path.ends[0].outbound;
    left.seal_batch(std::slice::from_mut(&mut packet), &mut verdicts, path.now);
    left.handle_timeout(path.now);
    let mut probe = left.poll_packet().expect("the path is probed");
    std::mem::swap(&mut probe.meta.local, &mut probe.meta.remote);
    let mut again = buffer(probe.data());
    again.meta = probe.meta;
    let right = &mut path.ends[1].inbound;
    let mut verdicts = Vec::new();
    let mut packets = [probe, again];
    right.open_batch(&mut packets, &mut verdicts, path.now);
    let expected = [OpenVerdict::Held, OpenVerdict::Drop(DropReason::Replayed)];
    assert_eq!(verdicts, expected);
    let messages = std::iter::from_fn(|| right.poll_event())
        .filter(|event| matches!(event, Event::PathMessage { .. }));
    assert_eq!(messages.count(), 1);
}

/// PM-15 and draft-richardson-ipsec-pmtu-discov-02, proposal 2: whoever gets fragments says how large
/// they are, at once, on a change over a tenth, and again after two minutes.
#[test]
fn the_largest_fragment_is_reported() {
    let mut path = Path::new(&probing(), 1_500);
    let mut reports = Vec::new();
    for second in 0..=130 {
        let mut packet = buffer(&udp_packet(false, 0, 500));
        let mut verdicts = Vec::new();
        let [left, right] = &mut path.ends;
        left.outbound.seal_batch(std::slice::from_mut(&mut packet), &mut verdicts, path.now);
        std::mem::swap(&mut packet.meta.local, &mut packet.meta.remote);
        packet.meta.largest_fragment = if second < 5 { 1_276 } else { 1_000 };
        let mut verdicts = Vec::new();
        right.inbound.open_batch(std::slice::from_mut(&mut packet), &mut verdicts, path.now);
        while let Some(event) = right.inbound.poll_event() {
            if let Event::Fragments { child, largest } = event {
                reports.push((second, largest));
                let report = OutboundCommand::ReportFragments { child, largest };
                right.outbound.handle_command(report, path.now);
            }
        }
        path.send_ready(1);
        path.now += Duration::from_secs(1);
    }
    assert_eq!(reports, [(0, 1_276), (10, 1_000), (130, 1_000)]);
}

fn report(path: &mut Path, largest_fragment: u16) {
    let message = PathMessage::Report { largest_fragment };
    let command = OutboundCommand::PathMessage { child: CHILD, message };
    path.ends[0].outbound.handle_command(command, path.now);
}

fn found(path: &Path) -> Vec<(u16, MtuSource)> {
    path.ends[0].found.iter().map(|(_, mtu, source)| (*mtu, *source)).collect()
}

/// CHECKLIST PM-15: a sender that probes tries what it is told of fragments, for who cuts them need not be
/// the path; one that cannot keeps to them, but not to those that are as good as whole.
#[test]
fn a_report_of_fragments_is_tried_where_it_can_be() {
    let inner = udp_packet(false, 0, 60);
    let mut path = Path::new(&probing(), 1_500);
    path.run(Duration::from_secs(3), Some(&inner));
    let before = path.messages;
    report(&mut path, 1_276);
    path.run(Duration::from_secs(1), Some(&inner));
    assert!(path.messages > before);
    assert_eq!(found(&path), []);
    path.mtu = 1_400;
    path.run(Duration::from_secs(2), Some(&inner));
    report(&mut path, 1_276);
    path.run(Duration::from_secs(5), Some(&inner));
    assert!(found(&path).last().is_some_and(|last| last.0 <= 1_400), "{:?}", found(&path));

    let tfc = Tfc { padding: Tfc::TO_MTU, dummies: 0 };
    let mut path = Path::new(&Options { tfc, ..probing() }, 1_500);
    for largest in [1_496, 1_276] {
        report(&mut path, largest);
    }
    path.run(Duration::from_secs(1), None);
    assert_eq!(found(&path), [(1_276, MtuSource::Report)]);
}

/// A link that takes more, or an SA that has moved, is no black hole under the old value: what is in force
/// is what is probed.
#[test]
fn what_is_in_force_is_what_is_probed() {
    let inner = udp_packet(false, 0, 1_000);
    let mut path = Path::new(&probing(), 1_500);
    path.run(Duration::from_secs(3), Some(&inner));
    let told = OutboundCommand::PathMtu { child: CHILD, mtu: 4_000, source: MtuSource::Link };
    path.ends[0].outbound.handle_command(told, path.now);
    path.run(Duration::from_secs(6), Some(&inner));
    let last = found(&path).last().copied();
    assert_eq!(last, Some((1_500, MtuSource::Probe)), "{:?}", found(&path));

    let mut path = Path::new(&probing(), 1_400);
    path.run(Duration::from_secs(8), Some(&inner));
    assert!(found(&path).last().is_some_and(|last| last.0 <= 1_400));
    path.mtu = 1_300;
    let (local, mut remote) = probing().ends;
    remote.set_ip("198.51.100.77".parse().unwrap());
    let encap = Encapsulation { udp: true, tcp: false, local, remote };
    let command = OutboundCommand::UpdatePeer { child: CHILD, encap };
    path.ends[0].outbound.handle_command(command, path.now);
    path.run(Duration::from_secs(6), Some(&inner));
    let last = found(&path).last().copied();
    assert!(last.is_some_and(|last| last.0 <= 1_300), "{:?}", found(&path));
}
