//! What becomes of ICMP messages at a gateway: of those that come from the protected side and would
//! enter a tunnel (black), and of those that come out of one (tunnel). Those from outside (red) never
//! come in: the most that one does is to prompt a question whether the peer is there, or to say within
//! bounds how much the path takes. RFC 4301 §6, §8.2; the table is that of
//! draft-ietf-ipsec-icmp-handle-v4-00.
//!
//! Errors are about packets of others, so their own addresses say little about where they belong: a
//! router behind a gateway is in nobody's selectors. Such an error can go the way of the packet that it
//! quotes, back through the SA that brought that one: implicitly.

use std::fmt;

use adit_wire::iana::IpProtocol;
use adit_wire::ip::Icmp;

use crate::icmp_interfaces::IcmpInterfaces;
use crate::security_failures::SecurityFailures;

/// How ICMP messages get into a tunnel, or out of it.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum IcmpPassage {
    /// Not at all.
    Discard,
    /// Where policy and SA select the message itself.
    Explicit,
    /// Errors also with the SA that carries the flow they are about, read backwards (RFC 4301 §6.2).
    #[default]
    Implicit,
}

impl IcmpPassage {
    /// All, with their words.
    pub const WORDS: [(&str, Self); 3] =
        [("discard", Self::Discard), ("explicit", Self::Explicit), ("implicit", Self::Implicit)];

    /// Its word in the configuration.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Discard => "discard",
            Self::Explicit => "explicit",
            Self::Implicit => "implicit",
        }
    }
}

impl fmt::Display for IcmpPassage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

/// What becomes of the messages of one row.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct IcmpTreatment {
    /// From outside; a setting where it has an effect by default.
    pub red: IcmpRed,
    /// From the protected side into a tunnel.
    pub black: IcmpPassage,
    /// Out of a tunnel to the protected side.
    pub tunnel: IcmpPassage,
}

/// What senders of the protected side hear of the routers between the gateways, when a packet of theirs
/// has no hops left there.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub enum Transit {
    /// Nothing: the tunnel is one hop, and outer packets live as long as they need.
    #[default]
    Hide,
    /// Each is a hop: an outer packet lives as long as the inner one, and what a router says about it
    /// is said again about the inner one.
    Reveal,
}

impl Transit {
    /// All, with their words.
    pub const WORDS: [(&str, Self); 2] = [("hide", Self::Hide), ("reveal", Self::Reveal)];

    /// Its word in the configuration.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Hide => "hide",
            Self::Reveal => "reveal",
        }
    }
}

/// What carries errors that pass implicitly.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub enum IcmpCarry {
    /// The SA of the packet that they quote.
    #[default]
    Esp,
    /// The IKE SA, where the peer takes that (draft-ietf-ipsec-icmp-options-00): then no packet in the
    /// tunnel is of another source than its selectors say. Else the same as [`Self::Esp`].
    Ike,
}

impl IcmpCarry {
    /// All, with their words.
    pub const WORDS: [(&str, Self); 2] = [("esp", Self::Esp), ("ike", Self::Ike)];

    /// Its word in the configuration.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Esp => "esp",
            Self::Ike => "ike",
        }
    }
}

/// Where a message comes from that is to pass.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum IcmpSide {
    /// The protected side; it would enter a tunnel.
    Black,
    /// A tunnel; it would leave to the protected side.
    Tunnel,
}

/// What becomes of a message from outside, which anybody can forge (RFC 4301 §6.1.1).
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum IcmpRed {
    /// Nothing.
    Discard,
    /// It is a reason to ask a peer for a sign of life, and if it says that packets are too big, to probe
    /// the path.
    Prompt,
    /// It makes the path MTU of an SA less if it quotes what that has sent of late, and not below the
    /// least that links take.
    Measure,
}

impl IcmpRed {
    /// What may be said of messages that measure, with its words.
    pub const WORDS: [(&str, Self); 3] =
        [("discard", Self::Discard), ("prompt", Self::Prompt), ("measure", Self::Measure)];

    /// What may be said of other errors.
    pub const WORDS_OF_ERRORS: [(&str, Self); 2] =
        [("discard", Self::Discard), ("prompt", Self::Prompt)];

    /// As people read it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Discard => "discard",
            Self::Prompt => "prompt",
            Self::Measure => "measure",
        }
    }
}

