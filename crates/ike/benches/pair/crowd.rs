//! Two endpoints with thousands of tunnels between them.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use adit_crypto::SeededRng;
use adit_db::{ChildConfig, Connection, HostSpec, ProposalSpec};
use adit_ike::{Command, Endpoint, EndpointConfig, RequestId};

use super::settle::settle;

const LEFT: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
const RIGHT: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 2));

/// Two gateways with a tunnel each for thousands of networks.
pub(crate) struct Crowd {
    pub(crate) ends: [Endpoint; 2],
    pub(crate) rng: SeededRng,
    pub(crate) now: Instant,
    begun: u32,
}

impl Crowd {
    /// Both know so many tunnels, and none is up.
    pub(crate) fn new(tunnels: u32) -> Self {
        #[expect(clippy::disallowed_methods, reason = "any instant will do as an origin")]
        let now = Instant::now();
        let ends = [(); 2].map(|()| Endpoint::new(EndpointConfig::default()));
        let mut crowd = Self { ends, rng: SeededRng::new(7), now, begun: 0 };
        for number in 0..tunnels {
            for (end, (local, remote)) in crowd.ends.iter_mut().zip([(LEFT, RIGHT), (RIGHT, LEFT)])
            {
                let load = Command::Load(connection(number, local, remote));
                end.handle_command(load, now, &mut crowd.rng);
                while end.poll_output().is_some() {}
            }
        }
        crowd
    }

    /// Brings up the next tunnels.
    pub(crate) fn connect(&mut self, count: u32) {
        for _ in 0..count {
            // Anything that is due once in a while may come due.
            self.now += Duration::from_millis(1);
            let request = RequestId(self.begun.into());
            let command = Command::Initiate { connection: name(self.begun), child: None, request };
            self.begun += 1;
            let [left, right] = &mut self.ends;
            let now = self.now;
            left.handle_command(command, now, &mut self.rng);
            let children = settle([left, right], || now, &mut self.rng);
            assert_eq!(children, 2);
        }
    }
}

fn name(number: u32) -> adit_db::ConnectionName {
    format!("t{number:06}").parse().expect("legal words")
}

fn connection(number: u32, local: IpAddr, remote: IpAddr) -> Arc<Connection> {
    let side = |address| if address == LEFT { "left" } else { "right" };
    let mut connection = Connection::new(name(number));
    connection.local_addresses = vec![HostSpec::Address(local)];
    connection.remote_addresses = vec![HostSpec::Address(remote)];
    connection.pad.local_id = format!("{}{number}.example", side(local)).parse().ok();
    connection.pad.remote_id =
        format!("{}{number}.example", side(remote)).parse().expect("legal words");
    connection.proposals =
        ProposalSpec::ike_list("aes128gcm16-prfsha256-x25519").expect("legal words");
    let mut child = ChildConfig::new("net".parse().expect("legal words"));
    child.proposals = ProposalSpec::esp_list("aes128gcm16").expect("legal words");
    connection.children = vec![child];
    Arc::new(connection)
}
