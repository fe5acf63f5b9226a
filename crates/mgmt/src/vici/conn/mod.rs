//! `load-conn`: the section of swanctl.conf's `connections`, as swanctl sends it, becomes an
//! [`adit_db::Connection`].
//!
//! Every key of swanctl.conf(5) of strongSwan 5.9 is honoured, or accepted because its value asks
//! for nothing (defaults, hints for other authentication methods), or refused by name with the
//! reason: a configuration that loads does what it says. Where swanctl.conf has a default of its
//! own that is weaker than ours (`replay_window`, `dpd_delay`), a missing key means ours. Weak
//! algorithms are taken if they are named, as strongSwan does; the daemon's log says what they cost
//! ([`adit_db::Caution`]).

mod auth;
mod bundle;
mod child;
mod signature;
#[cfg(test)]
mod tests;
mod v1;
mod value;

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::time::Duration;

use adit_db::{
    Childless, Connection, ConnectionName, Encap, HostSpec, Identity, IdentityError,
    IdentityPattern, KeyingTries, Mobike, NameError, Ports, PpkError, PpkId, PpkSpec, ProposalSpec,
    Unique,
};

pub(crate) use self::value::parse_seconds;
use self::value::{Entry, Refused};
use super::message::Section;
use super::pool::Pools;

/// Why a connection is not loaded. `Display` is the `errmsg`.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{path}: {reason}")]
pub struct ConnError {
    /// Where: `children.net.mode`.
    pub path: String,
    /// What is wrong there.
    pub reason: ConnReason,
}

/// What is wrong.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ConnReason {
    /// A key swanctl.conf does not have.
    #[error("unknown option{}", nearest.map_or_else(String::new, |n| format!("; did you mean {n}?")))]
    UnknownKey {
        /// The most similar valid key.
        nearest: Option<&'static str>,
    },
    /// The key is known, what it asks for is not done here.
    #[error("{value:?}: {reason}")]
    Unsupported {
        /// The value.
        value: String,
        /// Why not, and what to do instead.
        reason: &'static str,
    },
    /// The value is not of the key's kind.
    #[error("{value:?}: {reason}")]
    BadValue {
        /// The value.
        value: String,
        /// What it should be.
        reason: String,
    },
    /// The values contradict each other.
    #[error("{0}")]
    Contradiction(&'static str),
}

/// Reads one connection, whose pools are some of `known`.
///
/// # Errors
///
/// [`ConnError`] for the first key that is unknown, malformed or asks for something that is not
/// supported.
pub fn connection(name: &str, section: &Section, known: &Pools) -> Result<Connection, ConnError> {
    let name = ConnectionName::new(name).map_err(|error: NameError| ConnError {
        path: name.to_owned(),
        reason: ConnReason::BadValue { value: name.to_owned(), reason: error.to_string() },
    })?;
    let mut times = Times::default();
    let mut ports = PortKeys::default();
    let mut ppk = PpkKeys::default();
    let mut of_v1 = v1::Keys::default();
    let mut connection = Connection::new(name);
    // swanctl.conf's default, `unique = no`.
    connection.unique = Unique::Never;
    // strongSwan's default, `charon.follow_redirects = yes`.
    connection.redirect.follow = true;
    for entry in Entry::all("", section) {
        let Some(entry) = of_v1.take(entry) else { continue };
        match entry.key.as_str() {
            "local_port" => ports.local = local_port(&entry)?,
            "remote_port" => ports.remote = entry.port()?,
            "ppk_id" if entry.text() == Ok("") => {}
            "ppk_id" => {
                let id = entry.text()?.parse().map_err(|error: PpkError| entry.bad(error))?;
                ppk.id = Some(id);
            }
            "ppk_required" => ppk.required = Some(entry),
            _ => read_key(&mut connection, &mut times, &entry)?,
        }
    }
    times.settle(&mut connection);
    connection.ports = ports.settle()?;
    let users;
    (connection.pad, users) = auth::pad_entry(section)?;
    connection.pad.ppk = ppk.settle()?;
    if let Some(children) = section.section("children") {
        for (name, section) in children.sections() {
            connection.children.push(child::child(name, section)?);
        }
    }
    of_v1.settle(&mut connection, users, known)?;
    check_children(&connection)?;
    Ok(connection)
}

