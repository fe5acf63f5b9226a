use super::*;

/// A path in virtual time: what it takes, how long it takes, and what it loses.
struct Path {
    prober: Prober,
    now: Instant,
    start: Instant,
    mtu: u16,
    round_trip: Duration,
    /// Of a thousand packets, in each direction.
    lost: u32,
    random: u32,
    octets: u64,
    octets_a_second: u64,
    answers: Vec<(Instant, u64)>,
    sent: usize,
    sent_octets: u64,
    /// What was found, and when.
    found: Vec<(Duration, u16)>,
}

const V4: Bounds = Bounds { floor: 576, link: 1_500, ageing: Duration::from_secs(600) };

impl Path {
    #[expect(clippy::disallowed_methods, reason = "a test needs some instant to start from")]
    fn new(bounds: Bounds, mtu: u16) -> Self {
        let now = Instant::now();
        Self {
            prober: Prober::new(bounds, bounds.link, now),
            now,
            start: now,
            mtu,
            round_trip: Duration::from_millis(20),
            lost: 0,
            random: 1,
            octets: 0,
            octets_a_second: 100_000,
            answers: Vec::new(),
            sent: 0,
            sent_octets: 0,
            found: Vec::new(),
        }
    }

    fn is_lost(&mut self) -> bool {
        // Numerical Recipes' generator: the same losses at every run.
        self.random = self.random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (self.random >> 8) % 1_000 < self.lost
    }

    fn run(&mut self, time: Duration) {
        let end = self.now + time;
        let step = Duration::from_millis(5);
        while self.now < end {
            self.now += step;
            if self.octets_a_second > 0 {
                self.octets += self.octets_a_second / 200;
                self.prober.wake(self.now);
            }
            let (due, later) = self.answers.drain(..).partition(|(at, _)| *at <= self.now);
            self.answers = later;
            for (_, nonce) in Vec::from_iter::<Vec<(Instant, u64)>>(due) {
                self.prober.handle_answer(nonce, self.now);
            }
            if self.prober.poll_timeout().is_some_and(|at| at <= self.now) {
                let sent = Sent { octets: self.octets, packets: self.octets / 500 };
                self.prober.handle_timeout(sent, self.now);
            }
            while let Some(probe) = self.prober.poll_probe() {
                self.sent += 1;
                self.sent_octets += u64::from(probe.size.max(100));
                if probe.size <= self.mtu && !self.is_lost() && !self.is_lost() {
                    self.answers.push((self.now + self.round_trip, probe.nonce));
                }
            }
            self.found.extend(self.prober.poll_found().map(|mtu| (self.now - self.start, mtu)));
        }
    }

    fn seconds(&mut self, seconds: u64) -> u16 {
        self.run(Duration::from_secs(seconds));
        self.prober.current()
    }
}

/// CHECKLIST PM-25: a path that takes less than the link, from the first packet on, without any ICMP.
#[test]
fn a_black_hole_is_found_within_three_seconds_and_measured() {
    for (mtu, floor) in [(1_492, 1_480), (1_400, 1_400), (1_320, 1_300), (1_280, 1_280), (900, 880)]
    {
        let mut path = Path::new(V4, mtu);
        path.seconds(10);
        let (first_at, first) = path.found[0];
        assert!(first_at < Duration::from_secs(3), "{mtu}: {:?}", path.found);
        assert!(first <= mtu, "{mtu}: {:?}", path.found);
        let found = path.prober.current();
        assert!((floor..=mtu).contains(&found), "{mtu}: {:?}", path.found);
    }
}

/// CHECKLIST PM-25: on a short way it is found before TCP tries its first segment for the fourth time, which
/// is the last time for a while.
#[test]
fn a_black_hole_from_the_beginning_costs_tcp_three_tries() {
    let mut path = Path::new(V4, 1_280);
    path.seconds(3);
    assert!(path.found[0].0 < Duration::from_millis(1_200), "{:?}", path.found);
}

/// CHECKLIST PM-25, PM-24: it shrinks while traffic flows, and has grown when it is tried again.
#[test]
fn a_path_that_shrinks_and_grows_is_followed() {
    let mut path = Path::new(V4, 1_500);
    assert_eq!(path.seconds(30), 1_500);
    assert_eq!(path.found, []);
    path.mtu = 1_400;
    let before = path.now - path.start;
    assert_eq!(path.seconds(10), 1_400);
    let recovered = path.found[0].0 - before;
    assert!(recovered < Duration::from_secs(3), "{recovered:?}");
    path.mtu = 1_500;
    assert_eq!(path.seconds(300), 1_400);
    assert_eq!(path.seconds(320), 1_500);
}

