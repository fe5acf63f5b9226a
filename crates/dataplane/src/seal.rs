//! Sealing one packet by one SA: RFC 4303 §3.3; AH is in [`crate::ah`].

use std::time::Instant;

use adit_db::sad::{Meter, SequenceCounter, SequenceExhausted};
use adit_db::{Age, Encapsulation, Mode};
use adit_wire::iana::IpProtocol;
use adit_wire::ip::{FrontHeaders, IpPacket};
use adit_wire::{PacketBuf, PacketMeta};

use crate::beet::Cut;
use crate::drop_reason::DropReason;
use crate::esp::{self, HEADROOM_MAX, Label, Overhead, TAILROOM_MAX};
use crate::event::{Event, Events};
use crate::ipcomp::Deflater;
use crate::sa::{OutboundSa, SealingKey};

/// What sealing must know of a packet, read before anything is changed.
pub(crate) struct Inner {
    pub(crate) look: Look,
    pub(crate) front: FrontHeaders,
}

/// What of a packet shows in the outer header.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Look {
    pub(crate) class: u8,
    pub(crate) is_ipv4: bool,
    pub(crate) dont_fragment: bool,
}

impl Inner {
    pub(crate) fn of(packet: &IpPacket<'_>) -> Self {
        let look = Look {
            class: packet.traffic_class(),
            is_ipv4: packet.is_ipv4(),
            dont_fragment: packet.dont_fragment(),
        };
        Self { look, front: FrontHeaders::of(packet) }
    }
}

/// The front of a packet that is to be sealed by ESP.
struct Front {
    /// Octets that ESP does not protect.
    len: usize,
    /// What follows them.
    next: IpProtocol,
    /// Whether they stay in front.
    whole: bool,
    /// How BEET mode does without them.
    beet: Option<Cut>,
}

impl OutboundSa {
    /// Encrypts one packet in place (RFC 4303 §3.3) and fills in how it travels.
    ///
    /// The TTL stays as it is: the kernel decremented it when it forwarded the packet into the TUN
    /// device (RFC 4301 §5.1.2.1 note 3 wants it done once).
    ///
    /// # Errors
    ///
    /// - [`DropReason::LifetimeOver`]: the hard lifetime has passed.
    /// - [`DropReason::Options`]: transport mode cannot carry it.
    /// - [`DropReason::NoRoom`]: headroom or tailroom is too small, or it would exceed what IP has.
    /// - [`DropReason::SequenceExhausted`]: the counter would wrap (RFC 4303 §3.3.3).
    ///
    /// On every error the packet is unchanged and no sequence number is spent.
    pub(crate) fn seal(
        &mut self,
        packet: &mut PacketBuf,
        inner: &Inner,
        now: Instant,
        deflater: Option<&mut Deflater>,
        events: &mut Events,
    ) -> Result<(), DropReason> {
        self.check_age(now, events)?;
        let key = match &self.key {
            SealingKey::Esp(key) => key,
            SealingKey::Ah(_) => return self.seal_ah(packet, inner, now, events),
        };
        let inner_len = packet.len();
        let Front { len: header_len, next, whole, beet } = self.front(packet, inner)?;
        let payload = packet.data().get(header_len..).unwrap_or_default();
        let compressed = match (&mut self.ipcomp, deflater) {
            (Some(ipcomp), Some(deflater)) => ipcomp.compress(payload, next, deflater),
            _ => None,
        };
        let next = if compressed.is_some() { IpProtocol::IPCOMP } else { next };
        let len = header_len.saturating_add(compressed.map_or(payload.len(), <[u8]>::len));
        let padding_len = self.padding_len(len);
        let padded_len = len.saturating_add(padding_len);
        let overhead = Overhead::of(key.shape(), padded_len.saturating_sub(header_len));
        let back = padding_len.saturating_add(overhead.back);
        let sealed_len = len.saturating_add(overhead.front).saturating_add(back);
        let too_long = whole && sealed_len > IP_OCTETS_MAX;
        if packet.headroom() < overhead.front || packet.tailroom() < back || too_long {
            return Err(DropReason::NoRoom);
        }
        let Ok(sequence) = spend(&mut self.sequence, &mut self.meter) else {
            self.tell(Age::Hard, now, events);
            return Err(DropReason::SequenceExhausted);
        };
        let label = Label { spi: self.spi, sequence, esn: self.esn };
        if let Some(less) = compressed {
            packet.truncate(header_len);
            packet.push_back(less.len()).ok_or(DropReason::NoRoom)?.copy_from_slice(less);
        }
        if whole {
            move_header(packet, header_len, overhead.front).ok_or(DropReason::NoRoom)?;
        } else if !packet.pull_front(header_len) {
            return Err(DropReason::NoRoom);
        }
        if let Some(cut) = beet {
            cut.write(packet).ok_or(DropReason::NoRoom)?;
        }
        packet.push_back(padding_len).ok_or(DropReason::NoRoom)?.fill(0);
        // The sequence number never repeats under this key, and so the IV does not (RFC 4106 §3.1).
        let iv_counter = self.iv_base.wrapping_add(sequence);
        esp::seal(packet, key, label, iv_counter, next)?;
        if whole {
            packet.push_front(header_len).ok_or(DropReason::NoRoom)?;
            if !inner.front.announce(packet.data_mut(), IpProtocol::ESP) {
                return Err(DropReason::NoRoom);
            }
        }
        packet.meta = PacketMeta {
            tos: self.outer_class(inner.look.class),
            dont_fragment: self.outer_dont_fragment(inner.look, inner_len, &packet.meta),
            whole,
            joined: packet.meta.joined,
            ..self.ends()
        };
        self.count(inner_len, now, events);
        Ok(())
    }

