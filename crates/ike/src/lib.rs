//! IKEv2 (RFC 7296) without I/O: the state machines of one endpoint.
//!
//! An [`Endpoint`] holds all IKE SAs of a host. Inputs are its `handle_*` methods: datagrams,
//! time, commands, results of jobs, events of the packet engine. After each input the caller
//! drains [`Endpoint::poll_output`] and asks [`Endpoint::poll_timeout`] when to come again.
//! Time and randomness are arguments, so the same inputs with the same seed give the same run.
//!
//! | file | contents | RFC |
//! |---|---|---|
//! | `endpoint` | all IKE SAs: dispatch by SPI, half-open limits, cookies | 7296 §2.4, §2.6 |
//! | `keep` | what should be up, retries with back-off | |
//! | `v2/ike_sa` | one IKE SA: `enum State` of structs | 7296 |
//! | `v2/exchange/*` | one exchange each | 7296 §1, 9242, 9370 |
//! | `v2/child` | the child SAs of one IKE SA | 7296 §2.8, §2.17 |
//! | `lifetime` | where SAs end and when they are renewed, as a rule for both versions | 2407 §4.5, 4478 |
//! | `input`, `record` | all that goes in as a value, written down and played again | |
//!
//! Long-term secrets are never here: what needs one is an [`Output::Auth`] that comes back by
//! [`Endpoint::handle_auth`].

#![forbid(unsafe_code)]

mod alike;
mod auth;
mod command;
mod config;
mod connections;
mod context;
mod cookie;
mod endpoint;
mod event;
mod failure;
mod gateway_notice;
mod hash;
mod input;
mod keep;
mod keymat;
pub mod lifetime;
mod nat;
mod notification_data;
mod output;
mod pools;
mod proposal;
pub mod record;
mod shard;
mod slab;
mod ticket;
mod timers;
mod traffic_selector;
mod v1;
mod v2;

pub use auth::{DerivedKey, Keys, psk_auth};
pub use command::{
    AuthResult, Command, IcmpHeard, JobId, Limited, PacketEvent, Path, ProofEnd, RequestId,
    TcpProblem, Transport,
};
pub use config::{EndpointConfig, FragmentOctets, Retransmission, Retry};
pub use endpoint::Endpoint;
pub use event::{
    AccessInfo, AuthLimit, ChildSaInfo, ChildSaState, ConnectionInfo, Event, IkeSaCounts,
    IkeSaInfo, IkeSaState, IkeVolume, OuterSaInfo, PeerSoftware, Step,
};
pub use failure::{By, Failure, FailureReason, PpkGap, StaticKemGap};
pub use input::Input;
pub use notification_data::{PeerSays, TOLD};
pub use output::{
    AuthJob, AuthJobKind, DebugKeys, EspDebugKeys, IkeDebugKeys, IsakmpDebugKeys, Output, Query,
};
pub use shard::{Addressee, Shard, Shards, Tidings};
pub use ticket::TicketKeys;
pub use v1::encryption::Ciphertexts;
pub use v2::ppk::{PpkJob, PpkKeys};
pub use v2::signature::{Announced, CertificateData, Proof, SignFailure};
pub use v2::tcp_encap::TCP_LOCAL_PORTS;
