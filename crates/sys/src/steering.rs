//! Which of several sockets a packet comes to: classic BPF programs that look at its SPI.
//!
//! Several threads, and the kernel's own IPsec, serve one UDP port and one IP protocol. An SPI says
//! whose packet it is: those with the top bit ([`KERNEL_SPI`]) are the kernel's, of the others the
//! remainder modulo the number of threads ([`InboundThreads`]) is the number of the thread.

use std::io;
use std::os::fd::BorrowedFd;

use adit_db::{InboundThreads, KERNEL_SPI};
use nix::libc::{self, sock_filter};

use crate::error::SysError;
use crate::netlink::Family;
use crate::socket_filter::{
    JEQ, JSET, LD_W_ABS, LD_W_IND, LDX_B_MSH, MOD, RET, RET_A, attach, statement,
};

/// One thread's part of all packets.
#[derive(Clone, Copy, Debug)]
pub struct Part {
    /// The number of the thread.
    pub number: u32,
    /// How many there are.
    pub threads: InboundThreads,
}

impl Part {
    /// All of it.
    pub const WHOLE: Self = Self { number: 0, threads: InboundThreads::ONE };
}

/// Chooses among the sockets of a `SO_REUSEPORT` group, which count in the order in which they were
/// bound: one for each thread, and then, if it has one, the kernel's. What has no SPI, such as IKE
/// (RFC 3948 §2.2) and keepalives, comes to the first.
pub(crate) fn choose_by_spi(
    socket: BorrowedFd<'_>,
    threads: InboundThreads,
    with_kernel: bool,
) -> io::Result<()> {
    // A payload shorter than an SPI ends the program with 0.
    let mut program = vec![statement(LD_W_ABS, 0)];
    if with_kernel {
        program.extend([jump(JSET, KERNEL_SPI, 0, 1), statement(RET, threads.count())]);
    }
    program.extend([statement(MOD, threads.count()), statement(RET_A, 0)]);
    attach(socket, libc::SO_ATTACH_REUSEPORT_CBPF, &mut program)
}

/// Keeps from a raw ESP socket what is not its part: each such socket gets a copy of every packet.
/// Without the kernel's packets, if `without_kernel`.
///
/// # Errors
///
/// [`SysError::Io`].
pub fn keep_part(
    socket: BorrowedFd<'_>,
    family: Family,
    part: Part,
    without_kernel: bool,
) -> Result<(), SysError> {
    let mut program = match family {
        // An IPv4 raw socket shows the IP header.
        Family::V4 => vec![statement(LDX_B_MSH, 0), statement(LD_W_IND, 0)],
        Family::V6 => vec![statement(LD_W_ABS, 0)],
    };
    if without_kernel {
        program.extend([jump(JSET, KERNEL_SPI, 0, 1), statement(RET, 0)]);
    }
    program.extend([
        statement(MOD, part.threads.count()),
        jump(JEQ, part.number, 1, 0),
        statement(RET, 0),
        statement(RET, u32::MAX),
    ]);
    attach(socket, libc::SO_ATTACH_FILTER, &mut program)
        .map_err(|error| SysError::of("filter the ESP socket", error))
}

/// Keeps from a raw AH socket what the kernel has the SA of: it gets a copy of every packet.
///
/// # Errors
///
/// [`SysError::Io`].
pub fn keep_from_kernel_ah(socket: BorrowedFd<'_>, family: Family) -> Result<(), SysError> {
    let mut program = match family {
        Family::V4 => vec![statement(LDX_B_MSH, 0), statement(LD_W_IND, AH_SPI_AT)],
        Family::V6 => vec![statement(LD_W_ABS, AH_SPI_AT)],
    };
    program.extend([jump(JSET, KERNEL_SPI, 0, 1), statement(RET, 0), statement(RET, u32::MAX)]);
    attach(socket, libc::SO_ATTACH_FILTER, &mut program)
        .map_err(|error| SysError::of("filter the AH socket", error))
}

/// Where the SPI is in AH (RFC 4302 §2.4).
const AH_SPI_AT: u32 = 4;

fn jump(code: u16, k: u32, jt: u8, jf: u8) -> sock_filter {
    sock_filter { code, jt, jf, k }
}
