//! Receives the frames that the program has taken for one thread.

#![expect(unsafe_code, reason = "frames are memory that the kernel writes, too")]

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Arc, TryLockError};

use socket2::Socket;

use super::queue::{FRAME_OCTETS, Fill, Frames, RECEIVING_FRAMES};
use super::ring::{Descriptor, Ring};

/// What one thread receives from one queue. Never blocks.
#[derive(Debug)]
pub(crate) struct XdpReceiver {
    interface: u32,
    // The socket goes before the frames.
    socket: Socket,
    received: Ring<Descriptor>,
    frames: Arc<Frames>,
    fill: Fill,
    /// Frames that have been read, by their addresses, until the kernel has them again.
    spent: Vec<u64>,
}

impl XdpReceiver {
    pub(super) fn new(
        interface: u32,
        socket: Socket,
        received: Ring<Descriptor>,
        frames: Arc<Frames>,
        fill: Fill,
    ) -> Self {
        let spent = Vec::with_capacity(RECEIVING_FRAMES as usize);
        Self { interface, socket, received, frames, fill, spent }
    }

    /// The number of the interface that frames come from.
    pub(crate) fn interface(&self) -> u32 {
        self.interface
    }

    /// Shows frames to `take`, as long as it wants more, at most so many.
    pub(crate) fn receive(&mut self, frames_max: usize, mut take: impl FnMut(&[u8]) -> bool) {
        for _ in 0..frames_max {
            let Some(descriptor) = self.received.take() else { break };
            let at = usize::try_from(descriptor.address).unwrap_or(usize::MAX);
            let length = usize::try_from(descriptor.length).unwrap_or(usize::MAX);
            // SAFETY: the kernel has put the frame into our ring, and does not write it before it is in
            // the ring for filling again; nobody else has a reference to it.
            let frame = unsafe { self.frames.memory.part(at, length) };
            let wants_more = take(frame.unwrap_or_default());
            if self.spent.len() < self.spent.capacity() {
                self.spent.push(descriptor.address / FRAME_OCTETS as u64 * FRAME_OCTETS as u64);
            }
            if !wants_more {
                break;
            }
        }
        if !self.spent.is_empty() {
            self.received.release();
            self.give_back();
        }
    }

    /// Whether the device is no more.
    pub(crate) fn is_gone(&self) -> bool {
        matches!(self.socket.take_error(), Ok(Some(_)) | Err(_))
    }

    /// There are as many places in the ring as frames.
    fn give_back(&mut self) {
        let mut fill = match self.fill.try_lock() {
            Ok(fill) => fill,
            Err(TryLockError::Poisoned(fill)) => fill.into_inner(),
            Err(TryLockError::WouldBlock) => return,
        };
        self.spent.drain(..).for_each(|address| fill.put(address));
        fill.publish();
    }
}

impl AsFd for XdpReceiver {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
