//! A peer that knows no key exchanges but those on curves over 2^n (RFC 2409 §6.3, §6.4): E101.

use adit_db::ProposalSpec;
use adit_wire::iana::doi::GroupId;

use super::words::list_lines;
use super::{Context, Diagnosis};
use crate::codes::Code;

impl Diagnosis {
    /// E101: the peer offers such groups alone.
    pub fn ec2n_alone(cx: &Context, groups: &[GroupId], ours: &[ProposalSpec]) -> Self {
        let named: Vec<String> =
            groups.iter().map(|group| format!("group {}, {group}", group.0)).collect();
        let offered = match named.as_slice() {
            [] => "a curve over 2^n (EC2N) that it describes itself".to_owned(),
            named => named.join("\n"),
        };
        cx.start(Code::E101, "the peer offers EC2N groups alone, which are not done here")
            .line("peer offered", offered)
            .line("we allow", list_lines(ours))
            .line_some("peer is", cx.software())
            .fix("let the peer use a group that we allow, best MODP-2048 (14) or ECP-256 (19)")
            .place(cx.at("ike"))
    }
}
