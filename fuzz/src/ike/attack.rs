//! What whoever holds the wire can do, with and without keys.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use adit_db::{ChildName, ChildSaId, IkeSaId};
use adit_ike::{
    AuthResult, ChildSaState, Command, IkeSaState, PacketEvent, Path, Proof as AuthProof, RequestId,
};
use adit_wire::iana::isakmp::ExchangeType as IsakmpExchange;
use adit_wire::iana::{ExchangeType, PayloadType};
use adit_wire::ikev2::{Flags, Header, IkeSpi, MessageBuilder, Payloads, RawPayload};
use adit_wire::isakmp::Flags as IsakmpFlags;
use adit_wire::{Reader, Writer, iana, isakmp};

use super::chain::{Writing, choose};
use super::host::Host;
use super::isakmp::Proof;
use super::isakmp_chain::{IsakmpWriting, choose_isakmp};
use super::seal::Session;
use super::setup::STRANGER;
use super::wire::{Letter, Side, WIRE_MAX, World};
use crate::{Choices, policy};

/// What nobody without keys may change about an IKE SA.
type Snapshot = Vec<(IkeSaId, IkeSaState, SocketAddr, Vec<(ChildSaId, ChildSaState)>)>;

impl World {
    /// Whoever holds the wire does one thing to the victim.
    pub fn attack(&mut self, victim: Side, choices: &mut Choices<'_>) {
        let kind = choices.u8();
        match kind & 15 {
            0..3 => self.run(1 + usize::from(kind >> 4)),
            3 => self.deliver_changed(kind & 16 != 0, choices),
            4 => self.deliver_resealed(choices),
            5 => self.deliver_any(kind & 16 != 0, choices),
            6 => drop(self.wire.pop_front()),
            7 => {
                let octets = choices.long().to_vec();
                self.inject(victim, octets, choices);
            }
            8 => self.inject_plausible(victim, choices),
            9 => self.deliver_init_changed(choices),
            10 => self.inject_sealed(victim, choices),
            11 => self.pass(Duration::from_millis(u64::from(choices.u16()) << (kind >> 4 & 3))),
            12 => self.answer(victim, kind, choices),
            13 => self.order(victim, choices),
            14 => self.order(victim.other(), choices),
            _ => self.flood(victim, kind >> 4, choices),
        }
    }

    /// The next letter arrives changed; `before` arrives before the true one, else instead of it.
    fn deliver_changed(&mut self, before: bool, choices: &mut Choices<'_>) {
        let letter = if before { self.wire.front().cloned() } else { self.wire.pop_front() };
        let Some(mut letter) = letter else { return };
        change(&mut letter.octets, choices);
        self.deliver_forged(&letter);
    }

    /// Somebody without keys made this letter: nothing that is established may change.
    fn deliver_forged(&mut self, letter: &Letter) {
        if self.is_genuine(&letter.octets) {
            return drop(self.deliver(letter));
        }
        let before = self.snapshot(letter.to);
        let proven = is_proven(self.host(letter.to), &letter.octets);
        let held = self.host(letter.to).outbox.len();
        assert_eq!(held, 0, "all is collected");
        let answers = self.host(letter.to).datagram(letter.path, &letter.octets);
        if !proven {
            check_answers(&letter.octets, self.host(letter.to), &answers);
        }
        assert_eq!(self.snapshot(letter.to), before, "a forgery had an effect");
        self.collect();
    }

    /// The next letter arrives with other contents, which only its sender could have written.
    fn deliver_resealed(&mut self, choices: &mut Choices<'_>) {
        let Some(letter) = self.wire.pop_front() else { return };
        let changed = self.session_of(&letter.octets).and_then(|session| {
            let mut opened = session.open(&letter.octets)?;
            let header = opened.header;
            change(&mut opened.chain.octets, choices);
            let chain = &opened.chain;
            Some(session.seal(header.exchange, header.flags, header.message_id, chain, None))
        });
        match changed.and_then(|mut datagrams| datagrams.pop()) {
            Some(octets) => self.deliver(&Letter { octets, ..letter }),
            None => self.deliver(&letter),
        };
    }

