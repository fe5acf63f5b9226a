//! The databases of RFC 4301 §4.4 as types: SPD, SAD, PAD, and the values in which the IKE
//! machine, the packet engines and the control interface meet.
//!
//! | file | what it holds |
//! |---|---|
//! | `connection`, `kernel`, `host`, `ts_spec`, `proposal`, `identity`, `pad`, `auth_spec`, `ppk`, `rounds`, `static_kem` | what the operator wants |
//! | `childless`, `gateway` | how an IKE SA may begin, and where else (RFC 6023, RFC 5685) |
//! | `remote_access` | users, and addresses from a pool |
//! | `outer_header` | what the outer header of a tunnel takes over (RFC 4301 §5.1.2, §8.1) |
//! | `icmp`, `icmp_interfaces` | what becomes of ICMP messages (RFC 4301 §6), and where outside is |
//! | `security_failures` | whether refused packets are answered (RFC 2521) |
//! | `mtu_policy` | how the path MTU is found, and what becomes of what is too long (RFC 4301 §8) |
//! | `dscp_class` | which packets a child takes from another (RFC 4301 §4.1) |
//! | `child_sa`, `bundle` | what two peers agreed on |
//! | `gateway_notice` | what they tell each other about it in the IKE SA |
//! | `manual` | what an operator keyed by hand |
//! | `spd`, `pfp`, `decorrelate`, `flow_cache` | which packets are protected, passed or dropped (RFC 4301 §4.4.1, Appendix B) |
//! | `sad`, `replay`, `lifetime` | what an SA needs per packet (RFC 4301 §4.4.2, RFC 4303 §3) |
//! | `names`, `ids`, `spi` | names for people, numbers for the process, numbers for the wire |
//!
//! Nothing here reads a clock, opens a socket or draws randomness: these are arguments.

#![forbid(unsafe_code)]
#![cfg_attr(not(test), warn(clippy::arithmetic_side_effects))]

mod auth_spec;
mod bundle;
mod child_sa;
mod childless;
mod connection;
mod decorrelate;
mod dscp_class;
mod flow_cache;
mod gateway;
mod gateway_notice;
mod host;
mod icmp;
mod icmp_interfaces;
mod identity;
mod ids;
mod kernel;
mod lifetime;
mod lifetime_rule;
mod manual;
mod mtu_policy;
mod names;
mod nearest;
mod nonce_encryption;
mod outer_header;
mod pad;
mod pfp;
mod ppk;
pub mod proposal;
mod remote_access;
pub mod replay;
mod rounds;
pub mod sad;
mod security_failures;
pub mod spd;
mod spi;
mod static_kem;
mod ts_spec;

pub use auth_spec::{AuthSpec, SignatureSpec};
pub use bundle::OuterAh;
pub use child_sa::{Aggfrag, ChildKeys, ChildSa, Encapsulation, Hosts, IpComp};
pub use childless::Childless;
pub use connection::{
    Aggressive, BaseMode, ChildConfig, Connection, Encap, EndAction, Engine, IkeVersion,
    KERNEL_SPI, Keep, KeyingTries, Mobike, Mode, Ports, Tfc, Unique,
};
pub use dscp_class::{DscpClass, DscpSet};
pub use flow_cache::{FlowCache, FlowPlace};
pub use gateway::{Gateway, GatewayError, Redirect};
pub use gateway_notice::GatewayNotice;
pub use host::{HostError, HostSpec, single_address};
pub use icmp::{
    IcmpCarry, IcmpPassage, IcmpRed, IcmpRow, IcmpRules, IcmpSide, IcmpTreatment, Transit,
};
pub use icmp_interfaces::IcmpInterfaces;
pub use identity::{IDENTITY_OCTETS_MAX, Identity, IdentityError, IdentityPattern};
pub use ids::{ChildSaId, IkeSaId, PolicyId, TableId};
pub use kernel::{
    HwOffload, InterfaceName, InterfaceNameError, KernelOptions, Mark, MarkError, Steering, TunMtu,
};
pub use lifetime::{Age, Amounts, Lifetime, LifetimeSpec, LimitSpec, USE_INTERVAL, Usage};
pub use lifetime_rule::{AbsentLifetime, LifetimeBounds, LifetimeRule};
pub use manual::{Directions, GROUP_SPIS, MANUAL_SPIS, ManualSa, SENDERS_MAX, counts_nonces};
pub use mtu_policy::{
    EchoRule, FragmentPolicy, MssClamp, MtuPolicy, PATH_MTU_RANGE, PathMtuRule, PerFamily,
};
pub use names::{ChildName, ConnectionName, NAME_OCTETS_MAX, NameError};
pub use nearest::nearest;
pub use nonce_encryption::NonceEncryption;
pub use outer_header::{DfPolicy, Dscp, DscpPolicy, EcnPolicy};
pub use pad::{Claim, PadEntry};
pub use pfp::{FlowClass, Pfp};
pub use ppk::{PPK_ID_OCTETS_MAX, PpkError, PpkId, PpkSpec};
pub use proposal::{Caution, Profile, ProposalError, ProposalSpec, TransformWords};
pub use remote_access::{
    ClientSettings, ConfigClient, ConfigMode, ConfigServer, RemoteAccess, UserAuth,
};
pub use replay::{ReplayError, ReplayWindow, WindowSize};
pub use rounds::{LocalRound, ROUNDS_MAX, RemoteRound};
pub use security_failures::SecurityFailures;
pub use spd::{Action, OperatorPolicy, PolicyTable, Rank, Sides, Spd, SpdEntry, SpdError};
pub use spi::{InboundThreads, is_free, random_cpi, random_spi};
pub use static_kem::StaticKemSpec;
pub use ts_spec::{TsSpec, TsSpecError};
