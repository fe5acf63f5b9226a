//! Answers to commands, with strongSwan's field names.

use std::time::Duration;

use adit_wire::iana::{EncryptionId, IntegrityId, KeyExchangeId, PrfId};

use super::algorithm;
use super::message::{Message, Section};
use super::printable::printable;
use crate::diagnosis::Diagnosis;

/// Done or not done: the answer to every command that does something.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Outcome {
    /// Why it was not done; `None` is success.
    pub error: Option<String>,
    /// How many SAs were selected (`terminate`, `rekey`).
    pub matches: Option<usize>,
    /// How many SAs are gone (`terminate`).
    pub terminated: Option<usize>,
    /// Everything known about the failure, for clients that read Adit's own `adit-diagnosis`.
    pub diagnosis: Option<Diagnosis>,
}

impl Outcome {
    /// It is done.
    pub fn ok() -> Self {
        Self::default()
    }

    /// It is not done.
    pub fn refused(reason: &str) -> Self {
        Self { error: Some(reason.to_owned()), ..Self::default() }
    }

    /// It failed, and this is known about it.
    pub fn failed(diagnosis: Diagnosis) -> Self {
        let error = Some(diagnosis.one_line());
        Self { error, diagnosis: Some(diagnosis), ..Self::default() }
    }

    /// Adds how many SAs were selected.
    #[must_use]
    pub fn matches(mut self, matches: usize) -> Self {
        self.matches = Some(matches);
        self
    }

    /// Adds how many SAs are gone.
    #[must_use]
    pub fn terminated(mut self, terminated: usize) -> Self {
        self.terminated = Some(terminated);
        self
    }

    /// As charon orders it: `success`, `matches`, `terminated`, `errmsg`.
    pub fn message(&self) -> Message {
        let success = if self.error.is_none() { "yes" } else { "no" };
        let mut message = Message::new().with("success", success);
        message.put_some("matches", self.matches);
        message.put_some("terminated", self.terminated);
        message.put_some("errmsg", self.error.as_deref().map(printable));
        let json = self.diagnosis.as_ref().and_then(|d| serde_json::to_string(d).ok());
        // Too long a text is left out: `errmsg` says the essence.
        message.put_some("adit-diagnosis", json.filter(|j| j.len() <= super::VALUE_OCTETS_MAX));
        message
    }

    /// Reads an answer; one without `success` is a success, as `list-sas` ends.
    pub fn parse(message: &Message) -> Self {
        let refused = message.text("success").is_some_and(|success| success != "yes");
        let reason = message.text("errmsg").unwrap_or("no reason given");
        let count = |name| message.text(name).and_then(|count| count.parse().ok());
        let diagnosis = message.text("adit-diagnosis");
        Self {
            error: refused.then(|| reason.to_owned()),
            matches: count("matches"),
            terminated: count("terminated"),
            diagnosis: diagnosis.and_then(|json| serde_json::from_str(json).ok()),
        }
    }
}

/// Answer to `version`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Version {
    /// Program.
    pub daemon: String,
    /// Its version.
    pub version: String,
    /// Operating system, as uname(2) gives it.
    pub sysname: String,
    /// Its release.
    pub release: String,
    /// Hardware.
    pub machine: String,
}

impl Version {
    /// As VICI.
    pub fn message(&self) -> Message {
        Message::new()
            .with("daemon", &self.daemon)
            .with("version", &self.version)
            .with("sysname", &self.sysname)
            .with("release", &self.release)
            .with("machine", &self.machine)
    }

    /// Reads the answer; what is missing is empty.
    pub fn parse(message: &Message) -> Self {
        let text = |name| message.text(name).unwrap_or_default().to_owned();
        Self {
            daemon: text("daemon"),
            version: text("version"),
            sysname: text("sysname"),
            release: text("release"),
            machine: text("machine"),
        }
    }
}

/// Answer to `stats`. The daemon's roles are its workers; what charon says about job queues and
/// memory has no counterpart and is zero or left out.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Stats {
    /// Time since the start.
    pub uptime: Duration,
    /// The start, as text: `Nov 24 03:30:01 2026`.
    pub since: String,
    /// Threads.
    pub workers: usize,
    /// IKE SAs.
    pub ike_sas: usize,
    /// Those not established yet.
    pub half_open: usize,
    /// Names of what is compiled in.
    pub plugins: Vec<String>,
}

impl Stats {
    /// As VICI.
    pub fn message(&self) -> Message {
        let priorities = || {
            let section = Section::new().with("critical", 0).with("high", 0);
            section.with("medium", 0).with("low", 0)
        };
        let uptime =
            Section::new().with("running", running(self.uptime)).with("since", &self.since);
        let workers = Section::new().with("total", self.workers).with("idle", self.workers);
        let ike_sas = Section::new().with("total", self.ike_sas).with("half-open", self.half_open);
        Message::new()
            .with_section("uptime", uptime)
            .with_section("workers", workers.with_section("active", priorities()))
            .with_section("queues", priorities())
            .with("scheduled", 0)
            .with_section("ikesas", ike_sas)
            .with_list("plugins", &self.plugins)
    }
}

/// A duration in charon's words: `1 second`, `5 minutes`, `3 hours`, `12 days`.
fn running(uptime: Duration) -> String {
    let seconds = uptime.as_secs();
    let (count, unit) = match seconds {
        0..=119 => (seconds, "second"),
        120..=7_199 => (seconds / 60, "minute"),
        7_200..=172_799 => (seconds / 3_600, "hour"),
        _ => (seconds / 86_400, "day"),
    };
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {unit}{plural}")
}

