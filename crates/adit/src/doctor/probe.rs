//! Tries a tunnel: the peer's ports, echo requests, and how long they may be.

use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use adit_mgmt::api::{TunnelState, TunnelStatus};
use adit_sys::SysError;
use adit_sys::netlink::Netlink;
use adit_sys::ping::Pinger;
use adit_sys::reach;

use crate::daemon::Daemon;
use crate::doctor::facts::{Answer, Echo, Ports, Tunnel};
use crate::doctor::{facts, look};
use crate::echo::network::{longest_packet, payload_of, pinger};
use crate::echo::size::{Attempt, Sizes, search};
use crate::echo::{self, Flow, refusal, way};
use crate::error::Error;

/// Notes in `tunnel` what comes of it. A tunnel that is not up has only its peer's ports to be tried.
pub(super) fn try_out(
    tunnel: &mut Tunnel,
    daemon: &mut Daemon,
    netlink: &mut Netlink,
) -> Result<(), Error> {
    let is_up = matches!(tunnel.status.state, TunnelState::Up | TunnelState::Sick);
    match whom(&tunnel.status) {
        _ if !is_up => tunnel.skipped = Some("it is not up"),
        Some(to) => tunnel.echo = Some(echoes(tunnel, to, daemon, netlink)?),
        None => {
            tunnel.skipped = Some(
                "its networks name no host that may be pinged; `adit ping NAME ADDRESS` asks one",
            );
        }
    }
    let over_tcp = tunnel.status.children.iter().any(|child| child.tcp);
    let quiet = tunnel.status.state == TunnelState::Idle;
    if let Some(peer) = look::peer(&tunnel.status).filter(|_| !over_tcp && !quiet) {
        tunnel.ports = Some(ports(peer, &mut tunnel.failures));
    }
    Ok(())
}

/// Whom to ask: of the first address of each family the first that answers.
fn whom(status: &TunnelStatus) -> Option<IpAddr> {
    let first = echo::inside(status)?;
    let Some(other) = echo::each_inside(status).find(|one| one.is_ipv4() != first.is_ipv4()) else {
        return Some(first);
    };
    let answers = |to: &IpAddr| {
        let answer = pinger(*to).map(|mut pinger| pinger.round_trip(ECHO_PAYLOAD, ECHO_PATIENCE));
        matches!(answer, Ok(Ok(Some(_))))
    };
    [first, other].into_iter().find(answers).or(Some(first))
}

fn ports(peer: IpAddr, failures: &mut Vec<String>) -> Ports {
    let mut ask = |port, padding| ask(peer, port, padding, failures);
    let (ike, nat) = (ask(500, 0), ask(4500, 0));
    let port = if nat == Answer::Yes { 4500 } else { 500 };
    let answers = ike == Answer::Yes || nat == Answer::Yes;
    let pieces = if answers { ask(port, PIECES_OCTETS) } else { Answer::Unknown };
    Ports { peer, ike, nat, pieces }
}

/// Whether IKE answers at a port to a question with so many octets of nothing in it. The question is
/// one of a version that is still to come, which every responder answers without any state (RFC 7296
/// §2.5), and which no SA, configuration or log of the peer has a place for.
fn ask(peer: IpAddr, port: u16, padding: u16, failures: &mut Vec<String>) -> Answer {
    let random = adit_sys::entropy::array::<8>().unwrap_or([0xad; 8]);
    let question = question(random, port == 4500, padding);
    let to = SocketAddr::new(peer, port);
    let (answer, failure) = judge(reach::ask(to, &question, PORT_TRIES, PORT_PATIENCE));
    failures.extend(failure.map(|error| format!("IKE at {to}: {error}")));
    answer
}

/// What comes of a question, and what kept it from being asked.
fn judge(asked: Result<Option<Vec<u8>>, SysError>) -> (Answer, Option<SysError>) {
    match asked {
        Ok(Some(_)) => (Answer::Yes, None),
        Ok(None) => (Answer::Silence, None),
        Err(error) => match kind(&error) {
            Some(ErrorKind::ConnectionRefused) => (Answer::Refused, None),
            // A router's word about the way there, or none at all: either way nothing comes back.
            Some(ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable) => {
                (Answer::Silence, None)
            }
            _ => (Answer::Unknown, Some(error)),
        },
    }
}

fn kind(error: &SysError) -> Option<ErrorKind> {
    if let SysError::Io { source, .. } = error { Some(source.kind()) } else { None }
}