/// Types and codes that are treated alike.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct IcmpRow {
    /// Its name in the configuration.
    pub key: &'static str,
    /// Types and codes of ICMP, for people.
    pub v4: &'static str,
    /// Types and codes of ICMPv6, for people.
    pub v6: &'static str,
    /// What becomes of it unless the configuration says otherwise.
    pub default: IcmpTreatment,
    /// Whether it quotes a packet.
    pub is_error: bool,
    /// Whether it is as it is.
    pub is_fixed: bool,
}

impl IcmpRow {
    /// How many there are.
    pub const COUNT: usize = 20;

    /// The number of the row of those that measure a path.
    pub const TOO_BIG: usize = TOO_BIG;

    /// All, in the order of ICMP's types.
    pub const ALL: [Self; Self::COUNT] = [
        row("echo-reply", "0", "129", SELECTED),
        error("net-unreachable", "3/0", "1/0", NEEDED),
        error("host-unreachable", "3/1", "1/3", NEEDED),
        error("protocol-unreachable", "3/2", "", NEEDED),
        error("port-unreachable", "3/3", "1/4", NEEDED),
        seen_as(IcmpRed::Measure, silent("too-big", "3/4", "2", NEEDED)),
        error("host-admin-prohibited", "3/9-10", "", SELECTED),
        error("tos-unreachable", "3/11-12", "", NEEDED),
        error("admin-prohibited", "3/13-15", "1/1,5-6", SELECTED),
        error("other-unreachable", "3/5-8,16-", "1/2,7-", NEEDED),
        silent("source-quench", "4", "", SELECTED),
        Self { is_fixed: true, ..silent("redirect", "5", "137", NEVER) },
        row("alternate-host", "6", "", NEVER),
        row("echo-request", "8", "128", SELECTED),
        row("neighbours", "9-10", "133-136", NEVER),
        error("time-exceeded", "11", "3", NEEDED),
        error("parameter-problem", "12", "4", NEEDED),
        row("information", "13-18", "", SELECTED),
        silent("security-failure", "40", "", SELECTED),
        row("other", "others", "others", SELECTED),
    ];

    /// The number of the row that a message is in.
    #[must_use]
    pub const fn of(protocol: IpProtocol, icmp: Icmp) -> usize {
        match protocol {
            IpProtocol::ICMP => number_v4(icmp),
            _ => number_v6(icmp),
        }
    }

    /// The number of the row of this name.
    #[must_use]
    pub fn named(key: &str) -> Option<usize> {
        Self::ALL.iter().position(|row| row.key == key)
    }
}

// The places of the rows in the table.
const ECHO_REPLY: usize = 0;
const NET_UNREACHABLE: usize = 1;
const HOST_UNREACHABLE: usize = 2;
const PROTOCOL_UNREACHABLE: usize = 3;
const PORT_UNREACHABLE: usize = 4;
const TOO_BIG: usize = 5;
const HOST_ADMIN_PROHIBITED: usize = 6;
const TOS_UNREACHABLE: usize = 7;
const ADMIN_PROHIBITED: usize = 8;
const OTHER_UNREACHABLE: usize = 9;
const SOURCE_QUENCH: usize = 10;
const REDIRECT: usize = 11;
const ALTERNATE_HOST: usize = 12;
const ECHO_REQUEST: usize = 13;
const NEIGHBOURS: usize = 14;
const TIME_EXCEEDED: usize = 15;
const PARAMETER_PROBLEM: usize = 16;
const INFORMATION: usize = 17;
const SECURITY_FAILURE: usize = 18;
const OTHER: usize = 19;

const fn number_v4(icmp: Icmp) -> usize {
    match (icmp.kind, icmp.code) {
        (0, _) => ECHO_REPLY,
        (3, 0) => NET_UNREACHABLE,
        (3, 1) => HOST_UNREACHABLE,
        (3, 2) => PROTOCOL_UNREACHABLE,
        (3, 3) => PORT_UNREACHABLE,
        (3, 4) => TOO_BIG,
        (3, 9 | 10) => HOST_ADMIN_PROHIBITED,
        (3, 11 | 12) => TOS_UNREACHABLE,
        (3, 13..=15) => ADMIN_PROHIBITED,
        (3, _) => OTHER_UNREACHABLE,
        (4, _) => SOURCE_QUENCH,
        (5, _) => REDIRECT,
        (6, _) => ALTERNATE_HOST,
        (8, _) => ECHO_REQUEST,
        (9 | 10, _) => NEIGHBOURS,
        (11, _) => TIME_EXCEEDED,
        (12, _) => PARAMETER_PROBLEM,
        (13..=18, _) => INFORMATION,
        (40, _) => SECURITY_FAILURE,
        _ => OTHER,
    }
}

