//! The near end's engine with what is installed in it, and the far end's.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use adit_dataplane::{
    DropReason, Inbound, InboundCommand, OpenVerdict, Outbound, OutboundCommand, OutboundSa,
    Verdict, packet_buffer, split,
};
use adit_db::{
    Action, ChildSaId, Encapsulation, Hosts, Mode, PolicyId, Rank, Sides, Spd, SpdEntry,
};
use adit_wire::PacketBuf;
use adit_wire::esp::Spi;
use adit_wire::iana::IpProtocol;
use adit_wire::ikev2::TrafficSelector;
use adit_wire::ip::{FragmentParts, IpPacket, head_whole_packet};

use super::draw::{self, Dice};
use super::reference::{self, Flow, Reference};

/// Something that left the near end.
pub(super) enum Left {
    /// In clear.
    Clear(Vec<u8>),
    /// An ESP packet, with or without its IP header as its `meta` says.
    Esp(PacketBuf),
}

impl Left {
    pub(super) fn octets(&self) -> &[u8] {
        match self {
            Self::Clear(octets) => octets,
            Self::Esp(packet) => packet.data(),
        }
    }
}

/// What the other end made of an ESP packet.
pub(super) struct Opened {
    pub(super) octets: Vec<u8>,
    pub(super) child: ChildSaId,
    pub(super) policy: PolicyId,
    pub(super) sides: Sides,
    mode: Mode,
}

impl Opened {
    /// Whether it is this packet. The header of transport mode may be written anew.
    pub(super) fn is(&self, sent: &[u8]) -> bool {
        if self.mode == Mode::Tunnel {
            return self.octets == sent;
        }
        let view = |octets| {
            IpPacket::read(octets).ok().map(|packet| (packet.flow_key(), packet.payload()))
        };
        view(sent).is_some() && view(&self.octets) == view(sent)
    }
}

/// One child SA.
struct Child {
    policy: PolicyId,
    sides: Sides,
    /// The near end's and the far end's address, which in transport mode are those of packets.
    hosts: Hosts,
    mode: Mode,
    spi_in: Spi,
    spi_out: Spi,
    encap: Encapsulation,
    /// Whether the near end still has it.
    installed: bool,
    /// An entry of its own among the policies.
    rank: Option<Rank>,
}

pub(super) struct Gateway {
    outbound: Outbound,
    inbound: Inbound,
    far_inbound: Inbound,
    far_outbound: Outbound,
    /// What is configured.
    fixed: Vec<(Rank, SpdEntry)>,
    /// What the near end was told last.
    pub(super) policies: Reference,
    spd: Spd,
    children: BTreeMap<ChildSaId, Child>,
    now: Instant,
    /// Where packets are worked on.
    buffer: Vec<PacketBuf>,
    /// ESP fragments on their way.
    fragments: Vec<u8>,
    verdicts: Vec<Verdict>,
    open_verdicts: Vec<OpenVerdict>,
}

/// Ranks of configured entries are multiples, so that those of SAs find room between.
const RANKS: u64 = 1_000;

impl Gateway {
    pub(super) fn new(dice: &mut Dice, start: Instant) -> Self {
        let all = || vec![TrafficSelector::ANY_V4, TrafficSelector::ANY_V6];
        let entry = SpdEntry { local: all(), remote: all(), action: Action::Protect(FAR_POLICY) };
        let spd = Spd::new(vec![entry]).expect("one entry");
        let mut far_outbound = Outbound::new();
        far_outbound.handle_command(OutboundCommand::SetPolicies(Arc::new(spd)), start);
        let mut gateway = Self {
            outbound: Outbound::new(),
            inbound: Inbound::new(),
            far_inbound: Inbound::new(),
            far_outbound,
            fixed: Vec::new(),
            policies: Reference::default(),
            spd: Spd::default(),
            children: BTreeMap::new(),
            now: start,
            buffer: vec![packet_buffer()],
            fragments: Vec::new(),
            verdicts: Vec::new(),
            open_verdicts: Vec::new(),
        };
        gateway.set_policies(dice);
        gateway
    }

