//! Probes of the path MTU by echo requests, for peers that answer none of ours (RFC 8899, RFC 792).

use std::time::{Duration, Instant};

use adit_crypto::Cipher;
use adit_dataplane::{
    EchoProbe, Event, Inbound, InboundCommand, MtuSource, NoEcho, OpenVerdict, Outbound,
    OutboundCommand, Verdict, split,
};
use adit_db::{
    Action, Aggfrag, ChildSa, ChildSaId, EchoRule, Encapsulation, Mode, MtuPolicy, PerFamily, Spd,
    SpdEntry,
};
use adit_wire::PacketBuf;
use adit_wire::ip::{IcmpError, IpPacket};

use crate::fixtures::{CHILD, Options, POLICY, buffer, copy, packet_between, start, ts};
use crate::path_mtu::{mss_of, size_told, syn, without_df};

/// Our end, which probes.
struct Ours {
    outbound: Outbound,
    inbound: Inbound,
    found: Vec<(Duration, u16, MtuSource)>,
}

/// Our end, a peer that knows nothing of probes, and the path between them.
struct Path {
    left: Ours,
    /// The peer opens what we send, and seals what the host says that is behind it.
    right: (Inbound, Outbound),
    now: Instant,
    start: Instant,
    /// Octets there, and back.
    mtu: (usize, usize),
    around: usize,
    /// Whether the host answers.
    answers: bool,
    /// Somebody answers for the host what was lost, with a change to the octet of the reply at this place.
    forger: Option<(usize, u8)>,
    /// What the host has got that was an echo request.
    requests: Vec<Vec<u8>>,
    /// What came in by our SA and was to be delivered.
    delivered: Vec<Vec<u8>>,
    longest: usize,
}

fn rule(to: &[&str], from: &[&str]) -> EchoRule {
    let all = |texts: &[&str]| {
        let mut all = PerFamily::NONE;
        assert!(texts.iter().all(|text| all.put(text.parse().unwrap())));
        all
    };
    EchoRule { to: all(to), from: all(from), ..EchoRule::DEFAULT }
}

fn asking(to: &[&str], from: &[&str]) -> Options {
    Options {
        mtu: MtuPolicy { echo: rule(to, from), ..MtuPolicy::default() },
        left_ts: ts(&["0.0.0.0/0", "::/0"]),
        right_ts: ts(&["0.0.0.0/0", "::/0"]),
        ..Options::default()
    }
}

fn usual() -> Options {
    asking(&["10.2.0.1"], &["10.1.0.1"])
}

fn engines(sa: &ChildSa, echo: Option<EchoProbe>, now: Instant) -> (Inbound, Outbound) {
    let (mut inbound, mut outbound) = split(sa, POLICY, now).unwrap();
    if let Some(echo) = echo {
        (inbound, outbound) = (inbound.with_echo(echo), outbound.with_echo(echo, 0));
    }
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
    (inbound_engine, engine)
}

fn choose(options: &Options) -> Result<Option<EchoProbe>, NoEcho> {
    EchoProbe::choose(&options.child_sa(true), Vec::new)
}

/// What a host makes of an echo request (RFC 1122 §3.2.2.6, RFC 4443 §4.2).
fn answer(request: &[u8]) -> Option<Vec<u8>> {
    let packet = IpPacket::read(request).unwrap();
    let (at, len, kind) = match packet.icmp()?.kind {
        8 => (12, 4, 0),
        128 => (8, 16, 129),
        _ => return None,
    };
    let mut reply = request.to_vec();
    reply[at..at + len].copy_from_slice(&request[at + len..at + 2 * len]);
    reply[at + len..at + 2 * len].copy_from_slice(&request[at..at + len]);
    reply[at + 2 * len] = kind;
    // RFC 792: who answers lets its packet be cut.
    if packet.is_ipv4() {
        reply[6] = 0;
    }
    Some(reply)
}

