//! What may come in beside the tunnels: RFC 4301 §5.2 step 3, by the kernel's packet filter.
//!
//! Packets in clear never pass through the TUN on their way in, so the packet engine cannot judge
//! them. The kernel can: one nftables table for each TUN, put in place and taken away by the program
//! `nft`. It looks at what other interfaces bring and knows policies, not connections.
//!
//! What leaves goes where routes say, and these lead into the TUN; but programs choose the interface
//! for a multicast group themselves, so that such rules are needed the other way, too.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::net::IpAddr;
use std::process::{Command, Output, Stdio};

use crate::error::SysError;
use crate::filter_log::{LOG_GROUP, LOGGED_OCTETS};
use crate::route::MARK;

/// Inclusive ranges of what a rule looks at.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct FilterSide {
    /// First and last address, of one family.
    pub addresses: (IpAddr, IpAddr),
    /// First and last port, or type and code of ICMP as in a traffic selector; `None` for all.
    pub ports: Option<(u16, u16)>,
}

/// What happens to packets from `source` to `destination` that no tunnel brought.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct FilterRule {
    /// Where they come from: the peer's side of a policy.
    pub source: FilterSide,
    /// Where they go: our side.
    pub destination: FilterSide,
    /// First and last address, of those of the source, that the rule is not about: our side's own
    /// hosts, where the peer's networks are all there are.
    pub except: Option<(IpAddr, IpAddr)>,
    /// Protocol above IP; `None` for all.
    pub protocol: Option<u8>,
    /// Firewall mark that they have, and the bits that count.
    pub mark: Option<(u32, u32)>,
    /// Whether they may pass, whatever later rules say.
    pub pass: bool,
    /// Whether this is about what leaves beside the TUN and not by us, instead of what comes in.
    pub leaving: bool,
    /// Whether [`FilterLog`](crate::filter_log::FilterLog) is told of what is dropped; of IPv4 alone.
    pub told: bool,
}

/// Most rules of a filter: the kernel walks them for every packet.
pub const FILTER_RULES_MAX: usize = 2_048;

/// The packet filter of one TUN.
#[derive(Debug)]
pub struct InboundFilter {
    tun: String,
    /// Others that tunnels have for themselves.
    interfaces: Vec<String>,
    /// UDP ports that IKE and ESP come in by.
    ports: Vec<u16>,
    /// TCP ports that they come in by.
    tcp_ports: Vec<u16>,
    rules: Vec<FilterRule>,
}

impl InboundFilter {
    /// A filter without rules, which is not in the kernel. It lets through what comes by `tun` or by
    /// the loopback, ESP, AH, UDP to `ports`, ICMP errors, what neighbours say to each other, and
    /// later fragments, which are nothing without the first.
    #[must_use]
    pub fn new(tun: &str, ports: &[u16]) -> Self {
        Self {
            tun: tun.to_owned(),
            interfaces: Vec::new(),
            ports: ports.to_vec(),
            tcp_ports: Vec::new(),
            rules: Vec::new(),
        }
    }

    /// Lets TCP to these ports through, too (RFC 9329).
    #[must_use]
    pub fn with_tcp(mut self, ports: &[u16]) -> Self {
        self.tcp_ports = ports.to_vec();
        self
    }

    /// Replaces the rules, in their order; nothing is done if they are the same. Without any the
    /// kernel has no filter of ours.
    ///
    /// # Errors
    ///
    /// - [`SysError::ProgramMissing`]: `nft` is not installed.
    /// - [`SysError::ProgramFailed`]: it, or the kernel, refuses; or there are more than
    ///   [`FILTER_RULES_MAX`] rules, or the name of the TUN is none that nftables takes.
    ///
    /// The filter is as it was then.
    pub fn set(&mut self, rules: &[FilterRule]) -> Result<(), SysError> {
        if self.rules == rules {
            return Ok(());
        }
        run_nft(&self.script(rules)?)?;
        self.rules = rules.to_vec();
        Ok(())
    }

    /// Lets through what comes by these interfaces, too, and what leaves by them: tunnels bring it,
    /// and the rules are not about those.
    ///
    /// # Errors
    ///
    /// As [`Self::set`].
    pub fn set_interfaces(&mut self, names: &[String]) -> Result<(), SysError> {
        let before = std::mem::replace(&mut self.interfaces, names.to_vec());
        if self.rules.is_empty() || before == names {
            return Ok(());
        }
        let put = self.script(&self.rules).and_then(|script| run_nft(&script));
        if put.is_err() {
            self.interfaces = before;
        }
        put
    }

