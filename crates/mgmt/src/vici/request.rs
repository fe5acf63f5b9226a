//! Commands of a client, typed: what `swanctl` 5.9 sends, and Adit's own (`adit-…`).
//!
//! A command that can never do anything here (tokens, authorities) is still known,
//! with an answer that lets `swanctl --load-all` pass when there is nothing to load and that names
//! the reason when there is: [`Request::ready_answer`].

mod redirect;
mod shared;

use std::net::IpAddr;
use std::time::Duration;

use adit_db::Dscp;
use adit_pki::{KeyId, PrivateKey};
use adit_wire::ip::FlowKey;

pub use self::redirect::{PeerRange, Redirect};
pub use self::shared::{LoadPpk, LoadShared, LoadUser};
use super::Packet;
use super::answer::{Outcome, algorithms_message};
use super::credentials::{self, CertFilter, Loaded};
use super::events::EventKind;
use super::message::{Message, Section};
use super::pool::{LoadPool, PoolFilter};

/// One command.
#[derive(Debug)]
#[non_exhaustive]
pub enum Request {
    /// `version`. Answer: [`super::answer::Version`].
    Version,
    /// `stats`. Answer: [`super::answer::Stats`].
    Stats,
    /// `reload-settings`: read the native configuration again. Answer: [`Outcome`].
    ReloadSettings,
    /// `initiate`: negotiate an IKE SA or a child, streaming [`EventKind::ControlLog`] and
    /// [`EventKind::AditProgress`]. Answer: [`Outcome`] when it is up or failed.
    Initiate(Initiate),
    /// `terminate`: delete SAs. Answer: [`Outcome`] with `matches` and `terminated`.
    Terminate(Terminate),
    /// `rekey`: new keys for SAs. Answer at once: [`Outcome`] with `matches`.
    Rekey(Rekey),
    /// `redirect`: send peers to another gateway. Answer at once: [`Outcome`] with `matches`.
    Redirect(Redirect),
    /// `install`: negotiate this child when the first packet wants through. Answer: [`Outcome`].
    Install(Install),
    /// `uninstall`: the inverse. Answer: [`Outcome`].
    Uninstall(Install),
    /// `list-sas`: streams [`EventKind::ListSa`], then an empty answer.
    ListSas(ListFilter),
    /// `list-policies`: streams [`EventKind::ListPolicy`], then an empty answer.
    ListPolicies(PolicyFilter),
    /// `list-conns`: streams [`EventKind::ListConn`], then an empty answer.
    ListConns {
        /// Only the connection of this name.
        connection: Option<String>,
    },
    /// `get-conns`. Answer: [`super::answer::names_message`]`("conns", …)`, connections loaded
    /// through this socket only: swanctl unloads what it does not find in its file.
    GetConns,
    /// `load-conn`: read it with [`super::conn::connection`]. Answer: [`Outcome`].
    LoadConn {
        /// Name.
        name: String,
        /// The section below that name.
        section: Section,
    },
    /// `unload-conn`. Answer: [`Outcome`].
    UnloadConn {
        /// Name.
        name: String,
    },
    /// `load-shared`: a pre-shared key. Answer: [`Outcome`].
    LoadShared(LoadShared),
    /// `load-shared`: a post-quantum key. Answer: [`Outcome`].
    LoadPpk(LoadPpk),
    /// `load-shared`: a user's password. Answer: [`Outcome`].
    LoadUser(LoadUser),
    /// `load-pool`. Answer: [`Outcome`].
    LoadPool(LoadPool),
    /// `unload-pool`. Answer: [`Outcome`].
    UnloadPool {
        /// Its name.
        name: String,
    },
    /// `get-pools`. Answer: [`super::pool::pools_message`].
    GetPools(PoolFilter),
    /// `unload-shared`. Answer: [`Outcome`].
    UnloadShared {
        /// The id it was loaded with.
        id: String,
    },
    /// `get-shared`. Answer: [`super::answer::names_message`]`("keys", …)`.
    GetShared,
    /// `load-cert`. Answer: [`Outcome`].
    LoadCert(Loaded),
    /// `load-key`: a private key. Answer: [`super::credentials::key_loaded`].
    LoadKey(Box<PrivateKey>),
    /// `unload-key`, by its fingerprint. Answer: [`Outcome`].
    UnloadKey(KeyId),
    /// `get-keys`: fingerprints. Answer: [`super::answer::names_message`]`("keys", …)`.
    GetKeys,
    /// `list-certs`: streams [`EventKind::ListCert`], then an empty answer.
    ListCerts(CertFilter),
    /// `clear-creds`: forget every secret, key and certificate loaded through this socket. Answer: [`Outcome`].
    ClearCreds,
    /// `get-counters`. Answer: [`super::answer::counters_message`].
    GetCounters {
        /// Only this connection's.
        connection: Option<String>,
        /// Every connection's, instead of the global ones.
        all: bool,
    },
    /// `reset-counters`. Answer: [`Outcome`].
    ResetCounters {
        /// Only this connection's.
        connection: Option<String>,
        /// Every connection's.
        all: bool,
    },
    /// A command that lists what there can be none of, or takes nothing: the answer is known.
    Empty {
        /// The command.
        name: &'static str,
        /// Its answer.
        answer: Message,
    },
    /// A command for something this suite does not do. Answer: [`Outcome`] with the reason.
    Unsupported {
        /// The command.
        name: &'static str,
        /// Why, for people.
        reason: &'static str,
    },
    /// `adit-status`. Answer: [`crate::api::Status`] by [`crate::api::to_message`].
    AditStatus {
        /// Only this tunnel.
        tunnel: Option<String>,
    },
    /// `adit-reload`: read the native configuration again. Answer:
    /// [`crate::api::ReloadReport`] by [`crate::api::to_message`].
    AditReload {
        /// Say what would change, change nothing.
        dry_run: bool,
    },
    /// `adit-spd`: the policies. Answer: [`crate::api::SpdReport`] by [`crate::api::to_message`].
    AditSpd,
    /// `adit-sad`: the SAs. Answer: [`crate::api::SadReport`] by [`crate::api::to_message`].
    AditSad,
    /// `adit-engine`: how packets are moved. Answer: [`crate::api::EngineReport`] by
    /// [`crate::api::to_message`].
    AditEngine,
    /// `adit-forget-path`: forget what the path of a tunnel takes, and find it out anew. Answer at once:
    /// [`Outcome`] with `matches`.
    AditForgetPath {
        /// The tunnel.
        tunnel: String,
    },
    /// `adit-why-lifetime`: what limits the SAs of a tunnel. Answer: [`crate::api::LifetimeReport`] by
    /// [`crate::api::to_message`].
    AditWhyLifetime {
        /// The tunnel.
        tunnel: String,
    },
    /// `adit-why`: what happens to a packet. Answer: [`crate::api::Why`] by
    /// [`crate::api::to_message`].
    AditWhy {
        /// The packet.
        flow: FlowKey,
        /// Its DSCP, which classes go by.
        dscp: Dscp,
        /// The interface that it goes to, if not the one that the routes say.
        interface: Option<String>,
    },
    /// `adit-log`: what happened lately, streaming [`EventKind::Log`], then an empty answer.
    AditLog {
        /// Only this tunnel's.
        tunnel: Option<String>,
        /// At most so many lines, the last ones.
        lines: Option<u32>,
    },
}

