//! UDP load: the hidden verbs `udp-send` and `udp-count`, one datagram for each system call as most
//! programs do it, and the mixes of sizes.

use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::Duration;

use anyhow::Context as _;
use clap::ValueEnum;
use nix::sys::socket::{setsockopt, sockopt};
use serde::{Deserialize, Serialize};

use crate::clock;

/// Sizes of packets, in octets of the inner IP packet.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, ValueEnum)]
pub(crate) enum Mix {
    /// 64 octets each.
    Small,
    /// 576 octets each.
    Medium,
    /// As long as the inner link takes them.
    Large,
    /// Seven of 64, four of 576 and one long one in each twelve.
    Imix,
}

/// MTU of the inner link, for every subject: that of our TUN, so that each ESP packet fits an Ethernet
/// frame whatever the cipher.
pub(crate) const MTU: u16 = 1_390;

/// IPv4 and UDP headers.
const HEADERS: u16 = 28;

const SMALL: u16 = 64;
const MEDIUM: u16 = 576;

/// The usual "Internet mix" 7:4:1, its sizes spread as evenly as they can be.
const IMIX: [u16; 12] =
    [SMALL, MEDIUM, SMALL, SMALL, MEDIUM, SMALL, SMALL, MEDIUM, SMALL, SMALL, MEDIUM, MTU];

/// Datagrams that wait in the receiver's socket while it is not scheduled, in octets.
const RECEIVE_BUFFER: usize = 4 << 20;

/// The receiver is done after this silence.
const SILENCE: Duration = Duration::from_millis(400);

/// The first datagram comes within this time.
const FIRST: Duration = Duration::from_secs(8);

/// Datagrams between two looks at the clock.
const BETWEEN_LOOKS: usize = 64;

/// What one end has seen.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
pub(crate) struct Seen {
    /// Datagrams.
    pub(crate) packets: u64,
    /// Octets of IP packets.
    pub(crate) octets: u64,
    /// From the first to the last.
    pub(crate) seconds: f64,
}

impl Mix {
    /// Lengths of consecutive IP packets.
    fn octets(self) -> &'static [u16] {
        match self {
            Self::Small => &[SMALL],
            Self::Medium => &[MEDIUM],
            Self::Large => &[MTU],
            Self::Imix => &IMIX,
        }
    }

    /// Name of its cell.
    pub(crate) fn cell_name(self) -> &'static str {
        match self {
            Self::Small => "udp-64",
            Self::Medium => "udp-576",
            Self::Large => "udp-1390",
            Self::Imix => "udp-imix",
        }
    }

    /// Its word for the hidden verb.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Small => "small",
            Self::Medium => "medium",
            Self::Large => "large",
            Self::Imix => "imix",
        }
    }
}

/// The hidden verb `udp-count`: prints where it listens at `address`, then what came.
///
/// # Errors
///
/// Nothing came at all, or the socket fails.
pub(crate) fn count(address: IpAddr) -> anyhow::Result<()> {
    let socket = UdpSocket::bind((address, 0)).context("cannot listen")?;
    // Root may ask for more than the host's limit; who may not gets what there is.
    let _ = setsockopt(&socket, sockopt::RcvBufForce, &RECEIVE_BUFFER);
    println!("{}", socket.local_addr()?);
    socket.set_read_timeout(Some(FIRST))?;
    let mut buffer = [0; 2_048];
    let mut seen = Seen { packets: 1, ..Seen::default() };
    seen.octets += ip_octets(socket.recv(&mut buffer).context("nothing came")?);
    let first = clock::now();
    let mut last = first;
    socket.set_read_timeout(Some(SILENCE))?;
    loop {
        match socket.recv(&mut buffer) {
            Ok(len) => {
                seen.packets += 1;
                seen.octets += ip_octets(len);
                last = clock::now();
            }
            Err(error) if is_silence(error.kind()) => break,
            Err(error) => return Err(error).context("cannot receive"),
        }
    }
    seen.seconds = (last - first).as_secs_f64();
    println!("{}", serde_json::to_string(&seen)?);
    Ok(())
}

fn is_silence(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::WouldBlock | ErrorKind::TimedOut)
}

fn ip_octets(payload: usize) -> u64 {
    payload as u64 + u64::from(HEADERS)
}

/// The hidden verb `udp-send`: sends from `source` to `target` for `time` as fast as one thread can,
/// and prints what was sent.
///
/// # Errors
///
/// The socket fails.
pub(crate) fn send(
    source: IpAddr,
    target: SocketAddr,
    mix: Mix,
    time: Duration,
) -> anyhow::Result<()> {
    let socket = UdpSocket::bind((source, 0)).context("cannot bind")?;
    socket.connect(target).context("cannot connect")?;
    let payload = [0x5a; MTU as usize];
    let mut seen = Seen::default();
    let start = clock::now();
    let mut sizes = mix.octets().iter().cycle();
    while start.elapsed() < time {
        for octets in sizes.by_ref().take(BETWEEN_LOOKS) {
            let datagram = payload.get(..usize::from(octets - HEADERS)).unwrap_or_default();
            match socket.send(datagram) {
                Ok(_) => {
                    seen.packets += 1;
                    seen.octets += u64::from(*octets);
                }
                // A full queue on the way, or an ICMP error about an earlier one: both are losses.
                Err(error) if is_loss(error.kind()) => {}
                Err(error) => return Err(error).context("cannot send"),
            }
        }
    }
    seen.seconds = start.elapsed().as_secs_f64();
    println!("{}", serde_json::to_string(&seen)?);
    Ok(())
}

fn is_loss(kind: ErrorKind) -> bool {
    // ENOBUFS has no kind of its own.
    !matches!(kind, ErrorKind::PermissionDenied | ErrorKind::InvalidInput)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_internet_mix_is_seven_to_four_to_one() {
        let count = |octets| IMIX.iter().filter(|size| **size == octets).count();
        assert_eq!([count(SMALL), count(MEDIUM), count(MTU)], [7, 4, 1]);
    }

    #[test]
    fn every_mix_has_its_word() {
        for mix in [Mix::Small, Mix::Medium, Mix::Large, Mix::Imix] {
            assert_eq!(Mix::from_str(mix.word(), false), Ok(mix));
        }
    }
}
