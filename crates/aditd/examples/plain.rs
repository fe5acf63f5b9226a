//! A tunnel that protects nothing: the daemon's way of moving packets between a TUN and UDP, with the
//! same parts in the same order, and no engine between them.
//!
//! `cargo xtask bench` runs it beside the daemon: no tunnel of this design can be faster, so what the
//! daemon reaches of its speed is what policies, SAs and ciphers leave of it. It is also the shortest
//! way to read how the parts of `adit-sys` and `adit-dataplane::offload` belong together.
//!
//! ```console
//! # cargo run --release -p aditd --example plain -- tun0 192.0.2.1:4500 192.0.2.2:4500
//! ```
//!
//! Whoever can send to that port can write into the TUN: it is for a laboratory's namespaces.

#![expect(clippy::print_stderr, reason = "a command line says on stderr what went wrong")]

use std::env;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;

use adit_dataplane::offload::{Coalescer, MERGED_MAX, Mergeable, Segments};
use adit_dataplane::{HEADROOM_MAX, INNER_MTU, packet_buffer};
use adit_sys::BatchIo;
use adit_sys::gro::GroIo;
use adit_sys::thread::spawn_named;
use adit_sys::tun::{Tun, TunConfig};
use adit_sys::udp::{SocketOptions, UdpSocket};
use adit_sys::wake::{Events, Interest, Poller, Token};
use adit_wire::{PacketBuf, Reader, VnetHeader};

/// Packets that are sent together, and room that the next super-packet needs.
const BURST: usize = 192;
const SPARE: usize = 64;

/// Reads in a row, of either direction.
const READS: usize = 512;

/// Buffers for packets, of so many octets, and for longer datagrams. The odd size spreads them over
/// the lines of a cache.
const SHORT_BUFFERS: usize = 256;
const SHORT_OCTETS: usize = 2_112;
const LONG_BUFFERS: usize = 16;

/// Octets of the longest read.
const READ_MAX: usize = VnetHeader::LEN + 65_535;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("plain: {error}");
            ExitCode::FAILURE
        }
    }
}

type Failure = Box<dyn std::error::Error + Send + Sync>;

fn run() -> Result<(), Failure> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [name, local, peer] = arguments.as_slice() else {
        return Err("usage: plain INTERFACE OUR-ADDRESS:PORT PEERS-ADDRESS:PORT".into());
    };
    let (local, peer): (SocketAddr, SocketAddr) = (local.parse()?, peer.parse()?);
    let config =
        TunConfig { name: name.clone(), mtu: INNER_MTU, addresses: Vec::new(), offloads: true };
    let tun = Arc::new(Tun::create(&config)?);
    let options = SocketOptions { report_errors: false, ..SocketOptions::default() };
    let socket = UdpSocket::bind(local, &options)?;
    socket.join_datagrams()?;
    let sending = socket.try_clone()?;
    let from = Arc::clone(&tun);
    let outbound = spawn_named("outbound", move || outbound(&from, &sending, peer))?;
    inbound(&socket, &tun)?;
    outbound.join().map_err(|_| "the outbound thread ended")??;
    Ok(())
}

/// TUN, cut into packets, runs of them to the network.
fn outbound(tun: &Tun, socket: &UdpSocket, peer: SocketAddr) -> io::Result<()> {
    let (poller, mut events) = (Poller::new()?, Events::new());
    poller.add(tun, Token(0), Interest::Readable)?;
    let mut io = BatchIo::new(HEADROOM_MAX);
    let mut room = vec![0; READ_MAX].into_boxed_slice();
    let mut packets: Vec<PacketBuf> = (0..BURST).map(|_| short_buffer()).collect();
    loop {
        poller.wait(&mut events, None)?;
        let mut used = 0;
        for _ in 0..READS {
            let Some(len) = tun.recv_super(&mut room)? else { break };
            let read = room.get(..len).unwrap_or_default();
            used = cut(read, tun.offloads().any(), &mut packets, used, peer);
            if used + SPARE > BURST {
                send(socket, &mut io, &packets, used);
                used = 0;
            }
        }
        send(socket, &mut io, &packets, used);
    }
}

/// Sends the first packets. What the socket does not take is lost, as in any full queue.
fn send(socket: &UdpSocket, io: &mut BatchIo, packets: &[PacketBuf], count: usize) {
    let _ = socket.send_batch(io, packets.iter().take(count));
}

/// Puts the packets of one read behind the first `used`; how many there are then. A super-packet of
/// more segments than there is room for loses the rest.
fn cut(
    read: &[u8],
    has_header: bool,
    packets: &mut [PacketBuf],
    mut used: usize,
    peer: SocketAddr,
) -> usize {
    let mut reader = Reader(read);
    let header = if has_header { VnetHeader::read(&mut reader) } else { Ok(VnetHeader::default()) };
    let Ok(header) = header else { return used };
    let Ok(mut segments) = Segments::read(&header, reader.0) else { return used };
    while let Some(packet) = packets.get_mut(used) {
        packet.reset(HEADROOM_MAX);
        if !segments.write_next(packet) {
            break;
        }
        packet.meta.remote = peer;
        used += 1;
    }
    used
}

/// The network, datagrams in buffers of their own, merged into the TUN.
fn inbound(socket: &UdpSocket, tun: &Tun) -> io::Result<()> {
    let (poller, mut events) = (Poller::new()?, Events::new());
    poller.add(socket, Token(0), Interest::Readable)?;
    let short = (0..SHORT_BUFFERS).map(|_| short_buffer()).collect();
    let long = (0..LONG_BUFFERS).map(|_| packet_buffer()).collect();
    let mut gro = GroIo::new(HEADROOM_MAX, short, long);
    let mut burst = Coalescer::new(gro.packets().len());
    let mergeable = Mergeable { tcp: tun.offloads().tcp, udp: tun.offloads().udp };
    loop {
        poller.wait(&mut events, None)?;
        for _ in 0..READS {
            if !socket.recv_super(&mut gro)? {
                break;
            }
            while let Some(run) = socket.next_run(&mut gro) {
                for number in run.packets {
                    burst.add(gro.packets(), number, mergeable);
                }
                if run.settle {
                    write(&mut burst, gro.packets_mut(), tun);
                }
            }
            write(&mut burst, gro.packets_mut(), tun);
        }
    }
}

/// Writes what is in the burst. What the TUN does not take is lost, as in any full queue.
fn write(burst: &mut Coalescer, packets: &mut [PacketBuf], tun: &Tun) {
    for number in 0..burst.len() {
        let header = burst.finish(number, packets).to_octets();
        let front = tun.offloads().any().then_some(&header[..]);
        let mut parts = [IoSlice::new(&[]); 1 + MERGED_MAX];
        let mut used = 0;
        let written = front.into_iter().chain(burst.parts(number, packets));
        for (slot, part) in parts.iter_mut().zip(written) {
            *slot = IoSlice::new(part);
            used += 1;
        }
        let _ = tun.send_parts(parts.get(..used).unwrap_or_default());
    }
    burst.clear();
}

fn short_buffer() -> PacketBuf {
    PacketBuf::with_capacity(HEADROOM_MAX, SHORT_OCTETS - HEADROOM_MAX)
}
