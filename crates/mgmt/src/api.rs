//! Adit's own commands and events on the control socket: what `adit` shows beyond strongSwan's
//! vocabulary. Both programs share these types and nothing else.
//!
//! A value travels as JSON in VICI's list `json`, cut into items because a VICI value ends at
//! 65,535 octets ([`to_message`], [`from_message`]). Each top-level value has a `schema`; fields
//! may be added to a schema, anything else needs a new number.

mod engine;
mod icmp;
mod lifetime;
mod policy;

use std::fmt;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

pub use self::engine::{EngineHalf, EngineIke, EnginePath, EngineReport, EngineTcp, IkeThread};
pub use self::icmp::{ICMP_SETTINGS_MAX, IcmpSetting, KERNEL_TAKES_NO_NOTICES, icmp_settings};
pub use self::lifetime::{LifetimeReport, LimitStatus, SaLifetimes};
pub use self::policy::{
    CompressionStatus, ENTRIES_MAX, Fate, OuterStatus, PolicyAction, PolicySource, PolicyStatus,
    SaStatus, SadReport, SpdReport, Why,
};
use crate::codes::{Code, Severity};
use crate::diagnosis::Diagnosis;
use crate::vici::{Message, Value};

/// Number of the shapes in this file.
pub const SCHEMA: u32 = 1;

/// Octets of one item of the list `json`.
const CHUNK_OCTETS: usize = 60_000;

/// The value as a message.
pub fn to_message<T: Serialize>(value: &T) -> Message {
    // These types have string keys and no failing serializer, so the text is always there.
    let json = serde_json::to_vec(value).unwrap_or_default();
    let mut message = Message::new();
    let chunks = json.chunks(CHUNK_OCTETS).map(<[u8]>::to_vec).collect();
    message.put_value("json", Value::List(chunks));
    message
}

/// Why a message holds no such value.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ApiError {
    /// There is no list `json`: the daemon is not Adit, or refused.
    #[error("the daemon's answer holds no value: {0}")]
    NoValue(String),
    /// The JSON does not have the expected shape.
    #[error("the daemon's answer has another shape than this version of adit knows")]
    Shape(#[from] serde_json::Error),
}

/// The value of a message.
///
/// # Errors
///
/// [`ApiError`]; a refusal's `errmsg` is in its text.
pub fn from_message<T: DeserializeOwned>(message: &Message) -> Result<T, ApiError> {
    let Some(chunks) = message.list("json") else {
        let reason = message.text("errmsg").unwrap_or("not an Adit daemon?");
        return Err(ApiError::NoValue(reason.to_owned()));
    };
    Ok(serde_json::from_slice(&chunks.concat())?)
}

/// Answer to `adit-status`.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct Status {
    /// [`SCHEMA`].
    pub schema: u32,
    /// The daemon.
    pub daemon: DaemonStatus,
    /// Tunnels by name.
    pub tunnels: Vec<TunnelStatus>,
}

/// The daemon as a whole.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct DaemonStatus {
    /// Its version.
    pub version: String,
    /// Its process.
    pub pid: u32,
    /// Seconds since its start.
    pub uptime_s: u64,
    /// IKE SAs.
    pub ike_sas: usize,
    /// Those not established yet.
    pub half_open: usize,
    /// What is wrong with the host, independent of any tunnel.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<Diagnosis>,
}

/// States an operator can act on.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum TunnelState {
    /// Negotiated, and nothing speaks against it.
    Up,
    /// Negotiated, but there is evidence against it.
    Sick,
    /// Should be up and is not.
    #[default]
    Down,
    /// Being negotiated.
    Connecting,
    /// Waits for traffic, for the peer or for a command, as wished.
    Idle,
}

impl fmt::Display for TunnelState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Up => "UP",
            Self::Sick => "SICK",
            Self::Down => "DOWN",
            Self::Connecting => "CONNECTING",
            Self::Idle => "IDLE",
        })
    }
}

/// Where a tunnel's configuration comes from.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// A file of the configuration directory.
    #[default]
    File,
    /// `load-conn` on the control socket.
    Vici,
}