/// An IKE message of version 3.0 with one Vendor ID, so that the answer is no longer than it.
fn question(spi: [u8; 8], marked: bool, padding: u16) -> Vec<u8> {
    let mut octets = Vec::with_capacity(80 + usize::from(padding));
    if marked {
        // RFC 3948 §2.2.
        octets.extend([0; 4]);
    }
    let payload = 4 + VENDOR.len() + usize::from(padding);
    let length = HEADER_OCTETS + payload;
    octets.extend(spi);
    octets.extend([0; 8]);
    // Next payload 43 (Vendor ID), version 3.0, INFORMATIONAL (37), the initiator's request.
    octets.extend([43, 0x30, 37, 0x08, 0, 0, 0, 0]);
    octets.extend(u32::try_from(length).unwrap_or_default().to_be_bytes());
    octets.extend([0, 0]);
    octets.extend(u16::try_from(payload).unwrap_or_default().to_be_bytes());
    octets.extend(VENDOR);
    octets.resize(octets.len() + usize::from(padding), 0);
    octets
}

fn echoes(
    tunnel: &mut Tunnel,
    to: IpAddr,
    daemon: &mut Daemon,
    netlink: &mut Netlink,
) -> Result<Echo, Error> {
    let mut found = Echo { to: Some(to), ..Echo::default() };
    let mut pinger = match pinger(to) {
        Ok(pinger) => pinger,
        Err(error) => {
            tunnel.failures.push(format!("echo requests to {to}: {error}"));
            return Ok(found);
        }
    };
    let before = Counts::now(tunnel.name(), daemon)?;
    let mut longest = Duration::ZERO;
    let mut refused = None;
    for _ in 0..ECHOES {
        match pinger.round_trip(ECHO_PAYLOAD, ECHO_PATIENCE) {
            Ok(Some(time)) => {
                found.answered += 1;
                longest = longest.max(time);
            }
            Ok(None) => note_refusal(&mut found, &mut pinger, to),
            Err(error) => {
                refused = Some(error);
                continue;
            }
        }
        found.sent += 1;
    }
    let failure = refused.map(|error| format!("echo requests to {to}: {error}"));
    tunnel.failures.extend(failure);
    before.note(tunnel.name(), daemon, &mut found)?;
    if found.answered > 0 {
        let patience = (longest * 3 + SIZE_PATIENCE_MIN).min(ECHO_PATIENCE);
        if let Err(error) = sizes(&mut found, &mut pinger, to, netlink, patience) {
            tunnel.failures.push(format!("longer echo requests to {to}: {error}"));
        }
    } else if found.sent > 0 && found.numbers.packets_in == 0 && is_adit(tunnel) {
        insist(tunnel, &mut found, &mut pinger, &before, daemon)?;
    }
    Ok(found)
}

/// Notes who says that requests do not arrive.
fn note_refusal(found: &mut Echo, pinger: &mut Pinger, to: IpAddr) {
    if let Some(refusal) = pinger.take_refusal() {
        found.refused = Some(refusal::words(refusal.from, refusal.icmp, to));
    }
}

/// What the SAs of a tunnel have counted.
struct Counts {
    flow: Flow,
    numbers: Flow,
}

impl Counts {
    fn now(tunnel: &str, daemon: &mut Daemon) -> Result<Self, Error> {
        let report = daemon.sad()?;
        Ok(Self { flow: Flow::of(tunnel, &report), numbers: Flow::by_sequence(tunnel, &report) })
    }

    /// Notes what was counted since then.
    fn note(&self, tunnel: &str, daemon: &mut Daemon, found: &mut Echo) -> Result<(), Error> {
        let now = Self::now(tunnel, daemon)?;
        (found.flow, found.numbers) = (now.flow.since(self.flow), now.numbers.since(self.numbers));
        Ok(())
    }
}

/// Whether the peer's engine answers probes of the path MTU.
fn is_adit(tunnel: &Tunnel) -> bool {
    let software = tunnel.status.peer_software.as_deref();
    software.is_some_and(|software| software.to_ascii_lowercase().starts_with("adit"))
}

/// Nobody has answered, and it may be that nobody is there. The engine probes the path of an SA that
/// much is sent on, and the peer's engine answers whoever lives behind it: so sends much, and waits
/// until something comes in, or what went out besides shows that nothing does.
fn insist(
    tunnel: &Tunnel,
    found: &mut Echo,
    pinger: &mut Pinger,
    before: &Counts,
    daemon: &mut Daemon,
) -> Result<(), Error> {
    let Some(to) = found.to else { return Ok(()) };
    let octets = tunnel.status.mtu.unwrap_or(LONG_OCTETS_MAX).min(LONG_OCTETS_MAX);
    for round in 0..LONG_ECHOES_MAX {
        let patience = if round < LONG_ECHOES { LONG_PATIENCE } else { ECHO_PATIENCE };
        match pinger.round_trip(payload_of(octets, to), patience) {
            Ok(answer) => found.answered += u64::from(answer.is_some()),
            Err(_) => return Ok(()),
        }
        note_refusal(found, pinger, to);
        found.sent += 1;
        before.note(tunnel.name(), daemon, found)?;
        if found.is_heard() || found.besides() >= facts::BESIDES_MIN {
            break;
        }
    }
    Ok(())
}

