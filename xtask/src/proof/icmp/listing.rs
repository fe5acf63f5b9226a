//! What tools that list hops print: the addresses, in order.

use std::net::IpAddr;

/// The hops of `traceroute`, `tracepath` and `mtr`: a number, then an address. One that is listed
/// twice in a row under one number, as `tracepath` does with the first, counts once; a hop that says
/// nothing is `*`. Where `tracepath` tells who said that its probe was too long (`pmtu`), that is
/// not the hop of that number: it asks the same number again.
pub(super) fn hops(text: &str) -> String {
    let mut found: Vec<(u8, &str)> = Vec::new();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        let number = words.next().unwrap_or_default();
        let digits = number.trim_end_matches("|--").trim_end_matches(['.', ':']);
        let hop = words.next().unwrap_or_default();
        let is_silent = ["*", "???", "no"].contains(&hop);
        let Ok(number) = digits.parse::<u8>() else { continue };
        let is_size = words.any(|word| word == "pmtu");
        if is_size || (!is_silent && hop.parse::<IpAddr>().is_err()) {
            continue;
        }
        let hop = (number, if is_silent { "*" } else { hop });
        if found.last() != Some(&hop) {
            found.push(hop);
        }
    }
    let hops: Vec<&str> = found.into_iter().map(|(_, hop)| hop).collect();
    hops.join(" ")
}

/// Who answers `ping`.
pub(super) fn answerers(text: &str) -> String {
    let mut found: Vec<&str> = Vec::new();
    for line in text.lines().filter(|line| line.contains("icmp_seq=")) {
        let word = line.split_once("from ").map_or(line, |(_, rest)| rest);
        let address = word.split(' ').next().unwrap_or_default().trim_end_matches(':');
        if found.last() != Some(&address) {
            found.push(address);
        }
    }
    found.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hops_are_found_in_what_each_tool_prints() {
        let traceroute = "traceroute to 10.2.0.10 (10.2.0.10), 8 hops max\n 1  10.1.0.1  0.4 ms\n 2  *\n 3  10.2.0.10  1 ms\n";
        assert_eq!(hops(traceroute), "10.1.0.1 * 10.2.0.10");
        let tracepath = " 1?: [LOCALHOST]     pmtu 1500\n 1:  fd01::1   0.1ms \n 1:  fd01::1   0.1ms \n\
            \x20 2:  fd02::10   0.2ms reached\n     Resume: pmtu 1500 hops 2 back 2 \n";
        assert_eq!(hops(tracepath), "fd01::1 fd02::10");
        let mtr = "Start: 2026-11-29\nHOST: vm     Loss%   Snt\n  1.|-- 10.1.0.1   0.0%   1\n  2.|-- ???   100\n";
        assert_eq!(hops(mtr), "10.1.0.1 *");
        assert_eq!(hops(" 1:  no reply\n"), "*");
    }

    /// Who says that a probe is too long is no hop by that.
    #[test]
    fn a_size_is_no_hop() {
        let tracepath = " 1?: [LOCALHOST]   pmtu 1500\n 1:  10.1.0.1   0.1ms \n 1:  10.1.0.1   0.1ms \n\
            \x20 2:  10.1.0.1   0.1ms pmtu 1438\n 2:  10.2.0.1   0.3ms asymm  1 \n 3:  10.2.0.10   1ms reached\n";
        assert_eq!(hops(tracepath), "10.1.0.1 10.2.0.1 10.2.0.10");
    }

    /// A gateway that decrements twice, or answers for the next one, is listed twice.
    #[test]
    fn one_that_is_two_hops_is_listed_twice() {
        let traceroute = " 1  10.1.0.1  0.4 ms\n 2  10.1.0.1  0.5 ms\n 3  10.2.0.10  1 ms\n";
        assert_eq!(hops(traceroute), "10.1.0.1 10.1.0.1 10.2.0.10");
        let mtr = "  1.|-- fd01::1   0.0%   1\n  2.|-- fd01::1   0.0%   1\n";
        assert_eq!(hops(mtr), "fd01::1 fd01::1");
        let tracepath = " 1:  fd01::1   0.1ms \n 1:  fd01::1   0.1ms \n 2:  fd01::1   0.2ms \n";
        assert_eq!(hops(tracepath), "fd01::1 fd01::1");
        assert_eq!(hops(" 1  *\n 2  *\n"), "* *");
    }

    #[test]
    fn those_who_answer_are_found() {
        let text = "PING fd02::10(fd02::10) 56 data bytes\n64 bytes from fd02::10: icmp_seq=1 ttl=62\n\
            64 bytes from fd02::10: icmp_seq=2 ttl=62\n";
        assert_eq!(answerers(text), "fd02::10");
        assert_eq!(answerers("From 10.1.0.1 icmp_seq=1 Time to live exceeded"), "From");
    }
}
