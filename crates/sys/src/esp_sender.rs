//! Sends ESP above IP: through a raw socket, or in whole frames through AF_XDP.
//!
//! A raw socket costs more than a microsecond for each packet; a frame that is complete costs about
//! half of it. What the kernel does on that way is done here: the route and the neighbour's Ethernet
//! address are asked for, and believed for `BELIEVED_FOR`. Then one packet goes through the raw
//! socket, so that the kernel sees the neighbour used and keeps looking for it, and both are asked for
//! again. Whatever is not a plain packet to a known neighbour on Ethernet goes through the raw socket:
//! groups, link-local addresses, packets that would have to be cut. Packets between two addresses keep their order:
//! once one of a batch goes through the raw socket, so do those behind it, and the frames before it
//! are sent first. **Frames pass neither the packet filter nor traffic
//! control, and captures on this host do not show them.**

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use adit_wire::iana::IpProtocol;
use adit_wire::ip::checksum;
use adit_wire::{PacketBuf, PacketMeta};
use nix::libc;

use crate::batch::{BATCH_MAX, BatchIo, SendReport};
use crate::clock;
use crate::error::SysError;
use crate::netlink::{EthernetLink, Family, Netlink, RouteKind};
use crate::raw::RawEspSocket;
use crate::xdp::queue::FRAME_OCTETS;
use crate::xdp::{DEVICES_MAX, News, XdpDevices, XdpSender};

/// Sends the ESP packets of one thread in the namespace of its sockets, of which there is one for each
/// family: both families' frames leave by the same queue.
#[derive(Debug)]
pub struct EspSender {
    sockets: Vec<RawEspSocket>,
    frames: Option<RefCell<Frames>>,
}

impl EspSender {
    /// Sends everything through the sockets.
    #[must_use]
    pub fn by_sockets(sockets: Vec<RawEspSocket>) -> Self {
        Self { sockets, frames: None }
    }

    /// Sends what it can in frames, by devices that others may receive by; `mark` is that of the sockets,
    /// for the routes.
    ///
    /// # Errors
    ///
    /// [`SysError::Io`]: too many open files.
    pub fn by_frames(
        sockets: Vec<RawEspSocket>,
        mark: Option<u32>,
        xdp: XdpDevices,
    ) -> Result<Self, SysError> {
        let mut netlink = Netlink::open()?;
        netlink.set_patience(PATIENCE)?;
        let frames = Frames {
            xdp,
            netlink,
            mark: mark.unwrap_or(0),
            devices: Vec::new(),
            refused: Vec::new(),
            links: Vec::new(),
            ways: BTreeMap::new(),
            ask_again: None,
            identification: 0,
            labels: RandomState::new(),
            batch: 0,
            left: Vec::with_capacity(BATCH_MAX),
        };
        Ok(Self { sockets, frames: Some(RefCell::new(frames)) })
    }

    /// To how many peers packets go in frames at the moment; `None` if none are to.
    #[must_use]
    pub fn peers_by_frames(&self) -> Option<usize> {
        let frames = self.frames.as_ref()?;
        let frames = frames.try_borrow().ok()?;
        Some(frames.ways.values().filter(|way| way.hop.is_some()).count())
    }