/// Whether each child can be what it asks for.
fn check_children(connection: &Connection) -> Result<(), ConnError> {
    for child in &connection.children {
        child::check_ipcomp(child)?;
        if connection.encap == Encap::Udp && child.is_ah_only() {
            return Err(ConnError {
                path: format!("children.{}.ah_proposals", child.name),
                reason: ConnReason::Contradiction(
                    "AH cannot travel in UDP, which encap = yes asks for",
                ),
            });
        }
        if let Some(beyond) = connection.beyond_ends(child) {
            return Err(ConnError {
                path: format!("children.{}.mode", child.name),
                reason: ConnReason::BadValue {
                    value: child.mode.word().to_owned(),
                    reason: format!("{beyond} is more than one end; use dynamic, or tunnel"),
                },
            });
        }
    }
    Ok(())
}

fn contradiction(path: &str, reason: &'static str) -> ConnError {
    ConnError { path: path.to_owned(), reason: ConnReason::Contradiction(reason) }
}

/// Lifetimes of the IKE SA as written; the missing ones follow from the others.
#[derive(Default)]
struct Times {
    rekey: Option<Duration>,
    reauth: Option<Duration>,
    over: Option<Duration>,
    rand: Option<Duration>,
}

impl Times {
    /// swanctl.conf: over_time is a tenth of the longer of rekey_time and reauth_time, rand_time is
    /// over_time. With a reauth_time there is no rekeying unless it is asked for.
    fn settle(&self, connection: &mut Connection) {
        connection.reauth_time = self.reauth.unwrap_or_default();
        let by_default = match connection.reauth_time.is_zero() {
            true => Connection::DEFAULT_REKEY_TIME,
            false => Duration::ZERO,
        };
        connection.rekey_time = self.rekey.unwrap_or(by_default);
        let longer = connection.rekey_time.max(connection.reauth_time);
        connection.over_time = self.over.unwrap_or(longer / 10);
        connection.rand_time = self.rand.unwrap_or(connection.over_time);
    }
}

fn read_key(
    connection: &mut Connection,
    times: &mut Times,
    entry: &Entry<'_>,
) -> Result<(), ConnError> {
    match entry.key.as_str() {
        "local_addrs" => connection.local_addresses = hosts(entry)?,
        "remote_addrs" => connection.remote_addresses = hosts(entry)?,
        "proposals" => connection.proposals = proposals(entry, ProposalSpec::ike_list)?,
        "encap" => {
            connection.encap = if entry.flag()? { Encap::Udp } else { Encap::Auto };
        }
        "dpd_delay" => connection.dpd_delay = entry.duration()?,
        "fragmentation" => {
            // `accept` and `force` differ from `yes` in what we send first, not in what works.
            connection.fragmentation = match entry.text()? {
                "accept" | "force" => true,
                _ => entry.flag()?,
            };
        }
        "childless" => {
            let word = entry.text()?;
            let known = Childless::WORDS.iter().find(|(known, _)| *known == word);
            let known = known.ok_or_else(|| entry.bad("must be allow, prefer, force or never"))?;
            connection.childless = known.1;
        }
        "mobike" => {
            connection.mobike = if entry.flag()? { Mobike::Yes } else { Mobike::No };
        }
        "keyingtries" => connection.reach = keying_tries(entry)?,
        "unique" => {
            connection.unique = match entry.text()? {
                "no" => Unique::Never,
                "never" => Unique::Replicated,
                "keep" => Unique::Keep,
                "replace" | "yes" => Unique::Replace,
                _ => return Err(entry.bad("must be no, never, keep or replace")),
            };
        }
        "rekey_time" => times.rekey = Some(entry.duration()?),
        "reauth_time" => times.reauth = Some(entry.duration()?),
        "over_time" => times.over = Some(entry.duration()?),
        "rand_time" => times.rand = Some(entry.duration()?),
        "children" => {}
        key if is_auth_section(key) && entry.is_section() => {}
        _ => entry.settle(HONOURED, ACCEPTED, REFUSED)?,
    }
    Ok(())
}

/// The post-quantum key as written; its secret comes by `load-shared`.
#[derive(Default)]
struct PpkKeys<'a> {
    id: Option<PpkId>,
    required: Option<Entry<'a>>,
}

impl PpkKeys<'_> {
    fn settle(self) -> Result<Option<PpkSpec>, ConnError> {
        let required = self.required.as_ref().map(Entry::flag).transpose()?.unwrap_or(false);
        match (self.id, required) {
            (Some(id), required) => Ok(Some(PpkSpec { id, required })),
            (None, false) => Ok(None),
            (None, true) => Err(ConnError {
                path: "ppk_required".to_owned(),
                reason: ConnReason::Contradiction("there is no ppk_id that says which one"),
            }),
        }
    }
}

/// Ports as written; which of ours is meant follows from the peer's.
#[derive(Default)]
struct PortKeys {
    local: Option<u16>,
    remote: Option<u16>,
}

