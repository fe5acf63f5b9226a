//! Many datagrams in one message: packets to one place and of one length go through the network stack
//! as one, which the kernel or the device cuts again (UDP_SEGMENT, Linux 4.18).
//!
//! Packets stay in order. A run ends where the next packet goes elsewhere or is longer, and behind one
//! that is shorter: only the last piece of a message may be.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd, BorrowedFd};

use adit_wire::PacketBuf;
use nix::libc;

use super::{BATCH_MAX, BatchIo, DontFragment, SendReport, Target, tries_max};
use crate::uncut::Uncut;

/// Most packets in a message: one less than UDP_MAX_SEGMENTS before Linux 6.9, because kernels before
/// 5.16 hold the headers against it, too.
const RUN_PACKETS_MAX: usize = 63;
/// Most octets in a message: what an IP packet has beside its headers, and some room.
const RUN_OCTETS_MAX: usize = 65_000;
/// Most packets in one system call.
const PACKETS_MAX: usize = 512;
/// Refusals that are remembered, each where the hash of its place says.
const REFUSALS_MAX: usize = 256;
/// Packets to such a place that go one by one before a run is tried again: routes and devices change.
const REFUSED_PACKETS: u32 = 100_000;

/// What the messages under way are made of.
pub(super) struct Runs {
    /// One for each packet, in order.
    vectors: Box<[libc::iovec]>,
    messages: Box<[Message]>,
    refusals: Refusals,
}

#[derive(Clone, Copy, Default)]
struct Message {
    /// Where its packets begin among the vectors, and how many they are.
    first: usize,
    packets: usize,
    /// Octets of each packet but the last.
    packet_len: usize,
    /// Octets of control messages for a packet that goes alone.
    control_len: usize,
}

/// How much of [`Runs`] is in use, and what the last message takes.
#[derive(Default)]
struct Pile {
    messages: usize,
    vectors: usize,
    open: Option<Open>,
}

/// A run that may grow.
struct Open {
    target: Target,
    packet_len: usize,
    octets: usize,
    packets: usize,
}

impl Runs {
    pub(super) fn new() -> Self {
        let vector = libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 };
        Self {
            vectors: vec![vector; PACKETS_MAX].into_boxed_slice(),
            messages: vec![Message::default(); BATCH_MAX].into_boxed_slice(),
            refusals: Refusals::default(),
        }
    }

    /// Packets of some messages.
    fn packets(&self, messages: std::ops::Range<usize>) -> usize {
        self.messages.get(messages).unwrap_or_default().iter().map(|message| message.packets).sum()
    }
}

impl BatchIo {
    /// How many places some runs do not go to, as far as is remembered.
    #[must_use]
    pub fn refused_runs(&self) -> usize {
        let refusals = &self.runs.refusals;
        refusals.used + usize::from(refusals.everywhere > 0)
    }