impl Path {
    fn new(options: &Options, mtu: usize) -> Self {
        let now = start();
        let (inbound, outbound) = engines(&options.child_sa(true), choose(options).unwrap(), now);
        Self {
            left: Ours { outbound, inbound, found: Vec::new() },
            right: engines(&options.child_sa(false), None, now),
            now,
            start: now,
            mtu: (mtu, mtu),
            around: if options.ends.0.is_ipv4() { 20 } else { 40 }
                + if options.udp { 8 } else { 0 },
            answers: true,
            forger: None,
            requests: Vec::new(),
            delivered: Vec::new(),
            longest: 0,
        }
    }

    /// Carries what we send to the peer, and what the host behind it says to that back.
    fn carry(&mut self, mut packet: PacketBuf) {
        self.longest = self.longest.max(packet.len() + self.around);
        let is_lost = packet.len() + self.around > self.mtu.0;
        if is_lost && self.forger.is_none() {
            return;
        }
        std::mem::swap(&mut packet.meta.local, &mut packet.meta.remote);
        let mut verdicts = Vec::new();
        self.right.0.open_batch(std::slice::from_mut(&mut packet), &mut verdicts, self.now);
        assert_eq!(verdicts, [OpenVerdict::Deliver], "any peer takes what we send");
        let Some(mut reply) = answer(packet.data()) else { return };
        self.requests.push(packet.data().to_vec());
        if let Some((place, change)) = self.forger.filter(|_| is_lost) {
            reply[place] ^= change;
        }
        if self.answers {
            self.bring_back(&reply);
        }
    }

    /// Brings a packet of somebody behind the peer to us.
    fn bring_back(&mut self, inner: &[u8]) {
        let mut packet = buffer(inner);
        let mut verdicts = Vec::new();
        self.right.1.seal_batch(std::slice::from_mut(&mut packet), &mut verdicts, self.now);
        assert_eq!(verdicts, [Verdict::Send]);
        if packet.len() + self.around <= self.mtu.1 {
            std::mem::swap(&mut packet.meta.local, &mut packet.meta.remote);
            self.take(packet);
        }
    }

    fn take(&mut self, mut packet: PacketBuf) {
        let mut verdicts = Vec::new();
        let Ours { outbound, inbound, .. } = &mut self.left;
        inbound.open_batch(std::slice::from_mut(&mut packet), &mut verdicts, self.now);
        if verdicts == [OpenVerdict::Deliver] {
            self.delivered.push(packet.data().to_vec());
        }
        while let Some(event) = inbound.poll_event() {
            if let Event::PathMessage { child, message } = event {
                outbound.handle_command(OutboundCommand::PathMessage { child, message }, self.now);
            }
        }
    }

    /// We send such packets, a dozen a second.
    fn run(&mut self, time: Duration, inner: &[u8]) {
        let end = self.now + time;
        while self.now < end {
            self.now += Duration::from_millis(10);
            let turn = (self.now - self.start).as_millis() / 10;
            if turn.is_multiple_of(8) {
                self.send(inner);
            }
            self.keep_time();
        }
    }

    fn send(&mut self, inner: &[u8]) {
        let mut packet = buffer(inner);
        let mut verdicts = Vec::new();
        let outbound = &mut self.left.outbound;
        outbound.seal_batch(std::slice::from_mut(&mut packet), &mut verdicts, self.now);
        if verdicts == [Verdict::Send] {
            self.carry(packet);
        }
    }

    fn keep_time(&mut self) {
        if self.left.outbound.poll_timeout().is_some_and(|due| due <= self.now) {
            self.left.outbound.handle_timeout(self.now);
        }
        self.send_ready();
    }

    /// The path has shrunk, and these packets are sent as TCP does that loses them (RFC 6298 §5.5, with a
    /// first time-out of so much): after what time their sender hears what fits, and how much that is.
    fn time_to_hear(&mut self, inner: &[u8], timeout: Duration) -> (Duration, u32) {
        let lost = self.now;
        let (mut due, mut wait) = (lost, timeout);
        while self.now - lost < Duration::from_secs(10) {
            if self.now >= due {
                self.send(inner);
                (due, wait) = (due + wait, wait * 2);
            }
            self.now += Duration::from_millis(10);
            self.keep_time();
            if let Some(answer) = self.left.outbound.poll_answer() {
                return (self.now - lost, size_told(&answer, inner));
            }
        }
        panic!("nobody was told");
    }

