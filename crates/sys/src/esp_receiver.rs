//! Receives ESP above IP past raw sockets, by whatever the devices have: AF_XDP, else a ring.
//!
//! A device is asked for AF_XDP when the first packet has come that would be answered by it, and that
//! its SA has found authentic: no stranger has a say in which devices are left alone. Until then, and
//! where a device has no AF_XDP, packets come by the ring ([`EspRing`], IPv4) or the raw socket. These also have what the program on a device leaves
//! to the kernel: fragments, long packets, options, packets to groups.
//!
//! As with the ring, **rules of the packet filter for ESP to this host do not apply**, and captures on
//! this host do not show what AF_XDP takes.

use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use adit_wire::{PacketBuf, PacketMeta};
use nix::libc;

use crate::clock;
use crate::destinations::{Destinations, Unanswered};
use crate::error::SysError;
use crate::esp_ring::EspRing;
use crate::netlink::{Netlink, RouteKind};
use crate::outer_header::{Verdict, accept};
use crate::wake::{Interest, Poller, Token};
use crate::xdp::{DEVICES_MAX, News, XdpDevice, XdpDevices, XdpReceiver};

/// What one thread receives, in the network namespace in which it was opened. Never blocks.
#[derive(Debug)]
pub struct EspReceiver {
    thread: u32,
    headroom: usize,
    ring: Option<EspRing>,
    xdp: Option<Xdp>,
    /// What is readable when any of them is.
    poller: Poller,
    /// The source whose turn it is.
    turn: usize,
    /// Whether the last call found nothing.
    was_empty: bool,
}

#[derive(Debug)]
struct Xdp {
    devices: XdpDevices,
    receivers: Vec<XdpReceiver>,
    destinations: Destinations,
    netlink: Netlink,
    mark: u32,
    /// A packet of the latest batch that came another way, by its place there.
    seen: Option<(usize, Peers)>,
    /// One that was authentic, and is to come by AF_XDP from now on.
    pupil: Option<Peers>,
    /// When the next of those is looked at.
    next_lesson: Option<Instant>,
    /// Interfaces whose packets come by AF_XDP.
    attached: Vec<u32>,
    refused: Vec<Refused>,
}

/// The addresses of a packet.
#[derive(Clone, Copy, Debug)]
struct Peers {
    local: IpAddr,
    remote: IpAddr,
}

/// A device whose packets do not come by AF_XDP, and when that is tried again.
#[derive(Debug)]
struct Refused {
    interface: u32,
    until: Instant,
    description: String,
}

impl EspReceiver {
    /// Receives as the thread of this number, packets beginning `headroom` octets into their buffers,
    /// IP header included; `mark` is that of the sockets, for the routes.
    ///
    /// # Errors
    ///
    /// [`SysError::Io`]: too many open files.
    pub fn open(
        thread: u32,
        headroom: usize,
        ring: Option<EspRing>,
        devices: Option<XdpDevices>,
        mark: Option<u32>,
    ) -> Result<Self, SysError> {
        let failed = |error| SysError::of("wait for ESP", error);
        let poller = Poller::new().map_err(failed)?;
        if let Some(ring) = &ring {
            poller.add(ring, Token(0), Interest::Readable).map_err(failed)?;
        }
        let xdp = devices.map(|devices| Xdp::open(devices, mark.unwrap_or(0))).transpose()?;
        Ok(Self { thread, headroom, ring, xdp, poller, turn: 0, was_empty: false })
    }

    /// Whether there is a ring.
    #[must_use]
    pub fn has_ring(&self) -> bool {
        self.ring.is_some()
    }

    /// Whether devices are asked for AF_XDP.
    #[must_use]
    pub fn has_xdp(&self) -> bool {
        self.xdp.is_some()
    }

    /// The devices whose packets come by AF_XDP, those of some threads at least, with the way that they
    /// do, for people.
    #[must_use]
    pub fn attached(&self) -> Vec<String> {
        self.xdp.as_ref().map_or_else(Vec::new, |xdp| xdp.devices.receiving())
    }

    /// The devices whose packets do not, with the reason, for people.
    #[must_use]
    pub fn refused(&self) -> Vec<String> {
        let refused = self.xdp.iter().flat_map(|xdp| &xdp.refused);
        refused.map(|one| one.description.clone()).collect()
    }

    /// Octets of the memory that is shared with the kernel; that of AF_XDP is in the account of the
    /// first thread.
    #[must_use]
    pub fn memory_octets(&self) -> usize {
        let ring = self.ring.as_ref().map_or(0, EspRing::memory_octets);
        let xdp = self.xdp.as_ref().filter(|_| self.thread == 0);
        ring + xdp.map_or(0, |xdp| xdp.devices.memory_octets())
    }

