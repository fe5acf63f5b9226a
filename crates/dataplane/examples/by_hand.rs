//! Seals and opens IP packets under SAs that are given by hand: `by_hand suites` lists the suites
//! in swanctl's words with the octets of their keys, `by_hand` works off jobs.
//!
//! A job is a line of JSON on the standard input, its answer a line on the standard output. What is
//! sealed is a clear IP packet and becomes a whole protected one, outer headers included; what is
//! opened is the reverse. `cargo xtask proof ipsec` gives the same jobs to another implementation.

#![expect(clippy::print_stdout, reason = "a command line speaks on stdout")]

use std::io::BufRead as _;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use adit_crypto::{Authentication, Cipher, Protection, Secret};
use adit_dataplane::{
    HEADROOM_MAX, Inbound, InboundCommand, OpenVerdict, Outbound, OutboundCommand, TAILROOM_MAX,
    Verdict, split,
};
use adit_db::{
    Action, ChildKeys, ChildSa, ChildSaId, DfPolicy, DscpPolicy, EcnPolicy, Encapsulation,
    IcmpRules, IkeSaId, Lifetime, Mode, MtuPolicy, OuterAh, PolicyId, Spd, SpdEntry, Tfc,
    WindowSize,
};
use adit_wire::PacketBuf;
use adit_wire::esp::Spi;
use adit_wire::iana::IpProtocol;
use adit_wire::ikev2::TrafficSelector;
use adit_wire::ip::{IpPacket, Ipv4Header, Ipv6Header};
use serde::{Deserialize, Serialize};

/// One SA and one packet.
#[derive(Debug, Deserialize)]
struct Job {
    action: Direction,
    protocol: Protocol,
    /// In swanctl's words.
    suite: String,
    /// Keys in hexadecimal, the salt included.
    encryption: String,
    integrity: String,
    esn: bool,
    /// The whole number of the packet.
    sequence: u64,
    spi: u32,
    transport: bool,
    udp: bool,
    /// Outer addresses.
    from: IpAddr,
    to: IpAddr,
    /// AH around the ESP of this (RFC 2401 §4.3), under the same number.
    #[serde(default)]
    around: Option<Around>,
    /// An IP packet in hexadecimal.
    packet: String,
}

/// An SA of AH in transport mode.
#[derive(Debug, Deserialize)]
struct Around {
    suite: String,
    /// Keys in hexadecimal, the salt included.
    encryption: String,
    integrity: String,
    spi: u32,
}

/// The security protocol.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Protocol {
    Esp,
    Ah,
}

/// What is done with the packet.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "lowercase")]
enum Direction {
    Seal,
    Open,
}

/// What became of it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "lowercase")]
enum Answer {
    Packet(String),
    Error(String),
}

/// A suite that jobs may name.
#[derive(Debug, Serialize)]
struct Suite {
    protocol: Protocol,
    word: String,
    encryption: usize,
    integrity: usize,
}

/// The port of ESP in UDP (RFC 3948 §2.1).
const PORT: u16 = 4_500;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    if std::env::args().nth(1).is_some_and(|word| word == "suites") {
        let suites: Vec<Suite> = protections().map(Suite::of).collect();
        println!("{}", serde_json::to_string(&suites)?);
        return Ok(());
    }
    for line in std::io::stdin().lock().lines() {
        let job: Job = serde_json::from_str(&line?)?;
        let result = match job.action {
            Direction::Seal => job.seal(),
            Direction::Open => job.open(),
        };
        let answer = result.map_or_else(Answer::Error, |packet| Answer::Packet(hex(&packet)));
        println!("{}", serde_json::to_string(&answer)?);
    }
    Ok(())
}

/// All that protects packets.
fn protections() -> impl Iterator<Item = Protection> {
    let esp = Cipher::ALL.into_iter().map(Protection::Esp);
    esp.chain(Authentication::ALL.into_iter().map(Protection::Ah))
}

