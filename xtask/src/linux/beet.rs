//! Packets that a Linux kernel seals in BEET mode, without encryption, so that every octet shows.

use std::net::IpAddr;

use anyhow::Context as _;
use serde::Serialize;

use super::packets::{Octets, RAW, Round, hex, udp, with_options};
use super::pcap::Esp;
use super::suite::Suite;
use crate::interop::lab::{Lab, Side};

/// One SA of the kernel, and its packet.
pub(super) struct Case {
    spi: u32,
    integrity: Vec<u8>,
    outer_v6: bool,
    clear: Vec<u8>,
    suite: Suite,
}

/// A packet before and after.
#[derive(Serialize)]
pub(super) struct Vector {
    suite: String,
    spi: u32,
    integrity: String,
    outer: &'static str,
    clear: String,
    esp: String,
}

/// IPv4 with every number of option words that a header has room for, and IPv6, over both.
pub(super) fn cases(lab: &Lab) -> Vec<Case> {
    let mut octets = Octets::new(SEED);
    let is_it = |suite: &Suite| suite.word() == SUITE;
    let suite = Suite::all().into_iter().find(is_it).expect("a suite without encryption");
    let options = (0..=10).map(|words| (false, words * 4)).chain([(true, 0)]);
    let shapes = options.flat_map(|(inner_v6, options)| {
        [false, true].map(|outer_v6| (inner_v6, outer_v6, options))
    });
    let case = |(spi, (inner_v6, outer_v6, options)): (u32, (bool, bool, usize))| {
        let [from, to] = ends(lab, inner_v6);
        let [len, _, low, ..] = octets.number().to_be_bytes();
        let packet = udp(from, to, u16::from(low) | 1, &octets.take(usize::from(len) % 40));
        Case {
            spi,
            integrity: octets.take(suite.key_octets().1),
            outer_v6,
            clear: with_options(packet, options),
            suite,
        }
    };
    (FIRST_SPI..).zip(shapes).map(case).collect()
}

/// The hosts, from the kernel's to ours.
fn ends(lab: &Lab, v6: bool) -> [IpAddr; 2] {
    [&lab.right, &lab.left].map(|side: &Side| side.inside(v6))
}

impl Case {
    /// What the guest does with it.
    pub(super) fn round(&self, lab: &Lab) -> Round {
        let [from, to] = [&lab.right, &lab.left].map(|side| side.outside(self.outer_v6));
        let inner_v6 = self.clear.first().is_some_and(|octet| octet >> 4 == 6);
        // When policies are asked, a raw socket's packet has the source that its route prefers.
        let (src, [_, dst]) = (if inner_v6 { "::/0" } else { "0.0.0.0/0" }, ends(lab, inner_v6));
        let suite = self.suite.arguments("", &hex(&self.integrity));
        let batch = format!(
            "xfrm state flush\nxfrm policy flush\n\
             xfrm state add src {from} dst {to} proto esp spi {} reqid 1 mode beet \
             {suite} sel src {src} dst {dst}\n\
             xfrm policy add src {src} dst {dst} proto {RAW} dir out \
             tmpl src {from} dst {to} proto esp reqid 1 mode beet\n",
            self.spi
        );
        Round { batch, destination: dst, packets: vec![hex(&self.clear)] }
    }

    /// The packet that left the kernel.
    pub(super) fn vector(&self, wire: &[Esp<'_>]) -> anyhow::Result<Vector> {
        let esp = wire.iter().find(|packet| packet.spi() == Some(self.spi));
        let esp = esp.with_context(|| format!("no packet with SPI {:#x}", self.spi))?;
        anyhow::ensure!((esp.v6, esp.udp) == (self.outer_v6, false), "another outer header");
        Ok(Vector {
            suite: self.suite.word(),
            spi: self.spi,
            integrity: hex(&self.integrity),
            outer: if self.outer_v6 { "ipv6" } else { "ipv4" },
            clear: hex(&self.clear),
            esp: hex(esp.octets),
        })
    }
}

const SUITE: &str = "null-sha256";
const SEED: u64 = 94;
const FIRST_SPI: u32 = 0xbee7_0000;