/// What a tunnel has of remote access.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default)]
pub struct AccessStatus {
    /// Our addresses inside, as the peer has given them.
    pub addresses: Vec<String>,
    /// Who resolves names inside, as the peer says. Nobody here changes the host's resolver.
    pub dns: Vec<String>,
    /// The domain of short names, as the peer says.
    pub domain: Option<String>,
    /// The networks that the tunnel is for, as the peer says; none is all.
    pub split: Vec<String>,
    /// What the peer wants people to read.
    pub banner: Option<String>,
    /// Clients of ours: the user if there is one, and its addresses inside.
    pub clients: Vec<String>,
}

/// One tunnel. Ages and remaining times are in seconds unless the name says otherwise.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct TunnelStatus {
    /// Its name.
    pub name: String,
    /// Where it stands.
    pub state: TunnelState,
    /// Where its configuration comes from.
    pub source: Source,
    /// `up`, `on-demand` or `passive`.
    pub keep: String,
    /// The peer as configured.
    pub peer: String,
    /// The tunnel that protects its packets once more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub over: Option<String>,
    /// The peer's address and port, when there is an IKE SA.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer_address: Option<String>,
    /// Where else the peer is, as it says (MOBIKE, RFC 4555).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub peer_addresses: Vec<String>,
    /// Whether the tunnel stays when an address changes (MOBIKE).
    #[serde(default)]
    pub mobike: bool,
    /// The peer's program, as its vendor id tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer_software: Option<String>,
    /// Our identity.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub local_id: Option<String>,
    /// The peer's identity.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remote_id: Option<String>,
    /// Users, and addresses inside that one side has from the other.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access: Option<AccessStatus>,
    /// Time in this state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since_s: Option<u64>,
    /// Octets received through the tunnel.
    pub octets_in: u64,
    /// Packets received through the tunnel.
    pub packets_in: u64,
    /// Octets sent through the tunnel.
    pub octets_out: u64,
    /// Packets sent through the tunnel.
    pub packets_out: u64,
    /// Time since the last packet received, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_packet_ms: Option<u64>,
    /// Largest inner packet that goes in one piece, octets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u32>,
    /// Largest outer packet that the path to the peer takes, octets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path_mtu: Option<u32>,
    /// Who says so: `link`, `icmp`, `probe`, `echo`, `report` or `operator`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path_mtu_source: Option<String>,
    /// Seconds since that was said, if it is forgotten some time later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path_mtu_age_s: Option<u64>,
    /// The interface that is its own, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interface: Option<String>,
    /// Suite of the IKE SA in the words of the configuration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ike_suite: Option<String>,
    /// Time until the next rekeying, of the IKE SA or a child, or until both sides authenticate anew.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rekey_in_s: Option<u64>,
    /// Time until the next try.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_in_s: Option<u64>,
    /// Its children.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub children: Vec<ChildStatus>,
    /// What is wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<Diagnosis>,
}

/// One child of a tunnel.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct ChildStatus {
    /// Its name.
    pub name: String,
    /// Whether packets flow on it.
    pub up: bool,
    /// The code points that it carries, `ef, cs5`, if it is a class of the tunnel's traffic.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class: Option<String>,
    /// Our side.
    pub local: Vec<String>,
    /// The peer's side.
    pub remote: Vec<String>,
    /// Suite in the words of the configuration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suite: Option<String>,
    /// `ESP`, `AH` or of a bundle `AH+ESP`; empty while it is not up.
    #[serde(default)]
    pub protocol: String,
    /// AH around its ESP; suite and SPIs beside it are those of ESP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outer: Option<OuterStatus>,
    /// Whether ESP travels in UDP.
    pub udp: bool,
    /// Whether IKE and ESP travel in TCP (RFC 9329); `udp` is false then.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub tcp: bool,
    /// `tunnel` or `transport`, as the peers agreed.
    #[serde(default)]
    pub mode: String,
    /// Whether inner packets share ESP packets (RFC 9347).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub aggfrag: bool,
    /// SPI of packets to us, eight hex digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spi_in: Option<String>,
    /// SPI of packets to the peer, eight hex digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spi_out: Option<String>,
    /// Packets dropped, by reason; only reasons that occurred.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub drops: Vec<(String, u64)>,
}