    /// Receives ESP packets, from the SPI on, into the front of `packets`; zero if nothing waits.
    ///
    /// They are as [`crate::raw::RawEspSocket::recv_batch`] makes them. What is not for this host, or
    /// broken, is left out.
    ///
    /// # Errors
    ///
    /// ENETDOWN once when an interface goes down; nothing is lost by calling again.
    pub fn recv_batch(&mut self, packets: &mut [PacketBuf]) -> io::Result<usize> {
        let receivers = self.xdp.as_ref().map_or(0, |xdp| xdp.receivers.len());
        let sources = receivers + 1;
        let mut got = 0;
        for step in 0..sources {
            let Some(room) = packets.get_mut(got..).filter(|room| !room.is_empty()) else { break };
            // The last is the ring.
            let source = (self.turn + step) % sources;
            got += match &mut self.xdp {
                Some(xdp) if source < receivers => xdp.receive(source, self.headroom, room),
                _ => self.receive_by_ring(packets, got),
            };
        }
        self.turn = (self.turn + 1) % sources;
        // Who finds nothing anywhere twice in a row was woken by an error.
        let was_empty = std::mem::replace(&mut self.was_empty, got == 0);
        if let Some(ring) = self.ring.as_ref().filter(|_| was_empty && got == 0) {
            ring.take_error()?;
        }
        Ok(got)
    }

    /// Looks at packets that came by the raw socket, whether they could come this way.
    pub fn see(&mut self, packets: &[PacketBuf]) {
        if let (Some(xdp), Some(first)) = (&mut self.xdp, packets.first()) {
            xdp.see(0, &first.meta);
        }
    }

    /// Tells which packets of the latest batch were authentic, by their places.
    pub fn confirm(&mut self, is_authentic: impl FnOnce(usize) -> bool) {
        if let Some(xdp) = &mut self.xdp
            && let Some((place, peers)) = xdp.seen.take()
            && is_authentic(place)
        {
            xdp.pupil = Some(peers);
        }
    }

    /// Asks the device of an authentic packet that came another way for AF_XDP, once in a while. It may take
    /// milliseconds, and so is for when the packets of a batch have been delivered.
    pub fn learn(&mut self) {
        let Self { xdp: Some(xdp), poller, thread, .. } = self else { return };
        let Some(peers) = xdp.pupil.take() else { return };
        let now = clock::now();
        if xdp.next_lesson.is_some_and(|at| now < at) {
            return;
        }
        xdp.next_lesson = Some(now + LESSON_EVERY);
        if let Err(error) = xdp.learn(peers, now, *thread, poller) {
            tracing::debug!(%error, "no device was found for ESP");
        }
    }

    /// Fills packets from a place on.
    fn receive_by_ring(&mut self, packets: &mut [PacketBuf], from: usize) -> usize {
        let Some(ring) = &mut self.ring else { return 0 };
        let room = packets.get_mut(from..).unwrap_or_default();
        let got = ring.take_batch(room);
        if let (Some(xdp), Some(first)) = (&mut self.xdp, room.first().filter(|_| got > 0)) {
            xdp.see(from, &first.meta);
        }
        got
    }
}

impl AsFd for EspReceiver {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.poller.as_fd()
    }
}

impl Xdp {
    fn open(devices: XdpDevices, mark: u32) -> Result<Self, SysError> {
        let mut netlink = Netlink::open()?;
        netlink.set_patience(PATIENCE)?;
        Ok(Self {
            devices,
            receivers: Vec::new(),
            destinations: Destinations::open(Unanswered::Ours)?,
            netlink,
            mark,
            seen: None,
            pupil: None,
            next_lesson: None,
            attached: Vec::new(),
            refused: Vec::new(),
        })
    }

    fn receive(&mut self, source: usize, headroom: usize, packets: &mut [PacketBuf]) -> usize {
        let Some(receiver) = self.receivers.get_mut(source) else { return 0 };
        let destinations = &mut self.destinations;
        destinations.look_at_the_clock();
        let mut stranger = None;
        let mut got = 0;
        receiver.receive(FRAMES_PER_CALL, |frame| {
            let Some(packet) = packets.get_mut(got) else { return false };
            packet.reset(headroom);
            if packet.fill(frame.get(ETHERNET_OCTETS..).unwrap_or_default()) {
                match accept(packet, destinations) {
                    Verdict::Ours => got += 1,
                    Verdict::Strange(address) => stranger = Some(address),
                    Verdict::Broken => {}
                }
            }
            got < packets.len()
        });
        // The address was ours when the program was told of it.
        if let Some(address) = stranger {
            self.devices.leave_address(address);
        }
        got
    }

