//! The command line of `adit`: the one description that help, completions and man pages come from.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use serde::{Deserialize, Serialize};

/// IPsec tunnels, from the first try to the fleet.
#[derive(Debug, Parser)]
#[command(name = "adit", version, arg_required_else_help = true, disable_help_subcommand = true)]
#[command(after_help = "New here? Type `adit demo`: two sites in namespaces, a real tunnel, \
nothing outside is touched.")]
pub(crate) struct Cli {
    /// Control socket of the daemon (/run/adit/vici)
    #[arg(
        long,
        global = true,
        value_name = "PATH",
        default_value = "/run/adit/vici",
        hide_default_value = true,
        help_heading = COMMON
    )]
    pub(crate) vici: PathBuf,

    /// Colours: auto is on a terminal unless NO_COLOR is set
    #[arg(
        long,
        global = true,
        value_enum,
        value_name = "WHEN",
        default_value_t,
        hide_default_value = true,
        help_heading = COMMON
    )]
    pub(crate) color: Color,

    /// What to do.
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

/// Heading of the options that every verb has.
const COMMON: &str = "Common options";

// Comments on these would become help texts that say what the words say already.
/// When to print colours.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, ValueEnum)]
pub(crate) enum Color {
    #[default]
    Auto,
    Always,
    Never,
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Show a real tunnel on this machine: two sites in network namespaces
    Demo(Demo),
    /// Check the configuration without changing anything
    Check(Check),
    /// Bring a tunnel up and show each step
    Up(Act),
    /// Take a tunnel down
    Down(Act),
    /// Take a tunnel down and bring it up again
    Restart(Act),
    /// Replace a tunnel's keys now, without losing a packet
    Rekey(Rekey),
    /// Read the configuration again; only tunnels that changed are touched
    Reload(Json),
    /// Show the tunnels
    Status(Status),
    /// Look for what is wrong, try the tunnels, and print only problems
    Doctor(Doctor),
    /// Send echo requests through a tunnel and say where they are lost
    Ping(Ping),
    /// Show who is on the path through the tunnels, hop by hop
    Trace(Trace),
    /// Say what a tunnel's path takes, who has said so and when, or forget that
    Mtu(Mtu),
    /// Say what happens to a packet, and which policy decides
    Why(Why),
    /// Say when a tunnel's SAs are renewed and end, and what each number comes from
    WhyLifetime(WhyLifetime),
    /// Show the policies in the order in which they decide
    Spd(Json),
    /// Show the security associations, without their keys
    Sad(Json),
    /// Show the daemon's log as it happens
    Log(Log),
    /// Make pre-shared keys
    Secret(Secret),
    /// Explain an error code, a suite of algorithms, or what becomes of ICMP
    Explain(Explain),
    /// Print a completion script for a shell
    Completions(Completions),
    /// Write the man pages into a directory
    #[command(hide = true)]
    Man(Man),
}

/// `adit demo`.
#[derive(Debug, Args)]
pub(crate) struct Demo {
    /// What to do with the demo; without it, the demo is built and shown
    #[command(subcommand)]
    pub(crate) verb: Option<DemoVerb>,

    /// Print one JSON object and take the demo down again
    #[arg(long)]
    pub(crate) json: bool,

    /// Take the demo down again at the end
    #[arg(long)]
    pub(crate) once: bool,

    /// Keep the capture of the wire between the gateways in this file (pcap)
    #[arg(long, value_name = "FILE")]
    pub(crate) capture: Option<PathBuf>,

    /// Keep the session keys, as tables for Wireshark, in this directory
    #[arg(long, value_name = "DIR")]
    pub(crate) keys: Option<PathBuf>,

    /// Octets of the TCP transfer (100,000,000)
    #[arg(long, value_name = "N", default_value_t = 100_000_000, hide_default_value = true)]
    pub(crate) bytes: u64,

    /// How the gateways negotiate (IKEv2)
    #[arg(long, value_enum, value_name = "HOW")]
    pub(crate) ike: Option<DemoIke>,

    /// Where the demo keeps its files; several demos can run in several places
    #[arg(long, global = true, value_name = "DIR", hide = true)]
    pub(crate) directory: Option<PathBuf>,
}

/// How the demo's gateways negotiate, if not by IKEv2 with a secret.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum DemoIke {
    // IKEv1 in main mode with encrypted nonces and no key exchange.
    Dhless,
    // The same in aggressive mode.
    DhlessAggressive,
}

