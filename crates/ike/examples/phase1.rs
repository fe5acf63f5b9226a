//! What the first phase of IKE costs by method and group, both ends in one process:
//! `phase1 MILLISECONDS [ROW]`, of which a number from 0 is that row alone, for a profile.
//!
//! A handshake runs until both ends have an IKE SA, without what follows for its children; the bare
//! primitives in it are measured by turns with it. Times are of this thread's own processor, so others may
//! have the machine meanwhile. One line for each row, words between spaces, for `cargo xtask proof
//! ikev1 5`: `VERSION METHOD PROOF MICROSECONDS MICROSECONDS_OF_THE_BARE_PRIMITIVES`.

#![allow(clippy::print_stdout, reason = "its figures are for the program that runs it")]

use std::collections::VecDeque;
use std::env;
use std::net::{IpAddr, Ipv4Addr};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use adit_crypto::{
    EncryptingKey, KemKey, KemSet, KeyExchange, RsaPadding, Secret, SignatureHash, SignatureScheme,
    SystemRng,
};
use adit_db::{
    AuthSpec, ChildConfig, Connection, HostSpec, IkeVersion, NonceEncryption, ProposalSpec,
    SignatureSpec, StaticKemSpec,
};
use adit_ike::{Command, Endpoint, EndpointConfig, IkeSaState, Keys, Output, Path, RequestId};
use adit_pki::{Credentials, KemKeyId, Moment, PrivateKey};
use nix::time::{ClockId, clock_gettime};
use rcgen::KeyPair;

const LEFT: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
const RIGHT: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 2));

/// One row.
struct Method {
    version: IkeVersion,
    name: &'static str,
    /// The proposal of IKE.
    proposal: &'static str,
    exchange: Exchange,
    proof: Proof,
}

/// Where the keys come from.
#[derive(Clone, Copy)]
enum Exchange {
    Ephemeral(KeyExchange),
    Static(KemSet),
    /// Of nonces that are encrypted to RSA keys.
    Nonces,
}

#[derive(Clone, Copy, Eq, PartialEq)]
enum Proof {
    Secret,
    Rsa,
    /// Whoever can decrypt the nonce is the peer.
    Decryption,
}

const fn v1(
    name: &'static str,
    proposal: &'static str,
    exchange: Exchange,
    proof: Proof,
) -> Method {
    Method { version: IkeVersion::V1, name, proposal, exchange, proof }
}

const fn v2(
    name: &'static str,
    proposal: &'static str,
    exchange: Exchange,
    proof: Proof,
) -> Method {
    Method { version: IkeVersion::V2, name, proposal, exchange, proof }
}

use Exchange::{Ephemeral, Nonces, Static};

const METHODS: [Method; 13] = [
    v1("dhless", "aes256-sha256-modp2048", Nonces, Proof::Decryption),
    v1("modp1024", "aes256-sha256-modp1024", Ephemeral(KeyExchange::Modp1024), Proof::Rsa),
    v1("modp2048", "aes256-sha256-modp2048", Ephemeral(KeyExchange::Modp2048), Proof::Rsa),
    v1("ecp256", "aes256-sha256-ecp256", Ephemeral(KeyExchange::EcpP256), Proof::Rsa),
    v2("modp2048", "aes256-sha256-modp2048", Ephemeral(KeyExchange::Modp2048), Proof::Rsa),
    v2("ecp256", "aes256gcm16-prfsha256-ecp256", Ephemeral(KeyExchange::EcpP256), Proof::Rsa),
    v2("x25519", "aes256gcm16-prfsha256-x25519", Ephemeral(KeyExchange::X25519), Proof::Rsa),
    v2("mlkem768", "aes256gcm16-prfsha256-mlkem768", Ephemeral(KeyExchange::MlKem768), Proof::Rsa),
    v2("static_mlkem768", STATIC_768, Static(KemSet::MlKem768), Proof::Rsa),
    v2("x25519", "aes256gcm16-prfsha256-x25519", Ephemeral(KeyExchange::X25519), Proof::Secret),
    v2(
        "mlkem768",
        "aes256gcm16-prfsha256-mlkem768",
        Ephemeral(KeyExchange::MlKem768),
        Proof::Secret,
    ),
    v2("static_mlkem768", STATIC_768, Static(KemSet::MlKem768), Proof::Secret),
    v2("static_mlkem512", STATIC_512, Static(KemSet::MlKem512), Proof::Secret),
];