/// Answer to `adit-reload`, and what `adit check` prints.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct ReloadReport {
    /// [`SCHEMA`].
    pub schema: u32,
    /// Whether the files were taken over; never with an error among the problems.
    pub applied: bool,
    /// Tunnels that are new.
    pub added: Vec<String>,
    /// Tunnels that are negotiated anew because their configuration changed.
    pub changed: Vec<String>,
    /// Tunnels that are gone.
    pub removed: Vec<String>,
    /// Tunnels that are not touched.
    pub unchanged: Vec<String>,
    /// What no tunnel gets, in order of precedence.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub policies: Vec<String>,
    /// What becomes of ICMP messages, where that is not as by default; the first [`ICMP_SETTINGS_MAX`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub icmp: Vec<IcmpSetting>,
    /// Mistakes and warnings.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<FileProblem>,
}

impl ReloadReport {
    /// Whether any problem is an error.
    pub fn has_errors(&self) -> bool {
        self.problems.iter().any(|problem| problem.severity == Severity::Error)
    }
}

/// A mistake in a configuration file.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct FileProblem {
    /// Its kind.
    pub code: Code,
    /// Error or warning.
    pub severity: Severity,
    /// File.
    pub file: String,
    /// Counted from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<usize>,
    /// What is wrong, in one sentence.
    pub sentence: String,
    /// The block with the excerpt, without colour.
    pub rendered: String,
}

impl fmt::Display for FileProblem {
    /// One line: `E510: tunnels/berlin.toml:2: unknown key`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.file)?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        write!(f, ": {}", self.sentence)
    }
}

/// `adit-progress`: a step of a handshake.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Progress {
    /// [`SCHEMA`].
    pub schema: u32,
    /// The tunnel.
    pub tunnel: String,
    /// Time from the start of the attempt, in milliseconds.
    pub elapsed_ms: u64,
    /// The step.
    pub step: Step,
    /// The step in words.
    pub text: String,
}

impl Progress {
    /// A step, with its words.
    pub fn new(tunnel: impl Into<String>, elapsed: Duration, step: Step) -> Self {
        let elapsed_ms = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX);
        let text = step.to_string();
        Self { schema: SCHEMA, tunnel: tunnel.into(), elapsed_ms, step, text }
    }

    /// One line of `adit up`: `  0.02 s  keys      x25519 + mlkem768, aes256gcm16, sha384`.
    pub fn line(&self) -> String {
        let (seconds, ms) = (self.elapsed_ms / 1_000, self.elapsed_ms % 1_000);
        format!("{seconds:>3}.{:02} s  {:<9} {}", ms / 10, self.step.word(), self.text)
    }
}

/// A step of a handshake, in the order of `adit up`. `Display` gives the words behind
/// [`Step::word`].
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Step {
    /// The peer's name is being looked up.
    Resolving {
        /// The host name.
        name: String,
    },
    /// The first request went out.
    Reaching {
        /// Where to, address and port.
        remote: String,
    },
    /// The first request went out, with a ticket to resume a session.
    Resuming {
        /// Where to, address and port.
        remote: String,
    },
    /// UDP does not get through, and TCP is tried.
    FallingBack {
        /// What was seen of UDP.
        saw: String,
    },
    /// The TCP connection is gone and is opened anew.
    Reconnecting {
        /// What happened to it.
        problem: String,
    },
    /// The peer asked for proof of our address first.
    CookieAsked,
    /// The peer asked for another key exchange.
    KeyExchangeAsked {
        /// What it wants.
        wanted: String,
    },
    /// The peer sends us to another gateway.
    Redirected {
        /// Where.
        to: String,
    },
    /// The peer said something unpleasant that is not authenticated; we go on for a while.
    ErrorReceived {
        /// What it said.
        said: String,
    },
    /// The peer answers.
    Reached {
        /// The peer's address and port.
        remote: String,
        /// Whether we are behind a NAT.
        nat_local: bool,
        /// Whether the peer is behind a NAT.
        nat_remote: bool,
        /// The peer's program, if its vendor id is known.
        peer: Option<String>,
    },
    /// The suite is agreed and the keys are there.
    Keys {
        /// The suite in the words of the configuration.
        suite: String,
    },
    /// Both sides have authenticated.
    Authenticated {
        /// Our identity.
        local: String,
        /// The identity the peer proved.
        remote: String,
        /// How, `pre-shared key`.
        method: String,
    },
    /// A child was agreed.
    Child {
        /// Its name.
        child: String,
        /// Our side.
        local: Vec<String>,
        /// The peer's side.
        remote: Vec<String>,
    },
    /// Packets can flow.
    Installed {
        /// Interface.
        device: String,
        /// `ESP` or `AH`.
        #[serde(default = "esp")]
        protocol: String,
        /// Whether ESP travels in UDP.
        udp: bool,
        /// Whether it travels in TCP instead.
        #[serde(default)]
        tcp: bool,
        /// Networks routed into the interface.
        routes: Vec<String>,
    },
}

