//! Measures what a packet of ESP above IP costs through raw sockets, in frames and by a ring, and by
//! AF_XDP both ways.
//!
//! Two threads in two namespaces joined by a veth pair: `cargo run --release -p adit-sys --example
//! raw_speed [SECONDS] [ROUNDS] [xdp]`, as root. Ways take turns within each round; the last lines have the
//! medians of the rounds' ratios. With `xdp` only that way runs, for a profiler.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a program to look at figures")]

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use adit_db::InboundThreads;
use adit_sys::clock;
use adit_sys::esp_receiver::EspReceiver;
use adit_sys::esp_ring::EspRing;
use adit_sys::esp_sender::EspSender;
use adit_sys::netlink::Family;
use adit_sys::netns::Namespace;
use adit_sys::raw::RawEspSocket;
use adit_sys::udp::SocketOptions;
use adit_sys::wake::{Interest, wait_for};
use adit_sys::xdp::XdpDevices;
use adit_sys::{BATCH_MAX, BatchIo};
use adit_wire::PacketBuf;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let mut numbers = arguments.iter().map_while(|text| text.parse::<u64>().ok());
    let seconds = Duration::from_secs(numbers.next().unwrap_or(2));
    let rounds = numbers.next().unwrap_or(3);
    let (left, right) = namespaces();
    if arguments.iter().any(|text| text == "xdp") {
        for octets in SIZES {
            println!("{octets:5} octets  {}", run(&left, &right, Way::Xdp, octets, seconds));
        }
        return;
    }
    for octets in SIZES {
        let mut ratios = Vec::new();
        for round in 1..=rounds {
            let all = Way::ALL.map(|way| run(&left, &right, way, octets, seconds));
            for (way, figures) in Way::ALL.iter().zip(&all) {
                println!("{octets:5} octets  round {round}  {:<16} {figures}", way.name());
            }
            let [slow, ring, xdp] = all;
            ratios.push([&ring, &xdp].map(|fast| (slow.ratio(fast), slow.cpu_ratio(fast))));
        }
        let median = |of: fn(&Ratios) -> f64| {
            let mut all: Vec<f64> = ratios.iter().map(of).collect();
            all.sort_by(f64::total_cmp);
            all.get(all.len() / 2).copied().unwrap_or(0.0)
        };
        println!(
            "{octets:5} octets  frames and ring: {:.2}x delivered, CPU per packet 1/{:.2}",
            median(|[ring, _]| ring.0),
            median(|[ring, _]| ring.1)
        );
        println!(
            "{octets:5} octets  packets delivered per second {:.2}x, CPU per packet 1/{:.2}",
            median(|[_, xdp]| xdp.0),
            median(|[_, xdp]| xdp.1)
        );
    }
}

/// Octets of a packet.
const SIZES: [usize; 2] = [64, 1_400];

/// Packets delivered and CPU per packet against raw sockets, of the two other ways.
type Ratios = [(f64, f64); 2];

/// How packets go and come.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Way {
    Sockets,
    Ring,
    Xdp,
}

impl Way {
    const ALL: [Self; 3] = [Self::Sockets, Self::Ring, Self::Xdp];

    fn name(self) -> &'static str {
        match self {
            Self::Sockets => "raw sockets",
            Self::Ring => "frames and ring",
            Self::Xdp => "AF_XDP both ways",
        }
    }
}

/// What one way did in one round.
struct Figures {
    seconds: f64,
    sent: u64,
    received: u64,
    sender_cpu: Duration,
    receiver_cpu: Duration,
}

impl Figures {
    #[expect(clippy::cast_precision_loss, reason = "counts of seconds' work")]
    fn per_second(&self) -> f64 {
        self.received as f64 / self.seconds
    }

    #[expect(clippy::cast_precision_loss, reason = "counts of seconds' work")]
    fn nanoseconds(&self) -> (f64, f64) {
        let each = |cpu: Duration, count: u64| cpu.as_secs_f64() * 1e9 / count.max(1) as f64;
        (each(self.sender_cpu, self.sent), each(self.receiver_cpu, self.received))
    }

    fn ratio(&self, other: &Self) -> f64 {
        other.per_second() / self.per_second()
    }

    fn cpu_ratio(&self, other: &Self) -> f64 {
        let sum = |(sent, received): (f64, f64)| sent + received;
        sum(self.nanoseconds()) / sum(other.nanoseconds())
    }
}

impl std::fmt::Display for Figures {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (sender, receiver) = self.nanoseconds();
        write!(
            f,
            "{:7.0} kpps delivered, CPU ns per packet: {sender:5.0} sent, {receiver:5.0} received",
            self.per_second() / 1e3
        )
    }
}

