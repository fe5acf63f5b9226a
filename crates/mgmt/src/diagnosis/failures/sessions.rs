//! How sessions begin and where they go: RFC 6023, RFC 5685.

use adit_db::Identity;

use super::super::Diagnosis;
use super::{Context, Side};
use crate::codes::Code;

impl Diagnosis {
    /// E104: one side insists on beginning without a child.
    pub fn not_childless(cx: &Context, by: Side) -> Self {
        let diagnosis = cx.start(Code::E104, "one side insists on beginning without a child");
        match by {
            Side::Us => diagnosis
                .line("means", "our childless = \"force\", and the peer asked for a child at once")
                .fix("write childless = \"prefer\" here, or let the peer begin without a child"),
            Side::Peer => diagnosis
                .line("means", "our childless = \"force\", and the peer does not do it (RFC 6023)")
                .fix("write childless = \"prefer\", or allow it at the peer"),
        }
    }

    /// E105: the peer begins in aggressive mode.
    pub fn aggressive_refused(cx: &Context, remote: &Identity) -> Self {
        cx.start(Code::E105, "the peer begins in aggressive mode")
            .line("saw", format!("a first message of IKEv1 from somebody who says to be {remote}"))
            .line("means", "aggressive mode shows who both sides are, and is not allowed here")
            .fix(
                "set the peer to main mode, or write aggressive = \"allow\" into the tunnel's file",
            )
    }

    /// E134: gateways send us from one to the other.
    pub fn too_many_redirects(cx: &Context, limit: u8) -> Self {
        cx.start(Code::E134, "gateways send us from one to the other")
            .line(
                "saw",
                format!("more than {limit} redirections within five minutes (RFC 5685 §7)"),
            )
            .fix("look where each gateway redirects to, or write follow_redirects = false")
    }
}