    pub(super) fn sas_installed(&self) -> u64 {
        self.children.len() as u64
    }

    /// Configures other policies.
    pub(super) fn set_policies(&mut self, dice: &mut Dice) -> String {
        let entries = draw::entries(dice);
        let fixed: Vec<_> = (1..).map(|place| Rank(RANKS * place)).zip(entries).collect();
        let Ok(spd) = Spd::ranked(fixed.clone()) else {
            return "policies that overlap too much".to_owned();
        };
        (self.fixed, self.spd) = (fixed, spd);
        self.policies = Reference(self.fixed.clone());
        let last_discard = self.last_discard();
        for child in self.children.values_mut() {
            child.rank = child.rank.filter(|rank| *rank > last_discard);
        }
        let own: Vec<_> = self
            .children
            .values()
            .filter_map(|child| Some((child.rank?, child.policy, child.sides.clone())))
            .collect();
        for (rank, policy, sides) in own {
            self.insert(rank, policy, sides);
        }
        self.tell_policies();
        let text = self.fixed.iter().map(|(rank, entry)| format!("\n  {} {entry:?}", rank.0));
        format!("policies{}", text.collect::<String>())
    }

    /// The place of the last entry that discards; 0 if none does.
    fn last_discard(&self) -> Rank {
        let discards = self.fixed.iter().filter(|(_, entry)| entry.action == Action::Discard);
        discards.map(|(rank, _)| *rank).max().unwrap_or_default()
    }

    fn insert(&mut self, rank: Rank, policy: PolicyId, sides: Sides) {
        self.spd.insert(rank, policy, &sides);
        let Sides { local, remote } = sides;
        self.policies.insert(rank, SpdEntry { local, remote, action: Action::Protect(policy) });
    }

    fn tell_policies(&mut self) {
        let spd = Arc::new(self.spd.clone());
        let command = OutboundCommand::SetPolicies(Arc::clone(&spd));
        self.outbound.handle_command(command, self.now);
        self.inbound.handle_command(InboundCommand::SetPolicies(spd));
    }

    /// Both ends agree on a new SA.
    pub(super) fn install(&mut self, dice: &mut Dice) -> String {
        let number = u32::try_from(self.children.len()).unwrap_or(u32::MAX) + 1;
        let id = ChildSaId(number);
        let (sa, policy) = draw::child_sa(dice, id);
        let far = draw::mirrored(&sa);
        let sides = Sides { local: sa.local_ts.clone(), remote: sa.remote_ts.clone() };
        // As in aditd, no entry of an SA comes before one that discards.
        let first = self.last_discard().0 / RANKS;
        let gap = first + dice.below(self.fixed.len() as u64 + 1 - first);
        let rank = dice.percent(30).then(|| Rank(RANKS * gap + u64::from(number)));
        let hosts = Hosts { local: sa.encap.local.ip(), remote: sa.encap.remote.ip() };
        let child = Child {
            policy,
            sides: sides.clone(),
            hosts,
            mode: sa.mode,
            spi_in: sa.spi_in,
            spi_out: sa.spi_out,
            encap: sa.encap,
            installed: true,
            rank,
        };
        self.children.insert(id, child);
        // The policies first: an SA that is there before them carries nothing.
        if let Some(rank) = rank {
            self.insert(rank, policy, sides);
            self.tell_policies();
        }
        let (inbound, outbound) = split(&sa, policy, self.now).expect("keys of the cipher");
        let outbound = nearly_used_up(outbound, sa.esn, dice);
        let active = dice.percent(70);
        self.inbound.handle_command(InboundCommand::Install(Box::new(inbound)));
        let command = OutboundCommand::Install { sa: Box::new(outbound), active };
        let (far_in, far_out) = split(&far, FAR_POLICY, self.now).expect("keys of the cipher");
        self.far_inbound.handle_command(InboundCommand::Install(Box::new(far_in)));
        let sa_of_far_end = OutboundCommand::Install { sa: Box::new(far_out), active: false };
        self.far_outbound.handle_command(sa_of_far_end, self.now);
        self.outbound.handle_command(command, self.now);
        format!(
            "child SA {id} of {policy:?}, {:?}, active {active}, own entry {rank:?}, {:?}",
            sa.mode, sa.local_ts
        )
    }