/// How long the answer may take.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Timeout {
    /// As long as it takes.
    #[default]
    Forever,
    /// Answer now, the work goes on.
    Immediately,
    /// Answer with a failure after this time; the work goes on.
    After(Duration),
}

/// SAs or configurations by name or number. A child's name alone searches every connection.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Selection {
    /// Name of a child configuration.
    pub child: Option<String>,
    /// Name of a connection.
    pub connection: Option<String>,
    /// Number of a child SA.
    pub child_id: Option<u32>,
    /// Number of an IKE SA.
    pub ike_id: Option<u32>,
}

impl Selection {
    /// Selects by the connection's name.
    pub fn connection(name: impl Into<String>) -> Self {
        Self { connection: Some(name.into()), ..Self::default() }
    }

    /// True if nothing is named, which selects everything.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// True if it names a child or a child SA.
    pub fn is_child(&self) -> bool {
        self.child.is_some() || self.child_id.is_some()
    }
}

/// Arguments of `initiate`.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Initiate {
    /// Name of the child; `None` negotiates the IKE SA alone.
    pub child: Option<String>,
    /// Name of the connection to find the child in.
    pub connection: Option<String>,
    /// How long the answer may take.
    pub timeout: Timeout,
    /// Most verbose level of [`EventKind::ControlLog`] wanted; below 0 none.
    pub log_level: i8,
}

