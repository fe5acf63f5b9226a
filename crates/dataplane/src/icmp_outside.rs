//! What is said outside about our packets: that they are too big, have no hops left (for that see
//! [`crate::transit`]), do not arrive, or failed the peer's security. Nobody has authenticated it (RFC 4301
//! §6.1.1, §8.2).
//!
//! A message is believed as far as it can be checked: it quotes an ESP or AH packet to the peer of an
//! SA, with that SA's SPI and a sequence number that was given out lately, and tells a size below the
//! one in force. Its effect is bounded below, limited in rate, aged, and where the peer answers probes
//! undone within a second if it is not true. Everything else changes nothing.
//!
//! That packets do not arrive is a reason to ask the peer whether it is there, some times in a minute; by
//! setting that they are too big is no more than a reason to probe the path. The `red` column of the
//! tunnel's table says which messages are (`adit_db::IcmpRules`).
//!
//! Security failures (RFC 2521) are looked at as far as to tell people of those that may be true. One that
//! came through an SA is its peer's word, and that the peer does not know an SPI has the SA replaced.
//!
//! Anybody can send these as fast as the link takes them, so what costs nothing comes first: a lookup
//! of what a forger has to guess.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use adit_db::sad::Table;
use adit_db::{Age, ChildSaId, IcmpRed, IcmpRow};
use adit_wire::iana::{IpProtocol, SecurityFailure};
use adit_wire::ip::{Icmp, IcmpError, IpPacket, QuotedSpi};

use crate::event::Event;
use crate::outbound::Outbound;
use crate::path_mtu::{FLOOR_V4, MtuSource};
use crate::sa::OutboundSa;

/// What became of a message.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Complaint {
    /// The SA sends smaller packets from now on.
    Believed,
    /// It is no message about packets too big, or quotes too little (CHECKLIST PM-19).
    NotForUs,
    /// It quotes no packet that we can have sent to a peer.
    Unknown,
    /// What it says is no news, or absurd.
    NoNews,
    /// Too many have come.
    TooMany,
    /// The operator wants nothing to be made of it.
    Unheard,
    /// The peer is asked for a sign of life, or the path is probed.
    Prompted,
    /// A router is no hop of this tunnel: nobody hears of it.
    Hidden,
    /// Who has sent the packet inside is told of the router: [`Outbound::poll_answer`].
    Revealed,
    /// A dummy packet that looks for routers has found one, and nobody is to be told.
    Explored,
    /// The packet inside is not remembered here. The thread that has sent it does, if it is not long ago.
    Elsewhere,
    /// It is a security failure (RFC 2521) about a packet that an SA has sent lately. Anybody who has seen
    /// that one can make it, so it changes nothing.
    Failure {
        /// What the packet is said to have failed.
        code: SecurityFailure,
        /// Whether people may be told, which is at most once a second.
        is_told: bool,
    },
}

/// Which SA sends with which SPI to whom. The peers choose SPIs, so two of them may choose alike, and
/// behind one NAT their ports alone tell them apart.
#[derive(Debug, Default)]
pub(crate) struct BySpi {
    table: Table<Key, ChildSaId>,
    /// There has been an SA for which somebody says where outside is.
    names_interfaces: bool,
}

/// Where a peer is, its port, which is zero without UDP, and the SPI.
type Key = (IpAddr, u16, u32);

impl BySpi {
    pub(crate) fn put(&mut self, sa: &OutboundSa) {
        *self.table.get_or_insert_with(Self::key(sa), || sa.child) = sa.child;
        self.names_interfaces |= sa.interfaces().is_some();
    }

    fn key(sa: &OutboundSa) -> Key {
        let port = if sa.encap.udp && !sa.encap.tcp { sa.encap.remote.port() } else { 0 };
        (sa.encap.remote.ip(), port, sa.spi.0)
    }

    pub(crate) fn take_out(&mut self, sa: &OutboundSa) {
        let key = Self::key(sa);
        if self.table.get(&key) == Some(&sa.child) {
            self.table.remove(&key);
        }
    }
}

impl Outbound {
    /// Takes an ICMP packet that came by an interface, as [`Self::handle_icmp`]: from inside, if for the SA
    /// that it is about that is no interface outside. `interface` is asked for its name only if that
    /// matters.
    pub fn handle_icmp_by(
        &mut self,
        packet: &[u8],
        interface: impl FnOnce() -> Option<String>,
        now: Instant,
    ) -> Complaint {
        if self.by_spi.names_interfaces
            && let Some(message) = Message::read(packet)
            && self.is_inside(&message.outer, interface)
        {
            return Complaint::Unheard;
        }
        self.handle_icmp(packet, now)
    }

    /// Whether the SA that has sent a packet hears nothing that comes by this interface.
    fn is_inside(&mut self, outer: &Outer, interface: impl FnOnce() -> Option<String>) -> bool {
        let sender = self.sender_of(outer);
        let Some(sa) = sender.and_then(|child| self.sad.by_child(child)) else { return false };
        sa.interfaces().is_some_and(|named| !named.is_red(interface().as_deref()))
    }

