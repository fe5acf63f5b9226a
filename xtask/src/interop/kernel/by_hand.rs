//! SAs that are keyed by hand: ours in user space, and those of `ip xfrm` in the guest.

use std::path::Path;

use super::{Bench, Figures, PAUSE, PINGS, SOON, State};
use crate::clock;
use crate::interop::adit;
use crate::interop::lab::output;

/// Keys of AES-256 and HMAC-SHA2-256, each of 32 octets.
const TO_GUEST: [&str; 2] = ["1a", "2b"];
const FROM_GUEST: [&str; 2] = ["3c", "4d"];

const GROUP: &str = "239.1.1.1";

fn key(octet: &str) -> String {
    octet.repeat(32)
}

/// `ip xfrm state add` for one direction, with the truncation of RFC 4868.
fn state(from: &str, to: &str, spi: u32, mode: &str, [encryption, integrity]: [&str; 2]) -> String {
    format!(
        "ip xfrm state add src {from} dst {to} proto esp spi {spi} mode {mode} \
         enc 'cbc(aes)' 0x{} auth-trunc 'hmac(sha256)' 0x{} 128\n",
        key(encryption),
        key(integrity)
    )
}

/// A tunnel of a pair of SAs, and one SA to a multicast group in transport mode.
pub(super) fn run(bench: &Bench<'_>) -> anyhow::Result<Figures> {
    let result = pair(bench).and_then(|()| group(bench));
    for file in ["hand.toml", "group.toml"] {
        adit::remove_sa(bench.sides.0, file)?;
    }
    output(&mut adit::adit(bench.sides.0, &["reload"]))?;
    let guest = &bench.right.guest;
    guest.run(&format!(
        "ip xfrm state flush; ip xfrm policy flush; ip route flush table 77; \
         ip rule del priority 77; ip addr del {GROUP}/32 dev vec0 || true"
    ))?;
    result.map(|()| Figures::from([("pings", f64::from(2 * PINGS))]))
}

fn pair(bench: &Bench<'_>) -> anyhow::Result<()> {
    let (left, right) = bench.sides;
    let (ours, theirs) = (left.outside(false).to_string(), right.outside(false).to_string());
    let (our_net, their_net) = (left.network(false), right.network(false));
    adit::write_sa(left, "in.key", &FROM_GUEST.map(key).concat(), 0o600)?;
    adit::write_sa(left, "out.key", &TO_GUEST.map(key).concat(), 0o600)?;
    let file = format!(
        "address = \"{ours}\"\npeer = \"{theirs}\"\nlocal = \"{our_net}\"\n\
         remote = \"{their_net}\"\nesp = \"aes256-sha256\"\nspi_in = 4097\nspi_out = 4098\n\
         key_in = \"file:in.key\"\nkey_out = \"file:out.key\"\n"
    );
    adit::write_sa(left, "hand.toml", &file, 0o644)?;
    output(&mut adit::adit(left, &["reload"]))?;
    let script = state(&ours, &theirs, 4_098, "tunnel", TO_GUEST)
        + &state(&theirs, &ours, 4_097, "tunnel", FROM_GUEST);
    let template = |from: &str, to: &str| format!("tmpl src {from} dst {to} proto esp mode tunnel");
    let script = format!(
        "{script}ip xfrm policy add src {their_net} dst {our_net} dir out {}\n\
         ip xfrm policy add src {our_net} dst {their_net} dir in {}\n\
         ip rule add priority 77 table 77\n\
         ip route add {our_net} via {ours} src {} table 77\n",
        template(&theirs, &ours),
        template(&ours, &theirs),
        right.inside(false)
    );
    bench.right.guest.run(&script)?;
    bench.pings()?;
    bench.judge(&bench.right.states()?)
}

/// The guest's kernel opens what we send to a group that it has joined.
fn group(bench: &Bench<'_>) -> anyhow::Result<()> {
    let (left, _) = bench.sides;
    let ours = left.outside(false).to_string();
    let file = format!(
        "address = \"{ours}\"\ngroup = \"{GROUP}\"\nmode = \"transport\"\n\
         esp = \"aes256-sha256\"\nspi_out = 36865\nkey_out = \"file:out.key\"\n"
    );
    adit::write_sa(left, "group.toml", &file, 0o644)?;
    output(&mut adit::adit(left, &["reload"]))?;
    let script = state(&ours, GROUP, 36_865, "transport", TO_GUEST)
        + &format!("ip addr add {GROUP}/32 dev vec0 autojoin\n");
    bench.right.guest.run(&script)?;
    let count = PINGS.to_string();
    let words = ["-q", "-i", "0.05", "-W", "1", "-c", &count, GROUP];
    // Nobody answers pings to a group: what counts is what the kernel has opened.
    left.command(Path::new("ping")).args(words).output()?;
    let mut states = Vec::new();
    let is_opened = |state: &State| state.text.contains(GROUP) && state.packets == u64::from(PINGS);
    let opened = clock::poll(SOON, PAUSE, || {
        states = bench.right.states().unwrap_or_default();
        states.iter().any(is_opened)
    });
    anyhow::ensure!(opened, "the kernel did not open what was sent to the group: {states:?}");
    Ok(())
}
