//! Hands datagrams from endpoint to endpoint until nothing is left to say; the tests use it, too.

use std::collections::VecDeque;
use std::time::Instant;

use adit_crypto::{Rng, Secret};
use adit_ike::{Endpoint, Output, Path};

/// Lets both have all that the other sends, at the time that `now` tells; how many children they have
/// installed.
pub(crate) fn settle(
    [left, right]: [&mut Endpoint; 2],
    now: impl Fn() -> Instant,
    rng: &mut impl Rng,
) -> usize {
    let mut children = 0;
    loop {
        let (to_right, made_left) = drain(left, now(), rng);
        let (to_left, made_right) = drain(right, now(), rng);
        children += made_left + made_right;
        if to_right.is_empty() && to_left.is_empty() {
            return children;
        }
        for (path, octets) in to_right {
            right.handle_datagram(reversed(path), &octets, now(), rng);
        }
        for (path, octets) in to_left {
            left.handle_datagram(reversed(path), &octets, now(), rng);
        }
    }
}

/// What an endpoint sends, its jobs done, and how many children it installed.
fn drain(
    endpoint: &mut Endpoint,
    now: Instant,
    rng: &mut impl Rng,
) -> (VecDeque<(Path, Vec<u8>)>, usize) {
    let secret = Secret::from_slice(b"a secret shared by both sides");
    let mut sent = VecDeque::new();
    let mut children = 0;
    while let Some(output) = endpoint.poll_output() {
        match output {
            Output::Transmit { path, octets } => sent.push_back((path, octets)),
            Output::InstallChild { .. } => children += 1,
            Output::Auth(job) => {
                endpoint.handle_auth(job.job, job.answer(&secret), now, rng);
            }
            Output::Keepalive(_)
            | Output::HangUp(_)
            | Output::ActivateOutbound(_)
            | Output::RemoveChild { .. }
            | Output::UpdatePeer { .. }
            | Output::SkipSequence { .. }
            | Output::Notice { .. }
            | Output::Resolve { .. }
            | Output::Ppk(_)
            | Output::Event(_)
            | Output::Done { .. }
            | Output::Keys(_)
            | Output::Tidings(_) => {}
        }
    }
    (sent, children)
}

fn reversed(path: Path) -> Path {
    path.reversed()
}