    /// A letter out of turn, perhaps one that arrives again later.
    fn deliver_any(&mut self, again: bool, choices: &mut Choices<'_>) {
        let index = choices.below(WIRE_MAX);
        let letter = if again { self.wire.get(index).cloned() } else { self.wire.remove(index) };
        if let Some(letter) = letter {
            self.deliver(&letter);
        }
    }

    /// The keys of a message's IKE SA, whoever has them.
    fn session_of(&self, octets: &[u8]) -> Option<Session> {
        let header = Header::read(&mut Reader(octets)).ok()?;
        let keys = self.left.keys.find(&header).or_else(|| self.right.keys.find(&header));
        keys.cloned()
    }

    /// Octets that nobody sent.
    fn inject(&mut self, victim: Side, octets: Vec<u8>, choices: &mut Choices<'_>) {
        let path = path(victim, choices);
        self.deliver_forged(&Letter { to: victim, path, octets });
    }

    /// A header that fits an IKE SA of the victim, and anything behind it.
    fn inject_plausible(&mut self, victim: Side, choices: &mut Choices<'_>) {
        let infos: Vec<_> = self.host(victim).endpoint().ike_sas().collect();
        let mut spis = (IkeSpi(choices.array()), IkeSpi::ZERO);
        if let Some(info) = infos.get(choices.below(4)) {
            spis = (info.spi_i, info.spi_r);
        }
        let flags = Flags::from_octet(choices.u8());
        let exchange = ExchangeType(34 + choices.u8() % 12);
        let mut header = Header::new(spis.0, spis.1, exchange, flags, choices.u8().into());
        header.next_payload = PayloadType(choices.u8());
        let body = choices.long();
        header.length = u32::try_from(Header::LEN + body.len()).expect("short");
        let mut octets = Vec::new();
        header.write(&mut Writer(&mut octets));
        octets.extend(body);
        self.inject(victim, octets, choices);
    }

    /// An unprotected message arrives with payloads lost, doubled, replaced or added.
    fn deliver_init_changed(&mut self, choices: &mut Choices<'_>) {
        let Some(letter) = self.wire.pop_front() else { return };
        if let Some(octets) = opening_of_v1_changed(&letter.octets, choices) {
            return self.deliver_forged(&Letter { octets, ..letter });
        }
        let (header, body) = letter.octets.split_at(Header::LEN.min(letter.octets.len()));
        let Ok(header) = Header::read(&mut Reader(&[header, body].concat())) else { return };
        if header.exchange != ExchangeType::IKE_SA_INIT {
            return drop(self.deliver(&letter));
        }
        let mut builder = MessageBuilder::new(header);
        for raw in Payloads::new(header.next_payload, body).flatten() {
            match choices.u8() {
                0..200 => builder.put_raw(&raw),
                200..210 => {}
                210..220 => (0..2).for_each(|_| builder.put_raw(&raw)),
                220..240 => {
                    let mut body = raw.body.to_vec();
                    change(&mut body, choices);
                    builder.put_raw(&RawPayload { body: &body, ..raw });
                }
                _ => {
                    let kind = PayloadType(choices.u8());
                    builder.put_raw(&RawPayload { kind, body: choices.short(), ..raw });
                }
            }
        }
        if let Ok(octets) = builder.finish() {
            self.deliver_forged(&Letter { octets, ..letter });
        }
    }

    /// A message that only the peer could have sealed.
    fn inject_sealed(&mut self, victim: Side, choices: &mut Choices<'_>) {
        if self.inject_isakmp(victim, choices) {
            return;
        }
        let sessions = self.host(victim).keys.sessions().to_vec();
        let Some(newest) = sessions.len().checked_sub(1) else { return };
        let session = &sessions[newest - choices.below(sessions.len())];
        let path = path(victim, choices);
        self.seal_and_deliver(victim, session, path, choices);
    }