/// Arguments of `terminate`.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Terminate {
    /// What to delete.
    pub selection: Selection,
    /// Forget the IKE SA even if the peer does not answer to the Delete within the timeout.
    pub force: bool,
    /// How long the answer may take.
    pub timeout: Timeout,
    /// Most verbose level of [`EventKind::ControlLog`] wanted; below 0 none.
    pub log_level: i8,
}

/// Arguments of `rekey`.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Rekey {
    /// What to rekey.
    pub selection: Selection,
    /// Make a new IKE SA from the start instead.
    pub reauthenticate: bool,
}

/// Arguments of `install` and `uninstall`.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Install {
    /// Name of the child.
    pub child: String,
    /// Name of the connection to find it in.
    pub connection: Option<String>,
}

impl Install {
    fn put(&self, message: &mut Message) {
        message.put("child", &self.child);
        message.put_some("ike", self.connection.as_ref());
    }
}

/// Arguments of `list-sas`.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct ListFilter {
    /// Which SAs; empty is all.
    pub selection: Selection,
}

/// Arguments of `list-policies`.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct PolicyFilter {
    /// Policies that drop.
    pub drop: bool,
    /// Policies that let pass in clear.
    pub pass: bool,
    /// Policies that negotiate on demand.
    pub trap: bool,
    /// Only this child's.
    pub child: Option<String>,
    /// Only this connection's.
    pub connection: Option<String>,
}

/// Why a request is not carried out.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum RequestError {
    /// There is no such command: answer [`Packet::UnknownCommand`].
    #[error("unknown command")]
    UnknownCommand,
    /// The arguments do not fit: answer [`Outcome::refused`] with this text.
    #[error("{0}")]
    Invalid(String),
}

impl RequestError {
    /// The packet that answers the client.
    pub fn packet(&self) -> Packet {
        match self {
            Self::UnknownCommand => Packet::UnknownCommand,
            Self::Invalid(reason) => Packet::Response(Outcome::refused(reason).message()),
        }
    }
}

const NO_TOKENS: &str = "keys on tokens are not supported yet; load them from files";
const NO_AUTHORITIES: &str = "revocation is not checked yet; load the authority with load-cert";

