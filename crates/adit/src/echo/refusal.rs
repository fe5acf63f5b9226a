//! What it means that somebody says by ICMP that packets do not arrive.

use std::net::IpAddr;

use adit_wire::ip::Icmp;

/// In words: who says it, and what is the matter with packets to `to`. Type and code stand behind, for
/// those who look them up.
pub(crate) fn words(from: IpAddr, icmp: Icmp, to: IpAddr) -> String {
    let what = match (meaning(from.is_ipv4(), icmp), from == to) {
        (Meaning::NoRoute, _) => format!("has no route to {to}"),
        (Meaning::NoHost, _) => format!("finds no host with the address {to}"),
        (Meaning::Forbidden, _) => format!("has rules that forbid packets to {to}"),
        (Meaning::TooBig, _) => format!("cannot send packets of this length on to {to}"),
        (Meaning::Expired, _) => {
            format!("found packets to {to} too long under way: routes in a circle?")
        }
        (Meaning::Closed, true) => "is there and takes no such packets".to_owned(),
        (Meaning::Closed | Meaning::Other, _) => format!("refuses packets to {to}"),
    };
    format!("{from} {what} (ICMP {}/{})", icmp.kind, icmp.code)
}

/// What an error says.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Meaning {
    NoRoute,
    NoHost,
    Forbidden,
    Closed,
    TooBig,
    Expired,
    Other,
}

/// RFC 792, RFC 1812 §5.2.7.1, RFC 4443 §3.
fn meaning(is_ipv4: bool, Icmp { kind, code }: Icmp) -> Meaning {
    match (is_ipv4, kind, code) {
        (true, Icmp::UNREACHABLE, 0 | 6 | 11) | (false, Icmp::UNREACHABLE_V6, 0 | 2) => {
            Meaning::NoRoute
        }
        (true, Icmp::UNREACHABLE, 1 | 5 | 7 | 8 | 12) | (false, Icmp::UNREACHABLE_V6, 3) => {
            Meaning::NoHost
        }
        (true, Icmp::UNREACHABLE, 9 | 10 | 13..=15) | (false, Icmp::UNREACHABLE_V6, 1 | 5 | 6) => {
            Meaning::Forbidden
        }
        (true, Icmp::UNREACHABLE, 2 | 3) | (false, Icmp::UNREACHABLE_V6, 4) => Meaning::Closed,
        (true, Icmp::UNREACHABLE, Icmp::FRAGMENTATION_NEEDED) | (false, Icmp::TOO_BIG_V6, _) => {
            Meaning::TooBig
        }
        (true, Icmp::TIME_EXCEEDED, 0) | (false, Icmp::TIME_EXCEEDED_V6, 0) => Meaning::Expired,
        _ => Meaning::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(from: &str, kind: u8, code: u8, to: &str) -> String {
        words(from.parse().unwrap(), Icmp { kind, code }, to.parse().unwrap())
    }

    #[test]
    fn errors_of_both_families_have_the_same_words() {
        let pairs = [
            ((3, 0), (1, 0), "has no route to"),
            ((3, 1), (1, 3), "finds no host with the address"),
            ((3, 13), (1, 1), "has rules that forbid packets to"),
            ((3, 4), (2, 0), "cannot send packets of this length on to"),
            ((11, 0), (3, 0), "too long under way"),
            ((12, 0), (4, 1), "refuses packets to"),
            ((11, 1), (3, 1), "refuses packets to"),
        ];
        for (v4, v6, expected) in pairs {
            let v4_said = said("10.2.0.1", v4.0, v4.1, "10.2.0.77");
            let v6_said = said("fd02::1", v6.0, v6.1, "fd02::77");
            assert!(
                v4_said.contains(expected) && v6_said.contains(expected),
                "{v4_said} {v6_said}"
            );
            assert!(v4_said.ends_with(&format!("(ICMP {}/{})", v4.0, v4.1)), "{v4_said}");
        }
        assert_eq!(
            said("10.2.0.1", 3, 1, "10.2.0.77"),
            "10.2.0.1 finds no host with the address 10.2.0.77 (ICMP 3/1)"
        );
        assert!(said("10.2.0.7", 3, 2, "10.2.0.7").contains("is there and takes no such"));
    }
}
