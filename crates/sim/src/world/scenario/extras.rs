//! What tunnels of some worlds have beyond one key exchange and one secret.
//!
//! Additional key exchanges make a rekeying a series of exchanges (RFC 9370 §2.2.4), between any two of
//! which the other end's may come, a host may die and a packet may be lost. Authentication that is repeated
//! (RFC 4478) has two IKE SAs with the same children at both ends for a while. Both are what collisions
//! are about, and neither is in a world whose profile has no extras.

use std::fmt;
use std::time::Duration;

use adit_crypto::SeededRng;
use adit_db::{ChildConfig, Childless, Connection, PpkSpec};

use super::{HostPlan, esp, ike};
use crate::draw::Draw as _;

/// Those of one world.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Extras {
    /// Additional key exchanges of IKE SAs and of child SAs, as words of a proposal.
    ike: &'static str,
    child: &'static str,
    /// Which ends of a tunnel want both to authenticate again and again.
    reauth: [bool; 2],
    ppk: bool,
    childless: bool,
}

/// Time after which both ends authenticate again.
const REAUTH_TIME: Duration = Duration::from_secs(70);

/// Of IKE SAs. Where a method stands twice or with `none` beside it, the ends have to choose.
const IKE: [&str; 5] = [
    "",
    "-ke1_mlkem512",
    "-ke1_mlkem768-ke2_mlkem512",
    "-ke1_mlkem768-ke1_mlkem512-ke1_none",
    "-ke1_mlkem1024-ke2_none-ke3_ecp256-ke4_mlkem512",
];

/// Of child SAs, which have one of their own as soon as they have any of these.
const CHILD: [&str; 4] = [
    "",
    "-x25519-ke1_mlkem512",
    "-x25519-ke1_mlkem768-ke2_ecp256",
    "-x25519-none-ke1_mlkem512-ke1_none",
];

impl Extras {
    pub(super) fn draw(rng: &mut SeededRng) -> Self {
        Self {
            ike: rng.pick(&IKE),
            child: rng.pick(&CHILD),
            reauth: [rng.percent(30), rng.percent(30)],
            ppk: rng.percent(25),
            childless: rng.percent(25),
        }
    }

    /// Adds them to what a host has loaded for a tunnel of IKEv2. `is_first` says which end it is, `ends`
    /// what both are like.
    pub(super) fn dress(self, connection: &mut Connection, is_first: bool, ends: [HostPlan; 2]) {
        if !self.ike.is_empty() {
            let words = format!("aes128gcm16-prfsha256-x25519{}", self.ike);
            connection.proposals = ike(&words);
        }
        let [first, second] = self.reauth;
        // Nobody can begin an IKE SA towards a host whose address is not known: it is told the time.
        let is_reachable = ends.iter().all(|end| !end.nat && !end.roams);
        if (if is_first { first } else { second }) && (is_reachable || !is_first) {
            connection.reauth_time = REAUTH_TIME;
            connection.over_time = Duration::from_secs(60);
        }
        if self.ppk {
            let id = "world".parse().expect("a legal PPK identity");
            connection.pad.ppk = Some(PpkSpec { id, required: is_first });
        }
        if self.childless {
            connection.childless = Childless::Prefer;
        }
        connection.children.iter_mut().for_each(|child| self.dress_child(child));
    }

    fn dress_child(self, child: &mut ChildConfig) {
        if !self.child.is_empty() {
            child.proposals = esp(&format!("aes128gcm16{}", self.child));
        }
    }
}

/// Behind the rest of a scenario's line; nothing if there are none.
impl fmt::Display for Extras {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = [(self.ike, "IKE SAs"), (self.child, "child SAs")];
        for (words, whose) in words.iter().filter(|(words, _)| !words.is_empty()) {
            write!(f, ", {whose} with {}", words.trim_start_matches('-'))?;
        }
        let [first, second] = self.reauth;
        let flags = [
            (first, "authenticated anew by the first end"),
            (second, "authenticated anew by the second end"),
            (self.ppk, "PPK"),
            (self.childless, "childless"),
        ];
        flags.iter().filter(|(set, _)| *set).try_for_each(|(_, name)| write!(f, ", {name}"))
    }
}