    /// Writes a message with the peer's keys and lets it arrive.
    pub fn seal_and_deliver(
        &mut self,
        victim: Side,
        session: &Session,
        path: Path,
        choices: &mut Choices<'_>,
    ) {
        let how = choices.u8();
        let is_request = how & 1 == 0;
        let (spi_i, spi_r) = session.spis();
        let host = self.host(victim);
        let info = host.endpoint().ike_sas().find(|i| (i.spi_i, i.spi_r) == (spi_i, spi_r));
        let we_initiated = info.map_or(how & 2 == 0, |info| !info.initiator);
        let spis = host.installed().values().map(|child| child.spi_out).collect();
        let connection = std::sync::Arc::clone(host.connection());
        let writing = Writing { connection: &connection, spis, is_request };
        let (mut exchange, chain) = choose(&writing, choices);
        let track = match is_request {
            true => self.arrived.of(session, we_initiated),
            false => self.sent.of(session, !we_initiated),
        };
        let mut id = if is_request { track.next } else { track.next.wrapping_sub(1) };
        match how >> 2 & 15 {
            0 => id = choices.u32(),
            1 => id = id.wrapping_sub(1),
            2 => {}
            _ if !is_request => exchange = track.exchange,
            _ => {}
        }
        let fragments = (how & 64 != 0).then(|| 1 + usize::from(choices.u8()));
        let flags = Flags::new(we_initiated, !is_request);
        let datagrams = session.seal(exchange, flags, id, &chain, fragments);
        for octets in datagrams {
            self.deliver(&Letter { to: victim, path, octets });
        }
    }

    /// The same in IKEv1; whether there is a session to do it with.
    pub fn inject_isakmp(&mut self, victim: Side, choices: &mut Choices<'_>) -> bool {
        let Some(newest) = self.isakmp.len().checked_sub(1) else { return false };
        let how = choices.u8();
        let place = newest - usize::from(how >> 6) % self.isakmp.len();
        let host = self.host(victim);
        let spis = host.installed().values().map(|child| child.spi_out).collect();
        let networks = networks_of(host.connection());
        let info = host.endpoint().ike_sas().last();
        let known = info.map(|info| Path::udp(info.local, info.remote));
        let path = match how & 32 {
            0 => known.unwrap_or_else(|| World::first_path(victim)),
            _ => path(victim, choices),
        };
        let session = &mut self.isakmp[place];
        let writing = IsakmpWriting { cookies: session.cookies(), spis, networks };
        let (exchange, chain) = choose_isakmp(&writing, choices);
        let ids: Vec<u32> = session.exchanges().map(|(id, _)| id).collect();
        let id = match how & 3 {
            // One that is under way, the newest of a few.
            0 if !ids.is_empty() => ids[choices.below(ids.len())],
            1 => 0,
            _ => choices.u32() | 1,
        };
        let proof = match how >> 2 & 7 {
            0 => Proof::Wrong,
            1 => Proof::None,
            2 => Proof::First,
            _ => Proof::Next,
        };
        let more = if exchange == IsakmpExchange::QUICK_MODE {
            IsakmpFlags::COMMIT
        } else {
            IsakmpFlags::NONE
        };
        let flags =
            if id & 8 == 0 { IsakmpFlags::ENCRYPTION } else { IsakmpFlags::ENCRYPTION | more };
        if let Some(octets) = session.seal(exchange, flags, id, proof, chain) {
            self.deliver(&Letter { to: victim, path, octets });
        }
        true
    }

    /// The program answers a job late, or wrongly.
    fn answer(&mut self, victim: Side, kind: u8, choices: &mut Choices<'_>) {
        let host = self.host(victim);
        match kind >> 4 {
            0 => host.holds_jobs = true,
            1 => host.release_jobs(),
            2 => host.answer(Some(AuthResult::Refused)),
            3 => host.answer(Some(AuthResult::NoSecret)),
            4 => host
                .answer(Some(AuthResult::Signed(AuthProof::shared_key(choices.short().to_vec())))),
            _ => host.answer(None),
        }
        self.collect();
    }

