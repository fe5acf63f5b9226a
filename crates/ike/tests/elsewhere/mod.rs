//! Requests of the peer that come from addresses where nobody has shown that it is: answers go there, but
//! never more octets than have come from there.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use adit_db::{Connection, HostSpec, Mobike, ProposalSpec};
use adit_ike::{Command, EndpointConfig, FragmentOctets, Path};
use adit_wire::iana::ExchangeType;

use super::{header, ids};
use crate::common::{LEFT, Pair, reversed, with_ike};

/// What the peer's NAT, or whoever forges addresses, may send from.
const fn other(last: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(198, 51, 100, last))
}

/// An established pair whose child takes two key exchanges to rekey: the answer to the first is longer than
/// the request. The right side sees the left one at `seen`.
struct World {
    pair: Pair,
    seen: IpAddr,
    /// Octets that have come to the right side from other addresses, less those that it has sent there.
    credit: BTreeMap<IpAddr, isize>,
}

impl World {
    fn new(seen: IpAddr, mobike: Mobike, config: EndpointConfig) -> Self {
        let offer = "aes256gcm16-prfsha384-x25519";
        let configured = |mut connection: Connection| {
            let words = "aes256gcm16-x25519-ke1_mlkem512";
            connection.children[0].proposals = ProposalSpec::esp_list(words).unwrap();
            connection.mobike = mobike;
            connection
        };
        let mut connections = with_ike(offer, offer).map(configured);
        connections[1].remote_addresses = vec![HostSpec::Any];
        let pair = Pair::new([config.clone(), config], connections);
        let mut world = Self { pair, seen, credit: BTreeMap::new() };
        world.pair.left.initiate(world.pair.now);
        world.run();
        assert_eq!(world.pair.right.established().len(), 1);
        assert_eq!(world.peer_of_right(), seen);
        world.credit.clear();
        world
    }

    fn peer_of_right(&self) -> IpAddr {
        self.pair.right.established()[0].remote.ip()
    }

    /// The left side's datagrams.
    fn asked(&mut self) -> Vec<(Path, Vec<u8>)> {
        self.pair.left.sent.drain(..).collect()
    }

    /// Gives the right side datagrams of the left one as if they came from an address. What it answers, and
    /// where to.
    fn ask(&mut self, asked: &[(Path, Vec<u8>)], from: IpAddr) -> Vec<(Path, Vec<u8>)> {
        let mut answers = Vec::new();
        for (way, octets) in asked {
            let mut way = reversed(*way);
            way.remote.set_ip(from);
            *self.credit.entry(from).or_default() += octets.len().cast_signed();
            self.pair.right.datagram(way, octets, self.pair.now);
            answers.extend(self.pair.right.sent.drain(..));
        }
        for (way, octets) in &answers {
            *self.credit.entry(way.remote.ip()).or_default() -= octets.len().cast_signed();
        }
        answers
    }

    /// The same again and again, whenever the left side repeats it, until there is an answer.
    fn ask_until_answered(
        &mut self,
        mut asked: Vec<(Path, Vec<u8>)>,
        from: IpAddr,
    ) -> Vec<(Path, Vec<u8>)> {
        loop {
            let answers = self.ask(&asked, from);
            if !answers.is_empty() {
                return answers;
            }
            self.wait();
            asked = self.asked();
        }
    }

    fn answer(&mut self, answers: Vec<(Path, Vec<u8>)>) {
        for (way, octets) in answers {
            let local = SocketAddr::new(LEFT, way.remote.port());
            let to_left = Path::udp(local, way.local);
            self.pair.left.datagram(to_left, &octets, self.pair.now);
        }
    }

    /// Both talk until nobody has anything to say.
    fn run(&mut self) {
        loop {
            let mut answers: Vec<_> = self.pair.right.sent.drain(..).collect();
            let asked = self.asked();
            if asked.is_empty() && answers.is_empty() {
                return;
            }
            answers.extend(self.ask(&asked, self.seen));
            self.answer(answers);
        }
    }

