//! strongSwan over the ESP of a Linux kernel: both in a guest.

use std::path::PathBuf;

use anyhow::Context as _;

use super::lab::Side;
use super::plan::Plan;
use super::strongswan::{self, Place};
use crate::linux::guest::{EXCHANGE, Guest};

/// The kernel on one side, and the daemon that gives it keys.
pub(crate) struct KernelPeer {
    guest: Guest,
    side: Side,
}

/// One SA as the kernel tells it.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct State {
    /// Everything it says, without line breaks.
    pub(crate) text: String,
    /// Packets that went through.
    pub(crate) packets: u64,
    /// Octets of those: behind ESP's header, without what it adds.
    pub(crate) octets: u64,
}

impl KernelPeer {
    /// Boots the guest on `side` and starts the daemon, which knows no connection yet.
    pub(crate) fn start(side: &Side, plan: &Plan) -> anyhow::Result<Self> {
        let peer = Self { guest: Guest::boot(side)?, side: side.clone() };
        let place = Place {
            vici: PathBuf::from(VICI),
            log: PathBuf::from(format!("{EXCHANGE}/charon.log")),
            kernel: "kernel-netlink",
        };
        strongswan::write_daemon(peer.guest.folder(), &place, plan)?;
        let (v4, v6) = (side.inside(false), side.inside(true));
        let script = format!(
            "ip addr add {v4}/32 dev lo && ip -6 addr add {v6}/128 dev lo nodad
STRONGSWAN_CONF={EXCHANGE}/strongswan.conf SWANCTL_DIR={EXCHANGE}/swanctl \
charon-systemd >charon.out 2>&1 &
tries=0
while [ ! -S {VICI} ]; do
  tries=$((tries + 1)); [ $tries -lt 2000 ] || exit 1; sleep 0.05
done"
        );
        peer.guest.run(&script).context("charon-systemd in the guest")?;
        Ok(peer)
    }

    /// Replaces its connection; `other` is the other side.
    pub(crate) fn load(&self, other: &Side, plan: &Plan) -> anyhow::Result<()> {
        strongswan::write_swanctl(self.guest.folder(), &self.side, other, plan)?;
        self.swanctl("--load-all", "--noprompt").map(drop)
    }

    /// Brings the tunnel up.
    pub(crate) fn initiate(&self) -> anyhow::Result<()> {
        let child = format!("--timeout 20 --child {}", strongswan::CHILD);
        self.swanctl("--initiate", &child).map(drop)
    }

    /// Forgets everything, as after a case that failed.
    pub(crate) fn forget(&self) -> anyhow::Result<()> {
        let script = "ip xfrm state flush; ip xfrm policy flush";
        let ike = format!("--force --timeout 5 --ike {}", super::plan::CONNECTION);
        // There may be none.
        let _ = self.swanctl("--terminate", &ike);
        self.guest.run(script).map(drop)
    }

    /// The kernel's SAs.
    pub(crate) fn states(&self) -> anyhow::Result<Vec<State>> {
        Ok(states(&self.guest.run("ip -s xfrm state")?))
    }

    /// Runs a command in the guest.
    pub(crate) fn run(&self, script: &str) -> anyhow::Result<String> {
        self.guest.run(script)
    }

    /// The end of the daemon's log and of the kernel's.
    pub(crate) fn last_words(&self) -> String {
        let charon = self.guest.run("tail -n 30 charon.log").unwrap_or_default();
        format!(
            "--- strongSwan in the guest\n{charon}\n--- its kernel\n{}\n",
            self.guest.last_words()
        )
    }

    fn swanctl(&self, verb: &str, rest: &str) -> anyhow::Result<String> {
        let settings = format!("STRONGSWAN_CONF={EXCHANGE}/strongswan.conf");
        let folder = format!("SWANCTL_DIR={EXCHANGE}/swanctl");
        self.guest.run(&format!("{settings} {folder} swanctl {verb} --uri unix://{VICI} {rest}"))
    }
}

impl State {
    /// Whether this is its SPI, in hexadecimal as VICI tells it.
    pub(crate) fn has_spi(&self, spi: &str) -> bool {
        self.text.contains(&format!(" spi 0x{spi:0>8}("))
    }
}

/// Reads `ip -s xfrm state`: an SA begins at the left margin. What only waits for an SA (SPI 0) is
/// none.
pub(super) fn states(text: &str) -> Vec<State> {
    let mut states: Vec<State> = Vec::new();
    for line in text.lines() {
        if line.starts_with("src ") {
            states.push(State::default());
        }
        let Some(state) = states.last_mut() else { continue };
        state.text.push_str(line.trim());
        state.text.push(' ');
        if let Some((octets, packets)) = counts(line.trim()) {
            (state.octets, state.packets) = (octets, packets);
        }
    }
    states.retain(|state| !state.text.contains(" spi 0x00000000("));
    states
}

/// `252(bytes), 3(packets)`; lines of limits have other words in front.
fn counts(line: &str) -> Option<(u64, u64)> {
    let (octets, packets) = line.strip_suffix("(packets)")?.split_once("(bytes), ")?;
    Some((octets.parse().ok()?, packets.parse().ok()?))
}

/// In the guest's own memory: a socket on the machine's files would be the machine's.
const VICI: &str = "/run/vici";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_tells_its_sas() {
        let text = "src 192.0.2.2 dst 192.0.2.1\n\tproto esp spi 0x0a0b0c0d(168496141) reqid 1 mode tunnel\n\t\
            lifetime config:\n\t  limit: soft (INF)(packets), hard (INF)(packets)\n\t\
            lifetime current:\n\t  252(bytes), 3(packets)\nsrc 192.0.2.1 dst 192.0.2.2\n\tx\n\
            src 10.1.0.1 dst 10.2.0.1\n\tproto esp spi 0x00000000(0) reqid 2 mode transport\n";
        let states = states(text);
        let counts: Vec<_> = states.iter().map(|one| (one.packets, one.octets)).collect();
        assert_eq!(counts, [(3, 252), (0, 0)]);
        assert!(states[0].text.contains("mode tunnel lifetime config:"));
        assert!(states[0].has_spi("a0b0c0d") && !states[0].has_spi("b0c0d"));
        assert_eq!(states[1].text, "src 192.0.2.1 dst 192.0.2.2 x ");
    }
}
