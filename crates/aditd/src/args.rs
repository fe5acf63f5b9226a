//! The command line of `aditd`.

use std::path::PathBuf;

use clap::{Parser, ValueEnum};

/// Whether to use what the host may have.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum Switch {
    /// If it is there.
    Auto,
    /// Never.
    Off,
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

    /// Whether the kernel's packet filter keeps out what comes in clear although a policy protects
    /// it; needs `nft`
    #[arg(long, value_name = "auto|off", default_value = "auto")]
    pub(crate) inbound_filter: Switch,

    /// Write session keys for Wireshark into this directory; debugging only: whoever reads them
    /// can read the traffic
    #[arg(long, value_name = "DIR")]
    pub(crate) export_keys: Option<PathBuf>,
}