const STATIC_768: &str = "aes256gcm16-prfsha256-static_mlkem768";
const STATIC_512: &str = "aes256gcm16-prfsha256-static_mlkem512";

/// Handshakes between two looks at the clock.
const BATCH: u32 = 10;

fn main() -> ExitCode {
    let Some(ms) = env::args().nth(1).and_then(|ms| ms.parse().ok()) else {
        eprintln!("phase1 MILLISECONDS [ROW]");
        return ExitCode::FAILURE;
    };
    let keys = [(); 2].map(|()| LongTerm::new());
    let row: Option<usize> = env::args().nth(2).and_then(|row| row.parse().ok());
    for (number, method) in METHODS.iter().enumerate() {
        if row.is_some_and(|row| row != number) {
            continue;
        }
        measure(method, &keys, Duration::from_millis(ms));
    }
    ExitCode::SUCCESS
}

/// The long-term keys of one end.
struct LongTerm {
    rsa: Arc<PrivateKey>,
    kems: Vec<Arc<KemKey>>,
}

impl LongTerm {
    fn new() -> Self {
        let rsa = KeyPair::generate_for(&rcgen::PKCS_RSA_SHA256).expect("a key of 2048 bits");
        let rsa = PrivateKey::from_file(&rsa.serialize_der()).expect("PKCS#8");
        let kems = KemSet::ALL.map(|set| Arc::new(KemKey::generate(set, &mut SystemRng)));
        Self { rsa: Arc::new(rsa), kems: kems.to_vec() }
    }

    fn kem(&self, set: KemSet) -> &Arc<KemKey> {
        self.kems.iter().find(|key| key.public().set() == set).expect("one of each")
    }

    fn credentials(&self) -> Credentials {
        let mut credentials = Credentials::default();
        credentials.add_key(Arc::clone(&self.rsa));
        self.kems.iter().for_each(|key| credentials.add_kem_key(Arc::clone(key)));
        credentials
    }
}

fn measure(method: &Method, keys: &[LongTerm; 2], time: Duration) {
    let [left, right] = keys;
    let credentials = [left.credentials(), right.credentials()];
    let (mut whole, mut bare, mut count) = (Duration::ZERO, Duration::ZERO, 0_u32);
    while whole < time {
        let mut pairs: Vec<_> = (0..BATCH).map(|_| endpoints(method, keys)).collect();
        let start = own_time();
        for ends in &mut pairs {
            connect(ends, &credentials);
        }
        let between = own_time();
        (0..BATCH).for_each(|_| primitives(method, keys));
        whole += between - start;
        bare += own_time() - between;
        count += BATCH;
    }
    let each = |time: Duration| time.as_secs_f64() * 1e6 / f64::from(count);
    let version = if method.version == IkeVersion::V1 { "IKEv1" } else { "IKEv2" };
    let proof = match method.proof {
        Proof::Secret => "psk",
        Proof::Rsa => "rsa2048-signature",
        Proof::Decryption => "rsa2048-decryption",
    };
    println!("{version} {} {proof} {:.1} {:.1}", method.name, each(whole), each(bare));
}

/// All that both ends compute with keys for one handshake.
fn primitives(method: &Method, keys: &[LongTerm; 2]) {
    match method.exchange {
        Ephemeral(exchange) => {
            let share = exchange.generate(&mut SystemRng);
            let answer = exchange.respond(share.public(), &mut SystemRng);
            let (public, theirs) = answer.expect("our own value is valid");
            assert_eq!(share.agree(&public).expect("valid"), theirs);
        }
        Static(set) => {
            for end in keys {
                let key = end.kem(set);
                let (ciphertext, shared) =
                    key.public().encapsulate(&mut SystemRng).expect("a checked key");
                assert_eq!(key.decapsulate(&ciphertext).expect("its length"), shared);
            }
        }
        Nonces => {
            for end in keys {
                let public = EncryptingKey::new(end.rsa.key().public()).expect("RSA");
                let own = end.rsa.key().decrypting().expect("RSA");
                let sent = public.encrypt(RsaPadding::Oaep, &[7; 32], &mut SystemRng);
                let sent = sent.expect("it has room");
                assert_eq!(own.decrypt(RsaPadding::Oaep, &sent).as_bytes(), [7; 32]);
            }
        }
    }
    if method.proof == Proof::Rsa {
        for end in keys {
            // IKEv1 signs the hash itself (RFC 2409 §5.1), which takes another way than the library's signatures.
            if method.version == IkeVersion::V1 {
                let signature = end.rsa.key().sign_bare(&[7; 32]).expect("RSA");
                assert!(end.rsa.key().public().verifies_bare(&[7; 32], &signature));
                continue;
            }
            let scheme = SignatureScheme::RsaPkcs1(SignatureHash::Sha2_256);
            let signature = end.rsa.key().sign(scheme, b"octets").expect("RSA");
            assert!(end.rsa.key().public().verifies(scheme, b"octets", &signature));
        }
    }
}