    fn send_ready(&mut self) {
        while let Some(packet) = self.left.outbound.poll_packet() {
            self.carry(packet);
        }
        let at = self.now - self.start;
        while let Some(event) = self.left.outbound.poll_event() {
            if let Event::PathMtu { mtu, source, .. } = event {
                self.left.found.push((at, mtu, source));
            }
        }
    }

    fn last(&self) -> Option<(u16, MtuSource)> {
        self.left.found.last().map(|(_, mtu, source)| (*mtu, *source))
    }
}

fn traffic(len: usize) -> Vec<u8> {
    packet_between("10.1.0.5", "10.2.0.7", 0, len)
}

/// CHECKLIST PM-25: a black hole is found within three seconds and measured in every suite, though the
/// peer knows nothing of probes; the replies are eaten, and the host that is asked gets whole requests.
#[test]
fn a_black_hole_is_found_by_echo_requests() {
    for (number, cipher) in Cipher::ALL.into_iter().enumerate() {
        let udp = number.is_multiple_of(2);
        // What else the peer may be told about the SA changes nothing.
        let options = Options { cipher, udp, notices: !udp, ..usual() };
        let mut path = Path::new(&options, 1_400);
        path.run(Duration::from_secs(4), &traffic(1_300));
        let found = &path.left.found;
        let (at, first, source) = found[0];
        assert!(at < Duration::from_secs(3) && first <= 1_400, "{cipher}: {found:?}");
        assert_eq!(source, MtuSource::Echo);
        let (last, _) = path.last().unwrap();
        assert!((1_385..=1_400).contains(&last), "{cipher}: {found:?}");
        assert_eq!(path.delivered, Vec::<Vec<u8>>::new());
        assert!(path.longest <= 1_500, "{cipher}: {}", path.longest);
    }
}

/// RFC 8899 §5.1.2: until somebody has answered the path is what every path should be. Who sends by the peer
/// may never hear what it takes, so a connection of that time begins small.
#[test]
fn connections_begin_small_until_somebody_has_answered() {
    let mss = |path: &mut Path| {
        let mut packet = buffer(&syn("10.1.0.5", "10.2.0.7"));
        let mut verdicts = Vec::new();
        let engine = &mut path.left.outbound;
        engine.seal_batch(std::slice::from_mut(&mut packet), &mut verdicts, path.now);
        assert_eq!(verdicts, [Verdict::Send]);
        std::mem::swap(&mut packet.meta.local, &mut packet.meta.remote);
        let mut opened = Vec::new();
        path.right.0.open_batch(std::slice::from_mut(&mut packet), &mut opened, path.now);
        assert_eq!(opened, [OpenVerdict::Deliver]);
        mss_of(packet.data())
    };
    // IP and TCP headers; IP, UDP, ESP header and IV, trailer, ICV.
    let (least, most) = (1_280 - 40 - 62, 1_500 - 40 - 62);
    let mut path = Path::new(&usual(), 1_500);
    assert_eq!(mss(&mut path), least);
    path.run(Duration::from_secs(1), &traffic(1_000));
    assert_eq!(mss(&mut path), most);
    // The next SA begins with what this one has found.
    let next = Options { child: ChildSaId(2), ..usual() };
    let (_, outbound) = split(&next.child_sa(true), POLICY, path.now).unwrap();
    let outbound = outbound.with_echo(choose(&next).unwrap().unwrap(), 0);
    let install = OutboundCommand::Install { sa: Box::new(outbound), active: true };
    path.left.outbound.handle_command(install, path.now);
    let (inbound, _) = split(&next.child_sa(false), POLICY, path.now).unwrap();
    path.right.0.handle_command(InboundCommand::Install(Box::new(inbound)));
    assert_eq!(mss(&mut path), most);

    let mut path = Path::new(&usual(), 1_500);
    path.answers = false;
    path.run(Duration::from_secs(9), &traffic(1_000));
    assert_eq!(mss(&mut path), least);
}

