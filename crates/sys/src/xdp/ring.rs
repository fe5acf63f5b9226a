//! Memory that we share with the kernel: frames, and the rings that say whose they are.

#![expect(
    unsafe_code,
    reason = "rings and frames are memory that the kernel reads and writes, too"
)]

use std::io;
use std::os::fd::AsRawFd;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering};

use nix::libc;
use socket2::Socket;

/// `struct xdp_desc`.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(super) struct Descriptor {
    /// Where the frame's content begins in the memory of all frames.
    pub(super) address: u64,
    pub(super) length: u32,
    pub(super) options: u32,
}

/// Memory mapped for as long as the value lives.
#[derive(Debug)]
pub(super) struct Mapping {
    start: NonNull<u8>,
    octets: usize,
}

// SAFETY: a mapping is owned like a box: nobody but the kernel and its owner has a pointer to it.
unsafe impl Send for Mapping {}
// SAFETY: a shared mapping gives out its place and its length; who makes references to what is in it
// has to say why nobody else does.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Memory of our own, or what a socket shows at an offset.
    pub(super) fn new(octets: usize, of: Option<(&Socket, libc::off_t)>) -> io::Result<Self> {
        let (flags, file, offset) = match of {
            None => (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1, 0),
            Some((socket, offset)) => (libc::MAP_SHARED, socket.as_raw_fd(), offset),
        };
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: a new mapping at a place that the kernel chooses touches no memory in use.
        let start = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                octets,
                protection,
                flags | libc::MAP_POPULATE,
                file,
                offset,
            )
        };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let start = NonNull::new(start.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Self { start, octets })
    }

    pub(super) fn octets(&self) -> usize {
        self.octets
    }

    /// Its place as the kernel is told it.
    pub(super) fn address(&self) -> u64 {
        self.start.as_ptr().addr() as u64
    }

    /// A part of it; `None` if it has no such part.
    ///
    /// # Safety
    ///
    /// Neither the kernel nor anybody else writes there while the slice lives.
    pub(super) unsafe fn part(&self, at: usize, octets: usize) -> Option<&[u8]> {
        if at.checked_add(octets)? > self.octets {
            return None;
        }
        // SAFETY: the part lies within the mapping, which lives as long as `self`; the rest is the
        // caller's promise.
        Some(unsafe { std::slice::from_raw_parts(self.start.add(at).as_ptr(), octets) })
    }

    /// A part of it, to be written.
    ///
    /// # Safety
    ///
    /// Neither the kernel nor anybody else reads or writes there while the slice lives.
    #[expect(clippy::mut_from_ref, reason = "parts have owners of their own")]
    pub(super) unsafe fn part_mut(&self, at: usize, octets: usize) -> Option<&mut [u8]> {
        if at.checked_add(octets)? > self.octets {
            return None;
        }
        // SAFETY: the part lies within the mapping, which lives as long as `self`; the rest is the
        // caller's promise.
        Some(unsafe { std::slice::from_raw_parts_mut(self.start.add(at).as_ptr(), octets) })
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the mapping was made by `new` with this length, and its owner is going.
        let _ = unsafe { libc::munmap(self.start.as_ptr().cast(), self.octets) };
    }
}

/// A ring with one writer and one reader, one of which is the kernel. Its entries are of `T`.
#[derive(Debug)]
pub(super) struct Ring<T> {
    mapping: Mapping,
    producer: usize,
    consumer: usize,
    first: usize,
    /// A power of two.
    entries: u32,
    /// Our own end, which may be ahead of what the other end sees.
    position: u32,
    kind: std::marker::PhantomData<T>,
}

impl<T: Copy> Ring<T> {
    /// The ring that a socket shows at `place`, made with this many entries, a power of two.
    pub(super) fn map(
        socket: &Socket,
        offsets: &libc::xdp_ring_offset,
        entries: u32,
        place: libc::off_t,
    ) -> io::Result<Self> {
        let offset = |offset: u64| usize::try_from(offset).map_err(|_| io::ErrorKind::Unsupported);
        let (producer, consumer) = (offset(offsets.producer)?, offset(offsets.consumer)?);
        let first = offset(offsets.desc)?;
        let octets = first + entries as usize * size_of::<T>();
        let mapping = Mapping::new(octets, Some((socket, place)))?;
        let kind = std::marker::PhantomData;
        Ok(Self { mapping, producer, consumer, first, entries, position: 0, kind })
    }

    fn number(&self, offset: usize) -> &AtomicU32 {
        // SAFETY: the kernel named this offset for an aligned 32-bit number in the mapping, which
        // both ends access atomically.
        unsafe { self.mapping.start.add(offset).cast().as_ref() }
    }

    fn entry(&self, position: u32) -> NonNull<T> {
        let index = position % self.entries;
        // SAFETY: the mapping has `entries` entries of this size from `first` on.
        unsafe { self.mapping.start.add(self.first).cast::<T>().add(index as usize) }
    }

    /// Puts an entry at our end of a ring that we fill and that has room.
    pub(super) fn put(&mut self, entry: T) {
        // SAFETY: the entry lies ahead of the producer's number, where the kernel does not read.
        unsafe { self.entry(self.position).write(entry) };
        self.position = self.position.wrapping_add(1);
    }

    /// Shows the kernel what was put.
    pub(super) fn publish(&mut self) {
        self.number(self.producer).store(self.position, Ordering::Release);
    }

    /// Entries that were put and that the kernel has not taken.
    pub(super) fn waiting(&self) -> u32 {
        self.position.wrapping_sub(self.number(self.consumer).load(Ordering::Acquire))
    }

    /// Whether there is room for one more entry.
    pub(super) fn has_room(&self) -> bool {
        self.waiting() < self.entries
    }

    /// Changes the entries that were put and that the kernel has not taken. Only for rings of which the
    /// kernel reads entries in system calls of ours and at no other time.
    pub(super) fn change_waiting(&mut self, mut change: impl FnMut(T) -> T) {
        for back in 1..=self.waiting().min(self.entries) {
            let entry = self.entry(self.position.wrapping_sub(back));
            // SAFETY: `put` has written the entry, and the kernel reads it not now.
            unsafe { entry.write(change(entry.read())) };
        }
    }

    /// The next entry of a ring that the kernel fills.
    pub(super) fn take(&mut self) -> Option<T> {
        if self.number(self.producer).load(Ordering::Acquire) == self.position {
            return None;
        }
        // SAFETY: the entry lies behind the producer's number, so the kernel has written it.
        let entry = unsafe { self.entry(self.position).read() };
        self.position = self.position.wrapping_add(1);
        Some(entry)
    }

    /// Gives the kernel back the places of what was taken.
    pub(super) fn release(&mut self) {
        self.number(self.consumer).store(self.position, Ordering::Release);
    }
}