    /// Whether frames wait for [`Self::flush`] because a device was too busy for them.
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        let frames = self.frames.as_ref().map(RefCell::try_borrow);
        frames.is_some_and(|frames| frames.is_ok_and(|frames| frames.is_waiting()))
    }

    /// Offers the devices the frames that wait. The report is about those that are lost.
    pub fn flush(&self) -> SendReport {
        let mut report = SendReport::default();
        if let Some(Ok(mut frames)) = self.frames.as_ref().map(RefCell::try_borrow_mut)
            && frames.is_waiting()
        {
            frames.flush(&mut report);
        }
        report
    }

    /// Sends each packet, from the SPI on, from `meta.local` (if not unspecified) to `meta.remote`
    /// with `meta.tos` and `meta.dont_fragment`; ports are ignored. What a full device does not take
    /// is unsent, wherever in the batch it is; what has no socket of its family has failed.
    pub fn send_batch<'a, I>(&self, io: &mut BatchIo, packets: I) -> SendReport
    where
        I: IntoIterator<Item = &'a PacketBuf>,
        I::IntoIter: Clone,
    {
        let packets = packets.into_iter();
        let Some(Ok(mut frames)) = self.frames.as_ref().map(RefCell::try_borrow_mut) else {
            return self.send_by_sockets(io, packets);
        };
        let mut report = frames.send(packets.clone());
        let left = packets.zip(&frames.left).filter(|(_, left)| **left);
        report.add(self.send_by_sockets(io, left.map(|(packet, _)| packet)));
        report
    }

    fn send_by_sockets<'a>(
        &self,
        io: &mut BatchIo,
        packets: impl Iterator<Item = &'a PacketBuf> + Clone,
    ) -> SendReport {
        let mut report = SendReport::default();
        for family in Family::BOTH {
            let is_of = |packet: &&PacketBuf| Family::of(packet.meta.remote.ip()) == family;
            let packets = packets.clone().filter(is_of);
            match self.sockets.iter().find(|socket| socket.family() == family) {
                Some(socket) => report.add(socket.send_batch(io, packets)),
                None => packets.for_each(|_| report.note(libc::EAFNOSUPPORT)),
            }
        }
        report
    }
}

/// Where frames go.
#[derive(Debug)]
struct Frames {
    xdp: XdpDevices,
    netlink: Netlink,
    mark: u32,
    /// By the number of the interface, at most [`DEVICES_MAX`].
    devices: Vec<(u32, XdpSender)>,
    /// Interfaces that send no frames, and when that is tried again; at most [`LINKS_MAX`].
    refused: Vec<(u32, Instant)>,
    /// What interfaces are, if they are Ethernet, and until when that is believed; at most
    /// [`LINKS_MAX`].
    links: Vec<(u32, Instant, Option<EthernetLink>)>,
    /// By our and the peer's address, at most [`WAYS_MAX`].
    ways: BTreeMap<(IpAddr, IpAddr), Way>,
    /// When the kernel is asked for more ways: it has not answered, or there is no room for them.
    ask_again: Option<Instant>,
    /// Of the next IPv4 header.
    identification: u16,
    /// Makes the flow labels of IPv6 headers (RFC 6437 §3).
    labels: RandomState,
    /// The number of this batch.
    batch: u64,
    /// Which packets of the last batch are for the raw socket; it keeps its room.
    left: Vec<bool>,
}

/// How packets from one address to another travel.
#[derive(Debug)]
struct Way {
    until: Instant,
    hop: Option<Hop>,
    /// The last batch of which a packet was left to the raw socket.
    left_in: u64,
}

/// What becomes of a packet.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Fate {
    Framed,
    /// It goes through the raw socket.
    Left,
    /// The device is full.
    Unsent,
}

#[derive(Clone, Copy, Debug)]
struct Hop {
    interface: u32,
    ethernet: [u8; ETHERNET_OCTETS],
    source: IpAddr,
    mtu: usize,
    /// Of IPv6 headers.
    label: u32,
}

