//! What becomes of ICMP messages at a gateway: of those that come from outside (red), of those that
//! come from the protected side and would enter a tunnel (black), and of those that come out of one
//! (tunnel). RFC 4301 §6; the table is that of draft-ietf-ipsec-icmp-handle-v4-00.
//!
//! Errors are about packets of others, so their own addresses say little about where they belong: a
//! router behind a gateway is in nobody's selectors. Such an error can go the way of the packet that it
//! quotes, back through the SA that brought that one: implicitly.

use std::fmt;

use adit_wire::iana::IpProtocol;
use adit_wire::ip::Icmp;

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

/// What an error from outside does, which anybody can forge (RFC 4301 §6.1.1). None of them ends or
/// changes an SA.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum IcmpHint {
    /// Nothing.
    #[default]
    Discard,
    /// It is a reason to ask the peer whether it is still there.
    Hint,
}

impl IcmpHint {
    /// All, with their words.
    pub const WORDS: [(&str, Self); 2] = [("discard", Self::Discard), ("hint", Self::Hint)];

    /// Its word in the configuration.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Discard => "discard",
            Self::Hint => "hint",
        }
    }
}

impl fmt::Display for IcmpHint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

/// What becomes of the messages of one row.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct IcmpTreatment {
    /// From outside.
    pub red: IcmpHint,
    /// From the protected side into a tunnel.
    pub black: IcmpPassage,
    /// Out of a tunnel to the protected side.
    pub tunnel: IcmpPassage,
}

/// Where a message comes from that is to pass.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum IcmpSide {
    /// The protected side; it would enter a tunnel.
    Black,
    /// A tunnel; it would leave to the protected side.
    Tunnel,
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

    /// All, in the order of ICMP's types.
    pub const ALL: [Self; Self::COUNT] = [
        row("echo-reply", "0", "129", INFORMATION),
        row("net-unreachable", "3/0", "1/0", ERROR),
        row("host-unreachable", "3/1", "1/3", ERROR),
        row("protocol-unreachable", "3/2", "", ERROR),
        row("port-unreachable", "3/3", "1/4", ERROR),
        // What it says about the path is weighed by who learns path MTUs.
        silent(row("too-big", "3/4", "2", ERROR)),
        row("host-admin-prohibited", "3/9-10", "", UNDECIDED),
        row("tos-unreachable", "3/11-12", "", ERROR),
        row("admin-prohibited", "3/13-15", "1/1,5-6", UNDECIDED),
        row("other-unreachable", "3/5-8,16-", "1/2,7-", ERROR),
        silent(row("source-quench", "4", "", UNDECIDED)),
        IcmpRow { is_fixed: true, is_error: true, ..row("redirect", "5", "137", NEVER) },
        row("alternate-host", "6", "", NEVER),
        row("echo-request", "8", "128", INFORMATION),
        row("neighbours", "9-10", "133-136", NEVER),
        row("time-exceeded", "11", "3", ERROR),
        silent(row("parameter-problem", "12", "4", ERROR)),
        row("information", "13-18", "", INFORMATION),
        silent(row("security-failure", "40", "", UNDECIDED)),
        row("other", "others", "others", INFORMATION),
    ];

    /// The number of the row that a message is in.
    #[must_use]
    pub fn of(protocol: IpProtocol, icmp: Icmp) -> usize {
        let key = match protocol {
            IpProtocol::ICMP => key_v4(icmp),
            _ => key_v6(icmp),
        };
        Self::ALL.iter().position(|row| row.key == key).unwrap_or(Self::COUNT.saturating_sub(1))
    }

    /// The number of the row of this name.
    #[must_use]
    pub fn named(key: &str) -> Option<usize> {
        Self::ALL.iter().position(|row| row.key == key)
    }
}

fn key_v4(icmp: Icmp) -> &'static str {
    match (icmp.kind, icmp.code) {
        (0, _) => "echo-reply",
        (3, 0) => "net-unreachable",
        (3, 1) => "host-unreachable",
        (3, 2) => "protocol-unreachable",
        (3, 3) => "port-unreachable",
        (3, 4) => "too-big",
        (3, 9 | 10) => "host-admin-prohibited",
        (3, 11 | 12) => "tos-unreachable",
        (3, 13..=15) => "admin-prohibited",
        (3, _) => "other-unreachable",
        (4, _) => "source-quench",
        (5, _) => "redirect",
        (6, _) => "alternate-host",
        (8, _) => "echo-request",
        (9 | 10, _) => "neighbours",
        (11, _) => "time-exceeded",
        (12, _) => "parameter-problem",
        (13..=18, _) => "information",
        (40, _) => "security-failure",
        _ => "other",
    }
}

fn key_v6(icmp: Icmp) -> &'static str {
    match (icmp.kind, icmp.code) {
        (1, 0) => "net-unreachable",
        (1, 1 | 5 | 6) => "admin-prohibited",
        (1, 3) => "host-unreachable",
        (1, 4) => "port-unreachable",
        (1, _) => "other-unreachable",
        (2, _) => "too-big",
        (3, _) => "time-exceeded",
        (4, _) => "parameter-problem",
        (128, _) => "echo-request",
        (129, _) => "echo-reply",
        (133..=136, _) => "neighbours",
        (137, _) => "redirect",
        _ => "other",
    }
}

const fn row(
    key: &'static str,
    v4: &'static str,
    v6: &'static str,
    default: IcmpTreatment,
) -> IcmpRow {
    let is_error = matches!(default.red, IcmpHint::Hint);
    IcmpRow { key, v4, v6, default, is_error, is_fixed: false }
}

/// An error that from outside says nothing about whether a peer is there.
const fn silent(row: IcmpRow) -> IcmpRow {
    let default = IcmpTreatment { red: IcmpHint::Discard, ..row.default };
    IcmpRow { default, ..row }
}

/// What TCP and UDP need, and what says that a peer may be gone.
const ERROR: IcmpTreatment = IcmpTreatment {
    red: IcmpHint::Hint,
    black: IcmpPassage::Implicit,
    tunnel: IcmpPassage::Implicit,
};

/// Errors that the draft discards with a question mark: they pass where a policy selects them.
const UNDECIDED: IcmpTreatment = IcmpTreatment {
    red: IcmpHint::Hint,
    black: IcmpPassage::Explicit,
    tunnel: IcmpPassage::Explicit,
};

/// What is about no other packet.
const INFORMATION: IcmpTreatment = IcmpTreatment {
    red: IcmpHint::Discard,
    black: IcmpPassage::Explicit,
    tunnel: IcmpPassage::Explicit,
};

/// What is about a link, which a tunnel is not.
const NEVER: IcmpTreatment = IcmpTreatment {
    red: IcmpHint::Discard,
    black: IcmpPassage::Discard,
    tunnel: IcmpPassage::Discard,
};

/// What becomes of the ICMP messages of a tunnel.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct IcmpRules {
    /// How errors pass at best, whatever their rows say.
    pub errors: IcmpPassage,
    /// By the number of the row.
    rows: [IcmpTreatment; IcmpRow::COUNT],
}

impl Default for IcmpRules {
    fn default() -> Self {
        Self { errors: IcmpPassage::Implicit, rows: IcmpRow::ALL.map(|row| row.default) }
    }
}

impl IcmpRules {
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

    /// What a message from outside does.
    #[must_use]
    pub fn hint(&self, protocol: IpProtocol, icmp: Icmp) -> IcmpHint {
        self.treatment(IcmpRow::of(protocol, icmp)).red
    }
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