    /// Takes away what a predecessor left in the kernel, if it did.
    ///
    /// # Errors
    ///
    /// As [`Self::set`].
    pub fn clear(&mut self) -> Result<(), SysError> {
        run_nft(&self.script(&[])?)?;
        self.rules.clear();
        Ok(())
    }

    /// What `nft` reads: the old table goes and the new one comes in one transaction.
    fn script(&self, rules: &[FilterRule]) -> Result<String, SysError> {
        let refuse = |message: String| Err(SysError::ProgramFailed { program: NFT, message });
        let nameable = |octet: u8| octet.is_ascii_alphanumeric() || b"_.-".contains(&octet);
        let mut names = self.interfaces.iter().chain([&self.tun]);
        if !names.all(|name| name.bytes().all(nameable)) {
            return refuse(format!("no table can be named after {:?}", self.tun));
        }
        if rules.len() > FILTER_RULES_MAX {
            return refuse(format!("{} rules are more than {FILTER_RULES_MAX}", rules.len()));
        }
        let table = format!("table inet adit_{}", self.tun);
        let mut script = format!("{table} {{}}\ndelete {table}\n");
        if rules.is_empty() {
            return Ok(script);
        }
        // Writing to a String cannot fail.
        let _ = writeln!(script, "{table} {{");
        if rules.iter().any(is_told) {
            script.push_str(&told_chain());
        }
        let mut chain = |head: String, leaving: bool| {
            let mut rules = rules.iter().filter(|rule| rule.leaving == leaving).peekable();
            if rules.peek().is_some() {
                script.push_str(&head);
                rules.for_each(|rule| script.push_str(&format!("  {}\n", rule_text(rule))));
                script.push_str(" }\n");
            }
        };
        chain(self.inbound_head(), false);
        chain(self.outbound_head(), true);
        script.push_str("}\n");
        Ok(script)
    }

    /// What comes in whatever the rules say.
    fn inbound_head(&self) -> String {
        let list = |ports: &[u16]| {
            let ports: Vec<String> = ports.iter().map(u16::to_string).collect();
            ports.join(", ")
        };
        let tcp = match self.tcp_ports.as_slice() {
            [] => String::new(),
            ports => format!("  tcp dport {{ {} }} accept\n", list(ports)),
        };
        format!(
            " chain inbound {{\n  type filter hook prerouting priority raw; policy accept;\n  \
             iifname {{ {}, \"lo\" }} accept\n  \
             meta iifkind \"xfrm\" accept\n  \
             ip frag-off & 0x1fff != 0 accept\n  \
             frag frag-off != 0 accept\n  \
             meta l4proto {{ 50, 51 }} accept\n  \
             udp dport {{ {} }} accept\n{tcp}  \
             icmp type {{ 3, 11, 12 }} accept\n  icmpv6 type {{ 1-4, 133-137 }} accept\n",
            self.own_names(),
            list(&self.ports)
        )
    }

    /// What leaves whatever the rules say.
    fn outbound_head(&self) -> String {
        format!(
            " chain outbound {{\n  type filter hook postrouting priority raw; policy accept;\n  \
             oifname {{ {}, \"lo\" }} accept\n  meta mark {MARK} accept\n",
            self.own_names()
        )
    }

    fn own_names(&self) -> String {
        let names = std::iter::once(&self.tun).chain(&self.interfaces);
        names.map(|name| format!("\"{name}\"")).collect::<Vec<_>>().join(", ")
    }
}

impl Drop for InboundFilter {
    fn drop(&mut self) {
        if !self.rules.is_empty() {
            let _ = self.clear();
        }
    }
}

fn rule_text(rule: &FilterRule) -> String {
    let (source, destination) = (rule.source.addresses, rule.destination.addresses);
    let family = if source.0.is_ipv4() { "ip" } else { "ip6" };
    let mut text = format!(
        "{family} saddr {}-{} {family} daddr {}-{}",
        source.0, source.1, destination.0, destination.1
    );
    if let Some((first, last)) = rule.except {
        let _ = write!(text, " {family} saddr != {first}-{last}");
    }
    if let Some(protocol) = rule.protocol {
        let _ = write!(text, " meta l4proto {protocol}");
    }
    if let Some((value, mask)) = rule.mark {
        let _ = write!(text, " meta mark & {mask:#x} == {value:#x}");
    }
    // Type and code of ICMP stand where other protocols have the source port.
    for (side, at) in [(rule.source, 0), (rule.destination, 16)] {
        if let Some((first, last)) = side.ports {
            let at = if is_icmp(rule.protocol) { 0 } else { at };
            let _ = write!(text, " @th,{at},16 {first}-{last}");
        }
    }
    text.push_str(match (rule.pass, is_told(rule)) {
        (true, _) => " accept",
        (false, true) => " counter goto told",
        (false, false) => " counter drop",
    });
    text
}

