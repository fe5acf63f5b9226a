//! The databases of RFC 4301 and what they decide about one packet, as `adit spd`, `adit sad` and
//! `adit why` show them. No key is among the values.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::TunnelStatus;
use crate::diagnosis::Diagnosis;

/// Most entries in an answer to `adit-spd`.
pub const ENTRIES_MAX: usize = 10_000;

/// Answer to `adit-spd`.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct SpdReport {
    /// [`super::SCHEMA`].
    pub schema: u32,
    /// How many entries there are.
    pub total: usize,
    /// The first [`ENTRIES_MAX`] of them in order of precedence.
    pub entries: Vec<PolicyStatus>,
}

/// What a policy does with a packet.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum PolicyAction {
    /// It goes through the tunnel, or not at all.
    Protect,
    /// It passes in clear.
    Bypass,
    /// It is dropped.
    #[default]
    Discard,
}

impl fmt::Display for PolicyAction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Protect => "protect",
            Self::Bypass => "bypass",
            Self::Discard => "discard",
        })
    }
}

/// Who wants a policy.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum PolicySource {
    /// A file of an operator.
    #[default]
    Operator,
    /// A tunnel's configuration.
    Tunnel,
    /// A negotiation: the configuration left it open (`dynamic`).
    Peer,
    /// An SA that is keyed by hand.
    Manual,
}

impl fmt::Display for PolicySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Operator => "operator",
            Self::Tunnel => "tunnel",
            Self::Peer => "peer",
            Self::Manual => "manual",
        })
    }
}

/// One entry of the SPD (RFC 4301 §4.4.1).
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct PolicyStatus {
    /// Its place in the order, counted from 1.
    pub number: usize,
    /// What it does.
    pub action: PolicyAction,
    /// Who wants it.
    pub source: PolicySource,
    /// The tunnel's name, or the policy's own.
    pub name: String,
    /// The child of the tunnel.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub child: Option<String>,
    /// Whether the kernel protects what matches; its entries stand before those of user space.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub by_kernel: bool,
    /// The interface that it is bound to, if it is to one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interface: Option<String>,
    /// The firewall mark that packets must have, if they must: `0x10/0xff`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mark: Option<String>,
    /// The file that says so; `None` for what a client loaded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// The line of that file, counted from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<usize>,
    /// Our side.
    pub local: Vec<String>,
    /// The other side.
    pub remote: Vec<String>,
    /// The name (RFC 4301 §4.4.1.1): the identity, or pattern of identities, that a peer must have proven
    /// for its SAs to carry what matches. `None` where the peer's address is its identity, or any will do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer_id: Option<String>,
    /// Which selectors an SA takes from the packet that asks for it (RFC 4301 §4.4.1.2), in the words
    /// of the configuration.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pfp: Vec<String>,
    /// Into how many disjoint parts those before it cut it (RFC 4301 Appendix B); with none it
    /// never decides anything. Not counted for the entries that child SAs bring.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parts: Option<usize>,
}

/// Answer to `adit-sad`.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct SadReport {
    /// [`super::SCHEMA`].
    pub schema: u32,
    /// Child SAs, both directions together.
    pub sas: Vec<SaStatus>,
    /// What the engine dropped of what came from the network, by reason, whether or not an SA was
    /// known; only reasons that occurred.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub drops_in: Vec<(String, u64)>,
    /// The same of what was to be sent.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub drops_out: Vec<(String, u64)>,
    /// What the reasons mean that stand anywhere in this report.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub reasons: BTreeMap<String, String>,
}