    /// The near end uses an SA first.
    pub(super) fn activate(&mut self, dice: &mut Dice) -> String {
        let Some(child) = self.any_child(dice) else { return "no child SA".to_owned() };
        self.outbound.handle_command(OutboundCommand::Activate { child }, self.now);
        format!("child SA {child} is active")
    }

    /// The near end loses an SA.
    pub(super) fn remove(&mut self, dice: &mut Dice) -> String {
        let Some(id) = self.any_child(dice) else { return "no child SA".to_owned() };
        let policies_first = dice.percent(50);
        if policies_first {
            self.remove_entry(id);
        }
        self.outbound.handle_command(OutboundCommand::Remove { child: id }, self.now);
        self.inbound.handle_command(InboundCommand::Remove { child: id });
        self.remove_entry(id);
        if let Some(child) = self.children.get_mut(&id) {
            child.installed = false;
        }
        format!("child SA {id} goes")
    }

    fn remove_entry(&mut self, id: ChildSaId) {
        let Some(child) = self.children.get_mut(&id) else { return };
        let Some(rank) = child.rank.take() else { return };
        self.spd.remove(rank, &child.sides);
        self.policies.remove(rank);
        self.tell_policies();
    }

    /// The far end of an SA has another address.
    pub(super) fn move_peer(&mut self, dice: &mut Dice) -> String {
        let Some(id) = self.any_child(dice) else { return "no child SA".to_owned() };
        let Some(child) = self.children.get_mut(&id) else { return String::new() };
        if child.mode == Mode::Tunnel && child.installed {
            child.encap.remote = SocketAddr::new([203, 0, 113, 9].into(), 1_024);
            let encap = child.encap;
            let command = OutboundCommand::UpdatePeer { child: id, encap };
            self.outbound.handle_command(command, self.now);
            self.inbound.handle_command(InboundCommand::UpdatePeer { child: id, encap });
        }
        format!("child SA {id} has moved")
    }

    /// The engine of the near end is replaced by a new one, which is told its policies before it
    /// gets any SA. Between, it may see packets: they come back as if the time had passed.
    pub(super) fn crash(&mut self, dice: &mut Dice) -> String {
        (self.outbound, self.inbound) = (Outbound::new(), Inbound::new());
        let ids: Vec<ChildSaId> = self.children.keys().copied().collect();
        for id in ids {
            if let Some(child) = self.children.get_mut(&id) {
                child.installed = false;
            }
            // What was negotiated is forgotten with the SAs, sooner or later.
            if dice.percent(80) {
                self.remove_entry(id);
            }
        }
        if dice.percent(20) {
            // It was off for long enough that somebody changed the configuration.
            self.set_policies(dice);
        }
        self.tell_policies();
        "crash".to_owned()
    }

    pub(super) fn let_pass(&mut self, time: Duration) {
        self.now += time;
        if self.outbound.poll_timeout().is_some_and(|at| at <= self.now) {
            self.outbound.handle_timeout(self.now);
        }
    }

    /// Any SA there ever was, more often one that is there.
    pub(super) fn any_child(&self, dice: &mut Dice) -> Option<ChildSaId> {
        let only_installed = dice.percent(90);
        let ids = self.children.iter().filter(|(_, child)| child.installed || !only_installed);
        let ids: Vec<ChildSaId> = ids.map(|(id, _)| *id).collect();
        (!ids.is_empty()).then(|| dice.pick(&ids))
    }

    /// Somebody behind the near end sends these octets.
    pub(super) fn seal(&mut self, octets: &[u8]) -> (Verdict, Vec<Left>) {
        let packet = fill(&mut self.buffer, octets);
        self.outbound.seal_batch(packet, &mut self.verdicts, self.now);
        let verdict = self.verdicts.first().copied().unwrap_or(Verdict::Held);
        let mut left = Vec::new();
        if let (Verdict::Send | Verdict::Bypass, Some(packet)) = (verdict, packet.first()) {
            left.push(classify(copy_of(packet), verdict == Verdict::Bypass));
        }
        left.extend(self.leaving());
        (verdict, left)
    }