    fn see(&mut self, place: usize, meta: &PacketMeta) {
        let (local, remote) = (meta.local.ip(), meta.remote.ip());
        // A link-local address does not say which link.
        let is_plain = match local {
            IpAddr::V4(local) => !local.is_multicast() && !local.is_unspecified(),
            IpAddr::V6(local) => {
                !(local.is_multicast() || local.is_unspecified() || local.is_unicast_link_local())
            }
        };
        if is_plain {
            self.seen = Some((place, Peers { local, remote }));
        }
    }

    fn learn(
        &mut self,
        Peers { local, remote }: Peers,
        now: Instant,
        thread: u32,
        poller: &Poller,
    ) -> Result<(), SysError> {
        self.let_go_of_what_is_gone(poller);
        let route = self.netlink.lookup_route(remote, Some(local), self.mark)?;
        if route.kind != RouteKind::Unicast {
            return Ok(());
        }
        let interface = route.interface;
        if self.attached.contains(&interface) {
            self.devices.take_address(local);
            return Ok(());
        }
        let known = self.refused.iter().find(|one| one.interface == interface);
        if known.is_some_and(|one| now < one.until) {
            return Ok(());
        }
        let is_told = known.is_some();
        self.refused.retain(|one| one.interface != interface);
        let link = self.netlink.ethernet_link(interface)?;
        let name = self.name_of(interface);
        let Some(link) = link else {
            self.refuse(interface, now, format!("{name}: no Ethernet that is up"));
            return Ok(());
        };
        let device = XdpDevice { interface, name: &name, ethernet: link.ours };
        match self.attach(device, thread, poller) {
            Ok(()) => self.devices.take_address(local),
            Err(error) => {
                let reason = reason(&error);
                if !is_told && self.devices.tells(interface, News::ReceivesNot) {
                    tracing::info!(interface = name, reason, "ESP does not come by AF_XDP");
                }
                self.refuse(interface, now, format!("{name}: {reason}"));
            }
        }
        Ok(())
    }

    fn attach(&mut self, device: XdpDevice<'_>, thread: u32, poller: &Poller) -> io::Result<()> {
        let XdpDevice { interface, name, .. } = device;
        let (mode, receivers) = self.devices.receivers(device, thread)?;
        let token = Token(interface.into());
        let add = |receiver| poller.add(receiver, token, Interest::Readable);
        if let Err(error) = receivers.iter().try_for_each(add) {
            // Their descriptors leave the poller as they are closed.
            drop(receivers);
            self.devices.let_go_if_unused(interface);
            return Err(error);
        }
        let mode = mode.description();
        if self.devices.tells(interface, News::Receives) {
            tracing::info!(interface = name, mode, "ESP comes by AF_XDP, past the packet filter");
        }
        self.receivers.extend(receivers);
        self.attached.push(interface);
        Ok(())
    }

    fn refuse(&mut self, interface: u32, now: Instant, description: String) {
        if self.refused.len() >= DEVICES_MAX {
            self.refused.remove(0);
        }
        self.refused.push(Refused { interface, until: now + REFUSED_FOR, description });
    }

    /// The descriptor of a socket leaves the poller as it is closed.
    fn let_go_of_what_is_gone(&mut self, poller: &Poller) {
        let Self { receivers, attached, .. } = self;
        receivers.retain(|receiver| {
            let is_gone = receiver.is_gone();
            if is_gone {
                let _ = poller.remove(receiver);
                attached.retain(|one| *one != receiver.interface());
            }
            !is_gone
        });
    }

    fn name_of(&mut self, interface: u32) -> String {
        let links = self.netlink.links().unwrap_or_default();
        let found = links.into_iter().find(|link| link.index == interface);
        found.map_or_else(|| interface.to_string(), |link| link.name)
    }
}

fn reason(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(libc::EBUSY | libc::EEXIST) => {
            "the device has a program or a socket of somebody else's".to_owned()
        }
        _ => error.to_string(),
    }
}

/// How often a packet that comes another way is looked at.
const LESSON_EVERY: Duration = Duration::from_millis(100);
/// How long a device that refuses is left alone.
const REFUSED_FOR: Duration = Duration::from_secs(60);
/// How long the kernel may take for an answer.
const PATIENCE: Duration = Duration::from_millis(100);
/// Frames looked at in one call.
const FRAMES_PER_CALL: usize = 256;
const ETHERNET_OCTETS: usize = 14;