/// One child SA: a pair of entries of the SAD (RFC 4301 §4.4.2).
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct SaStatus {
    /// The tunnel.
    pub tunnel: String,
    /// Its child.
    pub child: String,
    /// The code points that it carries, `ef, cs5`, if it is a class of the tunnel's traffic.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class: Option<String>,
    /// Number of the child SA.
    pub id: u32,
    /// `INSTALLED`, `REKEYING` and so on.
    pub state: String,
    /// SPI of packets to us, eight hex digits.
    pub spi_in: String,
    /// SPI of packets to the peer, eight hex digits.
    pub spi_out: String,
    /// Our outer address and port.
    pub outer_local: String,
    /// The peer's outer address and port.
    pub outer_remote: String,
    /// `ESP` or `AH`.
    #[serde(default)]
    pub protocol: String,
    /// The tunnel whose SAs protect its packets once more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub over: Option<String>,
    /// Whether ESP travels in UDP.
    pub udp: bool,
    /// Whether it travels in TCP instead.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub tcp: bool,
    /// Whether the kernel has it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub by_kernel: bool,
    /// The interface that it is bound to, if it is to one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interface: Option<String>,
    /// The firewall mark that packets must have, if they must: `0x10/0xff`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mark: Option<String>,
    /// Suite in the words of the configuration.
    pub suite: String,
    /// Our side.
    pub local: Vec<String>,
    /// The peer's side.
    pub remote: Vec<String>,
    /// Packets received.
    pub packets_in: u64,
    /// Octets received.
    pub octets_in: u64,
    /// Packets sent.
    pub packets_out: u64,
    /// Octets sent.
    pub octets_out: u64,
    /// Highest sequence number received.
    pub sequence_in: u64,
    /// Last sequence number sent.
    pub sequence_out: u64,
    /// What compression does, if it was agreed on (RFC 3173).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compression: Option<CompressionStatus>,
    /// AH around it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outer: Option<OuterStatus>,
    /// Whether inner packets share ESP packets (RFC 9347): the packets are those, the sequence numbers
    /// those of ESP.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub aggfrag: bool,
    /// Time since the last packet received, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_in_ms: Option<u64>,
    /// Time since the last packet sent, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_out_ms: Option<u64>,
    /// Seconds since it was installed.
    pub age_s: u64,
    /// Seconds until its keys are replaced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rekey_in_s: Option<u64>,
    /// Seconds until it ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub over_in_s: Option<u64>,
    /// Seconds until it ends unless packets pass.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idle_in_s: Option<u64>,
    /// Packets dropped, by reason; only reasons that occurred.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub drops: Vec<(String, u64)>,
    /// Of these, the ones that came from the peer.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub drops_in: Vec<(String, u64)>,
    /// Of these, the ones that were to be sent.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub drops_out: Vec<(String, u64)>,
}

/// IPComp of one child SA, in both directions. Packets that do not shrink are not counted: they
/// travel as they are.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct CompressionStatus {
    /// CPI of packets to us, four hex digits.
    pub cpi_in: String,
    /// CPI of packets to the peer, four hex digits.
    pub cpi_out: String,
    /// Packets that came compressed.
    pub packets_in: u64,
    /// Octets of which they were made.
    pub plain_octets_in: u64,
    /// Octets that they had on the way, before encryption.
    pub compressed_octets_in: u64,
    /// Packets that were sent compressed.
    pub packets_out: u64,
    /// Octets of which they were made.
    pub plain_octets_out: u64,
    /// Octets that they had on the way, before encryption.
    pub compressed_octets_out: u64,
}

/// AH around the ESP of a child SA (RFC 2401 §4.3), where both are a bundle.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct OuterStatus {
    /// SPI of packets to us, eight hex digits.
    pub spi_in: String,
    /// SPI of packets to the peer, eight hex digits.
    pub spi_out: String,
    /// Suite in the words of the configuration.
    pub suite: String,
}

/// What happens to a packet.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Fate {
    /// It goes through a tunnel that is up.
    Protected,
    /// A policy lets it pass in clear.
    Bypassed,
    /// A policy drops it.
    Discarded,
    /// No policy matches it, so it is dropped.
    Blocked,
    /// Its tunnel has no SA for it: it waits or is dropped.
    Waiting,
    /// A tunnel should carry it, and the kernel sends it elsewhere.
    Astray,
    /// The kernel keeps it away from us, and no tunnel wants it.
    #[default]
    Outside,
}

impl fmt::Display for Fate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Protected => "PROTECTED",
            Self::Bypassed => "IN CLEAR",
            Self::Discarded => "DISCARDED",
            Self::Blocked => "BLOCKED",
            Self::Waiting => "NOT SENT",
            Self::Astray => "ASTRAY",
            Self::Outside => "OUTSIDE",
        })
    }
}

/// Answer to `adit-why`: the packet's fate and the evidence, as far as this host knows it.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct Why {
    /// [`super::SCHEMA`].
    pub schema: u32,
    /// Source address, with the port if the packet shows one.
    pub source: String,
    /// Destination address, with the port if the packet shows one.
    pub destination: String,
    /// Protocol above IP, its name or number.
    pub protocol: String,
    /// Its DSCP, by name or number.
    #[serde(default)]
    pub dscp: String,
    /// The child that carries what has this DSCP, if the tunnel has classes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class: Option<String>,
    /// What happens to it.
    pub fate: Fate,
    /// Where the kernel sends it.
    pub route: String,
    /// Whether the kernel has a way for it; without one it drops it.
    #[serde(default)]
    pub reachable: bool,
    /// Whether that is to us.
    pub routed_here: bool,
    /// The entry that decides; `None` if none matches.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<PolicyStatus>,
    /// How many entries there are.
    pub policies: usize,
    /// The tunnel of the entry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tunnel: Option<TunnelStatus>,
    /// The SA that carries it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sa: Option<SaStatus>,
    /// The SAs that protect it once more, one after the other.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub over: Vec<SaStatus>,
    /// Packets of all kinds dropped before an SA was known, by reason; only reasons that occurred.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub drops: Vec<(String, u64)>,
    /// What is wrong, with what to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<Diagnosis>,
}
