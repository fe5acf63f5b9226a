//! Sends Ethernet frames: they lie in memory shared with the kernel, and one system call hands it
//! many.

#![expect(unsafe_code, reason = "frames are memory that the kernel reads, too")]

use std::io;
use std::os::fd::AsRawFd;
use std::sync::Arc;

use nix::libc;

use super::queue::{FRAME_OCTETS, Frames, SENDING_FRAMES};
use super::ring::{Descriptor, Ring};

/// The half of a queue that sends. Never blocks.
#[derive(Debug)]
pub(crate) struct XdpSender {
    frames: Arc<Frames>,
    sending: Ring<Descriptor>,
    completion: Ring<u64>,
    /// Numbers of frames that may be written.
    free: Vec<u32>,
    /// Whose each frame is, by its number.
    holders: Vec<Holder>,
    /// Entries at the front of those that wait which are of no frame, or of one that is given up.
    abandoned: u32,
}

/// Who may touch a frame.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Holder {
    /// We: its number is in `free`.
    Us,
    /// The kernel, until it completes it.
    Kernel,
    /// The kernel, until it completes it, or has gone past all that was given up: of a frame that it
    /// takes and does not tell of at once it is not known which.
    Nobody,
}

impl XdpSender {
    pub(super) fn new(
        frames: Arc<Frames>,
        sending: Ring<Descriptor>,
        completion: Ring<u64>,
    ) -> Self {
        let free: Vec<_> = (0..SENDING_FRAMES).collect();
        let holders = vec![Holder::Us; free.len()];
        Self { frames, sending, completion, free, holders, abandoned: 0 }
    }

    /// Adds a frame made of a header and a payload; `false` if it is too long, or if the kernel has
    /// not sent enough of those before.
    pub(crate) fn push(&mut self, header: &[u8], payload: &[u8]) -> bool {
        let length = header.len() + payload.len();
        if length > FRAME_OCTETS {
            return false;
        }
        // What was given up may still be in the ring.
        if !self.sending.has_room() {
            return false;
        }
        if self.free.is_empty() {
            self.take_back();
        }
        let Some(number) = self.free.pop() else { return false };
        if let Some(holder) = self.holders.get_mut(number as usize) {
            *holder = Holder::Kernel;
        }
        let at = number as usize * FRAME_OCTETS;
        // SAFETY: the frame's number was in `free`, so the kernel does not read it, nobody else has a
        // reference, and receivers have frames of their own.
        if let Some(frame) = unsafe { self.frames.memory.part_mut(at, length) } {
            let (front, back) = frame.split_at_mut(header.len());
            front.copy_from_slice(header);
            back.copy_from_slice(payload);
        }
        let length = u32::try_from(length).unwrap_or(0);
        self.sending.put(Descriptor { address: at as u64, length, options: 0 });
        true
    }

    /// Has the kernel send what was pushed. What its device does not take in time goes with the next.
    ///
    /// # Errors
    ///
    /// ENETDOWN, ENXIO: the interface is down or gone.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        self.sending.publish();
        let mut tries = 0;
        let mut waiting = self.sending.waiting();
        while waiting > 0 && tries < TRIES_MAX {
            // SAFETY: there is no buffer and no address; the call only wakes the kernel.
            let sent = unsafe {
                libc::sendto(
                    self.frames.socket.as_raw_fd(),
                    std::ptr::null(),
                    0,
                    libc::MSG_DONTWAIT,
                    std::ptr::null(),
                    0,
                )
            };
            if sent < 0 {
                let error = io::Error::last_os_error();
                match error.raw_os_error() {
                    Some(libc::EAGAIN | libc::EBUSY | libc::ENOBUFS) => {}
                    _ => return Err(error),
                }
            }
            // One call sends some tens of frames.
            let rest = self.sending.waiting();
            if rest == waiting {
                tries += 1;
                // A ring of completions that is full is another reason why nothing moves.
                self.take_back();
                std::thread::yield_now();
            }
            self.pass_abandoned(waiting.wrapping_sub(rest));
            waiting = rest;
        }
        Ok(())
    }

    /// Whether the kernel takes anything from this queue: a device may have more queues that receive
    /// than queues that send, and of the surplus ones the kernel takes nothing and says nothing. Only
    /// before the first frame. `true` if the interface is down, of which [`Self::flush`] tells.
    pub(super) fn is_served(&mut self) -> bool {
        if self.sending.waiting() == 0 {
            self.sending.put(Descriptor { address: 0, length: 0, options: NO_OPTION });
            self.abandoned = 1;
        }
        self.flush().is_err() || self.sending.waiting() == 0
    }

    /// Frames that were pushed, that the kernel has not taken, and that are not given up.
    pub(crate) fn waiting(&self) -> usize {
        let waiting = self.sending.waiting().saturating_sub(self.abandoned);
        usize::try_from(waiting).unwrap_or(usize::MAX)
    }

    /// Whether the device is no more.
    pub(crate) fn is_gone(&self) -> bool {
        self.frames.is_gone()
    }

    /// Gives up the frames that wait; returns how many those were. Only after an error of
    /// [`Self::flush`].
    pub(crate) fn abandon(&mut self) -> usize {
        let given_up = self.waiting();
        // What was taken and dropped is complete, though the ring may not show it as taken yet.
        self.take_back();
        let holders = &mut self.holders;
        // In copy mode the kernel reads the ring in `flush` alone. It skips what is not valid, and does
        // not complete it.
        self.sending.change_waiting(|descriptor| {
            let number = number_of(descriptor.address).filter(|_| descriptor.options == 0);
            let holder = number.and_then(|number| holders.get_mut(number as usize));
            if let Some(holder) = holder.filter(|holder| **holder == Holder::Kernel) {
                *holder = Holder::Nobody;
            }
            Descriptor { options: NO_OPTION, ..descriptor }
        });
        self.abandoned = self.sending.waiting();
        given_up
    }

    /// Notes that the kernel has gone past so many entries. Behind the last that is given up there is no
    /// frame of those that it could still read.
    fn pass_abandoned(&mut self, passed: u32) {
        let rest = self.abandoned.saturating_sub(passed);
        if self.abandoned > 0 && rest == 0 {
            for (number, holder) in (0..).zip(&mut self.holders) {
                if *holder == Holder::Nobody {
                    *holder = Holder::Us;
                    self.free.push(number);
                }
            }
        }
        self.abandoned = rest;
    }

    fn take_back(&mut self) {
        while let Some(address) = self.completion.take() {
            let Some(number) = number_of(address) else { continue };
            // Each change gives a frame back once, so that `free` does not grow.
            if let Some(holder) = self.holders.get_mut(number as usize)
                && *holder != Holder::Us
            {
                *holder = Holder::Us;
                self.free.push(number);
            }
        }
        self.completion.release();
    }
}

/// The number of a frame for sending, given its address.
fn number_of(address: u64) -> Option<u32> {
    let number = u32::try_from(address / FRAME_OCTETS as u64).ok();
    number.filter(|number| *number < SENDING_FRAMES)
}

/// A bit that is no option of any kernel.
const NO_OPTION: u32 = 1 << 31;
/// Calls in a row that may move nothing.
const TRIES_MAX: u32 = 64;
