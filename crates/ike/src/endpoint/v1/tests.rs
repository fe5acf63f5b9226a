//! What a peer may say that no Adit says: messages under the keys of a phase 1, made by hand.

use std::borrow::Cow;
use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, Ipv4Addr};

use adit_crypto::{Secret, SeededRng};
use adit_db::{ChildConfig, ChildSa, HostSpec, IkeVersion, ProposalSpec};
use adit_wire::Writer;
use adit_wire::doi::{Lifetimes, Phase2Transform};
use adit_wire::iana::doi::{AuthAlgorithm, Doi, EncapsulationMode, EspTransformId, ProtocolId};
use adit_wire::iana::isakmp::PayloadType;
use adit_wire::isakmp::{
    AttributeList, ChainBuilder, Flags, MessageBuilder, Notify, Payloads, Proposal, Sa, Transform,
};

use crate::command::{Command, PacketEvent, RequestId};
use crate::config::EndpointConfig;

use super::*;

const LEFT: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
const RIGHT: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 2));

struct Side {
    endpoint: Endpoint,
    rng: SeededRng,
    sent: VecDeque<(Path, Vec<u8>)>,
    children: BTreeMap<ChildSaId, ChildSa>,
    outbound: Vec<ChildSaId>,
    /// Of each child how many messages stood before it that came of the same input.
    sent_before: Vec<usize>,
    events: Vec<Event>,
}

impl Side {
    fn new(connection: Connection, seed: u64, now: Instant) -> Self {
        let mut side = Self {
            endpoint: Endpoint::new(EndpointConfig::default()),
            rng: SeededRng::new(seed),
            sent: VecDeque::new(),
            children: BTreeMap::new(),
            outbound: Vec::new(),
            sent_before: Vec::new(),
            events: Vec::new(),
        };
        side.command(Command::Load(Arc::new(connection)), now);
        side
    }

    fn command(&mut self, command: Command, now: Instant) {
        self.endpoint.handle_command(command, now, &mut self.rng);
        self.drain(now);
    }

    fn take(&mut self, path: Path, octets: &[u8], now: Instant) {
        self.endpoint.handle_datagram(path.reversed(), octets, now, &mut self.rng);
        self.drain(now);
    }

    fn timeout(&mut self, now: Instant) {
        self.endpoint.handle_timeout(now, &mut self.rng);
        self.drain(now);
    }

    fn drain(&mut self, now: Instant) {
        while let Some(output) = self.endpoint.poll_output() {
            match output {
                Output::Transmit { path, octets } => self.sent.push_back((path, octets)),
                Output::Auth(job) => {
                    let result = job.answer(&Secret::from_slice(b"a secret shared by both"));
                    self.endpoint.handle_auth(job.job, result, now, &mut self.rng);
                }
                Output::Resolve { job, .. } => {
                    self.endpoint.handle_resolved(job, vec![LEFT], now, &mut self.rng);
                }
                Output::InstallChild { sa, outbound } => {
                    self.outbound.extend(outbound.then_some(sa.id));
                    self.sent_before.push(self.sent.len());
                    self.children.insert(sa.id, *sa);
                }
                Output::ActivateOutbound(id) => self.outbound.push(id),
                Output::RemoveChild { id, .. } => assert!(self.children.remove(&id).is_some()),
                Output::Event(event) => self.events.push(event),
                Output::Keepalive(_)
                | Output::HangUp(_)
                | Output::UpdatePeer { .. }
                | Output::SkipSequence { .. }
                | Output::Ppk(_)
                | Output::Done { .. }
                | Output::Keys(_)
                | Output::Notice { .. }
                | Output::Tidings(_) => {}
            }
        }
    }

    fn core(&self) -> &Core {
        &self.endpoint.v1.iter().next().unwrap().core
    }

