//! Maps, programs and links of the kernel's BPF (`linux/bpf.h`), as far as XDP needs them.

#![expect(unsafe_code, reason = "bpf takes a structure whose numbers are pointers, too")]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::libc::{self, c_long};

/// One instruction of a program, `struct bpf_insn`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(C)]
pub(super) struct Instruction {
    pub(super) code: u8,
    /// Destination in the lower half, source in the upper one.
    pub(super) registers: u8,
    pub(super) offset: i16,
    pub(super) immediate: i32,
}

/// What a map is for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum MapKind {
    /// Keys that are there, or not.
    Hash,
    /// AF_XDP sockets by their number.
    Sockets,
}

/// A map in the kernel, with keys of `K` octets.
#[derive(Debug)]
pub(super) struct Map<const K: usize>(OwnedFd);

impl<const K: usize> Map<K> {
    /// Makes one with values of four octets.
    ///
    /// # Errors
    ///
    /// EPERM: the process may not.
    pub(super) fn new(kind: MapKind, entries_max: u32) -> io::Result<Self> {
        let kind = match kind {
            MapKind::Hash => MAP_HASH,
            MapKind::Sockets => MAP_XSKMAP,
        };
        let key_octets = u32::try_from(K).unwrap_or(0);
        call(MAP_CREATE, &mut [kind, key_octets, VALUE_OCTETS, entries_max, 0, 0]).map(Self)
    }

    /// Gives a key its value.
    ///
    /// # Errors
    ///
    /// E2BIG: there is no room; of a map of sockets also EOPNOTSUPP, EBADF.
    pub(super) fn set(&self, key: &[u8; K], value: u32) -> io::Result<()> {
        self.change(MAP_UPDATE, key, Some(&value))
    }

    /// Removes a key.
    ///
    /// # Errors
    ///
    /// ENOENT: it was not there.
    pub(super) fn remove(&self, key: &[u8; K]) -> io::Result<()> {
        self.change(MAP_DELETE, key, None)
    }

    /// The number by which programs name it.
    pub(super) fn number(&self) -> RawFd {
        self.0.as_raw_fd()
    }

    fn change(&self, command: c_long, key: &[u8; K], value: Option<&u32>) -> io::Result<()> {
        let mut attributes = MapChange {
            map: self.0.as_raw_fd(),
            key: address(key),
            value: value.map_or(0, address),
            flags: 0,
        };
        call_for_nothing(command, &mut attributes)
    }
}

/// A program that looks at every frame a device receives.
#[derive(Debug)]
pub(super) struct Program(OwnedFd);

impl Program {
    /// Gives a program to the kernel, which looks through it first.
    ///
    /// # Errors
    ///
    /// EPERM: the process may not; EACCES, EINVAL: the kernel does not like it.
    pub(super) fn load(instructions: &[Instruction]) -> io::Result<Self> {
        let mut attributes = ProgramLoad {
            kind: PROGRAM_XDP,
            instructions: u32::try_from(instructions.len()).unwrap_or(u32::MAX),
            first: instructions.as_ptr().addr() as u64,
            license: LICENSE.as_ptr().addr() as u64,
            log: [0; 4],
            version: 0,
            flags: 0,
            name: *b"adit_esp\0\0\0\0\0\0\0\0",
            interface: 0,
            attach: ATTACH_XDP,
        };
        call(PROGRAM_LOAD, &mut attributes).map(Self)
    }

    /// Puts the program on a device until the link is closed, by whatever way.
    ///
    /// # Errors
    ///
    /// EBUSY, EEXIST: another program is there; EOPNOTSUPP, ERANGE, EINVAL: the driver cannot, not
    /// with this MTU, or not now.
    pub(super) fn attach(&self, interface: u32, flags: u32) -> io::Result<OwnedFd> {
        let program = self.0.as_raw_fd().cast_unsigned();
        call(LINK_CREATE, &mut [program, interface, ATTACH_XDP, flags])
    }

    /// What the program says about a frame, without a device: XDP_PASS and so on.
    #[cfg(test)]
    pub(super) fn verdict(&self, frame: &[u8]) -> io::Result<u32> {
        let mut attributes = ProgramRun {
            program: self.0.as_raw_fd(),
            verdict: 0,
            frame_octets: u32::try_from(frame.len()).unwrap_or(u32::MAX),
            out_octets: 0,
            frame: frame.as_ptr().addr() as u64,
            rest: [0; 8],
        };
        call_for_nothing(PROGRAM_RUN, &mut attributes)?;
        Ok(attributes.verdict)
    }
}

/// The part of `union bpf_attr` that changes a map.
#[repr(C, align(8))]
struct MapChange {
    map: RawFd,
    key: u64,
    value: u64,
    flags: u64,
}

/// The part of `union bpf_attr` that loads a program.
#[repr(C, align(8))]
struct ProgramLoad {
    kind: u32,
    instructions: u32,
    first: u64,
    license: u64,
    /// Level and size, and the address in two halves; nobody reads it.
    log: [u32; 4],
    version: u32,
    flags: u32,
    name: [u8; 16],
    interface: u32,
    attach: u32,
}

/// The part of `union bpf_attr` that runs a program.
#[cfg(test)]
#[repr(C, align(8))]
struct ProgramRun {
    program: RawFd,
    verdict: u32,
    frame_octets: u32,
    out_octets: u32,
    frame: u64,
    rest: [u64; 8],
}

fn address<T>(of: &T) -> u64 {
    std::ptr::from_ref(of).addr() as u64
}

/// A call that makes something.
fn call<T>(command: c_long, attributes: &mut T) -> io::Result<OwnedFd> {
    let made = system_call(command, attributes)?;
    let number = RawFd::try_from(made).map_err(|_| io::ErrorKind::InvalidData)?;
    // SAFETY: the commands passed to this function answer with a descriptor that is open, closed on
    // exec, and nobody else's.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

fn call_for_nothing<T>(command: c_long, attributes: &mut T) -> io::Result<()> {
    system_call(command, attributes).map(drop)
}

fn system_call<T>(command: c_long, attributes: &mut T) -> io::Result<c_long> {
    // SAFETY: the structure lives through the call, and its size is told; addresses in it are those
    // of values that live as long, with the sizes that the kernel knows of the map and the program.
    let answer = unsafe {
        libc::syscall(libc::SYS_bpf, command, std::ptr::from_mut(attributes), size_of::<T>())
    };
    if answer < 0 { Err(io::Error::last_os_error()) } else { Ok(answer) }
}

/// A handle to a map of sockets, for [`Map::set`].
pub(super) fn socket_number(socket: BorrowedFd<'_>) -> u32 {
    socket.as_raw_fd().cast_unsigned()
}

/// `linux/bpf.h`, enum bpf_cmd.
const MAP_CREATE: c_long = 0;
const MAP_UPDATE: c_long = 2;
const MAP_DELETE: c_long = 3;
const PROGRAM_LOAD: c_long = 5;
#[cfg(test)]
const PROGRAM_RUN: c_long = 10;
const LINK_CREATE: c_long = 28;
/// Enums bpf_map_type, bpf_prog_type, bpf_attach_type.
const MAP_HASH: u32 = 1;
const MAP_XSKMAP: u32 = 17;
const PROGRAM_XDP: u32 = 6;
const ATTACH_XDP: u32 = 37;
const VALUE_OCTETS: u32 = 4;
/// No helper that the program calls asks for another.
const LICENSE: &[u8] = b"Apache-2.0 OR MIT\0";
