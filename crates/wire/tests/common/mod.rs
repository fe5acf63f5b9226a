//! Captures and where they are, for the tests of both versions of IKE.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use adit_wire::iana::IpProtocol;
use adit_wire::ip::IpPacket;
use serde_json::Value;

/// The cases under a key of a file of `tests/vectors`.
pub(crate) fn cases(file: &str, key: &str) -> Vec<Value> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors").join(file);
    let json: Value = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    json[key].as_array().unwrap().clone()
}

/// The octets of a case.
pub(crate) fn octets(case: &Value) -> Vec<u8> {
    from_hex(case["octets"].as_str().unwrap())
}

/// Octets from their digits.
pub(crate) fn from_hex(text: &str) -> Vec<u8> {
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    assert!(rest.is_empty(), "odd number of digits");
    let digit = |octet: u8| u8::try_from(char::from(octet).to_digit(16).unwrap()).unwrap();
    pairs.iter().map(|[high, low]| digit(*high) << 4 | digit(*low)).collect()
}

/// Where a file or folder of captures under the GPL is: beside the workspace, or where `ADIT_VECTORS` says.
/// `None`, with a word, where that does not exist.
pub(crate) fn shared_path(path: &str) -> Option<PathBuf> {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/vectors");
    let path = env::var_os("ADIT_VECTORS").map_or_else(beside, PathBuf::from).join(path);
    if !path.exists() {
        println!("skipped: {} does not exist", path.display());
        return None;
    }
    Some(path)
}

/// The text of such a file.
pub(crate) fn shared(path: &str) -> Option<String> {
    shared_path(path).map(|path| fs::read_to_string(path).unwrap())
}

/// All captures below a folder.
pub(crate) fn pcaps_under(root: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path());
    let files = entries.flat_map(|path| match path.is_dir() {
        true => pcaps_under(&path),
        false => vec![path],
    });
    files.filter(|path| path.extension().is_some_and(|extension| extension == "pcap")).collect()
}

/// The UDP payloads of a capture of Ethernet frames, or of packets behind four octets.
pub(crate) fn datagrams(pcap: &[u8]) -> Vec<Vec<u8>> {
    let number = |octets: &[u8]| {
        let octets = octets.try_into().unwrap();
        let is_little_endian = pcap[0] == 0xd4;
        if is_little_endian { u32::from_le_bytes(octets) } else { u32::from_be_bytes(octets) }
    };
    let link_len = if number(&pcap[20..24]) == 1 { 14 } else { 4 };
    let mut rest = &pcap[24..];
    let mut found = Vec::new();
    while rest.len() >= 16 {
        let len = usize::try_from(number(&rest[8..12])).unwrap();
        let frame = &rest[16..16 + len];
        let packet = IpPacket::read(&frame[link_len..]).unwrap();
        assert_eq!(packet.protocol(), IpProtocol::UDP);
        found.push(packet.payload()[8..].to_vec());
        rest = &rest[16 + len..];
    }
    found
}
