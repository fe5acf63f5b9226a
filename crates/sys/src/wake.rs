//! Waiting for several descriptors and for commands of another thread.
//!
//! A packet thread owns one [`Poller`] over its TUN or sockets and the receiving half of a
//! [`channel`]; it never blocks anywhere else, but for the outbound thread while another does its work.

mod spin;

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::mpsc::{self, Receiver, SyncSender, TryRecvError, TrySendError};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::eventfd::{EfdFlags, EventFd};

pub use self::spin::{Spin, SpinCounters};

/// Names one registered descriptor in the events of a [`Poller`].
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Token(pub u64);

/// What to wait for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Interest {
    /// Something can be read.
    Readable,
    /// Something can be written.
    Writable,
    /// Either.
    Both,
    /// Neither, only the end.
    Nothing,
}

impl Interest {
    fn flags(self) -> EpollFlags {
        match self {
            Self::Readable => EpollFlags::EPOLLIN,
            Self::Writable => EpollFlags::EPOLLOUT,
            Self::Both => EpollFlags::EPOLLIN | EpollFlags::EPOLLOUT,
            Self::Nothing => EpollFlags::empty(),
        }
    }
}

/// One descriptor that is ready.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Ready {
    /// As registered.
    pub token: Token,
    /// Reading will not block (or will report the end).
    pub readable: bool,
    /// Writing will not block.
    pub writable: bool,
    /// An error waits: for sockets ask `next_error`.
    pub error: bool,
}

/// The ready descriptors of one wait; made once and reused.
#[derive(Debug)]
pub struct Events {
    slots: Box<[EpollEvent]>,
    ready: usize,
}

impl Events {
    /// Room for [`EVENTS_MAX`] descriptors.
    #[must_use]
    pub fn new() -> Self {
        Self { slots: vec![EpollEvent::empty(); EVENTS_MAX].into_boxed_slice(), ready: 0 }
    }

    /// The ready descriptors.
    pub fn iter(&self) -> impl Iterator<Item = Ready> {
        let ready = self.slots.get(..self.ready).unwrap_or_default();
        ready.iter().map(|slot| {
            let flags = slot.events();
            let ended = EpollFlags::EPOLLHUP | EpollFlags::EPOLLERR;
            Ready {
                token: Token(slot.data()),
                readable: flags.intersects(EpollFlags::EPOLLIN | ended),
                writable: flags.intersects(EpollFlags::EPOLLOUT | ended),
                error: flags.contains(EpollFlags::EPOLLERR),
            }
        })
    }

    /// Whether the wait ended by its timeout.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ready == 0
    }
}

impl Default for Events {
    fn default() -> Self {
        Self::new()
    }
}

/// Most descriptors reported by one wait; the others follow in the next.
pub const EVENTS_MAX: usize = 32;

/// Waits for descriptors, level-triggered: what is not drained is reported again.
#[derive(Debug)]
pub struct Poller(Epoll);

impl Poller {
    /// An empty set.
    ///
    /// # Errors
    ///
    /// Too many open files.
    pub fn new() -> io::Result<Self> {
        Ok(Self(Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?))
    }

    /// Adds a descriptor; it leaves the set when its last duplicate is closed.
    ///
    /// # Errors
    ///
    /// `AlreadyExists` if it is registered already.
    pub fn add(&self, source: impl AsFd, token: Token, interest: Interest) -> io::Result<()> {
        Ok(self.0.add(source, EpollEvent::new(interest.flags(), token.0))?)
    }

    /// Changes what is waited for.
    ///
    /// # Errors
    ///
    /// `NotFound` if it is not registered.
    pub fn modify(&self, source: impl AsFd, token: Token, interest: Interest) -> io::Result<()> {
        Ok(self.0.modify(source, &mut EpollEvent::new(interest.flags(), token.0))?)
    }

    /// Removes a descriptor.
    ///
    /// # Errors
    ///
    /// `NotFound` if it is not registered.
    pub fn remove(&self, source: impl AsFd) -> io::Result<()> {
        Ok(self.0.delete(source)?)
    }

