//! SAs in the kernel: `XFRM_MSG_NEWSA`, `DELSA`, `GETSA`, one direction each.

use std::net::IpAddr;

use adit_crypto::Protection;
use adit_db::{Amounts, ChildKeys, Lifetime, Mark, Mode, WindowSize};
use adit_wire::esp::Spi;
use adit_wire::iana::IpProtocol;

use super::algorithm::{self, Names};
use super::octets::{
    DELSA, GETSA, HEADER_OCTETS, IPPROTO_AH, IPPROTO_ESP, NEWSA, Request, View, XFRMA_ENCAP,
    XFRMA_IF_ID, XFRMA_MARK, XFRMA_OFFLOAD_DEV, XFRMA_REPLAY_ESN_VAL, XFRMA_REPLAY_VAL,
    XFRMA_SA_EXTRA_FLAGS, XFRMA_SET_MARK, XFRMA_SET_MARK_MASK, XFRMA_SRCADDR, family,
};
use super::selector::{SELECTOR_OCTETS, Selector};
use super::{ACK, ASK, DUMP, read_mark};

/// One SA of the kernel, of ESP or AH, with its keys.
#[derive(Debug)]
pub struct State<'a> {
    /// Its place in the kernel's table.
    pub id: StateId,
    /// What templates of policies name it by.
    pub reqid: u32,
    /// Tunnel or transport mode.
    pub mode: Mode,
    /// The suite.
    pub protection: Protection,
    /// Its keys.
    pub keys: &'a ChildKeys,
    /// Inside UDP (RFC 3948), if it is.
    pub encap: Option<EncapPorts>,
    /// Its limits; the kernel reports when one is reached.
    pub lifetime: Lifetime,
    /// Sequence numbers and replay window.
    pub replay: Replay,
    /// The packets that it may carry; `None` leaves that to the policies. Transport mode has one.
    pub selector: Option<Selector>,
    /// Policies of either family may ask for it, as one of AH around a tunnel for packets of the other.
    pub any_family: bool,
    /// The outer DSCP is zero instead of the inner one.
    pub clear_dscp: bool,
    /// The outer ECN field is zero (RFC 6040 §4.1, compatibility mode).
    pub clear_ecn: bool,
    /// The outer DF bit is zero instead of the inner one.
    pub clear_df: bool,
    /// Firewall mark that packets get when they are sealed, or opened; other bits stay.
    pub output_mark: Option<Mark>,
    /// The xfrm interface it belongs to.
    pub if_id: Option<u32>,
    /// The network device that computes it, if one does.
    pub offload: Option<Offload>,
}

/// What names an SA: RFC 4301 §4.1 with the kernel's mark.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct StateId {
    /// Outer source.
    pub source: IpAddr,
    /// Outer destination.
    pub destination: IpAddr,
    /// ESP or AH, each of which has SPIs of its own.
    pub protocol: IpProtocol,
    /// The SPI.
    pub spi: Spi,
    /// The mark that packets must have to find it.
    pub mark: Option<Mark>,
}

/// Ports of ESP in UDP, as the packets of the SA carry them.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct EncapPorts {
    /// Source port.
    pub source: u16,
    /// Destination port.
    pub destination: u16,
}

/// Sequence numbers of an SA (RFC 4303 §2.2, §3.4.3): `struct xfrm_replay_state_esn`.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Replay {
    /// Whether numbers have 64 bits.
    pub esn: bool,
    /// Packets that the window covers; [`WindowSize::OFF`] on the sending side.
    pub window: WindowSize,
    /// The last number sent.
    pub sent: u64,
    /// The highest number received.
    pub received: u64,
    /// One bit for each number received, in the kernel's order; empty is none.
    pub bitmap: Vec<u32>,
}

/// ESP in hardware (`struct xfrm_user_offload`).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Offload {
    /// Number of the interface.
    pub interface: u32,
    /// The SA is for what comes in.
    pub inbound: bool,
    /// The device does the headers too (packet offload), not just the cipher.
    pub packet: bool,
}