    /// What leaves the near end besides.
    pub(super) fn leaving(&mut self) -> Vec<Left> {
        while self.outbound.poll_event().is_some() {}
        while self.inbound.poll_event().is_some() {}
        let polled = std::iter::from_fn(|| self.outbound.poll_packet());
        polled.map(|packet| classify(packet, false)).collect()
    }

    /// What the far end makes of a packet; `None` if it waits for the rest of it, or means nothing.
    pub(super) fn open_at_far_end(&mut self, packet: PacketBuf) -> Result<Option<Opened>, String> {
        let Some(arrived) = self.off_the_wire(packet) else { return Ok(None) };
        let spi = spi_of(&arrived);
        let child = self.children.iter().find(|(_, child)| Some(child.spi_out) == spi);
        let (id, child) = child.ok_or_else(|| format!("no SA has {spi:?}"))?;
        let sent_to = arrived.meta.local;
        if child.encap.remote != sent_to {
            return Err(format!("child SA {id} sends to {sent_to}"));
        }
        let opened = |octets: Vec<u8>| Opened {
            octets,
            child: *id,
            policy: child.policy,
            sides: child.sides.clone(),
            mode: child.mode,
        };
        let mut packets = [arrived];
        self.far_inbound.open_batch(&mut packets, &mut self.open_verdicts, self.now);
        while self.far_inbound.poll_event().is_some() {}
        match (self.open_verdicts.as_slice(), &packets) {
            ([OpenVerdict::Deliver], [packet]) => Ok(Some(opened(packet.data().to_vec()))),
            ([OpenVerdict::Drop(DropReason::Dummy)], _) => Ok(None),
            (other, _) => Err(format!("child SA {id}: {other:?}")),
        }
    }

    /// The far end sends these octets through an SA, forged or not, and the near end opens them.
    /// The outer `None` says that nothing was sent, the inner one that nothing came in.
    pub(super) fn receive(
        &mut self,
        child: ChildSaId,
        octets: &[u8],
        forged: bool,
    ) -> Option<Option<Opened>> {
        self.far_outbound.handle_command(OutboundCommand::Activate { child }, self.now);
        // What waited there for an SA is lost on the way.
        while self.far_outbound.poll_packet().is_some() {}
        let packet = fill(&mut self.buffer, octets);
        self.far_outbound.seal_batch(packet, &mut self.verdicts, self.now);
        while self.far_outbound.poll_event().is_some() {}
        let verdict = self.verdicts.first().copied();
        let mut sent: Vec<PacketBuf> = match (verdict, packet.first()) {
            (Some(Verdict::Send), Some(packet)) => vec![copy_of(packet)],
            _ => Vec::new(),
        };
        sent.extend(std::iter::from_fn(|| self.far_outbound.poll_packet()));
        self.fragments.clear();
        let mut arrived = None;
        for packet in sent {
            arrived = self.off_the_wire(packet).or(arrived);
        }
        let mut packets = [arrived?];
        let spi = packets.first().and_then(spi_of);
        // The hosts of transport mode may have let another SA have it.
        let (child, known) = self.children.iter().find(|(_, child)| Some(child.spi_in) == spi)?;
        if let ([packet], true) = (&mut packets, forged) {
            let at = packet.len() / 2;
            *packet.data_mut().get_mut(at)? ^= 1;
        }
        self.inbound.open_batch(&mut packets, &mut self.open_verdicts, self.now);
        while self.inbound.poll_event().is_some() {}
        let came = self.open_verdicts.first() == Some(&OpenVerdict::Deliver);
        let [packet] = packets;
        Some(came.then(|| Opened {
            octets: packet.data().to_vec(),
            child: *child,
            policy: known.policy,
            sides: known.sides.clone(),
            mode: known.mode,
        }))
    }