    /// Waits until something is ready or `timeout` has passed (`None`: for ever).
    ///
    /// Fractions of a millisecond are rounded up, so a timer is never found early in a busy loop.
    /// An interrupted wait returns with no event.
    ///
    /// # Errors
    ///
    /// None in practice: the descriptor is ours.
    pub fn wait(&self, events: &mut Events, timeout: Option<Duration>) -> io::Result<()> {
        events.ready = 0;
        events.ready = match self.0.wait(&mut events.slots, epoll_timeout(timeout)) {
            Ok(ready) => ready,
            Err(Errno::EINTR) => 0,
            Err(errno) => return Err(errno.into()),
        };
        Ok(())
    }
}

impl AsFd for Poller {
    /// Readable while something of the set is ready.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.0.as_fd()
    }
}

fn epoll_timeout(timeout: Option<Duration>) -> EpollTimeout {
    let Some(timeout) = timeout else {
        return EpollTimeout::NONE;
    };
    let millis = timeout.as_nanos().div_ceil(1_000_000);
    let millis = i32::try_from(millis).unwrap_or(i32::MAX);
    EpollTimeout::try_from(millis).unwrap_or(EpollTimeout::ZERO)
}

/// Waits for one descriptor; `false` if `timeout` passed first.
///
/// # Errors
///
/// What `poll` answers.
pub fn wait_for(
    source: impl AsFd,
    interest: Interest,
    timeout: Option<Duration>,
) -> io::Result<bool> {
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    let flags = match interest {
        Interest::Readable => PollFlags::POLLIN,
        Interest::Writable => PollFlags::POLLOUT,
        Interest::Both => PollFlags::POLLIN | PollFlags::POLLOUT,
        Interest::Nothing => PollFlags::empty(),
    };
    let timeout = match timeout {
        None => PollTimeout::NONE,
        Some(timeout) => i32::try_from(timeout.as_nanos().div_ceil(1_000_000))
            .ok()
            .and_then(|millis| PollTimeout::try_from(millis).ok())
            .unwrap_or(PollTimeout::MAX),
    };
    match poll(&mut [PollFd::new(source.as_fd(), flags)], timeout) {
        Ok(ready) => Ok(ready > 0),
        Err(Errno::EINTR) => Ok(false),
        Err(errno) => Err(errno.into()),
    }
}

/// Makes a [`Poller`] in another thread return; clones wake the same one.
#[derive(Clone, Debug)]
pub struct Waker(Arc<Alarm>);

#[derive(Debug)]
struct Alarm {
    descriptor: EventFd,
    /// One of the three below. While it rings nobody needs to ring it again, and a queue that fills faster
    /// than it is emptied costs no system call for each command.
    state: AtomicU8,
}

const SILENT: u8 = 0;
/// It does not ring yet, and who looks sees that it will.
const ANNOUNCED: u8 = 1;
const RINGS: u8 = 2;

impl Waker {
    /// A waker nobody waits for yet; register it (it is a descriptor) as readable.
    ///
    /// # Errors
    ///
    /// Too many open files.
    pub fn new() -> io::Result<Self> {
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        let descriptor = EventFd::from_value_and_flags(0, flags)?;
        Ok(Self(Arc::new(Alarm { descriptor, state: AtomicU8::new(SILENT) })))
    }

    /// Makes it readable; several calls before [`Self::clear`] count as one.
    pub fn wake(&self) {
        // Both swaps are read-modify-writes of one flag: either this one comes first, and whoever
        // clears sees what was done before it, or it comes second and rings again.
        if self.0.state.swap(RINGS, Ordering::AcqRel) != RINGS {
            // The only failure is a full counter, and then it is readable already.
            let _ = self.0.descriptor.write(1);
        }
    }

    /// Has [`CommandReceiver::rings`] say so, and leaves who sleeps asleep.
    fn announce(&self) {
        let state = &self.0.state;
        // What is not silent says so already.
        let _ = state.compare_exchange(SILENT, ANNOUNCED, Ordering::AcqRel, Ordering::Acquire);
    }