/// No kernel has this suite.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("no kernel has {0}")]
pub struct NoSuchSuite(pub Protection);

impl State<'_> {
    /// Adds the SA; the kernel refuses if there is one (`ip xfrm state add`).
    pub(super) fn add(&self) -> Result<Request, NoSuchSuite> {
        let names = algorithm::names(self.protection).ok_or(NoSuchSuite(self.protection))?;
        let mut request = Request::new(NEWSA, ACK);
        self.write_info(&mut request);
        self.write_attributes(&mut request, names);
        Ok(request)
    }

    /// `struct xfrm_usersa_info`.
    fn write_info(&self, r: &mut Request) {
        match &self.selector {
            Some(selector) => selector.write(r),
            None => r.zeros(SELECTOR_OCTETS),
        }
        r.address(self.id.destination);
        r.be32(self.id.spi.0);
        r.u8(self.id.protocol.0);
        r.zeros(3);
        r.address(self.id.source);
        write_lifetime(r, self.lifetime);
        // Use so far, statistics, and the number of an acquire: the kernel's to fill in.
        r.zeros(USE_OCTETS + STATS_OCTETS + 4);
        r.u32(self.reqid);
        r.u16(family(self.id.destination));
        r.u8(mode_number(self.mode));
        // A window has a place of its own.
        r.u8(0);
        r.u8(self.flags());
        r.zeros(7);
    }

    fn flags(&self) -> u8 {
        let mut flags = 0;
        if self.clear_ecn {
            flags |= STATE_NOECN;
        }
        if self.clear_df {
            flags |= STATE_NOPMTUDISC;
        }
        if self.any_family || (self.mode == Mode::Tunnel && self.selector.is_none()) {
            // Packets of either family travel in the tunnel.
            flags |= STATE_AF_UNSPEC;
        }
        if self.id.protocol == IpProtocol::AH && self.id.destination.is_ipv4() {
            // RFC 4302 §3.3.3.2.1: over IPv4 to four octets, and the kernel takes nothing that is not as it says.
            flags |= STATE_ALIGN4;
        }
        if self.replay.esn {
            flags |= STATE_ESN;
        }
        flags
    }

    fn write_attributes(&self, request: &mut Request, names: Names) {
        algorithm::write(request, self.protection, names, self.keys);
        if let Some(ports) = self.encap {
            write_encap(request, ports);
        }
        if self.replay.needs_bitmap() {
            self.replay.write(request);
        }
        if let Some(offload) = self.offload {
            offload.write(request);
        }
        request.number(XFRMA_SA_EXTRA_FLAGS, self.clear_dscp.then_some(EXTRA_DONT_ENCAP_DSCP));
        request.mark(self.id.mark);
        request.number(XFRMA_SET_MARK, self.output_mark.map(|mark| mark.value));
        request.number(XFRMA_SET_MARK_MASK, self.output_mark.map(|mark| mark.mask));
        request.number(XFRMA_IF_ID, self.if_id);
    }
}

impl StateId {
    /// `ip xfrm state delete`.
    pub(super) fn delete(&self) -> Request {
        self.request(DELSA, ACK)
    }

    /// `ip xfrm state get`.
    pub(super) fn get(&self) -> Request {
        self.request(GETSA, ASK)
    }

    fn request(&self, kind: u16, flags: u16) -> Request {
        let mut request = Request::new(kind, flags);
        // `struct xfrm_usersa_id`.
        request.address(self.destination);
        request.be32(self.spi.0);
        request.u16(family(self.destination));
        request.u8(self.protocol.0);
        request.zeros(1);
        request.attribute(XFRMA_SRCADDR, |r| r.address(self.source));
        request.mark(self.mark);
        request
    }
}

/// All SAs (`ip xfrm state list`).
pub(super) fn list() -> Request {
    Request::new(GETSA, DUMP)
}

impl Replay {
    /// A sender's: no window, but for ESN one that the kernel insists on.
    #[must_use]
    pub fn sending(esn: bool) -> Self {
        Self { esn, window: WindowSize::OFF, ..Self::default() }
    }

