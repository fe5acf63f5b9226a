//! Classic BPF programs for sockets (`linux/filter.h`), written as lists of things that must be so.

use std::io;
use std::os::fd::BorrowedFd;

use nix::libc::{self, c_int, sock_filter, sock_fprog};

use crate::socket_option;

/// Something that the octets at some place must or must not be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Check {
    load: Load,
    /// Bits of what was loaded that count.
    mask: u32,
    /// BPF_JEQ, BPF_JGE or BPF_JSET.
    test: u16,
    number: u32,
    wanted: bool,
}

/// Where a number comes from.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Load {
    /// One octet.
    Octet(u32),
    /// Two, in network order.
    Half(u32),
    /// Four, in network order, this far behind an IPv4 header that lies in front.
    WordAfterIpv4(u32),
    /// The remainder of such four octets, divided by a number that is not zero.
    RemainderAfterIpv4(u32, u32),
    /// What the kernel knows beside the packet: SKF_AD_OFF and more.
    Ancillary(c_int),
}

impl Check {
    /// The number is this one, in the bits that count.
    pub(crate) fn is(load: Load, mask: u32, number: u32) -> Self {
        Self { load, mask, test: JEQ, number, wanted: true }
    }

    /// The number is at least this one.
    pub(crate) fn at_least(load: Load, number: u32) -> Self {
        Self { load, mask: u32::MAX, test: JGE, number, wanted: true }
    }

    /// None of these bits is set.
    pub(crate) fn lacks(load: Load, bits: u32) -> Self {
        Self { load, mask: u32::MAX, test: JSET, number: bits, wanted: false }
    }

    /// The opposite.
    pub(crate) fn not(self) -> Self {
        Self { wanted: !self.wanted, ..self }
    }

    fn statements(self) -> Vec<sock_filter> {
        let mut statements = match self.load {
            Load::Octet(at) => vec![statement(LD_B_ABS, at)],
            Load::Half(at) => vec![statement(LD_H_ABS, at)],
            Load::WordAfterIpv4(at) => vec![statement(LDX_B_MSH, 0), statement(LD_W_IND, at)],
            Load::RemainderAfterIpv4(at, divisor) => vec![
                statement(LDX_B_MSH, 0),
                statement(LD_W_IND, at),
                statement(MOD, divisor.max(1)),
            ],
            Load::Ancillary(what) => {
                vec![statement(LD_W_ABS, libc::SKF_AD_OFF.wrapping_add(what).cast_unsigned())]
            }
        };
        if self.mask != u32::MAX {
            statements.push(statement(AND, self.mask));
        }
        statements
    }
}

/// A program that takes a packet if all checks hold; one too short for them is not taken.
///
/// At most [`CHECKS_MAX`] checks, so that every jump reaches the end.
pub(crate) fn all(checks: &[Check]) -> Vec<sock_filter> {
    let checks = checks.iter().take(CHECKS_MAX);
    let length: usize = checks.clone().map(|check| check.statements().len() + 1).sum();
    let mut program = Vec::with_capacity(length + 2);
    for check in checks {
        program.extend(check.statements());
        // Jumps count from the statement that follows; the last but one takes, the last one drops.
        let to_drop = u8::try_from(length - program.len()).unwrap_or(u8::MAX);
        let (jt, jf) = if check.wanted { (0, to_drop) } else { (to_drop, 0) };
        program.push(sock_filter { code: check.test, jt, jf, k: check.number });
    }
    program.push(statement(RET, u32::MAX));
    program.push(statement(RET, 0));
    program
}

/// A program that takes a packet if any check holds; one that is too short for those before is not taken.
///
/// At most [`CHECKS_MAX`] checks, so that every jump reaches the end.
pub(crate) fn any(checks: &[Check]) -> Vec<sock_filter> {
    let checks = checks.iter().take(CHECKS_MAX);
    let length: usize = checks.clone().map(|check| check.statements().len() + 1).sum();
    let mut program = Vec::with_capacity(length + 2);
    for check in checks {
        program.extend(check.statements());
        // The last but one drops, the last one takes.
        let to_take = u8::try_from(length - program.len()).unwrap_or(u8::MAX);
        let (jt, jf) = if check.wanted { (to_take, 0) } else { (0, to_take) };
        program.push(sock_filter { code: check.test, jt, jf, k: check.number });
    }
    program.push(statement(RET, 0));
    program.push(statement(RET, u32::MAX));
    program
}