fn sizes(
    found: &mut Echo,
    pinger: &mut Pinger,
    to: IpAddr,
    netlink: &mut Netlink,
    patience: Duration,
) -> Result<(), Error> {
    let Some(whole) = longest_packet(netlink, to).map(|octets| octets.min(0xffff)) else {
        return Ok(());
    };
    let sizes = longest_uncut(pinger, to, whole, patience)?;
    if sizes.lost.is_some() {
        pinger.set_dont_fragment(false).map_err(Error::io("ICMP socket"))?;
        let mut whole_passes = false;
        for _ in 0..CUT_TRIES {
            let answer = pinger.round_trip(payload_of(whole, to), patience);
            whole_passes |= matches!(answer, Ok(Some(_)));
        }
        found.whole_cut = Some(whole_passes);
    }
    found.sizes = Some(sizes);
    Ok(())
}

/// The longest packet up to `whole` octets that is answered without having been cut.
pub(crate) fn longest_uncut(
    pinger: &mut Pinger,
    to: IpAddr,
    whole: u32,
    patience: Duration,
) -> Result<Sizes, Error> {
    pinger.set_dont_fragment(true).map_err(Error::io("ICMP socket"))?;
    let small = u32::try_from(adit_sys::ping::header_octets(to) + ECHO_PAYLOAD).unwrap_or(whole);
    let attempt = |octets| match pinger.round_trip(payload_of(octets, to), patience) {
        Ok(Some(_)) => Ok(Attempt::Passed),
        Ok(None) => match pinger.take_refusal() {
            Some(refusal) if refusal.is_too_big() => Ok(Attempt::TooBig),
            _ => Ok(Attempt::Lost),
        },
        Err(error) if error.raw_os_error() == Some(MESSAGE_TOO_LONG) => Ok(Attempt::TooBig),
        Err(error) => Err(Error::io("echo request")(error)),
    };
    let sizes = search(small, whole, attempt)?;
    Ok(Sizes { lost_on: way::lost_on(pinger, to, &sizes, patience), ..sizes })
}

const VENDOR: &[u8; 32] = b"adit doctor: does IKE live here?";
const HEADER_OCTETS: usize = 28;
/// More than an Ethernet carries in one piece, and than any path of the Internet does.
const PIECES_OCTETS: u16 = 2_000;
const PORT_TRIES: u32 = 2;
const PORT_PATIENCE: Duration = Duration::from_millis(800);
const ECHOES: usize = 4;
const ECHO_PAYLOAD: usize = 56;
const ECHO_PATIENCE: Duration = Duration::from_millis(500);
const CUT_TRIES: usize = 2;
/// Long echo requests in a row, which are much to the engine, and how many at most.
const LONG_ECHOES: usize = 16;
const LONG_ECHOES_MAX: usize = 30;
const LONG_PATIENCE: Duration = Duration::from_millis(50);
/// Such a packet travels in one piece.
const LONG_OCTETS_MAX: u32 = 1_300;
/// On a fast network the scheduler takes longer than the way.
const SIZE_PATIENCE_MIN: Duration = Duration::from_millis(150);
/// EMSGSIZE.
const MESSAGE_TOO_LONG: i32 = 90;

#[cfg(test)]
mod tests {
    use adit_wire::Reader;
    use adit_wire::ikev2::Header;

    use super::*;

    /// Without the privilege to ask nothing is known, and that is said.
    #[test]
    fn what_cannot_be_asked_is_told_from_silence() {
        let denied = judge(Err(SysError::NotPermitted { operation: "ask a peer" }));
        assert!(matches!(denied, (Answer::Unknown, Some(_))));
        let failed = |kind: ErrorKind| {
            judge(Err(SysError::Io { operation: "ask a peer", source: kind.into() }))
        };
        assert!(matches!(failed(ErrorKind::ConnectionRefused), (Answer::Refused, None)));
        assert!(matches!(failed(ErrorKind::HostUnreachable), (Answer::Silence, None)));
        assert!(matches!(failed(ErrorKind::OutOfMemory), (Answer::Unknown, Some(_))));
        assert!(matches!(judge(Ok(None)), (Answer::Silence, None)));
    }

    #[test]
    fn the_question_is_a_whole_message_of_a_version_to_come() {
        let octets = question([7; 8], false, 0);
        let header = Header::read(&mut Reader(&octets)).unwrap();
        assert_eq!((header.version.major(), header.flags.is_response()), (3, false));
        assert_eq!(u32::from_be_bytes(octets[24..28].try_into().unwrap()), 64);
        assert_eq!(octets.len(), 64);
        assert_eq!(question([7; 8], true, 0)[..4], [0; 4]);
        let long = question([7; 8], false, 2_000);
        assert_eq!((long.len(), &long[24..28]), (2_064, &2_064_u32.to_be_bytes()[..]));
    }
}
