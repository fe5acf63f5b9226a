//! How sessions begin and where they go: RFC 6023, RFC 5685.

use adit_db::Identity;
use adit_wire::iana::ExchangeType;

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

    /// E105: the peer begins in aggressive or base mode.
    pub fn aggressive_refused(cx: &Context, exchange: ExchangeType, remote: &Identity) -> Self {
        let key = if exchange == ExchangeType::BASE_MODE { "base_mode" } else { "aggressive" };
        let saw = format!("a first message of {exchange} from somebody who says to be {remote}");
        let fix = format!("set the peer to main mode, or write {key} = \"allow\" for this tunnel");
        cx.start(Code::E105, "the peer begins in a mode that is not allowed")
            .line("saw", saw)
            .line("means", "that mode shows who both sides are, and is not allowed here")
            .fix(fix)
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