/// RFC 2521 is about IPv4.
fn is_told(rule: &FilterRule) -> bool {
    rule.told && !rule.pass && !rule.leaving && rule.source.addresses.0.is_ipv4()
}

/// Tells of some of what comes here, and drops it.
fn told_chain() -> String {
    format!(
        " chain told {{\n  limit rate {TOLD_PER_SECOND}/second burst {TOLD_PER_SECOND} packets \
         log group {LOG_GROUP} snaplen {LOGGED_OCTETS} queue-threshold 1\n  drop\n }}\n"
    )
}

/// Most dropped packets a second that anybody is told of.
pub const TOLD_PER_SECOND: u32 = 10;

fn is_icmp(protocol: Option<u8>) -> bool {
    matches!(protocol, Some(1 | 58))
}

/// All rules of the packet filter of the namespace of the calling thread, as `nft -j` has them.
///
/// # Errors
///
/// [`SysError::ProgramMissing`] without `nft`, [`SysError::ProgramFailed`] with its words.
pub fn ruleset() -> Result<String, SysError> {
    let mut command = Command::new(NFT);
    command.args(["-j", "list", "ruleset"]).stdin(Stdio::null());
    let output = command.output().map_err(not_run)?;
    said(&output).map(|()| String::from_utf8_lossy(&output.stdout).into_owned())
}

pub(crate) fn run_nft(script: &str) -> Result<(), SysError> {
    let mut command = Command::new(NFT);
    command.args(["-f", "-"]).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(not_run)?;
    if let Some(mut stdin) = child.stdin.take() {
        // If it ends before it has read everything, its status says why.
        let _ = stdin.write_all(script.as_bytes());
    }
    said(&child.wait_with_output().map_err(not_run)?)
}

fn not_run(source: io::Error) -> SysError {
    if source.kind() == io::ErrorKind::NotFound {
        SysError::ProgramMissing { program: NFT }
    } else {
        SysError::of("run nft", source)
    }
}

/// Whether it did what it was told, else why not.
fn said(output: &Output) -> Result<(), SysError> {
    if output.status.success() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&output.stderr);
    let message = text.lines().next().unwrap_or("it failed and did not say why").to_owned();
    Err(SysError::ProgramFailed { program: NFT, message })
}

const NFT: &str = "nft";

#[cfg(test)]
mod tests {
    use super::*;

    fn side(first: &str, last: &str, ports: Option<(u16, u16)>) -> FilterSide {
        FilterSide { addresses: (first.parse().unwrap(), last.parse().unwrap()), ports }
    }

    fn rule(protocol: Option<u8>, ports: Option<(u16, u16)>) -> FilterRule {
        FilterRule {
            source: side("10.2.0.0", "10.2.0.255", ports),
            destination: side("10.1.0.0", "10.1.0.255", None),
            except: None,
            protocol,
            mark: None,
            pass: false,
            leaving: false,
            told: false,
        }
    }

    #[test]
    fn each_direction_has_its_chain() {
        let filter = InboundFilter::new("adit0", &[500, 4500]);
        let out = FilterRule { leaving: true, ..rule(None, None) };
        let script = |rules: &[FilterRule]| filter.script(rules).unwrap();
        assert!(!script(&[rule(None, None)]).contains("outbound"));
        let only_out = script(&[out]);
        assert!(!only_out.contains("inbound") && only_out.contains("meta mark 44311 accept"));
        assert_eq!(script(&[out, rule(None, None)]).matches("counter drop").count(), 2);
    }

    /// RFC 2521: some of what is dropped is told of, if a rule says so, and none of IPv6.
    #[test]
    fn what_is_told_of_has_a_chain() {
        let filter = InboundFilter::new("adit0", &[500, 4500]);
        let script = |rule: FilterRule| filter.script(&[rule]).unwrap();
        let told = script(FilterRule { told: true, ..rule(None, None) });
        assert!(told.contains("10.1.0.255 counter goto told\n"), "{told}");
        let chain = "limit rate 10/second burst 10 packets log group 4500 snaplen 128";
        assert!(told.find(chain) < told.find("chain inbound") && told.contains(chain));
        let v6 = side("fd01::", "fd01::ff", None);
        let other = FilterRule { source: v6, destination: v6, told: true, ..rule(None, None) };
        for rule in [rule(None, None), other, FilterRule { pass: true, told: true, ..other }] {
            assert!(!script(rule).contains("told"));
        }
    }