    /// The operator or the packet engine wants something.
    pub fn order(&mut self, side: Side, choices: &mut Choices<'_>) {
        let host = self.host(side);
        let infos: Vec<_> = host.endpoint().ike_sas().collect();
        let ikes: Vec<IkeSaId> = infos.iter().map(|info| info.id).collect();
        let children = infos.iter().flat_map(|info| &info.children);
        let children: Vec<ChildSaId> = children.map(|child| child.id).collect();
        let kind = choices.u8();
        let ike = ikes.get(usize::from(choices.u8()) % ikes.len().max(1)).copied();
        let child = children.get(usize::from(choices.u8()) % children.len().max(1)).copied();
        let connection = host.connection().name.clone();
        let names: Vec<ChildName> =
            host.connection().children.iter().map(|child| child.name.clone()).collect();
        let name = names[usize::from(kind >> 5) % names.len()].clone();
        let request = host.request();
        let known = (ike.unwrap_or(IkeSaId(77)), child.unwrap_or(ChildSaId(77)));
        match kind & 15 {
            0 => host.command(Command::RekeyIke(known.0)),
            1 => host.command(Command::RekeyChild(known.1)),
            2 => host.command(Command::TerminateIke { id: known.0, request }),
            3 => host.command(Command::TerminateChild { id: known.1, request }),
            4 => initiate(host, connection, Some(name), request),
            5 => initiate(host, connection, None, request),
            6 => host.command(Command::Down { connection, request }),
            7 => host.reload(choices),
            8 => host.packet_event(PacketEvent::SoftExpire { child: known.1 }),
            9 => host.packet_event(PacketEvent::HardExpire { child: known.1 }),
            10 => {
                let remote = path(side, choices).remote;
                host.packet_event(PacketEvent::PeerMoved { child: known.1, remote });
            }
            11 => host.packet_event(PacketEvent::Traffic { child: known.1 }),
            12 => {
                let flow = policy::flow(choices);
                host.packet_event(PacketEvent::Acquire { connection, child: name, flow });
            }
            14 => host.packet_event(PacketEvent::Used { child: known.1 }),
            13 => host.unreachable(path(side, choices)),
            _ => {}
        }
        self.collect();
    }

    /// The same opening again and again under other SPIs, from ports or hosts of its own.
    fn flood(&mut self, victim: Side, count: u8, choices: &mut Choices<'_>) {
        let opening = self.wire.iter().find(|letter| {
            let header = Header::read(&mut Reader(&letter.octets));
            letter.to == victim && header.is_ok_and(|header| header.spi_r.is_zero())
        });
        let Some(mut letter) = opening.cloned() else { return };
        let from_everywhere = choices.flag();
        for number in 0..=count {
            letter.octets[1] = letter.octets[1].wrapping_add(1);
            if from_everywhere {
                letter.path.remote.set_ip([10, 0, 0, number].into());
            }
            self.deliver_forged(&letter.clone());
        }
    }

    fn snapshot(&mut self, side: Side) -> Snapshot {
        let infos = self.host(side).endpoint().ike_sas();
        infos
            .filter(|info| info.state != IkeSaState::Connecting)
            .map(|info| {
                let children = info.children.iter().map(|child| (child.id, child.state));
                (info.id, info.state, info.remote, children.collect())
            })
            .collect()
    }
}