impl Frames {
    /// Sends what can go in frames and notes in `left` which packets cannot.
    fn send<'a>(&mut self, packets: impl Iterator<Item = &'a PacketBuf>) -> SendReport {
        let mut report = SendReport::default();
        let now = clock::now();
        self.batch += 1;
        self.left.clear();
        for packet in packets {
            let fate = self.push(packet, now, &mut report);
            report.sent += usize::from(fate == Fate::Framed);
            report.unsent += usize::from(fate == Fate::Unsent);
            self.left.push(fate == Fate::Left);
        }
        if self.is_waiting() {
            self.flush(&mut report);
        }
        report
    }

    fn is_waiting(&self) -> bool {
        self.devices.iter().any(|(_, device)| device.waiting() > 0)
    }

    /// Lets go of devices that are gone; what those had, and those that are down, is lost, and the ways
    /// are asked for again.
    fn flush(&mut self, report: &mut SendReport) {
        let mut has_failed = false;
        self.devices.retain_mut(|(_, device)| {
            let Err(error) = device.flush() else { return true };
            has_failed = true;
            let lost = device.abandon();
            report.sent -= lost.min(report.sent);
            report.failed += lost;
            report.errno = error.raw_os_error().unwrap_or(0);
            report.errno == libc::ENETDOWN
        });
        if has_failed {
            self.ways.clear();
            self.links.clear();
        }
    }

    /// Puts a packet into a frame, if it can go in one and none before it on its way had to be left.
    fn push(&mut self, packet: &PacketBuf, now: Instant, report: &mut SendReport) -> Fate {
        let PacketMeta { local, remote, .. } = packet.meta;
        let (local, remote) = (local.ip(), remote.ip());
        if is_link_local(remote) {
            return Fate::Left;
        }
        if self.ways.get(&(local, remote)).is_none_or(|way| way.until <= now) {
            self.ask(local, remote, now);
        }
        let batch = self.batch;
        let Some(way) = self.ways.get_mut(&(local, remote)) else { return Fate::Left };
        let length = ip_octets(remote) + packet.len();
        let fits = |hop: &Hop| length <= hop.mtu && ETHERNET_OCTETS + length <= FRAME_OCTETS;
        let hop = way.hop.filter(|hop| way.left_in != batch && fits(hop));
        let Some(hop) = hop else {
            way.left_in = batch;
            return Fate::Left;
        };
        let header = self.header(&hop, remote, packet);
        let header = header.get(..ETHERNET_OCTETS + ip_octets(remote)).unwrap_or_default();
        if self.push_frame(hop.interface, header, packet.data()) {
            return Fate::Framed;
        }
        // Through the raw socket it would overtake those that wait.
        self.flush(report);
        let is_pushed = self.push_frame(hop.interface, header, packet.data());
        if is_pushed { Fate::Framed } else { Fate::Unsent }
    }

    fn push_frame(&mut self, interface: u32, header: &[u8], payload: &[u8]) -> bool {
        let device = self.devices.iter_mut().find(|(number, _)| *number == interface);
        device.is_some_and(|(_, device)| device.push(header, payload))
    }

    /// The frame's header: Ethernet, and IP as a raw socket would make it.
    fn header(&mut self, hop: &Hop, remote: IpAddr, packet: &PacketBuf) -> [u8; HEADER_OCTETS_MAX] {
        let mut header = [0; HEADER_OCTETS_MAX];
        let (front, back) = header.split_at_mut(ETHERNET_OCTETS);
        front.copy_from_slice(&hop.ethernet);
        match (hop.source, remote) {
            (IpAddr::V4(source), IpAddr::V4(remote)) => {
                self.identification = self.identification.wrapping_add(1);
                let addresses = [source.octets(), remote.octets()];
                let ip = ipv4_header(addresses, self.identification, packet);
                back.iter_mut().zip(ip).for_each(|(place, octet)| *place = octet);
            }
            (IpAddr::V6(source), IpAddr::V6(remote)) => {
                let ip = ipv6_header([source.octets(), remote.octets()], hop.label, packet);
                back.iter_mut().zip(ip).for_each(|(place, octet)| *place = octet);
            }
            // A route's source is of its destination's family.
            _ => {}
        }
        header
    }

    /// Asks the kernel for the way, and remembers the answer; what is left of this batch goes through
    /// the raw socket.
    fn ask(&mut self, local: IpAddr, remote: IpAddr, now: Instant) {
        let mut way = Way { until: now + UNKNOWN_FOR, hop: None, left_in: self.batch };
        let has_place = self.ways.contains_key(&(local, remote));
        if self.ask_again.is_some_and(|at| now < at) {
            // What was believed is no more.
            if has_place {
                self.ways.insert((local, remote), way);
            }
            return;
        }
        if self.ways.len() >= WAYS_MAX && !has_place {
            self.ways.retain(|_, way| now < way.until);
            if self.ways.len() >= WAYS_MAX {
                self.ask_again = Some(now + UNKNOWN_FOR);
                return;
            }
        }
        match self.find(local, remote, now) {
            Ok(Some(hop)) => (way.until, way.hop) = (now + BELIEVED_FOR, Some(hop)),
            Ok(None) => {}
            Err(error) if error.errno() == Some(libc::EAGAIN) => {
                self.ask_again = Some(clock::now() + SILENT_FOR);
            }
            Err(error) => tracing::trace!(%error, %remote, "no way is known"),
        }
        self.ways.insert((local, remote), way);
    }

    fn find(
        &mut self,
        local: IpAddr,
        remote: IpAddr,
        now: Instant,
    ) -> Result<Option<Hop>, SysError> {
        let given = (!local.is_unspecified()).then_some(local);
        let route = self.netlink.lookup_route(remote, given, self.mark)?;
        let (RouteKind::Unicast, Some(source)) = (route.kind, given.or(route.source)) else {
            return Ok(None);
        };
        let interface = route.interface;
        let Some(link) = self.link(interface, now)? else { return Ok(None) };
        if !self.has_device(interface, now) {
            return Ok(None);
        }
        let neighbour = route.via.unwrap_or(remote);
        let Some(neighbour) = self.netlink.ethernet_neighbour(interface, neighbour)? else {
            return Ok(None);
        };
        let mut ethernet = [0; ETHERNET_OCTETS];
        let (theirs, rest) = ethernet.split_at_mut(6);
        let (ours, kind) = rest.split_at_mut(6);
        theirs.copy_from_slice(&neighbour);
        ours.copy_from_slice(&link.ours);
        kind.copy_from_slice(if remote.is_ipv4() { &ETHERTYPE_IPV4 } else { &ETHERTYPE_IPV6 });
        let mtu = route.mtu.map_or(link.mtu, |mtu| mtu.min(link.mtu));
        let mtu = usize::try_from(mtu).unwrap_or(0);
        let label = self.labels.hash_one((source, remote)) & FLOW_LABEL;
        let label = u32::try_from(label).unwrap_or(0);
        Ok(Some(Hop { interface, ethernet, source, mtu, label }))
    }

    /// What an interface is; asked for once in a while, however many peers are behind it. `None` if it
    /// sends no frames.
    fn link(&mut self, interface: u32, now: Instant) -> Result<Option<EthernetLink>, SysError> {
        self.refused.retain(|(_, until)| now < *until);
        if self.refused.iter().any(|(number, _)| *number == interface) {
            return Ok(None);
        }
        self.links.retain(|(_, until, _)| now < *until);
        let known = self.links.iter().find(|(number, ..)| *number == interface);
        if let Some((_, _, link)) = known {
            return Ok(*link);
        }
        let link = self.netlink.ethernet_link(interface)?;
        let period = if link.is_some() { BELIEVED_FOR } else { UNKNOWN_FOR };
        if self.links.len() < LINKS_MAX {
            self.links.push((interface, now + period, link));
        }
        Ok(link)
    }

    /// Makes sure that there is a socket for an interface, which is not tried too often.
    fn has_device(&mut self, interface: u32, now: Instant) -> bool {
        if self.devices.iter().any(|(number, _)| *number == interface) {
            return true;
        }
        if self.devices.len() >= DEVICES_MAX {
            // What waits is told of when it is lost.
            self.devices.retain(|(_, device)| device.waiting() > 0 || !device.is_gone());
            if self.devices.len() >= DEVICES_MAX {
                return false;
            }
        }
        match self.xdp.sender(interface) {
            Ok(device) => {
                self.devices.push((interface, device));
                true
            }
            Err(error) => {
                if self.xdp.tells(interface, News::SendsNot) {
                    tracing::info!(%error, interface, "no frames can be sent by this interface");
                }
                if self.refused.len() < LINKS_MAX {
                    self.refused.push((interface, now + REFUSED_FOR));
                }
                false
            }
        }
    }
}

