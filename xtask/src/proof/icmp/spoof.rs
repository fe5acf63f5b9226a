//! ICMP errors that a stranger makes up: about ESP packets of two gateways whose addresses he knows
//! and whose SPIs he guesses.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::Context as _;
use socket2::{Domain, Protocol, Socket, Type};

use crate::clock;
use crate::linux::packets::{Octets, checksum};

/// Type and code of IPv4's: destination unreachable, source quench, redirect, time exceeded,
/// parameter problem, and RFC 2521's security failures.
const V4: [[u8; 2]; 14] = [
    [3, 4],
    [3, 4],
    [3, 4],
    [3, 0],
    [3, 1],
    [3, 2],
    [3, 3],
    [3, 13],
    [4, 0],
    [5, 0],
    [5, 1],
    [11, 0],
    [12, 0],
    [40, 0],
];

/// IPv6's: too big, unreachable, time exceeded, parameter problem, redirect.
const V6: [[u8; 2]; 9] = [[2, 0], [2, 0], [2, 9], [1, 0], [1, 1], [1, 4], [3, 0], [4, 1], [137, 0]];

const ESP: u8 = 50;
const UDP: u8 = 17;

/// Messages between two looks at the clock.
const BURST: u32 = 100;

/// The hidden verb: sends `count` messages to `target` within `time`, evenly, and prints how many
/// the kernel took. They quote ESP, above IP and in UDP, from the first end to the second.
pub(crate) fn send(
    target: IpAddr,
    ends: [IpAddr; 2],
    count: u32,
    time: Duration,
) -> anyhow::Result<()> {
    let address = SocketAddr::new(target, 0);
    let protocol = if target.is_ipv6() { Protocol::ICMPV6 } else { Protocol::ICMPV4 };
    let socket = Socket::new(Domain::for_address(address), Type::RAW, Some(protocol))
        .context("no raw socket")?;
    let mut random = Octets::new(u64::from(std::process::id()));
    let start = clock::now();
    let mut taken = 0;
    for number in 0..count {
        if number % BURST == 0 {
            let due = time.mul_f64(f64::from(number) / f64::from(count));
            std::thread::sleep(due.saturating_sub(start.elapsed()));
        }
        let message = message(target.is_ipv6(), ends, &mut random);
        taken += u32::from(socket.send_to(&message, &address.into()).is_ok());
    }
    println!("{taken}");
    Ok(())
}

/// One message, with its checksum where the kernel does not make it.
fn message(v6: bool, ends: [IpAddr; 2], random: &mut Octets) -> Vec<u8> {
    let kinds: &[[u8; 2]] = if v6 { &V6 } else { &V4 };
    let number = random.number();
    let place = usize::try_from(number >> 32).unwrap_or_default() % kinds.len();
    let [kind, code] = kinds.get(place).copied().unwrap_or_default();
    // MTU, pointer or gateway: whatever it is, it is anything.
    let mut message = vec![kind, code, 0, 0];
    message.extend(random.take(4));
    if !v6 && [kind, code] == [3, 4] {
        message.splice(4..6, [0, 0]);
    }
    message.extend(quote(v6, ends, random));
    if !v6 {
        let sum = checksum(&message).to_be_bytes();
        message.splice(2..4, sum);
    }
    message
}

/// The beginning of a packet that might be ours: IP, perhaps UDP, an SPI and a sequence number.
fn quote(v6: bool, [source, destination]: [IpAddr; 2], random: &mut Octets) -> Vec<u8> {
    let in_udp = random.number().is_multiple_of(2);
    let protocol = if in_udp { UDP } else { ESP };
    let mut quote = if v6 {
        vec![0x60, 0, 0, 0, 5, 0, protocol, 64]
    } else {
        vec![0x45, 0, 5, 0x14, 0, 0, 0, 0, 64, protocol, 0, 0]
    };
    for end in [source, destination] {
        match end {
            IpAddr::V4(end) => quote.extend(end.octets()),
            IpAddr::V6(end) => quote.extend(end.octets()),
        }
    }
    if !v6 {
        let sum = checksum(&quote).to_be_bytes();
        quote.splice(10..12, sum);
    }
    if in_udp {
        quote.extend([0x11, 0x94, 0x11, 0x94, 5, 0, 0, 0]);
    }
    quote.extend(random.take(4));
    // A number that an SA may have reached.
    quote.extend(u32::to_be_bytes(u32::try_from(random.number() >> 48).unwrap_or_default()));
    quote.extend(random.take(16));
    quote
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_whole() {
        let mut random = Octets::new(7);
        let ends = ["192.0.2.1", "192.0.2.2"].map(|end| end.parse().unwrap());
        for _ in 0..50 {
            let message = message(false, ends, &mut random);
            // The sum of what has its own checksum is zero.
            assert_eq!(checksum(&message), u16::MAX);
            assert_eq!(checksum(&message[8..28]), u16::MAX);
            assert!(message.len() >= 8 + 20 + 8);
        }
        let ends = ["2001:db8::1", "2001:db8::2"].map(|end| end.parse().unwrap());
        assert_eq!(message(true, ends, &mut random)[8], 0x60);
    }
}