impl Suite {
    fn of(protection: Protection) -> Self {
        let (protocol, word) = match protection {
            Protection::Esp(cipher) => (Protocol::Esp, cipher.to_string()),
            Protection::Ah(algorithm) => (Protocol::Ah, algorithm.to_string()),
        };
        Self {
            protocol,
            word,
            encryption: protection.encryption_key_len(),
            integrity: protection.integrity_key_len(),
        }
    }
}

impl Job {
    fn seal(&self) -> Result<Vec<u8>, String> {
        let mut packet = self.sealed(&octets(&self.packet)?, self.sequence)?;
        if packet.meta.whole {
            return Ok(packet.data().to_vec());
        }
        if self.udp {
            let len = u16::try_from(packet.len() + 8).map_err(|_| "too long".to_owned())?;
            let header = [PORT, PORT, len, 0].map(u16::to_be_bytes).concat();
            packet.push_front(8).ok_or("no room for UDP")?.copy_from_slice(&header);
        }
        let protocol = if self.udp { IpProtocol::UDP } else { IpProtocol::ESP };
        let header = self.outer_header(protocol, packet.meta.tos, packet.len())?;
        Ok([&header, packet.data()].concat())
    }

    /// Seals a clear packet under this number; what comes out lacks the headers that a socket makes.
    fn sealed(&self, clear: &[u8], sequence: u64) -> Result<PacketBuf, String> {
        let now = now();
        let mut engine = Outbound::new();
        let any = || vec![TrafficSelector::ANY_V4, TrafficSelector::ANY_V6];
        let action = Action::Protect(PolicyId(0));
        let spd = Spd::new(vec![SpdEntry { local: any(), remote: any(), action }]);
        let spd = Arc::new(spd.map_err(|error| error.to_string())?);
        engine.handle_command(OutboundCommand::SetPolicies(spd), now);
        let mut child = self.child_sa(self.from, self.to)?;
        let around = take_outer(&mut child);
        let over = around.as_ref().map(|(policy, _)| *policy);
        for (child, policy, over) in around
            .map(|(policy, outer)| (outer, policy, None))
            .into_iter()
            .chain([(child, PolicyId(0), over)])
        {
            let (_, sa) = split(&child, policy, now).map_err(|error| error.to_string())?;
            let sa = sa.with_sequence_after(sequence.saturating_sub(1));
            let sa = Box::new(match over {
                Some(over) => sa.over(over),
                None => sa,
            });
            engine.handle_command(OutboundCommand::Install { sa, active: true }, now);
        }
        let mut packet = buffer(clear);
        let mut verdicts = Vec::new();
        engine.seal_batch(std::slice::from_mut(&mut packet), &mut verdicts, now);
        match verdicts.as_slice() {
            [Verdict::Send] => Ok(packet),
            other => Err(format!("{other:?}")),
        }
    }

    fn open(&self) -> Result<Vec<u8>, String> {
        let now = now();
        let mut engine = Inbound::new();
        let mut child = self.child_sa(self.to, self.from)?;
        let around = take_outer(&mut child);
        let (sa, _) = split(&child, PolicyId(0), now).map_err(|error| error.to_string())?;
        let sa = match &around {
            Some((policy, _)) => sa.over(*policy, child.encap.local),
            None => sa,
        };
        if let Some((policy, outer)) = &around {
            let (outer, _) = split(outer, *policy, now).map_err(|error| error.to_string())?;
            engine.handle_command(InboundCommand::Install(Box::new(outer)));
        }
        engine.handle_command(InboundCommand::Install(Box::new(sa)));
        let mut open = |mut packet: PacketBuf| {
            let mut verdicts = Vec::new();
            engine.open_batch(std::slice::from_mut(&mut packet), &mut verdicts, now);
            match verdicts.as_slice() {
                [OpenVerdict::Deliver] => Ok(packet.data().to_vec()),
                other => Err(format!("{other:?}")),
            }
        };
        let received = octets(&self.packet)?;
        if self.sequence > u64::from(u32::MAX) {
            // A receiver infers the upper half from what came before (RFC 4303 Appendix A2.1).
            let mut before = self.sealed(&self.clear_packet()?, BEFORE_THE_TURN)?;
            if before.meta.whole && self.outermost() == Protocol::Esp {
                let header_len = header_len(before.data())?;
                assert!(before.pull_front(header_len), "a packet has its header");
            }
            before.meta = self.received(&received)?.meta;
            before.meta.header_len = 0;
            open(before)?;
        }
        open(self.received(&received)?)
    }