    /// Takes an ICMP packet that came from outside, from its IP header on. One thread of several does
    /// that for all: what it believes is an [`Event::PathLearnt`] for the others.
    pub fn handle_icmp(&mut self, packet: &[u8], now: Instant) -> Complaint {
        let Some(message) = Message::read(packet) else { return Complaint::NotForUs };
        match message.what {
            What::TooBig(mtu, icmp) => self.handle_too_big(&message.outer, (mtu, icmp), now),
            What::Expired(icmp) => {
                let prompted = self.prompt(&message.outer, icmp, now);
                let shown = self.handle_expired(&message.outer, message.from, now);
                if shown == Complaint::Hidden { prompted } else { shown }
            }
            What::Unreachable(icmp) => self.prompt(&message.outer, icmp, now),
            What::Failure(code) => match self.sender_of(&message.outer) {
                Some(_) => Complaint::Failure { code, is_told: self.failures_heard.pass(1, now) },
                None => Complaint::Unknown,
            },
        }
    }

    /// The SA that has sent a quoted packet, if one can have done so lately.
    pub(crate) fn sender_of(&mut self, outer: &Outer) -> Option<ChildSaId> {
        let port = outer.quoted.udp_ports.map_or(0, |(_, remote)| remote);
        let child = self.by_spi.table.get(&(outer.peer, port, outer.quoted.spi)).copied()?;
        let sa = self.sad.by_child(child)?;
        sa.can_have_sent(outer).then_some(child)
    }

    /// Has the SA replaced that has sent a packet for which its peer has none. The exchange also shows
    /// whether that one is there.
    pub(crate) fn handle_bad_spi(&mut self, outer: &Outer, now: Instant) {
        let Some(child) = self.sender_of(outer) else { return };
        if let Some(sa) = self.sad.by_child(child) {
            sa.tell(Age::Soft, now, &mut self.events);
        }
    }

    fn handle_too_big(
        &mut self,
        outer: &Outer,
        (mtu, icmp): (u16, Icmp),
        now: Instant,
    ) -> Complaint {
        let Some(child) = self.sender_of(outer) else { return Complaint::Unknown };
        let Some(sa) = self.sad.by_child(child) else { return Complaint::Unknown };
        match sa.red(outer.protocol(), icmp) {
            IcmpRed::Measure => {}
            IcmpRed::Prompt | IcmpRed::Discard => return self.prompt(outer, icmp, now),
        }
        let (current, source) = sa.path().in_force();
        // RFC 8201 §4: nothing is ever raised by a message.
        let is_settled = source == MtuSource::Operator || sa.ignores_path();
        let floor = sa.path().floor();
        // CHECKLIST PM-03: who has a smaller link than all have may cut what we send.
        let cuts = mtu < floor && sa.encap.remote.is_ipv4() && !sa.path().may_be_cut();
        let is_less = mtu.max(floor) < current;
        let is_news = is_less || (cuts && source != MtuSource::Link);
        if is_settled || !is_news {
            return Complaint::NoNews;
        }
        if !self.may_complain(child, now) {
            return Complaint::TooMany;
        }
        self.before_learning();
        let Some(sa) = self.sad.by_child(child) else { return Complaint::Unknown };
        sa.learn_mtu(mtu, MtuSource::Icmp, now, &mut self.events);
        // What is below the floor is told as it is, so that all threads let it be cut.
        self.events.push(Event::PathLearnt { child, mtu, source: MtuSource::Icmp });
        self.after_learning(child, now);
        Complaint::Believed
    }
}

impl Outbound {
    /// Takes a message as no more than a reason to ask: the path, if that can be probed and the message is
    /// about it, else the peer.
    fn prompt(&mut self, outer: &Outer, icmp: Icmp, now: Instant) -> Complaint {
        let Some(child) = self.sender_of(outer) else { return Complaint::Unknown };
        let Some(sa) = self.sad.by_child(child) else { return Complaint::Unknown };
        if sa.red(outer.protocol(), icmp) == IcmpRed::Discard {
            return Complaint::Unheard;
        }
        // Who traces a path through it makes routers say so again and again.
        let is_traced = is_about_hops(outer.protocol(), icmp) && sa.reveals();
        if is_traced {
            return Complaint::NoNews;
        }
        if !self.may_complain(child, now) {
            return Complaint::TooMany;
        }
        let is_too_big = IcmpRow::of(outer.protocol(), icmp) == IcmpRow::TOO_BIG;
        if !(is_too_big && self.probe_now(child, now)) {
            self.events.push(Event::Doubted { child });
        }
        Complaint::Prompted
    }

    /// Whether one more message about an SA may have an effect.
    fn may_complain(&mut self, child: ChildSaId, now: Instant) -> bool {
        let Some(sa) = self.sad.by_child(child) else { return false };
        let one = sa.talk().complaints.spend(PER_SA, PER_SA_INTERVAL, now);
        one && self.complaints.spend(IN_ALL, IN_ALL_INTERVAL, now)
    }
}