    /// Sends all packets, in order, to `target(packet)`; as [`Self::send`], in fewer messages.
    pub(crate) fn send_runs<'a>(
        &mut self,
        socket: BorrowedFd<'_>,
        uncut: Option<&Uncut>,
        packets: impl IntoIterator<Item = &'a PacketBuf>,
        target: impl Fn(&PacketBuf) -> Target,
    ) -> SendReport {
        let mut report = SendReport::default();
        let mut dont_fragment = DontFragment::off(socket, uncut);
        let mut pile = Pile::default();
        for packet in packets {
            let target = target(packet);
            if self.lengthen(&mut pile, packet, target) {
                continue;
            }
            if target.dont_fragment && report.send_uncut(uncut, packet, target) {
                continue;
            }
            let is_full = pile.messages == BATCH_MAX || pile.vectors == PACKETS_MAX;
            if is_full || dont_fragment.on != target.dont_fragment {
                self.flush_runs(dont_fragment.socket(), &mut pile, &mut report);
            }
            if report.unsent > 0 {
                report.unsent += 1;
                continue;
            }
            if let Err(errno) = dont_fragment.turn(target) {
                report.note(errno);
                continue;
            }
            self.begin(&mut pile, packet, target);
        }
        self.flush_runs(dont_fragment.socket(), &mut pile, &mut report);
        report.calls += dont_fragment.calls();
        report
    }

    /// Adds a packet to the last message; `false` if it must begin another.
    fn lengthen(&mut self, pile: &mut Pile, packet: &PacketBuf, target: Target) -> bool {
        let Some(open) = &mut pile.open else { return false };
        let (len, at) = (packet.len(), pile.messages.saturating_sub(1));
        let fits = open.target == target
            && (1..=open.packet_len).contains(&len)
            && open.packets < RUN_PACKETS_MAX
            && open.octets.saturating_add(len) <= RUN_OCTETS_MAX;
        let (true, Some(vector), Some(message), Some(header), Some(control)) = (
            fits,
            self.runs.vectors.get_mut(pile.vectors),
            self.runs.messages.get_mut(at),
            self.headers.get_mut(at),
            self.controls.get_mut(at),
        ) else {
            return false;
        };
        *vector = vector_of(packet);
        pile.vectors += 1;
        open.octets += len;
        open.packets += 1;
        message.packets = open.packets;
        let header = &mut header.msg_hdr;
        header.msg_iovlen = open.packets as _;
        if open.packets == 2 {
            let packet_len = u16::try_from(open.packet_len).unwrap_or(u16::MAX);
            header.msg_controllen = control.add_segment_len(message.control_len, packet_len) as _;
        }
        if len < open.packet_len {
            pile.open = None;
        }
        true
    }

    /// Makes a message of a packet.
    fn begin(&mut self, pile: &mut Pile, packet: &PacketBuf, target: Target) {
        let at = pile.messages;
        let first = pile.vectors;
        let (Some(header), Some(vector), Some(address), Some(control), Some(message)) = (
            self.headers.get_mut(at),
            self.runs.vectors.get_mut(first),
            self.addresses.get_mut(at),
            self.controls.get_mut(at),
            self.runs.messages.get_mut(at),
        ) else {
            return;
        };
        *vector = vector_of(packet);
        let control_len = target.local.map_or(0, |local| control.set_outgoing(local, target.tos));
        let packet_len = packet.len();
        *message = Message { first, packets: 1, packet_len, control_len };
        let header = &mut header.msg_hdr;
        (header.msg_name, header.msg_namelen) = target.name(address);
        // `flush_runs` says where the vectors are, when no more are written.
        header.msg_iov = std::ptr::null_mut();
        header.msg_iovlen = 1;
        header.msg_control = control.as_mut_ptr().cast();
        header.msg_controllen = control_len as _;
        header.msg_flags = 0;
        pile.messages += 1;
        pile.vectors += 1;
        let may_grow = packet_len > 0 && self.runs.refusals.allow(target.remote, packet_len);
        pile.open = may_grow.then_some(Open { target, packet_len, octets: packet_len, packets: 1 });
    }

    /// Hands the pile to the kernel and empties it. Private: `send_runs` has aimed its messages at
    /// packets that are still borrowed.
    fn flush_runs(&mut self, socket: BorrowedFd<'_>, pile: &mut Pile, report: &mut SendReport) {
        let count = std::mem::take(pile).messages;
        let vectors = self.runs.vectors.as_mut_ptr();
        for (header, message) in self.headers.iter_mut().zip(&self.runs.messages).take(count) {
            header.msg_hdr.msg_iov = vectors.wrapping_add(message.first);
        }
        let mut done = 0;
        let mut tries = 0;
        while done < count {
            let error = match self.hand_over(socket, done..count, report) {
                Ok(sent) => {
                    report.sent += self.runs.packets(done..done.saturating_add(sent));
                    done += sent;
                    tries = 0;
                    continue;
                }
                Err(error) => error,
            };
            let mut is_full = error == libc::EAGAIN;
            tries += 1;
            if !is_full && tries >= tries_max(error) {
                is_full = self.send_singly(socket, done, error, report);
                done += 1;
                tries = 0;
            }
            if is_full {
                report.unsent += self.runs.packets(done..count);
                return;
            }
        }
    }

    /// Sends the packets of a message that was refused one by one, or gives them up if that is not
    /// about the message. `true` if the socket is full.
    fn send_singly(
        &mut self,
        socket: BorrowedFd<'_>,
        at: usize,
        error: i32,
        report: &mut SendReport,
    ) -> bool {
        let (Some(&message), Some(header), Some(address)) =
            (self.runs.messages.get(at), self.headers.get(at), self.addresses.get(at))
        else {
            return false;
        };
        let Message { first, packets, packet_len, control_len } = message;
        if packets == 1 || !is_about_runs(error) {
            (0..packets).for_each(|_| report.note(error));
            return false;
        }
        let remote = address.get();
        let mut header = header.msg_hdr;
        header.msg_iovlen = 1;
        header.msg_controllen = control_len as _;
        let vectors = self.runs.vectors.as_mut_ptr();
        let mut sent = 0;
        let mut is_full = false;
        for number in 0..packets {
            header.msg_iov = vectors.wrapping_add(first + number);
            match send_one(socket, &header, report) {
                Ok(()) => sent += 1,
                Err(libc::EAGAIN) => {
                    report.unsent += packets.saturating_sub(number);
                    is_full = true;
                    break;
                }
                Err(errno) => report.note(errno),
            }
        }
        report.sent += sent;
        // What is not taken singly, either, says nothing about runs.
        if let Some(remote) = remote.filter(|_| sent > 0) {
            self.runs.refusals.remember(remote, packet_len, error);
        }
        is_full
    }
}

