//! An independent reader: Scapy opens what we seal, and we what it seals.

use std::collections::BTreeSet;
use std::net::IpAddr;

use anyhow::Context as _;

use super::{Effort, Finding};
use crate::linux::packets::{Octets, from_hex, hex, udp};
use crate::scapy::{Action, Answer, Around, Job, Suite, Worker};

/// What Scapy does not have, in its own way of naming. Anything else that it lacks is a failure.
const LACKING: [&str; 5] =
    ["AES-XCBC-96", "Camellia-CBC", "Camellia-CTR", "AES-GMAC in AH", "implicit IVs"];

/// A security protocol.
struct Protocol {
    word: &'static str,
    /// It passes through NAT.
    in_udp: bool,
}

/// The protocols that both have; `by_hand` says which suites are whose.
const PROTOCOLS: [Protocol; 2] =
    [Protocol { word: "esp", in_udp: true }, Protocol { word: "ah", in_udp: false }];

/// Runs the matrix.
pub(super) fn measure(_: &Effort) -> anyhow::Result<Finding> {
    let scapy = match Worker::scapy() {
        Ok(scapy) => scapy,
        Err(error) => {
            let how = "apt-get install python3-venv, and let pip reach its index";
            return Ok(Finding::missing(format!("Scapy cannot be installed: {error:#} ({how})")));
        }
    };
    let ours = Worker::ours()?;
    let suites = ours.suites()?;
    let clear = matrix(&suites)?;
    let mut tally = Tally::default();
    for (sealer, opener, way) in [(&ours, &scapy, "we seal"), (&scapy, &ours, "Scapy seals")] {
        tally.exchange(&clear, sealer, opener, way)?;
    }
    Ok(tally.finding(suites.len()))
}

/// A job for each combination; what is in them is the same in each run.
fn matrix(suites: &[Suite]) -> anyhow::Result<Vec<Job>> {
    let mut octets = Octets::new(SEED);
    let mut jobs = Vec::new();
    for suite in suites {
        let protocol = PROTOCOLS.iter().find(|protocol| protocol.word == suite.protocol);
        let protocol = protocol.with_context(|| format!("no protocol {}", suite.protocol))?;
        for shape in 0..16_u64 {
            let [transport, v6, esn, udp] = [1, 2, 4, 8].map(|bit| shape & bit != 0);
            if protocol.in_udp || !udp {
                jobs.push(job(suite, [transport, v6, esn, udp], &mut octets));
            }
        }
    }
    jobs.extend(bundles(suites, &mut octets));
    Ok(jobs)
}

/// AH around ESP (RFC 2401 §4.3): every suite of ESP in every shape, those of AH by turns.
fn bundles(suites: &[Suite], octets: &mut Octets) -> Vec<Job> {
    let of = |protocol: &'static str| suites.iter().filter(move |one| one.protocol == protocol);
    let mut jobs = Vec::new();
    for (esp, ah) in of("esp").zip(of("ah").cycle()) {
        for shape in 0..8_u64 {
            let [transport, v6, esn] = [1, 2, 4].map(|bit| shape & bit != 0);
            let inside = job(esp, [transport, v6, esn, false], octets);
            let around = Around {
                suite: ah.word.clone(),
                encryption: hex(&octets.take(ah.encryption)),
                integrity: hex(&octets.take(ah.integrity)),
                spi: inside.spi ^ 1,
            };
            jobs.push(Job { around: Some(around), ..inside });
        }
    }
    jobs
}