/// Two that know each other and have not met.
fn endpoints(method: &Method, [left, right]: &[LongTerm; 2]) -> [Endpoint; 2] {
    let sides = [(LEFT, "left.example", left), (RIGHT, "right.example", right)];
    let [left, right] = sides;
    [(left, right), (right, left)].map(|(own, peer)| {
        let mut endpoint = Endpoint::new(EndpointConfig::default());
        let connection = Arc::new(connection(method, own, peer));
        endpoint.handle_command(Command::Load(connection), now(), &mut SystemRng);
        endpoint
    })
}

/// Address, name and keys of an end.
type Side<'a> = (IpAddr, &'a str, &'a LongTerm);

fn connection(method: &Method, own: Side<'_>, peer: Side<'_>) -> Connection {
    let mut connection = Connection::new("tunnel".parse().expect("a legal name"));
    connection.ike = method.version;
    connection.local_addresses = vec![HostSpec::Address(own.0)];
    connection.remote_addresses = vec![HostSpec::Address(peer.0)];
    connection.pad.local_id = own.1.parse().ok();
    connection.pad.remote_id = peer.1.parse().expect("a legal name");
    connection.proposals = ProposalSpec::ike_list(method.proposal).expect("legal words");
    connection.children = vec![ChildConfig::new("net".parse().expect("a legal name"))];
    if method.proof != Proof::Secret {
        connection.pad.local_auth = raw(own.2);
        connection.pad.remote_auth = raw(peer.2);
    }
    if let Static(set) = method.exchange {
        let remote = Arc::new(peer.2.kem(set).public().clone());
        let local = KemKeyId::of(own.2.kem(set).public());
        connection.pad.static_kem = Some(StaticKemSpec::new(local, remote));
    }
    if matches!(method.exchange, Nonces) {
        connection.nonce_encryption = Some(NonceEncryption::DhLess);
    }
    connection
}

fn raw(keys: &LongTerm) -> AuthSpec {
    let public_keys = vec![Arc::clone(keys.rsa.public())];
    AuthSpec::Signature(Arc::new(SignatureSpec { public_keys, ..SignatureSpec::default() }))
}

/// One handshake of the two, until both have an IKE SA.
fn connect([left, right]: &mut [Endpoint; 2], [ours, theirs]: &[Credentials; 2]) {
    let connection = "tunnel".parse().expect("a legal name");
    let command = Command::Initiate { connection, child: None, request: RequestId(1) };
    left.handle_command(command, now(), &mut SystemRng);
    let is_up = |end: &Endpoint| end.ike_sas().any(|info| info.state == IkeSaState::Established);
    loop {
        let to_right = drain(left, ours);
        for (path, octets) in &to_right {
            right.handle_datagram(path.reversed(), octets, now(), &mut SystemRng);
        }
        let to_left = drain(right, theirs);
        if is_up(left) && is_up(right) {
            return;
        }
        assert!(!to_right.is_empty() || !to_left.is_empty(), "no IKE SA");
        for (path, octets) in &to_left {
            left.handle_datagram(path.reversed(), octets, now(), &mut SystemRng);
        }
    }
}

/// What an end sends, its jobs done.
fn drain(endpoint: &mut Endpoint, credentials: &Credentials) -> VecDeque<(Path, Vec<u8>)> {
    let secret = Secret::from_slice(b"a secret shared by both sides");
    let mut sent = VecDeque::new();
    while let Some(output) = endpoint.poll_output() {
        if let Output::Transmit { path, octets } = output {
            sent.push_back((path, octets));
        } else if let Output::Auth(job) = output {
            let keys = Keys { secret: Some(&secret), credentials, now: Moment(0) };
            endpoint.handle_auth(job.job, job.answer_with(keys), now(), &mut SystemRng);
        }
    }
    sent
}

#[expect(clippy::disallowed_methods, reason = "a bench runs in real time")]
fn now() -> Instant {
    Instant::now()
}

/// What this thread has had of a processor.
fn own_time() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).expect("Linux has it").into()
}