const fn number_v6(icmp: Icmp) -> usize {
    match (icmp.kind, icmp.code) {
        (1, 0) => NET_UNREACHABLE,
        (1, 1 | 5 | 6) => ADMIN_PROHIBITED,
        (1, 3) => HOST_UNREACHABLE,
        (1, 4) => PORT_UNREACHABLE,
        (1, _) => OTHER_UNREACHABLE,
        (2, _) => TOO_BIG,
        (3, _) => TIME_EXCEEDED,
        (4, _) => PARAMETER_PROBLEM,
        (128, _) => ECHO_REQUEST,
        (129, _) => ECHO_REPLY,
        (133..=136, _) => NEIGHBOURS,
        (137, _) => REDIRECT,
        _ => OTHER,
    }
}

/// A row of messages that are about no other packet.
const fn row(
    key: &'static str,
    v4: &'static str,
    v6: &'static str,
    default: IcmpTreatment,
) -> IcmpRow {
    IcmpRow { key, v4, v6, default, is_error: false, is_fixed: false }
}

/// A row of errors that may say that a peer is gone.
const fn error(
    key: &'static str,
    v4: &'static str,
    v6: &'static str,
    default: IcmpTreatment,
) -> IcmpRow {
    seen_as(IcmpRed::Prompt, IcmpRow { is_error: true, ..row(key, v4, v6, default) })
}

/// The same of errors that say nothing about that.
const fn silent(
    key: &'static str,
    v4: &'static str,
    v6: &'static str,
    default: IcmpTreatment,
) -> IcmpRow {
    seen_as(IcmpRed::Discard, error(key, v4, v6, default))
}

/// The row, where messages of it from outside have this effect.
const fn seen_as(red: IcmpRed, row: IcmpRow) -> IcmpRow {
    IcmpRow { default: IcmpTreatment { red, ..row.default }, ..row }
}

/// What TCP and UDP need.
const NEEDED: IcmpTreatment = both(IcmpPassage::Implicit);

/// What the draft discards with a question mark, and what is about no other packet: it passes where a
/// policy selects it.
const SELECTED: IcmpTreatment = both(IcmpPassage::Explicit);

/// What is about a link, which a tunnel is not.
const NEVER: IcmpTreatment = both(IcmpPassage::Discard);

const fn both(passage: IcmpPassage) -> IcmpTreatment {
    IcmpTreatment { red: IcmpRed::Discard, black: passage, tunnel: passage }
}

/// What becomes of the ICMP messages of a tunnel.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct IcmpRules {
    /// How errors pass at best, whatever their rows say.
    pub errors: IcmpPassage,
    /// What carries those that pass implicitly.
    pub carry: IcmpCarry,
    /// Whether routers outside are hops of the tunnel; in tunnel mode.
    pub transit: Transit,
    /// Who is told of packets that are refused for their security.
    pub security_failures: SecurityFailures,
    /// Where outside is, if somebody says so.
    pub interfaces: IcmpInterfaces,
    /// By the number of the row.
    rows: [IcmpTreatment; IcmpRow::COUNT],
}

impl Default for IcmpRules {
    fn default() -> Self {
        Self::DEFAULT
    }
}

impl IcmpRules {
    /// Every row as it is by default, and no limit.
    pub const DEFAULT: Self = Self {
        errors: IcmpPassage::Implicit,
        carry: IcmpCarry::Esp,
        transit: Transit::Hide,
        security_failures: SecurityFailures::Off,
        interfaces: IcmpInterfaces::NONE,
        rows: defaults(),
    };

    /// What becomes of the messages of a row, by its number; of a row that is not there nothing passes.
    #[must_use]
    pub fn treatment(&self, row: usize) -> IcmpTreatment {
        self.rows.get(row).copied().unwrap_or(NEVER)
    }

    /// Sets what becomes of the messages of a row.
    pub fn set(&mut self, row: usize, treatment: IcmpTreatment) {
        if let Some(place) = self.rows.get_mut(row) {
            *place = treatment;
        }
    }

