//! Outputs as a recording has them: in words, with the octets that words do not show.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::time::Instant;

use adit_crypto::{Secret, sha256};

use crate::input::Input;
use crate::output::{AuthJobKind, DebugKeys, Output};

/// An output, to be compared and to be read.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Shown {
    /// All of it but octets and secrets.
    pub text: String,
    /// The message of an [`Output::Transmit`], else a digest of the secrets in it, if there are some.
    pub octets: Vec<u8>,
}

impl Shown {
    /// An output; instants are told as the time since `base`.
    pub fn of(output: &Output, base: Instant) -> Self {
        if let Output::Transmit { path, octets } = output {
            return Self { text: format!("Transmit({path:?})"), octets: octets.clone() };
        }
        Self { text: since(&format!("{output:?}"), base), octets: digest(output) }
    }

    /// Whether it is a message; `octets` are its.
    pub fn is_message(&self) -> bool {
        self.text.starts_with("Transmit(")
    }

    /// Where a message goes.
    pub fn remote(&self) -> Option<SocketAddr> {
        let (_, rest) = self.text.split_once("remote: ")?;
        rest.split_once(',')?.0.parse().ok()
    }
}

/// An input in words, on one line.
pub fn describe(input: &Input) -> String {
    match input {
        Input::Datagram { path, octets } => format!("Datagram({path:?}), {} octets", octets.len()),
        Input::Unreachable(..)
        | Input::TcpLost(..)
        | Input::Packet(_)
        | Input::Auth(..)
        | Input::Resolved(..)
        | Input::Command(_)
        | Input::Tidings(_)
        | Input::Network(_)
        | Input::Timeout
        | Input::PrepareKeyShare => format!("{input:?}"),
    }
}

/// Debugging output prints no secret; keys that differ are a difference all the same.
fn digest(output: &Output) -> Vec<u8> {
    let secrets: Vec<&Secret> = match output {
        Output::InstallChild { sa, .. } => [&sa.keys_in, &sa.keys_out]
            .into_iter()
            .flat_map(|keys| [&keys.encryption, &keys.integrity])
            .collect(),
        Output::Auth(job) => match &job.kind {
            AuthJobKind::Sign
            | AuthJobKind::Verify { .. }
            | AuthJobKind::Derive
            | AuthJobKind::Decapsulate { .. }
            | AuthJobKind::Decrypt(_)
            | AuthJobKind::Trust { .. }
            | AuthJobKind::SignHash { .. }
            | AuthJobKind::VerifyHash { .. } => vec![&job.octets],
            AuthJobKind::VerifyAndSign { ours, .. } => vec![&job.octets, ours],
            AuthJobKind::Password { .. } => Vec::new(),
            AuthJobKind::CheckPassword { password, .. } => vec![password],
        },
        Output::Ppk(job) => vec![&job.keys.d, &job.keys.pi, &job.keys.pr],
        Output::Keys(DebugKeys::Ike(keys)) => {
            vec![&keys.sk_ei, &keys.sk_er, &keys.sk_ai, &keys.sk_ar]
        }
        Output::Keys(DebugKeys::Isakmp(keys)) => vec![&keys.key, &keys.skeyid_a],
        Output::Keys(DebugKeys::Esp(keys)) => vec![&keys.encryption, &keys.integrity],
        Output::Transmit { .. }
        | Output::Keepalive(_)
        | Output::HangUp(_)
        | Output::ActivateOutbound(_)
        | Output::RemoveChild { .. }
        | Output::UpdatePeer { .. }
        | Output::SkipSequence { .. }
        | Output::Notice { .. }
        | Output::Resolve { .. }
        | Output::Event(_)
        | Output::Done { .. }
        | Output::Tidings(_) => return Vec::new(),
    };
    let digests: Vec<[u8; 32]> =
        secrets.into_iter().map(|secret| sha256(&[secret.as_bytes()])).collect();
    let parts: Vec<&[u8]> = digests.iter().map(<[u8; 32]>::as_slice).collect();
    sha256(&parts).to_vec()
}

/// How the standard library prints an instant: by a clock that begins anew with every start of a host.
const INSTANT: (&str, &str, &str) = ("Instant { tv_sec: ", ", tv_nsec: ", " }");

/// Text with instants told as the time since another. What is printed otherwise stays as it is.
fn since(text: &str, base: Instant) -> String {
    let base_text = format!("{base:?}");
    let Some((base, _)) = nanoseconds(&base_text) else { return text.to_owned() };
    let mut told = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(INSTANT.0) {
        let (before, instant) = rest.split_at(at);
        told.push_str(before);
        let Some((time, after)) = nanoseconds(instant) else {
            rest = instant;
            break;
        };
        // Writing to a String cannot fail.
        let _ = write!(told, "Instant({:+} ns)", time.saturating_sub(base));
        rest = after;
    }
    told.push_str(rest);
    told
}

/// The time in front of a text, and what follows it.
fn nanoseconds(text: &str) -> Option<(i128, &str)> {
    let (head, middle, tail) = INSTANT;
    let (seconds, rest) = text.strip_prefix(head)?.split_once(middle)?;
    let (nanoseconds, rest) = rest.split_once(tail)?;
    let (seconds, nanoseconds): (i128, i128) = (seconds.parse().ok()?, nanoseconds.parse().ok()?);
    Some((seconds.checked_mul(1_000_000_000)?.checked_add(nanoseconds)?, rest))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// The words of the standard library are what this file relies on.
    #[test]
    #[expect(clippy::disallowed_methods, reason = "how this clock is printed is what is tested")]
    fn instants_are_told_from_the_beginning() {
        let base = Instant::now();
        let later = base + Duration::from_millis(1_500);
        let text = format!("A {{ at: {later:?}, until: Some({base:?}) }}");
        assert_eq!(
            since(&text, base),
            "A { at: Instant(+1500000000 ns), until: Some(Instant(+0 ns)) }"
        );
        assert_eq!(since("Instant { tv_sec: x", base), "Instant { tv_sec: x");
    }
}
