//! What goes on under another configuration: SAs of which nothing would be negotiated otherwise.
//! RFC 4301 §4.4.1 leaves to the implementation what becomes of the others; here they end.

use std::time::Duration;

use adit_db::{ChildConfig, Connection};

/// Whether IKE SAs of the one are IKE SAs of the other: only children, timers and policies about
/// keeping differ.
pub(crate) fn negotiates_alike(before: &Connection, after: &Connection) -> bool {
    let relevant = |connection: &Connection| Connection {
        children: Vec::new(),
        keepalive: Connection::DEFAULT_KEEPALIVE,
        dpd_delay: Connection::DEFAULT_DPD_DELAY,
        rekey_time: Connection::DEFAULT_REKEY_TIME,
        over_time: Connection::DEFAULT_OVER_TIME,
        rand_time: Connection::DEFAULT_OVER_TIME,
        reauth_time: Duration::ZERO,
        unique: after.unique,
        reach: after.reach,
        redirect: after.redirect.clone(),
        tcp_ports: after.tcp_ports.clone(),
        ..connection.clone()
    };
    relevant(before) == relevant(after)
}

/// Whether child SAs of the one are child SAs of the other; lifetimes count from the next one.
pub(crate) fn protects_alike(before: &ChildConfig, after: &ChildConfig) -> bool {
    let relevant = |child: &ChildConfig| ChildConfig {
        keep: after.keep,
        lifetime: after.lifetime,
        dpd_action: after.dpd_action,
        close_action: after.close_action,
        ..child.clone()
    };
    relevant(before) == relevant(after)
}
