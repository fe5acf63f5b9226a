//! Handshakes per second in one process: both sides, all four to seven messages, no network.
//!
//! Question: what does a gateway pay per peer, and what does ML-KEM-768 cost beside X25519? One
//! iteration is an IKE SA with its first child on both sides, so one core of one gateway does
//! about twice as many.

use std::collections::VecDeque;
use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Instant;

use adit_crypto::{Secret, SystemRng};
use adit_db::{ChildConfig, Connection, HostSpec, ProposalSpec};
use adit_ike::{
    AuthJobKind, AuthResult, Command, Endpoint, EndpointConfig, Output, Path, RequestId, psk_auth,
    psk_verify,
};
use criterion::{BatchSize, BenchmarkId, Criterion, criterion_group, criterion_main};

const LEFT: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
const RIGHT: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 2));

fn handshake(c: &mut Criterion) {
    let mut group = c.benchmark_group("ike/handshake");
    for (name, proposal) in [
        ("x25519", "aes256gcm16-prfsha384-x25519"),
        ("x25519+mlkem768", "aes256gcm16-prfsha384-x25519-ke1_mlkem768"),
        ("ecp384", "aes256gcm16-prfsha384-ecp384"),
    ] {
        let fresh = || [endpoint(LEFT, RIGHT, proposal), endpoint(RIGHT, LEFT, proposal)];
        group.bench_function(BenchmarkId::from_parameter(name), |b| {
            b.iter_batched_ref(fresh, |pair| assert!(connect(pair)), BatchSize::SmallInput);
        });
    }
    group.finish();
}

/// One handshake; whether a child came of it on both sides.
fn connect([left, right]: &mut [Endpoint; 2]) -> bool {
    let connection = "tunnel".parse().expect("a legal name");
    let command = Command::Initiate { connection, child: None, request: RequestId(1) };
    left.handle_command(command, now(), &mut SystemRng);
    let mut children = 0;
    loop {
        let (to_right, made_left) = drain(left);
        let (to_left, made_right) = drain(right);
        children += made_left + made_right;
        if to_right.is_empty() && to_left.is_empty() {
            return black_box(children) == 2;
        }
        for (path, octets) in to_right {
            right.handle_datagram(reversed(path), &octets, now(), &mut SystemRng);
        }
        for (path, octets) in to_left {
            left.handle_datagram(reversed(path), &octets, now(), &mut SystemRng);
        }
    }
}

/// What an endpoint sends, its jobs done, and how many children it installed.
fn drain(endpoint: &mut Endpoint) -> (VecDeque<(Path, Vec<u8>)>, usize) {
    let secret = Secret::from_slice(b"a secret shared by both sides");
    let mut sent = VecDeque::new();
    let mut children = 0;
    while let Some(output) = endpoint.poll_output() {
        match output {
            Output::Transmit { path, octets } => sent.push_back((path, octets)),
            Output::InstallChild { .. } => children += 1,
            Output::Auth(job) => {
                let octets = job.octets.as_bytes();
                let result = match &job.kind {
                    AuthJobKind::Sign => AuthResult::Signed(psk_auth(job.prf, &secret, octets)),
                    AuthJobKind::Verify { auth } => {
                        match psk_verify(job.prf, &secret, octets, auth) {
                            true => AuthResult::Verified,
                            false => AuthResult::Refused,
                        }
                    }
                };
                endpoint.handle_auth(job.job, result, now(), &mut SystemRng);
            }
            Output::Keepalive(_)
            | Output::ActivateOutbound(_)
            | Output::RemoveChild { .. }
            | Output::UpdatePeer { .. }
            | Output::Resolve { .. }
            | Output::Event(_)
            | Output::Done { .. }
            | Output::Keys(_) => {}
        }
    }
    (sent, children)
}

fn endpoint(local: IpAddr, remote: IpAddr, proposal: &str) -> Endpoint {
    let mut connection = Connection::new("tunnel".parse().expect("a legal name"));
    connection.local_addresses = vec![HostSpec::Address(local)];
    connection.remote_addresses = vec![HostSpec::Address(remote)];
    connection.proposals = ProposalSpec::ike_list(proposal).expect("a legal proposal");
    connection.children = vec![ChildConfig::new("net".parse().expect("a legal name"))];
    let mut endpoint = Endpoint::new(EndpointConfig::default());
    endpoint.handle_command(Command::Load(Arc::new(connection)), now(), &mut SystemRng);
    endpoint
}

fn reversed(path: Path) -> Path {
    Path { local: path.remote, remote: path.local }
}

#[expect(clippy::disallowed_methods, reason = "a bench runs in real time")]
fn now() -> Instant {
    Instant::now()
}

criterion_group!(benches, handshake);
criterion_main!(benches);
