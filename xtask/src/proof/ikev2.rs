//! The claims about IKEv2.

use super::{Claim, Effort, Finding, checklist, ikev2_speed, peer, worlds};
use crate::model;
use crate::outcome::Status;

pub(super) const CLAIMS: &[Claim] = &[
    Claim {
        number: 1,
        claim: "each behaviour that is to be proven about IKEv2 has a test that passes",
        measure: checklist::measure_ikev2,
    },
    Claim {
        number: 2,
        claim: "hosts under rekeying, roaming, crashes and attacks break no invariant, and converge",
        measure: worlds::measure,
    },
    Claim {
        number: 3,
        claim: "strongSwan, libreswan and OpenIKED agree with us in every scenario",
        measure: peer::measure_all,
    },
    Claim {
        number: 4,
        claim: "what has broken other IKE daemons does us no harm",
        measure: checklist::measure_attacks,
    },
    Claim {
        number: 5,
        claim: "handshakes per second beside the bare primitives, memory of an IKE SA, rekey storms",
        measure: ikev2_speed::measure,
    },
    Claim {
        number: 6,
        claim: "the machine of rekeying and deleting, in every order of events, ends in agreement",
        measure: measure_model,
    },
];

/// Every state of the model, and traces of it through two real endpoints.
fn measure_model(effort: &Effort) -> anyhow::Result<Finding> {
    let depth = if effort.quick { &model::SHALLOW } else { &model::DEEP };
    let outcome = model::measure(depth)?;
    Ok(match outcome.status {
        Status::Pass => Finding::pass(outcome.note),
        Status::Fail | Status::Skip => {
            Finding { status: outcome.status, figure: String::new(), reason: outcome.note }
        }
    })
}
