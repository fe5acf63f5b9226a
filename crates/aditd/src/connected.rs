//! Whether busy peers may have sockets of their own.

use adit_sys::udp::{DualUdpSocket, SocketOptions};
use tracing::info;

use crate::args::{Args, Switch};

/// Prepares UDP 4500 for such sockets; why there are none, if so. `nat` has the sockets of each inbound
/// thread: what comes to a socket of a peer is for one thread alone.
pub(crate) fn refusal(args: &Args, nat: &[DualUdpSocket]) -> Option<String> {
    if args.connected_sockets == Switch::Off {
        return Some("switched off".to_owned());
    }
    let reason = match nat {
        [only] => only.admit_connected(&SocketOptions::default()).err()?.to_string(),
        _ => "several threads open packets".to_owned(),
    };
    info!(reason, "no peer has a socket of its own");
    Some(reason)
}