fn vector_of(packet: &PacketBuf) -> libc::iovec {
    let octets = packet.data();
    // The kernel does not write through the pointer of a packet to be sent.
    libc::iovec { iov_base: octets.as_ptr().cast_mut().cast(), iov_len: octets.len() }
}

/// Sends a message that `begin` has aimed. Private for the same reason as `flush_runs`.
fn send_one(
    socket: BorrowedFd<'_>,
    header: &libc::msghdr,
    report: &mut SendReport,
) -> Result<(), i32> {
    let mut last = 0;
    // The first error may belong to an earlier packet.
    for _ in 0..2 {
        report.calls += 1;
        // SAFETY: the header is one that `begin` has aimed at an array of `BatchIo` and at a packet
        // that `send_runs` borrows; the kernel only reads through it.
        let sent = unsafe {
            libc::sendmsg(
                socket.as_raw_fd(),
                std::ptr::from_ref(header),
                libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL,
            )
        };
        if sent >= 0 {
            return Ok(());
        }
        last = io::Error::last_os_error().raw_os_error().unwrap_or(0);
        if last == libc::EAGAIN {
            break;
        }
    }
    Err(last)
}

/// Whether packets that are not taken in one message may be taken one by one: the device makes no
/// checksums (EIO), or a packet is longer than its MTU and would have to be cut into fragments
/// (EINVAL, EMSGSIZE).
fn is_about_runs(errno: i32) -> bool {
    matches!(errno, libc::EIO | libc::EINVAL | libc::EMSGSIZE | libc::EOPNOTSUPP)
}

/// The places to which some runs do not go.
struct Refusals {
    places: Box<[Option<Refusal>]>,
    /// How many there are.
    used: usize,
    /// Packets that go one by one wherever they go: a device without checksums refuses all runs.
    everywhere: u32,
    /// Whether the log has it.
    told: bool,
}

#[derive(Clone, Copy)]
struct Refusal {
    remote: SocketAddr,
    /// Octets of the shortest packets that were refused.
    packet_len: usize,
    /// Packets until it is forgotten.
    left: u32,
}

impl Default for Refusals {
    fn default() -> Self {
        let places = vec![None; REFUSALS_MAX].into_boxed_slice();
        Self { places, used: 0, everywhere: 0, told: false }
    }
}