    /// Why a packet must not have come in through an SA.
    pub(super) fn reason_against(
        &self,
        child: ChildSaId,
        flow: &Flow,
        forged: bool,
    ) -> Option<&'static str> {
        let Some(child) = self.children.get(&child).filter(|child| child.installed) else {
            return Some("there is no such SA");
        };
        let hosts = (child.hosts.remote, child.hosts.local);
        if forged {
            Some("it is forged")
        } else if !reference::lets_in(&child.sides, flow) {
            Some("the SA does not let it in")
        } else if child.mode == Mode::Transport && hosts != (flow.src, flow.dst) {
            Some("it is not of the two hosts")
        } else if self.policies.inbound(flow) == Some(Action::Discard) {
            Some("a policy discards it")
        } else {
            None
        }
    }

    /// What the network makes of a packet: it joins fragments, takes IP headers off, and the
    /// sender's end is the receiver's other one. `None` until all fragments are there.
    fn off_the_wire(&mut self, packet: PacketBuf) -> Option<PacketBuf> {
        let meta = packet.meta;
        let mut octets = packet.data();
        if meta.whole
            && let Ok(read) = IpPacket::read(octets)
            && let Some(FragmentParts { header, data, info, .. }) = read.fragment_parts()
        {
            if info.offset == 0 {
                self.fragments = whole_header(header);
            }
            self.fragments.extend_from_slice(data);
            if info.more {
                return None;
            }
            let header_len = header.len().min(self.fragments.len());
            head_whole_packet(&mut self.fragments, header_len, IpProtocol::ESP)?;
            octets = &self.fragments;
        }
        let mut arrived = packet_buffer();
        if !arrived.fill(octets) {
            return None;
        }
        arrived.meta = meta;
        arrived.meta.whole = false;
        (arrived.meta.local, arrived.meta.remote) = (meta.remote, meta.local);
        if meta.whole {
            // An atomic fragment (RFC 6946) keeps its fragment header.
            let read = IpPacket::read(octets).ok()?;
            let (is_ipv4, header_len) = (read.is_ipv4(), read.header_len());
            arrived.meta.header_len = if is_ipv4 { 20 } else { 0 };
            if !arrived.pull_front(header_len) {
                return None;
            }
        }
        Some(arrived)
    }
}

/// What protects all that the far end sends.
const FAR_POLICY: PolicyId = PolicyId(0);

/// Some SAs of 32 bits come to their last numbers soon.
fn nearly_used_up(sa: OutboundSa, esn: bool, dice: &mut Dice) -> OutboundSa {
    if esn || dice.percent(70) {
        return sa;
    }
    sa.with_sequence_after(u64::from(u32::MAX) - dice.below(4))
}

/// The unfragmentable part of a fragment, without what is about fragments.
fn whole_header(header: &[u8]) -> Vec<u8> {
    let len = if header.first().is_some_and(|first| first >> 4 == 4) { 20 } else { 40 };
    header.get(..len).unwrap_or(header).to_vec()
}

fn spi_of(packet: &PacketBuf) -> Option<Spi> {
    packet.data().first_chunk().map(|spi| Spi(u32::from_be_bytes(*spi)))
}

/// Puts octets into the one buffer there is.
fn fill<'a>(buffer: &'a mut [PacketBuf], octets: &[u8]) -> &'a mut [PacketBuf] {
    if let Some(packet) = buffer.first_mut() {
        packet.reset(adit_dataplane::HEADROOM_MAX);
        assert!(packet.fill(octets), "the buffer takes any packet");
    }
    buffer
}

fn copy_of(packet: &PacketBuf) -> PacketBuf {
    let mut copy = PacketBuf::with_capacity(0, packet.len());
    assert!(copy.fill(packet.data()), "it has the room");
    copy.meta = packet.meta;
    copy
}

/// A packet with its own header that carries no ESP is in clear.
fn classify(packet: PacketBuf, bypassed: bool) -> Left {
    let is_esp = |packet: &PacketBuf| {
        !packet.meta.whole
            || IpPacket::read(packet.data()).is_ok_and(|read| read.protocol() == IpProtocol::ESP)
    };
    if bypassed || !is_esp(&packet) {
        return Left::Clear(packet.data().to_vec());
    }
    Left::Esp(packet)
}