fn job(suite: &Suite, [transport, v6, esn, in_udp]: [bool; 4], octets: &mut Octets) -> Job {
    let random = octets.number();
    let low = random & 0x00ff_ffff | 1;
    // Scapy is told the upper half, we infer it from a packet before the turn.
    let sequence = if esn { 1 << 32 | low } else { low };
    let outer = if v6 { ["2001:db8::1", "2001:db8::2"] } else { ["192.0.2.1", "192.0.2.2"] };
    let inner = match (transport, random & 1 << 32 != 0) {
        (true, _) => outer,
        (false, true) => ["fd01::5", "fd02::7"],
        (false, false) => ["10.1.0.5", "10.2.0.7"],
    };
    let [from, to] = inner.map(|text| text.parse::<IpAddr>().expect("an address"));
    let payload = octets.take(usize::from(random.to_be_bytes()[0]) % PAYLOAD_MAX);
    Job {
        action: Action::Seal,
        protocol: suite.protocol.clone(),
        suite: suite.word.clone(),
        encryption: hex(&octets.take(suite.encryption)),
        integrity: hex(&octets.take(suite.integrity)),
        esn,
        sequence,
        spi: 0xc000_0000 | u32::try_from(random >> 40).expect("24 bits"),
        transport,
        udp: in_udp,
        from: outer[0].to_owned(),
        to: outer[1].to_owned(),
        around: None,
        packet: hex(&udp(from, to, 77, &payload)),
    }
}

/// What the exchanges came to.
#[derive(Default)]
struct Tally {
    packets: usize,
    /// Those of AH around ESP.
    bundles: usize,
    suites: BTreeSet<String>,
    lacking: BTreeSet<String>,
    faults: Vec<String>,
}

impl Tally {
    /// One side seals all, the other opens it; what comes out is what went in. A changed packet
    /// opens nowhere.
    fn exchange(
        &mut self,
        clear: &[Job],
        sealer: &Worker,
        opener: &Worker,
        way: &str,
    ) -> anyhow::Result<()> {
        let mut sealed = Vec::new();
        for (job, answer) in clear.iter().zip(sealer.work(clear)?) {
            if let Some(packet) = self.packet(job, answer, way) {
                sealed.push((job, Job { action: Action::Open, packet, ..job.clone() }));
            }
        }
        let jobs: Vec<Job> = sealed.iter().map(|(_, open)| open.clone()).collect();
        for ((job, _), answer) in sealed.iter().zip(opener.work(&jobs)?) {
            let Some(packet) = self.packet(job, answer, way) else { continue };
            if is_same(job, &packet)? {
                self.packets += 1;
                self.bundles += usize::from(job.around.is_some());
                self.suites.insert(format!("{} {}", job.protocol, job.suite));
            } else {
                self.fault(job, way, "another packet came out");
            }
        }
        let changed = jobs.iter().zip(&sealed).filter(|(job, _)| !job.udp && !job.esn);
        let changed: Vec<(Job, &Job)> =
            changed.map(|(job, (clear, _))| (with_change(job), *clear)).collect();
        let jobs: Vec<Job> = changed.iter().map(|(job, _)| job.clone()).collect();
        for ((_, clear), answer) in changed.iter().zip(opener.work(&jobs)?) {
            if matches!(answer, Answer::Packet(_)) {
                self.fault(clear, way, "a changed packet was opened");
            }
        }
        Ok(())
    }

    fn packet(&mut self, job: &Job, answer: Answer, way: &str) -> Option<String> {
        match answer {
            Answer::Packet(packet) => return Some(packet),
            Answer::Lacks(name) if LACKING.contains(&name.as_str()) => {
                self.lacking.insert(name);
            }
            Answer::Lacks(name) => self.fault(job, way, &format!("Scapy has no {name}")),
            Answer::Error(error) => self.fault(job, way, &error),
        }
        None
    }

    fn fault(&mut self, job: &Job, way: &str, what: &str) {
        let mode = if job.transport { "transport" } else { "tunnel" };
        let family = if job.from.contains(':') { "IPv6" } else { "IPv4" };
        let mut words = format!("{way}: {} {} {mode} {family}", job.protocol, job.suite);
        for (flag, word) in [(job.esn, " ESN"), (job.udp, " UDP")] {
            if flag {
                words.push_str(word);
            }
        }
        if let Some(around) = &job.around {
            words = format!("{words} in AH {}", around.suite);
        }
        self.faults.push(format!("{words}: {what}"));
    }