/// A size is in doubt from its second try on, if shorter ones are answered, until it is given up or answered.
#[test]
fn a_size_is_in_doubt_while_only_shorter_ones_are_answered() {
    let mut path = Path::new(V4, 1_500);
    path.seconds(5);
    assert_eq!(path.prober.passes_instead(), None);
    path.mtu = 1_400;
    path.run(Duration::from_millis(600));
    assert_eq!(path.prober.passes_instead(), Some(1_280));
    path.mtu = 1_500;
    path.run(Duration::from_millis(400));
    assert_eq!((path.prober.passes_instead(), path.prober.current()), (None, 1_500));
    path.mtu = 1_400;
    path.seconds(3);
    assert_eq!((path.prober.passes_instead(), path.prober.current()), (None, 1_400));
    path.mtu = 0;
    path.seconds(10);
    assert_eq!(path.prober.passes_instead(), None);
}

/// Plain loss says nothing about sizes, however long it lasts; an hour with a tenth lost each way.
#[test]
fn loss_alone_does_not_shrink_a_path() {
    let mut path = Path::new(V4, 1_500);
    path.lost = 100;
    path.octets_a_second = 1_000_000;
    assert_eq!(path.seconds(3_600), 1_500);
    assert_eq!(path.found, []);
}

/// With loss a black hole is found all the same.
#[test]
fn a_black_hole_is_found_through_loss() {
    let mut path = Path::new(V4, 1_500);
    path.lost = 100;
    path.seconds(10);
    path.mtu = 1_400;
    let before = path.now - path.start;
    path.seconds(10);
    assert!(path.found[0].0 - before < Duration::from_secs(4), "{:?}", path.found);
    assert!(path.prober.current() <= 1_400);
}

#[test]
fn a_path_that_is_down_keeps_its_size() {
    let mut path = Path::new(V4, 1_500);
    path.seconds(5);
    path.lost = 1_000;
    assert_eq!(path.seconds(120), 1_500);
    assert!(path.sent < 500, "{} probes", path.sent);
    path.lost = 0;
    assert_eq!(path.seconds(20), 1_500);
    assert_eq!(path.found, []);
}

/// Nothing is sent while nothing is sent, and little while little is.
#[test]
fn probes_are_few() {
    let mut path = Path::new(V4, 1_500);
    path.octets_a_second = 0;
    path.seconds(60);
    assert_eq!((path.sent, path.prober.poll_timeout()), (0, None));
    path.octets_a_second = 10_000;
    path.seconds(60);
    assert!(path.sent_octets <= path.octets / 8, "{} octets", path.sent_octets);
    let sent = path.sent;
    path.octets_a_second = 0;
    path.seconds(60);
    assert!(path.sent - sent <= 1);
    assert!(path.prober.is_asleep());
    path.octets_a_second = 1_000_000;
    let sent = path.sent;
    path.seconds(60);
    assert!(path.sent - sent <= 61, "{} probes", path.sent - sent);
}

/// CHECKLIST PM-21: whoever forges a report wins no more than the time of a search.
#[test]
fn a_false_report_is_corrected_at_once() {
    let mut path = Path::new(V4, 1_500);
    path.seconds(5);
    path.prober.handle_report(600, path.now);
    assert_eq!(path.prober.current(), 600);
    path.run(Duration::from_millis(100));
    assert_eq!(path.prober.current(), 1_500);
    path.prober.handle_report(68, path.now);
    assert_eq!(path.prober.current(), 576);
}

/// A true one is kept, and costs some probes.
#[test]
fn a_true_report_is_kept() {
    let mut path = Path::new(V4, 1_400);
    path.seconds(1);
    path.prober.handle_report(1_400, path.now);
    let sent = path.sent;
    assert_eq!(path.seconds(5), 1_400);
    assert!(path.sent - sent < 40, "{} probes", path.sent - sent);
}

/// RFC 8200 §5: nothing below 1,280 with IPv6.
#[test]
fn the_floor_holds() {
    let mut path = Path::new(Bounds { floor: 1_280, ..V4 }, 1_000);
    assert_eq!(path.seconds(20), 1_280);
}

