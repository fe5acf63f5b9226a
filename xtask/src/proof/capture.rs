//! Row 2: the demo's capture, read by tshark with the keys that the daemons exported.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context as _;

use super::aggfrag::{self, Payloads};
use super::{Effort, Finding, lacks, printed};
use crate::root;

/// Payload types of encrypted messages and fragments: SK and SKF (RFC 7296 §3.14, RFC 7383 §2.5).
const ENCRYPTED: [&str; 2] = ["46", "53"];

/// Octets of the demo's transfer: every packet is decrypted, twice.
const TRANSFER: u32 = 2_000_000;

/// Runs the demo and reads its capture.
pub(super) fn measure(_: &Effort) -> anyhow::Result<Finding> {
    if let Some(finding) = lacks(&["ip", "ping", "tshark"]) {
        return Ok(finding);
    }
    let folder = std::env::temp_dir().join(format!("adit-capture-{}", std::process::id()));
    fs::create_dir_all(&folder).context("cannot make a folder for the capture")?;
    let found = demo(&folder).and_then(|()| read(&folder.join("wire.pcap"), &folder.join("keys")));
    if found.as_ref().is_ok_and(|finding| finding.reason.is_empty()) {
        fs::remove_dir_all(&folder).context("cannot remove the capture")?;
    } else {
        eprintln!("the capture and its keys stay in {}", folder.display());
    }
    found
}

/// `adit demo --json --capture FILE --keys DIR`.
fn demo(folder: &Path) -> anyhow::Result<()> {
    let mut cargo = root::cargo();
    cargo.args(["build", "--release", "-p", "aditd", "-p", "adit"]);
    printed(&mut cargo).context("adit does not build")?;
    let mut command = Command::new(root::target().join("release/adit"));
    command.args(["demo", "--json", "--bytes", &TRANSFER.to_string(), "--capture"]);
    command.arg(folder.join("wire.pcap")).arg("--keys").arg(folder.join("keys"));
    let text = printed(&mut command).context("adit demo")?;
    eprintln!("{}", text.trim());
    Ok(())
}

/// What tshark says about one capture.
#[derive(Debug, Default)]
struct Verdict {
    esp: usize,
    aggfrag: usize,
    /// Messages about the path.
    path: usize,
    payloads: Payloads,
    ike: usize,
    encrypted: usize,
    bad: Vec<String>,
}

/// Opens the capture once with each generation of keys. IKE_INTERMEDIATE replaces the keys of an
/// IKE SA while its SPIs stay (RFC 9370 §2.2.2), and tshark has one row per pair of SPIs: a message
/// is good if any generation opens it.
fn read(capture: &Path, keys: &Path) -> anyhow::Result<Finding> {
    let generations = generations(&table(keys, "ikev2_decryption_table")?);
    let esp = table(keys, "esp_sa")?;
    anyhow::ensure!(!esp.is_empty(), "no ESP keys in {}", keys.display());
    let mut messages: BTreeMap<String, Message> = BTreeMap::new();
    let mut packets = Vec::new();
    for (number, rows) in generations.iter().enumerate() {
        let home = keys.join(format!("home-{number}"));
        let profile = home.join(".config/wireshark");
        fs::create_dir_all(&profile)?;
        fs::write(profile.join("ikev2_decryption_table"), lines(rows))?;
        fs::write(profile.join("esp_sa"), lines(&esp))?;
        packets = tshark(capture, &home, "esp", &ESP_FIELDS)?;
        for fields in tshark(capture, &home, "isakmp", &IKE_FIELDS)? {
            let message = Message::new(&fields);
            let best = messages.entry(message.frame.clone()).or_insert_with(|| message.clone());
            if message.complaint.is_none() {
                *best = message;
            }
        }
    }
    let mut verdict = judge(&packets, messages.values());
    let inside = verdict.payloads.packets().context("AGGFRAG payloads")?;
    let inner = keys.join("inner.pcap");
    aggfrag::write_capture(&inner, &inside)?;
    for fields in tshark(&inner, keys, UNSOUND, &["frame.number", "frame.protocols"])? {
        verdict.bad.push(format!("AGGFRAG's inner packet {}: unsound", fields.join(": ")));
    }
    for fields in tshark(capture, keys, UNKNOWN, &["frame.number", "frame.protocols"])? {
        verdict.bad.push(format!("frame {}: neither ESP nor IKE", fields.join(": ")));
    }
    let figure = format!(
        "{} ESP packets, {} of them AGGFRAG with {} packets inside and {} about the path, {} IKE \
         messages, {} of them encrypted",
        verdict.esp,
        verdict.aggfrag,
        inside.len(),
        verdict.path,
        verdict.ike,
        verdict.encrypted
    );
    if verdict.esp == 0 || verdict.encrypted == 0 {
        return Ok(Finding::fail(figure, "the capture lacks ESP or encrypted IKE"));
    }
    if verdict.bad.is_empty() {
        return Ok(Finding::pass(figure));
    }
    let first: Vec<&str> = verdict.bad.iter().take(5).map(String::as_str).collect();
    let reason = format!("{} bad frames: {}", verdict.bad.len(), first.join("; "));
    Ok(Finding::fail(figure, reason))
}