impl Step {
    /// The step's name in the first column.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Resolving { .. } => "name",
            Self::Reaching { .. } | Self::Resuming { .. } | Self::Reached { .. } => "reach",
            Self::FallingBack { .. } | Self::Reconnecting { .. } => "tcp",
            Self::CookieAsked => "cookie",
            Self::KeyExchangeAsked { .. } | Self::Keys { .. } => "keys",
            Self::ErrorReceived { .. } | Self::Redirected { .. } => "peer",
            Self::Authenticated { .. } => "identity",
            Self::Child { .. } => "traffic",
            Self::Installed { .. } => "packets",
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Resolving { name } => write!(f, "looking up {name}"),
            Self::Reaching { remote } => write!(f, "asking {remote}"),
            Self::Resuming { remote } => write!(f, "asking {remote} to resume the session"),
            Self::FallingBack { saw } => write!(f, "{saw}; trying TCP"),
            Self::Reconnecting { problem } => write!(f, "{problem}; connecting again"),
            Self::CookieAsked => f.write_str("the peer wants proof of our address first"),
            Self::KeyExchangeAsked { wanted } => write!(f, "the peer asks for {wanted}"),
            Self::Redirected { to } => write!(f, "the peer sends us to {to}"),
            Self::ErrorReceived { said } => {
                write!(f, "{said}; not authenticated, so we wait for something better")
            }
            Self::Reached { remote, nat_local, nat_remote, peer } => {
                write!(f, "{remote} answers")?;
                match (nat_local, nat_remote) {
                    (true, true) => f.write_str(", NAT on both sides")?,
                    (true, false) => f.write_str(", we are behind a NAT")?,
                    (false, true) => f.write_str(", it is behind a NAT or acts like it")?,
                    (false, false) => {}
                }
                match peer {
                    Some(peer) => write!(f, "     (peer: {peer})"),
                    None => Ok(()),
                }
            }
            Self::Keys { suite } => f.write_str(suite),
            Self::Authenticated { local, remote, method } => {
                write!(f, "we are {local}, peer proved {remote} ({method})")
            }
            Self::Child { local, remote, .. } => {
                write!(f, "{} <-> {}", local.join(", "), remote.join(", "))
            }
            Self::Installed { device, protocol, udp, tcp, routes } => {
                let how = match (udp, tcp) {
                    (_, true) => " in TCP",
                    (true, false) => " in UDP",
                    (false, false) => "",
                };
                write!(f, "{protocol}{how}, {device}")?;
                if routes.is_empty() { Ok(()) } else { write!(f, ", route {}", routes.join(", ")) }
            }
        }
    }
}

/// What daemons without AH mean.
fn esp() -> String {
    "ESP".to_owned()
}

/// `adit-event`: a tunnel changed.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct TunnelEvent {
    /// [`SCHEMA`].
    pub schema: u32,
    /// The tunnel; empty if a failure cannot be assigned to one.
    pub tunnel: String,
    /// What changed.
    pub change: Change,
    /// The change in words; with a failure the whole block.
    pub text: String,
}

impl TunnelEvent {
    /// A change, with its words.
    pub fn new(tunnel: impl Into<String>, change: Change) -> Self {
        let text = change.to_string();
        Self { schema: SCHEMA, tunnel: tunnel.into(), change, text }
    }
}