/// A link-local address does not say which link.
fn is_link_local(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(address) if address.is_unicast_link_local())
}

/// Octets of the IP header before ESP.
fn ip_octets(remote: IpAddr) -> usize {
    if remote.is_ipv4() { IPV4_OCTETS } else { IPV6_OCTETS }
}

/// RFC 791 §3.1. The packet fits a link, so that its length fits the field.
fn ipv4_header(
    addresses: [[u8; 4]; 2],
    identification: u16,
    packet: &PacketBuf,
) -> [u8; IPV4_OCTETS] {
    let total = u16::try_from(IPV4_OCTETS + packet.len()).unwrap_or(u16::MAX);
    let [t0, t1] = total.to_be_bytes();
    let [i0, i1] = identification.to_be_bytes();
    let [[s0, s1, s2, s3], [d0, d1, d2, d3]] = addresses;
    let flags = if packet.meta.dont_fragment { DONT_FRAGMENT } else { 0 };
    let (tos, esp) = (packet.meta.tos, IpProtocol::ESP.0);
    let mut ip =
        [0x45, tos, t0, t1, i0, i1, flags, 0, TTL, esp, 0, 0, s0, s1, s2, s3, d0, d1, d2, d3];
    let [c0, c1] = checksum(&ip).to_be_bytes();
    (ip[10], ip[11]) = (c0, c1);
    ip
}