    /// Makes it unreadable again. Clear first, then look at what was to be done.
    pub fn clear(&self) {
        // EAGAIN means it was clear.
        let _ = self.0.descriptor.read();
        self.0.state.swap(SILENT, Ordering::AcqRel);
    }
}

impl AsFd for Waker {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.descriptor.as_fd()
    }
}

/// A bounded queue to another thread whose receiving half is a descriptor.
///
/// # Errors
///
/// Too many open files.
pub fn channel<T>(capacity: usize) -> io::Result<(CommandSender<T>, CommandReceiver<T>)> {
    let waker = Waker::new()?;
    let (queue, commands) = mpsc::sync_channel(capacity);
    Ok((
        CommandSender { queue, waker: WakeOnDrop(waker.clone()), unrung: AtomicBool::new(false) },
        CommandReceiver { commands, waker },
    ))
}

/// The sending half of a [`channel`].
#[derive(Debug)]
pub struct CommandSender<T> {
    queue: SyncSender<T>,
    waker: WakeOnDrop,
    /// Commands wait that the receiver has not been woken for.
    unrung: AtomicBool,
}

/// Wakes the receiver when its sender goes. It stands after the queue in the sender, because
/// fields are dropped in order and the receiver has to find the queue closed.
#[derive(Clone, Debug)]
struct WakeOnDrop(Waker);

impl Drop for WakeOnDrop {
    fn drop(&mut self) {
        self.0.wake();
    }
}

impl<T> CommandSender<T> {
    /// Queues a command and wakes the receiver; waits while the queue is full.
    ///
    /// # Errors
    ///
    /// Gives the command back when the receiver is gone.
    pub fn send(&self, command: T) -> Result<(), T> {
        self.queue.send(command).map_err(|error| error.0)?;
        self.waker.0.wake();
        Ok(())
    }

    /// Queues a command of many; the receiver may sleep on until [`Self::ring`]. Waits while the queue
    /// is full.
    ///
    /// # Errors
    ///
    /// Gives the command back when the receiver is gone.
    pub fn push(&self, command: T) -> Result<(), T> {
        match self.queue.try_send(command) {
            Ok(()) => {
                self.unrung.store(true, Ordering::Relaxed);
                Ok(())
            }
            // A sleeping receiver would never make room.
            Err(TrySendError::Full(command)) => {
                self.waker.0.wake();
                self.send(command)
            }
            Err(TrySendError::Disconnected(command)) => Err(command),
        }
    }

    /// Like [`Self::push`] but never waits.
    ///
    /// # Errors
    ///
    /// [`TrySendError::Full`] or [`TrySendError::Disconnected`] with the command.
    pub fn try_push(&self, command: T) -> Result<(), TrySendError<T>> {
        match self.queue.try_send(command) {
            Ok(()) => {
                self.unrung.store(true, Ordering::Relaxed);
                Ok(())
            }
            // A sleeping receiver would never make room.
            Err(error) => {
                self.waker.0.wake();
                Err(error)
            }
        }
    }

    /// What was pushed is seen by a receiver that asks [`CommandReceiver::rings`], and one that sleeps may
    /// sleep on until [`Self::ring`]. Costs no system call.
    pub fn announce(&self) {
        if self.unrung.load(Ordering::Relaxed) {
            self.waker.0.announce();
        }
    }

    /// Wakes the receiver if something was pushed since the last time.
    pub fn ring(&self) {
        if self.unrung.swap(false, Ordering::Relaxed) {
            self.waker.0.wake();
        }
    }

    /// Like [`Self::send`] but never waits.
    ///
    /// # Errors
    ///
    /// [`TrySendError::Full`] or [`TrySendError::Disconnected`] with the command.
    pub fn try_send(&self, command: T) -> Result<(), TrySendError<T>> {
        self.queue.try_send(command)?;
        self.waker.0.wake();
        Ok(())
    }
}

impl<T> Clone for CommandSender<T> {
    fn clone(&self) -> Self {
        let unrung = AtomicBool::new(false);
        Self { queue: self.queue.clone(), waker: self.waker.clone(), unrung }
    }
}