    /// Whether sealing only puts ESP around whole packets: tunnel mode, and nothing that looks at them,
    /// changes them or hides their length before.
    #[inline]
    pub(crate) fn is_plain(&self) -> bool {
        self.mode == Mode::Tunnel
            && self.ipcomp.is_none()
            && self.tfc.padding == 0
            && !self.reveals()
            && matches!(self.key, SealingKey::Esp(_))
    }

    /// What [`Self::seal`] does where the SA is plain, in as few steps as there are.
    ///
    /// # Errors
    ///
    /// Those of [`Self::seal`].
    #[inline]
    pub(crate) fn seal_plain(
        &mut self,
        packet: &mut PacketBuf,
        look: Look,
        now: Instant,
        events: &mut Events,
    ) -> Result<(), DropReason> {
        self.check_age(now, events)?;
        let SealingKey::Esp(key) = &self.key else { return Err(DropReason::NoSa) };
        let inner_len = packet.len();
        let overhead = Overhead::of(key.shape(), inner_len);
        if packet.headroom() < overhead.front || packet.tailroom() < overhead.back {
            return Err(DropReason::NoRoom);
        }
        let Ok(sequence) = spend(&mut self.sequence, &mut self.meter) else {
            self.tell(Age::Hard, now, events);
            return Err(DropReason::SequenceExhausted);
        };
        let label = Label { spi: self.spi, sequence, esn: self.esn };
        let next = if look.is_ipv4 { IpProtocol::IPV4 } else { IpProtocol::IPV6 };
        // The sequence number never repeats under this key, and so the IV does not (RFC 4106 §3.1).
        esp::seal(packet, key, label, self.iv_base.wrapping_add(sequence), next)?;
        packet.meta = PacketMeta {
            tos: self.tos.outer(look.class),
            dont_fragment: self.outer_dont_fragment(look, inner_len, &packet.meta),
            ..self.ends()
        };
        self.count(inner_len, now, events);
        Ok(())
    }

    /// What of a packet stays in front of ESP, or does not travel.
    fn front(&self, packet: &PacketBuf, inner: &Inner) -> Result<Front, DropReason> {
        if self.mode == Mode::Beet {
            let cut = Cut::of(&inner.front, packet.data(), inner.look.is_ipv4);
            if cut.is_ambiguous() {
                return Err(DropReason::Options);
            }
            return Ok(Front { len: cut.len, next: cut.next, whole: false, beet: Some(cut) });
        }
        // What came in fragments must be cut again outside: then the header is the kernel's.
        let keeps_header = !self.encap.udp && !packet.meta.joined;
        let (len, next) = self.cut(inner, keeps_header)?;
        Ok(Front { len, next, whole: len > 0 && keeps_header, beet: None })
    }

    /// Octets behind the inner packet that hide its length (RFC 4303 §2.7). In transport mode most
    /// receivers could not tell them from the packet.
    fn padding_len(&self, inner_len: usize) -> usize {
        match self.mode {
            Mode::Tunnel => {
                let most = self.tun_mtu.min(self.inner_max);
                usize::from(self.tfc.padding.min(most)).saturating_sub(inner_len)
            }
            Mode::Transport | Mode::Beet => 0,
        }
    }

    /// A packet that means nothing and looks like any other (RFC 4303 §2.6). It is no traffic: it
    /// ages the SA by its number alone.
    pub(crate) fn dummy(
        &mut self,
        now: Instant,
        events: &mut Events,
    ) -> Result<PacketBuf, DropReason> {
        self.check_age(now, events)?;
        let SealingKey::Esp(key) = &self.key else { return Err(DropReason::NoSa) };
        let Ok(sequence) = spend(&mut self.sequence, &mut self.meter) else {
            self.tell(Age::Hard, now, events);
            return Err(DropReason::SequenceExhausted);
        };
        let most = self.tun_mtu.min(self.inner_max).max(DUMMY_LEN_MIN);
        let len = usize::from(self.tfc.padding.clamp(DUMMY_LEN_MIN, most));
        // Whoever protects it once more may fill it up to what the others have.
        let room = usize::from(self.tun_mtu).saturating_add(TAILROOM_MAX);
        let mut packet = PacketBuf::with_capacity(HEADROOM_MAX, room);
        packet.set_len(len);
        let label = Label { spi: self.spi, sequence, esn: self.esn };
        let iv_counter = self.iv_base.wrapping_add(sequence);
        esp::seal(&mut packet, key, label, iv_counter, IpProtocol::NO_NEXT)?;
        packet.meta = PacketMeta {
            tos: self.tos.outer(0),
            dont_fragment: self.df.outer(None) && self.encap.remote.is_ipv4(),
            ..self.ends()
        };
        Ok(packet)
    }

