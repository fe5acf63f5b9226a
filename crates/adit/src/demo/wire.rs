//! Looks at the wire between the gateways as anyone on the way could: what is ESP, what is IKE,
//! and what of the sites' own traffic passes in clear.

use std::fs::File;
use std::io::{self, BufWriter};
use std::net::IpAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use adit_sys::SysError;
use adit_sys::capture::{Capture, CaptureThread, Frame, PcapWriter, SNAP_MAX};
use adit_sys::netns::Namespace;
use adit_wire::encap::udp::{Encapsulated, classify};
use adit_wire::iana::IpProtocol;
use adit_wire::ip::IpPacket;
use ipnet::IpNet;

use crate::demo::lab::{BERLIN_NETWORK, OSLO_NETWORK, prefix};
use crate::demo::pieces;
use crate::error::Error;

/// What a frame is to an onlooker.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Seen {
    /// An ESP packet, in UDP or not.
    Esp,
    /// An IKE message or a keepalive.
    Ike,
    /// A packet from or to one of the sites' networks, without protection.
    Clear,
    /// Anything else: neighbour discovery, ICMP between routers.
    Other,
}

/// Counts of one wire.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Counts {
    /// ESP packets.
    pub(crate) esp_packets: u64,
    /// IKE messages.
    pub(crate) ike_messages: u64,
    /// Unprotected packets of the sites.
    pub(crate) clear_packets: u64,
    /// Octets of these, IP headers included.
    pub(crate) clear_octets: u64,
}

/// Watches one interface.
#[derive(Debug)]
pub(crate) struct Tap {
    thread: CaptureThread,
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    sites: [IpNet; 2],
    counts: Counts,
    frames: u64,
    /// Frames kept for show, while wanted.
    samples: Option<Vec<Vec<u8>>>,
    pcap: Option<PcapWriter<BufWriter<File>>>,
}

impl Tap {
    /// Starts watching; with `capture`, every frame also goes into that file.
    pub(crate) fn start(
        host: &Namespace,
        interface: &str,
        capture: Option<&Path>,
    ) -> Result<Self, Error> {
        let snap = if capture.is_some() { SNAP_MAX } else { SNAP_SHORT };
        let opened: Result<Capture, SysError> = host.run(|| Capture::open(interface, snap))?;
        let opened = opened?;
        let pcap = match capture {
            Some(path) => {
                let what = path.display().to_string();
                let file = File::create(path).map_err(Error::io(what.clone()))?;
                let out = BufWriter::new(file);
                let pcap = PcapWriter::new(out, opened.link_type(), CAPTURE_OCTETS_MAX);
                Some(pcap.map_err(Error::io(what))?)
            }
            None => None,
        };
        let sites = [prefix(OSLO_NETWORK), prefix(BERLIN_NETWORK)];
        let state = State { sites, counts: Counts::default(), frames: 0, samples: None, pcap };
        let state = Arc::new(Mutex::new(state));
        let of_thread = Arc::clone(&state);
        let thread = CaptureThread::start(opened, move |frame| {
            of_thread.lock().unwrap_or_else(PoisonError::into_inner).take(frame);
            true
        })?;
        Ok(Self { thread, state })
    }

    /// What has been counted since the last time this was asked.
    pub(crate) fn take_counts(&self) -> Counts {
        std::mem::take(&mut self.lock().counts)
    }

    /// Waits until everything that was sent has been looked at: until nothing new comes for a
    /// moment.
    pub(crate) fn settle(&self) {
        let mut before = self.lock().frames;
        for _ in 0..SETTLES_MAX {
            std::thread::sleep(SETTLE);
            let now = self.lock().frames;
            if now == before {
                return;
            }
            before = now;
        }
    }

    /// Keeps frames from now on.
    pub(crate) fn begin_samples(&self) {
        self.lock().samples = Some(Vec::new());
    }

    /// The frames since [`Self::begin_samples`], the first [`SAMPLES_MAX`] of them.
    pub(crate) fn take_samples(&self) -> Vec<Vec<u8>> {
        self.lock().samples.take().unwrap_or_default()
    }