/// Both families inside and outside, and transport mode, where nobody has to be named.
#[test]
fn every_family_and_mode_is_probed() {
    let v4 = Options::default().ends;
    let v6 = ("[2001:db8::1]:4500".parse().unwrap(), "[2001:db8::2]:4500".parse().unwrap());
    for ends in [v4, v6] {
        for named in [("10.2.0.1", "10.1.0.1"), ("fd02::1", "fd01::1")] {
            let options = Options { ends, ..asking(&[named.0], &[named.1]) };
            let mut path = Path::new(&options, 1_380);
            path.run(Duration::from_secs(8), &packet_between(named.1, named.0, 0, 1_000));
            assert_eq!(path.last(), Some((1_380, MtuSource::Echo)), "{ends:?} {named:?}");
        }
        let options = Options { ends, mode: Mode::Transport, ..asking(&[], &[]) };
        let mut path = Path::new(&options, 1_380);
        let (src, dst) = (ends.0.ip().to_string(), ends.1.ip().to_string());
        path.run(Duration::from_secs(8), &packet_between(&src, &dst, 0, 1_000));
        assert_eq!(path.last(), Some((1_380, MtuSource::Echo)), "{ends:?}");
        assert_eq!(path.delivered, Vec::<Vec<u8>>::new());
    }
}

/// CHECKLIST PM-02, PM-25: a path that shrinks under way is found out as soon, and one that grows again
/// after the raise timer (RFC 8899 §5.1.1).
#[test]
fn a_path_that_shrinks_and_grows_is_followed() {
    let mut path = Path::new(&usual(), 1_500);
    path.run(Duration::from_secs(5), &traffic(1_300));
    assert_eq!(path.last(), Some((1_500, MtuSource::Echo)));
    path.left.found.clear();
    path.mtu = (1_280, 1_280);
    let shrunk = path.now - path.start;
    path.run(Duration::from_secs(6), &traffic(1_300));
    let (at, ..) = path.left.found[0];
    assert!(at - shrunk < Duration::from_secs(3), "{:?}", path.left.found);
    assert_eq!(path.last(), Some((1_280, MtuSource::Echo)));
    path.mtu = (1_500, 1_500);
    path.run(Duration::from_secs(610), &traffic(1_000));
    assert_eq!(path.last(), Some((1_500, MtuSource::Echo)), "{:?}", path.left.found);
}

/// CHECKLIST PM-25: whenever between two looks at it a path shrinks, and however long TCP waits before it
/// repeats, its sender hears of it as soon as it is known, and not when it repeats for the fourth time,
/// three seconds after the loss. So it is in transport mode, too.
#[test]
fn a_sender_hears_of_a_black_hole_before_it_repeats_for_long() {
    let transport = Options { mode: Mode::Transport, ..asking(&[], &[]) };
    let (src, dst) = (transport.ends.0.ip().to_string(), transport.ends.1.ip().to_string());
    let between = |len| packet_between(&src, &dst, 0, len);
    let v6 = |len| packet_between("fd01::5", "fd02::7", 0, len);
    let cases = [
        (usual(), traffic(1_300), traffic(100), 1_218),
        // RFC 8200 §5: what is no longer than 1,280 octets is sent, and cut outside.
        (asking(&["fd02::1"], &["fd01::1"]), v6(1_300), v6(100), 1_280),
        (transport, between(1_300), between(100), 1_238),
    ];
    for (options, long, short, fits) in &cases {
        for phase in (0..1_000).step_by(50).map(Duration::from_millis) {
            for timeout in [200, 250, 300, 400].map(Duration::from_millis) {
                let mut path = Path::new(options, 1_500);
                path.run(Duration::from_secs(3) + phase, long);
                assert!(path.left.outbound.poll_answer().is_none());
                path.mtu = (1_280, 1_280);
                let (heard, told) = path.time_to_hear(long, timeout);
                assert!(heard < Duration::from_millis(2_200), "{phase:?} {timeout:?}: {heard:?}");
                assert_eq!(told, *fits);
                // What has been told once is not told again before somebody sends too much again.
                path.run(Duration::from_secs(2), short);
                assert!(path.left.outbound.poll_answer().is_none());
            }
        }
    }
}