/// Gives a socket a program, under the name of the option for it.
pub(crate) fn attach(
    socket: BorrowedFd<'_>,
    option: c_int,
    program: &mut [sock_filter],
) -> io::Result<()> {
    attach_as(socket, libc::SOL_SOCKET, option, program)
}

/// Likewise for an option of another level.
pub(crate) fn attach_as(
    socket: BorrowedFd<'_>,
    level: c_int,
    option: c_int,
    program: &mut [sock_filter],
) -> io::Result<()> {
    let len = u16::try_from(program.len()).unwrap_or(0);
    let program = sock_fprog { len, filter: program.as_mut_ptr() };
    socket_option::set_value(socket, level, option, &program)
}

pub(crate) fn statement(code: u16, k: u32) -> sock_filter {
    sock_filter { code, jt: 0, jf: 0, k }
}

/// More would not fit into the eight bits of a jump.
const CHECKS_MAX: usize = 32;

/// BPF_LD | BPF_B | BPF_ABS, and the rest of `linux/bpf_common.h` likewise.
pub(crate) const LD_B_ABS: u16 = 0x30;
pub(crate) const LD_H_ABS: u16 = 0x28;
pub(crate) const LD_W_ABS: u16 = 0x20;
pub(crate) const LD_W_IND: u16 = 0x40;
pub(crate) const LDX_B_MSH: u16 = 0xb1;
pub(crate) const AND: u16 = 0x54;
pub(crate) const MOD: u16 = 0x94;
pub(crate) const JEQ: u16 = 0x15;
pub(crate) const JGE: u16 = 0x35;
pub(crate) const JSET: u16 = 0x45;
pub(crate) const RET: u16 = 0x06;
pub(crate) const RET_A: u16 = 0x16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_check_that_fails_leads_to_the_last_statement() {
        let checks = [
            Check::is(Load::Octet(9), u32::MAX, 50),
            Check::is(Load::Octet(0), 0xf0, 0x40),
            Check::lacks(Load::WordAfterIpv4(0), 1 << 31),
            Check::at_least(Load::Half(16), 224).not(),
        ];
        let program = all(&checks);
        let jumps: Vec<_> = program
            .iter()
            .enumerate()
            .filter(|(_, one)| [JEQ, JGE, JSET].contains(&one.code))
            .map(|(at, one)| (at, at + 1 + usize::from(one.jt.max(one.jf)), one.jf > one.jt))
            .collect();
        let last = program.len() - 1;
        assert_eq!(jumps, [(1, last, true), (4, last, true), (7, last, false), (9, last, false)]);
        assert_eq!((program[last].k, program[last - 1].k), (0, u32::MAX));
    }

    #[test]
    fn every_check_that_holds_leads_to_the_last_statement() {
        let program =
            any(&[Check::is(Load::Octet(0), u32::MAX, 2), Check::is(Load::Octet(0), 0x7f, 3)]);
        let jumps = program.iter().enumerate().filter(|(_, one)| one.code == JEQ);
        let to: Vec<_> = jumps.map(|(at, one)| (at + 1 + usize::from(one.jt), one.jf)).collect();
        let last = program.len() - 1;
        assert_eq!(to, [(last, 0), (last, 0)]);
        assert_eq!((program[last].k, program[last - 1].k), (u32::MAX, 0));
    }

    #[test]
    fn any_check_that_holds_leads_to_the_last_statement() {
        let checks = [
            Check::is(Load::Octet(9), u32::MAX, 50),
            Check::is(Load::WordAfterIpv4(0), 0xffff_0000, 0x0304_0000).not(),
        ];
        let program = any(&checks);
        let last = program.len() - 1;
        let jumps: Vec<_> = program
            .iter()
            .enumerate()
            .filter(|(_, one)| one.code == JEQ)
            .map(|(at, one)| (at, at + 1 + usize::from(one.jt.max(one.jf)), one.jt > one.jf))
            .collect();
        assert_eq!(jumps, [(1, last, true), (5, last, false)]);
        assert_eq!((program[last].k, program[last - 1].k), (u32::MAX, 0));
    }
}