    /// RFC 9329: only who listens for TCP lets it in.
    #[test]
    fn tcp_comes_in_where_it_is_listened_for() {
        let script = |ports: &[u16]| {
            let filter = InboundFilter::new("adit0", &[500, 4500]).with_tcp(ports);
            filter.script(&[rule(None, None)]).unwrap()
        };
        assert!(!script(&[]).contains("tcp"));
        assert!(script(&[4500, 443]).contains("\n  tcp dport { 4500, 443 } accept\n"));
    }

    #[test]
    fn rules_are_written_in_the_words_of_nft() {
        let ranges = "ip saddr 10.2.0.0-10.2.0.255 ip daddr 10.1.0.0-10.1.0.255";
        assert_eq!(rule_text(&rule(None, None)), format!("{ranges} counter drop"));
        assert_eq!(
            rule_text(&rule(Some(6), Some((443, 444)))),
            format!("{ranges} meta l4proto 6 @th,0,16 443-444 counter drop")
        );
        let to_port = FilterRule {
            source: side("fd02::", "fd02::ff", None),
            destination: side("fd01::1", "fd01::1", Some((53, 53))),
            except: None,
            protocol: Some(17),
            mark: None,
            pass: true,
            leaving: false,
            told: false,
        };
        assert_eq!(
            rule_text(&to_port),
            "ip6 saddr fd02::-fd02::ff ip6 daddr fd01::1-fd01::1 meta l4proto 17 @th,16,16 53-53 accept"
        );
        let everything = FilterRule {
            source: side("0.0.0.0", "255.255.255.255", None),
            except: Some(("10.1.0.0".parse().unwrap(), "10.1.0.255".parse().unwrap())),
            ..rule(None, None)
        };
        assert_eq!(
            rule_text(&everything),
            "ip saddr 0.0.0.0-255.255.255.255 ip daddr 10.1.0.0-10.1.0.255 \
             ip saddr != 10.1.0.0-10.1.0.255 counter drop"
        );
        let marked = FilterRule { mark: Some((0x10, 0xff)), pass: true, ..rule(None, None) };
        assert_eq!(rule_text(&marked), format!("{ranges} meta mark & 0xff == 0x10 accept"));
        // Both ends of ICMP have the type and code of the one message.
        let mut echo = rule(Some(1), Some((0x0800, 0x08ff)));
        echo.destination.ports = Some((0x0800, 0x08ff));
        assert_eq!(
            rule_text(&echo),
            format!("{ranges} meta l4proto 1 @th,0,16 2048-2303 @th,0,16 2048-2303 counter drop")
        );
    }

    /// What a tunnel brings by its own interface is not judged as what comes in clear.
    #[test]
    fn interfaces_of_tunnels_pass_like_the_tun() {
        let mut filter = InboundFilter::new("adit0", &[500]);
        filter.set_interfaces(&["vpn1".to_owned(), "vpn2".to_owned()]).unwrap();
        let leaving = FilterRule { leaving: true, ..rule(None, None) };
        let script = filter.script(&[rule(None, None), leaving]).unwrap();
        for word in ["iifname", "oifname"] {
            let line = format!("{word} {{ \"adit0\", \"vpn1\", \"vpn2\", \"lo\" }} accept");
            assert!(script.contains(&line), "{script}");
        }
    }

    #[test]
    fn what_nft_would_not_take_is_refused_before() {
        let many = vec![rule(None, None); FILTER_RULES_MAX + 1];
        let refused = InboundFilter::new("adit0", &[500]).set(&many).unwrap_err();
        assert!(refused.to_string().contains("2049 rules"), "{refused}");
        let refused = InboundFilter::new("a b\"", &[500]).set(&many[..1]).unwrap_err();
        assert!(refused.to_string().contains("no table"), "{refused}");
    }

    /// No rules, no table; nothing to do costs nothing.
    #[test]
    fn an_empty_filter_stays_out_of_the_kernel() {
        let mut filter = InboundFilter::new("adit0", &[500, 4500]);
        filter.set(&[]).unwrap();
        assert_eq!(
            filter.script(&[]).unwrap(),
            "table inet adit_adit0 {}\ndelete table inet adit_adit0\n"
        );
    }
}