    /// What a socket hands over: without outer headers, though a raw IPv4 socket leaves them there.
    /// AH covers them, and comes whole.
    fn received(&self, whole: &[u8]) -> Result<PacketBuf, String> {
        let read = IpPacket::read(whole).map_err(|error| error.to_string())?;
        let expected = match self.outermost() {
            Protocol::Ah => IpProtocol::AH,
            Protocol::Esp if self.udp => IpProtocol::UDP,
            Protocol::Esp => IpProtocol::ESP,
        };
        if (read.protocol(), read.src(), read.dst()) != (expected, self.from, self.to) {
            return Err(format!("{:?} from {} to {}", read.protocol(), read.src(), read.dst()));
        }
        if self.udp && read.ports() != Some((PORT, PORT)) {
            return Err(format!("{:?} instead of port {PORT}", read.ports()));
        }
        let header_len = read.header_len() + if self.udp { 8 } else { 0 };
        let kept = if read.is_ipv4() && !self.udp { read.header_len() } else { 0 };
        let mut packet = buffer(whole);
        packet.meta.tos = read.traffic_class();
        packet.meta.header_len = u8::try_from(kept).map_err(|error| error.to_string())?;
        packet.meta.udp = self.udp;
        packet.meta.local = self.end(self.to);
        packet.meta.remote = self.end(self.from);
        if self.outermost() == Protocol::Ah {
            packet.meta.whole = true;
            packet.meta.header_len = 0;
            return Ok(packet);
        }
        if !packet.pull_front(header_len) {
            return Err("too short".to_owned());
        }
        Ok(packet)
    }

    /// What the network sees.
    fn outermost(&self) -> Protocol {
        if self.around.is_some() { Protocol::Ah } else { self.protocol }
    }

    /// Any packet that the SA may carry.
    fn clear_packet(&self) -> Result<Vec<u8>, String> {
        let header = self.outer_header(IpProtocol(253), 0, 8)?;
        Ok([header, vec![0; 8]].concat())
    }

    fn outer_header(&self, protocol: IpProtocol, tos: u8, len: usize) -> Result<Vec<u8>, String> {
        let len = u16::try_from(len).map_err(|error| error.to_string())?;
        match (self.from, self.to) {
            (IpAddr::V4(src), IpAddr::V4(dst)) => {
                let header = Ipv4Header {
                    traffic_class: tos,
                    total_len: len.saturating_add(20),
                    identification: 0,
                    dont_fragment: false,
                    ttl: 64,
                    protocol,
                    src,
                    dst,
                };
                Ok(header.to_octets().to_vec())
            }
            (IpAddr::V6(src), IpAddr::V6(dst)) => {
                let header = Ipv6Header {
                    traffic_class: tos,
                    flow_label: 0,
                    payload_len: len,
                    next: protocol,
                    hop_limit: 64,
                    src,
                    dst,
                };
                Ok(header.to_octets().to_vec())
            }
            _ => Err("two families".to_owned()),
        }
    }

