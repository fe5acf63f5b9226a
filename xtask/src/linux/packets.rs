//! Clear IP packets: how they are made, and how a guest hands them to its kernel.

use std::fs;
use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::process::{Command, Stdio};

use anyhow::Context as _;
use serde::{Deserialize, Serialize};
use socket2::{Domain, Protocol, Socket, Type};

/// What the guest does at once: its SAs and policies, then the packets that they protect.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Round {
    /// Lines for `ip -batch`.
    pub(crate) batch: String,
    /// Who the packets are for.
    pub(crate) destination: IpAddr,
    /// Whole IP packets in hexadecimal.
    pub(crate) packets: Vec<String>,
}

/// A raw socket's packets have this protocol in the eyes of policies, whatever they hold.
pub(crate) const RAW: u8 = 255;

/// The hidden verb `guest-send FILE`: works off a list of rounds.
pub(crate) fn send_rounds(file: &str) -> anyhow::Result<()> {
    let rounds: Vec<Round> = serde_json::from_str(&fs::read_to_string(file)?)?;
    let raw = |domain| Socket::new(domain, Type::RAW, Some(Protocol::from(i32::from(RAW))));
    let (v4, v6) = (raw(Domain::IPV4)?, raw(Domain::IPV6)?);
    for round in &rounds {
        ip_batch(&round.batch)?;
        let socket = if round.destination.is_ipv6() { &v6 } else { &v4 };
        let destination = SocketAddr::new(round.destination, 0).into();
        for packet in &round.packets {
            socket.send_to(&from_hex(packet)?, &destination).context("cannot send a packet")?;
        }
    }
    Ok(())
}

fn ip_batch(lines: &str) -> anyhow::Result<()> {
    let mut command = Command::new("ip");
    command.args(["-batch", "-"]).stdin(Stdio::piped());
    let mut child = command.spawn().context("cannot start ip")?;
    child.stdin.take().context("ip takes no input")?.write_all(lines.as_bytes())?;
    anyhow::ensure!(child.wait()?.success(), "ip -batch failed at one of\n{lines}");
    Ok(())
}

/// A UDP datagram in an IP packet, with its checksums.
pub(crate) fn udp(from: IpAddr, to: IpAddr, identification: u16, payload: &[u8]) -> Vec<u8> {
    let len = u16::try_from(UDP_HEADER + payload.len()).expect("payloads are short");
    let mut datagram = [PORTS[0], PORTS[1], len, 0].map(u16::to_be_bytes).concat();
    datagram.extend(payload);
    let mut pseudo = addresses(from, to);
    pseudo.extend([0, UDP]);
    pseudo.extend(len.to_be_bytes());
    pseudo.extend(&datagram);
    let sum = checksum(&pseudo).to_be_bytes();
    datagram.splice(6..8, sum);
    let mut packet = header(from, to, identification, len);
    packet.extend(datagram);
    packet
}

/// An IPv4 packet with so many octets of options that mean nothing.
pub(crate) fn with_options(packet: Vec<u8>, options: usize) -> Vec<u8> {
    if options == 0 {
        return packet;
    }
    let (header, payload) = packet.split_at(20);
    let mut header = [header, &vec![1; options]].concat();
    let first = 0x40 | u8::try_from(5 + options / 4).expect("at most 40 octets of options");
    let len = u16::try_from(packet.len() + options).expect("packets are short");
    header.splice(0..1, [first]);
    header.splice(2..4, len.to_be_bytes());
    header.splice(10..12, [0, 0]);
    let sum = checksum(&header).to_be_bytes();
    header.splice(10..12, sum);
    [&header, payload].concat()
}

fn header(from: IpAddr, to: IpAddr, identification: u16, len: u16) -> Vec<u8> {
    if from.is_ipv6() {
        let mut header = vec![0x60, 0, 0, 0];
        header.extend(len.to_be_bytes());
        header.extend([UDP, 64]);
        header.extend(addresses(from, to));
        return header;
    }
    let [l0, l1] = (20 + len).to_be_bytes();
    let [i0, i1] = identification.to_be_bytes();
    let mut header = vec![0x45, 0, l0, l1, i0, i1, 0x40, 0, 64, UDP, 0, 0];
    header.extend(addresses(from, to));
    let sum = checksum(&header).to_be_bytes();
    header.splice(10..12, sum);
    header
}

fn addresses(from: IpAddr, to: IpAddr) -> Vec<u8> {
    let octets = |address| match address {
        IpAddr::V4(address) => Ipv4Addr::octets(&address).to_vec(),
        IpAddr::V6(address) => Ipv6Addr::octets(&address).to_vec(),
    };
    [octets(from), octets(to)].concat()
}

/// The ones' complement sum of RFC 1071, with 0 as its other zero.
pub(crate) fn checksum(octets: &[u8]) -> u16 {
    let words = octets.chunks(2).map(|pair| match *pair {
        [high, low] => u32::from(u16::from_be_bytes([high, low])),
        [high] => u32::from(high) << 8,
        _ => 0,
    });
    let sum: u32 = words.sum();
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = u16::try_from((sum & 0xffff) + (sum >> 16)).expect("two sums leave no carry");
    if sum == u16::MAX { sum } else { !sum }
}

/// Writes octets in hexadecimal.
pub(crate) fn hex(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}

/// Reads octets in hexadecimal.
pub(crate) fn from_hex(text: &str) -> anyhow::Result<Vec<u8>> {
    let pairs = text.as_bytes().chunks(2);
    let octet =
        |pair| u8::from_str_radix(std::str::from_utf8(pair)?, 16).context("not hexadecimal");
    pairs.map(octet).collect()
}

/// Octets that look random and are the same in each run (SplitMix64).
pub(crate) struct Octets(u64);

impl Octets {
    /// Starts from a seed.
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next 64 bits.
    pub(crate) fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// So many octets.
    pub(crate) fn take(&mut self, len: usize) -> Vec<u8> {
        let mut octets = Vec::new();
        while octets.len() < len {
            octets.extend(self.number().to_be_bytes());
        }
        octets.truncate(len);
        octets
    }
}

const UDP: u8 = 17;

/// Octets of a UDP header.
pub(crate) const UDP_HEADER: usize = 8;

const PORTS: [u16; 2] = [4_000, 5_000];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_datagram_sums_up_to_zero() {
        for (from, to) in [("10.1.0.1", "10.2.0.2"), ("fd01::1", "fd02::2")] {
            let (from, to): (IpAddr, IpAddr) = (from.parse().unwrap(), to.parse().unwrap());
            let packet = udp(from, to, 77, b"odd");
            let header_len = if from.is_ipv6() { 40 } else { 20 };
            assert_eq!(packet.len(), header_len + 8 + 3);
            let mut whole = addresses(from, to);
            whole.extend([0, UDP, 0, 11]);
            whole.extend(&packet[header_len..]);
            assert_eq!(checksum(&whole), u16::MAX);
            assert!(from.is_ipv6() || checksum(&packet[..20]) == u16::MAX);
        }
    }

    #[test]
    fn hexadecimal_is_read_and_written() {
        assert_eq!(hex(&from_hex("00ff10").unwrap()), "00ff10");
        assert!(from_hex("0g").is_err());
    }
}
