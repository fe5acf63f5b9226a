//! What besides addresses decides about packets of the kernel, and SAs that move.

use std::net::IpAddr;
use std::path::Path;
use std::process::Stdio;

use anyhow::Context as _;

use super::{Bench, PAUSE, PINGS, PINGS_UNDER_WAY, SOON, VICI, nat, ping_words, tunnel_file};
use crate::clock;
use crate::interop::gateway::Level;
use crate::interop::in_guest::State;
use crate::interop::lab::{OUTSIDE, output};
use crate::interop::plan::CONNECTION;
use crate::interop::{Figures, ping};
use crate::linux::guest::{EXCHANGE, INTERFACE};

/// Packets with the mark go through the tunnel, others to the same address do not; and keys change
/// as ever.
pub(super) fn mark(bench: &Bench<'_>) -> anyhow::Result<Figures> {
    let guest = &bench.right.guest;
    // Answers have the mark of what they answer.
    guest.run("sysctl -w net.ipv4.fwmark_reflect=1")?;
    bench.configure("kernel", "passive", "mark = \"0x10/0xff\"\n")?;
    bench.left.initiate()?;
    let policies = guest.run("ip xfrm policy")?;
    anyhow::ensure!(policies.contains("mark 0x10/0xff"), "no policy asks for it: {policies}");
    let (left, right) = bench.sides;
    let words = ping_words(bench.address(right), bench.address(left), PINGS).join(" ");
    // Bits outside of the mask do not count.
    ping::lossless(&guest.run(&format!("ping -m {} {words}", 0x110))?)?;
    let sent = || -> anyhow::Result<u64> { Ok(outbound(bench)?.packets) };
    let marked = sent()?;
    anyhow::ensure!(marked >= u64::from(PINGS), "{marked} packets went through the tunnel");
    guest.run(&format!("ping -m {} {words} || true", 0x11))?;
    anyhow::ensure!(sent()? == marked, "packets with another mark went through the tunnel");
    bench.under_pings(PINGS_UNDER_WAY, || bench.rekeys(&[true, false]))?;
    bench.left.terminate(Level::Ike)?;
    bench.is_down()?;
    guest.run("sysctl -w net.ipv4.fwmark_reflect=0")?;
    Ok(Figures::from([("pings", f64::from(PINGS_UNDER_WAY + PINGS))]))
}

/// A kernel without XFRM interfaces: the tunnel that wants one is refused, and nothing changes.
pub(super) fn no_interface(bench: &Bench<'_>) -> anyhow::Result<Figures> {
    bench.left.initiate()?;
    bench.is_up()?;
    let (left, right) = bench.sides;
    let more = "engine = \"kernel\"\ninterface = \"vpn1\"\n";
    bench.right.write(&tunnel_file(right, left, bench.shape, "passive", more))?;
    let said = bench.right.adit("reload");
    let said = said.err().context("a tunnel was loaded without its interface")?;
    let said = format!("{said:#}");
    let is_named = said.contains("E507") && said.contains("no XFRM interfaces");
    anyhow::ensure!(is_named, "the reason is not told: {said}");
    let links = bench.right.guest.run("ip link")?;
    anyhow::ensure!(!links.contains("vpn1") && !links.contains("adit-probe"), "{links}");
    bench.is_up().context("the tunnel that was there")?;
    bench.configure("kernel", "passive", "")?;
    bench.left.terminate(Level::Ike)?;
    bench.is_down()?;
    Ok(Figures::new())
}

/// A guest has no network device that could do ESP: an SA that is to be there ends, also where the
/// kernel would do the work itself.
pub(super) fn no_offload(bench: &Bench<'_>) -> anyhow::Result<Figures> {
    for how in ["crypto", "packet"] {
        bench.configure("kernel", "passive", &format!("offload = \"{how}\"\n"))?;
        // What is negotiated is over as soon as the kernel has refused it.
        let _ = bench.left.initiate();
        let is_told = || {
            let sas = bench.left.ike_sas().unwrap_or_default();
            sas.iter().all(|sa| sa.live_children().count() == 0)
        };
        anyhow::ensure!(clock::poll(SOON, PAUSE, is_told), "the peer keeps an SA that is none");
        anyhow::ensure!(bench.right.states()?.is_empty(), "an SA stays in the kernel");
        // Its exit status says that something is wrong.
        let status = format!("{EXCHANGE}/adit --vici {VICI} status {CONNECTION} || true");
        let status = bench.right.guest.run(&status)?;
        let is_named = status.contains(&format!("the interface {INTERFACE} cannot offload"));
        anyhow::ensure!(is_named, "{how}: the operator is not told: {status}");
        bench.left.terminate(Level::Ike)?;
        bench.is_down()?;
    }
    Ok(Figures::new())
}

/// The peer's NAT gives it another port while it sends nothing.
pub(super) fn port(bench: &Bench<'_>) -> anyhow::Result<Figures> {
    let (left, right) = bench.sides;
    translate(bench, 14_500, None)?;
    bench.left.initiate()?;
    bench.is_up()?;
    let before = Numbers::of(bench)?;
    translate(bench, 24_500, None)?;
    // The kernel notices it by the first packet, to which the answer still goes astray.
    let words = ping_words(bench.address(left), bench.address(right), 1);
    let _ = output(left.command(Path::new("ping")).args(&words));
    has_moved(bench, "port 24500")?;
    before.go_on(bench)?;
    bench.is_up()?;
    end(bench)
}