    /// The left side's timer is due.
    fn wait(&mut self) {
        self.pair.now = self.pair.left.endpoint.poll_timeout().unwrap();
        self.pair.left.timeout(self.pair.now);
    }

    /// The left side's request to rekey the child.
    fn rekey(&mut self) -> Vec<(Path, Vec<u8>)> {
        let child = ids(&self.pair).1;
        self.pair.left.command(Command::RekeyChild(child), self.pair.now);
        let asked = self.asked();
        assert!(asked.iter().all(|(_, octets)| is_create(octets)) && !asked.is_empty());
        asked
    }

    fn credit_of(&self, address: IpAddr) -> isize {
        self.credit.get(&address).copied().unwrap_or_default()
    }
}

fn is_create(octets: &[u8]) -> bool {
    header(octets).exchange == ExchangeType::CREATE_CHILD_SA
}

fn octets_of(datagrams: &[(Path, Vec<u8>)]) -> usize {
    datagrams.iter().map(|(_, octets)| octets.len()).sum()
}

fn in_pieces() -> EndpointConfig {
    let small = FragmentOctets { v4: 160, v6: 160 };
    EndpointConfig { fragment_octets: small, ..EndpointConfig::default() }
}

/// CHECKLIST B06: a NAT that gives the peer another address while its request is under way.
#[test]
fn a_peer_whose_nat_rebinds_gets_its_answer() {
    for (config, mobike) in [
        (EndpointConfig::default(), Mobike::No),
        (EndpointConfig::default(), Mobike::Yes),
        (in_pieces(), Mobike::No),
    ] {
        let mut world = World::new(other(1), mobike, config);
        let asked = world.rekey();
        let lost = world.ask(&asked, other(1));
        assert!(octets_of(&lost) > octets_of(&asked));

        world.seen = other(2);
        let mut times = 0;
        let answers = loop {
            world.wait();
            let asked = world.asked();
            let answers = world.ask(&asked, other(2));
            assert!(world.credit_of(other(2)) >= 0);
            times += 1;
            if !answers.is_empty() {
                break answers;
            }
        };
        assert!(times <= 3, "{times}");
        assert!(answers.iter().map(|(_, octets)| octets).eq(lost.iter().map(|(_, octets)| octets)));
        assert!(answers.iter().all(|(way, _)| way.remote.ip() == other(2)));
        world.answer(answers);
        world.run();
        assert!(world.credit_of(other(2)) >= 0);
        assert_eq!((world.pair.left.children.len(), world.pair.right.children.len()), (1, 1));
        // What comes next, too, though nobody has shown that the peer is there.
        let asked = world.rekey();
        let answers = world.ask_until_answered(asked, other(2));
        world.answer(answers);
        world.run();
        assert!(world.credit_of(other(2)) >= 0);
        assert_eq!((world.pair.left.children.len(), world.pair.right.children.len()), (1, 1));
    }
}

/// CHECKLIST B05, B06: who sends a request of the peer again from wherever it likes makes nothing of us that it
/// does not send itself, whatever address it takes in between; the peer has its answer at once.
#[test]
fn a_repeated_request_sends_nobody_more_than_came() {
    for config in [EndpointConfig::default(), in_pieces()] {
        let mut world = World::new(other(1), Mobike::No, config);
        let asked = world.rekey();
        let answers = world.ask(&asked, other(1));
        let mut sent = 0;
        for round in 0..60_u8 {
            let from = if round % 8 == 7 { other(3) } else { other(2) };
            sent += world.ask(&asked, from).len();
            assert!(world.credit_of(other(2)) >= 0 && world.credit_of(other(3)) >= 0, "{round}");
        }
        assert!(sent > 20 * answers.len(), "{sent}");
        assert_eq!(world.ask(&asked, other(1)), answers);
        world.answer(answers);
        world.run();
        assert_eq!((world.pair.left.children.len(), world.pair.right.children.len()), (1, 1));
    }
}