    /// Ends the watch: the last counts and how many frames were lost. The file is complete then.
    pub(crate) fn stop(self) -> Result<(Counts, u64), Error> {
        let summary = self.thread.stop();
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(pcap) = state.pcap.take() {
            pcap.finish().map_err(Error::io("capture file"))?;
        }
        Ok((state.counts, summary.lost.into()))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn take(&mut self, frame: &Frame<'_>) {
        self.frames += 1;
        let Some(packet) = ip_of(frame.octets) else { return };
        let seen = look(packet, &self.sites);
        let ip_octets = frame.original_octets.saturating_sub(ETHERNET_OCTETS);
        match seen {
            Seen::Esp => self.counts.esp_packets += datagrams_in(packet, ip_octets),
            Seen::Ike => self.counts.ike_messages += datagrams_in(packet, ip_octets),
            Seen::Clear => {
                self.counts.clear_packets += 1;
                self.counts.clear_octets += ip_octets as u64;
            }
            Seen::Other => {}
        }
        if let Some(samples) = &mut self.samples
            && matches!(seen, Seen::Esp | Seen::Clear)
            && samples.len() < SAMPLES_MAX
        {
            samples.push(packet.to_vec());
        }
        // A disk that is full ends the file; the counts go on.
        if let Some(pcap) = &mut self.pcap
            && write(pcap, frame).is_err()
        {
            self.pcap = None;
        }
    }
}

/// Writes a frame as a wire carries it: a datagram in each.
fn write(pcap: &mut PcapWriter<BufWriter<File>>, frame: &Frame<'_>) -> io::Result<()> {
    let Some(pieces) = pieces::frames(frame.octets, ETHERNET_OCTETS) else {
        return pcap.write(frame).map(drop);
    };
    for piece in &pieces {
        pcap.write(&Frame { octets: piece, original_octets: piece.len(), ..*frame })?;
    }
    Ok(())
}

/// The IP packet in an Ethernet frame.
fn ip_of(frame: &[u8]) -> Option<&[u8]> {
    let (header, packet) = frame.split_at_checked(ETHERNET_OCTETS)?;
    match header.get(12..)? {
        [0x08, 0x00] | [0x86, 0xdd] => Some(packet),
        _ => None,
    }
}

/// Tells what an IP packet is, which may be cut short.
fn look(packet: &[u8], sites: &[IpNet; 2]) -> Seen {
    let Some((source, destination, protocol, payload)) = fields(packet) else {
        return Seen::Other;
    };
    let inside = |address: &IpAddr| sites.iter().any(|site| site.contains(address));
    if inside(&source) || inside(&destination) {
        return Seen::Clear;
    }
    if protocol == IpProtocol::ESP.0 {
        return Seen::Esp;
    }
    if protocol != IpProtocol::UDP.0 {
        return Seen::Other;
    }
    let [s0, s1, d0, d1, _, _, _, _, datagram @ ..] = payload else { return Seen::Other };
    let ports = [u16::from_be_bytes([*s0, *s1]), u16::from_be_bytes([*d0, *d1])];
    if ports.contains(&4500) {
        return match classify(datagram) {
            Encapsulated::Esp(_) => Seen::Esp,
            Encapsulated::Ike(_) | Encapsulated::Keepalive | Encapsulated::TooShort => Seen::Ike,
        };
    }
    if ports.contains(&500) { Seen::Ike } else { Seen::Other }
}

/// How many ESP packets or IKE messages a frame of them has, whose IP packet may be cut short and is
/// `octets` long.
fn datagrams_in(packet: &[u8], octets: usize) -> u64 {
    let Some((_, _, protocol, payload)) = fields(packet) else { return 1 };
    let Some((udp, datagrams)) = payload.split_at_checked(8) else { return 1 };
    if protocol != IpProtocol::UDP.0 {
        return 1;
    }
    let all = octets.saturating_sub(packet.len().saturating_sub(datagrams.len()));
    pieces::first_len(udp, datagrams).map_or(1, |len| all.div_ceil(len.max(1)) as u64)
}

/// Source, destination, protocol and payload of a packet. One cut short by the capture is read by
/// its first octets; it has no options or extensions here.
fn fields(packet: &[u8]) -> Option<(IpAddr, IpAddr, u8, &[u8])> {
    if let Ok(ip) = IpPacket::read(packet) {
        return Some((ip.src(), ip.dst(), ip.protocol().0, ip.payload()));
    }
    let (header, payload) = packet.split_at_checked(20)?;
    let word = |at: usize| header.get(at..).and_then(<[u8]>::first_chunk::<4>).copied();
    let first = header.first()?;
    (first >> 4 == 4).then_some(())?;
    Some((word(12)?.into(), word(16)?.into(), *header.get(9)?, payload))
}

/// How many octets of `packet` are text of the conversation: those in runs of at least
/// [`RUN_OCTETS`] that also stand in `text`.
pub(crate) fn readable_octets(packet: &[u8], text: &[u8]) -> usize {
    let mut readable = vec![false; packet.len()];
    for (at, run) in packet.windows(RUN_OCTETS).enumerate() {
        if text.windows(RUN_OCTETS).any(|piece| piece == run) {
            readable.iter_mut().skip(at).take(RUN_OCTETS).for_each(|octet| *octet = true);
        }
    }
    readable.into_iter().filter(|octet| *octet).count()
}

/// Shortest run of octets that counts as readable; chance makes one in 2^64 of this length.
const RUN_OCTETS: usize = 8;
const ETHERNET_OCTETS: usize = 14;
/// Enough for the headers, for the packets that are shown, and for where the second of several
/// packets in one piece begins.
const SNAP_SHORT: usize = 2_000;
const SAMPLES_MAX: usize = 32;
const SETTLE: Duration = Duration::from_millis(30);
const SETTLES_MAX: u32 = 100;
/// Bound of a capture file.
const CAPTURE_OCTETS_MAX: u64 = 2_000_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(source: [u8; 4], destination: [u8; 4], protocol: u8, payload: &[u8]) -> Vec<u8> {
        let total = u8::try_from(20 + payload.len()).unwrap();
        let mut packet = vec![0x45, 0, 0, total, 0, 0, 0, 0, 64, protocol, 0, 0];
        packet.extend(source);
        packet.extend(destination);
        packet.extend(payload);
        packet
    }

