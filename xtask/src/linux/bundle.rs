//! Packets that a Linux kernel seals by two templates of one policy: ESP, and AH in transport mode around it
//! (RFC 2401 §4.3).

use std::net::IpAddr;

use anyhow::Context as _;
use serde::Serialize;

use super::packets::{Octets, RAW, Round, hex, udp};
use super::pcap::Ah;
use super::suite::{Integrity, Suite};
use crate::interop::lab::{Lab, Side};

/// Two SAs of the kernel, and their packet.
pub(super) struct Case {
    suite: Suite,
    spi: u32,
    encryption: Vec<u8>,
    integrity: Vec<u8>,
    around: Integrity,
    around_key: Vec<u8>,
    tunnel: bool,
    outer_v6: bool,
    inner_v6: bool,
    clear: Vec<u8>,
}

/// A packet before and after.
#[derive(Serialize)]
pub(super) struct Vector {
    suite: String,
    spi: u32,
    encryption: String,
    integrity: String,
    ah: &'static str,
    ah_spi: u32,
    ah_key: String,
    mode: &'static str,
    clear: String,
    packet: String,
}

/// Every family in every other, in either mode, with ESP of each kind; the algorithms of AH go round.
pub(super) fn cases(lab: &Lab) -> Vec<Case> {
    let mut octets = Octets::new(SEED);
    let mut around = Integrity::all().into_iter().cycle();
    let mut cases = Vec::new();
    for word in SUITES {
        let suite = Suite::all().into_iter().find(|suite| suite.word() == word);
        let suite = suite.expect("one that the kernel has");
        for (tunnel, outer_v6, inner_v6) in SHAPES {
            let around = around.next().expect("they go round");
            let (encryption, integrity) = suite.key_octets();
            let ends =
                |side: &Side| if tunnel { side.inside(inner_v6) } else { side.outside(inner_v6) };
            let [from, to] = [&lab.right, &lab.left].map(ends);
            let [len, _, low, ..] = octets.number().to_be_bytes();
            let payload = octets.take(usize::from(len) % PAYLOAD_MAX);
            cases.push(Case {
                suite,
                spi: FIRST_SPI + 2 * u32::try_from(cases.len()).expect("a few"),
                encryption: octets.take(encryption),
                integrity: octets.take(integrity),
                around,
                around_key: octets.take(around.key_octets()),
                tunnel,
                outer_v6,
                inner_v6,
                clear: udp(from, to, u16::from(low) | 1, &payload),
            });
        }
    }
    cases
}

impl Case {
    fn around_spi(&self) -> u32 {
        self.spi + 1
    }

    fn mode(&self) -> &'static str {
        if self.tunnel { "tunnel" } else { "transport" }
    }

    /// What the guest does with it.
    pub(super) fn round(&self, lab: &Lab) -> Round {
        let [from, to] = [&lab.right, &lab.left].map(|side| side.outside(self.outer_v6));
        let destination: IpAddr = if self.tunnel { lab.left.inside(self.inner_v6) } else { to };
        let any = if self.inner_v6 { "::/0" } else { "0.0.0.0/0" };
        let mode = self.mode();
        // Both are asked for a flow of the inner family.
        let any_family = if self.inner_v6 == self.outer_v6 { "" } else { " af-unspec" };
        // RFC 4302 §3.3.3.2.1: multiples of four octets are enough for IPv4, which Linux has to be told.
        let aligned = if self.outer_v6 { "" } else { " align4" };
        let flags = |flags: String| match flags.as_str() {
            "" => String::new(),
            flags => format!("flag{flags} "),
        };
        let (flag, around_flag) =
            (flags(any_family.to_owned()), flags(format!("{any_family}{aligned}")));
        let suite = self.suite.arguments(&hex(&self.encryption), &hex(&self.integrity));
        let around = self.around.arguments(&hex(&self.around_key));
        let batch = format!(
            "xfrm state flush\nxfrm policy flush\n\
             xfrm state add src {from} dst {to} proto esp spi {} reqid 1 mode {mode} {flag}{suite}\n\
             xfrm state add src {from} dst {to} proto ah spi {} reqid 2 mode transport {around_flag}{around}\n\
             xfrm policy add src {any} dst {destination} proto {RAW} dir out \
             tmpl src {from} dst {to} proto esp reqid 1 mode {mode} \
             tmpl src {from} dst {to} proto ah reqid 2 mode transport\n",
            self.spi,
            self.around_spi(),
        );
        Round { batch, destination, packets: vec![hex(&self.clear)] }
    }

    /// The packet that left the kernel.
    pub(super) fn vector(&self, wire: &[Ah<'_>]) -> anyhow::Result<Vector> {
        let found = wire.iter().find(|packet| packet.spi == self.around_spi());
        let found = found.with_context(|| format!("no packet of {:#x}", self.around_spi()))?;
        let shape = (found.v6, found.next);
        anyhow::ensure!(shape == (self.outer_v6, ESP), "{shape:?} instead of ESP in AH");
        Ok(Vector {
            suite: self.suite.word(),
            spi: self.spi,
            encryption: hex(&self.encryption),
            integrity: hex(&self.integrity),
            ah: self.around.word(),
            ah_spi: self.around_spi(),
            ah_key: hex(&self.around_key),
            mode: self.mode(),
            clear: hex(&self.clear),
            packet: hex(found.whole),
        })
    }
}

/// Without encryption, so that every octet shows; an AEAD; a pair.
const SUITES: [&str; 3] = ["null-sha1", "aes256gcm16", "aes128-sha256"];

/// Tunnel or not, IPv6 outside, IPv6 inside.
const SHAPES: [(bool, bool, bool); 6] = [
    (true, false, false),
    (true, false, true),
    (true, true, false),
    (true, true, true),
    (false, false, false),
    (false, true, true),
];

const ESP: u8 = 50;
const SEED: u64 = 2401;
const FIRST_SPI: u32 = 0xabcd_0000;
const PAYLOAD_MAX: usize = 60;
