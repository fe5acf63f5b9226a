//! The daemon's roles: threads that share nothing and talk by the messages of
//! [`crate::message`]. Each could be a process of its own.

pub(crate) mod control;
pub(crate) mod forward;
pub(crate) mod ike;
pub(crate) mod ike_sockets;
pub(crate) mod kernel;
pub(crate) mod keys;
pub(crate) mod parent;
pub(crate) mod tcp;

use adit_ike::IcmpHeard;
use adit_sys::icmp_errors::interface_name;
use adit_sys::udp::{SocketError, UdpSocket};

/// Errors of one socket taken before something else has its turn: anyone can cause them.
const ERRORS_IN_A_ROW: usize = 64;

/// The ICMP message that says what the network says, if it is one, for the IKE machine.
fn icmp_heard(problem: &SocketError) -> Option<IcmpHeard> {
    problem.icmp().map(|icmp| IcmpHeard { icmp, by: interface_name(problem.interface()) })
}

/// What the network complains about, bounded.
fn errors(socket: &UdpSocket) -> impl Iterator<Item = SocketError> {
    (0..ERRORS_IN_A_ROW).map_while(|_| socket.next_error().ok().flatten())
}
