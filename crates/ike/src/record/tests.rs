//! What is written is read, and nothing else is.

use std::net::IpAddr;
use std::sync::Arc;

use adit_crypto::{Secret, SeededRng};
use adit_db::{
    AuthSpec, ChildConfig, Claim, Connection, DscpClass, DscpPolicy, DscpSet, GatewayNotice,
    IcmpInterfaces, KeyingTries, LocalRound, PpkSpec, ProposalSpec, RemoteRound, SignatureSpec,
};
use adit_pki::{Distrust, Moment};
use adit_wire::iana::AuthMethod;
use adit_wire::ip::{FlowKey, Icmp};
use proptest::prelude::*;

use super::*;
use crate::command::{
    AuthResult, Command, IcmpHeard, JobId, Limited, PacketEvent, Path, ProofEnd, RequestId,
    TcpProblem, Transport,
};
use crate::ticket::TicketKeys;
use crate::v2::ppk::PpkKeys;
use crate::v2::signature::{Proof, SignFailure};

fn begin() -> Begin {
    Begin { program: "aditd 1".to_owned(), started_s: 7, config: EndpointConfig::default() }
}

/// A connection in which hardly anything is at its default.
fn connection() -> Connection {
    let mut connection = Connection::new("berlin".parse().unwrap());
    connection.local_addresses = ["%any", "192.0.2.1", "2001:db8::/32", "gw.example"]
        .map(|text| text.parse().unwrap())
        .to_vec();
    connection.tcp_ports = vec![4500, 443];
    connection.over = Some("oslo".parse().unwrap());
    connection.reach = KeyingTries::Tries(3.try_into().unwrap());
    connection.redirect.to = Some("gw2.example".parse().unwrap());
    connection.proposals = ProposalSpec::ike_list(
        "default,aes128-sha256-modp2048-ecp256,chacha20poly1305-prfsha512-x25519-ke1_mlkem768-ke1_none",
    )
    .unwrap();
    let pad = &mut connection.pad;
    pad.local_id = Some("C=CH, O=Adit, CN=gw".parse().unwrap());
    pad.remote_id = "*@corp.example".parse().unwrap();
    let schemes = adit_crypto::SignatureScheme::ALL.to_vec();
    let spec = SignatureSpec { schemes, ..SignatureSpec::default() };
    pad.local_auth = AuthSpec::Signature(Arc::new(spec));
    pad.remote_auth = AuthSpec::Null;
    pad.more_local = vec![LocalRound { id: Some("keyid:a".parse().unwrap()), auth: AuthSpec::Psk }];
    pad.more_remote = vec![RemoteRound::default()];
    pad.ppk = Some(PpkSpec { id: "opaque:berlin".parse().unwrap(), required: true });
    let networks = vec!["10.0.0.0/8[tcp/80-90]".parse().unwrap(), "dynamic".parse().unwrap()];
    pad.claims = vec![Claim { id: "*.example".parse().unwrap(), networks }];
    let mut child = ChildConfig::new("net".parse().unwrap());
    let mut code_points = DscpSet::default();
    code_points.insert(adit_db::Dscp::named("ef").unwrap());
    child.class = Some(DscpClass { of: "rest".parse().unwrap(), code_points });
    child.resource = Some(3);
    child.proposals = ProposalSpec::esp_list("default,aes128gcm16-x25519-esn-noesn").unwrap();
    child.dscp = DscpPolicy::Set(adit_db::Dscp::named("af41").unwrap());
    child.icmp.interfaces =
        IcmpInterfaces::new(vec!["wan0".parse().unwrap()], vec!["lan0".parse().unwrap()]);
    child.kernel.steering.interface = Some("vpn1".parse().unwrap());
    child.kernel.steering.mark = Some("0x10/0xff".parse().unwrap());
    connection.children = vec![child, ChildConfig::new("ah".parse().unwrap())];
    connection.children[1].proposals = ProposalSpec::ah_list("sha256-esn").unwrap();
    connection
}