/// Wireshark forgets a last row without its end of line.
fn lines(rows: &[String]) -> String {
    rows.iter().map(|row| format!("{row}\n")).collect()
}

/// What ought to be ESP or IKE, and is neither. A keepalive (RFC 3948 §2.3) has one octet.
const UNKNOWN: &str = "(ip.proto == 50 || ipv6.nxt == 50 || udp.port in {500, 4500}) \
    && !esp && !isakmp && !(udp.length == 9)";

/// Packets inside AGGFRAG payloads that are broken or no packets of the demo's.
const UNSOUND: &str = "_ws.malformed || ip.checksum.status == 0 || icmp.checksum.status == 0 \
    || tcp.checksum.status == 0 || !(icmp || tcp)";

const ESP_FIELDS: [&str; 7] = [
    "frame.number",
    "esp.icv_good",
    "esp.protocol",
    "_ws.malformed",
    "esp.spi",
    "esp.sequence",
    "esp.decrypted_data",
];

const IKE_FIELDS: [&str; 5] = [
    "frame.number",
    "isakmp.typepayload",
    "isakmp.enc.decrypted",
    "isakmp.ikev2.integrity_checksum",
    "_ws.malformed",
];

/// One IKE message as tshark sees it.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Message {
    frame: String,
    encrypted: bool,
    complaint: Option<&'static str>,
}

impl Message {
    fn new(fields: &[String]) -> Self {
        let field = |at: usize| fields.get(at).map(String::as_str).unwrap_or_default();
        let encrypted = field(1).split(',').any(|payload| ENCRYPTED.contains(&payload));
        let complaint = if !field(4).is_empty() {
            Some("malformed")
        } else if encrypted && field(2).is_empty() {
            Some("not decrypted")
        } else if !field(3).is_empty() {
            Some("wrong checksum")
        } else {
            None
        };
        Self { frame: field(0).to_owned(), encrypted, complaint }
    }
}

fn judge<'a>(packets: &[Vec<String>], messages: impl Iterator<Item = &'a Message>) -> Verdict {
    let mut verdict = Verdict { esp: packets.len(), ..Verdict::default() };
    for fields in packets {
        let field = |at: usize| fields.get(at).map(String::as_str).unwrap_or_default();
        let sound = field(1) == "1" && field(3).is_empty();
        let sequence = field(5).parse().unwrap_or_default();
        let aggfrag = sound && verdict.payloads.take(field(4), sequence, field(6)).is_some();
        verdict.aggfrag += usize::from(aggfrag);
        let path = sound && is_path_message(field(6));
        verdict.path += usize::from(path);
        if !sound || (field(2).is_empty() && !aggfrag && !path) {
            verdict.bad.push(format!("frame {}: ESP not verified", field(0)));
        }
    }
    for message in messages {
        verdict.ike += 1;
        verdict.encrypted += usize::from(message.encrypted);
        if let Some(complaint) = message.complaint {
            verdict.bad.push(format!("frame {}: IKE {complaint}", message.frame));
        }
    }
    verdict
}

/// Whether a decrypted payload, with its trailer, is a dummy packet (RFC 4303 §2.6) that begins as our
/// messages about the path do: "ADITPATH". tshark has no name for what is in those.
fn is_path_message(decrypted: &str) -> bool {
    let digits: String = decrypted.chars().filter(char::is_ascii_hexdigit).collect();
    digits.starts_with("4144495450415448") && digits.to_ascii_lowercase().ends_with("3b")
}

