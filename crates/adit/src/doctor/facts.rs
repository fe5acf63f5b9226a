//! What was seen, as plain values: the checks look at nothing else.

use std::net::IpAddr;

use adit_mgmt::Diagnosis;
use adit_mgmt::api::{SaStatus, TunnelStatus, Why};

use crate::doctor::firewall::Blocked;
use crate::echo::Flow;
use crate::echo::size::Sizes;
use crate::echo::way::Way;

/// Everything.
#[derive(Clone, Debug, Default)]
pub(crate) struct Facts {
    /// What the daemon itself says is wrong, of the host and of its tunnels.
    pub(crate) known: Vec<Diagnosis>,
    pub(crate) host: Host,
    pub(crate) tunnels: Vec<Tunnel>,
}

/// This host; `None` is what could not be found out.
#[derive(Clone, Debug, Default)]
pub(crate) struct Host {
    /// Whether IPv4 and IPv6 packets are passed on between interfaces.
    pub(crate) forwards_v4: Option<bool>,
    pub(crate) forwards_v6: Option<bool>,
    /// Rules of the packet filter that drop IKE or ESP.
    pub(crate) blocked: Option<Vec<Blocked>>,
    /// The wall clock, seconds since 1970.
    pub(crate) unix_time_s: u64,
    /// Whether a program corrects the clock.
    pub(crate) clock_synchronised: Option<bool>,
    /// Certificates that this host shows.
    pub(crate) certificates: Vec<OwnCertificate>,
    /// Packets in pieces, while the doctor was looking.
    pub(crate) pieces: Pieces,
}

/// A certificate of a tunnel's `cert`.
#[derive(Clone, Debug, Default)]
pub(crate) struct OwnCertificate {
    pub(crate) tunnel: String,
    pub(crate) subject: String,
    /// The last second of its validity, since 1970, and in words.
    pub(crate) until_s: u64,
    pub(crate) until: String,
}

/// What the kernel counts about joining packets in pieces, both families together.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Pieces {
    /// Joined.
    pub(crate) joined: u64,
    /// Given up, mostly since a piece did not come.
    pub(crate) failed: u64,
}

/// A tunnel.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tunnel {
    pub(crate) status: TunnelStatus,
    pub(crate) sas: Vec<SaStatus>,
    /// The way of the outer packets.
    pub(crate) outer: Option<Outer>,
    /// What the daemon says happens to an echo request to each network where somebody could be asked.
    pub(crate) whys: Vec<Why>,
    /// What trying has shown; `None` if nothing was tried.
    pub(crate) ports: Option<Ports>,
    pub(crate) echo: Option<Echo>,
    /// Why no echo request was sent, if one should have been.
    pub(crate) skipped: Option<&'static str>,
    /// What could not be tried, and why: a privilege is missing, or nothing can be sent.
    pub(crate) failures: Vec<String>,
    /// Whether probes of the daemon have found a narrower path while the doctor was looking.
    pub(crate) narrowed: bool,
}

impl Tunnel {
    /// Its name.
    pub(crate) fn name(&self) -> &str {
        &self.status.name
    }

    /// What the path takes and what its first link does, octets, if the daemon has learnt, by whom
    /// ever, that the path takes less.
    pub(crate) fn narrow(&self) -> Option<(u32, u32)> {
        let path = self.status.path_mtu?;
        let link = self.outer.as_ref()?.mtu;
        let source = self.status.path_mtu_source.as_deref();
        let is_learnt = matches!(source, Some("icmp" | "probe" | "echo" | "report"));
        // What a cipher's blocks leave unused is no narrow path.
        (is_learnt && path.saturating_add(PATH_GRAIN) <= link).then_some((path, link))
    }

    /// The same if it was the daemon's probes that have found it, and nobody has said so.
    pub(crate) fn probed(&self) -> Option<(u32, u32)> {
        self.narrow().filter(|_| self.probes().is_some())
    }

    /// On which way long packets are lost. What the daemon's probes find while the doctor looks they find
    /// on the way there.
    pub(crate) fn lost_on(&self) -> Option<Way> {
        let measured = || self.echo.as_ref()?.sizes?.lost_on;
        if self.narrowed { Some(Way::There) } else { measured() }
    }

    /// What found the path's figure, if the daemon's probes did.
    pub(crate) fn probes(&self) -> Option<&'static str> {
        match self.status.path_mtu_source.as_deref() {
            Some("probe") => Some("probing"),
            Some("echo") => Some("echo requests"),
            _ => None,
        }
    }
}

/// Octets by which a path that is probed may be thought narrower than it is.
const PATH_GRAIN: u32 = 16;

/// The way of the outer packets.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Outer {
    pub(crate) interface: String,
    pub(crate) mtu: u32,
    /// Whether the interface drops what it would answer by another one, and the peer lies inside the
    /// tunnel's networks.
    pub(crate) filters_peer: Option<IpAddr>,
}

/// What the peer's UDP ports answered.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Ports {
    pub(crate) peer: IpAddr,
    pub(crate) ike: Answer,
    pub(crate) nat: Answer,
    /// What one of them answers to a question that does not travel in one piece.
    pub(crate) pieces: Answer,
}

/// Of one port.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Answer {
    /// IKE answered.
    Yes,
    /// Nothing came.
    Silence,
    /// The network said that nobody is there.
    Refused,
    /// It could not be asked.
    Unknown,
}

/// Echo requests through a tunnel.
#[derive(Clone, Debug, Default)]
pub(crate) struct Echo {
    /// Whom.
    pub(crate) to: Option<IpAddr>,
    pub(crate) sent: u64,
    pub(crate) answered: u64,
    /// Who has said, in words, that they do not arrive.
    pub(crate) refused: Option<String>,
    /// What the SAs counted meanwhile.
    pub(crate) flow: Flow,
    /// The same by sequence numbers, to which belongs what the engines say to each other.
    pub(crate) numbers: Flow,
    /// How long a packet may be, if short ones pass.
    pub(crate) sizes: Option<Sizes>,
    /// Whether a packet of the longest length passes if it may be cut. Outside it may be cut only if
    /// the tunnel's `df` says so.
    pub(crate) whole_cut: Option<bool>,
}

impl Echo {
    /// Whether anything at all came in on the SAs.
    pub(crate) fn is_heard(&self) -> bool {
        self.flow.packets_in > 0 || self.numbers.packets_in > 0
    }

    /// Packets that went out on the SAs beside the echo requests: traffic, and probes of the engine.
    pub(crate) fn besides(&self) -> u64 {
        let out = self.flow.packets_out.max(self.numbers.packets_out);
        out.saturating_sub(self.sent)
    }
}

/// So many packets beside the echo requests, and none that came in, are more than chance.
pub(crate) const BESIDES_MIN: u64 = 3;
