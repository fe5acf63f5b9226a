//! Management: what an operator says to the daemon and hears from it.
//!
//! - [`vici`]: the control socket's protocol, strongSwan's, so that `swanctl` works; `adit` speaks
//!   the same with a few commands more ([`api`]).
//! - [`config`]: the native configuration files.
//! - [`codes`] and [`diagnosis`]: every problem's number, sentence and explanation.
//! - [`drops`]: what helps against packets that the engine drops.
//! - [`secret`]: pre-shared keys as text.
//!
//! Pure: octets and strings come in, octets, values and strings go out. No socket, file or clock.

#![forbid(unsafe_code)]

pub mod api;
pub mod codes;
pub mod config;
pub mod diagnosis;
pub mod drops;
pub mod secret;
pub mod vici;

pub use codes::{Code, Severity};
pub use diagnosis::Diagnosis;