impl OutboundSa {
    /// Whether a quoted packet is one that this SA can have sent lately.
    fn can_have_sent(&self, outer: &Outer) -> bool {
        let QuotedSpi { protocol, sequence, udp_ports, .. } = outer.quoted;
        let wanted = if self.is_ah() { IpProtocol::AH } else { IpProtocol::ESP };
        let (local, remote) = (self.encap.local, self.encap.remote);
        let ports = (self.encap.udp && !self.encap.tcp).then(|| (local.port(), remote.port()));
        // A NAT between us and the reporter has put our port back, or it is not our packet.
        let is_ours = protocol == wanted && udp_ports == ports;
        let is_ours = is_ours && (local.ip().is_unspecified() || local.ip() == outer.us);
        is_ours && sequence.is_some_and(|sequence| self.gave_out_lately(sequence))
    }

    /// Whether the lower half of a sequence number is one of the last, whichever thread gave it out: the
    /// one that is asked may have sent nothing at all.
    fn gave_out_lately(&self, sequence: u32) -> bool {
        let last = self.sequence.newest();
        let [.., l0, l1, l2, l3] = last.to_be_bytes();
        let low = u32::from_be_bytes([l0, l1, l2, l3]);
        let back = low.wrapping_sub(sequence);
        back < LATELY && u64::from(back) < last
    }
}

/// What of an ICMP message matters.
struct Message {
    /// Who says it.
    from: IpAddr,
    outer: Outer,
    what: What,
}

/// A packet that we have sent, as a message quotes it.
pub(crate) struct Outer {
    pub(crate) us: IpAddr,
    pub(crate) peer: IpAddr,
    pub(crate) quoted: QuotedSpi,
}

/// What a message says.
enum What {
    /// No packet may have more octets, by a message of this type.
    TooBig(u16, Icmp),
    /// The packet had no hops left, by a message of this type.
    Expired(Icmp),
    /// The packet did not arrive.
    Unreachable(Icmp),
    /// The packet failed this.
    Failure(SecurityFailure),
}

impl Message {
    fn read(packet: &[u8]) -> Option<Self> {
        let packet = IpPacket::read(packet).ok()?;
        let error = IcmpError::read(&packet).ok()?;
        let about = error.about().ok()?;
        let outer = Outer::of(&about, QuotedSpi::read(&about)?);
        let what = match (error.too_big(), error.security_failure()) {
            (Some(0), _) if about.is_ipv4() => What::TooBig(next_plateau(error.quoted), error.icmp),
            (Some(mtu), _) => What::TooBig(u16::try_from(mtu).unwrap_or(u16::MAX), error.icmp),
            (None, Some(failure)) => What::Failure(failure),
            (None, None) if is_about_hops(error.protocol, error.icmp) => What::Expired(error.icmp),
            (None, None) => What::Unreachable(error.icmp),
        };
        Some(Self { from: packet.src(), outer, what })
    }
}

impl Outer {
    pub(crate) fn of(about: &IpPacket<'_>, quoted: QuotedSpi) -> Self {
        Self { us: about.src(), peer: about.dst(), quoted }
    }

    /// The ICMP of its family.
    fn protocol(&self) -> IpProtocol {
        if self.us.is_ipv4() { IpProtocol::ICMP } else { IpProtocol::ICMPV6 }
    }
}

/// Whether a packet had no hops left, and did not lack fragments (RFC 792, RFC 4443 §3.3).
fn is_about_hops(protocol: IpProtocol, icmp: Icmp) -> bool {
    let kind = match protocol {
        IpProtocol::ICMP => Icmp::TIME_EXCEEDED,
        _ => Icmp::TIME_EXCEEDED_V6,
    };
    (icmp.kind, icmp.code) == (kind, 0)
}

/// What is tried by RFC 1191 §5 where a router that is older than that says nothing: the next of the
/// usual sizes below that of the packet, of IPv4, that it quotes.
fn next_plateau(quoted: &[u8]) -> u16 {
    let len = quoted.get(2..4).and_then(|len| len.first_chunk().copied());
    let len = len.map_or(0, u16::from_be_bytes);
    PLATEAUS.into_iter().find(|plateau| *plateau < len).unwrap_or(FLOOR_V4)
}

/// RFC 1191 §7.1, as far as it is believed.
const PLATEAUS: [u16; 8] = [32_000, 17_914, 8_166, 4_352, 2_002, 1_492, 1_006, FLOOR_V4];
/// How far back the sequence number of a quoted packet may lie: what a fast SA sends in some tenths
/// of a second.
const LATELY: u32 = 1 << 18;
/// Messages about one SA that are believed at once, and from one to the next.
const PER_SA: u32 = 4;
const PER_SA_INTERVAL: Duration = Duration::from_secs(2);
/// The same for all.
const IN_ALL: u32 = 64;
const IN_ALL_INTERVAL: Duration = Duration::from_millis(10);