impl PortKeys {
    /// A peer on another port than 500 expects the marker of RFC 3948 §2.2, which goes with our
    /// port 4500.
    fn settle(&self) -> Result<Ports, ConnError> {
        let remote = self.remote.unwrap_or(IKE_PORT);
        let fitting = if remote == IKE_PORT { IKE_PORT } else { NAT_PORT };
        let local = self.local.unwrap_or(fitting);
        if local == fitting {
            return Ok(Ports { local, remote });
        }
        let reason = if local == NAT_PORT {
            "port 4500 does not speak to port 500; set remote_port = 4500, too, or leave it out"
        } else {
            "port 500 speaks to port 500 only; leave local_port out"
        };
        let path = "local_port".to_owned();
        Err(ConnError { path, reason: ConnReason::Contradiction(reason) })
    }
}

fn local_port(entry: &Entry<'_>) -> Result<Option<u16>, ConnError> {
    match entry.port()? {
        port @ (None | Some(IKE_PORT | NAT_PORT)) => Ok(port),
        Some(_) => Err(entry.unsupported("IKE leaves from port 500 or 4500; leave the key out")),
    }
}

const IKE_PORT: u16 = 500;
const NAT_PORT: u16 = 4_500;

/// Addresses, networks and host names; ranges are the one form that is missing.
fn hosts(entry: &Entry<'_>) -> Result<Vec<HostSpec>, ConnError> {
    let is_address = |text: &str| text.trim().parse::<IpAddr>().is_ok();
    let is_range = |item: &str| item.split_once('-').is_some_and(|(first, _)| is_address(first));
    if entry.items()?.into_iter().any(is_range) {
        return Err(entry.unsupported("ranges are not supported yet; list networks instead"));
    }
    entry.parsed_list()
}

fn is_auth_section(key: &str) -> bool {
    key.starts_with("local") || key.starts_with("remote")
}

fn keying_tries(entry: &Entry<'_>) -> Result<KeyingTries, ConnError> {
    if entry.text()? == "%forever" {
        return Ok(KeyingTries::Forever);
    }
    let tries: u32 = entry.number()?;
    Ok(NonZeroU32::new(tries).map_or(KeyingTries::Forever, KeyingTries::Tries))
}

/// A list of proposals; the key given without any is the default.
fn proposals(
    entry: &Entry<'_>,
    read: fn(&str) -> Result<Vec<ProposalSpec>, adit_db::ProposalError>,
) -> Result<Vec<ProposalSpec>, ConnError> {
    let items = entry.items()?;
    let list = if items.is_empty() { "default".to_owned() } else { items.join(",") };
    let specs = read(&list).map_err(|error| entry.bad(error))?;
    match specs.iter().any(|spec| spec.static_kem().is_some()) {
        true => Err(entry.bad("static ML-KEM is for tunnels of the configuration directory")),
        false => Ok(specs),
    }
}

/// An identity that may be a pattern, in swanctl.conf's words.
pub(super) fn parse_identity_pattern(text: &str) -> Result<IdentityPattern, String> {
    text.parse().map_err(|error: IdentityError| error.to_string())
}

/// One exact identity, in swanctl.conf's words; `%any` is the address in use.
pub(super) fn parse_identity(text: &str) -> Result<Option<Identity>, String> {
    if text.starts_with("%any") {
        return Ok(None);
    }
    text.parse().map(Some).map_err(|error: IdentityError| error.to_string())
}

const HONOURED: &[&str] = &[
    "version",
    "aggressive",
    "pull",
    "vips",
    "pools",
    "local_addrs",
    "remote_addrs",
    "local_port",
    "remote_port",
    "proposals",
    "encap",
    "dpd_delay",
    "fragmentation",
    "childless",
    "mobike",
    "keyingtries",
    "unique",
    "rekey_time",
    "reauth_time",
    "ppk_id",
    "ppk_required",
    "over_time",
    "rand_time",
    "children",
    "local",
    "remote",
];

/// Keys that change nothing, or ask for less than we do.
const ACCEPTED: &[&str] = &["dpd_timeout"];

const REFUSED: &[Refused] = &[
    Refused("send_certreq", &["yes"], "certificates are always asked for where they are needed"),
    Refused("send_cert", &["always", "ifasked"], "certificates are always sent"),
    Refused("ocsp", &["never"], "revocation is not checked yet"),
    Refused("dscp", &["000000"], "marking IKE packets with a DSCP is not supported yet"),
    Refused("if_id_in", &["0"], child::NO_XFRM),
    Refused("if_id_out", &["0"], child::NO_XFRM),
    Refused("mediation", &["no"], "IKEv2 mediation is not supported"),
    Refused("mediated_by", &[], "IKEv2 mediation is not supported"),
    Refused("mediation_peer", &[], "IKEv2 mediation is not supported"),
];