    fn child_sa(&self, local: IpAddr, remote: IpAddr) -> Result<ChildSa, String> {
        let keys = || keys(&self.encryption, &self.integrity);
        let any = || vec![TrafficSelector::ANY_V4, TrafficSelector::ANY_V6];
        Ok(ChildSa {
            id: ChildSaId(1),
            ike: IkeSaId(1),
            connection: "by-hand".parse().map_err(|_| "a name")?,
            child: "net".parse().map_err(|_| "a name")?,
            spi_in: Spi(self.spi),
            spi_out: Spi(self.spi),
            protection: protection(self.protocol, &self.suite)?,
            mode: if self.transport { Mode::Transport } else { Mode::Tunnel },
            peer_view: None,
            esn: self.esn,
            keys_in: keys()?,
            keys_out: keys()?,
            local_ts: any(),
            remote_ts: any(),
            encap: Encapsulation {
                udp: self.udp,
                tcp: false,
                local: self.end(local),
                remote: self.end(remote),
            },
            lifetime: Lifetime::NONE,
            replay_window: WindowSize::MIN,
            icmp: IcmpRules::default(),
            dscp: DscpPolicy::Copy,
            ecn: EcnPolicy::Normal,
            df: DfPolicy::Clear,
            mtu: MtuPolicy::default(),
            tfc: Tfc::OFF,
            ipcomp: None,
            aggfrag: None,
            path_probe: false,
            notices: false,
            outer: self.around.as_ref().map(|around| around.outer(self.esn)).transpose()?,
            rekeys: None,
        })
    }

    fn end(&self, address: IpAddr) -> SocketAddr {
        SocketAddr::new(address, if self.udp { PORT } else { 0 })
    }
}

impl Around {
    fn outer(&self, esn: bool) -> Result<Box<OuterAh>, String> {
        let keys = || keys(&self.encryption, &self.integrity);
        Ok(Box::new(OuterAh {
            id: ChildSaId(2),
            spi_in: Spi(self.spi),
            spi_out: Spi(self.spi),
            protection: protection(Protocol::Ah, &self.suite)?,
            esn,
            keys_in: keys()?,
            keys_out: keys()?,
        }))
    }
}

/// The AH around the ESP of a child SA, and its policy.
fn take_outer(child: &mut ChildSa) -> Option<(PolicyId, ChildSa)> {
    let policy = child.outer.as_ref()?.policy();
    Some((policy, child.take_outer()?))
}

fn protection(protocol: Protocol, word: &str) -> Result<Protection, String> {
    let found = protections().find(|one| {
        let suite = Suite::of(*one);
        (suite.protocol, suite.word.as_str()) == (protocol, word)
    });
    found.ok_or_else(|| format!("no suite {word}"))
}

fn keys(encryption: &str, integrity: &str) -> Result<ChildKeys, String> {
    let secret = |text: &str| octets(text).map(Secret::new);
    Ok(ChildKeys { encryption: secret(encryption)?, integrity: secret(integrity)? })
}

/// So near to the end of the lower half that a receiver takes the next numbers for those behind it.
const BEFORE_THE_TURN: u64 = 0xffff_ff00;

fn header_len(packet: &[u8]) -> Result<usize, String> {
    IpPacket::read(packet).map(|read| read.header_len()).map_err(|error| error.to_string())
}

/// Room for ESP and for a UDP header.
fn buffer(octets: &[u8]) -> PacketBuf {
    let room = octets.len().saturating_add(TAILROOM_MAX);
    let mut packet = PacketBuf::with_capacity(HEADROOM_MAX + 8, room);
    assert!(packet.fill(octets), "the buffer was made for these octets");
    packet
}

fn hex(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}

fn octets(text: &str) -> Result<Vec<u8>, String> {
    let digit = |at: usize| text.get(at..at + 2).and_then(|two| u8::from_str_radix(two, 16).ok());
    let all: Option<Vec<u8>> = (0..text.len()).step_by(2).map(digit).collect();
    all.ok_or_else(|| "not hexadecimal".to_owned())
}

#[expect(clippy::disallowed_methods, reason = "a program may read the clock")]
fn now() -> Instant {
    Instant::now()
}