/// An unprotected message of IKEv1 with payloads lost, doubled, replaced or added; none of others.
fn opening_of_v1_changed(octets: &[u8], choices: &mut Choices<'_>) -> Option<Vec<u8>> {
    let header = isakmp::Header::read(&mut Reader(octets)).ok()?;
    if header.flags.is_encrypted() {
        return None;
    }
    let mut builder = isakmp::MessageBuilder::new(header);
    let payloads = isakmp::Payloads::new(header.next_payload, octets.get(Header::LEN..)?);
    for raw in payloads.flatten() {
        match choices.u8() {
            0..200 => builder.put_raw(&raw),
            200..210 => {}
            210..220 => (0..2).for_each(|_| builder.put_raw(&raw)),
            220..240 => {
                let mut body = raw.body.to_vec();
                change(&mut body, choices);
                builder.push(raw.kind, |w| w.bytes(&body));
            }
            _ => {
                let kind = iana::isakmp::PayloadType(choices.u8());
                builder.push(kind, |w| w.bytes(choices.short()));
            }
        }
    }
    builder.finish().ok()
}

/// What a child of this host is for, the peer's network first.
fn networks_of(connection: &adit_db::Connection) -> [(IpAddr, u8); 2] {
    let us = connection.children.first().and_then(|child| child.local_ts.first());
    let is_left = us.is_some_and(|one| one.to_string().starts_with("10.1."));
    let network = |third: u8| (IpAddr::from([10, third, 0, 0]), 16);
    if is_left { [network(2), network(1)] } else { [network(1), network(2)] }
}

fn initiate(
    host: &mut Host,
    connection: adit_db::ConnectionName,
    child: Option<ChildName>,
    request: RequestId,
) {
    host.command(Command::Initiate { connection, child, request });
}

/// Whether a datagram names an IKE SA of the host, so that some exchange has gone before.
fn is_proven(host: &Host, octets: &[u8]) -> bool {
    let Ok(header) = Header::read(&mut Reader(octets)) else { return false };
    let mut infos = host.endpoint().ike_sas();
    infos.any(|info| info.spi_i == header.spi_i || info.spi_r == header.spi_r)
}

/// A host must not send more to an address that nobody has proven than came from there. The
/// answer that accepts an opening may be somewhat longer.
fn check_answers(request: &[u8], host: &Host, answers: &[usize]) {
    let sent = host.outbox.back().map(|(_, octets)| octets.as_slice()).unwrap_or_default();
    let accepted = Header::read(&mut Reader(sent))
        .is_ok_and(|header| header.next_payload == PayloadType::SA && header.flags.is_response());
    let more = if accepted { ACCEPTING_OCTETS_MORE } else { 0 };
    let total: usize = answers.iter().sum();
    assert!(answers.len() <= 1, "one datagram has {} answers", answers.len());
    assert!(total <= request.len() + more, "{} octets are answered with {total}", request.len());
}

/// Changes a few octets; sometimes cuts the end off or adds to it.
fn change(octets: &mut Vec<u8>, choices: &mut Choices<'_>) {
    let how = choices.u8();
    for _ in 0..=how & 3 {
        let at = usize::from(choices.u16());
        let flip = choices.u8().max(1);
        if let Some(len) = std::num::NonZeroUsize::new(octets.len()) {
            octets[at % len] ^= flip;
        }
    }
    match how >> 2 & 7 {
        0 => octets.truncate(octets.len().saturating_sub(1 + usize::from(choices.u8()))),
        1 => octets.extend(choices.short()),
        _ => {}
    }
}

/// From the peer or a stranger, to either port.
fn path(victim: Side, choices: &mut Choices<'_>) -> Path {
    let how = choices.u8();
    let port = if how & 1 == 0 { 500 } else { 4500 };
    let remote = if how & 2 == 0 { victim.other().address() } else { STRANGER };
    let remote_port = match how >> 2 & 3 {
        0 | 1 => port,
        2 => choices.u16(),
        _ => 500,
    };
    Path::udp(SocketAddr::new(victim.address(), port), SocketAddr::new(remote, remote_port))
}

/// A nonce of 32 octets where 16 came, two NAT hashes, a vendor id.
const ACCEPTING_OCTETS_MORE: usize = 200;