impl Refusals {
    /// Whether packets of this length may go there in runs.
    fn allow(&mut self, remote: SocketAddr, packet_len: usize) -> bool {
        if self.everywhere > 0 {
            self.everywhere -= 1;
            return self.everywhere == 0;
        }
        if self.used == 0 {
            return true;
        }
        let Some(place) = self.places.get_mut(place_of(remote)) else { return true };
        let is_it = |it: &&mut Refusal| it.remote == remote && it.packet_len <= packet_len;
        let Some(refusal) = place.as_mut().filter(is_it) else { return true };
        refusal.left = refusal.left.saturating_sub(1);
        let is_over = refusal.left == 0;
        if is_over {
            *place = None;
            self.used = self.used.saturating_sub(1);
        }
        is_over
    }

    /// Remembers a refusal in the place of what was there.
    fn remember(&mut self, remote: SocketAddr, packet_len: usize, errno: i32) {
        if !std::mem::replace(&mut self.told, true) {
            let error = io::Error::from_raw_os_error(errno);
            tracing::info!(%remote, %error, "datagrams are sent one by one where no run is taken");
        }
        if errno == libc::EIO {
            self.everywhere = REFUSED_PACKETS;
            return;
        }
        let refusal = Refusal { remote, packet_len, left: REFUSED_PACKETS };
        if let Some(place) = self.places.get_mut(place_of(remote)) {
            self.used += usize::from(place.replace(refusal).is_none());
        }
    }
}

/// The place of an address and port: the upper bits of a product, which depend on all.
fn place_of(remote: SocketAddr) -> usize {
    const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;
    let bits = match remote.ip() {
        IpAddr::V4(v4) => u128::from(v4.to_bits()),
        IpAddr::V6(v6) => v6.to_bits(),
    };
    let octets = bits.to_ne_bytes();
    let (words, _) = octets.as_chunks();
    let mix = |sum: u64, word: u64| (sum ^ word).wrapping_mul(FACTOR).rotate_left(32);
    let sum = words.iter().fold(0, |sum, word| mix(sum, u64::from_ne_bytes(*word)));
    let sum = mix(sum, remote.port().into()).wrapping_mul(FACTOR);
    usize::try_from(sum >> 32).unwrap_or(0) % REFUSALS_MAX
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(port: u16) -> SocketAddr {
        SocketAddr::from(([192, 0, 2, 1], port))
    }

    #[test]
    fn a_refusal_is_about_its_place_and_length_and_ends() {
        let mut refusals = Refusals::default();
        refusals.remember(place(1), 1_400, libc::EINVAL);
        assert!(refusals.allow(place(1), 1_399) && refusals.allow(place(2), 1_400));
        for _ in 1..REFUSED_PACKETS {
            assert!(!refusals.allow(place(1), 1_400));
        }
        assert!(refusals.allow(place(1), 1_400));
        assert!(refusals.places.iter().all(Option::is_none) && refusals.used == 0);
    }

    #[test]
    fn a_device_without_checksums_takes_no_run_to_anywhere() {
        let mut refusals = Refusals::default();
        refusals.remember(place(1), 1_400, libc::EIO);
        for number in 1..REFUSED_PACKETS {
            let port = u16::try_from(number % 1_000).unwrap();
            assert!(!refusals.allow(place(port), 1));
        }
        assert!(refusals.allow(place(1), 1) && refusals.allow(place(1), 1_400));
    }

    #[test]
    fn many_places_have_room_and_a_newer_refusal_takes_an_older_ones() {
        let mut refusals = Refusals::default();
        for port in 0..2_000 {
            refusals.remember(place(port), 100, libc::EINVAL);
            refusals.remember(place(port), 90, libc::EINVAL);
            assert!(!refusals.allow(place(port), 90));
            assert!(refusals.places.iter().flatten().count() == refusals.used);
        }
        assert!((200..=REFUSALS_MAX).contains(&refusals.used), "{}", refusals.used);
        let remembered = (0..2_000).filter(|port| !refusals.allow(place(*port), 90)).count();
        assert_eq!(remembered, refusals.used);
    }
}