    /// A receiver's. The kernel has windows of 4,096 packets at most: a larger one becomes that.
    #[must_use]
    pub fn receiving(window: WindowSize, esn: bool) -> Self {
        let most = WindowSize::covering(WINDOW_MAX).unwrap_or_default();
        Self { esn, window: window.min(most), ..Self::default() }
    }

    fn needs_bitmap(&self) -> bool {
        self.esn || !self.window.is_off() || self.sent > 0 || self.received > 0
    }

    fn write(&self, request: &mut Request) {
        // With ESN the kernel refuses a window of nothing, whichever way the SA goes.
        let window = self.window.packets().max(if self.esn { WINDOW_WORD_BITS } else { 0 });
        let words = window.div_ceil(WINDOW_WORD_BITS);
        request.attribute(XFRMA_REPLAY_ESN_VAL, |r| {
            let (sent, received) = (halves(self.sent), halves(self.received));
            r.u32(words);
            r.u32(sent.1);
            r.u32(received.1);
            r.u32(sent.0);
            r.u32(received.0);
            r.u32(window);
            // The kernel takes all words or none, which is zeros.
            if !self.bitmap.is_empty() {
                for word in 0..usize::try_from(words).unwrap_or(0) {
                    r.u32(self.bitmap.get(word).copied().unwrap_or(0));
                }
            }
        });
    }

    fn read_esn(value: View<'_>, esn: bool) -> Option<Self> {
        let number =
            |low, high| Some(u64::from(value.u32(low)?) | u64::from(value.u32(high)?) << 32);
        let words = usize::try_from(value.u32(0)?).ok()?.min(BITMAP_WORDS_MAX);
        Some(Self {
            esn,
            window: WindowSize::covering(value.u32(20)?)?,
            sent: number(4, 12)?,
            received: number(8, 16)?,
            bitmap: (0..words).map_while(|word| value.u32(24 + 4 * word)).collect(),
        })
    }

    /// `struct xfrm_replay_state`, of SAs without a window.
    fn read_short(value: View<'_>) -> Option<Self> {
        let (sent, received) = (value.u32(0)?.into(), value.u32(4)?.into());
        Some(Self { sent, received, window: WindowSize::OFF, ..Self::default() })
    }
}

fn halves(number: u64) -> (u32, u32) {
    let low = u32::try_from(number & u64::from(u32::MAX)).unwrap_or(0);
    (u32::try_from(number >> 32).unwrap_or(0), low)
}

impl Offload {
    pub(super) fn write(self, request: &mut Request) {
        let flag = |on, flag: u8| if on { flag } else { 0 };
        request.attribute(XFRMA_OFFLOAD_DEV, |r| {
            r.u32(self.interface);
            r.u8(flag(self.inbound, OFFLOAD_INBOUND) | flag(self.packet, OFFLOAD_PACKET));
            r.zeros(3);
        });
    }
}

pub(super) fn write_encap(request: &mut Request, ports: EncapPorts) {
    request.attribute(XFRMA_ENCAP, |r| {
        r.u16(UDP_ENCAP_ESPINUDP);
        r.be16(ports.source);
        r.be16(ports.destination);
        r.zeros(2 + 16);
    });
}

/// `struct xfrm_lifetime_cfg`; no limit is the largest number, but for seconds it is zero.
pub(super) fn write_lifetime(r: &mut Request, lifetime: Lifetime) {
    // The kernel knows no idle time: who reads its counters does.
    let Lifetime { soft, hard, idle: _ } = lifetime;
    for limit in [soft.octets, hard.octets, soft.packets, hard.packets] {
        r.u64(limit.unwrap_or(u64::MAX));
    }
    for Amounts { time, .. } in [soft, hard] {
        r.u64(time.map_or(0, |time| time.as_secs().max(1)));
    }
    // Seconds since the first use.
    r.zeros(16);
}

/// The modes in the kernel's numbers.
pub(super) fn mode_number(mode: Mode) -> u8 {
    match mode {
        Mode::Transport => 0,
        Mode::Tunnel => 1,
        Mode::Beet => 4,
    }
}

