//! A captured Aggressive Mode, and what follows it, decrypted with the key that belongs to it.
//!
//! The capture is Wireshark's (GPL), so it is read from `../shared/vectors` beside the workspace, or
//! where `ADIT_VECTORS` says, and skipped with a word where that does not exist.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use adit_wire::Reader;
use adit_wire::doi::Phase1Transform;
use adit_wire::isakmp::{Header, Payload, Payloads, Sa};

use super::*;

/// CHECKLIST T04, U06: the last message of Aggressive Mode and those of the exchanges after it are
/// decrypted, each exchange with IVs of its own.
#[test]
fn captured_messages_are_decrypted_with_their_key() {
    let Some(folder) = shared("pcap/wireshark") else { return };
    let keys = std::fs::read_to_string(folder.join("keys-and-expected.json")).unwrap();
    let (_, keys) = keys.split_once("\"ikev1-bug-12620.pcapng.gz\"").unwrap();
    let capture = unpacked(&folder.join("ikev1-bug-12620.pcapng.gz"));

    let mut session = Session::new(unhex(&field(keys, "icookie")), unhex(&field(keys, "enc_key")));
    for message in messages(&capture) {
        session.take(&message);
    }

    let expected = unhex(&field(keys, "expected"));
    let holds = |text: &Vec<u8>| text.windows(expected.len()).any(|window| window == expected);
    assert!(session.plain.iter().any(holds), "{} messages", session.plain.len());
}

/// What somebody knows who sees all messages and has the key.
struct Session {
    icookie: Vec<u8>,
    key: Secret,
    /// g^xi and g^xr, as they come.
    public: Vec<Vec<u8>>,
    /// From the answer to the offer.
    suite: Option<(Hash, CbcKey)>,
    /// The next IV of each exchange.
    ivs: BTreeMap<u32, Iv>,
    plain: Vec<Vec<u8>>,
}

impl Session {
    fn new(icookie: Vec<u8>, key: Vec<u8>) -> Self {
        let (public, ivs, plain) = (Vec::new(), BTreeMap::new(), Vec::new());
        Self { icookie, key: Secret::new(key), public, suite: None, ivs, plain }
    }

    fn take(&mut self, message: &[u8]) {
        let mut r = Reader(message);
        let Ok(header) = Header::read(&mut r) else { return };
        if header.cookie_i.0.as_slice() != self.icookie {
            return;
        }
        if header.flags.is_encrypted() {
            return self.decrypt(&header, r.rest());
        }
        for raw in Payloads::new(header.next_payload, r.rest()) {
            let payload = Payload::read(raw.unwrap()).unwrap();
            if let Payload::Ke(ke) = payload {
                self.public.push(ke.0.to_vec());
            } else if let Payload::Sa(sa) = payload
                && !header.cookie_r.is_zero()
            {
                self.choose(&sa);
            }
        }
    }

    fn choose(&mut self, sa: &Sa<'_>) {
        let chosen = Phase1Transform::read(&sa.proposals[0].transforms[0]).unwrap();
        let prf = Prf::from_id(chosen.hash.prf().unwrap()).unwrap();
        let hash = Hash::ALL.into_iter().find(|hash| hash.prf() == prf).unwrap();
        let id = chosen.encryption.encryption().unwrap();
        let encryption = Encryption::from_id(id, chosen.key_bits).unwrap();
        self.suite = Some((hash, CbcKey::new(encryption, &self.key).unwrap()));
    }

    fn decrypt(&mut self, header: &Header, body: &[u8]) {
        let (hash, key) = self.suite.as_ref().unwrap();
        let [initiator, responder] = self.public.as_slice() else { panic!("two public values") };
        let public = PublicValues { initiator, responder };
        let phase1 = || Iv::phase1(*hash, public, key.block_len());
        let phase1 = self.ivs.entry(0).or_insert_with(phase1).clone();
        let id = header.message_id;
        let iv = self.ivs.entry(id).or_insert_with(|| phase1.exchange(*hash, id));
        let mut text = body.to_vec();
        *iv = iv.decrypt(key, &mut text).unwrap();
        let chain = Payloads::decrypted(header.next_payload, &text);
        for raw in chain {
            raw.and_then(Payload::read).unwrap();
        }
        self.plain.push(text);
    }
}

pub(super) fn shared(path: &str) -> Option<PathBuf> {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/vectors");
    let path = std::env::var_os("ADIT_VECTORS").map_or_else(beside, PathBuf::from).join(path);
    if !path.exists() {
        println!("skipped: {} does not exist", path.display());
        return None;
    }
    Some(path)
}

fn unpacked(path: &Path) -> Vec<u8> {
    let output = Command::new("gzip").arg("-dc").arg(path).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    output.stdout
}

/// The text behind `"name": "`.
fn field(json: &str, name: &str) -> String {
    let (_, rest) = json.split_once(&format!("\"{name}\": \"")).unwrap();
    rest.split_once('"').unwrap().0.to_owned()
}

/// The UDP payloads in a pcapng file of Ethernet frames with IPv4, written by a little-endian machine.
fn messages(pcapng: &[u8]) -> Vec<Vec<u8>> {
    const ENHANCED_PACKET: usize = 6;
    let mut rest = pcapng;
    let mut found = Vec::new();
    while rest.len() >= 12 {
        let number = |at: usize| {
            usize::try_from(u32::from_le_bytes(rest[at..at + 4].try_into().unwrap())).unwrap()
        };
        if number(0) == ENHANCED_PACKET {
            let frame = &rest[28..28 + number(20)];
            let packet = &frame[14..];
            let header_octets = usize::from(packet[0] & 0x0f) * 4;
            found.push(packet[header_octets + 8..].to_vec());
        }
        rest = &rest[number(4)..];
    }
    found
}