/// RFC 8200 §3; likewise.
fn ipv6_header(addresses: [[u8; 16]; 2], label: u32, packet: &PacketBuf) -> [u8; IPV6_OCTETS] {
    let [source, destination] = addresses;
    let first = 6 << 28 | u32::from(packet.meta.tos) << 20 | label;
    let length = u16::try_from(packet.len()).unwrap_or(u16::MAX);
    let mut ip = [0; IPV6_OCTETS];
    let fields: [&[u8]; 5] = [
        &first.to_be_bytes(),
        &length.to_be_bytes(),
        &[IpProtocol::ESP.0, TTL],
        &source,
        &destination,
    ];
    let octets = fields.into_iter().flatten();
    ip.iter_mut().zip(octets).for_each(|(place, octet)| *place = *octet);
    ip
}

/// How long route and neighbour are believed, and how often a packet shows the kernel that they are in
/// use.
const BELIEVED_FOR: Duration = Duration::from_secs(1);
/// How long a neighbour stays unknown: the raw socket's packet makes the kernel look for it.
const UNKNOWN_FOR: Duration = Duration::from_millis(200);
/// How long an interface that sends no frames is not tried again.
const REFUSED_FOR: Duration = Duration::from_secs(60);
/// How long the kernel may take for an answer, and how long it is not asked after one that took longer:
/// packets wait meanwhile.
const PATIENCE: Duration = Duration::from_millis(5);
const SILENT_FOR: Duration = Duration::from_secs(1);
/// Interfaces about which something is remembered.
const LINKS_MAX: usize = 64;
/// Pairs of addresses; of more peers some go through the raw socket.
const WAYS_MAX: usize = 1_024;
const ETHERNET_OCTETS: usize = 14;
const IPV4_OCTETS: usize = 20;
const IPV6_OCTETS: usize = 40;
const HEADER_OCTETS_MAX: usize = ETHERNET_OCTETS + IPV6_OCTETS;
const ETHERTYPE_IPV4: [u8; 2] = [0x08, 0x00];
const ETHERTYPE_IPV6: [u8; 2] = [0x86, 0xdd];
/// Its bits.
const FLOW_LABEL: u64 = 0xf_ffff;
/// What the kernel gives packets of its own (RFC 1700).
const TTL: u8 = 64;
/// In the octet that begins with the flags.
const DONT_FRAGMENT: u8 = 0x40;
