//! What Adit has to do with a real peer, one function each.
//!
//! "Ours" is the gateway on the left, "theirs" the one on the right.

mod basic;
mod lifecycle;
mod matrix;
mod rekey;

use std::time::Duration;

use super::gateway::Make;
use super::plan::Plan;
use super::{Bench, Figures};

/// One scenario.
pub(crate) struct Scenario {
    /// Its name on the command line.
    pub(crate) name: &'static str,
    /// What it shows.
    pub(crate) claim: &'static str,
    /// What is configured.
    pub(crate) plan: fn() -> Plan,
    /// Who is on the left.
    pub(crate) left: Make,
    /// What happens.
    pub(crate) run: fn(&Bench) -> anyhow::Result<Figures>,
}

/// A change that both gateways have agreed on shows within this time.
const SOON: Duration = Duration::from_secs(12);

/// A tunnel that comes back by itself does so within this time.
const LATER: Duration = Duration::from_secs(60);

const fn plain(
    name: &'static str,
    claim: &'static str,
    run: fn(&Bench) -> anyhow::Result<Figures>,
) -> Scenario {
    Scenario { name, claim, plan: Plan::default, left: Make::Adit, run }
}

const fn planned(
    name: &'static str,
    claim: &'static str,
    plan: fn() -> Plan,
    run: fn(&Bench) -> anyhow::Result<Figures>,
) -> Scenario {
    Scenario { name, claim, plan, left: Make::Adit, run }
}

/// All of them, in the order in which they run.
pub(crate) const SCENARIOS: &[Scenario] = &[
    plain("initiator", "we initiate, pings pass both ways", basic::initiator),
    plain("responder", "they initiate, pings pass both ways", basic::responder),
    plain("tcp", "100 MB each way over TCP with equal checksums", basic::tcp),
    plain("tcp-responder", "the same when they initiate", basic::tcp_responder),
    planned(
        "defaults",
        "our default offer: they decline ML-KEM and ESN, and have ESP in UDP",
        Plan::left_defaults,
        basic::defaults,
    ),
    plain("child-rekey-ours", "we rekey the child SA, no ping is lost", rekey::child_ours),
    plain("child-rekey-theirs", "they rekey the child SA, no ping is lost", rekey::child_theirs),
    plain("ike-rekey-ours", "we rekey the IKE SA, no ping is lost", rekey::ike_ours),
    plain("ike-rekey-theirs", "they rekey the IKE SA, no ping is lost", rekey::ike_theirs),
    plain("delete-ours", "we delete, both forget, it comes up again", lifecycle::delete_ours),
    plain("delete-theirs", "they delete, both forget, it comes up again", lifecycle::delete_theirs),
    plain(
        "delete-child-theirs",
        "they delete the child SA alone, the IKE SA stays and makes a new one",
        lifecycle::delete_child_theirs,
    ),
    planned("restart-ours", "we are killed and come back", Plan::kept_up, lifecycle::restart_ours),
    plain("restart-theirs", "they are killed and come back", lifecycle::restart_theirs),
    planned(
        "comeback",
        "they stop and start, we bring the tunnel up again by ourselves",
        Plan::kept_up,
        lifecycle::comeback,
    ),
    planned("outside-v6", "IPv4 in ESP over IPv6", Plan::outside_v6, basic::everything),
    planned("inside-v6", "IPv6 in ESP over IPv4", Plan::inside_v6, basic::everything),
    planned("suite-aes-cbc-128", "AES-CBC-128, SHA2-256, P-256", Plan::cbc_128, basic::everything),
    planned("suite-aes-cbc-256", "AES-CBC-256, SHA2-512, P-384", Plan::cbc_256, basic::everything),
    planned("suite-aes-gcm-128", "AES-GCM-128, MODP-3072", Plan::gcm_128, basic::everything),
    planned("suite-chacha20", "ChaCha20-Poly1305, MODP-2048", Plan::chacha, basic::everything),
    planned(
        "suite-matrix",
        "every suite that both have, one after the other",
        Plan::matrix,
        matrix::every_suite,
    ),
    planned(
        "fragmentation",
        "IKE_AUTH in fragments both ways (RFC 7383)",
        Plan::fragmented,
        basic::fragmentation,
    ),
    Scenario {
        name: "swanctl",
        claim: "Debian's swanctl drives our daemon with an ordinary swanctl.conf",
        plan: Plan::default,
        left: Make::AditBySwanctl,
        run: lifecycle::swanctl,
    },
];