    fn seen(packet: &[u8]) -> Seen {
        look(packet, &[prefix(OSLO_NETWORK), prefix(BERLIN_NETWORK)])
    }

    #[test]
    fn datagrams_in_one_piece_are_counted_each() {
        let esp = |number: u8, len: usize| {
            let mut octets = vec![0xab; len];
            octets[..8].copy_from_slice(&[1, 2, 3, 4, 0, 0, 0, number]);
            octets
        };
        let udp = [0x11, 0x94, 0x11, 0x94, 0, 0, 0, 0];
        let frame = |pieces: &[Vec<u8>]| {
            let mut octets = packet(OSLO, BERLIN, 17, &[&udp[..], &pieces.concat()].concat());
            octets[2..4].fill(0);
            octets
        };
        let several = frame(&[esp(254, 60), esp(255, 60), esp(0, 60), esp(1, 20)]);
        let several = [&several[..], &[0; 20]].concat();
        assert_eq!(datagrams_in(&several[..several.len() - 20], several.len() - 20), 4);
        assert_eq!(datagrams_in(&several[..100], 28 + 200), 4, "cut behind the second header");
        assert_eq!(datagrams_in(&frame(&[esp(7, 60)]), 88), 1);
    }

    const OSLO: [u8; 4] = [198, 51, 100, 2];
    const BERLIN: [u8; 4] = [203, 0, 113, 2];

    fn udp(port: u16, payload: &[u8]) -> Vec<u8> {
        let mut datagram = vec![0x12, 0x34];
        datagram.extend(port.to_be_bytes());
        datagram.extend(u16::try_from(8 + payload.len()).unwrap().to_be_bytes());
        datagram.extend([0, 0]);
        datagram.extend(payload);
        datagram
    }

    #[test]
    fn packets_of_the_tunnel_are_told_from_clear_ones() {
        assert_eq!(seen(&packet(OSLO, BERLIN, 50, &[1; 40])), Seen::Esp);
        assert_eq!(seen(&packet(OSLO, BERLIN, 17, &udp(500, &[9; 28]))), Seen::Ike);
        assert_eq!(seen(&packet(OSLO, BERLIN, 17, &udp(4500, &[9; 28]))), Seen::Esp);
        assert_eq!(seen(&packet(OSLO, BERLIN, 17, &udp(4500, &[0; 28]))), Seen::Ike);
        assert_eq!(seen(&packet(OSLO, BERLIN, 17, &udp(4500, &[0xff]))), Seen::Ike);
        assert_eq!(seen(&packet(OSLO, BERLIN, 1, &[3; 8])), Seen::Other);
        for (source, destination) in [([10, 1, 0, 10], BERLIN), (OSLO, [10, 2, 0, 20])] {
            assert_eq!(seen(&packet(source, destination, 6, &[1; 20])), Seen::Clear);
            assert_eq!(seen(&packet(source, destination, 50, &[1; 20])), Seen::Clear);
        }
    }

    #[test]
    fn packets_cut_short_are_counted_all_the_same() {
        let mut clear = packet([10, 1, 0, 10], [10, 2, 0, 20], 6, &[1; 40]);
        clear.truncate(30);
        assert_eq!(seen(&clear), Seen::Clear);
        assert_eq!(seen(&clear[..19]), Seen::Other);
        assert_eq!(seen(&[]), Seen::Other);
    }

    #[test]
    fn readable_text_is_found_wherever_it_stands() {
        let text = b"GET /secret HTTP/1.1";
        let mut packet = vec![7; 30];
        assert_eq!(readable_octets(&packet, text), 0);
        packet.extend(&text[3..18]);
        packet.extend([9; 30]);
        assert_eq!(readable_octets(&packet, text), 15);
    }
}