    /// A message of one exchange, with HASH(1) in front.
    fn sealed(&self, exchange: ExchangeType, id: u32, covered: ChainBuilder) -> (Path, Vec<u8>) {
        let core = self.core();
        let keys = core.keys.as_ref().unwrap();
        let mut iv = keys.exchange_iv(id);
        let chain = self.hashed(id, covered);
        (core.path, core.sealed(exchange, id, chain, &mut iv).unwrap())
    }

    fn hashed(&self, id: u32, covered: ChainBuilder) -> ChainBuilder {
        let hash = self.core().keys.as_ref().unwrap().hash_1(id, covered.octets());
        let mut chain = ChainBuilder::new();
        chain.push(PayloadType::HASH, |w| w.bytes(hash.as_bytes()));
        chain.append(covered).unwrap();
        chain
    }

    fn informational(&self, id: u32, covered: ChainBuilder) -> (Path, Vec<u8>) {
        self.sealed(ExchangeType::INFORMATIONAL, id, covered)
    }

    /// What we have sent in an exchange that began with this message: the types of the payloads, and what
    /// is in them.
    fn opened(&self, octets: &[u8]) -> Vec<(PayloadType, Vec<u8>)> {
        let header = Header::read(&mut Reader(octets)).unwrap();
        let core = self.core();
        let iv = core.keys.as_ref().unwrap().exchange_iv(header.message_id);
        let (plain, _) = core.opened(octets, &iv).unwrap();
        let plain = adit_wire::isakmp::without_padding(header.next_payload, &plain).unwrap();
        let payloads = Payloads::new(header.next_payload, plain);
        payloads.map(|raw| raw.unwrap()).map(|raw| (raw.kind, raw.body.to_vec())).collect()
    }
}

struct World {
    left: Side,
    right: Side,
    now: Instant,
}

impl World {
    #[expect(clippy::disallowed_methods, reason = "any instant is as good as the origin of a run")]
    fn new(change: impl Fn(&mut Connection)) -> Self {
        let now = Instant::now();
        let both = [
            (LEFT, RIGHT, "10.1.0.0/24", "10.2.0.0/24"),
            (RIGHT, LEFT, "10.2.0.0/24", "10.1.0.0/24"),
        ];
        let [left, right] = both.map(|(local, remote, local_ts, remote_ts)| {
            let mut connection = Connection::new("tunnel".parse().unwrap());
            connection.ike = IkeVersion::V1;
            connection.local_addresses = vec![HostSpec::Address(local)];
            connection.remote_addresses = vec![HostSpec::Address(remote)];
            connection.pad.remote_id = remote.to_string().parse().unwrap();
            connection.proposals = ProposalSpec::ike_list("aes256-sha256-modp2048").unwrap();
            connection.dpd_delay = Duration::ZERO;
            let mut child = ChildConfig::new("net".parse().unwrap());
            child.local_ts = vec![local_ts.parse().unwrap()];
            child.remote_ts = vec![remote_ts.parse().unwrap()];
            child.proposals = ProposalSpec::esp_list("aes128-sha256").unwrap();
            connection.children = vec![child];
            change(&mut connection);
            connection
        });
        Self { left: Side::new(left, 1, now), right: Side::new(right, 2, now), now }
    }

    fn up() -> Self {
        let mut world = Self::new(|_| ());
        world.initiate();
        world.run(|_| ());
        assert_eq!((world.left.children.len(), world.right.children.len()), (1, 1));
        world
    }

    fn initiate(&mut self) {
        let (connection, request) = ("tunnel".parse().unwrap(), RequestId(1));
        self.left.command(Command::Initiate { connection, child: None, request }, self.now);
    }

    /// Delivers everything, changed on the way.
    fn run(&mut self, change: impl Fn(&mut Vec<u8>)) {
        loop {
            let from_left = self.left.sent.pop_front();
            let (to, message) = match from_left {
                Some(message) => (&mut self.right, message),
                None => match self.right.sent.pop_front() {
                    Some(message) => (&mut self.left, message),
                    None => return,
                },
            };
            let (path, mut octets) = message;
            change(&mut octets);
            to.take(path, &octets, self.now);
        }
    }