fn inputs() -> Vec<Input> {
    let (local, remote) = ("192.0.2.1:500".parse().unwrap(), "[2001:db8::2]:4500".parse().unwrap());
    let path = Path { local, remote, transport: Transport::TcpResponder };
    let flow = FlowKey::new([10, 1, 0, 1].into(), [10, 2, 0, 1].into(), 6, 1, 2);
    let (connection_name, child) = ("berlin".parse().unwrap(), "net".parse().unwrap());
    let child_id = adit_db::ChildSaId(5);
    let icmp = Icmp { kind: 3, code: 13 };
    let proof = Proof { method: AuthMethod::SHARED_KEY, data: vec![1; 32], certificates: vec![] };
    let secret = || Secret::from_slice(&[3; 32]);
    let keys = Arc::new(TicketKeys::generate(9, &mut SeededRng::new(1)));
    let expired =
        Distrust::Expired { subject: "CN=a".to_owned(), until: Moment(1), now: Moment(2) };
    let addresses: Arc<[IpAddr]> = vec![local.ip(), remote.ip()].into();
    let auth = |result| Input::Auth(JobId(4), result);
    let notice = |notice| Input::Packet(PacketEvent::Notice { child: child_id, notice });
    vec![
        Input::Command(Command::Load(Arc::new(connection()))),
        Input::Command(Command::UseTicketKeys { keys, now_s: 11 }),
        Input::Command(Command::Initiate {
            connection: "berlin".parse().unwrap(),
            child: None,
            request: RequestId(1),
        }),
        Input::Command(Command::Shutdown),
        Input::Datagram { path, octets: (0..=255).collect() },
        Input::Unreachable(path, None),
        Input::Unreachable(path, Some(IcmpHeard { icmp, by: None })),
        Input::Unreachable(path, Some(IcmpHeard { icmp, by: Some("wan0".to_owned()) })),
        Input::TcpLost(path, TcpProblem::Garbled),
        Input::Packet(PacketEvent::Acquire { connection: connection_name, child, flow }),
        Input::Packet(PacketEvent::PeerMoved { child: child_id, remote }),
        Input::Packet(PacketEvent::Doubted { child: child_id }),
        notice(GatewayNotice::IcmpError(vec![0x45, 0, 0, 56])),
        notice(GatewayNotice::LargestFragment(1_288)),
        auth(AuthResult::Signed(proof.clone())),
        auth(AuthResult::Limited(Box::new(Limited {
            end: ProofEnd { left_s: 60, ours: true, subject: "CN=a".to_owned(), until: Moment(61) },
            verified: true,
            signed: Some(proof),
            decrypted: None,
        }))),
        auth(AuthResult::Mixed(PpkKeys { d: secret(), pi: secret(), pr: secret() })),
        auth(AuthResult::Distrusted(Box::new(expired))),
        auth(AuthResult::CannotSign(Box::new(SignFailure::NoKey(adit_db::Identity::Null)))),
        Input::Resolved(JobId(8), vec![local.ip()]),
        Input::Network(addresses),
        Input::Timeout,
        Input::PrepareKeyShare,
    ]
}

/// A recording of these inputs, each with a message that came of it, and where its frames begin.
fn recording() -> (Vec<u8>, Vec<usize>) {
    let mut file = Vec::new();
    let mut writer = RecordWriter::begin(begin(), &mut file).unwrap();
    let mut starts = Vec::new();
    for (number, input) in (1..).zip(inputs()) {
        starts.push(file.len());
        writer.input(Duration::from_millis(number), &input, &mut file).unwrap();
        let text = "Transmit(somewhere)".to_owned();
        let outputs = vec![Shown { text, octets: vec![0xff; 40] }];
        starts.push(file.len());
        writer.entry(&Entry::Done(Done { drawn: vec![7; 9], outputs }), &mut file).unwrap();
    }
    (file, starts)
}

