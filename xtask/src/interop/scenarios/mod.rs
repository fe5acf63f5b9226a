//! What Adit has to do with a real peer, one function each.
//!
//! "Ours" is the gateway on the left, "theirs" the one on the right.

mod authentication;
mod basic;
mod clients;
mod ikev1;
mod lifecycle;
mod login;
mod matrix;
mod rekey;
mod roam;
mod sessions;

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
    /// Programs that it wants besides the harness's.
    pub(crate) needs: &'static [&'static str],
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
    Scenario { name, claim, plan: Plan::default, left: Make::Adit, needs: &[], run }
}

const fn planned(
    name: &'static str,
    claim: &'static str,
    plan: fn() -> Plan,
    run: fn(&Bench) -> anyhow::Result<Figures>,
) -> Scenario {
    Scenario { name, claim, plan, left: Make::Adit, needs: &[], run }
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
    planned(
        "childless-ours",
        "we begin without a child, which comes with a key exchange of its own (RFC 6023)",
        Plan::childless_ours,
        sessions::childless_ours,
    ),
    planned(
        "childless-theirs",
        "they begin without a child",
        Plan::childless_theirs,
        sessions::childless_theirs,
    ),
    planned(
        "redirect-theirs",
        "they send us to their other address while the tunnel is up (RFC 5685)",
        Plan::redirect_theirs,
        sessions::redirect_theirs,
    ),
    planned(
        "redirect-ours",
        "we send them to our other address when they call, and by swanctl --redirect",
        Plan::redirect_ours,
        sessions::redirect_ours,
    ),
    planned("ikev1-ours", "IKEv1: we initiate, 1 MB each way over TCP", Plan::ikev1, ikev1::ours),
    planned("ikev1-theirs", "the same when they initiate", Plan::ikev1, ikev1::theirs),
    planned(
        "ikev1-dpd-ours",
        "IKEv1: we ask for signs of life and get them; a peer that is killed is found",
        Plan::ikev1_dpd_ours,
        ikev1::dead_peer,
    ),
    planned(
        "ikev1-dpd-theirs",
        "IKEv1: they ask for signs of life and get them",
        Plan::ikev1_dpd_theirs,
        ikev1::asked_for_life,
    ),
    planned(
        "ikev1-dhless-declined",
        "IKEv1 without a key exchange: they decline it, and both operators are told",
        Plan::ikev1_dhless,
        ikev1::dhless_declined,
    ),
    planned(
        "ikev1-child-rekey-ours",
        "IKEv1: we rekey the child SA, no ping is lost",
        Plan::ikev1,
        rekey::child_ours,
    ),
    planned(
        "ikev1-child-rekey-theirs",
        "IKEv1: they rekey the child SA, no ping is lost",
        Plan::ikev1,
        rekey::child_theirs,
    ),
    planned(
        "ikev1-ike-rekey-ours",
        "IKEv1: we begin a new phase 1, which gets the child; no ping is lost",
        Plan::ikev1,
        ikev1::new_phase_1_ours,
    ),
    planned(
        "ikev1-suites",
        "IKEv1: every suite that both have, one after the other",
        Plan::ikev1_matrix,
        matrix::every_suite_of_ikev1,
    ),
    planned(
        "ikev1-aggressive",
        "IKEv1: aggressive mode with a secret, either side initiates",
        Plan::ikev1_aggressive,
        ikev1::aggressive,
    ),
    planned(
        "ikev1-rsa",
        "IKEv1: signatures by RSA keys, either side initiates",
        Plan::ikev1_rsa,
        ikev1::rsa,
    ),
    planned(
        "ikev1-ecdsa",
        "IKEv1: signatures by P-256 keys, either side initiates",
        Plan::ikev1_ecdsa,
        ikev1::ecdsa,
    ),
    planned("ikev1-xauth-ours", "IKEv1: they ask for our user", Plan::xauth_ours, ikev1::user_ours),
    planned(
        "ikev1-xauth-theirs",
        "IKEv1: we ask for their user",
        Plan::xauth_theirs,
        ikev1::user_theirs,
    ),
    planned(
        "ikev1-hybrid-ours",
        "IKEv1: our user and their certificate",
        Plan::hybrid_ours,
        ikev1::user_ours,
    ),
    planned(
        "ikev1-hybrid-theirs",
        "IKEv1: their user and our certificate",
        Plan::hybrid_theirs,
        ikev1::user_theirs,
    ),
    planned(
        "ikev1-pull-ours",
        "IKEv1: we ask for an address and get it",
        Plan::pull_ours,
        ikev1::address_ours,
    ),
    planned(
        "ikev1-pull-theirs",
        "IKEv1: they ask for an address and get it",
        Plan::pull_theirs,
        ikev1::address_theirs,
    ),
    planned(
        "ikev1-push-ours",
        "IKEv1: we wait for an address and get it",
        Plan::push_ours,
        ikev1::address_ours,
    ),
    planned(
        "ikev1-push-theirs",
        "IKEv1: they wait for an address and get it",
        Plan::push_theirs,
        ikev1::address_theirs,
    ),
    // CHECKLIST T05.
    Scenario {
        name: "ikev1-ike-scan",
        claim: "IKEv1: ike-scan finds what we say of ourselves, and no more",
        plan: Plan::ikev1,
        left: Make::Adit,
        needs: &["ike-scan"],
        run: clients::ike_scan,
    },
    Scenario {
        name: "ikev1-vpnc",
        claim: "IKEv1: vpnc comes with group, user and address, pings pass both ways",
        plan: Plan::ikev1,
        left: Make::Adit,
        needs: &["vpnc"],
        run: clients::vpnc,
    },
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
    planned(
        "mobike-ours",
        "we initiate and our address changes twice (RFC 4555), the SAs stay",
        Plan::moving,
        roam::ours,
    ),
    planned(
        "mobike-theirs",
        "they initiate and their address changes twice (RFC 4555), the SAs stay",
        Plan::moving,
        roam::theirs,
    ),
    planned("ppk", "a post-quantum key that both insist on", Plan::ppk, authentication::ppk),
    planned(
        "ppk-other",
        "post-quantum keys of different names, which are left out",
        Plan::other_ppk,
        authentication::other_ppk,
    ),
    planned(
        "second-psk",
        "two secrets for each side, when we initiate",
        Plan::second_psk,
        authentication::second_secret,
    ),
    planned(
        "second-cert-psk",
        "a certificate and then a secret for each side",
        Plan::second_cert,
        authentication::second,
    ),
    planned(
        "reauth-ours",
        "we authenticate again, make before break, no ping is lost",
        Plan::reauth_left,
        authentication::repeated,
    ),
    planned(
        "reauth-theirs",
        "they authenticate again, break before make",
        Plan::reauth_right,
        authentication::repeated_by_them,
    ),
    Scenario {
        name: "swanctl-ppk",
        claim: "swanctl brings our daemon a post-quantum key",
        plan: Plan::ppk,
        left: Make::AditBySwanctl,
        needs: &[],
        run: authentication::ppk,
    },
    Scenario {
        name: "swanctl-second",
        claim: "swanctl configures our daemon with two rounds of authentication",
        plan: Plan::second_cert,
        left: Make::AditBySwanctl,
        needs: &[],
        run: authentication::second,
    },
    planned(
        "cert-rsa",
        "certificates for RSA keys, either side initiates",
        Plan::cert_rsa,
        login::rsa,
    ),
    planned("cert-rsa-pss", "the same, and PSS alone is allowed", Plan::cert_pss, login::rsa),
    planned("cert-ecdsa", "certificates for P-256 keys", Plan::cert_p256, login::ecdsa),
    planned("cert-ecdsa-384", "certificates for P-384 keys", Plan::cert_p384, login::ecdsa),
    planned("cert-ed25519", "certificates for Ed25519 keys", Plan::cert_ed25519, login::ed25519),
    planned("raw-ecdsa", "raw public P-256 keys", Plan::raw_p256, login::ecdsa),
    planned("raw-ed25519", "raw public Ed25519 keys", Plan::raw_ed25519, login::ed25519),
    Scenario {
        name: "swanctl-cert",
        claim: "swanctl brings our daemon certificates and keys, either side initiates",
        plan: Plan::cert_p256,
        left: Make::AditBySwanctl,
        needs: &[],
        run: login::swanctl,
    },
    Scenario {
        name: "swanctl",
        claim: "Debian's swanctl drives our daemon with an ordinary swanctl.conf",
        plan: Plan::default,
        left: Make::AditBySwanctl,
        needs: &[],
        run: lifecycle::swanctl,
    },
];