    /// Lets the left end have what the right end would say.
    fn say(&mut self, (path, octets): (Path, Vec<u8>)) {
        self.left.take(path, &octets, self.now);
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        self.left.timeout(self.now);
        self.right.timeout(self.now);
    }
}

fn notify(kind: NotifyType, protocol: ProtocolId, spi: &[u8], data: &[u8]) -> ChainBuilder {
    let doi = Doi::IPSEC;
    ChainBuilder::new().payload(PayloadType::NOTIFICATION, |w| {
        Notify { doi, protocol, spi, kind, data }.write(w);
    })
}

/// RFC 2409 §5.5: who has the second message may send, and who has the third. Before either leaves, its sender
/// has the child in place, with the routes and policies that the answer to the first packet needs.
#[test]
fn a_child_is_in_place_before_the_message_that_lets_the_peer_send() {
    let world = World::up();
    assert_eq!((&*world.left.sent_before, &*world.right.sent_before), (&[0][..], &[0][..]));
}

/// Sets the commit bit of quick mode messages, all or those of one length's parity; nobody authenticates
/// headers.
fn commit(octets: &mut [u8]) {
    if octets[18] == ExchangeType::QUICK_MODE.0 {
        octets[19] |= Flags::COMMIT.octet();
    }
}

/// The message id of the first quick mode.
fn quick_mode_id(octets: &[u8]) -> Option<u32> {
    let header = Header::read(&mut Reader(octets)).unwrap();
    (header.exchange == ExchangeType::QUICK_MODE).then_some(header.message_id)
}

/// CHECKLIST T12: of a peer that sets the commit bit CONNECTED is awaited, by its message id or by the SPI,
/// but for no longer than a moment, or until something comes in on the child.
#[test]
fn connected_is_awaited_and_never_needed() {
    let up = || {
        let mut world = World::new(|_| ());
        world.initiate();
        let id = std::cell::Cell::new(0);
        world.run(|octets| {
            id.set(quick_mode_id(octets).unwrap_or_else(|| id.get()));
            commit(octets);
        });
        assert_eq!((world.left.children.len(), world.right.children.len()), (1, 1));
        assert!(world.left.outbound.is_empty() && world.right.outbound.is_empty());
        (world, id.get())
    };
    let (mut world, id) = up();
    let connected = notify(NotifyType::CONNECTED, ProtocolId::ESP, &[], &[]);
    world.say(world.right.informational(id, connected));
    assert_eq!(world.left.outbound.len(), 1);

    let (mut world, _) = up();
    let spi = world.right.children.values().next().unwrap().spi_in.to_octets();
    let connected = notify(NotifyType::CONNECTED, ProtocolId::ESP, &spi, &[]);
    world.say(world.right.informational(77, connected));
    assert_eq!(world.left.outbound.len(), 1);

    let (mut world, _) = up();
    let child = *world.left.children.keys().next().unwrap();
    let (event, now) = (PacketEvent::Traffic { child }, world.now);
    world.left.endpoint.handle_packet_event(event, now, &mut world.left.rng);
    world.left.drain(now);
    assert_eq!(world.left.outbound, [child]);

    let (mut world, _) = up();
    world.pass(Duration::from_secs(2));
    assert_eq!((world.left.outbound.len(), world.right.outbound.len()), (1, 1));
}