impl Request {
    /// Understands a command.
    ///
    /// # Errors
    ///
    /// [`RequestError::UnknownCommand`] or [`RequestError::Invalid`]; arguments nobody knows are
    /// ignored, as charon ignores them.
    pub fn parse(name: &str, message: &Message) -> Result<Self, RequestError> {
        match name {
            "version" => Ok(Self::Version),
            "stats" => Ok(Self::Stats),
            "reload-settings" => Ok(Self::ReloadSettings),
            "initiate" => initiate(message),
            "terminate" => terminate(message),
            "rekey" => rekey(message),
            "redirect" => redirect::read(message),
            "install" => install(message).map(Self::Install),
            "uninstall" => install(message).map(Self::Uninstall),
            "list-sas" => Ok(Self::ListSas(ListFilter { selection: selection(message)? })),
            "list-policies" => Ok(Self::ListPolicies(PolicyFilter {
                drop: flag(message, "drop"),
                pass: flag(message, "pass"),
                trap: flag(message, "trap"),
                child: text(message, "child")?,
                connection: text(message, "ike")?,
            })),
            "list-conns" => Ok(Self::ListConns { connection: text(message, "ike")? }),
            "get-conns" => Ok(Self::GetConns),
            "load-conn" => load_conn(message),
            "unload-conn" => Ok(Self::UnloadConn { name: needed(message, "name")? }),
            "load-shared" => shared::read(message),
            "load-pool" => LoadPool::read(message).map(Self::LoadPool),
            "unload-pool" => Ok(Self::UnloadPool { name: needed(message, "name")? }),
            "get-pools" => Ok(Self::GetPools(PoolFilter {
                name: text(message, "name")?,
                leases: flag(message, "leases"),
            })),
            "unload-shared" => Ok(Self::UnloadShared { id: needed(message, "id")? }),
            "get-shared" => Ok(Self::GetShared),
            "clear-creds" => Ok(Self::ClearCreds),
            "get-counters" => Ok(Self::GetCounters {
                connection: text(message, "name")?,
                all: flag(message, "all"),
            }),
            "reset-counters" => Ok(Self::ResetCounters {
                connection: text(message, "name")?,
                all: flag(message, "all"),
            }),
            "load-cert" => credentials::load_cert(message).map(Self::LoadCert),
            "load-key" => credentials::load_key(message).map(|key| Self::LoadKey(Box::new(key))),
            "unload-key" => credentials::unload_key(message).map(Self::UnloadKey),
            "get-keys" => Ok(Self::GetKeys),
            "list-certs" => Ok(Self::ListCerts(credentials::list_certs(message))),
            "adit-status" => Ok(Self::AditStatus { tunnel: text(message, "tunnel")? }),
            "adit-reload" => Ok(Self::AditReload { dry_run: flag(message, "dry-run") }),
            "adit-spd" => Ok(Self::AditSpd),
            "adit-sad" => Ok(Self::AditSad),
            "adit-engine" => Ok(Self::AditEngine),
            "adit-why" => Ok(Self::AditWhy {
                flow: flow(message)?,
                dscp: dscp(message)?,
                interface: text(message, "interface")?,
            }),
            "adit-forget-path" => Ok(Self::AditForgetPath { tunnel: needed(message, "tunnel")? }),
            "adit-why-lifetime" => Ok(Self::AditWhyLifetime { tunnel: needed(message, "tunnel")? }),
            "adit-log" => Ok(Self::AditLog {
                tunnel: text(message, "tunnel")?,
                lines: number(message, &["lines"])?,
            }),
            _ => Self::settled(name).ok_or(RequestError::UnknownCommand),
        }
    }

    /// Commands whose answer does not depend on anything.
    fn settled(name: &str) -> Option<Self> {
        let empty = |name, answer| Some(Self::Empty { name, answer });
        let unsupported = |name, reason| Some(Self::Unsupported { name, reason });
        match name {
            "get-authorities" => {
                empty("get-authorities", Message::new().with_list("authorities", [""; 0]))
            }
            "list-authorities" => empty("list-authorities", Message::new()),
            "flush-certs" => empty("flush-certs", Outcome::ok().message()),
            "get-algorithms" => empty("get-algorithms", algorithms_message()),
            "load-token" => unsupported("load-token", NO_TOKENS),
            "load-authority" => unsupported("load-authority", NO_AUTHORITIES),
            "unload-authority" => unsupported("unload-authority", NO_AUTHORITIES),
            _ => None,
        }
    }

    /// The answer, if it is known without asking anybody.
    pub fn ready_answer(&self) -> Option<Message> {
        if let Self::Unsupported { reason, .. } = self {
            return Some(Outcome::refused(reason).message());
        }
        if let Self::Empty { answer, .. } = self { Some(answer.clone()) } else { None }
    }