/// What changed. `Display` gives it in words.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Change {
    /// The tunnel is up.
    Up {
        /// The peer's address and port.
        peer: String,
        /// Time the negotiation took, in milliseconds.
        took_ms: u64,
    },
    /// The tunnel is down.
    Down {
        /// Why, in words.
        reason: String,
    },
    /// Keys were replaced.
    Rekeyed {
        /// `ike` or the child's name.
        what: String,
    },
    /// An attempt failed, or an SA went down against our wish.
    Failed {
        /// What is known.
        diagnosis: Box<Diagnosis>,
    },
    /// It will be tried again.
    Retry {
        /// The wait until then, in milliseconds.
        after_ms: u64,
        /// Failures in a row.
        failures: u32,
    },
    /// We have another address, and the peer knows.
    Moved {
        /// The address and port before.
        from: String,
        /// The address and port from now on.
        to: String,
    },
    /// The peer has another address.
    PeerMoved {
        /// The address and port before.
        from: String,
        /// The address and port from now on.
        peer: String,
    },
    /// The configuration was loaded, changed or removed.
    Configured {
        /// `added`, `changed` or `removed`.
        how: String,
    },
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Up { peer, took_ms } => write!(f, "UP with {peer} in {took_ms} ms"),
            Self::Down { reason } => write!(f, "DOWN: {reason}"),
            Self::Rekeyed { what } => write!(f, "new keys for {what}"),
            Self::Failed { diagnosis } => diagnosis.fmt(f),
            Self::Retry { after_ms, failures } => {
                let times = if *failures == 1 { "once" } else { "again" };
                write!(f, "failed {times}; next try in {}", seconds(*after_ms))
            }
            Self::Moved { from, to } => write!(f, "moved from {from} to {to}"),
            Self::PeerMoved { from, peer } => write!(f, "the peer moved from {from} to {peer}"),
            Self::Configured { how } => write!(f, "configuration {how}"),
        }
    }
}

fn seconds(ms: u64) -> String {
    crate::diagnosis::human(Duration::from_millis(ms))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_travel_as_messages_of_any_length() {
        let mut status = Status { schema: SCHEMA, ..Status::default() };
        for number in 0..500 {
            let name = format!("tunnel-{number}");
            status.tunnels.push(TunnelStatus { name, ..TunnelStatus::default() });
        }
        let message = to_message(&status);
        assert!(message.list("json").unwrap().len() > 1);
        let mut octets = Vec::new();
        message.write(&mut octets).unwrap();
        let read: Status = from_message(&Message::read(&octets).unwrap()).unwrap();
        assert_eq!(read, status);
    }

    #[test]
    fn a_refusal_is_told_instead_of_the_value() {
        let refused = crate::vici::answer::Outcome::refused("no such tunnel").message();
        let error = from_message::<Status>(&refused).unwrap_err();
        assert!(error.to_string().contains("no such tunnel"));
    }

    #[test]
    fn steps_read_as_in_adit_up() {
        let reached = Step::Reached {
            remote: "203.0.113.7:500".into(),
            nat_local: true,
            nat_remote: false,
            peer: Some("strongSwan".into()),
        };
        let child = Step::Child {
            child: "berlin".into(),
            local: vec!["10.1.0.0/24".into()],
            remote: vec!["10.2.0.0/24".into()],
        };
        let lines: Vec<String> = [(0, reached), (51, child)]
            .into_iter()
            .map(|(ms, step)| Progress::new("berlin", Duration::from_millis(ms), step).line())
            .collect();
        insta::assert_snapshot!(lines.join("\n"), @"
          0.00 s  reach     203.0.113.7:500 answers, we are behind a NAT     (peer: strongSwan)
          0.05 s  traffic   10.1.0.0/24 <-> 10.2.0.0/24
        ");
    }

    #[test]
    fn events_keep_their_shape() {
        let event = TunnelEvent::new("berlin", Change::Retry { after_ms: 24_000, failures: 3 });
        insta::assert_snapshot!(
            serde_json::to_string(&event).unwrap(),
            @r#"{"schema":1,"tunnel":"berlin","change":{"kind":"retry","after_ms":24000,"failures":3},"text":"failed again; next try in 24 s"}"#
        );
    }
}