#[test]
fn all_kinds_of_inputs_read_back_as_they_were() {
    let (file, _) = recording();
    let entries: Vec<Entry> = RecordReader::new(&file).unwrap().collect::<Result<_, _>>().unwrap();
    let Entry::Begin(read) = &entries[0] else { panic!("{:?}", entries[0]) };
    assert_eq!(format!("{read:?}"), format!("{:?}", begin()));
    let read: Vec<String> = entries
        .iter()
        .filter_map(|entry| match entry {
            Entry::Input(_, input) => Some(format!("{input:?}")),
            Entry::Begin(_) | Entry::Done(_) => None,
        })
        .collect();
    let written: Vec<String> = inputs().iter().map(|input| format!("{input:?}")).collect();
    assert_eq!(read, written);
    // Printing leaves keys out.
    let Entry::Input(_, Input::Command(Command::UseTicketKeys { keys, .. })) = &entries[3] else {
        panic!("{:?}", entries[3]);
    };
    let before = TicketKeys::generate(9, &mut SeededRng::new(1));
    assert_eq!(keys.octets(), before.octets());
}

/// After a kill the last frame is cut: what is before it is whole, wherever the cut is.
#[test]
fn a_file_that_was_cut_is_read_up_to_the_last_whole_frame() {
    let (file, starts) = recording();
    for len in starts[0]..file.len() {
        let mut reader = RecordReader::new(&file[..len]).unwrap();
        let whole = starts.iter().filter(|start| **start <= len).count();
        assert_eq!((&mut reader).filter(|entry| entry.is_ok()).count(), whole, "{len}");
        assert_eq!(
            reader.octets_left(),
            len - starts.iter().filter(|at| **at <= len).max().unwrap()
        );
    }
}

#[test]
fn what_is_no_recording_is_told_from_one_of_another_version() {
    let (mut file, _) = recording();
    assert_eq!(RecordReader::new(b"").unwrap_err(), RecordError::NotARecording);
    assert_eq!(RecordReader::new(b"ADITREC\n\0").unwrap_err(), RecordError::NotARecording);
    file[11] = 9;
    assert_eq!(RecordReader::new(&file).unwrap_err(), RecordError::OtherFormat { found: 9 });
}

/// A replay of what nobody could have written ends with an error that says where.
#[test]
fn frames_out_of_order_are_told() {
    let mut file = Vec::new();
    let mut writer = RecordWriter::begin(begin(), &mut file).unwrap();
    writer.entry(&Entry::Begin(begin()), &mut file).unwrap();
    let replay = Replay::new(&file, base()).unwrap().next().unwrap();
    assert_eq!(replay.unwrap_err(), RecordError::OutOfOrder { frame: 2 });
}

#[expect(clippy::disallowed_methods, reason = "any instant is as good as the origin of a run")]
fn base() -> std::time::Instant {
    std::time::Instant::now()
}

proptest! {
    /// No octet of a file changes unseen, be it in a length, a check or a body.
    #[test]
    fn a_changed_octet_is_found(place: prop::sample::Index, change in 1_u8..=255) {
        let (mut file, _) = recording();
        let place = place.index(file.len());
        file[place] ^= change;
        let Ok(mut reader) = RecordReader::new(&file) else { return Ok(()) };
        let is_damaged =
            |entry: Result<Entry, RecordError>| matches!(entry, Err(RecordError::Damaged { .. }));
        prop_assert!(reader.any(is_damaged), "octet {place}");
    }

    /// Any octets are refused without panic, and nothing is reserved by a number in them.
    #[test]
    fn any_octets_are_read_without_panic(octets in prop::collection::vec(any::<u8>(), 0..200)) {
        let mut file = Vec::new();
        let mut writer = RecordWriter::begin(begin(), &mut file).unwrap();
        writer.frame_of(&octets, &mut file);
        let mut reader = RecordReader::new(&file).unwrap();
        let _ = reader.by_ref().count();
        let _ = Entry::take(&mut Reader(&octets));
    }
}
