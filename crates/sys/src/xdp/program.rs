//! The program that takes ESP for us out of what a device receives, and leaves everything else.
//!
//! It takes a frame if all of this is so: Ethernet to the device's own address, without a VLAN tag that
//! is in the frame; IPv4 without options that is no
//! fragment, or IPv6 without extension headers; protocol 50; an SPI that is not the kernel's; one of
//! the addresses in the map; short enough for a frame of ours; and there is a socket for the queue
//! and the thread that has the SPI. Everything else is the kernel's, as if there were no program.

use adit_db::{InboundThreads, KERNEL_SPI};
use adit_wire::iana::IpProtocol;

use super::bpf::{Instruction, Map};

/// Octets of a key of the map of addresses: IPv4 addresses are mapped (RFC 4291 §2.5.5.2).
pub(super) const ADDRESS_OCTETS: usize = 16;

/// Makes the program for frames of up to `frame_octets` to the Ethernet address `ethernet`. The socket for SPI `s` and queue `q` has the
/// number `q * threads + s % threads`.
pub(super) fn esp(
    addresses: &Map<ADDRESS_OCTETS>,
    sockets: &Map<4>,
    threads: InboundThreads,
    ethernet: [u8; 6],
    frame_octets: i32,
) -> Vec<Instruction> {
    let mut program = Assembler::default();
    let threads = threads.count().cast_signed();
    program.begin(frame_octets, ethernet);
    let at_ipv6 = program.jump_to_be_placed(JEQ_IMM, DATA_WORD, ethertype([0x86, 0xdd]));
    program.leave(JNE_IMM, DATA_WORD, ethertype([0x08, 0x00]));
    program.ipv4();
    let at_both = program.jump_to_be_placed(JA, 0, 0);
    program.place(at_ipv6);
    program.ipv6();
    program.place(at_both);
    // The SPI as the number that it is.
    program.add(TO_BE, SPI, 0, 0, 32);
    program.leave(JSET_IMM, SPI, KERNEL_SPI.cast_signed());
    program.add(MOV, 2, FRAME_POINTER, 0, 0);
    program.add(ADD_IMM, 2, 0, 0, -KEY_OCTETS);
    program.load_map(1, addresses.number());
    program.add(CALL, 0, 0, 0, MAP_LOOKUP);
    program.leave(JEQ_IMM, 0, 0);
    program.add(MOD_IMM, SPI, 0, 0, threads);
    program.add(LOAD_WORD, 2, CONTEXT, QUEUE_OFFSET, 0);
    program.add(MUL_IMM, 2, 0, 0, threads);
    program.add(ADD, 2, SPI, 0, 0);
    program.load_map(1, sockets.number());
    // What happens where there is no such socket.
    program.add(MOV_IMM, 3, 0, 0, PASS);
    program.add(CALL, 0, 0, 0, REDIRECT_MAP);
    program.add(EXIT, 0, 0, 0, 0);
    program.finish()
}

/// Puts instructions together. Whoever [leaves](Self::leave) jumps to the end, which passes the frame.
#[derive(Default)]
struct Assembler {
    instructions: Vec<Instruction>,
    leaving: Vec<usize>,
}

impl Assembler {
    /// Registers, lengths and the kind of frame.
    fn begin(&mut self, frame_octets: i32, ethernet: [u8; 6]) {
        self.add(MOV, CONTEXT, 1, 0, 0);
        self.add(LOAD_WORD, DATA, CONTEXT, DATA_OFFSET, 0);
        self.add(LOAD_WORD, END, CONTEXT, END_OFFSET, 0);
        // The verifier lets nobody subtract pointers.
        self.add(MOV, 4, DATA, 0, 0);
        self.add(ADD_IMM, 4, 0, 0, frame_octets + 1);
        self.leave_register(JLE, 4, END);
        self.demand(IP_AT + 20 + SPI_AND_SEQUENCE);
        let [e0, e1, e2, e3, e4, e5] = ethernet;
        self.add(LOAD_WORD, DATA_WORD, DATA, 0, 0);
        self.leave(JNE_IMM_WORD, DATA_WORD, i32::from_ne_bytes([e0, e1, e2, e3]));
        self.add(LOAD_HALF, DATA_WORD, DATA, 4, 0);
        self.leave(JNE_IMM, DATA_WORD, ethertype([e4, e5]));
        self.add(LOAD_HALF, DATA_WORD, DATA, 12, 0);
    }

    fn ipv4(&mut self) {
        self.add(LOAD_OCTET, DATA_WORD, DATA, IP_AT, 0);
        self.leave(JNE_IMM, DATA_WORD, 0x45);
        self.protocol(IP_AT + 9);
        // Flag and field of the IPv4 header (RFC 791 §3.1): more fragments, fragment offset.
        self.add(LOAD_HALF, DATA_WORD, DATA, IP_AT + 6, 0);
        self.leave(JSET_IMM, DATA_WORD, ethertype([0x3f, 0xff]));
        self.add(MOV_IMM, DATA_WORD, 0, 0, 0);
        self.add(STORE_DOUBLE, FRAME_POINTER, DATA_WORD, -16, 0);
        self.add(MOV_IMM, DATA_WORD, 0, 0, i32::from_ne_bytes([0, 0, 0xff, 0xff]));
        self.add(STORE_WORD, FRAME_POINTER, DATA_WORD, -8, 0);
        self.copy_to_key(IP_AT + 16, -4);
        self.add(LOAD_WORD, SPI, DATA, IP_AT + 20, 0);
    }