    /// The command's name.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Version => "version",
            Self::Stats => "stats",
            Self::ReloadSettings => "reload-settings",
            Self::Initiate(_) => "initiate",
            Self::Terminate(_) => "terminate",
            Self::Rekey(_) => "rekey",
            Self::Redirect(_) => "redirect",
            Self::Install(_) => "install",
            Self::Uninstall(_) => "uninstall",
            Self::ListSas(_) => "list-sas",
            Self::ListPolicies(_) => "list-policies",
            Self::ListConns { .. } => "list-conns",
            Self::GetConns => "get-conns",
            Self::LoadConn { .. } => "load-conn",
            Self::UnloadConn { .. } => "unload-conn",
            Self::LoadShared(_) | Self::LoadPpk(_) | Self::LoadUser(_) => "load-shared",
            Self::LoadPool(_) => "load-pool",
            Self::UnloadPool { .. } => "unload-pool",
            Self::GetPools(_) => "get-pools",
            Self::UnloadShared { .. } => "unload-shared",
            Self::GetShared => "get-shared",
            Self::LoadCert(_) => "load-cert",
            Self::LoadKey(_) => "load-key",
            Self::UnloadKey(_) => "unload-key",
            Self::GetKeys => "get-keys",
            Self::ListCerts(_) => "list-certs",
            Self::ClearCreds => "clear-creds",
            Self::GetCounters { .. } => "get-counters",
            Self::ResetCounters { .. } => "reset-counters",
            Self::Empty { name, .. } | Self::Unsupported { name, .. } => name,
            Self::AditStatus { .. } => "adit-status",
            Self::AditReload { .. } => "adit-reload",
            Self::AditSpd => "adit-spd",
            Self::AditSad => "adit-sad",
            Self::AditEngine => "adit-engine",
            Self::AditWhy { .. } => "adit-why",
            Self::AditForgetPath { .. } => "adit-forget-path",
            Self::AditWhyLifetime { .. } => "adit-why-lifetime",
            Self::AditLog { .. } => "adit-log",
        }
    }

    /// The events that belong to the answer; a client registers for them first.
    pub fn streams(&self) -> &'static [EventKind] {
        const STREAMS: &[(&str, &[EventKind])] = &[
            ("initiate", &[EventKind::ControlLog, EventKind::AditProgress]),
            ("terminate", &[EventKind::ControlLog]),
            ("list-sas", &[EventKind::ListSa]),
            ("list-policies", &[EventKind::ListPolicy]),
            ("list-conns", &[EventKind::ListConn]),
            ("list-certs", &[EventKind::ListCert]),
            ("adit-log", &[EventKind::Log]),
        ];
        STREAMS.iter().find(|(name, _)| *name == self.name()).map_or(&[], |(_, events)| events)
    }

    /// The arguments; the inverse of [`Self::parse`].
    pub fn message(&self) -> Message {
        let mut message = Message::new();
        match self {
            Self::Initiate(initiate) => {
                message.put_some("child", initiate.child.as_ref());
                message.put_some("ike", initiate.connection.as_ref());
                put_timeout(&mut message, initiate.timeout);
                message.put("loglevel", initiate.log_level);
            }
            Self::Terminate(terminate) => {
                put_selection(&mut message, &terminate.selection);
                message.put_if("force", terminate.force);
                put_timeout(&mut message, terminate.timeout);
                message.put("loglevel", terminate.log_level);
            }
            Self::Rekey(rekey) => {
                put_selection(&mut message, &rekey.selection);
                message.put_if("reauth", rekey.reauthenticate);
            }
            Self::Redirect(redirect) => redirect::put(redirect, &mut message),
            Self::Install(install) | Self::Uninstall(install) => install.put(&mut message),
            Self::ListSas(filter) => put_selection(&mut message, &filter.selection),
            Self::ListPolicies(filter) => put_policy_filter(&mut message, filter),
            Self::ListConns { connection } => message.put_some("ike", connection.as_ref()),
            Self::LoadConn { name, section } => {
                return message.with_section(name, section.clone());
            }
            Self::UnloadConn { name } | Self::UnloadPool { name } => message.put("name", name),
            Self::LoadPool(pool) => return pool.message(),
            Self::GetPools(filter) => filter.put(&mut message),
            Self::UnloadShared { id } => message.put("id", id),
            Self::GetCounters { connection, all } | Self::ResetCounters { connection, all } => {
                message.put_some("name", connection.as_ref());
                message.put_if("all", *all);
            }
            Self::AditStatus { tunnel } => message.put_some("tunnel", tunnel.as_ref()),
            Self::AditWhyLifetime { tunnel } | Self::AditForgetPath { tunnel } => {
                message.put("tunnel", tunnel);
            }
            Self::AditReload { dry_run } => message.put_if("dry-run", *dry_run),
            Self::AditWhy { flow, dscp, interface } => {
                put_packet(&mut message, flow, *dscp, interface.as_ref());
            }
            Self::AditLog { tunnel, lines } => {
                message.put_some("tunnel", tunnel.as_ref());
                message.put_some("lines", *lines);
            }
            Self::LoadShared(_)
            | Self::LoadPpk(_)
            | Self::LoadUser(_)
            | Self::LoadCert(_)
            | Self::UnloadKey(_)
            | Self::ListCerts(_) => self.put_credentials(&mut message),
            // What is in a private key never comes out again.
            Self::LoadKey(_)
            | Self::GetKeys
            | Self::Version
            | Self::Stats
            | Self::ReloadSettings
            | Self::GetConns
            | Self::GetShared
            | Self::ClearCreds
            | Self::AditSpd
            | Self::AditSad
            | Self::AditEngine
            | Self::Empty { .. }
            | Self::Unsupported { .. } => {}
        }
        message
    }

    /// The arguments of commands about secrets, certificates and private keys.
    fn put_credentials(&self, message: &mut Message) {
        shared::put_any(self, message);
        if let Self::UnloadKey(id) = self {
            message.put("id", id);
        }
        if let Self::ListCerts(filter) = self {
            filter.message(message);
        }
        if let Self::LoadCert(loaded) = self {
            credentials::put_loaded(message, loaded);
        }
    }
}

