//! XDP: frames between a device and us, past the network stack (`linux/if_xdp.h`).
//!
//! One [`XdpDevices`] has the sockets of all devices. Threads ask it for halves of them when a way is
//! sought, behind a lock; what a half does afterwards waits for none.

mod bpf;
mod program;
pub(crate) mod queue;
mod receiver;
mod ring;
mod sender;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, Ipv6Addr};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use adit_db::InboundThreads;
use nix::libc;

use self::bpf::{Map, MapKind, Program};
use self::queue::{Queue, RECEIVED_OCTETS_MAX};
pub(crate) use self::receiver::XdpReceiver;
pub(crate) use self::sender::XdpSender;
use crate::clock;
use crate::destinations::OURS_MAX;
use crate::error::SysError;

/// The devices whose frames we send and receive, for all threads of a network namespace.
#[derive(Clone, Debug)]
pub struct XdpDevices(Arc<Mutex<State>>);

/// How a program gets to see frames.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum XdpMode {
    /// The driver asks it.
    Native,
    /// The network stack does.
    Generic,
}

impl XdpMode {
    /// For logs and status.
    pub(crate) fn description(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Generic => "generic",
        }
    }
}

#[derive(Debug)]
struct State {
    threads: InboundThreads,
    /// Our own ones, to which programs take packets; `None` if there are to be no programs.
    addresses: Option<Addresses>,
    devices: BTreeMap<u32, Device>,
    /// Interfaces about which the log has a line; the latest last.
    told: Vec<(u32, News)>,
}

/// An interface to receive by.
#[derive(Clone, Copy, Debug)]
pub(crate) struct XdpDevice<'a> {
    /// Its number.
    pub(crate) interface: u32,
    pub(crate) name: &'a str,
    /// Its own address: what it hears of frames to others is the kernel's.
    pub(crate) ethernet: [u8; 6],
}

/// What the log has of an interface.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum News {
    Receives,
    ReceivesNot,
    SendsNot,
}

#[derive(Debug)]
struct Addresses {
    map: Map<{ program::ADDRESS_OCTETS }>,
    known: BTreeSet<IpAddr>,
    /// Those that were not ours any more, and until when they are not taken again.
    left: BTreeMap<IpAddr, Instant>,
}

/// A device and its sockets, by the number of the queue.
#[derive(Debug, Default)]
struct Device {
    queues: Vec<Queue>,
    receiving: Option<Receiving>,
}

/// What there is only where frames are received.
#[derive(Debug)]
struct Receiving {
    sockets: Map<4>,
    mode: XdpMode,
    /// The name of the interface.
    name: String,
    /// The program goes with it.
    _link: OwnedFd,
}

impl XdpDevices {
    /// Sockets for sending, and for nothing else.
    ///
    /// # Errors
    ///
    /// [`SysError::NotPermitted`] (E504) without CAP_NET_RAW; [`SysError::FamilyUnsupported`]: the
    /// kernel has no AF_XDP; [`SysError::Io`].
    pub fn sending() -> Result<Self, SysError> {
        queue::new_socket().map_err(|error| SysError::of("open AF_XDP socket", error))?;
        let devices = BTreeMap::new();
        let state =
            State { threads: InboundThreads::ONE, addresses: None, devices, told: Vec::new() };
        Ok(Self(Arc::new(Mutex::new(state))))
    }

    /// Has the sockets receive, too, for so many threads.
    ///
    /// # Errors
    ///
    /// [`SysError::NotPermitted`] (E504) without CAP_NET_ADMIN and CAP_BPF; [`SysError::Io`]: the
    /// kernel has no BPF, or none that is new enough (5.9).
    pub fn receive(&self, threads: InboundThreads) -> Result<(), SysError> {
        let failed = |error| SysError::of("load XDP program", error);
        let map = Map::new(MapKind::Hash, u32::try_from(ADDRESSES_MAX).unwrap_or(u32::MAX))
            .map_err(failed)?;
        // Whether a program would be let in is known before a device needs it.
        let sockets = Map::new(MapKind::Sockets, 1).map_err(failed)?;
        load(&map, &sockets, threads, [0; 6]).map_err(failed)?;
        let mut state = self.lock();
        state.threads = threads;
        state.addresses = Some(Addresses { map, known: BTreeSet::new(), left: BTreeMap::new() });
        Ok(())
    }