    fn finding(&self, suites: usize) -> Finding {
        let lacking: Vec<&str> = self.lacking.iter().map(String::as_str).collect();
        let figure = format!(
            "{} packets in both directions, {} of them AH around ESP, {} of our {suites} suites; \
             Scapy has no {}",
            self.packets,
            self.bundles,
            self.suites.len(),
            lacking.join(", ")
        );
        if self.packets == 0 {
            return Finding::fail(figure, "nothing was exchanged");
        }
        if self.faults.is_empty() {
            return Finding::pass(figure);
        }
        for fault in &self.faults {
            eprintln!("{fault}");
        }
        let first: Vec<&str> = self.faults.iter().take(3).map(String::as_str).collect();
        Finding::fail(figure, format!("{} faults: {}", self.faults.len(), first.join("; ")))
    }
}

/// The last octet, which is in the ICV.
fn with_change(job: &Job) -> Job {
    let mut changed = job.clone();
    let last = changed.packet.pop();
    changed.packet.push(if last == Some('0') { '1' } else { '0' });
    changed
}

/// A tunnel gives back every octet. In transport mode the header is made anew, so that it counts
/// who speaks to whom over what, and what they say.
fn is_same(job: &Job, packet: &str) -> anyhow::Result<bool> {
    if !job.transport {
        return Ok(packet == job.packet);
    }
    Ok(essence(&from_hex(packet)?) == essence(&from_hex(&job.packet)?))
}

/// Protocol, addresses and payload of a packet without options.
fn essence(packet: &[u8]) -> Option<(u8, Vec<u8>)> {
    let (protocol, addresses) = if packet.first()? >> 4 == 6 { (6, 8) } else { (9, 12) };
    Some((*packet.get(protocol)?, packet.get(addresses..)?.to_vec()))
}

const SEED: u64 = 2_406;

/// Octets of payload stay below this; every length of padding occurs.
const PAYLOAD_MAX: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;

    fn suite() -> Suite {
        let [protocol, word] = ["esp", "aes128gcm16"].map(str::to_owned);
        Suite { protocol, word, encryption: 20, integrity: 0 }
    }

    #[test]
    fn the_matrix_has_every_combination() {
        let jobs = matrix(&[suite()]).unwrap();
        let shape = |job: &Job| (job.transport, job.from.contains(':'), job.esn, job.udp);
        assert_eq!(jobs.iter().map(shape).collect::<BTreeSet<_>>().len(), 16);
        let ah = matrix(&[Suite { protocol: "ah".to_owned(), ..suite() }]).unwrap();
        assert_eq!(ah.iter().map(shape).filter(|(.., udp)| !udp).count(), 8);
        assert_eq!(ah.len(), 8);
        assert!(jobs.iter().all(|job| (job.sequence >> 32 == 1) == job.esn));
        let suites =
            [suite(), Suite { protocol: "ah".to_owned(), word: "sha256".to_owned(), ..suite() }];
        let all = matrix(&suites).unwrap();
        let bundles: Vec<&Job> = all.iter().filter(|job| job.around.is_some()).collect();
        assert_eq!(bundles.iter().map(|job| shape(job)).collect::<BTreeSet<_>>().len(), 8);
        let around = bundles[0].around.as_ref().unwrap();
        assert!(around.suite == "sha256" && around.spi != bundles[0].spi);
    }

    #[test]
    fn what_comes_out_has_to_be_what_went_in() {
        let jobs = matrix(&[suite()]).unwrap();
        for job in &jobs {
            assert!(is_same(job, &job.packet).unwrap());
            assert!(!is_same(job, &with_change(job).packet).unwrap());
        }
    }

    #[test]
    fn what_scapy_lacks_is_named_and_known() {
        let job = &matrix(&[suite()]).unwrap()[0];
        let mut tally = Tally { packets: 1, ..Tally::default() };
        assert_eq!(tally.packet(job, Answer::Lacks(LACKING[0].to_owned()), "x"), None);
        assert!(tally.faults.is_empty());
        assert!(tally.finding(1).figure.ends_with("Scapy has no AES-XCBC-96"));
        tally.packet(job, Answer::Lacks("AES-GCM".to_owned()), "x");
        tally.packet(job, Answer::Error("bad".to_owned()), "x");
        assert_eq!(tally.faults.len(), 2);
    }
}