fn initiate(message: &Message) -> Result<Request, RequestError> {
    let child = text(message, "child")?;
    let connection = text(message, "ike")?;
    if child.is_none() && connection.is_none() {
        return Err(invalid("missing configuration name: give child or ike"));
    }
    let (timeout, log_level) = (timeout(message)?, log_level(message)?);
    Ok(Request::Initiate(Initiate { child, connection, timeout, log_level }))
}

fn terminate(message: &Message) -> Result<Request, RequestError> {
    let selection = selection(message)?;
    if selection.is_empty() {
        return Err(invalid("missing terminate selector: give child, ike, child-id or ike-id"));
    }
    Ok(Request::Terminate(Terminate {
        selection,
        force: flag(message, "force"),
        timeout: timeout(message)?,
        log_level: log_level(message)?,
    }))
}

fn rekey(message: &Message) -> Result<Request, RequestError> {
    let selection = selection(message)?;
    if selection.is_empty() {
        return Err(invalid("missing rekey selector: give child, ike, child-id or ike-id"));
    }
    Ok(Request::Rekey(Rekey { selection, reauthenticate: flag(message, "reauth") }))
}

fn install(message: &Message) -> Result<Install, RequestError> {
    Ok(Install { child: needed(message, "child")?, connection: text(message, "ike")? })
}

fn load_conn(message: &Message) -> Result<Request, RequestError> {
    let mut sections = message.sections();
    match (sections.next(), sections.next()) {
        (Some((name, section)), None) => {
            Ok(Request::LoadConn { name: name.to_owned(), section: section.clone() })
        }
        _ => Err(invalid("load-conn takes exactly one connection")),
    }
}

fn put_policy_filter(message: &mut Message, filter: &PolicyFilter) {
    message.put_if("drop", filter.drop);
    message.put_if("pass", filter.pass);
    message.put_if("trap", filter.trap);
    message.put_some("child", filter.child.as_ref());
    message.put_some("ike", filter.connection.as_ref());
}

fn put_selection(message: &mut Message, selection: &Selection) {
    message.put_some("child", selection.child.as_ref());
    message.put_some("ike", selection.connection.as_ref());
    message.put_some("child-id", selection.child_id);
    message.put_some("ike-id", selection.ike_id);
}

fn put_timeout(message: &mut Message, timeout: Timeout) {
    match timeout {
        Timeout::Forever => {}
        Timeout::Immediately => message.put("timeout", -1),
        Timeout::After(time) => message.put("timeout", time.as_millis().max(1)),
    }
}

