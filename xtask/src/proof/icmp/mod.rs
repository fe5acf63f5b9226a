//! The claims about path MTU and ICMP.

mod cells;
mod ends;
mod hops;
mod listing;
mod matrix;
mod net;
mod overhead;
mod peers;
mod spoof;
mod spoofed;

pub(crate) use spoof::send as spoof;

use super::{Claim, Finding};
use crate::outcome::Status;

pub(super) const CLAIMS: &[Claim] = &[
    Claim {
        number: 1,
        claim: "TCP passes paths of 1,280 octets, told or not, from the beginning or suddenly",
        measure: matrix::measure,
    },
    Claim {
        number: 2,
        claim: "ICMP errors that strangers make up change no SA, and cost less than 1 % of throughput",
        measure: spoofed::measure,
    },
    Claim {
        number: 3,
        claim: "ping, tracepath, traceroute and mtr list each gateway once, by its inside address",
        measure: hops::measure,
    },
    Claim {
        number: 4,
        claim: "the same transfers pass with strongSwan and with a Linux kernel at the far end",
        measure: peers::measure,
    },
    Claim {
        number: 5,
        claim: "the largest packet that fits is as large as it can be, for every transform and mode",
        measure: overhead::measure,
    },
];

/// What all rows run.
const PROGRAMS: [&str; 3] = ["ip", "ping", "nft"];

/// Several findings as one: all have to hold.
fn list(findings: impl IntoIterator<Item = Finding>) -> Finding {
    let mut whole = Finding::pass("");
    for finding in findings {
        whole.status = match (whole.status, finding.status) {
            (Status::Fail, _) | (_, Status::Fail) => Status::Fail,
            (Status::Skip, _) | (_, Status::Skip) => Status::Skip,
            (Status::Pass, Status::Pass) => Status::Pass,
        };
        for (text, more) in
            [(&mut whole.figure, finding.figure), (&mut whole.reason, finding.reason)]
        {
            if !text.is_empty() && !more.is_empty() {
                text.push_str("; ");
            }
            text.push_str(&more);
        }
    }
    whole
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_that_fails_fails_all() {
        let whole = list([Finding::pass("a"), Finding::fail("b", "why"), Finding::pass("")]);
        assert_eq!((whole.status, whole.figure.as_str()), (Status::Fail, "a; b"));
        assert_eq!(whole.reason, "why");
        assert_eq!(list([Finding::pass("a")]).status, Status::Pass);
    }
}
