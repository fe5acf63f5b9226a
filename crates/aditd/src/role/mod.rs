//! The daemon's roles: threads that share nothing and talk by the messages of
//! [`crate::message`]. Each could be a process of its own.

pub(crate) mod control;
pub(crate) mod forward;
pub(crate) mod ike;
pub(crate) mod keys;
pub(crate) mod parent;