fn selection(message: &Message) -> Result<Selection, RequestError> {
    Ok(Selection {
        child: text(message, "child")?,
        connection: text(message, "ike")?,
        // The documentation writes child_id, swanctl sends child-id.
        child_id: number(message, &["child-id", "child_id"])?,
        ike_id: number(message, &["ike-id", "ike_id"])?,
    })
}

/// In milliseconds; swanctl turns its `-1` into `-1000`.
fn timeout(message: &Message) -> Result<Timeout, RequestError> {
    match number::<i64>(message, &["timeout"])? {
        None | Some(0) => Ok(Timeout::Forever),
        Some(ms) => Ok(match u64::try_from(ms) {
            Ok(ms) => Timeout::After(Duration::from_millis(ms)),
            Err(_) => Timeout::Immediately,
        }),
    }
}

/// A packet: `source`, `destination`, `protocol` and, if it shows ports, `source-port` and
/// `destination-port`.
fn flow(message: &Message) -> Result<FlowKey, RequestError> {
    let address = |name| -> Result<IpAddr, RequestError> {
        let text = needed(message, name)?;
        text.parse().map_err(|_| invalid(format!("{name} = {text:?} is no IP address")))
    };
    let (source, destination) = (address("source")?, address("destination")?);
    if source.is_ipv4() != destination.is_ipv4() {
        return Err(invalid("source and destination are of two address families"));
    }
    let protocol = number(message, &["protocol"])?.ok_or_else(|| invalid("missing protocol"))?;
    let ports = (number(message, &["source-port"])?, number(message, &["destination-port"])?);
    Ok(match ports {
        (Some(from), Some(to)) => FlowKey::new(source, destination, protocol, from, to),
        _ => FlowKey::without_ports(source, destination, protocol),
    })
}

fn dscp(message: &Message) -> Result<Dscp, RequestError> {
    let value = number(message, &["dscp"])?.unwrap_or(0);
    Dscp::new(value).ok_or_else(|| invalid(format!("dscp = {value} is not 0 to 63")))
}

fn put_packet(message: &mut Message, flow: &FlowKey, dscp: Dscp, interface: Option<&String>) {
    put_flow(message, flow);
    message.put_some("dscp", (dscp != Dscp::default()).then_some(dscp.get()));
    message.put_some("interface", interface);
}

fn put_flow(message: &mut Message, flow: &FlowKey) {
    message.put("source", flow.src);
    message.put("destination", flow.dst);
    message.put("protocol", flow.protocol);
    message.put_some("source-port", (!flow.opaque).then_some(flow.src_port));
    message.put_some("destination-port", (!flow.opaque).then_some(flow.dst_port));
}

fn log_level(message: &Message) -> Result<i8, RequestError> {
    Ok(number(message, &["loglevel"])?.unwrap_or(1))
}

fn flag(message: &Message, name: &str) -> bool {
    matches!(message.text(name), Some("yes" | "true" | "1" | "enabled"))
}

fn number<T: std::str::FromStr>(
    message: &Message,
    names: &[&str],
) -> Result<Option<T>, RequestError> {
    let Some((name, value)) = names.iter().find_map(|n| message.text(n).map(|v| (n, v))) else {
        return Ok(None);
    };
    let number = value.trim().parse();
    number.map(Some).map_err(|_| invalid(format!("{name} = {value:?} is not a number in range")))
}

fn text(message: &Message, name: &str) -> Result<Option<String>, RequestError> {
    match (message.get(name), message.text(name)) {
        (None, _) => Ok(None),
        (Some(_), Some(text)) => Ok((!text.is_empty()).then(|| text.to_owned())),
        (Some(_), None) => Err(invalid(format!("{name} is not text"))),
    }
}

fn needed(message: &Message, name: &str) -> Result<String, RequestError> {
    text(message, name)?.ok_or_else(|| invalid(format!("missing {name}")))
}

fn invalid(reason: impl Into<String>) -> RequestError {
    RequestError::Invalid(reason.into())
}