    /// The half of a device that sends.
    ///
    /// # Errors
    ///
    /// EBUSY: others have all that there are; EOPNOTSUPP, ENODEV and others: the device has none.
    pub(crate) fn sender(&self, interface: u32) -> io::Result<XdpSender> {
        let mut state = self.lock();
        state.forget_what_is_gone();
        let room = QUEUES_MAX.saturating_sub(state.queues());
        let device = state.device(interface)?;
        if let Some(sender) = device.queues.iter_mut().find_map(Queue::sender) {
            return Ok(sender);
        }
        let had = device.queues.len();
        device.open_queues(interface, room.min(1));
        let found = device.queues.iter_mut().skip(had).find_map(Queue::sender);
        if found.is_none() {
            device.queues.truncate(had);
        }
        found.ok_or_else(|| io::Error::from_raw_os_error(libc::EBUSY))
    }

    /// What a thread, given by its number, receives from a device, by queue; the program is put there if
    /// it is not yet.
    ///
    /// # Errors
    ///
    /// EBUSY, EEXIST: the device has a program or sockets of somebody else; EOPNOTSUPP, ENODEV and
    /// others: the device has none.
    pub(crate) fn receivers(
        &self,
        wanted: XdpDevice<'_>,
        thread: u32,
    ) -> io::Result<(XdpMode, Vec<XdpReceiver>)> {
        let interface = wanted.interface;
        let mut state = self.lock();
        state.forget_what_is_gone();
        state.device(interface)?;
        let room = QUEUES_MAX.saturating_sub(state.queues());
        let State { threads, addresses, devices, .. } = &mut *state;
        let addresses = addresses.as_ref().ok_or(io::ErrorKind::Unsupported)?;
        let device = devices.get_mut(&interface).ok_or(io::ErrorKind::NotFound)?;
        let answer = device
            .have_program(wanted, *threads, &addresses.map)
            .and_then(|()| device.receivers(interface, thread, *threads, room));
        if answer.is_err() {
            state.let_go_if_unused(interface);
        }
        answer
    }

    /// Takes the program off a device by which no thread receives, and closes the queues that nobody
    /// uses.
    pub(crate) fn let_go_if_unused(&self, interface: u32) {
        self.lock().let_go_if_unused(interface);
    }

    /// Has programs take ESP to one of our addresses, if there is room for it, and if it was not left a
    /// moment ago: what is not ours on every way would come and go.
    pub(crate) fn take_address(&self, address: IpAddr) {
        if let Some(Addresses { map, known, left }) = &mut self.lock().addresses
            && !known.contains(&address)
            && left.get(&address).is_none_or(|until| *until <= clock::now())
            && map.set(&key_of(address), 1).is_ok()
        {
            known.insert(address);
        }
    }

    /// Has programs leave ESP to an address, which is not ours any more.
    pub(crate) fn leave_address(&self, address: IpAddr) {
        if let Some(Addresses { map, known, left }) = &mut self.lock().addresses
            && known.remove(&address)
        {
            let now = clock::now();
            left.retain(|_, until| now < *until);
            if left.len() < ADDRESSES_MAX {
                left.insert(address, now + LEFT_FOR);
            }
            let _ = map.remove(&key_of(address));
        }
    }

    /// Whether this is still to be told of an interface; it is then held to be.
    pub(crate) fn tells(&self, interface: u32, news: News) -> bool {
        let told = &mut self.lock().told;
        let is_untold = !told.contains(&(interface, news));
        if is_untold {
            told.push((interface, news));
            let surplus = told.len().saturating_sub(TOLD_MAX);
            told.drain(..surplus);
        }
        is_untold
    }

    /// The devices that packets are received from, and how, for people.
    pub(crate) fn receiving(&self) -> Vec<String> {
        let mut state = self.lock();
        state.forget_what_is_gone();
        let receiving = state.devices.values().filter_map(|device| device.receiving.as_ref());
        receiving.map(|one| format!("{}: {}", one.name, one.mode.description())).collect()
    }

    /// Octets of all frames.
    pub(crate) fn memory_octets(&self) -> usize {
        let mut state = self.lock();
        state.forget_what_is_gone();
        state.queues().saturating_mul(queue::FRAMES_OCTETS)
    }

    /// A thread that panicked has left a map that is whole.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// A device with at least one queue.
    fn device(&mut self, interface: u32) -> io::Result<&mut Device> {
        let mut device = match self.devices.remove(&interface) {
            Some(device) => device,
            None if self.devices.len() >= DEVICES_MAX => {
                return Err(io::Error::from_raw_os_error(libc::EMFILE));
            }
            None => Device::default(),
        };
        if device.queues.is_empty() {
            device.queues.push(Queue::open(interface, 0)?);
        }
        Ok(self.devices.entry(interface).or_insert(device))
    }

    fn queues(&self) -> usize {
        self.devices.values().map(|device| device.queues.len()).sum()
    }

    fn forget_what_is_gone(&mut self) {
        self.devices.retain(|_, device| !device.queues.iter().any(Queue::is_gone));
    }