/// CHECKLIST T12: a message that is authenticated only is heard, if it is authentic.
#[test]
fn what_is_authenticated_only_is_heard() {
    let said = |forged: bool| {
        let mut world = World::up();
        let core = world.right.core();
        let cookies = [core.cookie_i.0, core.cookie_r.0].concat();
        let data = [0, 0, 0, 7];
        let alive = notify(NotifyType::R_U_THERE, ProtocolId::ISAKMP, &cookies, &data);
        let chain = world.right.hashed(99, alive);
        let (exchange, flags) = (ExchangeType::INFORMATIONAL, Flags::AUTHENTICATION_ONLY);
        let header = Header::new(core.cookie_i, core.cookie_r, exchange, flags, 99);
        let path = core.path;
        let mut octets = MessageBuilder::with_chain(header, chain).finish().unwrap();
        let last = octets.len() - 1;
        octets[last] ^= u8::from(forged);
        world.say((path, octets));
        world.left.sent.len()
    };
    assert_eq!((said(false), said(true)), (1, 0));
}

/// CHECKLIST U09: of an SPI that nobody has nothing goes; of all in one message, everything.
#[test]
fn deletes_take_what_they_name() {
    let delete = |protocol: ProtocolId, spis: &[&[u8]]| {
        let size = u8::try_from(spis[0].len()).unwrap();
        let count = u16::try_from(spis.len()).unwrap();
        ChainBuilder::new().payload(PayloadType::DELETE, |w| {
            w.u32(1);
            w.u8(protocol.0);
            w.u8(size);
            w.u16(count);
            spis.iter().for_each(|spi| w.bytes(spi));
        })
    };
    let mut world = World::up();
    let stranger: &[u8] = &[9, 9, 9, 9];
    world.say(world.right.informational(5, delete(ProtocolId::ESP, &[stranger, stranger])));
    world.say(world.right.informational(6, delete(ProtocolId::ISAKMP, &[&[7; 16]])));
    assert_eq!((world.left.children.len(), world.left.endpoint.ike_sas().count()), (1, 1));

    let spi = world.right.children.values().next().unwrap().spi_in.to_octets();
    let core = world.right.core();
    let cookies = [core.cookie_i.0, core.cookie_r.0].concat();
    let mut both = delete(ProtocolId::ISAKMP, &[&cookies]);
    both.append(delete(ProtocolId::ESP, &[stranger, &spi])).unwrap();
    world.say(world.right.informational(7, both));
    assert_eq!((world.left.children.len(), world.left.endpoint.ike_sas().count()), (0, 0));
}

/// CHECKLIST U14: notifies about what is not there change nothing, whatever they say.
#[test]
fn notifies_without_state_change_nothing() {
    let mut world = World::up();
    let before = world.left.outbound.clone();
    let kinds = [
        NotifyType::CONNECTED,
        NotifyType::RESPONDER_LIFETIME,
        NotifyType::INITIAL_CONTACT,
        NotifyType::NO_PROPOSAL_CHOSEN,
        NotifyType::INVALID_SPI,
        NotifyType(40_501),
    ];
    for (id, kind) in (100..).zip(kinds) {
        for (spi, data) in [(&[][..], &[][..]), (&[1, 2, 3, 4], &[0; 9]), (&[5; 16], &[1])] {
            world.say(world.right.informational(id, notify(kind, ProtocolId::ESP, spi, data)));
            world.run(|_| ());
        }
    }
    assert_eq!((world.left.children.len(), world.left.outbound), (1, before));
    assert_eq!(world.left.endpoint.ike_sas().count(), 1);
}

/// docs/lifetimes.md, rule 8: who is strict deletes what a peer wants to live shorter than is a life, and
/// says so; who is not keeps it.
#[test]
fn what_is_no_life_is_deleted_by_the_strict() {
    for strict in [false, true] {
        for about_child in [false, true] {
            let mut world = World::new(|connection| connection.lifetime_rule.strict = strict);
            world.initiate();
            world.run(|_| ());
            let core = world.right.core();
            let cookies = [core.cookie_i.0, core.cookie_r.0].concat();
            let spi = world.right.children.values().next().unwrap().spi_in.to_octets();
            let data = Lifetimes::of_seconds(5).responder_lifetime();
            let (protocol, spi) = match about_child {
                true => (ProtocolId::ESP, spi.to_vec()),
                false => (ProtocolId::ISAKMP, cookies),
            };
            let kind = NotifyType::RESPONDER_LIFETIME;
            let told = notify(kind, protocol, &spi, data.as_bytes());
            world.say(world.right.informational(11, told));
            assert_eq!(!world.left.sent.is_empty(), strict);
            assert_eq!(world.left.children.is_empty(), strict);
            world.run(|_| ());
            assert_eq!(world.right.children.is_empty(), strict);
        }
    }
}

