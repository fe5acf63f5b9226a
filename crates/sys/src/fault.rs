//! Faults of a network, made with the packet filter: for the demo and for tests.

use crate::error::SysError;
use crate::filter::run_nft;

/// What vanishes on its way through a namespace.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Fault {
    /// ICMP and ICMPv6 messages that say that a packet was too big, its own among them.
    TooBigMessages,
    /// Pieces of packets, also the first.
    Fragments,
    /// UDP datagrams from port 4500 of this address: what a NAT drops that has forgotten a mapping.
    Udp4500From(std::net::IpAddr),
    /// ESP from this address, plain or in UDP 4500. IKE passes.
    EspFrom(std::net::IpAddr),
}

impl Fault {
    /// Starts dropping in the namespace of the calling thread, beside other faults.
    ///
    /// # Errors
    ///
    /// [`SysError::ProgramMissing`] without `nft`, [`SysError::ProgramFailed`] with its words.
    pub fn install(self) -> Result<(), SysError> {
        run_nft(&self.script())
    }

    /// What `nft` reads. The hook is before everything that joins pieces or looks at connections.
    fn script(self) -> String {
        let rules = match self {
            Self::TooBigMessages => {
                "  icmp type 3 icmp code 4 counter drop\n  icmpv6 type 2 counter drop\n".to_owned()
            }
            Self::Fragments => {
                "  ip frag-off & 0x3fff != 0 counter drop\n  exthdr frag exists counter drop\n"
                    .to_owned()
            }
            Self::Udp4500From(from) => {
                format!("  {} saddr {from} udp sport 4500 counter drop\n", family(from))
            }
            Self::EspFrom(from) => {
                let family = family(from);
                // Four octets of zero stand before IKE on that port (RFC 3948 §2.2).
                format!(
                    "  {family} saddr {from} meta l4proto 50 counter drop\n  \
                     {family} saddr {from} udp sport 4500 @th,64,32 != 0 counter drop\n"
                )
            }
        };
        let chain = |name: &str, hook: &str| {
            format!(
                " chain {name} {{\n  type filter hook {hook} priority -450; policy accept;\n{rules} }}\n"
            )
        };
        // What this host says itself leaves by the second.
        format!(
            "table inet {TABLE} {{\n{}{}}}\n",
            chain("coming", "prerouting"),
            chain("leaving", "output")
        )
    }
}

/// Ends every fault of the namespace of the calling thread; none is no error.
///
/// # Errors
///
/// As [`Fault::install`].
pub fn mend() -> Result<(), SysError> {
    run_nft(&format!("table inet {TABLE} {{}}\ndelete table inet {TABLE}\n"))
}

fn family(address: std::net::IpAddr) -> &'static str {
    if address.is_ipv4() { "ip" } else { "ip6" }
}

/// Nobody else's.
const TABLE: &str = "adit_fault";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_are_written_in_the_words_of_nft() {
        let script = Fault::EspFrom([203, 0, 113, 2].into()).script();
        assert!(script.contains("ip saddr 203.0.113.2 meta l4proto 50 counter drop\n"), "{script}");
        assert!(script.contains("udp sport 4500 @th,64,32 != 0 counter drop\n"), "{script}");
        let script = Fault::Udp4500From("2001:db8::2".parse().unwrap()).script();
        assert!(script.contains("ip6 saddr 2001:db8::2 udp sport 4500 counter drop"), "{script}");
        assert_eq!(Fault::Fragments.script().matches("priority -450").count(), 2);
    }
}