/// The same flow from another port.
fn from_port(mut packet: Vec<u8>, port: u16) -> Vec<u8> {
    packet[20..22].copy_from_slice(&port.to_be_bytes());
    packet
}

/// Only senders hear of it whose packets were too long, and only some of very many: once each.
#[test]
fn only_who_has_sent_too_much_hears_of_a_black_hole_and_only_some() {
    let mut path = Path::new(&usual(), 1_500);
    path.run(Duration::from_secs(3), &traffic(1_300));
    path.mtu = (1_280, 1_280);
    let shrunk = path.now;
    let mut told = Vec::new();
    while path.now - shrunk < Duration::from_secs(3) {
        let is_known = path.last().is_some_and(|(mtu, _)| mtu < 1_500);
        for port in (0..30).filter(|_| !is_known) {
            path.send(&from_port(traffic(1_218), 1_000 + port));
            path.send(&from_port(without_df(traffic(1_300)), 2_000 + port));
            path.send(&from_port(traffic(1_300), 3_000 + port));
        }
        path.now += Duration::from_millis(10);
        path.keep_time();
        told.extend(std::iter::from_fn(|| path.left.outbound.poll_answer()));
    }
    let ports: std::collections::BTreeSet<u16> = told
        .iter()
        .map(|answer| {
            let packet = IpPacket::read(answer.data()).unwrap();
            let quoted = IcmpError::read(&packet).unwrap().quoted;
            u16::from_be_bytes([quoted[20], quoted[21]])
        })
        .collect();
    assert_eq!((told.len(), ports.len()), (8, 8), "{ports:?}");
    assert!(ports.iter().all(|port| (3_000..3_030).contains(port)), "{ports:?}");
}

/// Who has lost some packets to something else, of whatever length, hears nothing.
#[test]
fn a_doubt_that_was_wrong_is_told_nobody() {
    let mut path = Path::new(&usual(), 1_500);
    path.run(Duration::from_secs(3), &traffic(1_300));
    for _ in 0..20 {
        path.mtu = (1_280, 1_280);
        path.run(Duration::from_millis(900), &traffic(1_300));
        path.mtu = (1_500, 1_500);
        path.run(Duration::from_millis(1_300), &traffic(1_300));
        assert!(path.left.outbound.poll_answer().is_none());
    }
    assert_eq!(path.last(), Some((1_500, MtuSource::Echo)));
    path.answers = false;
    path.mtu = (1_280, 1_280);
    path.run(Duration::from_secs(30), &traffic(1_300));
    assert!(path.left.outbound.poll_answer().is_none());
}

/// Loss alone says nothing: a host that answers nothing, or a peer that loses all, changes nothing.
#[test]
fn silence_changes_nothing() {
    let mut path = Path::new(&usual(), 1_280);
    path.answers = false;
    path.run(Duration::from_secs(30), &traffic(1_300));
    assert_eq!(path.left.found, []);
    assert!(!path.requests.is_empty());
}

/// A reply is as long as the request: a way back that takes less makes the path seem smaller, never
/// larger. One that comes in fragments shows that the request came whole.
#[test]
fn only_what_is_confirmed_counts() {
    let mut path = Path::new(&usual(), 1_500);
    path.mtu.1 = 1_400;
    path.run(Duration::from_secs(6), &traffic(1_300));
    assert_eq!(path.last(), Some((1_400, MtuSource::Echo)), "{:?}", path.left.found);

    let mut path = Path::new(&usual(), 1_500);
    path.answers = false;
    path.run(Duration::from_millis(100), &traffic(1_300));
    let request = path.requests.iter().max_by_key(|request| request.len()).cloned().unwrap();
    let mut first = answer(&request).unwrap();
    first.truncate(20 + 1_000);
    let total_len = u16::try_from(first.len()).unwrap().to_be_bytes();
    first[2..4].copy_from_slice(&total_len);
    // More fragments follow.
    first[6] = 0x20;
    path.bring_back(&first);
    path.run(Duration::from_millis(900), &traffic(1_300));
    assert_eq!(path.delivered, Vec::<Vec<u8>>::new(), "the first fragment is the reply");
    assert_eq!(path.last(), Some((1_500, MtuSource::Echo)));
}