/// The first message of a quick mode for these identities; `ids` may be any number.
fn request(ids: &[&str], sa: &Sa<'_>) -> ChainBuilder {
    let mut body = Vec::new();
    sa.write(&mut Writer(&mut body));
    let mut chain = ChainBuilder::new();
    chain.push(PayloadType::SA, |w| w.bytes(&body));
    chain.push(PayloadType::NONCE, |w| w.bytes(&[8; 20]));
    for id in ids {
        let address: Ipv4Addr = id.parse().unwrap();
        chain.push(PayloadType::ID, |w| {
            w.bytes(&[4, 0, 0, 0]);
            w.bytes(&address.octets());
            w.bytes(&[255, 255, 255, 0]);
        });
    }
    chain
}

fn esp(number: u8, mode: EncapsulationMode) -> Proposal<'static> {
    let transform = Phase2Transform {
        mode: Some(mode),
        auth: Some(AuthAlgorithm::HMAC_SHA2_256),
        key_bits: Some(128),
        ..Phase2Transform::new(EspTransformId::AES_CBC.0)
    };
    proposal(number, ProtocolId::ESP, &[1, 2, 3, 4], &transform)
}

fn proposal(
    number: u8,
    protocol: ProtocolId,
    spi: &[u8],
    transform: &Phase2Transform,
) -> Proposal<'static> {
    let transforms = vec![transform.to_transform(1)];
    Proposal { number, protocol, spi: Cow::Owned(spi.to_vec()), transforms }
}

/// CHECKLIST U02: without identities it is for the two ends, which is not what is configured; one alone, or
/// more than two, are no networks.
#[test]
fn identities_come_in_pairs() {
    let sa = Sa { proposals: vec![esp(1, EncapsulationMode::TUNNEL)] };
    for (ids, said) in [
        (&["10.2.0.0", "10.1.0.0"][..], 1),
        (&[], 1),
        (&["10.2.0.0"], 1),
        (&["10.2.0.0", "10.1.0.0", "10.2.0.0", "10.1.0.0"], 0),
    ] {
        let mut world = World::up();
        let count = world.left.children.len();
        world.say(world.right.sealed(ExchangeType::QUICK_MODE, 21, request(ids, &sa)));
        assert_eq!(world.left.sent.len(), said, "{ids:?}");
        let made = usize::from(ids.len() == 2);
        assert_eq!(world.left.children.len() - count, made, "{ids:?}");
        assert_eq!(world.left.endpoint.ike_sas().count(), 1);
    }
}