    fn let_go_if_unused(&mut self, interface: u32) {
        let Some(device) = self.devices.get_mut(&interface) else { return };
        if device.queues.iter().any(Queue::has_receivers) {
            return;
        }
        device.receiving = None;
        while device.queues.pop_if(|queue| queue.is_idle()).is_some() {}
        if device.queues.is_empty() {
            self.devices.remove(&interface);
        }
    }
}

impl Device {
    /// Opens further queues, as many as the device has, at most so many; what comes by others is the
    /// kernel's.
    fn open_queues(&mut self, interface: u32, queues_max: usize) {
        let first = self.queues.len();
        let numbers = first..(first + queues_max).min(QUEUES_OF_DEVICE_MAX);
        let open = |number| Queue::open(interface, u32::try_from(number).ok()?).ok();
        self.queues.extend(numbers.map_while(open));
    }

    /// Puts the program on the device.
    fn have_program(
        &mut self,
        XdpDevice { interface, name, ethernet }: XdpDevice<'_>,
        threads: InboundThreads,
        addresses: &Map<{ program::ADDRESS_OCTETS }>,
    ) -> io::Result<()> {
        if self.receiving.is_none() {
            let slots = slot(QUEUES_OF_DEVICE_MAX, threads, 0);
            let sockets = Map::new(MapKind::Sockets, slots)?;
            let program = load(addresses, &sockets, threads, ethernet)?;
            let (mode, link) = attach(&program, interface)?;
            let name = name.to_owned();
            self.receiving = Some(Receiving { sockets, mode, name, _link: link });
        }
        Ok(())
    }

    fn receivers(
        &mut self,
        interface: u32,
        thread: u32,
        threads: InboundThreads,
        room: usize,
    ) -> io::Result<(XdpMode, Vec<XdpReceiver>)> {
        self.open_queues(interface, room);
        let receiving = self.receiving.as_ref().ok_or(io::ErrorKind::NotFound)?;
        let mut receivers = Vec::with_capacity(self.queues.len());
        for (number, queue) in self.queues.iter_mut().enumerate() {
            let receiver = queue.receiver(threads.count())?;
            let slot = slot(number, threads, thread);
            receiving.sockets.set(&slot.to_ne_bytes(), bpf::socket_number(receiver.as_fd()))?;
            receivers.push(receiver);
        }
        Ok((receiving.mode, receivers))
    }
}

/// The number of a socket in the map, as the program counts.
fn slot(queue: usize, threads: InboundThreads, thread: u32) -> u32 {
    let queue = u32::try_from(queue).unwrap_or(u32::MAX);
    queue.saturating_mul(threads.count()).saturating_add(thread)
}

/// By the driver if it can, else by the network stack.
fn attach(program: &Program, interface: u32) -> io::Result<(XdpMode, OwnedFd)> {
    match program.attach(interface, FLAG_DRIVER_MODE) {
        Ok(link) => Ok((XdpMode::Native, link)),
        // Another's program: it stays, and goes on seeing what it is there for.
        Err(error) if matches!(error.raw_os_error(), Some(libc::EBUSY | libc::EEXIST)) => {
            Err(error)
        }
        Err(_) => program.attach(interface, FLAG_SKB_MODE).map(|link| (XdpMode::Generic, link)),
    }
}

fn load(
    addresses: &Map<{ program::ADDRESS_OCTETS }>,
    sockets: &Map<4>,
    threads: InboundThreads,
    ethernet: [u8; 6],
) -> io::Result<Program> {
    Program::load(&program::esp(addresses, sockets, threads, ethernet, RECEIVED_OCTETS_MAX))
}

fn key_of(address: IpAddr) -> [u8; program::ADDRESS_OCTETS] {
    let address: Ipv6Addr = match address {
        IpAddr::V4(address) => address.to_ipv6_mapped(),
        IpAddr::V6(address) => address,
    };
    address.octets()
}

/// Interfaces towards peers.
pub(crate) const DEVICES_MAX: usize = 8;
/// Queues of a device, and of all; what comes by further ones is the kernel's.
const QUEUES_OF_DEVICE_MAX: usize = 8;
const QUEUES_MAX: usize = 16;
/// Interfaces that are not told of twice.
const TOLD_MAX: usize = 64;
/// Our own addresses; ESP to further ones is the kernel's.
const ADDRESSES_MAX: usize = OURS_MAX;
/// How long an address that was left is not taken.
const LEFT_FOR: Duration = Duration::from_secs(5);
/// `linux/if_link.h`.
const FLAG_SKB_MODE: u32 = 1 << 1;
const FLAG_DRIVER_MODE: u32 = 1 << 2;