/// The receiving half of a [`channel`]; readable when a command waits.
#[derive(Debug)]
pub struct CommandReceiver<T> {
    commands: Receiver<T>,
    waker: Waker,
}

/// What [`CommandReceiver::next`] found.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Next<T> {
    /// A command.
    Command(T),
    /// Nothing now.
    Empty,
    /// Nothing now and nothing ever again: all senders are gone.
    Closed,
}

impl<T> CommandReceiver<T> {
    /// Takes the next command without waiting. Call it until it is not a command.
    pub fn next(&self) -> Next<T> {
        match self.commands.try_recv() {
            Ok(command) => Next::Command(command),
            Err(TryRecvError::Disconnected) => Next::Closed,
            Err(TryRecvError::Empty) => {
                // A command queued between the two looks leaves the waker set or is seen here.
                self.waker.clear();
                match self.commands.try_recv() {
                    Ok(command) => {
                        self.waker.wake();
                        Next::Command(command)
                    }
                    Err(TryRecvError::Empty) => Next::Empty,
                    Err(TryRecvError::Disconnected) => Next::Closed,
                }
            }
        }
    }

    /// Whether a command may wait: all those that were queued before are seen. Costs no system call, and
    /// does not replace [`Self::next`] when the descriptor is readable.
    #[must_use]
    pub fn rings(&self) -> bool {
        self.waker.0.state.load(Ordering::Acquire) != SILENT
    }

    /// Waits for the next command at most `timeout` (`None`: for ever).
    pub fn wait(&self, timeout: Option<Duration>) -> Next<T> {
        let received = match timeout {
            Some(timeout) => self.commands.recv_timeout(timeout).map_err(|error| match error {
                mpsc::RecvTimeoutError::Timeout => TryRecvError::Empty,
                mpsc::RecvTimeoutError::Disconnected => TryRecvError::Disconnected,
            }),
            None => self.commands.recv().map_err(|_| TryRecvError::Disconnected),
        };
        match received {
            Ok(command) => Next::Command(command),
            Err(TryRecvError::Empty) => Next::Empty,
            Err(TryRecvError::Disconnected) => Next::Closed,
        }
    }

    /// Makes the descriptor readable from any thread, without a command.
    #[must_use]
    pub fn waker(&self) -> Waker {
        self.waker.clone()
    }
}

