//! VICI, the Versatile IKE Control Interface: strongSwan's control protocol
//! (`src/libcharon/plugins/vici/README.md` there), both sides, without I/O.
//!
//! ```text
//! socket -> Decoder -> Packet -> Request::parse -> (the daemon) -> Outcome, Event -> Packet -> socket
//! ```
//!
//! Layers: [`Section`] is the message format, [`Packet`] and [`Decoder`] the transport,
//! [`Request`], [`Event`] and the answers in [`answer`] the vocabulary. [`conn`] turns
//! swanctl.conf's `connections` into [`adit_db::Connection`]. [`Client`] is the other side.

pub mod algorithm;
pub mod answer;
mod client;
mod codec;
pub mod conn;
pub mod credentials;
mod events;
mod message;
pub mod pool;
mod printable;
pub mod request;
mod snapshot;

pub use self::client::{Client, ClientError, ClientEvent};
pub use self::codec::{CodecError, Decoder, PACKET_OCTETS_MAX, Packet};
pub use self::conn::ConnError;
pub use self::events::{Event, EventKind, LogLine, UnknownEvent};
pub use self::message::{DEPTH_MAX, Message, NAME_OCTETS_MAX, Section, VALUE_OCTETS_MAX, Value};
pub use self::request::{
    Initiate, Install, ListFilter, LoadPpk, LoadShared, LoadUser, PeerRange, PolicyFilter,
    Redirect, Rekey, Request, RequestError, Selection, Terminate, Timeout,
};
pub use self::snapshot::{
    AccessSnapshot, AhSnapshot, ChildSnapshot, PathSnapshot, PolicySnapshot, SaSnapshot,
    conn_section,
};