/// Replies that somebody makes up to requests that were lost confirm nothing, and are the host's like all
/// others: of another host, with another identifier, number or token. Only who changes nothing, and so has
/// seen what was lost, is believed.
#[test]
fn forged_replies_do_nothing() {
    for (place, change) in [(15, 1), (19, 1), (24, 1), (26, 1), (28, 1), (35, 1), (35, 0)] {
        let mut path = Path::new(&usual(), 1_280);
        path.mtu.1 = 1_500;
        path.forger = Some((place, change));
        path.run(Duration::from_secs(6), &traffic(1_300));
        let believed = path.last() == Some((1_500, MtuSource::Echo));
        assert_eq!(believed, change == 0, "{place}: {:?}", path.left.found);
        assert_eq!(path.delivered.is_empty(), change == 0, "{place}");
    }
}

/// A reply by another SA of the same peer is no reply: its token is that of the SA.
#[test]
fn a_reply_by_another_sa_does_nothing() {
    let mut path = Path::new(&usual(), 1_500);
    path.answers = false;
    path.run(Duration::from_millis(100), &traffic(1_300));
    let other = Options { child: ChildSaId(2), ..usual() };
    let echo = choose(&other).unwrap();
    let (inbound, outbound) = engines(&other.child_sa(true), echo, path.now);
    drop(outbound);
    path.left.inbound = inbound;
    path.right = engines(&other.child_sa(false), None, path.now);
    let reply = answer(&path.requests[0].clone()).unwrap();
    path.bring_back(&reply);
    assert_eq!(path.delivered, [reply]);
}

/// A reply that comes again is a replay, and nothing is heard of it.
#[test]
fn a_reply_counts_once() {
    let mut path = Path::new(&usual(), 1_500);
    path.answers = false;
    path.run(Duration::from_millis(100), &traffic(1_300));
    let mut packet = buffer(&answer(&path.requests[0].clone()).unwrap());
    let mut verdicts = Vec::new();
    path.right.1.seal_batch(std::slice::from_mut(&mut packet), &mut verdicts, path.now);
    std::mem::swap(&mut packet.meta.local, &mut packet.meta.remote);
    let mut packets = [copy(&packet), packet];
    let mut verdicts = Vec::new();
    path.left.inbound.open_batch(&mut packets, &mut verdicts, path.now);
    assert!(matches!(verdicts[..], [OpenVerdict::Held, OpenVerdict::Drop(_)]), "{verdicts:?}");
    let heard = std::iter::from_fn(|| path.left.inbound.poll_event());
    assert_eq!(heard.filter(|event| matches!(event, Event::PathMessage { .. })).count(), 1);
}

/// What hosts ask each other through the tunnel is theirs, and probes are no traffic of the SA.
#[test]
fn other_pings_pass_and_probes_count_as_nothing() {
    let mut path = Path::new(&usual(), 1_500);
    path.run(Duration::from_secs(3), &traffic(300));
    let sent = path.left.outbound.counters_of(CHILD).unwrap();
    assert_eq!(path.left.inbound.counters_of(CHILD).unwrap().packets, 0);
    assert!(!path.requests.is_empty());
    assert!(sent.sequence > sent.packets, "{sent:?}");
    assert_eq!(sent.octets, sent.packets * 300);
    let mut reply = answer(&path.requests[0].clone()).unwrap();
    reply[24] ^= 0xff;
    path.bring_back(&reply);
    assert_eq!(path.delivered, [reply]);
}