/// Runs tshark with `home` as its home and returns the fields of each packet that `filter` shows.
fn tshark(
    capture: &Path,
    home: &Path,
    filter: &str,
    fields: &[&str],
) -> anyhow::Result<Vec<Vec<String>>> {
    let mut command = Command::new("tshark");
    command.env("HOME", home).env_remove("XDG_CONFIG_HOME").arg("-n").arg("-r").arg(capture);
    command.args(["-o", "esp.enable_encryption_decode:TRUE"]);
    command.args(["-o", "esp.enable_authentication_check:TRUE"]);
    command.args(["-o", "ip.check_checksum:TRUE", "-o", "tcp.check_checksum:TRUE"]);
    command.args(["-Y", filter, "-T", "fields", "-E", "separator=;"]);
    for field in fields {
        command.args(["-e", field]);
    }
    let text = printed(&mut command)?;
    Ok(text.lines().map(|line| line.split(';').map(str::to_owned).collect()).collect())
}

/// The rows of the files called `name` anywhere below `folder`: each daemon writes its own.
fn table(folder: &Path, name: &str) -> anyhow::Result<Vec<String>> {
    let mut rows = Vec::new();
    let entries =
        fs::read_dir(folder).with_context(|| format!("no keys in {}", folder.display()))?;
    let mut paths: Vec<PathBuf> = entries.map(|e| e.map(|e| e.path())).collect::<Result<_, _>>()?;
    paths.sort();
    for path in paths {
        if path.is_dir() {
            rows.extend(table(&path, name)?);
        } else if path.file_name().is_some_and(|file| file == name) {
            rows.extend(fs::read_to_string(&path)?.lines().map(str::to_owned));
        }
    }
    let mut seen = BTreeSet::new();
    rows.retain(|row| !row.is_empty() && seen.insert(row.clone()));
    Ok(rows)
}

/// Splits the IKE table so that each part has a pair of SPIs once: its first keys, its second, …
fn generations(rows: &[String]) -> Vec<Vec<String>> {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    let mut parts: Vec<Vec<String>> = Vec::new();
    for row in rows {
        let spis: Vec<&str> = row.split(',').take(2).collect();
        let count = counts.entry(spis.join(",")).or_default();
        if parts.len() <= *count {
            parts.push(Vec::new());
        }
        if let Some(part) = parts.get_mut(*count) {
            part.push(row.clone());
        }
        *count += 1;
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(line: &str) -> Vec<String> {
        line.split(';').map(str::to_owned).collect()
    }

    #[test]
    fn a_message_is_good_if_its_payloads_are_open() {
        let complaint = |line: &str| Message::new(&fields(line)).complaint;
        assert_eq!(complaint("1;33,2,3,34,40;;;"), None);
        assert_eq!(complaint("3;46,35,39;1;;"), None);
        assert_eq!(complaint("3;46;;;"), Some("not decrypted"));
        assert_eq!(complaint("4;46,36;1;1;"), Some("wrong checksum"));
        assert_eq!(complaint("4;46,36;1;1;[Malformed Packet]"), Some("malformed"));
    }

    #[test]
    fn an_esp_packet_needs_a_good_icv() {
        let packets =
            ["5;1;0x04;", "6;0;;", "7;;;", "8;1;;;0x9;1;0000000090", "9;1;;;0x9;2;000033"];
        let path = ["10;1;;;0x9;3;414449545041544801003b", "11;0;;;0x9;4;41444954504154483b"];
        let packets: Vec<_> = packets.into_iter().chain(path).map(fields).collect();
        let verdict = judge(&packets, std::iter::empty());
        assert_eq!((verdict.esp, verdict.aggfrag, verdict.path, verdict.bad.len()), (7, 1, 1, 4));
    }

    #[test]
    fn generations_have_each_pair_of_spis_once() {
        let rows = ["a,b,1", "c,d,1", "a,b,2"].map(str::to_owned);
        assert_eq!(generations(&rows), [vec!["a,b,1", "c,d,1"], vec!["a,b,2"]]);
    }
}
