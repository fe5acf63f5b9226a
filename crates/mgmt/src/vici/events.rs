//! Events of the server, typed; each becomes one [`Packet::Event`].

use std::sync::Arc;

use adit_db::Connection;

use super::credentials::CertSnapshot;
use super::message::{Message, Section};
use super::printable::printable;
use super::snapshot::{ChildSnapshot, PolicySnapshot, SaSnapshot, conn_section};
use super::{Packet, VALUE_OCTETS_MAX};
use crate::api;

macro_rules! event_kinds {
    ($($(#[$doc:meta])* $variant:ident $name:literal)*) => {
        /// What a client can register for.
        #[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
        #[non_exhaustive]
        pub enum EventKind {
            $($(#[$doc])* $variant,)*
        }

        impl EventKind {
            /// Every kind.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// Its name in VICI.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }
        }
    };
}

event_kinds! {
    /// `log`: a line of the log.
    Log "log"
    /// `control-log`: a line of the log that concerns the running command of this client.
    ControlLog "control-log"
    /// `list-sa`: an IKE SA and its children, while `list-sas` runs.
    ListSa "list-sa"
    /// `list-policy`: a policy, while `list-policies` runs.
    ListPolicy "list-policy"
    /// `list-conn`: a connection, while `list-conns` runs.
    ListConn "list-conn"
    /// `list-cert`: a certificate or raw public key, while `list-certs` runs.
    ListCert "list-cert"
    /// `list-authority`: never raised; `swanctl` registers for it.
    ListAuthority "list-authority"
    /// `ike-updown`: an IKE SA is established or gone.
    IkeUpdown "ike-updown"
    /// `ike-rekey`: an IKE SA got new keys.
    IkeRekey "ike-rekey"
    /// `child-updown`: a child SA is installed or gone.
    ChildUpdown "child-updown"
    /// `child-rekey`: a child SA got new keys.
    ChildRekey "child-rekey"
    /// `adit-progress`: a step of a handshake, [`api::Progress`].
    AditProgress "adit-progress"
    /// `adit-event`: a tunnel changed, [`api::TunnelEvent`].
    AditEvent "adit-event"
}

/// The name names no event: answer [`Packet::EventUnknown`].
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("unknown event")]
pub struct UnknownEvent;

impl std::str::FromStr for EventKind {
    type Err = UnknownEvent;

    fn from_str(name: &str) -> Result<Self, UnknownEvent> {
        Self::ALL.iter().copied().find(|kind| kind.name() == name).ok_or(UnknownEvent)
    }
}

/// Something to tell the clients that registered for it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Event {
    /// See [`EventKind::Log`].
    Log(LogLine),
    /// See [`EventKind::ControlLog`].
    ControlLog(LogLine),
    /// See [`EventKind::ListSa`].
    ListSa(Box<SaSnapshot>),
    /// See [`EventKind::ListPolicy`].
    ListPolicy(PolicySnapshot),
    /// See [`EventKind::ListConn`].
    ListConn(Arc<Connection>),
    /// See [`EventKind::ListCert`].
    ListCert(CertSnapshot),
    /// See [`EventKind::IkeUpdown`].
    IkeUpdown {
        /// Established, or gone.
        up: bool,
        /// The IKE SA.
        sa: Box<SaSnapshot>,
    },
    /// See [`EventKind::IkeRekey`].
    IkeRekey {
        /// Before.
        old: Box<SaSnapshot>,
        /// After.
        new: Box<SaSnapshot>,
    },
    /// See [`EventKind::ChildUpdown`].
    ChildUpdown {
        /// Installed, or gone.
        up: bool,
        /// Its IKE SA.
        sa: Box<SaSnapshot>,
        /// The child SA.
        child: Box<ChildSnapshot>,
    },
    /// See [`EventKind::ChildRekey`].
    ChildRekey {
        /// Their IKE SA.
        sa: Box<SaSnapshot>,
        /// Before.
        old: Box<ChildSnapshot>,
        /// After.
        new: Box<ChildSnapshot>,
    },
    /// See [`EventKind::AditProgress`].
    AditProgress(Box<api::Progress>),
    /// See [`EventKind::AditEvent`].
    AditEvent(Box<api::TunnelEvent>),
}

impl Event {
    /// Its kind.
    pub fn kind(&self) -> EventKind {
        match self {
            Self::Log(_) => EventKind::Log,
            Self::ControlLog(_) => EventKind::ControlLog,
            Self::ListSa(_) => EventKind::ListSa,
            Self::ListPolicy(_) => EventKind::ListPolicy,
            Self::ListConn(_) => EventKind::ListConn,
            Self::ListCert(_) => EventKind::ListCert,
            Self::IkeUpdown { .. } => EventKind::IkeUpdown,
            Self::IkeRekey { .. } => EventKind::IkeRekey,
            Self::ChildUpdown { .. } => EventKind::ChildUpdown,
            Self::ChildRekey { .. } => EventKind::ChildRekey,
            Self::AditProgress(_) => EventKind::AditProgress,
            Self::AditEvent(_) => EventKind::AditEvent,
        }
    }

    /// Its message.
    pub fn message(&self) -> Message {
        match self {
            Self::Log(line) | Self::ControlLog(line) => line.message(),
            Self::ListSa(sa) => {
                Message::new().with_section(&sa.connection, sa.section_with(&sa.children))
            }
            Self::ListPolicy(policy) => {
                let name = format!("{}/{}", policy.connection, policy.child);
                Message::new().with_section(&name, policy.section())
            }
            Self::ListConn(connection) => {
                Message::new().with_section(connection.name.as_str(), conn_section(connection))
            }
            Self::ListCert(cert) => cert.message(),
            Self::IkeUpdown { up, sa } => updown(*up).with_section(&sa.connection, sa.section()),
            Self::IkeRekey { old, new } => {
                let pair = Section::new().with_section("old", old.section());
                let pair = pair.with_section("new", new.section());
                Message::new().with_section(&new.connection, pair)
            }
            Self::ChildUpdown { up, sa, child } => {
                updown(*up).with_section(&sa.connection, sa.section_with([&**child]))
            }
            Self::ChildRekey { sa, old, new } => {
                let pair = Section::new().with_section("old", old.section());
                let pair = pair.with_section("new", new.section());
                let children = Section::new().with_section(&new.name, pair);
                let section = sa.section().with_section("child-sas", children);
                Message::new().with_section(&sa.connection, section)
            }
            Self::AditProgress(progress) => api::to_message(&**progress),
            Self::AditEvent(event) => api::to_message(&**event),
        }
    }

    /// Its packet.
    pub fn packet(&self) -> Packet {
        Packet::Event { name: self.kind().name().to_owned(), message: self.message() }
    }
}

/// Charon says `up = yes` or nothing.
fn updown(up: bool) -> Message {
    let mut message = Message::new();
    message.put_if("up", up);
    message
}

/// A line of the log.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct LogLine {
    /// Subsystem in three letters: `IKE`, `CFG`, `NET`, `ENC`, `CHD`, `KNL`, `DMN`.
    pub group: String,
    /// 0 is always of interest, 1 the ordinary course, 2 and more for debugging.
    pub level: i8,
    /// Number of the thread that wrote it; 0 in `control-log`, which has none.
    pub thread: u32,
    /// Name of the connection it concerns.
    pub connection: Option<String>,
    /// Number of the IKE SA it concerns, if that is known.
    pub ike_id: Option<u32>,
    /// The text, one line.
    pub text: String,
    /// When it was written, `2026-11-24T03:12:00.123Z`; Adit's own.
    pub time: Option<String>,
}

impl LogLine {
    /// As VICI; a text too long for it is cut. What swanctl would not show is escaped in `msg` and
    /// stands as it is in `adit-text`.
    pub fn message(&self) -> Message {
        let mut message = Message::new().with("group", &self.group).with("level", self.level);
        if self.thread != 0 {
            message.put("thread", self.thread);
        }
        message.put_some("ikesa-name", self.connection.as_ref());
        message.put_some("ikesa-uniqueid", self.ike_id);
        message.put_some("adit-time", self.time.as_ref());
        let text = cut(&self.text);
        let shown = printable(text);
        if shown != text {
            message.put("adit-text", text);
        }
        message.with("msg", cut(&shown))
    }

    /// Reads `log` or `control-log`; what is missing is empty.
    pub fn parse(message: &Message) -> Self {
        let text = |name| message.text(name).unwrap_or_default();
        let number = |name| message.text(name).and_then(|number| number.parse().ok());
        Self {
            group: text("group").to_owned(),
            level: text("level").parse().unwrap_or(1),
            thread: number("thread").unwrap_or_default(),
            connection: message.text("ikesa-name").map(str::to_owned),
            ike_id: number("ikesa-uniqueid"),
            text: message.text("adit-text").unwrap_or_else(|| text("msg")).to_owned(),
            time: message.text("adit-time").map(str::to_owned),
        }
    }
}

fn cut(text: &str) -> &str {
    text.get(..text.floor_char_boundary(VALUE_OCTETS_MAX)).unwrap_or_default()
}