/// What to do with a running demo.
#[derive(Debug, Subcommand)]
pub(crate) enum DemoVerb {
    /// Break something and show what the operator sees
    Break {
        /// What to break
        #[arg(value_enum)]
        what: Fault,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Undo every break and show the tunnel coming back
    Fix {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Show both gateways' status
    Status {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Open a shell, or run a command, in one of the demo's hosts
    Shell {
        /// The host
        #[arg(value_enum)]
        host: DemoHost,
        /// Command and arguments; a shell if there are none
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        command: Vec<String>,
    },
    /// Take the demo down
    Stop {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Hold the demo's namespaces; started by `adit demo`
    #[command(hide = true)]
    Hold {
        /// The daemon to run in the gateways
        aditd: PathBuf,
    },
}

/// What `adit demo break` can break.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Fault {
    /// The two pre-shared keys differ
    Psk,
    /// Oslo calls itself a name that Berlin does not know
    Id,
    /// No IKE suite in common
    Proposal,
    /// No ESP suite in common
    Esp,
    /// The two sides disagree about the networks
    Selectors,
    /// Oslo sends Berlin's network elsewhere
    Route,
    /// UDP 4500 is blocked on the way
    Port,
    /// Berlin's daemon is killed
    Daemon,
    /// A link of 1,280 octets on the way, and nobody hears of it
    Mtu,
    /// A NAT has forgotten the tunnel: what Berlin sends does not come back
    Nat,
    /// A small link on the way, and a router that drops pieces of packets
    Fragments,
    /// ESP from Berlin is lost, IKE passes
    Oneway,
}

/// The hosts of the demo.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum DemoHost {
    /// A machine in Oslo, 10.1.0.10
    OsloHost,
    /// Oslo's gateway, 198.51.100.2
    OsloGw,
    /// The router between the gateways
    Internet,
    /// Berlin's gateway, 203.0.113.2
    BerlinGw,
    /// A machine in Berlin, 10.2.0.20
    BerlinHost,
}

/// `adit check`.
#[derive(Debug, Args)]
pub(crate) struct Check {
    /// Directory of the configuration (/etc/adit)
    #[arg(long, value_name = "DIR", default_value = "/etc/adit", hide_default_value = true)]
    pub(crate) config: PathBuf,

    /// Ask the running daemon which tunnels a reload would touch
    #[arg(long)]
    pub(crate) plan: bool,

    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// A verb about one tunnel.
#[derive(Debug, Args)]
pub(crate) struct Act {
    /// The tunnel
    pub(crate) name: String,

    /// Print JSON, one object for each step
    #[arg(long)]
    pub(crate) json: bool,

    /// Give up after so many seconds (60); 0 waits as long as it takes
    #[arg(long, value_name = "SECONDS", default_value_t = 60, hide_default_value = true)]
    pub(crate) timeout: u64,
}

/// `adit rekey`.
#[derive(Debug, Args)]
pub(crate) struct Rekey {
    /// The tunnel
    pub(crate) name: String,

    /// Replace the keys of the IKE SA, not those of the traffic
    #[arg(long)]
    pub(crate) ike: bool,

    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// A verb with no argument.
#[derive(Debug, Args)]
pub(crate) struct Json {
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// `adit status`.
#[derive(Debug, Args)]
pub(crate) struct Status {
    /// Only this tunnel, with everything that is known about it
    pub(crate) name: Option<String>,

    /// Show how packets are moved instead: which fast paths are on, and what they do
    #[arg(long, conflicts_with = "name")]
    pub(crate) engine: bool,

    /// Show instead which packets were dropped, for each SA and direction, and why
    #[arg(long, conflicts_with = "engine")]
    pub(crate) drops: bool,

    /// Repeat, once a second, until interrupted
    #[arg(long, short)]
    pub(crate) watch: bool,

    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// `adit doctor`.
#[derive(Debug, Args)]
pub(crate) struct Doctor {
    /// Only this tunnel
    pub(crate) name: Option<String>,

    /// Directory of the configuration, for the certificates in it (/etc/adit)
    #[arg(long, value_name = "DIR", default_value = "/etc/adit", hide_default_value = true)]
    pub(crate) config: PathBuf,

    /// Only look: send nothing through the tunnels and ask no peer
    #[arg(long)]
    pub(crate) quiet: bool,

    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// `adit ping`.
#[derive(Debug, Args)]
pub(crate) struct Ping {
    /// The tunnel
    pub(crate) name: String,

    /// Whom to ask behind the peer; without it, the first address of the peer's network
    pub(crate) address: Option<IpAddr>,

    /// Requests (4)
    #[arg(long, value_name = "N", default_value_t = 4, hide_default_value = true)]
    #[arg(value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) count: u16,

    /// Payload of a request, octets (56)
    #[arg(long, value_name = "N", default_value_t = 56, hide_default_value = true)]
    #[arg(value_parser = clap::value_parser!(u16).range(..=65_000))]
    pub(crate) size: u16,

    /// Seconds from one request to the next (1); not below 0.1
    #[arg(long, value_name = "SECONDS", default_value_t = 1.0, hide_default_value = true)]
    pub(crate) interval: f64,

    /// As fast as the way allows: never more than one request under way, slower after a loss. Only
    /// losses are shown
    #[arg(long, conflicts_with = "interval")]
    pub(crate) flood_safe: bool,

    /// Find the longest packet that passes both ways without being cut, and on which way longer ones vanish
    #[arg(long)]
    pub(crate) mtu: bool,

    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

/// `adit trace`.
#[derive(Debug, Args)]
pub(crate) struct Trace {
    /// From which inside address to which; with one, from this gateway's own to that
    #[arg(required = true, num_args = 1..=2, value_names = ["FROM", "TO"])]
    pub(crate) addresses: Vec<IpAddr>,

    /// What to send: echo requests, datagrams, or first packets of TCP connections (icmp)
    #[arg(long, value_name = "KIND", default_value = "icmp", hide_default_value = true)]
    pub(crate) probe: ProbeKind,

    /// Where to: with udp one higher for each packet (33434), with tcp always the same (443)
    #[arg(long, value_name = "PORT")]
    #[arg(value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) port: Option<u16>,

    /// Hops to try (30)
    #[arg(long, value_name = "N", default_value_t = 30, hide_default_value = true)]
    #[arg(value_parser = clap::value_parser!(u8).range(1..))]
    pub(crate) max_hops: u8,

    /// Packets for each hop (3)
    #[arg(long, value_name = "N", default_value_t = 3, hide_default_value = true)]
    #[arg(value_parser = clap::value_parser!(u8).range(1..=10))]
    pub(crate) count: u8,

    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

/// What a path is traced with.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum ProbeKind {
    /// Echo requests.
    Icmp,
    /// Datagrams to a port where nobody listens.
    Udp,
    /// First packets of TCP connections.
    Tcp,
}

impl ProbeKind {
    /// Its word.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Icmp => "icmp",
            Self::Udp => "udp",
            Self::Tcp => "tcp",
        }
    }
}

/// `adit mtu`.
#[derive(Debug, Args)]
pub(crate) struct Mtu {
    /// The tunnel
    pub(crate) name: String,

    /// Forget what was learnt, and find it out anew
    #[arg(long)]
    pub(crate) forget: bool,

    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// `adit why`.
#[derive(Debug, Args)]
pub(crate) struct Why {
    /// Who sends it: ADDRESS or ADDRESS:PORT, IPv6 in brackets then
    #[arg(value_name = "SRC")]
    pub(crate) source: String,

    /// Whom it is for; a port makes it TCP, without one it is a ping
    #[arg(value_name = "DST")]
    pub(crate) destination: String,

    /// Its protocol, by name or number
    #[arg(long, value_name = "PROTOCOL")]
    pub(crate) protocol: Option<String>,

    /// Its DSCP, by name or number, where a tunnel has classes
    #[arg(long, value_name = "DSCP", default_value = "0")]
    pub(crate) dscp: String,

    /// The interface it goes to, instead of what the routes say
    #[arg(long, value_name = "NAME")]
    pub(crate) interface: Option<String>,

    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// `adit why-lifetime`.
#[derive(Debug, Args)]
pub(crate) struct WhyLifetime {
    /// The tunnel
    pub(crate) name: String,

    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// `adit log`.
#[derive(Debug, Args)]
pub(crate) struct Log {
    /// Only this tunnel
    pub(crate) name: Option<String>,

    /// Print JSON, one object for each line
    #[arg(long)]
    pub(crate) json: bool,
}

/// `adit secret`.
#[derive(Debug, Args)]
pub(crate) struct Secret {
    /// What to do
    #[command(subcommand)]
    pub(crate) verb: SecretVerb,
}

/// What to do with secrets.
#[derive(Debug, Subcommand)]
pub(crate) enum SecretVerb {
    /// Make a pre-shared key of 256 random bits, the key of an SA, or an ML-KEM key
    New {
        /// Write it into this new file, readable by its owner alone, instead of printing it
        #[arg(value_name = "FILE")]
        file: Option<PathBuf>,
        /// Make the key of an SA that is keyed by hand, such as aes256-sha256 wants it
        #[arg(long, value_name = "SUITE")]
        sa: Option<String>,
        /// Make a static ML-KEM key of this size, and print its public half for the peer
        #[arg(long, value_name = "SIZE", requires = "file", conflicts_with = "sa")]
        kem: Option<KemSize>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

/// A size of ML-KEM keys.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum KemSize {
    /// ML-KEM-512
    Mlkem512,
    /// ML-KEM-768
    Mlkem768,
    /// ML-KEM-1024
    Mlkem1024,
}

/// `adit explain`.
#[derive(Debug, Args)]
pub(crate) struct Explain {
    /// The code, such as E203, or `suite`, or `icmp`; all codes if left out
    pub(crate) code: Option<String>,

    /// With `suite`: its name, such as cnsa2; all of them if left out. With `icmp`: a tunnel
    pub(crate) name: Option<String>,

    /// With `icmp`: directory of the configuration (/etc/adit)
    #[arg(long, value_name = "DIR", default_value = "/etc/adit", hide_default_value = true)]
    pub(crate) config: PathBuf,

    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// `adit completions`.
#[derive(Debug, Args)]
pub(crate) struct Completions {
    /// The shell
    #[arg(value_enum)]
    pub(crate) shell: clap_complete::Shell,
}

/// `adit man`.
#[derive(Debug, Args)]
pub(crate) struct Man {
    /// Where to write
    pub(crate) directory: PathBuf,
}