    fn ipv6(&mut self) {
        self.demand(IP_AT + 40 + SPI_AND_SEQUENCE);
        self.add(LOAD_OCTET, DATA_WORD, DATA, IP_AT, 0);
        self.add(AND_IMM, DATA_WORD, 0, 0, 0xf0);
        self.leave(JNE_IMM, DATA_WORD, 0x60);
        self.protocol(IP_AT + 6);
        for word in [0, 4, 8, 12] {
            self.copy_to_key(IP_AT + 24 + word, word - 16);
        }
        self.add(LOAD_WORD, SPI, DATA, IP_AT + 40, 0);
    }

    fn protocol(&mut self, at: i16) {
        self.add(LOAD_OCTET, DATA_WORD, DATA, at, 0);
        self.leave(JNE_IMM, DATA_WORD, IpProtocol::ESP.0.into());
    }

    fn copy_to_key(&mut self, from: i16, to: i16) {
        self.add(LOAD_WORD, DATA_WORD, DATA, from, 0);
        self.add(STORE_WORD, FRAME_POINTER, DATA_WORD, to, 0);
    }

    /// Leaves if the frame is shorter.
    fn demand(&mut self, octets: i16) {
        self.add(MOV, 4, DATA, 0, 0);
        self.add(ADD_IMM, 4, 0, 0, octets.into());
        self.leave_register(JGT, 4, END);
    }

    fn leave(&mut self, code: u8, register: u8, immediate: i32) {
        self.leaving.push(self.instructions.len());
        self.add(code, register, 0, 0, immediate);
    }

    fn leave_register(&mut self, code: u8, one: u8, other: u8) {
        self.leaving.push(self.instructions.len());
        self.add(code, one, other, 0, 0);
    }

    fn jump_to_be_placed(&mut self, code: u8, register: u8, immediate: i32) -> usize {
        self.add(code, register, 0, 0, immediate);
        self.instructions.len() - 1
    }

    /// Has a jump lead to the next instruction.
    fn place(&mut self, jump: usize) {
        let to = self.instructions.len();
        if let Some(instruction) = self.instructions.get_mut(jump) {
            // Jumps count from the instruction that follows.
            instruction.offset = i16::try_from(to - jump - 1).unwrap_or(i16::MAX);
        }
    }

    fn load_map(&mut self, register: u8, map: i32) {
        self.add(LOAD_IMM_DOUBLE, register, PSEUDO_MAP, 0, map);
        self.add(0, 0, 0, 0, 0);
    }

    fn add(&mut self, code: u8, destination: u8, source: u8, offset: i16, immediate: i32) {
        let registers = destination | source << 4;
        // The order of the two fields is that of bits in an octet.
        let registers =
            if cfg!(target_endian = "big") { registers.rotate_left(4) } else { registers };
        self.instructions.push(Instruction { code, registers, offset, immediate });
    }

    fn finish(mut self) -> Vec<Instruction> {
        for jump in std::mem::take(&mut self.leaving) {
            self.place(jump);
        }
        self.add(MOV_IMM, 0, 0, 0, PASS);
        self.add(EXIT, 0, 0, 0, 0);
        self.instructions
    }
}

/// Two octets of a frame as they look when they are loaded.
fn ethertype(octets: [u8; 2]) -> i32 {
    u16::from_ne_bytes(octets).into()
}

/// What registers hold throughout; 0 to 5 are lost with each call.
const CONTEXT: u8 = 6;
const SPI: u8 = 7;
const DATA: u8 = 2;
const END: u8 = 3;
const DATA_WORD: u8 = 5;
const FRAME_POINTER: u8 = 10;
/// Where the IP header of either version begins.
const IP_AT: i16 = 14;
const SPI_AND_SEQUENCE: i16 = 8;
const KEY_OCTETS: i32 = 16;
/// Fields of `struct xdp_md`.
const DATA_OFFSET: i16 = 0;
const END_OFFSET: i16 = 4;
const QUEUE_OFFSET: i16 = 16;
/// `linux/bpf.h`: enum xdp_action, BPF_FUNC_map_lookup_elem, BPF_FUNC_redirect_map, BPF_PSEUDO_MAP_FD.
pub(super) const PASS: i32 = 2;
const MAP_LOOKUP: i32 = 1;
const REDIRECT_MAP: i32 = 51;
const PSEUDO_MAP: u8 = 1;
/// BPF_ALU64 | BPF_MOV | BPF_X, and the rest of `linux/bpf.h` likewise.
const MOV: u8 = 0xbf;
const MOV_IMM: u8 = 0xb7;
const ADD: u8 = 0x0f;
const ADD_IMM: u8 = 0x07;
const MUL_IMM: u8 = 0x27;
const MOD_IMM: u8 = 0x97;
const AND_IMM: u8 = 0x57;
const TO_BE: u8 = 0xdc;
const LOAD_OCTET: u8 = 0x71;
const LOAD_HALF: u8 = 0x69;
const LOAD_WORD: u8 = 0x61;
const LOAD_IMM_DOUBLE: u8 = 0x18;
const STORE_WORD: u8 = 0x63;
const STORE_DOUBLE: u8 = 0x7b;
const JA: u8 = 0x05;
const JEQ_IMM: u8 = 0x15;
const JNE_IMM: u8 = 0x55;
/// Of the lower half of the register, as immediates are extended by their signs.
const JNE_IMM_WORD: u8 = 0x56;
const JSET_IMM: u8 = 0x45;
const JGT: u8 = 0x2d;
const JLE: u8 = 0xbd;
const CALL: u8 = 0x85;
const EXIT: u8 = 0x95;