/// A dummy of somebody who speaks of probes unasked is a dummy.
#[test]
fn messages_that_nobody_agreed_on_are_not_heard() {
    let options = Options { path_probe: true, ..usual() };
    let mut path = Path::new(&usual(), 1_500);
    // The peer sends us probes of ours: it has agreed with itself.
    let mut peer = engines(&options.child_sa(false), None, path.now).1;
    let mut packet = buffer(&packet_between("10.2.0.7", "10.1.0.5", 0, 1_300));
    let mut verdicts = Vec::new();
    peer.seal_batch(std::slice::from_mut(&mut packet), &mut verdicts, path.now);
    peer.handle_timeout(path.now);
    let mut probe = peer.poll_packet().expect("it probes");
    std::mem::swap(&mut probe.meta.local, &mut probe.meta.remote);
    path.take(probe);
    path.send_ready();
    assert_eq!(path.longest, 0, "nothing is answered");
}

/// Whom to ask: the first that is named and that the selectors have room for, from the address that is
/// named or one of our own among the selectors.
#[test]
fn who_asks_whom() {
    let with = |to: &[&str], from: &[&str], own: &[&str], local: &[&str], remote: &[&str]| {
        let options = Options { right_ts: ts(remote), ..asking(to, from) };
        let mut sa = options.child_sa(true);
        sa.local_ts = ts(local);
        let own = own.iter().map(|text| text.parse().unwrap()).collect();
        EchoProbe::choose(&sa, || own)
    };
    let own = ["192.0.2.1", "10.1.0.1", "fd01::1"];
    let (local, remote) = (["10.1.0.0/16", "fd01::/48"], ["10.2.0.0/16", "fd02::/48"]);
    let to = |text: &str| text.parse().unwrap();
    assert_eq!(with(&[], &[], &own, &local, &remote), Ok(None));
    let by_own = with(&["10.2.0.1"], &[], &own, &local, &remote).unwrap();
    let by_name = with(&["10.2.0.1"], &["10.1.0.1"], &[], &local, &remote).unwrap();
    assert!(by_own.is_some());
    assert_eq!(by_own, by_name);
    assert!(with(&["10.9.0.1", "fd02::1"], &[], &own, &local, &remote).unwrap().is_some());
    let none = with(&["10.2.0.1"], &[], &["192.0.2.1", "fd01::1"], &local, &remote);
    assert_eq!(none, Err(NoEcho::NoSource { to: to("10.2.0.1") }));
    let elsewhere = with(&["10.9.0.1"], &[], &own, &local, &remote);
    assert_eq!(elsewhere, Err(NoEcho::NotSelected { to: to("10.9.0.1") }));
    let foreign = with(&["10.2.0.1"], &["10.7.0.1"], &own, &local, &remote);
    assert_eq!(foreign, Err(NoEcho::NotSelected { to: to("10.2.0.1") }));
    let narrow = with(&["10.2.0.1"], &["10.1.0.1"], &own, &local, &["10.2.0.0/16[tcp]"]);
    assert_eq!(narrow, Err(NoEcho::NotSelected { to: to("10.2.0.1") }));
}

/// Who answers probes of ours is asked by those; and where lengths say nothing nobody is asked.
#[test]
fn who_need_not_or_cannot_be_asked_is_not() {
    assert!(choose(&usual()).unwrap().is_some());
    assert_eq!(choose(&Options { path_probe: true, ..usual() }), Ok(None));
    let aggfrag = Some(Aggfrag::default());
    assert_eq!(choose(&Options { aggfrag, ..usual() }), Err(NoEcho::Unsuitable));
    let mut sa = usual().child_sa(true);
    sa.encap = Encapsulation { tcp: true, ..sa.encap };
    assert_eq!(EchoProbe::choose(&sa, Vec::new), Err(NoEcho::Unsuitable));
    let transport = |asks_peer, ts_text| {
        let echo = EchoRule { asks_peer, ..EchoRule::DEFAULT };
        let mtu = MtuPolicy { echo, ..MtuPolicy::default() };
        let right_ts = ts(&[ts_text]);
        choose(&Options { mode: Mode::Transport, mtu, right_ts, ..usual() })
    };
    assert!(transport(true, "0.0.0.0/0").unwrap().is_some());
    assert_eq!(transport(false, "0.0.0.0/0"), Ok(None));
    let to = Options::default().ends.1.ip();
    assert_eq!(transport(true, "0.0.0.0/0[udp]"), Err(NoEcho::NotSelected { to }));
}