    /// What becomes of a message from outside.
    #[must_use]
    pub fn red(&self, protocol: IpProtocol, icmp: Icmp) -> IcmpRed {
        self.treatment(IcmpRow::of(protocol, icmp)).red
    }

    /// How a message passes that comes from this side.
    #[must_use]
    pub fn passage(&self, side: IcmpSide, protocol: IpProtocol, icmp: Icmp) -> IcmpPassage {
        let treatment = self.treatment(IcmpRow::of(protocol, icmp));
        let passage = match side {
            IcmpSide::Black => treatment.black,
            IcmpSide::Tunnel => treatment.tunnel,
        };
        if icmp.is_error(protocol) { passage.min(self.errors) } else { passage }
    }
}

/// The rows' defaults.
const fn defaults() -> [IcmpTreatment; IcmpRow::COUNT] {
    let mut rows = [NEVER; IcmpRow::COUNT];
    let (mut places, mut all) = (rows.as_mut_slice(), IcmpRow::ALL.as_slice());
    while let ([place, others @ ..], [row, rest @ ..]) = (places, all) {
        *place = row.default;
        (places, all) = (others, rest);
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    const V4: IpProtocol = IpProtocol::ICMP;
    const V6: IpProtocol = IpProtocol::ICMPV6;

    fn key(protocol: IpProtocol, kind: u8, code: u8) -> &'static str {
        IcmpRow::ALL[IcmpRow::of(protocol, Icmp { kind, code })].key
    }

    #[test]
    fn every_message_has_its_row() {
        let names: std::collections::BTreeSet<_> = IcmpRow::ALL.map(|row| row.key).into();
        assert_eq!(names.len(), IcmpRow::COUNT);
        let mut used = std::collections::BTreeSet::new();
        for (kind, code) in (0..=255).flat_map(|kind| (0..=20).map(move |code| (kind, code))) {
            used.extend([key(V4, kind, code), key(V6, kind, code)]);
        }
        assert_eq!(used, names);
        assert_eq!(key(V4, 3, 1), "host-unreachable");
        assert_eq!(key(V6, 1, 3), "host-unreachable");
        assert_eq!(key(V6, 1, 1), "admin-prohibited");
        assert_eq!(key(V6, 4, 1), "parameter-problem");
        assert_eq!(key(V6, 200, 0), "other");
    }

    /// Whatever quotes a packet is an error, and the other way round.
    #[test]
    fn rows_know_what_errors_are() {
        for protocol in [V4, V6] {
            for kind in 0..=255 {
                let icmp = Icmp { kind, code: 0 };
                let row = IcmpRow::ALL[IcmpRow::of(protocol, icmp)];
                let is_known = row.key != "other";
                // RFC 4861 §4.5: a redirect of IPv6 is none by its number.
                if is_known && (protocol, kind) != (V6, Icmp::REDIRECT_V6) {
                    assert_eq!(row.is_error, icmp.is_error(protocol), "{protocol} {kind}");
                }
            }
        }
    }

    #[test]
    fn the_tunnel_limits_what_its_rows_let_pass() {
        let mut rules = IcmpRules::default();
        let unreachable = Icmp { kind: 3, code: 1 };
        let echo = Icmp { kind: 8, code: 0 };
        let passage = |rules: &IcmpRules, icmp| rules.passage(IcmpSide::Tunnel, V4, icmp);

        assert_eq!(passage(&rules, unreachable), IcmpPassage::Implicit);
        rules.errors = IcmpPassage::Explicit;
        assert_eq!(passage(&rules, unreachable), IcmpPassage::Explicit);
        rules.errors = IcmpPassage::Discard;
        assert_eq!(passage(&rules, unreachable), IcmpPassage::Discard);
        assert_eq!(passage(&rules, echo), IcmpPassage::Explicit, "it is no error");

        rules = IcmpRules::default();
        let row = IcmpRow::named("host-unreachable").unwrap();
        let treatment = rules.treatment(row);
        rules.set(row, IcmpTreatment { black: IcmpPassage::Discard, ..treatment });
        assert_eq!(rules.passage(IcmpSide::Black, V4, unreachable), IcmpPassage::Discard);
        assert_eq!(passage(&rules, unreachable), IcmpPassage::Implicit);
    }
}