impl<T> AsFd for CommandReceiver<T> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.waker.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::thread::spawn_named;

    const COMMANDS: Token = Token(7);

    #[test]
    fn commands_of_another_thread_end_the_wait_and_arrive_in_order() {
        let (sender, receiver) = channel::<u32>(4).unwrap();
        let poller = Poller::new().unwrap();
        poller.add(&receiver, COMMANDS, Interest::Readable).unwrap();
        let writer = spawn_named("writer", move || (0..100).try_for_each(|n| sender.send(n)));

        let mut events = Events::new();
        let mut seen = Vec::new();
        'all: loop {
            poller.wait(&mut events, Some(Duration::from_secs(10))).unwrap();
            assert_eq!(events.iter().map(|ready| ready.token).collect::<Vec<_>>(), [COMMANDS]);
            loop {
                match receiver.next() {
                    Next::Command(n) => seen.push(n),
                    Next::Empty => break,
                    Next::Closed => break 'all,
                }
            }
        }

        writer.unwrap().join().unwrap().unwrap();
        assert_eq!(seen, (0..100).collect::<Vec<_>>());
    }

    #[test]
    fn what_is_pushed_waits_for_one_ring() {
        let (sender, receiver) = channel::<u32>(8).unwrap();
        let is_ready = || wait_for(&receiver, Interest::Readable, Some(Duration::ZERO)).unwrap();
        sender.ring();
        assert!(!is_ready());
        sender.push(0).unwrap();
        sender.push(1).unwrap();
        sender.try_push(2).unwrap();
        assert!(!is_ready());
        sender.ring();
        assert!(is_ready());
        for n in 0..3 {
            assert_eq!(receiver.next(), Next::Command(n));
        }
        assert_eq!(receiver.next(), Next::Empty);
        sender.ring();
        assert!(!is_ready());
    }

    #[test]
    fn what_finds_no_room_wakes_who_can_make_it() {
        let (sender, receiver) = channel::<u32>(1).unwrap();
        sender.try_push(0).unwrap();
        assert_eq!(sender.try_push(1), Err(TrySendError::Full(1)));
        assert!(wait_for(&receiver, Interest::Readable, Some(Duration::ZERO)).unwrap());
    }

    #[test]
    fn a_full_queue_is_rung_for_so_that_it_empties() {
        let (sender, receiver) = channel::<u32>(2).unwrap();
        let writer = spawn_named("writer", move || (0..100).try_for_each(|n| sender.push(n)));
        let mut seen = Vec::new();
        loop {
            match receiver.next() {
                Next::Command(n) => seen.push(n),
                Next::Empty => {
                    assert!(wait_for(&receiver, Interest::Readable, Some(WAIT)).unwrap());
                }
                Next::Closed => break,
            }
        }
        writer.unwrap().join().unwrap().unwrap();
        assert_eq!(seen, (0..100).collect::<Vec<_>>());
    }

    #[test]
    fn who_is_gone_takes_nothing() {
        let (sender, receiver) = channel::<u32>(2).unwrap();
        drop(receiver);
        assert_eq!(sender.push(1), Err(1));
    }

    const WAIT: Duration = Duration::from_secs(10);

    #[test]
    fn an_idle_poller_returns_after_the_timeout() {
        let poller = Poller::new().unwrap();
        let waker = Waker::new().unwrap();
        poller.add(&waker, Token(1), Interest::Readable).unwrap();
        let mut events = Events::new();

        poller.wait(&mut events, Some(Duration::from_micros(10))).unwrap();
        assert!(events.is_empty());

        waker.wake();
        waker.wake();
        poller.wait(&mut events, None).unwrap();
        assert_eq!(events.iter().count(), 1);

        waker.clear();
        poller.wait(&mut events, Some(Duration::ZERO)).unwrap();
        assert!(events.is_empty());
    }

    #[test]
    fn what_is_announced_is_seen_and_wakes_nobody() {
        let (sender, receiver) = channel(4).unwrap();
        let is_readable = || wait_for(&receiver, Interest::Readable, Some(Duration::ZERO)).unwrap();
        sender.announce();
        assert!(!receiver.rings());
        sender.push(1).unwrap();
        sender.announce();
        assert!(receiver.rings() && !is_readable());
        sender.ring();
        assert!(receiver.rings() && is_readable());
        assert_eq!([receiver.next(), receiver.next()], [Next::Command(1), Next::Empty]);
        assert!(!receiver.rings() && !is_readable());
        // Who has taken it is rung for once more, and finds nothing.
        sender.push(2).unwrap();
        sender.announce();
        assert_eq!([receiver.next(), receiver.next()], [Next::Command(2), Next::Empty]);
        sender.ring();
        assert!(is_readable());
        assert_eq!(receiver.next(), Next::Empty);
        assert!(!receiver.rings() && !is_readable());
    }

    #[test]
    fn a_queue_rings_from_its_first_command_until_it_is_empty() {
        let (sender, receiver) = channel::<u32>(2).unwrap();
        assert!(!receiver.rings());
        sender.send(1).unwrap();
        sender.send(2).unwrap();
        for n in 1..=2 {
            assert!(receiver.rings());
            assert_eq!(receiver.next(), Next::Command(n));
        }
        assert_eq!(receiver.next(), Next::Empty);
        assert!(!receiver.rings());
        drop(sender);
        assert!(receiver.rings());
        assert_eq!(receiver.next(), Next::Closed);
        assert!(receiver.rings());
    }

    #[test]
    fn a_full_queue_gives_the_command_back() {
        let (sender, _receiver) = channel::<u32>(1).unwrap();
        sender.try_send(1).unwrap();
        assert!(matches!(sender.try_send(2), Err(TrySendError::Full(2))));
    }
}