#[test]
fn jumbo_frames_are_found() {
    let mut path = Path::new(Bounds { link: 9_000, ..V4 }, 9_000);
    assert_eq!(path.seconds(5), 9_000);
    path.mtu = 4_400;
    assert!((4_352..=4_400).contains(&path.seconds(20)), "{:?}", path.found);
}

#[test]
fn another_path_is_measured_anew() {
    let mut path = Path::new(V4, 1_400);
    assert_eq!(path.seconds(10), 1_400);
    path.mtu = 1_500;
    path.prober.handle_new_path(1_500, path.now);
    assert_eq!(path.seconds(5), 1_500);
}

/// A link that takes more is tried as soon as the size in force has passed, and what is in force without
/// having been tried has to prove itself.
#[test]
fn a_link_that_rises_is_followed() {
    let mut path = Path::new(V4, 1_500);
    assert_eq!(path.seconds(5), 1_500);
    path.mtu = 9_000;
    path.prober.set_bounds(Bounds { link: 9_000, ..V4 }, path.now);
    assert_eq!(path.seconds(5), 9_000);

    let mut path = Path::new(V4, 1_500);
    assert_eq!(path.seconds(5), 1_500);
    path.prober.set_bounds(Bounds { link: 9_000, ..V4 }, path.now);
    path.prober.handle_report(9_000, path.now);
    assert_eq!(path.seconds(6), 1_500, "a black hole under 9,000");
}

/// CHECKLIST PM-24: what is found is told again before it is too old, however short that is.
#[test]
fn a_finding_is_told_again_before_it_ages() {
    let ageing = Duration::from_secs(60);
    let mut path = Path::new(Bounds { ageing, ..V4 }, 1_400);
    path.seconds(600);
    let gaps = path.found.windows(2).map(|pair| pair[1].0 - pair[0].0);
    assert!(gaps.max().unwrap() < ageing, "{:?}", path.found);
    assert!(path.now - path.start - path.found.last().unwrap().0 < ageing);
}

/// CHECKLIST PM-21: a word that comes while nothing is sent is tried as soon as something is.
#[test]
fn a_false_report_to_a_sleeper_is_corrected_when_it_wakes() {
    let mut path = Path::new(V4, 1_500);
    path.seconds(5);
    path.octets_a_second = 0;
    path.seconds(20);
    assert!(path.prober.is_asleep());
    path.prober.handle_report(600, path.now);
    path.octets_a_second = 100_000;
    path.run(Duration::from_millis(100));
    assert_eq!(path.prober.current(), 1_500);
}

/// Whoever missed that the path takes more again hears it some times more, and not for ever.
#[test]
fn a_raise_is_told_again() {
    let mut path = Path::new(V4, 1_500);
    path.seconds(5);
    path.prober.handle_report(600, path.now);
    path.seconds(60);
    let raises = |path: &Path| path.found.iter().filter(|found| found.1 == 1_500).count();
    assert_eq!(raises(&path), 4, "{:?}", path.found);
    path.seconds(400);
    assert_eq!(raises(&path), 4, "{:?}", path.found);
}

/// A word about fragments costs probes, not octets.
#[test]
fn fragments_are_a_reason_to_confirm() {
    let mut path = Path::new(V4, 1_500);
    path.seconds(20);
    let sent = path.sent;
    path.octets_a_second = 1;
    path.run(Duration::from_millis(1_500));
    path.prober.handle_fragments(path.now);
    path.prober.handle_fragments(path.now);
    assert_eq!(path.seconds(1), 1_500);
    assert!(path.sent > sent && path.found.is_empty());
    path.mtu = 1_400;
    path.prober.handle_fragments(path.now);
    assert!(path.seconds(5) <= 1_400);
}

#[test]
fn strange_answers_are_nothing() {
    let mut path = Path::new(V4, 1_500);
    path.seconds(1);
    for nonce in [0, 1_000, u64::MAX] {
        path.prober.handle_answer(nonce, path.now);
    }
    assert_eq!(path.found, []);
}

/// A sender that repeats one long packet a second has no black hole for long either.
#[test]
fn few_long_packets_are_enough() {
    let long = Sent { octets: 1_300, packets: 1 };
    let short = Sent { octets: 1_300, packets: 13 };
    assert!(long.is_much(1_500));
    assert!(!short.is_much(1_500));
    assert!(!Sent::default().is_much(1_500));
}
