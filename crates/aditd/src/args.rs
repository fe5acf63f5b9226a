//! The command line of `aditd`.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::str::FromStr;

use adit_db::InboundThreads;
use adit_ike::Shards;
use adit_sys::tun::Queues;
use clap::{Parser, ValueEnum};

/// Whether to use what the host may have.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum Switch {
    /// Where the host can do it.
    Auto,
    /// Never.
    Off,
}

/// How many threads move packets, of each direction.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct PacketThreads {
    outbound: u32,
    inbound: InboundThreads,
}

impl PacketThreads {
    /// As many as this machine has use for: few cores are better left to everything else that moves
    /// the packets.
    fn of_cores(cores: usize) -> Self {
        let half = u32::try_from(cores / 2).unwrap_or(u32::MAX).clamp(1, AUTO_MAX);
        let threads = if cores < CORES_FOR_MANY { 1 } else { half };
        // What leaves by one tunnel is spread over threads only where its peer puts up with it.
        Self { outbound: 1, inbound: InboundThreads::new(threads) }
    }

    /// The queues of a TUN that they need.
    pub(crate) fn queues(self) -> Queues {
        let count = |threads| usize::try_from(threads).unwrap_or(1);
        Queues { readers: count(self.outbound), writers: count(self.inbound.count()) }
    }

    /// Those that share the inbound SAs.
    pub(crate) fn inbound(self) -> InboundThreads {
        self.inbound
    }
}

/// Cores from which on there is more than one thread of each direction.
const CORES_FOR_MANY: usize = 4;
/// Most threads that nobody asked for.
const AUTO_MAX: u32 = 8;

impl FromStr for PacketThreads {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "auto" {
            return Ok(Self::of_cores(std::thread::available_parallelism().map_or(1, usize::from)));
        }
        let number = |text: &str| {
            let number = text.parse().ok().filter(|n| (1..=InboundThreads::MAX).contains(n));
            number.ok_or_else(|| format!("a number from 1 to {}, or `auto`", InboundThreads::MAX))
        };
        let (outbound, inbound) = text.split_once('/').unwrap_or((text, text));
        Ok(Self { outbound: number(outbound)?, inbound: InboundThreads::new(number(inbound)?) })
    }
}

/// How many threads run IKE.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct IkeThreads(pub(crate) Shards);

impl IkeThreads {
    /// On few cores the packets and what makes the policies have use for the others.
    fn of_cores(cores: usize) -> Self {
        let half = u16::try_from(cores / 2).unwrap_or(u16::MAX).clamp(1, IKE_AUTO_MAX);
        Self(Shards::new(if cores < CORES_FOR_MANY { 1 } else { half }))
    }
}

/// Most threads for IKE that nobody asked for: all policies are made by one.
const IKE_AUTO_MAX: u16 = 8;

impl FromStr for IkeThreads {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "auto" {
            return Ok(Self::of_cores(std::thread::available_parallelism().map_or(1, usize::from)));
        }
        let number = text.parse().ok().filter(|number| (1..=Shards::MAX).contains(number));
        let number = number.map(|number| Self(Shards::new(number)));
        number.ok_or_else(|| format!("a number from 1 to {}, or `auto`", Shards::MAX))
    }
}

/// Ports to listen on for TCP.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct TcpPorts(pub(crate) Vec<u16>);

/// Most of them.
const TCP_PORTS_MAX: usize = 8;

impl FromStr for TcpPorts {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "none" {
            return Ok(Self(Vec::new()));
        }
        let port = |text: &str| text.trim().parse().ok().filter(|port| *port != 0);
        let ports: Option<Vec<u16>> = text.split(',').map(port).collect();
        let is_set = |ports: &Vec<u16>| ports.iter().collect::<BTreeSet<_>>().len() == ports.len();
        let ports = ports.filter(|ports| ports.len() <= TCP_PORTS_MAX && is_set(ports));
        let wrong =
            || format!("up to {TCP_PORTS_MAX} different ports, as in `4500,443`, or `none`");
        ports.map(Self).ok_or_else(wrong)
    }
}

/// How ESP that is not in UDP (IP protocol 50) comes and goes.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum RawEsp {
    /// Through raw sockets, and so through the host's packet filter.
    Socket,
    /// Past the host's packet filter and traffic control, by memory shared with the kernel.
    Fast,
}

/// The Adit IPsec daemon: IKEv2 and user-space ESP. Runs in the foreground.
#[derive(Clone, Debug, Parser)]
#[command(name = "aditd", version)]
pub(crate) struct Args {
    /// Directory of the configuration; tunnels are in its `tunnels/*.toml`
    #[arg(long, value_name = "DIR", default_value = "/etc/adit")]
    pub(crate) config: PathBuf,