fn run(left: &Namespace, right: &Namespace, way: Way, octets: usize, time: Duration) -> Figures {
    let over = AtomicBool::new(false);
    let started = clock::now();
    let (mut sent, mut received) = ((0, Duration::ZERO), (0, Duration::ZERO));
    std::thread::scope(|scope| {
        let receiver = scope.spawn(|| right.run(|| receive(way, &over)).unwrap());
        let sender = scope.spawn(|| left.run(|| send(way, octets, started + time)).unwrap());
        sent = sender.join().unwrap();
        std::thread::sleep(Duration::from_millis(50));
        over.store(true, Ordering::Relaxed);
        received = receiver.join().unwrap();
    });
    Figures {
        seconds: time.as_secs_f64(),
        sent: sent.0,
        received: received.0,
        sender_cpu: sent.1,
        receiver_cpu: received.1,
    }
}

fn open() -> RawEspSocket {
    RawEspSocket::open(Family::V4, &SocketOptions::default()).unwrap()
}

fn send(way: Way, octets: usize, until: Instant) -> (u64, Duration) {
    let mark = SocketOptions::default().mark;
    let sender = if way == Way::Sockets {
        EspSender::by_sockets(vec![open()])
    } else {
        EspSender::by_frames(vec![open()], mark, XdpDevices::sending().unwrap()).unwrap()
    };
    let mut io = BatchIo::new(0);
    let mut packets: Vec<_> = (0..BATCH_MAX).map(|_| PacketBuf::with_capacity(0, 2_048)).collect();
    for packet in &mut packets {
        assert!(packet.fill(&vec![1; octets]));
        packet.meta.local = SocketAddr::new(IpAddr::from([192, 0, 2, 1]), 0);
        packet.meta.remote = SocketAddr::new(IpAddr::from([192, 0, 2, 2]), 0);
    }
    let before = clock::thread_cpu_time();
    let mut sent = 0;
    while clock::now() < until {
        sent += sender.send_batch(&mut io, &packets).sent as u64;
    }
    (sent, clock::thread_cpu_time().saturating_sub(before))
}

fn receive(way: Way, over: &AtomicBool) -> (u64, Duration) {
    const HEADROOM: usize = 64;
    let socket = open();
    let mut fast = (way != Way::Sockets).then(|| {
        let ring = EspRing::open(&socket, HEADROOM).unwrap();
        let devices = (way == Way::Xdp).then(|| {
            let devices = XdpDevices::sending().unwrap();
            devices.receive(InboundThreads::ONE).unwrap();
            devices
        });
        EspReceiver::open(0, HEADROOM, Some(ring), devices, SocketOptions::default().mark).unwrap()
    });
    let mut io = BatchIo::new(HEADROOM);
    let mut packets: Vec<_> =
        (0..BATCH_MAX).map(|_| PacketBuf::with_capacity(HEADROOM, 2_048)).collect();
    let before = clock::thread_cpu_time();
    let mut received = 0;
    let moment = Some(Duration::from_millis(20));
    while !over.load(Ordering::Relaxed) {
        let got = match &mut fast {
            Some(fast) => fast.recv_batch(&mut packets).unwrap(),
            None => socket.recv_batch(&mut io, &mut packets).unwrap(),
        };
        received += got as u64;
        if let Some(fast) = &mut fast {
            fast.confirm(|_| true);
            fast.learn();
        }
        if got == 0 {
            let _ = match &fast {
                Some(fast) => wait_for(fast, Interest::Readable, moment),
                None => wait_for(&socket, Interest::Readable, moment),
            };
        }
    }
    if way == Way::Xdp {
        assert!(fast.is_some_and(|fast| !fast.attached().is_empty()), "the device has no AF_XDP");
    }
    (received, clock::thread_cpu_time().saturating_sub(before))
}

fn namespaces() -> (Namespace, Namespace) {
    let (left, right) = (Namespace::create().unwrap(), Namespace::create().unwrap());
    left.netlink().unwrap().add_veth_to("left0", "right0", &right).unwrap();
    for (namespace, name, address) in
        [(&left, "left0", "192.0.2.1/24"), (&right, "right0", "192.0.2.2/24")]
    {
        let mut netlink = namespace.netlink().unwrap();
        let index = netlink.link_by_name(name).unwrap().index;
        netlink.add_address(index, address.parse().unwrap()).unwrap();
        netlink.set_up(index, true).unwrap();
    }
    for (namespace, name) in [(&left, "left0"), (&right, "right0")] {
        let mut netlink = namespace.netlink().unwrap();
        let index = netlink.link_by_name(name).unwrap().index;
        assert!(netlink.wait_until_ready(index, Duration::from_secs(5)).unwrap());
    }
    (left, right)
}