/// RFC 7296 §2.23: a request that is held back and sent from elsewhere moves the IKE SA. That proves nothing: the
/// same request there again and again has no more sent there than came, and the peer is still answered at once
/// where it has been.
#[test]
fn an_ike_sa_that_was_moved_sends_no_more_than_came() {
    let mut world = World::new(other(1), Mobike::No, EndpointConfig::default());
    let asked = world.rekey();
    for _ in 0..60 {
        world.ask(&asked, other(2));
        assert_eq!(world.peer_of_right(), other(2));
        assert!(world.credit_of(other(2)) >= 0);
    }
    let answers = world.ask(&asked, other(1));
    assert!(octets_of(&answers) > octets_of(&asked));
    world.answer(answers);
    world.run();
    assert_eq!(world.peer_of_right(), other(1));
}

/// An address is proven by the answer to what was asked there, and only by that.
#[test]
fn who_has_answered_is_answered_at_once() {
    let mut world = World::new(other(1), Mobike::No, EndpointConfig::default());
    // What was asked at the address before proves nothing when the answer comes from another.
    let child = *world.pair.right.children.keys().next().unwrap();
    world.pair.right.command(Command::RekeyChild(child), world.pair.now);
    let question: Vec<_> = world.pair.right.sent.drain(..).collect();
    world.answer(question);
    world.seen = other(2);
    world.run();
    assert_eq!(world.peer_of_right(), other(2));

    // The exchanges that followed were asked there.
    let asked = world.rekey();
    let answers = world.ask(&asked, other(2));
    assert!(octets_of(&answers) > octets_of(&asked));
    assert!(world.ask(&asked, other(1)).is_empty(), "where the peer was before");
}

/// RFC 7296 §2.23: where an IKE SA was moved to and nobody has answered, a short question is asked first, and
/// nothing else until it is answered.
#[test]
fn a_stranger_is_asked_a_short_question() {
    let mut world = World::new(other(1), Mobike::No, EndpointConfig::default());
    world.seen = other(2);
    let asked = world.rekey();
    let answers = world.ask_until_answered(asked, other(2));
    world.answer(answers);
    world.run();
    assert_eq!(world.peer_of_right(), other(2));

    let child = *world.pair.right.children.keys().next().unwrap();
    world.pair.right.command(Command::RekeyChild(child), world.pair.now);
    let mut question = Vec::new();
    for _ in 0..3 {
        question = world.pair.right.sent.drain(..).collect();
        let [(way, octets)] = &question[..] else { panic!("{} datagrams", question.len()) };
        assert_eq!(
            (way.remote.ip(), header(octets).exchange),
            (other(2), ExchangeType::INFORMATIONAL)
        );
        assert!(octets.len() < 64, "{}", octets.len());
        while world.pair.right.sent.is_empty() {
            world.pair.now = world.pair.right.endpoint.poll_timeout().unwrap();
            world.pair.right.timeout(world.pair.now);
        }
    }
    world.answer(question);
    let answer = world.asked();
    world.pair.right.sent.clear();
    let next = world.ask(&answer, other(2));
    assert!(is_create(&next[0].1));
    world.answer(next);
    world.run();
    assert_eq!((world.pair.left.children.len(), world.pair.right.children.len()), (1, 1));
}

/// CHECKLIST B07: repetitions of a first request have no more sent than came; the first answer alone may
/// be longer.
#[test]
fn a_repeated_first_request_sends_nobody_more_than_came() {
    let mut pair = Pair::default_pair();
    pair.left.initiate(pair.now);
    let (way, init) = pair.left.sent.pop_front().unwrap();
    pair.right.datagram(reversed(way), &init, pair.now);
    let (_, first) = pair.right.sent.pop_front().unwrap();
    let (mut came, mut went) = (0, 0);
    for _ in 0..20 {
        came += init.len();
        pair.right.datagram(reversed(way), &init, pair.now);
        for (_, answer) in pair.right.sent.drain(..) {
            assert_eq!(answer, first);
            went += answer.len();
        }
        assert!(went <= came, "{went} {came}");
    }
    assert!(went > 9 * first.len());
}