/// An SA as the kernel shows it, without its keys.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct StateInfo {
    /// Its place in the kernel's table.
    pub id: StateId,
    /// What templates of policies name it by.
    pub reqid: u32,
    /// Octets that passed, as the kernel counts them.
    pub octets: u64,
    /// Packets that passed.
    pub packets: u64,
    /// Packets dropped because they lay before the replay window.
    pub too_old: u32,
    /// Packets dropped because their number was seen before.
    pub replayed: u32,
    /// Packets dropped because the integrity check failed.
    pub bad_icv: u32,
    /// Sequence numbers; `None` if the kernel does not say.
    pub replay: Option<Replay>,
    /// Firewall mark that packets get.
    pub output_mark: Option<u32>,
    /// Whether a network device has it.
    pub offloaded: bool,
}

impl StateInfo {
    /// Reads a NEWSA message, without its header; `None` if it is no SA of ESP or AH.
    pub(super) fn read(view: View<'_>) -> Option<Self> {
        let mut info = Self::read_info(view)?;
        let esn = view.u8(FLAGS_AT)? & STATE_ESN != 0;
        let attributes = view.attributes(INFO_OCTETS);
        info.id.mark = attributes.find_kind(XFRMA_MARK).and_then(read_mark);
        info.output_mark = attributes.find_kind(XFRMA_SET_MARK).and_then(|value| value.u32(0));
        info.offloaded = attributes.find_kind(XFRMA_OFFLOAD_DEV).is_some();
        info.replay = match attributes.find_kind(XFRMA_REPLAY_ESN_VAL) {
            Some(value) => Replay::read_esn(value, esn),
            None => attributes.find_kind(XFRMA_REPLAY_VAL).and_then(Replay::read_short),
        };
        Some(info)
    }

    /// Reads `struct xfrm_usersa_info`.
    pub(super) fn read_info(view: View<'_>) -> Option<Self> {
        let family = view.u16(FAMILY_AT)?;
        let protocol = view.u8(76)?;
        if ![IPPROTO_ESP, IPPROTO_AH].contains(&protocol) {
            return None;
        }
        Some(Self {
            id: StateId {
                destination: view.address(56, family)?,
                protocol: IpProtocol(protocol),
                spi: Spi(view.be32(72)?),
                source: view.address(80, family)?,
                mark: None,
            },
            octets: view.u64(160)?,
            packets: view.u64(168)?,
            too_old: view.u32(192)?,
            replayed: view.u32(196)?,
            bad_icv: view.u32(200)?,
            reqid: view.u32(208)?,
            replay: None,
            output_mark: None,
            offloaded: false,
        })
    }
}

/// A message of the kernel without its header.
pub(super) fn body(message: &[u8]) -> View<'_> {
    View(message.get(HEADER_OCTETS..).unwrap_or_default())
}

/// `struct xfrm_usersa_info`, and places in it.
pub(super) const INFO_OCTETS: usize = 224;
const FAMILY_AT: usize = 212;
const FLAGS_AT: usize = 216;
/// `struct xfrm_lifetime_cur`.
pub(super) const USE_OCTETS: usize = 32;
/// `struct xfrm_stats`.
const STATS_OCTETS: usize = 12;
const STATE_NOECN: u8 = 1;
const STATE_NOPMTUDISC: u8 = 4;
const STATE_AF_UNSPEC: u8 = 32;
const STATE_ALIGN4: u8 = 64;
const STATE_ESN: u8 = 128;
const EXTRA_DONT_ENCAP_DSCP: u32 = 1;
const OFFLOAD_INBOUND: u8 = 2;
const OFFLOAD_PACKET: u8 = 4;
const UDP_ENCAP_ESPINUDP: u16 = 2;
const WINDOW_WORD_BITS: u32 = 32;
/// The kernel's own bound, in bits and in words.
const WINDOW_MAX: u32 = 4_096;
const BITMAP_WORDS_MAX: usize = 128;