    /// Between whom a sealed packet travels, and in what.
    pub(crate) fn ends(&self) -> PacketMeta {
        let Encapsulation { udp, tcp, local, remote } = self.encap;
        PacketMeta { local, remote, udp, tcp, ..PacketMeta::default() }
    }

    /// How many octets stay in front of the ESP header, and what it protects (RFC 4303 §3.1).
    pub(crate) fn cut(
        &self,
        inner: &Inner,
        keeps_header: bool,
    ) -> Result<(usize, IpProtocol), DropReason> {
        match self.mode {
            Mode::Tunnel if inner.look.is_ipv4 => Ok((0, IpProtocol::IPV4)),
            Mode::Tunnel => Ok((0, IpProtocol::IPV6)),
            Mode::Transport if !keeps_header && inner.front.has_options() => {
                Err(DropReason::Options)
            }
            Mode::Transport | Mode::Beet => Ok((inner.front.len, inner.front.next)),
        }
    }

    /// In transport mode the header is the sender's own, which nobody changes, and in BEET mode it is
    /// made again of the outer one.
    pub(crate) fn outer_class(&self, inner_class: u8) -> u8 {
        match self.mode {
            Mode::Tunnel => self.tos.outer(inner_class),
            Mode::Transport | Mode::Beet => inner_class,
        }
    }

    /// Whether an outer IPv4 header forbids cutting the packet (RFC 4301 §8.1). What came in fragments
    /// must be cut again outside, as what the path does not take and is sent nevertheless. In transport
    /// mode without a header of its own the packet has lost its bit to the header that the network makes.
    #[inline]
    pub(crate) fn outer_dont_fragment(
        &self,
        look: Look,
        inner_len: usize,
        meta: &PacketMeta,
    ) -> bool {
        let bit = look.is_ipv4.then_some(look.dont_fragment);
        let may_forbid = self.mode == Mode::Tunnel && self.encap.remote.is_ipv4();
        let is_forbidden = may_forbid && self.df.outer(bit);
        is_forbidden && inner_len <= usize::from(self.inner_max) && !meta.joined
    }

    /// Whether one more packet may pass; tells of an age reached for the first time.
    #[inline]
    pub(crate) fn check_age(
        &mut self,
        now: Instant,
        events: &mut Events,
    ) -> Result<(), DropReason> {
        match self.meter.age(now) {
            Age::Fresh => Ok(()),
            age @ (Age::Soft | Age::Hard) => self.let_aged(age, now, events),
        }
    }

    /// Whether one more packet may pass at an age that is to be reported.
    fn let_aged(&mut self, age: Age, now: Instant, events: &mut Events) -> Result<(), DropReason> {
        self.tell(age, now, events);
        match age {
            Age::Hard if self.sequence.is_spent() => Err(DropReason::SequenceExhausted),
            Age::Hard => Err(DropReason::LifetimeOver),
            Age::Soft | Age::Fresh => Ok(()),
        }
    }

    pub(crate) fn tell(&mut self, age: Age, now: Instant, events: &mut Events) {
        let child = self.child;
        if self.newly(age, now) {
            events.push(match age {
                Age::Hard => Event::HardExpire { child },
                Age::Soft | Age::Fresh => Event::SoftExpire { child },
            });
        }
    }
}

/// The next number, and what it says about the SA's age: few left is soft, none left is hard.
pub(crate) fn spend(
    sequence: &mut SequenceCounter,
    meter: &mut Meter,
) -> Result<u64, SequenceExhausted> {
    let next = sequence.spend();
    match next {
        Err(SequenceExhausted) => meter.grow(Age::Hard),
        Ok(_) if sequence.is_low() => meter.grow(Age::Soft),
        Ok(_) => {}
    }
    next
}

/// Moves the first `header_len` octets by `gap` towards the front and leaves the rest as packet.
pub(crate) fn move_header(packet: &mut PacketBuf, header_len: usize, gap: usize) -> Option<()> {
    packet.push_front(gap)?;
    let end = gap.checked_add(header_len)?;
    packet.data().get(..end)?;
    packet.data_mut().copy_within(gap..end, 0);
    packet.pull_front(end).then_some(())
}

/// Octets of the shortest dummy packet, inside.
const DUMMY_LEN_MIN: u16 = 64;

/// Longest IP packet.
pub(crate) const IP_OCTETS_MAX: usize = 65_535;