/// CHECKLIST U16: bundles of ESP and IPComp in the forms of other implementations; AH with ESP, and
/// compression that nobody wants, are passed over for the next proposal.
#[test]
fn bundles_of_others_are_understood() {
    let deflate = |number, spi: &[u8], mode| {
        let transform = Phase2Transform { mode, ..Phase2Transform::new(2) };
        proposal(number, ProtocolId::IPCOMP, spi, &transform)
    };
    let (tunnel, transport) = (EncapsulationMode::TUNNEL, EncapsulationMode::TRANSPORT);
    let ah = Phase2Transform {
        mode: Some(tunnel),
        auth: Some(AuthAlgorithm::HMAC_SHA2_256),
        ..Phase2Transform::new(5)
    };
    let ah = proposal(1, ProtocolId::AH, &[4, 3, 2, 1], &ah);
    let cases = [
        (true, vec![esp(1, tunnel), deflate(1, &[0x12, 0x34], Some(tunnel))], Some(true)),
        (true, vec![deflate(1, &[0, 0, 0x12, 0x34], None), esp(1, tunnel)], Some(true)),
        // FreeS/WAN says tunnel of the innermost alone.
        (true, vec![esp(1, transport), deflate(1, &[0x12, 0x34], Some(tunnel))], Some(true)),
        (true, vec![esp(1, transport), deflate(1, &[0x12, 0x34], Some(transport))], None),
        // A number that IANA has given away, and one of no meaning.
        (true, vec![esp(1, tunnel), deflate(1, &[0, 2], None)], None),
        (true, vec![esp(1, tunnel)], Some(false)),
        (false, vec![esp(1, tunnel), deflate(1, &[0x12, 0x34], None)], None),
        (false, vec![esp(1, tunnel), deflate(1, &[0x12, 0x34], None), esp(2, tunnel)], Some(false)),
        (false, vec![ah.clone(), esp(1, tunnel)], None),
        (false, vec![ah, esp(1, tunnel), esp(2, tunnel)], Some(false)),
    ];
    for (place, (compress, proposals, expected)) in cases.into_iter().enumerate() {
        let mut world = World::new(|connection| connection.children[0].compress = compress);
        world.initiate();
        world.run(|_| ());
        let before: Vec<ChildSaId> = world.left.children.keys().copied().collect();
        let covered = request(&["10.2.0.0", "10.1.0.0"], &Sa { proposals });
        world.say(world.right.sealed(ExchangeType::QUICK_MODE, 21, covered));
        let made = world.left.children.values().find(|sa| !before.contains(&sa.id));
        assert_eq!(made.map(|sa| sa.ipcomp.is_some()), expected, "{place}");
        if let Some(ipcomp) = made.and_then(|sa| sa.ipcomp) {
            assert_eq!(ipcomp.cpi_out.0, 0x1234);
        }
    }
}

/// RFC 2409 §5.6: a group with a number is answered with the same payload, once more if asked again; a
/// private one is refused, and the operator told.
#[test]
fn new_groups_are_answered() {
    let asked = |number: u16| {
        let attributes = AttributeList::new().basic(4, number).finish();
        let transform = Transform { number: 1, id: 1, attributes };
        let proposal = Proposal {
            number: 1,
            protocol: ProtocolId::ISAKMP,
            spi: Cow::Borrowed(&[]),
            transforms: vec![transform],
        };
        let mut body = Vec::new();
        Sa { proposals: vec![proposal] }.write(&mut Writer(&mut body));
        ChainBuilder::new().payload(PayloadType::SA, |w| w.bytes(&body))
    };
    let mut world = World::up();
    let request = world.right.sealed(ExchangeType::NEW_GROUP_MODE, 31, asked(14));
    for _ in 0..2 {
        world.say(request.clone());
        let (_, answer) = world.left.sent.pop_front().unwrap();
        assert_eq!(quick_mode_id(&answer), None);
        assert_eq!(answer[18], ExchangeType::NEW_GROUP_MODE.0);
        assert!(world.left.sent.is_empty());
    }
    let before = world.left.events.len();
    world.say(world.right.sealed(ExchangeType::NEW_GROUP_MODE, 32, asked(32_768)));
    let (_, refusal) = world.left.sent.pop_front().unwrap();
    let payloads = world.right.opened(&refusal);
    let said: Vec<_> = payloads.iter().map(|(kind, _)| *kind).collect();
    assert_eq!(said, [PayloadType::HASH, PayloadType::NOTIFICATION]);
    let kind = NotifyType::ATTRIBUTES_NOT_SUPPORTED.0.to_be_bytes();
    assert_eq!(payloads[1].1[6..8], kind);
    assert!(world.left.events.len() >= before);
}