    /// Control socket, which speaks strongSwan's VICI
    #[arg(long, value_name = "PATH", default_value = "/run/adit/vici")]
    pub(crate) vici: PathBuf,

    /// Log file; standard error if not given
    #[arg(long, value_name = "FILE")]
    pub(crate) log: Option<PathBuf>,

    /// What to log: error, warn, info, debug or trace, or a filter such as `info,adit_ike=debug`
    #[arg(long, value_name = "FILTER", default_value = "info")]
    pub(crate) log_level: String,

    /// Name of the TUN interface that carries the tunnels' traffic
    #[arg(long, value_name = "NAME", default_value = "adit0")]
    pub(crate) tun: String,

    /// How many threads seal packets and how many open them: `2` for two of each, `1/4` for one and
    /// four, or `auto` for what suits the number of cores
    #[arg(long, value_name = "N|OUT/IN|auto", default_value = "auto")]
    pub(crate) packet_threads: PacketThreads,

    /// How many threads run IKE: each has part of the IKE SAs; `auto` for what suits the number of
    /// cores
    #[arg(long, value_name = "N|auto", default_value = "auto")]
    pub(crate) ike_threads: IkeThreads,

    /// Whether the kernel's packet filter keeps out what comes in clear although a policy protects
    /// it; needs `nft`
    #[arg(long, value_name = "auto|off", default_value = "auto")]
    pub(crate) inbound_filter: Switch,

    /// Whether busy peers have sockets of their own for ESP in UDP, which spares a look at the routes for
    /// each message
    #[arg(long, value_name = "auto|off", default_value = "auto")]
    pub(crate) connected_sockets: Switch,

    /// TCP ports on which peers may reach us where UDP does not pass (RFC 9329), such as `4500,443`;
    /// `none` for none
    #[arg(long, value_name = "PORTS|none", default_value = "none")]
    pub(crate) listen_tcp: TcpPorts,

    /// How long a tunnel that had to go over TCP waits before it tries UDP again, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 300,
          value_parser = clap::value_parser!(u32).range(1..=86_400))]
    pub(crate) udp_probe: u32,

    /// How ESP that is not in UDP travels: `fast` takes a third to a half of the CPU and goes past the host's
    /// packet filter and traffic control
    #[arg(long, value_name = "socket|fast", default_value = "socket")]
    pub(crate) raw_esp: RawEsp,

    /// Directory for what outlives a restart: the keys of tickets that sessions are resumed with;
    /// without it a restart voids the tickets
    #[arg(long, value_name = "DIR")]
    pub(crate) state: Option<PathBuf>,

    /// Write session keys for Wireshark into this directory; debugging only: whoever reads them
    /// can read the traffic
    #[arg(long, value_name = "DIR")]
    pub(crate) export_keys: Option<PathBuf>,

    /// Record all that IKE takes and gives in this file, which must not exist, for `cargo xtask replay`; debugging
    /// only: whoever reads it has the keys of every SA. Needs `--ike-threads 1`
    #[arg(long, value_name = "FILE")]
    pub(crate) record: Option<PathBuf>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_cores_have_one_thread_for_ike() {
        let count = |threads: IkeThreads| threads.0.count();
        let of_cores = [1, 2, 3, 4, 8, 96].map(|cores| count(IkeThreads::of_cores(cores)));
        assert_eq!(of_cores, [1, 1, 1, 2, 4, 8]);
        assert_eq!("4".parse().map(count), Ok(4));
        for wrong in ["", "0", "65", "two"] {
            assert!(wrong.parse::<IkeThreads>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn tcp_ports_are_a_list() {
        let ports = |text: &str| text.parse::<TcpPorts>().map(|ports| ports.0);
        assert_eq!(ports("none"), Ok(vec![]));
        assert_eq!(ports("443"), Ok(vec![443]));
        assert_eq!(ports("4500,443"), Ok(vec![4500, 443]));
        for wrong in ["", "0", "65536", "443,", "443,443", "https", "1,2,3,4,5,6,7,8,9"] {
            assert!(ports(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn packet_threads_are_counted_by_direction() {
        let queues = |text: &str| {
            let queues = text.parse::<PacketThreads>().map(PacketThreads::queues);
            queues.map(|queues| (queues.readers, queues.writers))
        };
        assert_eq!(queues("2"), Ok((2, 2)));
        assert_eq!(queues("1/4"), Ok((1, 4)));
        assert!(queues("auto").is_ok());
        for wrong in ["", "0", "65", "2/", "/2", "1/2/3", "two"] {
            assert!(queues(wrong).is_err(), "{wrong}");
        }
        let inbound = [1, 2, 3, 4, 8, 96].map(|cores| PacketThreads::of_cores(cores).inbound());
        assert_eq!(inbound.map(InboundThreads::count), [1, 1, 1, 2, 4, 8]);
    }
}
