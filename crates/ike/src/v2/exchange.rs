//! The exchanges of IKEv2 (RFC 7296 §1.2 to §1.4), one file each: what both sides send, check
//! and do.

pub(crate) mod auth;
pub(crate) mod create_child;
pub(crate) mod delete;
pub(crate) mod followup;
pub(crate) mod informational;
pub(crate) mod init;
pub(crate) mod init_answer;
pub(crate) mod intermediate;
pub(crate) mod rekey_child;
pub(crate) mod rekey_ike;