/// Answer to `get-conns` (`conns`) and `get-shared` (`keys`).
pub fn names_message<'a>(key: &str, names: impl IntoIterator<Item = &'a str>) -> Message {
    Message::new().with_list(key, names)
}

/// What `get-counters` counts, in charon's order.
pub const COUNTER_NAMES: [&str; 21] = [
    "ike-rekey-init",
    "ike-rekey-resp",
    "child-rekey",
    "invalid",
    "invalid-spi",
    "ike-init-in-req",
    "ike-init-in-resp",
    "ike-init-out-req",
    "ike-init-out-resp",
    "ike-auth-in-req",
    "ike-auth-in-resp",
    "ike-auth-out-req",
    "ike-auth-out-resp",
    "create-child-in-req",
    "create-child-in-resp",
    "create-child-out-req",
    "create-child-out-resp",
    "info-in-req",
    "info-in-resp",
    "info-out-req",
    "info-out-resp",
];

/// Answer to `get-counters`: for each connection its counters in the order of
/// [`COUNTER_NAMES`]; the empty name stands for all together.
pub fn counters_message<'a>(
    counters: impl IntoIterator<Item = (&'a str, [u64; COUNTER_NAMES.len()])>,
) -> Message {
    let mut all = Section::new();
    for (connection, values) in counters {
        let mut section = Section::new();
        for (name, value) in COUNTER_NAMES.iter().zip(values) {
            section.put(name, value);
        }
        all = all.with_section(connection, section);
    }
    Message::new().with_section("counters", all).with("success", "yes")
}

/// Answer to `get-algorithms`: what this suite negotiates.
pub fn algorithms_message() -> Message {
    const PROVIDER: &str = "aws-lc";
    let mut encryption = Section::new();
    encryption.put(&algorithm::encryption(EncryptionId::AES_CBC), PROVIDER);
    let mut aead = Section::new();
    for id in [EncryptionId::AES_GCM_16, EncryptionId::CHACHA20_POLY1305] {
        aead.put(&algorithm::encryption(id), PROVIDER);
    }
    let mut integrity = Section::new();
    for id in [
        IntegrityId::HMAC_SHA2_256_128,
        IntegrityId::HMAC_SHA2_384_192,
        IntegrityId::HMAC_SHA2_512_256,
    ] {
        integrity.put(&algorithm::integrity(id), PROVIDER);
    }
    let mut prf = Section::new();
    for id in [PrfId::HMAC_SHA2_256, PrfId::HMAC_SHA2_384, PrfId::HMAC_SHA2_512] {
        prf.put(&algorithm::prf(id), PROVIDER);
    }
    let mut key_exchange = Section::new();
    for id in [
        KeyExchangeId::CURVE25519,
        KeyExchangeId::ECP_256,
        KeyExchangeId::ECP_384,
        KeyExchangeId::MODP_2048,
        KeyExchangeId::MODP_3072,
        KeyExchangeId::ML_KEM_768,
    ] {
        key_exchange.put(&algorithm::key_exchange(id), PROVIDER);
    }
    Message::new()
        .with_section("encryption", encryption)
        .with_section("integrity", integrity)
        .with_section("aead", aead)
        .with_section("prf", prf)
        .with_section("dh", key_exchange)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codes::Code;

    /// Charon 5.9.8's octets for `terminate` of something that is not there.
    #[test]
    fn refusal_has_charons_octets() {
        let mut out = Vec::new();
        let refused = Outcome::refused("no matching SAs to terminate found");
        refused.matches(0).terminated(0).message().write(&mut out).unwrap();
        let charon = b"\x03\x07success\0\x02no\x03\x07matches\0\x010\x03\x0aterminated\0\x010\
            \x03\x06errmsg\0\x22no matching SAs to terminate found";
        assert_eq!(out, charon);
    }

    /// swanctl prints nothing for an `errmsg` that is not one line of ASCII.
    #[test]
    fn a_reason_is_one_line_of_ascii() {
        let message = Outcome::refused("b.toml:2: unknown key `naïve`\n  did you mean `name`?");
        assert_eq!(
            message.message().text("errmsg"),
            Some(r"b.toml:2: unknown key `na\u{ef}ve`; did you mean `name`?")
        );
    }

    #[test]
    fn outcomes_read_back_with_their_diagnosis() {
        let failed = Outcome::failed(Diagnosis::new(Code::E203, "no").tunnel("berlin"));
        assert_eq!(Outcome::parse(&failed.message()), failed);
        let done = Outcome::ok().matches(2).terminated(1);
        assert_eq!(Outcome::parse(&done.message()), done);
        assert_eq!(Outcome::parse(&Message::new()), Outcome::ok());
    }

    #[test]
    fn uptime_is_worded_as_charon_does() {
        assert_eq!(running(Duration::from_secs(1)), "1 second");
        assert_eq!(running(Duration::from_secs(3_600)), "60 minutes");
        assert_eq!(running(Duration::from_secs(1_000_000)), "11 days");
    }

    #[test]
    fn counters_have_charons_shape() {
        let message = counters_message([("", [7; 21])]);
        let section = message.section("counters").unwrap().section("").unwrap();
        assert_eq!(section.text("info-out-resp"), Some("7"));
        assert_eq!(message.text("success"), Some("yes"));
    }
}