/// The peer has another address, in the midst of pings.
pub(super) fn address(bench: &Bench<'_>) -> anyhow::Result<Figures> {
    let (left, right) = bench.sides;
    let elsewhere: IpAddr = ELSEWHERE.parse()?;
    let network = format!("{elsewhere}/24");
    output(left.command(Path::new("ip")).args(["addr", "add", &network, "dev", OUTSIDE]))?;
    translate(bench, 14_500, None)?;
    bench.left.initiate()?;
    bench.is_up()?;
    let before = Numbers::of(bench)?;
    let words = ping_words(bench.address(left), bench.address(right), PINGS_UNDER_WAY);
    let mut command = left.command(Path::new("ping"));
    let pings = command.args(&words).stdout(Stdio::piped()).spawn().context("ping")?;
    let moved = translate(bench, 24_500, Some(elsewhere))
        .and_then(|()| has_moved(bench, &elsewhere.to_string()));
    let printed = pings.wait_with_output().context("ping vanished")?;
    moved?;
    let (sent, received) = ping::counts(&String::from_utf8_lossy(&printed.stdout))?;
    let lost = sent.saturating_sub(received);
    anyhow::ensure!(lost <= LOST_MAX, "{lost} of {sent} pings were lost");
    before.go_on(bench)?;
    bench.is_up()?;
    end(bench)?;
    output(left.command(Path::new("ip")).args(["addr", "del", &network, "dev", OUTSIDE]))?;
    #[expect(clippy::cast_precision_loss, reason = "a few pings")]
    Ok(Figures::from([("pings", sent as f64), ("lost", lost as f64)]))
}

/// Puts the left side behind a NAT that changes its mind (RFC 7296 §2.23).
fn translate(bench: &Bench<'_>, port: u16, address: Option<IpAddr>) -> anyhow::Result<()> {
    let (left, _) = bench.sides;
    let own = left.outside(false);
    let rules = nat(port, own, address.unwrap_or(own));
    output(left.command(Path::new("nft")).arg(&rules)).context("nft").map(drop)
}

fn end(bench: &Bench<'_>) -> anyhow::Result<Figures> {
    let (left, _) = bench.sides;
    bench.left.terminate(Level::Ike)?;
    bench.is_down()?;
    output(left.command(Path::new("nft")).arg("flush ruleset"))?;
    Ok(Figures::new())
}

/// Both SAs are where the peer is now.
fn has_moved(bench: &Bench<'_>, words: &str) -> anyhow::Result<()> {
    let mut last = Vec::new();
    let has_moved = clock::poll(SOON, PAUSE, || {
        last = bench.right.states().unwrap_or_default();
        last.len() == 2 && last.iter().all(|state| state.text.contains(words))
    });
    anyhow::ensure!(has_moved, "the SAs did not follow: {last:?}");
    Ok(())
}

/// The SA by which the guest sends.
fn outbound(bench: &Bench<'_>) -> anyhow::Result<State> {
    let own = format!("src {} ", bench.sides.1.outside(false));
    let states = bench.right.states()?;
    let found = states.into_iter().find(|state| state.text.starts_with(&own));
    found.context("the guest has no outbound SA")
}

/// Sequence numbers of the guest's SAs, received and sent.
#[derive(Clone, Copy, Debug)]
struct Numbers {
    received: u32,
    sent: u32,
}

impl Numbers {
    fn of(bench: &Bench<'_>) -> anyhow::Result<Self> {
        let states = bench.right.states()?;
        let highest =
            |word: &str| states.iter().filter_map(|state| number_behind(&state.text, word)).max();
        let (received, sent) = (highest(" seq 0x"), highest(" oseq 0x"));
        let numbers = received.zip(sent).context("the kernel shows no sequence numbers")?;
        Ok(Self { received: numbers.0, sent: numbers.1 })
    }

    /// The SAs are the same: numbers go on where they were, without a leap, and what was received
    /// before is known.
    fn go_on(self, bench: &Bench<'_>) -> anyhow::Result<()> {
        let now = Self::of(bench)?;
        let near = |before: u32, now: u32| now >= before && now - before < NEAR;
        let goes_on = near(self.received, now.received) && near(self.sent, now.sent);
        anyhow::ensure!(goes_on, "sequence numbers were {self:?} and are {now:?}");
        Ok(())
    }
}

fn number_behind(text: &str, word: &str) -> Option<u32> {
    let digits = text.split(word).nth(1)?;
    let digits = digits.split(|c: char| !c.is_ascii_hexdigit()).next()?;
    u32::from_str_radix(digits, 16).ok()
}

/// Another address on the left side's cable.
const ELSEWHERE: &str = "192.0.2.77";

/// Pings that may be under way, or answered to the old address, when the peer moves: a second of
/// them.
const LOST_MAX: u64 = 50;

/// Pings of a case, and no leap.
const NEAR: u32 = 2_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequence_numbers_are_read_as_ip_prints_them() {
        let text =
            "anti-replay esn context: seq-hi 0x0, seq 0x1f, oseq-hi 0x0, oseq 0x2 replay_window";
        assert_eq!(number_behind(text, " seq 0x"), Some(0x1f));
        assert_eq!(number_behind(text, " oseq 0x"), Some(2));
        assert_eq!(number_behind("", " oseq 0x"), None);
    }
}
