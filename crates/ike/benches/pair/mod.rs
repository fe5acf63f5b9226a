//! Two endpoints in one process, for the benches of IKE.

pub(crate) mod settle;

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Instant;

use adit_crypto::Rng;
use adit_db::{ChildConfig, Connection, HostSpec, ProposalSpec};
use adit_ike::{Command, Endpoint, EndpointConfig, RequestId};

use self::settle::settle;

const LEFT: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
const RIGHT: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 2));

/// Two that know each other and have not met.
pub(crate) fn endpoints(proposal: &str, rng: &mut impl Rng) -> [Endpoint; 2] {
    [endpoint(LEFT, RIGHT, proposal, rng), endpoint(RIGHT, LEFT, proposal, rng)]
}

/// One handshake of the two; whether a child came of it on both sides.
pub(crate) fn connect([left, right]: &mut [Endpoint; 2], rng: &mut impl Rng) -> bool {
    let connection = "tunnel".parse().expect("a legal name");
    let command = Command::Initiate { connection, child: None, request: RequestId(1) };
    left.handle_command(command, now(), rng);
    black_box(settle([left, right], now, rng)) == 2
}

fn endpoint(local: IpAddr, remote: IpAddr, proposal: &str, rng: &mut impl Rng) -> Endpoint {
    let mut connection = Connection::new("tunnel".parse().expect("a legal name"));
    connection.local_addresses = vec![HostSpec::Address(local)];
    connection.remote_addresses = vec![HostSpec::Address(remote)];
    connection.proposals = ProposalSpec::ike_list(proposal).expect("a legal proposal");
    connection.children = vec![ChildConfig::new("net".parse().expect("a legal name"))];
    let mut endpoint = Endpoint::new(EndpointConfig::default());
    endpoint.handle_command(Command::Load(Arc::new(connection)), now(), rng);
    endpoint
}

#[expect(clippy::disallowed_methods, reason = "a bench runs in real time")]
fn now() -> Instant {
    Instant::now()
}
