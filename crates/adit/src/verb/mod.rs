//! The verbs, one file for those that belong together.

pub(crate) mod act;
pub(crate) mod check;
pub(crate) mod describe;
pub(crate) mod doctor;
pub(crate) mod drops;
pub(crate) mod engine;
pub(crate) mod icmp;
pub(crate) mod lifetime;
pub(crate) mod log;
pub(crate) mod mtu;
pub(crate) mod ping;
pub(crate) mod secret;
pub(crate) mod status;
pub(crate) mod suite;
pub(crate) mod trace;
pub(crate) mod why;
