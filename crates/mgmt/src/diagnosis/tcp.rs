//! What fails where IKE and ESP go over TCP (RFC 9329).

use std::net::SocketAddr;

use super::{Context, Diagnosis};
use crate::codes::Code;

impl Diagnosis {
    /// E122: no TCP connection to the peer comes about; `saw` says why.
    pub fn no_tcp_connection(cx: &Context, remote: SocketAddr, saw: &str) -> Self {
        let port = remote.port();
        cx.start(Code::E122, format!("no TCP connection to {remote}"))
            .line("saw", saw)
            .fix(format!(
                "let the peer listen: aditd --listen-tcp {port}, and open the port on the way"
            ))
            .fix("write the port that it listens on: tcp = 443")
            .place(cx.at("tcp"))
    }

    /// E123: what is at the other end of the TCP connection is not the peer; `saw` says how it shows.
    pub fn no_ike_over_tcp(cx: &Context, remote: SocketAddr, saw: &str) -> Self {
        cx.start(Code::E123, format!("{remote} does not speak IKE over TCP"))
            .line("saw", format!("{saw}, before the peer had authenticated"))
            .fix("write the port on which the peer takes IKE in TCP: tcp = 4500")
            .place(cx.at("tcp"))
    }
}
